//! Answers of a form that nobody has named: `template` and `raw`.
//!
//! The user may say where the answer is; else the usual places are looked through.

use serde_json::Value;

use super::answer::{Context, Heard, Piece, list, text_of};

/// A `response_field` that matches nothing gives nothing.
pub(super) fn read_template(
    document: &Value,
    context: &mut Context<'_>,
    each: &mut dyn FnMut(Piece<'_>),
) -> Heard {
    match context.field {
        Some(field) => {
            if let Some(found) = field.search(document) {
                detect(&found, each);
            }
        }
        None => {
            detect(document, each);
        }
    }
    Heard::of(document)
}

/// A `response_field` that matches nothing is as none at all.
pub(super) fn read_raw(
    document: &Value,
    context: &mut Context<'_>,
    each: &mut dyn FnMut(Piece<'_>),
) -> Heard {
    let found = context.field.and_then(|field| field.search(document));
    if !found.is_some_and(|found| detect(&found, each)) {
        detect(document, each);
    }
    Heard::of(document)
}

/// Finds the answer in a value, the first place that has one; false if there is none.
fn detect(value: &Value, each: &mut dyn FnMut(Piece<'_>)) -> bool {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => {
            if is_vectors(value) || values.first().is_some_and(Value::is_object) {
                each(Piece::Bare);
                return true;
            }
            joined(value).unwrap_or_default()
        }
        Value::Object(_) => {
            let embedded = list(value.get("data"))
                .first()
                .is_some_and(|first| first["object"] == "embedding");
            let vectors = ["embeddings", "embedding"].iter();
            if embedded || vectors.filter_map(|key| value.get(*key)).any(is_vectors) {
                each(Piece::Bare);
                return true;
            }
            let mut rankings = ["rankings", "results"].iter();
            if let Some(ranking) = rankings.find_map(|key| value.get(*key)?.as_array()) {
                if !ranking.is_empty() {
                    each(Piece::Bare);
                }
                return !ranking.is_empty();
            }
            text_in(value).unwrap_or_default()
        }
        _ => String::new(),
    };
    if !text.is_empty() {
        each(Piece::Text(&text));
    }
    !text.is_empty()
}

/// The text of an object in one of the usual places.
fn text_in(document: &Value) -> Option<String> {
    let keys = ["text", "content", "response", "output", "result"];
    let direct = keys.iter().find_map(|key| {
        let value = document.get(*key)?;
        let text = value.as_str().map(str::to_owned);
        text.or_else(|| joined(value))
            .filter(|text| !text.is_empty())
    });
    direct.or_else(|| {
        let choice = list(document.get("choices")).first()?;
        let inner = |key: &str| choice.get(key).and_then(|inner| text_of(inner, "content"));
        let text = text_of(choice, "text").or_else(|| inner("message"));
        text.or_else(|| inner("delta")).map(str::to_owned)
    })
}

/// A list of strings, put together.
fn joined(value: &Value) -> Option<String> {
    value.as_array()?.iter().map(Value::as_str).collect()
}

/// A list of numbers, or of lists of numbers.
pub(super) fn is_vectors(value: &Value) -> bool {
    let numbers = |value: &Value| {
        let numbers = list(Some(value));
        !numbers.is_empty() && numbers.iter().all(Value::is_number)
    };
    let vectors = list(Some(value));
    numbers(value) || (!vectors.is_empty() && vectors.iter().all(numbers))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::answer::testing::{body, events, read_all};
    use crate::{Answers, EndpointKind, ResponseField};

    #[test]
    fn the_usual_places() {
        for (document, output, content) in [
            (r#"{"data":[{"object":"embedding"}],"text":"x"}"#, "", true),
            (r#"{"embedding":[1,2],"text":"x"}"#, "", true),
            (r#"{"embeddings":[[1],[2]]}"#, "", true),
            (r#"{"rankings":[{"index":0}]}"#, "", true),
            (r#"{"results":[],"text":"x"}"#, "", false),
            (r#"{"text":"a","content":"b"}"#, "a", true),
            (r#"{"text":"","content":"b"}"#, "b", true),
            (r#"{"output":["a","b"]}"#, "ab", true),
            (r#"{"output":[{"a":1}],"result":"r"}"#, "r", true),
            (r#"{"choices":[{"text":"t"}]}"#, "t", true),
            (r#"{"choices":[{"message":{"content":"m"}}]}"#, "m", true),
            (r#"{"choices":[{"delta":{"content":"d"}}]}"#, "d", true),
            (r#"{"choices":[{"delta":{"role":"assistant"}}]}"#, "", false),
            ("[[1,2]]", "", true),
            ("[1,2]", "", true),
            (r#"[{"index":0}]"#, "", true),
            ("[]", "", false),
            (r#""bare""#, "bare", true),
            ("plain words", "plain words", true),
            ("  ", "", false),
            ("5", "", false),
        ] {
            for kind in [EndpointKind::Raw, EndpointKind::Template] {
                let all = body(kind, document);
                assert_eq!(
                    (all.output.as_str(), all.with_content.as_slice()),
                    (output, &[content][..]),
                    "{document}"
                );
            }
        }
        let usage = r#"{"text":"a","usage":{"completion_tokens":1}}"#;
        let all = events(EndpointKind::Raw, &[usage]);
        assert_eq!(all.heard.usage.unwrap().completion, Some(1));
    }

    #[test]
    fn a_field_of_the_users_own() {
        let answers = |kind| Answers {
            kind,
            field: Some(Arc::new(ResponseField::new("a.b").unwrap())),
        };
        let (template, raw) = (answers(EndpointKind::Template), answers(EndpointKind::Raw));
        let found = [r#"{"a":{"b":"x"},"text":"no"}"#];
        let lost = [r#"{"text":"yes"}"#];
        assert_eq!(read_all(&template, true, &found).output, "x");
        assert_eq!(read_all(&raw, true, &found).output, "x");
        assert_eq!(read_all(&template, true, &lost).with_content, [false]);
        assert_eq!(read_all(&raw, true, &lost).output, "yes");
        let numbers = [r#"{"a":{"b":[0.5,1]}}"#];
        assert_eq!(read_all(&template, true, &numbers).with_content, [true]);
    }
}
