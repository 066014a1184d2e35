//! Slots, clients that leave, the truth log, stale connections, large bodies.

use pinfire_base::clock::Span;
use pinfire_tools::mock::{MockError, Script, Server};

use crate::client::{End, Rig, STREAM, quick};

const ABORTS: &str =
    "vllm:request_success_total{engine=\"0\",model_name=\"mock\",finished_reason=\"abort\"}";

/// A stream that does not end while a test looks at it.
fn endless() -> Script {
    Script {
        itl: Span::from_millis(1),
        tokens: 1_000_000,
        ..quick(1)
    }
}

#[test]
fn slots_are_given_in_order() {
    let rig = Rig::new(Script {
        slots: Some(1),
        ..endless()
    });
    let mut clients: Vec<_> = (0..3)
        .map(|i| {
            let mut client = rig.client();
            let id = format!("X-Request-ID: {i}\r\n");
            client.post("/v1/chat/completions", &id, STREAM);
            if i == 0 {
                client.wait_for("\" the\"");
            }
            rig.until("vllm:num_requests_waiting", f64::from(i));
            client
        })
        .collect();
    assert_eq!(rig.metric("vllm:num_requests_running"), 1.0);
    assert!(rig.metric("vllm:kv_cache_usage_perc") > 0.0);
    // One that waits leaves, then the one that runs: the slot goes to the last.
    clients[1].hang_up();
    rig.until("vllm:num_requests_waiting", 1.0);
    clients[0].hang_up();
    clients[2].wait_for("\" the\"");
    assert_eq!(rig.metric(ABORTS), 2.0);
    clients[2].hang_up();
    rig.until(ABORTS, 3.0);
    assert_eq!(rig.metric("vllm:num_requests_running"), 0.0);
    assert_eq!(rig.metric("vllm:kv_cache_usage_perc"), 0.0);
    let (summary, truth) = rig.stop();
    assert_eq!(summary.aborted, 3);
    let ids: Vec<_> = truth
        .iter()
        .map(|line| line["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["1", "0", "2"]);
    assert_eq!(truth[0]["sent"], 0);
    for line in &truth {
        assert!(line["closed"].as_u64() > line["full"].as_u64());
        assert_eq!((&line["done"], &line["how"]), (&0.into(), &"fin".into()));
    }
}

#[test]
fn many_queued_requests_are_all_served() {
    let rig = Rig::new(Script {
        slots: Some(2),
        ..Script::instant(3)
    });
    let mut clients: Vec<_> = (0..40).map(|_| rig.client()).collect();
    for client in &mut clients {
        client.post("/v1/chat/completions", "", STREAM);
    }
    for client in &mut clients {
        assert_eq!(client.answer().text(), " the of and");
    }
}

#[test]
fn times_of_a_finished_request_are_in_order() {
    let rig = Rig::new(quick(5));
    rig.client().chat("X-Request-ID: a\"b\r\n", STREAM);
    let (_, truth) = rig.stop();
    let line = &truth[0];
    let keys: Vec<_> = line
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        keys.join(" "),
        "id port conn nth accept first full body status stream want sent w_first w_last done \
         closed how"
    );
    let time = |key: &str| line[key].as_u64().unwrap();
    let order = ["accept", "first", "full", "w_first", "w_last", "done"].map(time);
    assert!(order.is_sorted(), "{line}");
    // Never before it is due: 1 ms to the first event, 4 gaps of 0.2 ms.
    assert!(time("w_first") >= time("full") + 1_000_000, "{line}");
    assert!(time("w_last") >= time("full") + 1_800_000, "{line}");
    assert_eq!((time("closed"), time("body")), (0, STREAM.len() as u64));
    assert_eq!((&line["id"], &line["sent"]), (&"a\"b".into(), &5.into()));
}

#[test]
fn requests_that_never_became_whole_are_logged() {
    let rig = Rig::new(quick(5));
    let mut client = rig.client();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nX-Request-ID: p\r\nContent-Length: 100\r\n";
    client.send(format!("{head}\r\n0123456789").as_bytes());
    rig.until("mock_open_connections", 2.0);
    client.hang_up();
    rig.until("mock_open_connections", 1.0);
    let (_, truth) = rig.stop();
    assert_eq!(
        (&truth[0]["id"], &truth[0]["full"]),
        (&"p".into(), &0.into())
    );
    assert_eq!(
        (&truth[0]["body"], &truth[0]["how"]),
        (&10.into(), &"fin".into())
    );
    assert!(truth[0]["closed"].as_u64() > Some(0));
}

#[test]
fn a_stopped_server_logs_what_was_under_way() {
    let rig = Rig::new(endless());
    let mut client = rig.client();
    client.post("/v1/chat/completions", "", STREAM);
    client.wait_for("\" the\"");
    let (_, truth) = rig.stop();
    assert_eq!(
        (&truth[0]["how"], &truth[0]["done"]),
        (&"stop".into(), &0.into())
    );
}

#[test]
fn a_client_that_does_not_read_gets_everything_in_the_end() {
    // Far more than the socket's buffers hold, composed at once.
    let rig = Rig::new(Script::instant(100_000));
    let mut client = rig.client();
    client.post("/v1/chat/completions", "", STREAM);
    let mut slow = rig.client();
    slow.post("/v1/chat/completions", "", STREAM);
    rig.until("vllm:num_requests_running", 2.0);
    let answer = client.answer();
    assert_eq!(answer.end, End::Whole);
    assert_eq!(answer.data().len(), 100_003);
    slow.hang_up();
    rig.until(ABORTS, 1.0);
}

#[test]
fn large_bodies() {
    let rig = Rig::new(quick(2));
    let mut client = rig.client();
    let body = format!(
        r#"{{"prompt":"{}","stream":true}}"#,
        "word ".repeat(200_000)
    );
    for _ in 0..2 {
        client.post("/v1/completions", "Expect: 100-continue\r\n", &body);
        client.wait_for("HTTP/1.1 ");
        let first = client.answer();
        // The body may have come in before the head was looked at: then there is no 100.
        let answer = if first.status() == 100 {
            client.answer()
        } else {
            first
        };
        assert_eq!(answer.text(), " the of");
    }
    let (_, truth) = rig.stop();
    assert_eq!(truth[1]["body"], body.len());
}

#[test]
fn requests_in_single_bytes_and_in_pairs() {
    let rig = Rig::new(quick(2));
    let mut client = rig.client();
    let one = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {}\r\n\r\n{STREAM}",
        STREAM.len()
    );
    for byte in one.as_bytes() {
        client.send(&[*byte]);
    }
    assert_eq!(client.answer().text(), " the of");
    // Not asked for, but a next request that is there already must not be lost.
    client.send(format!("{one}{one}").as_bytes());
    assert_eq!(client.answer().text(), " the of");
    assert_eq!(client.answer().text(), " the of");
}

#[test]
fn what_is_no_request_is_refused() {
    let rig = Rig::new(quick(2));
    for (text, status) in [
        ("nonsense\r\n\r\n", 400),
        (
            "POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            411,
        ),
        (
            "POST /v1/completions HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
            413,
        ),
    ] {
        let mut client = rig.client();
        client.send(text.as_bytes());
        assert_eq!(client.answer().status(), status);
        assert_eq!(client.rest().1, End::Cut);
    }
}

#[test]
fn mistakes_are_errors() {
    let rig = Rig::new(quick(1));
    drop(rig);
    let any = ([127, 0, 0, 1], 0).into();
    let wrong = Script {
        jitter: 2.0,
        ..quick(1)
    };
    assert!(matches!(
        Server::bind(wrong, any, None),
        Err(MockError::Script(_))
    ));
    let first = Server::bind(quick(1), any, None).unwrap();
    let taken = Server::bind(quick(1), first.local_addr(), None);
    assert!(matches!(taken, Err(MockError::Listen { .. })));
    let nowhere = Some("/nonexistent/truth".into());
    assert!(matches!(
        Server::bind(quick(1), any, nowhere),
        Err(MockError::Truth { .. })
    ));
    assert!(matches!(
        first.spawn(Some(100_000)),
        Err(MockError::Cpu { .. })
    ));
}
