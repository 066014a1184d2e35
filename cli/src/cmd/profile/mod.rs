//! `pinfire profile`: dataset, engine, analysis and exports put together for one run.

mod collect;
mod command_line;
mod dataset;
mod facts;

use std::{
    io::{IsTerminal, Write},
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use pinfire_analysis::{
    export::DEFAULT_WIDTH,
    facts::{PhaseWindow, RunEnd},
};
use pinfire_engine::{
    dataset::{Dataset, url::TargetUrl},
    plan::PhasePlan,
    record::Phase,
    request::RequestHead,
    run::{Engine, PhaseReport},
    schedule::{CancelPlan, ClosedLoop},
};
use pinfire_tools::mock;

use self::collect::Collecting;
use crate::{
    args::Profile,
    place,
    request::HeaderPlan,
    say,
    settings::{self, Server, Settings},
    signals::Interrupt,
};

/// How often the control side looks at progress and at Ctrl-C.
const LOOK: Duration = Duration::from_millis(50);

/// Runs one benchmark. The exit code says whether it can be used.
///
/// # Errors
/// Anything that keeps the run from starting or its results from being written.
pub fn run(flags: &Profile, arguments: &[String]) -> Result<ExitCode> {
    let settings = Settings::new(flags)?;
    let interrupt = Interrupt::watch()?;
    let embedded = matches!(settings.server, Server::Embedded);
    let sides = if embedded { 2 } else { 1 };
    place::grant_descriptors(
        settings.slots().saturating_mul(sides),
        settings.places.engine.len(),
    )?;
    std::fs::create_dir_all(&settings.artifact_dir).with_context(|| {
        format!(
            "the artifact folder {} cannot be made",
            settings.artifact_dir.display()
        )
    })?;

    let prepared = dataset::prepare(&settings)?;
    for warning in &prepared.warnings {
        say::warning(warning);
    }
    let inputs =
        pinfire_engine::dataset::inputs_json::write(&settings.artifact_dir, &prepared.dataset);
    if let Err(error) = inputs {
        say::warning(error);
    }

    // From here on this thread only waits; it and the threads it makes stay off the engine's CPUs.
    place::stay_on(&settings.places.rest);
    let (target, address, mock) = server(&settings)?;
    let head = HeaderPlan {
        target: &target,
        custom: &settings.headers,
        api_key: settings.api_key.as_deref(),
        streaming: settings.bodies.streaming,
        session_header: &settings.session_header,
        affinity: settings.affinity,
        close: settings.reuse == pinfire_engine::plan::Reuse::Never,
    }
    .head()?;
    let mut engine = Engine::start(&settings.engine)?;
    say_how(&settings, &engine);

    let facts = facts::of(&settings, &prepared, &engine, arguments)?;
    let (bodies, entries) = split(prepared.dataset);
    let collecting = Collecting::start(
        facts,
        entries,
        prepared.tokenizer,
        engine.records(),
        &settings,
    )?;
    let phases = Phases {
        settings: &settings,
        address,
        head,
        bodies,
        id_key: settings::random_bits()?,
    };
    interrupt.sending();
    let mut end = RunEnd::default();
    let lost = phases.run(&mut engine, &interrupt, &mut end).err();
    drop(engine);
    if let Some(mock) = mock {
        drop(mock.stop());
    }
    let (report, unwritten) = collecting.finish(end, settings.ui)?;

    let width = settings.console_width.unwrap_or(DEFAULT_WIDTH);
    let written = report.write(width);
    let mut stdout = std::io::stdout().lock();
    let terminal = stdout.is_terminal();
    let shown = if terminal {
        terminal_width().unwrap_or(width)
    } else {
        width
    };
    let colour = terminal && std::env::var_os("NO_COLOR").is_none();
    let mut text = String::new();
    if settings.trace_table {
        text.push_str(&report.trace_table(shown, colour));
    }
    text.push_str(&report.console(shown, colour));
    text.push_str(&report.footer(written.as_ref().ok()));
    // A reader that has gone away (a closed pipe) is no failure of the run.
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    // What is there has been shown and written; only then does what went wrong decide.
    if let Some(lost) = lost {
        return Err(lost);
    }
    if let Some(unwritten) = unwritten {
        return Err(unwritten.into());
    }
    written?;
    Ok(report.exit_code())
}

/// Where the requests go; starts the embedded server if it is that one.
fn server(settings: &Settings) -> Result<(TargetUrl, SocketAddr, Option<mock::Handle>)> {
    match &settings.server {
        Server::Remote(target) => Ok((target.clone(), settings::resolve(target)?, None)),
        Server::Embedded => {
            let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let server = mock::Server::bind(mock::Script::default(), anywhere, None)
                .context("the embedded server cannot start")?;
            let address = server.local_addr();
            let cpu = settings.places.rest.first().copied();
            let handle = server
                .spawn(cpu)
                .context("the embedded server cannot start")?;
            let target = TargetUrl::join(&format!("http://{address}"), &settings.endpoint_path)?;
            Ok((target, address, Some(handle)))
        }
    }
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
    // As for the results: a reader that has gone away is no failure of the run.
    let _ = writeln!(
        std::io::stdout(),
        "pinfire {}: {} requests, {} at once, to {}; engine on {} ({driver}, timers: {}); seed {}",
        env!("CARGO_PKG_VERSION"),
        settings.requests,
        settings.concurrency,
        settings.url_as_given,
        cpus.join(", "),
        settings.engine.precision.name(),
        settings.seed.value,
    );
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

type Entries = Arc<[pinfire_analysis::facts::EntryFacts]>;

/// The bodies go to the cores, the rest to the analysis; both turn by turn, so that a record's entry
/// is the place of its turn among all turns.
fn split(dataset: Dataset) -> (Arc<Vec<Vec<u8>>>, Entries) {
    let turns = dataset.conversations.into_iter().flat_map(|conversation| {
        let session_id = conversation.session_id;
        (0..).zip(conversation.turns).map(move |(place, turn)| {
            let facts = pinfire_analysis::facts::EntryFacts {
                session_id: session_id.clone(),
                turn: place,
                isl: turn.isl,
                requested_osl: turn.osl,
            };
            (turn.body, facts)
        })
    });
    let (bodies, entries): (Vec<_>, Vec<_>) = turns.unzip();
    (Arc::new(bodies), entries.into())
}

/// The phases of the run, one after the other.
struct Phases<'a> {
    settings: &'a Settings,
    address: SocketAddr,
    head: RequestHead,
    bodies: Arc<Vec<Vec<u8>>>,
    id_key: u64,
}

impl Phases<'_> {
    fn run(&self, engine: &mut Engine, interrupt: &Interrupt, end: &mut RunEnd) -> Result<()> {
        let mut sent = 0;
        let mut cut_off = false;
        if let Some(warmup) = self.settings.warmup {
            let plan = self.plan(Phase::Warmup, warmup.requests, warmup.concurrency, 0);
            let (report, stopped) = self.phase(engine, &plan, interrupt)?;
            end.warmup = Some(window(&report, stopped));
            sent = plan.schedule.taken();
            cut_off = stopped || interrupt.asked();
        }
        if !cut_off {
            let settings = self.settings;
            let plan = self.plan(
                Phase::Profiling,
                settings.requests,
                settings.concurrency,
                sent,
            );
            let (report, stopped) = self.phase(engine, &plan, interrupt)?;
            cut_off = stopped;
            end.profiling = Some(window(&report, stopped));
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
        if cut_off {
            end.interrupted = Some("cancelled by the user (Ctrl-C)".to_owned());
        }
        Ok(())
    }

    fn plan(
        &self,
        phase: Phase,
        requests: u64,
        concurrency: u64,
        first_entry: u64,
    ) -> Arc<PhasePlan> {
        let settings = self.settings;
        let cancel = settings
            .cancellation
            .filter(|_| phase == Phase::Profiling)
            .map(|(rate, delay)| CancelPlan::new(settings.seed.value, rate, delay));
        Arc::new(PhasePlan {
            phase,
            address: self.address,
            head: self.head.clone(),
            bodies: Arc::clone(&self.bodies),
            first_entry,
            schedule: ClosedLoop::new(requests),
            // More slots than requests would only be counted, never used.
            concurrency: usize::try_from(concurrency.min(requests)).unwrap_or(usize::MAX),
            cancel,
            id_key: self.id_key,
            timeout: settings.timeout,
            reuse: settings.reuse,
            receive_stamps: true,
        })
    }

    fn phase(
        &self,
        engine: &mut Engine,
        plan: &Arc<PhasePlan>,
        interrupt: &Interrupt,
    ) -> Result<(PhaseReport, bool)> {
        let (name, total) = match plan.phase {
            Phase::Warmup => (
                "Warmup",
                self.settings.warmup.map_or(0, |warmup| warmup.requests),
            ),
            Phase::Profiling => ("Profiling", self.settings.requests),
        };
        let bar = self.settings.ui.bar(name, total);
        engine.begin(plan);
        let mut stopped = false;
        let report = loop {
            if let Some(report) = engine.wait(LOOK)? {
                break report;
            }
            let counts = engine.progress();
            let ended = counts.finished + counts.failed + counts.cancelled;
            bar.set_position(ended);
            bar.set_message(format!(
                "in flight {} failed {} cancelled {}",
                counts.due.saturating_sub(ended + counts.dropped),
                counts.failed,
                counts.cancelled
            ));
            if interrupt.asked() && !stopped {
                stopped = true;
                say::line(
                    "Cancelling: nothing new is sent, what is in flight is dropped, and what there \
                     is will be written. Press Ctrl-C again to leave at once without results.",
                );
                engine.stop();
            }
        };
        bar.finish_and_clear();
        Ok((report, stopped))
    }
}

fn window(report: &PhaseReport, cut_off: bool) -> PhaseWindow {
    PhaseWindow {
        start: report.started,
        end: (!cut_off).then_some(report.ended),
    }
}

fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0).then(|| usize::from(size.ws_col))
}
