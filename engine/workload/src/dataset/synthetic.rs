//! Synthetic conversations of prompts of wanted lengths: each prompt is a pure function of (seed,
//! its place among all turns).

use pinfire_base::{clock::Span, random::Purpose};

use pinfire_dialect::ask::{Ask, Content, Media, TurnContent};

use super::lengths::{LengthDraws, Lengths};
use super::parallel::map_indexed;
use super::prompt::{exact_behind, exact_prompt, sample_length};
use super::rankings::{Rankings, RankingsSpec};
use super::templated::{self, Cost};
use super::{
    BYTES_PER_TOKEN, Build, Dataset, DatasetError, EndpointKind, Source, Turn, converse, millis,
    without_history,
};
use crate::text::Warning;
use crate::text::corpus::Corpus;
use crate::text::tokenizer::Tokenizer;

/// Times a prompt is made again until it has its length with the chat template around it.
const TEMPLATE_ROUNDS: usize = 5;

/// How many conversations of how many prompts, and how long these and their answers are. Lengths
/// are tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct SyntheticSpec {
    /// Conversations to make.
    pub count: usize,
    /// Mean input length.
    pub isl_mean: u32,
    /// Deviation of the input length; below 1 is none.
    pub isl_stddev: f64,
    /// Mean output limit; `None` or 0 sends no limit.
    pub osl_mean: Option<u32>,
    /// Deviation of the output limit; below 1 is none.
    pub osl_stddev: f64,
    /// Turns per conversation, and the delays between them.
    pub turns: TurnSpec,
    /// Length of the system message that all conversations share (chat only).
    pub system_length: Option<u32>,
    /// What lengths are drawn from instead of these means.
    pub lengths: Lengths,
    /// Texts of one turn; below 1 is 1.
    pub texts: usize,
    /// Prefixes of the first turns.
    pub prefixes: Option<PrefixSpec>,
    /// Length of the user message that goes before all turns of a conversation, each its own (chat
    /// only).
    pub user_context_length: Option<u32>,
    /// A query and passages instead of prompts.
    pub rankings: Option<RankingsSpec>,
}

/// What a dataset takes, about; however large its numbers are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    /// Tokens of its longest text, taken a deviation above the mean.
    pub longest: f64,
    /// Bytes of memory.
    pub bytes: f64,
}

impl SyntheticSpec {
    /// What it takes, from its numbers alone.
    pub fn extent(&self) -> Extent {
        // What surrounds the texts of a turn, and its places in the lists of those who send and
        // count.
        const TURN: f64 = 600.0;
        let isl = match &self.lengths {
            Lengths::Normal => f64::from(self.isl_mean) + self.isl_stddev,
            Lengths::Pairs(pairs) => {
                let isl = pairs
                    .iter()
                    .map(|pair| f64::from(pair.isl) + pair.isl_stddev);
                isl.fold(0.0, f64::max)
            }
            Lengths::Uniform { isl, .. } => f64::from(isl.high),
        };
        let length = |tokens: Option<u32>| tokens.map_or(0.0, f64::from);
        let (system, context) = (length(self.system_length), length(self.user_context_length));
        let prefix = self.prefixes.map_or(0.0, |prefix| f64::from(prefix.length));
        let pool = self.prefixes.map_or(0.0, |prefix| prefix.count as f64);
        let (longest, own) = match &self.rankings {
            Some(rankings) => rankings.extent(),
            None => (isl, isl * self.texts.max(1) as f64),
        };
        let conversations = self.count as f64;
        let turns = conversations * (f64::from(self.turns.mean) + self.turns.stddev);
        let tokens = turns * (own + system + context + prefix)
            + conversations * context
            // Of each prefix there are also its tokens.
            + pool * 2.0 * prefix;
        Extent {
            longest: [longest, system, context, prefix]
                .into_iter()
                .fold(0.0, f64::max),
            bytes: tokens * BYTES_PER_TOKEN + turns * TURN + pool * TURN,
        }
    }
}

/// Prefixes, of which each conversation draws one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixSpec {
    /// How many there are, at least 1.
    pub count: usize,
    /// Length of each in tokens.
    pub length: u32,
}

/// How many turns a conversation has, and how long a turn waits for the one before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TurnSpec {
    /// Mean number of turns.
    pub mean: u32,
    /// Deviation of that number; below 1 is none.
    pub stddev: f64,
    /// Mean delay in milliseconds; 0 is no delay.
    pub delay_mean_ms: f64,
    /// Deviation of the delay in milliseconds; below 1 is none.
    pub delay_stddev_ms: f64,
    /// Every delay is multiplied by it.
    pub delay_ratio: f64,
    /// The longest delay.
    pub delay_cap: Option<Span>,
}

impl TurnSpec {
    /// The delay drawn at this place, if there are delays at all.
    fn delay(&self, purpose: &Purpose, at: u64) -> Option<Span> {
        // As any length: cut to a whole number first, then drawn, at least 1.
        let mean = self.delay_mean_ms as u32;
        (self.delay_mean_ms > 0.0).then(|| {
            let drawn = sample_length(&mut purpose.at(at), mean, self.delay_stddev_ms);
            millis(f64::from(drawn) * self.delay_ratio)
        })
    }
}

/// The output limits of turns that bring none of their own.
pub(super) struct OutputLimits {
    purpose: Purpose,
    mean: Option<u32>,
    deviation: f64,
}

impl OutputLimits {
    pub(super) fn new(seed: u64, mean: Option<u32>, deviation: f64) -> Self {
        Self {
            purpose: Purpose::new(seed, "composer.turn.max_tokens"),
            mean: mean.filter(|&mean| mean > 0),
            deviation,
        }
    }

    pub(super) fn at(&self, index: usize) -> Option<u32> {
        let mut draws = self.purpose.at(index as u64);
        self.mean
            .map(|mean| sample_length(&mut draws, mean, self.deviation))
    }
}

/// Makes the prompts and their bodies; `progress` is told (done, total) from the calling thread.
///
/// # Errors
/// Without a tokenizer, or when no conversation is asked for.
pub fn build(
    spec: &SyntheticSpec,
    build: &Build<'_>,
    progress: &dyn Fn(usize, usize),
) -> Result<Dataset, DatasetError> {
    if spec.count == 0 {
        return Err(DatasetError::Empty {
            what: "a synthetic dataset of 0 conversations".to_owned(),
        });
    }
    let (tokenizer, corpus) = build.prompt_material()?;
    let purpose = |name| Purpose::new(build.seed, name);
    let sizes = turn_counts(spec, purpose("composer.conversation.turn_count"));
    let sized = sizes.iter().enumerate();
    let places: Vec<Place> = sized
        .flat_map(|(conversation, &size)| Place::all_of(conversation, size))
        .collect();
    let taken = (build.taken)(spec.count);
    let maker = Maker::new(spec, build, tokenizer, &corpus, taken.as_deref())?;
    let turn = |index| maker.turn(index, places[index]);
    let turns = map_indexed(places.len(), build.threads, turn, progress)?;
    let longest = turns.iter().filter_map(|turn| turn.isl).max().unwrap_or(0);
    let sessions = sizes.iter().enumerate();
    let sessions = sessions.map(|(index, &size)| (build.session_id(index), size));
    let (conversations, warning) = converse(turns, sessions, spec.turns.delay_cap);
    let mut warnings = Vec::from_iter(warning);
    if !maker.keeps_messages && (maker.framing() > 0 || places.len() > spec.count) {
        warnings.push(without_history());
    }
    // A prompt longer than the corpus has used all of it.
    if let Some(size) = corpus
        .whole_size()
        .filter(|&size| (longest as usize) > size)
    {
        warnings.push(Warning(format!(
            "the longest prompt has {longest} tokens, more than the {size} of the embedded text: \
             it repeats itself"
        )));
    }
    Ok(Dataset {
        conversations,
        source: Source::Synthetic,
        warnings,
    })
}

/// What all turns of a dataset are made from.
struct Maker<'a> {
    spec: &'a SyntheticSpec,
    build: &'a Build<'a>,
    tokenizer: &'a Tokenizer,
    corpus: &'a Corpus,
    lengths: LengthDraws<'a>,
    texts: Purpose,
    delays: Purpose,
    prefix_choice: Purpose,
    rankings: Option<Rankings<'a>>,
    system: Option<String>,
    /// Of each conversation, or none.
    contexts: Vec<String>,
    /// Tokens of each prefix.
    prefixes: Vec<Vec<u32>>,
    /// Which conversations are sent from here, if not all of them.
    taken: Option<&'a [bool]>,
    /// What the chat template adds, if it is counted.
    cost: Option<Cost>,
    keeps_messages: bool,
}

impl<'a> Maker<'a> {
    fn new(
        spec: &'a SyntheticSpec,
        build: &'a Build<'a>,
        tokenizer: &'a Tokenizer,
        corpus: &'a Corpus,
        taken: Option<&'a [bool]>,
    ) -> Result<Self, DatasetError> {
        let purpose = |name| Purpose::new(build.seed, name);
        let text = |name, at, length: u32| {
            exact_prompt(
                tokenizer,
                corpus,
                &mut purpose(name).at(at),
                length as usize,
            )
            .text
        };
        let several = |name, count: usize, length: u32| {
            let one = |index| Ok::<_, DatasetError>(text(name, index as u64, length));
            map_indexed(count, build.threads, one, &|_, _| {})
        };
        let contexts = match spec.user_context_length {
            Some(length) => {
                let one = |index| {
                    let own = is_taken(taken, index);
                    let made = || text("dataset.prompt.user_context", index as u64, length);
                    Ok::<_, DatasetError>(own.then(made).unwrap_or_default())
                };
                map_indexed(spec.count, build.threads, one, &|_, _| {})?
            }
            None => Vec::new(),
        };
        let prefixes = match spec.prefixes {
            Some(prefix) => several("dataset.prompt.prefix", prefix.count, prefix.length)?,
            None => Vec::new(),
        };
        let cost = templated::cost(tokenizer).filter(|_| has_messages(build.bodies.endpoint));
        // A template writes out the special tokens that a server would add.
        let special = match cost {
            Some(_) => 0,
            None => u32::try_from(tokenizer.special_per_sequence()).unwrap_or(u32::MAX),
        };
        Ok(Self {
            spec,
            build,
            tokenizer,
            corpus,
            lengths: LengthDraws::new(spec, build.seed, special),
            texts: purpose("dataset.prompt.corpus"),
            delays: purpose("composer.conversation.turn_delay"),
            prefix_choice: purpose("dataset.prompt.prefix.choice"),
            rankings: spec
                .rankings
                .map(|rankings| Rankings::new(rankings, build.seed, tokenizer, corpus)),
            system: spec
                .system_length
                .map(|length| text("dataset.prompt.system", 0, length)),
            contexts,
            taken,
            prefixes: prefixes.iter().map(|text| tokenizer.encode(text)).collect(),
            cost,
            keeps_messages: build.keeps_messages(None),
        })
    }

    /// Messages before a turn's own.
    fn framing(&self) -> usize {
        let system = self.system.is_some() || self.build.system_prompt.is_some();
        usize::from(system) + usize::from(!self.contexts.is_empty())
    }

    fn turn(&self, index: usize, place: Place) -> Result<Turn, DatasetError> {
        let turn = match is_taken(self.taken, place.conversation) {
            true => self.asking(index, place)?,
            false => Turn::of_others(),
        };
        Ok(Turn {
            delay: self
                .spec
                .turns
                .delay(&self.delays, index as u64)
                .filter(|_| !place.first),
            ..turn
        })
    }

    /// The turn without its times.
    fn asking(&self, index: usize, place: Place) -> Result<Turn, DatasetError> {
        let drawn = self.lengths.at(index);
        let cost = self.cost.map_or(0, |cost| match place.first {
            true => cost.first,
            false => cost.later,
        });
        let shrunk = |isl: u32, by: i64| u32::try_from(i64::from(isl) - by).unwrap_or(0).max(1);
        let prefix = self.prefix(place);
        let make = |by: i64| {
            let lengths = drawn.isl.iter().map(|&isl| shrunk(isl, by));
            self.made(index, place, lengths, prefix, drawn.osl)
        };
        let mut by = i64::from(cost);
        let mut turn = make(by)?;
        // A text and what the template puts around it need not encode as the one and the other.
        if self.cost.is_some()
            && place.first
            && self.framing() == 0
            && let [isl] = drawn.isl[..]
        {
            let wanted = i64::from(isl) + prefix.len() as i64;
            for _ in 0..TEMPLATE_ROUNDS {
                let off = turn.isl.map_or(0, |isl| i64::from(isl) - wanted);
                if off == 0 || shrunk(isl, by + off) == shrunk(isl, by) {
                    break;
                }
                by += off;
                turn = make(by)?;
            }
        }
        Ok(turn)
    }

    /// The tokens that go before the texts of this turn.
    fn prefix(&self, place: Place) -> &[u32] {
        if !place.first {
            return &[];
        }
        let mut draws = self.prefix_choice.at(place.conversation as u64);
        let choice = draws.below(self.prefixes.len() as u64) as usize;
        self.prefixes.get(choice).map_or(&[], Vec::as_slice)
    }

    /// The turn with texts of these lengths.
    fn made(
        &self,
        index: usize,
        place: Place,
        lengths: impl Iterator<Item = u32>,
        prefix: &[u32],
        max_tokens: Option<u32>,
    ) -> Result<Turn, DatasetError> {
        let mut known = None;
        let said = match &self.rankings {
            Some(rankings) => rankings.said(index as u64),
            None => {
                let mut draws = self.texts.at(index as u64);
                let mut prompts = lengths.map(|length| {
                    let (draws, length) = (&mut draws, length as usize);
                    exact_behind(self.tokenizer, self.corpus, draws, prefix, length)
                });
                let first = prompts.next();
                known = first.as_ref().map(|prompt| prompt.tokens);
                let contents: Vec<String> = first
                    .into_iter()
                    .chain(prompts)
                    .map(|one| one.text)
                    .collect();
                // Several texts are counted joined, and what that gives is not known.
                known = known.filter(|_| contents.len() == 1);
                TurnContent {
                    texts: vec![Media {
                        name: String::new(),
                        contents,
                    }],
                    ..TurnContent::default()
                }
            }
        };
        let ask = Ask {
            system: self.system.as_deref(),
            user_context: self.contexts.get(place.conversation).map(String::as_str),
            max_tokens,
            ..Ask::of(Content::TurnContent(said))
        };
        let body = self.build.body(index, ask)?;
        let known = known.filter(|_| self.framing() == 0 && self.build.keeps_texts(None));
        self.build
            .turn(&body, known, place.of_many && self.keeps_messages)
    }
}

/// Whether bodies of this kind hold chat messages, which a template can write out.
fn has_messages(kind: EndpointKind) -> bool {
    kind.row().messages_key.is_some()
}

/// Whether a conversation is sent from here.
fn is_taken(taken: Option<&[bool]>, conversation: usize) -> bool {
    taken.is_none_or(|taken| taken.get(conversation).copied().unwrap_or(false))
}

/// The number of turns of each conversation.
fn turn_counts(spec: &SyntheticSpec, purpose: Purpose) -> Vec<usize> {
    let TurnSpec { mean, stddev, .. } = spec.turns;
    let draw = |index| sample_length(&mut purpose.at(index as u64), mean, stddev) as usize;
    (0..spec.count).map(draw).collect()
}

/// What a turn is in its conversation.
#[derive(Clone, Copy)]
struct Place {
    conversation: usize,
    first: bool,
    of_many: bool,
}

impl Place {
    /// The places in a conversation of `size` turns.
    fn all_of(conversation: usize, size: usize) -> impl Iterator<Item = Self> {
        (0..size).map(move |turn| Self {
            conversation,
            first: turn == 0,
            of_many: size > 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pinfire_dialect::BodyOptions;
    use serde_json::{Map, Value, json};
    use std::path::Path;

    const SPEC: SyntheticSpec = SyntheticSpec {
        count: 40,
        isl_mean: 60,
        isl_stddev: 20.0,
        osl_mean: Some(30),
        osl_stddev: 5.0,
        turns: ONE_TURN,
        system_length: None,
        lengths: Lengths::Normal,
        texts: 1,
        prefixes: None,
        user_context_length: None,
        rankings: None,
    };

    const ONE_TURN: TurnSpec = TurnSpec {
        mean: 1,
        stddev: 0.0,
        delay_mean_ms: 0.0,
        delay_stddev_ms: 0.0,
        delay_ratio: 1.0,
        delay_cap: None,
    };

    fn made(spec: &SyntheticSpec, threads: usize, fixed_seed: bool, extra: Value) -> Dataset {
        made_with(
            &Tokenizer::builtin().unwrap(),
            spec,
            threads,
            fixed_seed,
            extra,
        )
    }

    fn made_with(
        tokenizer: &Tokenizer,
        spec: &SyntheticSpec,
        threads: usize,
        fixed_seed: bool,
        extra: Value,
    ) -> Dataset {
        let run = Run {
            threads,
            fixed_seed,
            extra,
            ..RUN
        };
        run.made(tokenizer, spec)
    }

    /// What else decides a dataset.
    struct Run {
        endpoint: EndpointKind,
        threads: usize,
        fixed_seed: bool,
        seed: u64,
        system_prompt: Option<&'static str>,
        extra: Value,
        taken: crate::dataset::Taken<'static>,
    }

    const RUN: Run = Run {
        endpoint: EndpointKind::Chat,
        threads: 2,
        fixed_seed: true,
        seed: 42,
        system_prompt: None,
        extra: Value::Null,
        taken: crate::dataset::ALL,
    };

    impl Run {
        fn made(&self, tokenizer: &Tokenizer, spec: &SyntheticSpec) -> Dataset {
            let bodies = BodyOptions {
                endpoint: self.endpoint,
                models: vec!["m".into()],
                streaming: true,
                extra: self.extra.as_object().cloned().unwrap_or_default(),
                ..BodyOptions::default()
            };
            let context = Build {
                tokenizer: Some(tokenizer),
                corpus: None,
                bodies: &bodies,
                model_choice: crate::dataset::ModelChoice::RoundRobin,
                system_prompt: self.system_prompt,
                seed: self.seed,
                fixed_seed: self.fixed_seed,
                taken: self.taken,
                threads: self.threads,
            };
            build(spec, &context, &|_, _| {}).unwrap()
        }
    }

    #[test]
    fn threads_and_count_change_no_conversation() {
        let one = made(&SPEC, 1, true, json!({}));
        let four = made(&SPEC, 4, true, json!({}));
        assert_eq!(one.conversations, four.conversations);
        let fewer = made(&SyntheticSpec { count: 7, ..SPEC }, 2, true, json!({}));
        assert_eq!(one.conversations[..7], fewer.conversations[..]);
        let lengths: Vec<_> = one.turns().map(|turn| turn.isl).collect();
        assert_ne!(lengths[0], lengths[1], "lengths vary");
        assert!(one.turns().all(|turn| turn.history.is_none()));
    }

    /// Conversations that others send cost nothing, and change nothing.
    #[test]
    fn what_others_send_is_not_made() {
        let tokenizer = Tokenizer::builtin().unwrap();
        let spec = SyntheticSpec {
            turns: TurnSpec {
                mean: 3,
                stddev: 1.0,
                delay_mean_ms: 50.0,
                delay_stddev_ms: 20.0,
                ..ONE_TURN
            },
            user_context_length: Some(20),
            ..SPEC
        };
        let all = RUN.made(&tokenizer, &spec);
        let run = Run {
            taken: &|count| Some((0..count).map(|one| one % 3 == 1).collect()),
            ..RUN
        };
        let own = run.made(&tokenizer, &spec);
        let pairs = all.conversations.iter().zip(&own.conversations);
        for (number, (whole, own)) in pairs.enumerate() {
            if number % 3 == 1 {
                assert_eq!(whole, own);
                continue;
            }
            assert_eq!(whole.session_id, own.session_id);
            assert_eq!(whole.turns.len(), own.turns.len());
            for (whole, own) in whole.turns.iter().zip(&own.turns) {
                assert!(own.is_of_others() && own.isl.is_none());
                assert_eq!(whole.delay, own.delay);
            }
        }
    }

    #[test]
    fn bodies_hold_what_the_entry_says() {
        let tokenizer = Tokenizer::builtin().unwrap();
        for entry in made(&SPEC, 2, true, json!({})).turns() {
            let body: Map<String, Value> = serde_json::from_slice(&entry.body).unwrap();
            assert_eq!(crate::dataset::input_length(&body, &tokenizer), entry.isl);
            assert_eq!(
                body["max_completion_tokens"].as_u64(),
                entry.osl.map(u64::from)
            );
        }
    }

    #[test]
    fn session_ids_by_kind_of_seed() {
        let fixed = made(&SPEC, 1, true, json!({}));
        assert_eq!(fixed.conversations[3].session_id, "session_000003");
        let random = made(&SPEC, 1, false, json!({}));
        assert_eq!(random.conversations[3].session_id.len(), 36);
        assert_ne!(
            random.conversations[3].session_id,
            random.conversations[4].session_id
        );
        assert_eq!(fixed.conversations[3].turns, random.conversations[3].turns);
    }

    #[test]
    fn an_extra_that_replaces_the_text_is_counted() {
        let extra =
            json!({"messages": [{"role": "user", "content": "hello world"}], "max_tokens": 9});
        let spec = SyntheticSpec {
            osl_mean: Some(0),
            ..SPEC
        };
        let entry = &made(&spec, 1, true, extra).conversations[0].turns[0];
        assert_eq!((entry.isl, entry.osl), (Some(2), Some(9)));
    }

    #[test]
    fn a_model_with_bos_gets_shorter_texts() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/test/wordlevel");
        let tokenizer = Tokenizer::from_path(&folder, "tiny").unwrap();
        let spec = SyntheticSpec {
            count: 3,
            isl_stddev: 0.0,
            ..SPEC
        };
        for entry in made_with(&tokenizer, &spec, 1, true, json!({})).turns() {
            let body: Map<String, Value> = serde_json::from_slice(&entry.body).unwrap();
            assert_eq!(crate::dataset::input_length(&body, &tokenizer), entry.isl);
        }
    }

    fn messages(turn: &Turn) -> Vec<Value> {
        let body: Value = serde_json::from_slice(&turn.body).unwrap();
        body["messages"].as_array().unwrap().clone()
    }

    #[test]
    fn conversations_of_drawn_sizes_and_delays() {
        let turns = TurnSpec {
            mean: 4,
            stddev: 2.0,
            delay_mean_ms: 500.0,
            delay_stddev_ms: 100.0,
            delay_ratio: 0.5,
            delay_cap: Some(Span::from_millis(250)),
        };
        let dataset = made(&SyntheticSpec { turns, ..SPEC }, 3, true, json!({}));
        assert_eq!(dataset.conversations.len(), 40);
        let fewer = SyntheticSpec {
            turns,
            count: 9,
            ..SPEC
        };
        let fewer = made(&fewer, 1, true, json!({})).conversations;
        assert_eq!(dataset.conversations[..9], fewer);
        let sizes: Vec<usize> = dataset
            .conversations
            .iter()
            .map(|c| c.turns.len())
            .collect();
        assert!(sizes.iter().all(|&size| size >= 1), "{sizes:?}");
        let mean = sizes.iter().sum::<usize>() as f64 / 40.0;
        assert!((3.5..5.5).contains(&mean), "rounded up: {mean}");
        let mut delays = Vec::new();
        for conversation in &dataset.conversations {
            assert_eq!(conversation.turns[0].delay, None);
            delays.extend(
                conversation.turns[1..]
                    .iter()
                    .map(|turn| turn.delay.unwrap()),
            );
            for turn in &conversation.turns {
                assert_eq!(turn.history.is_some(), conversation.turns.len() > 1);
            }
        }
        let cap = Span::from_millis(250);
        assert!(
            delays
                .iter()
                .all(|delay| (Span::from_millis(50)..=cap).contains(delay))
        );
        let held = delays.iter().filter(|&&delay| delay == cap).count();
        assert!(
            held > 20 && held < delays.len(),
            "{held} of {}",
            delays.len()
        );
        assert!(
            dataset.warnings[0].0.contains("0.25 s"),
            "{:?}",
            dataset.warnings
        );
        // What the first turns say does not depend on how many there are.
        let single = made(&SPEC, 1, true, json!({}));
        assert!(
            single
                .turns()
                .zip(dataset.turns())
                .all(|(a, b)| a.body == b.body)
        );
    }

    #[test]
    fn a_delay_below_a_millisecond_is_one_millisecond() {
        let turns = TurnSpec {
            mean: 2,
            delay_mean_ms: 0.9,
            ..ONE_TURN
        };
        let dataset = made(
            &SyntheticSpec {
                turns,
                count: 1,
                ..SPEC
            },
            1,
            true,
            json!({}),
        );
        let delays: Vec<_> = dataset.turns().map(|turn| turn.delay).collect();
        assert_eq!(delays, [None, Some(Span::from_millis(1))]);
    }

    #[test]
    fn one_system_message_of_the_exact_length_for_all() {
        let tokenizer = Tokenizer::builtin().unwrap();
        let turns = TurnSpec {
            mean: 2,
            ..ONE_TURN
        };
        let spec = SyntheticSpec {
            turns,
            count: 3,
            system_length: Some(77),
            ..SPEC
        };
        let dataset = made(&spec, 2, true, json!({}));
        let alone = made(
            &SyntheticSpec {
                system_length: None,
                ..spec
            },
            2,
            true,
            json!({}),
        );
        for (turn, bare) in dataset.turns().zip(alone.turns()) {
            let said = messages(turn);
            assert_eq!(said[0]["role"], "system");
            assert_eq!(tokenizer.count(said[0]["content"].as_str().unwrap()), 77);
            assert_eq!(said[0], messages(dataset.turns().next().unwrap())[0]);
            assert_eq!(said[1..], messages(bare), "the prompts stay as they are");
            let own = &turn.body[turn.history.as_ref().unwrap().own.clone()];
            assert_eq!(serde_json::from_slice::<Value>(own).unwrap(), said[1]);
            assert!(
                turn.isl.unwrap() >= bare.isl.unwrap() + 76,
                "it adds to the length"
            );
        }
    }

    #[test]
    fn extras_that_replace_the_messages_take_the_history_away() {
        let turns = TurnSpec {
            mean: 2,
            ..ONE_TURN
        };
        let extra = json!({"messages": [{"role": "user", "content": "x"}]});
        let dataset = made(&SyntheticSpec { turns, ..SPEC }, 1, true, extra);
        assert!(dataset.turns().all(|turn| turn.history.is_none()));
        assert!(
            dataset.warnings[0].0.contains("`messages`"),
            "{:?}",
            dataset.warnings
        );
    }

    fn content(message: &Value) -> &str {
        message["content"].as_str().unwrap()
    }

    /// A seed of its own is what keeps a run from the cache of the run before it. (Two of many
    /// texts may begin at one place of the corpus by chance; with these seeds none do.)
    #[test]
    fn another_seed_shares_no_text_and_the_same_seed_all() {
        let tokenizer = Tokenizer::builtin().unwrap();
        let everything = SyntheticSpec {
            system_length: Some(50),
            user_context_length: Some(40),
            ..SPEC
        };
        let prefixed = SyntheticSpec {
            prefixes: Some(PrefixSpec {
                count: 3,
                length: 30,
            }),
            ..SPEC
        };
        let ranked = SyntheticSpec {
            rankings: Some(RankingsSpec::default()),
            ..SPEC
        };
        for spec in [everything, prefixed, ranked] {
            let of_seed = |seed| Run { seed, ..RUN }.made(&tokenizer, &spec).conversations;
            let (one, again, other) = (of_seed(3), of_seed(3), of_seed(4));
            assert_eq!(one, again);
            let starts = |all: &[crate::dataset::Conversation]| -> Vec<String> {
                let said = all.iter().flat_map(|one| messages(&one.turns[0]));
                let texts = said.flat_map(|message| match &message["content"] {
                    Value::String(text) => vec![text.clone()],
                    parts => {
                        let parts = parts.as_array().unwrap().iter();
                        parts
                            .map(|part| part["text"].as_str().unwrap().to_owned())
                            .collect()
                    }
                });
                texts.map(|text| text.chars().take(90).collect()).collect()
            };
            let others = starts(&other);
            let shared: Vec<_> = starts(&one)
                .into_iter()
                .filter(|start| others.contains(start))
                .collect();
            assert_eq!(shared, [""; 0]);
        }
    }

    #[test]
    fn prefixes_go_before_first_turns_and_add_their_length() {
        let tokenizer = Tokenizer::builtin().unwrap();
        let turns = TurnSpec {
            mean: 2,
            ..ONE_TURN
        };
        let prefixes = PrefixSpec {
            count: 3,
            length: 25,
        };
        let spec = SyntheticSpec {
            turns,
            isl_stddev: 0.0,
            prefixes: Some(prefixes),
            ..SPEC
        };
        let dataset = made(&spec, 2, true, json!({}));
        let mut seen = std::collections::BTreeMap::new();
        for conversation in &dataset.conversations {
            let [first, second] = &conversation.turns[..] else {
                panic!("two turns");
            };
            assert_eq!((first.isl, second.isl), (Some(85), Some(60)));
            let text = messages(first);
            let ids = tokenizer.encode(content(&text[0]));
            *seen.entry(tokenizer.decode(&ids[..20])).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 3, "drawn with replacement: {seen:?}");
    }

    #[test]
    fn every_conversation_has_a_context_of_its_own() {
        let tokenizer = Tokenizer::builtin().unwrap();
        let turns = TurnSpec {
            mean: 2,
            ..ONE_TURN
        };
        let spec = SyntheticSpec {
            turns,
            count: 4,
            system_length: Some(10),
            user_context_length: Some(33),
            ..SPEC
        };
        let dataset = made(&spec, 2, true, json!({}));
        let mut contexts = Vec::new();
        for conversation in &dataset.conversations {
            let said: Vec<_> = conversation.turns.iter().map(messages).collect();
            for (said, turn) in said.iter().zip(&conversation.turns) {
                let roles: Vec<_> = said
                    .iter()
                    .map(|one| one["role"].as_str().unwrap())
                    .collect();
                assert_eq!(roles, ["system", "user", "user"]);
                assert_eq!(tokenizer.count(content(&said[1])), 33);
                let own = &turn.body[turn.history.as_ref().unwrap().own.clone()];
                assert_eq!(serde_json::from_slice::<Value>(own).unwrap(), said[2]);
            }
            assert_eq!(said[0][1], said[1][1], "in every request of the session");
            contexts.push(said[0][1].clone());
        }
        contexts.dedup();
        assert_eq!(contexts.len(), 4);
    }

    #[test]
    fn several_texts_of_a_turn() {
        let tokenizer = Tokenizer::builtin().unwrap();
        let spec = SyntheticSpec {
            count: 2,
            isl_stddev: 0.0,
            texts: 3,
            ..SPEC
        };
        let chat = made(&spec, 1, true, json!({}));
        for turn in chat.turns() {
            let said = messages(turn);
            let parts = said[0]["content"].as_array().unwrap();
            assert_eq!(parts.len(), 3);
            for part in parts {
                assert_eq!(tokenizer.count(part["text"].as_str().unwrap()), 60);
            }
            let isl = turn.isl.unwrap();
            assert!(
                (175..=185).contains(&isl),
                "counted joined by blanks: {isl}"
            );
        }
        let run = Run {
            endpoint: EndpointKind::Completions,
            ..RUN
        };
        let completions = run.made(&tokenizer, &spec);
        let body: Value =
            serde_json::from_slice(&completions.turns().next().unwrap().body).unwrap();
        assert_eq!(body["prompt"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn a_verbatim_system_prompt_is_before_everything() {
        let tokenizer = Tokenizer::builtin().unwrap();
        let turns = TurnSpec {
            mean: 2,
            ..ONE_TURN
        };
        let spec = SyntheticSpec {
            turns,
            count: 2,
            ..SPEC
        };
        let run = Run {
            system_prompt: Some("Be brief.\n"),
            ..RUN
        };
        let dataset = run.made(&tokenizer, &spec);
        for turn in dataset.turns() {
            let said = messages(turn);
            assert_eq!(said[0], json!({"role": "system", "content": "Be brief.\n"}));
            let own = &turn.body[turn.history.as_ref().unwrap().own.clone()];
            assert_eq!(serde_json::from_slice::<Value>(own).unwrap(), said[1]);
            let body = serde_json::from_slice(&turn.body).unwrap();
            assert_eq!(crate::dataset::input_length(&body, &tokenizer), turn.isl);
        }
    }

    /// The test vocabulary with a chat template of its own.
    fn templated(template: &str) -> Tokenizer {
        let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/test/wordlevel");
        let folder = tempfile::tempdir().unwrap();
        for file in ["tokenizer.json", "tokenizer_config.json"] {
            std::fs::copy(tiny.join(file), folder.path().join(file)).unwrap();
        }
        std::fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
        let wanted = crate::text::Wanted {
            requested: folder.path().to_str(),
            model: "m",
            revision: "main",
            chat_template: true,
        };
        let resolved = crate::text::resolve(&wanted, &|_| {}).unwrap();
        assert!(resolved.warnings.is_empty(), "{:?}", resolved.warnings);
        resolved.tokenizer
    }

    #[test]
    fn prompts_leave_room_for_the_chat_template() {
        // BOS, and 4 tokens around each message; 3 before the answer.
        let tokenizer = templated(
            "{{ bos_token }}{% for m in messages %}the of {{ m.role }} {{ m.content }} </s>\
             {% endfor %}{% if add_generation_prompt %} the of and{% endif %}",
        );
        let turns = TurnSpec {
            mean: 2,
            ..ONE_TURN
        };
        let spec = SyntheticSpec {
            turns,
            count: 5,
            isl_stddev: 0.0,
            ..SPEC
        };
        let dataset = RUN.made(&tokenizer, &spec);
        for (place, turn) in dataset.turns().enumerate() {
            let said = messages(turn);
            let own = tokenizer.count(content(&said[0])) as u32;
            let first = place % 2 == 0;
            assert_eq!(own, 60 - if first { 8 } else { 4 });
            // As it is counted alone; the history comes on top when it is sent.
            assert_eq!(turn.isl, Some(own + 8));
        }
        // Nothing is left below one token.
        let short = SyntheticSpec {
            isl_mean: 3,
            ..spec
        };
        let dataset = RUN.made(&tokenizer, &short);
        assert_eq!(dataset.turns().next().unwrap().isl, Some(9));
        // Tools are counted beside the template.
        let tools = json!({"tools": [{"function": {"name": "king", "description": "the king"}}]});
        let body =
            json!({"messages": [{"role": "user", "content": "the king"}], "tools": tools["tools"]});
        let counted = crate::dataset::input_length(body.as_object().unwrap(), &tokenizer);
        assert_eq!(counted, Some(2 + 8 + 3));
    }

    #[test]
    fn messages_that_a_template_refuses_are_counted_plainly() {
        let tokenizer = templated(
            "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}\
             {% endif %}{{ m.content }} the{% endfor %}",
        );
        let body = |role: &str| {
            let body = json!({"messages": [{"role": role, "content": "the king"}]});
            crate::dataset::input_length(body.as_object().unwrap(), &tokenizer)
        };
        assert_eq!(body("user"), Some(3));
        assert_eq!(body("system"), Some(2));
        assert!(tokenizer.chat_template().unwrap().refusals() == 1);
    }
}
