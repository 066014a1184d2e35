//! A run as plots see it: its requests in columns, its summary, slices and samples of GPUs.

use pinfire_artifacts::tag;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
};

use pinfire_artifacts::{
    Block, ErrorDetails, LineCancellation, Lines, LinesError, ReadError, RequestLine, RunFiles,
    Summary,
    config::InputConfig,
    read_json,
    samples::{GpuLine, ServerLine},
    slices::SlicesFile,
    summary::RunInfo,
    sweep::{Aggregate, AggregateBlock},
};
use serde_json::Value;

use super::find::{Found, Kind};
use pinfire_analysis::metric::METRICS;

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Answered.
    Valid,
    /// Failed.
    Failed,
    /// Hung up on purpose, or by the user.
    Cancelled,
}

/// One line of the JSONL. Metrics are in the columns of the run.
#[derive(Clone, Debug)]
pub struct Request {
    /// Number within its phase.
    pub session_num: u64,
    /// `X-Request-ID`.
    pub id: String,
    /// Entry of the dataset.
    pub conversation: String,
    /// Turn of the conversation.
    pub turn: u64,
    /// When it was due.
    pub credit_ns: Option<u64>,
    /// When it began.
    pub start_ns: u64,
    /// When it ended.
    pub end_ns: u64,
    /// Not warm-up.
    pub profiling: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// Type, code and message.
    pub error: Option<String>,
    /// Cancellation, where the file tells.
    pub cancel: Option<Box<LineCancellation<'static>>>,
}

/// One time slice.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Start, in seconds after the first slice's.
    pub start_s: f64,
    /// End, likewise.
    pub end_s: f64,
    /// tag → statistic → value.
    pub metrics: BTreeMap<String, BTreeMap<String, f64>>,
}

/// One scrape of one GPU or server.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When.
    pub at_ns: u64,
    /// What was read, by key; several series of one name are summed up.
    pub values: BTreeMap<String, f64>,
}

/// The summary of a run, or the statistics of several.
#[derive(Clone, Debug)]
pub enum Told {
    /// Of one run.
    Run(Box<Summary>),
    /// Of several trials.
    Cell(Box<Aggregate>),
}

/// A run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Folder's name, or more of the path where names repeat.
    pub name: String,
    /// Where it lies.
    pub folder: PathBuf,
    /// What it sums up to.
    pub told: Told,
    /// The lines of the JSONL.
    pub requests: Vec<Request>,
    /// One value per request and tag; NaN where there is none.
    pub columns: HashMap<String, Vec<f64>>,
    /// Time slices.
    pub slices: Vec<Slice>,
    /// GPU telemetry, in the order of the file.
    pub gpus: Vec<Sample>,
    /// Server metrics, in the order of the file.
    pub server: Vec<Sample>,
    /// What was left out of the files, and why.
    pub warnings: Vec<String>,
    /// `--num-gpus`.
    pub num_gpus: Option<f64>,
}

/// What every plot of requests and the page need.
pub const TAGS: [&str; 9] = [
    tag::TIME_TO_FIRST_TOKEN,
    tag::INTER_TOKEN_LATENCY,
    tag::REQUEST_LATENCY,
    tag::OUTPUT_SEQUENCE_LENGTH,
    tag::INPUT_SEQUENCE_LENGTH,
    tag::OUTPUT_TOKEN_THROUGHPUT_PER_USER,
    tag::ERROR_ISL,
    tag::GOOD_REQUEST_COUNT,
    tag::EFFECTIVE_LATENCY,
];

/// Reads a run. Of the metrics of requests those in [`TAGS`] and `more` are kept.
///
/// # Errors
/// A file cannot be read or is not what it should be; the text names file and line.
pub fn run(found: &Found, more: &[String]) -> Result<Run, String> {
    let (told, files) = match &found.kind {
        Kind::Cell(file) => (Told::Cell(Box::new(read(file)?)), None),
        Kind::Run(names) => {
            let files = RunFiles::named(&found.folder, (**names).clone());
            let summary = read(&found.summary())?;
            (Told::Run(Box::new(summary)), Some(files))
        }
    };
    let mut run = Run {
        name: name(found),
        folder: found.folder.clone(),
        told,
        requests: Vec::new(),
        columns: HashMap::new(),
        slices: Vec::new(),
        gpus: Vec::new(),
        server: Vec::new(),
        warnings: Vec::new(),
        num_gpus: None,
    };
    if let Some(files) = files {
        let tags: HashSet<&str> = TAGS
            .into_iter()
            .chain(more.iter().map(String::as_str))
            .collect();
        read_requests(&mut run, &files.folder().join(&files.names().jsonl), &tags)?;
        let length = run
            .config()
            .and_then(|config| config.artifacts.slice_duration);
        run.slices = slices(&files, length.unwrap_or(1.0), &mut run.warnings);
        let gpus = files.gpus();
        run.gpus = gpus.map_or_else(Vec::new, |path| {
            samples(&path, &mut run.warnings, gpu_sample)
        });
        let server = files.server_lines();
        run.server = server.map_or_else(Vec::new, |path| {
            samples(&path, &mut run.warnings, server_sample)
        });
    }
    Ok(run)
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, String> {
    read_json(path).map_err(|error| match error {
        ReadError::Read { path, cause } => format!("{}: {cause}", path.display()),
        ReadError::Content { path, cause } => {
            format!("{}: not a summary of a run: {cause}", path.display())
        }
    })
}

/// The last part of the path that says something.
fn name(found: &Found) -> String {
    if let Some(prefix) = found.prefix() {
        return prefix.to_owned();
    }
    let parts: Vec<_> = found
        .folder
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    let said = parts.iter().rev().find(|part| *part != "aggregate");
    said.cloned().unwrap_or_else(|| "run".to_owned())
}

/// Names of these runs: the last part of the path that says something, and more of the path where
/// names repeat.
pub fn names(found: &[Found]) -> Vec<String> {
    let mut names: Vec<String> = found.iter().map(name).collect();
    for deep in 2..16 {
        let mut count: HashMap<String, usize> = HashMap::new();
        for name in &names {
            *count.entry(name.clone()).or_default() += 1;
        }
        if count.values().all(|count| *count == 1) {
            break;
        }
        for (name, found) in names.iter_mut().zip(found) {
            if count[name.as_str()] > 1 {
                let parts: Vec<_> = found
                    .folder
                    .iter()
                    .map(|part| part.to_string_lossy())
                    .collect();
                *name = parts[parts.len().saturating_sub(deep)..].join("/");
                if let Some(prefix) = found.prefix() {
                    *name = format!("{name}/{prefix}");
                }
            }
        }
    }
    names
}

fn read_requests(run: &mut Run, path: &Path, tags: &HashSet<&str>) -> Result<(), String> {
    let of = |error: LinesError| match error {
        LinesError::Read { path, cause } => format!("{}: {cause}", path.display()),
        LinesError::Line { path, number, what } => format!("{}:{number}: {what}", path.display()),
    };
    let mut columns: HashMap<String, Vec<f64>> = tags
        .iter()
        .map(|tag| ((*tag).to_owned(), Vec::new()))
        .collect();
    let mut lines = Lines::open(path).map_err(of)?;
    let mut take = |line: &[u8]| {
        let line = RequestLine::read(line)?;
        for (tag, column) in &mut columns {
            let metric = line.metrics.get(tag);
            let value = metric.and_then(|metric| metric.value.mean());
            column.push(value.unwrap_or(f64::NAN));
        }
        run.requests.push(Request::of(line));
        Ok(())
    };
    while lines.next(&mut take).map_err(of)?.is_some() {}
    if let Some(number) = lines.torn() {
        run.warnings.push(format!(
            "{}:{number}: the last line is cut off and was left out",
            path.display()
        ));
    }
    run.columns = columns;
    Ok(())
}

impl Request {
    fn of(line: RequestLine<'_>) -> Self {
        let error = line.error.map(|error| said(&error.value));
        let metadata = line.metadata.value;
        let outcome = if metadata.was_cancelled {
            Outcome::Cancelled
        } else if error.is_some() {
            Outcome::Failed
        } else {
            Outcome::Valid
        };
        let profiling = !metadata.is_warmup();
        Self {
            session_num: metadata.session_num,
            id: metadata.x_request_id.into_owned(),
            conversation: metadata.conversation_id.unwrap_or_default().into_owned(),
            turn: metadata.turn_index.map_or(0, u64::from),
            credit_ns: metadata.credit_issued_ns,
            start_ns: metadata.request_start_ns,
            end_ns: metadata.request_end_ns.max(metadata.request_start_ns),
            profiling,
            outcome,
            error,
            cancel: metadata.cancellation.map(|cancel| Box::new(cancel.owned())),
        }
    }
}

fn said(error: &ErrorDetails<'_>) -> String {
    let kind = error.kind.as_deref().unwrap_or("error");
    let code = error.code.map(|code| format!(" {code}"));
    let message = error.message.as_deref().unwrap_or_default();
    let message: String = message.chars().take(200).collect();
    format!("{kind}{}: {message}", code.unwrap_or_default())
}

/// The time slices: from the JSON, else from the CSV. A file that cannot be read is a warning.
fn slices(files: &RunFiles, length: f64, warnings: &mut Vec<String>) -> Vec<Slice> {
    let read = match (files.slices(), files.slices_csv()) {
        (Some(json), _) => read_json(&json)
            .map(|file| slices_of_json(&file, length))
            .map_err(|error| error.to_string()),
        (None, Some(csv)) => {
            slices_of_csv(&csv, length).map_err(|error| format!("{}: {error}", csv.display()))
        }
        (None, None) => Ok(Vec::new()),
    };
    read.unwrap_or_else(|error| {
        warnings.push(error);
        Vec::new()
    })
}

fn slices_of_json(file: &SlicesFile, length: f64) -> Vec<Slice> {
    let list = &file.timeslices;
    let first = list.first().and_then(|slice| slice.start_ns);
    let since = |at: Option<u64>| Some(at?.saturating_sub(first?) as f64 / 1e9);
    let stats = |block: &Block| {
        let stats = block.stats.iter();
        stats
            .filter_map(|(stat, value)| Some((stat.clone(), value.as_f64()?)))
            .collect()
    };
    let of = |(at, slice): (usize, &pinfire_artifacts::slices::Slice)| {
        let start_s = since(slice.start_ns).unwrap_or(at as f64 * length);
        let metrics = slice.metrics.iter();
        Slice {
            start_s,
            end_s: since(slice.end_ns).unwrap_or(start_s + length),
            metrics: metrics
                .map(|(tag, block)| (tag.to_owned(), stats(block)))
                .collect(),
        }
    };
    list.iter().enumerate().map(of).collect()
}

fn slices_of_csv(path: &Path, length: f64) -> Result<Vec<Slice>, String> {
    let mut reader = csv::Reader::from_path(path).map_err(|error| error.to_string())?;
    let head = reader.headers().map_err(|error| error.to_string())?.clone();
    let column = |name: &str| head.iter().position(|field| field == name);
    let need = |name: &str| column(name).ok_or_else(|| format!("there is no column {name}"));
    let (at, metric, stat, value) = (
        need("Timeslice")?,
        need("Metric")?,
        need("Stat")?,
        need("Value")?,
    );
    let bounds = column("Start_NS").zip(column("End_NS"));
    let mut slices: BTreeMap<u64, Slice> = BTreeMap::new();
    let mut first = None;
    for row in reader.records() {
        let row = row.map_err(|error| error.to_string())?;
        let index: u64 = row
            .get(at)
            .and_then(|field| field.parse().ok())
            .ok_or("a timeslice is no number")?;
        let ns = |at: usize| row.get(at).and_then(|field| field.parse::<u64>().ok());
        let slice = slices.entry(index).or_insert_with(|| {
            let mut slice = Slice {
                start_s: index as f64 * length,
                end_s: (index + 1) as f64 * length,
                metrics: BTreeMap::new(),
            };
            if let Some((start, end)) = bounds.and_then(|(start, end)| Some((ns(start)?, ns(end)?)))
            {
                let first = *first.get_or_insert(start);
                slice.start_s = start.saturating_sub(first) as f64 / 1e9;
                slice.end_s = end.saturating_sub(first) as f64 / 1e9;
            }
            slice
        });
        let name = row.get(metric).unwrap_or_default();
        let tag = METRICS
            .iter()
            .find(|metric| metric.name == name)
            .map_or(name, |metric| metric.tag);
        let number = row.get(value).and_then(|field| field.parse().ok());
        if let (Some(stat), Some(number)) = (row.get(stat), number) {
            slice
                .metrics
                .entry(tag.to_owned())
                .or_default()
                .insert(stat.to_owned(), number);
        }
    }
    Ok(slices.into_values().collect())
}

fn samples<L: serde::de::DeserializeOwned>(
    path: &Path,
    warnings: &mut Vec<String>,
    of: fn(&L) -> Sample,
) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut bad = 0;
    let mut take = |line: &[u8]| {
        match serde_json::from_slice(line) {
            Ok(line) => samples.push(of(&line)),
            Err(_) => bad += 1,
        }
        Ok(())
    };
    let read = Lines::open(path).and_then(|mut lines| {
        while lines.next(&mut take)?.is_some() {}
        Ok(())
    });
    if let Err(error) = read {
        warnings.push(error.to_string());
    }
    if bad > 0 {
        warnings.push(format!(
            "{}: {bad} lines could not be read and were left out",
            path.display()
        ));
    }
    samples
}

fn gpu_sample(line: &GpuLine) -> Sample {
    let values = line.values();
    Sample {
        at_ns: line.timestamp_ns,
        values: values.map(|(key, value)| (key.to_owned(), value)).collect(),
    }
}

fn server_sample(line: &ServerLine) -> Sample {
    let metrics = line.metrics.iter().filter_map(|(name, series)| {
        let values = series.iter().filter_map(|series| series.value.flatten());
        Some((name.clone(), values.reduce(|sum, value| sum + value)?))
    });
    Sample {
        at_ns: line.timestamp_ns,
        values: metrics.collect(),
    }
}

impl Run {
    /// The requests that count: all but warm-up, with their place in the columns.
    pub fn profiling(&self) -> impl Iterator<Item = (usize, &Request)> {
        self.requests
            .iter()
            .enumerate()
            .filter(|(_, request)| request.profiling)
    }

    /// Those that were answered.
    pub fn valid(&self) -> impl Iterator<Item = (usize, &Request)> {
        self.profiling()
            .filter(|(_, request)| request.outcome == Outcome::Valid)
    }

    /// The value of a request, if it has one.
    pub fn value(&self, tag: &str, at: usize) -> Option<f64> {
        self.columns
            .get(tag)?
            .get(at)
            .copied()
            .filter(|value| value.is_finite())
    }

    /// The first start.
    pub fn zero_ns(&self) -> u64 {
        self.profiling()
            .map(|(_, request)| request.start_ns)
            .min()
            .unwrap_or(0)
    }

    /// A statistic of the summary, or of a cell its mean over the trials.
    pub fn figure(&self, tag: &str, stat: &str) -> Option<f64> {
        match tag {
            "output_token_throughput_per_gpu" => {
                return Some(
                    self.figure(tag::OUTPUT_TOKEN_THROUGHPUT, "avg")? / self.gpu_count()?.0,
                );
            }
            "goodput_per_gpu" => {
                return Some(self.figure(tag::GOODPUT, "avg")? / self.gpu_count()?.0);
            }
            "concurrency" => return Some(self.concurrency().unwrap_or(1.0)),
            "duration" => return self.figure(tag::BENCHMARK_DURATION, "avg"),
            _ => {}
        }
        match &self.told {
            Told::Run(summary) => summary.figure(tag, stat),
            Told::Cell(_) => self.of_trials(tag, stat)?.mean,
        }
    }

    /// Whether it is the statistics of several trials.
    pub const fn is_cell(&self) -> bool {
        matches!(self.told, Told::Cell(_))
    }

    /// The summary; of several trials there is none.
    pub fn summary(&self) -> Option<&Summary> {
        match &self.told {
            Told::Run(summary) => Some(summary),
            Told::Cell(_) => None,
        }
    }

    /// A statistic over several trials.
    pub fn of_trials(&self, tag: &str, stat: &str) -> Option<&AggregateBlock> {
        match &self.told {
            Told::Run(_) => None,
            Told::Cell(cell) => cell.metrics.get(&format!("{tag}_{stat}")),
        }
    }

    /// What was asked.
    fn config(&self) -> Option<&InputConfig> {
        self.summary()?.config()
    }

    fn run_info(&self) -> Option<&RunInfo> {
        self.summary()?.run_info.as_deref()
    }

    /// What is said of the point of a sweep.
    pub fn variation_label(&self) -> Option<&str> {
        self.run_info()?.variation_label.as_deref()
    }

    /// Unit of a metric in the summary, else in the table of metrics.
    pub fn unit(&self, tag: &str) -> String {
        let of_run = self.summary().and_then(|summary| summary.metric(tag));
        let said = of_run.map(|block| &block.unit);
        let said = said.or_else(|| Some(&self.of_trials(tag, "avg")?.unit));
        said.cloned().unwrap_or_else(|| unit_of(tag))
    }

    /// Number of GPUs that serve the model, and who says so.
    pub fn gpu_count(&self) -> Option<(f64, &'static str)> {
        if let Some(given) = self.num_gpus {
            return Some((given, "--num-gpus"));
        }
        let summary = self.summary()?;
        let per_gpu = summary.per_gpu.as_ref().map(|per| per.num_gpus as f64);
        let stored = per_gpu.or(summary.num_gpus);
        let stored = stored.or_else(|| summary.config()?.num_gpus);
        if let Some(stored) = stored {
            return Some((stored, "the run's --num-gpus"));
        }
        let endpoints = summary.telemetry_data.as_ref()?.endpoints.values();
        let gpus: usize = endpoints.map(|endpoint| endpoint.gpus.len()).sum();
        (gpus > 0).then_some((gpus as f64, "the telemetry, which counts every GPU it sees"))
    }

    /// The concurrency asked for in the last profiling phase.
    pub fn concurrency(&self) -> Option<f64> {
        Some(self.config()?.profiling()?.concurrency? as f64)
    }

    /// The rate asked for in the last profiling phase.
    fn rate(&self) -> Option<f64> {
        self.config()?.profiling()?.rate
    }

    /// What a run is called in a column of labels or groups.
    pub fn label(&self, column: &str) -> String {
        let config = self.config();
        let number = super::scale::number;
        let text = match column {
            "run_name" | "name" => Some(self.name.clone()),
            "model" => self.model(),
            "concurrency" => self.concurrency().map(number),
            "request_rate" => self.rate().map(|rate| format!("{}/s", number(rate))),
            "isl" | "osl" => {
                let prompts = config
                    .and_then(InputConfig::dataset)
                    .map(|set| &set.prompts);
                let length = prompts.and_then(|prompts| match column {
                    "isl" => prompts.isl,
                    _ => prompts.osl,
                });
                length.map(|length| number(length.mean))
            }
            "endpoint" | "endpoint_type" => config
                .map(|config| config.endpoint.kind.clone())
                .filter(|kind| !kind.is_empty()),
            "duration" => self
                .figure(tag::BENCHMARK_DURATION, "avg")
                .map(|value| format!("{} s", number(value))),
            "cancellation_rate" => config
                .and_then(InputConfig::cancellation)
                .map(|cancel| format!("{}%", number(cancel.rate))),
            other => {
                let varied = match &self.told {
                    Told::Run(_) => self
                        .run_info()
                        .and_then(|info| info.variation_values.as_ref()),
                    Told::Cell(cell) => cell.metadata.variation_values.as_ref(),
                };
                let found = varied.and_then(|values| {
                    values
                        .iter()
                        .find(|(path, _)| path.rsplit('.').next() == Some(other))
                });
                found.map(|(_, value)| match value {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                })
            }
        };
        text.unwrap_or_else(|| match column {
            // A run without a concurrency is known by its rate.
            "concurrency" => self.rate().map_or_else(
                || "1".to_owned(),
                |rate| format!("{}/s", super::scale::number(rate)),
            ),
            _ => "unknown".to_owned(),
        })
    }

    fn model(&self) -> Option<String> {
        match &self.told {
            Told::Run(_) => {
                let names: Vec<&str> = self.config()?.model_names().collect();
                Some(names.join(", ")).filter(|names| !names.is_empty())
            }
            Told::Cell(cell) => cell.metadata.model.clone(),
        }
    }

    /// Largest first, smallest first: by what `column` says of the runs.
    pub fn order(&self, column: &str) -> f64 {
        let label = self.label(column);
        let digits: String = label
            .chars()
            .filter(|letter| letter.is_ascii_digit() || *letter == '.')
            .collect();
        self.figure(column, "avg")
            .or_else(|| digits.parse().ok())
            .unwrap_or(f64::INFINITY)
    }
}

/// The unit of a tag as the exports spell it; empty where none is known.
pub fn unit_of(tag: &str) -> String {
    let derived = match tag {
        "output_token_throughput_per_gpu" => Some("tokens/sec/gpu"),
        "goodput_per_gpu" => Some("requests/sec/gpu"),
        "concurrency" => Some("streams"),
        "timestamp" | "duration" => Some("s"),
        _ => None,
    };
    let of_table = || {
        METRICS
            .iter()
            .find(|metric| metric.tag == tag)
            .map(|metric| metric.shown.name())
    };
    derived.or_else(of_table).unwrap_or_default().to_owned()
}

/// The display name of a tag; the tag itself where none is known.
pub fn name_of(tag: &str) -> String {
    let derived = match tag {
        "output_token_throughput_per_gpu" => Some("Token throughput per GPU"),
        tag::OUTPUT_TOKEN_THROUGHPUT_PER_USER => Some("Token throughput per user"),
        "goodput_per_gpu" => Some("Goodput per GPU"),
        "request_number" => Some("Request number"),
        "timestamp" => Some("Time since the first request"),
        "concurrency" => Some("Concurrency"),
        _ => None,
    };
    let of_table = || {
        METRICS
            .iter()
            .find(|metric| metric.tag == tag)
            .map(|metric| metric.name)
    };
    derived
        .or_else(of_table)
        .map_or_else(|| tag.replace('_', " "), str::to_owned)
}

/// Whether more of it is better, less of it, or neither because it is no result: lengths, sizes and
/// counts.
pub fn better_if_larger(tag: &str) -> Option<bool> {
    match tag {
        "output_token_throughput_per_gpu" | "goodput_per_gpu" => Some(true),
        _ => pinfire_analysis::compare::larger_is_better(tag),
    }
}

/// Whether more of it is better.
pub fn larger_is_better(tag: &str) -> bool {
    matches!(tag, "output_token_throughput_per_gpu" | "goodput_per_gpu")
        || METRICS.iter().any(|metric| {
            metric.tag == tag
                && metric
                    .marks
                    .has(pinfire_analysis::metric::Flags::LARGER_IS_BETTER)
        })
}
