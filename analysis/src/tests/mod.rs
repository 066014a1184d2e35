//! Whole runs of a few records, from the collector to the bytes of the files.

mod exports;
mod files;
mod golden;
mod long;
mod outcomes;
mod schema;
mod slices;
mod traps;

use std::path::Path;
use std::sync::Arc;

use pinfire_base::clock::Span;
use pinfire_base::health::{CoreHealth, Counts, ReceiveCounts};
use pinfire_base::record::{Outcome, Phase, PlannedCancellation, Record};
use serde_json::Value;

use crate::collector::Collector;
use crate::facts::{EntryFacts, PhaseFacts, PhaseWindow, RunEnd, RunFacts};
use crate::goodput::{self, Slos};
use crate::metric::conditions;
use crate::report::Report;
use crate::testing::{Words, anchor, ms};

/// Facts of the golden run.
pub(crate) fn facts(dir: &Path) -> RunFacts {
    let mut facts = RunFacts::new("4f1c2a9be07d", "0.1.0", anchor());
    facts.models = vec!["m".into()];
    facts.urls = vec!["http://127.0.0.1:8000".into()];
    facts.profiling = PhaseFacts {
        kind: "concurrency".into(),
        requests: Some(3),
        concurrency: Some(2),
        ..PhaseFacts::default()
    };
    facts.cancellation = Some(PlannedCancellation::after(40.0, Span::from_millis(50)));
    let promises = goodput::parse("request_latency:100").unwrap();
    let holding = conditions(facts.endpoint(), true, true, true, true);
    facts.slos = Slos::new(&promises, holding).unwrap();
    facts.cli_command = "pinfire profile --model 'm'".into();
    facts.artifact_dir = dir.to_owned();
    facts.random_seed = Some(42);
    facts
}

/// Entries with the input lengths of the golden run.
pub(crate) fn entries() -> Arc<[EntryFacts]> {
    (0..)
        .zip([10, 8, 12])
        .map(|(n, isl)| EntryFacts {
            session_id: format!("session_{n:06}"),
            turn: n,
            isl: Some(isl),
            requested_osl: None,
        })
        .collect()
}

/// Counts as cores that saw these records would report them.
fn counts(records: &[Record]) -> Counts {
    let mut counts = Counts::default();
    for record in records.iter().filter(|r| r.phase == Phase::Profiling) {
        counts.due += 1;
        counts.sent += u64::from(record.times.written.is_some());
        match record.outcome {
            Outcome::Complete => counts.finished += 1,
            Outcome::Failed(_) => counts.failed += 1,
            Outcome::Cancelled => counts.cancelled += 1,
            Outcome::Dropped => counts.dropped += 1,
        }
    }
    counts
}

pub(crate) fn end(records: &[Record]) -> RunEnd {
    RunEnd {
        warmup: None,
        profiling: Some(PhaseWindow {
            start: ms(0.0),
            end: Some(ms(141.5)),
        }),
        counts: counts(records),
        cores: vec![CoreHealth::default()],
        cpu_quota: None,
        warmup_stamps: ReceiveCounts::default(),
        interrupted: None,
    }
}

fn run(facts: RunFacts, records: &[Record], end: RunEnd) -> Report {
    let jsonl = facts.artifact_dir.join(&facts.files.jsonl);
    let counter = Some(Arc::new(Words) as _);
    let mut collector = Collector::new(facts, entries(), counter, Some(jsonl)).unwrap();
    for record in records {
        collector.add(record).unwrap();
    }
    collector.finish(end).unwrap()
}

fn lines(dir: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("profile_export.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn close(value: Option<f64>, expected: f64) {
    let value = value.unwrap_or(f64::NAN);
    assert!(
        (value - expected).abs() < 1e-4 * expected.abs().max(1e-3),
        "{value} is not {expected}"
    );
}
