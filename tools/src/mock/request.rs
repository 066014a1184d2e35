//! Requests: where they go, how long they are, and the few keys of a body that matter.

use std::mem::MaybeUninit;

use memchr::memmem::Finder;

use super::metrics::{HANDLERS, HEALTH, METRICS, MODELS};
use super::pieces::Api;

/// What a request line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Generate(Api),
    Models,
    Metrics,
    Health,
    Unknown,
    /// A known path with a method it does not have.
    WrongMethod {
        handler: usize,
        post: bool,
    },
}

/// A request head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// Bytes of the head, blank line included.
    pub(super) size: usize,
    /// Bytes of the body.
    pub(super) length: usize,
    pub(super) route: Route,
    /// Index of the method in the metrics: 0 GET, 1 POST, 2 other.
    pub(super) method: usize,
    /// The client wants the connection closed after the answer.
    pub(super) close: bool,
    /// The client speaks HTTP/1.0 and cannot read chunks.
    pub(super) old: bool,
    /// The client waits for a 100 before it sends the body.
    pub(super) expect: bool,
}

/// Why a head is refused: the status to answer with before closing.
pub(super) type Refusal = u16;

/// Longest head and body accepted.
pub(super) const HEAD_MAX: usize = 64 * 1024;
pub(super) const BODY_MAX: usize = 64 * 1024 * 1024;

/// Reads the head that ends at `size`; the X-Request-ID goes to `id`.
pub(super) fn head(bytes: &[u8], size: usize, id: &mut Vec<u8>) -> Result<Head, Refusal> {
    let mut headers = [const { MaybeUninit::uninit() }; 64];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(&bytes[..size], &mut headers) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(400),
        Err(httparse::Error::TooManyHeaders) => return Err(431),
        Err(_) => return Err(400),
    }
    let method = request.method.unwrap_or_default();
    let old = request.version == Some(0);
    let mut head = Head {
        size,
        length: 0,
        route: route(method, request.path.unwrap_or_default()),
        method: match method {
            "GET" => 0,
            "POST" => 1,
            _ => 2,
        },
        close: old,
        old,
        expect: false,
    };
    id.clear();
    for header in request.headers.iter() {
        // Lengths first: most headers are not ours, and comparing names is the costly part.
        match header.name.len() {
            6 if header.name.eq_ignore_ascii_case("expect") => head.expect = true,
            10 if header.name.eq_ignore_ascii_case("connection") => {
                if has_token(header.value, b"close") {
                    head.close = true;
                } else if has_token(header.value, b"keep-alive") {
                    head.close = false;
                }
            }
            12 if header.name.eq_ignore_ascii_case("x-request-id") => {
                id.extend_from_slice(header.value);
            }
            14 if header.name.eq_ignore_ascii_case("content-length") => {
                let text = std::str::from_utf8(header.value).map_err(|_| 400_u16)?;
                head.length = text.trim().parse().map_err(|_| 400_u16)?;
            }
            17 if header.name.eq_ignore_ascii_case("transfer-encoding") => return Err(411),
            _ => {}
        }
    }
    if head.length > BODY_MAX {
        return Err(413);
    }
    Ok(head)
}

fn has_token(value: &[u8], token: &[u8]) -> bool {
    value
        .split(|byte| *byte == b',')
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(token))
}

fn route(method: &str, target: &str) -> Route {
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let api = Api::ALL.iter().find(|api| HANDLERS[**api as usize] == path);
    let (route, handler, post) = match (path, api) {
        (_, Some(api)) => (Route::Generate(*api), *api as usize, true),
        ("/v1/models", _) => (Route::Models, MODELS, false),
        ("/metrics", _) => (Route::Metrics, METRICS, false),
        ("/health", _) => (Route::Health, HEALTH, false),
        // A path of the user's own.
        _ if method == "POST" => (Route::Generate(Api::Chat), Api::Chat as usize, true),
        _ => return Route::Unknown,
    };
    if method == if post { "POST" } else { "GET" } {
        route
    } else {
        Route::WrongMethod { handler, post }
    }
}

/// What a body asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) stream: bool,
    /// `stream_options.include_usage`
    pub(super) usage: bool,
    /// Under the name that its kind of request has for it.
    pub(super) limit: Option<u32>,
    /// Words of the body, standing for prompt tokens.
    pub(super) words: u32,
}

/// Finds the keys in bodies. A key inside a prompt is escaped (`\"stream\"`) and does not match.
pub(super) struct Keys {
    head_end: Finder<'static>,
    stream: Finder<'static>,
    usage: Finder<'static>,
    limit: Finder<'static>,
    old_limit: Finder<'static>,
    responses_limit: Finder<'static>,
    generate_limit: Finder<'static>,
}

impl Keys {
    pub(super) fn new() -> Self {
        Self {
            head_end: Finder::new("\r\n\r\n"),
            stream: Finder::new("\"stream\""),
            usage: Finder::new("\"include_usage\""),
            limit: Finder::new("\"max_completion_tokens\""),
            old_limit: Finder::new("\"max_tokens\""),
            responses_limit: Finder::new("\"max_output_tokens\""),
            generate_limit: Finder::new("\"max_new_tokens\""),
        }
    }

    /// Where the head ends in `bytes`, of which the first `from` have been searched before.
    #[inline]
    pub(super) fn head_end(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let from = from.saturating_sub(3);
        self.head_end.find(&bytes[from..]).map(|at| from + at + 4)
    }

    pub(super) fn read(&self, api: Api, body: &[u8]) -> Ask {
        let is_true =
            |finder: &Finder<'_>| value(finder, body).is_some_and(|v| v.starts_with(b"true"));
        let number = |finder: &Finder<'_>| value(finder, body).and_then(leading_number);
        let stream = api.streams(is_true(&self.stream));
        let limit = match api {
            Api::Responses => number(&self.responses_limit),
            Api::Generate | Api::GenerateStream => number(&self.generate_limit),
            _ => number(&self.limit).or_else(|| number(&self.old_limit)),
        };
        Ask {
            stream,
            usage: stream && is_true(&self.usage),
            limit,
            words: memchr::memchr_iter(b' ', body).count() as u32 + 1,
        }
    }
}

/// What follows the first occurrence of the key that is a key (a colon follows).
fn value<'b>(finder: &Finder<'_>, body: &'b [u8]) -> Option<&'b [u8]> {
    let mut rest = body;
    loop {
        let at = finder.find(rest)? + finder.needle().len();
        rest = rest[at..].trim_ascii_start();
        if let Some(value) = rest.strip_prefix(b":") {
            return Some(value.trim_ascii_start());
        }
    }
}

fn leading_number(text: &[u8]) -> Option<u32> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&text[..digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read() {
        let ask = |text: &str| Keys::new().read(Api::Chat, text.as_bytes());
        let full = ask(
            r#"{"messages":[{"content":"say \"stream\": true twice"}], "stream" : true,
               "max_tokens":9,"max_completion_tokens": 12,"stream_options":{"include_usage":true}}"#,
        );
        assert!(full.stream && full.usage);
        assert_eq!(full.limit, Some(12));
        assert!(!ask(r#"{"role":"stream","stream":false}"#).stream);
        assert_eq!(ask(r#"{"max_tokens":null}"#).limit, None);
        assert_eq!(ask("").words, 1);
    }

    #[test]
    fn heads_are_read() {
        let text = b"POST /v1/chat/completions?x=1 HTTP/1.1\r\nHost: a\r\nx-request-ID: r7\r\n\
            Content-Length: 12\r\nExpect: 100-continue\r\nConnection: Keep-Alive, Close\r\n\r\n";
        let mut id = Vec::new();
        let head = head(text, Keys::new().head_end(text, 0).unwrap(), &mut id).unwrap();
        assert_eq!(head.route, Route::Generate(Api::Chat));
        assert_eq!((head.size, head.length), (text.len(), 12));
        assert!(head.expect && head.close && !head.old);
        assert_eq!(id, b"r7");
    }

    #[test]
    fn heads_are_refused() {
        let refused = |text: &[u8]| head(text, text.len(), &mut Vec::new()).unwrap_err();
        assert_eq!(
            refused(b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"),
            400
        );
        assert_eq!(
            refused(b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"),
            413
        );
        assert_eq!(
            refused(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            411
        );
        assert_eq!(refused(b"\x16\x03\x01\r\n\r\n"), 400);
    }

    #[test]
    fn the_end_of_a_head_is_found_across_reads() {
        let text = b"GET / HTTP/1.1\r\n\r\nrest";
        let keys = Keys::new();
        for seen in 0..18 {
            assert_eq!(keys.head_end(text, seen), Some(18), "{seen}");
        }
        assert_eq!(keys.head_end(&text[..17], 0), None);
    }
}
