//! Response heads: status and the few headers that decide how the body is read.

use httparse::{EMPTY_HEADER, Response, Status};
use pinfire_base::limits::{HEAD_BYTES, HEADERS, SHAPE_BYTES};

use super::{Cause, coding::Coding};

/// What a final (not 1xx) response head says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// How the body is delimited.
    pub framing: Framing,
    /// The connection may carry another request afterwards.
    pub keep_alive: bool,
    /// `Keep-Alive: timeout=N`: the connection is closed after so many seconds without a request.
    pub keeps_alive_seconds: Option<u32>,
    /// The media type is exactly `text/event-stream` (parameters aside).
    pub event_stream: bool,
    /// How the body is coded, as the head says.
    pub coding: Coding,
    /// The body is neither an event stream nor JSON, or it is coded, or the answer is elsewhere:
    /// the head says what may have to be told.
    pub is_unusual: bool,
}

/// How a body is delimited (RFC 9112, section 6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Until the server closes.
    UntilClose,
}

/// What the first bytes of a response are.
pub(super) enum Parsed {
    /// More bytes are needed.
    Partial,
    /// An interim (1xx) head of so many bytes, to be skipped.
    Interim(usize),
    /// The final head and its length.
    Final(Head, usize),
}

/// Knows the head of the last response again: a server's heads are the same for a second, by their
/// date.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    bytes: Vec<u8>,
    last: Option<Head>,
}

impl HeadReader {
    /// Reads the head at the start of `bytes` as [`parse`] does.
    ///
    /// # Errors
    /// See [`parse`].
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Parsed, Cause> {
        if let Some(head) = self.last
            && bytes.starts_with(&self.bytes)
        {
            return Ok(Parsed::Final(head, self.bytes.len()));
        }
        let parsed = parse(bytes)?;
        if let Parsed::Final(head, length) = parsed
            && length <= SHAPE_BYTES
        {
            self.bytes.clear();
            self.bytes.extend_from_slice(&bytes[..length]);
            self.last = Some(head);
        }
        Ok(parsed)
    }
}

/// Parses the head at the start of `bytes`. Only the first [`HEAD_BYTES`] are looked at, so that
/// the verdict on an oversized head does not depend on how it arrives.
fn parse(bytes: &[u8]) -> Result<Parsed, Cause> {
    let window = &bytes[..bytes.len().min(HEAD_BYTES)];
    let mut headers = [EMPTY_HEADER; HEADERS];
    let mut response = Response::new(&mut headers);
    let length = match response.parse(window) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if bytes.len() >= HEAD_BYTES => return Err(Cause::HeadTooLarge),
        Ok(Status::Partial) => return Ok(Parsed::Partial),
        Err(httparse::Error::TooManyHeaders) => return Err(Cause::HeadTooLarge),
        Err(_) => return Err(Cause::Head),
    };
    let status = response.code.ok_or(Cause::Head)?;
    match status {
        101 => return Err(Cause::Upgrade),
        100..=199 => return Ok(Parsed::Interim(length)),
        200..=999 => {}
        _ => return Err(Cause::Head),
    }
    // HTTP/1.1 stays open unless it says otherwise, 1.0 the other way round.
    let mut keep_alive = response.version == Some(1);
    let mut closes = false;
    let mut length_given = None;
    let mut coding = None;
    let mut event_stream = false;
    let mut is_json = false;
    let mut body_coding = Coding::Plain;
    let mut keeps_alive_seconds = None;
    for header in response.headers.iter() {
        let name = header.name;
        if name.eq_ignore_ascii_case("content-length") {
            let value = content_length(header.value)?;
            if length_given.is_some_and(|before| before != value) {
                return Err(Cause::Length);
            }
            length_given = Some(value);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            let last = tokens(header.value).last();
            coding = last
                .map(|last| last.eq_ignore_ascii_case(b"chunked"))
                .or(coding);
        } else if name.eq_ignore_ascii_case("connection") {
            for token in tokens(header.value) {
                if token.eq_ignore_ascii_case(b"close") {
                    closes = true;
                } else if token.eq_ignore_ascii_case(b"keep-alive") {
                    keep_alive = true;
                }
            }
        } else if name.eq_ignore_ascii_case("content-type") {
            let kind = header
                .value
                .split(|&b| b == b';')
                .next()
                .unwrap_or_default();
            let kind = kind.trim_ascii();
            event_stream = kind.eq_ignore_ascii_case(b"text/event-stream");
            is_json = kind.eq_ignore_ascii_case(b"application/json");
        } else if name.eq_ignore_ascii_case("content-encoding") {
            body_coding = Coding::of_header(header.value);
        } else if name.eq_ignore_ascii_case("keep-alive") {
            keeps_alive_seconds = timeout_of(header.value);
        }
    }
    let framing = match (status, coding, length_given) {
        (204 | 304, _, _) => Framing::Length(0),
        (_, Some(true), _) => Framing::Chunked,
        (_, Some(false), _) | (_, None, None) => Framing::UntilClose,
        (_, None, Some(length)) => Framing::Length(length),
    };
    // Length and coding together invite disagreement about where the next response begins.
    let keep_alive = keep_alive
        && !closes
        && framing != Framing::UntilClose
        && !(coding.is_some() && length_given.is_some());
    Ok(Parsed::Final(
        Head {
            status,
            framing,
            keep_alive,
            keeps_alive_seconds,
            event_stream,
            coding: body_coding,
            is_unusual: !(event_stream || is_json)
                || body_coding != Coding::Plain
                || (300..400).contains(&status),
        },
        length,
    ))
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&b| b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// The parameter `timeout` of a `Keep-Alive` header; whatever else it may be says nothing.
fn timeout_of(value: &[u8]) -> Option<u32> {
    tokens(value).find_map(|parameter| {
        let (name, seconds) = parameter.split_at(parameter.iter().position(|&b| b == b'=')?);
        if !name.trim_ascii().eq_ignore_ascii_case(b"timeout") {
            return None;
        }
        let seconds = seconds.get(1..)?.trim_ascii();
        std::str::from_utf8(seconds).ok()?.parse().ok()
    })
}

fn content_length(value: &[u8]) -> Result<u64, Cause> {
    let digits = value.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Cause::Length);
    }
    digits
        .iter()
        .try_fold(0_u64, |sum, digit| {
            sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })
        .ok_or(Cause::Length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<Head, Cause>) {
        let got = match parse(text.as_bytes()) {
            Ok(Parsed::Final(head, length)) => {
                let end = text.find("\r\n\r\n").map(|at| at + 4);
                assert_eq!(Some(length), end);
                Ok(head)
            }
            Ok(_) => panic!("not a final head"),
            Err(cause) => Err(cause),
        };
        assert_eq!(got, expected, "{text:?}");
    }

    #[test]
    fn the_last_head_is_known_again() {
        let (stream, length) = (
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
        );
        let mut reader = HeadReader::default();
        for head in [stream, stream, length, stream, length, length] {
            let Ok(Parsed::Final(expected, end)) = parse(head.as_bytes()) else {
                panic!("not a final head")
            };
            let whole = format!("{head}body");
            let cut = reader.read(&whole.as_bytes()[..head.len() - 1]);
            assert!(matches!(cut, Ok(Parsed::Partial)));
            let Ok(Parsed::Final(got, at)) = reader.read(whole.as_bytes()) else {
                panic!("not a final head")
            };
            assert_eq!((got, at), (expected, end));
        }
        assert!(reader.read(b"HTTP/1.1 99 No\r\n\r\n").is_err());
    }

    fn plain(framing: Framing) -> Head {
        Head {
            status: 200,
            framing,
            keep_alive: true,
            keeps_alive_seconds: None,
            event_stream: false,
            coding: Coding::Plain,
            is_unusual: true,
        }
    }

    #[test]
    fn how_long_a_connection_is_kept() {
        for (value, seconds) in [
            ("timeout=5", Some(5)),
            ("timeout=5, max=100", Some(5)),
            ("max=100,Timeout = 75", Some(75)),
            ("timeout=0", Some(0)),
            ("max=100", None),
            ("timeout", None),
            ("timeout=", None),
            ("timeout=-1", None),
            ("timeout=1.5", None),
            ("timeout=99999999999", None),
            ("5", None),
            ("", None),
        ] {
            let text =
                format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: {value}\r\n\r\n");
            check(
                &text,
                Ok(Head {
                    keeps_alive_seconds: seconds,
                    ..plain(Framing::Length(0))
                }),
            );
        }
    }

    #[test]
    fn framing_of_bodies() {
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n",
            Ok(plain(Framing::Length(12))),
        );
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Ok(plain(Framing::Chunked)),
        );
        check(
            "HTTP/1.1 200 OK\r\n\r\n",
            Ok(Head {
                keep_alive: false,
                ..plain(Framing::UntilClose)
            }),
        );
        check(
            "HTTP/1.1 204 No Content\r\n\r\n",
            Ok(Head {
                status: 204,
                ..plain(Framing::Length(0))
            }),
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            Ok(Head {
                keep_alive: false,
                ..plain(Framing::Chunked)
            }),
        );
        check(
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n",
            Ok(Head {
                keep_alive: false,
                ..plain(Framing::Length(5))
            }),
        );
        check(
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: Keep-Alive\r\n\r\n",
            Ok(plain(Framing::Length(5))),
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nconnection: foo, CLOSE\r\n\r\n",
            Ok(Head {
                keep_alive: false,
                ..plain(Framing::Length(5))
            }),
        );
    }

    #[test]
    fn media_types() {
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\n\r\n",
            Ok(Head {
                event_stream: true,
                is_unusual: false,
                ..plain(Framing::Length(0))
            }),
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Type: text/event-streams\r\n\r\n",
            Ok(plain(Framing::Length(0))),
        );
    }

    #[test]
    fn what_heads_say_of_bodies() {
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Type: application/json\r\n\r\n",
            Ok(Head {
                is_unusual: false,
                ..plain(Framing::Length(0))
            }),
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n\r\n",
            Ok(Head {
                coding: Coding::Gzip,
                ..plain(Framing::Length(0))
            }),
        );
        check(
            "HTTP/1.1 307 x\r\nContent-Length: 0\r\nContent-Type: application/json\r\nLocation: /x\r\n\r\n",
            Ok(Head {
                status: 307,
                ..plain(Framing::Length(0))
            }),
        );
    }

    #[test]
    fn refusals() {
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            Err(Cause::Length),
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            Err(Cause::Length),
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            Err(Cause::Length),
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            Err(Cause::Length),
        );
        check(
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            Err(Cause::Upgrade),
        );
        check("SSH-2.0-OpenSSH_9.2\r\n", Err(Cause::Head));
        let large = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(HEAD_BYTES));
        check(&large, Err(Cause::HeadTooLarge));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(HEADERS + 1));
        check(&many, Err(Cause::HeadTooLarge));
    }
}
