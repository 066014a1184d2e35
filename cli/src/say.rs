//! Words to the person at the terminal, on stderr. A stderr that nobody reads any more is no failure.

use std::{fmt::Display, io::Write};

use crate::log::{self, Level};

/// Why it did not work.
pub fn error(message: impl Display) {
    log::put(Level::Error, &message);
    line(format_args!("error: {message}"));
}

/// What the user should know although it goes on.
pub fn warning(message: impl Display) {
    log::put(Level::Warning, &message);
    line(format_args!("warning: {message}"));
}

/// Anything else.
pub fn line(message: impl Display) {
    let _ = writeln!(std::io::stderr(), "{message}");
}
