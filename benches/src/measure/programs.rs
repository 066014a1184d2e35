//! The programs that are measured, and how each is called.

use std::{
    cell::RefCell,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use pinfire_base::clock::Span;
use rustix::process::Signal;
use serde_json::Value;

use crate::{child::Running, scene::Scene};

/// The workspace's binaries, in release.
pub struct Programs {
    folder: PathBuf,
}

/// Names of the workspace's programs.
const NAMES: [&str; 6] = [
    "pinfire",
    "pinfire-mock",
    "pinfire-floor",
    "engine-load",
    "proto-count",
    "analysis-count",
];

impl Programs {
    /// Builds them by cargo when this program was started by it or they are not beside it.
    pub fn find(build: bool) -> Result<Self> {
        let own = std::env::current_exe().context("this program's own path is unknown")?;
        let beside = own
            .parent()
            .context("this program has no folder")?
            .to_owned();
        let programs = Self { folder: beside };
        let cargo = std::env::var_os("CARGO");
        if build && (cargo.is_some() || programs.missing().is_some()) {
            let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
            let status = Command::new(cargo.unwrap_or_else(|| "cargo".into()))
                .args(["build", "--release", "--bins", "--manifest-path"])
                .arg(manifest)
                .args([
                    "-p",
                    "pinfire",
                    "-p",
                    "pinfire-tools",
                    "-p",
                    "pinfire-benches",
                ])
                .status()
                .context("cargo cannot be started")?;
            if !status.success() {
                bail!("the programs to be measured do not build");
            }
        }
        match programs.missing() {
            None => Ok(programs),
            Some(name) => bail!(
                "{name} is not in {}; run this by `cargo run --release`",
                programs.folder.display()
            ),
        }
    }

    fn missing(&self) -> Option<&'static str> {
        NAMES
            .into_iter()
            .find(|name| !self.folder.join(name).is_file())
    }

    /// A program's path.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Whether a program of the system is installed.
pub fn installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// A server that runs.
pub struct Mock {
    running: Running,
    /// Where it listens.
    pub address: SocketAddr,
    truth: PathBuf,
}

/// More than any run here takes.
pub const LIMIT: Span = Span::from_millis(60_000);
const START: Span = Span::from_millis(10_000);

impl Mock {
    /// Starts pinfire-mock with these flags on the server's processor.
    pub fn start(scene: &Scene, flags: &[&str], logged: bool) -> Result<Self> {
        let truth = scene.scratch().join("truth.jsonl");
        let mut command = scene.command("pinfire-mock");
        command.args([
            "--listen",
            "127.0.0.1:0",
            "--cpu",
            &scene.server_cpu.to_string(),
        ]);
        command.args(flags);
        if logged {
            command.arg("--truth").arg(&truth);
        }
        let mut running = Running::start(&mut command, "pinfire-mock", scene.scratch())?;
        let address = running.until(START, "address", |child| {
            let printed = child.printed();
            let line = printed.lines().next()?;
            line.strip_prefix("listening on http://")?.parse().ok()
        })?;
        Ok(Self {
            running,
            address,
            truth,
        })
    }

    /// Stops it; gives its log, empty if it was to keep none.
    pub fn stop(self) -> Result<String> {
        let Self { running, truth, .. } = self;
        running.stop(Signal::TERM)?;
        if !truth.exists() {
            return Ok(String::new());
        }
        let text = std::fs::read_to_string(&truth).context("the truth log cannot be read")?;
        std::fs::remove_file(&truth).context("the truth log cannot be removed")?;
        Ok(text)
    }
}

/// Runs a program that prints one line of JSON.
pub fn json_line(scene: &Scene, command: Command, name: &str) -> Result<Value> {
    let command = RefCell::new(command);
    let run = || Running::start(&mut command.borrow_mut(), name, scene.scratch())?.finish(LIMIT);
    let printed = scene.steady(run)?;
    serde_json::from_str(printed.trim()).with_context(|| format!("{name} printed no JSON"))
}

/// A number of a JSON value; missing is an error.
pub fn number(value: &Value, pointer: &str) -> Result<f64> {
    let found = value.pointer(pointer).and_then(Value::as_f64);
    found.with_context(|| format!("{pointer} is missing in an output"))
}

/// One run of `pinfire profile`.
pub struct Profile<'a> {
    /// The server.
    pub server: SocketAddr,
    /// `--io-driver`
    pub driver: &'a str,
    /// `--concurrency`; 0 leaves it out.
    pub streams: u64,
    /// `--request-count`
    pub requests: u64,
    /// Other flags.
    pub flags: &'a [&'a str],
    /// A line per request is written.
    pub lines: bool,
    /// Talk TLS, and trust the certificate in this file.
    pub trusted: Option<&'a Path>,
}

impl Profile<'_> {
    /// Its command.
    pub fn command(&self, scene: &Scene) -> Command {
        // Its other threads keep their ordinary class: only the engine's core is to be real-time.
        let mut command = Command::new(scene.programs.path("pinfire"));
        command.args([
            "profile",
            "--model",
            "mock",
            "--tokenizer",
            "builtin",
            "--ui",
            "none",
        ]);
        let scheme = match self.trusted {
            Some(certificate) => {
                command.arg("--ca-cert").arg(certificate);
                "https"
            }
            None => "http",
        };
        command.args(["--url", &format!("{scheme}://{}", self.server)]);
        command.args(["--cores", &format!("{},", scene.client_cpu)]);
        command.args(["--io-driver", self.driver]);
        if self.streams > 0 {
            command.args(["--concurrency", &self.streams.to_string()]);
        }
        command.args(["--request-count", &self.requests.to_string()]);
        command.args(["--isl", "100", "--num-dataset-entries", "1"]);
        command.args([
            "--export-level",
            if self.lines { "records" } else { "summary" },
        ]);
        command.arg("--artifact-dir").arg(artifacts(scene));
        if scene.realtime {
            command.arg("--realtime");
        }
        command.args(self.flags);
        command
    }

    /// Runs it; gives the summary and the lines.
    pub fn run(&self, scene: &Scene) -> Result<(Value, String)> {
        let folder = artifacts(scene);
        if folder.exists() {
            std::fs::remove_dir_all(&folder).context("old artifacts cannot be removed")?;
        }
        Running::start(&mut self.command(scene), "pinfire", scene.scratch())?.finish(LIMIT)?;
        let read = |name: &str| {
            std::fs::read_to_string(folder.join(name))
                .with_context(|| format!("pinfire has written no {name}"))
        };
        let summary = serde_json::from_str(&read("profile_export_aiperf.json")?)
            .context("the summary is no JSON")?;
        let lines = if self.lines {
            read("profile_export.jsonl")?
        } else {
            String::new()
        };
        Ok((summary, lines))
    }
}

fn artifacts(scene: &Scene) -> PathBuf {
    scene.scratch().join("artifacts")
}
