//! Request heads: built once as a whole, completed per request with its ids and its length.

use pinfire_base::{
    random::Purpose,
    record::{Correlation, write_decimal},
    uuid::Uuid,
};

/// A head without its ids and its length.
#[derive(Clone, Debug)]
pub struct RequestHead {
    bytes: Vec<u8>,
    /// Where ids go into `bytes`, in order.
    ids_at: Vec<(usize, Id)>,
}

#[derive(Clone, Copy, Debug)]
enum Id {
    Request,
    Correlation,
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
        Self::of("POST", path, headers)
    }

    /// The same for a GET, whose body is to be empty.
    pub fn get<'a>(
        path: &str,
        headers: impl IntoIterator<Item = (&'a str, HeaderValue<'a>)>,
    ) -> Self {
        Self::of("GET", path, headers)
    }

    fn of<'a>(
        method: &str,
        path: &str,
        headers: impl IntoIterator<Item = (&'a str, HeaderValue<'a>)>,
    ) -> Self {
        let mut head = Self {
            bytes: format!("{method} {path} HTTP/1.1\r\n").into_bytes(),
            ids_at: Vec::new(),
        };
        for (name, value) in headers {
            head.bytes.extend_from_slice(name.as_bytes());
            head.bytes.extend_from_slice(b": ");
            match value {
                HeaderValue::Fixed(text) => head.bytes.extend_from_slice(text.as_bytes()),
                HeaderValue::RequestId => head.ids_at.push((head.bytes.len(), Id::Request)),
                HeaderValue::CorrelationId => {
                    head.ids_at.push((head.bytes.len(), Id::Correlation));
                }
            }
            head.bytes.extend_from_slice(b"\r\n");
        }
        head.bytes.extend_from_slice(b"Content-Length: ");
        head
    }

    /// Writes the head of one request into `into`, which is cleared first. `name` is the id of its
    /// conversation.
    #[inline]
    pub fn write(&self, into: &mut Vec<u8>, ids: &Ids, name: &str, body_bytes: usize) {
        into.clear();
        let mut from = 0;
        for &(at, id) in &self.ids_at {
            into.extend_from_slice(&self.bytes[from..at]);
            match id {
                Id::Request => into.extend_from_slice(&ids.request.text()),
                Id::Correlation => ids.correlation.write(name, into),
            }
            from = at;
        }
        into.extend_from_slice(&self.bytes[from..]);
        write_decimal(body_bytes as u64, into);
        into.extend_from_slice(b"\r\n\r\n");
    }
}

/// The ids of one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ids {
    /// `X-Request-ID`.
    pub request: Uuid,
    /// `X-Correlation-ID`.
    pub correlation: Correlation,
}

impl Ids {
    /// The ids of request `index` under the run's `key`.
    #[inline]
    pub fn new(key: Purpose, index: u64, correlation: Correlation) -> Self {
        Self {
            request: Uuid::draw(&mut key.at(index)),
            correlation,
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
            correlation: Correlation::Id(Uuid([0x01; 16])),
        };
        let mut bytes = b"old".to_vec();
        head.write(&mut bytes, &ids, "", 1_024);
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "POST /v1/x?k=v HTTP/1.1\r\nHost: h:1\r\n\
             X-Request-ID: abababab-abab-abab-abab-abababababab\r\n\
             X-Correlation-ID: 01010101-0101-0101-0101-010101010101\r\n\
             X-Session-Affinity: 01010101-0101-0101-0101-010101010101\r\n\
             Content-Length: 1024\r\n\r\n"
        );
        let mut bytes = Vec::new();
        head.write(&mut bytes, &ids, "", 0);
        assert!(bytes.ends_with(b"Content-Length: 0\r\n\r\n"));
    }

    #[test]
    fn sessions_have_ids_of_three_kinds() {
        let head = RequestHead::post("/", [("X", HeaderValue::CorrelationId)]);
        let written = |correlation| {
            let ids = Ids::new(Purpose::new(1, "ids"), 0, correlation);
            let mut bytes = Vec::new();
            head.write(&mut bytes, &ids, "s-1", 1);
            String::from_utf8(bytes).unwrap()
        };
        assert!(written(Correlation::User(120)).contains("X: 120\r\n"));
        assert!(written(Correlation::Conversation(0)).contains("X: fixed-schedule-s-1\r\n"));
    }
}
