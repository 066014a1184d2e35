//! From the times in a shard's files to those of the whole run.

use pinfire_artifacts::shard::{ClockAnchor, ClockSample, Shard};

/// Of the exchanges within this time that with the smallest bound counts: the others had to wait
/// somewhere on their way.
const WINDOW: u64 = 64_000_000_000;
/// No two clocks run further apart than this, in nanoseconds a second.
const DRIFT_MAX: f64 = 1e6;

/// What turns a shard's times into those of the run. The default leaves them as they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    /// The best exchanges with the leader, in the order of time.
    best: Vec<ClockSample>,
    /// How fast the leader's clock runs away before the first and after the last of them.
    drift: f64,
    own: ClockAnchor,
    common: ClockAnchor,
}

impl Clock {
    /// Of a shard; without exchanges its own wall clock is taken for that of the run.
    pub(super) fn of(shard: &Shard) -> Self {
        let Some(common) = shard.leader_anchor.filter(|_| !shard.clock.is_empty()) else {
            return Self {
                own: shard.anchor,
                ..Self::default()
            };
        };
        let mut samples = shard.clock.clone();
        samples.sort_by_key(|sample| sample.t);
        let windows = samples.chunk_by(|one, next| one.t / WINDOW == next.t / WINDOW);
        let best = windows.filter_map(|window| window.iter().min_by_key(|sample| sample.bound_ns));
        let drift = shard.drift.filter(|drift| drift.is_finite());
        Self {
            best: best.copied().collect(),
            drift: drift.unwrap_or(0.0).clamp(-DRIFT_MAX, DRIFT_MAX),
            own: shard.anchor,
            common,
        }
    }

    /// Whether it goes by the leader's clock.
    pub(super) fn is_common(&self) -> bool {
        !self.best.is_empty()
    }

    /// No time is wrong by more than this.
    pub(super) fn bound_ns(&self) -> Option<u64> {
        self.best.iter().map(|sample| sample.bound_ns).max()
    }

    /// What is added to this instant of the shard's files (Unix nanoseconds).
    pub(crate) fn shift(&self, unix_ns: u64) -> i64 {
        if self.best.is_empty() {
            return 0;
        }
        let own = i128::from(self.own.monotonic_ns) - i128::from(self.own.unix_ns);
        let monotonic = i128::from(unix_ns) + own;
        let common = self.on_wall(monotonic) - i128::from(unix_ns);
        i64::try_from(common).unwrap_or(0)
    }

    /// An instant of the shard's monotonic clock in Unix nanoseconds of the run.
    pub(super) fn common(&self, monotonic_ns: u64) -> u64 {
        let unix = match self.best.is_empty() {
            false => self.on_wall(monotonic_ns.into()),
            true => {
                let after = i128::from(monotonic_ns) - i128::from(self.own.monotonic_ns);
                i128::from(self.own.unix_ns) + after
            }
        };
        u64::try_from(unix).unwrap_or(0)
    }

    fn on_wall(&self, monotonic: i128) -> i128 {
        let leader = monotonic + self.offset(monotonic);
        leader - i128::from(self.common.monotonic_ns) + i128::from(self.common.unix_ns)
    }

    /// The leader's clock minus the shard's: on the line between two exchanges, and on that of the
    /// drift beyond them.
    fn offset(&self, monotonic: i128) -> i128 {
        let next = self
            .best
            .partition_point(|one| i128::from(one.t) <= monotonic);
        let before = next.checked_sub(1).and_then(|at| self.best.get(at));
        let beyond = |from: &ClockSample| {
            let seconds = (monotonic - i128::from(from.t)) as f64 / 1e9;
            i128::from(from.offset_ns) + (self.drift * seconds).round() as i128
        };
        match (before, self.best.get(next)) {
            (Some(one), Some(next)) => {
                let (from, to) = (i128::from(one.offset_ns), i128::from(next.offset_ns));
                let length = i128::from(next.t - one.t).max(1);
                from + (to - from) * (monotonic - i128::from(one.t)) / length
            }
            (Some(only), None) | (None, Some(only)) => beyond(only),
            (None, None) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: u64 = 1_800_000_000_000_000_000;
    const SECOND: u64 = 1_000_000_000;

    fn anchor(monotonic_ns: u64, unix_ns: u64) -> ClockAnchor {
        ClockAnchor {
            monotonic_ns,
            unix_ns,
        }
    }

    fn sample(seconds: u64, offset_ns: i64, bound_ns: u64) -> ClockSample {
        ClockSample {
            t: seconds * SECOND,
            offset_ns,
            bound_ns,
        }
    }

    #[test]
    fn without_exchanges_the_own_wall_clock_counts() {
        let shard = Shard {
            anchor: anchor(5 * SECOND, WALL),
            ..Shard::default()
        };
        let clock = Clock::of(&shard);
        assert_eq!((clock.shift(WALL + 7), clock.is_common()), (0, false));
        assert_eq!(clock.common(6 * SECOND), WALL + SECOND);
        // A leader's anchor alone says nothing of how far the two are apart.
        let alone = Shard {
            leader_anchor: Some(anchor(1, 2)),
            ..shard
        };
        assert_eq!(Clock::of(&alone).shift(WALL), 0);
    }

    #[test]
    fn times_go_to_the_leaders_clock_however_far_the_two_are_apart() {
        for apart in [0, 1_000_000, -1_000_000] {
            // The leader's monotonic clock is ahead by so much, and this shard's wall clock is
            // three minutes behind.
            let offset = apart * SECOND as i64;
            let leader = (2_000_000 * SECOND).saturating_add_signed(offset);
            let shard = Shard {
                anchor: anchor(2_000_000 * SECOND, WALL - 180 * SECOND),
                leader_anchor: Some(anchor(leader, WALL)),
                clock: vec![sample(2_000_000, offset, 4_000)],
                ..Shard::default()
            };
            let clock = Clock::of(&shard);
            assert_eq!(clock.shift(WALL), 180 * SECOND as i64, "{apart}");
            assert_eq!(clock.common(2_000_001 * SECOND), WALL + SECOND);
            assert_eq!(clock.bound_ns(), Some(4_000));
        }
    }

    #[test]
    fn drift_is_followed_and_slow_exchanges_are_left_out() {
        // 20 ppm: 20 µs a second. The exchange at 70 s waited for 2 ms, that at 80 s did not.
        let of = |seconds: u64| 20_000 * seconds as i64;
        let shard = Shard {
            anchor: anchor(0, WALL),
            leader_anchor: Some(anchor(0, WALL)),
            clock: vec![
                sample(10, of(10), 5_000),
                sample(70, of(70) + 1_900_000, 2_000_000),
                sample(80, of(80), 5_000),
                sample(140, of(140), 5_000),
            ],
            drift: Some(20_000.0),
            ..Shard::default()
        };
        let clock = Clock::of(&shard);
        for seconds in [0, 10, 45, 70, 80, 110, 140, 200] {
            let found = clock.shift(WALL + seconds * SECOND);
            assert!((found - of(seconds)).abs() <= 1, "{seconds}: {found}");
        }
        for drift in [f64::NAN, f64::INFINITY, 1e300] {
            let shard = Shard {
                drift: Some(drift),
                ..shard.clone()
            };
            let beyond = Clock::of(&shard).shift(WALL + 150 * SECOND) - of(140);
            assert!(beyond.abs() <= 10_000_000, "{drift}: {beyond}");
        }
    }
}
