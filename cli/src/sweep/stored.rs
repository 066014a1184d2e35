//! What a sweep leaves in its folder, so that it can be resumed.

use std::path::Path;

use anyhow::{Result, anyhow};
use pinfire_artifacts::{
    ReadError, SWEEP_CONFIG, json_bytes, read_json, replace, sweep::SweepConfig,
};

use super::seeds::Seeds;

/// A sweep as it was begun.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    pub sweep_id: String,
    /// The words behind `pinfire profile`, credentials hidden.
    pub arguments: Vec<String>,
    pub seeds: Seeds,
}

impl Stored {
    /// Writes it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, base: &Path) -> Result<()> {
        let seeds = self.seeds;
        let config = SweepConfig {
            tool_version: format!("pinfire {}", env!("CARGO_PKG_VERSION")),
            sweep_id: self.sweep_id.clone(),
            arguments: self.arguments.clone(),
            base_seed: seeds.base,
            seed_drawn_per_run: seeds.drawn,
            same_seed: seeds.same,
            vary_seed_per_trial: seeds.vary,
        };
        Ok(replace(&base.join(SWEEP_CONFIG), &json_bytes(&config))?)
    }

    /// Reads it.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub fn read(base: &Path) -> Result<Self> {
        let path = base.join(SWEEP_CONFIG);
        let config: SweepConfig = read_json(&path).map_err(|error| match error {
            ReadError::Read { cause, .. } => anyhow!(cause).context(format!(
                "--resume {}: {SWEEP_CONFIG} cannot be read",
                base.display()
            )),
            ReadError::Content { cause, .. } => {
                anyhow!(cause).context(format!("--resume: {} is damaged", path.display()))
            }
        })?;
        Ok(Self {
            sweep_id: config.sweep_id,
            arguments: config.arguments,
            seeds: Seeds {
                base: config.base_seed,
                drawn: config.seed_drawn_per_run,
                same: config.same_seed,
                vary: config.vary_seed_per_trial,
            },
        })
    }
}
