//! Each phase of a run by itself: `phase_manifest.json` and the documents in `phases/<name>/`.

use serde::{Deserialize, Serialize};

use crate::ErrorCount;

/// `phase_manifest.json`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct PhaseManifest {
    /// The phases that ran, in order.
    pub phases: Vec<PhaseRow>,
    /// Version of the layout.
    pub schema_version: u32,
}

/// A phase in the manifest; its keys are sorted. Paths are relative to the run's folder.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct PhaseRow {
    /// Requests cancelled by plan, which are neither errors nor successes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_request_count: Option<u64>,
    /// Its end in Unix nanoseconds; absent of one that was cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_ns: Option<u64>,
    /// Requests that failed.
    pub error_request_count: u64,
    /// What went wrong, and how often.
    pub error_summary: Vec<ErrorCount>,
    /// What the GPUs showed during it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_telemetry: Option<String>,
    /// Its metrics as a table.
    pub metrics_csv: String,
    /// Its summary.
    pub metrics_json: String,
    /// Its place among the phases.
    pub phase_index: usize,
    /// Its kind.
    pub phase_kind: String,
    /// Its name.
    pub phase_name: String,
    /// Its place among the measured phases.
    pub profiling_index: Option<u64>,
    /// What the servers showed during it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_metrics: Option<String>,
    /// Its begin in Unix nanoseconds.
    pub start_ns: u64,
    /// Requests that were answered.
    pub successful_request_count: u64,
    /// All of them.
    pub total_request_count: u64,
    /// It was cut off.
    pub was_cancelled: bool,
}

/// Which phase a document is of, and how that ended.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PhaseIdentity {
    /// Its place among the phases.
    pub phase_index: usize,
    /// Its place among the measured phases.
    pub profiling_index: Option<u64>,
    /// Its name.
    pub phase_name: String,
    /// Its kind.
    pub phase_kind: String,
    /// Its begin in Unix nanoseconds.
    pub start_ns: u64,
    /// Its end; absent of one that was cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_ns: Option<u64>,
    /// It was cut off.
    pub was_cancelled: bool,
}

/// What servers or GPUs showed during one phase alone.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct PhaseDocument<T> {
    /// Version of the layout.
    pub schema_version: u32,
    /// Which phase.
    pub phase: PhaseIdentity,
    /// What was seen.
    pub data: T,
    /// What the user should know of it.
    pub warnings: Vec<String>,
}
