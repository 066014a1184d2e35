//! `server_metrics_export.json`: what the servers' own metrics showed over a run.

use serde::{Deserialize, Serialize};
use serde_json::Number;

use crate::config::InputConfig;
use crate::summary::Head;
use crate::{Carried, Ordered};

/// The file.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerMetricsFile {
    /// Who wrote it.
    #[serde(flatten)]
    pub head: Head,
    /// Where and when it was scraped.
    pub summary: ScrapeSummary,
    /// The phase that `metrics` are of.
    pub metrics_phase: String,
    /// The metrics by name.
    pub metrics: Ordered<MetricSeries>,
    /// Those of the warmup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_metrics: Option<Ordered<MetricSeries>>,
    /// What the known metrics say about cancelled requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cancellation_check: Vec<CancellationCheck>,
    /// What the user should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What was asked of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_config: Option<Carried<InputConfig>>,
}

/// What the servers showed during one phase alone.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ServerPhaseMetrics {
    /// The pages.
    pub endpoints_successful: Vec<String>,
    /// The phase.
    pub metrics_phase: String,
    /// The metrics by name.
    pub metrics: Ordered<MetricSeries>,
}

/// Where and when servers were scraped.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ScrapeSummary {
    /// Pages that were to be scraped.
    pub endpoints_configured: Vec<String>,
    /// Those that answered.
    pub endpoints_successful: Vec<String>,
    /// Begin of the measured phase, in local time.
    pub start_time: Option<String>,
    /// Its end.
    pub end_time: Option<String>,
    /// Page by page.
    pub endpoint_info: Ordered<EndpointInfo>,
    /// Begin and end of the phases.
    pub phase_time_ranges: Ordered<TimeRange>,
    /// First and last scrape behind the totals.
    pub scrape_window: TimeRange,
}

/// A range of Unix nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TimeRange {
    /// Begin.
    pub start_ns: u64,
    /// End.
    pub end_ns: u64,
}

/// How a page was scraped.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointInfo {
    /// Scrapes.
    pub total_fetches: usize,
    /// The first.
    pub first_fetch_ns: u64,
    /// The last.
    pub last_fetch_ns: u64,
    /// Mean time of one.
    pub avg_fetch_latency_ms: Option<f64>,
    /// Scrapes that showed something new.
    pub unique_updates: usize,
    /// The first of them.
    pub first_update_ns: u64,
    /// The last of them.
    pub last_update_ns: u64,
    /// From the first scrape to the last.
    pub duration_seconds: f64,
    /// Mean time between updates.
    pub avg_update_interval_ms: Option<f64>,
    /// Median time between updates.
    pub median_update_interval_ms: Option<f64>,
}

/// A metric over all pages.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MetricSeries {
    /// `gauge`, `counter`, `histogram`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Its help.
    pub description: String,
    /// Its unit, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// By page and labels.
    pub series: Vec<Series>,
}

/// A metric of one page with these labels.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Series {
    /// The page.
    pub endpoint_url: String,
    /// The labels.
    #[serde(skip_serializing_if = "Ordered::is_empty")]
    pub labels: Ordered<String>,
    /// Statistics by name.
    pub stats: Ordered<Number>,
    /// Counts by upper bound, of a histogram.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buckets: Option<Ordered<u64>>,
    /// Slices of time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub timeslices: Vec<SeriesSlice>,
}

/// A series in a slice of time.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SeriesSlice {
    /// Begin of the slice.
    pub start_ns: u64,
    /// Its end.
    pub end_ns: u64,
    /// Statistics by name.
    #[serde(flatten)]
    pub stats: Ordered<Number>,
    /// Counts by upper bound, of a histogram.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buckets: Option<Ordered<u64>>,
    /// It has its full length; said only of one that has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_complete: Option<bool>,
}

/// What the known metrics of a server say about cancelled requests.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CancellationCheck {
    /// The page.
    pub endpoint_url: String,
    /// The kind of server.
    pub server: String,
    /// How far each known counter grew, and where levels were at the end.
    #[serde(flatten)]
    pub levels: Ordered<Number>,
    /// The formula behind the number of aborted requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aborted_formula: Option<String>,
    /// How often its counters began anew in between. What was counted between the last scrape
    /// before and that instant is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counter_restarts: Option<u32>,
    /// The server was at rest at both ends, and its counters went on from one to the other.
    pub valid_at_rest: bool,
}
