//! Parts of a summary that a report made from files hands on as they stand.

use std::ops::Deref;

use serde::de::{DeserializeOwned, Deserializer};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

/// What may stand in a [`Carried`].
pub trait Part: Default + DeserializeOwned + Serialize {
    /// The same with what the layouts of older versions say in its place.
    #[must_use]
    fn settled(self) -> Self {
        self
    }
}

/// A part of a file: made by this run, or read and kept as it stands beside what it means here.
///
/// A part that cannot be read as what it should be (of another program, or of a version to come)
/// means as much as an absent one, and is handed on all the same.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Carried<T> {
    value: T,
    read: Option<Value>,
}

impl<T> Carried<T> {
    /// One that this run has made.
    pub const fn new(value: T) -> Self {
        Self { value, read: None }
    }
}

impl<T: Part> Carried<T> {
    /// The part as JSON.
    pub fn json(&self) -> Value {
        match &self.read {
            Some(read) => read.clone(),
            None => crate::write::json_value(&self.value),
        }
    }

    /// Changes what it says, and in `place` what it says as JSON.
    pub(crate) fn change(
        &mut self,
        change: impl FnOnce(&mut T),
        place: &str,
        key: &str,
        value: Value,
    ) {
        change(&mut self.value);
        let fields = self.read.as_mut().and_then(|read| match place {
            "" => Some(read),
            place => read.get_mut(place),
        });
        if let Some(Value::Object(fields)) = fields {
            fields.insert(key.to_owned(), value);
        }
    }
}

impl<T> Deref for Carried<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Serialize> Serialize for Carried<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.read {
            Some(read) => read.serialize(serializer),
            None => self.value.serialize(serializer),
        }
    }
}

impl<'de, T: Part> Deserialize<'de> for Carried<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = Value::deserialize(deserializer)?;
        let value = T::deserialize(&read).unwrap_or_default().settled();
        Ok(Self {
            value,
            read: Some(read),
        })
    }
}

#[cfg(feature = "schema")]
impl<T: schemars::JsonSchema> schemars::JsonSchema for Carried<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}
