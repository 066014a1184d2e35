//! The configuration of a run: one type, [`RunConfig`], that flags, config files, sweeps and other
//! commands produce, and that a run, its files and another process take.
//!
//! Every setting is declared once, as a field of a section ([`sections`]): its type reads and
//! writes its value ([`setting::Setting`]), and each value knows where it comes from
//! ([`source::Sourced`]).

pub mod axes;
pub mod command;
pub mod config;
pub mod file;
pub mod numbers;
pub mod print;
pub mod refusal;
pub mod secret;
pub mod sections;
pub mod setting;
pub mod source;
pub mod unsupported;
pub mod wire;
pub mod words;

pub use config::{RunConfig, Typed};
pub use refusal::{Blame, Refusal};
pub use source::{Get, Given, Source, Sourced};
pub use wire::Wire;
