//! TLS, against the mock.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    thread,
};

use pinfire_base::{
    clock::Span,
    record::{Failure, Outcome},
};
use pinfire_engine::plan::Reuse;
use pinfire_tests::{
    binary::{Ended, profile},
    load::{Load, large_body},
    mock::{Mock, by_id, id, instant, script, silent},
    on_both_drivers,
    tls::Identity,
};

fn failure(run: &pinfire_tests::load::Run) -> &Failure {
    match &run.records[0].outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

/// A server that takes a first message, says this and closes.
fn saying(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = client.read(&mut [0; 4096]);
            let _ = client.write_all(bytes);
        }
    });
    address
}

on_both_drivers! {
    fn streams_arrive_whole(driver) {
        let identity = Identity::new();
        let mock = Mock::start(identity.shown(script()));
        let load = Load::new(driver, mock.address()).of(20, 200);
        let run = load.over(identity.trusted()).run();
        assert_eq!(run.ends(), [200, 0, 0, 0]);
        assert_eq!(run.connects(), 20);
        for record in &run.records {
            // Head, role and all eight tokens, each stamped; the handshake on new connections only.
            assert!(record.transcript.marks().len() >= 8, "{record:?}");
            assert!(record.times.body_last >= record.times.body_first);
            assert_eq!(record.times.secured.is_some(), !record.wire.reused);
        }
        let stamps = run.stamps();
        assert!(stamps.kernel > 0 && stamps.user == 0, "{stamps:?}");
        let (summary, lines) = mock.stop();
        assert_eq!((summary.served, by_id(&lines).len()), (200, 200));
    }

    fn every_request_with_a_connection_of_its_own(driver) {
        let identity = Identity::new();
        let mock = Mock::start(identity.shown(instant(3)));
        let load = Load::new(driver, mock.address()).of(8, 64);
        let mut load = load.over(identity.trusted());
        load.reuse = Reuse::Never;
        let run = load.run();
        assert_eq!((run.ends(), run.connects()), ([64, 0, 0, 0], 64));
    }

    fn a_cancel_without_delay_sends_the_whole_request(driver) {
        let identity = Identity::new();
        let mock = Mock::start(identity.shown(silent()));
        let load = Load::new(driver, mock.address()).of(8, 60);
        let load = load.with_bodies(vec![large_body(9_000)]).cancelling(100.0, Span::ZERO);
        let run = load.over(identity.trusted()).run();
        assert_eq!(run.ends(), [0, 0, 60, 0]);
        let (_, lines) = mock.stop();
        let lines = by_id(&lines);
        for record in &run.records {
            let line = lines[&*id(record)];
            assert!(line.full > 0 && line.body == 9_000, "{line:?}");
        }
    }

    fn cancels_in_the_middle_of_streams(driver) {
        let identity = Identity::new();
        let script = pinfire_tools::mock::Script { tokens: 10_000, ..script() };
        let mock = Mock::start(identity.shown(script));
        let load = Load::new(driver, mock.address()).of(10, 40);
        let load = load.cancelling(100.0, Span::from_millis(30));
        let run = load.over(identity.trusted()).run();
        assert_eq!(run.ends(), [0, 0, 40, 0]);
        assert!(run.records.iter().any(|record| !record.transcript.marks().is_empty()));
    }

    fn a_large_body_goes_out_in_parts(driver) {
        let identity = Identity::new();
        let mock = Mock::start(identity.shown(instant(3)));
        let load = Load::new(driver, mock.address()).of(4, 16);
        let mut load = load.with_bodies(vec![large_body(1 << 20)]).over(identity.trusted());
        // A small buffer makes every write fall short.
        load.dialling.send_buffer = Some(16 * 1024);
        let run = load.run();
        assert_eq!(run.ends(), [16, 0, 0, 0]);
        assert!(run.records.iter().all(|record| record.wire.body_sent == 1 << 20));
        assert!(run.records.iter().all(|record| record.wire.sends > 4));
        let (_, lines) = mock.stop();
        assert!(lines.iter().all(|line| line.body == 1 << 20));
    }

    fn a_certificate_of_someone_else(driver) {
        let identity = Identity::new();
        let mock = Mock::start(identity.shown(script()));
        let load = Load::new(driver, mock.address()).of(2, 4);
        let run = load.over(Identity::new().trusted()).run();
        assert_eq!(run.ends(), [0, 4, 0, 0]);
        let Failure::Tls { reason } = failure(&run) else { panic!("{:?}", failure(&run)) };
        assert!(reason.contains("certificate"), "{reason}");
    }

    fn a_server_that_breaks_off_the_handshake(driver) {
        let run = Load::new(driver, saying(b"")).of(2, 4).over(Identity::new().trusted()).run();
        assert_eq!(run.ends(), [0, 4, 0, 0]);
        assert!(matches!(failure(&run), Failure::HandshakeBroken { .. }), "{:?}", failure(&run));
    }

    fn a_server_that_does_not_speak_tls(driver) {
        let address = saying(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let run = Load::new(driver, address).of(2, 4).over(Identity::new().trusted()).run();
        assert_eq!(run.ends(), [0, 4, 0, 0]);
        assert!(matches!(failure(&run), Failure::Tls { .. }), "{:?}", failure(&run));
    }

    fn a_handshake_that_never_ends(driver) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let identity = Identity::new();
        let load = Load::new(driver, listener.local_addr().unwrap()).of(2, 2);
        let mut load = load.over(identity.trusted());
        load.dialling.timeout = Some(Span::from_millis(50));
        let run = load.run();
        assert_eq!(*failure(&run), Failure::ConnectTimeout { securing: true });
        load.dialling.timeout = None;
        let run = load.timing_out(50).run();
        assert!(matches!(failure(&run), Failure::Timeout { .. }), "{:?}", failure(&run));
    }
}

/// A run of the binary against a server with a certificate of its own.
fn run(more: impl Fn(&str) -> String) -> Ended {
    let identity = Identity::new();
    let mock = Mock::start(identity.shown(script()));
    let door = mock.address();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), identity.pem()).unwrap();
    let flags = format!(
        "--request-count 6 --concurrency 2 {}",
        more(file.path().to_str().unwrap())
    );
    profile(&format!("https://localhost:{}", door.port()), &flags).run()
}

#[test]
fn a_wrong_certificate_is_one_error_before_the_run() {
    let ended = run(|_| String::new()).code(1);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    for word in ["localhost:", "certificate", "--ca-cert", "--insecure"] {
        assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
    }
    assert!(!ended.has("inputs.json"));
}

#[test]
fn a_certificate_that_is_named_is_trusted() {
    let ended = run(|file| format!("--ca-cert {file} --show-trace-timing")).code(0);
    assert!(!ended.stderr.contains("INSECURE"), "{}", ended.stderr);
    assert!(ended.stdout.contains("TLS Handshake"), "{}", ended.stdout);
    assert_eq!(ended.lines().len(), 6);
}

#[test]
fn an_insecure_run_works_and_warns() {
    let ended = run(|_| "--insecure".to_owned()).code(0);
    assert!(ended.stderr.contains("INSECURE"), "{}", ended.stderr);
    assert_eq!(ended.lines().len(), 6);
}
