//! `input_config` of the files, from the facts of a run.

use pinfire_artifacts::config::{
    ArtifactsConfig, CancellationConfig, DatasetConfig, Delay, EndpointConfig, InputConfig, Length,
    Models, Named, PhaseConfig, Prompts, ScrapeConfig,
};
use pinfire_artifacts::{Carried, Ordered};
use pinfire_base::delay;
use pinfire_base::record::{CancelTrigger, Leave, PlannedCancellation, Trigger};
use pinfire_guard::{HIDDEN, names::is_sensitive_field, shown_url};
use serde_json::Value;

use crate::facts::{LengthFacts, PhaseFacts, RunFacts};

/// What was asked, or what the run's own files say where the report is made from them.
pub(crate) fn shown(facts: &RunFacts) -> Carried<InputConfig> {
    let recorded = facts.recorded.as_ref();
    let recorded = recorded.and_then(|recorded| recorded.summary.input_config.clone());
    recorded.unwrap_or_else(|| Carried::new(of(facts)))
}

/// What was asked.
impl RunFacts {
    /// The run as the files of scraped metrics name it.
    pub fn scraped(&self) -> pinfire_scrape::Run {
        pinfire_scrape::Run {
            version: self.version.clone(),
            benchmark_id: self.benchmark_id.clone(),
            anchor: self.anchor,
            models: self.models.clone(),
            concurrency: self.profiling.concurrency,
            rate: self.profiling.rate,
            input_config: of(self),
            folder: self.artifact_dir.clone(),
            files: self.files.clone(),
            formats: self.watch.formats.clone(),
        }
    }
}

pub(crate) fn of(facts: &RunFacts) -> InputConfig {
    let named = |name: &String| Named { name: name.clone() };
    let warmup = facts.warmup.as_ref();
    let warmup = warmup.map(|asked| PhaseConfig {
        exclude_from_results: true,
        ..phase(asked, "warmup")
    });
    let profiling = PhaseConfig {
        cancellation: facts.cancellation.as_ref().map(cancellation),
        ..phase(&facts.profiling, "profiling")
    };
    let slos = facts.slos.shown().filter(|(_, limit)| limit.is_finite());
    let slos: Ordered<f64> = slos.map(|(tag, limit)| (tag.to_owned(), limit)).collect();
    let watch = &facts.watch;
    InputConfig {
        models: Models {
            items: facts.models.iter().map(named).collect(),
        },
        endpoint: EndpointConfig {
            urls: without_credentials(&facts.urls),
            kind: facts.endpoint().name.to_owned(),
            streaming: facts.streaming,
            use_server_token_count: facts.server_counts,
            per_chunk_usage: facts.per_chunk_usage,
            extra: facts
                .extra
                .iter()
                .map(|(name, value)| (name.clone(), field(name, value)))
                .collect(),
            ..EndpointConfig::default()
        },
        datasets: vec![dataset(facts)],
        phases: warmup.into_iter().chain([profiling]).collect(),
        artifacts: ArtifactsConfig {
            dir: facts.artifact_dir.to_string_lossy().into_owned(),
            slice_duration: facts.slice.map(|slice| slice.as_secs_f64()),
        },
        slos,
        tokenizer: facts.tokenizer.as_ref().map(named),
        gpu_telemetry: ScrapeConfig {
            enabled: watch.gpu,
            urls: Some(without_credentials(&watch.gpu_urls)).filter(|urls| !urls.is_empty()),
            formats: None,
        },
        server_metrics: ScrapeConfig {
            enabled: watch.server,
            urls: watch
                .server
                .then(|| without_credentials(&watch.server_urls)),
            formats: watch.server.then(|| {
                let names = watch.formats.iter().map(|format| format.name().to_owned());
                names.collect()
            }),
        },
        ..InputConfig::default()
    }
}

fn without_credentials(urls: &[String]) -> Vec<String> {
    let shown = urls.iter().map(|url| shown_url(url).into_owned());
    shown.collect()
}

fn dataset(facts: &RunFacts) -> DatasetConfig {
    let asked = &facts.dataset;
    DatasetConfig {
        name: "main".to_owned(),
        kind: asked.kind.clone(),
        path: asked
            .file
            .as_ref()
            .map(|file| file.to_string_lossy().into_owned()),
        entries: Some(asked.entries),
        random_seed: facts.random_seed,
        prompts: Prompts {
            isl: asked.isl.map(length),
            osl: asked.osl.map(length),
        },
    }
}

/// A field of the body as it is shown: a text under the name of a credential is hidden.
fn field(name: &str, value: &Value) -> Value {
    match value {
        Value::String(_) if is_sensitive_field(name) => HIDDEN.into(),
        Value::Object(inner) => {
            let inner = inner.iter();
            let shown = inner.map(|(name, value)| (name.clone(), field(name, value)));
            Value::Object(shown.collect())
        }
        Value::Array(values) => values.iter().map(|value| field(name, value)).collect(),
        value => value.clone(),
    }
}

fn length(asked: LengthFacts) -> Length {
    Length {
        mean: asked.mean,
        stddev: Some(asked.stddev).filter(|stddev| *stddev != 0.0),
    }
}

fn phase(asked: &PhaseFacts, kind: &str) -> PhaseConfig {
    PhaseConfig {
        name: kind.to_owned(),
        kind: kind.to_owned(),
        load: asked.kind.clone(),
        requests: asked.requests,
        duration: asked.duration_s,
        concurrency: asked.concurrency.map(u64::from),
        rate: asked.rate,
        seamless: asked.seamless,
        ..PhaseConfig::default()
    }
}

fn cancellation(asked: &PlannedCancellation) -> CancellationConfig {
    let trigger = Some(asked.trigger);
    let mode = Some(asked.leave).filter(|mode| *mode != Leave::Fin);
    CancellationConfig {
        rate: asked.rate_pct,
        delay: match asked.delay {
            delay::Delay::Fixed(delay) => Delay::Seconds(delay.as_secs_f64()),
            drawn => Delay::Drawn(drawn.to_string()),
        },
        trigger: trigger
            .filter(|trigger| *trigger != CancelTrigger::At(Trigger::Sent))
            .map(|trigger| trigger.to_string()),
        mode: mode.map(|mode| mode.name().to_owned()),
        wave: asked.wave.map(|wave| wave.as_secs_f64()),
    }
}
