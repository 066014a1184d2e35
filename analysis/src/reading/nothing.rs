//! Answers without content: what came instead, in words that are true.
//!
//! The message is the same for every request that was answered in the same way, because reports
//! group by it; counts and quotations are in the cause.

use pinfire_base::record::{MarkKind, Record};
use pinfire_dialect::answer;
use pinfire_guard::{hidden, hidden_by_shape, hidden_cut};
use serde_json::Value;

use super::error::{Problem, reason_phrase};

/// Why this answer is none.
pub(super) fn of(record: &Record) -> Problem {
    let whole = record
        .transcript
        .iter()
        .find(|mark| mark.kind == MarkKind::Body);
    match whole {
        Some(whole) => of_body(record, whole.bytes),
        None => of_events(record),
    }
}

/// `200 OK`.
fn status(record: &Record) -> String {
    let status = record.wire.status;
    format!("{status} {}", reason_phrase(status))
}

/// `Content type text/html, 200 OK`, with the coding if there is one.
fn label(record: &Record) -> String {
    let label = record.label.as_deref();
    let kind = match label {
        Some(label) if label.content_type.is_empty() => "No content type".to_owned(),
        Some(label) => format!("Content type {}", label.content_type),
        None if record.wire.event_stream => "Content type text/event-stream".to_owned(),
        None => "Content type application/json".to_owned(),
    };
    let coding = label.filter(|label| !label.coding.is_empty());
    let coding = coding.map_or_else(String::new, |label| format!(", coded as {}", label.coding));
    format!("{kind}{coding}, {}", status(record))
}

fn of_body(record: &Record, body: &[u8]) -> Problem {
    let text = body.trim_ascii();
    if text.is_empty() {
        let message = if record.wire.status == 204 {
            "The response has no body: 204 No Content".to_owned()
        } else {
            format!("The response body is empty: {}", status(record))
        };
        return Problem::nothing(message, String::new());
    }
    let begins = format!("{} bytes; the body begins: {}", body.len(), excerpt(body));
    let what = match answer::parse(text) {
        Some(document) => format!("JSON without content: {}", describe(&document)),
        None if text.first() == Some(&b'<') => format!("a page, no JSON: {}", first_tag(text)),
        None if std::str::from_utf8(text).is_err() => "neither JSON nor text".to_owned(),
        None if matches!(text.first(), Some(b'{' | b'[')) => "JSON that is broken".to_owned(),
        None => "text, no JSON".to_owned(),
    };
    Problem::nothing(format!("{}: {what}", label(record)), begins)
}

/// `<!DOCTYPE html>`: a page's first tag says what it is and is the same in all of them.
fn first_tag(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let text = hidden(&text);
    let end = text.find('>').map_or(text.len(), |end| end + 1);
    let tag: String = text
        .get(..end)
        .unwrap_or_default()
        .chars()
        .take(40)
        .collect();
    format!("{} …", tag.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// What a document without content says of itself.
fn describe(document: &Value) -> String {
    let Some(fields) = document.as_object() else {
        return match document {
            Value::Array(values) if values.is_empty() => "an empty list".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            _ => "a bare value".to_owned(),
        };
    };
    if let Some(object) = fields.get("object").and_then(Value::as_str)
        && !object.contains("completion")
        && !object.is_empty()
    {
        return format!("object {object}");
    }
    match fields.get("choices").map(|choices| choices.as_array()) {
        Some(Some(choices)) if choices.is_empty() => "choices is empty".to_owned(),
        Some(Some(choices)) => {
            let indices = choices.iter().filter_map(|one| one.get("index")?.as_u64());
            let (least, most) = indices.fold((u64::MAX, 0), |(least, most), index| {
                (least.min(index), most.max(index))
            });
            let which = match (choices.len(), least, most) {
                (_, u64::MAX, _) => "the choice".to_owned(),
                (1, index, _) => format!("choice {index}"),
                (_, least, most) => format!("choices {least}–{most}"),
            };
            let reason = choices
                .iter()
                .find_map(|one| one.get("finish_reason")?.as_str());
            let reason =
                reason.map_or_else(String::new, |reason| format!(", finish_reason {reason}"));
            format!("{which} says nothing{reason}")
        }
        Some(None) => "choices is no list".to_owned(),
        None if fields.is_empty() => "an empty object".to_owned(),
        None => {
            let keys: Vec<&str> = fields.keys().map(String::as_str).take(8).collect();
            format!("keys {}", keys.join(", "))
        }
    }
}

/// What a stream consisted of.
#[derive(Default)]
struct Came {
    events: usize,
    empty: bool,
    usage: bool,
    done: bool,
    json: usize,
    finish: Option<String>,
    object: Option<String>,
    other: Option<String>,
    broken: usize,
    begins: Option<String>,
}

fn of_events(record: &Record) -> Problem {
    let mut came = Came::default();
    for mark in record.transcript.iter() {
        came.take(mark.kind, mark.bytes);
    }
    if came.events == 0 {
        let bytes = record.wire.body_received;
        let (message, cause) = match bytes {
            0 => ("The event stream is empty", String::new()),
            _ => (
                "The event stream has no event, only comments or fields without data",
                format!("{bytes} bytes"),
            ),
        };
        return Problem::nothing(format!("{message}: {}", status(record)), cause);
    }
    let s = if came.events == 1 { "" } else { "s" };
    let mut cause = format!("{} event{s}", came.events);
    if came.json == 0 && came.broken > 0 && !came.empty && came.finish.is_none() {
        cause.push_str(", none of them JSON");
    }
    if let Some(begins) = &came.begins {
        let which = if came.json == 0 {
            "the first"
        } else {
            "the first that is no JSON"
        };
        cause.push_str(&format!("; {which} begins: {begins}"));
    }
    Problem::nothing(came.message(), cause)
}

impl Came {
    fn take(&mut self, kind: MarkKind, bytes: &[u8]) {
        self.events += 1;
        match kind {
            MarkKind::Empty if bytes.is_empty() => self.empty = true,
            MarkKind::Finish => {
                let reason = String::from_utf8_lossy(bytes).into_owned();
                self.finish.get_or_insert(reason);
            }
            MarkKind::Done => self.done = true,
            MarkKind::Data | MarkKind::Bare => match answer::parse(bytes) {
                Some(document) => self.document(&document),
                None => {
                    self.broken += 1;
                    self.begins.get_or_insert_with(|| excerpt(bytes));
                }
            },
            _ => {}
        }
    }

    fn document(&mut self, document: &Value) {
        self.json += 1;
        let choices = document.get("choices").and_then(Value::as_array);
        let choice = choices.and_then(|choices| choices.first());
        let is_usage = document.get("usage").is_some_and(Value::is_object);
        let object = document.get("object").and_then(Value::as_str);
        if let Some(reason) = choice.and_then(|one| one.get("finish_reason")?.as_str()) {
            self.finish.get_or_insert_with(|| reason.to_owned());
        }
        self.usage |= is_usage;
        match (object, choice) {
            (Some(object), _) if !object.is_empty() && !object.contains("completion") => {
                self.object.get_or_insert_with(|| object.to_owned());
            }
            (_, Some(_)) => self.empty = true,
            (_, None) if !is_usage => {
                let kind = document.get("type").and_then(Value::as_str);
                let what = kind.map_or_else(|| describe(document), |kind| format!("type {kind}"));
                self.other.get_or_insert(what);
            }
            (_, None) => {}
        }
    }

    fn message(&self) -> String {
        let meant = self.empty || self.usage || self.finish.is_some();
        if self.broken > 0 && !meant && self.json == 0 {
            return "No event of the stream is JSON".to_owned();
        }
        if let (Some(object), false) = (&self.object, meant || self.broken > 0) {
            return format!("The events are objects of another kind: {object}");
        }
        let finish = self.finish.as_ref();
        let parts = [
            self.empty.then(|| "deltas without content".to_owned()),
            finish.map(|reason| format!("finish_reason {reason}")),
            self.usage.then(|| "usage".to_owned()),
            self.object
                .as_ref()
                .map(|object| format!("object {object}")),
            self.other
                .as_ref()
                .map(|other| format!("JSON with {other}")),
            (self.broken > 0).then(|| "events that are no JSON".to_owned()),
            self.done.then(|| "[DONE]".to_owned()),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        match parts.as_slice() {
            [] => "The events of the stream have no data".to_owned(),
            [one] => format!("No event of the stream has content; all that came is {one}"),
            [most @ .., last] => {
                let most = most.join(", ");
                format!("No event of the stream has content; what came is {most} and {last}")
            }
        }
    }
}

/// The beginning of some bytes as one line without control characters.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    const LENGTH: usize = 120;
    let some = bytes.get(..4 * LENGTH).unwrap_or(bytes);
    let text = String::from_utf8_lossy(some);
    let text = match some.len() < bytes.len() {
        true => hidden_cut(&text),
        false => hidden(&text),
    };
    let text = hidden_by_shape(&text);
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let mut shown: String = line
        .chars()
        .take(LENGTH)
        .flat_map(|c| match c.is_control() {
            true => c.escape_default().collect::<Vec<char>>(),
            false => vec![c],
        })
        .collect();
    if line.chars().count() > LENGTH || some.len() < bytes.len() {
        shown.push('…');
    }
    shown
}
