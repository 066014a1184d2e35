//! Where the leader is: what the user says, what Slurm says, or what the leader has written into
//! the run's folder.

use std::{
    net::{Ipv6Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use socket2::{Domain, Protocol, Socket, Type};

use crate::shards::Lookup;

/// The port of a leader unless something else is said.
pub const PORT: u16 = 7711;

/// Ports that are tried behind the first where others use the machine too.
const PORTS_TRIED: u16 = 100;

/// Connections that may wait until the leader takes them: all shards may come at once.
const BACKLOG: i32 = 4096;

/// The file in the run's folder in which the leader says where it is.
pub const LEADER_FILE: &str = ".pinfire_leader";

/// How the leader is found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// The user has named it: host and port.
    Named(String, u16),
    /// It is on this host of a job of Slurm. The file says the port if the first one was taken.
    Slurm {
        host: String,
        port: u16,
        file: PathBuf,
    },
    /// The file alone says it.
    File(PathBuf),
}

impl Place {
    /// Finds it.
    ///
    /// # Errors
    /// What was named is no host and port.
    pub fn of(join: Option<&str>, run_folder: &Path, lookup: Lookup<'_>) -> Result<Self> {
        if let Some(join) = join {
            let (host, port) = host_and_port(join)?;
            return Ok(Self::Named(host, port));
        }
        let file = run_folder.join(LEADER_FILE);
        let lists = [
            "SLURM_STEP_NODELIST",
            "SLURM_NODELIST",
            "SLURM_JOB_NODELIST",
        ];
        let host = lists.into_iter().find_map(lookup);
        let host = host.as_deref().and_then(first_host);
        Ok(match host {
            Some(host) => {
                let job = lookup("SLURM_JOB_ID").and_then(|job| job.parse::<u64>().ok());
                let port = 20_000 + (job.unwrap_or(0) % 20_000) as u16;
                Self::Slurm { host, port, file }
            }
            None => Self::File(file),
        })
    }

    /// Opens the leader's port.
    ///
    /// # Errors
    /// It is taken, and so are the next ones where another one would do.
    pub fn listen(&self) -> Result<TcpListener> {
        let (first, more) = match self {
            Self::Named(_, port) => (*port, 0),
            Self::Slurm { port, .. } => (*port, PORTS_TRIED),
            Self::File(_) => (PORT, PORTS_TRIED),
        };
        let mut last = None;
        for port in first..=first.saturating_add(more) {
            match listener(port) {
                Ok(listener) => return Ok(listener),
                Err(error) => last = Some(error),
            }
        }
        let error = last.context("no port was tried")?;
        Err(error).with_context(|| format!("the leader cannot listen on port {first}"))
    }

    /// Where a shard connects to, as it is known now.
    ///
    /// # Errors
    /// It is not known yet.
    pub fn address(&self, own_host: &str) -> Result<String> {
        match self {
            Self::Named(host, port) => Ok(joined(host, *port)),
            Self::Slurm { host, port, file } => {
                Ok(of_file(file, own_host).unwrap_or_else(|_| joined(host, *port)))
            }
            Self::File(file) => of_file(file, own_host),
        }
    }
}

/// What the leader writes into its file: where it is, and a mark by which a shard knows that the
/// folder is the same.
pub fn leader_file(host: &str, port: u16, mark: &str) -> String {
    format!("{}\n{mark}\n", joined(host, port))
}

/// Whether the folder is the leader's own.
pub fn is_shared(run_folder: &Path, mark: &str) -> bool {
    let text = std::fs::read_to_string(run_folder.join(LEADER_FILE));
    text.is_ok_and(|text| text.lines().nth(1) == Some(mark))
}

fn of_file(file: &Path, own_host: &str) -> Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| {
        format!(
            "{} does not say yet where the leader is; name it by --join HOST:PORT where the folder is not \
             shared",
            file.display()
        )
    })?;
    let line = text.lines().next().unwrap_or_default();
    let (host, port) = host_and_port(line)?;
    // A name that only its own machine knows is not needed there.
    Ok(match host == own_host {
        true => joined("localhost", port),
        false => joined(&host, port),
    })
}

fn joined(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

fn listener(port: u16) -> std::io::Result<TcpListener> {
    // One socket for both families where there are both.
    let both = || {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_only_v6(false)?;
        opened(socket, (Ipv6Addr::UNSPECIFIED, port).into())
    };
    both().or_else(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse | std::io::ErrorKind::PermissionDenied => Err(error),
        _ => {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
            opened(socket, ([0, 0, 0, 0], port).into())
        }
    })
}

fn opened(socket: Socket, address: SocketAddr) -> std::io::Result<TcpListener> {
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Host and port of a text such as `gpu-1:7711`, `gpu-1` or `[::1]:7711`.
fn host_and_port(text: &str) -> Result<(String, u16)> {
    let wrong = || anyhow!("`{text}` is no HOST or HOST:PORT");
    let port = |text: &str| text.parse().ok().filter(|&port: &u16| port > 0);
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
            match rest.strip_prefix(':') {
                Some(text) => (host, port(text).ok_or_else(wrong)?),
                None if rest.is_empty() => (host, PORT),
                None => bail!(wrong()),
            }
        }
        None => match text.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => (text, PORT),
            Some((host, text)) => (host, port(text).ok_or_else(wrong)?),
            None => (text, PORT),
        },
    };
    let is_name = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/');
    match is_name {
        true => Ok((host.to_owned(), port)),
        false => Err(wrong()),
    }
}

/// The first host of Slurm's short form of a list, such as `gpu[03-05,9]-ib,login1`.
fn first_host(list: &str) -> Option<String> {
    let mut host = String::new();
    let mut rest = list;
    while let Some(at) = rest.find(['[', ',']) {
        host.push_str(&rest[..at]);
        if rest[at..].starts_with(',') {
            return (!host.is_empty()).then_some(host);
        }
        let (inside, behind) = rest[at + 1..].split_once(']')?;
        let first = inside.split([',', '-']).next()?;
        host.push_str(first);
        rest = behind;
    }
    host.push_str(rest);
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_host_of_a_list() {
        for (list, expected) in [
            ("n1", Some("n1")),
            ("n1,n2", Some("n1")),
            ("gpu[03-05,9]", Some("gpu03")),
            ("gpu[3,7-9]-ib,login", Some("gpu3-ib")),
            ("r[1-2]n[10-12]", Some("r1n10")),
            ("", None),
            ("gpu[1", None),
        ] {
            assert_eq!(first_host(list).as_deref(), expected, "{list}");
        }
    }

    #[test]
    fn a_leader_is_named_by_host_and_port() {
        for (text, host, port) in [
            ("gpu-1:7000", "gpu-1", 7000),
            ("gpu-1", "gpu-1", 7711),
            ("10.0.0.1:1", "10.0.0.1", 1),
            ("[::1]:80", "::1", 80),
            ("[fe80::1]", "fe80::1", 7711),
            ("fe80::1", "fe80::1", 7711),
        ] {
            assert_eq!(
                host_and_port(text).unwrap(),
                (host.to_owned(), port),
                "{text}"
            );
        }
        for wrong in [
            "",
            ":7711",
            "a:",
            "a:0",
            "a:70000",
            "a b:1",
            "http://a:1",
            "[::1",
            "[::1]x",
        ] {
            assert!(host_and_port(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_platform_and_the_folder_say_where_the_leader_is() {
        let folder = tempfile::tempdir().unwrap();
        let slurm = |name: &str| match name {
            "SLURM_NODELIST" => Some("n[7-9]".to_owned()),
            "SLURM_JOB_ID" => Some("40123".to_owned()),
            _ => None,
        };
        let place = Place::of(None, folder.path(), &slurm).unwrap();
        assert_eq!(place.address("n8").unwrap(), "n7:20123");
        let nothing = Place::of(None, folder.path(), &|_| None).unwrap();
        let error = nothing.address("n8").unwrap_err().to_string();
        assert!(error.contains("--join HOST:PORT"), "{error}");
        let file = folder.path().join(LEADER_FILE);
        std::fs::write(file, leader_file("n7", 20_125, "mark")).unwrap();
        for place in [place, nothing] {
            assert_eq!(place.address("n8").unwrap(), "n7:20125");
            assert_eq!(place.address("n7").unwrap(), "localhost:20125");
        }
        assert!(is_shared(folder.path(), "mark") && !is_shared(folder.path(), "other"));
        let named = Place::of(Some("lead:1"), folder.path(), &slurm).unwrap();
        assert_eq!(named.address("n8").unwrap(), "lead:1");
    }
}
