//! `pinfire show`: what a finished run, sweep, search or cancel-test has shown, once more.

use std::{fs, path::Path, process::ExitCode};

use anyhow::{Context, Result, bail};
use pinfire_analysis::{compare::FilesError, reclaim::matrix::Matrix};
use pinfire_artifacts::{CANCEL_MATRIX, RunFiles, SWEEP_CONSOLE, read_json};

use crate::{args::Show, cmd::report::merge_shards, terminal::stdout};

/// Shows what lies there; nothing is computed that is on disk.
///
/// # Errors
/// There is nothing that was shown, or it cannot be read.
pub fn run(flags: &Show) -> Result<ExitCode> {
    let folder = &flags.folder;
    let matrix = folder.join(CANCEL_MATRIX);
    if matrix.is_file() {
        let mut found: Matrix = read_json(&matrix)?;
        found.sum_up();
        stdout::plain(&found.page());
        return Ok(ExitCode::SUCCESS);
    }
    let of_many = folder.join(SWEEP_CONSOLE);
    if of_many.is_file() {
        return text_of(&of_many);
    }
    merge_shards(folder)?;
    match RunFiles::find(folder) {
        Ok(run) => {
            let console = run.folder().join(&run.names().console);
            if !console.is_file() {
                bail!(
                    "{}: what this run showed was not kept ({} is not there); `pinfire report {}` makes it anew",
                    folder.display(),
                    run.names().console,
                    folder.display()
                );
            }
            text_of(&console)
        }
        Err(_) if is_of_many(folder)? => bail!(
            "{}: these runs have not ended, or are of an earlier version: there is no {SWEEP_CONSOLE}; `pinfire \
             profile --resume {}` goes on, `pinfire report {}` shows each run",
            folder.display(),
            folder.display(),
            folder.display()
        ),
        Err(missing) => Err(FilesError::from(missing).into()),
    }
}

/// Whether a folder holds the points of a sweep, or repeats of one run.
fn is_of_many(folder: &Path) -> Result<bool> {
    Ok(folder.is_dir()
        && (!RunFiles::points(folder)?.is_empty() || !RunFiles::repeats(folder)?.is_empty()))
}

fn text_of(path: &Path) -> Result<ExitCode> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    stdout::plain(&pinfire_guard::shown(&text));
    Ok(ExitCode::SUCCESS)
}
