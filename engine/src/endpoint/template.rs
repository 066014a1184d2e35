//! Bodies from a user's own Jinja template, and none at all for `raw`.

use std::path::Path;

use minijinja::{AutoEscape, Environment};
use serde_json::{Map, Value, json};

use super::body::{Body, BodyError, BodyOptions, beginning, plain};
use crate::dataset::ask::{Ask, Media};

/// The extra input that has the template.
pub const TEMPLATE: &str = "payload_template";
/// The extra input that says where answers have what counts.
pub const RESPONSE_FIELD: &str = "response_field";

/// Templates by name.
const BUILT_IN: [(&str, &str); 1] = [("nv-embedqa", "{\"text\": {{ texts|tojson }}}")];

/// A compiled template.
#[derive(Debug)]
pub struct Template(Environment<'static>);

/// There is no template to use.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// None was given.
    #[error(
        "--endpoint-type template needs a template: --extra-inputs \
         '{{\"payload_template\": \"…\"}}' with nv-embedqa, the path of a file, or the template itself"
    )]
    Missing,
    /// The file cannot be used.
    #[error("payload_template {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// It is no Jinja.
    #[error("payload_template is no Jinja template: {0}")]
    Syntax(String),
}

impl Template {
    /// From the extra inputs: a built-in name, a file, or the text itself.
    ///
    /// # Errors
    /// There is none, its file cannot be read, or it cannot be compiled.
    pub fn of(extra: &Map<String, Value>) -> Result<Self, TemplateError> {
        match extra.get(TEMPLATE) {
            Some(Value::String(text)) if !text.is_empty() => Self::new(text),
            // In --extra-inputs' own short form the text of a template may read as JSON.
            Some(Value::Object(object)) => Self::new(&Value::from(object.clone()).to_string()),
            _ => Err(TemplateError::Missing),
        }
    }

    fn new(given: &str) -> Result<Self, TemplateError> {
        let built_in = BUILT_IN.iter().find(|(name, _)| *name == given);
        let text = match built_in {
            Some((_, text)) => (*text).to_owned(),
            None => from_file(given)?.unwrap_or_else(|| given.to_owned()),
        };
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment
            .add_template_owned("payload", text)
            .map_err(|cause| TemplateError::Syntax(cause.to_string()))?;
        Ok(Self(environment))
    }

    fn render(&self, variables: &Value) -> Result<String, minijinja::Error> {
        self.0.get_template("payload")?.render(variables)
    }
}

/// The text of a file, if there is one of this name.
fn from_file(given: &str) -> Result<Option<String>, TemplateError> {
    let path = Path::new(given);
    // What is too long or odd for a path is a template.
    let Ok(found) = path.symlink_metadata() else {
        return Ok(None);
    };
    let error = |reason: String| TemplateError::File {
        path: given.to_owned(),
        reason,
    };
    if !found.is_file() {
        return Err(error(
            "must be a regular file, not a folder and not a link".to_owned(),
        ));
    }
    let text = std::fs::read_to_string(path).map_err(|cause| error(cause.to_string()))?;
    Ok(Some(text))
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
    use std::sync::Arc;

    use super::super::body::testing::{named, options, refused, text, written};
    use super::*;
    use crate::dataset::ask::{Content, Said};
    use crate::endpoint::EndpointKind::{Raw, Template as Kind};

    fn with(template: &str, extra: Value) -> BodyOptions {
        let mut extra = extra.as_object().cloned().unwrap();
        extra.insert(TEMPLATE.to_owned(), template.into());
        let template = Template::of(&extra).unwrap();
        BodyOptions {
            template: Some(Arc::new(template)),
            ..options(Kind, true, extra.into())
        }
    }

    #[test]
    fn the_built_in_one_and_extras() {
        let own = json!({"b": 2});
        let ask = Ask {
            extra: own.as_object(),
            ..text("a \"b\" <c>", None)
        };
        let extra = json!({"response_field": "x", "b": 1, "c": 3});
        let body = written(&with("nv-embedqa", extra), 0, ask);
        assert_eq!(body, r#"{"text":["a \"b\" <c>"],"b":2,"c":3}"#);
    }

    #[test]
    fn every_variable() {
        let template = r#"{"z": [{{ text|tojson }}, {{ texts|tojson }}, {{ image|tojson }}, {{ images|tojson }},
            {{ query|tojson }}, {{ queries|tojson }}, {{ passage|tojson }}, {{ passages|tojson }},
            {{ texts_by_name|tojson }}, {{ model|tojson }}, {{ max_tokens|tojson }}, {{ role|tojson }},
            {{ stream|tojson }}, {{ turn.texts[0].name|tojson }}, {{ turns|length }},
            {{ request_info.system_message|tojson }}, {{ audio|tojson }}, {{ videos|tojson }}]}"#;
        let said = Said {
            role: Some("tool".into()),
            texts: vec![named("query", &["q"]), named("passages", &["a", "b"])],
            images: vec![named("", &["http://i"])],
            ..Said::default()
        };
        let ask = Ask {
            system: Some("S"),
            max_tokens: Some(5),
            ..Ask::of(Content::Said(said))
        };
        let body = with(template, json!({})).body(1, ask).unwrap();
        assert_eq!(
            body["z"],
            json!([
                "q", ["q", "a", "b"], "http://i", ["http://i"], "q", ["q"], "a", ["a", "b"],
                {"query": ["q"], "passages": ["a", "b"]}, "n", 5, "tool", true, "query", 1, "S",
                null, []
            ])
        );
    }

    #[test]
    fn without_the_filter_texts_are_escaped() {
        let body = written(
            &with(r#"{"t": "{{ text }}"}"#, json!({})),
            0,
            text("<a&b>", None),
        );
        assert_eq!(body, r#"{"t":"&lt;a&amp;b&gt;"}"#);
    }

    #[test]
    fn a_file_but_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.json");
        std::fs::write(&path, r#"{"t": {{ text|tojson }}}"#).unwrap();
        let body = written(&with(path.to_str().unwrap(), json!({})), 0, text("x", None));
        assert_eq!(body, r#"{"t":"x"}"#);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for refused in [&link, folder.path()] as [&Path; 2] {
            let error = Template::new(refused.to_str().unwrap()).unwrap_err();
            assert!(error.to_string().contains("regular file"), "{error}");
        }
    }

    #[test]
    fn what_is_no_object_is_shown() {
        let error = refused(&with("[{{ text|tojson }}]", json!({})), text("abc", None));
        assert!(
            error.contains("JSON object") && error.contains("[\"abc\"]"),
            "{error}"
        );
        let long = with("{{ text }}", json!({}));
        let error = refused(&long, text(&"x".repeat(500), None));
        assert!(
            error.ends_with(&"x".repeat(100)) && error.len() < 250,
            "{error}"
        );
        assert!(matches!(
            Template::of(&Map::new()),
            Err(TemplateError::Missing)
        ));
        let error = Template::new("{{ text").unwrap_err().to_string();
        assert!(error.starts_with("payload_template is no Jinja"), "{error}");
    }

    #[test]
    fn raw_has_nothing_to_make_a_body_from() {
        let error = refused(&options(Raw, true, json!({})), text("x", None));
        assert!(error.contains("complete payloads"), "{error}");
    }
}
