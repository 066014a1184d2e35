//! The law of cuts as a function: the fuzz target (`fuzz/`) and the tests in `tests/laws` call it,
//! so that it must be public; it is no part of the protocol.

use pinfire_base::{
    clock::Stamp,
    record::{MarkKind, Quirks},
};

use super::{Exchange, Head, Progress, ProtoError, Sink, exchange::Closed};
use crate::Scan;

/// Everything a response gave, without its stamps.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EventLog {
    /// The final head.
    pub head: Option<Head>,
    /// Plain bytes of the body. How many coded ones had come when an error was found depends on the
    /// cuts.
    pub body_bytes: usize,
    /// How the body was read otherwise than its head says.
    pub quirks: Quirks,
    /// Events in order.
    pub events: Vec<(MarkKind, Vec<u8>)>,
    /// How it ended: complete (and whether bytes followed), an error, or what the close meant.
    pub end: Option<Result<End, ProtoError>>,
}

/// How a response ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// By its own framing. The offset of the next byte.
    Complete,
    /// By the peer's close.
    Close(Closed),
}

impl Sink for EventLog {
    fn head(&mut self, _: Stamp, head: &Head, _: &[u8]) {
        self.head = Some(*head);
    }

    fn body(&mut self, _: Stamp, _: usize, bytes: &[u8]) {
        self.body_bytes += bytes.len();
    }

    fn quirk(&mut self, quirk: Quirks) {
        self.quirks.add(quirk);
    }

    fn event(&mut self, _: Stamp, kind: MarkKind, bytes: &[u8]) {
        self.events.push((kind, bytes.to_vec()));
    }
}

/// Feeds `input` in the given pieces (cut offsets in rising order), then closes.
pub fn run(input: &[u8], cuts: impl IntoIterator<Item = usize>) -> EventLog {
    run_as(Scan::Chat, input, cuts)
}

/// The same for answers of another kind.
pub fn run_as(scan: Scan, input: &[u8], cuts: impl IntoIterator<Item = usize>) -> EventLog {
    let mut exchange = Exchange::of(scan);
    let mut seen = EventLog::default();
    let at = Stamp::from_nanos(1);
    let mut from = 0;
    for cut in cuts.into_iter().chain([input.len()]) {
        let cut = cut.clamp(from, input.len());
        let piece = &input[from..cut];
        from = cut;
        match exchange.feed(at, piece, &mut seen) {
            Ok(Progress::More) => {}
            Ok(Progress::Complete { .. }) => {
                seen.end = Some(Ok(End::Complete));
                return seen;
            }
            Err(error) => {
                seen.end = Some(Err(error));
                return seen;
            }
        }
    }
    let closed = exchange.close(at, &mut seen);
    seen.end = Some(Ok(End::Close(closed)));
    seen
}

/// The kinds of scan, as [`cuts_change_nothing`] numbers them.
pub const SCANS: [Scan; 3] = [Scan::Chat, Scan::Completions, Scan::Keep];

/// Body of the fuzz target: the first byte says how many of the following bytes are cut distances
/// (lower five bits) and which events are read (the others), the rest is the response. Panics if
/// the cuts change what is seen.
///
/// # Panics
/// If the law of cuts is broken.
pub fn cuts_change_nothing(data: &[u8]) {
    let Some((&count, data)) = data.split_first() else {
        return;
    };
    let scan = SCANS[usize::from(count / 32) % SCANS.len()];
    let (distances, input) = data.split_at(usize::from(count % 32).min(data.len()));
    let cuts = distances.iter().scan(0_usize, |at, &distance| {
        *at += usize::from(distance);
        Some(*at)
    });
    assert_eq!(
        run_as(scan, input, cuts),
        run_as(scan, input, []),
        "cuts changed what was seen"
    );
    assert_eq!(
        run_as(scan, input, 1..input.len()),
        run_as(scan, input, []),
        "byte by byte"
    );
}
