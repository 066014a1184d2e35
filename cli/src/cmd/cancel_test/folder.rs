//! The folder of a test: `--artifact-dir`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use pinfire_analysis::{
    export::{DEFAULT_WIDTH, write_start},
    reclaim::{ReclaimReport, page},
};
use pinfire_artifacts::{CANCEL_TEST, RESOLVED_CONFIG, RunFolder, json_bytes, replace};

use pinfire_guard::{hidden, shown_line};

use super::ask::{Ask, command_line};
use crate::{
    args::CancelTest, cmd::profile, reclaim::Recording, run::PreparedRun, settings::Settings,
    terminal::say,
};

/// The folder of a test, locked.
pub struct Folder {
    folder: RunFolder,
}

impl Folder {
    /// Locks it, takes away what an earlier run has left, and begins to record.
    ///
    /// # Errors
    /// Another run writes to it, or it cannot be written to.
    pub fn open(
        flags: &CancelTest,
        ask: &Ask,
        run: &mut PreparedRun<'_>,
    ) -> Result<(Self, Recording)> {
        let settings = run.settings;
        let folder = RunFolder::create(&settings.artifact_dir)?;
        folder.clear(&settings.files)?;
        let command = command_line(flags, ask);
        store_resolved(settings, &command)?;
        let mut facts = profile::facts::of(run)?;
        facts.cli_command = command;
        facts.profiling.requests = None;
        if ask.trigger.is_none() {
            // Two triggers in turn are none that a run can have.
            facts.cancellation = None;
        }
        write_start(&facts)?;
        let recording = Recording::start(facts, run)?;
        Ok((Self { folder }, recording))
    }

    /// Writes what was found and what was recorded.
    ///
    /// # Errors
    /// Something cannot be written, or is lost.
    pub fn finish(self, recording: Recording, found: &ReclaimReport) -> Result<()> {
        self.write(recording, Some(found))?;
        say::line(format_args!(
            "Folder of the test: {}",
            self.folder.path().display()
        ));
        Ok(())
    }

    /// Writes what was recorded of some cells of a matrix.
    ///
    /// # Errors
    /// Something cannot be written, or is lost.
    pub fn finish_cells(self, recording: Recording) -> Result<()> {
        self.write(recording, None)
    }

    fn write(&self, recording: Recording, found: Option<&ReclaimReport>) -> Result<()> {
        let mut report = recording.finish()?;
        report.release = found.cloned();
        let written = report.write(DEFAULT_WIDTH)?;
        report.forget_start()?;
        let own = match found {
            Some(found) => {
                let path = self.folder.path().join(CANCEL_TEST);
                let page = write(&path, found)?;
                vec![path, page]
            }
            None => Vec::new(),
        };
        let named = report.files(Some(&written)).into_iter();
        let named = named.map(|(_, path)| path);
        self.folder
            .check(named.chain(own.iter().map(PathBuf::as_path)))?;
        Ok(report.mark_ready()?)
    }
}

/// Writes a report as JSON, and beside it as a page; where that is.
///
/// # Errors
/// One of them cannot be written.
pub fn write(path: &Path, report: &ReclaimReport) -> Result<PathBuf> {
    let text = json_bytes(report);
    let value = serde_json::from_slice(&text)?;
    let html = page::html(&value).map_err(|error| anyhow!(error))?;
    replace(path, &text)?;
    let page = path.with_extension("html");
    replace(&page, html.as_bytes())?;
    Ok(page)
}

/// Writes the config file of the requests, and how the test is repeated.
fn store_resolved(settings: &Settings, command: &str) -> Result<()> {
    let path = settings.artifact_dir.join(RESOLVED_CONFIG);
    let folder = std::env::current_dir().unwrap_or_default();
    let text = format!(
        "# The requests of a cancel-test as they were. In the folder {}\n# this repeats the test: \
         {}\n# and this sends requests of the same kind: pinfire profile --config {}\n{}",
        shown_line(&folder.to_string_lossy()),
        shown_line(&hidden(command)),
        shown_line(&path.to_string_lossy()),
        profile::without_credentials(&settings.config.yaml())
    );
    replace(&path, text.as_bytes()).with_context(|| path.display().to_string())
}
