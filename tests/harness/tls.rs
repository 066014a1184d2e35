//! Certificates made on the spot, servers that show them, clients that trust them or do not.

use std::sync::Arc;

use pinfire_engine::plan::Tls;
use pinfire_tools::mock::Script;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

/// A certificate for `localhost` and 127.0.0.1 that signs itself, and its key.
pub struct Identity(CertifiedKey<rcgen::KeyPair>);

impl Identity {
    /// A new one.
    pub fn new() -> Self {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        Self(generate_simple_self_signed(names).expect("a certificate"))
    }

    /// As a file for --ca-cert.
    pub fn pem(&self) -> String {
        self.0.cert.pem()
    }

    /// Its key as a file.
    pub fn key_pem(&self) -> String {
        self.0.signing_key.serialize_pem()
    }

    /// The script of a mock that shows it to clients that speak TLS.
    pub fn shown(&self, script: Script) -> Script {
        let key = PrivatePkcs8KeyDer::from(self.0.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_no_client_auth()
            .with_single_cert(vec![self.0.cert.der().clone()], PrivateKeyDer::Pkcs8(key))
            .expect("a server's certificate");
        Script {
            tls: Some(Arc::new(config)),
            ..script
        }
    }

    /// What a client needs that trusts it.
    pub fn trusted(&self) -> Tls {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.cert.der().clone()).expect("a root");
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Tls {
            config: Arc::new(config),
            name: "localhost".try_into().expect("a name"),
        }
    }
}

impl Default for Identity {
    fn default() -> Self {
        Self::new()
    }
}
