//! `server_metrics_export.json`, schema 1.1.

use pinfire_base::clock::Stamp;
use serde_json::{Map, Value, json};

use super::{PERCENTILES, Row, ServerMetrics, Watched, local_time};
use crate::export::input_config;
use crate::facts::RunFacts;
use crate::scrape::reduce::{Reduced, Slice, SliceStats, Stats, Window, mean_and_deviation};
use crate::scrape::server_kinds::Levels;

pub(super) fn of(metrics: &ServerMetrics, facts: &RunFacts) -> Map<String, Value> {
    let mut document = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            document.insert(key.to_owned(), value);
        }
    };
    put("schema_version", "1.1".into());
    put("aiperf_version", facts.version.as_str().into());
    put("tool_version", format!("pinfire {}", facts.version).into());
    put("benchmark_id", facts.benchmark_id.as_str().into());
    put("summary", summary(metrics, facts));
    put("metrics_phase", "profiling".into());
    put("metrics", all(metrics, facts, metrics.window));
    if let Some(window) = metrics.warmup {
        put("warmup_metrics", all(metrics, facts, window));
    }
    let checks: Vec<Value> = metrics
        .endpoints
        .iter()
        .filter_map(|endpoint| check(endpoint, metrics.window))
        .collect();
    if !checks.is_empty() {
        put("cancellation_check", checks.into());
    }
    let warnings = metrics.warnings();
    if !warnings.is_empty() {
        put("warnings", warnings.into());
    }
    put("input_config", input_config::of(facts).into());
    document
}

pub(super) fn of_phase(metrics: &ServerMetrics, facts: &RunFacts, phase: &str) -> Option<Value> {
    let window = match phase {
        "warmup" => metrics.warmup?,
        _ => metrics.window,
    };
    let urls: Vec<&str> = metrics.endpoints.iter().map(|e| e.url.as_str()).collect();
    Some(json!({
        "endpoints_successful": urls,
        "metrics_phase": phase,
        "metrics": all(metrics, facts, window),
    }))
}

fn summary(metrics: &ServerMetrics, facts: &RunFacts) -> Value {
    let unix = |at| facts.anchor.unix_nanos(at);
    let urls: Vec<&str> = metrics.endpoints.iter().map(|e| e.url.as_str()).collect();
    let range =
        |window: Window| json!({"start_ns": unix(window.start), "end_ns": unix(window.end)});
    let mut ranges = Map::new();
    ranges.insert("profiling".into(), range(metrics.window));
    if let Some(window) = metrics.warmup {
        ranges.insert("warmup".into(), range(window));
    }
    let info = metrics.endpoints.iter().filter_map(|endpoint| {
        let info = endpoint_info(endpoint, &unix)?;
        Some((endpoint.url.clone(), info))
    });
    let info: Map<String, Value> = info.collect();
    // The looks behind the totals, so that AIPerf's own window can be computed from the file too.
    let looks = metrics.endpoints.iter().flat_map(|e| &e.history.looks);
    let inside = looks.map(|look| look.at);
    let inside = inside.filter(|at| *at >= metrics.window.start && *at <= metrics.window.until);
    let last = inside.max().unwrap_or(metrics.window.end);
    json!({
        "endpoints_configured": urls,
        "endpoints_successful": urls,
        "start_time": local_time(facts, metrics.window.start),
        "end_time": local_time(facts, metrics.window.end),
        "endpoint_info": info,
        "phase_time_ranges": ranges,
        "scrape_window": {"start_ns": unix(metrics.window.start), "end_ns": unix(last)},
    })
}

fn endpoint_info(endpoint: &Watched, unix: &impl Fn(Stamp) -> u64) -> Option<Value> {
    let looks = &endpoint.history.looks;
    let (first, last) = (looks.first()?, looks.last()?);
    let latencies: Vec<f64> = looks
        .iter()
        .map(|look| look.latency.as_millis_f64())
        .collect();
    let updates: Vec<Stamp> = looks.iter().filter(|l| l.changed).map(|l| l.at).collect();
    let mut gaps: Vec<f64> = updates
        .windows(2)
        .filter_map(|pair| Some(pair.last()?.since(*pair.first()?).as_millis_f64()))
        .collect();
    gaps.sort_unstable_by(f64::total_cmp);
    let [latency, _] = mean_and_deviation(&latencies);
    let [gap, _] = mean_and_deviation(&gaps);
    let [.., median, _, _, _, _] = super::super::reduce::linear_percentiles(&gaps);
    let (first_update, last_update) = (updates.first()?, updates.last()?);
    Some(json!({
        "total_fetches": looks.len(),
        "first_fetch_ns": unix(first.at),
        "last_fetch_ns": unix(last.at),
        "avg_fetch_latency_ms": latency,
        "unique_updates": updates.len(),
        "first_update_ns": unix(*first_update),
        "last_update_ns": unix(*last_update),
        "duration_seconds": last.at.since(first.at).as_secs_f64(),
        "avg_update_interval_ms": gap,
        "median_update_interval_ms": median,
    }))
}

fn all(metrics: &ServerMetrics, facts: &RunFacts, window: Window) -> Value {
    let rows = metrics.rows(window).into_iter();
    let rows = rows.map(|(name, row)| (name, metric(&row, facts)));
    Value::Object(rows.collect())
}

fn metric(row: &Row<'_>, facts: &RunFacts) -> Value {
    let mut map = Map::new();
    map.insert("type".into(), row.kind.name().into());
    map.insert("description".into(), row.help.into());
    if let Some(unit) = row.unit {
        map.insert("unit".into(), unit.into());
    }
    let series = row.series.iter().map(|(endpoint, labels, reduced)| {
        let mut map = Map::new();
        map.insert("endpoint_url".into(), endpoint.url.as_str().into());
        if !labels.is_empty() {
            let labels = labels.iter().cloned();
            let labels = labels.map(|(name, value)| (name, value.into()));
            map.insert("labels".into(), Value::Object(labels.collect()));
        }
        put_stats(&mut map, reduced);
        if !reduced.slices.is_empty() {
            let slices = reduced.slices.iter().map(|each| slice(each, facts));
            map.insert("timeslices".into(), slices.collect());
        }
        Value::Object(map)
    });
    map.insert("series".into(), series.collect());
    map.into()
}

fn put_stats(map: &mut Map<String, Value>, reduced: &Reduced) {
    let mut stats = Map::new();
    let mut put = |key: &str, value: f64| {
        if value.is_finite() {
            stats.insert(key.to_owned(), value.into());
        }
    };
    match &reduced.stats {
        Stats::Gauge(gauge) => {
            put("avg", gauge.avg);
            put("min", gauge.min);
            put("max", gauge.max);
            put("std", gauge.std);
            for (key, value) in PERCENTILES.into_iter().zip(gauge.percentiles) {
                put(key, value);
            }
        }
        Stats::Counter(counter) => {
            put("total", counter.total);
            put("rate", counter.rate);
            let keys = ["rate_avg", "rate_min", "rate_max", "rate_std"];
            for (key, value) in keys
                .into_iter()
                .zip(counter.slice_rates.into_iter().flatten())
            {
                put(key, value);
            }
        }
        Stats::Histogram(histogram) => {
            put("count", histogram.count);
            if let Some(avg) = histogram.avg() {
                put("sum", histogram.sum);
                put("avg", avg);
                put("count_rate", histogram.count_rate);
                put("sum_rate", histogram.sum_rate);
            }
            let estimates = histogram.percentiles.into_iter().flatten();
            for (key, value) in PERCENTILES.into_iter().zip(estimates) {
                put(&format!("{key}_estimate"), value);
            }
        }
    }
    if let Stats::Histogram(histogram) = &reduced.stats {
        // A count is whole.
        stats.insert("count".into(), (histogram.count as u64).into());
        map.insert("stats".into(), stats.into());
        map.insert("buckets".into(), buckets(&histogram.buckets));
    } else {
        map.insert("stats".into(), stats.into());
    }
}

fn buckets(buckets: &[(String, f64)]) -> Value {
    let whole = buckets
        .iter()
        .map(|(le, count)| (le.clone(), (*count as u64).into()));
    Value::Object(whole.collect())
}

fn slice(slice: &Slice, facts: &RunFacts) -> Value {
    let mut map = Map::new();
    map.insert(
        "start_ns".into(),
        facts.anchor.unix_nanos(slice.start).into(),
    );
    map.insert("end_ns".into(), facts.anchor.unix_nanos(slice.end).into());
    let mut put = |key: &str, value: f64| {
        map.insert(key.to_owned(), value.into());
    };
    match &slice.stats {
        SliceStats::Gauge([avg, min, max]) => {
            put("avg", *avg);
            put("min", *min);
            put("max", *max);
        }
        SliceStats::Counter([total, rate]) => {
            put("total", *total);
            put("rate", *rate);
        }
        SliceStats::Histogram(count, sum, by_bound) => {
            put("count", *count);
            put("sum", *sum);
            if *count > 0.0 {
                put("avg", sum / count);
            }
            map.insert("count".into(), (*count as u64).into());
            map.insert("buckets".into(), buckets(by_bound));
        }
    }
    if !slice.complete {
        map.insert("is_complete".into(), false.into());
    }
    map.into()
}

/// What the known metrics say about requests that were hung up on. Only differences between instants
/// at rest are meant to be read; `valid_at_rest` says whether the server was at rest at both ends.
fn check(endpoint: &Watched, window: Window) -> Option<Value> {
    let server = endpoint.server.as_deref()?;
    let before = endpoint
        .levels
        .iter()
        .rev()
        .find(|(at, _)| *at <= window.start);
    let (_, before) = before.or_else(|| endpoint.levels.first())?;
    let inside = endpoint
        .levels
        .iter()
        .rev()
        .find(|(at, _)| *at <= window.until);
    let (_, last) = inside?;
    let grown = |of: fn(&Levels) -> Option<f64>| Some((of(last)? - of(before)?).max(0.0));
    let at_rest = endpoint
        .levels
        .iter()
        .find(|(at, levels)| *at >= window.end && levels.held() == Some(0.0));
    let mut map = Map::new();
    map.insert("endpoint_url".into(), endpoint.url.as_str().into());
    map.insert("server".into(), server.into());
    let mut put = |key: &str, value: Option<f64>| {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            map.insert(key.to_owned(), value.into());
        }
    };
    put("aborted", grown(|levels| levels.aborted));
    put("abort_counter", grown(|levels| levels.abort_counter));
    put("completed", grown(|levels| levels.completed));
    put(
        "aborted_prompt_tokens",
        grown(|levels| levels.wasted_prompt_tokens),
    );
    put(
        "aborted_output_tokens",
        grown(|levels| levels.wasted_output_tokens),
    );
    put("preemptions", grown(|levels| levels.preemptions));
    put("running_at_end", last.running);
    put("waiting_at_end", last.waiting);
    put("kv_used_at_end", last.kv_used);
    put(
        "at_rest_after_ms",
        at_rest.map(|(at, _)| at.since(window.end).as_millis_f64()),
    );
    if let Some(formula) = &endpoint.aborted_formula {
        map.insert("aborted_formula".into(), formula.as_str().into());
    }
    let rest = before.held() == Some(0.0) && last.held() == Some(0.0);
    map.insert("valid_at_rest".into(), rest.into());
    Some(map.into())
}
