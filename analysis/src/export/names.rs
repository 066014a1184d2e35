//! Names of the artifact files.

/// File names of a run; `inputs.json` and the log are never prefixed.
#[derive(Clone, PartialEq, Eq, Debug)]
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
