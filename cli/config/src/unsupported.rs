//! AIPerf's flags that pinfire does not take: each is refused with one line, none is ignored: a
//! script that asks for something never gets a run without it.

/// Flags of features that pinfire does not have.
const NOT_PART: &[&str] = &[
    "accuracy-benchmark",
    "accuracy-enable-cot",
    "accuracy-grader",
    "accuracy-n-shots",
    "accuracy-no-enable-cot",
    "accuracy-system-prompt",
    "accuracy-tasks",
    "accuracy-verbose",
    "agentic-cache-warmup-duration",
    "agentic-warmup-grace-period",
    "allow-dataset-wrap",
    "api-host",
    "api-port",
    "audio-batch-size",
    "audio-depths",
    "audio-format",
    "audio-length-mean",
    "audio-length-stddev",
    "audio-num-channels",
    "audio-sample-rates",
    "auto-plot",
    "batch-size-audio",
    "batch-size-image",
    "batch-size-video",
    "bo-constraint-mode",
    "burst-phase-starts",
    "cache-bust",
    "concurrency-max",
    "concurrency-min",
    "concurrency-steps",
    "dataset-filter",
    "degradation-metric-tag",
    "degradation-stat",
    "degradation-threshold",
    "download-video-content",
    "e2e-sla-ms",
    "error-rate-sla",
    "export-outputs-json",
    "force-min-tokens",
    "gen-ai-provider",
    "hf-subset",
    "hf-weka-dataset",
    "image-batch-size",
    "image-format",
    "image-height-mean",
    "image-height-stddev",
    "image-source",
    "image-source-sampling",
    "image-width-mean",
    "image-width-stddev",
    "isl-max",
    "isl-min",
    "isl-osl-pairs",
    "isl-steps",
    "itl-sla-ms",
    "max-context-length",
    "max-idle-gap-cap-seconds",
    "mlflow-artifact-glob",
    "mlflow-experiment",
    "mlflow-parent-run-id",
    "mlflow-run-name",
    "mlflow-tag",
    "mlflow-tracking-uri",
    "network-latency-automatic",
    "network-latency-mean",
    "network-latency-ping-interval",
    "no-allow-dataset-wrap",
    "no-auto-plot",
    "no-force-min-tokens",
    "no-open-loop-replay",
    "omit-kv-hints",
    "open-loop-replay",
    "open-loop-strict",
    "optuna-acquisition",
    "optuna-sampler",
    "optuna-terminator",
    "osl-max",
    "osl-min",
    "osl-steps",
    "otel-resource-attributes",
    "otel-url",
    "plot-required",
    "replay-speedup",
    "reset-kv-cache",
    "reset-kv-cache-path",
    "reset-kv-cache-timeout-seconds",
    "scenario",
    "search-direction",
    "search-initial-points",
    "search-metric",
    "search-percentile-pooling",
    "search-planner",
    "search-random-seed",
    "search-recipe",
    "search-sla",
    "search-sla-tier",
    "search-space",
    "search-stat",
    "search-style",
    "server-profiler",
    "server-profiler-start-path",
    "server-profiler-stop-path",
    "server-profiler-timeout-seconds",
    "slo-attainment-fraction",
    "stream",
    "sweep-variant",
    "system-idle-gap-cap-seconds",
    "tpot-sla-ms",
    "trace-idle-gap-cap-seconds",
    "trace-session-sample-ratio",
    "trajectory-start-max-ratio",
    "trajectory-start-min-ratio",
    "ttft-sla-ms",
    "unsafe-override",
    "use-think-time-only",
    "uuid-and-strip",
    "variant",
    "video-audio-codec",
    "video-audio-depth",
    "video-audio-num-channels",
    "video-audio-sample-rate",
    "video-batch-size",
    "video-codec",
    "video-duration",
    "video-format",
    "video-fps",
    "video-height",
    "video-synth-type",
    "video-width",
    "wandb-entity",
    "wandb-project",
    "wandb-run-name",
    "wandb-tag",
    "zmq-dual-bind",
    "zmq-host",
    "zmq-ipc-path",
];

/// Flags of features that pinfire does not have, with another way to the same end.
const ANOTHER_WAY: &[(&str, &str)] = &[
    ("max-workers", NO_WORKERS),
    (
        "public-dataset",
        "nothing is downloaded; for sharegpt fetch ShareGPT_V3_unfiltered_cleaned_split.json and \
         give it with --input-file FILE --custom-dataset-type sharegpt",
    ),
    ("record-processor-service-count", NO_PROCESSORS),
    ("record-processors", NO_PROCESSORS),
    ("workers-max", NO_WORKERS),
];

const NO_WORKERS: &str = "there are no worker processes, and requests in flight need none; --cores N \
                          says how many CPUs send and receive. Leave it out";
const NO_PROCESSORS: &str = "records are analysed in this process, away from the CPUs that --cores \
                             gives to sending. Leave it out";

/// Why the flag of this name is not taken; `None` if it is not one of AIPerf's, or is taken.
pub fn why(name: &str) -> Option<String> {
    if let Some((_, way)) = ANOTHER_WAY.iter().find(|(flag, _)| *flag == name) {
        Some(format!("--{name}: {way}"))
    } else if NOT_PART.contains(&name) {
        Some(format!(
            "--{name} belongs to a feature that pinfire does not have; nothing was sent"
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_flags_are_named() {
        let line = why("auto-plot").unwrap();
        assert!(line.starts_with("--auto-plot belongs"), "{line}");
        let line = why("accuracy-benchmark").unwrap();
        assert!(line.contains("does not have"), "{line}");
        assert_eq!(why("model"), None);
    }

    #[test]
    fn the_tables_are_sorted_and_disjoint_and_hold_no_setting() {
        assert!(NOT_PART.is_sorted() && ANOTHER_WAY.is_sorted());
        let another = ANOTHER_WAY.iter();
        assert!(another.copied().all(|(flag, _)| !NOT_PART.contains(&flag)));
        let known = crate::config::settings();
        let refused = NOT_PART
            .iter()
            .chain(ANOTHER_WAY.iter().map(|(flag, _)| flag));
        for flag in refused {
            assert!(known.named(flag).is_none(), "--{flag}");
        }
    }
}
