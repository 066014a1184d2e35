//! The phases that are out on a core: the one that sends, and the one whose answers still come.

use std::{rc::Rc, sync::Arc};

use pinfire_base::{
    clock::{Span, Stamp},
    health::{CoreHealth, Counts},
    random::Purpose,
    record::Phase,
};

use super::{
    agenda::Agenda,
    handoff::{Handoff, Of},
};
use crate::{io::Io, plan::PhasePlan};

/// The phases that are out: at most two, and never two of a kind.
pub(super) struct Phases<I: Io> {
    /// The one that sends.
    pub(super) current: Option<Running<I>>,
    /// The one before it, where that was begun before all answers of this had come.
    pub(super) draining: Option<Running<I>>,
}

/// A phase that is out.
pub(super) struct Running<I: Io> {
    pub(super) plan: Arc<PhasePlan>,
    pub(super) ids: Purpose,
    pub(super) agenda: Agenda,
    /// When the next turn may go; `None` when nothing can before something returns.
    pub(super) next: Option<Stamp>,
    /// Something has returned at that instant, and nothing was started since.
    pub(super) waiting_since: Option<Stamp>,
    /// When what is in flight is given up.
    pub(super) drop_at: Option<Stamp>,
    /// The control side has been told that nothing more will be sent.
    pub(super) sent_all: bool,
    /// While it drains: what it holds of the next phase's limits beyond the slots it is lent.
    pub(super) excess: [usize; 2],
    pub(super) handoff: Option<Arc<Handoff>>,
    /// Sockets that were left open and unread; hung up when the phase ends.
    pub(super) stalled: Vec<Rc<I::Socket>>,
    pub(super) counts: Counts,
    pub(super) health: CoreHealth,
    pub(super) started: Stamp,
    pub(super) cpu_before: Span,
}

impl<I: Io> Default for Phases<I> {
    fn default() -> Self {
        Self {
            current: None,
            draining: None,
        }
    }
}

impl<I: Io> Phases<I> {
    /// The phase of a request in flight, which keeps it out.
    #[inline]
    pub(super) fn of(&mut self, phase: Phase) -> &mut Running<I> {
        match self.find(phase) {
            Some(running) => running,
            None => unreachable!("a phase ends after its last request"),
        }
    }

    /// That phase, if it is out.
    #[inline]
    pub(super) fn find(&mut self, phase: Phase) -> Option<&mut Running<I>> {
        match &mut self.current {
            Some(current) if current.plan.phase == phase => Some(current),
            _ => self
                .draining
                .as_mut()
                .filter(|running| running.plan.phase == phase),
        }
    }

    /// That phase, if it is the one that drains.
    #[inline]
    pub(super) fn drains(&mut self, phase: Phase) -> Option<&mut Running<I>> {
        let draining = self.draining.as_mut();
        draining.filter(|running| running.plan.phase == phase)
    }

    /// The current one, and the one that drains.
    pub(super) fn out(&self) -> [Option<&Running<I>>; 2] {
        [self.current.as_ref(), self.draining.as_ref()]
    }

    /// Some phase, for what belongs to no request.
    #[inline]
    pub(super) fn any(&mut self) -> Option<&mut Running<I>> {
        self.current.as_mut().or(self.draining.as_mut())
    }

    /// The draining phase gives one slot back: to the next one, or off what it held too many.
    pub(super) fn hand_over(&mut self, of: Of, at: Stamp, now: Stamp) {
        let Some(elder) = &mut self.draining else {
            return;
        };
        let excess = &mut elder.excess[of as usize];
        let lent = *excess == 0;
        *excess = excess.saturating_sub(1);
        if let Some(handoff) = elder.handoff.as_ref().filter(|_| !lent) {
            handoff.give(of);
        }
        if let Some(younger) = &mut self.current {
            if lent {
                younger.agenda.regain(of, at);
            }
            younger.look_again(now);
        }
    }
}

impl<I: Io> Running<I> {
    /// A phase that has begun at `begun`, with everything before it.
    pub(super) fn new(
        plan: Arc<PhasePlan>,
        agenda: Agenda,
        begun: Stamp,
        cpu_before: Span,
    ) -> Self {
        Self {
            ids: Purpose::keyed(plan.id_key ^ plan.phase as u64),
            agenda,
            next: Some(begun),
            waiting_since: None,
            drop_at: None,
            sent_all: false,
            excess: [0; 2],
            handoff: None,
            stalled: Vec::new(),
            counts: Counts::default(),
            health: CoreHealth::default(),
            started: begun,
            cpu_before,
            plan,
        }
    }

    /// Something has returned: whoever called looks whether a turn may go now.
    #[inline]
    pub(super) fn look_again(&mut self, now: Stamp) {
        self.next = Some(Stamp::from_nanos(1));
        self.waiting_since.get_or_insert(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::sim::{Outside, plan};

    fn running(phase: Phase) -> Running<Outside> {
        let plan = plan(phase);
        let begun = Stamp::from_nanos(7);
        let agenda = Agenda::new(Arc::clone(&plan), begun, 0, 1);
        Running::new(plan, agenda, begun, Span::ZERO)
    }

    fn kind(running: Option<&Running<Outside>>) -> Option<Phase> {
        Some(running?.plan.phase)
    }

    #[test]
    fn a_request_finds_its_phase_whichever_of_the_two_it_is() {
        let mut phases = Phases::<Outside>::default();
        assert!(phases.any().is_none() && phases.find(Phase::Warmup).is_none());
        phases.current = Some(running(Phase::Warmup));
        assert_eq!(phases.of(Phase::Warmup).started, Stamp::from_nanos(7));
        assert!(phases.drains(Phase::Warmup).is_none(), "it sends");
        phases.draining = phases.current.take();
        assert_eq!(kind(phases.any().map(|phase| &*phase)), Some(Phase::Warmup));
        phases.current = Some(running(Phase::Profiling));
        assert_eq!(
            phases.out().map(kind),
            [Some(Phase::Profiling), Some(Phase::Warmup)]
        );
        for phase in [Phase::Warmup, Phase::Profiling] {
            assert_eq!(phases.of(phase).plan.phase, phase);
        }
        assert!(phases.drains(Phase::Warmup).is_some());
        assert!(phases.drains(Phase::Profiling).is_none());
    }

    #[test]
    #[should_panic(expected = "a phase ends after its last request")]
    fn a_request_without_a_phase_cannot_be() {
        Phases::<Outside>::default().of(Phase::Profiling);
    }

    #[test]
    fn what_the_elder_holds_too_many_makes_no_room_for_the_younger() {
        let at = Stamp::from_nanos(20);
        let mut phases = Phases::<Outside>::default();
        phases.hand_over(Of::Sessions, at, at);
        phases.draining = Some(running(Phase::Warmup));
        phases.hand_over(Of::Sessions, at, at);
        phases.current = Some(running(Phase::Profiling));
        phases.of(Phase::Warmup).excess = [2, 1];
        for left in [[1, 1], [0, 1]] {
            phases.of(Phase::Profiling).next = None;
            phases.hand_over(Of::Sessions, at, at);
            assert_eq!(phases.of(Phase::Warmup).excess, left);
            let younger = phases.of(Phase::Profiling);
            assert!(
                younger.next.is_some_and(|next| next <= at),
                "it looks again"
            );
            assert_eq!(younger.waiting_since, Some(at));
        }
        phases.hand_over(Of::Prefill, at, at);
        assert_eq!(phases.of(Phase::Warmup).excess, [0, 0]);
    }
}
