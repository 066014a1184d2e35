//! What a run was, from its summary: AIPerf's layout of today, the one of older versions, and ours.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use pinfire_base::clock::{Span, WallAnchor};
use pinfire_base::record::Leave;
use pinfire_dialect::{Answers, EndpointKind};
use serde_json::{Map, Value};

use super::RebuildError;
use super::line::at;
use crate::facts::{
    CancellationFacts, DatasetFacts, LengthFacts, PhaseFacts, PhaseWindow, RunFacts, ToldRun,
};
use crate::scrape::gpu;

/// What is taken over as it stands: a report from files cannot know it better.
const TAKEN_OVER: [&str; 7] = [
    "input_config",
    "run_info",
    "start_time",
    "end_time",
    "telemetry_data",
    "client_health",
    "request_accounting",
];

/// The summary of a run, or what it wrote down at its start.
pub(super) struct Summary(Map<String, Value>);

/// Tokens were counted how, and by what.
pub(super) struct Counting {
    /// By the server.
    pub(super) by_server: bool,
    /// Name of the tokenizer.
    pub(super) tokenizer: Option<String>,
}

impl Summary {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Self, RebuildError> {
        let bytes = fs::read(path).map_err(|cause| RebuildError::read(path, cause))?;
        serde_json::from_slice(&bytes).map(Self).map_err(|what| {
            let what = format!("it is no summary of a run: {what}");
            RebuildError::read(path, std::io::Error::other(what))
        })
    }

    /// One of a run that has none.
    pub(super) fn none() -> Self {
        Self(Map::new())
    }

    pub(super) fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    fn at(&self, pointer: &str) -> Option<&Value> {
        let (first, rest) = pointer.split_once('/').unwrap_or((pointer, ""));
        let value = self.0.get(first)?;
        if rest.is_empty() {
            return Some(value);
        }
        value.pointer(&format!("/{rest}"))
    }

    fn config(&self, pointers: &[&str]) -> Option<&Value> {
        let mut found = pointers
            .iter()
            .map(|pointer| self.at(&format!("input_config/{pointer}")));
        found.find_map(|value| value.filter(|value| !value.is_null()))
    }

    fn text(&self, pointers: &[&str]) -> Option<String> {
        Some(self.config(pointers)?.as_str()?.to_owned())
    }

    fn number(&self, pointers: &[&str]) -> Option<f64> {
        self.config(pointers)?.as_f64()
    }

    fn flag(&self, pointers: &[&str]) -> bool {
        self.config(pointers).and_then(Value::as_bool) == Some(true)
    }

    /// Whether pinfire wrote it.
    pub(super) fn is_ours(&self) -> Option<bool> {
        let ours = self.0.contains_key("tool_version");
        (!self.is_none()).then_some(ours)
    }

    /// Why the run is incomplete, if it says so.
    pub(super) fn incomplete(&self) -> Option<String> {
        let whole = self.at("is_complete").and_then(Value::as_bool);
        let reason = self.at("incomplete_reason").and_then(Value::as_str);
        (whole == Some(false)).then(|| reason.unwrap_or("the run ended early").to_owned())
    }

    pub(super) fn counting(&self) -> Counting {
        Counting {
            by_server: self.flag(&["endpoint/use_server_token_count"]),
            tokenizer: self.text(&["tokenizer/name"]),
        }
    }

    /// The limits of `--goodput`, as they are typed.
    pub(super) fn promises(&self) -> String {
        let told = self.config(&["slos", "input/goodput"]);
        let pairs = told.and_then(Value::as_object).into_iter().flatten();
        let pairs: Vec<String> = pairs
            .filter_map(|(tag, limit)| Some(format!("{tag}:{}", limit.as_f64()?)))
            .collect();
        pairs.join(" ")
    }

    /// The length of `--slice-duration`.
    pub(super) fn slice(&self) -> Option<Span> {
        let seconds = self.number(&["artifacts/slice_duration", "output/slice_duration"])?;
        (seconds > 0.0).then(|| Span::from_secs_f64(seconds))
    }

    /// The facts of the run, as far as they are told.
    pub(super) fn facts(&self, version: &str) -> Result<RunFacts, RebuildError> {
        let id = self.at("benchmark_id").and_then(Value::as_str);
        // Stamps of rebuilt records are Unix nanoseconds.
        let anchor = WallAnchor::fixed(at(1), 1);
        let mut facts = RunFacts::new(id.unwrap_or("000000000000"), version, anchor);
        facts.models = self.models();
        facts.urls = self.texts(&["endpoint/urls", "endpoint/url"]);
        if let Some(kind) = self.text(&["endpoint/type"]) {
            let kind = EndpointKind::from_name(&kind)
                .map_err(|what| RebuildError::Endpoint(what.to_string()))?;
            facts.answers = Answers::of(kind);
        }
        facts.streaming = self.flag(&["endpoint/streaming"]);
        facts.per_chunk_usage = self.flag(&["endpoint/per_chunk_usage"]);
        facts.dataset = self.dataset();
        self.phases(&mut facts);
        facts.random_seed = self
            .at("run_info/random_seed")
            .or_else(|| self.config(&["datasets/0/random_seed", "input/random_seed"]))
            .and_then(Value::as_u64);
        let command = self
            .at("run_info/cli_command")
            .or_else(|| self.config(&["cli_command"]));
        facts.cli_command = command
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let counting = self.counting();
        facts.tokenizer.clone_from(&counting.tokenizer);
        let taken = self
            .0
            .iter()
            .filter(|(key, _)| TAKEN_OVER.contains(&key.as_str()) || gpu::bare(key).is_some());
        facts.told = Some(ToldRun {
            client_counts: !counting.by_server,
            summary: taken.map(|(k, v)| (k.clone(), v.clone())).collect(),
        });
        Ok(facts)
    }

    fn texts(&self, pointers: &[&str]) -> Vec<String> {
        match self.config(pointers) {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(many)) => many
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        }
    }

    fn models(&self) -> Vec<String> {
        let items = self
            .config(&["models/items"])
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let named: Vec<String> = items
            .filter_map(|item| Some(item.get("name")?.as_str()?.to_owned()))
            .collect();
        if named.is_empty() {
            self.texts(&["endpoint/model_names", "endpoint/model_name"])
        } else {
            named
        }
    }

    fn length(&self, paths: [&str; 2]) -> Option<LengthFacts> {
        let mean = paths.map(|path| format!("{path}/mean"));
        let stddev = paths.map(|path| format!("{path}/stddev"));
        Some(LengthFacts {
            mean: self.number(&mean.each_ref().map(String::as_str))?,
            stddev: self
                .number(&stddev.each_ref().map(String::as_str))
                .unwrap_or(0.0),
        })
    }

    fn dataset(&self) -> DatasetFacts {
        DatasetFacts {
            kind: self.text(&["datasets/0/type"]).unwrap_or_default(),
            entries: self
                .number(&[
                    "datasets/0/entries",
                    "input/conversation/num",
                    "input/num_dataset_entries",
                ])
                .unwrap_or(0.0) as u64,
            isl: self.length(["datasets/0/prompts/isl", "input/prompt/input_tokens"]),
            osl: self.length(["datasets/0/prompts/osl", "input/prompt/output_tokens"]),
            file: self
                .text(&["datasets/0/path", "input/file"])
                .map(PathBuf::from),
        }
    }

    fn phases(&self, facts: &mut RunFacts) {
        let phases = self
            .config(&["phases"])
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        if phases.is_empty() {
            self.flag_oriented(facts);
            return;
        }
        let is_warmup =
            |phase: &&Value| phase.get("kind").and_then(Value::as_str) == Some("warmup");
        facts.warmup = phases.iter().find(is_warmup).map(phase);
        let Some(measured) = phases.iter().find(|one| !is_warmup(one)) else {
            return;
        };
        facts.profiling = phase(measured);
        let cancel = measured.get("cancellation");
        let rate = cancel.and_then(|cancel| cancel.get("rate")?.as_f64());
        let field = |key: &str| cancel.and_then(|cancel| cancel.get(key));
        let text = |key: &str| field(key).and_then(Value::as_str);
        let delay = field("delay").and_then(Value::as_f64).unwrap_or(0.0);
        facts.cancellation = rate.map(|rate_pct| {
            let mut asked = CancellationFacts::of(rate_pct, Span::from_secs_f64(delay));
            if let Some(delay) = text("delay").and_then(|delay| delay.parse().ok()) {
                asked.delay = delay;
            }
            if let Some(trigger) = text("trigger") {
                trigger.clone_into(&mut asked.trigger);
            }
            let mode = text("mode");
            let leave = Leave::ALL
                .into_iter()
                .find(|leave| mode == Some(leave.name()));
            asked.mode = leave.unwrap_or_default();
            let wave = field("wave").and_then(Value::as_f64);
            asked.wave = wave.map(Span::from_secs_f64);
            asked
        });
    }

    /// The layout of older versions: by flags.
    fn flag_oriented(&self, facts: &mut RunFacts) {
        let number = |name: &str| self.number(&[&format!("loadgen/{name}")]);
        let rate = number("request_rate");
        let kind = match rate {
            Some(_) => self
                .text(&["loadgen/arrival_pattern", "loadgen/request_rate_mode"])
                .unwrap_or_else(|| "poisson".to_owned()),
            None => "concurrency".to_owned(),
        };
        facts.profiling = PhaseFacts {
            kind: kind.clone(),
            requests: number("request_count").map(|count| count as u64),
            duration_s: number("benchmark_duration"),
            concurrency: number("concurrency").map(|slots| slots as u32),
            rate,
            seamless: false,
        };
        let warmup = number("warmup_request_count").filter(|&count| count > 0.0);
        facts.warmup = warmup.map(|count| PhaseFacts {
            requests: Some(count as u64),
            duration_s: None,
            ..facts.profiling.clone()
        });
        let cancelled = number("request_cancellation_rate").filter(|&rate| rate > 0.0);
        let delay = number("request_cancellation_delay").unwrap_or(0.0);
        let delay = Span::from_secs_f64(delay);
        facts.cancellation = cancelled.map(|rate_pct| CancellationFacts::of(rate_pct, delay));
    }

    /// The window of the measured phase. The summary has local times without a zone; `first` is the
    /// wall time (ns) of the first request, which settles the zone to a quarter of an hour.
    pub(super) fn window(&self, first: u64) -> Option<PhaseWindow> {
        let time = |key: &str| {
            let text = self.at(key)?.as_str()?;
            let civil: DateTime = text.parse().ok()?;
            let zoned = civil.to_zoned(TimeZone::UTC).ok()?;
            i64::try_from(zoned.timestamp().as_nanosecond()).ok()
        };
        const QUARTER: i64 = 900_000_000_000;
        let start = time("start_time")?;
        let ahead = first as i64 - start;
        // The first request is sent at once, or it comes after the warmup: never before the start.
        let zone = (ahead + QUARTER / 2).div_euclid(QUARTER) * QUARTER;
        let unix = |nanos: i64| at(u64::try_from(nanos + zone).unwrap_or(1));
        let start_at = unix(start);
        let exact = self
            .at("request_accounting/phase_duration_sec")
            .and_then(Value::as_f64);
        let end = match exact {
            Some(seconds) => Some(start_at + Span::from_secs_f64(seconds)),
            None => time("end_time").map(unix),
        };
        Some(PhaseWindow {
            start: start_at,
            end,
        })
    }
}

fn phase(told: &Value) -> PhaseFacts {
    let number = |key: &str| told.get(key)?.as_f64();
    PhaseFacts {
        kind: told
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        requests: number("requests").map(|count| count as u64),
        duration_s: number("duration"),
        concurrency: number("concurrency").map(|slots| slots as u32),
        rate: number("rate"),
        seamless: told.get("seamless").and_then(Value::as_bool) == Some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn summary(value: Value) -> Summary {
        Summary(value.as_object().unwrap().clone())
    }

    #[test]
    fn the_layout_of_older_versions() {
        let facts = summary(json!({"input_config": {
            "endpoint": {"model_names": ["m"], "type": "completions", "streaming": true, "url": "http://h"},
            "loadgen": {"concurrency": 8, "request_count": 100, "warmup_request_count": 5,
                        "request_cancellation_rate": 20.0, "request_cancellation_delay": 0.5},
            "input": {"prompt": {"input_tokens": {"mean": 550, "stddev": 10}}},
            "tokenizer": {"name": "t"}
        }}))
        .facts("1")
        .unwrap();
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
        assert!(facts.told.unwrap().client_counts);
    }

    #[test]
    fn local_times_are_placed_by_the_first_request() {
        // 08:00 UTC is 10:00 two hours east of it.
        let summary = summary(json!({
            "start_time": "2027-01-15T10:00:00.000000", "end_time": "2027-01-15T10:00:00.141500"
        }));
        let window = summary.window(1_800_000_000_000_900_000).unwrap();
        assert_eq!(window.start, at(1_800_000_000_000_000_000));
        assert_eq!(window.end, Some(at(1_800_000_000_141_500_000)));
    }
}
