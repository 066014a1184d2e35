//! Version 4 UUIDs from the run's own random draws.

use serde::{Deserialize, Serialize};

use crate::random::Draws;

/// Length of a UUID in its usual form.
pub const TEXT_BYTES: usize = 36;

/// A UUID of version 4.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// The next one of `draws`.
    #[inline]
    pub fn draw(draws: &mut Draws) -> Self {
        let mut bytes = (u128::from(draws.u64()) << 64 | u128::from(draws.u64())).to_be_bytes();
        bytes[6] = bytes[6] & 0x0F | 0x40;
        bytes[8] = bytes[8] & 0x3F | 0x80;
        Self(bytes)
    }

    /// Its usual form, as ASCII.
    #[inline]
    pub fn text(&self) -> [u8; TEXT_BYTES] {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; TEXT_BYTES];
        let mut at = 0;
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                at += 1;
            }
            text[at] = HEX[usize::from(byte >> 4)];
            text[at + 1] = HEX[usize::from(byte & 0xF)];
            at += 2;
        }
        text
    }
}

impl std::fmt::Display for Uuid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    #[test]
    fn version_variant_and_form() {
        let mut draws = Purpose::new(1, "ids").at(0);
        let (a, b) = (Uuid::draw(&mut draws), Uuid::draw(&mut draws));
        assert_ne!(a, b);
        for id in [a, b] {
            assert_eq!((id.0[6] >> 4, id.0[8] >> 6), (4, 2));
        }
        let bytes = std::array::from_fn(|i| i as u8 * 0x11);
        assert_eq!(
            Uuid(bytes).to_string(),
            "00112233-4455-6677-8899-aabbccddeeff"
        );
    }
}
