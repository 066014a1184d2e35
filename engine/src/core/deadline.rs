//! The deadlines of one core: at most one per slot, the earliest on top. Pure; knows no clock.

use pinfire_base::clock::Stamp;

/// A binary heap of `(due, slot)` that knows where each slot stands, so that a deadline can be
/// moved or taken away in O(log n) and nothing dead stays in it.
#[derive(Debug, Default)]
pub struct Deadlines {
    heap: Vec<(Stamp, u32)>,
    /// Position in the heap by slot, `ABSENT` if none.
    places: Vec<u32>,
}

const ABSENT: u32 = u32::MAX;

impl Deadlines {
    /// The earliest deadline.
    #[inline]
    pub fn next(&self) -> Option<Stamp> {
        self.heap.first().map(|&(due, _)| due)
    }

    /// Sets or moves the deadline of `slot`.
    pub fn set(&mut self, slot: usize, due: Stamp) {
        if slot >= self.places.len() {
            self.places.resize(slot + 1, ABSENT);
        }
        let entry = (due, slot as u32);
        let place = match self.places[slot] {
            ABSENT => {
                self.heap.push(entry);
                self.heap.len() - 1
            }
            place => {
                self.heap[place as usize] = entry;
                place as usize
            }
        };
        let place = self.rise(place);
        self.sink(place);
    }

    /// Takes the deadline of `slot` away, if it has one.
    pub fn clear(&mut self, slot: usize) {
        let Some(&place) = self.places.get(slot) else {
            return;
        };
        if place == ABSENT {
            return;
        }
        self.places[slot] = ABSENT;
        let place = place as usize;
        self.heap.swap_remove(place);
        if place < self.heap.len() {
            let place = self.rise(place);
            self.sink(place);
        }
    }

    /// Whether `slot` has one.
    #[cfg(test)]
    pub fn has(&self, slot: usize) -> bool {
        self.places.get(slot).is_some_and(|&place| place != ABSENT)
    }

    /// Takes the earliest deadline if it is due at `now`.
    pub fn pop_due(&mut self, now: Stamp) -> Option<(Stamp, usize)> {
        let &(due, slot) = self.heap.first()?;
        (due <= now).then(|| {
            self.clear(slot as usize);
            (due, slot as usize)
        })
    }

    /// Moves an entry up to where it belongs and notes its place.
    fn rise(&mut self, mut place: usize) -> usize {
        let entry = self.heap[place];
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.heap[parent].0 <= entry.0 {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, entry);
        place
    }

    /// Moves an entry down to where it belongs and notes its place.
    fn sink(&mut self, mut place: usize) {
        let entry = self.heap[place];
        loop {
            let mut child = 2 * place + 1;
            if child >= self.heap.len() {
                break;
            }
            if child + 1 < self.heap.len() && self.heap[child + 1].0 < self.heap[child].0 {
                child += 1;
            }
            if entry.0 <= self.heap[child].0 {
                break;
            }
            self.put(place, self.heap[child]);
            place = child;
        }
        self.put(place, entry);
    }

    fn put(&mut self, place: usize, entry: (Stamp, u32)) {
        self.heap[place] = entry;
        self.places[entry.1 as usize] = place as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pinfire_base::random::Purpose;
    use std::collections::BTreeMap;

    /// Against a plain map: a few thousand random operations.
    #[test]
    fn behaves_like_a_sorted_map() {
        let mut draws = Purpose::new(3, "deadlines").at(0);
        let mut deadlines = Deadlines::default();
        let mut model: BTreeMap<usize, Stamp> = BTreeMap::new();
        for _ in 0..20_000 {
            let slot = draws.below(50) as usize;
            let due = Stamp::from_nanos(1 + draws.below(1_000));
            match draws.below(4) {
                0 | 1 => {
                    deadlines.set(slot, due);
                    model.insert(slot, due);
                }
                2 => {
                    deadlines.clear(slot);
                    model.remove(&slot);
                }
                _ => {
                    let earliest = model.values().min().copied();
                    match deadlines.pop_due(due) {
                        Some((at, slot)) => {
                            assert!(at <= due);
                            assert_eq!(Some(at), earliest);
                            assert_eq!(model.remove(&slot), Some(at));
                        }
                        None => assert!(earliest.is_none_or(|at| at > due)),
                    }
                }
            }
            assert_eq!(deadlines.next(), model.values().min().copied());
            assert_eq!(deadlines.heap.len(), model.len());
        }
    }
}
