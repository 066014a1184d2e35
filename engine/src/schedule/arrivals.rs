//! When requests arrive: a renewal process under a rate that may change.
//!
//! Gaps of mean 1 are drawn one by one, a pure function of (seed, index), and summed up; the sum is
//! the number of arrivals expected by then, and the instant is where the profile's integral reaches
//! it. So the gaps are independent at any rate, there is no grid, and a ramp sends what its area
//! says. Where gaps are drawn, the first arrival is one gap after the start, never at it.

use pinfire_base::{
    clock::Span,
    random::{Draws, Purpose},
};

use super::RateProfile;

/// How the gaps between arrivals are spread around their mean.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Pattern {
    /// All alike.
    Constant,
    /// Exponential: arrivals that know nothing of each other.
    Poisson,
    /// Gamma distributed.
    Gamma {
        /// The shape: below 1 in bursts, above 1 more even than Poisson. Above 0.
        smoothness: f64,
    },
    /// No gaps: everything at the start.
    Burst,
}

/// The arrivals of a phase.
#[derive(Clone, Debug)]
pub struct Arrivals {
    gaps: Gaps,
    profile: RateProfile,
}

/// A walk through the arrivals, from the first on.
#[derive(Clone, Debug)]
pub struct ArrivalWalk {
    arrivals: Arrivals,
    /// The first gap that is not in the sum.
    next: u64,
    sum: f64,
    /// What the rounding of the sum has added so far (Kahan).
    excess: f64,
    /// The profile's piece of the last answer.
    piece: usize,
    last: Span,
}

#[derive(Clone, Copy, Debug)]
enum Gaps {
    None,
    Even,
    Exponential(Purpose),
    Gamma(Purpose, f64),
}

impl Arrivals {
    /// Arrivals of the given pattern at the given rate. The streams have AIPerf's names.
    pub fn new(seed: u64, pattern: Pattern, profile: RateProfile) -> Self {
        let gaps = match pattern {
            _ if profile.is_infinite() => Gaps::None,
            Pattern::Burst => Gaps::None,
            Pattern::Constant => Gaps::Even,
            Pattern::Poisson => {
                Gaps::Exponential(Purpose::new(seed, "timing.request.poisson_interval"))
            }
            Pattern::Gamma { smoothness } => Gaps::Gamma(
                Purpose::new(seed, "timing.request.gamma_interval"),
                smoothness,
            ),
        };
        Self { gaps, profile }
    }

    /// A walk that begins at the first arrival.
    pub fn walk(&self) -> ArrivalWalk {
        ArrivalWalk {
            arrivals: self.clone(),
            next: 0,
            sum: 0.0,
            excess: 0.0,
            piece: 0,
            last: Span::ZERO,
        }
    }
}

impl ArrivalWalk {
    /// The instant of arrival `index`, from the phase's start. Indices must not decrease from call
    /// to call; what is skipped is drawn on the way.
    #[inline]
    pub fn at(&mut self, index: u64) -> Span {
        let expected = match self.arrivals.gaps {
            Gaps::None => return Span::ZERO,
            Gaps::Even => (index + 1) as f64,
            Gaps::Exponential(draws) => {
                self.sum_to(index, |index| exponential(&mut draws.at(index)))
            }
            Gaps::Gamma(draws, shape) => {
                self.sum_to(index, |index| gamma(shape, &mut draws.at(index)) / shape)
            }
        };
        let at = self.arrivals.profile.instant(expected, &mut self.piece);
        // Rounding must not make time go back by a nanosecond.
        self.last = self.last.max(at);
        self.last
    }

    /// All arrivals are at the start.
    pub const fn is_burst(&self) -> bool {
        matches!(self.arrivals.gaps, Gaps::None)
    }

    #[inline]
    fn sum_to(&mut self, index: u64, gap: impl Fn(u64) -> f64) -> f64 {
        while self.next <= index {
            let term = gap(self.next) - self.excess;
            let sum = self.sum + term;
            self.excess = (sum - self.sum) - term;
            self.sum = sum;
            self.next += 1;
        }
        self.sum
    }
}

/// Exponential with mean 1.
#[inline]
fn exponential(draws: &mut Draws) -> f64 {
    -(1.0 - draws.uniform()).ln()
}

/// Gamma with the given shape and scale 1 (Marsaglia and Tsang, "A Simple Method for Generating
/// Gamma Variables", 2000).
fn gamma(shape: f64, draws: &mut Draws) -> f64 {
    if shape < 1.0 {
        let boost = (1.0 - draws.uniform()).powf(1.0 / shape);
        return boost * gamma(shape + 1.0, draws);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let normal = draws.normal(0.0, 1.0);
        let v = (1.0 + c * normal).powi(3);
        let uniform = 1.0 - draws.uniform();
        if v > 0.0 && uniform.ln() < 0.5 * normal * normal + d * (1.0 - v + v.ln()) {
            return d * v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: usize = 20_000;

    fn instants(arrivals: &Arrivals, count: usize) -> Vec<Span> {
        let mut walk = arrivals.walk();
        (0..count as u64).map(|index| walk.at(index)).collect()
    }

    /// Gaps in seconds, the first one from the start.
    fn gaps(pattern: Pattern, rate: f64) -> Vec<f64> {
        let arrivals = Arrivals::new(42, pattern, RateProfile::constant(rate));
        let mut before = 0;
        instants(&arrivals, COUNT)
            .into_iter()
            .map(|at| {
                let gap = at.nanos() - before;
                before = at.nanos();
                gap as f64 / 1e9
            })
            .collect()
    }

    /// Kolmogorov–Smirnov at 5 %: the greatest distance between what is and what should be.
    fn follows(mut sample: Vec<f64>, cumulative: impl Fn(f64) -> f64) {
        sample.sort_by(f64::total_cmp);
        let n = sample.len() as f64;
        let distance = sample
            .iter()
            .enumerate()
            .map(|(rank, &x)| {
                let p = cumulative(x);
                (p - rank as f64 / n).max((rank + 1) as f64 / n - p)
            })
            .fold(0.0, f64::max);
        assert!(distance < 1.358 / n.sqrt(), "distance {distance}");
    }

    /// The regularised lower incomplete gamma function, by its series.
    fn gamma_cumulative(shape: f64, x: f64) -> f64 {
        if x <= 0.0 {
            return 0.0;
        }
        let mut term = 1.0 / shape;
        let mut sum = term;
        for n in 1..1_000 {
            term *= x / (shape + f64::from(n));
            sum += term;
        }
        // Γ of the shapes that are tested.
        let gamma = match shape {
            0.5 => std::f64::consts::PI.sqrt(),
            1.0 => 1.0,
            4.0 => 6.0,
            _ => f64::NAN,
        };
        sum * x.powf(shape) * (-x).exp() / gamma
    }

    fn mean_and_variation(gaps: &[f64]) -> (f64, f64) {
        let n = gaps.len() as f64;
        let mean = gaps.iter().sum::<f64>() / n;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (mean, variance.sqrt() / mean)
    }

    #[test]
    fn poisson_gaps_are_exponential_and_independent() {
        let gaps = gaps(Pattern::Poisson, 100.0);
        follows(gaps.clone(), |gap| 1.0 - (-100.0 * gap).exp());
        let (mean, variation) = mean_and_variation(&gaps);
        assert!((mean - 0.01).abs() < 0.01 * 0.03, "mean {mean}");
        assert!((variation - 1.0).abs() < 0.03, "variation {variation}");
        // Neighbours are not correlated: 3 deviations of the estimate are 0.021.
        let products = gaps
            .windows(2)
            .map(|pair| (pair[0] - mean) * (pair[1] - mean));
        let correlation = products.sum::<f64>() / (gaps.len() as f64 * mean * mean);
        assert!(correlation.abs() < 0.022, "correlation {correlation}");
    }

    #[test]
    fn gamma_gaps_have_their_shape() {
        for smoothness in [0.5, 1.0, 4.0] {
            let gaps = gaps(Pattern::Gamma { smoothness }, 100.0);
            follows(gaps.clone(), |gap| {
                gamma_cumulative(smoothness, gap * 100.0 * smoothness)
            });
            let (mean, variation) = mean_and_variation(&gaps);
            assert!(
                (mean - 0.01).abs() < 0.01 * 0.04,
                "{smoothness}: mean {mean}"
            );
            let expected = 1.0 / smoothness.sqrt();
            assert!(
                (variation / expected - 1.0).abs() < 0.04,
                "{smoothness}: variation {variation}"
            );
        }
    }

    #[test]
    fn constant_arrivals_are_right_to_the_nanosecond() {
        let arrivals = Arrivals::new(1, Pattern::Constant, RateProfile::constant(1_000.0));
        let mut walk = arrivals.walk();
        for index in [0, 1, 2, 999_999, 9_999_999, 10_000_000, 123_456_789] {
            assert_eq!(walk.at(index), Span::from_millis(index + 1));
        }
        let thirds = Arrivals::new(1, Pattern::Constant, RateProfile::constant(3.0));
        assert_eq!(thirds.walk().at(0).nanos(), 333_333_333);
        assert_eq!(thirds.walk().at(1_000_000).nanos(), 333_333_666_666_667);
    }

    /// The sum of ten million random gaps against one in whole numbers, which rounds each gap once.
    #[test]
    fn long_sums_keep_their_digits() {
        let arrivals = Arrivals::new(5, Pattern::Poisson, RateProfile::constant(1_000.0));
        let draws = Purpose::new(5, "timing.request.poisson_interval");
        let count = 2_000_000;
        let scale = (1_u64 << 56) as f64;
        let whole: u128 = (0..count)
            .map(|index| (exponential(&mut draws.at(index)) * scale) as u128)
            .sum();
        let exact = ((whole * 1_000_000) >> 56) as u64;
        let at = arrivals.walk().at(count - 1).nanos();
        assert!(at.abs_diff(exact) <= 1, "{at} {exact}");
    }

    #[test]
    fn skipping_ahead_is_walking_each() {
        for pattern in [
            Pattern::Constant,
            Pattern::Poisson,
            Pattern::Gamma { smoothness: 0.3 },
            Pattern::Burst,
        ] {
            let profile = RateProfile::series(&[(0.5, 50.0), (3.0, 400.0)], Span::ZERO).unwrap();
            let arrivals = Arrivals::new(9, pattern, profile);
            let each = instants(&arrivals, 3_000);
            assert!(each.is_sorted());
            for step in [7, 64, 997] {
                let mut walk = arrivals.walk();
                for index in (3..3_000).step_by(step) {
                    assert_eq!(walk.at(index), each[index as usize]);
                    assert_eq!(walk.at(index), each[index as usize], "the same one again");
                }
            }
        }
    }

    #[test]
    fn the_first_arrival_is_one_gap_after_the_start() {
        let profile = RateProfile::constant(4.0);
        let first = |pattern| Arrivals::new(3, pattern, profile.clone()).walk().at(0);
        assert_eq!(first(Pattern::Constant), Span::from_millis(250));
        assert!(first(Pattern::Poisson) > Span::ZERO);
        assert!(first(Pattern::Gamma { smoothness: 2.0 }) > Span::ZERO);
        assert_eq!(first(Pattern::Burst), Span::ZERO);
    }

    #[test]
    fn an_infinite_rate_is_all_at_the_start() {
        for pattern in [Pattern::Constant, Pattern::Poisson, Pattern::Burst] {
            let arrivals = Arrivals::new(3, pattern, RateProfile::constant(f64::INFINITY));
            assert_eq!(arrivals.walk().at(1_000_000_000), Span::ZERO);
        }
    }

    #[test]
    fn ramps_and_series_send_their_area() {
        let until = Span::from_millis(60_000);
        let ramp = RateProfile::ramp(500.0, until);
        let points = [(0.0, 50.0), (20.0, 900.0), (30.0, 20.0), (50.0, 300.0)];
        let series = RateProfile::series(&points, Span::ZERO).unwrap();
        for profile in [ramp, series] {
            let expected = profile.expected(until);
            let arrivals = Arrivals::new(1, Pattern::Constant, profile.clone());
            let mut walk = arrivals.walk();
            let sent = (0..).take_while(|&index| walk.at(index) <= until).count() as f64;
            assert!(
                (sent / expected - 1.0).abs() < 0.001,
                "{sent} of {expected}"
            );
            // Random gaps scatter by the root of their number.
            let mut walk = Arrivals::new(1, Pattern::Poisson, profile).walk();
            let sent = (0..).take_while(|&index| walk.at(index) <= until).count() as f64;
            assert!(
                (sent - expected).abs() < 3.5 * expected.sqrt(),
                "{sent} of {expected}"
            );
        }
    }

    #[test]
    fn the_seed_decides() {
        let with = |seed| {
            let profile = RateProfile::constant(10.0);
            instants(&Arrivals::new(seed, Pattern::Poisson, profile), 100)
        };
        assert_eq!(with(1), with(1));
        assert_ne!(with(1), with(2));
    }
}
