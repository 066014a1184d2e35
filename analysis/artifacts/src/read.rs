//! Reading JSON files: what cannot be used is an error with its path.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::de::DeserializeOwned;

/// A JSON file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// It holds something else.
    #[error("{}: {cause}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: serde_json::Error,
    },
}

/// Reads a JSON file.
///
/// # Errors
/// It cannot be read, or holds something else.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ReadError> {
    let read = |cause| ReadError::Read {
        path: path.to_owned(),
        cause,
    };
    let bytes = fs::read(path).map_err(read)?;
    serde_json::from_slice(&bytes).map_err(|cause| ReadError::Content {
        path: path.to_owned(),
        cause,
    })
}
