//! The text of hash blocks: an id stands for the same tokens in every line, run and thread.
//!
//! A block is a separator token and contiguous corpus tokens, so all that is kept of it is where
//! it starts. The start is a pure function of (seed, trace, id, size).

use std::collections::HashMap;

use super::super::DatasetError;
use super::super::parallel::map_indexed;
use crate::random::{Draws, Purpose, child_seed};
use crate::text::corpus::{Corpus, Place};
use crate::text::tokenizer::Tokenizer;

/// Places tried for a slice that encodes to its own length again; most fit at once.
const ATTEMPTS: usize = 32;

/// The size of the last block and the tokens that follow it, or why the numbers do not fit.
pub(super) fn layout(tokens: usize, ids: usize, block: usize) -> Result<(usize, usize), String> {
    let full = ids * block;
    if full <= tokens {
        return Ok((block, tokens - full));
    }
    match tokens.checked_sub((ids - 1) * block) {
        Some(last) if (1..=block).contains(&last) => Ok((last, 0)),
        _ => Err(format!(
            "{ids} blocks of {block} tokens do not fit input_length {tokens}: the last one must \
             hold 1 to {block}; the block size is probably another one (--isl-block-size)"
        )),
    }
}

/// Where a piece of text starts, and whether it encodes to the tokens it was cut from.
#[derive(Clone, Copy, Default)]
struct Fit {
    place: Place,
    exact: bool,
}

/// The blocks of one trace.
pub(super) struct Blocks<'a> {
    tokenizer: &'a Tokenizer,
    corpus: &'a Corpus,
    trace_seed: TraceSeed,
    places: HashMap<i128, Fit>,
}

/// What the blocks of a trace draw from.
pub(super) struct TraceSeed {
    base: u64,
    trace: String,
}

impl TraceSeed {
    /// Of a run's seed and the trace's id.
    pub(super) fn new(seed: u64, trace: String) -> Self {
        Self {
            base: child_seed(seed, "dataset.prompt.corpus"),
            trace,
        }
    }

    fn of_block(&self, id: i128) -> u64 {
        child_seed(self.base, &format!("{}:{id}", self.trace))
    }
}

impl<'a> Blocks<'a> {
    /// Finds the place of every block of `wanted` (id, size), in parallel.
    pub(super) fn place(
        tokenizer: &'a Tokenizer,
        corpus: &'a Corpus,
        trace_seed: TraceSeed,
        wanted: &[(i128, usize)],
        threads: usize,
    ) -> Result<Self, DatasetError> {
        let mut blocks = Self {
            tokenizer,
            corpus,
            trace_seed,
            places: HashMap::new(),
        };
        let find = |index: usize| {
            let (id, size) = wanted[index];
            Ok::<_, DatasetError>((id, blocks.find(id, size)))
        };
        let places = map_indexed(wanted.len(), threads, find, &|_, _| {})?;
        blocks.places.extend(places);
        Ok(blocks)
    }

    fn find(&self, id: i128, size: usize) -> Fit {
        let mut draws = Purpose::keyed(self.trace_seed.of_block(id)).at(0);
        let separated = usize::from(self.tokenizer.separator().is_some());
        let mut ids = Vec::with_capacity(size);
        self.fitting(&mut draws, size - separated.min(size), &mut ids)
    }

    /// The first drawn place from which `into`, lengthened by `count` tokens, encodes to its own
    /// length again. Without this some blocks would be a token off, since their ends
    /// cut what the tokenizer takes as one piece.
    fn fitting(&self, draws: &mut Draws, count: usize, into: &mut Vec<u32>) -> Fit {
        let before = into.len();
        let mut fit = Fit::default();
        for _ in 0..ATTEMPTS {
            into.truncate(before);
            fit.place = self.corpus.place(draws);
            self.corpus.extend(into, fit.place, count);
            fit.exact = self.tokenizer.count(&self.tokenizer.decode(into)) == into.len();
            // Without separator no seam is safe, so that there is nothing to gain by trying.
            if fit.exact || self.tokenizer.separator().is_none() {
                break;
            }
        }
        fit
    }

    /// The text of a line: its blocks, the last one `last` tokens long, and `tail` fresh tokens
    /// drawn from `draws`; with its number of tokens where that is certain without counting.
    ///
    /// Decoded once, since texts joined later would encode otherwise.
    pub(super) fn text(
        &self,
        ids: &[i128],
        block: usize,
        (last, tail): (usize, usize),
        draws: &mut Draws,
    ) -> (String, Option<usize>) {
        let separator = self.tokenizer.separator();
        let mut tokens = Vec::with_capacity(ids.len() * block + tail);
        let mut last_segment = 0;
        let mut certain = separator.is_some() && self.tokenizer.adds_up_at_specials();
        for (index, id) in ids.iter().enumerate() {
            let size = if index + 1 == ids.len() { last } else { block };
            let end = tokens.len() + size;
            tokens.extend(separator);
            last_segment = tokens.len();
            let fit = self.places.get(id).copied().unwrap_or_default();
            certain &= fit.exact;
            self.corpus
                .extend(&mut tokens, fit.place, end.saturating_sub(last_segment));
        }
        if tail > 0 {
            let mut segment = tokens.split_off(last_segment);
            certain &= self.fitting(draws, tail, &mut segment).exact;
            tokens.append(&mut segment);
        }
        (
            self.tokenizer.decode(&tokens),
            certain.then_some(tokens.len()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        assert_eq!(layout(16, 2, 8), Ok((8, 0)));
        assert_eq!(layout(20, 3, 8), Ok((4, 0)));
        assert_eq!(layout(17, 3, 8), Ok((1, 0)));
        assert_eq!(layout(20, 2, 8), Ok((8, 4)));
        for (tokens, ids) in [(16, 3), (4, 2)] {
            let error = layout(tokens, ids, 8).unwrap_err();
            assert!(error.contains("--isl-block-size"), "{error}");
        }
    }

    /// Block seeds of the specification, section 10.1.
    #[test]
    fn block_seeds() {
        let seed = TraceSeed::new(42, "713d9113c1150a16".to_owned());
        assert_eq!(seed.of_block(11), 1_551_703_433_359_994_492);
        assert_eq!(seed.of_block(12), 13_228_451_320_011_583_172);
        assert_eq!(seed.of_block(13), 10_777_190_946_919_078_101);
    }
}
