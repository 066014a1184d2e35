//! The formats of dataset files: one table. A new format is a row here and a file beside this one.

use std::path::Path;

use serde_json::{Map, Value};

use super::load::Progress;
use super::sample::{self, FirstLine, Fit, SPEED_BENCH, Sample, is_speed_bench};
use super::{
    DatasetError, FileSpec, inputs, multi_turn, random_pool, raw_payload, sharegpt, single_turn,
};
use crate::dataset::{Build, Dataset, mooncake};

/// A format of dataset files.
pub struct Format {
    /// Its name in `--custom-dataset-type` and in a line's `type`.
    pub name: &'static str,
    /// Recorded traffic: a first line with a timestamp makes a fixed schedule of it.
    pub is_trace: bool,
    /// Tokens per hash id, where lines have such ids.
    pub block_size: Option<u32>,
    /// What a user can do with it.
    pub support: Support,
    /// Its lines may have timestamps.
    pub timed: bool,
    /// How many conversations it makes is the user's choice.
    pub drawn: bool,
    /// Bodies are in the file and sent as they are: nothing is added.
    pub verbatim: bool,
    /// A run over it writes `inputs.json`.
    pub writes_inputs: bool,
    /// Whether a file or folder is of it.
    fits: fn(&Sample<'_>) -> Fit,
}

/// What there is behind a format's name.
#[derive(Clone, Copy)]
pub enum Support {
    /// A loader.
    File {
        /// It.
        load: Load,
        /// It reads folders too.
        folders: bool,
    },
    /// `dataset::mooncake`, which has options of its own.
    Mooncake,
    /// Nothing: it is refused by name.
    NotBuilt,
}

/// Makes the dataset of a file.
pub type Load = fn(&FileSpec, &Build<'_>, Progress<'_>) -> Result<Dataset, DatasetError>;

/// A row whose other columns are the common ones.
const COMMON: Format = Format {
    name: "",
    is_trace: false,
    block_size: None,
    support: Support::NotBuilt,
    timed: false,
    drawn: false,
    verbatim: false,
    writes_inputs: true,
    fits: |_| Fit::No,
};

const fn file(load: Load) -> Support {
    Support::File {
        load,
        folders: false,
    }
}

const fn file_or_folder(load: Load) -> Support {
    Support::File {
        load,
        folders: true,
    }
}

/// All formats that have a name, those that can be read first.
pub static FORMATS: &[Format] = &[
    Format {
        name: "single_turn",
        support: file(single_turn::load),
        timed: true,
        fits: single_turn::fits,
        ..COMMON
    },
    Format {
        name: "multi_turn",
        support: file(multi_turn::load),
        timed: true,
        fits: multi_turn::fits,
        ..COMMON
    },
    Format {
        name: "random_pool",
        support: file_or_folder(random_pool::load),
        drawn: true,
        fits: random_pool::fits,
        ..COMMON
    },
    Format {
        name: "raw_payload",
        support: file_or_folder(raw_payload::load),
        verbatim: true,
        writes_inputs: false,
        fits: raw_payload::fits,
        ..COMMON
    },
    Format {
        name: "inputs_json",
        support: file(inputs::load),
        verbatim: true,
        writes_inputs: false,
        fits: inputs::fits,
        ..COMMON
    },
    Format {
        name: "sharegpt",
        support: file(sharegpt::load),
        fits: sharegpt::fits,
        ..COMMON
    },
    Format {
        name: "mooncake_trace",
        is_trace: true,
        block_size: Some(mooncake::DEFAULT_BLOCK_SIZE),
        support: Support::Mooncake,
        timed: true,
        writes_inputs: false,
        fits: mooncake_fits,
        ..COMMON
    },
    Format {
        name: "bailian_trace",
        is_trace: true,
        block_size: Some(16),
        fits: |sample| {
            let whole = |first: &Map<String, Value>| {
                let fields = ["chat_id", "timestamp", "input_length", "output_length"];
                let number = |field: &str| first.get(field).is_some_and(Value::is_number);
                fields.iter().all(|field| number(field))
            };
            Fit::when(sample.first.is_some_and(whole))
        },
        ..COMMON
    },
    Format {
        name: "burst_gpt_trace",
        is_trace: true,
        fits: |sample| {
            let columns = ["Timestamp", "Request tokens", "Response tokens"];
            let has = |header: &str| columns.iter().all(|column| header.contains(column));
            Fit::when(sample.header.is_some_and(has))
        },
        ..COMMON
    },
    Format {
        name: "baseten_trace",
        is_trace: true,
        block_size: Some(64),
        fits: |sample| Fit::when(sample.name.ends_with(".parquet")),
        ..COMMON
    },
    Format {
        name: "sagemaker_data_capture",
        is_trace: true,
        fits: |sample| {
            let captured = |first: &Map<String, Value>| {
                first.contains_key("captureData") && first.contains_key("eventMetadata")
            };
            let folder = |files: &[FirstLine]| {
                files
                    .iter()
                    .any(|(_, first)| first.as_ref().is_some_and(captured))
            };
            Fit::when(sample.first.is_some_and(captured) || sample.folder.is_some_and(folder))
        },
        ..COMMON
    },
    Format {
        name: "dag_jsonl",
        fits: |sample| {
            let keys = ["messages", "forks", "spawns"];
            let branches = |turn: &Value| keys.iter().any(|key| turn.get(*key).is_some());
            let graph = |first: &Map<String, Value>| {
                let turns = first.get("turns").and_then(Value::as_array);
                first.get("session_id").is_some_and(Value::is_string)
                    && turns.is_some_and(|turns| turns.iter().any(branches))
            };
            Fit::when(sample.first.is_some_and(graph))
        },
        ..COMMON
    },
    Format {
        name: "weka_trace",
        is_trace: true,
        block_size: Some(64),
        ..COMMON
    },
    Format {
        name: "tracelab",
        is_trace: true,
        block_size: Some(64),
        ..COMMON
    },
    Format {
        name: SPEED_BENCH,
        fits: |sample| Fit::when(sample.first.is_some_and(is_speed_bench)),
        ..COMMON
    },
];

fn mooncake_fits(sample: &Sample<'_>) -> Fit {
    // A line of another trace may have all that this one needs.
    let own = |first: &&Map<String, Value>| {
        !is_speed_bench(first)
            && first
                .get("type")
                .is_none_or(|name| name == "mooncake_trace")
    };
    match sample.first.filter(own) {
        Some(first) => match mooncake::check_line(first.clone()) {
            Ok(()) => Fit::Yes,
            Err(fault) => {
                let marks = [
                    "input_length",
                    "text_input",
                    "messages",
                    "payload",
                    "hash_ids",
                ];
                let marked = marks.iter().any(|mark| first.contains_key(*mark));
                if marked { Fit::Wrong(fault) } else { Fit::No }
            }
        },
        None => Fit::No,
    }
}

impl Format {
    /// By its name on the command line: any letter case, `-` and `_` alike.
    pub fn named(name: &str) -> Option<&'static Self> {
        let name = sample::named(name)?;
        FORMATS.iter().find(|format| format.name == name)
    }

    /// Whether a sample of a file or folder is of it.
    pub(super) fn fits(&self, sample: &Sample<'_>) -> Fit {
        (self.fits)(sample)
    }

    /// A folder is refused where the format wants a file.
    ///
    /// # Errors
    /// It is one.
    pub fn check_kind(&self, path: &Path) -> Result<(), DatasetError> {
        let folders = matches!(self.support, Support::File { folders: true, .. });
        if !path.is_dir() || folders {
            return Ok(());
        }
        Err(DatasetError::Unfit {
            path: path.to_path_buf(),
            reason: format!(
                "is a folder, but {} is read from a file; name the file",
                self.name
            ),
        })
    }

    /// Whether pinfire reads it.
    pub const fn is_built(&self) -> bool {
        !matches!(self.support, Support::NotBuilt)
    }

    /// The names of those that can be read, for messages.
    pub fn built_names() -> String {
        let built = FORMATS.iter().filter(|format| format.is_built());
        built
            .map(|format| format.name)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl std::fmt::Debug for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_name_in_order() {
        assert!(FORMATS.iter().map(|format| format.name).eq(sample::NAMES));
    }
}
