//! A server that plays exact bytes: a thread per connection that does what a closure says.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use socket2::{Domain, SockRef, Socket, Type};

use crate::watchdog::watch;

/// A running raw server; it ends when it is dropped.
pub struct Raw {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    seen: Mutex<Vec<ReceivedRequest>>,
    open: Mutex<Vec<TcpStream>>,
}

/// A request that arrived whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReceivedRequest {
    /// Number of the connection, from 0.
    pub conn: usize,
    /// Number of the request on it, from 0.
    pub nth: usize,
    /// `X-Request-ID`.
    pub id: String,
    /// Body bytes.
    pub body: usize,
    /// The body.
    pub sent: Vec<u8>,
    /// The head.
    pub head: String,
}

/// One accepted connection.
pub struct Conn {
    /// Number of the connection, from 0.
    pub number: usize,
    socket: TcpStream,
    requests: usize,
    inbox: Vec<u8>,
    resets: bool,
    shared: Arc<Shared>,
}

impl Raw {
    /// Serves every connection with `serve` on a thread of its own.
    pub fn start(serve: impl Fn(&mut Conn) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("a bound port");
        let shared = Arc::new(Shared::default());
        let (serve, ours) = (Arc::new(serve), Arc::clone(&shared));
        let accepting = std::thread::spawn(move || {
            for (number, socket) in listener.incoming().enumerate() {
                if ours.stop.load(Ordering::Acquire) {
                    return;
                }
                let Ok(socket) = socket else { continue };
                if let Ok(other) = socket.try_clone() {
                    lock(&ours.open).push(other);
                }
                let mut conn = Conn {
                    number,
                    socket,
                    requests: 0,
                    inbox: Vec::new(),
                    resets: false,
                    shared: Arc::clone(&ours),
                };
                let serve = Arc::clone(&serve);
                std::thread::spawn(move || {
                    serve(&mut conn);
                    // A clone is kept for the end of the server, so closing needs saying.
                    if !conn.resets {
                        let _ = conn.socket.shutdown(Shutdown::Both);
                    }
                });
            }
        });
        Self {
            address,
            shared,
            accepting: Some(accepting),
        }
    }

    /// Answers every request on every connection with the same bytes.
    pub fn answering(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::start(move |conn| {
            while conn.request().is_some() {
                conn.send(&bytes);
            }
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests that arrived whole, in order of arrival.
    pub fn seen(&self) -> Vec<ReceivedRequest> {
        lock(&self.shared.seen).clone()
    }
}

/// An address where nothing listens; nobody else can have the port while the socket lives.
pub fn nobody() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&anywhere.into()).expect("a port");
    let address = socket.local_addr().expect("a bound port");
    (socket, address.as_socket().expect("an address of IPv4"))
}

impl ReceivedRequest {
    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.sent).expect("a body of JSON")
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _guard = watch("the raw server did not end");
        self.shared.stop.store(true, Ordering::Release);
        // Ends the accept that waits.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.accepting.take() {
            let _ = thread.join();
        }
        for socket in lock(&self.shared.open).drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Conn {
    /// Waits for the next whole request. `None` when the client has left.
    pub fn request(&mut self) -> Option<ReceivedRequest> {
        let head = self.head()?;
        let text = String::from_utf8_lossy(&self.inbox[..head]).into_owned();
        let value = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.to_owned())
        };
        let body = value("content-length")?.parse().ok()?;
        while self.inbox.len() < head + body {
            self.read()?;
        }
        let sent = self.inbox.drain(..head + body).skip(head).collect();
        let seen = ReceivedRequest {
            conn: self.number,
            nth: self.requests,
            id: value("x-request-id").unwrap_or_default(),
            body,
            sent,
            head: text,
        };
        self.requests += 1;
        lock(&self.shared.seen).push(seen.clone());
        Some(seen)
    }

    /// Waits for the next request's head, leaves it where it is and gives its length.
    pub fn head(&mut self) -> Option<usize> {
        loop {
            let end = self.inbox.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(at) = end {
                return Some(at + 4);
            }
            self.read()?;
        }
    }

    /// Takes the head of a request without a body away.
    pub fn skip(&mut self, head: usize) {
        self.inbox.drain(..head);
    }

    /// Whether the request whose head is there is a GET.
    pub fn is_get(&self) -> bool {
        self.inbox.starts_with(b"GET ")
    }

    fn read(&mut self) -> Option<()> {
        let mut buffer = [0_u8; 64 * 1024];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return None,
                Ok(bytes) => {
                    self.inbox.extend_from_slice(&buffer[..bytes]);
                    return Some(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }

    /// Where the client is.
    pub fn peer(&self) -> SocketAddr {
        self.socket.peer_addr().expect("a connected client")
    }

    /// A read that brings nothing for so long counts as the end.
    pub fn limit_reads(&self, limit: Duration) {
        let _ = self.socket.set_read_timeout(Some(limit));
    }

    /// Sends bytes. That the client has left is not the server's failure.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.socket.set_nodelay(true);
        let _ = self.socket.write_all(bytes);
    }

    /// Sends bytes in pieces of `piece` bytes, `pause` apart.
    pub fn send_in_pieces(&mut self, bytes: &[u8], piece: usize, pause: Duration) {
        for part in bytes.chunks(piece) {
            self.send(part);
            std::thread::sleep(pause);
        }
    }

    /// Waits until the client has left.
    pub fn until_client_leaves(&mut self) {
        while self.read().is_some() {}
    }

    /// Ends our half in order.
    pub fn fin(&self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// From now on its socket holds little that has not been read: the kernel would else take many
    /// megabytes for it (`tcp_rmem`).
    pub fn hold_little(&mut self) {
        let _ = SockRef::from(&self.socket).set_recv_buffer_size(64 * 1024);
    }

    /// Makes the end of the connection a reset. The handler must return next.
    pub fn reset(&mut self) {
        // The clone kept for the end of the server would hold the reset back.
        let peer = self.socket.peer_addr().ok();
        lock(&self.shared.open).retain(|other| other.peer_addr().ok() != peer);
        let _ = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
        self.resets = true;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
