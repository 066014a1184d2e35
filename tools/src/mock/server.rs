//! The server's thread: its port, its loop, its connections.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use pinfire_engine::clock::{NANOS_PER_SECOND, Span, Stamp, WallAnchor};
use pinfire_engine::random::Purpose;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, acceptfrom_with, bind, getsockname, listen,
    socket_with, sockopt,
};
use thiserror::Error;

use super::answer::Flow;
use super::conn::{Conn, Phase};
use super::deadline::Deadlines;
use super::fault::Faults;
use super::metrics::{Finish, Metrics};
use super::notice::Notice;
use super::pieces::Pieces;
use super::request::Keys;
use super::script::{Script, ScriptError};
use super::truth::Truth;
use crate::cpu;

/// Why a server could not be started.
#[derive(Debug, Error)]
pub enum MockError {
    /// The script contradicts itself.
    #[error("{0}")]
    Script(#[from] ScriptError),
    /// The port is taken, or the address is not ours.
    #[error("cannot listen on {addr}: {cause}")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// The truth log cannot be created.
    #[error("cannot write the truth log {path}: {cause}")]
    Truth {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The thread cannot run on that processor.
    #[error("cannot pin the server to cpu {cpu}: {cause}")]
    Cpu {
        /// The processor asked for.
        cpu: usize,
        /// What the system said.
        cause: io::Error,
    },
    /// No descriptor or thread was to be had.
    #[error("cannot start the server: {0}")]
    System(#[from] io::Error),
}

/// What a server has done.
#[derive(Debug, Default)]
pub struct Summary {
    /// Answers ended by the server, faults included.
    pub served: u64,
    /// Whole requests whose client left before the end of the answer.
    pub aborted: u64,
    /// Answers that ended in a fault of the script.
    pub failed: u64,
    /// Connections accepted.
    pub connections: u64,
    /// The first error of the truth log, which is then incomplete.
    pub truth_error: Option<io::Error>,
}

/// A bound server that does not run yet; clients may connect already.
pub struct Server {
    core: Core,
    addr: SocketAddr,
    stop: Arc<Notice>,
}

/// Ends a running server from any thread.
#[derive(Clone, Debug)]
pub struct Stopper(Arc<Notice>);

impl Stopper {
    /// Asks the server to stop; returns at once.
    pub fn stop(&self) {
        self.0.give();
    }
}

/// A server on its own thread. Dropping it stops the server too.
#[derive(Debug)]
pub struct Handle {
    addr: SocketAddr,
    stopper: Stopper,
    thread: Option<JoinHandle<Summary>>,
}

impl Handle {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// A way to stop it from elsewhere.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Stops the server and waits until its log is written.
    pub fn stop(mut self) -> Summary {
        self.end()
    }

    fn end(&mut self) -> Summary {
        self.stopper.stop();
        let thread = self.thread.take();
        thread
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}

impl Server {
    /// Opens the port; port 0 takes a free one. With `truth` every request is logged there.
    ///
    /// # Errors
    /// When the script is contradictory, the address cannot be had or the log not be created.
    pub fn bind(
        script: Script,
        addr: SocketAddr,
        truth: Option<PathBuf>,
    ) -> Result<Self, MockError> {
        script.check()?;
        let fault = |cause: Errno| MockError::Listen {
            addr,
            cause: cause.into(),
        };
        let listener = open_port(addr).map_err(fault)?;
        let name = getsockname(&listener).map_err(fault)?;
        let local = SocketAddr::try_from(name).map_err(fault)?;
        let anchor = WallAnchor::take();
        let truth = truth.map(|path| open_truth(&path, anchor)).transpose()?;
        let stop = Arc::new(Notice::new().map_err(io::Error::from)?);
        let core = Core::new(script, listener, anchor, truth, &stop).map_err(io::Error::from)?;
        Ok(Self {
            core,
            addr: local,
            stop,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// What ends [`Server::run`].
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stop))
    }

    /// Runs on a thread of its own, pinned to `cpu` if given.
    ///
    /// # Errors
    /// When there is no thread to be had or it may not run on that processor.
    pub fn spawn(self, cpu: Option<usize>) -> Result<Handle, MockError> {
        let (addr, stopper) = (self.addr, self.stopper());
        let (ready, is_ready) = mpsc::channel();
        let body = move || {
            let pinned = cpu.map_or(Ok(()), cpu::pin);
            let failed = pinned.is_err();
            // The receiver waits for this; it cannot be gone.
            let _ = ready.send(pinned);
            if failed {
                Summary::default()
            } else {
                self.run()
            }
        };
        let thread = thread::Builder::new().name("mock".into()).spawn(body)?;
        let handle = Handle {
            addr,
            stopper,
            thread: Some(thread),
        };
        match (is_ready.recv(), cpu) {
            (Ok(Err(cause)), Some(cpu)) => Err(MockError::Cpu {
                cpu,
                cause: cause.into(),
            }),
            _ => Ok(handle),
        }
    }

    /// Runs on the calling thread until its [`Stopper`] is used.
    pub fn run(mut self) -> Summary {
        let mut ready = Vec::with_capacity(BATCH);
        while !self.stop.is_given() {
            let now = Stamp::now();
            self.core.turn(now);
            self.core.wait(&mut ready);
            for event in ready.drain(..) {
                match event.data.u64() {
                    LISTENER => self.core.accept(),
                    TIMER => self.core.deadlines.fired(),
                    STOP => {}
                    _ => self.core.ready(event),
                }
            }
        }
        self.core.end()
    }
}

fn open_port(addr: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if addr.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let listener = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&listener, true)?;
    // Accepted sockets inherit it, which saves a call for each.
    sockopt::set_tcp_nodelay(&listener, true)?;
    bind(&listener, &addr)?;
    listen(&listener, BACKLOG)?;
    Ok(listener)
}

fn open_truth(path: &Path, anchor: WallAnchor) -> Result<Truth, MockError> {
    Truth::create(path, anchor).map_err(|cause| MockError::Truth {
        path: path.to_owned(),
        cause,
    })
}

/// Everything the loop works on.
pub(super) struct Core {
    pub(super) script: Script,
    pub(super) pieces: Pieces,
    pub(super) faults: Faults,
    pub(super) jitter: Purpose,
    pub(super) keys: Keys,
    pub(super) metrics: Metrics,
    pub(super) truth: Option<Truth>,
    pub(super) deadlines: Deadlines,
    /// Requests that may run at a time.
    pub(super) slots: u64,
    /// Connections whose requests wait for a slot: slot in the table, and number.
    pub(super) queue: VecDeque<(u32, u64)>,
    /// Connections that hold the beginning of a next request.
    pub(super) again: Vec<u32>,
    /// Whole requests so far.
    pub(super) requests: u64,
    pub(super) served: u64,
    /// Where reads land, where sends are composed, and where events are before framing.
    pub(super) buffer: Vec<u8>,
    pub(super) out: Vec<u8>,
    pub(super) events: Vec<u8>,
    anchor: WallAnchor,
    created: (u64, [u8; 10]),
    epoll: OwnedFd,
    listener: OwnedFd,
    /// When to take connections again, while the listener is not watched.
    accept_at: Option<Stamp>,
    conns: Vec<Option<Box<Conn>>>,
    free: Vec<u32>,
    tickets: u32,
}

const BACKLOG: i32 = 4096;
/// Ready sockets taken from the kernel at a time, and due writes between two looks at them.
const BATCH: usize = 256;
const DUE_BATCH: usize = 4096;
const READ_BYTES: usize = 256 * 1024;

const LISTENER: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;
const STOP: u64 = u64::MAX - 2;

impl Core {
    fn new(
        script: Script,
        listener: OwnedFd,
        anchor: WallAnchor,
        truth: Option<Truth>,
        stop: &Notice,
    ) -> Result<Self, Errno> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let deadlines = Deadlines::new(script.precision)?;
        let (seen, once) = (EventFlags::IN, EventFlags::IN | EventFlags::ET);
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), seen)?;
        epoll::add(&epoll, deadlines.fd(), EventData::new_u64(TIMER), once)?;
        epoll::add(&epoll, stop.fd(), EventData::new_u64(STOP), seen)?;
        Ok(Self {
            pieces: Pieces::new(&script),
            faults: Faults::new(&script.faults, script.seed),
            jitter: Purpose::new(script.seed, "mock.jitter"),
            keys: Keys::new(),
            metrics: Metrics::default(),
            truth,
            deadlines,
            slots: script.slots.map_or(u64::MAX, u64::from),
            queue: VecDeque::new(),
            again: Vec::new(),
            requests: 0,
            served: 0,
            buffer: vec![0; READ_BYTES],
            out: Vec::with_capacity(READ_BYTES),
            events: Vec::with_capacity(READ_BYTES),
            anchor,
            created: (0, *b"0000000000"),
            epoll,
            listener,
            accept_at: None,
            conns: Vec::new(),
            free: Vec::new(),
            tickets: 0,
            script,
        })
    }

    /// Does everything that is due.
    fn turn(&mut self, now: Stamp) {
        for _ in 0..DUE_BATCH {
            let Some(due) = self.deadlines.pop(now) else {
                break;
            };
            self.with(due.slot, |core, conn| {
                if conn.ticket == due.ticket {
                    core.due(conn, now)
                } else {
                    Flow::Keep
                }
            });
        }
        loop {
            while let Some(slot) = self.again.pop() {
                self.with(slot, |core, conn| {
                    if conn.phase == Phase::Receiving && !conn.inbox.is_empty() {
                        core.resume(conn, now)
                    } else {
                        Flow::Keep
                    }
                });
            }
            self.fill_slots();
            if self.again.is_empty() {
                break;
            }
        }
        if self.accept_at.is_some_and(|at| at <= now) {
            self.accept_at = None;
            self.take_connections();
            self.watch_listener(EventFlags::IN);
        }
        if let Some(truth) = &mut self.truth
            && truth.flush_at().is_some_and(|at| at <= now)
        {
            truth.flush();
        }
    }

    fn due(&mut self, conn: &mut Conn, now: Stamp) -> Flow {
        match conn.phase {
            Phase::Answering => self.advance(conn, now),
            // Idle for long enough, and not in the middle of a request.
            Phase::Receiving if conn.first.is_none() => Flow::Close,
            Phase::Leaving => Flow::Close,
            Phase::Receiving | Phase::Queued | Phase::Stalled => Flow::Keep,
        }
    }

    /// Starts queued requests while there are slots.
    fn fill_slots(&mut self) {
        while self.metrics.running < self.slots {
            let Some((slot, number)) = self.queue.pop_front() else {
                return;
            };
            self.with(slot, |core, conn| {
                // The client of a queued request may have left, and the place be another's.
                if conn.number == number && conn.phase == Phase::Queued {
                    core.start(conn, Stamp::now())
                } else {
                    Flow::Keep
                }
            });
        }
    }

    fn wait(&mut self, ready: &mut Vec<Event>) {
        let flush_at = self.truth.as_ref().and_then(Truth::flush_at);
        let other = match (self.accept_at, flush_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let timeout = self.deadlines.prepare(Stamp::now(), other);
        // A signal may interrupt the wait; the loop then just turns once more.
        let _ = epoll::wait(&self.epoll, spare_capacity(ready), timeout);
    }

    fn ready(&mut self, event: Event) {
        let (key, flags) = (event.data.u64(), event.flags);
        self.with(key as u32, |core, conn| {
            if conn.number as u32 != (key >> 32) as u32 {
                return Flow::Keep;
            }
            let room = flags.contains(EventFlags::OUT);
            if room && core.has_room(conn) == Flow::Close {
                return Flow::Close;
            }
            if flags == EventFlags::OUT {
                return Flow::Keep;
            }
            core.readable(conn)
        });
    }

    fn has_room(&mut self, conn: &mut Conn) -> Flow {
        if let Err(error) = conn.flush() {
            return self.lost(conn, error, Stamp::now());
        }
        if !conn.flushed() {
            return Flow::Keep;
        }
        match self.watch_room(conn, false) {
            Flow::Keep if conn.phase == Phase::Answering => self.advance(conn, Stamp::now()),
            flow => flow,
        }
    }

    /// Lends a connection to `work` and closes it if that says so.
    fn with(&mut self, slot: u32, work: impl FnOnce(&mut Self, &mut Conn) -> Flow) {
        let place = slot as usize;
        let Some(mut conn) = self.conns.get_mut(place).and_then(Option::take) else {
            return;
        };
        match work(self, &mut conn) {
            Flow::Keep => self.conns[place] = Some(conn),
            Flow::Close => {
                self.metrics.connections -= 1;
                self.free.push(slot);
            }
        }
    }

    /// Sets the one deadline of a connection.
    #[inline]
    pub(super) fn arm(&mut self, conn: &mut Conn, at: Stamp) {
        self.tickets = self.tickets.wrapping_add(1);
        conn.ticket = self.tickets;
        self.deadlines.push(at, conn.slot, conn.ticket);
    }

    /// Starts or stops watching for room to send.
    pub(super) fn watch_room(&self, conn: &mut Conn, watch: bool) -> Flow {
        if conn.watches_room == watch {
            return Flow::Keep;
        }
        conn.watches_room = watch;
        let room = if watch {
            EventFlags::OUT
        } else {
            EventFlags::empty()
        };
        let key = EventData::new_u64(key(conn.slot, conn.number));
        match epoll::modify(&self.epoll, &conn.fd, key, WATCHED | room) {
            Ok(()) => Flow::Keep,
            Err(_) => Flow::Close,
        }
    }

    /// New connections are there, or their time has come.
    fn accept(&mut self) {
        if self.script.accept_delay == Span::ZERO {
            self.take_connections();
        } else if self.accept_at.is_none() {
            self.pause_accepting(self.script.accept_delay);
        }
    }

    fn pause_accepting(&mut self, time: Span) {
        self.accept_at = Some(Stamp::now() + time);
        self.watch_listener(EventFlags::empty());
    }

    fn watch_listener(&self, flags: EventFlags) {
        let key = EventData::new_u64(LISTENER);
        // The listener is always registered, so this cannot be refused.
        let _ = epoll::modify(&self.epoll, &self.listener, key, flags);
    }

    fn take_connections(&mut self) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        loop {
            match acceptfrom_with(&self.listener, flags) {
                Ok((fd, peer)) => {
                    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                    self.add_connection(fd, peer.map_or(0, |peer| peer.port()));
                }
                Err(Errno::AGAIN) => return,
                // The client left while it waited, or a signal came.
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                // Out of descriptors: the backlog holds them until some are closed.
                Err(_) => return self.pause_accepting(Span::from_millis(100)),
            }
        }
    }

    fn add_connection(&mut self, fd: OwnedFd, port: u16) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.conns.push(None);
            (self.conns.len() - 1) as u32
        });
        self.metrics.accepted += 1;
        let number = self.metrics.accepted;
        let watched = EventData::new_u64(key(slot, number));
        if epoll::add(&self.epoll, &fd, watched, WATCHED).is_err() {
            self.free.push(slot);
            return;
        }
        self.metrics.connections += 1;
        let conn = Conn::new(fd, slot, number, port, Stamp::now());
        self.conns[slot as usize] = Some(Box::new(conn));
    }

    /// The Unix second of `now` in ten digits.
    pub(super) fn created(&mut self, now: Stamp) -> [u8; 10] {
        let second = self.anchor.unix_nanos(now) / NANOS_PER_SECOND;
        if second != self.created.0 {
            let mut digits = [b'0'; 10];
            let mut rest = second;
            for digit in digits.iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
            self.created = (second, digits);
        }
        self.created.1
    }

    /// Logs what was under way and closes everything.
    fn end(mut self) -> Summary {
        let now = Stamp::now();
        for conn in std::mem::take(&mut self.conns).into_iter().flatten() {
            if conn.active.is_some() || conn.first.is_some() {
                self.log(&conn, now, |line| line.how = "stop");
            }
        }
        Summary {
            served: self.served,
            aborted: self.metrics.finished(Finish::Abort),
            failed: self.metrics.finished(Finish::Error),
            connections: self.metrics.accepted,
            truth_error: self.truth.take().and_then(Truth::close),
        }
    }
}

const WATCHED: EventFlags = EventFlags::IN.union(EventFlags::RDHUP);

fn key(slot: u32, number: u64) -> u64 {
    u64::from(slot) | number << 32
}
