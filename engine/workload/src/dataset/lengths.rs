//! How long the prompts and answers of a synthetic dataset are, turn by turn.

use pinfire_base::random::{Draws, Purpose};

use super::prompt::sample_length;
use super::synthetic::{OutputLimits, SyntheticSpec};

/// What lengths are drawn from.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Lengths {
    /// The means and deviations of the spec, input and output apart.
    #[default]
    Normal,
    /// One pair for both, by its share.
    Pairs(Vec<LengthPair>),
    /// Evenly from a window each.
    Uniform {
        /// Input lengths.
        isl: Window,
        /// Output lengths.
        osl: Window,
    },
}

/// Lengths in tokens that go together. Deviations below 1 are none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LengthPair {
    /// Mean input length.
    pub isl: u32,
    /// Its deviation.
    pub isl_stddev: f64,
    /// Mean output length.
    pub osl: u32,
    /// Its deviation.
    pub osl_stddev: f64,
    /// Share of the turns, of 1.
    pub share: f64,
}

/// Lengths from `low` to `high`, both among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The shortest.
    pub low: u32,
    /// The longest.
    pub high: u32,
}

impl Window {
    fn draw(self, draws: &mut Draws) -> u32 {
        let width = u64::from(self.high.saturating_sub(self.low)) + 1;
        (self.low + draws.below(width) as u32).max(1)
    }
}

/// The lengths of one turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Drawn {
    /// Of each of its texts.
    pub(super) isl: Vec<u32>,
    /// The output limit.
    pub(super) osl: Option<u32>,
}

/// Draws the lengths of a dataset's turns.
pub(super) struct LengthDraws<'a> {
    spec: &'a SyntheticSpec,
    special: u32,
    inputs: Purpose,
    limits: OutputLimits,
    pairs: Purpose,
    windows: Purpose,
}

impl<'a> LengthDraws<'a> {
    /// `special` tokens are added by the server to what a mean of the flags counts.
    pub(super) fn new(spec: &'a SyntheticSpec, seed: u64, special: u32) -> Self {
        Self {
            spec,
            special,
            inputs: Purpose::new(seed, "dataset.prompt.length"),
            limits: OutputLimits::new(seed, spec.osl_mean, spec.osl_stddev),
            pairs: Purpose::new(seed, "models.sequence.distribution"),
            windows: Purpose::new(seed, "models.range_ratio.distribution"),
        }
    }

    /// The lengths of the turn at `index`.
    pub(super) fn at(&self, index: usize) -> Drawn {
        let (at, texts) = (index as u64, self.spec.texts.max(1));
        match &self.spec.lengths {
            Lengths::Normal => {
                let mean = self.spec.isl_mean.saturating_sub(self.special);
                let mut draws = self.inputs.at(at);
                let mut draw = || sample_length(&mut draws, mean, self.spec.isl_stddev);
                Drawn {
                    isl: (0..texts).map(|_| draw()).collect(),
                    osl: self.limits.at(index),
                }
            }
            // One draw for the turn: all its texts have the same length.
            Lengths::Pairs(pairs) => {
                let mut draws = self.pairs.at(at);
                let pair = pick(pairs, draws.uniform());
                let isl = sample_length(&mut draws, pair.isl, pair.isl_stddev);
                let osl = sample_length(&mut draws, pair.osl, pair.osl_stddev);
                Drawn {
                    isl: vec![isl; texts],
                    osl: Some(osl),
                }
            }
            Lengths::Uniform { isl, osl } => {
                let mut draws = self.windows.at(at);
                let isl = isl.draw(&mut draws);
                Drawn {
                    isl: vec![isl; texts],
                    osl: Some(osl.draw(&mut draws)),
                }
            }
        }
    }
}

/// The first pair whose cumulative share exceeds `drawn`; the last one makes up for rounding.
fn pick(pairs: &[LengthPair], drawn: f64) -> LengthPair {
    let mut sum = 0.0;
    let found = pairs.iter().find(|pair| {
        sum += pair.share;
        sum > drawn
    });
    let none = LengthPair {
        isl: 1,
        isl_stddev: 0.0,
        osl: 1,
        osl_stddev: 0.0,
        share: 1.0,
    };
    *found.or(pairs.last()).unwrap_or(&none)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::synthetic::TurnSpec;

    fn spec(lengths: Lengths, texts: usize) -> SyntheticSpec {
        SyntheticSpec {
            count: 1,
            isl_mean: 100,
            isl_stddev: 30.0,
            osl_mean: None,
            osl_stddev: 0.0,
            turns: TurnSpec {
                mean: 1,
                stddev: 0.0,
                delay_mean_ms: 0.0,
                delay_stddev_ms: 0.0,
                delay_ratio: 1.0,
                delay_cap: None,
            },
            system_length: None,
            lengths,
            texts,
            prefixes: None,
            user_context_length: None,
            rankings: None,
        }
    }

    fn drawn(spec: &SyntheticSpec, count: usize) -> Vec<Drawn> {
        let draws = LengthDraws::new(spec, 7, 2);
        (0..count).map(|index| draws.at(index)).collect()
    }

    #[test]
    fn pairs_by_their_shares() {
        let pair = |isl, osl, share| LengthPair {
            isl,
            isl_stddev: 0.0,
            osl,
            osl_stddev: 0.0,
            share,
        };
        let pairs = vec![pair(256, 128, 0.4), pair(512, 256, 0.6)];
        let all = drawn(&spec(Lengths::Pairs(pairs.clone()), 2), 10_000);
        let first = all.iter().filter(|one| one.isl == [256, 256]);
        let count = first.inspect(|one| assert_eq!(one.osl, Some(128))).count();
        assert!((3_850..4_150).contains(&count), "{count}");
        let second = all
            .iter()
            .filter(|one| one.isl == [512, 512] && one.osl == Some(256));
        assert_eq!(second.count(), 10_000 - count);
        assert_eq!(
            pick(&pairs, 0.4).isl,
            512,
            "the shares up to it must exceed the draw"
        );
        assert_eq!(pick(&pairs, 1.0).isl, 512);
    }

    #[test]
    fn pairs_with_deviations_spread() {
        let pair = LengthPair {
            isl: 100,
            isl_stddev: 10.0,
            osl: 50,
            osl_stddev: 5.0,
            share: 1.0,
        };
        let all = drawn(&spec(Lengths::Pairs(vec![pair]), 1), 5_000);
        let mean = all.iter().map(|one| f64::from(one.isl[0])).sum::<f64>() / 5_000.0;
        assert!(
            (mean - 100.5).abs() < 1.0,
            "no special tokens are taken off: {mean}"
        );
        assert!(all.iter().any(|one| one.osl != Some(50)));
    }

    #[test]
    fn windows_are_even_and_closed() {
        let window = |low, high| Window { low, high };
        let lengths = Lengths::Uniform {
            isl: window(0, 3),
            osl: window(7, 7),
        };
        let all = drawn(&spec(lengths, 1), 8_000);
        let of = |length| all.iter().filter(|one| one.isl == [length]).count();
        // What would be 0 is 1, since a prompt has something to say.
        assert!((3_800..4_200).contains(&of(1)), "{}", of(1));
        assert!((1_850..2_150).contains(&of(3)), "{}", of(3));
        assert_eq!(of(0) + of(4), 0);
        assert!(all.iter().all(|one| one.osl == Some(7)));
    }

    #[test]
    fn texts_of_one_turn_are_drawn_apart_and_the_first_as_alone() {
        let one = drawn(&spec(Lengths::Normal, 1), 20);
        let three = drawn(&spec(Lengths::Normal, 3), 20);
        assert!(one.iter().zip(&three).all(|(a, b)| a.isl[0] == b.isl[0]));
        assert!(three.iter().any(|one| one.isl[0] != one.isl[1]));
        let mean = three.iter().flat_map(|one| &one.isl).sum::<u32>() / 60;
        assert!((85..112).contains(&mean), "{mean}");
    }
}
