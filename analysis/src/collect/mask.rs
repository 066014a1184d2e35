//! What differs between two messages of one kind is masked: ids, numbers, times, addresses.
//!
//! Servers put the id of the request, the port of a connection or the length of a prompt into their
//! errors. Two messages that differ in such things alone are one kind. What tells kinds apart
//! stays: words, names, statuses, error numbers.

use std::ops::Range;

/// The message with marks in place of what differs from request to request.
pub fn mask(message: &str) -> String {
    let bytes = message.as_bytes();
    let mut masked = String::with_capacity(message.len());
    let mut before = Before::default();
    let mut at = 0;
    while at < bytes.len() {
        if let Some((end, mark)) = shape(bytes, at) {
            masked.push_str(mark);
            before = Before::default();
            at = end;
            continue;
        }
        let word = word(bytes, at);
        if word.is_empty() {
            // Not an ASCII letter or digit: one character as it is.
            let rest = &message[at..];
            let length = rest.chars().next().map_or(1, char::len_utf8);
            before.gap(&rest[..length]);
            masked.push_str(&rest[..length]);
            at += length;
            continue;
        }
        let text = &message[word.clone()];
        mask_word(text, &before, &mut masked);
        // A version keeps what stands before it: `HTTP/1.1 502`.
        before = match text.len() == 1 && text.as_bytes()[0].is_ascii_digit() {
            true => before.over(),
            false => Before::word(text),
        };
        at = word.end;
    }
    masked
}

/// The word before, and what stands between it and the next one.
#[derive(Default)]
struct Before {
    /// A name for an id: `id`, `request_id`, `traceId`.
    names_id: bool,
    /// A number behind it tells kinds apart: `status`, `HTTP`, `errno`; behind `error` it does so
    /// only where nothing but a blank is between.
    names_kind: bool,
    only_next: bool,
    /// It is joined to the next one by `:` or `=`.
    joined: bool,
    gap: usize,
}

impl Before {
    fn word(word: &str) -> Self {
        const KINDS: [&str; 6] = ["status", "code", "http", "errno", "exit", "signal"];
        let lower = word.to_ascii_lowercase();
        let last = lower.rsplit(['_', '-']).next().unwrap_or(&lower);
        Self {
            names_id: matches!(last, "id" | "ids" | "uuid" | "rid") || word.ends_with("Id"),
            names_kind: KINDS.contains(&last),
            only_next: lower.ends_with("error") || lower == "returned",
            joined: false,
            gap: 0,
        }
    }

    /// The same, seen from behind a further word.
    fn over(self) -> Self {
        Self { gap: 0, ..self }
    }

    /// Whether a number tells kinds apart here.
    fn is_of_kind(&self) -> bool {
        self.names_kind || (self.only_next && self.gap == 1 && !self.joined)
    }

    fn gap(&mut self, between: &str) {
        self.gap += between.len();
        self.joined |= matches!(between, ":" | "=");
        if self.gap > 4
            || !matches!(
                between,
                " " | ":" | "=" | "\"" | "'" | "(" | "[" | "#" | "\\" | "/" | "."
            )
        {
            *self = Self::default();
        }
    }
}

/// The run of letters, digits, `_` and `-` at a place.
fn word(bytes: &[u8], from: usize) -> Range<usize> {
    let is_part = |&byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let length = bytes[from..]
        .iter()
        .take_while(|&byte| is_part(byte))
        .count();
    from..from + length
}

/// A time or an address that begins at a place, and its mark. Not in the middle of a word.
fn shape(bytes: &[u8], at: usize) -> Option<(usize, &'static str)> {
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    if at > 0 && inside(&bytes[at - 1]) {
        return None;
    }
    let rest = &bytes[at..];
    let (length, mark) = time(rest)
        .map(|length| (length, "<time>"))
        .or_else(|| Some((address(rest)?, "<address>")))?;
    // What goes on is something else.
    let next = rest.get(length);
    let whole = !next.is_some_and(|next| next.is_ascii_alphanumeric() || *next == b'_');
    whole.then_some((at + length, mark))
}

/// `2026-11-30`, `2026-11-30T19:45:12.123+00:00`, `19:45:12`.
fn time(bytes: &[u8]) -> Option<usize> {
    let clock = |bytes: &[u8]| {
        let length = pattern(bytes, "dd:dd:dd")?;
        let rest = &bytes[length..];
        let fraction = match rest.first() {
            Some(b'.' | b',') => 1 + digits(&rest[1..]),
            _ => 0,
        };
        let length = length + if fraction > 1 { fraction } else { 0 };
        let zone = match bytes.get(length) {
            Some(b'Z') => 1,
            Some(b'+' | b'-') => {
                let zone = &bytes[length + 1..];
                let zone = pattern(zone, "dd:dd").or_else(|| pattern(zone, "dddd"));
                zone.map_or(0, |zone| zone + 1)
            }
            _ => 0,
        };
        Some(length + zone)
    };
    let Some(date) = pattern(bytes, "dddd-dd-dd").or_else(|| pattern(bytes, "dddd/dd/dd")) else {
        return clock(bytes);
    };
    let behind = bytes.get(date).filter(|&&byte| matches!(byte, b'T' | b' '));
    let time = behind.and_then(|_| clock(&bytes[date + 1..]));
    Some(time.map_or(date, |time| date + 1 + time))
}

/// `10.0.0.1`, `10.0.0.1:52344`, `[::1]:8000`.
fn address(bytes: &[u8]) -> Option<usize> {
    let length = if bytes.first() == Some(&b'[') {
        let inner = bytes[1..].iter();
        let inner = inner
            .take_while(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
            .count();
        let inner = &bytes[1..=inner];
        let colons = inner.iter().filter(|&&byte| byte == b':').count();
        let is_v6 = colons == 7 || inner.windows(2).any(|two| two == b"::");
        (is_v6 && bytes.get(inner.len() + 1) == Some(&b']')).then_some(inner.len() + 2)?
    } else {
        let mut length = 0;
        for part in 0..4 {
            if part > 0 {
                (bytes.get(length) == Some(&b'.')).then_some(())?;
                length += 1;
            }
            let number = digits(&bytes[length..]);
            (1..=3).contains(&number).then_some(())?;
            length += number;
        }
        // A version has five parts now and then.
        let goes_on = bytes.get(length) == Some(&b'.')
            && bytes.get(length + 1).is_some_and(u8::is_ascii_digit);
        (!goes_on).then_some(length)?
    };
    let port = match bytes.get(length) {
        Some(b':') => digits(&bytes[length + 1..]),
        _ => 0,
    };
    Some(length + if port > 0 { port + 1 } else { 0 })
}

fn digits(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count()
}

/// Whether bytes begin with a pattern, in which `d` is a digit; gives its length.
fn pattern(bytes: &[u8], pattern: &str) -> Option<usize> {
    let bytes = bytes.get(..pattern.len())?;
    let fits = |(byte, of): (&u8, u8)| match of {
        b'd' => byte.is_ascii_digit(),
        other => *byte == other,
    };
    bytes
        .iter()
        .zip(pattern.bytes())
        .all(fits)
        .then_some(pattern.len())
}

/// Beginnings of ids that services give: what follows `_` or `-` is one.
const PREFIXES: [&str; 26] = [
    "batch",
    "call",
    "chatcmpl",
    "cmpl",
    "completion",
    "conn",
    "conv",
    "embd",
    "file",
    "gen",
    "id",
    "job",
    "key",
    "msg",
    "org",
    "proj",
    "req",
    "request",
    "rerank",
    "resp",
    "run",
    "sess",
    "session",
    "span",
    "thread",
    "trace",
];

/// Appends a word, masked where it is an id or a number.
fn mask_word(word: &str, before: &Before, masked: &mut String) {
    if before.names_id && (before.joined || is_random(word)) && word.len() >= 4 {
        return masked.push_str("<id>");
    }
    if is_uuid(word) || is_hex_id(word) {
        return masked.push_str("<id>");
    }
    if let Some((prefix, mark)) = prefixed(word) {
        masked.push_str(prefix);
        return masked.push_str(mark);
    }
    if word.bytes().all(|byte| byte.is_ascii_digit()) {
        let kind = before.is_of_kind() && word.len() <= 3;
        return masked.push_str(if kind { word } else { "<n>" });
    }
    // Parts between `-` and `_` one by one: names with numbers of their own stay readable.
    for (at, part) in word.split_inclusive(['-', '_']).enumerate() {
        let (part, joint) = match part.strip_suffix(['-', '_']) {
            Some(own) => (own, &part[own.len()..]),
            None => (part, ""),
        };
        mask_part(part, at > 0 || !joint.is_empty(), masked);
        masked.push_str(joint);
    }
}

/// A part of a word that is `joined` to others, or all of it.
fn mask_part(part: &str, joined: bool, masked: &mut String) {
    let number = part.bytes().take_while(u8::is_ascii_digit).count();
    let unit = &part[number..];
    let is_unit = unit.len() <= 3 && unit.bytes().all(|byte| byte.is_ascii_alphabetic());
    if is_hex_id(part) || is_random(part) {
        masked.push_str("<id>");
    } else if number > 0 && is_unit && (number >= 4 || !joined) {
        // `12ms`, `4096tokens` not; `gpt-4` and `7B-chat` neither.
        masked.push_str("<n>");
        masked.push_str(unit);
    } else {
        masked.push_str(part);
    }
}

fn is_uuid(word: &str) -> bool {
    let mut lengths = word.split('-').map(|part| {
        let hex = part.bytes().all(|byte| byte.is_ascii_hexdigit());
        if hex { part.len() } else { 0 }
    });
    [8, 4, 4, 4, 12]
        .iter()
        .all(|&length| lengths.next() == Some(length))
        && lengths.next().is_none()
}

/// `0x7f3a`, or eight and more hexadecimal digits that are neither a word nor a number.
fn is_hex_id(word: &str) -> bool {
    let (hex, least) = match word.strip_prefix("0x") {
        Some(hex) => (hex, 1),
        None => (word, 8),
    };
    let digits = hex.bytes().filter(u8::is_ascii_digit).count();
    hex.len() >= least
        && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
        && (least == 1 || (digits > 0 && digits < hex.len()))
}

/// Twelve and more letters and digits in a mixture that no word has.
fn is_random(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let letters = word.bytes().filter(u8::is_ascii_alphabetic).count();
    // A change between letters and digits, or between small and capital letters, at every fourth
    // place.
    let class = |byte: u8| (byte.is_ascii_digit(), byte.is_ascii_uppercase());
    let bytes = word.as_bytes();
    let changes = bytes
        .windows(2)
        .filter(|two| class(two[0]) != class(two[1]))
        .count();
    digits + letters == word.len()
        && word.len() >= 12
        && digits >= 2
        && letters >= 2
        && changes * 4 >= word.len()
}

/// An id with a known beginning: that, and the mark.
fn prefixed(word: &str) -> Option<(&str, &'static str)> {
    let joint = word.find(['_', '-'])?;
    let (prefix, id) = word.split_at(joint + 1);
    let known = PREFIXES.contains(&&*word[..joint].to_ascii_lowercase());
    let is_id = |id: &str| {
        let any = |of: fn(&u8) -> bool| id.as_bytes().iter().any(of);
        let is_number = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
        let is_mixed = any(u8::is_ascii_uppercase) && any(u8::is_ascii_lowercase);
        let is_long = id.len() >= 16 && is_mixed && !id.contains(['_', '-']);
        is_number || is_long || (id.len() >= 6 && any(u8::is_ascii_digit))
    };
    (known && is_id(id)).then_some((prefix, "<id>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_masked_and_what_tells_kinds_apart_stays() {
        for (message, masked) in [
            // Ids.
            (
                "Internal error, request id: 7f9a2c1e-5b3d-4e8f-9a6b-1c2d3e4f5a6b",
                "Internal error, request id: <id>",
            ),
            (
                r#"{"error":"x","request_id":"req_011CSHoEeqs5C35K2UUqR7Fy"}"#,
                r#"{"error":"x","request_id":"<id>"}"#,
            ),
            ("see req_011CSHoEeqs5C35K2UUqR7Fy", "see req_<id>"),
            (
                "chatcmpl-9f86d081884c7d659a2feaa0c55ad015 was aborted",
                "chatcmpl-<id> was aborted",
            ),
            ("cmpl-AbCdEfGhIjKlMnOpQr failed", "cmpl-<id> failed"),
            ("Request req-17 not found", "Request req-<id> not found"),
            (
                "traceId=abcdefgh, spanId=ijklmnop",
                "traceId=<id>, spanId=<id>",
            ),
            ("object at 0x7f3a9c", "object at <id>"),
            ("commit 9fceb02d0ae598e9", "commit <id>"),
            ("token dGhpc0lzMTIzQUJDeHl6 is wrong", "token <id> is wrong"),
            // Numbers.
            (
                "maximum context length is 4096 tokens, you requested 5321 (5221 + 100)",
                "maximum context length is <n> tokens, you requested <n> (<n> + <n>)",
            ),
            (
                "request 17 failed after 12ms",
                "request <n> failed after <n>ms",
            ),
            ("1.5 s", "<n>.<n> s"),
            // Times.
            ("2026-11-30T19:45:12.123Z overloaded", "<time> overloaded"),
            ("at 2026-11-30 19:45:12,987 +0", "at <time> +<n>"),
            ("[19:45:12] queue full", "[<time>] queue full"),
            ("until 2026/11/30", "until <time>"),
            ("unix 1796067912.25", "unix <n>.<n>"),
            // Addresses.
            (
                "connect to 10.12.0.7:8000 from ('127.0.0.1', 52344) failed",
                "connect to <address> from ('<address>', <n>) failed",
            ),
            ("upstream [fe80::1]:8080 reset", "upstream <address> reset"),
            ("worker-7.svc:50051 is gone", "worker-7.svc:<n> is gone"),
            // What stays.
            ("upstream returned 502", "upstream returned 502"),
            ("HTTP 503: busy", "HTTP 503: busy"),
            ("HTTP/1.1 502 Bad Gateway", "HTTP/1.1 502 Bad Gateway"),
            ("error: 17 requests wait", "error: <n> requests wait"),
            (
                "request-response file-system session-based-authentication",
                "request-response file-system session-based-authentication",
            ),
            ("status_code=429", "status_code=429"),
            (
                "[Errno 104] Connection reset",
                "[Errno 104] Connection reset",
            ),
            ("os error 111", "os error 111"),
            (
                "model gpt-4o-mini or Qwen2-7B-Instruct not found",
                "model gpt-4o-mini or Qwen2-7B-Instruct not found",
            ),
            (
                "UnsupportedParameterException",
                "UnsupportedParameterException",
            ),
            (
                "max_completion_tokens is unknown",
                "max_completion_tokens is unknown",
            ),
            ("deadbeef facade", "deadbeef facade"),
            ("sha256 base64 utf8 int32", "sha256 base64 utf8 int32"),
            ("v1.2.3.4.5 is old", "v1.<n>.<n>.<n>.<n> is old"),
            ("id is required", "id is required"),
            ("Größe 数 🦊", "Größe 数 🦊"),
            ("", ""),
        ] {
            assert_eq!(mask(message), masked, "{message}");
        }
    }

    #[test]
    fn masking_takes_anything_and_masks_nothing_twice() {
        let mut draws = pinfire_base::random::Purpose::new(7, "mask").at(0);
        let parts = [
            "req_",
            "-",
            ":",
            "[",
            "]",
            "::",
            "0x",
            "12",
            ".",
            "é",
            "\u{0}",
            "T",
            "Z",
            "+",
            "2026-11-30",
            "id",
            "=",
            "\"",
            "abc",
            "9f",
            "<n>",
            "🦊",
            " ",
            "1.2.3.4",
            "\r\n",
        ];
        for _ in 0..20_000 {
            let length = draws.below(12);
            let text: String = (0..length)
                .map(|_| parts[draws.below(parts.len() as u64) as usize])
                .collect();
            mask(&text);
        }
    }
}
