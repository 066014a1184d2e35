//! Synthetic prompts of wanted lengths, each a pure function of (seed, entry index).

use super::body::{Content, Turn};
use super::parallel::map_indexed;
use super::prompt::{exact_prompt, sample_length};
use super::{Build, Dataset, DatasetError, Source};
use crate::random::Purpose;
use crate::text::Warning;

/// How many prompts, and how long they and their answers are. Lengths are tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SyntheticSpec {
    /// Entries to make.
    pub count: usize,
    /// Mean input length.
    pub isl_mean: u32,
    /// Deviation of the input length; below 1 is none.
    pub isl_stddev: f64,
    /// Mean output limit; `None` or 0 sends no limit.
    pub osl_mean: Option<u32>,
    /// Deviation of the output limit; below 1 is none.
    pub osl_stddev: f64,
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
/// Without a tokenizer, or when no entry is asked for.
pub fn build(
    spec: &SyntheticSpec,
    build: &Build<'_>,
    progress: &dyn Fn(usize, usize),
) -> Result<Dataset, DatasetError> {
    if spec.count == 0 {
        return Err(DatasetError::Empty {
            what: "a synthetic dataset of 0 entries".to_owned(),
        });
    }
    let (tokenizer, corpus) = build.prompt_material()?;
    let special = u32::try_from(tokenizer.special_per_sequence()).unwrap_or(u32::MAX);
    let isl_mean = spec.isl_mean.saturating_sub(special);
    let lengths = Purpose::new(build.seed, "dataset.prompt.length");
    let texts = Purpose::new(build.seed, "dataset.prompt.corpus");
    let limits = OutputLimits::new(build.seed, spec.osl_mean, spec.osl_stddev);
    let keeps_texts = build.keeps_texts(None);
    let entries = map_indexed(
        spec.count,
        build.threads,
        |index| {
            let at = index as u64;
            let wanted = sample_length(&mut lengths.at(at), isl_mean, spec.isl_stddev) as usize;
            let prompt = exact_prompt(tokenizer, &corpus, &mut texts.at(at), wanted);
            let turn = Turn {
                content: Content::Text(prompt.text),
                max_tokens: limits.at(index),
                extra: None,
            };
            let body = build.bodies.body(index, turn);
            let known = keeps_texts.then_some(prompt.tokens);
            build.entry(build.session_id(index), &body, known, None)
        },
        progress,
    )?;
    let longest = entries
        .iter()
        .filter_map(|entry| entry.isl)
        .max()
        .unwrap_or(0);
    let mut warnings = Vec::new();
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
        entries,
        source: Source::Synthetic,
        warnings,
    })
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
            legacy_max_tokens: false,
            per_chunk_usage: false,
            extra: extra.as_object().cloned().unwrap_or_default(),
        };
        let context = Build {
            tokenizer: Some(tokenizer),
            corpus: None,
            bodies: &bodies,
            seed: 42,
            fixed_seed,
            threads,
        };
        build(spec, &context, &|_, _| {}).unwrap()
    }

    #[test]
    fn threads_and_count_change_no_entry() {
        let one = made(&SPEC, 1, true, json!({}));
        let four = made(&SPEC, 4, true, json!({}));
        assert_eq!(one.entries, four.entries);
        let fewer = made(&SyntheticSpec { count: 7, ..SPEC }, 2, true, json!({}));
        assert_eq!(one.entries[..7], fewer.entries[..]);
        assert_ne!(one.entries[0].isl, one.entries[1].isl, "lengths vary");
    }

    #[test]
    fn bodies_hold_what_the_entry_says() {
        let tokenizer = Tokenizer::builtin().unwrap();
        for entry in made(&SPEC, 2, true, json!({})).entries {
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
        assert_eq!(fixed.entries[3].session_id, "session_000003");
        let random = made(&SPEC, 1, false, json!({}));
        assert_eq!(random.entries[3].session_id.len(), 36);
        assert_ne!(random.entries[3].session_id, random.entries[4].session_id);
        assert_eq!(fixed.entries[3].body, random.entries[3].body);
    }

    #[test]
    fn an_extra_that_replaces_the_text_is_counted() {
        let extra =
            json!({"messages": [{"role": "user", "content": "hello world"}], "max_tokens": 9});
        let spec = SyntheticSpec {
            osl_mean: Some(0),
            ..SPEC
        };
        let entry = &made(&spec, 1, true, extra).entries[0];
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
        for entry in made_with(&tokenizer, &spec, 1, true, json!({})).entries {
            let body: Map<String, Value> = serde_json::from_slice(&entry.body).unwrap();
            assert_eq!(crate::dataset::input_length(&body, &tokenizer), entry.isl);
        }
    }
}
