//! The terminal, taken and given back. It is given back on every way out: the end of the run, an
//! error, Ctrl-C, a panic of any thread.
//!
//! It stays in its own line discipline but for echo: Ctrl-C is a signal as ever. Ctrl-Z is off,
//! since a load that stands still measures nothing.

use std::{
    io::Write,
    os::fd::AsFd,
    sync::{
        Arc, Mutex, Once, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, Result};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

use crate::terminal::{progress::lock, say};

/// How the terminal was, while it is taken.
static TAKEN: Mutex<Option<Termios>> = Mutex::new(None);

/// The other screen, empty, without cursor.
const TAKE: &[u8] = b"\x1b[?1049h\x1b[2J\x1b[?25l";
/// Plain text, the cursor, the first screen as it was.
pub const GIVE_BACK: &[u8] = b"\x1b[0m\x1b[?25h\x1b[?1049l";

/// Set while it is taken, for signals that leave at once.
pub fn up() -> Arc<AtomicBool> {
    static UP: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    Arc::clone(UP.get_or_init(Arc::default))
}

/// Takes the terminal that standard output is.
///
/// # Errors
/// It is none, or cannot be set.
pub fn take() -> Result<()> {
    static HOOK: Once = Once::new();
    let out = std::io::stdout();
    let before = tcgetattr(out.as_fd()).context("the terminal cannot be read")?;
    let mut quiet = before.clone();
    quiet.local_modes &= !(LocalModes::ECHO | LocalModes::ICANON);
    quiet.special_codes[SpecialCodeIndex::VSUSP] = 0;
    up().store(true, Ordering::SeqCst);
    tcsetattr(out.as_fd(), OptionalActions::Now, &quiet)
        .inspect_err(|_| up().store(false, Ordering::SeqCst))
        .context("the terminal cannot be set")?;
    *lock(&TAKEN) = Some(before);
    HOOK.call_once(|| {
        let after = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            after(panic);
        }));
    });
    say::hold();
    let mut out = std::io::stdout();
    let _ = out.write_all(TAKE).and_then(|()| out.flush());
    Ok(())
}

/// Whether it is taken.
pub fn is_taken() -> bool {
    lock(&TAKEN).is_some()
}

/// Gives it back, if it is taken, and writes what has waited for that.
pub fn give_back() {
    let Some(before) = lock(&TAKEN).take() else {
        return;
    };
    let mut out = std::io::stdout();
    let _ = out.write_all(GIVE_BACK).and_then(|()| out.flush());
    // What was typed meanwhile is not for the shell.
    let _ = tcsetattr(out.as_fd(), OptionalActions::Flush, &before);
    up().store(false, Ordering::SeqCst);
    say::release();
}
