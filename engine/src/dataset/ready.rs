//! A dataset as the cores take it: the turns of all conversations in one row, immutable.

use std::ops::Range;

use super::{Conversation, Splice};
use crate::clock::Span;

/// One request to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadyTurn {
    /// The JSON body of this turn alone.
    pub body: Vec<u8>,
    /// From the end of the turn before to this one.
    pub delay: Span,
    /// When a fixed schedule wants it sent, from the phase's start.
    pub at: Option<Span>,
    /// `None`: the body is complete by itself.
    pub history: Option<Splice>,
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

    /// The conversations of a dataset.
    pub fn of_dataset(conversations: Vec<Conversation>) -> Self {
        Self::new(conversations.into_iter().map(|conversation| {
            let turns = conversation.turns.into_iter().map(|turn| ReadyTurn {
                body: turn.body,
                delay: turn.delay.unwrap_or(Span::ZERO),
                at: turn.timestamp,
                history: turn.history,
            });
            (conversation.session_id, turns.collect())
        }))
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
