//! `pinfire plot --dashboard`: the report page over HTTP, for all runs under the paths.
//!
//! Nothing in a request names a file: runs are known by the number they got when they were found,
//! so that nothing outside the paths can be asked for. On a loopback address only requests that
//! name this host are answered, so that no page of another site can read the runs through the
//! browser.

use std::{
    collections::HashMap,
    net::{IpAddr, TcpListener, ToSocketAddrs},
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result, anyhow};
use pinfire_config::setting::Setting;
use pinfire_plot::{
    self as plot, Config, Run,
    find::{self, Found},
    load,
    page::{self, LiveFile},
};
use serde_json::{Value, json};

use crate::{
    args::Plot,
    http::{self, Request, Response},
    terminal::say,
};

/// Runs that are kept read.
const KEPT: usize = 16;

/// Serves until Ctrl-C.
///
/// # Errors
/// A path is not there, the host is no address, the port is taken.
pub fn serve(flags: &Plot, paths: &[PathBuf], config: Config) -> Result<ExitCode> {
    // What is wrong with the paths is said now; that there are no runs yet is nothing wrong.
    find::runs(paths).map_err(|error| anyhow!(error))?;
    let address = (flags.host.as_str(), flags.port)
        .to_socket_addrs()
        .ok()
        .and_then(|mut all| all.next())
        .with_context(|| format!("--host {}: not an address of this machine", flags.host))?;
    let listener = TcpListener::bind(address).map_err(|error| {
        anyhow!(
            "--port {} on {}: {error}; choose another with --port, or 0 for a free one",
            flags.port,
            flags.host
        )
    })?;
    let bound = listener
        .local_addr()
        .context("the address of the dashboard")?;
    let shared = Shared {
        paths: paths.to_vec(),
        files: page::live(&flags.theme.shown()),
        loopback: bound.ip().is_loopback(),
        host: flags.host.clone(),
        num_gpus: flags.num_gpus.map(f64::from),
        tags: plot::wanted_tags(&config),
        config,
        runs: Mutex::default(),
    };
    if !shared.loopback {
        say::warning(format_args!(
            "everyone who reaches {bound} can read these runs; nobody is asked for a password"
        ));
    }
    say::line(format_args!("Dashboard: http://{bound}/ (Ctrl-C ends it)"));
    match http::serve(listener, "pinfire-dashboard", move |request| {
        shared.answer(request)
    })? {}
}

struct Shared {
    paths: Vec<PathBuf>,
    files: [LiveFile; 3],
    loopback: bool,
    host: String,
    num_gpus: Option<f64>,
    tags: Vec<String>,
    config: Config,
    runs: Mutex<Known>,
}

/// Runs in the order in which they were found; that place is their id.
#[derive(Default)]
struct Known {
    found: Vec<Found>,
    read: HashMap<usize, (Stamp, Arc<Run>)>,
}

/// Tells whether the files of a run have changed: sizes and times of change.
type Stamp = [Option<(u64, std::time::SystemTime)>; 2];

fn stamp(found: &Found) -> Stamp {
    [Some(found.summary()), found.records()].map(|path| {
        let about = path?.metadata().ok()?;
        Some((about.len(), about.modified().ok()?))
    })
}

/// An answer that is not the one asked for: status and words.
type Refused = (u16, String);

impl Shared {
    fn answer(&self, request: &Request) -> Response {
        match self.body(request) {
            Ok((kind, body)) => Response {
                status: 200,
                kind,
                body,
            },
            Err((status, words)) => Response::words(status, &words),
        }
    }

    fn body(&self, request: &Request) -> Result<(&'static str, String), Refused> {
        const JSON: &str = "application/json";
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            return Err((405, "only GET is answered".to_owned()));
        }
        if self.loopback && !self.is_for_this_host(request) {
            return Err((
                403,
                "this dashboard answers to its own address only".to_owned(),
            ));
        }
        let target = request.target.as_str();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let value = |name: &str| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value)
        };
        if let Some(file) = self.files.iter().find(|file| file.path == path) {
            return Ok((file.kind, file.text.clone()));
        }
        match path {
            "/api/runs" => Ok((JSON, self.list().to_string())),
            "/api/run" => {
                let id = self.id(value("id").unwrap_or_default())?;
                let run = self.run(id)?;
                let data = page::run_data(&run, &id.to_string(), &self.config)
                    .map_err(|error| (500, error))?;
                Ok((JSON, data.to_string()))
            }
            "/api/compare" => {
                let ids = value("ids").unwrap_or_default();
                let ids = ids
                    .split(',')
                    .map(|id| self.id(id))
                    .collect::<Result<Vec<_>, _>>()?;
                let runs = ids
                    .into_iter()
                    .map(|id| self.run(id))
                    .collect::<Result<Vec<_>, _>>()?;
                let runs: Vec<&Run> = runs.iter().map(Arc::as_ref).collect();
                let data = page::compare(&runs, &self.config).map_err(|error| (500, error))?;
                Ok((JSON, data.to_string()))
            }
            _ => Err((
                404,
                "there is nothing at this address; the dashboard is at /".to_owned(),
            )),
        }
    }

    /// Whether the Host header names the loopback or what --host said.
    fn is_for_this_host(&self, request: &Request) -> bool {
        let Some(host) = request.host.as_deref() else {
            return false;
        };
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        name.eq_ignore_ascii_case("localhost")
            || name == self.host
            || name
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All runs, new ones behind the others. One whose files are gone stays in the list and says so
    /// when it is opened.
    fn list(&self) -> Value {
        let mut known = self.known();
        for found in find::runs(&self.paths).unwrap_or_default() {
            if !known.found.contains(&found) {
                known.found.push(found);
            }
        }
        let names = load::names(&known.found);
        let runs = known.found.iter().zip(names).enumerate();
        runs.map(|(id, (found, name))| json!({"id": id.to_string(), "name": name, "folder": found.folder.display().to_string()}))
            .collect()
    }

    fn id(&self, text: &str) -> Result<usize, Refused> {
        let id = text
            .parse::<usize>()
            .ok()
            .filter(|id| *id < self.known().found.len());
        id.ok_or_else(|| {
            (
                404,
                "there is no such run; the list is at /api/runs".to_owned(),
            )
        })
    }

    /// A run, read anew when its files have changed.
    fn run(&self, id: usize) -> Result<Arc<Run>, Refused> {
        let (found, name, read) = {
            let known = self.known();
            let name = load::names(&known.found).swap_remove(id);
            (known.found[id].clone(), name, known.read.get(&id).cloned())
        };
        let now = stamp(&found);
        if let Some((then, run)) = read
            && then == now
            && run.name == name
        {
            return Ok(run);
        }
        // Without the lock: a large run takes a while, and the others must not wait for it.
        let mut run = load::run(&found, &self.tags).map_err(|error| (500, error))?;
        run.num_gpus = self.num_gpus;
        run.name = name;
        let run = Arc::new(run);
        let mut known = self.known();
        if known.read.len() >= KEPT {
            known.read.clear();
        }
        known.read.insert(id, (now, Arc::clone(&run)));
        Ok(run)
    }
}
