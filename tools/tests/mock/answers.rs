//! What a server with no faults answers, in every shape it can.

use pinfire_base::clock::Span;
use pinfire_tools::mock::{Framing, HeadTime, LineEnd, Precision, RoleTime, Script};

use crate::client::{End, Rig, STREAM, WHOLE, quick};

const THREE: &str = " the of and";

/// Every shape must carry the same text and end mark.
fn check(script: Script) -> crate::client::Answer {
    let rig = Rig::new(script);
    let answer = rig.chat(STREAM);
    assert_eq!((answer.status(), answer.end), (200, End::Whole));
    assert_eq!(answer.text(), THREE);
    assert_eq!(answer.data().last(), Some(&"[DONE]"));
    answer
}

#[test]
fn a_stream() {
    let answer = check(quick(3));
    // Role, three contents, finish, end mark: one chunk each.
    assert_eq!(answer.chunks, 6);
    assert!(answer.data()[0].contains(r#""role":"assistant""#));
    assert!(answer.data()[4].contains(r#""finish_reason":"stop""#));
}

#[test]
fn instant() {
    check(Script::instant(3));
}

#[test]
fn every_precision() {
    for precision in [Precision::Sleep, Precision::Lead, Precision::Spin] {
        check(Script {
            precision,
            ..quick(3)
        });
    }
}

#[test]
fn every_line_end() {
    for line_end in [LineEnd::Lf, LineEnd::CrLf, LineEnd::Cr] {
        let answer = check(Script {
            line_end,
            ..quick(3)
        });
        let twice = match line_end {
            LineEnd::Lf => "\n\n",
            LineEnd::CrLf => "\r\n\r\n",
            LineEnd::Cr => "\r\r",
        };
        assert_eq!(answer.body.matches(twice).count(), 6, "{line_end:?}");
    }
}

#[test]
fn every_framing() {
    let chunk_per_write = Script {
        framing: Framing::ChunkPerWrite,
        events_per_write: 2,
        ..quick(3)
    };
    assert_eq!(check(chunk_per_write).chunks, 2);
    let until_close = Script {
        framing: Framing::UntilClose,
        ..quick(3)
    };
    let answer = check(until_close);
    assert!(answer.head.contains("connection: close"));
    assert_eq!(answer.chunks, 0);
}

#[test]
fn coalesced_cut_and_commented() {
    check(Script {
        events_per_write: 3,
        ..quick(3)
    });
    check(Script {
        pieces: 7,
        piece_gap: Span::from_micros(50),
        ..quick(3)
    });
    let answer = check(Script {
        comment_every: 1,
        ..quick(3)
    });
    assert_eq!(answer.body.matches(": keep-alive\n\n").count(), 3);
}

#[test]
fn head_and_role_times() {
    for head in [HeadTime::AtOnce, HeadTime::WithFirst] {
        for (role, count) in [
            (RoleTime::WithFirst, 1),
            (RoleTime::WithHead, 1),
            (RoleTime::Never, 0),
        ] {
            for script in [quick(3), Script::instant(3)] {
                let answer = check(Script {
                    head,
                    role,
                    ..script
                });
                let roles = answer.body.matches("\"role\"").count();
                assert_eq!(roles, count, "{head:?} {role:?}");
            }
        }
    }
}

#[test]
fn tokens_per_event() {
    let rig = Rig::new(Script {
        tokens_per_event: 4,
        ..quick(10)
    });
    let answer = rig.chat(STREAM);
    assert_eq!(answer.text().split_whitespace().count(), 10);
    assert_eq!(answer.data().len(), 1 + 3 + 1 + 1);
    let (_, truth) = rig.stop();
    assert_eq!(
        (&truth[0]["want"], &truth[0]["sent"]),
        (&10.into(), &3.into())
    );
}

#[test]
fn jitter_keeps_order_and_length() {
    let rig = Rig::new(Script {
        jitter: 1.0,
        ..quick(20)
    });
    assert_eq!(rig.chat(STREAM).text().split_whitespace().count(), 20);
}

#[test]
fn usage_and_limits() {
    let rig = Rig::new(quick(8));
    let body = r#"{"messages":[{"content":"a b c"}],"stream":true,"max_completion_tokens":3,
        "stream_options":{"include_usage":true}}"#;
    let answer = rig.chat(body);
    assert_eq!(answer.text(), THREE);
    let data = answer.data();
    assert!(data[data.len() - 3].contains(r#""finish_reason":"length""#));
    let usage: serde_json::Value = serde_json::from_str(data[data.len() - 2]).unwrap();
    assert_eq!(usage["usage"]["completion_tokens"], 3);
    // A limit above the script's length changes nothing.
    let body = r#"{"stream":true,"max_tokens":99}"#;
    assert_eq!(rig.chat(body).text().split_whitespace().count(), 8);
    let rig = Rig::new(Script {
        ignore_max: true,
        ..quick(8)
    });
    let body = r#"{"stream":true,"max_tokens":2}"#;
    assert_eq!(rig.chat(body).text().split_whitespace().count(), 8);
}

#[test]
fn not_streaming() {
    let rig = Rig::new(quick(3));
    let answer = rig.chat(WHOLE).json();
    assert_eq!(answer["choices"][0]["message"]["content"], THREE);
    assert_eq!(answer["usage"]["total_tokens"], 3 + 3);
    let mut client = rig.client();
    client.post("/v1/completions", "", r#"{"prompt":"x","max_tokens":2}"#);
    let answer = client.answer().json();
    assert_eq!(answer["choices"][0]["text"], " the of");
    assert_eq!(answer["object"], "text_completion");
    client.post("/v1/completions", "", r#"{"prompt":"x","stream":true}"#);
    assert_eq!(client.answer().text(), THREE);
}

#[test]
fn every_dialect_by_its_path() {
    for framing in [
        Framing::ChunkPerEvent,
        Framing::ChunkPerWrite,
        Framing::UntilClose,
    ] {
        let rig = Rig::new(Script {
            reasoning_tokens: 1,
            tool_tokens: 1,
            framing,
            pieces: 3,
            ..quick(3)
        });
        let answer = |path: &str, body: &str| {
            let mut client = rig.client();
            client.post(path, "", body);
            let answer = client.answer();
            assert_eq!((answer.status(), answer.end), (200, End::Whole), "{path}");
            answer
        };
        for (path, pieces) in [
            (
                "/v1/responses",
                [
                    r#""delta":" the""#,
                    r#""delta":" of""#,
                    r#""delta":"{\"q\":\" and\"}""#,
                ],
            ),
            (
                "/v1/messages",
                [
                    r#""thinking":" the""#,
                    r#""text":" of""#,
                    r#""partial_json":"{\"q\":\" and\"}""#,
                ],
            ),
            (
                "/any/other",
                [
                    r#""reasoning_content":" the""#,
                    r#""content":" of""#,
                    r#""arguments":"{\"q\":\" and\"}""#,
                ],
            ),
            (
                "/generate_stream",
                [
                    r#""text":" the""#,
                    r#""text":" of""#,
                    r#""generated_text":" the of and""#,
                ],
            ),
        ] {
            let answer = answer(path, r#"{"stream":true}"#);
            let data = answer.data();
            let at = |piece: &str| data.iter().position(|event| event.contains(piece));
            let places: Vec<Option<usize>> = pieces.iter().map(|piece| at(piece)).collect();
            assert!(
                places.iter().all(Option::is_some) && places.is_sorted(),
                "{path}: {data:?}"
            );
            for event in data.iter().filter(|event| **event != "[DONE]") {
                let read = serde_json::from_str::<serde_json::Value>(event);
                assert!(read.is_ok(), "{path}: {event}");
            }
        }
        for (path, place, expected) in [
            ("/v1/responses", "/output/1/content/0/text", " of"),
            ("/v1/messages", "/content/2/input/q", " and"),
            (
                "/v1/chat/completions",
                "/choices/0/message/reasoning_content",
                " the",
            ),
            ("/generate", "/generated_text", " the of and"),
            ("/v1/embeddings", "/data/0/object", "embedding"),
        ] {
            let answer = answer(path, "{}").json();
            assert_eq!(answer.pointer(place).unwrap(), expected, "{path}");
        }
        for (path, place) in [
            ("/v1/ranking", "/rankings/0/logit"),
            ("/v2/rerank", "/results/0/relevance_score"),
            ("/rerank", "/0/score"),
        ] {
            assert!(
                answer(path, "{}")
                    .json()
                    .pointer(place)
                    .unwrap()
                    .is_number()
            );
        }
    }
}

#[test]
fn other_endpoints() {
    let rig = Rig::new(quick(3));
    let mut client = rig.client();
    assert_eq!(client.get("/v1/models").json()["data"][0]["id"], "mock");
    assert_eq!(client.get("/health").status(), 200);
    assert_eq!(client.get("/nothing").status(), 404);
    assert_eq!(client.get("/v1/chat/completions").status(), 405);
    client.post("/v1/models", "", "");
    assert_eq!(client.answer().status(), 405);
    client.post("/v1/chat/completions", "", STREAM);
    assert_eq!(client.answer().text(), THREE);
    assert_eq!(rig.metric("vllm:generation_tokens_total"), 3.0);
    assert_eq!(
        rig.metric(
            "http_requests_total{handler=\"/v1/chat/completions\",method=\"GET\",status=\"4xx\"}"
        ),
        1.0
    );
}

#[test]
fn connections_are_kept_or_closed_as_asked() {
    let rig = Rig::new(quick(3));
    let mut client = rig.client();
    for _ in 0..3 {
        assert_eq!(client.chat("", STREAM).text(), THREE);
    }
    let answer = client.chat("Connection: close\r\n", STREAM);
    assert!(answer.head.contains("connection: close"));
    assert_eq!(client.rest(), (String::new(), End::Cut));
    let (_, truth) = rig.stop();
    let nth: Vec<_> = truth
        .iter()
        .map(|line| line["nth"].as_u64().unwrap())
        .collect();
    assert_eq!(nth, [0, 1, 2, 3]);
    assert!(truth.iter().all(|line| line["conn"] == 1));
}

#[test]
fn an_old_client_gets_no_chunks() {
    let rig = Rig::new(quick(3));
    let mut client = rig.client();
    let length = STREAM.len();
    let head = format!("POST /v1/chat/completions HTTP/1.0\r\nContent-Length: {length}\r\n\r\n");
    client.send(head.as_bytes());
    client.send(STREAM.as_bytes());
    let answer = client.answer();
    assert_eq!((answer.chunks, answer.text().as_str()), (0, THREE));
}
