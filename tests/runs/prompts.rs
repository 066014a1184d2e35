//! Synthetic prompts and tokenizers, from the flags to what is sent and counted.

use std::path::Path;

use pinfire_tests::binary::{Ended, call};
use serde_json::Value;

use super::refusals::one_line;

/// A run of ten requests against the embedded server with these flags.
fn run<'a>(model: &'a str, flags: &[&'a str]) -> Ended {
    let base = [
        "profile",
        "--url",
        "mock:",
        "--artifact-dir",
        "out",
        "--model",
        model,
        "--concurrency",
        "5",
        "--extra-inputs",
        "max_tokens:1",
    ];
    call(base.iter().chain(flags).copied()).run()
}

/// The messages of every body that was made.
fn messages(run: &Ended) -> Vec<Vec<Value>> {
    let inputs: Value = serde_json::from_str(&run.file("inputs.json")).unwrap();
    let sessions = inputs["data"].as_array().unwrap();
    let payloads = sessions
        .iter()
        .flat_map(|one| one["payloads"].as_array().unwrap());
    payloads
        .map(|payload| payload["messages"].as_array().unwrap().clone())
        .collect()
}

fn inputs_of(run: &Ended) -> Vec<u64> {
    let of = |line: &Value| line["metrics"]["input_sequence_length"]["value"].as_u64();
    run.lines().iter().map(|line| of(line).unwrap()).collect()
}

#[test]
fn two_runs_share_no_prompt_unless_the_seed_is_fixed() {
    let flags = [
        "--isl",
        "30",
        "--shared-system-prompt-length",
        "20",
        "--user-context-prompt-length",
        "20",
    ];
    let (one, other) = (run("mock", &flags).code(0), run("mock", &flags).code(0));
    for (one, other) in messages(&one).iter().zip(messages(&other)) {
        assert_eq!(one.len(), 3);
        assert!(one.iter().all(|message| !other.contains(message)));
    }
    let fixed = [&flags[..], &["--random-seed", "7"]].concat();
    let (one, other) = (run("mock", &fixed).code(0), run("mock", &fixed).code(0));
    assert_eq!(one.file("inputs.json"), other.file("inputs.json"));
}

#[test]
fn mixtures_ranges_and_prefixes_have_the_lengths_that_were_asked() {
    let mixed = run(
        "mock",
        &["--seq-dist", "10,1:50;40,2:50", "--random-seed", "1"],
    )
    .code(0);
    let lengths = inputs_of(&mixed);
    assert!(
        lengths.iter().all(|length| [10, 40].contains(length)),
        "{lengths:?}"
    );
    assert!(
        lengths.contains(&10) && lengths.contains(&40),
        "{lengths:?}"
    );
    assert!(mixed.json()["input_config"]["datasets"][0]["prompts"].is_null());
    let range = ["--isl", "40", "--osl", "4", "--random-range-ratio", "0.5"];
    let lengths = inputs_of(&run("mock", &range).code(0));
    assert!(
        lengths.iter().all(|length| (20..=60).contains(length)),
        "{lengths:?}"
    );
    assert!(
        lengths.iter().any(|length| *length != lengths[0]),
        "{lengths:?}"
    );
    let prefixed = [
        "--isl",
        "15",
        "--num-prefix-prompts",
        "2",
        "--prefix-prompt-length",
        "12",
    ];
    assert_eq!(inputs_of(&run("mock", &prefixed).code(0)), [27; 10]);
}

#[test]
fn a_system_prompt_goes_before_synthetic_prompts_and_those_of_a_file() {
    let synthetic = run("mock", &["--isl", "9", "--system-prompt", "-Be brief.\n"]).code(0);
    for said in messages(&synthetic) {
        assert_eq!(said[0]["role"], "system");
        assert_eq!(said[0]["content"], "-Be brief.\n");
        assert_eq!(said.len(), 2);
    }
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let prompt = write("system.txt", "Be brief.");
    let trace = write(
        "trace.jsonl",
        "{\"text_input\": \"hello\"}\n\
         {\"messages\": [{\"role\": \"system\", \"content\": \"Be kind.\"}, {\"role\": \"user\", \"content\": \"hi\"}]}\n\
         {\"payload\": {\"messages\": [{\"role\": \"user\", \"content\": \"raw\"}]}}\n",
    );
    let flags = [
        "--input-file",
        &trace,
        "--custom-dataset-type",
        "mooncake_trace",
        "--system-prompt-file",
        &prompt,
        "--dry-run",
    ];
    let run = run("mock", &flags).code(0);
    assert!(run.stderr.contains("payload"), "{}", run.stderr);
}

#[test]
fn wrong_prompts_are_refused_with_one_line() {
    for (flags, expected) in [
        (&["--seq-dist", "1,1:40;2,2:50"][..], "sum to 90"),
        (&["--prompt-corpus", "coding"], "take sonnet"),
        (&["-b", "0"], "--prompt-batch-size 0"),
        (&["--num-prefix-prompts", "5"], "--prefix-prompt-length"),
        (
            &["--system-prompt", "a", "--system-prompt-file", "b"],
            "exclude each other",
        ),
        (
            &["--random-range-ratio", "0.5", "--isl", "5"],
            "--osl is missing",
        ),
        (&["--rankings-passages-mean", "5"], "does not rank"),
    ] {
        one_line(&run("mock", flags).code(1), expected);
    }
}

#[test]
fn a_model_without_tokenizer_at_hand() {
    let unknown = run("org/unknown", &[]).code(1);
    for way in [
        "HF_HUB_OFFLINE",
        "--tokenizer builtin",
        "path",
        "--use-server-token-count",
    ] {
        one_line(&unknown, way);
    }
    let known = run(
        "Qwen/Qwen3-0.6B",
        &["--isl", "17", "--tokenizer-trust-remote-code"],
    )
    .code(0);
    assert!(known.stderr.contains("qwen3"), "{}", known.stderr);
    assert!(
        known
            .stderr
            .contains("--tokenizer-trust-remote-code changes nothing")
    );
    assert_eq!(inputs_of(&known), [17; 10]);
}

#[test]
fn lengths_are_those_of_the_templated_prompt() {
    let source =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/workload/assets/test/wordlevel");
    let folder = tempfile::tempdir().unwrap();
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(source.join(file), folder.path().join(file)).unwrap();
    }
    let template = "{{ bos_token }}{% for m in messages %}the of {{ m.content }} </s>{% endfor %}\
                    {% if add_generation_prompt %} the{% endif %}";
    let path = folder.path().to_str().unwrap();
    let flags = ["--tokenizer", path, "--isl", "20", "--apply-chat-template"];
    let without = run("mock", &flags).code(0);
    assert!(
        without.stderr.contains("no chat template"),
        "{}",
        without.stderr
    );
    std::fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    let single = run("mock", &flags).code(0);
    assert_eq!(inputs_of(&single), [20; 10]);
    // One is for BOS, or five are for what the template adds.
    let words = |run: &Ended| {
        let said = messages(run)[0][0]["content"].clone();
        said.as_str().unwrap().split(' ').count()
    };
    assert_eq!((words(&without), words(&single)), (19, 15));
    // The second turn counts its history by the template too: two wraps of the user's and one of
    // the answer's.
    let turns = ["--session-turns-mean", "2", "--num-conversations", "1"];
    let turns = [&flags[..], &turns[..]].concat();
    let conversation = run("mock", &turns).code(0);
    let mut lengths = inputs_of(&conversation);
    lengths.sort_unstable();
    assert_eq!((lengths.len(), lengths[0]), (2, 20));
    assert!(lengths[1] > 2 * 20, "{lengths:?}");
}
