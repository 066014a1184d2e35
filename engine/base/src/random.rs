//! Random decisions as pure functions of (seed, purpose, index): the same on any number of cores.
//!
//! The generator is Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3",
//! 2011): a keyed bijection of a counter, so that draw `k` of request `i` needs no draw before it.
//! The key of a purpose is the first 8 bytes, big-endian, of SHA-256 over `<seed>:<purpose>`, so
//! that a new purpose never shifts another one.

use sha2::{Digest, Sha256};

/// The child seed of `purpose` under the run's `seed`.
pub fn child_seed(seed: u64, purpose: &str) -> u64 {
    let digest = Sha256::digest(format!("{seed}:{purpose}"));
    let mut first = [0_u8; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}

/// The draws of one purpose.
///
/// ```
/// use pinfire_base::random::Purpose;
///
/// let lengths = Purpose::new(42, "prompt.length");
/// // Number 7 is the same whoever asks for it, in whatever order.
/// let seventh = lengths.at(7).below(1_000);
/// assert_eq!(Purpose::new(42, "prompt.length").at(7).below(1_000), seventh);
/// // Another purpose draws something else.
/// assert_ne!(Purpose::new(42, "prompt").at(7).u64(), lengths.at(7).u64());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Purpose {
    key: [u32; 2],
}

/// The draws of one purpose at one index, in order.
#[derive(Clone, Debug)]
pub struct Draws {
    purpose: Purpose,
    index: u64,
    block: u64,
    words: [u32; 4],
    used: usize,
}

impl Purpose {
    /// The stream named `name` under `seed`.
    pub fn new(seed: u64, name: &str) -> Self {
        Self::keyed(child_seed(seed, name))
    }

    /// The stream whose child seed is known already.
    pub const fn keyed(child: u64) -> Self {
        Self {
            key: [child as u32, (child >> 32) as u32],
        }
    }

    /// The first draw at `index`, uniform in [0, 1).
    pub fn uniform(&self, index: u64) -> f64 {
        self.at(index).uniform()
    }

    /// All draws at `index`.
    pub const fn at(&self, index: u64) -> Draws {
        Draws {
            purpose: *self,
            index,
            block: 0,
            words: [0; 4],
            used: 4,
        }
    }
}

impl Draws {
    /// The next 32 random bits.
    #[inline]
    pub fn u32(&mut self) -> u32 {
        if self.used == 4 {
            self.words = philox(
                [
                    self.index as u32,
                    (self.index >> 32) as u32,
                    self.block as u32,
                    (self.block >> 32) as u32,
                ],
                self.purpose.key,
            );
            self.block += 1;
            self.used = 0;
        }
        let word = self.words[self.used];
        self.used += 1;
        word
    }

    /// The next 64 random bits.
    #[inline]
    pub fn u64(&mut self) -> u64 {
        u64::from(self.u32()) | u64::from(self.u32()) << 32
    }

    /// Uniform in [0, 1), 53 bits.
    #[inline]
    pub fn uniform(&mut self) -> f64 {
        (self.u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in `0..bound`, without bias (Lemire's rejection); 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        loop {
            let wide = u128::from(self.u64()) * u128::from(bound);
            if (wide as u64) >= bound.wrapping_neg() % bound {
                return (wide >> 64) as u64;
            }
        }
    }

    /// Normal with the given mean and deviation (Box–Muller, one of the pair).
    pub fn normal(&mut self, mean: f64, deviation: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let angle = std::f64::consts::TAU * self.uniform();
        mean + deviation * radius * angle.cos()
    }
}

fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let first = u64::from(counter[0]) * 0xD251_1F53;
        let second = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [
            (second >> 32) as u32 ^ counter[1] ^ key[0],
            second as u32,
            (first >> 32) as u32 ^ counter[3] ^ key[1],
            first as u32,
        ];
        key = [
            key[0].wrapping_add(0x9E37_79B9),
            key[1].wrapping_add(0xBB67_AE85),
        ];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers published with the generator (Random123's kat_vectors).
    #[test]
    fn philox_known_answers() {
        assert_eq!(
            philox([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    /// Child seeds as AIPerf derives them.
    #[test]
    fn child_seeds() {
        assert_eq!(
            child_seed(42, "timing.request.cancellation"),
            11_686_587_610_284_287_402
        );
        assert_eq!(
            child_seed(0, "timing.request.cancellation"),
            16_649_844_751_598_604_509
        );
        assert_eq!(
            child_seed(42, "timing.request.poisson_interval"),
            8_134_544_948_104_704_004
        );
    }

    #[test]
    fn uniform_share_is_near_the_rate() {
        let purpose = Purpose::new(7, "share");
        let hits = (0..100_000).filter(|&i| purpose.uniform(i) < 0.2).count();
        assert!((19_500..20_500).contains(&hits), "{hits} of 100000");
    }

    #[test]
    fn normal_has_its_mean_and_deviation() {
        let purpose = Purpose::new(1, "normal");
        let draws: Vec<f64> = (0..50_000)
            .map(|i| purpose.at(i).normal(10.0, 3.0))
            .collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!((mean - 10.0).abs() < 0.05, "mean {mean}");
        assert!(
            (variance.sqrt() - 3.0).abs() < 0.05,
            "deviation {}",
            variance.sqrt()
        );
    }

    #[test]
    fn below_stays_below() {
        let mut draws = Purpose::new(1, "below").at(0);
        let mut seen = [0_u32; 7];
        for _ in 0..7_000 {
            seen[draws.below(7) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| n > 850), "{seen:?}");
        assert_eq!(draws.below(0), 0);
    }
}
