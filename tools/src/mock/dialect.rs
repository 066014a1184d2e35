//! Answers in the dialects besides plain chat and completions: responses, messages, generate,
//! embeddings and rankings; and the reasoning and tool calls that a script asks for.

use std::fmt::Write;
use std::ops::Range;

use super::metrics::Finish;
use super::pieces::{Api, Mark, chunk, words};

/// The name of the tool that scripted calls call.
const TOOL: &str = "look_up";

/// What a token belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Reasoning,
    Text,
    Tool,
}

/// How the tokens of one answer are divided: reasoning, text, then the arguments of a tool call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    reasoning: u32,
    tool: u32,
    want: u32,
}

impl Parts {
    /// Of an answer of `want` tokens, of which these many are asked to be reasoning and arguments.
    pub(super) fn new(api: Api, (reasoning, tool): (u32, u32), want: u32) -> Self {
        let (reasoning, tool) = match api {
            Api::Chat | Api::Responses | Api::Messages => (reasoning, tool),
            _ => (0, 0),
        };
        let reasoning = reasoning.min(want);
        Self {
            reasoning,
            tool: tool.min(want - reasoning),
            want,
        }
    }

    /// Tokens of reasoning.
    pub(super) const fn reasoning(self) -> u32 {
        self.reasoning
    }

    pub(super) const fn of(self, token: u32) -> Part {
        if token < self.reasoning {
            Part::Reasoning
        } else if token < self.want - self.tool {
            Part::Text
        } else {
            Part::Tool
        }
    }

    /// All tokens are text.
    pub(super) const fn is_plain(self) -> bool {
        self.reasoning == 0 && self.tool == 0
    }

    fn range(self, part: Part) -> Range<u32> {
        match part {
            Part::Reasoning => 0..self.reasoning,
            Part::Text => self.reasoning..self.want - self.tool,
            Part::Tool => self.want - self.tool..self.want,
        }
    }

    /// The parts that there are, with their place among the output's items.
    fn present(self) -> impl Iterator<Item = (usize, Part)> {
        let all = [Part::Reasoning, Part::Text, Part::Tool];
        let present = all
            .into_iter()
            .filter(move |part| !self.range(*part).is_empty());
        present.enumerate()
    }

    fn place(self, part: Part) -> usize {
        let mut present = self.present();
        present.find(|(_, p)| *p == part).map_or(0, |(at, _)| at)
    }

    /// The whole text of a part.
    fn text(self, part: Part) -> String {
        let range = self.range(part);
        let text = words(range.start as usize, range.len());
        match part {
            Part::Tool => format!("{{\"q\":\"{text}\"}}"),
            Part::Reasoning | Part::Text => text,
        }
    }

    /// What the event of one token has of its part's text, as the inside of a JSON string.
    fn piece(self, token: u32) -> String {
        let part = self.of(token);
        let (first, last) = self.ends(token);
        let word = words(token as usize, 1);
        match part {
            Part::Tool => {
                let open = if first { "{\\\"q\\\":\\\"" } else { "" };
                let close = if last { "\\\"}" } else { "" };
                format!("{open}{word}{close}")
            }
            Part::Reasoning | Part::Text => word,
        }
    }

    /// Whether a token is the first and the last of its part.
    fn ends(self, token: u32) -> (bool, bool) {
        let range = self.range(self.of(token));
        (token == range.start, token + 1 == range.end)
    }
}

/// Token counts as an answer reports them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub(super) prompt: u32,
    pub(super) completion: u32,
}

/// One answer being written: what its events and its body are made of.
pub(super) struct Speaker<'a> {
    pub(super) api: Api,
    pub(super) parts: Parts,
    /// The model's name as a JSON string.
    pub(super) model: &'a str,
    /// A line end of the event stream.
    pub(super) end: &'static str,
    /// Each event is a chunk of its own.
    pub(super) framed: bool,
    pub(super) mark: &'a Mark,
    pub(super) out: &'a mut Vec<u8>,
}

impl Speaker<'_> {
    fn id(&self) -> &str {
        std::str::from_utf8(&self.mark.id).unwrap_or_default()
    }

    fn created(&self) -> &str {
        std::str::from_utf8(&self.mark.created).unwrap_or_default()
    }

    /// An event with the name that its data has as its type, or without one.
    fn event(&mut self, name: &str, data: &str) {
        let end = self.end;
        let text = match name {
            "" => format!("data:{data}{end}{end}"),
            name => format!("event: {name}{end}data: {data}{end}{end}"),
        };
        let text = if self.framed { chunk(&text) } else { text };
        self.out.extend_from_slice(text.as_bytes());
    }

    /// An event whose data begins with its type; `fields` are the others.
    fn typed(&mut self, name: &str, fields: &str) {
        self.event(name, &format!("{{\"type\":\"{name}\",{fields}}}"));
    }

    /// What comes before the first token.
    pub(super) fn opening(&mut self, counts: Counts) {
        match self.api {
            Api::Responses => {
                let response = self.response("in_progress", "[]", "null");
                self.typed("response.created", &format!("\"response\":{response}"));
            }
            Api::Messages => {
                let fields = format!(
                    "\"message\":{{\"id\":\"msg_{}\",\"type\":\"message\",\"role\":\"assistant\",\
                     \"model\":{},\"content\":[],\"stop_reason\":null,\"usage\":\
                     {{\"input_tokens\":{},\"output_tokens\":1}}}}",
                    self.id(),
                    self.model,
                    counts.prompt
                );
                self.typed("message_start", &fields);
                self.typed("ping", "\"n\":0");
            }
            _ => {}
        }
    }

    /// One token, with what its part begins or ends with.
    pub(super) fn token(&mut self, token: u32) {
        let part = self.parts.of(token);
        let piece = self.parts.piece(token);
        let place = self.parts.place(part);
        let (first, last) = self.parts.ends(token);
        match self.api {
            Api::Responses => {
                if first {
                    self.begin_item(part, place);
                }
                let name = match part {
                    Part::Reasoning => "response.reasoning_text.delta",
                    Part::Text => "response.output_text.delta",
                    Part::Tool => "response.function_call_arguments.delta",
                };
                let fields =
                    format!("\"output_index\":{place},\"content_index\":0,\"delta\":\"{piece}\"");
                self.typed(name, &fields);
                if last {
                    self.end_item(part, place);
                }
            }
            Api::Messages => {
                if first {
                    let block = match part {
                        Part::Reasoning => "{\"type\":\"thinking\",\"thinking\":\"\"}".to_owned(),
                        Part::Text => "{\"type\":\"text\",\"text\":\"\"}".to_owned(),
                        Part::Tool => format!(
                            "{{\"type\":\"tool_use\",\"id\":\"toolu_{}\",\"name\":\"{TOOL}\",\
                             \"input\":{{}}}}",
                            self.id()
                        ),
                    };
                    let fields = format!("\"index\":{place},\"content_block\":{block}");
                    self.typed("content_block_start", &fields);
                }
                let (kind, key) = match part {
                    Part::Reasoning => ("thinking_delta", "thinking"),
                    Part::Text => ("text_delta", "text"),
                    Part::Tool => ("input_json_delta", "partial_json"),
                };
                let fields = format!(
                    "\"index\":{place},\"delta\":{{\"type\":\"{kind}\",\"{key}\":\"{piece}\"}}"
                );
                self.typed("content_block_delta", &fields);
                if last {
                    self.typed("content_block_stop", &format!("\"index\":{place}"));
                }
            }
            Api::GenerateStream => {
                // The last event repeats all of the text.
                let all = if last {
                    format!("\"{}\"", self.parts.text(Part::Text))
                } else {
                    "null".to_owned()
                };
                let data = format!(
                    "{{\"index\":{},\"token\":{{\"id\":{token},\"text\":\"{piece}\",\
                     \"logprob\":-0.5,\"special\":false}},\"generated_text\":{all},\
                     \"details\":null}}",
                    token + 1
                );
                self.event("", &data);
            }
            _ => self.chat_token(part, &piece, first),
        }
    }

    /// A token of a chat that is no plain text.
    fn chat_token(&mut self, part: Part, piece: &str, first: bool) {
        let delta = match part {
            Part::Reasoning => format!("\"reasoning_content\":\"{piece}\""),
            Part::Text => format!("\"content\":\"{piece}\""),
            Part::Tool => {
                let (head, name) = if first {
                    (
                        format!("\"id\":\"call_{}\",\"type\":\"function\",", self.id()),
                        format!("\"name\":\"{TOOL}\","),
                    )
                } else {
                    Default::default()
                };
                format!(
                    "\"tool_calls\":[{{\"index\":0,{head}\"function\":{{{name}\"arguments\":\
                     \"{piece}\"}}}}]"
                )
            }
        };
        let data = format!(
            " {{\"id\":\"chatcmpl-{}\",\"object\":\"chat.completion.chunk\",\"created\":{},\
             \"model\":{},\"choices\":[{{\"index\":0,\"delta\":{{{delta}}},\"logprobs\":null,\
             \"finish_reason\":null}}]}}",
            self.id(),
            self.created(),
            self.model
        );
        self.event("", &data);
    }

    /// What comes after the last token.
    pub(super) fn closing(&mut self, finish: Finish, counts: Counts) {
        match self.api {
            Api::Responses => {
                let (name, status) = match finish {
                    Finish::Length => ("response.incomplete", "incomplete"),
                    _ => ("response.completed", "completed"),
                };
                let usage = self.usage(counts);
                let items = self.items();
                let response = self.response(status, &items, &usage);
                self.typed(name, &format!("\"response\":{response}"));
            }
            Api::Messages => {
                let fields = format!(
                    "\"delta\":{{\"stop_reason\":\"{}\",\"stop_sequence\":null}},\"usage\":\
                     {{\"output_tokens\":{}}}",
                    self.stop_reason(finish),
                    counts.completion
                );
                self.typed("message_delta", &fields);
                self.event("message_stop", "{\"type\":\"message_stop\"}");
            }
            _ => {}
        }
    }

    /// A whole body.
    pub(super) fn whole(&mut self, finish: Finish, counts: Counts, empty: bool) {
        let (id, model, prompt) = (self.id(), self.model, counts.prompt);
        let text = match self.api {
            Api::Responses => {
                let status = match finish {
                    Finish::Length => "incomplete",
                    _ => "completed",
                };
                self.response(status, &self.items(), &self.usage(counts))
            }
            Api::Messages => {
                let blocks = self.parts.present().map(|(_, part)| self.block(part));
                format!(
                    "{{\"id\":\"msg_{id}\",\"type\":\"message\",\"role\":\"assistant\",\
                     \"model\":{model},\"content\":[{}],\"stop_reason\":\"{}\",\"usage\":\
                     {{\"input_tokens\":{prompt},\"output_tokens\":{}}}}}",
                    list(blocks),
                    self.stop_reason(finish),
                    counts.completion
                )
            }
            Api::Generate | Api::GenerateStream => {
                format!("{{\"generated_text\":\"{}\"}}", self.parts.text(Part::Text))
            }
            Api::Embeddings => {
                let item = "{\"object\":\"embedding\",\"index\":0,\"embedding\":[0.25,-0.5,0.125]}";
                let data = if empty { "" } else { item };
                format!(
                    "{{\"object\":\"list\",\"data\":[{data}],\"model\":{model},\"usage\":\
                     {{\"prompt_tokens\":{prompt},\"total_tokens\":{prompt}}}}}"
                )
            }
            Api::Ranking => {
                let item = if empty {
                    ""
                } else {
                    "{\"index\":0,\"logit\":1.5}"
                };
                format!("{{\"rankings\":[{item}]}}")
            }
            Api::Rerank => {
                let item = if empty {
                    ""
                } else {
                    "{\"index\":0,\"relevance_score\":0.75}"
                };
                format!("{{\"id\":\"{id}\",\"results\":[{item}]}}")
            }
            Api::TeiRerank if empty => "[]".to_owned(),
            Api::TeiRerank => "[{\"index\":0,\"score\":0.75}]".to_owned(),
            Api::Chat | Api::Completions => self.whole_chat(finish, counts),
        };
        self.out.extend_from_slice(text.as_bytes());
    }

    fn whole_chat(&self, finish: Finish, counts: Counts) -> String {
        let mut message = String::from("\"role\":\"assistant\"");
        for (_, part) in self.parts.present() {
            let text = self.parts.text(part);
            let _ = match part {
                Part::Reasoning => write!(message, ",\"reasoning_content\":\"{text}\""),
                Part::Text => write!(message, ",\"content\":\"{text}\""),
                Part::Tool => write!(
                    message,
                    ",\"tool_calls\":[{{\"id\":\"call_{}\",\"type\":\"function\",\"function\":\
                     {{\"name\":\"{TOOL}\",\"arguments\":{}}}}}]",
                    self.id(),
                    quoted(&text)
                ),
            };
        }
        format!(
            "{{\"id\":\"chatcmpl-{}\",\"object\":\"chat.completion\",\"created\":{},\"model\":{},\
             \"choices\":[{{\"index\":0,\"message\":{{{message}}},\"logprobs\":null,\
             \"finish_reason\":\"{}\"}}],\"usage\":{{\"prompt_tokens\":{},\"total_tokens\":{},\
             \"completion_tokens\":{},\"completion_tokens_details\":{{\"reasoning_tokens\":{}}}}}}}",
            self.id(),
            self.created(),
            self.model,
            finish.name(),
            counts.prompt,
            counts.prompt.saturating_add(counts.completion),
            counts.completion,
            self.parts.reasoning
        )
    }

    fn stop_reason(&self, finish: Finish) -> &'static str {
        match finish {
            Finish::Length => "max_tokens",
            _ if self.parts.tool > 0 => "tool_use",
            _ => "end_turn",
        }
    }

    fn block(&self, part: Part) -> String {
        let text = self.parts.text(part);
        match part {
            Part::Reasoning => {
                format!("{{\"type\":\"thinking\",\"thinking\":\"{text}\",\"signature\":\"sig\"}}")
            }
            Part::Text => format!("{{\"type\":\"text\",\"text\":\"{text}\"}}"),
            Part::Tool => format!(
                "{{\"type\":\"tool_use\",\"id\":\"toolu_{}\",\"name\":\"{TOOL}\",\"input\":{text}}}",
                self.id()
            ),
        }
    }

    /// A response object with its output and usage, both JSON.
    fn response(&self, status: &str, output: &str, usage: &str) -> String {
        format!(
            "{{\"id\":\"resp_{}\",\"object\":\"response\",\"created_at\":{},\"status\":\
             \"{status}\",\"error\":null,\"model\":{},\"output\":{output},\"usage\":{usage}}}",
            self.id(),
            self.created(),
            self.model
        )
    }

    fn usage(&self, counts: Counts) -> String {
        format!(
            "{{\"input_tokens\":{},\"output_tokens\":{},\"output_tokens_details\":\
             {{\"reasoning_tokens\":{}}},\"total_tokens\":{}}}",
            counts.prompt,
            counts.completion,
            self.parts.reasoning,
            counts.prompt.saturating_add(counts.completion)
        )
    }

    fn items(&self) -> String {
        let items = self.parts.present().map(|(_, part)| self.item(part));
        format!("[{}]", list(items))
    }

    /// A finished output item of a response.
    fn item(&self, part: Part) -> String {
        let (id, text) = (self.id(), self.parts.text(part));
        match part {
            Part::Reasoning => format!(
                "{{\"id\":\"rs_{id}\",\"type\":\"reasoning\",\"summary\":[{{\"type\":\
                 \"summary_text\",\"text\":\"{text}\"}}]}}"
            ),
            Part::Text => format!(
                "{{\"id\":\"msg_{id}\",\"type\":\"message\",\"role\":\"assistant\",\"content\":\
                 [{{\"type\":\"output_text\",\"text\":\"{text}\"}}]}}"
            ),
            Part::Tool => format!(
                "{{\"id\":\"fc_{id}\",\"type\":\"function_call\",\"call_id\":\"call_{id}\",\
                 \"name\":\"{TOOL}\",\"arguments\":{}}}",
                quoted(&text)
            ),
        }
    }

    fn begin_item(&mut self, part: Part, place: usize) {
        let kind = match part {
            Part::Reasoning => "reasoning",
            Part::Text => "message",
            Part::Tool => "function_call",
        };
        let fields = format!("\"output_index\":{place},\"item\":{{\"type\":\"{kind}\"}}");
        self.typed("response.output_item.added", &fields);
    }

    fn end_item(&mut self, part: Part, place: usize) {
        if part == Part::Text {
            let text = self.parts.text(part);
            let fields =
                format!("\"output_index\":{place},\"content_index\":0,\"text\":\"{text}\"");
            self.typed("response.output_text.done", &fields);
        }
        let item = self.item(part);
        let fields = format!("\"output_index\":{place},\"item\":{item}");
        self.typed("response.output_item.done", &fields);
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    Vec::from_iter(items).join(",")
}

/// A text as a JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_their_parts() {
        let parts = Parts::new(Api::Chat, (1, 2), 5);
        let all: Vec<Part> = (0..5).map(|token| parts.of(token)).collect();
        use Part::{Reasoning, Text, Tool};
        assert_eq!(all, [Reasoning, Text, Text, Tool, Tool]);
        let pieces: String = (3..5).map(|token| parts.piece(token)).collect();
        let told: String = serde_json::from_str(&format!("\"{pieces}\"")).unwrap();
        assert_eq!(told, parts.text(Tool));
        assert!(Parts::new(Api::Completions, (1, 2), 5).is_plain());
        let short = Parts::new(Api::Chat, (4, 4), 5);
        assert_eq!((short.reasoning, short.tool), (4, 1));
    }
}
