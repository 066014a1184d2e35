//! The tasks of a core, and who waits until they have ended.

use std::task::Waker;

use crossbeam_channel::Sender;

/// Tasks of a core that hold no connection: `keep_time`, `end_ticks`, `obey`.
const OWN: usize = 3;

/// How many there are, and what is to happen when there are none.
#[derive(Default)]
pub(super) struct Tasks {
    running: usize,
    /// Whoever waits until nothing is open; the sender is dropped then.
    rests: Option<Sender<()>>,
    leaving: bool,
    left: Option<Waker>,
}

impl Tasks {
    /// The core's own have begun.
    pub(super) const fn begin_own(&mut self) {
        self.running += OWN;
    }

    /// One more has begun, that holds a connection.
    pub(super) const fn begin(&mut self) {
        self.running += 1;
    }

    /// One has ended.
    pub(super) fn end(&mut self) {
        self.running -= 1;
        if self.have_left()
            && let Some(left) = &self.left
        {
            left.wake_by_ref();
        }
    }

    /// `done` is to be dropped when none holds a connection.
    pub(super) fn rest(&mut self, done: Sender<()>) {
        self.rests = Some(done);
    }

    /// Whether someone waited for that, and it has come. They are told when what this gives is
    /// dropped.
    pub(super) fn take_rest(&mut self) -> Option<Sender<()>> {
        self.rests.take_if(|_| self.running <= OWN)
    }

    /// All are to end.
    pub(super) const fn leave(&mut self) {
        self.leaving = true;
    }

    /// Whether all are to end.
    #[inline]
    pub(super) const fn are_leaving(&self) -> bool {
        self.leaving
    }

    /// Whether all have ended that were to.
    pub(super) const fn have_left(&self) -> bool {
        self.leaving && self.running == 0
    }

    /// Wakes this when all have ended.
    pub(super) fn wake_when_left(&mut self, waker: &Waker) {
        self.left = Some(waker.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_rest_are_those_who_hold_no_connection() {
        let mut tasks = Tasks::default();
        tasks.begin_own();
        assert!(tasks.take_rest().is_none(), "nobody waits");
        tasks.begin();
        let (done, waits) = crossbeam_channel::bounded(0);
        tasks.rest(done);
        assert!(tasks.take_rest().is_none(), "one holds a connection");
        tasks.end();
        drop(tasks.take_rest().expect("none holds a connection"));
        assert!(waits.recv().is_err());
        assert!(tasks.take_rest().is_none(), "they are told once");
    }

    #[test]
    fn they_have_left_when_the_last_has_ended() {
        let mut tasks = Tasks::default();
        tasks.begin();
        tasks.begin();
        tasks.end();
        tasks.leave();
        assert!(tasks.are_leaving() && !tasks.have_left());
        tasks.end();
        assert!(tasks.have_left());
    }
}
