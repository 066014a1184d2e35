//! Which values are credentials, and what is shown in their place: in headers, URLs and command
//! lines of every file, log and screen.

/// What stands in the place of a credential.
pub const HIDDEN: &str = "<redacted>";

/// Parts of a name that mark its value as a credential.
const PARTS: [&str; 15] = [
    "auth",
    "token",
    "secret",
    "password",
    "passwd",
    "credential",
    "cookie",
    "apikey",
    "api-key",
    "api_key",
    "session",
    "signature",
    "sas-key",
    "access-key",
    "private-key",
];

/// Names of credentials that hold none of these parts.
const NAMES: [&str; 4] = [
    "ocp-apim-subscription-key",
    "subscription-key",
    "x-functions-key",
    "key",
];

/// Whether a header or parameter of this name holds a credential, in any letter case.
pub fn is_sensitive(name: &str) -> bool {
    let name = name.trim().to_ascii_lowercase();
    NAMES.contains(&name.as_str()) || holds_part(&name)
}

/// Whether a text names a credential anywhere, such as a list of headers does.
pub fn mentions(text: &str) -> bool {
    holds_part(&text.to_ascii_lowercase())
}

fn holds_part(lower: &str) -> bool {
    PARTS.iter().any(|part| lower.contains(part))
}

/// The URL without a password and without the values of sensitive parameters.
///
/// ```
/// use pinfire_analysis::redact;
///
/// let shown = redact::url("https://me:secret@host/v1?api_key=abc&n=1");
/// assert!(!shown.contains("secret") && !shown.contains("abc"), "{shown}");
/// assert!(shown.contains("host/v1") && shown.contains("n=1"), "{shown}");
/// ```
pub fn url(url: &str) -> String {
    let (front, query) = match url.split_once('?') {
        Some((front, query)) => (front, Some(query)),
        None => (url, None),
    };
    let scheme = front.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = front.split_at(scheme);
    let authority = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority);
    let mut shown = scheme.to_owned();
    match authority.rsplit_once('@') {
        Some((_, host)) => shown.extend([HIDDEN, "@", host]),
        None => shown.push_str(authority),
    }
    shown.push_str(path);
    if let Some(query) = query {
        shown.push('?');
        let pairs: Vec<String> = query
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((name, _)) if is_sensitive(name) => format!("{name}={HIDDEN}"),
                _ => pair.to_owned(),
            })
            .collect();
        shown.push_str(&pairs.join("&"));
    }
    shown
}

/// The credentials that a URL holds in its query.
pub fn of_url(url: &str) -> Vec<String> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let sensitive = pairs.filter(|(name, _)| is_sensitive(name));
    sensitive.map(|(_, value)| value.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_known_by_their_names() {
        for name in [
            "Authorization",
            "X-Api-Key",
            "Set-Cookie",
            "X-Session-Affinity",
            "Ocp-Apim-Subscription-Key",
            "x-goog-signature",
        ] {
            assert!(is_sensitive(name), "{name}");
        }
        for name in ["Content-Type", "X-Request-ID", "Accept", "X-Keyboard"] {
            assert!(!is_sensitive(name), "{name}");
        }
    }

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
        ] {
            assert_eq!(url(given), shown);
        }
    }
}
