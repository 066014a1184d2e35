//! Figures of a run that goes on: of the last seconds, and of the phase so far.
//!
//! Each record counts when it arrives, which is when its request has ended: a latency of the last
//! seconds is of requests that ended in them. Values come from the rows of the metric table;
//! percentiles are good to two digits. Fixed memory, about 2 MB.

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
}

/// Reasons of failures in a snapshot.
const REASONS: usize = 5;

/// Counts as records come.
pub struct Live {
    /// Where each quantity is in the table of metrics.
    rows: [Option<usize>; 6],
    phase: Phase,
    begun: Option<Stamp>,
    run: Counted,
    /// A second each; the second of a slot is `second % WINDOW`.
    slots: Vec<(u64, Counted)>,
    cancel_error: Histogram<u64>,
    start_lateness: Histogram<u64>,
}

struct Counted {
    answered: u64,
    tokens: [u64; 2],
    quantities: [Histogram<u64>; 6],
}

impl Counted {
    fn new() -> Self {
        Self {
            answered: 0,
            tokens: [0; 2],
            quantities: std::array::from_fn(|_| histogram()),
        }
    }

    fn clear(&mut self) {
        self.answered = 0;
        self.tokens = [0; 2];
        for quantity in &mut self.quantities {
            quantity.reset();
        }
    }

    fn merge(&mut self, other: &Self) {
        self.answered += other.answered;
        for (sum, tokens) in self.tokens.iter_mut().zip(other.tokens) {
            *sum += tokens;
        }
        for (sum, quantity) in self.quantities.iter_mut().zip(&other.quantities) {
            // The same bounds, the only way for the library to refuse.
            let _ = sum.add(quantity);
        }
    }

    fn stretch(&self, seconds: f64) -> Stretch {
        let mut quantities = [Percentiles::default(); 6];
        let each = quantities.iter_mut().zip(&self.quantities);
        for ((into, from), (_, unit)) in each.zip(QUANTITIES) {
            *into = percentiles(from, unit);
        }
        Stretch {
            seconds,
            answered: self.answered,
            tokens: self.tokens,
            quantities,
        }
    }
}

/// 1 to an hour of microseconds, two digits.
fn histogram() -> Histogram<u64> {
    #[expect(
        clippy::expect_used,
        reason = "constant bounds that the library accepts"
    )]
    Histogram::new_with_bounds(1, 3_600_000_000, 2).expect("constant bounds")
}

fn percentiles(histogram: &Histogram<u64>, unit: f64) -> Percentiles {
    let count = histogram.len();
    if count == 0 {
        return Percentiles::default();
    }
    Percentiles {
        count,
        at: Percentiles::OF.map(|p| histogram.value_at_percentile(p) as f64 * unit),
    }
}

impl Live {
    /// Nothing has come yet.
    pub fn new() -> Self {
        let row = |tag: &str| METRICS.iter().position(|metric| metric.tag == tag);
        Self {
            rows: QUANTITIES.map(|(tag, _)| row(tag)),
            phase: Phase::Warmup,
            begun: None,
            run: Counted::new(),
            slots: (0..WINDOW).map(|_| (0, Counted::new())).collect(),
            cancel_error: histogram(),
            start_lateness: histogram(),
        }
    }

    /// Counts a record with the values of its rows, which came at `now`.
    pub(crate) fn add(&mut self, record: &Record, values: &[(usize, RowValue)], now: Stamp) {
        if record.phase != self.phase {
            // What a warmup still brings is of no interest once the measurement is on.
            if record.phase == Phase::Warmup {
                return;
            }
            *self = Self {
                phase: record.phase,
                ..Self::new()
            };
        }
        self.begun.get_or_insert(record.times.start);
        let late = |histogram: &mut Histogram<u64>, span: Span| {
            histogram.saturating_record(span.nanos() / 1_000);
        };
        late(
            &mut self.start_lateness,
            record.times.start.since(record.times.admitted),
        );
        if let Some(done) = record.cancel.and_then(|cancel| cancel.done) {
            late(&mut self.cancel_error, done.closed.since(done.due));
        }
        let Some(slot) = self.slot(now) else { return };
        let at = slot;
        let mut answered = false;
        for (place, (row, (_, unit))) in self.rows.iter().zip(QUANTITIES).enumerate() {
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
                if let Some(histogram) = counted.quantities.get_mut(place) {
                    histogram.saturating_record((value / unit).round() as u64);
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
        Snapshot {
            phase: self.phase,
            ended: tally.progress(),
            run: self.run.stretch(seconds),
            last: last.stretch(window),
            errors,
            stages: tally.cancel.stages,
            cancel_error: percentiles(&self.cancel_error, MICROS),
            start_lateness: percentiles(&self.start_lateness, MICROS),
        }
    }

    /// The phase that it counts.
    pub fn phase(&self) -> Phase {
        self.phase
    }
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}
