//! A door in front of a server: TLS, or a Unix socket. A thread per connection hands the bytes on, so
//! it is for tests of a client and not for measurements.

use std::{
    error::Error,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::{
        fd::AsFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::Arc,
    thread,
};

use rustix::event::{PollFd, PollFlags, poll};
use rustls::{
    ServerConfig, ServerConnection,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// Bytes handed on at once.
const PIECE: usize = 64 * 1024;

/// TLS as a server with these certificates and their key, both PEM.
///
/// # Errors
/// A file cannot be read, or the two do not belong together.
pub fn server_config(certificates: &Path, key: &Path) -> Result<ServerConfig, Box<dyn Error>> {
    let chain = CertificateDer::pem_file_iter(certificates)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    Ok(
        ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?,
    )
}

/// Opens a port on which TLS is spoken; what is inside goes to `server`. It stays open for the life of
/// the process.
///
/// # Errors
/// The port cannot be had.
pub fn tls(
    at: SocketAddr,
    server: SocketAddr,
    config: Arc<ServerConfig>,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(at)?;
    let at = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            thread::spawn(move || {
                // Whatever ends it, both sides see the end.
                let _ =
                    TcpStream::connect(server).and_then(|server| unseal(&client, &server, config));
                let _ = client.shutdown(Shutdown::Write);
            });
        }
    });
    Ok(at)
}

/// Opens a socket in the file system; what comes goes to `server`.
///
/// # Errors
/// The socket cannot be made, perhaps because there is a file of that name.
pub fn unix(at: &Path, server: SocketAddr) -> io::Result<()> {
    let listener = UnixListener::bind(at)?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || TcpStream::connect(server).and_then(|s| relay(&client, &s)));
        }
    });
    Ok(())
}

fn relay(client: &UnixStream, server: &TcpStream) -> io::Result<()> {
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = io::copy(&mut &*server, &mut &*client);
            let _ = client.shutdown(Shutdown::Both);
        });
        let _ = io::copy(&mut &*client, &mut &*server);
        server.shutdown(Shutdown::Write)
    })
}

fn unseal(client: &TcpStream, server: &TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let mut session = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut buffer = vec![0; PIECE];
    loop {
        while session.wants_write() {
            session.write_tls(&mut &*client)?;
        }
        let mut ready = [
            PollFd::from_borrowed_fd(client.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(server.as_fd(), PollFlags::IN),
        ];
        poll(&mut ready, None)?;
        if !ready[0].revents().is_empty() {
            let ended = session.read_tls(&mut &*client)? == 0;
            let failed = session.process_new_packets().err();
            while let Ok(bytes @ 1..) = session.reader().read(&mut buffer) {
                (&mut &*server).write_all(&buffer[..bytes])?;
            }
            if let Some(error) = failed {
                // The alert.
                let _ = session.write_tls(&mut &*client);
                return Err(io::Error::other(error));
            }
            if ended {
                return Ok(());
            }
        }
        if !ready[1].revents().is_empty() {
            match (&mut &*server).read(&mut buffer)? {
                0 => {
                    session.send_close_notify();
                    while session.wants_write() {
                        session.write_tls(&mut &*client)?;
                    }
                    return Ok(());
                }
                bytes => session.writer().write_all(&buffer[..bytes])?,
            }
        }
    }
}
