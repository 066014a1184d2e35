//! What goes in front of a server: its certificates, or a door in the file system. There a thread
//! per connection hands the bytes on, so it is for tests of a client and not for measurements.

use std::{
    error::Error,
    io,
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::Arc,
    thread,
};

use rustls::{
    ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

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
