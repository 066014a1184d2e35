//! pinfire-floor: what a load costs at least, as one line of JSON.

mod args;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use pinfire_base::clock::Span;
use pinfire_base::health::Durations;
use pinfire_tools::floor::{Plan, carry};
use serde_json::json;

use args::Args;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pinfire-floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let plan = Plan {
        server: args.server,
        request: args.request()?,
        requests: args.requests,
        concurrency: args.concurrency,
        cancel: args.cancel,
        cancel_after: Span::from_secs_f64(args.cancel_after / 1e3),
        seed: args.seed,
    };
    let carried = carry(plan, args.cpu)?;
    let (ended, counts) = (carried.requests(), &carried.counts);
    let wall = carried.wall.as_secs_f64();
    let line = json!({
        "requests": ended,
        "completed": counts.completed,
        "not_ok": counts.not_ok,
        "errors": counts.errors,
        "events": counts.events,
        "reads": counts.reads,
        "wall_s": round(wall),
        "cpu_s": round(carried.cpu.as_secs_f64()),
        "requests_per_s": round(ended as f64 / wall),
        "events_per_s": round(counts.events as f64 / wall),
        "cpu_us_per_event": round(carried.cpu_us_per(counts.events)),
        "cpu_us_per_request": round(carried.cpu_us_per(ended)),
        "ttft_ms_p50": millis(&counts.ttft, 50.0),
        "ttft_ms_p99": millis(&counts.ttft, 99.0),
        "cancelled": counts.cancelled,
        "cancel_late_us_p50": round(millis(&counts.lateness, 50.0) * 1e3),
        "cancel_late_us_p99": round(millis(&counts.lateness, 99.0) * 1e3),
    });
    println!("{line}");
    Ok(())
}

fn millis(durations: &Durations, percentile: f64) -> f64 {
    (durations.percentile(percentile).as_millis_f64() * 1e4).round() / 1e4
}

fn round(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}
