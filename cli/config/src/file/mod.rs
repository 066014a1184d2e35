//! Config files: YAML that says what flags say, by the settings' own names or in AIPerf's layout.

mod expand;
mod layout;
mod node;
mod templates;
mod translate;

use std::{path::Path, sync::Arc};

use serde_json::Value as Json;

use crate::{
    RunConfig,
    command::is_many,
    config::settings,
    source::{Place, Source},
    wire::{Wire, sourced},
};

pub use templates::TEMPLATES;

/// A setting that a file gives, or one value of it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Entry {
    /// Where, from 1.
    line: usize,
    /// The key as it is in the file.
    key: String,
    /// The setting.
    name: String,
    value: String,
}

/// What a config file says.
#[derive(Clone, Debug)]
pub struct FileConfig {
    /// What it gives.
    pub given: RunConfig,
    /// What it leaves to defaults: those of this version, or those that the file was written with.
    pub defaults: RunConfig,
}

impl FileConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or something in it is wrong: one line with file, line and key.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("--config {}: {error}", path.display()))?;
        Self::of(path, &text)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// Something in it is wrong.
    pub fn of(path: &Path, text: &str) -> Result<Self, String> {
        Self::of_with(path, text, &|name| std::env::var(name).ok())
    }

    /// The same, with another environment.
    pub(crate) fn of_with(
        path: &Path,
        text: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let shown: Arc<Path> = path.into();
        let entries = translate::entries(text, environment)
            .map_err(|error| format!("{}:{error}", shown.display()))?;
        let at = |entry: &Entry| {
            Source::File(Place {
                path: Arc::clone(&shown),
                line: entry.line,
            })
        };
        Ok(Self {
            given: config(&shown, &entries.given, at)?,
            defaults: config(&shown, &entries.defaults, |_| Source::Default)?,
        })
    }
}

impl RunConfig {
    /// The configuration out of its layers, the later ones over the earlier ones: what was stored
    /// before, a config file, and what was typed.
    ///
    /// # Errors
    /// A credential of the stored one is not there; the text names the setting.
    pub fn of_layers(
        stored: Option<Self>,
        file: Option<FileConfig>,
        typed: Self,
    ) -> Result<Self, String> {
        let (defaults, given) =
            file.map_or((None, None), |file| (Some(file.defaults), Some(file.given)));
        let mut config = stored.or(defaults).unwrap_or_default();
        if let Some(given) = given {
            config.overlay(given);
        }
        config.overlay(typed);
        config.fill_secrets(&|variable| std::env::var(variable).ok())?;
        config.name_secrets();
        Ok(config)
    }
}

/// The configuration that the entries make.
fn config(
    path: &Path,
    entries: &[Entry],
    source: impl Fn(&Entry) -> Source,
) -> Result<RunConfig, String> {
    RunConfig::of_wire(&wire(entries, &source)).map_err(|whole| {
        // The one that is wrong by itself.
        let wrong = entries.iter().find_map(|entry| {
            let alone = wire(std::slice::from_ref(entry), &source);
            let reason = RunConfig::of_wire(&alone).err()?;
            Some(format!(
                "{}:{}: {}: {reason}",
                path.display(),
                entry.line,
                entry.key
            ))
        });
        wrong.unwrap_or_else(|| format!("{}: {whole}", path.display()))
    })
}

fn wire(entries: &[Entry], source: &impl Fn(&Entry) -> Source) -> Wire {
    let mut wire = Wire::default();
    for entry in entries {
        let value = sourced(&entry.value, &source(entry));
        if !settings().get(&entry.name).is_some_and(is_many) {
            wire.set(&entry.name, value);
            continue;
        }
        let mut values = match wire.get(&entry.name) {
            Some(Json::Array(before)) => before.clone(),
            _ => Vec::new(),
        };
        values.push(value);
        wire.set(&entry.name, Json::Array(values));
    }
    wire
}

#[cfg(test)]
mod tests;
