//! Deadlines of all connections: one heap, one timerfd, absolute times of the monotonic clock.
//!
//! Entries are never removed from the heap; an entry whose ticket is no longer its slot's is
//! dropped when it comes up.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use pinfire_base::clock::{NANOS_PER_SECOND, Span, Stamp};
use rustix::event::Timespec;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::script::Precision;

/// What woke: the slot of a connection, and the ticket it held when the deadline was set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Due {
    at: Stamp,
    pub(super) slot: u32,
    pub(super) ticket: u32,
}

pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<Due>>,
    timer: OwnedFd,
    armed: Option<Stamp>,
    precision: Precision,
}

/// A wake-up of this guest costs 20–90 µs; waking this early lets polling meet the deadline.
const LEAD: Span = Span::from_micros(100);

/// The timeout of a wait that only looks.
const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

impl Deadlines {
    pub(super) fn new(precision: Precision) -> Result<Self, Errno> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Ok(Self {
            heap: BinaryHeap::with_capacity(4096),
            timer: timerfd_create(TimerfdClockId::Monotonic, flags)?,
            armed: None,
            precision,
        })
    }

    /// The timer; watch it edge-triggered, it is never read.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }

    #[inline]
    pub(super) fn push(&mut self, at: Stamp, slot: u32, ticket: u32) {
        self.heap.push(Reverse(Due { at, slot, ticket }));
    }

    /// The earliest entry, if it is due.
    #[inline]
    pub(super) fn pop(&mut self, now: Stamp) -> Option<Due> {
        self.heap.peek().filter(|next| next.0.at <= now)?;
        self.heap.pop().map(|next| next.0)
    }

    /// Prepares to wait until the next entry or `other`, which needs no exactness, and gives the
    /// timeout to wait with: none, or not at all.
    pub(super) fn prepare(
        &mut self,
        now: Stamp,
        other: Option<Stamp>,
    ) -> Option<&'static Timespec> {
        if self.precision == Precision::Spin {
            return Some(&AT_ONCE);
        }
        let exact = self.heap.peek().map(|next| match self.precision {
            Precision::Lead => next.0.at - LEAD,
            Precision::Sleep | Precision::Spin => next.0.at,
        });
        let wake = match (exact, other) {
            (Some(a), Some(b)) => a.min(b),
            (Some(a), None) | (None, Some(a)) => a,
            (None, None) => return None,
        };
        if wake <= now {
            return Some(&AT_ONCE);
        }
        if self.armed != Some(wake) {
            self.arm(wake);
        }
        None
    }

    /// Says that the timer has fired, so that the same instant may be armed again.
    pub(super) fn fired(&mut self) {
        self.armed = None;
    }

    fn arm(&mut self, at: Stamp) {
        let zero = AT_ONCE;
        let value = Timespec {
            tv_sec: (at.nanos() / NANOS_PER_SECOND) as i64,
            tv_nsec: (at.nanos() % NANOS_PER_SECOND) as i64,
        };
        let times = Itimerspec {
            it_interval: zero,
            it_value: value,
        };
        // Only a wrong descriptor or a time out of range can be refused; neither can occur here.
        let set = timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &times);
        self.armed = set.is_ok().then_some(at);
    }
}
