//! What a world without a kernel is like.

use super::seal::Seal;
use crate::plan::{Driver, ReceiveStamps};

pub(super) const MICRO: u64 = 1_000;
pub(super) const MILLI: u64 = 1_000_000;

/// What a world is like.
pub(super) struct Nature {
    pub(super) driver: Driver,
    pub(super) stamps: ReceiveStamps,
    /// The client stands still now and then.
    pub(super) stalls: bool,
    /// Next to no time passes while something is done, and just before a deadline something comes.
    pub(super) quick: bool,
    /// The wall clock is stepped now and then.
    pub(super) steps: bool,
    pub(super) seal: Seal,
    /// How bad networks and servers are: one in so many connects and answers goes wrong.
    pub(super) wrong: u64,
    /// Room in a socket's send buffer.
    pub(super) room: usize,
    /// Longest gap between two segments of an answer.
    pub(super) gap: u64,
}

impl Nature {
    /// Nothing goes wrong.
    pub(super) const fn calm() -> Self {
        Self {
            driver: Driver::Uring,
            stamps: ReceiveStamps::Auto,
            stalls: false,
            quick: false,
            steps: false,
            seal: Seal::Clear,
            wrong: u64::MAX / 8,
            room: 60_000,
            gap: MILLI,
        }
    }
}
