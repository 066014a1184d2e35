//! OpenAI responses.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::answer::{Context, Heard, Piece, Reported, Said, code_of, index_of, list, text_of};
use super::assistant_turn::{AssistantTurn, put_json};
use super::body::{Body, BodyError, BodyOptions, Forms, put};
use super::usage::Usage;
use crate::ask::{Ask, Content};

const FORMS: Forms = Forms {
    text: |text| json!({"type": "input_text", "text": text}),
    image: Some(|url, _| json!({"type": "input_image", "image_url": url})),
    audio: Some(
        |format, data| json!({"type": "input_audio", "input_audio": {"data": data, "format": format}}),
    ),
    video: None,
};

/// Output items that cannot be sent back as input.
const NOT_SENT_BACK: [&str; 6] = [
    "web_search_call",
    "file_search_call",
    "image_generation_call",
    "code_interpreter_call",
    "computer_call",
    "reasoning",
];

fn may_be_sent(item: &Value) -> bool {
    !item["type"]
        .as_str()
        .is_some_and(|kind| NOT_SENT_BACK.contains(&kind))
}

pub(super) fn compose(options: &BodyOptions, n: usize, ask: Ask<'_>) -> Result<Body, BodyError> {
    let (mut own, tools) = match ask.content {
        Content::TurnContent(said) => {
            let content = FORMS.content(&said, options.endpoint)?;
            let role = said.role.as_deref().unwrap_or("user");
            let item = json!({"role": role, "content": content, "type": "message"});
            (vec![item], None)
        }
        Content::Messages { messages, tools } => (messages, tools),
    };
    own.retain(may_be_sent);
    let context = ask
        .user_context
        .map(|text| json!({"type": "message", "role": "user", "content": text}));
    let framing = usize::from(context.is_some());
    let input: Vec<Value> = context.into_iter().chain(own).collect();
    let mut fields = Map::new();
    put(&mut fields, "input", input);
    put(&mut fields, "model", options.model(n));
    put(&mut fields, "stream", options.streaming);
    if let Some(text) = ask.system {
        put(&mut fields, "instructions", text);
    }
    if let Some(limit) = ask.max_tokens {
        put(&mut fields, "max_output_tokens", limit);
    }
    if let Some(tools) = tools {
        put(&mut fields, "tools", tools);
    }
    options.merge(&mut fields, ask.extra);
    if options.server_counts {
        options.ask_for_usage(&mut fields);
    }
    Ok(Body {
        fields,
        framing,
        limit_asked: true,
    })
}

pub(super) fn read(
    document: &Value,
    context: &mut Context<'_>,
    each: &mut dyn FnMut(Piece<'_>),
) -> Heard {
    let mut new = Said::default();
    let heard = read_one(document, context, &mut |piece| {
        new.note(&piece);
        each(piece);
    });
    let said = context.said(0);
    said.text |= new.text;
    said.reasoning |= new.reasoning;
    said.calls |= new.calls;
    heard
}

fn read_one(document: &Value, context: &mut Context<'_>, each: &mut dyn FnMut(Piece<'_>)) -> Heard {
    let has_said = context.has_said();
    match document.get("object").and_then(Value::as_str) {
        Some("response") => return whole(document, has_said, each),
        Some(_) => return Heard::default(),
        // A server that names no object is given the benefit of the doubt.
        None if context.whole => return whole(document, has_said, each),
        None => {}
    }
    let mut heard = Heard::default();
    let delta = || text_of(document, "delta");
    match document
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
    {
        "response.output_text.delta" => {
            if let Some(text) = delta() {
                context.begun.push(place(document));
                context.begun.dedup();
                each(Piece::Text(text));
            }
        }
        "response.refusal.delta" => {
            delta()
                .into_iter()
                .for_each(|text| each(Piece::Refusal(text)));
        }
        "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" => {
            delta()
                .into_iter()
                .for_each(|text| each(Piece::Reasoning(text)));
        }
        "response.function_call_arguments.delta" => {
            delta().into_iter().for_each(|text| {
                each(Piece::Tool {
                    index: index_of(document, "output_index"),
                    name: "",
                    arguments: Cow::Borrowed(text),
                });
            });
        }
        // It repeats the whole text: content only where none has come in pieces. Its time counts
        // either way.
        "response.output_text.done" => match text_of(document, "text") {
            _ if context.begun.contains(&place(document)) => each(Piece::Bare),
            Some(text) => each(Piece::Text(text)),
            None => {}
        },
        "response.output_item.done" => {
            document
                .get("item")
                .into_iter()
                .for_each(|item| each(Piece::Item(item)));
        }
        // An incomplete response (its limit was reached) ends with its usage as well.
        kind @ ("response.completed" | "response.incomplete") => {
            if let Some(response) = document.get("response") {
                heard.usage = Usage::in_response(response);
                finish(response, each);
                for (at, item) in list(response.get("output")).iter().enumerate() {
                    if kind == "response.completed" {
                        each(Piece::Item(item));
                    }
                    // Nothing has come in pieces: this is the answer.
                    if !has_said {
                        item_pieces(at as u64, item, each);
                    }
                }
            }
        }
        "response.failed" => {
            let error = document.pointer("/response/error").unwrap_or(&Value::Null);
            heard.error = Some(error_of(error, "the response failed"));
        }
        "error" => heard.error = Some(error_of(document, "the stream reports an error")),
        _ => {}
    }
    heard
}

fn error_of(error: &Value, otherwise: &str) -> Reported {
    Reported {
        code: code_of(error),
        message: text_of(error, "message").unwrap_or(otherwise).to_owned(),
    }
}

fn place(document: &Value) -> (u64, u64) {
    (
        index_of(document, "output_index"),
        index_of(document, "content_index"),
    )
}

/// Why it ended, if it says more than that it was completed or not.
fn finish(response: &Value, each: &mut dyn FnMut(Piece<'_>)) {
    let details = response.get("incomplete_details");
    let reason = details.and_then(|details| text_of(details, "reason"));
    if let Some(reason) = reason.or_else(|| text_of(response, "status")) {
        each(Piece::Finish(reason));
    }
}

/// A whole response; at the end of a stream it repeats what was said.
fn whole(document: &Value, has_said: bool, each: &mut dyn FnMut(Piece<'_>)) -> Heard {
    let mut heard = Heard::of(document);
    finish(document, each);
    if text_of(document, "status") == Some("failed") {
        heard.error = Some(error_of(&Value::Null, "the response failed"));
        return heard;
    }
    let mut said = has_said;
    for (at, item) in list(document.get("output")).iter().enumerate() {
        each(Piece::Item(item));
        if !has_said {
            said |= item_pieces(at as u64, item, each);
        }
    }
    if !said && let Some(text) = text_of(document, "output_text") {
        each(Piece::Text(text));
    }
    heard
}

fn item_pieces(index: u64, item: &Value, each: &mut dyn FnMut(Piece<'_>)) -> bool {
    let mut said = false;
    match item["type"].as_str() {
        Some("reasoning") => {
            let texts = |key: &str, kind: &str| -> Vec<&str> {
                let parts = list(item.get(key)).iter();
                let parts = parts.filter(|part| part["type"] == kind);
                parts.filter_map(|part| text_of(part, "text")).collect()
            };
            let mut found = texts("summary", "summary_text");
            if found.is_empty() {
                found = texts("content", "reasoning_text");
            }
            for text in found {
                each(Piece::Reasoning(text));
                said = true;
            }
        }
        Some("message") => {
            let parts = list(item.get("content")).iter();
            for part in parts {
                match part["type"].as_str() {
                    Some("output_text") => text_of(part, "text").into_iter().for_each(|text| {
                        each(Piece::Text(text));
                        said = true;
                    }),
                    Some("refusal") => text_of(part, "refusal").into_iter().for_each(|text| {
                        each(Piece::Refusal(text));
                        said = true;
                    }),
                    _ => {}
                }
            }
        }
        Some("function_call") => {
            let name = text_of(item, "name").unwrap_or_default();
            let arguments = text_of(item, "arguments").unwrap_or_default();
            if !name.is_empty() || !arguments.is_empty() {
                each(Piece::Tool {
                    index,
                    name,
                    arguments: Cow::Borrowed(arguments),
                });
                said = true;
            }
        }
        _ => {}
    }
    said
}

/// The output items, as they can be sent back; a message with the text where a server gave none.
pub(super) fn turn(spoken: &AssistantTurn, into: &mut Vec<u8>) -> bool {
    let items: Vec<&Value> = spoken
        .items
        .iter()
        .filter(|item| may_be_sent(item))
        .collect();
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            into.push(b',');
        }
        put_json(item, into);
    }
    if !items.is_empty() {
        return true;
    }
    let text = if spoken.text.is_empty() {
        &spoken.reasoning
    } else {
        &spoken.text
    };
    if text.is_empty() {
        return false;
    }
    into.extend_from_slice(br#"{"role":"assistant","content":""#);
    into.extend_from_slice(text);
    into.extend_from_slice(br#"","type":"message"}"#);
    true
}

#[cfg(test)]
mod tests {
    use super::super::answer::testing::{body, events};
    use super::super::assistant_turn::testing::turn as turn_of;
    use super::super::body::testing::{named, options, refused, text, written};
    use super::*;
    use crate::EndpointKind::Responses;
    use crate::ask::TurnContent;
    use pinfire_base::record::MarkKind::{Body as Whole, Data};

    #[test]
    fn in_wire_order() {
        let plain = options(Responses, true, json!({"seed": 1}));
        let framed = Ask {
            system: Some("s"),
            user_context: Some("u"),
            ..text("hi", Some(0))
        };
        assert_eq!(
            written(&plain, 1, framed),
            concat!(
                r#"{"input":[{"type":"message","role":"user","content":"u"},"#,
                r#"{"role":"user","content":"hi","type":"message"}],"model":"n","stream":true,"#,
                r#""instructions":"s","max_output_tokens":0,"seed":1}"#
            )
        );
        let counted = BodyOptions {
            server_counts: true,
            ..options(Responses, true, json!({}))
        };
        assert_eq!(
            written(&counted, 0, text("hi", None)),
            r#"{"input":[{"role":"user","content":"hi","type":"message"}],"model":"m","stream":true,"stream_options":{"include_usage":true}}"#
        );
        let whole = BodyOptions {
            streaming: false,
            ..counted
        };
        let whole = written(&whole, 0, text("hi", None));
        assert!(whole.ends_with(r#""stream":false}"#), "{whole}");
    }

    #[test]
    fn parts_have_their_own_names() {
        let said = TurnContent {
            texts: vec![named("", &["a"])],
            images: vec![named("", &["http://i"])],
            audios: vec![named("", &["wav,QQ"])],
            ..TurnContent::default()
        };
        let plain = options(Responses, false, json!({}));
        let body = written(&plain, 0, Ask::of(Content::TurnContent(said)));
        assert!(
            body.contains(concat!(
                r#"[{"type":"input_text","text":"a"},{"type":"input_image","image_url":"http://i"},"#,
                r#"{"type":"input_audio","input_audio":{"data":"QQ","format":"wav"}}]"#
            )),
            "{body}"
        );
        let video = TurnContent {
            videos: vec![named("", &["http://v"])],
            ..TurnContent::default()
        };
        assert!(refused(&plain, Ask::of(Content::TurnContent(video))).contains("no videos"));
    }

    #[test]
    fn items_that_cannot_be_sent_back_are_left_out() {
        let items = Content::Messages {
            messages: vec![
                json!({"type": "reasoning", "summary": []}),
                json!({"type": "function_call", "name": "f"}),
                json!({"role": "user", "content": "x"}),
            ],
            tools: Some(vec![json!({"type": "function"})]),
        };
        let body = options(Responses, false, json!({}))
            .body(0, Ask::of(items))
            .unwrap();
        assert_eq!(body["input"].as_array().unwrap().len(), 2);
        assert_eq!(body["tools"], json!([{"type": "function"}]));
    }

    const STREAM: [&str; 9] = [
        r#"{"type":"response.created","response":{"id":"r","object":"response","error":null,"output":[]}}"#,
        r#"{"type":"response.reasoning_text.delta","output_index":0,"content_index":0,"delta":"hm"}"#,
        r#"{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"a"}"#,
        r#"{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"b"}"#,
        r#"{"type":"response.output_text.done","output_index":1,"content_index":0,"text":"ab"}"#,
        r#"{"type":"response.output_text.done","output_index":2,"content_index":0,"text":"c"}"#,
        r#"{"type":"response.function_call_arguments.delta","output_index":3,"delta":"{}"}"#,
        r#"{"type":"response.output_item.done","output_index":1,"item":{"id":"m1","type":"message","role":"assistant","content":[{"type":"output_text","text":"ab"}]}}"#,
        r#"{"type":"response.completed","response":{"status":"completed","output":[{"id":"m1","type":"message"},{"id":"t","type":"reasoning"},{"call_id":"k","type":"function_call","name":"f","arguments":"{}"}],"usage":{"input_tokens":3,"output_tokens":5,"output_tokens_details":{"reasoning_tokens":1}}}}"#,
    ];

    #[test]
    fn typed_events() {
        let all = events(Responses, &STREAM);
        assert_eq!(all.output, "abc{}");
        assert_eq!(all.reasoning, "hm");
        assert_eq!(
            all.with_content,
            [false, true, true, true, true, true, true, false, false]
        );
        let usage = all.heard.usage.unwrap();
        assert_eq!(
            (usage.prompt, usage.completion, usage.reasoning),
            (Some(3), Some(5), Some(1))
        );
        let short = r#"{"type":"response.incomplete","response":{"status":"incomplete","usage":{"output_tokens":2}}}"#;
        assert_eq!(
            events(Responses, &[short]).heard.usage.unwrap().completion,
            Some(2)
        );
    }

    #[test]
    fn an_answer_that_comes_at_the_end_only() {
        let completed = r#"{"type":"response.completed","response":{"status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}]}}"#;
        let all = events(Responses, &[completed]);
        assert_eq!(
            (&*all.output, &*all.finish),
            ("hi", &["completed".to_owned()][..])
        );
        let declined = r#"{"type":"response.refusal.delta","delta":"no"}"#;
        assert_eq!(events(Responses, &[declined]).output, "no");
        let thought = r#"{"type":"response.reasoning_summary_text.delta","delta":"hm"}"#;
        assert_eq!(events(Responses, &[thought]).reasoning, "hm");
        let cut = r#"{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}}}"#;
        assert_eq!(events(Responses, &[cut]).finish, ["max_output_tokens"]);
    }

    #[test]
    fn chat_chunks_are_no_events_of_this_kind() {
        let foreign =
            r#"{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"x"}}]}"#;
        assert_eq!(events(Responses, &[foreign]).with_content, [false]);
    }

    #[test]
    fn failures_are_reported() {
        for (event, message) in [
            (
                r#"{"type":"response.failed","response":{"error":{"code":"server_error","message":"boom"}}}"#,
                "boom",
            ),
            (r#"{"type":"error","code":null,"message":"bang"}"#, "bang"),
            (r#"{"type":"response.failed"}"#, "the response failed"),
        ] {
            let all = events(Responses, &[event]);
            assert_eq!(all.heard.error.unwrap().message, message);
        }
    }

    #[test]
    fn a_whole_response() {
        let document = r#"{"object":"response","status":"completed","error":null,"output":[
            {"type":"reasoning","summary":[{"type":"summary_text","text":"hm"}]},
            {"type":"message","content":[{"type":"output_text","text":"hi"},{"type":"refusal","refusal":"!"}]},
            {"type":"function_call","name":"f","arguments":"{}"}],"usage":{"input_tokens":2}}"#;
        let all = body(Responses, document);
        assert_eq!(
            (all.output.as_str(), all.reasoning.as_str()),
            ("hi!f{}", "hm")
        );
        assert_eq!(all.heard.usage.unwrap().prompt, Some(2));
        let last = r#"{"object":"response","output":[],"output_text":"late"}"#;
        assert_eq!(body(Responses, last).output, "late");
        let nameless =
            r#"{"output":[{"type":"message","content":[{"type":"output_text","text":"x"}]}]}"#;
        assert_eq!(body(Responses, nameless).output, "x");
        let chat = r#"{"object":"chat.completion","choices":[{"message":{"content":"x"}}]}"#;
        assert_eq!(body(Responses, chat).with_content, [false]);
        let thought = r#"{"object":"response","output":[{"type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"t"}]}]}"#;
        assert_eq!(body(Responses, thought).reasoning, "t");
    }

    #[test]
    fn the_turn_is_the_output_once_each() {
        let marks: Vec<_> = STREAM.iter().map(|event| (Data, *event)).collect();
        assert_eq!(
            turn_of(Responses, &marks),
            Some(json!([
                {"id": "m1", "type": "message", "role": "assistant",
                    "content": [{"type": "output_text", "text": "ab"}]},
                {"call_id": "k", "type": "function_call", "name": "f", "arguments": "{}"},
            ]))
        );
        let failed = [marks[2], (Data, r#"{"type":"response.failed"}"#)];
        assert_eq!(turn_of(Responses, &failed), None);
        assert_eq!(
            turn_of(Responses, &marks[2..4]),
            Some(json!({"role": "assistant", "content": "ab", "type": "message"}))
        );
        let whole = r#"{"object":"response","output":[{"id":"m","type":"message","content":[]}]}"#;
        assert_eq!(
            turn_of(Responses, &[(Whole, whole)]),
            Some(json!({"id": "m", "type": "message", "content": []}))
        );
    }
}
