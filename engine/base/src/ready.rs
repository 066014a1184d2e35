//! A dataset as the cores take it: the turns of all conversations in one row, immutable.

use std::{io::IoSlice, ops::Range};

use crate::{clock::Span, rope::Rope};

/// Where the history goes in a turn's body, and what of the body becomes history.
///
/// History is earlier turns' own messages and the live replies to them: JSON objects, each with a
/// comma behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splice {
    /// Where in the whole body the history is inserted: right before the turn's own first message,
    /// behind a system message.
    pub at: usize,
    /// The bytes of the turn's own messages, without brackets: history for the next turn.
    pub own: Range<usize>,
}

/// One request to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadyTurn {
    /// The JSON body of this turn alone, without what `rope` puts into it.
    pub body: Vec<u8>,
    /// What of the body lies in a text that many turns share.
    pub rope: Option<Rope>,
    /// From the end of the turn before to this one.
    pub delay: Span,
    /// When a fixed schedule wants it sent, from the phase's start.
    pub at: Option<Span>,
    /// `None`: the body is complete by itself.
    pub history: Option<Splice>,
}

impl ReadyTurn {
    /// Bytes of the whole body.
    #[inline]
    pub fn size(&self) -> usize {
        self.rope
            .as_ref()
            .map_or(self.body.len(), |rope| rope.size(&self.body))
    }

    /// The whole body.
    #[inline]
    pub const fn whole(&self) -> Body<'_> {
        match &self.rope {
            None => Body::Whole(self.body.as_slice()),
            Some(rope) => Body::Roped(self.body.as_slice(), rope),
        }
    }

    /// Appends the bytes `range` of the whole body; nothing is allocated where `into` has the room.
    pub fn copy(&self, range: Range<usize>, into: &mut Vec<u8>) {
        match &self.rope {
            None => into.extend_from_slice(&self.body[range]),
            Some(rope) => rope.copy(&self.body, range, into),
        }
    }
}

/// A body where its bytes lie.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// In one piece.
    Whole(&'a [u8]),
    /// Its own bytes, and what is put into them.
    Roped(&'a [u8], &'a Rope),
}

impl<'a> Body<'a> {
    /// Number of its bytes.
    #[inline]
    pub const fn size(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Roped(own, rope) => rope.size(own),
        }
    }

    /// Appends all of it; nothing is allocated where `into` has the room.
    #[inline]
    pub fn append(&self, into: &mut Vec<u8>) {
        match self {
            Self::Whole(bytes) => into.extend_from_slice(bytes),
            Self::Roped(own, rope) => rope.copy(own, 0..rope.size(own), into),
        }
    }

    /// Fills `parts` with what comes after the first `skip` bytes, in order, as far as there is
    /// room. How many parts that are.
    pub fn parts(&self, mut skip: usize, parts: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        let mut put = |bytes: &'a [u8]| {
            let left = bytes.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(bytes.len());
            let room = parts.get_mut(filled);
            match (left.is_empty(), room) {
                (true, _) => true,
                (false, Some(part)) => {
                    *part = IoSlice::new(left);
                    filled += 1;
                    true
                }
                (false, None) => false,
            }
        };
        match self {
            Self::Whole(bytes) => {
                put(bytes);
            }
            Self::Roped(own, rope) => {
                rope.slices(own).all(put);
            }
        }
        filled
    }
}

/// All turns; the entry of a record is an index into them. Never empty.
#[derive(Clone, Debug, Default)]
pub struct Ready {
    turns: Vec<ReadyTurn>,
    /// Entry of each conversation's first turn, and the end.
    firsts: Vec<u32>,
    /// Ids of the conversations, for the correlation ids of a fixed schedule.
    names: Vec<String>,
}

impl Ready {
    /// Conversations of one turn each.
    pub fn singles(bodies: Vec<Vec<u8>>) -> Self {
        let single = |body| {
            let turn = ReadyTurn {
                body,
                rope: None,
                delay: Span::ZERO,
                at: None,
                history: None,
            };
            (String::new(), vec![turn])
        };
        Self::new(bodies.into_iter().map(single))
    }

    /// Named conversations of at least one turn each.
    pub fn new(conversations: impl IntoIterator<Item = (String, Vec<ReadyTurn>)>) -> Self {
        let mut ready = Self::default();
        for (name, turns) in conversations {
            ready.firsts.push(ready.turns.len() as u32);
            ready.turns.extend(turns);
            ready.names.push(name);
        }
        ready.firsts.push(ready.turns.len() as u32);
        ready
    }

    /// Number of conversations.
    pub const fn conversations(&self) -> usize {
        self.names.len()
    }

    /// Number of turns of all conversations.
    pub const fn entries(&self) -> usize {
        self.turns.len()
    }

    /// Whether every conversation is one turn.
    pub const fn is_single(&self) -> bool {
        self.turns.len() == self.names.len()
    }

    /// The entries of a conversation.
    #[inline]
    pub fn of(&self, conversation: usize) -> Range<u32> {
        self.firsts[conversation]..self.firsts[conversation + 1]
    }

    /// A turn by its entry.
    #[inline]
    pub fn turn(&self, entry: u32) -> &ReadyTurn {
        &self.turns[entry as usize]
    }

    /// The id of a conversation.
    pub fn name(&self, conversation: u32) -> &str {
        &self.names[conversation as usize]
    }

    /// When each conversation of a fixed schedule begins. One without an instant begins at once.
    pub fn starts(&self) -> Vec<Span> {
        let first = |&entry: &u32| self.turns[entry as usize].at.unwrap_or(Span::ZERO);
        self.firsts[..self.conversations()]
            .iter()
            .map(first)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::rope::Insert;
    use super::*;

    #[test]
    fn the_whole_of_a_turn_with_and_without_a_rope() {
        let mut ready = Ready::singles(vec![b"abc".to_vec()]);
        let mut part = Vec::new();
        ready.turn(0).copy(1..3, &mut part);
        assert_eq!((ready.turn(0).size(), part.as_slice()), (3, &b"bc"[..]));
        let insert = Insert {
            at: 1,
            len: 2,
            start: 1,
        };
        let rope = Rope::new(b"xyz".as_slice().into(), 3, vec![insert]);
        ready.turns[0].rope = Some(rope);
        ready.turn(0).copy(0..4, &mut part);
        assert_eq!((ready.turn(0).size(), part.as_slice()), (5, &b"bcayzb"[..]));
    }

    /// From every offset, and with room for any number of parts.
    #[test]
    fn parts_are_the_body_from_an_offset_on() {
        let inserts = [(0, 3, 2), (2, 0, 3), (2, 5, 0), (5, 4, 3)].map(|(at, start, len)| Insert {
            at,
            len,
            start,
        });
        let rope = Rope::new(b"0123456".as_slice().into(), 5, inserts.to_vec());
        let whole = b"34ab012cde456";
        for body in [Body::Roped(b"abcde", &rope), Body::Whole(whole)] {
            assert_eq!(body.size(), whole.len());
            for (skip, room) in (0..=whole.len()).flat_map(|s| (1..7).map(move |r| (s, r))) {
                let mut parts = [IoSlice::new(b""); 7];
                let filled = body.parts(skip, &mut parts[..room]);
                assert!(parts[..filled].iter().all(|part| !part.is_empty()));
                let bytes: Vec<u8> = parts[..filled]
                    .iter()
                    .flat_map(|p| p.iter().copied())
                    .collect();
                assert!(whole[skip..].starts_with(&bytes));
                assert!(
                    filled == room || bytes == whole[skip..],
                    "{skip} {room} {bytes:?}"
                );
            }
        }
    }
}
