//! The first bytes of a connection, all of fixed size: a challenge from the leader, the shard's
//! greeting with its proof that it knows the token, and the leader's own proof.
//!
//! Nothing that a stranger sends is interpreted before the proof has been checked, in constant
//! time. The layout never changes between versions, so that two of them can always tell each other
//! that they differ.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What every connection begins with, in both directions.
pub const MAGIC: [u8; 7] = *b"pinfire";

/// The version of the messages behind the greeting. To be raised with each change of one of them.
pub const PROTOCOL: u8 = 2;

/// Bytes of a leader's challenge.
pub const CHALLENGE_BYTES: usize = MAGIC.len() + 1 + NONCE_BYTES;

/// Bytes of a shard's greeting.
pub const GREETING_BYTES: usize = SIGNED_BYTES + PROOF_BYTES;

/// Bytes of a leader's proof.
pub const PROOF_BYTES: usize = 32;

const NONCE_BYTES: usize = 32;
const VERSION_BYTES: usize = 24;
const HOST_BYTES: usize = 64;
const SIGNED_BYTES: usize = MAGIC.len() + 1 + VERSION_BYTES + 4 + 4 + 8 + HOST_BYTES + NONCE_BYTES;

/// Bytes that nobody can foretell, drawn for one connection.
pub type Nonce = [u8; NONCE_BYTES];

/// The secret that leader and shards of a run share. Empty where none was given: the proof then
/// shows only that both speak the same protocol.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Vec<u8>);

impl Token {
    /// The token of these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    fn over(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key");
        for part in parts {
            mac.update(part);
        }
        mac
    }

    /// The leader's answer to a shard that has proved itself.
    pub fn leader_proof(&self, challenge: &Nonce, answer: &Nonce) -> [u8; PROOF_BYTES] {
        let mac = self.over(&[b"leader", challenge, answer]);
        mac.finalize().into_bytes().into()
    }

    /// Whether a leader knows the token.
    pub fn is_leader(&self, challenge: &Nonce, answer: &Nonce, proof: &[u8; PROOF_BYTES]) -> bool {
        let mac = self.over(&[b"leader", challenge, answer]);
        mac.verify_slice(proof).is_ok()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// The first bytes of a leader.
pub fn challenge(nonce: &Nonce) -> Vec<u8> {
    [&MAGIC[..], &[PROTOCOL], nonce].concat()
}

/// The nonce of a challenge, unless the bytes are no challenge at all.
pub fn read_challenge(bytes: &[u8; CHALLENGE_BYTES]) -> Option<Nonce> {
    let nonce = bytes.last_chunk().copied()?;
    bytes.starts_with(&MAGIC).then_some(nonce)
}

/// What a shard says of itself before anything else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Greeting {
    /// Version of the messages.
    pub protocol: u8,
    /// Version of the program.
    pub version: String,
    /// Which shard it is.
    pub index: u32,
    /// Of how many, 0 where it leaves that to the leader.
    pub shards: u32,
    /// Drawn at the start of the process: a second process of the same index differs in it.
    pub incarnation: u64,
    /// Name of its host.
    pub host: String,
    /// The challenge to the leader.
    pub nonce: Nonce,
}

impl Greeting {
    /// The bytes of it, with the proof for the leader's `challenge`.
    pub fn signed(&self, token: &Token, challenge: &Nonce) -> Vec<u8> {
        let mut bytes = [&MAGIC[..], &[self.protocol]].concat();
        bytes.extend(padded::<VERSION_BYTES>(&self.version));
        bytes.extend(self.index.to_le_bytes());
        bytes.extend(self.shards.to_le_bytes());
        bytes.extend(self.incarnation.to_le_bytes());
        bytes.extend(padded::<HOST_BYTES>(&self.host));
        bytes.extend(self.nonce);
        let proof = token.over(&[b"shard", challenge, &bytes]).finalize();
        bytes.extend(proof.into_bytes());
        bytes
    }

    /// Reads it, if whoever sent it knows the token.
    pub fn checked(bytes: &[u8; GREETING_BYTES], token: &Token, challenge: &Nonce) -> Option<Self> {
        let (signed, proof) = bytes.split_at(SIGNED_BYTES);
        let mac = token.over(&[b"shard", challenge, signed]);
        mac.verify_slice(proof).ok()?;
        let mut rest = Fields(signed.strip_prefix(&MAGIC)?);
        let [protocol] = rest.next()?;
        Some(Self {
            protocol,
            version: text(&rest.next::<VERSION_BYTES>()?),
            index: u32::from_le_bytes(rest.next()?),
            shards: u32::from_le_bytes(rest.next()?),
            incarnation: u64::from_le_bytes(rest.next()?),
            host: text(&rest.next::<HOST_BYTES>()?),
            nonce: rest.next()?,
        })
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn next<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }
}

/// A text in a field of fixed size, cut where it does not fit, zeros behind it.
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut end = text.len().min(N);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut field = [0; N];
    field[..end].copy_from_slice(&text.as_bytes()[..end]);
    field
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|&byte| byte == 0);
    String::from_utf8_lossy(&field[..end.unwrap_or(field.len())]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting() -> Greeting {
        Greeting {
            protocol: PROTOCOL,
            version: "0.1.0".to_owned(),
            index: 3,
            shards: 8,
            incarnation: 77,
            host: "gpu-12".to_owned(),
            nonce: [9; 32],
        }
    }

    #[test]
    fn a_greeting_comes_back_and_no_byte_of_it_can_be_changed() {
        let token = Token::new("t");
        let signed: [u8; GREETING_BYTES] = greeting().signed(&token, &[1; 32]).try_into().unwrap();
        assert_eq!(
            Greeting::checked(&signed, &token, &[1; 32]),
            Some(greeting())
        );
        for at in 0..signed.len() {
            let mut changed = signed;
            changed[at] ^= 1;
            assert_eq!(Greeting::checked(&changed, &token, &[1; 32]), None, "{at}");
        }
        assert_eq!(Greeting::checked(&signed, &Token::new("u"), &[1; 32]), None);
        // Nor can it be sent again to another challenge.
        assert_eq!(Greeting::checked(&signed, &token, &[2; 32]), None);
    }

    #[test]
    fn a_leader_proves_itself_too() {
        let token = Token::new("t");
        let proof = token.leader_proof(&[1; 32], &[9; 32]);
        assert!(token.is_leader(&[1; 32], &[9; 32], &proof));
        assert!(!token.is_leader(&[1; 32], &[8; 32], &proof));
        assert!(!Token::new("u").is_leader(&[1; 32], &[9; 32], &proof));
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let host = format!("{}é", "h".repeat(HOST_BYTES - 1));
        assert_eq!(
            text(&padded::<HOST_BYTES>(&host)),
            "h".repeat(HOST_BYTES - 1)
        );
    }
}
