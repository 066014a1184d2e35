//! Whether every request is accounted for: the cores' counts against the records that arrived.
//!
//! Two countings of the same thing by different code. Where they differ the run is marked a failure
//! and the difference is named; a figure computed from lost records would be worse than none.

use crate::collect::Progress;
use crate::facts::RunEnd;
use pinfire_base::health::Counts;

/// The counts of a run and where they differ.
#[derive(Clone, PartialEq, Debug)]
pub struct Accounting {
    /// Requests that became due and were started.
    pub due: u64,
    /// Requests whose last byte a socket took.
    pub sent: u64,
    /// Answered.
    pub valid: u64,
    /// Failed.
    pub errors: u64,
    /// Hung up on by plan.
    pub cancelled_by_plan: u64,
    /// Cut off by the end of the run.
    pub dropped_at_end: u64,
    /// Length of the phase's window, if it ended in order.
    pub phase_duration_s: Option<f64>,
    /// What does not agree, in words.
    pub differences: Vec<String>,
}

impl Accounting {
    pub(super) fn new(end: &RunEnd, seen: Progress) -> Self {
        let counts = end.counts;
        let mut differences = Vec::new();
        let mut compare = |what: &str, by_cores: u64, by_records: u64| {
            if by_cores != by_records {
                differences.push(format!(
                    "{what}: {by_cores} by the cores' count, {by_records} by the records"
                ));
            }
        };
        let all = seen.valid + seen.errors + seen.cancelled + seen.dropped;
        compare("requests", counts.due, all);
        compare(
            "answered or failed",
            counts.finished + counts.failed,
            seen.valid + seen.errors,
        );
        compare("cancelled by plan", counts.cancelled, seen.cancelled);
        compare("dropped at the end", counts.dropped, seen.dropped);
        if !counts.agree() {
            differences.push(format!(
                "the cores' counts contradict each other: {} due, {} sent, {} finished, {} failed, \
                 {} cancelled, {} dropped",
                counts.due,
                counts.sent,
                counts.finished,
                counts.failed,
                counts.cancelled,
                counts.dropped
            ));
        }
        let phase = end.profiling;
        Self {
            due: counts.due,
            sent: counts.sent,
            valid: seen.valid,
            errors: seen.errors,
            cancelled_by_plan: seen.cancelled,
            dropped_at_end: seen.dropped,
            phase_duration_s: phase
                .and_then(|window| Some(window.end?.since(window.start).as_secs_f64())),
            differences,
        }
    }

    /// Of counts that are there once: what shards say of themselves, and what their lines show.
    pub(crate) fn of(end: &RunEnd, counts: Counts, seen: Progress) -> Self {
        let told = Counts {
            finished: seen.valid,
            failed: seen.errors,
            cancelled: seen.cancelled,
            ..counts
        };
        let end = RunEnd {
            counts: told,
            profiling: end.profiling,
            ..RunEnd::default()
        };
        let dropped = counts.dropped;
        let mut accounting = Self::new(&end, Progress { dropped, ..seen });
        accounting.differences.clear();
        accounting
    }

    /// Whether all counts agree.
    pub fn agrees(&self) -> bool {
        self.differences.is_empty()
    }
}
