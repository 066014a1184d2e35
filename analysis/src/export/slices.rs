//! Time slices as tidy CSV and as JSON; a reader places a slice by its bounds, not by its number.

use ::csv::{Terminator, WriterBuilder};
use serde_json::{Map, Value, json};

use super::csv::two_decimals;
use super::input_config;
use super::json::block;
use crate::report::{Block, Report, Slice};

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
    let mut writer = WriterBuilder::new()
        .terminator(Terminator::CRLF)
        .from_writer(Vec::new());
    // Into memory, with rows of one length: the two ways to fail do not exist.
    let _ = writer.write_record(HEADER);
    for (number, slice) in report.slices.iter().enumerate() {
        let mut blocks: Vec<&Block> = slice.blocks.iter().collect();
        blocks.sort_by_key(|block| block.metric.tag);
        for block in blocks {
            for (name, value) in statistics(block) {
                let _ = writer.write_record([
                    number.to_string().as_str(),
                    slice.start_unix.to_string().as_str(),
                    slice.end_unix.to_string().as_str(),
                    block.metric.name,
                    block.metric.shown.name(),
                    &name,
                    &two_decimals(Some(value)),
                ]);
            }
        }
    }
    writer.into_inner().unwrap_or_default()
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

/// The JSON's bytes.
pub(super) fn json(report: &Report) -> Vec<u8> {
    let slices: Vec<Value> = (0..)
        .zip(&report.slices)
        .map(|(n, slice)| one(n, slice))
        .collect();
    let document = json!({
        "timeslices": slices,
        "input_config": input_config::shown(&report.facts),
    });
    // Into memory, with text keys only: nothing to fail.
    serde_json::to_vec_pretty(&document).unwrap_or_default()
}

fn one(number: u64, slice: &Slice) -> Value {
    let mut map = Map::new();
    map.insert("timeslice_index".into(), number.into());
    map.insert("start_ns".into(), slice.start_unix.into());
    map.insert("end_ns".into(), slice.end_unix.into());
    if !slice.complete {
        map.insert("is_complete".into(), false.into());
    }
    let blocks = slice.blocks.iter();
    map.extend(blocks.map(|one| (one.metric.tag.to_owned(), block(one))));
    map.into()
}
