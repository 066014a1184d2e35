//! What a page shows over a run, kept for its files: every sample that has changed, and the levels
//! of servers whose metrics are known.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};

use pinfire_artifacts::{LineFile, WriteError};
use pinfire_base::{
    clock::{Span, WallAnchor},
    record::Phase,
};
use pinfire_guard::shown_url;
use pinfire_scrape::{Meter, Scrape, Watched, files::lines, gpu::GpuHistory};

use super::{
    client::ScrapeError,
    page::{Interest, Sample, Subscriber},
};
use crate::terminal::say;

/// A page that has shown metrics, and something else so many times in a row, is left alone.
const FAILURES_IN_FORM: u32 = 10;

/// What is known of a page so far. The page's thread writes it, the run reads it.
pub struct Recording {
    /// What it has shown; nothing before the first sample.
    pub shown: Option<Recorded>,
    /// Why there is no page.
    pub absent: Option<String>,
    /// How long after a client has left its trace may be missing.
    pub settle: Span,
}

impl Default for Recording {
    fn default() -> Self {
        Self {
            shown: None,
            absent: None,
            settle: Span::ZERO,
        }
    }
}

/// By what is behind the page.
pub enum Recorded {
    Server(Box<Watched>),
    Gpu(GpuHistory),
}

/// What is behind a page.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    Server,
    Gpus,
}

/// Where a run is, as its scrapers are told.
#[derive(Default)]
pub struct CurrentPhase(AtomicU8);

/// What [`CurrentPhase`] holds; 0 before the first phase.
const WARMUP: u8 = 1;
const PROFILING_FIRST: u8 = 2;
const PROFILING_NEXT: u8 = 3;

impl CurrentPhase {
    /// A phase begins.
    pub fn begin(&self, phase: Phase) {
        let code = match (phase, self.0.load(Ordering::Relaxed)) {
            (Phase::Warmup, _) => WARMUP,
            (Phase::Profiling, WARMUP) => PROFILING_NEXT,
            (Phase::Profiling, _) => PROFILING_FIRST,
        };
        self.0.store(code, Ordering::Relaxed);
    }

    /// The phase and its number in the run.
    fn get(&self) -> Option<(Phase, u64)> {
        match self.0.load(Ordering::Relaxed) {
            WARMUP => Some((Phase::Warmup, 0)),
            PROFILING_FIRST => Some((Phase::Profiling, 0)),
            PROFILING_NEXT => Some((Phase::Profiling, 1)),
            _ => None,
        }
    }
}

/// The file that all pages of one kind write to; made with the first line.
pub struct LinesFile {
    path: PathBuf,
    file: Option<LineFile>,
    failed: Option<WriteError>,
}

impl LinesFile {
    /// Nothing is made yet.
    pub fn at(path: PathBuf) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            path,
            file: None,
            failed: None,
        }))
    }

    fn write(&mut self, bytes: &[u8]) {
        if bytes.is_empty() || self.failed.is_some() {
            return;
        }
        if let Err(error) = self.try_write(bytes) {
            say::warning(&error);
            self.failed = Some(error);
        }
    }

    fn try_write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(LineFile::create(&self.path)?),
        };
        file.write(bytes)?;
        file.flush()
    }

    /// What was written is there.
    ///
    /// # Errors
    /// A line could not be written, or what was written is gone.
    pub fn check(&mut self) -> Result<(), WriteError> {
        match self.failed.take() {
            Some(error) => Err(error),
            None => self.file.as_mut().map_or(Ok(()), LineFile::check),
        }
    }
}

/// Keeps what one page shows.
pub struct Recorder {
    pub behind: Behind,
    /// Follows the metrics that are known.
    pub meter: Meter,
    pub phase: Arc<CurrentPhase>,
    pub anchor: WallAnchor,
    pub lines: Option<Arc<Mutex<LinesFile>>>,
    pub recording: Arc<Mutex<Recording>>,
    /// The page as it was last.
    pub last: Vec<u8>,
    /// Samples in a row that were no page of metrics.
    pub failures_in_form: u32,
}

/// Looks at what is known of a page.
pub fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that has panicked has left whole samples behind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Subscriber for Recorder {
    fn take(&mut self, url: &str, sample: &Sample) -> Interest {
        let shown = match &sample.shown {
            Ok(shown) => shown,
            Err(error) => return self.failed(error),
        };
        self.failures_in_form = 0;
        let changed = self.last != shown.body;
        if changed {
            self.last.clone_from(&shown.body);
        }
        let lines = self.keep(url, &shown.scrape, changed);
        if let (Some(file), Some(lines)) = (&self.lines, lines) {
            held(file).write(&lines);
        }
        Interest::Stays
    }

    fn absent(&mut self, reason: &str) -> Interest {
        held(&self.recording).absent = Some(reason.to_owned());
        Interest::Ends
    }
}

impl Recorder {
    fn failed(&mut self, error: &ScrapeError) -> Interest {
        if let Some(Recorded::Server(watched)) = &mut held(&self.recording).shown {
            watched.failed += 1;
            watched.last_failure = Some(error.to_string());
        }
        self.failures_in_form = match error {
            ScrapeError::Unreadable(_) => self.failures_in_form + 1,
            _ => 0,
        };
        match self.failures_in_form >= FAILURES_IN_FORM {
            true => Interest::Ends,
            false => Interest::Stays,
        }
    }

    /// Keeps a sample; gives the lines that are to be written of it.
    fn keep(&mut self, url: &str, scrape: &Scrape, changed: bool) -> Option<Vec<u8>> {
        let mut recording = held(&self.recording);
        let Recording { shown, settle, .. } = &mut *recording;
        let shown = shown.get_or_insert_with(|| match self.behind {
            Behind::Gpus => Recorded::Gpu(GpuHistory::new(&shown_url(url))),
            Behind::Server => Recorded::Server(Box::new(Watched {
                url: shown_url(url).into_owned(),
                ..Watched::default()
            })),
        });
        match shown {
            Recorded::Gpu(history) => changed.then(|| history.add(scrape, &self.anchor)),
            Recorded::Server(watched) => {
                watched.history.add(scrape, changed);
                watched.levels.push((scrape.at, self.meter.read(scrape)));
                if let Some(kind) = self.meter.kind() {
                    watched.server = Some(kind.name.clone());
                    let formula = self.meter.aborted_formula();
                    watched.aborted_formula = formula.map(str::to_owned);
                    *settle = Span::from_secs_f64(kind.settle_seconds);
                }
                let wanted = changed && self.lines.is_some();
                wanted.then(|| lines::line(&shown_url(url), scrape, self.phase.get(), &self.anchor))
            }
        }
    }
}
