//! Rankings: a query and passages, in the forms of NIM, Cohere and Hugging Face.

use serde_json::{Map, Value, json};

use super::answer::{Context, Heard, Piece, list};
use super::body::{Body, BodyError, BodyOptions, plain, put};
use crate::ask::Ask;

/// A turn's named texts.
struct Named {
    query: String,
    passages: Vec<String>,
}

impl Named {
    fn of(options: &BodyOptions, ask: Ask<'_>) -> Result<Self, BodyError> {
        let name = options.endpoint.name();
        let said = options.said_in_text(ask.content)?;
        let (mut queries, mut passages) = (Vec::new(), Vec::new());
        for media in said.texts {
            match media.name.as_str() {
                "query" | "queries" => queries.extend(media.contents),
                "passages" => passages.extend(media.contents),
                "" => options.notes.add(format!(
                    "{name} needs texts named `query` and `passages`: texts without a name are left out"
                )),
                other => options.notes.add(format!(
                    "{name} needs texts named `query` and `passages`: those named `{other}` are left out"
                )),
            }
        }
        if queries.len() > 1 {
            options.notes.add(format!(
                "{name}: a turn has several queries, the first is sent"
            ));
        }
        if passages.is_empty() {
            options
                .notes
                .add(format!("{name}: a turn has no passages to rank"));
        }
        let query = queries.into_iter().next().ok_or_else(|| {
            options.error(
                "a turn has no text named `query`; rankings take their texts by name, as in \
                 {\"texts\": [{\"name\": \"query\", \"contents\": [\"…\"]}, {\"name\": \
                 \"passages\", \"contents\": [\"…\"]}]}",
            )
        })?;
        Ok(Self { query, passages })
    }
}

fn finish(
    options: &BodyOptions,
    mut fields: Map<String, Value>,
    extra: Option<&Map<String, Value>>,
) -> Body {
    options.merge(&mut fields, extra);
    plain(fields)
}

pub(super) fn compose_nim(
    options: &BodyOptions,
    n: usize,
    ask: Ask<'_>,
) -> Result<Body, BodyError> {
    let extra = ask.extra;
    let named = Named::of(options, ask)?;
    let text = |text: String| json!({"text": text});
    let passages: Vec<Value> = named.passages.into_iter().map(text).collect();
    let mut fields = Map::new();
    put(&mut fields, "model", options.model(n));
    put(&mut fields, "query", text(named.query));
    put(&mut fields, "passages", passages);
    Ok(finish(options, fields, extra))
}

pub(super) fn compose_cohere(
    options: &BodyOptions,
    n: usize,
    ask: Ask<'_>,
) -> Result<Body, BodyError> {
    let extra = ask.extra;
    let named = Named::of(options, ask)?;
    let mut fields = Map::new();
    put(&mut fields, "model", options.model(n));
    put(&mut fields, "query", named.query);
    put(&mut fields, "documents", named.passages);
    Ok(finish(options, fields, extra))
}

pub(super) fn compose_tei(
    options: &BodyOptions,
    _: usize,
    ask: Ask<'_>,
) -> Result<Body, BodyError> {
    let extra = ask.extra;
    let named = Named::of(options, ask)?;
    let mut fields = Map::new();
    put(&mut fields, "query", named.query);
    put(&mut fields, "texts", named.passages);
    Ok(finish(options, fields, extra))
}

/// A ranking is content without text; an empty one is nothing.
fn ranked(ranking: &[Value], document: &Value, each: &mut dyn FnMut(Piece<'_>)) -> Heard {
    if !ranking.is_empty() {
        each(Piece::Bare);
    }
    Heard::of(document)
}

pub(super) fn read_nim(
    document: &Value,
    _: &mut Context<'_>,
    each: &mut dyn FnMut(Piece<'_>),
) -> Heard {
    ranked(list(document.get("rankings")), document, each)
}

pub(super) fn read_cohere(
    document: &Value,
    _: &mut Context<'_>,
    each: &mut dyn FnMut(Piece<'_>),
) -> Heard {
    ranked(list(document.get("results")), document, each)
}

pub(super) fn read_tei(
    document: &Value,
    _: &mut Context<'_>,
    each: &mut dyn FnMut(Piece<'_>),
) -> Heard {
    let ranking = document.as_array().map_or_else(
        || list(document.get("results")),
        |ranking| ranking.as_slice(),
    );
    ranked(ranking, document, each)
}

#[cfg(test)]
mod tests {
    use super::super::answer::testing::body;
    use super::super::body::testing::{named, options, refused, text, written};
    use super::*;
    use crate::EndpointKind::{CohereRankings, HfTeiRankings, NimRankings};
    use crate::ask::{Content, Media, TurnContent};

    fn ask(texts: Vec<Media>) -> Ask<'static> {
        Ask::of(Content::TurnContent(TurnContent {
            texts,
            ..TurnContent::default()
        }))
    }

    #[test]
    fn three_forms() {
        for (kind, expected) in [
            (
                NimRankings,
                r#"{"model":"m","query":{"text":"q"},"passages":[{"text":"a"},{"text":"b"}],"top":2}"#,
            ),
            (
                CohereRankings,
                r#"{"model":"m","query":"q","documents":["a","b"],"top":2}"#,
            ),
            (HfTeiRankings, r#"{"query":"q","texts":["a","b"],"top":2}"#),
        ] {
            let texts = vec![named("query", &["q"]), named("passages", &["a", "b"])];
            let options = options(kind, false, json!({"top": 2}));
            assert_eq!(written(&options, 0, ask(texts)), expected);
            assert!(options.notes.take().is_empty());
        }
    }

    #[test]
    fn what_is_odd_is_said_and_a_missing_query_is_refused() {
        let options = options(NimRankings, false, json!({}));
        let odd = vec![named("queries", &["q", "r"]), named("passage", &["x"])];
        let body = written(&options, 0, ask(odd));
        assert_eq!(body, r#"{"model":"m","query":{"text":"q"},"passages":[]}"#);
        let notes = Vec::from_iter(options.notes.take()).join("\n");
        for word in ["several queries", "no passages", "`passage`"] {
            assert!(notes.contains(word), "{notes}");
        }
        let error = refused(&options, text("plain", None));
        assert!(
            error.contains("nim_rankings") && error.contains("`query`"),
            "{error}"
        );
    }

    #[test]
    fn answers() {
        for (kind, good, empty) in [
            (
                NimRankings,
                r#"{"rankings":[{"index":0,"logit":1.5}]}"#,
                r#"{"rankings":[]}"#,
            ),
            (
                CohereRankings,
                r#"{"results":[{"index":0,"relevance_score":0.5}]}"#,
                r#"{"results":[]}"#,
            ),
            (HfTeiRankings, r#"[{"index":0,"score":0.5}]"#, "[]"),
            (
                HfTeiRankings,
                r#"{"results":[{"index":0,"score":0.5}]}"#,
                r#"{"results":[]}"#,
            ),
        ] {
            let all = body(kind, good);
            assert_eq!((all.with_content, all.output.as_str()), (vec![true], ""));
            assert_eq!(body(kind, empty).with_content, [false]);
        }
    }
}
