//! Records that wait for their analysis in a file, because no room in memory is left to them: the
//! results are those of any run, and nothing of it stays in the folder.

use std::{collections::BTreeSet, fs};

use pinfire_tests::{
    binary::{Call, Ended, profile},
    mock::{Mock, instant, script},
    watchdog::watch,
};
use rustix::process::Signal;

use super::sums;

const LOAD: &str = "--concurrency 16 --request-count 3000 --num-dataset-entries 4";

fn url(mock: &Mock) -> String {
    format!("http://{}", mock.address())
}

/// A run whose records all wait in files.
fn without_room(mock: &Mock, flags: &str) -> Call {
    let mut run = profile(&url(mock), flags);
    run.env("PINFIRE_RECORDS_IN_MEMORY", "0");
    run
}

fn waited_in_a_file(run: &Ended) -> bool {
    let log = run.file("logs/pinfire.log");
    log.contains("records waited in a file for their analysis")
}

fn names(run: &Ended) -> BTreeSet<String> {
    let entries = fs::read_dir(run.folder().join("out")).unwrap();
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    entries.map(|entry| name(entry.unwrap())).collect()
}

#[test]
fn a_run_whose_records_wait_in_a_file_has_all_results() {
    let mock = Mock::start(instant(2));
    let usual = profile(&url(&mock), LOAD).run().code(0);
    let run = without_room(&mock, LOAD).run().code(0);
    assert!(waited_in_a_file(&run) && !waited_in_a_file(&usual));
    assert_eq!(sums(&run), [3000, 3000, 0, 0, 0]);
    let mut requests: Vec<u64> = run
        .lines()
        .iter()
        .filter_map(|line| line["metadata"]["session_num"].as_u64())
        .collect();
    requests.sort_unstable();
    assert_eq!(requests, (0..3000).collect::<Vec<_>>());
    assert_eq!(names(&run), names(&usual));
}

/// Where a file may not grow, as on a full disk.
#[test]
fn records_that_no_file_takes_wait_in_memory() {
    let mock = Mock::start(instant(2));
    let flags = format!("{LOAD} --export-level summary");
    let mut run = without_room(&mock, &flags);
    run.by(&["/usr/bin/prlimit", "--fsize=100000"]);
    let run = run.run().code(0);
    assert_eq!(sums(&run), [3000, 3000, 0, 0, 0]);
    let said = run.stderr.matches("wait in memory instead").count();
    assert_eq!(said, 1, "{}", run.stderr);
    assert!(run.stderr.contains("File too large"), "{}", run.stderr);
}

#[test]
fn ctrl_c_while_records_wait_in_a_file() {
    let mock = Mock::start(script());
    let flags = "--concurrency 8 --request-count 1000000 --num-dataset-entries 4";
    let running = without_room(&mock, flags).start();
    let _guard = watch("no record comes");
    let lines = running.folder().join("out/profile_export.jsonl");
    while !lines.metadata().is_ok_and(|file| file.len() > 0) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    running.signal(Signal::INT);
    let run = running.wait();
    let [due, completed, .., dropped] = sums(&run);
    assert!(
        completed > 0 && due == completed + dropped,
        "{due} {completed} {dropped}"
    );
    assert_eq!(run.lines().len() as u64, completed);
    assert!(waited_in_a_file(&run));
}
