//! Instant one-token answers: how many requests a second one core makes, beside wrk and the floor.

use std::cell::RefCell;

use anyhow::{Context, Result};

use crate::{
    board::{Bar, Board, Column},
    child::Running,
    programs::{LIMIT, Mock, Profile, installed, json_line, number},
    scene::Scene,
};

pub const TITLE: &str = "Instant one-token answers, 64 connections, one core: requests per second";
const BAR: Bar = Bar::AtLeast(0.8);

pub fn measure(scene: &Scene, board: &mut Board) -> Result<()> {
    let mock = Mock::start(scene, &["--instant", "--tokens", "1"], false)?;
    let wrk = installed("wrk") && installed("taskset");
    if !wrk {
        board.note("wrk or taskset is not installed: no ratios to wrk.".into());
    }
    for _ in 0..scene.rounds {
        for streaming in [true, false] {
            round(scene, board, &mock, streaming, wrk)?;
        }
    }
    mock.stop()?;
    Ok(())
}

fn round(
    scene: &Scene,
    board: &mut Board,
    mock: &Mock,
    streaming: bool,
    with_wrk: bool,
) -> Result<()> {
    let kind = if streaming {
        "streaming"
    } else {
        "not streaming"
    };
    let label = |what: &str| format!("{kind}: {what}");
    let requests: u64 = scene.size(50_000, 100_000);
    let count = requests.to_string();
    let load = ["--concurrency", "64", "--requests", &count];

    let base = match with_wrk {
        true => Some(wrk(scene, mock, streaming)?),
        false => None,
    };
    let mut floor = scene.floor(mock.address);
    floor.args(load).args(["--osl", "1"]);
    if streaming {
        floor.arg("--stream");
    }
    let floor = json_line(scene, floor, "pinfire-floor")?;
    let floor_cpu = number(&floor, "/cpu_us_per_request")?;
    let floor = number(&floor, "/requests_per_s")?;

    for (index, driver) in scene.columns() {
        let column = Column::Driver(index);
        let mut engine = scene.engine_load(mock.address, driver);
        engine.args(load).args(["--tokens", "1"]);
        if !streaming {
            engine.arg("--plain");
        }
        let engine = json_line(scene, engine, "engine-load")?;
        let profile = Profile {
            server: mock.address,
            driver,
            streams: 64,
            requests,
            flags: if streaming {
                &["--streaming", "--osl", "1"]
            } else {
                &["--osl", "1"]
            },
            lines: false,
            trusted: None,
        };
        let (summary, _) = scene.steady(|| profile.run(scene))?;
        let wall = number(&summary, "/client_health/cores/0/wall_time_sec")?;
        let figures = [
            ("engine alone", number(&engine, "/requests_per_s")?),
            ("whole binary", requests as f64 / wall),
        ];
        for (what, figure) in figures {
            let row = board.row(TITLE, &label(what), "");
            let row = row.beside("floor").put(column, figure);
            if index == 0 {
                row.put(Column::Beside, floor);
            }
        }
        let core = number(&summary, "/client_health/cores/0/cpu_time_sec")?;
        let cpu = [
            ("engine alone", number(&engine, "/cpu_us_per_request")?),
            ("core of the whole binary", core * 1e6 / requests as f64),
        ];
        for (what, figure) in cpu {
            let row = board.row(TITLE, &label(&format!("{what}, CPU")), "µs per request");
            let row = row.beside("floor").put(column, figure);
            if index == 0 {
                row.put(Column::Beside, floor_cpu);
            }
        }
        for (what, figure) in figures {
            let Some(base) = base else { break };
            let row = board.row(TITLE, &label(&format!("{what}, ratio to wrk")), "");
            let row = row.bar(BAR).beside("floor").put(column, figure / base);
            if index == 0 {
                row.put(Column::Beside, floor / base);
            }
        }
    }
    if let Some(base) = base {
        let row = board.row(TITLE, &label("wrk"), "");
        row.beside("wrk").put(Column::Beside, base);
    }
    Ok(())
}

/// Requests per second of wrk with the same request.
fn wrk(scene: &Scene, mock: &Mock, streaming: bool) -> Result<f64> {
    let script = scene.scratch().join("wrk.lua");
    let body = serde_json::json!({
        "messages": [{"role": "user", "content": "word ".repeat(100)}],
        "model": "mock",
        "stream": streaming,
        "max_completion_tokens": 1,
    });
    let text = format!(
        "wrk.method = 'POST'\nwrk.body = [[{body}]]\n\
         wrk.headers['Content-Type'] = 'application/json'\n\
         wrk.headers['X-Request-ID'] = '00000000-0000-4000-8000-000000000000'\n"
    );
    std::fs::write(&script, text).context("wrk's script cannot be written")?;
    let mut command = scene.command("taskset");
    command.args(["-c", &scene.client_cpu.to_string(), "wrk", "-t1", "-c64"]);
    command
        .args(["-d", scene.size("1s", "2s"), "-s"])
        .arg(script);
    command.arg(format!("http://{}/v1/chat/completions", mock.address));
    let command = RefCell::new(command);
    let run = || Running::start(&mut command.borrow_mut(), "wrk", scene.scratch())?.finish(LIMIT);
    let printed = scene.steady(run)?;
    let rate = |line: &str| {
        line.trim()
            .strip_prefix("Requests/sec:")?
            .trim()
            .parse()
            .ok()
    };
    let found = printed.lines().find_map(rate);
    found.context("wrk printed no rate")
}
