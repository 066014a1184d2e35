//! A core's thread: pinned to its CPU, one runtime for the life of the process.
//!
//! With `net` and `sys`, the only module that names the runtime.

use std::{cell::RefCell, future::poll_fn, io, os::fd::OwnedFd, rc::Rc, sync::Arc, task::Poll};

use crossbeam_channel::{Receiver, Sender};
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder, utils::detect_uring};
use pinfire_base::record::Record;

use super::{
    Core, Shared,
    command::Command,
    wake::{begin_own, counted},
};
use crate::{
    io::Io,
    net::{Bell, Kernel, try_calls},
    plan::{Driver, DriverChoice, EngineSetup},
    report::{CoreReport, EngineError, Progress},
    sys,
};

/// What a core's thread was granted.
#[derive(Clone, Debug)]
pub struct Granted {
    /// The CPU it is pinned to, if that was wanted and worked.
    pub cpu: Option<usize>,
    /// The kernel interface in use.
    pub driver: Driver,
    /// io_uring was there, could not be used, and epoll has taken its place: the reason.
    pub uring_refused: Option<String>,
    /// SCHED_FIFO was asked for and refused: the system's reason.
    pub realtime_refused: Option<String>,
}

/// Everything a core's thread takes with it.
pub(crate) struct Luggage {
    pub(crate) number: usize,
    pub(crate) setup: EngineSetup,
    pub(crate) bell: OwnedFd,
    pub(crate) commands: Receiver<Command>,
    pub(crate) records: Sender<Record>,
    pub(crate) reports: Sender<CoreReport>,
    pub(crate) progress: Arc<[[Progress; 2]]>,
}

/// The body of a core's thread. Answers once through `ready`, then serves until it is told to
/// leave.
pub(crate) fn live(luggage: Luggage, ready: &Sender<Result<Granted, EngineError>>) {
    let pin = |&id: &usize| core_affinity::set_for_current(core_affinity::CoreId { id });
    let pinned = luggage.setup.cpus[luggage.number].filter(pin);
    let realtime_refused = luggage
        .setup
        .realtime
        .then(sys::become_realtime)
        .and_then(Result::err)
        .map(|error| error.to_string());
    let granted = |driver, uring_refused| Granted {
        cpu: pinned,
        driver,
        uring_refused,
        realtime_refused,
    };
    let mut uring_refused = None;
    let wants_uring = match luggage.setup.driver {
        DriverChoice::Uring => true,
        DriverChoice::Epoll => false,
        DriverChoice::Auto => detect_uring(),
    };
    if let Err((call, cause)) = try_calls() {
        let _ = ready.send(Err(EngineError::Refused { call, cause }));
        return;
    }
    if wants_uring {
        match uring_runtime() {
            Ok(mut runtime) => {
                let _ = ready.send(Ok(granted(Driver::Uring, None)));
                runtime.block_on(serve(luggage, Driver::Uring));
                return;
            }
            Err(cause) if luggage.setup.driver == DriverChoice::Uring => {
                let _ = ready.send(Err(EngineError::NoUring { cause }));
                return;
            }
            Err(cause) => uring_refused = Some(cause.to_string()),
        }
    }
    match epoll_runtime() {
        Ok(mut runtime) => {
            let _ = ready.send(Ok(granted(Driver::Epoll, uring_refused)));
            runtime.block_on(serve(luggage, Driver::Epoll));
        }
        Err(cause) => {
            let _ = ready.send(Err(EngineError::NoEpoll { cause }));
        }
    }
}

/// Tries whether io_uring can be used here.
///
/// # Errors
/// Why it cannot: an old kernel, or a container that forbids it.
pub fn try_uring() -> io::Result<()> {
    if !detect_uring() {
        return Err(io::Error::other(
            "io_uring is not available here (old kernel, or forbidden by a container)",
        ));
    }
    // A sandbox may let a ring be made and refuse to enter it: the runtime would wait without end.
    let entered = io_uring::IoUring::new(2)?.submit();
    entered.map(drop).map_err(|cause| {
        io::Error::new(
            cause.kind(),
            format!("the system refuses io_uring_enter ({cause})"),
        )
    })
}

/// A ring with the flags of a single thread; without them where the kernel is older.
fn uring_runtime() -> io::Result<monoio::Runtime<IoUringDriver>> {
    const ENTRIES: u32 = 4_096;
    try_uring()?;
    let mut flags = io_uring::IoUring::builder();
    // Room for every connection of a process to become ready at once.
    flags
        .setup_single_issuer()
        .setup_coop_taskrun()
        .setup_cqsize(65_536);
    RuntimeBuilder::<IoUringDriver>::new()
        .with_entries(ENTRIES)
        .uring_builder(flags)
        .build()
        .or_else(|_| {
            RuntimeBuilder::<IoUringDriver>::new()
                .with_entries(ENTRIES)
                .build()
        })
}

/// A runtime on epoll, whose calls are tried as the ring's are.
fn epoll_runtime() -> io::Result<monoio::Runtime<LegacyDriver>> {
    sys::try_epoll()?;
    RuntimeBuilder::<LegacyDriver>::new().build()
}

/// The main future: sets the core's tasks going and waits until it may leave.
async fn serve(luggage: Luggage, driver: Driver) {
    // These can only fail for want of descriptors at the very start, or of memory for the ring;
    // there is no phase yet that could report it, so the closed channels will.
    let (Ok(kernel), Ok(bell)) = (Kernel::new(driver), Bell::new(luggage.bell)) else {
        return;
    };
    let kernel = Rc::new(kernel);
    let core = Core::new(
        luggage.number,
        &luggage.setup,
        Rc::clone(&kernel),
        luggage.records,
        luggage.reports,
        luggage.progress,
    );
    begin_own(&core, &kernel);
    kernel.spawn(counted(
        obey(Rc::clone(&core), bell, luggage.commands),
        Rc::clone(&core),
    ));
    poll_fn(|context| {
        let mut core: std::cell::RefMut<'_, Core<Kernel>> = RefCell::borrow_mut(&core);
        if core.tasks.have_left() {
            return Poll::Ready(());
        }
        core.tasks.wake_when_left(context.waker());
        Poll::Pending
    })
    .await;
}

/// The task that takes commands.
async fn obey(core: Shared<Kernel>, bell: Bell, commands: Receiver<Command>) {
    loop {
        bell.rung().await;
        while let Ok(command) = commands.try_recv() {
            if !core.borrow_mut().obey(command) {
                return;
            }
        }
    }
}
