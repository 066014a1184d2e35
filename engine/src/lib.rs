//! The engine of pinfire: a plan and ready request bytes in, one record per request out.
//!
//! The modules stand in the order of the data flow; `docs/ARCHITECTURE.md` shows the picture.

pub mod clock;
pub mod limits;
pub mod random;
pub mod uuid;

pub mod dataset;
pub mod endpoint;
pub mod plan;
pub mod schedule;
pub mod text;

mod core;
mod net;
pub mod proto;
pub mod request;
mod sys;

pub use sys::restore_terminal_on;

pub mod health;
pub mod record;
pub mod run;
