//! `profile --verify-release`: whether the server let go of what a run cancelled.

use anyhow::{Context, Result, ensure};
use pinfire_analysis::reclaim::{
    Answers, Asker, Canary, Evidence, LevelSample, Manner, ReclaimReport, RequestSpan, Wave,
};
use pinfire_artifacts::json_bytes;
use pinfire_base::clock::Span;
use pinfire_engine::run::Engine;

use super::{Floor, QUIET, Requester, Sampler, last_levels};
use crate::{
    run::{PreparedRun, signals::Interrupt},
    scrape::{
        page::Scrapers,
        plan::{Candidate, Plan, of_server},
    },
    settings::Settings,
    terminal::say,
    transport::Reached,
};

/// From one sample to the next while the load runs: a page of metrics costs a server a millisecond
/// or more.
const DURING: Span = Span::from_millis(100);
/// The same at rest.
const AT_REST: Span = Span::from_millis(20);
/// How long the server may take to let go, at rest.
const SETTLE: Span = Span::from_millis(10_000);
/// The request alone before the run may take so long.
const PATIENCE: Span = Span::from_millis(300_000);
/// The one after it is given so many times that, and this at least, before the server counts as
/// wedged.
const SLOWER: f64 = 3.0;
const LEAST_PATIENCE: Span = Span::from_millis(30_000);

/// The samples of a run's servers from before its first request to after its last.
pub struct ReclaimCheck<'a> {
    requester: Requester<'a>,
    sampler: Sampler,
    before: Vec<LevelSample>,
    between: Vec<LevelSample>,
    first_canary: Canary,
    manner: Manner,
}

/// The pages of the servers: those that the user has named, else one behind each URL.
///
/// # Errors
/// There is none.
fn pages(plan: &Plan, servers: &[Reached]) -> Result<Vec<Candidate>> {
    let given = plan.server.as_ref().map_or(&[][..], |server| &server.given);
    if !given.is_empty() {
        return Ok(given.to_vec());
    }
    let pages: Vec<Candidate> = servers
        .iter()
        .filter_map(|server| of_server(&server.base))
        .collect();
    ensure!(
        !pages.is_empty(),
        "--verify-release: metrics cannot be read through a socket in the file system; name their page \
         with --server-metrics"
    );
    Ok(pages)
}

impl<'a> ReclaimCheck<'a> {
    /// Samples the servers at rest, and sends one request alone.
    ///
    /// # Errors
    /// There is no page; the engine is gone; the user has had enough.
    pub fn start(
        run: &mut PreparedRun<'a>,
        scrapers: &mut Scrapers,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let plan = &run.settings.watch;
        let pages = pages(plan, &run.servers)?;
        let mut requester = Requester::of(run, PATIENCE)?.starting_with_the_last();
        let mut sampler = Sampler::start(&pages, &plan.profiles, AT_REST, scrapers)?;
        say::line(format_args!(
            "--verify-release: metrics from {}; one request alone first",
            sampler.urls().join(", ")
        ));
        // A fresh server shows some of its metrics only after its first request, and whatever of
        // that it still shows is not of the run.
        let mut between = Vec::new();
        sampler.rest(&mut between, QUIET, interrupt)?;
        let mut floor = last_levels(&between).map(Floor::of);
        let first_canary = requester.canary(&mut run.engine, interrupt)?;
        sampler.settle(&mut between, &mut floor, SETTLE, interrupt)?;
        let mut before = Vec::new();
        sampler.rest(&mut before, QUIET.max(sampler.lag()), interrupt)?;
        sampler.every(DURING);
        Ok(Self {
            requester,
            sampler,
            before,
            between,
            first_canary,
            manner: run
                .settings
                .cancellation
                .as_ref()
                .map(|planned| Manner::of(planned, run.settings.bodies.streaming))
                .unwrap_or_default(),
        })
    }

    /// The load has ended: samples more often.
    pub fn load_has_ended(&self) {
        self.sampler.every(AT_REST);
    }

    /// Waits until the servers are at rest, or have had their time; sends one request alone;
    /// judges.
    ///
    /// # Errors
    /// The engine cannot be started again; the user has had enough.
    pub fn finish(
        mut self,
        requests: Vec<RequestSpan>,
        interrupt: &Interrupt,
    ) -> Result<ReclaimReport> {
        say::line(format_args!(
            "--verify-release: waiting until the server is at rest, {} s at most, and for one request alone",
            SETTLE.as_secs_f64()
        ));
        let mut samples = Vec::new();
        self.sampler.take(&mut samples);
        let mut floor = last_levels(&self.before).map(Floor::of);
        self.sampler
            .settle(&mut samples, &mut floor, SETTLE, interrupt)?;
        let lag = self.sampler.lag();
        self.sampler.rest(&mut samples, lag, interrupt)?;
        let before = Span::from_secs_f64(SLOWER * self.first_canary.took_ms / 1e3);
        self.requester.patience = before.max(LEAST_PATIENCE);
        let mut engine = Engine::start(&self.requester.settings().engine)?;
        let canary = self.requester.canary(&mut engine, interrupt)?;
        self.sampler.rest(&mut self.between, AT_REST, interrupt)?;
        let server = self.sampler.server().map(|kind| kind.name.clone());
        let mut warmed = Answers::default();
        warmed.add(&self.first_canary);
        Ok(ReclaimReport::of(&Evidence {
            asker: Asker::Run,
            manner: self.manner,
            warmed: Some(warmed),
            alone: Answers::default(),
            server,
            settle: SETTLE,
            interval: DURING,
            before: self.before,
            first_canary: self.first_canary,
            control: Vec::new(),
            between: self.between,
            waves: vec![Wave {
                quiet: false,
                requests,
                samples,
                canary,
            }],
            known: self.sampler.known(),
            measured: None,
            pages: self.sampler.pages(),
        }))
    }
}

/// Writes what was found, sample by sample.
///
/// # Errors
/// The file cannot be written.
pub fn write(settings: &Settings, report: &ReclaimReport) -> Result<std::path::PathBuf> {
    let path = settings.artifact_dir.join(&settings.files.release);
    std::fs::write(&path, json_bytes(report))
        .with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(path)
}
