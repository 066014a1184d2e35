//! Which conversation a session takes: a pure function of (seed, session number), so that cores
//! need not agree on anything.
//!
//! One numbering serves warmup and profiling: profiling goes on where the warmup stopped.

use pinfire_base::random::{Draws, Purpose};

/// The order in which sessions take the conversations of a dataset.
#[derive(Clone, Copy, Debug)]
pub enum Sampling {
    /// As they stand, from the start again at the end.
    Sequential,
    /// Every one once per pass, each pass in another order.
    Shuffle(Purpose),
    /// Each session draws one of all.
    Random(Purpose),
}

/// Up to this many, a permutation is made by exchanging: all of them can come out.
const FEW: u64 = 16;
/// Rounds of the Feistel network. Four make a pseudorandom permutation (Luby, Rackoff 1988); the
/// halves are small here, so twice as many.
const ROUNDS: usize = 8;

impl Sampling {
    /// Each pass in an order of its own, drawn from `seed`.
    pub fn shuffle(seed: u64) -> Self {
        Self::Shuffle(Purpose::new(seed, "dataset.sampler.shuffle"))
    }

    /// Independent draws from `seed`.
    pub fn random(seed: u64) -> Self {
        Self::Random(Purpose::new(seed, "dataset.sampler.random"))
    }

    /// The conversation of session `number`, of `count` of them; 0 when there are none.
    #[inline]
    pub fn pick(&self, number: u64, count: u64) -> u64 {
        if count == 0 {
            return 0;
        }
        match self {
            Self::Sequential => number % count,
            Self::Shuffle(purpose) => permuted(purpose.at(number / count), number % count, count),
            Self::Random(purpose) => purpose.at(number).below(count),
        }
    }
}

/// Where the permutation that `draws` stands for sends `place`, which is below `count`.
fn permuted(mut draws: Draws, place: u64, count: u64) -> u64 {
    if count <= FEW {
        return exchanged(&mut draws, place, count);
    }
    let mut keys = [0_u32; ROUNDS];
    keys.fill_with(|| draws.u32());
    // The network permutes the numbers of so many bits, fewer than twice `count`; one that leaves
    // the range goes through it again until it is back ("cycle walking"), which is a permutation
    // too.
    let bits = u64::BITS - (count - 1).leading_zeros();
    let mut number = feistel(place, bits, &keys);
    while number >= count {
        number = feistel(number, bits, &keys);
    }
    number
}

/// Fisher–Yates over a few.
fn exchanged(draws: &mut Draws, place: u64, count: u64) -> u64 {
    let mut order: [u64; FEW as usize] = std::array::from_fn(|n| n as u64);
    for last in (1..count as usize).rev() {
        order.swap(last, draws.below(last as u64 + 1) as usize);
    }
    order[place as usize]
}

/// One pass through the network: the halves may differ by a bit and change places each round.
fn feistel(number: u64, bits: u32, keys: &[u32; ROUNDS]) -> u64 {
    let (mut low_bits, mut high_bits) = (bits / 2, bits - bits / 2);
    let mut low = number & mask(low_bits);
    let mut high = number >> low_bits;
    for &key in keys {
        let mixed = (high ^ mix(low ^ (u64::from(key) << 32))) & mask(high_bits);
        (high, low) = (low, mixed);
        (high_bits, low_bits) = (low_bits, high_bits);
    }
    (high << low_bits) | low
}

const fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): every bit of the input reaches every bit.
const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeSet, HashMap};

    fn pass(sampling: Sampling, number: u64, count: u64) -> Vec<u64> {
        let numbers = number * count..(number + 1) * count;
        numbers.map(|n| sampling.pick(n, count)).collect()
    }

    #[test]
    fn sequential_begins_again_at_the_end() {
        let picks: Vec<u64> = (0..7).map(|n| Sampling::Sequential.pick(n, 3)).collect();
        assert_eq!(picks, [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(Sampling::shuffle(1).pick(5, 0), 0);
        assert_eq!(Sampling::random(1).pick(5, 1), 0);
    }

    proptest! {
        #[test]
        fn a_pass_of_a_shuffle_takes_each_once(seed: u64, count in 1_u64..3_000, number in 0_u64..9) {
            let picks = pass(Sampling::shuffle(seed), number, count);
            let all: BTreeSet<u64> = picks.iter().copied().collect();
            prop_assert_eq!(all.into_iter().collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
        }

        #[test]
        fn large_sets_stay_within(seed: u64, count in 1_u64..=u64::from(u32::MAX), number: u64) {
            prop_assert!(Sampling::shuffle(seed).pick(number, count) < count);
            prop_assert!(Sampling::random(seed).pick(number, count) < count);
        }
    }

    #[test]
    fn passes_and_seeds_differ() {
        for count in [20, 1_000] {
            let one = pass(Sampling::shuffle(1), 0, count);
            assert_ne!(one, pass(Sampling::shuffle(1), 1, count));
            assert_ne!(one, pass(Sampling::shuffle(2), 0, count));
            assert_eq!(one, pass(Sampling::shuffle(1), 0, count));
        }
    }

    #[test]
    fn every_order_of_four_comes_out_about_as_often() {
        let mut seen: HashMap<Vec<u64>, u32> = HashMap::new();
        for number in 0..24_000 {
            *seen
                .entry(pass(Sampling::shuffle(3), number, 4))
                .or_default() += 1;
        }
        assert_eq!(seen.len(), 24);
        assert!(
            seen.values().all(|&n| (850..1_150).contains(&n)),
            "{seen:?}"
        );
    }

    /// Chi-square of (place, pick) over many passes, at about five deviations.
    #[test]
    fn every_place_takes_every_conversation_about_as_often() {
        for (sampling, count) in [
            (Sampling::shuffle(7), 37_u64),
            (Sampling::shuffle(8), 64),
            (Sampling::random(9), 37),
        ] {
            let passes = 3_000_u64;
            let mut seen = vec![0_f64; (count * count) as usize];
            for number in 0..passes * count {
                let pick = sampling.pick(number, count);
                seen[(number % count * count + pick) as usize] += 1.0;
            }
            let expected = passes as f64 / count as f64;
            let chi: f64 = seen.iter().map(|n| (n - expected).powi(2) / expected).sum();
            let free = (count * count) as f64;
            assert!(
                (chi - free).abs() < 5.0 * (2.0 * free).sqrt() + 2.0 * count as f64,
                "{chi} {free}"
            );
        }
    }

    /// Neighbours in the file must not stay neighbours: how often the pick after x is x + 1.
    #[test]
    fn neighbours_part() {
        let count = 1_000;
        let picks = pass(Sampling::shuffle(11), 0, count * 20);
        let next = picks.windows(2).filter(|two| two[1] == two[0] + 1).count();
        assert!(next < 60, "{next} of {}", picks.len());
        let small: Vec<u64> = (0..20)
            .flat_map(|n| pass(Sampling::shuffle(11), n, count))
            .collect();
        let next = small.windows(2).filter(|two| two[1] == two[0] + 1).count();
        assert!(next < 60, "{next} of {}", small.len());
    }
}
