//! The least a client can do: a bare epoll loop on one thread that sends, reads, stamps each read
//! and counts events. What it costs is what other clients are compared with.

mod client;
mod request;
mod response;

use std::{
    io,
    net::{SocketAddr, TcpStream},
};

use pinfire_base::clock::{Span, Stamp};
use thiserror::Error;

pub use client::{Counts, Plan};
pub use request::Request;

use crate::cpu;

/// Why a load could not be carried.
#[derive(Debug, Error)]
pub enum FloorError {
    /// The thread cannot run on that processor.
    #[error("cannot run on cpu {cpu}: {cause}")]
    Cpu {
        /// The processor asked for.
        cpu: usize,
        /// What the system said.
        cause: io::Error,
    },
    /// A server that is not there is one clear error, not so many of them.
    #[error("cannot reach {server}: {cause}")]
    Unreachable {
        /// The server.
        server: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// A call failed.
    #[error("the run broke off: {0}")]
    Broken(io::Error),
}

/// A load that was carried, and what it cost.
pub struct Carried {
    /// What came of it.
    pub counts: Counts,
    /// How long it took.
    pub wall: Span,
    /// Processor time of the loop's thread.
    pub cpu: Span,
}

impl Carried {
    /// Requests that ended, however.
    pub fn requests(&self) -> u64 {
        self.counts.completed + self.counts.cancelled + self.counts.errors
    }

    /// Processor time for each of so many, in µs; 0 of none.
    pub fn cpu_us_per(&self, count: u64) -> f64 {
        if count == 0 {
            0.0
        } else {
            self.cpu.as_secs_f64() * 1e6 / count as f64
        }
    }
}

/// Carries a load on the calling thread, which stays on processor `cpu` if one is given.
///
/// # Errors
/// The processor cannot be had, the server not be reached, or a call has failed.
pub fn carry(plan: Plan, cpu: Option<usize>) -> Result<Carried, FloorError> {
    if let Some(cpu) = cpu {
        cpu::pin(cpu).map_err(|cause| FloorError::Cpu {
            cpu,
            cause: cause.into(),
        })?;
    }
    let server = plan.server;
    TcpStream::connect(server).map_err(|cause| FloorError::Unreachable { server, cause })?;
    let (begin, used) = (Stamp::now(), cpu::thread_time());
    let counts = client::run(plan).map_err(|cause| FloorError::Broken(cause.into()))?;
    let wall = Stamp::now().since(begin);
    let used = cpu::thread_time().nanos() - used.nanos();
    Ok(Carried {
        counts,
        wall,
        cpu: Span::from_nanos(used),
    })
}
