//! Records in, report out: no sockets, no clock, no runtime.
//!
//! The modules stand in the order of the data flow: what is known before the run, what one
//! response says, what is measured, how it is summed up, and where it is written.

pub mod backlog;
pub mod calibration;
pub mod collect;
mod collector;
pub mod compare;
pub mod export;
pub mod facts;
pub mod goodput;
pub mod live;
pub mod metric;
pub mod page;
pub mod pool;
pub mod reading;
pub mod rebuild;
pub mod reclaim;
pub mod report;
pub mod sketch;
mod spread;
pub mod stats;
pub mod sweep;
pub mod tokens;
pub mod trace;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use collect::Progress;
pub use collector::Collector;
pub use facts::{EntryFacts, RunEnd, RunFacts};
pub use report::Report;
