//! What was seen over time, for those who want to look at it themselves.

use pinfire_base::clock::{Span, Stamp};
use serde::Serialize;

use super::{Canary, End, Evidence, LevelSample, RequestSpan, Wave};

/// More points than a wide screen has; of more samples than that, each point is the one of its
/// neighbours that held most.
const POINTS: usize = 3_000;

/// Requests and cache over time. All times are seconds from the first sample or request.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Timeline {
    /// The samples.
    #[serde(rename = "looks")]
    pub samples: Vec<Point>,
    /// The cancels of each wave.
    pub waves: Vec<Cancels>,
    /// The canaries: the one before everything, then one behind each wave.
    pub canaries: Vec<Chirp>,
}

/// What one sample showed; absent where the page does not show it, or could not be read.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Point {
    /// When.
    pub at_s: f64,
    /// Requests in the server's batch.
    pub running: Option<f64>,
    /// Requests in its queue.
    pub waiting: Option<f64>,
    /// Share of its cache in use, 0 to 1.
    pub kv_used: Option<f64>,
    /// Requests that the client had out and still wanted.
    pub wanted: u64,
}

/// When the requests of a wave were left.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Cancels {
    /// The first.
    pub first_s: f64,
    /// The last.
    pub last_s: f64,
    /// How many.
    pub cancels: u64,
}

/// A canary.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Chirp {
    /// Its start.
    pub at_s: f64,
    /// Whether it was answered.
    pub answered: bool,
    /// To its first token, in milliseconds.
    pub ttft_ms: Option<f64>,
    /// To its end, in milliseconds.
    pub took_ms: f64,
}

/// Requests in flight at any instant.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Wanted {
    begun: Vec<Stamp>,
    ended: Vec<Stamp>,
}

impl Wanted {
    pub(super) fn of<'a>(requests: impl Iterator<Item = &'a RequestSpan>) -> Self {
        Self::between(requests.map(RequestSpan::out))
    }

    /// Of a wave, with the request alone behind it.
    pub(super) fn of_wave(wave: &Wave) -> Self {
        let requests = wave.requests.iter().map(RequestSpan::out);
        Self::between(requests.chain([wave.canary.out()]))
    }

    fn between(requests: impl Iterator<Item = (Stamp, Stamp)>) -> Self {
        let (mut begun, mut ended): (Vec<_>, Vec<_>) = requests.unzip();
        begun.sort_unstable();
        ended.sort_unstable();
        Self { begun, ended }
    }

    pub(super) fn at(&self, at: Stamp) -> u64 {
        let before = |stamps: &[Stamp]| stamps.partition_point(|&stamp| stamp <= at) as u64;
        before(&self.begun) - before(&self.ended)
    }
}

impl RequestSpan {
    /// From when to when the client wanted it.
    const fn out(&self) -> (Stamp, Stamp) {
        (self.begun, self.ended)
    }
}

impl Canary {
    /// From when to when it was at the server.
    fn out(&self) -> (Stamp, Stamp) {
        let took = Span::from_secs_f64(self.took_ms / 1e3);
        (self.begun, self.begun + took)
    }
}

impl Timeline {
    pub(super) fn of(evidence: &Evidence) -> Self {
        let waves = || evidence.waves.iter();
        let requests = || {
            evidence
                .control
                .iter()
                .chain(waves().flat_map(|w| &w.requests))
        };
        let samples = evidence.before.iter().chain(&evidence.between);
        let mut samples: Vec<&LevelSample> = samples
            .chain(waves().flat_map(|wave| &wave.samples))
            .collect();
        samples.sort_by_key(|sample| sample.at);
        let Some(zero) = samples
            .iter()
            .map(|sample| sample.at)
            .chain(requests().map(|seen| seen.begun))
            .chain([evidence.first_canary.begun])
            .min()
        else {
            return Self::default();
        };
        let seconds = |at: Stamp| at.since(zero).as_secs_f64();
        let canaries = || {
            let first = [&evidence.first_canary].into_iter();
            first.chain(waves().map(|wave| &wave.canary))
        };
        let alone = canaries().map(Canary::out);
        let wanted = Wanted::between(requests().map(RequestSpan::out).chain(alone));
        let point = |sample: &LevelSample| {
            let levels = sample.levels.unwrap_or_default();
            Point {
                at_s: seconds(sample.at),
                running: levels.running,
                waiting: levels.waiting,
                kv_used: levels.kv_used,
                wanted: wanted.at(sample.at),
            }
        };
        let held = |sample: &LevelSample| sample.levels.and_then(|l| l.held()).unwrap_or(-1.0);
        let most = |some: &[&LevelSample]| {
            let most = some.iter().max_by(|a, b| held(a).total_cmp(&held(b)));
            most.map(|sample| point(sample))
        };
        let chirp = |canary: &Canary| Chirp {
            at_s: seconds(canary.begun),
            answered: canary.answered,
            ttft_ms: canary.ttft_ms,
            took_ms: canary.took_ms,
        };
        let cancels = |requests: &[RequestSpan]| {
            let left = || requests.iter().filter(|seen| seen.end == End::Disconnected);
            Some(Cancels {
                first_s: seconds(left().map(|seen| seen.ended).min()?),
                last_s: seconds(left().map(|seen| seen.ended).max()?),
                cancels: left().count() as u64,
            })
        };
        Self {
            samples: samples
                .chunks(samples.len().div_ceil(POINTS).max(1))
                .filter_map(most)
                .collect(),
            waves: waves().filter_map(|wave| cancels(&wave.requests)).collect(),
            canaries: canaries().map(chirp).collect(),
        }
    }
}
