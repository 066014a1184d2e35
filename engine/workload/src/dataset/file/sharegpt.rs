//! sharegpt: recorded conversations of people with a model: a JSON array, or lines, of
//! `{"conversations": [{"from": "human", "value": …}, {"from": "gpt", "value": …}, …]}`.
//!
//! What a human said is the prompt, and the length of the recorded answer is its output limit. The
//! server's own replies stand in the history, not the recorded ones.

use std::path::Path;

use pinfire_dialect::ask::TurnContent;
use serde_json::{Map, Value};

use super::fault::{Fault, fault, object, shown};
use super::fields::Fields;
use super::load::{Entry, Loading, Progress, Row, Rules, What};
use super::notes::{Notes, content_row};
use super::pieces::{Elements, Lines, Opened, Piece};
use super::sample::{Fit, Sample};
use super::speakers::Speaker;
use super::{DatasetError, FileSpec};
use crate::dataset::{Build, Dataset};
use crate::text::tokenizer::Tokenizer;

/// The fields that a conversation may stand in, the usual one first. Lines with `messages` are of
/// other formats too, so that it is looked for in documents only.
const CONVERSATIONS: [&str; 3] = ["conversations", "conversation", "messages"];
/// The fields of a message: who says it, and what.
const FROM: [&str; 3] = ["from", "role", "speaker"];
const VALUE: [&str; 3] = ["value", "content", "text"];
/// Tokens below which a prompt or an answer says too little to measure by.
const LEAST: usize = 4;
/// The longest prompt.
const MOST_PROMPT: usize = 1_024;
/// The longest prompt with its answer.
const MOST: usize = 2_048;

/// Whether the document is an array of objects with `conversations`, or a line is such an object.
pub(super) fn fits(sample: &Sample<'_>) -> Fit {
    let element = sample.element.filter(|_| !sample.keyed);
    let of_document = element.and_then(Value::as_object).and_then(conversation);
    let of_line = sample.first.filter(|first| has_conversation(first));
    Fit::when(of_document.is_some_and(|(_, it)| it.is_array()) || of_line.is_some())
}

/// The field of a conversation that is there.
fn conversation(object: &Map<String, Value>) -> Option<(&'static str, &Value)> {
    let there = |name: &&'static str| Some((*name, object.get(*name)?));
    CONVERSATIONS.iter().find_map(there)
}

/// Whether a line is a recorded conversation.
fn has_conversation(line: &Map<String, Value>) -> bool {
    let found = conversation(line).filter(|(name, _)| *name != CONVERSATIONS[2]);
    found.is_some_and(|(_, it)| it.is_array())
}

/// Whether the file has a conversation per line: its first one that is not `null` is an object
/// with one.
fn is_lines(path: &Path) -> Result<bool, DatasetError> {
    let mut opened = Opened::new(path)?;
    if opened.begins_with(b'[')? {
        return Ok(false);
    }
    let mut lines = Lines::new(opened);
    while let Some(piece) = lines.next()? {
        if piece.bytes != b"null" {
            let keys = |line: Map<String, Value>| conversation(&line).is_some();
            return Ok(object(&piece.bytes).is_ok_and(keys));
        }
    }
    Ok(false)
}

pub(super) fn load(
    spec: &FileSpec,
    build: &Build<'_>,
    progress: Progress<'_>,
) -> Result<Dataset, DatasetError> {
    let Some(tokenizer) = build.tokenizer else {
        return Err(DatasetError::Unfit {
            path: spec.path.clone(),
            reason: "prompts and answers of sharegpt are measured in tokens: add `--tokenizer \
                     builtin` or another one"
                .to_owned(),
        });
    };
    let rules = Rules {
        history: true,
        leading_system: false,
        joined: false,
    };
    let several = build.converses();
    let short_answers = spec.osl_mean.is_some();
    let read = |piece: &Piece, notes: &mut Notes| {
        let Some(pairs) = pairs(piece, notes)? else {
            return Ok(None);
        };
        let rows = rows(pairs, tokenizer, short_answers);
        let Some(mut rows) = rows.filter(|rows| !rows.is_empty()) else {
            notes.left_out += 1;
            return Ok(None);
        };
        if !several && rows.len() > 1 {
            rows.truncate(1);
            notes.cut += 1;
        }
        Ok(Some(Entry {
            session: None,
            rows,
        }))
    };
    let loading = Loading::new(spec, build, rules);
    match is_lines(&spec.path)? {
        true => loading.whole_file(Lines::new, &read, progress),
        false => {
            let cut = |opened| Elements::new(opened, None);
            loading.whole_file(cut, &read, progress)
        }
    }
}

/// What was asked and what the model answered, wherever one follows the other; `None` for an entry
/// that has no conversation.
fn pairs(piece: &Piece, notes: &mut Notes) -> Result<Option<Vec<(String, String)>>, Fault> {
    let Some(object) = content_row(piece, &CONVERSATIONS, notes)? else {
        return Ok(None);
    };
    let name = conversation(&object).map(|(name, _)| name);
    let mut fields = Fields::new(object);
    let messages = match name {
        Some(name) => fields.list(name)?,
        None => None,
    };
    let name = name.unwrap_or(CONVERSATIONS[0]);
    let messages = match messages {
        Some(messages) if !messages.is_empty() => messages,
        Some(_) => return notes.skip(name, "is empty; every entry needs messages"),
        None => return notes.skip(name, "is missing; every entry needs such a list"),
    };
    let mut pairs = Vec::new();
    let mut asked = None;
    for (n, message) in messages.into_iter().enumerate() {
        let place = format!("{name}[{n}]");
        let message = match message {
            Value::Object(message) => Fields::new(message),
            Value::Null => return notes.skip(place, "is null"),
            other => return fault(place, format!("must be an object, not {}", shown(&other))),
        };
        let Some((from, value)) = said(message, &place)? else {
            return notes.skip(place, "needs the texts `from` and `value`");
        };
        match (Speaker::named(&from), asked.take()) {
            (Some(Speaker::Asks), _) => asked = Some(value),
            (Some(Speaker::Answers), Some(prompt)) => pairs.push((prompt, value)),
            (Some(Speaker::Answers), None) => {}
            (Some(Speaker::System), before) => asked = before,
            (None, before) => {
                asked = before;
                notes.strangers.insert(from);
            }
        }
    }
    Ok(Some(pairs))
}

/// Who says a message, and what; `None` if either is missing.
fn said(mut message: Fields, place: &str) -> Result<Option<(String, String)>, Fault> {
    let inside = |(field, reason): Fault| (format!("{place}.{field}"), reason);
    let from = FROM.into_iter().find(|field| message.has(field));
    let from = from.map_or(Ok(None), |field| message.text(field).map_err(inside))?;
    let Some(field) = VALUE.into_iter().find(|field| message.has(field)) else {
        return Ok(None);
    };
    let value = match message.any(field) {
        Some(Value::String(text)) => Some(text),
        // Parts, of which texts count.
        Some(Value::Array(parts)) => {
            let text = |part: &Value| Some(part.as_str().or(part["text"].as_str())?.to_owned());
            let texts: Vec<String> = parts.iter().filter_map(text).collect();
            (!texts.is_empty()).then(|| texts.join("\n"))
        }
        Some(other) => {
            let reason = format!("must be text, not {}", shown(&other));
            return Err(inside((field.to_owned(), reason)));
        }
        None => None,
    };
    Ok(from.zip(value))
}

/// The turns of these pairs, or `None` if one of them is too short or too long.
fn rows(
    pairs: Vec<(String, String)>,
    tokenizer: &Tokenizer,
    short_answers: bool,
) -> Option<Vec<Row>> {
    let rows = pairs.into_iter().map(|(prompt, answer)| {
        let (asked, said) = (tokenizer.count(&prompt), tokenizer.count(&answer));
        let fits = (LEAST..=MOST_PROMPT).contains(&asked)
            && (short_answers || said >= LEAST)
            && asked + said <= MOST;
        fits.then(|| Row {
            what: What::TurnContent(TurnContent::text(prompt)),
            max_tokens: u32::try_from(said.max(1)).ok(),
            ..Row::default()
        })
    });
    rows.collect()
}
