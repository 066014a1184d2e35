//! Dataset files as they are published, odd rows included: what is sent of them and what is said.

use pinfire_tests::binary::{Ended, call};
use serde_json::Value;

/// A run over a file of this name and content.
fn over(name: &str, content: &str, flags: &str) -> Ended {
    let mut call = call([
        "profile",
        "--model",
        "m",
        "--url",
        "mock:",
        "--artifact-dir",
        "out",
    ]);
    call.more(["--tokenizer", "builtin", "--input-file", name]);
    call.more(["--extra-inputs", "max_tokens:1", "--streaming"]);
    call.more(flags.split_whitespace());
    call.write(name, content);
    call.run().code(0)
}

/// What was asked, in the order of the file.
fn asked(run: &Ended) -> Vec<String> {
    let inputs: Value = serde_json::from_str(&run.file("inputs.json")).unwrap();
    let sessions = inputs["data"].as_array().unwrap().iter();
    let payloads = sessions.flat_map(|one| one["payloads"].as_array().unwrap());
    payloads
        .map(|body| body["messages"][0]["content"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn files_as_they_are_published() {
    const FOX: &str = r#"[{"from":"user","value":"Tell me a long story about a fox."},{"from":"assistant","value":"Once upon a time there was a fox in a wood."}]"#;
    let human = FOX.replace("user", "human").replace("assistant", "gpt");
    let roles = FOX.replace("from", "role").replace("value", "content");
    let entries = |rows: &[&str]| {
        let rows: Vec<String> = rows
            .iter()
            .map(|row| match row.starts_with('[') {
                true => format!("{{\"conversations\":{row}}}"),
                false => (*row).to_owned(),
            })
            .collect();
        rows
    };
    let array = |rows: &[&str]| format!("[{}]", entries(rows).join(",\n"));
    let lines = |rows: &[&str]| entries(rows).join("\n");
    for (name, content, sent, said) in [
        ("a.json", array(&[FOX]), 1, ""),
        ("a.json", array(&[&human, &roles]), 2, ""),
        ("a.jsonl", lines(&[FOX, &human]), 2, ""),
        (
            "a.json",
            array(&[FOX, r#"{"conversations": null}"#, &human]),
            2,
            "1 row has nothing to send and is skipped: a.json:2: `[1].conversations`: is null",
        ),
        (
            "a.json",
            array(&["null", "{\"id\": 5}", FOX, "null"]),
            1,
            "3 rows have nothing to send and are skipped; the first: a.json:1: `[0]`: is null",
        ),
        (
            "a.jsonl",
            lines(&["null", FOX]),
            1,
            "1 row has nothing to send and is skipped: a.jsonl:1",
        ),
    ] {
        let run = over(name, &content, "--request-count 2");
        assert_eq!(
            asked(&run),
            vec!["Tell me a long story about a fox."; sent],
            "{content}"
        );
        let skipped = run.stderr.matches("skipped").count();
        assert_eq!(
            skipped,
            usize::from(!said.is_empty()),
            "said once: {}",
            run.stderr
        );
        assert!(run.stderr.contains(said), "{said}: {}", run.stderr);
    }
    let rows = "null\n{\"text\": \"one\"}\n{\"text\": null}\n{\"text\": \"two\"}\n";
    let run = over("a.jsonl", rows, "--request-count 2");
    assert_eq!(asked(&run), ["one", "two"]);
    assert!(
        run.stderr.contains("2 rows have nothing to send"),
        "{}",
        run.stderr
    );
}

/// Traces of Mooncake's form: lines without content, and times that are seconds.
#[test]
fn traces_in_seconds_and_with_holes() {
    let line =
        |at: &str| format!(r#"{{"timestamp": {at}, "input_length": 5, "output_length": 1}}"#);
    let trace = |stamps: &[&str]| {
        let lines: Vec<String> = stamps.iter().map(|at| line(at)).collect();
        lines.join("\n")
    };
    const NAMED: &str = "--custom-dataset-type mooncake_trace";
    for (content, flags, warned) in [
        (trace(&["0.0", "0.2"]), NAMED, true),
        (trace(&["0", "1", "2", "3"]), NAMED, true),
        (
            trace(&["1700000000.25", "1700000000.5", "1700000001.0"]),
            NAMED,
            true,
        ),
        (trace(&["0", "30", "60"]), NAMED, false),
        (trace(&["0.5", "20.25", "41.75"]), NAMED, false),
        (trace(&["0", "0", "0"]), NAMED, false),
        // The way out of the warning, and no schedule at all.
        (
            trace(&["0.0", "0.2"]),
            "--custom-dataset-type mooncake_trace --synthesis-speedup-ratio 0.001",
            false,
        ),
        (
            trace(&["0.0", "0.2"]),
            "--custom-dataset-type mooncake_trace --no-fixed-schedule",
            false,
        ),
    ] {
        let run = over("t.jsonl", &content, flags);
        let said = run
            .stderr
            .contains("t.jsonl: the timestamps look like seconds, but are read as milliseconds");
        assert_eq!(said, warned, "{content} {flags}: {}", run.stderr);
        assert_eq!(
            run.stderr.contains("add --synthesis-speedup-ratio 0.001"),
            warned
        );
    }
    let rows = r#"{"text": "one", "timestamp": 0.0}
{"text": "two", "timestamp": 0.2}"#;
    let run = over("a.jsonl", rows, "--fixed-schedule");
    assert!(
        run.stderr.contains("multiply them by 1000 in the file"),
        "{}",
        run.stderr
    );

    let holes = format!(
        "null\n{}\n{{\"input_length\": null}}\n{}\nnull\n",
        line("0"),
        line("30")
    );
    let run = over("t.jsonl", &holes, NAMED);
    assert_eq!(run.lines().len(), 2);
    let said = "3 rows have nothing to send and are skipped; the first: t.jsonl:1: `line`: is null";
    assert!(run.stderr.contains(said), "{}", run.stderr);

    let analysis = call(["analyze-trace", "t.jsonl"]);
    analysis.write("t.jsonl", &format!("{}\nnull\n", line("0")));
    let analysis = analysis.run().code(0);
    assert!(
        analysis.stdout.contains("Total requests:   1\n"),
        "{}",
        analysis.stdout
    );
    assert!(
        analysis
            .stderr
            .contains("lines that are null are skipped: 1"),
        "{}",
        analysis.stderr
    );
}
