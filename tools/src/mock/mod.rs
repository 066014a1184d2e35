//! A scripted OpenAI-style server: one thread, one epoll loop, answers at exact instants.
//!
//! A [`Script`] says what the server does, [`Server::bind`] opens the port, [`Server::spawn`] runs
//! it on a thread of its own, [`Handle::stop`] ends it and gives a [`Summary`]. Nothing is global:
//! a process may run as many as it likes, each on port 0.
//!
//! Which dialect an answer is in follows from the path; a POST to a path that is nobody's is
//! answered as a chat.
//!
//! It is not an HTTP server for other uses: request bodies need a content-length, a client that
//! closes its sending half counts as gone unless the script says otherwise, and bodies are searched
//! for a few keys, not parsed.
//!
//! ```
//! use pinfire_tools::mock::{Script, Server};
//! use std::{io::{Read, Write}, net::TcpStream};
//!
//! let server = Server::bind(Script::instant(3), "127.0.0.1:0".parse().unwrap(), None).unwrap();
//! let handle = server.spawn(None).unwrap();
//! let mut socket = TcpStream::connect(handle.local_addr()).unwrap();
//! let body = r#"{"messages":[],"model":"mock","stream":true}"#;
//! let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: mock\r\nConnection: close\r\n";
//! write!(socket, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
//! let mut answer = String::new();
//! socket.read_to_string(&mut answer).unwrap();
//! assert!(answer.contains("data: [DONE]"), "{answer}");
//! assert_eq!(handle.stop().served, 1);
//! ```

mod accept;
mod answer;
mod conn;
mod deadline;
mod dialect;
mod fault;
mod metrics;
mod notice;
mod pieces;
mod plain;
mod request;
mod script;
mod server;
mod stream;
mod truth;
mod turn;

pub use fault::{Fault, FaultError, FaultRule, When};
pub use script::{
    CounterLife, Framing, HeadTime, LeakOn, LeftAt, LineEnd, Precision, Release, RoleTime, Script,
    ScriptError,
};
pub use server::{Handle, MockError, Server, Stopper};
pub use turn::Summary;
