//! What all measurements share: processors, drivers, rounds, the folder for files.

use std::{cell::RefCell, path::Path, process::Command, time::Duration};

use anyhow::Result;

use crate::{conditions, programs::Programs};

/// The setting of all runs.
pub struct Scene {
    /// The workspace's programs.
    pub programs: Programs,
    /// Values of `--io-driver`, one column each.
    pub drivers: Vec<String>,
    /// The server's processor.
    pub server_cpu: usize,
    /// The client's processor.
    pub client_cpu: usize,
    /// SCHED_FIFO for server, floor, wrk and the engine's threads.
    pub realtime: bool,
    /// Rounds.
    pub rounds: u32,
    /// Short runs.
    pub quick: bool,
    /// Files of the runs; removed at the end.
    pub folder: tempfile::TempDir,
    /// Share of the time that the hypervisor took, of every run that was kept.
    pub stolen: RefCell<Vec<f64>>,
}

/// A run of which the hypervisor took more than this is repeated.
pub const STOLEN: f64 = 0.05;
/// Runs made at most to get one below it; the one that lost least is kept.
pub const ATTEMPTS: u32 = 3;
const RECOVERY: Duration = Duration::from_secs(3);

impl Scene {
    /// The folder for files.
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// A command of the workspace's or the system's, in the real-time class if that was asked for.
    pub fn command(&self, name: &str) -> Command {
        let path = self.programs.path(name);
        let program = if path.is_file() { path } else { name.into() };
        if !self.realtime {
            return Command::new(program);
        }
        let mut command = Command::new("chrt");
        command.args(["-f", "50"]).arg(program);
        command
    }

    /// The driver columns with their numbers.
    pub fn columns(&self) -> impl Iterator<Item = (usize, &str)> {
        self.drivers.iter().map(String::as_str).enumerate()
    }

    /// One of two sizes.
    pub fn size<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }

    /// Lets others have the processors between two runs.
    pub fn pause(&self) {
        std::thread::sleep(Duration::from_millis(200));
    }

    /// Makes a run, again if the hypervisor took much of it.
    pub fn steady<T>(&self, run: impl Fn() -> Result<T>) -> Result<T> {
        let mut kept: Option<(f64, T)> = None;
        for _ in 0..ATTEMPTS {
            self.pause();
            let before = conditions::stolen();
            let made = run()?;
            let after = conditions::stolen();
            let share = (after.0 - before.0) / (after.1 - before.1).max(1.0);
            if kept.as_ref().is_none_or(|(least, _)| share < *least) {
                kept = Some((share, made));
            }
            if share <= STOLEN {
                break;
            }
            std::thread::sleep(RECOVERY);
        }
        let Some((share, made)) = kept else {
            return run();
        };
        self.stolen.borrow_mut().push(share);
        Ok(made)
    }

    /// engine-load against a server.
    pub fn engine_load(&self, server: std::net::SocketAddr, driver: &str) -> Command {
        let mut command = Command::new(self.programs.path("engine-load"));
        command.args(["--connect", &server.to_string()]);
        command.args(["--cpu", &self.client_cpu.to_string()]);
        if driver == "epoll" {
            command.arg("--epoll");
        }
        if self.realtime {
            command.arg("--realtime");
        }
        command
    }

    /// pinfire-floor against a server.
    pub fn floor(&self, server: std::net::SocketAddr) -> Command {
        let mut command = self.command("pinfire-floor");
        command.args(["--server", &server.to_string()]);
        command.args(["--cpu", &self.client_cpu.to_string()]);
        command
    }
}
