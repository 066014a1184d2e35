//! Bodies whose texts are slices of one shared text: the prompts of a trace share their blocks, and
//! thousands of long ones would not fit in memory as strings of their own.

use std::ops::Range;
use std::sync::Arc;

/// What is put into a body, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insert {
    /// Offset in the body's own bytes; those of one rope do not decrease.
    pub at: u32,
    /// Bytes of the slice.
    pub len: u32,
    /// Where the slice begins in the shared text.
    pub start: u64,
}

/// The inserts of one body, and the text that they are slices of, escaped for JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Rope {
    pool: Arc<[u8]>,
    inserts: Box<[Insert]>,
    inserted: usize,
}

impl Rope {
    /// Slices of `pool` to be put into a body of `own` bytes.
    ///
    /// # Panics
    /// An insert is out of the pool or of the body, or they are out of order.
    pub fn new(pool: Arc<[u8]>, own: usize, inserts: Vec<Insert>) -> Self {
        let fits = |insert: &Insert| insert.at as usize <= own && insert.range().end <= pool.len();
        assert!(
            inserts.iter().all(fits) && inserts.is_sorted_by_key(|insert| insert.at),
            "an insert lies outside of its body or text"
        );
        Self {
            inserted: inserts.iter().map(|insert| insert.len as usize).sum(),
            inserts: inserts.into(),
            pool,
        }
    }

    /// Bytes of the whole body.
    pub const fn size(&self, own: &[u8]) -> usize {
        own.len() + self.inserted
    }

    /// The whole body.
    pub fn whole(&self, own: &[u8]) -> Vec<u8> {
        let mut whole = Vec::new();
        self.copy(own, 0..self.size(own), &mut whole);
        whole
    }

    /// Appends the bytes `range` of the whole body. Allocates nothing where `into` has the room.
    pub fn copy(&self, own: &[u8], range: Range<usize>, into: &mut Vec<u8>) {
        into.reserve(range.len());
        let mut at = 0;
        for bytes in self.slices(own) {
            let from = range.start.saturating_sub(at).min(bytes.len());
            let to = range.end.saturating_sub(at).clamp(from, bytes.len());
            into.extend_from_slice(&bytes[from..to]);
            at += bytes.len();
        }
    }

    /// The whole body as the slices that it is made of, in order; some may be empty.
    pub fn slices<'a>(&'a self, own: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let ends = self.inserts.iter().map(|insert| insert.at as usize);
        let starts = std::iter::once(0).chain(ends.clone());
        let gaps = starts.zip(ends.chain([own.len()]));
        let inserts = self.inserts.iter().map(|insert| &self.pool[insert.range()]);
        gaps.map(|(from, to)| &own[from..to])
            .zip(inserts.chain([&[][..]]))
            .flat_map(|(gap, insert)| [gap, insert])
    }
}

impl Insert {
    const fn range(&self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

impl std::fmt::Debug for Rope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rope")
            .field("inserts", &self.inserts)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_of_the_whole() {
        let insert = |at, start, len| Insert { at, len, start };
        let inserts = vec![
            insert(0, 3, 2),
            insert(2, 0, 3),
            insert(2, 5, 0),
            insert(2, 1, 1),
            insert(5, 4, 3),
        ];
        let pool: Arc<[u8]> = b"0123456".as_slice().into();
        let (own, whole) = (b"abcde", b"34ab0121cde456");
        let rope = Rope::new(pool, own.len(), inserts);
        assert_eq!(rope.whole(own), whole);
        assert_eq!(rope.size(own), whole.len());
        for from in 0..=whole.len() {
            for to in from..=whole.len() {
                let mut part = vec![b'!'];
                rope.copy(own, from..to, &mut part);
                assert_eq!(part[1..], whole[from..to]);
            }
        }
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn a_slice_past_the_end_is_refused() {
        let insert = Insert {
            at: 0,
            len: 2,
            start: 1,
        };
        let _ = Rope::new(b"ab".as_slice().into(), 0, vec![insert]);
    }
}
