//! What the GPUs said of themselves, from the run's own lines.

use std::path::Path;

use pinfire_artifacts::samples::{GpuLine, TelemetryData};
use pinfire_artifacts::{Lines, LinesError};
use pinfire_base::clock::Stamp;

use super::error::RebuildError;
use crate::facts::PhaseWindow;
use pinfire_scrape::gpu::{GRACE, GpuHistory, GpuTelemetry, is_known};
use pinfire_scrape::reduce::Window;

/// Reads the lines of a run. None where nobody looked at GPUs, and where the summary knows more
/// than the lines: these are gone, or they say what is not known here (another make, figures of the
/// user's own, the layout of an old AIPerf), which `warnings` then tell. `told` is `telemetry_data`
/// of the run's own summary, `first` the start of its first request.
pub(super) fn read(
    path: Option<&Path>,
    recorded: Option<&TelemetryData>,
    measured: Option<&PhaseWindow>,
    first: Stamp,
    warnings: &mut Vec<String>,
) -> Result<Option<GpuTelemetry>, RebuildError> {
    let mut exporters: Vec<GpuHistory> = Vec::new();
    if let Some(path) = path {
        let mut lines = Lines::open(path)?;
        loop {
            let line = match lines.next(read_line) {
                Ok(Some(line)) => line,
                Ok(None) => break,
                // Whatever it is, the requests are there all the same.
                Err(LinesError::Line { .. }) => {
                    warnings.push(format!(
                        "{}: GPU figures that are not known here; those of the run's summary are kept, \
                         and the tables of the GPUs left out",
                        path.display()
                    ));
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            };
            let place = exporters
                .iter()
                .position(|known| known.url == line.telemetry_source_url);
            let place = place.unwrap_or_else(|| {
                exporters.push(GpuHistory::new(&line.telemetry_source_url));
                exporters.len() - 1
            });
            if let Some(exporter) = exporters.get_mut(place) {
                exporter.recall(&line);
            }
        }
    }
    let mut configured = recorded.map_or_else(Vec::new, |recorded| {
        recorded.summary.endpoints_configured.clone()
    });
    if recorded.is_none() {
        configured.extend(exporters.iter().map(|exporter| exporter.url.clone()));
    }
    let errors = recorded.map_or(&[][..], |recorded| &recorded.error_summary);
    let failures = errors.iter();
    let failures =
        failures.filter_map(|error| Some(error.error_details.message.as_deref()?.to_owned()));
    if exporters.is_empty() && recorded.is_none_or(|recorded| !recorded.endpoints.is_empty()) {
        return Ok(None);
    }
    let start = measured.map_or(first, |measured| measured.start);
    // A run that was killed has no end: it went on until the last look at least.
    let end = measured.and_then(|measured| measured.end);
    let last = exporters.iter().filter_map(GpuHistory::last_look).max();
    let end = end.or(last).unwrap_or(start);
    Ok(Some(GpuTelemetry {
        configured,
        exporters,
        failures: failures.collect(),
        window: Window {
            start,
            end,
            until: end + GRACE,
        },
    }))
}

fn read_line(line: &[u8]) -> Result<GpuLine, String> {
    let line: Option<GpuLine> = serde_json::from_slice(line).ok();
    line.filter(is_known)
        .ok_or_else(|| "GPU figures that are not known here".to_owned())
}
