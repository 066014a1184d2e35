//! What a core sends next, and when: sessions, their turns, and the limits they share.
//!
//! It knows no socket and reads no clock. A limit is a stock of slots, each with the instant since
//! which it is free; a turn may go when its own instant and those of its slots have come.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use pinfire_base::{
    clock::{Span, Stamp},
    health::BackoffCounts,
    limits::HANDOFF_POLL,
    random::Purpose,
    ready::Body,
    record::{Correlation, Outcome, Record},
    uuid::Uuid,
};
use pinfire_dialect::append_turn;

use super::handoff::{Handoff, Lent, Of};
use crate::{
    plan::PhasePlan,
    schedule::{ArrivalWalk, Backoff, Pace, Slots, UserWalk},
};

/// One conversation under way.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) number: u64,
    pub(super) correlation: Correlation,
    /// Entry of its next turn or of the one in flight.
    pub(super) entry: u32,
    pub(super) turn: u32,
    turns: u32,
    /// When the latest turn was scheduled.
    scheduled: Stamp,
    holds_prefill: bool,
    /// How the requests of its slot fared.
    backoff: Backoff,
    /// What its next turn waits longer for that.
    rest: Span,
    /// Earlier turns and their replies: JSON objects, each followed by a comma.
    history: Vec<u8>,
    /// The body of the turn in flight, if it had to be put together: history is in it.
    body: Vec<u8>,
    /// Its own connection, and which of the connection's rests that is.
    pub(super) connection: Option<(usize, u64)>,
}

/// A turn that may go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Go {
    /// Number of the request within the phase.
    pub(super) index: u64,
    /// Where its session is kept.
    pub(super) seat: u32,
    /// When the schedule wanted it.
    pub(super) scheduled: Stamp,
    /// When nothing kept it any more.
    pub(super) eligible: Stamp,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// This, now.
    Go(Go),
    /// Something at that instant, if nothing returns before.
    At(Stamp),
    /// Nothing before something returns.
    Nothing,
}

/// An instant of the schedule that this core has taken and not used yet.
#[derive(Clone, Copy, Debug)]
struct Claim {
    /// Of the session, or of the tick where turns of several sessions share the ticks.
    number: u64,
    at: Stamp,
    /// Turns and user of a user-centric session.
    user: Option<(u64, u32)>,
}

/// A turn that could be next.
#[derive(Clone, Copy, Debug)]
enum Candidate {
    Turn { scheduled: Stamp },
    Session { scheduled: Stamp, slot: Stamp },
}

enum Walk {
    None,
    Rate(ArrivalWalk),
    Users(UserWalk),
}

/// The agenda of one core for one phase.
pub(super) struct Agenda {
    plan: Arc<PhasePlan>,
    ids: Purpose,
    begun: Stamp,
    until: Option<Stamp>,
    walk: Walk,
    slots: Slots,
    prefill: Slots,
    claim: Option<Claim>,
    /// Turns that wait for their instant; the second number keeps their order.
    waiting: BinaryHeap<Reverse<(Stamp, u64, u32)>>,
    waits: u64,
    sessions: Vec<Session>,
    vacant: Vec<u32>,
    /// Own connections of ended sessions, to be closed by the core.
    left: Vec<(usize, u64)>,
    /// Sessions under way.
    open: usize,
    /// Those of them that have turns to come after the one in flight.
    to_go: usize,
    /// Slots rest after requests without an answer, and how much they have.
    backs_off: bool,
    rests: BackoffCounts,
    /// What the phase before holds of the slots; `handoff` is there while other cores must make
    /// room.
    lent: [Lent; 2],
    handoff: Option<Arc<Handoff>>,
    /// First contents matter, if only to the limit of the next phase.
    watches_content: bool,
    /// No new session.
    closed: bool,
    /// Nothing new at all.
    over: bool,
}

impl Agenda {
    pub(super) fn new(plan: Arc<PhasePlan>, begun: Stamp, core: usize, cores: usize) -> Self {
        let walk = match &plan.schedule.pace {
            Pace::Closed | Pace::Fixed(_) => Walk::None,
            Pace::Rate(arrivals) => Walk::Rate(arrivals.walk()),
            Pace::Users(users) => Walk::Users(users.walk()),
        };
        let slots = Slots::new(plan.concurrency, begun, core, cores);
        let prefill = Slots::new(plan.prefill, begun, core, cores);
        // A core without a share of a limit has nothing to do.
        let closed = slots.next().is_none() || prefill.next().is_none();
        Self {
            // Not the key of the request ids: a session's id must not be one of those.
            ids: Purpose::keyed(plan.id_key ^ (2 + plan.phase as u64)),
            begun,
            until: plan.duration.map(|duration| begun + duration),
            walk,
            slots,
            prefill,
            claim: None,
            waiting: BinaryHeap::new(),
            waits: 0,
            sessions: Vec::new(),
            vacant: Vec::new(),
            left: Vec::new(),
            open: 0,
            to_go: 0,
            backs_off: plan.backs_off && matches!(plan.schedule.pace, Pace::Closed),
            rests: BackoffCounts::default(),
            lent: Default::default(),
            handoff: None,
            watches_content: plan.prefill.is_some(),
            closed,
            over: false,
            plan,
        }
    }

    /// Whether sends wait for nothing but slots: there is no instant of their own to be met.
    pub(super) fn is_closed_loop(&self) -> bool {
        matches!(self.plan.schedule.pace, Pace::Closed)
    }

    /// How much its slots have rested for want of answers, up to `now`.
    pub(super) fn rests(&self, now: Stamp) -> BackoffCounts {
        let cut = match self.over {
            true => Span::ZERO,
            false => self.rest_left(now),
        };
        let rested = self.rests.rested.nanos().saturating_sub(cut.nanos());
        BackoffCounts {
            rested: Span::from_nanos(rested),
            ..self.rests
        }
    }

    /// What is left of the rests that have been counted.
    fn rest_left(&self, now: Stamp) -> Span {
        let turns = self.waiting.iter().map(|&Reverse((due, _, seat))| {
            let rest = self.sessions[seat as usize].rest;
            rest.min(due.since(now)).nanos()
        });
        Span::from_nanos(self.slots.rest_left(now).nanos() + turns.sum::<u64>())
    }

    /// Nothing is under way and nothing will be.
    pub(super) const fn is_done(&self) -> bool {
        (self.closed || self.over) && self.open == 0
    }

    /// Nothing new will be sent.
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    /// Whether this core has sent its last request. Where that hangs on what other cores have
    /// taken, it may show only when looked at again.
    pub(super) fn has_sent_all(&self) -> bool {
        let schedule = &self.plan.schedule;
        // Where turns and sessions share the ticks, one that was taken binds nobody.
        let claims =
            self.claim.is_some() && (schedule.single || !matches!(self.walk, Walk::Rate(_)));
        let began_all = self.closed || (schedule.sessions.exhausted() && !claims);
        self.over
            || (!schedule.single && schedule.requests.exhausted())
            || (began_all && self.to_go == 0)
    }

    /// Sessions that are open, and those that wait for their first content.
    pub(super) fn held(&self) -> [usize; 2] {
        let waiting = self.sessions.iter().filter(|s| s.holds_prefill);
        [self.open, waiting.count()]
    }

    /// First contents are told from now on: the next phase limits how many wait for theirs.
    pub(super) fn watch_content(&mut self) {
        self.watches_content = true;
    }

    /// Whether the session at `seat` waits for its first content.
    pub(super) fn holds_prefill(&self, seat: u32) -> bool {
        self.sessions[seat as usize].holds_prefill
    }

    /// Begins while another phase holds so many slots on this core. Gives what that one holds
    /// beyond this core's share.
    pub(super) fn follow(
        &mut self,
        handoff: &Arc<Handoff>,
        core: usize,
        held: [usize; 2],
    ) -> [usize; 2] {
        let [open, waiting] = held;
        let sessions = (handoff, Of::Sessions);
        let (slots, excess) = Lent::of(sessions, core, &mut self.slots, open, self.begun);
        let prefill = (handoff, Of::Prefill);
        let (first, more) = Lent::of(prefill, core, &mut self.prefill, waiting, self.begun);
        self.lent = [slots, first];
        self.handoff = Some(Arc::clone(handoff));
        [excess, more]
    }

    /// A request of the phase before gives one of its slots back.
    pub(super) fn regain(&mut self, of: Of, at: Stamp) {
        let slots = match of {
            Of::Sessions => &mut self.slots,
            Of::Prefill => &mut self.prefill,
        };
        self.lent[of as usize].regain(slots, at);
    }

    /// Takes what other cores have made room for, and asks no more when nothing is held back.
    fn take_withheld(&mut self, now: Stamp) {
        let Some(handoff) = &self.handoff else { return };
        let [sessions, prefill] = &mut self.lent;
        sessions.take((handoff, Of::Sessions), &mut self.slots, now);
        prefill.take((handoff, Of::Prefill), &mut self.prefill, now);
        if !sessions.waits() && !prefill.waits() {
            self.handoff = None;
        }
    }

    pub(super) fn session(&mut self, seat: u32) -> &mut Session {
        &mut self.sessions[seat as usize]
    }

    /// The body of the turn in flight of the session at `seat`.
    #[inline]
    pub(super) fn body(&self, seat: u32) -> Body<'_> {
        let session = &self.sessions[seat as usize];
        if session.body.is_empty() {
            self.plan.dataset.turn(session.entry).whole()
        } else {
            Body::Whole(&session.body)
        }
    }

    /// What comes next; a turn that may go counts as sent from here on.
    #[inline]
    pub(super) fn next(&mut self, now: Stamp) -> Next {
        if self.until.is_some_and(|until| now >= until) {
            self.stop(now);
        }
        if self.handoff.is_some() {
            self.take_withheld(now);
        }
        loop {
            if self.over {
                return Next::Nothing;
            }
            let Some(prefill) = self.prefill.next() else {
                return self.before_the_end(Next::Nothing, now);
            };
            let Some(candidate) = self.candidate(now) else {
                return self.before_the_end(Next::Nothing, now);
            };
            let eligible = match candidate {
                Candidate::Turn { scheduled } => scheduled,
                Candidate::Session { scheduled, slot } => scheduled.max(slot),
            };
            let eligible = eligible.max(prefill);
            if eligible > now {
                return self.before_the_end(Next::At(eligible), now);
            }
            let gone = match candidate {
                Candidate::Turn { scheduled } => self.go_on(scheduled, eligible),
                Candidate::Session { scheduled, .. } => self.begin_session(scheduled, eligible),
            };
            if let Some(go) = gone {
                return Next::Go(go);
            }
        }
    }

    /// The end of sending is an instant of its own, and so is the next poll of what other cores do.
    fn before_the_end(&self, next: Next, now: Stamp) -> Next {
        let poll = self.handoff.as_ref().map(|_| now + HANDOFF_POLL);
        let other = match (self.until, poll) {
            (Some(until), Some(poll)) => Some(until.min(poll)),
            (until, poll) => until.or(poll),
        };
        match (next, other) {
            (Next::At(at), Some(other)) => Next::At(at.min(other)),
            (Next::Nothing, Some(other)) => Next::At(other),
            (next, _) => next,
        }
    }

    fn candidate(&mut self, now: Stamp) -> Option<Candidate> {
        let turn = self.waiting.peek().map(|&Reverse((due, ..))| due);
        if !self.plan.schedule.single && matches!(self.walk, Walk::Rate(_)) {
            return self.of_tick(now, turn);
        }
        let session = self.session_candidate();
        match (turn, session) {
            // A turn that has waited goes before a session that could begin.
            (Some(due), Some(Candidate::Session { scheduled, slot }))
                if due > now && scheduled.max(slot) < due =>
            {
                session
            }
            (Some(due), _) => Some(Candidate::Turn { scheduled: due }),
            (None, session) => session,
        }
    }

    fn session_candidate(&mut self) -> Option<Candidate> {
        if self.closed {
            return None;
        }
        let slot = self.slots.next()?;
        if matches!(self.plan.schedule.pace, Pace::Closed) {
            return Some(Candidate::Session {
                scheduled: slot,
                slot,
            });
        }
        if self.claim.is_none() {
            let Some(number) = self.plan.schedule.sessions.take() else {
                self.closed = true;
                return None;
            };
            self.claim = Some(self.claim_session(number));
        }
        let scheduled = self.claim?.at;
        Some(Candidate::Session { scheduled, slot })
    }

    fn claim_session(&mut self, number: u64) -> Claim {
        let plan = &self.plan;
        let (after, user) = match (&mut self.walk, &plan.schedule.pace) {
            (Walk::Rate(walk), _) => (walk.at(number), None),
            (Walk::Users(walk), _) => {
                let start = walk.session(number, |session| plan.turns(session));
                (start.at, Some((start.user, start.turns)))
            }
            (Walk::None, Pace::Fixed(starts)) => (
                starts.get(number as usize).copied().unwrap_or(Span::ZERO),
                None,
            ),
            (Walk::None, _) => (Span::ZERO, None),
        };
        Claim {
            number,
            at: self.begun + after,
            user,
        }
    }

    /// Where turns and sessions share the ticks: what the next tick is for.
    fn of_tick(&mut self, now: Stamp, turn: Option<Stamp>) -> Option<Candidate> {
        let slot = self.slots.next().filter(|_| !self.closed);
        if turn.is_none() && slot.is_none() {
            return None;
        }
        let Walk::Rate(walk) = &mut self.walk else {
            return None;
        };
        let tick = loop {
            if let Some(claim) = self.claim {
                // A tick that has passed while only a turn could have used it, and the turn was
                // not there yet, is lost; where all are at the start, none ever comes later.
                let in_time = |due| due <= claim.at || walk.is_burst();
                if slot.is_some() || turn.is_some_and(in_time) {
                    break claim.at;
                }
            }
            let number = self.plan.schedule.ticks.take()?;
            self.claim = Some(Claim {
                number,
                at: self.begun + walk.at(number),
                user: None,
            });
        };
        let turn = turn.map(|due| due.max(tick));
        match (turn, slot) {
            (Some(at), Some(slot)) if at > now && slot.max(tick) < at => Some(Candidate::Session {
                scheduled: tick,
                slot,
            }),
            (Some(scheduled), _) => Some(Candidate::Turn { scheduled }),
            (None, slot) => slot.map(|slot| Candidate::Session {
                scheduled: tick,
                slot,
            }),
        }
    }

    /// The next turn of a session that waits.
    fn go_on(&mut self, scheduled: Stamp, eligible: Stamp) -> Option<Go> {
        let Some(index) = self.plan.schedule.requests.take() else {
            self.stop(eligible);
            return None;
        };
        let Reverse((_, _, seat)) = self.waiting.pop()?;
        if matches!(self.walk, Walk::Rate(_)) {
            self.claim = None;
        }
        let session = &mut self.sessions[seat as usize];
        session.turn += 1;
        session.entry += 1;
        session.assemble(&self.plan);
        Some(self.go(index, seat, scheduled, eligible))
    }

    fn begin_session(&mut self, scheduled: Stamp, eligible: Stamp) -> Option<Go> {
        let schedule = &self.plan.schedule;
        let from_ticks = !schedule.single && matches!(self.walk, Walk::Rate(_));
        let number = match self.claim {
            Some(claim) if !from_ticks => Some(claim.number),
            _ => schedule.sessions.take(),
        };
        let Some(number) = number else {
            self.closed = true;
            return None;
        };
        let index = if schedule.single {
            Some(number)
        } else {
            schedule.requests.take()
        };
        let Some(index) = index else {
            self.stop(eligible);
            return None;
        };
        let user = self.claim.take().and_then(|claim| claim.user);
        let conversation = self.plan.conversation(number);
        let entries = self.plan.dataset.of(conversation as usize);
        let correlation = match (&schedule.pace, user) {
            (Pace::Fixed(_), _) => Correlation::Conversation(conversation),
            (_, Some((user, _))) => Correlation::User(user),
            _ => Correlation::Id(Uuid::draw(&mut self.ids.at(number))),
        };
        let whole = entries.len() as u32;
        let turns = user.map_or(whole, |(_, turns)| turns.min(whole));
        let seat = self.seat();
        let session = &mut self.sessions[seat as usize];
        session.number = number;
        session.correlation = correlation;
        session.entry = entries.start;
        session.turn = 0;
        session.turns = turns;
        session.assemble(&self.plan);
        session.backoff = self.slots.take();
        self.open += 1;
        Some(self.go(index, seat, scheduled, eligible))
    }

    /// A place for a session; its buffers stay when it changes hands.
    fn seat(&mut self) -> u32 {
        self.vacant.pop().unwrap_or_else(|| {
            self.sessions.push(Session {
                number: 0,
                correlation: Correlation::User(0),
                entry: 0,
                turn: 0,
                turns: 0,
                scheduled: self.begun,
                holds_prefill: false,
                backoff: Backoff::NEVER,
                rest: Span::ZERO,
                history: Vec::new(),
                body: Vec::new(),
                connection: None,
            });
            self.sessions.len() as u32 - 1
        })
    }

    fn go(&mut self, index: u64, seat: u32, scheduled: Stamp, eligible: Stamp) -> Go {
        self.prefill.take();
        let session = &mut self.sessions[seat as usize];
        session.scheduled = scheduled;
        session.holds_prefill = true;
        let last = session.turn + 1 >= session.turns;
        match session.turn {
            0 if !last => self.to_go += 1,
            1.. if last => self.to_go -= 1,
            _ => {}
        }
        Go {
            index,
            seat,
            scheduled,
            eligible,
        }
    }

    /// The first content of a session's turn has come. Whether that made room for another.
    pub(super) fn content_came(&mut self, seat: u32, at: Stamp) -> bool {
        let session = &mut self.sessions[seat as usize];
        let held = std::mem::take(&mut session.holds_prefill);
        if held {
            self.prefill.give(at);
        }
        held
    }

    /// Whether the first content of a session's turn would make room for another.
    pub(super) fn awaits_content(&self, seat: u32) -> bool {
        self.watches_content && self.sessions[seat as usize].holds_prefill
    }

    /// A turn has ended. True when that was the session's last: its seat is vacant again.
    pub(super) fn returned(&mut self, seat: u32, record: &mut Record, at: Stamp) -> bool {
        self.content_came(seat, at);
        let rest = self.rest_after(seat, record);
        let plan = &self.plan;
        let session = &mut self.sessions[seat as usize];
        let last = session.turn + 1 >= session.turns;
        if !last {
            session.remember(plan, record);
        }
        // What went in front of the turn's own messages counts as its input; a body that is known
        // beforehand is counted already, and its buffer stays for the next.
        if !session.body.is_empty() {
            record.body = Some(std::mem::take(&mut session.body));
        }
        if last || self.over || record.outcome == Outcome::Dropped {
            self.end_session(seat, at, rest);
            return true;
        }
        let turn = plan.dataset.turn(session.entry + 1);
        let due = match (&plan.schedule.pace, turn.at) {
            (Pace::Users(users), _) => at.max(session.scheduled + users.gap()),
            (Pace::Fixed(_), Some(own)) => at.max(self.begun + own),
            _ => at + turn.delay.max(rest),
        };
        let longer = Span::from_nanos(rest.nanos().saturating_sub(turn.delay.nanos()));
        session.rest = longer;
        self.count_rest(seat, longer);
        self.waits += 1;
        self.waiting.push(Reverse((due, self.waits, seat)));
        false
    }

    /// How long the slot of a session rests now that a request of it has ended.
    fn rest_after(&mut self, seat: u32, record: &Record) -> Span {
        if !self.backs_off || self.over {
            return Span::ZERO;
        }
        let rest = self.sessions[seat as usize].backoff.after(record);
        let schedule = &self.plan.schedule;
        if rest > Span::ZERO && schedule.sessions.exhausted() {
            // Nobody waits for the slot, and the phase does not wait for its rest.
            self.closed = true;
        }
        match !schedule.single && schedule.requests.exhausted() {
            // Nor for the next turn.
            true => Span::ZERO,
            false => rest,
        }
    }

    fn count_rest(&mut self, seat: u32, rest: Span) {
        if rest == Span::ZERO {
            return;
        }
        let backoff = &mut self.sessions[seat as usize].backoff;
        self.rests.slots += u64::from(!std::mem::replace(&mut backoff.has_rested, true));
        self.rests.rests += 1;
        self.rests.rested = Span::from_nanos(self.rests.rested.nanos() + rest.nanos());
    }

    /// Ends a session; its slot opens again after `rest`.
    fn end_session(&mut self, seat: u32, at: Stamp, mut rest: Span) {
        if self.closed {
            rest = Span::ZERO;
        }
        self.count_rest(seat, rest);
        let session = &mut self.sessions[seat as usize];
        session.history.clear();
        session.body.clear();
        if session.turn + 1 < session.turns {
            self.to_go -= 1;
        }
        self.left.extend(session.connection.take());
        self.open -= 1;
        self.slots.give_back(at, rest, session.backoff);
        self.vacant.push(seat);
    }

    /// Nothing new from now on. Sessions that wait for their next turn end here.
    pub(super) fn stop(&mut self, at: Stamp) {
        // What the phase's end cuts off has not been rested.
        self.rests = self.rests(at);
        self.over = true;
        self.claim = None;
        while let Some(Reverse((_, _, seat))) = self.waiting.pop() {
            self.end_session(seat, at, Span::ZERO);
        }
    }

    /// When what is in flight is given up.
    pub(super) fn drop_at(&self) -> Option<Stamp> {
        Some(self.until? + self.plan.grace?)
    }

    /// A connection that an ended session has left behind.
    pub(super) fn left_connection(&mut self) -> Option<(usize, u64)> {
        self.left.pop()
    }
}

impl Session {
    /// Puts the body of the turn that comes together where there is a history to go in front of its
    /// message. Any other body is sent from where it lies.
    fn assemble(&mut self, plan: &PhasePlan) {
        self.body.clear();
        let turn = plan.dataset.turn(self.entry);
        let splice = turn.history.as_ref().filter(|_| !self.history.is_empty());
        if let Some(splice) = splice {
            turn.copy(0..splice.at, &mut self.body);
            self.body.extend_from_slice(&self.history);
            turn.copy(splice.at..turn.size(), &mut self.body);
        }
    }

    /// Adds the turn that has ended to the history, with its reply if it has a whole one.
    fn remember(&mut self, plan: &PhasePlan, record: &Record) {
        let turn = plan.dataset.turn(self.entry);
        let Some(splice) = &turn.history else { return };
        turn.copy(splice.own.clone(), &mut self.history);
        self.history.push(b',');
        if record.outcome == Outcome::Complete
            && record.wire.status / 100 == 2
            && append_turn(&plan.answers, &record.transcript, &mut self.history)
        {
            self.history.push(b',');
        }
    }
}
