//! Bodies that never end: what is kept of them is bounded.

use pinfire_base::{
    limits::{ERROR_BODY_BYTES, ERROR_BODY_KEPT},
    record::{Failure, MarkKind},
};
use pinfire_tests::{load::Load, on_both_drivers, raw::Raw};

use super::failures;

on_both_drivers! {
    fn an_error_body_without_an_end_is_left_after_a_while(driver) {
        const HEADS: [(u16, &str); 4] = [
            (500, "500 Oops\r\nContent-Type: text/plain"),
            (401, "401 Unauthorized\r\nContent-Type: text/event-stream"),
            (429, "429 Slow\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json"),
            (302, "302 Found\r\nLocation: /x\r\nContent-Length: 99999999999"),
        ];
        let server = Raw::start(|conn| {
            if conn.request().is_some() {
                let (_, head) = HEADS[conn.number % HEADS.len()];
                conn.send(format!("HTTP/1.1 {head}\r\n\r\n").as_bytes());
                let chunk = if head.contains("chunked") { "10000\r\n" } else { "" };
                let end = if chunk.is_empty() { "" } else { "\r\n" };
                let piece = format!("{chunk}{}{end}", "x".repeat(64 * 1024));
                // The client leaves long before that.
                for _ in 0..4_096 {
                    conn.send(piece.as_bytes());
                }
            }
        });
        let run = Load::new(driver, server.address()).of(8, 16).run();
        assert_eq!(run.ends(), [0, 16, 0, 0]);
        let cause = "the error response is larger than 1 MiB";
        for failure in failures(&run) {
            assert!(matches!(failure, Failure::Framing { cause: why, .. } if *why == cause));
        }
        for (status, _) in HEADS {
            let of_it = run.records.iter().filter(|record| record.wire.status == status);
            assert_eq!(of_it.count(), 4, "{status}");
        }
        for record in &run.records {
            let kept = record.transcript.iter().next().unwrap();
            assert_eq!((kept.kind, kept.bytes.len()), (MarkKind::Body, ERROR_BODY_KEPT));
            assert!(record.wire.body_received as usize <= ERROR_BODY_BYTES + 64 * 1024);
        }
    }

    fn a_long_error_body_is_read_to_its_end_and_kept_in_part(driver) {
        let mut answer = b"HTTP/1.1 500 Oops\r\nContent-Length: 300000\r\n\r\n".to_vec();
        answer.resize(answer.len() + 300_000, b'x');
        let server = Raw::answering(answer);
        let run = Load::new(driver, server.address()).of(2, 6).run();
        assert_eq!((run.ends(), run.connects()), ([6, 0, 0, 0], 2));
        for record in &run.records {
            assert_eq!(record.wire.body_received, 300_000);
            assert_eq!(record.transcript.byte_len(), ERROR_BODY_KEPT);
        }
    }
}
