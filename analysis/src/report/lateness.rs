//! What the client adds, against what was measured: when a late loop spoils figures.
//!
//! A pure function of figures. A millisecond is much of a first token after 2 ms and nothing of one
//! after 60 ms, so lateness is judged as a share of what it bends; a floor keeps microseconds out
//! of it, and a ceiling stands for a loop that has more to do than it can, whatever is measured.

use pinfire_artifacts::tag;
use pinfire_base::clock::Span;
use pinfire_base::health::{CoreHealth, Durations};

use crate::collect::Tally;
use crate::stats::{Percentiles, Sample};

/// Timers and reads that are not later than this bend nothing that is worth a word.
pub const LATE_MIN: Span = Span::from_millis(1);
/// Turns that are no longer than this neither.
pub const TURN_MIN: Span = Span::from_millis(2);
/// More than this share of what it bends is too much.
pub const LATE_SHARE_MAX: f64 = 0.05;
/// A loop that is later than this has more to do than it can, whatever was measured.
pub const LATE_MAX: Span = Span::from_millis(10);

/// The percentile that is judged by the number of durations: so that at least five lie beyond it.
const LEVELS: [(u64, f64); 3] = [(500, 99.0), (50, 90.0), (10, 50.0)];

/// What a lateness is held against.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scale {
    /// The time to first token.
    FirstToken,
    /// The time between two tokens.
    Gap,
    /// A whole request.
    Request,
    /// From a request's trigger to its planned end.
    CancelDelay,
}

impl Scale {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::FirstToken => "TTFT",
            Self::Gap => "ITL",
            Self::Request => "request latency",
            Self::CancelDelay => "the time to a cancel",
        }
    }

    /// The metric's name in the files.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::FirstToken => tag::TIME_TO_FIRST_TOKEN,
            Self::Gap => tag::INTER_TOKEN_LATENCY,
            Self::Request => tag::REQUEST_LATENCY,
            Self::CancelDelay => "cancellation_delay",
        }
    }
}

/// What was measured, in nanoseconds, at each of the percentiles that can be judged.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Measured {
    first_token: Option<[f64; 3]>,
    gap: Option<[f64; 3]>,
    request: Option<[f64; 3]>,
    cancel_delay: Option<[f64; 3]>,
}

impl Measured {
    pub(super) fn of(profiling: &Tally) -> Self {
        let row = |tag| figures(&profiling.column(tag)?.sample);
        Self {
            first_token: row(tag::TIME_TO_FIRST_TOKEN),
            gap: row(tag::INTER_TOKEN_LATENCY),
            request: row(tag::REQUEST_LATENCY),
            cancel_delay: figures(&profiling.cancel.achieved),
        }
    }

    const fn get(&self, scale: Scale) -> Option<[f64; 3]> {
        match scale {
            Scale::FirstToken => self.first_token,
            Scale::Gap => self.gap,
            Scale::Request => self.request,
            Scale::CancelDelay => self.cancel_delay,
        }
    }
}

/// A sample's figures in the order of [`LEVELS`].
fn figures(sample: &Sample) -> Option<[f64; 3]> {
    let wanted = Percentiles::of(LEVELS.map(|(_, level)| level));
    let figures = sample.clone().sorted().figures(&wanted)?;
    let [high, middle, low] = LEVELS.map(|(_, level)| figures.percentile(level));
    Some([high?, middle?, low?])
}

/// One lateness of the client's, and what it is of something that was measured.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Added {
    /// Its name in the files.
    pub what: &'static str,
    /// The percentile that is judged.
    pub level: f64,
    /// How late.
    pub late: Span,
    /// What it is held against, and how much that is at the same percentile.
    pub of: Option<(Scale, Span)>,
    /// The times in the figures contain it.
    pub in_latencies: bool,
    /// It is judged too much.
    pub too_much: bool,
    least: Span,
}

impl Added {
    /// How much of what was measured.
    pub fn share(&self) -> Option<f64> {
        let (_, of) = self.of?;
        (of > Span::ZERO).then(|| self.late.nanos() as f64 / of.nanos() as f64)
    }

    /// «0.7 % of TTFT p99».
    pub fn share_words(&self) -> Option<String> {
        let (scale, _) = self.of?;
        let share = 100.0 * self.share()?;
        Some(format!("{share:.1} % of {} p{}", scale.words(), self.level))
    }

    fn judged(mut self) -> Self {
        let share_is_high = self.share().is_none_or(|share| share > LATE_SHARE_MAX);
        self.too_much = self.late > LATE_MAX || (self.late > self.least && share_is_high);
        self
    }

    /// Why it is too much.
    pub fn reason(&self) -> String {
        let what = self.what.replace('_', " ");
        let late = self.late.as_millis_f64();
        let is = format!("{what} p{} {late:.2} ms is", self.level);
        let share_is_high = self.share().is_some_and(|share| share > LATE_SHARE_MAX);
        match (self.of, self.share_words()) {
            (Some((_, of)), Some(share)) if share_is_high => format!(
                "{is} {share} ({:.2} ms), above {:.0} %",
                of.as_millis_f64(),
                100.0 * LATE_SHARE_MAX
            ),
            (_, Some(_)) => format!("{is} above {:.0} ms", LATE_MAX.as_millis_f64()),
            (_, None) => format!("{is} above {:.0} ms", self.least.as_millis_f64()),
        }
    }
}

/// The percentile with enough durations beyond it, with its place among [`LEVELS`].
fn level(durations: &Durations) -> Option<(usize, f64)> {
    let mut levels = LEVELS.iter().enumerate();
    let found = levels.find(|(_, (least, _))| durations.count() >= *least)?;
    Some((found.0, found.1.1))
}

/// Everything the client adds, each against what it bends. `times_hold`: received data has the
/// kernel's times, so that a late read bends no latency.
pub fn added(core: &CoreHealth, measured: &Measured, times_hold: bool) -> Vec<Added> {
    let rows = [
        ("timer_lateness", &core.timer_lateness, LATE_MIN, false),
        ("receive_delay", &core.receive_delay, LATE_MIN, true),
        ("turn", &core.turn, TURN_MIN, true),
    ];
    let mut all = Vec::new();
    for (what, durations, least, reads) in rows {
        let Some((place, level)) = level(durations) else {
            continue;
        };
        let in_latencies = reads && !times_hold;
        let scales: &[Scale] = match (in_latencies, reads) {
            (true, _) => &[Scale::FirstToken, Scale::Gap, Scale::Request],
            (false, true) => &[Scale::Request],
            (false, false) => &[Scale::CancelDelay, Scale::Request],
        };
        let against = |&scale: &Scale| {
            let of = *measured.get(scale)?.get(place)?;
            Some((scale, Span::from_nanos(of.max(0.0) as u64)))
        };
        let mut against: Vec<_> = scales.iter().filter_map(against).map(Some).collect();
        if against.is_empty() {
            against.push(None);
        }
        all.extend(against.into_iter().map(|of| {
            Added {
                what,
                level,
                late: durations.percentile(level),
                of,
                in_latencies,
                too_much: false,
                least,
            }
            .judged()
        }));
    }
    all
}

/// The line that says it of the reads: in the latencies, or beside them.
pub fn told(all: &[Added]) -> Option<String> {
    let reads = all.iter().find(|added| added.what == "receive_delay")?;
    let late = format!("up to {:.2} ms", reads.late.as_millis_f64());
    let share = reads
        .share_words()
        .map_or_else(String::new, |share| format!(", {share}"));
    Some(match reads.in_latencies {
        true => format!("adds {late}{share}"),
        false => format!("reads {late} late{share}; the kernel's times do not contain it"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn late(count: u64, ms: f64) -> Durations {
        let mut all = Durations::default();
        (0..count).for_each(|_| all.record(Span::from_nanos((ms * 1e6) as u64)));
        all
    }

    /// `count` durations of 0.1 ms, two in a hundred of `ms`.
    fn tail(count: u64, ms: f64) -> Durations {
        let mut all = late(count - count / 50, 0.1);
        all.merge(&late(count / 50, ms));
        all
    }

    fn measured(ttft: f64, itl: f64, request: f64) -> Measured {
        let all = |ms: f64| Some([ms * 1e6; 3]);
        Measured {
            first_token: all(ttft),
            gap: all(itl),
            request: all(request),
            cancel_delay: None,
        }
    }

    #[test]
    fn figures_to_verdicts() {
        let slow = measured(60.0, 30.0, 2_000.0);
        let quick = measured(2.0, 1.0, 10.0);
        // A first token that is late by little and long gaps.
        let embedding = measured(20.0, f64::MAX / 1e6, 20.0);
        // What was read late by how much, whether the kernel's times hold, and what is too much.
        let table: &[(&str, Durations, Measured, bool, &[&str])] = &[
            ("few samples, little", late(9, 8.0), quick, false, &[]),
            ("1.2 ms of 60 ms", tail(10_000, 1.2), slow, false, &[]),
            ("p99 of few", tail(200, 9.0), slow, false, &[]),
            ("a tail of few of 369", tail(369, 2.42), quick, false, &[]),
            ("below the floor", late(1_000, 0.9), quick, false, &[]),
            (
                "half of a first token",
                late(20, 1.5),
                quick,
                false,
                &["TTFT", "ITL", "request latency"],
            ),
            ("user stamps", tail(1_000, 2.0), slow, false, &["ITL"]),
            (
                "user stamps, 4 ms",
                tail(1_000, 4.0),
                slow,
                false,
                &["TTFT", "ITL"],
            ),
            ("kernel stamps, 4 ms", tail(1_000, 4.0), slow, true, &[]),
            (
                "kernel stamps, quick",
                tail(1_000, 4.0),
                quick,
                true,
                &["request latency"],
            ),
            (
                "no tokens",
                tail(1_000, 1.5),
                embedding,
                false,
                &["TTFT", "request latency"],
            ),
            (
                "overload",
                tail(1_000, 20.0),
                slow,
                true,
                &["request latency"],
            ),
        ];
        for (name, reads, measured, times_hold, expected) in table {
            let core = CoreHealth {
                receive_delay: reads.clone(),
                ..CoreHealth::default()
            };
            let all = added(&core, measured, *times_hold);
            let bad = all.iter().filter(|added| added.too_much);
            let bad: Vec<&str> = bad.filter_map(|added| Some(added.of?.0.words())).collect();
            assert_eq!(&bad, expected, "{name}: {all:?}");
        }
    }

    #[test]
    fn timers_are_held_against_the_time_to_a_cancel() {
        let core = CoreHealth {
            timer_lateness: late(1_000, 2.0),
            ..CoreHealth::default()
        };
        let mut of = measured(60.0, 30.0, 2_000.0);
        let bad = |of: &Measured| added(&core, of, true).iter().any(|added| added.too_much);
        assert!(!bad(&of));
        of.cancel_delay = Some([500e6; 3]);
        assert!(!bad(&of));
        of.cancel_delay = Some([20e6; 3]);
        assert!(bad(&of));
        // Nothing to hold it against.
        assert!(bad(&Measured::default()));
    }

    #[test]
    fn long_turns_have_a_floor_of_their_own() {
        let bad = |ms| {
            let core = CoreHealth {
                turn: late(1_000, ms),
                ..CoreHealth::default()
            };
            let all = added(&core, &measured(2.0, 1.0, 10.0), true);
            all.iter().any(|added| added.too_much)
        };
        assert_eq!([1.9, 2.5].map(bad), [false, true]);
    }

    #[test]
    fn what_is_added_is_told_in_words() {
        let told_of = |times_hold| {
            let core = CoreHealth {
                receive_delay: late(600, 0.4),
                ..CoreHealth::default()
            };
            let all = added(&core, &measured(57.0, 30.0, 800.0), times_hold);
            told(&all).unwrap()
        };
        assert_eq!(told_of(false), "adds up to 0.40 ms, 0.7 % of TTFT p99");
        assert_eq!(
            told_of(true),
            "reads up to 0.40 ms late, 0.1 % of request latency p99; the kernel's times do not \
             contain it"
        );
        let core = CoreHealth {
            receive_delay: late(600, 3.0),
            ..CoreHealth::default()
        };
        let reasons = |of: &Measured| -> Vec<String> {
            let all = added(&core, of, false);
            all.iter().map(Added::reason).collect()
        };
        let one = measured(20.0, f64::INFINITY, 20.0);
        // The histogram keeps two digits.
        let reason = "receive delay p99 3.01 ms is 15.1 % of TTFT p99 (20.00 ms), above 5 %";
        assert_eq!(reasons(&one)[0], reason);
        let reason = "receive delay p99 3.01 ms is above 1 ms";
        assert_eq!(reasons(&Measured::default()), [reason]);
    }
}
