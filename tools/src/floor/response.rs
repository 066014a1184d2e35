//! Where a response ends and how many events it had, without reading more of it than that.

use memchr::memmem::Finder;

/// What one read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    /// Events completed.
    pub events: u64,
    /// The response is whole.
    pub ended: bool,
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// The head has not come to its end yet.
    Head,
    /// So many bytes are still to come.
    Length(usize),
    /// The last chunk is `0\r\n\r\n`. An event cannot end like that, its JSON ends in `}`.
    Chunked,
    /// Until the connection closes.
    Close,
}

/// One response.
pub struct Response {
    body: Body,
    /// The head, when it comes in pieces.
    head: Vec<u8>,
    /// The last bytes of the read before.
    tail: [u8; 7],
    /// Status of the head.
    pub status: u16,
}

/// Searches shared by all responses.
pub struct Finders {
    head: Finder<'static>,
    event: Finder<'static>,
}

impl Finders {
    /// Prepares the searches.
    pub fn new() -> Self {
        Self {
            head: Finder::new("\r\n\r\n"),
            event: Finder::new("\n\n"),
        }
    }
}

impl Response {
    /// A response of which nothing has come in.
    pub fn new() -> Self {
        Self {
            body: Body::Head,
            head: Vec::new(),
            tail: [0; 7],
            status: 0,
        }
    }

    /// Makes it ready for the next one.
    #[inline]
    pub fn reset(&mut self) {
        self.body = Body::Head;
        self.head.clear();
        self.tail = [0; 7];
    }

    /// Whether an end of the connection is the end of the response.
    pub fn ends_by_close(&self) -> bool {
        self.body == Body::Close
    }

    /// Takes the bytes of a read.
    #[inline]
    pub fn feed(&mut self, finders: &Finders, bytes: &[u8]) -> Fed {
        if self.body != Body::Head {
            return self.feed_body(finders, bytes);
        }
        if self.head.is_empty()
            && let Some(at) = finders.head.find(bytes)
        {
            self.read_head(&bytes[..at + 2]);
            return self.feed_body(finders, &bytes[at + 4..]);
        }
        self.feed_head(finders, bytes)
    }

    /// The head comes in pieces: rare, so the plain way.
    #[cold]
    fn feed_head(&mut self, finders: &Finders, bytes: &[u8]) -> Fed {
        self.head.extend_from_slice(bytes);
        let Some(at) = finders.head.find(&self.head) else {
            return Fed {
                events: 0,
                ended: false,
            };
        };
        let head = std::mem::take(&mut self.head);
        self.read_head(&head[..at + 2]);
        self.feed_body(finders, &head[at + 4..])
    }

    fn read_head(&mut self, head: &[u8]) {
        let digits = head.get(9..12).unwrap_or_default();
        self.status = digits
            .iter()
            .fold(0, |n, d| n * 10 + u16::from(d.wrapping_sub(b'0').min(9)));
        self.body = Body::Close;
        let mut rest = head;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let line = rest[..end].trim_ascii_end();
            rest = &rest[end + 1..];
            if let Some(value) = strip(line, b"content-length:") {
                let number = value
                    .iter()
                    .fold(0, |n: usize, d| n * 10 + usize::from(d.wrapping_sub(b'0')));
                self.body = Body::Length(number);
            } else if strip(line, b"transfer-encoding:").is_some() {
                self.body = Body::Chunked;
            }
        }
    }

    #[inline]
    fn feed_body(&mut self, finders: &Finders, bytes: &[u8]) -> Fed {
        let cut = self.tail[6] == b'\n' && bytes.first() == Some(&b'\n');
        let events = finders.event.find_iter(bytes).count() as u64 + u64::from(cut);
        if bytes.len() >= self.tail.len() {
            let last = bytes.len() - self.tail.len();
            self.tail.copy_from_slice(&bytes[last..]);
        } else {
            self.tail.rotate_left(bytes.len());
            let from = self.tail.len() - bytes.len();
            self.tail[from..].copy_from_slice(bytes);
        }
        let ended = match &mut self.body {
            Body::Length(left) => {
                *left = left.saturating_sub(bytes.len());
                *left == 0
            }
            // A stream without an event has nothing before its last chunk.
            Body::Chunked => self.tail == *b"\r\n0\r\n\r\n" || self.tail == *b"\0\x000\r\n\r\n",
            Body::Head | Body::Close => false,
        };
        Fed { events, ended }
    }
}

/// What follows `name` in a header line, without spaces around it.
fn strip<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let (head, value) = line.split_at_checked(name.len())?;
    head.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the bytes are cut, the count and the end are the same.
    fn check(text: &str, events: u64, ended: bool) {
        let finders = Finders::new();
        for size in 1..=text.len() {
            let mut response = Response::new();
            let mut seen = (0, false);
            for piece in text.as_bytes().chunks(size) {
                assert!(!seen.1, "ended early with pieces of {size}");
                let fed = response.feed(&finders, piece);
                seen = (seen.0 + fed.events, fed.ended);
            }
            assert_eq!(seen, (events, ended), "pieces of {size}");
            assert_eq!(response.status, 200);
        }
    }

    #[test]
    fn ends_and_events() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(
            &format!("{chunked}9\r\ndata: a\n\n\r\n9\r\ndata: b\n\n\r\n0\r\n\r\n"),
            2,
            true,
        );
        check(&format!("{chunked}9\r\ndata: a\n\n\r\n"), 1, false);
        check(&format!("{chunked}0\r\n\r\n"), 0, true);
        check("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", 0, true);
        check("HTTP/1.1 200 OK\r\n\r\ndata: a\n\n", 1, false);
    }
}
