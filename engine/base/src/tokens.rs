//! Counting tokens, as those who count see it: the tokenizers themselves are elsewhere.
//!
//! A count belongs to a whole text. Counting the pieces of a stream and adding them up gives
//! another number, because merges cross their borders.

/// Counts the tokens of a text, without special tokens.
pub trait TokenCounter: Send + Sync {
    /// Number of tokens of `text`.
    fn count(&self, text: &str) -> usize;

    /// Number of tokens of all texts of a request body.
    fn count_body(&self, body: &[u8]) -> Option<u32>;
}
