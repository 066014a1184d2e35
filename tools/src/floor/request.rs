//! The request that is sent again and again.

use std::net::SocketAddr;

/// Request bytes with a place for an X-Request-ID of 16 digits.
pub struct Request {
    /// Head and body.
    pub(super) bytes: Vec<u8>,
    /// Where the id is.
    id_at: usize,
}

impl Request {
    /// A POST of `body`.
    pub fn new(server: SocketAddr, path: &str, body: &[u8]) -> Self {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {server}\r\nContent-Type: application/json\r\nX-Request-ID: "
        );
        let mut bytes = head.into_bytes();
        let id_at = bytes.len();
        let rest = format!("0000000000000000\r\nContent-Length: {}\r\n\r\n", body.len());
        bytes.extend_from_slice(rest.as_bytes());
        bytes.extend_from_slice(body);
        Self { bytes, id_at }
    }

    /// The body of a chat with a prompt of so many bytes.
    pub fn chat(model: &str, prompt_bytes: usize, stream: bool, osl: Option<u32>) -> Vec<u8> {
        let prompt: String = "lorem ipsum ".chars().cycle().take(prompt_bytes).collect();
        let mut body = serde_json::json!({
            "messages": [{"role": "user", "content": prompt}],
            "model": model,
            "stream": stream,
        });
        if let Some(tokens) = osl {
            body["max_completion_tokens"] = tokens.into();
        }
        body.to_string().into_bytes()
    }

    /// Head and body.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Sets the id.
    #[inline]
    pub(super) fn set_id(&mut self, number: u64) {
        let digits = &mut self.bytes[self.id_at..self.id_at + 16];
        for (place, digit) in digits.iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(number >> (60 - 4 * place)) as usize & 15];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_set_in_place() {
        let server = SocketAddr::from(([127, 0, 0, 1], 8000));
        let body = Request::chat("mock", 20, false, None);
        let mut request = Request::new(server, "/v1/chat/completions", &body);
        request.set_id(0x1f);
        let text = String::from_utf8(request.bytes).unwrap();
        assert!(
            text.contains("X-Request-ID: 000000000000001f\r\n"),
            "{text}"
        );
    }
}
