//! Which numbers and slots of a run belong to one of several processes that make it together: pure
//! functions, so that nobody has to talk about them.
//!
//! Numbers go round in blocks of as many as there are servers, so that every shard meets all of
//! them: with a plain stride, two shards of a run with two servers would talk to one each.

/// The share of one process in a run. Number n belongs to shard ⌊n / block⌋ mod count.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Shard {
    index: u32,
    count: u32,
    block: u32,
}

impl Shard {
    /// The whole run: a process that is alone.
    pub const WHOLE: Self = Self {
        index: 0,
        count: 1,
        block: 1,
    };

    /// The most shards of a run.
    pub const MOST: u32 = 10_000;

    /// Shard `index` of `count`, where `block` numbers in a row belong to one; `None` if there is
    /// no such shard.
    pub const fn new(index: u32, count: u32, block: u32) -> Option<Self> {
        if index < count && count <= Self::MOST && block > 0 {
            Some(Self {
                index,
                count,
                block,
            })
        } else {
            None
        }
    }

    /// Its number, from 0.
    pub const fn index(self) -> u32 {
        self.index
    }

    /// How many there are.
    pub const fn count(self) -> u32 {
        self.count
    }

    /// How many numbers in a row belong to one.
    pub const fn block(self) -> u32 {
        self.block
    }

    /// Whether there is no other.
    #[inline]
    pub const fn is_whole(self) -> bool {
        self.count == 1
    }

    /// Numbers after which it is this shard's turn again.
    pub const fn round(self) -> u64 {
        self.count as u64 * self.block as u64
    }

    /// Whether a number is its own.
    #[inline]
    pub const fn owns(self, number: u64) -> bool {
        number / self.block as u64 % self.count as u64 == self.index as u64
    }

    /// Its own number `nth`, counted from 0; the largest there is where that is beyond all numbers.
    #[inline]
    pub const fn nth(self, nth: u64) -> u64 {
        if self.is_whole() {
            return nth;
        }
        let block = self.block as u64;
        let first = self.index as u64 * block + nth % block;
        (nth / block)
            .saturating_mul(self.round())
            .saturating_add(first)
    }

    /// How many of its numbers are below `end`.
    pub const fn below(self, end: u64) -> u64 {
        if self.is_whole() {
            return end;
        }
        let block = self.block as u64;
        let rest = (end % self.round()).saturating_sub(self.index as u64 * block);
        let rest = if rest < block { rest } else { block };
        end / self.round() * block + rest
    }

    /// How many of so many slots are its own: every `count`-th of them.
    pub const fn slots(self, all: u64) -> u64 {
        let others = all.saturating_sub(self.index as u64);
        others.div_ceil(self.count as u64)
    }

    /// The slots of core `core` of its `cores`, as the first of them and the step to the next.
    pub const fn stride(self, core: usize, cores: usize) -> (usize, usize) {
        let count = self.count as usize;
        let cores = if cores == 0 { 1 } else { cores };
        (self.index as usize + core * count, cores * count)
    }
}

impl Default for Shard {
    fn default() -> Self {
        Self::WHOLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    fn all(count: u32, block: u32) -> impl Iterator<Item = Shard> {
        (0..count).filter_map(move |index| Shard::new(index, count, block))
    }

    #[test]
    fn every_number_has_one_owner_whatever_the_counts() {
        let mut draws = Purpose::new(3, "shards").at(0);
        for _ in 0..300 {
            let (count, block) = (1 + draws.below(9) as u32, 1 + draws.below(5) as u32);
            let end = draws.below(200);
            let mut seen = Vec::new();
            for shard in all(count, block) {
                let own = shard.below(end);
                let numbers: Vec<u64> = (0..own).map(|nth| shard.nth(nth)).collect();
                assert!(numbers.is_sorted());
                assert!(numbers.iter().all(|&number| shard.owns(number)));
                assert!(shard.nth(own) >= end, "{shard:?} of {end}");
                seen.extend(numbers);
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..end).collect::<Vec<_>>(), "{count} × {block}");
        }
    }

    #[test]
    fn every_slot_has_one_owner_and_core() {
        for (count, cores, slots) in [(1, 1, 5), (3, 2, 17), (8, 3, 8), (5, 1, 3), (2, 4, 9)] {
            let mut seen = Vec::new();
            for shard in all(count, 2) {
                let mut own = 0;
                for core in 0..cores {
                    let (first, step) = shard.stride(core, cores);
                    let mine = (first..slots).step_by(step);
                    own += mine.len() as u64;
                    seen.extend(mine);
                }
                assert_eq!(own, shard.slots(slots as u64));
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..slots).collect::<Vec<_>>());
        }
    }

    #[test]
    fn every_shard_meets_every_server() {
        for servers in 1..5 {
            for shard in all(6, servers) {
                let met = (0..u64::from(servers)).map(|nth| shard.nth(nth) % u64::from(servers));
                let mut met: Vec<u64> = met.collect();
                met.sort_unstable();
                assert_eq!(met, (0..u64::from(servers)).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn there_is_no_shard_beyond_the_last() {
        assert_eq!(Shard::new(3, 3, 1), None);
        assert_eq!(Shard::new(0, 0, 1), None);
        assert_eq!(Shard::new(0, 1, 0), None);
        assert_eq!(Shard::new(0, 1, 1), Some(Shard::WHOLE));
        assert_eq!(Shard::new(1, 4, 2).unwrap().nth(u64::MAX), u64::MAX);
    }
}
