//! All connections of a core: their slots, those that are vacant, those that wait for a request.

use std::{
    ops::{Index, IndexMut},
    rc::Rc,
};

use pinfire_base::clock::Stamp;
use pinfire_proto::Scan;

use super::{
    connection::{Connection, Idle, State},
    dial::Dial,
    keep_alive::KeepAlive,
    pool::IdlePool,
};
use crate::{io::Io, plan::Target, request::Request};

/// Slots by their number. A slot is taken by [`Connections::open`] and vacant again when the last
/// task of its connection has ended.
pub(super) struct Connections<I: Io> {
    slots: Vec<Connection<I>>,
    vacant: Vec<usize>,
    idle: IdlePool,
    /// By target: which address is next, and how long the server keeps what is idle.
    dials: Vec<Dial>,
    keep_alives: Vec<KeepAlive>,
}

impl<I: Io> Default for Connections<I> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            vacant: Vec::new(),
            idle: IdlePool::default(),
            dials: Vec::new(),
            keep_alives: Vec::new(),
        }
    }
}

impl<I: Io> Connections<I> {
    /// Prepares for these targets; connections to those that are new count from `first`, so that
    /// cores differ in the addresses that come first.
    pub(super) fn expect_targets(&mut self, targets: &[Target], first: usize) {
        self.dials.resize_with(targets.len(), || Dial::new(first));
        self.keep_alives.resize(targets.len(), KeepAlive::default());
        for (dial, target) in self.dials.iter_mut().zip(targets) {
            dial.expect(target.addresses.len() + target.spare.len());
        }
    }

    /// Makes room for this many connections. Growing in the middle of a load would copy all of them
    /// and leave the memory of the old ones behind.
    pub(super) fn make_room_for(&mut self, connections: usize) {
        let missing = connections.saturating_sub(self.slots.len());
        self.slots.reserve(missing);
    }

    /// Which address of this target is next.
    pub(super) fn dial(&mut self, target: usize) -> &mut Dial {
        &mut self.dials[target]
    }

    /// How long this target keeps connections that rest.
    #[inline]
    pub(super) fn keep_alive(&mut self, target: usize) -> &mut KeepAlive {
        &mut self.keep_alives[target]
    }

    /// An idle connection was closed by its server. What that says of how long it keeps them is
    /// remembered.
    pub(super) fn closed_while_idle(&mut self, slot: usize, at: Stamp) {
        let connection = &mut self.slots[slot];
        if let State::Idle(idle) = &connection.state {
            self.keep_alives[connection.target].closed(at.since(idle.since), at);
        }
        connection.close_idle();
    }

    /// Gives a new connection a slot; its connect is pending.
    pub(super) fn open(
        &mut self,
        scan: Scan,
        socket: Rc<I::Socket>,
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
        self.slots[slot].vacate();
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
    pub(super) fn take_idle(&mut self, target: usize) -> Option<(usize, &Idle<I>)> {
        let slots = &self.slots;
        let slot = self
            .idle
            .take(target, |slot, visit| slots[slot].is_idle_in(visit))?;
        match &slots[slot].state {
            State::Idle(idle) => Some((slot, idle)),
            _ => unreachable!("the pool gives what is idle"),
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

    /// Panics unless exactly the slots with a request have a deadline, and none that is vacant
    /// holds a connection. Gives how many are not vacant.
    #[cfg(test)]
    pub(super) fn hold_together(&self, clock: &super::clock::LoopClock) -> usize {
        for (slot, connection) in self.slots.iter().enumerate() {
            let carries = connection.request().is_some();
            assert_eq!(
                carries,
                clock.has_deadline(slot),
                "the deadline of slot {slot}"
            );
        }
        for &slot in &self.vacant {
            let state = &self.slots[slot].state;
            assert!(matches!(state, State::Vacant), "slot {slot} is vacant");
        }
        self.slots.len() - self.vacant.len()
    }

    /// The numbers of all slots.
    pub(super) const fn all(&self) -> std::ops::Range<usize> {
        0..self.slots.len()
    }
}

impl<I: Io> Index<usize> for Connections<I> {
    type Output = Connection<I>;

    #[inline]
    fn index(&self, slot: usize) -> &Connection<I> {
        &self.slots[slot]
    }
}

impl<I: Io> IndexMut<usize> for Connections<I> {
    #[inline]
    fn index_mut(&mut self, slot: usize) -> &mut Connection<I> {
        &mut self.slots[slot]
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use pinfire_base::{
        clock::Span,
        random::Purpose,
        record::{Correlation, Phase},
    };

    use super::*;
    use crate::{
        core::{
            connection::Busy,
            sim::{Outside, outside},
        },
        plan::{Address, Dialling, ReceiveStamps},
        request::{Ids, Room, Ticket},
    };

    fn request(index: u64) -> Request {
        let at = Stamp::from_nanos(1);
        let ticket = Ticket {
            phase: Phase::Profiling,
            index,
            entry: 0,
            core: 0,
            session: index,
            seat: 0,
            ids: Ids::new(Purpose::keyed(1), index, Correlation::User(0)),
            scheduled: at,
            cancel: None,
        };
        Request::new(ticket, at, Span::from_millis(1), Room::default())
    }

    #[test]
    fn a_slot_goes_from_state_to_state_and_to_another_connection() {
        let io = outside();
        let mut connections = Connections::<Outside>::default();
        let to = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 80)));
        let open = |connections: &mut Connections<Outside>, index| {
            let socket = io.connect(&to, None, &Dialling::default(), ReceiveStamps::Auto);
            connections.open(Scan::Chat, socket.unwrap(), 0, request(index))
        };
        let slot = open(&mut connections, 0);
        assert_eq!(connections[slot].request().map(Request::index), Some(0));
        connections[slot].connected();
        let Busy { socket, secure, .. } = connections[slot].finish();
        assert!(connections[slot].is_closed(), "nothing has moved back in");
        let visit = connections.pool(slot);
        let since = Stamp::from_nanos(5);
        connections[slot].rest(Idle {
            socket,
            secure,
            since,
            promised: None,
            visit,
        });
        assert!(connections[slot].is_idle_in(visit) && connections[slot].request().is_none());
        assert_eq!(connections.take_idle(0).map(|(slot, _)| slot), Some(slot));
        assert!(connections.take_idle(0).is_none());
        connections[slot].take_up(|rested_since| {
            assert_eq!(rested_since, since);
            request(1)
        });
        assert_eq!(connections[slot].give_up().1.index(), 1);
        assert!(connections[slot].socket().is_none());
        assert_ne!(open(&mut connections, 2), slot, "its task has not ended");
        connections.vacate(slot);
        assert_eq!(open(&mut connections, 3), slot);
    }

    #[test]
    fn what_one_event_has_taken_tells_when_there_may_be_two() {
        let mut connection = Connection::<Outside>::of(Scan::Chat);
        assert_eq!(connection.several_events(), None, "nothing is known yet");
        for (bytes, events) in [(450, 2), (300, 1), (210, 1), (250, 1), (30, 0)] {
            connection.brought(bytes, events);
        }
        assert_eq!(connection.several_events(), Some(420));
    }

    #[test]
    #[should_panic(expected = "goes on as long as it is open")]
    fn a_slot_that_is_in_use_cannot_be_vacated() {
        let io = outside();
        let mut connections = Connections::<Outside>::default();
        let to = Address::Unix("/".into());
        let socket = io.connect(&to, None, &Dialling::default(), ReceiveStamps::Auto);
        let slot = connections.open(Scan::Chat, socket.unwrap(), 0, request(0));
        connections.vacate(slot);
    }
}
