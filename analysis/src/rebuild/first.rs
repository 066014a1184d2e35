//! What the first lines of a run's files say of it.

use std::collections::HashSet;
use std::path::Path;

use pinfire_artifacts::{Lines, tag};
use pinfire_dialect::{Answers, EndpointKind};
use serde_json::Value;

use super::error::RebuildError;
use super::line::Found;
use super::raw::RawRequest;
use super::shards::Clock;
use super::values::ValueLine;
use crate::facts::RunFacts;

/// What the first lines say of a run that has no summary.
pub(super) struct First {
    /// Wall time of the first request.
    pub(super) start: u64,
    /// pinfire wrote them.
    pub(super) is_ours: bool,
    streaming: bool,
    kind: EndpointKind,
    model: Option<String>,
    /// Some were to be cancelled.
    pub(super) has_plan: bool,
    by_server: bool,
    /// None of its first requests is among the first of the per-request file.
    pub(super) raw_is_of_another_run: bool,
}

/// So many lines are looked at: the first ones may have failed.
const LOOKED_AT: usize = 100;
/// And so many of the per-request file, which may be out of step with the raw one.
const LOOKED_AT_BESIDE: usize = 1_000;

impl First {
    /// The one of two that began earlier.
    pub(super) fn earlier(self, other: Self) -> Self {
        if other.start < self.start {
            other
        } else {
            self
        }
    }

    /// Of the first lines of these files.
    pub(super) fn of(raw: Option<&Path>, lines: Option<&Path>) -> Result<Self, RebuildError> {
        let mut first = Self {
            start: 0,
            is_ours: false,
            streaming: false,
            kind: EndpointKind::Chat,
            model: None,
            has_plan: false,
            by_server: false,
            raw_is_of_another_run: false,
        };
        let (mut in_raw, mut in_lines) = (HashSet::new(), HashSet::new());
        if let Some(path) = raw {
            let mut lines = Lines::open(path)?;
            for _ in 0..LOOKED_AT {
                let Some(line) = lines.next(|line| RawRequest::read(line, &Clock::default()))?
                else {
                    break;
                };
                first.see(&line.found);
                in_raw.insert(line.found.id);
                let body = line.body.as_deref().map(serde_json::from_slice::<Value>);
                if let Some(Ok(body)) = body {
                    first.see_body(&body);
                }
            }
        }
        if let Some(path) = lines {
            let mut lines = Lines::open(path)?;
            let mut counted = None;
            for _ in 0..LOOKED_AT_BESIDE {
                let Some(line) = lines.next(|line| ValueLine::read(line, &Clock::default()))?
                else {
                    break;
                };
                first.see(&line.found);
                in_lines.insert(line.found.id);
                let has = |tag| line.values.has(tag);
                first.streaming |= has(tag::TIME_TO_FIRST_TOKEN);
                if line.found.verdict.is_none() && has(tag::USAGE_PROMPT_TOKENS) {
                    counted.get_or_insert(has(tag::USAGE_PROMPT_TOKENS_DIFF_PCT));
                }
            }
            first.by_server = counted == Some(false);
        }
        first.raw_is_of_another_run =
            !in_raw.is_empty() && !in_lines.is_empty() && in_raw.is_disjoint(&in_lines);
        Ok(first)
    }

    fn see(&mut self, found: &Found) {
        let start = found.record.times.admitted.nanos();
        if self.start == 0 || start < self.start {
            self.start = start;
        }
        self.is_ours |= found.is_ours;
        self.has_plan |= found.record.cancel.is_some();
    }

    fn see_body(&mut self, body: &Value) {
        self.streaming |= body.get("stream").and_then(Value::as_bool) == Some(true);
        if self.model.is_none() {
            let model = body.get("model").and_then(Value::as_str);
            self.model = model.map(str::to_owned);
        }
        self.kind = if body.get("messages").is_some() {
            EndpointKind::Chat
        } else if body.get("prompt").is_some() {
            EndpointKind::Completions
        } else {
            EndpointKind::Raw
        };
    }

    /// What was asked, as far as it can be read off them.
    pub(super) fn tell(&self, facts: &mut RunFacts) {
        facts.streaming = self.streaming;
        facts.answers = Answers::of(self.kind);
        facts.models.extend(self.model.clone());
        if let Some(recorded) = &mut facts.recorded {
            recorded.client_counts = !self.by_server;
        }
    }
}
