//! Pages of real servers, at several moments, against what is to be read from them.
//!
//! The pages in `pages` say in their first lines of which server and version they are, where they
//! were read and what had happened by then. Counters are those since the first page of a server.

#![expect(
    clippy::unwrap_used,
    reason = "a page that cannot be read ends the test, which is what it is for"
)]

use std::fs;
use std::path::Path;

use pinfire_base::clock::Stamp;
use pinfire_scrape::{Levels, Meter, Scrape, ServerKinds};

/// A figure that the page does not give.
const NO: f64 = f64::NAN;

/// One server: its pages, and the profile that is to be found.
struct Server {
    pages: &'static str,
    profile: &'static str,
    /// Each moment: running, waiting, held, cache; completed, aborted, the server's own counter of
    /// aborted ones, output tokens.
    moments: &'static [(&'static str, [f64; 4], [f64; 4])],
}

const fn server(
    pages: &'static str,
    profile: &'static str,
    moments: &'static [(&'static str, [f64; 4], [f64; 4])],
) -> Server {
    Server {
        pages,
        profile,
        moments,
    }
}

const SERVERS: &[Server] = &[
    server(
        "dynamo-frontend",
        "dynamo",
        &[
            ("fresh", [0., 0., 0., NO], [NO, NO, NO, NO]),
            ("busy", [3., 2., 5., NO], [3., NO, NO, 82.]),
            ("cancelled", [2., 0., 2., NO], [3., 3., 3., 95.]),
            ("after", [0., 0., 0., NO], [5., 3., 3., 302.]),
        ],
    ),
    server(
        "dynamo-worker",
        "dynamo-worker",
        &[
            ("fresh", [NO, NO, 0., NO], [0., 0., 0., NO]),
            ("busy", [3., 2., 5., 0.006], [3., 0., 0., NO]),
            ("cancelled", [2., 0., 2., 0.004], [3., 3., 3., NO]),
            ("after", [0., 0., 0., 0.], [5., 3., 3., NO]),
        ],
    ),
    // One request was left before its first token: no error is counted for it.
    server(
        "dynamo-worker-vllm",
        "dynamo-worker",
        &[
            ("", [NO, NO, NO, NO], [NO, NO, NO, NO]),
            ("busy", [3., 1., 4., 0.125], [59., 0., 0., 470.]),
            ("after", [0., 0., 0., 0.], [62., 1., 1., 496.]),
        ],
    ),
    server(
        "llm-d",
        "llm-d",
        &[
            ("fresh", [0., NO, 0., 0.], [NO, NO, NO, NO]),
            ("busy", [4., 2., 6., 0.25], [NO, NO, NO, NO]),
            ("after", [0., 0., 0., 0.], [NO, NO, NO, NO]),
        ],
    ),
    // The scrape itself is not held. One of those left has no stream and goes on behind.
    server(
        "litellm",
        "litellm",
        &[
            ("fresh", [0., NO, 0., NO], [NO, NO, NO, 0.]),
            ("busy", [5., NO, 5., NO], [NO, NO, NO, 24.]),
            ("cancelled", [3., NO, 3., NO], [NO, NO, NO, 88.]),
            ("after", [0., NO, 0., NO], [NO, NO, NO, 280.]),
        ],
    ),
    server(
        "smg",
        "smg",
        &[
            ("fresh", [0., NO, 0., NO], [NO, NO, NO, NO]),
            ("busy", [5., NO, 5., NO], [3., 0., 0., NO]),
            ("cancelled", [2., NO, 2., NO], [3., 3., 3., NO]),
            ("after", [0., NO, 0., NO], [5., 3., 3., NO]),
        ],
    ),
    server(
        "sglang-router",
        "smg",
        &[
            ("fresh", [NO, NO, NO, NO], [NO, NO, NO, NO]),
            ("busy", [5., NO, 5., NO], [NO, NO, NO, NO]),
            ("cancelled", [2., NO, 2., NO], [NO, NO, NO, NO]),
            ("after", [0., NO, 0., NO], [NO, NO, NO, NO]),
        ],
    ),
    // What it shows of its requests is wrong for streams, so nothing is read from it.
    server(
        "sglang-router-round-robin",
        "smg",
        &[
            ("fresh", [NO, NO, NO, NO], [NO, NO, NO, NO]),
            ("busy", [NO, NO, NO, NO], [NO, NO, NO, NO]),
            ("after", [NO, NO, NO, NO], [NO, NO, NO, NO]),
        ],
    ),
    server(
        "vllm-router",
        "vllm-router",
        &[
            ("fresh", [NO, NO, NO, NO], [NO, NO, NO, NO]),
            ("busy", [NO, NO, NO, NO], [NO, NO, NO, NO]),
            ("after", [NO, NO, NO, NO], [NO, NO, NO, NO]),
        ],
    ),
    server(
        "vllm",
        "vllm",
        &[
            ("fresh", [0., 0., 0., 0.], [0., 0., 0., 0.]),
            ("busy", [4., 2., 6., 0.03], [3., 0., 0., 104.]),
            ("cancelled", [3., 0., 3., 0.02], [3., 3., 0., 107.]),
            ("after", [0., 0., 0., 0.], [6., 3., 0., 137.]),
        ],
    ),
    // Texts are counted and not requests, so there is no estimate.
    server(
        "vllm-embeddings",
        "vllm",
        &[
            ("fresh", [0., 0., 0., 0.], [0., 0., 0., 0.]),
            ("busy", [2., 2., 4., 0.01], [11., NO, 0., 0.]),
            ("after", [0., 0., 0., 0.], [11., NO, 0., 0.]),
        ],
    ),
    server(
        "sglang",
        "sglang",
        &[
            ("fresh", [0., 0., 0., 0.], [NO, NO, NO, NO]),
            ("busy", [4., 2., 6., 0.03], [3., NO, NO, 24.]),
            ("cancelled", [3., 0., 3., 0.02], [3., 3., 3., 66.]),
            ("after", [0., 0., 0., 0.], [6., 3., 3., 139.]),
        ],
    ),
    server(
        "trtllm",
        "tensorrt-llm",
        &[
            ("fresh", [NO, NO, NO, NO], [NO, NO, NO, NO]),
            ("busy", [4., 2., 6., 0.05], [4., NO, NO, 29.]),
            ("after", [0., 0., 0., 0.], [6., NO, NO, 80.]),
        ],
    ),
    server(
        "tgi",
        "tgi",
        &[
            ("", [NO, NO, NO, NO], [NO, NO, NO, NO]),
            ("busy", [4., 2., 6., NO], [3., NO, NO, 24.]),
            ("after", [0., 0., 0., NO], [6., 3., 3., 97.]),
        ],
    ),
    server(
        "llama-cpp",
        "llama.cpp",
        &[
            ("fresh", [0., 0., 0., NO], [NO, NO, NO, 0.]),
            ("busy", [4., 2., 6., NO], [NO, NO, NO, 24.]),
            ("after", [0., 0., 0., NO], [NO, NO, NO, 137.]),
        ],
    ),
    server(
        "triton",
        "triton",
        &[
            ("fresh", [NO, 0., 0., NO], [0., 0., 0., NO]),
            ("busy", [NO, 2., 2., NO], [3., 0., 0., NO]),
            ("after", [NO, 0., 0., NO], [6., 3., 3., NO]),
        ],
    ),
    server(
        "triton-trtllm",
        "triton",
        &[
            ("", [NO, NO, NO, NO], [NO, NO, NO, NO]),
            ("busy", [2., 2., 4., 0.05], [3., 0., 0., NO]),
            ("after", [0., 0., 0., 0.], [6., 3., 3., NO]),
        ],
    ),
];

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pages")
}

/// A page of a server; an empty one if it shows nothing at that moment.
fn page(server: &str, moment: &str, at: u64) -> Scrape {
    let body = match moment {
        "" => Vec::new(),
        _ => fs::read(folder().join(format!("{server}.{moment}.prom"))).unwrap(),
    };
    let scrape = Scrape::read([Stamp::from_nanos(at); 3], &body, None).unwrap();
    assert_eq!(scrape.exposition.bad_lines, 0, "{server} {moment}");
    scrape
}

fn read(levels: &Levels) -> [[Option<f64>; 4]; 2] {
    let held = [
        levels.running,
        levels.waiting,
        levels.held(),
        levels.kv_used,
    ];
    let counted = [
        levels.completed,
        levels.aborted,
        levels.abort_counter,
        levels.output_tokens,
    ];
    [held, counted]
}

#[test]
fn pages_are_read_as_their_servers_mean_them() {
    for server in SERVERS {
        let mut meter = Meter::new(&ServerKinds::default());
        for (nth, (moment, held, counted)) in server.moments.iter().enumerate() {
            let levels = meter.read(&page(server.pages, moment, 1 + nth as u64));
            let wanted =
                [held, counted].map(|all| all.map(|one| Some(one).filter(|it| !it.is_nan())));
            assert_eq!(read(&levels), wanted, "{} {moment}", server.pages);
            let name = meter.kind().map_or("", |kind| &*kind.name);
            let wanted = if moment.is_empty() {
                ""
            } else {
                server.profile
            };
            assert_eq!(name, wanted, "{} {moment}", server.pages);
        }
    }
}

/// Attached to a server that has worked before, the same is read: nothing of what was before.
#[test]
fn only_what_comes_after_the_first_page_counts() {
    for server in SERVERS {
        let mut meter = Meter::new(&ServerKinds::default());
        let [.., (busy, ..), (after, ..)] = server.moments else {
            panic!("{} has too few pages", server.pages);
        };
        let first = meter.read(&page(server.pages, busy, 1));
        let [_, counted] = read(&first);
        assert!(
            counted.iter().flatten().all(|one| *one == 0.),
            "{}",
            server.pages
        );
        let last = meter.read(&page(server.pages, after, 2));
        if let (Some(finished), Some(completed)) = (last.finished, last.completed) {
            assert_eq!(finished, completed, "{}", server.pages);
        }
        assert_eq!(last.restarts, 0, "{}", server.pages);
    }
}

/// What is known of what each server counts and when it shows it, and whether it holds requests of
/// its own; of those that pass requests on, one that shows none of them is silent.
#[test]
fn each_server_says_what_it_counts() {
    use pinfire_scrape::server_kinds::{Counted, Refresh, TokensCounted};
    let (requests, sequences) = (Some(Counted::Requests), Some(Counted::Sequences));
    let live = Some(TokensCounted::Live);
    let at_end = Some(TokensCounted::AtEnd);
    let completed = Some(TokensCounted::CompletedOnly);
    let step = Some(Refresh::Steps(1));
    let now = Some(Refresh::Live);
    for (pages, finished, tokens, refresh, gateway, silent) in [
        ("dynamo-frontend", requests, live, now, true, false),
        ("dynamo-worker", requests, None, step, false, false),
        ("dynamo-worker-vllm", requests, None, step, false, false),
        ("llm-d", None, None, now, true, false),
        ("litellm", None, at_end, now, true, false),
        ("smg", requests, None, now, true, false),
        ("sglang-router", None, None, now, true, false),
        ("sglang-router-round-robin", None, None, now, true, true),
        ("vllm-router", None, None, None, true, true),
        ("vllm", sequences, live, step, false, false),
        ("vllm-embeddings", sequences, live, step, false, false),
        (
            "sglang",
            sequences,
            at_end,
            Some(Refresh::Steps(40)),
            false,
            false,
        ),
        (
            "trtllm",
            sequences,
            completed,
            Some(Refresh::AtEnd),
            false,
            false,
        ),
        ("tgi", sequences, completed, step, false, false),
        ("llama-cpp", None, at_end, step, false, false),
        ("triton", None, None, None, false, false),
        ("triton-trtllm", None, None, None, false, false),
    ] {
        let mut meter = Meter::new(&ServerKinds::default());
        let levels = meter.read(&page(pages, "busy", 1));
        let known = meter.kind().unwrap().known();
        assert_eq!(
            (known.finished, known.tokens, known.refresh, known.gateway),
            (finished, tokens, refresh, gateway),
            "{pages}"
        );
        assert_eq!(levels.is_silent(), silent, "{pages}");
    }
}

#[test]
fn every_page_has_its_row_and_its_source() {
    let mut pages: Vec<String> = Vec::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let head: Vec<&str> = text.lines().take(2).collect();
        assert!(head.iter().all(|line| line.starts_with("# ")), "{path:?}");
        assert!(head.join(" ").contains("2026-"), "{path:?} has no date");
        assert!(
            !text.contains("# HELP"),
            "{path:?} has its server's own words"
        );
        pages.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    let mut rows: Vec<String> = Vec::new();
    for server in SERVERS {
        let moments = server
            .moments
            .iter()
            .filter(|(moment, ..)| !moment.is_empty());
        rows.extend(moments.map(|(moment, ..)| format!("{}.{moment}.prom", server.pages)));
    }
    pages.sort();
    rows.sort();
    assert_eq!(pages, rows);
}
