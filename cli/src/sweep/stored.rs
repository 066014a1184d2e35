//! What a sweep leaves in its folder, so that it can be resumed.

use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use pinfire_artifacts::{
    ReadError, SWEEP_CONFIG, json_bytes, read_json, replace, sweep::SweepConfig,
};
use pinfire_config::RunConfig;
use serde::Deserialize;

use super::seeds::Seeds;

/// A sweep as it was begun.
#[derive(Clone, PartialEq, Debug)]
pub struct Stored {
    pub sweep_id: String,
    /// What was asked of all runs together; credentials are references.
    pub config: RunConfig,
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
            config: serde_json::to_value(&self.config)?,
            arguments: None,
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
    /// There is none, it is damaged, or an earlier version has written it.
    pub fn read(base: &Path) -> Result<Self> {
        let path = base.join(SWEEP_CONFIG);
        let damaged = || format!("--resume: {} is damaged", path.display());
        let stored: SweepConfig = read_json(&path).map_err(|error| match error {
            ReadError::Read { cause, .. } => anyhow!(cause).context(format!(
                "--resume {}: {SWEEP_CONFIG} cannot be read",
                base.display()
            )),
            ReadError::Content { cause, .. } => anyhow!(cause).context(damaged()),
        })?;
        ensure!(
            stored.arguments.is_none(),
            "--resume {}: the sweep was begun by an earlier version of pinfire, and this one cannot \
             continue it; run it again",
            base.display()
        );
        let config = RunConfig::deserialize(&stored.config);
        Ok(Self {
            sweep_id: stored.sweep_id,
            config: config.map_err(|cause| anyhow!(cause).context(damaged()))?,
            seeds: Seeds {
                base: stored.base_seed,
                drawn: stored.seed_drawn_per_run,
                same: stored.same_seed,
                vary: stored.vary_seed_per_trial,
            },
        })
    }
}
