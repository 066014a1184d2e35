//! Step functions of time and their statistics, weighted by how long each value was held.

use crate::stats::{Figures, PERCENTILES, Percentiles};

/// What of a request the curves need: 16 bytes each, kept for all requests of a phase.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Track {
    /// Start, in nanoseconds of the monotonic clock.
    pub start: u64,
    /// Record end, on the same clock.
    pub end: u64,
}

/// How many requests were open, from the first start to the last end.
pub fn concurrency(tracks: &[Track], wanted: &Percentiles) -> Option<Figures> {
    let from = tracks.iter().map(|t| t.start).min()?;
    let to = tracks.iter().map(|t| t.end).max()?;
    weighted(&open_levels(tracks, from, to), wanted)
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

/// Statistics of a step function given as values and the time each was held.
pub fn weighted(segments: &[(f64, u64)], wanted: &Percentiles) -> Option<Figures> {
    let mut held: Vec<(f64, u64)> = segments.iter().copied().filter(|s| s.1 > 0).collect();
    held.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let total = held.iter().map(|s| s.1).sum::<u64>() as f64;
    let (min, max) = (held.first()?.0, held.last()?.0);
    let avg = held.iter().map(|(v, d)| v * *d as f64).sum::<f64>() / total;
    let squares: f64 = held
        .iter()
        .map(|(v, d)| *d as f64 * (v - avg) * (v - avg))
        .sum();
    let percentile = |q: f64| {
        let mut passed = 0_u64;
        let reached = held.iter().find(|(_, nanos)| {
            passed += nanos;
            passed as f64 / total >= q / 100.0
        });
        reached.map_or(max, |(value, _)| *value)
    };
    let shown = wanted.list().iter().filter(|&q| {
        let usual = [50.0, 90.0, 95.0, 99.0];
        usual.contains(q) || !PERCENTILES.contains(q)
    });
    Some(Figures {
        avg: Some(avg),
        percentiles: shown.map(|&q| (q, percentile(q))).collect(),
        min: Some(min),
        max: Some(max),
        std: Some((squares / total).sqrt()),
        count: None,
        sum: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracks(pairs: &[(u64, u64)]) -> Vec<Track> {
        pairs
            .iter()
            .map(|&(start, end)| Track { start, end })
            .collect()
    }

    #[test]
    fn the_golden_concurrency() {
        // Hundredths of milliseconds of the specification's section 9.
        let figures = concurrency(
            &tracks(&[(10, 1315), (20, 820), (910, 1415)]),
            &Percentiles::default(),
        )
        .unwrap();
        assert!((figures.avg.unwrap() - 1.8576512455516014).abs() < 1e-12);
        assert!((figures.std.unwrap() - 0.3494).abs() < 1e-4);
        assert_eq!((figures.min, figures.max), (Some(1.0), Some(2.0)));
        assert_eq!(figures.percentile(50), Some(2.0));
        assert_eq!(figures.percentile(25), None);
    }

    #[test]
    fn a_slot_that_is_taken_at_once_never_shows_two() {
        let figures = concurrency(
            &tracks(&[(0, 10), (10, 20), (20, 30)]),
            &Percentiles::default(),
        )
        .unwrap();
        assert_eq!((figures.min, figures.max), (Some(1.0), Some(1.0)));
    }

    #[test]
    fn requests_of_no_length_do_not_upset_the_count() {
        let figures = concurrency(
            &tracks(&[(5, 5), (0, 10), (10, 10)]),
            &Percentiles::default(),
        )
        .unwrap();
        assert_eq!((figures.avg, figures.max), (Some(1.0), Some(1.0)));
        assert_eq!(
            concurrency(&tracks(&[(5, 5)]), &Percentiles::default()),
            None
        );
        assert_eq!(concurrency(&[], &Percentiles::default()), None);
    }

    #[test]
    fn a_window_cuts_on_both_sides() {
        let levels = open_levels(&tracks(&[(0, 100), (20, 60)]), 40, 80);
        assert_eq!(levels, [(0.0, 0), (1.0, 20), (2.0, 20)]);
    }
}
