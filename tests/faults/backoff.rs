//! A closed loop against a server that takes no requests: its slots rest, and each request is
//! still one record.

use std::sync::Arc;

use pinfire_base::{
    clock::Span,
    health::BackoffCounts,
    ready::{Ready, ReadyTurn},
    record::{Failure, Record},
};
use pinfire_engine::{
    plan::Reuse,
    schedule::{Arrivals, Pace, Pattern, RateProfile},
};
use pinfire_tests::{
    load::{Load, Run, Session, body},
    on_both_drivers,
    raw::{Raw, nobody},
};

use super::OK;

const CLOSING: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
const BUSY: &[u8] = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy";

fn rests(run: &Run) -> BackoffCounts {
    let mut all = BackoffCounts::default();
    for core in &run.report.cores {
        all.add(&core.health.backoff);
    }
    all
}

/// `slots` that have rested `rests` times, `millis` in all.
fn rested(slots: u64, rests: u64, millis: u64) -> BackoffCounts {
    BackoffCounts {
        slots,
        rests,
        rested: Span::from_millis(millis),
    }
}

/// Milliseconds from the end of each request to the start of the next, at least.
fn gaps_are_kept(records: &[Record], millis: &[u64]) {
    assert_eq!(records.len(), millis.len() + 1);
    for (pair, &millis) in records.windows(2).zip(millis) {
        let gap = pair[1].times.start.since(pair[0].times.end);
        assert!(gap >= Span::from_millis(millis), "{gap:?} of {millis} ms");
        // The wait is the schedule's: it makes no request late.
        assert_eq!(
            pair[1].times.scheduled,
            pair[0].times.end + Span::from_millis(millis)
        );
    }
}

on_both_drivers! {
    fn a_slot_rests_longer_and_longer(driver) {
        let (_socket, address) = nobody();
        let mut load = Load::new(driver, address).of(1, 5);
        load.backs_off = true;
        let run = load.run();
        assert_eq!(run.ends(), [0, 5, 0, 0]);
        gaps_are_kept(&run.records, &[10, 20, 40, 80]);
        assert_eq!(rests(&run), rested(1, 4, 150));
        load.backs_off = false;
        assert_eq!(rests(&load.run()), BackoffCounts::default());
    }

    fn an_answer_ends_the_rests_whatever_it_says(driver) {
        // Connections 0, 1 and 3 end without a byte.
        for answer in [CLOSING, BUSY] {
            let server = Raw::start(move |conn| {
                if !matches!(conn.number, 0 | 1 | 3) && conn.request().is_some() {
                    conn.send(answer);
                }
            });
            let mut load = Load::new(driver, server.address()).of(1, 5);
            load.backs_off = true;
            load.reuse = Reuse::Never;
            let run = load.run();
            assert_eq!(run.ends(), [2, 3, 0, 0]);
            gaps_are_kept(&run.records, &[10, 20, 0, 10]);
            assert_eq!(rests(&run), rested(1, 3, 40));
        }
    }

    fn refusals_in_words_are_answers(driver) {
        let server = Raw::answering(BUSY);
        let mut load = Load::new(driver, server.address()).of(4, 200);
        load.backs_off = true;
        let run = load.run();
        assert_eq!((run.ends(), rests(&run)), ([200, 0, 0, 0], BackoffCounts::default()));
    }

    fn bytes_that_are_no_answer_are_none(driver) {
        let server = Raw::answering("SSH-2.0-OpenSSH_9.2\r\n");
        let mut load = Load::new(driver, server.address()).of(2, 6);
        load.backs_off = true;
        let run = load.run();
        assert_eq!(run.ends(), [0, 6, 0, 0]);
        // Each failure but the last of each slot is followed by a rest; the slot that finds the
        // last request taken may have rested for nothing.
        let BackoffCounts { slots, rests, .. } = rests(&run);
        assert_eq!(slots, 2);
        assert!((4..=5).contains(&rests), "{rests}");
    }

    fn a_stale_connection_is_no_reason_to_rest(driver) {
        let server = Raw::start(|conn| {
            if conn.request().is_some() {
                conn.send(OK);
                conn.request();
            }
        });
        let mut load = Load::new(driver, server.address()).of(1, 6);
        load.backs_off = true;
        let run = load.run();
        assert_eq!((run.ends(), rests(&run)), ([3, 3, 0, 0], BackoffCounts::default()));
    }

    fn every_slot_of_every_core_rests_by_itself(driver) {
        let (_socket, address) = nobody();
        let mut load = Load::new(driver, address).of(6, 24).on(&[0, 1]);
        load.backs_off = true;
        let run = load.run();
        assert_eq!(run.ends(), [0, 24, 0, 0]);
        let BackoffCounts { slots, rests, rested } = rests(&run);
        assert_eq!(slots, 6);
        assert!(rests >= 18, "{rests}");
        // No rest is counted that was not waited for.
        let wall = run.report.ended.since(run.report.started).nanos();
        assert!(rested.nanos() <= slots * wall, "{rested:?} in {wall} ns");
    }

    fn the_next_turn_of_a_conversation_waits_too(driver) {
        let (_socket, address) = nobody();
        let turn = |delay| ReadyTurn {
            body: body(true),
            rope: None,
            delay: Span::from_millis(delay),
            at: None,
            history: None,
        };
        let turns = vec![turn(0), turn(0), turn(25), turn(0)];
        let mut load = Load::new(driver, address).of(1, 8);
        load.dataset = Arc::new(Ready::new([("c".to_owned(), turns)]));
        load.backs_off = true;
        let run = load.run();
        assert_eq!(run.ends(), [0, 8, 0, 0]);
        // The third turn's own delay is the longer one.
        let gaps: Vec<u64> = run.records.windows(2)
            .map(|pair| pair[1].times.scheduled.since(pair[0].times.end).nanos() / 1_000_000)
            .collect();
        assert_eq!(gaps, [10, 25, 40, 80, 160, 320, 640]);
        assert_eq!(rests(&run), rested(1, 6, 10 + 40 + 80 + 160 + (320 - 25) + 640));
    }

    fn an_open_loop_keeps_its_times(driver) {
        let (_socket, address) = nobody();
        let mut load = Load::new(driver, address).of(8, 40);
        load.pace = Pace::Rate(Arrivals::new(7, Pattern::Constant, RateProfile::constant(1_000.0)));
        load.backs_off = true;
        let run = load.run();
        assert_eq!((run.ends(), rests(&run)), ([0, 40, 0, 0], BackoffCounts::default()));
    }

    fn the_end_of_a_phase_and_a_stop_do_not_wait_for_rests(driver) {
        let (_socket, address) = nobody();
        let mut load = Load::new(driver, address).of(4, u64::MAX);
        load.backs_off = true;
        load.duration = Some(Span::from_millis(250));
        let run = load.run();
        let within = |run: &Run| {
            let BackoffCounts { slots, rested, .. } = rests(run);
            let wall = run.report.ended.since(run.report.started).nanos();
            slots == 4 && rested.nanos() <= slots * wall
        };
        assert!(run.counts.failed >= 4 && within(&run), "{:?}", rests(&run));
        load.duration = None;
        let mut session = Session::start(&load);
        session.begin(&load);
        session.until("nothing fails", |counts| counts.failed >= 12);
        session.stop();
        let run = session.finish();
        assert!(within(&run), "{:?}", rests(&run));
        assert!(run.records.iter().all(|record| {
            matches!(crate::failure(record), Some(Failure::Connect { .. }))
        }));
    }
}
