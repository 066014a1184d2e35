//! What the bodies of all dialects share: options, the order of merging, content as parts, bytes.
//!
//! Never for a verbatim payload: that is sent as the file has it.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use pinfire_base::ready::Splice;
use serde_json::{Map, Value, json};

use super::{kind::EndpointKind, template::Render};
use crate::ask::{Content, TurnContent};

/// What is the same in every body of a run.
#[derive(Clone, Debug, Default)]
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
    /// Token counts come from the server: responses asks for usage only then.
    pub server_counts: bool,
    /// `--extra-inputs`, merged over the fields above.
    pub extra: Map<String, Value>,
    /// The template of `template`.
    pub template: Option<Arc<dyn Render>>,
    /// What the user should know about the bodies once they are made.
    pub notes: Notes,
}

/// What is worth a word to the user, each once however many bodies it is about.
#[derive(Clone, Debug, Default)]
pub struct Notes(Arc<Mutex<BTreeSet<String>>>);

impl Notes {
    pub(super) fn add(&self, note: String) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.insert(note);
    }

    /// All of them; they are not given again.
    pub fn take(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Why a turn cannot be sent to this kind of endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--endpoint-type {endpoint}: {reason}")]
pub struct BodyError {
    /// The endpoint's name.
    pub endpoint: &'static str,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl BodyError {
    pub(super) fn new(kind: EndpointKind, reason: impl Into<String>) -> Self {
        Self {
            endpoint: kind.name(),
            reason: reason.into(),
        }
    }
}

/// A composed body.
#[derive(Clone, Debug)]
pub struct Body {
    pub(super) fields: Map<String, Value>,
    /// Messages in its list that are the session's, in front of the turn's own.
    pub(super) framing: usize,
    /// Its output limit was asked for, not filled in because the endpoint must have one.
    pub(super) limit_asked: bool,
}

impl Deref for Body {
    type Target = Map<String, Value>;

    fn deref(&self) -> &Self::Target {
        &self.fields
    }
}

/// A body to be written: one composed here, or a payload as a file has it.
#[derive(Clone, Copy, Debug)]
pub struct BodyRef<'b> {
    /// The fields, in wire order.
    pub fields: &'b Map<String, Value>,
    /// Messages in its list that are the session's, in front of the turn's own.
    pub framing: usize,
    /// Its output limit was asked for, not filled in because the endpoint must have one.
    pub limit_asked: bool,
}

impl<'b> From<&'b Body> for BodyRef<'b> {
    fn from(body: &'b Body) -> Self {
        Self {
            fields: &body.fields,
            framing: body.framing,
            limit_asked: body.limit_asked,
        }
    }
}

impl<'b> From<&'b Map<String, Value>> for BodyRef<'b> {
    fn from(fields: &'b Map<String, Value>) -> Self {
        Self {
            fields,
            framing: 0,
            limit_asked: true,
        }
    }
}

impl BodyOptions {
    /// The model of the n-th prompt.
    pub(super) fn model(&self, n: usize) -> &str {
        match self.models.len() {
            0 => "",
            count => &self.models[n % count],
        }
    }

    /// Merges the run's extras and then the turn's over the fields.
    pub(super) fn merge(&self, fields: &mut Map<String, Value>, own: Option<&Map<String, Value>>) {
        for (key, value) in self.extra.iter().chain(own.into_iter().flatten()) {
            fields.insert(key.clone(), value.clone());
        }
    }

    /// Adds `stream_options.include_usage` to a body that streams after all merging; a server
    /// rejects it on one that does not.
    pub(super) fn ask_for_usage(&self, fields: &mut Map<String, Value>) {
        if !streams(fields) {
            return;
        }
        let options = fields.entry("stream_options").or_insert(Value::Null);
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

    pub(super) fn error(&self, reason: impl Into<String>) -> BodyError {
        BodyError::new(self.endpoint, reason)
    }

    /// What a turn says, for kinds that have no messages of their own form.
    pub(super) fn said(&self, content: Content) -> Result<TurnContent, BodyError> {
        match content {
            Content::TurnContent(said) => Ok(said),
            Content::Messages { .. } => {
                Err(self.error("ready messages cannot be sent to it; use --endpoint-type chat"))
            }
        }
    }

    /// The same, of texts alone.
    pub(super) fn said_in_text(&self, content: Content) -> Result<TurnContent, BodyError> {
        let said = self.said(content)?;
        let media = [
            ("images", &said.images),
            ("audio", &said.audios),
            ("videos", &said.videos),
        ];
        if let Some((what, _)) = media.iter().find(|(_, media)| !media.is_empty()) {
            return Err(self.error(format!("it takes no {what}, texts only")));
        }
        Ok(said)
    }
}

/// A body without messages of a session.
pub(super) const fn plain(fields: Map<String, Value>) -> Body {
    Body {
        fields,
        framing: 0,
        limit_asked: true,
    }
}

/// How a dialect writes the parts of a message's content; a form that is missing is an error.
pub(super) struct Forms {
    pub(super) text: fn(&str) -> Value,
    /// An image by its URL, with its cache id if it has one.
    pub(super) image: Option<fn(&str, Option<&str>) -> Value>,
    /// Audio by its format and its base64 data.
    pub(super) audio: Option<fn(&str, &str) -> Value>,
    /// A video by its URL.
    pub(super) video: Option<fn(&str) -> Value>,
}

impl Forms {
    /// The content of one message: a bare string for a single text, else a list of parts in the
    /// order texts, images, audio, videos; `""` for none at all.
    pub(super) fn content(
        &self,
        said: &TurnContent,
        kind: EndpointKind,
    ) -> Result<Value, BodyError> {
        if let Some(text) = said.only_text() {
            return Ok(text.into());
        }
        let error = |reason: String| BodyError::new(kind, reason);
        let missing = |what: &str| error(format!("it takes no {what}"));
        let mut parts: Vec<Value> = said.all_texts().map(self.text).collect();
        let all = |media: &'_ [crate::ask::Media]| -> Vec<String> {
            let contents = media.iter().flat_map(|media| &media.contents);
            contents.cloned().collect()
        };
        for (at, url) in all(&said.images).iter().enumerate() {
            let id = said.image_uuids.get(at).map(String::as_str);
            if url.is_empty() && id.is_none() {
                continue;
            }
            let image = self.image.ok_or_else(|| missing("images"))?;
            remote(url).map_err(error)?;
            parts.push(image(url, id));
        }
        for given in all(&said.audios).iter().filter(|given| !given.is_empty()) {
            let audio = self.audio.ok_or_else(|| missing("audio"))?;
            let (format, data) = audio_of(given).map_err(error)?;
            parts.push(audio(format, data));
        }
        for url in all(&said.videos).iter().filter(|url| !url.is_empty()) {
            let video = self.video.ok_or_else(|| missing("videos"))?;
            remote(url).map_err(error)?;
            parts.push(video(url));
        }
        Ok(if parts.is_empty() {
            "".into()
        } else {
            parts.into()
        })
    }
}

/// Refuses what would have to be read from this machine.
fn remote(url: &str) -> Result<(), String> {
    if url.is_empty() || url.starts_with("data:") || url.contains("://") {
        return Ok(());
    }
    Err(format!(
        "`{}` is a local file, and reading local media is not part of this version; give a URL or a \
         data: URI",
        beginning(url)
    ))
}

/// Format and base64 data of `wav,DATA` or `data:audio/wav;base64,DATA`.
fn audio_of(given: &str) -> Result<(&str, &str), String> {
    let (head, data) = given.split_once(',').ok_or_else(|| {
        format!(
            "the audio `{}` must be `wav,BASE64`, `mp3,BASE64` or a data: URI; reading local media \
             is not part of this version",
            beginning(given)
        )
    })?;
    let format = match head.strip_prefix("data:") {
        Some(kind) => {
            let kind = kind.split(';').next().unwrap_or_default();
            kind.strip_prefix("audio/").unwrap_or_default()
        }
        None => head,
    };
    Ok((if format.is_empty() { "wav" } else { format }, data))
}

/// The first characters of what may be long.
pub(super) fn beginning(text: &str) -> String {
    text.chars().take(100).collect()
}

pub(super) fn message(role: &str, content: Value) -> Value {
    Value::Object(Map::from_iter([
        ("role".to_owned(), Value::from(role)),
        ("content".to_owned(), content),
    ]))
}

/// The bytes of a body, and where its messages from number `first` on stand in the list under
/// `key`, if there are so many.
pub fn write(
    body: &Map<String, Value>,
    key: Option<&str>,
    first: usize,
) -> serde_json::Result<(Vec<u8>, Option<Splice>)> {
    let mut bytes = vec![b'{'];
    let mut splice = None;
    for (name, value) in body {
        separate(&mut bytes);
        serde_json::to_writer(&mut bytes, name)?;
        bytes.push(b':');
        match value {
            Value::Array(messages) if key == Some(name) => {
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
pub fn streams(body: &Map<String, Value>) -> bool {
    body.get("stream").is_some_and(truthy)
}

/// The output limit that a ready body carries, under any of its names.
pub fn output_limit(body: &Map<String, Value>) -> Option<u32> {
    let limits = [
        body.get("max_completion_tokens"),
        body.get("max_tokens"),
        body.get("max_output_tokens"),
        body.get("parameters")
            .and_then(|inner| inner.get("max_new_tokens")),
    ];
    let mut limits = limits.into_iter().flatten();
    limits.find_map(|limit| u32::try_from(limit.as_u64()?).ok())
}

pub(super) fn put(body: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
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
pub(super) mod testing {
    use super::*;
    use crate::ask::{Ask, Media};

    pub(crate) fn options(endpoint: EndpointKind, streaming: bool, extra: Value) -> BodyOptions {
        BodyOptions {
            endpoint,
            models: vec!["m".into(), "n".into()],
            streaming,
            extra: extra.as_object().cloned().unwrap_or_default(),
            ..BodyOptions::default()
        }
    }

    pub(crate) fn text(text: &str, max_tokens: Option<u32>) -> Ask<'static> {
        Ask {
            max_tokens,
            ..Ask::of(Content::text(text.into()))
        }
    }

    /// Strings under a name.
    pub(crate) fn named(name: &str, contents: &[&str]) -> Media {
        Media {
            name: name.to_owned(),
            contents: contents.iter().map(|&text| text.to_owned()).collect(),
        }
    }

    pub(crate) fn written(options: &BodyOptions, n: usize, ask: Ask<'_>) -> String {
        serde_json::to_string(&options.body(n, ask).unwrap().fields).unwrap()
    }

    pub(crate) fn refused(options: &BodyOptions, ask: Ask<'_>) -> String {
        options.body(0, ask).unwrap_err().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{options, text};
    use super::*;
    use crate::ask::Ask;
    use proptest::prelude::*;

    #[test]
    fn no_place_for_history_without_own_messages() {
        for body in [
            json!({}),
            json!({"messages": []}),
            json!({"messages": "no", "a": {}}),
            json!({"input": [{}]}),
        ] {
            let body = body.as_object().unwrap();
            let (bytes, splice) = write(body, Some("messages"), 0).unwrap();
            assert_eq!(bytes, serde_json::to_vec(body).unwrap());
            assert_eq!(splice, None);
        }
        let body = json!({"input": [{}]});
        let (_, splice) = write(body.as_object().unwrap(), Some("input"), 0).unwrap();
        assert!(splice.is_some());
    }

    #[test]
    fn audio_comes_in_two_forms() {
        assert_eq!(audio_of("mp3,QUJD"), Ok(("mp3", "QUJD")));
        assert_eq!(audio_of("data:audio/ogg;base64,QQ"), Ok(("ogg", "QQ")));
        assert_eq!(audio_of("data:;base64,QQ"), Ok(("wav", "QQ")));
        assert!(audio_of("/tmp/a.wav").unwrap_err().contains("/tmp/a.wav"));
    }

    #[test]
    fn limits_under_every_name() {
        for body in [
            json!({"max_completion_tokens": 5}),
            json!({"max_tokens": 5}),
            json!({"max_output_tokens": 5}),
            json!({"parameters": {"max_new_tokens": 5}}),
        ] {
            assert_eq!(output_limit(body.as_object().unwrap()), Some(5));
        }
        assert_eq!(output_limit(&Map::new()), None);
    }

    #[test]
    fn messages_without_a_place_are_said_once() {
        let options = options(EndpointKind::Completions, true, json!({}));
        for _ in 0..3 {
            let ask = Ask {
                system: Some("s"),
                ..text("p", None)
            };
            options.body(0, ask).unwrap();
        }
        let notes = options.notes.take();
        assert_eq!(notes.len(), 1);
        assert!(
            notes
                .first()
                .unwrap()
                .contains("completions has no place for system")
        );
        assert!(options.notes.take().is_empty());
    }

    /// What the engine does with a turn: the history goes in front of its own messages.
    fn spliced(body: &[u8], splice: &Splice, history: &[u8]) -> Vec<u8> {
        [&body[..splice.at], history, &body[splice.at..]].concat()
    }

    proptest! {
        #[test]
        fn history_goes_between_the_framing_and_the_own_message(
            system in proptest::option::of(".*"),
            context in proptest::option::of(".*"),
            texts in proptest::collection::vec(".*", 1..4),
            limit: Option<u32>,
            note in ".*",
            kind in 0_usize..3,
        ) {
            let kind = [EndpointKind::Chat, EndpointKind::Responses, EndpointKind::Messages][kind];
            let key = kind.row().messages_key.unwrap();
            let extra = json!({"note": note, "nested": [{"messages": [1, {}], "input": [1]}, []]});
            let options = options(kind, true, extra);
            let mut history = Vec::new();
            let mut expected: Option<Vec<Value>> = None;
            for (n, text) in texts.iter().enumerate() {
                let ask = Ask {
                    system: system.as_deref(),
                    user_context: context.as_deref(),
                    max_tokens: limit,
                    ..Ask::of(Content::text(text.clone()))
                };
                let body = options.body(n, ask).unwrap();
                let (bytes, splice) = write(&body, Some(key), body.framing).unwrap();
                prop_assert_eq!(&bytes, &serde_json::to_vec(&body.fields).unwrap());
                let splice = splice.unwrap();
                let own = [b"[", &bytes[splice.own.clone()], b"]"].concat();
                let own: Vec<Value> = serde_json::from_slice(&own).unwrap();
                prop_assert_eq!(own.len(), 1);
                prop_assert_eq!(&own[0]["content"], &json!(text));
                let expected = expected.get_or_insert_with(|| {
                    body.fields[key].as_array().unwrap()[..body.framing].to_vec()
                });
                expected.extend(own);
                let sent: Value =
                    serde_json::from_slice(&spliced(&bytes, &splice, &history)).unwrap();
                prop_assert_eq!(&sent[key], &json!(expected));
                prop_assert_eq!(&sent["note"], &json!(note));
                let reply = json!({"role": "assistant", "content": note});
                history.extend_from_slice(&bytes[splice.own]);
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
            let composed = options.body(n, text(&content, limit)).unwrap();
            let bytes = serde_json::to_vec(&composed.fields).unwrap();
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
