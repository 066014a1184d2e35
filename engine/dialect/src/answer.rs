//! What one document of an answer says: an event of a stream, or a whole body.

use std::{borrow::Cow, sync::Arc};

use pinfire_base::record::MarkKind;
use pinfire_proto::Scan;
use serde_json::{Map, Value};

use super::{
    kind::EndpointKind,
    lenient::{self, NoJson, no_json},
    response_field::ResponseField,
    usage::Usage,
};

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

/// A piece of what a document says. The first five make it a response with content.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece<'a> {
    /// Output text, not empty.
    Text(&'a str),
    /// The words by which the model declines, not empty: output too.
    Refusal(&'a str),
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
    /// What follows is of the choice with this index. Before the first of these in a document it is
    /// of the first choice.
    Choice(u64),
    /// Why the choice ended, not empty.
    Finish(&'a str),
}

impl Piece<'_> {
    /// Whether it makes its document a response with content.
    pub const fn is_content(&self) -> bool {
        matches!(
            self,
            Self::Text(_) | Self::Refusal(_) | Self::Reasoning(_) | Self::Tool { .. } | Self::Bare
        )
    }
}

/// What a document says besides its content.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Heard {
    /// Token counts of the server, if there is one at least.
    pub usage: Option<Usage>,
    /// An error in place of an answer.
    pub error: Option<Reported>,
    /// It is no JSON, and no message either.
    pub unreadable: bool,
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
    /// What each choice has said in pieces, so that a message that repeats it is known.
    pub(super) said: Vec<Said>,
    /// The first choice has said content, or reasoning, in events that the core has read itself.
    pub(super) plain: [bool; 2],
}

/// What one choice has said so far.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) choice: u64,
    /// In pieces that add up.
    pub(super) text: bool,
    pub(super) reasoning: bool,
    pub(super) calls: bool,
    /// In messages that are whole each time: the text and the reasoning of the latest.
    pub(super) message: (String, String),
}

impl Context<'_> {
    /// What this choice has said so far.
    pub(super) fn said(&mut self, choice: u64) -> &mut Said {
        let at = self.said.iter().position(|said| said.choice == choice);
        let at = at.unwrap_or_else(|| {
            self.said.push(Said {
                choice,
                ..Said::default()
            });
            self.said.len() - 1
        });
        let said = &mut self.said[at];
        if choice == 0 {
            said.text |= self.plain[0];
            said.reasoning |= self.plain[1];
        }
        said
    }

    /// Whether anything has been said by any choice.
    pub(super) fn has_said(&self) -> bool {
        let any = |said: &Said| said.text || said.reasoning || said.calls;
        self.plain.contains(&true) || self.said.iter().any(any)
    }
}

impl Said {
    /// Notes a piece that adds to what was said before.
    pub(super) fn note(&mut self, piece: &Piece<'_>) {
        match piece {
            Piece::Text(_) | Piece::Refusal(_) => self.text = true,
            Piece::Reasoning(_) => self.reasoning = true,
            Piece::Tool { .. } => self.calls = true,
            _ => {}
        }
    }
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

    /// Content or reasoning has come in an event that the core has read itself.
    #[inline]
    pub fn came(&mut self, kind: MarkKind) {
        match kind {
            MarkKind::Content => self.context.plain[0] = true,
            MarkKind::Reasoning => self.context.plain[1] = true,
            _ => {}
        }
    }
}

/// A text in the place of an event is the server's word on what went wrong. One in the place of a
/// whole body may be anything.
pub(super) fn not_json(bytes: &[u8], whole: bool) -> Heard {
    let mut heard = Heard::default();
    match no_json(bytes) {
        NoJson::Sign if !whole => {}
        NoJson::Message(message) if !whole => {
            heard.error = Some(Reported {
                code: None,
                message,
            });
        }
        NoJson::Sign | NoJson::Message(_) | NoJson::Broken => heard.unreadable = true,
    }
    heard
}

/// A document as an answer's reader takes it, with what JSON forbids but anybody can read mended.
pub fn parse(bytes: &[u8]) -> Option<Value> {
    lenient::parse(bytes)
}

/// The error at the top of a document, however the server puts it: under `error` or `errors`, as an
/// object that says that it is one, or as a status that is none of success. What is empty is none.
pub fn reported(document: &Value) -> Option<Reported> {
    let fields = document.as_object()?;
    let text = |name: &str| text_of(document, name);
    if let Some(error) = field(fields, "error").filter(|error| !is_empty(error)) {
        return Some(match error {
            Value::Object(inner) => Reported {
                code: code_of(error),
                message: match inner.get("message").filter(|text| !is_empty(text)) {
                    Some(Value::String(text)) => text.clone(),
                    _ => error.to_string(),
                },
            },
            Value::String(text) => Reported {
                code: code_of(document),
                message: text.clone(),
            },
            // A flag or a number: the words are beside it.
            other => Reported {
                code: other.as_i64().or_else(|| code_of(document)),
                message: text("message").map_or_else(|| document.to_string(), str::to_owned),
            },
        });
    }
    // What follows stands in the place of an answer, never beside one.
    const ANSWERS: [&str; 9] = [
        "choices", "output", "content", "data", "results", "rankings", "delta", "token", "text",
    ];
    if ANSWERS
        .iter()
        .any(|name| field(fields, name).is_some_and(|value| !is_empty(value)))
    {
        return None;
    }
    let says_error = |name: &str| text(name).is_some_and(|text| text.eq_ignore_ascii_case("error"));
    let listed = list(fields.get("errors")).first();
    let vendor = fields
        .get("base_resp")
        .filter(|base| base["status_code"].as_i64().is_some_and(|code| code != 0));
    let message = ["message", "msg", "error_msg", "error_message", "detail"]
        .iter()
        .find_map(|name| text(name));
    if let Some(base) = vendor {
        return Some(Reported {
            code: base["status_code"].as_i64(),
            message: text_of(base, "status_msg").map_or_else(|| base.to_string(), str::to_owned),
        });
    }
    if let Some(first) = listed {
        let words = first.as_str().or_else(|| text_of(first, "message"));
        return Some(Reported {
            code: code_of(first),
            message: words.map_or_else(|| first.to_string(), str::to_owned),
        });
    }
    let is_error = says_error("object") || says_error("status") || says_error("type");
    let is_code = ["code", "status", "status_code", "error_code"]
        .iter()
        .find_map(|name| number_of(fields.get(*name)?))
        .filter(|code| *code >= 400 || (*code != 0 && fields.contains_key("error_code")));
    let is_detail = fields.len() == 1 && fields.contains_key("detail");
    if is_error || is_detail || (is_code.is_some() && message.is_some()) {
        return Some(Reported {
            code: is_code.or_else(|| code_of(document)),
            message: message.map_or_else(|| document.to_string(), str::to_owned),
        });
    }
    None
}

/// Nothing is said by it: null, false, 0, an empty text, list or object, or one of such things
/// only.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.trim().is_empty(),
        Value::Array(values) => values.iter().all(is_empty),
        Value::Object(fields) => fields.values().all(is_empty),
    }
}

fn number_of(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// The number of an error object, also where it is written as text.
pub(super) fn code_of(error: &Value) -> Option<i64> {
    number_of(error.get("code")?)
}

/// Whether the indices of an answer's choices are choices at all: some servers count tokens there.
///
/// They do if each document has one choice, each has another index than those before, always
/// rising, and no more than one of them has ended. Choices that are streamed come again and again,
/// or end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Indices {
    first: Option<u64>,
    last: Option<u64>,
    several: bool,
    again: bool,
    ends: u32,
    in_document: Option<u64>,
}

impl Indices {
    /// The next document begins.
    pub fn begin(&mut self) {
        self.in_document = None;
    }

    /// The document has content of this choice.
    pub fn content(&mut self, index: u64) {
        if self.in_document == Some(index) {
            return;
        }
        self.again |= self.in_document.is_some();
        self.in_document = Some(index);
        if let Some(last) = self.last {
            self.several |= index != last;
            self.again |= index <= last;
        }
        self.first.get_or_insert(index);
        self.last = Some(index);
    }

    /// The choice that had content first.
    pub fn first(&self) -> Option<u64> {
        self.first
    }

    /// The document ends a choice.
    pub fn end(&mut self) {
        self.ends += 1;
    }

    /// There are several choices.
    pub fn are_choices(&self) -> bool {
        self.several && (self.again || self.ends > 1)
    }
}

/// The elements of a list; none of anything else.
pub(super) fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A field of an object. Of an answer's small objects many names are asked that they do not have:
/// comparing a few keys costs less than to hash each name.
pub(super) fn field<'d>(object: &'d Map<String, Value>, name: &str) -> Option<&'d Value> {
    const FEW: usize = 12;
    if object.len() > FEW {
        return object.get(name);
    }
    let found = object.iter().find(|(key, _)| *key == name);
    found.map(|(_, value)| value)
}

/// A string that is there and not empty.
pub(super) fn text_of<'d>(object: &'d Value, name: &str) -> Option<&'d str> {
    let value = field(object.as_object()?, name)?;
    value.as_str().filter(|text| !text.is_empty())
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
    fn indices_that_are_choices_and_those_that_count() {
        let several = |documents: &[&[u64]], ends: u32| {
            let mut indices = Indices::default();
            for document in documents {
                indices.begin();
                document.iter().for_each(|&index| indices.content(index));
            }
            (0..ends).for_each(|_| indices.end());
            indices.are_choices()
        };
        assert!(!several(&[&[0], &[0], &[0]], 1));
        assert!(!several(&[&[1], &[1]], 1));
        assert!(!several(&[&[1], &[2], &[3]], 1));
        assert!(!several(&[&[0, 0], &[1], &[2]], 0));
        assert!(several(&[&[0], &[1], &[0], &[1]], 0));
        assert!(several(&[&[0, 1]], 0));
        assert!(several(&[&[0], &[1], &[2]], 3));
        assert!(several(&[&[0], &[0], &[1]], 1));
    }

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
            (json!({"error": {}, "choices": []}), None),
            (json!({"error": {"message": null, "code": 0}}), None),
            (json!({"error": []}), None),
            (json!([{"error": "no"}]), None),
            (
                json!({"object": "error", "message": "engine dead", "code": 500}),
                Some((Some(500), "engine dead")),
            ),
            (json!({"error": true, "message": "no"}), Some((None, "no"))),
            (
                json!({"error": 503, "message": "no"}),
                Some((Some(503), "no")),
            ),
            (
                json!({"status": 500, "error": "Internal"}),
                Some((None, "Internal")),
            ),
            (json!({"detail": "Not Found"}), Some((None, "Not Found"))),
            (
                json!({"errors": [{"code": 7, "message": "no"}]}),
                Some((Some(7), "no")),
            ),
            (
                json!({"code": 503, "message": "busy"}),
                Some((Some(503), "busy")),
            ),
            (
                json!({"error_code": 17, "error_msg": "limit"}),
                Some((Some(17), "limit")),
            ),
            (
                json!({"base_resp": {"status_code": 1004, "status_msg": "login"}, "choices": null}),
                Some((Some(1004), "login")),
            ),
            (
                json!({"base_resp": {"status_code": 0, "status_msg": "success"}}),
                None,
            ),
            (json!({"object": "error", "choices": [{"text": "x"}]}), None),
            (json!({"code": 200, "message": "fine"}), None),
            (
                json!({"message": {"role": "assistant", "content": "x"}}),
                None,
            ),
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
        pub(crate) finish: Vec<String>,
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
                    Piece::Text(text) | Piece::Refusal(text) => all.output.push_str(text),
                    Piece::Finish(reason) => all.finish.push(reason.to_owned()),
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
            all.heard.unreadable |= heard.unreadable;
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
