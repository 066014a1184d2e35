//! What every run needs before its first request: CPUs and descriptors, signals, the request head,
//! servers that are ready.

pub mod place;
pub mod probe;
pub mod request;
pub mod signals;
