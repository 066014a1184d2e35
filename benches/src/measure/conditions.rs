//! Where and when the figures were taken.

use std::fs::read_to_string;

use pinfire_base::clock;

use crate::scene::Scene;

/// The conditions as a line of text.
pub fn of(scene: &Scene) -> String {
    let date = i64::try_from(clock::unix_now() / clock::NANOS_PER_SECOND)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| "unknown date".to_owned(), |stamp| stamp.to_string());
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{date}; {}, {cpus} CPUs; Linux {}; server on CPU {}, client on CPU {}; {}; {} round{}{}.\n\
         Load average at the start: {}.",
        model(),
        line("/proc/sys/kernel/osrelease"),
        scene.server_cpu,
        scene.client_cpu,
        if scene.realtime {
            "SCHED_FIFO 50"
        } else {
            "ordinary scheduling"
        },
        scene.rounds,
        if scene.rounds == 1 { "" } else { "s" },
        if scene.quick { ", short" } else { "" },
        load(),
    )
}

/// The three load averages.
pub fn load() -> String {
    let text = line("/proc/loadavg");
    text.split(' ').take(3).collect::<Vec<_>>().join(", ")
}

/// Processor time so far that the hypervisor gave to others, and all of it, in ticks.
pub fn stolen() -> (f64, f64) {
    let text = read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let ticks = line.split_whitespace().skip(1).take(8);
    let ticks: Vec<f64> = ticks.filter_map(|text| text.parse().ok()).collect();
    (ticks.get(7).copied().unwrap_or(0.0), ticks.iter().sum())
}

fn model() -> String {
    let info = read_to_string("/proc/cpuinfo").unwrap_or_default();
    info.lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split_once(": "))
        .map_or_else(|| "unknown CPU".to_owned(), |(_, name)| name.to_owned())
}

fn line(path: &str) -> String {
    read_to_string(path).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}
