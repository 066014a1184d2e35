//! `server_metrics_export.json`, schema 1.1.

use pinfire_artifacts::server::{
    CancellationCheck, EndpointInfo, MetricSeries, ScrapeSummary, Series, SeriesSlice,
    ServerMetricsFile, ServerPhaseMetrics, TimeRange,
};
use pinfire_artifacts::summary::Head;
use pinfire_artifacts::{Carried, Ordered, finite};
use pinfire_base::clock::{Stamp, WallAnchor};
use serde_json::Number;

use super::{Ends, PERCENTILES, Row, ServerMetrics, Watched, local_time};
use crate::Run;
use crate::reduce::{Reduced, Slice, SliceStats, Stats, Window, mean_and_deviation};

pub(super) fn of(metrics: &ServerMetrics, run: &Run) -> ServerMetricsFile {
    let checks = metrics.endpoints.iter();
    ServerMetricsFile {
        head: Head::ours("1.1", &run.version, &run.benchmark_id),
        summary: summary(metrics, &run.anchor),
        metrics_phase: "profiling".to_owned(),
        metrics: all(metrics, &run.anchor, metrics.window),
        warmup_metrics: metrics
            .warmup
            .map(|window| all(metrics, &run.anchor, window)),
        cancellation_check: checks
            .filter_map(|endpoint| check(endpoint, metrics.window))
            .collect(),
        warnings: metrics.warnings(),
        input_config: Some(Carried::new(run.input_config.clone())),
    }
}

pub(super) fn of_phase(
    metrics: &ServerMetrics,
    anchor: &WallAnchor,
    phase: &str,
) -> Option<ServerPhaseMetrics> {
    let window = match phase {
        "warmup" => metrics.warmup?,
        _ => metrics.window,
    };
    Some(ServerPhaseMetrics {
        endpoints_successful: urls(metrics),
        metrics_phase: phase.to_owned(),
        metrics: all(metrics, anchor, window),
    })
}

fn urls(metrics: &ServerMetrics) -> Vec<String> {
    metrics.endpoints.iter().map(|e| e.url.clone()).collect()
}

fn summary(metrics: &ServerMetrics, anchor: &WallAnchor) -> ScrapeSummary {
    let unix = |at| anchor.unix_nanos(at);
    let range = |start, end| TimeRange {
        start_ns: unix(start),
        end_ns: unix(end),
    };
    let window = metrics.window;
    let mut ranges = Ordered::default();
    ranges.insert("profiling".to_owned(), range(window.start, window.end));
    if let Some(warmup) = metrics.warmup {
        ranges.insert("warmup".to_owned(), range(warmup.start, warmup.end));
    }
    let info = metrics.endpoints.iter().filter_map(|endpoint| {
        let info = endpoint_info(endpoint, &unix)?;
        Some((endpoint.url.clone(), info))
    });
    // The scrapes behind the totals, so that AIPerf's own window can be computed from the file too.
    let scrapes = metrics.endpoints.iter().flat_map(|e| &e.history.scrapes);
    let inside = scrapes.map(|scrape| scrape.at);
    let inside = inside.filter(|at| *at >= window.start && *at <= window.until);
    let last = inside.max().unwrap_or(window.end);
    ScrapeSummary {
        endpoints_configured: urls(metrics),
        endpoints_successful: urls(metrics),
        start_time: local_time(anchor, window.start),
        end_time: local_time(anchor, window.end),
        endpoint_info: info.collect(),
        phase_time_ranges: ranges,
        scrape_window: range(window.start, last),
    }
}

fn endpoint_info(endpoint: &Watched, unix: &impl Fn(Stamp) -> u64) -> Option<EndpointInfo> {
    let scrapes = &endpoint.history.scrapes;
    let (first, last) = (scrapes.first()?, scrapes.last()?);
    let latencies: Vec<f64> = scrapes
        .iter()
        .map(|scrape| scrape.latency.as_millis_f64())
        .collect();
    let updates: Vec<Stamp> = scrapes.iter().filter(|l| l.changed).map(|l| l.at).collect();
    let mut gaps: Vec<f64> = updates
        .windows(2)
        .filter_map(|pair| Some(pair.last()?.since(*pair.first()?).as_millis_f64()))
        .collect();
    gaps.sort_unstable_by(f64::total_cmp);
    let [latency, _] = mean_and_deviation(&latencies);
    let [gap, _] = mean_and_deviation(&gaps);
    let [.., median, _, _, _, _] = super::super::reduce::linear_percentiles(&gaps);
    let (first_update, last_update) = (updates.first()?, updates.last()?);
    Some(EndpointInfo {
        total_fetches: scrapes.len(),
        first_fetch_ns: unix(first.at),
        last_fetch_ns: unix(last.at),
        avg_fetch_latency_ms: Some(latency),
        unique_updates: updates.len(),
        first_update_ns: unix(*first_update),
        last_update_ns: unix(*last_update),
        duration_seconds: last.at.since(first.at).as_secs_f64(),
        avg_update_interval_ms: Some(gap),
        median_update_interval_ms: Some(median),
    })
}

fn all(metrics: &ServerMetrics, anchor: &WallAnchor, window: Window) -> Ordered<MetricSeries> {
    let rows = metrics.rows(window).into_iter();
    rows.map(|(name, row)| (name, metric(&row, anchor)))
        .collect()
}

fn metric(row: &Row<'_>, anchor: &WallAnchor) -> MetricSeries {
    let series = row.series.iter().map(|(endpoint, labels, reduced)| Series {
        endpoint_url: endpoint.url.clone(),
        labels: labels.iter().cloned().collect(),
        stats: stats(reduced),
        buckets: match &reduced.stats {
            Stats::Histogram(histogram) => Some(buckets(&histogram.buckets)),
            Stats::Gauge(_) | Stats::Counter(_) => None,
        },
        timeslices: reduced
            .slices
            .iter()
            .map(|each| slice(each, anchor))
            .collect(),
    });
    MetricSeries {
        kind: row.kind.name().to_owned(),
        description: row.help.to_owned(),
        unit: row.unit.map(str::to_owned),
        series: series.collect(),
    }
}

fn stats(reduced: &Reduced) -> Ordered<Number> {
    let mut stats = Ordered::default();
    let mut put = |key: &str, value: f64| {
        if let Some(value) = finite(value) {
            stats.insert(key.to_owned(), value);
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
            // A count is whole.
            stats.insert("count".to_owned(), (histogram.count as u64).into());
        }
    }
    stats
}

fn buckets(buckets: &[(String, f64)]) -> Ordered<u64> {
    let whole = buckets.iter();
    whole
        .map(|(le, count)| (le.clone(), *count as u64))
        .collect()
}

fn slice(slice: &Slice, anchor: &WallAnchor) -> SeriesSlice {
    let mut stats = Ordered::default();
    let mut put = |key: &str, value: f64| {
        if let Some(value) = finite(value) {
            stats.insert(key.to_owned(), value);
        }
    };
    let mut by_bound = None;
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
        SliceStats::Histogram(count, sum, bounds) => {
            put("count", *count);
            put("sum", *sum);
            if *count > 0.0 {
                put("avg", sum / count);
            }
            stats.insert("count".to_owned(), (*count as u64).into());
            by_bound = Some(buckets(bounds));
        }
    }
    SeriesSlice {
        start_ns: anchor.unix_nanos(slice.start),
        end_ns: anchor.unix_nanos(slice.end),
        stats,
        buckets: by_bound,
        is_complete: (!slice.complete).then_some(false),
    }
}

/// What the known metrics say about requests that were hung up on. Only differences between
/// instants at rest are meant to be read; `valid_at_rest` says whether the server was at rest at
/// both ends, and whether no counter has begun anew in between.
fn check(endpoint: &Watched, window: Window) -> Option<CancellationCheck> {
    let server = endpoint.server.as_deref()?;
    let ends = endpoint.ends(window)?;
    let Ends { before, last } = &ends;
    let at_rest = endpoint
        .levels
        .iter()
        .find(|(at, levels)| *at >= window.end && levels.held() == Some(0.0));
    let mut levels = Ordered::default();
    let mut put = |key: &str, value: Option<f64>| {
        if let Some(value) = value.and_then(finite) {
            levels.insert(key.to_owned(), value);
        }
    };
    put("aborted", ends.grown(|levels| levels.aborted));
    put("abort_counter", ends.grown(|levels| levels.abort_counter));
    put("completed", ends.grown(|levels| levels.completed));
    put(
        "aborted_prompt_tokens",
        ends.grown(|levels| levels.wasted_prompt_tokens),
    );
    put(
        "aborted_output_tokens",
        ends.grown(|levels| levels.wasted_output_tokens),
    );
    put("preemptions", ends.grown(|levels| levels.preemptions));
    put("running_at_end", last.running);
    put("waiting_at_end", last.waiting);
    put("kv_used_at_end", last.kv_used);
    put(
        "at_rest_after_ms",
        at_rest.map(|(at, _)| at.since(window.end).as_millis_f64()),
    );
    let restarts = last.restarts - before.restarts;
    // What shows later than at the begin was not there then.
    let was_at_rest = before.held().unwrap_or(0.0) == 0.0;
    Some(CancellationCheck {
        endpoint_url: endpoint.url.clone(),
        server: server.to_owned(),
        levels,
        aborted_formula: endpoint.aborted_formula.clone(),
        counter_restarts: (restarts > 0).then_some(restarts),
        valid_at_rest: was_at_rest && last.held() == Some(0.0) && restarts == 0,
    })
}
