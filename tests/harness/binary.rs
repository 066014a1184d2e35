//! The binary `pinfire`, run as a user runs it.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::JoinHandle,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    sandbox::{Refused, without},
    watchdog::watch,
};

/// The binary that cargo has built for the test that asks. Only test targets of the binary's own
/// package have one; the variable is there at run time since cargo 1.94.
pub fn pinfire() -> PathBuf {
    const NAME: &str = "CARGO_BIN_EXE_pinfire";
    let path = std::env::var_os(NAME).unwrap_or_else(|| {
        panic!("{NAME} is not set: run this by `cargo test -p pinfire --test GROUP NAME`")
    });
    path.into()
}

/// A call of the binary in a folder of its own.
pub struct Call {
    command: Command,
    folder: TempDir,
}

/// A call that is going on.
pub struct Running {
    child: Child,
    folder: TempDir,
    out: JoinHandle<String>,
    err: JoinHandle<String>,
}

/// A call that has ended.
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
    folder: TempDir,
}

/// A call with these arguments.
pub fn call<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Call {
    let folder = TempDir::new().expect("a folder for the run");
    let mut command = Command::new(pinfire());
    command
        .args(arguments)
        .current_dir(folder.path())
        // A user's own settings must not decide a test.
        .env_clear()
        // No test asks the hub of the world.
        .env("HF_HUB_OFFLINE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Call { command, folder }
}

/// A small streaming run against `url` with its artifacts in `out`; `more` are further flags,
/// separated by blanks.
pub fn profile(url: &str, more: &str) -> Call {
    let mut call = call([
        "profile",
        "--model",
        "mock",
        "--tokenizer",
        "builtin",
        "--streaming",
    ]);
    call.command
        .args(["--url", url, "--artifact-dir", "out", "--isl", "20"])
        .args(more.split_whitespace());
    // Servers of tests often count what comes; only the embedded one, and tests of its metrics, are
    // looked at.
    if url != "mock:" && !more.contains("metrics") {
        call.command.arg("--no-server-metrics");
    }
    call
}

impl Call {
    /// The folder it runs in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Sets a variable of its environment.
    pub fn env(&mut self, name: &str, value: &str) {
        self.command.env(name, value);
    }

    /// Writes a file into its folder.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("a file in the run's folder");
    }

    /// Has it run by another program, such as one that sets a limit first.
    pub fn by(&mut self, wrapper: &[&str]) {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(self.command.get_program());
        command.args(self.command.get_args()).env_clear();
        let variables = self.command.get_envs();
        command.envs(variables.filter_map(|(name, value)| Some((name, value?))));
        command
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.command = command;
    }

    /// Adds arguments.
    pub fn more<'a>(&mut self, arguments: impl IntoIterator<Item = &'a str>) {
        self.command.args(arguments);
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        let child = self.command.spawn();
        self.started(child)
    }

    /// Starts it where the system refuses these calls.
    pub fn start_without(mut self, refused: &[Refused]) -> Running {
        let child = without(refused, || self.command.spawn());
        self.started(child)
    }

    fn started(self, child: io::Result<Child>) -> Running {
        let mut child = child.expect("pinfire starts");
        let out = gather(child.stdout.take());
        let err = gather(child.stderr.take());
        Running {
            child,
            folder: self.folder,
            out,
            err,
        }
    }

    /// Runs it to its end.
    pub fn run(self) -> Ended {
        self.start().wait()
    }
}

fn gather(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    let mut pipe = pipe.expect("a pipe");
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = pipe.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    })
}

impl Running {
    /// The folder it runs in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is still there");
    }

    /// Seconds of CPU time that it has used.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("it is still there");
        let behind_the_name = stat.rsplit_once(')').expect("a name").1;
        let ticks = behind_the_name.split_whitespace().skip(11).take(2);
        ticks
            .map(|ticks| ticks.parse::<f64>().expect("ticks"))
            .sum::<f64>()
            / 100.0
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ended {
        let guard = watch("pinfire does not end");
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child to wait for") {
                break status;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let stdout = self.out.join().expect("its output");
        let stderr = self.err.join().expect("its complaints");
        drop(guard);
        Ended {
            status,
            stdout,
            stderr,
            folder: self.folder,
        }
    }
}

impl Ended {
    /// Fails unless it ended with this code, and shows what it said.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(
            self.status.code(),
            Some(code),
            "{}\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// The folder it ran in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file of its folder.
    #[track_caller]
    pub fn file(&self, name: &str) -> String {
        let path = self.folder.path().join("out").join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Whether there is such a file.
    pub fn has(&self, name: &str) -> bool {
        self.folder.path().join("out").join(name).exists()
    }

    /// The summary.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.file("profile_export_aiperf.json")).expect("the summary is JSON")
    }

    /// The lines per request.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        let text = self.file("profile_export.jsonl");
        assert!(
            text.is_empty() || text.ends_with('\n'),
            "the last line is whole"
        );
        let read = |line| serde_json::from_str(line).expect("a line of JSON");
        text.lines().map(read).collect()
    }
}
