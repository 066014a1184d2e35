//! How late the sends of a constant rate are.

use anyhow::Result;

use crate::{
    board::{Bar, Board, Column},
    programs::{Mock, Profile},
    scene::Scene,
    stats, truth,
};

pub const TITLE: &str = "Sends at a constant 1,000/s against their instants";
/// Nanoseconds from one instant to the next.
const GAP: u64 = 1_000_000;

pub fn measure(scene: &Scene, board: &mut Board) -> Result<()> {
    for _ in 0..scene.rounds {
        for (index, driver) in scene.columns() {
            let joined = scene.steady(|| {
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
                Ok(truth::join(&lines, &truth::read(&mock.stop()?)?)?)
            })?;
            let (mut started, mut arrived) = errors(&joined.starts);
            for (what, values, barred) in [
                ("start of the request", &mut started, true),
                ("first byte at the server", &mut arrived, false),
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

/// How late each request began and arrived, in µs, against a grid through the one that began
/// earliest: none begins before its instant.
fn errors(starts: &[(u64, u64, u64)]) -> (Vec<f64>, Vec<f64>) {
    let origin = |&(number, start, _): &(u64, u64, u64)| start.saturating_sub(number * GAP);
    let Some(origin) = starts.iter().map(origin).min() else {
        return (Vec::new(), Vec::new());
    };
    let late = |number: u64, at: u64| stats::between(origin + number * GAP, at) / 1e3;
    starts
        .iter()
        .map(|&(number, start, first)| (late(number, start), late(number, first)))
        .unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_goes_through_the_earliest() {
        let starts = [
            (2, 7_000_000, 7_010_000),
            (0, 5_003_000, 5_004_000),
            (1, 6_001_000, 6_001_500),
        ];
        let (started, arrived) = errors(&starts);
        assert_eq!(started, [0.0, 3.0, 1.0]);
        assert_eq!(arrived, [10.0, 4.0, 1.5]);
    }
}
