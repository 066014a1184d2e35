//! One load, carried out by an ordinary run, and joined with what the server saw of it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use anyhow::{Context, Result, anyhow, bail};
use pinfire_analysis::facts::PartFacts;
use pinfire_artifacts::{
    FileNames, Summary,
    calibration::{Adds, Cost},
    summary::{ClientHealth, Lateness},
};
use pinfire_base::threads;
use pinfire_tools::truth::{self, Truth, between};

use super::shape::{LoggedServer, Shape};
use crate::{
    cmd::profile,
    run::{cpus::Places, signals::Interrupt},
    settings::Settings,
    terminal::say,
};

/// A load that was carried.
pub struct Carried {
    pub health: ClientHealth,
    pub adds: Adds,
    pub cost: Cost,
    /// Requests that were in flight on average.
    pub in_flight: f64,
    /// How long the engine's phase took.
    pub seconds: f64,
    /// How late the server wrote first tokens.
    pub server_late: Lateness,
    pub places: Places,
}

/// Makes a run of so many times the load, in `folder`, with a server of its own.
///
/// # Errors
/// The run cannot be made, or not be used.
pub fn carry(shape: &Shape, times: u64, folder: &Path, interrupt: &Interrupt) -> Result<Carried> {
    // What is refused is refused before anything is made: with a server that is not there yet.
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let places = Settings::new(&shape.config(nowhere, times, folder)?)?.places;
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let log = folder.join("truth.log");
    let server = LoggedServer::start(&shape.script, log, places.for_server())?;
    let config = shape.config(server.address(), times, folder)?;
    let mut settings = Settings::new(&config)?;
    if times == 1 {
        for warning in settings.warnings.iter().chain(&settings.load.warnings) {
            say::warning(warning);
        }
        say::line("Carrying the load ...");
    } else {
        say::line(format_args!("Carrying {times} times the load ..."));
    }
    // A part of several runs shows no tables of its own.
    settings.part = Some(PartFacts {
        sweep_id: "calibration".to_owned(),
        trial: 0,
        run_label: format!("{times}x"),
        variation_label: String::new(),
        variation_index: 0,
        variation_values: serde_json::Map::new(),
    });
    // What it pins stays with its thread.
    let done = std::thread::scope(|scope| {
        let made = threads::start_in(scope, "pinfire-run", || {
            profile::one(&settings, interrupt, None, None)
        })?;
        made.join().unwrap_or_else(|_| {
            Err(anyhow!(
                "the run crashed: this is a bug in pinfire, please report it"
            ))
        })
    })?;
    let truths = truth::read(&server.stop()?)?;
    if let Some(reason) = done.interrupted {
        bail!("the calibration was interrupted: {reason}");
    }
    let summary = done
        .summary
        .context("a part of several runs has a summary")?;
    let lines = std::fs::read_to_string(folder.join(FileNames::default().jsonl))
        .context("the lines of the run cannot be read")?;
    let requests = lines.lines().count() as u64;
    if requests == 0 || !done.success {
        bail!(
            "the run cannot be used{}; its files are in {}",
            first_error(&summary),
            folder.display()
        );
    }
    let health = summary.client_health.as_deref().cloned();
    let health = health.context("a run has its client's account")?;
    let own: Vec<f64> = truths
        .values()
        .filter_map(|seen| late(shape, seen))
        .collect();
    Ok(Carried {
        adds: adds(&lines, &truths)?,
        cost: cost(&health, requests),
        in_flight: in_flight(&lines)?,
        seconds: health
            .cores
            .iter()
            .map(|core| core.wall_time_sec)
            .fold(0.0, f64::max),
        server_late: Lateness::of_us(own),
        health,
        places,
    })
}

fn first_error(summary: &Summary) -> String {
    let errors = summary.error_summary.iter().flatten();
    let mut messages = errors.filter_map(|error| error.error_details.message.clone());
    let first = messages.next();
    first.map_or_else(String::new, |message| format!(" ({message})"))
}

/// How much later than it was to be, the server wrote its first token, in µs.
fn late(shape: &Shape, seen: &Truth) -> Option<f64> {
    (seen.w_first > 0 && seen.full > 0)
        .then(|| between(seen.full, seen.w_first) / 1e3 - shape.script.ttft.as_secs_f64() * 1e6)
}

/// What the client's figures have more than the server's log.
fn adds(lines: &str, truths: &std::collections::HashMap<String, Truth>) -> Result<Adds> {
    let joined = truth::join(lines, truths)?;
    let left = truth::leavings(lines)?;
    let us = |from: u64, to: u64| between(from, to) / 1e3;
    let noticed = left.iter().filter_map(|left| {
        let seen = truths.get(&left.id).filter(|seen| seen.closed > 0)?;
        Some(us(left.closed, seen.closed))
    });
    let asked = left.iter().map(|left| us(left.due, left.asked));
    let closed = left.iter().map(|left| us(left.due, left.closed));
    Ok(Adds {
        ttft: Lateness::of_us(joined.ttft),
        itl: Lateness::of_us(joined.itl),
        first_token: Lateness::of_us(joined.first),
        last_token: Lateness::of_us(joined.last),
        cancel_asked: Lateness::of_us(asked.collect()),
        cancel_closed: Lateness::of_us(closed.collect()),
        cancel_noticed: Lateness::of_us(noticed.collect()),
    })
}

/// CPU time of the engine's threads.
fn cost(health: &ClientHealth, requests: u64) -> Cost {
    let sum = |of: fn(&pinfire_artifacts::summary::CoreAccount) -> f64| -> f64 {
        health.cores.iter().map(of).sum()
    };
    let events = health.cores.iter().map(|core| core.events).sum();
    let cpu = sum(|core| core.cpu_time_sec);
    Cost {
        events,
        requests,
        cpu_us_per_event: (events > 0).then(|| cpu * 1e6 / events as f64),
        cpu_us_per_request: cpu * 1e6 / requests as f64,
        busy: cpu / sum(|core| core.wall_time_sec).max(1e-9),
        ..Cost::default()
    }
}

/// Requests in flight on average, from their starts and ends.
fn in_flight(lines: &str) -> Result<f64> {
    let (mut first, mut last, mut all) = (u64::MAX, 0, 0);
    for line in lines.lines() {
        let value: serde_json::Value = serde_json::from_str(line)?;
        let at = |key: &str| value["metadata"][key].as_u64().unwrap_or(0);
        let (start, end) = (at("request_start_ns"), at("request_end_ns"));
        first = first.min(start);
        last = last.max(end);
        all += end.saturating_sub(start);
    }
    Ok(all as f64 / last.saturating_sub(first).max(1) as f64)
}
