//! Slots of one core: how much may be under way at once, and since when there is room.

use std::collections::VecDeque;

use pinfire_base::clock::{Span, Stamp};

/// A limit over all cores, and how fast it opens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Slots over all cores, at least 1.
    pub slots: usize,
    /// From one slot to all of them, evenly; `None` or zero: all are open from the start.
    pub ramp: Option<Span>,
}

impl Limit {
    /// So many slots from the start.
    pub const fn of(slots: usize) -> Self {
        Self { slots, ramp: None }
    }

    /// When slot `number` opens, after the phase's start: the value v is reached at
    /// ramp · (v − 1) / (slots − 1).
    fn opens(&self, number: usize) -> Span {
        let ramp = u128::from(self.ramp.unwrap_or(Span::ZERO).nanos());
        let steps = self.slots.saturating_sub(1).max(1) as u128;
        Span::from_nanos((ramp * number as u128 / steps) as u64)
    }

    /// How many of them core `core` of `cores` has.
    pub(crate) fn share(&self, core: usize, cores: usize) -> usize {
        (core..self.slots).step_by(cores.max(1)).len()
    }
}

/// The slots of one core.
#[derive(Debug)]
pub enum Slots {
    /// Always room, since the phase began.
    Unlimited(Stamp),
    /// These only.
    Limited {
        /// Free since, the longest free first.
        free: VecDeque<Stamp>,
        /// Those that a ramp has not handed out yet, and when they open.
        opening: VecDeque<Stamp>,
    },
}

impl Slots {
    /// The share of core `core` of `cores`: every `cores`-th slot, so that the shares sum up to the
    /// limit and open in turn.
    pub fn new(limit: Option<Limit>, begun: Stamp, core: usize, cores: usize) -> Self {
        let Some(limit) = limit else {
            return Self::Unlimited(begun);
        };
        let mine = (core..limit.slots).step_by(cores);
        Self::Limited {
            free: VecDeque::with_capacity(mine.len()),
            opening: mine.map(|number| begun + limit.opens(number)).collect(),
        }
    }

    /// Since when the next slot is free, or when it opens; `None` when none is left.
    #[inline]
    pub fn next(&self) -> Option<Stamp> {
        match self {
            Self::Unlimited(begun) => Some(*begun),
            Self::Limited { free, opening } => match (free.front(), opening.front()) {
                (Some(&free), Some(&opens)) => Some(free.min(opens)),
                (free, opening) => free.or(opening).copied(),
            },
        }
    }

    /// Takes the slot that [`next`](Self::next) told of.
    #[inline]
    pub fn take(&mut self) {
        if let Self::Limited { free, opening } = self {
            match (free.front(), opening.front()) {
                (Some(freed), Some(opens)) if opens < freed => opening.pop_front(),
                (Some(_), _) => free.pop_front(),
                (None, _) => opening.pop_front(),
            };
        }
    }

    /// Gives a slot back.
    #[inline]
    pub fn give(&mut self, at: Stamp) {
        if let Self::Limited { free, .. } = self {
            free.push_back(at);
        }
    }

    /// Lends up to `count` slots that nobody has taken yet, those that open first; gives when.
    pub(crate) fn lend(&mut self, count: usize) -> Vec<Stamp> {
        match self {
            Self::Unlimited(_) => Vec::new(),
            Self::Limited { opening, .. } => opening.drain(..count.min(opening.len())).collect(),
        }
    }

    /// Holds back up to `count` slots, those that open last, the last of them first.
    pub(crate) fn withhold(&mut self, count: usize) -> Vec<Stamp> {
        match self {
            Self::Unlimited(_) => Vec::new(),
            Self::Limited { opening, .. } => {
                let kept = opening.len().saturating_sub(count);
                opening.drain(kept..).rev().collect()
            }
        }
    }

    /// A slot that was lent or held back comes back at `at`; it opens no earlier than before.
    pub(crate) fn regain(&mut self, opens: Stamp, at: Stamp) {
        match self {
            Self::Limited { opening, .. } if opens > at => {
                let place = opening.partition_point(|&other| other < opens);
                opening.insert(place, opens);
            }
            _ => self.give(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Stamp {
        Stamp::from_nanos(nanos)
    }

    #[test]
    fn shares_sum_up() {
        for (total, cores) in [(1, 4), (7, 3), (100, 1), (3, 3)] {
            let sum: usize = (0..cores)
                .map(|core| {
                    let mut slots = Slots::new(Some(Limit::of(total)), at(5), core, cores);
                    let mut count = 0;
                    while slots.next().is_some() {
                        slots.take();
                        count += 1;
                    }
                    count
                })
                .sum();
            assert_eq!(sum, total);
        }
    }

    #[test]
    fn a_ramp_opens_one_by_one_and_freed_slots_go_first() {
        let limit = Limit {
            slots: 5,
            ramp: Some(Span::from_nanos(400)),
        };
        let mut slots = Slots::new(Some(limit), at(1_000), 0, 1);
        for opens in [1_000, 1_100, 1_200] {
            assert_eq!(slots.next(), Some(at(opens)));
            slots.take();
        }
        slots.give(at(1_250));
        assert_eq!(slots.next(), Some(at(1_250)));
        slots.take();
        assert_eq!(slots.next(), Some(at(1_300)));
        // The second of two cores has every other slot.
        let mut second = Slots::new(Some(limit), at(1_000), 1, 2);
        assert_eq!(second.next(), Some(at(1_100)));
        second.take();
        assert_eq!(second.next(), Some(at(1_300)));
    }

    #[test]
    fn without_a_limit_there_is_always_room() {
        let mut slots = Slots::new(None, at(7), 3, 4);
        slots.take();
        assert_eq!(slots.next(), Some(at(7)));
    }
}
