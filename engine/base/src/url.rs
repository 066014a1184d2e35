//! Base URLs as users type them, normalised and joined with an endpoint's path.

use std::{fmt, path::PathBuf};

use pinfire_guard::{Piece, pieces, shown_url};

/// The scheme of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS.
    Https,
}

/// Where requests go: a base URL and an endpoint's path, joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetUrl {
    /// Plain or TLS.
    pub scheme: Scheme,
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// Given, or 80 or 443 by the scheme.
    pub port: u16,
    /// The socket in the file system, for `unix:` URLs; host and port then stand for nothing.
    pub unix: Option<PathBuf>,
    /// What the request line says: begins with `/`, holds the base's query, no fragment.
    pub path_and_query: String,
}

/// Why a URL cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("cannot use the URL `{}`: {reason}", shown_url(url))]
pub struct UrlError {
    /// As given; the error shows it without credentials.
    pub url: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Schemes that are recognised without `//`, so that they are refused rather than taken for hosts.
const FOREIGN: [&str; 15] = [
    "data",
    "file",
    "ftp",
    "ftps",
    "gopher",
    "javascript",
    "ldap",
    "ldaps",
    "mailto",
    "sftp",
    "ssh",
    "tel",
    "vbscript",
    "ws",
    "wss",
];

impl TargetUrl {
    /// Joins `base` with `endpoint`, the endpoint's path (empty: the base alone is the target).
    ///
    /// A base that ends with the path already keeps it once, and one that ends in `/v1` does not
    /// get a second `v1`.
    ///
    /// # Errors
    /// When the base is empty, holds blanks, or is no http(s) URL with a host and a valid port.
    ///
    /// ```
    /// use pinfire_base::url::TargetUrl;
    ///
    /// let url = TargetUrl::join("http://[::1]:8000/v1", "/v1/chat/completions").unwrap();
    /// assert_eq!(url.to_string(), "http://[::1]:8000/v1/chat/completions");
    /// assert_eq!(url.authority(), "[::1]:8000");
    /// ```
    pub fn join(base: &str, endpoint: &str) -> Result<Self, UrlError> {
        if let Some(path) = base.trim().strip_prefix("unix:") {
            return Self::unix(path, endpoint).map_err(|reason| UrlError {
                url: base.to_owned(),
                reason,
            });
        }
        let parts = Parts::of(base.trim()).map_err(|reason| UrlError {
            url: base.to_owned(),
            reason,
        })?;
        let path = parts.path.trim_end_matches('/');
        let sub = endpoint.trim_start_matches('/');
        let mut target = path.to_owned();
        if !sub.is_empty() && !path.ends_with(&format!("/{sub}")) {
            let sub = match sub.strip_prefix("v1/") {
                Some(rest) if path.ends_with("/v1") => rest,
                _ => sub,
            };
            target.push('/');
            target.push_str(sub);
        }
        if target.is_empty() {
            target.push('/');
        }
        if let Some(query) = parts.query {
            target.push(if target.contains('?') { '&' } else { '?' });
            target.push_str(query);
        }
        Ok(Self {
            scheme: parts.scheme,
            host: parts.host.to_owned(),
            port: parts.port,
            unix: None,
            path_and_query: target,
        })
    }

    /// `unix:/path/to.sock`; its host is `localhost`.
    fn unix(path: &str, endpoint: &str) -> Result<Self, String> {
        // What the system's address of such a socket holds, without the zero at its end.
        const PATH_BYTES: usize = 107;
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.starts_with('/') || path.contains('\0') {
            return Err("a socket needs its whole path, as in unix:/run/server.sock".to_owned());
        }
        if path.len() > PATH_BYTES {
            return Err(format!("a socket's path has at most {PATH_BYTES} bytes"));
        }
        Ok(Self {
            scheme: Scheme::Http,
            host: "localhost".to_owned(),
            port: Scheme::Http.port(),
            unix: Some(path.into()),
            path_and_query: format!("/{}", endpoint.trim_start_matches('/')),
        })
    }

    /// Host and port for a `Host` header: brackets around IPv6, the scheme's own port left out.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == self.scheme.port() {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }
}

/// Without credentials.
impl fmt::Display for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.unix {
            return write!(f, "unix:{}", path.display());
        }
        let scheme = self.scheme.name();
        let path = shown_url(&self.path_and_query);
        write!(f, "{scheme}://{}{path}", self.authority())
    }
}

impl Scheme {
    /// Its name in a URL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port where a URL gives none.
    pub const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// The base URLs of all occurrences of `--url`, each of which may be a comma list.
pub fn split_urls<S: AsRef<str>>(arguments: &[S]) -> Vec<&str> {
    arguments
        .iter()
        .flat_map(|argument| argument.as_ref().split(','))
        .map(str::trim)
        .collect()
}

struct Parts<'a> {
    scheme: Scheme,
    host: &'a str,
    port: u16,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Result<Self, String> {
        if url.is_empty() {
            return Err("it is empty".to_owned());
        }
        if url.contains(char::is_whitespace) {
            return Err("it holds a blank".to_owned());
        }
        if !url.is_ascii() || url.contains(|c: char| c.is_ascii_control()) {
            return Err("other than ASCII characters must be percent-encoded".to_owned());
        }
        let (scheme, rest) = split_scheme(url)?;
        let (rest, _fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if pieces(url)
            .iter()
            .any(|piece| matches!(piece, Piece::User(_)))
        {
            return Err(
                "user and password in it are not sent; use --api-key or --header".to_owned(),
            );
        }
        let (host, port) = split_port(authority)?;
        if host.is_empty() {
            return Err("it names no host".to_owned());
        }
        let port = match port {
            None | Some("") => scheme.port(),
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|&port: &u16| port > 0 && digits.bytes().all(|b| b.is_ascii_digit()))
                .ok_or_else(|| format!("its port `{digits}` is not within 1 to 65535"))?,
        };
        Ok(Self {
            scheme,
            host,
            port,
            path,
            query,
        })
    }
}

fn split_scheme(url: &str) -> Result<(Scheme, &str), String> {
    let unusable = |name: &str| format!("its scheme `{name}` is neither http nor https");
    if let Some((name, rest)) = url.split_once("://") {
        return match name.to_ascii_lowercase().as_str() {
            "http" => Ok((Scheme::Http, rest)),
            "https" => Ok((Scheme::Https, rest)),
            _ => Err(unusable(name)),
        };
    }
    match url.split_once(':') {
        Some((name, _)) if FOREIGN.contains(&name.to_ascii_lowercase().as_str()) => {
            Err(unusable(name))
        }
        _ => Ok((Scheme::Http, url)),
    }
}

/// Host and port of an authority; the host of an IPv6 literal loses its brackets.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(literal) = authority.strip_prefix('[') {
        let (host, rest) = literal
            .split_once(']')
            .ok_or_else(|| "its IPv6 address lacks the closing bracket".to_owned())?;
        // A zone (`%eth0`) belongs to the address for the system, not for the standard parser.
        let address = host.split('%').next().unwrap_or(host);
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(format!("`{host}` is not an IPv6 address"));
        }
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(format!("`{rest}` after the IPv6 address is no port")),
        };
    }
    match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => {
            Err("an IPv6 address needs brackets, as in http://[::1]:8000".to_owned())
        }
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((authority, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: &str = "/v1/chat/completions";

    #[test]
    fn every_row_of_the_table() {
        for (base, endpoint, expected) in [
            (
                "localhost:8000",
                CHAT,
                "http://localhost:8000/v1/chat/completions",
            ),
            ("http://h:1/v1", CHAT, "http://h:1/v1/chat/completions"),
            ("http://h:1/v1/", CHAT, "http://h:1/v1/chat/completions"),
            (
                "http://h:1/v1/chat/completions/",
                CHAT,
                "http://h:1/v1/chat/completions",
            ),
            (
                "http://h:1/proxy",
                CHAT,
                "http://h:1/proxy/v1/chat/completions",
            ),
            (
                "http://h:1/api/v1?k=v",
                CHAT,
                "http://h:1/api/v1/chat/completions?k=v",
            ),
            ("http://h:1/V1", CHAT, "http://h:1/V1/v1/chat/completions"),
            ("h:1", "/x/y", "http://h:1/x/y"),
            ("http://h:1", "", "http://h:1/"),
            (
                "http://h:1",
                "/generate_stream",
                "http://h:1/generate_stream",
            ),
        ] {
            assert_eq!(
                TargetUrl::join(base, endpoint).unwrap().to_string(),
                expected,
                "{base}"
            );
        }
    }

    #[test]
    fn parts() {
        let target = TargetUrl::join(" HTTPS://[::1]/a#part ", "").unwrap();
        assert_eq!(
            (target.scheme, target.host.as_str()),
            (Scheme::Https, "::1")
        );
        assert_eq!((target.port, target.path_and_query.as_str()), (443, "/a"));
        assert_eq!(target.authority(), "[::1]");
        let target = TargetUrl::join("[fe80::1%eth0]:8000", "/v1/completions").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("fe80::1%eth0", 8000));
        assert_eq!(
            TargetUrl::join("h:", "/x?a=1").unwrap().to_string(),
            "http://h/x?a=1"
        );
        assert_eq!(
            TargetUrl::join("http://h?q", "/x?a")
                .unwrap()
                .path_and_query,
            "/x?a&q"
        );
    }

    #[test]
    fn unix_sockets() {
        for url in ["unix:/run/s.sock", "unix:///run/s.sock"] {
            let target = TargetUrl::join(url, CHAT).unwrap();
            assert_eq!(target.unix, Some(PathBuf::from("/run/s.sock")));
            assert_eq!(target.authority(), "localhost");
            assert_eq!(target.path_and_query, CHAT);
            assert_eq!(target.to_string(), "unix:/run/s.sock");
        }
    }

    #[test]
    fn errors_name_the_url_and_the_reason() {
        let long = format!("unix:/{}", "x".repeat(107));
        for (url, reason) in [
            ("unix:", "whole path"),
            ("unix:run/s.sock", "whole path"),
            (&*long, "at most 107"),
            ("", "empty"),
            ("  ", "empty"),
            ("http://a b", "blank"),
            ("ftp://h", "ftp"),
            ("mailto:me", "mailto"),
            ("wss:h", "wss"),
            ("http://", "no host"),
            ("http://:80", "no host"),
            ("http://h:0", "port"),
            ("http://h:65536", "port"),
            ("http://h:+80", "port"),
            ("http:h", "port"),
            ("http://::1:80", "brackets"),
            ("http://[::1", "closing"),
            ("http://[::1]x", "no port"),
            ("http://[zz]", "IPv6"),
            ("http://u:p@h", "password"),
            ("http://höst", "ASCII"),
        ] {
            let error = TargetUrl::join(url, CHAT).unwrap_err();
            assert_eq!(error.url, url);
            assert!(error.to_string().contains(reason), "{error}");
        }
    }

    #[test]
    fn comma_lists() {
        assert_eq!(split_urls(&["a, b", "c"]), ["a", "b", "c"]);
    }
}
