//! Resident memory of a stream that waits, and how many streams are open at once.

use std::{fs, net::SocketAddr, process::Command};

use anyhow::Result;
use pinfire_base::clock::Span;

use crate::{
    board::{Bar, Board, Column},
    child::Running,
    programs::{Mock, Profile},
    scene::Scene,
    truth,
};

pub const TITLE: &str = "Streams that wait for their first byte";
const FEW: u64 = 1_000;
const FILL: Span = Span::from_millis(60_000);

pub fn measure(scene: &Scene, board: &mut Board) -> Result<()> {
    // The client keeps some descriptors for itself.
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let most = most.unwrap_or(20_000).min(20_000).saturating_sub(500);
    let programs: [(&str, u64, &Starter); 2] = [
        ("engine alone", 4_000, &engine),
        ("whole binary", most, &whole),
    ];
    for _ in 0..scene.rounds {
        for (index, driver) in scene.columns() {
            let column = Column::Driver(index);
            for (name, many, command) in programs {
                let few = resident(scene, driver, FEW, command)?;
                let all = resident(scene, driver, many, command)?;
                let each = (all.kib - few.kib) / many.saturating_sub(FEW).max(1) as f64;
                let what = format!("{name}: resident per stream ({many} less {FEW})");
                let row = board.row(TITLE, &what, "KiB");
                row.bar(Bar::AtMost(8.0)).put(column, each);
                let what = format!("{name}: held by the server of {many} asked");
                let row = board.row(TITLE, &what, "").put(column, all.held);
                row.bar(Bar::AtLeast(many as f64));
            }
        }
    }
    Ok(())
}

type Starter = dyn Fn(&Scene, SocketAddr, &str, u64) -> Command;

fn engine(scene: &Scene, server: SocketAddr, driver: &str, streams: u64) -> Command {
    let mut command = scene.engine_load(server, driver);
    let streams = streams.to_string();
    command.args(["--concurrency", &streams, "--requests", &streams]);
    command
}

fn whole(scene: &Scene, server: SocketAddr, driver: &str, streams: u64) -> Command {
    let profile = Profile {
        server,
        driver,
        streams,
        requests: streams,
        flags: &["--streaming"],
        lines: false,
        trusted: None,
    };
    profile.command(scene)
}

struct Resident {
    kib: f64,
    /// Requests that the server had whole and unanswered.
    held: f64,
}

/// A client with so many streams under way to a server that answers none of them.
fn resident(scene: &Scene, driver: &str, streams: u64, starter: &Starter) -> Result<Resident> {
    let mock = Mock::start(scene, &["--fault", "stall-head@1/1"], true)?;
    scene.pause();
    let mut command = starter(scene, mock.address, driver, streams);
    let mut client = Running::start(&mut command, "client", scene.scratch())?;
    let folder = format!("/proc/{}", client.id());
    let open = || fs::read_dir(format!("{folder}/fd")).map_or(0, Iterator::count) as u64;
    client.until(FILL, "full set of streams", |_| {
        (open() >= streams).then_some(())
    })?;
    // All requests are out when its memory no longer grows.
    let (mut last, mut same) = (0.0, 0);
    let kib = client.until(FILL, "rest", |_| {
        let now = resident_kib(&folder)?;
        same = if now == last { same + 1 } else { 0 };
        last = now;
        (same >= 80).then_some(now)
    })?;
    drop(client);
    let truths = truth::read(&mock.stop()?)?;
    let held = truths.values().filter(|truth| truth.full > 0).count();
    Ok(Resident {
        kib,
        held: held as f64,
    })
}

fn resident_kib(folder: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("{folder}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
