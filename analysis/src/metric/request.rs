//! One request as the formulas see it: stamps, counts and the little arithmetic they share.

use pinfire_base::clock::{Span, Stamp, WallAnchor};
use pinfire_base::record::Record;

use super::{EntryFacts, Recorded, Thresholds};
use crate::reading::{Reading, Verdict};
use crate::tokens::TokenCounts;

/// What a request counts as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// An answer.
    Valid,
    /// A failure.
    Error,
    /// Hung up on by plan.
    Cancelled,
    /// Cut off by the end of the run.
    Dropped,
}

impl From<&Verdict> for Class {
    fn from(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Valid => Self::Valid,
            Verdict::Error(_) => Self::Error,
            Verdict::Cancelled(_) => Self::Cancelled,
            Verdict::Dropped => Self::Dropped,
        }
    }
}

/// One request with everything the formulas may use.
pub struct Request<'a> {
    /// What the engine saw.
    pub record: &'a Record,
    /// What the server said.
    pub reading: &'a Reading,
    /// Its token counts.
    pub tokens: TokenCounts,
    /// Its dataset entry.
    pub entry: &'a EntryFacts,
    /// Limits of the counters.
    pub thresholds: &'a Thresholds,
    /// `--per-chunk-usage`.
    pub per_chunk_usage: bool,
    /// Maps stamps to wall time.
    pub anchor: WallAnchor,
    /// What a file says besides, where the report is made from files.
    pub recorded: Option<Recorded<'a>>,
}

impl Request<'_> {
    /// Output sequence length.
    pub fn osl(&self) -> Option<u64> {
        self.tokens.osl()
    }

    /// Start to first content.
    pub fn ttft(&self) -> Option<u64> {
        self.since_start(self.reading.first()?)
    }

    /// Start to last content.
    pub fn latency(&self) -> Option<u64> {
        self.since_start(self.reading.last()?)
    }

    /// First to last content.
    pub fn decode(&self) -> Option<u64> {
        self.latency()?.checked_sub(self.ttft()?)
    }

    /// Nanoseconds per token after the first. With per-chunk usage the tokens of the first chunk
    /// are taken out, so that a server that packs several into it is not flattered. Of several
    /// choices each is a stream of its own.
    pub fn itl(&self) -> Option<f64> {
        let osl = self.osl().filter(|&osl| osl >= 2)?;
        let choices = &self.reading.choices;
        if !choices.is_empty() {
            let spans = choices.iter().map(|choice| choice.last.since(choice.first));
            let nanos: u64 = spans.map(Span::nanos).sum();
            let gaps = osl
                .checked_sub(choices.len() as u64)
                .filter(|&gaps| gaps > 0)?;
            return Some(nanos as f64 / gaps as f64);
        }
        let first = self
            .reading
            .first_chunk_tokens
            .filter(|&f| self.per_chunk_usage && f > 0 && f < osl)
            .unwrap_or(1);
        Some(self.decode()? as f64 / (osl - first) as f64)
    }

    /// `count` per second of `nanos`; absent for no time at all.
    pub fn per_second(count: u64, nanos: u64) -> Option<f64> {
        (nanos > 0).then(|| count as f64 / (nanos as f64 / 1e9))
    }

    /// Nanoseconds from the start; absent if a stamp lies before it.
    pub fn since_start(&self, at: Stamp) -> Option<u64> {
        between(self.record.times.start, at)
    }

    /// Wall time of the start.
    pub fn start_unix(&self) -> u64 {
        self.anchor.unix_nanos(self.record.times.start)
    }

    /// Time to connect, TLS included; zero on a reused connection.
    pub fn connecting(&self) -> Option<u64> {
        let times = &self.record.times;
        match times.secured.or(times.connected) {
            Some(connected) => between(times.start, connected),
            None => Some(0),
        }
    }

    /// The share of the TLS handshake in [`Self::connecting`].
    pub fn securing(&self) -> Option<u64> {
        let times = &self.record.times;
        between(times.connected?, times.secured?)
    }

    /// First to last byte of the request.
    pub fn sending(&self) -> Option<u64> {
        let times = &self.record.times;
        between(times.send_start?, times.written?)
    }

    /// Last byte of the request to first of the body. A body that began while the request was still
    /// being written was not waited for.
    pub fn waiting(&self) -> Option<u64> {
        let times = &self.record.times;
        Some(times.body_first?.since(times.written?).nanos())
    }

    /// First to last byte of the body.
    pub fn receiving(&self) -> Option<u64> {
        let times = &self.record.times;
        between(times.body_first?, times.body_last?)
    }

    /// Server count against client count, as an absolute percentage of the latter.
    pub fn difference_pct(server: Option<u64>, client: Option<u64>) -> Option<f64> {
        let (server, client) = (server?, client.filter(|&c| c > 0)?);
        Some(100.0 * server.abs_diff(client) as f64 / client as f64)
    }

    /// Output length minus asked length.
    pub fn osl_excess(&self) -> Option<f64> {
        Some(self.osl()? as f64 - f64::from(self.entry.requested_osl?))
    }
}

/// The nanoseconds from `earlier` to `later`; absent if they are in the wrong order.
fn between(earlier: Stamp, later: Stamp) -> Option<u64> {
    (later >= earlier).then(|| Span::nanos(later.since(earlier)))
}
