//! One core: it owns its connections, starts what is due, reads what has come and hangs up on time.
//!
//! Everything here runs on one thread inside short, synchronous handlers; tasks only wait for
//! readiness (`tend`, `wake`) and call them. Data plane: no lock, no log, no formatting, no
//! allocation per event.

mod connection;
mod deadline;
mod pool;
mod tend;
mod wake;

pub(crate) mod place;

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::ErrorKind,
    rc::{Rc, Weak},
    sync::Arc,
    task::Waker,
};

use crossbeam_channel::Sender;

use self::{
    connection::{Connection, State},
    deadline::Deadlines,
    pool::IdlePool,
};
use crate::{
    clock::{Span, Stamp, thread_cpu_time, unix_now},
    health::{CoreHealth, Counts},
    limits::{
        COPIED_BODY_BYTES, DEADLINE_NEAR, DRAIN_READS, RECEIVE_BYTES, STAMPED_READ_EVERY,
        START_PATIENCE, STARTS_PER_TURN,
    },
    net::{Pollable, Timer, connect},
    plan::{PhasePlan, Precision, Reuse},
    proto::{Closed, Progress as Reading},
    random::Purpose,
    record::{Failure, Outcome, Record},
    request::{Ids, Request, Ticket},
    run::{CoreReport, Progress},
    schedule::share,
};

/// A core and its tasks share it; handlers borrow it for their own length only.
pub(crate) type Shared = Rc<RefCell<Core>>;

/// What one core holds.
pub(crate) struct Core {
    me: Weak<RefCell<Core>>,
    /// This core's number among the run's cores, and how many there are.
    number: usize,
    cores: usize,
    precision: Precision,
    records: Sender<Record>,
    reports: Sender<CoreReport>,
    progress: Arc<[Progress]>,
    connections: Vec<Connection>,
    /// Slots of `connections` that hold nothing.
    vacant: Vec<usize>,
    idle: IdlePool,
    deadlines: Deadlines,
    timer: Rc<Timer>,
    /// The instant that the sleeping timer task waits for; `None` while it is awake.
    asleep_until: Option<Stamp>,
    buffer: Box<[u8]>,
    /// The request being sent: its head, and its body if that is small.
    outgoing: Vec<u8>,
    reads: u32,
    /// First stamp of the turn that is going on, and the task that ends it.
    turn_start: Option<Stamp>,
    turn_end: Option<Waker>,
    /// Tasks that go on when the turn is over.
    gave_way: Vec<Waker>,
    /// Marks and bytes of recent answers: the room given to the next ones.
    room: (usize, usize),
    phase: Option<Running>,
    /// More requests are due than one turn may start.
    more_due: bool,
    /// Tasks that hold a connection.
    tending: usize,
    leaving: bool,
    left: Option<Waker>,
}

/// The phase that is going on.
struct Running {
    plan: Arc<PhasePlan>,
    ids: Purpose,
    /// Free slots: when each became free, the longest free first.
    free: VecDeque<Stamp>,
    slots: usize,
    /// Nothing new is started: all taken, or stopped.
    closed: bool,
    counts: Counts,
    health: CoreHealth,
    started: Stamp,
    cpu_before: Span,
}

impl Core {
    pub(crate) fn new(
        number: usize,
        cores: usize,
        precision: Precision,
        timer: Rc<Timer>,
        records: Sender<Record>,
        reports: Sender<CoreReport>,
        progress: Arc<[Progress]>,
    ) -> Shared {
        Rc::new_cyclic(|me| {
            RefCell::new(Self {
                me: me.clone(),
                number,
                cores,
                precision,
                records,
                reports,
                progress,
                connections: Vec::new(),
                vacant: Vec::new(),
                idle: IdlePool::default(),
                deadlines: Deadlines::default(),
                timer,
                asleep_until: None,
                buffer: vec![0; RECEIVE_BYTES].into_boxed_slice(),
                outgoing: Vec::new(),
                reads: 0,
                turn_start: None,
                turn_end: None,
                gave_way: Vec::new(),
                room: (0, 0),
                phase: None,
                more_due: false,
                tending: 0,
                leaving: false,
                left: None,
            })
        })
    }

    // ---- a phase --------------------------------------------------------------------------------

    /// Begins a phase: every slot of this core is free now.
    pub(crate) fn begin(&mut self, plan: Arc<PhasePlan>) {
        let now = Stamp::now();
        let slots = share(plan.concurrency, self.number, self.cores);
        self.phase = Some(Running {
            ids: Purpose::keyed(plan.id_key ^ plan.phase as u64),
            free: std::iter::repeat_n(now, slots).collect(),
            slots,
            closed: slots == 0,
            counts: Counts::default(),
            health: CoreHealth::default(),
            started: now,
            cpu_before: thread_cpu_time(),
            plan,
        });
        self.start_some();
    }

    /// Ends the phase early: what is in flight is dropped and counted.
    pub(crate) fn stop(&mut self) {
        let Some(phase) = &mut self.phase else { return };
        phase.closed = true;
        let now = Stamp::now();
        for slot in 0..self.connections.len() {
            if let Some(request) = self.connections[slot].request.take() {
                self.close(slot);
                self.give_up(slot, request.dropped(now), now);
            }
        }
        self.end_phase_if_done();
    }

    /// Closes what is idle and lets every task end.
    pub(crate) fn leave(&mut self) {
        self.stop();
        self.leaving = true;
        while let Some(slot) = self.idle.take(&self.connections) {
            self.close(slot);
        }
        self.wake_timer();
        self.wake_turn_end();
    }

    /// Starts requests while a slot is free and the schedule has more, a bounded number in a row.
    /// While more are waiting for the next turn, only the timer task goes on with them.
    #[inline]
    fn start_due(&mut self) {
        if !self.more_due
            && self
                .phase
                .as_ref()
                .is_some_and(|phase| !phase.free.is_empty())
        {
            self.start_some();
        }
    }

    fn start_some(&mut self) {
        for _ in 0..STARTS_PER_TURN {
            let Some(phase) = &mut self.phase else { return };
            if phase.closed {
                break;
            }
            let Some(&scheduled) = phase.free.front() else {
                break;
            };
            if self
                .deadlines
                .next()
                .is_some_and(|due| a_deadline_goes_first(due, scheduled))
            {
                break;
            }
            let Some(index) = phase.plan.schedule.take() else {
                phase.closed = true;
                break;
            };
            phase.free.pop_front();
            self.start(index, scheduled);
        }
        self.more_due = self
            .phase
            .as_ref()
            .is_some_and(|phase| !phase.closed && !phase.free.is_empty());
        if self.more_due {
            // Look at the sockets, then go on at once.
            self.sleep_no_longer_than(Stamp::from_nanos(1));
        }
        self.end_phase_if_done();
    }

    fn end_phase_if_done(&mut self) {
        if !self
            .phase
            .as_ref()
            .is_some_and(|phase| phase.closed && phase.free.len() == phase.slots)
        {
            return;
        }
        let Some(mut phase) = self.phase.take() else {
            return;
        };
        let ended = Stamp::now();
        phase.health.wall_time = ended.since(phase.started);
        phase.health.cpu_time = Span::from_nanos(
            thread_cpu_time()
                .nanos()
                .saturating_sub(phase.cpu_before.nanos()),
        );
        let report = CoreReport {
            core: self.number,
            ended,
            counts: phase.counts,
            health: phase.health,
        };
        // Nobody listens any more only when the process is on its way out.
        let _ = self.reports.send(report);
    }

    // ---- one request ----------------------------------------------------------------------------

    fn start(&mut self, index: u64, scheduled: Stamp) {
        let now = Stamp::now();
        let Some(phase) = &mut self.phase else { return };
        let plan = &phase.plan;
        let ticket = Ticket {
            phase: plan.phase,
            index,
            entry: plan.entry(index),
            core: self.number as u16,
            ids: Ids::new(phase.ids, index),
            scheduled,
            cancel_after: plan.cancel.and_then(|cancel| cancel.delay(index)),
        };
        let request = Request::new(ticket, now, plan.timeout, self.room);
        phase.counts.due += 1;
        phase.health.send_lateness.record(now.since(scheduled));
        self.progress[self.number].due(phase.counts.due);
        match self.idle_connection(now) {
            Some(slot) => self.send_on_idle(slot, request),
            None => self.send_on_new(request),
        }
    }

    /// An idle connection that is still open. One that has rested is looked at first, so that a
    /// connection which the server has closed meanwhile does not cost a request.
    fn idle_connection(&mut self, now: Stamp) -> Option<usize> {
        loop {
            let slot = self.idle.take(&self.connections)?;
            let connection = &self.connections[slot];
            let rested = now.since(connection.idle_since) > Span::from_millis(1);
            if !rested
                || connection
                    .socket
                    .as_ref()
                    .is_some_and(|socket| socket.is_quiet())
            {
                return Some(slot);
            }
            self.count(|health| health.stale_closed += 1);
            self.close(slot);
        }
    }

    fn send_on_idle(&mut self, slot: usize, mut request: Request) {
        let connection = &mut self.connections[slot];
        request.reuses(connection.local_port);
        connection.state = State::Busy;
        connection.exchange.reset();
        let due = request.due();
        connection.request = Some(request);
        self.set_deadline(slot, due);
        self.begin_sending(slot);
    }

    fn send_on_new(&mut self, request: Request) {
        let Some(phase) = &mut self.phase else { return };
        phase.health.connects += 1;
        let plan = &phase.plan;
        match connect(plan.address, plan.receive_stamps) {
            Err(errno) => {
                let now = Stamp::now();
                self.gone(request.fail(now, Failure::Connect { errno }), now);
            }
            Ok(socket) => {
                let due = request.due();
                let slot = self.vacant.pop().unwrap_or_else(|| {
                    self.connections.push(Connection::default());
                    self.connections.len() - 1
                });
                self.connections[slot].open(Rc::clone(&socket), request);
                self.set_deadline(slot, due);
                if let Some(me) = self.me.upgrade() {
                    self.tending += 1;
                    place::spawn(tend::tend(me, slot, socket));
                }
            }
        }
    }

    /// The connect of a new connection has ended. Whether the connection lives on.
    fn connected(&mut self, slot: usize) -> bool {
        let now = Stamp::now();
        let connection = &mut self.connections[slot];
        if connection.state != State::Connecting {
            return connection.state != State::Closed;
        }
        let Some(socket) = &connection.socket else {
            return false;
        };
        match socket.connect_result() {
            Ok(()) => {
                connection.state = State::Busy;
                connection.local_port = socket.local_port();
                if let Some(request) = &mut connection.request {
                    request.connected(now, connection.local_port);
                }
                self.begin_sending(slot);
            }
            Err(errno) => self.fail(slot, now, Failure::Connect { errno }),
        }
        self.start_due();
        // Many connects may end in one turn, and each has just sent a request.
        self.act_on_due(Stamp::now());
        self.connections[slot].state != State::Closed
    }

    /// Sends a request from its first byte.
    fn begin_sending(&mut self, slot: usize) {
        let Some(phase) = &self.phase else { return };
        let Some(request) = &mut self.connections[slot].request else {
            return;
        };
        let body = &phase.plan.bodies[request.entry() as usize];
        phase
            .plan
            .head
            .write(&mut self.outgoing, &request.ids(), body.len());
        let head_bytes = self.outgoing.len();
        if body.len() <= COPIED_BODY_BYTES {
            self.outgoing.extend_from_slice(body);
        }
        request.sending(Stamp::now(), head_bytes, body.len());
        self.send(slot, head_bytes);
    }

    /// Sends what is left of a request whose head (and body, if it is small) lies in `outgoing`.
    /// What the socket does not take waits for room.
    fn send(&mut self, slot: usize, head_bytes: usize) {
        let Some(phase) = &mut self.phase else { return };
        let connection = &mut self.connections[slot];
        let (Some(request), Some(socket)) = (&mut connection.request, &connection.socket) else {
            return;
        };
        let body = &phase.plan.bodies[request.entry() as usize];
        let written = loop {
            let sent = request.sent();
            let first = self.outgoing.get(sent..).unwrap_or_default();
            let second = if self.outgoing.len() > head_bytes || body.is_empty() {
                &[]
            } else {
                &body[sent.saturating_sub(head_bytes)..]
            };
            match socket.send(first, second) {
                Ok(bytes) => {
                    let now = Stamp::now();
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
                phase.counts.sent += 1;
                if request.cancel_due().is_some() {
                    let due = request.due();
                    self.set_deadline(slot, due);
                    // Not `act_on_due`: whoever sends is starting requests already, and starting
                    // more from here would nest as deep as there are connections.
                    self.expire_due(now);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                connection.head.clear();
                connection
                    .head
                    .extend_from_slice(&self.outgoing[..head_bytes]);
                if let Some(me) = self.me.upgrade() {
                    self.tending += 1;
                    place::spawn(tend::send_rest(me, slot, Rc::clone(socket)));
                }
            }
            Err(error) => {
                // A reused connection that refuses the first byte had been closed before.
                let stale = request.sent() == 0 && connection.served > 0;
                let errno = error.raw_os_error().unwrap_or(0);
                // A server that answers early and closes refuses the rest of a request: its answer
                // is here already.
                self.drain(slot);
                let failure = if stale {
                    Failure::Stale
                } else {
                    Failure::Send { errno }
                };
                self.fail(slot, Stamp::now(), failure);
            }
        }
    }

    /// The socket of a short write has room again. Whether there is still something to wait for.
    fn room_to_send(&mut self, slot: usize, socket: &Rc<Pollable>) {
        let same = self.connections[slot]
            .socket
            .as_ref()
            .is_some_and(|s| Rc::ptr_eq(s, socket));
        if same {
            self.outgoing.clear();
            self.outgoing
                .extend_from_slice(&self.connections[slot].head);
            let head_bytes = self.outgoing.len();
            self.send(slot, head_bytes);
            self.start_due();
            self.act_on_due(Stamp::now());
        }
    }

    /// The socket has something to read. Whether the connection lives on.
    #[inline]
    fn readable(&mut self, slot: usize) -> bool {
        let connection = &mut self.connections[slot];
        if connection.state == State::Closed {
            return false;
        }
        let Some(socket) = &connection.socket else {
            return false;
        };
        self.reads = self.reads.wrapping_add(1);
        let received = if self.reads.is_multiple_of(STAMPED_READ_EVERY) {
            match socket.receive_stamped(&mut self.buffer) {
                Ok((bytes, stamp)) => {
                    if let (Some(kernel), Some(phase)) = (stamp, &mut self.phase) {
                        let delay = unix_now().saturating_sub(kernel);
                        phase.health.receive_delay.record(Span::from_nanos(delay));
                    }
                    Ok(bytes)
                }
                Err(error) => Err(error),
            }
        } else {
            socket.receive(&mut self.buffer)
        };
        let at = Stamp::now();
        self.begin_turn(at);
        self.received(slot, at, received);
        self.start_due();
        self.act_on_due(at);
        self.connections[slot].state != State::Closed
    }

    /// Handles the result of one `recv` that returned at `at`. False if there was nothing to read.
    #[inline]
    fn received(&mut self, slot: usize, at: Stamp, received: std::io::Result<usize>) -> bool {
        match received {
            Ok(0) => self.peer_closed(slot, at, 0),
            Ok(bytes) => self.bytes(slot, at, bytes),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => self.peer_closed(slot, at, error.raw_os_error().unwrap_or(0)),
        }
        true
    }

    #[inline]
    fn bytes(&mut self, slot: usize, at: Stamp, bytes: usize) {
        let connection = &mut self.connections[slot];
        let Some(request) = &mut connection.request else {
            // Bytes that answer nothing: the connection cannot be trusted any more.
            self.close(slot);
            return;
        };
        let events = request.room().0;
        let result = connection.exchange.feed(at, &self.buffer[..bytes], request);
        let events = request.room().0 - events;
        self.count(|health| {
            health.receives += 1;
            health.events += events as u64;
        });
        match result {
            Ok(Reading::More) => {}
            Ok(Reading::Complete { reusable }) => self.complete(slot, at, reusable),
            Err(error) => {
                let failure = Failure::Framing {
                    offset: error.offset,
                    cause: error.cause.text(),
                };
                self.fail(slot, at, failure);
            }
        }
    }

    /// The server has closed, in order (`errno` 0) or not.
    fn peer_closed(&mut self, slot: usize, at: Stamp, errno: i32) {
        let connection = &mut self.connections[slot];
        let Some(request) = &mut connection.request else {
            if connection.state == State::Idle {
                self.count(|health| health.stale_closed += 1);
            }
            self.close(slot);
            return;
        };
        match connection.exchange.close(at, request) {
            Closed::Complete if errno == 0 => self.complete(slot, at, false),
            closed => {
                let failure = request.broken(closed, errno);
                self.fail(slot, at, failure);
            }
        }
    }

    // ---- deadlines ------------------------------------------------------------------------------

    /// Acts on every deadline that has come.
    #[inline]
    fn act_on_due(&mut self, now: Stamp) {
        if self.expire_due(now) {
            self.start_due();
        }
    }

    /// Ends every request whose deadline has come. Whether there was one.
    #[inline]
    fn expire_due(&mut self, now: Stamp) -> bool {
        if self.deadlines.next().is_none_or(|due| due > now) {
            return false;
        }
        while let Some((due, slot)) = self.deadlines.pop_due(Stamp::now()) {
            self.expire(slot, due);
        }
        true
    }

    /// The deadline of a request has come: its cancel or its time limit.
    fn expire(&mut self, slot: usize, due: Stamp) {
        let late = Stamp::now().since(due);
        self.count(|health| health.timer_lateness.record(late));
        // A response that is complete in the receive buffer wins over either.
        self.drain(slot);
        let connection = &mut self.connections[slot];
        let Some(request) = connection.request.take() else {
            return;
        };
        if request.cancel_due().is_some_and(|cancel| cancel <= due) {
            let asked = Stamp::now();
            if let Some(socket) = &connection.socket {
                socket.hang_up();
            }
            let closed = Stamp::now();
            connection.closed();
            self.give_up(slot, request.cancelled(asked, closed), closed);
        } else {
            let now = Stamp::now();
            let stage = request.stage();
            self.close(slot);
            self.give_up(slot, request.fail(now, Failure::Timeout { stage }), now);
        }
    }

    /// Reads what lies in the receive buffer, up to a limit. The request may end by it.
    fn drain(&mut self, slot: usize) {
        for _ in 0..DRAIN_READS {
            let connection = &self.connections[slot];
            let (Some(socket), Some(_)) = (&connection.socket, &connection.request) else {
                return;
            };
            if connection.state == State::Connecting {
                return;
            }
            let received = socket.receive(&mut self.buffer);
            if !self.received(slot, Stamp::now(), received) {
                return;
            }
        }
    }

    fn set_deadline(&mut self, slot: usize, due: Stamp) {
        self.deadlines.set(slot, due);
        self.sleep_no_longer_than(due);
    }

    // ---- ends -----------------------------------------------------------------------------------

    fn complete(&mut self, slot: usize, at: Stamp, reusable: bool) {
        let connection = &mut self.connections[slot];
        let Some(request) = connection.request.take() else {
            return;
        };
        // An answer that came before the request was whole leaves bytes nobody will read.
        let sent = request.is_sent();
        connection.served += 1;
        let pooled = self
            .phase
            .as_ref()
            .is_some_and(|phase| phase.plan.reuse == Reuse::Pooled);
        if reusable && sent && pooled && !self.leaving {
            connection.state = State::Idle;
            connection.idle_since = at;
            self.idle.put(slot, &mut self.connections[slot]);
        } else {
            self.close(slot);
        }
        self.learn_room(request.room());
        self.give_up(slot, request.complete(at), at);
    }

    fn fail(&mut self, slot: usize, at: Stamp, failure: Failure) {
        let Some(request) = self.connections[slot].request.take() else {
            return;
        };
        self.close(slot);
        self.give_up(slot, request.fail(at, failure), at);
    }

    /// Takes a request off its connection: no deadline any more, and its record leaves.
    fn give_up(&mut self, slot: usize, record: Record, at: Stamp) {
        self.deadlines.clear(slot);
        self.gone(record, at);
    }

    /// A record leaves the core, and a slot is free.
    fn gone(&mut self, record: Record, at: Stamp) {
        let Some(phase) = &mut self.phase else { return };
        match record.outcome {
            Outcome::Complete => phase.counts.finished += 1,
            Outcome::Cancelled => phase.counts.cancelled += 1,
            Outcome::Failed(_) => phase.counts.failed += 1,
            Outcome::Dropped => phase.counts.dropped += 1,
        }
        self.progress[self.number].ended(&phase.counts);
        phase.free.push_back(at);
        // The receiver lives as long as the engine; without it the process is on its way out.
        let _ = self.records.send(record);
    }

    /// Hangs up and leaves the rest to the connection's task, which the hang-up wakes.
    fn close(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        if let Some(socket) = &connection.socket {
            socket.hang_up();
        }
        connection.closed();
    }

    /// The last task of a connection has ended: its slot may be used again.
    fn released(&mut self, slot: Option<usize>) {
        if let Some(slot) = slot {
            self.vacant.push(slot);
        }
        self.tending -= 1;
        if self.leaving
            && self.tending == 0
            && let Some(left) = &self.left
        {
            left.wake_by_ref();
        }
    }

    // ---- measuring ------------------------------------------------------------------------------

    #[inline]
    fn count(&mut self, bump: impl FnOnce(&mut CoreHealth)) {
        if let Some(phase) = &mut self.phase {
            bump(&mut phase.health);
        }
    }

    /// Remembers what answers need, a little more than the latest, so that the next transcript is
    /// allocated once. Large answers decay, so that one giant does not make all others giants.
    fn learn_room(&mut self, (marks, bytes): (usize, usize)) {
        let blend = |old: usize, new: usize| {
            if new >= old {
                new
            } else {
                old - (old - new) / 8
            }
        };
        self.room = (
            blend(self.room.0, marks).min(4_096),
            blend(self.room.1, bytes).min(64 * 1_024),
        );
    }

    #[inline]
    fn begin_turn(&mut self, at: Stamp) {
        if self.turn_start.is_none() {
            self.turn_start = Some(at);
            self.wake_turn_end();
        }
    }

    fn wake_turn_end(&self) {
        if let Some(waker) = &self.turn_end {
            waker.wake_by_ref();
        }
    }
}

/// Starting a request (a connect and a send) takes long enough to make a deadline that is near late,
/// while a start may wait a little: it does, but never longer than [`START_PATIENCE`].
fn a_deadline_goes_first(due: Stamp, scheduled: Stamp) -> bool {
    let now = Stamp::now();
    due <= now + DEADLINE_NEAR && now.since(scheduled) < START_PATIENCE
}
