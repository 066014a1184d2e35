//! One response from its first byte to its last: head, body framing and events chained.

use pinfire_base::{
    clock::Stamp,
    limits::{BODY_BYTES, KEPT_BUFFER_BYTES},
    record::MarkKind,
};

use super::{
    Cause, ProtoError,
    body::{BodyDecoder, Step},
    delta::DeltaScanner,
    head::{Head, HeadReader, Parsed},
    sse::{Event, SseDecoder},
};
use crate::Scan;

/// Takes what an [`Exchange`] finds. All calls of one `feed` carry that feed's stamp.
pub trait Sink {
    /// The final response head is complete; `bytes` is all of it.
    fn head(&mut self, at: Stamp, head: &Head, bytes: &[u8]);
    /// Body bytes, framing excluded, that came with this feed. Called at most once per piece.
    fn body(&mut self, at: Stamp, bytes: &[u8]);
    /// An event, or a whole body that is not an event stream.
    fn event(&mut self, at: Stamp, kind: MarkKind, bytes: &[u8]);
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
    sse: SseDecoder,
    delta: DeltaScanner,
    /// A body that is not an event stream, as far as it came in earlier reads.
    whole: Vec<u8>,
}

impl Exchange {
    /// For responses whose events of this kind are read here, and all others kept.
    pub fn of(scan: Scan) -> Self {
        Self {
            delta: DeltaScanner::of(scan),
            ..Self::default()
        }
    }

    /// Makes ready for the next response.
    pub fn reset(&mut self) {
        self.offset = 0;
        self.partial.clear();
        self.body = None;
        self.sse.reset();
        self.whole.clear();
        self.whole.shrink_to(KEPT_BUFFER_BYTES);
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
            match parsed.map_err(|cause| ProtoError {
                offset: self.offset,
                cause,
            })? {
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
                    let streamed = head.event_stream && (200..300).contains(&head.status);
                    if streamed {
                        let Self { sse, delta, .. } = self;
                        sse.feed(&rest[..n], &mut |event| pass_on(at, event, delta, sink))
                    } else if self.whole.len() + n > BODY_BYTES {
                        Err((BODY_BYTES - self.whole.len(), Cause::BodyTooLarge))
                    } else {
                        self.whole.extend_from_slice(&rest[..n]);
                        Ok(())
                    }
                    .map_err(|failed| {
                        sink.body(at, &rest[..failed.0.min(n)]);
                        error(self.offset, failed)
                    })?;
                    sink.body(at, &rest[..n]);
                    n
                }
            };
            used += taken;
            self.offset += taken as u64;
        }
        Ok(Progress::More)
    }

    fn end_of_body(&mut self, at: Stamp, sink: &mut impl Sink) {
        let Some((_, head)) = self.body else { return };
        if head.event_stream && (200..300).contains(&head.status) {
            let Self { sse, delta, .. } = self;
            sse.finish(&mut |event| pass_on(at, event, delta, sink));
        } else {
            sink.event(at, MarkKind::Body, &self.whole);
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
    }
}
