//! Which format a file or folder has, when the user does not say: every format is asked, and what
//! fits two is not guessed.

use std::path::Path;

use serde_json::Value;

use super::DatasetError;
use super::fault::{Fault, line_fault, object, read_fault};
use super::folder;
use super::format::{FORMATS, Format};
use super::pieces::{Elements, Lines, Opened, Piece};
use super::sample::{FirstLine, Fit, Sample};

/// The flag that ends all doubt.
const FLAG: &str = "--custom-dataset-type";

/// The format of this file or folder.
///
/// # Errors
/// None fits or several do, or the file cannot be read.
pub fn detect(path: &Path) -> Result<&'static Format, DatasetError> {
    let meta = std::fs::metadata(path).map_err(|cause| read_fault(path, cause))?;
    if meta.is_dir() {
        return of_folder(path);
    }
    if !meta.is_file() {
        let reason = format!(
            "is no ordinary file, so it can be read only once; name its format with {FLAG}"
        );
        return Err(unfit(path, reason));
    }
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    if name.ends_with(".parquet") {
        let sample = Sample {
            name: &name,
            ..NOTHING
        };
        return choose(path, 1, &sample, None);
    }
    if let Some(format) = of_document(path, &name)? {
        return Ok(format);
    }
    let Some(first) = first_row(path)? else {
        let what = format!("{} has no entries", path.display());
        return Err(DatasetError::Empty { what });
    };
    let header = String::from_utf8_lossy(&first.bytes);
    match object(&first.bytes) {
        Ok(object) => {
            let sample = Sample {
                name: &name,
                first: Some(&object),
                ..NOTHING
            };
            choose(path, first.line, &sample, None)
        }
        Err(fault) => {
            let sample = Sample {
                name: &name,
                header: Some(&header),
                ..NOTHING
            };
            choose(path, first.line, &sample, Some(fault))
        }
    }
}

/// Rows that are looked at for one that has something to send.
const LOOKED_AT: usize = 1_000;

/// The first line that says something of its format: not `null`, and no object with a `null` that
/// fits none. Without one it is the first that is not `null`, else the first.
fn first_row(path: &Path) -> Result<Option<Piece>, DatasetError> {
    let mut lines = Lines::new(Opened::new(path)?);
    let mut first: Option<Piece> = None;
    for _ in 0..LOOKED_AT {
        let next = match lines.next() {
            Ok(Some(next)) => next,
            Ok(None) => break,
            // What comes before it decides; its own reader will say what is wrong.
            Err(_) if first.is_some() => break,
            Err(error) => return Err(error),
        };
        let empty = next.bytes == b"null"
            || object(&next.bytes).is_ok_and(|row| {
                let sample = Sample {
                    first: Some(&row),
                    ..NOTHING
                };
                row.values().any(Value::is_null)
                    && FORMATS.iter().all(|one| one.fits(&sample) != Fit::Yes)
            });
        if !empty {
            return Ok(Some(next));
        }
        if first.as_ref().is_none_or(|one| one.bytes == b"null") {
            first = Some(next);
        }
    }
    Ok(first)
}

const NOTHING: Sample<'static> = Sample {
    name: "",
    first: None,
    header: None,
    element: None,
    keyed: false,
    folder: None,
};

/// The format of a JSON document: an array, or a `.json` file with an object over several lines.
fn of_document(path: &Path, name: &str) -> Result<Option<&'static Format>, DatasetError> {
    // An array's brackets may stand on lines of their own.
    let by_name = name.ends_with(".json") || name.ends_with(".json.gz");
    for key in [None, Some("data")] {
        let Some((line, element)) = first_element(path, key)? else {
            continue;
        };
        let sample = Sample {
            name,
            element: Some(&element),
            keyed: key.is_some(),
            ..NOTHING
        };
        // A line of JSONL may have a list `data` too.
        if key.is_none() || by_name || FORMATS.iter().any(|one| one.fits(&sample) == Fit::Yes) {
            return choose(path, line, &sample, None).map(Some);
        }
    }
    Ok(None)
}

/// The first element of a document that fits a format, with its line; without one the first that is
/// not `null`, else the first. What is no such document has none: its own reader says what is wrong
/// with it.
fn first_element(
    path: &Path,
    key: Option<&'static str>,
) -> Result<Option<(usize, Value)>, DatasetError> {
    let mut elements = Elements::new(Opened::new(path)?, key);
    let mut first: Option<(usize, Value)> = None;
    for _ in 0..LOOKED_AT {
        let Ok(Some(piece)) = elements.next() else {
            break;
        };
        let Ok(element) = serde_json::from_slice::<Value>(&piece.bytes) else {
            break;
        };
        let sample = Sample {
            element: Some(&element),
            keyed: key.is_some(),
            ..NOTHING
        };
        if FORMATS.iter().any(|one| one.fits(&sample) == Fit::Yes) {
            return Ok(Some((piece.line, element)));
        }
        if first.as_ref().is_none_or(|(_, one)| one.is_null()) {
            first = Some((piece.line, element));
        }
    }
    Ok(first)
}

fn of_folder(path: &Path) -> Result<&'static Format, DatasetError> {
    let files = folder::files(path, &[])?;
    let mut firsts: Vec<FirstLine> = Vec::with_capacity(files.len());
    for file in files {
        let first = first_row(&file)?;
        let first = first.and_then(|piece| object(&piece.bytes).ok());
        firsts.push((file, first));
    }
    let sample = Sample {
        folder: Some(&firsts),
        ..NOTHING
    };
    match fitting(&sample)[..] {
        [one] => Ok(one),
        [] => Err(unfit(
            path,
            format!(
                "is a folder whose files begin like no dataset (raw_payload: *.jsonl of lines with \
                 `messages`; random_pool: every file of lines with text or media); name its format \
                 with {FLAG}"
            ),
        )),
        [one, two, ..] => Err(unfit(path, several(one, two))),
    }
}

/// The one format that fits a file; `broken` is why its first line is no object.
fn choose(
    path: &Path,
    line: usize,
    sample: &Sample<'_>,
    broken: Option<Fault>,
) -> Result<&'static Format, DatasetError> {
    let named = sample.first.and_then(|first| first.get("type")?.as_str());
    if let Some(format) = named.and_then(Format::named).filter(|one| one.is_built()) {
        return match format.fits(sample) {
            Fit::Yes => Ok(format),
            Fit::Wrong((field, reason)) => Err(line_fault(path, line, &field, reason)),
            Fit::No => {
                let reason = format!("says {}, but the line has none of its fields", format.name);
                Err(line_fault(path, line, "type", reason))
            }
        };
    }
    if let Some(format) = named.and_then(Format::named) {
        return Ok(format);
    }
    match fitting(sample)[..] {
        [one] => Ok(one),
        [one, two, ..] => Err(line_fault(path, line, "line", several(one, two))),
        [] => {
            let nearly = FORMATS.iter().find_map(|format| match format.fits(sample) {
                Fit::Wrong(fault) => Some((format.name, fault)),
                _ => None,
            });
            let (field, reason) = match (nearly, broken) {
                (Some((name, (field, reason))), _) => (
                    field,
                    format!("{reason} (read as {name}; {FLAG} names another format)"),
                ),
                (None, Some((field, reason))) => (
                    field,
                    format!("{reason}; another format than JSONL is named with {FLAG}"),
                ),
                (None, None) => (
                    "line".to_owned(),
                    format!(
                        "no loader can handle this data; name its format with {FLAG}: {}",
                        Format::built_names()
                    ),
                ),
            };
            Err(line_fault(path, line, &field, reason))
        }
    }
}

fn fitting(sample: &Sample<'_>) -> Vec<&'static Format> {
    FORMATS
        .iter()
        .filter(|format| format.fits(sample) == Fit::Yes)
        .collect()
}

fn several(one: &Format, two: &Format) -> String {
    format!(
        "fits {} and {}; say which one it is with {FLAG}",
        one.name, two.name
    )
}

fn unfit(path: &Path, reason: String) -> DatasetError {
    DatasetError::Unfit {
        path: path.to_path_buf(),
        reason,
    }
}
