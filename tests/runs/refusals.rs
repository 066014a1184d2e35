//! What is refused, and that it is refused with one line, before anything is sent or written.

use pinfire_tests::binary::{Ended, call, profile};

/// One line on stderr with this in it, nothing on stdout, no results.
#[track_caller]
pub fn one_line(run: &Ended, expected: &str) {
    assert_eq!(run.stdout, "");
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    assert!(run.stderr.starts_with("error: "), "{}", run.stderr);
    assert!(run.stderr.contains(expected), "{expected}: {}", run.stderr);
    let said = run.stderr.matches("(os error").count();
    assert!(said <= 1, "the system's word stands twice: {}", run.stderr);
    assert!(!run.has("profile_export_aiperf.json"));
}

#[test]
fn wrong_flags() {
    for (flags, expected) in [
        ("--concurency 5", "--concurrency"),
        ("--concurrency 0", "at least 1"),
        ("--concurrency 1,,2", "--concurrency"),
        ("--concurrency 1,2 --ui dashboard", "simple or none"),
        ("--request-count x", "'x'"),
        ("--osl 5.5", "whole number"),
        ("--request-cancellation-rate 0", "above 0"),
        ("--request-cancellation-rate 101", "at most 100"),
        ("--request-cancellation-rate nan", "above 0"),
        (
            "--request-cancellation-delay 1",
            "--request-cancellation-delay needs --request-cancellation-rate",
        ),
        ("--request-timeout-seconds 0", "above 0"),
        ("--warmup-grace-period 2", "--warmup-request-count"),
        (
            "--request-rate 5 --request-rate-series f",
            "exclude each other",
        ),
        ("--fixed-schedule", "--input-file"),
        ("--benchmark-grace-period 1", "--benchmark-duration"),
        ("--osl-stddev 2", "--osl"),
        ("--io-driver kqueue", "uring, epoll"),
        ("--timer-precision exact", "sleep, lead, spin"),
        ("--receive-stamps nic", "auto, kernel, user"),
        ("--cores 0", "number of cores"),
        ("--cores 9000,", "number of cores"),
        ("--cores 4000,", "CPU 4000 is not available"),
        ("--log-level loud", "trace, debug, info"),
        ("--log-level info -v", "say the same thing"),
        ("--workers-max 4", "--cores N"),
        ("--record-processors 2", "Leave it out"),
        (
            "--request-content-type multipart/form-data",
            "chat takes application/json",
        ),
        ("--ui panels", "dashboard, simple, none"),
        ("--stats-interval 1001", "between 0 and 1000"),
        ("--endpoint x", "must begin with `/`"),
        (
            "--endpoint-type Image-Edit",
            "image_edit: this endpoint type is not part",
        ),
        ("--endpoint-type chatt", "there are: chat, completions"),
        ("--header Content-Length:5", "break the framing"),
        ("--goodput request_latency", "not of the form tag:number"),
        ("--goodput request_latency:fast", "request_latency: `fast`"),
        ("--goodput ttft:5", "there are: time_to_first_token"),
        ("--goodput inter_chunk_latency:5", "does not apply"),
        ("--slice-duration 0", "above 0"),
        ("--slice-duration 0.0000001", "at least 0.001 s"),
        ("--concurrency 4000000", "descriptors"),
    ] {
        let mut flags = flags.to_owned();
        if flags.starts_with("--concurrency 4000000") {
            flags.push_str(" --request-count 4000000 --num-dataset-entries 1");
        }
        one_line(&profile("mock:", &flags).run().code(1), expected);
    }
}

#[test]
fn flags_that_are_not_built_are_refused_by_name() {
    for flag in [
        "--user-centric-rate 5",
        "--public-dataset sharegpt",
        "--audio-batch-size 1",
        "--accuracy-benchmark x",
    ] {
        let name = flag.split([' ', '=']).next().unwrap();
        let run = profile("mock:", flag).run().code(1);
        one_line(&run, name);
        assert!(!run.has("inputs.json"));
    }
}

#[test]
fn a_model_and_a_server_are_needed() {
    let run = call(["profile", "--streaming"]).run().code(1);
    one_line(&run, "--model");
    for (url, expected) in [
        ("mock:,http://i:2", "cannot be one of several"),
        ("http://host.invalid", "cannot resolve the host"),
        ("ftp://h", "ftp"),
    ] {
        one_line(&profile(url, "").run().code(1), expected);
    }
}

#[test]
fn help_and_version() {
    for arguments in [
        &["--help"][..],
        &["profile", "--help"],
        &["--version"],
        &["profile"],
        &[],
    ] {
        let run = call(arguments.iter().copied()).run().code(0);
        // Help that was not asked for goes to stderr.
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(said.contains("pinfire"), "{arguments:?}: {said}");
        assert_eq!(
            run.stdout.is_empty(),
            arguments.last().is_none_or(|a| !a.starts_with('-'))
        );
    }
    let help = call(["profile", "--help"]).run().code(0).stdout;
    for flag in [
        "--request-cancellation-rate",
        "--concurrency",
        "--url",
        "--io-driver",
    ] {
        assert!(help.contains(flag), "{flag}");
    }
}

#[test]
fn input_files() {
    let base = [
        "profile",
        "--model",
        "m",
        "--tokenizer",
        "builtin",
        "--url",
        "mock:",
    ];
    let with = |more: &[&'static str]| {
        let all: Vec<&str> = base.iter().chain(more).copied().collect();
        call(all).run().code(1)
    };
    let trace = [
        "--custom-dataset-type",
        "mooncake_trace",
        "--no-fixed-schedule",
    ];
    let missing = with(&[&["--input-file", "nowhere.jsonl"], &trace[..]].concat());
    one_line(&missing, "--input-file nowhere.jsonl");
    let timeless = ["--input-file", "/dev/null", "--fixed-schedule"];
    let timeless = with(&[&timeless[..], &trace[..2]].concat());
    one_line(&timeless, "--fixed-schedule");
    one_line(
        &with(&["--input-file", "/dev/null"]),
        "--custom-dataset-type",
    );
    one_line(
        &with(&["--custom-dataset-type", "mooncake_trace"]),
        "--input-file",
    );
    one_line(
        &with(&[&["--input-file", "/dev/null"], &trace[..]].concat()),
        "/dev/null",
    );
}
