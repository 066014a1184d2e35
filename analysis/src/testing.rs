//! Records built by hand, for the tests of this crate.

use pinfire_base::clock::{Span, Stamp, WallAnchor};
use pinfire_base::record::{
    Cancel, Correlation, Disconnect, MarkKind, Outcome, Phase, Record, Stage, Times, Transcript,
    Wire,
};
use pinfire_base::uuid::Uuid;

use pinfire_base::tokens::TokenCounter;

/// The stamp of the phase's start.
const T0: u64 = 5_000_000_000;
/// Its wall time: 1,800,000,000 s.
pub(crate) const T0_UNIX: u64 = 1_800_000_000_000_000_000;

/// The instant so many milliseconds after the start of the phase.
pub(crate) fn ms(after: f64) -> Stamp {
    Stamp::from_nanos(T0 + (after * 1e6).round() as u64)
}

pub(crate) fn anchor() -> WallAnchor {
    WallAnchor::fixed(Stamp::from_nanos(T0), T0_UNIX)
}

/// One token per word.
pub(crate) struct Words;

impl TokenCounter for Words {
    fn count(&self, text: &str) -> usize {
        text.split_whitespace().count()
    }

    fn count_body(&self, body: &[u8]) -> Option<u32> {
        Some(body.len() as u32)
    }
}

/// A record under construction. Times are milliseconds after the phase's start.
#[derive(Clone)]
pub(crate) struct RecordParts(Record);

impl RecordParts {
    /// Due, admitted and started at 0, sent at 0.5 on a new connection, streaming.
    pub(crate) fn streamed(index: u64) -> Self {
        Self(Record {
            phase: Phase::Profiling,
            index,
            entry: index as u32,
            core: 0,
            request_id: Uuid([index as u8; 16]),
            session: index,
            correlation: Correlation::Id(Uuid([0xC0 + index as u8; 16])),
            times: Times {
                scheduled: ms(0.0),
                admitted: ms(0.0),
                start: ms(0.0),
                connected: None,
                secured: None,
                send_start: None,
                written: None,
                head: None,
                body_first: None,
                body_last: None,
                end: ms(0.0),
            },
            outcome: Outcome::Complete,
            cancel: None,
            wire: Wire {
                status: 200,
                event_stream: true,
                body_sent: 512,
                sends: 1,
                ..Wire::default()
            },
            label: None,
            unreached: None,
            transcript: Transcript::default(),
            body: None,
            capture: None,
        })
        .sent(0.0, 0.0, 0.5)
    }

    /// Credit, start and T2; the connection takes half of the time between.
    pub(crate) fn sent(mut self, credit: f64, start: f64, written: f64) -> Self {
        let times = &mut self.0.times;
        let ready = ms(start + (written - start) / 2.0);
        (times.scheduled, times.admitted) = (ms(credit), ms(credit));
        times.start = ms(start);
        times.connected = Some(ready);
        times.send_start = Some(ready);
        times.written = Some(ms(written));
        self
    }

    pub(crate) fn head(mut self, at: f64) -> Self {
        self.0.times.head = Some(ms(at));
        self
    }

    pub(crate) fn warmup(mut self) -> Self {
        self.0.phase = Phase::Warmup;
        self
    }

    /// One event, alone in its read.
    pub(crate) fn mark(mut self, at: f64, kind: MarkKind, bytes: &str) -> Self {
        self.0.transcript.push(ms(at), kind, bytes.as_bytes());
        self.0.times.body_first.get_or_insert(ms(at));
        self.0.times.body_last = Some(ms(at));
        self.0.wire.receives += 1;
        self.0.wire.body_received += 64;
        self
    }

    /// Words at these times.
    pub(crate) fn words(mut self, at: &[f64], words: &[&str]) -> Self {
        for (at, word) in at.iter().zip(words) {
            self = self.mark(*at, MarkKind::Content, word);
        }
        self
    }

    pub(crate) fn outcome(mut self, outcome: Outcome) -> Self {
        self.0.outcome = outcome;
        self
    }

    /// The body as sent, where it is not the entry's own.
    pub(crate) fn body(mut self, body: &[u8]) -> Self {
        self.0.body = Some(body.to_vec());
        self
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        self.0.wire.status = status;
        self
    }

    /// Chosen to be hung up on so many milliseconds after T2, but not yet.
    pub(crate) fn chosen(mut self, delay: f64) -> Self {
        self.0.cancel = Some(Cancel::after(Span::from_nanos((delay * 1e6) as u64)));
        self
    }

    /// Hung up on as planned, `late_us` after the deadline.
    pub(crate) fn cancelled(self, delay: f64, late_us: u64, stage: Stage) -> Record {
        let mut record = self.chosen(delay).outcome(Outcome::Cancelled).0;
        let late = Span::from_micros(late_us);
        if let (Some(cancel), Some(written)) = (&mut record.cancel, record.times.written) {
            let due = written + cancel.delay;
            let (asked, closed) = (due, due + late);
            cancel.done = Some(Disconnect {
                triggered: written,
                acknowledged: None,
                after: None,
                due,
                asked,
                closed,
                stage,
            });
            record.times.end = due;
        }
        record
    }

    pub(crate) fn end(mut self, at: f64) -> Record {
        self.0.times.end = ms(at);
        self.0
    }
}
