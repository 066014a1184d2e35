//! The schedule of a phase without a server: what would be sent when, if every answer took no time.

use std::sync::Arc;

use pinfire_base::{
    clock::{Span, Stamp},
    random::Purpose,
};

use super::agenda::{Agenda, Go, Next};
use crate::{
    plan::PhasePlan,
    request::{Ids, Request, Room, Ticket},
};

/// One request that would be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rehearsed {
    /// Number of the request within the phase.
    pub index: u64,
    /// Its instant, from the phase's start.
    pub scheduled: Span,
    /// Number of its session within the phase.
    pub session: u64,
    /// Its entry in the dataset.
    pub entry: u32,
    /// Its turn within the session.
    pub turn: u32,
}

/// Goes through a phase as one core would, by the very agenda of the cores, with a clock of its
/// own.
///
/// Endless if neither a count nor a duration that the schedule reaches ends the phase. The numbers
/// of the plan's schedule are used up.
pub fn rehearse(plan: &Arc<PhasePlan>) -> impl Iterator<Item = Rehearsed> {
    let begun = Stamp::from_nanos(1);
    let mut agenda = Agenda::new(Arc::clone(plan), begun, 0, 1);
    let mut now = begun;
    let plan = Arc::clone(plan);
    std::iter::from_fn(move || {
        loop {
            match agenda.next(now) {
                Next::Go(go) => return Some(answered(&mut agenda, &plan, go, begun, now)),
                Next::At(at) => now = at,
                Next::Nothing => return None,
            }
        }
    })
}

/// The request, answered at once.
fn answered(agenda: &mut Agenda, plan: &PhasePlan, go: Go, begun: Stamp, now: Stamp) -> Rehearsed {
    let session = agenda.session(go.seat);
    let request = Rehearsed {
        index: go.index,
        scheduled: go.scheduled.since(begun),
        session: session.number,
        entry: session.entry,
        turn: session.turn,
    };
    let ticket = Ticket {
        phase: plan.phase,
        index: go.index,
        entry: session.entry,
        core: 0,
        session: session.number,
        seat: go.seat,
        ids: Ids::new(Purpose::keyed(0), 0, session.correlation),
        scheduled: go.scheduled,
        cancel: None,
    };
    let mut record = Request::new(ticket, now, plan.timeout, Room::default()).complete(now);
    agenda.returned(go.seat, &mut record, now);
    request
}

#[cfg(test)]
mod tests {
    use pinfire_base::{
        ready::{Ready, ReadyTurn},
        record::{Keep, Phase},
    };
    use pinfire_dialect::Answers;

    use super::*;
    use crate::{
        plan::{Address, Dialling, Reuse, Target},
        request::RequestHead,
        schedule::{Arrivals, Limit, Pace, Pattern, RateProfile, Sampling, Schedule},
    };

    /// Where all ticks are at the start there is none that a later turn could wait for.
    #[test]
    fn conversations_at_an_infinite_rate_go_on() {
        let turn = |delay| ReadyTurn {
            body: b"{}".to_vec(),
            rope: None,
            delay: Span::from_millis(delay),
            at: None,
            history: None,
        };
        let dataset = Ready::new([("a".to_owned(), vec![turn(0), turn(50)])]);
        let arrivals = Arrivals::new(1, Pattern::Poisson, RateProfile::constant(f64::INFINITY));
        let plan = Arc::new(PhasePlan {
            phase: Phase::Profiling,
            targets: Arc::from([Target {
                addresses: vec![Address::Unix("/".into())],
                spare: Vec::new(),
                head: RequestHead::post("/", []),
                tls: None,
            }]),
            dialling: Dialling::default(),
            answers: Answers::default(),
            dataset: Arc::new(dataset),
            sampling: Sampling::Sequential,
            first_session: 0,
            schedule: Schedule::new(Pace::Rate(arrivals), false, None, Some(2)),
            concurrency: Some(Limit::of(1)),
            backs_off: false,
            prefill: None,
            duration: None,
            grace: None,
            cancel: None,
            id_key: 1,
            timeout: Span::from_millis(1_000),
            reuse: Reuse::Pooled,
            keep: Keep::default(),
        });
        let sent: Vec<_> = rehearse(&plan)
            .map(|one| (one.session, one.turn, one.scheduled))
            .collect();
        let at = Span::from_millis;
        assert_eq!(
            sent,
            [
                (0, 0, at(0)),
                (0, 1, at(50)),
                (1, 0, at(0)),
                (1, 1, at(100))
            ]
        );
    }
}
