//! What TLS adds to a connection: a handshake before its first request, and sealed bytes.

use std::io::ErrorKind;

use pinfire_base::{clock::Stamp, record::Failure};
use pinfire_proto::Progress;

use super::{Core, connection::State, receive::framing};
use crate::{net::tls::Secure, request::Request};

impl Core {
    /// A new connection is established. What is said over it comes next: the request, or the first
    /// words of TLS.
    pub(super) fn begin_talking(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        let tls = self
            .phases
            .any()
            .and_then(|phase| phase.plan.targets[connection.target].tls.as_ref());
        let Some(tls) = tls else {
            connection.state = State::Busy;
            return self.begin_sending(slot);
        };
        match Secure::new(tls.config.clone(), tls.name.clone()) {
            Ok(secure) => {
                connection.secure = Some(Box::new(secure));
                connection.state = State::Securing;
                self.shake_hands(slot);
            }
            Err(error) => self.fail(slot, Stamp::now(), tls_failure(&error)),
        }
    }

    /// Goes on with a handshake: sends what is to be sent, and after its end the request. The last
    /// message of ours then travels with the request.
    pub(super) fn shake_hands(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        let (Some(secure), Some(socket)) = (&mut connection.secure, &connection.socket) else {
            return;
        };
        if !secure.is_handshaking() {
            connection.state = State::Busy;
            if let Some(request) = &mut connection.request {
                request.secured(Stamp::now());
            }
            return self.begin_sending(slot);
        }
        match secure.flush(socket) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait_for_room(slot),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                self.fail(slot, Stamp::now(), Failure::HandshakeBroken { errno });
            }
        }
    }

    /// Opens what one `recv` has brought. All of it is looked at: behind the end of a response
    /// there may be what concerns the connection.
    pub(super) fn open_sealed(&mut self, slot: usize, at: Stamp, bytes: usize) {
        let connection = &mut self.connections[slot];
        let (Some(secure), Some(socket)) = (&mut connection.secure, &connection.socket) else {
            return;
        };
        let events = |request: &Option<Request>| request.as_ref().map_or(0, |r| r.room().0);
        let before = events(&connection.request);
        let exchange = &mut connection.exchange;
        let request = &mut connection.request;
        let mut end = None;
        let mut surplus = false;
        let over = secure.open(&self.buffer[..bytes], |plain| match (&end, &mut *request) {
            (None, Some(request)) => match exchange.feed(at, plain, request) {
                Ok(Progress::More) => {}
                last => end = Some(last),
            },
            // Bytes that answer nothing.
            _ => surplus = true,
        });
        // An alert, or an answer to a change of keys. If there is no room it goes with what is sent
        // next.
        let settled = connection.state != State::Securing;
        if settled || over.is_err() {
            let _ = secure.flush(socket);
        }
        let events = events(&connection.request) - before;
        self.events_came(slot, at, events);
        match end {
            Some(Ok(Progress::Complete { reusable })) => {
                let sound = matches!(over, Ok(false)) && !surplus;
                return self.complete(slot, at, reusable && sound);
            }
            Some(Err(error)) => return self.fail(slot, at, framing(&error)),
            Some(Ok(Progress::More)) | None => {}
        }
        match over {
            Err(error) if self.connections[slot].request.is_some() => {
                self.fail(slot, at, tls_failure(&error));
            }
            Err(_) => self.close(slot),
            Ok(true) => self.peer_closed(slot, at, 0),
            Ok(false) if surplus => self.close(slot),
            Ok(false) if !settled => self.shake_hands(slot),
            Ok(false) => {}
        }
    }
}

fn tls_failure(error: &rustls::Error) -> Failure {
    Failure::Tls {
        reason: error.to_string().into(),
    }
}
