//! Embeddings, of texts and of chat messages. Their answers are numbers: content without text.

use serde_json::{Map, Value};

use super::answer::{Context, Heard, Piece, list};
use super::body::{Body, BodyError, BodyOptions, plain, put};
use super::chat;
use super::detect::is_vectors;
use crate::ask::Ask;

/// The input is a list always. There is no output, and no limit of it.
pub(super) fn compose(options: &BodyOptions, n: usize, ask: Ask<'_>) -> Result<Body, BodyError> {
    let said = options.said_in_text(ask.content)?;
    let texts: Vec<&str> = said.all_texts().collect();
    let mut fields = Map::new();
    put(&mut fields, "model", options.model(n));
    put(&mut fields, "input", texts);
    options.merge(&mut fields, ask.extra);
    Ok(plain(fields))
}

/// The messages of a chat, without what only an answer in words needs.
pub(super) fn compose_chat(
    options: &BodyOptions,
    n: usize,
    ask: Ask<'_>,
) -> Result<Body, BodyError> {
    let extra = ask.extra;
    let messages = chat::messages(options, ask)?;
    let mut fields = Map::new();
    put(&mut fields, "messages", messages.all);
    put(&mut fields, "model", options.model(n));
    options.merge(&mut fields, extra);
    Ok(Body {
        fields,
        framing: messages.framing,
        limit_asked: true,
    })
}

fn is_embedding(item: &Value) -> bool {
    item["object"] == "embedding"
}

/// Every item must be an embedding.
pub(super) fn read(
    document: &Value,
    _: &mut Context<'_>,
    each: &mut dyn FnMut(Piece<'_>),
) -> Heard {
    let data = list(document.get("data"));
    if !data.is_empty() && data.iter().all(is_embedding) {
        each(Piece::Bare);
    }
    Heard::of(document)
}

/// The first item decides.
pub(super) fn read_chat(
    document: &Value,
    _: &mut Context<'_>,
    each: &mut dyn FnMut(Piece<'_>),
) -> Heard {
    let listed = list(document.get("data")).first().is_some_and(is_embedding);
    let fields = ["embeddings", "embedding"];
    if listed
        || fields
            .iter()
            .any(|key| document.get(*key).is_some_and(is_vectors))
    {
        each(Piece::Bare);
    }
    Heard::of(document)
}

#[cfg(test)]
mod tests {
    use super::super::answer::testing::body;
    use super::super::body::testing::{named, options, text, written};
    use super::*;
    use crate::EndpointKind::{ChatEmbeddings, Embeddings};
    use crate::ask::{Content, TurnContent};
    use serde_json::json;

    #[test]
    fn a_list_always_and_no_stream() {
        let plain = options(Embeddings, false, json!({"dimensions": 5}));
        assert_eq!(
            written(&plain, 0, text("a", Some(9))),
            r#"{"model":"m","input":["a"],"dimensions":5}"#
        );
    }

    #[test]
    fn chat_embeddings_have_messages() {
        let said = TurnContent {
            texts: vec![named("", &["a"])],
            images: vec![named("", &["http://i"])],
            ..TurnContent::default()
        };
        let ask = Ask {
            system: Some("s"),
            max_tokens: Some(9),
            ..Ask::of(Content::TurnContent(said))
        };
        assert_eq!(
            written(&options(ChatEmbeddings, false, json!({})), 0, ask),
            concat!(
                r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":["#,
                r#"{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"http://i"}}]}],"#,
                r#""model":"m"}"#
            )
        );
    }

    #[test]
    fn answers() {
        let good = r#"{"object":"list","data":[{"object":"embedding","embedding":[0.5]}],"usage":{"prompt_tokens":3}}"#;
        let all = body(Embeddings, good);
        assert_eq!((all.with_content, all.output.as_str()), (vec![true], ""));
        assert_eq!(all.heard.usage.unwrap().prompt, Some(3));
        let mixed = r#"{"data":[{"object":"embedding"},{"object":"other"}]}"#;
        assert_eq!(body(Embeddings, mixed).with_content, [false]);
        assert_eq!(body(ChatEmbeddings, mixed).with_content, [true]);
        assert_eq!(body(Embeddings, r#"{"data":[]}"#).with_content, [false]);
        let field = r#"{"embeddings":[[1,2]]}"#;
        assert_eq!(body(ChatEmbeddings, field).with_content, [true]);
        assert_eq!(body(Embeddings, field).with_content, [false]);
    }
}
