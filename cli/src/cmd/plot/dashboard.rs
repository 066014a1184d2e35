use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};
use pinfire_analysis::plot::Config;

use crate::args::Plot;

pub fn serve(_: &Plot, _: &[PathBuf], _: Config) -> Result<ExitCode> {
    bail!("soon")
}
