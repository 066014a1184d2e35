//! A finished run as its files show it: figures from the summary, values from the lines.

use pinfire_artifacts::tag;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use pinfire_artifacts::{
    Block, FindError, Lines, LinesError, ReadError, RequestLine, RunFiles, Summary,
};

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
        line: u64,
        /// What is wrong.
        reason: String,
    },
}

fn at_line(line: u64) -> String {
    if line == 0 {
        String::new()
    } else {
        format!(" line {line}")
    }
}

impl From<FindError> for FilesError {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Read { path, cause } => Self::Read { path, cause },
            FindError::None { path, below } => Self::NoRun {
                folder: path,
                hint: below.map_or_else(String::new, |below| {
                    format!("; it holds runs in folders below, such as {below}: name one of them")
                }),
            },
            FindError::Several { path, prefixes } => Self::NoRun {
                folder: path,
                hint: format!(
                    ", but several under prefixes ({}): name one of the files",
                    prefixes.join(", ")
                ),
            },
        }
    }
}

impl From<ReadError> for FilesError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Read { path, cause } => Self::Read { path, cause },
            ReadError::Content { path, cause } => Self::Content {
                path,
                line: cause.line() as u64,
                reason: format!("this is no JSON object ({cause})"),
            },
        }
    }
}

impl From<LinesError> for FilesError {
    fn from(error: LinesError) -> Self {
        match error {
            LinesError::Read { path, cause } => Self::Read { path, cause },
            LinesError::Line { path, number, what } => Self::Content {
                path,
                line: number,
                reason: format!("this is no line of profile_export.jsonl ({what})"),
            },
        }
    }
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
    pub summary: Summary,
    /// Values by tag; empty without lines.
    pub values: BTreeMap<String, Values>,
    /// The requests behind them.
    pub spans: Vec<Span>,
    /// What was left out, if anything.
    pub notes: Vec<String>,
    /// The repeated runs of one configuration that this one stands for; empty for a single run.
    pub repeats: Vec<Run>,
}

impl Run {
    /// Reads the run under `path`: a single one, or all repeats of one configuration.
    ///
    /// # Errors
    /// There is none, or a file is damaged in its middle. A last line that was cut off is left out,
    /// with a note.
    pub fn read(path: &Path) -> Result<Self, FilesError> {
        let missing = match RunFiles::find(path) {
            Ok(files) => return Self::single(path, &files),
            Err(missing) => missing,
        };
        let repeats = RunFiles::repeats(path)?;
        if repeats.is_empty() {
            return Err(missing.into());
        }
        let mut pool = Self::of_repeats(path, &repeats)?;
        let lost = RunFiles::lost_repeats(path)?.into_iter();
        pool.notes.extend(lost.map(|run| {
            format!(
                "{}: nothing of this repeat is there; it is left out",
                run.display()
            )
        }));
        Ok(pool)
    }

    /// The runs of one configuration as one side of a comparison.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn of_repeats(path: &Path, runs: &[RunFiles]) -> Result<Self, FilesError> {
        match runs {
            [one] => Self::single(path, one),
            runs => {
                let runs = runs.iter().map(|run| Self::single(run.folder(), run));
                Ok(Self::pooled(path, runs.collect::<Result<_, _>>()?))
            }
        }
    }

    /// Several repeats as one run: its requests are those of all, its settings those of the first.
    pub(super) fn pooled(path: &Path, repeats: Vec<Self>) -> Self {
        let mut pool = Self {
            path: path.to_owned(),
            ..Self::default()
        };
        for run in &repeats {
            for (tag, values) in &run.values {
                let known = pool.values.entry(tag.clone()).or_default();
                known.unit.clone_from(&values.unit);
                known.requests += values.requests;
                known.values.extend_from_slice(&values.values);
            }
            pool.spans.extend_from_slice(&run.spans);
            pool.notes.extend_from_slice(&run.notes);
        }
        for values in pool.values.values_mut() {
            values.values.sort_unstable_by(f64::total_cmp);
        }
        if let Some(first) = repeats.first() {
            pool.summary = first.summary.clone();
        }
        pool.repeats = repeats;
        pool
    }

    fn single(path: &Path, files: &RunFiles) -> Result<Self, FilesError> {
        let (summary, lines) = (files.read_summary()?, files.lines());
        if summary.is_none() && lines.is_none() {
            return Err(FilesError::NoRun {
                folder: path.to_owned(),
                hint: "; `pinfire report` makes both of its raw records".to_owned(),
            });
        }
        let mut run = Self {
            path: path.to_owned(),
            ..Self::default()
        };
        match summary {
            Some(summary) => run.summary = summary,
            None => run.notes.push(format!(
                "{}: there is no summary; only what the lines hold is compared",
                path.display()
            )),
        }
        match lines {
            Some(lines) => run.lines(&lines)?,
            None => run.notes.push(format!(
                "{}: there is no profile_export.jsonl; without values per request there is no interval",
                path.display()
            )),
        }
        Ok(run)
    }

    fn lines(&mut self, path: &Path) -> Result<(), FilesError> {
        let mut lines = Lines::open(path)?;
        if path.metadata().is_ok_and(|data| data.len() == 0) {
            self.notes.push(format!(
                "{}: it is empty; without values per request there is no interval",
                path.display()
            ));
        }
        while lines
            .next(|line| {
                self.add(&RequestLine::read(line)?);
                Ok(())
            })?
            .is_some()
        {}
        if let Some(number) = lines.torn() {
            self.notes.push(format!(
                "{} line {number}: cut off, left out",
                path.display()
            ));
        }
        for values in self.values.values_mut() {
            values.values.sort_unstable_by(f64::total_cmp);
        }
        Ok(())
    }

    fn add(&mut self, line: &RequestLine<'_>) {
        let metadata = &line.metadata.value;
        let phase = metadata.benchmark_phase.as_deref();
        if line.error.is_some() || phase.is_some_and(|phase| phase != "profiling") {
            return;
        }
        for (tag, metric) in line.metrics.iter() {
            let new = metric.value.all();
            if new.is_empty() {
                continue;
            }
            if !self.values.contains_key(tag) {
                let unit = metric.unit.as_ref().to_owned();
                let values = Values {
                    unit,
                    ..Values::default()
                };
                self.values.insert(tag.to_owned(), values);
            }
            if let Some(known) = self.values.get_mut(tag) {
                known.requests += 1;
                known.values.extend_from_slice(new);
            }
        }
        let tokens = |tag| {
            let found = line.metrics.get(tag);
            found.and_then(|metric| metric.value.one()).unwrap_or(0.0)
        };
        let start = metadata.request_start_ns;
        self.spans.push(Span {
            start,
            end: metadata.request_end_ns.max(start),
            output: tokens(tag::OUTPUT_SEQUENCE_LENGTH),
            input: tokens(tag::INPUT_SEQUENCE_LENGTH),
        });
    }

    /// The figure `stat` of a metric: from the values where there are some, else from the summary.
    pub fn figure(&self, tag: &str, stat: super::Stat) -> Option<f64> {
        if let Some(values) = self.values.get(tag)
            && let Some(figure) = stat.of(&values.values)
        {
            return Some(figure);
        }
        self.block(tag)?.get(&stat.name())
    }

    /// The metrics of the summary that have a value.
    pub fn blocks(&self) -> impl Iterator<Item = (&str, &Block)> {
        let all = self.summary.metrics();
        all.filter(|(_, block)| block.get("avg").is_some())
    }

    /// The block of a metric in the summary.
    pub fn block(&self, tag: &str) -> Option<&Block> {
        let block = self.summary.metric(tag);
        block.filter(|block| block.get("avg").is_some())
    }

    /// The unit of a metric.
    pub fn unit(&self, tag: &str) -> Option<&str> {
        let of_block = self.block(tag).map(|block| block.unit.as_str());
        of_block.or_else(|| Some(self.values.get(tag)?.unit.as_str()))
    }
}
