//! The closed loop: a request is due as soon as one of the slots is free.

use std::sync::atomic::{AtomicU64, Ordering};

/// The one index that all cores of a phase draw from.
#[derive(Debug)]
pub struct ClosedLoop {
    next: AtomicU64,
    end: u64,
}

impl ClosedLoop {
    /// Indices `0..requests`.
    pub const fn new(requests: u64) -> Self {
        Self {
            next: AtomicU64::new(0),
            end: requests,
        }
    }

    /// The next index, `None` when all have been taken.
    #[inline]
    pub fn take(&self) -> Option<u64> {
        // The look before the step keeps the counter from running away once it is at the end.
        (self.next.load(Ordering::Relaxed) < self.end)
            .then(|| self.next.fetch_add(1, Ordering::Relaxed))
            .filter(|&index| index < self.end)
    }

    /// Number of indices taken.
    pub fn taken(&self) -> u64 {
        self.next.load(Ordering::Relaxed).min(self.end)
    }
}

/// The slots of core `core` when `total` are spread over `cores`: they sum up to `total`.
pub const fn share(total: usize, core: usize, cores: usize) -> usize {
    total / cores + (core < total % cores) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_index_once() {
        let schedule = ClosedLoop::new(1_000);
        let mut seen: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| std::iter::from_fn(|| schedule.take()).collect::<Vec<_>>()))
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        seen.sort_unstable();
        assert_eq!(seen, (0..1_000).collect::<Vec<_>>());
        assert_eq!(schedule.take(), None);
        assert_eq!(schedule.taken(), 1_000);
    }

    #[test]
    fn shares_sum_up() {
        for (total, cores) in [(1, 4), (7, 3), (100, 1), (3, 3)] {
            assert_eq!(
                (0..cores)
                    .map(|core| share(total, core, cores))
                    .sum::<usize>(),
                total
            );
        }
    }
}
