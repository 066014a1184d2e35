//! What an event costs in the protocol core alone, without sockets.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    board::{Board, Column},
    child::Running,
    programs::{LIMIT, Mock, installed, json_line, number},
    scene::Scene,
};

pub const TITLE: &str = "Protocol core, 10,000 chat events, LF, one chunk each";
const CUTS: [(&str, &str); 2] = [("event", "an event per read"), ("read", "64 KiB per read")];

pub fn measure(scene: &Scene, board: &mut Board) -> Result<()> {
    let file = scene.scratch().join("stream.http");
    record(scene, &file)?;
    let valgrind = installed("valgrind");
    if !valgrind {
        board.note("valgrind is not installed: no instructions.".into());
    }
    for (cut, name) in CUTS {
        let command = |repeat: &str| {
            let mut command = Command::new(scene.programs.path("proto-count"));
            command.args(["--cut", cut, "--repeat", repeat]).arg(&file);
            command
        };
        let mut events = 1.0;
        for _ in 0..scene.rounds {
            let line = json_line(scene, command("50"), "proto-count")?;
            events = number(&line, "/events")?;
            let row = board.row(TITLE, &format!("{name}: time"), "ns per event");
            row.put(Column::Beside, number(&line, "/ns_per_event")?);
        }
        if valgrind {
            let more = instructions(scene, &command("1"))? - instructions(scene, &command("0"))?;
            let row = board.row(TITLE, &format!("{name}: instructions"), "per event");
            row.put(Column::Beside, more / events);
        }
    }
    if valgrind {
        triggers(scene, board, &file)?;
    }
    Ok(())
}

/// What the trigger of a cancel costs a request that has none, and one that waits for it all along.
fn triggers(scene: &Scene, board: &mut Board, file: &Path) -> Result<()> {
    for trigger in ["none", "first-token", "tokens:9000"] {
        let command = |repeat: &str| {
            let mut command = Command::new(scene.programs.path("proto-count"));
            command.args(["--cut", "event", "--request", trigger, "--repeat", repeat]);
            command.arg(file);
            command
        };
        let line = json_line(scene, command("1"), "proto-count")?;
        let events = number(&line, "/events")?;
        let more = instructions(scene, &command("1"))? - instructions(scene, &command("0"))?;
        let what = format!("an event per read to a request, trigger {trigger}: instructions");
        let row = board.row(TITLE, &what, "per event");
        row.put(Column::Beside, more / events);
    }
    Ok(())
}

/// Takes down one long answer of the server, as it comes from the socket.
fn record(scene: &Scene, file: &Path) -> Result<()> {
    let mock = Mock::start(
        scene,
        &["--instant", "--tokens", "10000", "--ignore-max"],
        false,
    )?;
    let body = r#"{"messages":[{"role":"user","content":"a"}],"model":"mock","stream":true}"#;
    let limit = Some(Duration::from_secs(10));
    let mut socket = TcpStream::connect(mock.address).context("the server cannot be reached")?;
    socket.set_read_timeout(limit)?;
    write!(
        socket,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: mock\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    let mut buffer = vec![0; 65_536];
    while !answer.ends_with(b"\r\n0\r\n\r\n") {
        match socket.read(&mut buffer).context("the answer was cut off")? {
            0 => break,
            count => answer.extend_from_slice(&buffer[..count]),
        }
    }
    mock.stop()?;
    std::fs::write(file, answer).context("the answer cannot be kept")
}

/// Instructions of a whole program, counted by callgrind.
fn instructions(scene: &Scene, program: &Command) -> Result<f64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(program.get_program()).args(program.get_args());
    command.arg("--untimed");
    let mut running = Running::start(&mut command, "valgrind", scene.scratch())?;
    let count = |child: &Running| {
        let text = child.complained();
        let line = text.lines().find(|line| line.contains("Collected : "))?;
        line.rsplit(' ').next()?.parse().ok()
    };
    let found = running.until(LIMIT, "count", count)?;
    running.finish(LIMIT)?;
    Ok(found)
}
