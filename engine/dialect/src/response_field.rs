//! The user's own word on where an answer is: a JMESPath.

use serde_json::Value;

/// Steps of a path, all brackets and operators counted. Each is a call deeper when a path is read
/// and when it is followed; a useful one has five.
const STEPS: usize = 100;
/// Bytes of a path.
const BYTES: usize = 4096;

/// A compiled path.
pub struct ResponseField(jmespath::Expression<'static>);

/// The path cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("response_field `{path}` is no JMESPath: {reason}")]
pub struct FieldError {
    path: String,
    reason: String,
}

impl ResponseField {
    /// Compiles a path.
    ///
    /// # Errors
    /// It is none.
    pub fn new(path: &str) -> Result<Self, FieldError> {
        let steps = path.chars().filter(|c| "[.({|!&".contains(*c)).count();
        if steps > STEPS || path.len() > BYTES {
            let start: String = path.chars().take(40).collect();
            return Err(FieldError {
                path: format!("{start}…"),
                reason: format!(
                    "it has {} bytes and {steps} steps; it may have {BYTES} and {STEPS}",
                    path.len()
                ),
            });
        }
        jmespath::compile(path).map(Self).map_err(|cause| {
            let text = cause.to_string();
            FieldError {
                path: path.to_owned(),
                reason: text.lines().next().unwrap_or_default().to_owned(),
            }
        })
    }

    /// What it finds in a document; `None` for nothing and for null.
    pub fn search(&self, document: &Value) -> Option<Value> {
        let found = self.0.search(document).ok()?;
        let found = serde_json::to_value(&*found).ok()?;
        (!found.is_null()).then_some(found)
    }
}

impl std::fmt::Debug for ResponseField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ResponseField")
            .field(&self.0.as_str())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_find_or_find_nothing() {
        let document = json!({"a": [{"b": "x"}, {"b": "y"}], "n": null});
        let found = |path: &str| ResponseField::new(path).unwrap().search(&document);
        assert_eq!(found("a[0].b"), Some(json!("x")));
        assert_eq!(found("a[*].b"), Some(json!(["x", "y"])));
        assert_eq!(found("a[?b=='y'] | [0].b"), Some(json!("y")));
        assert_eq!(found("n"), None);
        assert_eq!(found("c.d"), None);
        let error = ResponseField::new("a[").unwrap_err().to_string();
        assert!(
            error.starts_with("response_field `a[` is no JMESPath"),
            "{error}"
        );
        assert_eq!(error.lines().count(), 1);
        // Each of these would be a call deeper.
        for step in ["[0]", ".a", "[*]", "(", "!", "{a:", "&", "|a", "[?"] {
            let error = ResponseField::new(&format!("a{}", step.repeat(5_000)));
            let error = error.unwrap_err().to_string();
            assert!(
                error.contains("5000 steps") || error.contains("10000 steps"),
                "{error}"
            );
            assert!(error.len() < 200 && error.lines().count() == 1, "{error}");
        }
        let most = format!("a{}", "[0]".repeat(STEPS));
        assert_eq!(ResponseField::new(&most).unwrap().search(&document), None);
    }
}
