//! What went wrong with requests.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The error of one request.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ErrorDetails<'a> {
    /// HTTP status or the like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
    /// Name of the kind.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Cow<'a, str>>,
    /// What happened, equal for equal errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Cow<'a, str>>,
    /// What differs from request to request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cow<'a, str>>,
}

impl ErrorDetails<'_> {
    /// The same with texts of its own.
    pub fn owned(self) -> ErrorDetails<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        ErrorDetails {
            code: self.code,
            kind: self.kind.map(own),
            message: self.message.map(own),
            cause: self.cause.map(own),
        }
    }
}

/// Equal errors and how often they came.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ErrorCount {
    /// The error, without what differs from request to request: where messages differ in ids,
    /// numbers, times or addresses, marks such as `<id>` stand for them.
    pub error_details: ErrorDetails<'static>,
    /// How many requests had it.
    pub count: u64,
    /// Where messages differ: the first of them as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
}
