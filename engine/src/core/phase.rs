//! A phase on one core: begun, kept full, ended when the last request has.

use std::sync::Arc;

use super::{
    Core, Running,
    agenda::{Agenda, Next},
    connection::State,
};
use crate::{
    clock::{Span, Stamp, thread_cpu_time},
    health::{CoreHealth, Counts},
    limits::{DEADLINE_NEAR, START_PATIENCE, STARTS_PER_TURN},
    plan::{PhasePlan, Precision},
    random::Purpose,
    run::CoreReport,
};

impl Core {
    /// Begins a phase that counts its time from `begun`.
    pub(crate) fn begin(&mut self, plan: Arc<PhasePlan>, begun: Stamp) {
        self.dialled.resize(plan.targets.len(), self.number);
        self.phase = Some(Running {
            ids: Purpose::keyed(plan.id_key ^ plan.phase as u64),
            agenda: Agenda::new(Arc::clone(&plan), begun, self.number, self.cores),
            next: Some(begun),
            drop_at: None,
            counts: Counts::default(),
            health: CoreHealth::default(),
            started: begun,
            cpu_before: thread_cpu_time(),
            plan,
        });
        self.start_some();
    }

    /// Ends the phase early: what is in flight is dropped and counted.
    pub(crate) fn stop(&mut self) {
        let now = Stamp::now();
        self.send_nothing_more(now);
        for slot in 0..self.connections.len() {
            if let Some(request) = self.connections[slot].request.take() {
                self.close(slot);
                let seat = request.seat();
                self.give_up(slot, seat, request.dropped(now), now);
            }
        }
        self.end_phase_if_done();
    }

    /// Looks whether other cores have sent what was left to send.
    pub(crate) fn look(&mut self) {
        let over = |phase: &Running| !phase.plan.schedule.single && phase.plan.schedule.exhausted();
        if self.phase.as_ref().is_some_and(over) {
            self.send_nothing_more(Stamp::now());
            self.end_phase_if_done();
        }
    }

    fn send_nothing_more(&mut self, now: Stamp) {
        let Some(phase) = &mut self.phase else { return };
        phase.agenda.stop(now);
        phase.next = None;
        self.close_left_behind();
    }

    /// Closes the connections of sessions that have ended.
    pub(super) fn close_left_behind(&mut self) {
        let left = |core: &mut Self| core.phase.as_mut()?.agenda.left_connection();
        while let Some((slot, visit)) = left(self) {
            let connection = &self.connections[slot];
            if connection.state == State::Idle && connection.visit == visit {
                self.close(slot);
            }
        }
    }

    /// Closes what is idle and lets every task end.
    pub(crate) fn leave(&mut self) {
        self.stop();
        self.leaving = true;
        for slot in 0..self.connections.len() {
            if self.connections[slot].state == State::Idle {
                self.close(slot);
            }
        }
        self.wake_timer();
        self.wake_turn_end();
    }

    /// Starts turns whose instant has come, a bounded number in a row. While more are waiting for
    /// the next turn of the loop, only the timer task goes on with them.
    #[inline]
    pub(super) fn start_due(&mut self, now: Stamp) {
        let due = |phase: &Running| phase.next.is_some_and(|next| next <= now);
        if !self.more_due && self.phase.as_ref().is_some_and(due) {
            self.start_some();
        }
    }

    pub(super) fn start_some(&mut self) {
        let mut more = true;
        for _ in 0..STARTS_PER_TURN {
            let deadline = self.deadlines.next();
            let Some(phase) = &mut self.phase else { return };
            let now = Stamp::now();
            // `Sleep` promises next to no CPU, and waiting here means spinning.
            if self.precision != Precision::Sleep
                && let Some(deadline) = deadline
                && let Some(next) = phase.next
                && phase.agenda.is_closed_loop()
                && a_deadline_goes_first(now, deadline, next)
            {
                break;
            }
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
        self.more_due = more;
        if more {
            // Look at the sockets, then go on at once.
            self.sleep_no_longer_than(Stamp::from_nanos(1));
        } else {
            self.settle();
        }
        self.end_phase_if_done();
    }

    /// Nothing can start now: waits for the instant at which something can.
    fn settle(&mut self) {
        let Some(phase) = &mut self.phase else { return };
        if phase.agenda.is_over() && phase.drop_at.is_none() {
            phase.drop_at = phase.agenda.drop_at();
            self.close_left_behind();
        }
        if let Some(wake) = self.next_start() {
            self.sleep_no_longer_than(wake);
        }
    }

    /// The next instant at which the phase wants attention by itself.
    pub(super) fn next_start(&self) -> Option<Stamp> {
        let phase = self.phase.as_ref()?;
        [phase.next, phase.drop_at].into_iter().flatten().min()
    }

    /// Drops what is in flight when the grace period is over.
    pub(super) fn drop_if_due(&mut self, now: Stamp) {
        let due = |phase: &Running| phase.drop_at.is_some_and(|at| at <= now);
        if self.phase.as_ref().is_some_and(due) {
            self.stop();
        }
    }

    pub(super) fn end_phase_if_done(&mut self) {
        if !self
            .phase
            .as_ref()
            .is_some_and(|phase| phase.agenda.is_done())
        {
            return;
        }
        let Some(mut phase) = self.phase.take() else {
            return;
        };
        let ended = Stamp::now();
        phase.health.wall_time = ended.since(phase.started);
        phase.health.cpu_time = Span::from_nanos(
            thread_cpu_time()
                .nanos()
                .saturating_sub(phase.cpu_before.nanos()),
        );
        let report = CoreReport {
            core: self.number,
            ended,
            counts: phase.counts,
            health: phase.health,
        };
        // Nobody listens any more only when the process is on its way out.
        let _ = self.reports.send(report);
    }
}

/// Starting a request (a connect and a send) takes long enough to make a deadline that is near late,
/// while a start of a closed loop may wait a little: it does, but never longer than
/// [`START_PATIENCE`].
fn a_deadline_goes_first(now: Stamp, deadline: Stamp, eligible: Stamp) -> bool {
    deadline <= now + DEADLINE_NEAR && now.since(eligible) < START_PATIENCE
}
