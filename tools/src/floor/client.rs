//! The loop: N connections, one request at a time on each, one stamp per read.

use std::collections::VecDeque;
use std::net::SocketAddr;

use pinfire_base::clock::{NANOS_PER_SECOND, Span, Stamp};
use pinfire_base::health::Durations;
use pinfire_base::random::Purpose;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, connect, recv, send,
    shutdown, socket_with, sockopt,
};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::request::Request;
use super::response::{Finders, Response};

/// What a run asks of the client.
pub struct Plan {
    /// The server.
    pub server: SocketAddr,
    /// The request sent again and again.
    pub request: Request,
    /// Requests in all.
    pub requests: u64,
    /// Connections.
    pub concurrency: u32,
    /// Share of requests to hang up on.
    pub cancel: f64,
    /// From the end of the write to hanging up.
    pub cancel_after: Span,
    /// Seed of the choice.
    pub seed: u64,
}

/// What was counted.
#[derive(Default)]
pub struct Counts {
    /// Requests whose answer came whole.
    pub completed: u64,
    /// Of these, answers with another status than 200.
    pub not_ok: u64,
    /// Requests hung up on.
    pub cancelled: u64,
    /// Requests that ended in an error of the connection.
    pub errors: u64,
    /// Events of all answers.
    pub events: u64,
    /// Reads that brought bytes.
    pub reads: u64,
    /// From before the write to the read that brought the first event, or the answer's first byte.
    pub ttft: Durations,
    /// From the instant at which to hang up to after the call that did.
    pub lateness: Durations,
}

struct Conn {
    fd: OwnedFd,
    response: Response,
    /// The request under way, and how much of it is written.
    number: u64,
    written: usize,
    start: Stamp,
    seen: bool,
    busy: bool,
    watches_room: bool,
}

struct Client {
    plan: Plan,
    cancels: Purpose,
    finders: Finders,
    epoll: OwnedFd,
    timer: OwnedFd,
    armed: bool,
    conns: Vec<Conn>,
    /// Hang-ups to come. The delay is one constant, so they are in order as they come.
    hangups: VecDeque<(Stamp, u32, u64)>,
    next: u64,
    busy: u32,
    counts: Counts,
    buffer: Vec<u8>,
}

const TIMER: u64 = u64::MAX;
const BATCH: usize = 256;
const READ_BYTES: usize = 256 * 1024;

/// Sends all requests and waits for the last answer.
pub(super) fn run(plan: Plan) -> Result<Counts, Errno> {
    let mut client = Client::new(plan)?;
    for slot in 0..client.plan.concurrency.min(client.plan.requests as u32) {
        let conn = client.open(slot)?;
        client.conns.push(conn);
        client.begin(slot as usize)?;
    }
    let mut ready = Vec::with_capacity(BATCH);
    while client.busy > 0 {
        client.hang_up()?;
        // The last one may have been hung up on, and then nothing would ever wake the wait.
        if client.busy == 0 {
            break;
        }
        match epoll::wait(&client.epoll, spare_capacity(&mut ready), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        for event in ready.drain(..) {
            if event.data.u64() == TIMER {
                client.armed = false;
                continue;
            }
            let slot = event.data.u64() as usize;
            let flags = event.flags;
            // The event may be of a connection that this batch has replaced already.
            if flags.contains(EventFlags::OUT) && client.conns[slot].watches_room {
                client.write(slot)?;
            }
            if flags != EventFlags::OUT {
                client.read(slot)?;
            }
        }
    }
    Ok(client.counts)
}

impl Client {
    fn new(plan: Plan) -> Result<Self, Errno> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let once = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), once)?;
        Ok(Self {
            cancels: Purpose::new(plan.seed, "floor.cancel"),
            finders: Finders::new(),
            epoll,
            timer,
            armed: false,
            conns: Vec::new(),
            hangups: VecDeque::new(),
            next: 0,
            busy: 0,
            counts: Counts::default(),
            buffer: vec![0; READ_BYTES],
            plan,
        })
    }

    fn open(&self, slot: u32) -> Result<Conn, Errno> {
        let family = if self.plan.server.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&fd, true)?;
        match connect(&fd, &self.plan.server) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error),
        }
        epoll::add(
            &self.epoll,
            &fd,
            EventData::new_u64(u64::from(slot)),
            EventFlags::IN,
        )?;
        Ok(Conn {
            fd,
            response: Response::new(),
            number: 0,
            written: 0,
            start: Stamp::now(),
            seen: false,
            busy: false,
            watches_room: false,
        })
    }

    /// Sends the next request on a connection, if there is one.
    #[inline]
    fn begin(&mut self, slot: usize) -> Result<(), Errno> {
        let conn = &mut self.conns[slot];
        if conn.busy {
            self.busy -= 1;
            conn.busy = false;
        }
        if self.next == self.plan.requests {
            return Ok(());
        }
        self.busy += 1;
        conn.busy = true;
        conn.number = self.next;
        self.next += 1;
        conn.written = 0;
        conn.seen = false;
        conn.response.reset();
        conn.start = Stamp::now();
        self.write(slot)
    }

    #[inline]
    fn write(&mut self, slot: usize) -> Result<(), Errno> {
        let conn = &mut self.conns[slot];
        self.plan.request.set_id(conn.number);
        let rest = &self.plan.request.bytes[conn.written..];
        match send(&conn.fd, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => conn.written += count,
            Err(Errno::AGAIN | Errno::INTR | Errno::NOTCONN) => {}
            // The read that follows finds out how the connection ended.
            Err(_) => return Ok(()),
        }
        let short = conn.written < self.plan.request.bytes.len();
        if short != conn.watches_room {
            conn.watches_room = short;
            let room = if short {
                EventFlags::OUT
            } else {
                EventFlags::empty()
            };
            let key = EventData::new_u64(slot as u64);
            epoll::modify(&self.epoll, &conn.fd, key, EventFlags::IN | room)?;
        }
        if !short && self.plan.cancel > 0.0 {
            let number = conn.number;
            if self.cancels.uniform(number) < self.plan.cancel {
                let due = Stamp::now() + self.plan.cancel_after;
                self.hangups.push_back((due, slot as u32, number));
            }
        }
        Ok(())
    }

    #[inline]
    fn read(&mut self, slot: usize) -> Result<(), Errno> {
        let conn = &mut self.conns[slot];
        let result = recv(&conn.fd, &mut self.buffer[..], RecvFlags::DONTWAIT);
        let count = match result {
            Ok((count, _)) if count > 0 => count,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            ended => return self.lost(slot, ended.is_ok()),
        };
        let now = Stamp::now();
        self.counts.reads += 1;
        let fed = conn.response.feed(&self.finders, &self.buffer[..count]);
        self.counts.events += fed.events;
        if !conn.seen && (fed.events > 0 || fed.ended) {
            conn.seen = true;
            self.counts.ttft.record(now.since(conn.start));
        }
        if fed.ended && conn.busy {
            self.counts.completed += 1;
            self.counts.not_ok += u64::from(conn.response.status != 200);
            return self.begin(slot);
        }
        Ok(())
    }

    /// The server has closed.
    #[cold]
    fn lost(&mut self, slot: usize, orderly: bool) -> Result<(), Errno> {
        let conn = &mut self.conns[slot];
        if conn.busy {
            if orderly && conn.response.ends_by_close() {
                self.counts.completed += 1;
                self.counts.not_ok += u64::from(conn.response.status != 200);
            } else {
                self.counts.errors += 1;
            }
        }
        self.renew(slot)
    }

    /// Replaces a connection and goes on with it.
    fn renew(&mut self, slot: usize) -> Result<(), Errno> {
        let busy = self.conns[slot].busy;
        let mut conn = self.open(slot as u32)?;
        conn.busy = busy;
        self.conns[slot] = conn;
        self.begin(slot)
    }

    /// Hangs up where it is time to, and arms the timer for the next time.
    #[inline]
    fn hang_up(&mut self) -> Result<(), Errno> {
        while let Some(&(due, slot, number)) = self.hangups.front() {
            let slot = slot as usize;
            let alive = self.conns[slot].busy && self.conns[slot].number == number;
            if alive && due > Stamp::now() {
                return if self.armed { Ok(()) } else { self.arm(due) };
            }
            self.hangups.pop_front();
            if alive {
                // Both ways: the server sees an orderly close at once, whatever is on its way.
                let _ = shutdown(&self.conns[slot].fd, Shutdown::Both);
                self.counts.lateness.record(Stamp::now().since(due));
                self.counts.cancelled += 1;
                self.renew(slot)?;
            }
        }
        Ok(())
    }

    fn arm(&mut self, at: Stamp) -> Result<(), Errno> {
        let times = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: (at.nanos() / NANOS_PER_SECOND) as i64,
                tv_nsec: (at.nanos() % NANOS_PER_SECOND) as i64,
            },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &times)?;
        self.armed = true;
        Ok(())
    }
}
