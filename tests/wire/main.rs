//! The engine against real sockets: what it sends, what it records, how it hangs up.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail the test"
)]

mod answers;
mod cancel;
mod disconnect;
mod leaving;
mod phases;
mod ropes;
mod schedules;
mod seamless;
mod stamps;
