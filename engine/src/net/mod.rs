//! Sockets as the core needs them: readiness from the runtime, bytes by direct calls.
//!
//! With the core's `place` and `sys`, the only module that names the runtime.

mod connect;
mod kernel;

pub use connect::StampKeeper;
pub use kernel::Kernel;

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use monoio::net::UnixStream;
use pinfire_base::clock::{NANOS_PER_SECOND, Stamp};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown},
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};

use crate::{
    io::{Came, Received, Socket},
    sys,
};

/// How everything is sent: without waiting, and without a signal when the peer has gone.
const SEND: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// Which of these have something to read, an end or an error included: one call for all of them.
/// Where the system does not say, all may.
pub fn readable_now<'a>(sockets: impl Iterator<Item = &'a Pollable>, readable: &mut Vec<bool>) {
    let mut looked: Vec<PollFd<'_>> = sockets
        .map(|socket| PollFd::from_borrowed_fd(socket.descriptor(), PollFlags::IN))
        .collect();
    let known = poll(&mut looked, Some(&Timespec::default())).is_ok();
    readable.clear();
    readable.extend(looked.iter().map(|one| !known || !one.revents().is_empty()));
}

/// A descriptor whose readiness the runtime watches. Made on the thread of its runtime.
pub struct Pollable {
    stream: UnixStream,
    kind: Kind,
}

/// What is known of a descriptor.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A timer, a bell, a socket in the file system: the kernel stamps and acknowledges nothing.
    Other,
    /// A TCP socket whose reads have these stamps.
    Tcp(Stamps),
}

/// Which reads of a TCP socket carry the kernel's stamp.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stamps {
    /// All, and it is their time.
    Every,
    /// A sample, and it only tells how late our own is.
    Sample,
    /// None: the kernel refused.
    Refused,
}

impl Pollable {
    /// Takes a non-blocking descriptor of any pollable kind; the runtime only polls it.
    fn new(descriptor: OwnedFd, kind: Kind) -> io::Result<Self> {
        let stream = UnixStream::from_std(descriptor.into())?;
        Ok(Self { stream, kind })
    }

    #[inline]
    fn descriptor(&self) -> BorrowedFd<'_> {
        sys::borrow(&self.stream)
    }
}

impl Socket for Pollable {
    /// Waits until a `recv` would not block. Nothing is in flight, so dropping it loses nothing.
    #[inline]
    async fn readable(&self) {
        // An error shows in the call that follows.
        let _ = self.stream.readable(false).await;
    }

    /// Waits until a `send` would not block, or a pending connect has ended.
    async fn writable(&self) {
        // As above.
        let _ = self.stream.writable(false).await;
    }

    /// One `recv` that does not wait. Where only a sample of the reads is stamped, `sample` says
    /// whether this one is of it.
    #[inline]
    fn receive(&self, into: &mut [u8], sample: bool) -> io::Result<Received> {
        let without = match self.kind {
            Kind::Tcp(Stamps::Every) => {
                let (bytes, stamp) = sys::receive_stamped(self.descriptor(), into)?;
                let came = stamp.map_or(Came::Unknown, Came::At);
                return Ok(Received { bytes, came });
            }
            Kind::Tcp(Stamps::Sample) if sample => {
                let (bytes, stamp) = sys::receive_stamped(self.descriptor(), into)?;
                let came = stamp.map_or(Came::Unasked, Came::Sampled);
                return Ok(Received { bytes, came });
            }
            Kind::Tcp(Stamps::Sample) => Came::Unasked,
            Kind::Tcp(Stamps::Refused) | Kind::Other => Came::Unknown,
        };
        let (bytes, _) = rustix::net::recv(self.descriptor(), into, RecvFlags::DONTWAIT)?;
        Ok(Received {
            bytes,
            came: without,
        })
    }

    /// How many bytes there are to read; `None` where the system does not say.
    #[inline]
    fn waiting(&self) -> Option<usize> {
        let bytes = rustix::io::ioctl_fionread(self.descriptor()).ok()?;
        usize::try_from(bytes).ok()
    }

    /// What there is to read, copied and left where it is: so many bytes.
    fn peek(&self, into: &mut [u8]) -> io::Result<usize> {
        let peek = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        let (bytes, _) = rustix::net::recv(self.descriptor(), into, peek)?;
        Ok(bytes)
    }

    /// Whether the peer has acknowledged every byte that a `send` has taken; `None` where nothing
    /// is acknowledged.
    fn acknowledged(&self) -> Option<bool> {
        match self.kind {
            Kind::Tcp(_) => Some(sys::unacknowledged(self.descriptor()).ok()? == 0),
            Kind::Other => None,
        }
    }

    /// Whether an idle connection is still good: open, and with nothing to read.
    fn is_quiet(&self) -> bool {
        let peek = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        let result = rustix::net::recv(self.descriptor(), &mut [0_u8; 1], peek);
        matches!(result, Err(error) if error == rustix::io::Errno::AGAIN)
    }

    /// One `send` of two parts in a row that does not wait and raises no signal.
    #[inline]
    fn send(&self, head: &[u8], body: &[u8]) -> io::Result<usize> {
        let sent = if body.is_empty() {
            rustix::net::send(self.descriptor(), head, SEND)
        } else if head.is_empty() {
            rustix::net::send(self.descriptor(), body, SEND)
        } else {
            return self.send_parts(&[IoSlice::new(head), IoSlice::new(body)]);
        };
        Ok(sent?)
    }

    /// One `send` of several parts in a row that does not wait and raises no signal.
    fn send_parts(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut nothing = SendAncillaryBuffer::default();
        let sent = rustix::net::sendmsg(self.descriptor(), parts, &mut nothing, SEND)?;
        Ok(sent)
    }

    /// Hangs up in both directions. The FIN goes out within the call if everything sent has left;
    /// otherwise it follows the last byte. What was sent arrives, unless the server sends something
    /// before it has received all of it: the kernel answers that with a reset.
    fn hang_up(&self) {
        // An error means that the connection is down already.
        let _ = rustix::net::shutdown(self.descriptor(), Shutdown::Both);
    }

    /// Ends the sending direction alone: the server sees a FIN and may still answer.
    fn half_close(&self) {
        // As above.
        let _ = rustix::net::shutdown(self.descriptor(), Shutdown::Write);
    }

    /// Resets the connection. The RST goes out within the call: a TCP socket that is connected to
    /// nothing gives its connection up. Where a kernel refuses that, it goes out as the socket
    /// closes.
    fn reset(&self) {
        let socket = self.descriptor();
        let _ = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
        if rustix::net::connect_unspec(socket).is_err() {
            // Wakes the task that holds the socket.
            let _ = rustix::net::shutdown(socket, Shutdown::Read);
        }
    }

    /// The outcome of a connect that had been pending.
    fn connect_result(&self) -> Result<(), i32> {
        match rustix::net::sockopt::socket_error(self.descriptor()) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) | Err(error) => Err(error.raw_os_error()),
        }
    }

    /// Both ends of a TCP connection.
    fn addresses(&self) -> (Option<SocketAddr>, Option<SocketAddr>) {
        let descriptor = self.descriptor();
        let socket = socket2::SockRef::from(&descriptor);
        let of = |address: io::Result<socket2::SockAddr>| address.ok()?.as_socket();
        (of(socket.local_addr()), of(socket.peer_addr()))
    }

    /// The local port, 0 if there is none.
    fn local_port(&self) -> u16 {
        socket2::SockRef::from(&self.descriptor())
            .local_addr()
            .ok()
            .and_then(|address| address.as_socket())
            .map_or(0, |address| address.port())
    }
}

/// Makes the process's table of descriptors large enough for so many connections before they are
/// opened. The kernel doubles the table on demand, and in a process with threads each doubling
/// waits for a grace period of all CPUs: 10-20 ms in which the core that opens a socket stands
/// still.
pub fn make_room_for(connections: usize) {
    // What is being closed and what replaces it overlap; the rest of the process has its share.
    let highest =
        i32::try_from(connections.saturating_mul(2).saturating_add(256)).unwrap_or(i32::MAX);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let highest = limit.map_or(highest, |limit| {
        highest.min(i32::try_from(limit.saturating_sub(1)).unwrap_or(i32::MAX))
    });
    if let Ok(any) = eventfd(0, EventfdFlags::CLOEXEC) {
        // Taking and dropping the highest number is enough. Without it the run is only less steady.
        let _ = rustix::io::fcntl_dupfd_cloexec(&any, highest);
    }
}

/// Tries the calls that timers and bells stand on, so that a sandbox that refuses one is an error
/// before anything is sent; a timer that cannot be armed would be waited for without end.
///
/// # Errors
/// The call, and the system's reason.
pub fn try_calls() -> Result<(), (&'static str, io::Error)> {
    let refused = |call| move |cause: rustix::io::Errno| (call, io::Error::from(cause));
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let timer = timerfd_create(TimerfdClockId::Monotonic, flags);
    let timer = timer.map_err(refused("timerfd_create"))?;
    timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &once(Stamp::now()))
        .map_err(refused("timerfd_settime"))?;
    let bell = eventfd(1, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC);
    let bell = bell.map_err(refused("eventfd2"))?;
    rustix::io::read(&bell, &mut [0_u8; 8]).map_err(refused("read"))?;
    rustix::io::write(&bell, &1_u64.to_ne_bytes()).map_err(refused("write"))?;
    Ok(())
}

/// A timer's setting for one instant.
fn once(at: Stamp) -> Itimerspec {
    Itimerspec {
        it_interval: Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        it_value: Timespec {
            tv_sec: (at.nanos() / NANOS_PER_SECOND) as _,
            tv_nsec: (at.nanos() % NANOS_PER_SECOND) as _,
        },
    }
}

/// One timer of a core: a timerfd that fires at an absolute instant.
pub struct Timer(Pollable);

impl Timer {
    /// A timer that is not armed.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Pollable::new(
            timerfd_create(TimerfdClockId::Monotonic, flags)?,
            Kind::Other,
        )
        .map(Self)
    }

    /// Arms it for an instant, a past one too. About 0.3 µs.
    pub fn arm(&self, at: Stamp) {
        // The descriptor is a timerfd, the time is normal and the call is allowed (`try_calls`):
        // nothing is left to fail.
        let _ = timerfd_settime(self.0.descriptor(), TimerfdTimerFlags::ABSTIME, &once(at));
    }

    /// Waits until it has fired, and takes the expiry away.
    pub async fn fired(&self) {
        self.0.readable().await;
        let _ = rustix::io::read(self.0.descriptor(), &mut [0_u8; 8]);
    }
}

/// A bell that another thread rings (an eventfd).
pub struct Bell(Pollable);

/// The other thread's end of a [`Bell`].
#[derive(Debug)]
pub struct Ringer(OwnedFd);

/// A bell's descriptor, made before the core's thread has a runtime; the other end rings it.
///
/// # Errors
/// No descriptors left.
pub fn bell() -> io::Result<(OwnedFd, Ringer)> {
    let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
    let ringer = Ringer(bell.try_clone()?);
    Ok((bell, ringer))
}

impl Ringer {
    /// Wakes the other side.
    pub fn ring(&self) {
        // Fails only when rung 2^64 times without being heard.
        let _ = rustix::io::write(self.0.as_fd(), &1_u64.to_ne_bytes());
    }
}

impl Bell {
    /// Puts the bell under the runtime's watch.
    ///
    /// # Errors
    /// The runtime refuses the descriptor.
    pub fn new(descriptor: OwnedFd) -> io::Result<Self> {
        Pollable::new(descriptor, Kind::Other).map(Self)
    }

    /// A bell that always rings: awaiting it is one turn of the loop.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn always() -> io::Result<Self> {
        Self::new(eventfd(1, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?)
    }

    /// Waits until it rings, and silences it.
    pub async fn rung(&self) {
        self.ringing().await;
        let _ = rustix::io::read(self.0.descriptor(), &mut [0_u8; 8]);
    }

    /// Waits until it rings, and lets it ring.
    pub async fn ringing(&self) {
        self.0.readable().await;
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::net::UnixStream as Pair};

    use monoio::{LegacyDriver, RuntimeBuilder};

    use super::*;

    #[test]
    fn one_look_tells_which_sockets_have_anything() {
        let mut runtime = RuntimeBuilder::<LegacyDriver>::new().build().unwrap();
        runtime.block_on(async {
            let (ours, mut theirs): (Vec<Pollable>, Vec<Pair>) = (0..4)
                .map(|_| {
                    let (one, other) = Pair::pair().unwrap();
                    one.set_nonblocking(true).unwrap();
                    (Pollable::new(one.into(), Kind::Other).unwrap(), other)
                })
                .unzip();
            theirs[1].write_all(b"x").unwrap();
            // An end is something to read.
            drop(theirs.pop());
            let mut readable = vec![true; 9];
            readable_now(ours.iter(), &mut readable);
            assert_eq!(readable, [false, true, false, true]);
            // Looking takes nothing.
            assert_eq!(ours[1].receive(&mut [0; 8], false).unwrap().bytes, 1);
            readable_now(ours.iter(), &mut readable);
            assert_eq!(readable, [false, false, false, true]);
        });
    }
}
