//! Each phase of a run by itself: `phases/<name>/`, `phase_manifest.json`. Written where more than one
//! phase ran.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{ExportError, csv, json, replace};
use crate::collect::{ErrorGroup, Progress};
use crate::facts::PhaseWindow;
use crate::report::{Block, Report};

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
        let row = row(report, view, index);
        let folder = dir.join("phases").join(view.name);
        let made = fs::create_dir_all(&folder).map_err(|e| ExportError::new("create", &folder, e));
        let files = made.and_then(|()| {
            let percentiles = &report.facts.percentiles;
            let table = csv::of_blocks(view.blocks, &[], percentiles);
            replace(&folder.join(CSV), &table)
                .and(replace(&folder.join(JSON), &json::of_phase(report, view)))
        });
        written = written.and(files);
        rows.push(row);
    }
    written.and(replace(&dir.join(MANIFEST), &manifest(rows)))
}

pub(super) const CSV: &str = "profile_export_aiperf.csv";
pub(super) const JSON: &str = "profile_export_aiperf.json";

/// Two spaces of indent, keys sorted, a newline at the end.
fn manifest(rows: Vec<Value>) -> Vec<u8> {
    let document = json!({"phases": rows, "schema_version": 1});
    // Into memory, with text keys only: nothing to fail.
    let mut bytes = serde_json::to_vec_pretty(&document).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

fn row(report: &Report, view: &PhaseView<'_>, index: usize) -> Value {
    let wall = |at| report.facts.anchor.unix_nanos(at);
    let counts = view.counts;
    let folder = Path::new("phases").join(view.name);
    let path = |file: &str| folder.join(file).to_string_lossy().into_owned();
    let measured = view.name == "profiling";
    let mut row = Map::new();
    let mut put = |key: &str, value: Value| row.insert(key.to_owned(), value);
    // Additive, where there is any: hung up on by plan is neither an error nor a success.
    if counts.cancelled > 0 {
        put("cancelled_request_count", counts.cancelled.into());
    }
    // A phase that was cut off has no end.
    if let Some(end) = view.window.end {
        put("end_ns", wall(end).into());
    }
    put("error_request_count", counts.errors.into());
    put("error_summary", json::error_summary(view.errors));
    put("metrics_csv", path(CSV).into());
    put("metrics_json", path(JSON).into());
    put("phase_index", index.into());
    put("phase_kind", view.name.into());
    put("phase_name", view.name.into());
    put("profiling_index", measured.then_some(0).into());
    put("start_ns", wall(view.window.start).into());
    put("successful_request_count", counts.valid.into());
    let total = counts.valid + counts.errors + counts.cancelled;
    put("total_request_count", total.into());
    put("was_cancelled", view.interrupted.is_some().into());
    row.into()
}
