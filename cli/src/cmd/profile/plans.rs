//! What the engine is told of each phase, by the settings.

use std::sync::{Arc, atomic::AtomicI64};

use anyhow::Result;
use pinfire_base::{random::child_seed, ready::Ready, record::Phase, shard::Shard};
use pinfire_engine::{
    plan::{PhasePlan, Target},
    run::rehearse,
    schedule::{Arrivals, CancelPlan, Limit, Pace, Pattern, RateProfile, Schedule, Users},
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
            id_key: match run.settings.share.as_ref().and_then(|share| share.id_key) {
                Some(key) => key,
                None => settings::random_bits()?,
            },
        })
    }

    /// The same with waves that come later as this says.
    pub fn shifted_by(mut self, shift: Arc<AtomicI64>) -> Self {
        self.cancel = self.cancel.map(|cancel| cancel.shifted_by(shift));
        self
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

    /// Whether each shard has a session of a recorded schedule, whose length only the file says.
    ///
    /// # Errors
    /// There are more shards than sessions.
    pub fn has_enough_for_shards(&self) -> Result<()> {
        let settings = self.settings;
        let sessions = self.dataset.conversations();
        match (&settings.share, &settings.load.profiling.mode) {
            (Some(share), Mode::FixedSchedule) => {
                share.all_have_one(&settings.config, sessions as u64)
            }
            _ => Ok(()),
        }
    }

    /// The plan of a phase, behind so many sessions of those before it.
    pub fn phase(&self, phase: Phase, load: &PhaseLoad, first_session: u64) -> Arc<PhasePlan> {
        self.of_shard(self.settings.shard(), phase, load, first_session)
    }

    /// The plan of a phase for all shards together.
    pub fn whole(&self, phase: Phase, load: &PhaseLoad, first_session: u64) -> Arc<PhasePlan> {
        self.of_shard(Shard::WHOLE, phase, load, first_session)
    }

    /// Sessions of the dataset that a warmup which has ended leaves behind the measurement.
    pub fn behind(&self, warmup: &PhasePlan) -> u64 {
        let (schedule, taken) = (&warmup.schedule, warmup.schedule.sessions.taken());
        let shard = schedule.shard;
        if shard.is_whole() {
            return taken;
        }
        let known = schedule.single.then(|| behind_warmup(self.settings));
        // What the server decides is another number in each shard: whole rounds of the numbers
        // leave every shard the conversations that are its own.
        known
            .flatten()
            .unwrap_or_else(|| taken.div_ceil(shard.block().into()) * shard.round())
    }

    fn of_shard(
        &self,
        shard: Shard,
        phase: Phase,
        load: &PhaseLoad,
        first_session: u64,
    ) -> Arc<PhasePlan> {
        let settings = self.settings;
        let cancel = self.cancel.clone();
        let (pace, sessions) = self.pace(phase, load);
        let limit = |slots: Option<u64>, ramp| {
            // More slots than sessions would only be counted, never used. One shard may have a few
            // more of the sessions than another.
            let most = match phase {
                Phase::Warmup => load.requests.unwrap_or(u64::MAX),
                Phase::Profiling => settings.load.most_open(),
            };
            let most = most.div_ceil(shard.round()).saturating_mul(shard.round());
            let slots = slots?.min(most);
            let slots = usize::try_from(slots).unwrap_or(usize::MAX);
            Some(Limit { slots, ramp, shard })
        };
        // A fixed schedule begins at its first entry, whatever a warmup has sent.
        let first_session = match load.mode {
            Mode::FixedSchedule => 0,
            _ => first_session,
        };
        Arc::new(PhasePlan {
            phase,
            targets: Arc::clone(&self.targets),
            dialling: settings.transport.dialling.clone(),
            answers: settings.answers.clone(),
            dataset: Arc::clone(&self.dataset),
            sampling: settings.sampling,
            first_session,
            schedule: Schedule::of(
                shard,
                pace,
                self.dataset.is_single(),
                [load.requests, sessions],
            ),
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
                let arrivals = arrivals(self.settings, phase, *pattern, profile);
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

/// Where the sessions of the measurement begin in the dataset, if each is one request and that is
/// known before the warmup: all shards must begin at the same place. How far a closed loop gets in
/// a time is up to the server.
pub fn behind_warmup(settings: &Settings) -> Option<u64> {
    let load = settings.load.warmup.as_ref()?;
    let counted = [load.requests, load.sessions].into_iter().flatten().min();
    let Some(duration) = load.duration else {
        return counted;
    };
    let Mode::Rate {
        pattern, profile, ..
    } = &load.mode
    else {
        return None;
    };
    let mut walk = arrivals(settings, Phase::Warmup, *pattern, profile).walk();
    if walk.is_burst() {
        return counted;
    }
    // The first that is too late has been taken too.
    let in_time = (0..counted.unwrap_or(u64::MAX)).find(|&number| walk.at(number) >= duration);
    in_time.map(|late| late + 1).or(counted)
}

/// The arrivals of a phase.
fn arrivals(settings: &Settings, phase: Phase, pattern: Pattern, rate: &RateProfile) -> Arrivals {
    let seed = child_seed(settings.seed.value, phase_name(phase));
    Arrivals::new(seed, pattern, rate.clone())
}

/// The sessions that a phase takes if every answer takes no time.
pub fn sessions_taken(plan: &Arc<PhasePlan>) -> u64 {
    rehearse(plan).for_each(drop);
    plan.schedule.sessions.taken()
}

/// What the log and the plan of a dry run call a phase.
pub const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Warmup => "warmup",
        Phase::Profiling => "profiling",
    }
}
