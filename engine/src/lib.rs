//! The engine of pinfire: a plan and ready request bytes in, one record per request out.
//!
//! The modules stand in the order of the data flow; `docs/ARCHITECTURE.md` shows the picture.

pub mod plan;
pub mod schedule;

mod core;
mod io;
mod net;
pub mod request;
mod sys;
mod tls;

pub mod report;
pub mod run;
pub mod written;

pub use sys::{ReturnFreeMemory, restore_terminal_on};
