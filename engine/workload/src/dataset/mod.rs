//! The requests of a run as ready bodies: built once, immutable, shared by all cores.
//!
//! Control plane only. Every body is a pure function of (seed, flags, file, index), so the number
//! of threads that build it changes nothing. The history of a conversation is put into its bodies
//! when they are sent, since the replies are not known before.

mod count;
pub mod file;
pub mod inputs_json;
pub mod lengths;
pub mod mooncake;
mod parallel;
mod prompt;
pub mod rankings;
mod seconds;
mod share;
mod skipped;
pub mod synthetic;
mod templated;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use pinfire_base::{
    clock::Span,
    random::Purpose,
    ready::{Ready, ReadyTurn, Splice},
    rope::Rope,
    uuid::Uuid,
};
use pinfire_dialect::{
    BodyOptions, EndpointKind,
    ask::{self, Ask},
    body::{self, Body, BodyError, BodyRef},
};
use serde_json::{Map, Value};

use crate::text::Warning;
use crate::text::corpus::{Corpus, CorpusError, CorpusText};
use crate::text::tokenizer::Tokenizer;

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
    /// one; without what `rope` puts into it.
    pub body: Vec<u8>,
    /// What of the body lies in a text that many turns share.
    pub rope: Option<Rope>,
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

impl Turn {
    /// One that another process sends: it has no body.
    const fn of_others() -> Self {
        Self {
            body: Vec::new(),
            rope: None,
            isl: None,
            osl: None,
            delay: None,
            timestamp: None,
            history: None,
        }
    }

    /// Whether another process sends it: then nothing is known of it but its times.
    pub const fn is_of_others(&self) -> bool {
        self.body.is_empty()
    }

    /// The whole body, with what its rope puts into it.
    pub fn whole(&self) -> Cow<'_, [u8]> {
        match &self.rope {
            None => Cow::Borrowed(&self.body),
            Some(rope) => Cow::Owned(rope.whole(&self.body)),
        }
    }
}

/// Where the conversations came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Made up here.
    Synthetic,
    /// A Mooncake trace.
    MooncakeTrace,
    /// A file of the format of this name.
    File(&'static str),
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

/// Conversations as the cores take them. Many long prompts of the embedded corpus share its text.
pub fn ready(conversations: Vec<Conversation>, source: Source) -> Ready {
    let ready = conversations.into_iter().map(|conversation| {
        let turns = conversation.turns.into_iter().map(|turn| ReadyTurn {
            body: turn.body,
            rope: turn.rope,
            delay: turn.delay.unwrap_or(Span::ZERO),
            at: turn.timestamp,
            history: turn.history,
        });
        (conversation.session_id, turns.collect::<Vec<_>>())
    });
    let mut ready: Vec<_> = ready.collect();
    if source == Source::Synthetic {
        let turns = ready.iter_mut().flat_map(|(_, turns)| turns);
        share::share(&mut turns.collect::<Vec<_>>());
    }
    Ready::new(ready)
}

impl Dataset {
    /// Forgets what is not sent from here.
    fn without_others(mut self, build: &Build<'_>) -> Self {
        let Some(taken) = (build.taken)(self.conversations.len()) else {
            return self;
        };
        let others = self.conversations.iter_mut().zip(taken);
        for (one, _) in others.filter(|(_, taken)| !taken) {
            for turn in &mut one.turns {
                *turn = Turn {
                    delay: turn.delay,
                    timestamp: turn.timestamp,
                    ..Turn::of_others()
                };
            }
        }
        self
    }

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
    /// More than there is memory for.
    #[error(
        "the prompts would take about {needed} of memory, and there are {available}; send fewer lines \
         or shorter ones"
    )]
    TooLarge {
        /// About what they take.
        needed: String,
        /// What there is.
        available: String,
    },
    /// The file could not be read.
    #[error("cannot read {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        cause: std::io::Error,
    },
    /// The file or folder as a whole is not what was asked for.
    #[error("{}: {reason}", path.display())]
    Unfit {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong, and what would be right.
        reason: String,
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
    /// A turn cannot be sent to this kind of endpoint.
    #[error(transparent)]
    Endpoint(#[from] BodyError),
    /// The files of a model fail on a text of the dataset.
    #[error("{0}")]
    Model(String),
    /// A body could not be written as JSON, which is our own fault.
    #[error("cannot write a request body (this is a bug in pinfire, please report it): {0}")]
    Body(serde_json::Error),
}

/// How turns come by their model, where there are several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelChoice {
    /// The n-th turn gets n mod count.
    RoundRobin,
    /// Each turn draws one.
    Random,
}

/// Which of so many conversations are sent from here; `None` for all of them.
pub type Taken<'a> = &'a (dyn Fn(usize) -> Option<Vec<bool>> + Sync);

/// Every conversation is sent from here.
pub const ALL: Taken<'static> = &|_| None;

/// What every source needs to build its conversations.
pub struct Build<'a> {
    /// Counts and makes prompts; without it ISL is absent and prompts cannot be made.
    pub tokenizer: Option<&'a Tokenizer>,
    /// The corpus if it was inflated beforehand, beside the loading of the tokenizer.
    pub corpus: Option<Arc<CorpusText>>,
    /// The shape of the bodies.
    pub bodies: &'a BodyOptions,
    /// How turns come by their model, where there are several.
    pub model_choice: ModelChoice,
    /// `--system-prompt`: in front of every conversation, before its own system message.
    pub system_prompt: Option<&'a str>,
    /// The run's seed.
    pub seed: u64,
    /// The user fixed the seed: session ids are then `session_000000` and so on.
    pub fixed_seed: bool,
    /// Of the others only the places and times are kept, so that what is random stays the same.
    pub taken: Taken<'a>,
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

    /// The body of the `number`-th turn of the dataset, with the model that it gets and the run's
    /// own system prompt.
    fn body(&self, number: usize, ask: Ask<'_>) -> Result<Body, DatasetError> {
        let joined;
        let system = match (self.system_prompt, ask.system) {
            (Some(prompt), Some(own)) => {
                joined = format!("{prompt}\n\n{own}");
                Some(joined.as_str())
            }
            (prompt, own) => prompt.or(own),
        };
        let ask = Ask { system, ..ask };
        let model = match self.model_choice {
            ModelChoice::RoundRobin => number,
            ModelChoice::Random => {
                let draws = Purpose::new(self.seed, "composer.turn.model_selection");
                draws
                    .at(number as u64)
                    .below(self.bodies.models.len() as u64) as usize
            }
        };
        Ok(self.bodies.body(model, ask)?)
    }

    /// Whether the endpoint takes conversations of several turns.
    fn converses(&self) -> bool {
        self.bodies.endpoint.row().several_turns
    }

    /// Whether the endpoint takes a system message beside the turns.
    fn sends_system(&self) -> bool {
        self.bodies.endpoint.row().takes_system_message
    }

    /// The finished turn, without its times. `known_tokens` is what the texts count to, which
    /// saves encoding them once more where no extra can have changed what is counted. With
    /// `history` it takes what was said before, in front of its own messages.
    fn turn<'b>(
        &self,
        body: impl Into<BodyRef<'b>>,
        known_tokens: Option<usize>,
        history: bool,
    ) -> Result<Turn, DatasetError> {
        let BodyRef {
            fields,
            framing,
            limit_asked,
        } = body.into();
        // What a chat template makes of the texts is only known from the body.
        let templated = self
            .tokenizer
            .is_some_and(|one| one.chat_template().is_some());
        let known = known_tokens.filter(|_| !templated);
        let known = known.and_then(|tokens| u32::try_from(tokens).ok());
        let isl = known.or_else(|| input_length(fields, self.tokenizer?));
        if let Some(fault) = self.tokenizer.and_then(Tokenizer::fault) {
            return Err(DatasetError::Model(fault));
        }
        let row = self.bodies.endpoint.row();
        let key = row.messages_key.filter(|_| history && row.several_turns);
        let (bytes, history) = body::write(fields, key, framing).map_err(DatasetError::Body)?;
        Ok(Turn {
            // A copy without the room that it was written with, which can be as much again: a run
            // of many streams holds a body for each. Shrinking in place would keep half of it.
            body: bytes.as_slice().to_vec(),
            rope: None,
            isl,
            osl: body::output_limit(fields).filter(|_| limit_asked),
            delay: None,
            timestamp: None,
            history,
        })
    }

    /// Whether these extras leave the messages to the dataset, so that history can be put there.
    fn keeps_messages(&self, own: Option<&Map<String, Value>>) -> bool {
        let key = self.bodies.endpoint.row().messages_key;
        let replaced = |extra: &Map<String, Value>| key.is_some_and(|key| extra.contains_key(key));
        !replaced(&self.bodies.extra) && !own.is_some_and(replaced)
    }

    /// Whether these extras, and the run's system prompt, leave the counted texts of a body alone.
    /// What a template makes of them is not known.
    fn keeps_texts(&self, own: Option<&Map<String, Value>>) -> bool {
        let touched = |extra: &Map<String, Value>| {
            count::COUNTED_KEYS
                .iter()
                .any(|key| extra.contains_key(*key))
        };
        self.bodies.endpoint != EndpointKind::Template
            && self.system_prompt.is_none()
            && !touched(&self.bodies.extra)
            && !own.is_some_and(touched)
    }
}

/// The body of a request of one word that asks for one token, to see whether a server answers. A
/// kind of endpoint that a plain text does not fit gets chat's, and the flag says so.
///
/// # Errors
/// It cannot be written as JSON, which is our own fault.
pub fn one_token(bodies: &BodyOptions) -> Result<(Vec<u8>, bool), DatasetError> {
    let ask = || ask::Ask {
        max_tokens: Some(1),
        ..ask::Ask::of(ask::Content::text("Hello".to_owned()))
    };
    let chat = BodyOptions {
        endpoint: EndpointKind::Chat,
        ..bodies.clone()
    };
    let (body, fits) = match bodies.body(0, ask()) {
        Ok(body) => (body, true),
        Err(_) => (chat.body(0, ask())?, false),
    };
    let bytes = serde_json::to_vec(&*body).map_err(DatasetError::Body)?;
    Ok((bytes, fits))
}

/// English text has four to five bytes per token.
const BYTES_PER_TOKEN: f64 = 5.0;

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
    let mut turns = turns;
    let warning = hold_delays(&mut turns, cap);
    let mut turns = turns.into_iter();
    let conversations = sessions
        .into_iter()
        .map(|(session_id, size)| Conversation {
            session_id,
            turns: turns.by_ref().take(size).collect(),
        })
        .collect();
    (conversations, warning)
}

/// Holds the delays of these turns to `cap`, and says what the user should know about that.
fn hold_delays<'a>(
    turns: impl IntoIterator<Item = &'a mut Turn>,
    cap: Option<Span>,
) -> Option<Warning> {
    let limit = cap.unwrap_or(LONG_DELAY);
    let mut long = 0_usize;
    for turn in turns {
        if turn.delay.is_some_and(|delay| delay > limit) {
            long += 1;
            turn.delay = cap.or(turn.delay);
        }
    }
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
    (long > 0).then_some(Warning(said))
}

/// What is said when conversations lose their history to the extras.
fn without_history() -> Warning {
    Warning(
        "an extra field replaces the dataset's `messages` (or `input`): each turn is sent as it is, \
         without system message and history"
            .to_owned(),
    )
}
