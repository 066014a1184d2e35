//! `profile --verify-release` against servers that behave as scripted: the verdict, its files, the
//! exit code.

use std::thread;

use pinfire_base::clock::Span;
use pinfire_tests::{
    binary::{Ended, profile},
    mock::{Mock, script},
};
use pinfire_tools::mock::{Fault, FaultRule, Release, Script, When};
use serde_json::Value;

use crate::sums;

const LOAD: &str = "--concurrency 10 --request-count 60 --osl 30 --random-seed 3 \
     --request-cancellation-rate 50 --request-cancellation-trigger tokens:3 --verify-release \
     --server-metrics-formats json";

/// Answers that take 340 ms.
fn behaves(release: Release) -> Script {
    Script {
        ttft: Span::from_millis(40),
        itl: Span::from_millis(10),
        tokens: 30,
        release,
        ..script()
    }
}

fn run(script: Script, more: &str) -> Ended {
    let mock = Mock::start(script);
    let run = profile(
        &format!("http://{}", mock.address()),
        &format!("{LOAD} {more}"),
    )
    .run();
    drop(mock);
    run
}

fn report(run: &Ended) -> Value {
    serde_json::from_str(&run.file("release.json")).unwrap()
}

#[test]
fn each_server_has_its_verdict_and_its_exit_code() {
    type Check = fn(&Value, u64);
    let cases: [(&str, Release, i32, &str, Check); 5] = [
        (
            "at once",
            Release::AtOnce,
            0,
            "released",
            |json, cancels| {
                assert_eq!(json["counter"]["counted"], cancels as f64);
                assert_eq!(json["leak"]["leaked"], 0.0);
            },
        ),
        (
            "after 2 s",
            Release::After(Span::from_secs_f64(2.0)),
            0,
            "released",
            |json, _| {
                let after = json["released_after_s"][0].as_f64().unwrap();
                assert!((1.8..4.0).contains(&after), "{after}");
                let summary = json["summary"].as_str().unwrap();
                assert!(summary.contains("released late"), "{summary}");
            },
        ),
        (
            "one in three",
            Release::LeakOneIn(3),
            4,
            "leaked",
            |json, cancels| {
                let leaked = json["leak"]["leaked"].as_f64().unwrap();
                assert_eq!(leaked, (cancels / 3) as f64);
            },
        ),
        (
            "wedges",
            Release::WedgeAfter(20),
            4,
            "wedged",
            |json, cancels| {
                assert_eq!(json["lost_after_cancels"][0], cancels);
            },
        ),
        ("dies", Release::DieAfter(20), 4, "died", |json, cancels| {
            // It dies while the client goes on leaving.
            assert!((20..=30).contains(&cancels), "{cancels}");
            assert!(json["summary"].as_str().unwrap().contains("died"), "{json}");
        }),
    ];
    let threads = cases.map(|(name, release, code, verdict, check)| {
        thread::spawn(move || {
            // A wedged server keeps the last requests for ever.
            let more = match release {
                Release::WedgeAfter(_) => "--request-timeout-seconds 3",
                _ => "",
            };
            let run = run(behaves(release), more);
            let told = format!("{name}: {}{}", run.stdout, run.stderr);
            assert_eq!(run.status.code(), Some(code), "{told}");
            // The two requests alone are in no figure and in no file.
            let [due, .., cancelled, _] = sums(&run);
            assert_eq!((due, run.lines().len()), (60, 60), "{told}");
            let full = report(&run);
            let brief = &run.json()["release"];
            for json in [&full, brief] {
                assert_eq!(json["verdict"], verdict, "{told}");
                assert_eq!(json["exit_code"], code, "{told}");
                assert_eq!(json["cancels"], cancelled, "{told}");
                check(json, cancelled);
            }
            assert!(full["timeline"]["looks"].as_array().unwrap().len() > 20);
            assert!(brief["timeline"].is_null());
            let summary = full["summary"].as_str().unwrap();
            assert!(run.stdout.contains(summary), "{told}");
            assert!(run.stdout.contains("Release Check: "), "{told}");
            assert!(!full["advice"].as_str().unwrap().is_empty());
        })
    });
    for thread in threads {
        thread.join().expect("each server has its verdict");
    }
}

/// The check and the files live on the same scrapes: a server is not asked twice for one instant.
#[test]
fn the_check_and_the_files_share_their_scrapes() {
    let load = LOAD.replace("-formats json", "-formats jsonl");
    let mock = Mock::start(behaves(Release::AtOnce));
    let run = profile(&format!("http://{}", mock.address()), &load)
        .run()
        .code(0);
    let json = report(&run);
    let checked: Vec<f64> = json["timeline"]["looks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sample| sample["at_s"].as_f64().unwrap())
        .collect();
    let text = run.file("server_metrics_export.jsonl");
    let lines = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["timestamp_ns"].as_u64().unwrap()
    });
    let lines: Vec<u64> = lines.collect();
    assert!(lines.len() >= 5, "{} lines", lines.len());
    // The clocks have different zeros: with one of the check's samples as the first line, each
    // other line is one of them too.
    let is_one = |at: f64| checked.iter().any(|checked| (checked - at).abs() < 2e-6);
    let shared = checked.iter().any(|first| {
        let mut after = lines.iter().map(|line| (line - lines[0]) as f64 / 1e9);
        after.all(|after| is_one(first + after))
    });
    assert!(shared, "{lines:?} are not all among {checked:?}");
}

#[test]
fn several_servers_are_judged_as_one() {
    let (sound, leaky) = (
        Mock::start(behaves(Release::AtOnce)),
        Mock::start(behaves(Release::LeakOneIn(2))),
    );
    let urls = format!("http://{},http://{}", sound.address(), leaky.address());
    let run = profile(&urls, LOAD).run();
    assert_eq!(run.status.code(), Some(4), "{}{}", run.stdout, run.stderr);
    let json = report(&run);
    let leaked = json["leak"]["leaked"].as_f64().unwrap();
    let cancels = json["cancels"].as_f64().unwrap();
    assert!(
        leaked >= 1.0 && leaked < cancels / 2.0,
        "{leaked} of {cancels}"
    );
    // Both have counted, each its own.
    assert_eq!(json["counter"]["counted"], cancels);
    assert_eq!(json["timeline"]["canaries"].as_array().unwrap().len(), 2);
}

#[test]
fn what_cannot_be_told_is_said_and_is_exit_code_5() {
    let mock = Mock::start(behaves(Release::AtOnce));
    let url = format!("http://{}", mock.address());
    // A page that shows no metrics.
    let more = format!("{LOAD} --server-metrics {url}/health");
    let run = profile(&url, &more).run();
    assert_eq!(run.status.code(), Some(5), "{}{}", run.stdout, run.stderr);
    let json = run.json();
    assert_eq!(json["release"]["verdict"], "cannot_tell");
    let advice = json["release"]["advice"].as_str().unwrap();
    assert!(advice.contains("--server-metrics"), "{advice}");
    // Nothing was cancelled in time.
    let more = LOAD.replace("tokens:3", "tokens:31");
    let run = profile(&url, &more).run();
    assert_eq!(run.status.code(), Some(5), "{}{}", run.stdout, run.stderr);
    let summary = run.json()["release"]["summary"].clone();
    let summary = summary.as_str().unwrap();
    assert!(
        summary.contains("before it could be cancelled"),
        "{summary}"
    );
}

#[test]
fn a_run_that_cannot_be_used_is_1_unless_the_server_is_to_blame() {
    // Every request fails, and nothing shows that the server holds anything.
    let script = Script {
        faults: vec![FaultRule {
            fault: Fault::Status(500),
            when: When::Every(1),
        }],
        ..behaves(Release::AtOnce)
    };
    let run = run(script, "");
    assert_eq!(run.status.code(), Some(1), "{}{}", run.stdout, run.stderr);
    let release = run.json()["release"].clone();
    assert_eq!(release["verdict"], "cannot_tell");
    let summary = release["summary"].as_str().unwrap();
    assert!(summary.contains("HTTP status 500"), "{summary}");
}

#[test]
fn a_report_from_files_keeps_the_verdict() {
    let run = run(behaves(Release::LeakOneIn(3)), "").code(4);
    let before = run.json()["release"].clone();
    let out = run.folder().join("out");
    let again = pinfire_tests::binary::call(["report", out.to_str().unwrap()]);
    again.run().code(0);
    assert_eq!(run.json()["release"], before);
}
