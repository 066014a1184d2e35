//! A phase that begins when the one before has sent its last request, while answers of that are
//! still to come.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex},
};

use pinfire_base::{
    clock::{Span, Stamp},
    ready::{Ready, ReadyTurn},
    record::{MarkKind, Outcome, Phase, Record},
};
use pinfire_engine::{
    plan::DriverChoice,
    schedule::{Arrivals, Pace, Pattern, RateProfile},
};
use pinfire_tests::{
    load::{Load, Run, Session, body, large_body},
    mock::{Mock, Truth, by_id, script, silent},
    on_both_drivers,
    raw::Raw,
    watchdog::watch,
};
use pinfire_tools::mock::Script;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn slow() -> Script {
    Script {
        ttft: Span::from_millis(20),
        ..script()
    }
}

/// A warmup and a measurement against the same server; the warmup's limit first.
fn phases(driver: DriverChoice, mock: &Mock, slots: [usize; 2], cpus: &[usize]) -> [Load; 2] {
    let load = Load::new(driver, mock.address()).on(cpus);
    let mut warmup = load.clone().of(slots[0], 2 * slots[0] as u64 + 3);
    warmup.phase = Phase::Warmup;
    let mut profiling = load.of(slots[1], 30);
    profiling.first_session = warmup.requests;
    [warmup, profiling]
}

/// Of all requests that were under way when one of the measurement was sent, that one included: the
/// most. The sum over both phases, by the client's own stamps.
fn most_at_a_start(warmup: &Run, profiling: &Run) -> usize {
    let all = || warmup.records.iter().chain(&profiling.records);
    let at_once = |at: Stamp| {
        let under_way = |record: &&Record| record.times.start <= at && at < record.times.end;
        all().filter(under_way).count()
    };
    let starts = profiling.records.iter().map(|record| record.times.start);
    starts.map(at_once).max().unwrap_or(0)
}

/// The same as the server saw it: from the first byte that it read to before the last that it
/// wrote.
fn most_seen(profiling: &Run, truth: &BTreeMap<&str, &Truth>) -> usize {
    let seen = |record: &Record| truth[record.request_id.to_string().as_str()].first;
    let at_once = |at: u64| {
        let under_way = |line: &&&Truth| line.first <= at && at < line.w_last;
        truth.values().filter(under_way).count()
    };
    let starts = profiling.records.iter().map(|record| at_once(seen(record)));
    starts.max().unwrap_or(0)
}

/// All of the warmup was sent before the measurement began, and the server has seen each request
/// once.
fn check(warmup: &Run, profiling: &Run, lines: &[Truth]) -> usize {
    let begun = profiling.report.started;
    assert!(warmup.records.iter().all(|r| r.times.start < begun));
    assert!(profiling.records.iter().all(|r| r.times.scheduled >= begun));
    let truth: BTreeMap<&str, &Truth> = by_id(lines).into_iter().collect();
    let all = warmup.records.len() + profiling.records.len();
    assert_eq!(truth.len(), all);
    most_seen(profiling, &truth)
}

on_both_drivers! {
    fn the_measurement_begins_while_the_warmup_waits(driver) {
        for cpus in [&[0][..], &[0, 1]] {
            // The last two answers of the warmup come only when all of the measurement has been
            // seen. Bodies tell the two apart.
            let state = Arc::new((Mutex::new((0, 0)), Condvar::new()));
            let ours = Arc::clone(&state);
            let server = Raw::start(move |conn| {
                let (counts, changed) = &*ours;
                while let Some(seen) = conn.request() {
                    let mut counts = counts.lock().unwrap();
                    if seen.body == 500 {
                        counts.0 += 1;
                        assert!(counts.0 <= 12, "sent twice");
                        let stays = counts.0 > 10;
                        while stays && counts.1 < 20 {
                            counts = changed.wait(counts).unwrap();
                        }
                    } else {
                        counts.1 += 1;
                        changed.notify_all();
                    }
                    drop(counts);
                    conn.send(OK);
                }
            });
            let load = Load::new(driver, server.address()).on(cpus);
            let mut warmup = load.clone().of(4, 12).with_bodies(vec![large_body(500)]);
            warmup.phase = Phase::Warmup;
            let profiling = load.of(4, 20).with_bodies(vec![large_body(300)]);
            let guard = watch("the measurement did not begin before the last answer of the warmup");
            let mut session = Session::start(&warmup);
            let (warmup, profiling) = session.run_seamless(&warmup, &profiling);
            drop(guard);
            assert_eq!((warmup.ends(), profiling.ends()), ([12, 0, 0, 0], [20, 0, 0, 0]));
            assert!(most_at_a_start(&warmup, &profiling) <= 4);
            // The last answers of the warmup came after the last request of the measurement was on
            // its way. (That its write is over may be noticed later, by another core.)
            let last = |run: &Run| run.records.iter().map(|r| r.times.end).max().unwrap();
            let sent = profiling.records.iter().map(|r| r.times.start).max().unwrap();
            assert!(last(&warmup) > sent);
            assert!(warmup.report.ended > sent);
            // Connections are shared.
            assert!(warmup.connects() + profiling.connects() <= 4);
        }
    }

    fn one_limit_over_both_phases(driver) {
        // Higher, the same and lower limits; with two cores their shares differ from what is out.
        for (slots, cpus) in [
            ([4, 6], &[0][..]), ([5, 5], &[0]), ([9, 3], &[0]),
            ([5, 5], &[0, 1]), ([9, 4], &[0, 1]), ([7, 1], &[0, 1]),
        ] {
            let mock = Mock::start(slow());
            let [warmup, profiling] = phases(driver, &mock, slots, cpus);
            let mut session = Session::start(&warmup);
            let counts = [warmup.requests, profiling.requests];
            let (warmup, profiling) = session.run_seamless(&warmup, &profiling);
            assert_eq!(warmup.ends(), [counts[0], 0, 0, 0]);
            assert_eq!(profiling.ends(), [counts[1], 0, 0, 0]);
            let held = warmup.records.iter().filter(|r| r.times.end > profiling.report.started);
            let held = held.count();
            assert!(most_at_a_start(&warmup, &profiling) <= slots[1], "{slots:?}, {held} held");
            drop(session);
            let seen = check(&warmup, &profiling, &mock.stop().1);
            assert!(seen <= slots[1], "{slots:?}: {seen}");
        }
    }

    fn a_warmup_that_never_answers_leaves_the_measurement_what_it_does_not_hold(driver) {
        for cpus in [&[0][..], &[0, 1]] {
            let held = Mock::start(silent());
            let mock = Mock::start(script());
            let [mut warmup, mut profiling] = phases(driver, &held, [3, 8], cpus);
            // Time ends its sending, and its grace the requests, whatever the measurement does.
            warmup.requests = u64::MAX;
            warmup.duration = Some(Span::from_millis(30));
            warmup.grace = Some(Span::from_millis(150));
            profiling.servers = Load::new(driver, mock.address()).servers;
            let mut session = Session::start(&warmup);
            let (warmup, profiling) = session.run_seamless(&warmup, &profiling);
            assert_eq!(profiling.ends(), [30, 0, 0, 0]);
            assert_eq!(warmup.ends(), [0, 0, 0, 3]);
            let end = warmup.report.started + Span::from_millis(30);
            assert!(profiling.report.started >= end);
            assert!(warmup.records.iter().all(|r| r.outcome == Outcome::Dropped));
            assert!(warmup.records.iter().all(|r| r.times.end >= end + Span::from_millis(150)));
            assert!(most_at_a_start(&warmup, &profiling) <= 8);
        }
    }

    fn a_rate_follows_conversations(driver) {
        let mock = Mock::start(slow());
        let turn = |_| ReadyTurn {
            rope: None,
            body: body(true),
            delay: Span::from_millis(2),
            at: None,
            history: None,
        };
        let conversations = (0..5).map(|c| (format!("c{c}"), (0..3).map(turn).collect()));
        let [mut warmup, mut profiling] = phases(driver, &mock, [3, 0], &[0, 1]);
        warmup.dataset = Arc::new(Ready::new(conversations));
        // A cap of sessions: the last turn of the last one is the last request.
        warmup.requests = u64::MAX;
        warmup.sessions = Some(4);
        let rate = RateProfile::constant(500.0);
        let arrivals = Arrivals::new(3, Pattern::Constant, rate);
        profiling.pace = Pace::Rate(arrivals.clone());
        let mut session = Session::start(&warmup);
        let (warmup, profiling) = session.run_seamless(&warmup, &profiling);
        assert_eq!((warmup.ends(), profiling.ends()), ([12, 0, 0, 0], [30, 0, 0, 0]));
        // One zero for all cores.
        let mut walk = arrivals.walk();
        for record in &profiling.records {
            let wanted = profiling.report.started + walk.at(record.index);
            assert_eq!(record.times.scheduled, wanted);
        }
        drop(session);
        check(&warmup, &profiling, &mock.stop().1);
    }

    fn prefill_slots_span_both(driver) {
        for cpus in [&[0][..], &[0, 1]] {
            let mock = Mock::start(slow());
            let [mut warmup, mut profiling] = phases(driver, &mock, [6, 9], cpus);
            (warmup.prefill, profiling.prefill) = (None, Some(2));
            let mut session = Session::start(&warmup);
            let (warmup, profiling) = session.run_seamless(&warmup, &profiling);
            assert_eq!(profiling.ends(), [30, 0, 0, 0]);
            // Who waits for its first token when one of the measurement is sent. Marks of what came
            // before the measurement began told nobody, but stood at the same instants.
            let token = |record: &Record| {
                let mut marks = record.transcript.marks().iter();
                marks.find(|mark| matches!(mark.kind, MarkKind::Content)).unwrap().at
            };
            let all: Vec<(Stamp, Stamp)> = warmup
                .records
                .iter()
                .chain(&profiling.records)
                .map(|record| (record.times.start, token(record)))
                .collect();
            for record in &profiling.records {
                let at = record.times.start;
                let waiting = all.iter().filter(|(from, to)| *from <= at && at < *to);
                assert!(waiting.count() <= 2);
            }
        }
    }

    fn a_stop_ends_both(driver) {
        for cpus in [&[0][..], &[0, 1]] {
            let mock = Mock::start(silent());
            let [mut warmup, profiling] = phases(driver, &mock, [3, 8], cpus);
            warmup.requests = 3;
            let mut session = Session::start(&warmup);
            let plan = session.begin_seamless(&warmup, &profiling);
            session.until("5 were never started", |counts| counts.due == 5);
            session.stop();
            let profiling = session.finish();
            let warmup = session.end_of(&plan);
            assert_eq!((warmup.ends(), profiling.ends()), ([0, 0, 0, 3], [0, 0, 0, 5]));
            // And good for another.
            let mock = Mock::start(script());
            let again = Load::new(driver, mock.address()).of(4, 12).on(cpus);
            assert_eq!(session.run(&again).ends(), [12, 0, 0, 0]);
        }
    }
}
