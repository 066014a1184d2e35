//! The files of server metrics (`server_metrics_export.*`), in AIPerf's layout.

mod csv;
mod json;
pub mod lines;
#[cfg_attr(not(feature = "parquet"), path = "no_parquet.rs")]
pub mod parquet;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;
use pinfire_artifacts::server::ServerPhaseMetrics;
use pinfire_artifacts::{WriteError, json_bytes, replace};
use pinfire_base::clock::{Span, Stamp, WallAnchor};
use pinfire_base::zone;

use super::dropped::Dropped;
use super::history::{History, Metric, Series};
use super::reduce::{Detail, Reduced, Window, reduce, resets};
use super::server_kinds::Levels;
use super::text::{Kind, Labels};
use super::units;
use crate::Run;

/// The columns of gauges after `avg`, `min`, `max` and `std`.
const PERCENTILES: [&str; 9] = ["p1", "p5", "p10", "p25", "p50", "p75", "p90", "p95", "p99"];

/// Names that a warning of their own is given for.
const MOST_SAID: usize = 20;
/// Numbers in the time slices of all series: some 200 MB of JSON.
const MAX_SLICE_NUMBERS: usize = 4_000_000;
/// Columns for labels in a table.
pub(crate) const MAX_LABEL_COLUMNS: usize = 100;

/// A form in which server metrics are written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum MetricsFormat {
    /// The full summary.
    Json,
    /// A table per type.
    Csv,
    /// A line per look, written while the run goes on.
    Jsonl,
    /// All values in columns.
    Parquet,
}

impl MetricsFormat {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Json, Self::Csv, Self::Jsonl, Self::Parquet];

    /// Whether this build can write it.
    pub const fn is_built(self) -> bool {
        !matches!(self, Self::Parquet) || cfg!(feature = "parquet")
    }

    /// Its name, which is the ending of its file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
        }
    }

    /// What the footer calls its file.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Json => "Server Metrics JSON Export",
            Self::Csv => "Server Metrics CSV Export",
            Self::Jsonl => "Server Metrics JSONL Export",
            Self::Parquet => "Server Metrics Parquet Export",
        }
    }
}

/// What one endpoint showed over a run.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Watched {
    /// Its page.
    pub url: String,
    /// All that it showed.
    pub history: History,
    /// The kind of server, if its metrics are known.
    pub server: Option<String>,
    /// The formula behind the number of aborted requests.
    pub aborted_formula: Option<String>,
    /// What the known metrics said at each scrape.
    pub levels: Vec<(Stamp, Levels)>,
    /// Looks that showed nothing.
    pub failed: u64,
    /// The last reason.
    pub last_failure: Option<String>,
}

/// What the known metrics said at both ends of a window.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ends {
    /// At the last scrape before it, or at the very first.
    pub before: Levels,
    /// At the last scrape that counts for it.
    pub last: Levels,
}

impl Ends {
    /// How far a counter moved. What was not there at the begin counts from 0.
    pub fn grown(&self, of: fn(&Levels) -> Option<f64>) -> Option<f64> {
        let from = of(&self.before).unwrap_or(0.0);
        Some((of(&self.last)? - from).max(0.0))
    }
}

impl Watched {
    /// What was said at both ends of a window; none without a scrape.
    pub fn ends(&self, window: Window) -> Option<Ends> {
        let by = |at: Stamp| {
            let mut levels = self.levels.iter().rev();
            levels
                .find(|(seen, _)| *seen <= at)
                .map(|(_, levels)| *levels)
        };
        let first = self.levels.first().map(|(_, levels)| *levels);
        Some(Ends {
            before: by(window.start).or(first)?,
            last: by(window.until)?,
        })
    }
}

/// The server metrics of a run.
#[derive(Clone, PartialEq, Debug)]
pub struct ServerMetrics {
    /// The endpoints that could be reached.
    pub endpoints: Vec<Watched>,
    /// The measured phase.
    pub window: Window,
    /// The warmup, if there was one.
    pub warmup: Option<Window>,
    /// Length of a time slice, if slices are wanted.
    pub slice: Option<Span>,
}

/// A metric over all endpoints, reduced.
struct Row<'a> {
    kind: Kind,
    help: &'a str,
    unit: Option<&'static str>,
    series: Vec<(&'a Watched, &'a Labels, Reduced)>,
}

impl ServerMetrics {
    /// Whether anything was seen at all.
    pub fn is_empty(&self) -> bool {
        self.endpoints
            .iter()
            .all(|endpoint| endpoint.history.scrapes.is_empty())
    }

    /// `server_metrics_export.json`.
    pub fn json(&self, run: &Run) -> Vec<u8> {
        json_bytes(&json::of(self, run))
    }

    /// What the servers said during one phase alone, `warmup` or `profiling`; none if it did not
    /// run.
    pub fn of_phase(&self, anchor: &WallAnchor, phase: &str) -> Option<ServerPhaseMetrics> {
        json::of_phase(self, anchor, phase)
    }

    /// `server_metrics_export.csv`.
    pub fn csv(&self, run: &Run) -> Vec<u8> {
        csv::of(self, run)
    }

    /// Writes the files of all forms that are asked for; that of lines is there already. Gives what
    /// there is, with the titles for the footer.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, run: &Run) -> Result<Vec<(&'static str, PathBuf)>, WriteError> {
        let mut files = Vec::new();
        for format in [
            MetricsFormat::Csv,
            MetricsFormat::Json,
            MetricsFormat::Jsonl,
            MetricsFormat::Parquet,
        ] {
            if !run.formats.contains(&format) {
                continue;
            }
            let name = run.files.server_metrics(format.name());
            let path = run.folder.join(name);
            let content = match format {
                MetricsFormat::Json => Some(self.json(run)),
                MetricsFormat::Csv => Some(self.csv(run)),
                MetricsFormat::Jsonl => None,
                MetricsFormat::Parquet => match self.parquet(run) {
                    Ok(Some(bytes)) => Some(bytes),
                    Ok(None) => continue,
                    Err(error) => {
                        let error = std::io::Error::other(error.to_string());
                        return Err(WriteError::new("write", &path, error));
                    }
                },
            };
            if let Some(content) = content {
                replace(&path, &content)?;
            }
            files.push((format.title(), path));
        }
        Ok(files)
    }

    /// What the user should know of the metrics: restarts, endpoints that fell silent, values left
    /// out.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for endpoint in &self.endpoints {
            let url = &endpoint.url;
            if endpoint.failed > 0 {
                let (failed, scrapes) = (endpoint.failed, endpoint.history.scrapes.len());
                let reason = endpoint.last_failure.as_deref().unwrap_or("no answer");
                warnings.push(format!(
                    "{url}: {failed} of {} scrapes showed nothing ({reason})",
                    failed + scrapes as u64
                ));
            }
            if endpoint.history.bad_lines > 0 {
                let lines = endpoint.history.bad_lines;
                warnings.push(format!(
                    "{url}: {lines} lines made no sense and were left out"
                ));
            }
            let history = &endpoint.history;
            let not_finite = &history.not_finite;
            let many = not_finite.names().count() > MOST_SAID;
            if many {
                warnings.push(format!(
                    "{url}: metrics were NaN or infinite at times and left out there: {not_finite}"
                ));
            }
            for (name, _) in not_finite.names().filter(|_| !many) {
                warnings.push(format!(
                    "{url}: {name} was NaN or infinite at times; left out there"
                ));
            }
            let left_out: [(&Dropped, &str); 3] = [
                (
                    &history.dropped_series,
                    "samples of series beyond the number that is kept",
                ),
                (
                    &history.dropped_buckets,
                    "buckets of histograms that have very many",
                ),
                (
                    &history.dropped_samples,
                    "samples, so that the rest has room in memory",
                ),
            ];
            for (dropped, what) in left_out.into_iter().filter(|(of, _)| !of.is_empty()) {
                let count = dropped.total();
                warnings.push(format!("{url}: left out {count} {what}: {dropped}"));
            }
        }
        let labels = self.label_names().len();
        if labels > MAX_LABEL_COLUMNS {
            warnings.push(format!(
                "{} of {labels} labels have no column in the CSV and Parquet files; they are in the JSON",
                labels - MAX_LABEL_COLUMNS
            ));
        }
        if let Some(slice) = self.slices_left_out() {
            warnings.push(slice);
        }
        let mut restarted: BTreeMap<&str, u32> = BTreeMap::new();
        for endpoint in &self.endpoints {
            let most = restarted.entry(&endpoint.url).or_default();
            for metric in endpoint.history.metrics.values() {
                for series in metric.series.values() {
                    let times = resets(&endpoint.history, metric.kind, series, self.window);
                    *most = (*most).max(times);
                }
            }
        }
        for (url, times) in restarted.into_iter().filter(|(_, times)| *times > 0) {
            warnings.push(format!(
                "{url}: counters went backwards {times} times: the server restarted, or a load \
                 balancer stands in front of several; scrape each by --server-metrics"
            ));
        }
        warnings
    }

    /// The names of all labels.
    fn label_names(&self) -> BTreeSet<&str> {
        let metrics = self
            .endpoints
            .iter()
            .flat_map(|of| of.history.metrics.values());
        let labels = metrics.flat_map(|metric| metric.series.keys().flatten());
        labels.map(|(name, _)| name.as_str()).collect()
    }

    /// Numbers that the time slices of all series would have in the window.
    fn slice_numbers(&self, length: Span) -> usize {
        let metrics = self
            .endpoints
            .iter()
            .flat_map(|of| of.history.metrics.values());
        let series = metrics.flat_map(|metric| metric.series.values());
        let numbers: usize = series.map(Series::width).sum();
        numbers.saturating_mul(self.window.slice_count(length))
    }

    /// What is said where there would be too many time slices.
    fn slices_left_out(&self) -> Option<String> {
        let numbers = self.slice_numbers(self.slice?);
        (numbers > MAX_SLICE_NUMBERS).then(|| {
            format!(
                "the time slices of the server metrics are left out: they would be {numbers} numbers, \
                 and {MAX_SLICE_NUMBERS} is the limit; take a longer --slice-duration"
            )
        })
    }

    /// How far the series can be looked into.
    fn detail(&self) -> Detail {
        let metrics = self
            .endpoints
            .iter()
            .flat_map(|of| of.history.metrics.values());
        let histograms = metrics.filter(|metric| metric.kind == Kind::Histogram);
        let histograms = histograms.map(|metric| metric.series.len()).sum();
        let few = |length: &Span| self.slice_numbers(*length) <= MAX_SLICE_NUMBERS;
        Detail::among(histograms, self.slice.filter(few))
    }

    /// All metrics that have something in the window, by the names that the files use.
    fn rows(&self, window: Window) -> BTreeMap<String, Row<'_>> {
        let names = self.names();
        let detail = self.detail();
        let mut rows: BTreeMap<String, Row<'_>> = BTreeMap::new();
        for endpoint in &self.endpoints {
            for (name, metric) in &endpoint.history.metrics {
                let shown = shown_name(name, metric, &names);
                for (labels, series) in &metric.series {
                    let reduced = reduce(&endpoint.history, metric.kind, series, window, detail);
                    let Some(reduced) = reduced else { continue };
                    let row = rows.entry(shown.clone()).or_insert_with(|| Row {
                        kind: metric.kind,
                        help: &metric.help,
                        unit: units::of(name, &metric.help),
                        series: Vec::new(),
                    });
                    if row.kind == metric.kind {
                        row.series.push((endpoint, labels, reduced));
                    }
                }
            }
        }
        rows
    }

    /// The names of all metrics that are no counters.
    fn names(&self) -> BTreeSet<&str> {
        let metrics = self.endpoints.iter().flat_map(|e| &e.history.metrics);
        let others = metrics.filter(|(_, metric)| metric.kind != Kind::Counter);
        others.map(|(name, _)| name.as_str()).collect()
    }
}

/// The name in the files: counters lose `_total`, unless another metric has the rest for a name.
fn shown_name(name: &str, metric: &Metric, others: &BTreeSet<&str>) -> String {
    match name.strip_suffix("_total") {
        Some(bare) if metric.kind == Kind::Counter && !others.contains(bare) => bare.to_owned(),
        _ => name.to_owned(),
    }
}

/// `host:port` and any path but `/metrics`.
pub fn short_url(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.strip_suffix("/metrics").unwrap_or(rest)
}

/// Local time to the microsecond, without a zone.
pub(crate) fn local_time(anchor: &WallAnchor, at: Stamp) -> Option<String> {
    let nanos = i128::from(anchor.unix_nanos(at));
    let time = Timestamp::from_nanosecond(nanos).ok()?;
    let local = time.to_zoned(zone::local());
    Some(local.strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string())
}

#[cfg(test)]
mod tests;
