//! `pinfire cancel-test` against eight servers that behave as scripted: each is named, with its
//! figure.

use std::thread;

use pinfire_base::clock::Span;
use pinfire_tests::{
    binary::{Ended, call},
    mock::{Mock, script},
};
use pinfire_tools::mock::{Release, Script};
use serde_json::Value;

fn url(mock: &Mock) -> String {
    format!("http://{}", mock.address())
}

/// What a server does with cancels, and what is to be found.
struct Case {
    name: &'static str,
    release: Release,
    abort_counter: u32,
    code: i32,
    verdict: &'static str,
    counter: &'static str,
    /// Where the figure stands in the JSON, and what it is to be, to a tenth.
    figure: (&'static str, f64),
    words: &'static str,
}

const GOOD: Case = Case {
    name: "frees at once",
    release: Release::AtOnce,
    abort_counter: 1,
    code: 0,
    verdict: "released",
    counter: "agrees",
    figure: ("/counter/per_cancel", 1.0),
    words: "of 40 cancelled requests",
};

fn cases() -> Vec<Case> {
    vec![
        GOOD,
        Case {
            name: "frees after 3 s",
            release: Release::After(Span::from_secs_f64(3.0)),
            figure: ("/released_after_s/0", 3.0),
            words: "released late",
            ..GOOD
        },
        Case {
            name: "leaks one slot in ten cancels",
            release: Release::LeakOneIn(10),
            code: 4,
            verdict: "leaked",
            figure: ("/leak/leaked", 4.0),
            words: "4 of 40 cancelled requests (10.0 %)",
            ..GOOD
        },
        Case {
            name: "leaks before the first token",
            release: Release::LeakBeforeToken,
            code: 4,
            verdict: "leaked",
            figure: ("/leak_before_first_token/leaked", 20.0),
            words: "only when cancelled before the first token",
            ..GOOD
        },
        Case {
            name: "counter always zero",
            abort_counter: 0,
            counter: "always_zero",
            figure: ("/cancels", 40.0),
            ..GOOD
        },
        Case {
            name: "counter doubled",
            abort_counter: 2,
            counter: "doubled",
            figure: ("/counter/per_cancel", 2.0),
            ..GOOD
        },
        Case {
            name: "wedges after 40 cancels",
            release: Release::WedgeAfter(40),
            code: 4,
            verdict: "wedged",
            figure: ("/lost_after_cancels/0", 40.0),
            words: "wedged after 40 cancels",
            ..GOOD
        },
        Case {
            name: "dies",
            release: Release::DieAfter(30),
            code: 4,
            verdict: "died",
            figure: ("/lost_after_cancels/0", 30.0),
            words: "after 30 cancels",
            ..GOOD
        },
    ]
}

fn test(server: &str, more: &str) -> Ended {
    let mut call = call([
        "cancel-test",
        "--model=mock",
        "--tokenizer=builtin",
        "--isl=40",
        "--osl=60",
        "--concurrency=20",
        "--output=cancel_test.json",
    ]);
    call.more(["--url", server]);
    call.more(more.split_whitespace());
    call.run()
}

#[test]
fn each_of_eight_servers_is_named_with_its_figure() {
    let threads: Vec<_> = cases()
        .into_iter()
        .map(|case| {
            thread::spawn(move || {
                let mock = Mock::start(Script {
                    ttft: Span::from_millis(300),
                    itl: Span::from_millis(20),
                    tokens: 60,
                    release: case.release,
                    abort_counter: case.abort_counter,
                    ..script()
                });
                let run = test(&url(&mock), "--waves 4 --settle 4 --canary-timeout 6");
                let name = case.name;
                let told = format!("{name}: {}{}", run.stdout, run.stderr);
                assert_eq!(run.status.code(), Some(case.code), "{told}");
                let path = run.folder().join("cancel_test.json");
                let text = std::fs::read_to_string(path).expect("the report");
                let json: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(json["verdict"], case.verdict, "{told}");
                assert_eq!(json["counter"]["verdict"], case.counter, "{told}");
                let (pointer, wanted) = case.figure;
                let figure = json.pointer(pointer).and_then(Value::as_f64).unwrap();
                assert!(
                    (figure / wanted - 1.0).abs() <= 0.1,
                    "{pointer} {figure}: {told}"
                );
                assert!(run.stdout.contains(case.words), "{told}");
                assert_eq!(json["server"], "vllm");
                if case.verdict == "released" {
                    // Half of the waves left before the first token, half in the stream.
                    for (kind, quiet, at) in [
                        ("before_first_token", true, 0),
                        ("streaming", false, 1),
                        ("before_first_token", false, 2),
                        ("streaming", true, 3),
                    ] {
                        assert_eq!(json["waves"][at]["phase"], kind, "{told}");
                        assert_eq!(json["waves"][at]["quiet"], quiet, "{told}");
                        assert_eq!(json["waves"][at]["cancels"], 10, "{told}");
                    }
                    // What the counters say agrees with what is held.
                    let witnesses = json["witnesses"].as_array().unwrap();
                    assert_eq!(witnesses.len(), 5, "{told}");
                    assert_eq!(witnesses[1]["witness"], "finished");
                    assert_eq!(witnesses[1]["verdict"], "at_once", "{told}");
                    assert!(json["resolution_s"].as_f64().unwrap() > 0.0);
                    assert_eq!(json["effect"]["survivors_failed"], 0);
                }
                drop(mock);
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("each server is named");
    }
}

#[test]
fn without_metrics_or_an_answer_it_cannot_tell() {
    let mock = Mock::start(Script {
        ttft: Span::from_millis(60),
        itl: Span::from_millis(10),
        tokens: 30,
        ..script()
    });
    let server = url(&mock);
    let run = test(&server, &format!("--waves 1 --metrics-url {server}/health"));
    assert_eq!(run.status.code(), Some(5), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("--metrics-url"), "{}", run.stdout);
    drop(mock);
    let run = test(&server, "--waves 1 --canary-timeout 1");
    assert_eq!(run.status.code(), Some(5), "{}{}", run.stdout, run.stderr);
    for words in [
        "did not answer before",
        "Cannot connect to host",
        "next: start the server",
    ] {
        assert!(run.stdout.contains(words), "{words}: {}", run.stdout);
    }
    assert!(!run.stdout.contains("wave"), "{}", run.stdout);
}

#[test]
fn whole_answers_and_endpoints_without_streams_are_tested_too() {
    let mock = Mock::start(Script {
        ttft: Span::from_millis(300),
        itl: Span::from_millis(20),
        tokens: 30,
        ..script()
    });
    let server = url(&mock);
    let more = "--waves 2 --settle 4 --canary-timeout 6";
    for flags in [
        "--streaming off",
        "--endpoint-type embeddings --metrics-interval 0.01",
    ] {
        let run = test(&server, &format!("{more} {flags}"));
        let told = format!("{flags}: {}{}", run.stdout, run.stderr);
        let path = run.folder().join("cancel_test.json");
        let text = std::fs::read_to_string(path).expect("the report");
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["cancels"], 20, "{told}");
        assert_eq!(json["verdict"], "released", "{told}");
        assert_eq!(json["witnesses"][2]["verdict"], "silent", "{told}");
        assert_eq!(run.status.code(), Some(0), "{told}");
    }
}

#[test]
fn a_share_to_be_seen_decides_how_many_waves_there_are() {
    let run = test("http://127.0.0.1:1", "--detect 0");
    assert_eq!(run.status.code(), Some(1), "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains("such as 1%"), "{}", run.stderr);
    let mock = Mock::start(Script {
        ttft: Span::from_millis(60),
        itl: Span::from_millis(10),
        tokens: 60,
        ..script()
    });
    let run = test(&url(&mock), "--detect 20% --settle 4 --artifact-dir mine");
    let told = format!("{}{}", run.stdout, run.stderr);
    let folder = run.folder().join("mine");
    let lines = std::fs::read_to_string(folder.join("cancel_test_requests.jsonl")).unwrap();
    let cancelled = lines.lines().filter(|line| line.contains("\"cancelled\""));
    assert_eq!(cancelled.count(), 20, "{lines}");
    for name in [
        "cancel_test.json",
        "cancel_test.html",
        "resolved_config.yaml",
    ] {
        assert!(folder.join(name).is_file(), "{name}");
    }
    // 14 cancels, of which 10 are in a wave, and as many quiet waves as others.
    assert!(run.stderr.contains("2 waves of 10 cancels"), "{told}");
    assert!(run.stdout.contains("would have shown (95 %)"), "{told}");
}

#[test]
fn each_of_several_pages_is_judged() {
    let mock = Mock::start(Script {
        ttft: Span::from_millis(200),
        itl: Span::from_millis(20),
        tokens: 60,
        ..script()
    });
    let server = url(&mock);
    // One server seen twice, as through a gateway that passes everything on.
    let pages = format!("--metrics-url {server}/metrics {server}/metrics?again");
    let run = test(&server, &format!("--waves 2 --settle 4 {pages}"));
    let told = format!("{}{}", run.stdout, run.stderr);
    let path = run.folder().join("cancel_test.json");
    let json: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let pages = json["pages"].as_array().unwrap();
    assert_eq!(
        (pages.len(), &json["verdict"]),
        (2, &"released".into()),
        "{told}"
    );
    for page in pages {
        assert_eq!(
            (&page["server"], &page["finding"]),
            (&"vllm".into(), &"at_once".into()),
            "{told}"
        );
        assert!(page["timeline"]["looks"].as_array().unwrap().len() > 20);
    }
}
