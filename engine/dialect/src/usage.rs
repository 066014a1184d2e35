//! The usage object under all the names that servers give its fields.

use serde_json::{Map, Value};

use super::answer::field;

/// Token counts that a server reported; an absent field was not reported, 0 was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Prompt tokens, cached ones included.
    pub prompt: Option<u64>,
    /// Completion tokens, reasoning included.
    pub completion: Option<u64>,
    /// Total as reported, never computed.
    pub total: Option<u64>,
    /// Prompt tokens read from a cache.
    pub cache_read: Option<u64>,
    /// Prompt tokens written to a cache.
    pub cache_write: Option<u64>,
    /// Reasoning tokens.
    pub reasoning: Option<u64>,
    /// A field of the server's has something that cannot be a count (negative, beyond 2^32, a
    /// word); it counts as not reported.
    pub no_count: bool,
}

const PROMPT: &[&str] = &[
    "prompt_tokens",
    "input_tokens",
    "promptTokenCount",
    "inputTokens",
    "input_token_count",
    "input_length",
    "prompt_eval_count",
];
const COMPLETION: &[&str] = &[
    "completion_tokens",
    "output_tokens",
    "candidatesTokenCount",
    "outputTokens",
    "generated_token_count",
    "generated_tokens",
    "eval_count",
];
const TOTAL: &[&str] = &["total_tokens", "totalTokenCount", "totalTokens"];
const CACHE_READ: &[&str] = &[
    "cache_read_input_tokens",
    "prompt_cache_hit_tokens",
    "cachedContentTokenCount",
    "cacheReadInputTokens",
    "cached_tokens",
];
const CACHE_WRITE: &[&str] = &["cache_creation_input_tokens", "cacheWriteInputTokens"];
const PROMPT_DETAILS: &[&str] = &["prompt_tokens_details", "input_tokens_details"];
const COMPLETION_DETAILS: &[&str] = &["completion_tokens_details", "output_tokens_details"];
/// Providers with these names count cached tokens apart from the input.
const EXCLUSIVE: &[(&str, &str, &str)] = &[
    (
        "input_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
    ),
    (
        "inputTokens",
        "cacheReadInputTokens",
        "cacheWriteInputTokens",
    ),
];

impl Usage {
    /// The usage in a response, if there is one with at least one field.
    pub fn in_response(response: &Value) -> Option<Self> {
        let fields = response.as_object()?;
        let inner = |outer: &str, name: &str| field(field(fields, outer)?.as_object()?, name);
        [
            field(fields, "usage"),
            field(fields, "usageMetadata"),
            inner("meta", "tokens"),
            field(fields, "tokens"),
            inner("x_groq", "usage"),
            // Text Generation Inference, and Ollama.
            inner("details", "generated_tokens").and_then(|_| field(fields, "details")),
            field(fields, "eval_count").map(|_| response),
        ]
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .find(|fields| !fields.is_empty())
        .map(Self::of_fields)
    }

    /// The counts of a usage object.
    pub(super) fn of_fields(object: &Map<String, Value>) -> Self {
        let cache_read =
            detail(object, PROMPT_DETAILS, "cached_tokens").or_else(|| first(object, CACHE_READ));
        Self {
            prompt: exclusive_prompt(object).or_else(|| first(object, PROMPT)),
            completion: first(object, COMPLETION),
            total: first(object, TOTAL),
            cache_read,
            cache_write: first(object, CACHE_WRITE),
            reasoning: detail(object, COMPLETION_DETAILS, "reasoning_tokens")
                .or_else(|| first(object, &["thoughtsTokenCount"])),
            no_count: has_no_count(object),
        }
    }
}

/// Prompt tokens of a provider that leaves cached tokens out of its input count.
fn exclusive_prompt(object: &Map<String, Value>) -> Option<u64> {
    EXCLUSIVE.iter().find_map(|&(input, read, write)| {
        let (read, write) = (first(object, &[read]), first(object, &[write]));
        if read.is_none() && write.is_none() {
            return None;
        }
        Some(first(object, &[input])? + read.unwrap_or(0) + write.unwrap_or(0))
    })
}

/// Whether something stands where a count belongs and is none. `null` says nothing.
fn has_no_count(object: &Map<String, Value>) -> bool {
    let wrong = |value: &Value| !value.is_null() && number(value).is_none();
    let tops = [PROMPT, COMPLETION, TOTAL, CACHE_READ, CACHE_WRITE];
    let parts = [
        (PROMPT_DETAILS, "cached_tokens"),
        (COMPLETION_DETAILS, "reasoning_tokens"),
    ];
    let tops = tops.into_iter().flatten();
    let parts = parts.into_iter().flat_map(|(parents, name)| {
        let details = parents.iter().filter_map(|parent| field(object, parent));
        details.filter_map(move |details| details.get(name))
    });
    let mut all = tops.filter_map(|name| field(object, name)).chain(parts);
    all.any(wrong)
}

fn first(object: &Map<String, Value>, names: &[&str]) -> Option<u64> {
    names.iter().find_map(|name| number(field(object, name)?))
}

fn detail(object: &Map<String, Value>, parents: &[&str], name: &str) -> Option<u64> {
    parents
        .iter()
        .find_map(|parent| number(field(object, parent)?.get(name)?))
}

/// No answer has so many tokens; their sums over all requests of a run fit a `u64`.
pub(super) const MOST: u64 = 1 << 32;

/// A count, also when a server writes it as `12.0` or `"12"`. What cannot be one (negative, beyond
/// [`MOST`]) is none.
fn number(value: &Value) -> Option<u64> {
    let count = match value {
        Value::String(text) => text.parse().ok(),
        _ => value
            .as_u64()
            .or_else(|| value.as_f64().filter(|f| *f >= 0.0).map(|f| f as u64)),
    };
    count.filter(|count| *count < MOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_and_details_are_found() {
        let usage = Usage::in_response(&json!({"usage": {
            "prompt_tokens": 11, "completion_tokens": 8, "total_tokens": 19,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 3}}}))
        .unwrap();
        assert_eq!(
            usage,
            Usage {
                prompt: Some(11),
                completion: Some(8),
                total: Some(19),
                cache_read: Some(0),
                cache_write: None,
                reasoning: Some(3),
                no_count: false,
            }
        );
    }

    #[test]
    fn what_cannot_be_a_count_is_none() {
        let counts = [
            (json!("12"), Some(12)),
            (json!(12.0), Some(12)),
            (json!(4_294_967_295_u64), Some(4_294_967_295)),
            (json!(4_294_967_296_u64), None),
            (json!(1e30), None),
            (json!(-3), None),
            (json!("many"), None),
            (json!(true), None),
        ];
        for (value, right) in counts {
            assert_eq!(number(&value), right, "{value}");
            let usage = Usage::in_response(&json!({"usage": {"prompt_tokens": value}})).unwrap();
            assert_eq!(
                (usage.prompt, usage.no_count),
                (right, right.is_none()),
                "{value}"
            );
            let details = json!({"reasoning_tokens": value});
            let usage = json!({"usage": {"completion_tokens_details": details}});
            let usage = Usage::in_response(&usage).unwrap();
            assert_eq!(
                (usage.reasoning, usage.no_count),
                (right, right.is_none()),
                "{value}"
            );
        }
    }

    #[test]
    fn empty_and_null_objects_are_no_usage() {
        assert_eq!(Usage::in_response(&json!({"usage": null})), None);
        assert_eq!(Usage::in_response(&json!({"usage": {}})), None);
    }

    #[test]
    fn cached_tokens_are_added_where_the_provider_leaves_them_out() {
        let anthropic = json!({"usage": {"input_tokens": 5, "cache_read_input_tokens": 90,
            "cache_creation_input_tokens": 7, "output_tokens": 2}});
        let usage = Usage::in_response(&anthropic).unwrap();
        assert_eq!((usage.prompt, usage.cache_read), (Some(102), Some(90)));
        assert_eq!(usage.total, None);
    }
}
