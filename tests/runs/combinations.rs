//! Flags that do not go together: each combination is refused with one line that says what is
//! wrong, before anything is sent. So is, by its name, every flag of AIPerf that pinfire does not
//! take.

use pinfire_tests::binary::call;

use crate::refusals::one_line;

/// Flags, and what the line must say.
const COMBINATIONS: &[(&str, &[&str])] = &[
    (
        "--request-cancellation-delay 1",
        &[
            "--request-cancellation-delay",
            "--request-cancellation-rate",
        ],
    ),
    ("--request-cancellation-rate 0", &["0", "at most 100"]),
    ("--request-cancellation-rate=-5", &["-5", "at most 100"]),
    (
        "--request-cancellation-rate 100.5",
        &["100.5", "at most 100"],
    ),
    ("--num-users 3", &["--user-centric-rate"]),
    (
        "--user-centric-rate 1 --session-turns-mean 3",
        &["--num-users"],
    ),
    (
        "--user-centric-rate 1 --num-users 3",
        &["--session-turns-mean", "--request-rate"],
    ),
    ("--user-centric-rate 1", &["--session-turns-mean"]),
    (
        "--user-centric-rate 1 --session-turns-mean 3 --num-users 11",
        &["10", "11"],
    ),
    (
        "--user-centric-rate 1 --session-turns-mean 3 --num-users 5 --num-sessions 4",
        &["4", "5"],
    ),
    (
        "--user-centric-rate 1 --session-turns-mean 3 --num-users 5 --request-count 3",
        &["3", "5"],
    ),
    ("--request-rate 0", &["--request-rate", "above 0"]),
    ("--user-centric-rate 0", &["--user-centric-rate", "above 0"]),
    ("--concurrency 0", &["--concurrency", "at least 1"]),
    ("--request-count 0", &["--request-count", "at least 1"]),
    ("--num-sessions 0", &["at least 1"]),
    ("--warmup-request-count 0", &["at least 1"]),
    (
        "--benchmark-duration 0",
        &["--benchmark-duration", "above 0"],
    ),
    ("--warmup-duration 0", &["--warmup-duration", "above 0"]),
    (
        "--concurrency-ramp-duration 0",
        &["--concurrency-ramp-duration", "above 0"],
    ),
    ("--request-rate-ramp-duration=-1", &["above 0"]),
    (
        "--request-rate 5 --arrival-smoothness 0",
        &["--arrival-smoothness", "above 0"],
    ),
    (
        "--concurrency 4 --prefill-concurrency 2",
        &["--prefill-concurrency", "--streaming"],
    ),
    (
        "--streaming --concurrency 4 --prefill-concurrency 5",
        &["5", "4", "must not exceed"],
    ),
    (
        "--streaming --prefill-concurrency 2",
        &["2", "1", "must not exceed"],
    ),
    (
        "--streaming --endpoint-type embeddings --prefill-concurrency 1",
        &["--prefill-concurrency", "embeddings"],
    ),
    ("--benchmark-grace-period 3", &["--benchmark-duration"]),
    (
        "--warmup-grace-period 3",
        &[
            "--warmup-request-count",
            "--warmup-duration",
            "--num-warmup-sessions",
        ],
    ),
    (
        "--warmup-grace-period 3 --warmup-request-count 2",
        &["--warmup-duration"],
    ),
    (
        "--warmup-request-rate-ramp-duration 3 --warmup-request-count 2",
        &["--warmup-request-rate"],
    ),
    ("--arrival-smoothness 2", &["--request-rate"]),
    (
        "--request-rate 5 --arrival-pattern constant --arrival-smoothness 2",
        &["gamma"],
    ),
    ("--request-rate-ramp-duration 3", &["--request-rate"]),
    (
        "--request-rate 5 --request-rate-series f",
        &["--request-rate", "--request-rate-series"],
    ),
    (
        "--user-centric-rate 1 --num-users 2 --session-turns-mean 2 --request-rate-series f",
        &["--user-centric-rate", "--request-rate-series"],
    ),
    (
        "--fixed-schedule-start-offset 5",
        &["--fixed-schedule-start-offset", "--fixed-schedule"],
    ),
    ("--fixed-schedule-auto-offset", &["--fixed-schedule"]),
    (
        "--fixed-schedule-end-offset 5",
        &["--fixed-schedule-end-offset", "--fixed-schedule"],
    ),
    ("--fixed-schedule", &["timestamps", "--input-file"]),
    (
        "--custom-dataset-type mooncake_trace",
        &["--custom-dataset-type", "--input-file"],
    ),
    ("--osl-stddev 5", &["--osl-stddev", "--osl"]),
    (
        "--wait-for-model-mode models",
        &["--wait-for-model-mode", "--wait-for-model-timeout"],
    ),
    (
        "--wait-for-model-interval 2",
        &["--wait-for-model-interval", "--wait-for-model-timeout"],
    ),
    ("--per-chunk-usage", &["--per-chunk-usage", "--streaming"]),
    (
        "--per-chunk-usage --streaming",
        &["--per-chunk-usage", "--use-server-token-count"],
    ),
    (
        "--per-chunk-usage --streaming --use-server-token-count --endpoint-type completions",
        &["--per-chunk-usage", "chat"],
    ),
    ("--endpoint-type template", &["payload_template"]),
    ("--isl 5 --synthetic-input-tokens-mean 5", &["--isl"]),
    ("--request-count 5 --num-requests 5", &["--request-count"]),
    ("--streaming --streaming", &["--streaming"]),
    ("--url http://h:0", &["h:0"]),
    ("--url ftp://h", &["ftp"]),
    ("--url http://", &["http://"]),
    ("--artifact-dir /dev/null", &["/dev/null"]),
    ("--artifact-dir /dev/null/below", &["/dev/null/below"]),
    ("--failed-request-threshold 1.5", &["between 0 and 1"]),
];

#[test]
fn combinations_that_make_no_sense() {
    for (flags, words) in COMBINATIONS {
        let url = if flags.contains("--url ") {
            ""
        } else {
            "--url mock: "
        };
        let line = format!("profile --model m --tokenizer builtin {url}{flags}");
        let ended = call(line.split_whitespace()).run().code(1);
        one_line(&ended, "");
        for word in *words {
            assert!(ended.stderr.contains(word), "{flags}: {}", ended.stderr);
        }
    }
}

/// Combinations over a trace with timestamps.
#[test]
fn a_trace_with_timestamps_and_what_it_excludes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace.jsonl");
    std::fs::write(
        &file,
        "{\"timestamp\": 5, \"input_length\": 8, \"output_length\": 2}\n",
    )
    .unwrap();
    let untimed = folder.path().join("untimed.jsonl");
    std::fs::write(&untimed, "{\"input_length\": 8, \"output_length\": 2}\n").unwrap();
    let trace = format!(
        "--input-file {} --custom-dataset-type mooncake_trace",
        file.display()
    );
    let bare = format!(
        "--input-file {} --custom-dataset-type mooncake_trace",
        untimed.display()
    );
    for (flags, words) in [
        (
            format!("{trace} --request-rate 5"),
            &["--request-rate", "--no-fixed-schedule"][..],
        ),
        (
            format!("{trace} --user-centric-rate 1 --num-users 1"),
            &["--user-centric-rate", "--no-fixed-schedule"],
        ),
        (
            format!("{trace} --fixed-schedule --request-rate 5"),
            &["--request-rate"],
        ),
        (
            format!("{trace} --fixed-schedule --arrival-smoothness 2"),
            &["--arrival-smoothness"],
        ),
        (
            format!("{trace} --fixed-schedule-auto-offset --fixed-schedule-start-offset 1"),
            &["both"],
        ),
        (
            format!("{trace} --fixed-schedule-start-offset 9 --fixed-schedule-end-offset 5"),
            &["9", "5", "after"],
        ),
        (
            format!("{bare} --fixed-schedule"),
            &["untimed.jsonl", "timestamp"],
        ),
        (format!("{trace} --concurrency 1,2"), &["sweep"]),
        (format!("{trace} --isl 5"), &["--isl", "synthetic"]),
        (
            format!("{trace} --session-turns-mean 2"),
            &["--session-turns-mean", "synthetic"],
        ),
        (
            format!("{trace} --shared-system-prompt-length 5"),
            &["--shared-system-prompt-length", "synthetic"],
        ),
    ] {
        let line = format!("profile --model m --tokenizer builtin --url mock: {flags}");
        let ended = call(line.split_whitespace()).run().code(1);
        one_line(&ended, "");
        for word in words {
            assert!(ended.stderr.contains(word), "{flags}: {}", ended.stderr);
        }
    }
}

/// AIPerf's flags that are no part of pinfire.
const NOT_PART: &str = "--reset-kv-cache --reset-kv-cache-timeout-seconds --reset-kv-cache-path \
    --server-profiler --server-profiler-timeout-seconds --server-profiler-start-path \
    --server-profiler-stop-path --download-video-content --uuid-and-strip --hf-subset \
    --hf-weka-dataset --dataset-filter --use-think-time-only --max-context-length \
    --allow-dataset-wrap --no-allow-dataset-wrap --trace-session-sample-ratio \
    --trajectory-start-min-ratio --trajectory-start-max-ratio --burst-phase-starts \
    --trace-idle-gap-cap-seconds --system-idle-gap-cap-seconds --scenario --unsafe-override \
    --agentic-cache-warmup-duration --agentic-warmup-grace-period --max-idle-gap-cap-seconds \
    --replay-speedup --open-loop-replay --no-open-loop-replay --open-loop-strict --omit-kv-hints \
    --force-min-tokens --no-force-min-tokens --cache-bust --auto-plot --no-auto-plot --plot-required \
    --otel-url --stream --otel-resource-attributes --gen-ai-provider --mlflow-tracking-uri \
    --mlflow-experiment --mlflow-run-name --mlflow-tag --mlflow-parent-run-id \
    --mlflow-artifact-glob --wandb-project --wandb-entity --wandb-run-name --wandb-tag \
    --network-latency-automatic --network-latency-mean --network-latency-ping-interval --api-port \
    --api-host --zmq-host --zmq-ipc-path --zmq-dual-bind --variant --sweep-variant --search-space \
    --search-metric --search-stat --search-direction \
    --search-initial-points --search-random-seed --search-planner --search-percentile-pooling \
    --optuna-sampler --optuna-acquisition --optuna-terminator --bo-constraint-mode --search-sla \
    --search-sla-tier --search-recipe --search-style --ttft-sla-ms --itl-sla-ms --tpot-sla-ms \
    --e2e-sla-ms --error-rate-sla --slo-attainment-fraction --isl-osl-pairs \
    --degradation-threshold --degradation-metric-tag --degradation-stat --isl-min --isl-max \
    --isl-steps --osl-min --osl-max --osl-steps --concurrency-min --concurrency-max \
    --concurrency-steps --audio-batch-size --batch-size-audio --audio-length-mean \
    --audio-length-stddev --audio-format --audio-depths --audio-sample-rates --audio-num-channels \
    --image-width-mean --image-width-stddev --image-height-mean --image-height-stddev \
    --image-batch-size --batch-size-image --image-format --image-source --image-source-sampling \
    --video-batch-size --batch-size-video --video-duration --video-fps --video-width \
    --video-height --video-synth-type --video-format --video-codec --video-audio-sample-rate \
    --video-audio-num-channels --video-audio-codec --video-audio-depth --accuracy-benchmark \
    --accuracy-tasks --accuracy-n-shots --accuracy-enable-cot --accuracy-no-enable-cot \
    --accuracy-grader --accuracy-system-prompt --accuracy-verbose";

#[test]
fn every_flag_that_is_not_part_is_refused_by_name() {
    for flag in NOT_PART.split_whitespace() {
        let ended = call(["profile", "--model", "m", flag, "x"]).run().code(1);
        one_line(&ended, flag);
        assert!(ended.stderr.contains("does not have"), "{}", ended.stderr);
    }
}
