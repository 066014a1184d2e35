//! The wish to stop, from any thread: a flag and an eventfd that wakes the loop to look at it.

use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{self, Errno};

#[derive(Debug)]
pub(super) struct Notice {
    set: AtomicBool,
    fd: OwnedFd,
}

impl Notice {
    pub(super) fn new() -> Result<Self, Errno> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let set = AtomicBool::new(false);
        Ok(Self { set, fd })
    }

    pub(super) fn give(&self) {
        self.set.store(true, Ordering::Release);
        // The counter can only refuse when it is full, and then the loop is awake anyway.
        let _ = io::write(&self.fd, &1_u64.to_ne_bytes());
    }

    pub(super) fn is_given(&self) -> bool {
        self.set.load(Ordering::Acquire)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
