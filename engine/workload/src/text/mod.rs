//! Text and tokens: the tokenizer that counts, and the prose that prompts are cut from.
//!
//! Control plane only: everything here may allocate and read files, and is done before the first
//! request. What a prompt looks like is the business of `dataset`.

pub mod corpus;
#[cfg_attr(not(feature = "hub"), path = "no_download.rs")]
mod download;
mod family;
mod guard;
mod hub;
mod jinja;
mod resolve;
pub mod template;
pub mod tokenizer;

pub use guard::runaway;
pub use resolve::{Resolved, TokenizerError, Wanted, Warning, resolve};
