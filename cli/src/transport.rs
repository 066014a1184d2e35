//! How the servers are reached: URLs and settings to addresses, TLS and local addresses, checked
//! before anything is sent.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use pinfire_base::{
    clock::Span,
    url::{Scheme, TargetUrl},
};
use pinfire_engine::plan::{Address, Dialling, Tls};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::verify_server_name,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{self, CryptoProvider},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use socket2::{Domain, Socket, Type};

use pinfire_config::{Blame, Get, Sourced, demand, sections::Endpoint};

use crate::{environment, terminal::say};

/// Limit of the trial handshake when --connect-timeout gives none.
const TRIAL: Duration = Duration::from_secs(10);

/// The servers of a run.
#[derive(Clone, Debug)]
pub enum Server {
    /// The scripted one inside this process.
    Embedded,
    /// Those that are there already.
    Remote(Vec<TargetUrl>),
}

impl Server {
    /// How many there are.
    pub const fn count(&self) -> usize {
        match self {
            Self::Embedded => 1,
            Self::Remote(urls) => urls.len(),
        }
    }
}

/// Everything about connections, decided.
#[derive(Clone, Debug)]
pub struct Transport {
    pub server: Server,
    /// As given.
    pub urls: Vec<String>,
    pub dialling: Dialling,
    trust: Option<Arc<ClientConfig>>,
    insecure: bool,
}

/// A server whose name is resolved.
#[derive(Debug)]
pub struct Reached {
    /// As given, without the endpoint's path.
    pub base: String,
    pub url: TargetUrl,
    pub addresses: Vec<Address>,
    /// Those of the other family, for when none of the first takes connections.
    pub spare: Vec<Address>,
    pub tls: Option<Tls>,
}

impl Transport {
    /// Reads the settings.
    ///
    /// # Errors
    /// A URL, a certificate or an address that cannot be used, or settings without an object.
    pub fn new(asked: &Endpoint, path: &str) -> Result<Self> {
        ensure!(
            !environment::switch("HTTP_TRUST_ENV", false)?,
            "proxies are not supported: unset PINFIRE_HTTP_TRUST_ENV (AIPERF_HTTP_TRUST_ENV), and \
             connections go straight to --url"
        );
        let urls: Vec<String> = asked.url.iter().map(Sourced::get).collect();
        let server = server(asked, &urls, path)?;
        let targets = match &server {
            Server::Embedded => &[][..],
            Server::Remote(targets) => targets,
        };
        let secure = targets.iter().any(|url| url.scheme == Scheme::Https);
        let (ca_cert, insecure) = (&asked.ca_cert, &asked.insecure);
        demand!(
            secure || (ca_cert.is_none() && !insecure.value),
            [ca_cert, insecure],
            "--ca-cert and --insecure are about certificates, and no --url begins with https://"
        );
        let trusts_anyone = insecure.value || !environment::switch("HTTP_SSL_VERIFY", true)?;
        demand!(
            !(trusts_anyone && ca_cert.is_some()),
            [ca_cert, insecure],
            "--ca-cert says whom to trust and --insecure trusts everyone; give one of them"
        );
        let source_ip = &asked.source_ip;
        let sources = source_ip.get().map(|text| sources(&text)).transpose();
        let sources = sources
            .blame(&[source_ip], "--source-ip")?
            .unwrap_or_default();
        demand!(
            sources.is_empty() || targets.iter().all(|url| url.unix.is_none()),
            [source_ip, asked.url],
            "--source-ip is about TCP; a unix: URL has no local address"
        );
        demand!(
            !matches!(server, Server::Embedded) || sources.iter().all(IpAddr::is_ipv4),
            [source_ip],
            "--source-ip: the embedded server of mock: is reached over IPv4 only"
        );
        Ok(Self {
            urls: match &server {
                Server::Embedded => vec!["mock:".to_owned()],
                Server::Remote(_) => urls,
            },
            server,
            dialling: Dialling {
                sources,
                timeout: asked.connect_timeout.get().map(Span::from_secs_f64),
                // Not AIPerf's 10 MiB by default: a size that is set ends the kernel's tuning of
                // the buffer, and 20,000 streams would be allowed 400 GB.
                receive_buffer: environment::read("HTTP_SO_RCVBUF")?,
                send_buffer: environment::read("HTTP_SO_SNDBUF")?,
            },
            trust: secure
                .then(|| trust(asked, trusts_anyone))
                .transpose()
                .about(&[ca_cert])?,
            insecure: trusts_anyone,
        })
    }

    /// Whether any server is reached through the file system.
    pub fn uses_unix_sockets(&self) -> bool {
        match &self.server {
            Server::Embedded => false,
            Server::Remote(urls) => urls.iter().any(|url| url.unix.is_some()),
        }
    }

    /// Resolves the servers' names and tries one handshake with each that talks TLS. Empty for the
    /// embedded server.
    ///
    /// # Errors
    /// A name that is not known, or a certificate that is not to be trusted.
    pub fn reach(&self) -> Result<Vec<Reached>> {
        let Server::Remote(urls) = &self.server else {
            return Ok(Vec::new());
        };
        if self.trust.is_some() && self.insecure {
            say::warning(
                "INSECURE: the servers' certificates are not verified; anyone on the way can read \
                 and change requests and answers, the API key included",
            );
        }
        let bases = self.urls.iter().zip(urls);
        bases.map(|(base, url)| self.reach_one(base, url)).collect()
    }

    fn reach_one(&self, base: &str, url: &TargetUrl) -> Result<Reached> {
        if let Some(path) = &url.unix {
            return Ok(Reached {
                base: base.to_owned(),
                url: url.clone(),
                addresses: vec![Address::Unix(path.clone())],
                spare: Vec::new(),
                tls: None,
            });
        }
        let (mut addresses, mut spare) = resolve(url)?;
        if let Some(source) = self.dialling.sources.first() {
            addresses.append(&mut spare);
            addresses.retain(|address| address.is_ipv4() == source.is_ipv4());
            ensure!(
                !addresses.is_empty(),
                "--source-ip {source}: the host of {url} has no address of that family"
            );
        }
        let tls = match (&self.trust, url.scheme) {
            (Some(config), Scheme::Https) => Some(Tls {
                config: Arc::clone(config),
                name: ServerName::try_from(url.host.clone())
                    .with_context(|| format!("the host of {url} cannot be in a certificate"))?,
            }),
            _ => None,
        };
        if let Some(tls) = &tls {
            let limit = self
                .dialling
                .timeout
                .map_or(TRIAL, |limit| Duration::from_nanos(limit.nanos()));
            try_handshake(url, tls, addresses.iter().chain(&spare), limit)?;
        }
        Ok(Reached {
            base: base.to_owned(),
            url: url.clone(),
            addresses: addresses.into_iter().map(Address::Tcp).collect(),
            spare: spare.into_iter().map(Address::Tcp).collect(),
            tls,
        })
    }
}

/// The servers that the URLs name.
fn server(asked: &Endpoint, urls: &[String], path: &str) -> Result<Server> {
    let embedded = |url: &String| matches!(url.as_str(), "mock:" | "mock");
    if urls.iter().any(embedded) {
        demand!(
            urls.len() == 1,
            [asked.url],
            "--url mock: is a server of its own; it cannot be one of several"
        );
        return Ok(Server::Embedded);
    }
    let join = |url: &String| TargetUrl::join(url, path);
    let targets = urls.iter().map(join).collect::<Result<_, _>>();
    Ok(Server::Remote(targets.about(&[&asked.url])?))
}

/// The addresses of a host that connections take in turn, and those for when all of these refuse.
fn resolve(url: &TargetUrl) -> Result<(Vec<SocketAddr>, Vec<SocketAddr>)> {
    let wanted = environment::read::<String>("HTTP_IP_VERSION")?.unwrap_or_default();
    let all = (url.host.as_str(), url.port)
        .to_socket_addrs()
        .with_context(|| format!("cannot resolve the host of {url}; is the name right?"))?;
    let Some((addresses, spare)) = by_family(all, &wanted) else {
        bail!("PINFIRE_HTTP_IP_VERSION is set to `{wanted}`; it takes 4, 6 or auto");
    };
    ensure!(
        !addresses.is_empty(),
        "the host of {url} has no address of the wanted kind"
    );
    Ok((addresses, spare))
}

/// Parts the addresses of a host: those of IPv4 come first if it has any, as the reference has it,
/// and those of IPv6 are for when they refuse. `None` for a wish that nobody knows.
fn by_family(
    all: impl Iterator<Item = SocketAddr>,
    wanted: &str,
) -> Option<(Vec<SocketAddr>, Vec<SocketAddr>)> {
    let mut seen = std::collections::BTreeSet::new();
    let mut all: Vec<SocketAddr> = all.filter(|address| seen.insert(*address)).collect();
    let v4 = all.iter().any(SocketAddr::is_ipv4);
    match wanted {
        "6" => all.retain(SocketAddr::is_ipv6),
        "" if v4 => return Some(all.into_iter().partition(SocketAddr::is_ipv4)),
        "4" if v4 => all.retain(SocketAddr::is_ipv4),
        "" | "4" | "auto" => {}
        _ => return None,
    }
    Some((all, Vec::new()))
}

/// Local addresses: a list of single ones and ranges, each tried out.
fn sources(text: &str) -> Result<Vec<IpAddr>> {
    const MOST: u128 = 4_096;
    let mut all = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let parse = |text: &str| {
            let address = text.trim().parse::<IpAddr>();
            address.map_err(|_| anyhow!("`{text}` is not an IP address"))
        };
        let (from, to) = (parse(from)?, parse(to)?);
        ensure!(
            from.is_ipv4() == to.is_ipv4() && from <= to,
            "`{part}` is not a range; it goes from the lower to the higher address"
        );
        let (first, last) = (number(from), number(to));
        ensure!(
            last - first < MOST,
            "`{part}` has more than {MOST} addresses"
        );
        all.extend((first..=last).map(|number| match from {
            IpAddr::V4(_) => IpAddr::from((number as u32).to_be_bytes()),
            IpAddr::V6(_) => IpAddr::from(number.to_be_bytes()),
        }));
    }
    ensure!(
        all.iter()
            .all(|source| source.is_ipv4() == all[0].is_ipv4()),
        "IPv4 and IPv6 cannot be mixed"
    );
    for &source in &all {
        let address = SocketAddr::new(source, 0);
        Socket::new(Domain::for_address(address), Type::STREAM, None)
            .and_then(|socket| socket.bind(&address.into()))
            .with_context(|| format!("{source} is no address of this machine"))?;
    }
    Ok(all)
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// What TLS connections have in common. Sessions are resumed as rustls does by itself.
fn trust(asked: &Endpoint, insecure: bool) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .context("TLS cannot be set up")?;
    let mut config = if insecure {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
            .with_no_client_auth()
    } else {
        let named = named_certificates(asked)?;
        let roots = Arc::new(roots(&named)?);
        let usual = WebPkiServerVerifier::builder_with_provider(roots, provider).build()?;
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Known { usual, named }))
            .with_no_client_auth()
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The machine's roots of trust (Mozilla's where it has none) and those of --ca-cert.
fn roots(named: &[CertificateDer<'static>]) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    // What cannot be read is no root; a missing one shows in the trial handshake.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for certificate in named {
        roots.add(certificate.clone()).context("--ca-cert")?;
    }
    Ok(roots)
}

/// What --ca-cert names.
fn named_certificates(asked: &Endpoint) -> Result<Vec<CertificateDer<'static>>> {
    let Some(path) = asked.ca_cert.get() else {
        return Ok(Vec::new());
    };
    let wrong = || format!("--ca-cert {}", path.display());
    let named =
        CertificateDer::pem_file_iter(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let named = named.with_context(wrong)?;
    ensure!(
        !named.is_empty(),
        "{}: there is no certificate in it",
        wrong()
    );
    Ok(named)
}

/// One handshake, so that a certificate which is no good is one error and not one per request.
/// Anything else that goes wrong is for the run to show. With the first address that takes
/// connections.
fn try_handshake<'a>(
    url: &TargetUrl,
    tls: &Tls,
    addresses: impl Iterator<Item = &'a SocketAddr>,
    limit: Duration,
) -> Result<()> {
    let mut config = ClientConfig::clone(&tls.config);
    // The run's first handshakes must not be shortened by this one.
    config.resumption = Resumption::disabled();
    let mut sockets = addresses.filter_map(|at| TcpStream::connect_timeout(at, limit).ok());
    let Some(reason) = sockets.next().and_then(|socket| {
        handshake(config, tls.name.clone(), socket, limit)
            .err()
            .and_then(certificate_reason)
    }) else {
        return Ok(());
    };
    bail!(
        "the certificate of {} is not accepted: {reason}; nothing was sent. Name the authority that \
         signed it with --ca-cert FILE, or accept any certificate with --insecure",
        url.authority()
    )
}

fn handshake(
    config: ClientConfig,
    name: ServerName<'static>,
    mut socket: TcpStream,
    limit: Duration,
) -> io::Result<()> {
    socket.set_read_timeout(Some(limit))?;
    socket.set_write_timeout(Some(limit))?;
    let mut session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    while session.is_handshaking() {
        complete(&mut session, &mut socket)?;
    }
    session.send_close_notify();
    let _ = session.write_tls(&mut socket);
    Ok(())
}

fn complete(session: &mut ClientConnection, socket: &mut (impl Read + Write)) -> io::Result<()> {
    match session.complete_io(socket)? {
        (0, 0) => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn certificate_reason(error: io::Error) -> Option<String> {
    let error = error.into_inner()?.downcast::<rustls::Error>().ok()?;
    matches!(
        *error,
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented
    )
    .then(|| error.to_string())
}

/// The usual verifier, which also takes a server's own certificate if --ca-cert names that. Most
/// certificates that sign themselves (`openssl req -x509`) call themselves an authority, and the
/// usual verifier takes no authority for a server.
#[derive(Debug)]
struct Known {
    usual: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let usual = self
            .usual
            .verify_server_cert(certificate, others, name, ocsp, now);
        match usual {
            // Its dates have been found good before this.
            Err(error)
                if self.named.contains(certificate)
                    && format!("{error:?}").contains("CaUsedAsEndEntity") =>
            {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// A verifier that trusts anyone (--insecure). Signatures are still checked: a server must hold the
/// key of the certificate it shows.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_family_is_spare() {
        let all = [
            "127.0.0.2:80",
            "[::1]:80",
            "127.0.0.1:80",
            "127.0.0.2:80",
            "[::2]:80",
        ];
        let sixes = &["[::1]:80", "[::2]:80"][..];
        let fours = &["127.0.0.2:80", "127.0.0.1:80"][..];
        let unique = &all[..3]
            .iter()
            .chain(&all[4..])
            .copied()
            .collect::<Vec<_>>()[..];
        for (wanted, of, first, spare) in [
            ("", &all[..], fours, sixes),
            ("4", &all[..], fours, &[][..]),
            ("6", &all[..], sixes, &[][..]),
            ("auto", &all[..], unique, &[][..]),
            ("", sixes, sixes, &[][..]),
            ("4", sixes, sixes, &[][..]),
            ("6", fours, &[][..], &[][..]),
        ] {
            let parse = |texts: &[&str]| -> Vec<SocketAddr> {
                texts.iter().map(|text| text.parse().unwrap()).collect()
            };
            let parted = by_family(parse(of).into_iter(), wanted);
            assert_eq!(
                parted,
                Some((parse(first), parse(spare))),
                "{wanted:?} of {of:?}"
            );
        }
        assert_eq!(by_family(std::iter::empty(), "v4"), None);
    }

    #[test]
    fn sources_are_lists_and_ranges() {
        let text =
            |text| sources(text).map(|all| all.iter().map(IpAddr::to_string).collect::<Vec<_>>());
        assert_eq!(text("127.0.0.9").unwrap(), ["127.0.0.9"]);
        assert_eq!(
            text("127.0.0.255-127.0.1.1, 127.0.0.2").unwrap(),
            ["127.0.0.255", "127.0.1.0", "127.0.1.1", "127.0.0.2"]
        );
        for (wrong, reason) in [
            ("", "not an IP"),
            ("localhost", "not an IP"),
            ("127.0.0.9-127.0.0.2", "lower to the higher"),
            ("127.0.0.1-::1", "lower to the higher"),
            ("127.0.0.1-127.255.0.0", "more than"),
            ("127.0.0.1,::1", "mixed"),
            ("192.0.2.1", "no address of this machine"),
        ] {
            let error = format!("{:#}", sources(wrong).unwrap_err());
            assert!(error.contains(reason), "{wrong}: {error}");
        }
    }
}
