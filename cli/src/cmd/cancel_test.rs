//! `pinfire cancel-test`: waves of cancels, samples of the server's metrics all the time, a
//! verdict.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, Result, anyhow};
use pinfire_analysis::reclaim::{
    Answers, Asker, Canary, Evidence, LevelSample, ReclaimReport, RequestSpan, Wave,
    cancels_to_detect, page as html_page,
};
use pinfire_artifacts::{RESOLVED_CONFIG, RunFolder, json_bytes};
use pinfire_base::{
    clock::{Span, WallAnchor},
    record::{Leave, Record, Trigger},
};
use pinfire_config::{
    RunConfig, Sourced,
    numbers::{Count, Tokens},
    setting::Listed,
};
use pinfire_engine::{plan::PhasePlan, schedule::CancelPlan};
use pinfire_scrape::ServerKinds;

use super::profile::without_credentials;
use crate::{
    args::{CancelTest, Switch},
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
    let leave = Leave::from(flags.request_cancellation_mode);
    let kinds = server_kinds(flags.release_profile.as_deref())?;
    for warning in settings.warnings.iter().chain(&settings.load.warnings) {
        say::warning(warning);
    }
    // A long test must not be lost for want of a folder.
    let places = Places::prepare(flags)?;
    let interrupt = Interrupt::watch()?;
    // What a wave cancels may still be closing while the next is opened.
    let connections = settings.slots().saturating_mul(2);
    let reachable = ReachableServers::check(&settings, connections)?;
    let dataset = dataset::prepare(&settings)?;
    let run = PreparedRun::start(&settings, reachable, dataset, None)?;
    let anchor = run.engine.anchor();
    let evidence = Test::start(flags, leave, &kinds, run, interrupt)?.carry_out()?;
    let report = ReclaimReport::of(&evidence);
    stdout::plain(&report.page());
    places.write(&report, &evidence, &anchor, &settings)?;
    Ok(ExitCode::from(report.exit_code))
}

/// Where the report goes.
struct Places {
    /// The report as a file of its own.
    output: Option<PathBuf>,
    /// A folder with all that belongs to it, this test's alone as long as it lasts.
    folder: Option<RunFolder>,
}

impl Places {
    /// What is written besides the report and its page.
    const REQUESTS: &str = "cancel_test_requests.jsonl";
    const REPORT: &str = "cancel_test.json";

    /// Makes folders, before anything is sent.
    fn prepare(flags: &CancelTest) -> Result<Self> {
        let folder = flags
            .artifact_dir
            .as_deref()
            .map(RunFolder::create)
            .transpose()?;
        let output = match &folder {
            None => Some(flags.output.clone().unwrap_or_else(|| Self::REPORT.into())),
            Some(_) => flags.output.clone(),
        };
        if let Some(above) = output.as_deref().and_then(Path::parent) {
            std::fs::create_dir_all(above)
                .with_context(|| format!("--output {}", above.display()))?;
        }
        Ok(Self { output, folder })
    }

    fn write(
        &self,
        report: &ReclaimReport,
        evidence: &Evidence,
        anchor: &WallAnchor,
        settings: &Settings,
    ) -> Result<()> {
        if let Some(path) = &self.output {
            write(path, report).with_context(|| format!("--output {}", path.display()))?;
        }
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        let path = folder.path();
        let all = || -> Result<()> {
            write(&path.join(Self::REPORT), report)?;
            std::fs::write(path.join(Self::REQUESTS), evidence.lines(anchor))?;
            let config = without_credentials(&settings.config.yaml());
            std::fs::write(path.join(RESOLVED_CONFIG), config)?;
            folder.check([path.join(Self::REPORT).as_path()])?;
            Ok(())
        };
        all().with_context(|| format!("--artifact-dir {}", path.display()))
    }
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
    let streams = flags.streaming == Switch::On && flags.endpoint_type.value.row().streams;
    endpoint.streaming = Sourced::derived(streams);
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
    if flags.endpoint_type.value.row().output_tokens {
        config.input.osl = length(&flags.osl);
    }
    config.input.extra_inputs.clone_from(&flags.extra_inputs);
    config.tokenizer.tokenizer.clone_from(&flags.tokenizer);
    config.engine.cores.clone_from(&flags.cores);
    config
}

/// How many waves there are to be: those asked for, or as many as it takes to see a share.
fn waves(flags: &CancelTest) -> u64 {
    match flags.detect {
        Some(share) => cancels_to_detect(share)
            .div_ceil(flags.concurrency.div_ceil(2))
            .next_multiple_of(2),
        None => flags.waves,
    }
}

/// The pages of the server under test, and of what stands in front of it or behind.
fn pages(flags: &CancelTest, server: &Reached) -> Result<Vec<Candidate>> {
    let given = flags.metrics_url.iter().map(|url| Candidate {
        urls: vec![url.get()],
        given: true,
    });
    let given: Vec<Candidate> = given.collect();
    if !given.is_empty() {
        return Ok(given);
    }
    let own = of_server(&server.base).with_context(|| {
        format!(
            "the metrics of {} cannot be read through a socket in the file system; give --metrics-url",
            server.base
        )
    })?;
    Ok(vec![own])
}

/// Whether new requests take the places of those that were cancelled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Replacements {
    /// As on a busy server: they show what cancels do to others.
    AtOnce,
    /// Nothing stands in the place of what was not let go: they show how long that is.
    None,
}

/// When a wave leaves, from its begin.
#[derive(Clone, Copy)]
struct Timing {
    /// Before the first token.
    early: Span,
    /// In the stream.
    late: Span,
}

impl Timing {
    /// Half of the time to first token of a request alone, and a third of the stream after the last
    /// first token of those that ran together. Of answers that come whole, after a third and after
    /// two thirds of the time that one takes alone.
    fn of(streaming: bool, control: &[RequestSpan], canary: &Canary) -> Self {
        let millis = |ms: f64| Span::from_secs_f64(ms.max(0.5) / 1e3);
        if !streaming {
            return Self {
                early: millis(canary.took_ms / 3.0),
                late: millis(canary.took_ms * 2.0 / 3.0),
            };
        }
        let ttft = canary.ttft_ms.unwrap_or(canary.took_ms);
        let stream = (canary.took_ms - ttft).max(1.0);
        let begun = control.iter().map(|seen| seen.begun).min();
        let at_once = control.iter().filter(|seen| {
            // Those that came after others had ended are not of the begin.
            begun.is_some_and(|begun| seen.begun.since(begun).as_millis_f64() < ttft.max(1.0))
        });
        let firsts = at_once.filter_map(|seen| Some(seen.tokens.first()?.since(begun?)));
        let last = firsts.max().map_or(ttft, Span::as_millis_f64).max(ttft);
        Self {
            early: millis(ttft / 2.0),
            late: millis(last + stream / 3.0),
        }
    }
}

/// A test under way.
struct Test<'a> {
    flags: &'a CancelTest,
    /// How many waves there will be.
    waves: u64,
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
        let pages = pages(flags, server)?;
        let interval = Span::from_secs_f64(flags.metrics_interval);
        let sampler = Sampler::start(&pages, kinds, interval, &mut scrapers)?;
        let waves = waves(flags);
        say::line(format_args!(
            "cancel-test of {}: {} waves of {} cancels, metrics from {}; where something is not let go, {} \
             s are waited behind each wave",
            server.base,
            waves,
            flags.concurrency.div_ceil(2),
            sampler.urls().join(", "),
            flags.settle
        ));
        interrupt.sending();
        let patience = Span::from_secs_f64(flags.canary_timeout);
        let requester = Requester::of(&run, patience)?.only_asking_the_first();
        Ok(Self {
            flags,
            waves,
            leave,
            requester,
            sampler,
            run,
            interrupt,
        })
    }

    /// Sends the waves. Every connection is closed at the end.
    fn carry_out(mut self) -> Result<Evidence> {
        let mut evidence = self.start_at_rest()?;
        if evidence.first_canary.answered {
            let mut floor = last_levels(&evidence.before).map(Floor::of);
            evidence.control = self.load(None, Replacements::AtOnce)?;
            let streaming = self.run.settings.bodies.streaming;
            let timing = Timing::of(streaming, &evidence.control, &evidence.first_canary);
            self.settle(&mut evidence.between, &mut floor)?;
            for nth in 0..self.waves {
                self.sampler.take(&mut evidence.between);
                let wave = self.wave(nth, timing, &mut floor)?;
                say::line(format_args!(
                    "wave {} of {}: {}, canary {}",
                    nth + 1,
                    self.waves,
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
        evidence.counts_aborted_tokens = self.sampler.counts_aborted_tokens();
        evidence.pages = self.sampler.pages();
        Ok(evidence)
    }

    /// What the server is like before anything is cancelled. A first request alone warms it: a
    /// fresh one shows some of its metrics only then; what its counters make of that request tells
    /// how they count.
    fn start_at_rest(&mut self) -> Result<Evidence> {
        let mut between = Vec::new();
        self.sampler.rest(&mut between, QUIET, &self.interrupt)?;
        let mut floor = last_levels(&between).map(Floor::of);
        let mut warmed = Answers::default();
        let first = self.canary()?;
        warmed.add(&first);
        let mut canaries = vec![first];
        let mut before = Vec::new();
        let mut alone = Answers::default();
        if canaries.iter().all(|canary| canary.answered) {
            self.settle(&mut between, &mut floor)?;
            let rest = QUIET.max(self.sampler.lag());
            self.sampler.rest(&mut before, rest, &self.interrupt)?;
            while canaries.len() < 1 + FIRST_CANARIES && canaries.iter().all(|of| of.answered) {
                let canary = self.canary()?;
                alone.add(&canary);
                canaries.push(canary);
            }
        }
        // The first one has met a server that was not warm.
        if canaries.len() > 1 {
            canaries.remove(0);
        }
        canaries.sort_by(|a, b| a.took_ms.total_cmp(&b.took_ms));
        let middle = canaries.len() / 2;
        let unanswered = canaries.iter().position(|canary| !canary.answered);
        Ok(Evidence {
            asker: Asker::Test,
            server: None,
            settle: Span::from_secs_f64(self.flags.settle),
            interval: Span::from_secs_f64(self.flags.metrics_interval),
            leave: self.leave,
            warmed: Some(warmed),
            before,
            alone,
            first_canary: canaries.swap_remove(unanswered.unwrap_or(middle)),
            control: Vec::new(),
            between,
            waves: Vec::new(),
            streaming: self.run.settings.bodies.streaming,
            counts_aborted_tokens: false,
            pages: Vec::new(),
        })
    }

    /// What is slow to show, and what is slow to come back, has its time once more at the end.
    fn rest_at_the_end(&mut self, evidence: &mut Evidence) -> Result<()> {
        let lag = self.sampler.lag();
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

    fn wave(&mut self, nth: u64, timing: Timing, floor: &mut Option<Floor>) -> Result<Wave> {
        let mut samples = Vec::new();
        let half = self.flags.concurrency.div_ceil(2);
        let plan = CancelPlan::new(0, 100.0, Span::ZERO)
            .leaving(self.leave)
            .among_first(half);
        // All at one instant, which a timer brings: the first multiple of a span that all are in.
        let late = match self.run.settings.bodies.streaming {
            true => Trigger::FirstToken,
            false => Trigger::Sent,
        };
        let plan = match nth.is_multiple_of(2) {
            true => plan.from_trigger(Trigger::Sent).in_waves(timing.early),
            false => plan.from_trigger(late).in_waves(timing.late),
        };
        // Of each kind every second one, the first and the last of four.
        let replacements = match (nth + nth / 2).is_multiple_of(2) {
            true => Replacements::None,
            false => Replacements::AtOnce,
        };
        let requests = self.load(Some(plan), replacements)?;
        self.settle(&mut samples, floor)?;
        let canary = self.canary()?;
        Ok(Wave {
            quiet: replacements == Replacements::None,
            requests,
            samples,
            canary,
        })
    }

    /// All slots at once, and then half as many again, or none.
    fn load(
        &mut self,
        cancel: Option<CancelPlan>,
        replacements: Replacements,
    ) -> Result<Vec<RequestSpan>> {
        let slots = self.flags.concurrency;
        let more = match replacements {
            Replacements::AtOnce => slots.div_ceil(2),
            Replacements::None => 0,
        };
        let mut plan = self.requester.plan(slots, slots + more);
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
