//! Synthetic rankings: a query and passages to be put in order, each of an exact length.

use pinfire_base::random::Purpose;

use pinfire_dialect::ask::{Media, TurnContent};

use super::prompt::{exact_prompt, sample_length};
use crate::text::corpus::Corpus;
use crate::text::tokenizer::Tokenizer;

/// How many passages a request has, and how long these and its query are, in tokens. Deviations
/// below 1 are none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankingsSpec {
    /// Mean number of passages.
    pub passages_mean: u32,
    /// Deviation of that number.
    pub passages_stddev: f64,
    /// Mean length of a passage.
    pub passage_tokens_mean: u32,
    /// Deviation of that length.
    pub passage_tokens_stddev: f64,
    /// Mean length of the query.
    pub query_tokens_mean: u32,
    /// Deviation of that length.
    pub query_tokens_stddev: f64,
}

impl RankingsSpec {
    /// Tokens of the longest text and of all texts of a request, taken a deviation above the mean.
    pub(super) fn extent(&self) -> (f64, f64) {
        let query = f64::from(self.query_tokens_mean) + self.query_tokens_stddev;
        let passage = f64::from(self.passage_tokens_mean) + self.passage_tokens_stddev;
        let passages = f64::from(self.passages_mean) + self.passages_stddev;
        // A passage of no tokens is still a text.
        (query.max(passage), query + passages * passage.max(1.0))
    }
}

impl Default for RankingsSpec {
    /// What AIPerf 0.13 takes without flags, whatever its help says.
    fn default() -> Self {
        Self {
            passages_mean: 10,
            passages_stddev: 0.0,
            passage_tokens_mean: 128,
            passage_tokens_stddev: 0.0,
            query_tokens_mean: 32,
            query_tokens_stddev: 0.0,
        }
    }
}

/// Makes the texts of one request after the other.
pub(super) struct Rankings<'a> {
    spec: RankingsSpec,
    tokenizer: &'a Tokenizer,
    corpus: &'a Corpus,
    counts: Purpose,
    passage_lengths: Purpose,
    query_lengths: Purpose,
    texts: Purpose,
}

impl<'a> Rankings<'a> {
    pub(super) fn new(
        spec: RankingsSpec,
        seed: u64,
        tokenizer: &'a Tokenizer,
        corpus: &'a Corpus,
    ) -> Self {
        Self {
            spec,
            tokenizer,
            corpus,
            counts: Purpose::new(seed, "dataset.rankings.passages"),
            passage_lengths: Purpose::new(seed, "dataset.rankings.passages.tokens"),
            query_lengths: Purpose::new(seed, "dataset.rankings.query.tokens"),
            texts: Purpose::new(seed, "dataset.prompt.corpus"),
        }
    }

    /// The texts of the request at `index`, under the names that ranking endpoints look for.
    pub(super) fn said(&self, index: u64) -> TurnContent {
        let spec = &self.spec;
        let mut texts = self.texts.at(index);
        let mut text = |length: u32| {
            exact_prompt(self.tokenizer, self.corpus, &mut texts, length as usize).text
        };
        let query = sample_length(
            &mut self.query_lengths.at(index),
            spec.query_tokens_mean,
            spec.query_tokens_stddev,
        );
        let query = text(query);
        let passages = sample_length(
            &mut self.counts.at(index),
            spec.passages_mean,
            spec.passages_stddev,
        );
        let mut lengths = self.passage_lengths.at(index);
        let (mean, deviation) = (spec.passage_tokens_mean, spec.passage_tokens_stddev);
        let passages = (0..passages)
            .map(|_| text(sample_length(&mut lengths, mean, deviation)))
            .collect();
        let named = |name: &str, contents| Media {
            name: name.to_owned(),
            contents,
        };
        TurnContent {
            texts: vec![named("query", vec![query]), named("passages", passages)],
            ..TurnContent::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::corpus::CorpusText;
    use std::sync::Arc;

    #[test]
    fn a_query_and_passages_of_the_asked_lengths() {
        let tokenizer = Tokenizer::builtin().unwrap();
        let text = Arc::new(CorpusText::inflate().unwrap());
        let corpus = Corpus::new(text, &tokenizer).unwrap();
        let made = |spec, seed, index| Rankings::new(spec, seed, &tokenizer, &corpus).said(index);
        let said = made(RankingsSpec::default(), 1, 5);
        let [query, passages] = &said.texts[..] else {
            panic!("{said:?}");
        };
        assert_eq!(
            (query.name.as_str(), passages.name.as_str()),
            ("query", "passages")
        );
        assert_eq!(query.contents.len(), 1);
        assert_eq!(tokenizer.count(&query.contents[0]), 32);
        assert_eq!(passages.contents.len(), 10);
        for passage in &passages.contents {
            assert_eq!(tokenizer.count(passage), 128);
        }
        assert_eq!(made(RankingsSpec::default(), 1, 5), said);
        assert_ne!(made(RankingsSpec::default(), 2, 5), said);
        let drawn = RankingsSpec {
            passages_stddev: 4.0,
            passage_tokens_stddev: 30.0,
            query_tokens_stddev: 9.0,
            ..RankingsSpec::default()
        };
        let sizes: Vec<usize> = (0..9)
            .map(|index| made(drawn, 1, index).texts[1].contents.len())
            .collect();
        assert!(sizes.iter().any(|size| *size != sizes[0]), "{sizes:?}");
        let said = made(drawn, 1, 0);
        let lengths: Vec<usize> = said.texts[1]
            .contents
            .iter()
            .map(|passage| tokenizer.count(passage))
            .collect();
        assert!(
            lengths.iter().any(|length| *length != lengths[0]),
            "{lengths:?}"
        );
    }
}
