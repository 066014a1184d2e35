//! The system calls that no safe library offers. Every `unsafe` of the product is in this folder
//! (one test has a counting allocator of its own).
//!
//! What rustix and socket2 offer safely is called where it is needed, not here.

#![expect(unsafe_code, reason = "the one place of the workspace that holds it")]

mod transmit;

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use monoio::net::UnixStream;

pub use transmit::{Sent, transmit_stamp, want_transmit_stamps};

/// Borrows the descriptor of a stream, which owns one but does not implement `AsFd`.
pub fn borrow(owner: &UnixStream) -> BorrowedFd<'_> {
    // SAFETY: `owner` keeps its descriptor open, and the result cannot outlive the borrow of it.
    unsafe { BorrowedFd::borrow_raw(owner.as_raw_fd()) }
}

/// Asks the kernel to stamp what this socket receives (software stamps, CLOCK_REALTIME).
///
/// # Errors
/// The kernel does not know the option: run without stamps.
pub fn want_receive_stamps(socket: impl AsFd) -> io::Result<()> {
    let flags = libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
    set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, flags)
}

/// Lets `connect` choose the port of a socket that is bound to an address alone: it can take one
/// that another connection has, as long as the two lead elsewhere.
///
/// # Errors
/// The kernel does not know the option: `bind` then takes a port that nobody has.
pub fn choose_port_on_connect(socket: impl AsFd) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)
}

fn set_option(socket: impl AsFd, level: i32, option: i32, value: libc::c_uint) -> io::Result<()> {
    // SAFETY: the pointer and length describe `value`, which lives across the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Bytes of the send queue of a TCP socket that its peer has not acknowledged (SIOCOUTQ), those not
/// sent yet included.
///
/// # Errors
/// It is no such socket.
pub fn unacknowledged(socket: impl AsFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ, which has the number of TIOCOUTQ, writes one int, and `bytes` is one that
    // lives across the call.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 {
        Ok(usize::try_from(bytes).unwrap_or(0))
    } else {
        Err(io::Error::last_os_error())
    }
}

/// While this lives, memory that becomes free goes back to the system at once. Later the allocator
/// keeps it for a while, as is good for a load; but what was needed only to prepare one would stay
/// resident for as long as that lasts.
#[derive(Debug)]
#[must_use = "it ends when this is dropped"]
pub struct ReturnFreeMemory {
    /// The allocator's own delay, in milliseconds.
    delay: libc::c_long,
}

/// The option `purge_delay` of mimalloc.
const PURGE_DELAY: libc::c_int = 15;

impl ReturnFreeMemory {
    /// Begins now.
    pub fn begin() -> Self {
        // SAFETY: options are numbers that may be read at any time, from any thread.
        let delay = unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        Self::set(0);
        Self { delay }
    }

    fn set(delay: libc::c_long) {
        // SAFETY: options are numbers that may be set at any time; this one is read at each use.
        unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, delay) };
    }
}

impl Drop for ReturnFreeMemory {
    fn drop(&mut self) {
        Self::set(self.delay);
    }
}

/// Room for one control message with three timestamps, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([MaybeUninit<u8>; 128]);

/// Like `recv` without waiting, and gives the kernel's stamp of the newest byte in Unix
/// nanoseconds if it has one.
///
/// # Errors
/// As `recvmsg`: would block, reset, and so on.
#[inline]
pub fn receive_stamped(socket: impl AsFd, into: &mut [u8]) -> io::Result<(usize, Option<u64>)> {
    let mut control = Control([MaybeUninit::uninit(); 128]);
    let mut part = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    // SAFETY: all-zero is a valid msghdr (null pointers, zero lengths).
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    // SAFETY: the message points to `part`, `into` and `control`, which live across the call and
    // are writable for the lengths given.
    // Not the library's function: that is a point of cancellation of threads, which costs time.
    let received = unsafe {
        libc::syscall(
            libc::SYS_recvmsg,
            socket.as_fd().as_raw_fd(),
            &raw mut message,
            libc::MSG_DONTWAIT,
        )
    };
    if received < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut stamp = None;
    // SAFETY: the kernel has filled `message` and as much of its control buffer as it says;
    // CMSG_FIRSTHDR and CMSG_NXTHDR walk that much and give null at its end.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET
                && (*header).cmsg_type == libc::SCM_TIMESTAMPING
            {
                stamp = software_stamp(header);
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Ok((received as usize, stamp))
}

/// The software stamp of a control message with timestamps, in Unix nanoseconds.
///
/// # Safety
/// The header is that of a whole message of type `SCM_TIMESTAMPING`.
unsafe fn software_stamp(header: *const libc::cmsghdr) -> Option<u64> {
    // SAFETY: such a message carries three timespecs, the software stamp first; it is read
    // unaligned.
    let software = unsafe {
        libc::CMSG_DATA(header)
            .cast::<libc::timespec>()
            .read_unaligned()
    };
    (software.tv_sec > 0).then(|| software.tv_sec as u64 * 1_000_000_000 + software.tv_nsec as u64)
}

/// Tries the calls that the runtime makes of epoll: one that a sandbox refuses would make it wait
/// without end.
///
/// # Errors
/// The name of the call that is refused, and the system's reason.
pub fn try_epoll() -> io::Result<()> {
    let refused = |call| {
        let cause = io::Error::last_os_error();
        io::Error::new(cause.kind(), format!("the system refuses {call} ({cause})"))
    };
    // SAFETY: no pointer is involved; the result is checked before it is owned.
    let queue = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    if queue < 0 {
        return Err(refused("epoll_create1"));
    }
    // SAFETY: the call has given a descriptor that nobody else has.
    let queue = unsafe { OwnedFd::from_raw_fd(queue) };
    let watched = rustix::event::eventfd(1, rustix::event::EventfdFlags::CLOEXEC)?;
    let mut event = libc::epoll_event {
        events: libc::EPOLLIN as u32,
        u64: 0,
    };
    let (queue, watched) = (queue.as_raw_fd(), watched.as_raw_fd());
    // SAFETY: both descriptors are open, and the pointers are to one live event each.
    unsafe {
        if libc::epoll_ctl(queue, libc::EPOLL_CTL_ADD, watched, &raw mut event) != 0 {
            return Err(refused("epoll_ctl"));
        }
        if libc::epoll_wait(queue, &raw mut event, 1, 0) < 0 {
            return Err(refused("epoll_wait"));
        }
    }
    Ok(())
}

/// Puts the calling thread under SCHED_FIFO with a middling priority.
///
/// # Errors
/// Not permitted (needs CAP_SYS_NICE or an rtprio limit).
pub fn become_realtime() -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: 50 };
    // SAFETY: the pointer describes a live sched_param; 0 means the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameter) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Gives the terminal that standard output is back, in its present modes and with `bytes` written,
/// when `signal` comes while all of `when` are set: for one that ends the process before any thread
/// could. Without a terminal nothing happens.
///
/// # Errors
/// The signal cannot be watched.
pub fn restore_terminal_on(
    signal: i32,
    when: [Arc<AtomicBool>; 2],
    bytes: &'static [u8],
) -> io::Result<()> {
    let mut modes = MaybeUninit::<libc::termios>::uninit();
    // SAFETY: the pointer is to room for one termios.
    if unsafe { libc::tcgetattr(libc::STDOUT_FILENO, modes.as_mut_ptr()) } != 0 {
        return Ok(());
    }
    // SAFETY: the call has succeeded, and so has filled it.
    let modes = unsafe { modes.assume_init() };
    let restore = move || {
        if when.iter().all(|flag| flag.load(Ordering::SeqCst)) {
            let mut room = libc::pollfd {
                fd: libc::STDOUT_FILENO,
                events: libc::POLLOUT,
                revents: 0,
            };
            // SAFETY: the pointers are to a live pollfd, live bytes, a live termios and a set that
            // is made before it is used; the process ends right after. A terminal that
            // takes nothing (Ctrl-S) is not waited for, and a write that fails leaves it as it is.
            unsafe {
                if libc::poll(&raw mut room, 1, 0) == 1 {
                    let _ = libc::write(libc::STDOUT_FILENO, bytes.as_ptr().cast(), bytes.len());
                }
                // In the background it would be stopped by this, were that signal not blocked.
                let mut stop = MaybeUninit::<libc::sigset_t>::uninit();
                let _ = libc::sigemptyset(stop.as_mut_ptr());
                let _ = libc::sigaddset(stop.as_mut_ptr(), libc::SIGTTOU);
                let _ = libc::pthread_sigmask(libc::SIG_BLOCK, stop.as_ptr(), std::ptr::null_mut());
                let _ = libc::tcsetattr(libc::STDOUT_FILENO, libc::TCSANOW, &raw const modes);
            }
        }
    };
    // SAFETY: the action reads two atomics and makes a few calls, all of them async-signal-safe; it
    // takes no lock, allocates nothing and cannot panic.
    unsafe { signal_hook::low_level::register(signal, restore) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::Write,
        net::{TcpListener, TcpStream},
    };

    fn receive(client: &TcpStream, buffer: &mut [u8]) -> (usize, Option<u64>) {
        loop {
            match receive_stamped(client, buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result.unwrap(),
            }
        }
    }

    #[test]
    fn received_bytes_carry_a_kernel_stamp() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        want_receive_stamps(&client).unwrap();
        let mut buffer = [0; 16];
        let empty = receive_stamped(&client, &mut buffer).unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
        // The kernel begins to stamp a moment after the first socket has asked for it.
        let stamp = (0..1_000).find_map(|_| {
            server.write_all(b"hello").unwrap();
            let (received, stamp) = receive(&client, &mut buffer);
            assert_eq!(&buffer[..received], b"hello");
            std::thread::sleep(std::time::Duration::from_millis(1));
            stamp
        });
        assert!(
            stamp.is_some_and(|nanos| nanos > 1_700_000_000_000_000_000),
            "{stamp:?}"
        );
        drop(server);
        assert_eq!(receive(&client, &mut buffer).0, 0);
    }

    #[test]
    fn what_the_peer_has_not_acknowledged_is_known() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        assert_eq!(unacknowledged(&client).unwrap(), 0);
        // More than both buffers hold: nobody reads, so the rest cannot be acknowledged.
        client.set_nonblocking(true).unwrap();
        while client.write(&[0; 65_536]).is_ok() {}
        assert!(unacknowledged(&client).unwrap() > 0);
        drop(server);
        assert!(unacknowledged(std::fs::File::open("/dev/null").unwrap()).is_err());
    }
}
