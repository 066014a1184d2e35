//! What is kept of a request beyond its transcript, where a run asks for it: the bytes themselves
//! and the instant of every write and read.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::clock::Stamp;

/// How much of each request a phase keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Keep {
    /// The transcript: what the figures are made of.
    #[default]
    Transcript,
    /// Also both heads, the addresses, and the instant and size of every write and read.
    Reads,
    /// Also the response body, byte by byte.
    Bytes,
}

/// One write or read of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Piece {
    /// After the call that moved it.
    pub at: Stamp,
    /// Its bytes: of head and body for a write, of the body without framing for a read.
    pub bytes: u32,
}

/// What was kept.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Capture {
    /// The request head as it was put together; empty if the request never came to its connection.
    #[serde(with = "serde_bytes")]
    pub request_head: Vec<u8>,
    /// The writes that took bytes of the request.
    pub writes: Vec<Piece>,
    /// The final response head.
    #[serde(with = "serde_bytes")]
    pub response_head: Vec<u8>,
    /// The reads that brought body bytes.
    pub reads: Vec<Piece>,
    /// The response body as far as it came, framing excluded; empty with [`Keep::Reads`].
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    /// This end of the connection; absent over a socket in the file system.
    pub local: Option<SocketAddr>,
    /// The server's end.
    pub remote: Option<SocketAddr>,
    /// `body` is kept.
    pub keeps_body: bool,
}

impl Capture {
    /// Nothing yet, of a phase that keeps more than transcripts.
    pub fn of(keep: Keep) -> Option<Box<Self>> {
        (keep != Keep::Transcript).then(|| {
            Box::new(Self {
                keeps_body: keep == Keep::Bytes,
                ..Self::default()
            })
        })
    }

    /// Bytes of memory that it takes.
    pub(super) fn held_bytes(&self) -> usize {
        let bytes = [&self.request_head, &self.response_head, &self.body];
        let pieces = self.writes.capacity() + self.reads.capacity();
        size_of::<Self>()
            + bytes.map(Vec::capacity).iter().sum::<usize>()
            + pieces * size_of::<Piece>()
    }

    /// Takes body bytes of the read that ended at `at`.
    pub fn read(&mut self, at: Stamp, bytes: &[u8]) {
        match self.reads.last_mut() {
            // Several chunks of one read.
            Some(last) if last.at == at => last.bytes += bytes.len() as u32,
            _ => self.reads.push(Piece {
                at,
                bytes: bytes.len() as u32,
            }),
        }
        if self.keeps_body {
            self.body.extend_from_slice(bytes);
        }
    }

    /// Takes the size of a write that returned at `at`.
    pub fn wrote(&mut self, at: Stamp, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.writes.push(Piece { at, bytes });
    }

    /// The writes as body bytes: what of each was the head is taken off, and those that were
    /// nothing else are left out.
    pub fn body_writes(&self) -> impl Iterator<Item = Piece> {
        let mut head = self.request_head.len();
        self.writes.iter().filter_map(move |write| {
            let of_head = head.min(write.bytes as usize);
            head -= of_head;
            let bytes = write.bytes - of_head as u32;
            (bytes > 0).then_some(Piece {
                at: write.at,
                bytes,
            })
        })
    }

    /// When the last byte of the request head was taken.
    pub fn head_written(&self) -> Option<Stamp> {
        let mut head = self.request_head.len();
        let mut writes = self.writes.iter();
        writes
            .find(|write| {
                head = head.saturating_sub(write.bytes as usize);
                head == 0
            })
            .map(|write| write.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Stamp {
        Stamp::from_nanos(nanos)
    }

    #[test]
    fn a_phase_that_keeps_transcripts_keeps_nothing_here() {
        assert_eq!(Capture::of(Keep::Transcript), None);
        assert!(!Capture::of(Keep::Reads).unwrap().keeps_body);
        assert!(Capture::of(Keep::Bytes).unwrap().keeps_body);
    }

    #[test]
    fn chunks_of_one_read_are_one_piece() {
        let mut capture = *Capture::of(Keep::Bytes).unwrap();
        capture.read(at(5), b"ab");
        capture.read(at(5), b"c");
        capture.read(at(6), b"d");
        let reads: Vec<_> = capture.reads.iter().map(|r| (r.at, r.bytes)).collect();
        assert_eq!(reads, [(at(5), 3), (at(6), 1)]);
        assert_eq!(capture.body, b"abcd");
        let mut sizes = *Capture::of(Keep::Reads).unwrap();
        sizes.read(at(5), b"ab");
        assert_eq!((sizes.reads.len(), sizes.body.len()), (1, 0));
    }

    #[test]
    fn the_head_is_taken_off_the_writes() {
        let mut capture = *Capture::of(Keep::Reads).unwrap();
        capture.request_head = vec![b'h'; 10];
        assert_eq!(capture.head_written(), None);
        for (stamp, bytes) in [(1, 4), (2, 9), (3, 7)] {
            capture.wrote(at(stamp), bytes);
        }
        assert_eq!(capture.head_written(), Some(at(2)));
        let body: Vec<_> = capture.body_writes().map(|w| (w.at, w.bytes)).collect();
        assert_eq!(body, [(at(2), 3), (at(3), 7)]);
    }
}
