//! A distribution in bounded memory: three significant digits, as an HdrHistogram of that
//! precision, but for fractions and negative values too. Mean, deviation, sum, smallest and largest
//! stay exact.

/// Bits of a value's mantissa that tell values apart: steps of 1/1024, at most 0.05 % off.
const MANTISSA: u32 = 10;
const DROPPED: u32 = f64::MANTISSA_DIGITS - 1 - MANTISSA;

/// Steps of a page: an eighth of an octave, so that most values of a sample are on two or three.
const STEPS: usize = 128;

/// How many values each step has. The steps in use lie together: a page of them is found at once
/// where the value before was on it too, which a map of single steps would look for every time.
#[derive(Clone, Debug, Default)]
struct Counts {
    /// Ascending by their number.
    pages: Vec<(i32, Box<[u64; STEPS]>)>,
    /// Place of the one that was used last.
    last: usize,
}

impl Counts {
    fn add(&mut self, key: i32) {
        let number = key.div_euclid(STEPS as i32);
        let step = key.rem_euclid(STEPS as i32) as usize;
        if self
            .pages
            .get(self.last)
            .is_none_or(|page| page.0 != number)
        {
            let found = self.pages.binary_search_by_key(&number, |page| page.0);
            self.last = found.unwrap_or_else(|place| {
                self.pages.insert(place, (number, Box::new([0; STEPS])));
                place
            });
        }
        // The page is there, and a remainder is below its divisor.
        self.pages[self.last].1[step] += 1;
    }

    /// The steps that have values, ascending, with their numbers.
    fn iter(&self) -> impl Iterator<Item = (i32, u64)> {
        self.pages.iter().flat_map(|(number, counts)| {
            let keys = number * STEPS as i32..;
            keys.zip(counts.iter().copied())
                .filter(|(_, count)| *count > 0)
        })
    }
}

/// Counts by value.
#[derive(Clone, Debug, Default)]
pub struct Sketch {
    counts: Counts,
    count: u64,
    /// Whole values only: their sum.
    whole: Option<u128>,
    sum: f64,
    /// Of Welford's method.
    mean: f64,
    squares: f64,
    min: f64,
    max: f64,
}

impl Sketch {
    /// Adds a whole value.
    pub fn push(&mut self, value: u64) {
        if self.count == 0 {
            self.whole = Some(0);
        }
        self.whole = self.whole.map(|sum| sum + u128::from(value));
        self.add(value as f64);
    }

    /// Adds a fraction.
    pub fn push_float(&mut self, value: f64) {
        self.whole = None;
        self.add(value);
    }

    fn add(&mut self, value: f64) {
        if self.count == 0 {
            (self.min, self.max) = (value, value);
        }
        self.counts.add(key(value));
        self.count += 1;
        self.sum += value;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether all values were whole numbers.
    pub const fn is_whole(&self) -> bool {
        self.whole.is_some()
    }

    /// Their sum.
    pub fn sum(&self) -> f64 {
        self.whole.map_or(self.sum, |sum| sum as f64)
    }

    /// The squared distances from the mean, summed up.
    pub const fn squares(&self) -> f64 {
        self.squares
    }

    /// About the value at a place of the sorted sample.
    pub fn get(&self, at: usize) -> Option<f64> {
        if at as u64 >= self.count {
            return None;
        }
        if at == 0 {
            return Some(self.min);
        }
        if at as u64 + 1 == self.count {
            return Some(self.max);
        }
        let mut passed = 0;
        let found = self.counts.iter().find(|(_, count)| {
            passed += count;
            passed > at as u64
        });
        let middle = found.map(|(key, _)| self.middle(key));
        middle.map(|value| value.clamp(self.min, self.max))
    }

    /// What stands for the values of a step.
    fn middle(&self, key: i32) -> f64 {
        if key == 0 {
            // The step of zero holds nothing else that is ever measured.
            return 0.0;
        }
        let (low, high) = (bound(key), bound(key + 1));
        match self.whole {
            // Of whole numbers below 2048 each has a step of its own.
            Some(_) if high - low <= 1.0 => low,
            Some(_) => ((low + high - 1.0) / 2.0).floor(),
            None => low + (high - low) / 2.0,
        }
    }
}

/// The step of a value; ascending with the values.
fn key(value: f64) -> i32 {
    let bits = value.to_bits() as i64;
    let ordered = bits ^ ((bits >> 63) as u64 >> 1) as i64;
    (ordered >> DROPPED) as i32
}

/// The lower end of a step.
fn bound(key: i32) -> f64 {
    let ordered = i64::from(key) << DROPPED;
    let bits = ordered ^ ((ordered >> 63) as u64 >> 1) as i64;
    f64::from_bits(bits as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back_within_three_digits() {
        let mut value = 1.0_f64;
        let mut sketch = Sketch::default();
        let mut sorted = Vec::new();
        while value < 1e13 {
            sketch.push(value as u64);
            sorted.push(value.floor());
            value = value * 1.003 + 1.0;
        }
        for (at, exact) in sorted.iter().enumerate() {
            let about = sketch.get(at).unwrap();
            assert!(
                (about - exact).abs() <= exact * 0.000_5,
                "{about} for {exact}"
            );
        }
        assert_eq!(sketch.get(sorted.len()), None);
    }

    #[test]
    fn small_whole_numbers_are_exact_and_so_are_the_sums() {
        let mut sketch = Sketch::default();
        (0..2_048).for_each(|n| sketch.push(n));
        for n in 0..2_048 {
            assert_eq!(sketch.get(n), Some(n as f64));
        }
        assert_eq!(sketch.sum(), 2_047.0 * 1_024.0);
        let mean = 2_047.0 / 2.0;
        let squares: f64 = (0..2_048).map(|n| (f64::from(n) - mean).powi(2)).sum();
        assert!((sketch.squares() / squares - 1.0).abs() < 1e-12);
    }

    #[test]
    fn negative_values_and_fractions() {
        let mut sketch = Sketch::default();
        let values = [-12.5, -0.25, 0.0, 0.1, 7.3];
        values.iter().for_each(|&v| sketch.push_float(v));
        for (at, exact) in values.iter().enumerate() {
            let about = sketch.get(at).unwrap();
            assert!(
                (about - exact).abs() <= exact.abs() * 0.000_5,
                "{about} for {exact}"
            );
        }
        assert!(!sketch.is_whole());
    }

    #[test]
    fn memory_does_not_grow_with_the_number_of_values() {
        let mut sketch = Sketch::default();
        for n in 0..200_000_u64 {
            sketch.push(20_000_000 + n.wrapping_mul(0x9E37_79B9) % 1_000_000);
        }
        assert!(sketch.counts.iter().count() < 200);
        assert!(sketch.counts.pages.len() <= 2);
        assert_eq!(sketch.len(), 200_000);
    }
}
