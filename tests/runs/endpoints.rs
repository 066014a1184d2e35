//! Every kind of endpoint, from its flags to its figures: what is sent, what is counted, and when
//! the first token was there, against the scripted server and against exact bytes.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use pinfire_base::clock::Span;
use pinfire_tests::{
    binary::{Call, Ended, call},
    mock::{Mock, script},
    raw::Raw,
};
use pinfire_tools::mock::{Fault, FaultRule, Script, When};
use pinfire_workload::text::tokenizer::Tokenizer;
use serde_json::Value;

use super::sums;

/// The scripted answer: two tokens of reasoning, two of text, two of a tool call's arguments.
const REASONING: &str = " the of";
const TEXT: &str = " and to";
const NAME: &str = "look_up";
const ARGUMENTS: &str = r#"{"q":" in a"}"#;
const SIX: &str = " the of and to in a";

/// Time to its first token and between tokens, milliseconds.
const TTFT: f64 = 4.0;
const ITL: f64 = 2.0;

fn answering() -> Script {
    Script {
        ttft: Span::from_millis(TTFT as u64),
        itl: Span::from_millis(ITL as u64),
        tokens: 6,
        reasoning_tokens: 2,
        tool_tokens: 2,
        ..script()
    }
}

fn url(mock: &Mock) -> String {
    format!("http://{}", mock.address())
}

/// A run of this kind of endpoint; `flags` are separated by blanks.
fn asked(url: &str, kind: &str, flags: &str) -> Call {
    let arguments = [
        "profile",
        "--model",
        "mock",
        "--tokenizer",
        "builtin",
        "--url",
        url,
        "--endpoint-type",
        kind,
        "--artifact-dir",
        "out",
    ];
    call(arguments.into_iter().chain(flags.split_whitespace()))
}

fn tokens(text: &str) -> u64 {
    Tokenizer::builtin().unwrap().count(text) as u64
}

/// A metric of a line, if it is there.
fn metric(line: &Value, tag: &str) -> Option<f64> {
    let metric = &line["metrics"][tag];
    (!metric.is_null()).then(|| metric["value"].as_f64().expect(tag))
}

/// What a kind's lines must show.
struct Expected<'a> {
    isl: Option<u64>,
    output: &'a str,
    reasoning: &'a str,
    /// Least time to the first token, milliseconds; absent without a stream.
    ttft: Option<f64>,
    /// Least latency.
    latency: f64,
}

#[track_caller]
fn check(run: &Ended, expected: &Expected<'_>) {
    assert_eq!(sums(run), [3, 3, 0, 0, 0]);
    let lines = run.lines();
    assert_eq!(lines.len(), 3);
    let known = |text: &str| (!text.is_empty()).then(|| tokens(text) as f64);
    for line in &lines {
        let whole = |tag| metric(line, tag);
        assert_eq!(
            whole("input_sequence_length"),
            expected.isl.map(|isl| isl as f64),
            "{line}"
        );
        assert_eq!(
            whole("output_token_count"),
            known(expected.output),
            "{line}"
        );
        assert_eq!(
            whole("reasoning_token_count"),
            known(expected.reasoning),
            "{line}"
        );
        let osl = known(expected.output).unwrap_or(0.0) + known(expected.reasoning).unwrap_or(0.0);
        assert_eq!(
            whole("output_sequence_length"),
            (osl > 0.0).then_some(osl),
            "{line}"
        );
        let ttft = whole("time_to_first_token");
        assert_eq!(ttft.is_some(), expected.ttft.is_some(), "{line}");
        assert!(ttft >= expected.ttft, "{line}");
        assert!(
            whole("request_latency").unwrap() >= expected.latency,
            "{line}"
        );
        let gaps = whole("inter_token_latency");
        assert_eq!(gaps.is_some(), expected.ttft.is_some(), "{line}");
    }
    let json = run.json();
    assert_eq!(
        json["time_to_first_token"].is_object(),
        expected.ttft.is_some()
    );
    assert_eq!(
        json["input_sequence_length"].is_object(),
        expected.isl.is_some()
    );
}

const LOAD: &str = "--request-count 3 --isl 20";

#[test]
fn kinds_with_reasoning_and_tool_calls() {
    let mock = Mock::start(answering());
    let named = format!("{TEXT}{NAME}{ARGUMENTS}");
    let unnamed = format!("{TEXT}{ARGUMENTS}");
    for (kind, streamed) in [
        ("chat", named.as_str()),
        // Their events have the name in an event that has no content.
        ("responses", unnamed.as_str()),
        ("messages", unnamed.as_str()),
    ] {
        let run = asked(&url(&mock), kind, &format!("{LOAD} --streaming")).run();
        let mut expected = Expected {
            isl: Some(20),
            output: streamed,
            reasoning: REASONING,
            ttft: Some(TTFT),
            latency: TTFT + 5.0 * ITL,
        };
        check(&run.code(0), &expected);
        let run = asked(&url(&mock), kind, LOAD).run();
        expected.output = &named;
        expected.ttft = None;
        check(&run.code(0), &expected);
    }
}

#[test]
fn kinds_of_text_alone() {
    let mock = Mock::start(answering());
    for kind in ["completions", "huggingface-generate"] {
        let run = asked(&url(&mock), kind, &format!("{LOAD} --streaming")).run();
        let mut expected = Expected {
            isl: Some(20),
            output: SIX,
            reasoning: "",
            ttft: Some(TTFT),
            latency: TTFT + 5.0 * ITL,
        };
        check(&run.code(0), &expected);
        let run = asked(&url(&mock), kind, LOAD).run();
        expected.ttft = None;
        check(&run.code(0), &expected);
    }
}

#[test]
fn the_servers_own_counts() {
    let mock = Mock::start(answering());
    for kind in ["chat", "responses", "messages"] {
        for streaming in ["", "--streaming"] {
            let flags = format!("{LOAD} --use-server-token-count {streaming}");
            let run = asked(&url(&mock), kind, &flags).run().code(0);
            for line in run.lines() {
                // Anthropic's usage does not tell reasoning apart.
                let reasoning = (kind != "messages").then_some(2.0);
                assert_eq!(metric(&line, "reasoning_token_count"), reasoning, "{line}");
                assert_eq!(
                    metric(&line, "usage_completion_tokens"),
                    Some(6.0),
                    "{line}"
                );
                let output = 6.0 - reasoning.unwrap_or(0.0);
                assert_eq!(metric(&line, "output_token_count"), Some(output), "{line}");
                assert_eq!(metric(&line, "output_sequence_length"), Some(6.0), "{line}");
                let prompt = metric(&line, "usage_prompt_tokens");
                assert!(prompt.is_some() && prompt == metric(&line, "input_sequence_length"));
            }
        }
    }
    let flags = format!("{LOAD} --use-server-token-count --streaming --per-chunk-usage");
    let run = asked(&url(&mock), "chat", &flags).run().code(0);
    let inputs: Value = serde_json::from_str(&run.file("inputs.json")).unwrap();
    let body = &inputs["data"][0]["payloads"][0];
    assert_eq!(body["stream_options"]["continuous_usage_stats"], true);
}

#[test]
fn embeddings_have_no_tokens_and_no_first_one() {
    let mock = Mock::start(answering());
    for kind in ["embeddings", "chat_embeddings"] {
        let flags = format!("{LOAD} --streaming");
        let run = asked(&url(&mock), kind, &flags).run().code(0);
        let expected = Expected {
            isl: Some(20),
            output: "",
            reasoning: "",
            ttft: None,
            latency: TTFT,
        };
        check(&run, &expected);
        assert!(
            run.stderr
                .contains(&format!("--streaming: {kind} has no streams"))
        );
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        assert!(run.stdout.contains("Embeddings Metrics"), "{}", run.stdout);
        assert!(!run.stdout.contains("LLM Metrics"));
        assert!(!run.file("profile_export_aiperf.csv").contains("Output"));
    }
}

#[test]
fn rankings_count_query_and_passages() {
    let mock = Mock::start(answering());
    for (kind, title, payload) in [
        (
            "nim_rankings",
            "Rankings Metrics",
            r#"{"query":{"text":"one two"},"passages":[{"text":"three"}]}"#,
        ),
        (
            "cohere_rankings",
            "Ranking Metrics",
            r#"{"query":"one two","documents":["three"]}"#,
        ),
        (
            "hf_tei_rankings",
            "Ranking Metrics",
            r#"{"query":"one two","texts":["three"]}"#,
        ),
    ] {
        let run = with_payload(&url(&mock), kind, payload, "").run().code(0);
        let expected = Expected {
            isl: Some(tokens("one two three")),
            output: "",
            reasoning: "",
            ttft: None,
            latency: TTFT,
        };
        check(&run, &expected);
        assert!(run.stdout.contains(&format!(" {title}")), "{}", run.stdout);
    }
}

/// A run that sends this payload as it is.
fn with_payload(url: &str, kind: &str, payload: &str, flags: &str) -> Call {
    let line = format!("{{\"payload\":{payload}}}\n");
    let flags = format!(
        "--request-count 3 --input-file trace.jsonl --custom-dataset-type mooncake_trace {flags}"
    );
    let call = asked(url, kind, &flags);
    std::fs::write(call.folder().join("trace.jsonl"), line).unwrap();
    call
}

#[test]
fn raw_sends_payloads_and_finds_the_answer() {
    let mock = Mock::start(answering());
    let own = format!("{}/own/path", url(&mock));
    let mut expected = Expected {
        isl: Some(tokens("say it")),
        output: TEXT,
        reasoning: "",
        // Reasoning is nothing that it looks for: the third token is the first.
        ttft: Some(TTFT + 2.0 * ITL),
        latency: TTFT + 3.0 * ITL,
    };
    let payload = r#"{"prompt":"say it","stream":true}"#;
    let run = with_payload(&own, "raw", payload, "--streaming").run();
    check(&run.code(0), &expected);
    expected.ttft = None;
    let payload = r#"{"prompt":"say it"}"#;
    check(
        &with_payload(&own, "raw", payload, "").run().code(0),
        &expected,
    );
    // The path of a field: the reasoning, and nothing else.
    expected.output = REASONING;
    let field = "--extra-inputs response_field:choices[0].message.reasoning_content";
    check(
        &with_payload(&own, "raw", payload, field).run().code(0),
        &expected,
    );
}

#[test]
fn templates_make_the_bodies() {
    let mock = Mock::start(answering());
    let write = |call: Call| {
        let template = r#"{"prompt": {{ text|tojson }}, "stream": {{ stream|tojson }}}"#;
        std::fs::write(call.folder().join("own.jinja"), template).unwrap();
        call.run().code(0)
    };
    let flags = format!("{LOAD} --endpoint /mine --extra-inputs payload_template:own.jinja");
    let mut expected = Expected {
        isl: Some(20),
        output: TEXT,
        reasoning: "",
        ttft: Some(TTFT + 2.0 * ITL),
        latency: TTFT + 3.0 * ITL,
    };
    let streaming = format!("{flags} --streaming");
    check(
        &write(asked(&url(&mock), "template", &streaming)),
        &expected,
    );
    expected.ttft = None;
    check(&write(asked(&url(&mock), "template", &flags)), &expected);
    // A body without a text in a known place has no input length.
    let flags = format!("{LOAD} --extra-inputs payload_template:nv-embedqa");
    expected.isl = None;
    let run = asked(&url(&mock), "template", &flags).run().code(0);
    check(&run, &expected);
    let inputs: Value = serde_json::from_str(&run.file("inputs.json")).unwrap();
    assert!(inputs["data"][0]["payloads"][0]["text"][0].is_string());
}

#[test]
fn answers_without_content_are_errors_of_every_kind() {
    let mock = Mock::start(Script {
        faults: vec![FaultRule {
            fault: Fault::NoTokens,
            when: When::Every(1),
        }],
        ..answering()
    });
    for kind in [
        "chat",
        "completions",
        "responses",
        "messages",
        "huggingface_generate",
        "embeddings",
        "chat_embeddings",
    ] {
        let run = asked(&url(&mock), kind, LOAD).run().code(1);
        assert_eq!(sums(&run), [3, 3, 3, 0, 0], "{kind}");
    }
    for kind in ["responses", "messages", "completions"] {
        let run = asked(&url(&mock), kind, &format!("{LOAD} --streaming")).run();
        assert_eq!(sums(&run.code(1)), [3, 3, 3, 0, 0], "{kind}");
    }
}

/// A server that answers each request with these events, and what it was asked.
fn replies(events: &[&str]) -> Raw {
    let mut body = String::new();
    for event in events {
        body.push_str(&format!("data: {event}\n\n"));
    }
    Raw::answering(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// The bodies of one conversation of two turns against a server with this answer.
#[track_caller]
fn two_turns(kind: &str, events: &[&str]) -> (String, Vec<Value>) {
    let server = replies(events);
    let url = format!("http://{}", server.address());
    let flags = "--streaming --num-conversations 1 --session-turns-mean 2 --isl 5 --api-key k1 \
                 --shared-system-prompt-length 5";
    asked(&url, kind, flags).run().code(0);
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    let bodies = seen.iter().map(|request| request.json()).collect();
    (seen[0].head.clone(), bodies)
}

#[test]
fn the_first_token_of_any_dialect_frees_a_prefill_slot() {
    let mock = Mock::start(answering());
    let flags = "--streaming --isl 5 --request-count 6 --concurrency 3 --prefill-concurrency 1";
    for kind in ["chat", "responses", "messages", "huggingface_generate"] {
        let run = asked(&url(&mock), kind, flags).run().code(0);
        let lines = run.lines();
        let span = |line: &Value| {
            let start = line["metadata"]["request_start_ns"].as_u64().unwrap();
            let ttft = metric(line, "time_to_first_token").unwrap();
            (start, start + (ttft * 1e6).round() as u64)
        };
        let mut spans: Vec<(u64, u64)> = lines.iter().map(span).collect();
        spans.sort_unstable();
        for pair in spans.windows(2) {
            // A microsecond for what display units round away.
            assert!(pair[1].0 + 1_000 >= pair[0].1, "{kind}: {spans:?}");
        }
    }
}

#[test]
fn a_prefill_slot_is_free_before_the_answer_has_ended() {
    for (kind, before, token) in [
        (
            "chat",
            r#"{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant"}}]}"#,
            r#"{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":"f"}}]}}]}"#,
        ),
        (
            "responses",
            r#"{"type":"response.created"}"#,
            r#"{"type":"response.reasoning_text.delta","delta":"x"}"#,
        ),
        (
            "messages",
            r#"{"type":"message_start","message":{}}"#,
            r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"x"}}"#,
        ),
    ] {
        let arrived = AtomicUsize::new(0);
        // Each answer ends only when both requests are there.
        let server = Raw::start(move |conn| {
            while conn.request().is_some() {
                arrived.fetch_add(1, Ordering::AcqRel);
                let events = format!("data: {before}\n\ndata: {token}\n\n");
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: ";
                conn.send(format!("{head}{}\r\n\r\n{events}", events.len() + 1).as_bytes());
                while arrived.load(Ordering::Acquire) < 2 {
                    std::thread::sleep(Duration::from_millis(1));
                }
                conn.send(b"\n");
            }
        });
        let url = format!("http://{}", server.address());
        let flags = "--streaming --isl 5 --request-count 2 --concurrency 2 --prefill-concurrency 1 \
                     --request-timeout-seconds 30";
        let run = asked(&url, kind, flags).run().code(0);
        assert_eq!(sums(&run), [2, 2, 0, 0, 0], "{kind}");
    }
}

#[test]
fn the_history_of_a_chat_has_its_tool_calls() {
    let call = |rest: &str| {
        format!(
            r#"{{"object":"chat.completion.chunk","choices":[{{"index":0,"delta":{{"tool_calls":[{{"index":0,{rest}}}]}}}}]}}"#
        )
    };
    let first = call(r#""id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\""}"#);
    let second = call(r#""function":{"arguments":":1}"}"#);
    let text = r#"{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"so \"x\""}}]}"#;
    let (head, bodies) = two_turns("chat", &[text, &first, &second, "[DONE]"]);
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"));
    assert!(head.contains("\r\nAuthorization: Bearer k1\r\n"));
    let (before, now) = (&bodies[0]["messages"], &bodies[1]["messages"]);
    assert_eq!(now[0], before[0], "the system message is there once");
    assert_eq!(now[1], before[1]);
    let expected = serde_json::json!({"role": "assistant", "content": "so \"x\"", "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]});
    assert_eq!(now[2], expected);
    assert_eq!(now[3]["role"], "user");
    assert_eq!(now.as_array().unwrap().len(), 4);
}

#[test]
fn the_history_of_responses_is_their_output() {
    let item = r#"{"id":"m1","type":"message","role":"assistant","content":[{"type":"output_text","text":"hi"}]}"#;
    let events = [
        r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"hi"}"#
            .to_owned(),
        format!(r#"{{"type":"response.output_item.done","output_index":0,"item":{item}}}"#),
        format!(
            r#"{{"type":"response.completed","response":{{"status":"completed","output":[{{"id":"r","type":"reasoning"}},{item}],"usage":{{"input_tokens":1,"output_tokens":1}}}}}}"#
        ),
    ];
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let (head, bodies) = two_turns("responses", &events);
    assert!(head.starts_with("POST /v1/responses HTTP/1.1\r\n"));
    let item: Value = serde_json::from_str(item).unwrap();
    let now = &bodies[1]["input"];
    assert_eq!(now[0], bodies[0]["input"][0]);
    assert_eq!(now[1], item);
    assert_eq!(
        (&now[2]["role"], &now[2]["type"]),
        (&"user".into(), &"message".into())
    );
    assert_eq!(now.as_array().unwrap().len(), 3);
    assert!(bodies[1]["instructions"].is_string());
    assert_eq!(bodies[1].get("stream_options"), None);
}

#[test]
fn the_history_of_messages_is_blocks_and_the_key_is_anthropics() {
    let events = [
        r#"{"type":"message_start","message":{"usage":{"input_tokens":3,"output_tokens":1}}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"hi"}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}"#,
        r#"{"type":"message_stop"}"#,
    ];
    let (head, bodies) = two_turns("messages", &events);
    assert!(head.starts_with("POST /v1/messages HTTP/1.1\r\n"));
    assert!(head.contains("\r\nx-api-key: k1\r\n") && !head.contains("Authorization"));
    assert!(head.contains("\r\nanthropic-version: 2023-06-01\r\n"));
    let now = &bodies[1]["messages"];
    assert_eq!(now[0], bodies[0]["messages"][0]);
    assert_eq!(
        now[1],
        serde_json::json!({"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "hi"}]})
    );
    assert_eq!(now.as_array().unwrap().len(), 3);
    assert!(bodies[1]["system"].is_string());
    assert_eq!(bodies[1]["max_tokens"], 1024);
}

#[test]
fn paths_and_the_folders_name() {
    let server = Raw::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 22\r\n\r\n\
         {\"generated_text\":\"x\"}",
    );
    let url = format!("http://{}/base", server.address());
    let run = |flags: &[&str]| {
        let mut all = vec![
            "profile",
            "--model",
            "org/m",
            "--tokenizer",
            "builtin",
            "--url",
            &url,
        ];
        all.extend(flags);
        all.extend([
            "--request-count",
            "1",
            "--isl",
            "5",
            "--endpoint-type",
            "HuggingFace-Generate",
        ]);
        let call = call(all);
        let folder = call.folder().join("artifacts");
        let ended = call.run().code(0);
        let names = std::fs::read_dir(&folder).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["org_m-openai-huggingface_generate-concurrency1"]);
        drop(ended);
    };
    run(&[]);
    run(&["--streaming"]);
    run(&["--streaming", "--endpoint", "/mine"]);
    let seen = server.seen();
    let paths: Vec<&str> = seen
        .iter()
        .map(|request| request.head.split(' ').nth(1).unwrap())
        .collect();
    assert_eq!(
        paths,
        ["/base/generate", "/base/generate_stream", "/base/mine"]
    );
    assert!(seen[1].head.contains("\r\nAccept: text/event-stream\r\n"));
}

#[test]
fn flags_that_do_not_suit_the_kind() {
    for (kind, flags, words) in [
        (
            "completions",
            "--session-turns-mean 2",
            "completions has no conversations",
        ),
        ("template", "", "payload_template"),
        (
            "template",
            "--extra-inputs payload_template:no",
            "JSON object; it gave: no",
        ),
        ("raw", "", "--input-file"),
        ("nim_rankings", "--osl 5", "no output tokens"),
        (
            "responses",
            "--use-legacy-max-tokens",
            "no field of that name",
        ),
        (
            "embeddings",
            "--streaming --prefill-concurrency 1",
            "embeddings has no streams",
        ),
        ("completions", "--per-chunk-usage", "chat only"),
        ("chat", "--per-chunk-usage", "needs --streaming"),
        (
            "chat",
            "--per-chunk-usage --streaming",
            "needs --use-server-token-count",
        ),
    ] {
        let run = asked("mock:", kind, flags).run().code(1);
        super::refusals::one_line(&run, words);
    }
}
