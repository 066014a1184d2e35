//! The scripted server over real loopback sockets. No time decides a test.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking, as tests do"
)]

// What a server with no faults answers, in every shape it can.
mod answers;
// Slots, clients that leave, the truth log, stale connections, large bodies.
mod capacity;
// A small blocking client, and a server with its log.
mod client;
// What goes wrong on purpose.
mod faults;
// The gateway in front: what becomes of disconnects.
mod gateway;
// Slots of clients that have left.
mod release;
