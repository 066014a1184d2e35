//! Which address of a server a new connection goes to: each in its turn, but for those that refuse.
//!
//! It knows no socket and reads no clock. An address that gives no connection is passed over for a
//! while, longer each time; then one connection tries it again while the others still pass it over.

use std::net::IpAddr;

use pinfire_base::{
    clock::{Span, Stamp},
    limits::{ADDRESS_REST, ADDRESS_REST_MOST},
};

use crate::plan::{Dialling, Target};

/// The addresses of one target as one core knows them.
#[derive(Debug, Default)]
pub(super) struct Dial {
    /// Connections begun, from a number of this core's own.
    number: usize,
    /// By the address's number.
    refusals: Vec<Option<Refusing>>,
}

/// An address that has given no connection.
#[derive(Clone, Copy, Debug)]
struct Refusing {
    /// It is passed over until then.
    until: Stamp,
    rest: Span,
}

impl Dial {
    /// Of a target that nobody has connected to; counts from `first`.
    pub(super) fn new(first: usize) -> Self {
        Self {
            number: first,
            refusals: Vec::new(),
        }
    }

    /// Makes room for so many addresses.
    pub(super) fn expect(&mut self, addresses: usize) {
        self.refusals.resize(addresses, None);
    }

    /// Where the next connection comes from, and the number of the address it goes to: the next in
    /// turn that takes connections, else a spare one, else one that does not, but none that `tried`
    /// knows. `None` when all have been tried.
    pub(super) fn next(
        &mut self,
        dialling: &Dialling,
        target: &Target,
        now: Stamp,
        tried: impl Fn(usize) -> bool,
    ) -> Option<(Option<IpAddr>, usize)> {
        let turns = target.addresses.len() * dialling.sources.len().max(1);
        let all = target.addresses.len() + target.spare.len();
        for _ in 0..turns {
            let (source, address) = dialling.route(target, self.number);
            self.number += 1;
            if !tried(address) && self.takes_connections(address, now) {
                return Some((source, address));
            }
        }
        let (source, _) = dialling.route(target, self.number);
        let untried = |&address: &usize| !tried(address);
        let address = (target.addresses.len()..all)
            .filter(untried)
            .find(|&spare| self.takes_connections(spare, now))
            .or_else(|| (0..all).find(untried))?;
        Some((source, address))
    }

    /// Whether an address takes connections, as far as is known. Where that is to be found out
    /// again, whoever asks first does.
    fn takes_connections(&mut self, address: usize, now: Stamp) -> bool {
        let Some(Some(refusing)) = self.refusals.get_mut(address) else {
            return true;
        };
        if refusing.until > now {
            return false;
        }
        let longer = Span::from_nanos(refusing.rest.nanos() * 2);
        refusing.rest = longer.min(ADDRESS_REST_MOST);
        refusing.until = now + refusing.rest;
        true
    }

    /// An address has given no connection.
    pub(super) fn refused(&mut self, address: usize, now: Stamp) {
        if let Some(refusing) = self.refusals.get_mut(address) {
            refusing.get_or_insert(Refusing {
                until: now + ADDRESS_REST,
                rest: ADDRESS_REST,
            });
        }
    }

    /// An address has given one.
    #[inline]
    pub(super) fn connected(&mut self, address: usize) {
        if let Some(refusing) = self.refusals.get_mut(address) {
            *refusing = None;
        }
    }
}

/// Where the reason lies that a connect came to nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unconnected {
    /// At that address: it refuses, it cannot be reached, it does not answer.
    There,
    /// On the way from here to there: no local port is left for it, or no local address suits it.
    Between,
    /// In this process or this machine, whichever the address.
    Nowhere,
}

impl Unconnected {
    /// By the system's error number.
    pub(super) const fn of(errno: i32) -> Self {
        match errno {
            libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => Self::Nowhere,
            libc::EADDRNOTAVAIL => Self::Between,
            _ => Self::There,
        }
    }
}

/// Whether a connect of this length looks as if its SYN had been lost and sent again: each second
/// for the first four times on Linux 6.5 and later (`tcp_syn_linear_timeouts`), then doubling; on
/// older kernels after 1 s, then after 2 and 4 s more. The usual reason is a full accept queue of
/// the server.
pub(super) fn shows_lost_syn(connect: Span) -> bool {
    const AFTER: [(u64, u64); 6] = [
        (1_000, 1_250),
        (2_000, 2_300),
        (3_000, 3_400),
        (4_000, 4_400),
        (5_000, 5_500),
        (7_000, 7_500),
    ];
    AFTER
        .iter()
        .any(|&(from, to)| Span::from_millis(from) <= connect && connect <= Span::from_millis(to))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::{plan::Address, request::RequestHead};

    fn target(addresses: u8, spare: u8) -> Target {
        let of = |number: u8| Address::Tcp(SocketAddr::from(([127, 0, 0, number], 80)));
        Target {
            addresses: (0..addresses).map(of).collect(),
            spare: (addresses..addresses + spare).map(of).collect(),
            head: RequestHead::post("/", []),
            tls: None,
        }
    }

    fn dial(target: &Target) -> Dial {
        let mut dial = Dial::new(0);
        dial.expect(target.addresses.len() + target.spare.len());
        dial
    }

    fn at(millis: u64) -> Stamp {
        Stamp::from_nanos(1_000_000 * (millis + 1))
    }

    /// The addresses of the next connections at an instant, none of them tried.
    fn next(dial: &mut Dial, target: &Target, now: Stamp, count: usize) -> Vec<usize> {
        let dialling = Dialling::default();
        let mut one = || dial.next(&dialling, target, now, |_| false).unwrap().1;
        (0..count).map(|_| one()).collect()
    }

    #[test]
    fn those_that_live_share_evenly() {
        let target = target(4, 0);
        let mut dial = dial(&target);
        assert_eq!(next(&mut dial, &target, at(0), 5), [0, 1, 2, 3, 0]);
        dial.refused(1, at(0));
        dial.refused(2, at(0));
        assert_eq!(next(&mut dial, &target, at(1), 6), [3, 0, 3, 0, 3, 0]);
        dial.connected(2);
        assert_eq!(next(&mut dial, &target, at(2), 6), [2, 3, 0, 2, 3, 0]);
    }

    #[test]
    fn one_connection_tries_a_dead_address_again_after_longer_and_longer_rests() {
        let target = target(2, 0);
        let mut dial = dial(&target);
        dial.refused(1, at(0));
        let mut tried_at = Vec::new();
        for millis in 0..100_000 {
            // Many refusals of connections that were begun together are one.
            dial.refused(1, at(millis));
            let tries = next(&mut dial, &target, at(millis), 4);
            let dead = tries.iter().filter(|&&address| address == 1).count();
            assert!(dead <= 1, "{tries:?}");
            tried_at.extend((dead == 1).then_some(millis));
        }
        assert_eq!(
            tried_at,
            [1_000, 3_000, 7_000, 15_000, 31_000, 61_000, 91_000]
        );
    }

    #[test]
    fn one_request_tries_every_address_once() {
        for (addresses, spare) in [(1, 0), (3, 0), (2, 2)] {
            let target = target(addresses, spare);
            let mut dial = dial(&target);
            for request in 0..5 {
                let mut tried = Vec::new();
                let dialling = Dialling::default();
                while let Some((_, address)) =
                    dial.next(&dialling, &target, at(request), |one| tried.contains(&one))
                {
                    tried.push(address);
                    dial.refused(address, at(request));
                }
                tried.sort_unstable();
                let all: Vec<usize> = (0..usize::from(addresses + spare)).collect();
                assert_eq!(tried, all, "request {request} of {addresses} and {spare}");
            }
        }
    }

    #[test]
    fn spare_addresses_are_for_when_no_other_takes_connections() {
        let target = target(2, 1);
        let mut dial = dial(&target);
        dial.refused(0, at(0));
        assert_eq!(next(&mut dial, &target, at(1), 3), [1, 1, 1]);
        dial.refused(1, at(1));
        assert_eq!(next(&mut dial, &target, at(2), 3), [2, 2, 2]);
        dial.connected(0);
        assert_eq!(next(&mut dial, &target, at(3), 3), [0, 0, 0]);
    }

    #[test]
    fn every_source_meets_every_address() {
        let target = target(2, 0);
        let mut dial = dial(&target);
        let dialling = Dialling {
            sources: vec![[127, 0, 0, 2].into(), [127, 0, 0, 3].into()],
            ..Dialling::default()
        };
        let mut all: Vec<(IpAddr, usize)> = (0..4)
            .map(|_| dial.next(&dialling, &target, at(0), |_| false).unwrap())
            .map(|(source, address)| (source.unwrap(), address))
            .collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn a_connect_after_a_retransmission_is_told_from_a_slow_one() {
        for (millis, lost) in [
            (0, false),
            (999, false),
            (1_004, true),
            (1_300, false),
            (1_900, false),
            (2_010, true),
            (3_030, true),
            (6_500, false),
            (7_100, true),
            (8_000, false),
        ] {
            assert_eq!(shows_lost_syn(Span::from_millis(millis)), lost, "{millis}");
        }
    }
}
