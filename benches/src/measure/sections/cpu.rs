//! CPU time of the client's loop per event, beside the floor's.

use anyhow::{Result, ensure};

use crate::{
    board::{Bar, Board, Column},
    programs::{Mock, Profile, json_line, number},
    scene::Scene,
};

pub const TITLE: &str = "CPU per SSE event (TTFT 20 ms, then 64 tokens 5 ms apart)";
const BAR: Bar = Bar::AtMost(1.3);

pub fn measure(scene: &Scene, board: &mut Board) -> Result<()> {
    for (streams, requests) in [
        (100, scene.size(600, 800)),
        (1_000, scene.size(3_000, 5_000)),
    ] {
        let mock = Mock::start(scene, &[], false)?;
        for _ in 0..scene.rounds {
            round(scene, board, &mock, streams, requests)?;
        }
        mock.stop()?;
    }
    Ok(())
}

fn round(scene: &Scene, board: &mut Board, mock: &Mock, streams: u64, requests: u64) -> Result<()> {
    let label = |what: &str| format!("{streams} streams: {what}");
    let (asked, count) = (streams.to_string(), requests.to_string());
    let load = ["--concurrency", &asked, "--requests", &count];

    let mut floor = scene.floor(mock.address);
    floor.args(load).args(["--stream", "--osl", "64"]);
    let floor = json_line(scene, floor, "pinfire-floor")?;
    let events = number(&floor, "/events")?;
    let base = number(&floor, "/cpu_us_per_event")?;
    let rate = label("events per second");
    board
        .row(TITLE, &rate, "")
        .beside("floor")
        .put(Column::Beside, number(&floor, "/events_per_s")?);

    for (index, driver) in scene.columns() {
        let column = Column::Driver(index);
        let mut engine = scene.engine_load(mock.address, driver);
        engine.args(load).args(["--tokens", "64"]);
        let engine = json_line(scene, engine, "engine-load")?;
        let same = number(&engine, "/events")?;
        ensure!(
            same == events,
            "the floor counted {events} events, engine-load {same}"
        );
        let per_second = events / number(&engine, "/wall_s")?;
        board.row(TITLE, &rate, "").put(column, per_second);

        let profile = Profile {
            server: mock.address,
            driver,
            streams,
            requests,
            flags: &["--streaming", "--osl", "64"],
            lines: false,
            trusted: None,
        };
        let (summary, _) = scene.steady(|| profile.run(scene))?;
        let core = |key: &str| number(&summary, &format!("/client_health/cores/0/{key}"));
        // It asks for usage, which is one event more per request: each counts its own.
        let own = core("events")?;
        let figures = [
            ("engine alone", number(&engine, "/cpu_us_per_event")?),
            (
                "core of the whole binary",
                core("cpu_time_sec")? * 1e6 / own,
            ),
        ];
        for (what, figure) in figures {
            let row = board.row(TITLE, &label(what), "µs").beside("floor");
            let row = row.put(column, figure);
            if index == 0 {
                row.put(Column::Beside, base);
            }
        }
        for (what, figure) in figures {
            let ratio = format!("{what}, ratio to the floor");
            board
                .row(TITLE, &label(&ratio), "")
                .bar(BAR)
                .put(column, figure / base);
        }
    }
    Ok(())
}
