//! Writing answers: what is due is composed into one buffer and leaves in one send.

use pinfire_base::clock::{Span, Stamp};
use rustix::io::Errno;

use super::answer::Flow;
use super::conn::{Active, Conn, Ending, Frame};
use super::dialect::Counts;
use super::fault::Fault;
use super::metrics::Finish;
use super::pieces::{STREAM_ERROR, put_chunk};
use super::plain::{put_chunked_head, put_head, put_stream_head};
use super::script::{HeadTime, RoleTime, Script};
use super::turn::Core;

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

impl Core {
    /// Begins an answer that has tokens.
    pub(super) fn open(&mut self, conn: &mut Conn, now: Stamp) -> Flow {
        let Some(active) = &mut conn.active else {
            return Flow::Close;
        };
        if !active.stream {
            let latency = self.script.latency_of(active.want, active.itl);
            active.later = active.base + latency;
            active.due = match self.script.whole_head {
                Some(share) if active.frame != Frame::Bare => {
                    active.base + Span::from_secs_f64(share * latency.as_secs_f64())
                }
                _ => active.later,
            };
            return self.advance(conn, now);
        }
        if self.script.is_instant() && active.fault.is_none() {
            return self.write_all(conn, now);
        }
        if self.script.jitter > 0.0 {
            active.draws = Some(self.jitter.at(active.number));
        }
        active.due = next_due(&self.script, active);
        if self.script.head == HeadTime::AtOnce {
            self.out.clear();
            put_stream_head(active.frame, active.close, &mut self.out);
            active.head_sent = true;
            if self.script.role == RoleTime::WithHead {
                let framed = active.frame == Frame::Each;
                self.events.clear();
                self.pieces
                    .role(active.api, framed, &active.mark, &mut self.events);
                frame_events(active.frame, &self.events, &mut self.out);
            }
            let sent = conn.send(&self.out);
            return self.go_on(conn, sent, now);
        }
        self.advance(conn, now)
    }

    /// Goes on with an answer after a send.
    pub(super) fn go_on(&mut self, conn: &mut Conn, sent: Result<(), Errno>, now: Stamp) -> Flow {
        match sent {
            Ok(()) => self.advance(conn, now),
            Err(error) => self.lost(conn, error, Stamp::now()),
        }
    }

    /// Does the next thing an answer has to do, or arranges to be called when it can be done.
    pub(super) fn advance(&mut self, conn: &mut Conn, now: Stamp) -> Flow {
        loop {
            if !conn.flushed() {
                // A client that does not read delays the answer; nothing piles up meanwhile.
                return self.watch_room(conn, true);
            }
            let holds = conn.held_at < conn.held.len();
            let Some(active) = &mut conn.active else {
                return Flow::Close;
            };
            if let (false, Some(ending)) = (holds, active.ending) {
                return self.conclude(conn, ending);
            }
            if active.due > now {
                let due = active.due;
                self.arm(conn, due);
                return Flow::Keep;
            }
            let sent = if holds {
                self.write_piece(conn)
            } else if active.stream {
                self.write_events(conn)
            } else {
                self.write_whole(conn)
            };
            if let Err(error) = sent {
                return self.lost(conn, error, Stamp::now());
            }
            // With several writes overdue, other connections' come first in the order of due times.
            if let Some(active) = &conn.active
                && conn.flushed()
                && active.ending.is_none()
            {
                let due = active.due;
                self.arm(conn, due);
                return Flow::Keep;
            }
        }
    }

    /// Instant mode: the whole stream in one write.
    fn write_all(&mut self, conn: &mut Conn, now: Stamp) -> Flow {
        let Some(active) = &mut conn.active else {
            return Flow::Close;
        };
        self.out.clear();
        put_stream_head(active.frame, active.close, &mut self.out);
        active.head_sent = true;
        active.ending = Some(self.put_events(active, u32::MAX).unwrap_or(Ending::Done));
        self.metrics.generation_tokens += u64::from(active.generated);
        self.metrics.held_tokens += u64::from(active.generated);
        let before = Stamp::now();
        if active.sent > 0 {
            active.w_first = Some(before);
            active.w_last = Some(before);
            self.metrics.first_token(before.since(active.first));
        }
        let sent = conn.send(&self.out);
        self.go_on(conn, sent, now)
    }

    /// Writes the events that are due, and the end after the last one.
    fn write_events(&mut self, conn: &mut Conn) -> Result<(), Errno> {
        let Some(active) = &mut conn.active else {
            return Ok(());
        };
        self.out.clear();
        if !active.head_sent {
            active.head_sent = true;
            put_stream_head(active.frame, active.close, &mut self.out);
        }
        let (sent, generated) = (active.sent, active.generated);
        active.ending = self.put_events(active, self.script.events_per_write);
        let tokens = u64::from(active.generated - generated);
        self.metrics.generation_tokens += tokens;
        self.metrics.held_tokens += tokens;
        active.due = next_due(&self.script, active);
        active.later = active.due;
        let before = Stamp::now();
        if active.sent > sent {
            if active.w_first.is_none() {
                active.w_first = Some(before);
                self.metrics.first_token(before.since(active.first));
            }
            active.w_last = Some(before);
        }
        if self.script.pieces == 1 {
            return conn.send(&self.out);
        }
        conn.held.clear();
        conn.held.extend_from_slice(&self.out);
        conn.held_at = 0;
        self.write_piece(conn)
    }

    /// Writes the next piece of a write that is cut.
    fn write_piece(&mut self, conn: &mut Conn) -> Result<(), Errno> {
        let size = conn.held.len().div_ceil(self.script.pieces as usize).max(1);
        let end = (conn.held_at + size).min(conn.held.len());
        let held = std::mem::take(&mut conn.held);
        let sent = conn.send(&held[conn.held_at..end]);
        conn.held = held;
        conn.held_at = end;
        if let Some(active) = &mut conn.active {
            if end < conn.held.len() {
                active.due = Stamp::now() + self.script.piece_gap;
            } else {
                conn.held.clear();
                conn.held_at = 0;
                active.due = active.later;
            }
        }
        sent
    }

    /// Composes up to `most` content events, and the end if they are the last.
    fn put_events(&mut self, active: &mut Active, most: u32) -> Option<Ending> {
        let (api, framed, mark) = (active.api, active.frame == Frame::Each, active.mark);
        let stop = stop_after(active);
        let mut out = std::mem::take(if active.frame == Frame::Whole {
            &mut self.events
        } else {
            &mut self.out
        });
        let role = match self.script.role {
            RoleTime::WithFirst => true,
            RoleTime::WithHead => {
                self.script.head == HeadTime::WithFirst || self.script.is_instant()
            }
            RoleTime::Never => false,
        };
        let shape = (api, framed, active.want);
        if active.sent == 0 && role {
            self.pieces.role(api, framed, &mark, &mut out);
        }
        if active.sent == 0 {
            let prompt = active.prompt;
            self.pieces.opening(shape, prompt, &mark, &mut out);
        }
        let last = stop.min(active.sent.saturating_add(most));
        while active.sent < last {
            let index = active.sent;
            let every = self.script.comment_every;
            if every > 0 && index.is_multiple_of(every) {
                self.pieces.comment(framed, &mut out);
            }
            let count = self
                .script
                .tokens_per_event
                .min(active.want - active.generated);
            if active.fault == Some(Fault::BadJson(index)) {
                self.pieces.bad(api, framed, &mark, &mut out);
            } else {
                let tokens = (active.generated, count);
                self.pieces.content(shape, tokens, &mark, &mut out);
            }
            active.sent += 1;
            active.generated += count;
        }
        let ending = (active.sent >= stop).then(|| self.put_end(active, framed, &mut out));
        if active.frame == Frame::Whole {
            if !out.is_empty() {
                put_chunk(&out, &mut self.out);
            }
            out.clear();
            self.events = out;
        } else {
            self.out = out;
        }
        if active.frame != Frame::Bare && ending == Some(Ending::Done) {
            self.out.extend_from_slice(LAST_CHUNK);
        }
        ending
    }

    /// Composes what follows the last content event.
    fn put_end(&self, active: &mut Active, framed: bool, out: &mut Vec<u8>) -> Ending {
        let (api, mark) = (active.api, active.mark);
        match active.fault {
            Some(Fault::ResetAfter(_)) => return Ending::Reset,
            Some(Fault::CutAfter(_)) => return Ending::Cut,
            Some(Fault::StallAfter(_)) => return Ending::Stall,
            Some(Fault::ErrorEvent(_)) => {
                active.finish = Finish::Error;
                self.pieces.error(framed, true, out);
            }
            Some(Fault::ErrorData(_)) => {
                active.finish = Finish::Error;
                self.pieces.error(framed, false, out);
                self.pieces.done(framed, out);
            }
            _ if !api.has_chunks() => {
                let counts = Counts {
                    prompt: active.prompt,
                    completion: active.generated,
                };
                let shape = (api, framed, active.want);
                self.pieces
                    .closing(shape, active.finish, counts, &mark, out);
            }
            _ => {
                self.pieces.finish(api, framed, active.finish, &mark, out);
                if active.usage {
                    let usage = (active.prompt, active.generated);
                    self.pieces.usage(api, framed, usage, &mark, out);
                }
                self.pieces.done(framed, out);
            }
        }
        Ending::Done
    }

    /// Writes a non-streaming answer, or the head of it that leaves before.
    fn write_whole(&mut self, conn: &mut Conn) -> Result<(), Errno> {
        let Some(active) = &mut conn.active else {
            return Ok(());
        };
        if self.script.whole_head.is_some() && !active.head_sent && active.frame != Frame::Bare {
            self.out.clear();
            put_chunked_head(active.close, &mut self.out);
            active.head_sent = true;
            active.due = active.later;
            return conn.send(&self.out);
        }
        let body = &mut self.events;
        body.clear();
        let mut ending = Ending::Done;
        match active.fault {
            Some(Fault::ErrorData(_) | Fault::ErrorEvent(_)) => {
                active.finish = Finish::Error;
                body.extend_from_slice(STREAM_ERROR.as_bytes());
            }
            fault => {
                active.generated = active.want;
                active.sent = active.events;
                let usage = (active.prompt, active.generated);
                let empty = matches!(fault, Some(Fault::NoTokens));
                let shape = (active.api, empty);
                self.pieces
                    .whole(shape, active.finish, usage, &active.mark, body);
                ending = match fault {
                    Some(Fault::ResetAfter(_)) => Ending::Reset,
                    Some(Fault::CutAfter(_)) => Ending::Cut,
                    Some(Fault::StallAfter(_)) => Ending::Stall,
                    _ => Ending::Done,
                };
                if matches!(fault, Some(Fault::BadJson(_))) {
                    body.truncate(body.len() / 2);
                }
            }
        }
        self.metrics.generation_tokens += u64::from(active.generated);
        self.metrics.held_tokens += u64::from(active.generated);
        self.out.clear();
        let half = if ending == Ending::Done {
            body.len()
        } else {
            body.len() / 2
        };
        if active.head_sent {
            put_chunk(&body[..half], &mut self.out);
            if ending == Ending::Done {
                self.out.extend_from_slice(LAST_CHUNK);
            }
        } else {
            let (size, close) = (body.len(), active.close);
            put_head(200, "application/json", size, close, &mut self.out);
            self.out.extend_from_slice(&body[..half]);
        }
        active.ending = Some(ending);
        let before = Stamp::now();
        if active.generated > 0 {
            active.w_first = Some(before);
            active.w_last = Some(before);
            self.metrics.first_token(before.since(active.first));
        }
        conn.send(&self.out)
    }
}

/// Content events before the answer ends, by its length or by its fault.
fn stop_after(active: &Active) -> u32 {
    match active.fault {
        Some(
            Fault::ResetAfter(count)
            | Fault::CutAfter(count)
            | Fault::StallAfter(count)
            | Fault::ErrorData(count)
            | Fault::ErrorEvent(count),
        ) => active.events.min(count),
        _ => active.events,
    }
}

fn frame_events(frame: Frame, events: &[u8], out: &mut Vec<u8>) {
    match frame {
        Frame::Whole if !events.is_empty() => put_chunk(events, out),
        _ => out.extend_from_slice(events),
    }
}

/// When the next event is due: an absolute time, so that lateness never adds up.
fn next_due(script: &Script, active: &mut Active) -> Stamp {
    let token = u64::from(active.sent) * u64::from(script.tokens_per_event);
    let nominal = script.ttft.nanos() + token * active.itl.nanos();
    let Some(draws) = &mut active.draws else {
        return active.base + Span::from_nanos(nominal);
    };
    let gap = if token == 0 { script.ttft } else { active.itl };
    let shift = (2.0 * draws.uniform() - 1.0) * script.jitter * gap.nanos() as f64;
    let due = active.base + Span::from_nanos(nominal.saturating_add_signed(shift as i64));
    // A shift of more than half a gap may not put an event before its predecessor.
    due.max(active.due)
}
