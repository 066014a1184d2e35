//! One JSON answer of a chat or completions endpoint: a stream's chunk or a whole body.
//!
//! What is not JSON, is of another kind or has no choice 0 gives nothing; it is neither an error nor
//! a first token.

use pinfire_engine::clock::Stamp;
use serde_json::Value;

use super::{Content, Reading, Usage};
use crate::facts::Endpoint;

/// An error object that a server put into its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Reported {
    pub code: Option<i64>,
    pub message: String,
}

impl Reading {
    /// Reads one JSON document that arrived at `at`; gives the error object in it, if there is one.
    pub(super) fn json(&mut self, at: Stamp, bytes: &[u8], endpoint: Endpoint) -> Option<Reported> {
        let document: Value = serde_json::from_slice(bytes).ok()?;
        if let Some(reported) = reported(&document) {
            return Some(reported);
        }
        let usage = Usage::in_response(&document);
        if let Some(output) = self.choice(&document, endpoint) {
            self.content.push(Content { at, output });
            if self.first_chunk_tokens.is_none() {
                self.first_chunk_tokens = usage.and_then(|u| u.completion);
            }
        }
        self.usage = usage.or(self.usage);
        None
    }

    /// Takes the texts of choice 0. `None` if it has no content; whether it has output otherwise.
    fn choice(&mut self, document: &Value, endpoint: Endpoint) -> Option<bool> {
        let choice = choice_zero(document)?;
        if let Some(reason) = text_of(choice, "finish_reason") {
            self.finish = Some(reason.to_owned());
        }
        // A server that names no kind at all is given the benefit of the doubt; one that names
        // another kind has said that this is not an answer.
        let kind = document.get("object").and_then(Value::as_str);
        match (endpoint, kind) {
            (Endpoint::Completions, None | Some("text_completion" | "completion")) => {
                let text = text_of(choice, "text")?;
                self.output.get_or_insert_default().push_str(text);
                Some(true)
            }
            (Endpoint::Chat, Some("chat.completion.chunk")) => self.message(choice.get("delta")?),
            (Endpoint::Chat, Some("chat.completion")) => self.message(choice.get("message")?),
            (Endpoint::Chat, None) => {
                self.message(choice.get("delta").or_else(|| choice.get("message"))?)
            }
            _ => None,
        }
    }

    fn message(&mut self, message: &Value) -> Option<bool> {
        // An empty `reasoning_content` must not hide a `reasoning` with text.
        let reasoning =
            text_of(message, "reasoning_content").or_else(|| text_of(message, "reasoning"));
        if let Some(reasoning) = reasoning {
            self.reasoning.get_or_insert_default().push_str(reasoning);
        }
        let mut output = false;
        if let Some(content) = text_of(message, "content") {
            self.output.get_or_insert_default().push_str(content);
            output = true;
        }
        for call in list(message.get("tool_calls")) {
            for part in ["name", "arguments"] {
                let text = call.get("function").and_then(|f| text_of(f, part));
                if let Some(text) = text {
                    self.output.get_or_insert_default().push_str(text);
                    output = true;
                }
            }
        }
        (output || reasoning.is_some()).then_some(output)
    }
}

/// Choice 0 by its index; the first one where a server leaves the index out.
fn choice_zero(document: &Value) -> Option<&Value> {
    list(document.get("choices")).iter().find(|choice| {
        choice
            .get("index")
            .and_then(Value::as_u64)
            .is_none_or(|index| index == 0)
    })
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A string that is there and not empty.
fn text_of<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// The top-level `error` of a document (D10): an object, or a bare text.
pub(super) fn reported(document: &Value) -> Option<Reported> {
    let error = document.get("error")?;
    let message = match error {
        Value::Object(fields) => fields.get("message").and_then(Value::as_str),
        Value::String(text) => Some(text.as_str()),
        _ => return None,
    };
    let code = error.get("code");
    Some(Reported {
        code: code.and_then(|code| code.as_i64().or_else(|| code.as_str()?.parse().ok())),
        message: message.map_or_else(|| error.to_string(), str::to_owned),
    })
}
