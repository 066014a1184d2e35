//! sharegpt: recorded conversations of people with a model, a JSON array of
//! `{"conversations": [{"from": "human", "value": …}, {"from": "gpt", "value": …}, …]}`.
//!
//! What a human said is the prompt, and the length of the recorded answer is its output limit. The
//! server's own replies stand in the history, not the recorded ones.

use pinfire_dialect::ask::TurnContent;
use serde_json::Value;

use super::fault::{Fault, fault, object, shown};
use super::fields::Fields;
use super::load::{Entry, Loading, Notes, Progress, Row, Rules, What};
use super::pieces::{Elements, Piece};
use super::sample::{Fit, Sample};
use super::{DatasetError, FileSpec};
use crate::dataset::{Build, Dataset};
use crate::text::tokenizer::Tokenizer;

/// Tokens below which a prompt or an answer says too little to measure by.
const LEAST: usize = 4;
/// The longest prompt.
const MOST_PROMPT: usize = 1_024;
/// The longest prompt with its answer.
const MOST: usize = 2_048;

/// Whether the document is an array of objects with `conversations`.
pub(super) fn fits(sample: &Sample<'_>) -> Fit {
    let element = sample.element.filter(|_| !sample.keyed);
    match element.and_then(|element| element.get("conversations")) {
        Some(Value::Array(_)) => Fit::Yes,
        _ => Fit::No,
    }
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
        let pairs = pairs(piece)?;
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
    let cut = |opened| Elements::new(opened, None);
    Loading::new(spec, build, rules).whole_file(cut, &read, progress)
}

/// What a human said and what the model answered, wherever one follows the other.
fn pairs(piece: &Piece) -> Result<Vec<(String, String)>, Fault> {
    let mut fields = Fields::new(object(&piece.bytes)?);
    let Some(messages) = fields.list("conversations")? else {
        return fault("conversations", "is missing; every entry needs such a list");
    };
    let mut pairs = Vec::new();
    let mut asked = None;
    for (n, message) in messages.into_iter().enumerate() {
        let inside = |(field, reason): Fault| (format!("conversations[{n}].{field}"), reason);
        let Value::Object(message) = message else {
            let reason = format!("must be an object, not {}", shown(&message));
            return fault(format!("conversations[{n}]"), reason);
        };
        let mut message = Fields::new(message);
        let from = message.text("from").map_err(inside)?;
        let value = message.text("value").map_err(inside)?;
        let (Some(from), Some(value)) = (from, value) else {
            let reason = "needs the texts `from` and `value`";
            return fault(format!("conversations[{n}]"), reason);
        };
        match (from.as_str(), asked.take()) {
            ("human", _) => asked = Some(value),
            ("gpt", Some(prompt)) => pairs.push((prompt, value)),
            _ => {}
        }
    }
    Ok(pairs)
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
