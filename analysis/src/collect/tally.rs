//! The numbers of one phase: one narrow column per row of the table, and a few counters.

use pinfire_engine::record::{AfterHalfClose, Outcome, Stage};

use super::{ErrorGroups, Progress};
use crate::facts::RateWindow;
use crate::metric::curve::Track;
use crate::metric::{Class, METRICS, Metric, Of, Over, Request, Results};
use crate::reading::Verdict;
use crate::stats::{Percentiles, Sample};

/// The value of a row for one request, in its internal unit.
#[derive(Clone, PartialEq, Debug)]
pub enum RowValue {
    /// A whole number.
    Whole(u64),
    /// A fraction.
    Fraction(f64),
    /// A list.
    List(Vec<u64>),
}

/// What came of the plan to hang up on requests.
#[derive(Clone, Debug, Default)]
pub struct CancelTally {
    /// Requests that were chosen.
    pub chosen: u64,
    /// Chosen requests whose answer was complete before the deadline.
    pub finished_first: u64,
    /// Chosen requests that failed before the deadline.
    pub failed_first: u64,
    /// T2 to the end of the `shutdown`, in nanoseconds.
    pub achieved: Sample,
    /// Deadline to the end of the `shutdown`, in nanoseconds: the upper bound of the error.
    pub error: Sample,
    /// How far the cancelled requests had come, in the order of [`STAGES`].
    pub stages: [u64; 4],
    /// How half-closed ones ended, in the order of [`AfterHalfClose::ALL`].
    pub after: [u64; 4],
}

/// The order of [`CancelTally::stages`].
pub const STAGES: [Stage; 4] = [
    Stage::Connecting,
    Stage::Sending,
    Stage::Waiting,
    Stage::Streaming,
];

/// The numbers of one phase.
#[derive(Debug, Default)]
pub struct Tally {
    /// By row of the run, like `rows`.
    samples: Vec<Sample>,
    aggregates: Vec<Option<u64>>,
    /// Values of the record added last, with their row in the table.
    pub(super) row_values: Vec<(usize, RowValue)>,
    counts: Progress,
    /// Starts and ends of all exported requests.
    pub(crate) tracks: Vec<Track>,
    /// The same of requests that the end of the run cut off.
    pub(crate) dropped: Vec<Track>,
    /// When each request was due.
    pub(crate) due: Vec<u64>,
    /// Failures; planned cancellations are not among them.
    pub(crate) errors: ErrorGroups,
    /// Planned cancellations.
    pub(crate) cancel: CancelTally,
}

impl Tally {
    pub(super) fn new(rows: &[usize]) -> Self {
        Self {
            samples: vec![Sample::default(); rows.len()],
            aggregates: vec![None; rows.len()],
            ..Self::default()
        }
    }

    /// How many requests ended how.
    pub fn progress(&self) -> Progress {
        self.counts
    }

    pub(super) fn add(&mut self, rows: &[usize], request: &Request) {
        self.row_values.clear();
        let times = &request.record.times;
        let track = Track {
            start: times.start.nanos(),
            end: times.end.nanos(),
        };
        self.due.push(times.scheduled.nanos());
        match &request.reading.verdict {
            Verdict::Valid => self.counts.valid += 1,
            Verdict::Error(problem) => {
                self.counts.errors += 1;
                self.errors.add(problem);
            }
            Verdict::Cancelled(_) => self.counts.cancelled += 1,
            Verdict::Dropped => {
                self.counts.dropped += 1;
                self.dropped.push(track);
                return;
            }
        }
        self.tracks.push(track);
        self.cancel.add(request);
        let class = Class::from(&request.reading.verdict);
        for (at, &row) in rows.iter().enumerate() {
            let Some(metric) = METRICS.get(row) else {
                continue;
            };
            let counts = match metric.over {
                Over::Valid => class == Class::Valid,
                Over::Errors => class == Class::Error,
                Over::All => true,
            };
            let shows = counts || (metric.over == Over::Errors && class == Class::Cancelled);
            if let Some(value) = shows.then(|| value_of(row, metric, request)).flatten() {
                if counts {
                    self.keep(at, metric, &value);
                }
                self.row_values.push((row, value));
            }
        }
    }

    fn keep(&mut self, at: usize, metric: &Metric, value: &RowValue) {
        let (Some(sample), Some(aggregate)) =
            (self.samples.get_mut(at), self.aggregates.get_mut(at))
        else {
            return;
        };
        match (metric.of, value) {
            (Of::Sum(_), RowValue::Whole(v)) => *aggregate = Some(aggregate.unwrap_or(0) + v),
            (Of::Smallest(_), RowValue::Whole(v)) => {
                *aggregate = Some(aggregate.map_or(*v, |least| least.min(*v)));
            }
            (Of::Largest(_), RowValue::Whole(v)) => {
                *aggregate = Some(aggregate.map_or(*v, |most| most.max(*v)));
            }
            (_, RowValue::Whole(v)) => sample.push(*v),
            (_, RowValue::Fraction(v)) => sample.push_float(*v),
            (_, RowValue::List(values)) => values.iter().for_each(|&v| sample.push(v)),
        }
    }

    /// Computes every row, in the order of the table.
    pub(crate) fn results(
        &mut self,
        rows: &[usize],
        window: RateWindow,
        phase_nanos: Option<u64>,
        percentiles: &Percentiles,
    ) -> Results {
        let Progress {
            valid,
            errors,
            cancelled,
            ..
        } = self.counts;
        let mut results = Results::new(window, phase_nanos, [valid, errors, cancelled]);
        let samples = std::mem::take(&mut self.samples);
        for ((&row, sample), aggregate) in rows.iter().zip(samples).zip(&self.aggregates) {
            match METRICS.get(row).map(|metric| metric.of) {
                Some(Of::Whole(_) | Of::Fraction(_) | Of::List(_)) => {
                    results.set(row, sample.sorted().figures(percentiles));
                }
                Some(Of::Sum(_) | Of::Smallest(_) | Of::Largest(_)) => {
                    results.set_whole(row, *aggregate);
                }
                Some(Of::Derived(formula)) => {
                    let value = formula(&results).filter(|v| v.is_finite());
                    results.set(row, value.map(crate::stats::Figures::scalar));
                }
                Some(Of::Curve(formula)) => results.set(row, formula(&self.tracks, percentiles)),
                None => {}
            }
        }
        results
    }
}

fn value_of(row: usize, metric: &Metric, request: &Request) -> Option<RowValue> {
    if let Some(value) = request.told.and_then(|told| told.value(row)) {
        return Some(value.clone());
    }
    match metric.of {
        Of::Whole(formula) | Of::Sum(formula) | Of::Smallest(formula) | Of::Largest(formula) => {
            formula(request).map(RowValue::Whole)
        }
        Of::Fraction(formula) => formula(request)
            .filter(|v| v.is_finite())
            .map(RowValue::Fraction),
        Of::List(formula) => {
            let mut values = Vec::new();
            formula(request, &mut values);
            (!values.is_empty()).then_some(RowValue::List(values))
        }
        Of::Derived(_) | Of::Curve(_) => None,
    }
}

impl CancelTally {
    fn add(&mut self, request: &Request) {
        let Some(cancel) = request.record.cancel else {
            return;
        };
        self.chosen += 1;
        match (&request.record.outcome, cancel.done) {
            (Outcome::Cancelled, Some(done)) => {
                self.achieved
                    .push(done.closed.since(done.triggered).nanos());
                self.error.push(done.closed.since(done.due).nanos());
                let stage = STAGES.iter().position(|&s| s == done.stage);
                if let Some(count) = stage.and_then(|at| self.stages.get_mut(at)) {
                    *count += 1;
                }
                let after = AfterHalfClose::ALL
                    .iter()
                    .position(|&after| Some(after) == done.after);
                if let Some(count) = after.and_then(|at| self.after.get_mut(at)) {
                    *count += 1;
                }
            }
            // A file that does not say when: AIPerf's.
            (Outcome::Cancelled, None) => {}
            (Outcome::Complete, _) => self.finished_first += 1,
            _ => self.failed_first += 1,
        }
    }
}
