//! Files and tables of a run, to the letter of AIPerf's.

mod console;
mod csv;
mod external;
mod footer;
mod headline;
pub(crate) mod input_config;
mod json;
mod message_heads;
mod panels;
mod phases;
mod raw;
pub mod records;
mod shards;
mod slices;
pub(crate) mod table;
mod trace;
mod trace_data;
pub(crate) mod words;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use panels::Notice;
use pinfire_artifacts::{READY, STARTED, Summary, WriteError, json_bytes, replace};
use pinfire_guard::shown;

use crate::facts::RunFacts;
use crate::report::Report;

/// Width of the console file, and of stdout where it is no terminal.
pub const DEFAULT_WIDTH: usize = 140;

/// The files of a summary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// The table of metrics.
    pub csv: PathBuf,
    /// The full summary.
    pub json: PathBuf,
    /// What the console showed.
    pub console: PathBuf,
    /// Time slices as CSV and JSON, if there is one at least.
    pub slices: Option<[PathBuf; 2]>,
}

impl Report {
    /// Writes CSV, JSON and console file into the artifact directory, also when nothing was
    /// answered: why is in them. `width` is that of the console file.
    ///
    /// # Errors
    /// The first file that cannot be written; the others are there.
    pub fn write(&self, width: usize) -> Result<Written, WriteError> {
        let dir = &self.facts.artifact_dir;
        fs::create_dir_all(dir).map_err(|e| WriteError::new("create", dir, e))?;
        let files = &self.facts.files;
        let written = Written {
            csv: dir.join(&files.csv),
            json: dir.join(&files.json),
            console: dir.join(&files.console),
            slices: (!self.slices.is_empty())
                .then(|| [dir.join(&files.slices_csv), dir.join(&files.slices_json)]),
        };
        let table = replace(&written.csv, &csv::of(self));
        let console = replace(
            &written.console,
            shown(&self.console(width, false)).as_bytes(),
        );
        let sliced = match &written.slices {
            Some([csv, json]) => {
                let rows = replace(csv, &slices::csv(self));
                rows.and(replace(json, &json_bytes(&slices::json(self))))
            }
            // Those of an earlier report.
            None => remove(&dir.join(&files.slices_csv))
                .and_then(|()| remove(&dir.join(&files.slices_json))),
        };
        let phases = phases::write(self);
        // Last: a reader that waits for the summary may start at once.
        let summary = replace(&written.json, &json_bytes(&self.summary()));
        // One that fails does not keep the others from being written.
        table
            .and(console)
            .and(sliced)
            .and(phases)
            .and(summary)
            .map(|()| written)
    }

    /// The summary as `profile_export_aiperf.json` holds it.
    pub fn summary(&self) -> Summary {
        json::of(self)
    }

    /// The same as the file's bytes.
    pub fn json(&self) -> Vec<u8> {
        json_bytes(&self.summary())
    }

    /// The time slices as CSV and as JSON.
    pub fn slice_files(&self) -> [Vec<u8>; 2] {
        [slices::csv(self), json_bytes(&slices::json(self))]
    }

    /// Says that every file of the run is written: for readers that wait for it. To be called after
    /// everything else.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn mark_ready(&self) -> Result<(), WriteError> {
        let cut = self.end.interrupted.is_some();
        let line = format!("{{\"ready\":true,\"was_cancelled\":{cut},\"partial\":{cut}}}");
        replace(&self.facts.artifact_dir.join(READY), line.as_bytes())
    }

    /// Takes away what [`write_start`] wrote: the summary says it all. As long as it is there,
    /// `report` says that the run was killed.
    ///
    /// # Errors
    /// It cannot be taken away.
    pub fn forget_start(&self) -> Result<(), WriteError> {
        remove(&self.facts.artifact_dir.join(STARTED))
    }

    /// The summary as `profile_export_aiperf.csv` holds it.
    pub fn csv(&self) -> Vec<u8> {
        csv::of(self)
    }
}

/// Writes down what a run is, before its first request, so that `pinfire report` knows it even if
/// the run is killed.
///
/// # Errors
/// The file cannot be written.
pub fn write_start(facts: &RunFacts) -> Result<(), WriteError> {
    let path = facts.artifact_dir.join(STARTED);
    replace(&path, &json_bytes(&json::of_start(facts)))
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> Result<(), WriteError> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(WriteError::new("remove", path, cause))
        }
        _ => Ok(()),
    }
}
