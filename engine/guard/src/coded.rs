//! The forms in which a text comes back from a server: escaped, percent-coded, in base64.

use std::fmt::Write;

/// Three bytes are four letters of base64: of a text inside of another, this many letters at each
/// end depend on its neighbours.
const LEAST_CODED: usize = 8;

/// All forms of a text but the text itself; of what a URL has it also the forms of what it means.
pub fn forms(text: &str) -> Vec<String> {
    let decoded = percent_decoded(text);
    let mut forms = forms_of(text);
    if decoded != text {
        forms.extend(forms_of(&decoded));
    }
    forms.retain(|form| form != text && form.len() >= crate::LEAST);
    forms.sort_unstable();
    forms.dedup();
    forms
}

fn forms_of(text: &str) -> Vec<String> {
    let mut forms = vec![
        text.to_owned(),
        json(text, false),
        json(text, true),
        text.replace('/', "\\/"),
        percent(text, true, "-_.~"),
        percent(text, false, "-_.~"),
        // What browsers leave as it is in a component, and in a whole address.
        percent(text, true, "-_.~!*'()"),
        percent(text, true, "-_.~!*'();/?:@&=+$,#"),
        percent(text, true, "-_.~").replace("%20", "+"),
        percent(text, true, "-_.*").replace("%20", "+"),
        html(text, "&#39;"),
        html(text, "&#x27;"),
        hex(text),
        hex(text).to_uppercase(),
    ];
    for letters in [STANDARD, FOR_URLS] {
        forms.push(base64(text.as_bytes(), letters));
        forms.extend((0..3).map(|shift| base64_inside(text.as_bytes(), shift, letters)));
    }
    // As texts in a document, and in a document that is a text in another.
    for _ in 0..2 {
        let inside: Vec<String> = forms.iter().map(|form| json(form, false)).collect();
        forms.extend(inside);
        forms.sort_unstable();
        forms.dedup();
    }
    forms
}

fn json(text: &str, ascii: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // As those do who put JSON into pages.
            '<' | '>' | '&' if ascii => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c if c.is_control() || ascii && !c.is_ascii() => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a string does not fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out
}

fn percent(text: &str, upper: bool, kept: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let c = char::from(byte);
        // Writing to a string does not fail.
        let _ = match byte {
            _ if c.is_ascii_alphanumeric() || c.is_ascii() && kept.contains(c) => {
                out.push(c);
                Ok(())
            }
            byte if upper => write!(out, "%{byte:02X}"),
            byte => write!(out, "%{byte:02x}"),
        };
    }
    out
}

/// The text behind percent codes; as it is where it has none.
pub fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let code = behind.get(..2).filter(|_| byte == b'%');
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(byte);
                rest = behind;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

fn html(text: &str, quote: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', quote)
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        // Writing to a string does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const FOR_URLS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Without the `=` at the end.
fn base64(bytes: &[u8], letters: &[u8; 64]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |nth: usize| u32::from(three.get(nth).copied().unwrap_or(0));
        let word = at(0) << 16 | at(1) << 8 | at(2);
        for nth in 0..=three.len() {
            let six = word >> (18 - 6 * nth) & 63;
            let letter = letters.get(six as usize).copied().unwrap_or(b'=');
            out.push(char::from(letter));
        }
    }
    out
}

/// The letters that are the same whatever stands around the text, when it begins so many bytes
/// behind a multiple of three.
fn base64_inside(bytes: &[u8], shift: usize, letters: &[u8; 64]) -> String {
    let mut shifted = vec![0; shift];
    shifted.extend_from_slice(bytes);
    // The last letters of an incomplete group depend on what follows.
    let whole = shifted.len() / 3 * 4 + (shifted.len() % 3);
    let first = (shift * 8).div_ceil(6);
    let coded = base64(&shifted, letters);
    let inside = coded.get(first..whole).unwrap_or_default();
    if inside.len() < LEAST_CODED {
        return String::new();
    }
    inside.to_owned()
}

/// The text behind base64, if it is one.
pub fn base64_decoded(text: &str) -> Option<String> {
    let bare = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(bare.len() * 3 / 4);
    let (mut word, mut bits) = (0_u32, 0);
    for byte in bare.bytes() {
        let standard = STANDARD.iter().position(|&letter| letter == byte);
        let six = standard.or_else(|| FOR_URLS.iter().position(|&letter| letter == byte))?;
        word = word << 6 | u32::try_from(six).ok()?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(word >> bits & 0xFF).ok()?);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_and_back() {
        for (text, coded) in [
            ("user:pass", "dXNlcjpwYXNz"),
            ("user:pas", "dXNlcjpwYXM"),
            ("user:pa", "dXNlcjpwYQ"),
        ] {
            assert_eq!(base64(text.as_bytes(), STANDARD), coded);
            assert_eq!(base64_decoded(&format!("{coded}==")).unwrap(), text);
        }
    }

    #[test]
    fn a_text_is_found_inside_of_another_that_is_coded() {
        let secret = "s3cret/value?x";
        for before in ["", "a", "ab", "abc", "user:"] {
            for behind in ["", "z", "zz"] {
                let coded = base64(format!("{before}{secret}{behind}").as_bytes(), STANDARD);
                let found = forms(secret).iter().any(|form| coded.contains(form));
                assert!(found, "{before}…{behind}: {coded}");
            }
        }
    }

    #[test]
    fn every_form_that_servers_write() {
        let forms = forms("a b\"c/é&d'");
        for form in [
            "a b\\\"c/é&d'",
            "a b\\\\\\\"c/é&d'",
            "a b\\\"c/\\u00e9\\u0026d'",
            "a%20b%22c%2F%C3%A9%26d%27",
            "a%20b%22c%2f%c3%a9%26d%27",
            "a+b%22c%2F%C3%A9%26d%27",
            "a b&quot;c/é&amp;d&#39;",
        ] {
            assert!(forms.iter().any(|found| found == form), "{form}: {forms:?}");
        }
        assert_eq!(percent_decoded("a%2Fb%zz%"), "a/b%zz%");
    }
}
