//! What an endpoint has shown so far: each series with the instants at which it was seen.
//!
//! Gauges keep every scrape. Counters and histograms keep the scrapes at which they changed: in
//! between they are what they were.

use std::collections::BTreeMap;

use pinfire_base::clock::{Span, Stamp};

use super::Scrape;
use super::text::{Histogram, Kind, Labels, Value};

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
    pub not_finite: Vec<String>,
    /// Lines that made no sense, over all scrapes.
    pub bad_lines: usize,
}

impl History {
    /// Takes in a scrape; `changed` tells whether the page is another one than the last. A scrape
    /// that is older than the last one is left out.
    pub fn add(&mut self, scrape: &Scrape, changed: bool) {
        let at = scrape.at;
        if self.scrapes.last().is_some_and(|last| last.at >= at) {
            return;
        }
        let latency = scrape.latency();
        self.scrapes.push(ScrapeNote {
            at,
            latency,
            changed,
        });
        self.bad_lines += scrape.exposition.bad_lines;
        for name in &scrape.exposition.not_finite {
            if !self.not_finite.contains(name) {
                self.not_finite.push(name.clone());
            }
        }
        for family in &scrape.exposition.families {
            if !self.metrics.contains_key(&family.name) {
                let metric = Metric {
                    kind: family.kind,
                    help: family.help.clone(),
                    series: BTreeMap::new(),
                };
                self.metrics.insert(family.name.clone(), metric);
            }
            let Some(metric) = self.metrics.get_mut(&family.name) else {
                continue;
            };
            for point in &family.points {
                match metric.series.get_mut(&point.labels) {
                    Some(series) => series.add(metric.kind, at, &point.value),
                    None => {
                        let series = Series::new(at, &point.value);
                        metric.series.insert(point.labels.clone(), series);
                    }
                }
            }
        }
    }

    /// Whether there was a scrape at or before an instant.
    pub fn looked_by(&self, at: Stamp) -> bool {
        self.scrapes.first().is_some_and(|first| first.at <= at)
    }
}

impl Series {
    fn new(at: Stamp, value: &Value) -> Self {
        let points = match value {
            Value::Scalar(value) => Points::Scalar(vec![(at, *value)]),
            Value::Histogram(histogram) => {
                let bounds = histogram
                    .buckets
                    .iter()
                    .map(|bucket| bucket.bound)
                    .collect();
                let les = histogram.buckets.iter().map(|b| b.le.clone()).collect();
                let mut buckets = Buckets {
                    les,
                    bounds,
                    ..Buckets::default()
                };
                buckets.add(at, histogram);
                Points::Buckets(buckets)
            }
        };
        Self {
            points,
            last_seen: at,
        }
    }

    fn add(&mut self, kind: Kind, at: Stamp, value: &Value) {
        self.last_seen = at;
        match (&mut self.points, value) {
            (Points::Scalar(points), Value::Scalar(value)) => {
                let same = points.last().is_some_and(|(_, last)| last == value);
                if kind != Kind::Counter || !same {
                    points.push((at, *value));
                }
            }
            (Points::Buckets(buckets), Value::Histogram(histogram)) => buckets.add(at, histogram),
            // A name that has become another type: what it was stays.
            _ => {}
        }
    }
}

impl Buckets {
    fn add(&mut self, at: Stamp, histogram: &Histogram) {
        let mut counts = vec![0.0; self.bounds.len()];
        for bucket in &histogram.buckets {
            match self.bounds.iter().position(|bound| *bound == bucket.bound) {
                Some(place) => {
                    if let Some(count) = counts.get_mut(place) {
                        *count = bucket.count;
                    }
                }
                None => self.other_bounds = true,
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
        if !same {
            self.points.push(point);
        }
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
}
