//! `profile --verify-release`: whether the server let go of what a run cancelled.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pinfire_analysis::reclaim::{Asker, Canary, Evidence, Look, ReleaseReport, Seen, Wave};
use pinfire_base::clock::Span;
use pinfire_engine::run::Engine;

use super::{Alone, Floor, Looks, QUIET, last_levels};
use crate::{
    run::signals::Interrupt,
    scrape::{
        client::Client,
        plan::{Candidate, Plan, of_server},
    },
    settings::Settings,
    terminal::say,
    transport::Reached,
};

/// From one look to the next while the load runs: a page of metrics costs a server a millisecond or more.
const DURING: Span = Span::from_millis(100);
/// The same at rest.
const AT_REST: Span = Span::from_millis(20);
/// How long the server may take to let go, at rest.
const SETTLE: Span = Span::from_millis(10_000);
/// The request alone before the run may take so long.
pub const PATIENCE: Span = Span::from_millis(300_000);
/// The one after it is given so many times that, and this at least, before the server counts as wedged.
const SLOWER: f64 = 3.0;
const LEAST_PATIENCE: Span = Span::from_millis(30_000);
/// A look at the metrics takes no longer than this.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// The looks at a run's servers from before its first request to after its last.
pub struct Verify<'a> {
    alone: Alone<'a>,
    looks: Looks,
    before: Vec<Look>,
    between: Vec<Look>,
    first_canary: Canary,
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

impl<'a> Verify<'a> {
    /// Looks at the servers at rest, and sends one request alone.
    ///
    /// # Errors
    /// There is no page; the engine is gone; the user has had enough.
    pub fn start(
        mut alone: Alone<'a>,
        servers: &[Reached],
        engine: &mut Engine,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let settings = alone.settings;
        let pages = pages(&settings.watch, servers)?;
        let client = Client::new(&settings.watch.trust, LOOK_LIMIT, LOOK_LIMIT);
        let profiles = &settings.watch.profiles;
        let mut looks = Looks::start(&client, &pages, profiles, AT_REST, &settings.places.rest)?;
        say::line(format_args!(
            "--verify-release: metrics from {}; one request alone first",
            looks.pages().join(", ")
        ));
        let mut before = Vec::new();
        looks.rest(&mut before, QUIET, interrupt)?;
        let first_canary = alone.canary(engine, interrupt)?;
        let mut floor = last_levels(&before).map(Floor::of);
        // Whatever of it the server still shows is not of the run.
        let mut between = Vec::new();
        looks.settle(&mut between, &mut floor, SETTLE, interrupt)?;
        looks.every(DURING);
        Ok(Self {
            alone,
            looks,
            before,
            between,
            first_canary,
        })
    }

    /// The load has ended: looks more often.
    pub fn load_has_ended(&self) {
        self.looks.every(AT_REST);
    }

    /// Waits until the servers are at rest, or have had their time; sends one request alone; judges.
    ///
    /// # Errors
    /// The engine cannot be started again; the user has had enough.
    pub fn finish(mut self, requests: Vec<Seen>, interrupt: &Interrupt) -> Result<ReleaseReport> {
        say::line(format_args!(
            "--verify-release: waiting until the server is at rest, {} s at most, and for one request alone",
            SETTLE.as_secs_f64()
        ));
        let mut looks = Vec::new();
        self.looks.take(&mut looks);
        let mut floor = last_levels(&self.before).map(Floor::of);
        self.looks
            .settle(&mut looks, &mut floor, SETTLE, interrupt)?;
        let lags = self.looks.server().map_or(0.0, |(_, seconds)| *seconds);
        self.looks
            .rest(&mut looks, Span::from_secs_f64(lags), interrupt)?;
        let before = Span::from_secs_f64(SLOWER * self.first_canary.took_ms / 1e3);
        self.alone.patience = before.max(LEAST_PATIENCE);
        let mut engine = Engine::start(&self.alone.settings.engine)?;
        let canary = self.alone.canary(&mut engine, interrupt)?;
        self.looks.rest(&mut self.between, AT_REST, interrupt)?;
        let server = self.looks.server().map(|(name, _)| name.clone());
        Ok(ReleaseReport::of(&Evidence {
            asker: Asker::Run,
            server,
            settle: SETTLE,
            interval: DURING,
            before: self.before,
            first_canary: self.first_canary,
            control: Vec::new(),
            between: self.between,
            waves: vec![Wave {
                requests,
                looks,
                canary,
            }],
        }))
    }
}

/// Writes what was found, look by look.
///
/// # Errors
/// The file cannot be written.
pub fn write(settings: &Settings, report: &ReleaseReport) -> Result<std::path::PathBuf> {
    let path = settings.artifact_dir.join(&settings.files.release);
    let text = serde_json::to_string_pretty(report).context("the release report as JSON")?;
    std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(path)
}
