//! What is unusual about a response's body: what its head says of it, and how it was read all the
//! same.

use serde::{Deserialize, Serialize};

/// The headers that say what a body is and where else the answer may be.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Label {
    /// `Content-Type`; empty if there was none.
    pub content_type: String,
    /// `Content-Encoding`; empty if there was none.
    pub coding: String,
    /// `Location`; empty if there was none.
    pub location: String,
    /// How the bytes begin that came instead of a head; empty if one came.
    pub instead: String,
}

/// So much of what came instead of a head tells what it is.
const INSTEAD_BYTES: usize = 64;

/// Longer values say no more.
const VALUE_BYTES: usize = 512;

impl Label {
    /// Of bytes that are no response head.
    pub fn instead(bytes: &[u8]) -> Self {
        let begin = bytes.get(..INSTEAD_BYTES).unwrap_or(bytes);
        Self {
            instead: begin.escape_ascii().to_string(),
            ..Self::default()
        }
    }

    /// From the bytes of a response head.
    pub fn of(head: &[u8]) -> Self {
        let mut label = Self::default();
        for line in head.split(|&byte| byte == b'\n').skip(1) {
            let Some(colon) = line.iter().position(|&byte| byte == b':') else {
                continue;
            };
            let (name, value) = line.split_at(colon);
            let field = match name {
                name if name.eq_ignore_ascii_case(b"content-type") => &mut label.content_type,
                name if name.eq_ignore_ascii_case(b"content-encoding") => &mut label.coding,
                name if name.eq_ignore_ascii_case(b"location") => &mut label.location,
                _ => continue,
            };
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            let value = value.get(..VALUE_BYTES).unwrap_or(value);
            *field = String::from_utf8_lossy(value).into_owned();
        }
        label
    }
}

/// How an answer was read, where that is not what its head says or what the standard demands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Quirks(u8);

impl Quirks {
    /// Server-sent events under another content type.
    pub const UNDECLARED_STREAM: Self = Self(1);
    /// Lines of JSON, each a document.
    pub const JSON_LINES: Self = Self(1 << 1);
    /// Events without the blank line between them.
    pub const NO_BLANK_LINES: Self = Self(1 << 2);
    /// JSON without `data:` in an event stream.
    pub const BARE_JSON: Self = Self(1 << 3);
    /// A coding that the head does not declare.
    pub const UNDECLARED_CODING: Self = Self(1 << 4);
    /// A coding that the head declares and the body does not have.
    pub const NO_CODING: Self = Self(1 << 5);
    /// A usage with something in it that cannot be a count of tokens; the field is left out.
    pub const USAGE_WITHOUT_COUNT: Self = Self(1 << 6);

    /// All of them with their names in exports.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::UNDECLARED_STREAM, "event_stream_not_declared"),
        (Self::JSON_LINES, "json_lines"),
        (Self::NO_BLANK_LINES, "events_without_blank_lines"),
        (Self::BARE_JSON, "json_in_event_stream"),
        (Self::UNDECLARED_CODING, "coding_not_declared"),
        (Self::NO_CODING, "declared_coding_absent"),
        (Self::USAGE_WITHOUT_COUNT, "usage_is_no_count"),
    ];

    /// Adds one.
    pub const fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether it is among them.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// There is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names of those that there are.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let all = Self::ALL.into_iter();
        all.filter(move |(one, _)| self.has(*one))
            .map(|(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_from_heads() {
        let head = b"HTTP/1.1 307 x\r\nLocation:  http://a/b \r\nCONTENT-type: text/html; charset=x\r\nX: y\r\n\r\n";
        let label = Label::of(head);
        assert_eq!(label.location, "http://a/b");
        assert_eq!(label.content_type, "text/html; charset=x");
        assert_eq!(label.coding, "");
    }

    #[test]
    fn quirks_add_up() {
        let mut quirks = Quirks::default();
        assert!(quirks.is_empty());
        quirks.add(Quirks::BARE_JSON);
        quirks.add(Quirks::JSON_LINES);
        let names: Vec<_> = quirks.names().collect();
        assert_eq!(names, ["json_lines", "json_in_event_stream"]);
    }
}
