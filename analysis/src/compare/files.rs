//! A finished run as its files show it: figures from the summary, values from the lines.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::export::FileNames;

/// A run's files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// Neither summary nor lines.
    #[error(
        "{}: there is no run (no profile_export_aiperf.json and no profile_export.jsonl){hint}",
        folder.display()
    )]
    NoRun {
        /// The folder looked into.
        folder: PathBuf,
        /// Where runs are, if below.
        hint: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}{}: {reason}", path.display(), at_line(*line))]
    Content {
        /// The file.
        path: PathBuf,
        /// The line, from 1; 0 for the whole file.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

fn at_line(line: usize) -> String {
    if line == 0 {
        String::new()
    } else {
        format!(" line {line}")
    }
}

/// The files of a run in a folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunFiles {
    /// The summary, if it is there.
    pub json: Option<PathBuf>,
    /// The lines per request, if they are there.
    pub jsonl: Option<PathBuf>,
}

impl RunFiles {
    /// Finds them: under their usual names, or under one prefix that both or the summary have
    /// (`--profile-export-prefix`). A path to one of the files will do as well.
    ///
    /// # Errors
    /// There is no run.
    pub fn find(path: &Path) -> Result<Self, FilesError> {
        let no_run = |hint: String| FilesError::NoRun {
            folder: path.to_owned(),
            hint,
        };
        if path.is_file() {
            let name = path
                .file_name()
                .map_or(String::new(), |n| n.to_string_lossy().into_owned());
            let default = FileNames::default();
            let names = if name == default.json || name == default.jsonl {
                default
            } else {
                FileNames::with_prefix(&name)
            };
            let files = Self::named(path.parent().unwrap_or(Path::new("")), &names);
            return files.ok_or_else(|| no_run(String::new()));
        }
        if let Some(files) = Self::named(path, &FileNames::default()) {
            return Ok(files);
        }
        let entries = fs::read_dir(path).map_err(|cause| FilesError::Read {
            path: path.to_owned(),
            cause,
        })?;
        let mut below = Vec::new();
        let mut prefixes = Vec::new();
        for entry in entries.filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let whole = entry.path();
            if whole.is_dir() {
                if Self::named(&whole, &FileNames::default()).is_some() {
                    below.push(name);
                }
            } else if let Some(stem) = name.strip_suffix(".json")
                && is_summary(&whole)
            {
                prefixes.push(stem.to_owned());
            }
        }
        prefixes.sort_unstable();
        below.sort_unstable();
        match (prefixes.as_slice(), below.first()) {
            ([one], _) => {
                let names = FileNames::with_prefix(one);
                Self::named(path, &names).ok_or_else(|| no_run(String::new()))
            }
            ([_, _, ..], _) => Err(no_run(format!(
                ", but several under prefixes ({}): name one of the files",
                prefixes.join(", ")
            ))),
            ([], Some(one)) => Err(no_run(format!(
                "; it holds runs in folders below, such as {one}: name one of them"
            ))),
            ([], None) => Err(no_run(String::new())),
        }
    }

    fn named(folder: &Path, names: &FileNames) -> Option<Self> {
        let there = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
        let files = Self {
            json: there(&names.json),
            jsonl: there(&names.jsonl),
        };
        (files.json.is_some() || files.jsonl.is_some()).then_some(files)
    }
}

/// Whether a JSON file is the summary of a run, by its first bytes and its keys.
fn is_summary(path: &Path) -> bool {
    let Ok(text) = fs::read(path) else {
        return false;
    };
    serde_json::from_slice::<Map<String, Value>>(&text)
        .is_ok_and(|map| map.contains_key("input_config") && map.contains_key("run_info"))
}

/// Figures of one metric in a summary: its unit and, by name, what the block holds.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Block {
    /// As written.
    pub unit: String,
    /// `avg`, `p50`, `count`, …
    pub stats: BTreeMap<String, f64>,
}

/// The metric blocks of a summary, in its order.
pub fn blocks(summary: &Map<String, Value>) -> Vec<(String, Block)> {
    let found = summary.iter().filter_map(|(tag, value)| {
        let map = value.as_object()?;
        let unit = map.get("unit")?.as_str()?.to_owned();
        map.get("avg")?.as_f64()?;
        let stats = map
            .iter()
            .filter_map(|(stat, value)| Some((stat.clone(), value.as_f64()?)));
        let block = Block {
            unit,
            stats: stats.collect(),
        };
        Some((tag.clone(), block))
    });
    found.collect()
}

/// Reads a JSON file that holds an object.
///
/// # Errors
/// It cannot be read, or holds something else.
pub fn read_object(path: &Path) -> Result<Map<String, Value>, FilesError> {
    let text = fs::read(path).map_err(|cause| FilesError::Read {
        path: path.to_owned(),
        cause,
    })?;
    serde_json::from_slice(&text).map_err(|error| FilesError::Content {
        path: path.to_owned(),
        line: error.line(),
        reason: format!("this is no JSON object ({error})"),
    })
}

/// The values of one metric over the measured requests that were answered.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Values {
    /// As written.
    pub unit: String,
    /// Ascending once the run is read.
    pub values: Vec<f64>,
    /// Requests behind them: fewer than the values where a request has a list.
    pub requests: usize,
}

/// One answered request in time, for rates.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Span {
    /// Unix nanoseconds.
    pub start: u64,
    /// Unix nanoseconds.
    pub end: u64,
    /// Output tokens.
    pub output: f64,
    /// Input tokens.
    pub input: f64,
}

/// A run as read.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Run {
    /// What was given on the command line.
    pub path: PathBuf,
    /// The summary; empty without one.
    pub summary: Map<String, Value>,
    /// Its metric blocks.
    pub blocks: Vec<(String, Block)>,
    /// Values by tag; empty without lines.
    pub values: BTreeMap<String, Values>,
    /// The requests behind them.
    pub spans: Vec<Span>,
    /// What was left out, if anything.
    pub notes: Vec<String>,
}

impl Run {
    /// Reads the run under `path`.
    ///
    /// # Errors
    /// There is none, or a file is damaged in its middle. A last line that was cut off is left out,
    /// with a note.
    pub fn read(path: &Path) -> Result<Self, FilesError> {
        let files = RunFiles::find(path)?;
        let mut run = Self {
            path: path.to_owned(),
            ..Self::default()
        };
        if let Some(json) = &files.json {
            run.summary = read_object(json)?;
            run.blocks = blocks(&run.summary);
        } else {
            run.notes.push(format!(
                "{}: there is no summary; only what the lines hold is compared",
                path.display()
            ));
        }
        if let Some(jsonl) = &files.jsonl {
            run.lines(jsonl)?;
        } else {
            run.notes.push(format!(
                "{}: there is no profile_export.jsonl; without values per request there is no interval",
                path.display()
            ));
        }
        Ok(run)
    }

    fn lines(&mut self, path: &Path) -> Result<(), FilesError> {
        let unreadable = |cause| FilesError::Read {
            path: path.to_owned(),
            cause,
        };
        let mut reader =
            BufReader::with_capacity(1 << 18, fs::File::open(path).map_err(unreadable)?);
        let mut text = String::new();
        let mut number = 0;
        loop {
            text.clear();
            number += 1;
            if reader.read_line(&mut text).map_err(unreadable)? == 0 {
                break;
            }
            if text.trim().is_empty() {
                continue;
            }
            match serde_json::from_str::<Line>(&text) {
                Ok(line) => self.add(line),
                Err(_) if !text.ends_with('\n') => self.notes.push(format!(
                    "{} line {number}: cut off, left out",
                    path.display()
                )),
                Err(error) => {
                    return Err(FilesError::Content {
                        path: path.to_owned(),
                        line: number,
                        reason: format!("this is no line of profile_export.jsonl ({error})"),
                    });
                }
            }
        }
        for values in self.values.values_mut() {
            values.values.sort_unstable_by(f64::total_cmp);
        }
        Ok(())
    }

    fn add(&mut self, line: Line) {
        let phase = line.metadata.benchmark_phase.as_deref();
        if line.error.is_some() || phase.is_some_and(|phase| phase != "profiling") {
            return;
        }
        let mut tokens = [0.0; 2];
        for (tag, metric) in line.metrics.0 {
            let OneOrMany(new) = metric.value;
            if new.is_empty() {
                continue;
            }
            match tag.as_str() {
                "output_sequence_length" => tokens[0] = new[0],
                "input_sequence_length" => tokens[1] = new[0],
                _ => {}
            }
            let known = self.values.entry(tag).or_default();
            if known.unit.is_empty() {
                known.unit = metric.unit;
            }
            known.requests += 1;
            known.values.extend(new);
        }
        if let (Some(start), Some(end)) =
            (line.metadata.request_start_ns, line.metadata.request_end_ns)
        {
            self.spans.push(Span {
                start,
                end: end.max(start),
                output: tokens[0],
                input: tokens[1],
            });
        }
    }

    /// The figure `stat` of a metric: from the values where there are some, else from the summary.
    pub fn figure(&self, tag: &str, stat: super::Stat) -> Option<f64> {
        if let Some(values) = self.values.get(tag)
            && let Some(figure) = stat.of(&values.values)
        {
            return Some(figure);
        }
        self.block(tag)?.stats.get(&stat.name()).copied()
    }

    /// The block of a metric in the summary.
    pub fn block(&self, tag: &str) -> Option<&Block> {
        let (_, block) = self.blocks.iter().find(|(known, _)| known == tag)?;
        Some(block)
    }

    /// The unit of a metric.
    pub fn unit(&self, tag: &str) -> Option<&str> {
        let of_block = self.block(tag).map(|block| block.unit.as_str());
        of_block.or_else(|| Some(self.values.get(tag)?.unit.as_str()))
    }
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    metadata: Metadata,
    metrics: Metrics,
    #[serde(default)]
    error: Option<IgnoredAny>,
}

#[derive(Deserialize, Default)]
struct Metadata {
    benchmark_phase: Option<String>,
    request_start_ns: Option<u64>,
    request_end_ns: Option<u64>,
}

/// The metrics of a line in their order.
struct Metrics(Vec<(String, Metric)>);

#[derive(Deserialize)]
struct Metric {
    value: OneOrMany,
    #[serde(default)]
    unit: String,
}

/// A number or a list of them; anything else counts as nothing.
struct OneOrMany(Vec<f64>);

impl<'de> Deserialize<'de> for Metrics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Metrics;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("metrics by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metrics, A::Error> {
                let mut pairs = Vec::with_capacity(32);
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Metrics(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Numbers;
        impl<'de> Visitor<'de> for Numbers {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a list of numbers")
            }

            fn visit_f64<E>(self, value: f64) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![value]))
            }

            fn visit_u64<E>(self, value: u64) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![value as f64]))
            }

            fn visit_i64<E>(self, value: i64) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![value as f64]))
            }

            fn visit_bool<E>(self, value: bool) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![value.into()]))
            }

            fn visit_unit<E>(self) -> Result<OneOrMany, E> {
                Ok(OneOrMany(Vec::new()))
            }

            fn visit_str<E>(self, _: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(Vec::new()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<OneOrMany, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(OneOrMany(Vec::new()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OneOrMany, A::Error> {
                let mut all = Vec::with_capacity(seq.size_hint().unwrap_or(64));
                while let Some(OneOrMany(some)) = seq.next_element()? {
                    all.extend(some);
                }
                Ok(OneOrMany(all))
            }
        }
        deserializer.deserialize_any(Numbers)
    }
}
