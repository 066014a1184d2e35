//! Series over a window: the figures of gauges, counters and histograms, and their time slices.
//!
//! Totals take everything up to the last scrape that belongs to the window, which may be later than
//! its end: what a server counts late (aborts) must not be missing. Rates divide by the window
//! itself, and gauges are taken within it. AIPerf goes on scraping while a run ends and counts that
//! in: a counter that grew by 600 in a run of 2.9 s has a rate of 122/s there instead of 205/s.

use pinfire_base::clock::{Span, Stamp};

use super::estimate::{self, Learned};
use super::history::{BucketPoint, Buckets, History, Points, Series};
use super::text::Kind;

/// The percentiles of all figures here.
pub const PERCENTILES: [u8; 9] = [1, 5, 10, 25, 50, 75, 90, 95, 99];

/// The time over which series are reduced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Its begin.
    pub start: Stamp,
    /// Its end.
    pub end: Stamp,
    /// Looks up to here still count for totals.
    pub until: Stamp,
}

impl Window {
    /// Its length in seconds.
    pub fn seconds(&self) -> f64 {
        self.end.since(self.start).as_secs_f64()
    }

    /// How many slices of that length it has.
    pub fn slice_count(&self, length: Span) -> usize {
        let count = self
            .end
            .since(self.start)
            .nanos()
            .div_ceil(length.nanos().max(1));
        usize::try_from(count).unwrap_or(usize::MAX).min(MAX_SLICES)
    }

    fn slices(&self, length: Span) -> Vec<(Stamp, Stamp, bool)> {
        let mut slices = Vec::new();
        let mut start = self.start;
        while start < self.end && length > Span::ZERO && slices.len() < MAX_SLICES {
            let end = start + length;
            slices.push((start, end.min(self.end), end <= self.end));
            start = end;
        }
        slices
    }
}

/// A slice every millisecond over a hundred seconds is a slip of the pen, not a wish.
const MAX_SLICES: usize = 100_000;

/// Figures of a gauge.
#[derive(Clone, PartialEq, Debug)]
pub struct GaugeStats {
    /// Mean of the scrapes.
    pub avg: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// Sample standard deviation, 0 of one scrape.
    pub std: f64,
    /// In the order of [`PERCENTILES`].
    pub percentiles: [f64; 9],
}

/// Figures of a counter.
#[derive(Clone, PartialEq, Debug)]
pub struct CounterStats {
    /// Its growth.
    pub total: f64,
    /// Per second of the window.
    pub rate: f64,
    /// Mean, smallest, largest rate and their sample deviation over the whole slices.
    pub slice_rates: Option<[f64; 4]>,
    /// How often it went backwards.
    pub resets: u32,
}

/// Figures of a histogram.
#[derive(Clone, PartialEq, Debug)]
pub struct HistogramStats {
    /// New observations.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// New observations per second of the window.
    pub count_rate: f64,
    /// Their sum per second of the window.
    pub sum_rate: f64,
    /// Estimates, in the order of [`PERCENTILES`].
    pub percentiles: Option<[f64; 9]>,
    /// Bound as written, and the new observations up to it.
    pub buckets: Vec<(String, f64)>,
    /// How often it went backwards.
    pub resets: u32,
}

impl HistogramStats {
    /// Mean of the new observations.
    pub fn avg(&self) -> Option<f64> {
        (self.count > 0.0).then(|| self.sum / self.count)
    }
}

/// Figures of a series.
#[derive(Clone, PartialEq, Debug)]
pub enum Stats {
    /// Of a gauge, or of what has no type.
    Gauge(GaugeStats),
    /// Of a counter.
    Counter(CounterStats),
    /// Of a histogram.
    Histogram(HistogramStats),
}

/// Figures of one slice.
#[derive(Clone, PartialEq, Debug)]
pub enum SliceStats {
    /// Mean, smallest, largest.
    Gauge([f64; 3]),
    /// Growth, and its rate.
    Counter([f64; 2]),
    /// New observations, their sum, and those up to each bound as written.
    Histogram(f64, f64, Vec<(String, f64)>),
}

/// One slice.
#[derive(Clone, PartialEq, Debug)]
pub struct Slice {
    /// Its begin.
    pub start: Stamp,
    /// Its end.
    pub end: Stamp,
    /// It has the full length.
    pub complete: bool,
    /// Its figures.
    pub stats: SliceStats,
}

/// A series, reduced.
#[derive(Clone, PartialEq, Debug)]
pub struct Reduced {
    /// Over the window.
    pub stats: Stats,
    /// Over its slices, if slices are wanted.
    pub slices: Vec<Slice>,
}

/// How far series are looked into.
#[derive(Clone, Copy, Debug)]
pub struct Detail {
    /// Length of a time slice, if slices are wanted.
    pub slice: Option<Span>,
    /// Observations that the percentiles of a histogram are estimated from at most.
    pub observations: f64,
}

impl Detail {
    /// Observations of all histograms together.
    const ALL: f64 = 3_000_000.0;
    /// More are never needed for one.
    const MOST: f64 = 100_000.0;
    /// Fewer give no percentiles.
    const LEAST: f64 = 500.0;

    /// Where so many histograms are reduced together, so that their work is bounded.
    pub fn among(histograms: usize, slice: Option<Span>) -> Self {
        let each = Self::ALL / histograms.max(1) as f64;
        Self {
            slice,
            observations: each.clamp(Self::LEAST, Self::MOST),
        }
    }
}

/// How often a series went backwards in a window.
pub(super) fn resets(history: &History, kind: Kind, series: &Series, window: Window) -> u32 {
    match (&series.points, kind) {
        (Points::Scalar(points), Kind::Counter) => growth(history, points, window).resets,
        (Points::Scalar(_), _) => 0,
        (Points::Buckets(buckets), _) => {
            let (reference, rest) = reference(history, &buckets.points, |point| point.at, window);
            let first = match reference {
                Reference::Value(point) => Some(point),
                Reference::Zero | Reference::First => None,
            };
            let all: Vec<&BucketPoint> = first.into_iter().chain(rest).collect();
            let backwards = |pair: &&[&BucketPoint]| match pair {
                [before, now] => has_shrunk(now, before),
                _ => false,
            };
            all.windows(2).filter(backwards).count() as u32
        }
    }
}

fn has_shrunk(now: &BucketPoint, before: &BucketPoint) -> bool {
    let mut pairs = now.buckets.iter().zip(&before.buckets);
    now.count < before.count || pairs.any(|(now, before)| now < before)
}

/// Reduces a series; `None` if nothing of it belongs to the window.
pub fn reduce(
    history: &History,
    kind: Kind,
    series: &Series,
    window: Window,
    detail: Detail,
) -> Option<Reduced> {
    let slice = detail.slice;
    match (&series.points, kind) {
        (Points::Scalar(points), Kind::Counter) => {
            if !is_in(series, window) {
                return None;
            }
            let growth = growth(history, points, window);
            Some(counter(&growth, window, slice))
        }
        (Points::Scalar(points), _) => gauge(points, window, slice),
        (Points::Buckets(buckets), _) => {
            if !is_in(series, window) {
                return None;
            }
            Some(histogram(history, buckets, window, detail))
        }
    }
}

/// Whether a scrape of the window has seen the series.
fn is_in(series: &Series, window: Window) -> bool {
    let first = match &series.points {
        Points::Scalar(points) => points.first().map(|(at, _)| *at),
        Points::Buckets(buckets) => buckets.points.first().map(|point| point.at),
    };
    series.last_seen >= window.start && first.is_some_and(|first| first <= window.until)
}

fn gauge(points: &[(Stamp, f64)], window: Window, slice: Option<Span>) -> Option<Reduced> {
    let inside = |from: Stamp, to: Stamp, last: bool| {
        let within = move |at: Stamp| at >= from && (at < to || (last && at == to));
        points
            .iter()
            .filter(move |(at, _)| within(*at))
            .map(|(_, value)| *value)
    };
    let mut values: Vec<f64> = inside(window.start, window.end, true).collect();
    let seen = values.len();
    values.sort_unstable_by(f64::total_cmp);
    let (min, max) = (*values.first()?, *values.last()?);
    let [avg, std] = mean_and_deviation(&values);
    let stats = Stats::Gauge(GaugeStats {
        avg,
        min,
        max,
        std,
        percentiles: linear_percentiles(&values),
    });
    let slices = slice.filter(|_| seen >= 2).map_or(Vec::new(), |length| {
        let slices = window.slices(length).into_iter();
        slices
            .filter_map(|(start, end, complete)| {
                let values: Vec<f64> = inside(start, end, end == window.end).collect();
                let min = values.iter().copied().reduce(f64::min)?;
                let max = values.iter().copied().reduce(f64::max)?;
                let [avg, _] = mean_and_deviation(&values);
                Some(Slice {
                    start,
                    end,
                    complete,
                    stats: SliceStats::Gauge([avg, min, max]),
                })
            })
            .collect()
    });
    Some(Reduced { stats, slices })
}

/// The growth of a counter since the window's begin: instants with all growth so far.
pub(super) struct Growth<T> {
    pub points: Vec<(Stamp, T)>,
    pub resets: u32,
}

impl<T> Growth<T> {
    /// The growth up to an instant.
    pub(super) fn by(&self, at: Stamp) -> Option<&T> {
        let after = self.points.partition_point(|(seen, _)| *seen <= at);
        Some(&self.points.get(after.checked_sub(1)?)?.1)
    }
}

/// What a series grows from: its last value at or before the begin; nothing if it is not there yet
/// although the endpoint was looked at (it is counted from 0 then); its first value if nobody
/// looked before it.
enum Reference<T> {
    Value(T),
    Zero,
    First,
}

fn reference<'a, T>(
    history: &History,
    points: &'a [T],
    at: impl Fn(&T) -> Stamp,
    window: Window,
) -> (Reference<&'a T>, &'a [T]) {
    let after = points.partition_point(|point| at(point) <= window.start);
    let end = points
        .partition_point(|point| at(point) <= window.until)
        .max(after);
    let rest = points.get(after..end).unwrap_or_default();
    let reference = match after.checked_sub(1).and_then(|last| points.get(last)) {
        Some(value) => Reference::Value(value),
        None if history.looked_by(window.start) => Reference::Zero,
        None => Reference::First,
    };
    (reference, rest)
}

/// The growth of a counter. A value below the one before is a restart: what it shows is new.
pub(super) fn growth(history: &History, points: &[(Stamp, f64)], window: Window) -> Growth<f64> {
    let (reference, rest) = reference(history, points, |point| point.0, window);
    let mut last = match reference {
        Reference::Value((_, value)) => *value,
        Reference::Zero => 0.0,
        Reference::First => rest.first().map_or(0.0, |(_, value)| *value),
    };
    let mut growth = Growth {
        points: vec![(window.start, 0.0)],
        resets: 0,
    };
    let mut total = 0.0;
    for &(at, value) in rest {
        if value < last {
            growth.resets += 1;
            last = 0.0;
        }
        total += value - last;
        last = value;
        growth.points.push((at, total));
    }
    growth
}

fn counter(growth: &Growth<f64>, window: Window, slice: Option<Span>) -> Reduced {
    let total = growth.points.last().map_or(0.0, |(_, total)| *total);
    let per_second = |amount: f64, seconds: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
    let slices: Vec<Slice> = slice.map_or(Vec::new(), |length| {
        let slices = window.slices(length).into_iter();
        slices
            .map(|(start, end, complete)| {
                let by = |at| growth.by(at).copied().unwrap_or(0.0);
                let amount = by(end) - by(start);
                let rate = per_second(amount, end.since(start).as_secs_f64());
                Slice {
                    start,
                    end,
                    complete,
                    stats: SliceStats::Counter([amount, rate]),
                }
            })
            .collect()
    });
    let rates: Vec<f64> = slices
        .iter()
        .filter(|slice| slice.complete)
        .filter_map(|slice| match slice.stats {
            SliceStats::Counter([_, rate]) => Some(rate),
            _ => None,
        })
        .collect();
    let least = rates.iter().copied().reduce(f64::min);
    let most = rates.iter().copied().reduce(f64::max);
    let slice_rates = least.zip(most).map(|(least, most)| {
        let [avg, std] = mean_and_deviation(&rates);
        [avg, least, most, std]
    });
    Reduced {
        stats: Stats::Counter(CounterStats {
            total,
            rate: per_second(total, window.seconds()),
            slice_rates,
            resets: growth.resets,
        }),
        slices,
    }
}

/// The growth of a histogram: observations, their sum, and the observations up to each bound.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Grown {
    pub count: f64,
    pub sum: f64,
    pub buckets: Vec<f64>,
}

impl Grown {
    fn of(point: &BucketPoint) -> Self {
        Self {
            count: point.count,
            sum: point.sum,
            buckets: point.buckets.clone(),
        }
    }

    fn zero(buckets: usize) -> Self {
        Self {
            count: 0.0,
            sum: 0.0,
            buckets: vec![0.0; buckets],
        }
    }

    fn has_shrunk_since(&self, before: &Self) -> bool {
        let mut pairs = self.buckets.iter().zip(&before.buckets);
        self.count < before.count || pairs.any(|(now, before)| now < before)
    }

    fn minus(&self, other: &Self) -> Self {
        let buckets = self.buckets.iter().zip(&other.buckets);
        Self {
            count: self.count - other.count,
            sum: self.sum - other.sum,
            buckets: buckets.map(|(a, b)| a - b).collect(),
        }
    }

    fn plus(&self, other: &Self) -> Self {
        let buckets = self.buckets.iter().zip(&other.buckets);
        Self {
            count: self.count + other.count,
            sum: self.sum + other.sum,
            buckets: buckets.map(|(a, b)| a + b).collect(),
        }
    }

    fn with_bounds(&self, les: &[String]) -> Vec<(String, f64)> {
        les.iter()
            .cloned()
            .zip(self.buckets.iter().copied())
            .collect()
    }
}

/// As [`growth`], of a histogram.
pub(super) fn bucket_growth(history: &History, buckets: &Buckets, window: Window) -> Growth<Grown> {
    let width = buckets.les.len();
    let (reference, rest) = reference(history, &buckets.points, |point| point.at, window);
    let mut last = match reference {
        Reference::Value(point) => Grown::of(point),
        Reference::Zero => Grown::zero(width),
        Reference::First => rest.first().map_or_else(|| Grown::zero(width), Grown::of),
    };
    let mut total = Grown::zero(width);
    let mut growth = Growth {
        points: vec![(window.start, total.clone())],
        resets: 0,
    };
    for point in rest {
        let now = Grown::of(point);
        if now.has_shrunk_since(&last) {
            growth.resets += 1;
            last = Grown::zero(width);
        }
        total = total.plus(&now.minus(&last));
        last = now;
        growth.points.push((point.at, total.clone()));
    }
    growth
}

fn histogram(history: &History, series: &Buckets, window: Window, detail: Detail) -> Reduced {
    let growth = bucket_growth(history, series, window);
    let width = series.les.len();
    let zero = Grown::zero(width);
    let total = growth.points.last().map_or(&zero, |(_, total)| total);
    let (count, sum) = (total.count.max(0.0), total.sum.max(0.0));
    let learned = learned(&growth, width);
    let seconds = window.seconds();
    let per_second = |amount: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
    let known = (&*series.bounds, &*total.buckets, &*learned);
    let estimates = estimate::percentiles(known, count, sum, detail.observations);
    let slices = detail.slice.map_or(Vec::new(), |length| {
        let slices = window.slices(length).into_iter();
        slices
            .map(|(start, end, complete)| {
                let by = |at| growth.by(at).unwrap_or(&zero);
                let grown = by(end).minus(by(start));
                let buckets = grown.with_bounds(&series.les);
                Slice {
                    start,
                    end,
                    complete,
                    stats: SliceStats::Histogram(grown.count, grown.sum, buckets),
                }
            })
            .collect()
    });
    Reduced {
        stats: Stats::Histogram(HistogramStats {
            count,
            sum,
            count_rate: per_second(count),
            sum_rate: per_second(sum),
            percentiles: estimates,
            buckets: total.with_bounds(&series.les),
            resets: growth.resets,
        }),
        slices,
    }
}

/// What the steps between scrapes give away of each bucket.
fn learned(growth: &Growth<Grown>, width: usize) -> Vec<Learned> {
    let steps = growth.points.windows(2).filter_map(|pair| match pair {
        [(_, before), (_, after)] => {
            let step = after.minus(before);
            let mut below = 0.0;
            let counts = step.buckets.iter().map(|&up_to| {
                let here = up_to - below;
                below = up_to;
                here
            });
            Some((counts.collect::<Vec<f64>>(), step.sum))
        }
        _ => None,
    });
    estimate::learn(width, steps)
}

/// Mean and sample standard deviation; the latter 0 of one value.
pub fn mean_and_deviation(values: &[f64]) -> [f64; 2] {
    let n = values.len() as f64;
    if values.is_empty() {
        return [0.0; 2];
    }
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let deviation = if n > 1.0 {
        (squares / (n - 1.0)).sqrt()
    } else {
        0.0
    };
    [mean, deviation]
}

/// Linear percentiles of ascending values, at least one.
pub(crate) fn linear_percentiles(sorted: &[f64]) -> [f64; 9] {
    let last = sorted.len().saturating_sub(1);
    let at = |index: usize| sorted.get(index.min(last)).copied().unwrap_or_default();
    PERCENTILES.map(|q| {
        let rank = f64::from(q) / 100.0 * last as f64;
        let below = rank.floor() as usize;
        at(below) + (rank - below as f64) * (at(below + 1) - at(below))
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::super::Scrape;
    use super::super::text::Labels;
    use super::*;

    fn at(seconds: f64) -> Stamp {
        Stamp::from_nanos((seconds * 1e9) as u64)
    }

    fn history(pages: &[(f64, &str)]) -> History {
        let mut history = History::default();
        for (seconds, text) in pages {
            let text =
                format!("# TYPE c_total counter\n# TYPE g gauge\n# TYPE h histogram\n{text}\n");
            let scrape = Scrape::read([at(*seconds); 3], text.as_bytes(), None).unwrap();
            history.add(&scrape, true);
        }
        history
    }

    /// From second 10 to second 20; scrapes up to second 22 count for totals.
    const WINDOW: Window = Window {
        start: Stamp::from_nanos(10_000_000_000),
        end: Stamp::from_nanos(20_000_000_000),
        until: Stamp::from_nanos(22_000_000_000),
    };

    fn reduced(history: &History, name: &str, labels: &[(&str, &str)]) -> Option<Reduced> {
        let labels: Labels = labels
            .iter()
            .map(|(a, b)| ((*a).into(), (*b).into()))
            .collect();
        let metric = &history.metrics[name];
        let slice = Some(Span::from_millis(4_000));
        reduce(
            history,
            metric.kind,
            &metric.series[&labels],
            WINDOW,
            Detail::among(1, slice),
        )
    }

    fn counter_of(history: &History, labels: &[(&str, &str)]) -> CounterStats {
        match reduced(history, "c_total", labels).unwrap().stats {
            Stats::Counter(stats) => stats,
            other => panic!("{other:?}"),
        }
    }

    fn histogram_of(history: &History) -> (HistogramStats, Vec<Slice>) {
        let reduced = reduced(history, "h", &[]).unwrap();
        match reduced.stats {
            Stats::Histogram(stats) => (stats, reduced.slices),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_counter_with_a_reset() {
        let pages = [
            (5.0, "c_total 90"),
            (9.0, "c_total 100"),
            (12.0, "c_total 130"),
            // Restarted: of what it counted from 130 on, only these 7 are known.
            (15.0, "c_total 7"),
            (18.0, "c_total 27"),
            (21.0, "c_total 37"),
            (30.0, "c_total 999"),
        ];
        let stats = counter_of(&history(&pages), &[]);
        assert_eq!((stats.total, stats.resets), (30.0 + 7.0 + 20.0 + 10.0, 1));
        // 67 over the window's ten seconds, not over the time between scrapes.
        assert_eq!(stats.rate, 6.7);
        // Whole slices: 10-14 with 30, 14-18 with 7 + 20; the third has two seconds only.
        let [avg, min, max, std] = stats.slice_rates.unwrap();
        assert_eq!((min, max, avg), (6.75, 7.5, 7.125));
        assert!((std - 0.530_330_085_889_910_6).abs() < 1e-12, "{std}");
    }

    #[test]
    fn a_missing_scrape_costs_nothing_of_a_counter() {
        let pages = [
            (9.0, "c_total 1"),
            (19.0, "c_total 11"),
            (19.5, "g 1"),
            (21.0, "c_total 12"),
        ];
        let history = history(&pages);
        let reduced = reduced(&history, "c_total", &[]).unwrap();
        let Stats::Counter(stats) = &reduced.stats else {
            panic!()
        };
        assert_eq!((stats.total, stats.resets), (11.0, 0));
        let slices: Vec<_> = reduced
            .slices
            .iter()
            .map(|s| (s.stats.clone(), s.complete))
            .collect();
        let of = |total, rate| SliceStats::Counter([total, rate]);
        assert_eq!(
            slices,
            [
                (of(0.0, 0.0), true),
                (of(0.0, 0.0), true),
                (of(10.0, 5.0), false)
            ]
        );
    }

    #[test]
    fn a_label_that_appears_late_is_counted_from_nothing() {
        let pages = [
            (9.0, "c_total{r=\"stop\"} 5"),
            (15.0, "c_total{r=\"stop\"} 6\nc_total{r=\"abort\"} 3"),
            (21.0, "c_total{r=\"stop\"} 6\nc_total{r=\"abort\"} 4"),
        ];
        let looked_before = history(&pages);
        assert_eq!(counter_of(&looked_before, &[("r", "abort")]).total, 4.0);
        assert_eq!(counter_of(&looked_before, &[("r", "stop")]).total, 1.0);
        // Nobody looked before the window: what was there before is not known.
        let looked_late = history(&pages[1..]);
        assert_eq!(counter_of(&looked_late, &[("r", "abort")]).total, 1.0);
    }

    #[test]
    fn a_series_outside_the_window_gives_none() {
        let before = history(&[(5.0, "c_total 1\ng 1")]);
        assert_eq!(reduced(&before, "c_total", &[]), None);
        assert_eq!(reduced(&before, "g", &[]), None);
        let after = history(&[(23.0, "c_total 1\ng 1")]);
        assert_eq!(reduced(&after, "c_total", &[]), None);
        assert_eq!(reduced(&after, "g", &[]), None);
    }

    #[test]
    fn gauges_are_taken_within_the_window_only() {
        let pages = [
            (9.0, "g 100"),
            (10.0, "g 1"),
            (13.0, "g 2"),
            (14.0, "g 4"),
            (16.0, "g NaN"),
            (20.0, "g 5"),
            (21.0, "g 0"),
        ];
        let reduced = reduced(&history(&pages), "g", &[]).unwrap();
        let Stats::Gauge(stats) = &reduced.stats else {
            panic!()
        };
        assert_eq!((stats.avg, stats.min, stats.max), (3.0, 1.0, 5.0));
        // Squares 4 + 1 + 1 + 4 over three.
        assert!((stats.std - (10.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!((stats.percentiles[4], stats.percentiles[3]), (3.0, 1.75));
        let slices: Vec<_> = reduced
            .slices
            .iter()
            .map(|slice| slice.stats.clone())
            .collect();
        assert_eq!(
            slices,
            [
                SliceStats::Gauge([1.5, 1.0, 2.0]),
                SliceStats::Gauge([4.0, 4.0, 4.0]),
                SliceStats::Gauge([5.0, 5.0, 5.0]),
            ]
        );
        assert!(!reduced.slices[2].complete);
    }

    #[test]
    fn one_look_has_no_spread_and_no_slices() {
        let reduced = reduced(&history(&[(12.0, "g 7")]), "g", &[]).unwrap();
        let Stats::Gauge(stats) = &reduced.stats else {
            panic!()
        };
        assert_eq!((stats.std, stats.percentiles), (0.0, [7.0; 9]));
        assert!(reduced.slices.is_empty());
    }

    fn page(counts: [u32; 2], sum: f64) -> String {
        let mut text = String::new();
        let [first, all] = counts;
        let _ = write!(
            text,
            "h_bucket{{le=\"1\"}} {first}\nh_bucket{{le=\"+Inf\"}} {all}\nh_sum {sum}\nh_count {all}"
        );
        text
    }

    #[test]
    fn a_histogram_over_the_window() {
        let (a, b, c) = (page([2, 2], 1.0), page([6, 6], 3.4), page([6, 6], 3.4));
        let (stats, slices) = histogram_of(&history(&[(9.0, &a), (13.0, &b), (21.0, &c)]));
        assert_eq!((stats.count, stats.count_rate), (4.0, 0.4));
        assert!((stats.sum - 2.4).abs() < 1e-12 && (stats.avg().unwrap() - 0.6).abs() < 1e-12);
        assert_eq!(
            stats.buckets,
            [("1".to_owned(), 4.0), ("+Inf".to_owned(), 4.0)]
        );
        // As in the estimator's own test: all four in one bucket, centred on 0.6.
        assert!((stats.percentiles.unwrap()[4] - 0.6).abs() < 1e-9);
        let counts: Vec<_> = slices
            .iter()
            .map(|slice| match slice.stats {
                SliceStats::Histogram(count, ..) => count,
                _ => panic!(),
            })
            .collect();
        assert_eq!(counts, [4.0, 0.0, 0.0]);
    }

    #[test]
    fn a_histogram_with_a_reset() {
        let (a, b, c) = (page([5, 9], 20.0), page([1, 2], 3.0), page([2, 4], 7.0));
        let (stats, _) = histogram_of(&history(&[(9.0, &a), (13.0, &b), (21.0, &c)]));
        assert_eq!((stats.count, stats.sum, stats.resets), (4.0, 7.0, 1));
        assert_eq!(
            stats.buckets,
            [("1".to_owned(), 2.0), ("+Inf".to_owned(), 4.0)]
        );
    }

    #[test]
    fn a_histogram_with_the_open_bucket_only() {
        let text = |count: u32| {
            format!(
                "h_bucket{{le=\"+Inf\"}} {count}\nh_sum {}\nh_count {count}",
                f64::from(count) / 2.0
            )
        };
        let (a, b) = (text(4), text(10));
        let (stats, _) = histogram_of(&history(&[(9.0, &a), (15.0, &b)]));
        assert_eq!((stats.count, stats.sum, stats.avg()), (6.0, 3.0, Some(0.5)));
        assert_eq!(stats.percentiles, None, "nothing bounds them");
        assert_eq!(stats.buckets, [("+Inf".to_owned(), 6.0)]);
    }

    #[test]
    fn a_histogram_without_observations() {
        let a = page([2, 2], 1.0);
        let (stats, _) = histogram_of(&history(&[(9.0, &a), (15.0, &a)]));
        assert_eq!(
            (stats.count, stats.avg(), stats.percentiles),
            (0.0, None, None)
        );
    }
}
