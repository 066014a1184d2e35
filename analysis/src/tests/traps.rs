//! What is easily got wrong about figures, each as a test. Elsewhere:
//!
//! | what | tested in |
//! | --- | --- |
//! | split events are stamped by the read that completes them | `engine/proto/src`, `tests/laws/cuts.rs` |
//! | the cancellation delay counts from the last byte sent | `tests/wire/cancel.rs`, `golden.rs` here (`achieved_delay_ms`) |
//! | no special tokens, no template unless asked for | `engine/workload/src/text/tokenizer.rs`, `engine/workload/src/dataset/count.rs` |
//! | an empty `reasoning_content` hides nothing; mixed deltas | `reading/tests.rs`, `engine/dialect/src/chat.rs` |
//! | the last usage object, whole | `reading/tests.rs` (`the_last_usage_wins_whole…`), below |
//! | deviation with ddof 0 | `stats.rs` (`the_check_values`) |
//! | three kinds of percentiles | `golden.rs`, below |
//! | names that parsers trip over | `metric/tests.rs`, below |
//! | groups of errors | `collect/errors.rs` |
//! | the grid of slices | `slices.rs` |
//! | warmup | `outcomes.rs`, below |
//! | no valid request | `outcomes.rs`, `tests/runs/ends.rs` |
//! | wrong goodput tags | `goodput.rs`, `tests/runs/refusals.rs` |
//! | line ends, the GPU section | `exports.rs` (`the_gpu_section…`), `scrape/files/tests.rs` |
//! | no JSON, but the CSV | nothing switches the summary off: `cli/src/run_file` (`artifacts.summary`) |
//! | files, console, process | `files.rs`, `exports.rs`, `export`, `tests/runs` |

use std::sync::Arc;

use pinfire_base::clock::Span;
use pinfire_base::record::MarkKind::{Body, Content, Data, Done, Empty, Reasoning};
use pinfire_base::record::{Outcome, PlannedCancellation, Record, Stage};
use pinfire_dialect::{Answers, EndpointKind};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use super::{close, end, facts, golden, lines, run};
use crate::collector::Collector;
use crate::facts::{EntryFacts, PhaseFacts, RunFacts};
use crate::goodput::{self, Slos};
use crate::metric::conditions;
use crate::report::Report;
use crate::testing::{RecordParts, Words};

/// A run of these records: the report and its lines.
fn of(records: &[Record]) -> (Report, Vec<Value>) {
    with(records, |_| {})
}

fn with(records: &[Record], change: impl FnOnce(&mut RunFacts)) -> (Report, Vec<Value>) {
    let dir: TempDir = tempdir().unwrap();
    let mut facts = facts(dir.path());
    facts.cancellation = None;
    change(&mut facts);
    let report = run(facts, records, end(records));
    (report, lines(dir.path()))
}

fn value(line: &Value, tag: &str) -> Option<f64> {
    line["metrics"][tag]["value"].as_f64()
}

fn answer(index: u64, at: &[f64], words: &[&str]) -> RecordParts {
    RecordParts::streamed(index)
        .sent(0.0, 1.0, 1.5)
        .words(at, words)
}

fn chunk(delta: &str) -> String {
    format!(r#"{{"object":"chat.completion.chunk","choices":[{{"index":0,"delta":{delta}}}]}}"#)
}

fn usage(prompt: u64, completion: u64, reasoning: u64) -> String {
    format!(
        r#"{{"object":"chat.completion.chunk","choices":[],"usage":{{"prompt_tokens":{prompt},"completion_tokens":{completion},"completion_tokens_details":{{"reasoning_tokens":{reasoning}}}}}}}"#
    )
}

#[test]
fn latency_ends_at_the_last_content_and_the_record_later() {
    let record = answer(0, &[10.0, 20.0], &["a", " b"])
        .mark(30.0, Data, &usage(10, 2, 0))
        .mark(40.0, Done, "")
        .end(41.0);
    let (report, lines) = of(&[record]);
    assert_eq!(value(&lines[0], "request_latency"), Some(19.0));
    close(report.value("benchmark_duration"), 0.019);
    close(report.figures("effective_latency").unwrap().max, 41.0);
    close(
        report.figures("effective_decode_concurrency").unwrap().avg,
        31.0 / 40.0,
    );
}

#[test]
fn reasoning_and_tools_are_first_tokens_and_roles_are_not() {
    let call = chunk(r#"{"tool_calls":[{"index":0,"function":{"name":"look","arguments":"{}"}}]}"#);
    let role = chunk(r#"{"role":"assistant","content":""}"#);
    let thinking = answer(0, &[], &[])
        .mark(5.0, Data, &role)
        .mark(6.0, Empty, "")
        .mark(11.0, Reasoning, "hm")
        .mark(21.0, Content, "yes")
        .end(21.0);
    let calling = answer(1, &[], &[]).mark(9.0, Data, &call).end(9.0);
    let (_, lines) = of(&[thinking, calling]);
    assert_eq!(value(&lines[0], "time_to_first_token"), Some(10.0));
    assert_eq!(value(&lines[0], "time_to_first_output_token"), Some(20.0));
    assert_eq!(value(&lines[1], "time_to_first_token"), Some(8.0));
    assert_eq!(value(&lines[1], "time_to_first_output_token"), Some(8.0));
}

#[test]
fn events_of_one_read_have_one_time() {
    let record = answer(0, &[10.0, 10.0, 10.0], &["a", " b", " c"]).end(10.0);
    let (report, lines) = of(&[record]);
    let gaps = &lines[0]["metrics"]["inter_chunk_latency"]["value"];
    assert_eq!(gaps.to_string(), "[0.0,0.0]");
    assert_eq!(value(&lines[0], "inter_token_latency"), Some(0.0));
    assert_eq!(value(&lines[0], "time_to_second_token"), Some(0.0));
    assert!(report.figures("output_token_throughput_per_user").is_none());
    // A gap that takes no time carries no tokens.
    assert_eq!(
        report.figures("effective_decode_throughput").unwrap().max,
        Some(0.0)
    );
}

#[test]
fn itl_is_per_token_and_chunks_have_their_own_metric() {
    let record = answer(0, &[11.0, 31.0], &["a b c", " d e"]).end(31.0);
    let (report, _) = of(&[record]);
    assert_eq!(report.value("inter_token_latency"), Some(5.0));
    assert_eq!(report.value("inter_chunk_latency"), Some(20.0));
}

#[test]
fn one_token_has_no_itl_and_breaks_a_promise_about_it() {
    let one = answer(0, &[11.0], &["a"]).end(11.0);
    let two = answer(1, &[11.0, 12.0], &["a", " b"]).end(12.0);
    let (report, lines) = with(&[one, two], |facts| {
        let promises = goodput::parse("inter_token_latency:1000").unwrap();
        let holding = conditions(facts.endpoint(), true, true, false, true);
        facts.slos = Slos::new(&promises, holding).unwrap();
    });
    for absent in [
        "inter_token_latency",
        "output_token_throughput_per_user",
        "inter_chunk_latency",
    ] {
        assert_eq!(lines[0]["metrics"].get(absent), None, "{absent}");
    }
    assert_eq!(value(&lines[0], "good_request_count"), Some(0.0));
    assert_eq!(value(&lines[1], "good_request_count"), Some(1.0));
    assert_eq!(
        report.figures("inter_token_latency").unwrap().count,
        Some(1)
    );
    assert_eq!(report.value("good_request_fraction"), Some(0.5));
}

#[test]
fn throughput_per_user_is_the_mean_of_requests() {
    let (report, _) = of(&golden::records());
    close(report.value("output_token_throughput_per_user"), 116.6667);
    close(report.value("inter_token_latency"), 8.75);
}

#[test]
fn rates_have_one_duration_and_count_answers_alone() {
    let mut records = golden::records();
    records.push(
        RecordParts::streamed(0)
            .sent(0.0, 0.0, 0.5)
            .status(500)
            .end(900.0),
    );
    let (report, _) = of(&records);
    for (rate, amount) in [
        ("request_throughput", 2.0),
        ("output_token_throughput", 9.0),
        ("input_token_throughput", 18.0),
        ("total_token_throughput", 27.0),
        ("goodput", 1.0),
    ] {
        close(report.value(rate), amount / 0.13);
    }
}

#[test]
fn connecting_is_part_of_the_first_token() {
    // Started at 1, connected at 21, sent at 41.
    let record = RecordParts::streamed(0)
        .sent(0.0, 1.0, 41.0)
        .words(&[51.0], &["a"])
        .end(51.0);
    let (_, lines) = of(&[record]);
    assert_eq!(value(&lines[0], "time_to_first_token"), Some(50.0));
    assert_eq!(value(&lines[0], "http_req_connecting"), Some(20.0));
    assert_eq!(value(&lines[0], "http_req_duration"), Some(30.0));
    assert_eq!(value(&lines[0], "http_req_total"), Some(50.0));
}

#[test]
fn the_whole_text_is_counted_once() {
    let record = answer(0, &[10.0, 20.0, 30.0], &["One tw", "o thr", "ee"]).end(30.0);
    let (_, lines) = of(&[record]);
    assert_eq!(value(&lines[0], "output_sequence_length"), Some(3.0));
}

#[test]
fn input_is_what_was_sent() {
    // The counter of these tests counts the bytes of a body; the entry promises 10.
    let promised = answer(0, &[10.0], &["a"]).end(10.0);
    let longer = answer(0, &[10.0], &["a"]).body(&[b'x'; 77]).end(10.0);
    let (report, lines) = of(&[promised, longer]);
    assert_eq!(value(&lines[0], "input_sequence_length"), Some(10.0));
    assert_eq!(value(&lines[1], "input_sequence_length"), Some(77.0));
    assert_eq!(report.value("total_isl"), Some(87.0));
    let failed = RecordParts::streamed(0)
        .body(&[b'x'; 77])
        .status(500)
        .end(5.0);
    let (report, _) = of(&[failed]);
    assert_eq!(report.value("total_error_isl"), Some(77.0));
}

#[test]
fn reasoning_is_in_the_length_and_not_in_the_output() {
    let silent = answer(0, &[], &[]).mark(10.0, Reasoning, "a b c").end(10.0);
    let (report, lines) = of(&[silent]);
    assert_eq!(value(&lines[0], "output_sequence_length"), Some(3.0));
    assert_eq!(value(&lines[0], "reasoning_token_count"), Some(3.0));
    assert_eq!(lines[0]["metrics"].get("output_token_count"), None);
    assert!(report.figures("total_output_tokens").is_none());
    assert_eq!(report.value("total_osl"), Some(3.0));
}

#[test]
fn mixed_deltas_feed_both_counts_and_calls_are_output() {
    let mixed = chunk(r#"{"reasoning_content":"so so ","content":"yes "}"#);
    let call = chunk(
        r#"{"content":"and ","tool_calls":[{"index":0,"function":{"name":"look ","arguments":"{ }"}}]}"#,
    );
    let record = answer(0, &[], &[])
        .mark(10.0, Data, &mixed)
        .mark(20.0, Data, &call)
        .end(20.0);
    let (_, lines) = of(&[record]);
    // "so so" beside "yes and look { }" (the content beside the call counts).
    assert_eq!(value(&lines[0], "reasoning_token_count"), Some(2.0));
    assert_eq!(value(&lines[0], "output_token_count"), Some(5.0));
    assert_eq!(value(&lines[0], "output_sequence_length"), Some(7.0));
}

/// With the server's counts: no tokenizer at all.
fn server_counts(records: &[Record], per_chunk: bool) -> (Report, Vec<Value>) {
    let dir = tempdir().unwrap();
    let mut facts = facts(dir.path());
    facts.slos = Slos::default();
    facts.per_chunk_usage = per_chunk;
    let jsonl = dir.path().join("profile_export.jsonl");
    let entries: Arc<[EntryFacts]> = [EntryFacts {
        isl: Some(10),
        ..EntryFacts::default()
    }]
    .into();
    let mut collector = Collector::new(facts, entries, None, Some(jsonl)).unwrap();
    records
        .iter()
        .for_each(|record| collector.add(record).unwrap());
    let report = collector.finish(end(records)).unwrap();
    (report, lines(dir.path()))
}

#[test]
fn usage_is_the_last_object_whole_and_nothing_is_derived() {
    let record = answer(0, &[10.0], &["a b c"])
        .mark(11.0, Data, &usage(11, 8, 3))
        .mark(
            12.0,
            Data,
            r#"{"object":"chat.completion.chunk","choices":[],"usage":{"completion_tokens":9}}"#,
        )
        .end(12.0);
    let (report, lines) = server_counts(&[record], false);
    assert_eq!(value(&lines[0], "output_sequence_length"), Some(9.0));
    // The last object has no prompt, no reasoning and no total: neither have the metrics.
    for absent in [
        "input_sequence_length",
        "reasoning_token_count",
        "usage_total_tokens",
        "usage_prompt_tokens",
    ] {
        assert_eq!(lines[0]["metrics"].get(absent), None, "{absent}");
    }
    assert!(report.figures("total_usage_total_tokens").is_none());
    assert!(report.figures("usage_prompt_tokens_diff_pct").is_none());
}

#[test]
fn the_servers_output_is_completion_without_reasoning() {
    let thinking = answer(0, &[10.0], &["x"])
        .mark(11.0, Data, &usage(11, 8, 3))
        .end(11.0);
    let odd = answer(0, &[10.0], &["x"])
        .mark(11.0, Data, &usage(11, 2, 5))
        .end(11.0);
    let silent = answer(0, &[10.0], &["x"]).end(11.0);
    let failed = RecordParts::streamed(0).status(500).end(5.0);
    let (report, lines) = server_counts(&[thinking, odd, silent, failed], false);
    assert_eq!(value(&lines[0], "output_token_count"), Some(5.0));
    assert_eq!(value(&lines[0], "output_sequence_length"), Some(8.0));
    assert_eq!(value(&lines[0], "input_sequence_length"), Some(11.0));
    // More reasoning than completion: no output, never less than none.
    assert_eq!(lines[1]["metrics"].get("output_token_count"), None);
    assert_eq!(value(&lines[1], "reasoning_token_count"), Some(5.0));
    // Nothing reported: an answer all the same, without counts of tokens.
    assert_eq!(lines[2]["metrics"].get("output_sequence_length"), None);
    assert_eq!(value(&lines[2], "request_latency"), Some(9.0));
    assert_eq!(report.value("request_count"), Some(3.0));
    assert!(report.figures("error_isl").is_none());
    assert!(report.figures("usage_discrepancy_count").is_none());
    // Both are said, with the requests that they are.
    let odd = &report.anomalies;
    assert_eq!((odd.usage_absent.count, odd.usage_clamped.count), (1, 1));
    let console = report.console(400, false);
    for expected in [
        "Missing Token Counts Warning",
        "Reasoning Token Count Warning",
        "1 of 3 requests (33.3%) (session_num 0)",
    ] {
        assert!(console.contains(expected), "{expected}: {console}");
    }
    let (fine, _) = server_counts(
        &[answer(0, &[10.0], &["x"])
            .mark(11.0, Data, &usage(11, 8, 3))
            .end(11.0)],
        false,
    );
    assert_eq!(
        (
            fine.anomalies.usage_absent.count,
            fine.anomalies.usage_clamped.count
        ),
        (0, 0)
    );
    // The client counts: usage is not what the lengths come from.
    let (counted, _) = of(&[answer(0, &[10.0], &["x"]).end(11.0)]);
    assert_eq!(counted.anomalies.usage_absent.count, 0);
}

/// `--per-chunk-usage`: tokens that came packed into the first chunk are out of the divisor.
#[test]
fn tokens_of_the_first_chunk_flatter_nobody() {
    let with_usage = |text: &str, count: u64| {
        format!(
            r#"{{"object":"chat.completion.chunk","choices":[{{"index":0,"delta":{{"content":"{text}"}}}}],"usage":{{"completion_tokens":{count}}}}}"#
        )
    };
    let packed = |first: u64| {
        answer(0, &[], &[])
            .mark(11.0, Data, &with_usage("a b c d", first))
            .mark(31.0, Data, &with_usage(" e f", 6))
            .end(31.0)
    };
    let itl = |first, per_chunk| {
        let (_, lines) = server_counts(&[packed(first)], per_chunk);
        value(&lines[0], "inter_token_latency")
    };
    assert_eq!(itl(4, true), Some(10.0));
    // Without the flag, and where the first count makes no sense: all tokens after the first.
    for (first, per_chunk) in [(4, false), (0, true), (6, true), (9, true)] {
        assert_eq!(itl(first, per_chunk), Some(4.0), "{first} {per_chunk}");
    }
}

/// Words against asked words, and against what the server reports.
fn asked(
    records: &[Record],
    asked: u32,
    change: impl FnOnce(&mut RunFacts),
) -> (Report, Vec<Value>) {
    let dir = tempdir().unwrap();
    let mut facts = facts(dir.path());
    change(&mut facts);
    let jsonl = dir.path().join("profile_export.jsonl");
    let entry = EntryFacts {
        isl: Some(10),
        requested_osl: Some(asked),
        ..EntryFacts::default()
    };
    let counter = Some(Arc::new(Words) as _);
    let mut collector = Collector::new(facts, [entry].into(), counter, Some(jsonl)).unwrap();
    records
        .iter()
        .for_each(|record| collector.add(record).unwrap());
    let report = collector.finish(end(records)).unwrap();
    (report, lines(dir.path()))
}

fn words(count: usize) -> Record {
    answer(0, &[10.0], &["w ".repeat(count).as_str()]).end(11.0)
}

#[test]
fn usage_differences_are_absolute_and_lengths_are_signed() {
    let less = answer(0, &[10.0], &["a b c d e"])
        .mark(11.0, Data, &usage(8, 4, 0))
        .end(11.0);
    let (report, lines) = asked(&[less], 8, |_| {});
    close(value(&lines[0], "usage_prompt_tokens_diff_pct"), 20.0);
    close(value(&lines[0], "usage_completion_tokens_diff_pct"), 20.0);
    close(value(&lines[0], "osl_mismatch_diff_pct"), -37.5);
    assert_eq!(report.value("usage_discrepancy_count"), Some(1.0));
    // The limit is the smaller of 5 % and 50 tokens, and must be exceeded.
    for (length, wanted, counts) in [
        (95, 100, 0.0),
        (94, 100, 1.0),
        (1950, 2000, 0.0),
        (1949, 2000, 1.0),
    ] {
        let (report, _) = asked(&[words(length)], wanted, |_| {});
        assert_eq!(
            report.value("osl_mismatch_count"),
            Some(counts),
            "{length} of {wanted}"
        );
    }
    // Nothing asked, no mismatch; 0 asked, no percentage.
    let (report, _) = of(&[words(5)]);
    assert!(report.figures("osl_mismatch_count").is_none());
    let (report, _) = asked(&[words(5)], 0, |_| {});
    assert!(report.figures("osl_mismatch_diff_pct").is_none());
}

#[test]
fn what_has_no_meaning_is_absent_and_not_zero() {
    let body =
        r#"{"object":"chat.completion","choices":[{"index":0,"message":{"content":"a b"}}]}"#;
    let whole = answer(0, &[], &[]).mark(31.0, Body, body).end(31.0);
    let (report, lines) = with(&[whole], |facts| facts.streaming = false);
    for absent in [
        "time_to_first_token",
        "inter_token_latency",
        "inter_chunk_latency",
        "prefill_throughput_per_user",
        "effective_decode_throughput",
        "effective_prefill_concurrency",
        "effective_total_throughput",
        "tokens_in_flight",
        "active_total_throughput",
    ] {
        assert!(report.figures(absent).is_none(), "{absent}");
    }
    close(report.value("e2e_output_token_throughput"), 2.0 / 0.030);
    close(report.value("effective_concurrency"), 1.0);
    assert!(lines[0]["metrics"].get("time_to_first_token").is_none());

    let body = r#"{"data":[{"object":"embedding","embedding":[0.5]}]}"#;
    let numbers = answer(0, &[], &[]).mark(31.0, Body, body).end(31.0);
    let (report, _) = with(&[numbers], |facts| {
        facts.answers = Answers::of(EndpointKind::Embeddings);
        facts.streaming = false;
    });
    for absent in [
        "output_sequence_length",
        "total_osl",
        "output_token_throughput",
        "total_token_throughput",
    ] {
        assert!(report.figures(absent).is_none(), "{absent}");
    }
    close(report.value("input_token_throughput"), 10.0 / 0.030);
}

/// A streaming request that was answered whole: one response, TTFT = latency, ITL 0.
#[test]
fn an_answer_without_a_stream_is_one_response() {
    let body =
        r#"{"object":"chat.completion","choices":[{"index":0,"message":{"content":"a b"}}]}"#;
    let (report, _) = of(&[answer(0, &[], &[]).mark(31.0, Body, body).end(31.0)]);
    assert_eq!(report.value("time_to_first_token"), Some(30.0));
    assert_eq!(report.value("request_latency"), Some(30.0));
    assert_eq!(report.value("inter_token_latency"), Some(0.0));
    assert!(report.figures("inter_chunk_latency").is_none());
    // A run without any gap spreads its tokens evenly; here there is no time to spread them over.
    assert_eq!(
        report.figures("effective_decode_throughput").unwrap().max,
        Some(0.0)
    );
    assert_eq!(report.figures("tokens_in_flight").unwrap().max, Some(10.0));
}

#[test]
fn an_empty_answer_is_an_error_and_a_planned_cancellation_is_not() {
    let empty = answer(1, &[], &[]).mark(5.0, Done, "").end(5.0);
    let mut records = golden::records();
    records.push(empty);
    let (report, _) = with(&records, |facts| {
        facts.cancellation = Some(PlannedCancellation::after(25.0, Span::from_millis(50)));
    });
    close(report.value("request_error_rate"), 100.0 / 3.0);
    close(report.value("good_request_fraction"), 1.0 / 3.0);
    assert_eq!(
        report.figures("adj_request_latency").unwrap().count,
        Some(3)
    );
    assert_eq!(report.value("cancelled_request_count"), Some(1.0));
    assert_eq!(report.errors[0].problem.kind, "InvalidInferenceResultError");
}

#[test]
fn lines_have_no_nulls_and_whole_numbers_stay_whole() {
    let dir = tempdir().unwrap();
    let mut facts = facts(dir.path());
    facts.warmup = Some(PhaseFacts::default());
    let mut records = golden::records();
    records.insert(0, answer(0, &[9.0], &["a"]).warmup().end(9.0));
    records.push(RecordParts::streamed(1).status(500).end(5.0));
    run(facts, &records, end(&records));
    let text = std::fs::read_to_string(dir.path().join("profile_export.jsonl")).unwrap();
    assert!(!text.contains("null"));
    assert!(text.contains(r#""output_sequence_length":{"value":5,"unit":"tokens"}"#));
    let lines = lines(dir.path());
    assert_eq!(lines.len(), 5);
    let kept = lines.iter().filter(|line| {
        line["metadata"]["benchmark_phase"] == "profiling" && line.get("error").is_none()
    });
    assert_eq!(kept.count(), 2);
}

#[test]
fn requests_are_numbered_from_zero_in_each_phase() {
    let warmup = answer(0, &[9.0], &["a"]).warmup().end(9.0);
    let (_, lines) = of(&[
        warmup,
        answer(0, &[9.0], &["a"]).end(9.0),
        answer(1, &[9.0], &["a"]).end(9.0),
    ]);
    let numbers: Vec<_> = lines
        .iter()
        .map(|line| line["metadata"]["session_num"].as_u64())
        .collect();
    assert_eq!(numbers, [Some(0), Some(0), Some(1)]);
}

#[test]
fn scalars_are_their_average_alone() {
    let (report, _) = of(&golden::records());
    let json: Value = serde_json::from_slice(&report.json()).unwrap();
    assert_eq!(
        json["total_osl"].to_string(),
        r#"{"unit":"tokens","avg":9.0}"#
    );
    assert_eq!(
        json["good_request_count"].to_string(),
        r#"{"unit":"requests","avg":1.0}"#
    );
    assert_eq!(json["request_latency"]["count"], 2);
    assert_eq!(json["request_latency"]["sum"], 210.0);
    let csv = String::from_utf8(report.csv()).unwrap();
    assert!(csv.starts_with("Metric,avg,min,max,sum,p1,"));
    assert!(!csv.lines().next().unwrap().contains("count"));
}

#[test]
fn percentiles_over_time_do_not_interpolate() {
    let record = |index: u64, from: f64, to: f64| {
        RecordParts::streamed(index)
            .sent(from, from, from)
            .words(&[to], &["a"])
            .end(to)
    };
    // One for 99 ms, two for 1 ms.
    let (report, _) = of(&[record(0, 0.0, 100.0), record(1, 99.0, 100.0)]);
    let held = report.figures("effective_concurrency").unwrap();
    assert_eq!((held.percentile(99), held.max), (Some(1.0), Some(2.0)));
    let ttft = report.figures("time_to_first_token").unwrap();
    close(ttft.percentile(50), 50.5);
}

#[test]
fn a_clean_run_has_an_error_rate_and_no_error_count() {
    let (report, _) = of(&[answer(0, &[9.0], &["a"]).end(9.0)]);
    assert_eq!(report.value("request_error_rate"), Some(0.0));
    for absent in [
        "error_request_count",
        "context_overflow_count",
        "adj_request_latency",
    ] {
        assert!(report.figures(absent).is_none(), "{absent}");
    }
    let console = report.console(140, false);
    let row = console
        .lines()
        .find(|line| line.contains("Request Error Rate (%)"))
        .unwrap();
    assert!(row.contains(" 0.00 │"), "{row}");
    assert!(!console.contains("Error Request Count"));
}

#[test]
fn one_counter_is_in_the_lines() {
    let (report, lines) = of(&golden::records());
    let counters = |line: &Value| -> Vec<String> {
        let keys = line["metrics"].as_object().unwrap().keys();
        keys.filter(|key| key.ends_with("_count") && !key.contains("token"))
            .cloned()
            .collect()
    };
    assert_eq!(counters(&lines[0]), ["good_request_count"]);
    assert_eq!(report.value("good_request_count"), Some(1.0));
    // Without promises there is none of the three.
    let (report, lines) = with(&golden::records(), |facts| facts.slos = Slos::default());
    assert!(counters(&lines[0]).is_empty());
    for absent in ["goodput", "good_request_count", "good_request_fraction"] {
        assert!(report.figures(absent).is_none(), "{absent}");
    }
    // With promises that nobody keeps the rate is 0, not absent.
    let (report, _) = with(&golden::records(), |facts| {
        let promises = goodput::parse("request_latency:1").unwrap();
        let holding = conditions(facts.endpoint(), true, true, false, true);
        facts.slos = Slos::new(&promises, holding).unwrap();
    });
    assert_eq!(
        (
            report.value("goodput"),
            report.value("good_request_fraction")
        ),
        (Some(0.0), Some(0.0))
    );
}

#[test]
fn schedule_and_concurrency_see_every_request() {
    let records = [
        answer(0, &[9.0], &["a"]).end(10.0),
        RecordParts::streamed(1)
            .sent(0.0, 1.0, 1.5)
            .status(500)
            .end(10.0),
        RecordParts::streamed(2)
            .sent(0.0, 1.0, 1.5)
            .cancelled(8.5, 0, Stage::Waiting),
        RecordParts::streamed(0)
            .sent(0.0, 1.0, 1.5)
            .outcome(Outcome::Dropped)
            .end(10.0),
    ];
    let (report, _) = of(&records);
    // What the end of the run cut off is in nothing.
    assert_eq!(report.figures("effective_latency").unwrap().count, Some(3));
    assert_eq!(
        report.figures("credit_to_start_latency").unwrap().count,
        Some(3)
    );
    assert_eq!(
        report.figures("effective_concurrency").unwrap().avg,
        Some(3.0)
    );
    assert_eq!(report.figures("request_latency").unwrap().count, Some(1));
}

#[test]
fn units_are_spelled_as_always() {
    let (report, lines) = of(&golden::records());
    assert_eq!(
        lines[0]["metrics"]["http_req_data_sent"].to_string(),
        r#"{"value":0.5,"unit":"KB"}"#
    );
    let csv = String::from_utf8(report.csv()).unwrap();
    for name in [
        "Usage Prompt Diff % (%),",
        "Output Token Throughput Per User (tokens/sec/user),",
        "Effective Latency (CO-aware) (ms),",
        "GoodRequestFraction (ratio),",
        "HTTP Chunks Sent,",
        "Good Request Count,",
    ] {
        assert!(csv.contains(&format!("\n{name}")), "{name}\n{csv}");
    }
}

#[test]
fn warmup_is_in_no_figure_of_the_run() {
    let warmup = answer(0, &[900.0], &["a"]).warmup().end(950.0);
    let mut records = golden::records();
    records.push(warmup);
    let (report, _) = with(&records, |facts| {
        facts.warmup = Some(PhaseFacts::default());
        facts.slice = Some(Span::from_millis(100));
    });
    assert_eq!(report.value("request_count"), Some(2.0));
    close(report.figures("effective_concurrency").unwrap().avg, 1.8577);
    assert_eq!(report.slices.len(), 1);
    let csv = String::from_utf8(report.csv()).unwrap();
    assert!(!csv.contains("899.00"), "{csv}");
}

#[test]
fn thresholds_change_what_counts() {
    let record = || {
        answer(0, &[10.0], &["w ".repeat(96).as_str()])
            .mark(11.0, Data, &usage(12, 96, 0))
            .end(11.0)
    };
    let counts = |report: &Report| {
        (
            report.value("usage_discrepancy_count"),
            report.value("osl_mismatch_count"),
        )
    };
    let (report, _) = asked(&[record()], 100, |_| {});
    assert_eq!(counts(&report), (Some(1.0), Some(0.0)));
    let (report, _) = asked(&[record()], 100, |facts| {
        facts.thresholds.usage_diff_pct = 20.0;
        facts.thresholds.osl_mismatch_pct = 3.0;
    });
    assert_eq!(counts(&report), (Some(0.0), Some(1.0)));
    let (report, _) = asked(&[record()], 100, |facts| {
        facts.thresholds.osl_mismatch_tokens = 3.0
    });
    assert_eq!(counts(&report).1, Some(1.0));
}

/// Finished requests that were open when a disconnect went out, and the others.
#[test]
fn neighbours_of_a_cancel_are_told_from_the_others() {
    let (report, _) = with(&golden::records(), |facts| {
        facts.cancellation = Some(PlannedCancellation::after(40.0, Span::from_millis(50)));
    });
    // The disconnect went out at 141.52, after both answers.
    let neighbours = &report.cancellation.as_ref().unwrap().collateral;
    assert_eq!(
        (neighbours.overlapping.requests, neighbours.apart.requests),
        (0, 2)
    );
    assert!(neighbours.overlapping.ttft_ms.is_none());
    close(neighbours.apart.itl_ms.as_ref().unwrap().avg, 8.75);

    let records = [
        answer(0, &[40.0, 60.0], &["a", " b"]).end(60.0),
        RecordParts::streamed(1)
            .sent(0.0, 1.0, 2.0)
            .cancelled(50.0, 10, Stage::Waiting),
        RecordParts::streamed(2)
            .sent(60.0, 60.0, 61.0)
            .words(&[75.0], &["a"])
            .end(75.0),
        answer(0, &[11.0, 12.0], &["a", " b"]).end(12.0),
    ];
    let (report, _) = with(&records, |facts| {
        facts.cancellation = Some(PlannedCancellation::after(25.0, Span::from_millis(50)));
    });
    let json: Value = serde_json::from_slice(&report.json()).unwrap();
    let neighbours = &json["cancellation"]["neighbours"];
    assert_eq!(neighbours["overlapping"]["requests"], 1);
    assert_eq!(
        neighbours["overlapping"]["time_to_first_token"]["avg"],
        39.0
    );
    assert_eq!(
        neighbours["overlapping"]["inter_token_latency"]["avg"],
        20.0
    );
    assert_eq!(neighbours["apart"]["requests"], 2);
    assert_eq!(neighbours["apart"]["time_to_first_token"]["avg"], 12.5);
    assert_eq!(neighbours["apart"]["inter_token_latency"]["count"], 1);
}

#[test]
fn several_choices_have_gaps_of_their_own() {
    let chunk = |index: u32| {
        format!(r#"{{"choices":[{{"index":{index},"delta":{{"content":" word"}}}}]}}"#)
    };
    let both = r#"{"choices":[{"index":0,"delta":{"content":" word"}},{"index":1,"delta":{"content":" word"}}]}"#;
    let usage = r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":6}}"#;
    let in_turn = [
        (21.0, 0),
        (31.0, 1),
        (41.0, 0),
        (51.0, 1),
        (61.0, 0),
        (71.0, 1),
    ];
    let unlike = [
        (21.0, 0),
        (31.0, 1),
        (41.0, 1),
        (51.0, 1),
        (101.0, 0),
        (111.0, 1),
    ];
    let ended = |index: u32| chunk(index).replace("}}]", r#"},"finish_reason":"length"}]"#);
    let one_each = [(21.0, 0), (31.0, 1), (41.0, 2)]
        .iter()
        .fold(answer(0, &[], &[]), |parts, &(at, index)| {
            parts.mark(at, Data, &ended(index))
        });
    let of = |marks: &[(f64, u32)]| {
        marks
            .iter()
            .fold(answer(0, &[], &[]), |parts, &(at, index)| {
                parts.mark(at, Data, &chunk(index))
            })
    };
    let rounds = [21.0, 41.0, 61.0];
    let together = rounds
        .iter()
        .fold(answer(0, &[], &[]), |parts, &at| parts.mark(at, Data, both));
    // Name, record, first token, latency, output, milliseconds per token of one choice.
    for (name, parts, ttft, latency, osl, itl) in [
        (
            "in turn",
            of(&in_turn),
            20.0,
            70.0,
            6.0,
            Some((40.0 + 40.0) / 4.0),
        ),
        (
            "both in one event",
            together,
            20.0,
            60.0,
            6.0,
            Some((40.0 + 40.0) / 4.0),
        ),
        (
            "one is slow",
            of(&unlike),
            20.0,
            110.0,
            6.0,
            Some((80.0 + 80.0) / 4.0),
        ),
        ("one token each", one_each, 20.0, 40.0, 3.0, None),
    ] {
        let record = parts.mark(112.0, Data, usage).end(113.0);
        let (_, lines) = with(&[record], |_| {});
        let line = &lines[0];
        assert_eq!(value(line, "time_to_first_token"), Some(ttft), "{name}");
        assert_eq!(value(line, "request_latency"), Some(latency), "{name}");
        assert_eq!(value(line, "output_sequence_length"), Some(osl), "{name}");
        assert_eq!(value(line, "inter_token_latency"), itl, "{name}");
    }
}
