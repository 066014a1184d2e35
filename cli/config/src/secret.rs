//! Credentials: values that are never written and never shown. In their place stands a reference to
//! a variable of the environment, which a config file or another process takes them from.

use std::fmt;

use pinfire_analysis::redact;

use crate::setting::Setting;

/// What the names of all such variables begin with.
const PREFIX: &str = "PINFIRE_";

/// A credential.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
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
    fn of(name: &str, text: &str) -> Self {
        match referred(text) {
            Some(variable) => Self {
                variable: variable.to_owned(),
                value: None,
            },
            None => Self {
                variable: variable(name),
                value: Some(text.to_owned()),
            },
        }
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

    fn secret(&mut self, name: &str, text: &str) {
        self.0.push(Part::Secret(Secret::of(name, text)));
    }

    /// The whole text, credentials included.
    pub fn expose(&self) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Plain(text) => text.clone(),
            Part::Secret(secret) => secret.value.clone().unwrap_or_else(|| secret.reference()),
        });
        parts.collect()
    }

    /// The text with references in place of credentials.
    pub fn shown(&self) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Plain(text) => text.clone(),
            Part::Secret(secret) => secret.reference(),
        });
        parts.collect()
    }

    /// The credentials in it.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.0.iter().filter_map(|part| match part {
            Part::Secret(secret) => Some(secret),
            Part::Plain(_) => None,
        })
    }

    fn secrets_mut(&mut self) -> impl Iterator<Item = &mut Secret> {
        self.0.iter_mut().filter_map(|part| match part {
            Part::Secret(secret) => Some(secret),
            Part::Plain(_) => None,
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
                Ok(Self($read(text)))
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
    /// A key that is a credential as a whole.
    ApiKey = key;
    /// Headers, as `Name:value` or as a JSON object. Values of sensitive names are credentials.
    Header = header;
    /// A URL. A password in it and the values of sensitive parameters are credentials.
    Url = url;
}

fn key(text: &str) -> Guarded {
    let mut out = Guarded::default();
    out.secret("API_KEY", text);
    out
}

fn header(text: &str) -> Guarded {
    let mut out = Guarded::default();
    // A JSON object may hold several: any sensitive word hides it whole.
    if referred(text).is_some() || text.trim_start().starts_with('{') && redact::mentions(text) {
        out.secret("HEADERS", text);
        return out;
    }
    let cut = |c: char| c == ',' || c.is_whitespace();
    for item in text.split_inclusive(cut) {
        let bare = item.trim_end_matches(cut);
        match bare.split_once(':') {
            Some((name, value)) if redact::is_sensitive(name) && !value.is_empty() => {
                out.plain(&format!("{name}:"));
                out.secret(&format!("HEADER_{name}"), value);
                out.plain(item.get(bare.len()..).unwrap_or_default());
            }
            _ => out.plain(item),
        }
    }
    out
}

fn url(text: &str) -> Guarded {
    let mut out = Guarded::default();
    let text = text.trim();
    let (front, query) = match text.split_once('?') {
        Some((front, query)) => (front, Some(query)),
        None => (text, None),
    };
    let (scheme, rest) = front.split_at(front.find("://").map_or(0, |at| at + 3));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    out.plain(scheme);
    match authority.rsplit_once('@') {
        Some((user, host)) => {
            out.secret("URL_USER", user);
            out.plain(&format!("@{host}"));
        }
        None => out.plain(authority),
    }
    out.plain(path);
    for (nth, pair) in query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .enumerate()
    {
        out.plain(if nth == 0 { "?" } else { "&" });
        match pair.split_once('=') {
            Some((name, value)) if redact::is_sensitive(name) && !value.is_empty() => {
                out.plain(&format!("{name}="));
                out.secret(&format!("URL_{name}"), value);
            }
            _ => out.plain(pair),
        }
    }
    out
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
            Some(value) => secret.value = Some(value),
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
        let mut urls = ["h?token=a", "h?token=b", "h?token=a"].map(url);
        name_apart(urls.iter_mut());
        let shown: Vec<String> = urls.iter().map(Guarded::shown).collect();
        assert_eq!(shown[0], shown[2]);
        assert_eq!(shown[1], "h?token=${PINFIRE_URL_TOKEN_2}");
        assert_eq!(references(&shown[1]), [(8, "PINFIRE_URL_TOKEN_2")]);
        let mut again = url(&shown[1]);
        assert_eq!(
            fill(&mut again, &|_| None),
            Err("PINFIRE_URL_TOKEN_2".to_owned())
        );
        fill(&mut again, &|_| Some("b".to_owned())).unwrap();
        assert_eq!(again.expose(), "h?token=b");
    }
}
