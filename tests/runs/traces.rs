//! Traces before a run and changed for a run, through the binary.

use pinfire_tests::{
    binary::{call, profile},
    mock::{Mock, instant},
};
use serde_json::Value;

use super::sums;

const TRACE: &str = r#"{"timestamp": 0, "input_length": 1500, "output_length": 10, "hash_ids": [1, 2, 3]}
{"timestamp": 10, "input_length": 1400, "output_length": 20, "hash_ids": [1, 2, 4]}
{"timestamp": 20, "input_length": 1024, "output_length": 30, "hash_ids": [1, 2]}
{"timestamp": 30, "input_length": 100}
{"timestamp": 40, "input_length": 600, "output_length": 5, "hash_ids": [9, 8]}
"#;

#[test]
fn analyze_trace_shows_and_writes_its_figures() {
    for by_name in [false, true] {
        let name: &[&str] = if by_name { &["--input-file"] } else { &[] };
        let rest = ["trace.jsonl", "--output-file", "out.json"];
        let arguments: [&[&str]; 3] = [&["analyze-trace"], name, &rest];
        let run = call(arguments.concat());
        std::fs::write(run.folder().join("trace.jsonl"), TRACE).unwrap();
        let folder = run.folder().to_path_buf();
        let ended = run.run().code(0);
        assert!(
            ended
                .stdout
                .starts_with("\nTrace Analysis Report\nTotal requests:   5\n")
        );
        assert!(
            ended.stdout.contains("│ Theoretical Hit Rates │   0.42 │"),
            "{}",
            ended.stdout
        );
        assert!(
            ended
                .stdout
                .ends_with("Analysis report saved to out.json\n")
        );
        let json = std::fs::read_to_string(folder.join("out.json")).unwrap();
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["unique_prefixes"], 6);
        assert_eq!(json["context_length_stats"]["mean"], 614.4);
        let keys: Vec<&str> = json
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(keys.len(), 16);
    }
}

#[test]
fn analyze_trace_says_what_is_wrong() {
    let missing = call(["analyze-trace", "none.jsonl"]).run().code(1);
    assert_eq!(missing.stderr, "Error: Input file not found: none.jsonl\n");
    assert_eq!(missing.stdout, "");
    let bad = call(["analyze-trace", "trace.jsonl"]);
    std::fs::write(bad.folder().join("trace.jsonl"), "{}\nnonsense\n").unwrap();
    let bad = bad.run().code(1);
    assert!(
        bad.stderr.starts_with("error: trace.jsonl:2: `line`"),
        "{}",
        bad.stderr
    );
    assert_eq!(bad.stderr.lines().count(), 1);
    let blocks = call(["analyze-trace", "trace.jsonl", "--block-size", "2048"]);
    std::fs::write(blocks.folder().join("trace.jsonl"), TRACE).unwrap();
    let blocks = blocks.run().code(1);
    assert_eq!(
        blocks.stderr,
        "error: --block-size 2048: trace.jsonl has 3 ids for an input of 1500 tokens, so its blocks \
         are smaller; give the size it was made with\n"
    );
}

/// A run over the trace with these flags: the inputs that were sent, sorted, and what was said.
fn replay(flags: &str) -> (Vec<u64>, String) {
    let mock = Mock::start(instant(1));
    let mut run = call([
        "profile",
        "--model",
        "mock",
        "--tokenizer",
        "builtin",
        "--streaming",
    ]);
    std::fs::write(run.folder().join("trace.jsonl"), TRACE).unwrap();
    let url = format!("http://{}", mock.address());
    let more = "--artifact-dir out --input-file trace.jsonl --custom-dataset-type mooncake_trace";
    run.more(["--url", &url]);
    run.more(more.split(' ').chain(flags.split_whitespace()));
    let ended = run.run().code(0);
    sums(&ended);
    let isl = |line: &Value| line["metrics"]["input_sequence_length"]["value"].as_f64();
    let mut lengths: Vec<u64> = ended
        .lines()
        .iter()
        .map(|line| isl(line).unwrap() as u64)
        .collect();
    lengths.sort_unstable();
    (lengths, ended.stderr.clone())
}

#[test]
fn multipliers_reach_the_wire() {
    assert_eq!(replay("").0, [100, 600, 1024, 1400, 1500]);
    let doubled = replay("--synthesis-prefix-len-multiplier 2").0;
    assert_eq!(doubled, [100, 600, 2048, 2424, 2524]);
    let (lengths, said) = replay("--synthesis-max-isl 1400 --synthesis-max-osl 4");
    assert_eq!(lengths, [100, 600, 1024, 1400]);
    let warning = "1 of 5 lines are longer than --synthesis-max-isl";
    assert!(said.contains(warning), "{said}");
}

#[test]
fn multipliers_are_for_traces() {
    let run = profile("mock:", "--synthesis-prompt-len-multiplier 2")
        .run()
        .code(1);
    assert!(
        run.stderr.contains("--synthesis-prompt-len-multiplier"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("synthetic prompts"), "{}", run.stderr);
    assert_eq!(run.stderr.lines().count(), 1);
}
