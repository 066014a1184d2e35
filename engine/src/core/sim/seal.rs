//! TLS in the world without a kernel: a fake one that costs nothing, and rustls on both sides.

use std::{
    io::{self, IoSlice, Write},
    sync::{Arc, OnceLock},
};

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::{
    ClientConfig, Error, RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion,
    client::Resumption,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    server::ServerSessionMemoryCache,
    version::{TLS12, TLS13},
};

use super::{dice::Dice, nature::Nature, plug::Plug};
use crate::{
    io::Secure,
    plan::Tls,
    tls::{TlsSession, open},
};

/// The bytes of the fake handshake.
const HELLO: u8 = b'H';
pub(super) const SHAKES: u8 = b's';
pub(super) const DONE: u8 = b'D';
const FINISHED: u8 = b'F';

/// What a server gives to its TLS instead of text: that nothing more will come, and what no TLS
/// says.
pub(super) const CLOSE_NOTIFY: &[u8] = &[0xFF];
pub(super) const NO_TLS: &[u8] = b"HTTP/1.1 400\r\n\r\n";

/// The name that servers of the fake prove.
const FAKE: &str = "fake";

/// What is spoken over the connections of a world.
#[derive(Clone)]
pub(super) enum Seal {
    Clear,
    Fake,
    Real(Arc<ServerConfig>),
}

impl Seal {
    /// Rustls is slow beside the rest, so few worlds have it.
    pub(super) fn draw(dice: &Dice) -> Self {
        match (dice.once_in(3), dice.once_in(8)) {
            (false, _) => Self::Clear,
            (true, false) => Self::Fake,
            (true, true) => Self::Real(Arc::new(server(dice))),
        }
    }

    /// What a client needs for it.
    pub(super) fn tls(&self) -> Option<Tls> {
        let named = |name| ServerName::try_from(name).expect("a name");
        let mut config = made().client.clone();
        let name = match self {
            Self::Clear => return None,
            Self::Fake => named(FAKE),
            Self::Real(_) => named("localhost"),
        };
        config.resumption = Resumption::in_memory_sessions(4);
        let config = Arc::new(config);
        Some(Tls { config, name })
    }
}

/// What the worlds with rustls have in common.
struct Made {
    client: ClientConfig,
    /// With TLS 1.2 alone, and with 1.3 alone.
    servers: [ServerConfig; 2],
}

/// Nothing in it is of a length that chance decides, as a signature by ECDSA would be.
fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.serial_number = Some(1_u64.into());
        let certificate = params.self_signed(&key).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).expect("a root");
        let provider = Arc::new(ring::default_provider());
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let server = |version: &'static SupportedProtocolVersion| {
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
            ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(&[version])
                .expect("a version of TLS")
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key)
                .expect("a server's certificate")
        };
        let servers = [server(&TLS12), server(&TLS13)];
        Made { client, servers }
    })
}

/// The servers of one run; what they know of earlier sessions is of that run.
fn server(dice: &Dice) -> ServerConfig {
    let mut config = made().servers[dice.below(2) as usize].clone();
    config.session_storage = ServerSessionMemoryCache::new(16);
    config
}

/// TLS as a client has it in a world.
pub(in crate::core) enum Sealed {
    Fake(FakeTls),
    Real(Box<TlsSession>),
}

impl Secure<Plug> for Sealed {
    fn new(tls: &Tls) -> Result<Self, Error> {
        Ok(match tls.name.to_str() == FAKE {
            true => Self::Fake(FakeTls::new()),
            false => Self::Real(Box::new(<TlsSession as Secure<Plug>>::new(tls)?)),
        })
    }

    fn is_handshaking(&self) -> bool {
        match self {
            Self::Fake(fake) => !fake.shaken,
            Self::Real(real) => Secure::<Plug>::is_handshaking(&**real),
        }
    }

    fn open(&mut self, received: &[u8], take: impl FnMut(&[u8])) -> Result<bool, Error> {
        match self {
            Self::Fake(fake) => fake.open(received, take),
            Self::Real(real) => Secure::<Plug>::open(&mut **real, received, take),
        }
    }

    fn send(&mut self, socket: &Plug, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Fake(fake) => fake.send(socket, parts),
            Self::Real(real) => real.send(socket, parts),
        }
    }

    fn flush(&mut self, socket: &Plug) -> io::Result<()> {
        match self {
            Self::Fake(fake) => fake.flush(socket),
            Self::Real(real) => real.flush(socket),
        }
    }
}

/// TLS that seals nothing: its handshake is one byte there, some back and a last one with the
/// first request, its `close_notify` one that no text has.
pub(in crate::core) struct FakeTls {
    shaken: bool,
    /// Bytes that have been sealed and not taken by the socket.
    waiting: Vec<u8>,
    sealed: usize,
}

impl FakeTls {
    fn new() -> Self {
        Self {
            shaken: false,
            waiting: vec![HELLO],
            sealed: 0,
        }
    }

    fn open(&mut self, mut received: &[u8], mut take: impl FnMut(&[u8])) -> Result<bool, Error> {
        while !self.shaken
            && let Some((&byte, rest)) = received.split_first()
        {
            received = rest;
            match byte {
                SHAKES => {}
                DONE => {
                    self.shaken = true;
                    self.waiting.push(FINISHED);
                }
                _ => return Err(Error::General("not a handshake".into())),
            }
        }
        let over = received.iter().position(|byte| CLOSE_NOTIFY.contains(byte));
        let plain = &received[..over.unwrap_or(received.len())];
        if !plain.is_empty() {
            take(plain);
        }
        Ok(over.is_some())
    }

    fn send(&mut self, socket: &Plug, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.sealed == 0 {
            // Records are of a limited size, and so is what waits.
            let all = parts.iter().flat_map(|part| part.iter().copied());
            let before = self.waiting.len();
            self.waiting.extend(all.take(20_000));
            self.sealed = self.waiting.len() - before;
        }
        self.flush(socket)?;
        Ok(std::mem::take(&mut self.sealed))
    }

    fn flush(&mut self, socket: &Plug) -> io::Result<()> {
        while !self.waiting.is_empty() {
            let taken = socket.take(&[IoSlice::new(&self.waiting)])?;
            self.waiting.drain(..taken);
        }
        Ok(())
    }
}

/// TLS as a server has it on one connection.
pub(super) enum ServerSide {
    Clear,
    /// So many bytes of the handshake are still to come, and it has been answered.
    Fake(usize, bool),
    Real(Box<ServerConnection>),
}

impl ServerSide {
    pub(super) fn new(seal: &Seal) -> Self {
        match seal {
            Seal::Clear => Self::Clear,
            Seal::Fake => Self::Fake(2, false),
            Seal::Real(config) => {
                let session = ServerConnection::new(Arc::clone(config)).expect("a session");
                Self::Real(Box::new(session))
            }
        }
    }

    /// What was inside of bytes that a client has sent.
    pub(super) fn open(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8])) {
        match self {
            Self::Clear => take(bytes),
            Self::Fake(shakes, _) => {
                let of_handshake = bytes.len().min(*shakes);
                *shakes -= of_handshake;
                take(&bytes[of_handshake..]);
            }
            Self::Real(session) => match open(session, bytes, take) {
                Ok(_) | Err(Error::AlertReceived(_)) => {}
                Err(error) => panic!("the client does not speak TLS: {error}"),
            },
        }
    }

    /// Whether there is something to say that is no answer to a request.
    pub(super) fn has_to_shake(&mut self) -> bool {
        match self {
            Self::Clear => false,
            Self::Fake(_, answered) => !std::mem::replace(answered, true),
            Self::Real(session) => session.wants_write(),
        }
    }

    /// Seals what is said, behind what waits; damages it now and then. A session has the same to
    /// say whenever it is asked, so nothing is lost where nothing is said.
    pub(super) fn seal(&mut self, said: &[u8], into: &mut Vec<u8>, dice: &Dice, nature: &Nature) {
        let Self::Real(session) = self else {
            return into.extend_from_slice(said);
        };
        match said {
            NO_TLS => into.extend_from_slice(said),
            CLOSE_NOTIFY => session.send_close_notify(),
            _ => {
                // Keys are changed, where the version knows that, and the handshake is over.
                if dice.once_in(8) {
                    let _ = session.refresh_traffic_keys();
                }
                session.writer().write_all(said).expect("it is buffered");
            }
        }
        while session.wants_write() {
            session.write_tls(into).expect("it is memory");
        }
        if let Some(last) = into.last_mut()
            && dice.once_in(nature.wrong * 16)
        {
            *last ^= 1;
        }
    }
}
