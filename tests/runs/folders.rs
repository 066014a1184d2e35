//! The folder of a run: one run at a time, nothing in it of the run before, and no result that is
//! lost in silence.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use pinfire_tests::{
    binary::{Ended, Running, call, pinfire, profile},
    mock::{Mock, instant, script},
    watchdog::watch,
};
use rustix::process::Signal;

use crate::refusals::one_line;

const READY: &str = ".aiperf_results_ready.json";

fn url(mock: &Mock) -> String {
    format!("http://{}", mock.address())
}

/// Waits until there is something in a file of the run.
fn wait_for(running: &Running, name: &str) {
    let _guard = watch(format!("waiting for {name}"));
    let path = running.folder().join("out").join(name);
    while !path.metadata().is_ok_and(|file| file.len() > 0) {
        thread::sleep(Duration::from_millis(5));
    }
}

/// More requests than a test waits for.
const ENDLESS: &str = "--request-count 1000000 --num-dataset-entries 4 --concurrency 2";

/// Starts a run that goes on until it is told to end, and waits for its first records.
fn going_on(mock: &Mock) -> Running {
    let running = profile(&url(mock), ENDLESS).start();
    wait_for(&running, "profile_export.jsonl");
    running
}

/// A run that goes to this folder.
fn into(folder: &Path, url: &str, more: &str) -> Ended {
    let mut call = call(["profile", "--model", "mock", "--tokenizer", "builtin"]);
    let folder = folder.to_string_lossy();
    call.more(["--url", url, "--isl", "20", "--artifact-dir", &folder]);
    call.more(more.split_whitespace());
    call.run()
}

#[test]
fn a_second_run_in_the_folder_of_one_is_refused_before_it_touches_anything() {
    let mock = Mock::start(script());
    let first = going_on(&mock);
    let folder = first.folder().join("out");
    let before = fs::read(folder.join("resolved_config.yaml")).unwrap();
    let second = into(&folder, "mock:", "--request-count 1").code(1);
    one_line(&second, "another run");
    for word in [folder.to_str().unwrap(), "--artifact-dir"] {
        assert!(second.stderr.contains(word), "{word}: {}", second.stderr);
    }
    assert_eq!(
        fs::read(folder.join("resolved_config.yaml")).unwrap(),
        before
    );
    first.signal(Signal::INT);
    let first = first.wait();
    assert!(first.has("profile_export_aiperf.json"), "{}", first.stderr);
    // It is over: the folder is free.
    into(&folder, "mock:", "--request-count 1").code(0);
}

#[test]
fn a_killed_run_holds_no_folder() {
    let mock = Mock::start(script());
    let first = going_on(&mock);
    first.signal(Signal::KILL);
    let first = first.wait();
    into(&first.folder().join("out"), "mock:", "--request-count 1").code(0);
}

#[test]
fn a_sweep_and_a_report_have_their_folders_alone_too() {
    let mock = Mock::start(script());
    let first = going_on(&mock);
    let folder = first.folder().join("out");
    let sweep = into(&folder, "mock:", "--request-count 1 --concurrency 1,2").code(1);
    one_line(&sweep, "another run");
    let path = folder.to_string_lossy();
    let report = call(["report", &path, "--output", &path]).run().code(1);
    assert!(report.stderr.contains("another run"), "{}", report.stderr);
    first.signal(Signal::INT);
    first.wait();
}

/// All files below a folder, the log aside.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let name = path.strip_prefix(folder).unwrap();
                    all.insert(name.to_string_lossy().into_owned());
                }
            }
        }
    }
    all
}

#[test]
fn a_folder_that_is_used_again_keeps_nothing_of_the_run_before() {
    let mock = Mock::start(script());
    let plain = "--request-count 4 --no-server-metrics";
    let (one, two) = (temporary(), temporary());
    into(one.path(), &url(&mock), plain).code(0);
    let full = "--request-count 8 --warmup-request-count 2 --slice-duration 0.01 --export-level raw \
        --server-metrics-formats json,csv,jsonl,parquet --request-cancellation-rate 50 \
        --request-cancellation-delay 0.003 --streaming";
    into(two.path(), &url(&mock), full).code(0);
    let path = two.path().to_string_lossy();
    call(["report", &path]).run().code(0);
    let before = files(two.path());
    for name in [
        "profile_export_raw.jsonl",
        "server_metrics_export.json",
        "phases/warmup/profile_export_aiperf.json",
        "profile_export_aiperf_timeslices.csv",
        "report/profile_export_aiperf.json",
    ] {
        assert!(before.contains(name), "{name}: {before:?}");
    }
    let mine = [
        "notes.txt",
        "phases/notes.txt",
        "other.json",
        "release_notes.json",
    ];
    for name in mine {
        fs::write(two.path().join(name), "{}").unwrap();
    }
    into(two.path(), &url(&mock), plain).code(0);
    let mut expected = files(one.path());
    expected.extend(mine.map(str::to_owned));
    assert_eq!(files(two.path()), expected);
    // Without records either.
    let summary = "--request-count 4 --no-server-metrics --export-level summary";
    into(two.path(), &url(&mock), summary).code(0);
    expected.remove("profile_export.jsonl");
    assert_eq!(files(two.path()), expected);
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A run that goes on until it is told to end; its metrics are written line by line.
fn to_be_robbed(mock: &Mock) -> Running {
    let more = "--request-count 1000000 --num-dataset-entries 4 --concurrency 2 --export-level raw \
        --server-metrics-formats json,jsonl";
    let running = profile(&url(mock), more).start();
    for name in [
        "profile_export.jsonl",
        "profile_export_raw.jsonl",
        "server_metrics_export.jsonl",
    ] {
        wait_for(&running, name);
    }
    running
}

fn lost(run: &Ended, what: &str) {
    let errors = run
        .stderr
        .lines()
        .filter(|line| line.starts_with("error: "));
    assert_eq!(errors.count(), 1, "{}", run.stderr);
    let error = run.stderr.lines().find(|line| line.starts_with("error: "));
    assert!(
        error.is_some_and(|error| error.contains(what)),
        "{what}: {}",
        run.stderr
    );
    assert!(!run.has(READY));
}

#[test]
fn a_folder_that_is_removed_during_the_run_is_a_failure() {
    let mock = Mock::start(script());
    let running = to_be_robbed(&mock);
    fs::remove_dir_all(running.folder().join("out")).unwrap();
    running.signal(Signal::INT);
    let run = running.wait().code(1);
    lost(&run, "out was removed or replaced");
    for name in ["Raw Records", "Requests and Answers"] {
        assert!(!run.stdout.contains(name), "{name}: {}", run.stdout);
    }
}

#[test]
fn a_file_that_is_removed_during_the_run_is_a_failure() {
    let mock = Mock::start(script());
    for name in [
        "profile_export.jsonl",
        "profile_export_raw.jsonl",
        "server_metrics_export.jsonl",
        "resolved_config.yaml",
    ] {
        let running = to_be_robbed(&mock);
        fs::remove_file(running.folder().join("out").join(name)).unwrap();
        running.signal(Signal::INT);
        let run = running.wait().code(1);
        lost(&run, name);
        // What is there is there.
        assert!(run.has("profile_export_aiperf.json"));
    }
}

/// More lines than the limit takes; the other files stay below it.
const WRITES_MUCH: &str = "--isl 20 --osl 8 --request-count 2000 --concurrency 8 \
    --export-level raw --num-dataset-entries 4";

#[test]
fn a_file_that_takes_no_more_is_a_failure() {
    let folder = temporary();
    // As on a full disk, for this process alone: a write beyond 100 KiB fails.
    let script = "trap '' XFSZ; ulimit -f 200; exec \"$0\" \"$@\"";
    let run = Command::new("sh")
        .args(["-c", script])
        .arg(pinfire())
        .args(["profile", "--model", "mock", "--tokenizer", "builtin"])
        .args(["--url", "mock:", "--artifact-dir", "out"])
        .args(WRITES_MUCH.split_whitespace())
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let error = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(1), "{error}");
    let errors = error.lines().filter(|line| line.starts_with("error: "));
    assert_eq!(errors.count(), 1, "{error}");
    assert!(error.contains("cannot write out/profile_export"), "{error}");
    assert!(!folder.path().join("out").join(READY).exists());
}

#[test]
fn what_is_whole_is_marked_as_ready() {
    let mock = Mock::start(instant(2));
    let run = profile(&url(&mock), "--request-count 2").run().code(0);
    assert!(run.has(READY));
}
