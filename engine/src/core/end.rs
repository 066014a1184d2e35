//! Ends of requests: each way gives the record up exactly once and frees the slot.

use pinfire_base::{
    clock::{Span, Stamp},
    record::{Failure, Outcome, Record},
};

use super::{
    Core,
    connection::{Busy, Idle},
    handoff::Of,
};
use crate::{
    io::{Io, Socket},
    plan::Reuse,
};

impl<I: Io> Core<I> {
    pub(super) fn complete(&mut self, slot: usize, at: Stamp, reusable: bool) {
        let connection = &mut self.connections[slot];
        let Busy {
            socket,
            secure,
            request,
        } = connection.finish();
        // An answer that came before the request was whole leaves bytes nobody will read.
        let sent = request.is_sent() && !request.has_left();
        connection.served += 1;
        let seat = request.seat();
        let phase = self.phases.of(request.phase());
        let promised = request.promised();
        let reusable = reusable && promised != Some(Span::ZERO);
        let reuse = match phase.plan.reuse {
            reuse if reusable && sent && !self.tasks.are_leaving() => reuse,
            _ => Reuse::Never,
        };
        let visit = match reuse {
            Reuse::Pooled => Some(self.connections.pool(slot)),
            Reuse::Sticky => {
                let visit = self.connections.visit();
                phase.agenda.session(seat).connection = Some((slot, visit));
                Some(visit)
            }
            Reuse::Never => None,
        };
        match visit {
            Some(visit) => self.connections[slot].rest(Idle {
                socket,
                secure,
                since: at,
                promised,
                visit,
            }),
            None => socket.hang_up(),
        }
        self.room.learn(request.room());
        self.give_up(slot, seat, request.complete(at), at);
    }

    pub(super) fn fail(&mut self, slot: usize, at: Stamp, failure: Failure) {
        let connection = &mut self.connections[slot];
        let target = connection.target;
        let (socket, request) = connection.give_up();
        socket.hang_up();
        if let (Failure::Stale, Some(rested)) = (&failure, request.rested()) {
            self.connections.keep_alive(target).closed(rested, at);
        }
        let seat = request.seat();
        self.give_up(slot, seat, request.fail(at, failure), at);
    }

    /// Takes a request off its connection: no deadline any more, and its record leaves.
    pub(super) fn give_up(&mut self, slot: usize, seat: u32, record: Record, at: Stamp) {
        self.clock.clear_deadline(slot);
        self.gone(seat, record, at);
    }

    /// A record leaves the core, and its session goes on or is over.
    pub(super) fn gone(&mut self, seat: u32, mut record: Record, at: Stamp) {
        let kind = record.phase;
        let phase = self.phases.of(kind);
        match record.outcome {
            Outcome::Complete => phase.counts.finished += 1,
            Outcome::Cancelled => phase.counts.cancelled += 1,
            Outcome::Failed(_) => phase.counts.failed += 1,
            Outcome::Dropped => phase.counts.dropped += 1,
        }
        self.progress[self.number][kind as usize].ended(&phase.counts);
        let waited = phase.agenda.holds_prefill(seat);
        let over = phase.agenda.returned(seat, &mut record, at);
        let now = self.clock.latest();
        phase.look_again(now);
        // The receiver lives as long as the engine; without it the process is on its way out.
        let _ = self.records.send(record);
        if over {
            self.close_left_behind();
        }
        if self.phases.drains(kind).is_some() {
            if waited {
                self.phases.hand_over(Of::Prefill, at, now);
            }
            if over {
                self.phases.hand_over(Of::Sessions, at, now);
            }
            self.end_phases_if_done();
        }
    }

    /// A task of the core has ended; the last one of a connection leaves its `slot`.
    pub(super) fn task_ended(&mut self, slot: Option<usize>) {
        if let Some(slot) = slot {
            self.connections.vacate(slot);
        }
        self.tasks.end();
        self.look_whether_at_rest();
    }
}
