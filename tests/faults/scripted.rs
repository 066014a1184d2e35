//! Faults that the mock plays, one request in a few, so that the others show that the run goes on.

use pinfire_base::{
    clock::Span,
    record::{Failure, MarkKind, Record, Stage},
};
use pinfire_engine::plan::DriverChoice;
use pinfire_tests::{
    load::{Load, Run, body},
    mock::{Mock, by_id, id, script},
    on_both_drivers,
};
use pinfire_tools::mock::{Fault, FaultRule, Script, When};

use super::{failure, failures};

const ECONNRESET: i32 = 104;

fn one_in(n: u64, fault: Fault) -> Script {
    let when = When::Every(n);
    Script {
        faults: vec![FaultRule { fault, when }],
        ..script()
    }
}

/// 30 requests, every third with the fault; what the log says of each failed one.
fn third(driver: DriverChoice, fault: Fault) -> Run {
    let mock = Mock::start(one_in(3, fault));
    let run = Load::new(driver, mock.address()).of(4, 30).run();
    let (_, lines) = mock.stop();
    // No retries: the server saw each request once, and each failure is one it made.
    let lines = by_id(&lines);
    assert_eq!(lines.len(), 30);
    for record in &run.records {
        let line = lines[&*id(record)];
        let faulty = ["server-rst", "server-fin"].contains(&&*line.how);
        assert_eq!(failure(record).is_some(), faulty, "{line:?} {record:?}");
    }
    run
}

fn contents(record: &Record) -> usize {
    let marks = record.transcript.marks().iter();
    marks.filter(|mark| mark.kind == MarkKind::Content).count()
}

on_both_drivers! {
    fn reset_instead_of_a_head(driver) {
        let run = third(driver, Fault::ResetHead);
        assert_eq!(run.ends(), [20, 10, 0, 0]);
        for record in run.records.iter().filter(|r| failure(r).is_some()) {
            // On a connection that had served before, a close without a byte is a stale one.
            let expected = if record.wire.reused {
                Failure::Stale
            } else {
                Failure::Reset { errno: ECONNRESET }
            };
            assert_eq!(failure(record), Some(&expected));
            assert_eq!((record.wire.status, record.times.head), (0, None));
        }
    }

    fn reset_in_the_stream(driver) {
        for events in [1, 3] {
            let run = third(driver, Fault::ResetAfter(events));
            assert_eq!(run.ends(), [20, 10, 0, 0]);
            for record in run.records.iter().filter(|r| failure(r).is_some()) {
                match failure(record) {
                    // A reset may overtake the bytes before it.
                    Some(&Failure::TruncatedBody { body_bytes, errno }) => {
                        assert_eq!(errno, ECONNRESET);
                        assert_eq!(body_bytes, record.wire.body_received);
                    }
                    Some(Failure::Reset { .. } | Failure::Stale) => {}
                    other => panic!("{other:?}"),
                }
                assert!(contents(record) <= events as usize);
            }
        }
    }

    fn an_orderly_close_in_the_stream(driver) {
        let run = third(driver, Fault::CutAfter(2));
        assert_eq!(run.ends(), [20, 10, 0, 0]);
        for record in run.records.iter().filter(|r| failure(r).is_some()) {
            let body_bytes = record.wire.body_received;
            let expected = Failure::TruncatedBody { body_bytes, errno: 0 };
            assert_eq!(failure(record), Some(&expected));
            assert_eq!(contents(record), 2, "what came before is kept");
        }
    }

    fn a_server_that_stalls_meets_the_time_limit(driver) {
        for (fault, stage) in [
            (Fault::StallHead, Stage::Waiting),
            (Fault::StallAfter(2), Stage::Streaming),
        ] {
            let mock = Mock::start(one_in(3, fault));
            let load = Load::new(driver, mock.address()).of(10, 30).timing_out(3_000);
            let run = load.run();
            let (summary, lines) = mock.stop();
            assert_eq!(by_id(&lines).len(), 30);
            assert_eq!(run.ends(), [20, 10, 0, 0], "{fault:?}");
            assert_eq!(summary.aborted, 10);
            for record in run.records.iter().filter(|r| failure(r).is_some()) {
                assert_eq!(failure(record), Some(&Failure::Timeout { stage }));
                let limit = Span::from_millis(3_000);
                assert!(record.times.end.since(record.times.start) >= limit, "early");
            }
        }
    }

    fn the_time_limit_comes_before_a_later_cancel(driver) {
        let mock = Mock::start(one_in(1, Fault::StallHead));
        let load = Load::new(driver, mock.address()).of(4, 8).timing_out(300);
        let run = load.cancelling(100.0, Span::from_secs_f64(50.0)).run();
        assert_eq!(run.ends(), [0, 8, 0, 0]);
        let timed_out = |failure: &&Failure| matches!(failure, Failure::Timeout { .. });
        assert!(failures(&run).iter().all(timed_out));
    }

    fn error_statuses_are_answers(driver) {
        for (status, stream) in [(500, true), (429, true), (429, false), (503, false)] {
            let mock = Mock::start(one_in(2, Fault::Status(status)));
            let load = Load::new(driver, mock.address()).with_bodies(vec![body(stream)]);
            let run = load.run();
            assert_eq!(run.ends(), [20, 0, 0, 0]);
            let wrong = run.records.iter().filter(|r| r.wire.status == status);
            assert_eq!(wrong.clone().count(), 10);
            for record in wrong {
                let all: Vec<_> = record.transcript.iter().collect();
                assert_eq!(all.len(), 1);
                assert_eq!(all[0].kind, MarkKind::Body);
                let json: serde_json::Value = serde_json::from_slice(all[0].bytes).unwrap();
                assert!(json["error"].is_object(), "{json}");
            }
            assert_eq!(by_id(&mock.stop().1).len(), 20);
        }
    }

    fn bytes_that_are_not_http(driver) {
        let mock = Mock::start(one_in(3, Fault::Garbage));
        let run = Load::new(driver, mock.address()).of(4, 30).run();
        assert_eq!(run.ends(), [20, 10, 0, 0]);
        for failure in failures(&run) {
            let &Failure::Framing { offset, cause } = failure else { panic!("{failure:?}") };
            assert_eq!((offset, cause), (0, "the response is not HTTP/1.1"));
        }
        assert_eq!(by_id(&mock.stop().1).len(), 30);
    }

    fn broken_events_are_kept_for_the_analysis(driver) {
        for (fault, kind) in [
            (Fault::BadJson(2), MarkKind::Data),
            (Fault::ErrorData(2), MarkKind::Data),
            (Fault::ErrorEvent(2), MarkKind::ErrorEvent),
        ] {
            let mock = Mock::start(one_in(1, fault));
            let run = Load::new(driver, mock.address()).run();
            assert_eq!(run.ends(), [20, 0, 0, 0], "{fault:?}");
            for record in &run.records {
                let odd = record.transcript.iter().find(|body| body.kind == kind);
                assert!(odd.is_some_and(|body| !body.bytes.is_empty()), "{fault:?} {record:?}");
            }
        }
    }

    fn empty_answers_are_complete(driver) {
        for fault in [Fault::Empty, Fault::NoTokens] {
            let mock = Mock::start(one_in(1, fault));
            let run = Load::new(driver, mock.address()).run();
            assert_eq!(run.ends(), [20, 0, 0, 0], "{fault:?}");
            assert!(run.records.iter().all(|record| contents(record) == 0));
        }
    }
}
