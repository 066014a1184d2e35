//! Which file speaks which kind of endpoint's dialect, and the three things that are asked of it.

use pinfire_base::record::Transcript;
use serde_json::Value;

use super::answer::{Answers, Context, Heard, Piece, Reader, not_json, reported};
use super::ask::Ask;
use super::assistant_turn::AssistantTurn;
use super::body::{Body, BodyError, BodyOptions};
use super::kind::EndpointKind;
use super::{
    chat, completions, detect, embeddings, generate, lenient, messages, rankings, responses,
    template, usual,
};

/// The body of the n-th prompt.
type Compose = fn(&BodyOptions, usize, Ask<'_>) -> Result<Body, BodyError>;
/// What one document of an answer says.
type Read = fn(&Value, &mut Context<'_>, &mut dyn FnMut(Piece<'_>)) -> Heard;
/// The assistant's turn as the history takes it, appended; false if the answer said nothing.
type Turn = fn(&AssistantTurn, &mut Vec<u8>) -> bool;

/// A dialect: how bodies are written and answers are read.
struct Dialect {
    compose: Compose,
    read: Read,
    turn: Option<Turn>,
}

impl Dialect {
    fn of(kind: EndpointKind) -> Self {
        let plain = |compose, read| Self {
            compose,
            read,
            turn: None,
        };
        let talk = |compose, read, turn| Self {
            compose,
            read,
            turn: Some(turn),
        };
        match kind {
            EndpointKind::Chat => talk(chat::compose, chat::read, chat::turn),
            EndpointKind::Completions => plain(completions::compose, completions::read),
            EndpointKind::Responses => talk(responses::compose, responses::read, responses::turn),
            EndpointKind::Messages => talk(messages::compose, messages::read, messages::turn),
            EndpointKind::Embeddings => plain(embeddings::compose, embeddings::read),
            EndpointKind::ChatEmbeddings => plain(embeddings::compose_chat, embeddings::read_chat),
            EndpointKind::NimRankings => plain(rankings::compose_nim, rankings::read_nim),
            EndpointKind::CohereRankings => plain(rankings::compose_cohere, rankings::read_cohere),
            EndpointKind::HfTeiRankings => plain(rankings::compose_tei, rankings::read_tei),
            EndpointKind::HuggingfaceGenerate => plain(generate::compose, generate::read),
            EndpointKind::Template => plain(template::compose, detect::read_template),
            EndpointKind::Raw => plain(template::no_payload, detect::read_raw),
        }
    }
}

impl BodyOptions {
    /// The body of the n-th prompt.
    ///
    /// # Errors
    /// The kind of endpoint cannot say this.
    pub fn body(&self, n: usize, ask: Ask<'_>) -> Result<Body, BodyError> {
        let row = self.endpoint.row();
        if !row.takes_system_message {
            for (what, text) in [("system", ask.system), ("user-context", ask.user_context)] {
                if text.is_some() && self.endpoint != EndpointKind::Template {
                    self.notes.add(format!(
                        "{} has no place for {what} messages: they are left out",
                        row.name
                    ));
                }
            }
        }
        (Dialect::of(self.endpoint).compose)(self, n, ask)
    }
}

impl Reader<'_> {
    /// Reads an event's data, or a `whole` body. A document with an error object has no content.
    pub fn read(&mut self, bytes: &[u8], whole: bool, each: &mut dyn FnMut(Piece<'_>)) -> Heard {
        self.context.whole = whole;
        if self.answers.kind == EndpointKind::Chat
            && let Some(heard) = usual::read(bytes, &mut self.context, each)
        {
            return heard;
        }
        self.read_any(bytes, whole, each)
    }

    /// The same of a document in whatever form.
    pub(super) fn read_any(
        &mut self,
        bytes: &[u8],
        whole: bool,
        each: &mut dyn FnMut(Piece<'_>),
    ) -> Heard {
        let row = self.answers.kind.row();
        let Some(document) = lenient::parse(bytes) else {
            // Where the form is the user's own, what is no JSON is text as it stands.
            if row.path.is_empty() && !bytes.trim_ascii().is_empty() {
                each(Piece::Text(&String::from_utf8_lossy(bytes)));
                return Heard::default();
            }
            return not_json(bytes, whole);
        };
        if let Some(error) = reported(&document) {
            return Heard {
                error: Some(error),
                ..Heard::default()
            };
        }
        if let Value::String(text) = &document
            && !row.path.is_empty()
        {
            return not_json(text.as_bytes(), whole);
        }
        self.context.whole = whole;
        (Dialect::of(self.answers.kind).read)(&document, &mut self.context, each)
    }
}

/// Appends the assistant's turn of a whole answer in the endpoint's form. False, and nothing is
/// appended, when the answer said nothing, reported an error, or the kind has no such turns.
pub fn append_turn(answers: &Answers, transcript: &Transcript, into: &mut Vec<u8>) -> bool {
    let start = into.len();
    let spoken = Dialect::of(answers.kind)
        .turn
        .and_then(|turn| Some((turn, AssistantTurn::of(transcript, answers)?)));
    let said = spoken.is_some_and(|(turn, spoken)| turn(&spoken, into));
    if !said {
        into.truncate(start);
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ENDPOINTS;

    #[test]
    fn who_takes_several_turns_has_a_form_for_answers() {
        for row in &ENDPOINTS {
            let turn = Dialect::of(row.kind).turn;
            assert!(!row.several_turns || turn.is_some(), "{}", row.name);
        }
    }
}
