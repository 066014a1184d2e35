//! `--prometheus-listen`: the figures of a run while it goes on, as a page that Prometheus scrapes.
//!
//! A page is made when it is asked for, on a thread of the HTTP server, from the [`Board`] that the
//! control thread and the analysis write anyway: the engine's cores have nothing to do with it. It
//! serves for the whole process; each run of a sweep has series of its own.

use std::{
    collections::VecDeque,
    fmt,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use pinfire_analysis::{
    collect::STAGES,
    live::{Distribution, Quantity, Snapshot},
};
use pinfire_base::{
    clock::{Span, Stamp},
    threads,
};
use pinfire_config::{Get, demand, sections, setting::Setting};
use pinfire_guard::shown_line;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use crate::{
    http::{self, Request, Response},
    run::{cpus, signals},
    settings::Settings,
    terminal::{
        log,
        progress::{Board, Stage, lock},
        say,
    },
};

/// Runs whose series stay on the page: what a sweep has had before is of no interest for ever.
const RUNS: usize = 32;
/// How long the end waits for the last scrape where there were others.
const LINGER: Span = Span::from_millis(30_000);
/// The media type of OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Listen {
    address: SocketAddr,
    linger: Option<Span>,
}

impl Listen {
    /// As the flags say.
    ///
    /// # Errors
    /// The wait is for a page that nobody serves.
    pub fn of(asked: &sections::Watch) -> Result<Option<Self>> {
        demand!(
            asked.prometheus_linger.is_none() || asked.prometheus_listen.is_some(),
            [asked.prometheus_linger],
            "--prometheus-linger waits for a scrape of the page that --prometheus-listen serves; give both"
        );
        Ok(asked.prometheus_listen.get().map(|address| Self {
            address,
            linger: asked.prometheus_linger.get().map(Span::from_secs_f64),
        }))
    }
}

/// The page of this process, once there is one.
static PAGE: OnceLock<Arc<Page>> = OnceLock::new();

struct Page {
    linger: Option<Span>,
    runs: Mutex<VecDeque<Run>>,
    scrapes: AtomicU64,
    /// All runs are over: the next scrape has the final figures.
    is_final: AtomicBool,
    final_scrapes: AtomicU64,
}

/// A run's series.
struct Run {
    labels: Labels,
    board: Arc<Board>,
}

type Labels = Vec<(&'static str, String)>;

/// Shows a run from now on, where that was asked for; the first one opens the port.
///
/// # Errors
/// The port is taken, or a thread cannot be had.
pub fn show(settings: &Settings, board: &Arc<Board>) -> Result<()> {
    let Some(listen) = settings.exporter else {
        return Ok(());
    };
    let page = match PAGE.get() {
        Some(page) => page,
        None => {
            let page = open(listen, settings)?;
            PAGE.get_or_init(|| page)
        }
    };
    let mut runs = lock(&page.runs);
    if runs.len() == RUNS {
        runs.pop_front();
    }
    runs.push_back(Run {
        labels: labels(settings),
        board: Arc::clone(board),
    });
    Ok(())
}

/// Waits until the final figures were scraped, or for nothing to come any more.
pub fn linger() {
    let Some(page) = PAGE.get() else { return };
    page.is_final.store(true, Ordering::Release);
    let was_scraped = page.scrapes.load(Ordering::Relaxed) > 0;
    let usual = if was_scraped { LINGER } else { Span::ZERO };
    let until = Stamp::now() + page.linger.unwrap_or(usual);
    let stop = signals::next();
    let stopped = || stop.load(Ordering::Relaxed);
    while !stopped() && page.final_scrapes.load(Ordering::Acquire) == 0 && Stamp::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn open(listen: Listen, settings: &Settings) -> Result<Arc<Page>> {
    let refused = || {
        format!(
            "--prometheus-listen {}: choose another port, or 0 for a free one",
            listen.address
        )
    };
    let listener = TcpListener::bind(listen.address).with_context(refused)?;
    let bound = listener.local_addr().with_context(refused)?;
    let page = Arc::new(Page {
        linger: listen.linger,
        runs: Mutex::default(),
        scrapes: AtomicU64::new(0),
        is_final: AtomicBool::new(false),
        final_scrapes: AtomicU64::new(0),
    });
    let shared = Arc::clone(&page);
    let cpus = settings.places.rest.clone();
    threads::start("pinfire-metrics", move || {
        // Its workers inherit both.
        cpus::stay_on(&cpus);
        cpus::yield_to_others();
        match http::serve(listener, "pinfire-metrics", move |asked| {
            shared.answer(asked)
        }) {
            Ok(never) => match never {},
            Err(error) => say::warning(format_args!(
                "the page of --prometheus-listen is gone: {error:#}; the run goes on"
            )),
        }
    })?;
    say::line(format_args!("Prometheus: http://{bound}/metrics"));
    log::info(format_args!("figures are served at http://{bound}/metrics"));
    Ok(page)
}

/// What tells one run's series from another's.
fn labels(settings: &Settings) -> Labels {
    let shown = |text: &str| shown_line(text).into_owned();
    let mut labels = vec![
        ("run", shown(&settings.artifact_dir.to_string_lossy())),
        ("model", shown(&settings.bodies.models.join(","))),
        (
            "endpoint",
            settings.config.endpoint.endpoint_type.value.shown(),
        ),
    ];
    if let Some(share) = &settings.share {
        labels.push(("shard", share.shard.index().to_string()));
    }
    labels
}

impl Page {
    fn answer(self: &Arc<Self>, asked: &Request) -> Response {
        if !matches!(asked.method.as_str(), "GET" | "HEAD") {
            return Response::words(405, "only GET is answered");
        }
        let path = asked.target.split('?').next().unwrap_or_default();
        if path != "/metrics" {
            return Response::words(404, "the metrics are at /metrics");
        }
        // Read first: a page that was begun before the end may lack the last figures.
        let is_final = self.is_final.load(Ordering::Acquire);
        let mut registry = Registry::with_prefix("pinfire");
        registry.register_collector(Box::new(Whole(Arc::clone(self))));
        let mut body = String::new();
        if text::encode(&mut body, &registry).is_err() {
            return Response::words(500, "the page cannot be written");
        }
        if asked.method == "GET" {
            self.scrapes.fetch_add(1, Ordering::Relaxed);
            self.final_scrapes
                .fetch_add(u64::from(is_final), Ordering::Release);
        }
        Response {
            status: 200,
            kind: OPEN_METRICS,
            body,
        }
    }

    /// The phases of all runs that were begun.
    fn phases(&self) -> Vec<Shown> {
        let mut shown = Vec::new();
        for run in &*lock(&self.runs) {
            let waiting = run.board.backlog();
            for (stage, figures) in run.board.phases() {
                let Some(stage) = stage else { continue };
                let mut labels = run.labels.clone();
                labels.push(("phase", stage.name.to_lowercase()));
                shown.push(Shown {
                    labels,
                    stage,
                    figures,
                    waiting,
                });
            }
        }
        shown
    }
}

/// A phase on the page.
struct Shown {
    labels: Labels,
    stage: Stage,
    figures: Option<Snapshot>,
    waiting: u64,
}

/// The whole page.
struct Whole(Arc<Page>);

impl fmt::Debug for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Whole").finish()
    }
}

/// A counter or gauge: its name, its help, and its value in a phase.
type Plain<T> = (&'static str, &'static str, fn(&T) -> u64);

const COUNTERS: [Plain<Shown>; 2] = [
    (
        "requests_due",
        "Requests that were due and were started",
        |of| of.stage.counts.due,
    ),
    (
        "requests_dropped",
        "Requests that the end of the run cut off",
        |of| of.stage.counts.dropped,
    ),
];

/// What the records say, which come a little later than the counts above.
const ANALYSED: [Plain<Snapshot>; 3] = [
    ("requests_completed", "Requests with a valid answer", |of| {
        of.ended.valid
    }),
    (
        "input_tokens",
        "Tokens of the prompts of requests with a valid answer",
        |of| of.run.tokens[0],
    ),
    ("output_tokens", "Tokens of valid answers", |of| {
        of.run.tokens[1]
    }),
];

const GAUGES: [Plain<Shown>; 2] = [
    (
        "requests_in_flight",
        "Requests that were started and have not ended",
        |of| of.stage.in_flight(),
    ),
    (
        "records_waiting",
        "Records that wait for their analysis",
        |of| of.waiting,
    ),
];

/// A histogram: its name without the unit's suffix, and its help.
const fn histogram(of: Distribution) -> (&'static str, &'static str) {
    match of {
        Distribution::Of(Quantity::FirstToken) => (
            "time_to_first_token_seconds",
            "From the start of a request to its first token",
        ),
        Distribution::Of(Quantity::InterToken) => (
            "inter_token_latency_seconds",
            "Mean time between the tokens of a request",
        ),
        Distribution::Of(Quantity::Latency) => (
            "request_latency_seconds",
            "From the start of a request to the end of its answer",
        ),
        Distribution::Of(Quantity::PerUser) => (
            "output_tokens_per_second_per_user",
            "Tokens per second that one user sees",
        ),
        Distribution::Of(Quantity::Input) => ("input_sequence_length", "Tokens of a prompt"),
        Distribution::Of(Quantity::Output) => ("output_sequence_length", "Tokens of an answer"),
        Distribution::CancelError => (
            "cancel_delay_error_seconds",
            "Past the instant of a planned disconnect",
        ),
        Distribution::StartLateness => (
            "start_lateness_seconds",
            "From when a request could start to its first action",
        ),
    }
}

impl Collector for Whole {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let build = [("version", env!("CARGO_PKG_VERSION"))];
        to.encode_descriptor("build", "The program", None, MetricType::Info)?
            .encode_info(&build)?;
        let phases = self.0.phases();
        let analysed: Vec<(&Labels, &Snapshot)> = phases
            .iter()
            .filter_map(|of| Some((&of.labels, of.figures.as_ref()?)))
            .collect();
        for (name, help, value) in COUNTERS {
            let mut family = to.encode_descriptor(name, help, None, MetricType::Counter)?;
            for of in &phases {
                counter(&mut family, &of.labels, value(of))?;
            }
        }
        for (name, help, value) in ANALYSED {
            let mut family = to.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (labels, figures) in &analysed {
                counter(&mut family, labels, value(figures))?;
            }
        }
        let help = "Requests that failed, by status and kind of error";
        let mut family =
            to.encode_descriptor("requests_failed", help, None, MetricType::Counter)?;
        for (labels, figures) in &analysed {
            for (code, kind, count) in &figures.failed {
                let code = code.map_or_else(String::new, |code| code.to_string());
                let labels = with(labels, [("code", code), ("kind", shown_line(kind).into())]);
                counter(&mut family, &labels, *count)?;
            }
        }
        let help = "Requests that were hung up on by plan, by how far they had come";
        let mut family =
            to.encode_descriptor("requests_cancelled", help, None, MetricType::Counter)?;
        for (labels, figures) in &analysed {
            for (stage, count) in STAGES.iter().zip(figures.stages) {
                let labels = with(labels, [("stage", stage.name().to_owned())]);
                counter(&mut family, &labels, count)?;
            }
        }
        for (name, help, value) in GAUGES {
            let mut family = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for of in &phases {
                family.encode_family(&of.labels)?.encode_gauge(&value(of))?;
            }
        }
        for (at, of) in Distribution::ALL.into_iter().enumerate() {
            let (name, help) = histogram(of);
            let mut family = to.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for (labels, figures) in &analysed {
                let Some(buckets) = figures.buckets.get(at).filter(|of| of.count > 0) else {
                    continue;
                };
                family
                    .encode_family(*labels)?
                    .encode_histogram::<NoLabelSet>(
                        buckets.sum,
                        buckets.count,
                        &buckets.counts,
                        None,
                    )?;
            }
        }
        Ok(())
    }
}

fn with<const N: usize>(labels: &Labels, more: [(&'static str, String); N]) -> Labels {
    labels.iter().cloned().chain(more).collect()
}

fn counter(family: &mut MetricEncoder<'_>, labels: &Labels, value: u64) -> fmt::Result {
    family
        .encode_family(labels)?
        .encode_counter::<NoLabelSet, _, f64>(&value, None)
}
