//! Answers over TLS that only the close ends: it must be announced.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use pinfire_base::record::Failure;
use pinfire_tests::{load::Load, mock::script, on_both_drivers, tls::Identity};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::failures;

/// A server that answers each first request of a connection with this and closes, with TLS's notice
/// or without.
fn closing(config: &Arc<ServerConfig>, body: &'static str, announces: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let config = Arc::clone(config);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            let _ = answer(StreamOwned::new(session, client), body, announces);
        }
    });
    address
}

fn answer(
    mut stream: StreamOwned<ServerConnection, TcpStream>,
    body: &str,
    announces: bool,
) -> std::io::Result<()> {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    // The requests of these tests end with their only closing brace pair.
    while !seen.ends_with(b"true}") {
        let bytes = stream.read(&mut buffer)?;
        seen.extend_from_slice(&buffer[..bytes]);
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
    stream.write_all(format!("{head}{body}").as_bytes())?;
    if announces {
        stream.conn.send_close_notify();
    }
    stream.flush()
}

const EVENT: &str = "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n";

on_both_drivers! {
    fn a_close_without_its_notice_is_an_error_where_nothing_else_ends_the_answer(driver) {
        let identity = Identity::new();
        let config = identity.shown(script()).tls.unwrap();
        let with_mark: &str = Box::leak(format!("{EVENT}data: [DONE]\n\n").into_boxed_str());
        for (body, announces, fails) in [
            (EVENT, true, false),
            (EVENT, false, true),
            // The end mark says that nothing is missing.
            (with_mark, false, false),
        ] {
            let address = closing(&config, body, announces);
            let load = Load::new(driver, address).of(2, 4);
            let run = load.over(identity.trusted()).run();
            let expected = if fails { [0, 4, 0, 0] } else { [4, 0, 0, 0] };
            assert_eq!(run.ends(), expected, "{body} announced: {announces}");
            let all = failures(&run);
            assert!(all.iter().all(|failure| **failure == Failure::UnannouncedClose));
            // What came is kept.
            assert!(run.records.iter().all(|record| !record.transcript.marks().is_empty()));
        }
    }
}
