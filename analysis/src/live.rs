//! Figures of a run that goes on: of the last seconds, and of the phase so far.
//!
//! Each record counts when it arrives, which is when its request has ended: a latency of the last
//! seconds is of requests that ended in them. Values come from the rows of the metric table;
//! percentiles and buckets are good to two digits, sums and counts are exact. Fixed memory, about
//! 2 MB.

use hdrhistogram::Histogram;
use pinfire_artifacts::tag;
use pinfire_base::clock::{Span, Stamp};
use pinfire_base::record::{Phase, Record};

use crate::collect::{Progress, Tally};
use crate::metric::{METRICS, RowValue};

/// How long «the last seconds» are.
const WINDOW: u64 = 10;

/// What is shown as a distribution: tag of the metric, and units of a count of the histogram.
const QUANTITIES: [(&str, f64); 6] = [
    (tag::TIME_TO_FIRST_TOKEN, MICROS),
    (tag::INTER_TOKEN_LATENCY, MICROS),
    (tag::REQUEST_LATENCY, MICROS),
    (tag::OUTPUT_TOKEN_THROUGHPUT_PER_USER, HUNDREDTHS),
    (tag::INPUT_SEQUENCE_LENGTH, 1.0),
    (tag::OUTPUT_SEQUENCE_LENGTH, 1.0),
];

/// Nanoseconds of a count.
const MICROS: f64 = 1e3;
const HUNDREDTHS: f64 = 0.01;

/// Values since the begin of a phase, in buckets: what a monitoring system keeps of a distribution.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Buckets {
    /// The sum of all values, in the unit of the bounds.
    pub sum: f64,
    /// How many values there were.
    pub count: u64,
    /// Upper bounds, ascending, the last of them infinite, each with how many values are above the
    /// bound before and not above it. A value up to 1 % above a bound may be counted below it.
    pub counts: Vec<(f64, u64)>,
}

/// What is kept in buckets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Distribution {
    /// A distribution that is shown. Times are in seconds here.
    Of(Quantity),
    /// Seconds past the instant of a planned disconnect.
    CancelError,
    /// Seconds from holding all it needs to the first action of a request.
    StartLateness,
}

impl Distribution {
    /// All, in the order of [`Snapshot::buckets`].
    pub const ALL: [Self; 8] = [
        Self::Of(Quantity::FirstToken),
        Self::Of(Quantity::InterToken),
        Self::Of(Quantity::Latency),
        Self::Of(Quantity::PerUser),
        Self::Of(Quantity::Input),
        Self::Of(Quantity::Output),
        Self::CancelError,
        Self::StartLateness,
    ];

    /// The first and the last decade of the bounds, and units of the buckets in a unit of a value.
    const fn scale(self) -> (i32, i32, f64) {
        match self {
            Self::Of(Quantity::FirstToken | Quantity::Latency) => (-3, 3, 1e9),
            Self::Of(Quantity::InterToken) => (-4, 1, 1e9),
            Self::Of(Quantity::PerUser) => (-1, 3, 1.0),
            Self::Of(Quantity::Input | Quantity::Output) => (0, 5, 1.0),
            Self::CancelError | Self::StartLateness => (-6, 0, 1e9),
        }
    }
}

/// Bounds in a decade, so that neighbours are at most half as large again apart.
const STEPS: [f64; 6] = [1.0, 1.5, 2.0, 3.0, 5.0, 7.0];

/// A distribution that is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quantity {
    /// Nanoseconds.
    FirstToken,
    /// Nanoseconds per token of one request.
    InterToken,
    /// Nanoseconds.
    Latency,
    /// Tokens per second that one user sees.
    PerUser,
    /// Input tokens.
    Input,
    /// Output tokens.
    Output,
}

/// Percentiles of a quantity, in its unit.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Percentiles {
    /// How many values there were; without any, the rest is zero.
    pub count: u64,
    /// 50, 75, 90, 95, 99 and 100.
    pub at: [f64; 6],
}

impl Percentiles {
    /// Those that `at` holds.
    pub const OF: [f64; 6] = [50.0, 75.0, 90.0, 95.0, 99.0, 100.0];

    /// The one at `percentile`, which is one of [`OF`](Self::OF).
    pub fn get(&self, percentile: f64) -> f64 {
        let at = Self::OF.iter().position(|&known| known == percentile);
        at.and_then(|at| self.at.get(at)).copied().unwrap_or(0.0)
    }
}

/// What happened in a stretch of time.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Stretch {
    /// How long it was.
    pub seconds: f64,
    /// Requests that were answered.
    pub answered: u64,
    /// Input and output tokens of them.
    pub tokens: [u64; 2],
    quantities: [Percentiles; 6],
}

impl Stretch {
    /// A distribution.
    pub fn of(&self, quantity: Quantity) -> Percentiles {
        self.quantities
            .get(quantity as usize)
            .copied()
            .unwrap_or_default()
    }

    /// A count of it per second.
    pub fn per_second(&self, count: u64) -> f64 {
        if self.seconds > 0.0 {
            count as f64 / self.seconds
        } else {
            0.0
        }
    }
}

/// Where a phase stands.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Which; the later one of two that overlap.
    pub phase: Phase,
    /// How its requests ended.
    pub ended: Progress,
    /// Since its first record.
    pub run: Stretch,
    /// The last seconds.
    pub last: Stretch,
    /// Reasons of failures, the most frequent first, a few.
    pub errors: Vec<(String, u64)>,
    /// How far cancelled requests had come, in the order of [`STAGES`](crate::collect::STAGES).
    pub stages: [u64; 4],
    /// Past the instant of a planned disconnect, in nanoseconds.
    pub cancel_error: Percentiles,
    /// From holding all it needs to its first action, in nanoseconds.
    pub start_lateness: Percentiles,
    /// Failures by the code, where there is one, and the name of the kind.
    pub failed: Vec<(Option<i64>, String, u64)>,
    /// Distributions since the first record, in the order of [`Distribution::ALL`].
    pub buckets: Vec<Buckets>,
}

/// Reasons of failures in a snapshot.
const REASONS: usize = 5;
/// Codes and kinds of failures in a snapshot; the rest are one more.
const KINDS: usize = 32;

/// Counts as records come.
pub struct Live {
    /// Where each quantity is in the table of metrics.
    rows: [Option<usize>; 6],
    phase: Phase,
    /// The warmup, once the measurement is on.
    warmup: Option<Box<Self>>,
    begun: Option<Stamp>,
    run: Counted,
    /// A second each; the second of a slot is `second % WINDOW`.
    slots: Vec<(u64, Counted)>,
    cancel_error: Values,
    start_lateness: Values,
}

struct Counted {
    answered: u64,
    tokens: [u64; 2],
    quantities: [Values; 6],
}

/// Values in units of a count, and their exact sum.
struct Values {
    histogram: Histogram<u64>,
    unit: f64,
    sum: f64,
}

impl Values {
    /// 1 to an hour of microseconds, two digits.
    fn new(unit: f64) -> Self {
        #[expect(
            clippy::expect_used,
            reason = "constant bounds that the library accepts"
        )]
        let histogram = Histogram::new_with_bounds(1, 3_600_000_000, 2).expect("constant bounds");
        Self {
            histogram,
            unit,
            sum: 0.0,
        }
    }

    fn record(&mut self, value: f64) {
        self.histogram
            .saturating_record((value / self.unit).round() as u64);
        self.sum += value;
    }

    fn clear(&mut self) {
        self.histogram.reset();
        self.sum = 0.0;
    }

    fn merge(&mut self, other: &Self) {
        // The same bounds, the only way for the library to refuse.
        let _ = self.histogram.add(&other.histogram);
        self.sum += other.sum;
    }

    fn percentiles(&self) -> Percentiles {
        let count = self.histogram.len();
        if count == 0 {
            return Percentiles::default();
        }
        let at = |p| self.histogram.value_at_percentile(p) as f64 * self.unit;
        Percentiles {
            count,
            at: Percentiles::OF.map(at),
        }
    }

    fn buckets(&self, of: Distribution) -> Buckets {
        let (first, last, scale) = of.scale();
        let decades = (first..=last).flat_map(|decade| {
            let power = 10f64.powi(decade.abs());
            // Divided rather than multiplied by a negative power: 0.003, not 0.0030000000000000001.
            STEPS.map(|step| {
                if decade < 0 {
                    step / power
                } else {
                    step * power
                }
            })
        });
        let mut counts: Vec<(f64, u64)> = decades.map(|bound| (bound, 0)).collect();
        counts.push((f64::INFINITY, 0));
        let mut at = 0;
        for step in self.histogram.iter_recorded() {
            // The least of those that the histogram cannot tell apart: none that is not above a
            // bound is counted above it.
            let units = self.histogram.lowest_equivalent(step.value_iterated_to());
            let value = units as f64 * self.unit / scale;
            while counts.get(at).is_some_and(|(bound, _)| value > *bound) {
                at += 1;
            }
            if let Some((_, count)) = counts.get_mut(at) {
                *count += step.count_since_last_iteration();
            }
        }
        Buckets {
            sum: self.sum / scale,
            count: self.histogram.len(),
            counts,
        }
    }
}

impl Counted {
    fn new() -> Self {
        Self {
            answered: 0,
            tokens: [0; 2],
            quantities: QUANTITIES.map(|(_, unit)| Values::new(unit)),
        }
    }

    fn clear(&mut self) {
        self.answered = 0;
        self.tokens = [0; 2];
        for quantity in &mut self.quantities {
            quantity.clear();
        }
    }

    fn merge(&mut self, other: &Self) {
        self.answered += other.answered;
        for (sum, tokens) in self.tokens.iter_mut().zip(other.tokens) {
            *sum += tokens;
        }
        for (sum, quantity) in self.quantities.iter_mut().zip(&other.quantities) {
            sum.merge(quantity);
        }
    }

    fn stretch(&self, seconds: f64) -> Stretch {
        Stretch {
            seconds,
            answered: self.answered,
            tokens: self.tokens,
            quantities: self.quantities.each_ref().map(Values::percentiles),
        }
    }
}

impl Live {
    /// Nothing has come yet.
    pub fn new() -> Self {
        let row = |tag: &str| METRICS.iter().position(|metric| metric.tag == tag);
        Self {
            rows: QUANTITIES.map(|(tag, _)| row(tag)),
            phase: Phase::Warmup,
            warmup: None,
            begun: None,
            run: Counted::new(),
            slots: (0..WINDOW).map(|_| (0, Counted::new())).collect(),
            cancel_error: Values::new(MICROS),
            start_lateness: Values::new(MICROS),
        }
    }

    /// Counts a record with the values of its rows, which came at `now`.
    pub(crate) fn add(&mut self, record: &Record, values: &[(usize, RowValue)], now: Stamp) {
        if record.phase != self.phase {
            if record.phase == Phase::Warmup {
                let warmup = self.warmup.get_or_insert_default();
                return warmup.add(record, values, now);
            }
            let measured = Self {
                phase: record.phase,
                ..Self::new()
            };
            let warmup = std::mem::replace(self, measured);
            self.warmup = warmup.begun.is_some().then(|| Box::new(warmup));
        }
        self.begun.get_or_insert(record.times.start);
        let late = record.times.start.since(record.times.admitted);
        self.start_lateness.record(late.nanos() as f64);
        if let Some(done) = record.cancel.and_then(|cancel| cancel.done) {
            let late = done.closed.since(done.due);
            self.cancel_error.record(late.nanos() as f64);
        }
        let Some(slot) = self.slot(now) else { return };
        let at = slot;
        let mut answered = false;
        for (place, row) in self.rows.iter().enumerate() {
            let value = values.iter().find(|(of, _)| Some(*of) == *row);
            let value = match value {
                Some((_, RowValue::Whole(value))) => *value as f64,
                Some((_, RowValue::Fraction(value))) => *value,
                _ => continue,
            };
            answered |= place == Quantity::Latency as usize;
            let tokens = match place {
                _ if place == Quantity::Input as usize => Some(0),
                _ if place == Quantity::Output as usize => Some(1),
                _ => None,
            };
            let counted = self.slots.get_mut(at).map(|(_, counted)| counted);
            for counted in [Some(&mut self.run), counted].into_iter().flatten() {
                if let Some(values) = counted.quantities.get_mut(place) {
                    values.record(value);
                }
                if let Some(sum) = tokens.and_then(|at| counted.tokens.get_mut(at)) {
                    *sum = sum.saturating_add(value as u64);
                }
            }
        }
        if answered {
            self.run.answered += 1;
            if let Some((_, counted)) = self.slots.get_mut(at) {
                counted.answered += 1;
            }
        }
    }

    /// The slot of an instant, made empty if it was another second's.
    fn slot(&mut self, now: Stamp) -> Option<usize> {
        let second = now.nanos() / 1_000_000_000;
        let at = (second % WINDOW) as usize;
        let (of, counted) = self.slots.get_mut(at)?;
        if *of != second {
            *of = second;
            counted.clear();
        }
        Some(at)
    }

    /// How it stands at `now`; `tally` is that of [`phase`](Self::phase).
    pub(crate) fn snapshot(&self, tally: &Tally, now: Stamp) -> Snapshot {
        let since = self.begun.map_or(Span::ZERO, |begun| now.since(begun));
        let seconds = since.as_secs_f64();
        let second = now.nanos() / 1_000_000_000;
        let mut last = Counted::new();
        for (of, counted) in &self.slots {
            if *of + WINDOW > second {
                last.merge(counted);
            }
        }
        // The second that goes on is not whole.
        let part = (now.nanos() % 1_000_000_000) as f64 / 1e9;
        let window = ((WINDOW - 1) as f64 + part).min(seconds);
        let mut errors: Vec<(String, u64)> = tally
            .errors
            .groups()
            .iter()
            .map(|group| {
                let code = group.problem.code.map(|code| format!("{code} "));
                let reason = format!(
                    "{}{}: {}",
                    code.unwrap_or_default(),
                    group.problem.kind,
                    group.problem.message
                );
                (reason, group.count)
            })
            .collect();
        errors.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        errors.truncate(REASONS);
        let mut failed: Vec<(Option<i64>, String, u64)> = Vec::new();
        for group in tally.errors.groups() {
            let problem = &group.problem;
            // A server may name its kinds as it likes: as many as there are requests.
            let key = match failed.len() < KINDS {
                true => (problem.code, problem.kind.as_str()),
                false => (None, "other"),
            };
            let known = failed.iter_mut().find(|(code, kind, _)| {
                (*code, kind.as_str()) == (problem.code, &*problem.kind)
                    || (*code, kind.as_str()) == key
            });
            match known {
                Some((_, _, count)) => *count += group.count,
                None => failed.push((key.0, key.1.to_owned(), group.count)),
            }
        }
        Snapshot {
            phase: self.phase,
            ended: tally.progress(),
            run: self.run.stretch(seconds),
            last: last.stretch(window),
            errors,
            stages: tally.cancel.stages,
            cancel_error: self.cancel_error.percentiles(),
            start_lateness: self.start_lateness.percentiles(),
            failed,
            buckets: Distribution::ALL.map(|of| self.buckets(of)).into(),
        }
    }

    fn buckets(&self, of: Distribution) -> Buckets {
        let values = match of {
            Distribution::Of(quantity) => self.run.quantities.get(quantity as usize),
            Distribution::CancelError => Some(&self.cancel_error),
            Distribution::StartLateness => Some(&self.start_lateness),
        };
        values.map(|values| values.buckets(of)).unwrap_or_default()
    }

    /// The phase that it counts.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The warmup, if there was one and the measurement is on.
    pub(crate) fn warmup(&self) -> Option<&Self> {
        self.warmup.as_deref()
    }
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_have_every_value_once_at_its_bound() {
        let mut values = Values::new(MICROS);
        let millis = [0.4, 1.0, 1.4, 1.5, 30.0, 999.0, 5e6];
        for value in millis {
            values.record(value * 1e6);
        }
        let buckets = values.buckets(Distribution::Of(Quantity::FirstToken));
        let filled: Vec<(f64, u64)> = buckets
            .counts
            .iter()
            .copied()
            .filter(|(_, count)| *count > 0)
            .collect();
        let expected = [(0.001, 2), (0.0015, 2), (0.03, 1), (1.0, 1), (5_000.0, 1)];
        // The largest value is beyond the histogram's hour, where it is kept as one.
        assert_eq!(filled, expected);
        assert_eq!(buckets.count, millis.len() as u64);
        let sum: f64 = millis.iter().sum::<f64>() / 1e3;
        assert!((buckets.sum - sum).abs() < 1e-9);
        assert!(buckets.counts.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(
            buckets.counts.last().map(|(bound, _)| *bound),
            Some(f64::INFINITY)
        );
    }
}
