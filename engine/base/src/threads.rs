//! Where threads are started: one that the system refuses is an error that says which it was and
//! what to raise, never a panic.

use std::{
    fmt, io,
    thread::{Builder, JoinHandle, Scope, ScopedJoinHandle},
};

use rustix::process::{Resource, getrlimit};

use crate::cgroup;

/// A thread that the system did not give.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the thread {name}: {cause}{}", Limits::of(cause))]
pub struct NoThread {
    name: String,
    cause: io::Error,
}

impl From<NoThread> for io::Error {
    fn from(error: NoThread) -> Self {
        Self::new(error.cause.kind(), error)
    }
}

/// Starts a thread of this name.
///
/// # Errors
/// The system gives none.
pub fn start<T: Send + 'static>(
    name: impl Into<String>,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, NoThread> {
    let name = name.into();
    let builder = Builder::new().name(name.clone());
    builder
        .spawn(body)
        .map_err(|cause| NoThread { name, cause })
}

/// Starts a thread that may borrow what outlives `scope`.
///
/// # Errors
/// The system gives none.
pub fn start_in<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    body: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, NoThread> {
    let builder = Builder::new().name(name.to_owned());
    builder.spawn_scoped(scope, body).map_err(|cause| NoThread {
        name: name.to_owned(),
        cause,
    })
}

/// The limits that the system holds threads to, as far as it tells them, if they are the cause.
struct Limits(bool);

impl Limits {
    fn of(cause: &io::Error) -> Self {
        Self(cause.kind() == io::ErrorKind::WouldBlock)
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0 {
            return Ok(());
        }
        let container = cgroup::most_threads();
        let user = getrlimit(Resource::Nproc).current;
        f.write_str("; raise the limit of processes (")?;
        match user {
            Some(limit) => write!(f, "ulimit -u, which is {limit}")?,
            None => f.write_str("ulimit -u, which is unlimited")?,
        }
        match container {
            Some(limit) => write!(f, "; the container's pids.max, which is {limit})"),
            None => f.write_str(", or the pids limit of the container)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_which_thread_and_what_to_raise() {
        let refused = NoThread {
            name: "pinfire-core-3".to_owned(),
            cause: io::Error::from_raw_os_error(11),
        };
        let said = refused.to_string();
        assert!(
            said.starts_with("cannot start the thread pinfire-core-3: ")
                && said.contains("ulimit -u"),
            "{said}"
        );
    }
}
