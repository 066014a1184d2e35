//! Deadlines that have come: the planned disconnects and the time limits.

use std::rc::Rc;

use pinfire_base::{
    clock::Stamp,
    limits::{DRAIN_READS, LOOK_TOGETHER, RECEIVE_BYTES},
    record::{Failure, Leave},
};

use super::{
    Core,
    connection::{Busy, Connecting, Securing, State},
    waiting::Starts,
};
use crate::io::{Io, Received, Socket};

/// A request that is left, and the instants before and after.
#[derive(Clone, Copy)]
struct Leaving {
    slot: usize,
    /// Whether the peer had acknowledged the whole request.
    acknowledged: Option<bool>,
    asked: Stamp,
    closed: Stamp,
}

/// Room for what is due at one instant; empty between two handlers.
#[derive(Default)]
pub(super) struct DueTogether {
    /// The deadlines that have come.
    together: Vec<(Stamp, usize)>,
    /// Which of their sockets have something to read.
    readable: Vec<bool>,
    /// Those that are to be left now.
    row: Vec<Leaving>,
}

impl<I: Io> Core<I> {
    /// The end of every handler: deadlines that have come are acted on, and what is due is started.
    /// A tick may be long, so neither waits for its end. But whoever was hung up on is replaced
    /// only when what else has come has been read: another hang-up may follow from that, and a
    /// start would make it late.
    #[inline]
    pub(super) fn go_on(&mut self, now: Stamp) {
        self.expire_due(now);
        match self.waiting.after_handler(self.some_due(now)) {
            Starts::Go => self.start_some(),
            Starts::Wait => self.clock.do_not_sleep(&*self.io),
            Starts::Nothing => {}
        }
    }

    /// Ends every request whose deadline has come, and notes if there was one. Those that are due
    /// at one instant are left in a row: what is read before the first leaving and what is written
    /// down after the last one does not come between them.
    #[inline]
    pub(super) fn expire_due(&mut self, mut now: Stamp) {
        if self.clock.next_deadline().is_none_or(|due| due > now) {
            return;
        }
        self.waiting.disconnected();
        let DueTogether {
            mut row,
            mut together,
            mut readable,
        } = std::mem::take(&mut self.due);
        while self.clock.next_deadline().is_some_and(|due| due <= now) {
            together.extend(std::iter::from_fn(|| self.clock.pop_due(now)));
            self.look_together(&together, &mut readable);
            for (&(due, slot), &readable) in together.iter().zip(&readable) {
                if self.expire(slot, due, readable) {
                    row.push(self.leaving(slot, now));
                }
            }
            together.clear();
            self.leave_in_a_row(&mut row);
            now = self.io.now();
        }
        self.due = DueTogether {
            row,
            together,
            readable,
        };
    }

    /// Which of these must be read before they are left. A wave waits for the reading of all before
    /// its first leaving, so that many are looked at in one call.
    fn look_together(&self, together: &[(Stamp, usize)], readable: &mut Vec<bool>) {
        let sockets = || {
            let connections = together.iter().map(|&(_, slot)| &self.connections[slot]);
            connections.map_while(|connection| connection.socket().map(Rc::as_ref))
        };
        if together.len() >= LOOK_TOGETHER && sockets().count() == together.len() {
            self.io.readable_now(sockets(), readable);
        } else {
            readable.clear();
            readable.resize(together.len(), true);
        }
    }

    /// The deadline of a request has come: its cancel or its time limit. True if it is to be left
    /// now; everything else has been done.
    fn expire(&mut self, slot: usize, due: Stamp, readable: bool) -> bool {
        let late = self.io.now().since(due);
        let kind = self.connections[slot].in_flight().1.phase();
        self.phases.of(kind).health.timer_lateness.record(late);
        // A response that is complete in the receive buffer wins over either.
        if readable {
            self.drain(slot, false);
        }
        let state = &self.connections[slot].state;
        let request = match state {
            State::Busy(Busy { request, .. }) if request.due() > due => {
                // What was read has moved it: a token came in time.
                let due = request.due();
                self.set_deadline(slot, due);
                return false;
            }
            State::Busy(Busy { request, .. })
            | State::Securing(Securing { request, .. })
            | State::Connecting(Connecting { request, .. }) => request,
            // What was read has ended it.
            State::Idle(_) | State::Closed => return false,
            State::Vacant => unreachable!("a deadline is of a request"),
        };
        if request.cancel_due().is_some_and(|cancel| cancel <= due) {
            return true;
        }
        let failure = if due < request.due() {
            let securing = matches!(state, State::Securing(_));
            let failure = Failure::ConnectTimeout { securing };
            if !securing {
                self.unconnected(slot, self.io.now(), libc::ETIMEDOUT, failure);
                return false;
            }
            failure
        } else {
            let stage = request.stage();
            Failure::Timeout { stage }
        };
        self.fail(slot, self.io.now(), failure);
        false
    }

    /// A request that is to be left now. Asking what was acknowledged takes a system call of about
    /// 0.1 µs, which is not to come between two leavings.
    fn leaving(&mut self, slot: usize, now: Stamp) -> Leaving {
        let (socket, request) = self.connections[slot].in_flight();
        let sent = request.is_sent();
        Leaving {
            slot,
            acknowledged: sent.then(|| socket.acknowledged()).flatten(),
            asked: now,
            closed: now,
        }
    }

    /// Leaves requests as planned: nothing comes between the clock reads but the leaving itself,
    /// and nothing between two leavings but the clock reads.
    fn leave_in_a_row(&mut self, row: &mut Vec<Leaving>) {
        for leaving in row.iter_mut() {
            let (socket, request) = self.connections[leaving.slot].in_flight();
            let leave = request.leave();
            leaving.asked = self.io.now();
            match leave {
                Leave::Fin => socket.hang_up(),
                Leave::Rst => socket.reset(),
                Leave::HalfClose if !request.has_connection() => socket.hang_up(),
                Leave::HalfClose => socket.half_close(),
                Leave::Stall => {}
            }
            leaving.closed = self.io.now();
        }
        let several = row.len() > 1;
        for leaving in row.drain(..) {
            self.after_leaving(&leaving, several);
        }
    }

    /// What follows from a leaving. One of `several` had to wait for the others since it was read.
    fn after_leaving(
        &mut self,
        &Leaving {
            slot,
            acknowledged,
            asked,
            closed,
        }: &Leaving,
        several: bool,
    ) {
        let (socket, request) = self.connections[slot].in_flight();
        request.left(asked, closed, acknowledged);
        match request.leave() {
            // Before there is a connection, it has no half that could stay.
            Leave::HalfClose if request.has_connection() => {
                let due = request.due();
                return self.set_deadline(slot, due);
            }
            Leave::Fin if several => self.read_what_had_come(slot, closed),
            Leave::Stall => {
                let phase = self.phases.of(request.phase());
                phase.stalled.push(Rc::clone(socket));
            }
            Leave::Fin | Leave::Rst | Leave::HalfClose => {}
        }
        if self.connections[slot].request().is_none() {
            // An answer that was whole.
            return;
        }
        let (_, request) = self.connections[slot].give_up();
        let seat = request.seat();
        self.give_up(slot, seat, request.gone(closed), closed);
    }

    /// Reads what had come between the reading before a hang-up and the hang-up itself; nothing
    /// comes after it. An answer that is whole by that is an ordinary answer. What the server
    /// closed meanwhile cannot be told from our own end.
    fn read_what_had_come(&mut self, slot: usize, closed: Stamp) {
        for _ in 0..DRAIN_READS {
            if !matches!(self.connections[slot].state, State::Busy(_)) {
                return;
            }
            match self.receive(slot, RECEIVE_BYTES) {
                Some(Ok(received)) if received.bytes > 0 => {
                    let at = self.came(slot, closed, received.came);
                    self.bytes(slot, at, received.bytes);
                }
                _ => return,
            }
        }
    }

    /// Reads what lies in the receive buffer, up to a limit. The request may end by it. A `send`
    /// that was `refused` has taken the socket's error with it: an end without a byte then looks
    /// orderly and says less than that error did, so it is left to the caller.
    pub(super) fn drain(&mut self, slot: usize, refused: bool) {
        for _ in 0..DRAIN_READS {
            if !matches!(self.connections[slot].state, State::Busy(_)) {
                return;
            }
            let Some(received) = self.receive(slot, RECEIVE_BYTES) else {
                return;
            };
            let ended = matches!(received, Ok(Received { bytes: 0, .. }));
            if refused && ended && self.connections[slot].exchange.is_untouched() {
                return;
            }
            if !self.received(slot, self.io.now(), received) {
                return;
            }
        }
    }

    pub(super) fn set_deadline(&mut self, slot: usize, due: Stamp) {
        self.clock.set_deadline(slot, due, &*self.io);
    }
}
