//! The embedded prose that prompts are cut from, as tokens of the run's tokenizer.
//!
//! Jane Austen's *Emma*, *Mansfield Park*, *Persuasion*, *Pride and Prejudice* and *Sense and
//! Sensibility*, and of the King James Version Genesis, the Psalms and the New Testament: in the
//! public domain, see `engine/assets/README.md`. 4.9 MB of ASCII, 1.1 million tokens: two of
//! 1,000 random prompts start at the same place about every second run. A smaller text would make
//! a server's prefix cache look better than it is.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::tokenizer::Tokenizer;

/// The text as a zlib stream.
static DEFLATED: &[u8] = include_bytes!("../../assets/corpus.txt.zz");
/// Bytes of the inflated text.
const TEXT_BYTES: usize = 4_938_930;
/// A chunk is closed at the first line end at or after this many bytes. Fixed, because the
/// chunk borders are part of what the tokens are.
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
    text: String,
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
        Ok(Self { text })
    }

    /// The chunks, each its lines trimmed and joined by one blank.
    fn chunks(&self) -> Vec<String> {
        let mut chunks = Vec::with_capacity(TEXT_BYTES / CHUNK_BYTES + 1);
        let mut open = String::with_capacity(CHUNK_BYTES + 1_000);
        for line in self
            .text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            if !open.is_empty() {
                open.push(' ');
            }
            open.push_str(line);
            if open.len() >= CHUNK_BYTES {
                chunks.push(std::mem::replace(
                    &mut open,
                    String::with_capacity(CHUNK_BYTES + 1_000),
                ));
            }
        }
        if !open.is_empty() {
            chunks.push(open);
        }
        chunks
    }
}

/// The tokens of the whole text.
pub struct Corpus {
    tokens: Vec<u32>,
}

impl Corpus {
    /// Encodes the text on `threads` threads; the same tokens for any number of them.
    ///
    /// # Errors
    /// When the tokenizer gives no tokens.
    pub fn encode(
        text: &CorpusText,
        tokenizer: &Tokenizer,
        threads: usize,
    ) -> Result<Self, CorpusError> {
        let chunks = text.chunks();
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            while let Some((index, chunk)) = claim(&chunks, &next) {
                done.push((index, tokenizer.encode(chunk)));
            }
            done
        };
        let mut encoded = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads.max(1)).map(|_| scope.spawn(work)).collect();
            let mut all = work();
            for other in others {
                match other.join() {
                    Ok(done) => all.extend(done),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            all
        });
        encoded.sort_unstable_by_key(|(index, _)| *index);
        let mut tokens = Vec::with_capacity(encoded.iter().map(|(_, ids)| ids.len()).sum());
        for (_, ids) in encoded {
            tokens.extend_from_slice(&ids);
        }
        if tokens.is_empty() {
            return Err(CorpusError::NoTokens {
                name: tokenizer.name().to_owned(),
            });
        }
        Ok(Self { tokens })
    }

    /// Inflates and encodes.
    ///
    /// # Errors
    /// As [`CorpusText::inflate`] and [`Corpus::encode`].
    pub fn load(tokenizer: &Tokenizer, threads: usize) -> Result<Self, CorpusError> {
        Self::encode(&CorpusText::inflate()?, tokenizer, threads)
    }

    /// How many tokens there are; at least one.
    pub fn size(&self) -> usize {
        self.tokens.len()
    }

    /// Appends `count` contiguous tokens from `start`, going on at the beginning after the end.
    pub fn extend(&self, into: &mut Vec<u32>, start: usize, count: usize) {
        into.reserve(count);
        let mut at = start % self.tokens.len();
        let mut left = count;
        while left > 0 {
            let run = left.min(self.tokens.len() - at);
            into.extend_from_slice(&self.tokens[at..at + run]);
            left -= run;
            at = 0;
        }
    }
}

fn claim<'a>(chunks: &'a [String], next: &AtomicUsize) -> Option<(usize, &'a String)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    chunks.get(index).map(|chunk| (index, chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_prose_of_the_stated_size() {
        let text = CorpusText::inflate().unwrap().text;
        assert_eq!(text.len(), TEXT_BYTES);
        assert!(text.is_ascii());
        assert!(text.contains("It is a truth universally acknowledged"));
        assert!(text.contains("In the beginning God created the heaven and the earth."));
        assert!(!text.contains("  ") && !text.contains('_') && !text.contains('<'));
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let text = CorpusText::inflate().unwrap();
        let tokenizer = Tokenizer::builtin().unwrap();
        let one = Corpus::encode(&text, &tokenizer, 1).unwrap();
        let three = Corpus::encode(&text, &tokenizer, 3).unwrap();
        assert_eq!(one.tokens, three.tokens);
        assert!(one.size() > 1_000_000, "{} tokens", one.size());
    }

    #[test]
    fn slices_wrap_at_the_end() {
        let corpus = Corpus {
            tokens: vec![1, 2, 3],
        };
        let mut tokens = vec![9];
        corpus.extend(&mut tokens, 2, 5);
        assert_eq!(tokens, [9, 3, 1, 2, 3, 1]);
    }
}
