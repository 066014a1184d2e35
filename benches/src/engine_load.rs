//! The engine alone under load, without dataset, analysis or exports: what the data plane costs.
//! Prints one JSON line, in the manner of `pinfire-floor`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use clap::Parser;
use pinfire_base::{
    clock::{Span, Stamp},
    health::CoreHealth,
    ready::Ready,
    record::{Keep, Outcome, Phase, Record},
};
use pinfire_dialect::Answers;
use pinfire_engine::{
    plan::{
        Address, Dialling, DriverChoice, EngineSetup, PhasePlan, Precision, ReceiveStamps, Reuse,
        Target,
    },
    request::{HeaderValue, RequestHead},
    run::Engine,
    schedule::{CancelPlan, Limit, Sampling, Schedule},
};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
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
    /// Take the loop's receive stamps, not the kernel's.
    #[arg(long)]
    user_stamps: bool,
    /// sleep, lead or spin.
    #[arg(long, default_value = "lead")]
    precision: String,
    /// SCHED_FIFO for the engine's thread.
    #[arg(long)]
    realtime: bool,
}

/// What is kept of the records. They are dropped as they come, as in a run: an engine whose records
/// pile up pays for fresh memory with every request.
#[derive(Default)]
struct Tally {
    requests: u64,
    complete: u64,
    span: Option<(Stamp, Stamp)>,
    first_byte_us: Vec<u64>,
    late_ns: Vec<i64>,
}

impl Tally {
    fn add(&mut self, record: &Record) {
        let times = &record.times;
        self.requests += 1;
        self.complete += u64::from(record.outcome == Outcome::Complete);
        let (from, to) = self.span.unwrap_or((times.start, times.end));
        self.span = Some((from.min(times.start), to.max(times.end)));
        if let Some(first) = times.body_first {
            let first_byte = first.since(times.start).nanos() / 1_000;
            self.first_byte_us.push(first_byte);
        }
        if let Some(done) = record.cancel.and_then(|cancel| cancel.done) {
            self.late_ns.push(done.asked.signed_since(done.due));
        }
    }
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
        targets: [Target {
            addresses: vec![Address::Tcp(args.connect)],
            spare: Vec::new(),
            head,
            tls: None,
        }]
        .into(),
        dialling: Dialling::default(),
        answers: Answers::default(),
        dataset: Arc::new(Ready::singles(vec![body.into_bytes()])),
        sampling: Sampling::Sequential,
        first_session: 0,
        schedule: Schedule::closed(args.requests),
        concurrency: Some(Limit::of(args.concurrency)),
        backs_off: false,
        prefill: None,
        duration: None,
        grace: None,
        cancel: (args.cancel > 0.0)
            .then(|| CancelPlan::new(42, args.cancel, Span::from_secs_f64(args.delay / 1e3))),
        id_key: 7,
        timeout: Span::from_secs_f64(60.0),
        reuse: Reuse::Pooled,
        keep: Keep::default(),
    });
    let mut engine = Engine::start(&EngineSetup {
        cpus: vec![Some(args.cpu)],
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
        receive_stamps: if args.user_stamps {
            ReceiveStamps::User
        } else {
            ReceiveStamps::Auto
        },
        realtime: args.realtime,
    })?;
    stay_off(args.cpu);
    let records = engine.records();
    engine.begin(&plan);
    let mut tally = Tally::default();
    let report = loop {
        let ended = engine.wait(plan.phase, Duration::from_millis(5))?;
        records.try_iter().for_each(|record| tally.add(&record));
        if let Some(report) = ended {
            break report;
        }
    };
    let health = &report.cores[0].health;
    let wall = tally.span.map_or(Span::ZERO, |(from, to)| to.since(from));
    let (requests, late) = (tally.requests, &mut tally.late_ns);
    let ttft = &mut tally.first_byte_us;
    let cpu = health.cpu_time.nanos() as f64 / 1e3;
    println!(
        "{}",
        json!({
            "requests": requests,
            "complete": tally.complete,
            "events": health.events,
            "reads": health.receives,
            "wall_s": wall.as_secs_f64(),
            "cpu_s": cpu / 1e6,
            "requests_per_s": requests as f64 / wall.as_secs_f64(),
            "cpu_us_per_event": cpu / health.events.max(1) as f64,
            "cpu_us_per_request": cpu / requests.max(1) as f64,
            "first_byte_us": [at(ttft, 0.5), at(ttft, 0.99)],
            "cancels": late.len(),
            "cancel_late_ns": [at(late, 0.5), at(late, 0.9), at(late, 0.99), at(late, 1.0)],
            "health": health_line(health),
            "agree": report.counts().agree(),
        })
    );
    Ok(())
}

/// Moves the calling thread, which only drops records, off the engine's processor.
fn stay_off(engine: usize) {
    let Ok(mut others) = sched_getaffinity(None) else {
        return;
    };
    if engine < CpuSet::MAX_CPU && others.count() > 1 {
        others.unset(engine);
        // Refused only by an unusual sandbox; the figures are less steady then.
        let _ = sched_setaffinity(None, &others);
    }
}

fn health_line(health: &CoreHealth) -> serde_json::Value {
    let line = |d: &pinfire_base::health::Durations| {
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
