//! What a run amounts to: cancelled, failed, interrupted, warmed up, or not accounted for.

use pinfire_base::clock::Span;
use pinfire_base::record::{Failure, MarkKind, Outcome, Record, Stage};
use tempfile::tempdir;

use super::{close, end, facts, golden, lines, run};
use crate::facts::{PhaseFacts, RunEnd};
use crate::testing::RecordParts;

fn cancelled(index: u64, late_us: u64) -> Record {
    let parts = RecordParts::streamed(index).sent(0.0, 1.0, 2.0).head(10.0);
    parts
        .words(&[20.0, 30.0], &["two words", " more"])
        .cancelled(50.0, late_us, Stage::Streaming)
}

fn refused(index: u64) -> Record {
    RecordParts::streamed(index)
        .status(0)
        .outcome(Outcome::Failed(Failure::Connect { errno: 111 }))
        .end(1.0)
}

#[test]
fn all_cancelled_on_purpose_is_a_success() {
    let dir = tempdir().unwrap();
    let records = [cancelled(0, 10), cancelled(1, 30)];
    let report = run(facts(dir.path()), &records, end(&records));
    assert!(report.is_success());
    assert_eq!(report.value("cancelled_request_count"), Some(2.0));
    for absent in [
        "error_request_count",
        "request_error_rate",
        "completed_request_count",
    ] {
        assert_eq!(report.value(absent), None, "{absent}");
    }
    assert!(report.figures("request_latency").is_none());
    assert!(report.figures("time_to_first_token").is_none());
    assert!(report.errors.is_empty());
    assert!(
        report
            .footer(None)
            .contains("Success Rate: 100% (0 errors, 2 cancelled by plan)")
    );

    let cancellation = report.cancellation.as_ref().unwrap();
    assert_eq!(
        (cancellation.cancelled, cancellation.finished_first),
        (2, 0)
    );
    assert_eq!(cancellation.reached_pct, Some(100.0));
    close(cancellation.achieved_ms.as_ref().unwrap().avg, 50.02);
    close(cancellation.error_us.as_ref().unwrap().max, 30.0);
    assert_eq!(cancellation.stages[3], (Stage::Streaming, 2));

    let shown = &lines(dir.path())[0]["metadata"]["cancellation"];
    assert_eq!(shown["time_to_first_token_ms"], 19.0);
    assert_eq!(shown["tokens_received"], 3);
    assert_eq!(shown["output_text"].as_str().unwrap().chars().count(), 14);
    assert_eq!(shown["phase"], "streaming");
}

#[test]
fn a_chosen_request_that_finishes_first_is_an_answer() {
    let dir = tempdir().unwrap();
    let records = [RecordParts::streamed(0)
        .words(&[20.0], &["a"])
        .chosen(50.0)
        .end(21.0)];
    let report = run(facts(dir.path()), &records, end(&records));
    assert_eq!(report.counts.valid, 1);
    assert_eq!(report.cancellation.unwrap().finished_first, 1);
    let metadata = &lines(dir.path())[0]["metadata"];
    assert_eq!(metadata["was_cancelled"], false);
    assert_eq!(
        metadata["cancellation"].to_string(),
        r#"{"trigger":"sent","mode":"fin","asked_delay_ms":50.0,"outcome":"finished_first"}"#
    );
}

#[test]
fn all_failed_is_a_failure_with_files() {
    let dir = tempdir().unwrap();
    let mut asked = facts(dir.path());
    asked.cancellation = None;
    let records = [refused(0), refused(1)];
    let report = run(asked, &records, end(&records));
    assert!(!report.is_success());
    assert_eq!(report.value("error_request_count"), Some(2.0));
    assert_eq!(report.value("request_error_rate"), Some(100.0));
    assert_eq!(report.value("context_overflow_count"), Some(0.0));
    assert_eq!(report.value("total_error_isl"), Some(18.0));
    assert_eq!(report.value("request_count"), None);
    assert_eq!(report.value("cancelled_request_count"), None);
    assert_eq!((report.errors.len(), report.errors[0].count), (1, 2));
    let written = report.write(140).unwrap();
    for file in [&written.csv, &written.json, &written.console] {
        assert!(file.metadata().unwrap().len() > 0);
    }
    assert!(
        report
            .footer(Some(&written))
            .contains("Success Rate: 0% (2 errors)")
    );
}

#[test]
fn errors_and_cancellations_are_kept_apart() {
    let dir = tempdir().unwrap();
    let mut records = golden::records();
    records.push(
        RecordParts::streamed(1)
            .status(400)
            .mark(5.0, MarkKind::Body, "maximum context length is 4096")
            .end(5.0),
    );
    let report = run(facts(dir.path()), &records, end(&records));
    assert_eq!(report.value("completed_request_count"), Some(3.0));
    close(report.value("request_error_rate"), 100.0 / 3.0);
    assert_eq!(report.value("error_request_count"), Some(1.0));
    assert_eq!(report.value("total_error_isl"), Some(8.0));
    assert_eq!(report.value("context_overflow_count"), Some(1.0));
    assert_eq!(report.errors.len(), 1);
    let footer = report.footer(None);
    assert!(footer.contains("67% (1 request exceeded the context window, 1 cancelled by plan)"));
}

#[test]
fn warmup_is_in_the_lines_and_in_its_own_block_only() {
    let dir = tempdir().unwrap();
    let mut asked = facts(dir.path());
    asked.warmup = Some(PhaseFacts::default());
    let warmup = RecordParts::streamed(0)
        .warmup()
        .words(&[400.0], &["slow"])
        .end(401.0);
    let mut records = vec![warmup];
    records.extend(golden::records());
    let report = run(asked, &records, end(&records));
    assert_eq!(report.figures("request_latency").unwrap().count, Some(2));
    assert_eq!(
        report.figures("effective_concurrency").unwrap().max,
        Some(2.0)
    );
    let block = report
        .warmup
        .iter()
        .find(|b| b.metric.tag == "request_latency")
        .unwrap();
    assert_eq!(
        (block.figures.count, block.figures.max),
        (Some(1), Some(400.0))
    );
    let lines = lines(dir.path());
    assert_eq!(lines.len(), 4);
    let first = &lines[0]["metadata"];
    assert_eq!(first["benchmark_phase"], "warmup");
    assert_eq!(first.get("profiling_index"), None);
    assert_eq!(lines[1]["metadata"]["phase_index"], 1);
    assert!(report.is_success());
}

#[test]
fn what_the_end_of_the_run_cut_off_is_counted_and_not_exported() {
    let dir = tempdir().unwrap();
    let mut records = golden::records();
    records.push(
        RecordParts::streamed(1)
            .outcome(Outcome::Dropped)
            .end(130.0),
    );
    let mut end = end(&records);
    end.interrupted = Some("Ctrl-C".into());
    let report = run(facts(dir.path()), &records, end);
    assert_eq!(lines(dir.path()).len(), 3);
    assert_eq!(report.accounting.dropped_at_end, 1);
    assert_eq!(report.figures("effective_latency").unwrap().count, Some(3));
    assert!(report.is_success(), "{:?}", report.accounting);
    assert!(
        report
            .footer(None)
            .contains("Benchmark Duration: 0.13 sec (cancelled early)")
    );
}

#[test]
fn a_run_without_any_record_fails() {
    let dir = tempdir().unwrap();
    let report = run(facts(dir.path()), &[], RunEnd::default());
    assert!(!report.is_success());
    report.write(140).unwrap();
}

#[test]
fn sums_that_disagree_are_named_and_fail_the_run() {
    let dir = tempdir().unwrap();
    let records = golden::records();
    let mut lost = end(&records);
    lost.counts.due += 1;
    let report = run(facts(dir.path()), &records, lost);
    assert!(!report.is_success());
    assert_eq!(report.accounting.differences.len(), 2);
    assert!(
        report
            .console(140, false)
            .contains("Requests are not all accounted for: requests: 4")
    );
    let json: serde_json::Value = serde_json::from_slice(&report.json()).unwrap();
    assert_eq!(json["request_accounting"]["agrees"], false);

    let mut swapped = end(&records);
    swapped.counts.cancelled -= 1;
    swapped.counts.finished += 1;
    let report = run(facts(dir.path()), &records, swapped);
    assert!(!report.is_success());
    assert_eq!(
        report.accounting.differences,
        [
            "answered or failed: 3 by the cores' count, 2 by the records",
            "cancelled by plan: 0 by the cores' count, 1 by the records",
        ]
    );
}

#[test]
fn a_client_that_was_too_slow_is_said_to_be() {
    let dir = tempdir().unwrap();
    let records = golden::records();
    let mut late = end(&records);
    for _ in 0..600 {
        late.cores[0].timer_lateness.record(Span::from_millis(30));
        late.cores[0].turn.record(Span::from_millis(1));
    }
    let report = run(facts(dir.path()), &records, late);
    assert_eq!(report.health.reasons.len(), 1);
    assert!(report.health.is_bottleneck());
    let console = report.console(140, false);
    assert!(
        console.contains("The client was the bottleneck"),
        "{console}"
    );
    assert!(console.contains("timer lateness p99 30."), "{console}");
    let distrust = "Distrust when requests were sent, when requests were cancelled.";
    assert!(console.replace('\n', " ").contains(distrust), "{console}");
}

#[test]
fn what_the_server_had_acknowledged_of_those_cancelled_is_counted() {
    let dir = tempdir().unwrap();
    let mut records = golden::records();
    let mut cancels = records
        .iter_mut()
        .filter_map(|record| record.cancel.as_mut());
    let done = cancels.find_map(|cancel| cancel.done.as_mut()).unwrap();
    done.acknowledged = Some(true);
    let report = run(facts(dir.path()), &records, end(&records));
    let json: serde_json::Value = serde_json::from_slice(&report.json()).unwrap();
    let counted = &json["cancellation"]["request_acknowledged"];
    assert_eq!(*counted, serde_json::json!({"whole": 1, "of": 1}));
    let console = report.console(140, false);
    let mut lines = console.lines();
    let row = lines.find(|line| line.contains("Whole request acknowledged"));
    assert!(row.unwrap().contains("1 of 1"), "{console}");
    let lines = std::fs::read_to_string(dir.path().join("profile_export.jsonl")).unwrap();
    assert!(lines.contains("\"request_acknowledged\":true"), "{lines}");
}

/// Two streams asked for; one of them is idle half of the time.
#[test]
fn streams_that_were_not_held_are_said() {
    let dir = tempdir().unwrap();
    let mut records = Vec::new();
    for n in 0..20 {
        let from = f64::from(n) * 100.0;
        let due = RecordParts::streamed(0).sent(from, from, from + 1.0);
        records.push(due.words(&[from + 50.0], &["a"]).end(from + 100.0));
        let due = RecordParts::streamed(1).sent(from, from, from + 1.0);
        records.push(due.words(&[from + 40.0], &["a"]).end(from + 50.0));
    }
    let mut asked = facts(dir.path());
    asked.cancellation = None;
    let report = run(asked, &records, end(&records));
    let held = report.health.held.unwrap();
    close(Some(held.avg), 1.5);
    assert_eq!((held.asked, held.max), (2, 2.0));
    assert!(report.health.reasons[0].contains("1.5 of 2 streams"));
}
