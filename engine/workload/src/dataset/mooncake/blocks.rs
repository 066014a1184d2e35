//! The text of hash blocks: an id stands for the same tokens in every line, run and thread.
//!
//! A block is a separator token and contiguous corpus tokens, so all that is kept of it is where
//! it starts. The start is a pure function of (seed, trace, id, size).

use std::collections::HashMap;
use std::ops::Range;

use pinfire_base::random::{Draws, Purpose, child_seed};

use super::super::DatasetError;
use super::super::parallel::map_indexed;
use super::slices::Slices;
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

/// A block of one size.
#[derive(Clone, Default)]
struct Block {
    place: Place,
    /// It encodes to the tokens it was cut from.
    exact: bool,
    /// Where it stands in the text, if its tokens are no slices of the corpus.
    own: Option<Range<usize>>,
}

/// The blocks of one trace.
pub(super) struct Blocks<'a> {
    slices: Slices<'a>,
    trace_seed: TraceSeed,
    /// The separator in the text.
    separator: Option<Range<usize>>,
    /// By id and size.
    blocks: HashMap<(i128, usize), Block>,
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

/// A prompt made of blocks.
pub(super) struct Made {
    /// Its slices of [`Blocks::text`], or the whole of it where it is none.
    pub(super) text: Result<Vec<Range<usize>>, String>,
    /// Its number of tokens where that is certain without counting.
    pub(super) tokens: Option<usize>,
}

impl<'a> Blocks<'a> {
    /// Finds the place of every block of `wanted` (id, size), in parallel. All sizes of one id
    /// begin at the same place.
    pub(super) fn place(
        tokenizer: &'a Tokenizer,
        corpus: &'a Corpus,
        trace_seed: TraceSeed,
        mut wanted: Vec<(i128, usize)>,
        threads: usize,
    ) -> Result<Self, DatasetError> {
        let mut slices = Slices::new(tokenizer, corpus);
        let separator = tokenizer.separator().map(|id| tokenizer.decode(&[id]));
        let mut blocks = Self {
            separator: separator.map(|text| slices.add(&text)),
            slices,
            trace_seed,
            blocks: HashMap::new(),
        };
        wanted.sort_unstable();
        wanted.dedup();
        let ids: Vec<&[(i128, usize)]> = wanted.chunk_by(|a, b| a.0 == b.0).collect();
        let find = |index: usize| Ok::<_, DatasetError>(blocks.find(ids[index]));
        let found = map_indexed(ids.len(), threads, find, &|_, _| {})?;
        for (&key, (mut block, text)) in wanted.iter().zip(found.into_iter().flatten()) {
            block.own = text.map(|text| blocks.slices.add(&text));
            blocks.blocks.insert(key, block);
        }
        Ok(blocks)
    }

    /// What all prompts are slices of.
    pub(super) fn text(&self) -> &str {
        self.slices.text()
    }

    /// The blocks of one id, each with its text if that is no slice.
    fn find(&self, sizes: &[(i128, usize)]) -> Vec<(Block, Option<String>)> {
        let id = sizes.first().map_or(0, |(id, _)| *id);
        let mut draws = Purpose::keyed(self.trace_seed.of_block(id)).at(0);
        let counts: Vec<usize> = sizes.iter().map(|(_, size)| self.behind(*size)).collect();
        let (place, exact) = self.fitting(&mut draws, &[], &counts);
        let block = |(&count, exact): (&usize, bool)| {
            let mut ranges = Vec::new();
            let text = if self.slices.locate(place, count, &mut ranges) {
                None
            } else {
                let mut tokens = Vec::from_iter(self.slices.tokenizer.separator());
                self.slices.corpus.extend(&mut tokens, place, count);
                Some(self.slices.tokenizer.decode(&tokens))
            };
            let own = None;
            (Block { place, exact, own }, text)
        };
        counts.iter().zip(exact).map(block).collect()
    }

    /// Tokens of a block behind its separator.
    fn behind(&self, size: usize) -> usize {
        size - usize::from(self.separator.is_some()).min(size)
    }

    /// The first drawn place from which each of `counts` tokens, behind `before`, encodes to its
    /// own length again, and of which of them that is true. Without this some blocks would be a
    /// token off, since their ends cut what the tokenizer takes as one piece.
    fn fitting(
        &self,
        draws: &mut Draws,
        before: &[(Place, usize)],
        counts: &[usize],
    ) -> (Place, Vec<bool>) {
        let mut fit = (Place::default(), Vec::new());
        for _ in 0..ATTEMPTS {
            let place = self.slices.corpus.place(draws);
            let fits = |&count: &usize| {
                let parts = [before, &[(place, count)]].concat();
                self.slices.adds_up(&parts)
            };
            fit = (place, counts.iter().map(fits).collect());
            // Without separator no seam is safe, so that there is nothing to gain by trying.
            if self.separator.is_none() || !fit.1.contains(&false) {
                break;
            }
        }
        fit
    }

    /// The prompt of a line: its blocks, the last one `last` tokens long, and `tail` fresh tokens
    /// drawn from `draws`.
    ///
    /// What counts is its tokens decoded all at once, since texts joined later could encode
    /// otherwise. Of the embedded vocabularies every token is its bytes, so that joined slices are
    /// the same; of others it is looked at.
    pub(super) fn made(
        &self,
        ids: &[i128],
        block: usize,
        (last, tail): (usize, usize),
        draws: &mut Draws,
    ) -> Made {
        let tokenizer = self.slices.tokenizer;
        let certain = self.separator.is_some() && tokenizer.adds_up_at_specials();
        let (mut exact, mut sliced) = (certain, true);
        let mut ranges = Vec::with_capacity(2 * ids.len() + 2);
        let mut parts = Vec::with_capacity(ids.len() + 1);
        let mut total = tail;
        for (index, id) in ids.iter().enumerate() {
            let end = index + 1 == ids.len();
            let size = if end { last } else { block };
            let found = self.blocks.get(&(*id, size)).cloned().unwrap_or_default();
            total += size;
            // What a tail follows is looked at together with it.
            exact &= found.exact || (end && tail > 0);
            parts.push((found.place, self.behind(size)));
            match found.own {
                Some(own) => ranges.push(own),
                None => {
                    ranges.extend(self.separator.clone());
                    let count = self.behind(size);
                    sliced &= self.slices.locate(found.place, count, &mut ranges);
                }
            }
        }
        if tail > 0 {
            let before = &parts[parts.len() - usize::from(!parts.is_empty())..];
            let (place, fits) = self.fitting(draws, before, &[tail]);
            exact &= fits == [true];
            parts.push((place, tail));
            sliced &= self.slices.locate(place, tail, &mut ranges);
        }
        let tokens = exact.then_some(total);
        if sliced && certain {
            return Made {
                text: Ok(ranges),
                tokens,
            };
        }
        let whole = self.decoded(&parts, ids.len());
        let joined = || {
            ranges
                .iter()
                .flat_map(|range| self.text()[range.clone()].bytes())
        };
        let text = if sliced && joined().eq(whole.bytes()) {
            Ok(ranges)
        } else {
            Err(whole)
        };
        Made { text, tokens }
    }

    /// The tokens of these parts decoded all at once, with a separator before each of the first
    /// `separated`.
    fn decoded(&self, parts: &[(Place, usize)], separated: usize) -> String {
        let mut tokens = Vec::new();
        for (n, &(place, count)) in parts.iter().enumerate() {
            if n < separated {
                tokens.extend(self.slices.tokenizer.separator());
            }
            self.slices.corpus.extend(&mut tokens, place, count);
        }
        self.slices.tokenizer.decode(&tokens)
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

    /// Block seeds of a trace are a contract: with others its prompts would change.
    #[test]
    fn block_seeds() {
        let seed = TraceSeed::new(42, "713d9113c1150a16".to_owned());
        assert_eq!(seed.of_block(11), 1_551_703_433_359_994_492);
        assert_eq!(seed.of_block(12), 13_228_451_320_011_583_172);
        assert_eq!(seed.of_block(13), 10_777_190_946_919_078_101);
    }
}
