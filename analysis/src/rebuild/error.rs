//! Why a run cannot be read.

use std::io;
use std::path::PathBuf;

use pinfire_artifacts::{FindError, LinesError, ReadError, WriteError};

/// A run cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// A file.
    #[error("cannot read {}: {cause}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// One line of a file.
    #[error("{}, line {number}: {what}; the lines before it can be read alone if this one is taken out", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, counted from 1.
        number: u64,
        /// Why.
        what: String,
    },
    /// No file of requests.
    #[error(
        "{} has neither profile_export_raw.jsonl nor profile_export.jsonl; name the folder of a run \
         (--artifact-dir) whose --export-level was records or raw",
        dir.display()
    )]
    NoRequests {
        /// The folder.
        dir: PathBuf,
    },
    /// Files of several runs.
    #[error("{} holds several runs ({names}); put each into a folder of its own", dir.display())]
    Several {
        /// The folder.
        dir: PathBuf,
        /// The summaries' names.
        names: String,
    },
    /// The shards of a run do not fit together.
    #[error("{0}")]
    Shards(String),
    /// The kind of endpoint.
    #[error("{0}")]
    Endpoint(String),
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<LinesError> for RebuildError {
    fn from(error: LinesError) -> Self {
        match error {
            LinesError::Read { path, cause } => Self::Read { path, cause },
            LinesError::Line { path, number, what } => Self::Line { path, number, what },
        }
    }
}

impl From<ReadError> for RebuildError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Read { path, cause } => Self::Read { path, cause },
            ReadError::Content { path, cause } => Self::Read {
                path,
                cause: io::Error::other(format!("it is no summary of a run: {cause}")),
            },
        }
    }
}

impl From<FindError> for RebuildError {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Read { path, cause } => Self::Read { path, cause },
            FindError::None { path, .. } => Self::NoRequests { dir: path },
            FindError::Several { path, prefixes } => Self::Several {
                dir: path,
                names: prefixes.join(", "),
            },
        }
    }
}
