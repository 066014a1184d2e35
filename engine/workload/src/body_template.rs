//! Bodies from a user's own Jinja template: where it comes from, and what compiles it.

use std::path::Path;

use minijinja::{AutoEscape, Environment};
use pinfire_dialect::{Render, TEMPLATE};
use serde_json::{Map, Value};

/// Templates by name.
const BUILT_IN: [(&str, &str); 1] = [("nv-embedqa", "{\"text\": {{ texts|tojson }}}")];

/// Steps that a template may take for a body, so that nested loops end.
const FUEL: u64 = 10_000_000;

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
        environment.set_fuel(Some(FUEL));
        environment
            .add_template_owned("payload", text)
            .map_err(|cause| TemplateError::Syntax(cause.to_string()))?;
        Ok(Self(environment))
    }
}

impl Render for Template {
    fn render(&self, variables: &Value) -> Result<String, String> {
        let template = self.0.get_template("payload");
        let text = template.and_then(|template| template.render(variables));
        text.map_err(|cause| cause.to_string())
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pinfire_dialect::{
        BodyOptions, EndpointKind,
        ask::{Ask, Content, Media, TurnContent},
    };
    use serde_json::json;

    use super::*;

    fn with(template: &str, extra: Value) -> BodyOptions {
        let mut extra = extra.as_object().cloned().unwrap();
        extra.insert(TEMPLATE.to_owned(), template.into());
        let template = Template::of(&extra).unwrap();
        BodyOptions {
            endpoint: EndpointKind::Template,
            models: vec!["m".into(), "n".into()],
            streaming: true,
            extra,
            template: Some(Arc::new(template)),
            ..BodyOptions::default()
        }
    }

    fn text(text: &str) -> Ask<'static> {
        Ask::of(Content::text(text.into()))
    }

    /// Strings under a name.
    fn named(name: &str, contents: &[&str]) -> Media {
        Media {
            name: name.to_owned(),
            contents: contents.iter().map(|&text| text.to_owned()).collect(),
        }
    }

    fn written(options: &BodyOptions, n: usize, ask: Ask<'_>) -> String {
        serde_json::to_string(&*options.body(n, ask).unwrap()).unwrap()
    }

    fn refused(options: &BodyOptions, ask: Ask<'_>) -> String {
        options.body(0, ask).unwrap_err().to_string()
    }

    #[test]
    fn the_built_in_one_and_extras() {
        let own = json!({"b": 2});
        let ask = Ask {
            extra: own.as_object(),
            ..text("a \"b\" <c>")
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
        let said = TurnContent {
            role: Some("tool".into()),
            texts: vec![named("query", &["q"]), named("passages", &["a", "b"])],
            images: vec![named("", &["http://i"])],
            ..TurnContent::default()
        };
        let ask = Ask {
            system: Some("S"),
            max_tokens: Some(5),
            ..Ask::of(Content::TurnContent(said))
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
        let body = written(&with(r#"{"t": "{{ text }}"}"#, json!({})), 0, text("<a&b>"));
        assert_eq!(body, r#"{"t":"&lt;a&amp;b&gt;"}"#);
    }

    #[test]
    fn a_file_but_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.json");
        std::fs::write(&path, r#"{"t": {{ text|tojson }}}"#).unwrap();
        let body = written(&with(path.to_str().unwrap(), json!({})), 0, text("x"));
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
        let error = refused(&with("[{{ text|tojson }}]", json!({})), text("abc"));
        assert!(
            error.contains("JSON object") && error.contains("[\"abc\"]"),
            "{error}"
        );
        let long = with("{{ text }}", json!({}));
        let error = refused(&long, text(&"x".repeat(500)));
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
}
