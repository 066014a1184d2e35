//! Lengths and texts of synthetic prompts: sampled lengths, texts of exactly that many tokens.

use pinfire_base::random::Draws;

use crate::text::corpus::Corpus;
use crate::text::tokenizer::Tokenizer;

/// Rounds of decoding and encoding again before a text is taken as it is.
const REPAIR_ROUNDS: usize = 10;

/// A text and the number of tokens it has when encoded again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prompt {
    pub(super) text: String,
    pub(super) tokens: usize,
}

/// A positive integer from a normal distribution: the mean itself without deviation, else a draw
/// that is not negative, rounded up, at least 1.
pub(super) fn sample_length(draws: &mut Draws, mean: u32, deviation: f64) -> u32 {
    // The reference cuts both to integers first: a deviation of 0.5 is none.
    let deviation = deviation.trunc();
    if deviation <= 0.0 || !deviation.is_finite() {
        return mean.max(1);
    }
    loop {
        let draw = draws.normal(f64::from(mean), deviation);
        if draw >= 0.0 {
            // Saturates at u32::MAX, which no deviation worth having reaches.
            return (draw.ceil() as u32).max(1);
        }
    }
}

/// A text of exactly `wanted` tokens, cut from the corpus at a place drawn from `draws`.
pub(super) fn exact_prompt(
    tokenizer: &Tokenizer,
    corpus: &Corpus,
    draws: &mut Draws,
    wanted: usize,
) -> Prompt {
    exact_behind(tokenizer, corpus, draws, &[], wanted)
}

/// A text that begins with the tokens `front` and has exactly `more` behind them.
///
/// A slice of tokens need not encode to the same tokens again, because its ends may cut what the
/// tokenizer would take as one piece. So the text is encoded, and cut or lengthened until it fits.
pub(super) fn exact_behind(
    tokenizer: &Tokenizer,
    corpus: &Corpus,
    draws: &mut Draws,
    front: &[u32],
    more: usize,
) -> Prompt {
    let wanted = front.len() + more;
    let mut ids = Vec::with_capacity(wanted);
    ids.extend_from_slice(front);
    sample_tokens(corpus, draws, more, &mut ids);
    let mut text = tokenizer.decode(&ids);
    let mut tokens = tokenizer.count(&text);
    for _ in 0..REPAIR_ROUNDS {
        if tokens == wanted {
            break;
        }
        ids = tokenizer.encode(&text);
        if ids.len() > wanted {
            ids.truncate(wanted);
        } else {
            let missing = wanted - ids.len();
            sample_tokens(corpus, draws, missing, &mut ids);
        }
        text = tokenizer.decode(&ids);
        tokens = tokenizer.count(&text);
    }
    Prompt { text, tokens }
}

/// Appends `count` contiguous corpus tokens from a random place.
fn sample_tokens(corpus: &Corpus, draws: &mut Draws, count: usize, into: &mut Vec<u32>) {
    let place = corpus.place(draws);
    corpus.extend(into, place, count);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::corpus::CorpusText;
    use pinfire_base::random::Purpose;
    use proptest::prelude::*;
    use std::sync::{Arc, LazyLock};

    static BUILTIN: LazyLock<(Tokenizer, Corpus)> = LazyLock::new(|| material("builtin"));
    static QWEN: LazyLock<(Tokenizer, Corpus)> = LazyLock::new(|| material("qwen3"));
    static CL100K: LazyLock<(Tokenizer, Corpus)> = LazyLock::new(|| material("cl100k_base"));

    fn material(name: &str) -> (Tokenizer, Corpus) {
        let wanted = crate::text::Wanted {
            requested: Some(name),
            model: "",
            revision: "main",
            chat_template: false,
        };
        let tokenizer = crate::text::resolve(&wanted, &|_| {}).unwrap().tokenizer;
        let text = Arc::new(CorpusText::inflate().unwrap());
        let corpus = Corpus::new(text, &tokenizer).unwrap();
        (tokenizer, corpus)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn exactly_the_wanted_tokens(
            seed: u64,
            index: u64,
            wanted in prop_oneof![1_usize..=20, 1_usize..=4_000],
        ) {
            for (tokenizer, corpus) in [&*BUILTIN, &*QWEN, &*CL100K] {
                let mut draws = Purpose::new(seed, "dataset.prompt.corpus").at(index);
                let prompt = exact_prompt(tokenizer, corpus, &mut draws, wanted);
                prop_assert_eq!(prompt.tokens, wanted);
                prop_assert_eq!(tokenizer.encode(&prompt.text).len(), wanted);
            }
        }

        #[test]
        fn exactly_so_many_behind_a_prefix(
            seed: u64,
            index: u64,
            front in 1_usize..=300,
            more in prop_oneof![1_usize..=20, 1_usize..=1_000],
        ) {
            for (tokenizer, corpus) in [&*BUILTIN, &*QWEN] {
                let mut draws = Purpose::new(seed, "dataset.prompt.prefix").at(index);
                let prefix = exact_prompt(tokenizer, corpus, &mut draws, front).text;
                let ids = tokenizer.encode(&prefix);
                prop_assert_eq!(ids.len(), front);
                let prompt = exact_behind(tokenizer, corpus, &mut draws, &ids, more);
                prop_assert_eq!(tokenizer.count(&prompt.text), front + more);
                prop_assert!(prompt.text.starts_with(&prefix));
            }
        }
    }

    #[test]
    fn a_prompt_longer_than_the_corpus_wraps() {
        let (tokenizer, corpus) = &*BUILTIN;
        let wanted = 1_200_000;
        let prompt = exact_prompt(tokenizer, corpus, &mut Purpose::new(1, "p").at(0), wanted);
        assert_eq!(prompt.tokens, wanted);
        assert!(corpus.whole_size().unwrap() < wanted);
    }

    #[test]
    fn lengths_follow_the_rules_of_the_sampler() {
        let mut draws = Purpose::new(3, "lengths").at(0);
        assert_eq!(sample_length(&mut draws, 550, 0.0), 550);
        assert_eq!(sample_length(&mut draws, 0, 0.0), 1);
        assert_eq!(
            sample_length(&mut draws, 550, 0.9),
            550,
            "cut to no deviation"
        );
        let lengths: Vec<u32> = (0..20_000)
            .map(|_| sample_length(&mut draws, 100, 10.0))
            .collect();
        let mean = lengths.iter().map(|&n| f64::from(n)).sum::<f64>() / 20_000.0;
        // Rounding up adds a half to the mean.
        assert!((mean - 100.5).abs() < 0.5, "{mean}");
        let small = (0..2_000).map(|_| sample_length(&mut draws, 1, 5.0)).min();
        assert_eq!(small, Some(1));
    }
}
