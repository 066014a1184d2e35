//! Takes records while the run goes on: writes each one's line at once and keeps only its numbers.
//!
//! Lines are in order of arrival here, which is order of completion but for the records of
//! different cores within one hand-over. Nothing is computed over the run before it has ended.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pinfire_artifacts::{LineFile, WriteError};
use pinfire_base::clock::Stamp;
use pinfire_base::ready::Ready;
use pinfire_base::record::{Phase, Record};

use crate::collect::{Anomalies, Progress, Read, Reader, Tally};
use crate::export::records::LineWriter;
use crate::facts::{EntryFacts, RunEnd, RunFacts};
use crate::live::{Live, Snapshot};
use crate::metric::{Class, METRICS, Request, conditions};
use crate::reading::{Reading, Rules, Target};
use crate::report::Report;
use crate::tokens::TokenCounts;
use pinfire_base::tokens::TokenCounter;

/// Takes records and ends as a [`Report`].
pub struct Collector {
    facts: RunFacts,
    reader: Reader,
    lines: Option<RecordsFile>,
    raw: Option<Raw>,
    warmup: Tally,
    profiling: Tally,
    /// Answers that the user should look at.
    anomalies: Anomalies,
    /// Figures while it goes on, if someone looks at them.
    live: Option<Box<Live>>,
}

/// The raw file, and the bodies that were sent.
struct Raw {
    lines: RecordsFile,
    bodies: Arc<Ready>,
    body: Vec<u8>,
}

/// The open JSONL file and the line being made.
struct RecordsFile {
    file: LineFile,
    writer: LineWriter,
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
    ) -> Result<Self, WriteError> {
        let lines = jsonl
            .map(|path| RecordsFile::create(&path, &facts))
            .transpose()?;
        let client_counts = match &facts.recorded {
            Some(recorded) => recorded.client_counts,
            None => counter.is_some(),
        };
        let conditions = conditions(
            facts.endpoint(),
            facts.streaming,
            client_counts,
            facts.cancellation.is_some(),
            !facts.slos.is_empty(),
        );
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
            warmup: Tally::new(&rows, false, facts.exact_records),
            profiling: Tally::new(&rows, facts.slice.is_some(), facts.exact_records),
            anomalies: Anomalies::new(!client_counts),
            facts,
            reader: Reader::new(rules, entries, counter),
            lines,
            raw: None,
            live: None,
        })
    }

    /// Writes everything that was sent and received to the file at `path` too; an existing one is
    /// replaced. `bodies` is what was sent.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn with_raw(mut self, path: PathBuf, bodies: Arc<Ready>) -> Result<Self, WriteError> {
        self.raw = Some(Raw {
            lines: RecordsFile::create(&path, &self.facts)?,
            bodies,
            body: Vec::new(),
        });
        Ok(self)
    }

    /// Takes one record: reads it, writes its line and keeps its numbers.
    ///
    /// # Errors
    /// If the per-request file cannot be written; the numbers are kept all the same.
    pub fn add(&mut self, record: &Record) -> Result<(), WriteError> {
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
    ) -> Result<(), WriteError> {
        let reader = self.reader.clone();
        self.take(&Read {
            record,
            entry: reader.entry(record),
            tokens,
            reading,
            recorded: None,
        })
    }

    /// From now on there are figures of the run as it goes on: [`live`](Self::live).
    pub fn watch(&mut self) {
        self.live = Some(Box::default());
    }

    /// Counts the record added last among the figures of the last seconds; it came at `now`.
    pub fn came(&mut self, record: &Record, now: Stamp) {
        if let Some(live) = &mut self.live {
            let tally = match record.phase {
                Phase::Warmup => &self.warmup,
                Phase::Profiling => &self.profiling,
            };
            live.add(record, &tally.row_values, now);
        }
    }

    /// How the phase stands that goes on, if it is watched.
    pub fn live(&self, now: Stamp) -> Option<Snapshot> {
        let live = self.live.as_ref()?;
        let tally = match live.phase() {
            Phase::Warmup => &self.warmup,
            Phase::Profiling => &self.profiling,
        };
        Some(live.snapshot(tally, now))
    }

    /// How the warmup stands once another phase is on, if it is watched.
    pub fn live_warmup(&self, now: Stamp) -> Option<Snapshot> {
        let warmup = self.live.as_ref()?.warmup()?;
        Some(warmup.snapshot(&self.warmup, now))
    }

    /// Reads records as this collector does, on any thread.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Takes a record that was read elsewhere; see [`add`](Self::add).
    ///
    /// # Errors
    /// If the per-request file cannot be written; the numbers are kept all the same.
    pub fn take(&mut self, read: &Read<'_>) -> Result<(), WriteError> {
        let request = Request {
            record: read.record,
            reading: read.reading,
            tokens: read.tokens,
            entry: read.entry,
            thresholds: &self.facts.thresholds,
            per_chunk_usage: self.facts.per_chunk_usage,
            anchor: self.facts.anchor,
            recorded: read.recorded,
        };
        let tally = match read.record.phase {
            Phase::Warmup => &mut self.warmup,
            Phase::Profiling => &mut self.profiling,
        };
        tally.add(&request, &self.facts.slos);
        if read.record.phase == Phase::Profiling {
            self.anomalies.look_at(read, &tally.row_values);
        }
        if Class::from(&read.reading.verdict) == Class::Dropped {
            return Ok(());
        }
        let mut written = Ok(());
        if let Some(lines) = &mut self.lines {
            lines
                .writer
                .write(&mut lines.line, &request, &tally.row_values);
            written = lines.write();
        }
        if let Some(raw) = &mut self.raw {
            written = written.and(raw.write(&request));
        }
        written
    }

    /// Hands what was written so far to the system. To be called about once a second.
    ///
    /// # Errors
    /// If the per-request file cannot be written.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        let lines = self.lines.as_mut().map_or(Ok(()), RecordsFile::flush);
        let raw = self.raw.as_mut().map(|raw| &mut raw.lines);
        lines.and(raw.map_or(Ok(()), RecordsFile::flush))
    }

    /// Writes no more lines: after an error that will not go away.
    pub fn stop_writing(&mut self) {
        self.lines = None;
        self.raw = None;
    }

    /// Where the measured phase stands.
    pub fn progress(&self) -> Progress {
        self.profiling.progress()
    }

    /// How the requests of the warmup have ended so far, and how many failed and why; `None` before
    /// the first of them.
    pub fn warmup_in_words(&self) -> Option<(String, Option<String>)> {
        let counts = self.warmup.progress();
        let failed = counts.failed_in_words(self.warmup.errors.groups());
        (counts != Progress::default()).then(|| (counts.in_words(), failed))
    }

    /// Checks that all lines that were written are in their files, which someone else may have
    /// removed in the meantime.
    ///
    /// # Errors
    /// Lines are lost.
    pub fn check(&mut self) -> Result<(), WriteError> {
        let lines = self.lines.as_mut();
        let lines = lines.map_or(Ok(()), |lines| lines.file.check());
        let raw = self.raw.as_mut();
        lines.and(raw.map_or(Ok(()), |raw| raw.lines.file.check()))
    }

    /// The run has ended: computes everything.
    ///
    /// # Errors
    /// If the last lines of the per-request file cannot be written.
    pub fn finish(mut self, end: RunEnd) -> Result<Report, WriteError> {
        self.flush()?;
        let path = |lines: &RecordsFile| lines.file.path().to_owned();
        let jsonl = self.lines.as_ref().map(path);
        let raw = self.raw.as_ref().map(|raw| path(&raw.lines));
        let mut report = Report::new(
            self.facts,
            end,
            self.profiling,
            self.warmup,
            self.anomalies,
            jsonl,
        );
        report.raw = raw;
        Ok(report)
    }
}

impl Raw {
    fn write(&mut self, request: &Request<'_>) -> Result<(), WriteError> {
        let record = request.record;
        let body = match &record.body {
            Some(body) => body,
            None => {
                self.body.clear();
                if (record.entry as usize) < self.bodies.entries() {
                    let turn = self.bodies.turn(record.entry);
                    turn.copy(0..turn.size(), &mut self.body);
                }
                &self.body
            }
        };
        let RecordsFile { writer, line, .. } = &mut self.lines;
        writer.write_raw(line, request, body);
        self.lines.write()
    }
}

impl RecordsFile {
    fn create(path: &Path, facts: &RunFacts) -> Result<Self, WriteError> {
        Ok(Self {
            file: LineFile::create(path)?,
            writer: LineWriter::new(facts.warmup.is_some()).with_http_trace(facts.http_trace),
            line: Vec::with_capacity(1 << 12),
        })
    }

    fn write(&mut self) -> Result<(), WriteError> {
        let written = self.file.write(&self.line);
        self.line.clear();
        written
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        self.file.flush()
    }
}
