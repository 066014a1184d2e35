//! `server_metrics_export.jsonl`: one line per look at a page that had changed, values as they
//! were.

use std::collections::HashSet;

use pinfire_artifacts::samples::{ServerLine, ServerPhase, ServerPoint};
use pinfire_artifacts::{Ordered, append};
use pinfire_base::clock::WallAnchor;
use pinfire_base::record::Phase;

use crate::Scrape;
use crate::text::{Kind, Point, Value as Shown};

/// The line, with its end. `phase` is that during which the page was asked for and its place among
/// the phases, none before the first.
pub fn line(
    url: &str,
    scrape: &Scrape,
    phase: Option<(Phase, u64)>,
    anchor: &WallAnchor,
) -> Vec<u8> {
    let names: HashSet<&str> = scrape
        .exposition
        .families
        .iter()
        .filter(|family| family.kind != Kind::Counter)
        .map(|family| family.name.as_str())
        .collect();
    let mut metrics: Ordered<Vec<ServerPoint>> = Ordered::default();
    for family in &scrape.exposition.families {
        if family.name.ends_with("_info") {
            continue;
        }
        let bare = family.name.strip_suffix("_total");
        let name = match bare {
            Some(bare) if family.kind == Kind::Counter && !names.contains(bare) => bare,
            _ => &family.name,
        };
        let points = family.points.iter().map(point);
        metrics.insert(name.to_owned(), points.collect());
    }
    let unix = |at| anchor.unix_nanos(at);
    let phase = phase.map(|(phase, index)| {
        let name = match phase {
            Phase::Warmup => "warmup",
            Phase::Profiling => "profiling",
        };
        ServerPhase {
            benchmark_phase: name.to_owned(),
            phase_index: index,
            profiling_index: (phase == Phase::Profiling).then_some(0),
            phase_name: name.to_owned(),
            phase_kind: name.to_owned(),
        }
    });
    let line = ServerLine {
        endpoint_url: url.to_owned(),
        timestamp_ns: unix(scrape.at),
        endpoint_latency_ns: scrape.latency().nanos(),
        metrics,
        request_sent_ns: unix(scrape.sent),
        first_byte_ns: unix(scrape.at),
        phase,
    };
    let mut bytes = Vec::new();
    append(&mut bytes, &line);
    bytes.push(b'\n');
    bytes
}

fn point(point: &Point) -> ServerPoint {
    let point_of = ServerPoint {
        labels: point.labels.iter().cloned().collect(),
        ..ServerPoint::default()
    };
    // What JSON has no number for is null.
    let number = |value: f64| Some(Some(value).filter(|value| value.is_finite()));
    match &point.value {
        Shown::Scalar(value) => ServerPoint {
            value: number(*value),
            ..point_of
        },
        Shown::Histogram(histogram) => {
            let buckets = histogram.buckets.iter();
            let buckets = buckets.map(|b| (b.le.clone(), number(b.count).flatten()));
            ServerPoint {
                buckets: Some(buckets.collect()),
                sum: number(histogram.sum),
                count: number(histogram.count),
                ..point_of
            }
        }
    }
}
