//! Addresses of a server that gave a request no connection.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// An address, and why it gave none: the system's error number.
pub type Refusal = (SocketAddr, i32);

/// They are tried one after the other, before anything of the request is sent.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Unreached {
    /// In the order in which they were tried.
    pub refusals: Vec<Refusal>,
}

impl Unreached {
    /// Whether an address is among them.
    pub fn has(&self, address: SocketAddr) -> bool {
        self.refusals.iter().any(|&(one, _)| one == address)
    }
}
