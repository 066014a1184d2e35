//! One line of `profile_export_raw.jsonl`: what was sent and what came back, byte for byte, with
//! the stamp of each part. Stamps are those of the monotonic clock; `metadata` has the wall time.

use pinfire_artifacts::{SentPacket, SentResponse, append};
use pinfire_base::clock::Stamp;
use pinfire_base::limits::ERROR_BODY_KEPT;
use pinfire_base::record::{Capture, Outcome, Quirks};
use pinfire_guard::hidden_cut;
use serde::de::IgnoredAny;

use super::message_heads;
use crate::metric::Request;
use crate::reading::Verdict;

/// Appends everything of a line behind its `metadata`, newline included. `body` is the request's
/// body as sent.
pub(super) fn write(line: &mut Vec<u8>, request: &Request<'_>, body: &[u8]) {
    let record = request.record;
    line.extend_from_slice(b",\"start_perf_ns\":");
    append(line, &record.times.start.nanos());
    line.extend_from_slice(b",\"request_headers\":");
    let nothing = Capture::default();
    let capture = record.capture.as_deref().unwrap_or(&nothing);
    append(line, &message_heads::headers(&capture.request_head));
    if record.wire.status > 0 {
        line.extend_from_slice(b",\"status\":");
        append(line, &record.wire.status);
    }
    line.extend_from_slice(b",\"responses\":");
    append(line, &responses(request, capture));
    if let Verdict::Error(problem) | Verdict::Cancelled(problem) = &request.reading.verdict {
        line.extend_from_slice(b",\"error\":");
        append(line, &problem.details());
    }
    line.extend_from_slice(b",\"payload\":");
    payload(line, body);
    line.extend_from_slice(b"}\n");
}

/// The body as it is, where it is JSON; as a text where it is not.
fn payload(line: &mut Vec<u8>, body: &[u8]) {
    if serde_json::from_slice::<IgnoredAny>(body).is_err() {
        return append(line, &String::from_utf8_lossy(body));
    }
    // A line break outside of a string is a blank to JSON, and inside there is none.
    let bytes = body.iter().map(|&byte| match byte {
        b'\n' | b'\r' => b' ',
        other => other,
    });
    line.extend(bytes);
}

/// What came, in order.
fn responses(request: &Request<'_>, capture: &Capture) -> Vec<SentResponse> {
    let record = request.record;
    let complete = record.outcome == Outcome::Complete;
    let last_read = capture.reads.last().map(|read| read.at);
    let end = if complete {
        record.times.end
    } else {
        last_read.unwrap_or(record.times.end)
    };
    let content_type = message_heads::header(&capture.response_head, "content-type");
    let mut responses = Vec::new();
    let mut rest = capture.body.as_slice();
    let quirks = record.wire.quirks;
    let is_stream = record.wire.event_stream || quirks.has(Quirks::UNDECLARED_STREAM);
    let is_lines = quirks.has(Quirks::JSON_LINES);
    if (is_stream || is_lines) && (200..300).contains(&record.wire.status) {
        let mut clock = ReadClock::new(capture);
        let mut at = byte_order_mark(rest);
        let apart = is_lines || quirks.has(Quirks::NO_BLANK_LINES);
        let split = if apart { event_line } else { message };
        while let Some((message, next)) = split(&capture.body, at) {
            at = next;
            push_message(&mut responses, message, clock.of(next));
        }
        rest = capture.body.get(at..).unwrap_or_default();
        if complete {
            push_message(&mut responses, rest, end);
            rest = &[];
        }
    } else if complete && rest.is_empty() {
        return responses;
    }
    if !rest.is_empty() {
        let text = String::from_utf8(rest.to_vec());
        // At the end of what was cut may be a part of a credential.
        let text = match complete && rest.len() < ERROR_BODY_KEPT {
            true => text,
            false => text.map(|text| hidden_cut(&text).into_owned()),
        };
        responses.push(SentResponse {
            perf_ns: end.nanos(),
            packets: None,
            raw_bytes: text.is_err().then(|| base64(rest)),
            text: text.ok(),
            content_type,
            incomplete: !complete,
        });
    }
    responses
}

/// Appends a message of an event stream, unless it is blank.
fn push_message(responses: &mut Vec<SentResponse>, message: &[u8], at: Stamp) {
    let text = String::from_utf8_lossy(message);
    let bare = text.trim();
    if bare.starts_with('{') {
        // JSON without a field: it is read as it stands.
        responses.push(SentResponse {
            perf_ns: at.nanos(),
            packets: None,
            text: Some(bare.to_owned()),
            raw_bytes: None,
            content_type: None,
            incomplete: false,
        });
        return;
    }
    let packets: Vec<SentPacket> = text
        .split(['\n', '\r'])
        .filter(|line| !line.trim().is_empty())
        .map(packet)
        .collect();
    if !packets.is_empty() {
        responses.push(SentResponse {
            perf_ns: at.nanos(),
            packets: Some(packets),
            text: None,
            raw_bytes: None,
            content_type: None,
            incomplete: false,
        });
    }
}

/// `name: value`; a line that begins with a colon is a comment, one without a colon a bare name.
fn packet(line: &str) -> SentPacket {
    match line.split_once(':') {
        Some((name, value)) => SentPacket {
            name: match name.trim() {
                "" => "comment".to_owned(),
                name => name.to_owned(),
            },
            value: Some(value.trim().to_owned()),
        },
        None => SentPacket {
            name: line.trim().to_owned(),
            value: None,
        },
    }
}

fn byte_order_mark(body: &[u8]) -> usize {
    if body.starts_with(&[0xEF, 0xBB, 0xBF]) {
        3
    } else {
        0
    }
}

/// The message that begins at `from`, and where the next one does: behind the blank line that ends
/// it. `None` if it has no end. Lines end in LF, CR LF or CR; the LF of a pair may belong to the
/// next read, so a message ends at the CR.
fn message(body: &[u8], from: usize) -> Option<(&[u8], usize)> {
    let mut at = from;
    let mut line = from;
    while let Some(&byte) = body.get(at) {
        let ends = byte == b'\n' || byte == b'\r';
        let second_of_pair = byte == b'\n' && at > 0 && body.get(at - 1) == Some(&b'\r');
        if ends && second_of_pair {
            line = at + 1;
        } else if ends {
            if line == at && at > from {
                return Some((body.get(from..at)?, at + 1));
            }
            line = at + 1;
        }
        at += 1;
    }
    None
}

/// The same of a stream without blank lines: an event ends with its data, a document with its line.
fn event_line(body: &[u8], from: usize) -> Option<(&[u8], usize)> {
    let mut line = from;
    loop {
        let rest = body.get(line..)?;
        let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'))?;
        let text = rest.get(..end)?.trim_ascii();
        let next = line + end + 1;
        if text.starts_with(b"data:") || text.starts_with(b"{") {
            return Some((body.get(from..line + end)?, next));
        }
        line = next;
    }
}

/// Which read brought the byte before an offset; offsets ascend.
struct ReadClock<'a> {
    capture: &'a Capture,
    read: usize,
    /// End of that read in the body.
    end: usize,
}

impl<'a> ReadClock<'a> {
    fn new(capture: &'a Capture) -> Self {
        let end = capture.reads.first().map_or(0, |read| read.bytes as usize);
        Self {
            capture,
            read: 0,
            end,
        }
    }

    fn of(&mut self, offset: usize) -> Stamp {
        let reads = &self.capture.reads;
        while self.end < offset && self.read + 1 < reads.len() {
            self.read += 1;
            self.end += reads.get(self.read).map_or(0, |read| read.bytes as usize);
        }
        reads
            .get(self.read)
            .map_or(Stamp::from_nanos(1), |read| read.at)
    }
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            text.push(match digit <= three.len() {
                true => char::from(DIGITS[value as usize]),
                false => '=',
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_end_at_blank_lines_of_any_kind() {
        let all = |body: &[u8]| {
            let (mut at, mut found) = (0, Vec::new());
            while let Some((text, next)) = message(body, at) {
                found.push((String::from_utf8_lossy(text).trim().to_owned(), next));
                at = next;
            }
            found
        };
        let two =
            |first: usize, second: usize| vec![("a".to_owned(), first), ("b".to_owned(), second)];
        assert_eq!(all(b"a\n\nb\n\nrest"), two(3, 6));
        // The LF behind the CR that ended a message belongs to the next one's beginning.
        assert_eq!(all(b"a\r\n\r\nb\r\n\r\n"), two(4, 9));
        assert_eq!(all(b"a\r\rb\r\r"), two(3, 6));
        assert_eq!(all(b"a\n"), []);
    }

    #[test]
    fn events_without_blank_lines_end_with_their_data() {
        let body = b"event: x\ndata: {1}\ndata: {2}\r\n{3}\nrest";
        let (mut at, mut found) = (0, Vec::new());
        while let Some((text, next)) = event_line(body, at) {
            found.push(String::from_utf8_lossy(text).trim().to_owned());
            at = next;
        }
        assert_eq!(found, ["event: x\ndata: {1}", "data: {2}", "{3}"]);
        let mut responses = Vec::new();
        push_message(&mut responses, b"\n{\"a\":1}", Stamp::from_nanos(7));
        assert_eq!(responses[0].text.as_deref(), Some("{\"a\":1}"));
    }

    #[test]
    fn lines_are_packets_comments_and_bare_names_too() {
        let mut responses = Vec::new();
        push_message(
            &mut responses,
            b"event: x\r\n: here\r\ndata: {\"a\":1}\r\nretry\r\ndata:[DONE]",
            Stamp::from_nanos(7),
        );
        assert_eq!(
            serde_json::to_string(&responses).unwrap(),
            "[{\"perf_ns\":7,\"packets\":[{\"name\":\"event\",\"value\":\"x\"},\
             {\"name\":\"comment\",\"value\":\"here\"},{\"name\":\"data\",\"value\":\"{\\\"a\\\":1}\"},\
             {\"name\":\"retry\"},{\"name\":\"data\",\"value\":\"[DONE]\"}]}]"
        );
    }

    #[test]
    fn base64_pads() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn payloads_stay_as_they_are_on_one_line() {
        let shown = |body: &str| {
            let mut line = Vec::new();
            payload(&mut line, body.as_bytes());
            String::from_utf8(line).unwrap()
        };
        assert_eq!(
            shown("{\"b\":1.50, \"a\":\"\\n\"}"),
            "{\"b\":1.50, \"a\":\"\\n\"}"
        );
        assert_eq!(shown("{\n\"a\":\r\n1}"), "{ \"a\":  1}");
        assert_eq!(shown("no json"), "\"no json\"");
    }
}
