//! Prompts that are slices of the embedded corpus, held as the places of these slices: as texts of
//! their own they would be most of the memory of a run with many streams.
//!
//! The bodies are compared with the corpus byte by byte. Whatever made them, and whatever is around
//! the prompts, what is sent stays the same.

use std::collections::HashMap;
use std::sync::Arc;

use pinfire_base::ready::ReadyTurn;
use pinfire_base::rope::{Insert, Rope};

use crate::text::corpus::{CorpusText, TEXT_BYTES};

/// Bytes that are looked for at once, and how far apart those of the corpus lie that can be found.
const BLOCK: usize = 16;
const STRIDE: usize = 64;

/// A slice is worth its place from this length on.
const LEAST: usize = 4 * STRIDE;

/// Bodies share the corpus where they are this many times as large together.
const WORTH: usize = 4;

/// The corpus as it stands in bodies, and where its blocks are.
struct Shared {
    pool: Arc<[u8]>,
    blocks: HashMap<[u8; BLOCK], usize>,
}

/// Has the bodies of these turns share the corpus, as far as they are slices of it. Those that take
/// a history stay as they are.
pub(super) fn share(turns: &mut [&mut ReadyTurn]) {
    let bytes: usize = turns.iter().map(|turn| turn.body.len()).sum();
    if bytes < WORTH * TEXT_BYTES {
        return;
    }
    // A corpus that cannot be read has been reported where the prompts were made.
    let Ok(text) = CorpusText::inflate() else {
        return;
    };
    let shared = Shared::new(&text);
    for turn in turns {
        if turn.rope.is_none() && turn.history.is_none() {
            shared.apply(turn);
        }
    }
}

impl Shared {
    fn new(text: &CorpusText) -> Self {
        let mut pool = Vec::with_capacity(TEXT_BYTES);
        for chunk in text.chunks() {
            let quoted = serde_json::Value::from(chunk.as_str()).to_string();
            pool.extend_from_slice(quoted.trim_matches('"').as_bytes());
        }
        let starts = (0..pool.len()).step_by(STRIDE);
        let blocks = starts.filter_map(|at| Some((*pool.get(at..)?.first_chunk()?, at)));
        Self {
            blocks: blocks.collect(),
            pool: pool.into(),
        }
    }

    /// Replaces what of the body is in the pool, if anything is.
    fn apply(&self, turn: &mut ReadyTurn) {
        let body = turn.body.as_slice();
        let (mut own, mut inserts) = (Vec::new(), Vec::new());
        // The body is done with up to `from`, and no slice of the pool has been found up to `at`.
        let (mut from, mut at) = (0, 0);
        while let Some(block) = body.get(at..).and_then(<[u8]>::first_chunk) {
            let found = self.blocks.get(block).map(|&place| {
                let before = body[from..at].iter().rev();
                let before = before.zip(self.pool[..place].iter().rev());
                let back = before.take_while(|(one, other)| one == other).count();
                let behind = body[at..].iter().zip(&self.pool[place..]);
                let on = behind.take_while(|(one, other)| one == other).count();
                (place - back, back, on)
            });
            match found {
                Some((start, back, on)) if back + on >= LEAST => {
                    own.extend_from_slice(&body[from..at - back]);
                    inserts.push(Insert {
                        at: own.len() as u32,
                        len: (back + on) as u32,
                        start: start as u64,
                    });
                    at += on;
                    from = at;
                }
                _ => at += 1,
            }
        }
        if inserts.is_empty() {
            return;
        }
        own.extend_from_slice(&body[from..]);
        turn.rope = Some(Rope::new(Arc::clone(&self.pool), own.len(), inserts));
        // A copy: shrinking in place would keep the room.
        turn.body = own.as_slice().to_vec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pinfire_base::clock::Span;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static SHARED: LazyLock<Shared> =
        LazyLock::new(|| Shared::new(&CorpusText::inflate().unwrap()));

    fn turn(body: Vec<u8>) -> ReadyTurn {
        ReadyTurn {
            body,
            rope: None,
            delay: Span::ZERO,
            at: None,
            history: None,
        }
    }

    fn whole(turn: &ReadyTurn) -> Vec<u8> {
        let mut whole = Vec::new();
        turn.copy(0..turn.size(), &mut whole);
        whole
    }

    proptest! {
        /// Slices of the corpus, long and short, with other bytes between them and at the ends.
        #[test]
        fn what_is_sent_stays_the_same(
            parts in prop::collection::vec(
                (0_usize..4_900_000, 0_usize..3_000, prop::collection::vec(any::<u8>(), 0..40)),
                0..5,
            )
        ) {
            let mut body = b"{\"content\":\"".to_vec();
            let mut long = 0;
            for (start, len, other) in parts {
                body.extend_from_slice(&SHARED.pool[start..start + len]);
                body.extend_from_slice(&other);
                long += if len >= LEAST + STRIDE + BLOCK { len } else { 0 };
            }
            let mut turn = turn(body.clone());
            SHARED.apply(&mut turn);
            prop_assert_eq!(whole(&turn), &*body);
            prop_assert_eq!(turn.size(), body.len());
            // A slice may begin with bytes of another, and then is found in two parts or not at its
            // whole length; but never is most of a long one left in the body.
            prop_assert!(turn.body.len() <= body.len() - long / 2, "{} {}", turn.body.len(), long);
        }
    }

    #[test]
    fn few_bodies_are_left_alone_and_many_share() {
        let body = |n: usize| {
            let start = n * 1_000 % 4_900_000;
            [
                b"{\"prompt\":\"",
                &SHARED.pool[start..start + 2_600],
                b"\"}",
            ]
            .concat()
        };
        for (count, shares) in [(100, false), (8_000, true)] {
            let mut turns: Vec<ReadyTurn> = (0..count).map(|n| turn(body(n))).collect();
            share(&mut turns.iter_mut().collect::<Vec<_>>());
            let own: usize = turns.iter().map(|turn| turn.body.len()).sum();
            assert_eq!(own < count * 100, shares, "{own}");
            assert!(
                turns
                    .iter()
                    .enumerate()
                    .all(|(n, turn)| whole(turn) == body(n))
            );
        }
    }
}
