//! The schedule as the binary prints it with `--dry-run`, and as it sends it.

use std::sync::{Arc, Condvar, Mutex};

use pinfire_tests::{
    binary::{call, profile},
    mock::{Mock, instant},
    raw::Raw,
};
use serde_json::Value;

fn url(mock: &Mock) -> String {
    format!("http://{}", mock.address())
}

fn dry(flags: &str) -> Vec<Value> {
    let run = profile("http://127.0.0.1:9", &format!("{flags} --dry-run"))
        .run()
        .code(0);
    assert!(!run.has("inputs.json"), "nothing is written");
    let line = |text| serde_json::from_str(text).expect("a line of JSON");
    run.stdout.lines().map(line).collect()
}

fn instants(lines: &[Value]) -> Vec<f64> {
    let instant = |line: &Value| line["scheduled_ns"].as_f64().unwrap() / 1e9;
    lines.iter().map(instant).collect()
}

/// Kolmogorov–Smirnov: whether the gaps, in units of their mean, follow this distribution at 5 %.
fn follows(instants: &[f64], rate: f64, distribution: impl Fn(f64) -> f64) -> bool {
    let mut before = 0.0;
    let gap = |at: &f64| (at - std::mem::replace(&mut before, *at)) * rate;
    let mut gaps: Vec<f64> = instants.iter().map(gap).collect();
    gaps.sort_by(f64::total_cmp);
    let count = gaps.len() as f64;
    let worst = gaps.iter().enumerate().fold(0.0_f64, |worst, (n, &gap)| {
        let expected = distribution(gap);
        let (below, above) = (n as f64 / count, (n + 1) as f64 / count);
        worst.max(expected - below).max(above - expected)
    });
    worst < 1.358 / count.sqrt()
}

#[test]
fn arrivals_follow_their_distributions() {
    let rate = "--num-dataset-entries 3 --request-count 20000 --request-rate 250 --random-seed 5";
    let poisson = instants(&dry(rate));
    assert_eq!(poisson.len(), 20_000);
    assert!(follows(&poisson, 250.0, |gap| 1.0 - (-gap).exp()));
    let gamma = instants(&dry(&format!("{rate} --arrival-smoothness 2")));
    // Gamma of shape 2 and mean 1.
    let expected = |gap: f64| 1.0 - (-2.0 * gap).exp() * (1.0 + 2.0 * gap);
    assert!(follows(&gamma, 250.0, expected));
    assert!(
        !follows(&gamma, 250.0, |gap| 1.0 - (-gap).exp()),
        "the test can tell"
    );
    let constant = instants(&dry(
        "--request-count 5 --request-rate 1000 --arrival-pattern constant",
    ));
    assert_eq!(constant, [0.001, 0.002, 0.003, 0.004, 0.005]);
}

#[test]
fn a_ramp_has_its_area() {
    let flags = "--num-dataset-entries 1 --request-rate 500 --arrival-pattern constant \
                 --request-rate-ramp-duration 10 --benchmark-duration 12";
    // From 5/s to 500/s in 10 s, then 2 s at 500/s.
    let expected = 10.0 * (5.0 + 500.0) / 2.0 + 2.0 * 500.0;
    let sent = dry(flags).len() as f64;
    assert!(
        (sent - expected).abs() < expected * 0.01,
        "{sent} of {expected}"
    );
}

#[test]
fn the_cores_do_not_matter_and_the_seed_does() {
    let flags = "--request-count 300 --num-dataset-entries 7 --request-rate 40 --random-seed 9 \
                 --request-cancellation-rate 30 --request-cancellation-delay 0.25 \
                 --warmup-request-count 3";
    let one = dry(&format!("{flags} --cores 1"));
    assert_eq!(one, dry(&format!("{flags} --cores 2")));
    assert_eq!(one.len(), 303);
    assert_eq!(
        (&one[0]["phase"], &one[3]["phase"]),
        (&"warmup".into(), &"profiling".into())
    );
    // The measurement goes on in the dataset where the warmup stopped.
    assert_eq!(one[3]["conversation"], "session_000003");
    assert!(one[..3].iter().all(|line| line["cancel"] == false));
    let cancelled = one.iter().filter(|line| line["cancel"] == true);
    assert!(
        cancelled
            .clone()
            .all(|line| line["cancel_delay_ns"] == 250_000_000)
    );
    assert!((60..120).contains(&cancelled.count()));
    assert_ne!(one, dry(&flags.replace("seed 9", "seed 10")));
}

#[test]
fn what_is_sent_is_what_was_printed() {
    let mock = Mock::start(instant(1));
    let flags = "--request-count 60 --num-dataset-entries 4 --request-rate 600 --random-seed 3";
    let printed = dry(flags);
    let run = profile(&url(&mock), flags).run().code(0);
    let lines = run.lines();
    assert_eq!(lines.len(), 60);
    for line in &lines {
        let metadata = &line["metadata"];
        let planned = &printed[metadata["session_num"].as_u64().unwrap() as usize];
        assert_eq!(planned["conversation"], metadata["conversation_id"]);
    }
    let json = run.json();
    assert!(json["effective_latency"]["avg"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_trace_is_sent_by_its_timestamps() {
    let mock = Mock::start(instant(1));
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("trace.jsonl");
    let lines: String = [
        (9_000, "a"),
        (10_000, "b"),
        (10_050, "c"),
        (10_200, "d"),
        (99_000, "e"),
    ]
    .iter()
    .map(|(at, text)| format!("{{\"timestamp\": {at}, \"text_input\": \"{text}\"}}\n"))
    .collect();
    std::fs::write(&file, lines).unwrap();
    let trace = format!(
        "--input-file {} --custom-dataset-type mooncake_trace --fixed-schedule \
         --fixed-schedule-start-offset 10000 --fixed-schedule-end-offset 20000 \
         --synthesis-speedup-ratio 2",
        file.display()
    );
    let bare = |url: &str, more: &str| {
        let line = format!(
            "profile --model mock --tokenizer builtin --streaming --url {url} --artifact-dir out \
             {trace} {more}"
        );
        let words: Vec<&str> = line.split_whitespace().collect();
        call(words)
    };
    let run = bare("http://127.0.0.1:9", "--dry-run").run().code(0);
    let printed: Vec<Value> = run
        .stdout
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(instants(&printed), [0.0, 0.025, 0.1]);
    let run = bare(&url(&mock), "").run().code(0);
    assert_eq!(run.lines().len(), 3);
    let correlation = &run.lines()[0]["metadata"]["x_correlation_id"];
    assert!(correlation.as_str().unwrap().starts_with("fixed-schedule-"));
}

#[test]
fn a_seamless_measurement_does_not_wait_for_the_warmup() {
    let events = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\ndata: [DONE]\n\n";
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n{events}",
        events.len()
    );
    // The first request of the first connection is the warmup's, whichever thread is the first to
    // read one: its answer waits for six of the measurement.
    let state = Arc::new((Mutex::new(0), Condvar::new()));
    let server = Raw::start(move |conn| {
        let (seen, changed) = &*state;
        while let Some(request) = conn.request() {
            let mut count = seen.lock().unwrap();
            *count += 1;
            changed.notify_all();
            let is_warmup = (request.conn, request.nth) == (0, 0);
            while is_warmup && *count < 7 {
                count = changed.wait(count).unwrap();
            }
            drop(count);
            conn.send(answer.as_bytes());
        }
    });
    let flags = "--warmup-request-count 1 --warmup-seamless --concurrency 2 --request-count 6";
    let run = profile(&format!("http://{}", server.address()), flags)
        .run()
        .code(0);
    assert_eq!(super::sums(&run), [6, 6, 0, 0, 0]);
    let lines = run.lines();
    let of = |phase: &str| -> Vec<&Value> {
        let is = |line: &&Value| line["metadata"]["benchmark_phase"] == phase;
        lines.iter().filter(is).collect()
    };
    let (warmup, profiling) = (of("warmup"), of("profiling"));
    assert_eq!((warmup.len(), profiling.len()), (1, 6));
    let instant = |line: &Value, key: &str| line["metadata"][key].as_u64().unwrap();
    let answered = instant(warmup[0], "request_end_ns");
    for line in profiling {
        assert!(instant(line, "request_start_ns") < answered);
    }
    let json = run.json();
    assert_eq!(json["request_count"]["avg"], 6.0);
    assert_eq!(json["input_config"]["phases"][1]["seamless"], true);
}

#[test]
fn too_many_failures_end_the_run() {
    let flags = "--request-count 100000 --num-dataset-entries 1 --failed-request-threshold 0.5";
    let run = profile("http://127.0.0.1:9", flags).run().code(1);
    assert!(run.lines().len() < 100_000);
}
