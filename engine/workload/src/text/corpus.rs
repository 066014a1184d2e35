//! The embedded prose that prompts are cut from, as tokens of the run's tokenizer.
//!
//! Jane Austen's *Emma*, *Mansfield Park*, *Persuasion*, *Pride and Prejudice* and *Sense and
//! Sensibility*, and of the King James Version Genesis, the Psalms and the New Testament: in the
//! public domain, see `engine/workload/assets/README.md`. 4.9 MB of ASCII, 1.1 million tokens: two
//! of 1,000 random prompts start at the same place about every second run. A smaller text would
//! make a server's prefix cache look better than it is.

use std::io::Read;
use std::sync::{Arc, OnceLock};

use pinfire_base::random::Draws;

use super::tokenizer::Tokenizer;

/// The text as a zlib stream.
static DEFLATED: &[u8] = include_bytes!("../../assets/corpus.txt.zz");
/// Bytes of the inflated text.
pub(crate) const TEXT_BYTES: usize = 4_938_930;
/// A chunk is closed at the first line end at or after this many bytes. Fixed, because the chunk
/// borders are part of what the tokens are.
const CHUNK_BYTES: usize = 10_000;

/// Why there is no corpus.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CorpusError {
    /// The embedded bytes are damaged.
    #[error("the embedded corpus is damaged ({0}): this binary is broken, install it again")]
    Damaged(std::io::Error),
    /// The tokenizer makes nothing of English prose.
    #[error(
        "the tokenizer `{name}` turns the embedded English prose into no tokens; \
         use `--tokenizer builtin`, or prompts from a file"
    )]
    NoTokens {
        /// The tokenizer.
        name: String,
    },
}

/// The inflated text: worth making on another thread while a tokenizer loads.
pub struct CorpusText {
    /// Lines trimmed and joined by one blank.
    chunks: Vec<String>,
    /// Bytes of the chunks up to the end of each.
    ends: Vec<u64>,
}

impl CorpusText {
    /// Inflates the text; about 15 ms.
    ///
    /// # Errors
    /// When the binary is damaged.
    pub fn inflate() -> Result<Self, CorpusError> {
        let mut text = String::with_capacity(TEXT_BYTES);
        flate2::read::ZlibDecoder::new(DEFLATED)
            .read_to_string(&mut text)
            .map_err(CorpusError::Damaged)?;
        Ok(Self::chunked(&text))
    }

    /// The texts of all chunks, in order.
    pub(crate) fn chunks(&self) -> &[String] {
        &self.chunks
    }

    fn chunked(text: &str) -> Self {
        let mut chunks = Vec::with_capacity(text.len() / CHUNK_BYTES + 1);
        let mut open = String::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if open.is_empty() {
                open.reserve(CHUNK_BYTES + 200);
            } else {
                open.push(' ');
            }
            open.push_str(line);
            if open.len() >= CHUNK_BYTES {
                chunks.push(std::mem::take(&mut open));
            }
        }
        if !open.is_empty() {
            chunks.push(open);
        }
        let mut end = 0;
        let ends = chunks.iter().map(|chunk| {
            end += chunk.len() as u64;
            end
        });
        Self {
            ends: ends.collect(),
            chunks,
        }
    }
}

/// A token of the corpus, from which a prompt may begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub(crate) chunk: u32,
    pub(crate) token: u32,
}

/// The tokens of the text, chunk by chunk and only of those that a prompt comes by: a hundred
/// prompts need a quarter of them, and a slow tokenizer takes seconds for all.
///
/// Shared by all threads. What a place holds does not depend on who asked first.
pub struct Corpus {
    text: Arc<CorpusText>,
    tokenizer: Tokenizer,
    encoded: Vec<OnceLock<Vec<u32>>>,
}

impl Corpus {
    /// The text seen through a tokenizer.
    ///
    /// # Errors
    /// When the tokenizer makes no tokens of it.
    pub fn new(text: Arc<CorpusText>, tokenizer: &Tokenizer) -> Result<Self, CorpusError> {
        let corpus = Self {
            encoded: text.chunks.iter().map(|_| OnceLock::new()).collect(),
            text,
            tokenizer: tokenizer.clone(),
        };
        // One chunk with tokens is enough for every slice to come to its end.
        if corpus.encoded.is_empty() || corpus.tokens(0).is_empty() {
            return Err(CorpusError::NoTokens {
                name: tokenizer.name().to_owned(),
            });
        }
        Ok(corpus)
    }

    /// A random place: a chunk by its share of the text, then a token of it. Uniform but for the
    /// few percent by which tokens are longer in one chunk than in another.
    pub fn place(&self, draws: &mut Draws) -> Place {
        let bytes = self.text.ends.last().copied().unwrap_or_default();
        let byte = draws.below(bytes);
        let chunk = self.text.ends.partition_point(|&end| end <= byte);
        let token = draws.below(self.tokens(chunk).len() as u64);
        Place {
            chunk: chunk as u32,
            token: token as u32,
        }
    }

    /// Appends `count` contiguous tokens from `place`, going on at the beginning after the end.
    pub fn extend(&self, into: &mut Vec<u32>, place: Place, count: usize) {
        into.reserve(count);
        let (mut chunk, mut token) = (place.chunk as usize, place.token as usize);
        let mut left = count;
        while left > 0 {
            let rest = self.tokens(chunk).get(token..).unwrap_or_default();
            let run = left.min(rest.len());
            into.extend_from_slice(&rest[..run]);
            left -= run;
            chunk = (chunk + 1) % self.encoded.len();
            token = 0;
        }
    }

    /// The number of all tokens, once every chunk has been used.
    pub fn whole_size(&self) -> Option<usize> {
        self.encoded
            .iter()
            .map(|chunk| chunk.get().map(Vec::len))
            .sum()
    }

    /// The texts of all chunks, in order.
    pub(crate) fn chunks(&self) -> &[String] {
        self.text.chunks()
    }

    /// The tokens of one chunk.
    pub(crate) fn tokens(&self, chunk: usize) -> &[u32] {
        self.encoded[chunk].get_or_init(|| self.tokenizer.encode(&self.text.chunks[chunk]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pinfire_base::random::Purpose;

    #[test]
    fn plain_prose_of_the_stated_size() {
        let text = CorpusText::inflate().unwrap().chunks.join("\n");
        // Line ends become blanks, the last one goes.
        assert_eq!(text.len(), TEXT_BYTES - 1);
        assert!(text.is_ascii());
        assert!(text.contains("It is a truth universally acknowledged"));
        assert!(text.contains("In the beginning God created the heaven and the earth."));
        assert!(!text.contains("  ") && !text.contains('_') && !text.contains('<'));
    }

    #[test]
    fn about_a_million_tokens_and_only_what_is_used() {
        let tokenizer = Tokenizer::builtin().unwrap();
        let corpus = Corpus::new(Arc::new(CorpusText::inflate().unwrap()), &tokenizer).unwrap();
        assert_eq!(corpus.whole_size(), None);
        let mut all = Vec::new();
        corpus.extend(&mut all, Place::default(), 1_200_000);
        let size = corpus.whole_size().unwrap();
        assert!((1_000_000..1_200_000).contains(&size), "{size} tokens");
        assert_eq!(
            all[size..],
            all[..1_200_000 - size],
            "the slice went on at the beginning"
        );
    }

    #[test]
    fn slices_cross_chunks_and_places_spread_evenly() {
        let tokenizer = Tokenizer::builtin().unwrap();
        let text = "hello world\n".repeat(4_000);
        let text = CorpusText::chunked(&text);
        assert!(text.chunks.len() == 5 && text.chunks[4].len() < CHUNK_BYTES);
        let corpus = Corpus::new(Arc::new(text), &tokenizer).unwrap();
        let from = Place {
            chunk: 3,
            token: 100,
        };
        let mut slice = vec![9];
        corpus.extend(&mut slice, from, 5_000);
        assert_eq!(slice.len(), 5_001);
        let mut hits = [0_u32; 5];
        for index in 0..5_000 {
            let place = corpus.place(&mut Purpose::new(1, "place").at(index));
            hits[place.chunk as usize] += 1;
        }
        assert!(
            hits[..4].iter().all(|&n| (900..1_150).contains(&n)),
            "{hits:?}"
        );
    }
}
