//! The engine alone under load, without dataset, analysis or exports: what the data plane costs.
//! Prints one JSON line, in the manner of `pinfire-floor`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use clap::Parser;
use pinfire_engine::{
    clock::Span,
    health::CoreHealth,
    plan::{DriverChoice, EngineSetup, PhasePlan, Precision, Reuse},
    record::{Outcome, Phase, Record},
    request::{HeaderValue, RequestHead},
    run::Engine,
    schedule::{CancelPlan, ClosedLoop},
};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The engine alone against a running server.
#[derive(Parser)]
struct Args {
    /// The server.
    #[arg(long, default_value = "127.0.0.1:8000")]
    connect: SocketAddr,
    /// Requests in flight.
    #[arg(long, default_value_t = 100)]
    concurrency: usize,
    /// Requests in all.
    #[arg(long, default_value_t = 2_000)]
    requests: u64,
    /// Tokens asked for.
    #[arg(long, default_value_t = 64)]
    tokens: u32,
    /// Do not stream.
    #[arg(long)]
    plain: bool,
    /// Percentage cancelled.
    #[arg(long, default_value_t = 0.0)]
    cancel: f64,
    /// Milliseconds from the last byte to the cancel.
    #[arg(long, default_value_t = 100.0)]
    delay: f64,
    /// CPU of the engine.
    #[arg(long, default_value_t = 0)]
    cpu: usize,
    /// epoll instead of io_uring.
    #[arg(long)]
    epoll: bool,
    /// Leave the kernel's receive stamps off.
    #[arg(long)]
    no_stamps: bool,
    /// sleep, lead or spin.
    #[arg(long, default_value = "lead")]
    precision: String,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let body = json!({
        "messages": [{"role": "user", "content": "word ".repeat(100)}],
        "model": "mock",
        "stream": !args.plain,
        "max_completion_tokens": args.tokens,
    })
    .to_string();
    let head = RequestHead::post(
        "/v1/chat/completions",
        [
            ("Host", HeaderValue::Fixed("mock")),
            ("X-Request-ID", HeaderValue::RequestId),
            ("Content-Type", HeaderValue::Fixed("application/json")),
        ],
    );
    let plan = Arc::new(PhasePlan {
        phase: Phase::Profiling,
        address: args.connect,
        head,
        bodies: Arc::new(vec![body.into_bytes()]),
        first_entry: 0,
        schedule: ClosedLoop::new(args.requests),
        concurrency: args.concurrency,
        cancel: (args.cancel > 0.0)
            .then(|| CancelPlan::new(42, args.cancel, Span::from_secs_f64(args.delay / 1e3))),
        id_key: 7,
        timeout: Span::from_secs_f64(60.0),
        reuse: Reuse::Pooled,
        receive_stamps: !args.no_stamps,
    });
    let mut engine = Engine::start(&EngineSetup {
        cpus: vec![args.cpu],
        driver: if args.epoll {
            DriverChoice::Epoll
        } else {
            DriverChoice::Uring
        },
        precision: match args.precision.as_str() {
            "sleep" => Precision::Sleep,
            "spin" => Precision::Spin,
            _ => Precision::Lead,
        },
        realtime: false,
    })?;
    let records = engine.records();
    engine.begin(&plan);
    let mut kept: Vec<Record> = Vec::new();
    let report = loop {
        if let Some(report) = engine.wait(Duration::from_millis(20))? {
            break report;
        }
        kept.extend(records.try_iter());
    };
    kept.extend(records.try_iter());
    let health = &report.cores[0].health;
    let ended = kept.iter().map(|r| r.times.end).max();
    let started = kept.iter().map(|r| r.times.start).min();
    let wall = ended
        .zip(started)
        .map_or(Span::ZERO, |(end, start)| end.since(start));
    let mut ttft: Vec<u64> = kept
        .iter()
        .filter_map(|r| Some(r.times.body_first?.since(r.times.start).nanos() / 1_000))
        .collect();
    let mut late: Vec<i64> = kept
        .iter()
        .filter_map(|r| r.cancel?.done)
        .map(|done| done.asked.signed_since(done.due))
        .collect();
    let cpu = health.cpu_time.nanos() as f64 / 1e3;
    println!(
        "{}",
        json!({
            "requests": kept.len(),
            "complete": kept.iter().filter(|r| r.outcome == Outcome::Complete).count(),
            "events": health.events,
            "reads": health.receives,
            "wall_s": wall.as_secs_f64(),
            "cpu_s": cpu / 1e6,
            "requests_per_s": kept.len() as f64 / wall.as_secs_f64(),
            "cpu_us_per_event": cpu / health.events.max(1) as f64,
            "cpu_us_per_request": cpu / kept.len().max(1) as f64,
            "first_byte_us": [at(&mut ttft, 0.5), at(&mut ttft, 0.99)],
            "cancels": late.len(),
            "cancel_late_ns": [at(&mut late, 0.5), at(&mut late, 0.99), at(&mut late, 1.0)],
            "health": health_line(health),
            "agree": report.counts().agree(),
        })
    );
    Ok(())
}

fn health_line(health: &CoreHealth) -> serde_json::Value {
    let line = |d: &pinfire_engine::health::Durations| {
        [
            d.percentile(50.0).nanos() / 1_000,
            d.percentile(99.0).nanos() / 1_000,
            d.count(),
        ]
    };
    json!({
        "timer_us": line(&health.timer_lateness),
        "send_us": line(&health.send_lateness),
        "receive_us": line(&health.receive_delay),
        "turn_us": line(&health.turn),
        "connects": health.connects,
    })
}

fn at<T: Ord + Copy + Default>(values: &mut [T], share: f64) -> T {
    values.sort_unstable();
    let index = ((values.len() as f64 - 1.0) * share).round().max(0.0) as usize;
    values.get(index).copied().unwrap_or_default()
}
