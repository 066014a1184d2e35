//! Numbers that all cores of a phase draw from, each given out once.

use std::sync::atomic::{AtomicU64, Ordering};

/// The numbers `0..end` in order.
#[derive(Debug)]
pub struct SharedCounter {
    next: AtomicU64,
    end: u64,
}

impl SharedCounter {
    /// The numbers `0..end`.
    pub const fn new(end: u64) -> Self {
        Self {
            next: AtomicU64::new(0),
            end,
        }
    }

    /// The next number, `None` when all have been taken.
    #[inline]
    pub fn take(&self) -> Option<u64> {
        // The look before the step keeps the counter from running away once it is at the end.
        (self.next.load(Ordering::Relaxed) < self.end)
            .then(|| self.next.fetch_add(1, Ordering::Relaxed))
            .filter(|&number| number < self.end)
    }

    /// How many there are.
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// How many have been taken.
    pub fn taken(&self) -> u64 {
        self.next.load(Ordering::Relaxed).min(self.end)
    }

    /// Whether none is left.
    pub fn exhausted(&self) -> bool {
        self.taken() == self.end
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
}
