//! The rendezvous of a run's shards, without sockets and without a clock.
//!
//! Every shard opens one connection to the leader. Over it the shard proves that it knows the
//! token, takes the run's settings, compares clocks, waits for the common start, and reports.
//! [`Leader`] and [`Shard`] are the two ends as state machines: bytes and the time go in, bytes
//! and events come out, so that every order of messages and every loss can be tested without a
//! network.
//!
//! The modules, in the order of a connection's life: [`greeting`] (who may speak at all), [`wire`]
//! (frames), [`message`] (what is said), [`clock`] (when is now at the leader), [`leader`] and
//! [`shard`].

pub mod clock;
pub mod greeting;
pub mod leader;
pub mod message;
pub mod shard;
#[cfg(test)]
mod sim;
pub mod wire;

pub use leader::Leader;
pub use shard::Shard;
