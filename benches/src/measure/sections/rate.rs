//! How late the sends of a constant rate are.

use anyhow::Result;

use crate::{
    board::{Bar, Board, Column},
    programs::{Mock, Profile},
    scene::Scene,
    stats, truth,
};

pub const TITLE: &str = "Sends at a constant 1,000/s against their instants";

pub fn measure(scene: &Scene, board: &mut Board) -> Result<()> {
    for _ in 0..scene.rounds {
        for (index, driver) in scene.columns() {
            let mut joined = scene.steady(|| {
                let mock = Mock::start(scene, &["--tokens", "8"], true)?;
                let profile = Profile {
                    server: mock.address,
                    driver,
                    streams: 0,
                    requests: scene.size(2_000, 10_000),
                    flags: &[
                        "--streaming",
                        "--request-rate",
                        "1000",
                        "--arrival-pattern",
                        "constant",
                    ],
                    lines: true,
                    trusted: None,
                };
                let (_, lines) = profile.run(scene)?;
                truth::join(&lines, &truth::read(&mock.stop()?)?)
            })?;
            for (what, values, barred) in [
                ("start of the request", &mut joined.started, true),
                ("first byte at the server", &mut joined.arrived, false),
            ] {
                for (name, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
                    let bar = match name {
                        "p99" if barred => Bar::AtMost(200.0),
                        _ => Bar::None,
                    };
                    if let Some(figure) = stats::at(values, share) {
                        let row = board.row(TITLE, &format!("{what}: {name}"), "µs");
                        row.bar(bar).put(Column::Driver(index), figure);
                    }
                }
            }
        }
    }
    Ok(())
}
