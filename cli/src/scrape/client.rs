//! One scrape of a `/metrics` page: blocking, with limits in time and size, apart from the load.

use std::{io::Read, sync::Arc, time::Duration};

use pinfire_base::clock::Stamp;
use pinfire_scrape::{Scrape, Unreadable};
use ureq::{
    Agent,
    tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem},
    unversioned::transport::DefaultConnector,
};

use super::names::Names;

/// A page has at most this many bytes; the largest seen have a few hundred KiB.
const MAX_BYTES: u64 = 64 << 20;
/// A connection that has rested this long is not used again: servers close theirs after 5 s.
const REST: Duration = Duration::from_secs(3);

/// Whom to trust behind `https://`, as for the load.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Trust everyone.
    pub insecure: bool,
    /// The bytes of `--ca-cert`.
    pub ca_cert: Option<Vec<u8>>,
}

/// Why a scrape showed nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ScrapeError {
    /// No answer, or none in time.
    #[error("{0}")]
    Unreachable(String),
    /// An answer that is not 200.
    #[error("it answers {0}")]
    Status(u16),
    /// An answer in another form.
    #[error("{0}")]
    Unreadable(#[from] Unreadable),
    /// An answer without end.
    #[error("its answer has more than {} MiB", MAX_BYTES >> 20)]
    TooLong,
}

/// A page as it came.
#[derive(Debug)]
pub struct Page {
    /// Question, first byte of the answer, end of the answer.
    pub stamps: [Stamp; 3],
    pub content_type: Option<String>,
    pub body: Vec<u8>,
}

impl Page {
    /// Reads it.
    ///
    /// # Errors
    /// It is not in the text format.
    pub fn read(&self) -> Result<Scrape, ScrapeError> {
        Ok(Scrape::read(
            self.stamps,
            &self.body,
            self.content_type.as_deref(),
        )?)
    }
}

/// Fetches pages; a clone shares the connections.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
}

impl Client {
    /// A client whose scrapes take at most `limit`, of which connecting may take `connect`.
    pub fn new(trust: &Trust, connect: Duration, limit: Duration) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A proxy of the environment is for the world outside, not for a server under test.
            .proxy(None)
            .user_agent(concat!("pinfire/", env!("CARGO_PKG_VERSION")))
            .max_idle_age(REST)
            .timeout_resolve(Some(connect))
            .timeout_connect(Some(connect))
            .timeout_global(Some(limit))
            .tls_config(tls(trust))
            .build();
        Self {
            agent: Agent::with_parts(config, DefaultConnector::default(), Names),
        }
    }

    /// The first of these pages that shows metrics, or why none does.
    ///
    /// # Errors
    /// What was wrong with the first.
    pub fn find(&self, urls: &[String]) -> Result<(String, Page), String> {
        let shows = |url: &str| -> Result<Page, ScrapeError> {
            let page = self.fetch(url)?;
            page.read()?;
            Ok(page)
        };
        let mut reason = None;
        for url in urls {
            let tried = shows(url);
            // TensorRT-LLM has its own JSON there, and metrics a level deeper.
            if let Err(ScrapeError::Unreadable(_)) = &tried
                && let Some(base) = url.strip_suffix("/metrics")
                && !base.ends_with("/prometheus")
            {
                let deeper = format!("{base}/prometheus/metrics");
                if let Ok(page) = shows(&deeper) {
                    return Ok((deeper, page));
                }
            }
            match tried {
                Ok(page) => return Ok((url.clone(), page)),
                Err(error) => {
                    reason.get_or_insert_with(|| error.to_string());
                }
            }
        }
        Err(reason.unwrap_or_default())
    }

    /// Fetches a page.
    ///
    /// # Errors
    /// No answer in time, or not one of status 200.
    pub fn fetch(&self, url: &str) -> Result<Page, ScrapeError> {
        let gone = |cause: &dyn std::fmt::Display| ScrapeError::Unreachable(cause.to_string());
        let sent = Stamp::now();
        let mut response = self.agent.get(url).call().map_err(|cause| gone(&cause))?;
        let at = Stamp::now();
        if response.status().as_u16() != 200 {
            return Err(ScrapeError::Status(response.status().as_u16()));
        }
        let kind = response.headers().get("content-type");
        let content_type = kind.and_then(|kind| Some(kind.to_str().ok()?.to_owned()));
        let mut body = Vec::new();
        let reader = response.body_mut().as_reader();
        reader
            .take(MAX_BYTES + 1)
            .read_to_end(&mut body)
            .map_err(|cause| gone(&cause))?;
        if body.len() as u64 > MAX_BYTES {
            return Err(ScrapeError::TooLong);
        }
        Ok(Page {
            stamps: [sent, at, Stamp::now()],
            content_type,
            body,
        })
    }
}

fn tls(trust: &Trust) -> TlsConfig {
    let builder = TlsConfig::builder().disable_verification(trust.insecure);
    let Some(pem) = &trust.ca_cert else {
        return builder.build();
    };
    // The load has read the same file and refused the run if it holds no certificate.
    let own = parse_pem(pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let native = rustls_native_certs::load_native_certs().certs;
    let native = native
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned());
    let roots: Vec<Certificate<'static>> = own.chain(native).collect();
    builder
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .build()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use pinfire_tools::mock;

    use super::*;

    #[test]
    fn what_is_no_page_of_metrics() {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = mock::Server::bind(mock::Script::default(), anywhere, None).unwrap();
        let base = format!("http://{}", server.local_addr());
        let handle = server.spawn(None).unwrap();
        let limit = Duration::from_secs(5);
        let client = Client::new(&Trust::default(), limit, limit);
        let page = client.fetch(&format!("{base}/v1/models")).unwrap();
        let error = page.read().unwrap_err();
        assert!(matches!(error, ScrapeError::Unreadable(_)), "{error}");
        let error = client.fetch(&format!("{base}/nothing")).unwrap_err();
        assert!(matches!(error, ScrapeError::Status(400..)), "{error}");
        drop(handle.stop());
    }
}
