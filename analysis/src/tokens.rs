//! Token counts of requests: by the run's own counting, or as the server reports them.

use pinfire_base::tokens::TokenCounter;

use crate::reading::{Choice, Reading};

/// Token counts of one request; what is not known is absent, never zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TokenCounts {
    /// Input sequence length.
    pub input: Option<u64>,
    /// Output tokens without reasoning.
    pub output: Option<u64>,
    /// Reasoning tokens.
    pub reasoning: Option<u64>,
}

impl TokenCounts {
    /// Client counts: the entry's own length and the received text, each side encoded once. Several
    /// choices are several texts.
    pub fn of_text(counter: &dyn TokenCounter, input: Option<u32>, reading: &Reading) -> Self {
        let side = |text: &Option<String>| text.as_ref().map(|t| counter.count(t) as u64);
        let of = |one: &Option<String>, of: fn(&Choice) -> &Option<String>| {
            if reading.choices.is_empty() {
                return side(one);
            }
            let sides = reading.choices.iter().filter_map(|choice| side(of(choice)));
            sides.fold(None, |sum: Option<u64>, one| Some(sum.unwrap_or(0) + one))
        };
        Self {
            input: input.map(u64::from),
            output: of(&reading.output, |choice| &choice.output),
            reasoning: of(&reading.reasoning, |choice| &choice.reasoning),
        }
    }

    /// Server counts (`--use-server-token-count`): the usage object and nothing else.
    pub fn of_usage(reading: &Reading) -> Self {
        let Some(usage) = &reading.usage else {
            return Self::default();
        };
        Self {
            input: usage.prompt,
            // A server that reports more reasoning than completion contradicts itself; 0 is the
            // closest value that is a count.
            output: usage
                .completion
                .map(|all| all.saturating_sub(usage.reasoning.unwrap_or(0))),
            reasoning: usage.reasoning,
        }
    }

    /// Output sequence length: output and reasoning; absent only if both are.
    pub fn osl(&self) -> Option<u64> {
        match (self.output, self.reasoning) {
            (None, None) => None,
            (output, reasoning) => Some(output.unwrap_or(0) + reasoning.unwrap_or(0)),
        }
    }
}
