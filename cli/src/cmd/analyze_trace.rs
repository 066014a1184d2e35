//! `pinfire analyze-trace`: the figures of a trace, before anything is sent.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use anyhow::{Context, Result};
use pinfire_analysis::{export::DEFAULT_WIDTH, trace::analyze};

use crate::{args::AnalyzeTrace, terminal::say};

/// Reads a trace and shows its figures.
///
/// # Errors
/// The trace cannot be read, or the figures cannot be written.
pub fn run(flags: &AnalyzeTrace) -> Result<ExitCode> {
    let path = flags.file.as_ref().or(flags.input_file.as_ref());
    let path = path.context("the trace is missing: pinfire analyze-trace FILE")?;
    if !path.exists() {
        // To the letter of AIPerf, for scripts that look for it.
        say::line(format_args!(
            "Error: Input file not found: {}",
            path.display()
        ));
        return Ok(ExitCode::FAILURE);
    }
    let figures = analyze(path, flags.block_size)?;
    let saved = flags.output_file.as_deref();
    if let Some(saved) = saved {
        figures.write(saved)?;
    }
    let mut stdout = std::io::stdout().lock();
    let colour = stdout.is_terminal() && crate::terminal::show::colours();
    let text = figures.console(saved, DEFAULT_WIDTH, colour);
    // A reader that has gone away is no failure.
    let _ = stdout.write_all(text.as_bytes());
    Ok(ExitCode::SUCCESS)
}
