//! Request bodies of the chat and completions endpoints, keys in wire order.
//!
//! Not for headers or paths beyond the defaults, and never for a verbatim payload: that is sent
//! as the file has it.

use serde_json::{Map, Value, json};

use super::Splice;
use super::ask::{Ask, Content, Said};

/// The kinds of endpoint that bodies can be made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointKind {
    /// OpenAI chat completions.
    Chat,
    /// OpenAI text completions.
    Completions,
}

impl EndpointKind {
    /// By its name on the command line: any letter case, `-` and `_` alike.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.to_lowercase().replace('-', "_").as_str() {
            "chat" => Some(Self::Chat),
            "completions" => Some(Self::Completions),
            _ => None,
        }
    }

    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
        }
    }

    /// The path joined to a base URL when `--endpoint` gives none.
    pub const fn default_path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
        }
    }
}

/// What is the same in every body of a run.
#[derive(Clone, Debug)]
pub struct BodyOptions {
    /// The endpoint's kind.
    pub endpoint: EndpointKind,
    /// Models, taken in turn: the n-th prompt gets n mod count. Empty is read as one empty name.
    pub models: Vec<String>,
    /// The `stream` field, and with it the request for usage.
    pub streaming: bool,
    /// Chat's output limit is named `max_tokens`, for servers that ignore the newer name.
    pub legacy_max_tokens: bool,
    /// Ask for usage in every chunk (chat only).
    pub per_chunk_usage: bool,
    /// `--extra-inputs`, merged over the fields above.
    pub extra: Map<String, Value>,
}

impl BodyOptions {
    /// The body of the n-th prompt.
    pub(super) fn body(&self, n: usize, ask: Ask<'_>) -> Map<String, Value> {
        let mut body = Map::new();
        let mut tools = None;
        match (self.endpoint, ask.content) {
            (EndpointKind::Chat, content) => {
                let framed = [("system", ask.system), ("user", ask.user_context)];
                let framed = framed
                    .into_iter()
                    .filter_map(|(role, text)| Some((role, text?)));
                let mut messages: Vec<Value> = framed
                    .map(|(role, text)| message(role, text.into()))
                    .collect();
                match content {
                    Content::Said(said) => messages.push(message(
                        said.role.as_deref().unwrap_or("user"),
                        chat_content(&said),
                    )),
                    Content::Messages {
                        messages: own,
                        tools: given,
                    } => {
                        messages.extend(own);
                        tools = given;
                    }
                }
                put(&mut body, "messages", messages);
            }
            (EndpointKind::Completions, Content::Said(said)) => {
                let texts: Vec<&str> = said.all_texts().collect();
                match texts[..] {
                    [one] => put(&mut body, "prompt", one),
                    _ => put(&mut body, "prompt", texts),
                }
            }
            // The trace loader rejects these lines; a list is what the format would say.
            (EndpointKind::Completions, Content::Messages { messages, .. }) => {
                put(&mut body, "prompt", messages);
            }
        }
        let model = match self.models.len() {
            0 => "",
            count => &self.models[n % count],
        };
        put(&mut body, "model", model);
        put(&mut body, "stream", self.streaming);
        if let Some(tools) = tools {
            put(&mut body, "tools", tools);
        }
        if let Some(limit) = ask.max_tokens {
            match self.endpoint {
                EndpointKind::Chat if self.legacy_max_tokens => put(&mut body, "max_tokens", limit),
                EndpointKind::Chat => put(&mut body, "max_completion_tokens", limit),
                EndpointKind::Completions if limit > 0 => put(&mut body, "max_tokens", limit),
                EndpointKind::Completions => {}
            }
        }
        for (key, value) in self.extra.iter().chain(ask.extra.into_iter().flatten()) {
            body.insert(key.clone(), value.clone());
        }
        self.ask_for_usage(&mut body);
        body
    }

    /// Adds `stream_options.include_usage` to a body that streams after all merging; a server
    /// rejects it on one that does not.
    fn ask_for_usage(&self, body: &mut Map<String, Value>) {
        if !streams(body) {
            return;
        }
        let options = body.entry("stream_options").or_insert(Value::Null);
        if options.is_null() {
            *options = json!({});
        }
        if let Some(options) = options.as_object_mut() {
            options.entry("include_usage").or_insert(Value::Bool(true));
            if self.per_chunk_usage && self.endpoint == EndpointKind::Chat {
                options
                    .entry("continuous_usage_stats")
                    .or_insert(Value::Bool(true));
            }
        }
    }
}

fn message(role: &str, content: Value) -> Value {
    Value::Object(Map::from_iter([
        ("role".to_owned(), Value::from(role)),
        ("content".to_owned(), content),
    ]))
}

/// The content of one chat message: a bare string for a single text, else a list of parts.
fn chat_content(said: &Said) -> Value {
    if let Some(text) = said.only_text() {
        return Value::from(text);
    }
    let parts: Vec<Value> = said
        .all_texts()
        .map(|text| json!({"type": "text", "text": text}))
        .collect();
    if parts.is_empty() {
        Value::from("")
    } else {
        Value::from(parts)
    }
}

/// The bytes of a body, and where its messages from number `first` on stand in them, if there are
/// so many.
pub(super) fn write(
    body: &Map<String, Value>,
    first: usize,
) -> serde_json::Result<(Vec<u8>, Option<Splice>)> {
    let mut bytes = vec![b'{'];
    let mut splice = None;
    for (key, value) in body {
        separate(&mut bytes);
        serde_json::to_writer(&mut bytes, key)?;
        bytes.push(b':');
        match value {
            Value::Array(messages) if key == "messages" => {
                bytes.push(b'[');
                let mut at = None;
                for (n, message) in messages.iter().enumerate() {
                    separate(&mut bytes);
                    if n == first {
                        at = Some(bytes.len());
                    }
                    serde_json::to_writer(&mut bytes, message)?;
                }
                splice = at.map(|at| Splice {
                    at,
                    own: at..bytes.len(),
                });
                bytes.push(b']');
            }
            _ => serde_json::to_writer(&mut bytes, value)?,
        }
    }
    bytes.push(b'}');
    Ok((bytes, splice))
}

/// A comma, unless what follows is the first of its kind.
fn separate(bytes: &mut Vec<u8>) {
    if !matches!(bytes.last(), Some(b'{' | b'[')) {
        bytes.push(b',');
    }
}

/// Whether a ready body asks for a stream.
pub(super) fn streams(body: &Map<String, Value>) -> bool {
    body.get("stream").is_some_and(truthy)
}

/// The output limit that a ready body carries, under either of its names.
pub(super) fn output_limit(body: &Map<String, Value>) -> Option<u32> {
    ["max_completion_tokens", "max_tokens"]
        .iter()
        .find_map(|key| u32::try_from(body.get(*key)?.as_u64()?).ok())
}

fn put(body: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    body.insert(key.to_owned(), value.into());
}

/// The reference's notion of true: not null, false, zero or empty.
fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(set) => *set,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(values) => !values.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn options(endpoint: EndpointKind, streaming: bool, extra: Value) -> BodyOptions {
        BodyOptions {
            endpoint,
            models: vec!["m".into(), "n".into()],
            streaming,
            legacy_max_tokens: false,
            per_chunk_usage: false,
            extra: extra.as_object().cloned().unwrap_or_default(),
        }
    }

    fn text(text: &str, max_tokens: Option<u32>) -> Ask<'static> {
        Ask {
            max_tokens,
            ..Ask::of(Content::text(text.into()))
        }
    }

    fn written(options: &BodyOptions, n: usize, ask: Ask<'_>) -> String {
        serde_json::to_string(&options.body(n, ask)).unwrap()
    }

    #[test]
    fn chat_in_wire_order() {
        let plain = options(EndpointKind::Chat, true, json!({}));
        assert_eq!(
            written(&plain, 0, text("hi \"you\"", Some(0))),
            r#"{"messages":[{"role":"user","content":"hi \"you\""}],"model":"m","stream":true,"max_completion_tokens":0,"stream_options":{"include_usage":true}}"#
        );
        let quiet = options(EndpointKind::Chat, false, json!({"seed": 1}));
        assert_eq!(
            written(&quiet, 3, text("", None)),
            r#"{"messages":[{"role":"user","content":""}],"model":"n","stream":false,"seed":1}"#
        );
        let legacy = BodyOptions {
            legacy_max_tokens: true,
            per_chunk_usage: true,
            ..plain
        };
        let messages = Ask {
            content: Content::Messages {
                messages: vec![json!({"role": "user", "content": "x", "name": "a"})],
                tools: Some(vec![json!({"type": "function"})]),
            },
            ..text("", Some(7))
        };
        assert_eq!(
            written(&legacy, 0, messages),
            r#"{"messages":[{"role":"user","content":"x","name":"a"}],"model":"m","stream":true,"tools":[{"type":"function"}],"max_tokens":7,"stream_options":{"include_usage":true,"continuous_usage_stats":true}}"#
        );
    }

    #[test]
    fn completions_in_wire_order() {
        let plain = options(EndpointKind::Completions, true, json!({}));
        assert_eq!(
            written(&plain, 0, text("p", Some(5))),
            r#"{"prompt":"p","model":"m","stream":true,"max_tokens":5,"stream_options":{"include_usage":true}}"#
        );
        let zero = written(&plain, 0, text("p", Some(0)));
        assert!(!zero.contains("max_tokens"), "{zero}");
    }

    #[test]
    fn extras_win_and_stay_unchanged() {
        let extra = json!({"model": "x", "stream_options": {"a": 1}});
        let shared = options(EndpointKind::Chat, true, extra.clone());
        let own = json!({"model": "y"});
        let turn = Ask {
            extra: own.as_object(),
            ..text("p", None)
        };
        let body = shared.body(0, turn);
        assert_eq!(body["model"], "y");
        assert_eq!(
            body["stream_options"],
            json!({"a": 1, "include_usage": true})
        );
        assert_eq!(Value::Object(shared.extra), extra);
    }

    #[test]
    fn usage_is_asked_for_by_the_merged_body() {
        let usage = |streaming, extra: Value| {
            let body = options(EndpointKind::Chat, streaming, extra).body(0, text("p", None));
            body.get("stream_options").cloned()
        };
        let asked = Some(json!({"include_usage": true}));
        assert_eq!(usage(false, json!({})), None);
        assert_eq!(usage(false, json!({"stream": true})), asked);
        assert_eq!(usage(true, json!({"stream": false})), None);
        assert_eq!(usage(true, json!({"stream_options": null})), asked);
        assert_eq!(
            usage(true, json!({"stream_options": "no"})),
            Some(json!("no"))
        );
        let refused = json!({"include_usage": false});
        assert_eq!(
            usage(true, json!({"stream_options": refused})),
            Some(refused)
        );
    }

    #[test]
    fn no_place_for_history_without_own_messages() {
        for body in [
            json!({}),
            json!({"messages": []}),
            json!({"messages": "no", "a": {}}),
        ] {
            let body = body.as_object().unwrap();
            let (bytes, splice) = write(body, 0).unwrap();
            assert_eq!(bytes, serde_json::to_vec(body).unwrap());
            assert_eq!(splice, None);
        }
    }

    #[test]
    fn names() {
        assert_eq!(EndpointKind::from_name("CHAT"), Some(EndpointKind::Chat));
        assert_eq!(EndpointKind::from_name("embeddings"), None);
        assert_eq!(EndpointKind::Completions.default_path(), "/v1/completions");
    }

    /// What the engine does with a turn: the history goes in front of its own messages.
    fn spliced(body: &[u8], splice: &Splice, history: &[u8]) -> Vec<u8> {
        [&body[..splice.at], history, &body[splice.at..]].concat()
    }

    proptest! {
        #[test]
        fn history_goes_between_the_system_message_and_the_own_one(
            system in proptest::option::of(".*"),
            texts in proptest::collection::vec(".*", 1..4),
            limit: Option<u32>,
            note in ".*",
        ) {
            let extra = json!({"note": note, "nested": [{"messages": [1, {}]}, []]});
            let options = options(EndpointKind::Chat, true, extra);
            let mut history = Vec::new();
            let mut expected: Vec<Value> = system
                .iter()
                .map(|text| json!({"role": "system", "content": text}))
                .collect();
            for (n, text) in texts.iter().enumerate() {
                let ask = Ask {
                    system: system.as_deref(),
                    max_tokens: limit,
                    ..Ask::of(Content::text(text.clone()))
                };
                let fields = options.body(n, ask);
                let (body, splice) = write(&fields, usize::from(system.is_some())).unwrap();
                prop_assert_eq!(&body, &serde_json::to_vec(&fields).unwrap());
                let splice = splice.unwrap();
                let own = [b"[", &body[splice.own.clone()], b"]"].concat();
                let own: Vec<Value> = serde_json::from_slice(&own).unwrap();
                prop_assert_eq!(&own, &[json!({"role": "user", "content": text})]);
                expected.extend(own);
                let sent: Value =
                    serde_json::from_slice(&spliced(&body, &splice, &history)).unwrap();
                prop_assert_eq!(&sent["messages"], &json!(expected));
                prop_assert_eq!(&sent["note"], &json!(note));
                let reply = json!({"role": "assistant", "content": note});
                history.extend_from_slice(&body[splice.own]);
                history.push(b',');
                serde_json::to_writer(&mut history, &reply).unwrap();
                history.push(b',');
                expected.push(reply);
            }
        }

        #[test]
        fn every_text_survives_and_stream_is_always_there(
            content in ".*",
            streaming: bool,
            chat: bool,
            limit: Option<u32>,
            n in 0_usize..9,
        ) {
            let kind = if chat { EndpointKind::Chat } else { EndpointKind::Completions };
            let options = options(kind, streaming, json!({}));
            let bytes = serde_json::to_vec(&options.body(n, text(&content, limit))).unwrap();
            let body: Value = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(&body["stream"], &json!(streaming));
            prop_assert_eq!(body.get("stream_options").is_some(), streaming);
            prop_assert_eq!(&body["model"], &json!(["m", "n"][n % 2]));
            let sent = if chat { &body["messages"][0]["content"] } else { &body["prompt"] };
            if chat || !content.is_empty() {
                prop_assert_eq!(sent, &json!(content));
            }
        }
    }
}
