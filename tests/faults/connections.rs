//! Connections that are not there, or not any more.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use pinfire_base::{
    clock::Span,
    record::{Failure, Stage},
};
use pinfire_tests::{
    load::{Load, Run, Session},
    mock::{Mock, instant},
    on_both_drivers,
    raw::{Raw, nobody},
    sockets::until,
};
use pinfire_tools::mock::Script;
use socket2::{Domain, Socket, Type};

use super::{OK, failure, failures};

const ECONNREFUSED: i32 = 111;

/// Of 40 requests every second one of a connection fails; at the end of the run at most 4
/// connections have had only one.
fn each_connection_answers_once(run: &Run) {
    let [finished, failed, cancelled, dropped] = run.ends();
    assert_eq!((finished + failed, cancelled, dropped), (40, 0, 0));
    assert!(
        finished >= failed && finished - failed <= 4,
        "{:?}",
        run.ends()
    );
    assert_eq!(run.connects(), finished);
}

on_both_drivers! {
    fn nothing_listens(driver) {
        let (_socket, address) = nobody();
        for cpus in [&[0][..], &[0, 1]] {
            let load = Load::new(driver, address).of(10, 200).on(cpus);
            let run = load.cancelling(50.0, Span::ZERO).run();
            assert_eq!(run.ends(), [0, 200, 0, 0]);
            assert_eq!(run.counts.sent, 0);
            let refused = Failure::Connect { errno: ECONNREFUSED };
            assert!(failures(&run).iter().all(|failure| **failure == refused));
            assert!(run.records.iter().all(|record| record.times.connected.is_none()));
        }
    }

    fn a_listener_whose_backlog_is_full(driver) {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let run = Load::new(driver, address).of(6, 6).timing_out(300).run();
        assert_eq!(run.ends(), [0, 6, 0, 0]);
        let connecting = Failure::Timeout { stage: Stage::Connecting };
        let waiting = Failure::Timeout { stage: Stage::Waiting };
        let (fails, mut stuck) = (failures(&run), 0);
        for failure in &fails {
            assert!(**failure == connecting || **failure == waiting, "{failure:?}");
            stuck += usize::from(**failure == connecting);
        }
        assert!(stuck > 0, "{fails:?}");
    }

    fn accepted_and_closed_at_once(driver) {
        let server = Raw::start(|_| {});
        let run = Load::new(driver, server.address()).of(5, 50).run();
        assert_eq!(run.ends(), [0, 50, 0, 0]);
        for failure in failures(&run) {
            // Whether the close, its answer to our bytes or our send comes first is a race.
            assert!(
                matches!(
                    failure,
                    Failure::NoResponse | Failure::Reset { .. } | Failure::Send { .. }
                ),
                "{failure:?}"
            );
        }
        assert_eq!(run.connects(), 50);
    }

    fn accepted_and_reset_at_once(driver) {
        let server = Raw::start(|conn| conn.reset());
        let run = Load::new(driver, server.address()).of(5, 50).run();
        assert_eq!(run.ends(), [0, 50, 0, 0]);
        for failure in failures(&run) {
            assert!(
                matches!(
                    failure,
                    Failure::Connect { .. } | Failure::Reset { .. } | Failure::Send { .. }
                ),
                "{failure:?}"
            );
        }
    }

    fn a_connection_closed_while_idle_costs_no_request(driver) {
        // Each wave is answered and then closed; the next begins when the engine has closed its
        // ends.
        let (closing, closed) = mpsc::channel();
        let server = Raw::start(move |conn| {
            if conn.request().is_some() {
                conn.send(OK);
                conn.fin();
                conn.until_client_leaves();
                let _ = closing.send(());
            }
        });
        let load = Load::new(driver, server.address()).of(8, 8);
        let mut session = Session::start(&load);
        for _ in 0..3 {
            let run = session.run(&load);
            assert_eq!(run.ends(), [8, 0, 0, 0]);
            for _ in 0..8 {
                closed.recv_timeout(Duration::from_secs(60)).unwrap();
            }
        }
        assert!(server.seen().iter().all(|seen| seen.nth == 0));
    }

    fn the_mock_closing_its_idle_ones(driver) {
        let mock = Mock::start(Script {
            idle_close: Some(Span::from_millis(5)),
            ..instant(1)
        });
        let load = Load::new(driver, mock.address()).of(6, 6);
        let mut session = Session::start(&load);
        assert_eq!(session.run(&load).ends(), [6, 0, 0, 0]);
        // Until the engine has seen every close there may be something to be reused.
        let port = mock.address().port();
        until("idle connections stay open", |rows| {
            rows.iter().all(|row| row.peer_port != port)
        });
        let again = session.run(&load);
        assert_eq!(again.ends(), [6, 0, 0, 0]);
        assert_eq!(again.connects(), 6);
        assert!(again.records.iter().all(|record| !record.wire.reused));
    }

    fn a_server_that_closes_upon_the_next_request(driver) {
        // Each connection answers once; the next request on it is read and then refused by a close.
        let server = Raw::start(|conn| {
            if conn.request().is_some() {
                conn.send(OK);
                conn.request();
            }
        });
        let run = Load::new(driver, server.address()).of(4, 40).run();
        each_connection_answers_once(&run);
        assert!(failures(&run).iter().all(|failure| **failure == Failure::Stale));
        assert!(run.records.iter().all(|r| r.wire.reused == failure(r).is_some()));
        // No retries: the server saw every id once.
        let mut ids: Vec<String> = server.seen().into_iter().map(|seen| seen.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((server.seen().len(), ids.len()), (40, 40));
    }

    fn a_server_that_resets_upon_the_next_request(driver) {
        let server = Raw::start(|conn| {
            if conn.request().is_some() {
                conn.send(OK);
                conn.request();
                conn.reset();
            }
        });
        let run = Load::new(driver, server.address()).of(4, 40).run();
        each_connection_answers_once(&run);
        assert!(failures(&run).iter().all(|failure| **failure == Failure::Stale));
        assert_eq!(server.seen().len(), 40);
    }

    fn a_reset_in_the_middle_of_a_large_request(driver) {
        // The first request of a connection is read whole, of the second only the head.
        let server = Raw::start(|conn| {
            conn.hold_little();
            if conn.request().is_some() {
                conn.send(OK);
                conn.head();
                conn.reset();
            }
        });
        let load = Load::new(driver, server.address()).of(2, 12);
        let run = load.with_bodies(vec![vec![b' '; 8 << 20]]).run();
        let [finished, failed, ..] = run.ends();
        assert_eq!(finished + failed, 12);
        assert!(failed >= 5, "{:?}", run.ends());
        for record in run.records.iter().filter(|record| failure(record).is_some()) {
            assert_eq!(failure(record), Some(&Failure::Stale), "{record:?}");
            assert!(record.times.written.is_none() && record.wire.reused);
        }
    }

    fn a_server_that_goes_away_and_comes_back(driver) {
        let alive = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&alive);
        let server = Raw::start(move |conn| {
            let ours = counted.fetch_add(1, Ordering::Relaxed);
            while conn.request().is_some() {
                // Connections 4 to 11 are dropped with their first request.
                if (4..12).contains(&ours) {
                    return;
                }
                conn.send(OK);
                if ours < 4 {
                    return;
                }
            }
        });
        let run = Load::new(driver, server.address()).of(4, 60).run();
        assert_eq!(run.counts.failed + run.counts.finished, 60);
        assert!(run.counts.failed >= 8 && run.counts.finished >= 40, "{:?}", run.counts);
    }

    fn one_bad_server_does_not_spoil_the_next_phase(driver) {
        let (_socket, address) = nobody();
        let broken = Load::new(driver, address).of(8, 80);
        let mut session = Session::start(&broken);
        assert_eq!(session.run(&broken).ends(), [0, 80, 0, 0]);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        drop(listener);
        let mock = Mock::start(instant(1));
        let good = Load::new(driver, mock.address()).of(8, 80);
        assert_eq!(session.run(&good).ends(), [80, 0, 0, 0]);
    }
}
