//! Numbers that all cores of a phase draw from, each given out once.

use std::sync::atomic::{AtomicU64, Ordering};

use pinfire_base::shard::Shard;

/// The numbers `0..end` in order, or those of them that belong to a shard.
#[derive(Debug)]
pub struct SharedCounter {
    /// How many have been taken.
    next: AtomicU64,
    /// How many there are to take.
    own: u64,
    end: u64,
    shard: Shard,
}

impl SharedCounter {
    /// The numbers `0..end`.
    pub const fn new(end: u64) -> Self {
        Self::of(Shard::WHOLE, end)
    }

    /// Those of the numbers `0..end` that are the shard's.
    pub const fn of(shard: Shard, end: u64) -> Self {
        let own = match end {
            // No end is none for every shard.
            u64::MAX => u64::MAX,
            _ => shard.below(end),
        };
        Self {
            next: AtomicU64::new(0),
            own,
            end,
            shard,
        }
    }

    /// The next number, `None` when all have been taken.
    #[inline]
    pub fn take(&self) -> Option<u64> {
        // The look before the step keeps the counter from running away once it is at the end.
        (self.next.load(Ordering::Relaxed) < self.own)
            .then(|| self.next.fetch_add(1, Ordering::Relaxed))
            .filter(|&nth| nth < self.own)
            .map(|nth| self.shard.nth(nth))
    }

    /// How many there are for all shards together.
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// How many there are to take.
    pub const fn own(&self) -> u64 {
        self.own
    }

    /// How many have been taken.
    pub fn taken(&self) -> u64 {
        self.next.load(Ordering::Relaxed).min(self.own)
    }

    /// Whether none is left.
    pub fn exhausted(&self) -> bool {
        self.taken() == self.own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_once() {
        let numbers = SharedCounter::new(1_000);
        let mut seen: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| std::iter::from_fn(|| numbers.take()).collect::<Vec<_>>()))
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        seen.sort_unstable();
        assert_eq!(seen, (0..1_000).collect::<Vec<_>>());
        assert_eq!(numbers.take(), None);
        assert_eq!(numbers.taken(), 1_000);
        assert!(numbers.exhausted());
    }

    #[test]
    fn shards_take_each_number_once() {
        for (count, block, end) in [(1, 1, 20), (3, 1, 50), (3, 2, 41), (8, 3, 30), (4, 1, 0)] {
            let mut seen = Vec::new();
            for index in 0..count {
                let shard = Shard::new(index, count, block).unwrap();
                let numbers = SharedCounter::of(shard, end);
                let taken: Vec<u64> = std::iter::from_fn(|| numbers.take()).collect();
                assert_eq!(taken.len() as u64, numbers.own());
                assert!(numbers.exhausted() && numbers.end() == end);
                seen.extend(taken);
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..end).collect::<Vec<_>>());
        }
        let endless = SharedCounter::of(Shard::new(1, 2, 1).unwrap(), u64::MAX);
        assert_eq!([endless.take(), endless.take()], [Some(1), Some(3)]);
        assert!(!endless.exhausted() && endless.end() == u64::MAX);
    }
}
