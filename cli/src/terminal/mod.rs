//! What people read while a run goes on and after it: words, tables, bars, the dashboard, the log.

pub mod crash;
pub mod log;
pub mod progress;
pub mod say;
pub mod screen;
pub mod status_block;
pub mod stdout;
