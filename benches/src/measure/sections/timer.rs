//! Lateness of deadlines on an idle core, for each way of meeting them.

use anyhow::Result;
use serde_json::Value;

use crate::{
    board::{Board, Column},
    programs::{Mock, json_line, number},
    scene::Scene,
};

pub const TITLE: &str = "Timer lateness, idle, deadlines 2 ms apart";

pub fn measure(scene: &Scene, board: &mut Board) -> Result<()> {
    // No answer comes before the deadline.
    let mock = Mock::start(scene, &["--ttft", "1000", "--precision", "sleep"], false)?;
    for _ in 0..scene.rounds {
        for (index, driver) in scene.columns() {
            for precision in ["sleep", "lead", "spin"] {
                let mut command = scene.engine_load(mock.address, driver);
                command.args(["--concurrency", "1", "--cancel", "100", "--delay", "2"]);
                command.args(["--requests", scene.size("300", "2000")]);
                command.args(["--precision", precision]);
                let line = json_line(scene, command, "engine-load")?;
                put(board, index, precision, &line)?;
            }
        }
    }
    mock.stop()?;
    Ok(())
}

fn put(board: &mut Board, driver: usize, precision: &str, line: &Value) -> Result<()> {
    for (place, name) in ["p50", "p90", "p99"].into_iter().enumerate() {
        let late = number(line, &format!("/cancel_late_ns/{place}"))? / 1e3;
        let row = board.row(TITLE, &format!("{precision}: {name}"), "µs");
        row.put(Column::Driver(driver), late);
    }
    Ok(())
}
