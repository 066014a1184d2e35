//! `pinfire cancel-test` through gateways whose deeds are known: in no cell of the table is the
//! verdict better than what the gateway's own log says, and hardly ever worse.

use std::{collections::HashSet, path::Path, thread};

use pinfire_base::clock::Span;
use pinfire_tests::{
    binary::{Ended, call},
    mock::{Mock, Truth, script},
};
use pinfire_tools::{
    gateway::{Gateway, METRICS, Mode},
    mock::{CounterLife, Script},
};
use serde_json::Value;

/// Runs of the whole table that go on at a time.
const AT_A_TIME: usize = 12;
/// The whole table, which takes minutes, instead of a part.
const ALL: &str = "PINFIRE_FULL_TABLE";

const GATEWAYS: [&str; 6] = [
    "pass",
    "cache:1/20",
    "cache:1/10",
    "hold",
    "late:700ms",
    "buffer",
];
const LEAVES: [&str; 3] = ["fin", "rst", "stall"];
/// The server's page, that of the gateway too, or that of the gateway alone: a Dynamo front end
/// that is fresh, and shows nothing of requests before the first.
const PAGES: [&str; 3] = ["server", "both", "front"];
const COUNTERS: [&str; 5] = ["steady", "zero", "doubled", "late", "restart-after:60"];

/// A gateway, a client and what the server's pages are like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cell {
    gateway: &'static str,
    streaming: bool,
    leave: &'static str,
    pages: &'static str,
    counters: &'static str,
}

fn table() -> Vec<Cell> {
    let mut cells = Vec::new();
    for gateway in GATEWAYS {
        for streaming in [true, false] {
            for leave in LEAVES {
                for pages in PAGES {
                    // A front end has counters of its own.
                    let counters = if pages == "front" {
                        &COUNTERS[..1]
                    } else {
                        &COUNTERS
                    };
                    cells.extend(counters.iter().map(|&counters| Cell {
                        gateway,
                        streaming,
                        leave,
                        pages,
                        counters,
                    }));
                }
            }
        }
    }
    cells
}

/// A part of the table: each gateway with streams and without, the other values in turn.
fn some() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (nth, gateway) in GATEWAYS.into_iter().enumerate() {
        for streaming in [true, false] {
            let turn = cells.len() + usize::from(nth > 2);
            let pages = PAGES[(turn + turn / 3) % PAGES.len()];
            cells.push(Cell {
                gateway,
                streaming,
                leave: LEAVES[turn % LEAVES.len()],
                pages,
                counters: match pages {
                    "front" => COUNTERS[0],
                    _ => COUNTERS[turn % COUNTERS.len()],
                },
            });
        }
    }
    cells
}

/// What became of the cancelled requests, by the gateway's log.
#[derive(Debug, Default)]
struct Deeds {
    left: usize,
    /// Of them, those whose answers were read to the end.
    ran_on: usize,
    /// The longest time from a client's leaving to the gateway's.
    longest_s: f64,
}

impl Deeds {
    fn of(log: &Path) -> Self {
        let text = std::fs::read_to_string(log).expect("the gateway's log");
        let mut deeds = Self::default();
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).expect("a line of it");
            let number = |key: &str| line[key].as_u64().expect("a number");
            if number("left") == 0 {
                continue;
            }
            deeds.left += 1;
            deeds.ran_on += usize::from(line["whole"] == true);
            let held = number("let_go").saturating_sub(number("left")) as f64 / 1e9;
            deeds.longest_s = deeds.longest_s.max(held);
        }
        deeds
    }
}

/// A run of a cell, its report, what was done, and the server's own log.
fn run(cell: Cell) -> (Ended, Value, Deeds, Vec<Truth>) {
    let mock = Mock::start(Script {
        ttft: Span::from_millis(300),
        itl: Span::from_millis(20),
        tokens: 60,
        counters: cell
            .counters
            .parse::<CounterLife>()
            .expect("a life of counters"),
        ..script()
    });
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("gateway.jsonl");
    let mode: Mode = cell.gateway.parse().expect("a mode");
    let any = ([127, 0, 0, 1], 0).into();
    let gateway = Gateway::start(mode, any, mock.address(), Some(&log)).expect("a gateway");
    let url = format!("http://{}", gateway.local_addr());
    let mut test = call([
        "cancel-test",
        "--model=mock",
        "--tokenizer=builtin",
        "--isl=40",
    ]);
    test.more(["--osl=60", "--concurrency=20", "--waves=4", "--settle=6"]);
    test.more(["--artifact-dir=out", "--url", &url]);
    test.more(["--request-cancellation-mode", cell.leave]);
    if !cell.streaming {
        test.more(["--streaming", "off"]);
    }
    let own = format!("{url}{METRICS}");
    let through = format!("{url}/metrics");
    let direct = format!("http://{}/metrics", mock.address());
    match cell.pages {
        "server" => test.more(["--metrics-url", &through]),
        "both" => test.more(["--metrics-url", &own, &direct]),
        _ => test.more(["--metrics-url", &own]),
    }
    let run = test.run();
    let report = run.folder().join("out/cancel_test.json");
    let report = std::fs::read_to_string(report)
        .unwrap_or_else(|error| panic!("{cell:?}: {error}: {}{}", run.stdout, run.stderr));
    let json = serde_json::from_str(&report).expect("JSON");
    drop(gateway);
    let (_, server) = mock.stop();
    let deeds = Deeds::of(&log);
    (run, json, deeds, server)
}

/// How bad what a witness says is.
fn rank(finding: &Value) -> usize {
    const FINDINGS: [&str; 7] = [
        "silent", "at_once", "late", "ran_on", "leaked", "wedged", "died",
    ];
    let place = FINDINGS.iter().position(|name| finding == name);
    place.expect("a finding")
}

/// Holds the verdict against what was done. It is never better; how it is worse, if it is.
fn check(cell: Cell) -> Option<String> {
    const AT_ONCE: usize = 1;
    const LATE: usize = 2;
    const RAN_ON: usize = 3;
    let (run, json, deeds, _) = run(cell);
    let told = format!("{cell:?} {deeds:?}: {}{}", run.stdout, run.stderr);
    let verdict = json["verdict"].as_str().expect("a verdict");
    let code = run.status.code().expect("an exit code");
    let witnesses = json["witnesses"].as_array().expect("witnesses");
    let worst = witnesses
        .iter()
        .map(|witness| rank(&witness["verdict"]))
        .max();
    let worst = worst.expect("a witness");
    let agrees = match verdict {
        "released" => code == 0 && worst <= LATE,
        "cannot_tell" => code == 5,
        _ => code == 4,
    };
    assert!(agrees, "{told}");
    if cell.leave == "stall" {
        // Nobody has left: nothing was let go, and that is no fault.
        assert!(
            worst <= LATE && !run.stdout.contains("released at once"),
            "{told}"
        );
        return None;
    }
    let cancels = json["cancels"].as_u64().expect("cancels") as usize;
    // A gateway that buffers never looks, so every cancelled request runs on.
    let ran_on = match cell.gateway {
        "buffer" => cancels,
        _ => {
            assert_eq!(deeds.left, cancels, "each cancel is a disconnect: {told}");
            deeds.ran_on
        }
    };
    let (least, most) = match (ran_on, deeds.longest_s) {
        (0, longest) if longest <= 0.2 => (AT_ONCE, AT_ONCE),
        (0, longest) if longest <= 0.55 => (AT_ONCE, LATE),
        (0, _) => (LATE, LATE),
        _ => (RAN_ON, RAN_ON),
    };
    let known = verdict != "cannot_tell";
    assert!(!known || worst >= least, "better than the truth: {told}");
    let counts = matches!(cell.counters, "steady" | "late" | "doubled");
    if !known || worst > most {
        return Some(told);
    }
    let share = 100.0 * ran_on as f64 / cancels as f64;
    let telling = witnesses.iter().filter(|of| of["verdict"] == "ran_on");
    for witness in telling {
        let of = &witness["share"];
        let bound = |at: usize| of["interval_pct"][at].as_f64().expect("a bound");
        assert!(
            (bound(0)..=bound(1)).contains(&share),
            "{share} % is not within {of}: {told}"
        );
        if witness["witness"] == "finished" {
            assert!(counts && of["requests"] == ran_on, "{told}");
        }
    }
    None
}

/// Checks cells at once; those whose verdicts are worse than the truth.
fn check_all(cells: &[Cell]) -> Vec<(Cell, String)> {
    let threads: Vec<_> = cells
        .iter()
        .map(|&cell| (cell, thread::spawn(move || check(cell))))
        .collect();
    let ended = threads.into_iter().map(|(cell, one)| (cell, one.join()));
    let ended: Vec<_> = ended.collect();
    let failed: Vec<_> = ended
        .iter()
        .filter(|(_, one)| one.is_err())
        .map(|(cell, _)| cell)
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    let worse = ended
        .into_iter()
        .filter_map(|(cell, one)| Some((cell, one.ok()??)));
    worse.collect()
}

#[test]
fn no_verdict_is_better_than_the_truth() {
    let cells = match std::env::var_os(ALL) {
        Some(_) => table(),
        None => some(),
    };
    let mut worse = Vec::new();
    for some in cells.chunks(AT_A_TIME) {
        worse.extend(check_all(some));
    }
    // A machine that is busy with other tests may be too slow to tell; alone it is not.
    let again: Vec<Cell> = worse.into_iter().map(|(cell, _)| cell).collect();
    let mut worse = Vec::new();
    for cell in again.chunks(2) {
        worse.extend(check_all(cell));
    }
    assert!(
        worse.len() <= cells.len() / 50,
        "{} of {}: {worse:#?}",
        worse.len(),
        cells.len()
    );
}

/// Tokens that were made for clients that had left, as they are told and as the logs have them:
/// those of the server against those in the lines of the requests.
#[test]
fn tokens_for_nobody_are_those_of_the_logs() {
    let cells = ["pass", "cache:1/4", "hold"].map(|gateway| Cell {
        gateway,
        streaming: true,
        leave: "fin",
        pages: "server",
        counters: "steady",
    });
    let threads = cells.map(|cell| thread::spawn(move || tokens(cell)));
    for one in threads {
        one.join().expect("the tokens are those of the logs");
    }
}

fn tokens(cell: Cell) {
    let (run, json, deeds, server) = run(cell);
    let told = format!("{cell:?} {deeds:?}: {}{}", run.stdout, run.stderr);
    let lines = std::fs::read_to_string(run.folder().join("out/profile_export.jsonl"));
    let lines = lines.expect("the lines of the requests");
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let received: u64 = lines
        .iter()
        .filter(|line| line["metadata"]["cancellation"]["closed_ns"].is_u64())
        .map(|line| {
            let of = &line["metadata"]["cancellation"]["tokens_received"];
            of.as_u64().unwrap_or(0)
        })
        .sum();
    let cancels = json["cancels"].as_u64().expect("cancels");
    let ids: HashSet<&str> = lines
        .iter()
        .filter(|line| line["metadata"]["cancellation"]["closed_ns"].is_u64())
        .filter_map(|line| line["metadata"]["x_request_id"].as_str())
        .collect();
    assert_eq!(ids.len() as u64, cancels, "{told}");
    let made: u64 = server
        .iter()
        .filter(|line| ids.contains(line.id.as_str()))
        .map(|line| line.sent)
        .sum();
    let truth = made - received;
    // What came before the first cancel, alone, is no part of it.
    let first = server
        .iter()
        .filter(|line| line.sent > 0)
        .min_by_key(|line| line.first);
    let all: u64 = server.iter().map(|line| line.sent).sum();
    let all = all - first.expect("a request").sent;
    let figure = |key: &str| json["tokens_for_nobody"][key].as_f64().expect("a figure");
    let near = |is: f64, truth: f64| (is - truth).abs() < 1e-6 * truth.max(1.0);
    let told = format!("{} but {truth} of {all}: {told}", figure("tokens"));
    assert!(near(figure("tokens"), truth as f64), "{told}");
    assert!(
        near(figure("per_cancel"), truth as f64 / cancels as f64),
        "{told}"
    );
    assert!(
        near(figure("share_pct"), 100.0 * truth as f64 / all as f64),
        "{told}"
    );
    if cell.gateway == "hold" {
        assert!(truth > 20 * cancels, "{told}");
    }
}
