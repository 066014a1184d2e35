//! The files of a folder that is a dataset.

use std::path::{Path, PathBuf};

use super::DatasetError;
use super::fault::read_fault;

/// Whether the file's name ends like one of these; all do if there are none.
pub(super) fn ends_with(path: &Path, endings: &[&str]) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    endings.is_empty() || endings.iter().any(|ending| name.ends_with(ending))
}

/// The files of a folder with one of these endings, by name; hidden ones are left out.
///
/// # Errors
/// There is none, or the folder cannot be read.
pub(super) fn files(folder: &Path, endings: &[&str]) -> Result<Vec<PathBuf>, DatasetError> {
    let fault = |cause| read_fault(folder, cause);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fault)? {
        let path = entry.map_err(fault)?.path();
        let hidden = path
            .file_name()
            .is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if path.is_file() && !hidden && ends_with(&path, endings) {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        let kind = match endings.first() {
            Some(ending) => format!("no *{ending} file"),
            None => "no file".to_owned(),
        };
        let what = format!("the folder {} has {kind}", folder.display());
        return Err(DatasetError::Empty { what });
    }
    Ok(files)
}

/// Bytes of these files together.
pub(super) fn size(files: &[PathBuf]) -> u64 {
    let size = |path: &PathBuf| path.metadata().map_or(0, |meta| meta.len());
    files.iter().map(size).sum()
}
