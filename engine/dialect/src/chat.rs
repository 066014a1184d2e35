//! OpenAI chat completions.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::answer::{Context, Heard, Piece, Said, field, index_of, list, reported, text_of};
use super::assistant_turn::{AssistantTurn, put_json};
use super::body::{Body, BodyError, BodyOptions, Forms, message, put};
use crate::ask::{Ask, Content};

const FORMS: Forms = Forms {
    text: |text| json!({"type": "text", "text": text}),
    image: Some(|url, id| {
        let mut part = json!({"type": "image_url", "image_url": {"url": url}});
        if let (Some(id), Some(fields)) = (id, part.as_object_mut()) {
            put(fields, "uuid", id);
        }
        part
    }),
    audio: Some(
        |format, data| json!({"type": "input_audio", "input_audio": {"data": data, "format": format}}),
    ),
    video: Some(|url| json!({"type": "video_url", "video_url": {"url": url}})),
};

/// The messages of a chat body.
pub(super) struct Messages {
    pub(super) all: Vec<Value>,
    /// How many of them are the session's.
    pub(super) framing: usize,
    pub(super) tools: Option<Vec<Value>>,
}

/// System message, user context, then the turn's own. A system message that the turn begins with
/// becomes one with the session's.
pub(super) fn messages(options: &BodyOptions, ask: Ask<'_>) -> Result<Messages, BodyError> {
    let (mut own, tools) = match ask.content {
        Content::TurnContent(said) => {
            let content = FORMS.content(&said, options.endpoint)?;
            let role = said.role.as_deref().unwrap_or("user");
            (vec![message(role, content)], None)
        }
        Content::Messages { messages, tools } => (messages, tools),
    };
    let mut all = Vec::with_capacity(own.len() + 2);
    if let Some(text) = ask.system {
        if own.first().is_some_and(|first| first["role"] == "system") {
            let mut merged = own.remove(0);
            merged["content"] = behind(text, &merged["content"]);
            all.push(merged);
        } else {
            all.push(message("system", text.into()));
        }
    }
    all.extend(ask.user_context.map(|text| message("user", text.into())));
    let framing = all.len();
    all.append(&mut own);
    Ok(Messages {
        all,
        framing,
        tools,
    })
}

/// A session's system text with a system content of the data behind it.
pub(super) fn behind(text: &str, content: &Value) -> Value {
    match content {
        Value::String(own) => format!("{text}\n\n{own}").into(),
        Value::Array(parts) => {
            let first = (FORMS.text)(text);
            std::iter::once(first)
                .chain(parts.iter().cloned())
                .collect()
        }
        _ => text.into(),
    }
}

pub(super) fn compose(options: &BodyOptions, n: usize, ask: Ask<'_>) -> Result<Body, BodyError> {
    let (limit, extra) = (ask.max_tokens, ask.extra);
    let messages = messages(options, ask)?;
    let mut fields = Map::new();
    put(&mut fields, "messages", messages.all);
    put(&mut fields, "model", options.model(n));
    put(&mut fields, "stream", options.streaming);
    if let Some(tools) = messages.tools {
        put(&mut fields, "tools", tools);
    }
    if let Some(limit) = limit {
        let key = if options.legacy_max_tokens {
            "max_tokens"
        } else {
            "max_completion_tokens"
        };
        put(&mut fields, key, limit);
    }
    options.merge(&mut fields, extra);
    options.ask_for_usage(&mut fields);
    Ok(Body {
        fields,
        framing: messages.framing,
        limit_asked: true,
    })
}

/// A chunk or a whole completion.
pub(super) fn read(
    document: &Value,
    context: &mut Context<'_>,
    each: &mut dyn FnMut(Piece<'_>),
) -> Heard {
    choices(document, context, each)
}

/// The objects that are answers. A server that names none is given the benefit of the doubt; one
/// that names another has said that this is no answer.
const ANSWERS: [&str; 5] = [
    "chat.completion.chunk",
    "chat.completion",
    "text_completion",
    "completion",
    "",
];

/// All choices of a chunk or a whole completion, of chat or of text: servers mix them up.
pub(super) fn choices(
    document: &Value,
    context: &mut Context<'_>,
    each: &mut dyn FnMut(Piece<'_>),
) -> Heard {
    let mut heard = Heard::of(document);
    let object = document.get("object").and_then(Value::as_str);
    let is_answer = object.is_none_or(|object| ANSWERS.contains(&object));
    for (at, choice) in list(document.get("choices")).iter().enumerate() {
        let index = choice.get("index").and_then(Value::as_u64);
        let index = index.unwrap_or(at as u64);
        each(Piece::Choice(index));
        if is_answer {
            choice_pieces(choice, index, context, each);
        }
        if let Some(reason) = text_of(choice, "finish_reason") {
            each(Piece::Finish(reason));
        }
        // An error of one choice stands where the error of the answer would.
        if heard.error.is_none()
            && let Some(error) = choice.get("error")
        {
            heard.error = reported(&json!({"error": error}));
        }
    }
    heard
}

fn choice_pieces(
    choice: &Value,
    index: u64,
    context: &mut Context<'_>,
    each: &mut dyn FnMut(Piece<'_>),
) {
    let is_whole = context.whole;
    let said = context.said(index);
    let mut add = |piece: Piece<'_>| {
        said.note(&piece);
        each(piece);
    };
    if let Some(delta) = choice.get("delta").filter(|delta| !delta.is_null()) {
        message_pieces(delta, &mut add);
    }
    if let Some(text) = text_of(choice, "text") {
        add(Piece::Text(text));
    }
    match choice.get("message").filter(|message| message.is_object()) {
        Some(message) if is_whole => message_pieces(message, &mut add),
        Some(message) => repeated_pieces(message, said, each),
        None => {}
    }
}

/// A whole message in a stream. Behind pieces it repeats them; behind another message it has more
/// than that, or goes on from there.
fn repeated_pieces(message: &Value, said: &mut Said, each: &mut dyn FnMut(Piece<'_>)) {
    let (mut text, mut reasoning) = (String::new(), String::new());
    let has_calls = said.calls;
    let mut calls = false;
    message_pieces(message, &mut |piece| match piece {
        Piece::Text(part) | Piece::Refusal(part) => text.push_str(part),
        Piece::Reasoning(part) => reasoning.push_str(part),
        other if !has_calls => {
            calls |= matches!(other, Piece::Tool { .. });
            each(other);
        }
        _ => {}
    });
    said.calls |= calls;
    if !said.reasoning
        && let Some(new) = news(&reasoning, &mut said.message.1)
    {
        each(Piece::Reasoning(&new));
    }
    if !said.text
        && let Some(new) = news(&text, &mut said.message.0)
    {
        each(Piece::Text(&new));
    }
}

/// What a text has beyond the one before it, if it begins with that; else all of it.
fn news(text: &str, before: &mut String) -> Option<String> {
    let new = text.strip_prefix(before.as_str()).unwrap_or(text);
    let new = (!new.is_empty()).then(|| new.to_owned());
    if new.is_some() {
        text.clone_into(before);
    }
    new
}

fn message_pieces(message: &Value, each: &mut dyn FnMut(Piece<'_>)) {
    let Some(said) = message.as_object() else {
        return;
    };
    if let Some(text) = reasoning_of(said) {
        each(Piece::Reasoning(&text));
    }
    if let Some(content) = field(said, "content") {
        content_pieces(content, each);
    }
    if let Some(text) = text_of(message, "refusal") {
        each(Piece::Refusal(text));
    }
    if let Some(audio) = field(said, "audio") {
        match text_of(audio, "transcript") {
            Some(text) => each(Piece::Text(text)),
            None if text_of(audio, "data").is_some() => each(Piece::Bare),
            None => {}
        }
    }
    if !list(field(said, "images")).is_empty() {
        each(Piece::Bare);
    }
    for (at, call) in list(field(said, "tool_calls")).iter().enumerate() {
        let index = match call.get("index") {
            Some(_) => index_of(call, "index"),
            None => at as u64,
        };
        if let Some(id) = text_of(call, "id") {
            each(Piece::Call {
                index,
                id,
                name: "",
            });
        }
        if let Some(function) = call.get("function") {
            function_piece(index, function, each);
        }
    }
    // The older form: one call, without a list.
    if let Some(function) = field(said, "function_call") {
        function_piece(0, function, each);
    }
}

/// The reasoning of a message, in the first of its places that has any: servers repeat it under
/// several names, and an empty one must not hide another.
fn reasoning_of(said: &Map<String, Value>) -> Option<String> {
    const PLACES: [&str; 8] = [
        "reasoning_content",
        "reasoning",
        "reasoning_text",
        "reasoning_details",
        "thinking",
        "thinking_blocks",
        "thinking_content",
        "thought",
    ];
    let mut found = PLACES.iter().filter_map(|place| field(said, place));
    found.find_map(|value| {
        let text = nested_text(value);
        (!text.is_empty()).then_some(text)
    })
}

/// The text in a value that may be a text, a part with one, or a list of these.
fn nested_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(nested_text).collect(),
        Value::Object(fields) => {
            let places = ["text", "thinking", "reasoning", "content", "summary"].iter();
            let mut texts = places
                .filter_map(|place| fields.get(*place))
                .map(nested_text);
            texts.find(|text| !text.is_empty()).unwrap_or_default()
        }
        _ => String::new(),
    }
}

/// A content: a text, or parts of several kinds.
fn content_pieces(content: &Value, each: &mut dyn FnMut(Piece<'_>)) {
    let parts = match content {
        Value::String(text) => {
            if !text.is_empty() {
                each(Piece::Text(text));
            }
            return;
        }
        Value::Array(parts) => parts.as_slice(),
        part @ Value::Object(_) => std::slice::from_ref(part),
        _ => return,
    };
    for (at, part) in parts.iter().enumerate() {
        let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
        match kind {
            "text" | "output_text" => {
                let text = nested_text(part);
                if !text.is_empty() {
                    each(Piece::Text(&text));
                }
            }
            "refusal" => {
                let text = text_of(part, "refusal").or_else(|| text_of(part, "text"));
                text.into_iter().for_each(|text| each(Piece::Refusal(text)));
            }
            "tool_use" | "tool_call" => {
                let function = json!({"name": part.get("name"), "arguments": part.get("input")});
                function_piece(at as u64, &function, each);
            }
            "image" | "image_url" | "output_image" | "audio" | "output_audio" | "video" => {
                each(Piece::Bare);
            }
            kind if kind.starts_with("thinking")
                || kind.starts_with("reasoning")
                || kind.starts_with("thought") =>
            {
                let text = nested_text(part);
                if !text.is_empty() {
                    each(Piece::Reasoning(&text));
                }
            }
            _ => {}
        }
    }
}

/// Arguments are a text of JSON, or by some servers the JSON itself.
fn function_piece(index: u64, function: &Value, each: &mut dyn FnMut(Piece<'_>)) {
    let name = text_of(function, "name").unwrap_or_default();
    let arguments = match function.get("arguments") {
        Some(Value::String(text)) => Cow::Borrowed(text.as_str()),
        Some(object @ (Value::Object(_) | Value::Array(_))) => Cow::Owned(object.to_string()),
        _ => Cow::Borrowed(""),
    };
    if !name.is_empty() || !arguments.is_empty() {
        each(Piece::Tool {
            index,
            name,
            arguments,
        });
    }
}

/// The assistant's message: its content, or its reasoning when it has no content; with tool calls
/// a content of null stands for none.
pub(super) fn turn(spoken: &AssistantTurn, into: &mut Vec<u8>) -> bool {
    let has_calls = !spoken.calls.is_empty();
    let text = if spoken.text.is_empty() && !has_calls {
        &spoken.reasoning
    } else {
        &spoken.text
    };
    if text.is_empty() && !has_calls {
        return false;
    }
    into.extend_from_slice(br#"{"role":"assistant","content":"#);
    if text.is_empty() {
        into.extend_from_slice(b"null");
    } else {
        into.push(b'"');
        into.extend_from_slice(text);
        into.push(b'"');
    }
    if has_calls {
        let calls = spoken.calls.iter().map(|call| {
            let function = json!({"name": call.name, "arguments": call.arguments});
            let mut fields = Map::new();
            if !call.id.is_empty() {
                put(&mut fields, "id", call.id.as_str());
            }
            put(&mut fields, "type", "function");
            put(&mut fields, "function", function);
            Value::Object(fields)
        });
        into.extend_from_slice(br#","tool_calls":"#);
        put_json(&calls.collect(), into);
    }
    into.push(b'}');
    true
}

#[cfg(test)]
mod tests {
    use super::super::answer::testing::{body, events};
    use super::super::assistant_turn::testing::turn as turn_of;
    use super::super::body::testing::{named, options, refused, text, written};
    use super::*;
    use crate::EndpointKind::Chat;
    use crate::ask::TurnContent;
    use pinfire_base::record::MarkKind::{
        Body as Whole, Content as Plain, Data, Done, Empty, Reasoning,
    };

    #[test]
    fn in_wire_order() {
        let plain = options(Chat, true, json!({}));
        assert_eq!(
            written(&plain, 0, text("hi \"you\"", Some(0))),
            r#"{"messages":[{"role":"user","content":"hi \"you\""}],"model":"m","stream":true,"max_completion_tokens":0,"stream_options":{"include_usage":true}}"#
        );
        let quiet = options(Chat, false, json!({"seed": 1}));
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
    fn extras_win_and_stay_unchanged() {
        let extra = json!({"model": "x", "stream_options": {"a": 1}});
        let shared = options(Chat, true, extra.clone());
        let own = json!({"model": "y"});
        let turn = Ask {
            extra: own.as_object(),
            ..text("p", None)
        };
        let body = shared.body(0, turn).unwrap();
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
            let body = options(Chat, streaming, extra).body(0, text("p", None));
            body.unwrap().get("stream_options").cloned()
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
    fn parts_of_every_kind_in_order() {
        let said = TurnContent {
            role: Some("tool".into()),
            texts: vec![named("", &["a", ""]), named("x", &["b"])],
            images: vec![named("", &["http://i/1", "data:image/png;base64,AA"])],
            audios: vec![named("", &["mp3,QUJD"])],
            videos: vec![named("", &["https://v/2", ""])],
            image_uuids: Vec::new(),
        };
        assert_eq!(
            written(
                &options(Chat, false, json!({})),
                0,
                Ask::of(Content::TurnContent(said))
            ),
            concat!(
                r#"{"messages":[{"role":"tool","content":[{"type":"text","text":"a"},"#,
                r#"{"type":"text","text":"b"},"#,
                r#"{"type":"image_url","image_url":{"url":"http://i/1"}},"#,
                r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}},"#,
                r#"{"type":"input_audio","input_audio":{"data":"QUJD","format":"mp3"}},"#,
                r#"{"type":"video_url","video_url":{"url":"https://v/2"}}]}],"#,
                r#""model":"m","stream":false}"#
            )
        );
        let cached = TurnContent {
            images: vec![named("", &["", "http://i"])],
            image_uuids: vec!["u1".into(), "u2".into()],
            ..TurnContent::default()
        };
        let body = written(
            &options(Chat, false, json!({})),
            0,
            Ask::of(Content::TurnContent(cached)),
        );
        assert!(body.contains(
            r#"[{"type":"image_url","image_url":{"url":""},"uuid":"u1"},{"type":"image_url","image_url":{"url":"http://i"},"uuid":"u2"}]"#
        ), "{body}");
        let empty = Ask::of(Content::TurnContent(TurnContent::default()));
        let body = written(&options(Chat, false, json!({})), 0, empty);
        assert!(body.contains(r#""content":"""#), "{body}");
    }

    #[test]
    fn local_files_are_refused_by_name() {
        for (images, audios, word) in [
            (vec![named("", &["cat.png"])], vec![], "cat.png"),
            (vec![], vec![named("", &["dog.wav"])], "dog.wav"),
        ] {
            let said = TurnContent {
                images,
                audios,
                ..TurnContent::default()
            };
            let error = refused(
                &options(Chat, true, json!({})),
                Ask::of(Content::TurnContent(said)),
            );
            assert!(error.starts_with("--endpoint-type chat: "), "{error}");
            assert!(error.contains(word) && error.contains("local"), "{error}");
        }
    }

    #[test]
    fn a_system_message_of_the_data_becomes_one_with_the_sessions() {
        let sent = |content: Value| {
            let ask = Ask {
                system: Some("S"),
                user_context: Some("U"),
                ..Ask::of(Content::Messages {
                    messages: vec![
                        json!({"role": "system", "content": content}),
                        json!({"role": "user", "content": "q"}),
                    ],
                    tools: None,
                })
            };
            let body = options(Chat, false, json!({})).body(0, ask).unwrap();
            assert_eq!(body.framing, 2);
            body["messages"].clone()
        };
        let rest = [
            json!({"role": "user", "content": "U"}),
            json!({"role": "user", "content": "q"}),
        ];
        let [context, question] = rest;
        assert_eq!(
            sent(json!("own")),
            json!([{"role": "system", "content": "S\n\nown"}, context, question])
        );
        assert_eq!(
            sent(json!([{"type": "text", "text": "own"}]))[0]["content"],
            json!([{"type": "text", "text": "S"}, {"type": "text", "text": "own"}])
        );
    }

    fn chunk(delta: &str) -> String {
        format!(r#"{{"object":"chat.completion.chunk","choices":[{{"index":0,"delta":{delta}}}]}}"#)
    }

    #[test]
    fn events_give_text_reasoning_and_calls() {
        let all = events(
            Chat,
            &[
                &chunk(r#"{"role":"assistant","content":""}"#),
                &chunk(r#"{"reasoning_content":"","reasoning":"hm"}"#),
                &chunk(r#"{"reasoning_content":"so","content":"a"}"#),
                &chunk(
                    r#"{"content":"b","tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":""}}]}"#,
                ),
                &chunk(r#"{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}"#),
                &chunk(r#"{"function_call":{"name":"g","arguments":"x"}}"#),
                r#"{"object":"chat.completion.chunk","choices":[],"usage":{"completion_tokens":3}}"#,
            ],
        );
        assert_eq!(all.output, "abf{}gx");
        assert_eq!(all.reasoning, "hmso");
        assert_eq!(
            all.with_content,
            [false, true, true, true, true, true, false]
        );
        assert_eq!(all.heard.usage.unwrap().completion, Some(3));
    }

    #[test]
    fn whole_bodies_and_foreign_objects() {
        let all = body(
            Chat,
            r#"{"object":"chat.completion","choices":[{"message":{"content":"hi","tool_calls":[{"id":"1","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":4}}"#,
        );
        assert_eq!(all.output, "hif{}");
        assert_eq!(all.finish, ["tool_calls"]);
        let foreign = r#"{"object":"response","choices":[{"message":{"content":"hi"}}]}"#;
        assert_eq!(body(Chat, foreign).with_content, [false]);
    }

    #[test]
    fn content_in_unusual_places() {
        for (delta, output, reasoning) in [
            (
                r#"{"content":[{"type":"text","text":" a"},{"type":"text","text":"b"}]}"#,
                " ab",
                "",
            ),
            (
                r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":" a"}]}]}"#,
                "",
                " a",
            ),
            (
                r#"{"content":[{"type":"thinking","thinking":"hm"},"x",{"type":"reference","reference_ids":[1]}]}"#,
                "x",
                "hm",
            ),
            (r#"{"content":{"type":"text","text":"a"}}"#, "a", ""),
            (
                r#"{"reasoning_details":[{"type":"reasoning.text","text":" a"},{"type":"reasoning.summary","summary":"b"}]}"#,
                "",
                " ab",
            ),
            (
                r#"{"reasoning":"a","reasoning_details":[{"type":"reasoning.text","text":"a"}]}"#,
                "",
                "a",
            ),
            (
                r#"{"thinking_blocks":[{"type":"thinking","thinking":"a","signature":"s"}]}"#,
                "",
                "a",
            ),
            (r#"{"reasoning":{"content":"a"}}"#, "", "a"),
            (r#"{"refusal":"I can't"}"#, "I can't", ""),
            (
                r#"{"content":[{"type":"refusal","refusal":"no"}]}"#,
                "no",
                "",
            ),
            (r#"{"audio":{"id":"x","transcript":"hi"}}"#, "hi", ""),
            (
                r#"{"tool_calls":[{"index":0,"function":{"name":"f","arguments":{"city":"Paris"}}}]}"#,
                r#"f{"city":"Paris"}"#,
                "",
            ),
            (
                r#"{"content":[{"type":"tool_use","name":"f","input":{"a":1}}]}"#,
                r#"f{"a":1}"#,
                "",
            ),
        ] {
            let all = events(Chat, &[&chunk(delta)]);
            assert_eq!(
                (&*all.output, &*all.reasoning),
                (output, reasoning),
                "{delta}"
            );
            assert_eq!(all.with_content, [true], "{delta}");
        }
        let image = chunk(r#"{"content":"","images":[{"type":"image_url"}]}"#);
        assert_eq!(events(Chat, &[&image]).with_content, [true]);
        let text = r#"{"object":"text_completion","choices":[{"index":0,"text":"a"}]}"#;
        assert_eq!(events(Chat, &[text]).output, "a");
    }

    #[test]
    fn a_message_that_repeats_is_no_news() {
        let message = |text: &str| {
            format!(
                r#"{{"object":"chat.completion","choices":[{{"index":0,"message":{{"content":"{text}"}},"finish_reason":"stop"}}]}}"#
            )
        };
        let delta = |text: &str| chunk(&format!(r#"{{"content":"{text}"}}"#));
        let all = events(Chat, &[&delta(" a"), &delta(" b"), &message(" a b")]);
        assert_eq!(all.output, " a b");
        assert_eq!(all.with_content, [true, true, false]);
        assert_eq!(all.finish, ["stop"]);
        // Without pieces before it, it is the answer; what grows is counted once.
        assert_eq!(events(Chat, &[&message("a b")]).output, "a b");
        let grown = events(Chat, &[&message("a"), &message("a b"), &message("a b")]);
        assert_eq!(grown.output, "a b");
        assert_eq!(grown.with_content, [true, true, false]);
        assert_eq!(events(Chat, &[&message("a"), &message(" b")]).output, "a b");
        // Reasoning came in pieces, the content in a message.
        let thought = chunk(r#"{"reasoning":"hm"}"#);
        assert_eq!(events(Chat, &[&thought, &message("a")]).output, "a");
    }

    #[test]
    fn an_error_of_a_choice_is_one() {
        let failed = r#"{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error","error":{"code":502,"message":"upstream"}}]}"#;
        let all = events(Chat, &[failed]);
        let error = all.heard.error.unwrap();
        assert_eq!((error.code, &*error.message), (Some(502), "upstream"));
        let none = chunk(r#"{"content":"a"}"#).replace(r#""index":0"#, r#""index":0,"error":{}"#);
        assert_eq!(events(Chat, &[&none]).heard.error, None);
    }

    #[test]
    fn the_turn_is_the_first_choice() {
        let of = |index: u64, text: &str| {
            chunk(&format!(r#"{{"content":"{text}"}}"#))
                .replace(r#""index":0"#, &format!(r#""index":{index}"#))
        };
        let (a, b) = (of(1, "b"), of(1, "d"));
        let got = turn_of(Chat, &[(Plain, "a"), (Data, &a), (Plain, "c"), (Data, &b)]);
        assert_eq!(got.unwrap()["content"], "ac");
        // Indices that count tokens are one choice.
        let (one, two) = (of(1, "b"), of(2, "c"));
        let got = turn_of(Chat, &[(Plain, "a"), (Data, &one), (Data, &two)]);
        assert_eq!(got.unwrap()["content"], "abc");
        let object = chunk(
            r#"{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":{"a":1}}}]}"#,
        );
        let got = turn_of(Chat, &[(Data, &object)]).unwrap();
        assert_eq!(got["tool_calls"][0]["function"]["arguments"], r#"{"a":1}"#);
    }

    #[test]
    fn the_turn_is_content_or_else_reasoning() {
        let got = turn_of(
            Chat,
            &[
                (Empty, ""),
                (Reasoning, "hm"),
                (Plain, "a\\n"),
                (Data, &chunk(r#"{"content":"b\""}"#)),
                (Done, ""),
            ],
        );
        assert_eq!(got, Some(json!({"role": "assistant", "content": "a\nb\""})));
        let got = turn_of(Chat, &[(Reasoning, "hm")]).unwrap();
        assert_eq!(got["content"], "hm");
        let whole = r#"{"choices":[{"message":{"role":"assistant","content":"x"}}]}"#;
        assert_eq!(turn_of(Chat, &[(Whole, whole)]).unwrap()["content"], "x");
        assert_eq!(turn_of(Chat, &[(Empty, ""), (Done, "")]), None);
        let failed = [(Plain, "a"), (Data, r#"{"error":{"message":"no"}}"#)];
        assert_eq!(turn_of(Chat, &failed), None);
    }

    #[test]
    fn calls_are_put_together_by_their_index() {
        let first = chunk(
            r#"{"tool_calls":[{"index":0,"id":"c0","type":"function","function":{"name":"lo","arguments":"{\"a\""}},{"index":1,"id":"c1","function":{"name":"g"}}]}"#,
        );
        let second = chunk(
            r#"{"tool_calls":[{"index":1,"function":{"arguments":"{}"}},{"index":0,"function":{"name":"ok","arguments":":1}"}}]}"#,
        );
        let calls = json!([
            {"id": "c0", "type": "function", "function": {"name": "look", "arguments": "{\"a\":1}"}},
            {"id": "c1", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ]);
        let got = turn_of(Chat, &[(Reasoning, "hm"), (Data, &first), (Data, &second)]);
        assert_eq!(
            got,
            Some(json!({"role": "assistant", "content": null, "tool_calls": calls}))
        );
        let older = chunk(r#"{"function_call":{"name":"g","arguments":"{}"}}"#);
        let got = turn_of(Chat, &[(Plain, "so"), (Data, &older)]).unwrap();
        assert_eq!(got["content"], "so");
        assert_eq!(
            got["tool_calls"],
            json!([{"type": "function", "function": {"name": "g", "arguments": "{}"}}])
        );
    }
}
