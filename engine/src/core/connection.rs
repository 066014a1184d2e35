//! One connection's slot: what there is of it, in each of its states.

use std::rc::Rc;

use pinfire_base::clock::{Span, Stamp};
use pinfire_proto::{Exchange, Scan};

use crate::{
    io::{Io, Socket},
    request::Request,
};

/// What a connection is doing, with what it has for that.
#[derive(Default)]
#[expect(
    clippy::large_enum_variant,
    reason = "a slot keeps its size, and a box would cost every request an allocation"
)]
pub(super) enum State<I: Io> {
    /// It carries a request.
    Carrying(Carrying<I>),
    /// It waits for one.
    Idle(Idle<I>),
    /// Hung up (or an empty slot); its task is about to let go of the socket.
    #[default]
    Closed,
}

/// A connection with a request.
pub(super) struct Carrying<I: Io> {
    pub(super) socket: Rc<I::Socket>,
    pub(super) channel: Channel<I>,
    pub(super) request: Request,
}

/// How far a connection with a request is established.
pub(super) enum Channel<I: Io> {
    /// A connect is pending.
    Connecting,
    /// It is established; the TLS handshake is going on.
    Securing(Box<I::Secure>),
    /// Requests and answers go over it, sealed if TLS is spoken here.
    Open(Option<Box<I::Secure>>),
}

/// A connection that waits for its next request.
pub(super) struct Idle<I: Io> {
    pub(super) socket: Rc<I::Socket>,
    pub(super) secure: Option<Box<I::Secure>>,
    pub(super) since: Stamp,
    /// How long the server has said that it keeps it.
    pub(super) promised: Option<Span>,
    /// Which rest of a connection this is; a note of an older one does not count.
    pub(super) visit: u64,
}

/// One slot. Buffers stay when the slot changes hands.
pub(super) struct Connection<I: Io> {
    pub(super) state: State<I>,
    /// Which of the plan's targets is at the other end.
    pub(super) target: usize,
    pub(super) exchange: Exchange,
    /// Head of a request that a short write has left unfinished.
    pub(super) head: Vec<u8>,
    /// Responses completed on this connection.
    pub(super) served: u32,
    pub(super) local_port: u16,
}

impl<I: Io> Connection<I> {
    /// An empty slot for answers whose events of this kind the cores read.
    pub(super) fn of(scan: Scan) -> Self {
        Self {
            state: State::Closed,
            target: 0,
            exchange: Exchange::of(scan),
            head: Vec::new(),
            served: 0,
            local_port: 0,
        }
    }

    /// It carries a request over TLS.
    pub(super) fn is_sealed(&self) -> bool {
        matches!(
            self.state,
            State::Carrying(Carrying {
                channel: Channel::Open(Some(_)),
                ..
            })
        )
    }

    /// A new connection moves in; its connect is pending.
    pub(super) fn open(&mut self, socket: Rc<I::Socket>, target: usize, request: Request) {
        self.state = State::Carrying(Carrying {
            socket,
            channel: Channel::Connecting,
            request,
        });
        self.target = target;
        self.exchange.reset();
        self.served = 0;
        self.local_port = 0;
    }

    /// Whether it is hung up, or an empty slot.
    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Its socket, unless it is hung up.
    #[inline]
    pub(super) fn socket(&self) -> Option<&Rc<I::Socket>> {
        match &self.state {
            State::Carrying(Carrying { socket, .. }) | State::Idle(Idle { socket, .. }) => {
                Some(socket)
            }
            State::Closed => None,
        }
    }

    /// What it carries, if it carries something.
    #[inline]
    pub(super) fn carried(&self) -> Option<&Carrying<I>> {
        match &self.state {
            State::Carrying(carrying) => Some(carrying),
            State::Idle(_) | State::Closed => None,
        }
    }

    /// What it carries. For those who know that its request has not ended.
    #[inline]
    pub(super) fn carrying(&mut self) -> &mut Carrying<I> {
        match &mut self.state {
            State::Carrying(carrying) => carrying,
            State::Idle(_) | State::Closed => {
                unreachable!("the request of this connection has not ended")
            }
        }
    }

    /// Whether it is idle, and that in the rest of this number.
    #[inline]
    pub(super) fn is_idle_in(&self, visit: u64) -> bool {
        match &self.state {
            State::Idle(idle) => idle.visit == visit,
            State::Carrying(_) | State::Closed => false,
        }
    }

    /// Its request is over: what it carried is taken off, and as long as nothing moves back in, the
    /// connection counts as hung up.
    #[inline]
    pub(super) fn unload(&mut self) -> Carrying<I> {
        match std::mem::take(&mut self.state) {
            State::Carrying(carrying) => carrying,
            State::Idle(_) | State::Closed => {
                unreachable!("a request ends once, on the connection that carries it")
            }
        }
    }

    /// Hangs up while it waits for a request. The rest is left to its task, which the hang-up
    /// wakes.
    pub(super) fn close_idle(&mut self) {
        match std::mem::take(&mut self.state) {
            State::Idle(Idle { socket, .. }) => socket.hang_up(),
            State::Carrying(_) | State::Closed => {
                unreachable!("a request in flight is given up, and who is closed is not idle")
            }
        }
    }
}

impl<I: Io> Channel<I> {
    /// The handshake is over.
    pub(super) fn secured(&mut self) {
        *self = match std::mem::replace(self, Self::Connecting) {
            Self::Securing(secure) => Self::Open(Some(secure)),
            Self::Connecting | Self::Open(_) => {
                unreachable!("a handshake ends once, on a connection that is being secured")
            }
        };
    }
}
