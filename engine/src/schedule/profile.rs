//! The rate of arrivals over time: piecewise linear, and its integral.

use std::sync::Arc;

use pinfire_base::clock::Span;

/// A rate in arrivals per second as a function of the time since the phase's start.
#[derive(Clone, Debug)]
pub struct RateProfile {
    /// In order of time, the first at 0, each with the arrivals expected before it.
    knots: Arc<[Knot]>,
}

#[derive(Clone, Copy, Debug)]
struct Knot {
    at: f64,
    rate: f64,
    area: f64,
    /// Change of the rate per second from here to the next knot; 0 in the last one.
    slope: f64,
}

/// Why a series of rates cannot be used.
#[derive(Clone, Copy, PartialEq, Debug, thiserror::Error)]
pub enum ProfileError {
    /// Fewer than two points.
    #[error("a series of rates needs at least 2 points, and there are {0}")]
    TooFew(usize),
    /// A time that is negative or not finite.
    #[error("point {index}: time_s is {time}; it must be a finite number of at least 0")]
    Time {
        /// Which point, from 0.
        index: usize,
        /// Its time in seconds.
        time: f64,
    },
    /// A rate that is not above 0 or not finite.
    #[error("point {index}: qps is {rate}; it must be a finite number above 0")]
    Rate {
        /// Which point, from 0.
        index: usize,
        /// Its rate per second.
        rate: f64,
    },
    /// A time that is not after the one before it.
    #[error("point {index}: time_s is {time}, not after {before} of the point before it")]
    Order {
        /// Which point, from 0.
        index: usize,
        /// Its time in seconds.
        time: f64,
        /// The time of the point before.
        before: f64,
    },
}

impl RateProfile {
    /// Where a ramp starts: the share of its target that it would reach in this many seconds,
    /// AIPerf's interval between two steps of a ramp.
    const RAMP_STEP: f64 = 0.1;

    /// The same rate always. Infinity puts every arrival at the start.
    pub fn constant(rate: f64) -> Self {
        Self::through([(0.0, rate)])
    }

    /// Rises in a straight line over `duration` and stays at `rate`.
    pub fn ramp(rate: f64, duration: Span) -> Self {
        Self::rising_to(&[(0.0, rate)], duration)
    }

    /// A straight line from point to point (seconds, arrivals per second), the first rate before
    /// them and the last one after them. The series begins `delay` after the phase; until then the
    /// rate rises to the first one as in [`RateProfile::ramp`].
    ///
    /// # Errors
    /// The first point that makes no sense.
    pub fn series(points: &[(f64, f64)], delay: Span) -> Result<Self, ProfileError> {
        if points.len() < 2 {
            return Err(ProfileError::TooFew(points.len()));
        }
        let mut before = None;
        for (index, &(time, rate)) in points.iter().enumerate() {
            if !(time.is_finite() && time >= 0.0) {
                return Err(ProfileError::Time { index, time });
            }
            if !(rate.is_finite() && rate > 0.0) {
                return Err(ProfileError::Rate { index, rate });
            }
            if let Some(before) = before.filter(|&before| time <= before) {
                return Err(ProfileError::Order {
                    index,
                    time,
                    before,
                });
            }
            before = Some(time);
        }
        Ok(Self::rising_to(points, delay))
    }

    /// Arrivals expected from the start until `until`.
    pub fn expected(&self, until: Span) -> f64 {
        let until = until.as_secs_f64();
        let knot = self.knot_at(until);
        if knot.rate.is_infinite() {
            return f64::INFINITY;
        }
        let since = until - knot.at;
        knot.area + since * (knot.rate + 0.5 * knot.slope * since)
    }

    /// The rate at `at`.
    pub fn rate_at(&self, at: Span) -> f64 {
        let at = at.as_secs_f64();
        let knot = self.knot_at(at);
        knot.rate + knot.slope * (at - knot.at)
    }

    /// Every arrival is at the start.
    pub(super) fn is_infinite(&self) -> bool {
        self.knots.iter().any(|knot| knot.rate.is_infinite())
    }

    /// The instant by which `arrivals` are expected, the inverse of [`RateProfile::expected`].
    /// `hint` is the knot of an earlier answer, moved on to that of this one.
    #[inline]
    pub(super) fn instant(&self, arrivals: f64, hint: &mut usize) -> Span {
        while self
            .knots
            .get(*hint + 1)
            .is_some_and(|next| next.area <= arrivals)
        {
            *hint += 1;
        }
        let Some(knot) = self.knots.get(*hint) else {
            return Span::ZERO;
        };
        let rest = arrivals - knot.area;
        // The root of rate·t + slope·t²/2 = rest in the form that loses no digits. A rest that
        // rounding puts beyond a fall to 0 would be a root of something negative.
        let end = knot
            .rate
            .mul_add(knot.rate, 2.0 * knot.slope * rest)
            .max(0.0)
            .sqrt();
        Span::from_secs_f64(knot.at + 2.0 * rest / (knot.rate + end))
    }

    fn rising_to(points: &[(f64, f64)], duration: Span) -> Self {
        let duration = duration.as_secs_f64();
        let first = points.first().map_or(0.0, |&(_, rate)| rate);
        let share = Self::RAMP_STEP / duration;
        // A rise that is over before its first step is none, and there is no way up to infinity.
        let start = (share < 1.0 && first.is_finite()).then_some((0.0, first * share));
        let delayed = points.iter().map(|&(at, rate)| (at + duration, rate));
        let top = start.map(|_| (duration, first));
        Self::through(start.into_iter().chain(top).chain(delayed))
    }

    fn through(points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let mut knots: Vec<Knot> = Vec::new();
        for (at, rate) in points {
            // The first rate holds from the start.
            let before = *knots.last().unwrap_or(&Knot {
                at: 0.0,
                rate,
                area: 0.0,
                slope: 0.0,
            });
            let width = at - before.at;
            if width > 0.0 {
                let slope = (rate - before.rate) / width;
                match knots.last_mut() {
                    Some(last) => last.slope = slope,
                    None => knots.push(before),
                }
            } else if !knots.is_empty() {
                continue;
            }
            knots.push(Knot {
                at,
                rate,
                area: before.area + width * (before.rate + rate) * 0.5,
                slope: 0.0,
            });
        }
        if let [only] = &mut knots[..] {
            (only.at, only.area) = (0.0, 0.0);
        }
        Self {
            knots: knots.into(),
        }
    }

    fn knot_at(&self, at: f64) -> Knot {
        let after = self.knots.partition_point(|knot| knot.at <= at);
        self.knots[after.saturating_sub(1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Span {
        Span::from_secs_f64(seconds)
    }

    /// The integral by small steps.
    fn area(profile: &RateProfile, until: f64) -> f64 {
        let steps = 100_000;
        let width = until / f64::from(steps);
        (0..steps)
            .map(|step| profile.rate_at(seconds((f64::from(step) + 0.5) * width)) * width)
            .sum()
    }

    #[test]
    fn a_ramp_starts_at_a_tenth_of_a_second_of_itself() {
        let ramp = RateProfile::ramp(100.0, seconds(10.0));
        assert!((ramp.rate_at(Span::ZERO) - 1.0).abs() < 1e-12);
        assert!((ramp.rate_at(seconds(5.0)) - 50.5).abs() < 1e-9);
        assert!((ramp.rate_at(seconds(10.0)) - 100.0).abs() < 1e-9);
        assert!((ramp.rate_at(seconds(70.0)) - 100.0).abs() < 1e-9);
        assert!((ramp.expected(seconds(10.0)) - 505.0).abs() < 1e-9);
        assert!((ramp.expected(seconds(20.0)) - 1_505.0).abs() < 1e-9);
        let short = RateProfile::ramp(100.0, seconds(0.05));
        assert!((short.expected(seconds(1.0)) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn a_series_is_held_before_and_after_its_points() {
        let series =
            RateProfile::series(&[(2.0, 10.0), (4.0, 30.0), (5.0, 5.0)], Span::ZERO).unwrap();
        for (at, rate) in [
            (0.0, 10.0),
            (1.0, 10.0),
            (2.0, 10.0),
            (3.0, 20.0),
            (4.5, 17.5),
            (9.0, 5.0),
        ] {
            assert!((series.rate_at(seconds(at)) - rate).abs() < 1e-9, "{at}");
        }
        let exact = 20.0 + 40.0 + 17.5 + 5.0 * 5.0;
        assert!((series.expected(seconds(10.0)) - exact).abs() < 1e-9);
    }

    #[test]
    fn a_series_waits_for_the_ramp() {
        let series = RateProfile::series(&[(0.0, 10.0), (4.0, 30.0)], seconds(2.0)).unwrap();
        for (at, rate) in [(0.0, 0.5), (2.0, 10.0), (4.0, 20.0), (7.0, 30.0)] {
            assert!((series.rate_at(seconds(at)) - rate).abs() < 1e-9, "{at}");
        }
        let late = RateProfile::series(&[(1.0, 10.0), (4.0, 30.0)], seconds(2.0)).unwrap();
        assert!((late.rate_at(seconds(2.5)) - 10.0).abs() < 1e-9);
        for profile in [series, late] {
            let exact = profile.expected(seconds(10.0));
            assert!((area(&profile, 10.0) / exact - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn the_inverse_undoes_the_integral() {
        let series =
            RateProfile::series(&[(1.0, 10.0), (4.0, 300.0), (5.0, 0.5)], seconds(3.0)).unwrap();
        let mut hint = 0;
        for step in 1..2_000 {
            let at = Span::from_millis(step * 7);
            let back = series.instant(series.expected(at), &mut hint);
            assert!(back.nanos().abs_diff(at.nanos()) <= 1, "{at:?} {back:?}");
        }
    }

    #[test]
    fn infinity_is_at_the_start() {
        for profile in [
            RateProfile::constant(f64::INFINITY),
            RateProfile::ramp(f64::INFINITY, seconds(10.0)),
        ] {
            assert!(profile.is_infinite());
            assert_eq!(profile.instant(5.0, &mut 0), Span::ZERO);
            assert_eq!(profile.expected(seconds(1.0)), f64::INFINITY);
            assert_eq!(profile.rate_at(seconds(1.0)), f64::INFINITY);
        }
    }

    #[test]
    fn senseless_series_are_refused() {
        let series = |points: &[(f64, f64)]| {
            RateProfile::series(points, Span::ZERO)
                .unwrap_err()
                .to_string()
        };
        assert!(series(&[(0.0, 1.0)]).contains("at least 2 points"));
        assert!(series(&[(-1.0, 1.0), (0.0, 1.0)]).contains("point 0: time_s is -1"));
        assert!(series(&[(0.0, 1.0), (f64::NAN, 1.0)]).contains("point 1: time_s"));
        assert!(series(&[(0.0, 0.0), (1.0, 1.0)]).contains("point 0: qps is 0"));
        assert!(series(&[(0.0, 1.0), (1.0, f64::INFINITY)]).contains("point 1: qps is inf"));
        assert!(series(&[(1.0, 1.0), (1.0, 1.0)]).contains("not after 1 of the point before"));
    }
}
