//! A run that is ready to send: what `profile`, `cancel-test`, the readiness probe and the reclaim
//! check all stand on.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::{Context, Result};
use pinfire_base::url::TargetUrl;
use pinfire_engine::{
    plan::{Address, Target},
    run::Engine,
};
use pinfire_tools::mock;

use super::{ReusedEngine, cpus, dataset, dataset::Workload, request};
use crate::{
    settings::Settings,
    transport::{Reached, Server},
};

/// The servers of a run, and the descriptors for the connections to them. What is refused is
/// refused here, before anything is made or written.
pub struct ReachableServers {
    /// Empty for the embedded server, which is started with the run.
    servers: Vec<Reached>,
}

impl ReachableServers {
    /// Takes the descriptors for so many connections, resolves the servers' names and tries their
    /// certificates.
    ///
    /// # Errors
    /// Fewer descriptors than that, a name that is not known, a certificate that is not trusted.
    pub fn check(settings: &Settings, connections: u64) -> Result<Self> {
        // The embedded server has its side of each connection in this process too.
        let sides = match settings.transport.server {
            Server::Embedded => 2,
            Server::Remote(_) => 1,
        };
        cpus::grant_descriptors(
            connections.saturating_mul(sides),
            settings.places.engine.len(),
        )?;
        let servers = settings.transport.reach()?;
        Ok(Self { servers })
    }
}

/// A run that is ready to send. Fields are dropped in their order: the engine closes its
/// connections before the embedded server ends.
pub struct PreparedRun<'a> {
    pub settings: &'a Settings,
    pub engine: Engine,
    pub servers: Vec<Reached>,
    /// Where requests go, one for each server.
    pub targets: Arc<[Target]>,
    pub workload: Workload,
    /// Takes the engine back for the next run.
    kept: Option<&'a mut ReusedEngine>,
    embedded: Option<EmbeddedServer>,
}

/// The server of `--url mock:`. It ends when this is dropped.
#[must_use = "the server ends when this is dropped"]
pub struct EmbeddedServer {
    _running: mock::Handle,
}

impl<'a> PreparedRun<'a> {
    /// Starts the embedded server if it is the one, and the engine; or takes the one that is `kept`
    /// between runs. From here on the calling thread only waits: it and the threads that it makes
    /// stay off the engine's CPUs.
    ///
    /// # Errors
    /// A header that cannot be sent, a plan of cancellations that does not suit the dataset, or a
    /// thread that the system does not give.
    pub fn start(
        settings: &'a Settings,
        reachable: ReachableServers,
        dataset: dataset::Prepared,
        mut kept: Option<&'a mut ReusedEngine>,
    ) -> Result<Self> {
        let workload = dataset.split(settings)?;
        cpus::stay_on(&settings.places.rest);
        let mut servers = reachable.servers;
        let embedded = match settings.transport.server {
            Server::Embedded => {
                let (server, embedded) = EmbeddedServer::start(settings)?;
                servers.push(server);
                Some(embedded)
            }
            Server::Remote(_) => None,
        };
        let targets = servers
            .iter()
            .map(|server| request::target(settings, server, &server.url, false))
            .collect::<Result<_>>()?;
        let engine = match &mut kept {
            Some(kept) => kept.take(&settings.engine)?,
            None => Engine::start(&settings.engine)?,
        };
        Ok(Self {
            settings,
            engine,
            servers,
            targets,
            workload,
            kept,
            embedded,
        })
    }

    /// Ends the load: every server sees all connections closed. An engine that `can_go_on` is kept
    /// for the next run. The embedded server goes on, for those who still read its metrics.
    pub fn end_load(self, can_go_on: bool) -> Option<EmbeddedServer> {
        match self.kept.filter(|_| can_go_on) {
            Some(kept) => kept.give_back(&self.settings.engine, self.engine),
            None => drop(self.engine),
        }
        self.embedded
    }
}

impl EmbeddedServer {
    /// Starts it on a free port, on one of the CPUs that the engine leaves, if there are any.
    fn start(settings: &Settings) -> Result<(Reached, Self)> {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = mock::Server::bind(mock::Script::default(), anywhere, None)
            .context("the embedded server cannot start")?;
        let address = server.local_addr();
        let cpu = settings.places.for_server();
        let running = server
            .spawn(cpu)
            .context("the embedded server cannot start")?;
        let base = format!("http://{address}");
        let reached = Reached {
            url: TargetUrl::join(&base, &settings.endpoint_path)?,
            base,
            addresses: vec![Address::Tcp(address)],
            spare: Vec::new(),
            tls: None,
        };
        Ok((reached, Self { _running: running }))
    }
}
