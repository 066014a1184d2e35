//! What servers really answer, and what is made of it: from the bytes on a socket to the line of
//! the record. One table (`cases.rs`, by kinds), one way to look (`play.rs`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail the test"
)]

mod cases;
mod coded;
mod errors;
mod play;

use play::Case;

/// Plays all cases of a kind and fails with all that went wrong.
fn hold(cases: Vec<Case>) {
    assert!(cases.len() >= 4, "a sample and three more of its kind");
    let wrong: Vec<String> = cases.iter().flat_map(Case::wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn several_choices() {
    hold(cases::several_choices());
}

#[test]
fn json_that_is_none() {
    hold(cases::unreadable_json());
}

#[test]
fn content_in_unusual_places() {
    hold(cases::unusual_places());
}

#[test]
fn errors_in_a_200() {
    hold(errors::in_a_200());
}

#[test]
fn ends_that_are_none() {
    hold(errors::finish_reasons());
}

#[test]
fn coded_bodies() {
    hold(coded::coded());
}

#[test]
fn bodies_with_another_label() {
    hold(coded::mislabelled());
}

#[test]
fn answers_that_say_nothing() {
    hold(errors::nothing());
}

#[test]
fn statuses_and_redirects() {
    hold(errors::statuses());
}

#[test]
fn other_protocols_on_the_port() {
    hold(errors::other_protocols());
}
