//! JSON as servers write it: what the standard forbids and everybody can read all the same.
//!
//! Numbers that JSON does not know (`NaN`, `-Infinity`, `1e999`) become null, halves of surrogate
//! pairs and bytes that are no UTF-8 become U+FFFD, raw control characters inside strings stand for
//! themselves. What is broken otherwise stays broken.

use serde_json::Value;

/// Reads a document; `None` if it is none.
pub(super) fn parse(bytes: &[u8]) -> Option<Value> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    if let Ok(document) = serde_json::from_slice(bytes) {
        return Some(document);
    }
    let first = bytes.trim_ascii_start().first()?;
    if !matches!(first, b'{' | b'[' | b'"') {
        return None;
    }
    serde_json::from_str(&mended(&String::from_utf8_lossy(bytes))).ok()
}

/// The same text with everything in it that can be mended.
fn mended(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let used = match first {
            '"' => string(rest, &mut out),
            '+' | '-' | '.' | '0'..='9' | 'a'..='z' | 'A'..='Z' => word(rest, &mut out),
            other => {
                out.push(other);
                other.len_utf8()
            }
        };
        rest = rest.get(used..).unwrap_or_default();
    }
    out
}

/// Copies a number or a literal; gives the bytes used.
fn word(rest: &str, out: &mut String) -> usize {
    let of_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_');
    let end = rest.find(|c| !of_word(c)).unwrap_or(rest.len());
    let word = rest.get(..end).unwrap_or_default();
    let bare = word.trim_start_matches(['+', '-']);
    let is_number = bare.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || ["nan", "inf", "infinity"].contains(&bare.to_ascii_lowercase().as_str());
    if is_number && serde_json::from_str::<Value>(word).is_err() {
        out.push_str("null");
    } else {
        out.push_str(word);
    }
    end
}

/// Copies a string, its quotes included; gives the bytes used.
fn string(rest: &str, out: &mut String) -> usize {
    out.push('"');
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                out.push('"');
                return at + 1;
            }
            '\\' => {
                let Some((_, escaped)) = chars.next() else {
                    break;
                };
                match escaped {
                    'u' => {
                        let (text, digits) = unicode(rest.get(at..).unwrap_or_default());
                        out.push_str(text);
                        for _ in 0..digits {
                            chars.next();
                        }
                    }
                    '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' => {
                        out.push('\\');
                        out.push(escaped);
                    }
                    other => out.push(other),
                }
            }
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    rest.len()
}

/// The escape at the start of `rest`, as it may stand, and how many characters follow its `\u`.
fn unicode(rest: &str) -> (&str, usize) {
    const LOST: &str = "\\ufffd";
    let unit = |at: usize| {
        let digits = rest.get(at..at + 6)?.strip_prefix("\\u")?;
        u32::from_str_radix(digits, 16).ok()
    };
    match unit(0) {
        None => (LOST, 0),
        Some(0xD800..0xDC00) => match unit(6) {
            Some(0xDC00..0xE000) => (rest.get(..12).unwrap_or(LOST), 10),
            _ => (LOST, 4),
        },
        Some(0xDC00..0xE000) => (LOST, 4),
        Some(_) => (rest.get(..6).unwrap_or(LOST), 4),
    }
}

/// What a text is that is no JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoJson {
    /// A message, on one line and not too long.
    Message(String),
    /// A sign of life or an end mark.
    Sign,
    /// Meant to be JSON.
    Broken,
}

/// Tells them apart.
pub(super) fn no_json(bytes: &[u8]) -> NoJson {
    const SIGNS: [&str; 17] = [
        "done",
        "end",
        "eof",
        "eos",
        "ping",
        "pong",
        "heartbeat",
        "keepalive",
        "keep-alive",
        "keep_alive",
        "alive",
        "ok",
        "start",
        "null",
        "none",
        "true",
        "false",
    ];
    const LENGTH: usize = 300;
    let text = String::from_utf8_lossy(bytes);
    // `[DONE]` and its like have no quote in them.
    let start = text.trim_start();
    if start.starts_with('{') || (start.starts_with('[') && text.contains(['"', '{'])) {
        return NoJson::Broken;
    }
    let bare = text
        .trim()
        .trim_matches(|c: char| !c.is_alphanumeric())
        .to_lowercase();
    if !bare.chars().any(char::is_alphabetic) || SIGNS.contains(&bare.as_str()) {
        return NoJson::Sign;
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    NoJson::Message(words.join(" ").chars().take(LENGTH).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_can_be_read_is_read() {
        for (text, expected) in [
            (
                &br#"{"a":NaN,"b":[Infinity,-Infinity,-nan, inf ],"c":"NaN"}"#[..],
                json!({"a": null, "b": [null, null, null, null], "c": "NaN"}),
            ),
            (
                br#"{"a":1e999,"b":-1.5e3,"c":01,"d":.5,"e":1.}"#,
                json!({"a": null, "b": -1500.0, "c": null, "d": null, "e": null}),
            ),
            (
                br#"{"a":"x\ud83dy","b":"\udc00","c":"\ud83d\ude00"}"#,
                json!({"a": "x\u{fffd}y", "b": "\u{fffd}", "c": "\u{1f600}"}),
            ),
            (
                br#"{"a":"\ud83d\ud83d\ude00"}"#,
                json!({"a": "\u{fffd}\u{1f600}"}),
            ),
            (
                b"{\"a\":\"one\ntwo\tthree\",\"b\":\"\\x41\\'\"}",
                json!({"a": "one\ntwo\tthree", "b": "x41'"}),
            ),
            (b"{\"a\":\"\xff\"}", json!({"a": "\u{fffd}"})),
            (b"\xEF\xBB\xBF{\"a\":1}", json!({"a": 1})),
            (br#"{"a":"\uzz"}"#, json!({"a": "\u{fffd}zz"})),
        ] {
            let text_shown = String::from_utf8_lossy(text);
            assert_eq!(parse(text), Some(expected), "{text_shown}");
        }
    }

    #[test]
    fn what_is_broken_stays_broken() {
        for text in [
            "{bad json}",
            "{\"a\":",
            "{\"a\":\"x",
            "NaN",
            "words",
            "",
            "{\"a\":x}",
            "\"\\",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn messages_are_told_from_signs_of_life() {
        let message = |text: &str| NoJson::Message(text.to_owned());
        for (text, expected) in [
            ("Internal Server Error", message("Internal Server Error")),
            (" engine\n dead ", message("engine dead")),
            ("<html>no</html>", message("<html>no</html>")),
            ("[DONE]", NoJson::Sign),
            ("[done]", NoJson::Sign),
            ("ping", NoJson::Sign),
            ("keep-alive", NoJson::Sign),
            ("{bad json}", NoJson::Broken),
            ("", NoJson::Sign),
            ("...", NoJson::Sign),
            ("42", NoJson::Sign),
        ] {
            assert_eq!(no_json(text.as_bytes()), expected, "{text}");
        }
    }
}
