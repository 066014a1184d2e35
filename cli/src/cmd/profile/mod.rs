//! `pinfire profile`: dataset, engine, analysis and exports put together for one run.

mod collect;
mod command_line;
pub mod dataset;
mod dry_run;
mod facts;
mod kept;

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context, Result};
use pinfire_analysis::{
    export::{DEFAULT_WIDTH, forget_earlier, write_start},
    facts::{PhaseWindow, RunEnd},
    reclaim::Verdict,
    redact,
};
use pinfire_base::{
    clock::{Span, Stamp},
    random::child_seed,
    ready::Ready,
    record::Phase,
    url::TargetUrl,
};
use pinfire_dialect::EndpointKind;
use pinfire_engine::{
    plan::{Address, PhasePlan, Reuse, Target},
    report::{EngineError, PhaseReport},
    run::Engine,
    schedule::{Arrivals, CancelPlan, Limit, Pace, Schedule, Users},
};
use pinfire_tools::mock;
use pinfire_workload::dataset::Dataset;

use self::collect::{Collecting, Tally};
pub use self::command_line::{secret, shown};
pub use self::kept::KeptEngine;
use crate::{
    args::Profile,
    load::{Mode, PhaseLoad},
    reclaim::{self, Alone, PATIENCE, Verify},
    run::{place, request::HeaderPlan, signals::Interrupt},
    run_file::RESOLVED,
    scrape::watch::Watch,
    settings::{self, Settings},
    terminal::{
        log,
        progress::{Board, Stage, Ui},
        say,
        screen::Screen,
        statistics::Blocks,
    },
    transport::{Reached, Server},
};

/// How often the control side looks at progress and at Ctrl-C.
const LOOK: Duration = Duration::from_millis(50);

/// Runs one benchmark. The exit code says whether it can be used.
///
/// # Errors
/// Anything that keeps the run from starting or its results from being written.
pub fn run(flags: &Profile, arguments: &[String]) -> Result<ExitCode> {
    if let Some(idle) = flags.sweep.idle() {
        anyhow::bail!(
            "{idle} is for sweeps and repeated runs: give a flag a list (--concurrency 10,50), or \
             add --num-profile-runs"
        );
    }
    let settings = Settings::new(flags)?;
    say::set_level(settings.log_level);
    for warning in settings.warnings.iter().chain(&settings.load.warnings) {
        say::warning(warning);
    }
    say::debug(flags.run_file.given.typed());
    if flags.load.dry_run {
        return dry_run(&settings);
    }
    let interrupt = Interrupt::watch()?;
    let done = one(flags, &settings, arguments, &interrupt, None)?;
    Ok(done.exit_code())
}

/// A run that has ended, its files written.
pub struct Done {
    /// It can be used.
    pub success: bool,
    /// Why it ended before its time.
    pub interrupted: Option<String>,
    /// Whether the server let go of what was cancelled, where that was judged.
    pub release: Option<Verdict>,
}

impl Done {
    /// What the server did is worth more than a run that could not be used for it; but of a run that
    /// cannot be used, «cannot tell» says nothing.
    fn exit_code(&self) -> ExitCode {
        match self.release {
            Some(verdict @ (Verdict::Leaked | Verdict::Wedged | Verdict::Died)) => {
                ExitCode::from(verdict.exit_code())
            }
            _ if !self.success => ExitCode::FAILURE,
            Some(verdict) => ExitCode::from(verdict.exit_code()),
            None => ExitCode::SUCCESS,
        }
    }
}

/// Makes one run of decided settings, on the engine that is `kept` between runs if there is one.
///
/// # Errors
/// Anything that keeps the run from starting or its results from being written.
pub fn one(
    flags: &Profile,
    settings: &Settings,
    arguments: &[String],
    interrupt: &Interrupt,
    mut kept: Option<&mut KeptEngine>,
) -> Result<Done> {
    let embedded = matches!(settings.transport.server, Server::Embedded);
    let sides = if embedded { 2 } else { 1 };
    place::grant_descriptors(
        settings
            .slots()
            .saturating_add(settings.kept_sockets())
            .saturating_mul(sides),
        settings.places.engine.len(),
    )?;
    let mut servers = settings.transport.reach()?;
    std::fs::create_dir_all(&settings.artifact_dir).with_context(|| {
        format!(
            "the artifact folder {} cannot be made",
            settings.artifact_dir.display()
        )
    })?;

    let log_file = log::open(&settings.artifact_dir, secrets(settings)).with_context(|| {
        format!(
            "the artifact folder {} cannot be written to",
            settings.artifact_dir.display()
        )
    })?;
    store_resolved(flags, settings)?;
    let prepared = dataset::prepare(settings)?;
    for warning in &prepared.warnings {
        say::warning(warning);
    }
    let inputs =
        pinfire_workload::dataset::inputs_json::write(&settings.artifact_dir, &prepared.dataset);
    if let Err(error) = inputs {
        say::warning(error);
    }

    // From here on this thread only waits; it and the threads it makes stay off the engine's CPUs.
    place::stay_on(&settings.places.rest);
    let mock = match settings.transport.server {
        Server::Embedded => {
            let (reached, handle) = start_embedded(settings)?;
            servers.push(reached);
            Some(handle)
        }
        Server::Remote(_) => None,
    };
    let targets: Arc<[Target]> = servers
        .iter()
        .map(|server| target(settings, server, &server.url, false))
        .collect::<Result<_>>()?;
    let mut engine = match &mut kept {
        Some(kept) => kept.take(&settings.engine)?,
        None => Engine::start(&settings.engine)?,
    };
    say_how(settings, &engine);
    if let Some(probe) = &settings.probe {
        probe.wait(settings, &servers, &mut engine)?;
    }

    let mut facts = facts::of(settings, &prepared, &engine, arguments)?;
    facts.log_file = Some(log_file);
    forget_earlier(&facts);
    log::info(&facts.cli_command);
    let bases: Vec<String> = servers.iter().map(|server| server.base.clone()).collect();
    let cancel = cancel_plan(settings, &prepared.dataset)?;
    let (dataset, entries) = split(prepared.dataset);
    let verify = if settings.verify_release {
        interrupt.sending();
        let alone = Alone {
            settings,
            targets: Arc::clone(&targets),
            // The last conversation: the first ones are those that the run begins with.
            sessions: dataset.conversations().saturating_sub(1) as u64,
            dataset: Arc::clone(&dataset),
            id_key: settings::random_bits()?,
            patience: PATIENCE,
        };
        Some(Verify::start(alone, &servers, &mut engine, interrupt)?)
    } else {
        None
    };
    let watch = Watch::start(
        &settings.watch,
        &bases,
        [&settings.places.engine, &settings.places.rest],
        engine.anchor(),
        &settings.artifact_dir,
        &settings.files,
    );
    if let Err(error) = write_start(&facts) {
        say::warning(format_args!(
            "{error}; if this run is killed, `pinfire report` will know less of it"
        ));
    }
    let board = Arc::new(Board::default());
    let collecting = Collecting::start(
        facts.clone(),
        entries,
        &dataset,
        prepared.tokenizer,
        engine.records(),
        settings,
        Arc::clone(&board),
    )?;
    let phases = Phases {
        settings,
        targets,
        dataset,
        tally: collecting.tally(),
        cancel,
        watch: Some(&watch),
        id_key: settings::random_bits()?,
        screen: screen(settings, &board)?,
        board,
    };
    watch.wait_for_baseline();
    interrupt.sending();
    let mut end = RunEnd::default();
    let (gave_up, lost) = match phases.run(&mut engine, interrupt, &mut end) {
        Ok(gave_up) => (gave_up, None),
        Err(lost) => (false, Some(lost)),
    };
    drop(phases);
    // Either way the server sees every connection closed.
    match kept.filter(|_| lost.is_none()) {
        Some(kept) => kept.give_back(&settings.engine, engine),
        None => drop(engine),
    }
    if let Some(verify) = &verify {
        verify.load_has_ended();
    }
    let mut outside = watch.finish(&end, &facts);
    let by_user = interrupt.asked();
    let (mut report, unwritten, seen) = collecting.finish(end, settings.ui)?;
    let mut verdict = None;
    if let Some(verify) = verify {
        let found = match by_user || lost.is_some() {
            true => Err(anyhow::anyhow!("the run was stopped")),
            false => verify.finish(seen, interrupt),
        };
        match found.and_then(|found| Ok((reclaim::write(settings, &found)?, found))) {
            Ok((path, found)) => {
                verdict = Some(found.verdict);
                outside.files.push(("Release Check", path));
                report.release = Some(found);
            }
            Err(error) => {
                // The run's results are written all the same.
                verdict = (!interrupt.asked()).then_some(Verdict::CannotTell);
                say::warning(format_args!(
                    "there is no verdict on what the server let go of: {error:#}"
                ));
            }
        }
    }
    if let Some(mock) = mock {
        drop(mock.stop());
    }
    report.look_outside(outside);
    let width = settings.console_width.unwrap_or(DEFAULT_WIDTH);
    let written = report.write(width);
    if written.is_ok() {
        report.forget_start();
    }
    if settings.part.is_none() {
        crate::terminal::show::report(&report, width, written.as_ref().ok());
    }
    log::outcome(&report);
    // What is there has been shown and written; only then does what went wrong decide.
    if let Some(lost) = lost {
        return Err(lost);
    }
    if let Some(unwritten) = unwritten {
        return Err(unwritten.into());
    }
    written?;
    log::info(format_args!(
        "the results are in {}",
        settings.artifact_dir.display()
    ));
    // Last of all files: whoever waits for it may read all others.
    report.mark_ready()?;
    Ok(Done {
        success: !gave_up && report.is_success(),
        interrupted: report.end.interrupted,
        release: verdict,
    })
}

/// Writes the run file that repeats the run.
fn store_resolved(flags: &Profile, settings: &Settings) -> Result<()> {
    let mut given = flags.run_file.given.clone();
    given.set("random-seed", "Load", settings.seed.value.to_string());
    let path = settings.artifact_dir.join(RESOLVED);
    let folder = std::env::current_dir().unwrap_or_default();
    let text = format!(
        "# The run as it was. In the folder {}\n# this repeats it: pinfire profile --config {}\n{}",
        folder.display(),
        path.display(),
        given.yaml()
    );
    std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
}

/// The screen, if it is wanted.
fn screen(settings: &Settings, board: &Arc<Board>) -> Result<Option<Screen>> {
    if settings.ui != Ui::Dashboard {
        return Ok(None);
    }
    let title = format!(
        "pinfire {}  {} at {}  {}  seed {}",
        env!("CARGO_PKG_VERSION"),
        settings.bodies.models.join(", "),
        settings.transport.urls.join(", "),
        settings.load.profiling,
        settings.seed.value
    );
    let cpus = settings.places.rest.clone();
    Screen::start(title, Arc::clone(board), cpus).map(Some)
}

/// Starts the embedded server.
pub fn start_embedded(settings: &Settings) -> Result<(Reached, mock::Handle)> {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = mock::Server::bind(mock::Script::default(), anywhere, None)
        .context("the embedded server cannot start")?;
    let address = server.local_addr();
    let cpu = settings.places.rest.first().copied();
    let handle = server
        .spawn(cpu)
        .context("the embedded server cannot start")?;
    let base = format!("http://{address}");
    let reached = Reached {
        url: TargetUrl::join(&base, &settings.endpoint_path)?,
        base,
        addresses: vec![Address::Tcp(address)],
        tls: None,
    };
    Ok((reached, handle))
}

/// A server with the head of the requests to `url`, which is one of its own.
pub fn target(settings: &Settings, server: &Reached, url: &TargetUrl, get: bool) -> Result<Target> {
    let head = HeaderPlan {
        target: url,
        custom: &settings.headers,
        anthropic: settings.bodies.endpoint == EndpointKind::Messages,
        api_key: settings.api_key.as_deref(),
        streaming: settings.bodies.streaming,
        session_header: &settings.session_header,
        affinity: settings.affinity,
        close: settings.reuse == Reuse::Never,
        get,
    }
    .head()?;
    Ok(Target {
        addresses: server.addresses.clone(),
        head,
        tls: server.tls.clone(),
    })
}

/// What no line of the log may hold.
fn secrets(settings: &Settings) -> Vec<String> {
    let headers = settings.headers.iter();
    let headers = headers.filter(|(name, _)| redact::is_sensitive(name));
    let urls = settings.transport.urls.iter();
    let all = settings
        .api_key
        .iter()
        .cloned()
        .chain(headers.map(|(_, value)| value.clone()))
        .chain(urls.flat_map(|url| redact::of_url(url)));
    // A shorter one would take ordinary words with it.
    all.filter(|secret| secret.len() >= 4).collect()
}

fn say_how(settings: &Settings, engine: &Engine) {
    let granted = engine.granted();
    let cpus: Vec<String> = granted
        .iter()
        .map(|core| {
            core.cpu
                .map_or_else(|| "unpinned".to_owned(), |cpu| format!("cpu {cpu}"))
        })
        .collect();
    let driver = granted.first().map_or("?", |core| core.driver.name());
    let urls: Vec<String> = settings
        .transport
        .urls
        .iter()
        .map(|url| redact::url(url))
        .collect();
    let how = format!(
        "pinfire {}: {}, to {}; engine on {} ({driver}, timers: {}); seed {}",
        env!("CARGO_PKG_VERSION"),
        settings.load.profiling,
        urls.join(", "),
        cpus.join(", "),
        settings.engine.precision.name(),
        settings.seed.value,
    );
    log::info(&how);
    // As for the results: a reader that has gone away is no failure of the run.
    if settings.part.is_none() {
        let _ = writeln!(std::io::stdout(), "{how}");
    }
    if let Some(reason) = granted
        .iter()
        .find_map(|core| core.realtime_refused.as_ref())
    {
        say::warning(format_args!(
            "--realtime was refused ({reason}); going on at ordinary priority"
        ));
    }
    if granted.iter().any(|core| core.cpu.is_none()) {
        say::warning("a core thread could not be pinned; its times will be less steady");
    }
}

fn cancel_plan(settings: &Settings, dataset: &Dataset) -> Result<Option<CancelPlan>> {
    let asked = settings.cancellation.as_ref();
    asked
        .map(|asked| asked.plan(settings.seed.value, dataset))
        .transpose()
}

pub type Entries = Arc<[pinfire_analysis::facts::EntryFacts]>;

/// What is sent goes to the cores, the rest to the analysis; both turn by turn, so that a record's
/// entry is the place of its turn among all turns.
pub fn split(dataset: Dataset) -> (Arc<Ready>, Entries) {
    let mut entries = Vec::with_capacity(dataset.turns().count());
    for conversation in &dataset.conversations {
        for (place, turn) in (0..).zip(&conversation.turns) {
            entries.push(pinfire_analysis::facts::EntryFacts {
                session_id: conversation.session_id.clone(),
                turn: place,
                isl: turn.isl,
                requested_osl: turn.osl,
            });
        }
    }
    let ready = pinfire_workload::dataset::ready(dataset.conversations);
    (Arc::new(ready), entries.into())
}

/// Prints what would be sent. The dataset is made as for a run; nothing is written, no socket opened.
fn dry_run(settings: &Settings) -> Result<ExitCode> {
    let prepared = dataset::prepare(settings)?;
    for warning in &prepared.warnings {
        say::warning(warning);
    }
    let cancel = cancel_plan(settings, &prepared.dataset)?;
    let (dataset, _) = split(prepared.dataset);
    let phases = Phases {
        settings,
        targets: Arc::default(),
        dataset,
        tally: Arc::default(),
        cancel,
        watch: None,
        id_key: 0,
        board: Arc::default(),
        screen: None,
    };
    let mut sent = 0;
    if let Some(warmup) = &settings.load.warmup {
        let plan = phases.plan(Phase::Warmup, warmup, 0);
        dry_run::print("warmup", &plan)?;
        sent = plan.schedule.sessions.taken();
    }
    let plan = phases.plan(Phase::Profiling, &settings.load.profiling, sent);
    dry_run::print("profiling", &plan)?;
    Ok(ExitCode::SUCCESS)
}

/// The phases of the run. The measurement follows the warmup, or with `--warmup-seamless` its last
/// request.
struct Phases<'a> {
    settings: &'a Settings,
    targets: Arc<[Target]>,
    dataset: Arc<Ready>,
    tally: Arc<Tally>,
    cancel: Option<CancelPlan>,
    /// Looks at the servers' metrics; none without a run.
    watch: Option<&'a Watch>,
    id_key: u64,
    board: Arc<Board>,
    screen: Option<Screen>,
}

/// A phase that has been begun.
struct Going<'a> {
    plan: Arc<PhasePlan>,
    load: &'a PhaseLoad,
    begun: Stamp,
}

impl Phases<'_> {
    /// Runs them. Whether the run gave up because too many requests failed.
    fn run(&self, engine: &mut Engine, interrupt: &Interrupt, end: &mut RunEnd) -> Result<bool> {
        let load = &self.settings.load;
        let mut sent = 0;
        let mut stopped = None;
        let mut draining = None;
        if load.seamless {
            let slots = self.settings.slots();
            Engine::make_room_for(usize::try_from(slots).unwrap_or(usize::MAX));
        }
        if let Some(warmup) = &load.warmup {
            let going = self.begin(engine, Phase::Warmup, warmup, 0);
            let plan = Arc::clone(&going.plan);
            if load.seamless {
                let all_sent = |engine: &mut Engine| {
                    let all_sent = engine.wait_for_last_send(Phase::Warmup, LOOK)?;
                    Ok(all_sent.then_some(()))
                };
                self.watch(engine, &going, interrupt, &mut stopped, all_sent)?;
                draining = Some(going);
            } else {
                let report = self.end_of(engine, &going, interrupt, &mut stopped)?;
                end.warmup = Some(window(&report, stopped.as_ref()));
                if let Some(watch) = self.watch {
                    watch.between();
                }
            }
            sent = plan.schedule.sessions.taken();
            if interrupt.asked() && stopped.is_none() {
                engine.stop();
                stopped = Some(Stopped::now(Why::ByUser));
            }
        }
        if stopped.is_none() {
            let going = self.begin(engine, Phase::Profiling, &load.profiling, sent);
            let report = self.end_of(engine, &going, interrupt, &mut stopped)?;
            end.profiling = Some(window(&report, stopped.as_ref()));
            end.counts = report.counts();
            let granted = engine.granted();
            let cores = report.cores.into_iter().zip(granted);
            end.cores = cores
                .map(|(core, granted)| {
                    let mut health = core.health;
                    health.cpu = granted.cpu;
                    health
                })
                .collect();
        }
        let why = stopped.as_ref().map(|stopped| &stopped.why);
        let gave_up = matches!(why, Some(Why::TooManyFailed { .. }));
        end.interrupted = match why {
            None => None,
            Some(Why::ByUser) => Some("cancelled by the user (Ctrl-C)".to_owned()),
            Some(Why::TooManyFailed { failed, ended }) => Some(format!(
                "{failed} of {ended} requests failed, more than --failed-request-threshold allows"
            )),
        };
        // Whatever stops the rest of the warmup now, the measurement is whole.
        if let Some(warmup) = draining {
            let report = self.end_of(engine, &warmup, interrupt, &mut stopped)?;
            end.warmup = Some(window(&report, stopped.as_ref()));
        }
        Ok(gave_up)
    }

    fn begin<'a>(
        &self,
        engine: &mut Engine,
        phase: Phase,
        load: &'a PhaseLoad,
        first_session: u64,
    ) -> Going<'a> {
        let plan = self.plan(phase, load, first_session);
        log::info(format_args!("{} begins: {load}", phase_name(phase)));
        let begun = Stamp::now();
        engine.begin(&plan);
        say::debug(format_args!("{} begins: {load}", phase_name(phase)));
        if let Some(watch) = self.watch {
            watch.begin(phase);
        }
        Going { plan, load, begun }
    }

    fn plan(&self, phase: Phase, load: &PhaseLoad, first_session: u64) -> Arc<PhasePlan> {
        let settings = self.settings;
        let cancel = self.cancel.clone();
        let (pace, sessions) = match &load.mode {
            Mode::Concurrency => (Pace::Closed, load.sessions),
            Mode::Rate {
                pattern, profile, ..
            } => {
                let seed = child_seed(settings.seed.value, phase_name(phase));
                let arrivals = Arrivals::new(seed, *pattern, profile.clone());
                (Pace::Rate(arrivals), load.sessions)
            }
            Mode::Users { users, rate } => {
                let turns = self.dataset.entries() as f64 / self.dataset.conversations() as f64;
                (Pace::Users(Users::new(*users, *rate, turns)), load.sessions)
            }
            Mode::FixedSchedule => {
                let starts = self.dataset.starts();
                (Pace::Fixed(starts.into()), load.sessions)
            }
        };
        let limit = |slots: Option<u64>, ramp| {
            // More slots than sessions would only be counted, never used.
            let most = match phase {
                Phase::Warmup => load.requests.unwrap_or(u64::MAX),
                Phase::Profiling => settings.load.most_open(),
            };
            let slots = slots?.min(most);
            let slots = usize::try_from(slots).unwrap_or(usize::MAX);
            Some(Limit { slots, ramp })
        };
        Arc::new(PhasePlan {
            phase,
            targets: Arc::clone(&self.targets),
            dialling: settings.transport.dialling.clone(),
            answers: settings.answers.clone(),
            dataset: Arc::clone(&self.dataset),
            sampling: settings.sampling,
            // A fixed schedule begins at its first entry, whatever a warmup has sent.
            first_session: match load.mode {
                Mode::FixedSchedule => 0,
                _ => first_session,
            },
            schedule: Schedule::new(pace, self.dataset.is_single(), load.requests, sessions),
            concurrency: limit(load.concurrency, load.concurrency_ramp),
            prefill: limit(load.prefill, load.prefill_ramp),
            duration: load.duration,
            grace: load.grace,
            cancel: cancel.filter(|_| phase == Phase::Profiling),
            id_key: self.id_key,
            timeout: settings.timeout,
            reuse: settings.reuse,
            receive_stamps: true,
            keep: settings.keep,
        })
    }

    /// Waits for the end of a phase.
    fn end_of(
        &self,
        engine: &mut Engine,
        going: &Going<'_>,
        interrupt: &Interrupt,
        stopped: &mut Option<Stopped>,
    ) -> Result<PhaseReport> {
        let phase = going.plan.phase;
        let ended = |engine: &mut Engine| engine.wait(phase, LOOK);
        let report = self.watch(engine, going, interrupt, stopped, ended)?;
        let counts = report.counts();
        log::info(format_args!(
            "{} has ended after {:.3} s: {} started, {} finished, {} failed, {} cancelled by plan, {} \
             dropped",
            phase_name(phase),
            report.ended.since(report.started).as_secs_f64(),
            counts.due,
            counts.finished,
            counts.failed,
            counts.cancelled,
            counts.dropped
        ));
        Ok(report)
    }

    /// Shows how a phase goes on until `done` gives something, and stops the run if it must be.
    fn watch<T>(
        &self,
        engine: &mut Engine,
        going: &Going<'_>,
        interrupt: &Interrupt,
        stopped: &mut Option<Stopped>,
        done: impl Fn(&mut Engine) -> Result<Option<T>, EngineError>,
    ) -> Result<T> {
        let Going { plan, load, begun } = going;
        let name = match plan.phase {
            Phase::Warmup => "Warmup",
            Phase::Profiling => "Profiling",
        };
        let requests = match load.mode {
            Mode::FixedSchedule => Some(self.dataset.entries() as u64),
            _ => load.requests,
        };
        let whole = load.duration.unwrap_or(Span::ZERO).nanos();
        // The screen shows it otherwise.
        let ui = match self.settings.ui {
            Ui::Dashboard => Ui::None,
            ui => ui,
        };
        let bar = ui.bar(name, requests.unwrap_or(whole / 1_000_000));
        let mut told = *begun;
        let mut blocks = Blocks::new(self.settings.stats, *begun);
        let done = loop {
            if let Some(done) = done(engine)? {
                break done;
            }
            let counts = engine.progress(plan.phase);
            let ended = counts.finished + counts.failed + counts.cancelled;
            let now = Stamp::now();
            let stage = Stage {
                name,
                begun: *begun,
                requests,
                duration: load.duration,
                concurrency: load.concurrency,
                counts,
            };
            if blocks.due(now)
                && let Some(figures) = self.board.figures().filter(|of| of.phase == plan.phase)
                && let Some(block) = blocks.next(&stage, &figures, now)
            {
                bar.suspend(|| say::line(block));
            }
            bar.set_message(format!(
                "in flight {} failed {} cancelled {}",
                stage.in_flight(),
                counts.failed,
                counts.cancelled
            ));
            if say::says(say::Level::Trace) && now.since(told) >= Span::from_millis(1_000) {
                told = now;
                bar.suspend(|| say::trace(tell(&stage, now)));
            }
            self.board.set_stage(stage);
            bar.set_position(match requests {
                Some(_) => ended,
                None => now.since(*begun).nanos() / 1_000_000,
            });
            if stopped.is_some() {
                continue;
            }
            if interrupt.asked() {
                log::put(log::Level::Warning, "cancelled by the user (Ctrl-C)");
                *stopped = Some(Stopped::now(Why::ByUser));
                // Before the second one, which leaves at once.
                if let Some(screen) = &self.screen {
                    screen.close();
                }
                say::line(
                    "Cancelling: nothing new is sent, what is in flight is dropped, and what there \
                     is will be written. Press Ctrl-C again to leave at once without results.",
                );
                engine.stop();
            } else if plan.phase == Phase::Profiling
                && let Some(too_many) = self.too_many_failed()
            {
                *stopped = Some(Stopped::now(too_many));
                engine.stop();
            }
        };
        bar.finish_and_clear();
        if let Some(stage) = self.board.stage().filter(|stage| stage.name == name) {
            let counts = engine.progress(plan.phase);
            let now = Stamp::now();
            say::debug(tell(&Stage { counts, ..stage }, now));
        }
        Ok(done)
    }

    /// Whether more have failed than `--failed-request-threshold` allows.
    fn too_many_failed(&self) -> Option<Why> {
        let load = &self.settings.load;
        let threshold = load.failed_threshold?;
        let ended = self.tally.ended.load(Ordering::Relaxed);
        let failed = self.tally.failed.load(Ordering::Relaxed);
        let armed = ended >= load.profiling.concurrency.unwrap_or(1).max(10);
        let over = failed as f64 > threshold * ended as f64;
        (armed && over).then_some(Why::TooManyFailed { failed, ended })
    }
}

/// Where a phase is, in words.
fn tell(stage: &Stage, now: Stamp) -> String {
    let counts = &stage.counts;
    format!(
        "{} after {:.1} s: begun {}, answered {}, failed {}, cancelled {}, dropped {}, in flight {}",
        stage.name.to_lowercase(),
        now.since(stage.begun).as_secs_f64(),
        counts.due,
        counts.finished,
        counts.failed,
        counts.cancelled,
        counts.dropped,
        stage.in_flight()
    )
}

/// What is out was ended before its time.
struct Stopped {
    at: Stamp,
    why: Why,
}

enum Why {
    ByUser,
    TooManyFailed { failed: u64, ended: u64 },
}

impl Stopped {
    fn now(why: Why) -> Self {
        let at = Stamp::now();
        Self { at, why }
    }
}

const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Warmup => "warmup",
        Phase::Profiling => "profiling",
    }
}

fn window(report: &PhaseReport, stopped: Option<&Stopped>) -> PhaseWindow {
    let cut_off = stopped.is_some_and(|stopped| stopped.at <= report.ended);
    PhaseWindow {
        start: report.started,
        end: (!cut_off).then_some(report.ended),
    }
}
