//! TLS as a filter of bytes between a socket and the protocol. It waits for nothing itself.

use std::{
    io::{self, BufRead, IoSlice, Write},
    sync::Arc,
};

use rustls::{ClientConfig, ClientConnection, Error, pki_types::ServerName};

use super::Pollable;

/// The TLS side of one connection.
pub struct Secure {
    session: ClientConnection,
    /// Bytes that have been sealed, and whose last record has not been taken by the socket.
    sealed: usize,
}

impl Secure {
    /// A session whose first message waits to be sent.
    ///
    /// # Errors
    /// The configuration and the name do not go together.
    pub fn new(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, Error> {
        let session = ClientConnection::new(config, name)?;
        Ok(Self { session, sealed: 0 })
    }

    /// The handshake is not over.
    pub fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Opens bytes as received and gives what was inside to `take`. True when the server has said
    /// that nothing more will come.
    ///
    /// # Errors
    /// They are not what TLS allows here, or the server's certificate is no good. Nothing can be
    /// read any more.
    pub fn open(
        &mut self,
        mut received: &[u8],
        mut take: impl FnMut(&[u8]),
    ) -> Result<bool, Error> {
        let mut over = false;
        while !received.is_empty() {
            let read = self.session.read_tls(&mut received);
            read.map_err(|error| Error::General(error.to_string()))?;
            over |= self.session.process_new_packets()?.peer_has_closed();
            let mut reader = self.session.reader();
            while let Ok(plain) = reader.fill_buf()
                && !plain.is_empty()
            {
                take(plain);
                let bytes = plain.len();
                reader.consume(bytes);
            }
        }
        Ok(over)
    }

    /// Like [`Pollable::send_parts`], and the number of bytes means the same: so many have been
    /// taken by the socket, down to the end of their last record. A call that would block has kept
    /// what it sealed; the next one must come with the same bytes.
    ///
    /// # Errors
    /// The socket's.
    pub fn send(&mut self, socket: &Pollable, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.sealed == 0 {
            self.sealed = self.session.writer().write_vectored(parts)?;
        }
        self.flush(socket)?;
        Ok(std::mem::take(&mut self.sealed))
    }

    /// Sends records that wait.
    ///
    /// # Errors
    /// The socket's; `WouldBlock` when it has no room for all of them.
    pub fn flush(&mut self, socket: &Pollable) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut Records(socket))?;
        }
        Ok(())
    }
}

/// Where records go.
struct Records<'a>(&'a Pollable);

impl Write for Records<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes, &[])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.send_parts(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
