//! Rules of the source tree that neither rustc, rustfmt nor clippy checks: what
//! `docs/ARCHITECTURE.md` claims is absent, and what `CONTRIBUTING.md` asks of every file.
//!
//! Exceptions are named beside their rule, each with its reason; one that is not needed any more
//! fails too, so that the lists can only shrink.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail the test"
)]

mod circles;
mod crates;
mod pages;
mod rules;
mod source;

/// Fails with everything that is wrong, a line each.
#[track_caller]
fn nothing(wrong: &[String], rule: &str) {
    assert!(
        wrong.is_empty(),
        "{rule}\n{} of:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
