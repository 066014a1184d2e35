//! One row's values over a phase, each with the record that it belongs to.

use std::ops::Range;

use crate::stats::Sample;

/// For each record, in order of arrival: whether it has a value. Takes no room while all have one,
/// or none has.
#[derive(Clone, Debug)]
pub enum Presence {
    /// So many records, all of them alike.
    Alike {
        /// They have a value.
        all: bool,
        /// How many there are.
        len: usize,
    },
    /// One bit per record.
    Bits {
        /// The bits, lowest first.
        words: Vec<u64>,
        /// How many there are.
        len: usize,
    },
}

impl Default for Presence {
    fn default() -> Self {
        Self::Alike { all: true, len: 0 }
    }
}

impl Presence {
    /// Adds a record.
    pub fn push(&mut self, new: bool) {
        match self {
            Self::Alike { all, len } if *all == new || *len == 0 => {
                *all = new;
                *len += 1;
            }
            Self::Alike { all, len } => {
                let word = if *all { u64::MAX } else { 0 };
                let words = vec![word; len.div_ceil(64)];
                *self = Self::Bits { words, len: *len };
                self.push(new);
            }
            Self::Bits { words, len } => {
                let (word, bit) = (*len / 64, 1_u64 << (*len % 64));
                if word == words.len() {
                    words.push(0);
                }
                if let Some(word) = words.get_mut(word) {
                    *word = if new { *word | bit } else { *word & !bit };
                }
                *len += 1;
            }
        }
    }

    /// Whether a record has a value.
    pub fn get(&self, record: usize) -> bool {
        match self {
            Self::Alike { all, len } => *all && record < *len,
            Self::Bits { words, len } => {
                let word = words.get(record / 64).copied().unwrap_or(0);
                record < *len && word >> (record % 64) & 1 == 1
            }
        }
    }

    /// How many of these records have a value.
    pub fn count(&self, records: Range<usize>) -> usize {
        match self {
            Self::Alike { all: false, .. } => 0,
            Self::Alike { all: true, len } => records.end.min(*len).saturating_sub(records.start),
            Self::Bits { .. } => records.filter(|&record| self.get(record)).count(),
        }
    }

    /// The same in another order of records.
    #[must_use]
    pub fn reordered(&self, order: &[u32]) -> Self {
        if matches!(self, Self::Alike { .. }) {
            return self.clone();
        }
        let mut seen = Self::default();
        order
            .iter()
            .for_each(|&record| seen.push(self.get(record as usize)));
        seen
    }
}

/// The values of one row.
#[derive(Clone, Debug, Default)]
pub struct Column {
    /// The values, those of one record after those of the one before.
    pub sample: Sample,
    /// Which records have one, or several.
    pub seen: Presence,
    /// Of a row of lists: how many values each record that has some has.
    counts: Option<Sample>,
    /// Only the distribution is kept: which value was whose is not.
    loose: bool,
}

impl Column {
    /// A record without a value.
    pub fn skip(&mut self) {
        self.see(false);
    }

    /// A record with a whole value.
    pub fn push(&mut self, value: u64) {
        self.see(true);
        self.sample.push(value);
    }

    /// A record with a fraction.
    pub fn push_float(&mut self, value: f64) {
        self.see(true);
        self.sample.push_float(value);
    }

    /// A record with several whole values.
    pub fn push_list(&mut self, values: &[u64]) {
        self.see(true);
        if !self.loose {
            self.counts
                .get_or_insert_default()
                .push(values.len() as u64);
        }
        values.iter().for_each(|&value| self.sample.push(value));
    }

    fn see(&mut self, value: bool) {
        if !self.loose {
            self.seen.push(value);
        }
    }

    /// Keeps the distribution alone from now on, in bounded memory.
    pub fn loosen(&mut self) {
        self.sample.coarsen();
        self.seen = Presence::default();
        self.counts = None;
        self.loose = true;
    }

    /// Where each record's values stand in the sample, record by record.
    pub fn ranges(&self) -> Ranges<'_> {
        Ranges {
            column: self,
            record: 0,
            valued: 0,
            value: 0,
        }
    }

    /// The same in another order of records.
    #[must_use]
    pub fn reordered(&self, order: &[u32]) -> Self {
        let simple = self.counts.is_none() && matches!(self.seen, Presence::Alike { .. });
        if simple {
            let places = order.iter().map(|&record| record as usize);
            return Self {
                sample: self.sample.picked(places),
                ..self.clone_marks()
            };
        }
        let ranges: Vec<Range<usize>> = self.ranges().take(order.len()).collect();
        let new = || {
            order
                .iter()
                .filter_map(|&record| ranges.get(record as usize).cloned())
        };
        Self {
            sample: self.sample.picked(new().flatten()),
            seen: self.seen.reordered(order),
            counts: self.counts.as_ref().map(|_| {
                let mut counts = Sample::default();
                let lengths = new().map(|range| range.len() as u64);
                lengths
                    .filter(|&length| length > 0)
                    .for_each(|length| counts.push(length));
                counts
            }),
            loose: self.loose,
        }
    }

    fn clone_marks(&self) -> Self {
        Self {
            sample: Sample::default(),
            seen: self.seen.clone(),
            counts: None,
            loose: self.loose,
        }
    }
}

/// Goes through the records of a column.
#[derive(Clone)]
pub struct Ranges<'a> {
    column: &'a Column,
    record: usize,
    /// Records with a value so far.
    valued: usize,
    /// Values so far.
    value: usize,
}

impl Ranges<'_> {
    /// Where the values of the next `records` records stand.
    pub fn of_next(&mut self, records: usize) -> Range<usize> {
        let from = self.value;
        let seen = &self.column.seen;
        let valued = seen.count(self.record..self.record + records);
        self.value += match &self.column.counts {
            None => valued,
            Some(counts) => {
                let lengths = (self.valued..self.valued + valued).filter_map(|at| counts.whole(at));
                lengths.sum::<u64>() as usize
            }
        };
        self.record += records;
        self.valued += valued;
        from..self.value
    }
}

/// Endless: past the last record the ranges are empty.
impl Iterator for Ranges<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        Some(self.of_next(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_without_a_value_keep_their_place() {
        let mut column = Column::default();
        for n in 0..200_u64 {
            if n % 3 == 0 {
                column.skip();
            } else {
                column.push(n);
            }
        }
        let places: Vec<Range<usize>> = column.ranges().take(200).collect();
        assert_eq!(places[3], 2..2);
        assert_eq!(column.sample.whole(places[100].start), Some(100));
        assert_eq!(column.seen.count(0..200), 133);
        assert_eq!(column.ranges().of_next(100), 0..66);

        let order: Vec<u32> = (0..200).rev().collect();
        let turned = column.reordered(&order);
        let places: Vec<Range<usize>> = turned.ranges().take(200).collect();
        assert_eq!(turned.sample.whole(places[99].start), Some(100));
        assert!(places[199].is_empty() && places[200 - 4].is_empty());
    }

    #[test]
    fn lists_move_with_their_record() {
        let mut column = Column::default();
        column.push_list(&[1, 2]);
        column.skip();
        column.push_list(&[3]);
        column.push_list(&[4, 5, 6]);
        let turned = column.reordered(&[3, 2, 1, 0]);
        let values: Vec<u64> = (0..6).map(|at| turned.sample.whole(at).unwrap()).collect();
        assert_eq!(values, [4, 5, 6, 3, 1, 2]);
        let mut ranges = turned.ranges();
        assert_eq!((ranges.of_next(2), ranges.of_next(2)), (0..4, 4..6));
    }

    #[test]
    fn records_that_are_alike_take_no_room() {
        let mut seen = Presence::default();
        (0..1000).for_each(|_| seen.push(false));
        assert!(matches!(
            seen,
            Presence::Alike {
                all: false,
                len: 1000
            }
        ));
        seen.push(true);
        assert_eq!(
            (seen.count(0..1001), seen.get(999), seen.get(1000)),
            (1, false, true)
        );
        assert!(!seen.get(1001));
    }
}
