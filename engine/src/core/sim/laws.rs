//! What holds in every run, whatever its seed.

use pinfire_base::{
    clock::Stamp,
    health::Counts,
    record::{Cancel, Disconnect, Failure, Leave, Outcome, Record, Trigger},
};

use super::{
    nature::MILLI,
    plug::port_of,
    run::{Out, Run},
    server::Asked,
    world::{How, Wire, World},
};
use crate::{plan::PhasePlan, schedule::Pace};

/// Clock readings and the pairs they are told from.
const CLOCKS: u64 = 2_000;

/// How late a deadline may be acted on where the client never stands still: the timer and a batch
/// of handlers, each with its calls.
const LATE: u64 = 2 * MILLI;

/// After each turn of the loop.
pub(super) fn hold_now(run: &Run) {
    let now = run.world.now();
    let mut taken = 0;
    for core in &run.cores {
        let core = core.borrow();
        taken += core.connections.hold_together(&core.clock);
        if let Some(due) = core.clock.next_deadline() {
            let late = now.saturating_sub(due.nanos());
            let allowed = LATE + run.world.stood_still(due.nanos(), now);
            assert!(
                late <= allowed,
                "a deadline is {late} ns past and forgotten"
            );
        }
    }
    // A slot is taken as long as a task holds its socket.
    let held = run.world.held.get();
    assert!(
        taken <= held,
        "{taken} slots for {held} sockets: one is forgotten"
    );
}

/// When a phase has ended.
pub(super) fn hold_of(
    world: &World,
    out: &Out,
    records: &[Record],
    counts: &Counts,
    told: &Counts,
) {
    assert!(counts.agree(), "{counts:?}");
    let told = Counts {
        sent: counts.sent,
        ..*told
    };
    assert!(
        out.overtaken || *counts == told,
        "{counts:?}, and told on the way {told:?}"
    );
    let once = records.windows(2).all(|two| two[0].index < two[1].index);
    assert!(once, "two records of one request");
    assert_eq!(
        records.len() as u64,
        counts.due,
        "not one record per request"
    );
    let of = |wanted: fn(&Outcome) -> bool| {
        records
            .iter()
            .filter(|record| wanted(&record.outcome))
            .count() as u64
    };
    assert_eq!(of(|o| *o == Outcome::Complete), counts.finished);
    assert_eq!(of(|o| *o == Outcome::Cancelled), counts.cancelled);
    assert_eq!(of(|o| matches!(o, Outcome::Failed(_))), counts.failed);
    assert_eq!(of(|o| *o == Outcome::Dropped), counts.dropped);
    all_were_sent(out, records, counts);
    are_of_the_shard(&out.plan, records);
    for record in records {
        are_in_order(record);
        Told { world, out, record }.agrees();
    }
}

/// Where nothing cuts a phase short, everything asked for was due.
fn all_were_sent(out: &Out, records: &[Record], counts: &Counts) {
    let plan = &out.plan;
    if out.cut || plan.duration.is_some() {
        return;
    }
    assert_eq!(counts.dropped, 0, "nobody has cut it short");
    let requests = plan.schedule.requests.own();
    let sessions = plan.schedule.sessions.own();
    let due = if plan.schedule.single {
        sessions
    } else if matches!(plan.schedule.pace, Pace::Users(_)) {
        return;
    } else {
        let own = |number: &u64| plan.schedule.shard.owns(*number);
        let own = (0..).filter(own).take(sessions.min(requests) as usize);
        requests.min(own.map(|number| u64::from(plan.turns(number))).sum())
    };
    assert_eq!(counts.due, due, "not all was sent: {records:?}");
}

/// Nothing that belongs to another shard was sent.
fn are_of_the_shard(plan: &PhasePlan, records: &[Record]) {
    let shard = plan.schedule.shard;
    for record in records {
        assert!(shard.owns(record.session));
        assert!(plan.schedule.single || shard.owns(record.index));
    }
}

fn are_in_order(record: &Record) {
    let times = &record.times;
    let mut last = times.start;
    let order = [
        ("connected", times.connected),
        ("secured", times.secured),
        ("send_start", times.send_start),
    ];
    for (what, at) in order {
        let Some(at) = at else { continue };
        assert!(
            last <= at,
            "{what} is before what comes before it: {times:?}"
        );
        last = at;
    }
    assert!(
        times.admitted <= times.start && last <= times.end,
        "{times:?}"
    );
    let first = times.send_start.unwrap_or(times.start);
    let came = [times.head, times.body_first, times.body_last];
    let mut last = first;
    for at in came.into_iter().flatten() {
        assert!(last <= at && at <= times.end, "{times:?}");
        last = at;
    }
    let marks = record.transcript.marks();
    assert!(marks.windows(2).all(|two| two[0].at <= two[1].at));
    assert!(
        marks
            .iter()
            .all(|mark| first <= mark.at && mark.at <= times.end)
    );
}

/// A record beside what the world knows.
struct Told<'a> {
    world: &'a World,
    out: &'a Out,
    record: &'a Record,
}

impl Told<'_> {
    fn agrees(&self) {
        let wires = self.world.wires.borrow();
        let port = self.record.wire.local_port;
        let wire = (port > 0).then(|| &wires[usize::from(port - 1)]);
        debug_assert!(port == 0 || port_of(usize::from(port - 1)) == port);
        let id = self.record.request_id.text();
        let asked = wire.and_then(|wire| {
            let mut all = wire.talk.asked.iter();
            all.find(|asked| asked.id == id)
        });
        match (&self.record.outcome, asked) {
            (Outcome::Complete, Some(asked)) => self.was_whole(asked),
            (Outcome::Complete, None) => panic!("an answer to what was never asked"),
            (Outcome::Failed(failure), _) => self.was_no_earlier(failure),
            _ => {}
        }
        if let Some(Cancel {
            done: Some(done), ..
        }) = &self.record.cancel
        {
            self.left_in_time(done, wire, asked);
        } else {
            assert_ne!(self.record.outcome, Outcome::Cancelled);
        }
    }

    fn was_whole(&self, asked: &Asked) {
        let whole = match asked.said.until_close {
            true => asked.said.head_at,
            false => asked.said.whole_at,
        };
        let whole = whole.expect("the answer was whole");
        let end = self.record.times.end.nanos();
        let stepped = self.world.stepped.get();
        assert!(
            stepped || whole <= end + CLOCKS,
            "whole at {whole}, ended at {end}"
        );
    }

    /// Time limits are never acted on early, and not late either.
    fn was_no_earlier(&self, failure: &Failure) {
        let times = &self.record.times;
        let limit = match failure {
            Failure::Timeout { .. } => self.out.plan.timeout,
            Failure::ConnectTimeout { .. } => self
                .out
                .plan
                .dialling
                .timeout
                .expect("a limit of connecting"),
            _ => return,
        };
        let due = times.start + limit;
        assert!(
            times.end >= due,
            "{failure:?} at {:?}, due {due:?}",
            times.end
        );
        if let Failure::Timeout { .. } = failure {
            self.not_late(due, times.end);
        }
    }

    fn not_late(&self, due: Stamp, at: Stamp) {
        let late = at.since(due).nanos();
        let allowed = LATE + self.world.stood_still(due.nanos(), at.nanos());
        assert!(late <= allowed, "{late} ns late, and {allowed} allowed");
    }

    fn left_in_time(&self, done: &Disconnect, wire: Option<&Wire>, asked: Option<&Asked>) {
        let cancel = self.record.cancel.expect("who leaves has a plan");
        assert!(done.asked >= done.due, "left early: {done:?}");
        assert!(done.due >= done.triggered + cancel.delay, "{done:?}");
        self.not_late(done.due, done.asked);
        let Some(wire) = wire else {
            // It was left while it connected.
            assert_eq!(cancel.trigger, Trigger::Patience);
            return;
        };
        let was_there = self.record.wire.reused || self.record.times.connected.is_some();
        let at = match (cancel.leave, wire.left) {
            (Leave::Stall, _) => done.asked.nanos(),
            (leave, Some((at, how))) => {
                let wanted = match leave {
                    Leave::Rst => How::Reset,
                    Leave::HalfClose if was_there => How::HalfClosed,
                    _ => How::HungUp,
                };
                assert_eq!(how, wanted, "left otherwise than planned");
                at
            }
            (_, None) => panic!("the connection was never left"),
        };
        assert!(
            done.asked.nanos() <= at + CLOCKS && at <= done.closed.nanos(),
            "left at {at}, and told {done:?}"
        );
        // What the world saw, without the core's word.
        let start = self.record.times.start.nanos();
        let said = asked.map(|asked| &asked.said);
        let content = |number: usize| said.and_then(|said| said.contents.get(number).copied());
        let trigger = match cancel.trigger {
            Trigger::Connect => wire.connected,
            Trigger::MidBody => asked.and_then(|asked| asked.half_at),
            Trigger::Sent => asked.and_then(|asked| asked.whole_at),
            Trigger::Headers => said.and_then(|said| said.head_at),
            Trigger::FirstToken => content(0),
            Trigger::Tokens(count) => content(count as usize - 1),
            Trigger::Patience => Some(start),
        };
        let trigger = trigger.expect("who leaves had a reason to");
        let of_answer = matches!(
            cancel.trigger,
            Trigger::Headers | Trigger::FirstToken | Trigger::Tokens(_)
        );
        let slack = if of_answer { CLOCKS } else { 0 };
        if of_answer && self.world.stepped.get() {
            return;
        }
        let due = trigger + cancel.delay.nanos();
        assert!(at + slack >= due, "left at {at}, {} ns early", due - at);
    }
}
