//! What an event means, as far as a core must know: content, reasoning, nothing, or something that
//! the analysis side shall read. No JSON tree is built.
//!
//! Events of one server differ in two strings only, their id and their text, so the scanner
//! remembers the bytes around these of the last events it walked through ([`Shape`]). An event with
//! the same bytes around other plain strings has the same structure, and comparisons replace the
//! walk.

use std::ops::Range;

use pinfire_base::{limits::SHAPE_BYTES, record::MarkKind};

use crate::Scan;

/// Shapes remembered: a stream has a first event, those with text, and a last one.
const SHAPES: usize = 3;

/// Classifies the `data` of a connection's events.
#[derive(Debug, Default)]
pub(super) struct DeltaScanner {
    /// The latest match first.
    shapes: Vec<Shape>,
    scan: Scan,
}

/// A usual event: where in it lies what differs in the next one.
#[derive(Debug)]
struct Usual {
    /// The inside of its `id`; empty if it has none.
    id: Range<usize>,
    /// Its text or the reason of its end, if it has one.
    text: Option<(MarkKind, Range<usize>)>,
}

/// One that was walked through.
#[derive(Debug)]
struct Shape {
    bytes: Vec<u8>,
    places: Usual,
}

impl Shape {
    /// What `data` is, if it is of this shape.
    #[inline]
    fn read<'a>(&self, data: &'a [u8]) -> Option<(MarkKind, &'a [u8])> {
        let Self { bytes, places } = self;
        let (from, to) = (places.id.start, places.id.end);
        let (head, tail) = data.split_at_checked(to)?;
        let (before, id) = head.split_at(from);
        if before != &bytes[..from] || (id != &bytes[from..to] && plain_length(id) < id.len()) {
            return None;
        }
        let Some((kind, text)) = &places.text else {
            return (tail == &bytes[to..]).then_some((MarkKind::Empty, b""));
        };
        let string = tail
            .strip_prefix(&bytes[to..text.start])?
            .strip_suffix(&bytes[text.end..])?;
        (!string.is_empty() && plain_length(string) == string.len()).then_some((*kind, string))
    }
}

impl DeltaScanner {
    /// For answers whose events of this kind are read here, and all others kept.
    pub(super) fn of(scan: Scan) -> Self {
        Self {
            scan,
            ..Self::default()
        }
    }

    /// The kind of an event and the part of `data` to keep.
    #[inline]
    pub(super) fn classify<'a>(&mut self, data: &'a [u8]) -> (MarkKind, &'a [u8]) {
        for place in 0..self.shapes.len() {
            if let Some(read) = self.shapes[place].read(data) {
                self.shapes[..=place].rotate_right(1);
                return read;
            }
        }
        self.walk(data)
    }

    fn walk<'a>(&mut self, data: &'a [u8]) -> (MarkKind, &'a [u8]) {
        if data.is_empty() {
            return (MarkKind::Empty, b"");
        }
        if data == b"[DONE]" {
            return (MarkKind::Done, b"");
        }
        let object: &[u8] = match self.scan {
            Scan::Chat => b"chat.completion.chunk",
            Scan::Completions => b"text_completion",
            Scan::Keep => return (MarkKind::Data, data),
        };
        let Some(places) = Walk::new(data).event(object) else {
            return (MarkKind::Data, data);
        };
        let read = match &places.text {
            Some((kind, range)) => (*kind, &data[range.clone()]),
            None => (MarkKind::Empty, &b""[..]),
        };
        self.remember(data, places);
        read
    }

    /// Remembers a usual event, in the place of the one that has not been met for longest.
    fn remember(&mut self, data: &[u8], mut places: Usual) {
        if data.len() > SHAPE_BYTES {
            return;
        }
        let Usual { id, text } = &places;
        // An id behind the text, or one that means more than itself, stays part of the shape.
        let apart = text.as_ref().is_none_or(|(_, text)| id.end <= text.start);
        if !apart || plain_length(&data[id.clone()]) < id.len() {
            places.id = 0..0;
        }
        let mut bytes = if self.shapes.len() < SHAPES {
            Vec::new()
        } else {
            self.shapes
                .pop()
                .map_or_else(Vec::new, |oldest| oldest.bytes)
        };
        bytes.clear();
        bytes.extend_from_slice(data);
        self.shapes.push(Shape { bytes, places });
        self.shapes.rotate_right(1);
    }
}

/// A strict walk through one JSON document. `None` anywhere means: not the usual shape (or not
/// JSON), somebody else shall read it.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Nesting beyond this is not a usual event.
const DEPTH: usize = 32;

impl<'a> Walk<'a> {
    const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The whole document: a chunk of the kind `object` whose only news is one string, or none.
    fn event(mut self, object: &[u8]) -> Option<Usual> {
        let mut id = 0..0;
        let (mut named, mut choice) = (false, Choice::default());
        self.object(|walk, key| {
            match key {
                b"object" => {
                    let range = walk.string()?;
                    named = true;
                    (&walk.bytes[range] == object).then_some(())
                }
                b"id" if id.end == 0 && walk.peek()? == b'"' => {
                    id = walk.string()?;
                    Some(())
                }
                b"choices" => walk.choices(&mut choice),
                // A value here is news: usage (Groq has its own place for it), an error, statistics
                // of speculative decoding.
                b"usage" | b"error" | b"metrics" | b"x_groq" => walk.null(),
                _ => walk.value(0),
            }
        })?;
        self.blank();
        if self.at != self.bytes.len() {
            return None;
        }
        if !named {
            return None;
        }
        let (content, reasoning) = if object == b"text_completion" {
            (choice.text, None)
        } else {
            (choice.content, choice.reasoning)
        };
        let text = match (
            content.filter(|r| !r.is_empty()),
            reasoning.filter(|r| !r.is_empty()),
            choice.finish,
        ) {
            // What has no text in the usual places may have it elsewhere.
            (None, None, _) if choice.elsewhere => return None,
            (None, None, None) => None,
            (None, None, Some(range)) => Some((MarkKind::Finish, range)),
            // Reasoning may come a second time under another name; beside content it is news.
            (Some(_), _, _) if choice.thinks => return None,
            (Some(range), None, None) => Some((MarkKind::Content, range)),
            (None, Some(range), None) => Some((MarkKind::Reasoning, range)),
            _ => return None,
        };
        Some(Usual { id, text })
    }

    fn choices(&mut self, choice: &mut Choice) -> Option<()> {
        if choice.seen {
            return None;
        }
        choice.seen = true;
        let mut first = true;
        // With several choices each of them is output.
        self.array(|walk| std::mem::take(&mut first).then(|| walk.choice(choice))?)
    }

    fn choice(&mut self, choice: &mut Choice) -> Option<()> {
        self.object(|walk, key| match key {
            b"delta" => walk.delta(choice),
            b"text" => walk.text(&mut choice.text),
            b"message" => None,
            // Another index is another choice, or a count of tokens.
            b"index" => {
                walk.blank();
                walk.literal(b"0")
            }
            b"finish_reason" => {
                walk.text(&mut choice.finish)?;
                // An empty one says nothing.
                choice.finish = choice.finish.take().filter(|reason| !reason.is_empty());
                Some(())
            }
            b"error" => walk.null(),
            _ => walk.value(0),
        })
    }

    fn delta(&mut self, choice: &mut Choice) -> Option<()> {
        if self.peek()? == b'n' {
            return self.null();
        }
        self.object(|walk, key| match key {
            b"content" => walk.text(&mut choice.content),
            b"reasoning_content" | b"reasoning" => {
                let mut range = None;
                walk.text(&mut range)?;
                // An empty one falls through to the other; two with text are not usual.
                if range.as_ref().is_some_and(|r| !r.is_empty()) {
                    if choice.reasoning.is_some() {
                        return None;
                    }
                    choice.reasoning = range;
                }
                Some(())
            }
            b"role" => walk.value(0),
            // More that is output, beside content too.
            b"tool_calls" | b"function_call" | b"refusal" | b"audio" | b"images" => {
                walk.nothing().then_some(())
            }
            _ => {
                if !walk.nothing() {
                    choice.elsewhere = true;
                    choice.thinks |= key.starts_with(b"reasoning") || key.starts_with(b"thinking");
                    walk.value(0)?;
                }
                Some(())
            }
        })
    }

    /// Null or something empty; passes over it if so.
    fn nothing(&mut self) -> bool {
        self.blank();
        let words: [&[u8]; 4] = [b"null", b"\"\"", b"[]", b"{}"];
        let found = words
            .iter()
            .find(|word| self.bytes[self.at..].starts_with(word));
        if let Some(word) = found {
            self.at += word.len();
        }
        found.is_some()
    }

    /// A string or null; the same key twice is not usual.
    fn text(&mut self, into: &mut Option<Range<usize>>) -> Option<()> {
        if into.is_some() {
            return None;
        }
        if self.peek()? == b'n' {
            return self.null();
        }
        *into = Some(self.string()?);
        Some(())
    }

    fn null(&mut self) -> Option<()> {
        self.blank();
        self.literal(b"null")
    }

    fn object(&mut self, mut each: impl FnMut(&mut Self, &'a [u8]) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let key = self.string()?;
            let key = &self.bytes[key];
            if key.contains(&b'\\') {
                return None;
            }
            self.expect(b':')?;
            each(self, key)?;
            if !self.more(b'}')? {
                return Some(());
            }
        }
    }

    fn array(&mut self, mut each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.expect(b'[')?;
        if self.peek()? == b']' {
            self.at += 1;
            return Some(());
        }
        loop {
            each(self)?;
            if !self.more(b']')? {
                return Some(());
            }
        }
    }

    /// After an element: true at a comma, false at the closing byte.
    fn more(&mut self, close: u8) -> Option<bool> {
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b',' => Some(true),
            _ if byte == close => Some(false),
            _ => None,
        }
    }

    /// Any value, skipped.
    fn value(&mut self, depth: usize) -> Option<()> {
        if depth > DEPTH {
            return None;
        }
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            b'{' => self.object(|walk, _| walk.value(depth + 1)),
            b'[' => self.array(|walk| walk.value(depth + 1)),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => self.number(),
        }
    }

    fn literal(&mut self, word: &[u8]) -> Option<()> {
        self.bytes[self.at..]
            .starts_with(word)
            .then(|| self.at += word.len())
    }

    /// Digits with the characters that numbers may have. A malformed number passes; that an event
    /// with one is taken for well-formed does no harm.
    fn number(&mut self) -> Option<()> {
        let digits = self.bytes[self.at..]
            .iter()
            .take_while(|b| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
            .count();
        self.at += digits;
        (digits > 0).then_some(())
    }

    /// A string; gives the range of its inside, escapes untouched but checked to be escapes.
    fn string(&mut self) -> Option<Range<usize>> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            self.at += plain_length(&self.bytes[self.at..]);
            match *self.bytes.get(self.at)? {
                b'"' => {
                    self.at += 1;
                    return Some(start..self.at - 1);
                }
                b'\\' => {
                    let escape = *self.bytes.get(self.at + 1)?;
                    self.at += match escape {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
                        b'u' if self
                            .bytes
                            .get(self.at + 2..self.at + 6)?
                            .iter()
                            .all(u8::is_ascii_hexdigit) =>
                        {
                            6
                        }
                        _ => return None,
                    };
                }
                _ => return None,
            }
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn peek(&mut self) -> Option<u8> {
        self.blank();
        self.bytes.get(self.at).copied()
    }

    fn blank(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }
}

/// Bytes at the start that mean themselves inside a JSON string: no quote, no backslash, no control
/// character. Eight at a time: each test sets the top bit of a byte where it holds (the lowest such
/// bit is exact, which is all that is used).
#[inline]
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
    let mut length = 0;
    while let Some(chunk) = bytes.get(length..length + 8) {
        let mut eight = [0; 8];
        eight.copy_from_slice(chunk);
        let word = u64::from_le_bytes(eight);
        let quotes = zeros(word ^ (ONES * u64::from(b'"')));
        let escapes = zeros(word ^ (ONES * u64::from(b'\\')));
        let controls = word.wrapping_sub(ONES * 0x20) & !word & TOPS;
        let special = quotes | escapes | controls;
        if special != 0 {
            return length + (special.trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    let special = |b: &u8| *b < b' ' || *b == b'"' || *b == b'\\';
    let rest = &bytes[length..];
    length + rest.iter().position(special).unwrap_or(rest.len())
}

/// The strings of choice 0.
#[derive(Default)]
struct Choice {
    seen: bool,
    content: Option<Range<usize>>,
    reasoning: Option<Range<usize>>,
    text: Option<Range<usize>>,
    finish: Option<Range<usize>>,
    /// Its delta has something under a name that is not known here.
    elsewhere: bool,
    /// And that is reasoning.
    thinks: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(data: &str, expected: (MarkKind, &str)) {
        check_as(Scan::Chat, data, expected);
    }

    fn check_as(scan: Scan, data: &str, expected: (MarkKind, &str)) {
        let mut scanner = DeltaScanner::of(scan);
        for _ in 0..2 {
            let (kind, bytes) = scanner.classify(data.as_bytes());
            assert_eq!(
                (kind, std::str::from_utf8(bytes).unwrap()),
                expected,
                "{data}"
            );
        }
    }

    fn chunk(delta: &str) -> String {
        format!(
            r#"{{"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":null}}]}}"#
        )
    }

    #[test]
    fn usual_chat_deltas() {
        use MarkKind::{Content, Empty, Reasoning};
        check(&chunk(r#"{"content":" two"}"#), (Content, " two"));
        check(
            &chunk(r#"{"role":"assistant","content":"Hi"}"#),
            (Content, "Hi"),
        );
        check(
            &chunk(r#"{"content":"a\"b\\\u00e9\n"}"#),
            (Content, r#"a\"b\\\u00e9\n"#),
        );
        check(&chunk(r#"{"role":"assistant"}"#), (Empty, ""));
        check(&chunk(r#"{"role":"assistant","content":""}"#), (Empty, ""));
        check(&chunk(r#"{"content":null}"#), (Empty, ""));
        check(&chunk("{}"), (Empty, ""));
        check(&chunk("null"), (Empty, ""));
        check(&chunk(r#"{"reasoning_content":"hm"}"#), (Reasoning, "hm"));
        check(
            &chunk(r#"{"reasoning_content":"","reasoning":"hm"}"#),
            (Reasoning, "hm"),
        );
        check(
            &chunk(r#"{"reasoning_content":null,"content":"x"}"#),
            (Content, "x"),
        );
        check(&chunk(r#"{"content":"x","tool_calls":[]}"#), (Content, "x"));
        check(&chunk(r#"{"content":"x","refusal":null}"#), (Content, "x"));
        check(
            &chunk(r#"{"content":"x","extra":{"a":[1]}}"#),
            (Content, "x"),
        );
        check(
            &chunk(r#"{"content":"","extra":[],"other":""}"#),
            (Empty, ""),
        );
        let end = chunk("{}").replace(r#""finish_reason":null"#, r#""finish_reason":"stop""#);
        check(&end, (MarkKind::Finish, "stop"));
    }

    #[test]
    fn plain_bytes_are_counted_right_at_every_place() {
        for length in 0..20 {
            for special in [0x00, 0x1F, b'"', b'\\'] {
                for filler in [b' ', b'!', b'#', b'[', b']', 0x7F, 0x80, 0xA0, 0xFF] {
                    let mut bytes = vec![filler; length];
                    assert_eq!(plain_length(&bytes), length);
                    bytes.push(special);
                    bytes.extend([b'"'; 9]);
                    assert_eq!(
                        plain_length(&bytes),
                        length,
                        "{filler:#x} then {special:#x}"
                    );
                }
            }
        }
    }

    #[test]
    fn usual_completions() {
        let text =
            r#"{"object":"text_completion","choices":[{"text":" x","index":0}],"usage":null}"#;
        check_as(Scan::Completions, text, (MarkKind::Content, " x"));
        let end =
            r#"{"object":"text_completion","choices":[{"text":"","finish_reason":"length"}]}"#;
        check_as(Scan::Completions, end, (MarkKind::Finish, "length"));
        let two = r#"{"object":"text_completion","choices":[{"text":""},{"text":"too"}]}"#;
        check_as(Scan::Completions, two, (MarkKind::Data, two));
    }

    #[test]
    fn only_events_of_the_endpoints_own_kind_are_read() {
        let chat = chunk(r#"{"content":"x"}"#);
        let text = r#"{"object":"text_completion","choices":[{"text":" x","index":0}]}"#;
        let other = [
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}"#,
            r#"{"type":"response.output_text.delta","delta":"x"}"#,
            r#"{"object":"text_completion","type":"message_start","choices":[{"text":"x"}]}"#,
            r#"{"token":{"text":"x"}}"#,
        ];
        for (scan, data) in [
            (Scan::Chat, text),
            (Scan::Completions, chat.as_str()),
            (Scan::Keep, text),
            (Scan::Keep, chat.as_str()),
        ]
        .into_iter()
        .chain(other.map(|data| (Scan::Keep, data)))
        .chain(other.map(|data| (Scan::Chat, data)))
        {
            check_as(scan, data, (MarkKind::Data, data));
        }
        check_as(Scan::Keep, "[DONE]", (MarkKind::Done, ""));
        check_as(Scan::Keep, "", (MarkKind::Empty, ""));
    }

    #[test]
    fn unusual_events_are_kept() {
        for data in [
            chunk(r#"{"tool_calls":[{"index":0}]}"#),
            chunk(r#"{"content":null,"function_call":{"name":"f"}}"#),
            chunk(r#"{"content":"a","reasoning_content":"b"}"#),
            chunk(r#"{"content":"a","content":"b"}"#),
            chunk(r#"{"content":5}"#),
            chunk(r#"{"content":"a","refusal":"no"}"#),
            chunk(r#"{"content":"a","thinking_blocks":[{"thinking":"hm"}]}"#),
            chunk(r#"{"content":"","reasoning_details":[{"text":"hm"}]}"#),
            chunk(r#"{"content":[{"type":"text","text":"a"}]}"#),
            chunk(r#"{"content":"a"}"#)
                .replace(r#""logprobs":null"#, r#""logprobs":{"x":-Infinity}"#),
            chunk(r#"{"content":"a"}"#)
                .replace(r#""finish_reason":null"#, r#""finish_reason":"stop""#),
            chunk("{}").replace(r#""logprobs":null"#, r#""error":{"message":"no"}"#),
            chunk(r#"{"content":"other"}"#).replace(r#""index":0"#, r#""index":1"#),
            chunk(r#"{"cont\u0065nt":"a"}"#),
            chunk(r#"{"content":"\x"}"#),
            chunk(r#"{"content":"a"}"#).replace("chat.completion.chunk", "other"),
            chunk(r#"{"content":"a"}"#).replace(r#""object":"chat.completion.chunk","#, ""),
            r#"{"object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":1}}"#.into(),
            r#"{"error":{"message":"no"}}"#.into(),
            r#"{"object":"chat.completion.chunk","choices":["#.into(),
            chunk("{}") + "x",
            "{bad json}".into(),
            "plain".into(),
            "[".repeat(1_000),
        ] {
            check(&data, (MarkKind::Data, &data));
        }
        check("[DONE]", (MarkKind::Done, ""));
        check("", (MarkKind::Empty, ""));
    }

    #[test]
    fn the_remembered_shape_is_not_fooled() {
        let mut scanner = DeltaScanner::default();
        let first = chunk(r#"{"content":"one"}"#);
        assert_eq!(scanner.classify(first.as_bytes()).0, MarkKind::Content);
        // Same bytes around, but the string ends early and something else follows.
        let sly = chunk(r#"{"content":"a","tool_calls":[{"x":"b"}],"y":"c"}"#);
        assert_eq!(
            scanner.classify(sly.as_bytes()),
            (MarkKind::Data, sly.as_bytes())
        );
        let empty = chunk(r#"{"content":""}"#);
        assert_eq!(
            scanner.classify(empty.as_bytes()),
            (MarkKind::Empty, &b""[..])
        );
        let escaped = chunk(r#"{"content":"a\nb"}"#);
        assert_eq!(
            scanner.classify(escaped.as_bytes()),
            (MarkKind::Content, &b"a\\nb"[..])
        );
        assert_eq!(
            scanner.classify(first.as_bytes()),
            (MarkKind::Content, &b"one"[..])
        );
        let bad_id = first.replace(r#""id":"a""#, "\"id\":\"\n\"");
        assert_eq!(
            scanner.classify(bad_id.as_bytes()),
            (MarkKind::Data, bad_id.as_bytes())
        );
    }

    #[test]
    fn the_next_answer_is_read_by_the_shapes_of_the_last() {
        let answer = |id: &str| {
            [
                chunk(r#"{"role":"assistant","content":""}"#),
                chunk(r#"{"content":"one"}"#),
                chunk(r#"{"content":" two, ü"}"#),
                chunk("{}"),
            ]
            .map(|event| event.replace(r#""id":"a""#, &format!("\"id\":\"{id}\"")))
        };
        let kinds = [
            MarkKind::Empty,
            MarkKind::Content,
            MarkKind::Content,
            MarkKind::Empty,
        ];
        let mut scanner = DeltaScanner::default();
        for id in ["chatcmpl-1", "chatcmpl-2", "chatcmpl-33", "chatcmpl-44"] {
            for (event, kind) in answer(id).iter().zip(kinds) {
                assert_eq!(scanner.classify(event.as_bytes()).0, kind, "{event}");
            }
        }
        // The last two have the same length, so that nothing of the last one was walked through.
        let remembers = |id: &str| {
            let of = |shape: &Shape| shape.bytes.windows(id.len()).any(|w| w == id.as_bytes());
            scanner.shapes.iter().any(of)
        };
        assert!(remembers("chatcmpl-33") && !remembers("chatcmpl-44"));
    }
}
