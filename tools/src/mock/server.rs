//! A server from the outside: its port, its thread, its end.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use pinfire_base::clock::{Stamp, WallAnchor};
use pinfire_base::threads;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt,
};
use thiserror::Error;

use super::notice::Notice;
use super::script::{Script, ScriptError};
use super::truth::Truth;
use super::turn::{BATCH, Core, Summary};
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
        let thread = threads::start("pinfire-mock", body).map_err(io::Error::from)?;
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
        while !self.stop.is_given() && !self.core.dead {
            let now = Stamp::now();
            self.core.turn(now);
            self.core.wait(&mut ready);
            for event in ready.drain(..) {
                self.core.ready(event);
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

/// Pending connections the kernel holds. A smaller backlog costs bursts a second per lost SYN.
const BACKLOG: i32 = 4096;
