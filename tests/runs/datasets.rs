//! Datasets from files as whole runs: what is on the wire, in `inputs.json` and in the schedule.

use std::collections::BTreeSet;

use pinfire_tests::{
    binary::{Call, Ended, call},
    raw::Raw,
};
use serde_json::{Value, json};

use super::sums;

/// A run against `url` over `file` in its own folder.
fn over(url: &str, file: (&str, &str), flags: &str) -> Call {
    let (name, content) = file;
    let line = format!(
        "profile --model m --tokenizer builtin --url {url} --artifact-dir out --input-file {name} \
         {flags}"
    );
    let call = call(line.split_whitespace());
    std::fs::write(call.folder().join(name), content).expect("a file");
    call
}

/// A server that answers every request with this text and keeps what it was sent.
fn server(text: &str) -> Raw {
    let body = json!({
        "object": "chat.completion",
        "choices": [{"message": {"role": "assistant", "content": text}}],
    });
    let body = body.to_string();
    Raw::answering(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn url(server: &Raw) -> String {
    format!("http://{}", server.address())
}

/// The bodies that came, in order.
fn sent(server: &Raw) -> Vec<String> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("a body is text");
    server
        .seen()
        .into_iter()
        .map(|seen| text(seen.sent))
        .collect()
}

fn parsed(bodies: &[String]) -> Vec<Value> {
    let parse = |body: &String| serde_json::from_str(body).expect("a body is JSON");
    bodies.iter().map(parse).collect()
}

/// The schedule's lines of a dry run.
fn dry(file: (&str, &str), flags: &str) -> Vec<Value> {
    let run = over("http://127.0.0.1:9", file, &format!("{flags} --dry-run"))
        .run()
        .code(0);
    parsed(&run.stdout.lines().map(str::to_owned).collect::<Vec<_>>())
}

const ROWS: &str = r#"{"text": "one \"quoted\" ü", "output_length": 5}
{"texts": ["two", "parts"], "extra": {"temperature": 0.1, "seed": 12345678901234}}
{"text": "three", "role": "developer"}
"#;

#[test]
fn single_turns_and_their_replay() {
    let first = server("fine");
    let flags = "--request-count 3 --osl 7 --extra-inputs top_p:0.95 --random-seed 1";
    let run = over(&url(&first), ("rows.jsonl", ROWS), flags)
        .run()
        .code(0);
    assert_eq!(sums(&run), [3, 3, 0, 0, 0]);
    let bodies = parsed(&sent(&first));
    assert_eq!(
        bodies[0]["messages"],
        json!([{"role": "user", "content": "one \"quoted\" ü"}])
    );
    let limits: Vec<&Value> = bodies
        .iter()
        .map(|body| &body["max_completion_tokens"])
        .collect();
    assert_eq!(limits, [5, 7, 7], "a line's own length beats --osl");
    let parts = json!([{"type": "text", "text": "two"}, {"type": "text", "text": "parts"}]);
    assert_eq!(bodies[1]["messages"][0]["content"], parts);
    assert_eq!(bodies[2]["messages"][0]["role"], "developer");

    let again = server("fine");
    let inputs = run.file("inputs.json");
    // The format is recognised.
    let replay = over(&url(&again), ("inputs.json", &inputs), "--request-count 3")
        .run()
        .code(0);
    assert_eq!(sent(&first), sent(&again));
    assert!(
        !replay.has("inputs.json"),
        "what is a file of bodies already gets no other one"
    );
    let ids = |run: &Ended| -> BTreeSet<String> {
        let lines = run.lines();
        lines
            .iter()
            .map(|line| line["metadata"]["conversation_id"].to_string())
            .collect()
    };
    assert_eq!(ids(&run), ids(&replay), "sessions keep their ids");
}

#[test]
fn a_synthetic_run_is_replayed_byte_for_byte() {
    let (first, again) = (server("fine"), server("fine"));
    let line = format!(
        "profile --model m --tokenizer builtin --url {} --artifact-dir out --isl 30 --isl-stddev 9 \
         --osl 4 --request-count 12 --streaming",
        url(&first)
    );
    let run = call(line.split_whitespace()).run().code(0);
    let inputs = run.file("inputs.json");
    let flags = "--request-count 12 --custom-dataset-type inputs_json --streaming";
    over(&url(&again), ("inputs.json", &inputs), flags)
        .run()
        .code(0);
    let bodies = sent(&first);
    assert_eq!(bodies.len(), 12);
    assert_eq!(bodies, sent(&again));
}

#[test]
fn conversations_carry_the_live_replies() {
    let talk = r#"{"session_id": "x", "turns": [{"role": "system", "text": "s"}, {"text": "a"}, {"text": "b", "delay": 3}]}
{"turns": [{"text": "c"}, {"role": "assistant", "text": "d"}]}
"#;
    let server = server("reply");
    let run = over(&url(&server), ("talk.jsonl", talk), "--request-count 4")
        .run()
        .code(0);
    assert!(
        run.stderr.contains("1 turns of the assistant"),
        "{}",
        run.stderr
    );
    let said: Vec<Value> = parsed(&sent(&server))
        .iter()
        .map(|body| body["messages"].clone())
        .collect();
    let message = |role: &str, content: &str| json!({"role": role, "content": content});
    let (system, reply) = (message("system", "s"), message("assistant", "reply"));
    assert_eq!(said[0], json!([system, message("user", "a")]));
    assert_eq!(
        said[1],
        json!([system, message("user", "a"), reply, message("user", "b")])
    );
    assert_eq!(said[2], json!([message("user", "c")]));
    assert_eq!(
        said[3],
        json!([message("user", "c"), reply, message("assistant", "d")])
    );
    let inputs: Value =
        serde_json::from_str(&run.file("inputs.json")).expect("inputs.json is JSON");
    let alone = &inputs["data"][0]["payloads"][1]["messages"];
    assert_eq!(
        *alone,
        json!([system, message("user", "b")]),
        "without history"
    );
}

#[test]
fn payloads_go_out_byte_for_byte() {
    let lines = "{ \"messages\":[{\"role\":\"user\",\"content\":\"a\"}],  \"n\": 1.0 }\n\
                 {\"messages\": [{\"role\": \"user\", \"content\": \"b\"}], \"stream\": false}\n";
    let server = server("fine");
    let flags = "--custom-dataset-type raw_payload --request-count 2 --endpoint-type completions \
                 --endpoint /v1/chat/completions";
    let run = over(&url(&server), ("bodies.jsonl", lines), flags).run();
    assert_eq!(sent(&server), lines.lines().collect::<Vec<_>>());
    assert!(!run.has("inputs.json"));
}

#[test]
fn unsorted_timestamps_are_sent_in_order() {
    let rows = r#"{"text": "c", "timestamp": 300, "session_id": "c"}
{"text": "a", "timestamp": 100, "session_id": "a"}
{"text": "b1", "timestamp": 200, "session_id": "b1"}
{"text": "b2", "timestamp": 200, "session_id": "b2"}
"#;
    let file = ("rows.jsonl", rows);
    let lines = dry(file, "--fixed-schedule");
    let order: Vec<&str> = lines
        .iter()
        .map(|line| line["conversation"].as_str().unwrap())
        .collect();
    assert_eq!(order, ["a", "b1", "b2", "c"]);
    let at: Vec<u64> = lines
        .iter()
        .map(|line| line["scheduled_ns"].as_u64().unwrap())
        .collect();
    assert_eq!(at, [0, 100_000_000, 100_000_000, 200_000_000]);
    // Only formats of traces are sent by their timestamps unasked.
    let named = dry(file, "--custom-dataset-type single_turn --request-count 4");
    assert!(named.iter().all(|line| line["scheduled_ns"].is_null()));
}

#[test]
fn sessions_take_conversations_in_the_asked_order() {
    let rows: String = (0..30)
        .map(|n| format!("{{\"text\": \"{n}\", \"session_id\": \"{n:02}\"}}\n"))
        .collect();
    let file = ("rows.jsonl", rows.as_str());
    let order = |flags: &str| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        dry(file, flags)
            .iter()
            .map(|line| (text(&line["phase"]), text(&line["conversation"])))
            .collect()
    };
    let ids = |lines: &[(String, String)]| -> Vec<String> {
        lines.iter().map(|(_, id)| id.clone()).collect()
    };
    let all: BTreeSet<String> = (0..30).map(|n| format!("{n:02}")).collect();
    let warm = "--warmup-request-count 10 --request-count 50 --random-seed 4";
    let sequential = order(warm);
    assert_eq!(
        sequential[9..11],
        [
            ("warmup".into(), "09".into()),
            ("profiling".into(), "10".into())
        ]
    );

    let shuffled = order(&format!("{warm} --dataset-sampling-strategy shuffle"));
    assert_eq!(
        shuffled,
        order(&format!(
            "{warm} --dataset-sampling-strategy SHUFFLE --cores 1"
        ))
    );
    let passes = ids(&shuffled);
    for pass in passes.chunks(30) {
        let taken: BTreeSet<String> = pass.iter().cloned().collect();
        assert_eq!(
            taken, all,
            "a pass over warmup and profiling takes each once"
        );
    }
    assert_ne!(passes[..30], passes[30..]);
    assert_ne!(ids(&sequential), passes);

    let random = ids(&order(&format!(
        "{warm} --dataset-sampling-strategy random"
    )));
    let distinct: BTreeSet<&String> = random[..30].iter().collect();
    assert!((12..28).contains(&distinct.len()), "{random:?}");
    let other = warm.replace("seed 4", "seed 5");
    assert_ne!(
        random,
        ids(&order(&format!(
            "{other} --dataset-sampling-strategy random"
        )))
    );
}

#[test]
fn models_are_taken_in_turn_or_drawn() {
    let rows: String = (0..40)
        .map(|n| format!("{{\"text\": \"{n}\"}}\n"))
        .collect();
    let models = |flags: &str| -> Vec<String> {
        let server = server("fine");
        let flags = format!("--request-count 40 --random-seed 2 --model a,b {flags}");
        let line = format!(
            "profile --tokenizer builtin --url {} --artifact-dir out --input-file rows.jsonl {flags}",
            url(&server)
        );
        let call = call(line.split_whitespace());
        std::fs::write(call.folder().join("rows.jsonl"), &rows).expect("a file");
        call.run().code(0);
        let text = |body: &Value| body["model"].as_str().expect("a model").to_owned();
        parsed(&sent(&server)).iter().map(text).collect()
    };
    let in_turn = models("");
    assert!(
        in_turn.chunks(2).all(|two| two == ["a", "b"]),
        "{in_turn:?}"
    );
    let drawn = models("--model-selection-strategy random");
    assert_eq!(drawn, models("--model-selection-strategy Random"));
    let of_a = drawn.iter().filter(|model| *model == "a").count();
    assert!((8..33).contains(&of_a) && drawn != in_turn, "{drawn:?}");
}

#[test]
fn users_take_conversations_from_a_file() {
    let talk: String = (0..3)
        .map(|n| format!("{{\"session_id\": \"{n}\", \"turns\": [{{\"text\": \"a\"}}, {{\"text\": \"b\"}}]}}\n"))
        .collect();
    let flags = "--user-centric-rate 50 --num-users 2 --request-count 6";
    let lines = dry(("talk.jsonl", &talk), flags);
    assert_eq!(lines.len(), 6);
    assert!(lines.iter().any(|line| line["turn"] == 1));
}
