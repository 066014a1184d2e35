//! multi_turn: JSONL, one conversation per line. Each turn carries the turns before it and the live
//! replies to them; a leading system turn becomes the system message of all.

use serde_json::{Map, Value};

use super::fault::{Fault, fault, shown};
use super::fields::Fields;
use super::load::{Entry, Loading, Progress, Row, Rules, What};
use super::notes::{Notes, content_row};
use super::pieces::{Lines, Piece};
use super::sample::{Fit, Sample, check_type};
use super::single_turn::turn;
use super::{DatasetError, FileSpec};
use crate::dataset::{Build, Dataset};

/// Whether a file's first line is of this format.
pub(super) fn fits(sample: &Sample<'_>) -> Fit {
    match sample.first {
        Some(first) if first.contains_key("turns") => {
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
        history: true,
        leading_system: true,
        joined: true,
    };
    let read = |piece: &Piece, notes: &mut Notes| match content_row(piece, &["turns"], notes)? {
        Some(object) => entry(object, notes).map(Some),
        None => Ok(None),
    };
    Loading::new(spec, build, rules).whole_file(Lines::new, &read, progress)
}

fn entry(object: Map<String, Value>, notes: &mut Notes) -> Result<Entry, Fault> {
    let mut fields = Fields::new(object);
    check_type(&mut fields, "multi_turn")?;
    let session = fields.name("session_id")?;
    let turns = match fields.list("turns")? {
        Some(turns) if !turns.is_empty() => turns,
        Some(_) => return fault("turns", "is empty; a conversation needs at least one turn"),
        None => return fault("turns", "is missing; a conversation needs a list of turns"),
    };
    let rows = turns.into_iter().enumerate();
    let rows = rows.map(|(n, value)| {
        row(value, notes).map_err(|(field, reason)| (format!("turns[{n}]{field}"), reason))
    });
    let rows = rows.collect::<Result<_, _>>()?;
    fields.rest(&mut notes.unknown);
    Ok(Entry { session, rows })
}

fn row(value: Value, notes: &mut Notes) -> Result<Row, Fault> {
    let Value::Object(object) = value else {
        return fault("", format!("must be an object, not {}", shown(&value)));
    };
    let mut fields = Fields::new(object);
    let row = turn(&mut fields, notes).map_err(|(field, reason)| (format!(".{field}"), reason))?;
    if let What::TurnContent(said) = &row.what
        && said.role.as_deref() == Some("assistant")
    {
        notes.assistant += 1;
    }
    fields.rest(&mut notes.unknown);
    Ok(row)
}
