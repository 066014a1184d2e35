//! The inside of a JSON string to text, without a parser for the common case of no escape at all.
//!
//! Lenient: what is not valid becomes U+FFFD, as a replacement decoder would do. The engine has
//! already found the string's end, so there is nothing left to reject.

/// Appends the text of `escaped`, the inside of a JSON string, to `text`.
pub(super) fn append(escaped: &[u8], text: &mut String) {
    let mut rest = escaped;
    while let Some(at) = rest.iter().position(|&b| b == b'\\') {
        let (plain, tail) = rest.split_at(at);
        push_lossy(plain, text);
        let (character, used) = one_escape(tail);
        text.push(character);
        rest = tail.get(used..).unwrap_or_default();
    }
    push_lossy(rest, text);
}

fn push_lossy(bytes: &[u8], text: &mut String) {
    match std::str::from_utf8(bytes) {
        Ok(valid) => text.push_str(valid),
        Err(_) => text.push_str(&String::from_utf8_lossy(bytes)),
    }
}

/// The character of the escape at the start of `tail` and the bytes it takes.
fn one_escape(tail: &[u8]) -> (char, usize) {
    match tail.get(1) {
        Some(b'n') => ('\n', 2),
        Some(b't') => ('\t', 2),
        Some(b'r') => ('\r', 2),
        Some(b'b') => ('\u{8}', 2),
        Some(b'f') => ('\u{c}', 2),
        Some(&c @ (b'"' | b'\\' | b'/')) => (c as char, 2),
        Some(b'u') => unicode(tail),
        Some(_) => (char::REPLACEMENT_CHARACTER, 2),
        None => (char::REPLACEMENT_CHARACTER, 1),
    }
}

fn unicode(tail: &[u8]) -> (char, usize) {
    let Some(first) = unit(tail) else {
        return (char::REPLACEMENT_CHARACTER, 2);
    };
    if !(0xD800..0xE000).contains(&first) {
        return (
            char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER),
            6,
        );
    }
    let second = tail.get(6..).and_then(unit);
    match second {
        Some(low) if first < 0xDC00 && (0xDC00..0xE000).contains(&low) => {
            let code = 0x10000 + ((first - 0xD800) << 10) + (low - 0xDC00);
            (
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
                12,
            )
        }
        _ => (char::REPLACEMENT_CHARACTER, 6),
    }
}

/// The code unit of a `\uXXXX` at the start of `tail`.
fn unit(tail: &[u8]) -> Option<u32> {
    let digits = tail.strip_prefix(b"\\u")?.get(..4)?;
    digits
        .iter()
        .try_fold(0, |value, &d| Some(value * 16 + (d as char).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    fn text(escaped: &str) -> String {
        let mut text = String::new();
        super::append(escaped.as_bytes(), &mut text);
        text
    }

    #[test]
    fn every_escape_is_what_a_json_parser_makes_of_it() {
        for escaped in [
            "",
            "plain",
            r#"a\nb\t\"c\"\\ \/ \b\f\r"#,
            r"\u00e9 \u20ac \ud83d\ude00!",
            "already é €",
        ] {
            let parsed: String = serde_json::from_str(&format!("\"{escaped}\"")).unwrap();
            assert_eq!(text(escaped), parsed);
        }
    }

    #[test]
    fn what_is_broken_is_replaced_and_the_rest_kept() {
        assert_eq!(text(r"a\ud83db"), "a\u{fffd}b");
        assert_eq!(text(r"a\uzz"), "a\u{fffd}zz");
        assert_eq!(text(r"a\"), "a\u{fffd}");
    }
}
