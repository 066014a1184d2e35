//! A configuration as settings by name: lossless, for files of sweeps, for other processes, and for
//! everything that is done to settings whatever they are.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value as Json};

use crate::source::Source;

/// Settings by name. A value is `{value, from}`, or a list of such.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Wire(Map<String, Json>);

/// The settings of a section.
pub(crate) fn section<S: Serialize>(section: &S) -> Wire {
    match serde_json::to_value(section) {
        Ok(Json::Object(settings)) => Wire(settings),
        // A section is a struct of texts and numbers.
        other => unreachable!("a section is a map of settings, not {other:?}"),
    }
}

impl Wire {
    /// Takes over settings that are there; `null` is none.
    pub(crate) fn take_in(&mut self, other: Self) {
        let there = other.0.into_iter().filter(|(_, value)| !value.is_null());
        self.0.extend(there);
    }

    /// The section that these settings make.
    pub(crate) fn section<S: DeserializeOwned>(&self) -> Result<S, String> {
        S::deserialize(&self.0).map_err(|error| error.to_string())
    }

    /// Sets one setting.
    pub fn set(&mut self, name: &str, value: Json) {
        self.0.insert(name.to_owned(), value);
    }

    /// One setting.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.0.get(name)
    }

    /// Leaves a setting out.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// All settings.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Puts settings over these: what is given wins, and a default only over a default.
    pub fn overlay(&mut self, over: &Self) {
        for (name, value) in over.all() {
            if is_given(value) || !self.get(name).is_some_and(is_given) {
                self.set(name, value.clone());
            }
        }
    }

    /// Only the settings that somebody gave.
    #[must_use]
    pub fn only_given(&self) -> Self {
        let given = self.all().filter(|(_, value)| is_given(value));
        Self(
            given
                .map(|(name, value)| (name.to_owned(), value.clone()))
                .collect(),
        )
    }

    /// The names of the settings that somebody gave.
    pub fn given(&self) -> impl Iterator<Item = &str> {
        self.all()
            .filter(|(_, value)| is_given(value))
            .map(|(name, _)| name)
    }

    /// The values alone, wherever they come from.
    pub fn values(&self) -> Map<String, Json> {
        self.all()
            .map(|(name, value)| (name.to_owned(), plain(value)))
            .collect()
    }
}

/// Whether somebody gave the value, or one of the values.
pub fn is_given(value: &Json) -> bool {
    match value {
        Json::Array(items) => items.iter().any(is_given),
        other => source(other).is_given(),
    }
}

fn source(value: &Json) -> Source {
    let from = value.get("from").cloned().unwrap_or_default();
    serde_json::from_value(from).unwrap_or_default()
}

/// The value without its source.
pub fn plain(value: &Json) -> Json {
    match value {
        Json::Array(items) => items.iter().map(plain).collect(),
        other => other.get("value").cloned().unwrap_or_default(),
    }
}

/// A value with its source.
pub fn sourced(text: &str, source: &Source) -> Json {
    serde_json::json!({"value": crate::source::scalar(text), "from": source})
}
