//! `input_config` of a summary: what was asked, in AIPerf's layout, defaults left out.
//!
//! A value of another type than it should have is as one that is not there: AIPerf writes more than
//! is known here, and has written it in other ways. What its older versions said by flags is read
//! into the same places ([`Part::settled`]).

use serde::de::{DeserializeOwned, Deserializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Carried, Ordered, Part};

/// What was asked.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InputConfig {
    /// The models.
    #[serde(deserialize_with = "lenient")]
    pub models: Models,
    /// Where requests go.
    #[serde(deserialize_with = "lenient")]
    pub endpoint: EndpointConfig,
    /// Where they come from.
    #[serde(deserialize_with = "lenient")]
    pub datasets: Vec<DatasetConfig>,
    /// When they are sent.
    #[serde(deserialize_with = "lenient")]
    pub phases: Vec<PhaseConfig>,
    /// What is written.
    #[serde(deserialize_with = "lenient")]
    pub artifacts: ArtifactsConfig,
    /// Limits of `--goodput` by tag.
    #[serde(
        deserialize_with = "lenient",
        skip_serializing_if = "Ordered::is_empty"
    )]
    #[cfg_attr(
        feature = "schema",
        schemars(with = "std::collections::BTreeMap<String, f64>")
    )]
    pub slos: Ordered<f64>,
    /// What counts tokens; absent where the server does.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<Named>,
    /// GPUs.
    #[serde(deserialize_with = "lenient")]
    pub gpu_telemetry: ScrapeConfig,
    /// The servers' own metrics.
    #[serde(deserialize_with = "lenient")]
    pub server_metrics: ScrapeConfig,
    /// GPUs of the server; old versions have it here.
    #[serde(deserialize_with = "lenient", skip_serializing)]
    pub num_gpus: Option<f64>,
    /// The command line; old versions have it here.
    #[serde(deserialize_with = "lenient", skip_serializing)]
    pub cli_command: Option<String>,
    /// What older versions say in another layout, until it is [settled](Part::settled).
    #[serde(flatten, skip_serializing)]
    #[cfg_attr(feature = "schema", schemars(skip))]
    pub older: OlderConfig,
}

/// The models of a run.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Models {
    /// Each by its name.
    pub items: Vec<Named>,
}

/// Something with a name.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Named {
    /// Its name.
    #[serde(deserialize_with = "lenient")]
    pub name: String,
}

/// Where requests go.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EndpointConfig {
    /// The servers, credentials hidden.
    #[serde(deserialize_with = "one_or_many")]
    pub urls: Vec<String>,
    /// Kind of the endpoint; empty where the file does not say.
    #[serde(rename = "type", deserialize_with = "lenient")]
    pub kind: String,
    /// Answers come as a stream of events.
    #[serde(deserialize_with = "lenient")]
    pub streaming: bool,
    /// Lengths are the server's counts.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "is_false")]
    pub use_server_token_count: bool,
    /// The first chunk's tokens are taken out of the inter token latency.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "is_false")]
    pub per_chunk_usage: bool,
    /// Further fields of each request's body, `--extra-inputs`, credentials hidden.
    #[serde(
        deserialize_with = "lenient",
        skip_serializing_if = "Ordered::is_empty"
    )]
    #[cfg_attr(
        feature = "schema",
        schemars(with = "std::collections::BTreeMap<String, Value>")
    )]
    pub extra: Ordered<Value>,
    /// What older versions say in another layout, until it is [settled](Part::settled).
    #[serde(flatten, skip_serializing)]
    #[cfg_attr(feature = "schema", schemars(skip))]
    pub older: OlderEndpoint,
}

/// A dataset.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DatasetConfig {
    /// Its name.
    #[serde(deserialize_with = "lenient")]
    pub name: String,
    /// `synthetic`, `file`, …
    #[serde(rename = "type", deserialize_with = "lenient")]
    pub kind: String,
    /// The input file.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How many entries it has.
    #[serde(deserialize_with = "count")]
    pub entries: Option<u64>,
    /// The seed of everything drawn.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub random_seed: Option<u64>,
    /// What prompts are like.
    #[serde(
        deserialize_with = "lenient",
        skip_serializing_if = "Prompts::is_empty"
    )]
    pub prompts: Prompts,
}

/// Lengths of prompts and answers.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Prompts {
    /// Of the input.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub isl: Option<Length>,
    /// Of the output.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub osl: Option<Length>,
}

impl Prompts {
    const fn is_empty(&self) -> bool {
        self.isl.is_none() && self.osl.is_none()
    }
}

/// A length in tokens.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Length {
    /// Mean.
    pub mean: f64,
    /// Standard deviation, where there is one.
    #[serde(
        default,
        deserialize_with = "lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub stddev: Option<f64>,
}

/// A phase.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PhaseConfig {
    /// Its name.
    #[serde(deserialize_with = "lenient")]
    pub name: String,
    /// `warmup` or `profiling`.
    #[serde(deserialize_with = "lenient")]
    pub kind: String,
    /// `concurrency`, `poisson`, …
    #[serde(rename = "type", deserialize_with = "lenient")]
    pub load: String,
    /// It is a warmup.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "is_false")]
    pub exclude_from_results: bool,
    /// Requests that end it.
    #[serde(deserialize_with = "count", skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Seconds that end it.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// Requests in flight; with a rate, the most.
    #[serde(deserialize_with = "count", skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u64>,
    /// Requests per second.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// It begins when the phase before has sent its last request.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "is_false")]
    pub seamless: bool,
    /// Planned cancellation.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub cancellation: Option<CancellationConfig>,
}

impl PhaseConfig {
    /// Whether it is a warmup.
    pub fn is_warmup(&self) -> bool {
        self.kind == "warmup"
    }
}

/// Planned cancellation. Trigger, mode and wave, which AIPerf does not know, are there where they
/// were asked for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CancellationConfig {
    /// Share of the requests, in percent.
    pub rate: f64,
    /// From the trigger to the disconnect.
    #[serde(default, deserialize_with = "lenient")]
    pub delay: Delay,
    /// From when the delay counts.
    #[serde(
        default,
        deserialize_with = "lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub trigger: Option<String>,
    /// How the client disconnects.
    #[serde(
        default,
        deserialize_with = "lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub mode: Option<String>,
    /// All that is due disconnects at multiples of this many seconds.
    #[serde(
        default,
        deserialize_with = "lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub wave: Option<f64>,
}

/// A delay.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Delay {
    /// Always so many seconds.
    Seconds(f64),
    /// A distribution, as typed.
    Drawn(String),
}

impl Default for Delay {
    fn default() -> Self {
        Self::Seconds(0.0)
    }
}

/// What is written.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ArtifactsConfig {
    /// The folder.
    #[serde(deserialize_with = "lenient")]
    pub dir: String,
    /// Length of a time slice in seconds.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub slice_duration: Option<f64>,
}

/// What is scraped.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ScrapeConfig {
    /// Whether anything is.
    #[serde(deserialize_with = "lenient")]
    pub enabled: bool,
    /// Pages besides the usual ones.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub urls: Option<Vec<String>>,
    /// Forms of the files.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub formats: Option<Vec<String>>,
}

/// What older versions of AIPerf say by flags.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OlderConfig {
    #[serde(deserialize_with = "lenient")]
    loadgen: Option<OldLoad>,
    #[serde(deserialize_with = "lenient")]
    input: Option<OldInput>,
    #[serde(deserialize_with = "lenient")]
    output: Option<OldOutput>,
}

/// What older versions of AIPerf say of the endpoint.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OlderEndpoint {
    #[serde(deserialize_with = "one_or_many")]
    url: Vec<String>,
    #[serde(deserialize_with = "one_or_many")]
    model_names: Vec<String>,
    #[serde(deserialize_with = "one_or_many")]
    model_name: Vec<String>,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct OldLoad {
    #[serde(deserialize_with = "lenient")]
    request_rate: Option<f64>,
    #[serde(deserialize_with = "lenient")]
    arrival_pattern: Option<String>,
    #[serde(deserialize_with = "lenient")]
    request_rate_mode: Option<String>,
    #[serde(deserialize_with = "count")]
    request_count: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    benchmark_duration: Option<f64>,
    #[serde(deserialize_with = "count")]
    concurrency: Option<u64>,
    #[serde(deserialize_with = "count")]
    warmup_request_count: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    request_cancellation_rate: Option<f64>,
    #[serde(deserialize_with = "lenient")]
    request_cancellation_delay: Option<f64>,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct OldInput {
    #[serde(deserialize_with = "lenient")]
    random_seed: Option<u64>,
    #[serde(deserialize_with = "count")]
    num_dataset_entries: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    conversation: Option<OldConversation>,
    #[serde(deserialize_with = "lenient")]
    prompt: Option<OldPrompt>,
    #[serde(deserialize_with = "lenient")]
    file: Option<String>,
    #[serde(deserialize_with = "lenient")]
    goodput: Ordered<f64>,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct OldConversation {
    #[serde(deserialize_with = "count")]
    num: Option<u64>,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct OldPrompt {
    #[serde(deserialize_with = "lenient")]
    input_tokens: Option<Length>,
    #[serde(deserialize_with = "lenient")]
    output_tokens: Option<Length>,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct OldOutput {
    #[serde(deserialize_with = "lenient")]
    slice_duration: Option<f64>,
}

impl OldLoad {
    fn phases(self) -> Vec<PhaseConfig> {
        let load = match self.request_rate {
            Some(_) => {
                let pattern = self.arrival_pattern.or(self.request_rate_mode);
                pattern.unwrap_or_else(|| "poisson".to_owned())
            }
            None => "concurrency".to_owned(),
        };
        let phase = |kind: &str| PhaseConfig {
            name: kind.to_owned(),
            kind: kind.to_owned(),
            load: load.clone(),
            concurrency: self.concurrency,
            rate: self.request_rate,
            ..PhaseConfig::default()
        };
        let warmup = self.warmup_request_count.filter(|&count| count > 0);
        let warmup = warmup.map(|count| PhaseConfig {
            requests: Some(count),
            exclude_from_results: true,
            ..phase("warmup")
        });
        let rate = self.request_cancellation_rate.filter(|&rate| rate > 0.0);
        let profiling = PhaseConfig {
            requests: self.request_count,
            duration: self.benchmark_duration,
            cancellation: rate.map(|rate| CancellationConfig {
                rate,
                delay: Delay::Seconds(self.request_cancellation_delay.unwrap_or(0.0)),
                trigger: None,
                mode: None,
                wave: None,
            }),
            ..phase("profiling")
        };
        warmup.into_iter().chain([profiling]).collect()
    }
}

impl Part for InputConfig {
    fn settled(mut self) -> Self {
        let endpoint = &mut self.endpoint;
        if endpoint.urls.is_empty() {
            endpoint.urls = std::mem::take(&mut endpoint.older.url);
        }
        if self.models.items.is_empty() {
            let names = match std::mem::take(&mut endpoint.older.model_names) {
                names if names.is_empty() => std::mem::take(&mut endpoint.older.model_name),
                names => names,
            };
            let named = names.into_iter().map(|name| Named { name });
            self.models.items = named.collect();
        }
        if let Some(load) = self.older.loadgen.take().filter(|_| self.phases.is_empty()) {
            self.phases = load.phases();
        }
        if let Some(output) = self.older.output.take() {
            let length = &mut self.artifacts.slice_duration;
            *length = length.or(output.slice_duration);
        }
        if let Some(input) = self.older.input.take() {
            if self.slos.is_empty() {
                self.slos = input.goodput;
            }
            let mut dataset = self.datasets.pop().unwrap_or_default();
            let entries = input.conversation.and_then(|conversation| conversation.num);
            let entries = entries.or(input.num_dataset_entries);
            let prompt = input.prompt.unwrap_or_default();
            dataset.entries = dataset.entries.or(entries);
            dataset.random_seed = dataset.random_seed.or(input.random_seed);
            dataset.path = dataset.path.or(input.file);
            dataset.prompts.isl = dataset.prompts.isl.or(prompt.input_tokens);
            dataset.prompts.osl = dataset.prompts.osl.or(prompt.output_tokens);
            self.datasets.push(dataset);
        }
        self
    }
}

impl InputConfig {
    /// The warmup, if there was one.
    pub fn warmup(&self) -> Option<&PhaseConfig> {
        self.phases.iter().find(|phase| phase.is_warmup())
    }

    /// The measured phase: the last one, where there are several.
    pub fn profiling(&self) -> Option<&PhaseConfig> {
        self.phases.iter().rfind(|phase| !phase.is_warmup())
    }

    /// The dataset.
    pub fn dataset(&self) -> Option<&DatasetConfig> {
        self.datasets.first()
    }

    /// The planned cancellation, if there was one.
    pub fn cancellation(&self) -> Option<&CancellationConfig> {
        self.profiling()?.cancellation.as_ref()
    }

    /// Names of the models.
    pub fn model_names(&self) -> impl Iterator<Item = &str> {
        let items = self.models.items.iter();
        items
            .map(|item| item.name.as_str())
            .filter(|name| !name.is_empty())
    }
}

impl Carried<InputConfig> {
    /// Other limits than the run had.
    pub fn set_slos(&mut self, slos: Ordered<f64>) {
        let json = crate::write::json_value(&slos);
        self.change(|config| config.slos = slos, "", "slos", json);
    }

    /// Other slices than the run had.
    pub fn set_slice_duration(&mut self, seconds: f64) {
        let change = |config: &mut InputConfig| config.artifacts.slice_duration = Some(seconds);
        self.change(change, "artifacts", "slice_duration", seconds.into());
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// The value, or the default where it is of another type.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(T::deserialize(value).unwrap_or_default())
}

/// A whole number, whatever it is written as.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let float = || value.as_f64().filter(|value| *value >= 0.0);
    Ok(value.as_u64().or_else(|| Some(float()? as u64)))
}

/// A text, or a list of them.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts = match Value::deserialize(deserializer)? {
        Value::String(one) => vec![one],
        Value::Array(many) => many
            .into_iter()
            .filter_map(|value| match value {
                Value::String(text) => Some(text),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    };
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(config: Value) -> Carried<InputConfig> {
        serde_json::from_value(config).unwrap()
    }

    #[test]
    fn the_layout_of_older_versions_means_the_same() {
        let config = read(json!({
            "endpoint": {"model_names": ["m"], "type": "completions", "streaming": true, "url": "http://h"},
            "loadgen": {"concurrency": 8, "request_count": 100, "warmup_request_count": 5,
                        "request_cancellation_rate": 20.0, "request_cancellation_delay": 0.5},
            "input": {"prompt": {"input_tokens": {"mean": 550, "stddev": 10}}, "random_seed": 7},
            "output": {"slice_duration": 2.0},
            "tokenizer": {"name": "t"}
        }));
        assert_eq!(config.model_names().collect::<Vec<_>>(), ["m"]);
        assert_eq!(config.endpoint.urls, ["http://h"]);
        assert_eq!(config.profiling().unwrap().concurrency, Some(8));
        assert_eq!(config.profiling().unwrap().load, "concurrency");
        assert_eq!(config.warmup().unwrap().requests, Some(5));
        let cancel = config.cancellation().unwrap();
        assert_eq!((cancel.rate, &cancel.delay), (20.0, &Delay::Seconds(0.5)));
        let dataset = config.dataset().unwrap();
        assert_eq!(dataset.prompts.isl.unwrap().mean, 550.0);
        assert_eq!(dataset.random_seed, Some(7));
        assert_eq!(config.artifacts.slice_duration, Some(2.0));
    }

    #[test]
    fn what_is_not_known_is_handed_on_and_values_of_other_types_are_passed_over() {
        let mut config = read(json!({
            "models": "m", "otel": {}, "phases": [{"kind": "profiling", "requests": 40.0, "rate": "fast"}],
            "artifacts": {"dir": "d", "raw": true}
        }));
        assert_eq!(config.profiling().unwrap().requests, Some(40));
        assert_eq!(config.profiling().unwrap().rate, None);
        config.set_slice_duration(0.5);
        config.set_slos([("ttft".to_owned(), 1.0)].into_iter().collect());
        assert_eq!(
            serde_json::to_string(&config).unwrap(),
            r#"{"models":"m","otel":{},"phases":[{"kind":"profiling","requests":40.0,"rate":"fast"}],"artifacts":{"dir":"d","raw":true,"slice_duration":0.5},"slos":{"ttft":1.0}}"#
        );
        assert_eq!(config.artifacts.slice_duration, Some(0.5));
    }
}
