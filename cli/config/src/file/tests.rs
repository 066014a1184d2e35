//! Config files: what they say, and what is wrong with them.

use super::*;

fn entries(text: &str) -> anyhow::Result<Vec<String>> {
    let entries = translate::entries(text, &|_| None)?.given;
    Ok(entries
        .iter()
        .map(|entry| format!("{}={}", entry.name, entry.value))
        .collect())
}

#[test]
fn settings_by_their_names() {
    let text = "model: m\nurl: ['mock:', http://b:1]\nstreaming: true\nrequest_count: 50\n\
                requestCancellationRate: 10\nsynthetic-input-tokens-mean: 20\nosl: null\n\
                header: {X-A: '1'}\nbenchmark-duration: 2m\ncores: [2, 3]\n\
                endpoint: /v1/x\ntokenizer: builtin\nno-vary-seed-per-trial: true\n";
    assert_eq!(
        entries(text).unwrap(),
        [
            "model=m",
            "url=mock:",
            "url=http://b:1",
            "streaming=true",
            "request_count=50",
            "request_cancellation_rate=10",
            "isl=20",
            r#"header={"X-A":"1"}"#,
            "benchmark_duration=2m",
            "cores=2,3",
            "endpoint=/v1/x",
            "tokenizer=builtin",
            "vary_seed_per_trial=false",
        ]
    );
}

#[test]
fn the_layout_of_aiperf() {
    let text = r#"
schemaVersion: "2.0"
randomSeed: 42
variables: {users: 8}
benchmark:
  models:
    items: [{name: a}, {name: b}]
    strategy: random
  endpoint:
    urls: [http://h:1/v1/chat/completions]
    type: chat
    streaming: true
    timeout: 2m
    headers: {X-A: "b, c"}
    extra: {ignore_eos: true}
    connectionReuse: never
  dataset:
    name: main
    type: synthetic
    entries: 100
    isl: {mean: 550, stddev: 50}
    prompts:
      osl: 128
    turns: {mean: 2}
  phases:
    - name: warmup
      type: concurrency
      requests: "{{ users * 2 }}"
      concurrency: 4
    - name: profiling
      rate: 50.0
      type: gamma
      smoothness: 1.5
      duration: 300
      gracePeriod: 60s
      rateRamp: {duration: 30s}
      cancellation: {rate: 10, delay: 500ms}
      seamless: true
  artifacts:
    dir: out
    records: false
  runtime: {ui: none}
  serverMetrics: false
  gpuTelemetry: {enabled: true}
"#;
    assert_eq!(
        entries(text).unwrap(),
        [
            "random_seed=42",
            "model=a",
            "model=b",
            "model_selection_strategy=random",
            "endpoint_type=chat",
            "url=http://h:1/v1/chat/completions",
            "streaming=true",
            "request_timeout_seconds=2m",
            r#"header={"X-A":"b, c"}"#,
            r#"extra_inputs={"ignore_eos":true}"#,
            "connection_reuse_strategy=never",
            "num_dataset_entries=100",
            "isl=550",
            "isl_stddev=50",
            "osl=128",
            "session_turns_mean=2",
            "warmup_arrival_pattern=concurrency",
            "warmup_request_count=16",
            "warmup_concurrency=4",
            "arrival_pattern=gamma",
            "request_rate=50.0",
            "arrival_smoothness=1.5",
            "benchmark_duration=300",
            "benchmark_grace_period=60s",
            "request_rate_ramp_duration=30s",
            "request_cancellation_rate=10",
            "request_cancellation_delay=500ms",
            "warmup_seamless=true",
            "artifact_dir=out",
            "ui=none",
            "no_server_metrics=true",
            "export_level=summary",
        ]
    );
    assert!(FileConfig::of("a.yaml".as_ref(), text).is_ok());
}

#[test]
fn lists_make_several_runs() {
    let text = "model: m\nbenchmark:\n  profiling:\n    concurrency: [1, 2]\nsweep:\n  type: zip\n  \
                parameters:\n    dataset.isl: [5, 6]\n    phases.profiling.requests: [3, 4]\n\
                multiRun: {numRuns: 2}\n";
    assert_eq!(
        entries(text).unwrap(),
        [
            "model=m",
            "concurrency=1,2",
            "sweep_type=zip",
            "isl=5,6",
            "request_count=3,4",
            "num_profile_runs=2",
        ]
    );
}

#[test]
fn values_know_their_lines() {
    let text = "model: [a, b]\nstreaming: true\nconcurrency: 7\n";
    let file = FileConfig::of("run.yaml".as_ref(), text).unwrap();
    let place = |line| {
        Source::File(Place {
            path: Arc::from(Path::new("run.yaml")),
            line,
        })
    };
    let given = &file.given;
    assert_eq!(given.endpoint.model[1].source, place(1));
    assert_eq!(given.load.concurrency.as_ref().unwrap().source, place(3));
    assert_eq!(given.load.request_count, None);
    assert_eq!(given.endpoint.insecure.source, Source::Default);
}

#[test]
fn the_defaults_of_a_file_are_defaults() {
    let text = "model: m\ndefaults: {io-driver: epoll, url: 'http://old:1'}\n";
    let file = FileConfig::of("run.yaml".as_ref(), text).unwrap();
    let config = RunConfig::of_layers(None, Some(file), RunConfig::default()).unwrap();
    assert_eq!(config.engine.io_driver.value, crate::words::IoDriver::Epoll);
    assert_eq!(config.engine.io_driver.source, Source::Default);
    assert_eq!(config.endpoint.url[0].get(), "http://old:1");
}

#[test]
fn what_is_wrong_is_said_with_line_key_and_suggestion() {
    for (text, expected) in [
        (
            "model: m\nconcurency: 5\n",
            "2: concurency: there is no such key; did you mean `concurrency`?",
        ),
        (
            "benchmark:\n  profiling:\n    gracePeriode: 5\n",
            "3: profiling.gracePeriode: there is no such key; did you mean `gracePeriod`?",
        ),
        (
            "endpoint:\n  ur: x\n",
            "2: endpoint.ur: there is no such key; did you mean `url`?",
        ),
        ("endpoint: [a]\nqqqq: 1\n", "2: qqqq: there is no such key"),
        (
            "isl: 5\ndataset: {isl: 6}\n",
            "2: dataset.isl: --isl is given by `isl` in line 1",
        ),
        ("phases: 5\n", "1: phases: it takes a list of phases"),
        (
            "phases: [{name: a}, {name: b}]\n",
            "1: phases: this phase needs `kind: warmup`",
        ),
        (
            "phases: [{kind: warmup}, {kind: warmup}]\n",
            "one warmup and then one profiling",
        ),
        (
            "warmup: {type: fixed_schedule}\n",
            "1: warmup.type: a warmup is by",
        ),
        (
            "profiling: {type: fixed}\n",
            "1: profiling.type: `fixed`; there are concurrency",
        ),
        ("profiling: {rate: 5, type: concurrency}\n", "has no rate"),
        (
            "datasets: [{name: a}, {name: b}]\n",
            "a run has one dataset, and these are 2",
        ),
        (
            "dataset: {type: public}\n",
            "1: dataset.type: --public-dataset: nothing is",
        ),
        (
            "dataset: {images: {batch_size: 1}}\n",
            "1: dataset.images: pinfire makes no",
        ),
        ("accuracy: {}\n", "1: accuracy: it belongs to a feature"),
        (
            "schemaVersion: 3\n",
            "1: schemaVersion: `3`; pinfire reads 2.0",
        ),
        ("version: 2\n", "1: version: `2`; this pinfire reads 1"),
        (
            "wandb-project: x\n",
            "1: wandb-project: --wandb-project belongs to a feature",
        ),
        (
            "model: ${PINFIRE_TEST_UNSET}\n",
            "1: the environment variable PINFIRE_TEST_UNSET",
        ),
        (
            "- a\n",
            "1: a config file is a map of keys, and this is a list",
        ),
        (
            "benchmark: 5\n",
            "a config file is a map of keys, and this is a value",
        ),
        (
            "artifacts: {summary: false}\n",
            "1: artifacts.summary: the summary",
        ),
        ("streaming: [[1]]\n", "1: streaming: a list within a list"),
        (
            "serverMetrics: maybe\n",
            "1: serverMetrics: `maybe` is neither true nor false",
        ),
        (
            "\nbenchmark-duration: 5.5.5s\n",
            "2: benchmark-duration: invalid value '5.5.5s': `5.5.5s` is no duration",
        ),
        (
            "concurrency: [x, 5]\n",
            "1: concurrency: invalid value 'x,5': x: it must be a whole number",
        ),
        (
            "concurrency: 5\nio_driver: kqueue\n",
            "2: io_driver: invalid value 'kqueue': it must be one of: auto, uring, epoll",
        ),
        ("config: x\n", "1: config: there is no such key"),
        ("defaults: {x: 1}\n", "1: defaults.x: there is no such key"),
    ] {
        let error = FileConfig::of("f".as_ref(), text).unwrap_err();
        assert!(
            error.contains(&format!("f:{expected}")) || error.contains(expected),
            "{text}: {error}"
        );
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn every_key_leads_to_a_setting_or_says_why_not() {
    let known = |name: &str| {
        settings().get(name).is_some() || crate::unsupported::why(&name.replace('_', "-")).is_some()
    };
    for (key, to) in layout::LAYOUT {
        let names: &[&str] = match to {
            layout::To::Flag(name) | layout::To::Not(name) | layout::To::Ramp(name) => &[name],
            layout::To::Spread(mean, deviation) => &[mean, deviation],
            _ => &[],
        };
        for name in names {
            assert!(known(name), "{key}: {name}");
        }
        assert_eq!(translate::snake(key), *key);
    }
}
