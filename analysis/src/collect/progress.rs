//! How requests ended, counted.

/// How many requests of the measured phase ended how, so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Answered.
    pub valid: u64,
    /// Failed.
    pub errors: u64,
    /// Hung up on by plan.
    pub cancelled: u64,
    /// Cut off by the end of the run.
    pub dropped: u64,
}
