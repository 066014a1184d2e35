//! How far the client itself can be trusted: its own lateness, and the concurrency it really held.
//!
//! The limits below decide when a run is marked as limited by its client. They stand here and
//! nowhere else.

use pinfire_base::clock::Span;
use pinfire_base::health::{CoreHealth, Durations};

use crate::collect::Tally;
use crate::facts::RunFacts;
use crate::metric::curve::{figures, open_levels};
use crate::stats::Percentiles;

/// Timers later than this at p99 bend cancels and arrivals.
pub const TIMER_LATENESS_P99_MAX: Span = Span::from_millis(1);
/// Bytes that wait longer than this in the kernel at p99 bend every latency.
pub const RECEIVE_DELAY_P99_MAX: Span = Span::from_millis(1);
/// A core whose turns are longer than this at p99 has more to do than it can.
pub const TURN_P99_MAX: Span = Span::from_millis(2);
/// Less than this share of the asked concurrency on average is not what was asked.
pub const HELD_SHARE_MIN: f64 = 0.99;
/// Below this length of the window a share says nothing.
pub const HELD_WINDOW_MIN_S: f64 = 1.0;

/// Open requests while all slots should have been taken.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Held {
    /// What was asked.
    pub asked: u32,
    /// Average over the window.
    pub avg: f64,
    /// Most at any time of the window.
    pub max: f64,
    /// Length of the window.
    pub window_s: f64,
}

/// The client's account of itself.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// All cores together.
    pub merged: CoreHealth,
    /// Open requests, where a concurrency was asked for and reached its number of requests.
    pub held: Option<Held>,
    /// Why the client was the bottleneck, in words; empty if it was not.
    pub reasons: Vec<String>,
}

impl Health {
    pub(super) fn new(facts: &RunFacts, cores: &[CoreHealth], profiling: &Tally) -> Self {
        // With a rate the concurrency is a limit, not a promise.
        let asked = facts
            .profiling
            .concurrency
            .filter(|_| facts.profiling.rate.is_none());
        let merged = merge(cores);
        let held = asked.and_then(|asked| held(asked, profiling));
        let reasons = reasons(&merged, held);
        Self {
            merged,
            held,
            reasons,
        }
    }

    /// Whether the client was the bottleneck of the run.
    pub fn is_bottleneck(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// The four distributions of a core with the names that the exports give them.
pub fn distributions(core: &CoreHealth) -> [(&'static str, &Durations); 4] {
    [
        ("timer_lateness", &core.timer_lateness),
        ("send_lateness", &core.send_lateness),
        ("receive_delay", &core.receive_delay),
        ("turn", &core.turn),
    ]
}

fn merge(cores: &[CoreHealth]) -> CoreHealth {
    let mut all = CoreHealth::default();
    for core in cores {
        all.timer_lateness.merge(&core.timer_lateness);
        all.send_lateness.merge(&core.send_lateness);
        all.receive_delay.merge(&core.receive_delay);
        all.turn.merge(&core.turn);
        all.cpu_time = Span::from_nanos(all.cpu_time.nanos() + core.cpu_time.nanos());
        all.wall_time = all.wall_time.max(core.wall_time);
        all.receives += core.receives;
        all.events += core.events;
        all.connects += core.connects;
        all.slow_connects += core.slow_connects;
        all.stale_closed += core.stale_closed;
        all.expired_closed += core.expired_closed;
        all.backoff.add(&core.backoff);
    }
    all
}

/// From the instant at which the last slot was first due to be taken to the instant at which the
/// last request became due: after that, slots are given back for good.
fn held(asked: u32, profiling: &Tally) -> Option<Held> {
    let mut due = profiling.due.clone();
    due.sort_unstable();
    let full = *due.get(asked.checked_sub(1)? as usize)?;
    if let Some(long) = &profiling.long {
        let (avg, max) = long.curves.concurrency(full, long.last_due)?;
        return Some(Held {
            asked,
            avg,
            max,
            window_s: long.last_due.saturating_sub(full) as f64 / 1e9,
        });
    }
    let last = *due.last()?;
    let tracks: Vec<_> = profiling
        .tracks
        .iter()
        .chain(&profiling.dropped)
        .copied()
        .collect();
    let levels = open_levels(&tracks, full, last);
    let figures = figures(&levels, 0, &Percentiles::default())?;
    Some(Held {
        asked,
        avg: figures.avg?,
        max: figures.max?,
        window_s: last.saturating_sub(full) as f64 / 1e9,
    })
}

fn reasons(all: &CoreHealth, held: Option<Held>) -> Vec<String> {
    let mut reasons = Vec::new();
    let mut check = |what: &str, durations: &Durations, most: Span| {
        let p99 = durations.percentile(99.0);
        if p99 > most {
            reasons.push(format!(
                "{what} p99 {:.2} ms is above {:.0} ms",
                p99.as_millis_f64(),
                most.as_millis_f64()
            ));
        }
    };
    check(
        "timer lateness",
        &all.timer_lateness,
        TIMER_LATENESS_P99_MAX,
    );
    check("receive delay", &all.receive_delay, RECEIVE_DELAY_P99_MAX);
    check("turn", &all.turn, TURN_P99_MAX);
    if let Some(held) = held {
        let asked = f64::from(held.asked);
        // Slots that rest because nobody answers are held back on purpose.
        let resting = all.backoff.rested.as_secs_f64() / held.window_s;
        let low = held.avg + resting < HELD_SHARE_MIN * asked;
        if held.window_s >= HELD_WINDOW_MIN_S && low {
            reasons.push(format!(
                "{:.1} of {} streams were held on average",
                held.avg, held.asked
            ));
        }
    }
    reasons
}
