//! Everything the engine needs to run, already valid. No defaults are hidden here; what users type
//! becomes a plan in the binary.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use pinfire_base::{
    clock::Span,
    ready::Ready,
    record::{Keep, Phase},
};
use pinfire_dialect::Answers;
use rustls::{ClientConfig, pki_types::ServerName};

use crate::{
    request::RequestHead,
    schedule::{CancelPlan, Limit, Sampling, Schedule},
};

/// How the engine's threads are set up, once per process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EngineSetup {
    /// The CPU that each core's thread is pinned to; none where the system is to place it. Not
    /// empty.
    pub cpus: Vec<Option<usize>>,
    /// Which interface to the kernel the loops use.
    pub driver: DriverChoice,
    /// How deadlines are met.
    pub precision: Precision,
    /// Where the times of received bytes come from.
    pub receive_stamps: ReceiveStamps,
    /// Ask for SCHED_FIFO on the core threads.
    pub realtime: bool,
}

/// The kernel interface asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DriverChoice {
    /// io_uring where it works, epoll otherwise.
    Auto,
    /// io_uring or an error.
    Uring,
    /// epoll.
    Epoll,
}

/// The kernel interface in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Driver {
    /// io_uring.
    Uring,
    /// epoll.
    Epoll,
}

impl Driver {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// Where the times of received bytes come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReceiveStamps {
    /// The kernel's stamps on sockets that have them, the loop's on others.
    Auto,
    /// The kernel's, or an error at the start where it has none.
    Kernel,
    /// The loop's. The kernel's stamps of a sample of the reads tell how late those are.
    User,
}

impl ReceiveStamps {
    /// The name of the flag's value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Kernel => "kernel",
            Self::User => "user",
        }
    }
}

/// How a core waits for its next deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precision {
    /// A timerfd alone: 20–90 µs late, next to no CPU.
    Sleep,
    /// Wakes [`Precision::LEAD`] early and serves sockets in a tight loop until the instant.
    Lead,
    /// Never sleeps while a phase runs: a whole core, always.
    Spin,
}

impl Precision {
    /// How early `Lead` wakes. A timerfd is 20–90 µs late at the median and below 150 µs at p99 on
    /// the machines measured, so this covers it.
    pub const LEAD: Span = Span::from_micros(150);

    /// The last stretch before a deadline, in which `Lead` and `Spin` look at nothing but the
    /// clock: about the length of one turn through the driver.
    pub const LAST_BIT: Span = Span::from_micros(4);

    /// The name of the flag's value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sleep => "sleep",
            Self::Lead => "lead",
            Self::Spin => "spin",
        }
    }
}

/// What happens to a connection after a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reuse {
    /// It waits for the next request.
    Pooled,
    /// It waits for the next turn of its session and is closed after the last.
    Sticky,
    /// It is closed.
    Never,
}

/// Where a connection leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// TLS with one server.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Whom to trust; it also holds the sessions that later connections resume.
    pub config: Arc<ClientConfig>,
    /// The name that the server must prove, sent as SNI.
    pub name: ServerName<'static>,
}

/// A server, one of the run's.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its addresses, taken in turn by connections. Not empty.
    pub addresses: Vec<Address>,
    /// Further ones, for when none of those takes connections.
    pub spare: Vec<Address>,
    /// The request head, ready but for the ids and the length.
    pub head: RequestHead,
    /// Talk TLS with it.
    pub tls: Option<Tls>,
}

impl Target {
    /// The address of that number; the spare ones count on behind the others.
    pub fn address(&self, number: usize) -> &Address {
        match number.checked_sub(self.addresses.len()) {
            None => &self.addresses[number],
            Some(spare) => &self.spare[spare],
        }
    }

    /// Whether there is another address where one gives no connection.
    #[inline]
    pub fn has_several(&self) -> bool {
        self.addresses.len() + self.spare.len() > 1
    }
}

/// How connections are made.
#[derive(Clone, Debug, Default)]
pub struct Dialling {
    /// Local addresses, taken in turn by connections; empty: the system's choice. Of the family of
    /// every TCP address of the run.
    pub sources: Vec<IpAddr>,
    /// Limit of connecting, TLS included, within the limit of the request.
    pub timeout: Option<Span>,
    /// SO_RCVBUF in bytes. Setting it ends the kernel's tuning of that buffer.
    pub receive_buffer: Option<usize>,
    /// SO_SNDBUF in bytes, likewise.
    pub send_buffer: Option<usize>,
}

impl Dialling {
    /// Where the `nth` connection to `target` comes from, and the number of the address it goes to.
    /// Every source meets every address.
    pub fn route(&self, target: &Target, nth: usize) -> (Option<IpAddr>, usize) {
        let (source, nth) = match self.sources.len() {
            0 => (None, nth),
            count => (Some(self.sources[nth % count]), nth / count),
        };
        (source, nth % target.addresses.len())
    }
}

/// One phase of a run, shared by all cores.
#[derive(Debug)]
pub struct PhasePlan {
    /// Warmup or profiling.
    pub phase: Phase,
    /// The servers, the same and in the same order in every phase. Not empty.
    pub targets: Arc<[Target]>,
    /// How connections to them are made.
    pub dialling: Dialling,
    /// How answers are read, the same in every phase.
    pub answers: Answers,
    /// What is sent.
    pub dataset: Arc<Ready>,
    /// In which order sessions take its conversations.
    pub sampling: Sampling,
    /// Sessions of the phases before: this one goes on behind them in the dataset.
    pub first_session: u64,
    /// When sessions begin, and how many.
    pub schedule: Schedule,
    /// Sessions open at once, over all cores; `None` for no limit.
    pub concurrency: Option<Limit>,
    /// A slot of a closed loop rests after requests that get no answer.
    pub backs_off: bool,
    /// Requests that wait for their first content at once, over all cores; `None` for no limit.
    pub prefill: Option<Limit>,
    /// Nothing is sent from then on.
    pub duration: Option<Span>,
    /// What is in flight so long after `duration` is dropped; `None` waits for all of it.
    pub grace: Option<Span>,
    /// Which requests are cancelled; `None` for none.
    pub cancel: Option<CancelPlan>,
    /// Key of the request ids: random per run, so that two runs never share one.
    pub id_key: u64,
    /// Limit of a whole request, from its start.
    pub timeout: Span,
    /// What happens to connections.
    pub reuse: Reuse,
    /// What is kept of each request beyond its transcript.
    pub keep: Keep,
}

impl PhasePlan {
    /// The target of session `number`: in turn over the phases.
    #[inline]
    pub fn target(&self, number: u64) -> usize {
        ((self.first_session + number) % self.targets.len() as u64) as usize
    }

    /// The conversation of session `number`, counted on over the phases.
    #[inline]
    pub fn conversation(&self, number: u64) -> u32 {
        let count = self.dataset.conversations() as u64;
        self.sampling.pick(self.first_session + number, count) as u32
    }

    /// The turns of the conversation of session `number`.
    #[inline]
    pub fn turns(&self, number: u64) -> u32 {
        self.dataset.of(self.conversation(number) as usize).len() as u32
    }
}
