//! Idle connections of one core by target, the longest idle first.

use std::collections::VecDeque;

use super::connection::{Connection, State};

/// Queues of slots, one per target. A connection that closes while idle leaves its entry behind;
/// the visit number tells such an entry from a live one.
#[derive(Default)]
pub(super) struct IdlePool {
    queues: Vec<VecDeque<(usize, u64)>>,
    visits: u64,
}

impl IdlePool {
    /// Puts an idle connection at the end of its target's queue.
    #[inline]
    pub(super) fn put(&mut self, slot: usize, connection: &mut Connection) {
        let visit = self.visit(connection);
        let target = connection.target;
        if target >= self.queues.len() {
            self.queues.resize_with(target + 1, VecDeque::new);
        }
        self.queues[target].push_back((slot, visit));
    }

    /// Numbers a rest of a connection, so that it can be told from a later one.
    pub(super) fn visit(&mut self, connection: &mut Connection) -> u64 {
        self.visits += 1;
        connection.visit = self.visits;
        self.visits
    }

    /// Takes the connection to `target` that has been idle longest.
    #[inline]
    pub(super) fn take(&mut self, target: usize, connections: &[Connection]) -> Option<usize> {
        let queue = self.queues.get_mut(target)?;
        loop {
            let (slot, visit) = queue.pop_front()?;
            let connection = &connections[slot];
            if connection.state == State::Idle && connection.visit == visit {
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
        let mut connections: Vec<_> = (0..3).map(|_| Connection::default()).collect();
        let mut pool = IdlePool::default();
        for slot in [2, 0, 1] {
            connections[slot].state = State::Idle;
            pool.put(slot, &mut connections[slot]);
        }
        connections[2].state = State::Closed;
        assert_eq!(pool.take(0, &connections), Some(0));
        connections[0].state = State::Busy;
        // Slot 1 closes, changes hands and is idle again: only the newer entry counts.
        pool.put(1, &mut connections[1]);
        assert_eq!(pool.take(0, &connections), Some(1));
        connections[1].state = State::Busy;
        assert_eq!(pool.take(0, &connections), None);
        // Another target has a queue of its own.
        (connections[0].state, connections[0].target) = (State::Idle, 1);
        pool.put(0, &mut connections[0]);
        assert_eq!(pool.take(0, &connections), None);
        assert_eq!(pool.take(1, &connections), Some(0));
    }
}
