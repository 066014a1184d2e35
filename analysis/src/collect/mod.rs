//! Takes records while the run goes on: writes each one's line at once and keeps only its numbers.
//!
//! Lines are in order of arrival here, which is order of completion but for the records of
//! different cores within one hand-over. Nothing is computed over the run before it has ended.

mod errors;
mod reader;
mod tally;
mod told;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pinfire_engine::record::{Phase, Record};

pub use errors::{ErrorGroup, ErrorGroups};
pub use reader::Reader;
pub use tally::{CancelTally, RowValue, STAGES, Tally};
pub use told::Told;

use crate::export::ExportError;
use crate::export::records::LineWriter;
use crate::facts::{EntryFacts, RunEnd, RunFacts};
use crate::metric::{Class, Flags, METRICS, Request};
use crate::reading::{Reading, Rules, Target};
use crate::report::Report;
use crate::tokens::{TokenCounter, TokenCounts};

/// How many requests of the measured phase ended how, so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Answered.
    pub valid: u64,
    /// Failed.
    pub errors: u64,
    /// Hung up on by plan.
    pub cancelled: u64,
    /// Cut off by the end of the run.
    pub dropped: u64,
}

/// Takes records and ends as a [`Report`].
pub struct Collector {
    facts: RunFacts,
    reader: Reader,
    lines: Option<Lines>,
    /// Rows of the table that exist in this run.
    rows: Vec<usize>,
    warmup: Tally,
    profiling: Tally,
}

/// One request, read and counted: what is done without looking at any other.
pub struct Read<'a> {
    /// What the engine saw.
    pub record: &'a Record,
    /// Its dataset entry.
    pub entry: &'a EntryFacts,
    /// What the server said.
    pub reading: &'a Reading,
    /// Its token counts.
    pub tokens: TokenCounts,
    /// What a file of the run says besides; absent while the run goes on.
    pub told: Option<Told<'a>>,
}

/// The open JSONL file and the line being made.
struct Lines {
    file: BufWriter<File>,
    writer: LineWriter,
    path: PathBuf,
    line: Vec<u8>,
}

impl Collector {
    /// Ready for the first record. `counter` is absent with server-side counts; `jsonl` is the path
    /// of the per-request file, absent at export level `summary`. An existing file is replaced.
    ///
    /// # Errors
    /// If the per-request file cannot be created.
    pub fn new(
        facts: RunFacts,
        entries: Arc<[EntryFacts]>,
        counter: Option<Arc<dyn TokenCounter>>,
        jsonl: Option<PathBuf>,
    ) -> Result<Self, ExportError> {
        let lines = jsonl
            .map(|path| Lines::create(path, facts.warmup.is_some()))
            .transpose()?;
        let client_counts = match &facts.told {
            Some(told) => told.client_counts,
            None => counter.is_some(),
        };
        let conditions = conditions(&facts, client_counts);
        let rows: Vec<usize> = (0..METRICS.len())
            .filter(|&row| {
                METRICS
                    .get(row)
                    .is_some_and(|metric| conditions.has(metric.needs))
            })
            .collect();
        let rules = Rules {
            answers: facts.answers.clone(),
            target: Target::of_urls(&facts.urls),
        };
        Ok(Self {
            warmup: Tally::new(&rows),
            profiling: Tally::new(&rows),
            facts,
            reader: Reader::new(rules, entries, counter),
            lines,
            rows,
        })
    }

    /// Takes one record: reads it, writes its line and keeps its numbers.
    ///
    /// # Errors
    /// If the per-request file cannot be written; the numbers are kept all the same.
    pub fn add(&mut self, record: &Record) -> Result<(), ExportError> {
        let (reading, tokens) = self.reader.read(record);
        self.add_read(record, &reading, tokens)
    }

    /// Takes a record with what a [`reader`](Self::reader) made of it.
    ///
    /// # Errors
    /// See [`add`](Self::add).
    pub fn add_read(
        &mut self,
        record: &Record,
        reading: &Reading,
        tokens: TokenCounts,
    ) -> Result<(), ExportError> {
        let reader = self.reader.clone();
        self.take(&Read {
            record,
            entry: reader.entry(record),
            tokens,
            reading,
            told: None,
        })
    }

    /// Reads records as this collector does, on any thread.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Takes a record that was read elsewhere; see [`add`](Self::add).
    ///
    /// # Errors
    /// If the per-request file cannot be written; the numbers are kept all the same.
    pub fn take(&mut self, read: &Read<'_>) -> Result<(), ExportError> {
        let request = Request {
            record: read.record,
            reading: read.reading,
            tokens: read.tokens,
            entry: read.entry,
            thresholds: &self.facts.thresholds,
            per_chunk_usage: self.facts.per_chunk_usage,
            anchor: self.facts.anchor,
            told: read.told,
        };
        let tally = match read.record.phase {
            Phase::Warmup => &mut self.warmup,
            Phase::Profiling => &mut self.profiling,
        };
        tally.add(&self.rows, &request);
        match &mut self.lines {
            Some(lines) if Class::from(&read.reading.verdict) != Class::Dropped => {
                lines
                    .writer
                    .write(&mut lines.line, &request, &tally.row_values);
                lines.write()
            }
            _ => Ok(()),
        }
    }

    /// Hands what was written so far to the system. To be called about once a second.
    ///
    /// # Errors
    /// If the per-request file cannot be written.
    pub fn flush(&mut self) -> Result<(), ExportError> {
        self.lines.as_mut().map_or(Ok(()), Lines::flush)
    }

    /// Writes no more lines: after an error that will not go away.
    pub fn stop_writing(&mut self) {
        self.lines = None;
    }

    /// Where the measured phase stands.
    pub fn progress(&self) -> Progress {
        self.profiling.progress()
    }

    /// The run has ended: computes everything.
    ///
    /// # Errors
    /// If the last lines of the per-request file cannot be written.
    pub fn finish(mut self, end: RunEnd) -> Result<Report, ExportError> {
        self.flush()?;
        let jsonl = self.lines.map(|lines| lines.path);
        Ok(Report::new(
            self.facts,
            end,
            &self.rows,
            self.profiling,
            self.warmup,
            jsonl,
        ))
    }
}

impl Lines {
    fn create(path: PathBuf, has_warmup: bool) -> Result<Self, ExportError> {
        let file = File::create(&path).map_err(|e| ExportError::new("create", &path, e))?;
        Ok(Self {
            file: BufWriter::with_capacity(1 << 18, file),
            writer: LineWriter::new(has_warmup),
            path,
            line: Vec::with_capacity(1 << 12),
        })
    }

    fn write(&mut self) -> Result<(), ExportError> {
        let written = self.file.write_all(&self.line);
        self.line.clear();
        written.map_err(|e| failed(&self.path, e))
    }

    fn flush(&mut self) -> Result<(), ExportError> {
        self.file.flush().map_err(|e| failed(&self.path, e))
    }
}

fn failed(path: &Path, error: std::io::Error) -> ExportError {
    ExportError::new("write", path, error)
}

/// The conditions of the table that hold in a run.
fn conditions(facts: &RunFacts, client_counts: bool) -> Flags {
    let endpoint = facts.endpoint();
    let all = [
        (endpoint.output_tokens, Flags::OUTPUT_TOKENS),
        (endpoint.counts_input, Flags::INPUT_TOKENS),
        (facts.streaming, Flags::STREAMING),
        (client_counts, Flags::CLIENT_COUNTS),
        (facts.cancellation.is_some(), Flags::CANCELLATION),
    ];
    let holding = all.into_iter().filter(|(holds, _)| *holds);
    holding.fold(Flags::NONE, |flags, (_, flag)| flags | flag)
}
