//! Each phase of a run by itself: `phases/<name>/`, `phase_manifest.json`. Written where more than one
//! phase ran. What servers and GPUs said during it lies beside its figures.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{ExportError, csv, json, replace};
use crate::collect::{ErrorGroup, Progress};
use crate::facts::PhaseWindow;
use crate::report::{Block, Report};
use crate::scrape::files::MetricsFormat;
use crate::scrape::gpu::GpuTelemetry;
use crate::scrape::reduce::Window;

/// The manifest's name; never prefixed.
pub(super) const MANIFEST: &str = "phase_manifest.json";

/// One phase of a run.
pub(super) struct PhaseView<'a> {
    pub(super) name: &'static str,
    pub(super) blocks: &'a [Block],
    pub(super) errors: &'a [ErrorGroup],
    pub(super) window: PhaseWindow,
    /// It was cut off, for this reason.
    pub(super) interrupted: Option<&'a str>,
    counts: Progress,
}

/// The phases that ran, in order; none for a run of one phase.
fn views(report: &Report) -> Vec<PhaseView<'_>> {
    let Some(warmup) = report.end.warmup else {
        return Vec::new();
    };
    let reason = report.end.interrupted.as_deref();
    let mut views = vec![PhaseView {
        name: "warmup",
        blocks: &report.warmup,
        errors: &report.warmup_errors,
        window: warmup,
        interrupted: reason.filter(|_| warmup.end.is_none()),
        counts: report.warmup_counts,
    }];
    if let Some(window) = report.end.profiling {
        views.push(PhaseView {
            name: "profiling",
            blocks: &report.blocks,
            errors: &report.errors,
            window,
            interrupted: reason,
            counts: report.counts,
        });
    }
    views
}

/// Writes the files of all phases and the manifest.
pub(super) fn write(report: &Report) -> Result<(), ExportError> {
    let dir = &report.facts.artifact_dir;
    let views = views(report);
    if views.is_empty() {
        return Ok(());
    }
    let mut written = Ok(());
    let mut rows = Vec::new();
    for (index, view) in views.iter().enumerate() {
        let mut row = row(report, view, index);
        let folder = dir.join("phases").join(view.name);
        let made = fs::create_dir_all(&folder).map_err(|e| ExportError::new("create", &folder, e));
        let told = outside(report, view, index);
        let files = made.and_then(|()| {
            for (file, bytes) in &told {
                replace(&folder.join(file), bytes)?;
            }
            let percentiles = &report.facts.percentiles;
            let table = csv::of_blocks(view.blocks, &[], percentiles);
            replace(&folder.join(CSV), &table)
                .and(replace(&folder.join(JSON), &json::of_phase(report, view)))
        });
        for (file, _) in told {
            let key = file.trim_end_matches(".json");
            let path = Path::new("phases").join(view.name).join(file);
            row.insert(key.to_owned(), path.to_string_lossy().into());
        }
        row.sort_keys();
        written = written.and(files);
        rows.push(row.into());
    }
    written.and(replace(&dir.join(MANIFEST), &manifest(rows)))
}

pub(super) const CSV: &str = "profile_export_aiperf.csv";
pub(super) const JSON: &str = "profile_export_aiperf.json";
const SERVERS: &str = "server_metrics.json";
const GPUS: &str = "gpu_telemetry.json";

/// What servers and GPUs said during one phase alone: each its file and the bytes of it.
fn outside(report: &Report, view: &PhaseView<'_>, index: usize) -> Vec<(&'static str, Vec<u8>)> {
    let facts = &report.facts;
    let document = |data: Value, warnings: Vec<String>| {
        document(&json!({
            "schema_version": 1,
            "phase": identity(report, view, index),
            "data": data,
            "warnings": warnings,
        }))
    };
    let mut files = Vec::new();
    let wanted = facts.watch.formats.contains(&MetricsFormat::Json);
    if let Some(servers) = report.outside.server.as_ref().filter(|_| wanted)
        && let Some(data) = servers.of_phase(facts, view.name)
    {
        files.push((SERVERS, document(data, servers.warnings())));
    }
    if let Some(gpus) = report.outside.gpu.as_ref().filter(|gpus| !gpus.is_empty()) {
        let window = match (is_measured(view), view.window.end) {
            (true, _) => Some(gpus.window),
            (false, end) => end.map(|end| Window {
                start: view.window.start,
                end,
                until: end,
            }),
        };
        if let Some(window) = window {
            let gpus = GpuTelemetry {
                window,
                ..gpus.clone()
            };
            files.push((GPUS, document(gpus.json(facts), gpus.failures.clone())));
        }
    }
    files
}

fn is_measured(view: &PhaseView<'_>) -> bool {
    view.name == "profiling"
}

/// Which phase it is and how it ended.
fn identity(report: &Report, view: &PhaseView<'_>, index: usize) -> Map<String, Value> {
    let wall = |at| report.facts.anchor.unix_nanos(at);
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
    put("phase_index", index.into());
    put("profiling_index", is_measured(view).then_some(0).into());
    put("phase_name", view.name.into());
    put("phase_kind", view.name.into());
    put("start_ns", wall(view.window.start).into());
    // A phase that was cut off has no end.
    if let Some(end) = view.window.end {
        put("end_ns", wall(end).into());
    }
    put("was_cancelled", view.interrupted.is_some().into());
    map
}

/// Two spaces of indent, a newline at the end.
fn manifest(rows: Vec<Value>) -> Vec<u8> {
    document(&json!({"phases": rows, "schema_version": 1}))
}

fn document(document: &Value) -> Vec<u8> {
    // Into memory, with text keys only: nothing to fail.
    let mut bytes = serde_json::to_vec_pretty(document).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

fn row(report: &Report, view: &PhaseView<'_>, index: usize) -> Map<String, Value> {
    let counts = view.counts;
    let folder = Path::new("phases").join(view.name);
    let path = |file: &str| folder.join(file).to_string_lossy().into_owned();
    let mut row = identity(report, view, index);
    let mut put = |key: &str, value: Value| row.insert(key.to_owned(), value);
    // Additive, where there is any: hung up on by plan is neither an error nor a success.
    if counts.cancelled > 0 {
        put("cancelled_request_count", counts.cancelled.into());
    }
    put("error_request_count", counts.errors.into());
    put("error_summary", json::error_summary(view.errors));
    put("metrics_csv", path(CSV).into());
    put("metrics_json", path(JSON).into());
    put("successful_request_count", counts.valid.into());
    let total = counts.valid + counts.errors + counts.cancelled;
    put("total_request_count", total.into());
    row
}
