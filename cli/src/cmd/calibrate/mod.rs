//! `pinfire calibrate`: what the client adds to the figures of a run on this machine.

mod run;
mod shape;

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result, anyhow};
use pinfire_analysis::{calibration, export::DEFAULT_WIDTH};
use pinfire_artifacts::{
    CALIBRATION,
    calibration::{Calibration, Cost, Limits, Machine, SentStamps, Step},
    json_bytes, replace,
    summary::Lateness,
};
use pinfire_base::threads;
use pinfire_engine::written::{self, Written};
use pinfire_tools::{
    floor,
    mock::{Script, Server},
};

use self::{
    run::{Carried, carry},
    shape::{Shape, anywhere},
};
use crate::{
    args::Calibrate,
    run::{cpus::Places, signals::Interrupt},
    terminal::{say, stdout},
};

/// The exit code of a load with which the client was the bottleneck.
const BOTTLENECK: u8 = 3;
/// Requests whose transmit timestamps are read.
const SENT: usize = 500;
/// More of the CPU than this, and the engine can carry no more.
const BUSY_MOST: f64 = 0.95;
/// A server that writes first tokens later than this at p99 is the bottleneck, in µs.
const SERVER_LATE_MOST: f64 = 1_000.0;
/// More requests in flight than this are not tried.
const IN_FLIGHT_MOST: f64 = 20_000.0;

/// Measures and shows it. The exit code says whether the client kept up.
///
/// # Errors
/// The flags make no sense, or the load cannot be carried.
pub fn run(flags: Calibrate) -> Result<ExitCode> {
    let folder = flags.config.0.output.artifact_dir.as_ref().map_or_else(
        || Path::new("artifacts").join("calibration"),
        |folder| folder.value.clone(),
    );
    let most_steps = flags.steps;
    let shape = Shape::of(flags)?;
    let interrupt = Interrupt::watch()?;
    let asked = carry(&shape, 1, &folder, &interrupt)?;
    let bare = bare_loop(&shape, &asked)?;
    let sent = sent(&asked.places);
    if let Err(error) = &sent {
        say::warning(format_args!("no transmit timestamps: {error:#}"));
    }
    let limits = limits(&shape, &asked, most_steps, &folder, &interrupt)?;
    let calibration = sum_up(&shape, &asked, bare, sent.ok(), limits);
    let path = folder.join(CALIBRATION);
    replace(&path, &json_bytes(&calibration))?;
    stdout::text(DEFAULT_WIDTH, |width, colour| {
        calibration::console(&calibration, width, colour)
    });
    say::line(format_args!(
        "Calibration: {0} (beside a run's figures: pinfire profile --calibration {0})",
        path.display()
    ));
    Ok(match calibration.client_was_bottleneck {
        true => ExitCode::from(BOTTLENECK),
        false => ExitCode::SUCCESS,
    })
}

fn sum_up(
    shape: &Shape,
    asked: &Carried,
    bare: Option<floor::Carried>,
    sent: Option<SentStamps>,
    limits: Limits,
) -> Calibration {
    let cost = match bare {
        None => asked.cost,
        Some(bare) => {
            let (events, request) = (bare.counts.events, bare.cpu_us_per(bare.requests()));
            Cost {
                bare_cpu_us_per_event: (events > 0).then(|| bare.cpu_us_per(events)),
                bare_cpu_us_per_request: Some(request),
                ratio: (request > 0.0).then(|| asked.cost.cpu_us_per_request / request),
                ..asked.cost
            }
        }
    };
    let health = &asked.health;
    let stamps = health.receive_stamps.as_ref();
    let measured = stamps.and_then(|stamps| stamps.phases.get("profiling"));
    let script = &shape.script;
    Calibration {
        tool_version: format!("pinfire {}", env!("CARGO_PKG_VERSION")),
        machine: machine(),
        shape: pinfire_artifacts::calibration::Shape {
            load: shape.words(),
            requests: cost.requests,
            in_flight: asked.in_flight,
            streaming: shape.config.endpoint.streaming.value,
            osl: script.tokens.into(),
            server_ttft_ms: script.ttft.as_secs_f64() * 1e3,
            server_itl_ms: script.itl.as_secs_f64() * 1e3,
            event_bytes: shape.event_bytes.into(),
            tls: script.tls.is_some(),
            driver: health.driver.clone().unwrap_or_default(),
            engine_cpus: asked.places.engine.iter().copied().flatten().collect(),
            receive_stamps: measured.map_or_else(String::new, |reads| reads.used.clone()),
        },
        adds: asked.adds.clone(),
        cost,
        sent,
        limits,
        client_was_bottleneck: health.client_was_bottleneck,
        reasons: health.reasons.clone(),
    }
}

/// The same load by a bare loop on the engine's first CPU, where one can carry it.
fn bare_loop(shape: &Shape, asked: &Carried) -> Result<Option<floor::Carried>> {
    if !shape.has_bare() {
        return Ok(None);
    }
    let script = shape.script.clone();
    let server = Server::bind(script, anywhere(), None)
        .and_then(|server| server.spawn(asked.places.for_server()))
        .context("the embedded server cannot start")?;
    let plan = shape.bare(server.local_addr(), asked.cost.requests, asked.in_flight);
    let carried = on_the_engines_cpu(&asked.places, |cpu| floor::carry(plan, cpu))?;
    Ok(Some(carried.context("the bare loop")?))
}

/// Does something on a thread of its own, which may stay on the engine's first CPU.
fn on_the_engines_cpu<T: Send>(
    places: &Places,
    what: impl FnOnce(Option<usize>) -> T + Send,
) -> Result<T> {
    let cpu = places.engine.first().copied().flatten();
    std::thread::scope(|scope| {
        let thread = threads::start_in(scope, "pinfire-bare", move || what(cpu))?;
        let crashed = |_| anyhow!("the bare loop crashed: this is a bug in pinfire");
        thread.join().map_err(crashed)
    })
}

/// «Sent» against the kernel's transmit timestamps.
fn sent(places: &Places) -> Result<SentStamps> {
    let server = Server::bind(Script::instant(1), anywhere(), None)?;
    let server = server.spawn(places.for_server())?;
    let address = server.local_addr();
    let body = floor::Request::chat("mock", 2_000, false, Some(1));
    let request = floor::Request::new(address, "/v1/chat/completions", &body);
    let all = on_the_engines_cpu(places, |cpu| {
        if let Some(cpu) = cpu {
            pinfire_tools::cpu::pin(cpu)?;
        }
        written::against_the_kernel(address, request.bytes(), SENT)
    })??;
    let of = |what: fn(&Written) -> Option<i64>| {
        let us = all.iter().filter_map(what).map(|nanos| nanos as f64 / 1e3);
        Lateness::of_us(us.collect())
    };
    Ok(SentStamps {
        asked: of(|one| Some(one.asked)),
        scheduled: of(|one| one.scheduled),
        left: of(|one| one.left),
        acknowledged: of(|one| one.acknowledged),
    })
}

/// Doubles the load until something gives way.
fn limits(
    shape: &Shape,
    asked: &Carried,
    most_steps: u32,
    folder: &Path,
    interrupt: &Interrupt,
) -> Result<Limits> {
    let mut steps = vec![step(1, asked)];
    let mut gave_way = gave_way(&steps[0]);
    while gave_way.is_none() && shape.can_grow() && steps.len() <= most_steps as usize {
        let times = 1_u64 << steps.len();
        if asked.in_flight * times as f64 > IN_FLIGHT_MOST {
            break;
        }
        let part = folder.join("limits").join(format!("{times}x"));
        let step = step(times, &carry(shape, times, &part, interrupt)?);
        gave_way = self::gave_way(&step);
        steps.push(step);
    }
    let event = asked.cost.cpu_us_per_event;
    let itl = shape.script.itl.as_secs_f64();
    let events = event.map(|us| 1e6 / us);
    Ok(Limits {
        events_per_sec_by_cpu: events,
        requests_per_sec_by_cpu: 1e6 / asked.cost.cpu_us_per_request,
        streams_by_cpu: events.map(|events| events * itl).filter(|_| itl > 0.0),
        steps,
        gave_way: gave_way.unwrap_or("nothing").to_owned(),
    })
}

fn step(times: u64, carried: &Carried) -> Step {
    let cores = carried.health.cores.len().max(1) as f64;
    let a_second = |count: u64| count as f64 / carried.seconds.max(1e-9) / cores;
    Step {
        times,
        in_flight: carried.in_flight,
        events_per_sec: a_second(carried.cost.events),
        requests_per_sec: a_second(carried.cost.requests),
        busy: carried.cost.busy,
        server_late: carried.server_late.clone(),
        client_was_bottleneck: carried.health.client_was_bottleneck,
    }
}

/// What could not keep up. A server that is late makes no client late.
fn gave_way(step: &Step) -> Option<&'static str> {
    if step.client_was_bottleneck || step.busy > BUSY_MOST {
        Some("client")
    } else if step.server_late.p99.is_some_and(|us| us > SERVER_LATE_MOST) {
        Some("server")
    } else {
        None
    }
}

fn machine() -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let model = read("/proc/cpuinfo")
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split_once(": "))
        .map_or_else(|| "an unknown CPU".to_owned(), |(_, name)| name.to_owned());
    Machine {
        cpu: model,
        cpus: std::thread::available_parallelism().map_or(0, |cpus| cpus.get() as u64),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
    }
}
