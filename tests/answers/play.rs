//! One answer of a server, played piece by piece over a socket, and what must come out of it.

use std::{sync::Arc, time::Duration};

use pinfire_analysis::{
    Collector,
    facts::{EntryFacts, RunEnd, RunFacts},
};
use pinfire_base::tokens::TokenCounter;
use pinfire_dialect::{Answers, EndpointKind};
use pinfire_engine::plan::DriverChoice;
use pinfire_tests::{load::Load, raw::Raw, sockets};
use serde_json::Value;

/// What a server answers, and what is right.
pub struct Case {
    pub name: String,
    pub kind: EndpointKind,
    /// Each piece is sent when the client has read the one before.
    pub pieces: Vec<Vec<u8>>,
    pub right: Right,
}

/// The figures of the record. What is left out must be absent, or is not looked at where it says
/// so.
#[derive(Clone, Debug, Default)]
pub struct Right {
    /// Output sequence length.
    pub osl: Option<u64>,
    /// Reasoning tokens; the others are output.
    pub reasoning: Option<u64>,
    /// Different instants at which content came. Not looked at if absent.
    pub instants: Option<usize>,
    /// Several choices.
    pub choices: Option<u64>,
    /// Why they ended.
    pub finish: &'static [&'static str],
    /// Code, and what the message and the cause must contain.
    pub error: Option<(Option<i64>, &'static str, &'static str)>,
    /// Of a failed request: the text that is kept.
    pub kept: Option<&'static str>,
    /// How it was read otherwise than its head says.
    pub read_as: &'static [&'static str],
    /// Events that could not be read.
    pub unreadable: Option<u64>,
    /// The model declined.
    pub refused: bool,
    /// The server's own count.
    pub usage: Option<u64>,
}

/// `osl` tokens of output.
pub fn right(osl: u64) -> Right {
    Right {
        osl: Some(osl),
        ..Right::default()
    }
}

/// A failure.
pub fn fails(code: impl Into<Option<i64>>, message: &'static str, cause: &'static str) -> Right {
    Right {
        error: Some((code.into(), message, cause)),
        ..Right::default()
    }
}

pub const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
pub const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"total_tokens\":10}}\n\n";
pub const DONE: &str = "data: [DONE]\n\n";

/// An event.
pub fn event(data: &str) -> String {
    format!("data: {data}\n\n")
}

/// A chunk of chat, as an event.
pub fn delta(delta: &str) -> String {
    event(&chunk(delta))
}

/// The same without its frame.
pub fn chunk(delta: &str) -> String {
    format!(
        r#"{{"object":"chat.completion.chunk","choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#
    )
}

/// The three chunks that most cases have.
pub fn three() -> Vec<String> {
    [" alpha", " beta", " gamma"]
        .iter()
        .map(|text| delta(&format!(r#"{{"content":"{text}"}}"#)))
        .collect()
}

/// A whole answer.
pub fn whole() -> String {
    r#"{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":" alpha beta gamma"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3}}"#.to_owned()
}

/// An event stream of these pieces, which the close ends.
pub fn stream<'a>(
    name: impl Into<String>,
    pieces: impl IntoIterator<Item = &'a str>,
    right: Right,
) -> Case {
    with_head(name, STREAM, pieces, right)
}

/// The same under another head; its last line end is put behind it.
pub fn with_head<'a>(
    name: impl Into<String>,
    head: &str,
    pieces: impl IntoIterator<Item = &'a str>,
    right: Right,
) -> Case {
    let pieces = pieces.into_iter().map(|piece| piece.as_bytes().to_vec());
    bytes(name, head, pieces, right)
}

/// The same of any bytes.
pub fn bytes(
    name: impl Into<String>,
    head: &str,
    pieces: impl IntoIterator<Item = Vec<u8>>,
    right: Right,
) -> Case {
    let head = format!("{head}Connection: close\r\n\r\n").into_bytes();
    Case {
        name: name.into(),
        kind: EndpointKind::Chat,
        pieces: std::iter::once(head).chain(pieces).collect(),
        right,
    }
}

impl Case {
    /// By another dialect.
    pub fn of(mut self, kind: EndpointKind) -> Self {
        self.kind = kind;
        self
    }

    /// What is wrong with what came out.
    pub fn wrong(&self) -> Vec<String> {
        let line = self.line();
        let mut wrong = Vec::new();
        let mut check = |what: &str, got: Value, expected: Value| {
            if got != expected {
                wrong.push(format!(
                    "{}: {what} is {got}, not {expected}; {line}",
                    self.name
                ));
            }
        };
        let right = &self.right;
        let metric = |tag: &str| line["metrics"][tag]["value"].clone();
        let answer = &line["metadata"]["answer"];
        let number = |value: Option<u64>| value.map_or(Value::Null, Value::from);
        let names = |names: &[&str]| match names {
            [] => Value::Null,
            names => names.to_vec().into(),
        };
        check("OSL", metric("output_sequence_length"), number(right.osl));
        check(
            "reasoning",
            metric("reasoning_token_count"),
            number(right.reasoning),
        );
        check("choices", answer["choices"].clone(), number(right.choices));
        check(
            "finish",
            answer["finish_reasons"].clone(),
            names(right.finish),
        );
        check("read_as", answer["read_as"].clone(), names(right.read_as));
        check(
            "unreadable",
            answer["unreadable_events"].clone(),
            number(right.unreadable),
        );
        let refused = if right.refused {
            true.into()
        } else {
            Value::Null
        };
        check("refused", answer["refused"].clone(), refused);
        if right.usage.is_some() {
            check(
                "usage",
                metric("usage_completion_tokens"),
                number(right.usage),
            );
        }
        let kept = right.kept.map_or(Value::Null, Value::from);
        check("kept", answer["output_text"].clone(), kept);
        if let Some(instants) = right.instants {
            let gaps = metric("inter_chunk_latency");
            let gaps = gaps.as_array().map_or(0, |gaps| {
                gaps.iter().filter(|gap| gap.as_f64() > Some(0.0)).count()
            });
            check("instants of content", (gaps + 1).into(), instants.into());
        }
        let error = &line["error"];
        match right.error {
            None => check("error", error.clone(), Value::Null),
            Some((code, message, cause)) => {
                check(
                    "code",
                    error["code"].clone(),
                    code.map_or(Value::Null, Value::from),
                );
                for (key, part) in [("message", message), ("cause", cause)] {
                    let text = error[key].as_str().unwrap_or_default();
                    if !text.contains(part) {
                        check(key, text.into(), part.into());
                    }
                }
            }
        }
        wrong
    }

    /// The record's line, as the run's file would have it.
    fn line(&self) -> Value {
        let pieces = self.pieces.clone();
        let server = Raw::start(move |conn| {
            if conn.request().is_some() {
                let peer = conn.peer().port();
                for piece in &pieces {
                    conn.send(piece);
                    sockets::until("the client never reads", |rows| {
                        let of_client = |row: &&sockets::Row| row.local_port == peer;
                        rows.iter()
                            .find(of_client)
                            .is_none_or(|row| row.unread == 0)
                    });
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        });
        let answers = Answers::of(self.kind);
        let mut load = Load::new(DriverChoice::Epoll, server.address()).of(1, 1);
        load.answers = answers.clone();
        let run = load.run();
        let folder = tempfile::tempdir().unwrap();
        let mut facts = RunFacts::new("000000000000", "0", run.anchor);
        facts.answers = answers;
        facts.streaming = true;
        facts.urls = vec![format!("http://{}", server.address())];
        let path = folder.path().join("lines.jsonl");
        let entries: Arc<[EntryFacts]> = Arc::new([EntryFacts::default()]);
        let counter = Some(Arc::new(Words) as Arc<dyn TokenCounter>);
        let mut collector = Collector::new(facts, entries, counter, Some(path.clone())).unwrap();
        for record in &run.records {
            collector.add(record).unwrap();
        }
        collector.finish(RunEnd::default()).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text.lines().count(), 1, "one request, one line");
        serde_json::from_str(&text).unwrap()
    }
}

/// One token per word.
struct Words;

impl TokenCounter for Words {
    fn count(&self, text: &str) -> usize {
        text.split_whitespace().count()
    }

    fn count_body(&self, _: &[u8]) -> Option<u32> {
        None
    }
}
