//! How runs end: exit codes, and sums that agree whatever happened.

use std::time::Duration;

use pinfire_tests::{
    binary::{Ended, profile},
    mock::{Mock, instant, script, silent},
    raw::nobody,
    watchdog::watch,
};
use pinfire_tools::mock::{Fault, FaultRule, Script, When};
use rustix::process::Signal;
use std::os::unix::process::ExitStatusExt;

use super::sums;

const LOAD: &str = "--concurrency 4 --request-count 20 --random-seed 5";

fn url(mock: &Mock) -> String {
    format!("http://{}", mock.address())
}

#[track_caller]
fn has_every_file(run: &Ended) {
    for name in [
        "inputs.json",
        "profile_export.jsonl",
        "profile_export_aiperf.csv",
        "profile_export_aiperf.json",
        "profile_export_console.txt",
    ] {
        assert!(run.has(name), "{name} is missing\n{}", run.stderr);
    }
}

#[test]
fn a_run_against_the_embedded_server() {
    let run = profile("mock:", &format!("{LOAD} --osl 4")).run().code(0);
    assert_eq!(sums(&run), [20, 20, 0, 0, 0]);
    assert_eq!(run.lines().len(), 20);
    has_every_file(&run);
    assert!(run.stdout.contains("Success Rate: 100%"), "{}", run.stdout);
    assert_eq!(run.stderr, "");
}

#[test]
fn a_run_against_a_server_in_process_and_its_log() {
    let mock = Mock::start(script());
    let flags = format!("{LOAD} --warmup-request-count 6 --request-cancellation-rate 30");
    let run = profile(&url(&mock), &flags).run().code(0);
    let [due, completed, errors, cancelled, dropped] = sums(&run);
    assert_eq!(
        (due, completed + cancelled, errors, dropped),
        (20, 20, 0, 0)
    );
    assert!(cancelled > 0 && completed > 0);
    let (_, seen) = mock.stop();
    assert_eq!(seen.len(), 26, "warmup and measurement");
    let hung_up = seen.iter().filter(|line| line.closed > 0);
    assert_eq!(hung_up.count() as u64, cancelled);
    let lines = run.lines();
    assert_eq!(lines.len(), 26);
    for line in &lines {
        let id = line["metadata"]["x_request_id"].as_str().unwrap();
        assert!(seen.iter().any(|seen| seen.id == id), "{id} was never sent");
    }
}

#[test]
fn nothing_listening_is_a_failure_with_all_its_files() {
    let (_socket, address) = nobody();
    let run = profile(&format!("http://{address}"), LOAD).run().code(1);
    assert_eq!(sums(&run), [20, 20, 20, 0, 0]);
    has_every_file(&run);
    let json = run.json();
    assert_eq!(
        json["error_summary"][0]["count"], 20,
        "{}",
        json["error_summary"]
    );
    assert_eq!(run.lines().len(), 20);
    assert!(run.lines().iter().all(|line| line["error"].is_object()));
    assert!(
        run.stdout.contains("Success Rate: 0% (20 errors)"),
        "{}",
        run.stdout
    );
}

#[test]
fn slots_rest_while_nobody_answers_and_the_report_says_so() {
    let (_socket, address) = nobody();
    let url = format!("http://{address}");
    let load = "--concurrency 2 --request-count 8";
    let run = profile(&url, load).run().code(1);
    assert_eq!(sums(&run), [8, 8, 8, 0, 0]);
    let rests = &run.json()["client_health"]["error_backoff"];
    assert_eq!(rests["slots"], 2);
    let count = rests["rests"].as_u64().unwrap();
    assert!((5..=7).contains(&count), "{rests}");
    assert!(rests["rested_sec"].as_f64().unwrap() >= 0.05, "{rests}");
    let line = format!("2 slots rested {count} times after requests without any answer");
    assert!(run.stdout.contains(&line), "{}", run.stdout);
    // At full speed nothing is said.
    let run = profile(&url, &format!("{load} --no-error-backoff"))
        .run()
        .code(1);
    assert!(run.json()["client_health"].get("error_backoff").is_none());
    assert!(!run.stdout.contains("rested"), "{}", run.stdout);
    let file = run.file("resolved_config.yaml");
    assert!(file.contains("no-error-backoff: true"), "{file}");
}

#[test]
fn a_stop_does_not_wait_for_rests_and_silence_is_told() {
    let (_socket, address) = nobody();
    let url = format!("http://{address}");
    let running = profile(&url, "--concurrency 3 --request-count 100000").start();
    let log = running.folder().join("out/logs/pinfire.log");
    let guard = watch("silence is never told");
    let told = || std::fs::read_to_string(&log).unwrap_or_default();
    while !told().contains("nothing has been answered yet") {
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(guard);
    running.signal(Signal::INT);
    let run = running.wait();
    let [due, completed, errors, ..] = sums(&run);
    assert!(
        due == completed && errors == due && due >= 3,
        "{due} {completed} {errors}"
    );
    assert_eq!(run.lines().len() as u64, due);
}

#[test]
fn cancelling_all_is_a_success() {
    let mock = Mock::start(silent());
    let flags = format!("{LOAD} --request-cancellation-rate 100 --request-cancellation-delay 0.01");
    let run = profile(&url(&mock), &flags).run().code(0);
    assert_eq!(sums(&run), [20, 0, 0, 20, 0]);
    has_every_file(&run);
    let json = run.json();
    let cancellation = &json["cancellation"];
    assert_eq!(cancellation["cancelled"], 20);
    assert_eq!(cancellation["phases"]["waiting"], 20);
    assert_eq!(cancellation["delay_asked_ms"], 10.0);
    assert!(cancellation["achieved_delay"]["min"].as_f64().unwrap() >= 10.0);
    assert!(cancellation["delay_error"]["min"].as_f64().unwrap() >= 0.0);
    assert!(
        json.get("error_request_count").is_none(),
        "a planned cancel is no error"
    );
    for line in run.lines() {
        assert_eq!(line["metadata"]["was_cancelled"], true);
        assert_eq!(line["error"]["code"], 499);
        assert_eq!(line["error"]["type"], "RequestCancellationError");
        assert!(
            line["metadata"]["cancellation"]["achieved_delay_ms"]
                .as_f64()
                .unwrap()
                >= 10.0
        );
    }
    let (summary, _) = mock.stop();
    assert_eq!(summary.aborted, 20);
}

#[test]
fn some_errors_are_counted_and_the_run_succeeds() {
    let mock = Mock::start(Script {
        faults: vec![FaultRule {
            fault: Fault::Status(503),
            when: When::Every(4),
        }],
        ..instant(3)
    });
    let run = profile(&url(&mock), LOAD).run().code(0);
    assert_eq!(sums(&run), [20, 20, 5, 0, 0]);
    let json = run.json();
    assert_eq!(
        json["error_summary"][0]["error_details"]["code"], 503,
        "{}",
        json["error_summary"]
    );
    assert_eq!(json["error_request_count"]["avg"], 5.0);
    assert_eq!(json["request_count"]["avg"], 15.0);
}

#[test]
fn all_errors_are_a_failure() {
    let mock = Mock::start(Script {
        faults: vec![FaultRule {
            fault: Fault::Status(500),
            when: When::Every(1),
        }],
        ..instant(3)
    });
    let run = profile(&url(&mock), LOAD).run().code(1);
    assert_eq!(sums(&run), [20, 20, 20, 0, 0]);
    has_every_file(&run);
}

/// Starts a run that cannot end by itself and waits until the server has all of its requests.
fn endless(mock: &Mock) -> pinfire_tests::binary::Running {
    endless_with(mock, "--concurrency 8 --request-count 100")
}

fn endless_with(mock: &Mock, flags: &str) -> pinfire_tests::binary::Running {
    let running = profile(&url(mock), flags).start();
    let _guard = pinfire_tests::watchdog::watch("the requests never came");
    while !mock
        .metrics()
        .contains("vllm:num_requests_running{engine=\"0\",model_name=\"mock\"} 8.0")
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    running
}

#[test]
fn ctrl_c_ends_in_order() {
    for signal in [Signal::INT, Signal::TERM] {
        let mock = Mock::start(silent());
        let running = endless(&mock);
        running.signal(signal);
        let run = running.wait().code(1);
        // Nothing was answered or hung up on, so that there is nothing to be called a success.
        assert_eq!(sums(&run), [8, 0, 0, 0, 8]);
        interrupted(&run);
    }
}

#[test]
fn ctrl_c_after_some_answers_is_no_failure() {
    // Every second request is answered, the others never: the run is stuck half way.
    let mock = Mock::start(Script {
        faults: vec![FaultRule {
            fault: Fault::StallHead,
            when: When::Every(2),
        }],
        ..instant(2)
    });
    let running = endless(&mock);
    running.signal(Signal::INT);
    let run = running.wait().code(0);
    let [due, completed, errors, cancelled, dropped] = sums(&run);
    assert_eq!((errors, cancelled, dropped), (0, 0, 8));
    assert!(completed >= 7 && due == completed + 8, "{due} {completed}");
    interrupted(&run);
    assert_eq!(
        run.lines().len() as u64,
        completed,
        "what was dropped is in no export"
    );
}

/// Two of the eight that are open belong to the warmup, whose requests are in no sum.
#[test]
fn ctrl_c_between_seamless_phases() {
    let mock = Mock::start(silent());
    let flags = "--concurrency 8 --request-count 100 --warmup-request-count 2 --warmup-concurrency 2 \
                 --warmup-seamless --failed-request-threshold 0.5";
    let running = endless_with(&mock, flags);
    running.signal(Signal::INT);
    let run = running.wait().code(1);
    assert_eq!(sums(&run), [6, 0, 0, 0, 6]);
    interrupted(&run);
}

#[track_caller]
fn interrupted(run: &Ended) {
    let json = run.json();
    assert_eq!(json["was_cancelled"], true);
    assert_eq!(json["is_complete"], false);
    assert!(json["incomplete_reason"].is_string());
    assert!(run.stderr.contains("Cancelling"), "{}", run.stderr);
    has_every_file(run);
}

#[test]
fn a_second_ctrl_c_leaves_at_once() {
    // The first signal makes it write; it is then too late for a second one, unless it comes first.
    let mock = Mock::start(silent());
    for _ in 0..20 {
        let running = endless(&mock);
        running.signal(Signal::INT);
        running.signal(Signal::TERM);
        let run = running.wait();
        assert_eq!(run.status.signal(), None, "{}", run.stderr);
        if run.status.code() == Some(137) {
            return;
        }
    }
    panic!("none of 20 runs died of its second signal");
}

#[test]
fn unwritable_folders_are_told() {
    let call = profile("mock:", LOAD);
    std::fs::write(call.folder().join("out"), "a file").unwrap();
    let run = call.run().code(1);
    super::refusals::one_line(&run, "--artifact-dir out: there is a file of that name");
    let nowhere = pinfire_tests::binary::profile("mock:", LOAD);
    std::os::unix::fs::symlink("/proc/nowhere/at/all", nowhere.folder().join("out")).unwrap();
    let run = nowhere.run().code(1);
    super::refusals::one_line(&run, "cannot be made");
}
