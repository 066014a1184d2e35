//! What may leave the process: credentials do not, and text from outside does not as it came.
//!
//! Whoever reads a credential makes it known ([`keep`], [`keep_named`], [`keep_url`]). Whoever
//! writes takes text through one function: [`shown`] for a terminal and a log, [`cell`] for CSV,
//! [`hidden_json`] for JSON, [`hidden`] for anything else. Which names mark a credential is in
//! [`names`].

mod coded;
mod escape;
mod json;
mod known;
pub mod names;
mod shape;
mod url;

pub use escape::{ascii_json, ascii_yaml, cell, is_hostile, painted, shown, shown_line, style};
pub use json::{JsonLines, hidden_json};
pub use known::{hidden, hidden_cut, keep, keep_named};
pub use shape::hidden_by_shape;
pub use url::{Piece, keep_url, pieces, shown_url};

/// What stands in the place of a credential.
pub const HIDDEN: &str = "<redacted>";

/// Credentials that are shorter are hidden behind their names alone: everywhere else they would
/// take ordinary words with them.
pub const LEAST: usize = 6;
