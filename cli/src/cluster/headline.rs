//! A run in a few figures, as the message that Kubernetes keeps of a container that has ended.

use std::{fs::OpenOptions, io::Write, path::Path};

use anyhow::{Context, Result};
use pinfire_artifacts::read_json;
use serde_json::{Map, Value, json};

use crate::environment;

/// What Kubernetes takes of such a message.
const BYTES: usize = 4_096;

/// Characters of a reason that are kept.
const REASON: usize = 1_000;

/// Where a container leaves it, unless PINFIRE_TERMINATION_LOG names another file.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// The metrics that are named, and the statistics of each.
const METRICS: [(&str, &[&str]); 9] = [
    ("request_count", &["avg"]),
    ("error_request_count", &["avg"]),
    ("cancelled_request_count", &["avg"]),
    ("request_throughput", &["avg"]),
    ("output_token_throughput", &["avg"]),
    ("time_to_first_token", &["avg", "p50", "p90", "p99"]),
    ("inter_token_latency", &["avg", "p50", "p90", "p99"]),
    ("request_latency", &["avg", "p50", "p90", "p99"]),
    ("effective_latency", &["avg", "p50", "p90", "p99"]),
];

/// Writes it where the container's message is, if this is a container that has one. The file is a
/// mount of its own: it is written as it is, never replaced.
///
/// # Errors
/// The summary cannot be read, or the message not be written.
pub fn leave(summary: &Path) -> Result<()> {
    let named = environment::text("TERMINATION_LOG").map(|(_, path)| path);
    let path = named.unwrap_or_else(|| TERMINATION_LOG.to_owned());
    let path = Path::new(&path);
    if !path.is_file() {
        return Ok(());
    }
    let text = headline(&read_json(summary)?);
    let opened = OpenOptions::new().write(true).truncate(true).open(path);
    opened
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("the message of the container, {}", path.display()))
}

/// The few figures of a summary, in one line.
fn headline(summary: &Value) -> String {
    let mut line = Map::new();
    for key in ["is_complete", "was_cancelled"] {
        if let Some(value) = summary.get(key) {
            line.insert(key.to_owned(), value.clone());
        }
    }
    if let Some(reason) = summary.get("incomplete_reason").and_then(Value::as_str) {
        let reason: String = reason.chars().take(REASON).collect();
        line.insert("incomplete_reason".to_owned(), json!(reason));
    }
    for (metric, statistics) in METRICS {
        let Some(found) = summary.get(metric) else {
            continue;
        };
        let of = statistics
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), found.get(name)?.clone())));
        let mut figures: Map<String, Value> = of.collect();
        if let Some(unit) = found.get("unit") {
            figures.insert("unit".to_owned(), unit.clone());
        }
        line.insert(metric.to_owned(), Value::Object(figures));
    }
    let text = Value::Object(line).to_string();
    match text.len() <= BYTES {
        true => text,
        // Only a reason in many bytes a character can be so long.
        false => json!({"is_complete": summary.get("is_complete")}).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_headline_has_the_figures_and_fits() {
        let mut summary = json!({
            "request_count": {"unit": "requests", "avg": 60.0},
            "time_to_first_token": {"unit": "ms", "avg": 1.0, "p50": 2.0, "p99": 3.0, "p1": 9.0},
            "is_complete": false,
            "incomplete_reason": "shard 3 of 8 is missing",
            "input_config": {"secret": 1},
        });
        let text = headline(&summary);
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["request_count"]["avg"], 60.0);
        assert_eq!(read["time_to_first_token"]["p99"], 3.0);
        assert_eq!(read["incomplete_reason"], "shard 3 of 8 is missing");
        assert!(read.get("input_config").is_none());
        for long in ["x".repeat(100_000), "\u{1}".repeat(100_000)] {
            summary["incomplete_reason"] = json!(long);
            let text = headline(&summary);
            assert!(text.len() <= BYTES, "{}", text.len());
            assert!(serde_json::from_str::<Value>(&text).is_ok());
        }
    }

    #[test]
    fn a_message_is_written_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let summary = folder.path().join("summary.json");
        std::fs::write(&summary, r#"{"is_complete": true}"#).unwrap();
        // Without such a file there is nothing to do.
        leave(&summary).unwrap();
    }
}
