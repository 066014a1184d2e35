//! The files of a run beside its summary: raw records, HTTP traces, and that no file shows a
//! secret.

use std::path::Path;

use pinfire_base::clock::Span;
use pinfire_tests::{
    binary::{Ended, call, profile},
    mock::{Mock, script},
};
use pinfire_tools::mock::{Fault, FaultRule, Script, When};
use serde_json::Value;

use super::sums;

/// The lines of a JSONL file by the number of the request and its phase.
fn by_number(run: &Ended, name: &str) -> Vec<((String, u64), Value)> {
    let text = run.file(name);
    let mut lines: Vec<_> = text
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let metadata = &line["metadata"];
            let number = metadata["session_num"].as_u64().unwrap();
            let phase = metadata["benchmark_phase"].as_str().unwrap().to_owned();
            ((phase, number), line)
        })
        .collect();
    lines.sort_by(|(one, _), (other, _)| one.cmp(other));
    lines
}

/// The data packets of a raw line with their stamps.
fn data(raw: &Value) -> Vec<(u64, String)> {
    let responses = raw["responses"].as_array().unwrap();
    responses
        .iter()
        .filter_map(|response| {
            let at = response["perf_ns"].as_u64()?;
            let packets = response["packets"].as_array()?;
            let data = packets.iter().find(|packet| packet["name"] == "data")?;
            Some((at, data["value"].as_str()?.to_owned()))
        })
        .collect()
}

fn says_something(data: &str) -> bool {
    serde_json::from_str::<Value>(data).is_ok_and(|data| {
        let said = data["choices"][0]["delta"]["content"].as_str();
        said.is_some_and(|said| !said.is_empty())
    })
}

#[test]
fn raw_records_hold_what_was_sent_and_every_event_with_its_own_stamp() {
    let run = profile(
        "mock:",
        "--request-count 6 --concurrency 2 --osl 5 --warmup-request-count 2 --export-level raw \
         --random-seed 4",
    )
    .run()
    .code(0);
    let inputs: Value = serde_json::from_str(&run.file("inputs.json")).unwrap();
    let lines = by_number(&run, "profile_export.jsonl");
    let raws = by_number(&run, "profile_export_raw.jsonl");
    assert_eq!((lines.len(), raws.len()), (8, 8));
    for ((at, line), (raw_at, raw)) in lines.iter().zip(&raws) {
        assert_eq!((at, &line["metadata"]), (raw_at, &raw["metadata"]));
        let keys: Vec<&String> = raw.as_object().unwrap().keys().collect();
        let expected = [
            "metadata",
            "start_perf_ns",
            "request_headers",
            "status",
            "responses",
            "payload",
        ];
        assert_eq!(keys, expected);
        let headers = &raw["request_headers"];
        assert_eq!(headers["X-Request-ID"], raw["metadata"]["x_request_id"]);
        assert_eq!(headers["Accept"], "text/event-stream");
        assert_eq!(headers["X-Session-Affinity"], "<redacted>");
        // The payload is that of the conversation in inputs.json, to the byte.
        let sessions = inputs["data"].as_array().unwrap();
        let id = &raw["metadata"]["conversation_id"];
        let session = sessions.iter().find(|session| &session["session_id"] == id);
        assert_eq!(raw["payload"], session.unwrap()["payloads"][0]);
        // What the figures were made of can be found again in the raw file, to the nanosecond.
        let data = data(raw);
        assert_eq!(data.last().unwrap().1, "[DONE]");
        let content: Vec<u64> = data
            .iter()
            .filter(|(_, data)| says_something(data))
            .map(|(at, _)| *at)
            .collect();
        assert_eq!(content.len(), 5);
        let start = raw["start_perf_ns"].as_u64().unwrap();
        let value = |tag: &str| line["metrics"][tag]["value"].as_f64().unwrap();
        assert_eq!(
            value("time_to_first_token"),
            (content[0] - start) as f64 / 1e6
        );
        assert_eq!(value("request_latency"), (content[4] - start) as f64 / 1e6);
    }
}

#[test]
fn raw_records_keep_what_a_cancelled_request_received() {
    // Two events, then nothing for a long time.
    let mock = Mock::start(Script {
        ttft: Span::from_millis(1),
        itl: Span::from_millis(40),
        ..script()
    });
    let url = format!("http://{}", mock.address());
    let run = profile(
        &url,
        "--request-count 4 --concurrency 4 --osl 500 --request-cancellation-rate 100 \
         --request-cancellation-delay 0.1 --export-level raw",
    )
    .run()
    .code(0);
    assert_eq!(sums(&run)[3], 4);
    let lines = by_number(&run, "profile_export.jsonl");
    for ((_, raw), (_, line)) in by_number(&run, "profile_export_raw.jsonl")
        .iter()
        .zip(lines)
    {
        assert_eq!(raw["error"]["code"], 499);
        assert_eq!(raw["status"], 200);
        let metadata = &raw["metadata"];
        assert_eq!(metadata["cancellation"]["phase"], "streaming");
        assert_eq!(metadata, &line["metadata"]);
        let came = metadata["cancellation"]["events_received"]
            .as_u64()
            .unwrap();
        let whole = raw["responses"].as_array().unwrap().iter();
        let whole = whole.filter(|response| response["packets"].is_array());
        assert_eq!(whole.count() as u64, came);
        assert!(came > 0, "{raw}");
    }
}

#[test]
fn raw_records_of_conversations_and_whole_answers() {
    let run = call(
        "profile --model mock --tokenizer builtin --url mock: --artifact-dir out --isl 20 --osl 3 \
         --num-dataset-entries 1 --session-turns-mean 2 --request-count 2 --export-level raw"
            .split(' '),
    )
    .run()
    .code(0);
    let raws = by_number(&run, "profile_export_raw.jsonl");
    let mut said = Vec::new();
    for (_, raw) in &raws {
        let responses = raw["responses"].as_array().unwrap();
        assert_eq!(responses.len(), 1);
        assert_eq!(responses[0]["content_type"], "application/json");
        let answer: Value = serde_json::from_str(responses[0]["text"].as_str().unwrap()).unwrap();
        said.push(answer["choices"][0]["message"]["content"].clone());
        assert_eq!(raw["request_headers"]["Accept"], "application/json");
    }
    // The second turn was sent with the answer to the first.
    let second = raws[1].1["payload"]["messages"].as_array().unwrap();
    assert_eq!(second.len(), 3);
    assert_eq!(second[1]["content"], said[0]);
}

#[test]
fn traces_hold_every_write_and_read() {
    let run = profile(
        "mock:",
        "--request-count 6 --concurrency 2 --osl 5 --export-http-trace",
    )
    .run()
    .code(0);
    assert!(!run.has("profile_export_raw.jsonl"));
    let mut reused = 0;
    for line in run.lines() {
        let trace = &line["trace_data"];
        let number = |key: &str| {
            trace[key]
                .as_u64()
                .unwrap_or_else(|| panic!("{key}: {trace}"))
        };
        let chunks =
            |key: &str| -> Vec<(u64, u64)> { serde_json::from_value(trace[key].clone()).unwrap() };
        let (sent, received) = (chunks("request_chunks"), chunks("response_chunks"));
        let sum = |chunks: &[(u64, u64)]| chunks.iter().map(|(_, bytes)| bytes).sum::<u64>();
        assert_eq!(sum(&sent), number("request_bytes_total"));
        assert_eq!(sum(&received), number("response_bytes_total"));
        assert_eq!(received.len() as u64, number("response_chunks_count"));
        assert_eq!(received[0].0, number("response_receive_start_ns"));
        assert_eq!(
            received.last().unwrap().0,
            number("response_receive_end_ns")
        );
        assert_eq!(sent.last().unwrap().0, number("request_send_end_ns"));
        let value = |tag: &str| line["metrics"][tag]["value"].as_f64().unwrap();
        assert_eq!(value("http_req_waiting"), number("waiting_ns") as f64 / 1e6);
        assert_eq!(
            value("http_req_chunks_received") as usize,
            received.len(),
            "{trace}"
        );
        assert_eq!(trace["response_reason"], "OK");
        let kind = &trace["response_headers"]["content-type"];
        assert_eq!(kind, "text/event-stream; charset=utf-8");
        assert_eq!(trace["remote_ip"], "127.0.0.1");
        assert!(number("local_port") > 0);
        let is_reused = trace["connection_reused_ns"].is_u64();
        assert_ne!(is_reused, trace["tcp_connect_start_ns"].is_u64());
        reused += u64::from(is_reused);
        // Nothing is null; what is not known is not there.
        assert!(
            trace
                .as_object()
                .unwrap()
                .values()
                .all(|value| !value.is_null())
        );
        assert!(trace["dns_lookup_start_ns"].is_null());
    }
    assert_eq!(reused, 4);
    let plain = profile("mock:", "--request-count 1 --osl 1").run().code(0);
    assert!(plain.lines()[0]["trace_data"].is_null());
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[test]
fn no_file_and_no_screen_shows_a_secret() {
    let mock = Mock::start(script());
    let url = format!("http://{}/v1?api_key=hush-hush", mock.address());
    let run = profile(
        &url,
        "--request-count 3 --osl 2 --export-level raw --export-http-trace --warmup-request-count 1 \
         --api-key hush-hush --header X-Secret:hush-hush --header Cookie:a=hush-hush",
    )
    .run()
    .code(0);
    for text in [&run.stdout, &run.stderr] {
        assert!(!text.contains("hush-hush"), "{text}");
    }
    let all = files(&run.folder().join("out"));
    assert!(all.len() >= 6, "{all:?}");
    for path in all {
        let bytes = std::fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("hush-hush"), "{}", path.display());
    }
    assert!(
        run.file("profile_export_raw.jsonl")
            .contains("\"Cookie\":\"<redacted>\"")
    );
    assert!(
        run.file("profile_export.jsonl")
            .contains("\"Authorization\":\"<redacted>\"")
    );
}

#[test]
fn prefixes_rename_exports_and_nothing_else() {
    let run = profile(
        "mock:",
        "--request-count 2 --osl 1 --warmup-request-count 1 --export-level raw \
         --profile-export-prefix some/where/mine_raw.jsonl",
    )
    .run()
    .code(0);
    for name in [
        "mine.csv",
        "mine.json",
        "mine.jsonl",
        "mine_raw.jsonl",
        "mine_console.txt",
        "inputs.json",
        "logs/pinfire.log",
        "phase_manifest.json",
        "phases/warmup/profile_export_aiperf.json",
        "phases/profiling/profile_export_aiperf.csv",
    ] {
        assert!(run.has(name), "{name}");
    }
    assert!(!run.has("mine_aiperf.json") && !run.has("some"));
}

#[test]
fn a_folder_that_is_given_is_taken_and_one_that_is_not_is_named_by_the_load() {
    let call = call(
        "profile --model org/mock --tokenizer builtin --url mock: --streaming --isl 20 --osl 1 \
         --request-count 2 --concurrency 2 --request-rate 40"
            .split(' '),
    );
    let run = call.run().code(0);
    let name = "artifacts/org_mock-openai-chat-concurrency2-request_rate40.0";
    assert!(
        run.folder()
            .join(name)
            .join("profile_export_aiperf.json")
            .exists()
    );
    let given = profile("mock:", "--request-count 1 --osl 1").run().code(0);
    let inside: Vec<_> = files(&given.folder().join("out"));
    assert!(given.has("profile_export_aiperf.json"), "{inside:?}");
    assert!(!given.folder().join("artifacts").exists());
}

#[test]
fn the_marker_is_written_when_everything_else_is() {
    let run = profile(
        "mock:",
        "--request-count 3 --osl 2 --warmup-request-count 1 --export-level raw",
    )
    .run()
    .code(0);
    let marker = ".aiperf_results_ready.json";
    assert_eq!(
        run.file(marker),
        "{\"ready\":true,\"was_cancelled\":false,\"partial\":false}"
    );
    let written = |path: &Path| std::fs::metadata(path).unwrap().modified().unwrap();
    let out = run.folder().join("out");
    let last = written(&out.join(marker));
    for path in files(&out) {
        assert!(written(&path) <= last, "{}", path.display());
    }
}

#[test]
fn environment_variables_move_what_the_panels_say() {
    // 20 tokens are asked for and 4 come.
    let mock = Mock::start(Script {
        tokens: 4,
        ignore_max: true,
        ..script()
    });
    let url = format!("http://{}", mock.address());
    let flags = "--request-count 2 --osl 20";
    let run = profile(&url, flags).run().code(0);
    assert!(
        run.stdout.contains("by more than 5% or 50 tokens"),
        "{}",
        run.stdout
    );
    assert!(
        run.file("logs/pinfire.log")
            .contains("WARNING - Output Sequence Length")
    );
    let mut lenient = profile(&url, flags);
    lenient.env("AIPERF_METRICS_OSL_MISMATCH_PCT_THRESHOLD", "90");
    let run = lenient.run().code(0);
    assert!(!run.stdout.contains("Mismatch Warning"), "{}", run.stdout);
}

#[test]
fn a_run_without_an_answer_fails_and_still_says_everything() {
    let mock = Mock::start(Script {
        faults: vec![FaultRule {
            fault: Fault::Status(429),
            when: When::Every(1),
        }],
        ..script()
    });
    let run = profile(
        &format!("http://{}", mock.address()),
        "--request-count 5 --concurrency 2",
    )
    .run()
    .code(1);
    for name in [
        "profile_export_aiperf.csv",
        "profile_export_aiperf.json",
        "profile_export.jsonl",
        "profile_export_console.txt",
        ".aiperf_results_ready.json",
    ] {
        assert!(run.has(name), "{name}");
    }
    let json = run.json();
    assert_eq!(json["error_summary"][0]["count"], 5);
    assert_eq!(json["is_complete"], true);
    let console = run.file("profile_export_console.txt");
    assert!(
        console.contains("Error Summary") && console.contains("429"),
        "{console}"
    );
    assert!(console.contains("What the Errors Say"), "{console}");
    assert!(run.file("logs/pinfire.log").contains(" - ERROR - 5 x 429 "));
}

#[test]
fn a_folder_that_cannot_be_written_to_is_refused_before_anything_is_sent() {
    let mock = Mock::start(script());
    let call = profile(&format!("http://{}", mock.address()), "--request-count 1");
    // A file where the log's folder should be: also root cannot write there.
    std::fs::create_dir(call.folder().join("out")).unwrap();
    std::fs::write(call.folder().join("out/logs"), "").unwrap();
    let run = call.run().code(1);
    assert!(
        run.stderr.contains("cannot be written to"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("out"), "{}", run.stderr);
    assert!(mock.stop().1.is_empty(), "something was sent");
}

#[test]
fn the_log_has_the_phases_and_the_footer_its_path() {
    let run = profile(
        "mock:",
        "--request-count 3 --osl 2 --warmup-request-count 2",
    )
    .run()
    .code(0);
    let log = run.file("logs/pinfire.log");
    for line in log.lines() {
        let parts: Vec<&str> = line.splitn(4, " - ").collect();
        assert_eq!((parts.len(), parts[1]), (4, "pinfire"), "{line}");
        // A busy machine makes the client late, and the log says so.
        let late = parts[3].starts_with("the client was the bottleneck");
        assert_eq!(parts[2], if late { "WARNING" } else { "INFO" }, "{line}");
    }
    let place = |text: &str| log.find(text).unwrap_or_else(|| panic!("{text}: {log}"));
    assert!(place("warmup begins") < place("warmup has ended"));
    assert!(place("profiling begins") < place("profiling has ended"));
    assert!(place("3 started, 3 answered, 0 broken") < place("the results are in"));
    let footer: Vec<&str> = run
        .stdout
        .lines()
        .filter_map(|line| Some(line.split_once(": ")?.0))
        .filter(|name| {
            [
                "CLI Command",
                "Benchmark Duration",
                "Success Rate",
                "Log File",
            ]
            .contains(name)
                || name.ends_with("Export")
                || *name == "Raw Records"
        })
        .collect();
    assert_eq!(
        footer,
        [
            "CLI Command",
            "Benchmark Duration",
            "Success Rate",
            "CSV Export",
            "JSON Export",
            "Raw Records",
            "Server Metrics CSV Export",
            "Server Metrics JSON Export",
            "Log File"
        ]
    );
}
