//! Pages of metrics of any size, and servers that never come to rest: the end of a run waits for
//! neither, and what is left out is counted.

use std::{fmt::Write as _, thread, time::Duration};

use pinfire_base::clock::{Span, Stamp};
use pinfire_tests::{
    binary::profile,
    mock::{Mock, script},
    raw::Raw,
};
use pinfire_tools::mock::Script;
use rustix::process::Signal;
use serde_json::Value;

use super::sums;

/// A server that answers the nth question with this page.
fn serving(page: impl Fn(usize) -> String + Send + Sync + 'static) -> Raw {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    Raw::start(move |conn| {
        while let Some(head) = conn.head() {
            conn.skip(head);
            let nth = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let page = page(nth);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
                page.len()
            );
            conn.send(head.as_bytes());
            conn.send(page.as_bytes());
        }
    })
}

const BUCKETS: usize = 200_000;
const LABELS: usize = 50_000;

fn huge_histogram(nth: usize) -> String {
    let mut page = String::from("# TYPE huge histogram\n");
    for le in 1..BUCKETS {
        let _ = writeln!(page, "huge_bucket{{le=\"{le}\"}} {}", nth * le);
    }
    let count = nth * BUCKETS;
    let _ = writeln!(
        page,
        "huge_bucket{{le=\"+Inf\"}} {count}\nhuge_sum 7\nhuge_count {count}"
    );
    page
}

fn new_labels(nth: usize) -> String {
    let mut page = String::from("# TYPE many gauge\n");
    for label in 0..LABELS {
        let _ = writeln!(page, "many{{id=\"{nth}-{label}\"}} {label}");
    }
    page
}

fn names_without_numbers(_: usize) -> String {
    let names = (0..LABELS / 3).map(|name| format!("n{name} NaN\nm{name}_total 1\n"));
    format!("ok 1\n{}", names.collect::<String>())
}

#[test]
fn a_page_of_any_size_is_read_within_bounds_and_what_is_left_out_is_counted() {
    type Page = fn(usize) -> String;
    type Check = fn(&Value, &str);
    let cases: [(Page, Check); 3] = [
        (huge_histogram, |json, warnings| {
            let buckets = json["metrics"]["huge"]["series"][0]["buckets"]
                .as_object()
                .unwrap();
            assert!((500..=1_000).contains(&buckets.len()), "{}", buckets.len());
            let left_out = format!(
                "left out {0} buckets of histograms that have very many: huge ({0})",
                BUCKETS - buckets.len()
            );
            assert!(warnings.contains(&left_out), "{warnings}");
        }),
        (new_labels, |json, warnings| {
            // Those of the first scrape are kept, and not seen again.
            let kept = json["metrics"]["many"]["series"]
                .as_array()
                .map_or(0, Vec::len);
            assert!(kept <= 10_000, "{kept}");
            let scrapes = &json["summary"]["endpoint_info"];
            let scrapes = scrapes.as_object().unwrap().values().next_back().unwrap();
            let scrapes = scrapes["total_fetches"].as_u64().unwrap() as usize;
            let left_out = scrapes * LABELS - 10_000;
            let left_out = format!("many ({left_out})");
            assert!(warnings.contains(&left_out), "{left_out}: {warnings}");
        }),
        (names_without_numbers, |json, warnings| {
            let metrics = json["metrics"].as_object().unwrap();
            assert!(metrics.contains_key("ok"));
            assert!(warnings.contains("NaN or infinite"), "{warnings}");
            assert!(
                warnings.contains("series beyond the number that is kept"),
                "{warnings}"
            );
        }),
    ];
    let threads = cases.map(|(page, check)| {
        thread::spawn(move || {
            let mock = Mock::start(Script {
                itl: Span::from_millis(20),
                tokens: 20,
                ..script()
            });
            let big = serving(page);
            let flags = format!(
                "--concurrency 2 --request-count 6 --server-metrics http://{}/metrics \
                 --server-metrics-formats json csv jsonl --slice-duration 0.001",
                big.address()
            );
            let run = profile(&format!("http://{}", mock.address()), &flags)
                .run()
                .code(0);
            assert_eq!(sums(&run)[1], 6);
            let json: Value =
                serde_json::from_str(&run.file("server_metrics_export.json")).unwrap();
            let of_big = |warning: &&Value| {
                warning
                    .as_str()
                    .unwrap()
                    .contains(&big.address().to_string())
            };
            let warnings: Vec<String> = json["warnings"]
                .as_array()
                .unwrap()
                .iter()
                .filter(of_big)
                .map(Value::to_string)
                .collect();
            check(&json, &warnings.join("\n"));
        })
    });
    for thread in threads {
        thread.join().expect("each page is read");
    }
}

#[test]
fn ctrl_c_is_heard_while_a_run_waits_for_its_servers_to_rest() {
    let mock = Mock::start(script());
    let busy = serving(|_| "vllm:num_requests_running 1\n".to_owned());
    let flags = format!(
        "--concurrency 2 --request-count 6 --server-metrics http://{}/metrics",
        busy.address()
    );
    let mut call = profile(&format!("http://{}", mock.address()), &flags);
    call.env("PINFIRE_SERVER_METRICS_COLLECTION_FLUSH_PERIOD", "30");
    let running = call.start();
    let done = "finished_reason=\"length\"} 6.0";
    let stopped = "finished_reason=\"stop\"} 6.0";
    while !mock.metrics().contains(done) && !mock.metrics().contains(stopped) {
        thread::sleep(Duration::from_millis(20));
    }
    // The run has had its answers, and time to find out.
    thread::sleep(Duration::from_millis(1_500));
    let signalled = Stamp::now();
    running.signal(Signal::INT);
    let run = running.wait().code(0);
    // Of the 30 seconds that it was told to wait.
    assert!(
        Stamp::now().since(signalled) < Span::from_millis(20_000),
        "{}",
        run.stderr
    );
    assert_eq!(sums(&run)[1], 6);
}
