//! Anthropic messages.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::answer::{Context, Heard, Piece, index_of, list, text_of};
use super::assistant_turn::{AssistantTurn, put_json};
use super::body::{Body, BodyError, BodyOptions, Forms, message, put};
use super::chat::behind;
use super::usage::Usage;
use crate::ask::{Ask, Content};

/// The output limit of a turn without one: the interface asks for one always.
const DEFAULT_LIMIT: u32 = 1024;

const FORMS: Forms = Forms {
    text: |text| json!({"type": "text", "text": text}),
    image: Some(|url, _| json!({"type": "image", "source": source(url)})),
    audio: None,
    video: None,
};

/// An image's source: inline data, or a URL.
fn source(url: &str) -> Value {
    let inline = url
        .strip_prefix("data:")
        .and_then(|rest| rest.split_once(','));
    match inline {
        Some((head, data)) => {
            let media_type = head.split(';').next().unwrap_or_default();
            json!({"type": "base64", "media_type": media_type, "data": data})
        }
        None => json!({"type": "url", "url": url}),
    }
}

pub(super) fn compose(options: &BodyOptions, n: usize, ask: Ask<'_>) -> Result<Body, BodyError> {
    let mut system = ask.system.map(Value::from);
    let (mut own, tools) = match ask.content {
        Content::TurnContent(said) => {
            let content = FORMS.content(&said, options.endpoint)?;
            let role = said.role.as_deref().unwrap_or("user");
            (vec![message(role, content)], None)
        }
        Content::Messages { messages, tools } => (messages, tools),
    };
    // A system message has its own place here, outside of the list.
    if own.first().is_some_and(|first| first["role"] == "system") {
        let first = own.remove(0);
        system = Some(match ask.system {
            Some(text) => behind(text, &first["content"]),
            None => first["content"].clone(),
        });
    }
    let context = ask.user_context.map(|text| message("user", text.into()));
    let framing = usize::from(context.is_some());
    let messages: Vec<Value> = context.into_iter().chain(own).collect();
    let mut fields = Map::new();
    put(&mut fields, "model", options.model(n));
    put(&mut fields, "messages", messages);
    put(
        &mut fields,
        "max_tokens",
        ask.max_tokens.unwrap_or(DEFAULT_LIMIT),
    );
    if options.streaming {
        put(&mut fields, "stream", true);
    }
    if let Some(system) = system {
        put(&mut fields, "system", system);
    }
    if let Some(tools) = tools {
        put(&mut fields, "tools", tools);
    }
    let limited = |extra: &Map<String, Value>| extra.contains_key("max_tokens");
    let limit_asked =
        ask.max_tokens.is_some() || limited(&options.extra) || ask.extra.is_some_and(limited);
    options.merge(&mut fields, ask.extra);
    Ok(Body {
        fields,
        framing,
        limit_asked,
    })
}

pub(super) fn read(
    document: &Value,
    context: &mut Context<'_>,
    each: &mut dyn FnMut(Piece<'_>),
) -> Heard {
    let mut heard = Heard::default();
    match document
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
    {
        // At the end of a stream it repeats what has come.
        "message" => {
            if !context.has_said() {
                for (at, block) in list(document.get("content")).iter().enumerate() {
                    block_pieces(at as u64, block, &mut |piece| {
                        context.said(0).note(&piece);
                        each(piece);
                    });
                }
            }
            heard = Heard::of(document);
            if let Some(reason) = text_of(document, "stop_reason") {
                each(Piece::Finish(reason));
            }
        }
        "message_start" => {
            heard.usage = usage(document.pointer("/message/usage"), context);
        }
        "message_delta" => {
            heard.usage = usage(document.get("usage"), context);
            let delta = document.get("delta");
            if let Some(reason) = delta.and_then(|delta| text_of(delta, "stop_reason")) {
                each(Piece::Finish(reason));
            }
        }
        "content_block_start" => {
            let index = index_of(document, "index");
            match document.get("content_block") {
                Some(block) if block["type"] == "tool_use" => each(Piece::Call {
                    index,
                    id: text_of(block, "id").unwrap_or_default(),
                    name: text_of(block, "name").unwrap_or_default(),
                }),
                // Mostly empty; some servers begin with the first words here.
                Some(block) => block_pieces(index, block, &mut |piece| {
                    context.said(0).note(&piece);
                    each(piece);
                }),
                None => {}
            }
        }
        "content_block_delta" => {
            if let Some(delta) = document.get("delta") {
                delta_piece(index_of(document, "index"), delta, &mut |piece| {
                    context.said(0).note(&piece);
                    each(piece);
                });
            }
        }
        _ => {}
    }
    heard
}

fn delta_piece(index: u64, delta: &Value, each: &mut dyn FnMut(Piece<'_>)) {
    let piece = match delta["type"].as_str() {
        Some("text_delta") => text_of(delta, "text").map(Piece::Text),
        Some("thinking_delta") => text_of(delta, "thinking").map(Piece::Reasoning),
        Some("signature_delta") => text_of(delta, "signature").map(Piece::Signature),
        Some("input_json_delta") => text_of(delta, "partial_json").map(|text| Piece::Tool {
            index,
            name: "",
            arguments: Cow::Borrowed(text),
        }),
        _ => None,
    };
    piece.into_iter().for_each(each);
}

/// A block of a whole message.
fn block_pieces(index: u64, block: &Value, each: &mut dyn FnMut(Piece<'_>)) {
    match block["type"].as_str() {
        Some("text") => text_of(block, "text")
            .into_iter()
            .for_each(|text| each(Piece::Text(text))),
        Some("thinking") => {
            if let Some(text) = text_of(block, "thinking") {
                each(Piece::Reasoning(text));
            }
            if let Some(text) = text_of(block, "signature") {
                each(Piece::Signature(text));
            }
        }
        Some("tool_use") => {
            each(Piece::Call {
                index,
                id: text_of(block, "id").unwrap_or_default(),
                name: "",
            });
            let input = block.get("input").filter(|input| !input.is_null());
            let arguments = input.map_or_else(String::new, Value::to_string);
            let name = text_of(block, "name").unwrap_or_default();
            if !name.is_empty() || !arguments.is_empty() {
                each(Piece::Tool {
                    index,
                    name,
                    arguments: Cow::Owned(arguments),
                });
            }
        }
        _ => {}
    }
}

/// The counts so far: each event has a part of them, and the later one wins.
fn usage(object: Option<&Value>, context: &mut Context<'_>) -> Option<Usage> {
    let later = object?.as_object().filter(|fields| !fields.is_empty())?;
    for (key, value) in later {
        context.usage.insert(key.clone(), value.clone());
    }
    Some(Usage::of_fields(&context.usage))
}

/// Text alone, or blocks: thinking, text, tool calls.
pub(super) fn turn(spoken: &AssistantTurn, into: &mut Vec<u8>) -> bool {
    let text = |into: &mut Vec<u8>| {
        into.push(b'"');
        into.extend_from_slice(&spoken.text);
        into.push(b'"');
    };
    into.extend_from_slice(br#"{"role":"assistant","content":"#);
    if spoken.reasoning.is_empty() && spoken.calls.is_empty() {
        text(into);
        into.push(b'}');
        return !spoken.text.is_empty();
    }
    into.push(b'[');
    let mut separate = {
        let mut first = true;
        move |into: &mut Vec<u8>| {
            if !std::mem::take(&mut first) {
                into.push(b',');
            }
        }
    };
    if !spoken.reasoning.is_empty() {
        separate(into);
        into.extend_from_slice(br#"{"type":"thinking","thinking":""#);
        into.extend_from_slice(&spoken.reasoning);
        into.push(b'"');
        if !spoken.signature.is_empty() {
            into.extend_from_slice(br#","signature":"#);
            put_json(&spoken.signature.as_str().into(), into);
        }
        into.push(b'}');
    }
    if !spoken.text.is_empty() {
        separate(into);
        into.extend_from_slice(br#"{"type":"text","text":"#);
        text(into);
        into.push(b'}');
    }
    for call in &spoken.calls {
        separate(into);
        let input = match call.arguments.as_str() {
            "" => json!({}),
            text => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        };
        let block = json!({
            "type": "tool_use", "id": call.id, "name": call.name, "input": input,
        });
        put_json(&block, into);
    }
    into.extend_from_slice(b"]}");
    true
}

#[cfg(test)]
mod tests {
    use super::super::answer::testing::{body, events};
    use super::super::assistant_turn::testing::turn as turn_of;
    use super::super::body::testing::{named, options, refused, text, written};
    use super::*;
    use crate::EndpointKind::Messages;
    use crate::ask::TurnContent;
    use pinfire_base::record::MarkKind::{Body as Whole, Data};

    #[test]
    fn in_wire_order() {
        let framed = Ask {
            system: Some("s"),
            user_context: Some("u"),
            ..text("hi", None)
        };
        assert_eq!(
            written(&options(Messages, true, json!({"top_k": 5})), 0, framed),
            concat!(
                r#"{"model":"m","messages":[{"role":"user","content":"u"},{"role":"user","content":"hi"}],"#,
                r#""max_tokens":1024,"stream":true,"system":"s","top_k":5}"#
            )
        );
        let whole = options(Messages, false, json!({}));
        assert_eq!(
            written(&whole, 0, text("hi", Some(7))),
            r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":7}"#
        );
        assert!(whole.body(0, text("hi", Some(7))).unwrap().limit_asked);
        assert!(!whole.body(0, text("hi", None)).unwrap().limit_asked);
    }

    #[test]
    fn images_are_inline_or_by_url() {
        let said = TurnContent {
            texts: vec![named("", &["a"])],
            images: vec![named("", &["data:image/png;base64,QQ", "http://i"])],
            ..TurnContent::default()
        };
        let plain = options(Messages, false, json!({}));
        let body = written(&plain, 0, Ask::of(Content::TurnContent(said)));
        assert!(
            body.contains(concat!(
                r#"[{"type":"text","text":"a"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"QQ"}},"#,
                r#"{"type":"image","source":{"type":"url","url":"http://i"}}]"#
            )),
            "{body}"
        );
        for (said, word) in [
            (
                TurnContent {
                    audios: vec![named("", &["wav,QQ"])],
                    ..TurnContent::default()
                },
                "no audio",
            ),
            (
                TurnContent {
                    videos: vec![named("", &["http://v"])],
                    ..TurnContent::default()
                },
                "no videos",
            ),
        ] {
            assert!(refused(&plain, Ask::of(Content::TurnContent(said))).contains(word));
        }
    }

    #[test]
    fn a_system_message_leaves_the_list() {
        let sent = |system, content: Value| {
            let ask = Ask {
                system,
                ..Ask::of(Content::Messages {
                    messages: vec![
                        json!({"role": "system", "content": content}),
                        json!({"role": "user", "content": "q"}),
                    ],
                    tools: Some(vec![json!({"name": "f"})]),
                })
            };
            let body = options(Messages, false, json!({})).body(0, ask).unwrap();
            assert_eq!(body["messages"], json!([{"role": "user", "content": "q"}]));
            assert_eq!(body["tools"], json!([{"name": "f"}]));
            body["system"].clone()
        };
        assert_eq!(sent(None, json!("own")), json!("own"));
        assert_eq!(sent(Some("S"), json!("own")), json!("S\n\nown"));
        assert_eq!(
            sent(Some("S"), json!([{"type": "text", "text": "own"}])),
            json!([{"type": "text", "text": "S"}, {"type": "text", "text": "own"}])
        );
    }

    const STREAM: [&str; 12] = [
        r#"{"type":"message_start","message":{"id":"x","content":[],"usage":{"input_tokens":5,"cache_read_input_tokens":90,"output_tokens":1}}}"#,
        r#"{"type":"ping"}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"sig"}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"a\"b"}}"#,
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"t1","name":"f","input":{}}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"q\":"}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"1}"}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":9}}"#,
        r#"{"type":"message_stop"}"#,
    ];

    #[test]
    fn events_and_their_usage_in_two_parts() {
        let all = events(Messages, &STREAM);
        assert_eq!(all.output, "a\"b{\"q\":1}");
        assert_eq!(all.reasoning, "hm");
        let with_content: Vec<usize> = (0..12).filter(|&at| all.with_content[at]).collect();
        assert_eq!(with_content, [3, 5, 8, 9]);
        let usage = all.heard.usage.unwrap();
        assert_eq!((usage.prompt, usage.completion), (Some(95), Some(9)));
        assert_eq!(all.finish, ["tool_use"]);
        let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#;
        assert_eq!(
            events(Messages, &[error]).heard.error.unwrap().message,
            "busy"
        );
    }

    const WHOLE: &str = r#"{"type":"message","role":"assistant","content":[
        {"type":"thinking","thinking":"hm","signature":"sig"},{"type":"text","text":"hi"},
        {"type":"tool_use","id":"t1","name":"f","input":{"b":1, "a":2}}],
        "stop_reason":"tool_use","usage":{"input_tokens":2,"output_tokens":3}}"#;

    #[test]
    fn a_whole_message() {
        let all = body(Messages, WHOLE);
        assert_eq!(all.output, r#"hif{"b":1,"a":2}"#);
        assert_eq!(all.reasoning, "hm");
        assert_eq!(all.heard.usage.unwrap().completion, Some(3));
    }

    #[test]
    fn the_turn_is_text_or_blocks() {
        let marks: Vec<_> = STREAM.iter().map(|event| (Data, *event)).collect();
        let blocks = json!({"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "text", "text": "a\"b"},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"q": 1}},
        ]});
        assert_eq!(turn_of(Messages, &marks), Some(blocks));
        assert_eq!(
            turn_of(Messages, &marks[5..6]),
            Some(json!({"role": "assistant", "content": "a\"b"}))
        );
        // Arguments that are cut off stay text.
        let cut = turn_of(Messages, &marks[6..9]).unwrap();
        assert_eq!(cut["content"][0]["input"], json!("{\"q\":"));
        assert_eq!(turn_of(Messages, &marks[..2]), None);
        let whole = turn_of(Messages, &[(Whole, WHOLE)]).unwrap();
        assert_eq!(whole["content"][2]["input"], json!({"b": 1, "a": 2}));
        assert_eq!(whole["content"][2]["name"], "f");
    }
}
