//! Planned hang-ups: who, when, and what becomes of the connection.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

use pinfire_base::{
    clock::{Span, Stamp},
    record::{Outcome, Record, Stage},
};
use pinfire_engine::plan::{DriverChoice, Precision, Reuse};
use pinfire_tests::{
    load::{Load, Run},
    mock::{Mock, by_id, id, instant, script, silent},
    on_both_drivers,
    raw::Raw,
    watchdog::watch,
};
use pinfire_tools::mock::Script;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn cancelled(run: &Run) -> Vec<u64> {
    let cancelled = run.ended(&Outcome::Cancelled);
    cancelled.iter().map(|record| record.index).collect()
}

fn planned(load: &Load) -> Vec<u64> {
    let plan = load.cancel_plan().unwrap();
    (0..load.requests)
        .filter(|&i| plan.delay(i).is_some())
        .collect()
}

/// A server and a load whose chosen requests have answers that never end, so that they are always
/// hung up on, while the others are answered at once.
fn endless_for_the_planned(
    driver: DriverChoice,
    concurrency: usize,
    requests: u64,
    delay: Span,
) -> (Mock, Load) {
    let mock = Mock::start(Script {
        ttft: Span::ZERO,
        itl: Span::from_millis(5),
        tokens: 1_000_000,
        ..script()
    });
    let load = Load::new(driver, mock.address()).of(concurrency, requests);
    let load = load.cancelling(35.0, delay);
    let plan = load.cancel_plan().unwrap();
    let body = |index| {
        let tokens = plan.delay(index).map_or(1, |_| 1_000_000);
        format!(
            r#"{{"messages":[],"model":"mock","stream":true,"max_completion_tokens":{tokens}}}"#
        )
    };
    let bodies = (0..requests)
        .map(|index| body(index).into_bytes())
        .collect();
    (mock, load.with_bodies(bodies))
}

fn stage(record: &Record) -> Stage {
    record.cancel.unwrap().done.unwrap().stage
}

on_both_drivers! {
    fn exactly_the_planned_ones_on_any_number_of_cores(driver) {
        let (mock, load) = endless_for_the_planned(driver, 40, 300, Span::from_millis(2));
        let one = load.run();
        let two = load.clone().on(&[0, 1]).run();
        assert_eq!(cancelled(&one), planned(&load));
        assert_eq!(cancelled(&two), planned(&load));
        assert!((50..150).contains(&cancelled(&one).len()));
        assert_eq!(mock.stop().0.aborted as usize, 2 * planned(&load).len());
        let cores: BTreeSet<u16> = two.records.iter().map(|record| record.core).collect();
        assert_eq!(cores.len(), 2);
    }

    fn never_early_at_any_precision(driver) {
        let mock = Mock::start(silent());
        for precision in [Precision::Sleep, Precision::Lead, Precision::Spin] {
            for micros in [1, 150, 1_000, 7_300] {
                let load = Load::new(driver, mock.address()).of(8, 24);
                let mut load = load.cancelling(100.0, Span::from_micros(micros));
                load.precision = precision;
                // `finish` compares each with its delay.
                let run = load.run();
                assert_eq!(run.ends(), [0, 0, 24, 0], "{precision:?} {micros}");
                assert!(run.records.iter().all(|r| stage(r) == Stage::Waiting));
            }
        }
    }

    fn never_early_as_the_server_sees_it(driver) {
        let mock = Mock::start(silent());
        let delay = Span::from_millis(10);
        let load = Load::new(driver, mock.address()).of(20, 60).cancelling(100.0, delay);
        let run = load.run();
        assert_eq!(run.ends(), [0, 0, 60, 0]);
        let (summary, lines) = mock.stop();
        assert_eq!(summary.aborted, 60);
        let lines = by_id(&lines);
        for record in &run.records {
            let line = lines[&*id(record)];
            let written = run.anchor.unix_nanos(record.times.written.unwrap());
            // The two sides pair their clocks with the wall by themselves.
            let slack = Span::from_micros(20);
            assert!(line.closed + slack.nanos() >= written + delay.nanos(), "{line:?}");
        }
    }

    fn a_connection_hung_up_on_is_never_used_again(driver) {
        let (mock, load) = endless_for_the_planned(driver, 10, 120, Span::from_millis(1));
        let run = load.run();
        assert_eq!(cancelled(&run), planned(&load));
        let (_, lines) = mock.stop();
        let by_id = by_id(&lines);
        assert_eq!(by_id.len(), 120);
        for record in run.ended(&Outcome::Cancelled) {
            let line = by_id[&*id(record)];
            let later = lines.iter().filter(|l| l.conn == line.conn && l.nth > line.nth);
            assert_eq!(later.count(), 0, "{line:?}");
            assert!(line.closed > 0 && line.done == 0, "{line:?}");
        }
        for record in run.ended(&Outcome::Complete) {
            let line = by_id[&*id(record)];
            assert!(line.done > 0 && line.how.is_empty(), "{line:?}");
        }
    }

    fn an_answer_before_the_deadline_is_complete(driver) {
        let mock = Mock::start(instant(3));
        let load = Load::new(driver, mock.address()).of(4, 40);
        // An hour: only a wrong deadline could cancel any of them.
        let run = load.cancelling(100.0, Span::from_secs_f64(3_600.0)).run();
        assert_eq!(run.ends(), [40, 0, 0, 0]);
        assert_eq!(run.connects(), 4);
        assert!(run.records.iter().all(|r| r.cancel.is_some_and(|c| c.done.is_none())));
    }

    fn a_stream_is_hung_up_on_in_its_middle(driver) {
        // Events for half a minute, a hang-up after 60 ms: some have come, not all.
        let mock = Mock::start(Script {
            ttft: Span::ZERO,
            itl: Span::from_millis(2),
            tokens: 15_000,
            ..script()
        });
        let load = Load::new(driver, mock.address()).of(5, 15);
        let mut load = load.cancelling(100.0, Span::from_millis(60));
        let _guard = watch("no stream ever began within 60 ms");
        let (mut begun, mut sent) = (0, 0);
        while begun == 0 {
            load.id_key += 1;
            let run = load.run();
            assert_eq!(run.ends(), [0, 0, 15, 0]);
            sent += 15;
            for record in run.records.iter().filter(|r| stage(r) == Stage::Streaming) {
                begun += 1;
                assert!(!record.transcript.marks().is_empty());
                assert_eq!(record.wire.status, 200);
            }
        }
        let (summary, lines) = mock.stop();
        assert_eq!(summary.aborted, sent);
        assert!(lines.iter().all(|line| line.sent < 15_000));
    }

    fn an_answer_before_the_whole_request_is_complete(driver) {
        let server = Raw::start(|conn| {
            conn.head();
            conn.send(OK);
            conn.until_client_leaves();
        });
        let load = Load::new(driver, server.address()).of(1, 4);
        let load = load.with_bodies(vec![vec![b' '; 64 << 20]]);
        let run = load.cancelling(100.0, Span::ZERO).run();
        assert_eq!(run.ends(), [4, 0, 0, 0]);
        // What was left of the request makes the connection worthless.
        assert_eq!(run.connects(), 4);
    }

    fn an_answer_in_the_receive_buffer_wins(driver) {
        // The server answers before it is asked. Where its bytes were there at T2, the core must
        // find them at its deadline, which is T2 too.
        let sent = Arc::new(Mutex::new(HashMap::new()));
        let theirs = Arc::clone(&sent);
        let server = Raw::start(move |conn| {
            conn.send(OK);
            let at = Stamp::now();
            if let Some(seen) = conn.request() {
                theirs.lock().unwrap().insert(seen.id, at);
            }
        });
        let _guard = watch("no answer ever came before T2");
        let (mut in_time, mut run_number) = (0, 0);
        while in_time < 20 {
            let mut load = Load::new(driver, server.address()).of(64, 128);
            load.reuse = Reuse::Never;
            run_number += 1;
            load.id_key = run_number;
            let run = load.cancelling(100.0, Span::ZERO).run();
            assert_eq!(run.counts.failed + run.counts.dropped, 0);
            let sent = sent.lock().unwrap();
            for record in &run.records {
                // A server thread that has not looked yet is no witness.
                let Some(&at) = sent.get(&id(record)) else { continue };
                if at + Span::from_millis(1) < record.times.written.unwrap() {
                    assert_eq!(record.outcome, Outcome::Complete, "{record:?}");
                    in_time += 1;
                }
            }
        }
    }
}
