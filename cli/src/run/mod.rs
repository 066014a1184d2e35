//! What every run needs before its first request: CPUs and descriptors, signals, servers that can
//! be reached and are ready, a dataset, an engine. [`prepared::PreparedRun`] has them together.

pub mod cpus;
pub mod dataset;
pub mod prepared;
pub mod probe;
pub mod request;
mod reused_engine;
pub mod signals;

pub use prepared::{PreparedRun, ReachableServers};
pub use reused_engine::ReusedEngine;

use anyhow::{Result, anyhow};
use pinfire_base::threads;

/// Makes a run on a thread of its own, so that what it pins stays with it.
///
/// # Errors
/// Those of the run, or that it has crashed.
pub fn alone<T: Send>(make: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let made = threads::start_in(scope, "pinfire-run", make)?;
        made.join().unwrap_or_else(|_| {
            Err(anyhow!(
                "the run crashed: this is a bug in pinfire, please report it"
            ))
        })
    })
}
