//! A gateway in front of a server: a real HTTP hop on loopback that does with a client's
//! disconnect what gateways do with it.
//!
//! A thread per connection, so it is for trying a client and its verdicts, not for measuring one.
//! Request bodies need a content-length, and each request goes upstream on a connection of its own.
//!
//! ```
//! use pinfire_tools::{gateway::{Gateway, Mode}, mock::{Script, Server}};
//! use std::{io::{Read, Write}, net::TcpStream};
//!
//! let any = "127.0.0.1:0".parse().unwrap();
//! let server = Server::bind(Script::instant(3), any, None).unwrap().spawn(None).unwrap();
//! let gateway = Gateway::start(Mode::Pass, any, server.local_addr(), None).unwrap();
//! let mut socket = TcpStream::connect(gateway.local_addr()).unwrap();
//! write!(socket, "GET /v1/models HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n").unwrap();
//! let mut answer = String::new();
//! socket.read_to_string(&mut answer).unwrap();
//! assert!(answer.contains("200 OK"), "{answer}");
//! ```

mod answer;
mod exchange;
mod page;
mod truth;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use pinfire_base::clock::Span;

use self::page::Counts;
use self::truth::Truth;

/// The path of the gateway's own metrics.
pub const METRICS: &str = "/gateway/metrics";

/// Stack of a connection's thread, so that thousands of them are no burden.
const STACK: usize = 256 * 1024;

/// What the gateway does when a client leaves before its answer has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It disconnects from the server at once.
    Pass,
    /// It reads the server's answer to the end.
    Hold,
    /// It does so for `held` of every `of` requests, by their number, and passes the others on:
    /// a cache that fills itself.
    Cache {
        /// Requests that are read to the end.
        held: u64,
        /// Of so many in turn.
        of: u64,
    },
    /// It disconnects from the server so long after its client did.
    Late(Span),
    /// It collects the whole answer before it sends any of it, and looks for its client only then.
    Buffer,
}

/// What becomes of one request whose client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Pass,
    Hold,
    Late(Span),
    Buffer,
}

impl Mode {
    /// The fate of the request of this number, from 0.
    const fn fate(self, number: u64) -> Fate {
        match self {
            Self::Pass => Fate::Pass,
            Self::Hold => Fate::Hold,
            Self::Cache { held, of } if (number % of) * held % of < held => Fate::Hold,
            Self::Cache { .. } => Fate::Pass,
            Self::Late(after) => Fate::Late(after),
            Self::Buffer => Fate::Buffer,
        }
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is none of pass, hold, cache:1/10 (a share of the requests), late:2s (or \
                 late:500ms) and buffer"
            )
        };
        match text.split_once(':') {
            None if text == "pass" => Ok(Self::Pass),
            None if text == "hold" => Ok(Self::Hold),
            None if text == "buffer" => Ok(Self::Buffer),
            Some(("cache", share)) => {
                let (held, of) = share.split_once('/').ok_or_else(wrong)?;
                let (held, of) = (held.parse(), of.parse());
                match (held, of) {
                    (Ok(held), Ok(of)) if of > 0 && held <= of && of <= 1_000_000 => {
                        Ok(Self::Cache { held, of })
                    }
                    _ => Err(wrong()),
                }
            }
            Some(("late", time)) => {
                let millis = time.strip_suffix("ms").map(|number| (number, 1e-3));
                let seconds = time.strip_suffix('s').map(|number| (number, 1.0));
                let (number, unit) = millis.or(seconds).ok_or_else(wrong)?;
                let number: f64 = number.parse().map_err(|_| wrong())?;
                match (0.0..=1e6).contains(&number) {
                    true => Ok(Self::Late(Span::from_secs_f64(number * unit))),
                    false => Err(wrong()),
                }
            }
            _ => Err(wrong()),
        }
    }
}

/// What the threads of a gateway share.
struct Shared {
    mode: Mode,
    server: SocketAddr,
    /// Requests for answers of a model so far.
    requests: AtomicU64,
    counts: Counts,
    truth: Option<Truth>,
    stop: AtomicBool,
}

/// A running gateway. Dropping it ends it; open connections end within a second.
pub struct Gateway {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Gateway {
    /// Opens `listen` (port 0 takes a free one) and hands what comes to `server`. With `truth`
    /// every request is logged there when it has ended.
    ///
    /// # Errors
    /// The address cannot be had, the log not be created, or there is no thread.
    pub fn start(
        mode: Mode,
        listen: SocketAddr,
        server: SocketAddr,
        truth: Option<&Path>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            mode,
            server,
            requests: AtomicU64::new(0),
            counts: Counts::default(),
            truth: truth.map(Truth::create).transpose()?,
            stop: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        let accept = move || accept(&listener, &own);
        let thread = thread::Builder::new()
            .name("gateway".into())
            .spawn(accept)?;
        Ok(Self {
            address,
            shared,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Requests that it holds at the server though their clients have left.
    pub fn kept(&self) -> u64 {
        self.shared.counts.kept.load(Ordering::SeqCst)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // It waits for a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming().flatten() {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let shared = Arc::clone(shared);
        let thread = thread::Builder::new().stack_size(STACK);
        // Without a thread for it the connection is closed, as a gateway out of workers does.
        let _ = thread.spawn(move || exchange::serve(&client, &shared));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_and_their_writing() {
        for (text, mode) in [
            ("pass", Mode::Pass),
            ("hold", Mode::Hold),
            ("cache:1/10", Mode::Cache { held: 1, of: 10 }),
            ("cache:0/5", Mode::Cache { held: 0, of: 5 }),
            ("late:2s", Mode::Late(Span::from_millis(2_000))),
            ("late:0.5s", Mode::Late(Span::from_millis(500))),
            ("late:30ms", Mode::Late(Span::from_millis(30))),
            ("buffer", Mode::Buffer),
        ] {
            assert_eq!(text.parse(), Ok(mode), "{text}");
        }
        for wrong in [
            "",
            "cache",
            "cache:1",
            "cache:2/1",
            "cache:1/0",
            "late:2",
            "late:-1s",
            "no",
        ] {
            let error = Mode::from_str(wrong).unwrap_err();
            assert!(error.contains("cache:1/10"), "{error}");
        }
    }

    #[test]
    fn a_share_is_met_exactly() {
        for (held, of) in [(1, 10), (1, 20), (3, 10), (10, 10), (0, 4)] {
            let mode = Mode::Cache { held, of };
            let held_of = |from: u64| {
                let numbers = from..from + of;
                numbers.filter(|&n| mode.fate(n) == Fate::Hold).count() as u64
            };
            assert!((0..50).all(|from| held_of(from) == held), "{held}/{of}");
        }
    }
}
