//! A world without a kernel: a clock that moves when something is done or awaited, sockets with a
//! scripted server at the other end, and everything left to chance by one seed.

use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    future::{Future, poll_fn},
    net::IpAddr,
    rc::Rc,
    task::{Poll, Waker},
};

use pinfire_base::clock::{ClockPair, Span, Stamp};

use super::{
    dice::Dice,
    nature::{MICRO, MILLI, Nature},
    plug::Plug,
    seal::Sealed,
    server::{Answer, Talk},
    tasks::Tasks,
};
use crate::{
    io::Io,
    plan::{Address, Dialling, Driver, Precision, ReceiveStamps},
};

/// Longest that a timer is late, that one tick of a loop that spins takes, and that one call takes
/// where no stall is scripted.
const TIMER_LATE: u64 = 90 * MICRO;
const TICK: u64 = 30 * MICRO;
const CALL: u64 = 4 * MICRO;

/// What happens at an instant.
pub(super) enum Event {
    /// A connect ends.
    Connected(usize, Result<(), i32>),
    /// Bytes of the client arrive at the server.
    Heard(usize, usize),
    /// Bytes arrive at the client.
    Segment(usize, Vec<u8>),
    /// Tasks are woken for nothing.
    Nudge,
    /// The server closes; with an error number, it resets.
    Closed(usize, i32),
}

/// An event with its instant and its place among those of one instant.
struct Planned(u64, u64, Event);

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// How a client left a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum How {
    HungUp,
    HalfClosed,
    Reset,
}

/// A connection as the world knows it.
pub(super) struct Wire {
    pub(super) connected: Option<u64>,
    pub(super) refused: Option<i32>,
    /// What the client did first to leave it, and when.
    pub(super) left: Option<(u64, How)>,
    pub(super) hung_up: bool,
    pub(super) reset: bool,
    /// Nobody holds the socket any more.
    pub(super) dropped: bool,
    /// What has come and was not read, with the wall time of its segment.
    pub(super) inbox: VecDeque<(u64, Vec<u8>)>,
    /// Bytes of the first of them that were read.
    pub(super) read: usize,
    /// The server's end, behind all that.
    pub(super) end: Option<i32>,
    /// The error of that has been told.
    pub(super) told: bool,
    pub(super) room: usize,
    pub(super) in_flight: usize,
    pub(super) talk: Talk,
}

impl Wire {
    /// A segment comes, if there is anything in it.
    fn come(&mut self, unix: u64, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.inbox.push_back((unix, bytes));
        }
    }
}

/// A task that waits for a socket.
struct Wait {
    socket: usize,
    writable: bool,
    done: Rc<Cell<bool>>,
    waker: Waker,
}

/// A timer of a core, and what waits for it.
#[derive(Default)]
struct Alarm {
    /// What it was armed for.
    armed: Option<Stamp>,
    fires: Option<u64>,
    waker: Option<Waker>,
    fired: bool,
    ticks: Vec<(Rc<Cell<bool>>, Waker)>,
}

pub(super) struct World {
    pub(super) nature: Nature,
    pub(super) dice: Dice,
    pub(super) tasks: Tasks,
    now: Cell<u64>,
    /// The clock has been read since it moved.
    read: Cell<bool>,
    /// The wall clock is so far ahead.
    ahead: Cell<i64>,
    pub(super) stepped: Cell<bool>,
    /// Something is to wake whoever waits to read, though there is nothing.
    nudged: Cell<bool>,
    events: RefCell<BinaryHeap<Reverse<Planned>>>,
    next_event: Cell<u64>,
    planned: Cell<u64>,
    pub(super) wires: RefCell<Vec<Wire>>,
    /// Sockets that somebody holds.
    pub(super) held: Cell<usize>,
    waits: RefCell<Vec<Wait>>,
    alarms: RefCell<Vec<Alarm>>,
    /// When the client stood still, and for how long.
    pub(super) stalls: RefCell<Vec<(u64, u64)>>,
    /// What has happened, where somebody wants to read it.
    trace: Option<RefCell<Vec<String>>>,
}

impl World {
    pub(super) fn new(nature: Nature, dice: Dice, cores: usize, traced: bool) -> Rc<Self> {
        Rc::new(Self {
            nature,
            dice,
            tasks: Tasks::default(),
            now: Cell::new(1_000_000_000),
            read: Cell::new(false),
            ahead: Cell::new(1_700_000_000_000_000_000),
            stepped: Cell::new(false),
            nudged: Cell::default(),
            events: RefCell::default(),
            next_event: Cell::new(u64::MAX),
            planned: Cell::new(0),
            wires: RefCell::default(),
            held: Cell::default(),
            waits: RefCell::default(),
            alarms: RefCell::new((0..cores).map(|_| Alarm::default()).collect()),
            stalls: RefCell::default(),
            trace: traced.then(RefCell::default),
        })
    }

    pub(super) fn now(&self) -> u64 {
        self.now.get()
    }

    pub(super) fn note(&self, what: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            let line = format!("{:>12.3} µs  {}", self.now() as f64 / 1e3 - 1e6, what());
            trace.borrow_mut().push(line);
        }
    }

    pub(super) fn trace(&self) -> Vec<String> {
        self.trace.as_ref().map_or_else(Vec::new, RefCell::take)
    }

    fn pass(&self, nanos: u64) {
        self.now.set(self.now() + nanos);
        self.read.set(false);
    }

    /// A call takes a while, and now and then the client stands still.
    pub(super) fn call(&self) {
        self.pass(self.dice.below(if self.nature.quick { 3 } else { CALL }));
        if self.nature.stalls && self.dice.once_in(400) {
            let long = self.dice.one_of(&[200 * MICRO, 2 * MILLI, 60 * MILLI]);
            let long = self.dice.below(long);
            self.stalls.borrow_mut().push((self.now(), long));
            self.note(|| format!("the client stands still for {long} ns"));
            self.pass(long);
        }
        self.happen();
        if self.nature.steps && self.dice.once_in(300) {
            let by = self.dice.below(6_000 * MILLI) as i64 - 3_000 * MILLI as i64;
            self.ahead.set(self.ahead.get() + by);
            self.stepped.set(true);
        }
    }

    pub(super) fn stood_still(&self, from: u64, to: u64) -> u64 {
        let stalls = self.stalls.borrow();
        let within = stalls
            .iter()
            .filter(|&&(at, long)| at < to && at + long > from);
        within.map(|&(_, long)| long).sum()
    }

    pub(super) fn plan(&self, at: u64, event: Event) {
        let number = self.planned.get();
        self.planned.set(number + 1);
        self.next_event.set(self.next_event.get().min(at));
        self.events
            .borrow_mut()
            .push(Reverse(Planned(at, number, event)));
    }

    /// What was to happen by now, happens.
    fn happen(&self) {
        while self.next_event.get() <= self.now() {
            let mut events = self.events.borrow_mut();
            let Some(Reverse(Planned(at, _, event))) = events.pop() else {
                return;
            };
            let next = events.peek().map_or(u64::MAX, |next| next.0.0);
            drop(events);
            self.next_event.set(next);
            self.take_place(at, event);
        }
    }

    fn take_place(&self, at: u64, event: Event) {
        let mut wires = self.wires.borrow_mut();
        match event {
            Event::Nudge => self.nudged.set(true),
            Event::Connected(socket, result) => {
                let wire = &mut wires[socket];
                match result {
                    Ok(()) if !wire.hung_up => wire.connected = Some(at),
                    Ok(()) => {}
                    Err(errno) => wire.refused = Some(errno),
                }
            }
            Event::Heard(socket, bytes) => {
                let wire = &mut wires[socket];
                wire.room += bytes;
                wire.in_flight -= bytes;
                if wire.end.is_some() && !wire.hung_up && !wire.reset {
                    // What comes after a server has closed is answered with a reset.
                    wire.end = Some(libc::ECONNRESET);
                }
                let answers = wire.talk.heard(bytes, at, &self.dice, &self.nature);
                drop(wires);
                for answer in answers {
                    self.answer(socket, answer);
                }
            }
            Event::Segment(socket, bytes) => {
                let wire = &mut wires[socket];
                if !wire.hung_up && !wire.reset && wire.end.is_none() {
                    let unix = at as i64 + self.ahead.get();
                    let (bytes, rest) = wire.talk.say(&bytes, &self.dice, &self.nature);
                    wire.come(unix as u64, bytes);
                    if rest {
                        let at = at + self.dice.below(self.nature.gap);
                        self.plan(at, Event::Segment(socket, Vec::new()));
                    }
                }
            }
            Event::Closed(socket, errno) => {
                let wire = &mut wires[socket];
                if errno == 0 && wire.end.is_none() {
                    let unix = at as i64 + self.ahead.get();
                    let rest = wire.talk.rest();
                    wire.come(unix as u64, rest);
                }
                wire.end.get_or_insert(errno);
            }
        }
    }

    fn answer(&self, socket: usize, answer: Answer) {
        for (at, bytes) in answer.segments {
            self.plan(at, Event::Segment(socket, bytes));
        }
        if let Some((at, errno)) = answer.end {
            self.plan(at, Event::Closed(socket, errno));
        }
    }

    /// Everything that was woken goes on; then every task whose socket is ready or whose timer has
    /// fired is woken. False when nothing will ever happen any more.
    pub(super) fn turn(&self) -> bool {
        let mut steps = 0;
        while self.tasks.go_on() {
            self.pass(self.dice.below(if self.nature.quick { 2 } else { 300 }));
            steps += 1;
            assert!(steps < 100_000, "tasks wake each other without end");
        }
        self.happen();
        if self.wake() {
            return true;
        }
        let alarms = self.alarms.borrow();
        let fires = alarms.iter().filter(|a| a.waker.is_some() && !a.fired);
        let fires = fires.filter_map(|alarm| alarm.fires).min();
        drop(alarms);
        let next = fires.into_iter().chain([self.next_event.get()]).min();
        match next {
            Some(at) if at < u64::MAX => {
                self.pass(at.saturating_sub(self.now()));
                true
            }
            _ => false,
        }
    }

    fn wake(&self) -> bool {
        let now = self.now();
        let mut waits = self.waits.borrow_mut();
        let mut ready: Vec<Wait> = Vec::new();
        let spurious = self.nudged.take() || self.dice.once_in(50);
        waits.retain_mut(|wait| {
            if Rc::strong_count(&wait.done) == 1 {
                return false;
            }
            if self.is_ready(wait.socket, wait.writable) || (spurious && !wait.writable) {
                ready.push(Wait {
                    socket: wait.socket,
                    writable: wait.writable,
                    done: Rc::clone(&wait.done),
                    waker: wait.waker.clone(),
                });
                return false;
            }
            true
        });
        drop(waits);
        // A timer is a socket among others to the runtime.
        let timers_first = self.dice.once_in(2);
        let mut any = timers_first && self.ring(now);
        while !ready.is_empty() {
            let wait = ready.swap_remove(self.dice.below(ready.len() as u64) as usize);
            wait.done.set(true);
            wait.waker.wake();
            any = true;
        }
        any | (!timers_first && self.ring(now))
    }

    /// Wakes whoever waits for a timer that has fired, or for a tick.
    fn ring(&self, now: u64) -> bool {
        let mut any = false;
        let mut ticks = false;
        for alarm in self.alarms.borrow_mut().iter_mut() {
            if alarm.fires.is_some_and(|at| at <= now)
                && let Some(waker) = alarm.waker.take()
            {
                alarm.fires = None;
                alarm.fired = true;
                any = true;
                waker.wake();
            }
            for (done, waker) in alarm.ticks.drain(..) {
                ticks = true;
                done.set(true);
                waker.wake();
            }
        }
        if ticks {
            self.pass(self.dice.between(1, TICK));
        }
        any || ticks
    }

    pub(super) fn is_ready(&self, socket: usize, writable: bool) -> bool {
        let wire = &self.wires.borrow()[socket];
        let over = wire.hung_up || wire.reset;
        if writable {
            // As the kernel: not for every byte.
            let connected = wire.connected.is_some() && wire.room > self.nature.room / 3;
            over || wire.refused.is_some() || connected || wire.end.is_some_and(|e| e != 0)
        } else {
            over || !wire.inbox.is_empty() || wire.end.is_some()
        }
    }

    /// Waits for a socket. On the ring a wait is always a round through the driver; on epoll what
    /// is ready is known at once.
    pub(super) async fn ready(&self, socket: usize, writable: bool) {
        let done = Rc::new(Cell::new(false));
        let mut asked = false;
        poll_fn(|context| {
            if done.get() {
                return Poll::Ready(());
            }
            if !std::mem::replace(&mut asked, true) {
                self.happen();
                if self.nature.driver == Driver::Epoll && self.is_ready(socket, writable) {
                    return Poll::Ready(());
                }
                self.waits.borrow_mut().push(Wait {
                    socket,
                    writable,
                    done: Rc::clone(&done),
                    waker: context.waker().clone(),
                });
            }
            Poll::Pending
        })
        .await;
    }
}

/// One core's outside.
pub(in crate::core) struct Outside {
    pub(super) world: Rc<World>,
    pub(super) core: usize,
}

impl Outside {
    /// What the timer was armed for last.
    pub(in crate::core) fn armed(&self) -> Option<Stamp> {
        self.world.alarms.borrow()[self.core].armed
    }
}

impl Io for Outside {
    type Socket = Plug;
    type Secure = Sealed;

    fn now(&self) -> Stamp {
        let now = self.world.now();
        // Two readings may be alike, but whoever waits for the clock gets on.
        if self.world.read.replace(true) {
            self.world.pass(
                self.world
                    .dice
                    .below(if self.world.nature.quick { 2 } else { 120 }),
            );
            self.world.read.set(self.world.dice.once_in(2));
        }
        Stamp::from_nanos(now)
    }

    fn clock_pair(&self) -> ClockPair {
        let before = self.now();
        let unix = self.world.now() as i64 + self.world.ahead.get();
        ClockPair {
            before,
            unix_nanos: unix as u64,
            after: self.now(),
        }
    }

    fn cpu_time(&self) -> Span {
        Span::from_nanos(self.world.now() / 2)
    }

    fn arm(&self, at: Stamp) {
        let world = &self.world;
        let late = match world.dice.once_in(3) {
            true => 0,
            false => world.dice.below(TIMER_LATE),
        };
        if world.nature.quick && at.nanos() > world.now() && at < Stamp::from_nanos(1 << 62) {
            let lead = world.dice.one_of(&[0, Precision::LEAD.nanos()]);
            let at = at.nanos() + lead - world.dice.between(1, 3);
            world.plan(at, Event::Nudge);
        }
        let alarm = &mut world.alarms.borrow_mut()[self.core];
        alarm.armed = Some(at);
        alarm.fires = Some(at.nanos().max(world.now()).saturating_add(late));
    }

    async fn fired(&self) {
        poll_fn(|context| {
            let alarm = &mut self.world.alarms.borrow_mut()[self.core];
            if std::mem::take(&mut alarm.fired) {
                return Poll::Ready(());
            }
            alarm.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    async fn tick(&self) {
        let done = Rc::new(Cell::new(false));
        let mut asked = false;
        poll_fn(|context| {
            if !std::mem::replace(&mut asked, true) {
                let alarm = &mut self.world.alarms.borrow_mut()[self.core];
                alarm
                    .ticks
                    .push((Rc::clone(&done), context.waker().clone()));
            }
            match done.get() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    fn stop_ticking(&self) {}

    fn connect(
        &self,
        to: &Address,
        _source: Option<IpAddr>,
        _dialling: &Dialling,
        _stamps: ReceiveStamps,
    ) -> Result<Rc<Plug>, i32> {
        let world = &self.world;
        world.call();
        let dice = &world.dice;
        // One address in some worlds is dead.
        let dead = matches!(to, Address::Tcp(address) if address.port() == 9);
        let wrong = dead || dice.once_in(world.nature.wrong);
        if wrong && dice.once_in(3) {
            let errno = dice.one_of(&[
                libc::ECONNREFUSED,
                libc::EADDRNOTAVAIL,
                libc::EMFILE,
                libc::ENETUNREACH,
            ]);
            world.note(|| format!("a connect is refused at once: {errno}"));
            return Err(errno);
        }
        let mut wires = world.wires.borrow_mut();
        let socket = wires.len();
        wires.push(Wire {
            connected: None,
            refused: None,
            left: None,
            hung_up: false,
            reset: false,
            dropped: false,
            inbox: VecDeque::new(),
            read: 0,
            end: None,
            told: false,
            room: world.nature.room,
            in_flight: 0,
            talk: Talk::new(&world.nature.seal),
        });
        drop(wires);
        let takes = dice.one_of(&[0, 30 * MICRO, 300 * MICRO, 12 * MILLI]);
        let at = world.now() + dice.below(takes + 1);
        let result = match wrong {
            false => Some(Ok(())),
            // It hangs.
            true if dice.once_in(3) => None,
            true => Some(Err(dice.one_of(&[
                libc::ECONNREFUSED,
                libc::ECONNRESET,
                libc::EHOSTUNREACH,
            ]))),
        };
        world.note(|| format!("connect {socket}: {result:?} at {at}"));
        if let Some(result) = result {
            world.plan(at, Event::Connected(socket, result));
        }
        if result == Some(Ok(())) && dice.once_in(world.nature.wrong * 2) {
            // It is closed again, whatever is asked.
            let at = at + dice.below(dice.one_of(&[1, 30 * MICRO, world.nature.gap]));
            world.plan(
                at,
                Event::Closed(socket, dice.one_of(&[0, libc::ECONNRESET])),
            );
        }
        world.held.set(world.held.get() + 1);
        let world = Rc::clone(world);
        Ok(Rc::new(Plug { world, socket }))
    }

    fn readable_now<'a>(&self, sockets: impl Iterator<Item = &'a Plug>, readable: &mut Vec<bool>) {
        self.world.call();
        let known = !self.world.dice.once_in(20);
        readable.clear();
        readable.extend(sockets.map(|plug| !known || self.world.is_ready(plug.socket, false)));
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.world.tasks.spawn(task);
    }
}
