//! Whole runs whose answers are odd: what the summary and the screen say of them, and that a report
//! made from the files says the same.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

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

#[test]
fn several_prompts_in_one_request_are_input_and_output_of_all() {
    let text = |index: u32, word: &str| {
        format!(
            "data: {{\"object\":\"text_completion\",\"choices\":[{{\"index\":{index},\"text\":\"{word}\"}}]}}\n\n"
        )
    };
    let server = Raw::start(move |conn| {
        if conn.request().is_some() {
            let rounds = [" alpha", " beta", " gamma"];
            let events =
                rounds.map(|word| (0..3).map(|index| text(index, word)).collect::<String>());
            conn.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n",
            );
            for event in events {
                conn.send(event.as_bytes());
                std::thread::sleep(Duration::from_millis(20));
            }
            conn.send(b"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":6,\"completion_tokens\":9}}\n\n");
            conn.send(b"data: [DONE]\n\n");
        }
    });
    let url = format!("http://{}", server.address());
    let flags = format!(
        "profile --model m --tokenizer builtin --url {url} --artifact-dir out --streaming \
         --endpoint-type completions --request-count 1 --isl 20 --no-server-metrics \
         --extra-inputs {{\"prompt\":[\"hello\",\"world\",\"hello\"]}}"
    );
    let call = call(flags.split_whitespace());
    let run = call.run().code(0);
    let line = &run.lines()[0];
    let value = |tag: &str| line["metrics"][tag]["value"].as_f64();
    assert_eq!(value("input_sequence_length"), Some(3.0), "{line}");
    assert_eq!(value("output_sequence_length"), Some(9.0), "{line}");
    assert_eq!(line["metadata"]["answer"]["choices"], 3);
    // Two pauses of 20 ms at least are between the first and the last of each prompt's tokens.
    assert!(value("inter_token_latency") >= Some(20.0), "{line}");
    let [latency, ttft] = ["request_latency", "time_to_first_token"].map(|tag| value(tag).unwrap());
    assert!(latency >= ttft + 40.0, "{line}");
}

#[test]
fn a_warmup_that_fails_is_told_once() {
    let server =
        Raw::answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy");
    let url = format!("http://{}", server.address());
    let more = "--request-count 2 --warmup-request-count 5 --concurrency 1";
    let run = profile(&url, more).run().code(1);
    let words = "5 of 5 requests failed, all with 503 Service Unavailable: busy";
    assert_eq!(run.stderr.matches(words).count(), 1, "{}", run.stderr);
    assert!(
        run.stdout.contains(&format!("Warmup: {words}")),
        "{}",
        run.stdout
    );
    let log = run.file("logs/pinfire.log");
    for line in [
        "warmup has ended",
        "5 started, 5 answered, 0 broken, 0 cancelled by plan, 0 dropped",
        "the answers of the warmup: 0 good, 5 error answers, 0 broken, 0 cancelled by plan, 0 dropped",
        "the answers of the measurement: 0 good, 2 error answers, 0 broken",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
}

#[test]
fn errors_with_ids_are_one_kind_on_the_console_and_in_the_file() {
    let next = AtomicUsize::new(0);
    let server = Raw::start(move |conn| {
        while conn.request().is_some() {
            let id = next.fetch_add(1, Ordering::Relaxed);
            let body = format!(
                r#"{{"error":{{"message":"Internal error","request_id":"req_{id:024x}","at":"2026-11-30T19:45:{:02}.5Z"}}}}"#,
                id % 60
            );
            let head = format!(
                "HTTP/1.1 500 Oops\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            conn.send(format!("{head}{body}").as_bytes());
        }
    });
    let url = format!("http://{}", server.address());
    let run = profile(&url, "--request-count 300 --concurrency 3")
        .run()
        .code(1);
    let summary = run.json();
    let errors = summary["error_summary"].as_array().unwrap();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0]["count"], 300);
    let message = errors[0]["error_details"]["message"].as_str().unwrap();
    assert!(
        message.contains(r#""request_id":"<id>","at":"<time>""#),
        "{message}"
    );
    let example = errors[0]["example"].as_str().unwrap();
    assert!(
        example.contains("req_0000") && example.contains("2026-11-30T19:45:"),
        "{example}"
    );
    assert_eq!(
        run.stdout.matches("request_id").count(),
        1,
        "{}",
        run.stdout
    );
    // Each line of the per-request file has its own.
    let lines = run.lines();
    let own: std::collections::BTreeSet<String> = lines
        .iter()
        .map(|line| line["error"]["message"].to_string())
        .collect();
    assert_eq!(own.len(), 300);
}
