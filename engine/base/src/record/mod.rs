//! What one request showed, as it leaves its core: the only thing of a request that
//! crosses threads.
//!
//! Every request that was started gives exactly one [`Record`], whatever happened to it. The
//! engine writes down what it saw and judges nothing: whether an answer was valid, what its tokens
//! are and what an unusual event means is decided on the analysis side.

mod cancel;
mod capture;
mod fixed;
mod label;
mod transcript;
mod unreached;

pub use cancel::{
    AfterHalfClose, Cancel, CancelTrigger, Disconnect, Leave, PlannedCancellation, Trigger,
};
pub use capture::{Capture, Keep, Piece};
pub use label::{Label, Quirks};
pub use transcript::{Body, Mark, MarkKind, Transcript};
pub use unreached::{Refusal, Unreached};

use serde::{Deserialize, Serialize};

use crate::{
    clock::{Span, Stamp},
    uuid::Uuid,
};

/// The part of a run that a request belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Sent before the measurement; never cancelled and in no figure of the run.
    Warmup,
    /// Measured.
    Profiling,
}

/// One request, complete.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Warmup or profiling.
    pub phase: Phase,
    /// Number of the request within its phase, from 0, the same for any number of cores.
    pub index: u64,
    /// Index of its entry in the dataset.
    pub entry: u32,
    /// The core that sent it, as an index into the run's cores.
    pub core: u16,
    /// `X-Request-ID`, a version 4 UUID.
    pub request_id: Uuid,
    /// Its session's number within the phase.
    pub session: u64,
    /// `X-Correlation-ID`: the same for all turns of its session.
    pub correlation: Correlation,
    /// Its instants.
    pub times: Times,
    /// How it ended.
    pub outcome: Outcome,
    /// The plan to hang up on it, if it was chosen, and what came of it.
    pub cancel: Option<Cancel>,
    /// The connection and the bytes.
    pub wire: Wire,
    /// What the head says of the body, where that is neither an event stream nor JSON as it is.
    pub label: Option<Box<Label>>,
    /// Addresses of a server with several that gave it no connection; the next one was tried each
    /// time.
    pub unreached: Option<Box<Unreached>>,
    /// What the server sent.
    pub transcript: Transcript,
    /// The body as sent, where it was not its entry's own: the history of a conversation was put
    /// into it.
    #[serde(with = "serde_bytes")]
    pub body: Option<Vec<u8>>,
    /// Bytes and instants of the connection, in a phase that keeps them.
    pub capture: Option<Box<Capture>>,
}

impl Record {
    /// Bytes of memory that it takes, all of its buffers included.
    pub fn held_bytes(&self) -> usize {
        let body = self.body.as_ref().map_or(0, Vec::capacity);
        let capture = self.capture.as_ref().map_or(0, |kept| kept.held_bytes());
        // Labels and addresses that were not reached are few and small.
        size_of::<Self>() + self.transcript.held_bytes() + body + capture
    }
}

/// The id of a session, as a header carries it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Correlation {
    /// A version 4 UUID.
    Id(Uuid),
    /// The number of a user of a user-centric run.
    User(u64),
    /// A conversation of a fixed schedule, by its place in the dataset.
    Conversation(u32),
}

impl Correlation {
    /// Appends the text; `name` is the conversation's own id, for those that are named after it.
    #[inline]
    pub fn write(&self, name: &str, into: &mut Vec<u8>) {
        match self {
            Self::Id(id) => into.extend_from_slice(&id.text()),
            Self::User(number) => write_decimal(*number, into),
            Self::Conversation(_) => {
                into.extend_from_slice(b"fixed-schedule-");
                into.extend_from_slice(name.as_bytes());
            }
        }
    }

    /// The text; see [`write`](Self::write).
    pub fn text(&self, name: &str) -> String {
        let mut text = Vec::new();
        self.write(name, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Appends a number in decimal, without allocating.
#[inline]
pub fn write_decimal(mut number: u64, into: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    into.extend_from_slice(&digits[at..]);
}

/// The instants of one request. `docs/TIMING.md` says where each is taken and what it includes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Times {
    /// It was due: its slot was free, or its place in the schedule had come.
    pub scheduled: Stamp,
    /// It held everything it needed and went to a connection; credit_issued of the exports.
    pub admitted: Stamp,
    /// Immediately before the first action on its behalf, connecting included.
    pub start: Stamp,
    /// A new connection was established (TCP); absent on a reused one.
    pub connected: Option<Stamp>,
    /// The TLS handshake of a new connection was over; absent without TLS.
    pub secured: Option<Stamp>,
    /// Immediately before the first `send`.
    pub send_start: Option<Stamp>,
    /// T2: immediately after the `send` that took the request's last byte.
    pub written: Option<Stamp>,
    /// When the bytes that completed the response head came.
    pub head: Option<Stamp>,
    /// When the first body bytes came.
    pub body_first: Option<Stamp>,
    /// When the last body bytes came.
    pub body_last: Option<Stamp>,
    /// The record's end: the last response of any kind, or the instant its failure was known.
    pub end: Stamp,
}

/// How a request ended, as far as the wire shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// The response was received whole. Its status may still be an error.
    Complete,
    /// The planned disconnect went out before the response was complete; see [`Record::cancel`].
    Cancelled,
    /// It failed.
    Failed(Failure),
    /// The run ended first (Ctrl-C): counted, never exported.
    Dropped,
}

/// How far a request had come when it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// Its connection was not there yet.
    Connecting,
    /// Not every byte of the request was taken by the socket.
    Sending,
    /// Sent; no content yet.
    Waiting,
    /// The body had begun.
    Streaming,
}

impl Stage {
    /// The name in the exports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Sending => "sending",
            Self::Waiting => "waiting",
            Self::Streaming => "streaming",
        }
    }
}

/// Why a request did not end well: one variant per thing a reader of the report does differently.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Failure {
    /// No connection: refused, unreachable, no ports or descriptors left. `errno` is the system's.
    Connect {
        /// The system's error number.
        errno: i32,
    },
    /// The time limit of connecting passed, which is shorter than that of the request.
    ConnectTimeout {
        /// TCP was established; TLS was not.
        securing: bool,
    },
    /// The server closed or reset the connection in the TLS handshake.
    HandshakeBroken {
        /// The system's error number; 0 when the server closed in order.
        errno: i32,
    },
    /// TLS went wrong: a certificate that is not trusted, an alert, or bytes that are not TLS.
    Tls {
        /// Why, in rustls' words.
        reason: Box<str>,
    },
    /// Writing the request failed before any response byte came.
    Send {
        /// The system's error number.
        errno: i32,
    },
    /// A reused connection turned out to be closed by the server before any response byte, as the
    /// request went out or within [`STALE_WITHIN`] of it: the server's time-out of connections that
    /// rest and the request have crossed. Never retried.
    ///
    /// [`STALE_WITHIN`]: crate::limits::STALE_WITHIN
    Stale,
    /// The server closed a connection without a single response byte.
    NoResponse,
    /// The connection was reset before the response head was whole.
    Reset {
        /// The system's error number.
        errno: i32,
    },
    /// The server closed in the middle of the response head.
    TruncatedHead,
    /// The body ended, or the connection broke, before the response was whole.
    TruncatedBody {
        /// Body bytes that had arrived.
        body_bytes: u64,
        /// The system's error number; 0 when the server closed in order.
        errno: i32,
    },
    /// Bytes that are not HTTP/1.1, or exceed a limit.
    Framing {
        /// Offset of the offending byte in the response.
        offset: u64,
        /// What was wrong, one of a fixed set of texts.
        #[serde(deserialize_with = "fixed::read")]
        cause: fixed::Text,
    },
    /// Only the close ends the response, and TLS closed without its `close_notify`: whether
    /// something is missing cannot be known.
    UnannouncedClose,
    /// The time limit of the whole request passed.
    Timeout {
        /// How far it had come.
        stage: Stage,
    },
}

/// The connection of a request and the bytes on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Wire {
    /// HTTP status, 0 when no status line came.
    pub status: u16,
    /// The connection had carried a request before.
    pub reused: bool,
    /// How long it had rested since then; zero for a new one.
    pub rested: Span,
    /// The response declared `text/event-stream`.
    pub event_stream: bool,
    /// Local port, 0 when there was no connection.
    pub local_port: u16,
    /// Request body bytes taken by the socket.
    pub body_sent: u64,
    /// `send` calls that took bytes of the request.
    pub sends: u32,
    /// Response body bytes received, framing excluded.
    pub body_received: u64,
    /// `recv` calls that brought body bytes.
    pub receives: u32,
    /// How the body was read, where its head says otherwise.
    pub quirks: Quirks,
}
