//! `pinfire report` on pinfire's own files: whole runs, killed ones, damaged ones.

use std::{collections::BTreeSet, path::Path, time::Duration};

use pinfire_tests::{
    binary::{Ended, call, profile},
    mock::{Mock, by_id, script},
    watchdog::watch,
};
use rustix::process::Signal;
use serde_json::Value;

use super::refusals::one_line;

fn url(mock: &Mock) -> String {
    format!("http://{}", mock.address())
}

fn report(folder: &Path, more: &[&str]) -> Ended {
    let folder = folder.to_string_lossy();
    let mut call = call(["report", &folder, "--output", "out"]);
    call.more(more.iter().copied());
    call.run()
}

/// The blocks of a summary that a report has to give back.
pub fn figures(summary: &Value) -> Vec<(&String, &Value)> {
    let fields = summary.as_object().unwrap().iter();
    let blocks =
        fields.filter(|(key, value)| value.get("unit").is_some() || *key == "cancellation");
    blocks.collect()
}

#[test]
fn a_report_gives_the_figures_of_the_run() {
    let mock = Mock::start(script());
    for (more, anew) in [
        (
            "--concurrency 4 --request-count 40 --warmup-request-count 4 --random-seed 7 \
             --request-cancellation-rate 40 --request-cancellation-delay 0.006",
            &[][..],
        ),
        (
            "--request-rate 200 --concurrency 2 --request-count 30 --use-server-token-count",
            &[],
        ),
        (
            "--concurrency 4 --request-count 40 --random-seed 7 --export-level raw \
             --request-cancellation-rate 40 --request-cancellation-delay 0.006",
            &["--tokenizer", "builtin"],
        ),
        // Longer than what is kept exactly, as a run of millions is.
        (
            "--concurrency 8 --request-count 800 --num-dataset-entries 10 --exact-records 100",
            &["--exact-records", "100"],
        ),
    ] {
        let run = profile(&url(&mock), more).run().code(0);
        let again = report(&run.folder().join("out"), anew).code(0);
        let (before, after) = (run.json(), again.json());
        for ((tag, before), (other, after)) in figures(&before).iter().zip(figures(&after)) {
            assert_eq!(*tag, other);
            near(before, after, tag);
        }
        assert_eq!(figures(&before).len(), figures(&after).len());
        for key in [
            "benchmark_id",
            "run_info",
            "input_config",
            "is_complete",
            "was_cancelled",
            "error_summary",
            "start_time",
            "end_time",
            "client_health",
            "request_accounting",
        ] {
            assert_eq!(before[key], after[key], "{key}");
        }
        let lines = |run: &Ended| -> Vec<Value> {
            let lines = run.lines().into_iter();
            lines.map(|line| line["metadata"].clone()).collect()
        };
        assert_eq!(lines(&run), lines(&again));
        assert!(!run.has(".pinfire_run.json"), "a whole run leaves no note");
    }
}

/// Equal but for the last digits of fractions.
#[track_caller]
pub fn near(before: &Value, after: &Value, name: &str) {
    match (before, after) {
        (Value::Object(one), Value::Object(other)) => {
            let keys =
                |map: &serde_json::Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(one), keys(other), "{name}");
            for (key, value) in one {
                near(value, &other[key], &format!("{name} {key}"));
            }
        }
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) = (one.as_f64().unwrap(), other.as_f64().unwrap());
            let apart = (one - other).abs();
            assert!(
                apart <= 1e-9 * one.abs().max(1e-3),
                "{name}: {one} and {other}"
            );
        }
        _ => assert_eq!(before, after, "{name}"),
    }
}

fn ids(lines: &[Value]) -> BTreeSet<String> {
    let ids = lines
        .iter()
        .map(|line| line["metadata"]["x_request_id"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}

#[test]
fn a_killed_run_is_reported_up_to_its_last_lines() {
    let mock = Mock::start(script());
    let running = profile(&url(&mock), "--concurrency 4 --benchmark-duration 120").start();
    let folder = running.folder().join("out");
    let file = folder.join("profile_export.jsonl");
    // What is in the file while the run goes on.
    let on_disk = || -> Vec<Value> {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let whole = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        whole
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let guard = watch("no lines came to the disk");
    while on_disk().len() < 100 {
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(guard);
    assert!(folder.join(".pinfire_run.json").exists());
    let seen = ids(&on_disk());
    running.signal(Signal::KILL);
    let killed = running.wait();
    let (_, truth) = mock.stop();
    assert!(!killed.has("profile_export_aiperf.json"));

    let run = report(&folder, &[]).code(0);
    let reported = ids(&run.lines());
    assert!(reported.is_superset(&seen));
    let truth = by_id(&truth);
    for id in &reported {
        assert!(truth[id.as_str()].done > 0, "{id} was answered");
    }
    let json = run.json();
    let count = json["request_count"]["avg"].as_f64().unwrap();
    assert_eq!(count as usize, reported.len());
    assert_eq!(json["is_complete"], false);
    let reason = json["incomplete_reason"].as_str().unwrap();
    assert!(reason.contains("ended from outside"), "{reason}");
    assert!(
        run.stdout.contains("The run is incomplete"),
        "{}",
        run.stdout
    );
    // What was asked is known from the start of the run.
    let asked = &json["input_config"];
    assert_eq!(asked["phases"][0]["concurrency"], 4);
    assert_eq!(asked["endpoint"]["streaming"], true);
    assert!(json["time_to_first_token"]["p99"].is_f64());
    assert!(json["input_sequence_length"]["avg"].is_f64());

    // Cut off in the middle of a line, as a buffer that was half written.
    let whole = std::fs::read(&file).unwrap();
    let torn = [&whole[..], b"{\"metadata\":{\"session_num\":9"].concat();
    std::fs::write(&file, torn).unwrap();
    let cut = report(&folder, &[]).code(0);
    assert_eq!(ids(&cut.lines()), reported);
    assert!(
        cut.stderr.contains("the last line is cut off"),
        "{}",
        cut.stderr
    );
    // Broken in the middle: no guess is made.
    let broken = [b"{\"metadata\":{}}\n", &whole[..]].concat();
    std::fs::write(&file, broken).unwrap();
    let refused = report(&folder, &[]).code(1);
    one_line(&refused, "profile_export.jsonl, line 1: ");
    assert!(!refused.has("profile_export.jsonl"), "no half file is left");
}

#[test]
fn a_folder_may_take_its_own_report() {
    let mock = Mock::start(script());
    let run = profile(&url(&mock), "--concurrency 2 --request-count 10")
        .run()
        .code(0);
    let folder = run.folder().join("out");
    let (before, lines) = (run.json(), run.lines());
    let path = folder.to_string_lossy().into_owned();
    call(["report", &path, "--output", &path]).run().code(0);
    assert_eq!(ids(&run.lines()), ids(&lines));
    assert_eq!(run.json()["request_count"], before["request_count"]);
    // Without a summary it still knows what it can see.
    std::fs::remove_file(folder.join("profile_export_aiperf.json")).unwrap();
    let bare = report(&folder, &[]).code(0);
    assert!(
        bare.stderr
            .contains("there is no profile_export_aiperf.json"),
        "{}",
        bare.stderr
    );
    assert_eq!(
        bare.json()["time_to_first_token"],
        before["time_to_first_token"]
    );
    assert_eq!(bare.json()["is_complete"], false);
}

#[test]
fn what_is_no_run_is_told() {
    let empty = call(["report", ".", "--output", "out"]).run().code(1);
    one_line(
        &empty,
        "has neither profile_export_raw.jsonl nor profile_export.jsonl",
    );
    let nowhere = call(["report", "nowhere"]).run().code(1);
    one_line(&nowhere, "nowhere");
    let mock = Mock::start(script());
    let run = profile(&url(&mock), "--concurrency 2 --request-count 4")
        .run()
        .code(0);
    let folder = run.folder().join("out");
    let texts = report(&folder, &["--tokenizer", "builtin"]).code(1);
    one_line(&texts, "--tokenizer needs the texts of the run");
}
