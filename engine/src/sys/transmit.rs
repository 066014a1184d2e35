//! When what was sent left, by the kernel: transmit stamps from a socket's error queue.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd},
};

use super::{Control, set_option, software_stamp};

/// Where a packet was when the kernel stamped it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// It went to the device's queue (TX_SCHED).
    Scheduled,
    /// The driver has handed it to the device (TX_SOFTWARE).
    Left,
    /// The peer has acknowledged it (TX_ACK).
    Acknowledged,
}

/// Asks the kernel to stamp what this socket sends, without the sent bytes in the error queue.
///
/// # Errors
/// The kernel does not know the option.
pub fn want_transmit_stamps(socket: impl AsFd) -> io::Result<()> {
    let flags = libc::SOF_TIMESTAMPING_TX_SCHED
        | libc::SOF_TIMESTAMPING_TX_SOFTWARE
        | libc::SOF_TIMESTAMPING_TX_ACK
        | libc::SOF_TIMESTAMPING_SOFTWARE
        | libc::SOF_TIMESTAMPING_OPT_ID
        | libc::SOF_TIMESTAMPING_OPT_TSONLY;
    set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, flags)
}

/// Takes the next stamp from the error queue, in Unix nanoseconds; `None` if there is none yet, or
/// the message is about something else.
///
/// # Errors
/// As `recvmsg`.
pub fn transmit_stamp(socket: impl AsFd) -> io::Result<Option<(Sent, u64)>> {
    let mut control = Control([MaybeUninit::uninit(); 128]);
    // SAFETY: all-zero is a valid msghdr (null pointers, zero lengths).
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: the message points to `control`, which lives across the call and is writable for the
    // length given; there is no other buffer.
    let received = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, flags) };
    if received < 0 {
        let error = io::Error::last_os_error();
        return match error.kind() {
            io::ErrorKind::WouldBlock => Ok(None),
            _ => Err(error),
        };
    }
    let (mut stamp, mut sent) = (None, None);
    // SAFETY: the kernel has filled `message` and as much of its control buffer as it says;
    // CMSG_FIRSTHDR and CMSG_NXTHDR walk that much and give null at its end. What the two kinds of
    // message carry is read unaligned.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            match ((*header).cmsg_level, (*header).cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING) => stamp = software_stamp(header),
                (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR) => {
                    let error = libc::CMSG_DATA(header)
                        .cast::<libc::sock_extended_err>()
                        .read_unaligned();
                    sent = place(&error);
                }
                _ => {}
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Ok(sent.zip(stamp))
}

/// What a message of the error queue is about, if it is about a stamp.
fn place(error: &libc::sock_extended_err) -> Option<Sent> {
    // The library does not have these three of linux/errqueue.h.
    const SCM_TSTAMP_SND: u32 = 0;
    const SCM_TSTAMP_SCHED: u32 = 1;
    const SCM_TSTAMP_ACK: u32 = 2;
    match (error.ee_origin, error.ee_info) {
        (libc::SO_EE_ORIGIN_TIMESTAMPING, SCM_TSTAMP_SCHED) => Some(Sent::Scheduled),
        (libc::SO_EE_ORIGIN_TIMESTAMPING, SCM_TSTAMP_SND) => Some(Sent::Left),
        (libc::SO_EE_ORIGIN_TIMESTAMPING, SCM_TSTAMP_ACK) => Some(Sent::Acknowledged),
        _ => None,
    }
}
