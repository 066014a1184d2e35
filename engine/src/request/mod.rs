//! The lifecycle of one request: its record is filled by the transitions and given up once.
//!
//! Connecting → Sending → Waiting → Streaming → one of `complete`, `fail`, `cancelled`, `dropped`.
//! Those four take the request by value and give its record, so that a request cannot end twice.

mod head;
mod room;

pub use head::{HeaderValue, Ids, RequestHead};
use pinfire_base::{
    clock::{Span, Stamp},
    health::Fallback,
    limits::{STALE_WITHIN, STAMP_SLACK},
    record::{
        AfterHalfClose, Capture, Disconnect, Failure, Keep, Label, Leave, MarkKind, Outcome, Phase,
        Quirks, Record, Refusal, Stage, Times, Transcript, Trigger, Wire,
    },
};
use pinfire_dialect::{Answers, answer::Reader};
use pinfire_proto::{Closed, Head, Sink};
pub use room::Room;

use crate::{plan::Address, schedule::Chosen};

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
    /// The plan to leave it, if it is chosen.
    pub cancel: Option<Chosen>,
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
    /// Marks that have been looked at for content, and their bytes; `contents` is their number, and
    /// `content_at` when the latest came.
    looked: (usize, usize),
    contents: u32,
    content_at: Stamp,
    chosen: Option<Chosen>,
    /// The trigger of its cancel has come, and when the cancel is due for it.
    triggered: Option<(Stamp, Stamp)>,
    /// What the server sends may bring that trigger, or make it void.
    watches: bool,
    /// It has been left, but what the server sends is read on.
    left: Option<Disconnect>,
    /// The number of the address that its own connection goes to.
    address: usize,
    /// How long the server says it keeps the connection after the answer.
    promised: Option<Span>,
    record: Record,
}

impl Request {
    /// A request admitted at `at`, with room for an answer like the ones before it.
    pub fn new(ticket: Ticket, at: Stamp, timeout: Span, room: Room) -> Self {
        let trigger = ticket.cancel.map(|chosen| chosen.cancel.trigger);
        let impatient = ticket
            .cancel
            .filter(|chosen| chosen.cancel.trigger == Trigger::Patience);
        Self {
            stage: Stage::Connecting,
            sent: 0,
            head_bytes: 0,
            total_bytes: 0,
            deadline: at + timeout,
            seat: ticket.seat,
            looked: (0, 0),
            contents: 0,
            content_at: at,
            chosen: ticket.cancel,
            triggered: impatient.map(|chosen| (at, chosen.due(at))),
            watches: trigger.is_some_and(Trigger::is_of_the_answer),
            left: None,
            address: 0,
            promised: None,
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
                cancel: ticket.cancel.map(|chosen| chosen.cancel),
                wire: Wire::default(),
                label: None,
                unreached: None,
                transcript: Transcript::with_capacity(room.marks, room.bytes),
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

    /// When the first thing was done for it.
    pub const fn started(&self) -> Stamp {
        self.record.times.start
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
        self.contents > 0 || self.content(1, answers).is_some()
    }

    /// When the `nth` content event came, counted no further than to that one.
    fn content(&mut self, nth: u32, answers: &Answers) -> Option<Stamp> {
        let (mut marks, mut bytes) = self.looked;
        if self.contents < nth && marks < self.record.transcript.marks().len() {
            let mut reader = Reader::new(answers);
            if self.contents > 0 {
                reader.came(MarkKind::Content);
            }
            for mark in self.record.transcript.iter_from(marks, bytes) {
                marks += 1;
                bytes += mark.bytes.len();
                let is_content = match mark.kind {
                    MarkKind::Content | MarkKind::Reasoning => {
                        reader.came(mark.kind);
                        true
                    }
                    MarkKind::Data | MarkKind::Body | MarkKind::Bare => {
                        let mut any = false;
                        let whole = mark.kind == MarkKind::Body;
                        reader.read(mark.bytes, whole, &mut |piece| any |= piece.is_content());
                        any
                    }
                    _ => false,
                };
                if is_content {
                    self.contents += 1;
                    self.content_at = mark.at;
                    if self.contents == nth {
                        break;
                    }
                }
            }
            self.looked = (marks, bytes);
        }
        (self.contents >= nth).then_some(self.content_at)
    }

    /// Whether what the server sends may still move the cancel.
    #[inline]
    pub const fn watches(&self) -> bool {
        self.watches
    }

    /// Looks whether it has: the deadline is another one then.
    pub fn look_for_trigger(&mut self, answers: &Answers) -> bool {
        let Some(chosen) = self.chosen else {
            return false;
        };
        let at = match chosen.cancel.trigger {
            Trigger::Headers => self.record.times.head,
            Trigger::FirstToken | Trigger::Patience => self.content(1, answers),
            Trigger::Tokens(count) => self.content(count, answers),
            Trigger::Connect | Trigger::MidBody | Trigger::Sent => None,
        };
        let Some(at) = at else { return false };
        self.watches = false;
        self.triggered = match chosen.cancel.trigger {
            Trigger::Patience => None,
            _ => Some((at, chosen.due(at))),
        };
        true
    }

    fn trigger_came(&mut self, trigger: Trigger, at: Stamp) {
        if let Some(chosen) = self.chosen.filter(|c| c.cancel.trigger == trigger) {
            self.triggered = Some((at, chosen.due(at)));
        }
    }

    /// It wants a connection of its own.
    pub fn wants_new_connection(&self) -> bool {
        self.chosen
            .is_some_and(|chosen| chosen.cancel.trigger == Trigger::Connect)
    }

    /// Only the first half of its body is ever sent.
    pub fn stops_half_way(&self) -> bool {
        self.chosen
            .is_some_and(|chosen| chosen.cancel.trigger == Trigger::MidBody)
    }

    /// How it is to be left.
    pub fn leave(&self) -> Leave {
        self.chosen.map(|c| c.cancel.leave).unwrap_or_default()
    }

    /// It has been left, and only what the server sends is awaited.
    pub const fn has_left(&self) -> bool {
        self.left.is_some()
    }

    /// Bytes taken by the socket so far.
    pub const fn sent(&self) -> usize {
        self.sent
    }

    /// Every byte has been taken by the socket.
    pub const fn is_sent(&self) -> bool {
        self.record.times.written.is_some()
    }

    /// When something must happen to it: its cancel once that has an instant, or its time limit.
    pub fn due(&self) -> Stamp {
        self.cancel_due()
            .map_or(self.deadline, |due| due.min(self.deadline))
    }

    /// When it is left, once the trigger of that has come.
    #[inline]
    pub fn cancel_due(&self) -> Option<Stamp> {
        match (self.triggered, self.left) {
            (Some((_, due)), None) => Some(due),
            _ => None,
        }
    }

    /// It goes to a connection that has carried requests before, and has rested since then.
    pub fn reuses(&mut self, local_port: u16, rested: Span) {
        self.record.wire.reused = true;
        self.record.wire.rested = rested;
        self.record.wire.local_port = local_port;
    }

    /// A connection of its own is begun, to the address of that number.
    pub const fn connects_to(&mut self, address: usize) {
        self.address = address;
    }

    /// The number of the address that its own connection goes to.
    pub const fn address(&self) -> usize {
        self.address
    }

    /// An address of a server with several has given it no connection.
    pub fn refused_by(&mut self, refusal: Refusal) {
        let unreached = self.record.unreached.get_or_insert_default();
        unreached.refusals.push(refusal);
    }

    /// Whether that address has given it no connection.
    pub fn has_tried(&self, address: &Address) -> bool {
        match (&self.record.unreached, address) {
            (Some(unreached), Address::Tcp(address)) => unreached.has(*address),
            _ => false,
        }
    }

    /// How long the connection it reuses had rested; `None` for one of its own.
    pub fn rested(&self) -> Option<Span> {
        let wire = &self.record.wire;
        wire.reused.then_some(wire.rested)
    }

    /// How long the server says it keeps the connection after the answer, if it says so.
    #[inline]
    pub const fn promised(&self) -> Option<Span> {
        self.promised
    }

    /// A connection is there for it.
    pub const fn has_connection(&self) -> bool {
        self.record.wire.reused || self.record.times.connected.is_some()
    }

    /// Its own connection is established.
    pub fn connected(&mut self, at: Stamp, local_port: u16) {
        self.record.times.connected = Some(at);
        self.record.wire.local_port = local_port;
        self.trigger_came(Trigger::Connect, at);
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

    /// A `send` that returned at `at` took so many bytes. True when there is nothing more to send:
    /// all has gone, and `at` is T2, or as much as it sends at all.
    #[inline]
    pub fn wrote(&mut self, at: Stamp, bytes: usize) -> bool {
        self.sent += bytes;
        self.record.wire.sends += 1;
        if let Some(capture) = &mut self.record.capture {
            capture.wrote(at, bytes);
        }
        self.record.wire.body_sent = self.sent.saturating_sub(self.head_bytes) as u64;
        if self.sent < self.total_bytes {
            let half = self.head_bytes + (self.total_bytes - self.head_bytes) / 2;
            let stops = self.stops_half_way() && self.sent >= half;
            if stops {
                self.trigger_came(Trigger::MidBody, at);
            }
            return stops;
        }
        self.record.times.written = Some(at);
        if self.stage == Stage::Sending {
            self.stage = Stage::Waiting;
        }
        self.trigger_came(Trigger::Sent, at);
        true
    }

    /// The time of bytes that came at `stamp` by the kernel's account.
    ///
    /// # Errors
    /// They cannot have come then.
    #[inline]
    pub fn came(&self, stamp: Stamp) -> Result<Stamp, Fallback> {
        let times = &self.record.times;
        if stamp < times.send_start.unwrap_or(times.start) {
            return Err(Fallback::BeforeTheRequest);
        }
        // T2 is the return of the `send`, and a server that is near can answer within it.
        let stamp = times.written.map_or(stamp, |written| stamp.max(written));
        match self.last_came() {
            // Parts of one segment that are read one after the other can differ by what the
            // conversion has learnt in between.
            Some(last) if stamp + STAMP_SLACK < last => Err(Fallback::BeforeTheLast),
            Some(last) => Ok(stamp.max(last)),
            None => Ok(stamp),
        }
    }

    /// When the bytes before came.
    pub fn last_came(&self) -> Option<Stamp> {
        self.record.times.body_last.or(self.record.times.head)
    }

    /// What has come last is an end mark: nothing is missing, however the connection ends.
    pub fn has_end_mark(&self) -> bool {
        let last = self.record.transcript.marks().last();
        last.is_some_and(|mark| mark.kind == MarkKind::Done)
    }

    /// Room that this request's answer needed, as a guess for the next one.
    pub fn room(&self) -> Room {
        Room {
            marks: self.record.transcript.marks().len(),
            bytes: self.record.transcript.byte_len(),
        }
    }

    /// The response is whole.
    pub fn complete(self, at: Stamp) -> Record {
        self.ended(at, Outcome::Complete, AfterHalfClose::Answered)
    }

    /// It failed at `at`.
    pub fn fail(self, at: Stamp, failure: Failure) -> Record {
        let after = match failure {
            Failure::Timeout { .. } => AfterHalfClose::TimedOut,
            _ => AfterHalfClose::BrokenOff,
        };
        self.ended(at, Outcome::Failed(failure), after)
    }

    /// The run ends first.
    pub fn dropped(self, at: Stamp) -> Record {
        self.ended(at, Outcome::Dropped, AfterHalfClose::RunEnded)
    }

    fn ended(mut self, at: Stamp, outcome: Outcome, after: AfterHalfClose) -> Record {
        let half = self.leave() == Leave::HalfClose;
        if self.left.is_none() || (outcome == Outcome::Complete && !half) {
            // The whole answer had come before the client hung up.
            self.record.times.end = at;
            self.record.outcome = outcome;
            return self.record;
        }
        if let Some(left) = self.left.as_mut().filter(|_| half) {
            left.after = Some(after);
        }
        self.gone(at)
    }

    /// The client has left; `at` is when it had read what it reads.
    pub fn gone(mut self, at: Stamp) -> Record {
        if let Some(cancel) = &mut self.record.cancel {
            cancel.done = self.left;
        }
        self.record.times.end = at;
        self.record.outcome = Outcome::Cancelled;
        self.record
    }

    /// The client left between `asked` and `closed`; whether the peer had `acknowledged` the whole
    /// request by then, if that is known. What it reads afterwards moves nothing any more.
    pub fn left(&mut self, asked: Stamp, closed: Stamp, acknowledged: Option<bool>) {
        self.left = Some(self.disconnect(asked, closed, acknowledged));
        self.watches = false;
    }

    fn disconnect(&self, asked: Stamp, closed: Stamp, acknowledged: Option<bool>) -> Disconnect {
        let (triggered, due) = self.triggered.unwrap_or((asked, asked));
        Disconnect {
            triggered,
            due,
            asked,
            closed,
            stage: self.stage,
            acknowledged,
            after: None,
        }
    }

    /// What came instead of a response head, for the words of the failure.
    pub fn keep_unread_head(&mut self, bytes: &[u8]) {
        self.record.label = Some(Box::new(Label::instead(bytes)));
    }

    /// Whether it goes over a reused connection, and went out so lately that a close without an
    /// answer may have been on its way before.
    pub fn may_be_stale(&self, at: Stamp) -> bool {
        let sent_at = self.record.times.send_start;
        self.record.wire.reused && sent_at.is_none_or(|sent| at.since(sent) <= STALE_WITHIN)
    }

    /// What the server's close at `at` means for it; `errno` is 0 for an orderly one.
    pub fn broken(&self, at: Stamp, closed: Closed, errno: i32) -> Failure {
        match closed {
            Closed::Nothing if self.may_be_stale(at) => Failure::Stale,
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
        self.promised = head
            .keeps_alive_seconds
            .map(|seconds| Span::from_millis(u64::from(seconds) * 1_000));
        if head.is_unusual {
            self.record.label = Some(Box::new(Label::of(bytes)));
        }
        if let Some(capture) = &mut self.record.capture {
            capture.response_head = bytes.to_vec();
        }
    }

    #[inline]
    fn body(&mut self, at: Stamp, wire: usize, bytes: &[u8]) {
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
        self.record.wire.body_received += wire as u64;
        if let Some(capture) = self.record.capture.as_mut().filter(|_| !bytes.is_empty()) {
            capture.read(at, bytes);
        }
    }

    fn quirk(&mut self, quirk: Quirks) {
        self.record.wire.quirks.add(quirk);
    }

    #[inline]
    fn event(&mut self, at: Stamp, kind: MarkKind, bytes: &[u8]) {
        self.record.transcript.push(at, kind, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pinfire_base::{
        random::Purpose,
        record::{Cancel, Correlation},
    };
    use pinfire_dialect::EndpointKind;

    fn request(cancel_after: Option<Span>) -> Request {
        planned(cancel_after.map(|delay| Chosen {
            cancel: Cancel::after(delay),
            wave: None,
        }))
    }

    fn triggered(trigger: Trigger) -> Request {
        let cancel = Cancel {
            trigger,
            ..Cancel::after(Span::from_nanos(100))
        };
        planned(Some(Chosen { cancel, wave: None }))
    }

    fn planned(cancel: Option<Chosen>) -> Request {
        let ticket = Ticket {
            phase: Phase::Profiling,
            index: 3,
            entry: 3,
            core: 0,
            session: 3,
            seat: 0,
            ids: Ids::new(Purpose::new(1, "ids"), 3, Correlation::User(3)),
            scheduled: at(5),
            cancel,
        };
        Request::new(ticket, at(10), Span::from_nanos(1_000), Room::default())
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
        request.left(at(141), at(143), None);
        let record = request.gone(at(143));
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
    fn each_trigger_starts_the_delay_at_its_own_instant() {
        let answers = Answers::default();
        let mut connect = triggered(Trigger::Connect);
        connect.connected(at(15), 1);
        assert_eq!(connect.cancel_due(), Some(at(115)));

        let mut half = triggered(Trigger::MidBody);
        half.sending(at(20), 10, 91);
        assert!(!half.wrote(at(30), 54));
        assert_eq!(half.cancel_due(), None);
        assert!(half.wrote(at(31), 1) && !half.is_sent());
        assert_eq!(half.cancel_due(), Some(at(131)));
        half.left(at(131), at(132), None);
        let record = half.gone(at(132));
        assert_eq!((record.wire.body_sent, record.times.written), (45, None));

        let mut tokens = triggered(Trigger::Tokens(3));
        tokens.sending(at(20), 10, 90);
        assert!(tokens.wrote(at(30), 100) && tokens.watches());
        assert_eq!(tokens.due(), at(1_010));
        let events = [
            (40, MarkKind::Empty),
            (41, MarkKind::Content),
            (42, MarkKind::Reasoning),
        ];
        for (stamp, kind) in events {
            tokens.event(at(stamp), kind, b"x");
            assert!(!tokens.look_for_trigger(&answers));
        }
        // The prefill limit's look stops at the first and hides none from this one.
        assert!(tokens.has_content(&answers));
        tokens.event(at(43), MarkKind::Content, b"x");
        tokens.event(at(44), MarkKind::Content, b"x");
        assert!(tokens.look_for_trigger(&answers) && !tokens.watches());
        assert_eq!(tokens.due(), at(143));

        let mut first = triggered(Trigger::FirstToken);
        first.event(at(50), MarkKind::Content, b"x");
        assert!(first.look_for_trigger(&answers));
        assert_eq!(first.cancel_due(), Some(at(150)));
    }

    #[test]
    fn patience_ends_with_the_first_token() {
        let mut patient = triggered(Trigger::Patience);
        assert_eq!(patient.due(), at(110));
        patient.event(at(50), MarkKind::Empty, b"");
        assert!(!patient.look_for_trigger(&Answers::default()));
        patient.event(at(60), MarkKind::Content, b"x");
        assert!(patient.look_for_trigger(&Answers::default()));
        assert_eq!((patient.due(), patient.cancel_due()), (at(1_010), None));
    }

    #[test]
    fn what_is_read_on_ends_as_cancelled() {
        type End = fn(Request) -> Record;
        const STAGE: Stage = Stage::Waiting;
        let ends: [(AfterHalfClose, End); 4] = [
            (AfterHalfClose::Answered, |r| r.complete(at(300))),
            (AfterHalfClose::BrokenOff, |r| {
                r.fail(at(300), Failure::NoResponse)
            }),
            (AfterHalfClose::TimedOut, |r| {
                r.fail(at(300), Failure::Timeout { stage: STAGE })
            }),
            (AfterHalfClose::RunEnded, |r| r.dropped(at(300))),
        ];
        for (after, end) in ends {
            let request = left_by(Leave::HalfClose);
            assert_eq!(request.due(), at(1_010));
            let record = end(request);
            assert_eq!(record.outcome, Outcome::Cancelled);
            let done = record.cancel.unwrap().done.unwrap();
            assert_eq!((done.after, done.closed), (Some(after), at(142)));
            assert_eq!((done.stage, record.times.end), (STAGE, at(300)));
        }
    }

    /// Left between 141 and 142.
    fn left_by(leave: Leave) -> Request {
        let cancel = Cancel {
            leave,
            ..Cancel::after(Span::from_nanos(100))
        };
        let mut request = planned(Some(Chosen { cancel, wave: None }));
        request.sending(at(20), 10, 90);
        request.wrote(at(40), 100);
        request.left(at(141), at(142), None);
        request
    }

    /// When several are left in a row, each is read once more behind its hang-up.
    #[test]
    fn an_answer_that_was_whole_before_the_hang_up_is_an_answer() {
        let record = left_by(Leave::Fin).complete(at(142));
        assert_eq!(record.outcome, Outcome::Complete);
        assert_eq!(record.cancel.unwrap().done, None);
        let broken = left_by(Leave::Fin).fail(at(142), Failure::NoResponse);
        assert_eq!(broken.outcome, Outcome::Cancelled);
        let done = broken.cancel.unwrap().done.unwrap();
        assert_eq!((done.closed, done.after), (at(142), None));
    }

    #[test]
    fn an_early_answer_does_not_undo_streaming() {
        let mut request = request(None);
        request.sending(at(20), 10, 90);
        request.body(at(25), 7, b"7 bytes");
        assert!(request.wrote(at(40), 100));
        assert_eq!(request.stage(), Stage::Streaming);
    }

    #[test]
    fn an_impossible_time_of_arrival_is_none() {
        let mut request = request(None);
        assert_eq!(request.came(at(9)), Err(Fallback::BeforeTheRequest));
        assert_eq!(request.came(at(10)), Ok(at(10)), "in the handshake");
        request.sending(at(20), 10, 90);
        assert_eq!(request.came(at(19)), Err(Fallback::BeforeTheRequest));
        assert_eq!(request.came(at(20)), Ok(at(20)), "an early answer");
        assert!(request.wrote(at(40), 100));
        assert_eq!(request.came(at(35)), Ok(at(40)), "within the send");
        assert_eq!(request.came(at(19)), Err(Fallback::BeforeTheRequest));
        request.body(at(50), 7, b"7 bytes");
        let last = at(50) + STAMP_SLACK;
        request.body(last, 7, b"7 bytes");
        assert_eq!(request.came(at(50)), Ok(last), "of the same segment");
        assert_eq!(request.came(at(49)), Err(Fallback::BeforeTheLast));
        assert_eq!(request.last_came(), Some(last));
    }

    #[test]
    fn chunks_of_one_read_are_one_receive() {
        let mut request = request(None);
        request.body(at(25), 7, b"7 bytes");
        request.body(at(25), 7, b"7 bytes");
        request.body(at(26), 1, b"1");
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
    fn numbers_that_json_does_not_know_keep_no_trigger_from_firing() {
        let answers = Answers::default();
        let mut tokens = triggered(Trigger::Tokens(2));
        tokens.sending(at(20), 10, 90);
        assert!(tokens.wrote(at(30), 100));
        let odd = br#"{"choices":[{"delta":{"content":"x"},"logprobs":{"logprob":-Infinity}}]}"#;
        for (stamp, comes) in [(40, false), (41, true)] {
            tokens.event(at(stamp), MarkKind::Data, odd);
            assert_eq!(tokens.look_for_trigger(&answers), comes);
        }
        assert_eq!(tokens.cancel_due(), Some(at(141)));
        // What cannot be read at all is no token, and hides none.
        let mut first = triggered(Trigger::FirstToken);
        first.event(at(50), MarkKind::Data, b"{broken");
        assert!(!first.look_for_trigger(&answers));
        first.event(at(51), MarkKind::Bare, odd);
        assert!(first.look_for_trigger(&answers));
    }

    #[test]
    fn closes_have_their_reasons() {
        let mut fresh = request(None);
        assert_eq!(
            fresh.broken(at(40), Closed::Nothing, 0),
            Failure::NoResponse
        );
        assert_eq!(
            fresh.broken(at(40), Closed::Nothing, 104),
            Failure::Reset { errno: 104 }
        );
        assert_eq!(
            fresh.broken(at(40), Closed::InHead, 0),
            Failure::TruncatedHead
        );
        fresh.body(at(30), 12, b"twelve bytes");
        assert_eq!(
            fresh.broken(at(40), Closed::InBody, 104),
            Failure::TruncatedBody {
                body_bytes: 12,
                errno: 104
            }
        );
        fresh.reuses(1, Span::from_millis(7));
        assert_eq!(fresh.broken(at(40), Closed::Nothing, 0), Failure::Stale);
        // A close that comes long after the request was sent has another cause than rest.
        fresh.sending(at(40), 10, 90);
        let late = at(40) + STALE_WITHIN + Span::from_nanos(1);
        assert_eq!(fresh.broken(late, Closed::Nothing, 0), Failure::NoResponse);
        let reset = Failure::Reset { errno: 104 };
        assert_eq!(fresh.broken(late, Closed::Nothing, 104), reset);
        assert_eq!(fresh.broken(at(41), Closed::Nothing, 104), Failure::Stale);
    }
}
