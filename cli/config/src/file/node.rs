//! A YAML document as a tree whose parts know their lines.

use std::fmt;

use anyhow::{Result, anyhow};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value as Json};
use serde_saphyr::{Spanned, options::DuplicateKeyPolicy};

/// A part of the document.
#[derive(Clone, Debug)]
pub struct Node {
    /// From 1.
    pub line: usize,
    pub value: Value,
}

/// What a part is.
#[derive(Clone, Debug)]
pub enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    /// In the order of the file; no key twice.
    Map(Vec<(Key, Node)>),
}

/// A text as it is in the file, without quotes.
#[derive(Clone, Debug)]
pub struct Scalar {
    pub text: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Null,
    Text,
    /// A number or a switch.
    Plain,
}

/// A key of a map.
#[derive(Clone, Debug)]
pub struct Key {
    pub line: usize,
    pub name: String,
}

impl Node {
    /// Reads a document.
    ///
    /// # Errors
    /// It is no YAML, or not one document; the text begins with the line.
    pub fn read(text: &str) -> Result<Self> {
        let options = serde_saphyr::options! {
            strict_booleans: true,
            duplicate_keys: DuplicateKeyPolicy::Error,
        };
        let read: Spanned<Raw> = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| anyhow!("{}", in_one_line(&error)))?;
        Ok(match read.value {
            Raw::Scalar(Kind::Null, _) => Self {
                line: 1,
                value: Value::Map(Vec::new()),
            },
            _ => Self::of(read, text),
        })
    }

    fn of(raw: Spanned<Raw>, source: &str) -> Self {
        let value = match raw.value {
            Raw::List(items) => Value::List(
                items
                    .into_iter()
                    .map(|item| Self::of(item, source))
                    .collect(),
            ),
            Raw::Map(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| {
                        let line = line_of(&key);
                        let name = key.value;
                        (Key { line, name }, Self::of(value, source))
                    })
                    .collect(),
            ),
            Raw::Scalar(kind, text) => {
                // A number as it was written: 1.10 may be the name of a model.
                let span = raw.defined.span();
                let written = span
                    .byte_offset()
                    .zip(span.byte_len())
                    .and_then(|(at, len)| {
                        let at = usize::try_from(at).ok()?;
                        source.get(at..at.checked_add(usize::try_from(len).ok()?)?)
                    });
                let text = match (kind, written) {
                    (Kind::Plain, Some(written)) => written.trim().to_owned(),
                    _ => text,
                };
                Value::Scalar(Scalar { text, kind })
            }
        };
        let line = usize::try_from(raw.referenced.line()).unwrap_or(1);
        Self { line, value }
    }

    /// `null`, or nothing at all: the key counts as not given.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.kind == Kind::Null)
    }

    /// What kind of thing it is, in words.
    pub const fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar(_) => "a value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map of keys",
        }
    }

    /// The same as JSON.
    pub fn json(&self) -> Json {
        match &self.value {
            Value::Scalar(scalar) => scalar.json(),
            Value::List(items) => Json::Array(items.iter().map(Self::json).collect()),
            Value::Map(entries) => {
                let entries = entries.iter();
                let pairs = entries.map(|(key, node)| (key.name.clone(), node.json()));
                Json::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }
}

fn line_of<T>(part: &Spanned<T>) -> usize {
    usize::try_from(part.referenced.line()).unwrap_or(1)
}

/// Line and reason, as of all other errors of a file.
fn in_one_line(error: &serde_saphyr::Error) -> String {
    let line = error.location().map_or(1, |at| at.line());
    let said = error.without_snippet().to_string();
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    // The place is said in front.
    let said = said.split(" at line ").next().unwrap_or(&said);
    format!("{line}: invalid YAML: {said}")
}

impl Scalar {
    /// By YAML's core schema.
    fn json(&self) -> Json {
        let text = self.text.as_str();
        match self.kind {
            Kind::Null => Json::Null,
            Kind::Text => text.into(),
            Kind::Plain => match text {
                "true" | "True" | "TRUE" => Json::Bool(true),
                "false" | "False" | "FALSE" => Json::Bool(false),
                _ => whole(text)
                    .or_else(|| fraction(text))
                    .map_or_else(|| text.into(), Json::Number),
            },
        }
    }
}

fn whole(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    // 007 is a number in YAML; it is more often a text that someone forgot to quote.
    if digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    let unsigned = text.parse::<u64>().ok().map(Number::from);
    unsigned.or_else(|| text.parse::<i64>().ok().map(Number::from))
}

fn fraction(text: &str) -> Option<Number> {
    let first = text.trim_start_matches(['-', '+']).as_bytes().first()?;
    let number = first.is_ascii_digit() || *first == b'.';
    number.then(|| text.parse().ok().and_then(Number::from_f64))?
}

/// What the parser gives.
enum Raw {
    Scalar(Kind, String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a map of keys")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Kind::Null, String::new()))
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Kind::Null, String::new()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(Kind::Plain, value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Kind::Plain, value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Kind::Plain, value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Scalar(Kind::Plain, value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Scalar(Kind::Plain, value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Kind::Plain, value.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(Kind::Text, text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = from.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_kinds() {
        let node = Node::read(
            "# first\na: 5\nb:\n  - \"5\"\n  - {c: true, d: 1.50}\ne:\nf: yes\ng: |\n  x\n",
        )
        .unwrap();
        assert_eq!(
            node.json().to_string(),
            r#"{"a":5,"b":["5",{"c":true,"d":1.5}],"e":null,"f":"yes","g":"x\n"}"#
        );
        let Value::Map(entries) = &node.value else {
            panic!()
        };
        let lines: Vec<usize> = entries.iter().map(|(key, _)| key.line).collect();
        assert_eq!(lines, [2, 3, 6, 7, 8]);
        assert!(entries[2].1.is_null());
        let Value::List(items) = &entries[1].1.value else {
            panic!()
        };
        let Value::Map(inner) = &items[1].value else {
            panic!()
        };
        assert_eq!(inner[1].1.line, 5);
        assert!(matches!(&inner[1].1.value, Value::Scalar(scalar) if scalar.text == "1.50"));
    }

    #[test]
    fn anchors_are_copied() {
        let node = Node::read("a: &x {b: 1.0}\nc: *x\n").unwrap();
        assert_eq!(node.json()["c"]["b"], 1.0);
    }

    #[test]
    fn what_is_no_config_file() {
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n\
                    c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n\
                    e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n\
                    g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: [*g,*g,*g,*g,*g,*g,*g,*g,*g]\n";
        for (text, expected) in [
            ("a: 1\na: 2\n", "2: invalid YAML: "),
            ("a: 1\n b: 2\n", "2: invalid YAML"),
            ("a: [1\n", "invalid YAML"),
            ("--- \na: 1\n---\nb: 2\n", "invalid YAML"),
            ("[1]: 2\n", "1: invalid YAML"),
            (bomb, "invalid YAML"),
        ] {
            let error = Node::read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
            assert_eq!(error.lines().count(), 1);
        }
    }
}
