//! One line of `profile_export_raw.jsonl`: a request with everything sent and received.

use std::borrow::Cow;

use pinfire_base::clock::Stamp;
use pinfire_base::record::{MarkKind, Transcript};
use pinfire_dialect::output_limit;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::line::Found;

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
    start_perf_ns: Option<u64>,
    status: Option<u16>,
    #[serde(borrow, default)]
    responses: Vec<Response<'a>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Response<'a> {
    perf_ns: u64,
    #[serde(borrow)]
    packets: Option<Vec<Packet<'a>>>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    raw_bytes: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Packet<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    value: Option<Cow<'a, str>>,
}

/// A line with the body that was sent.
pub(super) struct RawLine {
    pub(super) found: Found,
    /// The request body, if the line has one.
    pub(super) body: Option<Vec<u8>>,
}

impl RawLine {
    /// Reads a line.
    pub(super) fn read(line: &[u8]) -> Result<Self, String> {
        let line: Line<'_> = serde_json::from_slice(line).map_err(|e| e.to_string())?;
        let mut found = Found::new(line.metadata, line.error)?;
        let record = &mut found.record;
        let start = record.times.start;
        let zero = line.start_perf_ns;
        // One clock for all stamps of a record: its start is known on both.
        let on_wall = |perf: u64| match zero {
            Some(zero) => {
                let after = perf as i64 - zero as i64;
                Stamp::from_nanos(start.nanos().saturating_add_signed(after))
            }
            None => Stamp::from_nanos(perf),
        };
        let marks = line.responses.len();
        record.transcript = Transcript::with_capacity(marks, marks * 128);
        record.wire.status = line.status.unwrap_or(0);
        for response in &line.responses {
            response.put(on_wall(response.perf_ns), &mut record.transcript);
        }
        record.wire.event_stream = line.responses.iter().any(|one| one.packets.is_some());
        let marks = record.transcript.marks();
        record.times.body_first = marks.first().map(|mark| mark.at);
        record.times.body_last = marks.last().map(|mark| mark.at);
        let body = line.payload.filter(|body| body.get() != "null");
        if let Some(body) = body {
            found.entry.requested_osl = serde_json::from_str::<Map<String, Value>>(body.get())
                .ok()
                .and_then(|body| output_limit(&body));
        }
        Ok(Self {
            found,
            body: body.map(|body| body.get().as_bytes().to_vec()),
        })
    }
}

impl Response<'_> {
    /// Appends the response as the engine would have kept it.
    fn put(&self, at: Stamp, into: &mut Transcript) {
        if let Some(packets) = &self.packets {
            let is_error = packets
                .iter()
                .any(|packet| packet.name == "event" && packet.is("error"));
            if is_error {
                let lines: String = packets.iter().map(Packet::line).collect();
                into.push(at, MarkKind::ErrorEvent, lines.as_bytes());
                return;
            }
            let mut data = packets.iter().filter(|packet| packet.name == "data");
            let (first, second) = (data.next(), data.next());
            let text = match (first, second) {
                (None, _) => return,
                (Some(only), None) => only.value.clone().unwrap_or_default(),
                (Some(first), Some(second)) => {
                    let all = [first, second].into_iter().chain(data);
                    let values: Vec<&str> = all
                        .map(|packet| packet.value.as_deref().unwrap_or_default())
                        .collect();
                    Cow::Owned(values.join("\n"))
                }
            };
            let (kind, bytes) = match text.trim() {
                "" => (MarkKind::Empty, ""),
                "[DONE]" => (MarkKind::Done, ""),
                _ => (MarkKind::Data, &*text),
            };
            into.push(at, kind, bytes.as_bytes());
        } else if let Some(text) = &self.text {
            into.push(at, MarkKind::Body, text.as_bytes());
        } else if let Some(bytes) = self.raw_bytes {
            into.push(at, MarkKind::Body, bytes.get().as_bytes());
        }
    }
}

impl Packet<'_> {
    fn is(&self, text: &str) -> bool {
        let value = self.value.as_deref().unwrap_or_default();
        value.trim().eq_ignore_ascii_case(text)
    }

    /// The line of the stream that it came from.
    fn line(&self) -> String {
        let name = match &*self.name {
            "comment" => "",
            name => name,
        };
        match &self.value {
            Some(value) => format!("{name}: {value}\n"),
            None => format!("{name}\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{Reading, Rules, Verdict};

    const META: &str = r#""metadata":{"request_start_ns":1800000000001000000,"request_end_ns":1800000000131500000}"#;

    fn read(rest: &str) -> RawLine {
        RawLine::read(format!("{{{META},{rest}}}").as_bytes()).unwrap()
    }

    #[test]
    fn responses_are_stamped_on_the_wall_and_read_as_the_engine_reads() {
        let chunk = |text: &str| {
            let json = format!(
                r#"{{"object":"chat.completion.chunk","choices":[{{"delta":{{"content":"{text}"}}}}]}}"#
            );
            serde_json::to_string(&json).unwrap()
        };
        let line = read(&format!(
            r#""start_perf_ns":5000001000000,"status":200,"responses":[
            {{"perf_ns":5000101000000,"packets":[{{"name":"id","value":"7"}},{{"name":"data","value":{}}}]}},
            {{"perf_ns":5000121000000,"packets":[{{"name":"comment","value":"still here"}}]}},
            {{"perf_ns":5000131000000,"packets":[{{"name":"data","value":{}}}]}},
            {{"perf_ns":5000131500000,"packets":[{{"name":"data","value":"[DONE]"}}]}}],
            "payload":{{"model":"m","max_completion_tokens":5}}"#,
            chunk("One"),
            chunk(" two"),
        ));
        let record = &line.found.record;
        let reading = Reading::of(record, &Rules::default());
        assert_eq!(reading.verdict, Verdict::Valid);
        assert_eq!(reading.output.as_deref(), Some("One two"));
        let after = reading
            .content
            .iter()
            .map(|c| c.at.since(record.times.start));
        let after: Vec<f64> = after.map(|span| span.as_millis_f64()).collect();
        assert_eq!(after, [100.0, 130.0]);
        assert_eq!(line.found.entry.requested_osl, Some(5));
        assert_eq!(
            line.body.unwrap(),
            br#"{"model":"m","max_completion_tokens":5}"#
        );
    }

    #[test]
    fn json_over_several_data_lines_and_error_events() {
        let line = read(
            r#""start_perf_ns":1,"responses":[{"perf_ns":2,"packets":[{"name":"data","value":"{\"choices\":[{\"delta\":"},{"name":"data","value":"{\"content\":\"x\"}}]}"}]}]"#,
        );
        let reading = Reading::of(&line.found.record, &Rules::default());
        assert_eq!(reading.output.as_deref(), Some("x"));
        let line = read(
            r#""start_perf_ns":1,"status":200,"responses":[{"perf_ns":2,"packets":[{"name":"event","value":"Error"},{"name":"comment","value":"it broke"}]}]"#,
        );
        let Verdict::Error(problem) = Reading::of(&line.found.record, &Rules::default()).verdict
        else {
            panic!("an error event is an error");
        };
        assert_eq!((problem.code, &*problem.message), (Some(502), "it broke"));
    }

    #[test]
    fn what_is_no_line_says_why() {
        assert!(RawLine::read(b"{").is_err());
        let what = RawLine::read(br#"{"metadata":{"request_start_ns":"x"}}"#)
            .err()
            .unwrap();
        assert!(what.starts_with("metadata: "), "{what}");
    }
}
