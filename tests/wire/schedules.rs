//! Arrival processes, fixed instants, users, conversations and their limits, on the wire.
//!
//! What the schedule wants is exact, so it is compared for equality; how late a machine is decides
//! nothing here.

use std::{collections::BTreeMap, sync::Arc};

use pinfire_base::{
    clock::{Span, Stamp},
    ready::{Ready, ReadyTurn, Splice},
    record::{Correlation, Outcome, Record},
};
use pinfire_engine::{
    plan::{DriverChoice, Reuse},
    schedule::{Arrivals, Pace, Pattern, RateProfile, Users},
};
use pinfire_tests::{
    load::{Load, Run},
    mock::{Mock, by_id, instant, script, silent},
    on_both_drivers,
};
use serde_json::Value;

fn millis(millis: u64) -> Span {
    Span::from_millis(millis)
}

fn arrivals(pattern: Pattern, rate: f64) -> Arrivals {
    Arrivals::new(7, pattern, RateProfile::constant(rate))
}

/// A turn that says `text`, with room for the history in front of it.
fn turn(text: &str, delay: Span) -> ReadyTurn {
    let own = format!(r#"{{"role":"user","content":"{text}"}}"#);
    let before = r#"{"messages":["#;
    let body = format!(r#"{before}{own}],"model":"mock","stream":true}}"#);
    ReadyTurn {
        body: body.into_bytes(),
        rope: None,
        delay,
        at: None,
        history: Some(Splice {
            at: before.len(),
            own: before.len()..before.len() + own.len(),
        }),
    }
}

/// So many conversations of `turns` turns each.
fn conversations(count: usize, turns: usize, delay: Span) -> Arc<Ready> {
    let conversation = |c: usize| {
        let turns = (0..turns).map(|t| turn(&format!("{c}.{t}"), delay));
        (format!("c{c}"), turns.collect())
    };
    Arc::new(Ready::new((0..count).map(conversation)))
}

/// Most of these intervals that overlap.
fn most_at_once(intervals: impl Iterator<Item = (Stamp, Stamp)>) -> i32 {
    let mut changes: Vec<(Stamp, i32)> = Vec::new();
    for (from, to) in intervals {
        changes.extend([(from, 1), (to, -1)]);
    }
    changes.sort_unstable();
    let (mut now, mut most) = (0, 0);
    for (_, change) in changes {
        now += change;
        most = most.max(now);
    }
    most
}

/// The turns of each session, in order.
fn sessions(run: &Run) -> BTreeMap<u64, Vec<&Record>> {
    let mut sessions: BTreeMap<u64, Vec<&Record>> = BTreeMap::new();
    for record in &run.records {
        sessions.entry(record.session).or_default().push(record);
    }
    for turns in sessions.values_mut() {
        turns.sort_by_key(|record| record.times.start);
    }
    sessions
}

fn roles(record: &Record) -> Vec<String> {
    let body: Value = serde_json::from_slice(record.body.as_ref().unwrap()).unwrap();
    let messages = body["messages"].as_array().unwrap();
    let role = |message: &Value| message["role"].as_str().unwrap().to_owned();
    messages.iter().map(role).collect()
}

fn load(driver: DriverChoice, mock: &Mock, pace: Pace) -> Load {
    let mut load = Load::new(driver, mock.address());
    load.pace = pace;
    load.concurrency = 0;
    load
}

on_both_drivers! {
    fn a_rate_keeps_to_its_instants_on_any_number_of_cores(driver) {
        for (pattern, cpus) in [
            (Pattern::Constant, &[0][..]),
            (Pattern::Poisson, &[0, 1]),
            (Pattern::Gamma { smoothness: 0.5 }, &[0, 1]),
        ] {
            let mock = Mock::start(instant(1));
            let arrivals = arrivals(pattern, 1_000.0);
            let mut load = load(driver, &mock, Pace::Rate(arrivals.clone())).on(cpus);
            load.requests = 150;
            let run = load.run();
            assert_eq!(run.ends(), [150, 0, 0, 0]);
            let mut walk = arrivals.walk();
            let lines = mock.stop().1;
            let truth = by_id(&lines);
            for record in &run.records {
                let wanted = run.report.started + walk.at(record.index);
                assert_eq!(record.times.scheduled, wanted);
                assert!(record.times.start >= wanted, "early");
                // The server agrees that nothing came early.
                let seen = &truth[record.request_id.to_string().as_str()];
                assert!(seen.full >= run.anchor.unix_nanos(wanted));
            }
        }
    }

    fn a_limit_below_the_need_queues_and_loses_no_time(driver) {
        let mock = Mock::start(script());
        let arrivals = arrivals(Pattern::Constant, 1_000.0);
        let mut load = load(driver, &mock, Pace::Rate(arrivals)).of(2, 40);
        load.requests = 40;
        let run = load.run();
        let held = run.records.iter().map(|r| (r.times.start, r.times.end));
        assert_eq!(most_at_once(held), 2);
        // An answer takes 11 ms, so 40 of them at two at once take 220: the last waited for 180.
        let last = &run.records[39].times;
        assert_eq!(last.scheduled, run.report.started + millis(40));
        assert!(last.admitted.since(last.scheduled) > millis(150));
        assert!(last.end.since(last.start) < last.end.since(last.scheduled));
    }

    fn a_fixed_schedule_replays_its_times(driver) {
        let mock = Mock::start(instant(1));
        let times = [0, 20, 20, 60].map(millis);
        let turns = times.iter().enumerate().map(|(n, &at)| {
            let only = ReadyTurn { at: Some(at), history: None, ..turn("x", Span::ZERO) };
            (format!("line-{n}"), vec![only])
        });
        let dataset = Ready::new(turns);
        assert_eq!(dataset.starts(), times);
        let mut load = load(driver, &mock, Pace::Fixed(times.into()));
        load.dataset = Arc::new(dataset);
        load.requests = u64::MAX;
        let run = load.run();
        assert_eq!(run.ends(), [4, 0, 0, 0]);
        for (record, at) in run.records.iter().zip(times) {
            assert_eq!(record.times.scheduled, run.report.started + at);
            assert!(record.times.start >= record.times.scheduled);
            assert_eq!(record.correlation, Correlation::Conversation(record.entry));
        }
    }

    fn conversations_carry_their_history(driver) {
        let mock = Mock::start(script());
        let mut load = Load::new(driver, mock.address()).of(2, u64::MAX).on(&[0, 1]);
        load.dataset = conversations(3, 3, millis(5));
        load.sessions = Some(4);
        let run = load.run();
        assert_eq!(run.ends(), [12, 0, 0, 0]);
        let sessions = sessions(&run);
        assert_eq!(sessions.len(), 4);
        for turns in sessions.values() {
            assert_eq!(turns.len(), 3);
            assert!(turns[0].body.is_none());
            assert_eq!(roles(turns[1]), ["user", "assistant", "user"]);
            assert_eq!(roles(turns[2]), ["user", "assistant", "user", "assistant", "user"]);
            let body: Value = serde_json::from_slice(turns[2].body.as_ref().unwrap()).unwrap();
            assert!(!body["messages"][3]["content"].as_str().unwrap().is_empty());
            for pair in turns.windows(2) {
                assert_eq!(pair[0].correlation, pair[1].correlation);
                assert_eq!(pair[1].entry, pair[0].entry + 1);
                assert_eq!(pair[1].times.scheduled, pair[0].times.end + millis(5));
            }
        }
        let held = sessions.values().map(|turns| (turns[0].times.start, turns[2].times.end));
        assert!(most_at_once(held) <= 2, "a session keeps its slot");
    }

    fn a_request_cap_cuts_sessions_and_a_session_cap_does_not(driver) {
        let mock = Mock::start(instant(1));
        for cpus in [&[0][..], &[0, 1]] {
            let mut load = Load::new(driver, mock.address()).of(3, 7).on(cpus);
            load.dataset = conversations(4, 4, Span::ZERO);
            assert_eq!(load.run().ends(), [7, 0, 0, 0]);
            load.requests = u64::MAX;
            load.sessions = Some(5);
            assert_eq!(load.run().ends(), [20, 0, 0, 0]);
        }
    }

    fn later_turns_take_the_ticks_of_a_rate(driver) {
        let mock = Mock::start(instant(1));
        let arrivals = arrivals(Pattern::Constant, 500.0);
        let mut load = load(driver, &mock, Pace::Rate(arrivals));
        load.dataset = conversations(4, 3, Span::ZERO);
        load.requests = u64::MAX;
        load.sessions = Some(5);
        let run = load.run();
        assert_eq!(run.ends(), [15, 0, 0, 0]);
        let mut starts: Vec<_> = run.records.iter().map(|r| r.times.scheduled).collect();
        starts.sort_unstable();
        assert!(starts.windows(2).all(|pair| pair[0] < pair[1]), "one request a tick");
    }

    fn users_keep_their_gap(driver) {
        let mock = Mock::start(instant(1));
        let users = Users::new(3, 100.0, 3.0);
        let gap = users.gap();
        assert_eq!(gap, millis(30));
        let mut load = load(driver, &mock, Pace::Users(users));
        load.dataset = conversations(20, 3, Span::ZERO);
        load.requests = 30;
        let run = load.run();
        assert_eq!(run.ends(), [30, 0, 0, 0]);
        let mut pairs = 0;
        for turns in sessions(&run).values() {
            assert!(matches!(turns[0].correlation, Correlation::User(_)));
            for pair in turns.windows(2) {
                let next = (pair[0].times.scheduled + gap).max(pair[0].times.end);
                assert_eq!(pair[1].times.scheduled, next);
                pairs += 1;
            }
        }
        assert!(pairs > 5, "{pairs}");
    }

    fn a_duration_ends_sending_and_its_grace_the_rest(driver) {
        let mock = Mock::start(silent());
        let arrivals = arrivals(Pattern::Constant, 500.0);
        let mut load = load(driver, &mock, Pace::Rate(arrivals)).on(&[0, 1]);
        load.requests = u64::MAX;
        load.duration = Some(millis(60));
        load.grace = Some(millis(40));
        let run = load.run();
        let [finished, failed, cancelled, dropped] = run.ends();
        assert_eq!((finished, failed, cancelled), (0, 0, 0));
        assert!((1..30).contains(&dropped), "{dropped}");
        let end = run.report.started + millis(60);
        assert!(run.records.iter().all(|r| r.times.scheduled < end));
        assert!(run.records.iter().all(|r| r.times.end >= end + millis(40)));
    }

    fn prefill_slots_are_held_until_the_first_token(driver) {
        let mock = Mock::start(script());
        let mut load = Load::new(driver, mock.address()).of(8, 30);
        load.prefill = Some(2);
        let run = load.run();
        assert_eq!(run.ends(), [30, 0, 0, 0]);
        let waits = run.records.iter().map(|record| {
            let token = record.transcript.marks().iter().find(|mark| {
                matches!(mark.kind, pinfire_base::record::MarkKind::Content)
            });
            (record.times.start, token.unwrap().at)
        });
        assert!(most_at_once(waits) <= 2);
        let held = run.records.iter().map(|r| (r.times.start, r.times.end));
        assert!(most_at_once(held) > 2, "streams that have begun hold no prefill slot");
    }

    fn a_ramp_opens_its_slots_in_time(driver) {
        let mock = Mock::start(silent());
        let mut load = Load::new(driver, mock.address()).of(4, u64::MAX).on(&[0, 1]);
        load.ramp = Some(millis(60));
        load.duration = Some(millis(90));
        load.grace = Some(Span::ZERO);
        let run = load.run();
        let mut starts: Vec<_> = run.records.iter().map(|r| r.times.scheduled).collect();
        starts.sort_unstable();
        let wanted = [0, 20, 40, 60].map(|at| run.report.started + millis(at));
        assert_eq!(starts, wanted);
    }

    fn sticky_sessions_keep_their_connection(driver) {
        let mock = Mock::start(script());
        let mut load = Load::new(driver, mock.address()).of(3, u64::MAX);
        load.dataset = conversations(6, 3, millis(2));
        load.sessions = Some(6);
        load.reuse = Reuse::Sticky;
        let run = load.run();
        assert_eq!(run.ends(), [18, 0, 0, 0]);
        assert_eq!(run.connects(), 6);
        for turns in sessions(&run).values() {
            let port = turns[0].wire.local_port;
            assert!(turns.iter().all(|turn| turn.wire.local_port == port));
        }
    }

    fn later_turns_are_cancelled_like_first_ones(driver) {
        let mock = Mock::start(silent());
        let mut load = Load::new(driver, mock.address()).of(2, u64::MAX).cancelling(100.0, millis(3));
        load.dataset = conversations(2, 3, Span::ZERO);
        load.sessions = Some(4);
        for reuse in [Reuse::Pooled, Reuse::Sticky] {
            load.reuse = reuse;
            let run = load.run();
            assert_eq!(run.ends(), [0, 0, 12, 0]);
            for turns in sessions(&run).values() {
                // A cancelled turn adds no reply.
                assert_eq!(roles(turns[2]), ["user", "user", "user"]);
                assert!(turns.iter().all(|turn| turn.outcome == Outcome::Cancelled));
            }
        }
    }
}
