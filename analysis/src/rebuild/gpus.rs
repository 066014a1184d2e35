//! What the GPUs said of themselves, from the run's own lines.

use std::path::Path;

use pinfire_engine::clock::Stamp;
use serde_json::Value;

use super::RebuildError;
use super::lines::Lines;
use crate::facts::PhaseWindow;
use crate::scrape::gpu::{GRACE, GpuHistory, GpuTelemetry, TelemetryLine, knows};
use crate::scrape::reduce::Window;

/// Reads the lines of a run. None where nobody looked at GPUs, and where the summary knows more than
/// the lines: these are gone, or of GPUs whose fields are not known here. `told` is `telemetry_data` of
/// the run's own summary, `first` the start of its first request.
pub(super) fn read(
    path: Option<&Path>,
    told: Option<&Value>,
    measured: Option<&PhaseWindow>,
    first: Stamp,
) -> Result<Option<GpuTelemetry>, RebuildError> {
    let mut exporters: Vec<GpuHistory> = Vec::new();
    if let Some(path) = path {
        let mut lines = Lines::open(path)?;
        while let Some(line) = lines.next(read_line)? {
            if !knows(&line.platform) {
                return Ok(None);
            }
            let place = exporters.iter().position(|known| known.url == line.url);
            let place = place.unwrap_or_else(|| {
                exporters.push(GpuHistory::new(&line.url));
                exporters.len() - 1
            });
            if let Some(exporter) = exporters.get_mut(place) {
                exporter.recall(&line);
            }
        }
    }
    let texts = |pointer: &str, of: fn(&Value) -> Option<&str>| -> Vec<String> {
        let list = told.and_then(|told| told.pointer(pointer));
        let list = list.and_then(Value::as_array).into_iter().flatten();
        list.filter_map(of).map(str::to_owned).collect()
    };
    let configured = texts("/summary/endpoints_configured", Value::as_str);
    let failures = texts("/error_summary", |error| {
        error.pointer("/error_details/message")?.as_str()
    });
    if exporters.is_empty() {
        let told_more = told.and_then(|told| told.pointer("/endpoints")?.as_object());
        if told.is_none() || told_more.is_some_and(|endpoints| !endpoints.is_empty()) {
            return Ok(None);
        }
    }
    let start = measured.map_or(first, |measured| measured.start);
    // A run that was killed has no end: it went on until the last look at least.
    let end = measured.and_then(|measured| measured.end);
    let last = exporters.iter().filter_map(GpuHistory::last_look).max();
    let end = end.or(last).unwrap_or(start);
    Ok(Some(GpuTelemetry {
        configured,
        exporters,
        failures,
        window: Window {
            start,
            end,
            until: end + GRACE,
        },
    }))
}

fn read_line(line: &[u8]) -> Result<TelemetryLine, String> {
    serde_json::from_slice(line).map_err(|what| format!("it says nothing of a GPU ({what})"))
}
