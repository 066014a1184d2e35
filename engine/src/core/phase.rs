//! A phase on one core: begun, kept full, ended when the last request has.

use std::sync::Arc;

use super::{Core, Running, connection::State};
use crate::{
    clock::{Span, Stamp, thread_cpu_time},
    health::{CoreHealth, Counts},
    limits::{DEADLINE_NEAR, START_PATIENCE, STARTS_PER_TURN},
    plan::{PhasePlan, Precision},
    random::Purpose,
    run::CoreReport,
    schedule::share,
};

impl Core {
    /// Begins a phase: every slot of this core is free now.
    pub(crate) fn begin(&mut self, plan: Arc<PhasePlan>) {
        let now = Stamp::now();
        self.dialled.resize(plan.targets.len(), self.number);
        let slots = share(plan.concurrency, self.number, self.cores);
        self.phase = Some(Running {
            ids: Purpose::keyed(plan.id_key ^ plan.phase as u64),
            free: std::iter::repeat_n(now, slots).collect(),
            slots,
            closed: slots == 0,
            counts: Counts::default(),
            health: CoreHealth::default(),
            started: now,
            cpu_before: thread_cpu_time(),
            plan,
        });
        self.start_some();
    }

    /// Ends the phase early: what is in flight is dropped and counted.
    pub(crate) fn stop(&mut self) {
        let Some(phase) = &mut self.phase else { return };
        phase.closed = true;
        let now = Stamp::now();
        for slot in 0..self.connections.len() {
            if let Some(request) = self.connections[slot].request.take() {
                self.close(slot);
                self.give_up(slot, request.dropped(now), now);
            }
        }
        self.end_phase_if_done();
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

    /// Starts requests while a slot is free and the schedule has more, a bounded number in a row.
    /// While more are waiting for the next turn, only the timer task goes on with them.
    #[inline]
    pub(super) fn start_due(&mut self) {
        if !self.more_due
            && self
                .phase
                .as_ref()
                .is_some_and(|phase| !phase.free.is_empty())
        {
            self.start_some();
        }
    }

    pub(super) fn start_some(&mut self) {
        for _ in 0..STARTS_PER_TURN {
            let Some(phase) = &mut self.phase else { return };
            if phase.closed {
                break;
            }
            let Some(&scheduled) = phase.free.front() else {
                break;
            };
            let near = self
                .deadlines
                .next()
                .is_some_and(|due| a_deadline_goes_first(due, scheduled));
            // `Sleep` promises next to no CPU, and waiting here means spinning.
            if near && self.precision != Precision::Sleep {
                break;
            }
            let Some(index) = phase.plan.schedule.take() else {
                phase.closed = true;
                break;
            };
            phase.free.pop_front();
            self.start(index, scheduled);
        }
        self.more_due = self
            .phase
            .as_ref()
            .is_some_and(|phase| !phase.closed && !phase.free.is_empty());
        if self.more_due {
            // Look at the sockets, then go on at once.
            self.sleep_no_longer_than(Stamp::from_nanos(1));
        }
        self.end_phase_if_done();
    }

    pub(super) fn end_phase_if_done(&mut self) {
        if !self
            .phase
            .as_ref()
            .is_some_and(|phase| phase.closed && phase.free.len() == phase.slots)
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
/// while a start may wait a little: it does, but never longer than [`START_PATIENCE`].
fn a_deadline_goes_first(due: Stamp, scheduled: Stamp) -> bool {
    let now = Stamp::now();
    due <= now + DEADLINE_NEAR && now.since(scheduled) < START_PATIENCE
}
