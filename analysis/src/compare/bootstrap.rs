//! Confidence intervals of differences by the percentile bootstrap, without drawing whole
//! resamples.
//!
//! A resample takes n of the n values with replacement. What is needed of one is a percentile or
//! the mean, and both can be drawn as such:
//!
//! * the k-th smallest of n draws from the sorted values x is `x[⌊n·U⌋]`, where U is the k-th
//!   smallest of n uniform numbers, which is Beta(k, n + 1 − k); its upper neighbour follows from
//!   `1 − U' = (1 − U)·(1 − Beta(1, n − k))`. This is exact, and costs the same for any n;
//! * the mean of a resample is drawn value by value up to `DRAWN` values. Above, it is normal with
//!   the sample's mean and standard error (central limit theorem), which no resample of so many
//!   values could tell from the truth.
//!
//! Where a request has a list of values (gaps between chunks) these hang together, so a resample
//! has as many draws as there are requests, not values (m out of n): rather too wide than too
//! narrow.

use pinfire_base::random::{Draws, Purpose};

/// Resamples behind an interval.
pub const RESAMPLES: u64 = 2_000;

/// Up to so many values a resample's mean is drawn value by value.
const DRAWN: usize = 400;

/// What is compared: a figure of a sample.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Stat {
    /// Arithmetic mean.
    Avg,
    /// Percentile, 0 to 100, type 7.
    Percentile(f64),
    /// Smallest value.
    Min,
    /// Largest value.
    Max,
    /// Population standard deviation.
    Std,
    /// Sum.
    Sum,
    /// Number of values.
    Count,
}

impl Stat {
    /// Reads `avg`, `p99`, `p99.9`, `min`, …
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "avg" | "mean" => Self::Avg,
            "median" => Self::Percentile(50.0),
            "min" => Self::Min,
            "max" => Self::Max,
            "std" => Self::Std,
            "sum" => Self::Sum,
            "count" => Self::Count,
            _ => {
                let q: f64 = text.strip_prefix('p')?.parse().ok()?;
                (0.0..=100.0).contains(&q).then_some(Self::Percentile(q))?
            }
        })
    }

    /// As the exports spell it.
    pub fn name(self) -> String {
        match self {
            Self::Avg => "avg".into(),
            Self::Percentile(q) => format!("p{q}"),
            Self::Min => "min".into(),
            Self::Max => "max".into(),
            Self::Std => "std".into(),
            Self::Sum => "sum".into(),
            Self::Count => "count".into(),
        }
    }

    /// The figure of ascending values; `None` of no values.
    pub fn of(self, sorted: &[f64]) -> Option<f64> {
        let (&first, &last) = (sorted.first()?, sorted.last()?);
        let n = sorted.len() as f64;
        Some(match self {
            Self::Avg => mean(sorted),
            Self::Percentile(q) => percentile(sorted, q),
            Self::Min => first,
            Self::Max => last,
            Self::Std => deviation(sorted),
            Self::Sum => sorted.iter().sum(),
            Self::Count => n,
        })
    }

    /// Whether `n` values say anything about its spread: for a percentile at least five of them
    /// must lie on its far side. Of the extremes, sums and counts nothing does.
    pub fn has_interval(self, n: usize) -> bool {
        match self {
            Self::Avg => n >= 5,
            Self::Percentile(q) => n as f64 * (q.min(100.0 - q) / 100.0) >= 5.0 - 1e-9,
            _ => false,
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    (squares / values.len() as f64).sqrt()
}

/// Type 7 of ascending values.
pub fn percentile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let h = q / 100.0 * last as f64;
    let i = (h.floor() as usize).min(last);
    let at = |i: usize| sorted.get(i).copied().unwrap_or(f64::NAN);
    let low = at(i);
    low + (h - i as f64) * (at((i + 1).min(last)) - low)
}

/// A sample to be resampled.
pub struct Resampled<'a> {
    sorted: &'a [f64],
    /// Draws of a resample.
    draws: usize,
    mean: f64,
    deviation: f64,
}

impl<'a> Resampled<'a> {
    /// Ascending values of so many requests.
    pub fn new(sorted: &'a [f64], requests: usize) -> Self {
        Self {
            sorted,
            draws: requests.min(sorted.len()),
            mean: mean(sorted),
            deviation: deviation(sorted),
        }
    }

    /// Draws of a resample.
    pub fn draws(&self) -> usize {
        self.draws
    }

    /// `stat` of one resample; a figure without a spread as it is.
    fn draw(&self, stat: Stat, draws: &mut Draws) -> f64 {
        match stat {
            Stat::Avg if self.draws <= DRAWN => {
                let n = self.sorted.len() as u64;
                let one = |draws: &mut Draws| {
                    let at = usize::try_from(draws.below(n)).unwrap_or(0);
                    self.sorted.get(at).copied().unwrap_or(f64::NAN)
                };
                let sum: f64 = (0..self.draws).map(|_| one(draws)).sum();
                sum / self.draws as f64
            }
            Stat::Avg => draws.normal(self.mean, self.deviation / (self.draws as f64).sqrt()),
            Stat::Percentile(q) => self.draw_percentile(q, draws),
            other => other.of(self.sorted).unwrap_or(f64::NAN),
        }
    }

    fn draw_percentile(&self, q: f64, draws: &mut Draws) -> f64 {
        let m = self.draws;
        let h = q / 100.0 * m.saturating_sub(1) as f64;
        // From 1, as order statistics are numbered.
        let k = h.floor() as usize + 1;
        let rest = h - h.floor();
        let lower = beta(k as f64, (m + 1).saturating_sub(k).max(1) as f64, draws);
        let low = self.at(lower);
        if rest == 0.0 || k >= m {
            return low;
        }
        let step = beta(1.0, (m - k) as f64, draws);
        let high = self.at(1.0 - (1.0 - lower) * (1.0 - step));
        low + rest * (high - low)
    }

    /// The value at a place of the empirical distribution.
    fn at(&self, place: f64) -> f64 {
        let n = self.sorted.len();
        let at = ((place * n as f64) as usize).min(n.saturating_sub(1));
        self.sorted.get(at).copied().unwrap_or(f64::NAN)
    }
}

/// The middle `level` of the differences B − A over resamples of both. Depends on `seed` and `name`
/// alone, and on the values.
pub fn interval(
    (a, b): (&Resampled, &Resampled),
    stat: Stat,
    level: f64,
    seed: u64,
    name: &str,
) -> Option<(f64, f64)> {
    if !stat.has_interval(a.draws) || !stat.has_interval(b.draws) {
        return None;
    }
    let purpose = Purpose::new(seed, &format!("compare:{name}:{}", stat.name()));
    let differences = (0..RESAMPLES).map(|index| {
        let mut draws = purpose.at(index);
        let from_a = a.draw(stat, &mut draws);
        b.draw(stat, &mut draws) - from_a
    });
    middle(differences.collect(), level)
}

/// The middle `level` of values.
pub fn middle(mut values: Vec<f64>, level: f64) -> Option<(f64, f64)> {
    if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    values.sort_unstable_by(f64::total_cmp);
    let out = 50.0 * (1.0 - level);
    Some((percentile(&values, out), percentile(&values, 100.0 - out)))
}

/// A draw of Beta(a, b), both at least 1.
fn beta(a: f64, b: f64, draws: &mut Draws) -> f64 {
    let x = gamma(a, draws);
    let y = gamma(b, draws);
    x / (x + y)
}

/// A draw of Gamma(shape, 1), shape at least 1: Marsaglia and Tsang, "A Simple Method for
/// Generating Gamma Variables", 2000.
fn gamma(shape: f64, draws: &mut Draws) -> f64 {
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = draws.normal(0.0, 1.0);
        let v = (1.0 + c * x).powi(3);
        if v <= 0.0 {
            continue;
        }
        let u = 1.0 - draws.uniform();
        if u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(n: usize, from: f64) -> Vec<f64> {
        (0..n).map(|i| from + i as f64).collect()
    }

    fn of(values: &[f64]) -> Resampled<'_> {
        Resampled::new(values, values.len())
    }

    #[test]
    fn stats_are_read_as_they_are_spelled() {
        for text in ["avg", "p50", "p99.9", "min", "max", "std", "sum", "count"] {
            assert_eq!(Stat::parse(text).unwrap().name(), text);
        }
        for wrong in ["", "p", "p101", "p-1", "pnan", "mode"] {
            assert_eq!(Stat::parse(wrong), None, "{wrong}");
        }
    }

    /// The short way against drawing whole resamples, by their middle and their spread.
    #[test]
    fn a_drawn_percentile_is_that_of_a_whole_resample() {
        let values: Vec<f64> = (0..200).map(|i| f64::from(i * i)).collect();
        let sample = of(&values);
        let purpose = Purpose::new(1, "test");
        for q in [10.0, 50.0, 90.0, 95.0] {
            let mut short = Vec::new();
            let mut long = Vec::new();
            for index in 0..4_000 {
                let mut draws = purpose.at(index);
                short.push(sample.draw(Stat::Percentile(q), &mut draws));
                let mut whole: Vec<f64> = (0..200)
                    .map(|_| values[draws.below(200) as usize])
                    .collect();
                whole.sort_unstable_by(f64::total_cmp);
                long.push(percentile(&whole, q));
            }
            let (sm, lm) = (mean(&short), mean(&long));
            let (sd, ld) = (deviation(&short), deviation(&long));
            assert!((sm - lm).abs() < 0.1 * ld, "p{q}: mean {sm} is not {lm}");
            assert!(
                (sd / ld - 1.0).abs() < 0.08,
                "p{q}: spread {sd} is not {ld}"
            );
        }
    }

    #[test]
    fn a_shift_is_found_and_no_shift_is_noise() {
        let (a, b, c) = (ramp(500, 0.0), ramp(500, 0.0), ramp(500, 100.0));
        for stat in [Stat::Avg, Stat::Percentile(50.0), Stat::Percentile(90.0)] {
            let (low, high) = interval((&of(&a), &of(&b)), stat, 0.95, 1, "m").unwrap();
            assert!(low < 0.0 && high > 0.0, "{low} {high}");
            let (low, high) = interval((&of(&a), &of(&c)), stat, 0.95, 1, "m").unwrap();
            assert!(low > 0.0 && low < 100.0 && high > 100.0, "{low} {high}");
        }
    }

    /// The mean's two ways agree where they meet, and the interval of a mean is that of theory.
    #[test]
    fn the_interval_of_a_mean_is_as_theory_has_it() {
        let zero = vec![0.0; 100];
        for n in [DRAWN, DRAWN + 1] {
            let values = ramp(n, 0.0);
            let (low, high) =
                interval((&of(&zero), &of(&values)), Stat::Avg, 0.95, 7, "m").unwrap();
            let error = deviation(&values) / (n as f64).sqrt();
            let width = (high - low) / (2.0 * 1.96 * error);
            assert!((width - 1.0).abs() < 0.08, "{n}: {width}");
        }
    }

    #[test]
    fn the_seed_alone_decides() {
        let (a, b) = (ramp(300, 0.0), ramp(300, 3.0));
        let of_seed = |seed| interval((&of(&a), &of(&b)), Stat::Percentile(90.0), 0.95, seed, "m");
        assert_eq!(of_seed(1), of_seed(1));
        assert_ne!(of_seed(1), of_seed(2));
    }

    #[test]
    fn too_few_values_have_no_interval() {
        let values = ramp(100, 0.0);
        let at = |q| {
            interval(
                (&of(&values), &of(&values)),
                Stat::Percentile(q),
                0.95,
                1,
                "m",
            )
        };
        assert!(at(95.0).is_some());
        assert!(at(99.0).is_none());
        assert!(interval((&of(&values), &of(&values)), Stat::Max, 0.95, 1, "m").is_none());
    }

    /// With as many gaps as there are requests times ten, the interval is that of the requests.
    #[test]
    fn lists_count_as_their_requests() {
        let values = ramp(1_000, 0.0);
        let width = |requests| {
            let sample = Resampled::new(&values, requests);
            let (low, high) =
                interval((&sample, &sample), Stat::Percentile(50.0), 0.95, 1, "m").unwrap();
            high - low
        };
        let ratio = width(100) / width(1_000);
        assert!((ratio - 10.0_f64.sqrt()).abs() < 0.4, "{ratio}");
    }
}
