//! The one reader of clocks: every stamp and every wall time of the program comes from here.
//!
//! A [`Stamp`] is an instant of CLOCK_MONOTONIC, a [`Span`] a difference of two of them. Wall time
//! is read once per run ([`WallAnchor`]) and every exported time is derived from that one pair, so
//! that a step of the wall clock during a run cannot bend a duration.

use std::num::NonZeroU64;
use std::ops::{Add, Sub};

use rustix::time::{ClockId, Timespec, clock_gettime};
use serde::{Deserialize, Serialize};

/// Nanoseconds in a second.
pub const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// An instant of the monotonic clock, in nanoseconds. Never zero, so `Option<Stamp>` is 8 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Stamp(NonZeroU64);

/// A duration in nanoseconds, never negative.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Span(u64);

impl Stamp {
    /// Reads CLOCK_MONOTONIC. About 20 ns through the vDSO.
    #[inline]
    pub fn now() -> Self {
        Self::from_nanos(nanos(clock_gettime(ClockId::Monotonic)))
    }

    /// The instant `nanos` nanoseconds after the clock's zero. Zero itself becomes 1.
    #[inline]
    pub const fn from_nanos(nanos: u64) -> Self {
        match NonZeroU64::new(nanos) {
            Some(n) => Self(n),
            None => Self(NonZeroU64::MIN),
        }
    }

    /// Nanoseconds since the clock's zero.
    #[inline]
    pub const fn nanos(self) -> u64 {
        self.0.get()
    }

    /// The time from `earlier` to `self`, zero if `earlier` is later.
    #[inline]
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.nanos().saturating_sub(earlier.nanos()))
    }

    /// The signed nanoseconds from `other` to `self`.
    #[inline]
    pub const fn signed_since(self, other: Self) -> i64 {
        self.nanos() as i64 - other.nanos() as i64
    }
}

impl Span {
    /// The empty duration.
    pub const ZERO: Self = Self(0);

    /// A duration of `nanos` nanoseconds.
    #[inline]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// A duration of `micros` microseconds.
    #[inline]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros * 1_000)
    }

    /// A duration of `millis` milliseconds.
    #[inline]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// A duration given in seconds, rounded to the nearest nanosecond; negative and NaN give zero,
    /// what does not fit gives about 291 years.
    pub fn from_secs_f64(seconds: f64) -> Self {
        Self((seconds.max(0.0) * 1e9).round().min(9.2e18) as u64)
    }

    /// Nanoseconds.
    #[inline]
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Milliseconds, with fractions.
    pub fn as_millis_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Seconds, with fractions.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl Add<Span> for Stamp {
    type Output = Self;

    #[inline]
    fn add(self, span: Span) -> Self {
        Self::from_nanos(self.nanos().saturating_add(span.0))
    }
}

impl Sub<Span> for Stamp {
    type Output = Self;

    #[inline]
    fn sub(self, span: Span) -> Self {
        Self::from_nanos(self.nanos().saturating_sub(span.0))
    }
}

/// One wall time paired with one monotonic stamp; maps stamps of a run to Unix nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WallAnchor {
    stamp: Stamp,
    unix_nanos: u64,
}

impl WallAnchor {
    /// Pairs the two clocks. The wall clock is read between two monotonic reads, several times, and
    /// the closest bracket is kept: the pair is good to about 50 ns.
    pub fn take() -> Self {
        let mut best: Option<(u64, Self)> = None;
        for _ in 0..16 {
            let pair = ClockPair::once();
            let (width, unix_nanos) = (pair.width().nanos(), pair.unix_nanos);
            if best.is_none_or(|(least, _)| width < least) {
                let stamp = pair.before + Span(width / 2);
                best = Some((width, Self { stamp, unix_nanos }));
            }
        }
        best.map_or_else(|| Self::fixed(Stamp::now(), 0), |(_, anchor)| anchor)
    }

    /// A pair given by the caller, for recorded runs and tests.
    pub const fn fixed(stamp: Stamp, unix_nanos: u64) -> Self {
        Self { stamp, unix_nanos }
    }

    /// The Unix time of `stamp` in nanoseconds.
    pub fn unix_nanos(&self, stamp: Stamp) -> u64 {
        self.unix_nanos
            .saturating_add_signed(stamp.signed_since(self.stamp))
    }

    /// The stamp of a Unix time in nanoseconds.
    pub fn stamp(&self, unix_nanos: u64) -> Stamp {
        let ahead = unix_nanos as i64 - self.unix_nanos as i64;
        Stamp::from_nanos(self.stamp.nanos().saturating_add_signed(ahead))
    }
}

/// A reading of the wall clock between two of the monotonic one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockPair {
    /// Monotonic, immediately before.
    pub before: Stamp,
    /// The wall clock, in Unix nanoseconds.
    pub unix_nanos: u64,
    /// Monotonic, immediately after.
    pub after: Stamp,
}

impl ClockPair {
    /// Reads the three, about 60 ns; up to three times more where something came between.
    #[inline]
    pub fn read() -> Self {
        const CLOSE: Span = Span(500);
        let mut closest = Self::once();
        for _ in 0..3 {
            if closest.width() <= CLOSE {
                break;
            }
            let again = Self::once();
            if again.width() < closest.width() {
                closest = again;
            }
        }
        closest
    }

    fn once() -> Self {
        Self {
            before: Stamp::now(),
            unix_nanos: nanos(clock_gettime(ClockId::Realtime)),
            after: Stamp::now(),
        }
    }

    /// What it leaves open.
    const fn width(&self) -> Span {
        self.after.since(self.before)
    }
}

/// The wall clock now, in Unix nanoseconds: for dates, never for durations.
pub fn unix_now() -> u64 {
    nanos(clock_gettime(ClockId::Realtime))
}

/// CPU time used by the calling thread.
pub fn thread_cpu_time() -> Span {
    Span(nanos(clock_gettime(ClockId::ThreadCPUTime)))
}

fn nanos(time: Timespec) -> u64 {
    time.tv_sec as u64 * NANOS_PER_SECOND + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchor_maps_both_ways() {
        let anchor = WallAnchor::fixed(Stamp::from_nanos(1_000), 1_800_000_000_000_000_000);
        let stamp = Stamp::from_nanos(400);
        assert_eq!(anchor.unix_nanos(stamp), 1_799_999_999_999_999_400);
        assert_eq!(anchor.stamp(1_799_999_999_999_999_400), stamp);
    }

    #[test]
    fn a_fresh_anchor_agrees_with_itself() {
        let anchor = WallAnchor::take();
        let now = Stamp::now();
        assert!(anchor.unix_nanos(now) > 1_700_000_000_000_000_000);
        assert_eq!(anchor.stamp(anchor.unix_nanos(now)), now);
    }

    #[test]
    fn seconds_become_spans() {
        assert_eq!(Span::from_secs_f64(0.1), Span::from_millis(100));
        assert_eq!(Span::from_secs_f64(-1.0), Span::ZERO);
        assert_eq!(Span::from_secs_f64(f64::NAN), Span::ZERO);
        assert_eq!(
            Span::from_secs_f64(f64::INFINITY).nanos(),
            9_200_000_000_000_000_000
        );
    }
}
