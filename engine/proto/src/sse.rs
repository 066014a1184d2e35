//! Server-sent events: body bytes in, events out, whatever the line ends and the cuts.
//!
//! Not for the JSON inside an event (`delta`), nor for time: the caller stamps each read.

use memchr::memchr2;
use pinfire_base::limits::{EVENT_BYTES, KEPT_BUFFER_BYTES};

use super::Cause;

/// A complete event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event<'a> {
    /// Its `data` values, joined with a line feed.
    Data(&'a [u8]),
    /// An event named `error`: all of its lines, each with a line feed.
    Error(&'a [u8]),
}

/// Splits a body into events. An event that lies whole in one piece is not copied.
#[derive(Debug, Default)]
pub(super) struct SseDecoder {
    /// Lines of the event so far, each with a line feed, and the open line.
    raw: Vec<u8>,
    /// Length of the open line.
    open: usize,
    /// The last line ended in CR: an LF now belongs to it.
    after_cr: bool,
    /// Bytes of a byte order mark seen; 3 or more once that question is settled.
    mark: u8,
    joined: Vec<u8>,
}

const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

impl SseDecoder {
    /// Forgets everything, keeps the buffers.
    pub(super) fn reset(&mut self) {
        self.raw.clear();
        self.raw.shrink_to(KEPT_BUFFER_BYTES);
        self.joined.clear();
        self.joined.shrink_to(KEPT_BUFFER_BYTES);
        self.open = 0;
        self.after_cr = false;
        self.mark = 0;
    }

    /// Takes the next body bytes and passes on every event they complete. An error carries the
    /// offset of the byte that broke the limit.
    #[inline]
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        emit: &mut impl FnMut(Event<'_>),
    ) -> Result<(), (usize, Cause)> {
        let mut at = if self.mark < 3 {
            self.skip_mark(bytes)
        } else {
            0
        };
        while at < bytes.len() {
            let rest = &bytes[at..];
            if self.raw.is_empty()
                && !self.after_cr
                && let Some((data, used)) = plain_event(rest)
            {
                emit(Event::Data(data));
                at += used;
                continue;
            }
            at += self
                .line(rest, emit)
                .map_err(|(offset, cause)| (at + offset, cause))?;
        }
        Ok(())
    }

    /// The body has ended: what is left without its blank line is the last event.
    pub(super) fn finish(&mut self, emit: &mut impl FnMut(Event<'_>)) {
        if !self.raw.is_empty() {
            if self.open > 0 {
                self.raw.push(b'\n');
            }
            self.dispatch(emit);
        }
        self.reset();
    }

    /// Skips a byte order mark at the start of the stream; gives the bytes consumed.
    fn skip_mark(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while self.mark < 3 && at < bytes.len() {
            let seen = usize::from(self.mark);
            if bytes[at] == BYTE_ORDER_MARK[seen] {
                self.mark += 1;
                at += 1;
            } else {
                // Not a mark after all: what looked like one begins the first line.
                self.raw.extend_from_slice(&BYTE_ORDER_MARK[..seen]);
                self.open = seen;
                self.mark = 3;
            }
        }
        at
    }

    /// Takes bytes up to and including the next line end; gives the bytes consumed.
    fn line(
        &mut self,
        bytes: &[u8],
        emit: &mut impl FnMut(Event<'_>),
    ) -> Result<usize, (usize, Cause)> {
        if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
            return Ok(1);
        }
        let end = memchr2(b'\n', b'\r', bytes);
        let text = &bytes[..end.unwrap_or(bytes.len())];
        if self.raw.len() + text.len() > EVENT_BYTES {
            return Err((
                EVENT_BYTES.saturating_sub(self.raw.len()),
                Cause::EventTooLarge,
            ));
        }
        self.raw.extend_from_slice(text);
        self.open += text.len();
        let Some(end) = end else {
            return Ok(bytes.len());
        };
        self.after_cr = bytes[end] == b'\r';
        if self.open == 0 {
            self.dispatch(emit);
        } else {
            self.raw.push(b'\n');
            self.open = 0;
        }
        Ok(end + 1)
    }

    /// Reads the lines of a complete event.
    fn dispatch(&mut self, emit: &mut impl FnMut(Event<'_>)) {
        self.joined.clear();
        let (mut fields, mut data_lines, mut is_error) = (0, 0, false);
        for line in self
            .raw
            .split(|&b| b == b'\n')
            .filter(|line| !line.is_empty())
        {
            fields += 1;
            let (name, value) = field(line);
            if name == b"data" {
                if data_lines > 0 {
                    self.joined.push(b'\n');
                }
                data_lines += 1;
                self.joined.extend_from_slice(value);
            } else if self.joined.first() == Some(&b'{') && self.joined.last() != Some(&b'}') {
                // Some servers put a raw line feed inside a JSON string: the next line is its rest.
                self.joined.extend_from_slice(b"\\n");
                self.joined.extend_from_slice(line);
            } else if name == b"event" && value.eq_ignore_ascii_case(b"error") {
                is_error = true;
            }
        }
        if is_error && fields > 1 {
            emit(Event::Error(&self.raw));
        } else if data_lines > 0 {
            emit(Event::Data(&self.joined));
        }
        self.raw.clear();
        self.open = 0;
    }
}

/// The usual case: one `data:` line and its blank line, both whole in `bytes`. Gives the value and
/// the bytes consumed.
#[inline]
fn plain_event(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let value = bytes.strip_prefix(b"data:")?;
    let end = memchr2(b'\n', b'\r', value)?;
    let tail = &value[end..];
    let line_ends = if tail.starts_with(b"\n\n") {
        2
    } else if tail.starts_with(b"\r\n\r\n") {
        4
    } else {
        return None;
    };
    (end < EVENT_BYTES - 5).then(|| (value[..end].trim_ascii(), 5 + end + line_ends))
}

fn field(line: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b':', line) {
        Some(colon) => (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii()),
        None => (line.trim_ascii(), b""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(input: &[u8], cuts: &[usize]) -> Vec<String> {
        let mut decoder = SseDecoder::default();
        let mut seen = Vec::new();
        let mut emit = |event: Event<'_>| {
            seen.push(match event {
                Event::Data(data) => String::from_utf8_lossy(data).into_owned(),
                Event::Error(raw) => format!("ERROR {}", String::from_utf8_lossy(raw)),
            });
        };
        let mut from = 0;
        for &cut in cuts.iter().chain([&input.len()]) {
            decoder.feed(&input[from..cut], &mut emit).unwrap();
            from = cut;
        }
        decoder.finish(&mut emit);
        seen
    }

    /// The same events uncut, at every single cut, at every pair of cuts and byte by byte.
    fn check(input: &str, expected: &[&str]) {
        let input = input.as_bytes();
        assert_eq!(events(input, &[]), expected);
        for first in 0..=input.len() {
            assert_eq!(events(input, &[first]), expected, "cut at {first}");
            for second in first..=input.len().min(first + 12) {
                assert_eq!(
                    events(input, &[first, second]),
                    expected,
                    "cuts at {first}, {second}"
                );
            }
        }
        let each: Vec<usize> = (1..input.len()).collect();
        assert_eq!(events(input, &each), expected, "byte by byte");
    }

    #[test]
    fn line_ends() {
        check("data: a\n\ndata: b\n\n", &["a", "b"]);
        check("data: a\r\n\r\ndata: b\r\n\r\n", &["a", "b"]);
        check("data: a\r\rdata: b\r\r", &["a", "b"]);
        check("data: a\n\r\ndata: b\r\n\n", &["a", "b"]);
        check("data: a\r\n\ndata: b\n\r", &["a", "b"]);
        check("\n\n\r\n\rdata: a\n\n\n\n", &["a"]);
    }

    #[test]
    fn fields_and_comments() {
        check("id: 1\nretry: 5\nevent: message\ndata: a\n\n", &["a"]);
        check(": ping\n\n:\n\ndata: a\n: between\n\n", &["a"]);
        check("data:a\n\ndata:  b \n\ndata\n\n", &["a", "b", ""]);
        check("data: {\"a\":\ndata: 1}\n\n", &["{\"a\":\n1}"]);
        check("data: a: b\n\n", &["a: b"]);
        check("id: 7\n\n", &[]);
    }

    #[test]
    fn ends_without_a_blank_line() {
        check("data: a\n\ndata: b", &["a", "b"]);
        check("data: a\r\n\r\ndata: b\r\n", &["a", "b"]);
        check("data: a\n\n: rest", &["a"]);
    }

    #[test]
    fn byte_order_mark_and_multibyte() {
        check("\u{feff}data: a\n\n", &["a"]);
        check("data: żółć 🔥\n\n", &["żółć 🔥"]);
        check("\u{feff}\u{feff}data: a\n\n", &[]);
    }

    #[test]
    fn errors_and_repair() {
        check(
            "event: error\n: too long\ndata: x\n\n",
            &["ERROR event: error\n: too long\ndata: x\n"],
        );
        check(
            "event: Error\ndata: x\n\ndata: y\n\n",
            &["ERROR event: Error\ndata: x\n", "y"],
        );
        check("event: error\n\ndata: y\n\n", &["y"]);
        check("data: {\"t\":\"one\ntwo\"}\n\n", &["{\"t\":\"one\\ntwo\"}"]);
    }

    #[test]
    fn an_oversized_event_fails_at_the_same_byte() {
        let mut input = b"data: ok\n\ndata: ".to_vec();
        input.resize(10 + EVENT_BYTES + 100, b'x');
        for piece in [input.len(), 1 << 20, 65_521] {
            let mut decoder = SseDecoder::default();
            let mut offset = 0;
            let failed = input.chunks(piece).find_map(|part| {
                let result = decoder.feed(part, &mut |_| {});
                let error = result.err().map(|(at, cause)| (offset + at, cause));
                offset += part.len();
                error
            });
            assert_eq!(
                failed,
                Some((10 + EVENT_BYTES, Cause::EventTooLarge)),
                "pieces of {piece}"
            );
        }
    }
}
