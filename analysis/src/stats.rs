//! Exact statistics of a sample: type-7 percentiles, population deviation, conversion at the end.
//!
//! Samples are kept as narrow as their values allow, so that a million requests with their gaps fit
//! in memory: nanoseconds below 4.29 s take four bytes, a column of equal values takes none.

use crate::sketch::Sketch;

/// The percentiles of all exports where no others are asked for.
pub const PERCENTILES: [f64; 9] = [1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0];

/// Percentiles to be computed, ascending and each once. Without more words those of
/// [`PERCENTILES`].
#[derive(Clone, PartialEq, Debug)]
pub struct Percentiles(Vec<f64>);

impl Default for Percentiles {
    fn default() -> Self {
        Self(PERCENTILES.to_vec())
    }
}

impl Percentiles {
    /// A list such as `p50,p99.9`; the `p` may be left out.
    ///
    /// # Errors
    /// Something in the list is no number from 0 to 100, or nothing is in it; the text names it.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut wanted = Vec::new();
        for word in list.split([',', ' ']).filter(|word| !word.is_empty()) {
            let number = word.strip_prefix(['p', 'P']).unwrap_or(word);
            let number = number.parse().ok().filter(|q| (0.0..=100.0).contains(q));
            let Some(q) = number else {
                return Err(format!(
                    "`{word}` is no percentile; write p and a number from 0 to 100, such as p99.9"
                ));
            };
            wanted.push(q);
        }
        if wanted.is_empty() {
            return Err("no percentile is named; write for example p50,p99.9".to_owned());
        }
        wanted.sort_unstable_by(f64::total_cmp);
        wanted.dedup();
        Ok(Self(wanted))
    }

    /// These.
    pub fn of<const N: usize>(mut wanted: [f64; N]) -> Self {
        wanted.sort_unstable_by(f64::total_cmp);
        Self(wanted.to_vec())
    }

    /// The percentiles, ascending.
    pub fn list(&self) -> &[f64] {
        &self.0
    }
}

/// The figures of one metric over a run. Absent ones do not exist for its kind; infinite ones are
/// figures of a sample with requests that never ended, and are left out of every export.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Figures {
    /// Arithmetic mean; of a scalar the value itself.
    pub avg: Option<f64>,
    /// Percentiles with their values, ascending.
    pub percentiles: Vec<(f64, f64)>,
    /// Smallest value.
    pub min: Option<f64>,
    /// Largest value.
    pub max: Option<f64>,
    /// Population standard deviation.
    pub std: Option<f64>,
    /// Number of values.
    pub count: Option<u64>,
    /// Sum of the values.
    pub sum: Option<f64>,
}

impl Figures {
    /// The figures of one value over the whole run.
    pub fn scalar(value: f64) -> Self {
        Self {
            avg: Some(value),
            ..Self::default()
        }
    }

    /// The percentile `q`, if it was computed.
    pub fn percentile(&self, q: impl Into<f64>) -> Option<f64> {
        let q = q.into();
        let found = self.percentiles.iter().find(|(at, _)| *at == q);
        found.map(|(_, value)| *value)
    }

    /// Whether any percentile exists, which tells a sample from a scalar.
    pub const fn is_distribution(&self) -> bool {
        !self.percentiles.is_empty()
    }

    /// All figures but the count divided by `divisor`: internal unit to shown unit.
    #[must_use]
    pub fn divided_by(mut self, divisor: f64) -> Self {
        let convert = |value: Option<f64>| value.map(|v| v / divisor);
        self.percentiles.iter_mut().for_each(|(_, v)| *v /= divisor);
        Self {
            avg: convert(self.avg),
            min: convert(self.min),
            max: convert(self.max),
            std: convert(self.std),
            sum: convert(self.sum),
            ..self
        }
    }
}

/// A growing sample.
///
/// ```
/// use pinfire_analysis::stats::Sample;
///
/// let mut sample = Sample::default();
/// (1..=100).for_each(|value| sample.push(value));
/// let figures = sample.figures().unwrap();
/// assert_eq!((figures.min, figures.avg, figures.max), (Some(1.0), Some(50.5), Some(100.0)));
/// assert_eq!(figures.percentile(50), Some(50.5));
/// ```
#[derive(Clone, Debug)]
pub enum Sample {
    /// So many times the same whole value.
    Same {
        /// The value.
        value: u64,
        /// How often.
        count: usize,
    },
    /// Whole values that fit four bytes.
    Narrow(Vec<u32>),
    /// Whole values.
    Wide(Vec<u64>),
    /// Fractions.
    Float(Vec<f64>),
    /// Values to three digits, in bounded memory; already in order.
    Sketch(Box<Sketch>),
}

impl Default for Sample {
    fn default() -> Self {
        Self::Same { value: 0, count: 0 }
    }
}

impl Sample {
    /// Adds a whole value.
    pub fn push(&mut self, new: u64) {
        match self {
            Self::Same { value, count } if *count == 0 || *value == new => {
                *value = new;
                *count += 1;
            }
            Self::Narrow(values) => match u32::try_from(new) {
                Ok(narrow) => values.push(narrow),
                Err(_) => {
                    self.widen();
                    self.push(new);
                }
            },
            Self::Wide(values) => values.push(new),
            Self::Float(values) => values.push(new as f64),
            Self::Sketch(sketch) => sketch.push(new),
            Self::Same { .. } => {
                self.widen();
                self.push(new);
            }
        }
    }

    /// Adds a fraction. A sample is of whole values or of fractions, never of both.
    pub fn push_float(&mut self, new: f64) {
        match self {
            Self::Float(values) => values.push(new),
            Self::Sketch(sketch) => sketch.push_float(new),
            _ => {
                let mut values: Vec<f64> = Vec::new();
                self.each(|v| values.push(v));
                values.push(new);
                *self = Self::Float(values);
            }
        }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::Same { count, .. } => *count,
            Self::Narrow(values) => values.len(),
            Self::Wide(values) => values.len(),
            Self::Float(values) => values.len(),
            Self::Sketch(sketch) => sketch.len(),
        }
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at a place.
    pub fn get(&self, at: usize) -> Option<f64> {
        match self {
            Self::Same { value, count } => (at < *count).then_some(*value as f64),
            Self::Narrow(values) => values.get(at).map(|&v| v.into()),
            Self::Wide(values) => values.get(at).map(|&v| v as f64),
            Self::Float(values) => values.get(at).copied(),
            Self::Sketch(sketch) => sketch.get(at),
        }
    }

    /// The whole value at a place.
    pub fn whole(&self, at: usize) -> Option<u64> {
        match self {
            Self::Same { value, count } => (at < *count).then_some(*value),
            Self::Narrow(values) => values.get(at).map(|&v| v.into()),
            Self::Wide(values) => values.get(at).copied(),
            Self::Float(_) | Self::Sketch(_) => None,
        }
    }

    /// The values at these places, in this order. Places that do not exist are left out.
    #[must_use]
    pub fn picked(&self, places: impl Iterator<Item = usize>) -> Self {
        match self {
            Self::Same { value, count } => Self::Same {
                value: *value,
                count: places.filter(|at| at < count).count(),
            },
            Self::Narrow(values) => {
                Self::Narrow(places.filter_map(|at| values.get(at).copied()).collect())
            }
            Self::Wide(values) => {
                Self::Wide(places.filter_map(|at| values.get(at).copied()).collect())
            }
            Self::Float(values) => {
                Self::Float(places.filter_map(|at| values.get(at).copied()).collect())
            }
            // It no longer knows which value was whose.
            Self::Sketch(_) => self.clone(),
        }
    }

    /// The figures in the sample's own unit, with the usual percentiles; `None` of an empty one.
    pub fn figures(self) -> Option<Figures> {
        self.sorted().figures(&Percentiles::default())
    }

    /// Sorts the values, in place.
    #[must_use]
    pub fn sorted(mut self) -> Sorted {
        match &mut self {
            Self::Same { .. } | Self::Sketch(_) => {}
            Self::Narrow(values) => values.sort_unstable(),
            Self::Wide(values) => values.sort_unstable(),
            Self::Float(values) => values.sort_unstable_by(f64::total_cmp),
        }
        Sorted(self)
    }

    /// The sum of all values; exact for whole ones.
    pub fn sum(&self) -> f64 {
        match self {
            Self::Same { value, count } => (u128::from(*value) * *count as u128) as f64,
            Self::Narrow(values) => values.iter().map(|&v| u128::from(v)).sum::<u128>() as f64,
            Self::Wide(values) => values.iter().map(|&v| u128::from(v)).sum::<u128>() as f64,
            Self::Float(values) => values.iter().sum(),
            Self::Sketch(sketch) => sketch.sum(),
        }
    }

    /// The sum of the squared distances from `avg`, the mean.
    fn squares(&self, avg: f64) -> f64 {
        if let Self::Sketch(sketch) = self {
            return sketch.squares();
        }
        let mut squares = 0.0;
        self.each(|value| squares += (value - avg) * (value - avg));
        squares
    }

    /// Keeps from now on what a [`Sketch`] keeps: three digits of every value.
    pub fn coarsen(&mut self) {
        if matches!(self, Self::Sketch(_)) {
            return;
        }
        let mut sketch = Box::new(Sketch::default());
        match &*self {
            Self::Float(values) => values.iter().for_each(|&v| sketch.push_float(v)),
            whole => (0..whole.len())
                .filter_map(|at| whole.whole(at))
                .for_each(|v| sketch.push(v)),
        }
        *self = Self::Sketch(sketch);
    }

    fn each(&self, mut visit: impl FnMut(f64)) {
        match self {
            Self::Same { value, count } => (0..*count).for_each(|_| visit(*value as f64)),
            Self::Narrow(values) => values.iter().for_each(|&v| visit(v.into())),
            Self::Wide(values) => values.iter().for_each(|&v| visit(v as f64)),
            Self::Float(values) => values.iter().for_each(|&v| visit(v)),
            Self::Sketch(sketch) => (0..sketch.len())
                .filter_map(|at| sketch.get(at))
                .for_each(visit),
        }
    }

    fn widen(&mut self) {
        *self = match std::mem::take(self) {
            Self::Same { value, count } => match u32::try_from(value) {
                Ok(narrow) => Self::Narrow(vec![narrow; count]),
                Err(_) => Self::Wide(vec![value; count]),
            },
            Self::Narrow(values) => Self::Wide(values.into_iter().map(u64::from).collect()),
            other => other,
        };
    }
}

/// A sample whose values ascend. Sums of fractions are taken in this order, so that they do not
/// depend on which request ended first.
#[derive(Clone, Debug)]
pub struct Sorted(Sample);

impl Sorted {
    /// The figures in the sample's own unit; `None` of an empty one.
    pub fn figures(&self, wanted: &Percentiles) -> Option<Figures> {
        let count = self.0.len();
        let last = count.checked_sub(1)?;
        let sum = self.0.sum();
        let avg = sum / count as f64;
        let squares = self.0.squares(avg);
        // Type 7 of Hyndman and Fan: linear between the two nearest ranks.
        let percentile = |q: f64| {
            let h = q / 100.0 * last as f64;
            let i = (h.floor() as usize).min(last);
            let low = self.at(i);
            low + (h - i as f64) * (self.at((i + 1).min(last)) - low)
        };
        Some(Figures {
            avg: Some(avg),
            percentiles: wanted.0.iter().map(|&q| (q, percentile(q))).collect(),
            min: Some(self.at(0)),
            max: Some(self.at(last)),
            std: Some((squares / count as f64).sqrt()),
            count: Some(count as u64),
            sum: Some(sum),
        })
    }

    /// The figures as if `endless` more values were infinite: ranks are rounded to the nearest,
    /// ties to even, and a percentile that falls on one of those is infinite. `None` of an empty
    /// sample.
    pub fn with_endless(&self, endless: u64, wanted: &Percentiles) -> Option<Figures> {
        let finite = self.0.len();
        let last = finite as u64 + endless;
        let last = last.checked_sub(1).filter(|_| finite > 0)?;
        let percentile = |q: f64| {
            let rank = (q / 100.0 * last as f64).round_ties_even() as usize;
            self.0.get(rank).unwrap_or(f64::INFINITY)
        };
        Some(Figures {
            percentiles: wanted.0.iter().map(|&q| (q, percentile(q))).collect(),
            min: self.0.get(0),
            count: Some(last + 1),
            ..Figures::default()
        })
    }

    /// The value at a place below the length.
    fn at(&self, place: usize) -> f64 {
        self.0.get(place).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coarse_sample_has_the_same_figures_to_three_digits() {
        let mut exact = Sample::default();
        let mut coarse = Sample::default();
        for n in 0..20_000_u64 {
            let value = 20_000_000 + n.wrapping_mul(2_654_435_761) % 9_000_000;
            exact.push(value);
            coarse.push(value);
            if n == 5_000 {
                coarse.coarsen();
            }
        }
        let (exact, coarse) = (exact.figures().unwrap(), coarse.figures().unwrap());
        let near = |one: f64, other: f64, digits: f64| {
            assert!((one - other).abs() <= digits * other, "{one} {other}");
        };
        for ((q, one), (_, other)) in coarse.percentiles.iter().zip(&exact.percentiles) {
            assert!(
                (one - other).abs() <= 0.000_5 * other,
                "p{q}: {one} {other}"
            );
        }
        near(coarse.avg.unwrap(), exact.avg.unwrap(), 1e-12);
        near(coarse.std.unwrap(), exact.std.unwrap(), 1e-9);
        assert_eq!((coarse.min, coarse.max), (exact.min, exact.max));
        assert_eq!((coarse.sum, coarse.count), (exact.sum, exact.count));
    }

    fn close(value: Option<f64>, expected: f64) {
        let value = value.unwrap();
        assert!((value - expected).abs() < 1e-5, "{value} is not {expected}");
    }

    fn whole(values: &[u64]) -> Figures {
        let mut sample = Sample::default();
        values.iter().for_each(|&v| sample.push(v));
        sample.figures().unwrap()
    }

    #[test]
    fn the_check_values() {
        let expected = [
            10.3, 11.5, 13.0, 17.5, 25.0, 32.5, 37.0, 38.5, 39.7, // p1 to p99
        ];
        let mut fractions = Sample::default();
        [40.0, 10.0, 30.0, 20.0]
            .iter()
            .for_each(|&v| fractions.push_float(v));
        for figures in [whole(&[40, 10, 30, 20]), fractions.figures().unwrap()] {
            close(figures.avg, 25.0);
            close(figures.std, 11.18034);
            for ((_, value), expected) in figures.percentiles.iter().zip(expected) {
                close(Some(*value), expected);
            }
            assert_eq!(
                (figures.min, figures.max, figures.sum, figures.count),
                (Some(10.0), Some(40.0), Some(100.0), Some(4))
            );
        }
    }

    #[test]
    fn a_single_value_has_no_spread() {
        let figures = whole(&[7]);
        assert_eq!(figures.std, Some(0.0));
        assert_eq!(figures.percentile(99), Some(7.0));
        assert!(Sample::default().figures().is_none());
    }

    #[test]
    fn widening_keeps_every_value() {
        let big = u64::from(u32::MAX) + 5;
        let figures = whole(&[3, 3, 9, big, 1]);
        assert_eq!(figures.sum, Some(big as f64 + 16.0));
        assert_eq!((figures.min, figures.max), (Some(1.0), Some(big as f64)));
        assert_eq!(figures.percentile(50), Some(3.0));
        assert_eq!(whole(&[big, big, 1]).percentile(50), Some(big as f64));
    }

    #[test]
    fn a_scalar_is_its_average_alone() {
        let scalar = Figures::scalar(3.0).divided_by(2.0);
        assert_eq!(scalar.avg, Some(1.5));
        assert!(!scalar.is_distribution() && scalar.max.is_none());
    }

    #[test]
    fn other_percentiles_can_be_asked_for() {
        let wanted = Percentiles::parse("p99.9, 50 p75,p50").unwrap();
        assert_eq!(wanted.list(), [50.0, 75.0, 99.9]);
        let mut sample = Sample::default();
        (0..=1000).for_each(|v| sample.push(v));
        let figures = sample.sorted().figures(&wanted).unwrap();
        close(figures.percentile(99.9), 999.0);
        assert_eq!(figures.percentile(90), None);
        for wrong in ["", "p", "p101", "-1", "nan", "p50;p60"] {
            assert!(Percentiles::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn endless_values_take_the_upper_ranks() {
        let mut sample = Sample::default();
        [130, 80].iter().for_each(|&v| sample.push(v));
        let sorted = sample.sorted();
        let figures = sorted.with_endless(1, &Percentiles::default()).unwrap();
        for q in [1, 5, 10, 25] {
            // p25 is rank 0.5, which goes to the even 0.
            assert_eq!(figures.percentile(q), Some(80.0));
        }
        assert_eq!(figures.percentile(50), Some(130.0));
        // p75 is rank 1.5, which goes to the even 2.
        assert_eq!(figures.percentile(75), Some(f64::INFINITY));
        assert_eq!((figures.min, figures.count), (Some(80.0), Some(3)));
        assert_eq!((figures.avg, figures.max, figures.sum), (None, None, None));
        assert!(
            Sample::default()
                .sorted()
                .with_endless(3, &Percentiles::default())
                .is_none()
        );
    }

    #[test]
    fn values_can_be_picked_in_any_order() {
        let mut sample = Sample::default();
        [5, 6, 7].iter().for_each(|&v| sample.push(v));
        let picked = sample.picked([2, 0, 9].into_iter());
        assert_eq!(
            (picked.whole(0), picked.whole(1), picked.len()),
            (Some(7), Some(5), 2)
        );
        assert_eq!(sample.picked(1..3).sum(), 13.0);
    }
}
