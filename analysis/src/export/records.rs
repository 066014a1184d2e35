//! One line of `profile_export.jsonl`: metadata, metrics in display units, the error if there is one.
//!
//! Keys stand in the order of the specification's section 5.3, absent ones are left out. What the
//! plan to hang up on a request came to is under `metadata.cancellation` (R4).

use pinfire_engine::clock::WallAnchor;
use pinfire_engine::record::{Outcome, Phase, Stage};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::collect::RowValue;
use crate::metric::{METRICS, Metric, Request};
use crate::reading::{Problem, Verdict};

/// What a line needs to know of the run.
pub struct LineFacts {
    /// A warmup phase comes first.
    pub has_warmup: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    metadata: Metadata<'a>,
    metrics: Metrics<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Problem>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    session_num: u64,
    x_request_id: &'a str,
    x_correlation_id: &'a str,
    conversation_id: &'a str,
    turn_index: u32,
    credit_issued_ns: u64,
    request_start_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_ack_ns: Option<u64>,
    request_end_ns: u64,
    worker_id: &'a str,
    record_processor_id: &'static str,
    benchmark_phase: &'static str,
    phase_index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    profiling_index: Option<u32>,
    phase_name: &'static str,
    phase_kind: &'static str,
    was_cancelled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancellation_time_ns: Option<u64>,
    context_overflow_skip: bool,
    agent_depth: u32,
    root_correlation_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancellation: Option<Cancellation>,
}

/// Additive, after all fields of AIPerf.
#[derive(Serialize)]
#[serde(untagged)]
enum Cancellation {
    Done {
        asked_delay_ms: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        written_ns: Option<u64>,
        due_ns: u64,
        asked_ns: u64,
        closed_ns: u64,
        achieved_delay_ms: f64,
        delay_error_us: f64,
        how: &'static str,
        phase: &'static str,
        events_received: u32,
        output_text_chars: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        tokens_received: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        time_to_first_token_ms: Option<f64>,
    },
    Missed {
        asked_delay_ms: f64,
        outcome: &'static str,
    },
}

/// Appends the line of a request to `line`, newline included.
pub fn write_line(
    line: &mut Vec<u8>,
    request: &Request,
    values: &[(usize, RowValue)],
    facts: &LineFacts,
) {
    let record = request.record;
    let (mut id, mut correlation, mut worker) = (String::new(), String::new(), String::new());
    push_uuid(&mut id, record.request_id);
    push_uuid(&mut correlation, record.correlation_id);
    push_hex(
        &mut worker,
        "worker_",
        &u32::from(record.core).to_be_bytes(),
    );
    let is_profiling = record.phase == Phase::Profiling;
    let phase = if is_profiling { "profiling" } else { "warmup" };
    let (error, was_cancelled) = match &request.reading.verdict {
        Verdict::Error(problem) => (Some(problem), false),
        Verdict::Cancelled(problem) => (Some(problem), true),
        Verdict::Valid | Verdict::Dropped => (None, false),
    };
    let wall = |stamp| request.anchor.unix_nanos(stamp);
    let end = wall(record.times.end);
    let whole = Line {
        metadata: Metadata {
            session_num: record.index,
            x_request_id: &id,
            x_correlation_id: &correlation,
            conversation_id: &request.entry.session_id,
            turn_index: 0,
            credit_issued_ns: wall(record.times.admitted),
            request_start_ns: wall(record.times.start),
            request_ack_ns: record.times.head.map(wall),
            request_end_ns: end,
            worker_id: &worker,
            record_processor_id: "record_processor_00000000",
            benchmark_phase: phase,
            phase_index: u32::from(is_profiling && facts.has_warmup),
            profiling_index: is_profiling.then_some(0),
            phase_name: phase,
            phase_kind: phase,
            was_cancelled,
            cancellation_time_ns: was_cancelled.then_some(end),
            context_overflow_skip: false,
            agent_depth: 0,
            root_correlation_id: &correlation,
            cancellation: cancellation(request, request.anchor),
        },
        metrics: Metrics(values),
        error,
    };
    // Writing into memory fails only for maps with keys that are no strings; there are none.
    if serde_json::to_writer(&mut *line, &whole).is_ok() {
        line.push(b'\n');
    }
}

fn cancellation(request: &Request, anchor: WallAnchor) -> Option<Cancellation> {
    let record = request.record;
    let cancel = record.cancel?;
    let asked_delay_ms = cancel.delay.as_millis_f64();
    let Some(done) = cancel.done.filter(|_| record.outcome == Outcome::Cancelled) else {
        let outcome = match record.outcome {
            Outcome::Complete => "finished_first",
            _ => "failed_first",
        };
        return Some(Cancellation::Missed {
            asked_delay_ms,
            outcome,
        });
    };
    let late = done.closed.since(done.due).nanos();
    let reading = request.reading;
    let texts = [&reading.output, &reading.reasoning];
    Some(Cancellation::Done {
        asked_delay_ms,
        written_ns: record.times.written.map(|t2| anchor.unix_nanos(t2)),
        due_ns: anchor.unix_nanos(done.due),
        asked_ns: anchor.unix_nanos(done.asked),
        closed_ns: anchor.unix_nanos(done.closed),
        achieved_delay_ms: (cancel.delay.nanos() + late) as f64 / 1e6,
        delay_error_us: late as f64 / 1e3,
        how: "fin",
        phase: Stage::name(done.stage),
        events_received: reading.events,
        output_text_chars: texts.into_iter().flatten().map(|t| t.chars().count()).sum(),
        tokens_received: request.osl(),
        time_to_first_token_ms: request.ttft().map(|ttft| ttft as f64 / 1e6),
    })
}

/// The metrics of a line: `{tag: {value, unit}}`.
struct Metrics<'a>(&'a [(usize, RowValue)]);

#[derive(Serialize)]
struct Entry<V> {
    value: V,
    unit: &'static str,
}

impl Serialize for Metrics<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (row, value) in self.0 {
            let Some(metric) = METRICS.get(*row).filter(|m| Metric::is_per_record(m)) else {
                continue;
            };
            let (unit, divisor) = (metric.shown.name(), metric.divisor());
            let shown = |v: u64| v as f64 / divisor;
            match value {
                // Whole numbers stay whole unless a unit was changed.
                RowValue::Whole(value) if metric.unit == metric.shown => {
                    map.serialize_entry(metric.tag, &Entry { value, unit })?;
                }
                RowValue::Whole(whole) => {
                    let value = shown(*whole);
                    map.serialize_entry(metric.tag, &Entry { value, unit })?;
                }
                RowValue::Fraction(fraction) => {
                    let value = fraction / divisor;
                    map.serialize_entry(metric.tag, &Entry { value, unit })?;
                }
                RowValue::List(list) => {
                    let value: Vec<f64> = list.iter().map(|&v| shown(v)).collect();
                    map.serialize_entry(metric.tag, &Entry { value, unit })?;
                }
            }
        }
        map.end()
    }
}

fn push_uuid(text: &mut String, bytes: [u8; 16]) {
    for (at, byte) in bytes.iter().enumerate() {
        if [4, 6, 8, 10].contains(&at) {
            text.push('-');
        }
        push_hex(text, "", &[*byte]);
    }
}

fn push_hex(text: &mut String, prefix: &str, bytes: &[u8]) {
    text.push_str(prefix);
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
        }
    }
}
