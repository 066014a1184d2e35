//! One response from its first byte to its last: head, body framing and events chained.

use pinfire_base::{
    clock::Stamp,
    limits::{BODY_BYTES, ERROR_BODY_BYTES, ERROR_BODY_KEPT, KEPT_BUFFER_BYTES, UNREADABLE_KEPT},
    record::{MarkKind, Quirks},
};

use super::{
    Cause, ProtoError,
    body::{BodyDecoder, Step},
    coding::{Coding, Decoder},
    delta::DeltaScanner,
    head::{Head, HeadReader, Parsed},
    held::Share,
    sse::{Event, SseDecoder, is_document},
};
use crate::Scan;

/// Takes what an [`Exchange`] finds. All calls of one `feed` carry that feed's stamp, but for an
/// event that is known to be one only when the next has come.
pub trait Sink {
    /// The final response head is complete; `bytes` is all of it.
    fn head(&mut self, at: Stamp, head: &Head, bytes: &[u8]);
    /// Body bytes, framing excluded, that came with this feed: how many on the wire, and what they
    /// are. Both are the same but for a coded body, whose plain bytes come apart from the others.
    fn body(&mut self, at: Stamp, wire: usize, bytes: &[u8]);
    /// An event, or a whole body that is not an event stream.
    fn event(&mut self, at: Stamp, kind: MarkKind, bytes: &[u8]);
    /// The body is read otherwise than its head says.
    fn quirk(&mut self, quirk: Quirks);
}

/// Where a response stands after a feed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// More is to come.
    More,
    /// The response is complete. The connection may be used again if `reusable`.
    Complete {
        /// Neither side asked to close, and nothing followed the response.
        reusable: bool,
    },
}

/// What the peer's close means at this point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closed {
    /// The response was delimited by it and is complete now.
    Complete,
    /// No byte of a response had come.
    Nothing,
    /// The head is incomplete.
    InHead,
    /// The body is incomplete.
    InBody,
}

/// The response side of one request. Buffers are kept from one response to the next.
///
/// The order of calls: `feed` for every read until it gives `Complete` or an error; `close` if the
/// peer closes before; `reset` before the next response.
#[derive(Debug, Default)]
pub struct Exchange {
    /// Bytes of this response consumed.
    offset: u64,
    /// Head bytes of earlier reads.
    partial: Vec<u8>,
    heads: HeadReader,
    body: Option<(BodyDecoder, Head)>,
    text: Text,
    /// The coding of the body is known, and decoded if there is one.
    settled: bool,
    decoder: Option<Box<Decoder>>,
    /// First bytes of a body whose coding is not known yet.
    start: Vec<u8>,
}

/// What a body's text is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Form {
    /// Not known yet.
    #[default]
    Open,
    /// Server-sent events.
    Events,
    /// One document, or what is none. If its first line is a document and others follow, they are
    /// lines.
    Whole {
        /// Bytes that have been looked through for the end of the first line.
        looked: usize,
        /// When that came, if the line is a document.
        first: Option<Stamp>,
        /// It is one document or none for good.
        settled: bool,
    },
    /// Lines of JSON.
    Lines,
    /// Neither events nor JSON.
    Unreadable {
        /// Bytes so far; not all of them are kept.
        bytes: usize,
    },
    /// The body of an error status.
    Refusal {
        /// Bytes so far; not all of them are kept.
        bytes: usize,
    },
}

/// The plain bytes of a body, taken apart into events.
#[derive(Debug, Default)]
struct Text {
    form: Form,
    sse: SseDecoder,
    delta: DeltaScanner,
    /// A body that is not an event stream, as far as it came in earlier reads; of lines, the open
    /// one.
    whole: Vec<u8>,
    share: Share,
}

impl Exchange {
    /// For responses whose events of this kind are read here, and all others kept.
    pub fn of(scan: Scan) -> Self {
        Self {
            text: Text {
                delta: DeltaScanner::of(scan),
                ..Text::default()
            },
            ..Self::default()
        }
    }

    /// Makes ready for the next response.
    pub fn reset(&mut self) {
        self.offset = 0;
        self.partial.clear();
        self.body = None;
        self.settled = false;
        self.decoder = None;
        self.start.clear();
        self.text.reset();
    }

    /// Takes the bytes of one read.
    ///
    /// # Errors
    /// The bytes are not a response that can be read; the offset is the same however it was cut.
    #[inline]
    pub fn feed(
        &mut self,
        at: Stamp,
        bytes: &[u8],
        sink: &mut impl Sink,
    ) -> Result<Progress, ProtoError> {
        let used = if self.body.is_some() {
            0
        } else {
            self.head(at, bytes, sink)?
        };
        if self.body.is_none() {
            return Ok(Progress::More);
        }
        self.body_bytes(at, &bytes[used..], sink)
    }

    /// Whether no byte of the response has come.
    pub const fn is_untouched(&self) -> bool {
        self.body.is_none() && self.offset == 0 && self.partial.is_empty()
    }

    /// What has come of a head that is not whole, or that could not be read.
    pub fn unread_head(&self) -> &[u8] {
        &self.partial
    }

    /// The peer has closed; gives what that means. Events left open are passed on if the body is
    /// delimited by the close.
    pub fn close(&mut self, at: Stamp, sink: &mut impl Sink) -> Closed {
        match &self.body {
            None if self.is_untouched() => Closed::Nothing,
            None => Closed::InHead,
            Some((decoder, _)) if decoder.may_end_by_close() => {
                self.end_of_body(at, sink);
                Closed::Complete
            }
            Some(_) => Closed::InBody,
        }
    }

    /// Parses heads until the final one is complete; gives the bytes of `bytes` it consumed.
    fn head(&mut self, at: Stamp, bytes: &[u8], sink: &mut impl Sink) -> Result<usize, ProtoError> {
        let mut used = 0;
        loop {
            let before = self.partial.len();
            let parsed = if before == 0 {
                self.heads.read(&bytes[used..])
            } else {
                self.partial.extend_from_slice(&bytes[used..]);
                self.heads.read(&self.partial)
            };
            let parsed = parsed.map_err(|cause| {
                if before == 0 {
                    self.partial.extend_from_slice(&bytes[used..]);
                }
                ProtoError {
                    offset: self.offset,
                    cause,
                }
            });
            match parsed? {
                Parsed::Partial => {
                    if before == 0 {
                        self.partial.extend_from_slice(&bytes[used..]);
                    }
                    return Ok(bytes.len());
                }
                Parsed::Interim(length) => {
                    used += length - before;
                    self.offset += length as u64;
                    self.partial.clear();
                    if used == bytes.len() {
                        return Ok(used);
                    }
                }
                Parsed::Final(head, length) => {
                    let whole = match before {
                        0 => &bytes[used..used + length],
                        _ => &self.partial[..length],
                    };
                    sink.head(at, &head, whole);
                    used += length - before;
                    self.offset += length as u64;
                    self.partial.clear();
                    self.body = Some((BodyDecoder::new(head.framing), head));
                    return Ok(used);
                }
            }
        }
    }

    #[inline]
    fn body_bytes(
        &mut self,
        at: Stamp,
        bytes: &[u8],
        sink: &mut impl Sink,
    ) -> Result<Progress, ProtoError> {
        let mut used = 0;
        while let Some((decoder, head)) = &mut self.body {
            if decoder.is_done() {
                let reusable = head.keep_alive && used == bytes.len();
                self.end_of_body(at, sink);
                return Ok(Progress::Complete { reusable });
            }
            if used == bytes.len() {
                break;
            }
            let rest = &bytes[used..];
            let error = |offset: u64, (at, cause): (usize, Cause)| ProtoError {
                offset: offset + at as u64,
                cause,
            };
            let step = decoder
                .step(rest)
                .map_err(|failed| error(self.offset, failed))?;
            let taken = match step {
                Step::Skip(n) | Step::End(n) => n,
                Step::Data(n) => {
                    let bytes = &rest[..n];
                    if self.text.form == Form::Events && self.decoder.is_none() {
                        let result = self.text.events(at, bytes, sink);
                        if let Err((place, _)) = result {
                            sink.body(at, place.min(n), &bytes[..place.min(n)]);
                        }
                        result.map_err(|failed| error(self.offset, failed))?;
                        sink.body(at, n, bytes);
                    } else {
                        let head = *head;
                        self.unusual(at, &head, bytes, sink)?;
                    }
                    n
                }
            };
            used += taken;
            self.offset += taken as u64;
        }
        Ok(Progress::More)
    }

    /// Body bytes whose form is not known yet, or that are no plain event stream.
    #[inline(never)]
    fn unusual(
        &mut self,
        at: Stamp,
        head: &Head,
        bytes: &[u8],
        sink: &mut impl Sink,
    ) -> Result<(), ProtoError> {
        if self.settled {
            return self.plain_or_coded(at, bytes, 0, sink);
        }
        // Until its coding is known nothing of a body is read. Mostly its first byte says it.
        if self.start.is_empty()
            && let Some(coding) = head.coding.of_body(bytes)
        {
            self.settle(coding, head, sink);
            return self.plain_or_coded(at, bytes, 0, sink);
        }
        let earlier = self.start.len();
        self.start.extend_from_slice(bytes);
        let Some(coding) = head.coding.of_body(&self.start) else {
            sink.body(at, bytes.len(), b"");
            return Ok(());
        };
        self.settle(coding, head, sink);
        let start = std::mem::take(&mut self.start);
        self.plain_or_coded(at, &start, earlier, sink)
    }

    /// The coding of the body is known.
    fn settle(&mut self, coding: Coding, head: &Head, sink: &mut impl Sink) {
        self.settled = true;
        match coding {
            Coding::Plain if head.coding != Coding::Plain => sink.quirk(Quirks::NO_CODING),
            Coding::Plain | Coding::Unknown => {}
            coding => {
                if head.coding != coding {
                    sink.quirk(Quirks::UNDECLARED_CODING);
                }
                self.decoder = Some(Box::new(Decoder::new(coding)));
            }
        }
        self.text.form = match (200..300).contains(&head.status) {
            false => Form::Refusal { bytes: 0 },
            true if coding == Coding::Unknown => Form::Unreadable { bytes: 0 },
            true if head.event_stream => Form::Events,
            true => Form::Open,
        };
    }

    /// `bytes` whose first `earlier` ones came with an earlier read.
    fn plain_or_coded(
        &mut self,
        at: Stamp,
        bytes: &[u8],
        earlier: usize,
        sink: &mut impl Sink,
    ) -> Result<(), ProtoError> {
        let Self {
            decoder,
            text,
            offset,
            ..
        } = self;
        let start = *offset - earlier as u64;
        let Some(decoder) = decoder else {
            let result = text.take(at, bytes, sink);
            let taken = result.map_or_else(|(place, _)| place.min(bytes.len()), |()| bytes.len());
            sink.body(at, taken.saturating_sub(earlier), &bytes[..taken]);
            return result.map_err(|(place, cause)| ProtoError {
                offset: start + place as u64,
                cause,
            });
        };
        // The place of an error is one among the plain bytes: how many of them a coded byte gives
        // depends on the cuts.
        let mut place = 0;
        let before = decoder.given();
        let mut given = 0;
        let result = decoder.feed(bytes, &mut |plain| {
            let result = text.take(at, plain, sink);
            if let Err((at, _)) = result {
                place = given + at as u64;
            }
            given += plain.len() as u64;
            sink.body(at, 0, plain);
            result
        });
        sink.body(at, bytes.len() - earlier, b"");
        result.map_err(|(_, cause)| ProtoError {
            offset: before + if cause == Cause::Coding { given } else { place },
            cause,
        })
    }

    fn end_of_body(&mut self, at: Stamp, sink: &mut impl Sink) {
        let Some((_, head)) = self.body else { return };
        if !self.settled {
            let start = std::mem::take(&mut self.start);
            self.settle(
                if start.is_empty() {
                    head.coding
                } else {
                    Coding::Plain
                },
                &head,
                sink,
            );
            self.decoder = None;
            // A byte or two that could have been the beginning of anything break no limit.
            let _ = self.text.take(at, &start, sink);
            if !start.is_empty() {
                sink.body(at, 0, &start);
            }
        }
        self.text.end(at, sink);
    }
}

/// What the first bytes of an event stream can be. A comment begins with a colon, as no JSON does.
const FIELDS: [&[u8]; 5] = [b":", b"data:", b"event:", b"id:", b"retry:"];

/// Whether a document of JSON may begin with this byte.
const fn begins_json(byte: u8) -> bool {
    matches!(
        byte,
        b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n'
    )
}

impl Text {
    fn reset(&mut self) {
        self.form = Form::Open;
        self.sse.reset();
        self.whole.clear();
        self.whole.shrink_to(KEPT_BUFFER_BYTES);
        self.share.release();
    }

    /// Takes the next bytes of an event stream.
    #[inline]
    fn events(
        &mut self,
        at: Stamp,
        bytes: &[u8],
        sink: &mut impl Sink,
    ) -> Result<(), (usize, Cause)> {
        let Self { sse, delta, .. } = self;
        sse.feed(at, bytes, &mut |at, event| pass_on(at, event, delta, sink))?;
        if self.share.holds(self.sse.held()) {
            Ok(())
        } else {
            Err((bytes.len(), Cause::TooMuchHeld))
        }
    }

    /// Takes the next bytes, whatever they are of.
    fn take(
        &mut self,
        at: Stamp,
        bytes: &[u8],
        sink: &mut impl Sink,
    ) -> Result<(), (usize, Cause)> {
        match self.form {
            Form::Events => return self.events(at, bytes, sink),
            Form::Refusal { bytes: before } => {
                let room = ERROR_BODY_KEPT.saturating_sub(self.whole.len());
                self.whole
                    .extend_from_slice(&bytes[..bytes.len().min(room)]);
                if before + bytes.len() > ERROR_BODY_BYTES {
                    sink.event(at, MarkKind::Body, &self.whole);
                    return Err((ERROR_BODY_BYTES - before, Cause::ErrorBodyTooLarge));
                }
                self.form = Form::Refusal {
                    bytes: before + bytes.len(),
                };
                return Ok(());
            }
            Form::Unreadable { bytes: before } => {
                let room = UNREADABLE_KEPT.saturating_sub(self.whole.len());
                self.whole
                    .extend_from_slice(&bytes[..bytes.len().min(room)]);
                if before + bytes.len() > BODY_BYTES {
                    return Err((BODY_BYTES - before, Cause::BodyTooLarge));
                }
                self.form = Form::Unreadable {
                    bytes: before + bytes.len(),
                };
                return Ok(());
            }
            Form::Open | Form::Whole { .. } | Form::Lines => {}
        }
        if self.whole.len() + bytes.len() > BODY_BYTES {
            return Err((BODY_BYTES - self.whole.len(), Cause::BodyTooLarge));
        }
        self.whole.extend_from_slice(bytes);
        if !self.share.holds(self.whole.len()) {
            return Err((bytes.len(), Cause::TooMuchHeld));
        }
        if self.form == Form::Open {
            let earlier = self.whole.len() - bytes.len();
            let found = self.find_form(at, sink);
            found.map_err(|(place, cause)| (place.saturating_sub(earlier), cause))?;
        }
        if let Form::Whole { settled: false, .. } = self.form {
            self.find_lines(at, sink);
        }
        if self.form == Form::Lines {
            self.lines(at, sink);
        }
        Ok(())
    }

    /// Looks at the first bytes of a body that is declared to be no event stream.
    fn find_form(&mut self, at: Stamp, sink: &mut impl Sink) -> Result<(), (usize, Cause)> {
        let text = self.whole.trim_ascii_start();
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        let text = text.trim_ascii_start();
        let is_field = |field: &&[u8]| text.starts_with(field);
        let may_be_field = |field: &&[u8]| text.len() < field.len() && field.starts_with(text);
        if FIELDS.iter().any(is_field) {
            self.form = Form::Events;
            sink.quirk(Quirks::UNDECLARED_STREAM);
            let whole = std::mem::take(&mut self.whole);
            // Bytes that fit a buffer of a few break no limit of their own; a limit that the whole
            // of one read breaks is found at the same place by the rest.
            let result = self.events(at, &whole, sink);
            self.whole = whole;
            self.whole.clear();
            return result;
        }
        let half_a_mark = b"\xEF\xBB\xBF".starts_with(text);
        if !text.is_empty() && !half_a_mark && !FIELDS.iter().any(may_be_field) {
            self.form = match begins_json(text[0]) {
                true => Form::Whole {
                    looked: 0,
                    first: None,
                    settled: text[0] != b'{',
                },
                false => Form::Unreadable {
                    bytes: self.whole.len(),
                },
            };
            if matches!(self.form, Form::Unreadable { .. }) {
                self.whole.truncate(UNREADABLE_KEPT);
            }
        }
        Ok(())
    }

    /// Looks whether a document ends with its line and another one begins behind it.
    fn find_lines(&mut self, at: Stamp, sink: &mut impl Sink) {
        let Form::Whole { looked, first, .. } = self.form else {
            return;
        };
        let settled = Form::Whole {
            looked,
            first: None,
            settled: true,
        };
        let start = self.whole.len() - self.whole.trim_ascii_start().len();
        let from = looked.max(start);
        let Some(end) = memchr::memchr(b'\n', &self.whole[from..]) else {
            self.form = Form::Whole {
                looked: self.whole.len(),
                first: None,
                settled: false,
            };
            return;
        };
        let end = from + end;
        let first = match first {
            Some(first) => first,
            None if is_document(&self.whole[start..end]) => at,
            None => {
                self.form = settled;
                return;
            }
        };
        self.form = match self.whole[end..].trim_ascii_start().first() {
            None => Form::Whole {
                looked: end,
                first: Some(first),
                settled: false,
            },
            Some(b'{') => {
                sink.quirk(Quirks::JSON_LINES);
                let rest = self.whole.split_off(end + 1);
                let line = std::mem::replace(&mut self.whole, rest);
                self.line(first, &line, sink);
                Form::Lines
            }
            Some(_) => settled,
        };
    }

    /// Passes on the lines that are whole.
    fn lines(&mut self, at: Stamp, sink: &mut impl Sink) {
        let Some(end) = memchr::memrchr(b'\n', &self.whole) else {
            return;
        };
        let rest = self.whole.split_off(end + 1);
        let lines = std::mem::replace(&mut self.whole, rest);
        for line in lines.split(|&byte| byte == b'\n') {
            self.line(at, line, sink);
        }
    }

    fn line(&mut self, at: Stamp, line: &[u8], sink: &mut impl Sink) {
        let line = line.trim_ascii();
        if !line.is_empty() {
            let (kind, bytes) = self.delta.classify(line);
            sink.event(at, kind, bytes);
        }
    }

    /// The body has ended.
    fn end(&mut self, at: Stamp, sink: &mut impl Sink) {
        match self.form {
            Form::Events => {
                let Self { sse, delta, .. } = self;
                sse.finish(at, &mut |at, event| pass_on(at, event, delta, sink));
            }
            Form::Lines => {
                let line = std::mem::take(&mut self.whole);
                self.line(at, &line, sink);
            }
            Form::Open | Form::Whole { .. } | Form::Unreadable { .. } | Form::Refusal { .. } => {
                sink.event(at, MarkKind::Body, &self.whole);
            }
        }
    }
}

#[inline]
fn pass_on(at: Stamp, event: Event<'_>, delta: &mut DeltaScanner, sink: &mut impl Sink) {
    match event {
        Event::Data(data) => {
            let (kind, bytes) = delta.classify(data);
            sink.event(at, kind, bytes);
        }
        Event::Error(raw) => sink.event(at, MarkKind::ErrorEvent, raw),
        Event::Bare(lines) => sink.event(at, MarkKind::Bare, lines),
        Event::Apart => sink.quirk(Quirks::NO_BLANK_LINES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What came of a body: its events' sizes.
    #[derive(Default)]
    struct Bodies(Vec<usize>);

    impl Sink for Bodies {
        fn head(&mut self, _: Stamp, _: &Head, _: &[u8]) {}
        fn body(&mut self, _: Stamp, _: usize, _: &[u8]) {}
        fn event(&mut self, _: Stamp, _: MarkKind, bytes: &[u8]) {
            self.0.push(bytes.len());
        }
        fn quirk(&mut self, _: Quirks) {}
    }

    #[test]
    fn little_is_kept_of_a_body_that_nobody_can_read() {
        const AT: Stamp = Stamp::from_nanos(1);
        let piece = vec![b'x'; 1 << 20];
        for kind in ["text/plain", "text/html", "audio/mpeg"] {
            let mut exchange = Exchange::default();
            let mut sink = Bodies::default();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n");
            assert!(exchange.feed(AT, head.as_bytes(), &mut sink).is_ok());
            for _ in 0..BODY_BYTES >> 20 {
                assert_eq!(
                    exchange.feed(AT, &piece, &mut sink),
                    Ok(Progress::More),
                    "{kind}"
                );
                assert!(exchange.text.whole.len() <= UNREADABLE_KEPT, "{kind}");
            }
            let error = exchange.feed(AT, b"x", &mut sink).unwrap_err();
            assert_eq!(error.cause, Cause::BodyTooLarge);
            assert_eq!(error.offset, (head.len() + BODY_BYTES) as u64);
            // One that ends in time is told by its beginning.
            let mut short = Exchange::default();
            assert!(short.feed(AT, head.as_bytes(), &mut sink).is_ok());
            for _ in 0..3 {
                assert_eq!(short.feed(AT, &piece, &mut sink), Ok(Progress::More));
            }
            assert_eq!(short.close(AT, &mut sink), Closed::Complete);
            assert_eq!(std::mem::take(&mut sink.0), [UNREADABLE_KEPT]);
        }
    }
}
