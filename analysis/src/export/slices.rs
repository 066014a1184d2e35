//! Time slices as tidy CSV and as JSON; a reader places a slice by its bounds, not by its number.

use pinfire_artifacts::slices::SlicesFile;

use super::csv::{two_decimals, written};
use super::input_config;
use super::json::metrics;
use crate::report::{Block, Report};

const HEADER: [&str; 7] = [
    "Timeslice",
    "Start_NS",
    "End_NS",
    "Metric",
    "Unit",
    "Stat",
    "Value",
];

/// The CSV's bytes: one row per slice, metric and statistic that exists.
pub(super) fn csv(report: &Report) -> Vec<u8> {
    let mut rows = vec![HEADER.map(str::to_owned).to_vec()];
    for (number, slice) in report.slices.iter().enumerate() {
        let mut blocks: Vec<&Block> = slice.blocks.iter().collect();
        blocks.sort_by_key(|block| block.metric.tag);
        for block in blocks {
            rows.extend(statistics(block).map(|(name, value)| {
                vec![
                    number.to_string(),
                    slice.start_unix.to_string(),
                    slice.end_unix.to_string(),
                    block.metric.name.to_owned(),
                    block.metric.shown.name().to_owned(),
                    name,
                    two_decimals(Some(value)),
                ]
            }));
        }
    }
    written(rows)
}

/// The figures that exist, in the order of every table; the count is not among them.
fn statistics(block: &Block) -> impl Iterator<Item = (String, f64)> {
    let figures = &block.figures;
    let named = |name: &str, value: Option<f64>| (name.to_owned(), value);
    let before = [
        named("avg", figures.avg),
        named("min", figures.min),
        named("max", figures.max),
        named("sum", figures.sum),
    ];
    let percentiles = figures.percentiles.iter();
    let percentiles = percentiles.map(|(q, value)| (format!("p{q}"), Some(*value)));
    let all = before
        .into_iter()
        .chain(percentiles)
        .chain([named("std", figures.std)]);
    all.filter_map(|(name, value)| Some((name, value.filter(|v| v.is_finite())?)))
}

/// The JSON.
pub(super) fn json(report: &Report) -> SlicesFile {
    let slices = (0..).zip(&report.slices);
    let slices = slices.map(|(number, slice)| pinfire_artifacts::slices::Slice {
        timeslice_index: Some(number),
        start_ns: Some(slice.start_unix),
        end_ns: Some(slice.end_unix),
        is_complete: (!slice.complete).then_some(false),
        metrics: metrics(&slice.blocks).collect(),
    });
    SlicesFile {
        timeslices: slices.collect(),
        input_config: Some(input_config::shown(&report.facts)),
    }
}
