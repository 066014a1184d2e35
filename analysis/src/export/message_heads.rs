//! Message heads as objects: headers in order, credentials hidden.

use pinfire_artifacts::Ordered;

use pinfire_guard::{HIDDEN, names::is_sensitive};

/// The headers of a head; those that come several times are joined with commas.
pub(super) fn headers(head: &[u8]) -> Ordered<String> {
    let mut map: Ordered<String> = Ordered::default();
    for (name, value) in lines(head) {
        let value = if is_sensitive(&name) { HIDDEN } else { &value };
        match map.get_mut(&name) {
            Some(before) => {
                if value != HIDDEN {
                    before.push_str(", ");
                    before.push_str(value);
                }
            }
            None => {
                map.insert(name, value.to_owned());
            }
        }
    }
    map
}

/// The value of a header, by its name in any letter case.
pub(super) fn header(head: &[u8], wanted: &str) -> Option<String> {
    let mut lines = lines(head);
    let found = lines.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
    found.map(|(_, value)| value)
}

/// The reason phrase of a response head; absent where it is empty.
pub(super) fn reason(head: &[u8]) -> Option<String> {
    let first = head.split(|&b| b == b'\n').next()?;
    let text = String::from_utf8_lossy(first);
    let reason = text.trim().splitn(3, ' ').nth(2)?.trim();
    (!reason.is_empty()).then(|| reason.to_owned())
}

fn lines(head: &[u8]) -> impl Iterator<Item = (String, String)> {
    let lines = head.split(|&b| b == b'\n').skip(1);
    lines.filter_map(|line| {
        let line = String::from_utf8_lossy(line);
        let (name, value) = line.trim_end().split_once(':')?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_their_order_and_lose_credentials() {
        let head = b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: a/b; c=d\r\n\
            Set-Cookie: s=1\r\nVary: x\r\nset-cookie: s=2\r\nVary: y\r\n\r\n";
        let shown = serde_json::to_string(&headers(head)).unwrap();
        assert_eq!(
            shown,
            "{\"Content-Type\":\"a/b; c=d\",\"Set-Cookie\":\"<redacted>\",\"Vary\":\"x, y\",\
             \"set-cookie\":\"<redacted>\"}"
        );
        assert_eq!(reason(head).unwrap(), "Too Many Requests");
        assert_eq!(header(head, "content-type").unwrap(), "a/b; c=d");
        assert_eq!(reason(b"HTTP/1.1 200 \r\n"), None);
        assert!(headers(b"").is_empty());
    }
}
