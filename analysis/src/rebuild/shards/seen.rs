//! What the lines of each shard show: whether the requests are its own, each once, and how many
//! there are.

use std::collections::{BTreeMap, HashMap};

use pinfire_artifacts::shard::Segment;
use pinfire_base::clock::Stamp;
use pinfire_base::record::{Phase, Record};

use crate::metric::Class;
use crate::reading::Verdict;

/// Numbers of one page.
const PAGE: u64 = 4096;
/// Starts are counted in bins of this length.
pub(super) const BIN: u64 = 100_000_000;

/// Numbers that were seen, in little memory where they are dense.
#[derive(Default)]
struct Numbers(HashMap<u64, Box<[u64; PAGE as usize / 64]>>);

impl Numbers {
    /// Whether it is new.
    fn insert(&mut self, number: u64) -> bool {
        let page = self.0.entry(number / PAGE);
        let page = page.or_insert_with(|| Box::new([0; PAGE as usize / 64]));
        let at = number % PAGE;
        let bit = 1 << (at % 64);
        // The remainder is within the page.
        let Some(word) = page.get_mut((at / 64) as usize) else {
            return false;
        };
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

/// What a line of a shard must not be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wrong {
    /// The number is another shard's.
    Owner,
    /// The number was there before.
    Twice,
}

/// What one shard has sent.
#[derive(Default)]
pub(crate) struct Seen {
    segment: Segment,
    warmup: Numbers,
    measured: Numbers,
    pub(super) valid: u64,
    pub(super) errors: u64,
    pub(super) cancelled: u64,
    pub(super) last_number: Option<u64>,
    /// First start and last end of its measured requests.
    pub(super) first: Option<Stamp>,
    pub(super) last: Option<Stamp>,
    /// The number of its last line that was cut off in the middle.
    pub(crate) torn: bool,
    /// Requests of the measured phase by the bin in which they started.
    pub(super) starts: BTreeMap<u64, u32>,
}

impl Seen {
    /// Of a shard with these numbers.
    pub(crate) fn of(segment: Segment) -> Self {
        Self {
            segment,
            ..Self::default()
        }
    }

    /// Its measured requests.
    pub(super) const fn all(&self) -> u64 {
        self.valid + self.errors + self.cancelled
    }

    /// Takes a request of its file.
    pub(crate) fn add(&mut self, record: &Record, verdict: &Verdict) -> Result<(), Wrong> {
        let number = record.index;
        // The numbers of a warmup have an end of their own.
        let segment = match record.phase {
            Phase::Warmup => Segment {
                end: None,
                ..self.segment
            },
            Phase::Profiling => self.segment,
        };
        let place = segment.place(number).ok_or(Wrong::Owner)?;
        let numbers = match record.phase {
            Phase::Warmup => &mut self.warmup,
            Phase::Profiling => &mut self.measured,
        };
        if !numbers.insert(place) {
            return Err(Wrong::Twice);
        }
        if record.phase == Phase::Warmup {
            return Ok(());
        }
        match Class::from(verdict) {
            Class::Valid => self.valid += 1,
            Class::Error => self.errors += 1,
            Class::Cancelled => self.cancelled += 1,
            Class::Dropped => {}
        }
        let (start, end) = (record.times.start, record.times.end);
        self.last_number = self.last_number.max(Some(number));
        self.first = Some(self.first.map_or(start, |first| first.min(start)));
        self.last = self.last.max(Some(end));
        *self.starts.entry(start.nanos() / BIN).or_default() += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_new_once() {
        let mut numbers = Numbers::default();
        for number in (0..20_000).chain([u64::MAX, u64::MAX / 3]) {
            assert!(numbers.insert(number), "{number}");
            assert!(!numbers.insert(number), "{number}");
        }
        // Five pages of the dense ones, and two.
        assert_eq!(numbers.0.len(), 7);
    }
}
