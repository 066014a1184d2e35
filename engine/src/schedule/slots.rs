//! Slots of one core: how much may be under way at once, and since when there is room.

use std::{collections::VecDeque, iter::StepBy, ops::Range};

use pinfire_base::{
    clock::{Span, Stamp},
    shard::Shard,
};

use super::Backoff;

/// A limit over all cores of all shards, and how fast it opens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Slots over all of them, at least 1.
    pub slots: usize,
    /// From one slot to all of them, evenly; `None` or zero: all are open from the start.
    pub ramp: Option<Span>,
    /// Whose share is meant here: every shard has every so manieth slot.
    pub shard: Shard,
}

impl Limit {
    /// So many slots from the start, for one process.
    pub const fn of(slots: usize) -> Self {
        Self {
            slots,
            ramp: None,
            shard: Shard::WHOLE,
        }
    }

    /// When slot `number` opens, after the phase's start: the value v is reached at
    /// ramp · (v − 1) / (slots − 1).
    fn opens(&self, number: usize) -> Span {
        let ramp = u128::from(self.ramp.unwrap_or(Span::ZERO).nanos());
        let steps = self.slots.saturating_sub(1).max(1) as u128;
        Span::from_nanos((ramp * number as u128 / steps) as u64)
    }

    /// The slots of core `core` of `cores`.
    fn of_core(&self, core: usize, cores: usize) -> StepBy<Range<usize>> {
        let (first, step) = self.shard.stride(core, cores);
        (first..self.slots).step_by(step)
    }

    /// How many of them core `core` of `cores` has.
    pub(crate) fn share(&self, core: usize, cores: usize) -> usize {
        self.of_core(core, cores).len()
    }

    /// How many of them all cores of this process have.
    pub fn own(&self) -> usize {
        self.share(0, 1)
    }
}

/// A slot that nobody has.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// Since when it is free, or when it will be.
    opens: Stamp,
    /// How its last requests fared.
    backoff: Backoff,
}

impl Slot {
    /// One that has no past.
    const fn new(opens: Stamp) -> Self {
        Self {
            opens,
            backoff: Backoff::NEVER,
        }
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
        free: VecDeque<Slot>,
        /// Those that a ramp has not handed out yet or that rest, by when they open.
        opening: VecDeque<Slot>,
    },
}

impl Slots {
    /// The share of core `core` of `cores`: every `cores`-th slot of the shard, so that the shares
    /// sum up to the limit and open in turn.
    pub fn new(limit: Option<Limit>, begun: Stamp, core: usize, cores: usize) -> Self {
        let Some(limit) = limit else {
            return Self::Unlimited(begun);
        };
        let mine = limit.of_core(core, cores);
        Self::Limited {
            free: VecDeque::with_capacity(mine.len()),
            opening: mine
                .map(|number| Slot::new(begun + limit.opens(number)))
                .collect(),
        }
    }

    /// Since when the next slot is free, or when it opens; `None` when none is left.
    #[inline]
    pub fn next(&self) -> Option<Stamp> {
        match self {
            Self::Unlimited(begun) => Some(*begun),
            Self::Limited { free, opening } => match (free.front(), opening.front()) {
                (Some(free), Some(opening)) => Some(free.opens.min(opening.opens)),
                (free, opening) => free.or(opening).map(|slot| slot.opens),
            },
        }
    }

    /// Takes the slot that [`next`](Self::next) told of; gives how its last requests fared.
    #[inline]
    pub fn take(&mut self) -> Backoff {
        let Self::Limited { free, opening } = self else {
            return Backoff::NEVER;
        };
        let slot = match (free.front(), opening.front()) {
            (Some(freed), Some(next)) if next.opens < freed.opens => opening.pop_front(),
            (Some(_), _) => free.pop_front(),
            (None, _) => opening.pop_front(),
        };
        slot.map_or(Backoff::NEVER, |slot| slot.backoff)
    }

    /// Gives a slot back.
    #[inline]
    pub fn give(&mut self, at: Stamp) {
        self.give_back(at, Span::ZERO, Backoff::NEVER);
    }

    /// The same for one with a past; it opens after `rest`.
    #[inline]
    pub fn give_back(&mut self, at: Stamp, rest: Span, backoff: Backoff) {
        let Self::Limited { free, opening } = self else {
            return;
        };
        let opens = at + rest;
        let slot = Slot { opens, backoff };
        if rest == Span::ZERO {
            free.push_back(slot);
        } else {
            let place = opening.partition_point(|other| other.opens <= opens);
            opening.insert(place, slot);
        }
    }

    /// What is left of all rests at an instant.
    pub fn rest_left(&self, at: Stamp) -> Span {
        let Self::Limited { opening, .. } = self else {
            return Span::ZERO;
        };
        let resting = opening.iter().filter(|slot| slot.backoff.is_resting());
        Span::from_nanos(resting.map(|slot| slot.opens.since(at).nanos()).sum())
    }

    /// Lends up to `count` slots that nobody has taken yet, those that open first; gives when.
    pub(crate) fn lend(&mut self, count: usize) -> Vec<Stamp> {
        match self {
            Self::Unlimited(_) => Vec::new(),
            Self::Limited { opening, .. } => {
                let lent = opening.drain(..count.min(opening.len()));
                lent.map(|slot| slot.opens).collect()
            }
        }
    }

    /// Holds back up to `count` slots, those that open last, the last of them first.
    pub(crate) fn withhold(&mut self, count: usize) -> Vec<Stamp> {
        match self {
            Self::Unlimited(_) => Vec::new(),
            Self::Limited { opening, .. } => {
                let kept = opening.len().saturating_sub(count);
                let withheld = opening.drain(kept..).rev();
                withheld.map(|slot| slot.opens).collect()
            }
        }
    }

    /// A slot that was lent or held back comes back at `at`; it opens no earlier than before.
    pub(crate) fn regain(&mut self, opens: Stamp, at: Stamp) {
        match self {
            Self::Limited { opening, .. } if opens > at => {
                let place = opening.partition_point(|other| other.opens < opens);
                opening.insert(place, Slot::new(opens));
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
            ramp: Some(Span::from_nanos(400)),
            ..Limit::of(5)
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

    /// The slots of all shards open at the instants at which those of one process do.
    #[test]
    fn shards_share_a_ramp() {
        let whole = Limit {
            ramp: Some(Span::from_nanos(1_600)),
            ..Limit::of(17)
        };
        let opens = |limit: Limit, cores: usize| {
            let of_core = move |core| {
                let mut slots = Slots::new(Some(limit), at(1_000), core, cores);
                std::iter::from_fn(move || {
                    let opens = slots.next()?;
                    slots.take();
                    Some(opens)
                })
            };
            (0..cores).flat_map(of_core).collect::<Vec<Stamp>>()
        };
        let expected = opens(whole, 1);
        for (count, cores) in [(1, 3), (2, 1), (3, 2), (8, 2), (17, 1), (20, 1)] {
            let mut seen = Vec::new();
            for index in 0..count {
                let shard = Shard::new(index, count, 3).unwrap();
                let limit = Limit { shard, ..whole };
                let own = opens(limit, cores);
                assert_eq!(own.len(), limit.own());
                seen.extend(own);
            }
            seen.sort_unstable();
            assert_eq!(seen, expected, "{count} of {cores}");
        }
    }

    #[test]
    fn a_slot_that_rests_lets_the_others_go_first_and_keeps_its_past() {
        let mut slots = Slots::new(Some(Limit::of(3)), at(1_000), 0, 1);
        let mut rested = slots.take();
        slots.take();
        slots.take();
        assert_eq!(slots.next(), None);
        rested.has_rested = true;
        slots.give_back(at(2_000), Span::from_nanos(500), rested);
        slots.give_back(at(2_000), Span::from_nanos(300), rested);
        slots.give(at(2_100));
        assert_eq!(slots.next(), Some(at(2_100)));
        assert!(!slots.take().has_rested);
        for opens in [2_300, 2_500] {
            assert_eq!(slots.next(), Some(at(opens)));
            assert!(slots.take().has_rested);
        }
        assert_eq!(slots.next(), None);
    }

    #[test]
    fn without_a_limit_there_is_always_room() {
        let mut slots = Slots::new(None, at(7), 3, 4);
        slots.take();
        assert_eq!(slots.next(), Some(at(7)));
    }
}
