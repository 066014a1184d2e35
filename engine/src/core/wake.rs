//! The tasks that keep a core's time: one acts on what is due, one ends ticks.

use std::{
    future::{Future, poll_fn},
    rc::Rc,
    task::{Poll, Waker},
};

use pinfire_base::{clock::Stamp, limits::SIGN_OF_LIFE_EVERY};

use super::{Core, Shared, waiting::Starts};
use crate::{io::Io, plan::Precision};

/// What the timer task does next.
enum Next {
    Sleep,
    Spin,
    Leave,
}

/// Sets the two tasks of a core going that keep its time; a third, which takes its commands, counts
/// as one of its own too.
pub(super) fn begin_own<I: Io>(core: &Shared<I>, io: &Rc<I>) {
    core.borrow_mut().tasks.begin_own();
    let keeper = keep_time(Rc::clone(core), Rc::clone(io));
    io.spawn(counted(keeper, Rc::clone(core)));
    io.spawn(counted(end_ticks(Rc::clone(core)), Rc::clone(core)));
}

/// A task of a core that holds no connection.
pub(super) async fn counted<I: Io>(task: impl Future<Output = ()>, core: Shared<I>) {
    task.await;
    core.borrow_mut().task_ended(None);
}

/// The timer task of a core: acts on what is due, then sleeps or spins until the next deadline.
async fn keep_time<I: Io>(core: Shared<I>, io: Rc<I>) {
    loop {
        let next = core.borrow_mut().look_at_clock();
        match next {
            Next::Sleep => io.fired().await,
            Next::Spin => io.tick().await,
            Next::Leave => break,
        }
    }
    io.stop_ticking();
}

impl<I: Io> Core<I> {
    /// Acts on what is due and says how to wait for the rest.
    fn look_at_clock(&mut self) -> Next {
        self.clock.awake();
        self.alive(self.io.now());
        if self.tasks.are_leaving() {
            return Next::Leave;
        }
        if let Some(due) = self.next_due() {
            self.clock.wait_out_the_last_bit(due, &*self.io);
        }
        let waited = self.waiting.begin_turn();
        self.expire_due(self.io.now());
        let now = self.io.now();
        if self.waiting.in_turn(waited, self.some_due(now)) == Starts::Go {
            self.start_some();
        }
        self.drop_if_due(now);
        let wake = self.next_due().map(|due| self.clock.wake_for(due));
        let spins = self.clock.precision() == Precision::Spin && self.phases.any().is_some();
        let now = self.io.now();
        if spins || self.waiting.starts() || wake.is_some_and(|wake| wake <= now) {
            return Next::Spin;
        }
        let shows = self.phases.any().map(|_| now + SIGN_OF_LIFE_EVERY);
        let wake = wake.into_iter().chain(shows).min();
        self.clock.sleep(wake, &*self.io);
        Next::Sleep
    }

    /// The next instant at which something is to be done.
    fn next_due(&self) -> Option<Stamp> {
        let due = [self.clock.next_deadline(), self.next_start()];
        due.into_iter().flatten().min()
    }

    /// Ends the tick that is going on. True when the core is leaving.
    fn end_tick(&mut self, waker: &Waker) -> bool {
        if let Some(length) = self.clock.end_tick(waker, &*self.io) {
            self.count(|health| health.turn.record(length));
        }
        self.tasks.are_leaving()
    }
}

/// The task that ends ticks. The first handler of a tick wakes it; the runtime queues it behind
/// every task that the same batch of readiness has woken, so it runs when the batch is done.
async fn end_ticks<I: Io>(core: Shared<I>) {
    poll_fn(|context| {
        if core.borrow_mut().end_tick(context.waker()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}
