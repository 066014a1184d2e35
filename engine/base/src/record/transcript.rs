//! What a response said and when, kept compactly: one mark per event, one buffer of bytes.
//!
//! Not for meaning: a mark says how its bytes are to be read, the analysis side reads them.

use serde::{Deserialize, Serialize};

use crate::clock::Stamp;

/// How the bytes of a mark are to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MarkKind {
    /// Non-empty content of choice 0 and nothing else of interest: the inside of the JSON string,
    /// still escaped, without its quotes.
    Content,
    /// The same, of `reasoning_content` or `reasoning`.
    Reasoning,
    /// A well-formed event without content (role only, empty delta). No bytes.
    Empty,
    /// A well-formed event without content that says why choice 0 ended: the inside of the JSON
    /// string.
    Finish,
    /// `data: [DONE]`. No bytes.
    Done,
    /// Anything else, as it came: the joined `data` of the event (usage, tool calls, errors, what
    /// is not JSON). The analysis side reads it.
    Data,
    /// Lines of an event stream that are no fields of one: JSON without `data:`, a page, a text.
    Bare,
    /// An event named `error` or with a field of that name: all of its lines, as they came.
    ErrorEvent,
    /// A body that is not an event stream, whole (the body of an error status too).
    Body,
}

/// One event: when it was complete, and its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// When the newest bytes of the read came that brought its last one; events of one read share
    /// it.
    pub at: Stamp,
    /// Length of its bytes in the transcript; they follow those of the mark before.
    pub len: u32,
    /// How the bytes are to be read.
    pub kind: MarkKind,
}

/// A borrowed mark with its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Body<'a> {
    /// See [`Mark::at`].
    pub at: Stamp,
    /// How the bytes are to be read.
    pub kind: MarkKind,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// All events of a response in order of arrival.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Transcript {
    marks: Vec<Mark>,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

impl Transcript {
    /// An empty transcript with room for so many events and bytes.
    pub fn with_capacity(marks: usize, bytes: usize) -> Self {
        Self {
            marks: Vec::with_capacity(marks),
            bytes: Vec::with_capacity(bytes),
        }
    }

    /// Appends an event. Grows by doubling; with the capacity right it does not allocate.
    #[inline]
    pub fn push(&mut self, at: Stamp, kind: MarkKind, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.marks.push(Mark {
            at,
            len: bytes.len() as u32,
            kind,
        });
    }

    /// The marks alone.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// Bytes kept over all marks.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of memory that its buffers take.
    pub(super) fn held_bytes(&self) -> usize {
        self.marks.capacity() * size_of::<Mark>() + self.bytes.capacity()
    }

    /// The events with their bytes, in order.
    pub fn iter(&self) -> impl Iterator<Item = Body<'_>> {
        self.iter_from(0, 0)
    }

    /// The same, behind so many marks and their bytes.
    pub fn iter_from(&self, marks: usize, bytes: usize) -> impl Iterator<Item = Body<'_>> {
        let mut rest = self.bytes.get(bytes..).unwrap_or_default();
        let marks = self.marks.get(marks..).unwrap_or_default();
        marks.iter().map(move |mark| {
            let (bytes, tail) = rest.split_at((mark.len as usize).min(rest.len()));
            rest = tail;
            Body {
                at: mark.at,
                kind: mark.kind,
                bytes,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_back_in_order() {
        let mut transcript = Transcript::default();
        let at = Stamp::from_nanos;
        transcript.push(at(1), MarkKind::Empty, b"");
        transcript.push(at(2), MarkKind::Content, b"Hello");
        transcript.push(at(2), MarkKind::Content, b" you");
        transcript.push(at(3), MarkKind::Done, b"");
        let seen: Vec<_> = transcript
            .iter()
            .map(|b| (b.at.nanos(), b.bytes.to_vec()))
            .collect();
        assert_eq!(
            seen,
            [
                (1, vec![]),
                (2, b"Hello".to_vec()),
                (2, b" you".to_vec()),
                (3, vec![]),
            ]
        );
        assert_eq!(transcript.byte_len(), 9);
    }

    #[test]
    fn a_mark_is_small() {
        assert_eq!(size_of::<Mark>(), 16);
    }
}
