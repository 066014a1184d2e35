//! Values that know where they come from.

use std::{path::Path, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value as Json;

use crate::setting::Setting;

/// A line of a config file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Place {
    /// The file, as it was named.
    #[serde(serialize_with = "path_as_text", deserialize_with = "path_of_text")]
    pub path: Arc<Path>,
    /// Counted from 1.
    pub line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)
    }
}

fn path_as_text<S: Serializer>(path: &Arc<Path>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}

fn path_of_text<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Path>, D::Error> {
    let text = String::deserialize(from)?;
    Ok(Path::new(&text).into())
}

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Nobody gave it: this is what pinfire takes then.
    #[default]
    Default,
    /// The command line.
    Flag,
    /// The environment variable of this name.
    Environment(String),
    /// A config file.
    File(Place),
    /// It follows from something else that was asked for, such as a sweep or another command.
    Derived,
}

impl Source {
    /// Whether somebody gave the value.
    pub fn is_given(&self) -> bool {
        *self != Self::Default
    }
}

/// The value of a setting, and where it comes from.
#[derive(Clone, PartialEq, Debug)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// Where it comes from.
    pub source: Source,
}

impl<T: Setting> Sourced<T> {
    /// A value that follows from something else that was asked for.
    pub const fn derived(value: T) -> Self {
        Self {
            value,
            source: Source::Derived,
        }
    }

    /// The plain value.
    pub fn get(&self) -> T::Value {
        self.value.value()
    }
}

/// As it is written; of a secret a reference to where it is.
impl<T: Setting> std::fmt::Display for Sourced<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.value.shown())
    }
}

/// The plain value of a setting that may not be there.
pub trait Get {
    /// What it is.
    type Value;

    /// The plain value, if there is one.
    fn get(&self) -> Option<Self::Value>;
}

impl<T: Setting> Get for Option<Sourced<T>> {
    type Value = T::Value;

    fn get(&self) -> Option<T::Value> {
        self.as_ref().map(Sourced::get)
    }
}

/// Something that was or was not given, possibly in a config file.
pub trait Given {
    /// Whether somebody gave it.
    fn is_given(&self) -> bool;

    /// The lines of config files that give it.
    fn places(&self) -> Vec<Place>;
}

impl<T> Given for Sourced<T> {
    fn is_given(&self) -> bool {
        self.source.is_given()
    }

    fn places(&self) -> Vec<Place> {
        match &self.source {
            Source::File(place) => vec![place.clone()],
            _ => Vec::new(),
        }
    }
}

impl<T: Given + ?Sized> Given for &T {
    fn is_given(&self) -> bool {
        (**self).is_given()
    }

    fn places(&self) -> Vec<Place> {
        (**self).places()
    }
}

impl<T: Given> Given for Option<T> {
    fn is_given(&self) -> bool {
        self.as_ref().is_some_and(Given::is_given)
    }

    fn places(&self) -> Vec<Place> {
        self.as_ref().map_or_else(Vec::new, Given::places)
    }
}

impl<T: Given> Given for Vec<T> {
    fn is_given(&self) -> bool {
        self.iter().any(Given::is_given)
    }

    fn places(&self) -> Vec<Place> {
        self.iter().flat_map(Given::places).collect()
    }
}

#[derive(Serialize, Deserialize)]
struct Pair {
    value: Json,
    from: Source,
}

impl<T: Setting> Serialize for Sourced<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Pair {
            value: scalar(&self.value.shown()),
            from: self.source.clone(),
        }
        .serialize(to)
    }
}

impl<'de, T: Setting> Deserialize<'de> for Sourced<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let pair = Pair::deserialize(from)?;
        let text = text(&pair.value);
        let value = T::parse(&text)
            .map_err(|reason| D::Error::custom(format!("invalid value '{text}': {reason}")))?;
        Ok(Self {
            value,
            source: pair.from,
        })
    }
}

/// A number or a switch as such where that is the same text again, anything else as text.
pub fn scalar(text: &str) -> Json {
    match text {
        "true" => return true.into(),
        "false" => return false.into(),
        _ => {}
    }
    let number = text.parse::<serde_json::Number>().ok();
    let same = number.filter(|number| number.to_string() == text);
    same.map_or_else(|| text.into(), Json::Number)
}

/// The text of such a value.
pub fn text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}
