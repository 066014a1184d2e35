//! What one document of an answer says: an event of a stream, or a whole body.

use std::{borrow::Cow, sync::Arc};

use pinfire_proto::Scan;
use serde_json::{Map, Value};

use super::{kind::EndpointKind, response_field::ResponseField, usage::Usage};

/// How a run's answers are read.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// The kind of endpoint.
    pub kind: EndpointKind,
    /// Where the answers of `template` and `raw` have what counts; `None` finds it by itself.
    pub field: Option<Arc<ResponseField>>,
}

impl Answers {
    /// Those of this kind, without a field of the user's own.
    pub const fn of(kind: EndpointKind) -> Self {
        Self { kind, field: None }
    }

    /// Which of the events the cores read themselves.
    pub fn scan(&self) -> Scan {
        self.kind.row().scan
    }
}

/// A piece of what a document says. The first four make it a response with content.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece<'a> {
    /// Output text, not empty.
    Text(&'a str),
    /// Reasoning, not empty.
    Reasoning(&'a str),
    /// A part of a tool call; both strings are output, at least one is not empty.
    Tool {
        /// Which call of the answer.
        index: u64,
        /// Its name, or a part of it.
        name: &'a str,
        /// Its arguments, or a part of them.
        arguments: Cow<'a, str>,
    },
    /// Content that is no text: embeddings, rankings, the end of a text that has come in pieces.
    Bare,
    /// The id of a tool call, and its name where that is no output: for the history alone.
    Call {
        /// Which call of the answer.
        index: u64,
        /// Its id.
        id: &'a str,
        /// Its name, if it does not come with the call itself.
        name: &'a str,
    },
    /// The signature of the reasoning: for the history alone.
    Signature(&'a str),
    /// A whole output item: for the history alone.
    Item(&'a Value),
}

impl Piece<'_> {
    /// Whether it makes its document a response with content.
    pub const fn is_content(&self) -> bool {
        matches!(
            self,
            Self::Text(_) | Self::Reasoning(_) | Self::Tool { .. } | Self::Bare
        )
    }
}

/// What a document says besides its content.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Heard {
    /// Token counts of the server, if there is one at least.
    pub usage: Option<Usage>,
    /// Why the answer ended.
    pub finish: Option<String>,
    /// An error in place of an answer.
    pub error: Option<Reported>,
}

impl Heard {
    /// The usage at the top of a document.
    pub(super) fn of(document: &Value) -> Self {
        Self {
            usage: Usage::in_response(document),
            ..Self::default()
        }
    }
}

/// An error object that a server put into its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// Its number, if it has one.
    pub code: Option<i64>,
    /// Its text.
    pub message: String,
}

/// What the reading of one document may know of those before it.
#[derive(Debug, Default)]
pub(super) struct Context<'a> {
    /// The document is a whole body.
    pub(super) whole: bool,
    /// Where the user says that the answer is.
    pub(super) field: Option<&'a ResponseField>,
    /// Texts that have come in pieces, by output and content (responses).
    pub(super) begun: Vec<(u64, u64)>,
    /// All usage keys so far (messages).
    pub(super) usage: Map<String, Value>,
}

/// Reads the documents of one answer, in order of arrival.
#[derive(Debug)]
pub struct Reader<'a> {
    pub(super) answers: &'a Answers,
    pub(super) context: Context<'a>,
}

impl<'a> Reader<'a> {
    /// Before the first document. Allocates nothing.
    pub fn new(answers: &'a Answers) -> Self {
        Self {
            answers,
            context: Context {
                field: answers.field.as_deref(),
                ..Context::default()
            },
        }
    }
}

/// The error at the top of a document: an object, or a bare text. An empty text is none.
pub fn reported(document: &Value) -> Option<Reported> {
    let error = document.get("error")?;
    let message = match error {
        Value::Object(fields) => fields.get("message").and_then(Value::as_str),
        Value::String(text) if !text.is_empty() => Some(text.as_str()),
        _ => return None,
    };
    Some(Reported {
        code: code_of(error),
        message: message.map_or_else(|| error.to_string(), str::to_owned),
    })
}

/// The number of an error object, also where it is written as text.
pub(super) fn code_of(error: &Value) -> Option<i64> {
    let code = error.get("code")?;
    code.as_i64().or_else(|| code.as_str()?.parse().ok())
}

/// The elements of a list; none of anything else.
pub(super) fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A string that is there and not empty.
pub(super) fn text_of<'d>(object: &'d Value, name: &str) -> Option<&'d str> {
    object.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// A number that is there, else 0.
pub(super) fn index_of(object: &Value, name: &str) -> u64 {
    object.get(name).and_then(Value::as_u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_at_the_top() {
        for (document, expected) in [
            (
                json!({"error": {"message": "no", "code": "429"}}),
                Some((Some(429), "no")),
            ),
            (
                json!({"error": {"type": "x"}}),
                Some((None, r#"{"type":"x"}"#)),
            ),
            (json!({"error": "no"}), Some((None, "no"))),
            (json!({"error": ""}), None),
            (json!({"error": null}), None),
            (json!({"error": false}), None),
            (json!([{"error": "no"}]), None),
        ] {
            let found = reported(&document);
            let found = found
                .as_ref()
                .map(|error| (error.code, error.message.as_str()));
            assert_eq!(found, expected, "{document}");
        }
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::EndpointKind;

    /// What an answer gave: (output with tool texts, reasoning, documents with content) and the
    /// last of what was heard besides.
    #[derive(Debug, Default, PartialEq)]
    pub(crate) struct All {
        pub(crate) output: String,
        pub(crate) reasoning: String,
        pub(crate) with_content: Vec<bool>,
        pub(crate) heard: Heard,
    }

    pub(crate) fn read_all(answers: &Answers, whole: bool, documents: &[&str]) -> All {
        let mut reader = Reader::new(answers);
        let mut all = All::default();
        for document in documents {
            let mut content = false;
            let heard = reader.read(document.as_bytes(), whole, &mut |piece| {
                content |= piece.is_content();
                match piece {
                    Piece::Text(text) => all.output.push_str(text),
                    Piece::Reasoning(text) => all.reasoning.push_str(text),
                    Piece::Tool {
                        name, arguments, ..
                    } => {
                        all.output.push_str(name);
                        all.output.push_str(&arguments);
                    }
                    _ => {}
                }
            });
            all.with_content.push(content);
            all.heard.usage = heard.usage.or(all.heard.usage);
            all.heard.finish = heard.finish.or(all.heard.finish.take());
            all.heard.error = heard.error.or(all.heard.error.take());
        }
        all
    }

    pub(crate) fn events(kind: EndpointKind, documents: &[&str]) -> All {
        read_all(&Answers::of(kind), false, documents)
    }

    pub(crate) fn body(kind: EndpointKind, document: &str) -> All {
        read_all(&Answers::of(kind), true, &[document])
    }
}
