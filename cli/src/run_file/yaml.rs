//! A YAML document as a tree whose parts know their lines.

use std::collections::HashMap;

use anyhow::{Result, anyhow, bail, ensure};
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value as Json};

/// Larger documents are no run files; aliases could make one out of a few bytes.
const MOST_NODES: usize = 100_000;

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

/// A text as it stands, without quotes.
#[derive(Clone, Debug)]
pub struct Scalar {
    pub text: String,
    /// It stood without quotes, so that `5` is a number and `null` is nothing.
    pub plain: bool,
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
        let mut tree = Tree::default();
        for event in Parser::new_from_str(text) {
            let (event, span) = event
                .map_err(|error| anyhow!("{}: no YAML: {}", error.marker().line(), error.info()))?;
            tree.take(event, span.start.line())?;
        }
        Ok(tree.root.unwrap_or(Self {
            line: 1,
            value: Value::Map(Vec::new()),
        }))
    }

    /// `null`, or nothing at all: the key counts as not given.
    pub fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar(scalar) => scalar.is_null(),
            _ => false,
        }
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

impl Scalar {
    pub fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// By YAML's core schema.
    fn json(&self) -> Json {
        let text = self.text.as_str();
        if !self.plain {
            return Json::String(text.to_owned());
        }
        match text {
            _ if self.is_null() => Json::Null,
            "true" | "True" | "TRUE" => Json::Bool(true),
            "false" | "False" | "FALSE" => Json::Bool(false),
            _ => whole(text)
                .or_else(|| fraction(text))
                .map_or_else(|| Json::String(text.to_owned()), Json::Number),
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

/// A tree that grows.
#[derive(Default)]
struct Tree {
    root: Option<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

/// A list or map whose end has not come.
struct Open {
    line: usize,
    anchor: usize,
    value: Value,
    /// Of a map: the key that waits for its value.
    key: Option<Key>,
}

impl Tree {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<()> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let scalar = Scalar {
                    text: text.into_owned(),
                    plain: matches!(style, ScalarStyle::Plain),
                };
                let waits_for_key = self
                    .open
                    .last_mut()
                    .is_some_and(|open| matches!(open.value, Value::Map(_)) && open.key.is_none());
                if waits_for_key {
                    return self.begin_entry(scalar.text, line);
                }
                let value = Value::Scalar(scalar);
                self.add(Node { line, value }, anchor)
            }
            Event::SequenceStart(anchor, _) => self.begin(line, anchor, Value::List(Vec::new())),
            Event::MappingStart(anchor, _) => self.begin(line, anchor, Value::Map(Vec::new())),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else {
                    return Ok(());
                };
                let (line, value) = (open.line, open.value);
                self.add(Node { line, value }, open.anchor)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    bail!("{line}: this alias stands within what it names");
                };
                self.nodes += size(&node);
                self.add(node, 0)
            }
            Event::DocumentStart(_) => {
                ensure!(
                    self.root.is_none(),
                    "{line}: a second document begins; a run file has one"
                );
                Ok(())
            }
            Event::DocumentEnd | Event::StreamStart | Event::StreamEnd | Event::Nothing => Ok(()),
        }
    }

    fn begin(&mut self, line: usize, anchor: usize, value: Value) -> Result<()> {
        let key_is_missing = self
            .open
            .last()
            .is_some_and(|open| matches!(open.value, Value::Map(_)) && open.key.is_none());
        ensure!(!key_is_missing, "{line}: a key must be a text");
        self.open.push(Open {
            line,
            anchor,
            value,
            key: None,
        });
        Ok(())
    }

    fn begin_entry(&mut self, name: String, line: usize) -> Result<()> {
        if let Some(Open {
            value: Value::Map(entries),
            key,
            ..
        }) = self.open.last_mut()
        {
            let before = entries.iter().find(|(key, _)| key.name == name);
            if let Some((before, _)) = before {
                bail!("{line}: `{name}` stands in line {} already", before.line);
            }
            *key = Some(Key { line, name });
        }
        Ok(())
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<()> {
        self.nodes += 1;
        ensure!(
            self.nodes <= MOST_NODES,
            "{}: more than {MOST_NODES} values are no run file",
            node.line
        );
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(open) => match (&mut open.value, open.key.take()) {
                (Value::List(items), _) => items.push(node),
                (Value::Map(entries), Some(key)) => entries.push((key, node)),
                _ => bail!("{}: a key must be a text", node.line),
            },
        }
        Ok(())
    }
}

fn size(node: &Node) -> usize {
    match &node.value {
        Value::Scalar(_) => 1,
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|(_, node)| size(node)).sum::<usize>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_kinds() {
        let node = Node::read("# first\na: 5\nb:\n  - \"5\"\n  - {c: true, d: 1.5}\ne:\n").unwrap();
        assert_eq!(
            node.json().to_string(),
            r#"{"a":5,"b":["5",{"c":true,"d":1.5}],"e":null}"#
        );
        let Value::Map(entries) = &node.value else {
            panic!()
        };
        let lines: Vec<usize> = entries.iter().map(|(key, _)| key.line).collect();
        assert_eq!(lines, [2, 3, 6]);
        assert!(entries[2].1.is_null());
    }

    #[test]
    fn anchors_are_copied() {
        let node = Node::read("a: &x {b: 1}\nc: *x\n").unwrap();
        assert_eq!(node.json()["c"]["b"], 1);
    }

    #[test]
    fn what_is_no_run_file() {
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n\
                    c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n\
                    e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
        for (text, expected) in [
            ("a: 1\na: 2\n", "2: `a` stands in line 1 already"),
            ("a: 1\n b: 2\n", "2: no YAML"),
            ("a: [1\n", "no YAML"),
            ("--- \na: 1\n---\nb: 2\n", "a second document"),
            ("[1]: 2\n", "a key must be a text"),
            (bomb, "no run file"),
        ] {
            let error = Node::read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
