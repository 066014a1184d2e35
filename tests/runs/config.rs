//! One configuration, wherever its values come from: what is in a file means what is typed, an error
//! names the line of the value it is about, and a run is repeated by the file that it leaves.

use std::path::Path;

use pinfire_base::clock::Span;
use pinfire_tests::{
    binary::{Ended, call},
    mock::{Mock, script},
    watchdog::watch,
};
use pinfire_tools::mock::Script;
use serde_json::Value;

use super::refusals::one_line;

/// What every file here begins with.
const COMMON: &str = "\
model: mock
url: 'mock:'
tokenizer: builtin
streaming: true
isl: 9
artifact-dir: out
";

/// A run by a file with these lines, and these flags.
fn by_file(lines: &str, flags: &[&str]) -> Ended {
    let mut run = call(["profile", "--config", "run.yaml"]);
    run.more(flags.iter().copied());
    run.write("run.yaml", &format!("{COMMON}{lines}"));
    run.run()
}

fn warmed(run: &Ended, folder: &str) -> bool {
    let text = run.file(&format!("{folder}/profile_export_aiperf.json"));
    let summary: Value = serde_json::from_str(&text).expect("a summary");
    summary["warmup_metrics"].is_object()
}

#[test]
fn a_warmup_in_a_file_is_before_the_first_run_only() {
    let run = by_file(
        "request-count: 2\nosl: 2\nwarmup-request-count: 3\n",
        &["--num-profile-runs", "2"],
    )
    .code(0);
    assert!(warmed(&run, "profile_runs/run_0001"));
    assert!(!warmed(&run, "profile_runs/run_0002"));
}

#[test]
fn a_delay_in_a_file_goes_with_a_sweep_of_rates() {
    let run = by_file(
        "request-count: 4\nosl: 2\nrequest-cancellation-delay: 0.5\n",
        &["--request-cancellation-rate", "0,10"],
    )
    .code(0);
    assert!(
        run.stdout.contains("2 of 2 runs can be used"),
        "{}",
        run.stdout
    );
    let without = run.file("cancel_0/resolved_config.yaml");
    assert!(!without.contains("cancellation"), "{without}");
    let with = run.file("cancel_10/resolved_config.yaml");
    assert!(
        with.contains("\nrequest-cancellation-delay: 0.5\n"),
        "{with}"
    );
}

fn wait_for(path: &Path) {
    let guard = watch("a file of the run");
    while !path.exists() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    drop(guard);
}

#[test]
fn a_file_that_is_edited_does_not_change_the_points_to_come() {
    let mock = Mock::start(Script {
        ttft: Span::from_millis(5),
        ..script()
    });
    let url = format!("http://{}", mock.address());
    let mut search = call(["profile", "--config", "run.yaml", "--no-server-metrics"]);
    search.more(["--url", &url, "--search", "concurrency:1,4"]);
    search.more(["--slo", "error_rate<=1", "--request-count", "20"]);
    search.write("run.yaml", &format!("{COMMON}osl: 4\n"));
    let running = search.start();
    let base = running.folder().join("out");
    wait_for(&base.join("search_iter_0000/profile_runs/run_0001/resolved_config.yaml"));
    std::fs::write(running.folder().join("run.yaml"), "model: other\nosl: 9\n").expect("an edit");
    let ended = running.wait().code(0);
    drop(mock.stop());
    let points = std::fs::read_dir(ended.folder().join("out")).expect("the folder of the search");
    let mut seen = 0;
    for point in points {
        let path = point
            .expect("an entry")
            .path()
            .join("profile_runs/run_0001/resolved_config.yaml");
        if let Ok(text) = std::fs::read_to_string(path) {
            assert!(text.contains("\nosl: 4\n"), "{text}");
            seen += 1;
        }
    }
    assert!(seen >= 2, "{}", ended.stdout);
}

#[test]
fn a_setting_that_is_only_recommended_is_not_blamed() {
    let run = by_file(
        "request-rate: 5\n",
        &["--user-centric-rate", "1", "--num-users", "2"],
    )
    .code(1);
    one_line(&run, "for single turns take --request-rate\n");
    // The one that it is about is.
    let run = by_file("request-rate: 5\nuser-centric-rate: 1\nnum-users: 2\n", &[]).code(1);
    one_line(&run, "for single turns take --request-rate (run.yaml:8)\n");
}

#[test]
fn a_search_refuses_its_load_wherever_that_was_given() {
    let search = ["--search", "concurrency:1,4", "--slo", "error_rate<=1"];
    let run = by_file("concurrency: 3\n", &search).code(1);
    one_line(&run, "leave --concurrency out (run.yaml:7)\n");
    let typed: Vec<&str> = search.into_iter().chain(["--concurrency", "3"]).collect();
    one_line(&by_file("", &typed).code(1), "leave --concurrency out\n");
}

#[test]
fn shells_complete_the_words_of_a_flag() {
    let script = call(["completions", "bash"]).run().code(0).stdout;
    for (flag, words) in [
        (
            "--endpoint-type",
            "chat completions responses messages embeddings",
        ),
        ("--io-driver", "auto uring epoll"),
        ("--export-level", "summary records raw"),
        ("--ui", "dashboard simple none"),
    ] {
        let case = script
            .split(&format!("{flag})"))
            .nth(1)
            .expect("a case for the flag");
        let next = case.lines().nth(1).expect("what is offered");
        assert!(
            next.contains(&format!("compgen -W \"{words}")),
            "{flag}: {next}"
        );
    }
}

#[test]
fn bash_completes_files_and_folders_only_where_they_are_meant() {
    let script = call(["completions", "bash"]).run().code(0).stdout;
    let folder = tempfile::TempDir::new().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("completions.bash"), script).unwrap();
    std::fs::write(folder.join("trace.jsonl"), "").unwrap();
    std::fs::create_dir(folder.join("traces")).unwrap();
    // What readline does for `plusdirs` is done by a stand-in for `compopt`.
    const PROGRAM: &str = "source completions.bash; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
        word=${!#}; before=${*: -2:1}; \
        compopt() { [ \"$2\" != plusdirs ] || dirs=$(compgen -d -- \"$word\"); }; \
        _pinfire pinfire \"$word\" \"$before\"; printf '%s\\n' \"${COMPREPLY[@]}\" $dirs";
    let completed = |line: &str| -> Vec<String> {
        let ended = std::process::Command::new("bash")
            .args(["--norc", "-c", PROGRAM, "bash"])
            .args(line.split(' '))
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(ended.status.success(), "{line}: {ended:?}");
        let text = String::from_utf8(ended.stdout).unwrap();
        let words = text.lines().filter(|word| !word.is_empty());
        let mut words: Vec<String> = words.map(str::to_owned).collect();
        words.sort();
        words
    };
    assert_eq!(
        completed("pinfire profile --input-file tr"),
        ["trace.jsonl", "traces"]
    );
    assert_eq!(completed("pinfire profile --artifact-dir tr"), ["traces"]);
    for flag in [
        "--model",
        "--concurrency",
        "--request-rate",
        "--url",
        "--num-gpus",
    ] {
        let line = format!("pinfire profile {flag} tr");
        assert_eq!(completed(&line), ["tr"], "{flag}");
    }
    let drivers = completed("pinfire profile --io-driver u");
    assert_eq!(drivers, ["uring"]);
    assert!(completed("pinfire ca").contains(&"calibrate".to_owned()));
}

/// The bodies that a run has sent.
fn payloads(run: &Ended) -> Vec<String> {
    let text = run.file("profile_export_raw.jsonl");
    let mut all: Vec<String> = text
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).expect("a line of JSON");
            line["payload"].to_string()
        })
        .collect();
    all.sort();
    all
}

#[test]
fn a_run_is_repeated_by_the_file_that_it_leaves_byte_for_byte() {
    let first = by_file(
        "num-conversations: 6\nconcurrency: 3\nisl-stddev: 3\nosl: 20\nosl-stddev: 5\n\
         session-turns-mean: 2\nexport-level: raw\nextra-inputs: {ignore_eos: true}\n\
         request-cancellation-rate: 20\nrequest-cancellation-delay: 20s\n",
        &[
            "--dataset-sampling-strategy",
            "shuffle",
            "--api-key",
            "sk-first",
        ],
    )
    .code(0);
    let resolved = first.file("resolved_config.yaml");
    assert!(!resolved.contains("sk-first"), "{resolved}");
    let mut again = call(["profile", "--config", "resolved.yaml"]);
    again.env("PINFIRE_API_KEY", "sk-second");
    again.write("resolved.yaml", &resolved);
    let again = again.run().code(0);
    assert_eq!(payloads(&again), payloads(&first));
    // All turns of all conversations: which turn is the last does not depend on timing.
    assert!(payloads(&first).len() >= 6, "{}", first.stdout);
    // And it leaves the same file, but for the words about where it is.
    let settings = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        settings(&again.file("resolved_config.yaml")),
        settings(&resolved)
    );
    // Without the key there is no run.
    let keyless = call(["profile", "--config", "resolved.yaml"]);
    keyless.write("resolved.yaml", &resolved);
    one_line(
        &keyless.run().code(1),
        "give --api-key again, or set PINFIRE_API_KEY",
    );
}

#[test]
fn a_sweep_of_an_earlier_version_is_refused_in_one_line() {
    let resume = call(["profile", "--resume", "old"]);
    std::fs::create_dir(resume.folder().join("old")).expect("a folder");
    resume.write(
        "old/sweep_config.json",
        "{\"tool_version\": \"pinfire 0.1.0\", \"sweep_id\": \"a\", \"arguments\": [\"--model\", \"m\"], \
         \"base_seed\": 1, \"seed_drawn_per_run\": false, \"same_seed\": false, \
         \"vary_seed_per_trial\": true}",
    );
    one_line(
        &resume.run().code(1),
        "was begun by an earlier version of pinfire",
    );
}

#[test]
fn a_resumed_sweep_takes_its_credentials_again() {
    let flags = [
        "--concurrency",
        "1,2",
        "--api-key",
        "sk-1",
        "--request-count",
        "2",
    ];
    let first = by_file("osl: 2\n", &flags).code(0);
    let base = first.folder().join("out");
    let base = base.to_str().expect("a path");
    let stored = first.file("sweep_config.json");
    assert!(!stored.contains("sk-1"), "{stored}");
    let resume = call(["profile", "--resume", base]).run().code(1);
    one_line(&resume, "credentials are not stored; give --api-key again");
    let resume = call(["profile", "--resume", base, "--api-key", "sk-1"])
        .run()
        .code(0);
    assert_eq!(
        resume.stdout.matches("(kept)").count(),
        2,
        "{}",
        resume.stdout
    );
}

#[test]
fn a_variable_gives_what_nothing_else_does() {
    let variable = "PINFIRE_UI_REALTIME_METRICS_INTERVAL";
    let validate = |text: &str, value: &str| {
        let mut call = call(["config", "expand", "run.yaml"]);
        call.env(variable, value);
        call.write("run.yaml", &format!("{COMMON}{text}"));
        call.run()
    };
    let by_variable = validate("", "7").code(0);
    assert!(
        by_variable.stdout.contains("--stats-interval=7"),
        "{}",
        by_variable.stdout
    );
    let by_file = validate("stats-interval: 5\n", "7").code(0);
    assert!(
        by_file.stdout.contains("--stats-interval=5"),
        "{}",
        by_file.stdout
    );
    let wrong = validate("", "1001").code(1);
    one_line(
        &wrong,
        "PINFIRE_UI_REALTIME_METRICS_INTERVAL is set to `1001`: it must be between 0 and 1000",
    );
}
