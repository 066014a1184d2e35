//! One module per subcommand.

pub mod analyze_trace;
pub mod calibrate;
pub mod cancel_test;
pub mod cluster_manifest;
pub mod compare;
pub mod config;
#[cfg_attr(not(feature = "plot"), path = "no_plot.rs")]
pub mod plot;
pub mod profile;
pub mod report;
pub mod show;
