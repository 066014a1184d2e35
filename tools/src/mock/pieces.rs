//! Answers as ready bytes: every event is built once, and only its id and time are set per request.

use super::dialect::{Counts, Parts, Speaker};
use super::metrics::Finish;
use super::script::Script;

/// The shapes of answers, by their paths; the order is that of the handlers in the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
    /// `/v1/responses`
    Responses,
    /// `/v1/messages`
    Messages,
    /// `/generate`
    Generate,
    /// `/generate_stream`
    GenerateStream,
    /// `/v1/embeddings`
    Embeddings,
    /// `/v1/ranking`
    Ranking,
    /// `/v2/rerank`
    Rerank,
    /// `/rerank`
    TeiRerank,
}

impl Api {
    /// All, in order.
    pub(super) const ALL: [Self; 10] = [
        Self::Chat,
        Self::Completions,
        Self::Responses,
        Self::Messages,
        Self::Generate,
        Self::GenerateStream,
        Self::Embeddings,
        Self::Ranking,
        Self::Rerank,
        Self::TeiRerank,
    ];

    /// Whether an answer is a stream, if the body asks for one or not.
    pub(super) const fn streams(self, asked: bool) -> bool {
        match self {
            Self::Chat | Self::Completions | Self::Responses | Self::Messages => asked,
            Self::GenerateStream => true,
            _ => false,
        }
    }

    /// Whether answers have tokens.
    pub(super) const fn has_tokens(self) -> bool {
        !matches!(
            self,
            Self::Embeddings | Self::Ranking | Self::Rerank | Self::TeiRerank
        )
    }

    /// Whether streams are made of OpenAI's chunks.
    pub(super) const fn has_chunks(self) -> bool {
        matches!(self, Self::Chat | Self::Completions)
    }
}

/// What differs between the answers of two requests: an id and a Unix time, both of fixed width.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) id: [u8; 16],
    pub(super) created: [u8; 10],
}

/// Bytes with two places for a [`Mark`].
struct Piece {
    bytes: Vec<u8>,
    id_at: usize,
    created_at: usize,
}

/// The events of one API in one framing.
struct Set {
    role: Piece,
    content: Vec<Piece>,
    stop: Piece,
    length: Piece,
    bad: Piece,
    comment: Vec<u8>,
    done: Vec<u8>,
}

/// All ready bytes of a script.
pub(super) struct Pieces {
    /// Of chat and of completions, then 0 for bare events and 1 for one chunk per event.
    sets: [[Set; 2]; 2],
    usage: [Piece; 2],
    whole: [Piece; 2],
    end: &'static str,
    model: String,
    tokens_per_event: u32,
    /// Tokens of reasoning and of arguments in each answer.
    split: (u32, u32),
}

/// Placeholders of the two places, as wide as what replaces them.
const ID: &str = "0123456789abcdef";
const CREATED: &str = "1234567890";

/// Words of the answers. Each is one token with its leading space in common vocabularies.
const WORDS: [&str; 32] = [
    "the", "of", "and", "to", "in", "a", "is", "that", "for", "it", "as", "was", "with", "be",
    "by", "on", "not", "he", "this", "are", "or", "his", "from", "at", "which", "but", "have",
    "an", "had", "they", "you", "were",
];

impl Mark {
    pub(super) fn new(number: u64, created: [u8; 10]) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let id = std::array::from_fn(|i| HEX[(number >> (60 - 4 * i)) as usize & 15]);
        Self { id, created }
    }
}

impl Piece {
    fn new(text: &str, framed: bool) -> Self {
        let text = if framed { chunk(text) } else { text.to_owned() };
        Self {
            id_at: text.find(ID).unwrap_or(0),
            created_at: text.find(CREATED).unwrap_or(0),
            bytes: text.into_bytes(),
        }
    }

    #[inline]
    fn put(&self, mark: &Mark, out: &mut Vec<u8>) {
        let base = out.len();
        out.extend_from_slice(&self.bytes);
        out[base + self.id_at..][..ID.len()].copy_from_slice(&mark.id);
        out[base + self.created_at..][..CREATED.len()].copy_from_slice(&mark.created);
    }
}

impl Pieces {
    pub(super) fn new(script: &Script) -> Self {
        let model = serde_json::Value::from(script.model.as_str()).to_string();
        let end = script.line_end.text();
        let set = |api: Api, framed: bool| {
            let piece = |choice: &str| event(api, &model, end, choice, framed);
            let bare = |text: String| if framed { chunk(&text) } else { text }.into_bytes();
            let words = |j: usize| words(j, script.tokens_per_event as usize);
            Set {
                role: piece(ROLE),
                content: (0..WORDS.len())
                    .map(|j| piece(&choice(api, &words(j))))
                    .collect(),
                stop: piece(&closing(api, "stop")),
                length: piece(&closing(api, "length")),
                bad: piece("{\"index\":0,\"delta\":{\"content\": oops"),
                comment: bare(format!(": keep-alive{end}{end}")),
                done: bare(format!("data: [DONE]{end}{end}")),
            }
        };
        let both = |api| [set(api, false), set(api, true)];
        let usage = |api| {
            let head = opening(api, true, &model);
            Piece::new(&format!("data: {head}[],\"usage\":"), false)
        };
        let whole = |api| {
            let head = opening(api, false, &model);
            let field = match api {
                Api::Chat => "\"message\":{\"role\":\"assistant\",\"content\":\"",
                _ => "\"text\":\"",
            };
            Piece::new(&format!("{head}[{{\"index\":0,{field}"), false)
        };
        Self {
            sets: [both(Api::Chat), both(Api::Completions)],
            usage: [usage(Api::Chat), usage(Api::Completions)],
            whole: [whole(Api::Chat), whole(Api::Completions)],
            end,
            model,
            tokens_per_event: script.tokens_per_event,
            split: (script.reasoning_tokens, script.tool_tokens),
        }
    }

    fn set(&self, api: Api, framed: bool) -> &Set {
        &self.sets[usize::from(api == Api::Completions)][usize::from(framed)]
    }

    /// How the tokens of an answer of `want` tokens are divided.
    pub(super) fn parts(&self, api: Api, want: u32) -> Parts {
        Parts::new(api, self.split, want)
    }

    fn speaker<'a>(
        &'a self,
        (api, framed, want): (Api, bool, u32),
        mark: &'a Mark,
        out: &'a mut Vec<u8>,
    ) -> Speaker<'a> {
        Speaker {
            api,
            parts: self.parts(api, want),
            model: &self.model,
            end: self.end,
            framed,
            mark,
            out,
        }
    }

    /// What a stream that is not made of OpenAI's chunks begins with.
    pub(super) fn opening(
        &self,
        shape: (Api, bool, u32),
        prompt: u32,
        mark: &Mark,
        out: &mut Vec<u8>,
    ) {
        let counts = Counts {
            prompt,
            completion: 0,
        };
        self.speaker(shape, mark, out).opening(counts);
    }

    /// What it ends with.
    pub(super) fn closing(
        &self,
        shape: (Api, bool, u32),
        finish: Finish,
        counts: Counts,
        mark: &Mark,
        out: &mut Vec<u8>,
    ) {
        self.speaker(shape, mark, out).closing(finish, counts);
    }

    /// The model's name as a JSON string.
    pub(super) fn model(&self) -> &str {
        &self.model
    }

    pub(super) fn role(&self, api: Api, framed: bool, mark: &Mark, out: &mut Vec<u8>) {
        if api == Api::Chat {
            self.set(api, framed).role.put(mark, out);
        }
    }

    /// The content event that starts at token `token`.
    /// It has `count` tokens: the script's tokens per event, or fewer in the last event.
    #[inline]
    pub(super) fn content(
        &self,
        (api, framed, want): (Api, bool, u32),
        (token, count): (u32, u32),
        mark: &Mark,
        out: &mut Vec<u8>,
    ) {
        if !api.has_chunks() || !self.parts(api, want).is_plain() {
            let mut speaker = self.speaker((api, framed, want), mark, out);
            (token..token + count).for_each(|token| speaker.token(token));
            return;
        }
        let start = token as usize % WORDS.len();
        if count == self.tokens_per_event {
            self.set(api, framed).content[start].put(mark, out);
        } else {
            let choice = choice(api, &words(start, count as usize));
            event(api, &self.model, self.end, &choice, framed).put(mark, out);
        }
    }

    /// An event with broken JSON.
    pub(super) fn bad(&self, api: Api, framed: bool, mark: &Mark, out: &mut Vec<u8>) {
        self.set(api, framed).bad.put(mark, out);
    }

    pub(super) fn comment(&self, framed: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.set(Api::Chat, framed).comment);
    }

    pub(super) fn finish(
        &self,
        api: Api,
        framed: bool,
        finish: Finish,
        mark: &Mark,
        out: &mut Vec<u8>,
    ) {
        let set = self.set(api, framed);
        let piece = match finish {
            Finish::Length => &set.length,
            _ => &set.stop,
        };
        piece.put(mark, out);
    }

    pub(super) fn done(&self, framed: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.set(Api::Chat, framed).done);
    }

    /// The event that carries the usage: `prompt` and `completion` tokens.
    pub(super) fn usage(
        &self,
        api: Api,
        framed: bool,
        (prompt, completion): (u32, u32),
        mark: &Mark,
        out: &mut Vec<u8>,
    ) {
        let piece = &self.usage[usize::from(api == Api::Completions)];
        let reasoning = match self.parts(api, completion).reasoning() {
            0 => String::new(),
            tokens => {
                format!(",\"completion_tokens_details\":{{\"reasoning_tokens\":{tokens}}}")
            }
        };
        let digits = width(prompt) + width(completion) + width(prompt.saturating_add(completion));
        let more = reasoning.len() + 1 + 2 * self.end.len();
        let size = piece.bytes.len() + USAGE_TEXT + digits + more;
        if framed {
            put_hex(size, out);
            out.extend_from_slice(b"\r\n");
        }
        piece.put(mark, out);
        put_usage(prompt, completion, &reasoning, out);
        out.push(b'}');
        out.extend_from_slice(self.end.as_bytes());
        out.extend_from_slice(self.end.as_bytes());
        if framed {
            out.extend_from_slice(b"\r\n");
        }
    }

    /// An error as an event: `event: error` first if `named`.
    pub(super) fn error(&self, framed: bool, named: bool, out: &mut Vec<u8>) {
        let end = self.end;
        let name = if named {
            format!("event: error{end}")
        } else {
            String::new()
        };
        let text = format!("{name}data: {STREAM_ERROR}{end}{end}");
        let text = if framed { chunk(&text) } else { text };
        out.extend_from_slice(text.as_bytes());
    }

    /// A whole JSON answer.
    pub(super) fn whole(
        &self,
        (api, empty): (Api, bool),
        finish: Finish,
        (prompt, completion): (u32, u32),
        mark: &Mark,
        out: &mut Vec<u8>,
    ) {
        if !api.has_chunks() || !self.parts(api, completion).is_plain() {
            let counts = Counts { prompt, completion };
            let mut speaker = self.speaker((api, false, completion), mark, out);
            return speaker.whole(finish, counts, empty);
        }
        self.whole[usize::from(api == Api::Completions)].put(mark, out);
        for token in 0..completion as usize {
            out.push(b' ');
            out.extend_from_slice(WORDS[token % WORDS.len()].as_bytes());
        }
        out.extend_from_slice(match api {
            Api::Chat => b"\"},\"logprobs\":null,\"finish_reason\":\"",
            _ => b"\",\"logprobs\":null,\"finish_reason\":\"",
        });
        out.extend_from_slice(finish.name().as_bytes());
        out.extend_from_slice(b"\"}],\"usage\":");
        put_usage(prompt, completion, "", out);
        out.push(b'}');
    }
}

/// The error that a stream or an answer carries when the script says so.
pub(super) const STREAM_ERROR: &str = "{\"error\":{\"message\":\"scripted failure\",\
     \"type\":\"InternalServerError\",\"param\":null,\"code\":500}}";

const ROLE: &str = "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\
     \"logprobs\":null,\"finish_reason\":null}";

/// Bytes of the usage object without its numbers.
const USAGE_TEXT: usize = "{\"prompt_tokens\":,\"total_tokens\":,\"completion_tokens\":}".len();

/// Appends a usage object; `more` are further fields, each with a comma before it.
fn put_usage(prompt: u32, completion: u32, more: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"prompt_tokens\":");
    put_number(prompt, out);
    out.extend_from_slice(b",\"total_tokens\":");
    put_number(prompt.saturating_add(completion), out);
    out.extend_from_slice(b",\"completion_tokens\":");
    put_number(completion, out);
    out.extend_from_slice(more.as_bytes());
    out.push(b'}');
}

/// An event or answer up to its list of choices.
fn opening(api: Api, stream: bool, model: &str) -> String {
    let (prefix, object) = match (api, stream) {
        (Api::Chat, true) => ("chatcmpl-", "chat.completion.chunk"),
        (Api::Chat, false) => ("chatcmpl-", "chat.completion"),
        (_, _) => ("cmpl-", "text_completion"),
    };
    format!(
        "{{\"id\":\"{prefix}{ID}\",\"object\":\"{object}\",\"created\":{CREATED},\
         \"model\":{model},\"choices\":"
    )
}

fn event(api: Api, model: &str, end: &str, choice: &str, framed: bool) -> Piece {
    let head = opening(api, true, model);
    Piece::new(&format!("data: {head}[{choice}]}}{end}{end}"), framed)
}

fn choice(api: Api, text: &str) -> String {
    let field = match api {
        Api::Chat => format!("\"delta\":{{\"content\":\"{text}\"}}"),
        _ => format!("\"text\":\"{text}\""),
    };
    format!("{{\"index\":0,{field},\"logprobs\":null,\"finish_reason\":null}}")
}

fn closing(api: Api, reason: &str) -> String {
    let field = match api {
        Api::Chat => "\"delta\":{}",
        _ => "\"text\":\"\"",
    };
    format!(
        "{{\"index\":0,{field},\"logprobs\":null,\"finish_reason\":\"{reason}\",\
         \"stop_reason\":null}}"
    )
}

/// So many words of the answers, from this one on.
pub(super) fn words(from: usize, count: usize) -> String {
    let word = |i| format!(" {}", WORDS[i % WORDS.len()]);
    (from..from + count).map(word).collect()
}

/// A text as one chunk.
pub(super) fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// Appends `body` as one chunk.
pub(super) fn put_chunk(body: &[u8], out: &mut Vec<u8>) {
    put_hex(body.len(), out);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out.extend_from_slice(b"\r\n");
}

fn put_hex(number: usize, out: &mut Vec<u8>) {
    let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[number >> (4 * digit) & 15]);
    }
}

pub(super) fn put_number(number: u32, out: &mut Vec<u8>) {
    let base = out.len();
    out.resize(base + width(number), b'0');
    let mut rest = number;
    for place in out[base..].iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

fn width(number: u32) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for number in [0_u32, 7, 10, 99, 100, 12_345, u32::MAX] {
            let (mut dec, mut hex) = (Vec::new(), Vec::new());
            put_number(number, &mut dec);
            put_hex(number as usize, &mut hex);
            assert_eq!(dec, number.to_string().into_bytes());
            assert_eq!(hex, format!("{number:x}").into_bytes());
        }
    }

    #[test]
    fn the_usage_chunk_has_the_size_it_says() {
        let pieces = Pieces::new(&Script::default());
        let mark = Mark::new(0xabc, *b"1800000000");
        let mut out = Vec::new();
        pieces.usage(Api::Chat, true, (1_234, 56), &mark, &mut out);
        let text = String::from_utf8(out).unwrap();
        let (size, rest) = text.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        assert_eq!(&rest[size..], "\r\n");
        let json: serde_json::Value = serde_json::from_str(rest[6..size].trim_end()).unwrap();
        assert_eq!(json["usage"]["total_tokens"], 1_290);
        assert_eq!(json["id"], "chatcmpl-0000000000000abc");
        assert_eq!(json["created"], 1_800_000_000);
    }
}
