//! The bound of everything that waits: a test that hangs ends with a text instead.

use std::{
    io::Write,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

/// Far above what any step takes on a busy machine: it tells a hang, never a slow run.
const PATIENCE: Duration = Duration::from_secs(120);

/// Ends the process if it is not dropped in time.
#[must_use = "it guards until it is dropped"]
pub struct Watchdog(#[expect(dead_code, reason = "dropping it is the message")] Sender<()>);

/// Watches over the step that `what` names until the guard is dropped.
pub fn watch(what: impl Into<String>) -> Watchdog {
    let what = what.into();
    let test = thread::current().name().unwrap_or("?").to_owned();
    let (alive, end) = mpsc::channel();
    thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(move || {
            if end.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let text = format!("\nHANG: test {test}: {what}: no end after {PATIENCE:?}\n");
                // Not `eprintln`: the test runner would keep that to itself.
                let _ = std::io::stderr().write_all(text.as_bytes());
                std::process::exit(101);
            }
        })
        .expect("a thread for the watchdog");
    Watchdog(alive)
}
