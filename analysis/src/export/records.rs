//! One line of `profile_export.jsonl`: metadata, metrics in display units, the error if there is
//! one.

use std::borrow::Cow;

use pinfire_artifacts::{
    LineAnswer, LineCancellation, LineUnreached, Metadata, MetricText, OUR_PROCESSOR, append,
};
use pinfire_base::clock::WallAnchor;
use pinfire_base::record::{Outcome, Phase, Record, Refusal, Stage};

use super::{raw, trace_data};
use crate::metric::{METRICS, Request, RowValue};
use crate::reading::{Verdict, os_text};

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

/// The bytes around a metric that is shown per request.
struct Around {
    text: MetricText,
    /// The unit is changed on the way out, so whole numbers become fractions.
    divisor: Option<f64>,
}

impl LineWriter {
    /// For a run with or without a warmup phase.
    pub fn new(has_warmup: bool) -> Self {
        let around = METRICS.iter().map(|metric| {
            metric.is_per_record().then(|| Around {
                text: MetricText::new(metric.tag, metric.shown.name()),
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
        match request.recorded {
            Some(recorded) => line.extend_from_slice(recorded.metadata.as_bytes()),
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
        if let Some(trace) = request.recorded.and_then(|recorded| recorded.trace) {
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
            match request.recorded.and_then(|recorded| recorded.error) {
                Some(error) => line.extend_from_slice(error.as_bytes()),
                None => append(line, &problem.details()),
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
        let metadata = Metadata {
            session_num: record.index,
            x_request_id: Cow::Borrowed(&id),
            x_correlation_id: Cow::Borrowed(&correlation),
            conversation_id: Some(Cow::Borrowed(&request.entry.session_id)),
            turn_index: Some(request.entry.turn),
            credit_issued_ns: Some(wall(record.times.admitted)),
            scheduled_ns: (record.times.scheduled != record.times.admitted)
                .then(|| wall(record.times.scheduled)),
            request_start_ns: wall(record.times.start),
            request_ack_ns: record.times.head.map(wall),
            request_end_ns: end,
            worker_id: Cow::Borrowed(&worker),
            record_processor_id: Cow::Borrowed(OUR_PROCESSOR),
            benchmark_phase: Some(Cow::Borrowed(phase)),
            phase_index: u32::from(is_profiling && self.has_warmup),
            profiling_index: is_profiling.then_some(0),
            phase_name: Cow::Borrowed(phase),
            phase_kind: Cow::Borrowed(phase),
            was_cancelled,
            cancellation_time_ns: was_cancelled.then_some(end),
            context_overflow_skip: false,
            agent_depth: 0,
            root_correlation_id: Cow::Borrowed(&correlation),
            cancellation: cancellation(request, request.anchor),
            answer: answer(request),
            unreached: unreached(request.record),
        };
        append(line, &metadata);
    }
}

/// Addresses that gave the request no connection.
fn unreached(record: &Record) -> Vec<LineUnreached<'static>> {
    let refusals = record.unreached.iter().flat_map(|all| &all.refusals);
    let one = |(address, errno): &Refusal| LineUnreached {
        address: address.to_string().into(),
        reason: os_text(*errno).into(),
    };
    refusals.map(one).collect()
}

/// Why the answer ended, what was unusual about it, and of a failed one what had come.
fn answer<'a>(request: &Request<'a>) -> Option<LineAnswer<'a>> {
    let reading = request.reading;
    let count = reading.choice_count();
    let reasons = reading.finish.iter();
    let unreadable = &reading.unreadable;
    let mut answer = LineAnswer {
        choices: (count > 1).then_some(count as u64),
        finish_reasons: reasons
            .map(|(_, reason)| Cow::Borrowed(&**reason))
            .collect(),
        refused: reading.refused,
        read_as: reading.quirks.names().map(Cow::Borrowed).collect(),
        unreadable_events: (unreadable.events > 0).then_some(unreadable.events),
        unreadable_begins: unreadable.begins.as_deref().map(Cow::Borrowed),
        ..LineAnswer::default()
    };
    if matches!(reading.verdict, Verdict::Error(_)) && !reading.content.is_empty() {
        answer.events_received = Some(reading.events);
        answer.output_text = reading.output.as_deref().map(Cow::Borrowed);
        answer.reasoning_text = reading.reasoning.as_deref().map(Cow::Borrowed);
        answer.time_to_first_token_ms = request.ttft().map(|ttft| ttft as f64 / 1e6);
    }
    (answer != LineAnswer::default()).then_some(answer)
}

impl Around {
    fn write(&self, line: &mut Vec<u8>, value: &RowValue) {
        line.extend_from_slice(&self.text.before);
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
        line.extend_from_slice(&self.text.after);
    }
}

fn cancellation<'a>(request: &Request<'a>, anchor: WallAnchor) -> Option<LineCancellation<'a>> {
    let record = request.record;
    let cancel = record.cancel?;
    let mode = Cow::Borrowed(cancel.leave.name());
    let planned = LineCancellation {
        trigger: Some(cancel.trigger.name()),
        mode: Some(mode.clone()),
        asked_delay_ms: Some(cancel.delay.as_millis_f64()),
        ..LineCancellation::default()
    };
    let Some(done) = cancel.done.filter(|_| record.outcome == Outcome::Cancelled) else {
        let outcome = match record.outcome {
            Outcome::Complete => "finished_first",
            _ => "failed_first",
        };
        return Some(LineCancellation {
            outcome: Some(Cow::Borrowed(outcome)),
            ..planned
        });
    };
    let late = done.closed.since(done.due).nanos();
    let reading = request.reading;
    Some(LineCancellation {
        written_ns: record.times.written.map(|t2| anchor.unix_nanos(t2)),
        triggered_ns: Some(anchor.unix_nanos(done.triggered)),
        due_ns: Some(anchor.unix_nanos(done.due)),
        asked_ns: Some(anchor.unix_nanos(done.asked)),
        closed_ns: Some(anchor.unix_nanos(done.closed)),
        achieved_delay_ms: Some(done.closed.since(done.triggered).as_millis_f64()),
        delay_error_us: Some(late as f64 / 1e3),
        how: Some(mode),
        phase: Some(Cow::Borrowed(Stage::name(done.stage))),
        request_acknowledged: done.acknowledged,
        after_half_close: done.after.map(|after| Cow::Borrowed(after.name())),
        events_received: Some(reading.events.into()),
        output_text: reading.output.as_deref().map(Cow::Borrowed),
        reasoning_text: reading.reasoning.as_deref().map(Cow::Borrowed),
        tokens_received: request.osl(),
        time_to_first_token_ms: request.ttft().map(|ttft| ttft as f64 / 1e6),
        ..planned
    })
}
