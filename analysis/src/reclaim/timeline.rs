//! What was seen over time, for those who want to look at it themselves.

use pinfire_base::clock::{Span, Stamp};
use serde::Serialize;

use super::{Canary, End, Evidence, Look, Seen};

/// More points than a wide screen has; of more looks than that, each point is the one of its
/// neighbours that held most.
const POINTS: usize = 3_000;

/// Requests and cache over time. All times are seconds from the first look or request.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Timeline {
    /// The looks.
    pub looks: Vec<Point>,
    /// The cancels of each wave.
    pub waves: Vec<Cancels>,
    /// The canaries: the one before everything, then one behind each wave.
    pub canaries: Vec<Chirp>,
}

/// What one look showed; absent where the page does not show it, or could not be read.
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
    pub(super) fn of<'a>(requests: impl Iterator<Item = &'a Seen>) -> Self {
        Self::between(requests.map(Seen::out))
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

impl Seen {
    /// From when to when the client wanted it.
    const fn out(&self) -> (Stamp, Stamp) {
        (self.begun, self.ended)
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
        let looks = evidence.before.iter().chain(&evidence.between);
        let mut looks: Vec<&Look> = looks.chain(waves().flat_map(|wave| &wave.looks)).collect();
        looks.sort_by_key(|look| look.at);
        let Some(zero) = looks
            .iter()
            .map(|look| look.at)
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
        let alone = canaries().map(|canary| {
            let took = Span::from_secs_f64(canary.took_ms / 1e3);
            (canary.begun, canary.begun + took)
        });
        let wanted = Wanted::between(requests().map(Seen::out).chain(alone));
        let point = |look: &Look| {
            let levels = look.levels.unwrap_or_default();
            Point {
                at_s: seconds(look.at),
                running: levels.running,
                waiting: levels.waiting,
                kv_used: levels.kv_used,
                wanted: wanted.at(look.at),
            }
        };
        let held = |look: &Look| look.levels.and_then(|l| l.held()).unwrap_or(-1.0);
        let most = |some: &[&Look]| {
            let most = some.iter().max_by(|a, b| held(a).total_cmp(&held(b)));
            most.map(|look| point(look))
        };
        let chirp = |canary: &Canary| Chirp {
            at_s: seconds(canary.begun),
            answered: canary.answered,
            ttft_ms: canary.ttft_ms,
            took_ms: canary.took_ms,
        };
        let cancels = |requests: &[Seen]| {
            let left = || requests.iter().filter(|seen| seen.end == End::Left);
            Some(Cancels {
                first_s: seconds(left().map(|seen| seen.ended).min()?),
                last_s: seconds(left().map(|seen| seen.ended).max()?),
                cancels: left().count() as u64,
            })
        };
        Self {
            looks: looks
                .chunks(looks.len().div_ceil(POINTS).max(1))
                .filter_map(most)
                .collect(),
            waves: waves().filter_map(|wave| cancels(&wave.requests)).collect(),
            canaries: canaries().map(chirp).collect(),
        }
    }
}
