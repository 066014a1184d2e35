//! The analysis thread: takes records off the cores' channel, at low priority, off their CPUs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use crossbeam_channel::Receiver;
use pinfire_analysis::{
    collect::Collector,
    export::ExportError,
    facts::{EntryFacts, RunEnd, RunFacts},
    pool::Pool,
    reading::Reading,
    reclaim::Seen,
    report::Report,
    tokens::TokenCounts,
};
use pinfire_base::tokens::TokenCounter;
use pinfire_base::{
    clock::{Span, Stamp},
    ready::Ready,
    record::Record,
};
use pinfire_workload::text::tokenizer::Tokenizer;

use crate::{
    reclaim,
    run::place,
    settings::Settings,
    terminal::{
        progress::{Board, Ui},
        say,
    },
};

/// How long the thread rests when nothing has come. It polls, because a waiting receiver would cost
/// the cores a wake-up per record.
const REST: Duration = Duration::from_millis(2);

/// Figures are shown this often, if someone looks.
const SHOW: Span = Span::from_millis(200);

/// Lines reach the system at least this often, so that a killed run loses no more.
const FLUSH: Span = Span::from_millis(500);

/// The running analysis thread.
pub struct Collecting {
    thread: JoinHandle<(Collector, Option<ExportError>, Vec<Seen>)>,
    all_sent: Arc<AtomicBool>,
    tally: Arc<Tally>,
    records: Receiver<Record>,
}

/// How the answers were so far, for whoever decides whether the run goes on.
#[derive(Default)]
pub struct Tally {
    /// Requests of the measured phase that have ended, failed or not.
    pub ended: AtomicU64,
    /// Those that have failed, bad answers included.
    pub failed: AtomicU64,
}

impl Collecting {
    /// Starts it.
    ///
    /// # Errors
    /// The per-request file or the thread cannot be made.
    pub fn start(
        facts: RunFacts,
        entries: Arc<[EntryFacts]>,
        bodies: &Arc<Ready>,
        tokenizer: Option<Tokenizer>,
        records: Receiver<Record>,
        settings: &Settings,
        board: Arc<Board>,
    ) -> Result<Self> {
        let counter = tokenizer.map(|tokenizer| Arc::new(tokenizer) as Arc<dyn TokenCounter>);
        let lines = settings
            .lines
            .then(|| settings.artifact_dir.join(&settings.files.jsonl));
        let mut collector = Collector::new(facts, entries, counter, lines)?;
        if settings.raw {
            let path = settings.artifact_dir.join(&settings.files.raw);
            collector = collector.with_raw(path, Arc::clone(bodies))?;
        }
        // Someone looks at figures as they come.
        let watched = settings.ui == Ui::Dashboard || settings.stats.is_some();
        if watched {
            collector.watch();
        }
        let all_sent = Arc::new(AtomicBool::new(false));
        let (sent, incoming) = (Arc::clone(&all_sent), records.clone());
        let tally = Arc::new(Tally::default());
        let counting = Arc::clone(&tally);
        let witness = settings.verify_release;
        let cpus = settings.places.rest.clone();
        let thread = std::thread::Builder::new()
            .name("pinfire-analysis".to_owned())
            .spawn(move || {
                place::stay_on(&cpus);
                place::yield_to_others();
                // One of the CPUs that the engine leaves is this thread's own.
                let helpers = cpus.len().saturating_sub(1).min(READERS_MAX);
                let mut seen = Vec::new();
                let witness = witness.then_some(&mut seen);
                let flow = (&incoming, &*sent);
                let (collector, failed) =
                    collect(collector, helpers, flow, &counting, &board, witness);
                (collector, failed, seen)
            })
            .context("the analysis thread cannot be started")?;
        Ok(Self {
            thread,
            all_sent,
            tally,
            records,
        })
    }

    /// How the answers were so far.
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// Waits for the last record and sums up; also gives the first error of the per-request file, and
    /// the requests as a verdict on their release needs them, if there is to be one.
    ///
    /// # Errors
    /// The thread is gone.
    pub fn finish(self, end: RunEnd, ui: Ui) -> Result<(Report, Option<ExportError>, Vec<Seen>)> {
        self.all_sent.store(true, Ordering::Release);
        let left = self.records.len() as u64;
        let bar = ui.bar("Processing Records", left);
        while !self.thread.is_finished() {
            bar.set_position(left.saturating_sub(self.records.len() as u64));
            std::thread::sleep(Duration::from_millis(10));
        }
        bar.finish_and_clear();
        let (mut collector, mut failed, seen) = self
            .thread
            .join()
            .map_err(|_| anyhow!("the analysis thread has ended by a defect of pinfire"))?;
        if let Err(error) = collector.flush() {
            collector.stop_writing();
            failed = failed.or(Some(error));
        }
        Ok((collector.finish(end)?, failed, seen))
    }
}

/// Threads that read records are never more than so many: one takes their results.
const READERS_MAX: usize = 16;

/// Records taken between two looks at everything else.
const ROUND: usize = 4_096;

/// Takes records until the last one. They are read on the `helpers` too, and taken in the order in
/// which they came. A file that cannot be written any more (a full disk) costs its
/// lines, never the figures.
fn collect(
    mut collector: Collector,
    helpers: usize,
    (records, all_sent): (&Receiver<Record>, &AtomicBool),
    tally: &Tally,
    board: &Board,
    mut witness: Option<&mut Vec<Seen>>,
) -> (Collector, Option<ExportError>) {
    let mut flushed = Stamp::now();
    let mut shown = flushed;
    let mut failed = None;
    let reader = collector.reader();
    // A thread inherits the CPUs of the one that makes it, and not its priority.
    let mut pool = Pool::new(helpers, place::yield_to_others, move |record: Record| {
        let (reading, tokens) = reader.read(&record);
        (record, reading, tokens)
    });
    loop {
        // Read before the channel is drained: what was sent before it is then seen.
        let last = all_sent.load(Ordering::Acquire);
        let mut written = Ok(());
        let mut take = |(record, reading, tokens): (Record, Reading, TokenCounts)| {
            let line = collector.add_read(&record, &reading, tokens);
            collector.came(&record, Stamp::now());
            if let Some(seen) = &mut witness {
                // Whether there was a token is enough; a run may have a million requests.
                seen.push(reclaim::seen(&record, 1));
            }
            if written.is_ok() {
                written = line;
            }
        };
        // In rounds: where records come faster than they are read, lines still reach the disk.
        for record in records.try_iter().take(ROUND) {
            pool.push(record, &mut take);
        }
        pool.finish(&mut take);
        let progress = collector.progress();
        let ended = progress.valid + progress.errors + progress.cancelled;
        tally.failed.store(progress.errors, Ordering::Relaxed);
        tally.ended.store(ended, Ordering::Relaxed);
        let now = Stamp::now();
        if now.since(shown) >= SHOW {
            board.set_figures(collector.live(now), records.len() as u64);
            shown = now;
        }
        if now.since(flushed) >= FLUSH {
            written = written.and(collector.flush());
            flushed = now;
        }
        if let Err(error) = written {
            say::warning(format_args!("{error}; going on without a line per request"));
            collector.stop_writing();
            failed = Some(error);
        }
        if !records.is_empty() {
            continue;
        }
        if last {
            return (collector, failed);
        }
        std::thread::sleep(REST);
    }
}
