//! What is in the files, and that the seed alone decides it.

use std::collections::{BTreeMap, BTreeSet};

use pinfire_base::clock::Span;
use pinfire_tests::{
    binary::{Ended, call, profile},
    mock::{Mock, instant, script, silent},
};
use pinfire_tools::mock::Script;
use serde_json::Value;

use super::sums;

#[test]
fn the_summary_has_its_blocks() {
    let run = profile(
        "mock:",
        "--concurrency 3 --request-count 9 --osl 3 --request-cancellation-rate 50",
    )
    .run()
    .code(0);
    let json = run.json();
    for key in [
        "request_latency",
        "input_config",
        "cancellation",
        "client_health",
    ] {
        assert!(json[key].is_object(), "{key}");
    }
    assert_eq!(json["was_cancelled"], false);
    assert_eq!(json["is_complete"], true);
    let health = &json["client_health"];
    assert_eq!(health["concurrency"]["asked"], 3);
    assert!(health["concurrency"]["held_max"].as_f64().unwrap() <= 3.0);
    assert_eq!(health["send_lateness"]["count"], 9);
    let [due, completed, _, cancelled, _] = sums(&run);
    assert_eq!(due, 9);
    assert_eq!(
        json["request_count"]["avg"].as_f64().unwrap() as u64,
        completed
    );
    assert_eq!(json["cancellation"]["cancelled"], cancelled);
}

#[test]
fn turns_are_numbered_and_their_bodies_are_in_the_inputs() {
    let run = profile(
        "mock:",
        "--num-dataset-entries 2 --session-turns-mean 2 --request-count 4 --osl 1 \
         --shared-system-prompt-length 9",
    )
    .run()
    .code(0);
    let mut turns: Vec<(u64, String, u64)> = run
        .lines()
        .iter()
        .map(|line| {
            let metadata = &line["metadata"];
            let number = |key: &str| metadata[key].as_u64().unwrap();
            let id = metadata["conversation_id"].as_str().unwrap();
            (number("session_num"), id.to_owned(), number("turn_index"))
        })
        .collect();
    turns.sort_unstable();
    let inputs: Value = serde_json::from_str(&run.file("inputs.json")).unwrap();
    let mut expected = Vec::new();
    for (number, session) in (0..).zip(inputs["data"].as_array().unwrap()) {
        let id = session["session_id"].as_str().unwrap();
        let payloads = session["payloads"].as_array().unwrap();
        assert_eq!(payloads.len(), 2);
        for (turn, payload) in (0..).zip(payloads) {
            assert_eq!(
                payload["messages"].as_array().unwrap().len(),
                2,
                "no history"
            );
            expected.push((2 * number + turn, id.to_owned(), turn));
        }
    }
    assert_eq!(turns, expected);
}

#[test]
fn one_line_per_request_whatever_became_of_it() {
    let run = profile(
        "mock:",
        "--concurrency 5 --request-count 40 --osl 3 --request-cancellation-rate 30",
    )
    .run()
    .code(0);
    let lines = run.lines();
    let numbers: BTreeSet<u64> = lines
        .iter()
        .map(|line| line["metadata"]["session_num"].as_u64().unwrap())
        .collect();
    assert_eq!((lines.len(), numbers), (40, (0..40).collect()));
    let ids: BTreeSet<&str> = lines
        .iter()
        .map(|line| line["metadata"]["x_request_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 40);
}

#[test]
fn the_table_is_csv_with_its_line_ends() {
    let run = profile("mock:", "--request-count 4 --concurrency 2 --osl 2")
        .run()
        .code(0);
    let text = run.file("profile_export_aiperf.csv");
    assert!(text.starts_with("Metric,avg,min,max,"), "{text}");
    assert_eq!(
        text.matches('\n').count(),
        text.matches("\r\n").count(),
        "a bare line feed"
    );
    assert!(text.ends_with("\r\n"));
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert!(
        rows.iter().any(|row| &row[0] == "Request Latency (ms)"),
        "{text}"
    );
}

fn cancelled(run: &Ended) -> BTreeSet<u64> {
    let lines = run.lines();
    let cancelled = lines
        .iter()
        .filter(|line| line["metadata"]["was_cancelled"] == true);
    cancelled
        .map(|line| line["metadata"]["session_num"].as_u64().unwrap())
        .collect()
}

#[test]
fn the_seed_alone_decides_what_is_sent_and_what_is_cancelled() {
    // The first token takes a second, all are sent at once: a cancel at once always comes first.
    let mock = Mock::start(Script {
        ttft: Span::from_millis(1_000),
        ..script()
    });
    let url = format!("http://{}", mock.address());
    let flags = |seed: u64, cores: u64| {
        format!(
            "--concurrency 60 --request-count 60 --request-cancellation-rate 40 --osl 2 \
             --random-seed {seed} --cores {cores}"
        )
    };
    let one = profile(&url, &flags(5, 1)).run().code(0);
    let again = profile(&url, &flags(5, 1)).run().code(0);
    let two = profile(&url, &flags(5, 2)).run().code(0);
    let other = profile(&url, &flags(6, 1)).run().code(0);
    let inputs = |run: &Ended| run.file("inputs.json");
    assert_eq!(inputs(&one), inputs(&again));
    assert_eq!(inputs(&one), inputs(&two));
    assert_ne!(inputs(&one), inputs(&other));
    assert!(
        (10..40).contains(&cancelled(&one).len()),
        "{:?}",
        cancelled(&one)
    );
    assert_eq!(cancelled(&one), cancelled(&again));
    assert_eq!(cancelled(&one), cancelled(&two));
    assert_ne!(cancelled(&one), cancelled(&other));
    assert_eq!(
        two.json()["client_health"]["cores"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    // Without a seed no two runs are the same.
    let free = "--concurrency 2 --request-count 4 --osl 1";
    let (first, second) = (profile("mock:", free).run(), profile("mock:", free).run());
    assert_ne!(inputs(&first), inputs(&second));
}

#[test]
fn the_request_ids_of_two_runs_differ_even_with_one_seed() {
    let flags = "--request-count 5 --random-seed 1 --osl 1";
    let ids = |run: &Ended| -> BTreeSet<String> {
        let lines = run.lines();
        lines
            .iter()
            .map(|line| line["metadata"]["x_request_id"].to_string())
            .collect()
    };
    let (one, two) = (profile("mock:", flags).run(), profile("mock:", flags).run());
    assert!(ids(&one).is_disjoint(&ids(&two)));
}

#[test]
fn what_is_sent_is_what_inputs_json_says() {
    let mock = Mock::start(instant(1));
    let flags = "--request-count 6 --concurrency 2 --osl 7 --extra-inputs ignore_eos:true";
    let run = profile(&format!("http://{}", mock.address()), flags)
        .run()
        .code(0);
    let asked = &run.json()["input_config"]["endpoint"]["extra"];
    assert_eq!(*asked, serde_json::json!({"ignore_eos": true}));
    let inputs: Value = serde_json::from_str(&run.file("inputs.json")).unwrap();
    let sessions = inputs["data"].as_array().unwrap();
    assert_eq!(sessions.len(), 6);
    let mut said: Vec<u64> = sessions
        .iter()
        .map(|session| {
            let payload = &session["payloads"][0];
            assert_eq!(payload["max_completion_tokens"], 7);
            assert_eq!(payload["ignore_eos"], true);
            assert_eq!(payload["stream"], true);
            payload.to_string().len() as u64
        })
        .collect();
    let mut got: Vec<u64> = mock.stop().1.iter().map(|line| line.body).collect();
    said.sort_unstable();
    got.sort_unstable();
    assert_eq!(said, got);
}

const TRACE: &str = r#"{"timestamp":0,"input_length":12,"output_length":2,"hash_ids":[1,2]}
{"timestamp":10,"input_length":9,"output_length":1,"hash_ids":[1,3]}
{"timestamp":20,"input_length":16,"output_length":3,"hash_ids":[1,4]}
"#;

#[test]
fn a_trace_is_replayed_as_fast_as_it_goes() {
    let replay = |trace: &str| {
        let call = call(
            "profile --model m --tokenizer builtin --url mock: --streaming --artifact-dir out \
             --concurrency 2 --request-count 3 --input-file trace.jsonl --custom-dataset-type \
             mooncake_trace --no-fixed-schedule --isl-block-size 8"
                .split(' '),
        );
        std::fs::write(call.folder().join("trace.jsonl"), trace).unwrap();
        call.run()
    };
    let run = replay(TRACE).code(0);
    assert_eq!(sums(&run), [3, 3, 0, 0, 0]);
    let lengths: BTreeMap<u64, u64> = run
        .lines()
        .iter()
        .map(|line| {
            let length = line["metrics"]["input_sequence_length"]["value"].as_f64();
            (
                line["metadata"]["session_num"].as_u64().unwrap(),
                length.unwrap() as u64,
            )
        })
        .collect();
    assert_eq!(lengths, BTreeMap::from([(0, 12), (1, 9), (2, 16)]));
    let broken = replay("{\"input_length\": }\n").code(1);
    super::refusals::one_line(&broken, "trace.jsonl");
}

#[test]
fn a_summary_alone_and_another_name() {
    let run = profile("mock:", "--request-count 3 --osl 1 --export-level summary")
        .run()
        .code(0);
    assert!(!run.has("profile_export.jsonl"));
    assert_eq!(sums(&run), [3, 3, 0, 0, 0]);
    let named = profile(
        "mock:",
        "--request-count 3 --osl 1 --profile-export-prefix mine",
    )
    .run()
    .code(0);
    for name in ["mine.json", "mine.csv", "mine.jsonl", "mine_console.txt"] {
        assert!(named.has(name), "{name}");
    }
}

#[test]
fn a_timeout_is_an_error_with_its_code() {
    let mock = Mock::start(silent());
    let flags = "--request-count 4 --concurrency 4 --request-timeout-seconds 0.2";
    let run = profile(&format!("http://{}", mock.address()), flags)
        .run()
        .code(1);
    assert_eq!(sums(&run), [4, 4, 4, 0, 0]);
    for line in run.lines() {
        assert!(
            line["error"]["type"].as_str().unwrap().contains("Timeout"),
            "{line}"
        );
    }
}
