//! What cores tell the engine: live counts during a phase, an account at its end, and why none
//! could start.

use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use pinfire_base::{
    clock::Stamp,
    health::{CoreHealth, Counts},
    record::Phase,
    threads::NoThread,
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
    #[error("a core cannot start, with epoll neither: {cause}")]
    NoEpoll {
        /// The system's reason.
        cause: io::Error,
    },
    /// The kernel's receive stamps were demanded.
    #[error(
        "the kernel gives no receive timestamps: {cause}; run with --receive-stamps auto or user"
    )]
    NoReceiveStamps {
        /// The system's reason.
        cause: io::Error,
    },
    /// A thread could not be made.
    #[error(transparent)]
    Thread(#[from] NoThread),
    /// The descriptors of a thread could not be made.
    #[error("a core cannot start: {cause}")]
    Descriptors {
        /// The system's reason.
        cause: io::Error,
    },
    /// A system call that a core stands on is refused.
    #[error(
        "a core cannot start: the system refuses {call} ({cause}); allow it in the seccomp profile of \
         the container or the service"
    )]
    Refused {
        /// Its name.
        call: &'static str,
        /// The system's reason.
        cause: io::Error,
    },
    /// A core's thread ended before its time: a defect of the engine.
    #[error("a core thread crashed: this is a bug in pinfire, please report it")]
    CoreLost,
}

/// One core's account of a phase.
#[derive(Clone, Debug)]
pub struct CoreReport {
    /// Of which phase.
    pub phase: Phase,
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

/// Live counts of one core and phase, written by that core alone and read by whoever shows
/// progress.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Progress {
    due: AtomicU64,
    finished: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
    dropped: AtomicU64,
    /// Sessions that were open, and requests that waited for their first content, when the last
    /// request had been sent; `sent_all` is stored after them.
    held: [AtomicU64; 2],
    sent_all: AtomicBool,
}

impl Progress {
    /// Everything is as before a phase.
    pub(crate) fn reset(&self) {
        self.due(0);
        self.ended(&Counts::default());
        self.sent_all.store(false, Ordering::Relaxed);
    }

    /// The core sends nothing more, and holds this much or less from now on.
    pub(crate) fn sent_all(&self, held: [usize; 2]) {
        for (cell, held) in self.held.iter().zip(held) {
            cell.store(held as u64, Ordering::Relaxed);
        }
        self.sent_all.store(true, Ordering::Release);
    }

    /// What the core holds at most, once it has sent all.
    pub(crate) fn held(&self) -> Option<[usize; 2]> {
        let held = |cell: &AtomicU64| cell.load(Ordering::Relaxed) as usize;
        let sent_all = self.sent_all.load(Ordering::Acquire);
        sent_all.then(|| self.held.each_ref().map(held))
    }

    /// What the core has told so far.
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            due: self.due.load(Ordering::Relaxed),
            sent: 0,
            finished: self.finished.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            cancelled: self.cancelled.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }

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
