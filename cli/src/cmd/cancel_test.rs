//! `pinfire cancel-test`: waves of cancels, samples of the server's metrics all the time, a
//! verdict.

use std::{path::Path, process::ExitCode, sync::Arc};

use anyhow::{Context, Result, anyhow, ensure};
use pinfire_analysis::reclaim::{
    Asker, Canary, Evidence, LevelSample, ReclaimReport, RequestSpan, Wave, page as html_page,
};
use pinfire_artifacts::json_bytes;
use pinfire_base::{
    clock::Span,
    delay::Delay,
    record::{Leave, Record, Trigger},
};
use pinfire_config::{
    RunConfig, Sourced,
    numbers::{Count, Tokens},
    setting::Listed,
};
use pinfire_engine::{plan::PhasePlan, schedule::CancelPlan};
use pinfire_scrape::ServerKinds;

use crate::{
    args::CancelTest,
    reclaim::{Floor, QUIET, Requester, Sampler, last_levels, span_of},
    run::{PreparedRun, ReachableServers, dataset, signals::Interrupt},
    scrape::{
        page::Scrapers,
        plan::{Candidate, of_server},
    },
    settings::Settings,
    terminal::{say, stdout},
    transport::Reached,
};

/// Requests alone before the first wave: their median is what the waves are timed by.
const FIRST_CANARIES: usize = 3;

/// Runs the test. The exit code is the verdict's.
///
/// # Errors
/// Anything that keeps the test from being carried out.
pub fn run(flags: &CancelTest) -> Result<ExitCode> {
    let settings = Settings::new(&as_config(flags))?;
    ensure!(
        settings.bodies.streaming,
        "--endpoint-type {}: cancel-test needs an endpoint that streams",
        flags.endpoint_type
    );
    let leave = Leave::from(flags.request_cancellation_mode);
    let kinds = server_kinds(flags.release_profile.as_deref())?;
    for warning in settings.warnings.iter().chain(&settings.load.warnings) {
        say::warning(warning);
    }
    // A long test must not be lost for want of a folder.
    if let Some(folder) = flags.output.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("--output {}", flags.output.display()))?;
    }
    let interrupt = Interrupt::watch()?;
    // What a wave cancels may still be closing while the next is opened.
    let connections = settings.slots().saturating_mul(2);
    let reachable = ReachableServers::check(&settings, connections)?;
    let dataset = dataset::prepare(&settings)?;
    let run = PreparedRun::start(&settings, reachable, dataset, None)?;
    let evidence = Test::start(flags, leave, &kinds, run, interrupt)?.carry_out()?;
    let report = ReclaimReport::of(&evidence);
    stdout::plain(&report.page());
    write(&flags.output, &report)
        .with_context(|| format!("--output {}", flags.output.display()))?;
    Ok(ExitCode::from(report.exit_code))
}

/// Writes the report as JSON, and beside it as a page.
fn write(path: &Path, report: &ReclaimReport) -> Result<()> {
    let text = json_bytes(report);
    std::fs::write(path, &text)?;
    let value = serde_json::from_slice(&text)?;
    let html = html_page::html(&value).map_err(|error| anyhow!(error))?;
    let beside = path.with_extension("html");
    std::fs::write(&beside, html)?;
    say::line(format_args!(
        "Report: {}, as a page: {}",
        path.display(),
        beside.display()
    ));
    Ok(())
}

/// What metrics mean: those of the user's own file before those that are known.
fn server_kinds(path: Option<&Path>) -> Result<ServerKinds> {
    let Some(path) = path else {
        return Ok(ServerKinds::default());
    };
    let read = || -> Result<_> { Ok(ServerKinds::read(&std::fs::read_to_string(path)?)?) };
    read().with_context(|| format!("--release-profile {}", path.display()))
}

/// The configuration of a run of the same requests.
fn as_config(flags: &CancelTest) -> RunConfig {
    let mut config = RunConfig::default();
    let endpoint = &mut config.endpoint;
    endpoint.model = vec![flags.model.clone()];
    endpoint.url = vec![flags.url.clone()];
    endpoint.endpoint_type = flags.endpoint_type.clone();
    endpoint.streaming = Sourced::derived(true);
    endpoint.endpoint.clone_from(&flags.endpoint);
    endpoint.api_key.clone_from(&flags.api_key);
    endpoint.header.clone_from(&flags.header);
    endpoint.ca_cert.clone_from(&flags.ca_cert);
    endpoint.insecure = flags.insecure.clone();
    let one = |count| Some(Sourced::derived(Listed::one(Count::at_least_one(count))));
    config.load.concurrency = one(flags.concurrency);
    config.load.request_count = one(flags.concurrency.saturating_mul(2));
    config.load.random_seed.clone_from(&flags.random_seed);
    let length = |tokens: &Sourced<Tokens>| Some(Sourced::derived(Listed::one(tokens.value)));
    config.input.isl = length(&flags.isl);
    config.input.osl = length(&flags.osl);
    config.input.extra_inputs.clone_from(&flags.extra_inputs);
    config.tokenizer.tokenizer.clone_from(&flags.tokenizer);
    config.engine.cores.clone_from(&flags.cores);
    config
}

/// The page of the server under test.
fn page(flags: &CancelTest, server: &Reached) -> Result<Candidate> {
    let page = match &flags.metrics_url {
        Some(url) => Some(Candidate {
            urls: vec![url.get()],
            given: true,
        }),
        None => of_server(&server.base),
    };
    page.with_context(|| {
        format!(
            "the metrics of {} cannot be read through a socket in the file system; give --metrics-url",
            server.base
        )
    })
}

/// A test under way.
struct Test<'a> {
    flags: &'a CancelTest,
    leave: Leave,
    requester: Requester<'a>,
    sampler: Sampler,
    run: PreparedRun<'a>,
    interrupt: Interrupt,
}

impl<'a> Test<'a> {
    /// Begins to sample the server's metrics, and says what is going to happen.
    fn start(
        flags: &'a CancelTest,
        leave: Leave,
        kinds: &ServerKinds,
        run: PreparedRun<'a>,
        interrupt: Interrupt,
    ) -> Result<Self> {
        let settings = run.settings;
        let server = run.servers.first().context("--url names no server")?;
        let mut scrapers = Scrapers::new(&settings.watch.trust, &settings.places.rest);
        let pages = [page(flags, server)?];
        let interval = Span::from_secs_f64(flags.metrics_interval);
        let sampler = Sampler::start(&pages, kinds, interval, &mut scrapers)?;
        say::line(format_args!(
            "cancel-test of {}: {} waves of {} cancels, metrics from {}; where something is not let go, {} \
             s are waited behind each wave",
            server.base,
            flags.waves,
            flags.concurrency.div_ceil(2),
            sampler.urls().join(", "),
            flags.settle
        ));
        interrupt.sending();
        let patience = Span::from_secs_f64(flags.canary_timeout);
        let requester = Requester::of(&run, patience)?.only_asking_the_first();
        Ok(Self {
            flags,
            leave,
            requester,
            sampler,
            run,
            interrupt,
        })
    }

    /// Sends the waves. Every connection is closed at the end.
    fn carry_out(mut self) -> Result<Evidence> {
        let mut before = Vec::new();
        self.sampler.rest(&mut before, QUIET, &self.interrupt)?;
        let mut floor = last_levels(&before).map(Floor::of);
        let mut canaries = Vec::new();
        while canaries.len() < FIRST_CANARIES {
            let canary = self.canary()?;
            let answered = canary.answered;
            canaries.push(canary);
            if !answered {
                break;
            }
        }
        canaries.sort_by(|a, b| a.took_ms.total_cmp(&b.took_ms));
        let middle = canaries.len() / 2;
        // One that was not answered is the last, whatever the others took.
        let unanswered = canaries.iter().position(|canary| !canary.answered);
        let first_canary = canaries.swap_remove(unanswered.unwrap_or(middle));
        let mut evidence = Evidence {
            asker: Asker::Test,
            server: None,
            settle: Span::from_secs_f64(self.flags.settle),
            interval: Span::from_secs_f64(self.flags.metrics_interval),
            before,
            first_canary,
            control: Vec::new(),
            between: Vec::new(),
            waves: Vec::new(),
        };
        if evidence.first_canary.answered {
            let control = self.load(None)?;
            evidence.control = control;
            self.settle(&mut evidence.between, &mut floor)?;
            for nth in 0..self.flags.waves {
                self.sampler.take(&mut evidence.between);
                let wave = self.wave(nth, &evidence.first_canary, &mut floor)?;
                say::line(format_args!(
                    "wave {} of {}: {}, canary {}",
                    nth + 1,
                    self.flags.waves,
                    match floor {
                        Some(now) => format!("held at rest: {}", now.held()),
                        None => "what is held cannot be seen".to_owned(),
                    },
                    match wave.canary.answered {
                        true => format!("answered after {:.0} ms", wave.canary.took_ms),
                        false => "NOT answered".to_owned(),
                    }
                ));
                let lost = !wave.canary.answered;
                evidence.waves.push(wave);
                if lost {
                    break;
                }
            }
            self.rest_at_the_end(&mut evidence)?;
        }
        evidence.server = self.sampler.server().map(|kind| kind.name.clone());
        Ok(evidence)
    }

    /// What is slow to show, and what is slow to come back, has its time once more at the end.
    fn rest_at_the_end(&mut self, evidence: &mut Evidence) -> Result<()> {
        let lag = self.sampler.server().map_or(Span::ZERO, |kind| kind.lag);
        let mut floor = last_levels(&evidence.before).map(Floor::of);
        let Some(wave) = evidence.waves.last_mut() else {
            return Ok(());
        };
        if wave.canary.answered {
            self.settle(&mut wave.samples, &mut floor)?;
            self.sampler.rest(&mut wave.samples, lag, &self.interrupt)?;
        }
        Ok(())
    }

    fn wave(&mut self, nth: u64, canary: &Canary, floor: &mut Option<Floor>) -> Result<Wave> {
        let mut samples = Vec::new();
        let first = canary.ttft_ms.unwrap_or(canary.took_ms);
        let stream = (canary.took_ms - first).max(1.0);
        let millis = |ms: f64| Span::from_secs_f64(ms / 1e3);
        let plan = |delay| CancelPlan::delayed(0, 100.0, Delay::Fixed(delay)).leaving(self.leave);
        let plan = if nth.is_multiple_of(2) {
            plan(millis(first / 2.0)).from_trigger(Trigger::Sent)
        } else {
            // A third of the stream, and then all at one instant.
            let every = millis((stream / 10.0).clamp(2.0, 500.0));
            plan(millis(stream / 3.0))
                .from_trigger(Trigger::FirstToken)
                .in_waves(every)
        };
        let half = self.flags.concurrency.div_ceil(2);
        let requests = self.load(Some(plan.among_first(half)))?;
        self.settle(&mut samples, floor)?;
        let canary = self.canary()?;
        Ok(Wave {
            requests,
            samples,
            canary,
        })
    }

    /// All slots at once, and then half as many again.
    fn load(&mut self, cancel: Option<CancelPlan>) -> Result<Vec<RequestSpan>> {
        let slots = self.flags.concurrency;
        let mut plan = self.requester.plan(slots, slots + slots.div_ceil(2));
        plan.cancel = cancel;
        let records = self.phase(plan)?;
        Ok(records.iter().map(|r| span_of(r, usize::MAX)).collect())
    }

    fn phase(&mut self, plan: PhasePlan) -> Result<Vec<Record>> {
        self.requester
            .phase(&mut self.run.engine, &self.interrupt, &Arc::new(plan))
    }

    /// One request alone.
    fn canary(&mut self) -> Result<Canary> {
        self.requester.canary(&mut self.run.engine, &self.interrupt)
    }

    /// Waits until the server holds no more than at the last rest, or its time is over.
    fn settle(&mut self, samples: &mut Vec<LevelSample>, floor: &mut Option<Floor>) -> Result<()> {
        let limit = Span::from_secs_f64(self.flags.settle);
        self.sampler.settle(samples, floor, limit, &self.interrupt)
    }
}
