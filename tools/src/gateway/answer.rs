//! What is known of an answer that passes through: its head, where it ends, how many tokens it has.

/// Bytes of a line, or of a JSON answer, in which tokens are looked for.
const LOOKED_AT: usize = 1 << 20;
/// What stands before the text of a token in the dialects of the server.
const TEXTS: [&str; 7] = [
    "\"content\":\"",
    "\"reasoning_content\":\"",
    "\"text\":\"",
    "\"thinking\":\"",
    "\"arguments\":\"",
    "\"partial_json\":\"",
    "\"delta\":\"",
];
/// What stands before the number of tokens of a JSON answer.
const COUNTS: [&str; 3] = [
    "\"completion_tokens\":",
    "\"output_tokens\":",
    "\"generated_tokens\":",
];

/// A head, from its first line to the blank one, with what the gateway sends instead.
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) text: String,
}

impl Head {
    /// The head at the start of `bytes`, if it is whole.
    pub(super) fn at(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        Some(Self {
            length: end,
            text: String::from_utf8_lossy(&bytes[..end]).into_owned(),
        })
    }

    /// The value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.text.lines().skip(1);
        lines.find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Whether the connection ends with this message.
    pub(super) fn closes(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.to_lowercase().contains("close"))
    }

    /// The same head for the other side, whose connection ends or does not.
    pub(super) fn for_the_other(&self, close: bool) -> Vec<u8> {
        let own = |line: &&str| {
            let name = line.split(':').next().unwrap_or_default();
            !name.eq_ignore_ascii_case("connection")
        };
        let lines: Vec<&str> = self.text.trim_end().lines().filter(own).collect();
        let close = if close { "Connection: close\r\n" } else { "" };
        format!("{}\r\n{close}\r\n", lines.join("\r\n")).into_bytes()
    }
}

/// Where an answer ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Framing {
    Chunked,
    Length(usize),
    UntilClose,
}

/// An answer as far as it has come.
pub(super) struct Answer {
    framing: Framing,
    /// Bytes of the body.
    body: usize,
    /// The last bytes of the body.
    tail: Vec<u8>,
    tokens: Tokens,
}

impl Answer {
    pub(super) fn of(head: &Head) -> Self {
        let chunked = head
            .header("transfer-encoding")
            .is_some_and(|coding| coding.to_lowercase().contains("chunked"));
        let length = head.header("content-length").and_then(|it| it.parse().ok());
        let framing = match (chunked, length) {
            (true, _) => Framing::Chunked,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::UntilClose,
        };
        Self {
            framing,
            body: 0,
            tail: Vec::new(),
            tokens: Tokens::default(),
        }
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        const END: usize = b"\r\n0\r\n\r\n".len();
        self.body += bytes.len();
        self.tokens.take(bytes);
        self.tail.extend_from_slice(bytes);
        let old = self.tail.len().saturating_sub(END);
        self.tail.drain(..old);
    }

    /// Whether all of it is there, where the answer itself says so.
    pub(super) fn whole(&self) -> bool {
        match self.framing {
            Framing::Chunked => self.tail == b"\r\n0\r\n\r\n" || self.tail == b"0\r\n\r\n",
            Framing::Length(length) => self.body >= length,
            Framing::UntilClose => false,
        }
    }

    /// Whether the end of the connection is its end.
    pub(super) fn ends_with_its_connection(&self) -> bool {
        self.framing == Framing::UntilClose
    }

    /// Its tokens so far.
    pub(super) fn tokens(&self) -> u64 {
        self.tokens.count()
    }
}

/// The tokens in the bytes of an answer: events with text, or what a JSON answer says of itself.
#[derive(Default)]
pub(super) struct Tokens {
    events: u64,
    /// What has come of a line that has not ended.
    line: Vec<u8>,
}

impl Tokens {
    pub(super) fn take(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() < LOOKED_AT {
                self.line.extend_from_slice(part);
            }
            if part.ends_with(b"\n") {
                self.events += u64::from(is_content(&self.line));
                self.line.clear();
            }
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        let text = String::from_utf8_lossy(&self.line);
        let stated = COUNTS.iter().find_map(|count| {
            let (_, after) = text.split_once(count)?;
            let digits: String = after
                .trim_start()
                .chars()
                .take_while(char::is_ascii_digit)
                .collect();
            digits.parse().ok()
        });
        // A line that has not ended is the body of a JSON answer.
        self.events + stated.unwrap_or(0)
    }
}

/// Whether a line is an event with text in it.
fn is_content(line: &[u8]) -> bool {
    if !line.starts_with(b"data:") {
        return false;
    }
    let text = String::from_utf8_lossy(line);
    TEXTS.iter().any(|key| {
        let mut places = text.match_indices(key);
        places.any(|(at, _)| !text[at + key.len()..].starts_with('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_lose_the_other_sides_connection() {
        let bytes = b"POST /a HTTP/1.1\r\nHost: h\r\nconnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc";
        let head = Head::at(bytes).unwrap();
        assert_eq!(head.length, bytes.len() - 3);
        assert_eq!(head.header("CONTENT-LENGTH"), Some("3"));
        assert!(!head.closes());
        let sent = String::from_utf8(head.for_the_other(true)).unwrap();
        assert_eq!(
            sent,
            "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
        );
        assert!(Head::at(&bytes[..20]).is_none());
    }

    #[test]
    fn tokens_are_counted_at_every_cut() {
        let stream = "40\r\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n\r\n\
            1\r\ndata: {\"choices\":[{\"delta\":{\"content\":\" a\"}}]}\n\n\r\n\
            1\r\ndata: {\"choices\":[{\"delta\":{\"reasoning_content\":\"b\"}}]}\n\n\r\n\
            1\r\n: keep-alive\n\n\r\n1\r\ndata: {\"choices\":[{\"text\":\"c\"}]}\n\n\r\n\
            1\r\ndata: {\"choices\":[],\"usage\":{\"completion_tokens\":3}}\n\n\r\n\
            e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
        let head = Head::at(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        for cut in 0..stream.len() {
            let mut answer = Answer::of(&head);
            answer.take(&stream.as_bytes()[..cut]);
            assert!(!answer.whole(), "{cut}");
            answer.take(&stream.as_bytes()[cut..]);
            assert!(answer.whole(), "{cut}");
            assert_eq!(answer.tokens(), 3, "{cut}");
        }
        let json =
            r#"{"choices":[{"message":{"content":" a b"}}],"usage":{"completion_tokens":2}}"#;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", json.len());
        let mut answer = Answer::of(&Head::at(head.as_bytes()).unwrap());
        answer.take(&json.as_bytes()[..50]);
        assert!(!answer.whole());
        answer.take(&json.as_bytes()[50..]);
        assert!(answer.whole() && answer.tokens() == 2);
    }
}
