//! `--prometheus-listen`: the page itself, and what a real Prometheus makes of it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use pinfire_tests::{
    binary::{Ended, Running, profile},
    needs::left_out,
    watchdog::watch,
};
use serde_json::Value;
use tempfile::TempDir;

const LOAD: &str = "--concurrency 5 --request-count 60 --osl 8 --random-seed 3 \
                    --warmup-request-count 7 --request-cancellation-rate 25 \
                    --request-cancellation-delay 0.03 --prometheus-listen 127.0.0.1:0";

/// Where the run serves its page, once it has said so in its log.
fn address(run: &Running) -> String {
    let _guard = watch("the run serves its figures");
    let log = run.folder().join("out/logs/pinfire.log");
    loop {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let said = text.split_once("served at http://");
        if let Some((address, _)) = said.and_then(|(_, rest)| rest.split_once("/metrics\n")) {
            return address.to_owned();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The head and the body of an answer.
fn get(address: &str, path: &str) -> (String, String) {
    let mut socket = TcpStream::connect(address).unwrap();
    let asked = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(asked.as_bytes()).unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn average(run: &Ended, tag: &str) -> f64 {
    run.json()[tag]["avg"].as_f64().unwrap_or(0.0)
}

/// A real Prometheus that scrapes one address.
struct Prometheus {
    child: Child,
    address: String,
    _folder: TempDir,
}

impl Prometheus {
    /// Where it is; `None` if there is none. With PINFIRE_NEED_PROMETHEUS set that is a failure.
    fn find() -> Option<PathBuf> {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let mut places = std::env::split_paths(&folders).map(|folder| folder.join("prometheus"));
        let found = places.find(|path| path.is_file());
        if found.is_none() {
            left_out(
                "PINFIRE_NEED_PROMETHEUS",
                "there is no Prometheus on this machine (apt-get install prometheus)",
            );
        }
        found
    }

    fn start(program: &Path, target: &str) -> Self {
        let _guard = watch("Prometheus starts");
        let folder = TempDir::new().unwrap();
        let text = format!(
            "scrape_configs:\n- job_name: pinfire\n  scrape_interval: 200ms\n  static_configs:\n  \
             - targets: ['{target}']\n"
        );
        std::fs::write(folder.path().join("prometheus.yml"), text).unwrap();
        let mut child = Command::new(program)
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg("--web.listen-address=127.0.0.1:0")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = said
            .find_map(|line| {
                let line = line.unwrap();
                let (_, address) = line.split_once("\"Listening on\" address=")?;
                Some(address.trim().to_owned())
            })
            .expect("Prometheus says where it listens");
        // What it says later must find a reader.
        std::thread::spawn(move || said.for_each(drop));
        Self {
            child,
            address,
            _folder: folder,
        }
    }

    /// The values of a query, once there are any.
    fn ask(&self, query: &str) -> Vec<(Value, f64)> {
        let _guard = watch("Prometheus has an answer");
        let code = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        };
        let coded: String = query.bytes().map(code).collect();
        loop {
            let (_, body) = get(&self.address, &format!("/api/v1/query?query={coded}"));
            // Chunks have lines of their own around the document.
            let document = &body[body.find('{').unwrap()..=body.rfind('}').unwrap()];
            let answer: Value = serde_json::from_str(document).unwrap();
            assert_eq!(answer["status"], "success", "{query}: {answer}");
            let found = answer["data"]["result"].as_array().unwrap();
            let values = found.iter().map(|one| {
                let value = one["value"][1].as_str().unwrap().parse().unwrap();
                (one["metric"].clone(), value)
            });
            let values: Vec<(Value, f64)> = values.collect();
            if !values.is_empty() {
                return values;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn number(&self, query: &str) -> f64 {
        let values = self.ask(query);
        assert_eq!(values.len(), 1, "{query}: {values:?}");
        values[0].1
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_page_has_the_figures_of_the_final_report() {
    let run = profile("mock:", &format!("{LOAD} --prometheus-linger 600")).start();
    let address = address(&run);
    assert!(get(&address, "/").0.starts_with("HTTP/1.1 404 "));
    let _guard = watch("the run's figures are whole");
    let counted = |page: &str, start: &str| -> Option<f64> {
        let line = page.lines().find(|line| line.starts_with(start))?;
        line.rsplit_once(' ')?.1.parse().ok()
    };
    let labels = "run=\"out\",model=\"mock\",endpoint=\"chat\",phase=\"profiling\"";
    let due = format!("pinfire_requests_due_total{{{labels}}}");
    let page = loop {
        let (head, page) = get(&address, "/metrics");
        assert!(head.contains("application/openmetrics-text; version=1.0.0"));
        assert!(page.ends_with("# EOF\n"), "{page}");
        let ended: f64 = page
            .lines()
            .filter(|line| {
                ["completed", "failed", "cancelled"].iter().any(|end| {
                    line.starts_with(&format!("pinfire_requests_{end}_total{{{}", &labels))
                })
            })
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum();
        if counted(&page, &due) == Some(60.0) && ended == 60.0 {
            break page;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let warmed = format!(
        "pinfire_requests_completed_total{{{}}}",
        labels.replace("profiling", "warmup")
    );
    assert_eq!(counted(&page, &warmed), Some(7.0), "{page}");
    for name in names_in(include_str!("../../docs/grafana.json")) {
        let base = name.trim_end_matches("_total").trim_end_matches("_bucket");
        assert!(page.contains(&format!("# HELP {base} ")), "{name}");
    }
    let run = scraped_to_its_end(run, &address);
    let tokens = format!("pinfire_output_tokens_total{{{labels}}}");
    assert_eq!(
        counted(&page, &tokens),
        run.json()["total_output_tokens"]["avg"].as_f64(),
        "{page}"
    );
    let count = format!("pinfire_time_to_first_token_seconds_count{{{labels}}}");
    assert_eq!(counted(&page, &count), Some(average(&run, "request_count")));
    let sum = format!("pinfire_request_latency_seconds_sum{{{labels}}}");
    let latency = average(&run, "request_latency") * average(&run, "request_count") / 1e3;
    assert!((counted(&page, &sum).unwrap() / latency - 1.0).abs() < 1e-6);
    assert!(run.stderr.contains("Prometheus: http://127.0.0.1:"));
}

/// The metrics that a text names.
fn names_in(text: &str) -> Vec<&str> {
    let starts = text.match_indices("pinfire_").map(|(at, _)| &text[at..]);
    let is_name = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    starts
        .map(|rest| &rest[..rest.find(|letter| !is_name(letter)).unwrap_or(rest.len())])
        .collect()
}

/// Scrapes until the run has ended; the page that it waits for may be one of before.
fn scraped_to_its_end(run: Running, address: &str) -> Ended {
    let address = address.to_owned();
    let scraping = std::thread::spawn(move || {
        while let Ok(mut socket) = TcpStream::connect(&address) {
            let _ = socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
            let _ = socket.read_to_end(&mut Vec::new());
        }
    });
    let run = run.wait().code(0);
    scraping.join().unwrap();
    run
}

#[test]
fn a_real_prometheus_reads_what_the_report_says() {
    let Some(program) = Prometheus::find() else {
        return;
    };
    let run = profile("mock:", &format!("{LOAD} --prometheus-linger 600")).start();
    let prometheus = Prometheus::start(&program, &address(&run));
    let run = run.wait().code(0);
    // The page is gone by now: its last values are a little old.
    let last = |metric: &str| format!("last_over_time({metric}[10m])");
    let of = |name: &str| {
        let metric = format!("pinfire_requests_{name}_total{{phase=\"profiling\"}}");
        prometheus.number(&format!("sum({})", last(&metric)))
    };
    assert_eq!(of("due"), 60.0);
    assert_eq!(of("completed"), average(&run, "request_count"));
    assert_eq!(of("cancelled"), average(&run, "cancelled_request_count"));
    for (name, tag, unit) in [
        ("time_to_first_token_seconds", "time_to_first_token", 1e3),
        ("request_latency_seconds", "request_latency", 1e3),
        ("output_sequence_length", "output_sequence_length", 1.0),
    ] {
        let metric = format!("pinfire_{name}_bucket{{phase=\"profiling\"}}");
        let below = prometheus.ask(&last(&metric));
        let mut bounds: Vec<(f64, f64)> = below
            .iter()
            .map(|(labels, count)| (labels["le"].as_str().unwrap().parse().unwrap(), *count))
            .collect();
        bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
        let whole = bounds.last().unwrap().1;
        let place = bounds.iter().position(|(_, count)| *count >= 0.99 * whole);
        let place = place.unwrap();
        let least = place.checked_sub(1).map_or(0.0, |before| bounds[before].0);
        let p99 = run.json()[tag]["p99"].as_f64().unwrap() / unit;
        let around = least * 0.99..=bounds[place].0 * 1.01;
        assert!(around.contains(&p99), "{name}: {p99} is not in {around:?}");
    }
    let build = prometheus.ask(&last("pinfire_build_info"));
    assert_eq!(build[0].0["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_port_that_is_taken_is_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let flags = format!(
        "--request-count 1 --prometheus-listen {}",
        taken.local_addr().unwrap()
    );
    let run = profile("mock:", &flags).run().code(1);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    assert!(run.stderr.contains("--prometheus-listen 127.0.0.1:"));
    assert!(run.stderr.contains("choose another port"));
}
