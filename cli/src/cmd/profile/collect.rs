//! The two threads between the cores and the report: one takes records off the cores' channel at
//! once, the other analyses them at low priority. Both stay off the engine's CPUs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Result, anyhow};
use crossbeam_channel::Receiver;
use pinfire_analysis::{
    Collector,
    backlog::{Amount, Backlog, Feed, backlog},
    collect::Progress,
    facts::{RunEnd, RunFacts},
    pool::Pool,
    reading::Reading,
    reclaim::RequestSpan,
    report::Report,
    tokens::TokenCounts,
};
use pinfire_artifacts::WriteError;
use pinfire_base::tokens::TokenCounter;
use pinfire_base::{
    clock::{Span, Stamp},
    record::{Phase, Record},
    threads,
};

use crate::{
    reclaim,
    run::{PreparedRun, cpus},
    terminal::{
        log,
        progress::{Board, Ui},
        say,
    },
};

/// How long a thread rests when nothing has come. Both poll, because a waiting receiver would cost
/// the cores a wake-up per record.
const REST: Duration = Duration::from_millis(2);

/// Figures are shown this often, if someone looks.
const SHOW: Span = Span::from_millis(200);

/// Lines reach the system at least this often, so that a killed run loses no more.
const FLUSH: Span = Span::from_millis(500);

/// The running threads.
pub struct Collecting {
    feeding: JoinHandle<()>,
    thread: JoinHandle<Gathered>,
    all_sent: Arc<AtomicBool>,
    tally: Arc<Tally>,
    records: Receiver<Record>,
    waiting: Arc<Amount>,
}

/// What the thread has made of all records.
struct Gathered {
    collector: Collector,
    /// The first error of the per-request file, or of records that waited.
    failed: Option<WriteError>,
    requests: Vec<RequestSpan>,
    last: Option<u64>,
}

/// What came of all records.
pub struct Collected {
    pub report: Report,
    /// The first error of the per-request file, or of records that waited.
    pub unwritten: Option<WriteError>,
    /// The requests as a verdict on what became of them needs them, if there is to be one.
    pub requests: Vec<RequestSpan>,
    /// The largest number of a request of the measured phase.
    pub last: Option<u64>,
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
    /// Starts them.
    ///
    /// # Errors
    /// The per-request file or a thread cannot be made.
    pub fn start(facts: RunFacts, run: &mut PreparedRun<'_>, board: Arc<Board>) -> Result<Self> {
        let settings = run.settings;
        let records = run.engine.records();
        let entries = Arc::clone(&run.workload.entries);
        let tokenizer = run.workload.tokenizer.take();
        let counter = tokenizer.map(|tokenizer| Arc::new(tokenizer) as Arc<dyn TokenCounter>);
        let lines = settings
            .lines
            .then(|| settings.artifact_dir.join(&settings.files.jsonl));
        let mut collector = Collector::new(facts, entries, counter, lines)?;
        if settings.raw {
            let path = settings.artifact_dir.join(&settings.files.raw);
            collector = collector.with_raw(path, Arc::clone(&run.workload.bodies))?;
        }
        // Someone looks at figures as they come.
        let watched =
            settings.ui == Ui::Dashboard || settings.stats.is_some() || settings.exporter.is_some();
        if watched {
            collector.watch();
        }
        let all_sent = Arc::new(AtomicBool::new(false));
        let (feed, waiting) = backlog(settings.artifact_dir.clone(), settings.records_in_memory);
        let amount = waiting.amount();
        let feeding = Self::feed(run, records.clone(), Arc::clone(&all_sent), feed)?;
        let tally = Arc::new(Tally::default());
        let counting = Arc::clone(&tally);
        let witness = settings.verify_release;
        let seamless = settings.load.seamless;
        let cpus = settings.places.rest.clone();
        // One of the CPUs that the engine leaves is this thread's own.
        let helpers = settings.places.threads_beside().saturating_sub(1);
        let helpers = helpers.min(READERS_MAX);
        let thread = threads::start("pinfire-analysis", move || {
            cpus::stay_on(&cpus);
            cpus::yield_to_others();
            let flow = Flow {
                seamless,
                waiting,
                tally: counting,
                board,
            };
            collect(collector, helpers, flow, witness)
        })?;
        Ok(Self {
            feeding,
            thread,
            all_sent,
            tally,
            records,
            waiting: amount,
        })
    }

    /// Starts the thread that takes records off the cores' channel.
    fn feed(
        run: &PreparedRun<'_>,
        records: Receiver<Record>,
        all_sent: Arc<AtomicBool>,
        feed: Feed,
    ) -> Result<JoinHandle<()>> {
        let places = run.settings.places.clone();
        let thread = threads::start("pinfire-records", move || {
            cpus::stay_on(&places.rest);
            if places.are_crowded() {
                // It has a tenth of the CPU all the same, which is more than it needs.
                cpus::yield_by(10);
            }
            feed_all(&records, &all_sent, feed);
        })?;
        Ok(thread)
    }

    /// How the answers were so far.
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// Waits for the last record and sums up.
    ///
    /// # Errors
    /// The thread is gone.
    pub fn finish(self, end: RunEnd, ui: Ui) -> Result<Collected> {
        self.all_sent.store(true, Ordering::Release);
        let waiting = || self.records.len() as u64 + self.waiting.records();
        let left = waiting();
        let bar = ui.bar("Processing Records", left);
        while !self.thread.is_finished() {
            bar.set_position(left.saturating_sub(waiting()));
            std::thread::sleep(Duration::from_millis(10));
        }
        bar.finish_and_clear();
        self.feeding.join().map_err(|_| {
            anyhow!("the records thread crashed: this is a bug in pinfire, please report it")
        })?;
        if self.waiting.in_files() > 0 {
            log::info(format_args!(
                "{} records waited in a file for their analysis, since {} MB of them waited in memory",
                self.waiting.in_files(),
                self.waiting.most_bytes() >> 20
            ));
        }
        let Gathered {
            mut collector,
            mut failed,
            requests,
            last,
        } = self.thread.join().map_err(|_| {
            anyhow!("the analysis thread crashed: this is a bug in pinfire, please report it")
        })?;
        if let Err(error) = collector.check() {
            // Nobody is told of a file that is not there.
            collector.stop_writing();
            failed = failed.or(Some(error));
        }
        Ok(Collected {
            report: collector.finish(end)?,
            unwritten: failed,
            requests,
            last,
        })
    }
}

/// Threads that read records are never more than so many: one takes their results.
const READERS_MAX: usize = 16;

/// Records taken between two looks at everything else.
const ROUND: usize = 4_096;

/// Where records come from, and where it is said what they show.
struct Flow {
    /// The warmup's answers come while it is measured already.
    seamless: bool,
    waiting: Backlog,
    tally: Arc<Tally>,
    board: Arc<Board>,
}

impl Flow {
    /// Says what the records show so far.
    fn show(&self, collector: &Collector, now: Stamp) {
        let waiting = self.waiting.amount().records();
        for figures in [collector.live_warmup(now), collector.live(now)] {
            self.board.set_figures(figures, waiting);
        }
    }
}

/// Takes records until the last one. They are read on the `helpers` too, and taken in the order in
/// which they came; with a `witness`, how each went is kept. A file that cannot be written any more
/// (a full disk) costs its lines, never the figures.
fn collect(mut collector: Collector, helpers: usize, mut flow: Flow, witness: bool) -> Gathered {
    let mut requests = Vec::new();
    let mut last_number = None;
    let mut flushed = Stamp::now();
    let mut shown = flushed;
    let mut failed = None;
    let mut warmup_told = false;
    let reader = collector.reader();
    // A thread inherits the CPUs of the one that makes it, and not its priority.
    let mut pool = Pool::new(helpers, cpus::yield_to_others, move |record: Record| {
        let (reading, tokens) = reader.read(&record);
        (record, reading, tokens)
    });
    loop {
        let mut written = Ok(());
        let mut take = |(record, reading, tokens): (Record, Reading, TokenCounts)| {
            let line = collector.add_read(&record, &reading, tokens);
            collector.came(&record, Stamp::now());
            if record.phase == Phase::Profiling {
                last_number = last_number.max(Some(record.index));
            }
            if witness {
                // Whether there was a token is enough; a run may have a million requests.
                requests.push(reclaim::span_of(&record, 1));
            }
            if written.is_ok() {
                written = line;
            }
        };
        // In rounds: where records come faster than they are read, lines still reach the disk.
        let mut taken = 0;
        let mut lost = None;
        while taken < ROUND {
            match flow.waiting.take() {
                Ok(Some(record)) => {
                    pool.push(record, &mut take);
                    taken += 1;
                }
                Ok(None) => break,
                Err(error) => {
                    lost = Some(error);
                    break;
                }
            }
        }
        pool.finish(&mut take);
        let last = flow.waiting.has_ended();
        let progress = collector.progress();
        let measuring = !flow.seamless && progress != Progress::default();
        if !warmup_told && (measuring || last) {
            warmup_told = true;
            tell_of_warmup(&collector);
        }
        let ended = progress.valid + progress.errors + progress.cancelled;
        flow.tally.failed.store(progress.errors, Ordering::Relaxed);
        flow.tally.ended.store(ended, Ordering::Relaxed);
        let now = Stamp::now();
        if now.since(shown) >= SHOW {
            flow.show(&collector, now);
            shown = now;
        }
        if now.since(flushed) >= FLUSH {
            written = written.and(collector.flush());
            flushed = now;
        }
        if let Err(error) = written {
            say::warning(format_args!("{error}; going on without a line per request"));
            collector.stop_writing();
            failed = failed.or(Some(error));
        }
        if let Some(lost) = lost {
            say::warning(&lost);
            failed = failed.or(Some(lost));
        } else if last {
            flow.show(&collector, now);
            return Gathered {
                collector,
                failed,
                requests,
                last: last_number,
            };
        } else if taken == 0 {
            std::thread::sleep(REST);
        }
    }
}

/// Takes records off the cores' channel as they come, until the last one.
fn feed_all(records: &Receiver<Record>, all_sent: &AtomicBool, mut feed: Feed) {
    let say = |done: Result<(), WriteError>| {
        if let Err(error) = done {
            say::warning(format_args!("{error}; they wait in memory instead"));
        }
    };
    loop {
        // Read before the channel is drained: what was sent before it is then seen.
        let last = all_sent.load(Ordering::Acquire);
        for record in records.try_iter() {
            say(feed.push(record));
        }
        if last {
            return say(feed.finish());
        }
        say(feed.settle());
        std::thread::sleep(REST);
    }
}

/// How the answers of the warmup were: in the log, and if some of them failed also on the terminal.
fn tell_of_warmup(collector: &Collector) {
    let Some((ended, failed)) = collector.warmup_in_words() else {
        return;
    };
    log::info(format_args!("the answers of the warmup: {ended}"));
    if let Some(failed) = failed {
        say::warning(format_args!("warmup: {failed}"));
    }
}
