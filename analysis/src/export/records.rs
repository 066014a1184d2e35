//! One line of `profile_export.jsonl`: metadata, metrics in display units, the error if there is one.
//!
//! Keys stand in AIPerf's order, absent ones are left out. What the plan to hang up on a request came to
//! is under `metadata.cancellation`: nothing that a cancelled request showed is thrown away.

use pinfire_base::clock::WallAnchor;
use pinfire_base::record::{Outcome, Phase, Stage};
use serde::Serialize;

use super::{raw, trace_data};
use crate::collect::RowValue;
use crate::metric::{METRICS, Request};
use crate::reading::Verdict;

/// `record_processor_id` of every line that pinfire writes: there is but one.
pub(crate) const OUR_PROCESSOR: &str = "record_processor_00000000";

/// Writes lines; holds what is the same in all of them.
pub struct LineWriter {
    /// A warmup phase comes first.
    has_warmup: bool,
    /// By row of the table: the bytes around a value. Forty strings to a line would otherwise be
    /// most of the work of a short answer.
    around: Vec<Option<Around>>,
    /// Lines have a `trace_data`.
    http_trace: bool,
}

/// `"tag":{"value":` and `,"unit":"ms"}` of a metric that is shown per request.
struct Around {
    before: Vec<u8>,
    after: Vec<u8>,
    /// The unit is changed on the way out, so whole numbers become fractions.
    divisor: Option<f64>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    session_num: u64,
    x_request_id: &'a str,
    x_correlation_id: &'a str,
    conversation_id: &'a str,
    turn_index: u32,
    credit_issued_ns: u64,
    /// Additive: the instant it was due, where it had to wait for its slots.
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduled_ns: Option<u64>,
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
    cancellation: Option<Cancellation<'a>>,
}

/// Additive, after all fields of AIPerf.
#[derive(Serialize)]
#[serde(untagged)]
enum Cancellation<'a> {
    Done {
        trigger: &'a str,
        mode: &'static str,
        asked_delay_ms: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        written_ns: Option<u64>,
        triggered_ns: u64,
        due_ns: u64,
        asked_ns: u64,
        closed_ns: u64,
        achieved_delay_ms: f64,
        delay_error_us: f64,
        how: &'static str,
        phase: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        after_half_close: Option<&'static str>,
        events_received: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        output_text: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reasoning_text: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tokens_received: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        time_to_first_token_ms: Option<f64>,
    },
    Missed {
        trigger: &'a str,
        mode: &'static str,
        asked_delay_ms: f64,
        outcome: &'static str,
    },
}

impl LineWriter {
    /// For a run with or without a warmup phase.
    pub fn new(has_warmup: bool) -> Self {
        let around = METRICS.iter().map(|metric| {
            metric.is_per_record().then(|| Around {
                before: format!("\"{}\":{{\"value\":", metric.tag).into_bytes(),
                after: format!(",\"unit\":\"{}\"}}", metric.shown.name()).into_bytes(),
                divisor: (metric.unit != metric.shown).then(|| metric.divisor()),
            })
        });
        Self {
            has_warmup,
            around: around.collect(),
            http_trace: false,
        }
    }

    /// With a `trace_data` in each line, of requests whose connection was kept.
    #[must_use]
    pub const fn with_http_trace(mut self, http_trace: bool) -> Self {
        self.http_trace = http_trace;
        self
    }

    /// Appends the line of a request to `line` for the raw file, newline included. `body` is the
    /// request's body as sent.
    pub fn write_raw(&self, line: &mut Vec<u8>, request: &Request, body: &[u8]) {
        line.extend_from_slice(b"{\"metadata\":");
        self.metadata(line, request);
        raw::write(line, request, body);
    }

    /// Appends the line of a request to `line`, newline included.
    pub fn write(&self, line: &mut Vec<u8>, request: &Request, values: &[(usize, RowValue)]) {
        line.extend_from_slice(b"{\"metadata\":");
        match request.told {
            Some(told) => line.extend_from_slice(told.metadata.as_bytes()),
            None => self.metadata(line, request),
        }
        line.extend_from_slice(b",\"metrics\":{");
        let mut first = true;
        for (row, value) in values {
            if let Some(Some(around)) = self.around.get(*row) {
                if !std::mem::take(&mut first) {
                    line.push(b',');
                }
                around.write(line, value);
            }
        }
        line.push(b'}');
        if let Some(trace) = request.told.and_then(|told| told.trace) {
            line.extend_from_slice(b",\"trace_data\":");
            line.extend_from_slice(trace.as_bytes());
        }
        if let Some(capture) = request
            .record
            .capture
            .as_deref()
            .filter(|_| self.http_trace)
        {
            line.extend_from_slice(b",\"trace_data\":");
            append(line, &trace_data::of(request, capture));
        }
        if let Verdict::Error(problem) | Verdict::Cancelled(problem) = &request.reading.verdict {
            line.extend_from_slice(b",\"error\":");
            match request.told.and_then(|told| told.error) {
                Some(error) => line.extend_from_slice(error.as_bytes()),
                None => append(line, problem),
            }
        }
        line.extend_from_slice(b"}\n");
    }

    fn metadata(&self, line: &mut Vec<u8>, request: &Request) {
        let record = request.record;
        let id = record.request_id.to_string();
        let correlation = record.correlation.text(&request.entry.session_id);
        let worker = format!("worker_{:08x}", record.core);
        let is_profiling = record.phase == Phase::Profiling;
        let phase = if is_profiling { "profiling" } else { "warmup" };
        let was_cancelled = matches!(request.reading.verdict, Verdict::Cancelled(_));
        let wall = |stamp| request.anchor.unix_nanos(stamp);
        let end = wall(record.times.end);
        let trigger = record.cancel.map(|cancel| cancel.trigger.name());
        let trigger = trigger.unwrap_or_default();
        let metadata = Metadata {
            session_num: record.index,
            x_request_id: &id,
            x_correlation_id: &correlation,
            conversation_id: &request.entry.session_id,
            turn_index: request.entry.turn,
            credit_issued_ns: wall(record.times.admitted),
            scheduled_ns: (record.times.scheduled != record.times.admitted)
                .then(|| wall(record.times.scheduled)),
            request_start_ns: wall(record.times.start),
            request_ack_ns: record.times.head.map(wall),
            request_end_ns: end,
            worker_id: &worker,
            record_processor_id: OUR_PROCESSOR,
            benchmark_phase: phase,
            phase_index: u32::from(is_profiling && self.has_warmup),
            profiling_index: is_profiling.then_some(0),
            phase_name: phase,
            phase_kind: phase,
            was_cancelled,
            cancellation_time_ns: was_cancelled.then_some(end),
            context_overflow_skip: false,
            agent_depth: 0,
            root_correlation_id: &correlation,
            cancellation: cancellation(request, request.anchor, &trigger),
        };
        append(line, &metadata);
    }
}

/// Into memory, with text keys only: nothing to fail.
pub(super) fn append(line: &mut Vec<u8>, value: &impl Serialize) {
    let _ = serde_json::to_writer(line, value);
}

impl Around {
    fn write(&self, line: &mut Vec<u8>, value: &RowValue) {
        line.extend_from_slice(&self.before);
        match (value, self.divisor) {
            (RowValue::Whole(whole), None) => append(line, whole),
            (RowValue::Whole(whole), Some(divisor)) => append(line, &(*whole as f64 / divisor)),
            (RowValue::Fraction(fraction), None) => append(line, fraction),
            (RowValue::Fraction(fraction), Some(divisor)) => append(line, &(fraction / divisor)),
            (RowValue::List(list), None) => append(line, list),
            (RowValue::List(list), Some(divisor)) => {
                line.push(b'[');
                for (at, whole) in list.iter().enumerate() {
                    if at > 0 {
                        line.push(b',');
                    }
                    append(line, &(*whole as f64 / divisor));
                }
                line.push(b']');
            }
        }
        line.extend_from_slice(&self.after);
    }
}

fn cancellation<'a>(
    request: &Request<'a>,
    anchor: WallAnchor,
    trigger: &'a str,
) -> Option<Cancellation<'a>> {
    let record = request.record;
    let cancel = record.cancel?;
    let asked_delay_ms = cancel.delay.as_millis_f64();
    let mode = cancel.leave.name();
    let Some(done) = cancel.done.filter(|_| record.outcome == Outcome::Cancelled) else {
        let outcome = match record.outcome {
            Outcome::Complete => "finished_first",
            _ => "failed_first",
        };
        return Some(Cancellation::Missed {
            trigger,
            mode,
            asked_delay_ms,
            outcome,
        });
    };
    let late = done.closed.since(done.due).nanos();
    let reading = request.reading;
    Some(Cancellation::Done {
        trigger,
        mode,
        asked_delay_ms,
        written_ns: record.times.written.map(|t2| anchor.unix_nanos(t2)),
        triggered_ns: anchor.unix_nanos(done.triggered),
        due_ns: anchor.unix_nanos(done.due),
        asked_ns: anchor.unix_nanos(done.asked),
        closed_ns: anchor.unix_nanos(done.closed),
        achieved_delay_ms: done.closed.since(done.triggered).as_millis_f64(),
        delay_error_us: late as f64 / 1e3,
        how: mode,
        phase: Stage::name(done.stage),
        after_half_close: done.after.map(|after| after.name()),
        events_received: reading.events,
        output_text: reading.output.as_deref(),
        reasoning_text: reading.reasoning.as_deref(),
        tokens_received: request.osl(),
        time_to_first_token_ms: request.ttft().map(|ttft| ttft as f64 / 1e6),
    })
}
