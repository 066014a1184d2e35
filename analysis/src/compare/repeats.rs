//! Repeated runs of one configuration: what one run differs from the next by.
//!
//! With repeats on a side the interval of a difference is that of the means of the runs (Student's
//! t, one variance for both sides), so that it speaks of what another run would show. A side with a
//! single run borrows the spread of the other one.

use super::files::Run;
use crate::spread::t_critical;

/// A figure of each repeat, or of the single run; `None` where one of them lacks it.
pub fn figures(run: &Run, figure: impl Fn(&Run) -> Option<f64>) -> Option<Vec<f64>> {
    if run.repeats.is_empty() {
        return Some(vec![figure(run)?]);
    }
    run.repeats.iter().map(figure).collect()
}

/// The mean of at least one figure.
pub fn mean(figures: &[f64]) -> f64 {
    figures.iter().sum::<f64>() / figures.len() as f64
}

/// The interval of B − A from the spread between runs; `None` where no side has two.
pub fn interval(a: &[f64], b: &[f64], level: f64) -> Option<(f64, f64)> {
    let freedom = (a.len() + b.len()).checked_sub(2).filter(|&n| n > 0)?;
    let squares = |figures: &[f64]| -> f64 {
        let mean = mean(figures);
        figures.iter().map(|value| (value - mean).powi(2)).sum()
    };
    let variance = (squares(a) + squares(b)) / freedom as f64;
    let of_means = variance * (1.0 / a.len() as f64 + 1.0 / b.len() as f64);
    let half = t_critical(level, freedom) * of_means.sqrt();
    let difference = mean(b) - mean(a);
    Some((difference - half, difference + half))
}
