//! `pinfire cancel-test`: waves of cancels, looks at the server's metrics between them, a verdict.

use std::{io::Write, path::Path, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use pinfire_analysis::{
    release::{Canary, End, Evidence, Look, ReleaseReport, Seen, Wave},
    scrape::{Levels, ReleaseProfiles},
};
use pinfire_engine::{
    clock::{Span, Stamp},
    dataset::{ready::Ready, sampling::Sampling, url::TargetUrl},
    plan::{PhasePlan, Target},
    record::{Failure, Keep, Leave, MarkKind, Outcome, Phase, Record, Trigger},
    run::Engine,
    schedule::{CancelPlan, Delay, Limit, Pace, Schedule},
};

use crate::{
    args::{CancelTest, Cli, Command, Profile},
    cmd::profile::{dataset, split, start_embedded, target},
    place, say,
    scrape::{
        client::{Client, Trust},
        fast::{FastScraper, Sample},
    },
    settings::{self, Settings, named},
    signals::Interrupt,
    transport::Server,
};

/// How often the control side looks whether a phase has ended.
const LOOK: Duration = Duration::from_millis(5);
/// A look at the metrics takes no longer than this.
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// At rest before anything is sent, and behind each wave that shows no metrics.
const QUIET: Span = Span::from_millis(400);
/// Requests alone before the first wave: their median is what the waves are timed by.
const FIRST_CANARIES: usize = 3;

/// Runs the test. The exit code is the verdict's.
///
/// # Errors
/// Anything that keeps the test from being carried out.
pub fn run(flags: &CancelTest) -> Result<ExitCode> {
    let profile = as_profile(flags)?;
    let settings = Settings::new(&profile)?;
    ensure!(
        settings.bodies.streaming,
        "--endpoint-type {}: cancel-test needs an endpoint that streams",
        flags.endpoint_type
    );
    let leave = named(
        "--request-cancellation-mode",
        &flags.request_cancellation_mode,
        &[Leave::Fin, Leave::Rst].map(|leave| (leave.name(), leave)),
    )?;
    let profiles = match &flags.release_profile {
        None => ReleaseProfiles::default(),
        Some(path) => {
            profiles(path).with_context(|| format!("--release-profile {}", path.display()))?
        }
    };
    for warning in settings.warnings.iter().chain(&settings.load.warnings) {
        say::warning(warning);
    }
    let interrupt = Interrupt::watch()?;
    place::grant_descriptors(
        settings.slots().saturating_mul(2),
        settings.places.engine.len(),
    )?;
    let mut servers = settings.transport.reach()?;
    let prepared = dataset::prepare(&settings)?;
    place::stay_on(&settings.places.rest);
    let mock = match settings.transport.server {
        Server::Embedded => {
            let (reached, handle) = start_embedded(&settings)?;
            servers.push(reached);
            Some(handle)
        }
        Server::Remote(_) => None,
    };
    let Some(server) = servers.first() else {
        bail!("--url names no server");
    };
    let metrics_url = match &flags.metrics_url {
        Some(url) => url.clone(),
        None => TargetUrl::join(&server.base, "/metrics")?.to_string(),
    };
    ensure!(
        metrics_url.starts_with("http"),
        "the metrics of {} cannot be read through a socket in the file system; give --metrics-url",
        server.base
    );
    let targets: Arc<[Target]> = Arc::new([target(&settings, server, &server.url, false)?]);
    let engine = Engine::start(&settings.engine)?;
    let (dataset, _) = split(prepared.dataset);
    let watching = watch(flags, &metrics_url, profiles, &settings.places.rest)?;
    say::line(format_args!(
        "cancel-test of {}: {} waves of {} cancels, metrics from {metrics_url}",
        server.base,
        flags.waves,
        flags.concurrency.div_ceil(2)
    ));
    interrupt.sending();
    let mut test = Test {
        flags,
        settings: &settings,
        targets,
        dataset,
        engine,
        interrupt,
        leave,
        watching,
        server: None,
        id_key: settings::random_bits()?,
        sessions: 0,
    };
    let evidence = test.carry_out()?;
    drop(test);
    if let Some(mock) = mock {
        drop(mock.stop());
    }
    let report = ReleaseReport::of(&evidence);
    // A reader that has gone away (a closed pipe) is no failure of the test.
    let _ = std::io::stdout().write_all(report.page().as_bytes());
    let text = serde_json::to_string_pretty(&report).context("the report as JSON")?;
    std::fs::write(&flags.output, text)
        .with_context(|| format!("--output {}", flags.output.display()))?;
    Ok(ExitCode::from(report.exit_code))
}

fn profiles(path: &Path) -> Result<ReleaseProfiles> {
    Ok(ReleaseProfiles::read(&std::fs::read_to_string(path)?)?)
}

/// The flags of a run of the same requests.
fn as_profile(flags: &CancelTest) -> Result<Box<Profile>> {
    let mut line = vec!["pinfire".to_owned(), "profile".to_owned()];
    let mut add = |flag: &str, value: &str| line.push(format!("--{flag}={value}"));
    add("model", &flags.model);
    add("url", &flags.url);
    add("endpoint-type", &flags.endpoint_type);
    add("streaming", "true");
    add("isl", &flags.isl.to_string());
    add("osl", &flags.osl.to_string());
    add("concurrency", &flags.concurrency.to_string());
    let requests = flags.concurrency.saturating_mul(2);
    add("request-count", &requests.to_string());
    let texts = [
        ("endpoint", &flags.endpoint),
        ("api-key", &flags.api_key),
        ("tokenizer", &flags.tokenizer),
        ("cores", &flags.cores),
    ];
    for (flag, value) in texts {
        if let Some(value) = value {
            add(flag, value);
        }
    }
    let lists = [
        ("header", &flags.header),
        ("extra-inputs", &flags.extra_inputs),
    ];
    for (flag, values) in lists {
        for value in values {
            add(flag, value);
        }
    }
    if let Some(path) = &flags.ca_cert {
        add("ca-cert", &path.to_string_lossy());
    }
    if flags.insecure {
        add("insecure", "true");
    }
    if let Some(seed) = flags.random_seed {
        add("random-seed", &seed.to_string());
    }
    match Cli::try_parse_from(line).map(|cli| cli.command) {
        Ok(Command::Profile(profile)) => Ok(profile),
        Ok(_) => bail!("the flags of the test's requests cannot be read"),
        Err(error) => bail!("{}", error.render().to_string().trim()),
    }
}

/// What one look keeps: the kind of server, and what it holds.
type Shown = Option<(String, f64, Levels)>;

fn watch(
    flags: &CancelTest,
    url: &str,
    profiles: ReleaseProfiles,
    cpus: &[usize],
) -> Result<FastScraper<Shown>> {
    let ca_cert = match &flags.ca_cert {
        None => None,
        Some(path) => {
            Some(std::fs::read(path).with_context(|| format!("--ca-cert {}", path.display()))?)
        }
    };
    let trust = Trust {
        insecure: flags.insecure,
        ca_cert,
    };
    let client = Client::new(&trust, LOOK_LIMIT, LOOK_LIMIT);
    let interval = Span::from_secs_f64(flags.metrics_interval);
    FastScraper::start(&client, url, interval, cpus, move |scrape| {
        let profile = profiles.detect(scrape)?;
        let settles = profile.settle_seconds;
        Some((profile.name.clone(), settles, profile.levels(scrape)))
    })
}

/// A test under way.
struct Test<'a> {
    flags: &'a CancelTest,
    settings: &'a Settings,
    targets: Arc<[Target]>,
    dataset: Arc<Ready>,
    engine: Engine,
    interrupt: Interrupt,
    leave: Leave,
    watching: FastScraper<Shown>,
    /// The kind of server, and how long its metrics may lag, once a look has told.
    server: Option<(String, f64)>,
    id_key: u64,
    sessions: u64,
}

/// What the server holds at rest, for the wait between waves. The verdict looks closer.
#[derive(Clone, Copy, Default)]
struct Floor {
    held: f64,
    cache: f64,
}

impl Floor {
    fn of(levels: Levels) -> Self {
        Self {
            held: levels.held().unwrap_or(0.0),
            cache: levels.kv_used.unwrap_or(0.0),
        }
    }
}

impl Test<'_> {
    fn carry_out(&mut self) -> Result<Evidence> {
        let mut before = Vec::new();
        self.rest(&mut before, QUIET)?;
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
            server: None,
            settle: Span::from_secs_f64(self.flags.settle),
            interval: Span::from_secs_f64(self.flags.metrics_interval),
            before,
            first_canary,
            control: Vec::new(),
            waves: Vec::new(),
        };
        if evidence.first_canary.answered {
            let control = self.load(None)?;
            evidence.control = control;
            self.settle(&mut Vec::new(), &mut floor)?;
            for nth in 0..self.flags.waves {
                let wave = self.wave(nth, &evidence.first_canary, &mut floor)?;
                say::line(format_args!(
                    "wave {} of {}: canary {}",
                    nth + 1,
                    self.flags.waves,
                    if wave.canary.answered {
                        "answered"
                    } else {
                        "NOT answered"
                    }
                ));
                let lost = !wave.canary.answered;
                evidence.waves.push(wave);
                if lost {
                    break;
                }
            }
            self.last_look(&mut evidence)?;
        }
        evidence.server = self.server.take().map(|(name, _)| name);
        Ok(evidence)
    }

    /// What is slow to show, and what is slow to come back, has its time once more at the end.
    fn last_look(&mut self, evidence: &mut Evidence) -> Result<()> {
        let lags = self.server.as_ref().map_or(0.0, |(_, seconds)| *seconds);
        let mut floor = last_levels(&evidence.before).map(Floor::of);
        let Some(wave) = evidence.waves.last_mut() else {
            return Ok(());
        };
        if wave.canary.answered {
            self.settle(&mut wave.looks, &mut floor)?;
            self.rest(&mut wave.looks, Span::from_secs_f64(lags))?;
        }
        Ok(())
    }

    fn wave(&mut self, nth: u64, canary: &Canary, floor: &mut Option<Floor>) -> Result<Wave> {
        let mut looks = Vec::new();
        self.take_looks(&mut Vec::new());
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
        self.settle(&mut looks, floor)?;
        let canary = self.canary()?;
        Ok(Wave {
            requests,
            looks,
            canary,
        })
    }

    /// All slots at once, and then half as many again.
    fn load(&mut self, cancel: Option<CancelPlan>) -> Result<Vec<Seen>> {
        let slots = self.flags.concurrency;
        let requests = slots + slots.div_ceil(2);
        let plan = self.plan(slots, requests, cancel, self.settings.timeout);
        Ok(self.phase(&plan)?.iter().map(seen).collect())
    }

    /// One request alone.
    fn canary(&mut self) -> Result<Canary> {
        let timeout = Span::from_secs_f64(self.flags.canary_timeout);
        let plan = self.plan(1, 1, None, timeout.min(self.settings.timeout));
        let records = self.phase(&plan)?;
        let Some(record) = records.first() else {
            bail!("the canary left no record (a bug in pinfire)");
        };
        let seen = seen(record);
        let refused = matches!(record.outcome, Outcome::Failed(Failure::Connect { .. }));
        let problem = match &record.outcome {
            Outcome::Failed(failure) => Some(format!("{failure:?}")),
            _ if seen.end == End::Failed => Some(format!("HTTP status {}", record.wire.status)),
            _ => None,
        };
        let first = seen.tokens.first();
        Ok(Canary {
            answered: seen.end == End::Answered,
            refused,
            ttft_ms: first.map(|first| first.since(seen.begun).as_millis_f64()),
            took_ms: seen.ended.since(seen.begun).as_millis_f64(),
            problem,
        })
    }

    fn plan(
        &mut self,
        slots: u64,
        requests: u64,
        cancel: Option<CancelPlan>,
        timeout: Span,
    ) -> Arc<PhasePlan> {
        let settings = self.settings;
        let first_session = self.sessions;
        self.sessions += requests;
        Arc::new(PhasePlan {
            phase: Phase::Profiling,
            targets: Arc::clone(&self.targets),
            dialling: settings.transport.dialling.clone(),
            answers: settings.answers.clone(),
            dataset: Arc::clone(&self.dataset),
            sampling: Sampling::Sequential,
            first_session,
            schedule: Schedule::new(Pace::Closed, self.dataset.is_single(), Some(requests), None),
            concurrency: Some(Limit::of(usize::try_from(slots).unwrap_or(usize::MAX))),
            prefill: None,
            duration: None,
            grace: None,
            cancel,
            id_key: self.id_key ^ first_session,
            timeout,
            reuse: settings.reuse,
            receive_stamps: true,
            keep: Keep::default(),
        })
    }

    /// Runs a phase to its end, or until nothing of it has ended for as long as a canary may take.
    fn phase(&mut self, plan: &Arc<PhasePlan>) -> Result<Vec<Record>> {
        let patience = Span::from_secs_f64(self.flags.canary_timeout + 0.5);
        self.engine.begin(plan);
        let mut ended = 0;
        let mut moved = Stamp::now();
        while self.engine.wait(plan.phase, LOOK)?.is_none() {
            let counts = self.engine.progress(plan.phase);
            let now = counts.finished + counts.failed + counts.cancelled + counts.dropped;
            if now > ended {
                (ended, moved) = (now, Stamp::now());
            }
            let asked = self.interrupt.asked();
            if asked || Stamp::now().since(moved) > patience {
                self.engine.stop();
            }
            ensure!(!asked, "stopped by the user (Ctrl-C); there is no verdict");
        }
        Ok(self.engine.records().try_iter().collect())
    }

    /// Waits until the server holds no more than at the last rest, or its time is over.
    fn settle(&mut self, looks: &mut Vec<Look>, floor: &mut Option<Floor>) -> Result<()> {
        let begun = Stamp::now();
        let limit = Span::from_secs_f64(self.flags.settle);
        let Some(before) = *floor else {
            self.rest(looks, QUIET.min(limit))?;
            return Ok(());
        };
        let back = |look: &Look| {
            look.levels.is_some_and(|levels| {
                let now = Floor::of(levels);
                now.held < before.held + 0.5 && now.cache <= before.cache + 1e-6
            })
        };
        loop {
            self.rest(looks, Span::from_millis(10))?;
            let fresh: Vec<&Look> = looks.iter().rev().take_while(|l| l.at >= begun).collect();
            let rested = fresh.len() >= 3 && fresh.iter().take(3).all(|look| back(look));
            if rested || Stamp::now().since(begun) >= limit {
                break;
            }
        }
        if let Some(levels) = last_levels(looks) {
            *floor = Some(Floor::of(levels));
        }
        Ok(())
    }

    /// Waits, and keeps the looks.
    fn rest(&mut self, looks: &mut Vec<Look>, span: Span) -> Result<()> {
        let until = Stamp::now() + span;
        loop {
            self.take_looks(looks);
            ensure!(
                !self.interrupt.asked(),
                "stopped by the user (Ctrl-C); there is no verdict"
            );
            if Stamp::now() >= until {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
    }

    fn take_looks(&mut self, looks: &mut Vec<Look>) {
        let samples: Vec<Sample<Shown>> = self.watching.samples().try_iter().collect();
        for sample in samples {
            let shown = sample.value.ok().flatten();
            let levels = shown.map(|(name, settles, levels)| {
                self.server.get_or_insert((name, settles));
                levels
            });
            looks.push(Look {
                at: sample.at,
                levels,
            });
        }
    }
}

fn last_levels(looks: &[Look]) -> Option<Levels> {
    looks.iter().rev().find_map(|look| look.levels)
}

/// A record as the verdict needs it.
fn seen(record: &Record) -> Seen {
    let marks = record.transcript.marks();
    let of = |wanted: fn(MarkKind) -> bool| {
        let marks = marks.iter().filter(|mark| wanted(mark.kind));
        marks.map(|mark| mark.at).collect::<Vec<Stamp>>()
    };
    let mut tokens = of(|kind| matches!(kind, MarkKind::Content | MarkKind::Reasoning));
    if tokens.is_empty() {
        // Events of another dialect are kept as they come.
        tokens = of(|kind| kind == MarkKind::Data);
    }
    let done = record.cancel.and_then(|cancel| cancel.done);
    let end = match record.outcome {
        Outcome::Complete if record.wire.status / 100 == 2 => End::Answered,
        Outcome::Cancelled => End::Left,
        _ => End::Failed,
    };
    Seen {
        begun: record.times.start,
        ended: done.map_or(record.times.end, |done| done.closed),
        end,
        new_connection: !record.wire.reused,
        tokens,
    }
}
