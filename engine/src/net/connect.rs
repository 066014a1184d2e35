//! New connections: where to, from where, with which socket options.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::Duration,
};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_is_not_ours_has_the_systems_number() {
        let to = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 1)));
        let source = Some(IpAddr::from([192, 0, 2, 1]));
        let result = connect(&to, source, &Dialling::default(), ReceiveStamps::Auto);
        assert_eq!(result.err(), Some(libc::EADDRNOTAVAIL));
    }
}
