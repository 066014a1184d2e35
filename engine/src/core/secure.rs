//! What TLS adds to a connection: a handshake before its first request, and sealed bytes.

use std::io::ErrorKind;

use pinfire_base::{clock::Stamp, record::Failure};
use pinfire_proto::Progress;

use super::{
    Core,
    connection::{Busy, Connection, Idle, Securing, State},
};
use crate::{
    io::{Io, Secure},
    request::Request,
};

impl<I: Io> Core<I> {
    /// A new connection is established. What is said over it comes next: the request, or the first
    /// words of TLS.
    pub(super) fn begin_talking(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        let target = connection.target;
        let (_, request) = connection.in_flight();
        let plan = &self.phases.of(request.phase()).plan;
        let Some(tls) = &plan.targets[target].tls else {
            connection.connected();
            return self.begin_sending(slot);
        };
        match I::Secure::new(tls) {
            Ok(secure) => {
                connection.secures(Box::new(secure));
                self.shake_hands(slot);
            }
            Err(error) => self.fail(slot, self.io.now(), tls_failure(&error)),
        }
    }

    /// Goes on with a handshake: sends what is to be sent, and after its end the request. The last
    /// message of ours then travels with the request.
    pub(super) fn shake_hands(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        let State::Securing(Securing {
            socket,
            secure,
            request,
        }) = &mut connection.state
        else {
            unreachable!("hands are shaken while a connection is secured");
        };
        if !secure.is_handshaking() {
            request.secured(self.io.now());
            connection.secured();
            return self.begin_sending(slot);
        }
        match secure.flush(socket) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait_for_room(slot),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                self.fail(slot, self.io.now(), Failure::HandshakeBroken { errno });
            }
        }
    }

    /// Opens what one `recv` has brought. All of it is looked at: behind the end of a response
    /// there may be what concerns the connection.
    pub(super) fn open_sealed(&mut self, slot: usize, at: Stamp, bytes: usize) {
        let Connection {
            state, exchange, ..
        } = &mut self.connections[slot];
        let (socket, secure, settled, mut request) = match state {
            State::Securing(Securing {
                socket,
                secure,
                request,
            }) => (socket, secure, false, Some(request)),
            State::Busy(Busy {
                socket,
                secure: Some(secure),
                request,
            }) => (socket, secure, true, Some(request)),
            State::Idle(Idle {
                socket,
                secure: Some(secure),
                ..
            }) => (socket, secure, true, None),
            _ => unreachable!("what is opened has come over TLS"),
        };
        let events =
            |request: &Option<&mut Request>| request.as_ref().map_or(0, |r| r.room().marks);
        let before = events(&request);
        let mut end = None;
        let mut surplus = false;
        let over = secure.open(&self.buffer[..bytes], |plain| match (&end, &mut request) {
            (None, Some(request)) => match exchange.feed(at, plain, &mut **request) {
                Ok(Progress::More) => {}
                last => end = Some(last),
            },
            // Bytes that answer nothing.
            _ => surplus = true,
        });
        // An alert, or an answer to a change of keys. If there is no room it goes with what is sent
        // next.
        if settled || over.is_err() {
            let _ = secure.flush(socket);
        }
        let carries = request.is_some();
        let events = events(&request) - before;
        if carries {
            self.events_came(slot, at, events);
        }
        match end {
            Some(Ok(Progress::Complete { reusable })) => {
                let sound = matches!(over, Ok(false)) && !surplus;
                return self.complete(slot, at, reusable && sound);
            }
            Some(Err(error)) => return self.fail_framing(slot, at, &error),
            Some(Ok(Progress::More)) | None => {}
        }
        match over {
            Err(error) if carries => self.fail(slot, at, tls_failure(&error)),
            Ok(true) => self.peer_closed(slot, at, 0),
            Ok(false) if !settled => self.shake_hands(slot),
            Err(_) => self.connections[slot].close_idle(),
            Ok(false) if surplus => self.connections[slot].close_idle(),
            Ok(false) => {}
        }
    }
}

fn tls_failure(error: &rustls::Error) -> Failure {
    Failure::Tls {
        reason: error.to_string().into(),
    }
}
