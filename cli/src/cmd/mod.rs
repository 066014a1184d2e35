//! One module per subcommand.

pub mod analyze_trace;
pub mod config;
pub mod profile;
