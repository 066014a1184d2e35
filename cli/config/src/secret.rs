//! Credentials: values that are never written and never shown. In their place stands a reference to
//! a variable of the environment, which a config file or another process takes them from.
//!
//! What is read here is known from then on to all that writes (`pinfire_guard`).

use std::fmt;

use pinfire_dialect::extra::header_items;
use pinfire_guard::{
    Piece, keep, keep_named, keep_url,
    names::{is_sensitive, is_sensitive_field},
    pieces,
};
use serde_json::{Map, Value as Json};

use crate::setting::Setting;

/// What the names of all such variables begin with, by what they are of.
const PREFIX: &str = "PINFIRE_";
const KEY: &str = "API_KEY";
const HEADER: &str = "HEADER";
const HEADERS: &str = "HEADERS";
const URL: &str = "URL";
const FIELD: &str = "EXTRA_INPUT";
const FIELDS: &str = "EXTRA_INPUTS";

/// A credential.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Of the header, parameter or field, to hide a short value behind it.
    name: String,
    variable: String,
    value: Option<String>,
}

/// Shows where it is, never what it is.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reference())
    }
}

impl Secret {
    /// The credential in a text that was given, or the one that a reference names.
    fn of(kind: &str, name: &str, text: &str) -> Self {
        let mut secret = Self {
            name: name.to_owned(),
            variable: match name {
                "" => variable(kind),
                name => variable(&format!("{kind}_{name}")),
            },
            value: None,
        };
        match referred(text) {
            Some(variable) => secret.variable = variable.to_owned(),
            None => secret.set(text.to_owned()),
        }
        secret
    }

    fn set(&mut self, value: String) {
        match self.name.as_str() {
            "" => keep(&value),
            name => keep_named(name, &value),
        }
        self.value = Some(value);
    }

    /// The variable of the environment that stands for it.
    pub fn variable(&self) -> &str {
        &self.variable
    }

    /// The credential itself, for the wire; `None` as long as it is only referred to.
    pub fn expose(&self) -> Option<&str> {
        self.value.as_deref()
    }

    fn reference(&self) -> String {
        format!("${{{}}}", self.variable)
    }
}

fn variable(name: &str) -> String {
    let upper = |c: char| match c {
        c if c.is_ascii_alphanumeric() => c.to_ascii_uppercase(),
        _ => '_',
    };
    format!("{PREFIX}{}", name.chars().map(upper).collect::<String>())
}

/// Whether a variable is one of those that stand for credentials which are not stored.
pub fn is_reference(variable: &str) -> bool {
    let name = variable.strip_prefix(PREFIX);
    name.is_some_and(|name| {
        [KEY, HEADER, URL, FIELD]
            .iter()
            .any(|kind| name.starts_with(kind))
    })
}

/// The variable that a text refers to, if it is nothing but a reference.
fn referred(text: &str) -> Option<&str> {
    let name = text.strip_prefix("${")?.strip_suffix('}')?;
    let known = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    (name.starts_with(PREFIX) && name.chars().all(known)).then_some(name)
}

/// The references in a text that was written in place of one with credentials: where each is, and
/// its variable.
pub fn references(text: &str) -> Vec<(usize, &str)> {
    let starts = text.match_indices("${");
    let found = starts.filter_map(|(at, _)| {
        let rest = text.get(at..)?;
        let end = rest.find('}')? + 1;
        referred(rest.get(..end)?).map(|variable| (at, variable))
    });
    found.collect()
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Plain(String),
    Secret(Secret),
    /// What stands in a file, which is named in its place.
    File {
        named: String,
        value: String,
    },
}

/// A text of which some parts are credentials.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Guarded(Vec<Part>);

impl Guarded {
    fn plain(&mut self, text: &str) {
        match self.0.last_mut() {
            Some(Part::Plain(before)) => before.push_str(text),
            _ if text.is_empty() => {}
            _ => self.0.push(Part::Plain(text.to_owned())),
        }
    }

    fn file(&mut self, named: &str, value: String) {
        let named = named.to_owned();
        self.0.push(Part::File { named, value });
    }

    fn secret(&mut self, kind: &str, name: &str, text: &str) {
        self.0.push(Part::Secret(Secret::of(kind, name, text)));
    }

    /// The whole text, credentials included.
    pub fn expose(&self) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Plain(text) => text.clone(),
            Part::Secret(secret) => secret.value.clone().unwrap_or_else(|| secret.reference()),
            Part::File { value, .. } => value.clone(),
        });
        parts.collect()
    }

    /// The text with references in place of credentials.
    pub fn shown(&self) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Plain(text) => text.clone(),
            Part::Secret(secret) => secret.reference(),
            Part::File { named, .. } => named.clone(),
        });
        parts.collect()
    }

    /// The credentials in it.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.0.iter().filter_map(|part| match part {
            Part::Secret(secret) => Some(secret),
            Part::Plain(_) | Part::File { .. } => None,
        })
    }

    fn secrets_mut(&mut self) -> impl Iterator<Item = &mut Secret> {
        self.0.iter_mut().filter_map(|part| match part {
            Part::Secret(secret) => Some(secret),
            Part::Plain(_) | Part::File { .. } => None,
        })
    }
}

/// Values that may hold credentials.
macro_rules! guarded {
    ($($(#[$doc:meta])* $name:ident = $read:path;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct $name(Guarded);

        impl AsRef<Guarded> for $name {
            fn as_ref(&self) -> &Guarded {
                &self.0
            }
        }

        impl AsMut<Guarded> for $name {
            fn as_mut(&mut self) -> &mut Guarded {
                &mut self.0
            }
        }

        impl Setting for $name {
            type Value = String;

            fn parse(text: &str) -> Result<Self, String> {
                $read(text).map(Self)
            }

            fn shown(&self) -> String {
                self.0.shown()
            }

            /// The whole text, credentials included.
            fn value(&self) -> String {
                self.0.expose()
            }
        }
    )*};
}

guarded! {
    /// A key that is a credential as a whole, or `@FILE`, which holds it.
    ApiKey = key;
    /// Headers, as `Name:value`, as a JSON object, or `@FILE`, which holds one per line. Values of
    /// sensitive names are credentials.
    Header = header;
    /// A URL, or a path with its query. User and password, and the values of sensitive parameters,
    /// are credentials.
    Url = url;
    /// Fields of a body, as `name:value` or as a JSON object. Values of sensitive names are
    /// credentials.
    Fields = fields;
}

fn key(text: &str) -> Result<Guarded, String> {
    let mut out = Guarded::default();
    match text.strip_prefix('@') {
        Some(path) => {
            let value = of_file(path)?.trim().to_owned();
            if value.is_empty() || value.contains(['\n', '\r']) {
                return Err(format!(
                    "{path} must hold the key on one line, and nothing else"
                ));
            }
            keep(&value);
            out.file(text, value);
        }
        None => out.secret(KEY, "", text),
    }
    Ok(out)
}

fn of_file(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path)
        .map_err(|error| format!("the file {path} cannot be read: {error}"))
}

/// The headers of a file, one per line, as a JSON object.
fn headers_of_file(path: &str) -> Result<String, String> {
    let mut headers = Map::new();
    for (line, number) in of_file(path)?.lines().map(str::trim).zip(1..) {
        if line.is_empty() {
            continue;
        }
        let Some((name, value)) = line.split_once(':') else {
            return Err(format!("{path}:{number}: it is not Name: value"));
        };
        let (name, value) = (name.trim(), value.trim());
        if is_sensitive(name) {
            keep_named(name, value);
        }
        headers.insert(name.to_owned(), value.into());
    }
    Ok(Json::Object(headers).to_string())
}

fn header(text: &str) -> Result<Guarded, String> {
    let mut out = Guarded::default();
    if let Some(path) = text.strip_prefix('@') {
        out.file(text, headers_of_file(path)?);
        return Ok(out);
    }
    if referred(text).is_some() {
        out.secret(HEADERS, "", text);
        return Ok(out);
    }
    if is_object(text) {
        return Ok(object(HEADERS, text, is_sensitive));
    }
    let Ok(items) = header_items(text) else {
        // It is refused, and what it was meant for may be a credential.
        text.split(|c: char| c == ',' || c.is_whitespace())
            .for_each(keep);
        out.plain(text);
        return Ok(out);
    };
    let mut rest = text;
    for (name, value) in items {
        let at = value.as_ptr() as usize - rest.as_ptr() as usize;
        let (before, from) = rest.split_at(at);
        out.plain(before);
        let (value, behind) = from.split_at(value.len());
        match is_sensitive(name) && !value.is_empty() {
            true => out.secret(HEADER, name, value),
            false => out.plain(value),
        }
        rest = behind;
    }
    out.plain(rest);
    Ok(out)
}

fn url(text: &str) -> Result<Guarded, String> {
    let mut out = Guarded::default();
    let text = text.trim();
    keep_url(text);
    for piece in pieces(text) {
        match piece {
            Piece::Plain(text) => out.plain(text),
            Piece::User(user) => out.secret(URL, "USER", user),
            Piece::Value { name, value } => out.secret(URL, name, value),
        }
    }
    Ok(out)
}

fn fields(text: &str) -> Result<Guarded, String> {
    let mut out = Guarded::default();
    if referred(text).is_some() {
        out.secret(FIELDS, "", text);
        return Ok(out);
    }
    if is_object(text) {
        return Ok(object(FIELDS, text, is_sensitive_field));
    }
    let cut = |c: char| c == ',' || c.is_whitespace();
    for item in text.split_inclusive(cut) {
        let bare = item.trim_end_matches(cut);
        match bare.split_once(':') {
            Some((name, value)) if is_sensitive_field(name) && !value.is_empty() => {
                out.plain(&format!("{name}:"));
                out.secret(FIELD, name, value);
                out.plain(item.get(bare.len()..).unwrap_or_default());
            }
            _ => out.plain(item),
        }
    }
    Ok(out)
}

fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// A JSON object: one with a credential is hidden whole, and so is what cannot be read.
fn object(kind: &str, text: &str, sensitive: fn(&str) -> bool) -> Guarded {
    let mut out = Guarded::default();
    let found = match serde_json::from_str::<Map<String, Json>>(text) {
        Ok(object) => keep_values(&object, sensitive),
        Err(_) => true,
    };
    match found {
        true => out.secret(kind, "", text),
        false => out.plain(text),
    }
    out
}

/// Makes the credentials of an object known, at any depth; whether there are any.
fn keep_values(object: &Map<String, Json>, sensitive: fn(&str) -> bool) -> bool {
    let mut found = false;
    for (name, value) in object {
        found |= match value {
            Json::Object(inside) => keep_values(inside, sensitive),
            Json::String(text) if sensitive(name) => {
                keep_named(name, text);
                true
            }
            Json::Number(number) if sensitive(name) => {
                keep_named(name, &number.to_string());
                true
            }
            _ => false,
        };
    }
    found
}

/// Gives credentials that differ variables that differ.
pub(crate) fn name_apart<'a>(all: impl Iterator<Item = &'a mut Guarded>) {
    let mut known: Vec<(String, Option<String>)> = Vec::new();
    for secret in all.flat_map(Guarded::secrets_mut) {
        let base = secret.variable.clone();
        for nth in 2.. {
            let before = known.iter().find(|(name, _)| *name == secret.variable);
            match before {
                Some((_, value)) if *value != secret.value => {
                    secret.variable = format!("{base}_{nth}");
                }
                Some(_) => break,
                None => {
                    known.push((secret.variable.clone(), secret.value.clone()));
                    break;
                }
            }
        }
    }
}

/// Puts credentials in where there are only references. Gives the first variable that is not there.
pub(crate) fn fill(
    guarded: &mut Guarded,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<(), String> {
    for secret in guarded.secrets_mut().filter(|s| s.value.is_none()) {
        match lookup(&secret.variable) {
            Some(value) => secret.set(value),
            None => return Err(secret.variable.clone()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_stand_as_references() {
        for (text, shown) in [
            ("http://h:1/v1", "http://h:1/v1"),
            (
                "https://u:p@h/v1?api_key=s&x=1",
                "https://${PINFIRE_URL_USER}@h/v1?api_key=${PINFIRE_URL_API_KEY}&x=1",
            ),
            ("h:80?sig&token=a", "h:80?sig&token=${PINFIRE_URL_TOKEN}"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.shown().as_str(), url.value().as_str()), (shown, text));
        }
        for (text, shown) in [
            ("X-A:1", "X-A:1"),
            (
                "Authorization: Bearer abc",
                "Authorization: ${PINFIRE_HEADER_AUTHORIZATION}",
            ),
            (
                "X-Api-Key:abc,X-A:1 Cookie:b",
                "X-Api-Key:${PINFIRE_HEADER_X_API_KEY},X-A:1 Cookie:${PINFIRE_HEADER_COOKIE}",
            ),
            ("{\"a\":1,\"Authorization\":2}", "${PINFIRE_HEADERS}"),
            ("{\"a\":1}", "{\"a\":1}"),
        ] {
            let header = Header::parse(text).unwrap();
            assert_eq!(
                (header.shown().as_str(), header.value().as_str()),
                (shown, text)
            );
            let again = Header::parse(shown).unwrap();
            assert_eq!(again.shown(), shown);
        }
        let key = ApiKey::parse("sk-1").unwrap();
        assert!(!format!("{key:?}{}", key.shown()).contains("sk-1"));
    }

    #[test]
    fn references_are_filled_and_told_apart() {
        let mut urls = ["h?token=a", "h?token=b", "h?token=a"].map(|text| url(text).unwrap());
        name_apart(urls.iter_mut());
        let shown: Vec<String> = urls.iter().map(Guarded::shown).collect();
        assert_eq!(shown[0], shown[2]);
        assert_eq!(shown[1], "h?token=${PINFIRE_URL_TOKEN_2}");
        assert_eq!(references(&shown[1]), [(8, "PINFIRE_URL_TOKEN_2")]);
        let mut again = url(&shown[1]).unwrap();
        assert_eq!(
            fill(&mut again, &|_| None),
            Err("PINFIRE_URL_TOKEN_2".to_owned())
        );
        fill(&mut again, &|_| Some("b".to_owned())).unwrap();
        assert_eq!(again.expose(), "h?token=b");
    }
}
