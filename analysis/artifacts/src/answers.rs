//! Why answers ended and what was unusual about them, of one request and of all. Both are pinfire's
//! own.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::Ordered;

/// Of one request: what stands in its line if there is anything of it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LineAnswer<'a> {
    /// How many choices it has, if several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choices: Option<u64>,
    /// Why each choice ended, in the server's words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub finish_reasons: Vec<Cow<'a, str>>,
    /// The model declined.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
    /// How the body was read where its head says otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read_as: Vec<Cow<'a, str>>,
    /// Events that are neither JSON nor a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable_events: Option<u32>,
    /// How the first of them begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable_begins: Option<Cow<'a, str>>,
    /// Events that a failed request had received, if there was content among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_received: Option<u32>,
    /// The output in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_text: Option<Cow<'a, str>>,
    /// The reasoning in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_text: Option<Cow<'a, str>>,
    /// Time to the first of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_to_first_token_ms: Option<f64>,
}

impl LineAnswer<'_> {
    /// The same with texts of its own.
    pub fn owned(self) -> LineAnswer<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        LineAnswer {
            choices: self.choices,
            finish_reasons: self.finish_reasons.into_iter().map(own).collect(),
            refused: self.refused,
            read_as: self.read_as.into_iter().map(own).collect(),
            unreadable_events: self.unreadable_events,
            unreadable_begins: self.unreadable_begins.map(own),
            events_received: self.events_received,
            output_text: self.output_text.map(own),
            reasoning_text: self.reasoning_text.map(own),
            time_to_first_token_ms: self.time_to_first_token_ms,
        }
    }
}

/// Of all requests of the measured phase.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AnswerCounts {
    /// Choices by the reason of their end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<std::collections::BTreeMap<String, u64>>")
    )]
    pub finish_reasons: Option<Ordered<u64>>,
    /// Answers with several choices, by how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<std::collections::BTreeMap<String, u64>>")
    )]
    pub several_choices: Option<Ordered<u64>>,
    /// Answers in which the model declined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<u64>,
    /// Answers that were read otherwise than they were sent or declared, by how.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<std::collections::BTreeMap<String, u64>>")
    )]
    pub read_as: Option<Ordered<u64>>,
    /// Events that could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable_events: Option<UnreadableEvents>,
}

/// Events that could not be read.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UnreadableEvents {
    /// Requests with at least one.
    pub requests: u64,
    /// All of them.
    pub events: u64,
    /// How the first of them begins.
    pub first_begins: Option<String>,
}
