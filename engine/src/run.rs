//! The engine from outside: starts the cores, gives them phases, gathers their reports.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

pub use crate::core::{
    place::Granted,
    rehearsal::{Rehearsed, rehearse},
};
use crate::{
    clock::{Span, Stamp, WallAnchor},
    core::place::{Command, Luggage, live},
    health::{CoreHealth, Counts},
    limits::BEGIN_LEAD,
    net::{Ringer, bell, make_room_for},
    plan::{EngineSetup, PhasePlan},
    record::Record,
    schedule::Pace,
};

/// Why the engine could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// io_uring was demanded.
    #[error("io_uring cannot be used: {cause}; run with --io-driver epoll or auto")]
    NoUring {
        /// The system's reason.
        cause: io::Error,
    },
    /// Not even epoll works.
    #[error("no event loop could be made: {cause}")]
    NoEpoll {
        /// The system's reason.
        cause: io::Error,
    },
    /// A thread or its descriptors could not be made.
    #[error("a core thread could not be started: {cause}")]
    Thread {
        /// The system's reason.
        cause: io::Error,
    },
    /// A core's thread ended before its time: a defect of the engine.
    #[error("a core thread ended unexpectedly; this is a defect of pinfire, please report it")]
    CoreLost,
}

/// One core's account of a phase.
#[derive(Clone, Debug)]
pub struct CoreReport {
    /// The core's number.
    pub core: usize,
    /// When its last request had ended.
    pub ended: Stamp,
    /// What became of its requests.
    pub counts: Counts,
    /// How well it did.
    pub health: CoreHealth,
}

/// A phase that has ended on every core.
#[derive(Clone, Debug)]
pub struct PhaseReport {
    /// When it was begun.
    pub started: Stamp,
    /// When the last request had ended.
    pub ended: Stamp,
    /// One report per core, in the order of their numbers.
    pub cores: Vec<CoreReport>,
}

impl PhaseReport {
    /// The counts of all cores together.
    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for core in &self.cores {
            sum.add(&core.counts);
        }
        sum
    }
}

/// Live counts of one core, written by it alone and read by whoever shows progress.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Progress {
    due: AtomicU64,
    finished: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
    dropped: AtomicU64,
}

impl Progress {
    #[inline]
    pub(crate) fn due(&self, due: u64) {
        self.due.store(due, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn ended(&self, counts: &Counts) {
        self.finished.store(counts.finished, Ordering::Relaxed);
        self.failed.store(counts.failed, Ordering::Relaxed);
        self.cancelled.store(counts.cancelled, Ordering::Relaxed);
        self.dropped.store(counts.dropped, Ordering::Relaxed);
    }
}

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

/// The phase that is going on.
struct Current {
    plan: Arc<PhasePlan>,
    begun: Stamp,
    reports: Vec<CoreReport>,
    /// The cores have been told that the last request is on its way.
    told: bool,
}

/// The running engine: one pinned thread and one runtime per core until it is dropped.
pub struct Engine {
    cores: Vec<CoreThread>,
    granted: Vec<Granted>,
    records: Receiver<Record>,
    reports: Receiver<CoreReport>,
    progress: Arc<[Progress]>,
    anchor: WallAnchor,
    current: Option<Current>,
}

impl Engine {
    /// Starts the core threads and waits until each is ready.
    ///
    /// # Errors
    /// The kernel interface asked for does not work, or threads and descriptors are not to be had.
    pub fn start(setup: &EngineSetup) -> Result<Self, EngineError> {
        let anchor = WallAnchor::take();
        let (record_sender, records) = unbounded();
        let (report_sender, reports) = unbounded();
        let progress: Arc<[Progress]> = setup.cpus.iter().map(|_| Progress::default()).collect();
        let mut engine = Self {
            cores: Vec::new(),
            granted: Vec::new(),
            records,
            reports,
            progress: Arc::clone(&progress),
            anchor,
            current: None,
        };
        for number in 0..setup.cpus.len() {
            let (bell, ringer) = bell().map_err(|cause| EngineError::Thread { cause })?;
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
            let thread = std::thread::Builder::new()
                .name(format!("pinfire-core-{number}"))
                .spawn(move || live(luggage, &ready))
                .map_err(|cause| EngineError::Thread { cause })?;
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

    /// Where the records of all cores arrive. Poll it (`try_recv`): a waiting receiver would cost
    /// the cores a wake-up per record.
    pub fn records(&self) -> Receiver<Record> {
        self.records.clone()
    }

    /// Begins a phase on every core. One phase at a time: wait for it before the next.
    pub fn begin(&mut self, plan: &Arc<PhasePlan>) {
        if let Some(limit) = plan.concurrency {
            make_room_for(limit.slots);
        }
        for progress in &*self.progress {
            progress.due(0);
            progress.ended(&Counts::default());
        }
        // A schedule's first instants must not have passed before the cores know of it.
        let lead = match plan.schedule.pace {
            Pace::Closed => Span::ZERO,
            _ => BEGIN_LEAD,
        };
        let begun = Stamp::now() + lead;
        for core in &self.cores {
            core.tell(Command::Begin(Arc::clone(plan), begun));
        }
        self.current = Some(Current {
            plan: Arc::clone(plan),
            begun,
            reports: Vec::new(),
            told: false,
        });
    }

    /// Counts of the phase that is going on, as far as they are known.
    pub fn progress(&self) -> Counts {
        let mut sum = Counts::default();
        for core in &*self.progress {
            sum.add(&Counts {
                due: core.due.load(Ordering::Relaxed),
                sent: 0,
                finished: core.finished.load(Ordering::Relaxed),
                failed: core.failed.load(Ordering::Relaxed),
                cancelled: core.cancelled.load(Ordering::Relaxed),
                dropped: core.dropped.load(Ordering::Relaxed),
            });
        }
        sum
    }

    /// Ends the phase early: nothing new is sent, what is in flight is dropped.
    pub fn stop(&self) {
        for core in &self.cores {
            core.tell(Command::Stop);
        }
    }

    /// Waits up to `patience` for the phase to end on every core. All its records have left the
    /// cores by then.
    ///
    /// # Errors
    /// A core's thread is gone.
    pub fn wait(&mut self, patience: Duration) -> Result<Option<PhaseReport>, EngineError> {
        let Some(current) = &mut self.current else {
            return Ok(None);
        };
        // A core that waits for a distant instant does not see another send the last request.
        if !current.told && current.plan.schedule.exhausted() {
            current.told = true;
            for core in &self.cores {
                core.tell(Command::Look);
            }
        }
        while current.reports.len() < self.cores.len() {
            match self.reports.recv_timeout(patience) {
                Ok(report) => current.reports.push(report),
                Err(RecvTimeoutError::Disconnected) => return Err(EngineError::CoreLost),
                Err(RecvTimeoutError::Timeout) => {
                    let lost = |core: &CoreThread| {
                        core.thread.as_ref().is_none_or(JoinHandle::is_finished)
                    };
                    if self.cores.iter().any(lost) {
                        return Err(EngineError::CoreLost);
                    }
                    return Ok(None);
                }
            }
        }
        let Some(mut current) = self.current.take() else {
            return Ok(None);
        };
        current.reports.sort_by_key(|report| report.core);
        let ended = current.reports.iter().map(|report| report.ended).max();
        Ok(Some(PhaseReport {
            started: current.begun,
            ended: ended.unwrap_or(current.begun),
            cores: current.reports,
        }))
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
