//! One connection: its socket, what has come in and not been used, what could not go out yet.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use pinfire_base::clock::{Span, Stamp};
use pinfire_base::random::Draws;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use rustls::{ServerConfig, ServerConnection};

use super::fault::Fault;
use super::metrics::Finish;
use super::pieces::{Api, Mark};
use super::request::Head;
use super::truth::TruthLine;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Idle, or in the middle of a request.
    Receiving,
    /// Its request waits for a slot.
    Queued,
    /// An answer is being written.
    Answering,
    /// A fault has stopped the answer for ever.
    Stalled,
    /// The last answer is out; what still comes in is thrown away until the client closes.
    Leaving,
}

/// How the body of an answer is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// Bare events, ended by the connection's end.
    Bare,
    /// A chunk per event.
    Each,
    /// A chunk per write.
    Whole,
}

/// How an answer ends once everything composed so far has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Done,
    Reset,
    Cut,
    Stall,
}

/// A request that has been received whole, and the state of its answer.
pub(super) struct Active {
    pub(super) number: u64,
    pub(super) api: Api,
    pub(super) stream: bool,
    pub(super) usage: bool,
    pub(super) close: bool,
    pub(super) frame: Frame,
    pub(super) want: u32,
    /// Content events that make up `want` tokens.
    pub(super) events: u32,
    /// Content events composed and handed to the socket.
    pub(super) sent: u32,
    pub(super) generated: u32,
    pub(super) prompt: u32,
    pub(super) finish: Finish,
    pub(super) fault: Option<Fault>,
    pub(super) mark: Mark,
    /// The instant from which due times count.
    pub(super) base: Stamp,
    /// From one of its tokens to the next.
    pub(super) itl: Span,
    /// When the next write is due, be it events or a piece of them.
    pub(super) due: Stamp,
    /// When the next events are due, while pieces of earlier ones are still going out.
    pub(super) later: Stamp,
    pub(super) draws: Option<Draws>,
    pub(super) head_sent: bool,
    pub(super) ending: Option<Ending>,
    pub(super) status: u16,
    pub(super) first: Stamp,
    pub(super) full: Stamp,
    pub(super) body: u64,
    pub(super) w_first: Option<Stamp>,
    pub(super) w_last: Option<Stamp>,
}

pub(super) struct Conn {
    pub(super) fd: OwnedFd,
    pub(super) slot: u32,
    pub(super) number: u64,
    pub(super) port: u16,
    pub(super) accept: Stamp,
    pub(super) phase: Phase,
    /// TLS may be spoken here; the first byte will tell.
    offered: Option<Arc<ServerConfig>>,
    secure: Option<Box<Secure>>,
    /// Number of the current or next request on this connection, from 0.
    pub(super) nth: u32,
    /// Bytes received and not yet used.
    pub(super) inbox: Vec<u8>,
    /// Bytes of `inbox` in which the end of a head has been looked for in vain.
    pub(super) looked: usize,
    /// The head at the start of `inbox`, once it is whole.
    pub(super) head: Option<Head>,
    /// When the first byte of the current request was read.
    pub(super) first: Option<Stamp>,
    /// The current request's X-Request-ID.
    pub(super) id: Vec<u8>,
    pub(super) active: Option<Active>,
    /// What the socket did not take yet.
    outbox: Vec<u8>,
    out_at: usize,
    /// Later pieces of a write that is cut, and when the next one is due.
    pub(super) held: Vec<u8>,
    pub(super) held_at: usize,
    /// Whether the loop watches for room to send.
    pub(super) watches_room: bool,
    /// When the client closed its sending half, if it is answered all the same.
    pub(super) half: Option<Stamp>,
    /// The deadline that counts; others of this connection are void.
    pub(super) ticket: u32,
}

impl Conn {
    pub(super) fn new(
        fd: OwnedFd,
        (slot, number): (u32, u64),
        port: u16,
        accept: Stamp,
        offered: Option<Arc<ServerConfig>>,
    ) -> Self {
        Self {
            fd,
            slot,
            number,
            port,
            accept,
            phase: Phase::Receiving,
            offered,
            secure: None,
            nth: 0,
            inbox: Vec::new(),
            looked: 0,
            head: None,
            first: None,
            id: Vec::new(),
            active: None,
            outbox: Vec::new(),
            out_at: 0,
            held: Vec::new(),
            held_at: 0,
            watches_room: false,
            half: None,
            ticket: 0,
        }
    }

    /// Whether the socket has taken everything.
    #[inline]
    pub(super) fn flushed(&self) -> bool {
        self.out_at == self.outbox.len()
    }

    /// Sends `bytes`; keeps what the socket does not take.
    #[inline]
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let Some(mut secure) = self.secure.take() else {
            return self.send_plain(bytes);
        };
        let sealed = secure.seal(bytes);
        let sent = sealed.and_then(|sealed| self.send_plain(sealed));
        self.secure = Some(secure);
        sent
    }

    fn send_plain(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let taken = if self.flushed() {
            send_some(&self.fd, bytes)?
        } else {
            0
        };
        if taken < bytes.len() {
            self.outbox.extend_from_slice(&bytes[taken..]);
        }
        Ok(())
    }

    /// Sends more of what was kept.
    pub(super) fn flush(&mut self) -> Result<(), Errno> {
        self.out_at += send_some(&self.fd, &self.outbox[self.out_at..])?;
        if self.flushed() {
            self.outbox.clear();
            self.out_at = 0;
        }
        Ok(())
    }

    /// Reads once. `Ok(0)` is the client's orderly end, `AGAIN` no news.
    #[inline]
    pub(super) fn recv(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        if self.offered.is_some() {
            self.look_for_tls()?;
        }
        match self.secure.take() {
            None => recv_some(&self.fd, buffer, RecvFlags::empty()),
            Some(mut secure) => {
                let received = self.recv_sealed(&mut secure, buffer);
                self.secure = Some(secure);
                received
            }
        }
    }

    /// The first byte of TLS is no letter of HTTP.
    fn look_for_tls(&mut self) -> Result<(), Errno> {
        const HANDSHAKE: u8 = 0x16;
        let mut first = [0];
        let seen = recv_some(&self.fd, &mut first, RecvFlags::PEEK)?;
        if let Some(config) = self.offered.take()
            && seen > 0
            && first[0] == HANDSHAKE
        {
            let session = ServerConnection::new(config).map_err(|_| Errno::CONNABORTED)?;
            self.secure = Some(Box::new(Secure::new(session)));
        }
        Ok(())
    }

    /// One read of records, which is smaller than any buffer for what is in them.
    fn recv_sealed(&mut self, secure: &mut Secure, buffer: &mut [u8]) -> Result<usize, Errno> {
        let mut records = [0; 16 * 1024];
        let count = recv_some(&self.fd, &mut records, RecvFlags::empty())?;
        if count == 0 {
            return Ok(0);
        }
        let opened = secure.open(&records[..count], buffer);
        // The handshake's own messages, or an alert.
        let own = secure.seal(&[]).and_then(|own| self.send_plain(own));
        match opened? {
            0 => own.and(Err(Errno::AGAIN)),
            opened => own.map(|()| opened),
        }
    }

    /// Makes the coming close a reset.
    pub(super) fn abort(&self) {
        // If it were refused, the close would be an orderly one; nothing better is left to do.
        let _ = set_socket_linger(&self.fd, Some(Duration::ZERO));
    }

    /// Ends our half, so that the client can read the last answer before the socket goes.
    pub(super) fn end_sending(&mut self) {
        if let Some(secure) = &mut self.secure {
            secure.session.send_close_notify();
            let _ = self.send(&[]);
        }
        // Refused only when the client is gone already.
        let _ = shutdown(&self.fd, Shutdown::Write);
    }

    /// The log line of the current request, whole or not, as it stands.
    pub(super) fn line(&self) -> TruthLine<'_> {
        let mut line = TruthLine {
            id: &self.id,
            port: self.port,
            conn: self.number,
            nth: self.nth,
            accept: self.accept,
            first: self.first,
            full: None,
            body: 0,
            status: 0,
            stream: false,
            want: 0,
            sent: 0,
            w_first: None,
            w_last: None,
            done: None,
            closed: None,
            how: "",
        };
        if let Some(active) = &self.active {
            line.first = Some(active.first);
            line.full = Some(active.full);
            line.body = active.body;
            line.status = active.status;
            line.stream = active.stream;
            line.want = active.want;
            line.sent = if active.stream {
                active.sent
            } else {
                active.generated
            };
            line.w_first = active.w_first;
            line.w_last = active.w_last;
        } else if let Some(head) = &self.head {
            line.body = (self.inbox.len() - head.size) as u64;
        } else {
            // The id is of an earlier request: this one's head has not come in.
            line.id = &[];
        }
        line
    }
}

/// TLS as a filter of bytes: nothing here touches the socket.
struct Secure {
    session: ServerConnection,
    sealed: Vec<u8>,
}

impl Secure {
    fn new(mut session: ServerConnection) -> Self {
        // What the socket does not take is kept behind the filter, not in it.
        session.set_buffer_limit(None);
        Self {
            session,
            sealed: Vec::new(),
        }
    }

    /// The records to be sent: those of `bytes` and what the session itself has to say.
    fn seal(&mut self, bytes: &[u8]) -> Result<&[u8], Errno> {
        let aborted = |_: io::Error| Errno::CONNABORTED;
        self.session.writer().write_all(bytes).map_err(aborted)?;
        self.sealed.clear();
        while self.session.wants_write() {
            let written = self.session.write_tls(&mut self.sealed);
            written.map_err(aborted)?;
        }
        Ok(&self.sealed)
    }

    /// Opens records into `buffer`; gives the number of bytes that were in them.
    fn open(&mut self, mut records: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
        let aborted = |_: io::Error| Errno::CONNABORTED;
        let mut opened = 0;
        while !records.is_empty() {
            self.session.read_tls(&mut records).map_err(aborted)?;
            let state = self.session.process_new_packets();
            state.map_err(|_| Errno::CONNABORTED)?;
            while let Ok(bytes @ 1..) = self.session.reader().read(&mut buffer[opened..]) {
                opened += bytes;
            }
        }
        Ok(opened)
    }
}

#[inline]
fn recv_some(fd: &OwnedFd, buffer: &mut [u8], flags: RecvFlags) -> Result<usize, Errno> {
    loop {
        match recv(fd, &mut *buffer, RecvFlags::DONTWAIT | flags) {
            Ok((count, _)) => return Ok(count),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

#[inline]
fn send_some(fd: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    loop {
        match send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => return Ok(count),
            Err(Errno::AGAIN) => return Ok(0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}
