//! The error of cancels: as the client says, as the packets show, as the server saw.

use std::collections::HashMap;

use anyhow::{Result, ensure};

use crate::{
    board::{Bar, Board, Column},
    capture::{Capture, Packets},
    programs::{Mock, Profile, installed, json_line, number},
    scene::Scene,
    stats,
    truth::{self, Truth},
};

pub const TITLE: &str = "Cancel 100 ms after the last byte: error";
const DELAY_NS: f64 = 100e6;
const CLOSED: &str = "closed, the client says";

pub fn measure(scene: &Scene, board: &mut Board) -> Result<()> {
    let wire = installed("tcpdump") && installed("taskset");
    if !wire {
        board.note("tcpdump or taskset is not installed: no cancels on the wire.".into());
    }
    for _ in 0..scene.rounds {
        for (index, driver) in scene.columns() {
            for streams in [1, 100, 1_000] {
                // At one stream the floor would end with a cancel, after which it waits for ever.
                if index == 0
                    && streams > 1
                    && let Err(error) = floor(scene, board, streams)
                {
                    board.note(format!(
                        "No figure of the floor's cancels in a round: {error:#}."
                    ));
                }
                run(scene, board, (index, driver), streams, wire)?;
            }
        }
    }
    board.note(
        "Cancels: every request at 1 stream, a fifth of them at 100 and 1,000 (TTFT 20 ms, 64 \
         tokens 5 ms apart); «on the wire» is FIN minus last request byte minus the delay, by \
         tcpdump's stamps; «the server saw» holds the waking of the server too."
            .into(),
    );
    Ok(())
}

/// Requests, and the percentage of them that is cancelled.
fn load(scene: &Scene, streams: u64) -> (u64, u32) {
    match streams {
        1 => (scene.size(20, 40), 100),
        100 => (scene.size(600, 900), 20),
        _ => (scene.size(4_000, 5_000), 20),
    }
}

/// The floor's own lateness with the same load, without a capture.
fn floor(scene: &Scene, board: &mut Board, streams: u64) -> Result<()> {
    let (requests, rate) = load(scene, streams);
    let mock = Mock::start(scene, &[], false)?;
    let mut command = scene.floor(mock.address);
    command.args(["--stream", "--osl", "64", "--cancel-after", "100"]);
    command.args(["--cancel", &(f64::from(rate) / 100.0).to_string()]);
    command.args(["--concurrency", &streams.to_string()]);
    command.args(["--requests", &requests.to_string()]);
    let line = json_line(scene, command, "pinfire-floor")?;
    mock.stop()?;
    for name in ["p50", "p99"] {
        let late = number(&line, &format!("/cancel_late_us_{name}"))?;
        let row = board.row(TITLE, &label(streams, &format!("{CLOSED}, {name}")), "µs");
        row.beside("floor").put(Column::Beside, late);
    }
    Ok(())
}

fn label(streams: u64, what: &str) -> String {
    let plural = if streams == 1 { "" } else { "s" };
    format!("{streams} stream{plural}: {what}")
}

fn run(
    scene: &Scene,
    board: &mut Board,
    (index, driver): (usize, &str),
    streams: u64,
    wire: bool,
) -> Result<()> {
    let (requests, rate) = load(scene, streams);
    let rate = rate.to_string();
    let cancellation = ["--request-cancellation-rate", &rate];
    let delay = ["--request-cancellation-delay", "0.1"];
    let (summary, lines, packets, truths) = scene.steady(|| {
        let mock = Mock::start(scene, &[], true)?;
        let capture = match wire {
            true => Some(Capture::start(scene, mock.address.port())?),
            false => None,
        };
        let profile = Profile {
            server: mock.address,
            driver,
            streams,
            requests,
            flags: &[&["--streaming"][..], &cancellation, &delay].concat(),
            lines: true,
            trusted: None,
        };
        let (summary, lines) = profile.run(scene)?;
        let packets = capture.map(Capture::finish).transpose()?;
        Ok((summary, lines, packets, truth::read(&mock.stop()?)?))
    })?;
    let mut own = truth::cancels(&lines)?;
    ensure!(!own.asked.is_empty(), "no request was cancelled");

    let column = Column::Driver(index);
    let put = |board: &mut Board, what: &str, unit, bar, figure| {
        board
            .row(TITLE, &label(streams, what), unit)
            .bar(bar)
            .put(column, figure);
    };
    let held = number(&summary, "/client_health/concurrency/held_avg")?;
    put(board, "streams held on average", "", Bar::None, held);
    let cancelled = own.asked.len() as f64;
    put(board, "cancelled", "", Bar::None, cancelled);
    let (mut seen, mut on_wire) = errors(&truths, packets.as_ref());
    let wire = packets.is_some().then_some(&mut on_wire);
    let sources = [
        ("asked, the client says", Some(&mut own.asked), false),
        (CLOSED, Some(&mut own.closed), false),
        ("on the wire", wire, true),
        ("the server saw", Some(&mut seen), false),
    ];
    for (source, values, barred) in sources {
        let Some(values) = values else { continue };
        for (name, share) in [("p50", 0.5), ("p99", 0.99), ("least", 0.0)] {
            let bar = match (barred, streams, name) {
                (true, 100, "p50") => Bar::AtMost(20.0),
                (true, 100, "p99") => Bar::AtMost(500.0),
                (true, 1_000, "p50") => Bar::AtMost(50.0),
                (true, _, "least") => Bar::AtLeast(0.0),
                _ => Bar::None,
            };
            if let Some(figure) = stats::at(values, share) {
                put(board, &format!("{source}, {name}"), "µs", bar, figure);
            }
        }
        let early = values.iter().filter(|&&error| error < 0.0).count() as f64;
        if barred {
            put(
                board,
                "on the wire, matched",
                "",
                Bar::None,
                values.len() as f64,
            );
            put(board, "on the wire, too early", "", Bar::AtMost(0.0), early);
        }
    }
    Ok(())
}

/// As the server saw it, and as the packets show it, in µs past the delay.
fn errors(truths: &HashMap<String, Truth>, packets: Option<&Packets>) -> (Vec<f64>, Vec<f64>) {
    let left = truths
        .values()
        .filter(|truth| truth.closed > 0 && truth.full > 0);
    let past = |from: u64, to: u64| (stats::between(from, to) - DELAY_NS) / 1e3;
    let mut both = (Vec::new(), Vec::new());
    for truth in left {
        both.0.push(past(truth.full, truth.closed));
        if let Some(hangup) = packets.and_then(|p| p.nearest(truth.port, truth.closed)) {
            both.1.push(past(hangup.last_byte, hangup.end));
        }
    }
    both
}
