//! Server-sent events: body bytes in, events out, whatever the line ends and the cuts.
//!
//! Not for the JSON inside an event (`delta`), nor for time: the caller stamps each read.
//!
//! Servers leave out what the standard asks for. Two data lines that are a document each are an
//! event each, with or without a blank line between them; and a line that is no field at all (JSON
//! without `data:`, a page, a message) is passed on as it stands, because it says why there is no
//! answer.

use memchr::memchr2;
use pinfire_base::{
    clock::Stamp,
    limits::{EVENT_BYTES, KEPT_BUFFER_BYTES},
};

use super::Cause;

/// A complete event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event<'a> {
    /// Its `data` values, joined with a line feed.
    Data(&'a [u8]),
    /// An event named `error`, or one with a field of that name: all of its lines, each with a line
    /// feed.
    Error(&'a [u8]),
    /// Lines that are no fields, joined with a line feed.
    Bare(&'a [u8]),
    /// From here on each data line is an event: the server leaves out blank lines.
    Apart,
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
    /// The event has a data line.
    has_data: bool,
    /// The only data line of the event so far is a document: the length of `raw` behind it, and
    /// when it was complete.
    document: Option<(usize, Stamp)>,
    /// Each data line is an event.
    apart: bool,
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
        self.has_data = false;
        self.document = None;
        self.apart = false;
    }

    /// Bytes of the event that is being read.
    pub(super) fn held(&self) -> usize {
        self.raw.len()
    }

    /// Takes the next body bytes, which came at `at`, and passes on every event they complete with
    /// the instant that completed it. An error carries the offset of the byte that broke the limit.
    #[inline]
    pub(super) fn feed(
        &mut self,
        at: Stamp,
        bytes: &[u8],
        emit: &mut impl FnMut(Stamp, Event<'_>),
    ) -> Result<(), (usize, Cause)> {
        let mut place = if self.mark < 3 {
            self.skip_mark(bytes)
        } else {
            0
        };
        while place < bytes.len() {
            let rest = &bytes[place..];
            if self.raw.is_empty()
                && !self.after_cr
                && let Some((data, used)) = plain_event(rest)
            {
                emit(at, Event::Data(data));
                place += used;
                continue;
            }
            place += self
                .line(at, rest, emit)
                .map_err(|(offset, cause)| (place + offset, cause))?;
        }
        Ok(())
    }

    /// The body has ended: what is left without its blank line is the last event.
    pub(super) fn finish(&mut self, at: Stamp, emit: &mut impl FnMut(Stamp, Event<'_>)) {
        if self.open > 0 {
            self.end_line(at, emit);
        }
        if !self.raw.is_empty() {
            self.dispatch(at, emit);
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
        at: Stamp,
        bytes: &[u8],
        emit: &mut impl FnMut(Stamp, Event<'_>),
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
            self.dispatch(at, emit);
        } else {
            self.end_line(at, emit);
        }
        Ok(end + 1)
    }

    /// The open line is whole. An event ends with it where what follows cannot belong to it.
    #[inline]
    fn end_line(&mut self, at: Stamp, emit: &mut impl FnMut(Stamp, Event<'_>)) {
        let start = self.raw.len() - self.open;
        self.raw.push(b'\n');
        self.open = 0;
        match self.raw[start] {
            b'd' | b' ' | b'\t' => self.end_data_line(start, at, emit),
            b'{' if start == 0 && is_document(&self.raw) => self.dispatch(at, emit),
            _ => {}
        }
    }

    /// The line from `start` on is whole; it may be a data line.
    fn end_data_line(&mut self, start: usize, at: Stamp, emit: &mut impl FnMut(Stamp, Event<'_>)) {
        let (name, value) = field(&self.raw[start..]);
        if name != b"data" {
            return;
        }
        let is_object = value.first() == Some(&b'{') && value.last() == Some(&b'}');
        let is_whole = is_object || value == b"[DONE]";
        let is_first = !std::mem::replace(&mut self.has_data, true);
        // No JSON has an object right behind another one: the line before was an event by itself.
        if let Some((end, when)) = self.document.take().filter(|_| is_whole) {
            let rest = self.raw.split_off(end);
            self.dispatch(when, emit);
            self.raw.extend_from_slice(&rest);
            if !self.apart {
                self.apart = true;
                emit(at, Event::Apart);
            }
        }
        if self.apart && is_whole {
            return self.dispatch(at, emit);
        }
        self.document = (is_object && is_first).then_some((self.raw.len(), at));
    }

    /// Reads the lines of a complete event.
    fn dispatch(&mut self, at: Stamp, emit: &mut impl FnMut(Stamp, Event<'_>)) {
        self.joined.clear();
        let (mut fields, mut data_lines, mut bare_lines, mut is_error) = (0, 0, 0, false);
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
                } else {
                    self.joined.clear();
                }
                data_lines += 1;
                self.joined.extend_from_slice(value);
            } else if data_lines > 0
                && self.joined.first() == Some(&b'{')
                && self.joined.last() != Some(&b'}')
            {
                // Some servers put a raw line feed inside a JSON string: the next line is its rest.
                self.joined.extend_from_slice(b"\\n");
                self.joined.extend_from_slice(line);
            } else if name == b"event" && value.eq_ignore_ascii_case(b"error") {
                is_error = true;
            } else if name == b"error" && !value.is_empty() {
                is_error = true;
                fields += 1;
            } else if data_lines == 0 && (bare_lines > 0 || is_bare(name, line)) {
                if bare_lines > 0 {
                    self.joined.push(b'\n');
                }
                bare_lines += 1;
                self.joined.extend_from_slice(line);
            }
        }
        if is_error && fields > 1 {
            emit(at, Event::Error(&self.raw));
        } else if data_lines > 0 {
            emit(at, Event::Data(&self.joined));
        } else if bare_lines > 0 {
            emit(at, Event::Bare(&self.joined));
        }
        self.raw.clear();
        self.open = 0;
        self.has_data = false;
        self.document = None;
    }
}

/// Whether a line is no field of an event: the name of one is a word.
fn is_bare(name: &[u8], line: &[u8]) -> bool {
    const KNOWN: [&[u8]; 6] = [b"", b"data", b"event", b"id", b"retry", b"error"];
    let is_word = |name: &[u8]| {
        let of_word =
            |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | 0x80..);
        name.iter().all(of_word)
    };
    if memchr::memchr(b':', line).is_some() {
        !is_word(name)
    } else {
        !KNOWN.contains(&name)
    }
}

/// Whether a text is one JSON object by its braces.
pub(super) fn is_document(text: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let text = text.trim_ascii();
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if std::mem::take(&mut escaped) => {}
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1 == text.len();
                }
            }
            _ if depth == 0 => return false,
            _ => {}
        }
    }
    false
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

    const AT: Stamp = Stamp::from_nanos(1);

    fn events(input: &[u8], cuts: &[usize]) -> Vec<String> {
        let mut decoder = SseDecoder::default();
        let mut seen = Vec::new();
        let mut emit = |_: Stamp, event: Event<'_>| {
            seen.push(match event {
                Event::Data(data) => String::from_utf8_lossy(data).into_owned(),
                Event::Error(raw) => format!("ERROR {}", String::from_utf8_lossy(raw)),
                Event::Bare(lines) => format!("BARE {}", String::from_utf8_lossy(lines)),
                Event::Apart => "APART".to_owned(),
            });
        };
        let mut from = 0;
        for &cut in cuts.iter().chain([&input.len()]) {
            decoder.feed(AT, &input[from..cut], &mut emit).unwrap();
            from = cut;
        }
        decoder.finish(AT, &mut emit);
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
    fn events_without_blank_lines() {
        check(
            "data: {\"a\":1}\ndata: {\"b\":2}\ndata: {\"c\":3}\ndata: [DONE]\n",
            &["{\"a\":1}", "APART", "{\"b\":2}", "{\"c\":3}", "[DONE]"],
        );
        check(
            "data: {\"a\":1}\r\ndata: {\"b\":2}\r\n\r\ndata: {\"c\":3}",
            &["{\"a\":1}", "APART", "{\"b\":2}", "{\"c\":3}"],
        );
        check(
            "event: x\ndata: {\"a\":1}\nevent: error\ndata: {\"b\":2}\n",
            &[
                "{\"a\":1}",
                "APART",
                "ERROR event: error\ndata: {\"b\":2}\n",
            ],
        );
        check(
            "data: {\"a\":1}\ndata: [DONE]\n\n",
            &["{\"a\":1}", "APART", "[DONE]"],
        );
        // One document over several lines stays one.
        check(
            "data: {\"a\":\ndata: {\"b\":1}\ndata: }\n\n",
            &["{\"a\":\n{\"b\":1}\n}"],
        );
        check("data: one\ndata: two\n\n", &["one\ntwo"]);
    }

    #[test]
    fn an_event_without_its_blank_line_keeps_its_instant() {
        let mut decoder = SseDecoder::default();
        let mut seen = Vec::new();
        for (at, line) in [
            "data: {\"a\":1}\n",
            "data: {\"b\":2}\n",
            "data: {\"c\":3}\n",
        ]
        .iter()
        .enumerate()
        {
            let at = Stamp::from_nanos(at as u64 + 1);
            let emit = &mut |at: Stamp, event: Event<'_>| {
                if event != Event::Apart {
                    seen.push(at.nanos());
                }
            };
            decoder.feed(at, line.as_bytes(), emit).unwrap();
        }
        assert_eq!(seen, [1, 2, 3]);
    }

    #[test]
    fn lines_that_are_no_fields() {
        check(
            "{\"error\":{\"message\":\"no\"}}\n\n",
            &["BARE {\"error\":{\"message\":\"no\"}}"],
        );
        check(
            "{\"a\":1}\n{\"b\":\"}\"}\n",
            &["BARE {\"a\":1}", "BARE {\"b\":\"}\"}"],
        );
        check(
            "data: a\n\n{\n  \"error\": \"no\"\n}",
            &["a", "BARE {\n  \"error\": \"no\"\n}"],
        );
        check("<html>\n<b>x: y</b>\n\n", &["BARE <html>\n<b>x: y</b>"]);
        check("Internal Server Error", &["BARE Internal Server Error"]);
        check(
            "upstream connect error: 111\n\n",
            &["BARE upstream connect error: 111"],
        );
        // A field that nobody knows is none of this.
        check("meta: x\n\nx-y_z: {\"a\":1}\n\n", &[]);
        check(
            "error: {\"code\":500}\n\ndata: [DONE]\n\n",
            &["ERROR error: {\"code\":500}\n", "[DONE]"],
        );
        check("error:\n\n", &[]);
    }

    #[test]
    fn an_oversized_event_fails_at_the_same_byte() {
        let mut input = b"data: ok\n\ndata: ".to_vec();
        input.resize(10 + EVENT_BYTES + 100, b'x');
        for piece in [input.len(), 1 << 20, 65_521] {
            let mut decoder = SseDecoder::default();
            let mut offset = 0;
            let failed = input.chunks(piece).find_map(|part| {
                let result = decoder.feed(AT, part, &mut |_, _| {});
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
