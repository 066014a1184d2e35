//! The pages of a run, scraped for its files from before its first request until what it did has
//! been counted. The run waits for none of them longer than the few limits here.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use pinfire_analysis::{
    facts::{PhaseWindow, RunEnd, RunFacts},
    report::External,
};
use pinfire_artifacts::WriteError;
use pinfire_base::{
    clock::{Span, Stamp, WallAnchor},
    record::Phase,
};
use pinfire_guard::shown_url;
use pinfire_scrape::{
    Meter, ServerMetrics, Watched,
    files::MetricsFormat,
    gpu::{GpuHistory, GpuTelemetry},
    reduce::Window,
};

use super::{
    page::{Limits, Pending, Scrapers, Subscription, until},
    plan::{Candidate, Plan, of_server},
    recorder::{Behind, CurrentPhase, LinesFile, Recorded, Recorder, Recording, held},
};
use crate::{
    run::{PreparedRun, signals::Interrupt},
    terminal::say,
};

/// The first request waits so long at most until each page was scraped once.
const BASELINE: Span = Span::from_millis(250);
/// Between two phases, so long at most.
const BETWEEN: Span = Span::from_millis(50);
/// After the run, what is counted late is waited for so long, and longer when requests were
/// cancelled: servers notice that late.
const FLUSH: Span = Span::from_millis(2_000);
const FLUSH_CANCELLED: Span = Span::from_millis(5_000);
/// After the run, a scrape is waited for so long at most.
const LAST_SCRAPE: Span = Span::from_millis(5_000);
/// How often a wait at the end looks for Ctrl-C.
const POLL: Duration = Duration::from_millis(50);
/// Scrapes while the server comes to rest.
const SETTLING: Span = Span::from_millis(100);

/// A page of the run and what is known of it.
struct Endpoint {
    page: Candidate,
    behind: Behind,
    interval: Span,
    subscription: Subscription,
    recording: Arc<Mutex<Recording>>,
}

/// The scraping of a run for its files.
pub struct Watch {
    endpoints: Vec<Endpoint>,
    phase: Arc<CurrentPhase>,
    anchor: WallAnchor,
    plan: Plan,
    started: Stamp,
    /// The files that pages write to line by line.
    files: Vec<Arc<Mutex<LinesFile>>>,
}

/// What was seen of a run from outside of it.
#[derive(Default)]
pub struct Observed {
    pub external: External,
    /// The first file of it that could not be written, or is gone.
    pub unwritten: Option<WriteError>,
}

/// How the pages of one kind are scraped and where their lines go.
struct PageKind {
    behind: Behind,
    interval: Span,
    limits: Limits,
    lines: Option<Arc<Mutex<LinesFile>>>,
}

/// Two windows of a run in which metrics count.
struct Windows {
    measured: Window,
    warmup: Option<Window>,
}

/// What the pages have shown, by kind.
#[derive(Default)]
struct Gathered {
    servers: Vec<Watched>,
    /// Pages of servers that are not there, with the reason.
    absent: Vec<Absent>,
    gpus: Vec<GpuHistory>,
    gpus_configured: Vec<String>,
    gpu_failures: Vec<String>,
}

struct Absent {
    /// The user has named it.
    given: bool,
    line: String,
}

impl Watch {
    /// Begins to scrape.
    pub fn start(run: &PreparedRun<'_>, scrapers: &mut Scrapers) -> Self {
        let settings = run.settings;
        let plan = &settings.watch;
        let (folder, files) = (&settings.artifact_dir, &settings.files);
        let mut watch = Self {
            endpoints: Vec::new(),
            files: Vec::new(),
            phase: Arc::default(),
            anchor: run.engine.anchor(),
            plan: plan.clone(),
            started: Stamp::now(),
        };
        if let Some(server) = &plan.server {
            let lines = folder.join(files.server_metrics("jsonl"));
            let kind = PageKind {
                behind: Behind::Server,
                interval: server.interval,
                limits: server.limits,
                lines: server
                    .formats
                    .contains(&MetricsFormat::Jsonl)
                    .then(|| LinesFile::at(lines)),
            };
            let own = run.servers.iter().filter_map(|one| of_server(&one.base));
            let mut pages: Vec<Candidate> = Vec::new();
            for page in own.chain(server.given.iter().cloned()) {
                let first = page.urls.first();
                if !pages.iter().any(|known| known.urls.first() == first) {
                    pages.push(page);
                }
            }
            watch.subscribe(pages, &kind, scrapers);
        }
        if let Some(gpu) = &plan.gpu {
            let kind = PageKind {
                behind: Behind::Gpus,
                interval: gpu.interval,
                limits: gpu.limits,
                lines: Some(LinesFile::at(folder.join(&files.gpu_telemetry))),
            };
            watch.subscribe(gpu.pages.clone(), &kind, scrapers);
        }
        watch
    }

    fn subscribe(&mut self, pages: Vec<Candidate>, kind: &PageKind, scrapers: &mut Scrapers) {
        self.files.extend(kind.lines.clone());
        for page in pages {
            let scraper = match scrapers.of(&page, kind.limits) {
                Ok(scraper) => scraper,
                Err(error) => {
                    say::warning(format_args!("{:?}: {error:#}", page.urls));
                    continue;
                }
            };
            let recording = Arc::default();
            let recorder = Recorder {
                behind: kind.behind,
                meter: Meter::new(&self.plan.profiles),
                phase: Arc::clone(&self.phase),
                anchor: self.anchor,
                lines: kind.lines.clone(),
                recording: Arc::clone(&recording),
                last: Vec::new(),
                failures_in_form: 0,
            };
            self.endpoints.push(Endpoint {
                page,
                behind: kind.behind,
                interval: kind.interval,
                subscription: scraper.subscribe(kind.interval, recorder),
                recording,
            });
        }
    }

    /// Waits until every page was scraped, or is known not to be there; not long.
    pub fn wait_for_baseline(&self) {
        let end = self.started + BASELINE;
        for endpoint in &self.endpoints {
            endpoint.subscription.wait_for_first(until(end));
        }
    }

    /// A phase begins: a scrape at its boundary, not waited for.
    pub fn begin(&self, phase: Phase) {
        self.phase.begin(phase);
        drop(scrape(&self.endpoints));
    }

    /// A phase that another follows is over: a scrape that closes its window, waited for shortly.
    pub fn between(&self) {
        wait(&scrape(&self.endpoints), BETWEEN);
    }

    /// Waits for what is counted late, unless the user has had enough, and sums up.
    pub fn finish(self, end: &RunEnd, facts: &RunFacts, interrupt: &Interrupt) -> Observed {
        let now = Stamp::now();
        let Some(measured) = &end.profiling else {
            return Observed::default();
        };
        if end.interrupted.is_none() {
            let ended = measured.end.unwrap_or(now);
            self.flush(ended, facts.cancellation.is_some(), interrupt);
        }
        let windows = Windows::of(measured, end.warmup.as_ref(), now);
        let gathered = self.gather();
        for absent in gathered.absent.iter().filter(|absent| absent.given) {
            say::warning(format_args!("--server-metrics {}", absent.line));
        }
        let mut external = External::default();
        let mut unwritten = None;
        if gathered.servers.is_empty() {
            if let (Some(_), Some(absent)) = (&self.plan.server, gathered.absent.first()) {
                say::line(format_args!("no server metrics ({})", absent.line));
            }
        } else {
            let metrics = ServerMetrics {
                endpoints: gathered.servers,
                window: windows.measured,
                warmup: windows.warmup,
                slice: facts.slice,
            };
            match metrics.write(&facts.scraped()) {
                Ok(files) => external.files = files,
                Err(error) => {
                    say::warning(&error);
                    unwritten = Some(error);
                }
            }
            external.server = Some(metrics);
        }
        for gpu in &gathered.gpus {
            if let Some(left_out) = gpu.left_out() {
                say::warning(format_args!("--gpu-telemetry {}: {left_out}", gpu.url));
            }
        }
        for failure in &gathered.gpu_failures {
            say::warning(format_args!("--gpu-telemetry {failure}"));
        }
        external.gpu = self.plan.gpu.as_ref().map(|gpu| GpuTelemetry {
            configured: gathered.gpus_configured,
            exporters: gathered.gpus,
            failures: gathered.gpu_failures,
            window: Window {
                until: windows.measured.end + gpu.grace,
                ..windows.measured
            },
        });
        let checked = self.files.iter().map(|file| held(file).check());
        let lost = checked.filter_map(Result::err).next();
        Observed {
            external,
            unwritten: unwritten.or(lost),
        }
    }

    /// Takes what the pages have shown.
    fn gather(&self) -> Gathered {
        let mut gathered = Gathered::default();
        for endpoint in &self.endpoints {
            let mut recording = held(&endpoint.recording);
            match recording.shown.take() {
                Some(Recorded::Server(watched)) => gathered.servers.push(*watched),
                Some(Recorded::Gpu(history)) => {
                    gathered.gpus_configured.push(history.url.clone());
                    gathered.gpus.push(history);
                }
                None => {
                    let reason = recording.absent.as_deref().unwrap_or("no answer yet");
                    gathered.add_absent(endpoint, reason);
                }
            }
        }
        gathered
    }

    /// Scrapes until every server is at rest and has had the time to count what was hung up on, or
    /// for as long as the environment says; then once more.
    fn flush(&self, end: Stamp, cancelled: bool, interrupt: &Interrupt) {
        let last = |scrapes: &[Pending]| {
            let limit = Stamp::now() + LAST_SCRAPE;
            for pending in scrapes {
                while !interrupt.asked() && Stamp::now() < limit && !pending.wait(POLL) {}
            }
        };
        let sleep = |at: Stamp| {
            while !interrupt.asked() && Stamp::now() < at {
                std::thread::sleep(until(at).min(POLL));
            }
        };
        if self.live(Behind::Gpus).next().is_some() {
            // The exporter's last word on the energy may come a little later.
            let grace = self.plan.gpu.as_ref().map_or(Span::ZERO, |plan| plan.grace);
            sleep(end + grace);
            last(&scrape(&self.endpoints));
        }
        if self.live(Behind::Server).next().is_none() {
            return;
        }
        let servers = || {
            let all = self.endpoints.iter();
            scrape(all.filter(|endpoint| endpoint.behind == Behind::Server))
        };
        if let Some(flush) = self.plan.server.as_ref().and_then(|plan| plan.flush) {
            sleep(end + flush);
            last(&servers());
            return;
        }
        let most = end + if cancelled { FLUSH_CANCELLED } else { FLUSH };
        for endpoint in self.live(Behind::Server) {
            endpoint.subscription.every(endpoint.interval.min(SETTLING));
        }
        loop {
            last(&servers());
            let mut live = self.live(Behind::Server);
            let at_rest = live.all(|endpoint| endpoint.rests(end, cancelled));
            let now = Stamp::now();
            if at_rest || now >= most || interrupt.asked() {
                return;
            }
            sleep(most.min(now + SETTLING));
        }
    }

    /// The pages that have shown something.
    fn live(&self, behind: Behind) -> impl Iterator<Item = &Endpoint> {
        let endpoints = self.endpoints.iter();
        endpoints.filter(move |of| of.behind == behind && held(&of.recording).shown.is_some())
    }
}

impl Endpoint {
    /// Whether its server was seen twice without a request since the load's `end`, late enough for
    /// what was `cancelled` to show.
    fn rests(&self, end: Stamp, cancelled: bool) -> bool {
        let recording = held(&self.recording);
        let Some(Recorded::Server(watched)) = &recording.shown else {
            return true;
        };
        let settle = if cancelled {
            recording.settle
        } else {
            Span::ZERO
        };
        let last = watched.levels.iter().rev().take(2);
        let last: Vec<_> = last.filter(|(at, _)| *at >= end).collect();
        let rest = last.iter().filter(|(_, levels)| levels.held() == Some(0.0));
        rest.count() == 2 && last.first().is_some_and(|(at, _)| at.since(end) >= settle)
    }
}

impl Gathered {
    fn add_absent(&mut self, endpoint: &Endpoint, reason: &str) {
        let url = endpoint.page.urls.first().map_or("", String::as_str);
        let url = shown_url(url).into_owned();
        let line = format!("{url}: {reason}");
        match (endpoint.behind, endpoint.page.given) {
            (Behind::Server, given) => self.absent.push(Absent { given, line }),
            (Behind::Gpus, true) => {
                self.gpus_configured.push(url);
                self.gpu_failures.push(line);
            }
            // Where an exporter usually is, and none is here.
            (Behind::Gpus, false) => {}
        }
    }
}

impl Windows {
    /// Of phases of which some may have no end before `now`.
    fn of(measured: &PhaseWindow, warmup: Option<&PhaseWindow>, now: Stamp) -> Self {
        let start = measured.start;
        let warmup = warmup.map(|phase| {
            let end = phase.end.unwrap_or(start);
            Window {
                start: phase.start,
                end,
                until: end.max(start),
            }
        });
        Self {
            measured: Window {
                start,
                end: measured.end.unwrap_or(now),
                until: Stamp::from_nanos(u64::MAX >> 1),
            },
            warmup,
        }
    }
}

/// Asks for a scrape of each page now.
fn scrape<'a>(endpoints: impl IntoIterator<Item = &'a Endpoint>) -> Vec<Pending> {
    let endpoints = endpoints.into_iter();
    endpoints.map(|of| of.subscription.scrape_now()).collect()
}

/// Waits for scrapes, together not longer than `limit`.
fn wait(scrapes: &[Pending], limit: Span) {
    let end = Stamp::now() + limit;
    for pending in scrapes {
        pending.wait(until(end));
    }
}
