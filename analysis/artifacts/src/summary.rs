//! `profile_export_aiperf.json`: a fixed head, a fixed list of metrics, the run, all other metrics.
//!
//! Blocks of pinfire's own (`cancellation`, `client_health`, `request_accounting`, …) come last, so that
//! no key of AIPerf moves.

use crate::tag;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::calibration::Calibration;
use crate::config::InputConfig;
use crate::samples::TelemetryData;
use crate::sharded::ShardedRun;
use crate::{AnswerCounts, Block, Carried, ErrorCount, Metrics, Ordered, Part};

/// The metrics before the run's data, in this order.
const FIRST: [&str; 25] = [
    tag::REQUEST_THROUGHPUT,
    tag::REQUEST_LATENCY,
    tag::REQUEST_COUNT,
    tag::TIME_TO_FIRST_TOKEN,
    tag::TIME_TO_SECOND_TOKEN,
    tag::INTER_TOKEN_LATENCY,
    tag::OUTPUT_TOKEN_THROUGHPUT,
    tag::OUTPUT_TOKEN_THROUGHPUT_PER_USER,
    tag::OUTPUT_SEQUENCE_LENGTH,
    tag::INPUT_SEQUENCE_LENGTH,
    tag::GOODPUT,
    tag::GOOD_REQUEST_COUNT,
    tag::OUTPUT_TOKEN_COUNT,
    tag::REASONING_TOKEN_COUNT,
    tag::MIN_REQUEST_TIMESTAMP,
    tag::MAX_RESPONSE_TIMESTAMP,
    tag::INTER_CHUNK_LATENCY,
    tag::TOTAL_OUTPUT_TOKENS,
    tag::TOTAL_REASONING_TOKENS,
    tag::BENCHMARK_DURATION,
    tag::TOTAL_ISL,
    tag::TOTAL_OSL,
    tag::ERROR_REQUEST_COUNT,
    tag::ERROR_ISL,
    tag::TOTAL_ERROR_ISL,
];

/// Which program wrote a file, and of which run.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Head {
    /// Version of the layout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<String>,
    /// Version of the tool, where readers of AIPerf's files look for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aiperf_version: Option<String>,
    /// Name and version of the tool; in pinfire's files only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_version: Option<String>,
    /// Id of the run, 12 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub benchmark_id: Option<String>,
}

impl Head {
    /// Of a file of pinfire.
    pub fn ours(schema: &str, version: &str, benchmark_id: &str) -> Self {
        Self {
            schema_version: Some(schema.to_owned()),
            aiperf_version: Some(version.to_owned()),
            tool_version: Some(format!("pinfire {version}")),
            benchmark_id: Some(benchmark_id.to_owned()),
        }
    }
}

/// The summary of a run, of one of its phases, or (with what is known then) of a run that has begun.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Summary {
    /// Who wrote it.
    #[serde(flatten)]
    pub head: Head,
    /// The metrics that stand before the run's data; of a summary that was read, none. Use
    /// [`metrics`](Self::metrics) and [`of_metrics`](Self::of_metrics).
    #[serde(flatten, skip_deserializing)]
    pub first: Metrics,
    /// What the GPUs showed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub telemetry_data: Option<Carried<TelemetryData>>,
    /// What was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_config: Option<Carried<InputConfig>>,
    /// Which run it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_info: Option<Carried<RunInfo>>,
    /// It ended before its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was_cancelled: Option<bool>,
    /// It did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_complete: Option<bool>,
    /// Why it ended before its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incomplete_reason: Option<String>,
    /// What went wrong, and how often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_summary: Option<Vec<ErrorCount>>,
    /// Begin of the measured phase, in local time without a zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    /// Its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<String>,
    /// The metrics of the warmup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_metrics: Option<Metrics>,
    /// All other metrics; of a summary that was read, all.
    #[serde(flatten)]
    pub others: Metrics,
    /// Throughputs per GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_gpu: Option<PerGpu>,
    /// What was asked of the load against what came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_and_reached: Option<Vec<AskedAndReached>>,
    /// What came of planned cancellation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancellation: Option<Carried<Cancellation>>,
    /// Whether the server freed what was cancelled: `release.json` without its timeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<Value>,
    /// What is approximate in a run with more requests than are kept exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approximation: Option<Approximation>,
    /// How far the client itself can be trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_health: Option<Carried<ClientHealth>>,
    /// What the client adds on the machine, by `pinfire calibrate` (`--calibration`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Whether every request is accounted for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_accounting: Option<Carried<Accounting>>,
    /// Why answers ended, and what was unusual about them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<AnswerCounts>,
    /// The shards that sent it, where several did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards: Option<ShardedRun>,
    /// GPUs of the server; old versions have it here.
    #[serde(skip_serializing)]
    pub num_gpus: Option<f64>,
}

impl Summary {
    /// With these metrics: those of AIPerf's fixed list first, the others behind the run's data.
    pub fn of_metrics(metrics: impl IntoIterator<Item = (String, Block)>) -> Self {
        let mut found: Ordered<Block> = metrics.into_iter().collect();
        let first = FIRST.iter();
        let first = first.filter_map(|tag| found.shift_remove_entry(*tag));
        Self {
            first: first.collect(),
            others: found.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Appends a metric.
    pub fn insert(&mut self, tag: &str, block: Block) {
        self.others.insert(tag, block);
    }

    /// A metric.
    pub fn metric(&self, tag: &str) -> Option<&Block> {
        self.first.get(tag).or_else(|| self.others.get(tag))
    }

    /// A statistic of a metric.
    pub fn figure(&self, tag: &str, stat: &str) -> Option<f64> {
        self.metric(tag)?.get(stat)
    }

    /// All metrics, in the order of the file.
    pub fn metrics(&self) -> impl Iterator<Item = (&str, &Block)> {
        self.first.iter().chain(self.others.iter())
    }

    /// What was asked, if it is told.
    pub fn config(&self) -> Option<&InputConfig> {
        self.input_config.as_deref()
    }

    /// Whether pinfire wrote it.
    pub fn is_ours(&self) -> bool {
        self.head.tool_version.is_some()
    }

    /// The seed of everything drawn.
    pub fn random_seed(&self) -> Option<u64> {
        let of_run = self.run_info.as_deref().and_then(|info| info.random_seed);
        of_run.or_else(|| self.config()?.dataset()?.random_seed)
    }

    /// The command line.
    pub fn cli_command(&self) -> Option<&str> {
        let of_run = self.run_info.as_deref();
        let of_run = of_run.and_then(|info| info.cli_command.as_deref());
        of_run.or_else(|| self.config()?.cli_command.as_deref())
    }
}

/// Which run it is.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RunInfo {
    /// Id of the run.
    pub benchmark_id: Option<String>,
    /// The same of all runs of a sweep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sweep_id: Option<String>,
    /// The seed of everything drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub random_seed: Option<u64>,
    /// Number of the run among those of its point, from 0.
    pub trial: u64,
    /// Such as `trial_0001`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_label: Option<String>,
    /// The point of a sweep: `path=value, path=value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variation_label: Option<String>,
    /// Its number, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variation_index: Option<u64>,
    /// Its value by path.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<std::collections::BTreeMap<String, Value>>")
    )]
    pub variation_values: Option<Ordered<Value>>,
    /// The command line, credentials hidden.
    pub cli_command: Option<String>,
}

impl Part for RunInfo {}

/// Throughputs per GPU.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PerGpu {
    /// GPUs of the server.
    pub num_gpus: u64,
    /// Throughput by tag.
    #[serde(flatten)]
    pub metrics: Metrics,
}

/// What came of planned cancellation.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cancellation {
    /// Share of the requests that was asked, in percent.
    pub rate_asked: Option<f64>,
    /// Share of the requests that ended that were cancelled, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_reached: Option<f64>,
    /// Requests that were chosen.
    pub chosen: u64,
    /// Those that were cancelled.
    pub cancelled: u64,
    /// Those that were answered before.
    pub finished_first: u64,
    /// Those that failed, or were cut off by the end of the run, before.
    pub failed_first: u64,
    /// From when the delay counts.
    pub trigger: String,
    /// How the client disconnects.
    pub mode: String,
    /// The delay as typed.
    pub delay_asked: String,
    /// All that is due disconnects at multiples of this many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wave_s: Option<f64>,
    /// The delay; of a distribution, its mean.
    pub delay_asked_ms: Option<f64>,
    /// From the trigger to the disconnect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub achieved_delay: Option<Block>,
    /// From when it was due to the disconnect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_error: Option<Block>,
    /// Cancelled requests by how far they were.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "std::collections::BTreeMap<String, u64>")
    )]
    pub phases: Ordered<u64>,
    /// The same in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<std::collections::BTreeMap<String, f64>>")
    )]
    pub phases_pct: Option<Ordered<f64>>,
    /// Phases in which none was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phases_not_covered: Option<Vec<String>>,
    /// Answers that were read on after a half-close, by how they ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<std::collections::BTreeMap<String, u64>>")
    )]
    pub after_half_close: Option<Ordered<u64>>,
    /// Events that each cancelled request had received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_received: Option<Block>,
    /// The tokens in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_received: Option<Block>,
    /// Cancelled requests that had a connection.
    pub connections_closed: u64,
    /// Whether the peer's kernel had acknowledged the whole request before the disconnect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_acknowledged: Option<Acknowledged>,
    /// What it did to other requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neighbours: Option<Neighbours>,
}

impl Part for Cancellation {}

/// Cancelled requests by what the peer's kernel had acknowledged before the disconnect.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Acknowledged {
    /// Those whose whole request it had.
    pub whole: u64,
    /// All of which it is known: sent whole, over TCP.
    pub of: u64,
}

/// Finished requests that were in flight at a cancellation, and those that were not.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Neighbours {
    /// At least one disconnect went out between their start and their end.
    pub overlapping: Finished,
    /// None did.
    pub apart: Finished,
}

/// Finished requests of one kind.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Finished {
    /// How many.
    pub requests: u64,
    /// Their times to first token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_to_first_token: Option<Block>,
    /// Their inter token latencies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inter_token_latency: Option<Block>,
}

/// What is approximate.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Approximation {
    /// Requests of a phase that are kept exactly.
    pub exact_records: u64,
    /// Digits of percentiles beyond.
    pub percentile_digits: u32,
    /// Width of a bin of curves beyond.
    pub curve_bin_sec: f64,
}

/// One number that was asked, and what it came to.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AskedAndReached {
    /// `request_rate`, `concurrency`, `request_count`, `duration`, `cancelled` or `osl`.
    pub what: String,
    /// What was asked.
    pub asked: f64,
    /// What came of it.
    pub reached: f64,
    /// Of both.
    pub unit: String,
    /// Why, where they differ by more than a bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How far the client itself can be trusted.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClientHealth {
    /// How late deadlines were.
    pub timer_lateness: Lateness,
    /// How late requests were sent.
    pub send_lateness: Lateness,
    /// How long received bytes waited in the kernel.
    pub receive_delay: Lateness,
    /// Length of one turn of a core's loop.
    pub turn: Lateness,
    /// Where the times of received data come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive_stamps: Option<ReceiveStamps>,
    /// Content events of streamed answers that came in one read with another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_sharing_a_stamp: Option<SharedStamps>,
    /// When the engine did nothing for more than 50 ms although it had work or a timer.
    pub pauses: Pauses,
    /// CPU time that the process might use, and when it was used up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<CpuQuota>,
    /// Connections that took long.
    pub slow_connects: u64,
    /// The slots of a closed loop rested after requests without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_backoff: Option<ErrorBackoff>,
    /// Addresses of the servers that gave no connection, where the next one of the name was tried.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreached_addresses: Vec<UnreachedAddress>,
    /// Open requests against what was asked.
    pub concurrency: HeldConcurrency,
    /// What the client adds, against what was measured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<AddedByClient>,
    /// The client was the bottleneck of the run.
    pub client_was_bottleneck: bool,
    /// Why.
    pub reasons: Vec<String>,
    /// Which metrics suffer from that.
    pub distrust: Vec<String>,
    /// `io_uring` or `epoll`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Core by core.
    pub cores: Vec<CoreAccount>,
}

impl Part for ClientHealth {}

/// One lateness of the client's, and what it is of something that was measured.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AddedByClient {
    /// `timer_lateness`, `receive_delay` or `turn`.
    pub what: String,
    /// The percentile that is judged: the highest with at least five durations beyond it.
    pub percentile: f64,
    /// How late, in microseconds.
    pub late_us: f64,
    /// The metric that it is held against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// That metric at the same percentile, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of_us: Option<f64>,
    /// The lateness in percent of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_pct: Option<f64>,
    /// The latencies contain it: they have not the kernel's times.
    pub in_latencies: bool,
    /// It is too much.
    pub out_of_bounds: bool,
}

/// Where the times of received data come from.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReceiveStamps {
    /// `auto`, `kernel` or `user`, as it was given.
    pub asked: String,
    /// What was used, by phase.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "std::collections::BTreeMap<String, StampedReads>")
    )]
    pub phases: Ordered<StampedReads>,
}

/// The reads of a phase by where their times come from.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StampedReads {
    /// `kernel` where any read has the kernel's, else `user`.
    pub used: String,
    /// Reads that brought data.
    pub reads: u64,
    /// Those with the kernel's timestamp.
    pub by_kernel: u64,
    /// Those that fell back to the engine's own, by why the kernel's could not be used.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "std::collections::BTreeMap<String, u64>")
    )]
    pub fallbacks: Ordered<u64>,
}

/// Content events of streamed answers.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SharedStamps {
    /// All of them.
    pub events: u64,
    /// Those that have the timestamp of the event before or behind them.
    pub sharing: u64,
    /// The same in percent.
    pub share_pct: f64,
    /// Answers with more than one of them.
    pub answers: u64,
    /// Those whose first event shares its timestamp: their time to first token is that of a later event.
    pub first_sharing: u64,
    /// How late the timestamps of those that have a later event's can be at most: the time since the
    /// event before, or since the request was sent.
    pub late_at_most: Lateness,
}

/// The CPU quota of the process's control groups during the measured phase.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CpuQuota {
    /// The tightest, in CPUs.
    pub cpus: f64,
    /// The length of its periods.
    pub period_ms: f64,
    /// Periods in which the process ran.
    pub periods: u64,
    /// Those in which the quota was used up, so that all threads stood still to their end.
    pub throttled_periods: u64,
    /// The same in percent.
    pub throttled_pct: f64,
    /// How long that was, added up over CPUs.
    pub throttled_sec: f64,
}

/// Pauses of the engine's cores.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pauses {
    /// How many there were.
    pub count: u64,
    /// The longest of them, the longest first.
    pub longest: Vec<Pause>,
}

/// A pause of one core.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pause {
    /// The core, from 0.
    pub core: u64,
    /// Its last sign of life before, in Unix nanoseconds.
    pub from_ns: u64,
    /// The same, in seconds from the start of the phase.
    pub offset_sec: f64,
    /// From then to the next sign of life.
    pub length_ms: f64,
}

/// A distribution of durations.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Lateness {
    /// `us`.
    pub unit: String,
    /// How many durations.
    pub count: u64,
    /// Median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50: Option<f64>,
    /// 90th percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p90: Option<f64>,
    /// 99th percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
    /// Largest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

/// Open requests while all slots should have been taken.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HeldConcurrency {
    /// What was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<u32>,
    /// Average over the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_avg: Option<f64>,
    /// Most at any time of the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_max: Option<f64>,
    /// Length of the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_sec: Option<f64>,
}

/// A core's account of itself.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CoreAccount {
    /// The CPU it was pinned to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<usize>,
    /// How late deadlines were.
    pub timer_lateness: Lateness,
    /// How late requests were sent.
    pub send_lateness: Lateness,
    /// How long received bytes waited in the kernel.
    pub receive_delay: Lateness,
    /// Length of one turn of its loop.
    pub turn: Lateness,
    /// CPU time.
    pub cpu_time_sec: f64,
    /// Wall time.
    pub wall_time_sec: f64,
    /// Calls that received bytes.
    pub receives: u64,
    /// Events received.
    pub events: u64,
    /// Connections made.
    pub connects: u64,
    /// Those that took long.
    pub slow_connects: u64,
    /// Idle connections that the server had closed.
    pub stale_closed: u64,
    /// Idle connections that the client closed because the server was about to.
    pub expired_closed: u64,
}

/// An address that gave no connection.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UnreachedAddress {
    /// Address and port.
    pub address: String,
    /// Why, in the system's words.
    pub reason: String,
    /// Connects that came to nothing.
    pub connects: u64,
}

/// Rests of a closed loop's slots after requests that got no answer.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ErrorBackoff {
    /// Slots that rested.
    pub slots: u64,
    /// Rests of all slots.
    pub rests: u64,
    /// All of them together, in seconds.
    pub rested_sec: f64,
}

/// The counts of a run and where they differ.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Accounting {
    /// Requests that were started.
    pub due: u64,
    /// Those whose last byte was sent.
    pub sent: u64,
    /// Those that were answered or failed.
    pub completed: u64,
    /// Answered.
    pub valid: u64,
    /// Failed.
    pub errors: u64,
    /// Cancelled by plan.
    pub cancelled_by_plan: u64,
    /// Cut off by the end of the run.
    pub dropped_at_end: u64,
    /// Length of the measured phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase_duration_sec: Option<f64>,
    /// The two countings agree.
    pub agrees: bool,
    /// Where they do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub differences: Option<Vec<String>>,
}

impl Part for Accounting {}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(avg: f64) -> Block {
        let mut block = Block::of("ms");
        block.put("avg", avg);
        block
    }

    #[test]
    fn metrics_stand_in_their_places_and_come_back() {
        let metrics = ["zeta", "time_to_first_token", "request_latency", "alpha"];
        let metrics = metrics.map(|tag| (tag.to_owned(), block(1.5)));
        let mut summary = Summary {
            head: Head::ours("1.4", "0.1", "abc"),
            is_complete: Some(true),
            ..Summary::of_metrics(metrics)
        };
        summary.request_accounting = Some(Carried::new(Accounting::default()));
        let text = serde_json::to_string(&summary).unwrap();
        let places: Vec<_> = [
            "\"schema_version\"",
            "\"request_latency\"",
            "\"time_to_first_token\"",
            "\"is_complete\"",
            "\"zeta\"",
            "\"alpha\"",
            "\"request_accounting\"",
        ]
        .map(|key| text.find(key).unwrap())
        .to_vec();
        assert!(places.is_sorted(), "{text}");
        let read: Summary = serde_json::from_str(&text).unwrap();
        assert_eq!(read.figure("zeta", "avg"), Some(1.5));
        assert_eq!(read.figure("request_latency", "avg"), Some(1.5));
        assert_eq!(read.metrics().count(), 4);
        assert_eq!(read.head, summary.head);
        assert_eq!(read.is_complete, Some(true));
    }
}
