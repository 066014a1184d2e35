//! The binary from its flags to its files and its exit code.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail the test"
)]

mod artifacts;
mod backlog;
mod big_pages;
mod bounds;
mod calibrate;
mod cancel_test;
mod cancellation;
mod combinations;
mod compare;
mod config;
mod datasets;
mod documented;
mod endpoints;
mod ends;
mod figures;
mod files;
mod flags_page;
mod folders;
mod gateway_table;
mod gateways;
mod hostile;
mod kinds;
mod malformed;
mod manifest;
mod merge;
mod model_files;
mod odd_answers;
mod odd_rows;
mod packages;
mod prometheus;
mod prompts;
mod python;
mod quota;
mod ready;
mod refusals;
mod rendezvous;
mod report;
mod run_files;
mod schedules;
mod screen;
mod secrets;
mod series;
mod shards;
mod stamps;
mod sweeps;
mod traces;
mod verify;
mod watch;
mod waves;

use pinfire_tests::binary::Ended;
use serde_json::Value;

/// Checks that the run's own sums agree, and gives them: sent, completed, errors, cancelled,
/// dropped.
#[track_caller]
fn sums(run: &Ended) -> [u64; 5] {
    let json = run.json();
    let accounting = &json["request_accounting"];
    assert_eq!(accounting["agrees"], Value::Bool(true), "{accounting}");
    let number = |key: &str| {
        let value = accounting[key].as_u64();
        value.unwrap_or_else(|| panic!("{key} in {accounting}"))
    };
    let sums = [
        number("due"),
        number("completed"),
        number("errors"),
        number("cancelled_by_plan"),
        number("dropped_at_end"),
    ];
    // Errors are among the completed.
    assert_eq!(sums[0], sums[1] + sums[3] + sums[4], "{accounting}");
    assert_eq!(sums[1], number("valid") + sums[2], "{accounting}");
    sums
}
