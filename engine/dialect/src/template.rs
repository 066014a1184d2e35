//! Bodies from a user's own template, which is compiled and rendered elsewhere, and none at all for
//! `raw`.

use serde_json::{Map, Value, json};

use super::body::{Body, BodyError, BodyOptions, beginning, plain};
use crate::ask::{Ask, Media};

/// The extra input that has the template.
pub const TEMPLATE: &str = "payload_template";
/// The extra input that says where answers have what counts.
pub const RESPONSE_FIELD: &str = "response_field";

/// A compiled template, wherever it comes from.
pub trait Render: std::fmt::Debug + Send + Sync {
    /// The text that it gives with these variables.
    ///
    /// # Errors
    /// What the template does not allow, in words for its author.
    fn render(&self, variables: &Value) -> Result<String, String>;
}

pub(super) fn compose(options: &BodyOptions, n: usize, ask: Ask<'_>) -> Result<Body, BodyError> {
    let template = options
        .template
        .as_ref()
        .ok_or_else(|| options.error("no template was given"))?;
    let extra = ask.extra;
    let variables = variables(options, n, ask)?;
    let text = template
        .render(&variables)
        .map_err(|cause| options.error(format!("the template fails: {cause}")))?;
    let Ok(Value::Object(mut fields)) = serde_json::from_str(&text) else {
        return Err(options.error(format!(
            "the template must give a JSON object; it gave: {}",
            beginning(&text).replace('\n', " ")
        )));
    };
    let run = options.extra.iter();
    let run = run.filter(|(key, _)| *key != TEMPLATE && *key != RESPONSE_FIELD);
    for (key, value) in run.chain(extra.into_iter().flatten()) {
        fields.insert(key.clone(), value.clone());
    }
    Ok(plain(fields))
}

/// What a template can name.
fn variables(options: &BodyOptions, n: usize, ask: Ask<'_>) -> Result<Value, BodyError> {
    let (system, context) = (ask.system, ask.user_context);
    let said = options.said(ask.content)?;
    let model = options.model(n);
    let role = said.role.as_deref().unwrap_or("user");
    let mut all = Map::new();
    let mut turn = Map::new();
    let kinds = [
        ("text", "texts", &said.texts),
        ("image", "images", &said.images),
        ("audio", "audios", &said.audios),
        ("video", "videos", &said.videos),
    ];
    for (one, many, media) in kinds {
        let contents = contents(media);
        let by_name: Map<String, Value> = media
            .iter()
            .map(|media| (media.name.clone(), media.contents.clone().into()))
            .collect();
        let listed = media
            .iter()
            .map(|media| json!({"name": media.name, "contents": media.contents}));
        turn.insert(many.to_owned(), listed.collect());
        all.insert(one.to_owned(), contents.first().copied().into());
        all.insert(many.to_owned(), contents.into());
        all.insert(format!("{many}_by_name"), by_name.into());
    }
    for (one, many) in [("query", "queries"), ("passage", "passages")] {
        let named = said.texts.iter();
        let named = named.filter(|media| media.name == one || media.name == many);
        let named: Vec<&str> = named
            .flat_map(|media| &media.contents)
            .map(String::as_str)
            .collect();
        all.insert(one.to_owned(), named.first().copied().into());
        all.insert(many.to_owned(), named.into());
    }
    turn.insert("role".to_owned(), role.into());
    turn.insert("model".to_owned(), model.into());
    turn.insert("max_tokens".to_owned(), ask.max_tokens.into());
    let turn = Value::from(turn);
    all.insert("model".to_owned(), model.into());
    all.insert("max_tokens".to_owned(), ask.max_tokens.into());
    all.insert("role".to_owned(), role.into());
    all.insert("stream".to_owned(), options.streaming.into());
    all.insert("turns".to_owned(), json!([turn]));
    all.insert(
        "request_info".to_owned(),
        json!({
            "turns": [turn], "model": model, "stream": options.streaming,
            "system_message": system, "user_context_message": context,
        }),
    );
    all.insert("turn".to_owned(), turn);
    Ok(all.into())
}

fn contents(media: &[Media]) -> Vec<&str> {
    let contents = media.iter().flat_map(|media| &media.contents);
    contents.map(String::as_str).collect()
}

/// `raw` makes nothing: its turns are payloads already.
pub(super) fn no_payload(options: &BodyOptions, _: usize, _: Ask<'_>) -> Result<Body, BodyError> {
    Err(options.error(
        "it sends complete payloads only, and this turn has none; take a dataset that has them, or \
         another endpoint type",
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::body::testing::{options, refused, text};
    use crate::EndpointKind::Raw;

    #[test]
    fn raw_has_nothing_to_make_a_body_from() {
        let error = refused(&options(Raw, true, json!({})), text("x", None));
        assert!(error.contains("complete payloads"), "{error}");
    }
}
