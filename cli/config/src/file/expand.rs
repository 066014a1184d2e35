//! `${VARIABLE}` of the environment, and `{{ expressions }}` over the file's own `variables`.

use anyhow::{Context, Result, bail};
use minijinja::{Environment, UndefinedBehavior, Value};

use crate::secret::is_reference;

/// What values may refer to.
pub struct Expander<'e> {
    /// With the file's `variables`; `None` leaves `{{ }}` as it stands.
    expressions: Option<(Environment<'static>, Value)>,
    environment: &'e dyn Fn(&str) -> Option<String>,
}

impl<'e> Expander<'e> {
    /// `variables` are those of the file, if it has any.
    pub fn new(
        variables: Option<serde_json::Value>,
        environment: &'e dyn Fn(&str) -> Option<String>,
    ) -> Self {
        let expressions = variables.map(|variables| {
            let mut expressions = Environment::new();
            expressions.set_undefined_behavior(UndefinedBehavior::Strict);
            (expressions, Value::from_serialize(variables))
        });
        Self {
            expressions,
            environment,
        }
    }

    /// The text with what it refers to in place. `$${` stands for `${`.
    ///
    /// # Errors
    /// A variable that is not set and has no default, or an expression that cannot be computed.
    pub fn expand(&self, text: &str) -> Result<String> {
        let text = self.variables(text)?;
        match &self.expressions {
            Some((environment, variables)) if text.contains("{{") => {
                computed(&text, environment, variables)
            }
            _ => Ok(text),
        }
    }

    /// The text with only the environment's variables in place.
    ///
    /// # Errors
    /// As [`expand`](Self::expand).
    pub fn variables(&self, text: &str) -> Result<String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, from) = rest.split_at(at);
            let after = from.get(2..).unwrap_or_default();
            if let Some(before) = before.strip_suffix('$') {
                out.push_str(before);
                out.push_str("${");
                rest = after;
                continue;
            }
            out.push_str(before);
            let Some((inside, behind)) = after.split_once('}') else {
                bail!("`${{` has no `}}`; write `$${{` for the text itself");
            };
            let (name, default) = match inside.split_once(':') {
                // As shells have it, `:-` is the same.
                Some((name, default)) => (name, Some(default.strip_prefix('-').unwrap_or(default))),
                None => (inside, None),
            };
            let is_name = !name.is_empty()
                && !name.starts_with(|c: char| c.is_ascii_digit())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !is_name {
                bail!("`${{{inside}}}` names no variable; write `$${{` for the text itself");
            }
            match ((self.environment)(name), default) {
                (Some(value), _) => out.push_str(&value),
                (None, Some(default)) => out.push_str(default),
                // A credential that was not stored: a flag may give it, else its setting is named.
                (None, None) if is_reference(name) => out.push_str(&format!("${{{name}}}")),
                (None, None) => bail!(
                    "the environment variable {name} is not set; set it, or write \
                     ${{{name}:DEFAULT}}"
                ),
            }
            rest = behind;
        }
        out.push_str(rest);
        Ok(out)
    }
}

fn computed(text: &str, environment: &Environment<'_>, variables: &Value) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, from)) = rest.split_once("{{") {
        out.push_str(before);
        let (inside, behind) = from.split_once("}}").context("`{{` has no `}}`")?;
        let shown = inside.trim();
        let value = environment
            .compile_expression(shown)
            .and_then(|expression| expression.eval(variables))
            .map_err(|error| {
                let detail = error.detail().map(str::to_owned);
                let why = detail.unwrap_or_else(|| error.kind().to_string());
                anyhow::anyhow!("{{{{ {shown} }}}}: {why}")
            })?;
        if value.is_undefined() {
            bail!("{{{{ {shown} }}}}: there is no such variable under `variables`");
        }
        out.push_str(&value.to_string());
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn expander() -> Expander<'static> {
        let variables = json!({"users": 8, "name": "x", "list": [1]});
        Expander::new(Some(variables), &|name| {
            (name == "SET").then(|| "value".to_owned())
        })
    }

    #[test]
    fn variables_and_expressions() {
        for (text, expected) in [
            ("plain $5 {x}", "plain $5 {x}"),
            ("a ${SET} b", "a value b"),
            ("${UNSET:7}", "7"),
            ("${UNSET:}", ""),
            ("${UNSET:-http://h:1}", "http://h:1"),
            ("$${SET}", "${SET}"),
            ("{{ users * 4 }}", "32"),
            ("{{users}}-{{ name|upper }}", "8-X"),
            ("{{ (users / 3)|int }}", "2"),
        ] {
            assert_eq!(expander().expand(text).unwrap(), expected, "{text}");
        }
        let plain = Expander::new(None, &|_| None);
        assert_eq!(plain.expand("{{ texts }}").unwrap(), "{{ texts }}");
    }

    #[test]
    fn what_cannot_be_expanded() {
        for (text, expected) in [
            ("${UNSET}", "UNSET is not set"),
            ("${SET", "no `}`"),
            ("${1}", "names no variable"),
            ("{{ users", "no `}}`"),
            ("{{ nobody }}", "nobody"),
            ("{{ users + }}", "users +"),
        ] {
            let error = expander().expand(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
            assert_eq!(error.lines().count(), 1);
        }
    }
}
