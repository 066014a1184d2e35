//! Answers that are one block of bytes: the small endpoints, errors, and heads.

use pinfire_base::clock::Stamp;

use super::answer::Flow;
use super::conn::{Conn, Frame, Phase};
use super::metrics::{HANDLERS, HEALTH, METRICS, MODELS};
use super::request::{Head, Route};
use super::turn::Core;

/// A client that does not close after its last answer is closed after this long.
const LEAVE_MS: u64 = 1_000;

const JSON: &str = "application/json";

/// Appends the head of a streaming answer.
pub(super) fn put_stream_head(frame: Frame, close: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"HTTP/1.1 200 OK\r\nserver: pinfire-mock\r\n\
          content-type: text/event-stream; charset=utf-8\r\n",
    );
    if frame != Frame::Bare {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    put_head_end(close, out);
}

/// Appends the head of a JSON answer whose length is not known yet.
pub(super) fn put_chunked_head(close: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"HTTP/1.1 200 OK\r\nserver: pinfire-mock\r\ncontent-type: application/json\r\n\
          transfer-encoding: chunked\r\n",
    );
    put_head_end(close, out);
}

/// Appends the head of an answer with a body of `length` bytes.
pub(super) fn put_head(status: u16, kind: &str, length: usize, close: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    super::pieces::put_number(u32::from(status), out);
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\nserver: pinfire-mock\r\ncontent-type: ");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\r\ncontent-length: ");
    // A body never has more than its composed buffer, far below 4 GiB.
    super::pieces::put_number(length as u32, out);
    out.extend_from_slice(b"\r\n");
    put_head_end(close, out);
}

fn put_head_end(close: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if close {
        b"connection: close\r\n\r\n"
    } else {
        b"\r\n"
    });
}

/// Appends a whole JSON error answer.
pub(super) fn put_error(status: u16, message: &str, close: bool, out: &mut Vec<u8>) {
    let kind = match status {
        429 => "rate_limit_error",
        500.. => "InternalServerError",
        _ => "invalid_request_error",
    };
    let body = format!(
        "{{\"error\":{{\"message\":\"{message}\",\"type\":\"{kind}\",\"param\":null,\
         \"code\":{status}}}}}"
    );
    put_head(status, JSON, body.len(), close, out);
    out.extend_from_slice(body.as_bytes());
}

impl Core {
    /// Answers a request that is not for tokens.
    pub(super) fn plain(&mut self, conn: &mut Conn, head: &Head, now: Stamp) -> Flow {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let (handler, status) = self.put_plain(head, &mut out);
        let sent = conn.send(&out);
        self.out = out;
        self.metrics.count(handler, head.method, status);
        if sent.is_err() || (!conn.flushed() && self.watch_room(conn, true) == Flow::Close) {
            return Flow::Close;
        }
        self.next_request(conn, head.close, now)
    }

    fn put_plain(&self, head: &Head, out: &mut Vec<u8>) -> (usize, u16) {
        let model = self.pieces.model();
        match head.route {
            Route::Models => {
                let body = format!(
                    "{{\"object\":\"list\",\"data\":[{{\"id\":{model},\"object\":\"model\",\
                     \"created\":1,\"owned_by\":\"pinfire-mock\"}}]}}"
                );
                put_head(200, JSON, body.len(), head.close, out);
                out.extend_from_slice(body.as_bytes());
                (MODELS, 200)
            }
            Route::Metrics => {
                let mut body = String::new();
                let name = model.trim_matches('"');
                self.metrics.write(
                    name,
                    self.script.cache_tokens,
                    self.script.abort_counter,
                    self.script.counters,
                    &mut body,
                );
                put_head(
                    200,
                    "text/plain; version=0.0.4",
                    body.len(),
                    head.close,
                    out,
                );
                out.extend_from_slice(body.as_bytes());
                (METRICS, 200)
            }
            Route::Health => {
                put_head(200, "text/plain", 0, head.close, out);
                (HEALTH, 200)
            }
            Route::WrongMethod { handler, post } => {
                let allow = if post { "POST" } else { "GET" };
                let message = format!("Method Not Allowed: use {allow}");
                put_error(405, &message, head.close, out);
                (handler, 405)
            }
            Route::Unknown | Route::Generate(_) => {
                put_error(404, "Not Found", head.close, out);
                (HANDLERS.len() - 1, 404)
            }
        }
    }

    /// Answers bytes that are no acceptable request and closes.
    pub(super) fn refuse(&mut self, conn: &mut Conn, status: u16, now: Stamp) -> Flow {
        let mut out = Vec::new();
        put_error(status, "request refused", true, &mut out);
        self.metrics.count(HANDLERS.len() - 1, 2, status);
        conn.inbox = Vec::new();
        conn.head = None;
        conn.first = None;
        if conn.send(&out).is_err() {
            return Flow::Close;
        }
        self.leave(conn, now)
    }

    /// Ends our half and waits a moment for the client's: closing with unread bytes would reset
    /// the connection, and the client might never see the answer.
    pub(super) fn leave(&mut self, conn: &mut Conn, now: Stamp) -> Flow {
        conn.end_sending();
        conn.phase = Phase::Leaving;
        self.arm(conn, now + pinfire_base::clock::Span::from_millis(LEAVE_MS));
        Flow::Keep
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Scripted",
    }
}
