//! The error back-off of a closed loop: how long a slot rests after requests that nobody answered.

use pinfire_base::{
    clock::Span,
    limits::{BACKOFF_FIRST, BACKOFF_MOST},
    record::{Failure, Outcome, Record},
};

/// One slot's memory of requests without an answer. It goes with the slot, from one session to the
/// next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    /// Rests in a row since the last answer.
    in_a_row: u8,
    /// It has rested before.
    pub has_rested: bool,
}

impl Backoff {
    /// Of a slot that has not rested yet.
    pub const NEVER: Self = Self {
        in_a_row: 0,
        has_rested: false,
    };

    /// How long the slot rests after a request that ended like this: 10 ms after the first one
    /// without an answer, twice as long after each further one, 1 s at most. Any answer ends that,
    /// an error status too. What says nothing of the server (a planned cancellation, a time limit,
    /// a connection that had been closed while idle) changes nothing.
    pub fn after(&mut self, record: &Record) -> Span {
        if record.times.head.is_some() {
            self.in_a_row = 0;
            return Span::ZERO;
        }
        match &record.outcome {
            Outcome::Failed(failure) if is_of_the_server(failure) => {}
            _ => return Span::ZERO,
        }
        let rest = Span::from_nanos(BACKOFF_FIRST.nanos() << self.in_a_row).min(BACKOFF_MOST);
        self.in_a_row = (self.in_a_row + 1).min(LONGEST_AFTER);
        rest
    }

    /// The latest request of the slot got no answer.
    pub const fn is_resting(self) -> bool {
        self.in_a_row > 0
    }
}

/// After so many doublings a rest is as long as it gets.
const LONGEST_AFTER: u8 = 7;
const _: () = assert!(BACKOFF_FIRST.nanos() << LONGEST_AFTER >= BACKOFF_MOST.nanos());

/// Whether a failure without an answer shows that the server takes no requests. A time limit has
/// held its slot for long enough, and a stale connection says nothing of the next one.
const fn is_of_the_server(failure: &Failure) -> bool {
    !matches!(
        failure,
        Failure::Timeout { .. } | Failure::ConnectTimeout { .. } | Failure::Stale
    )
}

#[cfg(test)]
mod tests {
    use pinfire_base::{
        clock::Stamp,
        random::Purpose,
        record::{Correlation, Phase, Stage},
    };

    use super::*;
    use crate::request::{Ids, Request, Room, Ticket};

    const AT: Stamp = Stamp::from_nanos(1_000);

    fn request() -> Request {
        let ticket = Ticket {
            phase: Phase::Profiling,
            index: 0,
            entry: 0,
            core: 0,
            session: 0,
            seat: 0,
            ids: Ids::new(Purpose::keyed(0), 0, Correlation::User(0)),
            scheduled: AT,
            cancel: None,
        };
        Request::new(ticket, AT, Span::from_millis(5), Room::default())
    }

    fn failed(failure: Failure) -> Record {
        request().fail(AT, failure)
    }

    #[test]
    fn rests_double_until_a_second_and_any_answer_ends_them() {
        let refused = failed(Failure::Connect { errno: 111 });
        let mut answered = request().complete(AT);
        answered.times.head = Some(AT);
        let mut broken_off = failed(Failure::TruncatedBody {
            body_bytes: 7,
            errno: 104,
        });
        broken_off.times.head = Some(AT);
        let stage = Stage::Waiting;
        let mut backoff = Backoff::NEVER;
        for (record, millis) in [
            (&answered, 0),
            (&refused, 10),
            (&failed(Failure::NoResponse), 20),
            (&failed(Failure::Reset { errno: 104 }), 40),
            // These say nothing of the server.
            (&failed(Failure::Stale), 0),
            (&failed(Failure::Timeout { stage }), 0),
            (&failed(Failure::ConnectTimeout { securing: false }), 0),
            (&request().dropped(AT), 0),
            (&refused, 80),
            (&refused, 160),
            (&refused, 320),
            (&refused, 640),
            (&refused, 1_000),
            (&refused, 1_000),
            (&broken_off, 0),
            (&refused, 10),
            (&answered, 0),
            (&refused, 10),
        ] {
            let rest = backoff.after(record);
            assert_eq!(rest, Span::from_millis(millis), "{:?}", record.outcome);
        }
        // However long it goes on.
        for _ in 0..1_000 {
            backoff.after(&refused);
        }
        assert_eq!(backoff.after(&refused), Span::from_millis(1_000));
    }
}
