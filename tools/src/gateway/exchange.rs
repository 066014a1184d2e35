//! One connection of a client: its requests one after the other, each on a connection of its own
//! to the server.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pinfire_base::clock::{Span, Stamp};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_linger;

use super::answer::{Answer, Head, Tokens};
use super::truth::Line;
use super::{Fate, METRICS, Shared};

/// How often a thread looks whether the gateway is to end.
const PATIENCE: Span = Span::from_millis(250);
/// Bytes that may wait for a client before the server is not read on.
const HELD_BACK: usize = 256 * 1024;
/// Bytes of one read.
const READ: usize = 64 * 1024;

/// Serves a client until it leaves.
pub(super) fn serve(client: &TcpStream, shared: &Shared) {
    let _ = client.set_nodelay(true);
    if client.set_nonblocking(true).is_err() {
        return;
    }
    let mut inbox = Vec::new();
    while let Some((head, body)) = request(client, &mut inbox, shared) {
        let path = head.text.split(' ').nth(1).unwrap_or_default();
        if path == METRICS {
            let page = shared.counts.page();
            if answer(client, "200 OK", &page, head.closes()).is_err() || head.closes() {
                return;
            }
            continue;
        }
        let exchange = Exchange::begin(client, shared, &head, &body);
        let on = match exchange {
            Ok(exchange) => exchange.run(),
            Err(cause) => {
                let words = format!("the gateway cannot reach the server: {cause}\n");
                answer(client, "502 Bad Gateway", &words, false).is_ok()
            }
        };
        if !on || head.closes() {
            return;
        }
    }
}

/// The next request, head and body; `None` when the client has left or the gateway ends.
fn request(client: &TcpStream, inbox: &mut Vec<u8>, shared: &Shared) -> Option<(Head, Vec<u8>)> {
    let mut bytes = [0; READ];
    let mut continued = false;
    loop {
        if let Some(head) = Head::at(inbox) {
            let length = head.header("content-length").and_then(|it| it.parse().ok());
            let whole = head.length + length.unwrap_or(0_usize);
            if inbox.len() >= whole {
                let body = inbox[head.length..whole].to_vec();
                inbox.drain(..whole);
                return Some((head, body));
            }
            if head.header("expect").is_some() && !continued {
                continued = true;
                let mut out = client;
                out.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
            }
        }
        if shared.stop.load(Ordering::SeqCst) {
            return None;
        }
        wait(&mut [PollFd::new(client, PollFlags::IN)], PATIENCE);
        match (&mut &*client).read(&mut bytes) {
            Ok(0) => return None,
            Ok(count) => inbox.extend_from_slice(&bytes[..count]),
            Err(error) if is_no_news(&error) => {}
            Err(_) => return None,
        }
    }
}

/// An answer of the gateway's own.
fn answer(client: &TcpStream, status: &str, body: &str, close: bool) -> io::Result<()> {
    let close = if close { "Connection: close\r\n" } else { "" };
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\
         {close}\r\n{body}",
        body.len()
    );
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match (&mut &*client).write(rest) {
            Ok(count) => rest = &rest[count..],
            Err(error) if is_no_news(&error) => {
                wait(&mut [PollFd::new(client, PollFlags::OUT)], PATIENCE);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A request at the server.
struct Exchange<'a> {
    client: &'a TcpStream,
    server: TcpStream,
    shared: &'a Shared,
    /// The server's answer is one of a model: it is counted and logged.
    counted: bool,
    fate: Fate,
    number: u64,
    id: String,
    start: Stamp,
    /// The client wants its connection closed after the answer.
    close: bool,
    /// What has come of a head that is not whole.
    early: Vec<u8>,
    answer: Option<Answer>,
    /// What the client has not taken yet.
    pending: Vec<u8>,
    reached: Tokens,
    left: Option<Stamp>,
    /// The server's side has ended and was counted.
    over: bool,
}

/// How the server's side of a request ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// With the end of the answer.
    Whole,
    /// With a close in the middle of it.
    Cut,
    /// With a reset.
    Reset,
    /// The gateway disconnected.
    LetGo,
}

impl<'a> Exchange<'a> {
    fn begin(
        client: &'a TcpStream,
        shared: &'a Shared,
        head: &Head,
        body: &[u8],
    ) -> io::Result<Self> {
        let counted = head.text.starts_with("POST ");
        let number = match counted {
            true => shared.requests.fetch_add(1, Ordering::SeqCst),
            false => 0,
        };
        let mut server = TcpStream::connect(shared.server)?;
        server.set_nodelay(true)?;
        let mut message = head.for_the_other(true);
        message.extend_from_slice(body);
        server.write_all(&message)?;
        server.set_nonblocking(true)?;
        if counted {
            shared.counts.active.fetch_add(1, Ordering::SeqCst);
            shared.counts.begun.fetch_add(1, Ordering::SeqCst);
        }
        Ok(Self {
            client,
            server,
            shared,
            counted,
            fate: match counted {
                true => shared.mode.fate(number),
                false => Fate::Pass,
            },
            number,
            id: head.header("x-request-id").unwrap_or_default().to_owned(),
            start: Stamp::now(),
            close: head.closes(),
            early: Vec::new(),
            answer: None,
            pending: Vec::new(),
            reached: Tokens::default(),
            left: None,
            over: false,
        })
    }

    /// Carries the answer over; whether the client's connection goes on.
    fn run(mut self) -> bool {
        let end = self.carry();
        let let_go = Stamp::now();
        // The server's side is over before what is left goes to the client.
        let _ = self.server.shutdown(Shutdown::Both);
        self.account(end);
        while !self.pending.is_empty() && self.left.is_none() {
            let mut fds = [PollFd::new(self.client, PollFlags::OUT)];
            wait(&mut fds, PATIENCE);
            self.hand_over();
            if self.shared.stop.load(Ordering::SeqCst) {
                break;
            }
        }
        self.log(end, let_go);
        if end == End::Reset {
            let _ = set_socket_linger(self.client, Some(Duration::ZERO));
        }
        let framed = self
            .answer
            .as_ref()
            .is_some_and(|it| !it.ends_with_its_connection());
        end == End::Whole && framed && self.left.is_none()
    }

    /// Reads the server's answer until it has ended or the client's leaving is passed on.
    fn carry(&mut self) -> End {
        let mut bytes = vec![0; READ];
        loop {
            if self.shared.stop.load(Ordering::SeqCst) {
                return End::LetGo;
            }
            if let Some(end) = self.due() {
                return end;
            }
            let (from_server, from_client) = self.watch();
            if from_client {
                self.leave();
                continue;
            }
            if from_server {
                match (&self.server).read(&mut bytes) {
                    Ok(0) => return self.closed(),
                    Ok(count) => self.take(&bytes[..count]),
                    Err(error) if is_no_news(&error) => {}
                    Err(_) => return End::Reset,
                }
                if self.answer.as_ref().is_some_and(Answer::whole) {
                    return End::Whole;
                }
            }
            if self.fate != Fate::Buffer {
                self.hand_over();
            }
        }
    }

    /// Whether the client's leaving is to be passed on by now.
    fn due(&self) -> Option<End> {
        let left = self.left?;
        let passed_on = match self.fate {
            Fate::Pass => true,
            Fate::Late(after) => Stamp::now().since(left) >= after,
            Fate::Hold | Fate::Buffer => false,
        };
        passed_on.then_some(End::LetGo)
    }

    /// Waits for news: of the server, and of a client that has left.
    fn watch(&self) -> (bool, bool) {
        let patient = match (self.fate, self.left) {
            (Fate::Late(after), Some(left)) => {
                let rest = after
                    .nanos()
                    .saturating_sub(Stamp::now().since(left).nanos());
                Span::from_nanos(rest.min(PATIENCE.nanos()))
            }
            _ => PATIENCE,
        };
        let full = self.pending.len() > HELD_BACK && self.fate == Fate::Pass;
        let reading = if full {
            PollFlags::empty()
        } else {
            PollFlags::IN
        };
        let mut about_client = PollFlags::RDHUP;
        if !self.pending.is_empty() && self.fate != Fate::Buffer {
            about_client |= PollFlags::OUT;
        }
        // A buffering gateway does not look at its client, nor does any at one that has left.
        let looks = self.fate != Fate::Buffer && self.left.is_none();
        let server = PollFd::new(&self.server, reading);
        let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        if looks {
            let mut fds = [server, PollFd::new(self.client, about_client)];
            wait(&mut fds, patient);
            let [server, client] = fds.map(|fd| fd.revents());
            (!server.is_empty(), client.intersects(gone))
        } else {
            let mut fds = [server];
            wait(&mut fds, patient);
            (!fds[0].revents().is_empty(), false)
        }
    }

    /// Takes what the server has sent.
    fn take(&mut self, bytes: &[u8]) {
        let body = match &mut self.answer {
            Some(answer) => {
                answer.take(bytes);
                bytes
            }
            None => {
                self.early.extend_from_slice(bytes);
                let Some(head) = Head::at(&self.early) else {
                    return;
                };
                let mut answer = Answer::of(&head);
                let close = self.close || answer.ends_with_its_connection();
                self.pending.extend(head.for_the_other(close));
                answer.take(&self.early[head.length..]);
                self.answer = Some(answer);
                &self.early[head.length..]
            }
        };
        if self.left.is_none() {
            self.pending.extend_from_slice(body);
        }
    }

    /// The server has closed its connection.
    fn closed(&self) -> End {
        match &self.answer {
            Some(answer) if answer.whole() || answer.ends_with_its_connection() => End::Whole,
            _ => End::Cut,
        }
    }

    /// Sends what the client takes of it.
    fn hand_over(&mut self) {
        while !self.pending.is_empty() && self.left.is_none() {
            match (&mut &*self.client).write(&self.pending) {
                Ok(count) => {
                    self.reached.take(&self.pending[..count]);
                    self.pending.drain(..count);
                }
                Err(error) if is_no_news(&error) => return,
                Err(_) => self.leave(),
            }
        }
    }

    /// The client has left.
    fn leave(&mut self) {
        if self.left.is_some() {
            return;
        }
        self.left = Some(Stamp::now());
        self.pending.clear();
        if self.counted {
            let counts = &self.shared.counts;
            counts.left.fetch_add(1, Ordering::SeqCst);
            counts
                .kept
                .fetch_add(u64::from(!self.over), Ordering::SeqCst);
        }
    }

    /// Counts the end of the server's side.
    fn account(&mut self, end: End) {
        self.over = true;
        if !self.counted {
            return;
        }
        let counts = &self.shared.counts;
        let less = |count: &AtomicU64| count.fetch_sub(1, Ordering::SeqCst);
        let more = |count: &AtomicU64| count.fetch_add(1, Ordering::SeqCst);
        less(&counts.active);
        if self.left.is_some() {
            less(&counts.kept);
        }
        match end {
            End::Whole => more(&counts.completed),
            End::LetGo => more(&counts.cancelled),
            End::Cut | End::Reset => 0,
        };
    }

    fn log(&self, end: End, let_go: Stamp) {
        let Some(truth) = self.shared.truth.as_ref().filter(|_| self.counted) else {
            return;
        };
        truth.add(&Line {
            id: self.id.clone(),
            number: self.number,
            start: self.start,
            left: self.left,
            let_go,
            whole: end == End::Whole,
            made: self.answer.as_ref().map_or(0, Answer::tokens),
            reached: self.reached.count(),
        });
    }
}

fn wait(fds: &mut [PollFd<'_>], patience: Span) {
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: i64::try_from(patience.nanos().min(999_999_999)).unwrap_or_default(),
    };
    // A signal may interrupt it; whoever waits looks again then.
    let _ = poll(fds, Some(&timeout));
}

fn is_no_news(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
