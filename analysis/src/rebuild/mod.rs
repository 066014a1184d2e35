//! A run's report from its own files, or from AIPerf's: each line becomes a record again, and the
//! records go the way that those of a live run go. Nothing is computed here.
//!
//! The first choice is the raw file, which holds everything that was sent and received; else the
//! per-request file, whose values give the instants and counts back. Both are read line by line, so
//! that files may be larger than memory.

mod error;
mod gpus;
mod line;
mod raw;
mod summary;
mod values;

use pinfire_artifacts::tag;
use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pinfire_artifacts::config::InputConfig;
use pinfire_artifacts::{Carried, LineNumber, Lines, RunFiles, Summary, read_json};
use pinfire_base::clock::{Span, Stamp};
use pinfire_base::health::Counts;
use pinfire_base::record::PlannedCancellation;
use pinfire_dialect::{Answers, EndpointKind};
use serde_json::Value;

pub use self::error::RebuildError;
use self::line::Found;
use self::raw::RawRequest;
use self::values::{Beside, ValueLine, Values};
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
    raw: Option<PathBuf>,
    lines: Option<PathBuf>,
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
    /// Finds the files of a run in `dir` and reads what was asked. `version` is the tool's.
    ///
    /// # Errors
    /// There is no run, or it is of a kind that cannot be read.
    pub fn open(dir: &Path, version: &str) -> Result<Self, RebuildError> {
        let files = RunFiles::find(dir)?;
        let (mut raw, lines) = (files.raw(), files.lines());
        if raw.is_none() && lines.is_none() {
            return Err(RebuildError::NoRequests {
                dir: dir.to_owned(),
            });
        }
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
        let is_ours = summary.as_ref().map_or(first.is_ours, Summary::is_ours);
        let without = summary.is_none();
        let summary: Summary = summary.unwrap_or_default();
        let window = summary::window(&summary, first.start);
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
            raw,
            lines,
            gpus: files.gpus(),
            window,
            incomplete,
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

    /// Whether the requests themselves are there, so that tokens can be counted anew.
    pub fn has_texts(&self) -> bool {
        self.raw.is_some()
    }

    /// Whether the run's own counts are there.
    pub fn has_counts(&self) -> bool {
        self.lines.is_some()
    }

    /// Bytes of the file that is read.
    pub fn size(&self) -> u64 {
        let path = self.raw.as_ref().or(self.lines.as_ref());
        let size = path.and_then(|path| std::fs::metadata(path).ok());
        size.map_or(0, |data| data.len())
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
        let end = RunEnd {
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
        let collector = Collector::new(self.facts, Arc::default(), None, jsonl)?;
        let mut warnings = self.warnings;
        let mut sink = Sink {
            collector,
            reader: Arc::new(reader),
            helpers: std::thread::available_parallelism().map_or(0, |all| all.get() - 1),
            progress,
            lines: 0,
            last: line::at(0),
        };
        let lines = match (&self.raw, &self.lines) {
            (Some(raw), beside) => sink.raw(raw, beside.as_deref(), &mut warnings)?,
            (None, Some(lines)) => sink.values(lines)?,
            // One of them was there when the run was opened.
            (None, None) => unreachable!("a run without requests is not opened"),
        };
        if lines.torn().is_some() {
            warnings.push(
                "the last line is cut off in the middle, as a killed run leaves it; it is left out"
                    .to_owned(),
            );
        }
        if let (Some(gpu), None) = (&mut gpu, end.profiling.and_then(|window| window.end)) {
            // A run that was killed: energy is of the time that its requests are of.
            gpu.end_at(sink.last);
        }
        let mut report = sink.finish(end)?;
        report.add_external(External {
            gpu,
            ..External::default()
        });
        Ok((report, warnings))
    }
}

/// What the first lines say of a run that has no summary.
struct First {
    start: u64,
    is_ours: bool,
    streaming: bool,
    kind: EndpointKind,
    model: Option<String>,
    has_plan: bool,
    by_server: bool,
    /// None of its first requests is among the first of the per-request file.
    raw_is_of_another_run: bool,
}

/// So many lines are looked at: the first ones may have failed.
const LOOKED_AT: usize = 100;
/// And so many of the per-request file, which may be out of step with the raw one.
const LOOKED_AT_BESIDE: usize = 1_000;

impl First {
    fn of(raw: Option<&Path>, lines: Option<&Path>) -> Result<Self, RebuildError> {
        let mut first = Self {
            start: 0,
            is_ours: false,
            streaming: false,
            kind: EndpointKind::Chat,
            model: None,
            has_plan: false,
            by_server: false,
            raw_is_of_another_run: false,
        };
        let (mut in_raw, mut in_lines) = (HashSet::new(), HashSet::new());
        if let Some(path) = raw {
            let mut lines = Lines::open(path)?;
            for _ in 0..LOOKED_AT {
                let Some(line) = lines.next(RawRequest::read)? else {
                    break;
                };
                first.see(&line.found);
                in_raw.insert(line.found.id);
                let body = line.body.as_deref().map(serde_json::from_slice::<Value>);
                if let Some(Ok(body)) = body {
                    first.see_body(&body);
                }
            }
        }
        if let Some(path) = lines {
            let mut lines = Lines::open(path)?;
            let mut counted = None;
            for _ in 0..LOOKED_AT_BESIDE {
                let Some(line) = lines.next(ValueLine::read)? else {
                    break;
                };
                first.see(&line.found);
                in_lines.insert(line.found.id);
                let has = |tag| line.values.has(tag);
                first.streaming |= has(tag::TIME_TO_FIRST_TOKEN);
                if line.found.verdict.is_none() && has(tag::USAGE_PROMPT_TOKENS) {
                    counted.get_or_insert(has(tag::USAGE_PROMPT_TOKENS_DIFF_PCT));
                }
            }
            first.by_server = counted == Some(false);
        }
        first.raw_is_of_another_run =
            !in_raw.is_empty() && !in_lines.is_empty() && in_raw.is_disjoint(&in_lines);
        Ok(first)
    }

    fn see(&mut self, found: &Found) {
        let start = found.record.times.admitted.nanos();
        if self.start == 0 || start < self.start {
            self.start = start;
        }
        self.is_ours |= found.is_ours;
        self.has_plan |= found.record.cancel.is_some();
    }

    fn see_body(&mut self, body: &Value) {
        self.streaming |= body.get("stream").and_then(Value::as_bool) == Some(true);
        if self.model.is_none() {
            let model = body.get("model").and_then(Value::as_str);
            self.model = model.map(str::to_owned);
        }
        self.kind = if body.get("messages").is_some() {
            EndpointKind::Chat
        } else if body.get("prompt").is_some() {
            EndpointKind::Completions
        } else {
            EndpointKind::Raw
        };
    }

    fn tell(&self, facts: &mut RunFacts) {
        facts.streaming = self.streaming;
        facts.answers = Answers::of(self.kind);
        facts.models.extend(self.model.clone());
        if let Some(recorded) = &mut facts.recorded {
            recorded.client_counts = !self.by_server;
        }
    }
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

/// Takes requests in the order of the file.
struct Sink<'a> {
    collector: Collector,
    reader: Arc<Reader>,
    /// Threads that read lines besides this one.
    helpers: usize,
    progress: &'a dyn Fn(u64),
    lines: u64,
    /// The last end of a request.
    last: Stamp,
}

/// Progress is told every so many lines.
const TELL_EVERY: u64 = 256;

impl Sink<'_> {
    fn raw(
        &mut self,
        path: &Path,
        beside: Option<&Path>,
        warnings: &mut Vec<String>,
    ) -> Result<Lines, RebuildError> {
        let mut others = Beside::open(beside)?;
        let mut alone = 0_u64;
        let reader = Arc::clone(&self.reader);
        let read = move |line: &[u8]| RawRequest::read(line).map(|line| reader.raw(line));
        let lines = self.each(path, read, |sink, read| {
            match others.of(read.found.id)? {
                Some(mut values) => sink.reader.beside(read, &mut values),
                None => alone += u64::from(beside.is_some()),
            }
            Ok(())
        })?;
        if alone > 0 {
            warnings.push(format!(
                "{alone} requests of the raw file are not in the per-request file: they have no HTTP \
                 timings"
            ));
        }
        Ok(lines)
    }

    fn values(&mut self, path: &Path) -> Result<Lines, RebuildError> {
        let reader = Arc::clone(&self.reader);
        let read = move |line: &[u8]| ValueLine::read(line).map(|line| reader.values(line));
        self.each(path, read, |_, _| Ok(()))
    }

    /// Reads all lines of a file on all threads, and takes each in its order after `prepare`.
    fn each(
        &mut self,
        path: &Path,
        read: impl Fn(&[u8]) -> Result<ReadLine, String> + Send + Sync + 'static,
        mut prepare: impl FnMut(&mut Self, &mut ReadLine) -> Result<(), RebuildError>,
    ) -> Result<Lines, RebuildError> {
        let mut lines = Lines::open(path)?;
        let mut pool = Pool::new(
            self.helpers,
            || {},
            move |(number, line): (LineNumber, Vec<u8>)| (number, read(&line)),
        );
        let mut done: VecDeque<(LineNumber, Result<ReadLine, String>)> = VecDeque::new();
        loop {
            let next = lines.next_bytes()?;
            let ended = next.is_none();
            match next {
                Some(line) => pool.push(line, &mut |read| done.push_back(read)),
                None => pool.finish(&mut |read| done.push_back(read)),
            }
            while let Some((number, read)) = done.pop_front() {
                if let Some(mut read) = lines.judge(number, read)? {
                    prepare(self, &mut read)?;
                    self.take(&read, lines.bytes())?;
                }
            }
            if ended {
                return Ok(lines);
            }
        }
    }

    fn take(&mut self, read: &ReadLine, bytes: u64) -> Result<(), RebuildError> {
        self.lines += 1;
        if self.lines.is_multiple_of(TELL_EVERY) {
            (self.progress)(bytes);
        }
        let found = &read.found;
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
