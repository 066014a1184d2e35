//! `pinfire cancel-test` through a gateway that does with its clients' disconnects what gateways
//! do, judged by the gateway's own log.

use std::{net::Ipv4Addr, thread};

use pinfire_base::clock::Span;
use pinfire_tests::{
    binary::call,
    mock::{Mock, script},
};
use pinfire_tools::{
    gateway::{Gateway, METRICS, Mode},
    mock::Script,
};
use serde_json::Value;

/// A gateway, and what is to be found.
#[derive(Clone, Copy)]
struct Case {
    mode: Mode,
    flags: &'static str,
    verdict: &'static str,
    code: i32,
    words: &'static str,
}

const CASES: [Case; 7] = [
    Case {
        mode: Mode::Pass,
        flags: "--waves 4",
        verdict: "released",
        code: 0,
        words: "released at once: all of 40",
    },
    Case {
        mode: Mode::Pass,
        flags: "--waves 2 --streaming off --request-cancellation-mode rst",
        verdict: "released",
        code: 0,
        words: "released at once: all of 20",
    },
    Case {
        mode: Mode::Hold,
        flags: "--waves 4",
        verdict: "ran_on",
        code: 4,
        words: "not let go: 40 of 40 cancelled requests (100.0 %",
    },
    Case {
        mode: Mode::Hold,
        flags: "--waves 2 --request-cancellation-mode rst",
        verdict: "ran_on",
        code: 4,
        words: "not let go: 20 of 20",
    },
    Case {
        mode: Mode::Cache { held: 1, of: 10 },
        flags: "--waves 4",
        verdict: "ran_on",
        code: 4,
        words: "ran to their end",
    },
    Case {
        mode: Mode::Late(Span::from_millis(800)),
        flags: "--waves 4",
        verdict: "released",
        code: 0,
        words: "released late: all of 40",
    },
    Case {
        mode: Mode::Buffer,
        flags: "--waves 2 --streaming off",
        verdict: "ran_on",
        code: 4,
        words: "not let go: 20 of 20",
    },
];

fn test(case: Case) {
    let mock = Mock::start(Script {
        ttft: Span::from_millis(300),
        itl: Span::from_millis(20),
        tokens: 100,
        ..script()
    });
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("gateway.jsonl");
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    let gateway = Gateway::start(case.mode, any, mock.address(), Some(&log)).unwrap();
    let mut call = call([
        "cancel-test",
        "--model=mock",
        "--tokenizer=builtin",
        "--isl=40",
        "--osl=100",
        "--concurrency=20",
        "--settle=6",
        "--output=cancel_test.json",
    ]);
    call.more(["--url", &format!("http://{}", gateway.local_addr())]);
    let own = format!("http://{}{METRICS}", gateway.local_addr());
    let server = format!("http://{}/metrics", mock.address());
    // The gateway's own page beside that of the server, where there is something to be found.
    let pages = match case.mode {
        Mode::Hold => vec![own.as_str(), server.as_str()],
        _ => vec![server.as_str()],
    };
    call.more(["--metrics-url"].into_iter().chain(pages.iter().copied()));
    call.more(case.flags.split_whitespace());
    let run = call.run();
    let told = format!(
        "{:?} {}: {}{}",
        case.mode, case.flags, run.stdout, run.stderr
    );
    let text = std::fs::read_to_string(run.folder().join("cancel_test.json")).expect("the report");
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["verdict"], case.verdict, "{told}");
    assert_eq!(run.status.code(), Some(case.code), "{told}");
    assert!(run.stdout.contains(case.words), "{told}");
    drop(gateway);
    let log = std::fs::read_to_string(log).unwrap();
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let ran_on = lines
        .filter(|line| line["left"] != 0 && line["whole"] == true)
        .count();
    let witnesses = json["witnesses"].as_array().unwrap();
    let finished = witnesses
        .iter()
        .find(|of| of["witness"] == "finished")
        .unwrap();
    if matches!(case.mode, Mode::Hold | Mode::Cache { .. }) {
        assert_eq!(finished["share"]["requests"], ran_on, "{told}");
        assert_eq!(
            json["pages"].as_array().map_or(1, Vec::len),
            pages.len(),
            "{told}"
        );
    } else if case.code == 0 {
        assert_eq!(finished["verdict"], "at_once", "{told}");
    }
    mock.stop();
}

#[test]
fn what_a_gateway_keeps_is_found_with_its_share() {
    let threads = CASES.map(|case| thread::spawn(move || test(case)));
    for thread in threads {
        thread.join().expect("each gateway is judged");
    }
}
