//! What a core needs of the outside: a clock, a timer, sockets, tasks. The kernel gives it (`net`),
//! and in tests a world of its own (`core/sim`), in which a run is what its seed says.

use std::{
    future::Future,
    io::{self, IoSlice},
    net::{IpAddr, SocketAddr},
    rc::Rc,
};

use pinfire_base::clock::{ClockPair, Span, Stamp};

use crate::plan::{Address, Dialling, ReceiveStamps, Tls};

/// The outside of one core. Everything but the two waits returns at once.
pub trait Io: Sized + 'static {
    /// A connection to a server.
    type Socket: Socket;
    /// TLS over it.
    type Secure: Secure<Self::Socket>;

    /// The monotonic clock.
    fn now(&self) -> Stamp;

    /// The wall clock between two readings of the monotonic one.
    fn clock_pair(&self) -> ClockPair;

    /// CPU time that the core's thread has used.
    fn cpu_time(&self) -> Span;

    /// Arms the timer for an instant, a past one too, instead of the one before.
    fn arm(&self, at: Stamp);

    /// Waits until the timer has fired.
    fn fired(&self) -> impl Future<Output = ()>;

    /// Waits while every socket that is ready is served once.
    fn tick(&self) -> impl Future<Output = ()>;

    /// Nobody waits for ticks any more.
    fn stop_ticking(&self);

    /// Begins to connect; over TCP, from `source` if there is one.
    ///
    /// # Errors
    /// The system's error number: no descriptors, no ports, refused at once.
    fn connect(
        &self,
        to: &Address,
        source: Option<IpAddr>,
        dialling: &Dialling,
        stamps: ReceiveStamps,
    ) -> Result<Rc<Self::Socket>, i32>;

    /// Which of these have something to read, an end or an error included.
    fn readable_now<'a>(
        &self,
        sockets: impl Iterator<Item = &'a Self::Socket>,
        readable: &mut Vec<bool>,
    );

    /// Puts a task on the runtime of this thread.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);
}

/// A connection as a core uses it; nothing but the two waits takes time.
pub trait Socket: 'static {
    /// Waits until a `recv` would not block. Nothing is in flight, so dropping it loses nothing.
    fn readable(&self) -> impl Future<Output = ()>;

    /// Waits until a `send` would not block, or a pending connect has ended.
    fn writable(&self) -> impl Future<Output = ()>;

    /// One `recv`. Where only a sample of the reads is stamped, `sample` says whether this one is
    /// of it.
    ///
    /// # Errors
    /// As `recv`: would block, reset, and so on.
    fn receive(&self, into: &mut [u8], sample: bool) -> io::Result<Received>;

    /// How many bytes there are to read; `None` where the system does not say.
    fn waiting(&self) -> Option<usize>;

    /// What there is to read, copied and left where it is: so many bytes.
    ///
    /// # Errors
    /// As `recv`; an error that is told here is not told again.
    fn peek(&self, into: &mut [u8]) -> io::Result<usize>;

    /// Whether the peer has acknowledged every byte that a `send` has taken; `None` where nothing
    /// is acknowledged.
    fn acknowledged(&self) -> Option<bool>;

    /// Whether an idle connection is still good: open, and with nothing to read.
    fn is_quiet(&self) -> bool;

    /// One `send` of two parts in a row.
    ///
    /// # Errors
    /// As `send`: would block, reset, and so on.
    fn send(&self, head: &[u8], body: &[u8]) -> io::Result<usize>;

    /// One `send` of several parts in a row.
    ///
    /// # Errors
    /// As `send`.
    fn send_parts(&self, parts: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Hangs up in both directions. What was sent arrives, unless the server sends something before
    /// it has received all of it: that is answered with a reset.
    fn hang_up(&self);

    /// Ends the sending direction alone: the server sees a FIN and may still answer.
    fn half_close(&self);

    /// Resets the connection.
    fn reset(&self);

    /// The outcome of a connect that had been pending.
    ///
    /// # Errors
    /// The system's error number.
    fn connect_result(&self) -> Result<(), i32>;

    /// Both ends of a TCP connection.
    fn addresses(&self) -> (Option<SocketAddr>, Option<SocketAddr>);

    /// The local port, 0 if there is none.
    fn local_port(&self) -> u16;
}

/// TLS as a filter of bytes between a socket and the protocol. It waits for nothing itself.
pub trait Secure<S>: Sized + 'static {
    /// A session whose first message waits to be sent.
    ///
    /// # Errors
    /// The configuration and the name do not go together.
    fn new(tls: &Tls) -> Result<Self, rustls::Error>;

    /// The handshake is not over.
    fn is_handshaking(&self) -> bool;

    /// Opens bytes as received and gives what was inside to `take`. True when the server has said
    /// that nothing more will come.
    ///
    /// # Errors
    /// They are not what TLS allows here, or the server's certificate is no good. Nothing can be
    /// read any more.
    fn open(&mut self, received: &[u8], take: impl FnMut(&[u8])) -> Result<bool, rustls::Error>;

    /// Like [`Socket::send_parts`], and the number of bytes means the same: so many have been taken
    /// by the socket, down to the end of their last record. A call that would block has kept what
    /// it sealed; the next one must come with the same bytes.
    ///
    /// # Errors
    /// The socket's.
    fn send(&mut self, socket: &S, parts: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Sends records that wait.
    ///
    /// # Errors
    /// The socket's; `WouldBlock` when it has no room for all of them.
    fn flush(&mut self, socket: &S) -> io::Result<()>;
}

/// What one `recv` has brought.
pub struct Received {
    /// How many bytes; 0 for the end.
    pub bytes: usize,
    /// What is known of when they came.
    pub came: Came,
}

/// What is known of when bytes came, in Unix nanoseconds.
#[derive(Clone, Copy)]
pub enum Came {
    /// The kernel's stamp of the newest of them.
    At(u64),
    /// The same, but only to know how late our own stamp is.
    Sampled(u64),
    /// Nothing, though the kernel's stamp was wanted.
    Unknown,
    /// Nothing: nobody asked.
    Unasked,
}
