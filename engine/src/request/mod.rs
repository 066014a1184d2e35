//! The lifecycle of one request: its record is filled by the transitions and given up once.
//!
//! Connecting → Sending → Waiting → Streaming → one of `complete`, `fail`, `cancelled`, `dropped`.
//! Those four take the request by value and give its record, so that a request cannot end twice.

mod head;

pub use head::{HeaderValue, Ids, RequestHead};

use crate::{
    clock::{Span, Stamp},
    endpoint::{Answers, answer::Reader},
    proto::{Closed, Head, Sink},
    record::{
        Cancel, Capture, Disconnect, Failure, Keep, MarkKind, Outcome, Phase, Record, Stage, Times,
        Transcript, Wire,
    },
};

/// What a request is before anything has been done for it.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    /// Warmup or profiling.
    pub phase: Phase,
    /// Number within the phase.
    pub index: u64,
    /// Dataset entry.
    pub entry: u32,
    /// The core that sends it.
    pub core: u16,
    /// Its session's number within the phase.
    pub session: u64,
    /// Where its core keeps the session.
    pub seat: u32,
    /// Its ids.
    pub ids: Ids,
    /// When it was due.
    pub scheduled: Stamp,
    /// The delay of its cancellation, if it is chosen.
    pub cancel_after: Option<Span>,
}

/// A request on its way.
#[derive(Debug)]
pub struct Request {
    stage: Stage,
    /// Bytes of head and body taken by the socket.
    sent: usize,
    head_bytes: usize,
    total_bytes: usize,
    deadline: Stamp,
    seat: u32,
    /// Marks that have been looked at for content, and their bytes; `has_content` is theirs.
    looked: (usize, usize),
    has_content: bool,
    record: Record,
}

impl Request {
    /// A request admitted at `at`, with room for an answer like the ones before it.
    pub fn new(ticket: Ticket, at: Stamp, timeout: Span, room: (usize, usize)) -> Self {
        Self {
            stage: Stage::Connecting,
            sent: 0,
            head_bytes: 0,
            total_bytes: 0,
            deadline: at + timeout,
            seat: ticket.seat,
            looked: (0, 0),
            has_content: false,
            record: Record {
                phase: ticket.phase,
                index: ticket.index,
                entry: ticket.entry,
                core: ticket.core,
                request_id: ticket.ids.request,
                session: ticket.session,
                correlation: ticket.ids.correlation,
                times: Times {
                    scheduled: ticket.scheduled,
                    admitted: at,
                    start: at,
                    connected: None,
                    secured: None,
                    send_start: None,
                    written: None,
                    head: None,
                    body_first: None,
                    body_last: None,
                    end: at,
                },
                outcome: Outcome::Dropped,
                cancel: ticket
                    .cancel_after
                    .map(|delay| Cancel { delay, done: None }),
                wire: Wire::default(),
                transcript: Transcript::with_capacity(room.0, room.1),
                body: None,
                capture: None,
            },
        }
    }

    /// What is to be kept of it beyond its transcript.
    pub fn keep(&mut self, keep: Keep) {
        self.record.capture = Capture::of(keep);
    }

    /// Where that is put, if there is any.
    pub fn capture(&mut self) -> Option<&mut Capture> {
        self.record.capture.as_deref_mut()
    }

    /// How far it has come.
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// The phase it belongs to.
    pub const fn phase(&self) -> Phase {
        self.record.phase
    }

    /// Its number within the phase.
    pub const fn index(&self) -> u64 {
        self.record.index
    }

    /// Time since its start.
    pub fn age(&self, now: Stamp) -> Span {
        now.since(self.record.times.start)
    }

    /// The dataset entry.
    pub const fn entry(&self) -> u32 {
        self.record.entry
    }

    /// Its ids.
    pub const fn ids(&self) -> Ids {
        Ids {
            request: self.record.request_id,
            correlation: self.record.correlation,
        }
    }

    /// Where its core keeps its session.
    pub const fn seat(&self) -> u32 {
        self.seat
    }

    /// Whether a token has come, by the endpoint's own notion of content. Each event is looked at
    /// once at most, and none behind the first token.
    pub fn has_content(&mut self, answers: &Answers) -> bool {
        let (marks, bytes) = self.looked;
        if self.has_content || marks == self.record.transcript.marks().len() {
            return self.has_content;
        }
        let mut reader = Reader::new(answers);
        let came = self.record.transcript.iter_from(marks, bytes);
        self.has_content = came.into_iter().any(|mark| match mark.kind {
            MarkKind::Content | MarkKind::Reasoning => true,
            MarkKind::Data | MarkKind::Body => {
                let mut any = false;
                let whole = mark.kind == MarkKind::Body;
                reader.read(mark.bytes, whole, &mut |piece| any |= piece.is_content());
                any
            }
            _ => false,
        });
        self.looked = self.room();
        self.has_content
    }

    /// Bytes taken by the socket so far.
    pub const fn sent(&self) -> usize {
        self.sent
    }

    /// Every byte has been taken by the socket.
    pub const fn is_sent(&self) -> bool {
        self.record.times.written.is_some()
    }

    /// When something must happen to it: its cancel if it is chosen and sent, else its time limit.
    pub fn due(&self) -> Stamp {
        self.cancel_due()
            .map_or(self.deadline, |due| due.min(self.deadline))
    }

    /// T2 plus the delay, once it is sent.
    pub fn cancel_due(&self) -> Option<Stamp> {
        Some(self.record.times.written? + self.record.cancel?.delay)
    }

    /// It goes to a connection that has carried requests before.
    pub fn reuses(&mut self, local_port: u16) {
        self.record.wire.reused = true;
        self.record.wire.local_port = local_port;
    }

    /// Its own connection is established.
    pub fn connected(&mut self, at: Stamp, local_port: u16) {
        self.record.times.connected = Some(at);
        self.record.wire.local_port = local_port;
    }

    /// Its own connection has done its TLS handshake.
    pub fn secured(&mut self, at: Stamp) {
        self.record.times.secured = Some(at);
    }

    /// The first `send` comes next.
    #[inline]
    pub fn sending(&mut self, at: Stamp, head_bytes: usize, body_bytes: usize) {
        self.stage = Stage::Sending;
        self.head_bytes = head_bytes;
        self.total_bytes = head_bytes + body_bytes;
        self.record.times.send_start = Some(at);
    }

    /// A `send` that returned at `at` took so many bytes. True when it was the last: `at` is T2.
    #[inline]
    pub fn wrote(&mut self, at: Stamp, bytes: usize) -> bool {
        self.sent += bytes;
        self.record.wire.sends += 1;
        if let Some(capture) = &mut self.record.capture {
            capture.wrote(at, bytes);
        }
        self.record.wire.body_sent = self.sent.saturating_sub(self.head_bytes) as u64;
        if self.sent < self.total_bytes {
            return false;
        }
        self.record.times.written = Some(at);
        if self.stage == Stage::Sending {
            self.stage = Stage::Waiting;
        }
        true
    }

    /// Room that this request's answer needed, as a guess for the next one.
    pub fn room(&self) -> (usize, usize) {
        (
            self.record.transcript.marks().len(),
            self.record.transcript.byte_len(),
        )
    }

    /// The response is whole.
    pub fn complete(mut self, at: Stamp) -> Record {
        self.record.times.end = at;
        self.record.outcome = Outcome::Complete;
        self.record
    }

    /// It failed at `at`.
    pub fn fail(mut self, at: Stamp, failure: Failure) -> Record {
        self.record.times.end = at;
        self.record.outcome = Outcome::Failed(failure);
        self.record
    }

    /// The planned disconnect went out between `asked` and `closed`.
    pub fn cancelled(mut self, asked: Stamp, closed: Stamp) -> Record {
        let due = self.cancel_due().unwrap_or(asked);
        if let Some(cancel) = &mut self.record.cancel {
            cancel.done = Some(Disconnect {
                due,
                asked,
                closed,
                stage: self.stage,
            });
        }
        self.record.times.end = closed;
        self.record.outcome = Outcome::Cancelled;
        self.record
    }

    /// The run ends first.
    pub fn dropped(mut self, at: Stamp) -> Record {
        self.record.times.end = at;
        self.record.outcome = Outcome::Dropped;
        self.record
    }

    /// What the server's close means for it; `errno` is 0 for an orderly one.
    pub fn broken(&self, closed: Closed, errno: i32) -> Failure {
        match closed {
            Closed::Nothing if self.record.wire.reused => Failure::Stale,
            Closed::Nothing if errno == 0 => Failure::NoResponse,
            Closed::Nothing | Closed::InHead if errno != 0 => Failure::Reset { errno },
            Closed::Nothing | Closed::InHead => Failure::TruncatedHead,
            Closed::InBody | Closed::Complete => Failure::TruncatedBody {
                body_bytes: self.record.wire.body_received,
                errno,
            },
        }
    }
}

impl Sink for Request {
    fn head(&mut self, at: Stamp, head: &Head, bytes: &[u8]) {
        self.record.times.head = Some(at);
        self.record.wire.status = head.status;
        self.record.wire.event_stream = head.event_stream;
        if let Some(capture) = &mut self.record.capture {
            capture.response_head = bytes.to_vec();
        }
    }

    #[inline]
    fn body(&mut self, at: Stamp, bytes: &[u8]) {
        let times = &mut self.record.times;
        if times.body_first.is_none() {
            times.body_first = Some(at);
            self.stage = Stage::Streaming;
        }
        // Several pieces of one read (chunks) count as one receive: they share its stamp.
        if times.body_last != Some(at) {
            self.record.wire.receives += 1;
            times.body_last = Some(at);
        }
        self.record.wire.body_received += bytes.len() as u64;
        if let Some(capture) = &mut self.record.capture {
            capture.read(at, bytes);
        }
    }

    #[inline]
    fn event(&mut self, at: Stamp, kind: MarkKind, bytes: &[u8]) {
        self.record.transcript.push(at, kind, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{endpoint::EndpointKind, random::Purpose, record::Correlation};

    fn request(cancel_after: Option<Span>) -> Request {
        let ticket = Ticket {
            phase: Phase::Profiling,
            index: 3,
            entry: 3,
            core: 0,
            session: 3,
            seat: 0,
            ids: Ids::new(Purpose::new(1, "ids"), 3, Correlation::User(3)),
            scheduled: at(5),
            cancel_after,
        };
        Request::new(ticket, at(10), Span::from_nanos(1_000), (0, 0))
    }

    fn at(nanos: u64) -> Stamp {
        Stamp::from_nanos(nanos)
    }

    #[test]
    fn the_cancel_counts_from_the_last_byte() {
        let mut request = request(Some(Span::from_nanos(100)));
        assert_eq!(request.due(), at(1_010));
        request.sending(at(20), 10, 90);
        assert!(!request.wrote(at(30), 60));
        assert_eq!(
            (request.stage(), request.due()),
            (Stage::Sending, at(1_010))
        );
        assert!(request.wrote(at(40), 40));
        assert_eq!((request.stage(), request.due()), (Stage::Waiting, at(140)));
        let record = request.cancelled(at(141), at(143));
        assert_eq!(record.times.written, Some(at(40)));
        assert_eq!(record.wire.body_sent, 90);
        let done = record.cancel.unwrap().done.unwrap();
        assert_eq!(
            (done.due, done.asked, done.closed),
            (at(140), at(141), at(143))
        );
        assert_eq!(done.stage, Stage::Waiting);
        assert_eq!(record.outcome, Outcome::Cancelled);
    }

    #[test]
    fn an_early_answer_does_not_undo_streaming() {
        let mut request = request(None);
        request.sending(at(20), 10, 90);
        request.body(at(25), b"7 bytes");
        assert!(request.wrote(at(40), 100));
        assert_eq!(request.stage(), Stage::Streaming);
    }

    #[test]
    fn chunks_of_one_read_are_one_receive() {
        let mut request = request(None);
        request.body(at(25), b"7 bytes");
        request.body(at(25), b"7 bytes");
        request.body(at(26), b"1");
        let record = request.complete(at(26));
        assert_eq!((record.wire.receives, record.wire.body_received), (2, 15));
        assert_eq!(
            (record.times.body_first, record.times.body_last),
            (Some(at(25)), Some(at(26)))
        );
    }

    #[test]
    fn the_first_token_by_the_endpoints_own_notion() {
        let mut request = request(None);
        let answers = Answers::of(EndpointKind::Messages);
        let events: [(MarkKind, &[u8], bool); 5] = [
            (MarkKind::Data, br#"{"type":"message_start"}"#, false),
            // Another kind's token is none of this one's.
            (
                MarkKind::Data,
                br#"{"choices":[{"delta":{"content":"x"}}]}"#,
                false,
            ),
            (MarkKind::Data, b"rubbish", false),
            (
                MarkKind::Data,
                br#"{"type":"content_block_delta","delta":{"type":"thinking_delta","thinking":"h"}}"#,
                true,
            ),
            (MarkKind::Data, br#"{"type":"message_stop"}"#, true),
        ];
        for (kind, bytes, expected) in events {
            request.event(at(1), kind, bytes);
            assert_eq!(request.has_content(&answers), expected);
        }
        let mut chat = self::request(None);
        let answers = Answers::default();
        chat.event(at(1), MarkKind::Empty, b"");
        assert!(!chat.has_content(&answers));
        let call = br#"{"choices":[{"delta":{"tool_calls":[{"function":{"name":"f"}}]}}]}"#;
        chat.event(at(1), MarkKind::Data, call);
        assert!(chat.has_content(&answers));
    }

    #[test]
    fn closes_have_their_reasons() {
        let mut fresh = request(None);
        assert_eq!(fresh.broken(Closed::Nothing, 0), Failure::NoResponse);
        assert_eq!(
            fresh.broken(Closed::Nothing, 104),
            Failure::Reset { errno: 104 }
        );
        assert_eq!(fresh.broken(Closed::InHead, 0), Failure::TruncatedHead);
        fresh.body(at(30), b"twelve bytes");
        assert_eq!(
            fresh.broken(Closed::InBody, 104),
            Failure::TruncatedBody {
                body_bytes: 12,
                errno: 104
            }
        );
        fresh.reuses(1);
        assert_eq!(fresh.broken(Closed::Nothing, 0), Failure::Stale);
    }
}
