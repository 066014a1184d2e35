//! New connections: where to, from where, with which socket options.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use pinfire_base::clock::Span;
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};

use super::{Kind, Pollable, Stamps};
use crate::{
    plan::{Address, Dialling, ReceiveStamps},
    sys,
};

/// A socket that goes nowhere and has asked for receive stamps. The kernel stamps what it receives
/// while any socket wants that, beginning some time after the first has asked; while this is there,
/// the first reads of a run have their stamps too.
pub struct StampKeeper {
    _socket: Socket,
}

impl StampKeeper {
    /// Asks for stamps.
    ///
    /// # Errors
    /// The kernel has none.
    pub fn new() -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.cloexec(), Some(Protocol::TCP))
            .or_else(|_| Socket::new(Domain::IPV6, Type::STREAM.cloexec(), Some(Protocol::TCP)))?;
        sys::want_receive_stamps(&socket)?;
        Ok(Self { _socket: socket })
    }
}

/// Begins to connect without waiting; over TCP, from `source` if there is one.
///
/// # Errors
/// The system's error number: no descriptors, no ports, refused at once.
pub fn connect(
    to: &Address,
    source: Option<IpAddr>,
    dialling: &Dialling,
    stamps: ReceiveStamps,
) -> Result<Rc<Pollable>, i32> {
    open(to, source, dialling, stamps).map_err(|error| error.raw_os_error().unwrap_or(0))
}

fn open(
    to: &Address,
    source: Option<IpAddr>,
    dialling: &Dialling,
    stamps: ReceiveStamps,
) -> io::Result<Rc<Pollable>> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let (socket, to, kind) = match to {
        Address::Tcp(address) => {
            let domain = Domain::for_address(*address);
            let socket = Socket::new(domain, kind, Some(Protocol::TCP))?;
            socket.set_tcp_nodelay(true)?;
            set_options(&socket, dialling);
            if let Some(source) = source {
                let _ = sys::choose_port_on_connect(&socket);
                socket.bind(&SocketAddr::new(source, 0).into())?;
            }
            // Not every kernel has them; the report then says so.
            let asked = sys::want_receive_stamps(&socket);
            let stamps = match (stamps, asked) {
                (ReceiveStamps::User, _) => Stamps::Sample,
                (ReceiveStamps::Auto | ReceiveStamps::Kernel, Ok(())) => Stamps::Every,
                (ReceiveStamps::Auto | ReceiveStamps::Kernel, Err(_)) => Stamps::Refused,
            };
            (socket, SockAddr::from(*address), Kind::Tcp(stamps))
        }
        Address::Unix(path) => (
            Socket::new(Domain::UNIX, kind, None)?,
            SockAddr::unix(path)?,
            Kind::Other,
        ),
    };
    match socket.connect(&to) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Pollable::new(socket.into(), kind).map(Rc::new),
    }
}

/// Where the reason lies that a connect came to nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unconnected {
    /// At that address: it refuses, it cannot be reached, it does not answer.
    There,
    /// On the way from here to there: no local port is left for it, or no local address suits it.
    Between,
    /// In this process or this machine, whichever the address.
    Nowhere,
}

impl Unconnected {
    /// By the system's error number.
    pub const fn of(errno: i32) -> Self {
        match errno {
            libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => Self::Nowhere,
            libc::EADDRNOTAVAIL => Self::Between,
            _ => Self::There,
        }
    }
}

/// Options that make a run steadier, but that it can do without: a refusal is passed over.
fn set_options(socket: &Socket, dialling: &Dialling) {
    // A dead peer is noticed after 60 + 30 s when nothing is sent, and after 30 s when something
    // is.
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(30))
        .with_retries(1);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = socket.set_tcp_user_timeout(Some(Duration::from_secs(30)));
    let _ = socket.set_tcp_quickack(true);
    if let Some(bytes) = dialling.receive_buffer {
        let _ = socket.set_recv_buffer_size(bytes);
    }
    if let Some(bytes) = dialling.send_buffer {
        let _ = socket.set_send_buffer_size(bytes);
    }
}

/// Whether a connect of this length looks as if its SYN had been lost and sent again: each second
/// for the first four times on Linux 6.5 and later (`tcp_syn_linear_timeouts`), then doubling; on
/// older kernels after 1 s, then after 2 and 4 s more. The usual reason is a full accept queue of
/// the server.
pub fn shows_lost_syn(connect: Span) -> bool {
    const AFTER: [(u64, u64); 6] = [
        (1_000, 1_250),
        (2_000, 2_300),
        (3_000, 3_400),
        (4_000, 4_400),
        (5_000, 5_500),
        (7_000, 7_500),
    ];
    AFTER
        .iter()
        .any(|&(from, to)| Span::from_millis(from) <= connect && connect <= Span::from_millis(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_after_a_retransmission_is_told_from_a_slow_one() {
        for (millis, lost) in [
            (0, false),
            (999, false),
            (1_004, true),
            (1_300, false),
            (1_900, false),
            (2_010, true),
            (3_030, true),
            (6_500, false),
            (7_100, true),
            (8_000, false),
        ] {
            assert_eq!(shows_lost_syn(Span::from_millis(millis)), lost, "{millis}");
        }
    }

    #[test]
    fn a_source_that_is_not_ours_has_the_systems_number() {
        let to = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 1)));
        let source = Some(IpAddr::from([192, 0, 2, 1]));
        let result = connect(&to, source, &Dialling::default(), ReceiveStamps::Auto);
        assert_eq!(result.err(), Some(libc::EADDRNOTAVAIL));
    }
}
