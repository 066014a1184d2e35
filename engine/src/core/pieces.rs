//! Where the events end that wait in a socket, so that each is read with its own stamp. Pure.

use memchr::memchr_iter;
use pinfire_base::limits::RECEIVE_BYTES;

/// What waits is read in so many pieces at most: a client that is very late has other worries.
const MOST: usize = 16;
/// An event's empty line and the end of its chunk behind it belong together.
const CHUNK_END: usize = 2;

/// Lengths of reads, one after the other.
pub(super) struct Pieces {
    ends: [usize; MOST],
    count: usize,
}

impl Pieces {
    /// One read of whatever there is.
    pub(super) const fn whole() -> Self {
        let mut ends = [0; MOST];
        ends[0] = RECEIVE_BYTES;
        Self { ends, count: 1 }
    }

    /// Each up to the end of an event, which is an empty line; the last is what remains.
    pub(super) fn of(waiting: &[u8]) -> Self {
        let mut pieces = Self {
            ends: [0; MOST],
            count: 0,
        };
        for at in memchr_iter(b'\n', waiting) {
            let end = match waiting[at + 1..] {
                [b'\n', ..] => at + 2,
                [b'\r', b'\n', ..] => at + 3,
                _ => continue,
            };
            if !pieces.end_at(end) {
                break;
            }
        }
        if pieces.last() < waiting.len() {
            pieces.ends[pieces.count] = waiting.len();
            pieces.count += 1;
        }
        pieces
    }

    /// Whether there is room for more ends, the one of the rest aside.
    fn end_at(&mut self, end: usize) -> bool {
        if self.count > 0 && end - self.last() <= CHUNK_END {
            self.ends[self.count - 1] = end;
            return true;
        }
        if self.count == MOST - 1 {
            return false;
        }
        self.ends[self.count] = end;
        self.count += 1;
        true
    }

    fn last(&self) -> usize {
        let known = self.ends[..self.count].last();
        known.copied().unwrap_or(0)
    }

    /// The lengths, in order.
    pub(super) fn lengths(&self) -> impl Iterator<Item = usize> {
        let ends = self.ends.into_iter().take(self.count);
        ends.scan(0, |start, end| Some(end - std::mem::replace(start, end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_ends_where_an_event_does() {
        for (waiting, pieces) in [
            (
                "data: a\n\ndata: b\n\n",
                &["data: a\n\n", "data: b\n\n"][..],
            ),
            (
                "HTTP/1.1 200 OK\r\na: b\r\n\r\n9\r\ndata: a\n\n\r\n9\r\ndata: b\n\n\r\n0\r\n\r\n",
                &[
                    "HTTP/1.1 200 OK\r\na: b\r\n\r\n",
                    "9\r\ndata: a\n\n\r\n",
                    "9\r\ndata: b\n\n\r\n",
                    "0\r\n\r\n",
                ],
            ),
            (
                "b\r\ndata: a\r\n\r\n\r\nb\r\ndata: b\r\n\r\n\r\n",
                &["b\r\ndata: a\r\n\r\n\r\n", "b\r\ndata: b\r\n\r\n\r\n"],
            ),
            ("data: a\n\ndata: b", &["data: a\n\n", "data: b"]),
            ("{\"a\":\n\"b\"}\n", &["{\"a\":\n\"b\"}\n"]),
            ("\n", &["\n"]),
        ] {
            let mut rest = waiting;
            let mut found = Vec::new();
            for length in Pieces::of(waiting.as_bytes()).lengths() {
                let (piece, behind) = rest.split_at(length);
                found.push(piece);
                rest = behind;
            }
            assert_eq!((&found[..], rest), (pieces, ""), "{waiting:?}");
        }
    }

    #[test]
    fn many_events_have_the_rest_in_one_piece() {
        let waiting = "data: a\n\n".repeat(100);
        let lengths: Vec<usize> = Pieces::of(waiting.as_bytes()).lengths().collect();
        assert_eq!(lengths.len(), MOST);
        assert_eq!(lengths[..MOST - 1], [9; MOST - 1]);
        assert_eq!(lengths.iter().sum::<usize>(), waiting.len());
        assert_eq!(
            Pieces::whole().lengths().collect::<Vec<_>>(),
            [RECEIVE_BYTES]
        );
    }
}
