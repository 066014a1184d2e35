//! Synthetic conversations of prompts of wanted lengths: each prompt is a pure function of (seed,
//! its place among all turns).

use super::ask::{Ask, Content};
use super::parallel::map_indexed;
use super::prompt::{exact_prompt, sample_length};
use super::{Build, Dataset, DatasetError, Source, Turn, converse, millis, without_history};
use crate::clock::Span;
use crate::random::Purpose;
use crate::text::Warning;

/// How many conversations of how many prompts, and how long these and their answers are. Lengths
/// are tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
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
    let special = u32::try_from(tokenizer.special_per_sequence()).unwrap_or(u32::MAX);
    let isl_mean = spec.isl_mean.saturating_sub(special);
    let purpose = |name| Purpose::new(build.seed, name);
    let lengths = purpose("dataset.prompt.length");
    let texts = purpose("dataset.prompt.corpus");
    let delays = purpose("composer.conversation.turn_delay");
    let limits = OutputLimits::new(build.seed, spec.osl_mean, spec.osl_stddev);
    let system = spec.system_length.map(|length| {
        let mut draws = purpose("dataset.prompt.system").at(0);
        exact_prompt(tokenizer, &corpus, &mut draws, length as usize).text
    });
    let sizes = turn_counts(spec, purpose("composer.conversation.turn_count"));
    let places: Vec<Place> = sizes.iter().flat_map(|&size| Place::all_of(size)).collect();
    let keeps_messages = build.keeps_messages(None);
    // Behind a system message the texts are joined, and what that counts to is not known.
    let keeps_texts = system.is_none() && build.keeps_texts(None);
    let turns = map_indexed(
        places.len(),
        build.threads,
        |index| {
            let (at, place) = (index as u64, places[index]);
            let wanted = sample_length(&mut lengths.at(at), isl_mean, spec.isl_stddev) as usize;
            let prompt = exact_prompt(tokenizer, &corpus, &mut texts.at(at), wanted);
            let ask = Ask {
                system: system.as_deref(),
                max_tokens: limits.at(index),
                ..Ask::of(Content::text(prompt.text))
            };
            let body = build.body(index, ask)?;
            let known = keeps_texts.then_some(prompt.tokens);
            let history = place.of_many && keeps_messages;
            Ok::<_, DatasetError>(Turn {
                delay: spec.turns.delay(&delays, at).filter(|_| !place.first),
                ..build.turn(&body, known, history)?
            })
        },
        progress,
    )?;
    let longest = turns.iter().filter_map(|turn| turn.isl).max().unwrap_or(0);
    let sessions = sizes.iter().enumerate();
    let sessions = sessions.map(|(index, &size)| (build.session_id(index), size));
    let (conversations, warning) = converse(turns, sessions, spec.turns.delay_cap);
    let mut warnings = Vec::from_iter(warning);
    if !keeps_messages && (system.is_some() || places.len() > spec.count) {
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

/// The number of turns of each conversation.
fn turn_counts(spec: &SyntheticSpec, purpose: Purpose) -> Vec<usize> {
    let TurnSpec { mean, stddev, .. } = spec.turns;
    let draw = |index| sample_length(&mut purpose.at(index as u64), mean, stddev) as usize;
    (0..spec.count).map(draw).collect()
}

/// What a turn is in its conversation.
#[derive(Clone, Copy)]
struct Place {
    first: bool,
    of_many: bool,
}

impl Place {
    /// The places in a conversation of `size` turns.
    fn all_of(size: usize) -> impl Iterator<Item = Self> {
        (0..size).map(move |turn| Self {
            first: turn == 0,
            of_many: size > 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{BodyOptions, EndpointKind};
    use crate::text::tokenizer::Tokenizer;
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
        let bodies = BodyOptions {
            endpoint: EndpointKind::Chat,
            models: vec!["m".into()],
            streaming: true,
            extra: extra.as_object().cloned().unwrap_or_default(),
            ..BodyOptions::default()
        };
        let context = Build {
            tokenizer: Some(tokenizer),
            corpus: None,
            bodies: &bodies,
            model_choice: crate::dataset::ModelChoice::RoundRobin,
            seed: 42,
            fixed_seed,
            threads,
        };
        build(spec, &context, &|_, _| {}).unwrap()
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
}
