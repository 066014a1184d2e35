//! Ctrl-C: the first asks for an orderly end, the second leaves at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

/// What the rest of the program sees of signals.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
    sending: Arc<AtomicBool>,
}

impl Interrupt {
    /// Watches SIGINT and SIGTERM on a thread of its own.
    ///
    /// # Errors
    /// The handlers cannot be set.
    pub fn watch() -> Result<Self> {
        let interrupt = Self::default();
        let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot watch for Ctrl-C")?;
        let seen = interrupt.clone();
        std::thread::Builder::new()
            .name("pinfire-signals".to_owned())
            .spawn(move || {
                for _ in &mut signals {
                    seen.signal();
                }
            })
            .context("cannot start the thread that watches for Ctrl-C")?;
        Ok(interrupt)
    }

    /// From now on there is something to report after a Ctrl-C.
    pub fn sending(&self) {
        self.sending.store(true, Ordering::Relaxed);
    }

    /// An orderly end was asked for.
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    fn signal(&self) {
        if !self.sending.load(Ordering::Relaxed) {
            eprintln!("error: interrupted before anything was sent");
            std::process::exit(1);
        }
        if self.asked.swap(true, Ordering::Relaxed) {
            eprintln!("Interrupted again: leaving at once, no results are written.");
            // Exit code 137, as the specification has it, whatever the other threads are doing.
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
        }
        eprintln!(
            "Cancelling: nothing new is sent, what is in flight is dropped, and what there is will \
             be written. Press Ctrl-C again to leave at once without results."
        );
    }
}
