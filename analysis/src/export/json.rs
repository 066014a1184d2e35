//! The summary of a run, and of one of its phases, from its report.

use jiff::Timestamp;
use pinfire_artifacts::summary::{
    Accounting, Acknowledged, AddedByClient, Approximation, AskedAndReached, ClientHealth,
    CoreAccount, CpuQuota, ErrorBackoff, Finished, Head, HeldConcurrency, Lateness, Neighbours,
    Pause, Pauses, PerGpu, ReceiveStamps, RunInfo, SharedStamps, StampedReads, UnreachedAddress,
};
use pinfire_artifacts::{
    AnswerCounts, Block, Carried, ErrorCount, Ordered, Summary, UnreadableEvents, json_value,
    summary,
};
use pinfire_base::cgroup::CpuQuotaUse;
use pinfire_base::clock::{Span, Stamp};
use pinfire_base::health::{BackoffCounts, CoreHealth, Durations, Fallback, ReceiveCounts};
use pinfire_base::record::{Leave, Refusal};
use pinfire_base::zone;

use super::input_config;
use super::phases::PhaseView;
use super::words::PER_GPU_UNIT;
use crate::collect::ErrorGroup;
use crate::facts::RunFacts;
use crate::reading::os_text;
use crate::report::lateness::Added;
use crate::report::{self, Cancellation, Reached, Report};
use crate::stats::Figures;
use pinfire_scrape::gpu;

/// What stands of the summary before the first request.
pub(super) fn of_start(facts: &RunFacts) -> Summary {
    Summary {
        head: head(facts),
        input_config: Some(Carried::new(input_config::of(facts))),
        run_info: Some(Carried::new(run_info(facts))),
        ..Summary::default()
    }
}

fn head(facts: &RunFacts) -> Head {
    Head::ours("1.4", &facts.version, &facts.benchmark_id)
}

/// Metrics by tag.
pub(super) fn metrics(blocks: &[report::Block]) -> impl Iterator<Item = (String, Block)> {
    let all = blocks.iter();
    all.map(|one| (one.metric.tag.to_owned(), block(one)))
}

/// The summary of one phase by itself.
pub(super) fn of_phase(report: &Report, phase: &PhaseView<'_>) -> Summary {
    let facts = &report.facts;
    let recorded = facts.recorded.as_ref().map(|recorded| &recorded.summary);
    let told_info = recorded.and_then(|recorded| recorded.run_info.clone());
    Summary {
        head: head(facts),
        input_config: Some(input_config::shown(facts)),
        run_info: Some(told_info.unwrap_or_else(|| Carried::new(run_info(facts)))),
        was_cancelled: Some(phase.interrupted.is_some()),
        is_complete: Some(phase.interrupted.is_none()),
        incomplete_reason: phase.interrupted.map(str::to_owned),
        error_summary: Some(error_summary(phase.errors)),
        start_time: local_time(report, Some(phase.window.start)),
        end_time: local_time(report, phase.window.end),
        ..Summary::of_metrics(metrics(phase.blocks))
    }
}

/// The summary of the run.
pub(super) fn of(report: &Report) -> Summary {
    let facts = &report.facts;
    // What a report from files cannot know better than the run's own summary.
    let recorded = facts.recorded.as_ref().map(|recorded| &recorded.summary);
    let told_info = recorded.and_then(|recorded| recorded.run_info.clone());
    let told_counts = recorded.and_then(|recorded| recorded.request_accounting.clone());
    let window = report.end.profiling;
    let time = |recorded: Option<&String>, of: Option<Stamp>| {
        window.and_then(|_| recorded.cloned().or_else(|| local_time(report, of)))
    };
    let start = window.map(|window| window.start);
    let end = window.and_then(|window| window.end);
    let mut summary = Summary {
        head: head(facts),
        telemetry_data: match &report.external.gpu {
            Some(gpu) => Some(Carried::new(gpu.summary(&facts.anchor))),
            None => recorded.and_then(|recorded| recorded.telemetry_data.clone()),
        },
        input_config: Some(input_config::shown(facts)),
        run_info: Some(told_info.unwrap_or_else(|| Carried::new(run_info(facts)))),
        was_cancelled: Some(report.end.interrupted.is_some()),
        is_complete: Some(report.end.interrupted.is_none()),
        incomplete_reason: report.end.interrupted.clone(),
        error_summary: Some(error_summary(&report.errors)),
        start_time: time(
            recorded.and_then(|recorded| recorded.start_time.as_ref()),
            start,
        ),
        end_time: time(
            recorded.and_then(|recorded| recorded.end_time.as_ref()),
            end,
        ),
        warmup_metrics: Some(metrics(&report.warmup).collect())
            .filter(|_| !report.warmup.is_empty()),
        per_gpu: per_gpu(report),
        asked_and_reached: match recorded.and_then(|told| told.asked_and_reached.clone()) {
            Some(told) => Some(told),
            None => Some(report.reached.iter().map(asked_and_reached).collect())
                .filter(|_| !report.reached.is_empty()),
        },
        cancellation: report
            .cancellation
            .as_ref()
            .map(|cancelled| Carried::new(cancellation(cancelled, report.coarse))),
        release: match &report.release {
            Some(release) => Some(json_value(&release.brief())),
            None => recorded.and_then(|recorded| recorded.release.clone()),
        },
        approximation: report.coarse.then(|| Approximation {
            exact_records: facts.exact_records,
            percentile_digits: 3,
            curve_bin_sec: crate::metric::curve::BIN as f64 / 1e9,
        }),
        client_health: match recorded {
            Some(recorded) => recorded.client_health.clone(),
            None => Some(Carried::new(client_health(report))),
        },
        calibration: report.calibration().cloned(),
        request_accounting: Some(told_counts.unwrap_or_else(|| Carried::new(accounting(report)))),
        answers: answers(report),
        shards: match &report.shards {
            Some(shards) => Some(shards.clone()),
            None => recorded.and_then(|recorded| recorded.shards.clone()),
        },
        ..Summary::of_metrics(metrics(&report.blocks))
    };
    let told_metrics = recorded.into_iter().flat_map(Summary::metrics);
    for (tag, block) in told_metrics.filter(|(tag, _)| gpu::bare(tag).is_some()) {
        summary.insert(tag, block.clone());
    }
    for metric in &report.external.energy {
        summary.insert(&metric.tag, scalar(metric.unit, metric.value));
    }
    summary
}

pub(super) fn block(block: &report::Block) -> Block {
    figures(block.metric.shown.name(), &block.figures)
}

fn scalar(unit: &str, value: f64) -> Block {
    let mut block = Block::of(unit);
    block.put("avg", value);
    block
}

/// A metric block: figures that do not exist are left out.
fn figures(unit: &str, figures: &Figures) -> Block {
    let mut block = Block::of(unit);
    let mut put = |stat: &str, value: Option<f64>| {
        if let Some(value) = value {
            block.put(stat, value);
        }
    };
    put("avg", figures.avg);
    for (q, value) in &figures.percentiles {
        put(&format!("p{q}"), Some(*value));
    }
    put("min", figures.min);
    put("max", figures.max);
    put("std", figures.std);
    if let Some(count) = figures.count {
        block.put_count("count", count);
    }
    if let Some(sum) = figures.sum {
        block.put("sum", sum);
    }
    block
}

fn run_info(facts: &RunFacts) -> RunInfo {
    let part = facts.part.as_ref();
    let varied = part.filter(|part| !part.variation_label.is_empty());
    RunInfo {
        benchmark_id: Some(facts.benchmark_id.clone()),
        sweep_id: part.map(|part| part.sweep_id.clone()),
        random_seed: facts.random_seed,
        trial: part.map_or(0, |part| part.trial),
        run_label: part.map(|part| part.run_label.clone()),
        variation_label: varied.map(|part| part.variation_label.clone()),
        variation_index: varied.map(|part| part.variation_index),
        variation_values: varied.map(|part| part.variation_values.clone().into_iter().collect()),
        cli_command: Some(facts.cli_command.clone()),
    }
}

/// Groups of errors as the files have them.
pub(super) fn error_summary(errors: &[ErrorGroup]) -> Vec<ErrorCount> {
    let rows = errors.iter().map(|group| ErrorCount {
        error_details: group.problem.details().owned(),
        count: group.count,
        example: group.example.clone(),
    });
    rows.collect()
}

/// Local time to the microsecond, without a zone, as AIPerf writes it.
fn local_time(report: &Report, at: Option<Stamp>) -> Option<String> {
    let nanos = i128::from(report.facts.anchor.unix_nanos(at?));
    let time = Timestamp::from_nanosecond(nanos).ok()?;
    let local = time.to_zoned(zone::local());
    Some(local.strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string())
}

fn cancellation(cancelled: &Cancellation, coarse: bool) -> summary::Cancellation {
    let asked = &cancelled.asked;
    let all = cancelled.cancelled;
    let stages = || {
        let stages = cancelled.stages.iter();
        stages.map(|(stage, count)| (stage.name().to_owned(), *count))
    };
    let shares = stages().map(|(stage, count)| (stage, 100.0 * count as f64 / all as f64));
    let missed = stages().filter(|(_, count)| *count == 0);
    let after = cancelled.after.iter();
    let after = after.map(|(after, count)| (after.name().to_owned(), *count));
    let of = |unit: &'static str| move |of: &Figures| figures(unit, of);
    summary::Cancellation {
        rate_asked: Some(asked.rate_pct),
        rate_reached: cancelled.reached_pct,
        chosen: cancelled.chosen,
        cancelled: all,
        finished_first: cancelled.finished_first,
        failed_first: cancelled.failed_first,
        trigger: asked.trigger.to_string(),
        mode: asked.leave.name().to_owned(),
        delay_asked: asked.delay.to_string(),
        wave_s: asked.wave.map(|wave| wave.as_secs_f64()),
        delay_asked_ms: Some(asked.delay.mean().as_millis_f64()),
        achieved_delay: cancelled.achieved_ms.as_ref().map(of("ms")),
        delay_error: cancelled.error_us.as_ref().map(of("us")),
        phases: stages().collect(),
        phases_pct: (all > 0).then(|| shares.collect()),
        phases_not_covered: (all > 0).then(|| missed.map(|(stage, _)| stage).collect()),
        after_half_close: (asked.leave == Leave::HalfClose).then(|| after.collect()),
        events_received: cancelled.events.as_ref().map(of("count")),
        tokens_received: cancelled.tokens.as_ref().map(of("tokens")),
        connections_closed: cancelled.connections_closed,
        request_acknowledged: match cancelled.acknowledged {
            [_, 0] => None,
            [whole, of] => Some(Acknowledged { whole, of }),
        },
        // Of too many requests it is not kept who was whose neighbour.
        neighbours: (!coarse).then(|| Neighbours {
            overlapping: finished(&cancelled.collateral.overlapping),
            apart: finished(&cancelled.collateral.apart),
        }),
    }
}

/// Finished requests beside those that were cancelled.
fn finished(of: &report::Finished) -> Finished {
    let latency = |latency: &Option<Figures>| latency.as_ref().map(|of| figures("ms", of));
    Finished {
        requests: of.requests,
        time_to_first_token: latency(&of.ttft_ms),
        inter_token_latency: latency(&of.itl_ms),
    }
}

/// Throughputs per GPU (`--num-gpus`); additive.
fn per_gpu(report: &Report) -> Option<PerGpu> {
    let metrics = report.per_gpu().into_iter();
    let metrics = metrics
        .map(|(metric, value)| (metric.tag.to_owned(), scalar(PER_GPU_UNIT, value)))
        .collect();
    report
        .facts
        .num_gpus
        .map(|num_gpus| PerGpu { num_gpus, metrics })
}

fn client_health(report: &Report) -> ClientHealth {
    let health = &report.health;
    let merged = &health.merged;
    let held = health.held.as_ref();
    let stamps = health.stamps.iter();
    let stamps = stamps.map(|(phase, counts)| ((*phase).to_owned(), stamped(counts)));
    let pauses = health.pauses.iter().map(|of| Pause {
        core: of.core as u64,
        from_ns: report.facts.anchor.unix_nanos(of.pause.from),
        offset_sec: of.offset.as_secs_f64(),
        length_ms: of.pause.length.as_millis_f64(),
    });
    let shared = &health.shared;
    ClientHealth {
        timer_lateness: microseconds(&merged.timer_lateness),
        send_lateness: microseconds(&merged.send_lateness),
        receive_delay: microseconds(&merged.receive_delay),
        turn: microseconds(&merged.turn),
        receive_stamps: Some(ReceiveStamps {
            asked: report.facts.receive_stamps.clone(),
            phases: stamps.collect(),
        }),
        events_sharing_a_stamp: (shared.events > 0).then(|| SharedStamps {
            events: shared.events,
            sharing: shared.sharing,
            share_pct: 100.0 * shared.sharing as f64 / shared.events as f64,
            answers: shared.answers,
            first_sharing: shared.firsts_sharing,
            late_at_most: microseconds(&shared.late_at_most),
        }),
        pauses: Pauses {
            count: merged.pauses.count,
            longest: pauses.collect(),
        },
        cpu_quota: health.cpu_quota.map(cpu_quota),
        slow_connects: merged.slow_connects,
        error_backoff: backoff(&merged.backoff),
        unreached_addresses: unreached(report),
        concurrency: HeldConcurrency {
            asked: report.facts.own_concurrency(),
            held_avg: held.map(|held| held.avg),
            held_max: held.map(|held| held.max),
            window_sec: held.map(|held| held.window_s),
        },
        added: health.added.iter().map(added).collect(),
        client_was_bottleneck: health.is_bottleneck(),
        reasons: health.reasons.clone(),
        distrust: health
            .harms
            .iter()
            .map(|harm| harm.words().to_owned())
            .collect(),
        driver: Some(report.facts.driver.clone()).filter(|driver| !driver.is_empty()),
        cores: report.end.cores.iter().map(core).collect(),
    }
}

fn asked_and_reached(of: &Reached) -> AskedAndReached {
    AskedAndReached {
        what: of.what.to_owned(),
        asked: of.asked,
        reached: of.reached,
        unit: of.unit.to_owned(),
        reason: of.reason.clone(),
    }
}

fn added(added: &Added) -> AddedByClient {
    let micros = |span: Span| span.nanos() as f64 / 1e3;
    AddedByClient {
        what: added.what.to_owned(),
        percentile: added.level,
        late_us: micros(added.late),
        of: added.of.map(|(scale, _)| scale.tag().to_owned()),
        of_us: added.of.map(|(_, of)| micros(of)),
        share_pct: added.share().map(|share| 100.0 * share),
        in_latencies: added.in_latencies,
        out_of_bounds: added.too_much,
    }
}

/// Where the times of a phase's reads come from.
fn stamped(counts: &ReceiveCounts) -> StampedReads {
    let fallbacks = Fallback::ALL.iter().zip(counts.fallbacks);
    StampedReads {
        used: if counts.kernel > 0 { "kernel" } else { "user" }.to_owned(),
        reads: counts.reads(),
        by_kernel: counts.kernel,
        fallbacks: fallbacks
            .map(|(why, count)| (why.name().to_owned(), count))
            .collect(),
    }
}

fn cpu_quota(found: CpuQuotaUse) -> CpuQuota {
    let CpuQuotaUse { quota, throttling } = found;
    CpuQuota {
        cpus: quota.cpus(),
        period_ms: quota.period().as_millis_f64(),
        periods: throttling.periods,
        throttled_periods: throttling.throttled,
        throttled_pct: 100.0 * throttling.share(),
        throttled_sec: throttling.time.as_secs_f64(),
    }
}

fn core(core: &CoreHealth) -> CoreAccount {
    CoreAccount {
        cpu: core.cpu,
        timer_lateness: microseconds(&core.timer_lateness),
        send_lateness: microseconds(&core.send_lateness),
        receive_delay: microseconds(&core.receive_delay),
        turn: microseconds(&core.turn),
        cpu_time_sec: core.cpu_time.as_secs_f64(),
        wall_time_sec: core.wall_time.as_secs_f64(),
        receives: core.receives,
        events: core.events,
        connects: core.connects,
        slow_connects: core.slow_connects,
        stale_closed: core.stale_closed,
        expired_closed: core.expired_closed,
    }
}

fn unreached(report: &Report) -> Vec<UnreachedAddress> {
    let unreached = report.anomalies.unreached.iter();
    let row = |(refusal, connects): (&Refusal, &u64)| UnreachedAddress {
        address: refusal.0.to_string(),
        reason: os_text(refusal.1),
        connects: *connects,
    };
    unreached.map(row).collect()
}

/// Rests of slots, if there were any.
fn backoff(counts: &BackoffCounts) -> Option<ErrorBackoff> {
    (counts.rests > 0).then(|| ErrorBackoff {
        slots: counts.slots,
        rests: counts.rests,
        rested_sec: counts.rested.as_secs_f64(),
    })
}

fn microseconds(durations: &Durations) -> Lateness {
    let any = durations.count() > 0;
    let us = |q: f64| any.then(|| durations.percentile(q).nanos() as f64 / 1e3);
    Lateness {
        unit: "us".to_owned(),
        count: durations.count(),
        p50: us(50.0),
        p90: us(90.0),
        p99: us(99.0),
        max: any.then(|| durations.max().nanos() as f64 / 1e3),
    }
}

/// Why answers ended and what was unusual about them, if there is anything to say.
fn answers(report: &Report) -> Option<AnswerCounts> {
    let odd = &report.anomalies;
    let named = |counts: Vec<(String, u64)>| {
        (!counts.is_empty()).then(|| counts.into_iter().collect::<Ordered<u64>>())
    };
    let finish = odd.finish.iter();
    let choices = odd.choices.iter();
    let quirks = odd.quirks.iter();
    let counts = AnswerCounts {
        finish_reasons: named(
            finish
                .map(|(reason, count)| (reason.clone(), *count))
                .collect(),
        ),
        several_choices: named(
            choices
                .map(|(many, count)| (many.to_string(), *count))
                .collect(),
        ),
        refused: (odd.refused.count > 0).then_some(odd.refused.count),
        read_as: named(
            quirks
                .map(|(how, count)| ((*how).to_owned(), *count))
                .collect(),
        ),
        unreadable_events: (odd.unreadable.count > 0).then(|| UnreadableEvents {
            requests: odd.unreadable.count,
            events: odd.unreadable_events,
            first_begins: odd.unreadable_begins.clone(),
        }),
    };
    (counts != AnswerCounts::default()).then_some(counts)
}

fn accounting(report: &Report) -> Accounting {
    let counts = &report.accounting;
    let agrees = counts.agrees();
    Accounting {
        due: counts.due,
        sent: counts.sent,
        completed: counts.valid + counts.errors,
        valid: counts.valid,
        errors: counts.errors,
        cancelled_by_plan: counts.cancelled_by_plan,
        dropped_at_end: counts.dropped_at_end,
        phase_duration_sec: counts.phase_duration_s,
        agrees,
        differences: (!agrees).then(|| counts.differences.clone()),
    }
}
