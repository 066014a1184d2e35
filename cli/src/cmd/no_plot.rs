//! `pinfire plot` in a build without the feature `plot`: it is refused.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::args::Plot;

/// Refuses.
///
/// # Errors
/// Always: this build draws nothing.
pub fn run(_: &Plot) -> Result<ExitCode> {
    bail!("this build of pinfire does not draw plots (feature `plot`)")
}
