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

    /// Looks whether every value has its form: `{value, from}`, or a list of such. `null` is none.
    ///
    /// # Errors
    /// The first one that has not; the text names the setting.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (name, value) in self.all().filter(|(_, value)| !value.is_null()) {
            let checked = match value {
                Json::Array(items) => items.iter().try_for_each(check),
                one => check(one),
            };
            checked.map_err(|wrong| format!("`{name}`: {wrong}"))?;
        }
        Ok(())
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

/// Where a value comes from. One that does not say it has not passed [`Wire::check`].
fn source(value: &Json) -> Source {
    let from = value.get("from").map(Source::deserialize);
    from.and_then(Result::ok).unwrap_or_default()
}

/// What is wrong with the form of a value.
fn check(value: &Json) -> Result<(), String> {
    let Json::Object(parts) = value else {
        return Err(format!("`{value}` is not an object of `value` and `from`"));
    };
    if parts.get("value").is_none_or(Json::is_null) {
        return Err("`value` is missing".to_owned());
    }
    let Some(from) = parts.get("from") else {
        return Err("`from` is missing: where the value comes from".to_owned());
    };
    let source = Source::deserialize(from);
    source.map_err(|error| format!("`from` is {from}, which says nothing: {error}"))?;
    let other = parts
        .keys()
        .find(|key| !matches!(&***key, "value" | "from"));
    other.map_or(Ok(()), |key| Err(format!("there is no key `{key}`")))
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::RunConfig;

    #[test]
    fn values_without_their_form_are_refused_by_name() {
        for (value, wrong) in [
            (json!(5), "`concurrency`: `5` is not an object"),
            (json!("5"), "`concurrency`: `\"5\"` is not an object"),
            (json!({"value": 5}), "`concurrency`: `from` is missing"),
            (
                json!({"value": 5, "from": null}),
                "`concurrency`: `from` is null",
            ),
            (
                json!({"value": 5, "from": "nowhere"}),
                "`concurrency`: `from` is \"nowhere\"",
            ),
            (
                json!({"value": 5, "from": {"file": 7}}),
                "`concurrency`: `from` is {\"file\":7}",
            ),
            (json!({"from": "flag"}), "`concurrency`: `value` is missing"),
            (
                json!({"value": null, "from": "flag"}),
                "`concurrency`: `value` is missing",
            ),
            (
                json!({"value": 5, "from": "flag", "line": 3}),
                "`concurrency`: there is no key `line`",
            ),
            (json!({}), "`concurrency`: `value` is missing"),
        ] {
            let mut wire = Wire::default();
            wire.set("concurrency", value.clone());
            let refused = RunConfig::of_wire(&wire).unwrap_err();
            assert!(refused.starts_with(wrong), "{value}: {refused}");
        }
    }

    #[test]
    fn each_of_several_values_is_looked_at() {
        let mut wire = Wire::default();
        let url = |from: Json| json!({"value": "http://localhost", "from": from});
        wire.set(
            "url",
            json!([url(json!("flag")), url(json!({"environment": "URL"}))]),
        );
        assert!(RunConfig::of_wire(&wire).is_ok());
        wire.set(
            "url",
            json!([url(json!("flag")), {"value": "http://localhost"}]),
        );
        let refused = RunConfig::of_wire(&wire).unwrap_err();
        assert!(refused.starts_with("`url`: `from` is missing"), "{refused}");
        // What is not there needs no source.
        wire.remove("url");
        wire.set("concurrency", Json::Null);
        assert!(RunConfig::of_wire(&wire).is_ok());
    }
}
