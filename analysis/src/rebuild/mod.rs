//! A run's report from its own files, or from AIPerf's: each line becomes a record again, and the
//! records go the way that those of a live run go. Nothing is computed here.
//!
//! The first choice is the raw file, which holds everything that was sent and received; else the
//! per-request file, whose values give the instants and counts back. Both are read line by line, so
//! that files may be larger than memory.

mod error;
mod first;
mod gpus;
mod line;
mod part;
mod raw;
mod shards;
mod summary;
mod values;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pinfire_artifacts::config::InputConfig;
use pinfire_artifacts::{Carried, RunFiles, Summary, read_json};
use pinfire_base::clock::{Span, Stamp};
use pinfire_base::health::Counts;
use pinfire_base::record::PlannedCancellation;

pub use self::error::RebuildError;
use self::first::First;
use self::line::Found;
use self::part::{Beside, Merged, MergedLine, Part};
use self::raw::RawRequest;
use self::shards::{Clock, Seen, Shards};
use self::values::{ValueLine, Values};
use crate::collect::Read;
use crate::collector::Collector;
use crate::facts::{EntryFacts, PhaseWindow, RunEnd, RunFacts};
use crate::goodput::{self, GoodputError, Slos};
use crate::metric::{Recorded, RowValue, conditions};
use crate::pool::Pool;
use crate::reading::{Reading, Rules, Target, Verdict};
use crate::report::{External, Report};
use crate::tokens::TokenCounts;
use pinfire_base::tokens::TokenCounter;

/// Where the token counts of a report come from.
#[derive(Clone)]
pub enum Counting {
    /// The run's own counts, from its per-request file; requests that are not there are counted
    /// with this, if it could be loaded.
    AsTheRun(Option<Arc<dyn TokenCounter>>),
    /// Everything is counted anew.
    Anew(Arc<dyn TokenCounter>),
    /// The server's counts.
    ByServer,
}

/// A run that has been found.
pub struct Rebuild {
    /// What was asked; may be changed before [`run`](Self::run).
    pub facts: RunFacts,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// One file of requests, or one of each shard.
    parts: Vec<Part>,
    shards: Option<Shards>,
    gpus: Option<PathBuf>,
    /// Window of the measured phase.
    window: Option<PhaseWindow>,
    counting: summary::Counting,
    /// AIPerf wrote it: some times are told another way.
    of_aiperf: bool,
    incomplete: Option<String>,
    /// Wall time of the first request.
    first: u64,
}

impl Rebuild {
    /// Finds the files of a run in `dir`, or those of its shards below it, and reads what was
    /// asked. `version` is the tool's.
    ///
    /// # Errors
    /// There is no run, or it is of a kind that cannot be read; its shards are not of one run.
    pub fn open(dir: &Path, version: &str) -> Result<Self, RebuildError> {
        match Shards::find(dir)? {
            Some(shards) => Self::of_shards(dir, shards, version),
            None => Self::of_run(dir, version),
        }
    }

    fn of_run(dir: &Path, version: &str) -> Result<Self, RebuildError> {
        let files = RunFiles::find(dir)?;
        let mut warnings = Vec::new();
        // A run that was killed has left its start; a summary beside it is of a run before it.
        let (summary, incomplete) = match (files.started(), files.summary()) {
            (Some(started), _) => {
                let reason = "the run was ended from outside before it could write its summary";
                (Some(read_json(&started)?), Some(reason.to_owned()))
            }
            (None, Some(path)) => {
                let summary = read_json(&path)?;
                let incomplete = summary::incomplete(&summary);
                (Some(summary), incomplete)
            }
            (None, None) => {
                warnings.push(format!(
                    "there is no {} in {}: what was asked of the run is read off its requests",
                    files.names().json,
                    dir.display()
                ));
                let reason = "the run has left no summary";
                (None, Some(reason.to_owned()))
            }
        };
        let (part, first) = Part::open(&files, Clock::default(), &mut warnings)?;
        let window = summary
            .as_ref()
            .and_then(|summary| summary::window(summary, first.start));
        let found = FoundRun {
            files,
            summary,
            window,
            first,
        };
        Self::new(found, vec![part], version, warnings).map(|rebuild| Self {
            incomplete,
            ..rebuild
        })
    }

    fn of_shards(dir: &Path, shards: Shards, version: &str) -> Result<Self, RebuildError> {
        let mut warnings = Vec::new();
        let mut parts = Vec::new();
        let mut firsts = Vec::new();
        for shard in &shards.present {
            let (part, first) = Part::open(&shard.files, shard.clock.clone(), &mut warnings)?;
            parts.push(part);
            firsts.push(first);
        }
        part::alike(&mut parts);
        let window = shards.window(&firsts.iter().map(|first| first.start).collect::<Vec<_>>());
        let names = shards
            .present
            .first()
            .map(|shard| shard.files.names().clone());
        let Some((names, mut first)) = names.zip(firsts.into_iter().reduce(First::earlier)) else {
            return Err(shards.without_requests(dir));
        };
        if let Some(window) = window {
            // On the clock of the run, as the files of the GPUs are.
            first.start = first.start.max(window.start.nanos());
        }
        let mut gpus = shards.present.iter().filter_map(|shard| shard.files.gpus());
        let gpus = gpus.next();
        let found = FoundRun {
            files: RunFiles::named(dir, names),
            summary: shards.summary(),
            window,
            first,
        };
        Self::new(found, parts, version, warnings).map(|rebuild| Self {
            gpus: rebuild.gpus.or(gpus),
            shards: Some(shards),
            ..rebuild
        })
    }

    /// What files have in common, whoever wrote them.
    fn new(
        found: FoundRun,
        parts: Vec<Part>,
        version: &str,
        warnings: Vec<String>,
    ) -> Result<Self, RebuildError> {
        let FoundRun {
            files,
            summary,
            window,
            first,
        } = found;
        let is_ours = summary.as_ref().map_or(first.is_ours, Summary::is_ours);
        let without = summary.is_none();
        let summary: Summary = summary.unwrap_or_default();
        let counting = summary::Counting::of(&summary);
        let slos = summary.config().map(|config| config.slos.clone());
        let promises = summary::promises(&slos.unwrap_or_default());
        let mut facts = summary::facts(summary, version)?;
        facts.files = files.names().clone();
        if without {
            first.tell(&mut facts);
        }
        if facts.cancellation.is_none() && first.has_plan {
            facts.cancellation = Some(PlannedCancellation::after(0.0, Span::ZERO));
        }
        let mut rebuild = Self {
            counting,
            of_aiperf: !is_ours,
            first: first.start,
            facts,
            warnings,
            parts,
            shards: None,
            gpus: files.gpus(),
            window,
            incomplete: None,
        };
        if !promises.is_empty()
            && let Err(refused) = rebuild.promise(&promises)
        {
            let warning = format!("the run's goodput `{promises}` is left out: {refused}");
            rebuild.warnings.push(warning);
        }
        Ok(rebuild)
    }

    /// Judges requests by these limits, `"tag:number tag:number"`, in place of the run's own.
    ///
    /// # Errors
    /// They mean nothing in this run.
    pub fn promise(&mut self, limits: &str) -> Result<(), GoodputError> {
        let facts = &mut self.facts;
        let conditions = conditions(
            facts.endpoint(),
            facts.streaming,
            facts
                .recorded
                .as_ref()
                .is_some_and(|recorded| recorded.client_counts),
            facts.cancellation.is_some(),
            true,
        );
        facts.slos = Slos::new(&goodput::parse(limits)?, conditions)?;
        self.warnings.extend(facts.slos.warnings());
        let shown = facts.slos.shown();
        let shown = shown.map(|(tag, limit)| (tag.to_owned(), limit)).collect();
        if let Some(config) = self.told_config() {
            config.set_slos(shown);
        }
        Ok(())
    }

    /// Slices the run, into others than its own if it had any.
    pub fn slice(&mut self, length: Span) {
        self.facts.slice = Some(length);
        if let Some(config) = self.told_config() {
            config.set_slice_duration(length.as_secs_f64());
        }
    }

    /// What the files say was asked.
    fn told_config(&mut self) -> Option<&mut Carried<InputConfig>> {
        self.facts.recorded.as_mut()?.summary.input_config.as_mut()
    }

    /// Whether the server's own counts are the lengths of this run.
    pub fn counts_by_server(&self) -> bool {
        self.counting.by_server
    }

    /// Name of the run's tokenizer.
    pub fn tokenizer(&self) -> Option<&str> {
        self.counting.tokenizer.as_deref()
    }

    /// Whether the run was sent by several shards.
    pub const fn is_sharded(&self) -> bool {
        self.shards.is_some()
    }

    /// Whether the requests themselves are there, so that tokens can be counted anew.
    pub fn has_texts(&self) -> bool {
        self.parts.iter().all(Part::is_raw)
    }

    /// Whether the run's own counts are there.
    pub fn has_counts(&self) -> bool {
        self.parts.iter().all(Part::has_lines)
    }

    /// Bytes of the files that are read.
    pub fn size(&self) -> u64 {
        self.parts.iter().map(Part::size).sum()
    }

    /// Reads all lines and sums up. `jsonl` is where the per-request file goes; `progress` is told
    /// how many bytes have been read.
    ///
    /// # Errors
    /// A line that cannot be read, or a file that cannot be written.
    pub fn run(
        mut self,
        counting: Counting,
        jsonl: Option<PathBuf>,
        progress: &dyn Fn(u64),
    ) -> Result<(Report, Vec<String>), RebuildError> {
        if let Some(recorded) = &mut self.facts.recorded {
            recorded.client_counts = !matches!(counting, Counting::ByServer);
        }
        let recorded = self.facts.recorded.as_ref();
        let recorded = recorded.and_then(|recorded| recorded.summary.telemetry_data.as_deref());
        let mut gpu = gpus::read(
            self.gpus.as_deref(),
            recorded,
            self.window.as_ref(),
            line::at(self.first),
            &mut self.warnings,
        )?;
        let mut end = RunEnd {
            profiling: self.window,
            interrupted: self.incomplete.take(),
            ..RunEnd::default()
        };
        let reader = Reader {
            rules: Rules {
                answers: self.facts.answers.clone(),
                target: Target::of_urls(&self.facts.urls),
            },
            counting,
            of_aiperf: self.of_aiperf,
            per_chunk_usage: self.facts.per_chunk_usage,
        };
        let asked = &self.facts.profiling;
        let by_count = asked.kind == "concurrency" && asked.duration_s.is_none();
        let collector = Collector::new(self.facts, Arc::default(), None, jsonl)?;
        let mut warnings = self.warnings;
        let mut sink = Sink::new(collector, reader, self.shards.as_ref(), progress);
        sink.all(&self.parts, &mut warnings)?;
        if let (Some(gpu), None) = (&mut gpu, end.profiling.and_then(|window| window.end)) {
            // A run that was killed: energy is of the time that its requests are of.
            gpu.end_at(sink.last);
        }
        let seen = std::mem::take(&mut sink.seen);
        let mut report = match &self.shards {
            None => sink.finish(end)?,
            Some(shards) => {
                let judged = shards.judge(&seen, by_count);
                end.interrupted.clone_from(&judged.incomplete);
                end.cores.push(shards.rested());
                let mut report = sink.finish(end)?;
                shards.tell(&mut report, &seen, judged);
                report
            }
        };
        report.add_external(External {
            gpu,
            ..External::default()
        });
        Ok((report, warnings))
    }
}

/// What was found of a run besides its requests.
struct FoundRun {
    files: RunFiles,
    summary: Option<Summary>,
    window: Option<PhaseWindow>,
    first: First,
}

/// Reads a found request: a pure function of its lines.
struct Reader {
    rules: Rules,
    counting: Counting,
    of_aiperf: bool,
    per_chunk_usage: bool,
}

/// A request, read.
struct ReadLine {
    found: Found,
    reading: Reading,
    tokens: TokenCounts,
    values: Vec<(usize, RowValue)>,
    trace: Option<String>,
}

impl Reader {
    /// Reads a raw line; what the per-request file says of it comes later.
    fn raw(&self, line: RawRequest) -> ReadLine {
        let RawRequest { found, body } = line;
        let mut reading = Reading::of(&found.record, &self.rules);
        if let Some(verdict) = &found.verdict {
            reading.verdict = verdict.clone();
        }
        let tokens = match &self.counting {
            Counting::ByServer => TokenCounts::of_usage(&reading),
            Counting::AsTheRun(None) => TokenCounts::default(),
            Counting::Anew(counter) | Counting::AsTheRun(Some(counter)) => {
                let input = body.and_then(|body| counter.count_body(&body));
                match reading.verdict {
                    Verdict::Error(_) | Verdict::Dropped => TokenCounts {
                        input: input.map(u64::from),
                        ..TokenCounts::default()
                    },
                    _ => TokenCounts::of_text(counter.as_ref(), input, &reading),
                }
            }
        };
        ReadLine {
            found,
            reading,
            tokens,
            values: Vec::new(),
            trace: None,
        }
    }

    /// Adds what the per-request file says.
    fn beside(&self, read: &mut ReadLine, values: &mut Values) {
        read.trace = values.trace();
        read.values = values.http(self.of_aiperf);
        if matches!(self.counting, Counting::AsTheRun(_)) {
            read.tokens = values.tokens().or_received(&read.found);
        }
    }

    fn values(&self, line: ValueLine) -> ReadLine {
        let ValueLine {
            mut found,
            mut values,
        } = line;
        let reading = values.reading(&found, self.per_chunk_usage);
        let tokens = match self.counting {
            Counting::ByServer => TokenCounts::of_usage(&reading),
            _ => values.tokens().or_received(&found),
        };
        found.entry.requested_osl = values.requested_osl();
        ReadLine {
            trace: values.trace(),
            values: values.http(self.of_aiperf),
            found,
            reading,
            tokens,
        }
    }
}

impl TokenCounts {
    /// Of a request that was left the tokens stand with what came of that.
    fn or_received(mut self, found: &Found) -> Self {
        let received = || found.cancellation.as_ref()?.tokens_received;
        if self.osl().is_none() {
            self.output = received();
        }
        self
    }
}

/// Takes requests in the order of their file; those of several shards in that of their ends.
struct Sink<'a> {
    collector: Collector,
    reader: Arc<Reader>,
    shards: Option<&'a Shards>,
    /// What came of each shard.
    seen: Vec<Seen>,
    /// Threads that read lines besides this one.
    helpers: usize,
    progress: &'a dyn Fn(u64),
    lines: u64,
    /// The last end of a request.
    last: Stamp,
}

/// Progress is told every so many lines.
const TELL_EVERY: u64 = 256;

impl<'a> Sink<'a> {
    fn new(
        collector: Collector,
        reader: Reader,
        shards: Option<&'a Shards>,
        progress: &'a dyn Fn(u64),
    ) -> Self {
        Self {
            collector,
            reader: Arc::new(reader),
            seen: shards.map_or_else(Vec::new, Shards::seen),
            shards,
            helpers: std::thread::available_parallelism().map_or(0, |all| all.get() - 1),
            progress,
            lines: 0,
            last: line::at(0),
        }
    }

    /// Reads all files on all threads, and takes each request in its turn.
    fn all(&mut self, parts: &[Part], warnings: &mut Vec<String>) -> Result<(), RebuildError> {
        let mut files = Merged::open(parts)?;
        let mut alone = 0_u64;
        let reader = Arc::clone(&self.reader);
        let ways = parts
            .iter()
            .map(|part| (part.is_raw(), part.clock().clone()));
        let ways: Vec<_> = ways.collect();
        let read = move |line: MergedLine| {
            let found = ways.get(line.part).map(|(is_raw, clock)| match is_raw {
                true => RawRequest::read(&line.bytes, clock).map(|line| reader.raw(line)),
                false => ValueLine::read(&line.bytes, clock).map(|line| reader.values(line)),
            });
            (line.part, line.number, found)
        };
        let mut pool = Pool::new(self.helpers, || {}, read);
        let mut done = VecDeque::new();
        loop {
            let next = files.next()?;
            let ended = next.is_none();
            match next {
                Some(line) => pool.push(line, &mut |read| done.push_back(read)),
                None => pool.finish(&mut |read| done.push_back(read)),
            }
            while let Some((part, number, read)) = done.pop_front() {
                let Some(read) = read else { continue };
                if let Some(mut read) = files.judge(part, number, read)? {
                    match files.beside(part, read.found.id)? {
                        Beside::Values(mut values) => self.reader.beside(&mut read, &mut values),
                        Beside::Gone => alone += 1,
                        Beside::None => {}
                    }
                    self.take(part, &read, files.bytes())?;
                }
            }
            if ended {
                break;
            }
        }
        if alone > 0 {
            warnings.push(format!(
                "{alone} requests of the raw file are not in the per-request file: they have no HTTP \
                 timings"
            ));
        }
        for part in files.torn() {
            let of = self
                .shards
                .map_or_else(String::new, |shards| shards.name(part) + ": ");
            warnings.push(format!(
                "{of}the last line is cut off in the middle, as a killed run leaves it; it is left out"
            ));
            if let Some(seen) = self.seen.get_mut(part) {
                seen.torn = true;
            }
        }
        Ok(())
    }

    fn take(&mut self, part: usize, read: &ReadLine, bytes: u64) -> Result<(), RebuildError> {
        self.lines += 1;
        if self.lines.is_multiple_of(TELL_EVERY) {
            (self.progress)(bytes);
        }
        let found = &read.found;
        if let (Some(shards), Some(seen)) = (self.shards, self.seen.get_mut(part)) {
            let taken = seen.add(&found.record, &read.reading.verdict);
            taken.map_err(|wrong| shards.wrong(part, wrong, &found.record))?;
        }
        self.last = self.last.max(found.record.times.end);
        let entry: &EntryFacts = &found.entry;
        self.collector.take(&Read {
            record: &found.record,
            entry,
            reading: &read.reading,
            tokens: read.tokens,
            recorded: Some(Recorded {
                metadata: &found.metadata,
                error: found.error.as_deref(),
                trace: read.trace.as_deref(),
                values: &read.values,
            }),
        })?;
        Ok(())
    }

    fn finish(mut self, mut end: RunEnd) -> Result<Report, RebuildError> {
        self.collector.check()?;
        let seen = self.collector.progress();
        let all = seen.valid + seen.errors + seen.cancelled;
        // There is no second count: the files are what there is.
        end.counts = Counts {
            due: all,
            sent: all,
            finished: seen.valid,
            failed: seen.errors,
            cancelled: seen.cancelled,
            dropped: 0,
        };
        let mut report = self.collector.finish(end)?;
        if let Some(recorded) = &mut report.facts.recorded {
            // The run's own account is kept as long as it speaks of the same requests.
            let counts = &mut recorded.summary.request_accounting;
            if !counts.as_ref().is_some_and(|counts| {
                counts.valid == seen.valid
                    && counts.errors == seen.errors
                    && counts.cancelled_by_plan == seen.cancelled
            }) {
                *counts = None;
            }
        }
        Ok(report)
    }
}
