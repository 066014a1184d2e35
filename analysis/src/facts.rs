//! What is known about a run besides its records: what was asked, and how it ended.
//!
//! Plain values, filled by the command line. Nothing here is computed from records.

use std::path::PathBuf;

use pinfire_artifacts::{FileNames, Summary, calibration::Calibration};
use pinfire_base::cgroup::CpuQuotaUse;
use pinfire_base::clock::{Span, Stamp, WallAnchor};
use pinfire_base::health::{CoreHealth, Counts, ReceiveCounts};
use pinfire_base::record::PlannedCancellation;
use pinfire_base::shard::Shard;
use pinfire_dialect::{Answers, Endpoint};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::goodput::Slos;
pub use crate::metric::{EntryFacts, Thresholds};
use crate::stats::Percentiles;
use pinfire_scrape::files::MetricsFormat;

/// Requests of a phase that are kept exactly where nothing else is asked for. Below it a run takes
/// some 50 MB for its figures.
pub const EXACT_RECORDS: u64 = 100_000;

/// The duration behind run-level rates.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RateWindow {
    /// First start to last content of the valid requests: can be recomputed from the file.
    #[default]
    Benchmark,
    /// The phase's own window, as AIPerf 0.13 does; falls back to `Benchmark` when unknown.
    Phase,
}

/// A wanted length: mean and spread, in tokens.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LengthFacts {
    /// Mean.
    pub mean: f64,
    /// Standard deviation; 0 is not written out.
    pub stddev: f64,
}

/// Where the prompts came from.
#[derive(Clone, Debug, Default)]
pub struct DatasetFacts {
    /// `synthetic`, `file`, …
    pub kind: String,
    /// Number of entries.
    pub entries: u64,
    /// Asked input length.
    pub isl: Option<LengthFacts>,
    /// Asked output length.
    pub osl: Option<LengthFacts>,
    /// The input file.
    pub file: Option<PathBuf>,
}

/// What was asked of one phase.
#[derive(Clone, Debug, Default)]
pub struct PhaseFacts {
    /// `concurrency`, `poisson`, `constant`, …
    pub kind: String,
    /// Number of requests, if that ends the phase.
    pub requests: Option<u64>,
    /// Length of the phase in seconds, if that ends it.
    pub duration_s: Option<f64>,
    /// Streams to hold open; for a rate, the limit.
    pub concurrency: Option<u32>,
    /// Requests per second.
    pub rate: Option<f64>,
    /// It began when the phase before had sent its last request, not when that had its last answer.
    pub seamless: bool,
}

/// What is looked at besides the load.
#[derive(Clone, Debug, Default)]
pub struct WatchFacts {
    /// The servers' own metrics.
    pub server: bool,
    /// Pages of metrics, besides those of the servers themselves.
    pub server_urls: Vec<String>,
    /// In which forms they are written.
    pub formats: Vec<MetricsFormat>,
    /// GPUs.
    pub gpu: bool,
    /// Exporters, besides the usual ones of this machine.
    pub gpu_urls: Vec<String>,
}

/// Everything the exports need to know about a run before its first record.
#[derive(Clone, Debug)]
pub struct RunFacts {
    /// Whose share of the run these requests are: limits and counts are asked of all shards.
    pub shard: Shard,
    /// 12 hex digits.
    pub benchmark_id: String,
    /// Version of the tool.
    pub version: String,
    /// Model names as sent.
    pub models: Vec<String>,
    /// Server addresses as given.
    pub urls: Vec<String>,
    /// Kind of endpoint, and how its answers are read.
    pub answers: Answers,
    /// `--streaming`.
    pub streaming: bool,
    /// `--use-server-token-count`: lengths are the server's counts.
    pub server_counts: bool,
    /// `--per-chunk-usage`: the first chunk's token count is taken out of the ITL divisor.
    pub per_chunk_usage: bool,
    /// Further fields of each request's body.
    pub extra: Vec<(String, Value)>,
    /// Where the prompts came from.
    pub dataset: DatasetFacts,
    /// The warmup phase, if there is one.
    pub warmup: Option<PhaseFacts>,
    /// The measured phase.
    pub profiling: PhaseFacts,
    /// Planned cancellation, if there is one.
    pub cancellation: Option<PlannedCancellation>,
    /// The seed in use, drawn or given.
    pub random_seed: Option<u64>,
    /// The command line, values quoted and credentials left out.
    pub cli_command: String,
    /// Where the files go.
    pub artifact_dir: PathBuf,
    /// Names of the files.
    pub files: FileNames,
    /// `--export-http-trace`: the per-request file has what the connections saw.
    pub http_trace: bool,
    /// The raw file is written.
    pub raw: bool,
    /// `--show-trace-timing`: the console has the table of HTTP times.
    pub trace_table: bool,
    /// Name of the tokenizer; absent with server counts.
    pub tokenizer: Option<String>,
    /// What the cores run on: `io_uring` or `epoll`.
    pub driver: String,
    /// `--receive-stamps` as it was given.
    pub receive_stamps: String,
    /// Maps stamps to wall time.
    pub anchor: WallAnchor,
    /// The duration behind rates.
    pub rate_window: RateWindow,
    /// Limits of the counters.
    pub thresholds: Thresholds,
    /// What is looked at besides the load.
    pub watch: WatchFacts,
    /// Promises to the user (`--goodput`), checked against this run.
    pub slos: Slos,
    /// Length of a time slice (`--slice-duration`).
    pub slice: Option<Span>,
    /// Percentiles of every distribution.
    pub percentiles: Percentiles,
    /// `--exact-records`: so many requests of a phase are kept exactly; 0 for all.
    pub exact_records: u64,
    /// The log, if one is written; named in the footer.
    pub log_file: Option<PathBuf>,
    /// Its place among other runs.
    pub part: Option<PartFacts>,
    /// GPUs of the server, if told.
    pub num_gpus: Option<u64>,
    /// What the client adds on this machine, as it was measured before.
    pub calibration: Option<Calibration>,
    /// What the files of the run say, where the report is made from files.
    pub recorded: Option<RecordedRun>,
}

/// The place of a run in a sweep or among repeated runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PartFacts {
    /// The same of all its runs.
    pub sweep_id: String,
    /// From 0.
    pub trial: u64,
    /// Such as `trial_0001`.
    pub run_label: String,
    /// `path=value, path=value`; empty without a sweep.
    pub variation_label: String,
    /// From 0.
    pub variation_index: u64,
    /// Value by path.
    pub variation_values: Map<String, Value>,
}

/// What the files of a run say about it, where a report is made from files.
#[derive(Clone, Debug, Default)]
pub struct RecordedRun {
    /// Tokens were counted by the client.
    pub client_counts: bool,
    /// The run's own summary, as far as it is there. Parts that a report cannot know better are
    /// taken over as they stand.
    pub summary: Summary,
}

impl RunFacts {
    /// How many of so many slots of the run these requests may hold.
    pub(crate) fn own_slots(&self, all: u32) -> u32 {
        u32::try_from(self.shard.slots(all.into())).unwrap_or(all)
    }

    /// The streams that these requests are to hold open; for a rate, their limit.
    pub(crate) fn own_concurrency(&self) -> Option<u32> {
        self.profiling.concurrency.map(|all| self.own_slots(all))
    }

    /// Facts of a chat run with everything optional left out.
    pub fn new(benchmark_id: &str, version: &str, anchor: WallAnchor) -> Self {
        Self {
            shard: Shard::WHOLE,
            benchmark_id: benchmark_id.to_owned(),
            version: version.to_owned(),
            models: Vec::new(),
            urls: Vec::new(),
            answers: Answers::default(),
            streaming: true,
            server_counts: false,
            per_chunk_usage: false,
            extra: Vec::new(),
            dataset: DatasetFacts::default(),
            warmup: None,
            profiling: PhaseFacts::default(),
            cancellation: None,
            random_seed: None,
            cli_command: String::new(),
            artifact_dir: PathBuf::new(),
            files: FileNames::default(),
            http_trace: false,
            raw: false,
            trace_table: false,
            tokenizer: None,
            driver: String::new(),
            receive_stamps: String::new(),
            anchor,
            rate_window: RateWindow::default(),
            thresholds: Thresholds::default(),
            watch: WatchFacts::default(),
            slos: Slos::default(),
            slice: None,
            percentiles: Percentiles::default(),
            exact_records: EXACT_RECORDS,
            log_file: None,
            part: None,
            num_gpus: None,
            calibration: None,
            recorded: None,
        }
    }

    /// What the kind of endpoint is.
    pub fn endpoint(&self) -> &'static Endpoint {
        self.answers.kind.row()
    }
}

/// The window of a phase.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PhaseWindow {
    /// Start of the phase.
    pub start: Stamp,
    /// Its last request returned; absent after an interruption.
    pub end: Option<Stamp>,
}

/// How a run ended.
#[derive(Clone, Debug, Default)]
pub struct RunEnd {
    /// Window of the warmup, if there was one.
    pub warmup: Option<PhaseWindow>,
    /// Window of the measured phase.
    pub profiling: Option<PhaseWindow>,
    /// The cores' own counts of the measured phase, added up.
    pub counts: Counts,
    /// One account per core, of the measured phase.
    pub cores: Vec<CoreHealth>,
    /// Where the times of the warmup's reads come from.
    pub warmup_stamps: ReceiveCounts,
    /// The CPU quota during the measured phase, where there was one.
    pub cpu_quota: Option<CpuQuotaUse>,
    /// Why the run ended before its time, if it did.
    pub interrupted: Option<String>,
}
