//! A core's deadlines, when its loop sleeps and when it spins for them, and where its ticks begin
//! and end.

use std::task::Waker;

use pinfire_base::{
    clock::{Span, Stamp},
    health::Pause,
    limits::{AWAY_LEAST, PAUSE_LEAST},
};

use super::deadline::Deadlines;
use crate::{io::Io, plan::Precision};

/// Far in the future: nothing to wake for.
const NEVER: Stamp = Stamp::from_nanos(u64::MAX);
/// In the past: wakes at once.
const AT_ONCE: Stamp = Stamp::from_nanos(1);

/// The timer of a core, and the tick that is going on.
pub(super) struct LoopClock {
    precision: Precision,
    deadlines: Deadlines,
    /// The instant that the sleeping timer task waits for; `None` while it is awake.
    asleep_until: Option<Stamp>,
    /// First stamp of the tick that is going on, and the task that ends it.
    tick_start: Option<Stamp>,
    tick_end: Option<Waker>,
    /// Tasks that go on when the tick is over.
    gave_way: Vec<Waker>,
    /// When the loop last showed that it was there.
    alive: Stamp,
}

impl LoopClock {
    pub(super) fn new(precision: Precision) -> Self {
        Self {
            precision,
            deadlines: Deadlines::default(),
            asleep_until: None,
            tick_start: None,
            tick_end: None,
            gave_way: Vec::new(),
            alive: NEVER,
        }
    }

    /// The loop is there at `now`. Gives the pause that it comes out of, if it was away for long.
    #[inline]
    pub(super) fn alive(&mut self, now: Stamp) -> Option<Pause> {
        let from = std::mem::replace(&mut self.alive, now);
        let length = now.since(from);
        (length > PAUSE_LEAST).then_some(Pause { from, length })
    }

    /// When the loop was last seen: what happens in one turn happens then, more or less.
    #[inline]
    pub(super) const fn latest(&self) -> Stamp {
        self.alive
    }

    /// Whether a tick is about to begin after a while in which the loop did nothing: it was idle,
    /// or kept from working.
    #[inline]
    pub(super) fn was_away(&self, io: &impl Io) -> bool {
        self.tick_start.is_none() && io.now().since(self.alive) > AWAY_LEAST
    }

    pub(super) const fn precision(&self) -> Precision {
        self.precision
    }

    /// Something is to be done about `slot` at `due`; the timer task is awake by then.
    pub(super) fn set_deadline(&mut self, slot: usize, due: Stamp, io: &impl Io) {
        self.deadlines.set(slot, due);
        self.sleep_no_longer_than(due, io);
    }

    /// Nothing is, if something was.
    pub(super) fn clear_deadline(&mut self, slot: usize) {
        self.deadlines.clear(slot);
    }

    /// The earliest deadline.
    #[inline]
    pub(super) fn next_deadline(&self) -> Option<Stamp> {
        self.deadlines.next()
    }

    /// Takes the earliest deadline with its slot, if it is due at `now`.
    #[inline]
    pub(super) fn pop_due(&mut self, now: Stamp) -> Option<(Stamp, usize)> {
        self.deadlines.pop_due(now)
    }

    /// No slot has one any more.
    pub(super) fn forget_deadlines(&mut self) {
        self.deadlines = Deadlines::default();
    }

    /// Whether `slot` has one.
    #[cfg(test)]
    pub(super) fn has_deadline(&self, slot: usize) -> bool {
        self.deadlines.has(slot)
    }

    /// The timer task is awake: until it sleeps again it looks at the deadlines itself.
    pub(super) const fn awake(&mut self) {
        self.asleep_until = None;
    }

    /// The timer task sleeps: until `wake`, if there is something to wake for.
    pub(super) fn sleep(&mut self, wake: Option<Stamp>, io: &impl Io) {
        self.asleep_until = Some(wake.unwrap_or(NEVER));
        if let Some(wake) = wake {
            io.arm(wake);
        }
    }

    /// Makes sure that the timer task is awake when something is due at `due`.
    #[inline]
    pub(super) fn sleep_no_longer_than(&mut self, due: Stamp, io: &impl Io) {
        let wake = self.wake_for(due);
        if self.asleep_until.is_some_and(|until| wake < until) {
            self.asleep_until = Some(wake);
            io.arm(wake);
        }
    }

    /// The timer task has something to do as soon as the sockets that are ready have been served.
    pub(super) fn do_not_sleep(&mut self, io: &impl Io) {
        self.sleep_no_longer_than(AT_ONCE, io);
    }

    /// Makes the timer task look at the clock again.
    pub(super) fn wake_timer(io: &impl Io) {
        io.arm(AT_ONCE);
    }

    /// When to wake for what is due at `due`.
    pub(super) fn wake_for(&self, due: Stamp) -> Stamp {
        match self.precision {
            Precision::Sleep => due,
            Precision::Lead | Precision::Spin => due - Precision::LEAD,
        }
    }

    /// A tick through the driver takes longer than a clock read, so the last few microseconds
    /// before a deadline are waited out on the clock alone.
    pub(super) fn wait_out_the_last_bit(&self, due: Stamp, io: &impl Io) {
        if self.precision != Precision::Sleep && due <= io.now() + Precision::LAST_BIT {
            while io.now() < due {
                std::hint::spin_loop();
            }
        }
    }

    /// Something has come at `at`, with which a tick begins unless one is going on.
    #[inline]
    pub(super) fn begin_tick(&mut self, at: Stamp) {
        if self.tick_start.is_none() {
            self.tick_start = Some(at);
            self.wake_tick_end();
        }
    }

    pub(super) fn wake_tick_end(&self) {
        if let Some(waker) = &self.tick_end {
            waker.wake_by_ref();
        }
    }

    /// Wakes this when the tick is over.
    pub(super) fn give_way(&mut self, waker: &Waker) {
        self.gave_way.push(waker.clone());
        self.wake_tick_end();
    }

    /// Ends the tick that is going on, if there is one, and lets the tasks that gave way go on. Its
    /// length. `waker` is that of the task which ends the next.
    pub(super) fn end_tick(&mut self, waker: &Waker, io: &impl Io) -> Option<Span> {
        let length = self.tick_start.take().map(|start| io.now().since(start));
        for waker in self.gave_way.drain(..) {
            waker.wake();
        }
        let known = self.tick_end.as_ref();
        if known.is_none_or(|known| !known.will_wake(waker)) {
            self.tick_end = Some(waker.clone());
        }
        length
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::sim::outside;

    fn at(micros: u64) -> Stamp {
        Stamp::from_nanos(2_000_000_000 + 1_000 * micros)
    }

    #[test]
    fn the_timer_is_armed_for_what_comes_before_it_would_wake() {
        for (precision, lead) in [(Precision::Sleep, 0), (Precision::Lead, 150)] {
            let io = outside();
            let mut clock = LoopClock::new(precision);
            clock.sleep(None, &io);
            assert_eq!(io.armed(), None, "nothing is to be done");
            for (due, armed) in [(900, 900), (700, 700), (800, 700), (500, 500)] {
                clock.set_deadline(due as usize, at(due), &io);
                assert_eq!(io.armed(), Some(at(armed - lead)), "{precision:?} {due}");
            }
            clock.awake();
            clock.set_deadline(100, at(400), &io);
            assert_eq!(
                io.armed(),
                Some(at(500 - lead)),
                "who is awake looks itself"
            );
            assert_eq!(clock.next_deadline(), Some(at(400)));
        }
    }

    #[test]
    fn what_is_due_comes_in_its_order_and_once() {
        let io = outside();
        let mut clock = LoopClock::new(Precision::Sleep);
        for (slot, due) in [(1, 30), (2, 10), (3, 20), (4, 40), (2, 35)] {
            clock.set_deadline(slot, at(due), &io);
        }
        clock.clear_deadline(3);
        assert_eq!(clock.pop_due(at(29)), None);
        let due = std::iter::from_fn(|| clock.pop_due(at(39)));
        assert_eq!(due.collect::<Vec<_>>(), [(at(30), 1), (at(35), 2)]);
        clock.forget_deadlines();
        assert_eq!(clock.next_deadline(), None);
    }

    #[test]
    fn the_last_bit_is_waited_out() {
        let io = outside();
        let due = io.now() + Precision::LAST_BIT;
        LoopClock::new(Precision::Lead).wait_out_the_last_bit(due, &io);
        assert!(io.now() >= due);
    }
}
