//! Metrics with their figures in display units.

use crate::metric::{METRICS, Metric, Results};
use crate::stats::Figures;

/// One metric with its figures in display units.
#[derive(Clone)]
pub struct Block {
    /// The row of the table.
    pub metric: &'static Metric,
    /// Its figures.
    pub figures: Figures,
}

/// The metrics that exist and are shown, in order of computation.
pub(super) fn blocks(results: &Results) -> Vec<Block> {
    let shown = METRICS.iter().enumerate().filter_map(|(row, metric)| {
        let figures = results.get(row).filter(|_| metric.is_shown())?;
        let figures = figures.clone().divided_by(metric.divisor());
        Some(Block { metric, figures })
    });
    shown.collect()
}
