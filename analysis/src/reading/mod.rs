//! Reading a record: what a response said, when it said it, and whether it is an answer at all.
//!
//! The engine kept bytes and stamps; every judgement is made here, by AIPerf's rules. Nothing of a
//! cancelled or failed response is thrown away: its text and stamps are read as well, and kept out
//! of the latency metrics by its verdict.

mod error;
mod unescape;

use pinfire_base::clock::Stamp;
use pinfire_base::record::{MarkKind, Outcome, Record, Transcript};
use pinfire_dialect::Answers;
use pinfire_dialect::answer::{Piece, Reader, Reported};

pub use error::{Problem, Target};
pub use pinfire_dialect::Usage;

/// What a response amounts to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// An answer with content.
    Valid,
    /// Anything else that was not planned.
    Error(Problem),
    /// Hung up on by plan: an outcome of its own. The problem is what its JSONL line shows.
    Cancelled(Problem),
    /// Cut off by the end of the run.
    Dropped,
}

/// One content response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Content {
    /// Its arrival.
    pub at: Stamp,
    /// It carried output besides or instead of reasoning.
    pub output: bool,
}

/// A record, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reading {
    /// Content responses in order of arrival; the first is the first token.
    pub content: Vec<Content>,
    /// Output text of all responses: content, and names and arguments of tool calls, in order of
    /// arrival and without separator. Absent if there was no fragment.
    pub output: Option<String>,
    /// Reasoning text, likewise.
    pub reasoning: Option<String>,
    /// The last usage object that was not empty, whole.
    pub usage: Option<Usage>,
    /// Completion tokens reported by the first content response that carried usage.
    pub first_chunk_tokens: Option<u64>,
    /// The last finish reason that the analysis saw. The engine drops it from plain events.
    pub finish: Option<String>,
    /// Responses of any kind.
    pub events: u32,
    /// What it amounts to.
    pub verdict: Verdict,
}

/// What a reader must know besides the record.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// How the answers are read.
    pub answers: Answers,
    /// The server, for messages.
    pub target: Target,
}

impl Reading {
    /// Reads a record.
    pub fn of(record: &Record, rules: &Rules) -> Self {
        let mut reading = Self {
            content: Vec::with_capacity(record.transcript.marks().len()),
            output: None,
            reasoning: None,
            usage: None,
            first_chunk_tokens: None,
            finish: None,
            events: record.transcript.marks().len() as u32,
            verdict: Verdict::Valid,
        };
        let reported = reading.transcript(record, &rules.answers);
        reading.verdict = reading.judge(record, rules, reported);
        reading
    }

    /// Arrival of the first content response.
    pub fn first(&self) -> Option<Stamp> {
        self.content.first().map(|c| c.at)
    }

    /// Arrival of the last content response.
    pub fn last(&self) -> Option<Stamp> {
        self.content.last().map(|c| c.at)
    }

    /// Reads all events and gives the first error that the server reported inside the response.
    fn transcript(&mut self, record: &Record, answers: &Answers) -> Option<Problem> {
        let is_error_status = !is_success(record.wire.status) && record.wire.status != 0;
        let mut reported = None;
        let mut reader = Reader::new(answers);
        for mark in record.transcript.iter() {
            let found = match mark.kind {
                // An error status has a body, but no content, whatever it looks like.
                _ if is_error_status => None,
                MarkKind::Content => {
                    unescape::append(mark.bytes, self.output.get_or_insert_default());
                    self.content.push(Content {
                        at: mark.at,
                        output: true,
                    });
                    None
                }
                MarkKind::Reasoning => {
                    unescape::append(mark.bytes, self.reasoning.get_or_insert_default());
                    self.content.push(Content {
                        at: mark.at,
                        output: false,
                    });
                    None
                }
                MarkKind::Empty | MarkKind::Done => None,
                MarkKind::Data => self
                    .document(mark.at, mark.bytes, false, &mut reader)
                    .map(Problem::in_stream),
                MarkKind::ErrorEvent => error::of_event(mark.bytes),
                MarkKind::Body => self
                    .document(mark.at, mark.bytes, true, &mut reader)
                    .map(Problem::in_body),
            };
            reported = reported.or(found);
        }
        reported
    }

    /// Reads one document, an event or a `whole` body, that arrived at `at`; gives the error object
    /// in it, if there is one.
    fn document(
        &mut self,
        at: Stamp,
        bytes: &[u8],
        whole: bool,
        reader: &mut Reader<'_>,
    ) -> Option<Reported> {
        let (mut content, mut output) = (false, false);
        let heard = reader.read(bytes, whole, &mut |piece| {
            content |= piece.is_content();
            match piece {
                Piece::Text(text) => self.output.get_or_insert_default().push_str(text),
                Piece::Reasoning(text) => {
                    self.reasoning.get_or_insert_default().push_str(text);
                    return;
                }
                Piece::Tool {
                    name, arguments, ..
                } => {
                    let text = self.output.get_or_insert_default();
                    text.push_str(name);
                    text.push_str(&arguments);
                }
                Piece::Bare => {}
                Piece::Call { .. } | Piece::Signature(_) | Piece::Item(_) => return,
            }
            output = true;
        });
        if content {
            self.content.push(Content { at, output });
            if self.first_chunk_tokens.is_none() {
                self.first_chunk_tokens = heard.usage.and_then(|usage| usage.completion);
            }
        }
        self.usage = heard.usage.or(self.usage);
        self.finish = heard.finish.or(self.finish.take());
        heard.error
    }

    fn judge(&self, record: &Record, rules: &Rules, reported: Option<Problem>) -> Verdict {
        match &record.outcome {
            Outcome::Dropped => Verdict::Dropped,
            Outcome::Cancelled => Verdict::Cancelled(Problem::cancelled(record.cancel)),
            // What the server said explains more than how the connection ended afterwards.
            Outcome::Failed(failure) => Verdict::Error(
                reported.unwrap_or_else(|| Problem::of_failure(failure, &rules.target)),
            ),
            Outcome::Complete if !is_success(record.wire.status) => Verdict::Error(
                Problem::of_status(record.wire.status, &body_text(&record.transcript)),
            ),
            Outcome::Complete => match reported {
                Some(problem) => Verdict::Error(problem),
                None if self.content.is_empty() => Verdict::Error(Problem::no_content()),
                None if record.times.end <= record.times.start => {
                    Verdict::Error(Problem::bad_times())
                }
                None => Verdict::Valid,
            },
        }
    }
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

fn body_text(transcript: &Transcript) -> String {
    let mut bytes = Vec::with_capacity(transcript.byte_len());
    for mark in transcript.iter() {
        bytes.extend_from_slice(mark.bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests;
