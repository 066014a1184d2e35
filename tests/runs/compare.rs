//! `pinfire compare` over runs of the binary itself.

use std::path::Path;

use pinfire_base::clock::Span;
use pinfire_tests::{
    binary::{Ended, call, profile},
    mock::{Mock, script},
};
use serde_json::Value;

/// A run whose files stand in `out` of its folder.
fn run(millis: u64, more: &str) -> Ended {
    let mut script = script();
    script.ttft = Span::from_millis(millis);
    let mock = Mock::start(script);
    let url = format!("http://{}", mock.address());
    let ended = profile(&url, &format!("--osl 4 --random-seed 1 {more}"))
        .run()
        .code(0);
    drop(mock.stop());
    ended
}

fn compare(a: &Path, b: &Path, more: &[&str]) -> Ended {
    let (a, b) = (a.join("out"), b.join("out"));
    let mut call = call(["compare", a.to_str().unwrap(), b.to_str().unwrap()]);
    call.more(more.iter().copied());
    call.run()
}

#[test]
fn a_slower_server_breaks_a_rule() {
    let fast = run(3, "--concurrency 4 --request-count 60");
    let slow = run(60, "--concurrency 4 --request-count 60");
    let (fast, slow) = (fast.folder(), slow.folder());
    // Never early: the second server takes 60 ms at least. The first one may take long on a busy
    // machine, but then so does the second.
    let worse = compare(
        fast,
        slow,
        &["--fail-if", "ttft.p50>55", "--fail-if", "osl>+0%"],
    )
    .code(1);
    assert!(
        worse.stdout.contains("rule ttft.p50>55: BROKEN"),
        "{}",
        worse.stdout
    );
    assert!(
        worse.stdout.contains("rule osl>+0%: kept"),
        "{}",
        worse.stdout
    );
    assert_eq!(worse.stderr, "error: broken: ttft.p50>55\n");
    let itself = compare(
        fast,
        fast,
        &["--fail-if", "ttft.p99>+0%", "--fail-if", "tps<-0%"],
    )
    .code(0);
    assert!(
        itself.stdout.contains("Time to First Token (ms)"),
        "{}",
        itself.stdout
    );
}

#[test]
fn the_file_holds_the_figures_of_both_summaries() {
    let a = run(3, "--concurrency 2 --request-count 40");
    let b = run(3, "--concurrency 5 --request-count 40");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("difference.json");
    let flags = [
        "--output",
        file.to_str().unwrap(),
        "--percentiles",
        "75,99.9",
    ];
    compare(a.folder(), b.folder(), &flags).code(0);
    let json: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let of_a = a.json();
    for (tag, stats) in [
        ("request_latency", ["avg", "p50", "p75", "p99"].as_slice()),
        ("time_to_first_token", &["avg", "p90"]),
        ("request_throughput", &["avg"]),
    ] {
        for stat in stats {
            let told = json["metrics"][tag]["figures"][stat]["a"].as_f64().unwrap();
            let there = of_a[tag][stat].as_f64().unwrap();
            assert!(
                (told / there - 1.0).abs() < 1e-9,
                "{tag} {stat}: {told} is not {there}"
            );
        }
    }
    let figures = &json["metrics"]["request_latency"]["figures"];
    assert!(figures["p99.9"]["a"].is_number());
    let settings = json["settings_that_differ"].as_array().unwrap();
    let of_concurrency = settings
        .iter()
        .find(|s| s["setting"] == "phases.profiling.concurrency");
    assert_eq!(of_concurrency.unwrap()["b"], 5);
}

#[test]
fn what_cannot_be_compared_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    for (arguments, says) in [
        (vec!["compare", path, path], "there is no run"),
        (vec!["compare", "/nonexistent", path], "/nonexistent"),
        (
            vec!["compare", path, path, "--fail-if", "ttft"],
            "--fail-if `ttft`: there is no comparison",
        ),
        (
            vec!["compare", path, path, "--percentiles", "x"],
            "--percentiles x",
        ),
        (
            vec!["compare", path, path, "--confidence-level", "1"],
            "--confidence-level 1",
        ),
        (vec!["compare", path], "<B>"),
    ] {
        let ended = call(arguments.iter().copied()).run().code(2);
        assert!(ended.stderr.contains(says), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
}

#[test]
fn repeated_runs_are_one_side_and_stdout_takes_the_document() {
    let repeated = run(3, "--concurrency 2 --request-count 20 --num-profile-runs 2");
    let folder = repeated.folder();
    let flags = ["--output", "-", "--fail-if", "ttft>1e6"];
    let json = compare(folder, folder, &flags).code(0).stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["a"]["runs"], &json["b"]["runs"]),
        (&2.into(), &2.into())
    );
    let ttft = &json["metrics"]["time_to_first_token"]["figures"]["avg"];
    assert!(ttft["ci_low"].is_number(), "{ttft}");
    let flags = ["--format", "junit", "--fail-if", "ttft>1e6"];
    let junit = compare(folder, folder, &flags).code(0).stdout;
    assert!(junit.contains("tests=\"1\" failures=\"0\""), "{junit}");
}
