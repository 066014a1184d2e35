//! The request head of a run: which headers, in which order, with which precedence.

use anyhow::{Result, bail};
use pinfire_base::url::TargetUrl;
use pinfire_dialect::EndpointKind;
use pinfire_engine::{
    plan::{Reuse, Target},
    request::{HeaderValue, RequestHead},
};

use crate::{settings::Settings, transport::Reached};

/// A server with the head of the requests to `url`, which is one of its own.
///
/// # Errors
/// A header that cannot be sent as one line.
pub fn target(settings: &Settings, server: &Reached, url: &TargetUrl, get: bool) -> Result<Target> {
    let head = HeaderPlan {
        target: url,
        custom: &settings.headers,
        anthropic: settings.bodies.endpoint == EndpointKind::Messages,
        api_key: settings.api_key.as_deref(),
        streaming: settings.bodies.streaming,
        session_header: &settings.session_header,
        affinity: settings.affinity,
        close: settings.reuse == Reuse::Never,
        get,
    }
    .head()?;
    Ok(Target {
        addresses: server.addresses.clone(),
        spare: server.spare.clone(),
        head,
        tls: server.tls.clone(),
    })
}

/// What decides the headers.
struct HeaderPlan<'a> {
    /// Where requests go.
    target: &'a TargetUrl,
    /// `--header`, later ones win.
    custom: &'a [(String, String)],
    /// Anthropic's own headers: its key has another name, and the interface a version.
    anthropic: bool,
    /// `--api-key`.
    api_key: Option<&'a str>,
    /// `--streaming`.
    streaming: bool,
    /// Name of the header with the session's id.
    session_header: &'a str,
    /// Send `X-Session-Affinity` too.
    affinity: bool,
    /// Close after each response.
    close: bool,
    /// Ask for something instead of sending it.
    get: bool,
}

impl HeaderPlan<'_> {
    /// The head. Layers as AIPerf has them: its own, the user's, the key, the transport's, the
    /// affinity copy; a later layer replaces an earlier header of the same name.
    ///
    /// # Errors
    /// A header that cannot be sent as one line.
    fn head(&self) -> Result<RequestHead> {
        let authority = self.target.authority();
        let agent = concat!("pinfire/", env!("CARGO_PKG_VERSION"));
        let bearer = self.api_key.map(|key| format!("Bearer {key}"));
        let mut headers = Vec::new();
        put(&mut headers, "Host", HeaderValue::Fixed(&authority));
        put(&mut headers, "User-Agent", HeaderValue::Fixed(agent));
        put(&mut headers, "X-Request-ID", HeaderValue::RequestId);
        put(
            &mut headers,
            self.session_header,
            HeaderValue::CorrelationId,
        );
        for (name, value) in self.custom {
            if name.eq_ignore_ascii_case("content-length")
                || name.eq_ignore_ascii_case("transfer-encoding")
                || name.eq_ignore_ascii_case("connection")
            {
                bail!("--header `{name}` would break the framing of requests; leave it out");
            }
            if self.affinity && name.eq_ignore_ascii_case("x-session-affinity") {
                continue;
            }
            put(&mut headers, name, HeaderValue::Fixed(value));
        }
        if self.anthropic {
            if let Some(key) = self.api_key {
                put(&mut headers, "x-api-key", HeaderValue::Fixed(key));
            }
            let version = "anthropic-version";
            let given = |(name, _): &(&str, _)| name.eq_ignore_ascii_case(version);
            if !headers.iter().any(given) {
                headers.push((version, HeaderValue::Fixed("2023-06-01")));
            }
        } else if let Some(bearer) = &bearer {
            put(&mut headers, "Authorization", HeaderValue::Fixed(bearer));
        }
        let accept = if self.streaming {
            "text/event-stream"
        } else {
            "application/json"
        };
        put(&mut headers, "Accept", HeaderValue::Fixed(accept));
        put(
            &mut headers,
            "Content-Type",
            HeaderValue::Fixed("application/json"),
        );
        if self.affinity {
            put(
                &mut headers,
                "X-Session-Affinity",
                HeaderValue::CorrelationId,
            );
        }
        if self.close {
            put(&mut headers, "Connection", HeaderValue::Fixed("close"));
        }
        for (name, value) in &headers {
            check(name, *value)?;
        }
        let path = &self.target.path_and_query;
        Ok(if self.get {
            RequestHead::get(path, headers)
        } else {
            RequestHead::post(path, headers)
        })
    }
}

fn put<'a>(headers: &mut Vec<(&'a str, HeaderValue<'a>)>, name: &'a str, value: HeaderValue<'a>) {
    match headers
        .iter_mut()
        .find(|(old, _)| old.eq_ignore_ascii_case(name))
    {
        Some(old) => *old = (name, value),
        None => headers.push((name, value)),
    }
}

/// RFC 9110: a name is a token; a value has no control characters.
fn check(name: &str, value: HeaderValue<'_>) -> Result<()> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        bail!("the header name `{name}` may hold only letters, digits and !#$%&'*+-.^_`|~");
    }
    if let HeaderValue::Fixed(text) = value
        && text.bytes().any(|b| (b < b' ' && b != b'\t') || b == 0x7F)
    {
        bail!("the value of the header `{name}` holds a line break or another control character");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pinfire_base::{random::Purpose, record::Correlation};
    use pinfire_engine::request::Ids;

    fn head(plan: &HeaderPlan<'_>) -> Result<String> {
        let mut bytes = Vec::new();
        plan.head()?.write(
            &mut bytes,
            &Ids::new(Purpose::new(1, "ids"), 0, Correlation::User(0)),
            "",
            2,
        );
        Ok(String::from_utf8(bytes)?)
    }

    fn plan<'a>(target: &'a TargetUrl, custom: &'a [(String, String)]) -> HeaderPlan<'a> {
        HeaderPlan {
            target,
            custom,
            anthropic: false,
            api_key: Some("sk-1"),
            streaming: true,
            session_header: "X-Correlation-ID",
            affinity: true,
            close: false,
            get: false,
        }
    }

    #[test]
    fn layers_override_by_name() {
        let target = TargetUrl::join("h:1", "/v1/chat/completions").unwrap();
        let custom = [
            ("authorization".to_owned(), "mine".to_owned()),
            ("accept".to_owned(), "x".to_owned()),
            ("X-session-AFFINITY".to_owned(), "x".to_owned()),
            ("User-Agent".to_owned(), "me".to_owned()),
            ("X-Own".to_owned(), "1, 2".to_owned()),
        ];
        let head = head(&plan(&target, &custom)).unwrap();
        let lines: Vec<&str> = head.lines().collect();
        assert_eq!(lines[0], "POST /v1/chat/completions HTTP/1.1");
        assert_eq!(lines[1], "Host: h:1");
        assert_eq!(lines[2], "User-Agent: me");
        assert!(lines.contains(&"Authorization: Bearer sk-1"));
        assert!(lines.contains(&"Accept: text/event-stream"));
        assert!(lines.contains(&"X-Own: 1, 2"));
        let affinity: Vec<_> = lines
            .iter()
            .filter(|l| l.to_lowercase().starts_with("x-session-affinity"))
            .collect();
        let correlation = lines
            .iter()
            .find(|l| l.starts_with("X-Correlation-ID: "))
            .unwrap();
        assert_eq!(affinity.len(), 1);
        assert_eq!(
            affinity[0].split(": ").nth(1),
            correlation.split(": ").nth(1)
        );
    }

    #[test]
    fn anthropics_key_and_version() {
        let target = TargetUrl::join("h:1", "/v1/messages").unwrap();
        let lines = |custom: &[(String, String)]| {
            let plan = HeaderPlan {
                anthropic: true,
                ..plan(&target, custom)
            };
            head(&plan).unwrap().to_lowercase()
        };
        let text = lines(&[]);
        assert!(text.contains("\r\nx-api-key: sk-1\r\n"), "{text}");
        assert!(
            text.contains("\r\nanthropic-version: 2023-06-01\r\n"),
            "{text}"
        );
        assert!(!text.contains("authorization"), "{text}");
        let own = lines(&[("Anthropic-Version".to_owned(), "2024-01-01".to_owned())]);
        assert_eq!(own.matches("anthropic-version").count(), 1, "{own}");
        assert!(own.contains("anthropic-version: 2024-01-01"), "{own}");
    }

    #[test]
    fn broken_headers_are_refused() {
        let target = TargetUrl::join("h:1", "/x").unwrap();
        for (name, value) in [
            ("A b", "x"),
            ("", "x"),
            ("A", "x\r\nB: y"),
            ("Content-Length", "5"),
        ] {
            let custom = [(name.to_owned(), value.to_owned())];
            assert!(head(&plan(&target, &custom)).is_err(), "{name}: {value}");
        }
    }
}
