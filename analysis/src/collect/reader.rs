//! What is done with a record without looking at any other: its answer is read, its tokens are
//! counted.

use std::sync::Arc;

use pinfire_base::record::Record;

use crate::facts::EntryFacts;
use crate::metric::{Class, Recorded};
use crate::reading::{Reading, Rules};
use crate::tokens::TokenCounts;
use pinfire_base::tokens::TokenCounter;

static UNKNOWN: EntryFacts = EntryFacts {
    session_id: String::new(),
    turn: 0,
    isl: None,
    requested_osl: None,
};

/// One request, read and counted: what is done without looking at any other.
pub struct Read<'a> {
    /// What the engine saw.
    pub record: &'a Record,
    /// Its dataset entry.
    pub entry: &'a EntryFacts,
    /// What the server said.
    pub reading: &'a Reading,
    /// Its token counts.
    pub tokens: TokenCounts,
    /// What a file of the run says besides; absent while the run goes on.
    pub recorded: Option<Recorded<'a>>,
}

/// Reads and counts. A copy of it may work on any thread.
#[derive(Clone)]
pub struct Reader {
    rules: Arc<Rules>,
    entries: Arc<[EntryFacts]>,
    counter: Option<Arc<dyn TokenCounter>>,
}

impl Reader {
    pub(crate) fn new(
        rules: Rules,
        entries: Arc<[EntryFacts]>,
        counter: Option<Arc<dyn TokenCounter>>,
    ) -> Self {
        Self {
            rules: Arc::new(rules),
            entries,
            counter,
        }
    }

    /// Reads a record and counts its tokens.
    pub fn read(&self, record: &Record) -> (Reading, TokenCounts) {
        let reading = Reading::of(record, &self.rules);
        let tokens = self.count(record, &reading);
        (reading, tokens)
    }

    /// The dataset entry of a record.
    pub(crate) fn entry(&self, record: &Record) -> &EntryFacts {
        self.entries.get(record.entry as usize).unwrap_or(&UNKNOWN)
    }

    /// Counts tokens where anything is done with them: of answers, of what a cancelled request had
    /// received, and of what a failed one had sent.
    fn count(&self, record: &Record, reading: &Reading) -> TokenCounts {
        let class = Class::from(&reading.verdict);
        let Some(counter) = self.counter.as_deref().filter(|_| class != Class::Dropped) else {
            return match class {
                Class::Error | Class::Dropped => TokenCounts::default(),
                Class::Valid | Class::Cancelled => TokenCounts::of_usage(reading),
            };
        };
        // What was sent counts, the history of the conversation included.
        let input = match &record.body {
            Some(body) => counter.count_body(body),
            None => self.entry(record).isl,
        };
        match class {
            Class::Error | Class::Dropped => TokenCounts {
                input: input.map(u64::from),
                ..TokenCounts::default()
            },
            Class::Valid | Class::Cancelled => TokenCounts::of_text(counter, input, reading),
        }
    }
}
