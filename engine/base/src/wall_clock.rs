//! From wall time to the monotonic clock: how the kernel's receive stamps become stamps of ours.
//!
//! Pure: it is fed pairs of readings and knows no clock. The kernel stamps received bytes with the
//! wall clock, which can be slewed and stepped. So the distance between the clocks is measured all
//! the time, and what it was before a step says nothing about the time behind it.

use crate::{
    clock::{ClockPair, Span, Stamp},
    limits::{CLOCK_PAIR_EVERY, STEP_MARGIN_MAX},
};

/// The most that the distance between the clocks can change by slewing, in parts per million. NTP
/// slews by at most 500, and Linux slews both clocks together; what changes faster is a step.
const SLEW_PPM: i64 = 1_000;

/// What a pair cannot know: both readings are cut to nanoseconds, and the two clocks are computed
/// by different multiplications.
const SLACK: i64 = 20;

/// Why a time of the wall clock cannot be converted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unusable {
    /// The wall clock was stepped, and this may be from before the step.
    Stepped,
    /// It has not come yet.
    InTheFuture,
}

/// How far the wall clock is ahead of the monotonic one, as the latest pairs tell it.
///
/// A pair says between which bounds that distance lies: it is as good as the time between its two
/// monotonic readings is short. Bounds of older pairs widen with their age, and each new pair cuts
/// them; so the closest pair counts most, and one that was interrupted in the middle spoils
/// nothing. A pair that contradicts the bounds is a step.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    least: i64,
    most: i64,
    /// When the bounds were cut last.
    at: Stamp,
    /// Earlier stamps may be from before a step.
    since: Stamp,
    steps: u64,
}

impl WallClock {
    /// By a first pair.
    pub fn new(pair: ClockPair) -> Self {
        let (least, most) = bounds(pair);
        Self {
            least,
            most,
            at: pair.after,
            since: Stamp::from_nanos(1),
            steps: 0,
        }
    }

    /// Whether another pair should be read before something is converted at `now`.
    #[inline]
    pub fn wants_pair(&self, now: Stamp) -> bool {
        now.since(self.at) >= CLOCK_PAIR_EVERY
    }

    /// Takes the next pair.
    pub fn pair(&mut self, pair: ClockPair) {
        let (least, most) = bounds(pair);
        let age = pair.after.since(self.at).nanos() as i64;
        let slewed = age.saturating_mul(SLEW_PPM) / 1_000_000;
        let (older_least, older_most) = (self.least - slewed, self.most + slewed);
        self.at = pair.after;
        if least > older_most || most < older_least {
            self.step(pair, least, most);
        } else {
            self.least = least.max(older_least);
            self.most = most.min(older_most);
        }
    }

    /// A stamp from before a step back looks as if it were later than it was, by the step; one from
    /// before a step forward looks earlier.
    fn step(&mut self, pair: ClockPair, least: i64, most: i64) {
        let back = self.least.saturating_sub(least).max(0) as u64;
        let margin = Span::from_nanos(back.min(STEP_MARGIN_MAX.nanos()));
        self.least = least;
        self.most = most;
        self.since = pair.after + margin;
        self.steps += 1;
    }

    /// The stamp of a Unix time in nanoseconds that the kernel took before `now`.
    ///
    /// # Errors
    /// It may be from before a step, or it is impossible.
    #[inline]
    pub fn stamp(&self, unix_nanos: u64, now: Stamp) -> Result<Stamp, Unusable> {
        let ahead = self.least + (self.most - self.least) / 2;
        let nanos = (unix_nanos as i64).saturating_sub(ahead);
        let stamp = Stamp::from_nanos(nanos.max(1) as u64);
        if stamp > now {
            return Err(if self.steps > 0 && self.since > now {
                Unusable::Stepped
            } else {
                Unusable::InTheFuture
            });
        }
        if stamp < self.since {
            return Err(Unusable::Stepped);
        }
        Ok(stamp)
    }

    /// Steps of the wall clock so far.
    pub const fn steps(&self) -> u64 {
        self.steps
    }
}

/// The wall clock was read between the two others.
fn bounds(pair: ClockPair) -> (i64, i64) {
    let ahead = |of: Stamp| pair.unix_nanos as i64 - of.nanos() as i64;
    (ahead(pair.after) - SLACK, ahead(pair.before) + SLACK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    const UNIX: u64 = 1_800_000_000_000_000_000;
    const MS: u64 = 1_000_000;
    const S: u64 = 1_000_000_000;

    /// Two clocks of which one is set and slewed at will.
    struct Clocks {
        now: u64,
        ahead: f64,
        slew_ppm: f64,
    }

    impl Clocks {
        fn new() -> Self {
            Self {
                now: 5_000 * S,
                ahead: (UNIX - 5_000 * S) as f64,
                slew_ppm: 0.0,
            }
        }

        fn pass(&mut self, nanos: u64) {
            self.now += nanos;
            self.ahead += nanos as f64 * self.slew_ppm / 1e6;
        }

        fn stamp(&self) -> Stamp {
            Stamp::from_nanos(self.now)
        }

        fn unix(&self) -> u64 {
            (self.now as i64 + self.ahead as i64) as u64
        }

        /// Reads both; so long before and behind the wall clock.
        fn pair(&mut self, before: u64, behind: u64) -> ClockPair {
            let first = self.stamp();
            self.pass(before);
            let unix_nanos = self.unix();
            self.pass(behind);
            ClockPair {
                before: first,
                unix_nanos,
                after: self.stamp(),
            }
        }
    }

    /// What the converter makes of bytes that came now and are read so much later, as a distance
    /// from the truth.
    fn error_of(wall: &mut WallClock, clocks: &mut Clocks, late: u64) -> Result<i64, Unusable> {
        let (came, unix) = (clocks.stamp(), clocks.unix());
        clocks.pass(late);
        if wall.wants_pair(clocks.stamp()) {
            let pair = clocks.pair(20, 20);
            wall.pair(pair);
        }
        let stamp = wall.stamp(unix, clocks.stamp())?;
        Ok(stamp.signed_since(came))
    }

    #[test]
    fn the_closest_pair_counts_and_an_interrupted_one_spoils_nothing() {
        let mut clocks = Clocks::new();
        // Interrupted for 3 ms behind the wall clock's reading: the middle is 1.5 ms off.
        let mut wall = WallClock::new(clocks.pair(20, 3 * MS));
        clocks.pass(MS);
        wall.pair(clocks.pair(15, 25));
        let mut worst = 0;
        for round in 0..100 {
            clocks.pass(100_000);
            // Every pair is interrupted now, on one side or the other.
            let pair = if round % 2 == 0 {
                clocks.pair(20, 4 * MS)
            } else {
                clocks.pair(4 * MS, 20)
            };
            wall.pair(pair);
            worst = worst.max(error_of(&mut wall, &mut clocks, 20_000).unwrap().abs());
        }
        // Their middle is 2 ms off; what is left is what the clocks could slew in two of them.
        assert!(worst <= 5_000, "{worst} ns");
        wall.pair(clocks.pair(20, 20));
        let error = error_of(&mut wall, &mut clocks, 1_000).unwrap();
        assert!(error.abs() <= 30, "{error} ns");
        assert_eq!(wall.steps(), 0);
    }

    #[test]
    fn a_slewed_wall_clock_does_not_drift_in() {
        for slew_ppm in [500.0, -500.0, 30.0] {
            let mut clocks = Clocks::new();
            clocks.slew_ppm = slew_ppm;
            let mut wall = WallClock::new(clocks.pair(20, 20));
            let mut draws = Purpose::new(1, "reads").at(0);
            let mut worst = 0;
            // An hour, with pauses of up to 10 s; by its end the clocks are 1.8 s apart.
            while clocks.now < 8_600 * S {
                let pause = (10 * S) >> draws.below(24);
                clocks.pass(pause);
                let error = error_of(&mut wall, &mut clocks, 20_000).unwrap();
                worst = worst.max(error.abs());
            }
            // 20 µs of slewing lie between the arrival and the pair that converts it.
            assert!(worst <= 250, "{slew_ppm} ppm: {worst} ns");
            assert_eq!(wall.steps(), 0, "{slew_ppm} ppm");
        }
    }

    #[test]
    fn a_step_is_noticed_and_what_it_hits_is_not_converted() {
        for step in [3.0e9, -3.0e9, 0.5e6, -0.5e6] {
            let mut clocks = Clocks::new();
            let mut wall = WallClock::new(clocks.pair(20, 20));
            for _ in 0..50 {
                clocks.pass(MS);
                assert!(error_of(&mut wall, &mut clocks, 20_000).unwrap().abs() < 100);
            }
            // Bytes that come before the step and are read behind it.
            let before = clocks.unix();
            clocks.pass(200_000);
            clocks.ahead += step;
            clocks.pass(200_000);
            assert!(wall.wants_pair(clocks.stamp()));
            wall.pair(clocks.pair(20, 20));
            assert_eq!(wall.steps(), 1, "{step}");
            let converted = wall.stamp(before, clocks.stamp());
            assert_eq!(converted, Err(Unusable::Stepped), "{step}");
            // What comes behind it is converted again, after a step back a little later.
            clocks.pass(STEP_MARGIN_MAX.nanos());
            for _ in 0..50 {
                clocks.pass(MS);
                let error = error_of(&mut wall, &mut clocks, 20_000).unwrap();
                assert!(error.abs() < 100, "{step}: {error}");
            }
            assert_eq!(wall.steps(), 1, "{step}");
        }
    }

    #[test]
    fn a_step_that_no_pair_has_shown_yet_moves_nothing_into_the_future() {
        let mut clocks = Clocks::new();
        let mut wall = WallClock::new(clocks.pair(20, 20));
        clocks.ahead += 3.0e9;
        let unix = clocks.unix();
        clocks.pass(20_000);
        // Too early for the next pair.
        assert!(!wall.wants_pair(clocks.stamp()));
        let converted = wall.stamp(unix, clocks.stamp());
        assert_eq!(converted, Err(Unusable::InTheFuture));
        wall.pair(clocks.pair(20, 20));
        assert_eq!(wall.steps(), 1);
    }
}
