//! One module per subcommand.

pub mod analyze_trace;
pub mod profile;
pub mod report;
