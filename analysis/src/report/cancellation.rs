//! Planned cancellation as it was asked and as it came out.

use pinfire_base::record::{AfterHalfClose, PlannedCancellation, Stage};

use super::collateral::Collateral;
use crate::collect::{CancelTally, Progress, STAGES};
use crate::stats::Figures;

/// What came of the plan to hang up on requests.
#[derive(Clone, PartialEq, Debug)]
pub struct Cancellation {
    /// What was asked.
    pub asked: PlannedCancellation,
    /// Share of the requests that ended that were hung up on, in percent.
    pub reached_pct: Option<f64>,
    /// Requests that were chosen.
    pub chosen: u64,
    /// Hung up on.
    pub cancelled: u64,
    /// Answered before the deadline.
    pub finished_first: u64,
    /// Failed, or cut off by the end of the run, before the deadline.
    pub failed_first: u64,
    /// Achieved delay in milliseconds.
    pub achieved_ms: Option<Figures>,
    /// Past the deadline when the disconnect was out, in microseconds.
    pub error_us: Option<Figures>,
    /// How far the cancelled requests had come.
    pub stages: [(Stage, u64); 4],
    /// Events that each cancelled request had received.
    pub events: Option<Figures>,
    /// The tokens in them.
    pub tokens: Option<Figures>,
    /// Cancelled requests that had a connection, which nobody could use again.
    pub connections_closed: u64,
    /// Cancelled requests whose whole request the peer's kernel had acknowledged before the
    /// disconnect, and those of which it is known.
    pub acknowledged: [u64; 2],
    /// What it did to the requests that were let finish.
    pub collateral: Collateral,
    /// How answers ended that were read on after a half-close.
    pub after: [(AfterHalfClose, u64); 4],
}

impl Cancellation {
    pub(super) fn new(
        asked: PlannedCancellation,
        tally: CancelTally,
        collateral: Collateral,
        counts: Progress,
    ) -> Self {
        let ended = counts.valid + counts.errors + counts.cancelled;
        let mut stages = STAGES.map(|stage| (stage, 0));
        for (slot, count) in stages.iter_mut().zip(tally.stages) {
            slot.1 = count;
        }
        let mut after = AfterHalfClose::ALL.map(|after| (after, 0));
        for (slot, count) in after.iter_mut().zip(tally.after) {
            slot.1 = count;
        }
        Self {
            asked,
            reached_pct: (ended > 0).then(|| 100.0 * counts.cancelled as f64 / ended as f64),
            chosen: tally.chosen,
            cancelled: counts.cancelled,
            finished_first: tally.finished_first,
            failed_first: tally.failed_first,
            achieved_ms: tally.achieved.figures().map(|f| f.divided_by(1e6)),
            error_us: tally.error.figures().map(|f| f.divided_by(1e3)),
            events: tally.events.figures(),
            tokens: tally.tokens.figures(),
            connections_closed: tally.connections_closed,
            acknowledged: tally.acknowledged,
            stages,
            collateral,
            after,
        }
    }
}
