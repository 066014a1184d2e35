//! A connection between a shard and its leader, without waiting.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use pinfire_cluster::leader::CREDIT;
use socket2::SockRef;

/// A peer that takes nothing for this long is gone, whatever its kernel says.
const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes that may wait for a peer that does not read, besides the longest message of them: files go
/// by credits of half of that.
const WAITING_MOST: usize = 2 * CREDIT as usize;

/// Reads of one connection before others have their turn.
const READS: usize = 16;

/// How a read has ended.
pub enum End {
    /// There is nothing more for now.
    Open,
    /// There is nothing more at all; how that was noticed.
    Closed(String),
}

/// A connection and what waits to go out over it.
#[derive(Debug)]
pub struct Pipe {
    pub stream: TcpStream,
    out: Vec<u8>,
    at: usize,
    /// Bytes of the longest message that waits.
    longest: usize,
}

impl Pipe {
    /// Takes a connection that has just been opened.
    ///
    /// # Errors
    /// It is broken already.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        Ok(Self {
            stream,
            out: Vec::new(),
            at: 0,
            longest: 0,
        })
    }

    /// Sends bytes, as far as the connection takes them; the rest waits.
    ///
    /// # Errors
    /// The connection is broken, or too much waits.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.drain(..self.at);
        self.at = 0;
        self.longest = self.longest.max(bytes.len());
        if self.out.len() + bytes.len() > WAITING_MOST + self.longest {
            let why = "it does not read what it is sent";
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        self.out.extend_from_slice(bytes);
        self.flush()
    }

    /// Sends what waits, as far as the connection takes it.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.at < self.out.len() {
            match self.stream.write(&self.out[self.at..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.at += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.at = 0;
        self.longest = 0;
        Ok(())
    }

    /// Whether something waits for room.
    pub const fn is_full(&self) -> bool {
        !self.out.is_empty()
    }

    /// Hands what has arrived to `take`, piece by piece.
    pub fn read(&mut self, buffer: &mut [u8], mut take: impl FnMut(&[u8])) -> End {
        for _ in 0..READS {
            match self.stream.read(buffer) {
                Ok(0) => return End::Closed("its connection was closed".to_owned()),
                Ok(count) => take(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return End::Open,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return End::Closed(format!("its connection is broken ({error})")),
            }
        }
        End::Open
    }
}
