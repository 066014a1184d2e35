//! Request heads: built once as a whole, patched per request in three places.

use crate::{
    random::Purpose,
    uuid::{TEXT_BYTES, Uuid},
};

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
                    head.bytes.resize(head.bytes.len() + TEXT_BYTES, b'0');
                }
                HeaderValue::CorrelationId => {
                    head.correlation_id_at.push(head.bytes.len());
                    head.bytes.resize(head.bytes.len() + TEXT_BYTES, b'0');
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
            into[at..at + TEXT_BYTES].copy_from_slice(&ids.request.text());
        }
        let correlation = ids.correlation.text();
        for &at in &self.correlation_id_at {
            into[at..at + TEXT_BYTES].copy_from_slice(&correlation);
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
    pub request: Uuid,
    /// `X-Correlation-ID`.
    pub correlation: Uuid,
}

impl Ids {
    /// The ids of request `index` under the run's `key`.
    #[inline]
    pub fn new(key: Purpose, index: u64) -> Self {
        let mut draws = key.at(index);
        Self {
            request: Uuid::draw(&mut draws),
            correlation: Uuid::draw(&mut draws),
        }
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
            request: Uuid([0xAB; 16]),
            correlation: Uuid([0x01; 16]),
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
    fn ids_differ() {
        let key = Purpose::new(1, "ids");
        let (a, b) = (Ids::new(key, 0), Ids::new(key, 1));
        assert_ne!(a, b);
        assert_ne!(a.request, a.correlation);
    }
}
