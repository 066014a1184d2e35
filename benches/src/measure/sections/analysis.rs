//! What a record costs on the analysis side, on one core.

use std::process::Command;

use anyhow::Result;

use crate::{
    board::{Board, Column},
    programs::{json_line, number},
    scene::Scene,
};

pub const TITLE: &str = "Analysis, records of 64 events per second of CPU, one core";
const PARTS: [(&str, &str); 6] = [
    ("parsing", "parsing answers"),
    ("tokenising", "counting tokens"),
    ("reducing", "metrics, columns and the line per request"),
    ("summing", "figures at the end"),
    ("all", "all of these"),
    ("rebuilding", "report from the lines per request"),
];

pub fn measure(scene: &Scene, board: &mut Board) -> Result<()> {
    for _ in 0..scene.rounds {
        let mut command = Command::new(scene.programs.path("analysis-count"));
        command.arg("--folder").arg(scene.scratch());
        let line = json_line(scene, command, "analysis-count")?;
        for (key, name) in PARTS {
            let row = board.row(TITLE, name, "records per second");
            row.put(Column::Beside, number(&line, &format!("/{key}"))?);
        }
    }
    Ok(())
}
