//! A model's own chat template: what a server makes of messages before it encodes them.
//!
//! The templates are Jinja with what the `transformers` library lends them: `raise_exception`,
//! `strftime_now`, `tojson` in Python's layout, methods of Python's strings and dictionaries.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use minijinja::value::{Kwargs, ViaDeserialize};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, context};
use serde::Serialize;
use serde_json::{Map, Value, json};

use pinfire_base::clock::unix_now;

/// The name of the one template in its environment.
const NAME: &str = "chat";

/// A template that has proved to render a plain message.
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// `bos_token`, `eos_token` and the like.
    specials: BTreeMap<String, String>,
    refusals: AtomicU64,
}

impl ChatTemplate {
    /// The template in a model's folder: `chat_template.jinja`, else `chat_template` of
    /// `tokenizer_config.json` (the one named `default` if there are several).
    ///
    /// # Errors
    /// There is none, or it does not render: why, in a few words.
    pub(super) fn load(folder: &Path) -> Result<Self, String> {
        let config = match std::fs::read(folder.join("tokenizer_config.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|cause| format!("tokenizer_config.json is no JSON: {cause}"))?,
            Err(_) => Value::Null,
        };
        let text = std::fs::read_to_string(folder.join("chat_template.jinja"))
            .ok()
            .or_else(|| configured(&config["chat_template"]))
            .ok_or("the tokenizer has no chat template")?;
        Self::new(text, specials(&config)).map_err(|cause| {
            // Its message may have several lines; the kind and the detail are in the first.
            let cause = cause.to_string();
            let first = cause.lines().next().unwrap_or_default();
            format!("the chat template does not render: {first}")
        })
    }

    fn new(text: String, specials: BTreeMap<String, String>) -> Result<Self, Error> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", tojson);
        environment.add_template_owned(NAME, text)?;
        let template = Self {
            environment,
            specials,
            refusals: AtomicU64::new(0),
        };
        template.rendered(&[json!({"role": "user", "content": "a"})], true)?;
        Ok(template)
    }

    /// The prompt that a server makes of these messages; with `generation` it ends where the
    /// assistant begins to speak. `None` if the template refuses them.
    pub fn render(&self, messages: &[Value], generation: bool) -> Option<String> {
        let messages: Vec<Value> = messages.iter().map(plain).collect();
        self.rendered(&messages, generation).ok()
    }

    /// Takes note that messages of the dataset were refused.
    pub(crate) fn note_refusal(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// How many inputs were counted without the template, because it refused them.
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    fn rendered(&self, messages: &[Value], generation: bool) -> Result<String, Error> {
        self.environment.get_template(NAME)?.render(context! {
            messages,
            add_generation_prompt => generation,
            tools => (),
            documents => (),
            ..minijinja::Value::from_serialize(&self.specials)
        })
    }
}

/// The template of a configuration: a text, or several by name.
fn configured(value: &Value) -> Option<String> {
    if let Some(text) = value.as_str() {
        return Some(text.to_owned());
    }
    let several = value.as_array()?;
    let default = several.iter().find(|one| one["name"] == "default");
    let text = &default.or(several.first())?["template"];
    Some(text.as_str()?.to_owned())
}

/// The special tokens of a configuration by their names: texts, or objects with `content`.
fn specials(config: &Value) -> BTreeMap<String, String> {
    let entries = config.as_object().into_iter().flatten();
    let named = entries.filter(|(name, _)| name.ends_with("_token"));
    let texts = named.filter_map(|(name, token)| {
        let text = token.as_str().or(token["content"].as_str())?;
        Some((name.clone(), text.to_owned()))
    });
    texts.collect()
}

/// A message as templates take it: role, content as one text, tool calls with their arguments as
/// objects.
fn plain(message: &Value) -> Value {
    let mut fields = Map::new();
    fields.insert("role".to_owned(), message["role"].clone());
    let content = match &message["content"] {
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part["text"].as_str());
            Value::from(Vec::from_iter(texts).join("\n"))
        }
        other => other.clone(),
    };
    fields.insert("content".to_owned(), content);
    for key in ["tool_calls", "tool_call_id", "name"] {
        if let Some(value) = message.get(key) {
            fields.insert(key.to_owned(), value.clone());
        }
    }
    let calls = fields.get_mut("tool_calls").and_then(Value::as_array_mut);
    for call in calls.into_iter().flatten() {
        let Some(arguments) = call.pointer_mut("/function/arguments") else {
            continue;
        };
        let parsed = arguments.as_str().map(serde_json::from_str);
        if let Some(Ok(object @ Value::Object(_))) = parsed {
            *arguments = object;
        }
    }
    Value::Object(fields)
}

/// The template's own refusal, such as of roles that do not alternate.
fn raise_exception(message: String) -> Result<minijinja::Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// The date as a template prints it.
fn strftime_now(format: &str) -> Result<String, Error> {
    let wrong = |cause: jiff::Error| Error::new(ErrorKind::InvalidOperation, cause.to_string());
    let now = jiff::Timestamp::from_nanosecond(i128::from(unix_now())).map_err(wrong)?;
    let now = now.to_zoned(jiff::tz::TimeZone::system());
    jiff::fmt::strtime::format(format, &now).map_err(wrong)
}

/// JSON as Python writes it: blanks behind commas and colons, nothing escaped for HTML.
fn tojson(value: ViaDeserialize<Value>, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    // What else Python's takes (ensure_ascii, sort_keys) is left as the templates have it.
    let wrong =
        |cause: serde_json::Error| Error::new(ErrorKind::BadSerialization, cause.to_string());
    let mut bytes = Vec::new();
    match indent {
        Some(width) => {
            let blanks = " ".repeat(width.min(16));
            let layout = serde_json::ser::PrettyFormatter::with_indent(blanks.as_bytes());
            let mut out = serde_json::Serializer::with_formatter(&mut bytes, layout);
            value.0.serialize(&mut out).map_err(wrong)?;
        }
        None => {
            let mut out = serde_json::Serializer::with_formatter(&mut bytes, Spaced);
            value.0.serialize(&mut out).map_err(wrong)?;
        }
    }
    String::from_utf8(bytes)
        .map_err(|cause| Error::new(ErrorKind::BadSerialization, cause.to_string()))
}

/// `{"a": 1, "b": [2, 3]}`.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
    ) -> std::io::Result<()> {
        out.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the ChatML models have it, with tool calls and a look backwards.
    const CHATML: &str = r#"
{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- set ns = namespace(last=messages|length - 1, found=false) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if not ns.found and message.role == "user" and message.content is string and not message.content.startswith('<tool_response>') %}
        {%- set ns.found = true %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == "user" or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set content = message.content if message.content is string else '' %}
        {%- if '</think>' in content %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\n' + content }}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- set call = tool_call.function if tool_call.function else tool_call %}
                {{- '\n<tool_call>\n{"name": "' }}{{- call.name }}{{- '", "arguments": ' }}
                {%- if call.arguments is string %}
                    {{- call.arguments }}
                {%- else %}
                    {{- call.arguments | tojson }}
                {%- endif %}
                {{- '}\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}"#;

    /// As the header-id models have it: a date, a trimmed content, a message kept aside.
    const HEADERS: &str = r#"{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{{- "Today Date: " + date_string + "\n\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"#;

    /// As the instruction-mark models have it: alternation is enforced.
    const MARKS: &str = "{{ bos_token }}{% for message in messages %}\
        {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
        {{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}\
        {% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'].strip() + ' [/INST]' }}\
        {% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}\
        {% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}";

    fn template(text: &str) -> ChatTemplate {
        let config =
            json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "model_max_length": 5});
        ChatTemplate::new(text.to_owned(), specials(&config)).unwrap()
    }

    fn said(role: &str, content: &str) -> Value {
        json!({"role": role, "content": content})
    }

    #[test]
    fn chatml_with_calls_and_thoughts() {
        let template = template(CHATML);
        let messages = [
            said("system", "s"),
            said("user", "hi"),
            json!({"role": "assistant", "content": "<think>x</think>\nlook", "tool_calls": [{
                "id": "1", "type": "function",
                "function": {"name": "f", "arguments": "{\"a\":1,\"b\":[\"<x>\",2]}"}}]}),
            json!({"role": "user", "content": [{"type": "text", "text": "one"},
                {"type": "image_url"}, {"type": "text", "text": "two"}]}),
        ];
        assert_eq!(
            template.render(&messages, true).unwrap(),
            "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n\
             look\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1, \"b\": [\"<x>\", 2]}}\n\
             </tool_call><|im_end|>\n<|im_start|>user\none\ntwo<|im_end|>\n<|im_start|>assistant\n"
        );
        assert_eq!(
            template.render(&messages[1..2], false).unwrap(),
            "<|im_start|>user\nhi<|im_end|>\n"
        );
    }

    #[test]
    fn headers_with_a_date() {
        let text = template(HEADERS)
            .render(&[said("system", " s "), said("user", " hi\n")], true)
            .unwrap();
        assert!(text.starts_with("<s><|start_header_id|>system"), "{text}");
        let date = text.split("Today Date: ").nth(1).unwrap();
        let date = date.split("\n\n").next().unwrap();
        assert_eq!(date.split(' ').count(), 3, "day, month and year: {date}");
        assert!(
            text.ends_with(
                "\n\ns<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>\
                 <|start_header_id|>assistant<|end_header_id|>\n\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn marks_refuse_what_does_not_alternate() {
        let template = template(MARKS);
        let turns = [
            said("user", " a "),
            said("assistant", "b"),
            said("user", "c"),
        ];
        assert_eq!(
            template.render(&turns, true).unwrap(),
            "<s>[INST] a [/INST] b</s>[INST] c [/INST]"
        );
        assert_eq!(template.render(&turns[1..], true), None);
        assert_eq!(template.render(&[said("system", "s")], true), None);
    }

    #[test]
    fn where_a_template_comes_from() {
        let folder = tempfile::tempdir().unwrap();
        let load = || ChatTemplate::load(folder.path());
        let reason = |found: Result<ChatTemplate, String>| found.err().unwrap();
        assert!(reason(load()).contains("no chat template"));
        let write =
            |file: &str, text: &str| std::fs::write(folder.path().join(file), text).unwrap();
        write("tokenizer_config.json", "{");
        assert!(reason(load()).contains("tokenizer_config.json"));
        let config = json!({"eos_token": "!", "chat_template": [
            {"name": "tool_use", "template": "no"},
            {"name": "default", "template": "{{ messages[0].content }}{{ eos_token }}"}]});
        write("tokenizer_config.json", &config.to_string());
        let rendered = |found: Result<ChatTemplate, String>| {
            found.unwrap().render(&[said("user", "x")], true).unwrap()
        };
        assert_eq!(rendered(load()), "x!");
        write(
            "chat_template.jinja",
            "own {{ messages[0]['content'] | tojson(indent=2) }}",
        );
        assert_eq!(rendered(load()), "own \"x\"");
        write("chat_template.jinja", "{% for %}");
        assert!(
            reason(load()).contains("does not render"),
            "{}",
            reason(load())
        );
        write("chat_template.jinja", "{{ raise_exception('never') }}");
        assert!(reason(load()).contains("never"), "{}", reason(load()));
    }
}
