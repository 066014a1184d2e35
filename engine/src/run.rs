//! The engine from outside: starts the cores, gives them phases, gathers their reports.

use std::{sync::Arc, thread::JoinHandle, time::Duration};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use pinfire_base::{
    clock::{Span, Stamp, WallAnchor},
    health::Counts,
    limits::{BEGIN_LEAD, HANDOFF_POLL},
    record::{Phase, Record},
    threads,
};

pub use crate::core::{
    rehearsal::{Rehearsed, rehearse},
    thread::{Granted, try_uring},
};
use crate::{
    core::{
        command::Command,
        handoff::Handoff,
        thread::{Luggage, live},
    },
    net::{Ringer, StampKeeper, bell, make_room_for},
    plan::{EngineSetup, PhasePlan, ReceiveStamps},
    report::{CoreReport, EngineError, PhaseReport, Progress},
    schedule::Pace,
};

struct CoreThread {
    commands: Sender<Command>,
    ringer: Ringer,
    thread: Option<JoinHandle<()>>,
}

impl CoreThread {
    fn tell(&self, command: Command) {
        // A core that is gone is noticed where its report is awaited.
        let _ = self.commands.send(command);
        self.ringer.ring();
    }
}

/// A phase that is out.
struct Out {
    plan: Arc<PhasePlan>,
    begun: Stamp,
    reports: Vec<CoreReport>,
    /// Of the numbers that the cores draw from, so many kinds were used up when they were last told
    /// to look.
    told: usize,
}

/// The running engine: one pinned thread and one runtime per core until it is dropped.
pub struct Engine {
    cores: Vec<CoreThread>,
    granted: Vec<Granted>,
    records: Receiver<Record>,
    reports: Receiver<CoreReport>,
    progress: Arc<[[Progress; 2]]>,
    anchor: WallAnchor,
    /// Oldest first.
    out: Vec<Out>,
    /// Where the kernel's receive stamps are wanted, they are there from the first read on.
    _stamps: Option<StampKeeper>,
}

impl Engine {
    /// Starts the core threads and waits until each is ready.
    ///
    /// # Errors
    /// The kernel interface asked for does not work, or threads and descriptors are not to be had.
    pub fn start(setup: &EngineSetup) -> Result<Self, EngineError> {
        let stamps = match setup.receive_stamps {
            ReceiveStamps::User => None,
            ReceiveStamps::Auto => StampKeeper::new().ok(),
            ReceiveStamps::Kernel => {
                Some(StampKeeper::new().map_err(|cause| EngineError::NoReceiveStamps { cause })?)
            }
        };
        let anchor = WallAnchor::take();
        let (record_sender, records) = unbounded();
        let (report_sender, reports) = unbounded();
        let progress: Arc<[[Progress; 2]]> =
            setup.cpus.iter().map(|_| Default::default()).collect();
        let mut engine = Self {
            cores: Vec::new(),
            granted: Vec::new(),
            records,
            reports,
            progress: Arc::clone(&progress),
            anchor,
            out: Vec::new(),
            _stamps: stamps,
        };
        for number in 0..setup.cpus.len() {
            let (bell, ringer) = bell().map_err(|cause| EngineError::Descriptors { cause })?;
            let (commands, command_receiver) = unbounded();
            let luggage = Luggage {
                number,
                setup: setup.clone(),
                bell,
                commands: command_receiver,
                records: record_sender.clone(),
                reports: report_sender.clone(),
                progress: Arc::clone(&progress),
            };
            let (ready, is_ready) = unbounded();
            let name = format!("pinfire-core-{number}");
            let thread = threads::start(name, move || live(luggage, &ready))?;
            engine.cores.push(CoreThread {
                commands,
                ringer,
                thread: Some(thread),
            });
            engine
                .granted
                .push(is_ready.recv().map_err(|_| EngineError::CoreLost)??);
        }
        Ok(engine)
    }

    /// What each core's thread was granted.
    pub fn granted(&self) -> &[Granted] {
        &self.granted
    }

    /// Pairs the engine's stamps with wall time.
    pub const fn anchor(&self) -> WallAnchor {
        self.anchor
    }

    /// Takes the pair that others have, so that the times of several processes are in one frame.
    pub const fn set_anchor(&mut self, anchor: WallAnchor) {
        self.anchor = anchor;
    }

    /// Pairs them anew: an engine that has waited for its next run may have seen the wall clock
    /// set.
    pub fn pair_clocks(&mut self) {
        self.anchor = WallAnchor::take();
    }

    /// Where the records of all cores arrive. Poll it (`try_recv`): a waiting receiver would cost
    /// the cores a wake-up per record.
    pub fn records(&self) -> Receiver<Record> {
        self.records.clone()
    }

    /// Makes room in the process's table of descriptors for so many connections. To be called
    /// before the first of phases that overlap: room that is made for the second would disturb the
    /// first.
    pub fn make_room_for(connections: usize) {
        make_room_for(connections);
    }

    /// Begins a phase on every core. Wait for the one before with [`Engine::wait`]; or, if that is
    /// of the other kind, only with [`Engine::wait_for_last_send`]: what it has in flight then goes
    /// on to its end, and counts in the limits of this phase too.
    pub fn begin(&mut self, plan: &Arc<PhasePlan>) {
        // A schedule's first instants must not have passed before the cores know of it.
        let lead = match plan.schedule.pace {
            Pace::Closed => Span::ZERO,
            _ => BEGIN_LEAD,
        };
        self.begin_at(plan, Stamp::now() + lead);
    }

    /// The same with the phase's zero at an instant that others have too. What is due before the
    /// cores know of it is late.
    pub fn begin_at(&mut self, plan: &Arc<PhasePlan>, zero: Stamp) {
        if let Some(limit) = plan.concurrency {
            make_room_for(limit.own());
        }
        let handoff = self.handoff(plan);
        for core in &*self.progress {
            core[plan.phase as usize].reset();
        }
        for core in &self.cores {
            core.tell(Command::Begin(Arc::clone(plan), zero, handoff.clone()));
        }
        self.out.push(Out {
            plan: Arc::clone(plan),
            begun: zero,
            reports: Vec::new(),
            told: 0,
        });
    }

    /// What the phase that is still out leaves to the limits of the next.
    fn handoff(&self, plan: &PhasePlan) -> Option<Arc<Handoff>> {
        let elder = self.out.last()?.plan.phase;
        let held: Vec<[usize; 2]> = self
            .progress
            .iter()
            .map(|core| core[elder as usize].held().unwrap_or_default())
            .collect();
        let limits = [plan.concurrency, plan.prefill];
        let by_core = [0, 1].map(|limit| held.iter().map(|held| held[limit]).collect());
        Some(Arc::new(Handoff::new(limits, by_core)))
    }

    /// Counts of the latest phase of this kind, as far as they are known.
    pub fn progress(&self, phase: Phase) -> Counts {
        let mut sum = Counts::default();
        for core in &*self.progress {
            sum.add(&core[phase as usize].counts());
        }
        sum
    }

    /// Ends what is out early: nothing new is sent, what is in flight is dropped.
    pub fn stop(&self) {
        for core in &self.cores {
            core.tell(Command::Stop);
        }
    }

    /// Waits up to `patience` for the phase of this kind to end on every core. All its records have
    /// left the cores by then. Another phase may be out meanwhile.
    ///
    /// # Errors
    /// A core's thread is gone.
    pub fn wait(
        &mut self,
        phase: Phase,
        patience: Duration,
    ) -> Result<Option<PhaseReport>, EngineError> {
        self.tell_of_the_last();
        let Some(place) = self.place(phase) else {
            return Ok(None);
        };
        while self.out[place].reports.len() < self.cores.len() {
            if !self.gather(patience)? {
                return Ok(None);
            }
        }
        let mut out = self.out.remove(place);
        out.reports.sort_by_key(|report| report.core);
        let ended = out.reports.iter().map(|report| report.ended).max();
        Ok(Some(PhaseReport {
            started: out.begun,
            ended: ended.unwrap_or(out.begun),
            cores: out.reports,
        }))
    }

    /// Waits up to `patience` until every core has sent its last request of the phase of this kind.
    /// Whether they have; that is seen within about a millisecond.
    ///
    /// # Errors
    /// A core's thread is gone.
    pub fn wait_for_last_send(
        &mut self,
        phase: Phase,
        patience: Duration,
    ) -> Result<bool, EngineError> {
        let end = Stamp::now() + Span::from_nanos(patience.as_nanos() as u64);
        let poll = Duration::from_nanos(HANDOFF_POLL.nanos());
        loop {
            self.tell_of_the_last();
            let mut cores = self.progress.iter();
            if cores.all(|core| core[phase as usize].held().is_some()) {
                return Ok(true);
            }
            if Stamp::now() >= end {
                return Ok(false);
            }
            self.gather(poll)?;
        }
    }

    /// A core that waits for a distant instant, or for a slot, does not see another send the last
    /// request: it is told to poll.
    fn tell_of_the_last(&mut self) {
        let Some(out) = self.out.last_mut() else {
            return;
        };
        let schedule = &out.plan.schedule;
        let numbers = [&schedule.sessions, &schedule.requests];
        let used_up = numbers.iter().filter(|numbers| numbers.exhausted()).count();
        if used_up > out.told {
            out.told = used_up;
            for core in &self.cores {
                core.tell(Command::PollHandoff);
            }
        }
    }

    /// Closes all connections and forgets the servers, so that other runs can follow as on a new
    /// engine. Whether every core has done that, each within `patience`; if not, drop the engine.
    /// To be called when no phase is out and all records have been taken.
    pub fn rest(&mut self, patience: Duration) -> bool {
        let rested: Vec<Receiver<()>> = self
            .cores
            .iter()
            .map(|core| {
                let (done, rested) = unbounded();
                core.tell(Command::Rest(done));
                rested
            })
            .collect();
        let ended = |rested: &Receiver<()>| {
            matches!(
                rested.recv_timeout(patience),
                Err(RecvTimeoutError::Disconnected)
            )
        };
        let alive = |core: &CoreThread| core.thread.as_ref().is_some_and(|t| !t.is_finished());
        self.out.is_empty() && rested.iter().all(ended) && self.cores.iter().all(alive)
    }

    fn place(&self, phase: Phase) -> Option<usize> {
        self.out.iter().position(|out| out.plan.phase == phase)
    }

    /// Waits up to `patience` for one report. Whether there was one.
    fn gather(&mut self, patience: Duration) -> Result<bool, EngineError> {
        match self.reports.recv_timeout(patience) {
            Ok(report) => {
                if let Some(place) = self.place(report.phase) {
                    self.out[place].reports.push(report);
                }
                Ok(true)
            }
            Err(RecvTimeoutError::Disconnected) => Err(EngineError::CoreLost),
            Err(RecvTimeoutError::Timeout) => {
                let lost =
                    |core: &CoreThread| core.thread.as_ref().is_none_or(JoinHandle::is_finished);
                if self.cores.iter().any(lost) {
                    return Err(EngineError::CoreLost);
                }
                Ok(false)
            }
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for core in &self.cores {
            core.tell(Command::Leave);
        }
        for core in &mut self.cores {
            if let Some(thread) = core.thread.take() {
                // A core that panicked has said so on stderr.
                let _ = thread.join();
            }
        }
    }
}
