//! Reading a record: what a response said, when it said it, and whether it is an answer at all.
//!
//! The engine kept bytes and stamps; every judgement is made here, by AIPerf's rules. Nothing of a
//! cancelled or failed response is thrown away: its text and stamps are read as well, and kept out
//! of the latency metrics by its verdict.

mod error;
mod nothing;
mod unescape;

use std::borrow::Cow;

use pinfire_base::clock::Stamp;
use pinfire_base::record::{MarkKind, Outcome, Quirks, Record, Transcript};
use pinfire_dialect::Answers;
use pinfire_dialect::answer::{self, Indices, Piece, Reader, Reported};

pub(crate) use error::os_text;
pub use error::{Problem, Target};
pub use pinfire_dialect::Usage;

/// What a response amounts to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Verdict {
    /// An answer with content.
    #[default]
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
    /// The choice that it is of; absent where it is of several.
    pub choice: Option<u64>,
}

/// One of several choices: a text of its own with times of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choice {
    /// Its index in the answer.
    pub index: u64,
    /// See [`Reading::output`].
    pub output: Option<String>,
    /// See [`Reading::reasoning`].
    pub reasoning: Option<String>,
    /// Arrival of its first content.
    pub first: Stamp,
    /// Arrival of its last content.
    pub last: Stamp,
}

/// Events that could not be read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Unreadable {
    /// How many.
    pub events: u32,
    /// How the first of them begins.
    pub begins: Option<String>,
}

/// A record, read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reading {
    /// Content responses in order of arrival; the first is the first token.
    pub content: Vec<Content>,
    /// Output text of all responses: content, and names and arguments of tool calls, in order of
    /// arrival and without separator. Absent if there was no fragment. Of several choices that of
    /// the first.
    pub output: Option<String>,
    /// Reasoning text, likewise.
    pub reasoning: Option<String>,
    /// All choices in order of their first content, where there are several.
    pub choices: Vec<Choice>,
    /// The last usage object that was not empty, whole.
    pub usage: Option<Usage>,
    /// Completion tokens reported by the first content response that carried usage.
    pub first_chunk_tokens: Option<u64>,
    /// Why each choice ended, as far as the server says it.
    pub finish: Vec<(u64, Cow<'static, str>)>,
    /// The model declined.
    pub refused: bool,
    /// Events that are neither JSON nor a message.
    pub unreadable: Unreadable,
    /// How the answer was read otherwise than its head says.
    pub quirks: Quirks,
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
        let mut reading = Self::empty(record);
        let mut indices = Indices::default();
        let mut reported = reading.transcript(record, &rules.answers, None, &mut indices);
        if indices.are_choices() {
            // Each has a text of its own: they are read once more, apart.
            reading = Self::empty(record);
            let first = indices.first();
            reported = reading.transcript(record, &rules.answers, first, &mut indices);
            if let Some(first) = reading.choices.first() {
                reading.output.clone_from(&first.output);
                reading.reasoning.clone_from(&first.reasoning);
            }
        }
        reading.verdict = reading.judge(record, rules, reported);
        reading
    }

    fn empty(record: &Record) -> Self {
        Self {
            content: Vec::with_capacity(record.transcript.marks().len()),
            quirks: record.wire.quirks,
            events: record.transcript.marks().len() as u32,
            ..Self::default()
        }
    }

    /// Arrival of the first content response.
    pub fn first(&self) -> Option<Stamp> {
        self.content.first().map(|c| c.at)
    }

    /// Arrival of the last content response.
    pub fn last(&self) -> Option<Stamp> {
        self.content.last().map(|c| c.at)
    }

    /// Arrival of the second content response of the choice that had the first.
    pub fn second(&self) -> Option<Stamp> {
        let mut content = self.content.iter();
        let first = content.next()?.choice;
        let same = |choice: Option<u64>| choice.is_none() || first.is_none() || choice == first;
        content.find(|c| same(c.choice)).map(|c| c.at)
    }

    /// How many choices the answer has.
    pub fn choice_count(&self) -> usize {
        self.choices.len().max(1)
    }

    /// Reads all events and gives the first error that the server reported inside the response.
    /// With the index of the first of several choices each is read by itself.
    fn transcript(
        &mut self,
        record: &Record,
        answers: &Answers,
        first: Option<u64>,
        indices: &mut Indices,
    ) -> Option<Problem> {
        let is_error_status = !is_success(record.wire.status) && record.wire.status != 0;
        let mut reported = None;
        let mut reader = Reader::new(answers);
        for mark in record.transcript.iter() {
            let at = mark.at;
            let found = match mark.kind {
                // An error status has a body, but no content, whatever it looks like.
                _ if is_error_status => None,
                MarkKind::Content | MarkKind::Reasoning => {
                    reader.came(mark.kind);
                    indices.begin();
                    indices.content(0);
                    let output = mark.kind == MarkKind::Content;
                    let text = match first {
                        None if output => self.output.get_or_insert_default(),
                        None => self.reasoning.get_or_insert_default(),
                        Some(_) => self.choice(0, at).text(output),
                    };
                    unescape::append(mark.bytes, text);
                    self.content.push(Content {
                        at,
                        output,
                        choice: Some(0),
                    });
                    None
                }
                MarkKind::Empty | MarkKind::Done => None,
                MarkKind::Finish => {
                    indices.end();
                    self.ended(0, &String::from_utf8_lossy(mark.bytes));
                    None
                }
                MarkKind::Data | MarkKind::Bare => self
                    .document((at, mark.bytes), mark.kind, &mut reader, first, indices)
                    .map(Problem::in_stream),
                MarkKind::ErrorEvent => error::of_event(mark.bytes),
                MarkKind::Body => self
                    .document((at, mark.bytes), mark.kind, &mut reader, first, indices)
                    .map(Problem::in_body),
            };
            reported = reported.or(found);
        }
        reported
    }

    /// Reads one document that arrived at `at`; gives the error object in it, if there is one.
    fn document(
        &mut self,
        (at, bytes): (Stamp, &[u8]),
        kind: MarkKind,
        reader: &mut Reader<'_>,
        first: Option<u64>,
        indices: &mut Indices,
    ) -> Option<Reported> {
        let (mut content, mut output) = (false, false);
        let (mut choice, mut of) = (0, None);
        let mut several = false;
        indices.begin();
        let heard = reader.read(bytes, kind == MarkKind::Body, &mut |piece| {
            output |= piece.is_content() && !matches!(piece, Piece::Reasoning(_));
            if piece.is_content() {
                content = true;
                indices.content(choice);
                several |= of.is_some_and(|of| of != choice);
                of = Some(choice);
                if first.is_some() {
                    self.choice(choice, at);
                }
            }
            let mut put = |output: bool, text: &str| match first {
                None if output => self.output.get_or_insert_default().push_str(text),
                None => self.reasoning.get_or_insert_default().push_str(text),
                Some(_) => self.choice(choice, at).text(output).push_str(text),
            };
            match piece {
                Piece::Choice(index) => choice = index,
                Piece::Text(text) => put(true, text),
                Piece::Refusal(text) => {
                    put(true, text);
                    self.refused = true;
                }
                Piece::Reasoning(text) => put(false, text),
                Piece::Tool {
                    name, arguments, ..
                } => {
                    put(true, name);
                    put(true, &arguments);
                }
                Piece::Finish(reason) => {
                    indices.end();
                    self.ended(choice, reason);
                }
                Piece::Bare | Piece::Call { .. } | Piece::Signature(_) | Piece::Item(_) => {}
            }
        });
        if content {
            self.content.push(Content {
                at,
                output,
                choice: of.filter(|_| !several),
            });
            if self.first_chunk_tokens.is_none() {
                self.first_chunk_tokens = heard.usage.and_then(|usage| usage.completion);
            }
        }
        match kind {
            // A whole body that cannot be read is what the verdict speaks of.
            MarkKind::Body => {}
            _ if heard.unreadable => {
                self.unreadable.events += 1;
                let begins = &mut self.unreadable.begins;
                begins.get_or_insert_with(|| nothing::excerpt(bytes));
            }
            MarkKind::Bare if answer::parse(bytes).is_some() => self.quirks.add(Quirks::BARE_JSON),
            _ => {}
        }
        if heard.usage.is_some_and(|usage| usage.no_count) {
            self.quirks.add(Quirks::USAGE_WITHOUT_COUNT);
        }
        self.usage = heard.usage.or(self.usage);
        heard.error
    }

    /// One of several choices, which has content at `at`.
    fn choice(&mut self, index: u64, at: Stamp) -> &mut Choice {
        let place = self.choices.iter().position(|choice| choice.index == index);
        let place = place.unwrap_or_else(|| {
            self.choices.push(Choice {
                index,
                output: None,
                reasoning: None,
                first: at,
                last: at,
            });
            self.choices.len() - 1
        });
        let choice = &mut self.choices[place];
        choice.last = at;
        choice
    }

    /// A choice has ended. Some servers say it twice.
    fn ended(&mut self, choice: u64, reason: &str) {
        const KNOWN: [&str; 8] = [
            "stop",
            "length",
            "tool_calls",
            "content_filter",
            "end_turn",
            "max_tokens",
            "tool_use",
            "completed",
        ];
        let known = KNOWN.into_iter().find(|known| *known == reason);
        let reason = known.map_or_else(|| Cow::Owned(reason.to_owned()), Cow::Borrowed);
        match self.finish.iter_mut().find(|(one, _)| *one == choice) {
            Some((_, before)) => *before = reason,
            None => self.finish.push((choice, reason)),
        }
    }

    fn judge(&self, record: &Record, rules: &Rules, reported: Option<Problem>) -> Verdict {
        let status = record.wire.status;
        let is_refused = !is_success(status) && status != 0;
        let aborted = || {
            const FAILURES: [&str; 5] = ["abort", "aborted", "error", "cancelled", "canceled"];
            let mut reasons = self.finish.iter().map(|(_, reason)| &**reason);
            reasons.find(|reason| FAILURES.contains(reason))
        };
        match &record.outcome {
            Outcome::Dropped => Verdict::Dropped,
            Outcome::Cancelled => Verdict::Cancelled(Problem::cancelled(record.cancel)),
            // The head and what there is of the body say more than how the body ended.
            Outcome::Failed(failure) if is_refused && !record.transcript.marks().is_empty() => {
                let why = Problem::of_failure(record, failure, &rules.target).message;
                Verdict::Error(Problem::of_refusal(
                    record,
                    &body_text(&record.transcript),
                    Some(why),
                ))
            }
            // What the server said explains more than how the connection ended afterwards.
            Outcome::Failed(failure) => Verdict::Error(reported.unwrap_or_else(|| {
                Problem::of_failure(record, failure, &rules.target).coded(record)
            })),
            Outcome::Complete if !is_success(status) => Verdict::Error(Problem::of_refusal(
                record,
                &body_text(&record.transcript),
                None,
            )),
            Outcome::Complete => match (reported, aborted()) {
                (Some(problem), _) => Verdict::Error(problem),
                (None, Some(reason)) => Verdict::Error(Problem::aborted(reason)),
                (None, None) if self.content.is_empty() => Verdict::Error(nothing::of(record)),
                (None, None) if record.times.end <= record.times.start => {
                    Verdict::Error(Problem::bad_times())
                }
                (None, None) => Verdict::Valid,
            },
        }
    }
}

impl Choice {
    fn text(&mut self, output: bool) -> &mut String {
        let side = match output {
            true => &mut self.output,
            false => &mut self.reasoning,
        };
        side.get_or_insert_default()
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
