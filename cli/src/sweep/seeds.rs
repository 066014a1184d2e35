//! Which seed a run of a sweep has.

use anyhow::Result;
use pinfire_base::random::child_seed;

use pinfire_config::{Get, RunConfig};

use crate::settings::random_bits;

/// The seeds of all runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seeds {
    /// That of the first point.
    pub base: u64,
    /// Every run draws its own, unknown before.
    pub drawn: bool,
    /// All points have the same.
    pub same: bool,
    /// The runs of one point have different ones.
    pub vary: bool,
}

/// Base seed where AIPerf's way is asked for.
const CONSISTENT: u64 = 42;

impl Seeds {
    /// From the configuration. A seed that nobody fixed is drawn, and then runs of one point differ
    /// in it: a server that keeps prefixes would otherwise answer the second run from its cache.
    ///
    /// # Errors
    /// The system gives no random bits.
    pub fn new(config: &RunConfig) -> Result<Self> {
        let asked = &config.sweep;
        let fixed = config.load.random_seed.get();
        let consistent = asked.set_consistent_seed.get();
        let base = match (fixed, consistent) {
            (Some(seed), _) => seed,
            (None, Some(true)) => CONSISTENT,
            // Room for the points, and below 2^53 with it.
            (None, _) => random_bits()? >> 12,
        };
        let known = fixed.is_some() || consistent == Some(true);
        Ok(Self {
            base,
            drawn: fixed.is_none() && consistent == Some(false),
            same: asked.parameter_sweep_same_seed.get().unwrap_or(false),
            vary: asked.vary_seed_per_trial.get().unwrap_or(!known),
        })
    }

    /// The seed of a run; `None` if it draws its own.
    pub fn of(&self, point: usize, trial: usize, label: &str) -> Option<u64> {
        if self.drawn {
            return None;
        }
        if self.vary && trial > 0 {
            let purpose = format!("variation:{label}:trial:{trial}");
            // 53 bits, so that the seed survives readers that keep numbers as doubles.
            return Some(child_seed(self.base, &purpose) >> 11);
        }
        let step = if self.same { 0 } else { point as u64 };
        Some(self.base.wrapping_add(step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::typed;

    fn seeds(line: &[&str]) -> Seeds {
        Seeds::new(&typed(line.iter().copied()).unwrap()).unwrap()
    }

    #[test]
    fn points_differ_and_trials_only_where_nobody_fixed_the_seed() {
        let fixed = seeds(&["--random-seed", "7"]);
        assert_eq!(fixed.of(0, 0, "a"), Some(7));
        assert_eq!(
            (fixed.of(2, 0, "a"), fixed.of(2, 1, "a")),
            (Some(9), Some(9))
        );
        let drawn = seeds(&[]);
        assert_ne!(drawn.of(1, 0, "a"), drawn.of(1, 1, "a"));
        assert_ne!(drawn.of(1, 1, "a"), drawn.of(1, 1, "b"));
        assert_ne!(drawn, seeds(&[]));
        assert_eq!(seeds(&["--set-consistent-seed"]).of(1, 1, "a"), Some(43));
        assert_eq!(seeds(&["--no-set-consistent-seed"]).of(1, 0, "a"), None);
        let same = seeds(&["--random-seed", "7", "--parameter-sweep-same-seed"]);
        assert_eq!(same.of(5, 0, "a"), Some(7));
        let vary = seeds(&["--random-seed", "7", "--vary-seed-per-trial"]);
        assert_ne!(vary.of(0, 1, "a"), Some(7));
        assert!(!seeds(&["--no-vary-seed-per-trial"]).vary);
    }
}
