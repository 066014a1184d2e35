//! `pinfire profile`: dataset, engine, analysis and exports put together for one run.

mod collect;
mod dry_run;
pub mod facts;
mod phases;
mod plans;
mod shard_file;
mod view;

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::{Context, Result};
use pinfire_analysis::{
    export::{DEFAULT_WIDTH, write_start},
    reclaim::{ReclaimReport, Verdict},
    report::{External, Report},
};
use pinfire_artifacts::{INPUTS, RESOLVED_CONFIG, RunFolder, Summary};
use pinfire_base::{health::Counts, record::Phase};
use pinfire_cluster::message::Common;
use pinfire_config::RunConfig;
use pinfire_engine::{ReturnFreeMemory, run::Engine};
use pinfire_guard::{hidden, shown_line};
use pinfire_workload::dataset::inputs_json;

pub use self::plans::behind_warmup;
use self::{collect::Collecting, phases::Phases, plans::Plans};
use crate::{
    cluster::Rendezvous,
    exporter,
    inputs::Inputs,
    reclaim::{self, ReclaimCheck},
    run::{PreparedRun, ReachableServers, ReusedEngine, dataset, signals::Interrupt},
    scrape::{page::Scrapers, watch::Watch},
    settings::Settings,
    terminal::{
        log,
        progress::{Board, Ui},
        say,
        screen::Screen,
        stdout::{self, Shows},
    },
};

/// Runs one benchmark. The exit code says whether it can be used.
///
/// # Errors
/// Anything that keeps the run from starting or its results from being written.
pub fn run(config: &RunConfig, dry: bool) -> Result<ExitCode> {
    let settings = Settings::new(config)?;
    say::set_level(settings.log_level);
    for warning in settings.warnings.iter().chain(&settings.load.warnings) {
        say::warning(warning);
    }
    say::debug(config.command_line());
    if dry {
        return dry_run(&settings);
    }
    let interrupt = Interrupt::watch()?;
    let done = one(&settings, &interrupt, None, None)?;
    Ok(done.exit_code())
}

/// A run that has ended, its files written.
pub struct Done {
    /// What became of the requests of the measurement.
    pub counts: Counts,
    /// It can be used.
    pub success: bool,
    /// Why it ended before its time.
    pub interrupted: Option<String>,
    /// What it sums up to, where it is one of several runs.
    pub summary: Option<Summary>,
    /// Whether the server let go of what was cancelled, where that was judged.
    pub release: Option<Verdict>,
}

impl Done {
    /// What the server did is worth more than a run that could not be used for it; but of a run
    /// that cannot be used, «cannot tell» says nothing.
    pub fn exit_code(&self) -> ExitCode {
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
    settings: &Settings,
    interrupt: &Interrupt,
    kept: Option<&mut ReusedEngine>,
    mut rendezvous: Option<&mut Rendezvous>,
) -> Result<Done> {
    let preparing = ReturnFreeMemory::begin();
    let connections = settings.slots().saturating_add(settings.kept_sockets());
    let reachable = ReachableServers::check(settings, connections)?;
    let folder = RunFolder::create(&settings.artifact_dir)?;
    let log_file = open_log(settings)?;
    store_resolved(settings)?;
    let dataset = make_dataset(settings, &folder)?;
    let mut run = PreparedRun::start(settings, reachable, dataset, kept)?;
    if let Some(rendezvous) = &mut rendezvous {
        run.engine.set_anchor(rendezvous.anchor()?);
    }
    say_how(settings, &run.engine);
    if let Some(probe) = &settings.probe {
        probe.wait(&mut run)?;
    }
    let mut facts = facts::of(&run)?;
    facts.log_file = Some(log_file);
    let inputs = settings.share.is_some().then(|| {
        let tokenizer = run.workload.tokenizer_files.as_ref();
        Inputs::of(&settings.config, tokenizer)
    });
    let inputs = inputs.transpose()?;
    if let (Some(rendezvous), Some(inputs)) = (&mut rendezvous, &inputs) {
        rendezvous.has(Common::Files, inputs.files.clone());
        rendezvous.has(Common::Tokenizer, inputs.tokenizer.clone());
    }
    folder.clear(&settings.files)?;
    if let Some(share) = &settings.share {
        share.clear_the_whole(&settings.files)?;
    }
    log::info(&facts.cli_command);
    let watchers = Watchers::start(&mut run, interrupt)?;
    if let Err(error) = write_start(&facts) {
        say::warning(format_args!(
            "{error}; if this run is killed, `pinfire report` will know less of it"
        ));
    }
    let shard = shard_file::begin(&run, inputs.as_ref())?;
    let board = Arc::new(Board::default());
    exporter::show(settings, &board)?;
    let mut plans = Plans::of(&run)?;
    if let Some(rendezvous) = rendezvous.as_deref() {
        plans = plans.shifted_by(rendezvous.behind());
    }
    plans.has_enough_for_shards()?;
    let screen = screen(settings, &board)?;
    // Nothing fails between its start and its end, so that its thread is never left behind.
    let collecting = Collecting::start(facts.clone(), &mut run, Arc::clone(&board))?;
    let phases = Phases {
        plans,
        engine: &mut run.engine,
        interrupt,
        tally: collecting.tally(),
        watch: &watchers.watch,
        board,
        screen,
        rendezvous: rendezvous.as_deref_mut(),
    };
    watchers.watch.wait_for_baseline();
    drop(preparing);
    interrupt.sending();
    let load = phases.run();
    // What still reads the metrics of the embedded server does so until the end of this function.
    let _embedded = run.end_load(load.lost.is_none());
    let Watchers { check, watch } = watchers;
    if let Some(check) = &check {
        check.load_has_ended();
    }
    let observed = watch.finish(&load.end, &facts, interrupt);
    let stopped = interrupt.asked() || load.lost.is_some();
    let collected = collecting.finish(load.end, settings.ui)?;
    let verdict = check.map(|check| match stopped {
        true => Err(anyhow::anyhow!("the run was stopped")),
        false => check.finish(collected.requests, interrupt),
    });
    let lost = load.lost;
    let lost = lost.or_else(|| folder.check([]).err().map(Into::into));
    let lost = lost.or(collected.unwritten.map(Into::into));
    let (report, last) = (&collected.report, collected.last);
    let shard = shard.map(|shard| match rendezvous {
        Some(rendezvous) => shard_file::in_common(shard, rendezvous),
        None => shard,
    });
    let shard = shard_file::end(settings, shard, &report.end, last, lost.is_some());
    let lost = lost.or(shard.err());
    Results {
        report: collected.report,
        external: observed.external,
        release: None,
    }
    .judged(verdict, settings, interrupt)
    .publish(
        settings,
        &folder,
        load.gave_up,
        lost.or(observed.unwritten.map(Into::into)),
    )
}

/// Opens the log in the artifact folder.
fn open_log(settings: &Settings) -> Result<PathBuf> {
    let folder = &settings.artifact_dir;
    log::open(folder).with_context(|| {
        format!(
            "the artifact folder {} cannot be written to",
            folder.display()
        )
    })
}

/// Makes the dataset, says what is odd about it, and writes what is sent beside the results, if
/// that is not in a file already; what an earlier run has sent is taken away then.
fn make_dataset(settings: &Settings, folder: &RunFolder) -> Result<dataset::Prepared> {
    let prepared = dataset::prepare(settings)?;
    for warning in &prepared.warnings {
        say::warning(warning);
    }
    let inputs = inputs_json::write(folder.path(), &prepared.dataset)?;
    if inputs.is_none() {
        folder.remove(INPUTS)?;
    }
    Ok(prepared)
}

/// Who reads the servers' metrics besides the load.
struct Watchers<'a> {
    /// Around the run, for `--verify-release`.
    check: Option<ReclaimCheck<'a>>,
    /// During the run, for its files.
    watch: Watch,
}

impl<'a> Watchers<'a> {
    /// Begins to watch. The check sends its first request alone, before the run's own.
    fn start(run: &mut PreparedRun<'a>, interrupt: &Interrupt) -> Result<Self> {
        let settings = run.settings;
        // Both take what they need from the same scrapes of a page.
        let mut scrapers = Scrapers::new(&settings.watch.trust, &settings.places.rest);
        let check = if settings.verify_release {
            interrupt.sending();
            Some(ReclaimCheck::start(run, &mut scrapers, interrupt)?)
        } else {
            // A check needs its samples in time; files can wait.
            scrapers = scrapers.yielding_where(settings.places.are_crowded());
            None
        };
        let watch = Watch::start(run, &mut scrapers);
        Ok(Self { check, watch })
    }
}

/// What came of a run, before it is shown and written.
struct Results {
    report: Report,
    external: External,
    release: Option<Verdict>,
}

impl Results {
    /// With the verdict on what the server let go of, if there was to be one.
    fn judged(
        mut self,
        found: Option<Result<ReclaimReport>>,
        settings: &Settings,
        interrupt: &Interrupt,
    ) -> Self {
        let Some(found) = found else { return self };
        match found.and_then(|found| Ok((reclaim::write(settings, &found)?, found))) {
            Ok((path, found)) => {
                self.release = Some(found.verdict);
                self.external.files.push(("Release Check", path));
                self.report.release = Some(found);
            }
            Err(error) => {
                // The run's results are written all the same.
                self.release = (!interrupt.asked()).then_some(Verdict::CannotTell);
                say::warning(format_args!(
                    "there is no verdict on what the server let go of: {error:#}"
                ));
            }
        }
        self
    }

    /// Writes and shows all there is; only then does what went wrong, `lost`, decide.
    fn publish(
        mut self,
        settings: &Settings,
        folder: &RunFolder,
        gave_up: bool,
        lost: Option<anyhow::Error>,
    ) -> Result<Done> {
        self.report.add_external(self.external);
        let report = self.report;
        let width = settings.console_width.unwrap_or(DEFAULT_WIDTH);
        let written = report.write(width);
        let written = written.and_then(|written| report.forget_start().map(|()| written));
        let is_led_here = settings.share.as_ref().is_some_and(|own| own.is_led_here);
        if settings.part.is_none() && !is_led_here {
            stdout::report(&report, width, written.as_ref().ok(), settings.shows);
        }
        log::outcome(&report);
        if let Some(lost) = lost {
            return Err(lost);
        }
        let written = written?;
        let resolved = folder.path().join(RESOLVED_CONFIG);
        let named = report.files(Some(&written)).into_iter();
        folder.check(named.map(|(_, path)| path).chain([resolved.as_path()]))?;
        log::info(format_args!(
            "the results are in {}",
            settings.artifact_dir.display()
        ));
        // Last of all files: whoever waits for it may read all others.
        report.mark_ready()?;
        Ok(Done {
            counts: report.end.counts,
            success: !gave_up && (report.is_success() || has_no_share(settings, &report)),
            summary: settings.part.as_ref().map(|_| report.summary()),
            interrupted: report.end.interrupted,
            release: self.release,
        })
    }
}

/// Whether the process is a shard that has no part in so few requests: it did all that was its own.
fn has_no_share(settings: &Settings, report: &Report) -> bool {
    let end = &report.end;
    let whole = end.interrupted.is_none() && end.profiling.is_some_and(|one| one.end.is_some());
    let nothing = settings.share.is_some() && whole && end.counts.due == 0;
    if let (true, Some(share)) = (nothing, &settings.share) {
        say::warning(format_args!(
            "shard {} of {} had nothing to send: all requests belong to the others; take fewer shards",
            share.shard.index(),
            share.shard.count()
        ));
    }
    nothing
}

/// Writes the config file that repeats the run.
fn store_resolved(settings: &Settings) -> Result<()> {
    let path = settings.artifact_dir.join(RESOLVED_CONFIG);
    let folder = std::env::current_dir().unwrap_or_default();
    let text = format!(
        "# The run as it was. In the folder {}\n# this repeats it: pinfire profile --config {}\n{}",
        shown_line(&folder.to_string_lossy()),
        shown_line(&path.to_string_lossy()),
        without_credentials(&settings.config.yaml())
    );
    std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
}

/// A config file in which no value holds what is a credential elsewhere.
pub fn without_credentials(yaml: &str) -> String {
    let line = |line: &str| match line.split_once(": ") {
        Some((key, value)) => format!("{key}: {}\n", hidden(value)),
        None => format!("{line}\n"),
    };
    yaml.lines().map(line).collect()
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
    Screen::start(shown_line(&title).into_owned(), Arc::clone(board), cpus).map(Some)
}

fn say_how(settings: &Settings, engine: &Engine) {
    let granted = engine.granted();
    let cpus = settings
        .places
        .in_words(granted.iter().map(|core| core.cpu));
    let driver = granted.first().map_or("?", |core| core.driver.name());
    let of = settings.share.as_ref().map_or_else(String::new, |share| {
        let shard = share.shard;
        format!(
            " over {} shards, of which this is {}",
            shard.count(),
            shard.index()
        )
    });
    let how = format!(
        "pinfire {}: {}{of}, to {}; engine on {} ({driver}, timers: {}); seed {}",
        env!("CARGO_PKG_VERSION"),
        settings.load.profiling,
        settings.transport.urls.join(", "),
        cpus,
        settings.engine.precision.name(),
        settings.seed.value,
    );
    log::info(&how);
    if settings.part.is_none() && settings.shows != Shows::Headline {
        stdout::plain(&format!("{how}\n"));
    }
    if let Some(reason) = granted
        .iter()
        .find_map(|core| core.realtime_refused.as_ref())
    {
        say::warning(format_args!(
            "--realtime was refused ({reason}); going on at ordinary priority"
        ));
    }
    if let Some(reason) = granted.iter().find_map(|core| core.uring_refused.as_ref()) {
        say::warning(format_args!(
            "io_uring cannot be used here, going on with epoll: {reason}"
        ));
    }
    let wanted = settings.places.engine.iter().map(Option::is_some);
    if wanted
        .zip(granted)
        .any(|(wanted, core)| wanted && core.cpu.is_none())
    {
        say::warning("a core thread could not be pinned; its times will be less steady");
    }
}

/// Prints what would be sent. The dataset is made as for a run; nothing is written, no socket
/// opened.
fn dry_run(settings: &Settings) -> Result<ExitCode> {
    let prepared = dataset::prepare(settings)?;
    for warning in &prepared.warnings {
        say::warning(warning);
    }
    let plans = Plans::rehearsed(settings, &prepared.split(settings)?);
    plans.has_enough_for_shards()?;
    let mut sent = 0;
    if let Some(warmup) = &settings.load.warmup {
        dry_run::print(Phase::Warmup, &plans, warmup, 0)?;
        let whole = plans.whole(Phase::Warmup, warmup, 0);
        sent = plans::sessions_taken(&whole);
        if settings.share.is_some() && whole.schedule.single {
            sent = plans::behind_warmup(settings).unwrap_or(sent);
        }
    }
    dry_run::print(Phase::Profiling, &plans, &settings.load.profiling, sent)?;
    Ok(ExitCode::SUCCESS)
}
