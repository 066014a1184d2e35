//! Tools around pinfire: the scripted server as a library, for `--url mock:`, tests and benches.
//!
//! The binaries are `pinfire-mock`, that server as a process, and `pinfire-floor`, the least work
//! with which a client can carry the same load.

pub mod cpu;
pub mod dcgm;
pub mod floor;
pub mod gateway;
pub mod mock;
pub mod proxy;
pub mod truth;
