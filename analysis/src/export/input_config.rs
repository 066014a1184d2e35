//! `input_config` of the JSON summary: what was asked, in AIPerf's layout, defaults left out.

use pinfire_base::delay::Delay;
use pinfire_base::record::{Leave, Trigger};
use serde_json::{Map, Value, json};

use crate::facts::{LengthFacts, PhaseFacts, RunFacts};
use crate::redact;

/// The object, or the run's own where the report is made from files.
pub(super) fn shown(facts: &RunFacts) -> Value {
    let told = facts.told.as_ref();
    let told = told.and_then(|told| told.summary.get("input_config").cloned());
    told.unwrap_or_else(|| of(facts).into())
}

/// The object.
pub(crate) fn of(facts: &RunFacts) -> Map<String, Value> {
    let mut config = Map::new();
    let models: Vec<Value> = facts
        .models
        .iter()
        .map(|name| json!({"name": name}))
        .collect();
    config.insert("models".into(), json!({"items": models}));
    let mut endpoint = json!({
        "urls": facts.urls.iter().map(|url| redact::url(url)).collect::<Vec<_>>(),
        "type": facts.endpoint().name,
        "streaming": facts.streaming,
    });
    let switches = [
        ("use_server_token_count", facts.server_counts),
        ("per_chunk_usage", facts.per_chunk_usage),
    ];
    for (key, _) in switches.into_iter().filter(|(_, set)| *set) {
        endpoint[key] = true.into();
    }
    config.insert("endpoint".into(), endpoint);
    config.insert("datasets".into(), Value::Array(vec![dataset(facts)]));
    let warmup = facts
        .warmup
        .iter()
        .map(|asked| phase(asked, "warmup", facts));
    let phases = warmup.chain([phase(&facts.profiling, "profiling", facts)]);
    config.insert("phases".into(), phases.collect());
    let dir = facts.artifact_dir.to_string_lossy();
    let mut artifacts = Map::new();
    artifacts.insert("dir".into(), dir.into());
    if let Some(slice) = facts.slice {
        artifacts.insert("slice_duration".into(), slice.as_secs_f64().into());
    }
    config.insert("artifacts".into(), artifacts.into());
    if !facts.slos.is_empty() {
        let slos = facts.slos.shown().filter(|(_, limit)| limit.is_finite());
        let slos: Map<String, Value> = slos
            .map(|(tag, limit)| (tag.into(), limit.into()))
            .collect();
        config.insert("slos".into(), slos.into());
    }
    if let Some(name) = &facts.tokenizer {
        config.insert("tokenizer".into(), json!({"name": name}));
    }
    let watch = &facts.watch;
    let mut gpu = json!({"enabled": watch.gpu});
    if !watch.gpu_urls.is_empty() {
        gpu["urls"] = watch.gpu_urls.clone().into();
    }
    config.insert("gpu_telemetry".into(), gpu);
    let mut server = json!({"enabled": watch.server});
    if watch.server {
        server["urls"] = watch.server_urls.clone().into();
        server["formats"] = watch.formats.iter().map(|format| format.name()).collect();
    }
    config.insert("server_metrics".into(), server);
    config
}

fn dataset(facts: &RunFacts) -> Value {
    let asked = &facts.dataset;
    let mut map = Map::new();
    map.insert("name".into(), "main".into());
    map.insert("type".into(), asked.kind.as_str().into());
    if let Some(file) = &asked.file {
        map.insert("path".into(), file.to_string_lossy().into());
    }
    map.insert("entries".into(), asked.entries.into());
    if let Some(seed) = facts.random_seed {
        map.insert("random_seed".into(), seed.into());
    }
    let lengths = [("isl", asked.isl), ("osl", asked.osl)];
    let prompts: Map<String, Value> = lengths
        .into_iter()
        .filter_map(|(key, asked)| Some((key.to_owned(), length(asked?))))
        .collect();
    if !prompts.is_empty() {
        map.insert("prompts".into(), prompts.into());
    }
    map.into()
}

fn length(asked: LengthFacts) -> Value {
    if asked.stddev == 0.0 {
        json!({"mean": asked.mean})
    } else {
        json!({"mean": asked.mean, "stddev": asked.stddev})
    }
}

fn phase(asked: &PhaseFacts, kind: &str, facts: &RunFacts) -> Value {
    let mut map = Map::new();
    map.insert("name".into(), kind.into());
    map.insert("kind".into(), kind.into());
    map.insert("type".into(), asked.kind.as_str().into());
    if kind == "warmup" {
        map.insert("exclude_from_results".into(), true.into());
    }
    let numbers: [(&str, Option<Value>); 4] = [
        ("requests", asked.requests.map(Value::from)),
        ("duration", asked.duration_s.map(Value::from)),
        ("concurrency", asked.concurrency.map(Value::from)),
        ("rate", asked.rate.map(Value::from)),
    ];
    for (key, value) in numbers {
        if let Some(value) = value {
            map.insert(key.into(), value);
        }
    }
    if asked.seamless {
        map.insert("seamless".into(), true.into());
    }
    if let Some(cancel) = facts.cancellation.as_ref().filter(|_| kind == "profiling") {
        let delay: Value = match cancel.delay {
            Delay::Fixed(delay) => delay.as_secs_f64().into(),
            other => other.to_string().into(),
        };
        let mut planned = json!({"rate": cancel.rate_pct, "delay": delay});
        // What AIPerf does not know is there only where it was asked for.
        if cancel.trigger != Trigger::Sent.name() {
            planned["trigger"] = cancel.trigger.as_str().into();
        }
        if cancel.mode != Leave::Fin {
            planned["mode"] = cancel.mode.name().into();
        }
        if let Some(wave) = cancel.wave {
            planned["wave"] = wave.as_secs_f64().into();
        }
        map.insert("cancellation".into(), planned);
    }
    map.into()
}
