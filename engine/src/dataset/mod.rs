//! The requests of a run as ready bodies: built once, immutable, shared by all cores.
//!
//! Control plane only. Every body is a pure function of (seed, flags, file, entry index), so the
//! number of threads that build it changes nothing.

mod body;
mod count;
pub mod extra;
pub mod fixed;
pub mod inputs_json;
pub mod mooncake;
mod parallel;
mod prompt;
pub mod ready;
pub mod synthetic;
pub mod url;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::random::Purpose;
use crate::text::Warning;
use crate::text::corpus::{Corpus, CorpusError, CorpusText};
use crate::text::tokenizer::Tokenizer;
use crate::uuid::Uuid;

pub use body::{BodyOptions, EndpointKind};
pub use count::input_length;

/// One conversation of one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// From the file, else generated.
    pub session_id: String,
    /// The JSON request body, ready to be sent.
    pub body: Vec<u8>,
    /// Tokens of the body's texts by the run's tokenizer; absent without texts or tokenizer.
    pub isl: Option<u32>,
    /// The output limit that the body carries.
    pub osl: Option<u32>,
    /// When the trace wants it sent, in milliseconds of the trace's own clock.
    pub timestamp_ms: Option<f64>,
}

/// Where the entries came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Made up here.
    Synthetic,
    /// A Mooncake trace.
    MooncakeTrace,
}

/// All entries of a run, in dataset order.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The entries; never empty.
    pub entries: Vec<Entry>,
    /// Where they came from.
    pub source: Source,
    /// What the user should know about them.
    pub warnings: Vec<Warning>,
}

/// Why there is no dataset: nothing was sent, and the text says what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// The corpus is unusable with this tokenizer.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// Prompts must be made and counted, but no tokenizer was loaded.
    #[error("prompts of given lengths need a tokenizer: add `--tokenizer builtin` or another one")]
    NeedsTokenizer,
    /// No entry at all.
    #[error("{what}: there is nothing to send")]
    Empty {
        /// What is empty.
        what: String,
    },
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A line of the file is not what its format asks.
    #[error("{}:{line}: `{field}`: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The field at fault, or `line` for the whole of it.
        field: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// A fixed schedule needs a time for every entry.
    #[error(
        "session `{session}` of the dataset has no timestamp, so it has no place in a fixed schedule; \
         add --no-fixed-schedule, or a `timestamp` to its line"
    )]
    NoTimestamp {
        /// The session's id.
        session: String,
    },
    /// A body could not be written as JSON, which is our own fault.
    #[error("cannot write a request body (a bug in pinfire, please report it): {0}")]
    Body(serde_json::Error),
}

/// What every source needs to build its entries.
pub struct Build<'a> {
    /// Counts and makes prompts; without it ISL is absent and prompts cannot be made.
    pub tokenizer: Option<&'a Tokenizer>,
    /// The corpus if it was inflated beforehand, beside the loading of the tokenizer.
    pub corpus: Option<Arc<CorpusText>>,
    /// The shape of the bodies.
    pub bodies: &'a BodyOptions,
    /// The run's seed.
    pub seed: u64,
    /// The user fixed the seed: session ids are then `session_000000` and so on.
    pub fixed_seed: bool,
    /// Threads to build with.
    pub threads: usize,
}

impl Build<'_> {
    /// The tokenizer and the corpus, for a source that must make a prompt.
    fn prompt_material(&self) -> Result<(&Tokenizer, Corpus), DatasetError> {
        let tokenizer = self.tokenizer.ok_or(DatasetError::NeedsTokenizer)?;
        let text = match &self.corpus {
            Some(text) => Arc::clone(text),
            None => Arc::new(CorpusText::inflate()?),
        };
        let corpus = Corpus::new(text, tokenizer)?;
        Ok((tokenizer, corpus))
    }

    /// The id of the session at `index` when the file gives none.
    fn session_id(&self, index: usize) -> String {
        if self.fixed_seed {
            return format!("session_{index:06}");
        }
        let mut draws = Purpose::new(self.seed, "dataset.session.id").at(index as u64);
        Uuid::draw(&mut draws).to_string()
    }

    /// The finished entry. `known_tokens` is what the prompt's text counts to, which saves
    /// encoding it once more where no extra can have changed what is counted.
    fn entry(
        &self,
        session_id: String,
        body: &Map<String, Value>,
        known_tokens: Option<usize>,
        timestamp_ms: Option<f64>,
    ) -> Result<Entry, DatasetError> {
        let known = known_tokens.and_then(|tokens| u32::try_from(tokens).ok());
        let isl = known.or_else(|| input_length(body, self.tokenizer?));
        Ok(Entry {
            session_id,
            body: serde_json::to_vec(body).map_err(DatasetError::Body)?,
            isl,
            osl: body::output_limit(body),
            timestamp_ms,
        })
    }

    /// Whether these extras leave the counted texts of a body alone.
    fn keeps_texts(&self, own: Option<&Map<String, Value>>) -> bool {
        let touched = |extra: &Map<String, Value>| {
            count::COUNTED_KEYS
                .iter()
                .any(|key| extra.contains_key(*key))
        };
        !touched(&self.bodies.extra) && !own.is_some_and(touched)
    }
}
