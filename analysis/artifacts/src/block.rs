//! A metric in a summary: its unit and its statistics by name.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Number, Value};

use crate::Ordered;

/// The statistics of one metric: `avg`, `p50`, `count`, … in the order of the file.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Block {
    /// The unit of all statistics but the count.
    pub unit: String,
    /// Statistic by name.
    #[serde(flatten)]
    #[cfg_attr(
        feature = "schema",
        schemars(with = "std::collections::BTreeMap<String, f64>")
    )]
    pub stats: Ordered<Number>,
}

/// A number as JSON has it; none if it is infinite or no number.
pub fn finite(value: f64) -> Option<Number> {
    Number::from_f64(value)
}

impl Block {
    /// A metric without a statistic.
    pub fn of(unit: &str) -> Self {
        Self {
            unit: unit.to_owned(),
            stats: Ordered::default(),
        }
    }

    /// Appends a statistic; one that is no number is left out.
    pub fn put(&mut self, stat: &str, value: f64) {
        if let Some(number) = finite(value) {
            self.stats.insert(stat.to_owned(), number);
        }
    }

    /// Appends a whole number.
    pub fn put_count(&mut self, stat: &str, value: u64) {
        self.stats.insert(stat.to_owned(), value.into());
    }

    /// A statistic.
    pub fn get(&self, stat: &str) -> Option<f64> {
        self.stats.get(stat)?.as_f64()
    }

    /// What an object says, if it is the block of a metric: it has a unit.
    fn read(value: Value) -> Option<Self> {
        let Value::Object(mut fields) = value else {
            return None;
        };
        let Some(Value::String(unit)) = fields.shift_remove("unit") else {
            return None;
        };
        let stats = fields.into_iter().filter_map(|(name, value)| match value {
            Value::Number(number) => Some((name, number)),
            _ => None,
        });
        Some(Self {
            unit,
            stats: stats.collect(),
        })
    }
}

impl<'de> Deserialize<'de> for Block {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::read(value).ok_or_else(|| serde::de::Error::custom("it is no metric: it has no unit"))
    }
}

/// Metrics by tag, in the order of the file. What is no metric among them is passed over.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Metrics(Ordered<Block>);

impl Metrics {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends a metric.
    pub fn insert(&mut self, tag: &str, block: Block) {
        self.0.insert(tag.to_owned(), block);
    }

    /// A metric.
    pub fn get(&self, tag: &str) -> Option<&Block> {
        self.0.get(tag)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Block)> {
        self.0.iter().map(|(tag, block)| (tag.as_str(), block))
    }
}

impl FromIterator<(String, Block)> for Metrics {
    fn from_iter<T: IntoIterator<Item = (String, Block)>>(metrics: T) -> Self {
        Self(metrics.into_iter().collect())
    }
}

impl Extend<(String, Block)> for Metrics {
    fn extend<T: IntoIterator<Item = (String, Block)>>(&mut self, metrics: T) {
        self.0.extend(metrics);
    }
}

impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Metrics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Blocks;
        impl<'de> Visitor<'de> for Blocks {
            type Value = Metrics;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("metrics by tag")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metrics, A::Error> {
                let mut metrics = Metrics::default();
                while let Some((tag, value)) = map.next_entry::<String, Value>()? {
                    if let Some(block) = Block::read(value) {
                        metrics.0.insert(tag, block);
                    }
                }
                Ok(metrics)
            }
        }
        deserializer.deserialize_map(Blocks)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Metrics {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Metrics".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        <std::collections::BTreeMap<String, Block>>::json_schema(generator)
    }
}
