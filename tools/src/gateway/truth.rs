//! The gateway's truth log: what became of each request, one line of JSON when it has ended.
//!
//! | key | meaning |
//! | --- | --- |
//! | `id` | the X-Request-ID header, or empty |
//! | `n` | number of the request, from 0, by which a share is met |
//! | `start` | when it was sent to the server |
//! | `left` | when the client's leaving was noticed, 0 if it stayed |
//! | `let_go` | when the gateway was done with the server: at the answer's end, or when it disconnected |
//! | `whole` | whether the answer was read to its end |
//! | `made` | content events read from the server (tokens, for a non-streaming answer) |
//! | `reached` | those of them that were handed to the client's socket |
//!
//! Times are Unix nanoseconds derived from one pair of clock reads.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use pinfire_base::clock::{Stamp, WallAnchor};

/// One line.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) id: String,
    pub(super) number: u64,
    pub(super) start: Stamp,
    pub(super) left: Option<Stamp>,
    pub(super) let_go: Stamp,
    pub(super) whole: bool,
    pub(super) made: u64,
    pub(super) reached: u64,
}

pub(super) struct Truth {
    file: Mutex<File>,
    anchor: WallAnchor,
}

impl Truth {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: Mutex::new(File::create(path)?),
            anchor: WallAnchor::take(),
        })
    }

    pub(super) fn add(&self, line: &Line) {
        let wall = |stamp| self.anchor.unix_nanos(stamp);
        let text = format!(
            "{{\"id\":{},\"n\":{},\"start\":{},\"left\":{},\"let_go\":{},\"whole\":{},\"made\":{},\
             \"reached\":{}}}\n",
            serde_json::Value::from(line.id.as_str()),
            line.number,
            wall(line.start),
            line.left.map_or(0, wall),
            wall(line.let_go),
            line.whole,
            line.made,
            line.reached,
        );
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk shows in what reads the log.
        let _ = file.write_all(text.as_bytes());
    }
}
