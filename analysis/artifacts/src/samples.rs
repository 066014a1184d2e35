//! What GPUs and servers showed: `telemetry_data` of a summary, the lines of
//! `gpu_telemetry_export.jsonl` and `server_metrics_export.jsonl`.

use serde::{Deserialize, Serialize};

use crate::{ErrorCount, Metrics, Ordered, Part};

/// What the GPUs showed.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TelemetryData {
    /// Where and when it was scraped.
    pub summary: TelemetrySummary,
    /// By exporter.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "std::collections::BTreeMap<String, Exporter>")
    )]
    pub endpoints: Ordered<Exporter>,
    /// Exporters that could not be read.
    pub error_summary: Vec<ErrorCount>,
}

impl Part for TelemetryData {}

/// Where and when GPUs were scraped.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TelemetrySummary {
    /// Exporters that were to be scraped.
    pub endpoints_configured: Vec<String>,
    /// Those that answered.
    pub endpoints_successful: Vec<String>,
    /// Begin of the window, in local time.
    pub start_time: Option<String>,
    /// Its end.
    pub end_time: Option<String>,
}

/// The GPUs behind one exporter.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Exporter {
    /// By name.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "std::collections::BTreeMap<String, Gpu>")
    )]
    pub gpus: Ordered<Gpu>,
}

/// One GPU over the measured phase.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Gpu {
    /// Its place.
    pub gpu_index: u64,
    /// Its model.
    pub gpu_name: String,
    /// Its id.
    pub gpu_uuid: String,
    /// Its maker.
    pub platform: String,
    /// The node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The Kubernetes namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The Kubernetes pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<String>,
    /// What it showed.
    pub metrics: Metrics,
}

/// A line of `gpu_telemetry_export.jsonl`: one scrape of one GPU.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct GpuLine {
    /// Its place.
    #[serde(default)]
    pub gpu_index: u64,
    /// Its id.
    #[serde(default)]
    pub gpu_uuid: String,
    /// Its model.
    #[serde(default)]
    pub gpu_model_name: String,
    /// Its address on the bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pci_bus_id: Option<String>,
    /// Its device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The Kubernetes namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The Kubernetes pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<String>,
    /// Its maker; not there in old files of AIPerf.
    #[serde(default)]
    pub platform: String,
    /// When, in Unix nanoseconds.
    pub timestamp_ns: u64,
    /// The page.
    #[serde(default)]
    pub telemetry_source_url: String,
    /// Value by field; of other programs some are no numbers.
    pub telemetry_data: Ordered<Option<Sampled>>,
}

/// A number, or something else.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Sampled {
    /// A number.
    Number(f64),
    /// Not a number.
    Other(serde_json::Value),
}

impl GpuLine {
    /// The values that are numbers.
    pub fn values(&self) -> impl Iterator<Item = (&str, f64)> {
        let data = self.telemetry_data.iter();
        data.filter_map(|(key, value)| match value {
            Some(Sampled::Number(value)) => Some((key.as_str(), *value)),
            _ => None,
        })
    }
}

/// A line of `server_metrics_export.jsonl`: one scrape of one page that had changed.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ServerLine {
    /// The page.
    #[serde(default)]
    pub endpoint_url: String,
    /// When its first byte was there, in Unix nanoseconds.
    pub timestamp_ns: u64,
    /// From the request for it to its first byte.
    #[serde(default)]
    pub endpoint_latency_ns: u64,
    /// Series by metric.
    pub metrics: Ordered<Vec<ServerPoint>>,
    /// When it was asked for.
    #[serde(default)]
    pub request_sent_ns: u64,
    /// When its first byte was there.
    #[serde(default)]
    pub first_byte_ns: u64,
    /// The phase that went on; none before the first.
    #[serde(default, flatten)]
    pub phase: Option<ServerPhase>,
}

/// The phase during which a page was asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ServerPhase {
    /// `warmup` or `profiling`.
    pub benchmark_phase: String,
    /// Its place among the phases.
    pub phase_index: u64,
    /// Its place among the measured ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profiling_index: Option<u64>,
    /// Its name.
    pub phase_name: String,
    /// Its kind.
    pub phase_kind: String,
}

/// One series: a value, or a histogram.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerPoint {
    /// Its labels.
    #[serde(skip_serializing_if = "Ordered::is_empty")]
    pub labels: Ordered<String>,
    /// The value; null where it is none that JSON can hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Option<f64>>,
    /// Counts by upper bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buckets: Option<Ordered<Option<f64>>>,
    /// Sum of a histogram.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sum: Option<Option<f64>>,
    /// Count of a histogram.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<Option<f64>>,
}
