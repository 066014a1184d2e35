//! One module per subcommand.

pub mod analyze_trace;
pub mod compare;
pub mod config;
pub mod profile;
pub mod report;
