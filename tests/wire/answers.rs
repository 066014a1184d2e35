//! Whole answers: their events, their connections.

use std::collections::BTreeMap;

use pinfire_base::record::{MarkKind, Outcome, Record};
use pinfire_engine::plan::Reuse;
use pinfire_tests::{
    load::{Load, body},
    mock::{Mock, by_id, id, instant, script},
    on_both_drivers,
    raw::Raw,
};
use pinfire_tools::mock::{Framing, LineEnd, Script};

fn kinds(record: &Record) -> Vec<MarkKind> {
    record.transcript.marks().iter().map(|m| m.kind).collect()
}

fn contents(record: &Record) -> usize {
    let content = |kind: &&MarkKind| **kind == MarkKind::Content;
    kinds(record).iter().filter(content).count()
}

on_both_drivers! {
    fn a_stream_gives_its_events(driver) {
        let mock = Mock::start(script());
        let run = Load::new(driver, mock.address()).of(4, 20).run();
        assert_eq!(run.ends(), [20, 0, 0, 0]);
        let (_, lines) = mock.stop();
        let lines = by_id(&lines);
        assert_eq!(lines.len(), 20);
        for record in &run.records {
            let times = record.times;
            assert_eq!(contents(record), 8, "{record:?}");
            assert_eq!(kinds(record).last(), Some(&MarkKind::Done));
            assert_eq!(record.wire.status, 200);
            assert!(record.wire.event_stream);
            assert!(times.written <= times.head && times.head <= times.body_first);
            assert_eq!(times.body_last, Some(times.end));
            assert_eq!(lines[&*id(record)].sent, 8);
        }
    }

    fn any_framing_of_a_stream_gives_the_same_events(driver) {
        for framing in [Framing::ChunkPerEvent, Framing::ChunkPerWrite, Framing::UntilClose] {
            for line_end in [LineEnd::Lf, LineEnd::CrLf, LineEnd::Cr] {
                let mock = Mock::start(Script {
                    framing,
                    line_end,
                    comment_every: 2,
                    pieces: 3,
                    ..script()
                });
                let run = Load::new(driver, mock.address()).of(3, 6).run();
                assert_eq!(run.ends(), [6, 0, 0, 0], "{framing:?} {line_end:?}");
                for record in &run.records {
                    assert_eq!(contents(record), 8, "{framing:?} {line_end:?}");
                    assert_eq!(kinds(record).last(), Some(&MarkKind::Done));
                }
                // A body that ends with its connection costs one connection each.
                let expected = if framing == Framing::UntilClose { 6 } else { 3 };
                assert_eq!(run.connects(), expected, "{framing:?}");
            }
        }
    }

    fn a_plain_answer_is_one_body(driver) {
        let mock = Mock::start(script());
        let load = Load::new(driver, mock.address()).with_bodies(vec![body(false)]);
        let run = load.run();
        assert_eq!(run.ends(), [20, 0, 0, 0]);
        for record in &run.records {
            assert_eq!(kinds(record), [MarkKind::Body]);
            assert!(!record.wire.event_stream);
            let body = record.transcript.iter().next().unwrap();
            let json: serde_json::Value = serde_json::from_slice(body.bytes).unwrap();
            assert_eq!(json["usage"]["completion_tokens"], 8);
            assert_eq!(record.wire.body_received, body.bytes.len() as u64);
        }
    }

    fn connections_are_kept(driver) {
        let mock = Mock::start(instant(2));
        let run = Load::new(driver, mock.address()).of(5, 200).run();
        assert_eq!(run.ends(), [200, 0, 0, 0]);
        let fresh = run.records.iter().filter(|r| !r.wire.reused).count();
        assert_eq!((run.connects(), fresh), (5, 5));
        let (summary, lines) = mock.stop();
        // The one more asked whether all had left; it may have had to ask often.
        assert!(summary.connections >= 6);
        let mut per_conn: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for line in &lines {
            per_conn.entry(line.conn).or_default().push(line.nth);
        }
        assert_eq!(per_conn.len(), 5);
        for nths in per_conn.values() {
            assert_eq!(*nths, (0..nths.len() as u64).collect::<Vec<_>>());
        }
    }

    fn never_reusing_takes_a_connection_each(driver) {
        let mock = Mock::start(instant(2));
        let mut load = Load::new(driver, mock.address()).of(5, 60);
        load.reuse = Reuse::Never;
        let run = load.run();
        assert_eq!(run.ends(), [60, 0, 0, 0]);
        assert_eq!(run.connects(), 60);
        assert!(run.records.iter().all(|r| !r.wire.reused && r.times.connected.is_some()));
        let (_, lines) = mock.stop();
        let conns: std::collections::BTreeSet<u64> = lines.iter().map(|l| l.conn).collect();
        assert_eq!(conns.len(), 60);
        assert!(lines.iter().all(|line| line.nth == 0));
    }

    fn a_server_that_says_close_is_not_reused(driver) {
        let server = Raw::answering(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        );
        let run = Load::new(driver, server.address()).of(3, 12).run();
        assert_eq!(run.ends(), [12, 0, 0, 0]);
        assert_eq!(run.connects(), 12);
        assert!(server.seen().iter().all(|seen| seen.nth == 0));
    }

    fn answers_without_a_byte_are_complete(driver) {
        for answer in [
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ] {
            let server = Raw::answering(answer);
            let run = Load::new(driver, server.address()).of(2, 8).run();
            assert_eq!(run.ends(), [8, 0, 0, 0], "{answer}");
            assert_eq!(run.connects(), 2, "{answer}");
            for record in run.ended(&Outcome::Complete) {
                assert_eq!(record.wire.body_received, 0);
                assert_eq!((record.times.body_first, record.times.body_last), (None, None));
                assert_eq!(record.times.head, Some(record.times.end));
            }
        }
    }

    fn a_body_of_no_bytes_can_be_sent(driver) {
        let server = Raw::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        let load = Load::new(driver, server.address());
        let run = load.with_bodies(vec![Vec::new(), b"{}".to_vec()]).run();
        assert_eq!(run.ends(), [20, 0, 0, 0]);
        let bodies: Vec<usize> = server.seen().iter().map(|seen| seen.body).collect();
        assert_eq!(bodies.iter().filter(|&&body| body == 0).count(), 10);
        assert_eq!(bodies.iter().sum::<usize>(), 20);
    }

    fn large_bodies_arrive_whole(driver) {
        let mock = Mock::start(instant(1));
        let bodies = vec![
            pinfire_tests::load::large_body(8 << 20),
            pinfire_tests::load::large_body(300),
        ];
        let run = Load::new(driver, mock.address()).of(2, 6).with_bodies(bodies).run();
        assert_eq!(run.ends(), [6, 0, 0, 0]);
        let (_, lines) = mock.stop();
        let lines = by_id(&lines);
        for record in &run.records {
            assert_eq!(lines[&*id(record)].body, record.wire.body_sent);
            assert_eq!(record.wire.body_sent, [8 << 20, 300][record.index as usize % 2]);
        }
    }
}
