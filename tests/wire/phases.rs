//! Slots, cores and phases.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use pinfire_base::{
    clock::Span,
    record::{Outcome, Phase},
};
use pinfire_tests::{
    load::{Load, Session, body},
    mock::{Mock, by_id, instant, script, silent},
    on_both_drivers,
    raw::Raw,
    watchdog::watch,
};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

on_both_drivers! {
    fn the_concurrency_is_reached_and_never_exceeded(driver) {
        const SLOTS: usize = 12;
        for cpus in [&[0][..], &[0, 1]] {
            let held = Arc::new((Mutex::new(0_usize), Condvar::new()));
            let most = Arc::new(AtomicUsize::new(0));
            let (theirs, highest) = (Arc::clone(&held), Arc::clone(&most));
            let server = Raw::start(move |conn| {
                let (count, changed) = &*theirs;
                while let Some(seen) = conn.request() {
                    let mut held = count.lock().unwrap();
                    *held += 1;
                    highest.fetch_max(*held, Ordering::Relaxed);
                    changed.notify_all();
                    // The first of each connection waits for all slots: fewer would hang.
                    while seen.nth == 0 && highest.load(Ordering::Relaxed) < SLOTS {
                        held = changed.wait(held).unwrap();
                    }
                    // Given back before the answer, so that the count never exceeds what is held.
                    *held -= 1;
                    drop(held);
                    conn.send(OK);
                }
            });
            let guard = watch("the concurrency was not reached");
            let run = Load::new(driver, server.address()).of(SLOTS, 240).on(cpus).run();
            drop(guard);
            assert_eq!(run.ends(), [240, 0, 0, 0]);
            assert_eq!(most.load(Ordering::Relaxed), SLOTS);
            assert_eq!(run.connects(), SLOTS as u64);
        }
    }

    fn between_two_runs_everything_is_closed_and_forgotten(driver) {
        const SLOTS: usize = 6;
        for cpus in [&[0][..], &[0, 1]] {
            let open = Arc::new(AtomicUsize::new(0));
            let theirs = Arc::clone(&open);
            let first = Raw::start(move |conn| {
                theirs.fetch_add(1, Ordering::SeqCst);
                while conn.request().is_some() {
                    conn.send(OK);
                }
                theirs.fetch_sub(1, Ordering::SeqCst);
            });
            let load = Load::new(driver, first.address()).of(SLOTS, 60).on(cpus);
            let mut session = Session::start(&load);
            let one = session.run(&load);
            // Kept for the next phase of this run.
            assert_eq!(open.load(Ordering::SeqCst) as u64, one.connects());
            session.rest();
            let guard = watch("connections stayed open");
            while open.load(Ordering::SeqCst) > 0 {
                std::thread::yield_now();
            }
            drop(guard);
            // Another server as the only target: nothing goes to the first one.
            let mock = Mock::start(instant(1));
            let load = Load::new(driver, mock.address()).of(SLOTS, 60).on(cpus);
            let two = session.run(&load);
            assert_eq!(two.ends(), [60, 0, 0, 0]);
            session.rest();
            // It waits until nobody but itself is there.
            let (_, truth) = mock.stop();
            let used: BTreeSet<u64> = truth.iter().map(|line| line.conn).collect();
            assert_eq!((truth.len(), used.len() as u64), (60, two.connects()));
            // At rest already: nothing to wait for.
            session.rest();
        }
    }

    fn two_cores_share_one_index(driver) {
        let mock = Mock::start(instant(1));
        let load = Load::new(driver, mock.address()).of(7, 500).on(&[0, 1]);
        // `finish` sees to it that each index is there once.
        let run = load.run();
        assert_eq!(run.ends(), [500, 0, 0, 0]);
        assert_eq!(run.report.cores.len(), 2);
        for core in &run.report.cores {
            let own = run.records.iter().filter(|r| usize::from(r.core) == core.core);
            assert_eq!(own.count() as u64, core.counts.due);
        }
        assert_eq!(by_id(&mock.stop().1).len(), 500);
    }

    fn fewer_requests_than_slots(driver) {
        let mock = Mock::start(instant(1));
        for (slots, requests, cpus) in
            [(50, 3, &[0][..]), (1, 1, &[0]), (9, 1, &[0, 1]), (1, 5, &[0, 1]), (3, 0, &[0, 1])]
        {
            let load = Load::new(driver, mock.address()).of(slots, requests).on(cpus);
            let run = load.run();
            assert_eq!(run.ends(), [requests, 0, 0, 0], "{slots} {requests}");
            assert!(run.connects() <= requests.min(slots as u64));
        }
    }

    fn a_phase_goes_on_where_the_one_before_stopped(driver) {
        let mock = Mock::start(instant(1));
        let bodies: Vec<Vec<u8>> = (0..7).map(|n| {
            let mut body = body(true);
            body.resize(body.len() + n, b' ');
            body
        }).collect();
        let mut load = Load::new(driver, mock.address()).of(3, 10).with_bodies(bodies.clone());
        load.phase = Phase::Warmup;
        let mut session = Session::start(&load);
        let warmup = session.run(&load);
        load.phase = Phase::Profiling;
        load.first_session = 10;
        load.requests = 25;
        let profiling = session.run(&load);
        assert_eq!((warmup.ends(), profiling.ends()), ([10, 0, 0, 0], [25, 0, 0, 0]));
        // The connections of the warmup carry the measurement.
        assert_eq!(warmup.connects(), 3);
        assert_eq!(profiling.connects(), 0);
        assert_eq!(profiling.records[0].entry, 3);
        let all = warmup.records.iter().chain(&profiling.records);
        let ids: BTreeSet<[u8; 16]> = all.clone().map(|record| record.request_id.0).collect();
        assert_eq!(ids.len(), 35, "two requests share an id");
        let mut sent: Vec<u64> = all.map(|record| record.wire.body_sent).collect();
        drop(session);
        let mut got: Vec<u64> = mock.stop().1.iter().map(|line| line.body).collect();
        sent.sort_unstable();
        got.sort_unstable();
        let mut expected: Vec<u64> = (0..35).map(|n| bodies[n % 7].len() as u64).collect();
        expected.sort_unstable();
        assert_eq!(sent, expected);
        assert_eq!(got, expected);
    }

    fn stopped_in_the_middle_and_good_for_another_phase(driver) {
        for cpus in [&[0][..], &[0, 1]] {
            let held = Mock::start(silent());
            let load = Load::new(driver, held.address()).of(16, 1_000).on(cpus);
            let mut session = Session::start(&load);
            session.begin(&load);
            session.until("16 were never started", |counts| counts.due == 16);
            session.stop();
            let run = session.finish();
            assert_eq!(run.ends(), [0, 0, 0, 16]);
            assert!(run.records.iter().all(|r| r.outcome == Outcome::Dropped));
            let mock = Mock::start(script());
            let again = Load::new(driver, mock.address()).of(8, 40).on(cpus);
            let again = session.run(&again);
            assert_eq!(again.ends(), [40, 0, 0, 0]);
            assert!(again.records.iter().filter(|r| r.wire.reused).count() >= 24);
            drop(session);
            let (summary, _) = held.stop();
            assert!(summary.aborted <= 16 && summary.served == 0);
        }
    }

    fn stopped_while_requests_end(driver) {
        let mock = Mock::start(script());
        let load = Load::new(driver, mock.address()).of(10, 100_000);
        let load = load.cancelling(20.0, Span::ZERO).on(&[0, 1]);
        let mut session = Session::start(&load);
        for _ in 0..4 {
            session.begin(&load);
            session.until("50 never ended", |counts| counts.finished + counts.cancelled >= 50);
            session.stop();
            let run = session.finish();
            let [finished, failed, cancelled, dropped] = run.ends();
            assert_eq!(failed, 0);
            assert!(finished > 0 && cancelled > 0 && finished + cancelled >= 50);
            assert!(dropped <= 10);
        }
    }

    fn stop_before_and_after_is_nothing(driver) {
        let mock = Mock::start(instant(1));
        let load = Load::new(driver, mock.address());
        let mut session = Session::start(&load);
        session.stop();
        assert_eq!(session.run(&load).ends(), [20, 0, 0, 0]);
        session.stop();
        assert_eq!(session.run(&load).ends(), [20, 0, 0, 0]);
    }
}
