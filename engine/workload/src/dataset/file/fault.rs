//! Faults of a dataset: where in the file, which field, what is wrong and what would be right.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

use super::DatasetError;
use super::pieces::Piece;

/// A field at fault and the reason; the place is known to the caller.
pub(super) type Fault = (String, String);

/// Characters of a value that a message shows.
const SHOWN: usize = 40;
/// Names that a list shows.
pub(super) const NAMES: usize = 12;

/// The fault of `field`.
pub(super) fn fault<T>(field: impl Into<String>, reason: impl Into<String>) -> Result<T, Fault> {
    Err((field.into(), reason.into()))
}

/// The fault with its line.
pub(super) fn line_fault(path: &Path, line: usize, field: &str, reason: String) -> DatasetError {
    DatasetError::Line {
        path: path.to_path_buf(),
        line,
        field: field.to_owned(),
        reason,
    }
}

/// The fault with the place of its piece.
pub(super) fn piece_fault(path: &Path, piece: &Piece, (field, reason): Fault) -> DatasetError {
    let whole = field == "line" && !piece.prefix.is_empty();
    let field = match whole {
        true => piece.prefix.trim_end_matches('.').to_owned(),
        false => format!("{}{field}", piece.prefix),
    };
    line_fault(path, piece.line, &field, reason)
}

/// A file that the system does not give.
pub(super) fn read_fault(path: &Path, cause: std::io::Error) -> DatasetError {
    DatasetError::Read {
        path: path.to_path_buf(),
        cause,
    }
}

/// A value as messages show it: short.
pub(super) fn shown(value: &Value) -> String {
    let kind = match value {
        Value::Array(values) if values.is_empty() => return "an empty list".to_owned(),
        Value::Object(fields) if fields.is_empty() => return "an empty object".to_owned(),
        Value::Array(_) => return "a list".to_owned(),
        Value::Object(_) => return "an object".to_owned(),
        other => other.to_string(),
    };
    if kind.chars().count() <= SHOWN {
        return kind;
    }
    let start: String = kind.chars().take(SHOWN).collect();
    format!("{start}…")
}

/// A text as messages show it: short and on one line.
pub(super) fn quoted(text: &str) -> String {
    shown(&Value::from(text))
}

/// Names as warnings show them: not more than a few.
pub(super) fn listed(names: &BTreeSet<String>) -> String {
    let mut shown: Vec<String> = names.iter().take(NAMES).map(|name| plain(name)).collect();
    if names.len() > NAMES {
        shown.push("and others".to_owned());
    }
    shown.join(", ")
}

/// A name without quotes if it is one word.
fn plain(name: &str) -> String {
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '-' || c == '.';
    let short = name.chars().count() <= SHOWN && name.chars().all(word);
    if short { name.to_owned() } else { quoted(name) }
}

/// The object of a piece, or why there is none.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>, Fault> {
    let value = match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text),
        Err(cause) => {
            let reason = format!(
                "is not UTF-8 (byte {} of it); save the file as UTF-8",
                cause.valid_up_to() + 1
            );
            return fault("line", reason);
        }
    };
    match value {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => {
            let reason = format!("must be a JSON object, not {}", shown(&other));
            fault("line", reason)
        }
        Err(cause) => fault("line", not_json(bytes, &cause)),
    }
}

fn not_json(bytes: &[u8], cause: &serde_json::Error) -> String {
    // The parser counts lines of the piece, which is one line of ours.
    let said = cause.to_string();
    let what = said.split(" at line ").next().unwrap_or(&said);
    let at = cause.column();
    let holds = |word: &str| {
        let mut windows = bytes.windows(word.len());
        windows.any(|window| window == word.as_bytes())
    };
    if cause.is_syntax() && (holds("NaN") || holds("Infinity")) {
        return format!(
            "is not JSON: {what} at character {at}; JSON has no NaN and no Infinity, leave such a \
             field out"
        );
    }
    format!("is not JSON: {what} at character {at}; each line must be one JSON object")
}
