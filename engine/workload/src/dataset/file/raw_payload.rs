//! raw_payload: whole request bodies, sent byte for byte whatever the endpoint's kind. A file holds
//! a body per line, each a conversation; a folder holds a conversation per `*.jsonl` file.

use std::path::Path;

use serde_json::{Map, Value};

use super::fault::{Fault, fault, shown};
use super::folder;
use super::load::{Entry, Loading, Progress, Row, Rules, What};
use super::notes::{Notes, content_row};
use super::pieces::{Lines, Opened, Piece};
use super::sample::{Fit, Sample};
use super::{DatasetError, FileSpec};
use crate::dataset::{Build, Dataset};

/// The endings of the files that a folder is read from.
const ENDINGS: [&str; 2] = [".jsonl", ".jsonl.gz"];

/// Whether a file's first line, or that of any `*.jsonl` of a folder, is of this format.
pub(super) fn fits(sample: &Sample<'_>) -> Fit {
    let plain = |first: &Map<String, Value>| {
        let foreign = first.contains_key("conversation_id")
            || first.get("data").is_some_and(Value::is_array)
            || super::sample::is_speed_bench(first);
        first.get("messages").is_some_and(Value::is_array) && !foreign
    };
    let given = match sample.folder {
        None => sample.first.is_some_and(plain),
        Some(files) => files.iter().any(|(path, first)| {
            folder::ends_with(path, &ENDINGS) && first.as_ref().is_some_and(plain)
        }),
    };
    if given { Fit::Yes } else { Fit::No }
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
    let mut loading = Loading::new(spec, build, rules);
    if !spec.path.is_dir() {
        let read = |piece: &Piece, notes: &mut Notes| payload(piece, None, notes);
        return loading.whole_file(Lines::new, &read, progress);
    }
    let files = folder::files(&spec.path, &ENDINGS)?;
    let total = folder::size(&files);
    let mut before = 0;
    for path in &files {
        let opened = Opened::new(path)?;
        let size = opened.size;
        let name = stem(path);
        let read = |piece: &Piece, notes: &mut Notes| payload(piece, Some(&name), notes);
        loading.take(path, Lines::new(opened), &read, (progress, before, total))?;
        before += size;
    }
    loading.finish()
}

/// The file's name without its ending: the id of its conversation.
fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let ending = ENDINGS
        .iter()
        .rev()
        .find_map(|ending| name.strip_suffix(ending));
    ending.unwrap_or(&name).to_owned()
}

fn payload(
    piece: &Piece,
    session: Option<&str>,
    notes: &mut Notes,
) -> Result<Option<Entry>, Fault> {
    let Some(fields) = content_row(piece, &["messages"], notes)? else {
        return Ok(None);
    };
    match fields.get("messages") {
        Some(Value::Array(messages)) if !messages.is_empty() => {}
        Some(other) => {
            let reason = format!(
                "must be a list that is not empty, not {}; a line is a whole request body",
                shown(other)
            );
            return fault("messages", reason);
        }
        None => {
            let reason = "is missing; a line is a whole request body with a list of messages";
            return fault("messages", reason);
        }
    }
    Ok(Some(Entry {
        session: session.map(str::to_owned),
        rows: vec![Row {
            what: What::Body {
                bytes: piece.bytes.clone(),
                fields,
            },
            ..Row::default()
        }],
    }))
}
