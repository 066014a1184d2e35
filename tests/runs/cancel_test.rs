//! `pinfire cancel-test` against eight servers that behave as scripted: each is named, with its
//! figure.

use std::{path::Path, thread};

use pinfire_base::clock::Span;
use pinfire_tests::{
    binary::{Ended, call},
    mock::{Mock, script},
    raw::{Raw, nobody},
};
use pinfire_tools::{
    gateway::{Gateway, Mode},
    mock::{Release, Script},
};
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
                    // A wave is left half-way to it, also where the machine is busy.
                    ttft: Span::from_millis(600),
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
        // Embeddings have no length to ask for.
        let mut call = call(["cancel-test", "--model=mock", "--tokenizer=builtin"]);
        call.more(["--url", &server, "--concurrency=20"]);
        call.more(more.split(' ').chain(flags.split(' ')));
        let run = call.run();
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
    let lines = std::fs::read_to_string(folder.join("profile_export.jsonl")).unwrap();
    let cancelled = lines.lines().filter(|line| line.contains("\"closed_ns\""));
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

#[test]
fn what_a_proxy_keeps_is_the_difference_to_the_server_itself() {
    let mock = Mock::start(Script {
        ttft: Span::from_millis(300),
        itl: Span::from_millis(20),
        tokens: 60,
        ..script()
    });
    let any = (std::net::Ipv4Addr::LOCALHOST, 0).into();
    let gateway = Gateway::start(Mode::Hold, any, mock.address(), None).unwrap();
    let front = format!("http://{}", gateway.local_addr());
    let more = format!(
        "--waves 2 --settle 6 --artifact-dir out --direct-url {}",
        url(&mock)
    );
    let run = test(&front, &more);
    let told = format!("{}{}", run.stdout, run.stderr);
    assert_eq!(run.status.code(), Some(4), "{told}");
    let words = "through the proxy 20 of 20: the proxy does not pass the disconnect on";
    assert!(run.stdout.contains(words), "{told}");
    let out = run.folder().join("out");
    let found = json(&out.join("cancel_test.json"));
    assert_eq!(found["verdict"], "ran_on", "{told}");
    assert_eq!(found["direct"]["url"], url(&mock), "{told}");
    assert_eq!(found["direct"]["report"]["verdict"], "released", "{told}");
    assert!(
        found["direct"]["difference"]
            .as_str()
            .unwrap()
            .contains(words)
    );
    let direct = json(&out.join("direct/cancel_test.json"));
    assert_eq!(direct["summary"], found["direct"]["report"]["summary"]);
    assert!(out.join("direct/profile_export.jsonl").is_file());
}

#[test]
fn a_server_behind_the_proxy_that_is_not_there_costs_no_result() {
    let mock = Mock::start(script());
    // What cannot be a server is refused before anything is sent.
    let run = test(&url(&mock), "--direct-url ftp://behind");
    assert_eq!(run.status.code(), Some(1), "{}", run.stderr);
    assert!(
        run.stderr.contains("neither http nor https"),
        "{}",
        run.stderr
    );
    assert!(!run.folder().join("cancel_test.json").exists());
    // One that does not answer is found out behind the test through the proxy, which is kept.
    let (_socket, address) = nobody();
    let dead = format!("--waves 2 --settle 2 --direct-url http://{address}");
    let run = test(&url(&mock), &dead);
    let told = format!("{}{}", run.stdout, run.stderr);
    assert_eq!(run.status.code(), Some(5), "{told}");
    let found = json(&run.folder().join("cancel_test.json"));
    assert_eq!(
        found["direct"]["report"]["verdict"], "cannot_tell",
        "{told}"
    );
    assert!(run.stdout.contains("Connection refused"), "{told}");
}

/// A test of one way to leave, and what is said of it.
struct Way {
    flags: &'static str,
    /// In the page.
    words: &'static [&'static str],
    counter: &'static str,
}

#[test]
fn each_way_of_leaving_and_each_endpoint_is_told_truly() {
    let ways = [
        Way {
            flags: "--request-cancellation-mode stall",
            words: &[
                "clients stopped reading",
                "no client leaves while the load runs",
            ],
            counter: "says_nothing",
        },
        Way {
            flags: "--streaming off --request-cancellation-mode rst",
            words: &["all of 10 cancelled requests", "before answer"],
            counter: "agrees",
        },
        Way {
            flags: "--endpoint-type embeddings",
            words: &["before answer"],
            counter: "agrees",
        },
        Way {
            flags: "--endpoint-type cohere-rankings --request-cancellation-trigger mid-body",
            words: &["requests left half sent"],
            counter: "says_nothing",
        },
        Way {
            flags: "--osl 30 --request-cancellation-trigger fraction:0.5",
            words: &["streaming"],
            counter: "agrees",
        },
    ];
    let threads = ways.map(|way| {
        thread::spawn(move || {
            let mock = Mock::start(Script {
                ttft: Span::from_millis(150),
                itl: Span::from_millis(10),
                tokens: 30,
                ..script()
            });
            let mut call = call(["cancel-test", "--model=mock", "--tokenizer=builtin"]);
            call.more(["--url", &url(&mock), "--concurrency=10", "--waves=2"]);
            call.more(way.flags.split(' '));
            let run = call.run();
            let told = format!("{}: {}{}", way.flags, run.stdout, run.stderr);
            assert_eq!(run.status.code(), Some(0), "{told}");
            for words in way.words {
                assert!(run.stdout.contains(words), "{words}: {told}");
            }
            let path = run.folder().join("cancel_test.json");
            let text = std::fs::read_to_string(path).expect("the report");
            let json: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(json["counter"]["verdict"], way.counter, "{told}");
            assert_eq!(json["cancels"], 10, "{told}");
        })
    });
    for thread in threads {
        thread.join().expect("each way is told");
    }
}

#[test]
fn what_means_nothing_to_an_endpoint_is_refused_in_one_line() {
    for (flags, words) in [
        (
            "--streaming off --request-cancellation-trigger first-token",
            "first-token needs",
        ),
        (
            "--streaming off --request-cancellation-trigger tokens:3",
            "tokens:3 needs",
        ),
        (
            "--endpoint-type embeddings --streaming on",
            "embeddings has no streams",
        ),
        (
            "--endpoint-type embeddings --osl 5",
            "--osl: embeddings gives no output tokens",
        ),
        (
            "--endpoint-type messages --request-cancellation-trigger fraction:0.5",
            "first-token with",
        ),
    ] {
        let mut call = call(["cancel-test", "--model=mock", "--tokenizer=builtin"]);
        call.more(flags.split(' '));
        let run = call.run();
        assert_eq!(run.status.code(), Some(1), "{flags}");
        assert!(run.stderr.contains(words), "{flags}: {}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    }
}

fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_folder_has_everything_and_is_reported_and_drawn() {
    let mock = Mock::start(Script {
        ttft: Span::from_millis(100),
        itl: Span::from_millis(5),
        tokens: 40,
        ..script()
    });
    let server = url(&mock);
    let mut call = call([
        "cancel-test",
        "--model=mock",
        "--tokenizer=builtin",
        "--osl=40",
    ]);
    call.more([
        "--url",
        &server,
        "--artifact-dir=out",
        "--output=beside.json",
    ]);
    call.more(["--concurrency=10", "--waves=2", "--api-key=TOPSECRET"]);
    call.more([
        "--request-cancellation-trigger=tokens:3",
        "--request-cancellation-mode=rst",
    ]);
    let run = call.run();
    assert_eq!(run.status.code(), Some(0), "{}{}", run.stdout, run.stderr);
    let out = run.folder().join("out");
    for name in [
        "cancel_test.html",
        "resolved_config.yaml",
        "profile_export_aiperf.csv",
        "../beside.html",
    ] {
        assert!(out.join(name).is_file(), "{name}");
    }
    let found = json(&out.join("cancel_test.json"));
    assert_eq!(found, json(&run.folder().join("beside.json")));
    assert_eq!(found["manner"]["trigger"], "tokens:3");
    // Four canaries, the control, a quiet wave and one with replacements, with a canary each.
    let lines = run.lines();
    assert_eq!(lines.len(), 4 + 15 + 10 + 15 + 2);
    let left = lines.iter().map(|line| &line["metadata"]["cancellation"]);
    let left: Vec<&Value> = left
        .filter(|cancel| !cancel["closed_ns"].is_null())
        .collect();
    assert_eq!(left.len(), 10);
    assert!(
        left.iter()
            .all(|cancel| cancel["mode"] == "rst" && cancel["trigger"] == "tokens:3")
    );
    let summary = run.json();
    assert_eq!(summary["release"]["verdict"], "released");
    let resolved = run.file("resolved_config.yaml");
    assert!(resolved.contains("pinfire cancel-test"), "{resolved}");
    for file in std::fs::read_dir(&out).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        assert!(!text.contains("TOPSECRET"), "{path:?}");
    }
    let again = of_folder("report", &out, "");
    assert_eq!(again.status.code(), Some(0), "{}", again.stderr);
    assert!(
        again.stderr.contains("The verdict of the cancel-test"),
        "{}",
        again.stderr
    );
    assert!(out.join("report/cancel_test.html").is_file());
    let rebuilt = json(&out.join("report/profile_export_aiperf.json"));
    assert_eq!(rebuilt["request_count"], summary["request_count"]);
    let drawn = of_folder("plot", &out, "");
    assert_eq!(drawn.status.code(), Some(0), "{}", drawn.stderr);
    assert!(drawn.stderr.contains("--html"), "{}", drawn.stderr);
}

/// A command on the folder of an earlier one.
fn of_folder(command: &str, out: &Path, more: &str) -> Ended {
    let mut call = call([command]);
    call.more(more.split_whitespace());
    call.more([out.to_str().unwrap()]);
    call.run()
}

/// A matrix of a few cells, narrow enough for a test.
fn matrix(server: &str, more: &str) -> Ended {
    let mut call = call([
        "cancel-test",
        "--matrix",
        "--model=mock",
        "--tokenizer=builtin",
    ]);
    call.more(["--url", server, "--settle=1"]);
    call.more(more.split_whitespace());
    call.run()
}

/// What was found, by endpoint, streaming, trigger and mode.
fn cells(matrix: &Value) -> Vec<(String, bool)> {
    let cells = matrix["cells"].as_array().unwrap().iter();
    let of = |cell: &Value| {
        let text = |key: &str| cell[key].as_str().unwrap().to_owned();
        let name = format!(
            "{} {} {} {}",
            text("endpoint"),
            cell["streaming"],
            text("trigger"),
            text("mode")
        );
        (name, text("found") == "leaked")
    };
    cells.map(of).collect()
}

/// Only requests for whole answers that are reset behind their head leak.
fn leaks_behind_the_head() -> Mock {
    Mock::start(Script {
        ttft: Span::from_millis(60),
        itl: Span::from_millis(4),
        tokens: 16,
        latency: Some(Span::from_millis(300)),
        whole_head: Some(0.75),
        leak_on: Some("headers,rst,whole".parse().unwrap()),
        ..script()
    })
}

#[test]
fn a_matrix_finds_the_one_cell_that_leaks_and_goes_on_where_it_was() {
    let mock = leaks_behind_the_head();
    let server = url(&mock);
    let begun = matrix(
        &server,
        "--endpoint-type chat --time-limit 4 --artifact-dir out",
    );
    let path = begun.folder().join("out/cancel_matrix.json");
    let first = json(&path);
    let done = first["cells"].as_array().unwrap().len();
    let left = first["left"].as_array().unwrap().len();
    assert_eq!(done + left, 42, "{}", begun.stderr);
    assert!(left > 0, "{}", begun.stderr);
    assert_eq!(begun.status.code(), Some(5), "{}", begun.stdout);
    assert!(begun.stderr.contains("42 cells, about"), "{}", begun.stderr);
    assert!(begun.stdout.contains("not run"), "{}", begun.stdout);
    let out = begun.folder().join("out");
    let resumed = |flags: &str| {
        let flags = format!("--endpoint-type chat {flags} {}", out.display());
        matrix(&server, &flags)
    };
    let other = resumed("--osl 99 --resume");
    assert_eq!(other.status.code(), Some(1), "{}", other.stderr);
    assert!(
        other.stderr.contains("give the same flags"),
        "{}",
        other.stderr
    );
    let rest = resumed("--resume --artifact-dir");
    let told = done == 0 || rest.stderr.contains(&format!("{done} of them done"));
    assert!(told, "{}", rest.stderr);
    assert_eq!(rest.status.code(), Some(4), "{}", rest.stdout);
    let whole = json(&path);
    assert_eq!(whole["left"], Value::Array(Vec::new()));
    let kept = whole["cells"].as_array().unwrap();
    assert_eq!(kept[..done], first["cells"].as_array().unwrap()[..]);
    let leaks = cells(&whole).into_iter().filter(|(_, leaked)| *leaked);
    let leaks: Vec<String> = leaks.map(|(name, _)| name).collect();
    assert!(
        leaks.contains(&"chat false headers rst".to_owned()),
        "{}",
        rest.stdout
    );
    // On a busy machine the head may be out half-way through.
    let others = leaks
        .iter()
        .filter(|name| *name != "chat false headers rst");
    assert!(
        others.into_iter().all(|name| name == "chat false sent rst"),
        "{}",
        rest.stdout
    );
    assert!(rest.stdout.contains("LEAKS 4/4"), "{}", rest.stdout);
    assert!(
        rest.stdout.lines().all(|line| line.chars().count() <= 100),
        "{}",
        rest.stdout
    );
    let page = std::fs::read_to_string(path.with_extension("html")).unwrap();
    assert!(page.contains("who lets go of what"));
    let report = of_folder("report", &out, "");
    assert_eq!(report.status.code(), Some(0), "{}", report.stderr);
    assert!(report.stdout.contains("LEAKS 4/4"), "{}", report.stdout);
    // Of each endpoint and each way of answering a folder, of each time that it was gone on with.
    assert!(report.stderr.contains("chat-whole"), "{}", report.stderr);
    let mut left = 0;
    for entry in std::fs::read_dir(&out).unwrap() {
        let below = entry.unwrap().path();
        if below.join("resolved_config.yaml").is_file() {
            let lines = std::fs::read_to_string(below.join("profile_export.jsonl")).unwrap();
            left += lines.matches("\"closed_ns\":1").count();
            let again = of_folder("report", &below, "");
            assert_eq!(again.status.code(), Some(0), "{}", again.stderr);
        }
    }
    // On a busy machine a cell that told nothing is run once more, and its lines are kept too.
    let cancels = kept.iter().map(|cell| {
        cell["cancels"].as_u64().unwrap() + cell["cancels_before"].as_u64().unwrap_or(0)
    });
    assert_eq!(left as u64, cancels.sum::<u64>(), "{}", rest.stderr);
    let plot = of_folder("plot", &out, "");
    assert_eq!(plot.status.code(), Some(0), "{}", plot.stderr);
    assert!(plot.stderr.contains("a table"), "{}", plot.stderr);
    let page = of_folder("plot", &out, "--html");
    assert_eq!(page.status.code(), Some(0), "{}", page.stderr);
}

#[test]
fn a_matrix_has_the_endpoints_that_the_server_has() {
    let mock = leaks_behind_the_head();
    let flags = "--artifact-dir out --request-cancellation-trigger sent \
                 --request-cancellation-mode fin";
    let run = matrix(&url(&mock), flags);
    assert_eq!(run.status.code(), Some(0), "{}{}", run.stdout, run.stderr);
    let found = json(&run.folder().join("out/cancel_matrix.json"));
    // Five with streams and without, five without.
    assert_eq!(
        found["cells"].as_array().unwrap().len(),
        15,
        "{}",
        run.stdout
    );
    // Of what never came whole there is nothing to let go, however short the answers are.
    let quick = Mock::start(Script {
        ttft: Span::from_millis(10),
        itl: Span::from_millis(1),
        tokens: 8,
        ..script()
    });
    let unsent = "--request-cancellation-trigger mid-body --request-cancellation-mode rst";
    let run = matrix(&url(&quick), unsent);
    assert_eq!(run.status.code(), Some(0), "{}{}", run.stdout, run.stderr);
    let gone = Raw::answering("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
    let flags = format!("{flags} --endpoint-type embeddings");
    let run = matrix(&format!("http://{}", gone.address()), &flags);
    assert_eq!(run.status.code(), Some(5), "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("not served: embeddings (status 404)"),
        "{}",
        run.stdout
    );
}
