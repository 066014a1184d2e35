//! Hugging Face's Text Generation Inference.

use serde_json::{Map, Value};

use super::answer::{Context, Heard, Piece, text_of};
use super::body::{Body, BodyError, BodyOptions, plain, put};
use crate::ask::Ask;

/// The run's extras are parameters; the turn's go to the top.
pub(super) fn compose(options: &BodyOptions, _: usize, ask: Ask<'_>) -> Result<Body, BodyError> {
    let said = options.said_in_text(ask.content)?;
    let texts: Vec<&str> = said.all_texts().collect();
    let mut parameters = Map::new();
    if let Some(limit) = ask.max_tokens {
        put(&mut parameters, "max_new_tokens", limit);
    }
    options.merge(&mut parameters, None);
    let mut fields = Map::new();
    put(&mut fields, "inputs", texts.join(" "));
    put(&mut fields, "parameters", parameters);
    for (key, value) in ask.extra.into_iter().flatten() {
        fields.insert(key.clone(), value.clone());
    }
    Ok(plain(fields))
}

/// A body has the text; an event has one token of it, and the last event repeats all of it. Token
/// counts are in the details.
pub(super) fn read(
    document: &Value,
    context: &mut Context<'_>,
    each: &mut dyn FnMut(Piece<'_>),
) -> Heard {
    let first = document.get(0).unwrap_or(document);
    let token = first.get("token");
    let text = match token {
        Some(token) => text_of(token, "text"),
        None if context.has_said() => None,
        None => text_of(first, "generated_text"),
    };
    if let Some(text) = text {
        context.said(0).text = true;
        each(Piece::Text(text));
    }
    let details = first.get("details");
    if let Some(reason) = details.and_then(|details| text_of(details, "finish_reason")) {
        each(Piece::Finish(reason));
    }
    Heard::of(first)
}

#[cfg(test)]
mod tests {
    use super::super::answer::testing::{body, events};
    use super::super::body::testing::{named, options, text, written};
    use super::*;
    use crate::EndpointKind::HuggingfaceGenerate;
    use crate::ask::{Content, TurnContent};
    use serde_json::json;

    #[test]
    fn extras_are_parameters() {
        let plain = options(HuggingfaceGenerate, true, json!({"top_k": 5}));
        let own = json!({"tag": 1});
        let said = TurnContent {
            texts: vec![named("", &["a", "", "b"])],
            ..TurnContent::default()
        };
        let ask = Ask {
            max_tokens: Some(9),
            extra: own.as_object(),
            ..Ask::of(Content::TurnContent(said))
        };
        assert_eq!(
            written(&plain, 0, ask),
            r#"{"inputs":"a b","parameters":{"max_new_tokens":9,"top_k":5},"tag":1}"#
        );
        let none = options(HuggingfaceGenerate, false, json!({}));
        assert_eq!(
            written(&none, 0, text("a", None)),
            r#"{"inputs":"a","parameters":{}}"#
        );
    }

    #[test]
    fn tokens_and_never_the_text_that_repeats_them() {
        let all = events(
            HuggingfaceGenerate,
            &[
                r#"{"index":1,"token":{"text":" a"},"generated_text":null}"#,
                r#"{"index":2,"token":{"text":" b"},"generated_text":" a b","details":{}}"#,
            ],
        );
        assert_eq!(all.output, " a b");
        assert_eq!(all.with_content, [true, true]);
        for whole in [r#"{"generated_text":"ab"}"#, r#"[{"generated_text":"ab"}]"#] {
            assert_eq!(body(HuggingfaceGenerate, whole).output, "ab");
        }
        let counted = r#"{"token":{"text":" c"},"generated_text":" a b c","details":{"finish_reason":"length","generated_tokens":3,"input_length":7}}"#;
        let counted = events(HuggingfaceGenerate, &[counted]);
        let usage = counted.heard.usage.unwrap();
        assert_eq!((usage.prompt, usage.completion), (Some(7), Some(3)));
        assert_eq!(counted.finish, ["length"]);
        let error = r#"{"error":"overloaded","error_type":"overloaded"}"#;
        let error = body(HuggingfaceGenerate, error).heard.error.unwrap();
        assert_eq!(error.message, "overloaded");
    }
}
