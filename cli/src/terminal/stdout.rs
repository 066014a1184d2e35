//! Tables and lines on stdout: as wide as the terminal, plain where there is none. Nothing goes
//! there by another way, but the lines of a dry run, the completions of shells and the pictures of
//! the screen.

use std::io::{IsTerminal, Write};

use pinfire_analysis::{Report, export::Written};
use pinfire_config::words::ConsoleKind;
use pinfire_guard::painted;

/// How much of a finished run is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shows {
    /// Outcome, latencies and throughput.
    Headline,
    /// What fits a screen: these, and what there is to know beside them.
    Brief,
    /// All tables and the footer.
    Full,
}

impl Shows {
    /// What was asked for; scripts read the tables, so whatever is no terminal gets them.
    pub fn of(console: Option<ConsoleKind>, quiet: bool) -> Self {
        match console {
            _ if quiet => Self::Headline,
            Some(ConsoleKind::Headline) => Self::Brief,
            Some(ConsoleKind::Full) => Self::Full,
            None if std::io::stdout().is_terminal() => Self::Brief,
            None => Self::Full,
        }
    }
}

/// Shows a finished run. `width` is that of stdout where it is no terminal.
pub fn report(report: &Report, width: usize, written: Option<&Written>, shows: Shows) {
    text(width, |width, colour| match shows {
        Shows::Headline => report.headline(width, colour),
        Shows::Brief => report.brief(width, colour, written),
        Shows::Full => report.console(width, colour) + &report.footer(written),
    });
}

/// Shows a text that is made for a width, with styles of `pinfire_guard::style` or without.
pub fn text(width: usize, made: impl FnOnce(usize, bool) -> String) {
    let mut stdout = std::io::stdout().lock();
    let terminal = stdout.is_terminal();
    let shown = if terminal {
        terminal_width().unwrap_or(width)
    } else {
        width
    };
    let colour = terminal && colours();
    // A reader that has gone away (a closed pipe) is no failure of the run.
    let _ = stdout
        .write_all(painted(&made(shown, colour)).as_bytes())
        .and_then(|()| stdout.flush());
}

/// Shows a text as it is.
pub fn plain(words: &str) {
    text(0, |_, _| words.to_owned());
}

/// Whether a terminal may be coloured: not if `NO_COLOR` says anything (<https://no-color.org>).
pub fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|said| said.is_empty())
}

fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0).then(|| usize::from(size.ws_col))
}
