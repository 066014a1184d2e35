//! One core: it owns its connections, starts what is due, reads what has come and hangs up on time.
//!
//! Everything here runs on one thread inside short, synchronous handlers; tasks only wait for
//! readiness (`connection_task`, `wake`) and call them. Data plane: no lock, no log, no formatting,
//! no allocation per event.

// What happens to a request: phase, send, connection_task, receive, expire, end.
mod connection_task;
mod end;
mod expire;
mod phase;
mod receive;
mod secure;
mod send;

// What a core holds.
mod agenda;
mod clock;
mod connection;
mod connections;
mod deadline;
mod dial;
mod foresight;
mod keep_alive;
mod phases;
mod pieces;
mod pool;
mod tasks;
mod waiting;
mod wake;

#[cfg(test)]
mod sim;

pub(crate) mod command;
pub(crate) mod handoff;
pub(crate) mod rehearsal;
pub(crate) mod thread;

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
    sync::Arc,
};

use crossbeam_channel::Sender;
use pinfire_base::{
    clock::Stamp, health::CoreHealth, limits::RECEIVE_BYTES, record::Record, wall_clock::WallClock,
};

use self::{
    clock::LoopClock, connections::Connections, expire::DueTogether, foresight::Foresight,
    phases::Phases, tasks::Tasks, waiting::Waiting,
};
use crate::{
    io::Io,
    plan::{EngineSetup, ReceiveStamps},
    report::{CoreReport, Progress},
    request::Room,
};

/// A core and its tasks share it; handlers borrow it for their own length only.
pub(crate) type Shared<I> = Rc<RefCell<Core<I>>>;

/// What one core holds.
pub(crate) struct Core<I: Io> {
    me: Weak<RefCell<Core<I>>>,
    io: Rc<I>,
    /// This core's number among the run's cores, and how many there are.
    number: usize,
    cores: usize,
    records: Sender<Record>,
    reports: Sender<CoreReport>,
    /// By core, then by phase.
    progress: Arc<[[Progress; 2]]>,
    phases: Phases<I>,
    connections: Connections<I>,
    /// Room for what is due at one instant.
    due: DueTogether,
    clock: LoopClock,
    tasks: Tasks,
    waiting: Waiting,
    buffer: Box<[u8]>,
    reads: u32,
    foresight: Foresight,
    receive_stamps: ReceiveStamps,
    /// What the kernel's stamps are told from.
    wall: WallClock,
    /// The last of them and what was made of it: parts of one segment have one time.
    converted: (u64, Stamp),
    /// The request being sent: its head, and its body if that is small.
    outgoing: Vec<u8>,
    /// What recent answers needed: the room given to the next ones.
    room: Room,
}

impl<I: Io> Core<I> {
    pub(crate) fn new(
        number: usize,
        setup: &EngineSetup,
        io: Rc<I>,
        records: Sender<Record>,
        reports: Sender<CoreReport>,
        progress: Arc<[[Progress; 2]]>,
    ) -> Shared<I> {
        let mut wall = WallClock::new(io.clock_pair());
        // Any of them may be interrupted; the closest counts.
        for _ in 0..16 {
            wall.pair(io.clock_pair());
        }
        Rc::new_cyclic(|me| {
            RefCell::new(Self {
                me: me.clone(),
                io,
                number,
                cores: setup.cpus.len(),
                records,
                reports,
                progress,
                phases: Phases::default(),
                connections: Connections::default(),
                due: DueTogether::default(),
                clock: LoopClock::new(setup.precision),
                tasks: Tasks::default(),
                waiting: Waiting::default(),
                buffer: vec![0; RECEIVE_BYTES].into_boxed_slice(),
                reads: 0,
                foresight: Foresight::default(),
                receive_stamps: setup.receive_stamps,
                wall,
                converted: (0, Stamp::from_nanos(1)),
                outgoing: Vec::new(),
                room: Room::default(),
            })
        })
    }

    /// This core, for a task of its own.
    #[expect(
        clippy::expect_used,
        reason = "a handler runs on a core that its caller holds"
    )]
    pub(super) fn shared(&self) -> Shared<I> {
        self.me.upgrade().expect("whoever borrows a core holds it")
    }

    #[inline]
    pub(super) fn count(&mut self, bump: impl FnOnce(&mut CoreHealth)) {
        if let Some(phase) = self.phases.any() {
            bump(&mut phase.health);
        }
    }

    /// The loop is there at `now`. Where it was away for long, every phase that is out has to know.
    #[inline]
    pub(super) fn alive(&mut self, now: Stamp) {
        if let Some(pause) = self.clock.alive(now) {
            let Phases { current, draining } = &mut self.phases;
            for phase in current.iter_mut().chain(draining) {
                phase.health.pauses.add(pause);
            }
        }
    }
}
