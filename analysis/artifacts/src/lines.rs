//! A file of JSON lines, one at a time, whatever its size.
//!
//! A line that is cut off at the end of the file is what a killed run leaves: it is counted and
//! left out. Anything else that cannot be read is an error with its place.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

/// A file of lines cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LinesError {
    /// The file.
    #[error("cannot read {}: {cause}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// One of its lines.
    #[error("{}, line {number}: {what}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        number: u64,
        /// What is wrong.
        what: String,
    },
}

/// The lines of a file that is being read.
pub struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    line: Vec<u8>,
    number: u64,
    bytes: u64,
    torn: Option<u64>,
}

impl Lines {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> Result<Self, LinesError> {
        Self::with_buffer(path, 1 << 18)
    }

    /// The same with so many bytes read at a time: of many files at once.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn with_buffer(path: &Path, bytes: usize) -> Result<Self, LinesError> {
        let file = File::open(path).map_err(|cause| read(path, cause))?;
        Ok(Self {
            path: path.to_owned(),
            reader: BufReader::with_capacity(bytes, file),
            line: Vec::new(),
            number: 0,
            bytes: 0,
            torn: None,
        })
    }

    /// What `read` makes of the next line that is not blank; `None` at the end.
    ///
    /// # Errors
    /// The line cannot be read, and is not the last one cut off.
    pub fn next<T>(
        &mut self,
        read: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<Option<T>, LinesError> {
        let Some(line) = self.step()? else {
            return Ok(None);
        };
        let found = read(self.line.trim_ascii());
        self.judge(line, found)
    }

    /// The next line that is not blank, to be read elsewhere and then to be [judged](Self::judge).
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next_bytes(&mut self) -> Result<Option<(LineNumber, Vec<u8>)>, LinesError> {
        let line = self.step()?;
        Ok(line.map(|line| (line, self.line.trim_ascii().to_vec())))
    }

    /// What was read of a line: nothing, if it is the last and cut off.
    ///
    /// # Errors
    /// It could not be read, and is not the last one cut off.
    pub fn judge<T>(
        &mut self,
        line: LineNumber,
        found: Result<T, String>,
    ) -> Result<Option<T>, LinesError> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(_) if !line.whole => {
                self.torn = Some(line.number);
                Ok(None)
            }
            Err(what) => Err(LinesError::Line {
                path: self.path.clone(),
                number: line.number,
                what,
            }),
        }
    }

    /// Bytes read so far.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The number of the last line, if that was cut off.
    pub const fn torn(&self) -> Option<u64> {
        self.torn
    }

    /// Goes to the next line that is not blank.
    fn step(&mut self) -> Result<Option<LineNumber>, LinesError> {
        loop {
            self.line.clear();
            let taken = self
                .reader
                .read_until(b'\n', &mut self.line)
                .map_err(|cause| read(&self.path, cause))?;
            if taken == 0 {
                return Ok(None);
            }
            self.number += 1;
            self.bytes += taken as u64;
            if !self.line.trim_ascii().is_empty() {
                return Ok(Some(LineNumber {
                    number: self.number,
                    whole: self.line.last() == Some(&b'\n'),
                }));
            }
        }
    }
}

fn read(path: &Path, cause: io::Error) -> LinesError {
    LinesError::Read {
        path: path.to_owned(),
        cause,
    }
}

/// Which line it was.
#[derive(Clone, Copy, Debug)]
pub struct LineNumber {
    number: u64,
    /// It has its line end; only the last one of a file can be without.
    whole: bool,
}
