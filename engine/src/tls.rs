//! TLS by rustls, over any socket.

use std::io::{self, BufRead, IoSlice, Write};

use rustls::{ClientConnection, ConnectionCommon, Error};

use crate::{
    io::{Secure, Socket},
    plan::Tls,
};

/// The TLS side of one connection.
pub struct TlsSession {
    session: ClientConnection,
    /// Bytes that have been sealed, and whose last record has not been taken by the socket.
    sealed: usize,
}

impl<S: Socket> Secure<S> for TlsSession {
    fn new(tls: &Tls) -> Result<Self, Error> {
        let session = ClientConnection::new(tls.config.clone(), tls.name.clone())?;
        Ok(Self { session, sealed: 0 })
    }

    fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    fn open(&mut self, received: &[u8], take: impl FnMut(&[u8])) -> Result<bool, Error> {
        open(&mut self.session, received, take)
    }

    fn send(&mut self, socket: &S, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.sealed == 0 {
            self.sealed = self.session.writer().write_vectored(parts)?;
        }
        self.flush(socket)?;
        Ok(std::mem::take(&mut self.sealed))
    }

    fn flush(&mut self, socket: &S) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut Records(socket))?;
        }
        Ok(())
    }
}

/// Opens bytes as received by either side; see [`Secure::open`].
///
/// # Errors
/// What they hold is not allowed here.
pub fn open<Side>(
    session: &mut ConnectionCommon<Side>,
    mut received: &[u8],
    mut take: impl FnMut(&[u8]),
) -> Result<bool, Error> {
    let mut over = false;
    while !received.is_empty() {
        let read = session.read_tls(&mut received);
        read.map_err(|error| Error::General(error.to_string()))?;
        over |= session.process_new_packets()?.peer_has_closed();
        let mut reader = session.reader();
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

/// Where records go.
struct Records<'a, S>(&'a S);

impl<S: Socket> Write for Records<'_, S> {
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
