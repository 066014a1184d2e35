//! When a core sleeps, when it spins, and what ends a turn.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use pinfire_base::clock::Stamp;

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

/// Far in the future: nothing to wake for.
const NEVER: Stamp = Stamp::from_nanos(u64::MAX);

/// The timer task of a core: acts on what is due, then sleeps or spins until the next deadline.
pub(super) async fn keep_time(core: Shared, timer: Rc<Timer>, spinner: Spinner) {
    loop {
        let next = core.borrow_mut().look_at_clock();
        match next {
            Next::Sleep => timer.fired().await,
            Next::Spin => spinner.turn().await,
            Next::Leave => break,
        }
    }
    spinner.stop();
}

impl Core {
    /// Acts on what is due and says how to wait for the rest.
    fn look_at_clock(&mut self) -> Next {
        self.asleep_until = None;
        if self.leaving {
            return Next::Leave;
        }
        self.wait_out_the_last_bit();
        let waited = std::mem::take(&mut self.more_due);
        self.expire_due(Stamp::now());
        let now = Stamp::now();
        // As at the end of a handler. Once: deadlines in every turn must not keep all starts
        // waiting.
        if std::mem::take(&mut self.hung_up) && !waited && self.some_due(now) {
            self.more_due = true;
        } else {
            self.start_due(now);
        }
        self.drop_if_due(now);
        let wake = self.next_due().map(|due| self.wake_for(due));
        let spins = self.precision == Precision::Spin && self.phases.any().is_some();
        if spins || self.more_due || wake.is_some_and(|wake| wake <= Stamp::now()) {
            return Next::Spin;
        }
        self.asleep_until = Some(wake.unwrap_or(NEVER));
        if let Some(wake) = wake {
            self.timer.arm(wake);
        }
        Next::Sleep
    }

    /// A turn through the driver takes longer than a clock read, so the last few microseconds
    /// before a deadline are waited out on the clock alone.
    fn wait_out_the_last_bit(&self) {
        let Some(due) = self.next_due() else {
            return;
        };
        if self.precision != Precision::Sleep && due <= Stamp::now() + Precision::LAST_BIT {
            while Stamp::now() < due {
                std::hint::spin_loop();
            }
        }
    }

    /// The next instant at which something is to be done.
    fn next_due(&self) -> Option<Stamp> {
        let due = [self.deadlines.next(), self.next_start()];
        due.into_iter().flatten().min()
    }

    /// Makes sure that the timer task is awake when something is due at `due`. While it is awake
    /// it looks at the deadlines itself before it sleeps.
    #[inline]
    pub(super) fn sleep_no_longer_than(&mut self, due: Stamp) {
        let wake = self.wake_for(due);
        if self.asleep_until.is_some_and(|until| wake < until) {
            self.asleep_until = Some(wake);
            self.timer.arm(wake);
        }
    }

    /// Makes the timer task look at the clock again.
    pub(super) fn wake_timer(&self) {
        self.timer.arm(Stamp::from_nanos(1));
    }

    fn wake_for(&self, due: Stamp) -> Stamp {
        match self.precision {
            Precision::Sleep => due,
            Precision::Lead | Precision::Spin => due - Precision::LEAD,
        }
    }

    /// Ends the turn that is going on, if there is one, and lets the tasks that gave way go on.
    /// True when the core is leaving.
    fn end_turn(&mut self, waker: &Waker) -> bool {
        if let Some(start) = self.turn_start.take() {
            let length = Stamp::now().since(start);
            self.count(|health| health.turn.record(length));
        }
        for waker in self.gave_way.drain(..) {
            waker.wake();
        }
        if self
            .turn_end
            .as_ref()
            .is_none_or(|old| !old.will_wake(waker))
        {
            self.turn_end = Some(waker.clone());
        }
        self.leaving
    }
}

/// The task that ends turns. The first handler of a turn wakes it; the runtime queues it behind
/// every task that the same batch of readiness has woken, so it runs when the batch is done.
pub(super) async fn end_turns(core: Shared) {
    poll_fn(|context| {
        if core.borrow_mut().end_turn(context.waker()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Waiting without sleeping while sockets are served: each turn goes through the driver once.
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
    async fn turn(&self) {
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
