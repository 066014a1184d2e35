//! Where one phase begins while another still waits for answers: one limit over both.
//!
//! The elder phase sends nothing more, so what it holds only gets less. Each core lends the younger
//! phase's slots to the elder's requests until they end. A lower limit can leave a core with an
//! excess over its share; then cores with room hold back as many of their slots, so that all cores
//! together keep the limit, and get them as the excess ends. Where the elder holds more than the
//! whole limit, all slots are held back, and what it gives up beyond the limit makes no room.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use pinfire_base::clock::Stamp;

use crate::schedule::{Limit, Slots};

/// Which limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Of {
    /// That of open sessions.
    Sessions,
    /// That of requests which wait for their first content.
    Prefill,
}

/// Both limits of a phase that begins while another is out; `None` where it has no limit.
#[derive(Debug)]
pub(crate) struct Handoff([Option<Handover>; 2]);

/// One limit.
#[derive(Debug)]
struct Handover {
    /// By core: the most that the elder holds.
    held: Box<[usize]>,
    /// By core: slots that are held back.
    withheld: Box<[usize]>,
    /// The elder holds more than the whole limit: nothing is lent.
    exceeds: bool,
    /// Slots that may be taken by whoever holds some back. Below zero: so much is beyond the limit.
    pool: AtomicI64,
}

impl Handoff {
    /// The limits of the younger phase, and the most that each core of the elder holds.
    pub(crate) fn new(limits: [Option<Limit>; 2], held: [Vec<usize>; 2]) -> Self {
        let [sessions, prefill] = limits;
        let [open, waiting] = held;
        Self([
            sessions.map(|limit| Handover::new(limit, open)),
            prefill.map(|limit| Handover::new(limit, waiting)),
        ])
    }

    fn handover(&self, of: Of) -> Option<&Handover> {
        self.0[of as usize].as_ref()
    }

    /// A core of the elder has come one nearer to its share.
    pub(super) fn give(&self, of: Of) {
        if let Some(handover) = self.handover(of) {
            handover.pool.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn take(&self, of: Of) -> bool {
        let less = |pool: i64| (pool > 0).then(|| pool - 1);
        self.handover(of).is_some_and(|handover| {
            let pool = &handover.pool;
            pool.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
                .is_ok()
        })
    }
}

impl Handover {
    fn new(limit: Limit, held: Vec<usize>) -> Self {
        let cores = held.len();
        let share = |core: usize| limit.share(core, cores);
        let excess = |(core, &held): (usize, &usize)| held.saturating_sub(share(core));
        let room = |(core, &held): (usize, &usize)| share(core).saturating_sub(held);
        let excess: usize = held.iter().enumerate().map(excess).sum();
        let beyond = held.iter().sum::<usize>().saturating_sub(limit.own());
        let exceeds = beyond > 0;
        let mut left = excess;
        let hold_back = |of: (usize, &usize)| {
            let withheld = room(of).min(left);
            left -= withheld;
            if exceeds { share(of.0) } else { withheld }
        };
        let withheld: Box<[usize]> = held.iter().enumerate().map(hold_back).collect();
        Self {
            held: held.into(),
            withheld,
            exceeds,
            pool: AtomicI64::new(-(beyond as i64)),
        }
    }
}

/// One limit of the younger phase on one core: slots that are not its own yet.
#[derive(Debug, Default)]
pub(super) struct Lent {
    /// Held by the elder, by when they open. The last is regained first: a ramp then counts what
    /// the elder holds as its own.
    held: Vec<Stamp>,
    /// Held back, the last one opening first.
    withheld: Vec<Stamp>,
}

impl Lent {
    /// Parts the slots of core `core`, of which the elder holds `now` at this instant. Also gives
    /// what it holds beyond those that it is lent.
    pub(super) fn of(
        (handoff, of): (&Arc<Handoff>, Of),
        core: usize,
        slots: &mut Slots,
        now: usize,
        begun: Stamp,
    ) -> (Self, usize) {
        let Some(handover) = handoff.handover(of) else {
            return (Self::default(), 0);
        };
        let known = handover.held.get(core).map_or(now, |&held| held.max(now));
        let mut lent = Self {
            held: slots.lend(if handover.exceeds { 0 } else { known }),
            withheld: slots.withhold(handover.withheld.get(core).map_or(0, |&slots| slots)),
        };
        let mut excess = known - lent.held.len();
        // Those that have ended since the elder was asked.
        for _ in now..known {
            if excess > 0 {
                excess -= 1;
                handoff.give(of);
            } else {
                lent.regain(slots, begun);
            }
        }
        (lent, excess)
    }

    /// A request of the elder has ended, or had its first content.
    pub(super) fn regain(&mut self, slots: &mut Slots, at: Stamp) {
        if let Some(opens) = self.held.pop() {
            slots.regain(opens, at);
        }
    }

    /// Takes what other cores have made room for.
    pub(super) fn take(&mut self, (handoff, of): (&Handoff, Of), slots: &mut Slots, now: Stamp) {
        while !self.withheld.is_empty() && handoff.take(of) {
            if let Some(opens) = self.withheld.pop() {
                slots.regain(opens, now);
            }
        }
    }

    /// Whether it waits for other cores.
    pub(super) fn waits(&self) -> bool {
        !self.withheld.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pinfire_base::{clock::Span, random::Purpose};

    const BEGUN: Stamp = Stamp::from_nanos(1_000);

    fn handoff(slots: usize, held: &[usize]) -> Arc<Handoff> {
        let limits = [Some(Limit::of(slots)), None];
        Arc::new(Handoff::new(limits, [held.to_vec(), vec![0; held.len()]]))
    }

    /// Cores that start whatever they may, while the elder's requests end in any order: nothing
    /// is started beyond the limit, and in the end all of it is used.
    #[test]
    fn all_cores_together_keep_the_limit_and_use_it() {
        let mut draws = Purpose::new(5, "handoff").at(0);
        for round in 0..500 {
            let cores = 1 + draws.below(4) as usize;
            let limit = 1 + draws.below(12) as usize;
            let known: Vec<usize> = (0..cores).map(|_| draws.below(9) as usize).collect();
            // Some have ended before the cores begin.
            let mut elder: Vec<usize> = known
                .iter()
                .map(|&held| held - draws.below(held as u64 + 1) as usize)
                .collect();
            let handoff = handoff(limit, &known);
            let mut all: Vec<(Slots, Lent, usize)> = (0..cores)
                .map(|core| {
                    let mut slots = Slots::new(Some(Limit::of(limit)), BEGUN, core, cores);
                    let of = (&handoff, Of::Sessions);
                    let (lent, excess) = Lent::of(of, core, &mut slots, elder[core], BEGUN);
                    (slots, lent, excess)
                })
                .collect();
            let mut started = 0;
            let mut now = BEGUN;
            loop {
                now = now + Span::from_nanos(1);
                for (slots, lent, _) in &mut all {
                    lent.take((&handoff, Of::Sessions), slots, now);
                    while slots.next().is_some_and(|free| free <= now) {
                        slots.take();
                        started += 1;
                        let held = started + elder.iter().sum::<usize>();
                        assert!(held <= limit, "round {round}: {held} of {limit}");
                    }
                }
                let out: usize = elder.iter().sum();
                if out == 0 {
                    break;
                }
                let mut nth = draws.below(out as u64) as usize;
                let core = elder.iter().position(|&held| {
                    let here = nth < held;
                    nth -= if here { 0 } else { held };
                    here
                });
                let core = core.unwrap();
                elder[core] -= 1;
                let (slots, lent, excess) = &mut all[core];
                if *excess > 0 {
                    *excess -= 1;
                    handoff.give(Of::Sessions);
                } else {
                    lent.regain(slots, now);
                }
            }
            assert_eq!(started, limit, "round {round}: {known:?} on {cores}");
            assert!(all.iter().all(|(_, lent, _)| !lent.waits()));
        }
    }

    #[test]
    fn a_ramp_counts_what_the_elder_holds() {
        let limit = Limit {
            ramp: Some(Span::from_nanos(200)),
            ..Limit::of(3)
        };
        let handoff = Arc::new(Handoff::new([Some(limit), None], [vec![2], vec![0]]));
        let mut slots = Slots::new(Some(limit), BEGUN, 0, 1);
        let of = (&handoff, Of::Sessions);
        let (mut lent, excess) = Lent::of(of, 0, &mut slots, 2, BEGUN);
        assert_eq!(excess, 0);
        // One of the two ends at once: the ramp is at one, and the other holds that one.
        lent.regain(&mut slots, BEGUN);
        assert_eq!(slots.next(), Some(Stamp::from_nanos(1_100)));
        lent.regain(&mut slots, Stamp::from_nanos(1_050));
        assert_eq!(slots.next(), Some(Stamp::from_nanos(1_050)));
    }
}
