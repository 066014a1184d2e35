//! All connections of a core: their slots, those that are vacant, those that wait for a request.

use std::{
    ops::{Index, IndexMut},
    rc::Rc,
};

use pinfire_proto::Scan;

use super::{
    connection::{Connection, Idle, State},
    pool::IdlePool,
};
use crate::{net::Pollable, request::Request};

/// Slots by their number. A slot is taken by [`Connections::open`] and vacant again when the last
/// task of its connection has ended.
#[derive(Default)]
pub(super) struct Connections {
    slots: Vec<Connection>,
    vacant: Vec<usize>,
    idle: IdlePool,
    /// Connections begun by target, from a number of this core's own, so that cores differ in the
    /// addresses that come first.
    dialled: Vec<usize>,
}

impl Connections {
    /// Prepares for so many targets; those that are new count from `first`.
    pub(super) fn expect_targets(&mut self, targets: usize, first: usize) {
        self.dialled.resize(targets, first);
    }

    /// The number of the next connection to this target.
    pub(super) fn dial(&mut self, target: usize) -> usize {
        let number = self.dialled[target];
        self.dialled[target] += 1;
        number
    }

    /// Gives a new connection a slot; its connect is pending.
    pub(super) fn open(
        &mut self,
        scan: Scan,
        socket: Rc<Pollable>,
        target: usize,
        request: Request,
    ) -> usize {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Connection::of(scan));
            self.slots.len() - 1
        });
        self.slots[slot].open(socket, target, request);
        slot
    }

    /// The last task of a connection has ended: its slot may be used again.
    pub(super) fn vacate(&mut self, slot: usize) {
        self.vacant.push(slot);
    }

    /// A number for a connection that begins to wait for its session's next request.
    pub(super) const fn visit(&mut self) -> u64 {
        self.idle.visit()
    }

    /// The same for one that whoever comes next to its target may take.
    #[inline]
    pub(super) fn pool(&mut self, slot: usize) -> u64 {
        self.idle.put(slot, self.slots[slot].target)
    }

    /// The connection to `target` that has waited longest.
    #[inline]
    pub(super) fn take_idle(&mut self, target: usize) -> Option<(usize, &Idle)> {
        let slots = &self.slots;
        let slot = self
            .idle
            .take(target, |slot, visit| slots[slot].is_idle_in(visit))?;
        match &slots[slot].state {
            State::Idle(idle) => Some((slot, idle)),
            State::Carrying(_) | State::Closed => unreachable!("the pool gives what is idle"),
        }
    }

    /// Hangs up wherever no request is carried.
    pub(super) fn close_all_idle(&mut self) {
        for connection in &mut self.slots {
            if matches!(connection.state, State::Idle(_)) {
                connection.close_idle();
            }
        }
    }

    /// The numbers of all slots.
    pub(super) const fn all(&self) -> std::ops::Range<usize> {
        0..self.slots.len()
    }
}

impl Index<usize> for Connections {
    type Output = Connection;

    #[inline]
    fn index(&self, slot: usize) -> &Connection {
        &self.slots[slot]
    }
}

impl IndexMut<usize> for Connections {
    #[inline]
    fn index_mut(&mut self, slot: usize) -> &mut Connection {
        &mut self.slots[slot]
    }
}
