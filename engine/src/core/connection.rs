//! One connection's slot: what there is of it, in each of its states.

use std::{num::NonZeroUsize, rc::Rc};

use pinfire_base::clock::{Span, Stamp};
use pinfire_proto::{Exchange, Scan};

use crate::{
    io::{Io, Socket},
    request::Request,
};

/// What a connection is doing, with what it has for that.
///
/// `Vacant` → `Connecting` → `Securing`, where TLS is spoken → `Busy` ⇄ `Idle`, and from each of
/// those `Closed` → `Vacant`. A request is in `Connecting`, `Securing` or `Busy`, and nowhere else.
/// It lies in the slot itself: a box would cost every request an allocation.
#[derive(Default)]
pub(super) enum State<I: Io> {
    /// Nothing is here.
    #[default]
    Vacant,
    /// A connect is pending.
    Connecting(Connecting<I>),
    /// The TLS handshake is going on.
    Securing(Securing<I>),
    /// A request and its answer go over it.
    Busy(Busy<I>),
    /// It waits for its next request.
    Idle(Idle<I>),
    /// It is hung up, or left to lie; its task is about to let go of the socket.
    Closed,
}

/// A connection that is not there yet, and the request that wants it.
pub(super) struct Connecting<I: Io> {
    pub(super) socket: Rc<I::Socket>,
    pub(super) request: Request,
}

/// A connection in its TLS handshake, and the request that wants it.
pub(super) struct Securing<I: Io> {
    pub(super) socket: Rc<I::Socket>,
    pub(super) secure: Box<I::Secure>,
    pub(super) request: Request,
}

/// A connection with a request.
pub(super) struct Busy<I: Io> {
    pub(super) socket: Rc<I::Socket>,
    /// Where TLS is spoken.
    pub(super) secure: Option<Box<I::Secure>>,
    pub(super) request: Request,
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
    /// The fewest bytes of one read that have brought one event of the present answer.
    pub(super) event_bytes: Option<NonZeroUsize>,
}

impl<I: Io> Connection<I> {
    /// A vacant slot for answers whose events of this kind the cores read.
    pub(super) fn of(scan: Scan) -> Self {
        Self {
            state: State::Vacant,
            target: 0,
            exchange: Exchange::of(scan),
            head: Vec::new(),
            served: 0,
            local_port: 0,
            event_bytes: None,
        }
    }

    /// A new connection moves in; its connect is pending.
    pub(super) fn open(&mut self, socket: Rc<I::Socket>, target: usize, request: Request) {
        assert!(
            matches!(self.state, State::Vacant),
            "a slot is given away when its last task has ended"
        );
        self.state = State::Connecting(Connecting { socket, request });
        self.target = target;
        self.exchange.reset();
        self.served = 0;
        self.local_port = 0;
        self.event_bytes = None;
    }

    /// The connect has ended well, and no TLS is spoken: the request can go.
    pub(super) fn connected(&mut self) {
        self.state = match std::mem::take(&mut self.state) {
            State::Connecting(Connecting { socket, request }) => State::Busy(Busy {
                socket,
                secure: None,
                request,
            }),
            _ => unreachable!("a connect ends once"),
        };
    }

    /// The connect has ended well; the handshake begins.
    pub(super) fn secures(&mut self, secure: Box<I::Secure>) {
        self.state = match std::mem::take(&mut self.state) {
            State::Connecting(Connecting { socket, request }) => State::Securing(Securing {
                socket,
                secure,
                request,
            }),
            _ => unreachable!("a connect ends once"),
        };
    }

    /// The handshake is over: the request can go.
    pub(super) fn secured(&mut self) {
        self.state = match std::mem::take(&mut self.state) {
            State::Securing(Securing {
                socket,
                secure,
                request,
            }) => State::Busy(Busy {
                socket,
                secure: Some(secure),
                request,
            }),
            _ => unreachable!("a handshake ends once, on a connection that is being secured"),
        };
    }

    /// The answer is whole: what carried it is taken out, and as long as nothing moves back in, the
    /// connection counts as hung up.
    #[inline]
    pub(super) fn finish(&mut self) -> Busy<I> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Busy(busy) => busy,
            _ => unreachable!("an answer ends once, on the connection that carries it"),
        }
    }

    /// It waits for its next request from now on.
    #[inline]
    pub(super) fn rest(&mut self, idle: Idle<I>) {
        self.state = State::Idle(idle);
    }

    /// It has its next request.
    #[inline]
    pub(super) fn take_up(&mut self, request: impl FnOnce(Stamp) -> Request) {
        self.state = match std::mem::take(&mut self.state) {
            State::Idle(Idle {
                socket,
                secure,
                since,
                ..
            }) => State::Busy(Busy {
                socket,
                secure,
                request: request(since),
            }),
            _ => unreachable!("a request goes over a connection that was idle just now"),
        };
        self.exchange.reset();
        self.event_bytes = None;
    }

    /// Its request is over before its answer: both are taken out, and the connection counts as hung
    /// up.
    pub(super) fn give_up(&mut self) -> (Rc<I::Socket>, Request) {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Connecting(Connecting { socket, request })
            | State::Securing(Securing {
                socket, request, ..
            })
            | State::Busy(Busy {
                socket, request, ..
            }) => (socket, request),
            State::Vacant | State::Idle(_) | State::Closed => {
                unreachable!("a request ends once, on the connection that carries it")
            }
        }
    }

    /// Hangs up while it waits for a request. The rest is left to its task, which the hang-up
    /// wakes.
    pub(super) fn close_idle(&mut self) {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Idle(Idle { socket, .. }) => socket.hang_up(),
            _ => unreachable!("a request in flight is given up, and who is closed is not idle"),
        }
    }

    /// Its last task has ended.
    pub(super) fn vacate(&mut self) {
        assert!(
            self.is_closed(),
            "a connection's task goes on as long as it is open"
        );
        self.state = State::Vacant;
    }

    /// Whether it is hung up.
    #[inline]
    pub(super) const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// A read of so many bytes has brought so many events.
    #[inline]
    pub(super) fn brought(&mut self, bytes: usize, events: usize) {
        if events == 1 && self.event_bytes.is_none_or(|least| bytes < least.get()) {
            self.event_bytes = NonZeroUsize::new(bytes);
        }
    }

    /// The fewest bytes that may be several events, as far as those before tell.
    #[inline]
    pub(super) fn several_events(&self) -> Option<usize> {
        self.event_bytes.map(|least| 2 * least.get())
    }

    /// Whether what comes is TLS, of which the handshake is a part.
    pub(super) const fn is_sealed(&self) -> bool {
        matches!(
            self.state,
            State::Securing(_)
                | State::Busy(Busy {
                    secure: Some(_),
                    ..
                })
                | State::Idle(Idle {
                    secure: Some(_),
                    ..
                })
        )
    }

    /// Its socket, unless it is hung up.
    #[inline]
    pub(super) const fn socket(&self) -> Option<&Rc<I::Socket>> {
        match &self.state {
            State::Connecting(Connecting { socket, .. })
            | State::Securing(Securing { socket, .. })
            | State::Busy(Busy { socket, .. })
            | State::Idle(Idle { socket, .. }) => Some(socket),
            State::Vacant | State::Closed => None,
        }
    }

    /// Its request, if it has one.
    #[inline]
    pub(super) const fn request(&self) -> Option<&Request> {
        match &self.state {
            State::Connecting(Connecting { request, .. })
            | State::Securing(Securing { request, .. })
            | State::Busy(Busy { request, .. }) => Some(request),
            State::Vacant | State::Idle(_) | State::Closed => None,
        }
    }

    /// Its socket and its request. For those who know that the request has not ended.
    #[inline]
    pub(super) fn in_flight(&mut self) -> (&Rc<I::Socket>, &mut Request) {
        match &mut self.state {
            State::Connecting(Connecting { socket, request })
            | State::Securing(Securing {
                socket, request, ..
            })
            | State::Busy(Busy {
                socket, request, ..
            }) => (socket, request),
            State::Vacant | State::Idle(_) | State::Closed => {
                unreachable!("the request of this connection has not ended")
            }
        }
    }

    /// Whether it is idle, and that in the rest of this number.
    #[inline]
    pub(super) const fn is_idle_in(&self, visit: u64) -> bool {
        match &self.state {
            State::Idle(idle) => idle.visit == visit,
            _ => false,
        }
    }
}
