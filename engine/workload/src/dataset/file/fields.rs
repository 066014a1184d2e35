//! The fields of a line, taken one by one with their types checked. `null` is as absent.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::fault::{Fault, fault, shown};

/// The latest instant a timestamp may name, in milliseconds: the year 2286 of Unix time.
const LATEST_MS: f64 = 1e13;

/// The fields of one object that nobody has taken yet.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub(super) fn new(mut object: Map<String, Value>) -> Self {
        object.retain(|_, value| !value.is_null());
        Self(object)
    }

    /// Whether the object has it.
    pub(super) fn has(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }

    /// A field of any kind.
    pub(super) fn any(&mut self, field: &str) -> Option<Value> {
        self.0.remove(field)
    }

    /// The names of what was not taken, for a warning.
    pub(super) fn rest(self, unknown: &mut BTreeSet<String>) {
        unknown.extend(self.0.into_iter().map(|(name, _)| name));
    }

    /// A text, possibly empty.
    pub(super) fn text(&mut self, field: &str) -> Result<Option<String>, Fault> {
        match self.0.remove(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => fault(field, format!("must be text, not {}", shown(&other))),
        }
    }

    /// A text that says something.
    pub(super) fn name(&mut self, field: &str) -> Result<Option<String>, Fault> {
        match self.text(field)? {
            Some(text) if text.is_empty() => {
                fault(field, "is empty; leave it out or give it a value")
            }
            text => Ok(text),
        }
    }

    pub(super) fn list(&mut self, field: &str) -> Result<Option<Vec<Value>>, Fault> {
        match self.0.remove(field) {
            None => Ok(None),
            Some(Value::Array(values)) => Ok(Some(values)),
            Some(other) => fault(field, format!("must be a list, not {}", shown(&other))),
        }
    }

    pub(super) fn object(&mut self, field: &str) -> Result<Option<Map<String, Value>>, Fault> {
        match self.0.remove(field) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(object)),
            Some(other) => fault(field, format!("must be an object, not {}", shown(&other))),
        }
    }

    /// A time in milliseconds, 0 included.
    pub(super) fn millis(&mut self, field: &str) -> Result<Option<f64>, Fault> {
        let Some(value) = self.0.remove(field) else {
            return Ok(None);
        };
        let number = value.as_f64().filter(|ms| (0.0..=LATEST_MS).contains(ms));
        match number {
            Some(ms) => Ok(Some(ms)),
            None => fault(
                field,
                format!(
                    "must be a number of milliseconds from 0 to {LATEST_MS:e}, not {}",
                    shown(&value)
                ),
            ),
        }
    }

    /// A number of tokens, at least 1. 5.0 is one, as in the reference.
    pub(super) fn tokens(&mut self, field: &str) -> Result<Option<u32>, Fault> {
        let Some(value) = self.0.remove(field) else {
            return Ok(None);
        };
        let whole = value
            .as_f64()
            .filter(|number| number.fract() == 0.0 && (1.0..=f64::from(u32::MAX)).contains(number));
        match whole {
            Some(number) => Ok(Some(number as u32)),
            None => fault(
                field,
                format!(
                    "must be a whole number of tokens, at least 1, not {}; leave it out for no limit",
                    shown(&value)
                ),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(value: Value) -> Fields {
        Fields::new(value.as_object().unwrap().clone())
    }

    #[test]
    fn zero_is_a_value_and_null_is_none() {
        let mut given = fields(json!({"a": 0, "b": null, "c": 5.0, "d": ""}));
        assert_eq!(given.millis("a"), Ok(Some(0.0)));
        assert_eq!(given.millis("b"), Ok(None));
        assert_eq!(given.tokens("c"), Ok(Some(5)));
        assert_eq!(given.text("d"), Ok(Some(String::new())));
        let mut left = BTreeSet::new();
        given.rest(&mut left);
        assert!(left.is_empty());
    }

    #[test]
    fn wrong_values_are_named_and_shortened() {
        for value in [
            json!(-1),
            json!(1.5),
            json!(0),
            json!("5"),
            json!(true),
            json!(1e300),
        ] {
            let (field, reason) = fields(json!({"n": value})).tokens("n").unwrap_err();
            assert_eq!(field, "n");
            assert!(reason.contains("not "), "{reason}");
        }
        for value in [json!(-1), json!("now"), json!(1e14), json!([])] {
            assert!(fields(json!({"n": value})).millis("n").is_err());
        }
        let long = fields(json!({"n": "x".repeat(5_000)}))
            .millis("n")
            .unwrap_err();
        assert!(long.1.len() < 200, "{}", long.1);
        assert!(fields(json!({"n": ""})).name("n").is_err());
        assert!(fields(json!({"n": {}})).list("n").is_err());
        assert!(fields(json!({"n": []})).object("n").is_err());
    }
}
