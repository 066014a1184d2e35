//! What an answer adds to the history of its conversation.
//!
//! Runs once per turn of a conversation of several, never for single requests. The text of usual
//! events is JSON already, so it is copied; only unusual events and whole bodies are parsed.

use serde_json::Value;

use crate::record::{MarkKind, Transcript};

/// Appends the assistant message of a whole answer: its content, or its reasoning when it has no
/// content. False, and nothing is appended, when it has neither.
pub fn assistant_message(transcript: &Transcript, into: &mut Vec<u8>) -> bool {
    let start = into.len();
    into.extend_from_slice(br#"{"role":"assistant","content":""#);
    let text = into.len();
    for wanted in [Part::Content, Part::Reasoning] {
        for event in transcript.iter() {
            match (event.kind, wanted) {
                (MarkKind::Content, Part::Content) | (MarkKind::Reasoning, Part::Reasoning) => {
                    into.extend_from_slice(event.bytes);
                }
                (MarkKind::Data | MarkKind::Body, _) => append_parsed(event.bytes, wanted, into),
                _ => {}
            }
        }
        if into.len() > text {
            into.extend_from_slice(br#""}"#);
            return true;
        }
    }
    into.truncate(start);
    false
}

/// Whether an unusual event carries a token.
pub(super) fn has_content(bytes: &[u8]) -> bool {
    let mut text = Vec::new();
    append_parsed(bytes, Part::Content, &mut text);
    append_parsed(bytes, Part::Reasoning, &mut text);
    !text.is_empty() || calls_a_tool(bytes)
}

fn calls_a_tool(bytes: &[u8]) -> bool {
    serde_json::from_slice(bytes).is_ok_and(|event: Value| {
        let calls = &event["choices"][0]["delta"]["tool_calls"];
        calls.as_array().is_some_and(|calls| !calls.is_empty())
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Content,
    Reasoning,
}

/// Appends the text of an event or a body, as the inside of a JSON string.
fn append_parsed(bytes: &[u8], part: Part, into: &mut Vec<u8>) {
    let Ok(event) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    let choice = &event["choices"][0];
    let message = if choice["delta"].is_object() {
        &choice["delta"]
    } else {
        &choice["message"]
    };
    let fields: &[&Value] = match part {
        Part::Content => &[&message["content"], &choice["text"]],
        Part::Reasoning => &[&message["reasoning_content"], &message["reasoning"]],
    };
    let text = fields.iter().find_map(|field| field.as_str());
    if let Some(text) = text
        && let Ok(quoted) = serde_json::to_vec(text)
    {
        into.extend_from_slice(&quoted[1..quoted.len() - 1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Stamp;

    fn message(events: &[(MarkKind, &str)]) -> Option<Value> {
        let mut transcript = Transcript::default();
        for (kind, bytes) in events {
            transcript.push(Stamp::from_nanos(1), *kind, bytes.as_bytes());
        }
        let mut into = b"[".to_vec();
        let any = assistant_message(&transcript, &mut into);
        into.push(b']');
        let list: Value = serde_json::from_slice(&into).unwrap();
        assert_eq!(any, !list.as_array().unwrap().is_empty());
        any.then(|| list[0].clone())
    }

    #[test]
    fn content_goes_before_reasoning() {
        let got = message(&[
            (MarkKind::Empty, ""),
            (MarkKind::Reasoning, "hm"),
            (MarkKind::Content, "a\\n"),
            (
                MarkKind::Data,
                r#"{"choices":[{"delta":{"content":"b\""}}]}"#,
            ),
        ]);
        assert_eq!(got.unwrap()["content"], "a\nb\"");
        let got = message(&[(MarkKind::Reasoning, "hm")]);
        assert_eq!(got.unwrap()["content"], "hm");
        let body = r#"{"choices":[{"message":{"role":"assistant","content":"x"}}]}"#;
        assert_eq!(message(&[(MarkKind::Body, body)]).unwrap()["content"], "x");
        assert_eq!(
            message(&[(MarkKind::Empty, ""), (MarkKind::Done, "")]),
            None
        );
    }

    #[test]
    fn tokens_of_unusual_events() {
        assert!(has_content(br#"{"choices":[{"delta":{"content":"b"}}]}"#));
        assert!(has_content(
            br#"{"choices":[{"delta":{"tool_calls":[{"id":"x"}]}}]}"#
        ));
        assert!(!has_content(
            br#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#
        ));
        assert!(!has_content(
            br#"{"choices":[],"usage":{"prompt_tokens":1}}"#
        ));
        assert!(!has_content(b"rubbish"));
    }
}
