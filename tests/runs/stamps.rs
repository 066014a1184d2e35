//! Receive timestamps from the flag to the files, and a client that is stopped.

use std::time::Duration;

use pinfire_base::{clock::Span, clock::unix_now};
use pinfire_tests::{
    binary::{Ended, profile},
    mock::{Mock, script},
    raw::Raw,
    watchdog::watch,
};
use pinfire_tools::mock::Script;
use rustix::process::Signal;

#[test]
fn what_was_used_is_in_the_files_by_phase() {
    for (flag, used) in [
        ("", "kernel"),
        ("--receive-stamps kernel", "kernel"),
        ("--receive-stamps user", "user"),
    ] {
        let flags =
            format!("{flag} --concurrency 4 --request-count 20 --warmup-request-count 8 --osl 8");
        let run = profile("mock:", &flags).run().code(0);
        let json = run.json();
        let stamps = &json["client_health"]["receive_stamps"];
        let asked = flag.split(' ').nth(1).unwrap_or("auto");
        assert_eq!(stamps["asked"], asked);
        for phase in ["warmup", "profiling"] {
            let phase = &stamps["phases"][phase];
            assert_eq!(phase["used"], used, "{flag}: {stamps}");
            let count = |key: &str| phase[key].as_u64().unwrap();
            let fallbacks = phase["fallbacks"].as_object().unwrap().values();
            let fallbacks: u64 = fallbacks.map(|count| count.as_u64().unwrap()).sum();
            let engine = if used == "user" { count("reads") } else { 0 };
            assert_eq!(
                count("reads"),
                count("by_kernel") + fallbacks + engine,
                "{stamps}"
            );
        }
    }
}

#[test]
fn kernel_stamps_are_not_to_be_had_in_the_file_system() {
    let run = profile("unix:/nowhere", "--receive-stamps kernel")
        .run()
        .code(1);
    assert!(run.stderr.contains("use auto or user"), "{}", run.stderr);
}

#[test]
fn events_of_one_read_are_counted() {
    let event = |text: &str| {
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
    };
    let body: String = ["a", "b", "c", "d"].map(event).concat() + "data: [DONE]\n\n";
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let server = Raw::answering(answer);
    let url = format!("http://{}", server.address());
    let flags = "--concurrency 1 --request-count 5 --use-server-token-count";
    let run = profile(&url, flags).run().code(0);
    let shared = &run.json()["client_health"]["events_sharing_a_stamp"];
    assert_eq!(
        (&shared["events"], &shared["sharing"]),
        (&20.into(), &20.into())
    );
    assert_eq!(
        (&shared["answers"], &shared["first_sharing"]),
        (&5.into(), &5.into())
    );
    // All but the last of each read.
    assert_eq!(shared["late_at_most"]["count"], 15);
    let line = "Events sharing a stamp: 20 of 20 (100.0 %)";
    assert!(run.stdout.contains(line), "{}", run.stdout);
}

/// Unix times of all content events, from the lines.
fn events(run: &Ended) -> Vec<u64> {
    let mut all = Vec::new();
    for line in run.lines() {
        let metrics = &line["metrics"];
        let value = |tag: &str| metrics[tag]["value"].clone();
        let nanos = |value: &serde_json::Value| (value.as_f64().unwrap() * 1e6) as u64;
        let start = line["metadata"]["request_start_ns"].as_u64().unwrap();
        let mut at = start + nanos(&value("time_to_first_token"));
        all.push(at);
        for gap in value("inter_chunk_latency").as_array().unwrap() {
            at += nanos(gap);
            all.push(at);
        }
    }
    all
}

/// Four streams, stopped in the middle until the server has written all of them, 0.7 s at least.
/// The wall times within the stop, and what came of it.
fn stopped(flags: &str) -> (std::ops::Range<u64>, Ended) {
    let mock = Mock::start(Script {
        itl: Span::from_millis(20),
        tokens: 60,
        ..script()
    });
    let until = |what: &str, streams: u32| {
        let _guard = watch(what);
        let line =
            format!("vllm:num_requests_running{{engine=\"0\",model_name=\"mock\"}} {streams}.0");
        while !mock.metrics().contains(&line) {
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let url = format!("http://{}", mock.address());
    let flags = format!("{flags} --concurrency 4 --request-count 4 --osl 60");
    let running = profile(&url, &flags).start();
    until("the four streams begin", 4);
    std::thread::sleep(Duration::from_millis(100));
    running.signal(Signal::STOP);
    // Its threads stop when the kernel next gives them a CPU.
    std::thread::sleep(Duration::from_millis(50));
    let from = unix_now();
    std::thread::sleep(Duration::from_millis(650));
    until("the four streams end", 0);
    let to = unix_now();
    running.signal(Signal::CONT);
    (from..to, running.wait())
}

#[test]
fn a_client_that_was_stopped_shows_it_and_its_times_stand() {
    for (flag, by_kernel) in [
        ("--receive-stamps kernel", true),
        ("--receive-stamps user", false),
    ] {
        let (stop, run) = stopped(flag);
        let run = run.code(0);
        let health = &run.json()["client_health"];
        let pause = &health["pauses"]["longest"][0];
        assert!(pause["length_ms"].as_f64().unwrap() >= 650.0, "{health}");
        assert!(pause["from_ns"].as_u64().unwrap() <= stop.start, "{health}");
        assert_eq!(health["client_was_bottleneck"], true);
        let reasons = health["reasons"].to_string();
        assert!(reasons.contains("the engine was paused"), "{reasons}");
        let distrust = health["distrust"].to_string();
        assert_eq!(distrust.contains("TTFT"), !by_kernel, "{distrust}");
        assert_eq!(
            run.stdout.contains("Latencies stand"),
            by_kernel,
            "{}",
            run.stdout
        );
        // The server went on all the time, and only the kernel saw it.
        let within = events(&run)
            .into_iter()
            .filter(|at| stop.contains(at))
            .count();
        assert_eq!(
            within > 0,
            by_kernel,
            "{within} events while the client was stopped"
        );
    }
}
