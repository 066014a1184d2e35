//! A model's own chat template: what a server makes of messages before it encodes them.
//!
//! A template is a program that someone else has written: it runs with bounds on its steps, its
//! output, its depth and, where it is tried first, its time and memory.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use minijinja::{Environment, Error, ErrorKind, context};
use serde_json::{Map, Value, json};

use super::guard::{Bounds, brief, imposter, read, within};
use super::jinja::{environment, with_plain_generation};

/// The name of the one template in its environment.
const NAME: &str = "chat";
/// Steps of one rendering. Published templates take some hundred for each message.
const FUEL: u64 = 10_000_000;
/// Bytes of one rendering.
const OUTPUT_BYTES: usize = 64 << 20;
/// Bytes of a template's own file; published ones have some 20 KB.
const TEMPLATE_BYTES: u64 = 16 << 20;
/// What trying a template may take.
const TRIAL: Bounds = Bounds {
    seconds: 20,
    mebibytes: 1_024,
};
/// The files that a template may stand in besides `tokenizer_config.json`, the newest way first.
/// Servers take `chat_template.json`, which belongs to a model's processor, before the
/// tokenizer's own.
pub(super) const FILES: [&str; 2] = ["chat_template.jinja", "chat_template.json"];
pub(super) const CONFIG: &str = "tokenizer_config.json";

/// A template that has proved to render a plain message.
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// The file that it stands in.
    path: PathBuf,
    /// `bos_token`, `eos_token` and the like.
    specials: BTreeMap<String, String>,
    refusals: AtomicU64,
    /// The first bound that a rendering exceeded: nothing is rendered after it.
    exceeded: OnceLock<String>,
}

/// Why a template cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// There is none, or not one that renders: messages can be counted without it.
    Without(String),
    /// It exceeds its bounds.
    Exceeded {
        /// The file that it stands in.
        path: PathBuf,
        /// Which bound.
        bound: String,
    },
}

/// Why nothing came of a rendering.
enum Failed {
    /// The template's own refusal, or a fault of it.
    Refused(Error),
    /// Which bound it exceeded, as the rest of a sentence.
    Exceeded(String),
}

impl ChatTemplate {
    /// The template in a model's folder: `chat_template.jinja`, else `chat_template.json`, else
    /// `chat_template` of `tokenizer_config.json` (of several the one named `default`).
    ///
    /// # Errors
    /// There is none, it does not render, or it exceeds its bounds.
    pub(super) fn load(folder: &Path) -> Result<Self, Unusable> {
        let path = folder.join(CONFIG);
        let config = match path.is_file() {
            true => json_of(&path)?,
            false => Value::Null,
        };
        let (path, text) = match own_file(folder)? {
            Some(found) => found,
            None => match configured(&config["chat_template"]) {
                Some(text) => (path, text),
                None => {
                    let missing = "the tokenizer has no chat template";
                    return Err(Unusable::Without(missing.to_owned()));
                }
            },
        };
        let specials = specials(&config);
        let at = path.clone();
        match within(TRIAL, move || Self::new(at, &text, specials)) {
            Ok(Ok(template)) => Ok(template),
            Ok(Err(Failed::Refused(cause))) => {
                // Its message may have several lines; the kind and the detail are in the first.
                let cause = brief(&cause.to_string());
                Err(Unusable::Without(format!(
                    "the chat template {} does not render: {cause}",
                    path.display()
                )))
            }
            Ok(Err(Failed::Exceeded(bound))) | Err(bound) => {
                Err(Unusable::Exceeded { path, bound })
            }
        }
    }

    /// Whether these are the bytes of a template's own file: that they are Jinja, not whether they
    /// render.
    ///
    /// # Errors
    /// They are not: why, as the rest of a sentence.
    #[cfg_attr(
        not(feature = "hub"),
        expect(dead_code, reason = "only downloads are checked")
    )]
    pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(bytes).map_err(|cause| cause.to_string())?;
        let text = with_plain_generation(text).into_owned();
        let parsed = within(TRIAL, move || environment().add_template_owned(NAME, text));
        match parsed {
            Ok(parsed) => parsed.map_err(|cause| brief(&cause.to_string())),
            Err(bound) => Err(format!("reading it {bound}")),
        }
    }

    fn new(path: PathBuf, text: &str, specials: BTreeMap<String, String>) -> Result<Self, Failed> {
        let mut environment = environment();
        environment.set_fuel(Some(FUEL));
        environment
            .add_template_owned(NAME, with_plain_generation(text).into_owned())
            .map_err(Failed::of)?;
        let template = Self {
            environment,
            path,
            specials,
            refusals: AtomicU64::new(0),
            exceeded: OnceLock::new(),
        };
        template.rendered(&[json!({"role": "user", "content": "a"})], true)?;
        // What grows with the messages shows on more of them; that roles or places are refused
        // there does not matter.
        let text = "the king and the unheard ".repeat(40);
        let turn = |role| json!({"role": role, "content": text});
        let roles = ["user", "assistant"].into_iter().cycle().take(8);
        let messages: Vec<Value> = roles.map(turn).collect();
        match template.rendered(&messages, true) {
            Err(Failed::Exceeded(bound)) => Err(Failed::Exceeded(bound)),
            Ok(_) | Err(Failed::Refused(_)) => Ok(template),
        }
    }

    /// The prompt that a server makes of these messages; with `generation` it ends where the
    /// assistant begins to speak. `None` if the template refuses them, or has exceeded its bounds.
    pub fn render(&self, messages: &[Value], generation: bool) -> Option<String> {
        if self.exceeded.get().is_some() {
            return None;
        }
        let messages: Vec<Value> = messages.iter().map(plain).collect();
        match self.rendered(&messages, generation) {
            Ok(prompt) => Some(prompt),
            Err(Failed::Refused(_)) => None,
            Err(Failed::Exceeded(bound)) => {
                // Another thread may have met a bound before; either tells the cause.
                let _ = self.exceeded.set(bound);
                None
            }
        }
    }

    /// The template's file and which bound a rendering exceeded, as the rest of a sentence.
    pub(crate) fn exceeded(&self) -> Option<(&Path, &str)> {
        Some((&self.path, self.exceeded.get()?))
    }

    /// Takes note that messages of the dataset were refused.
    pub(crate) fn note_refusal(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// How many inputs were counted without the template, because it refused them.
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    fn rendered(&self, messages: &[Value], generation: bool) -> Result<String, Failed> {
        let mut out = Bounded::default();
        let template = self.environment.get_template(NAME).map_err(Failed::of)?;
        let variables = context! {
            messages,
            add_generation_prompt => generation,
            tools => (),
            documents => (),
            ..minijinja::Value::from_serialize(&self.specials)
        };
        let rendered = template.render_captured_to(variables, &mut out);
        if out.full {
            let bound = format!("writes more than {} MiB", OUTPUT_BYTES >> 20);
            return Err(Failed::Exceeded(bound));
        }
        rendered.map_err(Failed::of)?;
        // Templates are texts, and so is what they write.
        Ok(String::from_utf8_lossy(&out.bytes).into_owned())
    }
}

/// What a template has written, up to its bound.
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    full: bool,
}

impl io::Write for &mut Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > OUTPUT_BYTES {
            self.full = true;
            return Err(io::Error::other("the output is full"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Failed {
    fn of(error: Error) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(one) = cause {
            let jinja = one.downcast_ref::<Error>();
            if jinja.is_some_and(|one| one.kind() == ErrorKind::OutOfFuel) {
                return Self::Exceeded(format!("takes more than {FUEL} steps"));
            }
            let detail = jinja.and_then(Error::detail).unwrap_or_default();
            if detail.contains("recursion limit") {
                return Self::Exceeded("calls itself too deep".to_owned());
            }
            cause = one.source();
        }
        Self::Refused(error)
    }
}

/// The template that has a file of its own, with the file.
fn own_file(folder: &Path) -> Result<Option<(PathBuf, String)>, Unusable> {
    for name in FILES {
        let path = folder.join(name);
        if !path.is_file() {
            continue;
        }
        let text = if name.ends_with(".json") {
            let document = json_of(&path)?;
            configured(&document).or_else(|| configured(&document["chat_template"]))
        } else {
            let bytes = bytes_of(&path, TEMPLATE_BYTES)?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        if let Some(text) = text {
            return Ok(Some((path, text)));
        }
    }
    Ok(None)
}

fn bytes_of(path: &Path, limit: u64) -> Result<Vec<u8>, Unusable> {
    let unusable = |reason: String| Unusable::Without(format!("{}: {reason}", path.display()));
    let bytes = read(path, limit).map_err(|cause| unusable(cause.to_string()))?;
    match imposter(&bytes) {
        Some(what) => Err(unusable(format!("is {what}; remove it"))),
        None => Ok(bytes),
    }
}

fn json_of(path: &Path) -> Result<Value, Unusable> {
    let bytes = bytes_of(path, super::guard::FILE_BYTES)?;
    serde_json::from_slice(&bytes)
        .map_err(|cause| Unusable::Without(format!("{} is no JSON: {cause}", path.display())))
}

/// The template of a configuration: a text, or several by name, as a list or as an object.
fn configured(value: &Value) -> Option<String> {
    const DEFAULT: &str = "default";
    let text = match value {
        Value::String(_) => value,
        Value::Array(several) => {
            let default = several.iter().find(|one| one["name"] == DEFAULT);
            &default.or(several.first())?["template"]
        }
        Value::Object(several) => several.get(DEFAULT)?,
        _ => return None,
    };
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
        let made = ChatTemplate::new(PathBuf::from("t"), text, specials(&config));
        made.unwrap_or_else(|_| panic!("{text} does not render"))
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
        let reason = |found: Result<ChatTemplate, Unusable>| match found.err().unwrap() {
            Unusable::Without(reason) => reason,
            Unusable::Exceeded { bound, .. } => panic!("{bound}"),
        };
        assert!(reason(load()).contains("no chat template"));
        let write =
            |file: &str, text: &str| std::fs::write(folder.path().join(file), text).unwrap();
        let rendered = || {
            load()
                .ok()
                .unwrap()
                .render(&[said("user", "x")], true)
                .unwrap()
        };
        write("tokenizer_config.json", "{");
        assert!(reason(load()).contains("tokenizer_config.json"));
        // Each row is written over what the rows before it have left.
        let named = r#"[{"name": "tool_use", "template": "no"},
            {"name": "default", "template": "{{ messages[0].content }}{{ eos_token }}"}]"#;
        for (file, text, expected) in [
            (CONFIG, r#"{"chat_template": "plain {{ messages[0].content }}"}"#.to_owned(), "plain x"),
            (CONFIG, format!("{{\"eos_token\": \"!\", \"chat_template\": {named}}}"), "x!"),
            (CONFIG, r#"{"eos_token": {"content": "?"}, "chat_template": [{"name": "rag", "template": "r"}]}"#.to_owned(), "r"),
            (CONFIG, r#"{"eos_token": "!", "chat_template": {"default": "map", "rag": "r"}}"#.to_owned(), "map"),
            // The older separate file, as a processor writes it, and in other shapes.
            (FILES[1], r#"{"chat_template": "old {{ messages[0].content }}"}"#.to_owned(), "old x"),
            (FILES[1], format!("{{\"chat_template\": {named}}}"), "x!"),
            (FILES[1], named.to_owned(), "x!"),
            (FILES[1], "\"bare {{ eos_token }}\"".to_owned(), "bare !"),
            (FILES[1], r#"{"other": 1}"#.to_owned(), "map"),
            (FILES[0], "own {{ messages[0]['content'] | tojson(indent=2) }}".to_owned(), "own \"x\""),
        ] {
            write(file, &text);
            assert_eq!(rendered(), expected, "{file}: {text}");
        }
        for (text, words) in [
            ("{% for %}", "does not render"),
            ("{{ raise_exception('never') }}", "never"),
            ("<!DOCTYPE html><p>Sign in", "a web page (HTML)"),
            (
                "version https://git-lfs.github.com/spec/v1\noid",
                "git lfs pull",
            ),
            ("{% generation %}", "does not render"),
        ] {
            write(FILES[0], text);
            let reason = reason(load());
            assert!(
                reason.contains(words) && reason.contains(FILES[0]),
                "{text}: {reason}"
            );
            assert_eq!(reason.lines().count(), 1, "{reason}");
        }
        // The configuration may be missing altogether.
        write(FILES[0], "{{ bos_token }}alone");
        std::fs::remove_file(folder.path().join(CONFIG)).unwrap();
        assert_eq!(rendered(), "alone");
    }

    /// Templates that would not end, or not fit, when they are loaded.
    #[test]
    fn templates_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        for (text, bound) in [
            (
                "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}\
                 {% endfor %}{% endfor %}{% endfor %}",
                "takes more than 10000000 steps",
            ),
            (
                "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
                "calls itself too deep",
            ),
            (
                "{% for a in range(9999) %}{{ 'x' * 100000 }}{% endfor %}",
                "writes more than 64 MiB",
            ),
            (
                "{% macro m(n) %}{% for a in range(9999) %}{% if n %}{{ m(n - 1) }}{% endif %}\
                 {% endfor %}{% endmacro %}{{ m(5) }}",
                "takes more than 10000000 steps",
            ),
            // Only what a longer conversation has makes it long.
            (
                "{% for a in range(messages|length * 1000) %}{% for b in range(messages|length * 900) %}\
                 {{ a }}{% endfor %}{% endfor %}",
                "takes more than 10000000 steps",
            ),
        ] {
            let path = folder.path().join(FILES[0]);
            std::fs::write(&path, text).unwrap();
            let found = ChatTemplate::load(folder.path()).err().unwrap();
            let bound = bound.to_owned();
            assert_eq!(found, Unusable::Exceeded { path, bound }, "{text}");
        }
    }

    #[test]
    fn a_bound_that_is_met_later_is_kept() {
        let template = template(
            "{% if messages[0].content == 'z' %}{% for a in range(9999) %}{% for b in range(9999) %}\
             {% endfor %}{% endfor %}{% endif %}ok",
        );
        assert_eq!(template.render(&[said("user", "a")], true).unwrap(), "ok");
        assert_eq!(template.exceeded(), None);
        assert_eq!(template.render(&[said("user", "z")], true), None);
        let (path, bound) = template.exceeded().unwrap();
        assert_eq!(
            (path, bound),
            (Path::new("t"), "takes more than 10000000 steps")
        );
        assert_eq!(
            template.render(&[said("user", "a")], true),
            None,
            "nothing more is rendered"
        );
    }
}
