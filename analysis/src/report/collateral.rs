//! What hanging up on some requests does to the others: finished requests that were open at the
//! instant of a planned disconnect against those that were not.

use crate::collect::{Ranges, Tally};
use crate::stats::{Figures, Sample};
use pinfire_artifacts::tag;

/// Finished requests of one kind.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Finished {
    /// How many.
    pub requests: u64,
    /// Their times to first token, in milliseconds; of streamed answers.
    pub ttft_ms: Option<Figures>,
    /// Their inter token latencies, in milliseconds; of streamed answers.
    pub itl_ms: Option<Figures>,
}

/// The two kinds.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Collateral {
    /// At least one disconnect went out between their start and their end.
    pub overlapping: Finished,
    /// None did.
    pub apart: Finished,
}

impl Collateral {
    /// Of a phase that still has its samples.
    pub(super) fn of(tally: &Tally) -> Self {
        let mut instants = tally.cancel.instants.clone();
        instants.sort_unstable();
        let (valid, _) = tally.classes();
        let mut kinds = [
            (0, Sample::default(), Sample::default()),
            Default::default(),
        ];
        let column = |tag| {
            tally
                .column(tag)
                .map(|column| (&column.sample, column.ranges()))
        };
        let mut ttft = column(tag::TIME_TO_FIRST_TOKEN);
        let mut itl = column(tag::INTER_TOKEN_LATENCY);
        for (record, track) in tally.tracks.iter().enumerate() {
            let (ttft, itl) = (one(&mut ttft), one(&mut itl));
            if !valid.get(record) {
                continue;
            }
            let first = instants.partition_point(|&instant| instant < track.start);
            let overlaps = instants
                .get(first)
                .is_some_and(|&instant| instant <= track.end);
            let [overlapping, apart] = &mut kinds;
            let (requests, ttfts, itls) = if overlaps { overlapping } else { apart };
            *requests += 1;
            ttft.into_iter().for_each(|value| ttfts.push_float(value));
            itl.into_iter().for_each(|value| itls.push_float(value));
        }
        let [overlapping, apart] = kinds.map(|(requests, ttfts, itls)| Finished {
            requests,
            ttft_ms: ttfts.figures().map(|figures| figures.divided_by(1e6)),
            itl_ms: itls.figures().map(|figures| figures.divided_by(1e6)),
        });
        Self { overlapping, apart }
    }
}

/// The next record's value, if it has one.
fn one(of: &mut Option<(&Sample, Ranges<'_>)>) -> Option<f64> {
    let (sample, ranges) = of.as_mut()?;
    let range = ranges.next().filter(|range| !range.is_empty())?;
    sample.get(range.start)
}
