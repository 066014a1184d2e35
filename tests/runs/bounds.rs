//! What is hostile or absurd ends in one line or in results, never in a crash: numbers, limits of
//! the system, sandboxes, environments.

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    process::{Command, Stdio},
};

use pinfire_tests::{
    binary::{Call, Ended, call, pinfire, profile},
    mock::{Mock, instant, silent},
    needs::left_out,
    sandbox::Refused,
    watchdog::watch,
};
use rustix::process::Signal;

use super::{refusals::one_line, sums};

const LOAD: &str = "--request-count 4 --osl 2 --no-server-metrics --no-gpu-telemetry";

fn url(mock: &Mock) -> String {
    format!("http://{}", mock.address())
}

/// Neither a signal nor a panic ended it.
#[track_caller]
fn is_no_crash(run: &Ended) {
    assert_eq!(run.status.signal(), None, "{}", run.stderr);
    assert!(!run.stderr.contains("this is a bug"), "{}", run.stderr);
}

/// Files of results that are whole.
#[track_caller]
fn has_results(run: &Ended) {
    assert!(run.has("profile_export_aiperf.json"), "{}", run.stderr);
    assert!(run.has("profile_export_console.txt"), "{}", run.stderr);
}

#[test]
fn absurd_numbers_are_one_line() {
    let lists: Vec<String> = (1..=101).map(|n| n.to_string()).collect();
    let grid = format!("--concurrency {0} --osl {0}", lists.join(","));
    let many = "--num-profile-runs 100000000000 --concurrency 1,2".to_owned();
    for (flags, expected) in [
        (
            "--request-count 9223372036854775807".to_owned(),
            "--request-count",
        ),
        (
            "--request-count 9223372036854775807 --benchmark-duration 1".to_owned(),
            "at most 1000000000000",
        ),
        (
            "--num-dataset-entries 1000000000000".to_owned(),
            "--num-dataset-entries, --isl: the prompts would take about",
        ),
        (
            "--request-count 2 --prompt-batch-size 18446744073709551615".to_owned(),
            "--prompt-batch-size: the prompts would take",
        ),
        (
            "--request-count 2 --isl-stddev 1e9".to_owned(),
            "is longer than any model takes",
        ),
        (
            "--request-count 2 --session-turns-mean 1000000000000".to_owned(),
            "--session-turns-mean",
        ),
        (
            "--request-count 2 --num-prefix-prompts 18446744073709551615 --prefix-prompt-length 9"
                .to_owned(),
            "--num-prefix-prompts, --prefix-prompt-length",
        ),
        ("--request-rate 1e-308".to_owned(), "--request-rate"),
        (grid, "the grid has 10201 points"),
        (many, "--num-profile-runs 100000000000 of 2 points"),
    ] {
        let run = profile("mock:", &flags).run();
        is_no_crash(&run);
        one_line(&run.code(1), expected);
    }
}

/// The prompts that a run of this length can send are made before it, and no more.
#[test]
fn work_before_the_run_is_bounded_by_what_it_needs() {
    let flags = "--request-count 100000000 --benchmark-duration 0.2 --no-server-metrics \
                 --no-gpu-telemetry";
    let run = profile("mock:", flags).run().code(0);
    assert!(
        run.stderr.contains("20000 different prompts are made"),
        "{}",
        run.stderr
    );
    assert!(sums(&run)[0] > 0);
    assert_eq!(
        run.file("inputs.json").matches("session_id").count(),
        20_000
    );
}

#[test]
fn a_deep_path_to_the_answer_is_refused_before_anything_is_sent() {
    let mock = Mock::start(instant(2));
    let mut run = profile(&url(&mock), "--endpoint-type template");
    let inputs = format!(
        r#"{{"payload_template": "{{}}", "response_field": "a{}"}}"#,
        "[0]".repeat(5_000)
    );
    run.more(["--extra-inputs", &inputs]);
    let run = run.run();
    is_no_crash(&run);
    one_line(&run.code(1), "5000 steps");
    assert_eq!(mock.stop().1.len(), 0, "nothing was sent");
}

#[test]
fn a_body_template_without_end_is_one_line() {
    let mut run = profile("mock:", "--endpoint-type template --request-count 1");
    let template = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
    let inputs = format!(r#"{{"payload_template": "{template}"}}"#);
    run.more(["--extra-inputs", &inputs]);
    let run = run.run();
    is_no_crash(&run);
    one_line(&run.code(1), "ran out of fuel");
}

#[test]
fn calls_that_a_sandbox_refuses() {
    #[cfg(target_arch = "x86_64")]
    const EPOLL_WAIT: i64 = libc::SYS_epoll_wait;
    #[cfg(not(target_arch = "x86_64"))]
    const EPOLL_WAIT: i64 = libc::SYS_epoll_pwait;
    let mock = Mock::start(instant(2));
    let enter = libc::SYS_io_uring_enter;
    // Where io_uring is not to be had at all, there is nothing to fall back from.
    let uring = pinfire_tests::load::has_uring();
    let fallback = uring.then_some("going on with epoll: the system refuses io_uring_enter");
    for (calls, driver, code, said) in [
        (&[enter][..], "auto", 0, fallback),
        (&[libc::SYS_io_uring_setup], "auto", 0, None),
        (&[libc::SYS_io_uring_register], "auto", 0, None),
        (&[enter], "uring", 1, Some("io_uring cannot be used")),
        (&[enter, EPOLL_WAIT], "auto", 1, Some("refuses epoll_wait")),
        (&[EPOLL_WAIT], "epoll", 1, Some("refuses epoll_wait")),
        (
            &[libc::SYS_epoll_ctl],
            "epoll",
            1,
            Some("refuses epoll_ctl"),
        ),
        (
            &[libc::SYS_epoll_create1],
            "epoll",
            1,
            Some("refuses epoll_create1"),
        ),
        (
            &[libc::SYS_timerfd_create],
            "auto",
            1,
            Some("refuses timerfd_create"),
        ),
        (
            &[libc::SYS_timerfd_settime],
            "auto",
            1,
            Some("refuses timerfd_settime"),
        ),
        (
            &[libc::SYS_eventfd2],
            "auto",
            1,
            Some("a core cannot start"),
        ),
    ] {
        let refused: Vec<Refused> = calls.iter().map(|call| Refused::call(*call)).collect();
        let flags = format!("{LOAD} --io-driver {driver}");
        let run = profile(&url(&mock), &flags);
        let run = run.start_without(&refused).wait();
        is_no_crash(&run);
        let run = run.code(code);
        match (code, said) {
            (0, said) => {
                assert_eq!(run.stderr.lines().count(), usize::from(said.is_some()));
                assert!(
                    run.stderr.contains(said.unwrap_or_default()),
                    "{}",
                    run.stderr
                );
                assert_eq!(sums(&run), [4, 4, 0, 0, 0]);
            }
            (_, said) => one_line(&run, said.unwrap()),
        }
    }
}

/// At a limit of processes there is one line about the first thread that is needed; what can be
/// done on fewer threads is.
#[test]
fn no_thread_is_to_be_had() {
    let mock = Mock::start(instant(2));
    let run = profile(&url(&mock), LOAD);
    let run = run.start_without(&Refused::THREADS).wait();
    is_no_crash(&run);
    let run = run.code(1);
    one_line(&run, "cannot start the thread pinfire-core-0");
    assert!(run.stderr.contains("ulimit -u"), "{}", run.stderr);
    let sweep = format!("{LOAD} --concurrency 1,2");
    let run = profile(&url(&mock), &sweep);
    let run = run.start_without(&Refused::THREADS).wait();
    is_no_crash(&run);
    assert!(
        run.stdout.contains("cannot start the thread pinfire-run"),
        "{}",
        run.stdout
    );
    assert_eq!(run.status.code(), Some(2));
}

/// With 1, 2, ... threads allowed, whichever is refused is named, or the run is whole.
#[test]
fn whichever_thread_is_refused_is_named() {
    if !rustix::process::getuid().is_root() {
        left_out(
            "PINFIRE_NEED_ROOT",
            "the limit of processes is tried as a user that has none, and this is not root",
        );
        return;
    }
    let mock = Mock::start(instant(2));
    for threads in 1..=7 {
        let mut run = profile(
            &url(&mock),
            "--request-count 4 --osl 2 --server-metrics localhost:1/m",
        );
        let limit = format!("--nproc={threads}");
        let anyone = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(run.folder(), anyone).unwrap();
        run.by(&[
            "/usr/bin/setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "/usr/bin/prlimit",
            &limit,
        ]);
        let run = run.run();
        if run.stderr.contains("Permission denied") {
            left_out(
                "PINFIRE_NEED_ROOT",
                "the binary cannot be run by another user",
            );
            return;
        }
        is_no_crash(&run);
        match run.status.code() {
            Some(0) => assert_eq!(sums(&run), [4, 4, 0, 0, 0]),
            code => {
                assert_eq!(code, Some(1), "{threads}: {}", run.stderr);
                let errors = run
                    .stderr
                    .lines()
                    .filter(|line| line.starts_with("error: "));
                let errors: Vec<&str> = errors.collect();
                assert_eq!(errors.len(), 1, "{threads}: {}", run.stderr);
                assert!(
                    errors[0].contains("cannot start"),
                    "{threads}: {}",
                    run.stderr
                );
            }
        }
    }
}

#[test]
fn few_descriptors_are_one_line() {
    let mut run = profile("mock:", LOAD);
    run.by(&["/usr/bin/prlimit", "--nofile=24:24"]);
    let run = run.run();
    is_no_crash(&run);
    one_line(&run.code(1), "this process may open 24; raise the limit");
}

/// A file that may not grow any more is a write that fails: the run ends as it does at a full disk,
/// with what can be written.
#[test]
fn a_limit_of_file_sizes_is_an_error_of_writing() {
    let mut run = profile(
        "mock:",
        "--request-count 300 --concurrency 20 --osl 2 --num-dataset-entries 5 --no-server-metrics \
         --no-gpu-telemetry",
    );
    run.by(&["/usr/bin/prlimit", "--fsize=100000"]);
    let run = run.run();
    is_no_crash(&run);
    let run = run.code(1);
    let errors: Vec<&str> = run
        .stderr
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    assert_eq!(errors.len(), 1, "{}", run.stderr);
    assert!(
        errors[0].contains("profile_export.jsonl") && errors[0].contains("File too large"),
        "{}",
        run.stderr
    );
    has_results(&run);
    assert_eq!(sums(&run), [300, 300, 0, 0, 0]);
}

/// `pinfire … | head -1`.
#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let _guard = watch("pinfire does not end behind a closed pipe");
    let line = format!(
        "profile --model m --tokenizer builtin --url mock: --streaming --isl 5 --artifact-dir out {LOAD}"
    );
    let mut child = Command::new(pinfire())
        .args(line.split(' '))
        .current_dir(folder.path())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut first).unwrap();
    drop(out);
    assert!(first.starts_with("pinfire "), "{first}");
    let mut said = String::new();
    let mut err = child.stderr.take().unwrap();
    err.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    let console = folder.path().join("out/profile_export_console.txt");
    assert!(console.exists());
}

#[test]
fn environments_that_make_no_sense() {
    let senseless = [
        ("TZDIR", "/proc"),
        ("COLUMNS", "18446744073709551615"),
        ("LINES", "-1"),
        ("LANG", "xx_YY.no-such"),
        ("LC_ALL", "\u{1}"),
        ("HOME", "/dev/null"),
        ("TERM", "\u{1b}"),
        ("NO_COLOR", "\u{1b}"),
        ("TMPDIR", "/no/such/folder"),
    ];
    // A device that never ends, what is no path into the database, what is no number.
    let width = "PINFIRE_UI_CONSOLE_EXPORT_WIDTH";
    for (variables, code, said) in [
        (&senseless[..], 0, ""),
        (
            &[("TZ", "/dev/zero")],
            0,
            "TZ is \"/dev/zero\", which is no file of a time zone: times are shown in UTC",
        ),
        (
            &[("TZ", "../../../../dev/zero")],
            0,
            "which is no time zone",
        ),
        (&[(width, "18446744073709551615")], 1, "from 1 to 10000"),
        (&[(width, "-1")], 1, width),
        (
            &[("PINFIRE_METRICS_USAGE_PCT_DIFF_THRESHOLD", "NaN")],
            1,
            "PINFIRE_METRICS_USAGE",
        ),
        (
            &[("PINFIRE_METRICS_OSL_MISMATCH_MAX_TOKEN_THRESHOLD", "inf")],
            1,
            "PINFIRE_METRICS_OSL",
        ),
        (
            &[("PINFIRE_HTTP_SSL_VERIFY", "\u{1b}")],
            1,
            "PINFIRE_HTTP_SSL_VERIFY",
        ),
        (
            &[("PINFIRE_SERVER_METRICS_COLLECTION_INTERVAL", "1e308")],
            1,
            "PINFIRE_SERVER_METRICS",
        ),
    ] {
        let mut run = profile("mock:", LOAD);
        if said == "PINFIRE_SERVER_METRICS" {
            run = profile("mock:", "--request-count 4");
        }
        for (name, value) in variables {
            run.env(name, value);
        }
        let run = run.run();
        is_no_crash(&run);
        let run = run.code(code);
        if code != 0 {
            one_line(&run, said);
            continue;
        }
        assert_eq!(run.stderr.is_empty(), said.is_empty(), "{}", run.stderr);
        assert!(run.stderr.contains(said), "{said}: {}", run.stderr);
        assert_eq!(sums(&run), [4, 4, 0, 0, 0]);
    }
}

fn going(mock: &Mock, more: &str) -> Call {
    profile(
        &url(mock),
        &format!("--concurrency 2 --request-count 50 {more}"),
    )
}

fn has_two(mock: &Mock) {
    let _guard = watch("the requests never came");
    while !mock
        .metrics()
        .contains("vllm:num_requests_running{engine=\"0\",model_name=\"mock\"} 2.0")
    {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// A terminal that is closed ends a run in order; one that was started to outlive it goes on.
/// The tests themselves may have been started by `nohup`, or in the background.
const HEEDS_SIGNALS: [&str; 2] = ["/usr/bin/env", "--default-signal=HUP,INT,QUIT"];

#[test]
fn a_hangup_is_as_a_request_to_end_unless_it_is_ignored() {
    let mock = Mock::start(silent());
    let mut heeding = going(&mock, "");
    heeding.by(&HEEDS_SIGNALS);
    let running = heeding.start();
    has_two(&mock);
    running.signal(Signal::HUP);
    let run = running.wait().code(1);
    assert_eq!(run.json()["was_cancelled"], true);
    has_results(&run);
    assert_eq!(mock.stop().1.len(), 2);

    let mock = Mock::start(silent());
    let mut ignoring = going(&mock, "");
    ignoring.by(&["/usr/bin/nohup"]);
    let running = ignoring.start();
    has_two(&mock);
    running.signal(Signal::HUP);
    running.signal(Signal::INT);
    // Were the first one heard, the second would end it without results.
    let run = running.wait().code(1);
    has_results(&run);
}

/// A script's jobs in the background are started with SIGINT ignored, and ended by `kill -INT`.
#[test]
fn an_interrupt_is_heard_in_the_background_of_a_script() {
    let mock = Mock::start(silent());
    let mut background = going(&mock, "");
    background.by(&["/bin/sh", "-c", r#"trap '' INT QUIT; exec "$0" "$@""#]);
    let running = background.start();
    has_two(&mock);
    running.signal(Signal::INT);
    let run = running.wait().code(1);
    assert_eq!(run.json()["was_cancelled"], true);
    has_results(&run);
}

#[test]
fn a_quit_leaves_at_once() {
    let mock = Mock::start(silent());
    let running = going(&mock, "").start();
    has_two(&mock);
    running.signal(Signal::QUIT);
    let run = running.wait().code(131);
    assert!(!run.has("profile_export_aiperf.json"));
}

/// Signals where nothing is sent yet, or not any more.
#[test]
fn signals_before_a_run_end_it() {
    for (signal, code) in [(Signal::INT, 1), (Signal::HUP, 1), (Signal::QUIT, 131)] {
        // A million prompts take longer than it takes until the folder is there.
        let mut heeding = profile("mock:", "--num-dataset-entries 1000000");
        heeding.by(&HEEDS_SIGNALS);
        let running = heeding.start();
        let _guard = watch("the folder is never made");
        while !running.folder().join("out/logs/pinfire.log").exists() {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        running.signal(signal);
        let run = running.wait().code(code);
        assert!(!run.has("profile_export_aiperf.json"));
    }
}

#[test]
fn other_commands_take_absurd_numbers_too() {
    let huge = "18446744073709551615";
    let test = [
        "cancel-test",
        "--model",
        "m",
        "--tokenizer",
        "builtin",
        "--url",
        "mock:",
    ];
    for (more, expected) in [
        (["--concurrency", huge], "--concurrency"),
        (["--waves", huge], "--waves"),
        (["--settle", "1e308"], "--settle"),
        (["--canary-timeout", "NaN"], "--canary-timeout"),
        (["--metrics-interval", "1e-308"], "--metrics-interval"),
        (["--isl", "4294967295"], "--isl"),
        (["--cores", huge], "--cores"),
    ] {
        let run = call(test.into_iter().chain(more)).run();
        is_no_crash(&run);
        one_line(&run.code(1), expected);
    }
}
