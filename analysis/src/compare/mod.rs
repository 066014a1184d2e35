//! Two runs side by side: what differs, by how much, and what of it is noise.
//!
//! Values per request come from `profile_export.jsonl`, everything else from the summary, of
//! pinfire or of AIPerf. [`bootstrap`] says how an interval comes about.

pub mod bootstrap;
mod files;
pub mod points;
mod rates;
mod repeats;
mod rule;
mod tables;

pub use bootstrap::Stat;
pub use files::{FilesError, Run, Values};
pub use rule::{Figure, Objective, Operator, Rule, RuleError, tag_of};

use pinfire_artifacts::tag;
use std::collections::BTreeSet;

use bootstrap::Resampled;
use serde_json::{Map, Value};

use crate::metric::{self, Flags, METRICS, Unit};

/// What is wanted of a comparison.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Figures of each metric, in this order.
    pub stats: Vec<Stat>,
    /// Only these metrics; empty for all.
    pub tags: Vec<String>,
    /// Share of resamples inside an interval.
    pub level: f64,
    /// Seed of the resamples.
    pub seed: u64,
    /// What may not be.
    pub rules: Vec<Rule>,
    /// A rule is broken only where the difference is no noise.
    pub significant: bool,
    /// A difference below this share of A is none that matters.
    pub min_effect: f64,
}

/// What a difference amounts to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The interval does not hold 0, and B is the better one.
    Better,
    /// The interval does not hold 0, and B is the worse one.
    Worse,
    /// The interval does not hold 0; neither is better.
    Differs,
    /// The interval does not hold 0, but the difference is below the least effect size.
    Small,
    /// The interval holds 0.
    Noise,
    /// The same figure, without a spread.
    Same,
    /// There is no interval.
    Unknown,
}

impl Verdict {
    /// As the exports spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Differs => "differs",
            Self::Small => "small",
            Self::Noise => "noise",
            Self::Same => "same",
            Self::Unknown => "unknown",
        }
    }
}

/// One figure of both runs.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// The metric.
    pub tag: String,
    /// Its unit.
    pub unit: String,
    /// The figure.
    pub stat: Stat,
    /// Of the first run.
    pub a: f64,
    /// Of the second run.
    pub b: f64,
    /// Of B − A.
    pub interval: Option<(f64, f64)>,
    /// What it amounts to.
    pub verdict: Verdict,
}

impl Row {
    /// B − A.
    pub fn difference(&self) -> f64 {
        self.b - self.a
    }

    /// B − A in percent of A.
    pub fn percent(&self) -> Option<f64> {
        let percent = 100.0 * self.difference() / self.a.abs();
        if self.difference() == 0.0 {
            Some(0.0)
        } else {
            Some(percent).filter(|p| p.is_finite())
        }
    }
}

/// A rule and what came of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Judged {
    /// The rule.
    pub rule: Rule,
    /// What it was held against.
    pub row: Row,
    /// It is broken.
    pub fires: bool,
}

/// A comparison.
#[derive(Clone, PartialEq, Debug)]
pub struct Comparison {
    /// The first run.
    pub a: Run,
    /// The second run.
    pub b: Run,
    /// Figures that both have, metric by metric.
    pub rows: Vec<Row>,
    /// Settings that differ: path, of A, of B.
    pub settings: Vec<(String, Value, Value)>,
    /// The rules in the order given.
    pub judged: Vec<Judged>,
    /// As wanted.
    pub level: f64,
    /// As wanted.
    pub seed: u64,
    /// As wanted.
    pub min_effect: f64,
}

/// A comparison that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A rule looks at a figure that is not there.
    #[error("--fail-if {rule}: {which} lacks {figure}{hint}")]
    NoFigure {
        /// The rule.
        rule: String,
        /// The run or runs.
        which: String,
        /// The figure.
        figure: String,
        /// What there is.
        hint: String,
    },
    /// Nothing in common.
    #[error("the runs have no figure in common{0}")]
    Nothing(String),
}

impl Comparison {
    /// Holds `b` against `a`.
    ///
    /// # Errors
    /// The runs share nothing, or a rule looks at what they do not have.
    pub fn new(a: Run, b: Run, wanted: &Wanted) -> Result<Self, CompareError> {
        let rows: Vec<Row> = tags(&a, &b)
            .into_iter()
            .filter(|tag| wanted.tags.is_empty() || wanted.tags.contains(tag))
            .flat_map(|tag| rows(&a, &b, &tag, wanted))
            .collect();
        if rows.is_empty() {
            let named = wanted.tags.join(", ");
            return Err(CompareError::Nothing(if named.is_empty() {
                String::new()
            } else {
                format!(" among {named}")
            }));
        }
        let judge = |rule: &Rule| judge(&a, &b, rule, wanted);
        let judged = wanted.rules.iter().map(judge).collect::<Result<_, _>>()?;
        Ok(Self {
            settings: settings(&a, &b),
            rows,
            judged,
            level: wanted.level,
            seed: wanted.seed,
            min_effect: wanted.min_effect,
            a,
            b,
        })
    }

    /// The rules that are broken.
    pub fn broken(&self) -> impl Iterator<Item = &Judged> {
        self.judged.iter().filter(|judged| judged.fires)
    }
}

/// Metrics of both runs: those of the table in its order, then others by name.
fn tags(a: &Run, b: &Run) -> Vec<String> {
    let of = |run: &Run| -> BTreeSet<String> {
        let scalars = run.blocks().map(|(tag, _)| tag.to_owned());
        scalars.chain(run.values.keys().cloned()).collect()
    };
    let mut both: Vec<String> = of(a).intersection(&of(b)).cloned().collect();
    // Instants are no figures.
    both.retain(|tag| !tag.ends_with("_timestamp"));
    both.sort_by_key(|tag| (metric::row(tag).unwrap_or(METRICS.len()), tag.clone()));
    both
}

/// The wanted figures of a metric that both runs have; of a scalar its value.
fn rows(a: &Run, b: &Run, tag: &str, wanted: &Wanted) -> Vec<Row> {
    // A sum over requests (a count) has values and no percentiles.
    let scalar = [a, b].iter().all(|run| match run.block(tag) {
        Some(block) => block.get("p50").is_none(),
        None => !run.values.contains_key(tag),
    });
    let stats: &[Stat] = if scalar { &[Stat::Avg] } else { &wanted.stats };
    let found = stats
        .iter()
        .filter_map(|&stat| row(a, b, tag, stat, wanted, scalar));
    found.collect()
}

/// Counts that a run is without when they are 0.
const COUNTS_OF_NONE: [&str; 2] = [tag::ERROR_REQUEST_COUNT, tag::CANCELLED_REQUEST_COUNT];

fn row(a: &Run, b: &Run, tag: &str, stat: Stat, wanted: &Wanted, scalar: bool) -> Option<Row> {
    // Of what did not happen at all the files have no count.
    let none = COUNTS_OF_NONE.contains(&tag).then_some(0.0);
    let figure = |run: &Run| {
        let found = if scalar {
            run.block(tag).and_then(|block| block.get("avg"))
        } else {
            run.figure(tag, stat)
        };
        found.or(none)
    };
    let (figures_a, figures_b) = (repeats::figures(a, figure)?, repeats::figures(b, figure)?);
    let (of_a, of_b) = (repeats::mean(&figures_a), repeats::mean(&figures_b));
    let interval = if figures_a.len() + figures_b.len() > 2 {
        repeats::interval(&figures_a, &figures_b, wanted.level)
    } else if rates::is_rate(tag) {
        rates::interval((a, b), tag, (of_a, of_b), wanted.level, wanted.seed)
    } else if scalar {
        None
    } else {
        let (values_a, values_b) = (a.values.get(tag)?, b.values.get(tag)?);
        let of_a = Resampled::new(&values_a.values, values_a.requests);
        let of_b = Resampled::new(&values_b.values, values_b.requests);
        bootstrap::interval((&of_a, &of_b), stat, wanted.level, wanted.seed, tag)
    };
    let unit = b.unit(tag).or_else(|| a.unit(tag)).unwrap_or_default();
    let mut row = Row {
        tag: tag.to_owned(),
        unit: unit.to_owned(),
        stat,
        a: of_a,
        b: of_b,
        interval,
        verdict: Verdict::Unknown,
    };
    row.verdict = verdict(&row, wanted.min_effect);
    Some(row)
}

/// Differences below this share of A are those of rounding.
const ROUNDING: f64 = 1e-9;

fn verdict(row: &Row, min_effect: f64) -> Verdict {
    let difference = row.difference();
    let below = |share: f64| difference.abs() < share * row.a.abs();
    let constant = row.interval.is_none_or(|(low, high)| low == high);
    match row.interval {
        _ if constant && (difference == 0.0 || below(ROUNDING)) => Verdict::Same,
        None => Verdict::Unknown,
        Some((low, high)) if low <= 0.0 && high >= 0.0 => Verdict::Noise,
        Some(_) if below(min_effect) => Verdict::Small,
        Some(_) => match larger_is_better(&row.tag) {
            None => Verdict::Differs,
            Some(larger) if larger == (difference > 0.0) => Verdict::Better,
            Some(_) => Verdict::Worse,
        },
    }
}

/// What a figure is about. The order is that of the tables.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Subject {
    /// How long something took.
    Latency,
    /// How much came in a second.
    Throughput,
    /// How many of what, and how they ended.
    Counts,
    /// What was sent: no result.
    Inputs,
}

impl Subject {
    /// Of a metric.
    pub fn of(tag: &str) -> Self {
        let metric = metric::row(tag).and_then(|row| METRICS.get(row));
        let is_input =
            tag.contains("input_sequence") || tag.contains("isl") || tag.contains("prompt");
        match metric.map(|metric| metric.shown) {
            Some(
                Unit::RequestsPerSecond | Unit::TokensPerSecond | Unit::TokensPerSecondPerUser,
            ) => Self::Throughput,
            Some(Unit::Milliseconds) => Self::Latency,
            _ if is_input => Self::Inputs,
            _ => Self::Counts,
        }
    }

    /// As the exports spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Throughput => "throughput",
            Self::Counts => "counts",
            Self::Inputs => "inputs",
        }
    }
}

/// Whether a larger value is the better one; `None` where neither is: lengths, sizes and counts.
pub fn larger_is_better(tag: &str) -> Option<bool> {
    let metric = METRICS.get(metric::row(tag)?)?;
    let judged = matches!(
        metric.shown,
        Unit::Milliseconds
            | Unit::RequestsPerSecond
            | Unit::TokensPerSecond
            | Unit::TokensPerSecondPerUser
    );
    (judged || tag == tag::REQUEST_ERROR_RATE).then(|| metric.marks.has(Flags::LARGER_IS_BETTER))
}

fn judge(a: &Run, b: &Run, rule: &Rule, wanted: &Wanted) -> Result<Judged, CompareError> {
    let Figure { tag, stat } = &rule.figure;
    let one = Wanted {
        stats: vec![*stat],
        ..wanted.clone()
    };
    let row = rows(a, b, tag, &one)
        .into_iter()
        .find(|row| row.stat == *stat)
        .ok_or_else(|| missing(a, b, rule))?;
    let beyond = row
        .interval
        .is_some_and(|(low, high)| low > 0.0 || high < 0.0);
    let fires = rule.fires(row.a, row.b)
        && (!wanted.significant || rule.is_of_b_alone() || beyond || row.interval.is_none());
    Ok(Judged {
        rule: rule.clone(),
        row,
        fires,
    })
}

fn missing(a: &Run, b: &Run, rule: &Rule) -> CompareError {
    let Figure { tag, stat } = &rule.figure;
    let lacks = |run: &Run| run.figure(tag, *stat).is_none();
    let which = match (lacks(a), lacks(b)) {
        (true, false) => a.path.display().to_string(),
        (false, true) => b.path.display().to_string(),
        _ => "the pair of runs".to_owned(),
    };
    let known: Vec<String> = tags(a, b);
    let hint = if known.iter().any(|known| known == tag) {
        String::new()
    } else {
        format!("; both have {}", known.join(", "))
    };
    CompareError::NoFigure {
        rule: rule.text.clone(),
        which,
        figure: rule.figure.to_string(),
        hint,
    }
}

/// Leaves of `input_config` that differ; names of folders and the seed go without saying.
fn settings(a: &Run, b: &Run) -> Vec<(String, Value, Value)> {
    let leaves = |run: &Run| {
        let mut leaves = Map::new();
        if let Some(config) = &run.summary.input_config {
            flatten(&config.json(), String::new(), &mut leaves);
        }
        leaves
    };
    let (of_a, of_b) = (leaves(a), leaves(b));
    let mut paths: Vec<&String> = of_a.keys().collect();
    paths.extend(of_b.keys().filter(|path| !of_a.contains_key(*path)));
    let value = |map: &Map<String, Value>, path: &str| map.get(path).cloned().unwrap_or_default();
    let differing = paths
        .into_iter()
        .map(|path| (path.clone(), value(&of_a, path), value(&of_b, path)))
        .filter(|(path, of_a, of_b)| {
            of_a != of_b && !path.starts_with("artifacts") && !path.contains("seed")
        });
    differing.collect()
}

fn flatten(value: &Value, path: String, into: &mut Map<String, Value>) {
    let below = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                flatten(value, below(key), into);
            }
        }
        Value::Array(list) if list.iter().any(|item| item.is_object() || item.is_array()) => {
            for (at, value) in list.iter().enumerate() {
                // A phase or a dataset is known by its name.
                let name = value.get("name").and_then(Value::as_str);
                let name = name.map_or_else(|| at.to_string(), str::to_owned);
                flatten(value, below(&name), into);
            }
        }
        leaf => {
            into.insert(path, leaf.clone());
        }
    }
}

#[cfg(test)]
mod tests;
