//! Deadlines that have come: the planned disconnects and the time limits.

use super::{Core, connection::State};
use crate::{clock::Stamp, limits::DRAIN_READS, record::Failure};

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
        let Some(request) = connection.request.take() else {
            return;
        };
        if request.cancel_due().is_some_and(|cancel| cancel <= due) {
            let asked = Stamp::now();
            if let Some(socket) = &connection.socket {
                socket.hang_up();
            }
            let closed = Stamp::now();
            connection.closed();
            let seat = request.seat();
            self.give_up(slot, seat, request.cancelled(asked, closed), closed);
        } else {
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
