//! Whether starts that are due go now or wait: behind disconnects that were due, behind sockets
//! that are ready, behind as many starts as one turn of the loop may make. Pure.

/// What has to come before starts.
#[derive(Default)]
pub(super) struct Waiting {
    /// A deadline was acted on since it was last asked whether anything may start.
    disconnected: bool,
    /// Starts that are due wait for the next turn of the timer task; nobody else goes on with them.
    starts: bool,
}

/// What becomes of starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Starts {
    /// They go now.
    Go,
    /// They go in the next turn, after the sockets that are ready.
    Wait,
    /// None is due, or they wait already.
    Nothing,
}

impl Waiting {
    /// A deadline was acted on: what a server hears of it must not wait for starts.
    pub(super) const fn disconnected(&mut self) {
        self.disconnected = true;
    }

    /// Whether starts wait for the next turn.
    pub(super) const fn starts(&self) -> bool {
        self.starts
    }

    /// One tick has started all that it may, and there are `more` or not.
    pub(super) const fn started(&mut self, more: bool) {
        self.starts = more;
    }

    /// At the end of a handler, where starts may be `due`.
    #[inline]
    pub(super) fn after_handler(&mut self, due: bool) -> Starts {
        match (std::mem::take(&mut self.disconnected), due, self.starts) {
            (_, false, _) | (false, true, true) => Starts::Nothing,
            (true, true, _) => {
                self.starts = true;
                Starts::Wait
            }
            (false, true, false) => Starts::Go,
        }
    }

    /// The timer task begins a turn: whether starts have waited for it.
    pub(super) const fn begin_turn(&mut self) -> bool {
        std::mem::replace(&mut self.starts, false)
    }

    /// In the turn of the timer task, where starts may be `due` and have `waited` for it or not.
    /// They wait once: deadlines in every turn must not keep them waiting for ever.
    pub(super) fn in_turn(&mut self, waited: bool, due: bool) -> Starts {
        match (std::mem::take(&mut self.disconnected), due) {
            (_, false) => Starts::Nothing,
            (true, true) if !waited => {
                self.starts = true;
                Starts::Wait
            }
            (_, true) => Starts::Go,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_go_at_the_end_of_a_handler_unless_something_comes_first() {
        for (disconnected, waits, due, then) in [
            (false, false, true, Starts::Go),
            (false, false, false, Starts::Nothing),
            (false, true, true, Starts::Nothing),
            (true, false, true, Starts::Wait),
            (true, true, true, Starts::Wait),
            (true, false, false, Starts::Nothing),
        ] {
            let mut waiting = Waiting::default();
            waiting.started(waits);
            if disconnected {
                waiting.disconnected();
            }
            assert_eq!(waiting.after_handler(due), then);
            assert_eq!(waiting.starts(), waits || then == Starts::Wait);
            // What came first came first once.
            let next = if waiting.starts() {
                Starts::Nothing
            } else {
                Starts::Go
            };
            assert_eq!(waiting.after_handler(true), next);
        }
    }

    #[test]
    fn deadlines_in_every_turn_make_starts_wait_for_one_turn_only() {
        let mut waiting = Waiting::default();
        let turn = |waiting: &mut Waiting| {
            let waited = waiting.begin_turn();
            waiting.disconnected();
            waiting.in_turn(waited, true)
        };
        assert_eq!(turn(&mut waiting), Starts::Wait);
        assert!(waiting.starts());
        assert_eq!(turn(&mut waiting), Starts::Go);
        // All that were due have gone; the next have waited for nothing yet.
        waiting.started(false);
        assert_eq!(turn(&mut waiting), Starts::Wait);
        // A turn without deadlines does not make them wait.
        let waited = waiting.begin_turn();
        assert_eq!(waiting.in_turn(waited, true), Starts::Go);
        assert_eq!(waiting.in_turn(false, true), Starts::Go);
        assert_eq!(waiting.in_turn(false, false), Starts::Nothing);
    }

    #[test]
    fn more_starts_than_one_tick_may_make_wait_for_the_next() {
        let mut waiting = Waiting::default();
        waiting.started(true);
        assert_eq!(
            waiting.after_handler(true),
            Starts::Nothing,
            "a handler leaves them"
        );
        assert!(waiting.begin_turn());
        assert!(!waiting.starts());
        assert_eq!(waiting.in_turn(true, true), Starts::Go);
    }
}
