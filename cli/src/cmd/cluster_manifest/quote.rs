//! Text as YAML and as words of a shell, whatever it holds.

use std::fmt::Write;

use pinfire_guard::{ascii_yaml, shown};
use serde_json::Value;

/// A document in block style.
pub fn yaml(document: &Value) -> String {
    let mut out = String::new();
    block(document, 0, &mut out);
    out
}

/// Writes a value that begins at the start of a line, `depth` columns in.
fn block(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (number, (key, value)) in fields.iter().enumerate() {
                if number > 0 {
                    indent(depth, out);
                }
                out.push_str(&scalar(key));
                out.push(':');
                under(value, depth, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (number, item) in items.iter().enumerate() {
                if number > 0 {
                    indent(depth, out);
                }
                out.push_str("- ");
                block(item, depth + 2, out);
            }
        }
        value => {
            out.push_str(&inline(value));
            out.push('\n');
        }
    }
}

/// Writes what stands behind a key.
fn under(value: &Value, depth: usize, out: &mut String) {
    match value {
        // Words of a command line stand on one line.
        Value::Array(items)
            if items
                .iter()
                .all(|item| !item.is_object() && !item.is_array()) =>
        {
            let items: Vec<String> = items.iter().map(inline).collect();
            // Writing to a string does not fail.
            let _ = writeln!(out, " [{}]", items.join(", "));
        }
        Value::Object(fields) if !fields.is_empty() => nested(value, depth + 2, out),
        Value::Array(items) if !items.is_empty() => nested(value, depth, out),
        Value::String(text) if is_literal(text) => {
            out.push_str(" |\n");
            for line in text.lines() {
                if !line.is_empty() {
                    indent(depth + 2, out);
                }
                out.push_str(line);
                out.push('\n');
            }
        }
        value => {
            out.push(' ');
            block(value, depth, out);
        }
    }
}

fn nested(value: &Value, depth: usize, out: &mut String) {
    out.push('\n');
    indent(depth, out);
    block(value, depth, out);
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', depth));
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        value => value.to_string(),
    }
}

/// Whether a text of several lines comes back from a block of YAML as it is.
fn is_literal(text: &str) -> bool {
    text.contains('\n')
        && text.ends_with('\n')
        && !text.ends_with("\n\n")
        && !text.starts_with([' ', '\n'])
        && shown(text) == text
}

/// A scalar: bare where no reader can take it for anything but itself.
fn scalar(text: &str) -> String {
    let bare = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_./-".contains(c))
        && !["null", "true", "false", "yes", "no", "on", "off", "y", "n"]
            .contains(&text.to_ascii_lowercase().as_str());
    if bare {
        return text.to_owned();
    }
    // A JSON text is a YAML text, but for characters that no line of YAML may have.
    ascii_yaml(&Value::from(text).to_string()).into_owned()
}

/// A word of a shell.
pub fn word(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "_./:,+-=@%".contains(c);
    if !text.is_empty() && text.chars().all(safe) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_document_in_blocks() {
        let document = json!({
            "kind": "Job", "empty": {}, "none": [], "words": ["profile", "--shards", "8"],
            "spec": {"replicas": 8, "list": [{"a": "x", "b": {"c": true}}, {"d": "1"}]},
            "text": "one: 1\n\n  two: 'x'\n",
        });
        let expected = "\
kind: Job
empty: {}
none: []
words: [profile, \"--shards\", \"8\"]
spec:
  replicas: 8
  list:
  - a: x
    b:
      c: true
  - d: \"1\"
text: |
  one: 1

    two: 'x'
";
        assert_eq!(yaml(&document), expected);
    }

    #[test]
    fn what_means_something_to_a_reader_is_quoted() {
        for (text, expected) in [
            ("plain-1.0/x_y", "plain-1.0/x_y"),
            ("", "\"\""),
            ("no", "\"no\""),
            ("Null", "\"Null\""),
            ("1e3", "\"1e3\""),
            ("-x", "\"-x\""),
            ("a: b #c", "\"a: b #c\""),
            ("say \"hi\"\\", "\"say \\\"hi\\\"\\\\\""),
            ("a\nb\r\0", "\"a\\nb\\r\\u0000\""),
            ("größe 模型", "\"größe 模型\""),
            (
                "\u{85}\u{2028}\u{feff}\u{202e}",
                "\"\\u0085\\u2028\\ufeff\\u202e\"",
            ),
            ("\u{1f600} \u{e0001}", "\"\u{1f600} \\U000e0001\""),
            ("{{x}}", "\"{{x}}\""),
        ] {
            assert_eq!(scalar(text), expected);
        }
        // A text of lines that a block would not bring back stands in quotes.
        for text in ["a\n b\n\n", " a\n", "a\nb", "a\n\u{85}\n"] {
            assert!(!is_literal(text), "{text:?}");
        }
    }

    #[test]
    fn a_word_of_a_shell_stays_one() {
        for (text, expected) in [
            ("a/b=c", "a/b=c"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's $HOME `x`\n", "'it'\\''s $HOME `x`\n'"),
        ] {
            assert_eq!(word(text), expected);
        }
    }
}
