//! Results of a phase while they are being computed: what derived rows read.

use super::{METRICS, row};
use crate::stats::Figures;
use pinfire_artifacts::tag;

/// The results so far, by row, in internal units.
pub struct Results {
    /// Valid requests.
    pub valid: u64,
    /// Failed requests.
    pub errors: u64,
    /// Requests hung up on by plan.
    pub cancelled: u64,
    /// The duration behind rates in nanoseconds; `benchmark_duration` where none is given.
    pub rates_over: Option<u64>,
    figures: Vec<Option<Figures>>,
    wholes: Vec<Option<u64>>,
}

impl Results {
    /// No results yet.
    pub fn new(rates_over: Option<u64>, [valid, errors, cancelled]: [u64; 3]) -> Self {
        Self {
            valid,
            errors,
            cancelled,
            rates_over,
            figures: vec![None; METRICS.len()],
            wholes: vec![None; METRICS.len()],
        }
    }

    /// Keeps the result of a row.
    pub fn set(&mut self, row: usize, figures: Option<Figures>) {
        if let Some(slot) = self.figures.get_mut(row) {
            *slot = figures;
        }
    }

    /// Keeps the result of a row that is one whole number, exactly: Unix nanoseconds do not fit a
    /// float.
    pub fn set_whole(&mut self, row: usize, value: Option<u64>) {
        self.set(row, value.map(|v| Figures::scalar(v as f64)));
        if let Some(slot) = self.wholes.get_mut(row) {
            *slot = value;
        }
    }

    /// The exact value of a row that is one whole number.
    pub fn whole(&self, tag: &str) -> Option<u64> {
        self.wholes.get(row(tag)?).copied().flatten()
    }

    /// The result of a row.
    pub fn get(&self, row: usize) -> Option<&Figures> {
        self.figures.get(row)?.as_ref()
    }

    /// The value of a scalar row.
    pub fn value(&self, tag: &str) -> Option<f64> {
        self.get(row(tag)?)?.avg
    }

    /// The sum of a sampled row.
    pub fn sum(&self, tag: &str) -> Option<f64> {
        self.get(row(tag)?)?.sum
    }

    /// The one duration behind all rates, in seconds.
    pub fn seconds(&self) -> Option<f64> {
        let given = self.rates_over.map(|nanos| nanos as f64);
        let nanos = given.or_else(|| self.value(tag::BENCHMARK_DURATION))?;
        (nanos > 0.0).then_some(nanos / 1e9)
    }

    /// An amount per second of the run.
    pub fn rate(&self, amount: Option<f64>) -> Option<f64> {
        Some(amount? / self.seconds()?)
    }
}
