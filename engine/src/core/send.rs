//! A request on its way out: from its slot to the socket, over an idle connection or a new one.

use std::{
    io::{ErrorKind, IoSlice},
    rc::Rc,
};

use pinfire_base::{
    clock::{Span, Stamp},
    limits::{COPIED_BODY_BYTES, SENT_PARTS},
    ready::Body,
    record::{Correlation, Failure},
};

use super::{
    Core,
    agenda::Go,
    connection::{Busy, Connecting, Connection, State},
    connection_task,
    dial::{Unconnected, shows_lost_syn},
};
use crate::{
    io::{Io, Secure, Socket},
    plan::Address,
    request::{Ids, Request, Ticket},
};

impl<I: Io> Core<I> {
    pub(super) fn start(&mut self, go: Go, now: Stamp) {
        let Some(phase) = &mut self.phases.current else {
            unreachable!("what is started is of the phase that sends");
        };
        let plan = &phase.plan;
        let session = phase.agenda.session(go.seat);
        let own = session.connection.take();
        let target = plan.target(session.number);
        let ticket = Ticket {
            phase: plan.phase,
            index: go.index,
            entry: session.entry,
            core: self.number as u16,
            session: session.number,
            seat: go.seat,
            ids: Ids::new(phase.ids, go.index, session.correlation),
            scheduled: go.scheduled,
            cancel: plan
                .cancel
                .as_ref()
                .and_then(|cancel| cancel.of(go.index, session.entry, phase.started)),
        };
        let mut request = Request::new(ticket, now, plan.timeout, self.room);
        request.keep(plan.keep);
        phase.counts.due += 1;
        phase.health.send_lateness.record(now.since(go.eligible));
        self.progress[self.number][plan.phase as usize].due(phase.counts.due);
        let own_slot = own.map(|(slot, visit)| self.own_connection(slot, visit, now));
        let idle = match own_slot {
            Some(Some(slot)) if request.wants_new_connection() => {
                self.connections[slot].close_idle();
                None
            }
            Some(slot) => slot,
            None if request.wants_new_connection() => None,
            None => self.idle_connection(target, now),
        };
        match idle {
            Some(slot) => self.send_on_idle(slot, request),
            None => self.send_on_new(target, request, now),
        }
    }

    /// The connection of a session, if it is still there.
    fn own_connection(&mut self, slot: usize, visit: u64, now: Stamp) -> Option<usize> {
        let is_there = self.connections[slot].is_idle_in(visit);
        (is_there && self.is_good(slot, now)).then_some(slot)
    }

    /// An idle connection that is still open. One that has rested is looked at first, so that a
    /// connection which the server has closed meanwhile does not cost a request.
    pub(super) fn idle_connection(&mut self, target: usize, now: Stamp) -> Option<usize> {
        loop {
            let (slot, idle) = self.connections.take_idle(target)?;
            if now.since(idle.since) <= Span::from_millis(1) || self.is_good(slot, now) {
                return Some(slot);
            }
        }
    }

    /// Looks whether an idle connection may carry a request: it is open, and has not rested so long
    /// that its server is about to close it. One that may not is hung up.
    fn is_good(&mut self, slot: usize, now: Stamp) -> bool {
        let connection = &self.connections[slot];
        let target = connection.target;
        let State::Idle(idle) = &connection.state else {
            unreachable!("an idle connection is looked at");
        };
        let (rested, promised) = (now.since(idle.since), idle.promised);
        if !idle.socket.is_quiet() {
            self.count(|health| health.stale_closed += 1);
            self.connections[slot].close_idle();
            return false;
        }
        let known = self.connections.keep_alive(target);
        known.outlived(rested);
        let good = known.allows(rested, promised);
        if !good {
            self.count(|health| health.expired_closed += 1);
            self.connections[slot].close_idle();
        }
        good
    }

    pub(super) fn send_on_idle(&mut self, slot: usize, mut request: Request) {
        let connection = &mut self.connections[slot];
        let local_port = connection.local_port;
        let due = request.due();
        connection.take_up(|since| {
            request.reuses(local_port, request.started().since(since));
            request
        });
        self.set_deadline(slot, due);
        self.begin_sending(slot);
    }

    /// Begins a connection for a request, to the address whose turn it is. Where one refuses at
    /// once, the next is tried.
    pub(super) fn send_on_new(&mut self, target: usize, mut request: Request, mut now: Stamp) {
        loop {
            let phase = self.phases.of(request.phase());
            phase.health.connects += 1;
            let plan = &phase.plan;
            let server = &plan.targets[target];
            let dial = self.connections.dial(target);
            let tried = |number| request.has_tried(server.address(number));
            let Some((source, number)) = dial.next(&plan.dialling, server, now, tried) else {
                unreachable!("a server has an address, and another is tried while there is one");
            };
            request.connects_to(number);
            let address = server.address(number);
            let began = self
                .io
                .connect(address, source, &plan.dialling, self.receive_stamps);
            match began {
                Ok(socket) => return self.await_connect(target, request, socket),
                Err(errno) => {
                    now = self.io.now();
                    if !self.tries_another(target, &mut request, errno, now) {
                        let seat = request.seat();
                        let record = request.fail(now, Failure::Connect { errno });
                        return self.gone(seat, record, now);
                    }
                }
            }
        }
    }

    /// A connect is pending: it gets a slot, a task and a deadline.
    fn await_connect(&mut self, target: usize, request: Request, socket: Rc<I::Socket>) {
        let plan = &self.phases.of(request.phase()).plan;
        let limit = plan.dialling.timeout;
        let scan = plan.answers.scan();
        let due = limit.map_or(request.due(), |limit| {
            request.due().min(self.io.now() + limit)
        });
        let slot = self
            .connections
            .open(scan, Rc::clone(&socket), target, request);
        self.set_deadline(slot, due);
        self.tasks.begin();
        self.io
            .spawn(connection_task::run(self.shared(), slot, socket));
    }

    /// An address has given a request no connection, for this reason of the system. Whether the
    /// server has another one, which the request has not tried.
    fn tries_another(
        &mut self,
        target: usize,
        request: &mut Request,
        errno: i32,
        now: Stamp,
    ) -> bool {
        let server = &self.phases.of(request.phase()).plan.targets[target];
        let number = request.address();
        let Address::Tcp(address) = server.address(number) else {
            return false;
        };
        let why = Unconnected::of(errno);
        if !server.has_several() || why == Unconnected::Nowhere {
            return false;
        }
        request.refused_by((*address, errno));
        if why == Unconnected::There {
            self.connections.dial(target).refused(number, now);
        }
        let all = server.addresses.iter().chain(&server.spare);
        all.into_iter().any(|address| !request.has_tried(address))
    }

    /// The connect on a slot has come to nothing: its request goes to another address of the server
    /// if there is one, since nothing of it has been sent, and else fails.
    pub(super) fn unconnected(&mut self, slot: usize, now: Stamp, errno: i32, failure: Failure) {
        let connection = &mut self.connections[slot];
        let target = connection.target;
        let (socket, mut request) = connection.give_up();
        socket.hang_up();
        if self.tries_another(target, &mut request, errno, now) {
            self.clock.clear_deadline(slot);
            self.send_on_new(target, request, now);
        } else {
            let seat = request.seat();
            self.give_up(slot, seat, request.fail(now, failure), now);
        }
    }

    /// The connect of a new connection has ended. Whether the connection lives on.
    pub(super) fn connected(&mut self, slot: usize) -> bool {
        let now = self.io.now();
        self.alive(now);
        let connection = &mut self.connections[slot];
        let (socket, request) = match &mut connection.state {
            State::Connecting(Connecting { socket, request }) => (socket, request),
            // Its request has not waited for it.
            State::Closed => return false,
            State::Vacant | State::Securing(_) | State::Busy(_) | State::Idle(_) => {
                unreachable!("a connect ends once")
            }
        };
        match socket.connect_result() {
            Ok(()) => {
                connection.local_port = socket.local_port();
                request.connected(now, connection.local_port);
                let (target, address) = (connection.target, request.address());
                if shows_lost_syn(request.age(now)) {
                    self.phases.of(request.phase()).health.slow_connects += 1;
                }
                if request.cancel_due().is_some() {
                    let due = request.due();
                    self.set_deadline(slot, due);
                    self.expire_due(now);
                }
                self.connections.dial(target).connected(address);
                if self.connections[slot].request().is_some() {
                    self.begin_talking(slot);
                }
            }
            Err(errno) => self.unconnected(slot, now, errno, Failure::Connect { errno }),
        }
        // Many connects may end in one tick, and each has just sent a request.
        self.go_on(self.io.now());
        !self.connections[slot].is_closed()
    }

    /// Sends a request from its first byte.
    pub(super) fn begin_sending(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        let (target, served) = (connection.target, connection.served);
        let (socket, request) = connection.in_flight();
        let phase = self.phases.of(request.phase());
        let body = phase.agenda.body(request.seat());
        let ids = request.ids();
        let name = match ids.correlation {
            Correlation::Conversation(conversation) => phase.plan.dataset.name(conversation),
            _ => "",
        };
        phase.plan.targets[target]
            .head
            .write(&mut self.outgoing, &ids, name, body.size());
        let mut head_bytes = self.outgoing.len();
        if let Some(capture) = request.capture() {
            capture.request_head = self.outgoing.clone();
            (capture.local, capture.remote) = socket.addresses();
        }
        let half = request.stops_half_way();
        if half || body.size() <= COPIED_BODY_BYTES {
            body.append(&mut self.outgoing);
        }
        request.sending(self.io.now(), head_bytes, body.size());
        if half {
            // The other half does not exist for `send`, so all there is counts as head.
            self.outgoing.truncate(head_bytes + body.size() / 2);
            head_bytes = self.outgoing.len();
        }
        if served == 0 && phase.plan.dialling.timeout.is_some() {
            // The limit of connecting gives way to that of the request.
            let due = request.due();
            self.set_deadline(slot, due);
        }
        self.send(slot, head_bytes);
    }

    /// Sends what is left of a request whose head (and body, if it is small) lies in `outgoing`.
    /// What the socket does not take waits for room.
    pub(super) fn send(&mut self, slot: usize, head_bytes: usize) {
        let Connection {
            state,
            exchange,
            head,
            served,
            ..
        } = &mut self.connections[slot];
        let State::Busy(Busy {
            socket,
            secure,
            request,
        }) = state
        else {
            unreachable!("a request is sent over a connection that is established");
        };
        let phase = self.phases.of(request.phase());
        if request.has_left() {
            return;
        }
        let body = phase.agenda.body(request.seat());
        let copied = self.outgoing.len() > head_bytes || request.stops_half_way();
        let written = loop {
            let sent = request.sent();
            let first = self.outgoing.get(sent..).unwrap_or_default();
            let skip = sent.saturating_sub(head_bytes);
            let taken = match (body, &mut *secure) {
                (_, None) if copied => socket.send(first, &[]),
                (_, Some(secure)) if copied => secure.send(socket, &[IoSlice::new(first)]),
                (Body::Whole(body), None) => socket.send(first, &body[skip..]),
                (_, secure) => {
                    let mut parts = [IoSlice::new(first); SENT_PARTS];
                    let begun = usize::from(!first.is_empty());
                    let filled = begun + body.parts(skip, &mut parts[begun..]);
                    match secure {
                        None => socket.send_parts(&parts[..filled]),
                        Some(secure) => secure.send(socket, &parts[..filled]),
                    }
                }
            };
            match taken {
                Ok(bytes) => {
                    let now = self.io.now();
                    if request.wrote(now, bytes) {
                        break Ok(now);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        match written {
            Ok(now) => {
                if request.is_sent() {
                    phase.counts.sent += 1;
                }
                if request.cancel_due().is_some() {
                    let due = request.due();
                    self.set_deadline(slot, due);
                    // Not `act_on_due`: whoever sends is starting requests already, and starting
                    // more from here would nest as deep as there are connections.
                    self.expire_due(now);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                head.clear();
                head.extend_from_slice(&self.outgoing[..head_bytes]);
                self.wait_for_room(slot);
            }
            Err(error) => {
                // A reused connection that refuses a request before any answer had been closed, or
                // was closed upon it: the same thing to the reader, whichever byte it was.
                let stale =
                    *served > 0 && exchange.is_untouched() && request.may_be_stale(self.io.now());
                let errno = error.raw_os_error().unwrap_or(0);
                // A server that answers early and closes refuses the rest of a request: its answer
                // is here already.
                self.drain(slot, true);
                let failure = if stale {
                    Failure::Stale
                } else {
                    Failure::Send { errno }
                };
                if self.connections[slot].request().is_some() {
                    self.fail(slot, self.io.now(), failure);
                }
            }
        }
    }

    /// Waits in a task of its own until the socket takes more.
    pub(super) fn wait_for_room(&mut self, slot: usize) {
        let socket = Rc::clone(self.connections[slot].in_flight().0);
        self.tasks.begin();
        self.io
            .spawn(connection_task::send_rest(self.shared(), slot, socket));
    }

    /// The socket of a short write has room again. What waited for it may have ended or gone out by
    /// then.
    pub(super) fn room_to_send(&mut self, slot: usize, waited: &Rc<I::Socket>) {
        let connection = &self.connections[slot];
        if !connection
            .socket()
            .is_some_and(|own| Rc::ptr_eq(own, waited))
        {
            return;
        }
        match &connection.state {
            State::Securing(_) => self.shake_hands(slot),
            State::Busy(Busy { request, .. }) if !request.is_sent() => {
                self.outgoing.clear();
                self.outgoing.extend_from_slice(&connection.head);
                let head_bytes = self.outgoing.len();
                self.send(slot, head_bytes);
            }
            State::Busy(_) | State::Idle(_) => return,
            State::Vacant | State::Connecting(_) | State::Closed => {
                unreachable!("what waited for room is established, and has a socket")
            }
        }
        self.go_on(self.io.now());
    }
}
