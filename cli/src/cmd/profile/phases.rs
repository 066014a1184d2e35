//! The phases of a run, one after the other, and what ends them before their time.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::Result;
use pinfire_analysis::facts::{PhaseWindow, RunEnd};
use pinfire_base::{
    cgroup::{CpuQuotaUse, Groups},
    clock::{Span, Stamp},
    health::Counts,
    record::Phase,
};
use pinfire_cluster::message::{Answers, Scope};
use pinfire_engine::{
    plan::PhasePlan,
    report::{EngineError, PhaseReport},
    run::Engine,
};

use super::{
    collect::Tally,
    plans::{Plans, phase_name},
    view::PhaseView,
};
use crate::{
    cluster::{Ended, Rendezvous},
    load::{Mode, PhaseLoad},
    run::signals::Interrupt,
    scrape::watch::Watch,
    terminal::{log, progress::Board, say, screen::Screen},
};

/// How often the control side looks at progress and at Ctrl-C.
const TICK: Duration = Duration::from_millis(50);

/// So long after its beginning a phase without a single answer is worth a word.
const SILENCE: Span = Span::from_millis(3_000);

/// The phases of a run. The measurement follows the warmup, or with `--warmup-seamless` its last
/// request.
pub struct Phases<'a> {
    pub plans: Plans<'a>,
    pub engine: &'a mut Engine,
    pub interrupt: &'a Interrupt,
    /// How the answers are so far.
    pub tally: Arc<Tally>,
    /// Scrapes the servers' metrics at the boundaries.
    pub watch: &'a Watch,
    pub board: Arc<Board>,
    pub screen: Option<Screen>,
    /// Where several processes make the run: when each phase begins, and whether all stop.
    pub rendezvous: Option<&'a mut Rendezvous>,
}

/// How the load has ended.
pub struct LoadEnd {
    /// What the report is told of it, as far as it came.
    pub end: RunEnd,
    /// Too many requests failed.
    pub gave_up: bool,
    /// The engine is gone.
    pub lost: Option<anyhow::Error>,
}

/// A phase that has been begun.
pub struct Going<'a> {
    pub plan: Arc<PhasePlan>,
    pub load: &'a PhaseLoad,
    pub begun: Stamp,
}

/// What the warmup leaves to the measurement.
#[derive(Default)]
struct Warmed<'a> {
    /// Sessions it has taken.
    sessions: u64,
    /// The warmup itself, where the measurement does not wait for its answers.
    draining: Option<Going<'a>>,
}

/// What is out was ended before its time.
struct Stopped {
    at: Stamp,
    why: Why,
}

#[derive(Clone)]
enum Why {
    ByUser,
    /// The leader of the shards says so, or is gone.
    ByOthers(Ended),
    TooManyFailed {
        failed: u64,
        ended: u64,
    },
}

impl Phases<'_> {
    /// Runs them to their end.
    pub fn run(self) -> LoadEnd {
        let mut load = LoadEnd {
            end: RunEnd::default(),
            gave_up: false,
            lost: None,
        };
        let mut running = Running {
            phases: self,
            stopped: None,
            told_of_silence: false,
        };
        if let Err(lost) = running.run(&mut load) {
            load.gave_up = false;
            load.lost = Some(lost);
        }
        load
    }
}

/// The phases while they run.
struct Running<'a> {
    phases: Phases<'a>,
    stopped: Option<Stopped>,
    told_of_silence: bool,
}

impl<'a> Running<'a> {
    fn run(&mut self, done: &mut LoadEnd) -> Result<()> {
        let settings = self.phases.plans.settings;
        if settings.load.seamless {
            let slots = settings.slots();
            Engine::make_room_for(usize::try_from(slots).unwrap_or(usize::MAX));
        }
        let warmed = match &settings.load.warmup {
            Some(load) => self.warm_up(load, &mut done.end)?,
            None => Warmed::default(),
        };
        if self.stopped.is_none() {
            self.measure(&settings.load.profiling, warmed.sessions, &mut done.end)?;
        }
        let why = self.stopped.as_ref().map(|stopped| stopped.why.clone());
        done.gave_up = matches!(why, Some(Why::TooManyFailed { .. }));
        done.end.interrupted = why.map(Why::in_words);
        // Whatever stops the rest of the warmup now, the measurement is whole.
        if let Some(warmup) = warmed.draining {
            let report = self.end_of(&warmup)?;
            self.warmed(&report, &mut done.end);
        }
        Ok(())
    }

    /// Runs the warmup: to its end, or until its last request is sent.
    fn warm_up(&mut self, load: &'a PhaseLoad, end: &mut RunEnd) -> Result<Warmed<'a>> {
        let Some(going) = self.begin(Phase::Warmup, load, 0) else {
            return Ok(Warmed::default());
        };
        let plan = Arc::clone(&going.plan);
        let mut draining = None;
        if self.phases.plans.settings.load.seamless {
            self.wait_for(&going, |engine| {
                let all_sent = engine.wait_for_last_send(Phase::Warmup, TICK)?;
                Ok(all_sent.then_some(()))
            })?;
            draining = Some(going);
        } else {
            let report = self.end_of(&going)?;
            self.warmed(&report, end);
            self.phases.watch.between();
        }
        if self.phases.interrupt.asked() && self.stopped.is_none() {
            self.phases.engine.stop();
            self.stopped = Some(Stopped::now(Why::ByUser));
        }
        let sessions = self.phases.plans.behind(&plan);
        Ok(Warmed { sessions, draining })
    }

    /// Notes the end of the warmup.
    fn warmed(&self, report: &PhaseReport, end: &mut RunEnd) {
        end.warmup = Some(self.window(report));
        for core in &report.cores {
            end.warmup_stamps.add(&core.health.receive_stamps);
        }
    }

    /// Runs the measured phase, behind so many sessions of the warmup.
    fn measure(&mut self, load: &'a PhaseLoad, sessions: u64, end: &mut RunEnd) -> Result<()> {
        let groups = Groups::of_cpu();
        let before = groups.as_ref().map(Groups::throttling);
        let Some(going) = self.begin(Phase::Profiling, load, sessions) else {
            return Ok(());
        };
        let report = self.end_of(&going)?;
        end.cpu_quota = groups.zip(before).and_then(|(groups, before)| {
            let throttling = groups.throttling().since(&before);
            let quota = groups.cpu_quota()?;
            Some(CpuQuotaUse { quota, throttling })
        });
        end.profiling = Some(self.window(&report));
        end.counts = report.counts();
        let granted = self.phases.engine.granted();
        let cores = report.cores.into_iter().zip(granted);
        end.cores = cores
            .map(|(core, granted)| {
                let mut health = core.health;
                health.cpu = granted.cpu;
                health
            })
            .collect();
        Ok(())
    }

    /// Begins a phase; where several processes make the run, when all are ready for it. `None` if
    /// the run ends before.
    fn begin(
        &mut self,
        phase: Phase,
        load: &'a PhaseLoad,
        first_session: u64,
    ) -> Option<Going<'a>> {
        let plan = self.phases.plans.phase(phase, load, first_session);
        let step = self.step(phase);
        let interrupt = self.phases.interrupt;
        let common = self.phases.rendezvous.as_mut();
        let begun = match common.map(|rendezvous| rendezvous.begin(step, interrupt)) {
            None => {
                let now = Stamp::now();
                self.phases.engine.begin(&plan);
                now
            }
            Some(Ok(started)) => {
                self.phases.engine.begin_at(&plan, started.zero);
                let ahead = started.zero.since(Stamp::now()).nanos();
                std::thread::sleep(Duration::from_nanos(ahead));
                started.zero
            }
            Some(Err(ended)) => {
                // The rest of a warmup ends too.
                self.stop(Why::ByOthers(ended));
                return None;
            }
        };
        log::info(format_args!("{} begins: {load}", phase_name(phase)));
        say::debug(format_args!("{} begins: {load}", phase_name(phase)));
        self.phases.watch.begin(phase);
        Some(Going { plan, load, begun })
    }

    /// A phase's place among those of the run.
    fn step(&self, phase: Phase) -> u32 {
        let warmup = self.phases.plans.settings.load.warmup.is_some();
        u32::from(phase == Phase::Profiling && warmup)
    }

    /// Waits for the end of a phase.
    fn end_of(&mut self, going: &Going<'_>) -> Result<PhaseReport> {
        let phase = going.plan.phase;
        let report = self.wait_for(going, |engine| engine.wait(phase, TICK))?;
        let counts = report.counts();
        log::info(format_args!(
            "{} has ended after {:.3} s: {} started, {} answered, {} broken, {} cancelled by plan, {} \
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
    fn wait_for<T>(
        &mut self,
        going: &Going<'_>,
        done: impl Fn(&mut Engine) -> Result<Option<T>, EngineError>,
    ) -> Result<T> {
        let phase = going.plan.phase;
        let board = Arc::clone(&self.phases.board);
        let plans = &self.phases.plans;
        let entries = plans.dataset.entries() as u64;
        let common = self.phases.rendezvous.as_ref();
        let of_all = common.is_some_and(|rendezvous| rendezvous.whole.is_some());
        let mut view = PhaseView::new(plans.settings, going, entries, &board, of_all);
        let done = loop {
            if let Some(done) = done(self.phases.engine)? {
                break done;
            }
            let counts = self.phases.engine.progress(phase);
            let common = self.phases.rendezvous.as_ref();
            let of_all = common.and_then(|rendezvous| rendezvous.of_all());
            view.show(of_all.unwrap_or(counts));
            self.tell_of_silence(going, &counts);
            if let Some(rendezvous) = &self.phases.rendezvous {
                rendezvous.beat(self.step(phase), &counts, self.answers());
            }
            if self.stopped.is_none()
                && let Some(why) = self.reason_to_stop(phase)
            {
                self.stop(why);
            }
        };
        view.close(self.phases.engine.progress(phase));
        Ok(done)
    }

    /// Says once that nothing is answered, where the slots of a closed loop rest for that: the run
    /// takes longer than it would at full speed.
    fn tell_of_silence(&mut self, going: &Going<'_>, counts: &Counts) {
        let rests = self.phases.plans.settings.load.error_backoff
            && matches!(going.load.mode, Mode::Concurrency);
        let silent = counts.failed > 0 && counts.finished == 0;
        if rests && silent && !self.told_of_silence && Stamp::now().since(going.begun) >= SILENCE {
            self.told_of_silence = true;
            say::warning(format_args!(
                "nothing has been answered yet, and {} requests have failed: slots rest for up to 1 s \
                 between two of them. Ctrl-C ends the run with what there is; --no-error-backoff goes \
                 on at full speed",
                counts.failed
            ));
        }
    }

    fn reason_to_stop(&mut self, phase: Phase) -> Option<Why> {
        let common = self.phases.rendezvous.as_mut();
        if let Some(ended) = common.and_then(|rendezvous| rendezvous.ended()) {
            return Some(Why::ByOthers(ended.clone()));
        }
        match self.phases.interrupt.asked() {
            true => Some(Why::ByUser),
            // Of a run that several processes make together, the leader judges the whole.
            false if phase == Phase::Profiling && self.phases.rendezvous.is_none() => {
                self.too_many_failed()
            }
            false => None,
        }
    }

    /// Sends nothing more and drops what is in flight.
    fn stop(&mut self, why: Why) {
        self.stopped = Some(Stopped::now(why.clone()));
        // Who has heard it from the others need not tell them.
        if let Some(rendezvous) = &mut self.phases.rendezvous
            && !matches!(why, Why::ByOthers(_))
        {
            let scope = match why {
                Why::ByUser => Scope::Series,
                Why::ByOthers(_) | Why::TooManyFailed { .. } => Scope::Run,
            };
            rendezvous.stop(&why.clone().in_words(), scope);
        }
        if matches!(why, Why::ByUser) {
            log::put(log::Level::Warning, "cancelled by the user (Ctrl-C)");
            // Before the second one, which leaves at once.
            if let Some(screen) = &self.phases.screen {
                screen.close();
            }
            say::line(
                "Cancelling: nothing new is sent, what is in flight is dropped, and what there is will \
                 be written. Press Ctrl-C again to leave at once without results.",
            );
        }
        self.phases.engine.stop();
    }

    /// Whether more have failed than `--failed-request-threshold` allows.
    fn too_many_failed(&self) -> Option<Why> {
        let load = &self.phases.plans.settings.load;
        let threshold = load.failed_threshold?;
        let Answers { ended, failed } = self.answers();
        let armed = ended >= load.judged_from(self.phases.plans.settings.shard());
        let over = failed as f64 > threshold * ended as f64;
        (armed && over).then_some(Why::TooManyFailed { failed, ended })
    }

    /// How the answers of the measurement are so far.
    fn answers(&self) -> Answers {
        Answers {
            ended: self.phases.tally.ended.load(Ordering::Relaxed),
            failed: self.phases.tally.failed.load(Ordering::Relaxed),
        }
    }

    fn window(&self, report: &PhaseReport) -> PhaseWindow {
        let stopped = self.stopped.as_ref();
        let cut_off = stopped.is_some_and(|stopped| stopped.at <= report.ended);
        PhaseWindow {
            start: report.started,
            end: (!cut_off).then_some(report.ended),
        }
    }
}

impl Stopped {
    fn now(why: Why) -> Self {
        let at = Stamp::now();
        Self { at, why }
    }
}

impl Why {
    fn in_words(self) -> String {
        match self {
            Self::ByOthers(ended) => ended.in_words(),
            Self::ByUser => "cancelled by the user (Ctrl-C)".to_owned(),
            Self::TooManyFailed { failed, ended } => format!(
                "{failed} of {ended} requests failed, more than --failed-request-threshold allows"
            ),
        }
    }
}
