//! The requests of a run as ready bodies: built once, immutable, shared by all cores.
//!
//! Control plane only. Every body is a pure function of (seed, flags, file, index), so the number
//! of threads that build it changes nothing. The history of a conversation is put into its bodies
//! when they are sent, since the replies are not known before.

mod ask;
mod body;
mod count;
pub mod extra;
pub mod inputs_json;
pub mod lengths;
pub mod mooncake;
mod parallel;
mod prompt;
pub mod rankings;
pub mod ready;
pub mod synthetic;
mod templated;
pub mod url;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::clock::Span;
use crate::random::Purpose;
use crate::text::Warning;
use crate::text::corpus::{Corpus, CorpusError, CorpusText};
use crate::text::tokenizer::Tokenizer;
use crate::uuid::Uuid;

use self::ask::{Ask, Content};

pub use body::{BodyOptions, EndpointKind};
pub use count::input_length;

/// Requests that are sent one after the other, each after the response of the one before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversation {
    /// From the file, else generated.
    pub session_id: String,
    /// In the order of sending; never empty.
    pub turns: Vec<Turn>,
}

/// One request of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// The JSON request body of this turn alone, with the conversation's system message if it has
    /// one.
    pub body: Vec<u8>,
    /// Tokens of the texts in `body` by the run's tokenizer; absent without texts or tokenizer.
    pub isl: Option<u32>,
    /// The output limit that the body carries.
    pub osl: Option<u32>,
    /// How long after the response of the turn before it is sent; `None` for at once.
    pub delay: Option<Span>,
    /// When a fixed schedule wants it sent, from the schedule's zero point.
    pub timestamp: Option<Span>,
    /// How `body` takes the history; `None` for a turn that is complete by itself.
    pub history: Option<Splice>,
}

/// Where the history goes in a turn's body, and what of the body becomes history.
///
/// History is earlier turns' own messages and the live replies to them: JSON objects, each with a
/// comma behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splice {
    /// Where in the body the history is inserted: right before the turn's own first message,
    /// behind a system message.
    pub at: usize,
    /// The bytes of the turn's own messages, without brackets: history for the next turn.
    pub own: Range<usize>,
}

/// Where the conversations came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Made up here.
    Synthetic,
    /// A Mooncake trace.
    MooncakeTrace,
}

/// All conversations of a run, in the order in which they begin.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The conversations; never empty.
    pub conversations: Vec<Conversation>,
    /// Where they came from.
    pub source: Source,
    /// What the user should know about them.
    pub warnings: Vec<Warning>,
}

impl Dataset {
    /// All turns, conversation by conversation.
    pub fn turns(&self) -> impl Iterator<Item = &Turn> {
        self.conversations.iter().flat_map(|one| &one.turns)
    }
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
    /// No conversation at all.
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
    /// A body could not be written as JSON, which is our own fault.
    #[error("cannot write a request body (a bug in pinfire, please report it): {0}")]
    Body(serde_json::Error),
}

/// What every source needs to build its conversations.
pub struct Build<'a> {
    /// Counts and makes prompts; without it ISL is absent and prompts cannot be made.
    pub tokenizer: Option<&'a Tokenizer>,
    /// The corpus if it was inflated beforehand, beside the loading of the tokenizer.
    pub corpus: Option<Arc<CorpusText>>,
    /// The shape of the bodies.
    pub bodies: &'a BodyOptions,
    /// `--system-prompt`: in front of every conversation, before its own system message.
    pub system_prompt: Option<&'a str>,
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

    /// The body of the `number`-th turn of the dataset, with the run's own system prompt in it.
    fn body(&self, number: usize, ask: Ask<'_>) -> Map<String, Value> {
        let Some(prompt) = self.system_prompt else {
            return self.bodies.body(number, ask);
        };
        let joined;
        let mut ask = ask;
        match (&mut ask.content, ask.system) {
            (_, Some(own)) => {
                joined = format!("{prompt}\n\n{own}");
                ask.system = Some(&joined);
            }
            (Content::Messages { messages, .. }, None) if begins_with_system(messages) => {
                put_before(&mut messages[0], prompt);
            }
            _ => ask.system = Some(prompt),
        }
        self.bodies.body(number, ask)
    }

    /// The finished turn, without its times. `known_tokens` is what the texts count to, which
    /// saves encoding them once more where no extra can have changed what is counted. `own` is
    /// the number of its own first message, where history is to be put before it.
    fn turn(
        &self,
        body: &Map<String, Value>,
        known_tokens: Option<usize>,
        own: Option<usize>,
    ) -> Result<Turn, DatasetError> {
        // What a chat template makes of the texts is only known from the body.
        let templated = self
            .tokenizer
            .is_some_and(|one| one.chat_template().is_some());
        let known = known_tokens.filter(|_| !templated);
        let known = known.and_then(|tokens| u32::try_from(tokens).ok());
        let isl = known.or_else(|| input_length(body, self.tokenizer?));
        let (bytes, splice) = body::write(body, own.unwrap_or(0)).map_err(DatasetError::Body)?;
        Ok(Turn {
            body: bytes,
            isl,
            osl: body::output_limit(body),
            delay: None,
            timestamp: None,
            history: splice.filter(|_| own.is_some()),
        })
    }

    /// Whether these extras leave the messages to the dataset, so that history can be put there.
    fn keeps_messages(&self, own: Option<&Map<String, Value>>) -> bool {
        let replaced = |extra: &Map<String, Value>| extra.contains_key("messages");
        !replaced(&self.bodies.extra) && !own.is_some_and(replaced)
    }

    /// Whether these extras, and the run's system prompt, leave the counted texts of a body alone.
    fn keeps_texts(&self, own: Option<&Map<String, Value>>) -> bool {
        let touched = |extra: &Map<String, Value>| {
            count::COUNTED_KEYS
                .iter()
                .any(|key| extra.contains_key(*key))
        };
        self.system_prompt.is_none() && !touched(&self.bodies.extra) && !own.is_some_and(touched)
    }
}

fn begins_with_system(messages: &[Value]) -> bool {
    messages
        .first()
        .is_some_and(|first| first["role"] == "system")
}

/// Puts a text before a message's own content, with a blank line between.
fn put_before(message: &mut Value, text: &str) {
    match &mut message["content"] {
        Value::String(own) => *own = format!("{text}\n\n{own}"),
        Value::Array(parts) => parts.insert(0, serde_json::json!({"type": "text", "text": text})),
        other => *other = text.into(),
    }
}

/// A delay above this is worth a word when nothing holds it.
const LONG_DELAY: Span = Span::from_millis(60_000);

/// A time given in milliseconds.
fn millis(ms: f64) -> Span {
    Span::from_secs_f64(ms / 1e3)
}

/// The turns, which are in order, put into conversations of these ids and sizes; their delays held
/// to `cap`, with what the user should know about that.
fn converse(
    turns: Vec<Turn>,
    sessions: impl IntoIterator<Item = (String, usize)>,
    cap: Option<Span>,
) -> (Vec<Conversation>, Option<Warning>) {
    let limit = cap.unwrap_or(LONG_DELAY);
    let mut long = 0_usize;
    let mut turns = turns.into_iter().map(|mut turn| {
        if turn.delay.is_some_and(|delay| delay > limit) {
            long += 1;
            turn.delay = cap.or(turn.delay);
        }
        turn
    });
    let conversations = sessions
        .into_iter()
        .map(|(session_id, size)| Conversation {
            session_id,
            turns: turns.by_ref().take(size).collect(),
        })
        .collect();
    drop(turns);
    let seconds = limit.as_secs_f64();
    let said = match cap {
        Some(_) => {
            format!("{long} delays between turns were longer than {seconds} s and are held to that")
        }
        None => format!(
            "{long} delays between turns are longer than {seconds} s; \
             --inter-turn-delay-cap-seconds would hold them to less"
        ),
    };
    (conversations, (long > 0).then_some(Warning(said)))
}

/// What is said when conversations lose their history to the extras.
fn without_history() -> Warning {
    Warning(
        "the extra field `messages` replaces the dataset's messages: each turn is sent as it is, \
         without system message and history"
            .to_owned(),
    )
}
