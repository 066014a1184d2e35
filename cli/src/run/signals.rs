//! Ctrl-C, SIGTERM and SIGHUP: the first asks for an orderly end, the second leaves at once.
//! SIGQUIT leaves at once.
//!
//! Everything happens inside the signal handlers themselves (flags and an immediate exit), so that
//! no thread that hangs, and no terminal that blocks, can keep the second one from working. An exit
//! at once gives the terminal back where the live view has it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result};
use pinfire_engine::restore_terminal_on;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXFSZ},
    flag,
};

use crate::terminal::screen::terminal;

/// Exit code of a forced end, that of a process killed by SIGKILL in a shell.
const FORCED: i32 = 137;
/// Exit code of an end before anything was sent.
const NOTHING_SENT: i32 = 1;
/// Exit code of an end by SIGQUIT, as a shell has it.
const QUIT: i32 = 131;

/// What the rest of the program sees of signals.
#[derive(Clone, Debug)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
    preparing: Arc<AtomicBool>,
}

impl Interrupt {
    /// Watches SIGINT, SIGTERM and SIGHUP. Until [`Interrupt::sending`] one of them ends the
    /// process. A SIGHUP that whoever started this has told it to ignore (`nohup`) stays ignored; a
    /// SIGINT does not, since shells start every job in the background of a script so, and
    /// `kill -INT` is meant.
    ///
    /// # Errors
    /// The handlers cannot be set.
    pub fn watch() -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        let preparing = Arc::new(AtomicBool::new(true));
        let hangup = (!is_ignored(SIGHUP)).then_some(SIGHUP);
        for signal in [SIGINT, SIGTERM].into_iter().chain(hangup) {
            // They run in this order: the first signal finds `asked` unset and sets it last.
            // Either of the two exits may find the live view up: it comes before the first request.
            let leaving = [&asked, &preparing].map(|flag| [Arc::clone(flag), terminal::up()]);
            leaving
                .into_iter()
                .try_for_each(|when| restore_terminal_on(signal, when, terminal::GIVE_BACK))
                .and_then(|()| {
                    flag::register_conditional_shutdown(signal, FORCED, Arc::clone(&asked))
                })
                .and_then(|_| {
                    let preparing = Arc::clone(&preparing);
                    flag::register_conditional_shutdown(signal, NOTHING_SENT, preparing)
                })
                .and_then(|_| flag::register(signal, Arc::clone(&asked)))
                .context("cannot watch for Ctrl-C")?;
        }
        let always = Arc::new(AtomicBool::new(true));
        let when = [Arc::clone(&always), terminal::up()];
        restore_terminal_on(SIGQUIT, when, terminal::GIVE_BACK)
            .and_then(|()| flag::register_conditional_shutdown(SIGQUIT, QUIT, always))
            .context("cannot watch for SIGQUIT")?;
        Ok(Self { asked, preparing })
    }

    /// From now on there is something to report after a Ctrl-C.
    pub fn sending(&self) {
        self.preparing.store(false, Ordering::Relaxed);
    }

    /// An orderly end was asked for.
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

/// Whether an end was asked for since this call, where nothing is left to be ended in order.
pub fn next() -> Arc<AtomicBool> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // Where it cannot be watched, the wait has an end of its own.
        let _ = flag::register(signal, Arc::clone(&asked));
    }
    asked
}

/// A file that reaches the size limit (`ulimit -f`) is a write that fails, as a full disk is, and
/// no end of the process before its results are written.
pub fn survive_size_limit() {
    // Where it cannot be watched, the signal keeps what it does.
    let _ = flag::register(SIGXFSZ, Arc::default());
}

/// Whether a signal is ignored. Nobody says so where there is no /proc.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|ignored| ignored & (1 << (signal - 1)) != 0)
}
