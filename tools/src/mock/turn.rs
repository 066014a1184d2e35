//! The loop's turn: due writes, requests that were waiting, then whatever the kernel reports.

use std::collections::VecDeque;

use pinfire_base::clock::{NANOS_PER_SECOND, Stamp, WallAnchor};
use pinfire_base::random::Purpose;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use super::answer::Flow;
use super::conn::{Conn, Phase};
use super::deadline::Deadlines;
use super::fault::Faults;
use super::metrics::{Finish, Metrics};
use super::notice::Notice;
use super::pieces::Pieces;
use super::request::Keys;
use super::script::Script;
use super::truth::Truth;

/// Everything the loop works on.
pub(super) struct Core {
    pub(super) script: Script,
    pub(super) pieces: Pieces,
    pub(super) faults: Faults,
    pub(super) jitter: Purpose,
    pub(super) keys: Keys,
    pub(super) metrics: Metrics,
    pub(super) truth: Option<Truth>,
    pub(super) deadlines: Deadlines,
    /// Requests that may run at a time.
    pub(super) slots: u64,
    /// Connections whose requests wait for a slot: slot in the table, and number.
    pub(super) queue: VecDeque<(u32, u64)>,
    /// Connections that hold the beginning of a next request.
    pub(super) again: Vec<u32>,
    /// Whole requests so far.
    pub(super) requests: u64,
    pub(super) served: u64,
    /// Clients that left a request which had its slot.
    pub(super) left: u64,
    /// Slots that are free later: when, and their tokens.
    pub(super) released_later: VecDeque<(Stamp, u64)>,
    /// Nothing is answered any more.
    pub(super) wedged: bool,
    /// The server ends by itself.
    pub(super) dead: bool,
    /// Where reads land, where sends are composed, and where events are before framing.
    pub(super) buffer: Vec<u8>,
    pub(super) out: Vec<u8>,
    pub(super) events: Vec<u8>,
    anchor: WallAnchor,
    created: (u64, [u8; 10]),
    pub(super) epoll: OwnedFd,
    pub(super) listener: OwnedFd,
    /// When to take connections again, while the listener is not watched.
    pub(super) accept_at: Option<Stamp>,
    pub(super) conns: Vec<Option<Box<Conn>>>,
    pub(super) free: Vec<u32>,
    tickets: u32,
}

/// What a server has done.
#[derive(Debug, Default)]
pub struct Summary {
    /// Answers ended by the server, faults included.
    pub served: u64,
    /// Whole requests whose client left before the end of the answer.
    pub aborted: u64,
    /// Answers that ended in a fault of the script.
    pub failed: u64,
    /// Connections accepted.
    pub connections: u64,
    /// The first error of the truth log, which is then incomplete.
    pub truth_error: Option<std::io::Error>,
}

/// Ready sockets taken from the kernel at a time, and due writes between two looks at them.
pub(super) const BATCH: usize = 256;
const DUE_BATCH: usize = 4096;
const READ_BYTES: usize = 256 * 1024;

pub(super) const LISTENER: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;
const STOP: u64 = u64::MAX - 2;

impl Core {
    pub(super) fn new(
        script: Script,
        listener: OwnedFd,
        anchor: WallAnchor,
        truth: Option<Truth>,
        stop: &Notice,
    ) -> Result<Self, Errno> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let deadlines = Deadlines::new(script.precision)?;
        let (seen, once) = (EventFlags::IN, EventFlags::IN | EventFlags::ET);
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), seen)?;
        epoll::add(&epoll, deadlines.fd(), EventData::new_u64(TIMER), once)?;
        epoll::add(&epoll, stop.fd(), EventData::new_u64(STOP), seen)?;
        Ok(Self {
            pieces: Pieces::new(&script),
            faults: Faults::new(&script.faults, script.seed),
            jitter: Purpose::new(script.seed, "mock.jitter"),
            keys: Keys::new(),
            metrics: Metrics::default(),
            truth,
            deadlines,
            slots: script.slots.map_or(u64::MAX, u64::from),
            queue: VecDeque::new(),
            again: Vec::new(),
            requests: 0,
            served: 0,
            left: 0,
            released_later: VecDeque::new(),
            wedged: false,
            dead: false,
            buffer: vec![0; READ_BYTES],
            out: Vec::with_capacity(READ_BYTES),
            events: Vec::with_capacity(READ_BYTES),
            anchor,
            created: (0, *b"0000000000"),
            epoll,
            listener,
            accept_at: None,
            conns: Vec::new(),
            free: Vec::new(),
            tickets: 0,
            script,
        })
    }

    /// Does everything that is due.
    pub(super) fn turn(&mut self, now: Stamp) {
        self.release_what_is_due(now);
        for _ in 0..DUE_BATCH {
            let Some(due) = self.deadlines.pop(now) else {
                break;
            };
            self.with(due.slot, |core, conn| {
                if conn.ticket == due.ticket {
                    core.due(conn, now)
                } else {
                    Flow::Keep
                }
            });
        }
        loop {
            while let Some(slot) = self.again.pop() {
                self.with(slot, |core, conn| {
                    if conn.phase == Phase::Receiving && !conn.inbox.is_empty() {
                        core.resume(conn, now)
                    } else {
                        Flow::Keep
                    }
                });
            }
            self.fill_slots();
            if self.again.is_empty() {
                break;
            }
        }
        if self.accept_at.is_some_and(|at| at <= now) {
            self.accept_at = None;
            self.take_connections();
            self.watch_listener(EventFlags::IN);
        }
        if let Some(truth) = &mut self.truth
            && truth.flush_at().is_some_and(|at| at <= now)
        {
            truth.flush();
        }
    }

    fn due(&mut self, conn: &mut Conn, now: Stamp) -> Flow {
        match conn.phase {
            Phase::Answering if self.wedged => Flow::Keep,
            Phase::Answering => self.advance(conn, now),
            // Idle for long enough, and not in the middle of a request.
            Phase::Receiving if conn.first.is_none() => Flow::Close,
            Phase::Leaving => Flow::Close,
            Phase::Receiving | Phase::Queued | Phase::Stalled => Flow::Keep,
        }
    }

    /// Starts queued requests while there are slots.
    fn fill_slots(&mut self) {
        while !self.wedged && self.metrics.running < self.slots {
            let Some((slot, number)) = self.queue.pop_front() else {
                return;
            };
            self.with(slot, |core, conn| {
                // The client of a queued request may have left, and the place be another's.
                if conn.number == number && conn.phase == Phase::Queued {
                    core.start(conn, Stamp::now())
                } else {
                    Flow::Keep
                }
            });
        }
    }

    pub(super) fn wait(&mut self, ready: &mut Vec<Event>) {
        let flush_at = self.truth.as_ref().and_then(Truth::flush_at);
        let release_at = self.released_later.front().map(|&(at, _)| at);
        let others = [self.accept_at, flush_at, release_at];
        let other = others.into_iter().flatten().min();
        let timeout = self.deadlines.prepare(Stamp::now(), other);
        // A signal may interrupt the wait; the loop then just turns once more.
        let _ = epoll::wait(&self.epoll, spare_capacity(ready), timeout);
    }

    /// Handles what the kernel reported.
    pub(super) fn ready(&mut self, event: Event) {
        let (key, flags) = (event.data.u64(), event.flags);
        match key {
            LISTENER => return self.accept(),
            TIMER => return self.deadlines.fired(),
            STOP => return,
            _ => {}
        }
        self.with(key as u32, |core, conn| {
            if conn.number as u32 != (key >> 32) as u32 {
                return Flow::Keep;
            }
            let room = flags.contains(EventFlags::OUT);
            if room && core.has_room(conn) == Flow::Close {
                return Flow::Close;
            }
            if flags == EventFlags::OUT {
                return Flow::Keep;
            }
            if conn.half.is_some() && !flags.intersects(EventFlags::ERR | EventFlags::HUP) {
                return Flow::Keep;
            }
            core.readable(conn)
        });
    }

    fn has_room(&mut self, conn: &mut Conn) -> Flow {
        if let Err(error) = conn.flush() {
            return self.lost(conn, error, Stamp::now());
        }
        if !conn.flushed() {
            return Flow::Keep;
        }
        match self.watch_room(conn, false) {
            Flow::Keep if conn.phase == Phase::Answering => self.advance(conn, Stamp::now()),
            flow => flow,
        }
    }

    /// Lends a connection to `work` and closes it if that says so.
    fn with(&mut self, slot: u32, work: impl FnOnce(&mut Self, &mut Conn) -> Flow) {
        let place = slot as usize;
        let Some(mut conn) = self.conns.get_mut(place).and_then(Option::take) else {
            return;
        };
        match work(self, &mut conn) {
            Flow::Keep => self.conns[place] = Some(conn),
            Flow::Close => {
                self.metrics.connections -= 1;
                self.free.push(slot);
            }
        }
    }

    /// Sets the one deadline of a connection.
    #[inline]
    pub(super) fn arm(&mut self, conn: &mut Conn, at: Stamp) {
        self.tickets = self.tickets.wrapping_add(1);
        conn.ticket = self.tickets;
        self.deadlines.push(at, conn.slot, conn.ticket);
    }

    /// Starts or stops watching for room to send.
    pub(super) fn watch_room(&self, conn: &mut Conn, watch: bool) -> Flow {
        if conn.watches_room == watch {
            return Flow::Keep;
        }
        conn.watches_room = watch;
        let room = if watch {
            EventFlags::OUT
        } else {
            EventFlags::empty()
        };
        let key = EventData::new_u64(key(conn.slot, conn.number));
        let watched = if conn.half.is_some() {
            EventFlags::empty()
        } else {
            WATCHED
        };
        match epoll::modify(&self.epoll, &conn.fd, key, watched | room) {
            Ok(()) => Flow::Keep,
            Err(_) => Flow::Close,
        }
    }

    /// The Unix second of `now` in ten digits.
    pub(super) fn created(&mut self, now: Stamp) -> [u8; 10] {
        let second = self.anchor.unix_nanos(now) / NANOS_PER_SECOND;
        if second != self.created.0 {
            let mut digits = [b'0'; 10];
            let mut rest = second;
            for digit in digits.iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
            self.created = (second, digits);
        }
        self.created.1
    }

    /// Logs what was under way and closes everything.
    pub(super) fn end(mut self) -> Summary {
        let now = Stamp::now();
        for conn in std::mem::take(&mut self.conns).into_iter().flatten() {
            if conn.active.is_some() || conn.first.is_some() {
                self.log(&conn, now, |line| line.how = "stop");
            }
        }
        Summary {
            served: self.served,
            aborted: self.metrics.finished(Finish::Abort),
            failed: self.metrics.finished(Finish::Error),
            connections: self.metrics.accepted,
            truth_error: self.truth.take().and_then(Truth::close),
        }
    }
}

pub(super) const WATCHED: EventFlags = EventFlags::IN.union(EventFlags::RDHUP);

/// What the kernel gives back with an event of this connection.
pub(super) fn key(slot: u32, number: u64) -> u64 {
    u64::from(slot) | number << 32
}
