//! What every run needs before its first request: CPUs and descriptors, signals, servers that can
//! be reached and are ready, a dataset, an engine. [`prepared::PreparedRun`] has them together.

pub mod dataset;
mod kept;
pub mod place;
pub mod prepared;
pub mod probe;
pub mod request;
pub mod signals;

pub use kept::KeptEngine;
pub use prepared::{PreparedRun, ReachableServers};
