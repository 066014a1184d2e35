//! The truth log: what the server saw of each request, one line of JSON when the request ends.
//!
//! | key | meaning |
//! | --- | --- |
//! | `id` | the X-Request-ID header, or empty |
//! | `port` | the client's port |
//! | `conn`, `nth` | number of the connection (from 1), and of the request on it (from 0) |
//! | `accept` | when the connection was accepted |
//! | `first`, `full` | after the read that brought the request's first byte, and its last; `full` is 0 when the client left before |
//! | `body` | body bytes received |
//! | `status` | status sent or meant, 0 when the request was never whole |
//! | `stream`, `want` | streaming asked; output tokens the answer was to have |
//! | `sent` | content events written (tokens, for a non-streaming answer) |
//! | `w_first`, `w_last` | immediately before the write of the first and last content event |
//! | `done` | after the write of the last byte, or when a fault of the script ended the answer; 0 if neither |
//! | `closed` | when the client's leaving was noticed, 0 if it stayed to the end |
//! | `how` | `fin` or `rst` from the client; `half` when it closed its sending half only and was answered to the end (`closed` is when it did); `server-fin`, `server-rst` for faults; `stop` when the server was stopped; else empty |
//!
//! All times are Unix nanoseconds derived from one pair of clock reads when the port was opened.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use pinfire_base::clock::{Span, Stamp, WallAnchor};

/// One line.
pub(super) struct TruthLine<'a> {
    pub(super) id: &'a [u8],
    pub(super) port: u16,
    pub(super) conn: u64,
    pub(super) nth: u32,
    pub(super) accept: Stamp,
    pub(super) first: Option<Stamp>,
    pub(super) full: Option<Stamp>,
    pub(super) body: u64,
    pub(super) status: u16,
    pub(super) stream: bool,
    pub(super) want: u32,
    pub(super) sent: u32,
    pub(super) w_first: Option<Stamp>,
    pub(super) w_last: Option<Stamp>,
    pub(super) done: Option<Stamp>,
    pub(super) closed: Option<Stamp>,
    pub(super) how: &'static str,
}

pub(super) struct Truth {
    file: File,
    anchor: WallAnchor,
    buffer: Vec<u8>,
    flush_at: Option<Stamp>,
    error: Option<io::Error>,
}

/// Written to the file when the buffer is this full, or this old.
const FLUSH_BYTES: usize = 64 * 1024;
const FLUSH_AFTER: Span = Span::from_millis(1_000);

impl Truth {
    pub(super) fn create(path: &Path, anchor: WallAnchor) -> io::Result<Self> {
        Ok(Self {
            file: File::create(path)?,
            anchor,
            buffer: Vec::with_capacity(FLUSH_BYTES + 1024),
            flush_at: None,
            error: None,
        })
    }

    /// When [`Truth::flush`] is wanted.
    pub(super) fn flush_at(&self) -> Option<Stamp> {
        self.flush_at
    }

    /// Adds a line, logged at `now`.
    pub(super) fn add(&mut self, line: &TruthLine<'_>, now: Stamp) {
        let wall = |stamp: Option<Stamp>| stamp.map_or(0, |stamp| self.anchor.unix_nanos(stamp));
        let out = &mut self.buffer;
        out.extend_from_slice(b"{\"id\":\"");
        for &byte in line.id {
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                0x20..0x7f => out.push(byte),
                _ => out.push(b'?'),
            }
        }
        // Writing to a vector cannot fail.
        let _ = writeln!(
            out,
            "\",\"port\":{},\"conn\":{},\"nth\":{},\"accept\":{},\"first\":{},\"full\":{},\
             \"body\":{},\"status\":{},\"stream\":{},\"want\":{},\"sent\":{},\"w_first\":{},\
             \"w_last\":{},\"done\":{},\"closed\":{},\"how\":\"{}\"}}",
            line.port,
            line.conn,
            line.nth,
            wall(Some(line.accept)),
            wall(line.first),
            wall(line.full),
            line.body,
            line.status,
            line.stream,
            line.want,
            line.sent,
            wall(line.w_first),
            wall(line.w_last),
            wall(line.done),
            wall(line.closed),
            line.how,
        );
        if self.buffer.len() >= FLUSH_BYTES {
            self.flush();
        } else if self.flush_at.is_none() {
            self.flush_at = Some(now + FLUSH_AFTER);
        }
    }

    /// Hands the buffer to the file. The first error is kept for [`Truth::close`].
    pub(super) fn flush(&mut self) {
        if let Err(error) = self.file.write_all(&self.buffer) {
            self.error.get_or_insert(error);
        }
        self.buffer.clear();
        self.flush_at = None;
    }

    /// Writes what is left; the first error of the whole log, if there was one.
    pub(super) fn close(mut self) -> Option<io::Error> {
        self.flush();
        self.error
    }
}
