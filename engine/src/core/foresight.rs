//! Whether it pays to look at what waits on a socket before it is read. Pure.

use pinfire_base::{
    clock::{Span, Stamp},
    limits::{
        LATE_READ_LEAST, LOOKS_IN_VAIN, LOOKS_REST_FIRST, LOOKS_REST_MOST, READS_AFTER_A_LATE_ONE,
    },
};

use crate::io::Came;

/// A read has the stamp of the newest segment that it touches, so a late client looks ahead and
/// reads what waits event by event. That gains something only where the events came in segments of
/// their own. Where looks find again and again what has come in one, as with answers that are
/// written at once, they are left out for a while: they would keep the client late.
#[derive(Debug, Default)]
pub(super) struct Foresight {
    /// So many reads are taken to be late too, because one was.
    late_reads: u32,
    /// Looks that gained nothing since the last that gained something.
    in_vain: u32,
    /// How long the present rest is, or was; zero before the first.
    rest: Span,
    /// No look before this.
    rests_until: Option<Stamp>,
}

impl Foresight {
    /// A read has brought bytes that had waited so long.
    #[inline]
    pub(super) fn waited(&mut self, delay: Span) {
        self.late_reads = if delay > LATE_READ_LEAST {
            READS_AFTER_A_LATE_ONE
        } else {
            self.late_reads.saturating_sub(1)
        };
    }

    /// Whether the next read, at about `now`, should be looked at first.
    #[inline]
    pub(super) fn looks(&self, now: Stamp) -> bool {
        self.late_reads > 0 && self.rests_until.is_none_or(|until| until <= now)
    }

    /// What was looked at before `now` has been read, and had these stamps.
    pub(super) fn looked(&mut self, found: Found, now: Stamp) {
        if found.apart {
            self.in_vain = 0;
            self.rest = Span::ZERO;
            self.rests_until = None;
        } else if found.reads > 1 {
            self.in_vain = self.in_vain.saturating_add(1);
            if self.in_vain >= LOOKS_IN_VAIN {
                let longer = Span::from_nanos(self.rest.nanos() * 2);
                self.rest = longer.clamp(LOOKS_REST_FIRST, LOOKS_REST_MOST);
                self.rests_until = Some(now + self.rest);
            }
        }
    }
}

/// The kernel's stamps of what one look has led to, read by read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    first: Option<u64>,
    /// Reads with a stamp.
    reads: u32,
    /// They have not all the same.
    apart: bool,
}

impl Found {
    /// One more read. Without a stamp it says nothing.
    pub(super) fn add(&mut self, came: Came) {
        if let Came::At(stamp) = came {
            self.reads += 1;
            self.apart |= *self.first.get_or_insert(stamp) != stamp;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Span = Span::from_millis(2);

    fn found(stamps: &[u64]) -> Found {
        let mut found = Found::default();
        stamps.iter().for_each(|&at| found.add(Came::At(at)));
        found
    }

    /// A client that is late, and has looked so often for nothing that it rests.
    fn resting(now: Stamp) -> Foresight {
        let mut foresight = Foresight::default();
        foresight.waited(LATE);
        for look in 0..LOOKS_IN_VAIN {
            assert!(foresight.looks(now), "look {look}");
            foresight.looked(found(&[7, 7, 7]), now);
        }
        assert!(!foresight.looks(now));
        foresight
    }

    #[test]
    fn who_is_late_looks_for_a_while() {
        let now = Stamp::from_nanos(1_000);
        let mut foresight = Foresight::default();
        assert!(!foresight.looks(now));
        foresight.waited(LATE);
        for _ in 0..READS_AFTER_A_LATE_ONE {
            assert!(foresight.looks(now));
            foresight.waited(LATE_READ_LEAST);
        }
        assert!(!foresight.looks(now));
    }

    #[test]
    fn looks_that_gain_nothing_are_left_out_for_longer_and_longer() {
        let mut now = Stamp::from_nanos(1_000);
        let mut foresight = resting(now);
        let mut rest = LOOKS_REST_FIRST;
        for _ in 0..10 {
            assert!(!foresight.looks(now + Span::from_nanos(rest.nanos() - 1)));
            now = now + rest;
            // One look tells whether it is still so.
            assert!(foresight.looks(now));
            foresight.looked(found(&[7, 7]), now);
            rest = Span::from_nanos(rest.nanos() * 2).min(LOOKS_REST_MOST);
        }
        assert_eq!(rest, LOOKS_REST_MOST);
    }

    #[test]
    fn one_gain_is_enough_to_look_at_everything_again() {
        let now = Stamp::from_nanos(1_000);
        let mut foresight = resting(now);
        let now = now + LOOKS_REST_FIRST;
        foresight.looked(found(&[7, 8]), now);
        for _ in 1..LOOKS_IN_VAIN {
            foresight.looked(found(&[7, 7]), now);
            assert!(foresight.looks(now));
        }
        foresight.looked(found(&[7, 7]), now);
        assert!(!foresight.looks(now));
        assert!(
            foresight.looks(now + LOOKS_REST_FIRST),
            "the rest is the first again"
        );
    }

    #[test]
    fn now_and_then_a_gain_keeps_it_looking() {
        let now = Stamp::from_nanos(1_000);
        let mut foresight = Foresight::default();
        foresight.waited(LATE);
        for look in 1..1_000 {
            let stamps = if look % LOOKS_IN_VAIN == 0 {
                [7, 8]
            } else {
                [7, 7]
            };
            foresight.looked(found(&stamps), now);
            assert!(foresight.looks(now), "look {look}");
        }
    }

    #[test]
    fn what_says_nothing_of_segments_does_not_count() {
        let now = Stamp::from_nanos(1_000);
        let mut foresight = Foresight::default();
        foresight.waited(LATE);
        let mut without = Found::default();
        without.add(Came::Unknown);
        without.add(Came::Unasked);
        for silent in [found(&[]), found(&[7]), without] {
            for _ in 0..=LOOKS_IN_VAIN {
                foresight.looked(silent, now);
            }
            assert!(foresight.looks(now), "{silent:?}");
        }
    }
}
