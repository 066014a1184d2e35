//! The time slices of a run, every figure in display units.

use pinfire_base::clock::Stamp;

use super::block::{Block, blocks};
use crate::collect::Tally;
use crate::facts::RunFacts;

/// One slice: the requests that started in its window.
pub struct Slice {
    /// Begin of its window, in Unix nanoseconds.
    pub start_unix: u64,
    /// End of its window, in Unix nanoseconds.
    pub end_unix: u64,
    /// It has its full length; only the last one may be cut.
    pub complete: bool,
    /// Metrics that exist and are shown, in order of computation.
    pub blocks: Vec<Block>,
}

/// The slices of a phase in order of time; none where none were asked for.
pub(super) fn of(facts: &RunFacts, tally: &mut Tally) -> Vec<Slice> {
    let mut slices = Vec::new();
    if let Some(length) = facts.slice {
        let unix = |nanos| facts.anchor.unix_nanos(Stamp::from_nanos(nanos));
        tally.slices(length, &facts.percentiles, |slice| {
            slices.push(Slice {
                start_unix: unix(slice.window.start),
                end_unix: unix(slice.window.end),
                complete: slice.complete,
                blocks: blocks(&slice.results),
            });
        });
    }
    slices
}
