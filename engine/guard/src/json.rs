//! Hiding inside of JSON: in its strings alone, so that it stays a document and its numbers stay
//! numbers.

use std::io::{self, Write};

use crate::known::in_strings;

/// The document, or lines of documents, without credentials; `None` where there are none in it.
pub fn hidden_json(document: &[u8]) -> Option<Vec<u8>> {
    in_strings(document, |hide| {
        let mut out = Vec::with_capacity(document.len());
        let mut rest = document;
        while let Some(open) = rest.iter().position(|&byte| byte == b'"') {
            let (before, inside) = rest.split_at(open + 1);
            let end = string_end(inside);
            let (string, behind) = inside.split_at(end);
            let next = behind.iter().skip(1).find(|b| !b.is_ascii_whitespace());
            out.extend_from_slice(before);
            match std::str::from_utf8(string) {
                Ok(text) => out.extend_from_slice(hide(text, next == Some(&b':')).as_bytes()),
                Err(_) => out.extend_from_slice(string),
            }
            let (quote, behind) = behind.split_at(behind.len().min(1));
            out.extend_from_slice(quote);
            rest = behind;
        }
        out.extend_from_slice(rest);
        out
    })
}

/// Where the quote is that ends a string.
fn string_end(inside: &[u8]) -> usize {
    let mut escaped = false;
    let ends = |&byte: &u8| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    };
    inside.iter().position(ends).unwrap_or(inside.len())
}

/// Writes documents on, line by line, without credentials. No string of JSON goes over a line.
pub struct JsonLines<W> {
    to: W,
    line: Vec<u8>,
}

impl<W: Write> JsonLines<W> {
    /// Writes to this.
    pub const fn new(to: W) -> Self {
        Self {
            to,
            line: Vec::new(),
        }
    }

    fn write_line(&mut self) -> io::Result<()> {
        let hidden = hidden_json(&self.line);
        self.to.write_all(hidden.as_deref().unwrap_or(&self.line))?;
        self.line.clear();
        Ok(())
    }
}

impl<W: Write> Write for JsonLines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = bytes.iter().rposition(|&byte| byte == b'\n');
        let (whole, rest) = bytes.split_at(end.map_or(0, |at| at + 1));
        self.line.extend_from_slice(whole);
        if !whole.is_empty() {
            self.write_line()?;
        }
        self.line.extend_from_slice(rest);
        Ok(bytes.len())
    }

    /// Writes what there is, the end of a line or not.
    fn flush(&mut self) -> io::Result<()> {
        self.write_line()?;
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_lose_credentials_and_nothing_else_does() {
        crate::keep("hidden\"in json");
        crate::keep("77665544");
        for (document, expected) in [
            (
                "{\"a\": 77665544, \"b\": \"77665544\"}",
                "{\"a\": 77665544, \"b\": \"<redacted>\"}",
            ),
            ("[\"x hidden\\\"in json y\"]\n", "[\"x <redacted> y\"]\n"),
            (
                "{\"body\":\"{\\\"k\\\":\\\"hidden\\\\\\\"in json\\\"}\"}",
                "{\"body\":\"{\\\"k\\\":\\\"<redacted>\\\"}\"}",
            ),
            ("{\"hidden\\\"in json\" : 1}", "{\"<redacted>\" : 1}"),
        ] {
            let hidden = hidden_json(document.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(hidden).unwrap(), expected);
        }
        assert_eq!(hidden_json(b"{\"a\": 1}"), None);
        let mut lines = JsonLines::new(Vec::new());
        for piece in ["{\"a\":\"7766", "5544\"}\n{\"b\":", "\"77665544\"}"] {
            lines.write_all(piece.as_bytes()).unwrap();
        }
        lines.flush().unwrap();
        assert_eq!(lines.to, b"{\"a\":\"<redacted>\"}\n{\"b\":\"<redacted>\"}");
    }
}
