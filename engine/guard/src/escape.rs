//! Text from outside as a terminal, a log and a CSV cell may have it.

use std::borrow::Cow;

use crate::{hidden, hidden_by_shape};

/// Whether a character does something to what is shown around it, or cannot be seen: controls,
/// marks of direction, characters without width, line separators.
pub const fn is_hostile(c: char) -> bool {
    matches!(c,
        '\0'..='\x1F' | '\x7F'..='\u{9F}' | '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}'
        | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FDD0}'..='\u{FDEF}' | '\u{FEFF}'
        | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
}

/// Places of styles in text that is made for a terminal, and what stands there at last. Characters
/// that mean nothing: in text from outside they are escaped as all hostile ones.
const STYLES: [(char, &str); 6] = [
    ('\u{FDD0}', "0"),
    ('\u{FDD1}', "1"),
    ('\u{FDD2}', "2"),
    ('\u{FDD3}', "31"),
    ('\u{FDD4}', "32"),
    ('\u{FDD5}', "33"),
];

/// Text in a style by its number (1 bold, 2 faint, 31 red, 32 green, 33 yellow), for [`painted`].
pub fn style(text: &str, code: &str) -> String {
    let mark = |wanted: &str| {
        let found = STYLES.iter().find(|(_, code)| *code == wanted);
        found.map_or('\u{FDD0}', |(mark, _)| *mark)
    };
    format!("{}{text}{}", mark(code), mark("0"))
}

/// What a terminal gets, styles included. Line breaks stay.
pub fn painted(text: &str) -> Cow<'_, str> {
    escaped(secretless(text), &|c| {
        let style = STYLES.iter().find(|(mark, _)| *mark == c);
        match style {
            Some((_, code)) => Some(format!("\x1b[{code}m")),
            None => (c == '\n').then(|| "\n".to_owned()),
        }
    })
}

/// The text for a terminal, a log or a file of text: without credentials, and nothing in it does
/// anything but show. Line breaks stay.
pub fn shown(text: &str) -> Cow<'_, str> {
    escaped(secretless(text), &|c| (c == '\n').then(|| "\n".to_owned()))
}

/// The same on one line.
pub fn shown_line(text: &str) -> Cow<'_, str> {
    escaped(secretless(text), &|_| None)
}

/// A cell of CSV. A number stays one; text that a spreadsheet would take for a formula does not.
pub fn cell(text: &str) -> Cow<'_, str> {
    if text.is_empty() || text == "-" || text.parse::<f64>().is_ok() {
        return Cow::Borrowed(text);
    }
    let clean = escaped(hidden(text), &|_| None);
    if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']) {
        return Cow::Owned(format!("'{clean}"));
    }
    clean
}

/// A JSON document with what is hostile in its texts as codes; it is the same document.
pub fn ascii_json(json: &str) -> Cow<'_, str> {
    coded(json, |c, out| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    })
}

/// A text in double quotes of YAML with what is hostile in it as codes; it is the same text.
pub fn ascii_yaml(quoted: &str) -> Cow<'_, str> {
    coded(quoted, |c, out| match u32::from(c) {
        code @ ..=0xFFFF => out.push_str(&format!("\\u{code:04x}")),
        code => out.push_str(&format!("\\U{code:08x}")),
    })
}

/// With what is hostile beyond ASCII as `code` writes it.
fn coded(text: &str, code: impl Fn(char, &mut String)) -> Cow<'_, str> {
    let is_coded = |c: char| c >= '\x7F' && is_hostile(c);
    if !text.contains(is_coded) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_coded(c) {
            code(c, &mut out);
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn secretless(text: &str) -> Cow<'_, str> {
    match hidden(text) {
        Cow::Borrowed(text) => hidden_by_shape(text),
        Cow::Owned(text) => Cow::Owned(hidden_by_shape(&text).into_owned()),
    }
}

fn escaped<'a>(text: Cow<'a, str>, kept: &dyn Fn(char) -> Option<String>) -> Cow<'a, str> {
    if !text.contains(is_hostile) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if !is_hostile(c) {
            out.push(c);
            continue;
        }
        match (kept(c), c) {
            (Some(kept), _) => out.push_str(&kept),
            (None, '\n') => out.push_str("\\n"),
            (None, '\r') => out.push_str("\\r"),
            (None, '\t') => out.push_str("\\t"),
            (None, c) if c < '\u{100}' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            (None, c) => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hostile_is_shown_as_it_is() {
        for (text, expected) in [
            ("plain – ≤ é 日本 👍", "plain – ≤ é 日本 👍"),
            ("a\x1b[31mb", "a\\x1b[31mb"),
            ("a\u{9b}31mb", "a\\x9b31mb"),
            ("a\u{202e}b\u{2066}c", "a\\u{202e}b\\u{2066}c"),
            (
                "a\u{200b}b\u{feff}c\u{61c}",
                "a\\u{200b}b\\u{feff}c\\u{61c}",
            ),
            ("a\u{2028}b\r\tc\0", "a\\u{2028}b\\r\\tc\\x00"),
            ("\u{FDD1}", "\\u{fdd1}"),
        ] {
            assert_eq!(shown(text), expected);
        }
        assert_eq!(shown("a\nb"), "a\nb");
        assert_eq!(shown_line("a\nb"), "a\\nb");
    }

    #[test]
    fn codes_are_those_of_the_language() {
        let text = "\"é 👍 \u{85}\u{202e}\u{e0001}\"";
        assert_eq!(ascii_json(text), "\"é 👍 \\u0085\\u202e\\udb40\\udc01\"");
        assert_eq!(ascii_yaml(text), "\"é 👍 \\u0085\\u202e\\U000e0001\"");
    }

    #[test]
    fn styles_are_ours_alone() {
        assert_eq!(painted(&style("a", "33")), "\x1b[33ma\x1b[0m");
        assert_eq!(painted("a\x1b[33m\n"), "a\\x1b[33m\n");
    }

    #[test]
    fn cells_are_no_formulas() {
        for (text, expected) in [
            ("-1.5", "-1.5"),
            ("+3", "+3"),
            ("1e5", "1e5"),
            ("-", "-"),
            ("", ""),
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-cmd|' /C calc'!A0", "'-cmd|' /C calc'!A0"),
            ("\t=1", "'\\t=1"),
            ("a\nb", "a\\nb"),
            ("Request Latency (ms)", "Request Latency (ms)"),
        ] {
            assert_eq!(cell(text), expected);
        }
    }

    #[test]
    fn json_stays_json() {
        assert_eq!(
            ascii_json("{\"a\":\"\u{202e}é\u{9b}\"}"),
            "{\"a\":\"\\u202eé\\u009b\"}"
        );
    }
}
