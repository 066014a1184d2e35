//! How long each value of a step function was held, and the statistics of that.

use crate::stats::{Figures, PERCENTILES, Percentiles};

/// Segments kept before equal values are put together.
const SEGMENTS: usize = 1 << 12;

/// Percentiles of a curve that are shown without being asked for.
const USUAL: [f64; 4] = [50.0, 90.0, 95.0, 99.0];

/// Values with the nanoseconds that each was held. As large as there are different values.
#[derive(Clone, Debug)]
pub struct Held {
    segments: Vec<(f64, u64)>,
    /// Time in which there was nothing to hold a value; it counts as 0, or not at all.
    idle: u64,
    limit: usize,
}

impl Default for Held {
    fn default() -> Self {
        Self {
            segments: Vec::new(),
            idle: 0,
            limit: SEGMENTS,
        }
    }
}

impl Held {
    /// Holds `value` for so many nanoseconds.
    pub fn add(&mut self, value: f64, nanos: u64) {
        match self.segments.last_mut() {
            Some((last, time)) if *last == value => *time += nanos,
            _ => {
                if self.segments.len() >= self.limit {
                    self.settle();
                    if self.segments.len() * 2 > self.limit {
                        self.limit *= 2;
                    }
                }
                self.segments.push((value, nanos));
            }
        }
    }

    /// Holds nothing for so many nanoseconds.
    pub const fn rest(&mut self, nanos: u64) {
        self.idle += nanos;
    }

    /// Sorts by value and puts equal values together.
    pub fn settle(&mut self) {
        self.segments.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        self.segments.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
    }

    /// The figures over all of the time; `None` of no time. To be called when settled, like the next.
    pub fn figures(&self, wanted: &Percentiles) -> Option<Figures> {
        figures(&self.segments, self.idle, wanted)
    }

    /// The figures over the time in which there was something; zeros if there never was.
    pub fn active(&self, wanted: &Percentiles) -> Option<Figures> {
        figures(&self.segments, 0, wanted).or_else(|| figures(&[(0.0, 1)], 0, wanted))
    }
}

/// Statistics of a step function, given as values from 0 up, ascending, with the time each was held,
/// after `idle` nanoseconds of 0. A percentile is the first value whose share of the time, with all
/// lower ones, reaches it.
pub fn figures(ascending: &[(f64, u64)], idle: u64, wanted: &Percentiles) -> Option<Figures> {
    let idle = (idle > 0).then_some((0.0, idle));
    let held = || {
        idle.into_iter()
            .chain(ascending.iter().copied().filter(|s| s.1 > 0))
    };
    let total = held().map(|s| s.1).sum::<u64>() as f64;
    let (min, max) = (held().next()?.0, held().last()?.0);
    let avg = held().map(|(v, d)| v * d as f64).sum::<f64>() / total;
    let squares: f64 = held().map(|(v, d)| d as f64 * (v - avg) * (v - avg)).sum();
    let percentile = |q: f64| {
        let mut passed = 0_u64;
        let reached = held().find(|(_, nanos)| {
            passed += nanos;
            passed as f64 / total >= q / 100.0
        });
        reached.map_or(max, |(value, _)| value)
    };
    let shown = wanted.list().iter();
    let shown = shown.filter(|q| USUAL.contains(q) || !PERCENTILES.contains(q));
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

    #[test]
    fn equal_values_are_put_together_and_nothing_is_lost() {
        let mut held = Held::default();
        for n in 0..100_000_u64 {
            held.add((n % 7) as f64, 1 + n % 3);
        }
        assert!(held.segments.len() <= SEGMENTS);
        held.settle();
        assert_eq!(held.segments.len(), 7);
        let total: u64 = held.segments.iter().map(|s| s.1).sum();
        assert_eq!(total, (0..100_000_u64).map(|n| 1 + n % 3).sum::<u64>());
        for n in 0..100_000_u64 {
            held.add(n as f64 + 10.0, 1);
        }
        held.settle();
        assert_eq!(held.segments.len(), 100_007);
    }

    #[test]
    fn idle_time_is_zero_or_nothing() {
        let mut held = Held::default();
        held.rest(30);
        held.add(4.0, 10);
        held.settle();
        let wanted = Percentiles::default();
        let all = held.figures(&wanted).unwrap();
        assert_eq!(
            (all.avg, all.min, all.percentile(50)),
            (Some(1.0), Some(0.0), Some(0.0))
        );
        assert_eq!(all.percentile(25), None);
        let active = held.active(&wanted).unwrap();
        assert_eq!(
            (active.avg, active.min, active.std),
            (Some(4.0), Some(4.0), Some(0.0))
        );
        let never = Held::default();
        assert_eq!(never.figures(&wanted), None);
        assert_eq!(never.active(&wanted).unwrap().max, Some(0.0));
    }
}
