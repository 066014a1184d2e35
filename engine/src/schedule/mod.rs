//! What is sent when, and which of it is hung up on: pure functions of the seed and the index.

mod arrivals;
mod backoff;
mod cancel;
mod counter;
mod profile;
mod sampling;
mod slots;
mod users;

use std::sync::Arc;

use pinfire_base::{clock::Span, shard::Shard};

pub use arrivals::{ArrivalWalk, Arrivals, Pattern};
pub use backoff::Backoff;
pub use cancel::{CancelPlan, Chosen};
pub use counter::SharedCounter;
pub use profile::{ProfileError, RateProfile};
pub use sampling::Sampling;
pub use slots::{Limit, Slots};
pub use users::{UserStart, UserWalk, Users};

/// When sessions begin and how their later turns follow.
#[derive(Clone, Debug)]
pub enum Pace {
    /// A session begins as soon as a slot is free, a later turn as soon as its delay is over.
    Closed,
    /// Every instant of one arrival process sends one request: a later turn that waits, else the
    /// first turn of a new session.
    Rate(Arrivals),
    /// Each session at its own instant, in order; later turns at theirs, or after their delay.
    Fixed(Arc<[Span]>),
    /// Users whose turns are a fixed time apart, each replaced by another when it is through.
    Users(Users),
}

/// The pace of a phase and the numbers its cores draw from.
///
/// ```
/// use pinfire_engine::schedule::Schedule;
///
/// // Three requests, whichever core asks first.
/// let schedule = Schedule::closed(3);
/// let taken: Vec<u64> = std::iter::from_fn(|| schedule.sessions.take()).collect();
/// assert_eq!(taken, [0, 1, 2]);
/// assert!(schedule.exhausted());
/// ```
#[derive(Debug)]
pub struct Schedule {
    /// When.
    pub pace: Pace,
    /// Instants of the arrival process that have been taken. Where each session is one request, a
    /// session's number is its instant's, and nothing is drawn from here.
    pub ticks: SharedCounter,
    /// Sessions.
    pub sessions: SharedCounter,
    /// Requests. Where each session is one request their numbers are the sessions', and nothing is
    /// drawn from here.
    pub requests: SharedCounter,
    /// Each session is one request.
    pub single: bool,
    /// Whose numbers these are.
    pub shard: Shard,
}

impl Schedule {
    /// At most so many requests and sessions, whichever ends first; `None` for no limit.
    pub fn new(pace: Pace, single: bool, requests: Option<u64>, sessions: Option<u64>) -> Self {
        Self::of(Shard::WHOLE, pace, single, [requests, sessions])
    }

    /// What of it belongs to a shard: at most so many requests and sessions over all shards.
    pub fn of(
        shard: Shard,
        pace: Pace,
        single: bool,
        [requests, sessions]: [Option<u64>; 2],
    ) -> Self {
        let scheduled = match &pace {
            Pace::Fixed(starts) => starts.len() as u64,
            _ => u64::MAX,
        };
        let requests = requests.unwrap_or(u64::MAX);
        let mut sessions = sessions.unwrap_or(u64::MAX).min(scheduled);
        if single {
            sessions = sessions.min(requests);
        }
        Self {
            pace,
            ticks: SharedCounter::of(shard, u64::MAX),
            sessions: SharedCounter::of(shard, sessions),
            requests: SharedCounter::of(shard, requests),
            single,
            shard,
        }
    }

    /// A closed loop of so many requests of one turn each.
    pub fn closed(requests: u64) -> Self {
        Self::new(Pace::Closed, true, Some(requests), None)
    }

    /// Whether a count of requests or sessions ends it.
    pub const fn ends(&self) -> bool {
        self.sessions.end() != u64::MAX || self.requests.end() != u64::MAX
    }

    /// How many requests are this process's own; `None` where no count ends the phase.
    pub const fn own_requests(&self) -> Option<u64> {
        let numbers = if self.single {
            &self.sessions
        } else {
            &self.requests
        };
        match numbers.end() {
            u64::MAX => None,
            _ => Some(numbers.own()),
        }
    }

    /// Whether the last request has been given to a core.
    pub fn exhausted(&self) -> bool {
        if self.single {
            self.sessions.exhausted()
        } else {
            self.requests.exhausted()
        }
    }
}
