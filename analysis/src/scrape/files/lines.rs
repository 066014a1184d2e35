//! `server_metrics_export.jsonl`: one line per look at a page that had changed, values as they were.

use pinfire_base::clock::WallAnchor;
use pinfire_base::record::Phase;
use serde_json::{Map, Value, json};

use crate::scrape::Scrape;
use crate::scrape::text::{Kind, Value as Shown};

/// The line, with its end. `phase` is that during which the page was asked for and its place among the
/// phases, none before the first.
pub fn line(
    url: &str,
    scrape: &Scrape,
    phase: Option<(Phase, u64)>,
    anchor: &WallAnchor,
) -> Vec<u8> {
    let names: Vec<&str> = scrape
        .exposition
        .families
        .iter()
        .filter(|family| family.kind != Kind::Counter)
        .map(|family| family.name.as_str())
        .collect();
    let mut metrics = Map::new();
    for family in &scrape.exposition.families {
        if family.name.ends_with("_info") {
            continue;
        }
        let bare = family.name.strip_suffix("_total");
        let name = match bare {
            Some(bare) if family.kind == Kind::Counter && !names.contains(&bare) => bare,
            _ => &family.name,
        };
        let points = family.points.iter().map(|point| {
            let mut map = Map::new();
            if !point.labels.is_empty() {
                let labels = point.labels.iter().cloned();
                let labels = labels.map(|(name, value)| (name, value.into()));
                map.insert("labels".into(), Value::Object(labels.collect()));
            }
            match &point.value {
                Shown::Scalar(value) => {
                    map.insert("value".into(), (*value).into());
                }
                Shown::Histogram(histogram) => {
                    let buckets = histogram.buckets.iter();
                    let buckets = buckets.map(|b| (b.le.clone(), b.count.into()));
                    map.insert("buckets".into(), Value::Object(buckets.collect()));
                    map.insert("sum".into(), histogram.sum.into());
                    map.insert("count".into(), histogram.count.into());
                }
            }
            Value::Object(map)
        });
        metrics.insert(name.to_owned(), points.collect());
    }
    let unix = |at| anchor.unix_nanos(at);
    let mut line = json!({
        "endpoint_url": url,
        "timestamp_ns": unix(scrape.at),
        "endpoint_latency_ns": scrape.latency().nanos(),
        "metrics": metrics,
        "request_sent_ns": unix(scrape.sent),
        "first_byte_ns": unix(scrape.at),
    });
    if let (Some((phase, index)), Some(map)) = (phase, line.as_object_mut()) {
        let name = match phase {
            Phase::Warmup => "warmup",
            Phase::Profiling => "profiling",
        };
        map.insert("benchmark_phase".into(), name.into());
        map.insert("phase_index".into(), index.into());
        if phase == Phase::Profiling {
            map.insert("profiling_index".into(), 0.into());
        }
        map.insert("phase_name".into(), name.into());
        map.insert("phase_kind".into(), name.into());
    }
    let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}
