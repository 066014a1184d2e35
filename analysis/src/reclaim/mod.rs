//! Did the server let go of what was cancelled? The verdict of `pinfire cancel-test`, and of a run
//! with `--verify-release`.
//!
//! Pure: what the client did and what the server showed go in, a verdict with figures comes out.
//! Several witnesses tell, each by itself ([`Witness`]): what the server holds (requests running
//! and waiting, cache in use), what it has finished, what it has generated, and whether it still
//! answers. The verdict is that of the worst. Its own counter of aborted requests is evidence that
//! is compared, never believed.

mod direct;
mod effect;
mod finding;
mod hops;
mod judge;
mod late;
mod manner;
pub mod matrix;
mod measured;
pub mod page;
#[cfg(test)]
mod scripts;
mod share;
mod tell;
#[cfg(test)]
mod tests;
mod timeline;
mod witness;
#[cfg(test)]
mod world;

use pinfire_base::clock::{Span, Stamp};
use serde::{Deserialize, Serialize};

use pinfire_scrape::{Levels, server_kinds::Known};

pub use direct::Direct;
pub use effect::Effect;
pub use finding::{Finding, Source, TokensForNobody, Witness};
pub use manner::Manner;
pub use measured::{Measured, OfOne};
pub use share::{Minority, Share, cancels_to_detect, detectable};
pub use timeline::Timeline;

/// Who has gathered the evidence. The verdict is the same; what to do next is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asker {
    /// `pinfire cancel-test`: waves with a rest behind each.
    Test,
    /// `pinfire profile --verify-release`: the whole run is one wave.
    Run,
}

/// What the server's metrics showed at one instant.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LevelSample {
    /// When.
    pub at: Stamp,
    /// What it showed; `None` when the page could not be read.
    pub levels: Option<Levels>,
}

/// How a request of the client ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum End {
    /// It was answered.
    Answered,
    /// The client left it by plan.
    Disconnected,
    /// It failed.
    Failed,
}

/// A request as the client saw it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RequestSpan {
    /// Its start.
    pub begun: Stamp,
    /// Its end; of one that was left, when the client had left.
    pub ended: Stamp,
    /// How it ended.
    pub end: End,
    /// It went out on a connection that was made for it.
    pub new_connection: bool,
    /// When its tokens came, as far as that is kept.
    pub tokens: Vec<Stamp>,
    /// Events with content that have come.
    pub events: u64,
}

/// Requests that were answered, and what came of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Answers {
    /// How many.
    pub requests: u64,
    /// Events with content.
    pub events: u64,
}

impl Answers {
    /// Counts a canary, if it was answered.
    pub fn add(&mut self, canary: &Canary) {
        if canary.answered {
            self.requests += 1;
        }
        self.events += canary.events;
    }
}

/// A request that is sent alone, at rest, to see whether the server still answers.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Canary {
    /// Its start.
    #[serde(skip)]
    pub begun: Stamp,
    /// Whether it was answered.
    pub answered: bool,
    /// Nobody accepted its connection.
    pub refused: bool,
    /// From its start to its first token, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<f64>,
    /// From its start to its end, in milliseconds.
    pub took_ms: f64,
    /// Events with content that have come.
    #[serde(skip)]
    pub events: u64,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// One wave: requests, some of which were left together, and the rest after it.
#[derive(Clone, PartialEq, Debug)]
pub struct Wave {
    /// No request began after its cancels, so that nothing stands where something was not let go.
    pub quiet: bool,
    /// All requests of it.
    pub requests: Vec<RequestSpan>,
    /// The samples from its begin to the end of the rest behind it.
    pub samples: Vec<LevelSample>,
    /// The canary after the rest.
    pub canary: Canary,
}

/// Everything that a test has gathered.
#[derive(Clone, PartialEq, Debug)]
pub struct Evidence {
    /// Who has gathered it.
    pub asker: Asker,
    /// The kind of server that the metrics are of.
    pub server: Option<String>,
    /// How long the server had to let go, at rest.
    pub settle: Span,
    /// From one sample to the next.
    pub interval: Span,
    /// How the requests were left.
    pub manner: Manner,
    /// What is known of what the server shows.
    pub known: Known,
    /// What was answered alone between the first sample of all and `before`, if that is known: what
    /// the server's counters make of one request.
    pub warmed: Option<Answers>,
    /// The same where that was measured before, as for the cells of a matrix.
    pub measured: Option<Measured>,
    /// The samples at rest before anything was cancelled.
    pub before: Vec<LevelSample>,
    /// What was answered alone since then, but for the canaries behind the waves.
    pub alone: Answers,
    /// The canary before anything was cancelled.
    pub first_canary: Canary,
    /// Requests of the same load without a cancel.
    pub control: Vec<RequestSpan>,
    /// Looks that are no part of a wave: at the canaries and the control. Only the timeline has
    /// them.
    pub between: Vec<LevelSample>,
    /// The waves in their order. The test ends after one that the server did not survive.
    pub waves: Vec<Wave>,
    /// Where several pages were looked at, what each showed all the time; the samples above are of
    /// all of them together.
    pub pages: Vec<PageSamples>,
}

/// What one of several pages of metrics showed.
#[derive(Clone, PartialEq, Debug)]
pub struct PageSamples {
    /// Where it is.
    pub url: String,
    /// The kind of server behind it.
    pub server: Option<String>,
    /// What is known of what it shows.
    pub known: Known,
    /// In the order of time.
    pub samples: Vec<LevelSample>,
}

/// What the test found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It lets go of all that is cancelled.
    Released,
    /// Cancelled requests ran to their end as if their clients were still there.
    RanOn,
    /// Requests or cache blocks of cancelled requests never came back.
    Leaked,
    /// It accepts requests and answers none.
    Wedged,
    /// It is gone.
    Died,
    /// What would tell is missing.
    CannotTell,
}

impl Verdict {
    /// The exit code of the process.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Released => 0,
            Self::RanOn | Self::Leaked | Self::Wedged | Self::Died => 4,
            Self::CannotTell => 5,
        }
    }
}

/// The server's own counter of aborted requests against what the client did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CounterVerdict {
    /// It shows none.
    NotShown,
    /// It need not count what was left in this way, and does not agree: nothing follows from it.
    SaysNothing,
    /// It did not move at all.
    AlwaysZero,
    /// It agrees with the client, to a tenth.
    Agrees,
    /// It counts each twice, to a tenth.
    Doubled,
    /// It shows another number.
    Off,
}

/// The counter's part of the report.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Counter {
    /// What to make of it.
    pub verdict: CounterVerdict,
    /// Cancels that it should have seen.
    pub cancels: u64,
    /// How far it moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted: Option<f64>,
    /// What it moved per cancel of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_cancel: Option<f64>,
}

/// One wave of the report.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct WaveReport {
    /// `before_first_token`, `streaming`, or `before_answer` of whole answers: what most of its
    /// cancelled requests were doing.
    pub phase: &'static str,
    /// No request began after its cancels until it was over.
    pub quiet: bool,
    /// Requests that were left.
    pub cancels: u64,
    /// Of them, those that were still held when they should have been let go at once; absent if no
    /// sample could tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub still_held: Option<u64>,
    /// From the first to the last of them, in milliseconds.
    pub spread_ms: f64,
    /// From the last of them until the server held no more than the client still wanted (and what
    /// it never gave back), in seconds. Absent if no sample could tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub released_after_s: Option<f64>,
    /// The same for the waiting requests alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_back_after_s: Option<f64>,
    /// From the last cancel until the cache was as at rest; the wave's other requests hold cache
    /// too, until their end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_back_after_s: Option<f64>,
    /// Requests that the server held at the end of the rest beyond what it held before the first
    /// wave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_at_rest: Option<f64>,
    /// Share of the cache in use then beyond that before, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_at_rest: Option<f64>,
    /// What the server held beyond what the client still wanted, from the first cancel to the end
    /// of the wave's last request, divided by the cancels: how long each was held on average, in
    /// seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_per_cancel_s: Option<f64>,
    /// By how much that came out below nothing, in seconds: how inexact it is.
    #[serde(skip)]
    pub held_less_s: f64,
    /// The canary behind it.
    pub canary: Canary,
}

impl WaveReport {
    /// Something tells what the server held behind it, if anything was cancelled.
    const fn is_known_at_rest(&self) -> bool {
        self.held_at_rest.is_some() || self.cancels == 0
    }
}

/// What one of several pages tells.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct PageReport {
    /// Where it is.
    pub url: String,
    /// The kind of server behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The worst that it says.
    pub finding: Finding,
    /// Each of its witnesses.
    pub witnesses: Vec<Witness>,
    /// What it showed, sample by sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
}

/// The result of a test.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ReclaimReport {
    /// What was found.
    pub verdict: Verdict,
    /// In one sentence.
    pub summary: String,
    /// What to do next.
    pub advice: String,
    /// The exit code of the process.
    pub exit_code: u8,
    /// The kind of server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// How the requests were left.
    pub manner: Manner,
    /// Cancels of all waves.
    pub cancels: u64,
    /// Median and longest time until it had let go, in seconds: of the quiet waves, if there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub released_after_s: Option<[f64; 2]>,
    /// How exact that is: the median time from one sample to the next. The server's own refresh
    /// comes on top.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution_s: Option<f64>,
    /// How often the server brings what it shows up to date, in seconds; absent if that is not
    /// known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_s: Option<f64>,
    /// The same in words.
    pub refresh: String,
    /// Each witness with its own verdict.
    pub witnesses: Vec<Witness>,
    /// What they disagree about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disagreement: Option<String>,
    /// The smallest share of cancels, in percent, of which one at least would have been among them
    /// (95 %).
    pub detectable_pct: f64,
    /// Tokens that were generated for clients that had left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_for_nobody: Option<TokensForNobody>,
    /// What never came back of all cancels.
    pub leak: Share,
    /// Of the waves before the first token.
    pub leak_before_first_token: Share,
    /// Of the waves in the stream.
    pub leak_streaming: Share,
    /// Share of the cache that never came back, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_leak: Option<f64>,
    /// Cancels after which the server did not answer any more, and those it had survived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_after_cancels: Option<[u64; 2]>,
    /// The server's own counter.
    pub counter: Counter,
    /// What the cancels did to other requests.
    pub effect: Effect,
    /// The canary before everything.
    pub first_canary: Canary,
    /// Wave by wave.
    pub waves: Vec<WaveReport>,
    /// Page by page, where there were several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pages: Vec<PageReport>,
    /// The same test at the server itself, where one was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct: Option<Direct>,
    /// What was seen, sample by sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
}
