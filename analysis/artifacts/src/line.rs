//! One line of `profile_export.jsonl`: metadata, metrics in display units, what the connection saw, the
//! error if there is one.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{ErrorDetails, LineAnswer};

/// What is known of a request besides its metrics. Instants are Unix nanoseconds.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Metadata<'a> {
    /// Number of the request's session within its phase, from 0.
    #[serde(default)]
    pub session_num: u64,
    /// The `X-Request-ID` that was sent.
    #[serde(borrow, default)]
    pub x_request_id: Cow<'a, str>,
    /// The `X-Correlation-ID` that was sent: the same for all requests of a conversation.
    #[serde(borrow, default)]
    pub x_correlation_id: Cow<'a, str>,
    /// Key into `inputs.json`.
    #[serde(default)]
    pub conversation_id: Option<Cow<'a, str>>,
    /// Turn of the conversation, from 0.
    #[serde(default)]
    pub turn_index: Option<u32>,
    /// When the request had its slot.
    pub credit_issued_ns: Option<u64>,
    /// When it was due, where it then had to wait for a slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_ns: Option<u64>,
    /// When it began.
    pub request_start_ns: u64,
    /// When the head of the answer was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_ack_ns: Option<u64>,
    /// When it ended.
    pub request_end_ns: u64,
    /// The core that sent it.
    #[serde(borrow, default)]
    pub worker_id: Cow<'a, str>,
    /// Who wrote the line.
    #[serde(borrow, default)]
    pub record_processor_id: Cow<'a, str>,
    /// `warmup` or `profiling`.
    #[serde(default)]
    pub benchmark_phase: Option<Cow<'a, str>>,
    /// Place of the phase among all of them.
    #[serde(default)]
    pub phase_index: u32,
    /// Place of the phase among the measured ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profiling_index: Option<u32>,
    /// Name of the phase.
    #[serde(borrow, default)]
    pub phase_name: Cow<'a, str>,
    /// Kind of the phase.
    #[serde(borrow, default)]
    pub phase_kind: Cow<'a, str>,
    /// It was cancelled: by plan, or by the end of the run.
    #[serde(default)]
    pub was_cancelled: bool,
    /// When it was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancellation_time_ns: Option<u64>,
    /// It was left out because it does not fit the model's context.
    #[serde(default)]
    pub context_overflow_skip: bool,
    /// Depth in a tree of agents.
    #[serde(default)]
    pub agent_depth: u32,
    /// Correlation id at the root of that tree.
    #[serde(borrow, default)]
    pub root_correlation_id: Cow<'a, str>,
    /// What the plan to cancel it came to; pinfire's own, after all keys of AIPerf.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub cancellation: Option<LineCancellation<'a>>,
    /// Why the answer ended and what was unusual about it, likewise.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<LineAnswer<'a>>,
    /// Addresses of the server that gave it no connection before another one did, or that all did
    /// not, likewise.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub unreached: Vec<LineUnreached<'a>>,
}

/// An address that gave a request no connection.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LineUnreached<'a> {
    /// Address and port.
    #[serde(borrow)]
    pub address: Cow<'a, str>,
    /// Why, in the system's words.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
}

/// `record_processor_id` of every line that pinfire writes: there is but one.
pub const OUR_PROCESSOR: &str = "record_processor_00000000";

impl Metadata<'_> {
    /// Whether pinfire wrote the line.
    pub fn is_ours(&self) -> bool {
        self.record_processor_id == OUR_PROCESSOR
    }

    /// The same request on a clock that is so many nanoseconds ahead.
    #[must_use]
    pub fn moved(mut self, nanos: i64) -> Self {
        let one = |at: &mut u64| *at = at.saturating_add_signed(nanos);
        let may_be = |at: &mut Option<u64>| at.iter_mut().for_each(one);
        one(&mut self.request_start_ns);
        one(&mut self.request_end_ns);
        may_be(&mut self.credit_issued_ns);
        may_be(&mut self.scheduled_ns);
        may_be(&mut self.request_ack_ns);
        may_be(&mut self.cancellation_time_ns);
        if let Some(plan) = &mut self.cancellation {
            may_be(&mut plan.written_ns);
            may_be(&mut plan.triggered_ns);
            may_be(&mut plan.due_ns);
            may_be(&mut plan.asked_ns);
            may_be(&mut plan.closed_ns);
        }
        self
    }

    /// Whether the request was one of the warmup.
    pub fn is_warmup(&self) -> bool {
        self.benchmark_phase.as_deref() == Some("warmup")
    }
}

/// A planned cancellation and what it came to. `outcome` stands alone: a request with one ended before
/// it was cancelled. Of one that was cancelled all instants are there.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LineCancellation<'a> {
    /// From when the delay counts; files of old versions do not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Cow<'a, str>>,
    /// How the client disconnects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Cow<'a, str>>,
    /// The planned delay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_delay_ms: Option<f64>,
    /// `finished_first` or `failed_first`, of a request that was not cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Cow<'a, str>>,
    /// The last byte of the request was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_ns: Option<u64>,
    /// The trigger came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub triggered_ns: Option<u64>,
    /// The disconnect was due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_ns: Option<u64>,
    /// The system was asked to disconnect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_ns: Option<u64>,
    /// The system had done it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_ns: Option<u64>,
    /// From the trigger to the disconnect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub achieved_delay_ms: Option<f64>,
    /// From when it was due to the disconnect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_error_us: Option<f64>,
    /// How the client disconnected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how: Option<Cow<'a, str>>,
    /// How far the request was: `connecting`, `sending`, `waiting` or `streaming`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Cow<'a, str>>,
    /// Whether the peer's kernel had acknowledged the whole request before the disconnect; not there if
    /// the request had not been sent whole, or over a socket that does not acknowledge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_acknowledged: Option<bool>,
    /// How an answer ended that was read on after a half-close.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_half_close: Option<Cow<'a, str>>,
    /// Events that had come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_received: Option<u64>,
    /// The output in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_text: Option<Cow<'a, str>>,
    /// The reasoning in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_text: Option<Cow<'a, str>>,
    /// The tokens in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_received: Option<u64>,
    /// Time to the first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_to_first_token_ms: Option<f64>,
}

/// The instants of a disconnect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CancelledAt<'a> {
    /// It was due.
    pub due_ns: u64,
    /// The system was asked.
    pub asked_ns: u64,
    /// The system had done it.
    pub closed_ns: u64,
    /// How far the request was.
    pub phase: &'a str,
}

impl LineCancellation<'_> {
    /// The disconnect, if there was one.
    pub fn done(&self) -> Option<CancelledAt<'_>> {
        Some(CancelledAt {
            due_ns: self.due_ns?,
            asked_ns: self.asked_ns?,
            closed_ns: self.closed_ns?,
            phase: self.phase.as_deref()?,
        })
    }
}

impl LineCancellation<'_> {
    /// The same with texts of its own.
    pub fn owned(self) -> LineCancellation<'static> {
        let own = |text: Option<Cow<'_, str>>| text.map(|text| Cow::Owned(text.into_owned()));
        LineCancellation {
            trigger: own(self.trigger),
            mode: own(self.mode),
            asked_delay_ms: self.asked_delay_ms,
            outcome: own(self.outcome),
            written_ns: self.written_ns,
            triggered_ns: self.triggered_ns,
            due_ns: self.due_ns,
            asked_ns: self.asked_ns,
            closed_ns: self.closed_ns,
            achieved_delay_ms: self.achieved_delay_ms,
            delay_error_us: self.delay_error_us,
            how: own(self.how),
            phase: own(self.phase),
            request_acknowledged: self.request_acknowledged,
            after_half_close: own(self.after_half_close),
            events_received: self.events_received,
            output_text: own(self.output_text),
            reasoning_text: own(self.reasoning_text),
            tokens_received: self.tokens_received,
            time_to_first_token_ms: self.time_to_first_token_ms,
        }
    }
}

/// The value of a metric of one request.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(Serialize, schemars::JsonSchema))]
pub struct MetricValue<'a> {
    /// The value.
    pub value: Measured,
    /// Its unit.
    #[serde(borrow, default)]
    pub unit: Cow<'a, str>,
}

/// A number or a list of them.
#[derive(Clone, PartialEq, Debug)]
#[cfg_attr(feature = "schema", derive(Serialize), serde(untagged))]
pub enum Measured {
    /// One value.
    One(f64),
    /// Several, such as the gaps between chunks; none where the file has something else than numbers.
    Many(Vec<f64>),
}

impl Measured {
    /// The one value.
    pub const fn one(&self) -> Option<f64> {
        match self {
            Self::One(value) => Some(*value),
            Self::Many(_) => None,
        }
    }

    /// All values.
    pub fn all(&self) -> &[f64] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }

    /// The value, or the mean of several.
    pub fn mean(&self) -> Option<f64> {
        match self.all() {
            [] => None,
            values => Some(values.iter().sum::<f64>() / values.len() as f64),
        }
    }
}

impl<'de> Deserialize<'de> for Measured {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Numbers;
        impl<'de> Visitor<'de> for Numbers {
            type Value = Measured;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a list of numbers")
            }

            fn visit_f64<E>(self, value: f64) -> Result<Measured, E> {
                Ok(Measured::One(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Measured, E> {
                Ok(Measured::One(value as f64))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Measured, E> {
                Ok(Measured::One(value as f64))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Measured, E> {
                Ok(Measured::One(value.into()))
            }

            fn visit_unit<E>(self) -> Result<Measured, E> {
                Ok(Measured::Many(Vec::new()))
            }

            fn visit_str<E>(self, _: &str) -> Result<Measured, E> {
                Ok(Measured::Many(Vec::new()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Measured, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Measured::Many(Vec::new()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Measured, A::Error> {
                let mut all = Vec::with_capacity(seq.size_hint().unwrap_or(64));
                while let Some(some) = seq.next_element::<Measured>()? {
                    all.extend_from_slice(some.all());
                }
                Ok(Measured::Many(all))
            }
        }
        deserializer.deserialize_any(Numbers)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Measured {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Measured".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "oneOf": [{"type": "number"}, {"type": "array", "items": {"type": "number"}}]
        })
    }
}

/// The metrics of one request by tag, in the order of the line.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct LineMetrics<'a>(Vec<(Cow<'a, str>, MetricValue<'a>)>);

impl<'a> LineMetrics<'a> {
    /// A metric; of a few dozen, so that looking for it is as good as a map.
    pub fn get(&self, tag: &str) -> Option<&MetricValue<'a>> {
        let found = self.0.iter().find(|(known, _)| known == tag);
        found.map(|(_, value)| value)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &MetricValue<'a>)> {
        self.0.iter().map(|(tag, value)| (tag.as_ref(), value))
    }
}

impl<'a> IntoIterator for LineMetrics<'a> {
    type Item = (Cow<'a, str>, MetricValue<'a>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for LineMetrics<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = LineMetrics<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("metrics by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                #[derive(Deserialize)]
                struct Tag<'a>(#[serde(borrow)] Cow<'a, str>);
                let mut pairs = Vec::with_capacity(32);
                while let Some((Tag(tag), value)) = map.next_entry()? {
                    pairs.push((tag, value));
                }
                Ok(LineMetrics(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// A part of a line with its own text, which a report hands on as it stands.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Verbatim<'a, T> {
    /// What it says.
    pub value: T,
    /// As it stands.
    pub json: &'a str,
}

impl<'a, T: Deserialize<'a>> Verbatim<'a, T> {
    /// Reads it; the error begins with its `name`.
    fn read(name: &str, raw: &'a RawValue) -> Result<Self, String> {
        let json = raw.get();
        let value = serde_json::from_str(json).map_err(|error| format!("{name}: {error}"))?;
        Ok(Self { value, json })
    }
}

/// A line.
#[derive(Clone, PartialEq, Debug)]
pub struct RequestLine<'a> {
    /// What is known of the request besides its metrics.
    pub metadata: Verbatim<'a, Metadata<'a>>,
    /// Its metrics.
    pub metrics: LineMetrics<'a>,
    /// What the connection saw, as it stands.
    pub trace_data: Option<&'a str>,
    /// What went wrong.
    pub error: Option<Verbatim<'a, ErrorDetails<'a>>>,
}

impl<'a> RequestLine<'a> {
    /// Reads a line.
    ///
    /// # Errors
    /// It is none; the text says why.
    pub fn read(line: &'a [u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(borrow)]
            metadata: &'a RawValue,
            #[serde(borrow, default)]
            metrics: LineMetrics<'a>,
            #[serde(borrow)]
            trace_data: Option<&'a RawValue>,
            #[serde(borrow)]
            error: Option<&'a RawValue>,
        }
        let wire: Wire<'a> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        Ok(Self {
            metadata: Verbatim::read("metadata", wire.metadata)?,
            metrics: wire.metrics,
            trace_data: wire.trace_data.map(RawValue::get),
            error: wire
                .error
                .map(|error| Verbatim::read("error", error))
                .transpose()?,
        })
    }
}

/// Reads `metadata` and `error` of a raw line, which has the same.
pub(crate) fn parts<'a>(
    metadata: &'a RawValue,
    error: Option<&'a RawValue>,
) -> Result<
    (
        Verbatim<'a, Metadata<'a>>,
        Option<Verbatim<'a, ErrorDetails<'a>>>,
    ),
    String,
> {
    let metadata = Verbatim::read("metadata", metadata)?;
    let error = error.map(|error| Verbatim::read("error", error));
    Ok((metadata, error.transpose()?))
}

/// The bytes around the value of a metric in a line. Forty strings to a line would otherwise be most of
/// the work of a short answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetricText {
    /// `"tag":{"value":`
    pub before: Vec<u8>,
    /// `,"unit":"ms"}`
    pub after: Vec<u8>,
}

impl MetricText {
    /// Of a metric whose tag and unit need no escapes.
    pub fn new(tag: &str, unit: &str) -> Self {
        Self {
            before: format!("\"{tag}\":{{\"value\":").into_bytes(),
            after: format!(",\"unit\":\"{unit}\"}}").into_bytes(),
        }
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for RequestLine<'_> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RequestLine".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        /// One request: a line of `profile_export.jsonl`.
        #[derive(Serialize, schemars::JsonSchema)]
        struct RequestLine<'a> {
            /// What is known of the request besides its metrics.
            metadata: Metadata<'a>,
            /// Its metrics by tag, in display units.
            metrics: std::collections::BTreeMap<String, MetricValue<'a>>,
            /// What the connection saw (`--export-http-trace`).
            #[serde(skip_serializing_if = "Option::is_none")]
            trace_data: Option<crate::TraceData>,
            /// What went wrong.
            #[serde(skip_serializing_if = "Option::is_none")]
            error: Option<ErrorDetails<'a>>,
        }
        RequestLine::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_and_keeps_what_stands_in_it() {
        let text = r#"{"metadata":{"x_request_id":"a","request_start_ns":1,"request_end_ns":2,"later":{"b":1}},"metrics":{"ttft":{"value":1.5,"unit":"ms"},"gaps":{"value":[1,[2,null]]},"odd":{"value":"x"}},"trace_data":{"c": 1},"error":{"code":499,"type":"T"}}"#;
        let line = RequestLine::read(text.as_bytes()).unwrap();
        assert_eq!(line.metadata.value.x_request_id, "a");
        assert!(line.metadata.json.ends_with(r#""later":{"b":1}}"#));
        assert_eq!(line.metrics.get("ttft").unwrap().value.one(), Some(1.5));
        assert_eq!(line.metrics.get("gaps").unwrap().value.all(), [1.0, 2.0]);
        assert_eq!(line.metrics.get("odd").unwrap().value.mean(), None);
        assert_eq!(line.trace_data, Some(r#"{"c": 1}"#));
        assert_eq!(line.error.unwrap().value.code, Some(499));
    }

    #[test]
    fn every_instant_of_a_request_moves_with_its_clock() {
        let text = r#"{"session_num":7,"credit_issued_ns":1001,"scheduled_ns":1002,"request_start_ns":1003,"request_ack_ns":1004,"request_end_ns":1005,"cancellation_time_ns":1006,"cancellation":{"asked_delay_ms":5.0,"written_ns":1007,"triggered_ns":1008,"due_ns":1009,"asked_ns":1010,"closed_ns":1011,"delay_error_us":4.0}}"#;
        let metadata: Metadata<'_> = serde_json::from_str(text).unwrap();
        let numbers = |metadata: &Metadata<'_>| {
            let json = serde_json::to_string(metadata).unwrap();
            let digits = json.split(|letter: char| !letter.is_ascii_digit());
            let numbers = digits.filter_map(|digits| digits.parse::<u64>().ok());
            // Of all numbers above a thousand.
            numbers.filter(|number| *number > 500).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&metadata), (1001..=1011).collect::<Vec<_>>());
        let moved = metadata.clone().moved(1_000_000);
        assert_eq!(numbers(&moved), (1_001_001..=1_001_011).collect::<Vec<_>>());
        assert_eq!(moved.moved(-1_000_000), metadata);
    }

    #[test]
    fn what_is_no_line_says_why() {
        assert!(RequestLine::read(b"{").is_err());
        let what = RequestLine::read(br#"{"metadata":{"request_start_ns":"x"}}"#);
        let what = what.unwrap_err();
        assert!(what.starts_with("metadata: "), "{what}");
        let what = RequestLine::read(br#"{"metadata":{"request_end_ns":1}}"#).unwrap_err();
        assert!(what.contains("request_start_ns"), "{what}");
    }
}
