//! A file of JSON lines, one at a time, whatever its size.
//!
//! A line that is cut off at the end of the file is what a killed run leaves: it is counted and left
//! out. Anything else that cannot be read is an error with its place.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::RebuildError;

/// The lines of a file that is being read.
pub(super) struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    line: Vec<u8>,
    number: u64,
    /// Bytes read so far.
    pub(super) bytes: u64,
    /// The last line was cut off.
    pub(super) torn: bool,
}

impl Lines {
    pub(super) fn open(path: &Path) -> Result<Self, RebuildError> {
        let file = File::open(path).map_err(|cause| RebuildError::read(path, cause))?;
        Ok(Self {
            path: path.to_owned(),
            reader: BufReader::with_capacity(1 << 18, file),
            line: Vec::new(),
            number: 0,
            bytes: 0,
            torn: false,
        })
    }

    /// What `read` makes of the next line that is not blank; `None` at the end.
    pub(super) fn next<T>(
        &mut self,
        read: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<Option<T>, RebuildError> {
        let Some(line) = self.step()? else {
            return Ok(None);
        };
        let found = read(self.line.trim_ascii());
        self.judge(line, found)
    }

    /// The next line that is not blank, to be read elsewhere and then to be [judged](Self::judge).
    pub(super) fn next_bytes(&mut self) -> Result<Option<(LineNumber, Vec<u8>)>, RebuildError> {
        let line = self.step()?;
        Ok(line.map(|line| (line, self.line.trim_ascii().to_vec())))
    }

    /// What was read of a line: nothing, if it is the last and cut off.
    pub(super) fn judge<T>(
        &mut self,
        line: LineNumber,
        found: Result<T, String>,
    ) -> Result<Option<T>, RebuildError> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(_) if !line.whole => {
                self.torn = true;
                Ok(None)
            }
            Err(what) => Err(RebuildError::Line {
                path: self.path.clone(),
                number: line.number,
                what,
            }),
        }
    }

    /// Goes to the next line that is not blank.
    fn step(&mut self) -> Result<Option<LineNumber>, RebuildError> {
        loop {
            self.line.clear();
            let taken = self
                .reader
                .read_until(b'\n', &mut self.line)
                .map_err(|cause| RebuildError::read(&self.path, cause))?;
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

/// Which line it was.
#[derive(Clone, Copy)]
pub(super) struct LineNumber {
    number: u64,
    /// It has its line end; only the last one of a file can be without.
    whole: bool,
}
