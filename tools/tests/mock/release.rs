//! What becomes of slots whose clients have left, and what the server counts of them.

use std::str::FromStr;

use pinfire_base::clock::Span;
use pinfire_tools::mock::{LeakOn, LeftAt, Release, Script};

use crate::client::{End, Rig, STREAM, WHOLE, quick};

const RUNNING: &str = "vllm:num_requests_running";
const ABORTS: &str =
    "vllm:request_success_total{engine=\"0\",model_name=\"mock\",finished_reason=\"abort\"}";

/// Streams that do not end while a test looks, of a server that behaves so.
fn rig(release: &str, abort_counter: u32) -> Rig {
    Rig::new(Script {
        itl: Span::from_millis(1),
        tokens: 1_000_000,
        release: Release::from_str(release).unwrap(),
        abort_counter,
        ..quick(1)
    })
}

/// Clients that leave in their streams, one after the other.
fn leave(rig: &Rig, clients: u32) {
    for _ in 0..clients {
        let mut client = rig.client();
        client.post("/v1/chat/completions", "", STREAM);
        client.wait_for("\" the\"");
        client.hang_up();
    }
}

#[test]
fn the_forms_of_a_release() {
    for (text, release) in [
        ("at-once", Release::AtOnce),
        ("after:1500", Release::After(Span::from_millis(1_500))),
        ("leak:1/10", Release::LeakOneIn(10)),
        ("leak-before-token", Release::LeakBeforeToken),
        ("wedge:40", Release::WedgeAfter(40)),
        ("die:30", Release::DieAfter(30)),
    ] {
        assert_eq!(Release::from_str(text), Ok(release));
    }
    for wrong in [
        "", "never", "after", "after:x", "leak:10", "leak:1/0", "wedge:0", "die:-1",
    ] {
        let error = Release::from_str(wrong).unwrap_err();
        assert!(error.contains("leak:1/N"), "{wrong}: {error}");
    }
}

#[test]
fn slots_that_are_not_given_back() {
    let rig = rig("leak:1/3", 1);
    leave(&rig, 7);
    rig.until(ABORTS, 7.0);
    assert_eq!(rig.metric(RUNNING), 2.0);
    assert!(rig.metric("vllm:kv_cache_usage_perc") > 0.0);

    let rig = self::rig("leak-before-token", 1);
    leave(&rig, 3);
    rig.until(ABORTS, 3.0);
    assert_eq!(rig.metric(RUNNING), 0.0);
}

#[test]
fn slots_that_come_back_late() {
    let rig = rig("after:600", 1);
    leave(&rig, 2);
    // It has noticed them, and holds them still.
    rig.until(ABORTS, 2.0);
    assert_eq!(rig.metric(RUNNING), 2.0);
    rig.until(RUNNING, 0.0);
    assert_eq!(rig.metric("vllm:kv_cache_usage_perc"), 0.0);
}

#[test]
fn counters_that_say_too_little_and_too_much() {
    for (times, counted) in [(0, 0.0), (2, 6.0)] {
        let rig = rig("at-once", times);
        leave(&rig, 3);
        rig.until(RUNNING, 0.0);
        rig.until(ABORTS, counted);
    }
}

#[test]
fn a_server_that_wedges_accepts_and_answers_nothing() {
    let rig = rig("wedge:2", 1);
    leave(&rig, 1);
    rig.until(RUNNING, 0.0);
    leave(&rig, 1);
    rig.until(ABORTS, 2.0);
    let mut client = rig.client();
    client.post("/v1/chat/completions", "", STREAM);
    // It has the request, and its metrics still answer.
    rig.until("mock_open_connections", 2.0);
    client.hang_up();
    rig.until("mock_open_connections", 1.0);
    drop(rig.stop());
}

#[test]
fn a_server_that_dies_is_gone() {
    let rig = rig("die:1", 1);
    leave(&rig, 1);
    let address = rig.address();
    let gone = (0..6_000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        std::net::TcpStream::connect(address).is_err()
    });
    assert!(gone, "it still accepts connections");
}

#[test]
fn a_half_closed_client_is_served_where_the_server_does_not_mind() {
    for half_open in [false, true] {
        let rig = Rig::new(Script {
            half_open,
            itl: Span::from_millis(1),
            ..quick(200)
        });
        let mut client = rig.client();
        client.post("/v1/chat/completions", "", STREAM);
        client.wait_for("\" the\"");
        client.half_close();
        let (text, end) = client.rest();
        assert_eq!(text.contains("[DONE]"), half_open);
        assert_eq!(end, End::Cut);
        let (_, truth) = rig.stop();
        let line = truth.iter().find(|line| line["want"] == 200).unwrap();
        assert_eq!(line["how"], if half_open { "half" } else { "fin" });
    }
}

#[test]
fn a_leak_of_some_cancels_only() {
    for wrong in ["", "rst,fin", "headers,sent", "often"] {
        assert!(LeakOn::from_str(wrong).is_err(), "{wrong}");
    }
    let leak = LeakOn::from_str("headers,fin,whole").unwrap();
    let wanted = LeakOn {
        reset: Some(false),
        at: Some(LeftAt::Head),
        stream: Some(false),
    };
    assert_eq!(leak, wanted);
    assert!(leak.needs_early_head());
    assert!(
        !LeakOn::from_str("headers,stream")
            .unwrap()
            .needs_early_head()
    );
    let rig = Rig::new(Script {
        itl: Span::from_millis(1),
        tokens: 1_000_000,
        whole_head: Some(0.0),
        leak_on: Some(leak),
        ..quick(1)
    });
    // A stream behind its head and content is let go, a whole answer behind its head is not.
    leave(&rig, 2);
    rig.until(ABORTS, 2.0);
    assert_eq!(rig.metric(RUNNING), 0.0);
    let mut client = rig.client();
    client.post("/v1/chat/completions", "", WHOLE);
    client.wait_for("\r\n\r\n");
    client.hang_up();
    rig.until(ABORTS, 3.0);
    assert_eq!(rig.metric(RUNNING), 1.0);
}

#[test]
fn the_head_of_a_whole_answer_may_leave_before_it() {
    let rig = Rig::new(Script {
        whole_head: Some(0.5),
        ..quick(3)
    });
    let mut client = rig.client();
    client.post("/v1/chat/completions", "", WHOLE);
    let answer = client.answer();
    assert!(
        answer.head.contains("transfer-encoding: chunked"),
        "{answer:?}"
    );
    assert!(answer.body.contains("\"chat.completion\""), "{answer:?}");
    assert_eq!(answer.end, End::Whole);
}
