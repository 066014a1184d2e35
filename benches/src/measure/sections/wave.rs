//! A wave of 1,000 cancels, and cancels at the first token: as the client says, as the packets
//! show, as the server saw.

use std::collections::HashMap;

use anyhow::{Result, ensure};

use crate::{
    board::{Bar, Board, Column},
    capture::{Capture, Packets},
    programs::{Mock, Profile, installed},
    scene::Scene,
    stats,
    truth::{self, Truth},
};

pub const TITLE: &str = "A wave of 1,000 cancels; cancels at the first token";
const STREAMS: u64 = 1_000;

pub fn measure(scene: &Scene, board: &mut Board) -> Result<()> {
    let wire = installed("tcpdump") && installed("taskset");
    for _ in 0..scene.rounds {
        for (index, driver) in scene.columns() {
            wave(scene, board, (index, driver), wire)?;
            first_token(scene, board, (index, driver))?;
        }
    }
    board.note(
        "Wave: 1,000 streams (64 tokens 50 ms apart after 20 ms), all left at one instant 2 s after the \
         begin; from the first to the last, by the client's stamps, by FINs in tcpdump's, and by when \
         the server noticed. First token: 100 streams, every request left with delay 0; from the \
         server's write of the first token to its noticing of the FIN."
            .into(),
    );
    Ok(())
}

/// Flags of the load and of what is cancelled.
const WAVE: [&str; 7] = [
    "--streaming",
    "--request-cancellation-rate",
    "100",
    "--request-cancellation-trigger",
    "first-token",
    "--request-cancellation-wave",
    "2",
];

fn wave(
    scene: &Scene,
    board: &mut Board,
    (index, driver): (usize, &str),
    wire: bool,
) -> Result<()> {
    let (lines, truths, packets) = scene.steady(|| {
        let mock = Mock::start(scene, &["--itl", "50", "--tokens", "64"], true)?;
        let capture = wire
            .then(|| Capture::start(scene, mock.address.port()))
            .transpose()?;
        let profile = Profile {
            server: mock.address,
            driver,
            streams: STREAMS,
            requests: STREAMS,
            flags: &WAVE,
            lines: true,
            trusted: None,
        };
        let (_, lines) = profile.run(scene)?;
        let packets = capture.map(Capture::finish).transpose()?;
        Ok((lines, truth::read(&mock.stop()?)?, packets))
    })?;
    // The first wave has nearly all; those whose first token came later are in the next.
    let left = truth::leavings(&lines)?;
    let due = left.iter().map(|left| left.due).min().unwrap_or_default();
    let left: Vec<_> = left.into_iter().filter(|left| left.due == due).collect();
    ensure!(!left.is_empty(), "no request was cancelled");
    let column = Column::Driver(index);
    let put = |board: &mut Board, what: &str, unit, bar, figure| {
        board.row(TITLE, what, unit).bar(bar).put(column, figure);
    };
    put(board, "wave: cancels", "", Bar::None, left.len() as f64);
    let late = left.iter().map(|left| stats::between(due, left.asked));
    let late = late.fold(f64::MAX, f64::min) / 1e3;
    put(
        board,
        "wave: first asked, past its instant",
        "µs",
        Bar::None,
        late,
    );
    let client = spread(left.iter().flat_map(|left| [left.asked, left.closed]));
    put(
        board,
        "wave: spread, the client says",
        "ms",
        Bar::AtMost(5.0),
        client,
    );
    let truths: Vec<&Truth> = left
        .iter()
        .filter_map(|left| truths.get(&left.id))
        .collect();
    if let Some(packets) = &packets {
        let fins = ends(&truths, packets);
        put(
            board,
            "wave: FINs matched",
            "",
            Bar::None,
            fins.len() as f64,
        );
        put(
            board,
            "wave: spread on the wire",
            "ms",
            Bar::AtMost(5.0),
            spread(fins.into_iter()),
        );
    }
    let seen = spread(truths.iter().map(|truth| truth.closed));
    put(
        board,
        "wave: spread, the server noticed",
        "ms",
        Bar::None,
        seen,
    );
    Ok(())
}

/// The FINs of the wave.
fn ends(truths: &[&Truth], packets: &Packets) -> Vec<u64> {
    let nearest = |truth: &&Truth| packets.nearest(truth.port, truth.closed);
    let ends = truths.iter().filter_map(nearest);
    ends.map(|hangup| hangup.end).collect()
}

/// From the first to the last, in ms.
fn spread(instants: impl Iterator<Item = u64>) -> f64 {
    let (low, high) = instants.fold((u64::MAX, 0), |(low, high), at| (low.min(at), high.max(at)));
    stats::between(low.min(high), high) / 1e6
}

fn first_token(scene: &Scene, board: &mut Board, (index, driver): (usize, &str)) -> Result<()> {
    let truths: HashMap<String, Truth> = scene.steady(|| {
        let mock = Mock::start(scene, &[], true)?;
        let profile = Profile {
            server: mock.address,
            driver,
            streams: 100,
            requests: scene.size(500, 2_000),
            flags: &WAVE[..5],
            lines: true,
            trusted: None,
        };
        profile.run(scene)?;
        Ok(truth::read(&mock.stop()?)?)
    })?;
    let left = truths.values().filter(|t| t.closed > 0 && t.w_first > 0);
    let mut late: Vec<f64> = left
        .map(|truth| stats::between(truth.w_first, truth.closed) / 1e3)
        .collect();
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        if let Some(figure) = stats::at(&mut late, share) {
            let what = format!("first token to FIN seen, {name}");
            let row = board.row(TITLE, &what, "µs").bar(Bar::AtMost(1_000.0));
            row.put(Column::Driver(index), figure);
        }
    }
    Ok(())
}
