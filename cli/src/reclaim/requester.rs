//! Requests that are sent alone, and records as the verdict needs them.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, bail, ensure};
use pinfire_analysis::{
    reading::{Problem, Target},
    reclaim::{Canary, End, RequestSpan},
};
use pinfire_base::{
    clock::{Span, Stamp},
    ready::Ready,
    record::{Failure, Keep, MarkKind, Outcome, Phase, Record},
    shard::Shard,
};
use pinfire_engine::{
    plan::{self, PhasePlan},
    run::Engine,
    schedule::{Limit, Pace, Sampling, Schedule},
};

use super::Recording;
use crate::{
    run::{PreparedRun, signals::Interrupt},
    settings::{self, Settings},
};

/// How often the control side checks whether a phase has ended.
const TICK: Duration = Duration::from_millis(5);

/// What is said to a user who ends a test.
pub const STOPPED: &str = "stopped by the user (Ctrl-C); there is no verdict";

/// Sends requests outside of a run's own phases.
pub struct Requester<'a> {
    /// What a request is like.
    settings: &'a Settings,
    /// To whom.
    targets: Arc<[plan::Target]>,
    /// What is asked.
    dataset: Arc<Ready>,
    /// Keeps their ids apart from those of anything else.
    id_key: u64,
    /// Sessions sent so far.
    sessions: u64,
    /// A request that brings nothing for so long is not answered.
    pub patience: Span,
    /// Takes what comes back, where it is to be kept.
    pub recording: Option<Recording>,
}

impl<'a> Requester<'a> {
    /// Sends what a run sends, from the first conversation on.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn of(run: &PreparedRun<'a>, patience: Span) -> Result<Self> {
        Ok(Self {
            settings: run.settings,
            targets: Arc::clone(&run.targets),
            dataset: Arc::clone(&run.workload.bodies),
            id_key: settings::random_bits()?,
            sessions: 0,
            patience,
            recording: None,
        })
    }

    /// Begins with the last conversation: the first ones are those that the run begins with.
    pub fn starting_with_the_last(mut self) -> Self {
        self.sessions = self.dataset.conversations().saturating_sub(1) as u64;
        self
    }

    /// Sends to the first server only.
    pub fn only_asking_the_first(mut self) -> Self {
        self.targets = self.targets.iter().take(1).cloned().collect();
        self
    }

    /// The settings of its engine and its requests.
    pub const fn settings(&self) -> &'a Settings {
        self.settings
    }

    /// The plan of a closed loop of `requests` on so many slots, after all that went before.
    pub fn plan(&mut self, slots: u64, requests: u64) -> PhasePlan {
        self.plan_of(Shard::WHOLE, slots, requests)
    }

    /// Goes on behind so many sessions.
    pub const fn go_to(&mut self, sessions: u64) {
        self.sessions = sessions;
    }

    /// Sessions so far.
    pub const fn sessions(&self) -> u64 {
        self.sessions
    }

    /// What belongs to a shard of such a plan.
    pub fn plan_of(&mut self, shard: Shard, slots: u64, requests: u64) -> PhasePlan {
        let first_session = self.sessions;
        self.sessions += requests;
        let settings = self.settings;
        PhasePlan {
            phase: Phase::Profiling,
            targets: Arc::clone(&self.targets),
            dialling: settings.transport.dialling.clone(),
            answers: settings.answers.clone(),
            dataset: Arc::clone(&self.dataset),
            sampling: Sampling::Sequential,
            first_session,
            schedule: Schedule::of(
                shard,
                Pace::Closed,
                self.dataset.is_single(),
                [Some(requests), None],
            ),
            concurrency: Some(Limit {
                shard,
                ..Limit::of(usize::try_from(slots).unwrap_or(usize::MAX))
            }),
            backs_off: false,
            prefill: None,
            duration: None,
            grace: None,
            cancel: None,
            id_key: self.id_key ^ first_session,
            timeout: settings.timeout,
            reuse: settings.reuse,
            keep: Keep::default(),
        }
    }

    /// Sends one request and waits for its answer.
    ///
    /// # Errors
    /// The engine is gone, or the user has had enough.
    pub fn canary(&mut self, engine: &mut Engine, interrupt: &Interrupt) -> Result<Canary> {
        Ok(self.ask(engine, interrupt)?.0)
    }

    /// The same, with the answer's status; 0 if there was none.
    ///
    /// # Errors
    /// As above.
    pub fn ask(&mut self, engine: &mut Engine, interrupt: &Interrupt) -> Result<(Canary, u16)> {
        let mut plan = self.plan(1, 1);
        plan.timeout = self.patience.min(plan.timeout);
        let records = self.phase(engine, interrupt, &Arc::new(plan), None)?;
        let Some(record) = records.first() else {
            bail!("the canary left no record: this is a bug in pinfire, please report it");
        };
        let target = Target::of_urls(&self.settings.transport.urls);
        Ok((canary(record, &target), record.wire.status))
    }

    /// Runs a phase, from an instant that others have too if one is given. To its end, or until
    /// nothing of it has ended for as long as a canary may take.
    ///
    /// # Errors
    /// As above.
    pub fn phase(
        &mut self,
        engine: &mut Engine,
        interrupt: &Interrupt,
        plan: &Arc<PhasePlan>,
        zero: Option<Stamp>,
    ) -> Result<Vec<Record>> {
        let patience = Span::from_nanos(self.patience.nanos() + 500_000_000);
        match zero {
            None => engine.begin(plan),
            Some(zero) => engine.begin_at(plan, zero),
        }
        let mut ended = 0;
        let mut moved = Stamp::now().max(zero.unwrap_or(Stamp::now()));
        let report = loop {
            if let Some(report) = engine.wait(plan.phase, TICK)? {
                break report;
            }
            let counts = engine.progress(plan.phase);
            let now = counts.finished + counts.failed + counts.cancelled + counts.dropped;
            if now > ended {
                (ended, moved) = (now, Stamp::now());
            }
            let asked = interrupt.asked();
            if asked || Stamp::now().since(moved) > patience {
                engine.stop();
            }
            ensure!(!asked, STOPPED);
        };
        let records: Vec<Record> = engine.records().try_iter().collect();
        if let Some(recording) = &mut self.recording {
            recording.take(&report, &records);
        }
        Ok(records)
    }
}

fn canary(record: &Record, target: &Target) -> Canary {
    let span = span_of(record, usize::MAX);
    let problem = match &record.outcome {
        Outcome::Failed(failure) => Some(Problem::of_failure(record, failure, target).message),
        _ if span.end == End::Failed => Some(format!("HTTP status {}", record.wire.status)),
        _ => None,
    };
    let first = span.tokens.first();
    Canary {
        begun: span.begun,
        answered: span.end == End::Answered,
        refused: matches!(record.outcome, Outcome::Failed(Failure::Connect { .. })),
        ttft_ms: first.map(|first| first.since(span.begun).as_millis_f64()),
        took_ms: span.ended.since(span.begun).as_millis_f64(),
        events: span.events,
        problem,
    }
}

/// A record as the verdict needs it, with so many of its tokens at most.
pub fn span_of(record: &Record, tokens: usize) -> RequestSpan {
    let marks = record.transcript.marks();
    let of = |wanted: fn(MarkKind) -> bool| {
        let marks = marks.iter().filter(move |mark| wanted(mark.kind));
        marks.map(|mark| mark.at)
    };
    let content: fn(MarkKind) -> bool =
        |kind| matches!(kind, MarkKind::Content | MarkKind::Reasoning);
    // Events of another dialect are kept as they come.
    let of = match of(content).next() {
        Some(_) => of(content),
        None => of(|kind| kind == MarkKind::Data),
    };
    let events = of.clone().count() as u64;
    let tokens: Vec<Stamp> = of.take(tokens).collect();
    let done = record.cancel.and_then(|cancel| cancel.done);
    let end = match record.outcome {
        Outcome::Complete if record.wire.status / 100 == 2 => End::Answered,
        Outcome::Cancelled => End::Disconnected,
        _ => End::Failed,
    };
    RequestSpan {
        begun: record.times.start,
        ended: done.map_or(record.times.end, |done| done.closed),
        end,
        new_connection: !record.wire.reused,
        tokens,
        events,
    }
}
