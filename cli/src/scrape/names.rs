//! Names of the servers that are scraped, looked up within a time: the system's own call has no
//! limit, so that it is made on a thread that can be left behind. Without a thread for it the
//! scrape fails and says so.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
};

use crossbeam_channel::bounded;
use pinfire_base::threads;
use ureq::{
    Error,
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::NextTimeout,
    },
};

/// Addresses of one name that are tried.
const ADDRESSES: usize = 16;

/// Looks names up.
#[derive(Debug)]
pub struct Names;

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let wrong = || Error::BadUri(uri.to_string());
        let scheme = uri.scheme().ok_or_else(wrong)?;
        let authority = uri.authority().ok_or_else(wrong)?;
        let host = DefaultResolver::host_and_port(scheme, authority).ok_or_else(wrong)?;
        // A number is no name.
        let found = match host.parse::<SocketAddr>() {
            Ok(address) => vec![address],
            Err(_) => looked_up(host, &timeout)?,
        };
        let mut addresses = self.empty();
        let family = config.ip_family();
        let wanted = family.keep_wanted(found.into_iter());
        for address in wanted.take(ADDRESSES) {
            addresses.push(address);
        }
        if addresses.is_empty() {
            return Err(Error::HostNotFound);
        }
        Ok(addresses)
    }
}

fn looked_up(host: String, timeout: &NextTimeout) -> Result<Vec<SocketAddr>, Error> {
    let (found, answer) = bounded(1);
    let look_up = move || {
        let addresses = host.to_socket_addrs().map(Iterator::collect);
        // Nobody waits any more if the time is over.
        let _ = found.send(addresses);
    };
    threads::start("pinfire-names", look_up).map_err(io::Error::from)?;
    let addresses = answer.recv_timeout(*timeout.after);
    Ok(addresses.map_err(|_| Error::Timeout(timeout.reason))??)
}
