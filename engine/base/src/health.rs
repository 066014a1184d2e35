//! What a core says about itself at the end of a phase: how late, how slow, how much it held.

use hdrhistogram::Histogram;

use crate::clock::Span;

/// A distribution of durations with fixed memory: 0.1 µs to 100 s, two digits.
#[derive(Clone, Debug)]
pub struct Durations(Histogram<u64>);

impl Default for Durations {
    fn default() -> Self {
        // The bounds are constants within the library's limits, so this cannot fail.
        #[expect(
            clippy::expect_used,
            reason = "constant bounds that the library accepts"
        )]
        let histogram =
            Histogram::new_with_bounds(100, 100_000_000_000, 2).expect("constant bounds");
        Self(histogram)
    }
}

impl Durations {
    /// Counts one duration; what exceeds the range counts as its end.
    #[inline]
    pub fn record(&mut self, span: Span) {
        self.0.saturating_record(span.nanos());
    }

    /// Adds another distribution.
    pub fn merge(&mut self, other: &Self) {
        // Both have the same bounds, the only way for the library to refuse.
        let _ = self.0.add(&other.0);
    }

    /// Number of durations.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The duration at a percentile (0–100); zero when there is none.
    pub fn percentile(&self, percentile: f64) -> Span {
        if self.0.is_empty() {
            return Span::ZERO;
        }
        Span::from_nanos(self.0.value_at_percentile(percentile))
    }

    /// The longest duration; zero when there is none.
    pub fn max(&self) -> Span {
        if self.0.is_empty() {
            Span::ZERO
        } else {
            Span::from_nanos(self.0.max())
        }
    }
}

/// One core's account of one phase.
#[derive(Clone, Debug, Default)]
pub struct CoreHealth {
    /// The CPU it was pinned to, if pinning worked.
    pub cpu: Option<usize>,
    /// Past a deadline (a cancel, a scheduled send) when its action began.
    pub timer_lateness: Durations,
    /// From a request being due to its first action.
    pub send_lateness: Durations,
    /// From the kernel's receive stamp to our own, on a sample of the reads. Empty where the kernel
    /// gives no stamps.
    pub receive_delay: Durations,
    /// Length of a turn in which something was read: from its first read to the end of the batch.
    pub turn: Durations,
    /// CPU time that the core's thread used during the phase.
    pub cpu_time: Span,
    /// Wall time of the phase on this core.
    pub wall_time: Span,
    /// `recv` calls that brought bytes.
    pub receives: u64,
    /// Events received.
    pub events: u64,
    /// Connections opened.
    pub connects: u64,
    /// Connects that took about as long as if their SYN had been lost once, twice or three times:
    /// whole seconds, as lost SYNs do.
    pub slow_connects: u64,
    /// Connections that were found closed by the server while idle, before they cost a request.
    pub stale_closed: u64,
    /// Idle connections that were closed by the client, because the server was about to.
    pub expired_closed: u64,
    /// How much of the phase the slots of a closed loop rested for want of answers.
    pub backoff: BackoffCounts,
}

/// Rests of a closed loop's slots after requests that got no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BackoffCounts {
    /// Slots that have rested.
    pub slots: u64,
    /// Rests of all slots.
    pub rests: u64,
    /// All of them together.
    pub rested: Span,
}

impl BackoffCounts {
    /// Adds another core's.
    pub fn add(&mut self, other: &Self) {
        self.slots += other.slots;
        self.rests += other.rests;
        self.rested = Span::from_nanos(self.rested.nanos() + other.rested.nanos());
    }
}

/// The counts that must agree at the end of a phase.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Requests that became due and were started.
    pub due: u64,
    /// Requests whose last byte was taken by a socket.
    pub sent: u64,
    /// Requests whose response was received whole.
    pub finished: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests hung up on by plan.
    pub cancelled: u64,
    /// Requests cut off by the end of the run.
    pub dropped: u64,
}

impl Counts {
    /// Adds another core's counts.
    pub fn add(&mut self, other: &Self) {
        self.due += other.due;
        self.sent += other.sent;
        self.finished += other.finished;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.dropped += other.dropped;
    }

    /// Requests that have ended, in any way.
    pub const fn ended(&self) -> u64 {
        self.finished + self.failed + self.cancelled + self.dropped
    }

    /// Whether every request that was due ended in exactly one way.
    pub const fn agree(&self) -> bool {
        self.due == self.ended() && self.sent <= self.due
    }
}
