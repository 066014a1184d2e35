//! The numbers of one phase: one narrow column per row of the table, and a few counters.

use pinfire_artifacts::tag;
use std::ops::Range;

use pinfire_base::clock::Stamp;
use pinfire_base::health::Durations;
use pinfire_base::record::{AfterHalfClose, Outcome, Stage, Times};

use super::column::{Column, Presence, Ranges};
use super::errors::ErrorGroups;
use super::progress::Progress;
use crate::goodput::Slos;
use crate::metric::curve::{Binned, Curves, Life, SeenLife, Sweep, Track};
use crate::metric::{Class, METRICS, Metric, Of, Over, Request, Results, RowValue, row};
use crate::reading::{Content, Verdict};
use crate::stats::{Figures, Percentiles, Sample};

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
    /// When each disconnect was out.
    pub instants: Vec<u64>,
    /// Events that each cancelled request had received.
    pub events: Sample,
    /// The tokens in them.
    pub tokens: Sample,
    /// Cancelled requests that had a connection.
    pub connections_closed: u64,
    /// Cancelled requests whose whole request the peer's kernel had acknowledged before, and those
    /// of which it is known.
    pub acknowledged: [u64; 2],
    /// Only distributions are kept.
    loose: bool,
    /// How half-closed ones ended, in the order of [`AfterHalfClose::ALL`].
    pub after: [u64; 4],
}

/// Content events of streamed answers, and how many of them came in one read with another: what
/// lies between those is not known.
#[derive(Clone, Debug, Default)]
pub struct SharedStamps {
    /// All of them.
    pub events: u64,
    /// Those that have the stamp of the event before or behind them.
    pub sharing: u64,
    /// Answers with more than one of them.
    pub answers: u64,
    /// Those whose first event shares its stamp: their time to first token is that of a later one.
    pub firsts_sharing: u64,
    /// How late the stamp of one that shares a later event's can be: it came after the one before
    /// that read, or after the request was sent.
    pub late_at_most: Durations,
}

impl SharedStamps {
    fn add(&mut self, content: &[Content], times: &Times) {
        let [first, second, ..] = content else {
            return;
        };
        self.events += content.len() as u64;
        self.answers += 1;
        self.firsts_sharing += u64::from(first.at == second.at);
        let earlier = [times.head, times.written].into_iter().flatten();
        let mut before = earlier
            .filter(|&stamp| stamp < first.at)
            .max()
            .unwrap_or(times.start);
        for of_one_read in content.chunk_by(|one, next| one.at == next.at) {
            // The stamp is the last one's own.
            let [others @ .., last] = of_one_read else {
                continue;
            };
            if !others.is_empty() {
                self.sharing += of_one_read.len() as u64;
                let at_most = last.at.since(before);
                for _ in others {
                    self.late_at_most.record(at_most);
                }
            }
            before = last.at;
        }
    }
}

/// The order of [`CancelTally::stages`].
pub const STAGES: [Stage; 4] = [
    Stage::Connecting,
    Stage::Sending,
    Stage::Waiting,
    Stage::Streaming,
];

/// What the figures of a phase depend on besides its records.
#[derive(Clone)]
pub(crate) struct Asked<'a> {
    /// The window behind rates and curves, in nanoseconds of the monotonic clock. Without one rates
    /// are over `benchmark_duration`, and curves from the first start to the last end.
    pub(crate) window: Option<Range<u64>>,
    /// Percentiles of every distribution.
    pub(crate) percentiles: &'a Percentiles,
}

/// What is kept of a phase with too many requests to keep each: see `--exact-records`.
#[derive(Debug, Default)]
pub(crate) struct Long {
    /// The curves, bin by bin.
    pub(crate) curves: Binned,
    /// When the last request was due. [`Tally::due`] has those of the first ones alone.
    pub(crate) last_due: u64,
    /// Rows that the curves read: time to first token, lengths of input and output, gaps.
    rows: [Option<usize>; 4],
}

const LIFE: [&str; 4] = [
    tag::TIME_TO_FIRST_TOKEN,
    tag::INPUT_SEQUENCE_LENGTH,
    tag::OUTPUT_SEQUENCE_LENGTH,
    tag::INTER_CHUNK_LATENCY,
];

/// The numbers of one phase. A record is known by its place in order of arrival, from 0.
#[derive(Debug, Default)]
pub struct Tally {
    /// Rows of the table that exist in the run.
    rows: Vec<usize>,
    /// The phase will be sliced, so that sums need their parts.
    sliced: bool,
    /// So many records are kept exactly; 0 for all of them.
    exact: u64,
    /// What is kept of a phase with more.
    pub(crate) long: Option<Box<Long>>,
    /// By row of the run, like `rows`.
    columns: Vec<Column>,
    aggregates: Vec<Option<u64>>,
    /// Values of the record added last, with their row in the table.
    pub(crate) row_values: Vec<(usize, RowValue)>,
    counts: Progress,
    /// Which records are answers.
    valid: Presence,
    /// Which records are failures.
    failed: Presence,
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
    /// Events of the answers.
    pub(crate) shared: SharedStamps,
}

impl Tally {
    pub(crate) fn new(rows: &[usize], sliced: bool, exact: u64) -> Self {
        Self {
            rows: rows.to_vec(),
            sliced,
            exact,
            columns: vec![Column::default(); rows.len()],
            aggregates: vec![None; rows.len()],
            ..Self::default()
        }
    }

    /// How many requests ended how.
    pub fn progress(&self) -> Progress {
        self.counts
    }

    pub(crate) fn add(&mut self, request: &Request, slos: &Slos) {
        self.row_values.clear();
        let times = &request.record.times;
        let track = Track {
            start: times.start.nanos(),
            end: times.end.nanos(),
        };
        match &mut self.long {
            None => self.due.push(times.scheduled.nanos()),
            Some(long) => long.last_due = long.last_due.max(times.scheduled.nanos()),
        }
        match &request.reading.verdict {
            Verdict::Valid => self.counts.valid += 1,
            Verdict::Error(problem) => {
                self.counts.errors += 1;
                let broken = matches!(request.record.outcome, Outcome::Failed(_));
                self.counts.broken += u64::from(broken);
                self.errors.add(problem);
            }
            Verdict::Cancelled(_) => self.counts.cancelled += 1,
            Verdict::Dropped => {
                self.counts.dropped += 1;
                self.dropped.push(track);
                return;
            }
        }
        self.cancel.add(request);
        if matches!(request.reading.verdict, Verdict::Valid) {
            self.shared.add(&request.reading.content, times);
        }
        let class = Class::from(&request.reading.verdict);
        if self.long.is_none() {
            self.tracks.push(track);
            self.valid.push(class == Class::Valid);
            self.failed.push(class == Class::Error);
        }
        for at in 0..self.rows.len() {
            // The rows of a run are rows of the table: another index is a defect, and panics.
            let row = self.rows[at];
            let metric = &METRICS[row];
            let counts = match metric.over {
                Over::Valid => class == Class::Valid,
                Over::Errors => class == Class::Error,
                Over::All => true,
            };
            let shows = counts || (metric.over == Over::Errors && class == Class::Cancelled);
            let value = match metric.of {
                Of::Good if shows => Some(RowValue::Whole(slos.kept_by(&self.row_values).into())),
                _ if shows => value_of(row, metric, request),
                _ => None,
            };
            self.keep(at, metric, value.as_ref().filter(|_| counts));
            if let Some(value) = value {
                self.row_values.push((row, value));
            }
        }
        match &mut self.long {
            Some(long) => long.add(track, class, &self.row_values),
            None if self.exact > 0 && self.tracks.len() as u64 >= self.exact && !self.sliced => {
                self.lengthen();
            }
            None => {}
        }
    }

    /// From here on distributions are kept to three digits and curves in bins, so that memory does
    /// not grow with the number of requests. Slices need every request; a sliced phase stays as it
    /// is.
    fn lengthen(&mut self) {
        let mut long = Long {
            last_due: self.due.iter().copied().max().unwrap_or(0),
            rows: LIFE.map(row),
            ..Long::default()
        };
        let gaps = self.gaps();
        let mut taken = Vec::new();
        for life in self.lives() {
            taken.clear();
            taken.extend(life.gaps.clone().filter_map(|at| gaps.whole(at)));
            long.curves.add(&SeenLife {
                start: life.start,
                end: life.end,
                first: life.first.map(Stamp::nanos),
                isl: life.isl.map(u64::from),
                osl: life.osl.map(u64::from),
                gaps: &taken,
            });
        }
        self.columns.iter_mut().for_each(Column::loosen);
        self.cancel.loosen();
        self.tracks = Vec::new();
        self.valid = Presence::default();
        self.failed = Presence::default();
        self.due.sort_unstable();
        self.due.shrink_to_fit();
        self.long = Some(Box::new(long));
    }

    fn keep(&mut self, at: usize, metric: &Metric, value: Option<&RowValue>) {
        // Both are as long as the rows of the run.
        let (column, aggregate) = (&mut self.columns[at], &mut self.aggregates[at]);
        if let (Some(RowValue::Whole(value)), Some(fold)) = (value, fold_of(metric)) {
            *aggregate = Some(aggregate.map_or(*value, |so_far| fold(so_far, *value)));
            if !self.sliced {
                return;
            }
        }
        match value {
            None => column.skip(),
            Some(RowValue::Whole(value)) => column.push(*value),
            Some(RowValue::Fraction(value)) => column.push_float(*value),
            Some(RowValue::List(values)) => column.push_list(values),
        }
    }

    /// The column of a row, if the run has it.
    pub(crate) fn column(&self, tag: &str) -> Option<&Column> {
        let row = row(tag)?;
        let at = self.rows.iter().position(|&one| one == row)?;
        self.columns.get(at)
    }

    /// All records as the curves see them, ascending by start.
    pub(crate) fn lives(&self) -> Vec<Life> {
        let column = |tag| {
            self.column(tag)
                .map(|column| (&column.sample, column.ranges()))
        };
        let mut first = column(tag::TIME_TO_FIRST_TOKEN);
        let mut isl = column(tag::INPUT_SEQUENCE_LENGTH);
        let mut osl = column(tag::OUTPUT_SEQUENCE_LENGTH);
        let mut gaps = column(tag::INTER_CHUNK_LATENCY);
        let one = |of: &mut Option<(&Sample, Ranges<'_>)>| {
            let (sample, ranges) = of.as_mut()?;
            let range = ranges.next().filter(|range| !range.is_empty())?;
            sample.whole(range.start)
        };
        let narrow = |value: Option<u64>| value.and_then(|v| u32::try_from(v).ok());
        let lives = self.tracks.iter().map(|track| Life {
            start: track.start,
            end: track.end,
            first: one(&mut first).map(|ttft| Stamp::from_nanos(track.start + ttft)),
            isl: narrow(one(&mut isl)),
            osl: narrow(one(&mut osl)),
            gaps: gaps
                .as_mut()
                .and_then(|(_, ranges)| ranges.next())
                .unwrap_or(0..0),
        });
        let mut lives: Vec<Life> = lives.collect();
        // Stable: in order of arrival where starts are equal, on any machine.
        lives.sort_by_key(|life| life.start);
        lives
    }

    /// The pooled gaps that [`Self::lives`] speak of.
    pub(crate) fn gaps(&self) -> &Sample {
        static NONE: Sample = Sample::Same { value: 0, count: 0 };
        self.column(tag::INTER_CHUNK_LATENCY)
            .map_or(&NONE, |column| &column.sample)
    }

    /// Computes every row, in the order of the table, and gives the samples up.
    pub(crate) fn results(&mut self, asked: Asked<'_>) -> Results {
        let curves = match &self.long {
            // Over the run's own first start and last end: the bins know no other window.
            Some(long) => long.curves.curves(),
            None => {
                let lives = self.lives();
                let from = lives.first().map_or(0, |life| life.start);
                let to = lives.iter().map(|life| life.end).max().unwrap_or(0);
                let window = asked.window.clone().unwrap_or(from..to);
                let mut sweep = Sweep::new(&lives, self.gaps(), window.start);
                sweep.run_to(window.start, None);
                let mut curves = Curves::default();
                sweep.run_to(window.end, Some(&mut curves));
                curves.settled()
            }
        };
        let Progress {
            valid,
            errors,
            cancelled,
            ..
        } = self.counts;
        let columns = std::mem::take(&mut self.columns);
        let mut samples: Vec<Sample> = columns.into_iter().map(|column| column.sample).collect();
        compute(
            &self.rows,
            asked,
            [valid, errors, cancelled],
            // Without a request there is no window.
            (self.long.is_some() || !self.tracks.is_empty()).then_some(&curves),
            |at, _| samples.get_mut(at).map(std::mem::take),
            |at, _| self.aggregates.get(at).copied().flatten(),
        )
    }

    /// Puts the columns into the order of the records' starts, so that every slice is one range of
    /// them; gives the records in that order with their places in order of arrival.
    pub(super) fn order_by_start(&mut self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.tracks.len() as u32).collect();
        let start = |&record: &u32| self.tracks.get(record as usize).map(|track| track.start);
        order.sort_by_key(start);
        if order.is_sorted() {
            return order;
        }
        for column in &mut self.columns {
            *column = column.reordered(&order);
        }
        let tracks = order
            .iter()
            .filter_map(|&record| self.tracks.get(record as usize));
        self.tracks = tracks.copied().collect();
        for seen in [&mut self.valid, &mut self.failed] {
            *seen = seen.reordered(&order);
        }
        order
    }

    pub(super) fn rows(&self) -> &[usize] {
        &self.rows
    }

    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Which records are answers, and which are failures.
    pub(crate) const fn classes(&self) -> (&Presence, &Presence) {
        (&self.valid, &self.failed)
    }
}

/// Computes rows in the order of the table: `sample` gives the values of a row by its place among
/// `rows`, `aggregate` its sum, minimum or maximum.
pub(super) fn compute(
    rows: &[usize],
    asked: Asked<'_>,
    counts: [u64; 3],
    curves: Option<&Curves>,
    mut sample: impl FnMut(usize, &Metric) -> Option<Sample>,
    mut aggregate: impl FnMut(usize, &Metric) -> Option<u64>,
) -> Results {
    let [_, errors, _] = counts;
    let rates_over = asked
        .window
        .map(|window| window.end.saturating_sub(window.start));
    let mut results = Results::new(rates_over, counts);
    let curve = |curve, active| curves?.figures(curve, active, asked.percentiles);
    for (at, &row) in rows.iter().enumerate() {
        let metric = &METRICS[row];
        match metric.of {
            Of::Whole(_) | Of::Fraction(_) | Of::List(_) => {
                let Some(sorted) = sample(at, metric).map(Sample::sorted) else {
                    continue;
                };
                results.set(row, sorted.figures(asked.percentiles));
                if let Some(adjusted) = adjusted(metric.tag).filter(|_| errors > 0) {
                    results.set(adjusted, sorted.with_endless(errors, asked.percentiles));
                }
            }
            Of::Sum(_) | Of::Smallest(_) | Of::Largest(_) | Of::Good => {
                results.set_whole(row, aggregate(at, metric));
            }
            Of::Derived(formula) => {
                let value = formula(&results).filter(|v| v.is_finite());
                results.set(row, value.map(Figures::scalar));
            }
            Of::Curve(which) => results.set(row, curve(which, false)),
            Of::Active(which) => results.set(row, curve(which, true)),
            // Set with the row that it is of.
            Of::Adjusted(_) => {}
        }
    }
    results
}

/// The row that adjusts another for errors.
fn adjusted(tag: &str) -> Option<usize> {
    let of = |metric: &Metric| matches!(metric.of, Of::Adjusted(parent) if parent == tag);
    METRICS.iter().position(of)
}

/// How the values of a row that is not kept value by value go into one.
pub(super) fn fold_of(metric: &Metric) -> Option<fn(u64, u64) -> u64> {
    match metric.of {
        Of::Sum(_) | Of::Good => Some(|a, b| a + b),
        Of::Smallest(_) => Some(u64::min),
        Of::Largest(_) => Some(u64::max),
        _ => None,
    }
}

fn value_of(row: usize, metric: &Metric, request: &Request) -> Option<RowValue> {
    if let Some(value) = request.recorded.and_then(|recorded| recorded.value(row)) {
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
        Of::Derived(_) | Of::Good | Of::Curve(_) | Of::Active(_) | Of::Adjusted(_) => None,
    }
}

impl Long {
    fn add(&mut self, track: Track, class: Class, values: &[(usize, RowValue)]) {
        let find = |wanted: Option<usize>| {
            let found = values.iter().find(|(row, _)| Some(*row) == wanted);
            found
                .map(|(_, value)| value)
                .filter(|_| class == Class::Valid)
        };
        let whole = |wanted| match find(wanted) {
            Some(RowValue::Whole(value)) => Some(*value),
            _ => None,
        };
        let [first, isl, osl, gaps] = self.rows;
        let gaps = match find(gaps) {
            Some(RowValue::List(gaps)) => &gaps[..],
            _ => &[],
        };
        self.curves.add(&SeenLife {
            start: track.start,
            end: track.end,
            first: whole(first).map(|ttft| track.start + ttft),
            isl: whole(isl),
            osl: whole(osl),
            gaps,
        });
    }
}

impl CancelTally {
    /// See [`Tally::lengthen`].
    fn loosen(&mut self) {
        self.achieved.coarsen();
        self.error.coarsen();
        self.instants = Vec::new();
        self.loose = true;
    }

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
                if !self.loose {
                    self.instants.push(done.closed.nanos());
                }
                self.events.push(request.reading.events.into());
                self.tokens.push(request.osl().unwrap_or(0));
                self.connections_closed += u64::from(done.stage != Stage::Connecting);
                if let Some(acknowledged) = done.acknowledged {
                    self.acknowledged[0] += u64::from(acknowledged);
                    self.acknowledged[1] += 1;
                }
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
