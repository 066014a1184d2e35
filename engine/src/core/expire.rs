//! Deadlines that have come: the planned disconnects and the time limits.

use std::rc::Rc;

use super::{Core, connection::State};
use crate::{
    clock::Stamp,
    limits::DRAIN_READS,
    record::{Failure, Leave},
};

impl Core {
    /// The end of every handler: what is due is started, and deadlines that have come are acted on.
    /// A turn may be long, so neither waits for its end.
    #[inline]
    pub(super) fn go_on(&mut self, now: Stamp) {
        self.start_due(now);
        self.act_on_due(now);
    }

    /// Acts on every deadline that has come.
    #[inline]
    pub(super) fn act_on_due(&mut self, now: Stamp) {
        if self.expire_due(now) {
            self.start_due(now);
        }
    }

    /// Ends every request whose deadline has come. Whether there was one.
    #[inline]
    pub(super) fn expire_due(&mut self, now: Stamp) -> bool {
        if self.deadlines.next().is_none_or(|due| due > now) {
            return false;
        }
        while let Some((due, slot)) = self.deadlines.pop_due(Stamp::now()) {
            self.expire(slot, due);
        }
        true
    }

    /// The deadline of a request has come: its cancel or its time limit.
    pub(super) fn expire(&mut self, slot: usize, due: Stamp) {
        let late = Stamp::now().since(due);
        let request = self.connections[slot].request.as_ref();
        if let Some(phase) = request.and_then(|request| self.phases.of(request.phase())) {
            phase.health.timer_lateness.record(late);
        }
        // A response that is complete in the receive buffer wins over either.
        self.drain(slot, false);
        let connection = &mut self.connections[slot];
        let Some(request) = &connection.request else {
            return;
        };
        if connection.state == State::Busy && request.due() > due {
            // What was read has moved it: a token came in time.
            let due = request.due();
            return self.set_deadline(slot, due);
        }
        if request.cancel_due().is_some_and(|cancel| cancel <= due) {
            return self.leave_request(slot);
        }
        let Some(request) = connection.request.take() else {
            return;
        };
        let now = Stamp::now();
        let failure = if due < request.due() {
            let securing = connection.state == State::Securing;
            Failure::ConnectTimeout { securing }
        } else {
            let stage = request.stage();
            Failure::Timeout { stage }
        };
        self.close(slot);
        let seat = request.seat();
        self.give_up(slot, seat, request.fail(now, failure), now);
    }

    /// Leaves a request as planned: nothing comes between the clock reads but the leaving itself.
    fn leave_request(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        let (Some(request), Some(socket)) = (&mut connection.request, &connection.socket) else {
            return;
        };
        let leave = request.leave();
        let asked = Stamp::now();
        match leave {
            Leave::Fin => socket.hang_up(),
            Leave::Rst => socket.reset(),
            Leave::HalfClose => socket.half_close(),
            Leave::Stall => {}
        }
        let closed = Stamp::now();
        match leave {
            Leave::Fin | Leave::Rst => {}
            Leave::HalfClose => {
                request.half_closed(asked, closed);
                let due = request.due();
                return self.set_deadline(slot, due);
            }
            Leave::Stall => {
                if let Some(phase) = self.phases.of(request.phase()) {
                    phase.stalled.push(Rc::clone(socket));
                }
            }
        }
        let Some(request) = connection.request.take() else {
            return;
        };
        connection.closed();
        let seat = request.seat();
        self.give_up(slot, seat, request.cancelled(asked, closed), closed);
    }

    /// Reads what lies in the receive buffer, up to a limit. The request may end by it. A `send` that
    /// was `refused` has taken the socket's error with it: an end without a byte then looks orderly
    /// and says less than that error did, so it is left to the caller.
    pub(super) fn drain(&mut self, slot: usize, refused: bool) {
        for _ in 0..DRAIN_READS {
            let connection = &self.connections[slot];
            let (Some(socket), Some(_)) = (&connection.socket, &connection.request) else {
                return;
            };
            if matches!(connection.state, State::Connecting | State::Securing) {
                return;
            }
            let received = socket.receive(&mut self.buffer);
            if refused && matches!(received, Ok(0)) && connection.exchange.is_untouched() {
                return;
            }
            if !self.received(slot, Stamp::now(), received) {
                return;
            }
        }
    }

    pub(super) fn set_deadline(&mut self, slot: usize, due: Stamp) {
        self.deadlines.set(slot, due);
        self.sleep_no_longer_than(due);
    }
}
