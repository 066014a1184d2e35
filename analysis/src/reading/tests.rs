//! Streams of every shape that servers are known to send, at the level of transcripts.

use pinfire_base::clock::Span;
use pinfire_base::record::{Cancel, Disconnect, Failure, MarkKind, Outcome, Record, Stage};
use pinfire_dialect::EndpointKind;

use super::*;
use crate::testing::{RecordParts, ms};

const ROLE: &str = r#"{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#;
const USAGE: &str = r#"{"object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":11,"completion_tokens":3,"total_tokens":14}}"#;

fn chunk(delta: &str) -> String {
    format!(r#"{{"object":"chat.completion.chunk","choices":[{{"index":0,"delta":{delta}}}]}}"#)
}

/// A complete streamed answer with one event every 10 ms.
fn stream(events: &[(MarkKind, &str)]) -> Record {
    let mut parts = RecordParts::streamed(0);
    for (n, (kind, bytes)) in events.iter().enumerate() {
        parts = parts.mark(10.0 * (n + 1) as f64, *kind, bytes);
    }
    parts.end(500.0)
}

fn read(record: &Record) -> Reading {
    let rules = Rules {
        answers: Answers::default(),
        target: Target::of_urls(&["http://user:key@localhost:8121/v1".to_owned()]),
    };
    Reading::of(record, &rules)
}

fn problem(record: &Record) -> Problem {
    match read(record).verdict {
        Verdict::Error(problem) | Verdict::Cancelled(problem) => problem,
        other => panic!("{other:?}"),
    }
}

fn triple(record: &Record) -> (Option<i64>, String, String) {
    let problem = problem(record);
    (problem.code, problem.kind, problem.message)
}

use MarkKind::{Bare, Body, Content as Text, Data, Done, Empty, ErrorEvent, Finish, Reasoning};

#[test]
fn three_content_events_usage_done() {
    let reading = read(&stream(&[
        (Empty, ""),
        (Text, "Hel"),
        (Text, r"lo\n"),
        (Text, "you"),
        (Data, USAGE),
        (Done, ""),
    ]));
    assert_eq!(reading.verdict, Verdict::Valid);
    assert_eq!(reading.content.len(), 3);
    assert_eq!(reading.first(), Some(ms(20.0)));
    assert_eq!(reading.last(), Some(ms(40.0)));
    assert_eq!(reading.output.as_deref(), Some("Hello\nyou"));
    assert_eq!(reading.usage.unwrap().completion, Some(3));
    assert_eq!(reading.events, 6);
}

#[test]
fn no_content_is_an_error_that_says_what_came() {
    let foreign = r#"{"object":"chat.ping","choices":[{"index":0,"delta":{"content":"b"}}]}"#;
    let typed = r#"{"type":"ping"}"#;
    for (events, message, cause) in [
        (
            &[(Done, "")][..],
            "No event of the stream has content; all that came is [DONE]",
            "1 event",
        ),
        (
            &[(Data, ROLE), (Finish, "length"), (Data, USAGE), (Done, "")],
            "No event of the stream has content; what came is deltas without content, finish_reason \
             length, usage and [DONE]",
            "4 events",
        ),
        (
            &[(Data, "{bad"), (Data, "{worse")],
            "No event of the stream is JSON",
            "2 events, none of them JSON; the first begins: {bad",
        ),
        (
            &[(Empty, ""), (Data, "{bad json}")],
            "No event of the stream has content; what came is deltas without content and events that \
             are no JSON",
            "2 events; the first begins: {bad json}",
        ),
        (
            &[(Data, foreign), (Data, foreign)],
            "The events are objects of another kind: chat.ping",
            "2 events",
        ),
        (
            &[(Data, typed)],
            "No event of the stream has content; all that came is JSON with type ping",
            "1 event",
        ),
        (&[], "The event stream is empty: 200 OK", ""),
        (&[(Body, "")], "The response body is empty: 200 OK", ""),
        (
            &[(Body, r#"{"object":"chat.completion","choices":[]}"#)],
            "Content type text/event-stream, 200 OK: JSON without content: choices is empty",
            r#"41 bytes; the body begins: {"object":"chat.completion","choices":[]}"#,
        ),
        (
            &[(
                Body,
                r#"{"choices":[{"index":1,"message":{"content":""},"finish_reason":"stop"}]}"#,
            )],
            "Content type text/event-stream, 200 OK: JSON without content: choice 1 says nothing, \
             finish_reason stop",
            r#"73 bytes; the body begins: {"choices":[{"index":1,"message":{"content":""},"finish_reason":"stop"}]}"#,
        ),
        (
            &[(Body, "{\"choices\":")],
            "Content type text/event-stream, 200 OK: JSON that is broken",
            "11 bytes; the body begins: {\"choices\":",
        ),
    ] {
        let problem = problem(&stream(events));
        assert_eq!(problem.kind, "InvalidInferenceResultError");
        assert_eq!(problem.message, message);
        assert_eq!(problem.cause.unwrap_or_default(), cause);
    }
    let labelled = |status, kind: &str, body: &str| {
        let mut record = stream(&[(Body, body)]);
        record.wire.status = status;
        record.label = Some(Box::new(pinfire_base::record::Label {
            content_type: kind.to_owned(),
            ..Default::default()
        }));
        problem(&record)
    };
    let page = labelled(
        200,
        "text/html",
        "<!DOCTYPE html>\n<html>\n<body>It works!</body></html>",
    );
    assert_eq!(
        page.message,
        "Content type text/html, 200 OK: a page, no JSON: <!DOCTYPE html> …"
    );
    assert!(
        page.cause
            .unwrap()
            .ends_with("<body>It works!</body></html>")
    );
    assert_eq!(
        labelled(200, "", "all good").message,
        "No content type, 200 OK: text, no JSON"
    );
    assert_eq!(
        labelled(204, "", "").message,
        "The response has no body: 204 No Content"
    );
}

#[test]
fn a_redirect_names_its_target_without_its_credentials() {
    let mut record = stream(&[(Body, "<html>moved</html>")]);
    record.wire.status = 307;
    record.label = Some(Box::new(pinfire_base::record::Label {
        location: "https://u:p@other/v1?token=s".to_owned(),
        ..Default::default()
    }));
    let expected = (
        Some(307),
        "Temporary Redirect".into(),
        "Temporary Redirect to https://<redacted>@other/v1?token=<redacted>: redirects are not followed"
            .into(),
    );
    assert_eq!(triple(&record), expected);
}

#[test]
fn an_answer_that_the_server_broke_off_is_a_failure() {
    for (reason, is_failure) in [
        ("abort", true),
        ("error", true),
        ("stop", false),
        ("length", false),
        ("content_filter", false),
    ] {
        let record = stream(&[(Text, "a"), (Finish, reason)]);
        let reading = read(&record);
        assert_eq!(reading.finish, [(0, reason.to_owned().into())]);
        assert_eq!(reading.output.as_deref(), Some("a"), "what came is kept");
        match reading.verdict {
            Verdict::Error(problem) => {
                assert!(is_failure);
                let expected =
                    format!("The answer was aborted by the server: finish_reason {reason}");
                assert_eq!(problem.message, expected);
            }
            verdict => assert!(!is_failure, "{verdict:?}"),
        }
    }
}

#[test]
fn prose_then_tool_call_then_both() {
    let call = r#"{"tool_calls":[{"index":0,"function":{"name":"look","arguments":"{}"}}]}"#;
    let both = r#"{"content":"mixed","tool_calls":[{"function":{"arguments":"x"}}]}"#;
    let empty = r#"{"tool_calls":[{"function":{"name":"","arguments":""}}]}"#;
    let reading = read(&stream(&[
        (Text, "prose "),
        (Data, &chunk(call)),
        (Data, &chunk(both)),
        (Data, &chunk(empty)),
        (Empty, ""),
    ]));
    assert_eq!(reading.content.len(), 3);
    assert_eq!(reading.output.as_deref(), Some("prose look{}mixedx"));
}

#[test]
fn an_error_event_gives_the_comment_else_the_data() {
    let cases = [
        (
            "event: error\n: out of memory\ndata: {\"error\":{\"message\":\"no\"}}",
            "out of memory",
        ),
        ("event: error\ndata: {\"error\":{\"message\":\"no\"}}", "no"),
        ("event: error\ndata: {\"message\":\"flat\"}", "flat"),
        ("event: error\ndata: boom", "boom"),
    ];
    for (lines, message) in cases {
        let record = stream(&[(Text, "a"), (ErrorEvent, lines)]);
        let expected = (Some(502), "SSEResponseError".into(), message.into());
        assert_eq!(triple(&record), expected);
    }
    let alone = stream(&[(Text, "a"), (ErrorEvent, "event: error")]);
    assert_eq!(read(&alone).verdict, Verdict::Valid);
}

#[test]
fn an_error_object_in_data_is_an_error() {
    let plain = r#"{"error":{"message":"engine died","type":"x"}}"#;
    let coded = r#"{"error":{"message":"too long","code":400}}"#;
    for (data, code, message) in [(plain, 502, "engine died"), (coded, 400, "too long")] {
        let record = stream(&[(Text, "a"), (Data, data), (Done, "")]);
        let expected = (Some(code), "SSEResponseError".into(), message.into());
        assert_eq!(triple(&record), expected);
    }
    let null = chunk(r#"{"content":"a"}"#).replacen('{', r#"{"error":null,"#, 1);
    assert_eq!(read(&stream(&[(Data, &null)])).verdict, Verdict::Valid);
}

#[test]
fn what_is_not_json_is_nothing() {
    let reading = read(&stream(&[(Data, "{bad json}"), (Text, "a"), (Done, "")]));
    assert_eq!(reading.verdict, Verdict::Valid);
    assert_eq!(reading.unreadable.events, 1);
    assert_eq!(reading.unreadable.begins.as_deref(), Some("{bad json}"));
    assert_eq!(reading.first(), Some(ms(20.0)));
}

#[test]
fn content_after_done_counts() {
    let reading = read(&stream(&[(Text, "a"), (Done, ""), (Text, "b")]));
    assert_eq!(reading.last(), Some(ms(30.0)));
    assert_eq!(reading.output.as_deref(), Some("ab"));
}

#[test]
fn every_choice_is_output_and_a_stream_of_its_own() {
    let of = |index: u32, text: &str| {
        format!(
            r#"{{"object":"chat.completion.chunk","choices":[{{"index":{index},"delta":{{"content":"{text}"}}}}]}}"#
        )
    };
    let (b, d) = (of(1, "b"), of(1, "d"));
    let both = r#"{"choices":[{"index":0,"delta":{"content":"e"},"finish_reason":"stop"},{"index":1,"delta":{"content":"f"},"finish_reason":"length"}]}"#;
    let reading = read(&stream(&[
        (Text, "a"),
        (Data, &b),
        (Text, "c"),
        (Data, &d),
        (Data, both),
    ]));
    assert_eq!(reading.choice_count(), 2);
    assert_eq!(reading.content.len(), 5);
    let texts: Vec<_> = reading
        .choices
        .iter()
        .map(|one| one.output.as_deref())
        .collect();
    assert_eq!(texts, [Some("ace"), Some("bdf")]);
    assert_eq!(reading.output.as_deref(), Some("ace"));
    let times: Vec<_> = reading
        .choices
        .iter()
        .map(|one| (one.first, one.last))
        .collect();
    assert_eq!(times, [(ms(10.0), ms(50.0)), (ms(20.0), ms(50.0))]);
    assert_eq!(reading.second(), Some(ms(30.0)));
    assert_eq!(reading.finish, [(0, "stop".into()), (1, "length".into())]);
    // An index that counts tokens is no choice.
    let (one, two, three) = (of(1, "a"), of(2, "b"), of(3, "c"));
    let reading = read(&stream(&[
        (Data, &one),
        (Data, &two),
        (Data, &three),
        (Finish, "stop"),
    ]));
    assert_eq!((reading.choice_count(), reading.content.len()), (1, 3));
    assert_eq!(reading.output.as_deref(), Some("abc"));
}

#[test]
fn other_objects_are_ignored() {
    let other = r#"{"object":"chat.ping","choices":[{"index":0,"delta":{"content":"b"}}]}"#;
    let reading = read(&stream(&[(Data, other), (Text, "a")]));
    assert_eq!(reading.content.len(), 1);
    assert_eq!(reading.output.as_deref(), Some("a"));
}

#[test]
fn lines_that_are_no_events_are_read_where_they_say_something() {
    let whole =
        r#"{"object":"chat.completion","choices":[{"index":0,"message":{"content":"Hi"}}]}"#;
    let reading = read(&stream(&[(Bare, whole)]));
    assert_eq!(reading.verdict, Verdict::Valid);
    assert_eq!(reading.output.as_deref(), Some("Hi"));
    assert!(reading.quirks.has(pinfire_base::record::Quirks::BARE_JSON));
    for (lines, code, message) in [
        (r#"{"error":{"message":"no","code":503}}"#, 503, "no"),
        ("Internal Server Error", 502, "Internal Server Error"),
    ] {
        let record = stream(&[(Text, "a"), (Bare, lines), (Done, "")]);
        let expected = (Some(code), "SSEResponseError".into(), message.into());
        assert_eq!(triple(&record), expected);
        assert_eq!(read(&record).output.as_deref(), Some("a"));
    }
    let field = stream(&[
        (Text, "a"),
        (
            ErrorEvent,
            "error: {\"code\":500,\"message\":\"slot crashed\"}",
        ),
    ]);
    let expected = (Some(500), "SSEResponseError".into(), "slot crashed".into());
    assert_eq!(triple(&field), expected);
    let words = stream(&[(Text, "a"), (Data, "engine dead")]);
    assert_eq!(triple(&words).2, "engine dead");
    assert_eq!(
        read(&stream(&[(Text, "a"), (Data, "ping")])).verdict,
        Verdict::Valid
    );
}

#[test]
fn reasoning_is_a_first_token_but_no_output() {
    let hidden = r#"{"reasoning_content":"","reasoning":"hm"}"#;
    let mixed = r#"{"reasoning_content":"so","content":"yes"}"#;
    let reading = read(&stream(&[
        (Reasoning, "let me"),
        (Data, &chunk(hidden)),
        (Data, &chunk(mixed)),
    ]));
    assert_eq!(reading.first(), Some(ms(10.0)));
    let first_output = reading.content.iter().find(|c| c.output).unwrap();
    assert_eq!(first_output.at, ms(30.0));
    assert_eq!(reading.reasoning.as_deref(), Some("let mehmso"));
    assert_eq!(reading.output.as_deref(), Some("yes"));
}

#[test]
fn the_last_usage_wins_whole_and_the_first_chunk_keeps_its_count() {
    let with = |n: u32| {
        let data = chunk(r#"{"content":"x"}"#);
        data.replacen(
            '{',
            &format!(r#"{{"usage":{{"completion_tokens":{n}}},"#),
            1,
        )
    };
    let reading = read(&stream(&[
        (Data, &with(2)),
        (Data, &with(5)),
        (Data, r#"{"usage":{}}"#),
    ]));
    assert_eq!(reading.first_chunk_tokens, Some(2));
    assert_eq!(reading.usage.unwrap().completion, Some(5));
    assert_eq!(reading.usage.unwrap().prompt, None);
}

#[test]
fn a_whole_body_is_one_response() {
    let body = r#"{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":4}}"#;
    let reading = read(&stream(&[(Body, body)]));
    assert_eq!(reading.verdict, Verdict::Valid);
    assert_eq!(reading.content.len(), 1);
    assert_eq!(reading.finish, [(0, "stop".into())]);
    assert_eq!(reading.usage.unwrap().prompt, Some(4));

    let text = r#"{"object":"text_completion","choices":[{"index":0,"text":"Hi"}]}"#;
    let rules = Rules {
        answers: Answers::of(EndpointKind::Completions),
        ..Rules::default()
    };
    let reading = Reading::of(&stream(&[(Body, text)]), &rules);
    assert_eq!(reading.output.as_deref(), Some("Hi"));
}

#[test]
fn other_dialects_by_their_own_rules() {
    let read_as = |kind, marks: &[(MarkKind, &str)]| {
        let rules = Rules {
            answers: Answers::of(kind),
            ..Rules::default()
        };
        Reading::of(&stream(marks), &rules)
    };
    let reading = read_as(
        EndpointKind::Messages,
        &[
            (
                Data,
                r#"{"type":"message_start","message":{"usage":{"input_tokens":7,"output_tokens":1}}}"#,
            ),
            (
                Data,
                r#"{"type":"content_block_delta","delta":{"type":"thinking_delta","thinking":"hm"}}"#,
            ),
            (
                Data,
                r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"hi"}}"#,
            ),
            (
                Data,
                r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":5}}"#,
            ),
        ],
    );
    assert_eq!(reading.verdict, Verdict::Valid);
    let content: Vec<_> = reading.content.iter().map(|c| (c.at, c.output)).collect();
    assert_eq!(content, [(ms(20.0), false), (ms(30.0), true)]);
    let usage = reading.usage.unwrap();
    assert_eq!((usage.prompt, usage.completion), (Some(7), Some(5)));

    // The end of a text that came in pieces has a time, and no text.
    let reading = read_as(
        EndpointKind::Responses,
        &[
            (
                Data,
                r#"{"type":"response.output_text.delta","delta":"hi"}"#,
            ),
            (Data, r#"{"type":"response.output_text.done","text":"hi"}"#),
            (Data, r#"{"type":"response.completed","response":{}}"#),
        ],
    );
    assert_eq!(reading.output.as_deref(), Some("hi"));
    assert_eq!(reading.last(), Some(ms(20.0)));

    // Numbers are an answer without tokens.
    let body = r#"{"data":[{"object":"embedding","embedding":[0.5]}]}"#;
    let reading = read_as(EndpointKind::Embeddings, &[(Body, body)]);
    assert_eq!(reading.verdict, Verdict::Valid);
    assert_eq!((reading.output, reading.content.len()), (None, 1));
    let reading = read_as(EndpointKind::NimRankings, &[(Body, r#"{"rankings":[]}"#)]);
    assert!(matches!(reading.verdict, Verdict::Error(_)));
}

#[test]
fn an_error_status_is_its_body() {
    let mut record = stream(&[(Body, r#"{"error":{"message":"slow down"}}"#)]);
    record.wire.status = 429;
    let expected = (
        Some(429),
        "Too Many Requests".into(),
        r#"{"error":{"message":"slow down"}}"#.into(),
    );
    assert_eq!(triple(&record), expected);
    assert!(read(&record).content.is_empty());
}

#[test]
fn failures_have_the_names_that_users_know() {
    let failed = |failure: Failure| {
        let mut record = stream(&[(Text, "a"), (Text, "b")]);
        record.outcome = Outcome::Failed(failure);
        problem(&record)
    };
    let cases = [
        (
            Failure::Connect { errno: 111 },
            "ClientConnectorError",
            "localhost:8121: Connection refused",
        ),
        (
            Failure::Connect { errno: 99 },
            "ClientConnectorError",
            "no local port is left",
        ),
        (
            Failure::Connect { errno: 24 },
            "ClientConnectorError",
            "no file descriptor is left",
        ),
        (
            Failure::Connect { errno: 99 },
            "ClientConnectorError",
            "--source-ip",
        ),
        (
            Failure::Connect { errno: 23 },
            "ClientConnectorError",
            "on this machine",
        ),
        (
            Failure::Connect { errno: 113 },
            "ClientConnectorError",
            "No route to host",
        ),
        (
            Failure::ConnectTimeout { securing: false },
            "ConnectionTimeoutError",
            "localhost:8121: TCP connect",
        ),
        (
            Failure::ConnectTimeout { securing: true },
            "ConnectionTimeoutError",
            "TLS handshake",
        ),
        (
            Failure::HandshakeBroken { errno: 104 },
            "ClientConnectorSSLError",
            "Connection reset by peer in the TLS handshake",
        ),
        (
            Failure::HandshakeBroken { errno: 0 },
            "ClientConnectorSSLError",
            "closed the connection in the TLS handshake",
        ),
        (
            Failure::Tls {
                reason: "invalid peer certificate: UnknownIssuer".into(),
            },
            "ClientConnectorCertificateError",
            "localhost:8121 failed: invalid peer certificate: UnknownIssuer",
        ),
        (Failure::Stale, "KeepAliveRaceError", "reused connection"),
        (
            Failure::NoResponse,
            "ServerDisconnectedError",
            "without a response",
        ),
        (
            Failure::TruncatedHead,
            "ServerDisconnectedError",
            "response head",
        ),
        (
            Failure::Reset { errno: 104 },
            "ClientOSError",
            "Connection reset by peer",
        ),
        (Failure::Send { errno: 32 }, "ClientOSError", "Broken pipe"),
        (
            Failure::TruncatedBody {
                body_bytes: 77,
                errno: 104,
            },
            "ClientPayloadError",
            "Connection reset by peer",
        ),
        (
            Failure::Framing {
                offset: 7,
                cause: "chunk size",
            },
            "ClientResponseError",
            "chunk size",
        ),
        (
            Failure::Timeout {
                stage: Stage::Waiting,
            },
            "TimeoutError",
            "waiting",
        ),
    ];
    for (failure, kind, message) in cases {
        let problem = failed(failure);
        assert_eq!((problem.code, problem.kind.as_str()), (None, kind));
        assert!(problem.message.contains(message), "{}", problem.message);
        assert!(!problem.message.contains("key"), "{}", problem.message);
    }
    let send = failed(Failure::Timeout {
        stage: Stage::Sending,
    });
    assert_eq!(
        (send.code, send.kind.as_str()),
        (Some(0), "RequestSendTimeout")
    );
}

#[test]
fn what_differs_between_requests_is_in_the_cause() {
    let framing = |offset| {
        let mut record = stream(&[]);
        record.outcome = Outcome::Failed(Failure::Framing {
            offset,
            cause: "bad chunk",
        });
        problem(&record)
    };
    let (one, other) = (framing(7), framing(8));
    assert_eq!(one.message, other.message);
    assert_eq!(one.cause.as_deref(), Some("at byte 7 of the response"));
    assert_ne!(one.cause, other.cause);
}

#[test]
fn a_cancelled_request_keeps_what_it_showed() {
    let mut record = stream(&[(Text, "a"), (Text, "b")]);
    record.outcome = Outcome::Cancelled;
    record.cancel = Some(Cancel {
        done: Some(Disconnect {
            triggered: ms(1.0),
            acknowledged: Some(true),
            after: None,
            due: ms(91.0),
            asked: ms(91.0),
            closed: ms(91.01),
            stage: Stage::Streaming,
        }),
        ..Cancel::after(Span::from_millis(90))
    });
    let reading = read(&record);
    assert_eq!(reading.content.len(), 2);
    let expected = (
        Some(499),
        "RequestCancellationError".into(),
        "Request cancelled 0.090s after being sent".into(),
    );
    assert_eq!(triple(&record), expected);
    assert!(matches!(reading.verdict, Verdict::Cancelled(_)));
}

#[test]
fn an_answer_that_ends_before_it_begins_is_none() {
    let mut record = stream(&[(Text, "a")]);
    record.times.end = record.times.start;
    assert_eq!(problem(&record).kind, "InvalidInferenceResultError");
}
