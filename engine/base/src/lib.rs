//! What every part of pinfire shares: the clock, randomness, limits, threads, memory, control
//! groups, the record of a request and the bodies that are ready to be sent. No runtime, no
//! sockets, no text processing.

pub mod cgroup;
pub mod clock;
pub mod limits;
pub mod memory;
pub mod random;
pub mod shard;
pub mod threads;
pub mod uuid;
pub mod wall_clock;
pub mod zone;

pub mod delay;
pub mod ready;
pub mod rope;
pub mod tokens;
pub mod url;

pub mod health;
pub mod record;
