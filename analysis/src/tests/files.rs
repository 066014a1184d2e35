//! What is easily got wrong about files and the console, as far as no run is needed.

use pinfire_base::record::{MarkKind, Record};
use serde_json::{Map, Value};
use tempfile::tempdir;

use super::{end, facts, golden, ms, run};
use crate::facts::{PhaseFacts, PhaseWindow, RunEnd, RunFacts};
use crate::report::Report;
use crate::testing::RecordParts;

fn records() -> Vec<Record> {
    let mut records = golden::records();
    records.push(RecordParts::streamed(1).status(503).end(6.0));
    records
}

fn with(records: &[Record], change: impl FnOnce(&mut RunFacts, &mut RunEnd)) -> Report {
    let dir = tempdir().unwrap();
    let (mut facts, mut end) = (facts(dir.path()), end(records));
    change(&mut facts, &mut end);
    run(facts, records, end)
}

fn report() -> Report {
    with(&records(), |_, _| {})
}

fn json(report: &Report) -> Map<String, Value> {
    serde_json::from_slice(&report.json()).unwrap()
}

/// The tables of the console by their titles, in order.
fn titles(console: &str) -> Vec<&str> {
    let lines = console.lines().map(str::trim);
    lines
        .filter(|line| line.starts_with("pinfire | "))
        .collect()
}

#[test]
fn each_file_has_its_own_order() {
    let report = report();
    let csv = String::from_utf8(report.csv()).unwrap();
    let place = |text: &str, row: &str| text.find(row).unwrap_or_else(|| panic!("{row}"));
    // By tag: input_…, inter_…, output_…, request_…, time_….
    assert!(place(&csv, "Inter Token Latency") < place(&csv, "Request Latency (ms)"));
    assert!(place(&csv, "Request Latency (ms)") < place(&csv, "Time to First Token (ms)"));
    // By display order.
    let console = report.console(140, false);
    let table = &console[place(&console, "pinfire | LLM Metrics ")..];
    assert!(place(table, "Time to First Token (ms)") < place(table, "Request Latency (ms)"));
    assert!(place(table, "Request Latency (ms)") < place(table, "Inter Token Latency (ms)"));
    // By the fixed list, then the run, then in order of computation.
    let json = json(&report);
    let keys: Vec<&String> = json.keys().collect();
    let at = |key: &str| {
        keys.iter()
            .position(|k| *k == key)
            .unwrap_or_else(|| panic!("{key}"))
    };
    assert_eq!(at("schema_version"), 0);
    for pair in [
        ["benchmark_id", "request_throughput"],
        ["request_throughput", "request_latency"],
        ["request_latency", "time_to_first_token"],
        ["total_osl", "error_request_count"],
        ["error_request_count", "input_config"],
        ["input_config", "run_info"],
        ["run_info", "was_cancelled"],
        ["is_complete", "error_summary"],
        ["error_summary", "start_time"],
        ["end_time", "e2e_output_token_throughput"],
    ] {
        assert!(at(pair[0]) < at(pair[1]), "{pair:?}: {keys:?}");
    }
}

#[test]
fn requests_and_counts_are_hidden_in_csv_names_only() {
    let report = report();
    let csv = String::from_utf8(report.csv()).unwrap();
    assert!(csv.contains("\r\nRequest Count,2.00\r\n"), "{csv}");
    assert!(csv.contains("Effective Concurrency,"));
    assert!(csv.contains("HTTP Chunks Received,"));
    let console = report.console(140, false);
    assert!(console.contains("Request Count (requests)"));
    assert!(console.contains("Effective Concurrency (requests)"));
}

#[test]
fn what_tables_there_are_and_in_which_order() {
    let console = report().console(140, false);
    let titles = titles(&console);
    assert_eq!(titles[0], "pinfire | Error Summary");
    let metrics: Vec<&&str> = titles
        .iter()
        .filter(|title| title.contains("Metrics"))
        .collect();
    assert_eq!(
        metrics,
        [
            &"pinfire | LLM Metrics: Effective",
            &"pinfire | LLM Metrics: Active",
            &"pinfire | LLM Metrics: Usage",
            &"pinfire | LLM Metrics",
        ]
    );
    assert!(!console.contains("Error Request Count"), "{console}");
    // Adjusted rows end the default table.
    let table = &console[console.find("pinfire | LLM Metrics ").unwrap()..];
    let table = &table[..table.find('└').unwrap()];
    let count = table.find("Request Count (requests)").unwrap();
    assert!(count < table.find("(error-adjusted)").unwrap());
}

#[test]
fn http_times_are_shown_when_asked_for_and_in_the_files_always() {
    let plain = report();
    assert!(!plain.console(140, false).contains("HTTP Trace Timing"));
    assert!(json(&plain).contains_key("http_req_waiting"));
    let asked = with(&records(), |facts, _| facts.trace_table = true);
    let console = asked.console(140, false);
    let titles = titles(&console);
    let place = |title: &str| titles.iter().position(|t| *t == title);
    assert_eq!(place("pinfire | HTTP Trace Timing"), Some(1), "{titles:?}");
    assert!(console.contains("HTTP Waiting (TTFB) (ms)"));
}

#[test]
fn thresholds_are_in_the_words_of_the_panels() {
    let usage = r#"{"object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":20,"completion_tokens":3,"total_tokens":23}}"#;
    let records = [RecordParts::streamed(0)
        .words(&[20.0, 30.0], &["one two", " three"])
        .mark(31.0, MarkKind::Data, usage)
        .end(31.0)];
    let shown = |pct: f64| {
        let report = with(&records, |facts, _| facts.thresholds.usage_diff_pct = pct);
        report.console(140, false)
    };
    let panel = shown(17.5);
    assert!(panel.contains("Token Count Discrepancy Warning"), "{panel}");
    assert!(panel.contains("1 of 1 request (100.0%)") && panel.contains("more than 17.5%"));
    // The client counts 10 and the server 20.
    assert!(!shown(120.0).contains("Discrepancy"));
    // The embedded server counts words.
    let embedded = with(&records, |facts, _| facts.urls = vec!["mock:".into()]);
    assert!(!embedded.console(140, false).contains("Discrepancy"));
}

#[test]
fn a_run_that_was_cut_says_so_everywhere() {
    let cut = with(&records(), |_, end| {
        end.interrupted = Some("cut off".into())
    });
    let json = json(&cut);
    assert_eq!(json["is_complete"], false);
    assert_eq!(json["was_cancelled"], true);
    assert_eq!(json["incomplete_reason"], "cut off");
    assert!(cut.footer(None).contains(" sec (cancelled early)\n"));
    assert!(
        cut.console(140, false)
            .contains("The run is incomplete: cut off")
    );
    let whole = report();
    assert!(!self::json(&whole).contains_key("incomplete_reason"));
    assert!(!whole.footer(None).contains("early"));
}

#[test]
fn phases_have_files_of_their_own_and_a_manifest() {
    let dir = tempdir().unwrap();
    let mut records = records();
    records.push(
        RecordParts::streamed(0)
            .warmup()
            .words(&[20.0, 30.0], &["a", " b"])
            .end(30.0),
    );
    records.push(RecordParts::streamed(1).warmup().status(503).end(6.0));
    let mut facts = facts(dir.path());
    facts.warmup = Some(PhaseFacts::default());
    facts.files = pinfire_artifacts::FileNames::with_prefix("mine");
    let mut end = end(&records);
    end.warmup = Some(PhaseWindow {
        start: ms(-100.0),
        end: Some(ms(-1.0)),
    });
    let report = run(facts, &records, end);
    let written = report.write(140).unwrap();
    report.mark_ready().unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(
        read(".aiperf_results_ready.json"),
        "{\"ready\":true,\"was_cancelled\":false,\"partial\":false}"
    );
    let text = read("phase_manifest.json");
    assert!(text.starts_with("{\n  \"phases\": [\n    {\n") && text.ends_with("}\n"));
    let manifest: Value = serde_json::from_str(&text).unwrap();
    let [warmup, profiling] = &manifest["phases"].as_array().unwrap()[..] else {
        panic!("{text}");
    };
    let keys: Vec<&String> = warmup.as_object().unwrap().keys().collect();
    assert!(keys.is_sorted() && keys.len() == 13, "{keys:?}");
    assert_eq!(warmup["profiling_index"], Value::Null);
    assert_eq!(profiling["profiling_index"], 0);
    assert_eq!(warmup["error_summary"][0]["count"], 1);
    let counts = |phase: &Value| {
        ["successful", "error", "total"].map(|kind| phase[format!("{kind}_request_count")].as_u64())
    };
    assert_eq!(counts(warmup), [Some(1), Some(1), Some(2)]);
    assert_eq!(counts(profiling), [Some(2), Some(1), Some(4)]);
    assert_eq!(profiling["cancelled_request_count"], 1);
    // Names in phases/ are never prefixed.
    let path = warmup["metrics_json"].as_str().unwrap();
    assert_eq!(path, "phases/warmup/profile_export_aiperf.json");
    let phase: Value = serde_json::from_str(&read(path)).unwrap();
    let summary: Value = serde_json::from_str(&read("mine.json")).unwrap();
    assert_eq!(
        phase["request_latency"],
        summary["warmup_metrics"]["request_latency"]
    );
    assert!(phase["warmup_metrics"].is_null() && phase["request_accounting"].is_null());
    assert_eq!(phase["input_config"], summary["input_config"]);
    assert_eq!(phase["error_summary"][0]["count"], 1);
    let measured = read("phases/profiling/profile_export_aiperf.csv");
    assert_eq!(measured, std::fs::read_to_string(&written.csv).unwrap());
}

#[test]
fn a_run_of_one_phase_has_no_phases() {
    let dir = tempdir().unwrap();
    let records = records();
    let report = run(facts(dir.path()), &records, end(&records));
    report.write(140).unwrap();
    assert!(!dir.path().join("phases").exists());
    assert!(!dir.path().join("phase_manifest.json").exists());
}

#[test]
fn the_console_fits_every_width_and_numbers_stay_whole() {
    let report = with(&records(), |facts, _| {
        facts.trace_table = true;
        facts.num_gpus = Some(4);
    });
    for width in [60, 80, 120, 200] {
        let console = report.console(width, false);
        for line in console
            .lines()
            .filter(|line| line.starts_with(['│', '┃', '╭', '└']))
        {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
        // What is shown is shown whole: avg and percentiles of a latency, and a scalar.
        for whole in ["│ 105.00 │", "│ 129.50 │", "│  15.38 │"] {
            assert!(console.contains(whole), "{width}: {whole}\n{console}");
        }
        assert!(!console.contains('\u{1b}'));
    }
    assert!(
        report
            .console(60, false)
            .contains("too narrow for min, max")
    );
    assert!(!report.console(120, false).contains("too narrow"));
    let coloured = report.console(120, true);
    assert!(pinfire_guard::painted(&coloured).contains("\u{1b}[1m"));
}

#[test]
fn throughputs_per_gpu_stand_beside_those_per_user() {
    let report = with(&records(), |facts, _| facts.num_gpus = Some(2));
    let total = report.value("output_token_throughput").unwrap();
    let json = json(&report);
    let per_gpu = &json["per_gpu"];
    assert_eq!(per_gpu["num_gpus"], 2);
    let block = &per_gpu["output_token_throughput"];
    assert_eq!(block["unit"], "tokens/sec/gpu");
    assert_eq!(block["avg"].as_f64(), Some(total / 2.0));
    assert!(per_gpu["total_token_throughput"]["avg"].is_f64());
    let console = report.console(140, false);
    let user = console.find("Output Token Throughput Per User").unwrap();
    let gpu = console.find("Output Token Throughput Per GPU").unwrap();
    assert!(user < gpu && gpu < console.find("Input Sequence Length").unwrap());
    assert!(console.contains("Total Token Throughput Per GPU"));
    assert!(!self::json(&self::report()).contains_key("per_gpu"));
}

#[test]
fn a_field_is_called_unknown_only_where_the_server_says_so() {
    const LEGACY: &str = "--use-legacy-max-tokens";
    const LONG: &str = "lower --isl or --osl";
    for (message, hint) in [
        ("Unsupported parameter: max_completion_tokens", Some(LEGACY)),
        (
            "Unrecognized request argument supplied: max_completion_tokens",
            Some(LEGACY),
        ),
        (
            "body.max_completion_tokens: Extra inputs are not permitted",
            Some(LEGACY),
        ),
        (
            "got an unexpected keyword argument 'max_completion_tokens'",
            Some(LEGACY),
        ),
        (
            "Additional properties are not allowed ('max_completion_tokens' was unexpected)",
            Some(LEGACY),
        ),
        (
            "max_completion_tokens=99999 cannot be greater than max_model_len=4096",
            Some(LONG),
        ),
        (
            "This model's maximum context length is 4096 tokens. However, you requested 5000 in max_completion_tokens",
            Some(LONG),
        ),
        ("max_completion_tokens must be at least 1, got 0", None),
        (
            "Invalid 'max_completion_tokens': integer below minimum value",
            None,
        ),
        (
            "stream_options: Extra inputs are not permitted",
            Some("stream_options"),
        ),
        ("stream_options can only be set when stream is true", None),
        ("Unknown field: ignore_eos", Some("--extra-inputs")),
        (
            "min_tokens must be less than or equal to max_tokens=5, got 9",
            None,
        ),
    ] {
        let body = serde_json::json!({"error": {"message": message}}).to_string();
        let record = RecordParts::streamed(0)
            .status(400)
            .mark(5.0, MarkKind::Body, &body)
            .end(6.0);
        let report = with(&[record], |_, _| {});
        let said: Vec<String> = report
            .insights()
            .into_iter()
            .flat_map(|i| i.lines)
            .collect();
        match hint {
            Some(hint) => assert!(
                said.iter().any(|line| line.contains(hint)),
                "{message}: {said:?}"
            ),
            None => assert!(said.is_empty(), "{message}: {said:?}"),
        }
    }
}

#[test]
fn errors_are_grouped_by_kind_and_the_console_shows_ten() {
    let kinds = [
        "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa",
        "lambda", "my",
    ];
    // Of the first kind one request, of the second two, and so on.
    let mut records = Vec::new();
    for (nth, kind) in kinds.iter().enumerate() {
        for _ in 0..=nth {
            let id = records.len() as u64;
            let body = format!("{kind} broke in req_{id:08x}{id:08x} after {id} ms");
            records.push(
                RecordParts::streamed(id % 60)
                    .status(500)
                    .mark(5.0, MarkKind::Body, &body)
                    .end(6.0),
            );
        }
    }
    let report = with(&records, |_, _| {});
    let console = report.console(140, false);
    let table: Vec<&str> = console
        .lines()
        .filter(|line| line.contains(" broke in "))
        .collect();
    assert_eq!(table.len(), 10, "{console}");
    assert!(table[0].contains("my broke in req_<id> after <n> ms") && table[0].contains("12"));
    let more = "… and 2 more kinds of errors (3 requests) in profile_export_aiperf.json";
    assert!(console.contains(more), "{console}");
    let summary = json(&report);
    let errors = summary["error_summary"].as_array().unwrap();
    assert_eq!(errors.len(), 12);
    // One of a kind is told as it was.
    let first = &errors[0];
    let message = "alpha broke in req_0000000000000000 after 0 ms";
    assert_eq!(first["error_details"]["message"], message);
    assert!(first["example"].is_null());
    let last = &errors[11];
    assert_eq!(
        last["error_details"]["message"],
        "my broke in req_<id> after <n> ms"
    );
    assert_eq!(
        (&last["count"], &last["example"]),
        (
            &12.into(),
            &"my broke in req_0000004200000042 after 66 ms".into()
        )
    );
}

#[test]
fn a_warmup_that_fails_is_one_line() {
    let refused = |index: u64, message: &str| {
        RecordParts::streamed(index)
            .status(503)
            .mark(5.0, MarkKind::Body, message)
            .warmup()
            .end(6.0)
    };
    let warmup = [refused(0, "busy"), refused(1, "busy"), refused(2, "gone")];
    let records: Vec<_> = warmup.into_iter().chain(golden::records()).collect();
    let console = with(&records, |_, _| {}).console(140, false);
    let line = "Warmup: 3 of 3 requests failed, 2 with 503 Service Unavailable: busy";
    assert_eq!(console.matches("Warmup").count(), 1, "{console}");
    assert!(console.contains(line), "{console}");
    assert!(
        !with(&golden::records(), |_, _| {})
            .console(140, false)
            .contains("Warmup:")
    );
}

#[test]
fn usual_errors_come_with_a_way_out() {
    let body = r#"{"error":{"message":"Unsupported parameter: max_completion_tokens"}}"#;
    let records = [
        RecordParts::streamed(0)
            .status(400)
            .mark(5.0, MarkKind::Body, body)
            .end(6.0),
        RecordParts::streamed(1).status(401).end(6.0),
    ];
    let console = with(&records, |_, _| {}).console(140, false);
    assert!(console.contains("--use-legacy-max-tokens"), "{console}");
    assert!(console.contains("--api-key"), "{console}");
    let panel = console.find("What the Errors Say").unwrap();
    assert!(panel < console.find("Error Summary").unwrap());
    assert!(with(&golden::records(), |_, _| {}).insights().is_empty());
}
