//! What a core says about itself at the end of a phase: how late, how slow, how much it held.

use hdrhistogram::Histogram;

use crate::{
    clock::{Span, Stamp},
    limits::PAUSES_KEPT,
    wall_clock::Unusable,
};

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
    /// From the kernel's receive stamp to our own: of every read that has one, with
    /// `--receive-stamps user` of a sample. Empty where the kernel gives none.
    pub receive_delay: Durations,
    /// Where the times of received bytes come from.
    pub receive_stamps: ReceiveCounts,
    /// Length of a turn in which something was read: from its first read to the end of the batch.
    pub turn: Durations,
    /// When the loop was kept from working.
    pub pauses: Pauses,
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

/// Where the times of a phase's reads come from; only of those that brought bytes for a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReceiveCounts {
    /// The kernel's stamp.
    pub kernel: u64,
    /// The loop's, because no kernel stamps were asked for.
    pub user: u64,
    /// The loop's, for each reason that the kernel's could not be used; see [`Fallback::ALL`].
    pub fallbacks: [u64; 5],
}

/// Why a read has the loop's stamp although the kernel's was wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fallback {
    /// The kernel gave none.
    Missing,
    /// The wall clock, which the kernel stamps with, was stepped.
    Stepped,
    /// It lay in the future.
    InTheFuture,
    /// It lay before the first byte of the request was sent.
    BeforeTheRequest,
    /// It lay before the stamp of the read before it.
    BeforeTheLast,
}

impl Fallback {
    /// All of them, in the order of [`ReceiveCounts::fallbacks`].
    pub const ALL: [Self; 5] = [
        Self::Missing,
        Self::Stepped,
        Self::InTheFuture,
        Self::BeforeTheRequest,
        Self::BeforeTheLast,
    ];

    /// The name in the exports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "no_kernel_stamp",
            Self::Stepped => "wall_clock_stepped",
            Self::InTheFuture => "in_the_future",
            Self::BeforeTheRequest => "before_the_request",
            Self::BeforeTheLast => "before_the_last_read",
        }
    }
}

impl From<Unusable> for Fallback {
    fn from(why: Unusable) -> Self {
        match why {
            Unusable::Stepped => Self::Stepped,
            Unusable::InTheFuture => Self::InTheFuture,
        }
    }
}

impl ReceiveCounts {
    /// Reads that fell back to the loop's stamp, for any reason.
    pub fn fallen_back(&self) -> u64 {
        self.fallbacks.iter().sum()
    }

    /// All reads.
    pub fn reads(&self) -> u64 {
        self.kernel + self.user + self.fallen_back()
    }

    /// Counts a read that fell back.
    #[inline]
    pub fn fell_back(&mut self, why: Fallback) {
        self.fallbacks[why as usize] += 1;
    }

    /// Adds another core's counts.
    pub fn add(&mut self, other: &Self) {
        self.kernel += other.kernel;
        self.user += other.user;
        for (mine, other) in self.fallbacks.iter_mut().zip(other.fallbacks) {
            *mine += other;
        }
    }
}

/// A time in which a core's loop did nothing, although it would have shown itself: its process was
/// stopped, its CPU was taken by others, or one of its own steps took that long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pause {
    /// Its last sign of life before.
    pub from: Stamp,
    /// From then to the next.
    pub length: Span,
}

/// The pauses of a core in one phase.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pauses {
    /// How many there were.
    pub count: u64,
    /// The longest of them, in no order.
    pub longest: Vec<Pause>,
}

impl Pauses {
    /// Counts one, and keeps it if it is among the longest.
    pub fn add(&mut self, pause: Pause) {
        self.count += 1;
        if self.longest.len() < PAUSES_KEPT {
            self.longest.push(pause);
        } else if let Some(least) = self.longest.iter_mut().min_by_key(|kept| kept.length)
            && least.length < pause.length
        {
            *least = pause;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_pauses_are_kept_and_all_are_counted() {
        let mut pauses = Pauses::default();
        for millis in (50..100).chain(0..50) {
            pauses.add(Pause {
                from: Stamp::from_nanos(1 + millis),
                length: Span::from_millis(millis),
            });
        }
        assert_eq!((pauses.count, pauses.longest.len()), (100, PAUSES_KEPT));
        let least = pauses.longest.iter().map(|pause| pause.length).min();
        assert_eq!(least, Some(Span::from_millis(100 - PAUSES_KEPT as u64)));
    }

    #[test]
    fn fallbacks_are_counted_under_their_names() {
        let mut counts = ReceiveCounts {
            kernel: 2,
            user: 1,
            ..ReceiveCounts::default()
        };
        for (at, why) in Fallback::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, at);
            counts.fell_back(why);
        }
        counts.add(&counts.clone());
        assert_eq!((counts.reads(), counts.fallen_back()), (16, 10));
    }
}
