//! Whole runs whose answers are odd: what the summary and the screen say of them, and that a report
//! made from the files says the same.

use std::sync::atomic::{AtomicUsize, Ordering};

use pinfire_tests::{
    binary::{call, profile},
    raw::Raw,
};
use serde_json::json;

/// A chunk of chat without its frame.
fn chunk(index: u32, delta: &str, finish: &str) -> String {
    format!(
        r#"{{"object":"chat.completion.chunk","choices":[{{"index":{index},"delta":{delta},"finish_reason":{finish}}}]}}"#
    )
}

/// A server whose requests are answered in turn: as it should be, broken off, declined, with an
/// event that is cut, with two choices, under another label, without blank lines.
fn odd() -> Raw {
    let event = |data: &str| format!("data: {data}\n\n");
    let text = |word: &str| chunk(0, &format!(r#"{{"content":" {word}"}}"#), "null");
    let stop = event(&chunk(0, "{}", r#""stop""#));
    let fine = event(&text("alpha")) + &event(&text("beta")) + &stop;
    let second = chunk(1, r#"{"content":" beta"}"#, r#""length""#);
    let bodies = [
        ("text/event-stream", fine.clone()),
        (
            "text/event-stream",
            event(&text("alpha")) + &event(&chunk(0, "{}", r#""abort""#)),
        ),
        (
            "text/event-stream",
            event(&chunk(0, r#"{"refusal":"no"}"#, "null")) + &stop,
        ),
        ("text/event-stream", event("{\"cut") + &fine),
        (
            "text/event-stream",
            event(&text("alpha")) + &event(&second) + &stop,
        ),
        ("application/json", fine.clone()),
        ("text/event-stream", fine.replace("\n\n", "\n")),
    ];
    let next = AtomicUsize::new(0);
    Raw::start(move |conn| {
        while conn.request().is_some() {
            let (kind, body) = &bodies[next.fetch_add(1, Ordering::Relaxed) % bodies.len()];
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            conn.send(format!("{head}{body}").as_bytes());
        }
    })
}

#[test]
fn what_was_odd_is_counted_in_the_summary_and_said_on_the_screen() {
    let server = odd();
    let url = format!("http://{}", server.address());
    for level in ["records", "raw"] {
        let more = format!("--concurrency 1 --request-count 14 --export-level {level}");
        let run = profile(&url, &more).run().code(0);
        let answers = json!({
            "finish_reasons": {"abort": 2, "length": 2, "stop": 12},
            "several_choices": {"2": 2},
            "refused": 2,
            "read_as": {"event_stream_not_declared": 2, "events_without_blank_lines": 2},
            "unreadable_events": {"requests": 2, "events": 2, "first_begins": "{\"cut"},
        });
        let summary = run.json();
        assert_eq!(summary["answers"], answers);
        let errors = summary["error_summary"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(errors[0]["count"], 2);
        let message = errors[0]["error_details"]["message"].as_str().unwrap();
        assert!(message.contains("aborted by the server"), "{message}");
        for words in [
            "Odd Answers",
            "abort 2",
            "The model declined",
            "Events that are no JSON: 2 in 2 requests",
            "event_stream_not_declared 2",
        ] {
            assert!(
                run.stdout.contains(words),
                "{words} is not in:\n{}",
                run.stdout
            );
        }
        let folder = run.folder().join("out");
        let folder = folder.to_string_lossy();
        let again = call(["report", &folder, "--output", "out"]).run().code(0);
        let again = again.json();
        assert_eq!(again["request_count"], summary["request_count"], "{level}");
        assert_eq!(again["answers"], summary["answers"], "{level}");
    }
}
