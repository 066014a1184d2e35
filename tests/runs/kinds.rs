//! Each kind of folder that pinfire leaves, given to `report`, `compare`, `plot` and `show`.

use std::path::Path;

use pinfire_base::clock::Span;
use pinfire_tests::{
    binary::{Ended, call, profile},
    mock::{Mock, script},
};
use pinfire_tools::mock::Script;

/// A command over a folder: its exit code, and what its stdout or, where it fails, the one line on
/// stderr holds.
type Expected = (i32, &'static str);

struct Kind {
    name: &'static str,
    report: Expected,
    compare: Expected,
    plot: Expected,
    show: Expected,
}

const TTFT: &str = "Time to First Token (ms)";

#[track_caller]
fn holds(name: &str, command: &str, ended: &Ended, (code, words): Expected) {
    let what = format!("{command} {name}: {}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.status.code(), Some(code), "{what}");
    match code {
        0 => assert!(
            ended.stdout.contains(words) || ended.stderr.contains(words),
            "{what}"
        ),
        _ => {
            assert!(ended.stderr.contains(words), "{what}");
            assert_eq!(ended.stderr.lines().count(), 1, "{what}");
        }
    }
}

#[test]
fn each_kind_of_folder_works_or_says_why_in_a_line() {
    let mock = Mock::start(Script {
        ttft: Span::from_millis(2),
        ..script()
    });
    let url = format!("http://{}", mock.address());
    let run = |more: &str| {
        let flags = format!("--concurrency 2 --osl 4 --random-seed 1 {more}");
        profile(&url, &flags).run().code(0)
    };
    let single = run("--request-count 10");
    let repeats = run("--request-count 10 --num-profile-runs 2");
    let sweep = profile(&url, "--concurrency 1,2 --osl 4 --request-count 10")
        .run()
        .code(0);
    let search = profile(
        &url,
        "--search concurrency:1,2 --osl 4 --request-count 10 --slo error_rate<=50",
    )
    .run()
    .code(0);
    let mut cancel = call(["cancel-test", "--model=mock", "--tokenizer=builtin"]);
    cancel.more(["--url", &url, "--artifact-dir=out", "--osl=40"]);
    cancel.more(["--concurrency=4", "--waves=2"]);
    // Its verdict is of no interest here.
    let cancel = cancel.run();
    drop(mock.stop());
    let empty = tempfile::tempdir().unwrap();
    let none = "there is no run";
    let kinds = [
        (
            single.folder().join("out"),
            Kind {
                name: "a run",
                report: (0, TTFT),
                compare: (0, TTFT),
                plot: (0, "Saved"),
                show: (0, TTFT),
            },
        ),
        (
            repeats.folder().join("out"),
            Kind {
                name: "repeats",
                report: (0, "2 of 2 runs reported"),
                compare: (0, "2 of A, 2 of B"),
                plot: (0, "Saved"),
                show: (0, "time_to_first_token"),
            },
        ),
        (
            sweep.folder().join("out"),
            Kind {
                name: "a sweep",
                report: (0, "2 of 2 runs reported"),
                compare: (0, "concurrency_2"),
                plot: (0, "Saved"),
                show: (0, "pinfire | Sweep"),
            },
        ),
        (
            search.folder().join("out"),
            Kind {
                name: "a search",
                report: (0, "runs reported"),
                compare: (0, "concurrency 2"),
                plot: (0, "Saved"),
                show: (0, "highest concurrency"),
            },
        ),
        (
            cancel.folder().join("out"),
            Kind {
                name: "a cancel-test",
                report: (0, "The verdict of the cancel-test"),
                compare: (0, "Request Latency (ms)"),
                plot: (0, "Saved"),
                show: (0, "Does the server let go?"),
            },
        ),
        (
            empty.path().to_owned(),
            Kind {
                name: "nothing",
                report: (1, "neither profile_export_raw.jsonl nor"),
                compare: (2, none),
                plot: (1, "no"),
                show: (1, none),
            },
        ),
    ];
    for (folder, kind) in &kinds {
        let folder = folder.to_str().unwrap();
        let ended = |arguments: &[&str]| call(arguments.iter().copied()).run();
        let into = tempfile::tempdir().unwrap();
        let into = into.path().to_str().unwrap();
        let of = |command, ended: &Ended, expected| holds(kind.name, command, ended, expected);
        of("show", &ended(&["show", folder]), kind.show);
        of(
            "compare",
            &ended(&["compare", folder, folder]),
            kind.compare,
        );
        of(
            "plot",
            &ended(&["plot", folder, "--output", into]),
            kind.plot,
        );
        let report = ended(&["report", folder, "--output", into, "--console", "full"]);
        of("report", &report, kind.report);
    }
    objectives(&kinds[0].0, &kinds[2].0);
    lost(&kinds[1].0);
}

/// `--slo` judges a run, and each point of a sweep.
fn objectives(run: &Path, sweep: &Path) {
    let judged =
        |folder: &Path, slo: &str| call(["compare", folder.to_str().unwrap(), "--slo", slo]).run();
    let kept = judged(run, "ttft.p99<=1e6").code(0);
    assert!(
        kept.stdout.contains("slo ttft.p99<=1e6: kept"),
        "{}",
        kept.stdout
    );
    let broken = judged(sweep, "ttft.p99<=0").code(1);
    let line = "slo concurrency_2: ttft.p99<=0: BROKEN";
    assert!(broken.stdout.contains(line), "{}", broken.stdout);
    assert_eq!(broken.stderr.lines().count(), 1, "{}", broken.stderr);
    let one = judged(run, "nothing<=1").code(2);
    assert!(one.stderr.contains("lacks nothing.avg"), "{}", one.stderr);
    let (run, sweep) = (run.to_str().unwrap(), sweep.to_str().unwrap());
    let mixed = call(["compare", run, sweep]).run().code(2);
    assert!(
        mixed.stderr.contains("name one of them, such as"),
        "{}",
        mixed.stderr
    );
    // Flags that cannot be read have the exit code of what cannot be compared, wherever they stand.
    call(["compare", "--min-effect", "x", run, run])
        .run()
        .code(2);
}

/// A repeat of which nothing is left is said to be gone.
fn lost(repeats: &Path) {
    let first = repeats.join("profile_runs/run_0001");
    let folder = repeats.to_str().unwrap();
    std::fs::write(first.join("profile_export.jsonl"), "").unwrap();
    let ended = call(["compare", folder, folder]).run();
    assert!(
        ended.stdout.contains("it is empty"),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    std::fs::remove_dir_all(&first).unwrap();
    let ended = call(["compare", folder, folder]).run();
    let line = "run_0001: nothing of this repeat is there";
    assert!(
        ended.stdout.contains(line),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
}
