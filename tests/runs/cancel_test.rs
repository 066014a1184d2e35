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
                    for (kind, at) in [("before_first_token", 0), ("streaming", 1)] {
                        assert_eq!(json["waves"][at]["phase"], kind, "{told}");
                        assert_eq!(json["waves"][at]["cancels"], 10, "{told}");
                    }
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
