//! A trace file line by line, gzipped or not, with the hash of its bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

use super::super::DatasetError;

/// The longest line that is read: one without an end must not fill the memory.
const LONGEST_LINE: u64 = 1 << 28;

/// The lines of a trace, one at a time, none of them blank.
pub struct Lines {
    path: PathBuf,
    text: Text,
    line: Vec<u8>,
    number: usize,
}

/// The file's bytes on their way to the hash, inflated behind it if they are gzipped.
enum Text {
    Plain(BufReader<Hashing>),
    Zipped(Box<BufReader<MultiGzDecoder<BufReader<Hashing>>>>),
}

struct Hashing {
    file: File,
    hash: Sha256,
}

impl Read for Hashing {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.file.read(into)?;
        self.hash.update(&into[..bytes]);
        Ok(bytes)
    }
}

impl Lines {
    /// Opens a trace.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(path: &Path) -> Result<Self, DatasetError> {
        let opened = File::open(path).and_then(|file| {
            let hash = Sha256::new();
            let mut bytes = BufReader::with_capacity(1 << 16, Hashing { file, hash });
            let zipped = bytes.fill_buf()?.starts_with(&[0x1f, 0x8b]);
            Ok(if zipped {
                Text::Zipped(Box::new(BufReader::with_capacity(
                    1 << 16,
                    MultiGzDecoder::new(bytes),
                )))
            } else {
                Text::Plain(bytes)
            })
        });
        Ok(Self {
            text: opened.map_err(|source| unread(path, source))?,
            path: path.to_path_buf(),
            line: Vec::new(),
            number: 0,
        })
    }

    /// The next line that is not blank, with its number in the file, from 1; `None` at the end.
    ///
    /// # Errors
    /// The file cannot be read on, or the line is longer than 256 MiB.
    pub fn read(&mut self) -> Result<Option<(usize, &[u8])>, DatasetError> {
        loop {
            self.line.clear();
            let line = &mut self.line;
            let read = match &mut self.text {
                Text::Plain(text) => text.take(LONGEST_LINE).read_until(b'\n', line),
                Text::Zipped(text) => text.take(LONGEST_LINE).read_until(b'\n', line),
            };
            let read = read.map_err(|source| unread(&self.path, source))?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if read as u64 == LONGEST_LINE && !self.line.ends_with(b"\n") {
                let reason = format!("is longer than {} MiB", LONGEST_LINE >> 20);
                return Err(self.fault(self.number, "line", reason));
            }
            if !self.line.trim_ascii().is_empty() {
                return Ok(Some((self.number, &self.line)));
            }
        }
    }

    /// What is wrong with a field of a line, or with `line` as a whole.
    pub fn fault(&self, line: usize, field: &str, reason: String) -> DatasetError {
        DatasetError::Line {
            path: self.path.clone(),
            line,
            field: field.to_owned(),
            reason,
        }
    }

    /// The first 16 hex digits of the SHA-256 of the whole file.
    ///
    /// # Errors
    /// What is left of the file cannot be read.
    pub(super) fn id(self) -> Result<String, DatasetError> {
        let mut bytes = match self.text {
            Text::Plain(bytes) => bytes,
            Text::Zipped(text) => text.into_inner().into_inner(),
        };
        // What lies behind the end of the last gzip member.
        io::copy(&mut bytes, &mut io::sink()).map_err(|source| unread(&self.path, source))?;
        let hash = bytes.into_inner().hash.finalize();
        Ok(hash[..8].iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

fn unread(path: &Path, cause: io::Error) -> DatasetError {
    DatasetError::Read {
        path: path.to_path_buf(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn all(bytes: &[u8]) -> (Vec<(usize, String)>, String) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let mut lines = Lines::open(file.path()).unwrap();
        let mut found = Vec::new();
        while let Some((number, line)) = lines.read().unwrap() {
            found.push((
                number,
                String::from_utf8(line.trim_ascii().to_vec()).unwrap(),
            ));
        }
        (found, lines.id().unwrap())
    }

    /// SHA-256 of the file's own bytes, whatever they hold; from `sha256sum`.
    #[test]
    fn lines_numbers_and_the_hash() {
        let (lines, id) = all(b"a\r\n\n \nb");
        assert_eq!(lines, [(1, "a".to_owned()), (4, "b".to_owned())]);
        let expected = Sha256::digest(b"a\r\n\n \nb");
        assert!(id.len() == 16 && id.starts_with(&format!("{:02x}", expected[0])));
        assert_eq!(all(b"").1, "e3b0c44298fc1c14");
    }

    #[test]
    fn gzip_of_several_members_and_what_lies_behind() {
        let zip = |text: &[u8]| {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        };
        let file = [zip(b"a\nb"), zip(b"c\nd\n")].concat();
        let (lines, id) = all(&file);
        let texts: Vec<&str> = lines.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["a", "bc", "d"]);
        let expected: String = Sha256::digest(&file)[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(id, expected);
        let cut = &file[..file.len() - 12];
        let mut damaged = tempfile::NamedTempFile::new().unwrap();
        damaged.write_all(cut).unwrap();
        let mut lines = Lines::open(damaged.path()).unwrap();
        let error = loop {
            match lines.read() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a damaged file was read to its end"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, DatasetError::Read { .. }), "{error}");
    }
}
