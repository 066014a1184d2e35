//! Each phase of a run by itself: `phases/<name>/`, `phase_manifest.json`. Written where more than
//! one phase ran. What servers and GPUs said during it lies beside its figures.

use std::fs;
use std::path::Path;

use pinfire_artifacts::phases::{PhaseDocument, PhaseIdentity, PhaseManifest, PhaseRow};
use pinfire_artifacts::{PHASE_FILES, PHASE_MANIFEST, PHASES, WriteError, json_bytes, replace};
use serde::Serialize;

use super::{csv, json};
use crate::collect::{ErrorGroup, Progress};
use crate::facts::PhaseWindow;
use crate::report::{Block, Report};
use pinfire_scrape::files::MetricsFormat;
use pinfire_scrape::gpu::GpuTelemetry;
use pinfire_scrape::reduce::Window;

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

/// Names of the files of a phase.
const CSV: &str = PHASE_FILES[0];
const JSON: &str = PHASE_FILES[1];
const SERVERS: &str = PHASE_FILES[2];
const GPUS: &str = PHASE_FILES[3];

/// Writes the files of all phases and the manifest.
pub(super) fn write(report: &Report) -> Result<(), WriteError> {
    let dir = &report.facts.artifact_dir;
    let views = views(report);
    if views.is_empty() {
        return Ok(());
    }
    let mut written = Ok(());
    let mut phases = Vec::new();
    for (index, view) in views.iter().enumerate() {
        let of_phase = PhaseFiles::of(report, view, index);
        written = written.and(of_phase.write(report, view));
        phases.push(of_phase.row(report, view, index));
    }
    let manifest = PhaseManifest {
        phases,
        schema_version: 1,
    };
    written.and(replace(&dir.join(PHASE_MANIFEST), &document(&manifest)))
}

/// What servers and GPUs showed during one phase alone, as files.
struct PhaseFiles {
    servers: Option<Vec<u8>>,
    gpus: Option<Vec<u8>>,
}

impl PhaseFiles {
    fn of(report: &Report, view: &PhaseView<'_>, index: usize) -> Self {
        let facts = &report.facts;
        let wanted = facts.watch.formats.contains(&MetricsFormat::Json);
        let servers = report.external.server.as_ref().filter(|_| wanted);
        let servers = servers.and_then(|servers| {
            let data = servers.of_phase(&facts.anchor, view.name)?;
            Some(external(report, view, index, data, servers.warnings()))
        });
        let gpus = report.external.gpu.as_ref().filter(|gpus| !gpus.is_empty());
        let gpus = gpus.and_then(|gpus| {
            let window = match (is_measured(view), view.window.end) {
                (true, _) => gpus.window,
                (false, end) => Window {
                    start: view.window.start,
                    end: end?,
                    until: end?,
                },
            };
            let of_phase = GpuTelemetry {
                window,
                ..gpus.clone()
            };
            let data = of_phase.summary(&facts.anchor);
            Some(external(report, view, index, data, gpus.failures.clone()))
        });
        Self { servers, gpus }
    }

    fn write(&self, report: &Report, view: &PhaseView<'_>) -> Result<(), WriteError> {
        let folder = report.facts.artifact_dir.join(PHASES).join(view.name);
        fs::create_dir_all(&folder).map_err(|e| WriteError::new("create", &folder, e))?;
        for (name, bytes) in [(SERVERS, &self.servers), (GPUS, &self.gpus)] {
            if let Some(bytes) = bytes {
                replace(&folder.join(name), bytes)?;
            }
        }
        let table = csv::of_blocks(view.blocks, &[], &report.facts.percentiles);
        let summary = json_bytes(&json::of_phase(report, view));
        replace(&folder.join(CSV), &table).and(replace(&folder.join(JSON), &summary))
    }

    fn row(&self, report: &Report, view: &PhaseView<'_>, index: usize) -> PhaseRow {
        let path = |file: &str| {
            let path = Path::new(PHASES).join(view.name).join(file);
            path.to_string_lossy().into_owned()
        };
        let counts = view.counts;
        let identity = identity(report, view, index);
        PhaseRow {
            cancelled_request_count: Some(counts.cancelled).filter(|count| *count > 0),
            end_ns: identity.end_ns,
            error_request_count: counts.errors,
            error_summary: json::error_summary(view.errors),
            gpu_telemetry: self.gpus.as_ref().map(|_| path(GPUS)),
            metrics_csv: path(CSV),
            metrics_json: path(JSON),
            phase_index: identity.phase_index,
            phase_kind: identity.phase_kind,
            phase_name: identity.phase_name,
            profiling_index: identity.profiling_index,
            server_metrics: self.servers.as_ref().map(|_| path(SERVERS)),
            start_ns: identity.start_ns,
            successful_request_count: counts.valid,
            total_request_count: counts.valid + counts.errors + counts.cancelled,
            was_cancelled: identity.was_cancelled,
        }
    }
}

fn is_measured(view: &PhaseView<'_>) -> bool {
    view.name == "profiling"
}

/// Which phase it is and how it ended.
fn identity(report: &Report, view: &PhaseView<'_>, index: usize) -> PhaseIdentity {
    let wall = |at| report.facts.anchor.unix_nanos(at);
    PhaseIdentity {
        phase_index: index,
        profiling_index: is_measured(view).then_some(0),
        phase_name: view.name.to_owned(),
        phase_kind: view.name.to_owned(),
        start_ns: wall(view.window.start),
        end_ns: view.window.end.map(wall),
        was_cancelled: view.interrupted.is_some(),
    }
}

fn external(
    report: &Report,
    view: &PhaseView<'_>,
    index: usize,
    data: impl Serialize,
    warnings: Vec<String>,
) -> Vec<u8> {
    document(&PhaseDocument {
        schema_version: 1,
        phase: identity(report, view, index),
        data,
        warnings,
    })
}

/// Two spaces of indent, a newline at the end.
fn document(document: &impl Serialize) -> Vec<u8> {
    let mut bytes = json_bytes(document);
    bytes.push(b'\n');
    bytes
}
