//! Servers that go wrong: one record per request with the right reason, and the run goes on.
//!
//! Every phase here passes `Run::obeys_the_laws`: counts agree and no index is missing or double.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail the test"
)]

mod backoff;
mod bytes;
mod connections;
mod endless;
mod keep_alive;
mod scripted;
mod unannounced;

use pinfire_base::record::{Failure, Outcome, Record};
use pinfire_tests::load::Run;

/// A plain answer that keeps its connection.
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn failure(record: &Record) -> Option<&Failure> {
    match &record.outcome {
        Outcome::Failed(failure) => Some(failure),
        _ => None,
    }
}

/// The failures of a run.
fn failures(run: &Run) -> Vec<&Failure> {
    run.records.iter().filter_map(failure).collect()
}
