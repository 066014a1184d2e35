//! The law of cuts over whole responses: however the bytes come, the same is seen.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail the test"
)]

mod corpus;
mod cuts;
mod generated;
mod verdicts;
