//! What the `transformers` library lends to chat templates beyond Jinja: the tag `generation`,
//! functions, `tojson` in Python's layout, methods of Python's strings and lists.

use std::borrow::Cow;
use std::fmt::Write;

use minijinja::value::{Kwargs, Rest, Value as Given, ValueKind, ViaDeserialize};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State};
use minijinja_contrib::pycompat;
use serde_json::Value;

use pinfire_base::clock::unix_now;

/// Blanks of one level of `tojson(indent=…)`.
const WIDEST: usize = 16;

/// An environment in which chat templates find what they know.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_formatter(as_python_prints);
    minijinja_contrib::add_to_environment(&mut environment);
    environment.set_unknown_method_callback(method);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.add_filter("tojson", tojson);
    environment
}

/// The template with its `{% generation %}` blocks as plain blocks: they mark what the assistant
/// says for training and change nothing of the text. Lines, columns of other tags and whitespace
/// control stay as they are; so do strings, comments and raw blocks that hold such a tag.
pub(super) fn with_plain_generation(text: &str) -> Cow<'_, str> {
    if !text.contains("generation") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = match rest.as_bytes().get(1) {
            Some(b'#') => rest.find("#}").map_or(rest.len(), |end| end + 2),
            Some(b'{') => code_end(rest, "}}"),
            Some(b'%') => {
                let end = code_end(rest, "%}");
                let name = tag_name(&rest[..end]);
                let plain = match name {
                    "generation" => "with",
                    "endgeneration" => "endwith",
                    other => other,
                };
                if name == "raw" {
                    raw_end(rest, end)
                } else if plain != name {
                    out.push_str(&rest[..end].replacen(name, plain, 1));
                    rest = &rest[end..];
                    continue;
                } else {
                    end
                }
            }
            _ => 1,
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Where the code that `text` begins with ends, its end mark included; marks in strings are none.
fn code_end(text: &str, mark: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(2) {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if byte == b'\\' => escaped = true,
            Some(open) if byte == open => quote = None,
            Some(_) => {}
            None if byte == b'\'' || byte == b'"' => quote = Some(byte),
            None if text.as_bytes()[at..].starts_with(mark.as_bytes()) => return at + mark.len(),
            None => {}
        }
    }
    text.len()
}

/// The word of a tag that has no more than it, or the first of several.
fn tag_name(tag: &str) -> &str {
    let inside = tag.trim_start_matches("{%").trim_end_matches("%}");
    let inside = inside.trim_matches(['-', '+']).trim();
    inside.split_whitespace().next().unwrap_or_default()
}

/// Where the raw block ends whose opening tag has `opened` bytes.
fn raw_end(text: &str, opened: usize) -> usize {
    let mut from = opened;
    while let Some(at) = text[from..].find("{%") {
        let end = from + at + code_end(&text[from + at..], "%}");
        if tag_name(&text[from + at..end]) == "endraw" {
            return end;
        }
        from += at + 2;
    }
    text.len()
}

/// Python's words for what has no text of its own.
fn as_python_prints(
    out: &mut Output<'_>,
    state: &State<'_, '_>,
    value: &Given,
) -> Result<(), Error> {
    let word = match value.kind() {
        ValueKind::None => "None",
        ValueKind::Bool if value.is_true() => "True",
        ValueKind::Bool => "False",
        _ => return minijinja::escape_formatter(out, state, value),
    };
    out.write_str(word).map_err(Error::from)
}

/// A method of Python's that minijinja does not have.
fn method(
    state: &State<'_, '_>,
    value: &Given,
    name: &str,
    given: &[Given],
) -> Result<Given, Error> {
    match pycompat::unknown_method_callback(state, value, name, given) {
        Err(error) if error.kind() == ErrorKind::UnknownMethod => {}
        done => return done,
    }
    let unknown = || Error::from(ErrorKind::UnknownMethod);
    if value.kind() == ValueKind::Seq && name == "index" {
        let wanted = given.first().ok_or_else(unknown)?;
        let place = value.try_iter()?.position(|one| one == *wanted);
        let missing = || Error::new(ErrorKind::InvalidOperation, "the value is not in the list");
        return place.map(Given::from).ok_or_else(missing);
    }
    if name == "copy" && matches!(value.kind(), ValueKind::Seq | ValueKind::Map) {
        return Ok(value.clone());
    }
    let text = value.as_str().ok_or_else(unknown)?;
    let argument = |n: usize| given.get(n).and_then(Given::as_str);
    let parts = |(before, between, after): (&str, &str, &str)| {
        Given::from(vec![
            before.to_owned(),
            between.to_owned(),
            after.to_owned(),
        ])
    };
    let cut = match name {
        "removeprefix" => argument(0).map(|it| text.strip_prefix(it).unwrap_or(text)),
        "removesuffix" => argument(0).map(|it| text.strip_suffix(it).unwrap_or(text)),
        "casefold" => return Ok(Given::from(text.to_lowercase())),
        "index" => {
            let place = argument(0).and_then(|it| text.find(it));
            let missing = || Error::new(ErrorKind::InvalidOperation, "substring not found");
            let place = place.map(|at| text[..at].chars().count());
            return place.map(Given::from).ok_or_else(missing);
        }
        "partition" => {
            let at = argument(0).ok_or_else(unknown)?;
            let found = text.split_once(at);
            return Ok(parts(found.map_or((text, "", ""), |(a, b)| (a, at, b))));
        }
        "rpartition" => {
            let at = argument(0).ok_or_else(unknown)?;
            let found = text.rsplit_once(at);
            return Ok(parts(found.map_or(("", "", text), |(a, b)| (a, at, b))));
        }
        "rsplit" => {
            let at = argument(0).ok_or_else(unknown)?;
            let most = given.get(1).and_then(Given::as_usize);
            let mut found: Vec<&str> = match most {
                Some(most) => text.rsplitn(most + 1, at).collect(),
                None => text.rsplit(at).collect(),
            };
            found.reverse();
            return Ok(Given::from_serialize(found));
        }
        _ => None,
    };
    cut.map(Given::from).ok_or_else(unknown)
}

/// The template's own refusal, such as of roles that do not alternate.
fn raise_exception(message: String) -> Result<Given, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// The date as a template prints it.
fn strftime_now(format: &str) -> Result<String, Error> {
    let wrong = |cause: jiff::Error| Error::new(ErrorKind::InvalidOperation, cause.to_string());
    let now = jiff::Timestamp::from_nanosecond(i128::from(unix_now())).map_err(wrong)?;
    let now = now.to_zoned(pinfire_base::zone::local());
    jiff::fmt::strtime::format(format, &now).map_err(wrong)
}

/// JSON as Python's `json.dumps` writes it, with the arguments that `transformers` passes on.
fn tojson(value: ViaDeserialize<Value>, given: Rest<Given>) -> Result<String, Error> {
    let (named, placed) = match given.split_last() {
        Some((last, placed)) if last.is_kwargs() => (Some(Kwargs::try_from(last.clone())?), placed),
        _ => (None, &given[..]),
    };
    let option = |place: usize, name: &str| -> Result<Option<Given>, Error> {
        let given = match (placed.get(place), &named) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(named)) => named.get::<Option<Given>>(name)?,
            (None, None) => None,
        };
        Ok(given.filter(|one| !one.is_none() && !one.is_undefined()))
    };
    let ensure_ascii = option(0, "ensure_ascii")?;
    let indent = option(1, "indent")?.map(|width| match width.as_str() {
        Some(text) => text.chars().take(WIDEST).collect(),
        None => " ".repeat(width.as_usize().unwrap_or(0).min(WIDEST)),
    });
    let (mut item, mut key) = (", ".to_owned(), ": ".to_owned());
    if indent.is_some() {
        ",".clone_into(&mut item);
    }
    if let Some(given) = option(2, "separators")? {
        let both: Vec<Given> = given.try_iter()?.collect();
        if let [first, second] = &both[..] {
            (item, key) = (first.to_string(), second.to_string());
        }
    }
    let sort_keys = option(3, "sort_keys")?;
    let layout = Layout {
        ascii: ensure_ascii.is_some_and(|one| one.is_true()),
        sorted: sort_keys.is_some_and(|one| one.is_true()),
        indent,
        item,
        key,
    };
    let mut out = String::new();
    layout.value(&value.0, 0, &mut out);
    Ok(out)
}

/// How JSON is laid out.
struct Layout {
    /// Everything beyond ASCII is escaped.
    ascii: bool,
    sorted: bool,
    /// What each level begins with; `None` for all on one line.
    indent: Option<String>,
    /// Between two values.
    item: String,
    /// Between a key and its value.
    key: String,
}

impl Layout {
    fn value(&self, value: &Value, depth: usize, out: &mut String) {
        match value {
            Value::String(text) => self.text(text, out),
            Value::Array(values) => {
                let values = values.iter().map(|value| (None, value));
                self.several(values, ['[', ']'], depth, out);
            }
            Value::Object(fields) => {
                let mut fields: Vec<_> = fields.iter().map(|(key, v)| (Some(key), v)).collect();
                if self.sorted {
                    fields.sort_by_key(|(key, _)| *key);
                }
                self.several(fields.into_iter(), ['{', '}'], depth, out);
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
        }
    }

    fn several<'a>(
        &self,
        values: impl ExactSizeIterator<Item = (Option<&'a String>, &'a Value)>,
        [open, close]: [char; 2],
        depth: usize,
        out: &mut String,
    ) {
        let empty = values.len() == 0;
        out.push(open);
        for (n, (key, value)) in values.enumerate() {
            if n > 0 {
                out.push_str(&self.item);
            }
            self.line(depth + 1, out);
            if let Some(key) = key {
                self.text(key, out);
                out.push_str(&self.key);
            }
            self.value(value, depth + 1, out);
        }
        if !empty {
            self.line(depth, out);
        }
        out.push(close);
    }

    fn line(&self, depth: usize, out: &mut String) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    }

    fn text(&self, text: &str, out: &mut String) {
        let quoted = Value::from(text).to_string();
        if !self.ascii {
            return out.push_str(&quoted);
        }
        for c in quoted.chars() {
            if c.is_ascii() {
                out.push(c);
                continue;
            }
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rendered(template: &str) -> String {
        let template = with_plain_generation(template);
        let variables = json!({
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "a=b=c", "extra": null},
                {"role": "user", "content": "Ünï"},
            ],
            "tools": [{"name": "f", "b": [1, 2.5, true, null], "a": {}}],
            "yes": true, "nothing": null,
        });
        let mut environment = environment();
        environment
            .add_template_owned("t", template.into_owned())
            .unwrap_or_else(|e| panic!("{e}"));
        let template = environment.get_template("t").unwrap();
        template
            .render(variables)
            .unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// What templates of published models use beyond plain Jinja, and what Python makes of it.
    #[test]
    fn what_templates_use() {
        for (template, expected) in [
            // The tag `generation`, in all its writings.
            ("a{% generation %}b{% endgeneration %}c", "abc"),
            ("a {%- generation -%} b {%- endgeneration -%} c", "abc"),
            (
                "a\n  {% generation %}\nb\n  {% endgeneration %}\nc",
                "a\nb\nc",
            ),
            (
                "{%generation%}{{ messages[0].content }}{%endgeneration%}",
                "Hi",
            ),
            ("{%+ generation +%}x{%+ endgeneration +%}", "x"),
            (
                "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}\
              <e>{% endgeneration %}{% else %}{{ m.content }};{% endif %}{% endfor %}",
                "Hi;a=b=c<e>Ünï;",
            ),
            // Jinja's own scopes: what is set inside of it is gone behind it.
            (
                "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}",
                "21",
            ),
            (
                "{{ '{% generation %}' }}{# {% generation %} #}",
                "{% generation %}",
            ),
            (
                "{% raw %}{% generation %}{% endraw %}!",
                "{% generation %}!",
            ),
            (
                "{{ \"it's\" }}{% set generation = 5 %}{{ generation }}",
                "it's5",
            ),
            // Neighbours of a loop's item.
            (
                "{% for m in messages %}{{ loop.previtem.role if loop.previtem is defined }}>{{ m.role }}<\
              {{ loop.nextitem.role if not loop.last }} {% endfor %}",
                ">user<assistant user>assistant<user assistant>user< ",
            ),
            (
                "{% for m in messages if m.role == 'user' %}{{ loop.index0 }}{{ loop.revindex }}\
              {% endfor %}",
                "0211",
            ),
            (
                "{% for m in messages %}{% if loop.index == 2 %}{% break %}{% endif %}x{% endfor %}",
                "x",
            ),
            (
                "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}x{% endfor %}",
                "xx",
            ),
            // JSON as Python writes it.
            (
                "{{ tools | tojson }}",
                r#"[{"name": "f", "b": [1, 2.5, true, null], "a": {}}]"#,
            ),
            (
                "{{ tools[0].b | tojson(indent=2) }}",
                "[\n  1,\n  2.5,\n  true,\n  null\n]",
            ),
            (
                "{{ tools[0] | tojson(separators=(',', ':')) }}",
                r#"{"name":"f","b":[1,2.5,true,null],"a":{}}"#,
            ),
            (
                "{{ tools[0] | tojson(sort_keys=true) }}",
                r#"{"a": {}, "b": [1, 2.5, true, null], "name": "f"}"#,
            ),
            ("{{ messages[2].content | tojson }}", "\"Ünï\""),
            (
                "{{ messages[2].content | tojson(ensure_ascii=True) }}",
                r#""\u00dcn\u00ef""#,
            ),
            ("{{ '𝄞' | tojson(true) }}", r#""\ud834\udd1e""#),
            (
                "{{ [] | tojson(indent=4) }}{{ {} | tojson(indent=4) }}",
                "[]{}",
            ),
            ("{{ '<a&b>' | tojson(ensure_ascii=False) }}", "\"<a&b>\""),
            // Methods of Python.
            (
                "{{ ' x '.strip() }}{{ 'ab'.startswith('a') }}{{ 'ab'.endswith(('c', 'b')) }}",
                "xTrueTrue",
            ),
            (
                "{{ messages[1].content.split('=')[-1] }}{{ 'a=b=c'.split('=', 1)[1] }}",
                "cb=c",
            ),
            (
                "{{ 'a=b=c'.rsplit('=', 1)[0] }}{{ 'a=b=c'.rsplit('=') | length }}",
                "a=b3",
            ),
            (
                "{{ '<t>x</t>'.removeprefix('<t>').removesuffix('</t>') }}",
                "x",
            ),
            (
                "{{ 'a=b=c'.partition('=')[2] }}{{ 'a=b=c'.rpartition('=')[0] }}",
                "b=ca=b",
            ),
            (
                "{{ 'äbc'.index('b') }}{{ ['x', 'y'].index('y') }}{{ 'abc'.find('z') }}",
                "11-1",
            ),
            (
                "{% for k, v in tools[0].items() %}{{ k }}{% endfor %}{{ tools[0].get('z', 'no') }}",
                "namebano",
            ),
            (
                "{{ 'a,b'.replace(',', ';').upper() }}{{ 'aB'.title() }}{{ 'x'.join(['1', '2']) }}",
                "A;BAb1x2",
            ),
            (
                "{{ '{} and {}'.format('a', 1) }}{{ '%s-%d' | format('a', 3) }}",
                "a and 1a-3",
            ),
            ("{{ tools[0].keys() | list | join(',') }}", "name,b,a"),
            // What Python prints.
            (
                "{{ yes }} {{ nothing }} {{ missing }}|{{ messages[1].extra }}",
                "True None |None",
            ),
            (
                "{{ 'a' ~ 1 ~ 'b' }}{{ 'ab' * 2 }}{{ 7 // 2 }}{{ 2 ** 3 }}{{ 'abc'[::-1] }}{{ [1, 2] + [3] }}",
                "a1babab38cba[1, 2, 3]",
            ),
            (
                "{{ 'x' if 'a' in 'cat' and 3 is divisibleby 3 and nothing is none and missing is not defined }}",
                "x",
            ),
            (
                "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | join('+') }}",
                "Hi+Ünï",
            ),
            (
                "{{ messages | rejectattr('extra', 'defined') | list | length }}",
                "2",
            ),
            (
                "{% macro say(m, end='.') %}{{ m.content }}{{ end }}{% endmacro %}{{ say(messages[0]) }}\
              {{ say(messages[0], end='!') }}",
                "Hi.Hi!",
            ),
            (
                "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
                "3",
            ),
            (
                "{% set text %}in {{ messages[0].content }}{% endset %}{{ text | upper | trim }}",
                "IN HI",
            ),
            (
                "{% filter upper %}x{% endfilter %}{% if false %}{% elif true %}y{% endif %}",
                "Xy",
            ),
            (
                "{{ strftime_now('%Y') | int > 2000 }}{{ strftime_now is defined }}",
                "TrueTrue",
            ),
            (
                "{%- for key in tools[0] | dictsort -%}{{ key[0] }}{%- endfor -%}",
                "abname",
            ),
        ] {
            assert_eq!(rendered(template), expected, "{template}");
        }
    }

    #[test]
    fn other_tags_are_not_touched() {
        for same in [
            "{% generation_of x %}",
            "{{ generation }}",
            "{% set x = 'generation' %}",
            "generation {",
            "{% raw %}{% generation %}",
            "{# generation",
            "{{ 'a",
            "{% if generation",
        ] {
            assert_eq!(with_plain_generation(same), same);
        }
    }
}
