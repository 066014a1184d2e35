//! Request heads: built once as a whole, patched per request in three places.

use crate::random::{Draws, Purpose};

/// A head without its ids and its length.
#[derive(Clone, Debug)]
pub struct RequestHead {
    bytes: Vec<u8>,
    request_id_at: Option<usize>,
    correlation_id_at: Vec<usize>,
}

/// A header's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderValue<'a> {
    /// The same in every request.
    Fixed(&'a str),
    /// The request's id.
    RequestId,
    /// The session's id.
    CorrelationId,
}

/// Length of a UUID in its usual form.
const UUID: usize = 36;

impl RequestHead {
    /// A POST of `path` with the given headers in order. `Host` and the like are the caller's;
    /// `Content-Length` is added per request. A line break inside a value would start another
    /// header, so the caller must have refused those.
    pub fn post<'a>(
        path: &str,
        headers: impl IntoIterator<Item = (&'a str, HeaderValue<'a>)>,
    ) -> Self {
        let mut head = Self {
            bytes: format!("POST {path} HTTP/1.1\r\n").into_bytes(),
            request_id_at: None,
            correlation_id_at: Vec::new(),
        };
        for (name, value) in headers {
            head.bytes.extend_from_slice(name.as_bytes());
            head.bytes.extend_from_slice(b": ");
            match value {
                HeaderValue::Fixed(text) => head.bytes.extend_from_slice(text.as_bytes()),
                HeaderValue::RequestId => {
                    head.request_id_at = Some(head.bytes.len());
                    head.bytes.resize(head.bytes.len() + UUID, b'0');
                }
                HeaderValue::CorrelationId => {
                    head.correlation_id_at.push(head.bytes.len());
                    head.bytes.resize(head.bytes.len() + UUID, b'0');
                }
            }
            head.bytes.extend_from_slice(b"\r\n");
        }
        head.bytes.extend_from_slice(b"Content-Length: ");
        head
    }

    /// Writes the head of one request into `into`, which is cleared first.
    #[inline]
    pub fn write(&self, into: &mut Vec<u8>, ids: &Ids, body_bytes: usize) {
        into.clear();
        into.extend_from_slice(&self.bytes);
        if let Some(at) = self.request_id_at {
            write_uuid(&mut into[at..at + UUID], &ids.request);
        }
        for &at in &self.correlation_id_at {
            write_uuid(&mut into[at..at + UUID], &ids.correlation);
        }
        let mut digits = [0_u8; 20];
        let mut at = digits.len();
        let mut rest = body_bytes;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        into.extend_from_slice(&digits[at..]);
        into.extend_from_slice(b"\r\n\r\n");
    }
}

/// The ids of one request: version 4 UUIDs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ids {
    /// `X-Request-ID`.
    pub request: [u8; 16],
    /// `X-Correlation-ID`.
    pub correlation: [u8; 16],
}

impl Ids {
    /// The ids of request `index` under the run's `key`.
    #[inline]
    pub fn new(key: Purpose, index: u64) -> Self {
        let mut draws = key.at(index);
        Self {
            request: uuid(&mut draws),
            correlation: uuid(&mut draws),
        }
    }
}

#[inline]
fn uuid(draws: &mut Draws) -> [u8; 16] {
    let mut bytes = (u128::from(draws.u64()) << 64 | u128::from(draws.u64())).to_be_bytes();
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    bytes
}

/// Writes a UUID in its usual form into 36 bytes.
#[inline]
pub fn write_uuid(into: &mut [u8], uuid: &[u8; 16]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut at = 0;
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            into[at] = b'-';
            at += 1;
        }
        into[at] = HEX[usize::from(byte >> 4)];
        into[at + 1] = HEX[usize::from(byte & 0xF)];
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_patched_in_its_places() {
        let head = RequestHead::post(
            "/v1/x?k=v",
            [
                ("Host", HeaderValue::Fixed("h:1")),
                ("X-Request-ID", HeaderValue::RequestId),
                ("X-Correlation-ID", HeaderValue::CorrelationId),
                ("X-Session-Affinity", HeaderValue::CorrelationId),
            ],
        );
        let ids = Ids {
            request: [0xAB; 16],
            correlation: [0x01; 16],
        };
        let mut bytes = b"old".to_vec();
        head.write(&mut bytes, &ids, 1_024);
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "POST /v1/x?k=v HTTP/1.1\r\nHost: h:1\r\n\
             X-Request-ID: abababab-abab-abab-abab-abababababab\r\n\
             X-Correlation-ID: 01010101-0101-0101-0101-010101010101\r\n\
             X-Session-Affinity: 01010101-0101-0101-0101-010101010101\r\n\
             Content-Length: 1024\r\n\r\n"
        );
        let mut bytes = Vec::new();
        head.write(&mut bytes, &ids, 0);
        assert!(bytes.ends_with(b"Content-Length: 0\r\n\r\n"));
    }

    #[test]
    fn ids_are_version_4_and_differ() {
        let key = Purpose::new(1, "ids");
        let (a, b) = (Ids::new(key, 0), Ids::new(key, 1));
        assert_ne!(a, b);
        assert_ne!(a.request, a.correlation);
        for id in [a.request, b.correlation] {
            assert_eq!(id[6] >> 4, 4);
            assert_eq!(id[8] >> 6, 2);
        }
    }
}
