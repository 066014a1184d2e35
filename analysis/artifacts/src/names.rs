//! Names of the files.

/// What a run is, written before its first request: the head of its summary. It is taken away when
/// the summary is there, so that one that stays is of a run that was killed.
pub const STARTED: &str = ".pinfire_run.json";
/// Says that every other file of the run is written.
pub const READY: &str = ".aiperf_results_ready.json";
/// What the client adds to the figures of a run on this machine.
pub const CALIBRATION: &str = "calibration.json";
/// What a cancel-test found.
pub const CANCEL_TEST: &str = "cancel_test.json";
/// The same as a page.
pub const CANCEL_TEST_PAGE: &str = "cancel_test.html";
/// What it found on every endpoint.
pub const CANCEL_MATRIX: &str = "cancel_matrix.json";
/// The same as a page.
pub const CANCEL_MATRIX_PAGE: &str = "cancel_matrix.html";
/// The requests as they are sent.
pub const INPUTS: &str = "inputs.json";
/// The config file that repeats the run.
pub const RESOLVED_CONFIG: &str = "resolved_config.yaml";
/// The log, inside the run's folder.
pub const LOG: &str = "logs/pinfire.log";
/// The folder of what each phase of a run shows by itself.
pub const PHASES: &str = "phases";
/// What those phases are.
pub const PHASE_MANIFEST: &str = "phase_manifest.json";
/// Written into the folder of a run of a sweep when that run is finished.
pub const RUN_MARKER: &str = "run_config.json";
/// The folder of repeated runs.
pub const PROFILE_RUNS: &str = "profile_runs";
/// A sweep as it was begun, so that it can be resumed.
pub const SWEEP_CONFIG: &str = "sweep_config.json";
/// All points of a sweep.
pub const SWEEP_JSON: &str = "profile_export_aiperf_sweep.json";
/// The same as a table.
pub const SWEEP_CSV: &str = "profile_export_aiperf_sweep.csv";
/// The table of a sweep's points with their marks.
pub const PARETO_CSV: &str = "pareto_table.csv";
/// The repeated runs of one point.
pub const AGGREGATE_JSON: &str = "profile_export_aiperf_aggregate.json";
/// The same as a table.
pub const AGGREGATE_CSV: &str = "profile_export_aiperf_aggregate.csv";
/// The requests of all runs of one point together.
pub const COLLATED_JSON: &str = "profile_export_aiperf_collated.json";
/// Which share of a run a shard has sent, in the shard's folder.
pub const SHARD: &str = "shard.json";
/// What the leader of several shards knows of a run that did not end in order, in the run's folder.
pub const LEADER: &str = "leader.json";
/// What a search tried.
pub const SEARCH_HISTORY: &str = "search_history.json";
/// What the console showed at the end of a sweep, of repeated runs or of a search.
pub const SWEEP_CONSOLE: &str = "sweep_console.txt";

/// File names of a run; `inputs.json` and the log are never prefixed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FileNames {
    /// Table of metrics.
    pub csv: String,
    /// Full summary.
    pub json: String,
    /// One line per request.
    pub jsonl: String,
    /// One line per request with everything sent and received.
    pub raw: String,
    /// What the console showed.
    pub console: String,
    /// Begin of the names of the servers' own metrics, without the ending.
    pub server_metrics: String,
    /// One line per GPU and look.
    pub gpu_telemetry: String,
    /// Whether the server let go of what was cancelled.
    pub release: String,
    /// Table of the time slices.
    pub slices_csv: String,
    /// Time slices in full.
    pub slices_json: String,
}

impl Default for FileNames {
    fn default() -> Self {
        Self {
            csv: "profile_export_aiperf.csv".into(),
            json: "profile_export_aiperf.json".into(),
            jsonl: "profile_export.jsonl".into(),
            raw: "profile_export_raw.jsonl".into(),
            console: "profile_export_console.txt".into(),
            server_metrics: "server_metrics_export".into(),
            gpu_telemetry: "gpu_telemetry_export.jsonl".into(),
            release: "release.json".into(),
            slices_csv: "profile_export_aiperf_timeslices.csv".into(),
            slices_json: "profile_export_aiperf_timeslices.json".into(),
        }
    }
}

/// Longest first, so that `a_raw.jsonl` loses all of its ending.
const ENDINGS: [&str; 15] = [
    "_server_metrics.parquet",
    "_network_latency.jsonl",
    "_server_metrics.jsonl",
    "_server_metrics.json",
    "_gpu_telemetry.jsonl",
    "_server_metrics.csv",
    "_timeslices.json",
    "_release.json",
    "_timeslices.csv",
    "_console.txt",
    "_raw.jsonl",
    ".parquet",
    ".jsonl",
    ".json",
    ".csv",
];

impl FileNames {
    /// Names for `--profile-export-prefix`: its base name without a known ending.
    pub fn with_prefix(prefix: &str) -> Self {
        let base = prefix.rsplit('/').next().unwrap_or(prefix);
        let ending = ENDINGS.iter().find(|ending| base.ends_with(**ending));
        let stem = ending
            .and_then(|ending| base.strip_suffix(ending))
            .unwrap_or(base);
        Self {
            csv: format!("{stem}.csv"),
            json: format!("{stem}.json"),
            jsonl: format!("{stem}.jsonl"),
            raw: format!("{stem}_raw.jsonl"),
            console: format!("{stem}_console.txt"),
            server_metrics: format!("{stem}_server_metrics"),
            gpu_telemetry: format!("{stem}_gpu_telemetry.jsonl"),
            release: format!("{stem}_release.json"),
            slices_csv: format!("{stem}_timeslices.csv"),
            slices_json: format!("{stem}_timeslices.json"),
        }
    }

    /// The prefix, where the names are not the usual ones.
    pub fn prefix(&self) -> Option<&str> {
        if *self == Self::default() {
            None
        } else {
            self.json.strip_suffix(".json")
        }
    }

    /// The file of server metrics with this ending (`json`, `csv`, `jsonl`, `parquet`).
    pub fn server_metrics(&self, ending: &str) -> String {
        format!("{}.{ending}", self.server_metrics)
    }

    /// Every file that a run under these names may leave in its folder.
    pub fn all(&self) -> Vec<String> {
        let server = ["json", "csv", "jsonl", "parquet"].map(|ending| self.server_metrics(ending));
        let mut all = vec![
            self.csv.clone(),
            self.json.clone(),
            self.jsonl.clone(),
            self.raw.clone(),
            self.console.clone(),
            self.gpu_telemetry.clone(),
            self.release.clone(),
            self.slices_csv.clone(),
            self.slices_json.clone(),
        ];
        all.extend(server);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_loses_its_folder_and_a_known_ending() {
        for prefix in [
            "foo",
            "foo.json",
            "foo_raw.jsonl",
            "a/b/foo.csv",
            "foo_timeslices.csv",
        ] {
            let names = FileNames::with_prefix(prefix);
            assert_eq!(names.json, "foo.json");
            assert_eq!(names.console, "foo_console.txt");
            assert_eq!(names.raw, "foo_raw.jsonl");
            assert_eq!(names.slices_csv, "foo_timeslices.csv");
        }
    }
}
