//! How long a server keeps a connection that rests: by what it says, and by what it was seen to do.
//!
//! A request that goes out as the server closes is lost, and nothing is sent twice. So a connection
//! that has rested nearly as long as the server keeps one is not used again.

use pinfire_base::{
    clock::{Span, Stamp},
    limits::SHORTEST_KEEP_ALIVE,
};

/// What one core has learned of one server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct KeepAlive {
    /// It has closed connections that had rested so long, twice.
    kept: Option<Span>,
    /// The rest of the one that it closed last, and when.
    last: Option<(Span, Stamp)>,
}

/// Closes so near to each other have one cause: the server has ended, or began to rest its
/// connections together.
const ONE_CAUSE: Span = Span::from_millis(20);

impl KeepAlive {
    /// The server has closed a connection after it had rested so long. Two closes at different
    /// instants after rests of one length are its time-out. One close is not, nor are many at one
    /// instant: that is how a server ends.
    pub(super) fn closed(&mut self, rested: Span, at: Stamp) {
        if rested < SHORTEST_KEEP_ALIVE {
            return;
        }
        let last = self.last.replace((rested, at));
        let Some((before, then)) = last else { return };
        let (shorter, longer) = (rested.min(before), rested.max(before));
        if at.since(then) > ONE_CAUSE && longer <= with_tenth(shorter) {
            self.kept = Some(self.kept.map_or(shorter, |kept| kept.min(shorter)));
        }
    }

    /// Whether a connection that has rested so long may be used; the server says it keeps it for
    /// `promised`, if it says so.
    #[inline]
    pub(super) fn allows(&self, rested: Span, promised: Option<Span>) -> bool {
        let limit = match (self.kept, promised) {
            (None, None) => return true,
            (Some(kept), Some(promised)) => kept.min(promised),
            (kept, promised) => kept.or(promised).unwrap_or(rested),
        };
        rested < usable(limit)
    }

    /// A connection was still open after such a rest: what was learned, if that was less by far, is
    /// forgotten.
    pub(super) fn outlived(&mut self, rested: Span) {
        let doubt = |kept: Span| rested.nanos() > kept.nanos() + kept.nanos() / 2;
        if self.kept.is_some_and(doubt) {
            *self = Self::default();
        }
    }
}

/// How much of a time-out is used: a tenth is left for the way to the server, 1 s at most.
fn usable(limit: Span) -> Span {
    let left = (limit.nanos() / 10).min(1_000_000_000);
    Span::from_nanos(limit.nanos() - left)
}

fn with_tenth(span: Span) -> Span {
    Span::from_nanos(span.nanos() + span.nanos() / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Span {
        Span::from_millis(millis)
    }

    fn at(millis: u64) -> Stamp {
        Stamp::from_nanos(1 + millis * 1_000_000)
    }

    #[test]
    fn a_promise_is_used_but_for_its_last_tenth() {
        for (promised, rested, allowed) in [
            (Some(5_000), 4_499, true),
            (Some(5_000), 4_500, false),
            (Some(75_000), 73_999, true),
            (Some(75_000), 74_000, false),
            (Some(1_000), 899, true),
            (Some(1_000), 900, false),
            (Some(0), 0, false),
            (None, 1_000_000, true),
        ] {
            let allows = KeepAlive::default().allows(millis(rested), promised.map(millis));
            assert_eq!(allows, allowed, "{promised:?} {rested}");
        }
    }

    #[test]
    fn what_is_learned_from_closes() {
        // Closes as (rest, instant), and how long a rest is allowed afterwards.
        for (closes, limit) in [
            (&[][..], None),
            // Once is no rule.
            (&[(1_000, 5_000)][..], None),
            (&[(1_000, 5_000), (1_010, 6_000)], Some(900)),
            // The shortest of several counts.
            (&[(1_000, 5_000), (1_010, 6_000), (990, 7_000)], Some(891)),
            // A server that ends closes all at once.
            (&[(1_000, 5_000), (1_000, 5_001), (1_000, 5_002)], None),
            // Rests of all lengths are no time-out.
            (&[(400, 5_000), (2_000, 6_000), (900, 7_000)], None),
            // A server that closes after an answer does not let anything rest.
            (&[(1, 5_000), (1, 6_000), (1, 7_000)], None),
        ] {
            let mut known = KeepAlive::default();
            for &(rested, instant) in closes {
                known.closed(millis(rested), at(instant));
            }
            let allows = |rested| known.allows(millis(rested), None);
            match limit {
                None => assert!(allows(1_000_000), "{closes:?}"),
                Some(limit) => {
                    assert!(allows(limit - 1) && !allows(limit), "{closes:?}");
                    // The shorter of the two counts.
                    assert!(!known.allows(millis(500), Some(millis(500))));
                }
            }
        }
    }

    #[test]
    fn a_longer_life_takes_back_what_was_learned() {
        let mut known = KeepAlive::default();
        known.closed(millis(1_000), at(5_000));
        known.closed(millis(1_000), at(6_000));
        known.outlived(millis(1_400));
        assert!(!known.allows(millis(1_400), None));
        known.outlived(millis(1_600));
        assert!(known.allows(millis(1_600), None));
    }
}
