//! Writing files: as a whole under another name first, so that a reader never sees half of one, or
//! line by line while a run goes on. No write error is passed over, and no credential is written.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pinfire_guard::{cell, hidden_json};
use serde::Serialize;
use serde_json::Value;

/// A file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {cause}", path.display())]
pub struct WriteError {
    action: &'static str,
    path: PathBuf,
    cause: io::Error,
}

impl WriteError {
    /// What could not be done with which file, and why.
    pub fn new(action: &'static str, path: &Path, cause: io::Error) -> Self {
        Self {
            action,
            path: path.to_owned(),
            cause,
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Writes a file as a whole.
///
/// # Errors
/// It cannot be written; what was there before is still there.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), WriteError> {
    let mut name = path.file_name().unwrap_or(path.as_os_str()).to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    fs::write(&temporary, content).map_err(|e| WriteError::new("write", &temporary, e))?;
    fs::rename(&temporary, path).map_err(|e| WriteError::new("rename to", path, e))
}

/// Of types of this crate: their keys are texts, their numbers finite, and memory takes every byte.
const SERIALISES: &str = "a type of this crate serialises into memory";

/// A document as it stands in a file: two spaces of indent, no newline at the end, no credentials.
#[expect(
    clippy::expect_used,
    reason = "keys are texts and memory takes every byte: there is no way to fail"
)]
pub fn json_bytes(document: &impl Serialize) -> Vec<u8> {
    let document = serde_json::to_vec_pretty(document).expect(SERIALISES);
    hidden_json(&document).unwrap_or(document)
}

/// Appends a value to a line, as it is: [`LineFile::write`] hides what must not be written.
#[expect(
    clippy::expect_used,
    reason = "keys are texts and memory takes every byte: there is no way to fail"
)]
pub fn append(line: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(line, value).expect(SERIALISES);
}

/// A document as JSON on one line, without credentials.
#[expect(
    clippy::expect_used,
    reason = "keys are texts and memory takes every byte: there is no way to fail"
)]
pub fn json_line(document: &impl Serialize) -> String {
    const TEXT: &str = "JSON is text, with credentials and without";
    let line = serde_json::to_vec(document).expect(SERIALISES);
    String::from_utf8(hidden_json(&line).unwrap_or(line)).expect(TEXT)
}

/// A document as a JSON value.
#[expect(
    clippy::expect_used,
    reason = "keys are texts: there is no way to fail"
)]
pub fn json_value(document: &impl Serialize) -> Value {
    serde_json::to_value(document).expect(SERIALISES)
}

/// Rows as CSV. Numbers stay as they are, and text does nothing in a spreadsheet or a terminal.
#[expect(
    clippy::expect_used,
    reason = "memory takes every byte, and rows of another length are taken as they are"
)]
pub fn csv_bytes(
    builder: &mut csv::WriterBuilder,
    rows: impl IntoIterator<Item = Vec<String>>,
) -> Vec<u8> {
    let mut writer = builder.flexible(true).from_writer(Vec::new());
    for row in rows {
        let cells = row.iter().map(|text| cell(text).into_owned().into_bytes());
        writer
            .write_record(cells)
            .expect("rows may have any length");
    }
    writer.into_inner().expect("memory takes every byte")
}

/// A file that grows line by line while a run goes on.
pub struct LineFile {
    file: BufWriter<File>,
    path: PathBuf,
    bytes: u64,
}

impl LineFile {
    /// Creates it; an existing one is replaced.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn create(path: &Path) -> Result<Self, WriteError> {
        let file = File::create(path).map_err(|e| WriteError::new("create", path, e))?;
        Ok(Self {
            file: BufWriter::with_capacity(1 << 18, file),
            path: path.to_owned(),
            bytes: 0,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends lines of JSON, without credentials.
    ///
    /// # Errors
    /// The disk is full, or the like.
    pub fn write(&mut self, lines: &[u8]) -> Result<(), WriteError> {
        let hidden = hidden_json(lines);
        let lines = hidden.as_deref().unwrap_or(lines);
        let written = self.file.write_all(lines);
        self.bytes += lines.len() as u64;
        written.map_err(|e| WriteError::new("write", &self.path, e))
    }

    /// Hands what was written to the system.
    ///
    /// # Errors
    /// The disk is full, or the like.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        let flushed = self.file.flush();
        flushed.map_err(|e| WriteError::new("write", &self.path, e))
    }

    /// Checks that what was written is where it should be: the file may have been removed, replaced
    /// or cut by someone else in the meantime.
    ///
    /// # Errors
    /// What was written is lost.
    pub fn check(&mut self) -> Result<(), WriteError> {
        self.flush()?;
        let lost = |cause| WriteError::new("find what was written to", &self.path, cause);
        let there = fs::metadata(&self.path).map_err(lost)?;
        let ours = self.file.get_ref().metadata().map_err(lost)?;
        if (there.dev(), there.ino()) != (ours.dev(), ours.ino()) {
            let cause = "another file is in its place, and the lines of this run are lost";
            return Err(lost(io::Error::other(cause)));
        }
        if there.len() != self.bytes {
            let (has, wrote) = (there.len(), self.bytes);
            let cause = format!("it has {has} bytes, and {wrote} were written");
            return Err(lost(io::Error::other(cause)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken;

    impl Serialize for Broken {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("it cannot be written down"))
        }
    }

    #[test]
    #[should_panic(expected = "it cannot be written down")]
    fn what_cannot_be_serialised_is_no_empty_file() {
        json_bytes(&Broken);
    }

    #[test]
    fn rows_of_any_length_are_rows() {
        let rows = [vec!["a".to_owned(), "b".to_owned()], vec!["c".to_owned()]];
        let bytes = csv_bytes(&mut csv::WriterBuilder::new(), rows);
        assert_eq!(bytes, b"a,b\nc\n");
    }

    #[test]
    fn lines_that_are_lost_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let begin = || {
            let mut file = LineFile::create(&path).unwrap();
            file.write(b"{}\n").unwrap();
            file
        };
        assert!(begin().check().is_ok());
        let mut removed = begin();
        fs::remove_file(&path).unwrap();
        assert!(removed.check().is_err());
        let mut replaced = begin();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "{}\n").unwrap();
        let error = replaced.check().unwrap_err().to_string();
        assert!(error.contains("another file"), "{error}");
        let mut cut = begin();
        cut.flush().unwrap();
        fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_len(1))
            .unwrap();
        let error = cut.check().unwrap_err().to_string();
        assert!(error.contains("1 bytes, and 3"), "{error}");
    }
}
