//! single_turn: JSONL, one request per line. Rows of one session are turns of a conversation, each
//! complete by itself.

use serde_json::{Map, Value};

use super::fault::{Fault, fault};
use super::fields::Fields;
use super::load::{Entry, Loading, Progress, Row, Rules, What};
use super::notes::{Notes, content_row};
use super::pieces::{Lines, Piece};
use super::sample::{Fit, Sample, check_type};
use super::{DatasetError, FileSpec, turn_content};
use crate::dataset::{Build, Dataset};

/// Whether a file's first line is of this format.
pub(super) fn fits(sample: &Sample<'_>) -> Fit {
    match sample.first {
        Some(first) if turn_content::has_any(first) && !first.contains_key("turns") => {
            Fit::of(entry(first.clone(), &mut Notes::default()))
        }
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
        joined: true,
    };
    let read = |piece: &Piece, notes: &mut Notes| match content_row(
        piece,
        &turn_content::FIELDS,
        notes,
    )? {
        Some(object) => entry(object, notes).map(Some),
        None => Ok(None),
    };
    Loading::new(spec, build, rules).whole_file(Lines::new, &read, progress)
}

fn entry(object: Map<String, Value>, notes: &mut Notes) -> Result<Entry, Fault> {
    let mut fields = Fields::new(object);
    check_type(&mut fields, "single_turn")?;
    let session = fields.name("session_id")?;
    let row = turn(&mut fields, notes)?;
    fields.rest(&mut notes.unknown);
    Ok(Entry {
        session,
        rows: vec![row],
    })
}

/// The fields that a turn has in this format and in multi_turn.
pub(super) fn turn(fields: &mut Fields, notes: &mut Notes) -> Result<Row, Fault> {
    if fields.has("timestamp") && fields.has("delay") {
        return fault(
            "timestamp",
            "and `delay` exclude each other; keep one of them",
        );
    }
    let mut given = turn_content::said(fields, "")?;
    if turn_content::is_empty(&given) {
        return turn_content::nothing();
    }
    given.role = turn_content::role(fields, &mut notes.roles)?;
    Ok(Row {
        what: What::TurnContent(given),
        max_tokens: fields.tokens("output_length")?,
        at_ms: fields.millis("timestamp")?,
        delay_ms: fields.millis("delay")?,
        extra: fields.object("extra")?,
    })
}
