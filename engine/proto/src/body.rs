//! Body framing: which of the bytes after the head are the body, and where it ends.

use pinfire_base::limits::{CHUNK_LINE_BYTES, TRAILER_BYTES};

use super::{Cause, head::Framing};

/// Takes a body apart. Slices go in; what is body comes out as sub-slices.
#[derive(Debug)]
pub(super) struct BodyDecoder {
    state: State,
}

/// One step's result: bytes consumed from the input, and what they were.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Framing only; nothing for the caller.
    Skip(usize),
    /// The first so many bytes are body.
    Data(usize),
    /// The body is complete after so many bytes of framing.
    End(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Length {
        left: u64,
    },
    UntilClose,
    /// In the hexadecimal size; `digits` so far.
    Size {
        value: u64,
        digits: u8,
        line: usize,
    },
    /// In extensions or blanks after the size.
    Extension {
        value: u64,
        line: usize,
    },
    /// The size line's LF is due.
    SizeEnd {
        value: u64,
    },
    Data {
        left: u64,
    },
    /// The CR or LF after a chunk's data is due.
    DataEnd {
        cr_seen: bool,
    },
    /// In trailers; `line` bytes of the current line, `total` of all.
    Trailer {
        line: usize,
        total: usize,
    },
    Done,
}

impl BodyDecoder {
    pub(super) const fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(left) => State::Length { left },
            Framing::UntilClose => State::UntilClose,
            Framing::Chunked => State::Size {
                value: 0,
                digits: 0,
                line: 0,
            },
        };
        Self { state }
    }

    /// The body is complete; further bytes belong to nothing.
    pub(super) const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// The server closes: is the body complete that way?
    pub(super) const fn may_end_by_close(&self) -> bool {
        matches!(self.state, State::UntilClose | State::Done)
    }

    /// Looks at the start of `input` (not empty). On an error gives the offset in `input` too.
    #[inline]
    pub(super) fn step(&mut self, input: &[u8]) -> Result<Step, (usize, Cause)> {
        match self.state {
            State::Length { left } => {
                let take = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - take as u64;
                self.state = if left == 0 {
                    State::Done
                } else {
                    State::Length { left }
                };
                Ok(Step::Data(take))
            }
            State::UntilClose => Ok(Step::Data(input.len())),
            State::Data { left } => {
                let take = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - take as u64;
                self.state = if left == 0 {
                    State::DataEnd { cr_seen: false }
                } else {
                    State::Data { left }
                };
                Ok(Step::Data(take))
            }
            State::Done => Ok(Step::End(0)),
            _ => self.framing_bytes(input),
        }
    }

    /// Walks bytes that are framing until body begins, the end comes, or the input is used up.
    fn framing_bytes(&mut self, input: &[u8]) -> Result<Step, (usize, Cause)> {
        for (at, &byte) in input.iter().enumerate() {
            self.state = match (self.state, byte) {
                (
                    State::Size {
                        value,
                        digits,
                        line,
                    },
                    _,
                ) if byte.is_ascii_hexdigit() => {
                    // 16 digits would overflow; 15 are an exabyte.
                    if digits == 15 || line >= CHUNK_LINE_BYTES {
                        return Err((at, Cause::ChunkSize));
                    }
                    State::Size {
                        value: value << 4 | u64::from(hex(byte)),
                        digits: digits + 1,
                        line: line + 1,
                    }
                }
                (State::Size { digits: 0, .. }, _) => return Err((at, Cause::ChunkSize)),
                (State::Size { value, .. } | State::Extension { value, .. }, b'\r') => {
                    State::SizeEnd { value }
                }
                (State::Size { value, .. } | State::Extension { value, .. }, b'\n') => {
                    after_size(value)
                }
                (State::Size { value, line, .. }, b';' | b' ' | b'\t') => State::Extension {
                    value,
                    line: line + 1,
                },
                (State::Extension { value, line }, _) if line < CHUNK_LINE_BYTES => {
                    State::Extension {
                        value,
                        line: line + 1,
                    }
                }
                (State::SizeEnd { value }, b'\n') => after_size(value),
                (State::DataEnd { cr_seen: false }, b'\r') => State::DataEnd { cr_seen: true },
                (State::DataEnd { .. }, b'\n') => State::Size {
                    value: 0,
                    digits: 0,
                    line: 0,
                },
                (State::DataEnd { .. }, _) => return Err((at, Cause::ChunkEnd)),
                (State::Trailer { .. }, b'\n') if self.blank_trailer() => {
                    self.state = State::Done;
                    return Ok(Step::End(at + 1));
                }
                (State::Trailer { total, .. }, _) if total >= TRAILER_BYTES => {
                    return Err((at, Cause::TrailerTooLarge));
                }
                (State::Trailer { total, .. }, b'\n') => State::Trailer {
                    line: 0,
                    total: total + 1,
                },
                (State::Trailer { line, total }, b'\r') => State::Trailer {
                    line,
                    total: total + 1,
                },
                (State::Trailer { line, total }, _) => State::Trailer {
                    line: line + 1,
                    total: total + 1,
                },
                _ => return Err((at, Cause::ChunkSize)),
            };
            if let State::Data { .. } = self.state {
                return Ok(Step::Skip(at + 1));
            }
        }
        Ok(Step::Skip(input.len()))
    }

    const fn blank_trailer(&self) -> bool {
        matches!(self.state, State::Trailer { line: 0, .. })
    }
}

const fn after_size(value: u64) -> State {
    if value == 0 {
        State::Trailer { line: 0, total: 0 }
    } else {
        State::Data { left: value }
    }
}

const fn hex(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => byte - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` in pieces of `piece` bytes; gives the body, or the error and its offset.
    fn run(
        framing: Framing,
        input: &[u8],
        piece: usize,
    ) -> Result<(Vec<u8>, bool), (usize, Cause)> {
        let mut decoder = BodyDecoder::new(framing);
        let mut body = Vec::new();
        let mut offset = 0;
        for part in input.chunks(piece) {
            let mut rest = part;
            while !rest.is_empty() && !decoder.is_done() {
                let step = decoder
                    .step(rest)
                    .map_err(|(at, cause)| (offset + at, cause))?;
                let used = match step {
                    Step::Skip(n) | Step::End(n) => n,
                    Step::Data(n) => {
                        body.extend_from_slice(&rest[..n]);
                        n
                    }
                };
                rest = &rest[used..];
                offset += used;
            }
        }
        Ok((body, decoder.is_done()))
    }

    fn check(framing: Framing, input: &str, expected: Result<(&str, bool), (usize, Cause)>) {
        for piece in [1, 2, 3, 5, 1_000_000] {
            let got = run(framing, input.as_bytes(), piece);
            let expected = expected.map(|(body, done)| (body.as_bytes().to_vec(), done));
            assert_eq!(got, expected, "{input:?} in pieces of {piece}");
        }
    }

    #[test]
    fn chunks_with_extensions_and_trailers() {
        use Framing::Chunked;
        check(
            Chunked,
            "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
            Ok(("hello world", true)),
        );
        check(
            Chunked,
            "5;a=b\r\nhello\r\n0;c\r\nX: y\r\nZ: w\r\n\r\n",
            Ok(("hello", true)),
        );
        check(
            Chunked,
            "A \r\n0123456789\r\n00\r\n\r\n",
            Ok(("0123456789", true)),
        );
        check(Chunked, "5\nhello\n0\n\n", Ok(("hello", true)));
        check(Chunked, "5\r\nhel", Ok(("hel", false)));
        check(Chunked, "5\r\nhello\r\n0\r\n", Ok(("hello", false)));
    }

    #[test]
    fn bad_chunks() {
        use Framing::Chunked;
        check(Chunked, "x\r\n", Err((0, Cause::ChunkSize)));
        check(Chunked, "\r\n", Err((0, Cause::ChunkSize)));
        check(Chunked, "5\r\nhelloX", Err((8, Cause::ChunkEnd)));
        check(Chunked, "5\r\nhello\r\r", Err((9, Cause::ChunkEnd)));
        check(Chunked, "5\rx", Err((2, Cause::ChunkSize)));
        check(
            Chunked,
            "1234567890abcdef0\r\n",
            Err((15, Cause::ChunkSize)),
        );
        let long = format!("5;{}\r\n", "x".repeat(CHUNK_LINE_BYTES));
        assert_eq!(
            run(Chunked, long.as_bytes(), 7),
            Err((CHUNK_LINE_BYTES, Cause::ChunkSize))
        );
        let trailer = format!("0\r\n{}", "x".repeat(TRAILER_BYTES + 1));
        assert_eq!(
            run(Chunked, trailer.as_bytes(), 1 << 20),
            Err((3 + TRAILER_BYTES, Cause::TrailerTooLarge))
        );
    }

    #[test]
    fn lengths_and_close() {
        check(Framing::Length(3), "abc", Ok(("abc", true)));
        check(Framing::Length(4), "abc", Ok(("abc", false)));
        check(Framing::Length(2), "abc", Ok(("ab", true)));
        check(Framing::UntilClose, "abc", Ok(("abc", false)));
        assert!(BodyDecoder::new(Framing::Length(0)).is_done());
        assert!(BodyDecoder::new(Framing::UntilClose).may_end_by_close());
        assert!(!BodyDecoder::new(Framing::Chunked).may_end_by_close());
    }
}
