//! The gateway in front of the mock: what becomes of a client's disconnect in each of its modes,
//! seen by raw sockets, by both logs and by both pages.

use std::path::Path;
use std::time::Duration;

use pinfire_base::clock::Span;
use pinfire_tools::gateway::{Gateway, Mode};
use pinfire_tools::mock::Script;
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Client, End, Rig, STREAM, WHOLE, quick};

const RUNNING: &str = "vllm:num_requests_running";
const ABORTS: &str =
    "vllm:request_success_total{engine=\"0\",model_name=\"mock\",finished_reason=\"abort\"}";
const CHAT: &str = "/v1/chat/completions";

/// A mock with a gateway in front.
struct Behind {
    rig: Rig,
    gateway: Gateway,
    folder: TempDir,
}

impl Behind {
    fn new(mode: &str, script: Script) -> Self {
        let rig = Rig::new(script);
        let folder = tempfile::tempdir().unwrap();
        let truth = folder.path().join("gateway.jsonl");
        let any = ([127, 0, 0, 1], 0).into();
        let mode: Mode = mode.parse().unwrap();
        let gateway = Gateway::start(mode, any, rig.address(), Some(&truth)).unwrap();
        Self {
            rig,
            gateway,
            folder,
        }
    }

    fn client(&self) -> Client {
        Client::of(self.gateway.local_addr())
    }

    /// A client that leaves in its stream, or before its answer if it is not to be streamed.
    fn leave(&self, body: &str) {
        self.leave_beside(0, body);
    }

    /// The same while the server works on so many requests of others.
    fn leave_beside(&self, others: u32, body: &str) {
        let mut client = self.client();
        client.post(CHAT, "", body);
        if body == STREAM {
            client.wait_for("\" the\"");
        } else {
            self.rig.until(RUNNING, f64::from(others + 1));
        }
        client.hang_up();
    }

    /// One value of the gateway's own page, 0 where it is not shown.
    fn own(&self, name: &str) -> f64 {
        let text = self.client().get("/gateway/metrics").body;
        let line = text.lines().find(|line| line.starts_with(name));
        line.map_or(0.0, |line| {
            line.rsplit(' ').next().unwrap().parse().unwrap()
        })
    }

    fn own_until(&self, name: &str, value: f64) {
        for _ in 0..6_000 {
            if self.own(name) == value {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{name} never became {value}, but {}", self.own(name));
    }

    /// Both logs.
    fn stop(self) -> (Vec<Value>, Vec<Value>) {
        let (_, server) = self.rig.stop();
        (lines(&self.folder.path().join("gateway.jsonl")), server)
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Streams and answers that do not end while a test looks.
fn endless() -> Script {
    Script {
        itl: Span::from_millis(1),
        tokens: 1_000_000,
        ..quick(1)
    }
}

/// Answers of a second or so.
fn long() -> Script {
    Script {
        itl: Span::from_millis(20),
        ..quick(60)
    }
}

#[test]
fn answers_come_through_whole_in_every_mode() {
    for mode in ["pass", "hold", "cache:1/2", "late:1s", "buffer"] {
        let behind = Behind::new(mode, quick(20));
        // On one connection, as a client that keeps it alive.
        let mut client = behind.client();
        for body in [STREAM, WHOLE, STREAM] {
            let (direct, through) = (behind.rig.chat(body), client.chat("", body));
            assert_eq!(through.end, End::Whole, "{mode}");
            assert_eq!(through.status(), 200);
            match body == STREAM {
                true => assert_eq!(through.text(), direct.text(), "{mode}"),
                false => assert_eq!(through.json()["usage"], direct.json()["usage"], "{mode}"),
            }
        }
        // The server's page through the gateway, and the gateway's own.
        let page = client.get("/metrics").body;
        assert!(page.contains(RUNNING) && !page.contains("dynamo"), "{page}");
        assert_eq!(behind.own("dynamo_frontend_requests_total"), 3.0, "{mode}");
        assert_eq!(behind.own("dynamo_frontend_active_requests"), 0.0);
        assert_eq!(behind.own("gateway_client_disconnects_total"), 0.0);
        let closing = behind.client().chat("Connection: close\r\n", STREAM);
        assert!(
            closing.head.to_lowercase().contains("connection: close"),
            "{}",
            closing.head
        );
        let (log, _) = behind.stop();
        assert_eq!(log.len(), 4);
        for line in log {
            assert_eq!(line["left"], 0, "{mode}: {line}");
            assert_eq!(
                (&line["made"], &line["reached"]),
                (&20.into(), &20.into()),
                "{mode}: {line}"
            );
            assert_eq!(line["whole"], true);
        }
    }
}

#[test]
fn a_disconnect_is_passed_on_at_once() {
    for body in [STREAM, WHOLE] {
        let behind = Behind::new("pass", endless());
        (0..3).for_each(|_| behind.leave(body));
        behind.rig.until(ABORTS, 3.0);
        behind.rig.until(RUNNING, 0.0);
        behind.own_until("dynamo_frontend_model_cancellation_total", 3.0);
        assert_eq!(behind.own("gateway_client_disconnects_total"), 3.0);
        assert_eq!(behind.own("dynamo_frontend_active_requests"), 0.0);
        let (log, server) = behind.stop();
        assert_eq!(log.len(), 3);
        for line in &log {
            assert!(
                line["left"].as_u64().unwrap() > 0
                    && line["let_go"].as_u64() >= line["left"].as_u64()
            );
            assert_eq!(line["whole"], false);
            assert!(line["made"].as_u64() >= line["reached"].as_u64(), "{line}");
        }
        let closed = server
            .iter()
            .filter(|line| line["closed"].as_u64() > Some(0));
        assert_eq!(closed.count(), 3, "the server saw them leave");
    }
}

#[test]
fn an_answer_is_read_to_its_end_by_a_gateway_that_holds() {
    for (mode, body) in [
        ("hold", STREAM),
        ("hold", WHOLE),
        ("buffer", WHOLE),
        ("cache:1/1", STREAM),
    ] {
        let behind = Behind::new(mode, long());
        (0..3).for_each(|others| behind.leave_beside(others, body));
        behind.own_until("dynamo_frontend_requests_total", 3.0);
        assert_eq!(
            behind.own("dynamo_frontend_model_cancellation_total"),
            0.0,
            "{mode}"
        );
        behind.own_until("gateway_requests_kept", 0.0);
        assert_eq!(behind.rig.metric(ABORTS), 0.0);
        let (log, server) = behind.stop();
        assert_eq!(log.len(), 3);
        for line in &log {
            assert_eq!(
                (&line["made"], &line["whole"]),
                (&60.into(), &true.into()),
                "{mode}: {line}"
            );
            if mode != "buffer" {
                assert!(line["reached"].as_u64() < Some(60), "{mode}: {line}");
                assert!(line["left"].as_u64() > Some(0), "{mode}: {line}");
            }
        }
        assert!(
            server.iter().all(|line| line["closed"] == 0),
            "nobody left the server"
        );
    }
}

#[test]
fn a_share_is_held_by_number() {
    let behind = Behind::new("cache:1/4", endless());
    (0..8).for_each(|_| behind.leave(STREAM));
    behind.rig.until(ABORTS, 6.0);
    behind.rig.until(RUNNING, 2.0);
    behind.own_until("gateway_requests_kept", 2.0);
    assert_eq!(behind.own("dynamo_frontend_active_requests"), 2.0);
    assert_eq!(behind.gateway.kept(), 2);
    let (log, _) = behind.stop();
    let mut passed: Vec<u64> = log
        .iter()
        .filter(|line| line["whole"] == false && line["left"] != 0)
        .filter_map(|line| line["n"].as_u64())
        .filter(|n| !n.is_multiple_of(4))
        .collect();
    passed.sort_unstable();
    assert_eq!(passed, [1, 2, 3, 5, 6, 7]);
}

#[test]
fn a_disconnect_is_passed_on_late() {
    let behind = Behind::new("late:400ms", endless());
    behind.leave(STREAM);
    behind.own_until("gateway_requests_kept", 1.0);
    behind.rig.until(ABORTS, 1.0);
    behind.own_until("dynamo_frontend_model_cancellation_total", 1.0);
    let (log, server) = behind.stop();
    let number = |line: &Value, key: &str| line[key].as_u64().unwrap();
    let waited = number(&log[0], "let_go") - number(&log[0], "left");
    assert!(waited >= 400_000_000, "never early: {waited}");
    let seen = server.iter().find(|line| line["closed"] != 0).unwrap();
    // Tokens went on meanwhile, for nobody.
    assert!(
        number(&log[0], "made") > number(&log[0], "reached"),
        "{}",
        log[0]
    );
    assert!(number(seen, "sent") >= number(&log[0], "made"));
}

#[test]
fn a_buffering_gateway_sends_nothing_before_the_end() {
    let behind = Behind::new(
        "buffer",
        Script {
            faults: vec!["stall-after:3@1/2".parse().unwrap()],
            ..quick(20)
        },
    );
    // One of the two never ends: what it has brought stays in the gateway.
    let answer = behind.client().chat("X-Request-ID: one\r\n", STREAM);
    assert_eq!(answer.text().split(' ').count(), 21);
    let mut client = behind.client();
    client.post(CHAT, "", STREAM);
    behind.rig.until("vllm:generation_tokens_total", 23.0);
    assert!(
        client.nothing_for(Duration::from_millis(50)),
        "something came before the end"
    );
    client.hang_up();
    behind.own_until("dynamo_frontend_active_requests", 1.0);
    assert_eq!(
        behind.own("gateway_client_disconnects_total"),
        0.0,
        "it does not look"
    );
    let (log, _) = behind.stop();
    assert_eq!(
        (&log[0]["id"], &log[0]["reached"]),
        (&"one".into(), &20.into())
    );
}

#[test]
fn what_the_server_breaks_off_is_broken_off() {
    for (fault, end) in [
        ("cut-after:3@1/1", End::Cut),
        ("reset-after:3@1/1", End::Reset),
    ] {
        let behind = Behind::new(
            "pass",
            Script {
                faults: vec![fault.parse().unwrap()],
                ..quick(20)
            },
        );
        let answer = behind.client().chat("", STREAM);
        assert_eq!(answer.end, end, "{fault}");
    }
    let behind = Behind::new(
        "pass",
        Script {
            faults: vec!["503@1/1".parse().unwrap()],
            ..quick(20)
        },
    );
    assert_eq!(behind.client().chat("", STREAM).status(), 503);
    // A server that is not there any more.
    let gateway = behind.gateway;
    drop(behind.rig.stop());
    let answer = Client::of(gateway.local_addr()).chat("", STREAM);
    assert_eq!(answer.status(), 502);
    assert!(
        answer.body.contains("cannot reach the server"),
        "{}",
        answer.body
    );
}

/// Counters that begin late, or again.
#[test]
fn the_life_of_counters() {
    let with = |counters: &str| {
        Behind::new(
            "pass",
            Script {
                counters: counters.parse().unwrap(),
                ..endless()
            },
        )
    };
    let success = "vllm:request_success_total";
    let behind = with("late");
    let page = behind.rig.client().get("/metrics").body;
    assert!(
        !page.contains(success) && !page.contains("generation_tokens"),
        "{page}"
    );
    behind.leave(STREAM);
    behind.rig.until(ABORTS, 1.0);
    let page = behind.rig.client().get("/metrics").body;
    assert!(
        !page.contains("\"length\"") && page.contains("generation_tokens"),
        "{page}"
    );

    let behind = with("restart:3");
    (0..2).for_each(|_| behind.leave(STREAM));
    behind.rig.until(ABORTS, 2.0);
    let before = behind.rig.metric("vllm:generation_tokens_total");
    behind.leave(STREAM);
    behind.rig.until(ABORTS, 0.0);
    assert!(behind.rig.metric("vllm:generation_tokens_total") < before.max(1.0));
    assert_eq!(
        behind.rig.metric("vllm:time_to_first_token_seconds_count"),
        0.0
    );
    (0..2).for_each(|_| behind.leave(STREAM));
    behind.rig.until(ABORTS, 2.0);
    for (counters, ended) in [("zero", 0.0), ("doubled", 2.0), ("restart-after:1", 0.0)] {
        let script = Script {
            counters: counters.parse().unwrap(),
            ..Script::instant(3)
        };
        let behind = Behind::new("pass", script);
        let answer = behind.client().chat("", STREAM);
        assert!(
            answer.head.contains("200 OK"),
            "{counters}: {}",
            answer.head
        );
        let length =
            format!("{success}{{engine=\"0\",model_name=\"mock\",finished_reason=\"stop\"}}");
        behind.rig.until(&length, ended);
        let made = if counters == "restart-after:1" {
            0.0
        } else {
            3.0
        };
        behind.rig.until("vllm:generation_tokens_total", made);
    }
    for wrong in [
        "",
        "later",
        "restart",
        "restart:0",
        "late:2",
        "restart-after:0",
    ] {
        let error = wrong
            .parse::<pinfire_tools::mock::CounterLife>()
            .unwrap_err();
        assert!(error.contains("restart:N"), "{error}");
    }
}
