//! Files and tables of a run, to the letter of AIPerf's.
//!
//! A summary file is written under another name first and renamed, so that a reader never sees half
//! of it.

pub mod console;
mod csv;
mod footer;
mod heads;
mod input_config;
mod json;
mod names;
mod raw;
pub mod records;
mod table;
mod trace;
mod trace_data;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use names::FileNames;

use crate::report::Report;

/// Width of the console file, and of stdout where it is no terminal.
pub const DEFAULT_WIDTH: usize = 140;

/// A file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct ExportError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl ExportError {
    pub(crate) fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The files of a summary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// The table of metrics.
    pub csv: PathBuf,
    /// The full summary.
    pub json: PathBuf,
    /// What the console showed.
    pub console: PathBuf,
}

impl Report {
    /// Writes CSV, JSON and console file into the artifact directory, also when nothing was answered
    /// (D14). `width` is that of the console file.
    ///
    /// # Errors
    /// The first file that cannot be written; the others are there.
    pub fn write(&self, width: usize) -> Result<Written, ExportError> {
        let dir = &self.facts.artifact_dir;
        fs::create_dir_all(dir).map_err(|e| ExportError::new("create", dir, e))?;
        let files = &self.facts.files;
        let written = Written {
            csv: dir.join(&files.csv),
            json: dir.join(&files.json),
            console: dir.join(&files.console),
        };
        let table = replace(&written.csv, &csv::of(self));
        let console = replace(&written.console, self.console(width, false).as_bytes());
        // Last: a reader that waits for the summary may start at once.
        let summary = replace(&written.json, &json::of(self));
        // One that fails does not keep the others from being written.
        table.and(console).and(summary).map(|()| written)
    }

    /// The summary as `profile_export_aiperf.json` holds it.
    pub fn json(&self) -> Vec<u8> {
        json::of(self)
    }

    /// The summary as `profile_export_aiperf.csv` holds it.
    pub fn csv(&self) -> Vec<u8> {
        csv::of(self)
    }
}

fn replace(path: &Path, content: &[u8]) -> Result<(), ExportError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    fs::write(&temporary, content).map_err(|e| ExportError::new("write", &temporary, e))?;
    fs::rename(&temporary, path).map_err(|e| ExportError::new("rename to", path, e))
}

/// `1 error`, `2 errors`.
fn plural(count: u64, noun: &str) -> impl fmt::Display {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}
