//! measure: what pinfire costs and how exact it is, beside the floor and wrk, as one table.

mod board;
mod capture;
mod child;
mod conditions;
mod programs;
mod scene;
mod sections;
mod stats;

use std::{cell::RefCell, path::PathBuf, process::Command, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use pinfire_tools::truth;

use board::Board;
use programs::Programs;
use scene::{ATTEMPTS, STOLEN, Scene};
use sections::Section;

/// Measures pinfire against its mock server and beside the floor and wrk, and prints one table:
/// medians over the rounds, least and greatest in brackets. What is compared runs side by side in
/// every round, and a ratio is the median of the rounds' ratios.
#[derive(Parser)]
#[command(name = "measure")]
struct Args {
    /// Rounds.
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// One short round.
    #[arg(long)]
    quick: bool,
    /// Kernel interfaces of the engine, one column each.
    #[arg(
        long,
        value_name = "LIST",
        default_value = "uring,epoll",
        value_delimiter = ','
    )]
    driver: Vec<Driver>,
    /// What to measure.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "cpu,instant,ttft,cancel,proto,timer,start,memory"
    )]
    only: Vec<Section>,
    /// The server's processor.
    #[arg(long, value_name = "N", default_value = "1")]
    server_cpu: usize,
    /// The client's processor.
    #[arg(long, value_name = "N", default_value = "0")]
    client_cpu: usize,
    /// SCHED_FIFO for the server, the floor, wrk and the engine's threads.
    #[arg(long)]
    realtime: bool,
    /// Write the table to this file too.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Take the programs beside this one as they are.
    #[arg(long)]
    no_build: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Driver {
    /// io_uring
    Uring,
    /// epoll
    Epoll,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("measure: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// False if a part could not be measured.
fn run(args: &Args) -> Result<bool> {
    if args.realtime && !may_be_realtime() {
        bail!("--realtime needs chrt and the right to use SCHED_FIFO");
    }
    let drivers: Vec<String> = args.driver.iter().map(|driver| driver.name()).collect();
    let scene = Scene {
        programs: Programs::find(!args.no_build)?,
        drivers: drivers.clone(),
        server_cpu: args.server_cpu,
        client_cpu: args.client_cpu,
        realtime: args.realtime,
        rounds: if args.quick { 1 } else { args.rounds },
        quick: args.quick,
        folder: tempfile::tempdir().context("no folder for temporary files")?,
        stolen: RefCell::default(),
    };
    let mut board = Board::new(drivers);
    let mut whole = true;
    let before = conditions::of(&scene);
    let stolen = conditions::stolen();
    for section in &args.only {
        eprintln!("measuring: {}", section.title());
        if let Err(error) = section.measure(&scene, &mut board) {
            eprintln!("measure: {}: {error:#}", section.title());
            board.note(format!("«{}» is not complete: {error:#}", section.title()));
            whole = false;
        }
    }
    let now = conditions::stolen();
    let text = format!(
        "{before}\nLoad average at the end: {}; taken by the hypervisor: {:.1} % of the time.\n{}\n\n{}",
        conditions::load(),
        100.0 * (now.0 - stolen.0) / (now.1 - stolen.1).max(1.0),
        steadiness(&scene),
        board.markdown()
    );
    print!("{text}");
    if let Some(path) = &args.markdown {
        std::fs::write(path, &text)
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(whole)
}

impl Driver {
    fn name(self) -> String {
        match self {
            Self::Uring => "uring",
            Self::Epoll => "epoll",
        }
        .to_owned()
    }
}

/// How many runs lost much to the hypervisor.
fn steadiness(scene: &Scene) -> String {
    let stolen = scene.stolen.borrow();
    let unsteady = stolen.iter().filter(|&&share| share > STOLEN).count();
    format!(
        "A run of which the hypervisor took more than {:.0} % was made again, {ATTEMPTS} times at \
         most, and the one that lost least was kept: {unsteady} of {} kept runs lost more.",
        STOLEN * 100.0,
        stolen.len()
    )
}

fn may_be_realtime() -> bool {
    let tried = Command::new("chrt").args(["-f", "50", "true"]).output();
    tried.is_ok_and(|output| output.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn flags_hold_together_and_have_help() {
        let command = Args::command();
        command.clone().debug_assert();
        for arg in command.get_arguments() {
            assert!(arg.get_help().is_some(), "{}", arg.get_id());
        }
    }
}
