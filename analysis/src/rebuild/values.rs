//! One line of `profile_export.jsonl`: the values of a request, without what was sent and received.
//!
//! The line of a run is read for two things. Beside a raw line it tells what that does not hold:
//! the HTTP timings, and the token counts of the run's own tokenizer. Alone it gives back the
//! instants and counts that all other values follow from.

use pinfire_artifacts::tag;
use std::collections::{HashMap, VecDeque};
use std::path::Path;

use pinfire_artifacts::{Lines, Measured, RequestLine, json_line};
use pinfire_base::clock::Span;
use pinfire_dialect::Usage;
use serde_json::Value;

use super::error::RebuildError;
use super::line::{Found, reading};
use super::shards::Clock;
use crate::metric::{METRICS, Of, RowValue};
use crate::reading::{Content, Reading, Verdict};
use crate::tokens::TokenCounts;

/// The metrics of a line, and its `trace_data`.
#[derive(Default)]
pub(super) struct Values(HashMap<String, Measured>, Option<String>);

/// A line with its values.
pub(super) struct ValueLine {
    pub(super) found: Found,
    pub(super) values: Values,
}

impl ValueLine {
    /// Reads a line.
    pub(super) fn read(line: &[u8], clock: &Clock) -> Result<Self, String> {
        let line = RequestLine::read(line)?;
        let found = Found::new(&line.metadata, line.error.as_ref(), clock);
        let metrics = line.metrics.into_iter();
        let metrics = metrics.map(|(tag, metric)| (tag.into_owned(), metric.value));
        let shift = clock.shift(line.metadata.value.request_start_ns);
        let trace = line.trace_data.map(|trace| moved_trace(trace, shift));
        Ok(Self {
            found,
            values: Values(metrics.collect(), trace),
        })
    }
}

/// HTTP timings: rows of the table whose tag begins so are nowhere but in the values.
const HTTP: &str = "http_req_";

impl Values {
    fn number(&self, tag: &str) -> Option<f64> {
        self.0.get(tag)?.one()
    }

    fn whole(&self, tag: &str) -> Option<u64> {
        let number = self.number(tag)?;
        (number >= 0.0).then_some(number.round() as u64)
    }

    /// The `trace_data` object as it stands.
    pub(super) fn trace(&mut self) -> Option<String> {
        self.1.take()
    }

    /// Whether the line has a value of this metric.
    pub(super) fn has(&self, tag: &str) -> bool {
        self.0.contains_key(tag)
    }

    /// A time that the line gives in milliseconds.
    fn nanos(&self, tag: &str) -> Option<u64> {
        nanos(self.number(tag)?)
    }

    /// The run's own counts. `output_token_count` is left out where it is 0.
    pub(super) fn tokens(&self) -> TokenCounts {
        let osl = self.whole(tag::OUTPUT_SEQUENCE_LENGTH);
        let reasoning = self.whole(tag::REASONING_TOKEN_COUNT);
        let output = self.whole(tag::OUTPUT_TOKEN_COUNT).or_else(|| {
            let rest = osl?.saturating_sub(reasoning.unwrap_or(0));
            (rest > 0 || reasoning.is_none()).then_some(rest)
        });
        TokenCounts {
            // Of a request that was not answered it stands under another name.
            input: self
                .whole(tag::INPUT_SEQUENCE_LENGTH)
                .or_else(|| self.whole(tag::ERROR_ISL)),
            output,
            reasoning,
        }
    }

    /// The rows that are in the values alone. With `of_aiperf` the time to connect is taken out of
    /// what AIPerf counts from the start of the call.
    pub(super) fn http(&self, of_aiperf: bool) -> Vec<(usize, RowValue)> {
        let mut rows = Vec::new();
        let overhead = self.nanos(tag::HTTP_REQ_CONNECTION_OVERHEAD).unwrap_or(0);
        // AIPerf's time to connect has the resolver's in it, so that the overhead has that twice.
        let connected = overhead.saturating_sub(self.nanos(tag::HTTP_REQ_DNS_LOOKUP).unwrap_or(0));
        for (row, metric) in METRICS.iter().enumerate() {
            if !metric.tag.starts_with(HTTP) || !metric.is_per_record() {
                continue;
            }
            let Some(shown) = self.number(metric.tag) else {
                continue;
            };
            let mut value = shown * metric.divisor();
            if of_aiperf {
                match metric.tag {
                    tag::HTTP_REQ_SENDING | tag::HTTP_REQ_DURATION => value -= connected as f64,
                    tag::HTTP_REQ_TOTAL => value -= overhead as f64,
                    _ => {}
                }
            }
            rows.push((
                row,
                match metric.of {
                    Of::Fraction(_) => RowValue::Fraction(value.max(0.0)),
                    _ => RowValue::Whole(value.max(0.0).round() as u64),
                },
            ));
        }
        rows
    }

    /// The answer, as far as the values show it: when content came, and what the server counted.
    /// `per_chunk_usage` says that the inter token latency leaves the first chunk out.
    pub(super) fn reading(&self, found: &Found, per_chunk_usage: bool) -> Reading {
        let start = found.record.times.start;
        let after = |nanos: u64| start + Span::from_nanos(nanos);
        let mut stamps = Vec::new();
        match (
            self.nanos(tag::TIME_TO_FIRST_TOKEN),
            self.nanos(tag::REQUEST_LATENCY),
        ) {
            (Some(first), _) => {
                let mut at = first;
                stamps.push(after(at));
                let gaps = self.0.get(tag::INTER_CHUNK_LATENCY);
                for &gap in gaps.map_or(&[][..], Measured::all) {
                    at += nanos(gap).unwrap_or(0);
                    stamps.push(after(at));
                }
            }
            (None, Some(latency)) => stamps.push(after(latency)),
            (None, None) => {}
        }
        let output_from = self.nanos(tag::TIME_TO_FIRST_OUTPUT_TOKEN).map(after);
        let streams = self.has(tag::TIME_TO_FIRST_TOKEN);
        let content = stamps.into_iter().map(|at| Content {
            at,
            output: !streams || output_from.is_some_and(|from| at >= from),
            choice: Some(0),
        });
        let plan = found.cancellation.as_ref();
        let tokens = self.tokens();
        let content: Vec<Content> = content.collect();
        let events = plan.and_then(|plan| plan.events_received);
        let events = events.unwrap_or(content.len() as u64);
        Reading {
            first_chunk_tokens: self.first_chunk(&content, tokens.osl(), per_chunk_usage),
            content,
            output: plan.and_then(|plan| Some(plan.output_text.as_deref()?.to_owned())),
            reasoning: plan.and_then(|plan| Some(plan.reasoning_text.as_deref()?.to_owned())),
            usage: self.usage(),
            events: u32::try_from(events).unwrap_or(u32::MAX),
            verdict: found.verdict.clone().unwrap_or(Verdict::Valid),
            ..reading(&found.answer, start)
        }
    }

    /// Tokens of the first chunk, from the latency that leaves them out.
    fn first_chunk(&self, content: &[Content], osl: Option<u64>, asked: bool) -> Option<u64> {
        let itl = self.number(tag::INTER_TOKEN_LATENCY).filter(|_| asked)? * 1e6;
        let decode = content.last()?.at.since(content.first()?.at).nanos();
        let divisor = (decode as f64 / itl).round();
        (divisor.is_finite() && divisor >= 1.0).then(|| osl.map(|osl| osl - divisor as u64))?
    }

    fn usage(&self) -> Option<Usage> {
        let usage = Usage {
            prompt: self.whole(tag::USAGE_PROMPT_TOKENS),
            completion: self.whole(tag::USAGE_COMPLETION_TOKENS),
            total: self.whole(tag::USAGE_TOTAL_TOKENS),
            cache_read: self.whole(tag::USAGE_PROMPT_CACHE_READ_TOKENS),
            cache_write: self.whole(tag::USAGE_PROMPT_CACHE_WRITE_TOKENS),
            reasoning: self.whole(tag::USAGE_REASONING_TOKENS),
            no_count: false,
        };
        (usage != Usage::default()).then_some(usage)
    }

    /// The output limit that was sent, from how far the output missed it.
    pub(super) fn requested_osl(&self) -> Option<u32> {
        let osl = self.number(tag::OUTPUT_SEQUENCE_LENGTH)?;
        let missed = self.number(tag::OSL_MISMATCH_DIFF_PCT)?;
        let requested = (osl / (1.0 + missed / 100.0)).round();
        (requested.is_finite() && requested >= 0.0).then_some(requested as u32)
    }
}

/// A `trace_data` object with its instants so many nanoseconds later.
fn moved_trace(trace: &str, nanos: i64) -> String {
    if nanos == 0 {
        return trace.to_owned();
    }
    let Ok(mut found) = serde_json::from_str::<Value>(trace) else {
        return trace.to_owned();
    };
    let later = |at: &mut Value| {
        // Durations stand beside the instants.
        if let Some(instant) = at.as_u64().filter(|&at| at > INSTANTS) {
            *at = instant.saturating_add_signed(nanos).into();
        }
    };
    for (key, value) in found.as_object_mut().into_iter().flatten() {
        if key.ends_with("_ns") {
            later(value);
        } else if key.ends_with("_chunks") {
            let chunks = value.as_array_mut().into_iter().flatten();
            chunks.for_each(|chunk| chunk.get_mut(0).into_iter().for_each(later));
        }
    }
    json_line(&found)
}

/// Instants are Unix nanoseconds, beyond the year 2000; no request takes as long.
const INSTANTS: u64 = 946_684_800_000_000_000;

/// Milliseconds as they are written to the nanoseconds that they were.
fn nanos(milliseconds: f64) -> Option<u64> {
    (milliseconds >= 0.0).then_some((milliseconds * 1e6).round() as u64)
}

/// How far the lines of the two files may be out of step.
const WINDOW: usize = 100_000;

/// The per-request file beside the raw one, joined by the requests' ids. Both are written in order
/// of completion, so what is looked for is near.
pub(super) struct ValuesBeside {
    lines: Option<Lines>,
    clock: Clock,
    waiting: HashMap<u128, Values>,
    order: VecDeque<u128>,
}

impl ValuesBeside {
    /// The file, with its clock.
    pub(super) fn open(path: &Path, clock: &Clock) -> Result<Self, RebuildError> {
        Ok(Self {
            lines: Some(Lines::open(path)?),
            clock: clock.clone(),
            waiting: HashMap::new(),
            order: VecDeque::new(),
        })
    }

    /// The values of a request.
    pub(super) fn of(&mut self, id: u128) -> Result<Option<Values>, RebuildError> {
        if let Some(values) = self.waiting.remove(&id) {
            return Ok(Some(values));
        }
        let Some(lines) = &mut self.lines else {
            return Ok(None);
        };
        let read = |line: &[u8]| ValueLine::read(line, &self.clock);
        while let Some(line) = lines.next(read)? {
            if line.found.id == id {
                return Ok(Some(line.values));
            }
            self.waiting.insert(line.found.id, line.values);
            self.order.push_back(line.found.id);
            while self.order.len() > WINDOW {
                let oldest = self.order.pop_front();
                oldest.and_then(|id| self.waiting.remove(&id));
            }
        }
        self.lines = None;
        Ok(None)
    }
}
