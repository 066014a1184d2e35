//! `profile_export_aiperf.json`: a fixed head, a fixed list of metrics, the run, all other metrics.
//!
//! Blocks of our own (`cancellation`, `client_health`, `request_accounting`) come last, so that no
//! key of AIPerf moves.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pinfire_base::clock::Stamp;
use pinfire_base::health::{CoreHealth, Durations};
use pinfire_base::record::Leave;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::PER_GPU_UNIT;
use super::input_config;
use super::phases::PhaseView;
use crate::collect::ErrorGroup;
use crate::facts::RunFacts;
use crate::reclaim::ReclaimReport;
use crate::report::health::distributions;
use crate::report::{Block, Cancellation, Finished, Report};
use crate::scrape::gpu;
use crate::stats::Figures;

/// The metrics before the run's data, in this order.
const HEAD: [&str; 25] = [
    "request_throughput",
    "request_latency",
    "request_count",
    "time_to_first_token",
    "time_to_second_token",
    "inter_token_latency",
    "output_token_throughput",
    "output_token_throughput_per_user",
    "output_sequence_length",
    "input_sequence_length",
    "goodput",
    "good_request_count",
    "output_token_count",
    "reasoning_token_count",
    "min_request_timestamp",
    "max_response_timestamp",
    "inter_chunk_latency",
    "total_output_tokens",
    "total_reasoning_tokens",
    "benchmark_duration",
    "total_isl",
    "total_osl",
    "error_request_count",
    "error_isl",
    "total_error_isl",
];

/// The file's bytes: two spaces of indent, no newline at the end.
pub(super) fn of(report: &Report) -> Vec<u8> {
    // Into memory, with text keys only: nothing to fail.
    serde_json::to_vec_pretty(&document(report)).unwrap_or_default()
}

/// What stands of the summary before the first request.
pub(super) fn of_start(facts: &RunFacts) -> Vec<u8> {
    let mut document = head(facts);
    document.insert("input_config".into(), input_config::of(facts).into());
    document.insert("run_info".into(), run_info(facts));
    serde_json::to_vec_pretty(&document).unwrap_or_default()
}

fn head(facts: &RunFacts) -> Map<String, Value> {
    let texts = [
        ("schema_version", "1.4".to_owned()),
        ("aiperf_version", facts.version.clone()),
        ("tool_version", format!("pinfire {}", facts.version)),
        ("benchmark_id", facts.benchmark_id.clone()),
    ];
    let head = texts.map(|(key, text)| (key.to_owned(), text.into()));
    head.into_iter().collect()
}

/// The metrics that stand before the run's data.
fn head_metrics(document: &mut Map<String, Value>, blocks: &[Block]) {
    for tag in HEAD {
        if let Some(found) = blocks.iter().find(|block| block.metric.tag == tag) {
            document.insert(tag.to_owned(), block(found));
        }
    }
}

/// All others, in order of computation.
fn other_metrics(document: &mut Map<String, Value>, blocks: &[Block]) {
    let others = blocks.iter().filter(|b| !HEAD.contains(&b.metric.tag));
    document.extend(others.map(|other| (other.metric.tag.to_owned(), block(other))));
}

/// The summary of one phase by itself.
pub(super) fn of_phase(report: &Report, phase: &PhaseView<'_>) -> Vec<u8> {
    let facts = &report.facts;
    let mut document = head(facts);
    head_metrics(&mut document, phase.blocks);
    let config = Value::Object(input_config::of(facts));
    let told = |key: &str| facts.told.as_ref()?.summary.get(key).cloned();
    let window = phase.window;
    let parts = [
        ("input_config", told("input_config").unwrap_or(config)),
        (
            "run_info",
            told("run_info").unwrap_or_else(|| run_info(facts)),
        ),
        ("was_cancelled", phase.interrupted.is_some().into()),
        ("is_complete", phase.interrupted.is_none().into()),
        ("incomplete_reason", phase.interrupted.into()),
        ("error_summary", error_summary(phase.errors)),
        ("start_time", local_time(report, Some(window.start))),
        ("end_time", local_time(report, window.end)),
    ];
    let parts = parts.into_iter().filter(|(_, value)| !value.is_null());
    document.extend(parts.map(|(key, value)| (key.to_owned(), value)));
    other_metrics(&mut document, phase.blocks);
    serde_json::to_vec_pretty(&document).unwrap_or_default()
}

fn document(report: &Report) -> Map<String, Value> {
    let facts = &report.facts;
    let mut document = head(facts);
    head_metrics(&mut document, &report.blocks);
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            document.insert(key.to_owned(), value);
        }
    };
    let told_gpus = facts.told.as_ref().map(|told| &told.summary);
    match &report.outside.gpu {
        Some(gpu) => put("telemetry_data", gpu.json(facts)),
        None => {
            let told = told_gpus.and_then(|told| told.get("telemetry_data"));
            put("telemetry_data", told.cloned().unwrap_or_default());
        }
    }
    // What a report from files cannot know better than the run's own summary.
    let told = |key: &str| {
        let told = facts.told.as_ref()?;
        Some(told.summary.get(key).cloned().unwrap_or_default())
    };
    let told_or = |key: &str, else_of: Value| match told(key) {
        Some(Value::Null) | None => else_of,
        Some(value) => value,
    };
    put("input_config", input_config::shown(facts));
    put("run_info", told_or("run_info", run_info(facts)));
    put("was_cancelled", report.end.interrupted.is_some().into());
    put("is_complete", report.end.interrupted.is_none().into());
    put("incomplete_reason", report.end.interrupted.clone().into());
    put("error_summary", error_summary(&report.errors));
    if let Some(window) = report.end.profiling {
        put(
            "start_time",
            told_or("start_time", local_time(report, Some(window.start))),
        );
        put(
            "end_time",
            told_or("end_time", local_time(report, window.end)),
        );
    }
    if !report.warmup.is_empty() {
        let blocks = report
            .warmup
            .iter()
            .map(|b| (b.metric.tag.to_owned(), block(b)));
        put("warmup_metrics", Value::Object(blocks.collect()));
    }
    other_metrics(&mut document, &report.blocks);
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            document.insert(key.to_owned(), value);
        }
    };
    for (key, value) in told_gpus.into_iter().flatten() {
        if gpu::bare(key).is_some() {
            put(key, value.clone());
        }
    }
    for metric in &report.outside.energy {
        put(
            &metric.tag,
            json!({"unit": metric.unit, "avg": metric.value}),
        );
    }
    put("per_gpu", per_gpu(report));
    if let Some(cancelled) = &report.cancellation {
        put("cancellation", cancellation(cancelled, report.coarse));
    }
    put(
        "release",
        report
            .release
            .as_ref()
            .map_or_else(|| told("release").unwrap_or_default(), ReclaimReport::brief),
    );
    if report.coarse {
        let note = json!({
            "exact_records": facts.exact_records,
            "percentile_digits": 3,
            "curve_bin_sec": crate::metric::curve::BIN as f64 / 1e9,
        });
        put("approximation", note);
    }
    put(
        "client_health",
        told("client_health").unwrap_or_else(|| client_health(report)),
    );
    put(
        "request_accounting",
        told_or("request_accounting", accounting(report)),
    );
    document
}

pub(super) fn block(block: &Block) -> Value {
    Value::Object(figures(block.metric.shown.name(), &block.figures))
}

/// A metric block: figures that do not exist are left out.
fn figures(unit: &str, figures: &Figures) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("unit".into(), unit.into());
    let mut put = |key: String, value: Option<f64>| {
        if let Some(value) = value.filter(|v| v.is_finite()) {
            map.insert(key, value.into());
        }
    };
    put("avg".into(), figures.avg);
    for (q, value) in &figures.percentiles {
        put(format!("p{q}"), Some(*value));
    }
    put("min".into(), figures.min);
    put("max".into(), figures.max);
    put("std".into(), figures.std);
    if let Some(count) = figures.count {
        map.insert("count".into(), count.into());
    }
    if let Some(sum) = figures.sum {
        map.insert("sum".into(), sum.into());
    }
    map
}

fn run_info(facts: &RunFacts) -> Value {
    let mut info = Map::new();
    let mut put = |key: &str, value: Value| info.insert(key.to_owned(), value);
    put("benchmark_id", facts.benchmark_id.as_str().into());
    if let Some(part) = &facts.part {
        put("sweep_id", part.sweep_id.as_str().into());
    }
    if let Some(seed) = facts.random_seed {
        put("random_seed", seed.into());
    }
    put(
        "trial",
        facts.part.as_ref().map_or(0, |part| part.trial).into(),
    );
    if let Some(part) = &facts.part {
        put("run_label", part.run_label.as_str().into());
        if !part.variation_label.is_empty() {
            put("variation_label", part.variation_label.as_str().into());
            put("variation_index", part.variation_index.into());
            put("variation_values", part.variation_values.clone().into());
        }
    }
    put("cli_command", facts.cli_command.as_str().into());
    Value::Object(info)
}

#[derive(Serialize)]
struct SummaryRow<'a> {
    error_details: &'a crate::reading::Problem,
    count: u64,
}

pub(super) fn error_summary(errors: &[ErrorGroup]) -> Value {
    let rows: Vec<SummaryRow> = errors
        .iter()
        .map(|group| SummaryRow {
            error_details: &group.problem,
            count: group.count,
        })
        .collect();
    serde_json::to_value(rows).unwrap_or_else(|_| json!([]))
}

/// Local time to the microsecond, without a zone, as AIPerf writes it.
fn local_time(report: &Report, at: Option<Stamp>) -> Value {
    let nanos = at.map(|at| i128::from(report.facts.anchor.unix_nanos(at)));
    let time = nanos.and_then(|nanos| Timestamp::from_nanosecond(nanos).ok());
    let text = time.map(|time| {
        let local = time.to_zoned(TimeZone::system());
        local.strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string()
    });
    text.into()
}

fn cancellation(cancelled: &Cancellation, coarse: bool) -> Value {
    let mut map = Map::new();
    map.insert("rate_asked".into(), cancelled.asked.rate_pct.into());
    if let Some(reached) = cancelled.reached_pct {
        map.insert("rate_reached".into(), reached.into());
    }
    map.insert("chosen".into(), cancelled.chosen.into());
    map.insert("cancelled".into(), cancelled.cancelled.into());
    map.insert("finished_first".into(), cancelled.finished_first.into());
    map.insert("failed_first".into(), cancelled.failed_first.into());
    map.insert("trigger".into(), cancelled.asked.trigger.as_str().into());
    map.insert("mode".into(), cancelled.asked.mode.name().into());
    let asked = cancelled.asked.delay;
    map.insert("delay_asked".into(), asked.to_string().into());
    if let Some(wave) = cancelled.asked.wave {
        map.insert("wave_s".into(), wave.as_secs_f64().into());
    }
    // Of a distribution, its mean.
    let delay_ms = asked.mean().as_millis_f64();
    map.insert("delay_asked_ms".into(), delay_ms.into());
    if let Some(achieved) = &cancelled.achieved_ms {
        map.insert("achieved_delay".into(), figures("ms", achieved).into());
    }
    if let Some(error) = &cancelled.error_us {
        map.insert("delay_error".into(), figures("us", error).into());
    }
    let stages = cancelled.stages.iter();
    let stages = stages.map(|(stage, count)| (stage.name().to_owned(), (*count).into()));
    map.insert("phases".into(), Value::Object(stages.collect()));
    let all = cancelled.cancelled;
    if all > 0 {
        let share = |count: u64| Value::from(100.0 * count as f64 / all as f64);
        let stages = cancelled.stages.iter();
        let shares = stages.map(|(stage, count)| (stage.name().to_owned(), share(*count)));
        map.insert("phases_pct".into(), Value::Object(shares.collect()));
        let stages = cancelled.stages.iter();
        let missed = stages.filter(|(_, count)| *count == 0);
        let missed: Vec<Value> = missed.map(|(stage, _)| stage.name().into()).collect();
        map.insert("phases_not_covered".into(), missed.into());
    }
    if cancelled.asked.mode == Leave::HalfClose {
        let after = cancelled.after.iter();
        let after = after.map(|(after, count)| (after.name().to_owned(), (*count).into()));
        map.insert("after_half_close".into(), Value::Object(after.collect()));
    }
    let before = [
        ("events_received", "count", &cancelled.events),
        ("tokens_received", "tokens", &cancelled.tokens),
    ];
    for (key, unit, of) in before {
        if let Some(of) = of {
            map.insert(key.into(), figures(unit, of).into());
        }
    }
    map.insert(
        "connections_closed".into(),
        cancelled.connections_closed.into(),
    );
    let neighbours = &cancelled.neighbours;
    let neighbours = json!({
        "overlapping": finished(&neighbours.overlapping),
        "apart": finished(&neighbours.apart),
    });
    // Of too many requests it is not kept who was whose neighbour.
    if !coarse {
        map.insert("neighbours".into(), neighbours);
    }
    map.into()
}

/// Finished requests beside those that were cancelled.
fn finished(of: &Finished) -> Value {
    let mut map = Map::new();
    map.insert("requests".into(), of.requests.into());
    let latencies = [
        ("time_to_first_token", &of.ttft_ms),
        ("inter_token_latency", &of.itl_ms),
    ];
    for (tag, latency) in latencies {
        if let Some(latency) = latency {
            map.insert(tag.into(), figures("ms", latency).into());
        }
    }
    map.into()
}

/// Throughputs per GPU (`--num-gpus`); additive.
fn per_gpu(report: &Report) -> Value {
    let Some(gpus) = report.facts.num_gpus else {
        return Value::Null;
    };
    let mut map = Map::new();
    map.insert("num_gpus".into(), gpus.into());
    for (metric, value) in report.per_gpu() {
        let scalar = json!({"unit": PER_GPU_UNIT, "avg": value});
        map.insert(metric.tag.into(), scalar);
    }
    map.into()
}

fn client_health(report: &Report) -> Value {
    let health = &report.health;
    let mut map = lateness(&health.merged);
    map.insert("slow_connects".into(), health.merged.slow_connects.into());
    let mut concurrency = Map::new();
    if let Some(asked) = report.facts.profiling.concurrency {
        concurrency.insert("asked".into(), asked.into());
    }
    if let Some(held) = &health.held {
        concurrency.insert("held_avg".into(), held.avg.into());
        concurrency.insert("held_max".into(), held.max.into());
        concurrency.insert("window_sec".into(), held.window_s.into());
    }
    map.insert("concurrency".into(), concurrency.into());
    map.insert(
        "client_was_bottleneck".into(),
        health.is_bottleneck().into(),
    );
    map.insert("reasons".into(), health.reasons.clone().into());
    if !report.facts.driver.is_empty() {
        map.insert("driver".into(), report.facts.driver.as_str().into());
    }
    let cores: Vec<Value> = report.end.cores.iter().map(core).collect();
    map.insert("cores".into(), cores.into());
    map.into()
}

fn core(core: &CoreHealth) -> Value {
    let mut map = Map::new();
    if let Some(cpu) = core.cpu {
        map.insert("cpu".into(), cpu.into());
    }
    map.extend(lateness(core));
    let numbers = [
        ("cpu_time_sec", core.cpu_time.as_secs_f64()),
        ("wall_time_sec", core.wall_time.as_secs_f64()),
    ];
    map.extend(numbers.map(|(key, value)| (key.to_owned(), value.into())));
    let counts = [
        ("receives", core.receives),
        ("events", core.events),
        ("connects", core.connects),
        ("slow_connects", core.slow_connects),
        ("stale_closed", core.stale_closed),
    ];
    map.extend(counts.map(|(key, value)| (key.to_owned(), value.into())));
    map.into()
}

fn lateness(core: &CoreHealth) -> Map<String, Value> {
    distributions(core)
        .map(|(name, durations)| (name.to_owned(), microseconds(durations)))
        .into_iter()
        .collect()
}

fn microseconds(durations: &Durations) -> Value {
    let us = |q: f64| durations.percentile(q).nanos() as f64 / 1e3;
    if durations.count() == 0 {
        return json!({"unit": "us", "count": 0});
    }
    json!({
        "unit": "us",
        "count": durations.count(),
        "p50": us(50.0),
        "p90": us(90.0),
        "p99": us(99.0),
        "max": durations.max().nanos() as f64 / 1e3,
    })
}

fn accounting(report: &Report) -> Value {
    let counts = &report.accounting;
    let mut map = Map::new();
    let numbers = [
        ("due", counts.due),
        ("sent", counts.sent),
        ("completed", counts.valid + counts.errors),
        ("valid", counts.valid),
        ("errors", counts.errors),
        ("cancelled_by_plan", counts.cancelled_by_plan),
        ("dropped_at_end", counts.dropped_at_end),
    ];
    map.extend(numbers.map(|(key, value)| (key.to_owned(), value.into())));
    if let Some(seconds) = counts.phase_duration_s {
        map.insert("phase_duration_sec".into(), seconds.into());
    }
    map.insert("agrees".into(), counts.agrees().into());
    if !counts.agrees() {
        map.insert("differences".into(), counts.differences.clone().into());
    }
    map.into()
}
