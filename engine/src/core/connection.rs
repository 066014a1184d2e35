//! One connection's slot: the socket, the response being read, the request it carries.

use std::rc::Rc;

use pinfire_base::clock::Stamp;
use pinfire_proto::{Exchange, Scan};

use crate::{
    net::{Pollable, tls::Secure},
    request::Request,
};

/// What a connection is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum State {
    /// A connect is pending; it has a request already.
    Connecting,
    /// It is established; the TLS handshake is going on.
    Securing,
    /// It carries a request.
    Busy,
    /// It waits for one.
    Idle,
    /// Hung up (or an empty slot); its task is about to let go of the socket.
    #[default]
    Closed,
}

/// One slot. Buffers stay when the slot changes hands.
pub(super) struct Connection {
    pub(super) state: State,
    pub(super) socket: Option<Rc<Pollable>>,
    /// TLS, if it is spoken here.
    pub(super) secure: Option<Box<Secure>>,
    /// Which of the plan's targets is at the other end.
    pub(super) target: usize,
    pub(super) exchange: Exchange,
    pub(super) request: Option<Request>,
    /// Head of a request that a short write has left unfinished.
    pub(super) head: Vec<u8>,
    /// Responses completed on this connection.
    pub(super) served: u32,
    pub(super) idle_since: Stamp,
    /// Which visit to the pool this is; an older entry of the pool does not count.
    pub(super) visit: u64,
    pub(super) local_port: u16,
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            state: State::Closed,
            socket: None,
            secure: None,
            target: 0,
            exchange: Exchange::default(),
            request: None,
            head: Vec::new(),
            served: 0,
            idle_since: Stamp::from_nanos(1),
            visit: 0,
            local_port: 0,
        }
    }
}

impl Connection {
    /// An empty slot for answers whose events of this kind the cores read.
    pub(super) fn of(scan: Scan) -> Self {
        Self {
            exchange: Exchange::of(scan),
            ..Self::default()
        }
    }

    /// A new connection moves in; its connect is pending.
    pub(super) fn open(&mut self, socket: Rc<Pollable>, target: usize, request: Request) {
        self.state = State::Connecting;
        self.target = target;
        self.socket = Some(socket);
        self.exchange.reset();
        self.request = Some(request);
        self.served = 0;
        self.local_port = 0;
    }

    /// It waits for its next request from `at` on.
    pub(super) fn rests(&mut self, at: Stamp) {
        self.state = State::Idle;
        self.idle_since = at;
    }

    /// It has been hung up; the task still holds the socket.
    pub(super) fn closed(&mut self) {
        self.state = State::Closed;
        self.socket = None;
        self.secure = None;
    }
}
