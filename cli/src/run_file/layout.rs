//! Which flag each key of a run file stands for: one table.
//!
//! Paths are in snake_case and from the top, `benchmark:` left out; a path that others continue is a
//! section. Beside these keys every flag may be given by its own name (see `translate.rs`).

use super::translate::{Translation, phases};

/// What a key stands for.
#[derive(Clone, Copy)]
pub enum To {
    /// A flag, given as the key's value says: a list is a list of values, a map is JSON.
    Flag(&'static str),
    /// A mean and its deviation: a number, or a map of `mean` and `stddev`.
    Spread(&'static str, &'static str),
    /// A switch whose flag says the opposite.
    Not(&'static str),
    /// A map whose only key is `duration`, or the duration itself.
    Ramp(&'static str),
    /// It tells the reader something and pinfire nothing.
    Nothing,
    /// Not to be had; why, or what instead.
    No(&'static str),
    /// Something of its own.
    Own(Own),
}

/// Reads the value of a key that is not simply a flag's.
pub type Own = fn(&mut Translation<'_>, &str, &super::yaml::Node) -> anyhow::Result<()>;

const NOT_HERE: &str = "it belongs to a feature that pinfire does not have; leave it out";
const TEXT_ONLY: &str = "pinfire makes no pictures, sounds or videos; leave it out";

const SEARCH: &str = "give the flags search and slo instead (docs/SWEEPS.md)";

/// Key to flag.
pub const LAYOUT: &[(&str, To)] = &[
    ("schema_version", To::Own(super::translate::schema_version)),
    // Models.
    ("models", To::Own(super::translate::models)),
    // Endpoint.
    ("endpoint.url", To::Flag("url")),
    ("endpoint.urls", To::Flag("url")),
    ("endpoint.url_strategy", To::Flag("url-strategy")),
    ("endpoint.type", To::Flag("endpoint-type")),
    ("endpoint.path", To::Flag("endpoint")),
    ("endpoint.streaming", To::Flag("streaming")),
    ("endpoint.timeout", To::Flag("request-timeout-seconds")),
    ("endpoint.connect_timeout", To::Flag("connect-timeout")),
    ("endpoint.api_key", To::Flag("api-key")),
    ("endpoint.headers", To::Flag("header")),
    ("endpoint.extra", To::Flag("extra-inputs")),
    ("endpoint.template", To::Own(super::translate::template)),
    ("endpoint.transport", To::Flag("transport")),
    (
        "endpoint.connection_reuse",
        To::Flag("connection-reuse-strategy"),
    ),
    ("endpoint.session_header", To::Flag("session-header")),
    (
        "endpoint.request_content_type",
        To::Flag("request-content-type"),
    ),
    (
        "endpoint.use_legacy_max_tokens",
        To::Flag("use-legacy-max-tokens"),
    ),
    (
        "endpoint.use_server_token_count",
        To::Flag("use-server-token-count"),
    ),
    ("endpoint.per_chunk_usage", To::Flag("per-chunk-usage")),
    (
        "endpoint.wait_for_model_timeout",
        To::Flag("wait-for-model-timeout"),
    ),
    (
        "endpoint.wait_for_model_mode",
        To::Flag("wait-for-model-mode"),
    ),
    (
        "endpoint.wait_for_model_interval",
        To::Flag("wait-for-model-interval"),
    ),
    ("endpoint.ca_cert", To::Flag("ca-cert")),
    ("endpoint.insecure", To::Flag("insecure")),
    ("endpoint.download_video_content", To::No(TEXT_ONLY)),
    ("endpoint.uuid_and_strip", To::No(TEXT_ONLY)),
    // Dataset.
    ("datasets", To::Own(super::translate::datasets)),
    ("dataset.name", To::Nothing),
    ("dataset.type", To::Own(super::translate::dataset_type)),
    ("dataset.path", To::Flag("input-file")),
    ("dataset.format", To::Flag("custom-dataset-type")),
    ("dataset.sampling", To::Flag("dataset-sampling-strategy")),
    ("dataset.entries", To::Flag("num-dataset-entries")),
    (
        "dataset.random_seed",
        To::No("the run has one seed; give randomSeed at the top"),
    ),
    ("dataset.isl", To::Spread("isl", "isl-stddev")),
    ("dataset.osl", To::Spread("osl", "osl-stddev")),
    ("dataset.block_size", To::Flag("isl-block-size")),
    ("dataset.prompts.isl", To::Spread("isl", "isl-stddev")),
    ("dataset.prompts.osl", To::Spread("osl", "osl-stddev")),
    ("dataset.prompts.block_size", To::Flag("isl-block-size")),
    ("dataset.prompts.batch_size", To::Flag("prompt-batch-size")),
    ("dataset.prompts.corpus", To::Flag("prompt-corpus")),
    ("dataset.prompts.cache_bust", To::No(NOT_HERE)),
    (
        "dataset.prompts.sequence_distribution",
        To::Own(super::translate::sequence_distribution),
    ),
    (
        "dataset.prefix_prompts.pool_size",
        To::Flag("num-prefix-prompts"),
    ),
    (
        "dataset.prefix_prompts.length",
        To::Flag("prefix-prompt-length"),
    ),
    (
        "dataset.prefix_prompts.shared_system_length",
        To::Flag("shared-system-prompt-length"),
    ),
    (
        "dataset.prefix_prompts.user_context_length",
        To::Flag("user-context-prompt-length"),
    ),
    ("dataset.system_prompt", To::Flag("system-prompt")),
    (
        "dataset.turns",
        To::Spread("session-turns-mean", "session-turns-stddev"),
    ),
    (
        "dataset.turn_delay",
        To::Spread("session-turn-delay-mean", "session-turn-delay-stddev"),
    ),
    ("dataset.turn_delay_ratio", To::Flag("session-delay-ratio")),
    (
        "dataset.inter_turn_delay_cap_seconds",
        To::Flag("inter-turn-delay-cap-seconds"),
    ),
    (
        "dataset.ignore_trace_delays",
        To::Flag("ignore-trace-delays"),
    ),
    (
        "dataset.synthesis.speedup_ratio",
        To::Flag("synthesis-speedup-ratio"),
    ),
    (
        "dataset.synthesis.prefix_len_multiplier",
        To::Flag("synthesis-prefix-len-multiplier"),
    ),
    (
        "dataset.synthesis.prefix_root_multiplier",
        To::Flag("synthesis-prefix-root-multiplier"),
    ),
    (
        "dataset.synthesis.prompt_len_multiplier",
        To::Flag("synthesis-prompt-len-multiplier"),
    ),
    (
        "dataset.synthesis.output_len_multiplier",
        To::Flag("synthesis-output-len-multiplier"),
    ),
    ("dataset.synthesis.max_isl", To::Flag("synthesis-max-isl")),
    ("dataset.synthesis.max_osl", To::Flag("synthesis-max-osl")),
    (
        "dataset.rankings.passages",
        To::Spread("rankings-passages-mean", "rankings-passages-stddev"),
    ),
    (
        "dataset.rankings.passage_tokens",
        To::Spread(
            "rankings-passages-prompt-token-mean",
            "rankings-passages-prompt-token-stddev",
        ),
    ),
    (
        "dataset.rankings.query_tokens",
        To::Spread(
            "rankings-query-prompt-token-mean",
            "rankings-query-prompt-token-stddev",
        ),
    ),
    ("dataset.images", To::No(TEXT_ONLY)),
    ("dataset.audio", To::No(TEXT_ONLY)),
    ("dataset.video", To::No(TEXT_ONLY)),
    // Phases.
    ("phases", To::Own(phases::list)),
    ("profiling.name", To::Nothing),
    ("profiling.kind", To::Own(phases::kind)),
    ("profiling.type", To::Own(phases::profiling_type)),
    ("profiling.requests", To::Flag("request-count")),
    ("profiling.sessions", To::Flag("num-conversations")),
    ("profiling.duration", To::Flag("benchmark-duration")),
    ("profiling.grace_period", To::Flag("benchmark-grace-period")),
    ("profiling.concurrency", To::Flag("concurrency")),
    (
        "profiling.concurrency_ramp",
        To::Ramp("concurrency-ramp-duration"),
    ),
    (
        "profiling.prefill_concurrency",
        To::Flag("prefill-concurrency"),
    ),
    (
        "profiling.prefill_ramp",
        To::Ramp("prefill-concurrency-ramp-duration"),
    ),
    ("profiling.rate", To::Own(phases::profiling_rate)),
    (
        "profiling.rate_ramp",
        To::Ramp("request-rate-ramp-duration"),
    ),
    ("profiling.rate_series", To::Own(phases::rate_series)),
    ("profiling.users", To::Flag("num-users")),
    ("profiling.smoothness", To::Flag("arrival-smoothness")),
    (
        "profiling.auto_offset",
        To::Flag("fixed-schedule-auto-offset"),
    ),
    (
        "profiling.start_offset",
        To::Flag("fixed-schedule-start-offset"),
    ),
    (
        "profiling.end_offset",
        To::Flag("fixed-schedule-end-offset"),
    ),
    (
        "profiling.failed_request_threshold",
        To::Flag("failed-request-threshold"),
    ),
    (
        "profiling.cancellation.rate",
        To::Flag("request-cancellation-rate"),
    ),
    (
        "profiling.cancellation.delay",
        To::Flag("request-cancellation-delay"),
    ),
    ("profiling.exclude_from_results", To::Own(phases::included)),
    ("profiling.seamless", To::Flag("warmup-seamless")),
    ("warmup.name", To::Nothing),
    ("warmup.kind", To::Own(phases::kind)),
    ("warmup.type", To::Own(phases::warmup_type)),
    ("warmup.requests", To::Flag("warmup-request-count")),
    ("warmup.sessions", To::Flag("num-warmup-sessions")),
    ("warmup.duration", To::Flag("warmup-duration")),
    ("warmup.grace_period", To::Flag("warmup-grace-period")),
    ("warmup.concurrency", To::Flag("warmup-concurrency")),
    (
        "warmup.concurrency_ramp",
        To::Ramp("warmup-concurrency-ramp-duration"),
    ),
    (
        "warmup.prefill_concurrency",
        To::Flag("warmup-prefill-concurrency"),
    ),
    (
        "warmup.prefill_ramp",
        To::Ramp("warmup-prefill-concurrency-ramp-duration"),
    ),
    ("warmup.rate", To::Flag("warmup-request-rate")),
    (
        "warmup.rate_ramp",
        To::Ramp("warmup-request-rate-ramp-duration"),
    ),
    (
        "warmup.cancellation",
        To::No("a warmup cancels nothing; leave it out"),
    ),
    ("warmup.exclude_from_results", To::Own(phases::excluded)),
    (
        "warmup.seamless",
        To::No("say `seamless: true` in the phase that does not wait, profiling"),
    ),
    // What comes out.
    ("slos", To::Own(super::translate::slos)),
    ("artifacts.dir", To::Flag("artifact-dir")),
    ("artifacts.prefix", To::Flag("profile-export-prefix")),
    ("artifacts.summary", To::Own(super::translate::summary)),
    ("artifacts.records", To::Own(super::translate::records)),
    ("artifacts.raw", To::Own(super::translate::raw)),
    ("artifacts.trace", To::Flag("export-http-trace")),
    ("artifacts.slice_duration", To::Flag("slice-duration")),
    ("artifacts.show_trace_timing", To::Flag("show-trace-timing")),
    (
        "artifacts.export_outputs_json",
        To::Flag("export-outputs-json"),
    ),
    ("artifacts.auto_plot", To::Own(super::translate::no_plot)),
    (
        "artifacts.plot_required",
        To::Own(super::translate::no_plot),
    ),
    // The rest.
    ("tokenizer.name", To::Flag("tokenizer")),
    ("tokenizer.revision", To::Flag("tokenizer-revision")),
    (
        "tokenizer.trust_remote_code",
        To::Flag("tokenizer-trust-remote-code"),
    ),
    (
        "tokenizer.apply_chat_template",
        To::Flag("apply-chat-template"),
    ),
    ("server_metrics.enabled", To::Not("no-server-metrics")),
    ("server_metrics.urls", To::Flag("server-metrics")),
    ("server_metrics.formats", To::Flag("server-metrics-formats")),
    ("gpu_telemetry.enabled", To::Not("no-gpu-telemetry")),
    ("gpu_telemetry.urls", To::Flag("gpu-telemetry")),
    ("runtime.ui", To::Flag("ui")),
    ("runtime.stats_interval", To::Flag("stats-interval")),
    ("runtime.workers", To::Flag("workers-max")),
    ("runtime.record_processors", To::Flag("record-processors")),
    ("runtime.api_port", To::No(NOT_HERE)),
    ("runtime.api_host", To::No(NOT_HERE)),
    ("runtime.workers_per_pod", To::No(NOT_HERE)),
    ("runtime.communication", To::No(NOT_HERE)),
    ("logging.level", To::Flag("log-level")),
    // Bare names of a phase or the dataset.
    ("rate", To::Flag("request-rate")),
    ("requests", To::Flag("request-count")),
    ("sessions", To::Flag("num-conversations")),
    ("duration", To::Flag("benchmark-duration")),
    ("users", To::Flag("num-users")),
    ("accuracy", To::No(NOT_HERE)),
    ("metrics", To::No(NOT_HERE)),
    ("mlflow", To::No(NOT_HERE)),
    ("network_latency", To::No(NOT_HERE)),
    ("otel", To::No(NOT_HERE)),
    ("scenario", To::No(NOT_HERE)),
    ("wandb", To::No(NOT_HERE)),
    (
        "plot",
        To::No("pinfire draws after the run: pinfire plot --config"),
    ),
    // Several runs.
    ("sweep.type", To::Own(super::translate::sweep_type)),
    ("sweep.parameters", To::Own(super::translate::parameters)),
    ("sweep.iteration_order", To::Flag("parameter-sweep-mode")),
    ("sweep.same_seed", To::Flag("parameter-sweep-same-seed")),
    (
        "sweep.cooldown_seconds",
        To::Flag("parameter-sweep-cooldown-seconds"),
    ),
    ("sweep.sla_filters", To::No(SEARCH)),
    ("sweep.runs", To::No("give lists under sweep.parameters")),
    ("sweep.recipe_name", To::No(SEARCH)),
    ("sweep.post_process", To::No(NOT_HERE)),
    ("multi_run.num_runs", To::Flag("num-profile-runs")),
    (
        "multi_run.cooldown_seconds",
        To::Flag("profile-run-cooldown-seconds"),
    ),
    ("multi_run.confidence_level", To::Flag("confidence-level")),
    (
        "multi_run.set_consistent_seed",
        To::Flag("set-consistent-seed"),
    ),
    (
        "multi_run.vary_seed_per_trial",
        To::Flag("vary-seed-per-trial"),
    ),
    (
        "multi_run.disable_warmup_after_first",
        To::Flag("profile-run-disable-warmup-after-first"),
    ),
    (
        "multi_run.convergence.metric",
        To::Flag("convergence-metric"),
    ),
    ("multi_run.convergence.stat", To::Flag("convergence-stat")),
    ("multi_run.convergence.mode", To::Flag("convergence-mode")),
    (
        "multi_run.convergence.threshold",
        To::Flag("convergence-threshold"),
    ),
    (
        "multi_run.convergence.min_runs",
        To::Flag("convergence-min-runs"),
    ),
];

/// What is at this path, and whether others continue it.
pub fn at(path: &str) -> (Option<To>, bool) {
    let row = LAYOUT.iter().find(|(known, _)| *known == path);
    let section = LAYOUT
        .iter()
        .any(|(known, _)| continues(known, path).is_some());
    (row.map(|(_, to)| *to), section)
}

/// The keys of a section; of the top, for the empty path.
pub fn keys(section: &str) -> impl Iterator<Item = &'static str> {
    LAYOUT.iter().filter_map(move |(known, _)| {
        let rest = if section.is_empty() {
            Some(*known)
        } else {
            continues(known, section)
        };
        rest.and_then(|rest| rest.split('.').next())
    })
}

fn continues<'a>(path: &'a str, section: &str) -> Option<&'a str> {
    path.strip_prefix(section)?.strip_prefix('.')
}
