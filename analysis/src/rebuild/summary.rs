//! What a run was, from its summary: [`InputConfig`] and the rest back to facts.

use std::path::PathBuf;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use pinfire_artifacts::config::{CancellationConfig, Delay, InputConfig, Length, PhaseConfig};
use pinfire_artifacts::{Ordered, Summary};
use pinfire_base::clock::{Span, WallAnchor};
use pinfire_base::record::{CancelTrigger, Leave, PlannedCancellation};
use pinfire_dialect::{Answers, EndpointKind};

use super::error::RebuildError;
use super::line::at;
use crate::facts::{DatasetFacts, LengthFacts, PhaseFacts, PhaseWindow, RecordedRun, RunFacts};

/// Tokens were counted how, and by what.
pub(super) struct Counting {
    /// By the server.
    pub(super) by_server: bool,
    /// Name of the tokenizer.
    pub(super) tokenizer: Option<String>,
}

impl Counting {
    /// As the run counted.
    pub(super) fn of(summary: &Summary) -> Self {
        let config = summary.config();
        let tokenizer = config.and_then(|config| config.tokenizer.as_ref());
        Self {
            by_server: config.is_some_and(|config| config.endpoint.use_server_token_count),
            tokenizer: tokenizer.map(|tokenizer| tokenizer.name.clone()),
        }
    }
}

/// Why the run is incomplete, if it says so.
pub(super) fn incomplete(summary: &Summary) -> Option<String> {
    let reason = summary.incomplete_reason.as_deref();
    let reason = reason.unwrap_or("the run ended early");
    (summary.is_complete == Some(false)).then(|| reason.to_owned())
}

/// The limits of `--goodput`, as they are typed.
pub(super) fn promises(slos: &Ordered<f64>) -> String {
    let pairs = slos.iter().map(|(tag, limit)| format!("{tag}:{limit}"));
    pairs.collect::<Vec<_>>().join(" ")
}

/// The facts of a run as its summary tells them; few of a run that has none.
pub(super) fn facts(summary: Summary, version: &str) -> Result<RunFacts, RebuildError> {
    let id = summary.head.benchmark_id.as_deref();
    // Stamps of rebuilt records are Unix nanoseconds.
    let anchor = WallAnchor::fixed(at(1), 1);
    let mut facts = RunFacts::new(id.unwrap_or("000000000000"), version, anchor);
    facts.streaming = false;
    // So it is where nothing else is told.
    "concurrency".clone_into(&mut facts.profiling.kind);
    if let Some(config) = summary.config() {
        asked(config, &mut facts)?;
    }
    facts.random_seed = summary.random_seed();
    summary
        .cli_command()
        .unwrap_or_default()
        .clone_into(&mut facts.cli_command);
    let counting = Counting::of(&summary);
    facts.tokenizer = counting.tokenizer;
    facts.recorded = Some(RecordedRun {
        client_counts: !counting.by_server,
        summary,
    });
    Ok(facts)
}

/// What was asked, from its view in the files.
fn asked(config: &InputConfig, facts: &mut RunFacts) -> Result<(), RebuildError> {
    facts.models = config.model_names().map(str::to_owned).collect();
    facts.urls.clone_from(&config.endpoint.urls);
    let kind = config.endpoint.kind.as_str();
    if !kind.is_empty() {
        let kind = EndpointKind::from_name(kind)
            .map_err(|what| RebuildError::Endpoint(what.to_string()))?;
        facts.answers = Answers::of(kind);
    }
    facts.streaming = config.endpoint.streaming;
    facts.per_chunk_usage = config.endpoint.per_chunk_usage;
    let extra = config.endpoint.extra.iter();
    facts.extra = extra
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if let Some(dataset) = config.dataset() {
        facts.dataset = DatasetFacts {
            kind: dataset.kind.clone(),
            entries: dataset.entries.unwrap_or(0),
            isl: dataset.prompts.isl.map(length),
            osl: dataset.prompts.osl.map(length),
            file: dataset.path.as_ref().map(PathBuf::from),
        };
    }
    facts.warmup = config.warmup().map(phase);
    if let Some(measured) = config.profiling() {
        facts.profiling = phase(measured);
    }
    facts.cancellation = config.cancellation().map(cancellation);
    let slice = config.artifacts.slice_duration;
    facts.slice = slice
        .filter(|seconds| *seconds > 0.0)
        .map(Span::from_secs_f64);
    Ok(())
}

fn length(recorded: Length) -> LengthFacts {
    LengthFacts {
        mean: recorded.mean,
        stddev: recorded.stddev.unwrap_or(0.0),
    }
}

fn phase(recorded: &PhaseConfig) -> PhaseFacts {
    PhaseFacts {
        kind: recorded.load.clone(),
        requests: recorded.requests,
        duration_s: recorded.duration,
        concurrency: recorded
            .concurrency
            .map(|slots| u32::try_from(slots).unwrap_or(u32::MAX)),
        rate: recorded.rate,
        seamless: recorded.seamless,
    }
}

fn cancellation(recorded: &CancellationConfig) -> PlannedCancellation {
    let seconds = match recorded.delay {
        Delay::Seconds(seconds) => seconds,
        Delay::Drawn(_) => 0.0,
    };
    let mut asked = PlannedCancellation::after(recorded.rate, Span::from_secs_f64(seconds));
    if let Delay::Drawn(text) = &recorded.delay
        && let Ok(delay) = text.parse()
    {
        asked.delay = delay;
    }
    if let Some(trigger) = recorded
        .trigger
        .as_deref()
        .and_then(CancelTrigger::from_name)
    {
        asked.trigger = trigger;
    }
    let mode = recorded.mode.as_deref();
    let leave = Leave::ALL
        .into_iter()
        .find(|leave| mode == Some(leave.name()));
    asked.leave = leave.unwrap_or_default();
    asked.wave = recorded.wave.map(Span::from_secs_f64);
    asked
}

/// The window of the measured phase. The summary has local times without a zone; `first` is the
/// wall time (ns) of the first request, which settles the zone to a quarter of an hour.
pub(super) fn window(summary: &Summary, first: u64) -> Option<PhaseWindow> {
    let time = |text: &str| {
        let civil: DateTime = text.parse().ok()?;
        let zoned = civil.to_zoned(TimeZone::UTC).ok()?;
        i64::try_from(zoned.timestamp().as_nanosecond()).ok()
    };
    const QUARTER: i64 = 900_000_000_000;
    let start = time(summary.start_time.as_deref()?)?;
    let ahead = first as i64 - start;
    // The first request is sent at once, or it comes after the warmup: never before the start.
    let zone = (ahead + QUARTER / 2).div_euclid(QUARTER) * QUARTER;
    let unix = |nanos: i64| at(u64::try_from(nanos + zone).unwrap_or(1));
    let start_at = unix(start);
    let counts = summary.request_accounting.as_deref();
    let end = match counts.and_then(|counts| counts.phase_duration_sec) {
        Some(seconds) => Some(start_at + Span::from_secs_f64(seconds)),
        None => summary.end_time.as_deref().and_then(time).map(unix),
    };
    Some(PhaseWindow {
        start: start_at,
        end,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn summary(value: Value) -> Summary {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_layout_of_older_versions() {
        let summary = summary(json!({"input_config": {
            "endpoint": {"model_names": ["m"], "type": "completions", "streaming": true, "url": "http://h"},
            "loadgen": {"concurrency": 8, "request_count": 100, "warmup_request_count": 5,
                        "request_cancellation_rate": 20.0, "request_cancellation_delay": 0.5},
            "input": {"prompt": {"input_tokens": {"mean": 550, "stddev": 10}}},
            "tokenizer": {"name": "t"}
        }}));
        let facts = facts(summary, "1").unwrap();
        assert_eq!(
            (facts.models, facts.urls),
            (vec!["m".to_owned()], vec!["http://h".to_owned()])
        );
        assert_eq!(facts.answers.kind, EndpointKind::Completions);
        assert_eq!(facts.profiling.concurrency, Some(8));
        assert_eq!(facts.warmup.unwrap().requests, Some(5));
        let cancel = facts.cancellation.unwrap();
        assert_eq!(
            (cancel.rate_pct, cancel.delay.mean().as_secs_f64()),
            (20.0, 0.5)
        );
        assert_eq!(facts.dataset.isl.unwrap().mean, 550.0);
        assert_eq!(facts.tokenizer.as_deref(), Some("t"));
        assert!(facts.recorded.unwrap().client_counts);
    }

    #[test]
    fn local_times_are_placed_by_the_first_request() {
        // 08:00 UTC is 10:00 two hours east of it.
        let summary = summary(json!({
            "start_time": "2027-01-15T10:00:00.000000", "end_time": "2027-01-15T10:00:00.141500"
        }));
        let window = window(&summary, 1_800_000_000_000_900_000).unwrap();
        assert_eq!(window.start, at(1_800_000_000_000_000_000));
        assert_eq!(window.end, Some(at(1_800_000_000_141_500_000)));
    }
}
