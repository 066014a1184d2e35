//! HTTP/1.1 responses and server-sent events without I/O: bytes and a stamp in, events out.
//!
//! Nothing in this crate knows a socket, a runtime or a clock. One law holds for every part: any
//! way of cutting the input gives the same events and the same error at the same offset.
//!
//! ```
//! use pinfire_base::{clock::Stamp, record::{MarkKind, Quirks}};
//! use pinfire_proto::{Exchange, Head, Progress, Sink};
//!
//! #[derive(Default)]
//! struct EventLog(Vec<(u64, MarkKind, String)>);
//!
//! impl Sink for EventLog {
//!     fn head(&mut self, _: Stamp, head: &Head, _: &[u8]) {
//!         assert_eq!(head.status, 200);
//!     }
//!     fn body(&mut self, _: Stamp, _: usize, _: &[u8]) {}
//!     fn event(&mut self, at: Stamp, kind: MarkKind, bytes: &[u8]) {
//!         self.0.push((at.nanos(), kind, String::from_utf8_lossy(bytes).into_owned()));
//!     }
//!     fn quirk(&mut self, _: Quirks) {}
//! }
//!
//! let (mut exchange, mut seen) = (Exchange::default(), EventLog::default());
//! // Two reads, cut in the middle of an event: it is stamped by the read that completes it.
//! let first = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 105\r\n\r\n\
//!               data: {\"object\":\"chat.completion.chunk\",\"choices\":[{";
//! let second = b"\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\ndata: [DONE]\n\n";
//! let more = exchange.feed(Stamp::from_nanos(1), first, &mut seen).unwrap();
//! assert_eq!(more, Progress::More);
//! let end = exchange.feed(Stamp::from_nanos(2), second, &mut seen).unwrap();
//! assert_eq!(end, Progress::Complete { reusable: true });
//! assert_eq!(seen.0[0], (2, MarkKind::Content, "Hi".to_owned()));
//! ```

#![forbid(unsafe_code)]

mod body;
mod coding;
mod delta;
mod exchange;
#[doc(hidden)]
pub mod fuzz;
mod head;
mod held;
mod sse;

pub use coding::Coding;
pub use exchange::{Closed, Exchange, Progress, Sink};
pub use head::{Framing, Head};

/// Which events of a stream the cores read without a JSON parser. All others they keep whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Scan {
    /// Chunks of chat completions.
    #[default]
    Chat,
    /// Chunks of text completions.
    Completions,
    /// None.
    Keep,
}

/// Why bytes were refused, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProtoError {
    /// Offset of the offending byte from the first byte of the response (for a head: of the head).
    pub offset: u64,
    /// What was wrong.
    pub cause: Cause,
}

/// What can be wrong with a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Cause {
    /// Not an HTTP/1.x response head.
    Head,
    /// The head exceeds the limits of `limits`.
    HeadTooLarge,
    /// The server switched to another protocol (101).
    Upgrade,
    /// A length that is not a number, or two that differ.
    Length,
    /// A chunk size that is not a number, too large, or without its line end.
    ChunkSize,
    /// A chunk's data is not followed by a line end.
    ChunkEnd,
    /// Trailers exceed their limit.
    TrailerTooLarge,
    /// One event exceeds its limit.
    EventTooLarge,
    /// A body exceeds its limit.
    BodyTooLarge,
    /// The body of an error status exceeds its limit.
    ErrorBodyTooLarge,
    /// All bodies that are being read exceed their limit together.
    TooMuchHeld,
    /// The body is not coded as its head says.
    Coding,
}

impl Cause {
    /// The text as a constant, for records.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Head => "the response is not HTTP/1.1",
            Self::HeadTooLarge => {
                "the response head is larger than 64 KiB or has more than 128 headers"
            }
            Self::Upgrade => "the server switched to another protocol",
            Self::Length => "the response has an invalid Content-Length",
            Self::ChunkSize => "the response has an invalid chunk size",
            Self::ChunkEnd => "a chunk of the response is longer than its size says",
            Self::TrailerTooLarge => "the response's trailers are larger than 64 KiB",
            Self::EventTooLarge => "one event of the response is larger than 16 MiB",
            Self::BodyTooLarge => "the response body is larger than 256 MiB",
            Self::ErrorBodyTooLarge => "the error response is larger than 1 MiB",
            Self::TooMuchHeld => "the responses being read hold more than 1 GiB together",
            Self::Coding => "the response body is not coded as its Content-Encoding says",
        }
    }
}
