//! Step functions of time and their statistics, weighted by how long each value was held.
//!
//! A curve consumes the events of all requests in order of time ([`Sweep`]); what it held is kept
//! as values and durations ([`Held`]), so the requests themselves are not needed again.

mod binned;
mod held;
mod sweep;

pub use binned::{BIN, Binned, CurveRequest as SeenLife};
pub use held::{Held, figures};
pub use sweep::{Life, Sweep};

use crate::stats::{Figures, Percentiles};

/// The step functions. Formulas stand in the table, beside the rows that show them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Curve {
    /// Open requests, of every outcome.
    Concurrency,
    /// Output tokens per second, each gap carrying its share.
    DecodeThroughput,
    /// Input tokens per second, spread from start to first content.
    PrefillThroughput,
    /// Requests between first content and end.
    DecodeConcurrency,
    /// Requests between start and first content.
    PrefillConcurrency,
    /// Input tokens, and output tokens spread from first content to end, per second.
    TotalThroughput,
    /// Decode throughput over decode concurrency.
    DecodePerUser,
    /// Prefill throughput over prefill concurrency.
    PrefillPerUser,
    /// Tokens that open requests have put into the server so far.
    TokensInFlight,
}

/// What every curve held over some window.
#[derive(Default, Debug)]
pub struct Curves([Held; 9]);

impl Curves {
    fn add(&mut self, curve: Curve, value: f64, active: bool, nanos: u64) {
        if let Some(held) = self.0.get_mut(curve as usize) {
            if active {
                held.add(value, nanos);
            } else {
                held.rest(nanos);
            }
        }
    }

    /// Ready for figures.
    #[must_use]
    pub fn settled(mut self) -> Self {
        self.0.iter_mut().for_each(Held::settle);
        self
    }

    /// The figures of a curve over the whole window, or over the time in which its phase was
    /// `active`.
    pub fn figures(&self, curve: Curve, active: bool, wanted: &Percentiles) -> Option<Figures> {
        let held = self.0.get(curve as usize)?;
        if active {
            held.active(wanted)
        } else {
            held.figures(wanted)
        }
    }
}

/// When a request was open: 16 bytes each, kept for all requests of a phase.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Track {
    /// Start, in nanoseconds of the monotonic clock.
    pub start: u64,
    /// Record end, on the same clock.
    pub end: u64,
}

/// For every number of open requests, how long (ns) it was held between `from` and `to`; the index
/// is the number.
pub fn open_levels(tracks: &[Track], from: u64, to: u64) -> Vec<(f64, u64)> {
    let mut starts: Vec<u64> = tracks.iter().map(|t| t.start).collect();
    let mut ends: Vec<u64> = tracks.iter().map(|t| t.end.max(t.start)).collect();
    starts.sort_unstable();
    ends.sort_unstable();
    let (mut starts, mut ends) = (starts.into_iter().peekable(), ends.into_iter().peekable());
    let mut held: Vec<u64> = Vec::new();
    let (mut open, mut since) = (0_usize, from);
    while let Some(&end) = ends.peek() {
        // At equal times an end comes first: a slot is free before it is taken again.
        let next = starts.next_if(|&start| start < end);
        let at = next.unwrap_or(end).clamp(from, to);
        if held.len() <= open {
            held.resize(open + 1, 0);
        }
        if let Some(time) = held.get_mut(open) {
            *time += at.saturating_sub(since);
        }
        since = at;
        match next {
            Some(_) => open += 1,
            None => {
                ends.next();
                // A request of no length ends before it starts in this order; it was never open.
                match open.checked_sub(1) {
                    Some(less) => open = less,
                    None => {
                        starts.next();
                    }
                }
            }
        }
    }
    // Nothing is open after the last end.
    match held.first_mut() {
        Some(idle) => *idle += to.saturating_sub(since),
        None => held.push(to.saturating_sub(from)),
    }
    held.into_iter()
        .enumerate()
        .map(|(level, nanos)| (level as f64, nanos))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Sample;
    use pinfire_base::clock::Stamp;

    fn tracks(pairs: &[(u64, u64)]) -> Vec<Track> {
        pairs
            .iter()
            .map(|&(start, end)| Track { start, end })
            .collect()
    }

    fn lives(pairs: &[(u64, u64)]) -> Vec<Life> {
        let mut lives: Vec<Life> = pairs
            .iter()
            .map(|&(start, end)| Life {
                start,
                end,
                first: None,
                isl: None,
                osl: None,
                gaps: 0..0,
            })
            .collect();
        lives.sort_by_key(|life| life.start);
        lives
    }

    fn concurrency(pairs: &[(u64, u64)]) -> Option<Figures> {
        let lives = lives(pairs);
        let gaps = Sample::default();
        let mut curves = Curves::default();
        let to = pairs.iter().map(|p| p.1).max()?;
        Sweep::new(&lives, &gaps, u64::MAX).run_to(to, Some(&mut curves));
        curves
            .settled()
            .figures(Curve::Concurrency, false, &Percentiles::default())
    }

    #[test]
    fn the_golden_concurrency() {
        // Hundredths of milliseconds, from the example run that METRICS.md works through.
        let figures = concurrency(&[(10, 1315), (20, 820), (910, 1415)]).unwrap();
        assert!((figures.avg.unwrap() - 1.8576512455516014).abs() < 1e-12);
        assert!((figures.std.unwrap() - 0.3494).abs() < 1e-4);
        assert_eq!((figures.min, figures.max), (Some(1.0), Some(2.0)));
        assert_eq!(figures.percentile(50), Some(2.0));
        assert_eq!(figures.percentile(25), None);
    }

    #[test]
    fn a_slot_that_is_taken_at_once_never_shows_two() {
        let figures = concurrency(&[(0, 10), (10, 20), (20, 30)]).unwrap();
        assert_eq!((figures.min, figures.max), (Some(1.0), Some(1.0)));
    }

    #[test]
    fn requests_of_no_length_do_not_upset_the_count() {
        let figures = concurrency(&[(5, 5), (0, 10), (10, 10)]).unwrap();
        assert_eq!((figures.avg, figures.max), (Some(1.0), Some(1.0)));
        assert_eq!(concurrency(&[(5, 5)]), None);
        assert_eq!(concurrency(&[]), None);
    }

    /// The windows of a run together hold what the run held.
    #[test]
    fn windows_cut_every_curve_without_loss() {
        let mut gaps = Sample::default();
        [10, 0, 30, 5].iter().for_each(|&gap| gaps.push(gap));
        let life = |start: u64, first: u64, end: u64, gaps: std::ops::Range<usize>| Life {
            start,
            end,
            first: Some(Stamp::from_nanos(first)),
            isl: Some(8),
            osl: Some(1 + 2 * gaps.len() as u32),
            gaps,
        };
        let lives = [
            life(100, 120, 170, 0..3),
            life(110, 130, 140, 3..4),
            life(150, 150, 155, 4..4),
        ];
        let whole = {
            let mut curves = Curves::default();
            Sweep::new(&lives, &gaps, 100).run_to(170, Some(&mut curves));
            curves.settled()
        };
        let mut sweep = Sweep::new(&lives, &gaps, 100);
        let mut sums = [0.0; 9];
        for to in [101, 125, 125, 133, 160, 170] {
            let mut curves = Curves::default();
            let from = sweep.now();
            sweep.run_to(to, Some(&mut curves));
            let curves = curves.settled();
            for (sum, curve) in sums.iter_mut().zip(ALL) {
                let figures = curves.figures(curve, false, &Percentiles::default());
                *sum += figures.map_or(0.0, |f| f.avg.unwrap()) * (to - from) as f64;
            }
        }
        for (sum, curve) in sums.into_iter().zip(ALL) {
            let figures = whole
                .figures(curve, false, &Percentiles::default())
                .unwrap();
            let expected = figures.avg.unwrap() * 70.0;
            assert!(
                (sum - expected).abs() <= 1e-9 * expected,
                "{curve:?}: {sum} {expected}"
            );
            assert!(figures.min.unwrap() >= 0.0, "{curve:?}");
        }
        // Two gaps that take time share the four later tokens; the gap of no time takes none of
        // them.
        let decode = whole
            .figures(Curve::DecodeThroughput, true, &Percentiles::default())
            .unwrap();
        assert_eq!(decode.max, Some(2.0 / 5e-9 + 3.0 / 30e-9));
    }

    const ALL: [Curve; 9] = [
        Curve::Concurrency,
        Curve::DecodeThroughput,
        Curve::PrefillThroughput,
        Curve::DecodeConcurrency,
        Curve::PrefillConcurrency,
        Curve::TotalThroughput,
        Curve::DecodePerUser,
        Curve::PrefillPerUser,
        Curve::TokensInFlight,
    ];

    #[test]
    fn a_window_cuts_on_both_sides() {
        let levels = open_levels(&tracks(&[(0, 100), (20, 60)]), 40, 80);
        assert_eq!(levels, [(0.0, 0), (1.0, 20), (2.0, 20)]);
    }
}
