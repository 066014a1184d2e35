//! The tokenizer as the analysis asks for it: counts of texts and of whole request bodies.

use std::sync::Arc;

use pinfire_analysis::TokenCounter;
use pinfire_engine::{dataset::input_length, text::tokenizer::Tokenizer};

struct Counter(Tokenizer);

impl TokenCounter for Counter {
    fn count(&self, text: &str) -> usize {
        self.0.count(text)
    }

    fn count_body(&self, body: &[u8]) -> Option<u32> {
        let body = serde_json::from_slice(body).ok()?;
        input_length(&body, &self.0)
    }
}

/// Counts with this tokenizer.
pub fn of(tokenizer: Tokenizer) -> Arc<dyn TokenCounter> {
    Arc::new(Counter(tokenizer))
}
