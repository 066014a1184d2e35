//! What a sweep leaves in its folder, so that it can be resumed.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{pretty, seeds::Seeds, write};

/// The file at the top of a sweep.
const NAME: &str = "sweep_config.json";

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
        let value = json!({
            "tool_version": format!("pinfire {}", env!("CARGO_PKG_VERSION")),
            "sweep_id": self.sweep_id,
            "arguments": self.arguments,
            "base_seed": seeds.base,
            "seed_drawn_per_run": seeds.drawn,
            "same_seed": seeds.same,
            "vary_seed_per_trial": seeds.vary,
        });
        write(base, NAME, &pretty(&value)?)
    }

    /// Reads it.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub fn read(base: &Path) -> Result<Self> {
        let path = base.join(NAME);
        let text = std::fs::read(&path)
            .with_context(|| format!("--resume {}: {NAME} cannot be read", base.display()))?;
        let value: Value = serde_json::from_slice(&text)
            .with_context(|| format!("--resume: {} is damaged", path.display()))?;
        let read = || {
            let words = value["arguments"].as_array()?;
            Some(Self {
                sweep_id: value["sweep_id"].as_str()?.to_owned(),
                arguments: words
                    .iter()
                    .map(|word| word.as_str().map(str::to_owned))
                    .collect::<Option<_>>()?,
                seeds: Seeds {
                    base: value["base_seed"].as_u64()?,
                    drawn: value["seed_drawn_per_run"].as_bool()?,
                    same: value["same_seed"].as_bool()?,
                    vary: value["vary_seed_per_trial"].as_bool()?,
                },
            })
        };
        read().with_context(|| format!("--resume: {} is damaged", path.display()))
    }
}
