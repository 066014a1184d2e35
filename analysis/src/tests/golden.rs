//! The example run that METRICS.md works through, worked out by hand. Its cancelled request is an
//! outcome of its own and no error, so there are no figures of errors.

use pinfire_base::record::{Record, Stage};
use tempfile::tempdir;

use super::{close, end, facts, lines, run};
use crate::facts::RateWindow;
use crate::metric::METRICS;
use crate::testing::{RecordParts, T0_UNIX};

pub(super) fn records() -> Vec<Record> {
    use pinfire_base::record::MarkKind::{Data, Done};
    let usage = r#"{"object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":12,"completion_tokens":5,"total_tokens":17}}"#;
    vec![
        RecordParts::streamed(0)
            .sent(0.0, 1.0, 1.5)
            .head(3.0)
            .words(&[101.0, 111.0, 131.0], &["One two", " three four", " five"])
            .mark(131.5, Data, usage)
            .mark(131.5, Done, "")
            .end(131.5),
        RecordParts::streamed(1)
            .sent(0.0, 2.0, 2.5)
            .head(4.0)
            .words(&[52.0, 62.0, 72.0, 82.0], &["a", " b", " c", " d"])
            .end(82.0),
        RecordParts::streamed(2)
            .sent(90.0, 91.0, 91.5)
            .cancelled(50.0, 20, Stage::Waiting),
    ]
}

#[test]
fn the_figures_of_the_specification() {
    let dir = tempdir().unwrap();
    let records = records();
    let report = run(facts(dir.path()), &records, end(&records));
    let scalars = [
        ("benchmark_duration", 0.13),
        ("request_count", 2.0),
        ("completed_request_count", 2.0),
        ("cancelled_request_count", 1.0),
        ("request_error_rate", 0.0),
        ("request_throughput", 15.384615),
        ("good_request_count", 1.0),
        ("goodput", 7.692308),
        // Planned cancellations are no errors: of two, not of three.
        ("good_request_fraction", 0.5),
        ("total_isl", 18.0),
        ("total_osl", 9.0),
        ("output_token_throughput", 69.2308),
        ("input_token_throughput", 138.4615),
        ("total_token_throughput", 207.6923),
    ];
    for (tag, expected) in scalars {
        close(report.value(tag), expected);
        assert!(report.figures(tag).unwrap().max.is_none(), "{tag}");
    }
    for absent in [
        "error_request_count",
        "error_isl",
        "total_error_isl",
        "context_overflow_count",
        "adj_request_latency",
    ] {
        assert!(report.figures(absent).is_none(), "{absent}");
    }
    let latency = report.figures("request_latency").unwrap();
    let expected = [80.5, 82.5, 85.0, 92.5, 105.0, 117.5, 125.0, 127.5, 129.5];
    let values: Vec<f64> = latency.percentiles.iter().map(|p| p.1).collect();
    assert_eq!(values, expected);
    assert_eq!((latency.avg, latency.std), (Some(105.0), Some(25.0)));
    assert_eq!((latency.min, latency.max), (Some(80.0), Some(130.0)));
    assert_eq!((latency.sum, latency.count), (Some(210.0), Some(2)));

    let gaps = report.figures("inter_chunk_latency").unwrap();
    assert_eq!(
        (gaps.avg, gaps.std, gaps.count),
        (Some(12.0), Some(4.0), Some(5))
    );
    for (q, expected) in [(50, 10.0), (90, 16.0), (95, 18.0), (99, 19.6)] {
        close(gaps.percentile(q), expected);
    }
    let effective = report.figures("effective_latency").unwrap();
    close(effective.avg, 88.3333);
    close(effective.percentile(50), 82.0);
    close(effective.percentile(90), 121.6);
    close(effective.std, 32.9655);
    let credit = report.figures("credit_to_start_latency").unwrap();
    close(credit.avg, 1.3333);
    close(credit.std, 0.4714);
    assert!(report.is_success());
}

/// Of each curve: avg, min, max, p50, p90, p95, p99, std.
#[test]
fn what_was_held_over_time() {
    let dir = tempdir().unwrap();
    let records = records();
    let report = run(facts(dir.path()), &records, end(&records));
    let table = [
        (
            "effective_concurrency",
            [1.8577, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 0.3494],
        ),
        (
            "effective_decode_concurrency",
            [0.4306, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.4952],
        ),
        (
            "effective_prefill_concurrency",
            [1.0676, 0.0, 2.0, 1.0, 2.0, 2.0, 2.0, 0.7997],
        ),
        (
            "effective_decode_throughput",
            [49.8221, 0.0, 200.0, 0.0, 100.0, 200.0, 200.0, 62.6375],
        ),
        (
            "effective_prefill_throughput",
            [128.1139, 0.0, 260.0, 100.0, 260.0, 260.0, 260.0, 105.8418],
        ),
        (
            "effective_total_throughput",
            [177.9359, 0.0, 260.0, 200.0, 260.0, 260.0, 260.0, 78.0634],
        ),
        (
            "tokens_in_flight",
            [14.7865, 0.0, 22.0, 18.0, 20.0, 21.0, 21.0, 5.4698],
        ),
        (
            "active_decode_throughput",
            [115.7025, 0.0, 200.0, 100.0, 200.0, 200.0, 200.0, 38.5872],
        ),
        (
            "active_prefill_throughput",
            [180.0, 100.0, 260.0, 100.0, 260.0, 260.0, 260.0, 80.0],
        ),
        // One user decodes at a time; two wait at once for half of the time that anyone waits.
        (
            "active_decode_throughput_per_user",
            [115.7025, 0.0, 200.0, 100.0, 200.0, 200.0, 200.0, 38.5872],
        ),
        (
            "active_prefill_throughput_per_user",
            [115.0, 100.0, 130.0, 100.0, 130.0, 130.0, 130.0, 15.0],
        ),
        (
            "active_total_throughput",
            [177.9359, 0.0, 260.0, 200.0, 260.0, 260.0, 260.0, 78.0634],
        ),
    ];
    for (tag, expected) in table {
        let f = report.figures(tag).unwrap_or_else(|| panic!("{tag}"));
        let percentile = |q| f.percentile(q);
        let found = [
            f.avg,
            f.min,
            f.max,
            percentile(50),
            percentile(90),
            percentile(95),
            percentile(99),
            f.std,
        ];
        for (found, expected) in found.into_iter().zip(expected) {
            let found = found.unwrap();
            assert!(
                (found - expected).abs() <= 5.1e-5 + 1e-9 * expected,
                "{tag}: {found} {expected}"
            );
        }
        assert_eq!(
            (percentile(25), f.count, f.sum),
            (None, None, None),
            "{tag}"
        );
    }
}

/// The figures of errors, had the third request failed instead of being cancelled.
#[test]
fn the_figures_of_failures() {
    let dir = tempdir().unwrap();
    let mut records = records();
    records[2] = RecordParts::streamed(2)
        .sent(90.0, 91.0, 91.5)
        .status(503)
        .end(141.5);
    let report = run(facts(dir.path()), &records, end(&records));
    for (tag, expected) in [
        ("request_count", 2.0),
        ("error_request_count", 1.0),
        ("completed_request_count", 3.0),
        ("request_error_rate", 33.3333),
        ("total_error_isl", 12.0),
        ("good_request_fraction", 0.333333),
        ("goodput", 7.692308),
        ("context_overflow_count", 0.0),
    ] {
        close(report.value(tag), expected);
    }
    let adjusted = report.figures("adj_request_latency").unwrap();
    for q in [1, 5, 10, 25] {
        assert_eq!(adjusted.percentile(q), Some(80.0), "p{q}");
    }
    assert_eq!(adjusted.percentile(50), Some(130.0));
    for q in [75, 90, 95, 99] {
        assert_eq!(adjusted.percentile(q), Some(f64::INFINITY), "p{q}");
    }
    assert_eq!((adjusted.min, adjusted.count), (Some(80.0), Some(3)));
    let csv = String::from_utf8(report.csv()).unwrap();
    let row = "Request Latency (error-adjusted) (ms),,80.00,,,80.00,80.00,80.00,80.00,130.00,,,,,";
    assert!(csv.contains(row), "{csv}");
    let json: serde_json::Value = serde_json::from_slice(&report.json()).unwrap();
    let expected = serde_json::json!({"unit": "ms", "p1": 80.0, "p5": 80.0, "p10": 80.0, "p25": 80.0,
        "p50": 130.0, "min": 80.0, "count": 3});
    assert_eq!(json["adj_request_latency"], expected);
    assert_eq!(
        json["input_config"]["slos"],
        serde_json::json!({"request_latency": 100.0})
    );
    // After all rows of the default table that have a place.
    let console = report.console(140, false);
    let place = |text: &str| {
        console
            .find(text)
            .unwrap_or_else(|| panic!("{text}\n{console}"))
    };
    assert!(place("Request Count") < place("Request Latency (error-adjusted)"));
    assert!(place("Goodput (requests/sec)") < place("Request Count"));
}

#[test]
fn the_phase_window_is_a_switch() {
    let dir = tempdir().unwrap();
    let records = records();
    let mut facts = facts(dir.path());
    facts.rate_window = RateWindow::Phase;
    let report = run(facts.clone(), &records, end(&records));
    close(report.value("request_throughput"), 2.0 / 0.1415);
    close(report.value("benchmark_duration"), 0.13);
    // From 0 to 141.5, idle until 1.
    let concurrency = report.figures("effective_concurrency").unwrap();
    assert_eq!(concurrency.min, Some(0.0));
    close(concurrency.avg, (130.5 + 80.0 + 50.5) / 141.5);

    let mut cut = end(&records);
    cut.profiling = None;
    close(
        run(facts, &records, cut).value("request_throughput"),
        2.0 / 0.13,
    );
}

#[test]
fn one_request_at_a_time() {
    let dir = tempdir().unwrap();
    let records = records();
    run(facts(dir.path()), &records, end(&records));
    let lines = lines(dir.path());
    let value = |n: usize, tag: &str| lines[n]["metrics"][tag]["value"].as_f64();
    let tags = [
        ("time_to_first_token", 100.0, 50.0),
        ("time_to_second_token", 10.0, 10.0),
        ("time_to_first_output_token", 100.0, 50.0),
        ("request_latency", 130.0, 80.0),
        ("decode_duration", 30.0, 30.0),
        ("inter_token_latency", 7.5, 10.0),
        ("output_token_throughput_per_user", 133.3333, 100.0),
        ("e2e_output_token_throughput", 38.4615, 50.0),
        ("prefill_throughput_per_user", 100.0, 160.0),
        ("http_req_connecting", 0.25, 0.25),
        ("http_req_sending", 0.25, 0.25),
        ("http_req_waiting", 99.5, 49.5),
        ("http_req_receiving", 30.5, 30.0),
        ("http_req_duration", 130.25, 79.75),
        ("http_req_total", 130.5, 80.0),
        ("http_req_data_sent", 0.5, 0.5),
    ];
    for (tag, first, second) in tags {
        close(value(0, tag), first);
        close(value(1, tag), second);
    }
    assert_eq!(
        lines[0]["metrics"]["inter_chunk_latency"]["value"],
        serde_json::json!([10.0, 20.0])
    );
    for (line, good) in [(0, 0), (1, 1)] {
        assert_eq!(
            lines[line]["metrics"]["good_request_count"].to_string(),
            format!(r#"{{"value":{good},"unit":"requests"}}"#)
        );
    }
    assert_eq!(lines[2]["metrics"].get("good_request_count"), None);
    let osl = &lines[0]["metrics"]["output_sequence_length"];
    assert_eq!(osl.to_string(), r#"{"value":5,"unit":"tokens"}"#);
    close(value(0, "usage_prompt_tokens_diff_pct"), 20.0);
    assert_eq!(lines[1]["metrics"].get("usage_prompt_tokens"), None);
    for hidden in [
        "request_count",
        "min_request_timestamp",
        "effective_latency",
    ] {
        assert_eq!(lines[0]["metrics"].get(hidden), None, "{hidden}");
    }
}

#[test]
fn the_line_of_a_cancelled_request() {
    let dir = tempdir().unwrap();
    let records = records();
    run(facts(dir.path()), &records, end(&records));
    let text = std::fs::read_to_string(dir.path().join("profile_export.jsonl")).unwrap();
    let line = text.lines().nth(2).unwrap();
    let at = |after_us: u64| T0_UNIX + after_us * 1_000;
    let expected = format!(
        concat!(
            r#"{{"metadata":{{"session_num":2,"x_request_id":"02020202-0202-0202-0202-020202020202","#,
            r#""x_correlation_id":"c2c2c2c2-c2c2-c2c2-c2c2-c2c2c2c2c2c2","conversation_id":"session_000002","#,
            r#""turn_index":2,"credit_issued_ns":{},"request_start_ns":{},"request_end_ns":{},"#,
            r#""worker_id":"worker_00000000","record_processor_id":"record_processor_00000000","#,
            r#""benchmark_phase":"profiling","phase_index":0,"profiling_index":0,"phase_name":"profiling","#,
            r#""phase_kind":"profiling","was_cancelled":true,"cancellation_time_ns":{},"#,
            r#""context_overflow_skip":false,"agent_depth":0,"#,
            r#""root_correlation_id":"c2c2c2c2-c2c2-c2c2-c2c2-c2c2c2c2c2c2","#,
            r#""cancellation":{{"trigger":"sent","mode":"fin","asked_delay_ms":50.0,"written_ns":{},"#,
            r#""triggered_ns":{},"due_ns":{},"asked_ns":{},"closed_ns":{},"#,
            r#""achieved_delay_ms":50.02,"delay_error_us":20.0,"how":"fin","phase":"waiting","#,
            r#""events_received":0}}}},"#,
            r#""metrics":{{"error_isl":{{"value":12,"unit":"tokens"}}}},"#,
            r#""error":{{"code":499,"type":"RequestCancellationError","#,
            r#""message":"Request cancelled 0.050s after being sent"}}}}"#,
        ),
        at(90_000),
        at(91_000),
        at(141_500),
        at(141_500),
        at(91_500),
        at(91_500),
        at(141_500),
        at(141_500),
        at(141_520),
    );
    assert_eq!(line, expected);
}

#[test]
fn the_metadata_of_an_answer() {
    let dir = tempdir().unwrap();
    let records = records();
    run(facts(dir.path()), &records, end(&records));
    let metadata = &lines(dir.path())[0]["metadata"];
    let keys: Vec<&str> = metadata
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let expected = "session_num x_request_id x_correlation_id conversation_id turn_index credit_issued_ns \
        request_start_ns request_ack_ns request_end_ns worker_id record_processor_id benchmark_phase phase_index \
        profiling_index phase_name phase_kind was_cancelled context_overflow_skip agent_depth root_correlation_id";
    assert_eq!(keys, expected.split_whitespace().collect::<Vec<_>>());
    assert_eq!(metadata["request_ack_ns"], T0_UNIX + 3_000_000);
    assert_eq!(metadata["request_end_ns"], T0_UNIX + 131_500_000);
}

/// The last number of a text; signs and units around it do not matter.
fn last_number(text: &str) -> Option<f64> {
    let digits = |c: char| c.is_ascii_digit() || c == '.';
    let words = text.split(|c: char| !digits(c));
    words
        .filter_map(|word| word.trim_end_matches('.').parse().ok())
        .next_back()
}

/// The worked examples of `docs/METRICS.md` are what comes out of the example run.
#[test]
fn the_worked_examples_are_right() {
    let dir = tempdir().unwrap();
    let records = records();
    let report = run(facts(dir.path()), &records, end(&records));
    let lines = lines(dir.path());
    let mut checked = 0;
    for metric in METRICS {
        let example = metric.example;
        let request = example
            .split(';')
            .next()
            .and_then(|text| text.strip_prefix("request 0: "));
        let (found, expected) = match request {
            Some(text) if metric.is_per_record() && report.figures(metric.tag).is_some() => (
                lines[0]["metrics"][metric.tag]["value"].as_f64(),
                last_number(text),
            ),
            // Hypothetical, or a time of the clock.
            _ if [
                "had ",
                "asked",
                "would",
                "%",
                "T0",
                "none",
                "absent",
                "request 0",
            ]
            .iter()
            .any(|word| example.contains(word)) =>
            {
                continue;
            }
            _ => (report.value(metric.tag), last_number(example)),
        };
        let (Some(found), Some(expected)) = (found, expected) else {
            continue;
        };
        assert!(
            (found - expected).abs() < 5.1e-5 * expected.max(1.0),
            "{}: {found} and not {expected}: {example}",
            metric.tag
        );
        checked += 1;
    }
    assert!(checked > 45, "{checked}");
}
