//! OpenAI text completions.

use serde_json::{Map, Value};

use super::answer::{Context, Heard, Piece};
use super::body::{Body, BodyError, BodyOptions, plain, put};
use super::chat::choices;
use crate::ask::Ask;

pub(super) fn compose(options: &BodyOptions, n: usize, ask: Ask<'_>) -> Result<Body, BodyError> {
    let said = options.said_in_text(ask.content)?;
    let texts: Vec<&str> = said.all_texts().collect();
    let mut fields = Map::new();
    match texts[..] {
        [one] => put(&mut fields, "prompt", one),
        _ => put(&mut fields, "prompt", texts),
    }
    put(&mut fields, "model", options.model(n));
    put(&mut fields, "stream", options.streaming);
    if let Some(limit) = ask.max_tokens.filter(|&limit| limit > 0) {
        put(&mut fields, "max_tokens", limit);
    }
    options.merge(&mut fields, ask.extra);
    options.ask_for_usage(&mut fields);
    Ok(plain(fields))
}

pub(super) fn read(
    document: &Value,
    context: &mut Context<'_>,
    each: &mut dyn FnMut(Piece<'_>),
) -> Heard {
    choices(document, context, each)
}

#[cfg(test)]
mod tests {
    use super::super::answer::testing::events;
    use super::super::body::testing::{named, options, refused, text, written};
    use super::*;
    use crate::EndpointKind::Completions;
    use crate::ask::{Content, TurnContent};
    use serde_json::json;

    #[test]
    fn in_wire_order() {
        let plain = options(Completions, true, json!({}));
        assert_eq!(
            written(&plain, 0, text("p", Some(5))),
            r#"{"prompt":"p","model":"m","stream":true,"max_tokens":5,"stream_options":{"include_usage":true}}"#
        );
        let zero = written(&plain, 0, text("p", Some(0)));
        assert!(!zero.contains("max_tokens"), "{zero}");
        let two = TurnContent {
            texts: vec![named("", &["a", "b"])],
            ..TurnContent::default()
        };
        let two = written(&plain, 0, Ask::of(Content::TurnContent(two)));
        assert!(two.starts_with(r#"{"prompt":["a","b"],"#), "{two}");
    }

    #[test]
    fn no_messages_and_no_media() {
        let plain = options(Completions, true, json!({}));
        let ready = Content::Messages {
            messages: vec![],
            tools: None,
        };
        let error = refused(&plain, Ask::of(ready));
        assert!(
            error.contains("completions") && error.contains("chat"),
            "{error}"
        );
        let image = TurnContent {
            images: vec![named("", &["http://i"])],
            ..TurnContent::default()
        };
        assert!(refused(&plain, Ask::of(Content::TurnContent(image))).contains("no images"));
    }

    #[test]
    fn texts_of_every_choice() {
        let all = events(
            Completions,
            &[
                r#"{"object":"text_completion","choices":[{"text":"a","index":0}]}"#,
                r#"{"object":"completion","choices":[{"text":"b","finish_reason":"stop"}]}"#,
                r#"{"object":"text_completion","choices":[{"text":"c","index":1}]}"#,
                r#"{"object":"chat.ping","choices":[{"text":"no"}]}"#,
            ],
        );
        assert_eq!(all.output, "abc");
        assert_eq!(all.with_content, [true, true, true, false]);
        assert_eq!(all.finish, ["stop"]);
    }
}
