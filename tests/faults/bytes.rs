//! Answers that no decent server sends, byte by byte from a raw one.

use std::time::Duration;

use pinfire_base::{
    clock::Span,
    record::{Failure, MarkKind, Outcome, Stage},
};
use pinfire_engine::plan::DriverChoice;
use pinfire_tests::{
    load::{Load, Run},
    on_both_drivers,
    raw::Raw,
};

use super::{OK, failure, failures};

/// Each connection gets one good answer and then the bad one, after which it is closed in order.
fn good_then(driver: DriverChoice, bad: &[u8]) -> (Run, usize) {
    let bad = bad.to_vec();
    let server = Raw::start(move |conn| {
        while let Some(seen) = conn.request() {
            if seen.nth == 1 {
                conn.send(&bad);
                return;
            }
            conn.send(OK);
        }
    });
    let run = Load::new(driver, server.address()).of(3, 24).run();
    let seen = server.seen();
    assert_eq!(seen.len(), 24, "a request was lost or sent twice");
    let bad = seen.iter().filter(|seen| seen.nth == 1).count();
    (run, bad)
}

/// Every second request of a connection ends with this failure; the others are answered.
fn fails(driver: DriverChoice, bad: &[u8], expected: impl Fn(u64) -> Failure) {
    let (run, bad_ones) = good_then(driver, bad);
    assert!(bad_ones >= 9);
    assert_eq!(run.ends(), [24 - bad_ones as u64, bad_ones as u64, 0, 0]);
    for record in run.records.iter().filter(|r| failure(r).is_some()) {
        assert!(record.wire.reused);
        assert_eq!(failure(record), Some(&expected(record.wire.body_received)));
    }
}

fn framing(offset: u64, cause: &'static str) -> impl Fn(u64) -> Failure {
    move |_| Failure::Framing { offset, cause }
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

on_both_drivers! {
    fn heads(driver) {
        let not_http = "the response is not HTTP/1.1";
        fails(driver, b"SSH-2.0-OpenSSH_9.6\r\n\r\n", framing(0, not_http));
        fails(driver, b"HTTP/1.1 2x0 OK\r\n\r\n", framing(0, not_http));
        fails(driver, b"HTTP/1.1 200 OK\r\nContent-Le", |_| Failure::TruncatedHead);
        fails(driver, b"H", |_| Failure::TruncatedHead);
        fails(
            driver,
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            framing(0, "the response has an invalid Content-Length"),
        );
        fails(
            driver,
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            framing(0, "the server switched to another protocol"),
        );
    }

    fn nothing_at_all(driver) {
        // On a connection that had served: stale. On a new one: no response.
        fails(driver, b"", |_| Failure::Stale);
        let server = Raw::start(|conn| {
            conn.request();
        });
        let run = Load::new(driver, server.address()).of(3, 9).run();
        assert_eq!(run.ends(), [0, 9, 0, 0]);
        assert!(failures(&run).iter().all(|failure| **failure == Failure::NoResponse));
        assert_eq!(server.seen().len(), 9);
    }

    fn chunks(driver) {
        let head = CHUNKED.len() as u64;
        let size = "the response has an invalid chunk size";
        let end = "a chunk of the response is longer than its size says";
        fails(driver, format!("{CHUNKED}zz\r\n").as_bytes(), framing(head, size));
        fails(driver, format!("{CHUNKED}2\r\nokX").as_bytes(), framing(head + 5, end));
        for cut in ["5\r\nhel", "5\r\nhello\r\n", "5\r\nhello\r\n0\r\n", "", "5"] {
            let answer = format!("{CHUNKED}{cut}");
            fails(driver, answer.as_bytes(), |body_bytes| {
                Failure::TruncatedBody { body_bytes, errno: 0 }
            });
        }
    }

    fn a_length_that_is_not_kept(driver) {
        let short = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
        fails(driver, short, |_| Failure::TruncatedBody { body_bytes: 5, errno: 0 });
    }

    fn huge_and_endless_heads(driver) {
        let large = format!("HTTP/1.1 200 OK\r\nX: {}\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "x".repeat(60_000));
        let (run, _) = good_then(driver, large.as_bytes());
        assert_eq!(run.ends(), [24, 0, 0, 0], "60 kB are allowed");
        let cause = "the response head is larger than 64 KiB or has more than 128 headers";
        let huge = large.replace("X: ", &format!("X: {}", "x".repeat(10_000)));
        fails(driver, huge.as_bytes(), framing(0, cause));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(129));
        fails(driver, many.as_bytes(), framing(0, cause));
        // It never ends; the client must.
        let server = Raw::start(|conn| {
            if conn.request().is_some() {
                conn.send(b"HTTP/1.1 200 OK\r\n");
                for _ in 0..20_000 {
                    conn.send(format!("X: {}\r\n", "x".repeat(1_000)).as_bytes());
                }
            }
        });
        let run = Load::new(driver, server.address()).of(2, 4).run();
        assert_eq!(run.ends(), [0, 4, 0, 0]);
        assert!(failures(&run).iter().all(|f| **f == framing(0, cause)(0)), "{run:?}");
    }

    fn interim_heads_are_skipped(driver) {
        let server = Raw::answering([
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
            OK,
        ].concat());
        let run = Load::new(driver, server.address()).run();
        assert_eq!(run.ends(), [20, 0, 0, 0]);
        assert_eq!(run.connects(), 4);
        assert!(run.records.iter().all(|record| record.wire.status == 200));
    }

    fn bytes_after_the_answer_cost_only_the_connection(driver) {
        let server = Raw::answering([OK, b"HTTP/1.1 200 OK\r\n"].concat());
        let run = Load::new(driver, server.address()).of(3, 12).run();
        // The extra bytes come with the answer or after it; none may be taken for the next one's.
        assert_eq!(run.ends(), [12, 0, 0, 0]);
        assert!(run.records.iter().all(|record| record.wire.body_received == 2));
        assert!(server.seen().iter().all(|seen| seen.nth == 0), "{:?}", server.seen());
    }

    fn an_answer_in_crumbs(driver) {
        let stream = "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Gr\u{fc}\u{df}e\"}}]}\r\n\r\n";
        let stream = format!("{stream}: ping\n\n{stream}data: [DONE]\n\n");
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\
             \r\n{:x};a=b\r\n{stream}\r\n0\r\nTrailer: x\r\n\r\n",
            stream.len(),
        );
        let server = Raw::start(move |conn| {
            while conn.request().is_some() {
                conn.send_in_pieces(answer.as_bytes(), 1, Duration::from_micros(20));
            }
        });
        let run = Load::new(driver, server.address()).of(2, 6).run();
        assert_eq!(run.ends(), [6, 0, 0, 0]);
        assert_eq!(run.connects(), 2);
        for record in &run.records {
            let kinds: Vec<_> = record.transcript.iter().map(|b| (b.kind, b.bytes)).collect();
            let content = (MarkKind::Content, "Gr\u{fc}\u{df}e".as_bytes());
            assert_eq!(kinds, [content, content, (MarkKind::Done, b"")]);
        }
    }

    fn an_early_answer_to_a_large_request(driver) {
        let server = Raw::start(|conn| {
            if conn.head().is_some() {
                conn.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig");
                conn.until_client_leaves();
            }
        });
        let load = Load::new(driver, server.address()).of(2, 6);
        let run = load.with_bodies(vec![vec![b' '; 32 << 20]]).run();
        assert_eq!(run.ends(), [6, 0, 0, 0]);
        assert_eq!(run.connects(), 6, "half a request makes a connection worthless");
        for record in &run.records {
            assert_eq!(record.wire.status, 413);
            assert_eq!(record.times.written, None);
            assert!(record.wire.body_sent < 32 << 20);
        }
    }

    fn a_server_that_stops_reading_meets_the_time_limit(driver) {
        let server = Raw::start(|conn| {
            conn.head();
            std::thread::sleep(Duration::from_secs(20));
        });
        let load = Load::new(driver, server.address()).of(4, 4).timing_out(2_000);
        let load = load.with_bodies(vec![vec![b' '; 32 << 20]]);
        let run = load.cancelling(100.0, Span::ZERO).run();
        assert_eq!(run.ends(), [0, 4, 0, 0]);
        let expected = Outcome::Failed(Failure::Timeout { stage: Stage::Sending });
        assert!(run.records.iter().all(|record| record.outcome == expected));
    }
}
