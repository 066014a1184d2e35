//! What an endpoint has shown so far: each series with the instants at which it was seen.
//!
//! Gauges keep every scrape. Counters and histograms keep the scrapes at which they changed: in
//! between they are what they were.

use std::collections::BTreeMap;

use pinfire_base::clock::{Span, Stamp};

use super::Scrape;
use super::dropped::Dropped;
use super::text::{Histogram, Kind, Labels, Value};

/// Series that are kept of one page over a run. A page of 64 engines has some 4,000.
pub const MAX_SERIES: usize = 10_000;
/// Buckets that are kept of a histogram; its counts are cumulative, so those that stay are right.
pub const MAX_BUCKETS: usize = 1_000;
/// Numbers that are kept of one page, some 64 MB. An hour of one vLLM server, three scrapes a
/// second, has as many; beyond, every second sample of each series is given up.
const MAX_NUMBERS: usize = 8_000_000;
/// Scrapes whose time and latency are kept; beyond, those that follow are counted only.
const MAX_SCRAPES: usize = 1_000_000;

/// When a scrape was made, how long it took, and whether it found another page.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ScrapeNote {
    /// The instant that its values stand for.
    pub at: Stamp,
    /// From the question to the whole answer.
    pub latency: Span,
    /// The page was another one than before.
    pub changed: bool,
}

/// A histogram's series: its bounds as first seen, and its changes.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Buckets {
    /// Bounds as written.
    pub les: Vec<String>,
    /// Bounds.
    pub bounds: Vec<f64>,
    /// The changes, in order.
    pub points: Vec<BucketPoint>,
    /// Buckets that it has besides, of which nothing is kept.
    left_out: usize,
    /// Other bounds were seen later; these were left out.
    pub other_bounds: bool,
}

/// A histogram at one instant.
#[derive(Clone, PartialEq, Debug)]
pub struct BucketPoint {
    /// When.
    pub at: Stamp,
    /// Observations so far.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// Cumulative, in the order of the bounds.
    pub buckets: Vec<f64>,
}

/// The values of a series.
#[derive(Clone, PartialEq, Debug)]
pub enum Points {
    /// Gauge: every scrape. Counter: every change.
    Scalar(Vec<(Stamp, f64)>),
    /// Histogram: every change.
    Buckets(Buckets),
}

/// A label set of a metric.
#[derive(Clone, PartialEq, Debug)]
pub struct Series {
    /// Its values.
    pub points: Points,
    /// The last scrape at which it was there.
    pub last_seen: Stamp,
}

/// All series of a name.
#[derive(Clone, PartialEq, Debug)]
pub struct Metric {
    /// How they are meant.
    pub kind: Kind,
    /// The help text.
    pub help: String,
    /// By their labels.
    pub series: BTreeMap<Labels, Series>,
}

/// All that an endpoint has shown.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct History {
    /// Every scrape that showed something.
    pub scrapes: Vec<ScrapeNote>,
    /// By the names that the samples have.
    pub metrics: BTreeMap<String, Metric>,
    /// Metrics with NaN or infinite values, which were left out.
    pub not_finite: Dropped,
    /// Lines that made no sense, over all scrapes.
    pub bad_lines: usize,
    /// Samples of series that are too many to be kept, over all scrapes.
    pub dropped_series: Dropped,
    /// Buckets of histograms that have too many.
    pub dropped_buckets: Dropped,
    /// Samples that were given up for want of room.
    pub dropped_samples: Dropped,
    /// Series that are kept.
    series: usize,
    /// Numbers that they hold, about.
    numbers: usize,
}

impl History {
    /// Takes in a scrape; `changed` tells whether the page is another one than the last. A scrape
    /// that is older than the last one is left out.
    pub fn add(&mut self, scrape: &Scrape, changed: bool) {
        let at = scrape.at;
        if self.scrapes.last().is_some_and(|last| last.at >= at) {
            return;
        }
        if self.scrapes.len() >= MAX_SCRAPES || self.numbers > MAX_NUMBERS {
            self.dropped_samples.add("scrapes", 1);
            return;
        }
        let latency = scrape.latency();
        self.scrapes.push(ScrapeNote {
            at,
            latency,
            changed,
        });
        let exposition = &scrape.exposition;
        self.bad_lines += exposition.bad_lines;
        self.not_finite.add_all(&exposition.not_finite);
        self.dropped_series.add_all(&exposition.dropped);
        for family in &exposition.families {
            let metric = match self.metrics.get_mut(&family.name) {
                Some(metric) => metric,
                None if self.series >= MAX_SERIES => {
                    let left_out = family.points.len() as u64;
                    self.dropped_series.add(&family.name, left_out);
                    continue;
                }
                None => self
                    .metrics
                    .entry(family.name.clone())
                    .or_insert_with(|| Metric {
                        kind: family.kind,
                        help: family.help.clone(),
                        series: BTreeMap::new(),
                    }),
            };
            for point in &family.points {
                match metric.series.get_mut(&point.labels) {
                    Some(series) => self.numbers += series.add(metric.kind, at, &point.value),
                    None if self.series >= MAX_SERIES => {
                        self.dropped_series.add(&family.name, 1);
                    }
                    None => {
                        let (series, numbers) = Series::new(at, &point.value);
                        self.dropped_buckets
                            .add_some(&family.name, series.left_out());
                        metric.series.insert(point.labels.clone(), series);
                        self.series += 1;
                        self.numbers += numbers;
                    }
                }
            }
        }
        while self.numbers > MAX_NUMBERS && self.thin_out() {}
    }

    /// Gives up every second sample of each series, but for the first and the last; false if there
    /// is none to give up.
    fn thin_out(&mut self) -> bool {
        let before = self.numbers;
        self.numbers = 0;
        for (name, metric) in &mut self.metrics {
            for series in metric.series.values_mut() {
                let counter = metric.kind == Kind::Counter;
                let given_up = match &mut series.points {
                    Points::Scalar(points) => halved(points, |a, b| counter && b.1 < a.1),
                    Points::Buckets(buckets) => {
                        halved(&mut buckets.points, |a, b| b.count < a.count)
                    }
                };
                self.dropped_samples.add_some(name, given_up);
                self.numbers += series.numbers();
            }
        }
        self.numbers < before
    }

    /// Whether there was a scrape at or before an instant.
    pub fn looked_by(&self, at: Stamp) -> bool {
        self.scrapes.first().is_some_and(|first| first.at <= at)
    }
}

/// Takes every second one out, but for the first, the last, and both sides of a restart; how many.
pub(super) fn halved<T>(points: &mut Vec<T>, restarts: impl Fn(&T, &T) -> bool) -> usize {
    let before = points.len();
    let steps: Vec<bool> = points
        .windows(2)
        .map(|pair| matches!(pair, [a, b] if restarts(a, b)))
        .collect();
    let mut place = 0;
    points.retain(|_| {
        let here: usize = place;
        place += 1;
        let restart = |step: Option<usize>| step.is_some_and(|at| steps.get(at) == Some(&true));
        here.is_multiple_of(2)
            || place == before
            || restart(Some(here))
            || restart(here.checked_sub(1))
    });
    before - points.len()
}

impl Series {
    /// With its first value; and how many numbers it holds.
    fn new(at: Stamp, value: &Value) -> (Self, usize) {
        let points = match value {
            Value::Scalar(value) => Points::Scalar(vec![(at, *value)]),
            Value::Histogram(histogram) => {
                let mut buckets = Buckets::of(histogram);
                buckets.add(at, histogram);
                Points::Buckets(buckets)
            }
        };
        let series = Self {
            points,
            last_seen: at,
        };
        let numbers = series.numbers();
        (series, numbers)
    }

    /// Numbers that a time slice of it has.
    pub fn width(&self) -> usize {
        match &self.points {
            Points::Scalar(_) => SCALAR,
            Points::Buckets(buckets) => buckets.bounds.len() + SCALAR,
        }
    }

    fn left_out(&self) -> usize {
        match &self.points {
            Points::Scalar(_) => 0,
            Points::Buckets(buckets) => buckets.left_out,
        }
    }

    fn numbers(&self) -> usize {
        match &self.points {
            Points::Scalar(points) => points.len() * SCALAR,
            Points::Buckets(buckets) => buckets.points.len() * buckets.numbers(),
        }
    }

    /// Adds a value; how many numbers that has taken.
    fn add(&mut self, kind: Kind, at: Stamp, value: &Value) -> usize {
        self.last_seen = at;
        match (&mut self.points, value) {
            (Points::Scalar(points), Value::Scalar(value)) => {
                let same = points.last().is_some_and(|(_, last)| last == value);
                let kept = kind != Kind::Counter || !same;
                if kept {
                    points.push((at, *value));
                }
                SCALAR * usize::from(kept)
            }
            (Points::Buckets(buckets), Value::Histogram(histogram)) => buckets.add(at, histogram),
            // A name that has become another type: what it was stays.
            _ => 0,
        }
    }
}

/// Numbers of a scalar at one instant.
const SCALAR: usize = 2;

impl Buckets {
    /// The bounds of a histogram, or as many as are kept, evenly spread and with the last one.
    fn of(histogram: &Histogram) -> Self {
        let all = histogram.buckets.len();
        let step = all.div_ceil(MAX_BUCKETS).max(1);
        let kept = |place: &usize| all - 1 - place;
        let places = (0..all).filter(|place| kept(place).is_multiple_of(step));
        let buckets = places.filter_map(|place| histogram.buckets.get(place));
        let (les, bounds): (Vec<_>, Vec<_>) = buckets
            .map(|bucket| (bucket.le.clone(), bucket.bound))
            .unzip();
        Self {
            left_out: all - bounds.len(),
            les,
            bounds,
            ..Self::default()
        }
    }

    /// Numbers of it at one instant.
    const fn numbers(&self) -> usize {
        self.bounds.len() + 6
    }

    /// Adds a histogram; how many numbers that has taken. Both are in the order of their bounds.
    fn add(&mut self, at: Stamp, histogram: &Histogram) -> usize {
        let mut counts = vec![0.0; self.bounds.len()];
        let mut places = self.bounds.iter().zip(&mut counts).peekable();
        for bucket in &histogram.buckets {
            while places
                .next_if(|(bound, _)| **bound < bucket.bound)
                .is_some()
            {}
            match places.next_if(|(bound, _)| **bound == bucket.bound) {
                Some((_, count)) => *count = bucket.count,
                // Of a histogram with more buckets than are kept, others are no news.
                None => self.other_bounds |= self.left_out == 0,
            }
        }
        let point = BucketPoint {
            at,
            count: histogram.count,
            sum: histogram.sum,
            buckets: counts,
        };
        let same = self.points.last().is_some_and(|last| {
            last.count == point.count && last.sum == point.sum && last.buckets == point.buckets
        });
        if same {
            return 0;
        }
        self.points.push(point);
        self.numbers()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Stamp {
        Stamp::from_nanos(seconds * 1_000_000_000)
    }

    fn add(history: &mut History, seconds: u64, text: &str) {
        let scrape = Scrape::read([at(seconds); 3], text.as_bytes(), None).unwrap();
        history.add(&scrape, true);
    }

    #[test]
    fn gauges_keep_every_look_and_counters_their_changes() {
        let mut history = History::default();
        for (seconds, value) in [(1, 5), (2, 5), (3, 6), (3, 9)] {
            let text = format!("# TYPE c counter\nc_total {value}\n# TYPE g gauge\ng {value}\n");
            add(
                &mut history,
                seconds,
                &text.replace("c counter", "c_total counter"),
            );
        }
        assert_eq!(
            history.scrapes.len(),
            3,
            "two scrapes at one instant are one"
        );
        let points = |name: &str| match &history.metrics[name].series[&Labels::new()].points {
            Points::Scalar(points) => points.clone(),
            Points::Buckets(_) => panic!(),
        };
        assert_eq!(points("g"), [(at(1), 5.0), (at(2), 5.0), (at(3), 6.0)]);
        assert_eq!(points("c_total"), [(at(1), 5.0), (at(3), 6.0)]);
        assert_eq!(
            history.metrics["c_total"].series[&Labels::new()].last_seen,
            at(3)
        );
    }

    #[test]
    fn a_histogram_keeps_the_bounds_it_began_with() {
        let mut history = History::default();
        let head = "# TYPE h histogram\n";
        let later = "h_bucket{le=\"2\"} 7\nh_bucket{le=\"+Inf\"} 8\nh_sum 9\nh_count 8\n";
        add(
            &mut history,
            1,
            &format!("{head}h_bucket{{le=\"1\"}} 1\nh_bucket{{le=\"+Inf\"}} 2\n"),
        );
        add(&mut history, 2, &format!("{head}{later}"));
        let Points::Buckets(buckets) = &history.metrics["h"].series[&Labels::new()].points else {
            panic!()
        };
        assert_eq!(buckets.les, ["1", "+Inf"]);
        assert!(buckets.other_bounds);
        assert_eq!(buckets.points[1].buckets, [0.0, 8.0]);
        assert_eq!((buckets.points[1].count, buckets.points[1].sum), (8.0, 9.0));
    }

    #[test]
    fn of_very_many_buckets_some_are_kept_and_the_rest_counted() {
        let page = |times: usize| {
            let mut text = String::from("# TYPE h histogram\n");
            for le in 1..=20_000 {
                text += &format!("h_bucket{{le=\"{le}\"}} {}\n", le * times);
            }
            text + &format!(
                "h_bucket{{le=\"+Inf\"}} {0}\nh_count {0}\nh_sum 1\n",
                20_000 * times
            )
        };
        let mut history = History::default();
        for seconds in [1, 2] {
            add(&mut history, seconds as u64, &page(seconds));
        }
        let Points::Buckets(buckets) = &history.metrics["h"].series[&Labels::new()].points else {
            panic!()
        };
        assert!(buckets.bounds.len() <= MAX_BUCKETS && buckets.bounds.len() > MAX_BUCKETS / 2);
        assert_eq!(buckets.bounds.last(), Some(&f64::INFINITY));
        assert!(buckets.bounds.is_sorted() && !buckets.other_bounds);
        for (bound, count) in buckets.bounds.iter().zip(&buckets.points[1].buckets) {
            assert_eq!(
                *count,
                2.0 * bound.min(20_000.0),
                "cumulative counts stay right"
            );
        }
        let left_out = 20_001 - buckets.bounds.len();
        assert_eq!(
            history.dropped_buckets.to_string(),
            format!("h ({left_out})")
        );
    }

    #[test]
    fn series_and_samples_are_bounded_and_counted() {
        let mut history = History::default();
        let names = 4 * MAX_SERIES;
        let page = |from: usize| {
            let mut text = String::from("# TYPE g gauge\n");
            for nth in from..from + names {
                text += &format!("g{{n=\"{nth}\"}} {nth}\n");
            }
            text
        };
        for seconds in [1, 2, 3] {
            add(&mut history, seconds as u64, &page(seconds * names));
        }
        let kept: usize = history.metrics.values().map(|of| of.series.len()).sum();
        assert_eq!(kept, MAX_SERIES);
        let left_out = (3 * names - MAX_SERIES) as u64;
        assert_eq!(history.dropped_series.names().next(), Some(("g", left_out)));

        let mut history = History::default();
        let mut text = String::from("# TYPE g gauge\n");
        for nth in 0..1_000 {
            text += &format!("g{{n=\"{nth}\"}} {nth}\n");
        }
        let mut scrape = Scrape::read([at(0); 3], text.as_bytes(), None).unwrap();
        let scrapes = MAX_NUMBERS / SCALAR / 1_000 + 500;
        for nth in 0..scrapes {
            scrape.at = at(1 + nth as u64);
            history.add(&scrape, true);
        }
        let series = history.metrics["g"].series.values();
        let held: usize = series.map(Series::numbers).sum();
        assert_eq!(held, history.numbers);
        assert!(held <= MAX_NUMBERS, "{held}");
        let Points::Scalar(points) = &history.metrics["g"].series.values().next().unwrap().points
        else {
            panic!()
        };
        assert_eq!(points[0].0, at(1));
        assert_eq!(points.last().unwrap().0, at(scrapes as u64));
        let given_up = history.dropped_samples.total() as usize;
        assert_eq!(given_up + held / SCALAR, 1_000 * scrapes);
    }
}
