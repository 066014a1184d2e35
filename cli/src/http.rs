//! A small HTTP server, of the dashboard and of the metrics page: requests without a body, one to a
//! connection.
//!
//! One thread polls all connections, so that a client that is idle or slow holds no thread and
//! delays nobody; a few workers make the answers. Heads, connections and times are bounded. The
//! small blocking servers that exist (tiny_http, rouille) give a thread to each client and wait for
//! it without a limit.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use anyhow::{Context, Result};
use crossbeam_channel::{Receiver, Sender, unbounded};
use pinfire_base::{
    clock::{Span, Stamp},
    threads,
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    time::Timespec,
};

/// Bytes of one request head; browsers send less than 2 KiB.
const HEAD_BYTES: usize = 16 * 1024;
/// Header lines of one request.
const HEADERS: usize = 64;
/// Connections at once. Beyond, the one that has been silent longest is closed.
const CONNECTIONS: usize = 256;
/// Requests that are answered at the same time.
const WORKERS: usize = 4;
/// A head has to be complete this long after the connection.
const HEAD_TIME: Span = Span::from_millis(10_000);
/// A client has to take some of its answer this often.
const SEND_TIME: Span = Span::from_millis(30_000);
/// What a client still sends is read this long behind its answer: closing with unread bytes would
/// reset the connection and take the answer away from it.
const DRAIN_TIME: Span = Span::from_millis(1_000);
/// Between two looks at these times.
const TICK: Span = Span::from_millis(200);

/// A request: the method, the target and the host that it names.
#[derive(Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub host: Option<String>,
}

/// What it gets.
pub struct Response {
    pub status: u16,
    pub kind: &'static str,
    pub body: String,
}

impl Response {
    /// Words instead of what was asked for.
    pub fn words(status: u16, words: &str) -> Self {
        Self {
            status,
            kind: "application/json",
            body: serde_json::json!({ "error": words }).to_string(),
        }
    }

    fn bytes(&self, with_body: bool) -> Vec<u8> {
        // Nothing but what this server itself sends runs or is shown.
        const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                              connect-src 'self'; img-src data: blob:; base-uri 'none'; \
                              form-action 'none'; frame-ancestors 'none'";
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            431 => "Request Header Fields Too Large",
            _ => "Internal Server Error",
        };
        let mut bytes = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
             Connection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
             Referrer-Policy: no-referrer\r\nX-Frame-Options: DENY\r\n\
             Content-Security-Policy: {POLICY}\r\n\r\n",
            self.status,
            self.kind,
            self.body.len(),
        )
        .into_bytes();
        if with_body {
            bytes.extend_from_slice(self.body.as_bytes());
        }
        bytes
    }
}

/// What a connection is at.
enum State {
    /// Its head is coming.
    Reading(Vec<u8>),
    /// A worker makes the answer.
    Waiting,
    /// The answer, of which so much is sent.
    Sending(Vec<u8>, usize),
    /// All is sent; what still comes is thrown away.
    Draining,
}

struct Connection {
    stream: TcpStream,
    /// When its state began, or an answer last moved on.
    since: Stamp,
    state: State,
}

/// What came of a turn of a connection.
enum Turn {
    Stays,
    Asks(Request),
    Ends,
}

impl Connection {
    fn enter(&mut self, state: State) -> Turn {
        self.state = state;
        self.since = Stamp::now();
        Turn::Stays
    }

    fn refuse(&mut self, status: u16, words: &str) -> Turn {
        self.enter(State::Sending(
            Response::words(status, words).bytes(true),
            0,
        ))
    }

    /// What it waits for; `None` while a worker has it.
    const fn awaited(&self) -> Option<PollFlags> {
        match self.state {
            State::Reading(_) | State::Draining => Some(PollFlags::IN),
            State::Sending(..) => Some(PollFlags::OUT),
            State::Waiting => None,
        }
    }

    /// What it can do now.
    fn go_on(&mut self) -> Turn {
        let mut piece = [0; 4096];
        match &mut self.state {
            State::Waiting => Turn::Stays,
            State::Reading(head) => match self.stream.read(&mut piece) {
                Ok(0) => Turn::Ends,
                Ok(read) => {
                    head.extend_from_slice(&piece[..read]);
                    self.asked()
                }
                Err(error) => later(&error),
            },
            State::Sending(bytes, sent) => match self.stream.write(&bytes[*sent..]) {
                Ok(taken) => {
                    *sent += taken;
                    self.since = Stamp::now();
                    if *sent < bytes.len() {
                        return Turn::Stays;
                    }
                    match self.stream.shutdown(Shutdown::Write) {
                        Ok(()) => self.enter(State::Draining),
                        Err(_) => Turn::Ends,
                    }
                }
                Err(error) => later(&error),
            },
            State::Draining => match self.stream.read(&mut piece) {
                Ok(0) => Turn::Ends,
                Ok(_) => Turn::Stays,
                Err(error) => later(&error),
            },
        }
    }

    /// The request, once its head is whole.
    fn asked(&mut self) -> Turn {
        let State::Reading(head) = &self.state else {
            return Turn::Stays;
        };
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        match parsed.parse(head) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) if head.len() < HEAD_BYTES => return Turn::Stays,
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                return self.refuse(431, "the request's head is too large");
            }
            Err(_) => return self.refuse(400, "that is no HTTP request"),
        }
        let host = parsed
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case("host"));
        let request = Request {
            method: parsed.method.unwrap_or_default().to_owned(),
            target: parsed.path.unwrap_or_default().to_owned(),
            host: host.map(|header| String::from_utf8_lossy(header.value).into_owned()),
        };
        self.enter(State::Waiting);
        Turn::Asks(request)
    }

    /// What its time being over makes of it.
    fn overdue(&mut self, now: Stamp) -> Turn {
        let limit = match self.state {
            State::Reading(_) => HEAD_TIME,
            State::Sending(..) => SEND_TIME,
            State::Draining => DRAIN_TIME,
            State::Waiting => return Turn::Stays,
        };
        if now.since(self.since) < limit {
            return Turn::Stays;
        }
        match self.state {
            State::Reading(_) => self.refuse(408, "the request's head did not come in time"),
            _ => Turn::Ends,
        }
    }
}

fn later(error: &std::io::Error) -> Turn {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Turn::Stays,
        _ => Turn::Ends,
    }
}

/// The server: its connections by number, the oldest first.
struct Server {
    listener: TcpListener,
    connections: BTreeMap<u64, Connection>,
    next: u64,
    jobs: Sender<(u64, Request)>,
    answers: Receiver<(u64, Vec<u8>)>,
    /// A byte comes with each answer.
    woken: UnixStream,
    /// No new connection is taken before: there were no descriptors for one.
    full_until: Option<Stamp>,
}

/// Serves until the process ends; its threads are called `name`.
///
/// # Errors
/// The workers cannot be started, or the system does not poll.
pub fn serve(
    listener: TcpListener,
    name: &str,
    answer: impl Fn(&Request) -> Response + Send + Sync + 'static,
) -> Result<std::convert::Infallible> {
    let answer = Arc::new(answer);
    let (jobs, taken) = unbounded::<(u64, Request)>();
    let (made, answers) = unbounded();
    let (woken, wake) = UnixStream::pair().context("the HTTP server cannot start")?;
    for one in [&woken, &wake] {
        one.set_nonblocking(true)?;
    }
    listener.set_nonblocking(true)?;
    for _ in 0..WORKERS {
        let (answer, taken, made) = (Arc::clone(&answer), taken.clone(), made.clone());
        let mut wake = wake.try_clone()?;
        threads::start(name, move || {
            for (number, request) in taken {
                // A fault in one answer must not end the others.
                let response = catch_unwind(AssertUnwindSafe(|| answer(&request)));
                let response = response.unwrap_or_else(|_| {
                    Response::words(500, "this is a bug in pinfire, please report it")
                });
                let bytes = response.bytes(request.method != "HEAD");
                if made.send((number, bytes)).is_err() {
                    return;
                }
                // Where there is no room, a byte that wakes is there already.
                let _ = wake.write(&[1]);
            }
        })?;
    }
    let mut server = Server {
        listener,
        connections: BTreeMap::new(),
        next: 0,
        jobs,
        answers,
        woken,
        full_until: None,
    };
    loop {
        server.turn()?;
    }
}

impl Server {
    /// Waits for something to happen, and does what follows from it.
    fn turn(&mut self) -> Result<()> {
        let ready = self.ready()?;
        while let Ok((number, bytes)) = self.answers.try_recv() {
            if let Some(connection) = self.connections.get_mut(&number) {
                connection.enter(State::Sending(bytes, 0));
            }
        }
        for number in ready {
            let turn = self.connections.get_mut(&number).map(Connection::go_on);
            self.follow(number, turn);
        }
        let now = Stamp::now();
        let numbers: Vec<u64> = self.connections.keys().copied().collect();
        for number in numbers {
            let turn = self.connections.get_mut(&number);
            let turn = turn.map(|connection| connection.overdue(now));
            self.follow(number, turn);
        }
        self.accept();
        Ok(())
    }

    /// Waits, and gives the connections that can go on.
    fn ready(&mut self) -> Result<Vec<u64>> {
        if self.full_until.is_some_and(|until| Stamp::now() >= until) {
            self.full_until = None;
        }
        let new = match self.full_until {
            Some(_) => PollFlags::empty(),
            None => PollFlags::IN,
        };
        let waiting: Vec<(u64, &TcpStream, PollFlags)> = self
            .connections
            .iter()
            .filter_map(|(number, one)| Some((*number, &one.stream, one.awaited()?)))
            .collect();
        let mut polled = vec![
            PollFd::new(&self.listener, new),
            PollFd::new(&self.woken, PollFlags::IN),
        ];
        polled.extend(
            waiting
                .iter()
                .map(|(_, stream, flags)| PollFd::new(*stream, *flags)),
        );
        let tick = Timespec {
            tv_sec: 0,
            tv_nsec: TICK.nanos() as _,
        };
        let idle = self.connections.is_empty() && self.full_until.is_none();
        match poll(&mut polled, (!idle).then_some(&tick)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error).context("the HTTP server cannot wait for its clients"),
        }
        let happened = polled.iter().skip(2).map(|one| !one.revents().is_empty());
        let ready = waiting.iter().zip(happened);
        let ready = ready.filter_map(|((number, ..), ready)| ready.then_some(*number));
        let ready = ready.collect();
        let mut bytes = [0; 256];
        while matches!((&self.woken).read(&mut bytes), Ok(read) if read == bytes.len()) {}
        Ok(ready)
    }

    fn follow(&mut self, number: u64, turn: Option<Turn>) {
        match turn {
            None | Some(Turn::Stays) => {}
            Some(Turn::Ends) => drop(self.connections.remove(&number)),
            // The workers live as long as this.
            Some(Turn::Asks(request)) => drop(self.jobs.send((number, request))),
        }
    }

    /// Takes who has come.
    fn accept(&mut self) {
        if self.full_until.is_some() {
            return;
        }
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if stream.set_nonblocking(true).is_err() {
                        continue;
                    }
                    self.make_room();
                    let connection = Connection {
                        stream,
                        since: Stamp::now(),
                        state: State::Reading(Vec::new()),
                    };
                    self.connections.insert(self.next, connection);
                    self.next += 1;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // One that has gone again before it was taken.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                    ) => {}
                // No descriptors: the silent ones give theirs back in time.
                Err(_) => {
                    self.full_until = Some(Stamp::now() + TICK);
                    return;
                }
            }
        }
    }

    /// Closes the one that has been silent longest where there are too many.
    fn make_room(&mut self) {
        if self.connections.len() < CONNECTIONS {
            return;
        }
        let silent = self
            .connections
            .iter()
            .filter(|(_, one)| !matches!(one.state, State::Waiting))
            .min_by_key(|(_, one)| one.since)
            .map(|(number, _)| *number);
        if let Some(number) = silent {
            self.connections.remove(&number);
        }
    }
}
