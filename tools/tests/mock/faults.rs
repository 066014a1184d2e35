//! What goes wrong on purpose.

use pinfire_base::clock::Span;
use pinfire_tools::mock::{Fault, FaultRule, Script, When};

use crate::client::{Answer, End, Rig, STREAM, WHOLE, quick};

fn always(fault: Fault) -> Script {
    let rule = FaultRule {
        fault,
        when: When::Every(1),
    };
    Script {
        faults: vec![rule],
        ..quick(6)
    }
}

/// The streaming answer under a fault, and its line in the log.
fn meet(fault: Fault) -> (Answer, serde_json::Value) {
    let rig = Rig::new(always(fault));
    let answer = rig.chat(STREAM);
    let (summary, truth) = rig.stop();
    assert_eq!((summary.served, summary.aborted), (1, 0), "{fault:?}");
    assert_eq!(truth.len(), 1, "{fault:?}");
    assert!(truth[0]["done"].as_u64().unwrap() > 0, "{fault:?}");
    (answer, truth[0].clone())
}

#[test]
fn statuses() {
    for status in [429, 500, 503] {
        let (answer, truth) = meet(Fault::Status(status));
        assert_eq!(answer.status(), status);
        assert_eq!(answer.json()["error"]["code"], status);
        assert_eq!(truth["status"], status);
    }
}

#[test]
fn resets() {
    let (answer, truth) = meet(Fault::ResetHead);
    assert_eq!((answer.end, answer.head.as_str()), (End::Reset, ""));
    assert_eq!(truth["how"], "server-rst");
    let (answer, truth) = meet(Fault::ResetAfter(2));
    assert_eq!(
        (answer.end, answer.text().as_str()),
        (End::Reset, " the of")
    );
    assert_eq!(
        (&truth["sent"], &truth["how"]),
        (&2.into(), &"server-rst".into())
    );
}

#[test]
fn cut_in_the_middle() {
    let (answer, truth) = meet(Fault::CutAfter(2));
    assert_eq!((answer.end, answer.text().as_str()), (End::Cut, " the of"));
    assert_eq!(
        (&truth["sent"], &truth["how"]),
        (&2.into(), &"server-fin".into())
    );
    let answer = Rig::new(always(Fault::CutAfter(2))).chat(WHOLE);
    assert_eq!((answer.status(), answer.end), (200, End::Cut));
}

#[test]
fn stalls() {
    for (fault, sent) in [(Fault::StallHead, 0), (Fault::StallAfter(2), 2)] {
        let rig = Rig::new(always(fault));
        let mut client = rig.client();
        client.post("/v1/chat/completions", "X-Request-ID: s\r\n", STREAM);
        if sent > 0 {
            client.wait_for("\" of\"");
        }
        rig.until("vllm:num_requests_running", 1.0);
        client.hang_up();
        rig.until("vllm:request_success_total{engine=\"0\",model_name=\"mock\",finished_reason=\"abort\"}", 1.0);
        let (_, truth) = rig.stop();
        assert_eq!(
            (&truth[0]["sent"], &truth[0]["done"]),
            (&sent.into(), &0.into())
        );
        assert_eq!(
            (&truth[0]["id"], &truth[0]["how"]),
            (&"s".into(), &"fin".into())
        );
    }
}

#[test]
fn garbage_and_emptiness() {
    let rig = Rig::new(always(Fault::Garbage));
    let mut client = rig.client();
    client.post("/v1/chat/completions", "", STREAM);
    let (text, end) = client.rest();
    assert!(!text.starts_with("HTTP") && !text.is_empty());
    assert_eq!(end, End::Cut);
    let (answer, _) = meet(Fault::Empty);
    assert_eq!((answer.status(), answer.body.as_str()), (200, ""));
    let (answer, _) = meet(Fault::NoTokens);
    assert_eq!((answer.text().as_str(), answer.end), ("", End::Whole));
    assert_eq!(answer.data().last(), Some(&"[DONE]"));
}

#[test]
fn broken_and_error_events() {
    let (answer, _) = meet(Fault::BadJson(1));
    assert_eq!(answer.text(), " the and to in a");
    assert_eq!(answer.end, End::Whole);
    let (answer, _) = meet(Fault::ErrorData(2));
    assert_eq!(answer.text(), " the of");
    assert!(answer.body.contains("data: {\"error\":"));
    let (answer, _) = meet(Fault::ErrorEvent(2));
    assert!(answer.body.contains("event: error\ndata: {\"error\":"));
    assert_eq!(answer.end, End::Whole);
    let answer = Rig::new(always(Fault::ErrorData(0))).chat(WHOLE);
    assert_eq!(answer.json()["error"]["code"], 500);
}

#[test]
fn every_third() {
    let rule = "500@1/3".parse().unwrap();
    let rig = Rig::new(Script {
        faults: vec![rule],
        ..Script::instant(1)
    });
    let mut client = rig.client();
    let statuses: Vec<_> = (0..6).map(|_| client.chat("", STREAM).status()).collect();
    assert_eq!(statuses, [200, 200, 500, 200, 200, 500]);
}

#[test]
fn a_share_is_the_same_for_the_same_seed() {
    let run = || {
        let rig = Rig::new(Script {
            faults: vec!["503@0.4".parse().unwrap()],
            seed: 9,
            ..Script::instant(1)
        });
        let mut client = rig.client();
        (0..40)
            .map(|_| client.chat("", STREAM).status())
            .collect::<Vec<_>>()
    };
    let first = run();
    assert!(first.contains(&200) && first.contains(&503));
    assert_eq!(first, run());
}

#[test]
fn stale_connections() {
    let rig = Rig::new(Script {
        requests_per_connection: Some(2),
        ..quick(2)
    });
    let mut client = rig.client();
    for _ in 0..2 {
        let answer = client.chat("", STREAM);
        assert!(!answer.head.contains("connection: close"));
    }
    assert_eq!(client.rest(), (String::new(), End::Cut));
    let rig = Rig::new(Script {
        idle_close: Some(Span::from_millis(5)),
        ..quick(2)
    });
    let mut client = rig.client();
    assert_eq!(client.chat("", STREAM).end, End::Whole);
    assert_eq!(client.rest(), (String::new(), End::Cut));
}

#[test]
fn slow_accept_still_accepts() {
    let rig = Rig::new(Script {
        accept_delay: Span::from_millis(5),
        ..quick(2)
    });
    for _ in 0..3 {
        assert_eq!(rig.chat(STREAM).end, End::Whole);
    }
}
