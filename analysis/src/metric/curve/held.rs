//! How long each value of a step function was held, and the statistics of that.

use crate::stats::{Figures, PERCENTILES, Percentiles};

/// Segments kept before equal values are put together.
const SEGMENTS: usize = 1 << 12;

/// More different values than these are put into classes, so that a long run takes no more room.
const EXACT: usize = 1 << 18;
/// Bits of a number that a class leaves out: values within one of 4,096 parts of their magnitude
/// are one, so percentiles are off by 0.02 % at most. Mean, minimum and maximum stay exact.
const CLASS: u32 = 40;

/// Percentiles of a curve that are shown without being asked for.
const USUAL: [f64; 4] = [50.0, 90.0, 95.0, 99.0];

/// Values, 0 or more, with the nanoseconds that each was held.
#[derive(Clone, Debug)]
pub struct Held {
    segments: Vec<(f64, u64)>,
    least: f64,
    most: f64,
    /// Time in which there was nothing to hold a value; it counts as 0, or not at all.
    idle: u64,
    limit: usize,
}

impl Default for Held {
    fn default() -> Self {
        Self {
            segments: Vec::new(),
            least: f64::INFINITY,
            most: 0.0,
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
                    self.limit = self.limit.max(2 * self.segments.len());
                }
                (self.least, self.most) = (self.least.min(value), self.most.max(value));
                self.segments.push((value, nanos));
            }
        }
    }

    /// Holds nothing for so many nanoseconds.
    pub const fn rest(&mut self, nanos: u64) {
        self.idle += nanos;
    }

    /// Sorts by value and puts equal values together; where they are too many, those of one class.
    pub fn settle(&mut self) {
        // Stable, because it is quick where most is sorted already.
        self.segments.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.merge(|one, other| one == other);
        if self.segments.len() > EXACT {
            self.merge(|one, other| one.to_bits() >> CLASS == other.to_bits() >> CLASS);
        }
    }

    /// Puts neighbours that are alike together, at their mean.
    fn merge(&mut self, alike: impl Fn(f64, f64) -> bool) {
        self.segments.dedup_by(|next, kept| {
            let merged = alike(next.0, kept.0);
            if merged {
                let time = kept.1 + next.1;
                if next.0 != kept.0 {
                    let share = next.1 as f64 / time as f64;
                    kept.0 += (next.0 - kept.0) * share;
                }
                kept.1 = time;
            }
            merged
        });
    }

    /// The figures over all of the time; `None` of no time. To be called when settled, like the
    /// next.
    pub fn figures(&self, wanted: &Percentiles) -> Option<Figures> {
        let figures = figures(&self.segments, self.idle, wanted)?;
        let least = if self.idle > 0 { 0.0 } else { self.least };
        Some(self.bounded(figures, least))
    }

    /// The figures over the time in which there was something; zeros if there never was.
    pub fn active(&self, wanted: &Percentiles) -> Option<Figures> {
        match figures(&self.segments, 0, wanted) {
            Some(figures) => Some(self.bounded(figures, self.least)),
            None => figures(&[(0.0, 1)], 0, wanted),
        }
    }

    fn bounded(&self, figures: Figures, least: f64) -> Figures {
        Figures {
            min: Some(least),
            max: Some(self.most),
            ..figures
        }
    }
}

/// Statistics of a step function, given as values from 0 up, ascending, with the time each was
/// held, after `idle` nanoseconds of 0. A percentile is the first value whose share of the time,
/// with all lower ones, reaches it.
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
    fn a_long_run_takes_no_more_room_and_is_hardly_less_exact() {
        let (mut held, mut all) = (Held::default(), Vec::new());
        for n in 0..2_000_000_u64 {
            let value = 1.0 + ((n * 7_919) % 1_999_993) as f64 / 100.0;
            held.add(value, 1 + n % 5);
            all.push((value, 1 + n % 5));
        }
        assert!(
            held.segments.capacity() <= 4 * EXACT,
            "{}",
            held.segments.capacity()
        );
        held.settle();
        assert!(held.segments.len() <= EXACT);
        all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let wanted = Percentiles::default();
        let exact = figures(&all, 0, &wanted).unwrap();
        let found = held.figures(&wanted).unwrap();
        assert_eq!((found.min, found.max), (exact.min, exact.max));
        let close =
            |found: f64, exact: f64, most: f64| assert!((found / exact - 1.0).abs() <= most);
        close(found.avg.unwrap(), exact.avg.unwrap(), 1e-12);
        close(found.std.unwrap(), exact.std.unwrap(), 1e-6);
        for ((_, found), (_, exact)) in found.percentiles.iter().zip(&exact.percentiles) {
            close(*found, *exact, 2.5e-4);
        }
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
