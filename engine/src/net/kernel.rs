//! The outside of a core as the kernel and the runtime give it.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    io,
    net::IpAddr,
    rc::Rc,
    task::{Poll, Waker},
};

use pinfire_base::clock::{ClockPair, Span, Stamp, thread_cpu_time};

use super::{Bell, Pollable, Timer, connect::connect, readable_now};
use crate::{
    io::Io,
    plan::{Address, Dialling, Driver, ReceiveStamps},
    tls::TlsSession,
};

/// The kernel, on the thread of a core's runtime.
pub struct Kernel {
    timer: Timer,
    spinner: Spinner,
}

impl Kernel {
    /// Its timer is not armed.
    ///
    /// # Errors
    /// No descriptors left, or no memory for the ring.
    pub fn new(driver: Driver) -> io::Result<Self> {
        Ok(Self {
            timer: Timer::new()?,
            spinner: Spinner::new(driver)?,
        })
    }
}

impl Io for Kernel {
    type Socket = Pollable;
    type Secure = TlsSession;

    #[inline]
    fn now(&self) -> Stamp {
        Stamp::now()
    }

    #[inline]
    fn clock_pair(&self) -> ClockPair {
        ClockPair::read()
    }

    fn cpu_time(&self) -> Span {
        thread_cpu_time()
    }

    #[inline]
    fn arm(&self, at: Stamp) {
        self.timer.arm(at);
    }

    async fn fired(&self) {
        self.timer.fired().await;
    }

    async fn tick(&self) {
        match &self.spinner {
            Spinner::Ring(bell) => bell.ringing().await,
            Spinner::Bounce(bounce) => bounce.throw().await,
        }
    }

    fn stop_ticking(&self) {
        if let Spinner::Bounce(bounce) = &self.spinner {
            bounce.stopped.set(true);
            wake(&bounce.catcher);
        }
    }

    fn connect(
        &self,
        to: &Address,
        source: Option<IpAddr>,
        dialling: &Dialling,
        stamps: ReceiveStamps,
    ) -> Result<Rc<Pollable>, i32> {
        connect(to, source, dialling, stamps)
    }

    fn readable_now<'a>(
        &self,
        sockets: impl Iterator<Item = &'a Pollable>,
        readable: &mut Vec<bool>,
    ) {
        readable_now(sockets, readable);
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        // Dropping the handle detaches the task.
        drop(monoio::spawn(task));
    }
}

/// Waiting without sleeping while sockets are served: each tick goes through the driver once.
enum Spinner {
    /// On the ring: awaiting an eventfd that is always ready.
    Ring(Bell),
    /// On epoll, where readiness is cached and such an await would never yield: a bounce through a
    /// helper task. (In monoio 0.2.4 a task that wakes itself starves the others.)
    Bounce(Rc<Bounce>),
}

impl Spinner {
    fn new(driver: Driver) -> io::Result<Self> {
        match driver {
            Driver::Uring => Bell::always().map(Self::Ring),
            Driver::Epoll => {
                let bounce = Rc::new(Bounce::default());
                drop(monoio::spawn(Rc::clone(&bounce).catch()));
                Ok(Self::Bounce(bounce))
            }
        }
    }
}

/// The two tasks of a bounce: each wakes the other.
#[derive(Default)]
struct Bounce {
    thrown: Cell<bool>,
    stopped: Cell<bool>,
    thrower: RefCell<Option<Waker>>,
    catcher: RefCell<Option<Waker>>,
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
    async fn catch(self: Rc<Self>) {
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
