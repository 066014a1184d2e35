//! The client's own error of the time to first token, against the instant the server wrote it.

use anyhow::{Result, ensure};

use crate::{
    board::{Bar, Board, Column},
    programs::{Mock, Profile},
    scene::Scene,
    stats, truth,
};

pub const TITLE: &str = "Own TTFT error (the client's figure against the server's write)";

pub fn measure(scene: &Scene, board: &mut Board) -> Result<()> {
    for _ in 0..scene.rounds {
        for (index, driver) in scene.columns() {
            for streams in [1, 100, 1_000] {
                let (requests, tokens) = match streams {
                    1 => (scene.size(30, 60), "8"),
                    100 => (scene.size(600, 800), "64"),
                    _ => (scene.size(3_000, 5_000), "64"),
                };
                let mut errors = scene.steady(|| {
                    let mock = Mock::start(scene, &["--tokens", tokens], true)?;
                    let profile = Profile {
                        server: mock.address,
                        driver,
                        streams,
                        requests,
                        flags: &["--streaming"],
                        lines: true,
                        trusted: None,
                    };
                    let (_, lines) = profile.run(scene)?;
                    Ok(truth::join(&lines, &truth::read(&mock.stop()?)?)?.first)
                })?;
                let joined = errors.len() as u64;
                ensure!(joined == requests, "{joined} of {requests} requests joined");
                put(board, index, streams, &mut errors);
            }
        }
    }
    Ok(())
}

fn put(board: &mut Board, driver: usize, streams: u64, errors: &mut [f64]) {
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
        let bar = match (streams, name) {
            (100, "p50") => Bar::AtMost(50.0),
            (100, "p99") => Bar::AtMost(1_000.0),
            (1_000, "p99") => Bar::AtMost(5_000.0),
            _ => Bar::None,
        };
        if let Some(figure) = stats::at(errors, share) {
            let plural = if streams == 1 { "" } else { "s" };
            let what = format!("{streams} stream{plural}: {name}");
            let row = board.row(TITLE, &what, "µs").bar(bar);
            row.put(Column::Driver(driver), figure);
        }
    }
}
