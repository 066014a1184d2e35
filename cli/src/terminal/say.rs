//! Words to the person at the terminal, on stderr, as far as `--log-level` lets them through. A
//! stderr that nobody reads any more is no failure.
//!
//! While the whole terminal shows something else, they wait, and are written when it is given back.

use std::{
    fmt::Display,
    io::{IsTerminal, Write},
    sync::{
        Mutex,
        atomic::{AtomicU8, Ordering},
    },
};

use pinfire_guard::{shown, shown_line};

use crate::terminal::{log, progress::lock};

/// What waits, if it must.
static WAITING: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// How much is said: the level and what is above it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Where each phase stands, every second.
    Trace,
    /// What was decided, and the beginning and end of each part.
    Debug,
    /// What a user waits for.
    Info,
    /// What the user should know although it goes on.
    Warning,
    /// Why it did not work.
    Error,
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// From now on, so much is said.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Whether words of this level are said.
pub fn says(level: Level) -> bool {
    level as u8 >= LEVEL.load(Ordering::Relaxed)
}

/// Why it did not work.
pub fn error(message: impl Display) {
    log::put(log::Level::Error, &message);
    write(&one_line("error: ", message));
}

/// What the user should know although it goes on.
pub fn warning(message: impl Display) {
    log::put(log::Level::Warning, &message);
    if says(Level::Warning) {
        write(&one_line("warning: ", message));
    }
}

/// What a user waits for.
pub fn line(message: impl Display) {
    if says(Level::Info) {
        write(&message.to_string());
    }
}

/// What was decided, and the beginning and end of each part.
pub fn debug(message: impl Display) {
    if says(Level::Debug) {
        write(&one_line("debug: ", message));
    }
}

/// Where it stands.
pub fn trace(message: impl Display) {
    if says(Level::Trace) {
        write(&one_line("trace: ", message));
    }
}

/// What begins with a word about itself is one line, whatever stands in a name or in the words of a
/// server.
fn one_line(begins: &str, message: impl Display) -> String {
    shown_line(&format!("{begins}{message}")).into_owned()
}

/// The one place from which words go to stderr, without credentials and without anything that does
/// more than show.
fn write(message: &str) {
    let message = shown(message);
    if let Some(waiting) = &mut *lock(&WAITING) {
        waiting.push(message.into_owned());
        return;
    }
    crate::terminal::progress::aside(|| {
        let _ = writeln!(std::io::stderr(), "{message}");
    });
}

/// From now on lines wait, if they would go to the terminal.
pub fn hold() {
    if std::io::stderr().is_terminal() {
        *lock(&WAITING) = Some(Vec::new());
    }
}

/// The last lines that wait, at most so many.
pub fn waiting(most: usize) -> Vec<String> {
    let waiting = lock(&WAITING);
    let lines = waiting.as_deref().unwrap_or_default();
    lines
        .iter()
        .skip(lines.len().saturating_sub(most))
        .cloned()
        .collect()
}

/// Writes what has waited.
pub fn release() {
    let lines = lock(&WAITING).take();
    for held in lines.unwrap_or_default() {
        write(&held);
    }
}
