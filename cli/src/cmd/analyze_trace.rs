//! `pinfire analyze-trace`: the figures of a trace, before anything is sent.

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result, bail};
use pinfire_analysis::{
    export::DEFAULT_WIDTH,
    trace::{Trace, TraceFigures},
};
use pinfire_workload::dataset::mooncake::Lines;

use crate::{
    args::AnalyzeTrace,
    terminal::{say, stdout},
};

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
    let figures = read(path, flags.block_size)?;
    let saved = flags.output_file.as_deref();
    if let Some(saved) = saved {
        figures.write(saved)?;
    }
    stdout::text(DEFAULT_WIDTH, |_, colour| {
        figures.console(saved, DEFAULT_WIDTH, colour)
    });
    Ok(ExitCode::SUCCESS)
}

/// Reads a trace whose ids stand for `block` tokens each.
fn read(path: &Path, block: u32) -> Result<TraceFigures> {
    let mut lines = Lines::open(path)?;
    let mut trace = Trace::default();
    let mut skipped = 0_u64;
    while let Some((number, text)) = lines.read()? {
        if text.trim_ascii() == b"null" {
            skipped += 1;
            continue;
        }
        let read = trace.read(text);
        read.map_err(|fault| lines.fault(number, fault.field, fault.reason))?;
    }
    if skipped > 0 {
        say::warning(format!(
            "{}: lines that are null are skipped: {skipped}",
            path.display()
        ));
    }
    if let Some((ids, tokens)) = trace.too_long(block) {
        bail!(
            "--block-size {block}: {} has {ids} ids for an input of {tokens} tokens, so its blocks are \
             smaller; give the size it was made with",
            path.display()
        );
    }
    Ok(trace.figures(block))
}
