//! Frames: four bytes of length, little-endian, then a message.

use serde::{Serialize, de::DeserializeOwned};

/// The largest frame that a leader takes from a shard: a chunk of a file with its head.
pub const FROM_SHARD_BYTES: usize = 320 * 1024;

/// The largest frame that a shard takes from its leader: the settings of a run, whose series of
/// rates and lists of lengths are part of them.
pub const FROM_LEADER_BYTES: usize = 16 * 1024 * 1024;

const LENGTH_BYTES: usize = 4;

/// Why the bytes of a connection cannot be read any further.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WireError {
    /// The length of a frame is beyond what this side takes.
    #[error("a frame of {bytes} bytes, more than the {most} that are taken")]
    TooLong {
        /// The length that the frame claims.
        bytes: usize,
        /// The longest that is taken.
        most: usize,
    },
    /// The bytes of a frame are no message of this protocol.
    #[error("a frame that is no message of this protocol")]
    NoMessage,
}

/// A message as a frame.
pub fn frame(message: &impl Serialize) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "postcard fails only where memory does")]
    let mut bytes = postcard::to_extend(message, vec![0; LENGTH_BYTES]).expect("a message");
    let length = bytes.len() - LENGTH_BYTES;
    bytes[..LENGTH_BYTES].copy_from_slice(&(length as u32).to_le_bytes());
    bytes
}

/// What has been received of a connection and not yet been read.
#[derive(Debug)]
pub struct Inbox {
    bytes: Vec<u8>,
    /// Where the part begins that has not been read.
    at: usize,
    most: usize,
}

impl Inbox {
    /// An empty one that refuses frames of more than `most` bytes.
    pub const fn new(most: usize) -> Self {
        Self {
            bytes: Vec::new(),
            at: 0,
            most,
        }
    }

    /// Adds what has just been received.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// What has not been read.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// Takes exactly `N` bytes, if they are there.
    pub fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.rest().first_chunk::<N>().copied()?;
        self.at += N;
        Some(bytes)
    }

    /// Takes the next message, if all of it is there.
    ///
    /// # Errors
    /// The frame is too long, or is no message.
    pub fn message<M: DeserializeOwned>(&mut self) -> Result<Option<M>, WireError> {
        let Some(length) = self.rest().first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let bytes = u32::from_le_bytes(*length) as usize;
        if bytes > self.most {
            return Err(WireError::TooLong {
                bytes,
                most: self.most,
            });
        }
        let Some(body) = self.rest()[LENGTH_BYTES..].get(..bytes) else {
            return Ok(None);
        };
        let (message, left) = postcard::take_from_bytes(body).map_err(|_| WireError::NoMessage)?;
        if !left.is_empty() {
            return Err(WireError::NoMessage);
        }
        self.at += LENGTH_BYTES + bytes;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::FromShard;

    #[test]
    fn messages_come_back_at_every_cut() {
        let messages = [
            FromShard::Ping { t0: 7 },
            FromShard::Ready {
                step: 300,
                what: "a wave".to_owned(),
            },
        ];
        let bytes: Vec<u8> = messages.iter().flat_map(frame).collect();
        for cut in 0..=bytes.len() {
            let mut inbox = Inbox::new(FROM_SHARD_BYTES);
            let mut read = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                inbox.push(part);
                while let Some(message) = inbox.message::<FromShard>().unwrap() {
                    read.push(message);
                }
            }
            assert_eq!(read, messages, "cut at {cut}");
            assert!(inbox.rest().is_empty());
        }
    }

    #[test]
    fn what_is_no_message_is_refused_before_it_is_held() {
        let mut long = Inbox::new(100);
        long.push(&101_u32.to_le_bytes());
        let error = long.message::<FromShard>().unwrap_err();
        assert_eq!(
            error,
            WireError::TooLong {
                bytes: 101,
                most: 100
            }
        );
        let trailing = {
            let mut bytes = frame(&FromShard::Ready {
                step: 1,
                what: String::new(),
            });
            bytes[0] += 1;
            bytes.push(0);
            bytes
        };
        for wrong in [vec![1, 0, 0, 0, 0xff], vec![0, 0, 0, 0], trailing] {
            let mut inbox = Inbox::new(100);
            inbox.push(&wrong);
            let read = inbox.message::<FromShard>();
            assert_eq!(read, Err(WireError::NoMessage), "{wrong:?}");
        }
    }
}
