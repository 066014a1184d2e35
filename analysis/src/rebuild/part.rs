//! The files that hold the requests of a run: one, or one of each shard, which are read as if they
//! were one. Nothing is held but the next line of each.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};

use pinfire_artifacts::{LineNumber, Lines, RunFiles};

use super::error::RebuildError;
use super::first::First;
use super::shards::Clock;
use super::values::{Values, ValuesBeside};

/// The requests of a run, or of one of its shards.
pub(super) struct Part {
    /// Everything that was sent and received; the first choice.
    raw: Option<PathBuf>,
    /// The values of each request.
    lines: Option<PathBuf>,
    /// From the times in these files to those of the run.
    clock: Clock,
}

impl Part {
    /// The files of a run, with what their first lines say.
    pub(super) fn open(
        files: &RunFiles,
        clock: Clock,
        warnings: &mut Vec<String>,
    ) -> Result<(Self, First), RebuildError> {
        let (mut raw, lines) = (files.raw(), files.lines());
        if raw.is_none() && lines.is_none() {
            return Err(RebuildError::NoRequests {
                dir: files.folder().to_owned(),
            });
        }
        let first = First::of(raw.as_deref(), lines.as_deref())?;
        if first.raw_is_of_another_run
            && let Some(raw) = raw.take()
        {
            warnings.push(format!(
                "{} is of another run than {}, and is left out",
                raw.display(),
                files.names().jsonl
            ));
        }
        Ok((Self { raw, lines, clock }, first))
    }

    /// Whether the raw file is read.
    pub(super) const fn is_raw(&self) -> bool {
        self.raw.is_some()
    }

    /// Whether the values of each request are there.
    pub(super) const fn has_lines(&self) -> bool {
        self.lines.is_some()
    }

    /// Its clock.
    pub(super) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Bytes of the file that is read.
    pub(super) fn size(&self) -> u64 {
        let size = self.path().and_then(|path| std::fs::metadata(path).ok());
        size.map_or(0, |data| data.len())
    }

    fn path(&self) -> Option<&Path> {
        self.raw.as_deref().or(self.lines.as_deref())
    }
}

/// Figures of raw files and of values do not go together: one kind is read of all parts, unless a
/// part has the other one alone.
pub(super) fn alike(parts: &mut [Part]) {
    if !parts.iter().all(Part::is_raw) {
        let both = parts.iter_mut().filter(|part| part.lines.is_some());
        both.for_each(|part| part.raw = None);
    }
}

/// A line that comes next.
pub(super) struct MergedLine {
    /// Which part it is of.
    pub(super) part: usize,
    /// Which of its lines.
    pub(super) number: LineNumber,
    /// All of it.
    pub(super) bytes: Vec<u8>,
    /// When its request ended, on the clock of the run.
    end: u64,
}

impl Ord for MergedLine {
    /// The earliest is the greatest: it comes first out of a heap.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.end, other.part).cmp(&(self.end, self.part))
    }
}

impl PartialOrd for MergedLine {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for MergedLine {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for MergedLine {}

/// What the per-request file says of a request of the raw file beside it.
pub(super) enum Beside {
    /// This.
    Values(Values),
    /// It does not have the request.
    Gone,
    /// There is no such file, or nothing beside it.
    None,
}

/// Bytes that are read at a time, of all files together.
const BUFFERS: usize = 1 << 25;

/// An open file.
struct Open {
    lines: Lines,
    beside: Option<ValuesBeside>,
    clock: Clock,
}

/// All files of a run as one, in the order in which its requests ended: that of each file, which is
/// but nearly so.
pub(super) struct Merged {
    files: Vec<Open>,
    next: BinaryHeap<MergedLine>,
    bytes: u64,
}

impl Merged {
    /// Opens the files of all parts.
    pub(super) fn open(parts: &[Part]) -> Result<Self, RebuildError> {
        let buffer = BUFFERS / parts.len().max(1);
        let buffer = buffer.clamp(1 << 14, 1 << 18);
        let mut files = Vec::with_capacity(parts.len());
        for part in parts {
            // Each has one of the two.
            let Some(path) = part.path() else { continue };
            let beside = part.lines.as_deref().filter(|_| part.is_raw());
            files.push(Open {
                lines: Lines::with_buffer(path, buffer)?,
                beside: beside
                    .map(|path| ValuesBeside::open(path, &part.clock))
                    .transpose()?,
                clock: part.clock.clone(),
            });
        }
        let mut all = Self {
            files,
            next: BinaryHeap::new(),
            bytes: 0,
        };
        (0..all.files.len()).try_for_each(|part| all.refill(part))?;
        Ok(all)
    }

    /// The line that comes next.
    pub(super) fn next(&mut self) -> Result<Option<MergedLine>, RebuildError> {
        let Some(line) = self.next.pop() else {
            return Ok(None);
        };
        self.refill(line.part)?;
        Ok(Some(line))
    }

    fn refill(&mut self, part: usize) -> Result<(), RebuildError> {
        let alone = self.files.len() == 1;
        let Some(file) = self.files.get_mut(part) else {
            return Ok(());
        };
        let before = file.lines.bytes();
        let next = file.lines.next_bytes()?;
        self.bytes += file.lines.bytes() - before;
        if let Some((number, bytes)) = next {
            let end = if alone { 0 } else { end_of(&bytes) };
            let shift = file.clock.shift(end);
            self.next.push(MergedLine {
                part,
                number,
                bytes,
                end: end.saturating_add_signed(shift),
            });
        }
        Ok(())
    }

    /// What was read of a line; nothing if it is the last of its file and cut off.
    pub(super) fn judge<T>(
        &mut self,
        part: usize,
        number: LineNumber,
        read: Result<T, String>,
    ) -> Result<Option<T>, RebuildError> {
        match self.files.get_mut(part) {
            Some(file) => Ok(file.lines.judge(number, read)?),
            None => Ok(None),
        }
    }

    /// What the per-request file says of a request of the raw file.
    pub(super) fn beside(&mut self, part: usize, id: u128) -> Result<Beside, RebuildError> {
        let file = self.files.get_mut(part);
        let Some(beside) = file.and_then(|file| file.beside.as_mut()) else {
            return Ok(Beside::None);
        };
        Ok(beside.of(id)?.map_or(Beside::Gone, Beside::Values))
    }

    /// Bytes read so far.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The parts whose last line was cut off.
    pub(super) fn torn(&self) -> impl Iterator<Item = usize> {
        let files = self.files.iter().enumerate();
        files.filter_map(|(part, file)| file.lines.torn().map(|_| part))
    }
}

/// When the request of a line ended; what is no line comes at once, and is told when it is read.
fn end_of(line: &[u8]) -> u64 {
    const KEY: &[u8] = b"\"request_end_ns\":";
    // In a text the quotes would be escaped.
    let key = line.windows(KEY.len()).position(|key| key == KEY);
    let rest = key.and_then(|at| line.get(at + KEY.len()..));
    let digits = rest.unwrap_or_default().trim_ascii_start().iter();
    let digits = digits.map_while(|letter| char::from(*letter).to_digit(10));
    digits.fold(0, |end: u64, digit| {
        end.saturating_mul(10).saturating_add(digit.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_request_is_found_without_reading_its_line() {
        for (line, end) in [
            (r#"{"metadata":{"a":1,"request_end_ns":1234,"b":2}}"#, 1234),
            (r#"{"metadata":{"request_end_ns": 7}}"#, 7),
            (
                r#"{"metadata":{"id":"\"request_end_ns\":9","request_end_ns":8}}"#,
                8,
            ),
            (r#"{"metadata":{"request_st"#, 0),
            (r#"{"request_end_ns":99999999999999999999999}"#, u64::MAX),
            ("", 0),
        ] {
            assert_eq!(end_of(line.as_bytes()), end, "{line}");
        }
    }
}
