//! The client's own input length: the texts of a request body, joined by one blank and encoded.
//!
//! Counted from the body that is sent, not from what the dataset promised; roles and the markup
//! of chat templates are not in it, so a server's prompt count is higher by those. Only a tokenizer
//! with its chat template (`templated`) counts them too.

use pinfire_base::tokens::TokenCounter;
use serde_json::{Map, Value};

use crate::text::tokenizer::Tokenizer;

/// Keys of a body that [`input_length`] reads; an extra that sets none of them changes no count.
pub(super) const COUNTED_KEYS: [&str; 11] = [
    "messages",
    "input",
    "tools",
    "prompt",
    "instructions",
    "system",
    "query",
    "passages",
    "documents",
    "texts",
    "inputs",
];

/// What a body holds to be counted.
#[derive(Default)]
struct Fragments {
    texts: Vec<String>,
    ready_ids: usize,
}

/// The input tokens of `body`, absent when nothing in it is text or token ids.
pub fn input_length(body: &Map<String, Value>, tokenizer: &Tokenizer) -> Option<u32> {
    if let Some(counted) = super::templated::input_length(body, tokenizer) {
        return Some(counted);
    }
    let found = collect(body);
    if found.texts.is_empty() && found.ready_ids == 0 {
        return None;
    }
    let text = match &found.texts[..] {
        [one] => tokenizer.count(one),
        many => tokenizer.count(&many.join(" ")),
    };
    u32::try_from(text + found.ready_ids).ok()
}

impl TokenCounter for Tokenizer {
    fn count(&self, text: &str) -> usize {
        Self::count(self, text)
    }

    fn count_body(&self, body: &[u8]) -> Option<u32> {
        let body = serde_json::from_slice(body).ok()?;
        input_length(&body, self)
    }
}

/// The texts of a body's tools: names, descriptions and schemas.
pub(super) fn tool_texts(body: &Map<String, Value>) -> Vec<String> {
    let mut found = Fragments::default();
    let tools = body.get("tools").and_then(Value::as_array);
    tools
        .into_iter()
        .flatten()
        .for_each(|tool| found.tool(tool));
    found.texts
}

fn collect(body: &Map<String, Value>) -> Fragments {
    let mut found = Fragments::default();
    let items = ["messages", "input"]
        .iter()
        .find_map(|key| body.get(*key)?.as_array())
        .filter(|items| items.iter().any(Value::is_object));
    if let Some(items) = items {
        for key in ["instructions", "system"] {
            body.get(key)
                .into_iter()
                .for_each(|value| found.content(value));
        }
        items.iter().for_each(|item| found.item(item));
        if let Some(tools) = body.get("tools").and_then(Value::as_array) {
            tools.iter().for_each(|tool| found.tool(tool));
        }
        return found;
    }
    if let Some(value) = body.get("prompt").or_else(|| body.get("input")) {
        found.plain(value);
    } else if let Some(query) = body.get("query").filter(|query| is_text(query)) {
        // A ranking, in any of its three forms.
        found.ranked(query);
        ["passages", "documents", "texts"]
            .iter()
            .filter_map(|key| body.get(*key))
            .for_each(|value| found.ranked(value));
    } else if let Some(value) = body.get("inputs") {
        found.plain(value);
    }
    found
}

/// A text, bare or as the `text` of an object.
fn is_text(value: &Value) -> bool {
    value.is_string() || value["text"].is_string()
}

impl Fragments {
    fn text(&mut self, text: &str) {
        if !text.is_empty() {
            self.texts.push(text.to_owned());
        }
    }

    fn field(&mut self, holder: &Value, key: &str) {
        if let Some(text) = holder[key].as_str() {
            self.text(text);
        }
    }

    /// A message's content: a string, or parts of which those with a text count.
    fn content(&mut self, content: &Value) {
        match content {
            Value::String(text) => self.text(text),
            Value::Array(parts) => {
                for part in parts {
                    match part {
                        Value::String(text) => self.text(text),
                        _ => {
                            self.field(part, "text");
                            self.tool_blocks(part);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// Anthropic's tool parts inside a content list.
    fn tool_blocks(&mut self, part: &Value) {
        match part["type"].as_str() {
            Some("tool_use") => {
                self.field(part, "name");
                self.json(&part["input"]);
            }
            Some("tool_result") => self.content(&part["content"]),
            _ => {}
        }
    }

    /// One entry of `messages` or `input`.
    fn item(&mut self, item: &Value) {
        self.content(&item["content"]);
        if let Some(calls) = item["tool_calls"].as_array() {
            for call in calls {
                self.field(&call["function"], "name");
                self.field(&call["function"], "arguments");
            }
        }
        match item["type"].as_str() {
            Some("function_call") => {
                self.field(item, "name");
                self.field(item, "arguments");
            }
            Some("function_call_output") => self.content(&item["output"]),
            _ => {}
        }
    }

    /// One entry of `tools`, its schema nested under `function` or flat.
    fn tool(&mut self, tool: &Value) {
        let schema = tool.get("function").unwrap_or(tool);
        self.field(schema, "name");
        self.field(schema, "description");
        self.json(&schema["parameters"]);
        self.json(&schema["input_schema"]);
    }

    fn json(&mut self, value: &Value) {
        if !value.is_null() {
            self.text(&value.to_string());
        }
    }

    /// A text of a ranking, or a list of them.
    fn ranked(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(values) => values.iter().for_each(|value| self.ranked(value)),
            Value::Object(_) => self.field(value, "text"),
            _ => {}
        }
    }

    /// A string, token ids, or lists of either.
    fn plain(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.text(text),
            Value::Number(_) => self.ready_ids += 1,
            Value::Array(values) => values.iter().for_each(|value| self.plain(value)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(body: Value) -> (Vec<String>, usize) {
        let found = collect(body.as_object().unwrap());
        (found.texts, found.ready_ids)
    }

    #[test]
    fn chat_with_parts_calls_and_tools() {
        let body = json!({
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": [{"type": "text", "text": "a"},
                    {"type": "image_url", "image_url": {"url": "u"}}, {"type": "text", "text": ""}]},
                {"role": "assistant", "content": null,
                    "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
            ],
            "tools": [{"type": "function", "function":
                {"name": "f", "description": "d", "parameters": {"b": 1, "a": 2}}}],
            "prompt": "ignored",
        });
        let expected = ["s", "a", "f", "{}", "f", "d", r#"{"b":1,"a":2}"#];
        assert_eq!(texts(body), (expected.map(str::to_owned).to_vec(), 0));
    }

    #[test]
    fn other_shapes() {
        assert_eq!(texts(json!({"prompt": "p"})), (vec!["p".into()], 0));
        assert_eq!(texts(json!({"prompt": [[1, 2], [3]]})), (vec![], 3));
        assert_eq!(
            texts(json!({"input": ["a", "b"]})),
            (vec!["a".into(), "b".into()], 0)
        );
        let ranking = json!({"query": "q", "passages": ["x", "y"]});
        assert_eq!(texts(ranking).0, ["q", "x", "y"]);
        for ranking in [
            json!({"query": {"text": "q"}, "passages": [{"text": "x"}, {"text": "y"}]}),
            json!({"query": "q", "documents": ["x", "y"]}),
            json!({"query": "q", "texts": ["x", "y"]}),
        ] {
            assert_eq!(texts(ranking).0, ["q", "x", "y"]);
        }
        assert_eq!(texts(json!({"query": 5, "texts": ["x"]})), (vec![], 0));
        let responses = json!({"instructions": "i", "input": [{"role": "user", "content": "c"}]});
        assert_eq!(texts(responses).0, ["i", "c"]);
    }

    #[test]
    fn absent_without_text_and_joined_by_a_blank() {
        let tokenizer = Tokenizer::builtin().unwrap();
        let count = |body: Value| input_length(body.as_object().unwrap(), &tokenizer);
        assert_eq!(count(json!({"model": "m"})), None);
        assert_eq!(count(json!({"prompt": ["hello", "world"]})), Some(2));
        assert_eq!(count(json!({"prompt": [5, 6, 7]})), Some(3));
    }
}
