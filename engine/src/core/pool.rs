//! Idle connections of one core by target, the longest idle first.

use std::collections::VecDeque;

/// Queues of slots, one per target. A connection that closes while idle leaves its entry behind;
/// the visit number tells such an entry from a live one.
#[derive(Default)]
pub(super) struct IdlePool {
    queues: Vec<VecDeque<(usize, u64)>>,
    visits: u64,
}

impl IdlePool {
    /// Puts a connection that begins to be idle at the end of its target's queue; gives the number
    /// of that visit.
    #[inline]
    pub(super) fn put(&mut self, slot: usize, target: usize) -> u64 {
        let visit = self.visit();
        if target >= self.queues.len() {
            self.queues.resize_with(target + 1, VecDeque::new);
        }
        self.queues[target].push_back((slot, visit));
        visit
    }

    /// Numbers a rest of a connection, so that it can be told from a later one.
    pub(super) const fn visit(&mut self) -> u64 {
        self.visits += 1;
        self.visits
    }

    /// Takes the connection to `target` that has been idle longest. Whether a slot is still idle in
    /// that visit, `is_idle` knows.
    #[inline]
    pub(super) fn take(
        &mut self,
        target: usize,
        is_idle: impl Fn(usize, u64) -> bool,
    ) -> Option<usize> {
        let queue = self.queues.get_mut(target)?;
        loop {
            let (slot, visit) = queue.pop_front()?;
            if is_idle(slot, visit) {
                return Some(slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_idle_first_and_no_ghosts() {
        // By slot: the visit in which it is idle.
        let mut idle = [None; 3];
        let mut pool = IdlePool::default();
        for slot in [2, 0, 1] {
            idle[slot] = Some(pool.put(slot, 0));
        }
        let take = |pool: &mut IdlePool, target, idle: &[Option<u64>; 3]| {
            pool.take(target, |slot, visit| idle[slot] == Some(visit))
        };
        idle[2] = None;
        assert_eq!(take(&mut pool, 0, &idle), Some(0));
        idle[0] = None;
        // Slot 1 closes, changes hands and is idle again: only the newer entry counts.
        idle[1] = Some(pool.put(1, 0));
        assert_eq!(take(&mut pool, 0, &idle), Some(1));
        idle[1] = None;
        assert_eq!(take(&mut pool, 0, &idle), None);
        // Another target has a queue of its own.
        idle[0] = Some(pool.put(0, 1));
        assert_eq!(take(&mut pool, 0, &idle), None);
        assert_eq!(take(&mut pool, 1, &idle), Some(0));
    }
}
