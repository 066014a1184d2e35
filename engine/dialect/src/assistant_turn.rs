//! What an answer said, gathered for the history of its conversation.

use pinfire_base::record::{MarkKind, Transcript};
use serde_json::Value;

use super::answer::{Answers, Indices, Piece, Reader};

/// An answer's pieces put together. `text` and `reasoning` are the insides of JSON strings.
#[derive(Debug, Default)]
pub struct AssistantTurn {
    pub(super) text: Vec<u8>,
    pub(super) reasoning: Vec<u8>,
    pub(super) signature: String,
    pub(super) calls: Vec<Call>,
    /// Whole output items, each once.
    pub(super) items: Vec<Value>,
}

/// A tool call put together.
#[derive(Debug, Default)]
pub(super) struct Call {
    index: u64,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

impl AssistantTurn {
    /// What a whole answer said; `None` if it reports an error. Of several choices the first is the
    /// one that the conversation goes on with.
    pub(super) fn of(transcript: &Transcript, answers: &Answers) -> Option<Self> {
        let mut indices = Indices::default();
        let all = Self::of_choices(transcript, answers, None, &mut indices)?;
        if !indices.are_choices() {
            return Some(all);
        }
        let first = indices.first();
        Self::of_choices(transcript, answers, first, &mut indices)
    }

    /// What one choice said, or all of them.
    fn of_choices(
        transcript: &Transcript,
        answers: &Answers,
        only: Option<u64>,
        indices: &mut Indices,
    ) -> Option<Self> {
        let mut spoken = Self::default();
        let mut reader = Reader::new(answers);
        let wanted = |choice: u64| only.is_none_or(|only| only == choice);
        for mark in transcript.iter() {
            match mark.kind {
                MarkKind::Content | MarkKind::Reasoning => {
                    reader.came(mark.kind);
                    indices.begin();
                    indices.content(0);
                    let into = match mark.kind {
                        MarkKind::Content => &mut spoken.text,
                        _ => &mut spoken.reasoning,
                    };
                    if wanted(0) {
                        into.extend_from_slice(mark.bytes);
                    }
                }
                MarkKind::Empty | MarkKind::Done => {}
                MarkKind::Finish => indices.end(),
                MarkKind::Data | MarkKind::Body | MarkKind::Bare => {
                    let whole = mark.kind == MarkKind::Body;
                    indices.begin();
                    let mut choice = 0;
                    let heard = reader.read(mark.bytes, whole, &mut |piece| {
                        match piece {
                            Piece::Choice(index) => choice = index,
                            Piece::Finish(_) => indices.end(),
                            _ if piece.is_content() => indices.content(choice),
                            _ => {}
                        }
                        if wanted(choice) {
                            spoken.take(&piece);
                        }
                    });
                    if heard.error.is_some() {
                        return None;
                    }
                }
                MarkKind::ErrorEvent => return None,
            }
        }
        Some(spoken)
    }

    fn take(&mut self, piece: &Piece<'_>) {
        match piece {
            Piece::Text(text) | Piece::Refusal(text) => put_inside(text, &mut self.text),
            Piece::Reasoning(text) => put_inside(text, &mut self.reasoning),
            Piece::Tool {
                index,
                name,
                arguments,
            } => {
                let call = self.call(*index);
                call.name.push_str(name);
                call.arguments.push_str(arguments);
            }
            Piece::Call { index, id, name } => {
                let call = self.call(*index);
                if !id.is_empty() {
                    (*id).clone_into(&mut call.id);
                }
                if !name.is_empty() {
                    (*name).clone_into(&mut call.name);
                }
            }
            Piece::Signature(text) => self.signature.push_str(text),
            Piece::Item(item) => self.item(item),
            Piece::Bare | Piece::Choice(_) | Piece::Finish(_) => {}
        }
    }

    fn call(&mut self, index: u64) -> &mut Call {
        let at = self.calls.iter().position(|call| call.index == index);
        let at = at.unwrap_or_else(|| {
            self.calls.push(Call {
                index,
                ..Call::default()
            });
            self.calls.len() - 1
        });
        &mut self.calls[at]
    }

    /// Adds an output item, unless it has come before, by the first of its ids.
    fn item(&mut self, item: &Value) {
        let id = |item: &Value| {
            let ids = ["id", "call_id", "item_id"].iter();
            let mut ids = ids.filter_map(|key| item.get(*key)?.as_str().map(str::to_owned));
            ids.next()
        };
        let new = id(item);
        if new.is_some() && self.items.iter().any(|old| id(old) == new) {
            return;
        }
        self.items.push(item.clone());
    }
}

/// Appends text as the inside of a JSON string.
fn put_inside(text: &str, into: &mut Vec<u8>) {
    let at = into.len();
    put_json(&Value::from(text), into);
    if into.len() >= at + 2 {
        into.remove(at);
        into.pop();
    }
}

/// Appends a JSON value.
pub(super) fn put_json(value: &Value, into: &mut Vec<u8>) {
    // Writing a value into memory does not fail.
    let _ = serde_json::to_writer(into, value);
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::EndpointKind;
    use crate::append_turn;
    use pinfire_base::clock::Stamp;

    /// The turn that these marks leave, if there is one.
    pub(crate) fn turn(kind: EndpointKind, marks: &[(MarkKind, &str)]) -> Option<Value> {
        let mut transcript = Transcript::default();
        for (kind, bytes) in marks {
            transcript.push(Stamp::from_nanos(1), *kind, bytes.as_bytes());
        }
        let mut into = b"[".to_vec();
        let any = append_turn(&Answers::of(kind), &transcript, &mut into);
        into.push(b']');
        let list: Value = serde_json::from_slice(&into).unwrap();
        assert_eq!(any, !list.as_array().unwrap().is_empty());
        // Several items of one turn are one list.
        any.then(|| match list.as_array().unwrap().len() {
            1 => list[0].clone(),
            _ => list,
        })
    }
}
