//! The phase cut into slices of time (`--slice-duration`), each with the metrics of the requests
//! that started in it.
//!
//! The grid begins at the first start of the phase; all arithmetic is on whole nanoseconds. A
//! cell in which nothing started is no slice.

use std::ops::Range;

use pinfire_base::clock::Span;

use super::column::{Column, Ranges};
use super::tally::{Asked, Tally, compute, fold_of};
use crate::metric::curve::{Curves, Sweep};
use crate::metric::{Metric, Over, Results};
use crate::stats::{Percentiles, Sample};

/// The figures of one slice, in internal units.
pub struct SliceResults {
    /// Its window, in nanoseconds of the monotonic clock.
    pub window: Range<u64>,
    /// It has its full length.
    pub complete: bool,
    /// Its figures.
    pub results: Results,
}

impl Tally {
    /// Cuts the phase into slices of `length`, in order of time, and hands each to `each`.
    /// Afterwards the records are in the order of their starts. To be called before
    /// [`Tally::results`].
    pub(crate) fn slices(
        &mut self,
        length: Span,
        percentiles: &Percentiles,
        mut each: impl FnMut(SliceResults),
    ) {
        self.order_by_start();
        let lives = self.lives();
        let Some(zero) = lives.first().map(|life| life.start) else {
            return;
        };
        let last = lives.iter().map(|life| life.end).max().unwrap_or(zero);
        let length = length.nanos().max(1);
        let mut sweep = Sweep::new(&lives, self.gaps(), zero);
        let mut columns: Vec<Ranges<'_>> = self.columns().iter().map(Column::ranges).collect();
        let mut from = 0;
        while let Some(life) = lives.get(from) {
            let cell = (life.start - zero) / length;
            let begin = zero + cell * length;
            let end = begin.saturating_add(length);
            let records = lives
                .iter()
                .skip(from)
                .take_while(|life| life.start < end)
                .count();
            let window = begin..end.min(last.max(begin));
            let mut curves = Curves::default();
            sweep.run_to(window.start, None);
            sweep.run_to(window.end, Some(&mut curves));
            let values: Vec<Range<usize>> = columns
                .iter_mut()
                .map(|ranges| ranges.of_next(records))
                .collect();
            let results = self.slice(from..from + records, &window, &values, curves, percentiles);
            each(SliceResults {
                complete: end <= last,
                window,
                results,
            });
            from += records;
        }
    }

    /// The figures of the slice with these records; `values` says by row where theirs stand.
    fn slice(
        &self,
        records: Range<usize>,
        window: &Range<u64>,
        values: &[Range<usize>],
        curves: Curves,
        percentiles: &Percentiles,
    ) -> Results {
        let all = records.len() as u64;
        let (valid, failed) = self.classes();
        let valid = valid.count(records.clone()) as u64;
        let failed = failed.count(records) as u64;
        let part = |at: usize| {
            let sample: &Sample = &self.columns().get(at)?.sample;
            Some(sample.picked(values.get(at)?.clone()))
        };
        let asked = Asked {
            window: Some(window.clone()),
            percentiles,
        };
        compute(
            self.rows(),
            asked,
            [valid, failed, all - valid - failed],
            Some(&curves.settled()),
            // Latencies from the schedule are of the run alone.
            |at, metric: &Metric| part(at).filter(|_| metric.over != Over::All),
            |at, metric| {
                let (fold, sample) = (fold_of(metric)?, part(at)?);
                let values = (0..sample.len()).filter_map(|at| sample.whole(at));
                values.reduce(fold)
            },
        )
    }
}
