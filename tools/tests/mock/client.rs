//! A small blocking client, and a server with its log.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use pinfire_tools::mock::{Handle, Script, Server, Summary};
use serde_json::Value;
use tempfile::TempDir;

/// A running server and the folder of its log.
pub struct Rig {
    handle: Handle,
    folder: TempDir,
}

/// One connection.
pub struct Client {
    socket: TcpStream,
    unread: Vec<u8>,
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Whole,
    /// The connection closed in the middle.
    Cut,
    /// The connection was reset in the middle.
    Reset,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub head: String,
    pub body: String,
    pub chunks: usize,
    pub end: End,
}

pub const STREAM: &str =
    r#"{"messages":[{"role":"user","content":"one two three"}],"stream":true}"#;
pub const WHOLE: &str = r#"{"messages":[{"role":"user","content":"one two three"}]}"#;

/// A fast script of `tokens` tokens that still writes token by token.
pub fn quick(tokens: u32) -> Script {
    Script {
        ttft: pinfire_base::clock::Span::from_millis(1),
        itl: pinfire_base::clock::Span::from_micros(200),
        tokens,
        ..Script::default()
    }
}

impl Rig {
    pub fn new(script: Script) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let truth = folder.path().join("truth.jsonl");
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let handle = Server::bind(script, any, Some(truth))
            .unwrap()
            .spawn(None)
            .unwrap();
        Self { handle, folder }
    }

    pub fn client(&self) -> Client {
        Client::of(self.address())
    }

    pub fn address(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    /// A request on a connection of its own.
    pub fn chat(&self, body: &str) -> Answer {
        self.client().chat("", body)
    }

    /// One value of /metrics, by the start of its line.
    pub fn metric(&self, name: &str) -> f64 {
        let (value, text) = self.shown(name);
        value.unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    /// The value of a metric, if the page shows it, and the page.
    fn shown(&self, name: &str) -> (Option<f64>, String) {
        let text = self.client().get("/metrics").body;
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap());
        (value, text)
    }

    /// Waits until a metric is shown and has a value.
    pub fn until(&self, name: &str, value: f64) {
        for _ in 0..6_000 {
            if self.shown(name).0 == Some(value) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{name} never became {value}");
    }

    /// Stops the server; what it did and its log.
    pub fn stop(self) -> (Summary, Vec<Value>) {
        let summary = self.handle.stop();
        let text = std::fs::read_to_string(self.folder.path().join("truth.jsonl")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        (summary, lines.collect())
    }
}

impl Client {
    /// A connection there.
    pub fn of(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        // A guard against tests that hang for ever, nothing that is measured.
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        Self {
            socket,
            unread: Vec::new(),
        }
    }

    /// Whether nothing comes for so long.
    pub fn nothing_for(&mut self, time: Duration) -> bool {
        let guard = self.socket.read_timeout().unwrap();
        self.socket.set_read_timeout(Some(time)).unwrap();
        let nothing = self.more().is_err();
        self.socket.set_read_timeout(guard).unwrap();
        nothing && self.unread.is_empty()
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    pub fn post(&mut self, path: &str, headers: &str, body: &str) {
        let text = format!(
            "POST {path} HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        self.send(text.as_bytes());
    }

    pub fn chat(&mut self, headers: &str, body: &str) -> Answer {
        self.post("/v1/chat/completions", headers, body);
        self.answer()
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: t\r\n\r\n").as_bytes());
        self.answer()
    }

    pub fn hang_up(&self) {
        self.socket.shutdown(Shutdown::Both).unwrap();
    }

    /// Closes the sending half.
    pub fn half_close(&self) {
        self.socket.shutdown(Shutdown::Write).unwrap();
    }

    /// Reads until the text has come in.
    pub fn wait_for(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.unread).contains(text) {
            assert!(self.more().is_ok_and(|count| count > 0), "no {text} came");
        }
    }

    /// What there is up to the end of the connection.
    pub fn rest(&mut self) -> (String, End) {
        let end = loop {
            match self.more() {
                Ok(0) => break End::Cut,
                Ok(_) => {}
                Err(_) => break End::Reset,
            }
        };
        let text = String::from_utf8_lossy(&self.unread).into_owned();
        (text, end)
    }

    fn more(&mut self) -> std::io::Result<usize> {
        let mut buffer = [0; 4096];
        let count = self.socket.read(&mut buffer)?;
        self.unread.extend_from_slice(&buffer[..count]);
        Ok(count)
    }

    /// Reads one response.
    pub fn answer(&mut self) -> Answer {
        let mut answer = Answer {
            head: String::new(),
            body: String::new(),
            chunks: 0,
            end: End::Whole,
        };
        if let Err(end) = self.read_answer(&mut answer) {
            answer.end = end;
        }
        answer
    }

    fn read_answer(&mut self, answer: &mut Answer) -> Result<(), End> {
        answer.head = self.line("\r\n\r\n")?;
        let head = answer.head.to_lowercase();
        if answer.status() == 100 {
            return Ok(());
        }
        if head.contains("transfer-encoding: chunked") {
            loop {
                let size = self.line("\r\n")?;
                let size = usize::from_str_radix(size.trim(), 16).unwrap();
                answer.body += &self.exact(size)?;
                assert_eq!(self.exact(2)?, "\r\n");
                if size == 0 {
                    return Ok(());
                }
                answer.chunks += 1;
            }
        }
        if let Some((_, rest)) = head.split_once("content-length: ") {
            let length = rest.lines().next().unwrap().parse().unwrap();
            answer.body = self.exact(length)?;
            return Ok(());
        }
        let (body, end) = self.rest();
        self.unread.clear();
        answer.body = body;
        if end == End::Reset { Err(end) } else { Ok(()) }
    }

    fn line(&mut self, end: &str) -> Result<String, End> {
        loop {
            let seen = String::from_utf8_lossy(&self.unread).into_owned();
            if let Some(at) = seen.find(end) {
                return self.exact(at + end.len());
            }
            self.need()?;
        }
    }

    fn exact(&mut self, count: usize) -> Result<String, End> {
        while self.unread.len() < count {
            self.need()?;
        }
        let bytes: Vec<u8> = self.unread.drain(..count).collect();
        Ok(String::from_utf8(bytes).unwrap())
    }

    fn need(&mut self) -> Result<(), End> {
        match self.more() {
            Ok(0) => Err(End::Cut),
            Ok(_) => Ok(()),
            Err(_) => Err(End::Reset),
        }
    }
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.head[9..12].parse().unwrap()
    }

    /// The values of the `data` lines, whatever the line ends.
    pub fn data(&self) -> Vec<&str> {
        let lines = self.body.split(['\n', '\r']);
        lines
            .filter_map(|line| line.strip_prefix("data:"))
            .map(|data| data.strip_prefix(' ').unwrap_or(data))
            .collect()
    }

    /// The text of all content events.
    pub fn text(&self) -> String {
        let events = self
            .data()
            .into_iter()
            .filter_map(|data| serde_json::from_str(data).ok());
        let text = |event: Value| {
            let choice = &event["choices"][0];
            let text = choice["delta"]["content"]
                .as_str()
                .or(choice["text"].as_str());
            text.unwrap_or_default().to_owned()
        };
        events.map(text).collect()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}
