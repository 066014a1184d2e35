//! Text and tokens: the tokenizer that counts, and the prose that prompts are cut from.
//!
//! Control plane only: everything here may allocate and read files, and is done before the first
//! request. What a prompt looks like is the business of `dataset`.

pub mod corpus;
mod hub;
mod resolve;
pub mod tokenizer;

pub use resolve::{TokenizerError, Warning, resolve};
