//! The scripted server in process, and what it wrote down.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use pinfire_base::{clock::Span, record::Record};
use pinfire_tools::mock::{Handle, Precision, Script, Server, Summary};
use serde_json::Value;
use tempfile::TempDir;

use crate::watchdog::watch;

/// A running scripted server with a truth log.
pub struct Mock {
    handle: Handle,
    folder: TempDir,
}

/// One line of the truth log. Times are Unix nanoseconds of one clock.
#[derive(Clone, Debug)]
pub struct Truth {
    /// `X-Request-ID`.
    pub id: String,
    /// Number of the connection.
    pub conn: u64,
    /// Number of the request on it.
    pub nth: u64,
    /// After the read of the request's first byte; 0 if it never came.
    pub first: u64,
    /// After the read of its last byte; 0 if that never came.
    pub full: u64,
    /// Body bytes received.
    pub body: u64,
    /// Status sent or meant.
    pub status: u64,
    /// Content events written.
    pub sent: u64,
    /// Before the write of the last content event.
    pub w_last: u64,
    /// After the answer's last byte.
    pub done: u64,
    /// When the client's leaving was noticed; 0 if it stayed.
    pub closed: u64,
    /// How it ended early.
    pub how: String,
}

/// A script for tests: as the default, but it sleeps between its deadlines, because many servers
/// run at a time and none of the tests judges its exactness.
pub fn script() -> Script {
    Script {
        ttft: Span::from_millis(4),
        itl: Span::from_millis(1),
        tokens: 8,
        precision: Precision::Sleep,
        ..Script::default()
    }
}

/// A script whose answers leave at once and whole.
pub fn instant(tokens: u32) -> Script {
    Script {
        precision: Precision::Sleep,
        ..Script::instant(tokens)
    }
}

/// A script that never answers within a test.
pub fn silent() -> Script {
    Script {
        ttft: Span::from_secs_f64(3_600.0),
        latency: Some(Span::from_secs_f64(3_600.0)),
        ..script()
    }
}

impl Mock {
    /// Starts it on a free port.
    pub fn start(script: Script) -> Self {
        Self::start_at(script, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// Starts it there.
    pub fn start_at(script: Script, at: SocketAddr) -> Self {
        let folder = TempDir::new().expect("a folder for the truth log");
        let truth = folder.path().join("truth.jsonl");
        let server = Server::bind(script, at, Some(truth)).expect("a port for the mock");
        let handle = server.spawn(None).expect("a thread for the mock");
        Self { handle, folder }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    /// Waits until every client has left, then stops it. Its lines in the order in which the
    /// requests ended.
    pub fn stop(self) -> (Summary, Vec<Truth>) {
        self.settle();
        let summary = self.handle.stop();
        assert!(summary.truth_error.is_none(), "{:?}", summary.truth_error);
        let text =
            std::fs::read_to_string(self.folder.path().join("truth.jsonl")).expect("the truth log");
        (summary, text.lines().map(line).collect())
    }

    /// Waits until no connection but the asking one is open.
    fn settle(&self) {
        let _guard = watch("the mock never lost its clients");
        while !self.metrics().contains("\nmock_open_connections 1.0\n") {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Its Prometheus text, over a connection of its own.
    pub fn metrics(&self) -> String {
        let mut socket = TcpStream::connect(self.address()).expect("a connection to the mock");
        socket
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: mock\r\nConnection: close\r\n\r\n")
            .expect("a request for the metrics");
        let mut text = String::new();
        socket.read_to_string(&mut text).expect("the metrics");
        text
    }
}

fn line(text: &str) -> Truth {
    let value: Value = serde_json::from_str(text).expect("a line of the truth log");
    let number = |key: &str| value[key].as_u64().expect(key);
    let string = |key: &str| value[key].as_str().expect(key).to_owned();
    Truth {
        id: string("id"),
        conn: number("conn"),
        nth: number("nth"),
        first: number("first"),
        full: number("full"),
        body: number("body"),
        status: number("status"),
        sent: number("sent"),
        w_last: number("w_last"),
        done: number("done"),
        closed: number("closed"),
        how: string("how"),
    }
}

/// The lines by request id. Every line must have one, and no two the same.
pub fn by_id(lines: &[Truth]) -> HashMap<&str, &Truth> {
    let map: HashMap<&str, &Truth> = lines.iter().map(|line| (line.id.as_str(), line)).collect();
    assert_eq!(map.len(), lines.len(), "a request was seen twice");
    assert!(!map.contains_key(""), "a request without its id");
    map
}

/// The text of a record's `X-Request-ID`.
pub fn id(record: &Record) -> String {
    record.request_id.to_string()
}
