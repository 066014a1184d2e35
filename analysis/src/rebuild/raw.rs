//! A request with everything sent and received, out of a line of `profile_export_raw.jsonl`.

use std::borrow::Cow;

use pinfire_artifacts::{Packet, RawLine, Response};
use pinfire_base::clock::Stamp;
use pinfire_base::record::{MarkKind, Transcript};
use pinfire_dialect::output_limit;
use serde_json::{Map, Value};

use super::line::Found;
use super::shards::Clock;

/// A line with the body that was sent.
pub(super) struct RawRequest {
    pub(super) found: Found,
    /// The request body, if the line has one.
    pub(super) body: Option<Vec<u8>>,
}

impl RawRequest {
    /// Reads a line.
    pub(super) fn read(line: &[u8], clock: &Clock) -> Result<Self, String> {
        let line = RawLine::read(line)?;
        let mut found = Found::new(&line.metadata, line.error.as_ref(), clock);
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
            put(response, on_wall(response.perf_ns), &mut record.transcript);
        }
        record.wire.event_stream = line.responses.iter().any(|one| one.packets.is_some());
        let marks = record.transcript.marks();
        record.times.body_first = marks.first().map(|mark| mark.at);
        record.times.body_last = marks.last().map(|mark| mark.at);
        if let Some(body) = line.payload {
            found.entry.requested_osl = serde_json::from_str::<Map<String, Value>>(body)
                .ok()
                .and_then(|body| output_limit(&body));
        }
        Ok(Self {
            found,
            body: line.payload.map(|body| body.as_bytes().to_vec()),
        })
    }
}

/// Appends a response as the engine would have kept it.
fn put(response: &Response<'_>, at: Stamp, into: &mut Transcript) {
    if let Some(packets) = &response.packets {
        let is_error = packets.iter().any(|packet| match &*packet.name {
            "event" => is(packet, "error"),
            "error" => packet
                .value
                .as_deref()
                .is_some_and(|value| !value.is_empty()),
            _ => false,
        });
        if is_error {
            let lines: String = packets.iter().map(line_of).collect();
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
    } else if let Some(text) = &response.text {
        into.push(at, MarkKind::Body, text.as_bytes());
    } else if let Some(bytes) = response.raw_bytes {
        into.push(at, MarkKind::Body, bytes.get().as_bytes());
    }
}

fn is(packet: &Packet<'_>, text: &str) -> bool {
    let value = packet.value.as_deref().unwrap_or_default();
    value.trim().eq_ignore_ascii_case(text)
}

/// The line of the stream that a packet came from.
fn line_of(packet: &Packet<'_>) -> String {
    let name = match &*packet.name {
        "comment" => "",
        name => name,
    };
    match &packet.value {
        Some(value) => format!("{name}: {value}\n"),
        None => format!("{name}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{Reading, Rules, Verdict};

    const META: &str = r#""metadata":{"request_start_ns":1800000000001000000,"request_end_ns":1800000000131500000}"#;

    fn read(rest: &str) -> RawRequest {
        let line = format!("{{{META},{rest}}}");
        RawRequest::read(line.as_bytes(), &Clock::default()).unwrap()
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
        assert!(RawRequest::read(b"{", &Clock::default()).is_err());
        let line = br#"{"metadata":{"request_start_ns":"x"}}"#;
        let what = RawRequest::read(line, &Clock::default()).err().unwrap();
        assert!(what.starts_with("metadata: "), "{what}");
    }
}
