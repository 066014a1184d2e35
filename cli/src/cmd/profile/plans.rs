//! What the engine is told of each phase, by the settings.

use std::sync::Arc;

use anyhow::Result;
use pinfire_base::{random::child_seed, ready::Ready, record::Phase};
use pinfire_engine::{
    plan::{PhasePlan, Target},
    schedule::{Arrivals, CancelPlan, Limit, Pace, Schedule, Users},
};

use crate::{
    load::{Mode, PhaseLoad},
    run::{PreparedRun, dataset::Workload},
    settings::{self, Settings},
};

/// What the plans of all phases of a run have in common.
pub struct Plans<'a> {
    pub settings: &'a Settings,
    pub dataset: Arc<Ready>,
    targets: Arc<[Target]>,
    cancel: Option<CancelPlan>,
    /// Keeps the ids of its requests apart from those of any other run.
    id_key: u64,
}

impl<'a> Plans<'a> {
    /// Those of a run.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn of(run: &PreparedRun<'a>) -> Result<Self> {
        Ok(Self {
            settings: run.settings,
            dataset: Arc::clone(&run.workload.bodies),
            targets: Arc::clone(&run.targets),
            cancel: run.workload.cancel.clone(),
            id_key: settings::random_bits()?,
        })
    }

    /// Those of a run that is not made: there is nobody to send to.
    pub fn rehearsed(settings: &'a Settings, workload: &Workload) -> Self {
        Self {
            settings,
            dataset: Arc::clone(&workload.bodies),
            targets: Arc::default(),
            cancel: workload.cancel.clone(),
            id_key: 0,
        }
    }

    /// The plan of a phase, behind so many sessions of those before it.
    pub fn phase(&self, phase: Phase, load: &PhaseLoad, first_session: u64) -> Arc<PhasePlan> {
        let settings = self.settings;
        let cancel = self.cancel.clone();
        let (pace, sessions) = self.pace(phase, load);
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
            backs_off: settings.load.error_backoff,
            prefill: limit(load.prefill, load.prefill_ramp),
            duration: load.duration,
            grace: load.grace,
            cancel: cancel.filter(|_| phase == Phase::Profiling),
            id_key: self.id_key,
            timeout: settings.timeout,
            reuse: settings.reuse,
            keep: settings.keep,
        })
    }

    /// When requests are sent, and in how many sessions at most.
    fn pace(&self, phase: Phase, load: &PhaseLoad) -> (Pace, Option<u64>) {
        match &load.mode {
            Mode::Concurrency => (Pace::Closed, load.sessions),
            Mode::Rate {
                pattern, profile, ..
            } => {
                let seed = child_seed(self.settings.seed.value, phase_name(phase));
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
        }
    }
}

/// What the log and the plan of a dry run call a phase.
pub const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Warmup => "warmup",
        Phase::Profiling => "profiling",
    }
}
