//! Many runs to one decision: what the points of a sweep say together, and what repeated runs say
//! of their own spread.
//!
//! Everything comes from the summaries that the runs have written, so that a sweep that was resumed
//! says the same as one that ran through.

mod collated;
mod confidence;
pub mod converge;
mod file;
mod pareto;
pub mod search;
mod table;

pub use crate::spread::{Spread, t_critical};
pub use pareto::saturation;

use pinfire_artifacts::tag;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pinfire_artifacts::sweep::PointValues;
use pinfire_artifacts::{Block, RunFiles, Summary, csv_bytes, summary};
use serde_json::Value;

use crate::compare::{FilesError, Objective, Stat};
use crate::report::reached::in_short;

/// Good requests (`--goodput`) in percent of the answered ones: a figure for objectives.
pub const GOOD_SHARE: &str = "good_share";

/// A flag with several values.
#[derive(Clone, PartialEq, Debug)]
pub struct Parameter {
    /// Where it belongs, such as `phases.profiling.concurrency`.
    pub path: String,
    /// In tables and folder names, such as `concurrency`.
    pub name: String,
    /// Its values, as typed.
    pub values: Vec<Value>,
}

/// One run of a cell.
#[derive(Clone, PartialEq, Debug)]
pub struct Trial {
    /// Such as `trial_0001`.
    pub label: String,
    /// Its folder.
    pub folder: PathBuf,
    /// It ended in order.
    pub is_complete: bool,
    /// The first line of its most frequent error.
    pub first_error: Option<String>,
    /// What came of planned cancellation.
    pub cancellation: Option<summary::Cancellation>,
    /// The client was its bottleneck: its figures are not the server's alone.
    pub client_was_bottleneck: bool,
    /// What was asked of its load and not reached, in few words.
    pub unreached: Vec<String>,
    /// Its metrics.
    pub blocks: Vec<(String, Block)>,
    /// Why it does not count.
    pub error: Option<String>,
}

impl Trial {
    /// What a summary says of a run, as far as a sweep asks: the whole of it would be most of what
    /// a long sweep holds.
    pub fn of(label: &str, folder: &Path, summary: &Summary) -> Self {
        let errors = summary.error_summary.as_ref();
        let first = errors.and_then(|errors| errors.first()?.error_details.message.as_ref());
        let first = first.and_then(|message| message.lines().next());
        let with_value = summary
            .metrics()
            .filter(|(_, block)| block.get("avg").is_some());
        Self {
            label: label.to_owned(),
            folder: folder.to_owned(),
            is_complete: summary.is_complete == Some(true),
            first_error: first.map(str::to_owned),
            cancellation: summary.cancellation.as_deref().cloned(),
            client_was_bottleneck: summary
                .client_health
                .as_ref()
                .is_some_and(|health| health.client_was_bottleneck),
            unreached: unreached(summary),
            blocks: with_value
                .map(|(tag, block)| (tag.to_owned(), block.clone()))
                .collect(),
            error: None,
        }
    }

    /// Reads what a run has written.
    ///
    /// # Errors
    /// There is no summary, or no readable one.
    pub fn read(label: &str, folder: &Path) -> Result<Self, FilesError> {
        let summary = RunFiles::find(folder)?.read_summary()?;
        let summary = summary.ok_or_else(|| FilesError::NoRun {
            folder: folder.to_owned(),
            hint: String::new(),
        })?;
        Ok(Self::of(label, folder, &summary))
    }

    /// A run that does not count.
    pub fn failed(label: &str, folder: &Path, error: String) -> Self {
        Self {
            label: label.to_owned(),
            folder: folder.to_owned(),
            is_complete: false,
            first_error: None,
            cancellation: None,
            client_was_bottleneck: false,
            unreached: Vec::new(),
            blocks: Vec::new(),
            error: Some(error),
        }
    }

    /// A figure of the run.
    pub fn figure(&self, tag: &str, stat: Stat) -> Option<f64> {
        if tag == GOOD_SHARE {
            let good = self.figure(tag::GOOD_REQUEST_COUNT, Stat::Avg)?;
            return Some(100.0 * good / self.figure(tag::REQUEST_COUNT, Stat::Avg)?);
        }
        let (_, block) = self.blocks.iter().find(|(known, _)| known == tag)?;
        block.get(&stat.name())
    }
}

/// What a run was asked and did not reach. A phase that waits for its last answers does what it
/// should.
fn unreached(summary: &Summary) -> Vec<String> {
    let all = summary.asked_and_reached.iter().flatten();
    let missed = all.filter(|of| of.reason.is_some() && of.what != "duration");
    missed
        .map(|of| in_short(of.reached, of.asked, &of.unit))
        .collect()
}

/// A point of a sweep: its values and its runs.
#[derive(Clone, PartialEq, Debug)]
pub struct Cell {
    /// `path=value, path=value`; empty without a sweep.
    pub label: String,
    /// Its folder's name.
    pub dir: String,
    /// A value of each parameter, in their order.
    pub values: Vec<Value>,
    /// Its runs.
    pub trials: Vec<Trial>,
}

impl Cell {
    /// The runs that count.
    pub fn good(&self) -> impl Iterator<Item = &Trial> {
        self.trials.iter().filter(|trial| trial.error.is_none())
    }

    /// How many of them had the client as their bottleneck.
    pub fn bottlenecks(&self) -> usize {
        let spoiled = self.good().filter(|trial| trial.client_was_bottleneck);
        spoiled.count()
    }

    /// Mean of a figure over its runs.
    pub fn figure(&self, tag: &str, stat: Stat) -> Option<f64> {
        let values: Vec<f64> = self.good().filter_map(|t| t.figure(tag, stat)).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }

    fn avg(&self, tag: &str) -> Option<f64> {
        self.figure(tag, Stat::Avg)
    }

    /// Tokens per second of all users together.
    pub fn total_tps(&self) -> Option<f64> {
        self.avg(tag::OUTPUT_TOKEN_THROUGHPUT)
    }

    /// Tokens per second that a user sees.
    pub fn tps_per_user(&self) -> Option<f64> {
        self.avg(tag::OUTPUT_TOKEN_THROUGHPUT_PER_USER)
    }

    /// Whether every objective is met by the means; one whose figure is missing is not.
    pub fn meets(&self, objectives: &[Objective]) -> bool {
        objectives.iter().all(|slo| {
            let figure = self.figure(&slo.figure.tag, slo.figure.stat);
            figure.is_some_and(|value| slo.holds(value))
        })
    }
}

/// A sweep, or repeated runs of one point.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Sweep {
    /// The flags with several values; empty for repeated runs of one point.
    pub parameters: Vec<Parameter>,
    /// The points in their order.
    pub cells: Vec<Cell>,
    /// Runs asked for at each point.
    pub trials: usize,
    /// `repeated` or `independent`.
    pub mode: String,
    /// Level of intervals.
    pub level: f64,
    /// Pause between runs, in seconds.
    pub cooldown_s: f64,
    /// GPUs of the server, if told.
    pub num_gpus: Option<u64>,
    /// What a point should meet.
    pub objectives: Vec<Objective>,
    /// When the runs of a point are enough, before all that were asked for.
    pub convergence: Option<converge::Convergence>,
    /// Models as sent.
    pub models: Vec<String>,
    /// Version of the tool.
    pub version: String,
}

impl Sweep {
    /// What each point is, as flags of the table and the file.
    pub fn marks(&self) -> Vec<Marks> {
        pareto::marks(self)
    }

    /// The points as name and value.
    pub fn parameters_of(&self, cell: &Cell) -> PointValues {
        let pairs = self.parameters.iter().zip(&cell.values);
        pairs
            .map(|(p, value)| (p.name.clone(), value.clone()))
            .collect()
    }

    /// Runs that count, and all.
    pub fn counts(&self) -> (usize, usize) {
        let good = self.cells.iter().map(|cell| cell.good().count()).sum();
        let all = self.cells.iter().map(|cell| cell.trials.len()).sum();
        (good, all)
    }
}

/// What a point is among the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Marks {
    /// No other point has more tokens per second in all and per user, by 1 % in one of them.
    pub front: bool,
    /// The point of the front with the largest product of both, below saturation if there is one.
    pub sweet_spot: bool,
    /// More load has brought (next to) no more throughput.
    pub saturated: bool,
    /// No other point has more requests per second and a lower p99 of the first token.
    pub optimal: bool,
    /// It meets the objectives.
    pub feasible: bool,
}

/// Every metric with every figure that all the good runs have: (tag, figure, unit, values).
fn figures(cell: &Cell) -> Vec<(String, String, String, Vec<f64>)> {
    let mut found: Vec<(String, String, String, Vec<f64>)> = Vec::new();
    let mut places: BTreeMap<(String, String), usize> = BTreeMap::new();
    for trial in cell.good() {
        for (tag, block) in &trial.blocks {
            for stat in ordered(block) {
                let Some(value) = block.get(&stat) else {
                    continue;
                };
                let place = *places
                    .entry((tag.clone(), stat.clone()))
                    .or_insert_with(|| {
                        found.push((tag.clone(), stat.clone(), block.unit.clone(), Vec::new()));
                        found.len() - 1
                    });
                if let Some((.., values)) = found.get_mut(place) {
                    values.push(value);
                }
            }
        }
    }
    found
}

/// The figures of a block in the order of the exports.
fn ordered(block: &Block) -> Vec<String> {
    let key = |stat: &String| -> (u8, f64) {
        match stat.as_str() {
            "avg" => (0, 0.0),
            "min" => (1, 0.0),
            "max" => (2, 0.0),
            "sum" => (3, 0.0),
            "std" => (5, 0.0),
            "count" => (6, 0.0),
            other => {
                let q = other.strip_prefix('p').and_then(|q| q.parse().ok());
                q.map_or((7, 0.0), |q| (4, q))
            }
        }
    };
    let mut stats: Vec<String> = block.stats.keys().cloned().collect();
    stats.sort_by(|x, y| {
        let (x, y) = (key(x), key(y));
        x.0.cmp(&y.0).then(x.1.total_cmp(&y.1))
    });
    stats
}

/// CSV from rows of cells; an empty row is an empty line.
fn csv(rows: Vec<Vec<String>>) -> Vec<u8> {
    let empty = || vec![String::new()];
    let rows = rows
        .into_iter()
        .map(|row| if row.is_empty() { empty() } else { row });
    let bytes = csv_bytes(&mut csv::WriterBuilder::new(), rows);
    // The writer quotes a lone empty field, so that it is a row; here it is a gap.
    String::from_utf8_lossy(&bytes)
        .replace("\n\"\"\n", "\n\n")
        .into_bytes()
}

/// The fields of a part of a file with their values, as rows of a table.
fn rows_of(part: &impl serde::Serialize) -> Vec<Vec<String>> {
    let fields = match serde_json::to_value(part) {
        Ok(Value::Object(fields)) => fields,
        // Only what is no object, or has keys that are no texts.
        other => unreachable!("a part of a file is an object: {other:?}"),
    };
    let rows = fields.into_iter();
    rows.map(|(key, value)| vec![key, bare(&value)]).collect()
}

/// A value as text: strings bare.
fn bare(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests;
