//! From exec to the first request's bytes at the server, with the embedded tokenizer.

use anyhow::{Context, Result};
use pinfire_base::clock;

use crate::{
    board::{Bar, Board, Column},
    child::Running,
    programs::{LIMIT, Mock, Profile},
    scene::Scene,
    stats, truth,
};

pub const TITLE: &str = "Start-up with the embedded tokenizer";

pub fn measure(scene: &Scene, board: &mut Board) -> Result<()> {
    for _ in 0..scene.size(2, 5) {
        for (index, driver) in scene.columns() {
            let mock = Mock::start(scene, &["--instant", "--tokens", "1"], true)?;
            let profile = Profile {
                server: mock.address,
                driver,
                streams: 1,
                requests: 1,
                flags: &["--streaming"],
                lines: false,
                trusted: None,
            };
            scene.pause();
            let mut command = profile.command(scene);
            let before = clock::unix_now();
            Running::start(&mut command, "pinfire", scene.scratch())?.finish(LIMIT)?;
            let truths = truth::read(&mock.stop()?)?;
            let first = truths.values().map(|truth| truth.first).min();
            let first = first.context("the server saw no request")?;
            let row = board.row(TITLE, "exec to the first request's bytes", "ms");
            row.bar(Bar::AtMost(300.0))
                .put(Column::Driver(index), stats::between(before, first) / 1e6);
        }
    }
    Ok(())
}
