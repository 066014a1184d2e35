//! What a person sees while the program works: a full screen, one bar at a time, or lines.

use std::{
    borrow::Cow,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use pinfire_analysis::live::Snapshot;
use pinfire_base::{
    clock::{Span, Stamp},
    health::Counts,
    record::Phase,
};

/// Where a bar over many runs stays below the bars of each.
static WHOLE: OnceLock<MultiProgress> = OnceLock::new();

/// Does something to the terminal while no bar is in the way.
pub fn aside<T>(deed: impl FnOnce() -> T) -> T {
    match WHOLE.get() {
        Some(bars) => bars.suspend(deed),
        None => deed(),
    }
}

/// How progress is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ui {
    /// The whole terminal while requests are sent; else as `Simple`.
    Dashboard,
    /// A bar on stderr.
    Simple,
    /// Lines, if it takes long enough.
    None,
}

impl Ui {
    /// A bar over everything that is to come, which stays below the others.
    pub fn whole(self, name: &'static str, total: u64) -> ProgressBar {
        match self {
            Self::Simple => {
                WHOLE.get_or_init(MultiProgress::new);
                self.bar(name, total)
            }
            // The screen of each run is the whole terminal.
            Self::Dashboard | Self::None => Self::None.bar(name, total),
        }
    }

    /// A bar for `total` things; hidden without a UI.
    pub fn bar(self, name: impl Into<Cow<'static, str>>, total: u64) -> ProgressBar {
        let bar = match self {
            Self::Simple | Self::Dashboard => match WHOLE.get() {
                Some(bars) => bars.insert(0, ProgressBar::new(total)),
                None => ProgressBar::new(total),
            },
            Self::None => ProgressBar::hidden(),
        };
        let template = "{prefix} {human_pos}/{human_len} |{wide_bar}| {percent}% \
                        [{elapsed_precise}<{eta_precise}] {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
        }
        bar.set_prefix(name);
        // Shown at once. It moves on when it is told to: a thread of its own for that could be one
        // that the system does not give.
        bar.tick();
        bar
    }
}

/// What those who know write down, and those who show read. No engine core has to do with it: the
/// control thread reads their counters and the analysis thread has their records.
#[derive(Debug, Default)]
pub struct Board {
    /// Of the warmup and of the measurement.
    stages: Mutex<[Option<Stage>; 2]>,
    figures: Mutex<[Option<Snapshot>; 2]>,
    /// Records that wait for the analysis.
    backlog: AtomicU64,
}

/// A phase that goes on.
#[derive(Clone, Debug)]
pub struct Stage {
    pub phase: Phase,
    pub name: &'static str,
    pub begun: Stamp,
    /// How many requests it has, if that is known.
    pub requests: Option<u64>,
    /// How long requests are sent, if that is limited.
    pub duration: Option<Span>,
    /// The limit of requests in flight, if there is one.
    pub concurrency: Option<u64>,
    pub counts: Counts,
}

impl Stage {
    /// Requests that have ended in any way.
    pub const fn ended(&self) -> u64 {
        let counts = &self.counts;
        counts.finished + counts.failed + counts.cancelled + counts.dropped
    }

    /// Requests that have begun and not ended.
    pub const fn in_flight(&self) -> u64 {
        self.counts.due.saturating_sub(self.ended())
    }

    /// The share that is done, 0 to 1, by requests if their number is known, else by time.
    pub fn share(&self, now: Stamp) -> f64 {
        let share = match (self.requests, self.duration) {
            (Some(requests), _) if requests > 0 => self.ended() as f64 / requests as f64,
            (_, Some(duration)) if duration > Span::ZERO => {
                now.since(self.begun).as_secs_f64() / duration.as_secs_f64()
            }
            _ => 0.0,
        };
        share.clamp(0.0, 1.0)
    }
}

impl Board {
    /// Says where the phase is.
    pub fn set_stage(&self, stage: Stage) {
        let at = stage.phase as usize;
        if let Some(of) = lock(&self.stages).get_mut(at) {
            *of = Some(stage);
        }
    }

    /// Says what the records show, and how many wait.
    pub fn set_figures(&self, figures: Option<Snapshot>, backlog: u64) {
        if let Some(figures) = figures
            && let Some(of) = lock(&self.figures).get_mut(figures.phase as usize)
        {
            *of = Some(figures);
        }
        self.backlog.store(backlog, Ordering::Relaxed);
    }

    /// Where the phase is that was begun last.
    pub fn stage(&self) -> Option<Stage> {
        let [warmup, profiling] = &*lock(&self.stages);
        profiling.as_ref().or(warmup.as_ref()).cloned()
    }

    /// What the records of the phase show that was begun last.
    pub fn figures(&self) -> Option<Snapshot> {
        let [warmup, profiling] = &*lock(&self.figures);
        profiling.as_ref().or(warmup.as_ref()).cloned()
    }

    /// Where each phase is that was begun, and what its records show.
    pub fn phases(&self) -> [(Option<Stage>, Option<Snapshot>); 2] {
        let stages = lock(&self.stages).clone();
        let figures = lock(&self.figures).clone();
        let mut figures = figures.into_iter();
        stages.map(|stage| (stage, figures.next().flatten()))
    }

    pub fn backlog(&self) -> u64 {
        self.backlog.load(Ordering::Relaxed)
    }
}

/// What is behind it is whole between any two statements.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
