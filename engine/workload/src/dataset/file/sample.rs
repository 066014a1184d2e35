//! What is known of a file or folder before its format is, and whether that fits a format.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::fault::{Fault, fault};
use super::fields::Fields;

/// The names of all formats, in the order of their table.
pub(super) const NAMES: [&str; 15] = [
    "single_turn",
    "multi_turn",
    "random_pool",
    "raw_payload",
    "inputs_json",
    "sharegpt",
    "mooncake_trace",
    "bailian_trace",
    "burst_gpt_trace",
    "baseten_trace",
    "sagemaker_data_capture",
    "dag_jsonl",
    "weka_trace",
    "tracelab",
    SPEED_BENCH,
];

/// Stands for all formats whose names begin with it.
pub(super) const SPEED_BENCH: &str = "speed_bench";

/// The format's own writing of a name: any letter case, `-` and `_` alike; `None` for no format's.
pub(super) fn named(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase().replace('-', "_");
    let of_speed_bench = name
        .strip_prefix(SPEED_BENCH)
        .is_some_and(|rest| rest.starts_with('_'));
    let name = if of_speed_bench { SPEED_BENCH } else { &name };
    NAMES.into_iter().find(|known| *known == name)
}

/// Whether a line is a row of SPEED-Bench, which has messages or turns as other formats do.
pub(super) fn is_speed_bench(first: &Map<String, Value>) -> bool {
    ["question_id", "category"]
        .iter()
        .all(|key| first.contains_key(*key))
}

/// A file of a folder with its first line, if that is an object.
pub(super) type FirstLine = (PathBuf, Option<Map<String, Value>>);

/// What is known of a file or folder before its format is.
#[derive(Clone, Copy)]
pub(super) struct Sample<'a> {
    /// The file's name in lower case.
    pub(super) name: &'a str,
    /// The first line, if it is an object.
    pub(super) first: Option<&'a Map<String, Value>>,
    /// The first line, if it is not.
    pub(super) header: Option<&'a str>,
    /// The first element of a JSON document.
    pub(super) element: Option<&'a Value>,
    /// It stands in the list `data` of an object, not in an array.
    pub(super) keyed: bool,
    /// The files of a folder with their first lines.
    pub(super) folder: Option<&'a [FirstLine]>,
}

/// Whether a sample is of a format.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fit {
    No,
    Yes,
    /// It has the format's own fields, but this is wrong with them.
    Wrong(Fault),
}

impl Fit {
    pub(super) fn of<T>(read: Result<T, Fault>) -> Self {
        match read {
            Ok(_) => Self::Yes,
            Err(fault) => Self::Wrong(fault),
        }
    }

    pub(super) const fn when(fits: bool) -> Self {
        if fits { Self::Yes } else { Self::No }
    }
}

/// A line's `type` must not name another format than the one it is read as; what is no format's
/// name means something else.
pub(super) fn check_type(fields: &mut Fields, name: &str) -> Result<(), Fault> {
    match fields.any("type") {
        Some(Value::String(given)) if given != name && named(&given).is_some() => fault(
            "type",
            format!("says {given}, but the file is read as {name}; make them agree"),
        ),
        _ => Ok(()),
    }
}
