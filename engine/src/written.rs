//! How far T2 is from the kernel's own account of a request: when its last byte went to the
//! device's queue, left, and was acknowledged.

use std::{
    io::{self, Read},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use pinfire_base::{
    clock::{ClockPair, Span, Stamp},
    wall_clock::WallClock,
};
use rustix::net::SendFlags;

use crate::sys::{self, Sent};

/// One request that was sent, in nanoseconds from T2; negative for before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Written {
    /// The last clock read before the `send`.
    pub asked: i64,
    /// The kernel queued its last byte to the device.
    pub scheduled: Option<i64>,
    /// The driver had handed it to the device.
    pub left: Option<i64>,
    /// The peer had acknowledged it.
    pub acknowledged: Option<i64>,
}

/// Stamps of one request are not waited for any longer than this.
const PATIENCE: Duration = Duration::from_millis(100);

/// Sends `request` so many times, one after the other over one connection, by the calls that a core
/// makes, and compares T2 with the kernel's transmit stamps. The server answers each at once and in
/// one piece.
///
/// # Errors
/// The server cannot be reached, or the kernel has no transmit stamps.
pub fn against_the_kernel(
    server: SocketAddr,
    request: &[u8],
    count: usize,
) -> io::Result<Vec<Written>> {
    let mut socket = TcpStream::connect(server)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    sys::want_transmit_stamps(&socket)?;
    let mut answer = vec![0; 64 * 1024];
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let mut wall = WallClock::new(ClockPair::read());
        (0..16).for_each(|_| wall.pair(ClockPair::read()));
        let asked = Stamp::now();
        let taken = rustix::net::send(&socket, request, SendFlags::NOSIGNAL)?;
        let t2 = Stamp::now();
        if taken < request.len() {
            return Err(io::Error::other("the request is too large for one send"));
        }
        let mut written = Written {
            asked: asked.signed_since(t2),
            ..Written::default()
        };
        let most = t2 + Span::from_nanos(PATIENCE.as_nanos() as u64);
        while !written.is_whole() && Stamp::now() < most {
            if let Some((sent, unix_nanos)) = sys::transmit_stamp(&socket)? {
                let at = wall.stamp(unix_nanos, Stamp::now()).ok();
                let distance = at.map(|at| at.signed_since(t2));
                match sent {
                    Sent::Scheduled => written.scheduled = distance,
                    Sent::Left => written.left = distance,
                    Sent::Acknowledged => written.acknowledged = distance,
                }
            }
        }
        all.push(written);
        if socket.read(&mut answer)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(all)
}

impl Written {
    /// Nothing more is to come.
    fn is_whole(&self) -> bool {
        self.scheduled.is_some() && self.left.is_some() && self.acknowledged.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Write, net::TcpListener};

    #[test]
    fn the_kernel_tells_when_a_request_left() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let answering = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = [0; 64];
            while socket.read(&mut request).unwrap() > 0 {
                socket.write_all(b"answer").unwrap();
            }
        });
        let all = against_the_kernel(server, b"request", 5).unwrap();
        answering.join().unwrap();
        // It leaves inside of the call, and is acknowledged after it has left.
        for written in all {
            let (Some(scheduled), Some(left), Some(acknowledged)) =
                (written.scheduled, written.left, written.acknowledged)
            else {
                panic!("{written:?}");
            };
            assert!(written.asked <= scheduled + 1_000, "{written:?}");
            assert!(scheduled <= left && left <= acknowledged, "{written:?}");
            assert!(left <= 1_000, "{written:?}");
        }
    }
}
