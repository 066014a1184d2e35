//! Datasets that are wrong: each is refused with one line that names the file, the line, the field
//! and what would be right, before anything is sent.

use std::{fs::File, io::Write, path::Path, process::Command};

use pinfire_tests::binary::{Call, Ended, call};

use super::refusals::one_line;

/// A tokenizer that loads quickly.
const TOKENIZER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../engine/workload/assets/test/wordlevel"
);

/// A run over `path` in its own folder, with further flags.
fn over(path: &str, flags: &str) -> Call {
    let fixed = [
        "profile",
        "--model",
        "m",
        "--url",
        "mock:",
        "--artifact-dir",
        "out",
    ];
    let named = ["--tokenizer", TOKENIZER, "--input-file", path];
    call(
        fixed
            .into_iter()
            .chain(named)
            .chain(flags.split_whitespace()),
    )
}

/// Runs it over a file of this name and content.
fn with(name: &str, content: &[u8], flags: &str) -> Ended {
    let call = over(name, flags);
    std::fs::write(call.folder().join(name), content).expect("a file");
    call.run().code(1)
}

#[track_caller]
fn refused(run: &Ended, words: &[&str]) {
    for word in words {
        one_line(run, word);
    }
    assert!(run.stderr.len() < 600, "{}", run.stderr);
    assert!(!run.has("inputs.json"));
}

/// Format, content of `data.jsonl`, what the line must say.
type Row = (&'static str, &'static str, &'static [&'static str]);

#[track_caller]
fn check(rows: &[Row]) {
    for (format, content, words) in rows {
        let flags = match format.split_once(' ') {
            Some((format, flags)) => format!("--custom-dataset-type {format} {flags}"),
            None if format.is_empty() => String::new(),
            None => format!("--custom-dataset-type {format}"),
        };
        let run = with("data.jsonl", content.as_bytes(), &flags);
        assert!(run.stderr.contains("data.jsonl"), "{}", run.stderr);
        refused(&run, words);
    }
}

#[test]
fn lines_that_are_no_objects() {
    check(&[
        ("single_turn", "", &["has no entries"]),
        ("multi_turn", "\n \n\r\n", &["has no entries"]),
        ("", "", &["has no entries"]),
        ("raw_payload", "", &["has no entries"]),
        (
            "single_turn",
            "hello\n",
            &[":1: `line`: is not JSON", "one JSON object"],
        ),
        (
            "single_turn",
            "{\"text\": \"a\"}\n\n{\"text\": \"b\"\n",
            &[":3: `line`: is not JSON", "EOF"],
        ),
        (
            "single_turn",
            "[{\"text\": \"a\"}]",
            &[":1: `line`", "must be a JSON object, not a list"],
        ),
        ("multi_turn", "5", &[":1: `line`", "not 5"]),
        (
            "raw_payload",
            "\"text\"",
            &[":1: `line`", "must be a JSON object"],
        ),
        (
            "single_turn",
            "{\"text\": \"a\", \"delay\": NaN}",
            &[":1: `line`", "no NaN"],
        ),
        (
            "single_turn",
            "{\"text\": \"a\", \"delay\": -Infinity}",
            &[":1: `line`", "no Infinity"],
        ),
        (
            "single_turn",
            "{\"text\": \"a\", \"delay\": 1e400}",
            &[":1: `line`", "out of range"],
        ),
        (
            "",
            "{\"text\": \"a\"\n",
            &[":1: `line`: is not JSON", "--custom-dataset-type"],
        ),
        (
            "",
            "{\"prompt\": \"a\"}",
            &[
                ":1: `line`: no loader",
                "--custom-dataset-type",
                "single_turn",
            ],
        ),
        (
            "",
            "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}",
            &[
                ":1: `line`: fits",
                "raw_payload",
                "mooncake_trace",
                "--custom-dataset-type",
            ],
        ),
    ]);
    let utf8 = with(
        "data.jsonl",
        b"{\"text\": \"a\xFFb\"}",
        "--custom-dataset-type single_turn",
    );
    refused(
        &utf8,
        &[
            "data.jsonl:1: `line`: is not UTF-8 (byte 12",
            "save the file as UTF-8",
        ],
    );
    let deep = "[".repeat(5_000);
    let deep = with(
        "data.jsonl",
        deep.as_bytes(),
        "--custom-dataset-type single_turn",
    );
    refused(&deep, &["data.jsonl:1: `line`", "recursion limit"]);
}

#[test]
fn fields_of_single_turn() {
    check(&[
        (
            "single_turn",
            r#"{"session_id": "a"}"#,
            &[":1: `text`: is missing or empty", "texts"],
        ),
        (
            "single_turn",
            r#"{"text": ""}"#,
            &[":1: `text`: is missing or empty"],
        ),
        (
            "single_turn",
            r#"{"text": 5}"#,
            &[":1: `text`: must be text, not 5"],
        ),
        (
            "single_turn",
            r#"{"text": "a", "texts": ["b"]}"#,
            &["`text`: and `texts` exclude each other"],
        ),
        (
            "single_turn",
            r#"{"texts": []}"#,
            &["`texts`: is an empty list"],
        ),
        (
            "single_turn",
            r#"{"texts": ["a", 5]}"#,
            &["`texts`", "not \"a\" among others"],
        ),
        (
            "single_turn",
            r#"{"texts": [{"name": "q"}]}"#,
            &["`texts`", "contents"],
        ),
        (
            "single_turn",
            r#"{"image": "cat.png"}"#,
            &["`image`", "local files are not read", "data:"],
        ),
        (
            "single_turn",
            r#"{"images": ["http://i"], "image_uuids": ["a", "b"]}"#,
            &["`image_uuids`", "one each"],
        ),
        (
            "single_turn",
            r#"{"text": "a", "output_length": 0}"#,
            &["`output_length`", "at least 1, not 0"],
        ),
        (
            "single_turn",
            r#"{"text": "a", "output_length": -7}"#,
            &["`output_length`", "not -7"],
        ),
        (
            "single_turn",
            r#"{"text": "a", "output_length": 5.5}"#,
            &["`output_length`", "whole number"],
        ),
        (
            "single_turn",
            r#"{"text": "a", "output_length": "many"}"#,
            &["`output_length`", "\"many\""],
        ),
        (
            "single_turn",
            r#"{"text": "a", "delay": -1}"#,
            &["`delay`", "milliseconds"],
        ),
        (
            "single_turn",
            r#"{"text": "a", "timestamp": "now"}"#,
            &["`timestamp`", "milliseconds"],
        ),
        (
            "single_turn",
            r#"{"text": "a", "timestamp": 0, "delay": 0}"#,
            &["`timestamp`: and `delay` exclude each other"],
        ),
        (
            "single_turn",
            r#"{"text": "a", "role": 5}"#,
            &["`role`: must be text"],
        ),
        (
            "single_turn",
            r#"{"text": "a", "role": ""}"#,
            &["`role`: is empty"],
        ),
        (
            "single_turn",
            r#"{"text": "a", "session_id": 4}"#,
            &["`session_id`: must be text, not 4"],
        ),
        (
            "single_turn",
            r#"{"text": "a", "extra": []}"#,
            &["`extra`: must be an object"],
        ),
        (
            "single_turn",
            r#"{"text": "a", "type": "multi_turn"}"#,
            &["`type`: says multi_turn, but the file is read as single_turn"],
        ),
        (
            "",
            r#"{"turns": 5, "type": "single_turn"}"#,
            &["`type`: says single_turn"],
        ),
        (
            "single_turn --fixed-schedule",
            r#"{"text": "a"}"#,
            &[":1: `timestamp`: is missing", "--fixed-schedule"],
        ),
    ]);
}

#[test]
fn fields_of_multi_turn_and_pools() {
    check(&[
        (
            "multi_turn",
            r#"{"text": "a"}"#,
            &[":1: `turns`: is missing"],
        ),
        (
            "multi_turn",
            r#"{"turns": []}"#,
            &["`turns`: is empty", "at least one turn"],
        ),
        (
            "multi_turn",
            r#"{"turns": {"text": "a"}}"#,
            &["`turns`: must be a list"],
        ),
        (
            "multi_turn",
            r#"{"turns": [{"text": "a"}, "b"]}"#,
            &["`turns[1]`: must be an object"],
        ),
        (
            "multi_turn",
            r#"{"turns": [{"text": "a", "role": ["user"]}]}"#,
            &["`turns[0].role`: must be text"],
        ),
        (
            "multi_turn",
            "{\"turns\": [{\"text\": \"a\"}]}\n{\"turns\": [{\"text\": \"a\"}, {\"text\": \"b\", \"output_length\": 1e9999}]}",
            &[":2: `line`", "out of range"],
        ),
        (
            "multi_turn",
            "{\"turns\": [{\"text\": \"a\"}]}\n{\"turns\": [{\"text\": \"a\"}, {\"delay\": 5}]}",
            &[":2: `turns[1].text`: is missing"],
        ),
        (
            "multi_turn",
            "{\"turns\": [{\"text\": \"a\"}]}\n{\"text\": \"a\"}",
            &[":2: `turns`: is missing"],
        ),
        (
            "multi_turn --endpoint-type completions",
            "{\"turns\": [{\"text\": \"a\"}, {\"text\": \"b\"}]}",
            &[":1: `turns`", "completions", "--endpoint-type chat"],
        ),
        (
            "random_pool",
            "",
            &[":1: `line`: is missing", "at least one line"],
        ),
        (
            "random_pool",
            r#"{"text": "a", "timestamp": 5}"#,
            &["`timestamp`: does not go with random_pool"],
        ),
        (
            "random_pool",
            r#"{"text": "a", "output_length": 5}"#,
            &["`output_length`", "single_turn"],
        ),
        ("random_pool", r#"{"name": "a"}"#, &["`text`: is missing"]),
    ]);
}

#[test]
fn bodies_and_documents() {
    check(&[
        (
            "raw_payload",
            r#"{"prompt": "a"}"#,
            &[":1: `messages`: is missing", "whole request body"],
        ),
        (
            "raw_payload",
            r#"{"messages": "a"}"#,
            &["`messages`: must be a list"],
        ),
        (
            "raw_payload",
            r#"{"messages": []}"#,
            &["`messages`", "not an empty list"],
        ),
        (
            "raw_payload",
            "{\"messages\": [{}]}\n{}",
            &[":2: `messages`: is missing"],
        ),
        (
            "inputs_json",
            r#"{"data": [{"session_id": "a"}]}"#,
            &["`data[0].payloads`: is missing"],
        ),
        (
            "inputs_json",
            r#"{"data": [{"session_id": "a", "payloads": []}]}"#,
            &["`data[0].payloads`: is empty"],
        ),
        (
            "inputs_json",
            r#"{"data": [{"payloads": [{"a": 1}]}]}"#,
            &["`data[0].session_id`: is missing"],
        ),
        (
            "inputs_json",
            "{\"data\": [{\"session_id\": \"a\", \"payloads\": [{\"a\": 1}]},\n{\"session_id\": \"a\", \"payloads\": [{\"a\": 1}]}]}",
            &[":2: `data[1].session_id`", "\"a\"", "line 1 already"],
        ),
        (
            "inputs_json",
            r#"{"data": [{"session_id": "a", "payloads": [{"a": 1}, {}]}]}"#,
            &["`data[0].payloads[1]`", "not an empty object"],
        ),
        (
            "inputs_json",
            r#"{"data": [5]}"#,
            &["`data[0]`: must be a JSON object"],
        ),
        ("inputs_json", r#"{"inputs": []}"#, &["`data`: is missing"]),
        ("inputs_json", r#"{"data": []}"#, &["has no entries"]),
        (
            "inputs_json",
            r#"{"data": [{"session_id": "a", "payloads": [{"a": 1}]}"#,
            &[":1: `line`: is not JSON: the end of the file"],
        ),
        ("inputs_json", "[]", &["`line`: is not JSON: `[` where `{`"]),
        ("sharegpt", "{}", &["`line`", "must be a JSON array"]),
        (
            "sharegpt",
            r#"[{"items": []}]"#,
            &["`[0].conversations`: is missing"],
        ),
        (
            "sharegpt",
            r#"[{"conversations": [{"from": "human"}]}]"#,
            &["`[0].conversations[0]`: needs"],
        ),
        (
            "sharegpt",
            r#"[{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}]"#,
            &["no entry", "rules"],
        ),
    ]);
    // These are refused for their flags, before the file is looked at.
    for (flags, words) in [
        (
            "--custom-dataset-type sharegpt --fixed-schedule",
            ["--fixed-schedule", "sharegpt has no timestamps"],
        ),
        (
            "--custom-dataset-type raw_payload --osl 5",
            ["--osl", "as they are"],
        ),
        (
            "--custom-dataset-type raw_payload --extra-inputs a:1",
            ["--extra-inputs", "as they are"],
        ),
        (
            "--custom-dataset-type inputs_json --fixed-schedule",
            ["--fixed-schedule", "inputs_json"],
        ),
        (
            "--custom-dataset-type single_turn --isl 5",
            ["--isl", "synthetic"],
        ),
        (
            "--custom-dataset-type single_turn --num-prompts 5",
            ["--num-dataset-entries", "single_turn"],
        ),
        (
            "--custom-dataset-type nonsense",
            ["nonsense", "single_turn, multi_turn"],
        ),
        (
            "--custom-dataset-type bailian_trace",
            ["bailian_trace", "not built"],
        ),
        (
            "--custom-dataset-type burst_gpt_trace",
            ["burst_gpt_trace", "not built"],
        ),
        (
            "--dataset-sampling-strategy sideways",
            ["--dataset-sampling-strategy", "sequential, shuffle, random"],
        ),
        (
            "--fixed-schedule --dataset-sampling-strategy shuffle",
            ["--dataset-sampling-strategy", "fixed schedule"],
        ),
        (
            "--model-selection-strategy weighted",
            ["--model-selection-strategy", "weighted"],
        ),
        (
            "--public-dataset sharegpt",
            ["--public-dataset", "--input-file FILE"],
        ),
        (
            "--user-centric-rate 1 --num-users 2",
            ["--user-centric-rate", "1.00 turns"],
        ),
    ] {
        refused(
            &with("data.jsonl", br#"{"text": "a", "timestamp": 1}"#, flags),
            &words,
        );
    }
}

#[test]
fn lines_of_mooncake_traces() {
    check(&[
        (
            "mooncake_trace",
            r#"{"timestamp": 0}"#,
            &[":1: `line`", "exactly one of"],
        ),
        (
            "mooncake_trace",
            r#"{"input_length": 5, "text_input": "a"}"#,
            &["`line`", "input_length and text_input"],
        ),
        (
            "mooncake_trace",
            r#"{"text_input": "a", "hash_ids": [1]}"#,
            &["`hash_ids`", "input_length only"],
        ),
        (
            "mooncake_trace",
            r#"{"messages": [{"content": "a"}]}"#,
            &["`messages`", "no role"],
        ),
        (
            "mooncake_trace",
            r#"{"payload": {}}"#,
            &["`payload`", "not empty"],
        ),
        (
            "mooncake_trace",
            r#"{"text_input": "a", "tools": [{}]}"#,
            &["`tools`", "messages only"],
        ),
        (
            "mooncake_trace",
            r#"{"input_length": -5}"#,
            &["`input_length`"],
        ),
        (
            "mooncake_trace",
            "{\"text_input\": \"a\", \"session_id\": \"s\"}\n{\"payload\": {\"a\": 1}, \"session_id\": \"s\"}",
            &[":2: `session_id`", "line 1"],
        ),
        (
            "mooncake_trace --isl-block-size 4",
            "{\"input_length\": 6, \"hash_ids\": [1, 2]}\n{\"input_length\": 5, \"hash_ids\": [1, 2]}",
            &[":2: `hash_ids`", "--isl-block-size"],
        ),
    ]);
}

#[test]
fn files_and_folders() {
    let missing = over("nowhere.jsonl", "").run().code(1);
    refused(&missing, &["--input-file nowhere.jsonl", "no such file"]);

    // Not even root reads this one.
    let unreadable = over("/proc/self/mem", "--custom-dataset-type single_turn")
        .run()
        .code(1);
    refused(&unreadable, &["cannot read /proc/self/mem"]);

    let special = over("/dev/null", "").run().code(1);
    refused(&special, &["/dev/null", "--custom-dataset-type"]);

    let folder = |files: &[(&str, &str)], flags: &str| {
        let call = over("data", flags);
        let data = call.folder().join("data");
        std::fs::create_dir(&data).expect("a folder");
        for (name, content) in files {
            std::fs::write(data.join(name), content).expect("a file");
        }
        call.run().code(1)
    };
    for format in [
        "single_turn",
        "multi_turn",
        "inputs_json",
        "sharegpt",
        "mooncake_trace",
    ] {
        let run = folder(&[], &format!("--custom-dataset-type {format}"));
        refused(&run, &["data: is a folder", format, "name the file"]);
    }
    for flags in ["", "--custom-dataset-type random_pool"] {
        refused(&folder(&[], flags), &["the folder data has no file"]);
    }
    let none = folder(&[("a.txt", "x")], "--custom-dataset-type raw_payload");
    refused(&none, &["the folder data has no *.jsonl file"]);
    let unlike = folder(&[("a.jsonl", r#"{"text": "a"}"#), ("b.jsonl", "x")], "");
    refused(&unlike, &["data: is a folder", "--custom-dataset-type"]);
    let half = [
        ("a.jsonl", r#"{"text": "a"}"#),
        ("b.jsonl", r#"{"texts": 5}"#),
    ];
    let half = folder(&half, "--custom-dataset-type random_pool");
    refused(&half, &["data/b.jsonl:1: `texts`: must be a list"]);
    let empty = [("a.jsonl", r#"{"text": "a"}"#), ("b.jsonl", "\n")];
    let empty = folder(&empty, "--custom-dataset-type random_pool");
    refused(&empty, &["data/b.jsonl:1: `line`: is missing"]);
}

/// What `gzip` makes of it, or nothing on a machine without it.
fn zipped(folder: &Path, content: &[u8]) -> Option<Vec<u8>> {
    let plain = folder.join("plain");
    std::fs::write(&plain, content).expect("a file");
    let packed = Command::new("gzip").arg("-c").arg(&plain).output().ok()?;
    packed.status.success().then_some(packed.stdout)
}

#[test]
fn broken_packing() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines: String = (0..5_000)
        .map(|n| format!("{{\"text\": \"{n}\"}}\n"))
        .collect();
    let Some(packed) = zipped(folder.path(), lines.as_bytes()) else {
        eprintln!("left out: there is no gzip here");
        return;
    };
    let flags = "--custom-dataset-type single_turn";
    let cut = with("data.jsonl.gz", &packed[..packed.len() / 2], flags);
    refused(
        &cut,
        &[
            "data.jsonl.gz:",
            "`line`: cannot be unpacked",
            "pack the file again",
        ],
    );
    let mut damaged = packed;
    let middle = damaged.len() / 2;
    damaged[middle..middle + 50].fill(0xAA);
    let damaged = with("data.jsonl.gz", &damaged, flags);
    // Where the damage shows is up to the packing: as a bad line, or as bad packing.
    refused(&damaged, &["data.jsonl.gz:"]);
    let head = with("data.jsonl.gz", &[0x1f, 0x8b, 0x08], "");
    refused(&head, &["data.jsonl.gz", "gzip"]);
}

#[test]
fn a_line_of_two_hundred_megabytes() {
    for (start, flags) in [
        ("{\"text\": \"", "--custom-dataset-type single_turn"),
        ("{\"text\": \"", ""),
        (
            "{\"data\": [{\"session_id\": \"",
            "--custom-dataset-type inputs_json",
        ),
        ("[{\"conversations\": \"", ""),
    ] {
        let call = over("data.jsonl", flags);
        let mut file = File::create(call.folder().join("data.jsonl")).expect("a file");
        file.write_all(start.as_bytes()).expect("its start");
        // A hole: it takes no room on the disk and reads as zeros.
        file.set_len(200 << 20).expect("a long file");
        refused(
            &call.run().code(1),
            &["data.jsonl:1: `line`: is longer than 64 MiB"],
        );
    }
}
