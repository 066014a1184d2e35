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
