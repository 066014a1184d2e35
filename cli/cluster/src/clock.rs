//! The leader's clock as a shard knows it, from exchanges of messages.
//!
//! A shard notes when it asks (t0) and when it has the answer (t3), the leader when it hears the
//! question (t1) and answers (t2). The difference of the clocks is then
//! ((t1 - t0) + (t2 - t3)) / 2, wrong by half of the time on the way at most, however uneven the
//! two ways are. The exchange with the shortest way is the best one; averages are worse, since
//! delays only ever add.

use std::collections::VecDeque;

use pinfire_base::clock::{Span, Stamp};
use serde::{Deserialize, Serialize};

/// Exchanges older than this are forgotten.
const WINDOW: Span = Span::from_millis(64_000);

/// The best exchange of each such span is a point of the drift line.
const DRIFT_BUCKET: Span = Span::from_millis(8_000);

/// Points that a drift line needs.
const DRIFT_POINTS: usize = 3;

/// No two clocks of computers drift apart faster: crystals are within 100 ppm each, and what
/// disciplines a clock slews by 500 ppm at most, which CLOCK_MONOTONIC follows.
const DRIFT_MOST: f64 = 600e-6;

/// How much an exchange loses of its worth with age: a short way that is old is not better than one
/// a little longer that is new. That of NTP, which the rate of CLOCK_MONOTONIC usually follows.
const AGEING: f64 = 15e-6;

/// One exchange.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// When, by the shard's clock.
    at: Stamp,
    /// What to add to the shard's clock to have the leader's.
    offset: i64,
    /// The offset is wrong by no more than this.
    bound: u64,
}

/// What to add to a shard's clock to have the leader's, at one instant.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Estimate {
    /// Nanoseconds from the shard's clock to the leader's.
    pub offset: i64,
    /// The truth is within this many nanoseconds of the offset, whatever the network does.
    pub bound: u64,
    /// How fast the offset changes, in parts per million; 0 until there is enough to tell.
    pub drift_ppm: f64,
}

/// The exchanges of the last minute.
#[derive(Debug, Default)]
pub struct Clock {
    samples: VecDeque<Sample>,
}

impl Clock {
    /// Before the first exchange.
    pub const fn new() -> Self {
        Self {
            samples: VecDeque::new(),
        }
    }

    /// Takes an exchange: asked at `t0`, heard by the leader at `t1`, answered at `t2`, received at
    /// `t3`. One that cannot be is ignored.
    pub fn exchanged(&mut self, t0: Stamp, t1: u64, t2: u64, t3: Stamp) {
        let (Some(whole), Some(inside)) = (t3.nanos().checked_sub(t0.nanos()), t2.checked_sub(t1))
        else {
            return;
        };
        let Some(way) = whole.checked_sub(inside) else {
            return;
        };
        let there = i128::from(t1) - i128::from(t0.nanos());
        let back = i128::from(t2) - i128::from(t3.nanos());
        let Ok(offset) = i64::try_from((there + back) / 2) else {
            return;
        };
        let sample = Sample {
            at: Stamp::from_nanos(t0.nanos() + whole / 2),
            offset,
            bound: way.div_ceil(2),
        };
        self.samples.push_back(sample);
        while self
            .samples
            .front()
            .is_some_and(|oldest| t3.since(oldest.at) > WINDOW)
        {
            self.samples.pop_front();
        }
    }

    /// The leader's clock at an instant of the shard's, once there has been an exchange.
    pub fn estimate(&self, at: Stamp) -> Option<Estimate> {
        let drift = self.drift();
        let drift = drift.unwrap_or(0.0);
        let worth =
            |sample: &Sample| sample.bound as f64 + AGEING * sample.age(at).unsigned_abs() as f64;
        let best = self
            .samples
            .iter()
            .min_by(|a, b| worth(a).total_cmp(&worth(b)))?;
        let offset = best.offset + (drift * best.age(at) as f64).round() as i64;
        let (least, most) = self
            .limits(at)
            .unwrap_or((best.offset - best.reach(at), best.offset + best.reach(at)));
        let offset = offset.clamp(least, most);
        Some(Estimate {
            offset,
            bound: (offset - least).max(most - offset).unsigned_abs(),
            drift_ppm: drift * 1e6,
        })
    }

    /// What all exchanges together leave of the possible. None if they contradict each other.
    fn limits(&self, at: Stamp) -> Option<(i64, i64)> {
        let least = self.samples.iter().map(|s| s.offset - s.reach(at)).max()?;
        let most = self.samples.iter().map(|s| s.offset + s.reach(at)).min()?;
        (least <= most).then_some((least, most))
    }

    /// The slope of the line through the best exchange of each bucket, each with its weight.
    /// None while there are too few.
    fn drift(&self) -> Option<f64> {
        let mut points: Vec<Sample> = Vec::new();
        for sample in &self.samples {
            let bucket = |sample: &Sample| sample.at.nanos() / DRIFT_BUCKET.nanos();
            match points.last_mut() {
                Some(last) if bucket(last) == bucket(sample) => {
                    if sample.bound < last.bound {
                        *last = *sample;
                    }
                }
                _ => points.push(*sample),
            }
        }
        let first = *points.first().filter(|_| points.len() >= DRIFT_POINTS)?;
        let weight = |p: &Sample| 1.0 / (p.bound as f64 + 1_000.0).powi(2);
        let x = |p: &Sample| p.at.signed_since(first.at) as f64;
        let y = |p: &Sample| (p.offset - first.offset) as f64;
        let sum = |f: &dyn Fn(&Sample) -> f64| points.iter().map(f).sum::<f64>();
        let whole = sum(&weight);
        let mean_x = sum(&|p| weight(p) * x(p)) / whole;
        let mean_y = sum(&|p| weight(p) * y(p)) / whole;
        let spread = sum(&|p| weight(p) * (x(p) - mean_x).powi(2));
        let slope = sum(&|p| weight(p) * (x(p) - mean_x) * (y(p) - mean_y)) / spread;
        slope
            .is_finite()
            .then(|| slope.clamp(-DRIFT_MOST, DRIFT_MOST))
    }
}

impl Sample {
    /// Nanoseconds from it to `at`.
    const fn age(&self, at: Stamp) -> i64 {
        at.signed_since(self.at)
    }

    /// How far from its offset the truth can be at `at`.
    fn reach(&self, at: Stamp) -> i64 {
        (self.bound as f64 + DRIFT_MOST * self.age(at).unsigned_abs() as f64).ceil() as i64
    }
}

impl Estimate {
    /// An instant of the leader's clock as the shard's shows it.
    pub fn local(&self, leader: u64) -> Stamp {
        let local = i128::from(leader) - i128::from(self.offset);
        Stamp::from_nanos(u64::try_from(local.max(0)).unwrap_or(u64::MAX))
    }

    /// An instant of the shard's clock as the leader's shows it.
    pub fn leader(&self, local: Stamp) -> u64 {
        let leader = i128::from(local.nanos()) + i128::from(self.offset);
        u64::try_from(leader.max(0)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pinfire_base::random::Purpose;

    /// A link between a shard whose clock is right and a leader whose clock is off and drifts.
    struct Link {
        offset: i64,
        drift: f64,
        /// Nanoseconds to the leader and back on an idle network.
        ways: [u64; 2],
        /// The mean of what comes on top, in nanoseconds.
        noise: f64,
    }

    impl Link {
        fn truth(&self, at: u64) -> i64 {
            self.offset + (self.drift * at as f64).round() as i64
        }

        fn leader(&self, at: u64) -> u64 {
            (at as i64 + self.truth(at)) as u64
        }

        /// Exchanges at the start and then once a second; `check` is asked once a second.
        fn run(&self, seed: u64, seconds: u64, mut check: impl FnMut(u64, i64, Estimate)) {
            let mut clock = Clock::default();
            let draws = Purpose::new(seed, "link");
            let first = (0..64).map(|k| 1_000_000_000 + k * 5_000_000);
            let later = (2..seconds).map(|second| second * 1_000_000_000);
            for (number, t0) in first.chain(later).enumerate() {
                let mut draws = draws.at(number as u64);
                let mut late = || (-(1.0 - draws.uniform()).ln() * self.noise) as u64;
                let heard = t0 + self.ways[0] + late();
                let answered = heard + 20_000;
                let back = answered + self.ways[1] + late();
                let (t1, t2) = (self.leader(heard), self.leader(answered));
                clock.exchanged(Stamp::from_nanos(t0), t1, t2, Stamp::from_nanos(back));
                // Half a second later, when it is needed.
                let at = back + 500_000_000;
                let estimate = clock.estimate(Stamp::from_nanos(at)).unwrap();
                check(at, self.truth(at), estimate);
            }
        }
    }

    #[test]
    fn the_truth_is_within_the_bound_on_any_link() {
        let table = [
            // offset, drift, ways, noise
            (0, 0.0, [50_000, 50_000], 1_000.0),
            (3_600_000_000_000, 50e-6, [50_000, 50_000], 200_000.0),
            (-900_000_000, -50e-6, [30_000, 400_000], 2_000_000.0),
            (1_000_000_000_000_000, 200e-6, [900_000, 10_000], 50_000.0),
            (7, 500e-6, [5_000, 5_000], 5_000.0),
        ];
        for (row, (offset, drift, ways, noise)) in table.into_iter().enumerate() {
            for seed in 0..20 {
                let link = Link {
                    offset,
                    drift,
                    ways,
                    noise,
                };
                link.run(seed, 300, |at, truth, estimate| {
                    let error = (estimate.offset - truth).unsigned_abs();
                    assert!(
                        error <= estimate.bound + 1,
                        "row {row}, seed {seed}, at {at}: {error} of {}",
                        estimate.bound
                    );
                });
            }
        }
    }

    #[test]
    fn an_even_link_is_known_to_some_microseconds_and_its_drift_too() {
        for drift in [0.0, 30e-6, -50e-6] {
            let link = Link {
                offset: 123_456_789_000,
                drift,
                ways: [40_000, 40_000],
                noise: 30_000.0,
            };
            for seed in 0..20 {
                let mut worst = 0;
                link.run(seed, 200, |at, truth, estimate| {
                    let settled = at > 40_000_000_000;
                    let error = (estimate.offset - truth).unsigned_abs();
                    let allowed = if settled { 60_000 } else { 400_000 };
                    assert!(error <= allowed, "{drift}, seed {seed}, at {at}: {error}");
                    worst = worst.max(error);
                    if settled {
                        let off = (estimate.drift_ppm - drift * 1e6).abs();
                        assert!(off < 5.0, "{drift}: {}", estimate.drift_ppm);
                    }
                });
                assert!(worst > 0);
            }
        }
    }

    #[test]
    fn what_cannot_be_is_no_exchange() {
        let mut clock = Clock::default();
        let at = Stamp::from_nanos;
        clock.exchanged(at(100), 5, 6, at(99));
        clock.exchanged(at(100), 6, 5, at(200));
        clock.exchanged(at(100), 5, 500, at(200));
        assert_eq!(clock.estimate(at(300)), None);
        clock.exchanged(at(100), 1_040, 1_060, at(200));
        let estimate = clock.estimate(at(150)).unwrap();
        assert_eq!((estimate.offset, estimate.bound), (900, 40));
        assert_eq!(estimate.leader(at(150)), 1_050);
        assert_eq!(estimate.local(1_050), at(150));
    }

    #[test]
    fn a_clock_that_jumps_is_followed_by_the_best_exchange() {
        let mut clock = Clock::default();
        let at = Stamp::from_nanos;
        clock.exchanged(at(1_000_000), 1_010_000, 1_010_000, at(1_020_000));
        clock.exchanged(at(2_000_000), 9_002_000, 9_002_000, at(2_004_000));
        let estimate = clock.estimate(at(2_004_000)).unwrap();
        assert_eq!(estimate.offset, 7_000_000);
    }
}
