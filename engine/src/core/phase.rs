//! A phase on one core: begun, kept full, ended when the last request has.

use std::sync::Arc;

use crossbeam_channel::Sender;
use pinfire_base::{
    clock::{Span, Stamp},
    limits::{DEADLINE_NEAR, START_PATIENCE, STARTS_PER_TICK, STARTS_SPAN},
    record::Phase,
};

use super::{
    Core,
    agenda::{Agenda, Next},
    clock::LoopClock,
    connections::Connections,
    handoff::Handoff,
    phases::{Phases, Running},
};
use crate::{
    io::{Io, Socket},
    plan::{PhasePlan, Precision},
    report::CoreReport,
    request::Room,
};

impl<I: Io> Core<I> {
    /// Begins a phase that counts its time from `begun`. One that is still out sends nothing more
    /// and ends by itself; `handoff` says what it may hold.
    pub(crate) fn begin(
        &mut self,
        plan: Arc<PhasePlan>,
        begun: Stamp,
        handoff: Option<Arc<Handoff>>,
    ) {
        // Nobody is away who has nothing to do.
        if self.phases.any().is_none() {
            self.clock.alive(self.io.now());
        }
        self.step_back(plan.phase);
        self.connections.expect_targets(&plan.targets, self.number);
        if let Some(limit) = plan.concurrency {
            self.connections
                .make_room_for(limit.own().div_ceil(self.cores));
        }
        let mut agenda = Agenda::new(Arc::clone(&plan), begun, self.number, self.cores);
        if let Some(handoff) = handoff {
            let elder = &mut self.phases.draining;
            let held = elder.as_ref().map_or([0; 2], |elder| elder.agenda.held());
            let excess = agenda.follow(&handoff, self.number, held);
            if let Some(elder) = elder {
                elder.excess = excess;
                elder.handoff = Some(handoff);
                if plan.prefill.is_some() {
                    elder.agenda.watch_content();
                }
            }
        }
        let cpu_before = self.io.cpu_time();
        self.phases.current = Some(Running::new(plan, agenda, begun, cpu_before));
        self.start_some();
    }

    /// Makes room for a phase to begin: the current one only drains from now on. Requests know
    /// their phase by its kind, so what stands in the way of that, because nobody waited for it, is
    /// dropped.
    fn step_back(&mut self, younger: Phase) {
        let [current, draining] = self.phases.out().map(|running| Some(running?.plan.phase));
        if let Some(old) = draining.filter(|&old| current.is_some() || old == younger) {
            self.drop_all_of(old);
        }
        if current == Some(younger) {
            self.drop_all_of(younger);
        }
        let Some(mut elder) = self.phases.current.take() else {
            return;
        };
        elder.agenda.stop(self.io.now());
        elder.drop_at = elder.agenda.drop_at();
        self.phases.draining = Some(elder);
        self.close_left_behind();
        self.end_phases_if_done();
    }

    /// Ends what is out early: what is in flight is dropped and counted.
    pub(crate) fn stop(&mut self) {
        // The younger one first, so that it gets no slot of the other.
        let out = self.phases.out().map(|running| Some(running?.plan.phase));
        for phase in out.into_iter().flatten() {
            self.drop_all_of(phase);
        }
    }

    /// Ends one phase early.
    fn drop_all_of(&mut self, phase: Phase) {
        let now = self.io.now();
        self.send_nothing_more(phase, now);
        for slot in self.connections.all() {
            let connection = &mut self.connections[slot];
            let request = connection.request();
            if request.is_some_and(|request| request.phase() == phase) {
                let (socket, request) = connection.give_up();
                socket.hang_up();
                let seat = request.seat();
                self.give_up(slot, seat, request.dropped(now), now);
            }
        }
        self.end_phases_if_done();
    }

    /// Looks whether other cores have sent what was left to send.
    pub(crate) fn poll_handoff(&mut self) {
        let over =
            |phase: &Running<I>| !phase.plan.schedule.single && phase.plan.schedule.exhausted();
        let current = self.phases.current.as_ref();
        if let Some(phase) = current.filter(|&phase| over(phase)) {
            self.send_nothing_more(phase.plan.phase, self.io.now());
            self.end_phases_if_done();
        }
        self.tell_if_all_sent();
    }

    fn send_nothing_more(&mut self, phase: Phase, now: Stamp) {
        let Some(phase) = self.phases.find(phase) else {
            return;
        };
        phase.agenda.stop(now);
        phase.next = None;
        self.tell_if_all_sent();
        self.close_left_behind();
    }

    /// Tells the control side once when the phase has nothing more to send.
    fn tell_if_all_sent(&mut self) {
        if let Some(phase) = &mut self.phases.current
            && !phase.sent_all
            && phase.agenda.has_sent_all()
        {
            phase.sent_all = true;
            let progress = &self.progress[self.number][phase.plan.phase as usize];
            progress.sent_all(phase.agenda.held());
        }
    }

    /// Closes the connections of sessions that have ended.
    pub(super) fn close_left_behind(&mut self) {
        let left = |core: &mut Self| {
            let Phases { current, draining } = &mut core.phases;
            let mut both = current.iter_mut().chain(draining);
            both.find_map(|phase| phase.agenda.left_connection())
        };
        while let Some((slot, visit)) = left(self) {
            let connection = &mut self.connections[slot];
            if connection.is_idle_in(visit) {
                connection.close_idle();
            }
        }
    }

    /// Closes everything and forgets what it learned of the servers, so that the next phase finds
    /// the core as a new one would be. `done` is dropped when nothing is open.
    pub(crate) fn rest(&mut self, done: Sender<()>) {
        self.stop();
        self.connections.close_all_idle();
        self.tasks.rest(done);
        self.look_whether_at_rest();
    }

    /// Nothing is open any more: whoever waits for that is told, and nothing is left of what was.
    pub(super) fn look_whether_at_rest(&mut self) {
        if let Some(told) = self.tasks.take_rest() {
            self.connections = Connections::default();
            self.clock.forget_deadlines();
            self.room = Room::default();
            drop(told);
        }
    }

    /// Closes what is idle and lets every task end.
    pub(crate) fn leave(&mut self) {
        self.stop();
        self.tasks.leave();
        self.connections.close_all_idle();
        LoopClock::wake_timer(&*self.io);
        self.clock.wake_tick_end();
    }

    /// Whether the instant of a turn has come.
    #[inline]
    pub(super) fn some_due(&self, now: Stamp) -> bool {
        let due = |phase: &Running<I>| phase.next.is_some_and(|next| next <= now);
        self.phases.current.as_ref().is_some_and(due)
    }

    /// Starts turns whose instant has come, a bounded number in a row.
    pub(super) fn start_some(&mut self) {
        let mut more = true;
        let mut until = None;
        for _ in 0..STARTS_PER_TICK {
            let now = self.io.now();
            // Those of other requests; a start takes long enough to make them late.
            self.expire_due(now);
            let deadline = self.clock.next_deadline();
            let Some(phase) = &mut self.phases.current else {
                return;
            };
            // While nothing has ended, nothing can be late by it but first answers: the slots are
            // filled first, each with a connection of its own.
            if now > *until.get_or_insert(now + STARTS_SPAN) && phase.counts.ended() > 0 {
                break;
            }
            // `Sleep` promises next to no CPU, and waiting here means spinning.
            if self.clock.precision() != Precision::Sleep
                && let Some(deadline) = deadline
                && let Some(eligible) = phase.waiting_since.or(phase.next)
                && phase.agenda.is_closed_loop()
                && a_deadline_goes_first(now, deadline, eligible)
            {
                break;
            }
            phase.waiting_since = None;
            match phase.agenda.next(now) {
                Next::Go(go) => self.start(go, now),
                next => {
                    phase.next = match next {
                        Next::At(at) => Some(at),
                        _ => None,
                    };
                    more = false;
                    break;
                }
            }
        }
        self.waiting.started(more);
        if more {
            // Look at the sockets, then go on at once.
            self.clock.do_not_sleep(&*self.io);
        } else {
            self.settle();
        }
        self.end_phases_if_done();
    }

    /// Nothing can start now: waits for the instant at which something can.
    fn settle(&mut self) {
        let Some(phase) = &mut self.phases.current else {
            return;
        };
        if phase.agenda.is_over() && phase.drop_at.is_none() {
            phase.drop_at = phase.agenda.drop_at();
            self.close_left_behind();
        }
        self.tell_if_all_sent();
        if let Some(wake) = self.next_start() {
            self.clock.sleep_no_longer_than(wake, &*self.io);
        }
    }

    /// The next instant at which a phase wants attention by itself.
    pub(super) fn next_start(&self) -> Option<Stamp> {
        let [current, draining] = self.phases.out();
        let wants = [
            current.and_then(|phase| phase.next),
            current.and_then(|phase| phase.drop_at),
            draining.and_then(|phase| phase.drop_at),
        ];
        wants.into_iter().flatten().min()
    }

    /// Drops what is in flight when the grace period is over.
    pub(super) fn drop_if_due(&mut self, now: Stamp) {
        let due = |running: Option<&Running<I>>| {
            let running = running?;
            (running.drop_at? <= now).then_some(running.plan.phase)
        };
        let due = self.phases.out().map(due);
        for phase in due.into_iter().flatten() {
            self.drop_all_of(phase);
        }
    }

    pub(super) fn end_phases_if_done(&mut self) {
        for running in [&mut self.phases.current, &mut self.phases.draining] {
            if let Some(phase) = running.take_if(|phase| phase.agenda.is_done()) {
                report(phase, self.number, &self.reports, &*self.io);
            }
        }
    }
}

/// A phase has ended on core `number`.
fn report<I: Io>(mut phase: Running<I>, number: usize, reports: &Sender<CoreReport>, io: &I) {
    let ended = io.now();
    for socket in phase.stalled.drain(..) {
        // Wakes the task that waits on it, which then lets go of it too.
        socket.hang_up();
    }
    phase.health.backoff = phase.agenda.rests(ended);
    phase.health.wall_time = ended.since(phase.started);
    phase.health.cpu_time = Span::from_nanos(
        io.cpu_time()
            .nanos()
            .saturating_sub(phase.cpu_before.nanos()),
    );
    let report = CoreReport {
        phase: phase.plan.phase,
        core: number,
        ended,
        counts: phase.counts,
        health: phase.health,
    };
    // Nobody listens any more only when the process is on its way out.
    let _ = reports.send(report);
}

/// Starting a request (a connect and a send) takes long enough to make a deadline that is near
/// late, while a start of a closed loop may wait a little: it does, but never longer than
/// [`START_PATIENCE`].
fn a_deadline_goes_first(now: Stamp, deadline: Stamp, eligible: Stamp) -> bool {
    deadline <= now + DEADLINE_NEAR && now.since(eligible) < START_PATIENCE
}
