//! A run as plots see it: its requests in columns, its summary, slices and samples of GPUs.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::find::Found;
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

/// What is known of a cancelled request, in the units of the file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Cancel {
    /// Asked delay after the last byte.
    pub asked_delay_ms: Option<f64>,
    /// Disconnect minus what was asked.
    pub delay_error_us: Option<f64>,
    /// When the connection was closed.
    pub closed_ns: Option<u64>,
    /// `connecting`, `sending`, `waiting` or `streaming`.
    pub phase: Option<String>,
    /// TTFT, if it got that far.
    pub time_to_first_token_ms: Option<f64>,
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
    pub cancel: Option<Box<Cancel>>,
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

/// A run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Folder's name, or more of the path where names repeat.
    pub name: String,
    /// Where it lies.
    pub folder: PathBuf,
    /// The JSON summary.
    pub summary: Value,
    /// Statistics of several trials.
    pub is_cell: bool,
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
    "time_to_first_token",
    "inter_token_latency",
    "request_latency",
    "output_sequence_length",
    "input_sequence_length",
    "output_token_throughput_per_user",
    "error_isl",
    "good_request_count",
    "effective_latency",
];

#[derive(Deserialize)]
struct Line<'l> {
    metadata: Metadata,
    #[serde(borrow, default)]
    metrics: HashMap<&'l str, &'l RawValue>,
    #[serde(borrow)]
    error: Option<&'l RawValue>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    session_num: u64,
    #[serde(default)]
    x_request_id: String,
    #[serde(default)]
    conversation_id: String,
    #[serde(default)]
    turn_index: u64,
    credit_issued_ns: Option<u64>,
    request_start_ns: u64,
    request_end_ns: u64,
    #[serde(default)]
    benchmark_phase: String,
    #[serde(default)]
    was_cancelled: bool,
    cancellation: Option<Box<Cancel>>,
}

#[derive(Deserialize)]
struct Measured {
    value: Value,
}

/// Reads a run. Of the metrics of requests those in [`TAGS`] and `more` are kept.
///
/// # Errors
/// A file cannot be read or is not what it should be; the text names file and line.
pub fn run(found: &Found, more: &[String]) -> Result<Run, String> {
    let path = found.summary();
    let summary: Value = serde_json::from_reader(BufReader::new(open(&path)?))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    if !summary.is_object() {
        return Err(format!("{}: not a summary of a run", path.display()));
    }
    let mut run = Run {
        name: name(found),
        folder: found.folder.clone(),
        summary,
        is_cell: found.is_cell,
        requests: Vec::new(),
        columns: HashMap::new(),
        slices: Vec::new(),
        gpus: Vec::new(),
        server: Vec::new(),
        warnings: Vec::new(),
        num_gpus: None,
    };
    if !found.is_cell {
        let tags: HashSet<&str> = TAGS
            .into_iter()
            .chain(more.iter().map(String::as_str))
            .collect();
        read_requests(&mut run, &found.records(), &tags)?;
        run.slices = slices(found, &run.summary, &mut run.warnings);
        run.gpus = samples(
            &found.file("gpu_telemetry_export.jsonl"),
            &mut run.warnings,
            gpu_sample,
        );
        run.server = samples(
            &found.file("server_metrics_export.jsonl"),
            &mut run.warnings,
            server_sample,
        );
    }
    Ok(run)
}

/// The last part of the path that says something.
fn name(found: &Found) -> String {
    if let Some(prefix) = &found.prefix {
        return prefix.clone();
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
                if let Some(prefix) = &found.prefix {
                    *name = format!("{name}/{prefix}");
                }
            }
        }
    }
    names
}

fn open(path: &Path) -> Result<File, String> {
    File::open(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn read_requests(run: &mut Run, path: &Path, tags: &HashSet<&str>) -> Result<(), String> {
    let mut reader = BufReader::with_capacity(1 << 20, open(path)?);
    let mut columns: HashMap<String, Vec<f64>> = tags
        .iter()
        .map(|tag| ((*tag).to_owned(), Vec::new()))
        .collect();
    let (mut text, mut at) = (String::new(), 0usize);
    loop {
        text.clear();
        at += 1;
        let read = reader
            .read_line(&mut text)
            .map_err(|error| format!("{}:{at}: {error}", path.display()))?;
        if read == 0 {
            break;
        }
        if text.trim().is_empty() {
            continue;
        }
        let line: Line = match serde_json::from_str(&text) {
            Ok(line) => line,
            Err(_) if !text.ends_with('\n') => {
                run.warnings.push(format!(
                    "{}:{at}: the last line is cut off and was left out",
                    path.display()
                ));
                break;
            }
            Err(error) => return Err(format!("{}:{at}: {error}", path.display())),
        };
        for (tag, column) in &mut columns {
            let value = line
                .metrics
                .get(tag.as_str())
                .and_then(|raw| serde_json::from_str::<Measured>(raw.get()).ok());
            column.push(value.map_or(f64::NAN, |measured| mean_of(&measured.value)));
        }
        let error = line
            .error
            .and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
        let meta = line.metadata;
        let outcome = if meta.was_cancelled {
            Outcome::Cancelled
        } else if error.is_some() {
            Outcome::Failed
        } else {
            Outcome::Valid
        };
        run.requests.push(Request {
            session_num: meta.session_num,
            id: meta.x_request_id,
            conversation: meta.conversation_id,
            turn: meta.turn_index,
            credit_ns: meta.credit_issued_ns,
            start_ns: meta.request_start_ns,
            end_ns: meta.request_end_ns.max(meta.request_start_ns),
            profiling: meta.benchmark_phase != "warmup",
            outcome,
            error: error.as_ref().map(said),
            cancel: meta.cancellation,
        });
    }
    run.columns = columns;
    Ok(())
}

/// A number, or the mean of a list.
fn mean_of(value: &Value) -> f64 {
    match value {
        Value::Array(list) if !list.is_empty() => {
            list.iter().filter_map(Value::as_f64).sum::<f64>() / list.len() as f64
        }
        Value::Bool(yes) => f64::from(u8::from(*yes)),
        value => value.as_f64().unwrap_or(f64::NAN),
    }
}

fn said(error: &Value) -> String {
    let kind = error["type"].as_str().unwrap_or("error");
    let code = error["code"]
        .as_i64()
        .map(|code| format!(" {code}"))
        .unwrap_or_default();
    let message: String = error["message"]
        .as_str()
        .unwrap_or_default()
        .chars()
        .take(200)
        .collect();
    format!("{kind}{code}: {message}")
}

/// The time slices: from the JSON, else from the CSV. A file that cannot be read is a warning.
fn slices(found: &Found, summary: &Value, warnings: &mut Vec<String>) -> Vec<Slice> {
    let length = summary["input_config"]["artifacts"]["slice_duration"]
        .as_f64()
        .unwrap_or(1.0);
    let json = found.file("profile_export_aiperf_timeslices.json");
    let csv = found.file("profile_export_aiperf_timeslices.csv");
    let read = if json.exists() {
        slices_of_json(&json, length).map_err(|error| format!("{}: {error}", json.display()))
    } else if csv.exists() {
        slices_of_csv(&csv, length).map_err(|error| format!("{}: {error}", csv.display()))
    } else {
        Ok(Vec::new())
    };
    read.unwrap_or_else(|error| {
        warnings.push(error);
        Vec::new()
    })
}

fn slices_of_json(path: &Path, length: f64) -> Result<Vec<Slice>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let json: Value =
        serde_json::from_reader(BufReader::new(file)).map_err(|error| error.to_string())?;
    let list = json["timeslices"]
        .as_array()
        .ok_or("there is no list \"timeslices\"")?;
    let first = list.first().and_then(|slice| slice["start_ns"].as_u64());
    let of = |(at, slice): (usize, &Value)| {
        let since = |key: &str| Some((slice[key].as_u64()?.saturating_sub(first?)) as f64 / 1e9);
        let start_s = since("start_ns").unwrap_or(at as f64 * length);
        Slice {
            start_s,
            end_s: since("end_ns").unwrap_or(start_s + length),
            metrics: slice
                .as_object()
                .into_iter()
                .flatten()
                .filter_map(|(tag, block)| {
                    let stats = block
                        .as_object()?
                        .iter()
                        .filter_map(|(stat, value)| Some((stat.clone(), value.as_f64()?)));
                    Some((tag.clone(), stats.collect()))
                })
                .collect(),
        }
    };
    Ok(list.iter().enumerate().map(of).collect())
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

fn samples(
    path: &Path,
    warnings: &mut Vec<String>,
    of: fn(&Value) -> Option<Sample>,
) -> Vec<Sample> {
    let Ok(file) = File::open(path) else {
        return Vec::new();
    };
    let mut samples = Vec::new();
    let mut bad = 0;
    for line in BufReader::new(file).lines() {
        match line
            .ok()
            .and_then(|line| of(&serde_json::from_str(&line).ok()?))
        {
            Some(sample) => samples.push(sample),
            None => bad += 1,
        }
    }
    if bad > 0 {
        warnings.push(format!(
            "{}: {bad} lines could not be read and were left out",
            path.display()
        ));
    }
    samples
}

fn gpu_sample(line: &Value) -> Option<Sample> {
    let values = line["telemetry_data"].as_object()?.iter();
    Some(Sample {
        at_ns: line["timestamp_ns"].as_u64()?,
        values: values
            .filter_map(|(key, value)| Some((key.clone(), value.as_f64()?)))
            .collect(),
    })
}

fn server_sample(line: &Value) -> Option<Sample> {
    let of = |(name, series): (&String, &Value)| {
        let values = series
            .as_array()?
            .iter()
            .filter_map(|series| series["value"].as_f64());
        Some((name.clone(), values.reduce(|sum, value| sum + value)?))
    };
    Some(Sample {
        at_ns: line["timestamp_ns"].as_u64()?,
        values: line["metrics"].as_object()?.iter().filter_map(of).collect(),
    })
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
                return Some(self.figure("output_token_throughput", "avg")? / self.gpu_count()?.0);
            }
            "goodput_per_gpu" => return Some(self.figure("goodput", "avg")? / self.gpu_count()?.0),
            "concurrency" => return Some(self.concurrency().unwrap_or(1.0)),
            "duration" => return self.figure("benchmark_duration", "avg"),
            _ => {}
        }
        if self.is_cell {
            return self.summary["metrics"][format!("{tag}_{stat}")]["mean"].as_f64();
        }
        self.summary[tag][stat].as_f64()
    }

    /// Unit of a metric in the summary, else in the table of metrics.
    pub fn unit(&self, tag: &str) -> String {
        let said = self.summary[tag]["unit"]
            .as_str()
            .or_else(|| self.summary["metrics"][format!("{tag}_avg")]["unit"].as_str());
        said.map_or_else(|| unit_of(tag), str::to_owned)
    }

    /// Number of GPUs that serve the model, and who says so.
    pub fn gpu_count(&self) -> Option<(f64, &'static str)> {
        if let Some(given) = self.num_gpus {
            return Some((given, "--num-gpus"));
        }
        let config = &self.summary["input_config"];
        let stored = [&self.summary["num_gpus"], &config["num_gpus"]];
        if let Some(stored) = stored.iter().find_map(|value| value.as_f64()) {
            return Some((stored, "the run's --num-gpus"));
        }
        let endpoints = self.summary["telemetry_data"]["endpoints"].as_object()?;
        let gpus: usize = endpoints
            .values()
            .filter_map(|endpoint| endpoint["gpus"].as_object())
            .map(serde_json::Map::len)
            .sum();
        (gpus > 0).then_some((gpus as f64, "the telemetry, which counts every GPU it sees"))
    }

    /// The concurrency asked for in the last profiling phase.
    pub fn concurrency(&self) -> Option<f64> {
        self.asked("concurrency")
    }

    /// A number of the last profiling phase.
    fn asked(&self, key: &str) -> Option<f64> {
        let phases = self.summary["input_config"]["phases"].as_array()?;
        let profiling = phases.iter().rfind(|phase| phase["kind"] != "warmup");
        profiling?[key].as_f64()
    }

    /// What a run is called in a column of labels or groups.
    pub fn label(&self, column: &str) -> String {
        let config = &self.summary["input_config"];
        let text = match column {
            "run_name" | "name" => Some(self.name.clone()),
            "model" => {
                let items = config["models"]["items"].as_array();
                let names = items.map(|items| {
                    items
                        .iter()
                        .filter_map(|item| item["name"].as_str())
                        .collect::<Vec<_>>()
                        .join(", ")
                });
                names.filter(|names| !names.is_empty()).or_else(|| {
                    self.summary["metadata"]["model"]
                        .as_str()
                        .map(str::to_owned)
                })
            }
            "concurrency" => self.concurrency().map(super::scale::number),
            "request_rate" => self
                .asked("rate")
                .map(|rate| format!("{}/s", super::scale::number(rate))),
            "isl" | "osl" => config["datasets"][0]["prompts"][column]["mean"]
                .as_f64()
                .map(super::scale::number),
            "endpoint" | "endpoint_type" => config["endpoint"]["type"].as_str().map(str::to_owned),
            "duration" => self
                .figure("benchmark_duration", "avg")
                .map(|value| format!("{} s", super::scale::number(value))),
            "cancellation_rate" => self
                .asked_cancellation()
                .map(|rate| format!("{}%", super::scale::number(rate))),
            other => {
                let varied = self.summary["run_info"]["variation_values"].as_object();
                let varied =
                    varied.or_else(|| self.summary["metadata"]["variation_values"].as_object());
                let found = varied.and_then(|values| {
                    values
                        .iter()
                        .find(|(path, _)| path.rsplit('.').next() == Some(other))
                });
                found.map(|(_, value)| {
                    value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned)
                })
            }
        };
        text.unwrap_or_else(|| match column {
            // A run without a concurrency is known by its rate.
            "concurrency" => self.asked("rate").map_or_else(
                || "1".to_owned(),
                |rate| format!("{}/s", super::scale::number(rate)),
            ),
            _ => "unknown".to_owned(),
        })
    }

    fn asked_cancellation(&self) -> Option<f64> {
        let phases = self.summary["input_config"]["phases"].as_array()?;
        phases.last()?["cancellation"]["rate"].as_f64()
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
        "output_token_throughput_per_user" => Some("Token throughput per user"),
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
