//! The tasks that keep a core's time: one acts on what is due, one ends ticks.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use pinfire_base::{clock::Stamp, limits::SIGN_OF_LIFE_EVERY};

use super::{Core, Shared};
use crate::{
    net::{Bell, Timer},
    plan::Precision,
};

/// What the timer task does next.
enum Next {
    Sleep,
    Spin,
    Leave,
}

/// The timer task of a core: acts on what is due, then sleeps or spins until the next deadline.
pub(super) async fn keep_time(core: Shared, timer: Rc<Timer>, spinner: Spinner) {
    loop {
        let next = core.borrow_mut().look_at_clock();
        match next {
            Next::Sleep => timer.fired().await,
            Next::Spin => spinner.tick().await,
            Next::Leave => break,
        }
    }
    spinner.stop();
}

impl Core {
    /// Acts on what is due and says how to wait for the rest.
    fn look_at_clock(&mut self) -> Next {
        self.clock.awake();
        self.alive(Stamp::now());
        if self.tasks.are_leaving() {
            return Next::Leave;
        }
        if let Some(due) = self.next_due() {
            self.clock.wait_out_the_last_bit(due);
        }
        let waited = std::mem::take(&mut self.more_due);
        self.expire_due(Stamp::now());
        let now = Stamp::now();
        // As at the end of a handler. Once: deadlines in every tick must not keep all starts
        // waiting.
        if std::mem::take(&mut self.hung_up) && !waited && self.some_due(now) {
            self.more_due = true;
        } else {
            self.start_due(now);
        }
        self.drop_if_due(now);
        let wake = self.next_due().map(|due| self.clock.wake_for(due));
        let spins = self.clock.precision() == Precision::Spin && self.phases.any().is_some();
        let now = Stamp::now();
        if spins || self.more_due || wake.is_some_and(|wake| wake <= now) {
            return Next::Spin;
        }
        let shows = self.phases.any().map(|_| now + SIGN_OF_LIFE_EVERY);
        self.clock.sleep(wake.into_iter().chain(shows).min());
        Next::Sleep
    }

    /// The next instant at which something is to be done.
    fn next_due(&self) -> Option<Stamp> {
        let due = [self.deadlines.next(), self.next_start()];
        due.into_iter().flatten().min()
    }

    /// Ends the tick that is going on. True when the core is leaving.
    fn end_tick(&mut self, waker: &Waker) -> bool {
        if let Some(length) = self.clock.end_tick(waker) {
            self.count(|health| health.turn.record(length));
        }
        self.tasks.are_leaving()
    }
}

/// The task that ends ticks. The first handler of a tick wakes it; the runtime queues it behind
/// every task that the same batch of readiness has woken, so it runs when the batch is done.
pub(super) async fn end_ticks(core: Shared) {
    poll_fn(|context| {
        if core.borrow_mut().end_tick(context.waker()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Waiting without sleeping while sockets are served: each tick goes through the driver once.
pub(super) enum Spinner {
    /// On the ring: awaiting an eventfd that is always ready.
    Ring(Bell),
    /// On epoll, where readiness is cached and such an await would never yield: a bounce through a
    /// helper task. (In monoio 0.2.4 a task that wakes itself starves the others.)
    Bounce(Rc<Bounce>),
}

/// The two tasks of a bounce: each wakes the other.
#[derive(Default)]
pub(super) struct Bounce {
    thrown: Cell<bool>,
    stopped: Cell<bool>,
    thrower: RefCell<Option<Waker>>,
    catcher: RefCell<Option<Waker>>,
}

impl Spinner {
    async fn tick(&self) {
        match self {
            Self::Ring(bell) => bell.ringing().await,
            Self::Bounce(bounce) => bounce.throw().await,
        }
    }

    fn stop(&self) {
        if let Self::Bounce(bounce) = self {
            bounce.stopped.set(true);
            wake(&bounce.catcher);
        }
    }
}

impl Bounce {
    async fn throw(&self) {
        self.thrown.set(true);
        wake(&self.catcher);
        poll_fn(|context| {
            if !self.thrown.get() {
                return Poll::Ready(());
            }
            self.thrower.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// The helper task.
    pub(super) async fn catch(self: Rc<Self>) {
        poll_fn(|context| {
            self.catcher.replace(Some(context.waker().clone()));
            if self.thrown.replace(false) {
                wake(&self.thrower);
            }
            if self.stopped.get() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

fn wake(waker: &RefCell<Option<Waker>>) {
    if let Some(waker) = &*waker.borrow() {
        waker.wake_by_ref();
    }
}
