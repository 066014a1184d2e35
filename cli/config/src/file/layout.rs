//! Which setting each key of AIPerf's layout stands for: one table.
//!
//! Paths are in snake_case and from the top, `benchmark:` left out; a path that others continue is
//! a section. Beside these keys every setting may be given by its own name (see `translate.rs`).

use super::translate::{self, Translation, phases};

/// What a key stands for.
#[derive(Clone, Copy)]
pub enum To {
    /// A setting, given as the key's value says: a list is a list of values, a map is JSON.
    Flag(&'static str),
    /// A mean and its deviation: a number, or a map of `mean` and `stddev`.
    Spread(&'static str, &'static str),
    /// A switch whose setting says the opposite.
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

/// Reads the value of a key that is not simply a setting's.
pub type Own = fn(&mut Translation, &str, &super::node::Node) -> anyhow::Result<()>;

const NOT_HERE: &str = "it belongs to a feature that pinfire does not have; leave it out";
const TEXT_ONLY: &str = "pinfire makes no pictures, sounds or videos; leave it out";

const SEARCH: &str = "give the flags search and slo instead (docs/SWEEPS.md)";

/// Key to setting.
#[rustfmt::skip]
pub const LAYOUT: &[(&str, To)] = &[
    ("version", To::Own(translate::version)),
    ("schema_version", To::Own(translate::schema_version)),
    // Models.
    ("models", To::Own(translate::models)),
    // Endpoint.
    ("endpoint.url", To::Flag("url")),
    ("endpoint.urls", To::Flag("url")),
    ("endpoint.url_strategy", To::Flag("url_strategy")),
    ("endpoint.type", To::Flag("endpoint_type")),
    ("endpoint.path", To::Flag("endpoint")),
    ("endpoint.streaming", To::Flag("streaming")),
    ("endpoint.timeout", To::Flag("request_timeout_seconds")),
    ("endpoint.connect_timeout", To::Flag("connect_timeout")),
    ("endpoint.api_key", To::Flag("api_key")),
    ("endpoint.headers", To::Flag("header")),
    ("endpoint.extra", To::Flag("extra_inputs")),
    ("endpoint.template", To::Own(translate::template)),
    ("endpoint.transport", To::Flag("transport")),
    ("endpoint.connection_reuse", To::Flag("connection_reuse_strategy")),
    ("endpoint.session_header", To::Flag("session_header")),
    ("endpoint.request_content_type", To::Flag("request_content_type")),
    ("endpoint.use_legacy_max_tokens", To::Flag("use_legacy_max_tokens")),
    ("endpoint.use_server_token_count", To::Flag("use_server_token_count")),
    ("endpoint.per_chunk_usage", To::Flag("per_chunk_usage")),
    ("endpoint.wait_for_model_timeout", To::Flag("wait_for_model_timeout")),
    ("endpoint.wait_for_model_mode", To::Flag("wait_for_model_mode")),
    ("endpoint.wait_for_model_interval", To::Flag("wait_for_model_interval")),
    ("endpoint.ca_cert", To::Flag("ca_cert")),
    ("endpoint.insecure", To::Flag("insecure")),
    ("endpoint.download_video_content", To::No(TEXT_ONLY)),
    ("endpoint.uuid_and_strip", To::No(TEXT_ONLY)),
    // Dataset.
    ("datasets", To::Own(translate::datasets)),
    ("dataset.name", To::Nothing),
    ("dataset.type", To::Own(translate::dataset_type)),
    ("dataset.path", To::Flag("input_file")),
    ("dataset.format", To::Flag("custom_dataset_type")),
    ("dataset.sampling", To::Flag("dataset_sampling_strategy")),
    ("dataset.entries", To::Flag("num_dataset_entries")),
    ("dataset.random_seed", To::No("the run has one seed; give randomSeed at the top")),
    ("dataset.isl", To::Spread("isl", "isl_stddev")),
    ("dataset.osl", To::Spread("osl", "osl_stddev")),
    ("dataset.block_size", To::Flag("isl_block_size")),
    ("dataset.prompts.isl", To::Spread("isl", "isl_stddev")),
    ("dataset.prompts.osl", To::Spread("osl", "osl_stddev")),
    ("dataset.prompts.block_size", To::Flag("isl_block_size")),
    ("dataset.prompts.batch_size", To::Flag("prompt_batch_size")),
    ("dataset.prompts.corpus", To::Flag("prompt_corpus")),
    ("dataset.prompts.cache_bust", To::No(NOT_HERE)),
    ("dataset.prompts.sequence_distribution", To::Own(translate::sequence_distribution)),
    ("dataset.prefix_prompts.pool_size", To::Flag("num_prefix_prompts")),
    ("dataset.prefix_prompts.length", To::Flag("prefix_prompt_length")),
    ("dataset.prefix_prompts.shared_system_length", To::Flag("shared_system_prompt_length")),
    ("dataset.prefix_prompts.user_context_length", To::Flag("user_context_prompt_length")),
    ("dataset.system_prompt", To::Flag("system_prompt")),
    ("dataset.turns", To::Spread("session_turns_mean", "session_turns_stddev")),
    ("dataset.turn_delay", To::Spread("session_turn_delay_mean", "session_turn_delay_stddev")),
    ("dataset.turn_delay_ratio", To::Flag("session_delay_ratio")),
    ("dataset.inter_turn_delay_cap_seconds", To::Flag("inter_turn_delay_cap_seconds")),
    ("dataset.ignore_trace_delays", To::Flag("ignore_trace_delays")),
    ("dataset.synthesis.speedup_ratio", To::Flag("synthesis_speedup_ratio")),
    ("dataset.synthesis.prefix_len_multiplier", To::Flag("synthesis_prefix_len_multiplier")),
    ("dataset.synthesis.prefix_root_multiplier", To::Flag("synthesis_prefix_root_multiplier")),
    ("dataset.synthesis.prompt_len_multiplier", To::Flag("synthesis_prompt_len_multiplier")),
    ("dataset.synthesis.output_len_multiplier", To::Flag("synthesis_output_len_multiplier")),
    ("dataset.synthesis.max_isl", To::Flag("synthesis_max_isl")),
    ("dataset.synthesis.max_osl", To::Flag("synthesis_max_osl")),
    ("dataset.rankings.passages", To::Spread("rankings_passages_mean", "rankings_passages_stddev")),
    ("dataset.rankings.passage_tokens", To::Spread("rankings_passages_prompt_token_mean", "rankings_passages_prompt_token_stddev")),
    ("dataset.rankings.query_tokens", To::Spread("rankings_query_prompt_token_mean", "rankings_query_prompt_token_stddev")),
    ("dataset.images", To::No(TEXT_ONLY)),
    ("dataset.audio", To::No(TEXT_ONLY)),
    ("dataset.video", To::No(TEXT_ONLY)),
    // Phases.
    ("phases", To::Own(phases::list)),
    ("profiling.name", To::Nothing),
    ("profiling.kind", To::Own(phases::kind)),
    ("profiling.type", To::Own(phases::profiling_type)),
    ("profiling.requests", To::Flag("request_count")),
    ("profiling.sessions", To::Flag("num_conversations")),
    ("profiling.duration", To::Flag("benchmark_duration")),
    ("profiling.grace_period", To::Flag("benchmark_grace_period")),
    ("profiling.concurrency", To::Flag("concurrency")),
    ("profiling.concurrency_ramp", To::Ramp("concurrency_ramp_duration")),
    ("profiling.prefill_concurrency", To::Flag("prefill_concurrency")),
    ("profiling.prefill_ramp", To::Ramp("prefill_concurrency_ramp_duration")),
    ("profiling.rate", To::Own(phases::profiling_rate)),
    ("profiling.rate_ramp", To::Ramp("request_rate_ramp_duration")),
    ("profiling.rate_series", To::Own(phases::rate_series)),
    ("profiling.users", To::Flag("num_users")),
    ("profiling.smoothness", To::Flag("arrival_smoothness")),
    ("profiling.auto_offset", To::Flag("fixed_schedule_auto_offset")),
    ("profiling.start_offset", To::Flag("fixed_schedule_start_offset")),
    ("profiling.end_offset", To::Flag("fixed_schedule_end_offset")),
    ("profiling.failed_request_threshold", To::Flag("failed_request_threshold")),
    ("profiling.cancellation.rate", To::Flag("request_cancellation_rate")),
    ("profiling.cancellation.delay", To::Flag("request_cancellation_delay")),
    ("profiling.exclude_from_results", To::Own(phases::included)),
    ("profiling.seamless", To::Flag("warmup_seamless")),
    ("warmup.name", To::Nothing),
    ("warmup.kind", To::Own(phases::kind)),
    ("warmup.type", To::Own(phases::warmup_type)),
    ("warmup.requests", To::Flag("warmup_request_count")),
    ("warmup.sessions", To::Flag("num_warmup_sessions")),
    ("warmup.duration", To::Flag("warmup_duration")),
    ("warmup.grace_period", To::Flag("warmup_grace_period")),
    ("warmup.concurrency", To::Flag("warmup_concurrency")),
    ("warmup.concurrency_ramp", To::Ramp("warmup_concurrency_ramp_duration")),
    ("warmup.prefill_concurrency", To::Flag("warmup_prefill_concurrency")),
    ("warmup.prefill_ramp", To::Ramp("warmup_prefill_concurrency_ramp_duration")),
    ("warmup.rate", To::Flag("warmup_request_rate")),
    ("warmup.rate_ramp", To::Ramp("warmup_request_rate_ramp_duration")),
    ("warmup.cancellation", To::No("a warmup cancels nothing; leave it out")),
    ("warmup.exclude_from_results", To::Own(phases::excluded)),
    ("warmup.seamless", To::No("say `seamless: true` in the phase that does not wait, profiling")),
    // What comes out.
    ("slos", To::Own(translate::slos)),
    ("artifacts.dir", To::Flag("artifact_dir")),
    ("artifacts.prefix", To::Flag("profile_export_prefix")),
    ("artifacts.summary", To::Own(translate::summary)),
    ("artifacts.records", To::Own(translate::records)),
    ("artifacts.raw", To::Own(translate::raw)),
    ("artifacts.trace", To::Flag("export_http_trace")),
    ("artifacts.slice_duration", To::Flag("slice_duration")),
    ("artifacts.show_trace_timing", To::Flag("show_trace_timing")),
    ("artifacts.export_outputs_json", To::Flag("export_outputs_json")),
    ("artifacts.auto_plot", To::Own(translate::no_plot)),
    ("artifacts.plot_required", To::Own(translate::no_plot)),
    // The rest.
    ("tokenizer.name", To::Flag("tokenizer")),
    ("tokenizer.revision", To::Flag("tokenizer_revision")),
    ("tokenizer.trust_remote_code", To::Flag("tokenizer_trust_remote_code")),
    ("tokenizer.apply_chat_template", To::Flag("apply_chat_template")),
    ("server_metrics.enabled", To::Not("no_server_metrics")),
    ("server_metrics.urls", To::Flag("server_metrics")),
    ("server_metrics.formats", To::Flag("server_metrics_formats")),
    ("gpu_telemetry.enabled", To::Not("no_gpu_telemetry")),
    ("gpu_telemetry.urls", To::Flag("gpu_telemetry")),
    ("runtime.ui", To::Flag("ui")),
    ("runtime.stats_interval", To::Flag("stats_interval")),
    ("runtime.workers", To::Flag("workers_max")),
    ("runtime.record_processors", To::Flag("record_processors")),
    ("runtime.api_port", To::No(NOT_HERE)),
    ("runtime.api_host", To::No(NOT_HERE)),
    ("runtime.workers_per_pod", To::No(NOT_HERE)),
    ("runtime.communication", To::No(NOT_HERE)),
    ("logging.level", To::Flag("log_level")),
    // Bare names of a phase or the dataset.
    ("rate", To::Flag("request_rate")),
    ("requests", To::Flag("request_count")),
    ("sessions", To::Flag("num_conversations")),
    ("duration", To::Flag("benchmark_duration")),
    ("users", To::Flag("num_users")),
    ("accuracy", To::No(NOT_HERE)),
    ("metrics", To::No(NOT_HERE)),
    ("mlflow", To::No(NOT_HERE)),
    ("network_latency", To::No(NOT_HERE)),
    ("otel", To::No(NOT_HERE)),
    ("scenario", To::No(NOT_HERE)),
    ("wandb", To::No(NOT_HERE)),
    ("plot", To::No("pinfire draws after the run: pinfire plot --config")),
    // Several runs.
    ("sweep.type", To::Own(translate::sweep_type)),
    ("sweep.parameters", To::Own(translate::parameters)),
    ("sweep.iteration_order", To::Flag("parameter_sweep_mode")),
    ("sweep.same_seed", To::Flag("parameter_sweep_same_seed")),
    ("sweep.cooldown_seconds", To::Flag("parameter_sweep_cooldown_seconds")),
    ("sweep.sla_filters", To::No(SEARCH)),
    ("sweep.runs", To::No("give lists under sweep.parameters")),
    ("sweep.recipe_name", To::No(SEARCH)),
    ("sweep.post_process", To::No(NOT_HERE)),
    ("multi_run.num_runs", To::Flag("num_profile_runs")),
    ("multi_run.cooldown_seconds", To::Flag("profile_run_cooldown_seconds")),
    ("multi_run.confidence_level", To::Flag("confidence_level")),
    ("multi_run.set_consistent_seed", To::Flag("set_consistent_seed")),
    ("multi_run.vary_seed_per_trial", To::Flag("vary_seed_per_trial")),
    ("multi_run.disable_warmup_after_first", To::Flag("profile_run_disable_warmup_after_first")),
    ("multi_run.convergence.metric", To::Flag("convergence_metric")),
    ("multi_run.convergence.stat", To::Flag("convergence_stat")),
    ("multi_run.convergence.mode", To::Flag("convergence_mode")),
    ("multi_run.convergence.threshold", To::Flag("convergence_threshold")),
    ("multi_run.convergence.min_runs", To::Flag("convergence_min_runs")),
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
