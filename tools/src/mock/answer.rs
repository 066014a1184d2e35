//! A request's way through the server: received, queued, started, ended.

use pinfire_base::clock::Stamp;
use rustix::io::Errno;

use super::conn::{Active, Conn, Ending, Frame, Phase};
use super::fault::Fault;
use super::metrics::Finish;
use super::pieces::{Api, Mark};
use super::plain::put_error;
use super::request::{self, HEAD_MAX, Head, Route};
use super::script::{Framing, LeftAt, Release};
use super::turn::Core;

/// Whether a connection lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Keep,
    Close,
}

impl Core {
    /// Takes what has come in on a connection.
    pub(super) fn readable(&mut self, conn: &mut Conn) -> Flow {
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = conn.recv(&mut buffer);
        let now = Stamp::now();
        let flow = match result {
            Ok(0) if self.serves_on(conn) => self.half_closed(conn, now),
            Ok(0) => self.gone(conn, "fin", now),
            Ok(count) => self.received(conn, &buffer[..count], now),
            Err(Errno::AGAIN) => Flow::Keep,
            Err(error) => self.lost(conn, error, now),
        };
        self.buffer = buffer;
        flow
    }

    fn received(&mut self, conn: &mut Conn, bytes: &[u8], now: Stamp) -> Flow {
        match conn.phase {
            Phase::Leaving => Flow::Keep,
            Phase::Receiving if conn.inbox.is_empty() => {
                conn.first = Some(now);
                // The common case: the whole request is in this read and is never copied.
                match self.try_begin(conn, bytes, now) {
                    Ok(taken) => {
                        conn.inbox.extend_from_slice(&bytes[taken..]);
                        self.look_again(conn, taken, now);
                        Flow::Keep
                    }
                    Err(Close) => Flow::Close,
                }
            }
            Phase::Receiving => {
                conn.inbox.extend_from_slice(bytes);
                self.resume(conn, now)
            }
            Phase::Queued | Phase::Answering | Phase::Stalled => {
                // Bytes of a next request; bounded, because no client of ours pipelines.
                if conn.inbox.len() > 2 * HEAD_MAX {
                    return self.gone(conn, "flood", now);
                }
                conn.inbox.extend_from_slice(bytes);
                Flow::Keep
            }
        }
    }

    /// Looks for a request in what the connection has kept.
    pub(super) fn resume(&mut self, conn: &mut Conn, now: Stamp) -> Flow {
        if let Some(head) = &conn.head
            && conn.inbox.len() < head.size + head.length
        {
            return Flow::Keep;
        }
        let mut bytes = std::mem::take(&mut conn.inbox);
        let Ok(taken) = self.try_begin(conn, &bytes, now) else {
            return Flow::Close;
        };
        if taken == bytes.len() {
            // A large body's memory is given back; a small one's is kept for the next request.
            if bytes.capacity() > 2 * HEAD_MAX {
                bytes = Vec::new();
            }
            bytes.clear();
        } else if taken > 0 {
            bytes.drain(..taken);
        }
        if conn.phase != Phase::Leaving {
            conn.inbox = bytes;
        }
        self.look_again(conn, taken, now);
        Flow::Keep
    }

    /// Remembers a connection that has the beginning of its next request already.
    fn look_again(&mut self, conn: &mut Conn, taken: usize, now: Stamp) {
        if taken > 0 && conn.phase == Phase::Receiving && !conn.inbox.is_empty() {
            conn.first = Some(now);
            self.again.push(conn.slot);
        }
    }

    /// Begins the request at the start of `bytes` if it is whole; gives the bytes it has.
    fn try_begin(&mut self, conn: &mut Conn, bytes: &[u8], now: Stamp) -> Result<usize, Close> {
        let head = match conn.head {
            Some(head) => head,
            None => {
                let Some(end) = self.keys.head_end(bytes, conn.looked) else {
                    conn.looked = bytes.len();
                    if bytes.len() > HEAD_MAX {
                        return self.refuse(conn, 431, now).kept(bytes.len());
                    }
                    return Ok(0);
                };
                match request::head(bytes, end, &mut conn.id) {
                    Ok(head) => head,
                    Err(status) => return self.refuse(conn, status, now).kept(bytes.len()),
                }
            }
        };
        let total = head.size + head.length;
        if bytes.len() < total {
            if conn.head.is_none() {
                conn.head = Some(head);
                // All at once, so that a body in many pieces is copied once.
                conn.inbox.reserve_exact(total);
                if head.expect {
                    let sent = conn.send(b"HTTP/1.1 100 Continue\r\n\r\n");
                    sent.map_err(|_| Close)?;
                }
            }
            return Ok(0);
        }
        conn.head = None;
        conn.looked = 0;
        let first = conn.first.take().unwrap_or(now);
        let flow = match head.route {
            Route::Generate(api) => {
                let body = &bytes[head.size..total];
                self.begin(conn, api, &head, body, (first, now))
            }
            _ => self.plain(conn, &head, now),
        };
        flow.kept(total)
    }

    fn begin(
        &mut self,
        conn: &mut Conn,
        api: Api,
        head: &Head,
        body: &[u8],
        (first, full): (Stamp, Stamp),
    ) -> Flow {
        let ask = self.keys.read(api, body);
        let number = self.requests;
        self.requests += 1;
        let limit = ask
            .limit
            .filter(|limit| !self.script.ignore_max && *limit <= self.script.tokens);
        let fault = self.faults.of(number);
        let want = match fault {
            Some(Fault::NoTokens) => 0,
            _ if !api.has_tokens() => 0,
            _ => limit.unwrap_or(self.script.tokens),
        };
        let frame = match self.script.framing {
            _ if head.old => Frame::Bare,
            Framing::ChunkPerEvent => Frame::Each,
            Framing::ChunkPerWrite => Frame::Whole,
            Framing::UntilClose => Frame::Bare,
        };
        conn.active = Some(Active {
            number,
            api,
            stream: ask.stream,
            usage: ask.usage,
            close: head.close || (ask.stream && frame == Frame::Bare),
            frame,
            want,
            events: want.div_ceil(self.script.tokens_per_event),
            sent: 0,
            generated: 0,
            prompt: ask.words,
            finish: if limit.is_some() {
                Finish::Length
            } else {
                Finish::Stop
            },
            fault,
            mark: Mark::new(number, self.created(full)),
            base: full,
            itl: self.script.itl,
            due: full,
            later: full,
            draws: None,
            head_sent: false,
            ending: None,
            status: 200,
            first,
            full,
            body: body.len() as u64,
            w_first: None,
            w_last: None,
        });
        if self.wedged || self.metrics.running >= self.slots {
            conn.phase = Phase::Queued;
            self.metrics.waiting += 1;
            self.queue.push_back((conn.slot, conn.number));
            return Flow::Keep;
        }
        self.start(conn, full)
    }

    /// Gives the connection's request a slot and begins its answer.
    pub(super) fn start(&mut self, conn: &mut Conn, now: Stamp) -> Flow {
        if conn.phase == Phase::Queued {
            self.metrics.waiting -= 1;
        }
        conn.phase = Phase::Answering;
        let Some(active) = &mut conn.active else {
            return Flow::Close;
        };
        self.metrics.running += 1;
        self.metrics.prompt_tokens += u64::from(active.prompt);
        self.metrics.held_tokens += u64::from(active.prompt);
        active.base = now;
        let others = (self.metrics.running + self.metrics.waiting).saturating_sub(1);
        active.itl = self.script.itl_beside(others);
        let (api, fault) = (active.api, active.fault);
        let ending = match fault {
            Some(Fault::Status(status)) => {
                active.status = status;
                active.finish = Finish::Error;
                self.out.clear();
                put_error(status, "scripted failure", active.close, &mut self.out);
                Ending::Done
            }
            Some(Fault::Empty) => {
                active.finish = Finish::Error;
                self.out.clear();
                super::plain::put_head(200, "text/plain", 0, active.close, &mut self.out);
                Ending::Done
            }
            Some(Fault::Garbage) => {
                active.status = 0;
                self.out.clear();
                self.out
                    .extend_from_slice(b"\x15\x03\x01 this is not HTTP\r\n\r\n");
                Ending::Cut
            }
            Some(Fault::ResetHead) => {
                active.status = 0;
                self.out.clear();
                Ending::Reset
            }
            Some(Fault::StallHead) => {
                active.status = 0;
                self.out.clear();
                Ending::Stall
            }
            _ => {
                self.metrics.count(api as usize, 1, 200);
                return self.open(conn, now);
            }
        };
        self.metrics.count(api as usize, 1, active.status);
        active.ending = Some(ending);
        let sent = conn.send(&self.out);
        self.go_on(conn, sent, now)
    }

    /// The client has left.
    pub(super) fn gone(&mut self, conn: &mut Conn, how: &'static str, now: Stamp) -> Flow {
        match conn.phase {
            Phase::Queued => self.metrics.waiting -= 1,
            Phase::Answering | Phase::Stalled => self.let_go(conn, how, now),
            Phase::Receiving | Phase::Leaving => {}
        }
        if let Some(active) = &conn.active {
            // vLLM's framework begins to answer before there is a slot, and counts that as a 2xx.
            if conn.phase == Phase::Queued && active.fault.is_none() {
                self.metrics.count(active.api as usize, 1, 200);
            }
            self.metrics.finish(Finish::Abort, self.script.counters);
        }
        if conn.active.is_some() || conn.first.is_some() {
            self.log(conn, now, |line| {
                line.closed = Some(now);
                line.how = how;
            });
        }
        Flow::Close
    }

    /// The client has left, as an error of the socket tells.
    pub(super) fn lost(&mut self, conn: &mut Conn, error: Errno, now: Stamp) -> Flow {
        // A write after an orderly close was answered with a reset: the close came first.
        let how = if error == Errno::PIPE { "fin" } else { "rst" };
        self.gone(conn, how, now)
    }

    /// Everything is out: ends the answer as it was to end.
    pub(super) fn conclude(&mut self, conn: &mut Conn, ending: Ending) -> Flow {
        let now = Stamp::now();
        let how = match ending {
            Ending::Stall => {
                conn.phase = Phase::Stalled;
                return Flow::Keep;
            }
            Ending::Done => "",
            Ending::Reset => "server-rst",
            Ending::Cut => "server-fin",
        };
        self.release(conn);
        let half = conn.half;
        self.log(conn, now, |line| {
            line.done = Some(now);
            line.closed = half;
            line.how = half.map_or(how, |_| "half");
        });
        let Some(active) = conn.active.take() else {
            return Flow::Close;
        };
        self.served += 1;
        match ending {
            Ending::Done => {
                self.metrics.finish(active.finish, self.script.counters);
                self.next_request(conn, active.close, now)
            }
            Ending::Reset | Ending::Cut | Ending::Stall => {
                self.metrics.finish(Finish::Error, self.script.counters);
                if ending == Ending::Reset {
                    conn.abort();
                }
                Flow::Close
            }
        }
    }

    /// Makes the connection ready for its next request, or ends it.
    pub(super) fn next_request(&mut self, conn: &mut Conn, close: bool, now: Stamp) -> Flow {
        conn.nth += 1;
        conn.phase = Phase::Receiving;
        if conn.half.is_some() {
            return Flow::Close;
        }
        if close {
            return self.leave(conn, now);
        }
        if self
            .script
            .requests_per_connection
            .is_some_and(|most| conn.nth >= most)
        {
            return Flow::Close;
        }
        if !conn.inbox.is_empty() {
            conn.first = Some(now);
            self.again.push(conn.slot);
        }
        if let Some(idle) = self.script.idle_close {
            self.arm(conn, now + idle);
        }
        Flow::Keep
    }

    /// A client that closes its sending half while it waits for an answer may still read it.
    fn serves_on(&self, conn: &Conn) -> bool {
        self.script.half_open
            && conn.half.is_none()
            && matches!(conn.phase, Phase::Queued | Phase::Answering)
    }

    fn half_closed(&self, conn: &mut Conn, now: Stamp) -> Flow {
        conn.half = Some(now);
        // The kernel would report the end of input again and again.
        let room = conn.watches_room;
        conn.watches_room = !room;
        self.watch_room(conn, room)
    }

    /// The client of a request that has its slot has left: the slot is free as the script says.
    fn let_go(&mut self, conn: &Conn, how: &str, now: Stamp) {
        let Some(active) = &conn.active else { return };
        self.left += 1;
        let tokens = u64::from(active.prompt) + u64::from(active.generated);
        let no_token = active.sent == 0;
        let at = match (no_token, active.head_sent) {
            (true, false) => LeftAt::Nothing,
            (true, true) => LeftAt::Head,
            (false, _) => LeftAt::Content,
        };
        let leak_on = self.script.leak_on;
        if leak_on.is_some_and(|leak| leak.applies(how == "rst", at, active.stream)) {
            return;
        }
        match self.script.release {
            Release::After(span) => self.released_later.push_back((now + span, tokens)),
            Release::LeakOneIn(count) if self.left.is_multiple_of(u64::from(count)) => {}
            Release::LeakBeforeToken if no_token => {}
            Release::WedgeAfter(count) => {
                self.wedged |= self.left >= u64::from(count);
                self.release(conn);
            }
            Release::DieAfter(count) => {
                self.dead |= self.left >= u64::from(count);
                self.release(conn);
            }
            Release::AtOnce | Release::LeakOneIn(_) | Release::LeakBeforeToken => {
                self.release(conn);
            }
        }
    }

    /// Frees what was to be free by now.
    pub(super) fn release_what_is_due(&mut self, now: Stamp) {
        while let Some(&(at, tokens)) = self.released_later.front()
            && at <= now
        {
            self.released_later.pop_front();
            self.metrics.running -= 1;
            self.metrics.held_tokens -= tokens;
        }
    }

    fn release(&mut self, conn: &Conn) {
        if let Some(active) = &conn.active {
            self.metrics.running -= 1;
            self.metrics.held_tokens -= u64::from(active.prompt) + u64::from(active.generated);
        }
    }

    /// Logs the connection's request after `change`.
    pub(super) fn log(
        &mut self,
        conn: &Conn,
        now: Stamp,
        change: impl FnOnce(&mut super::truth::TruthLine<'_>),
    ) {
        if let Some(truth) = &mut self.truth {
            let mut line = conn.line();
            change(&mut line);
            truth.add(&line, now);
        }
    }
}

/// The connection is to be closed.
struct Close;

impl Flow {
    fn kept(self, taken: usize) -> Result<usize, Close> {
        match self {
            Self::Keep => Ok(taken),
            Self::Close => Err(Close),
        }
    }
}
