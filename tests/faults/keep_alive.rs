//! Connections that rest: one that its server is about to close carries no further request.

use std::{thread::sleep, time::Duration};

use pinfire_base::record::Outcome;
use pinfire_tests::{
    load::{Load, Run, Session},
    on_both_drivers,
    raw::Raw,
};

use super::OK;

fn expired(run: &Run) -> u64 {
    run.report
        .cores
        .iter()
        .map(|core| core.health.expired_closed)
        .sum()
}

fn keeping(header: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: {header}\r\n\r\nok").into_bytes()
}

on_both_drivers! {
    fn what_the_server_promises_is_not_used_to_the_end(driver) {
        for (header, reused) in [("timeout=60", true), ("timeout=1, max=100", false)] {
            let server = Raw::answering(keeping(header));
            let load = Load::new(driver, server.address()).of(3, 3);
            let mut session = Session::start(&load);
            assert_eq!(session.run(&load).connects(), 3);
            // The server keeps them all the same.
            sleep(Duration::from_millis(920));
            let again = session.run(&load);
            assert_eq!(again.ends(), [3, 0, 0, 0]);
            assert!(again.records.iter().all(|record| record.wire.reused == reused));
            let new = if reused { (0, 0) } else { (3, 3) };
            assert_eq!((expired(&again), again.connects()), new, "{header}");
        }
    }

    fn a_connection_that_is_not_kept_at_all_is_not_reused(driver) {
        let server = Raw::answering(keeping("timeout=0"));
        let run = Load::new(driver, server.address()).of(2, 10).run();
        assert_eq!((run.ends(), run.connects()), ([10, 0, 0, 0], 10));
    }

    fn what_the_server_does_is_learned(driver) {
        const KEPT: Duration = Duration::from_millis(200);
        // It closes what has rested for 200 ms, and does not say so.
        let server = Raw::start(|conn| {
            conn.limit_reads(KEPT);
            while conn.request().is_some() {
                conn.send(OK);
            }
        });
        let load = Load::new(driver, server.address()).of(1, 1);
        let mut session = Session::start(&load);
        // Two closes teach it; a busy machine may need some more.
        for _ in 0..60 {
            session.run(&load);
            sleep(KEPT * 2);
            session.run(&load);
            sleep(KEPT * 95 / 100);
            let run = session.run(&load);
            // Either it was known, or the close came before the request, or both crossed.
            if expired(&run) == 1 {
                assert_eq!(run.ended(&Outcome::Complete).len(), 1);
                assert!(!run.records[0].wire.reused);
                return;
            }
        }
        panic!("it is never learned");
    }
}
