//! Child processes: bounded in time, and ended by their own handle whatever happens.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use pinfire_base::clock::{Span, Stamp};
use rustix::process::{Pid, Signal, kill_process};

/// How often a child is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// A child that was asked to end has this long.
const ENDING: Span = Span::from_millis(5_000);

/// A child process that runs. Dropping it kills it.
pub struct Running {
    name: String,
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    /// Starts `command` with its outputs kept in `scratch`.
    pub fn start(command: &mut Command, name: &str, scratch: &Path) -> Result<Self> {
        let file = |kind: &str| scratch.join(format!("{name}.{kind}"));
        let (out, err) = (file("out"), file("err"));
        let create =
            |path: &Path| File::create(path).with_context(|| format!("cannot make {path:?}"));
        let child = command
            .stdin(Stdio::null())
            .stdout(create(&out)?)
            .stderr(create(&err)?)
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            out,
            err,
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn printed(&self) -> String {
        read(&self.out)
    }

    /// What it has complained of so far.
    pub fn complained(&self) -> String {
        read(&self.err)
    }

    /// Waits for its end, which must come within `limit` and be a success.
    pub fn finish(mut self, limit: Span) -> Result<String> {
        let Some(status) = self.wait(limit)? else {
            bail!(
                "{} had not ended after {} s",
                self.name,
                limit.as_secs_f64()
            );
        };
        self.success(status)
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(mut self, signal: Signal) -> Result<String> {
        if let Some(pid) = i32::try_from(self.id()).ok().and_then(Pid::from_raw)
            && self.child.try_wait()?.is_none()
        {
            kill_process(pid, signal).with_context(|| format!("cannot stop {}", self.name))?;
        }
        let Some(status) = self.wait(ENDING)? else {
            bail!("{} does not stop", self.name);
        };
        self.success(status)
    }

    /// Polls `ready` until it gives something; fails after `limit` or when the child ends.
    pub fn until<T>(
        &mut self,
        limit: Span,
        what: &str,
        mut ready: impl FnMut(&Self) -> Option<T>,
    ) -> Result<T> {
        let started = Stamp::now();
        loop {
            if let Some(found) = ready(self) {
                return Ok(found);
            }
            if self.child.try_wait()?.is_some() {
                bail!("{} ended early{}", self.name, self.last_words());
            }
            if Stamp::now().since(started) > limit {
                bail!("{}: no {what} within {} s", self.name, limit.as_secs_f64());
            }
            std::thread::sleep(LOOK);
        }
    }

    fn wait(&mut self, limit: Span) -> Result<Option<ExitStatus>> {
        let started = Stamp::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            if Stamp::now().since(started) > limit {
                return Ok(None);
            }
            std::thread::sleep(LOOK);
        }
    }

    fn success(&self, status: ExitStatus) -> Result<String> {
        if !status.success() {
            bail!("{} failed ({status}){}", self.name, self.last_words());
        }
        Ok(self.printed())
    }

    fn last_words(&self) -> String {
        let complaint = self.complained();
        let last = complaint.lines().rfind(|line| !line.trim().is_empty());
        last.map_or(String::new(), |line| format!(": {line}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Either it has ended already, which is what is wanted, or it is killed and reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    // A file that cannot be read shows as output that is missing.
    let _ = File::open(path).and_then(|mut file| file.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, scratch: &Path) -> Running {
        Running::start(Command::new("sh").args(["-c", script]), "sh", scratch).unwrap()
    }

    #[test]
    fn children_end_in_every_way() {
        let scratch = tempfile::tempdir().unwrap();
        let scratch = scratch.path();
        let limit = Span::from_millis(20_000);
        assert_eq!(shell("echo yes", scratch).finish(limit).unwrap(), "yes\n");
        let failed = shell("echo why >&2; exit 3", scratch).finish(limit);
        assert!(failed.unwrap_err().to_string().contains("why"));
        // `exec`, so that killing the shell leaves no sleeper behind, with its files and locks.
        let late = shell("exec sleep 1000", scratch).finish(Span::ZERO);
        assert!(late.unwrap_err().to_string().contains("had not ended"));
        let mut ready = shell(
            "echo up; trap 'exit 0' TERM; while :; do sleep 0.01; done",
            scratch,
        );
        let up = |child: &Running| child.printed().contains("up").then_some(());
        ready.until(limit, "line", up).unwrap();
    }
}
