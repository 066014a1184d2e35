//! A dataset file cut into pieces, one at a time: the lines of a JSONL file, or the elements of an
//! array in a JSON document. Never the whole file; gzip is unpacked on the way.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use pinfire_base::limits::LINE_BYTES;

use super::DatasetError;
use super::fault::{line_fault, read_fault};

/// How a gzipped file begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// The mark that some editors put at the start of UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A stretch of JSON with its place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Line on which it begins, counted from 1.
    pub(super) line: usize,
    /// What an element's fields are named after, such as `data[3].`; empty for a line.
    pub(super) prefix: String,
    /// Without blanks around it, never empty. Not checked.
    pub(super) bytes: Vec<u8>,
}

/// An open file, unpacked, that knows how far it was read.
pub(super) struct Opened {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    read: Rc<Cell<u64>>,
    /// Bytes of the file as it lies on disk.
    pub(super) size: u64,
}

struct Counted {
    file: File,
    read: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(into)?;
        self.read.set(self.read.get() + count as u64);
        Ok(count)
    }
}

impl Opened {
    /// Opens a file for reading from its start.
    pub(super) fn new(path: &Path) -> Result<Self, DatasetError> {
        let fault = |cause| read_fault(path, cause);
        let file = File::open(path).map_err(fault)?;
        let size = file.metadata().map_err(fault)?.len();
        let read = Rc::new(Cell::new(0));
        let counted = Counted {
            file,
            read: Rc::clone(&read),
        };
        let mut plain = BufReader::with_capacity(1 << 16, counted);
        let zipped = plain.fill_buf().map_err(fault)?.starts_with(&GZIP);
        let mut reader: Box<dyn BufRead> = if zipped {
            let unpacked = flate2::bufread::MultiGzDecoder::new(plain);
            Box::new(BufReader::with_capacity(1 << 16, unpacked))
        } else {
            Box::new(plain)
        };
        let start = reader
            .fill_buf()
            .map(|start| start.starts_with(BYTE_ORDER_MARK));
        let mut opened = Self {
            path: path.to_path_buf(),
            reader,
            read,
            size,
        };
        if start.map_err(|cause| opened.fault(1, cause))? {
            opened.reader.consume(BYTE_ORDER_MARK.len());
        }
        Ok(opened)
    }

    /// Whether the first byte that is no blank is this one. Blanks beyond what is read at once
    /// count as another.
    pub(super) fn begins_with(&mut self, first: u8) -> Result<bool, DatasetError> {
        let start = match self.reader.fill_buf() {
            Ok(start) => start.trim_ascii_start().first() == Some(&first),
            Err(cause) => return Err(self.fault(1, cause)),
        };
        Ok(start)
    }

    /// Bytes taken from the disk so far.
    pub(super) fn read(&self) -> u64 {
        self.read.get()
    }

    fn fault(&self, line: usize, cause: io::Error) -> DatasetError {
        match cause.kind() {
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => line_fault(
                &self.path,
                line,
                "line",
                format!(
                    "cannot be unpacked ({cause}): the gzip data is damaged; pack the file again"
                ),
            ),
            io::ErrorKind::UnexpectedEof => line_fault(
                &self.path,
                line,
                "line",
                "cannot be unpacked: the gzip data ends too early; pack the file again".to_owned(),
            ),
            _ => read_fault(&self.path, cause),
        }
    }

    fn too_long(&self, line: usize, what: &str) -> DatasetError {
        let limit = LINE_BYTES >> 20;
        let reason = format!(
            "is longer than {limit} MiB; a {what} of the file is one entry, so cut it into several"
        );
        line_fault(&self.path, line, "line", reason)
    }
}

/// The lines of a file that are not blank.
pub(super) struct Lines {
    pub(super) opened: Opened,
    number: usize,
}

impl Lines {
    pub(super) const fn new(opened: Opened) -> Self {
        Self { opened, number: 0 }
    }

    /// The next line, or `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Piece>, DatasetError> {
        loop {
            let mut bytes = Vec::new();
            let line = self.number + 1;
            let mut limited = (&mut self.opened.reader).take(LINE_BYTES as u64 + 2);
            let read = limited.read_until(b'\n', &mut bytes);
            if read.map_err(|cause| self.opened.fault(line, cause))? == 0 {
                return Ok(None);
            }
            self.number = line;
            if bytes.len() > LINE_BYTES + 1 {
                return Err(self.opened.too_long(line, "line"));
            }
            let kept = bytes.trim_ascii_end().len();
            bytes.truncate(kept);
            let blanks = kept - bytes.trim_ascii_start().len();
            bytes.drain(..blanks);
            if !bytes.is_empty() {
                bytes.shrink_to_fit();
                let prefix = String::new();
                return Ok(Some(Piece {
                    line,
                    prefix,
                    bytes,
                }));
            }
        }
    }
}

/// The elements of the one array of a JSON document that is asked for.
pub(super) struct Elements {
    pub(super) opened: Opened,
    /// The key of the array in the document's object; `None` if the document is the array.
    key: Option<&'static str>,
    line: usize,
    /// Elements given out.
    count: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Within,
    Done,
}

impl Elements {
    /// The elements of the array that is the document, or that stands under `key` in it.
    pub(super) const fn new(opened: Opened, key: Option<&'static str>) -> Self {
        Self {
            opened,
            key,
            line: 1,
            count: 0,
            state: State::Start,
        }
    }

    /// The next element, or `None` after the last one.
    pub(super) fn next(&mut self) -> Result<Option<Piece>, DatasetError> {
        if self.state == State::Start {
            self.enter()?;
        } else if self.state == State::Within {
            match self.after_blanks()? {
                Some(b',') => {}
                Some(b']') => self.leave()?,
                found => return Err(self.unexpected(found, "`,` or `]` after an element")),
            }
        }
        if self.state == State::Done {
            return Ok(None);
        }
        let first = match self.after_blanks()? {
            Some(b']') if self.count == 0 => {
                self.leave()?;
                return Ok(None);
            }
            Some(first) if !matches!(first, b']' | b'}' | b',' | b':') => first,
            found => return Err(self.unexpected(found, "an element")),
        };
        let line = self.line;
        let mut bytes = Vec::new();
        self.value(first, Some(&mut bytes))?;
        bytes.shrink_to_fit();
        let key = self.key.unwrap_or_default();
        let prefix = format!("{key}[{}].", self.count);
        self.count += 1;
        Ok(Some(Piece {
            line,
            prefix,
            bytes,
        }))
    }

    /// Goes to the array's opening bracket and over it.
    fn enter(&mut self) -> Result<(), DatasetError> {
        self.state = State::Within;
        let Some(key) = self.key else {
            return match self.after_blanks()? {
                Some(b'[') => Ok(()),
                found => Err(self.unexpected(found, "`[`: the file must be a JSON array")),
            };
        };
        match self.after_blanks()? {
            Some(b'{') => {}
            found => return Err(self.unexpected(found, "`{`: the file must be a JSON object")),
        }
        loop {
            let found = match self.after_blanks()? {
                Some(b'"') => self.string()?,
                Some(b'}') => {
                    let reason = format!("is missing: the document has no list `{key}`");
                    return Err(line_fault(&self.opened.path, self.line, key, reason));
                }
                found => return Err(self.unexpected(found, "a key")),
            };
            match self.after_blanks()? {
                Some(b':') => {}
                other => return Err(self.unexpected(other, "`:` after a key")),
            }
            let first = match self.after_blanks()? {
                Some(b'[') if found == key.as_bytes() => return Ok(()),
                Some(_) if found == key.as_bytes() => {
                    let reason = "must be a list".to_owned();
                    return Err(line_fault(&self.opened.path, self.line, key, reason));
                }
                Some(first) => first,
                None => return Err(self.unexpected(None, "a value")),
            };
            self.value(first, None)?;
            match self.after_blanks()? {
                Some(b',') => {}
                Some(b'}') => {
                    let reason = format!("is missing: the document has no list `{key}`");
                    return Err(line_fault(&self.opened.path, self.line, key, reason));
                }
                other => return Err(self.unexpected(other, "`,` or `}` after a value")),
            }
        }
    }

    /// Behind the array nothing may come but the rest of the document's object.
    fn leave(&mut self) -> Result<(), DatasetError> {
        self.state = State::Done;
        if self.key.is_some() {
            loop {
                match self.after_blanks()? {
                    Some(b'}') => break,
                    Some(b',') => {}
                    found => return Err(self.unexpected(found, "`,` or `}` behind the list")),
                }
                match self.after_blanks()? {
                    Some(b'"') => drop(self.string()?),
                    found => return Err(self.unexpected(found, "a key")),
                }
                match self.after_blanks()? {
                    Some(b':') => {}
                    found => return Err(self.unexpected(found, "`:` after a key")),
                }
                match self.after_blanks()? {
                    Some(first) => self.value(first, None)?,
                    None => return Err(self.unexpected(None, "a value")),
                }
            }
        }
        match self.after_blanks()? {
            None => Ok(()),
            found => Err(self.unexpected(found, "the end of the file")),
        }
    }

    /// The text of a string whose opening quote was taken, escapes as they stand.
    fn string(&mut self) -> Result<Vec<u8>, DatasetError> {
        let mut bytes = Vec::new();
        self.value(b'"', Some(&mut bytes))?;
        bytes.pop();
        bytes.remove(0);
        Ok(bytes)
    }

    /// Takes one value, whose first byte was taken, and appends it to `into`. What is inside of it
    /// is checked by whoever parses it.
    fn value(&mut self, first: u8, mut into: Option<&mut Vec<u8>>) -> Result<(), DatasetError> {
        let begun = self.line;
        let scalar = !matches!(first, b'{' | b'[' | b'"');
        let mut depth = usize::from(matches!(first, b'{' | b'['));
        let mut in_string = first == b'"';
        let mut escaped = false;
        if let Some(into) = into.as_deref_mut() {
            into.push(first);
        }
        let mut length = 1_usize;
        loop {
            let line = self.line;
            let buffer = match self.opened.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(cause) => return Err(self.opened.fault(line, cause)),
            };
            if buffer.is_empty() {
                if scalar {
                    return Ok(());
                }
                return Err(self.unexpected(None, "the end of a value that was begun"));
            }
            let mut taken = 0;
            let mut ended = false;
            for &byte in buffer {
                if scalar
                    && (matches!(byte, b',' | b']' | b'}' | b':') || byte.is_ascii_whitespace())
                {
                    ended = true;
                    break;
                }
                taken += 1;
                if byte == b'\n' {
                    self.line += 1;
                }
                if in_string {
                    match byte {
                        _ if escaped => escaped = false,
                        b'\\' => escaped = true,
                        b'"' => in_string = false,
                        _ => {}
                    }
                } else {
                    match byte {
                        b'"' => in_string = true,
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth = depth.saturating_sub(1),
                        _ => {}
                    }
                }
                if !scalar && depth == 0 && !in_string {
                    ended = true;
                    break;
                }
            }
            if let Some(into) = into.as_deref_mut() {
                into.extend_from_slice(&buffer[..taken]);
            }
            self.opened.reader.consume(taken);
            length += taken;
            if length > LINE_BYTES {
                return Err(self.opened.too_long(begun, "list element"));
            }
            if ended {
                return Ok(());
            }
        }
    }

    /// The next byte that is no blank; `None` at the end of the file.
    fn after_blanks(&mut self) -> Result<Option<u8>, DatasetError> {
        loop {
            let line = self.line;
            let buffer = match self.opened.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(cause) => return Err(self.opened.fault(line, cause)),
            };
            let Some(&byte) = buffer.first() else {
                return Ok(None);
            };
            self.opened.reader.consume(1);
            match byte {
                b'\n' => self.line += 1,
                b' ' | b'\t' | b'\r' => {}
                _ => return Ok(Some(byte)),
            }
        }
    }

    fn unexpected(&self, found: Option<u8>, wanted: &str) -> DatasetError {
        let found = match found {
            Some(byte) if byte.is_ascii_graphic() => format!("`{}`", byte as char),
            Some(byte) => format!("the byte 0x{byte:02x}"),
            None => "the end of the file".to_owned(),
        };
        let reason = format!("is not JSON: {found} where {wanted} is wanted");
        line_fault(&self.opened.path, self.line, "line", reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::io::Write;

    fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn zipped(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    fn lines(bytes: &[u8]) -> Result<Vec<(usize, String)>, DatasetError> {
        let (_folder, path) = file(bytes);
        let mut lines = Lines::new(Opened::new(&path)?);
        let mut all = Vec::new();
        while let Some(piece) = lines.next()? {
            all.push((piece.line, String::from_utf8(piece.bytes).unwrap()));
        }
        Ok(all)
    }

    fn elements(text: &str, key: Option<&'static str>) -> Result<Vec<(usize, String)>, String> {
        let (_folder, path) = file(text.as_bytes());
        let mut elements = Elements::new(Opened::new(&path).unwrap(), key);
        let mut all = Vec::new();
        while let Some(piece) = elements.next().map_err(|error| error.to_string())? {
            assert!(piece.prefix.contains(&format!("[{}]", all.len())));
            all.push((piece.line, String::from_utf8(piece.bytes).unwrap()));
        }
        Ok(all)
    }

    #[test]
    fn blank_lines_marks_and_line_ends() {
        let text = b"\xEF\xBB\xBF\n a \r\n\n  \n\tb c\n\x0c\nd";
        let expected = [(2, "a"), (5, "b c"), (7, "d")].map(|(line, text)| (line, text.to_owned()));
        assert_eq!(lines(text).unwrap(), expected);
        assert_eq!(lines(&zipped(text)).unwrap(), expected);
        assert_eq!(lines(b"").unwrap(), []);
    }

    #[test]
    fn broken_packing_is_told_with_the_line() {
        let many: Vec<u8> = (0..20_000)
            .flat_map(|n| format!("{n}\n").into_bytes())
            .collect();
        let mut cut = zipped(&many);
        cut.truncate(cut.len() / 2);
        let error = lines(&cut).unwrap_err().to_string();
        assert!(
            error.contains("gzip") && error.contains("`line`"),
            "{error}"
        );
        let mut wrong = zipped(&many);
        let middle = wrong.len() / 2;
        wrong[middle..middle + 40].fill(0x55);
        let error = lines(&wrong).unwrap_err().to_string();
        assert!(error.contains("gzip"), "{error}");
        assert!(lines(&[0x1f, 0x8b, 9]).is_err());
    }

    #[test]
    fn a_line_that_never_ends_is_refused_before_it_is_read() {
        let (_folder, path) = file(b"{\"text\": \"");
        let long = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        long.set_len(LINE_BYTES as u64 * 3).unwrap();
        let mut lines = Lines::new(Opened::new(&path).unwrap());
        let error = lines.next().unwrap_err().to_string();
        assert!(
            error.contains(":1: `line`: is longer than 64 MiB"),
            "{error}"
        );
        let mut elements = Elements::new(Opened::new(&path).unwrap(), Some("data"));
        let error = elements.next().unwrap_err().to_string();
        assert!(error.contains("longer than 64 MiB"), "{error}");
    }

    #[test]
    fn elements_of_arrays() {
        let found = elements("[1, {\"a\": [\"]}\\\"\"]},\n\n null ,\"x,y\"]\n", None).unwrap();
        let expected = [
            (1, "1"),
            (1, "{\"a\": [\"]}\\\"\"]}"),
            (3, "null"),
            (3, "\"x,y\""),
        ];
        assert_eq!(found, expected.map(|(line, text)| (line, text.to_owned())));
        assert_eq!(elements(" [ ] ", None).unwrap(), []);
        let keyed = elements(
            "{\"x\": {\"data\": [5]}, \"y\": 1,\n\"data\" : [ {} ], \"z\": \"]\"}",
            Some("data"),
        );
        assert_eq!(keyed.unwrap(), [(2, "{}".to_owned())]);
    }

    #[test]
    fn broken_documents_name_line_and_cause() {
        for (text, key, words) in [
            ("", None, "the end of the file where `[`"),
            ("{}", None, "`{` where `[`"),
            ("[1", None, "the end of the file where `,` or `]`"),
            ("[1 2]", None, "`2` where `,` or `]`"),
            ("[1,]", None, "`]` where an element"),
            ("[,1]", None, "`,` where an element"),
            (
                "[\n{\"a\": 1",
                None,
                ":2: `line`: is not JSON: the end of the file",
            ),
            (
                "[1]\n[2]",
                None,
                ":2: `line`: is not JSON: `[` where the end of the file",
            ),
            ("[1]", Some("data"), "`[` where `{`"),
            ("{}", Some("data"), "`data`: is missing"),
            ("{\"a\": [1]}", Some("data"), "`data`: is missing"),
            ("{\"data\": {}}", Some("data"), "`data`: must be a list"),
            ("{\"data\": [1]", Some("data"), "behind the list"),
            ("{\"data\" [1]}", Some("data"), "`[` where `:`"),
            ("{data: [1]}", Some("data"), "`d` where a key"),
            ("{\"data\": [1], 5}", Some("data"), "`5` where a key"),
            ("{\"a\":", Some("data"), "a value"),
        ] {
            let error = elements(text, key).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn elements_are_those_of_the_parser(
            values in proptest::collection::vec("[\\]\\[a-z{},:\"\\\\ \n]{0,12}", 0..5),
            pretty: bool,
            keyed: bool,
        ) {
            let values: Vec<Value> = values
                .into_iter()
                .map(|text| {
                    let mut object = serde_json::Map::new();
                    object.insert(text.clone(), json!([text, 1.5, -2, null]));
                    json!([object, [], {}])
                })
                .collect();
            let document = match keyed {
                true => json!({"before": values, "data": values, "after": {"data": [1]}}),
                false => json!(values),
            };
            let text = match pretty {
                true => serde_json::to_string_pretty(&document).unwrap(),
                false => document.to_string(),
            };
            let found = elements(&text, keyed.then_some("data")).unwrap();
            let found: Vec<Value> = found
                .into_iter()
                .map(|(_, text)| serde_json::from_str(&text).unwrap())
                .collect();
            prop_assert_eq!(found, values);
        }
    }
}
