//! What a connection brings: one read, its stamp, and what the bytes mean for the request.

use std::io::ErrorKind;

use pinfire_base::{
    clock::Stamp,
    health::Fallback,
    limits::{LOOKED_AHEAD_BYTES, RECEIVE_BYTES, STAMPED_READ_EVERY},
    record::Failure,
};
use pinfire_proto::{Closed, Progress, ProtoError};

use super::{
    Core,
    connection::{Busy, Idle, Securing, State},
    foresight::Found,
    handoff::Of,
    pieces::Pieces,
};
use crate::{
    io::{Came, Io, Received, Socket},
    plan::ReceiveStamps,
};

impl<I: Io> Core<I> {
    /// The socket has something to read. Whether the connection lives on.
    #[inline]
    pub(super) fn readable(&mut self, slot: usize) -> bool {
        if self.may_be_late() {
            return self.read_in_pieces(slot);
        }
        let Some(received) = self.receive(slot, RECEIVE_BYTES) else {
            return false;
        };
        let now = self.io.now();
        self.alive(now);
        self.clock.begin_tick(now);
        self.received(slot, now, received);
        self.go_on(now);
        !self.connections[slot].is_closed()
    }

    /// Whether events that came one after the other may be waiting together: the reads before were
    /// late, and looking ahead has not been in vain, or the loop was away for a while.
    #[inline]
    fn may_be_late(&self) -> bool {
        self.receive_stamps != ReceiveStamps::User
            && (self.foresight.looks(self.clock.latest()) || self.clock.was_away(&*self.io))
    }

    /// Reads what waits by one `recv` for each event: a read has the stamp of the newest segment
    /// that it touches, so an event that is read alone has its own.
    fn read_in_pieces(&mut self, slot: usize) -> bool {
        let looked = self.look_ahead(slot);
        let mut now = self.io.now();
        self.alive(now);
        self.clock.begin_tick(now);
        match looked {
            Ok(pieces) => {
                let mut found = Found::default();
                for length in pieces.lengths() {
                    let Some(received) = self.receive(slot, length) else {
                        return false;
                    };
                    if let Ok(received) = &received {
                        found.add(received.came);
                    }
                    now = self.io.now();
                    self.alive(now);
                    if !self.received(slot, now, received) || self.connections[slot].is_closed() {
                        break;
                    }
                }
                self.foresight.looked(found, now);
            }
            // The socket tells of an error but once: it is what the read would have found.
            Err(error) => {
                self.received(slot, now, Err(error));
            }
        }
        // Not before the last piece: what lies behind the end of an answer must not be taken for
        // the next one's.
        self.go_on(now);
        !self.connections[slot].is_closed()
    }

    /// Where the events end that wait on a connection in the clear.
    fn look_ahead(&mut self, slot: usize) -> std::io::Result<Pieces> {
        let connection = &self.connections[slot];
        let socket = connection.socket().filter(|_| !connection.is_sealed());
        let Some(socket) = socket else {
            return Ok(Pieces::whole());
        };
        // Of an answer that begins nothing is known: asking how much waits would decide nothing.
        if let Some(several) = connection.several_events()
            && socket.waiting().is_some_and(|bytes| bytes < several)
        {
            return Ok(Pieces::whole());
        }
        let waiting = &mut self.buffer[..LOOKED_AHEAD_BYTES];
        Ok(match socket.peek(waiting)? {
            // The read finds the end again.
            0 => Pieces::whole(),
            bytes => Pieces::of(&waiting[..bytes]),
        })
    }

    /// One `recv` of `most` bytes into the core's buffer; `None` on a connection that is hung up.
    #[inline]
    pub(super) fn receive(
        &mut self,
        slot: usize,
        most: usize,
    ) -> Option<std::io::Result<Received>> {
        let socket = self.connections[slot].socket()?;
        self.reads = self.reads.wrapping_add(1);
        let sample = self.reads.is_multiple_of(STAMPED_READ_EVERY);
        Some(socket.receive(&mut self.buffer[..most], sample))
    }

    /// Handles the result of one `recv` that returned at `now`. False if there was nothing to read.
    #[inline]
    pub(super) fn received(
        &mut self,
        slot: usize,
        now: Stamp,
        received: std::io::Result<Received>,
    ) -> bool {
        match received {
            // TLS says that it ends before the connection does.
            Ok(Received { bytes: 0, .. }) => {
                let announced = !self.connections[slot].is_sealed();
                self.peer_left(slot, now, 0, announced);
            }
            Ok(Received { bytes, came }) => {
                let at = self.came(slot, now, came);
                self.bytes(slot, at, bytes);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => self.peer_closed(slot, now, error.raw_os_error().unwrap_or(0)),
        }
        true
    }

    /// The time of bytes that had been read at `now`: when they came, where that is known.
    #[inline]
    pub(super) fn came(&mut self, slot: usize, now: Stamp, came: Came) -> Stamp {
        let Some(request) = self.connections[slot].request() else {
            return now;
        };
        let health = &mut self.phases.of(request.phase()).health;
        if self.wall.wants_pair(now) {
            self.wall.pair(self.io.clock_pair());
        }
        let unix_nanos = match came {
            Came::At(unix_nanos) => unix_nanos,
            Came::Unknown if self.receive_stamps != ReceiveStamps::User => {
                health.receive_stamps.fell_back(Fallback::Missing);
                return now;
            }
            Came::Sampled(unix_nanos) => {
                health.receive_stamps.user += 1;
                if let Ok(at) = self.wall.stamp(unix_nanos, now) {
                    health.receive_delay.record(now.since(at));
                }
                return now;
            }
            Came::Unknown | Came::Unasked => {
                health.receive_stamps.user += 1;
                return now;
            }
        };
        let stamp = match self.converted {
            (last, stamp) if last == unix_nanos => Ok(stamp),
            _ => self.wall.stamp(unix_nanos, now).map_err(Fallback::from),
        };
        if let Ok(stamp) = stamp {
            self.converted = (unix_nanos, stamp);
        }
        match stamp.and_then(|stamp| request.came(stamp)) {
            Ok(at) => {
                health.receive_stamps.kernel += 1;
                let delay = now.since(at);
                health.receive_delay.record(delay);
                self.foresight.waited(delay);
                at
            }
            Err(why) => {
                // What is impossible may be so because of a step that no pair has shown yet.
                let steps = self.wall.steps();
                self.wall.pair(self.io.clock_pair());
                let stepped = self.wall.steps() > steps;
                let why = if stepped { Fallback::Stepped } else { why };
                health.receive_stamps.fell_back(why);
                // What overtook a lost segment could be read when that was there.
                let overtook = (why == Fallback::BeforeTheLast).then(|| request.last_came());
                overtook.flatten().unwrap_or(now)
            }
        }
    }

    #[inline]
    pub(super) fn bytes(&mut self, slot: usize, at: Stamp, bytes: usize) {
        self.count(|health| health.receives += 1);
        let connection = &mut self.connections[slot];
        let request = match &mut connection.state {
            State::Busy(Busy {
                secure: None,
                request,
                ..
            }) => request,
            State::Securing(_)
            | State::Busy(Busy {
                secure: Some(_), ..
            })
            | State::Idle(Idle {
                secure: Some(_), ..
            }) => return self.open_sealed(slot, at, bytes),
            // Bytes that answer nothing: the connection cannot be trusted any more.
            State::Idle(_) => return connection.close_idle(),
            State::Vacant | State::Connecting(_) | State::Closed => {
                unreachable!("only an established connection is read")
            }
        };
        let events = request.room().marks;
        let result = connection.exchange.feed(at, &self.buffer[..bytes], request);
        let events = request.room().marks - events;
        connection.brought(bytes, events);
        self.events_came(slot, at, events);
        match result {
            Ok(Progress::More) => {}
            Ok(Progress::Complete { reusable }) => self.complete(slot, at, reusable),
            Err(error) => self.fail_framing(slot, at, &error),
        }
    }

    /// So many events came with one read: counted, and the first content frees a prefill slot.
    #[inline]
    pub(super) fn events_came(&mut self, slot: usize, at: Stamp, events: usize) {
        let (_, request) = self.connections[slot].in_flight();
        let kind = request.phase();
        let phase = self.phases.of(kind);
        phase.health.events += events as u64;
        if phase.agenda.awaits_content(request.seat())
            && request.has_content(&phase.plan.answers)
            && phase.agenda.content_came(request.seat(), at)
        {
            let now = self.clock.latest();
            phase.look_again(now);
            if self.phases.drains(kind).is_some() {
                self.phases.hand_over(Of::Prefill, at, now);
            }
        }
        self.look_for_trigger(slot);
    }

    /// What has come may be what a cancel counts from.
    #[inline]
    fn look_for_trigger(&mut self, slot: usize) {
        let (_, request) = self.connections[slot].in_flight();
        if !request.watches() {
            return;
        }
        let phase = self.phases.of(request.phase());
        if request.look_for_trigger(&phase.plan.answers) {
            let due = request.due();
            self.set_deadline(slot, due);
        }
    }

    /// What has come breaks the framing of a response.
    pub(super) fn fail_framing(&mut self, slot: usize, at: Stamp, error: &ProtoError) {
        let connection = &mut self.connections[slot];
        let head = connection.exchange.unread_head();
        if !head.is_empty()
            && let State::Securing(Securing { request, .. }) | State::Busy(Busy { request, .. }) =
                &mut connection.state
        {
            request.keep_unread_head(head);
        }
        let failure = Failure::Framing {
            offset: error.offset,
            cause: error.cause.text(),
        };
        self.fail(slot, at, failure);
    }

    /// The server has closed, in order (`errno` 0) or not.
    pub(super) fn peer_closed(&mut self, slot: usize, at: Stamp, errno: i32) {
        self.peer_left(slot, at, errno, true);
    }

    /// The same; `announced` if nobody on the way can have cut something off unnoticed.
    fn peer_left(&mut self, slot: usize, at: Stamp, errno: i32, announced: bool) {
        let connection = &mut self.connections[slot];
        let request = match &mut connection.state {
            State::Securing(_) => return self.fail(slot, at, Failure::HandshakeBroken { errno }),
            State::Busy(Busy { request, .. }) => request,
            State::Idle(_) => {
                self.count(|health| health.stale_closed += 1);
                return self.connections.closed_while_idle(slot, at);
            }
            State::Vacant | State::Connecting(_) | State::Closed => {
                unreachable!("only an established connection is read")
            }
        };
        match connection.exchange.close(at, request) {
            Closed::Complete if errno == 0 && (announced || request.has_end_mark()) => {
                self.complete(slot, at, false);
            }
            Closed::Complete if errno == 0 => self.fail(slot, at, Failure::UnannouncedClose),
            closed => {
                if closed == Closed::InHead {
                    request.keep_unread_head(connection.exchange.unread_head());
                }
                let failure = request.broken(at, closed, errno);
                self.fail(slot, at, failure);
            }
        }
    }
}
