//! The pages of a run, looked at from before its first request until what it did has been counted.
//!
//! One thread per page, off the engine's CPUs, one look at a time. The run waits for none of them longer
//! than the few limits here.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use pinfire_analysis::{
    export::{FileNames, Outside},
    facts::{RunEnd, RunFacts},
    scrape::{
        ReleaseProfiles, Scrape, ServerMetrics, Unreadable, Watched,
        files::{MetricsFormat, lines},
        gpu::{GpuHistory, GpuTelemetry},
        reduce::Window,
    },
};
use pinfire_base::{
    clock::{Span, Stamp, WallAnchor},
    record::Phase,
};

use super::{
    client::{Client, Page, ScrapeError, Trust},
    fast::next_due,
    plan::{Candidate, Plan, of_server},
};
use crate::{run::place, terminal::say};

/// The first request waits so long at most until each page was looked at once.
const BASELINE: Duration = Duration::from_millis(250);
/// Between two phases, so long at most.
const BETWEEN: Duration = Duration::from_millis(50);
/// After the run, what is counted late is waited for so long, and longer when requests were cancelled:
/// servers notice that late.
const FLUSH: Span = Span::from_millis(2_000);
const FLUSH_CANCELLED: Span = Span::from_millis(5_000);
/// After the run, a look is waited for so long at most.
const LAST_LOOK: Duration = Duration::from_secs(5);
/// Looks while the server comes to rest.
const SETTLING: Span = Span::from_millis(100);

/// What the threads know of the phase; 0 before the first.
const WARMUP: u8 = 1;
const PROFILING_FIRST: u8 = 2;
const PROFILING_NEXT: u8 = 3;

enum Command {
    /// Look now; the sender is dropped when it is done.
    Look(Sender<()>),
    /// Look at this interval from now on.
    Every(Span),
}

/// What a thread knows of its page.
enum Seen {
    Server(Watched),
    Gpu(GpuHistory),
}

struct Shared {
    seen: Option<Seen>,
    /// Why there is no page.
    absent: Option<String>,
    /// How long after a client has left its trace may be missing.
    settle: Span,
}

struct Endpoint {
    page: Candidate,
    commands: Sender<Command>,
    ready: Receiver<()>,
    shared: Arc<Mutex<Shared>>,
    gpu: bool,
}

/// The looking of a run.
pub struct Watch {
    endpoints: Vec<Endpoint>,
    phase: Arc<AtomicU8>,
    plan: Plan,
    started: Stamp,
}

/// What all threads of one kind write to; made with the first line.
struct Lines {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    broken: bool,
}

impl Lines {
    fn at(path: PathBuf) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            path,
            file: None,
            broken: false,
        }))
    }

    fn write(&mut self, bytes: &[u8]) {
        if bytes.is_empty() || self.broken {
            return;
        }
        let mut write = || {
            if self.file.is_none() {
                self.file = Some(BufWriter::new(File::create(&self.path)?));
            }
            match &mut self.file {
                Some(file) => file.write_all(bytes).and_then(|()| file.flush()),
                None => Ok(()),
            }
        };
        if let Err(error) = write() {
            self.broken = true;
            say::warning(format_args!(
                "cannot write {}: {error}",
                self.path.display()
            ));
        }
    }
}

/// Everything a thread needs.
struct Task {
    page: Candidate,
    gpu: bool,
    client: Client,
    probe: Client,
    interval: Span,
    profiles: ReleaseProfiles,
    phase: Arc<AtomicU8>,
    anchor: WallAnchor,
    lines: Option<Arc<Mutex<Lines>>>,
    shared: Arc<Mutex<Shared>>,
    cpus: Vec<usize>,
    /// The engine has left no CPU to itself.
    crowded: bool,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that has panicked has left whole looks behind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    /// Begins to look. `urls` are those of the servers, `cpus` those of the engine and those left.
    pub fn start(
        plan: &Plan,
        urls: &[String],
        [engine, rest]: [&[usize]; 2],
        anchor: WallAnchor,
        folder: &Path,
        files: &FileNames,
    ) -> Self {
        let phase = Arc::new(AtomicU8::new(0));
        let mut watch = Self {
            endpoints: Vec::new(),
            phase: Arc::clone(&phase),
            plan: plan.clone(),
            started: Stamp::now(),
        };
        let mut tasks = Vec::new();
        if let Some(server) = &plan.server {
            let mut pages: Vec<Candidate> = Vec::new();
            let own = urls.iter().filter_map(|url| of_server(url));
            for page in own.chain(server.given.iter().cloned()) {
                if !pages
                    .iter()
                    .any(|known| known.urls.first() == page.urls.first())
                {
                    pages.push(page);
                }
            }
            let lines = server
                .formats
                .contains(&MetricsFormat::Jsonl)
                .then(|| Lines::at(folder.join(format!("{}.jsonl", files.server_metrics))));
            let interval = server.interval;
            let clients = clients(&plan.trust, server.connect, server.limit);
            tasks.extend(
                pages
                    .into_iter()
                    .map(|page| (page, false, interval, clients.clone(), lines.clone())),
            );
        }
        if let Some(gpu) = &plan.gpu {
            let lines = Lines::at(folder.join(&files.gpu_telemetry));
            let clients = clients(&plan.trust, gpu.connect, gpu.connect);
            let pages = gpu.pages.iter().cloned();
            tasks.extend(pages.map(|page| {
                (
                    page,
                    true,
                    gpu.interval,
                    clients.clone(),
                    Some(Arc::clone(&lines)),
                )
            }));
        }
        let crowded = rest.iter().any(|cpu| engine.contains(cpu));
        for (page, gpu, interval, [probe, client], lines) in tasks {
            let shared = Arc::new(Mutex::new(Shared {
                seen: None,
                absent: None,
                settle: Span::ZERO,
            }));
            let (commands, orders) = unbounded();
            let (found, ready) = bounded::<()>(0);
            let task = Task {
                page: page.clone(),
                gpu,
                client,
                probe,
                interval,
                profiles: plan.profiles.clone(),
                phase: Arc::clone(&phase),
                anchor,
                lines,
                shared: Arc::clone(&shared),
                cpus: rest.to_vec(),
                crowded,
            };
            let thread = std::thread::Builder::new().name("pinfire-scrape".to_owned());
            if let Err(error) = thread.spawn(move || task.run(&orders, found)) {
                say::warning(format_args!("no thread for {:?}: {error}", page.urls));
                continue;
            }
            watch.endpoints.push(Endpoint {
                page,
                commands,
                ready,
                shared,
                gpu,
            });
        }
        watch
    }

    /// Waits until every page was looked at, or is known not to be there; not long.
    pub fn wait_for_baseline(&self) {
        let until = self.started + Span::from_nanos(BASELINE.as_nanos() as u64);
        for endpoint in &self.endpoints {
            // The thread drops its end of the channel; nothing is ever sent.
            let _ = endpoint.ready.recv_timeout(left(until));
        }
    }

    /// A phase begins: a look at its boundary, not waited for.
    pub fn begin(&self, phase: Phase) {
        let code = match (phase, self.phase.load(Ordering::Relaxed)) {
            (Phase::Warmup, _) => WARMUP,
            (Phase::Profiling, WARMUP) => PROFILING_NEXT,
            (Phase::Profiling, _) => PROFILING_FIRST,
        };
        self.phase.store(code, Ordering::Relaxed);
        self.look(false);
    }

    /// A phase that another follows is over: a look that closes its window, waited for shortly.
    pub fn between(&self) {
        wait(&self.look(false), BETWEEN);
    }

    /// Asks every page for a look now; those of GPUs too unless only servers are wanted.
    fn look(&self, servers_only: bool) -> Vec<Receiver<()>> {
        let asked = self
            .endpoints
            .iter()
            .filter(|endpoint| !(servers_only && endpoint.gpu));
        asked
            .map(|endpoint| {
                let (done, waiting) = bounded(0);
                // A thread without a page has gone.
                let _ = endpoint.commands.send(Command::Look(done));
                waiting
            })
            .collect()
    }

    /// Waits for what is counted late, and sums up.
    pub fn finish(self, end: &RunEnd, facts: &RunFacts) -> Outside {
        let now = Stamp::now();
        let window =
            |phase: &pinfire_analysis::facts::PhaseWindow| (phase.start, phase.end.unwrap_or(now));
        let measured = end.profiling.as_ref().map(window);
        if end.interrupted.is_none()
            && let Some((_, end)) = measured
        {
            self.flush(end, facts.cancellation.is_some());
        }
        let Some((start, end_of)) = measured else {
            return Outside::default();
        };
        let until = Stamp::from_nanos(u64::MAX >> 1);
        let window = Window {
            start,
            end: end_of,
            until,
        };
        let warmup = end.warmup.as_ref().map(|phase| {
            let (from, to) = (phase.start, phase.end.unwrap_or(start));
            let until = to.max(start);
            Window {
                start: from,
                end: to,
                until,
            }
        });
        let mut outside = Outside::default();
        let mut servers = Vec::new();
        let mut gpu = GpuTelemetry {
            configured: Vec::new(),
            exporters: Vec::new(),
            failures: Vec::new(),
            window: Window {
                until: end_of + self.plan.gpu.as_ref().map_or(Span::ZERO, |plan| plan.grace),
                ..window
            },
        };
        let mut absent = Vec::new();
        for endpoint in &self.endpoints {
            let mut shared = held(&endpoint.shared);
            let url = endpoint.page.urls.first().cloned().unwrap_or_default();
            match shared.seen.take() {
                Some(Seen::Server(watched)) => servers.push(watched),
                Some(Seen::Gpu(history)) => {
                    gpu.configured.push(history.url.clone());
                    gpu.exporters.push(history);
                }
                None => {
                    let reason = shared
                        .absent
                        .clone()
                        .unwrap_or_else(|| "no answer yet".to_owned());
                    let line = format!("{url}: {reason}");
                    match (endpoint.gpu, endpoint.page.given) {
                        (true, true) => {
                            gpu.configured.push(url);
                            gpu.failures.push(line);
                        }
                        (true, false) => {}
                        (false, given) => absent.push((given, line)),
                    }
                }
            }
        }
        for (given, line) in &absent {
            if *given {
                say::warning(format_args!("--server-metrics {line}"));
            }
        }
        if servers.is_empty() && self.plan.server.is_some() {
            if let Some((_, line)) = absent.first() {
                say::line(format_args!("no server metrics ({line})"));
            }
        } else if !servers.is_empty() {
            let metrics = ServerMetrics {
                endpoints: servers,
                window,
                warmup,
                slice: facts.slice,
            };
            match metrics.write(facts) {
                Ok(files) => outside.files = files,
                Err(error) => say::warning(error),
            }
            outside.server = Some(metrics);
        }
        for failure in &gpu.failures {
            say::warning(format_args!("--gpu-telemetry {failure}"));
        }
        outside.gpu = self.plan.gpu.is_some().then_some(gpu);
        outside
    }

    /// Looks until every server is at rest and has had the time to count what was hung up on, or for as
    /// long as the environment says; then one look more.
    fn flush(&self, end: Stamp, cancelled: bool) {
        let live = |gpu: bool| {
            let endpoints = self
                .endpoints
                .iter()
                .filter(move |endpoint| endpoint.gpu == gpu);
            endpoints.filter(|endpoint| held(&endpoint.shared).seen.is_some())
        };
        if live(true).next().is_some() {
            // The exporter's last word on the energy may come a little later.
            let grace = self.plan.gpu.as_ref().map_or(Span::ZERO, |plan| plan.grace);
            std::thread::sleep(left(end + grace));
            wait(&self.look(false), LAST_LOOK);
        }
        if live(false).next().is_none() {
            return;
        }
        if let Some(flush) = self.plan.server.as_ref().and_then(|plan| plan.flush) {
            std::thread::sleep(left(end + flush));
            wait(&self.look(true), LAST_LOOK);
            return;
        }
        let most = end + if cancelled { FLUSH_CANCELLED } else { FLUSH };
        for endpoint in live(false) {
            let _ = endpoint.commands.send(Command::Every(SETTLING));
        }
        loop {
            wait(&self.look(true), LAST_LOOK);
            let at_rest = live(false).all(|endpoint| {
                let shared = held(&endpoint.shared);
                let Some(Seen::Server(watched)) = &shared.seen else {
                    return true;
                };
                let settle = if cancelled { shared.settle } else { Span::ZERO };
                let last = watched.levels.iter().rev().take(2);
                let last: Vec<_> = last.filter(|(at, _)| *at >= end).collect();
                let rest = last.iter().filter(|(_, levels)| levels.held() == Some(0.0));
                rest.count() == 2 && last.first().is_some_and(|(at, _)| at.since(end) >= settle)
            });
            let now = Stamp::now();
            if at_rest || now >= most {
                return;
            }
            std::thread::sleep(left(most.min(now + SETTLING)));
        }
    }
}

fn clients(trust: &Trust, connect: Duration, limit: Duration) -> [Client; 2] {
    [
        Client::new(trust, connect, connect),
        Client::new(trust, connect, limit),
    ]
}

fn left(until: Stamp) -> Duration {
    Duration::from_nanos(until.since(Stamp::now()).nanos())
}

/// Waits for looks, together not longer than `limit`.
fn wait(looks: &[Receiver<()>], limit: Duration) {
    let until = Stamp::now() + Span::from_nanos(limit.as_nanos() as u64);
    for look in looks {
        let _ = look.recv_timeout(left(until));
    }
}

impl Task {
    fn run(mut self, orders: &Receiver<Command>, found: Sender<()>) {
        place::stay_on(&self.cpus);
        if self.crowded {
            place::yield_to_others();
        }
        let (url, page) = match self.probe.find(&self.page.urls) {
            Ok(page) => page,
            Err(reason) => {
                held(&self.shared).absent = Some(reason);
                return;
            }
        };
        let seen = match self.gpu {
            true => Seen::Gpu(GpuHistory::new(&url)),
            false => Seen::Server(Watched {
                url: url.clone(),
                ..Watched::default()
            }),
        };
        held(&self.shared).seen = Some(seen);
        let mut last = Vec::new();
        self.take(&url, Ok(page), &mut last);
        drop(found);
        let mut due = Stamp::now();
        let mut failures_in_form = 0_u32;
        loop {
            due = next_due(due, self.interval, Stamp::now());
            let mut answer = None;
            match orders.recv_timeout(left(due)) {
                Ok(Command::Look(done)) => answer = Some(done),
                Ok(Command::Every(interval)) => {
                    self.interval = self.interval.min(interval);
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let page = self.client.fetch(&url);
            let readable = self.take(&url, page, &mut last);
            failures_in_form = if readable { 0 } else { failures_in_form + 1 };
            drop(answer);
            // What has shown metrics and shows something else for good is left alone.
            if failures_in_form >= 10 {
                return;
            }
        }
    }

    /// Takes in a page. False if it is not one of metrics.
    fn take(&self, url: &str, page: Result<Page, ScrapeError>, last: &mut Vec<u8>) -> bool {
        let scrape = page.and_then(|page| page.read().map(|scrape| (scrape, page.body)));
        let (scrape, body) = match scrape {
            Ok(read) => read,
            Err(error) => {
                if let Some(Seen::Server(watched)) = &mut held(&self.shared).seen {
                    watched.failed += 1;
                    watched.last_failure = Some(error.to_string());
                }
                let form = ScrapeError::Unreadable(Unreadable::NotText);
                return std::mem::discriminant(&error) != std::mem::discriminant(&form);
            }
        };
        let changed = *last != body;
        *last = body;
        let lines = self.keep(url, &scrape, changed);
        if let (Some(file), Some(lines)) = (&self.lines, lines) {
            held(file).write(&lines);
        }
        true
    }

    /// Keeps a look; gives the lines that are to be written of it.
    fn keep(&self, url: &str, scrape: &Scrape, changed: bool) -> Option<Vec<u8>> {
        let mut shared = held(&self.shared);
        let mut settle = None;
        let lines = match shared.seen.as_mut()? {
            Seen::Gpu(history) => changed.then(|| history.add(scrape, &self.anchor)),
            Seen::Server(watched) => {
                watched.history.add(scrape, changed);
                if let Some(profile) = self.profiles.detect(scrape) {
                    watched.levels.push((scrape.at, profile.levels(scrape)));
                    if watched.server.is_none() {
                        watched.server = Some(profile.name.clone());
                        let formula = profile.aborted_formula(scrape);
                        watched.aborted_formula = formula.map(str::to_owned);
                        settle = Some(Span::from_secs_f64(profile.settle_seconds));
                    }
                }
                changed.then(|| {
                    let phase = match self.phase.load(Ordering::Relaxed) {
                        WARMUP => Some((Phase::Warmup, 0)),
                        PROFILING_FIRST => Some((Phase::Profiling, 0)),
                        PROFILING_NEXT => Some((Phase::Profiling, 1)),
                        _ => None,
                    };
                    match self.lines {
                        Some(_) => lines::line(url, scrape, phase, &self.anchor),
                        None => Vec::new(),
                    }
                })
            }
        };
        if let Some(settle) = settle {
            shared.settle = settle;
        }
        lines
    }
}
