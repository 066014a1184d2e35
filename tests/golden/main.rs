//! Five recorded runs of AIPerf 0.13: `pinfire report` on their raw files gives AIPerf's own
//! figures.
//!
//! Every figure of the summary, the table, the lines per request and the slices is compared, whole
//! numbers exactly, fractions within rounding. Where pinfire has another figure on purpose, the
//! deviation stands in `deviations.rs` with its reason and a check of both sides; one that explains
//! nothing fails the test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail the test"
)]

mod compare;
mod deviations;
mod fixture;

use std::collections::BTreeSet;

use compare::{Difference, blocks, close, lines, slices};
use deviations::DEVIATIONS;
use fixture::{Golden, RUNS};
use serde_json::Value;

#[test]
fn every_figure_of_aiperf_or_the_deviation_from_it() {
    let mut used = BTreeSet::new();
    for name in RUNS {
        let golden = Golden::new(name);
        let mut differences = blocks(&golden.theirs, &golden.ours, "");
        let (theirs, ours) = (
            &golden.theirs["warmup_metrics"],
            &golden.ours["warmup_metrics"],
        );
        assert_eq!(theirs.is_object(), ours.is_object(), "{name}: warmup");
        differences.extend(blocks(theirs, ours, "warmup "));
        differences.extend(lines(&golden.their_lines, &golden.our_lines));
        differences.extend(slices(
            golden.their_slices.as_ref(),
            golden.our_slices.as_ref(),
        ));
        explain(&golden, &differences, &mut used);
    }
    let known: BTreeSet<&str> = DEVIATIONS.iter().map(|deviation| deviation.name).collect();
    let idle: Vec<_> = known.difference(&used).collect();
    assert!(idle.is_empty(), "deviations that explain nothing: {idle:?}");
}

/// Each difference is a deviation whose check holds.
fn explain(golden: &Golden, differences: &[Difference], used: &mut BTreeSet<&'static str>) {
    let mut wrong = Vec::new();
    for difference in differences {
        let known = DEVIATIONS
            .iter()
            .find(|deviation| (deviation.applies)(golden, difference));
        match known {
            None => wrong.push(format!("{}: {difference}", golden.name)),
            Some(deviation) => match (deviation.holds)(golden, difference) {
                true => {
                    used.insert(deviation.name);
                }
                false => wrong.push(format!(
                    "{}: {difference}, and not because {} ({})",
                    golden.name, deviation.name, deviation.reason
                )),
            },
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differences that are no deviation that holds:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn the_rows_of_the_table_are_theirs_in_their_order() {
    for name in RUNS {
        let golden = Golden::new(name);
        let known: BTreeSet<String> = blocks(&golden.theirs, &golden.ours, "")
            .iter()
            .map(|difference| difference.tag.clone())
            .collect();
        let known: BTreeSet<String> = known.iter().map(|tag| compare::row_name(tag)).collect();
        let rows = |table: &[Vec<String>]| -> Vec<Vec<String>> {
            let kept = table.iter().filter(|row| {
                let name = row.first().map_or("", String::as_str);
                !known.contains(name)
            });
            kept.cloned().collect()
        };
        let (theirs, ours) = (rows(&golden.their_table), rows(&golden.our_table));
        assert!(theirs.len() > 30, "{name}: {} rows", theirs.len());
        assert_eq!(theirs, ours, "{name}");
    }
}

#[test]
fn the_head_of_the_summary_has_their_keys_in_their_order() {
    for name in RUNS {
        let golden = Golden::new(name);
        let keys = |summary: &Value| -> Vec<String> {
            let keys = summary.as_object().unwrap().keys();
            let head = keys.take_while(|key| *key != "input_config");
            head.cloned().collect()
        };
        let (theirs, ours) = (keys(&golden.theirs), keys(&golden.ours));
        let common = |keys: &[String], others: &[String]| -> Vec<String> {
            keys.iter()
                .filter(|key| others.contains(key))
                .cloned()
                .collect()
        };
        assert_eq!(common(&theirs, &ours), common(&ours, &theirs), "{name}");
        for key in [
            "benchmark_id",
            "input_config",
            "run_info",
            "start_time",
            "end_time",
        ] {
            assert_eq!(golden.theirs[key], golden.ours[key], "{name}: {key}");
        }
        for key in ["was_cancelled", "is_complete"] {
            assert_eq!(golden.theirs[key], golden.ours[key], "{name}: {key}");
        }
    }
}

#[test]
fn the_errors_are_theirs_without_what_differs_between_them() {
    let golden = Golden::new("chat-errors");
    let without_cause = |summary: &Value| -> Vec<Value> {
        let mut rows = summary["error_summary"].as_array().unwrap().clone();
        for row in &mut rows {
            let details = row["error_details"].as_object_mut().unwrap();
            // Errors are grouped without cause and chain.
            details.retain(|key, _| ["code", "type", "message"].contains(&key.as_str()));
        }
        rows.sort_by_key(ToString::to_string);
        rows
    };
    assert_eq!(without_cause(&golden.theirs), without_cause(&golden.ours));
    // A planned cancellation is no error; it has an outcome and a block of its own.
    let golden = Golden::new("chat-cancel");
    assert_eq!(golden.theirs["error_summary"][0]["count"], 16);
    assert_eq!(golden.ours["error_summary"], serde_json::json!([]));
    assert_eq!(golden.ours["cancellation"]["cancelled"], 16);
    assert_eq!(golden.ours["cancellation"]["delay_asked_ms"], 90.0);
}

#[test]
fn the_phase_window_gives_their_rates() {
    for name in RUNS {
        let golden = Golden::with(name, &["--rate-window", "phase"]);
        for tag in [
            "request_throughput",
            "output_token_throughput",
            "input_token_throughput",
            "total_token_throughput",
        ] {
            let (theirs, ours) = (&golden.theirs[tag]["avg"], &golden.ours[tag]["avg"]);
            // The window stands in the file with whole microseconds.
            let (theirs, ours) = (theirs.as_f64().unwrap(), ours.as_f64().unwrap());
            assert!(
                close(theirs, ours, 3e-6),
                "{name} {tag}: {theirs} and {ours}"
            );
        }
    }
}

/// Without the raw file the values of the lines give the same figures.
#[test]
fn the_lines_alone_give_the_same_report() {
    for name in RUNS {
        let from_raw = Golden::new(name);
        let from_lines = Golden::without_raw(name);
        let differences = blocks(&from_raw.ours, &from_lines.ours, "");
        let lines = lines(&from_raw.our_lines, &from_lines.our_lines);
        let texts: Vec<String> = differences
            .iter()
            .chain(&lines)
            .map(ToString::to_string)
            .collect();
        assert!(texts.is_empty(), "{name}:\n{}", texts.join("\n"));
    }
}
