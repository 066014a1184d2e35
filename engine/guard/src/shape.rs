//! Credentials that nobody made known, by what stands around them: in URLs, behind `Bearer`, and
//! behind names that can be nothing else.

use std::borrow::Cow;

use crate::{
    HIDDEN,
    names::{is_certain, is_sensitive},
    url::shown_url,
};

/// The text without what is a credential by its surroundings.
pub fn hidden_by_shape(text: &str) -> Cow<'_, str> {
    if !text.contains(['=', ':', ' ']) {
        return Cow::Borrowed(text);
    }
    let urls = in_urls(text);
    match behind_names(&urls) {
        Cow::Borrowed(_) => urls,
        Cow::Owned(named) => Cow::Owned(named),
    }
}

/// Each URL as it may be shown.
fn in_urls(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut from = 0;
    let of_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let scheme_of = |at: usize| {
        let before = text.get(..at).unwrap_or_default();
        before.trim_end_matches(of_scheme).len()
    };
    let mut marks = text.match_indices("://").map(|(at, _)| at).peekable();
    while let Some(at) = marks.next() {
        let start = scheme_of(at).max(from);
        let rest = text.get(start..).unwrap_or_default();
        let of_url =
            |c: char| !c.is_whitespace() && !matches!(c, '"' | '\'' | '`' | '<' | '>' | '|');
        let end = rest
            .find(|c| !of_url(c))
            .map_or(text.len(), |end| start + end);
        let end = marks.peek().map_or(end, |&next| end.min(scheme_of(next)));
        let Some(url) = text.get(start..end) else {
            continue;
        };
        if let Cow::Owned(shown) = shown_url(url) {
            out.push_str(text.get(from..start).unwrap_or_default());
            out.push_str(&shown);
            from = end;
        }
    }
    if from == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(text.get(from..).unwrap_or_default());
    Cow::Owned(out)
}

/// What stands behind `name=`, `name: ` and `Bearer `.
fn behind_names(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut from = 0;
    for (at, mark) in text.char_indices() {
        if at < from || !matches!(mark, '=' | ':' | ' ') {
            continue;
        }
        let before = text.get(from..at).unwrap_or_default();
        let behind = text.get(at + 1..).unwrap_or_default();
        let found = match mark {
            ' ' => behind_scheme(before, behind),
            _ => behind_name(before, behind, mark),
        };
        let Some((skipped, length)) = found else {
            continue;
        };
        let start = at + 1 + skipped;
        let value = text.get(start..start + length).unwrap_or_default();
        if value.is_empty() || value.starts_with("${") || value.starts_with(HIDDEN) {
            continue;
        }
        out.push_str(text.get(from..start).unwrap_or_default());
        out.push_str(HIDDEN);
        from = start + length;
    }
    if from == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(text.get(from..).unwrap_or_default());
    Cow::Owned(out)
}

/// The credential of a scheme: how much of `behind` is before it, and its length.
fn behind_scheme(before: &str, behind: &str) -> Option<(usize, usize)> {
    let scheme = before.rsplit(|c: char| !c.is_ascii_alphabetic()).next()?;
    let of_token = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
    let length = behind.find(|c| !of_token(c)).unwrap_or(behind.len());
    let is_scheme = ["bearer", "basic"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known));
    (is_scheme && looks_drawn(behind.get(..length)?)).then_some((0, length))
}

/// The credential of a name.
fn behind_name(before: &str, behind: &str, mark: char) -> Option<(usize, usize)> {
    let quoting = |c: char| matches!(c, '"' | '\'' | '\\');
    let bare = before.trim_end_matches(|c: char| quoting(c) || c == ' ');
    let of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '%' | '.');
    let name_at = bare.trim_end_matches(of_name).len();
    let (front, name) = bare.split_at(name_at);
    let in_query = mark == '=' && front.ends_with(['?', '&', '#']);
    if name.is_empty() || !(in_query && is_sensitive(name) || is_certain(name)) {
        return None;
    }
    let value = behind.trim_start_matches(|c: char| quoting(c) || c == ' ');
    let skipped = behind.len() - value.len();
    let is_quoted = behind.get(..skipped)?.contains(quoting);
    let ends = |c: char| match (in_query, is_quoted) {
        (true, _) => c.is_whitespace() || "&\"'`<>#;)]}|\\".contains(c),
        (_, true) => quoting(c),
        _ => matches!(c, '\n' | '"' | '\'' | '`' | ',' | '}' | ')'),
    };
    let length = value.find(ends).unwrap_or(value.len());
    let value = value.get(..length)?;
    // `Authorization: missing` is a sentence.
    let is_secret = in_query || is_quoted || value.split(' ').any(looks_drawn);
    is_secret.then_some((skipped, length))
}

/// Whether a word looks drawn rather than written.
fn looks_drawn(word: &str) -> bool {
    let has = |of: fn(&u8) -> bool| word.as_bytes().iter().skip(1).any(of);
    word.len() >= crate::LEAST
        && (has(u8::is_ascii_digit)
            || has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase)
            || word.len() >= 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_only_be_a_credential_is_hidden() {
        for (text, expected) in [
            (
                "to https://u:p@h/x, and more",
                "to https://<redacted>@h/x, and more",
            ),
            ("`http://h?sig=a&n=1`", "`http://h?sig=<redacted>&n=1`"),
            (
                "http://a?n=1,http://u:p@b",
                "http://a?n=1,http://<redacted>@b",
            ),
            (
                "--url=\"http://h?token=${PINFIRE_URL_TOKEN}\"",
                "--url=\"http://h?token=${PINFIRE_URL_TOKEN}\"",
            ),
            ("GET /v1?code=4711", "GET /v1?code=<redacted>"),
            (
                "Authorization: Bearer sk-ab12cd",
                "Authorization: <redacted>",
            ),
            (
                "no Bearer token; Bearer sk-ab12cd.",
                "no Bearer token; Bearer <redacted>",
            ),
            (
                "{\"x-api-key\": \"m\", \"code\": \"too_long\"}",
                "{\"x-api-key\": \"<redacted>\", \"code\": \"too_long\"}",
            ),
            (
                "{\\\"authorization\\\":\\\"Bearer m\\\"}",
                "{\\\"authorization\\\":\\\"<redacted>\\\"}",
            ),
        ] {
            assert_eq!(hidden_by_shape(text), expected);
        }
    }

    #[test]
    fn sentences_stay() {
        for text in [
            "x-api-key: required header is missing",
            "invalid token: the maximum is 5",
            "max_tokens=99999 cannot be greater than max_model_len=4096",
            "{\"param\":\"max_tokens\",\"code\":\"invalid_api_key\"}",
            "Basic authentication is required",
            "ttft.p99<=500 at http://h:1/v1?n=1",
        ] {
            assert_eq!(hidden_by_shape(text), text);
        }
    }
}
