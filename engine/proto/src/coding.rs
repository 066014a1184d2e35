//! Coded bodies (`Content-Encoding`): coded bytes in, plain bytes out, as far as they are there.
//!
//! Whatever a server has flushed comes out at once, so that an event keeps the time of its arrival.
//! Output comes in pieces of a fixed size, so that a small body that stands for a huge one meets
//! the limits of whoever takes the pieces before it fills the memory.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use pinfire_base::limits::CODED_KEPT;
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::Cause;

/// How a body is coded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Coding {
    /// Not at all.
    #[default]
    Plain,
    /// `gzip`.
    Gzip,
    /// `deflate`: zlib's format, or the bare one that some servers send under this name.
    Deflate,
    /// `br`.
    Brotli,
    /// `zstd`.
    Zstd,
    /// Another one, or several: not decoded here.
    Unknown,
}

impl Coding {
    /// By the value of the header.
    pub(super) fn of_header(value: &[u8]) -> Self {
        let mut tokens = value
            .split(|&byte| byte == b',')
            .map(<[u8]>::trim_ascii)
            .filter(|token| !token.is_empty() && !token.eq_ignore_ascii_case(b"identity"));
        let coding = match tokens.next() {
            None => Self::Plain,
            Some(token) if token.eq_ignore_ascii_case(b"gzip") => Self::Gzip,
            Some(token) if token.eq_ignore_ascii_case(b"x-gzip") => Self::Gzip,
            Some(token) if token.eq_ignore_ascii_case(b"deflate") => Self::Deflate,
            Some(token) if token.eq_ignore_ascii_case(b"br") => Self::Brotli,
            Some(token) if token.eq_ignore_ascii_case(b"zstd") => Self::Zstd,
            Some(_) => Self::Unknown,
        };
        match tokens.next() {
            Some(_) => Self::Unknown,
            None => coding,
        }
    }

    /// The coding that a body beginning with these bytes has, whatever the head says: `None` while
    /// that cannot be told.
    pub(super) fn of_body(self, start: &[u8]) -> Option<Self> {
        const GZIP: &[u8] = &[0x1F, 0x8B];
        const ZSTD: &[u8] = &[0x28, 0xB5, 0x2F, 0xFD];
        let begins = |magic: &[u8]| start.starts_with(magic);
        let may_begin = |magic: &[u8]| start.len() < magic.len() && magic.starts_with(start);
        match self {
            _ if start.is_empty() => None,
            Self::Unknown => Some(Self::Unknown),
            // The first byte of a frame that is to be skipped is one of sixteen.
            Self::Zstd if !is_text(start[0]) => Some(Self::Zstd),
            Self::Brotli => Some(Self::Brotli),
            _ if begins(GZIP) => Some(Self::Gzip),
            _ if begins(ZSTD) => Some(Self::Zstd),
            _ if may_begin(GZIP) || may_begin(ZSTD) && self != Self::Deflate => None,
            Self::Deflate if zlib_header(start) => Some(Self::Deflate),
            Self::Deflate if start.len() < 2 => None,
            // Bare deflate begins with any byte; JSON and events begin with few.
            Self::Deflate
                if !begins(b"{\"") && !begins(b"da") && !begins(b"ev") && !begins(b": ") =>
            {
                Some(Self::Deflate)
            }
            Self::Gzip if !is_text(start[0]) => Some(Self::Gzip),
            _ => Some(Self::Plain),
        }
    }
}

const fn is_text(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t' | 0xEF)
}

/// RFC 1950: deflate with a window, and a check over both bytes.
fn zlib_header(start: &[u8]) -> bool {
    match start {
        [first, second, ..] => {
            first & 0x0F == 8 && (u16::from(*first) << 8 | u16::from(*second)) % 31 == 0
        }
        _ => false,
    }
}

/// Plain bytes that come out at once.
const PIECE: usize = 16 * 1024;

/// Decodes one body.
pub(super) struct Decoder {
    coding: Coding,
    inner: Inner,
    /// The coded bytes so far, and how many plain ones they gave; see [`Self::rest_before_error`].
    coded: Vec<u8>,
    given: u64,
    end: End,
}

/// Takes plain bytes, or refuses them with a place among them and why.
type Take<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), (usize, Cause)>;

/// Whether the coded bytes are over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// More are to come.
    Open,
    /// They may be; another member of a gzip body may follow.
    Member,
    /// They are: what follows is padding that means nothing.
    Final,
}

type Brotli = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

enum Inner {
    Zlib(Decompress),
    Brotli(Box<Brotli>),
    Zstd(DCtx<'static>),
    /// Bytes of a deflate body until it is known which of the two it is.
    Start,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let given = &self.given;
        f.debug_struct("Decoder")
            .field("coding", &self.coding)
            .field("given", given)
            .finish_non_exhaustive()
    }
}

/// The coded bytes are broken.
struct Broken;

/// What became of one step.
struct Stepped {
    taken: usize,
    given: usize,
    over: bool,
}

impl Inner {
    fn new(coding: Coding, start: &[u8]) -> Self {
        match coding {
            Coding::Gzip => Self::Zlib(Decompress::new_gzip(15)),
            Coding::Deflate if start.len() < 2 => Self::Start,
            Coding::Deflate => Self::Zlib(Decompress::new(zlib_header(start))),
            Coding::Brotli => {
                let alloc = StandardAlloc::default;
                Self::Brotli(Box::new(Brotli::new_strict(alloc(), alloc(), alloc())))
            }
            _ => {
                let mut context = DCtx::create();
                // What RFC 9659 allows: a larger window would be memory at the server's wish.
                let _ = context.set_parameter(DParameter::WindowLogMax(23));
                Self::Zstd(context)
            }
        }
    }

    /// One call of the library.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Stepped, Broken> {
        match self {
            Self::Zlib(zlib) => {
                let (before_in, before_out) = (zlib.total_in(), zlib.total_out());
                let status = zlib.decompress(input, output, FlushDecompress::Sync);
                Ok(Stepped {
                    over: status.map_err(|_| Broken)? == Status::StreamEnd,
                    taken: (zlib.total_in() - before_in) as usize,
                    given: (zlib.total_out() - before_out) as usize,
                })
            }
            Self::Brotli(state) => {
                let (mut left, mut taken, mut room, mut given) = (input.len(), 0, output.len(), 0);
                let result = BrotliDecompressStream(
                    &mut left, &mut taken, input, &mut room, &mut given, output, &mut 0, state,
                );
                match result {
                    BrotliResult::ResultFailure => Err(Broken),
                    result => Ok(Stepped {
                        taken,
                        given,
                        over: matches!(result, BrotliResult::ResultSuccess),
                    }),
                }
            }
            Self::Zstd(context) => {
                let mut from = InBuffer::around(input);
                let mut into = OutBuffer::around(output);
                // A frame's end is not the body's: another may follow.
                let result = context.decompress_stream(&mut into, &mut from);
                let (taken, given) = (from.pos(), into.pos());
                result.map_err(|_| Broken)?;
                Ok(Stepped {
                    taken,
                    given,
                    over: false,
                })
            }
            Self::Start => Ok(Stepped {
                taken: 0,
                given: 0,
                over: false,
            }),
        }
    }
}

impl End {
    /// Whether there is anything to decode in `input`; a further member begins with a new state.
    fn goes_on(&mut self, coding: Coding, input: &[u8], inner: &mut Inner) -> bool {
        match (*self, input.first()) {
            (Self::Open, _) => return true,
            (Self::Final, _) | (Self::Member, None) => return false,
            (Self::Member, Some(0x1F)) if coding == Coding::Gzip => {}
            (Self::Member, Some(_)) => {
                *self = Self::Final;
                return false;
            }
        }
        *inner = Inner::new(coding, b"");
        *self = Self::Open;
        true
    }
}

impl Decoder {
    /// For a body of this coding.
    pub(super) fn new(coding: Coding) -> Self {
        Self {
            coding,
            inner: Inner::new(coding, b""),
            coded: Vec::new(),
            given: 0,
            end: End::Open,
        }
    }

    /// Plain bytes so far.
    pub(super) const fn given(&self) -> u64 {
        self.given
    }

    /// Takes coded bytes and passes on the plain ones in pieces; stops when `take` refuses one.
    pub(super) fn feed(&mut self, bytes: &[u8], take: Take<'_>) -> Result<(), (usize, Cause)> {
        let kept = self.coded.len();
        if kept + bytes.len() <= CODED_KEPT {
            self.coded.extend_from_slice(bytes);
        } else {
            self.coded = Vec::new();
        }
        match self.inner {
            Inner::Start if self.coded.len() < 2 => Ok(()),
            Inner::Start => {
                self.inner = Inner::new(self.coding, &self.coded);
                let both = self.coded.clone();
                self.decode(&both, take)
            }
            _ => self.decode(bytes, take),
        }
    }

    fn decode(&mut self, mut input: &[u8], take: Take<'_>) -> Result<(), (usize, Cause)> {
        let mut output = [0; PIECE];
        loop {
            if !self.end.goes_on(self.coding, input, &mut self.inner) {
                return Ok(());
            }
            let Ok(Stepped { taken, given, over }) = self.inner.step(input, &mut output) else {
                return self.rest_before_error(take);
            };
            self.given += given as u64;
            self.end = if over { End::Member } else { End::Open };
            input = input.get(taken..).unwrap_or_default();
            if given > 0 {
                take(output.get(..given).unwrap_or_default())?;
            }
            let stuck = taken == 0 && given == 0 && !over;
            if stuck || (input.is_empty() && given < PIECE) {
                return Ok(());
            }
        }
    }

    /// The coded bytes are broken. How much a library gives of what comes before the break depends
    /// on how the bytes were cut, so they are decoded once more, one by one: the same comes out for
    /// any cuts.
    fn rest_before_error(&mut self, take: Take<'_>) -> Result<(), (usize, Cause)> {
        let coded = std::mem::take(&mut self.coded);
        let start = coded.get(..coded.len().min(2)).unwrap_or_default();
        let mut inner = Inner::new(self.coding, start);
        let (mut output, mut given, mut end) = ([0; PIECE], 0_u64, End::Open);
        for at in 0..coded.len() {
            let mut input = coded.get(at..=at).unwrap_or_default();
            loop {
                if !end.goes_on(self.coding, input, &mut inner) {
                    break;
                }
                let Ok(stepped) = inner.step(input, &mut output) else {
                    return Err((0, Cause::Coding));
                };
                end = if stepped.over { End::Member } else { End::Open };
                input = input.get(stepped.taken..).unwrap_or_default();
                let piece = output.get(..stepped.given).unwrap_or_default();
                let known = (self.given.saturating_sub(given) as usize).min(piece.len());
                given += piece.len() as u64;
                if let Some(new) = piece.get(known..).filter(|new| !new.is_empty()) {
                    self.given += new.len() as u64;
                    take(new)?;
                }
                let stuck = stepped.taken == 0 && stepped.given == 0 && !stepped.over;
                if stuck || (input.is_empty() && stepped.given < PIECE) {
                    break;
                }
            }
        }
        Err((0, Cause::Coding))
    }
}

#[cfg(test)]
pub(super) mod testing {
    use std::io::Write;

    use flate2::{Compression, write};

    /// The pieces gzipped, each flushed, with the end of each in the result.
    pub(crate) fn gzip(pieces: &[&[u8]]) -> (Vec<u8>, Vec<usize>) {
        let mut encoder = write::GzEncoder::new(Vec::new(), Compression::fast());
        let mut ends = Vec::new();
        for piece in pieces {
            encoder.write_all(piece).unwrap();
            encoder.flush().unwrap();
            ends.push(encoder.get_ref().len());
        }
        (encoder.finish().unwrap(), ends)
    }

    pub(crate) fn deflate(bytes: &[u8], bare: bool) -> Vec<u8> {
        if bare {
            let mut encoder = write::DeflateEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).unwrap();
            return encoder.finish().unwrap();
        }
        let mut encoder = write::ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    pub(crate) fn zstd(pieces: &[&[u8]]) -> (Vec<u8>, Vec<usize>) {
        let mut context = zstd_safe::CCtx::create();
        let (mut coded, mut ends) = (Vec::new(), Vec::new());
        let mut room = vec![0; 1 << 20];
        for piece in pieces {
            let mut into = zstd_safe::OutBuffer::around(&mut room[..]);
            let mut from = zstd_safe::InBuffer::around(piece);
            context.compress_stream(&mut into, &mut from).unwrap();
            context.flush_stream(&mut into).unwrap();
            coded.extend_from_slice(into.as_slice());
            ends.push(coded.len());
        }
        let mut into = zstd_safe::OutBuffer::around(&mut room[..]);
        context.end_stream(&mut into).unwrap();
        coded.extend_from_slice(into.as_slice());
        (coded, ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testing::{deflate, gzip, zstd};

    /// Decodes in pieces of `size`; gives what came and how it ended.
    fn decoded(coding: Coding, bytes: &[u8], size: usize) -> (Vec<u8>, Option<Cause>) {
        let mut decoder = Decoder::new(coding);
        let mut all = Vec::new();
        for piece in bytes.chunks(size) {
            let result = decoder.feed(piece, &mut |plain| {
                all.extend_from_slice(plain);
                Ok(())
            });
            if let Err((_, cause)) = result {
                return (all, Some(cause));
            }
        }
        (all, None)
    }

    /// ` alpha beta` in brotli, as its reference encoder writes it.
    const BROTLI: &[u8] = &[
        0x0b, 0x05, 0x80, b' ', b'a', b'l', b'p', b'h', b'a', b' ', b'b', b'e', b't', b'a', 0x03,
    ];

    #[test]
    fn every_coding_in_every_cut() {
        let text =
            b"data: one\n\ndata: two, and a little more so that there is something to code\n\n";
        let long: Vec<u8> = (0..100_000_u32)
            .flat_map(|n| n.to_string().into_bytes())
            .collect();
        for plain in [&text[..], &long] {
            let coded = [
                (Coding::Gzip, gzip(&[plain]).0),
                (
                    Coding::Gzip,
                    [gzip(&[&plain[..9]]).0, gzip(&[&plain[9..]]).0].concat(),
                ),
                (Coding::Gzip, [gzip(&[plain]).0, vec![0; 20]].concat()),
                (Coding::Deflate, deflate(plain, false)),
                (Coding::Deflate, deflate(plain, true)),
                (Coding::Zstd, zstd(&[plain]).0),
                (
                    Coding::Zstd,
                    [zstd(&[&plain[..9]]).0, zstd(&[&plain[9..]]).0].concat(),
                ),
            ];
            for (coding, bytes) in coded {
                for size in [1, 2, 7, 1_000, usize::MAX] {
                    let got = decoded(coding, &bytes, size.min(bytes.len()));
                    assert!(got == (plain.to_vec(), None), "{coding:?} by {size}");
                }
            }
        }
        for size in [1, 3, 100] {
            let got = decoded(Coding::Brotli, BROTLI, size);
            assert_eq!(got, (b" alpha beta".to_vec(), None));
        }
    }

    #[test]
    fn what_was_flushed_comes_at_once() {
        let pieces: [&[u8]; 3] = [b"data: one\n\n", b"data: two\n\n", b"data: three\n\n"];
        for (coding, (bytes, ends)) in
            [(Coding::Gzip, gzip(&pieces)), (Coding::Zstd, zstd(&pieces))]
        {
            let mut decoder = Decoder::new(coding);
            let mut from = 0;
            for (end, piece) in ends.into_iter().zip(pieces) {
                let mut came = Vec::new();
                let take = &mut |plain: &[u8]| {
                    came.extend_from_slice(plain);
                    Ok(())
                };
                decoder.feed(&bytes[from..end], take).unwrap();
                assert_eq!(came, piece, "{coding:?}");
                from = end;
            }
        }
    }

    #[test]
    fn broken_bytes_give_the_same_in_every_cut() {
        let plain: Vec<u8> = (0..3_000_u32)
            .flat_map(|n| n.to_string().into_bytes())
            .collect();
        let coded = [
            (Coding::Gzip, gzip(&[&plain]).0),
            (Coding::Deflate, deflate(&plain, true)),
            (Coding::Zstd, zstd(&[&plain[..400], &plain[400..]]).0),
            (Coding::Brotli, BROTLI.to_vec()),
        ];
        for (coding, bytes) in coded {
            for at in (0..bytes.len()).step_by(1 + bytes.len() / 200) {
                let mut bytes = bytes.clone();
                bytes[at] ^= 0x55;
                let whole = decoded(coding, &bytes, bytes.len());
                for size in [1, 2, 50] {
                    assert_eq!(
                        decoded(coding, &bytes, size),
                        whole,
                        "{coding:?} at {at} by {size}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_bomb_stops_where_its_taker_stops() {
        let (bomb, _) = gzip(&[&vec![b'x'; 64 << 20]]);
        assert!(bomb.len() < 1 << 20);
        let mut came = 0;
        let result = Decoder::new(Coding::Gzip).feed(&bomb, &mut |plain| {
            came += plain.len();
            if came > 1 << 20 {
                return Err((0, Cause::BodyTooLarge));
            }
            Ok(())
        });
        assert_eq!(result, Err((0, Cause::BodyTooLarge)));
        assert!(came < 2 << 20);
    }

    #[test]
    fn bodies_say_what_they_are() {
        use Coding::{Brotli, Deflate, Gzip, Plain, Unknown, Zstd};
        let cases: [(Coding, &[u8], Option<Coding>); 16] = [
            (Plain, b"", None),
            (Plain, b"{", Some(Plain)),
            (Plain, b"data: x", Some(Plain)),
            (Plain, b"\x1f", None),
            (Plain, b"\x1f\x8b", Some(Gzip)),
            (Plain, b"\x28", None),
            (Plain, b"(B", Some(Plain)),
            (Plain, b"\x28\xb5\x2f\xfd", Some(Zstd)),
            (Gzip, b"{", Some(Plain)),
            (Gzip, b"\x1f\x8b", Some(Gzip)),
            (Gzip, b"\x00", Some(Gzip)),
            (Deflate, b"\x78\x9c", Some(Deflate)),
            (Deflate, b"{\"", Some(Plain)),
            (Deflate, b"\x4b\x4c", Some(Deflate)),
            (Brotli, b"{", Some(Brotli)),
            (Unknown, b"{", Some(Unknown)),
        ];
        for (declared, start, expected) in cases {
            assert_eq!(declared.of_body(start), expected, "{declared:?} {start:?}");
        }
        assert_eq!(Coding::of_header(b" GZIP "), Gzip);
        assert_eq!(Coding::of_header(b"identity"), Plain);
        assert_eq!(Coding::of_header(b"gzip, br"), Unknown);
        assert_eq!(Coding::of_header(b"compress"), Unknown);
    }
}
