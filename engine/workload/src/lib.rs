//! The workload of a run: what is said in its requests, made up or read from files, and how many
//! tokens that is.
//!
//! Control plane only: nothing here runs while requests are sent.

pub mod body_template;
pub mod dataset;
pub mod text;
