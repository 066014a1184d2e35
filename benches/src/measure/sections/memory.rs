//! Resident memory of a stream that waits, and how many streams are open at once.

use std::{fs, net::SocketAddr, process::Command};

use anyhow::{Result, ensure};
use pinfire_engine::clock::Span;

use crate::{
    board::{Bar, Board, Column},
    child::Running,
    programs::{Mock, Profile},
    scene::Scene,
    truth,
};

pub const TITLE: &str = "Streams that wait for their first byte";
const FEW: u64 = 1_000;
const MANY: u64 = 4_000;
const FILL: Span = Span::from_millis(20_000);

pub fn measure(scene: &Scene, board: &mut Board) -> Result<()> {
    for (index, driver) in scene.columns() {
        let column = Column::Driver(index);
        let programs: [(&str, &Starter); 2] = [
            ("engine alone", &engine as &Starter),
            ("whole binary", &whole),
        ];
        for (name, command) in programs {
            let few = resident(scene, driver, FEW, command)?;
            let many = resident(scene, driver, MANY, command)?;
            ensure!(
                (few.held, many.held) == (FEW as f64, MANY as f64),
                "{name}: {} and {} streams were held",
                few.held,
                many.held
            );
            let each = (many.kib - few.kib) / (MANY - FEW) as f64;
            let what = format!("{name}: resident memory per stream (4,000 less 1,000)");
            board
                .row(TITLE, &what, "KiB")
                .bar(Bar::AtMost(8.0))
                .put(column, each);
        }
        // The client keeps some descriptors for itself.
        let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        let asked = most.unwrap_or(20_000).min(20_000) - 500;
        let full = resident(scene, driver, asked, &whole)?;
        let what = format!("whole binary: open of {asked} asked");
        board.row(TITLE, &what, "").put(column, full.held);
        let what = format!("whole binary: resident memory at {asked}");
        board
            .row(TITLE, &what, "MiB")
            .put(column, full.kib / 1024.0);
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
