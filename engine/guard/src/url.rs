//! URLs: where in them credentials stand.

use std::borrow::Cow;

use crate::{HIDDEN, keep, keep_named, known, names::is_sensitive};

/// A part of a URL, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece<'a> {
    /// What anyone may see.
    Plain(&'a str),
    /// User and password, without the `@` behind them.
    User(&'a str),
    /// The value of a parameter.
    Value {
        /// The parameter.
        name: &'a str,
        /// Its value, as it stands.
        value: &'a str,
    },
}

/// The parts of a URL, of a path with a query, or of what was meant to be one.
pub fn pieces(url: &str) -> Vec<Piece<'_>> {
    let mut out = Vec::new();
    let (front, query) = url.split_at(url.find(['?', '#']).unwrap_or(url.len()));
    let (scheme, rest) = front.split_at(front.find("://").map_or(0, |at| at + 3));
    out.push(Piece::Plain(scheme));
    match user_end(rest) {
        Some(at) => {
            let (user, behind) = rest.split_at(at);
            out.push(Piece::User(user));
            out.push(Piece::Plain(behind));
        }
        None => out.push(Piece::Plain(rest)),
    }
    // Each with the mark before it.
    for pair in query.split_inclusive(['?', '&', ';', '#']) {
        let (bare, mark) = match pair.char_indices().next_back() {
            Some((at, '?' | '&' | ';' | '#')) => pair.split_at(at),
            _ => (pair, ""),
        };
        match bare.split_once('=') {
            Some((name, value)) if !value.is_empty() && is_sensitive(name) => {
                let (name_and_mark, value_there) = bare.split_at(bare.len() - value.len());
                out.push(Piece::Plain(name_and_mark));
                out.push(Piece::Value {
                    name,
                    value: value_there,
                });
            }
            _ => out.push(Piece::Plain(bare)),
        }
        out.push(Piece::Plain(mark));
    }
    out.retain(|piece| *piece != Piece::Plain(""));
    out
}

/// Where the `@` behind user and password is. A password may hold what ends a host.
fn user_end(rest: &str) -> Option<usize> {
    let authority = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority);
    if let Some(at) = authority.rfind('@') {
        return Some(at);
    }
    let (_, port) = authority.rsplit_once(':')?;
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) || authority.contains(']');
    let at = path.rfind('@').filter(|_| !is_port)?;
    Some(authority.len() + at)
}

/// The URL without user, password and the values of sensitive parameters.
///
/// ```
/// let shown = pinfire_guard::shown_url("https://me:hush@host/v1?api%5Fkey=abc&n=1");
/// assert_eq!(shown, "https://<redacted>@host/v1?api%5Fkey=<redacted>&n=1");
/// ```
pub fn shown_url(url: &str) -> Cow<'_, str> {
    let pieces = pieces(url);
    if pieces.iter().all(|piece| matches!(piece, Piece::Plain(_))) {
        return Cow::Borrowed(url);
    }
    let shown = pieces.into_iter().map(|piece| match piece {
        Piece::Plain(text) => text,
        // A reference to a variable, as stored configurations have it.
        Piece::User(text) | Piece::Value { value: text, .. } if text.starts_with("${") => text,
        Piece::User(_) | Piece::Value { .. } => HIDDEN,
    });
    Cow::Owned(shown.collect())
}

/// Makes the credentials of a URL known.
pub fn keep_url(url: &str) {
    for piece in pieces(url.trim()) {
        match piece {
            Piece::Plain(_) => {}
            Piece::User(user) => {
                known::keep_user(user);
                if let Some((_, password)) = user.split_once(':') {
                    keep(password);
                }
            }
            Piece::Value { name, value } => keep_named(name, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_passwords_and_keys_only() {
        for (given, shown) in [
            ("http://h:1/v1", "http://h:1/v1"),
            ("mock:", "mock:"),
            (
                "https://u:p@h/v1?api_key=s&x=1",
                "https://<redacted>@h/v1?api_key=<redacted>&x=1",
            ),
            ("h:80?sig&token=a", "h:80?sig&token=<redacted>"),
            ("u:p/q@h:80/v1", "<redacted>@h:80/v1"),
            ("http://[::1]:8/@a", "http://[::1]:8/@a"),
            ("http://h:8/@a", "http://h:8/@a"),
            ("/v1?code=a#token=b", "/v1?code=<redacted>#token=<redacted>"),
            ("/v1?x=1&", "/v1?x=1&"),
        ] {
            assert_eq!(shown_url(given), shown);
        }
    }
}
