//! Which files of a folder belong to the run.

use std::fs;
use std::path::{Path, PathBuf};

use super::RebuildError;
use crate::export::{FileNames, STARTED};

/// The files of a run that are there.
pub(super) struct RunFiles {
    /// Their names.
    pub(super) names: FileNames,
    /// Everything sent and received.
    pub(super) raw: Option<PathBuf>,
    /// A line of values per request.
    pub(super) lines: Option<PathBuf>,
    /// A line per GPU and look at it.
    pub(super) gpus: Option<PathBuf>,
    /// The summary.
    pub(super) summary: Option<PathBuf>,
    /// What pinfire wrote down when it began, and takes away when it ends.
    pub(super) started: Option<PathBuf>,
}

impl RunFiles {
    /// Looks for them in `dir`, under their usual names or under one prefix.
    pub(super) fn find(dir: &Path) -> Result<Self, RebuildError> {
        let usual = Self::named(dir, FileNames::default());
        if usual.has_requests() {
            return Ok(usual);
        }
        let entries = fs::read_dir(dir).map_err(|cause| RebuildError::read(dir, cause))?;
        let mut prefixes: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.ends_with(".jsonl"))
            .filter(|name| !FOREIGN.iter().any(|foreign| name.ends_with(foreign)))
            .map(|name| FileNames::with_prefix(&name).json)
            .collect();
        prefixes.sort();
        prefixes.dedup();
        match &prefixes[..] {
            [] => Err(RebuildError::NoRequests {
                dir: dir.to_owned(),
            }),
            [one] => Ok(Self::named(dir, FileNames::with_prefix(one))),
            several => Err(RebuildError::Several {
                dir: dir.to_owned(),
                names: several.join(", "),
            }),
        }
    }

    fn named(dir: &Path, names: FileNames) -> Self {
        let there = |name: &str| Some(dir.join(name)).filter(|path| path.is_file());
        Self {
            raw: there(&names.raw),
            lines: there(&names.jsonl),
            gpus: there(&names.gpu_telemetry),
            summary: there(&names.json),
            started: there(STARTED),
            names,
        }
    }

    fn has_requests(&self) -> bool {
        self.raw.is_some() || self.lines.is_some()
    }
}

/// Files of JSON lines that hold no requests of a run.
const FOREIGN: [&str; 5] = [
    "_gpu_telemetry.jsonl",
    "gpu_telemetry_export.jsonl",
    "_server_metrics.jsonl",
    "server_metrics_export.jsonl",
    "_network_latency.jsonl",
];
