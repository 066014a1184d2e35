//! inputs_json: the `inputs.json` of a run, sent again. Payload k of a session is its turn k, as it
//! stands: a body has no history, so what was a conversation is sent without it.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::fault::{Fault, fault, shown};
use super::fields::Fields;
use super::load::{Entry, Loading, Progress, Row, Rules, What};
use super::notes::{Notes, content_row};
use super::pieces::{Elements, Piece};
use super::sample::{Fit, Sample};
use super::{DatasetError, FileSpec};
use crate::dataset::{Build, Dataset};

/// Whether a document's `data[0].payloads` is a list.
pub(super) fn fits(sample: &Sample<'_>) -> Fit {
    let inline = sample.first.and_then(|first| first.get("data")?.get(0));
    let element = sample.element.filter(|_| sample.keyed).or(inline);
    match element.and_then(|element| element.get("payloads")) {
        Some(Value::Array(_)) => Fit::Yes,
        _ => Fit::No,
    }
}

pub(super) fn load(
    spec: &FileSpec,
    build: &Build<'_>,
    progress: Progress<'_>,
) -> Result<Dataset, DatasetError> {
    let rules = Rules {
        history: false,
        leading_system: false,
        joined: false,
    };
    let read = |piece: &Piece, notes: &mut Notes| session(piece, notes);
    let cut = |opened| Elements::new(opened, Some("data"));
    Loading::new(spec, build, rules).whole_file(cut, &read, progress)
}

/// The payloads as they stand in the file.
#[derive(Deserialize)]
struct Payloads<'a> {
    #[serde(borrow)]
    payloads: Vec<&'a RawValue>,
}

fn session(piece: &Piece, notes: &mut Notes) -> Result<Option<Entry>, Fault> {
    let Some(object) = content_row(piece, &["payloads"], notes)? else {
        return Ok(None);
    };
    let mut fields = Fields::new(object);
    let Some(session) = fields.name("session_id")? else {
        return fault("session_id", "is missing; every session needs one");
    };
    let payloads = match fields.list("payloads")? {
        Some(payloads) if !payloads.is_empty() => payloads,
        Some(_) => return fault("payloads", "is empty; a session needs at least one payload"),
        None => return fault("payloads", "is missing; a session needs a list of payloads"),
    };
    fields.rest(&mut notes.unknown);
    // Numbers and the order of keys must come out as they went in.
    let texts: Payloads<'_> = match serde_json::from_slice(&piece.bytes) {
        Ok(texts) => texts,
        Err(cause) => return fault("payloads", cause.to_string()),
    };
    let rows = payloads.into_iter().zip(texts.payloads).enumerate();
    let rows = rows.map(|(n, (payload, text))| match payload {
        Value::Object(fields) if !fields.is_empty() => Ok(Row {
            what: What::Body {
                bytes: compact(text.get()),
                fields,
            },
            ..Row::default()
        }),
        other => fault(
            format!("payloads[{n}]"),
            format!("must be an object that is not empty, not {}", shown(&other)),
        ),
    });
    Ok(Some(Entry {
        session: Some(session),
        rows: rows.collect::<Result<_, _>>()?,
    }))
}

/// The same JSON without blanks between its parts.
fn compact(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
        } else if byte.is_ascii_whitespace() {
            continue;
        } else {
            in_string = byte == b'"';
        }
        bytes.push(byte);
    }
    bytes.shrink_to_fit();
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn bodies_come_out_as_they_went_in() {
        let text = "{\n \"b\" : [ 1.50, 1e3 , \"a \\\" b\\\\\" ],\n\t\"a\": { } }";
        let expected = r#"{"b":[1.50,1e3,"a \" b\\"],"a":{}}"#;
        assert_eq!(String::from_utf8(compact(text)).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn pretty_and_compact_are_inverse(key in ".*", text in ".*", number: f64, whole: i64) {
            let value = json!({key: [text, {"n": [number, whole, null, true]}, {}, []]});
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(compact(&pretty), serde_json::to_vec(&value).unwrap());
        }
    }
}
