//! How much room the next answer is given, so that a transcript is allocated once.

/// Marks and bytes of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Room {
    /// Its marks.
    pub marks: usize,
    /// Its bytes.
    pub bytes: usize,
}

impl Room {
    /// The next answers may need as much as this one. Large ones decay, so that one giant does not
    /// make all others giants.
    #[inline]
    pub fn learn(&mut self, needed: Self) {
        let blend = |old: usize, new: usize| {
            if new >= old {
                new
            } else {
                old - (old - new) / 8
            }
        };
        self.marks = blend(self.marks, needed.marks).min(4_096);
        self.bytes = blend(self.bytes, needed.bytes).min(64 * 1_024);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn giants_are_forgotten_and_growth_is_not() {
        let mut room = Room::default();
        let needs = |marks, bytes| Room { marks, bytes };
        room.learn(needs(10, 1_000));
        assert_eq!(room, needs(10, 1_000));
        room.learn(needs(1_000_000, 1_000_000));
        assert_eq!(room, needs(4_096, 65_536));
        for _ in 0..100 {
            room.learn(needs(10, 1_000));
        }
        assert!(room.marks < 20 && room.bytes < 1_010, "{room:?}");
        assert!(room.marks >= 10 && room.bytes >= 1_000, "{room:?}");
    }
}
