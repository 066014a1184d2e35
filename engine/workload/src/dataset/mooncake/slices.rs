//! The corpus as one text in which tokens have places: contiguous tokens are a slice of it, and
//! prompts can be kept as slices instead of as strings.
//!
//! So it is where every token of a chunk decodes by itself to what stands in the chunk at its
//! place, as with all byte-level vocabularies; this is looked at chunk by chunk.

use std::ops::Range;
use std::sync::OnceLock;

use crate::text::corpus::{Corpus, Place};
use crate::text::tokenizer::Tokenizer;

/// Contiguous tokens of one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    chunk: usize,
    from: usize,
    to: usize,
}

/// The text that all prompts of a trace are slices of: the corpus, and what was added behind it.
pub(super) struct Slices<'a> {
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) corpus: &'a Corpus,
    text: String,
    /// Where each chunk begins in the text.
    chunks: Vec<usize>,
    /// Where each token of a chunk begins in it, and the end; `None` where tokens are no slices.
    tokens: Vec<OnceLock<Option<Vec<u32>>>>,
}

impl<'a> Slices<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer, corpus: &'a Corpus) -> Self {
        let mut text = String::new();
        let place = |chunk: &String| {
            let at = text.len();
            text.push_str(chunk);
            at
        };
        let chunks: Vec<usize> = corpus.chunks().iter().map(place).collect();
        Self {
            tokenizer,
            corpus,
            tokens: chunks.iter().map(|_| OnceLock::new()).collect(),
            text,
            chunks,
        }
    }

    /// The whole text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Adds a text behind everything and returns where it stands.
    pub(super) fn add(&mut self, text: &str) -> Range<usize> {
        let from = self.text.len();
        self.text.push_str(text);
        from..self.text.len()
    }

    /// Appends where `count` tokens from `place` stand in the text, in pieces as few as can be.
    /// False where they are no slices.
    pub(super) fn locate(&self, place: Place, count: usize, into: &mut Vec<Range<usize>>) -> bool {
        self.runs(place, count).all(|run| {
            let Some(offsets) = self.offsets(run.chunk) else {
                return false;
            };
            let begin = self.chunks[run.chunk];
            let slice = begin + offsets[run.from] as usize..begin + offsets[run.to] as usize;
            match into.last_mut() {
                Some(last) if last.end == slice.start => last.end = slice.end,
                _ => into.push(slice),
            }
            true
        })
    }

    /// Whether the text of these tokens, taken from places of the corpus and put together, encodes
    /// to as many tokens again.
    ///
    /// Where a letter, a blank and a letter meet, every vocabulary that is embedded cuts the text,
    /// whatever stands around it; and between two such cuts inside of a chunk the tokens are the
    /// corpus' own. So only what lies outside of the first and the last cut is encoded: at both
    /// ends and at seams. Of other vocabularies the answer is a good guess. Each piece between two
    /// cuts has to add up for itself.
    pub(super) fn adds_up(&self, parts: &[(Place, usize)]) -> bool {
        let (mut open, mut tokens) = (String::new(), 0);
        let runs = parts
            .iter()
            .flat_map(|&(place, count)| self.runs(place, count));
        for run in runs {
            let Some(offsets) = self.offsets(run.chunk) else {
                return self.encodes_to_itself(parts);
            };
            let chunk = &self.corpus.chunks()[run.chunk];
            let (begin, end) = (offsets[run.from] as usize, offsets[run.to] as usize);
            let slice = &chunk.as_bytes()[begin..end];
            // A cut as a place in the chunk and the token that begins there.
            let cut = |at: usize| {
                let at = begin + at;
                let token = offsets.binary_search(&(at as u32)).ok()?;
                Some((at, token))
            };
            let is_cut = |at: &usize| {
                slice[at - 1].is_ascii_alphabetic()
                    && slice[*at] == b' '
                    && slice[at + 1].is_ascii_alphabetic()
            };
            let mut places = 1..slice.len().saturating_sub(1);
            let first = places.clone().find(is_cut).and_then(cut);
            let last = places.rfind(is_cut).and_then(cut);
            let (Some(first), Some(last)) = (first, last) else {
                open.push_str(&chunk[begin..end]);
                tokens += run.to - run.from;
                continue;
            };
            open.push_str(&chunk[begin..first.0]);
            if self.tokenizer.count(&open) != tokens + first.1 - run.from {
                return false;
            }
            open.clear();
            open.push_str(&chunk[last.0..end]);
            tokens = run.to - last.1;
        }
        self.tokenizer.count(&open) == tokens
    }

    fn encodes_to_itself(&self, parts: &[(Place, usize)]) -> bool {
        let mut ids = Vec::new();
        for &(place, count) in parts {
            self.corpus.extend(&mut ids, place, count);
        }
        self.tokenizer.count(&self.tokenizer.decode(&ids)) == ids.len()
    }

    /// The tokens from `place` chunk by chunk, going on at the beginning after the end.
    fn runs(&self, place: Place, count: usize) -> impl Iterator<Item = Run> + '_ {
        let (mut chunk, mut from, mut left) = (place.chunk as usize, place.token as usize, count);
        std::iter::from_fn(move || {
            while left > 0 {
                let here = chunk;
                let rest = self.corpus.tokens(here).len().saturating_sub(from);
                let run = Run {
                    chunk: here,
                    from,
                    to: from + left.min(rest),
                };
                (chunk, from) = ((chunk + 1) % self.chunks.len(), 0);
                left -= run.to - run.from;
                if run.to > run.from {
                    return Some(run);
                }
            }
            None
        })
    }

    fn offsets(&self, chunk: usize) -> Option<&[u32]> {
        let found = self.tokens[chunk].get_or_init(|| {
            let text = &self.corpus.chunks()[chunk];
            let mut at = 0;
            let mut offsets = vec![0];
            for &token in self.corpus.tokens(chunk) {
                let said = self.tokenizer.decode(&[token]);
                if said.is_empty() || !text[at..].starts_with(&said) {
                    return None;
                }
                at += said.len();
                offsets.push(at as u32);
            }
            (at == text.len()).then_some(offsets)
        });
        found.as_deref()
    }
}

/// A text as it stands in a JSON string, and where what stood in it has gone.
pub(super) struct Escaped {
    pub(super) bytes: Vec<u8>,
    /// Where characters grew: after which byte of the text, and by how much all in all.
    grown: Vec<(usize, usize)>,
}

impl Escaped {
    pub(super) fn new(text: &str) -> Self {
        let mut bytes = Vec::with_capacity(text.len() + text.len() / 32);
        let mut grown = Vec::new();
        for (at, character) in text.char_indices() {
            let before = bytes.len();
            let mut utf8 = [0; 4];
            push_escaped(&mut bytes, character.encode_utf8(&mut utf8));
            if bytes.len() - before > character.len_utf8() {
                let end = at + character.len_utf8();
                grown.push((end, bytes.len() - end));
            }
        }
        Self { bytes, grown }
    }

    /// A slice of the text in the escaped bytes.
    pub(super) fn range(&self, slice: &Range<usize>) -> Range<usize> {
        let moved = |at: usize| {
            let before = self.grown.partition_point(|&(end, _)| end <= at);
            at + before.checked_sub(1).map_or(0, |last| self.grown[last].1)
        };
        moved(slice.start)..moved(slice.end)
    }
}

/// As `serde_json` writes it in a string.
fn push_escaped(into: &mut Vec<u8>, character: &str) {
    match character.as_bytes() {
        [b'"' | b'\\' | 0..0x20] => {
            #[expect(clippy::expect_used, reason = "a string is always written")]
            let quoted = serde_json::to_vec(character).expect("a string as JSON");
            // Between its quotes.
            into.extend_from_slice(&quoted[1..quoted.len() - 1]);
        }
        plain => into.extend_from_slice(plain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::corpus::CorpusText;
    use pinfire_base::random::Purpose;
    use proptest::prelude::*;
    use std::path::Path;
    use std::sync::{Arc, LazyLock};

    static BUILTIN: LazyLock<(Tokenizer, Corpus)> =
        LazyLock::new(|| with(Tokenizer::builtin().unwrap()));

    fn with(tokenizer: Tokenizer) -> (Tokenizer, Corpus) {
        let text = Arc::new(CorpusText::inflate().unwrap());
        let corpus = Corpus::new(text, &tokenizer).unwrap();
        (tokenizer, corpus)
    }

    fn joined(slices: &Slices<'_>, parts: &[(Place, usize)]) -> String {
        let mut ranges = Vec::new();
        for &(place, count) in parts {
            assert!(slices.locate(place, count, &mut ranges));
        }
        ranges
            .into_iter()
            .map(|range| &slices.text()[range])
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(600))]
        /// What is said without encoding everything is what encoding everything says.
        #[test]
        fn tokens_are_slices_and_add_up_as_when_all_is_encoded(
            seed: u64,
            first in prop_oneof![1_usize..12, 1_usize..3_000],
            second in prop_oneof![Just(0_usize), 1_usize..12, 1_usize..600],
        ) {
            let (tokenizer, corpus) = &*BUILTIN;
            let slices = Slices::new(tokenizer, corpus);
            let mut draws = Purpose::new(seed, "slices").at(0);
            let parts = [(corpus.place(&mut draws), first), (corpus.place(&mut draws), second)];
            let mut ids = Vec::new();
            for (place, count) in parts {
                corpus.extend(&mut ids, place, count);
            }
            prop_assert_eq!(joined(&slices, &parts), tokenizer.decode(&ids));
            // Not the other way round: where one piece has a token more and another one less, the
            // whole has as many as wanted, and the pieces do not.
            prop_assert!(!slices.adds_up(&parts) || slices.encodes_to_itself(&parts));
        }

        #[test]
        fn escaped_slices_are_what_json_says(text in any::<String>(), more in "[\"\\\\\\n\u{1}aé]{0,20}") {
            let text = text + &more;
            let escaped = Escaped::new(&text);
            let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            for (n, &from) in places.iter().enumerate() {
                let to = places[(n * 7 + 3) % places.len()].max(from);
                let found = &escaped.bytes[escaped.range(&(from..to))];
                let expected = serde_json::to_string(&text[from..to]).unwrap();
                prop_assert_eq!(found, &expected.as_bytes()[1..expected.len() - 1]);
            }
        }
    }

    #[test]
    fn a_slice_goes_on_at_the_beginning() {
        let (tokenizer, corpus) = &*BUILTIN;
        let slices = Slices::new(tokenizer, corpus);
        let last = corpus.chunks().len() - 1;
        let place = Place {
            chunk: last as u32,
            token: corpus.tokens(last).len() as u32 - 5,
        };
        let mut ranges = Vec::new();
        assert!(slices.locate(place, 20, &mut ranges));
        assert_eq!(ranges.len(), 2);
        let mut ids = Vec::new();
        corpus.extend(&mut ids, place, 20);
        assert_eq!(joined(&slices, &[(place, 20)]), tokenizer.decode(&ids));
        assert_eq!(ranges[1].start, 0);
    }

    #[test]
    fn words_without_blanks_are_no_slices() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/test/wordlevel");
        let (tokenizer, corpus) = with(Tokenizer::from_path(&folder, "tiny").unwrap());
        let slices = Slices::new(&tokenizer, &corpus);
        assert!(!slices.locate(Place::default(), 5, &mut Vec::new()));
        let parts = [(Place::default(), 5)];
        assert_eq!(slices.adds_up(&parts), slices.encodes_to_itself(&parts));
    }
}
