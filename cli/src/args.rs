//! The commands and their flags, each with help. What a run is asked for is declared in
//! `pinfire-config`.

use std::path::PathBuf;

use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};
use pinfire_base::record::CancelTrigger;
use pinfire_config::{
    Sourced, Typed,
    numbers::{self, Cores, Seconds, ShardOf, Tokens, Whole},
    secret::{ApiKey, Fields, Header, Url},
    sections::Shards,
    words::{CancelMode, ConfigForm, ConsoleKind, OnOff, RateWindowName, Theme, UiKind},
};
use pinfire_dialect::EndpointKind;

/// A load engine for LLM inference servers: sends OpenAI-style requests, streams the answers, hangs
/// up on a chosen share of them at an exact instant, and says what the server did.
#[derive(Parser, Debug)]
#[command(version, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a benchmark.
    ///
    /// First run, with nothing installed, against the embedded server:
    ///   pinfire profile --url mock: --model mock --streaming --concurrency 100 --request-count
    ///   2000
    Profile(Box<Profile>),
    /// Check that a server frees the resources of cancelled requests.
    ///
    /// Sends the same load again and again and hangs up on half of it, in waves: before the first
    /// token and in the stream, in turn (of whole answers: early and late). Between the waves it
    /// looks at the server's metrics and whether a request alone is still answered. Exit code 0: it
    /// lets go; 4: it leaks, hangs or is gone; 5: its metrics do not tell. See
    /// docs/CANCELLATION.md.
    ///   pinfire cancel-test --model my-model --url http://localhost:8000
    CancelTest(Box<CancelTest>),
    /// Measure what the client adds to a run's figures on this machine.
    ///
    /// Takes the flags of `profile` and carries that load, 5 s of it unless they say how much, to
    /// an embedded server that logs when it wrote what: what is added to TTFT, ITL and cancels, CPU
    /// time beside that of a bare loop, when requests really leave, and how much more the client
    /// could carry. Exit code 3: the client was the bottleneck. See docs/CALIBRATION.md.
    ///   pinfire calibrate --concurrency 100 --osl 64
    Calibrate(Box<Calibrate>),
    /// Send one shard's share of a run whose settings the leader has.
    ///
    /// The leader is `pinfire profile … --shards N --leader-only`, or shard 0. Everything but
    /// credentials comes from it: those are read from this process's own environment. See
    /// docs/SHARDS.md.
    ///   pinfire shard --join leader:7711 --shard 3/8
    Shard(Shard),
    /// Print what starts a run on many machines: Kubernetes objects, or a Slurm script.
    ///
    /// Takes the flags of `profile`, which go into a run file inside of it. Contacts nobody, and
    /// writes nothing; credentials are not printed, but named. See docs/CLUSTER.md.
    ///   pinfire cluster-manifest k8s --shards 8 --image registry.example/pinfire:0.1.0 --model
    ///   my-model --url http://llm:8000 --concurrency 800 --benchmark-duration 60
    ClusterManifest(Box<ClusterManifest>),
    /// Rebuild a run's report from its files, even if the run was killed.
    ///
    /// The files may be AIPerf's too.
    /// Reads profile_export_raw.jsonl (--export-level raw), else profile_export.jsonl, and the
    /// summary for what was asked; writes JSON, CSV, per-request file and console file anew.
    Report(Report),
    /// Show the tables of a finished run, sweep, search or cancel-test again.
    ///
    /// Takes a folder: of a run, of several shards, of repeated runs, of a sweep or a search, of a
    /// cancel-test. What the console showed at the end is printed as it was kept there; `report`
    /// computes it anew.
    ///   pinfire show artifacts/my-sweep
    Show(Show),
    /// Show lengths, shared prefixes and the theoretical cache hits of a Mooncake trace.
    AnalyzeTrace(AnalyzeTrace),
    /// Create, validate or expand config files (profile --config FILE).
    #[command(subcommand)]
    Config(ConfigAction),
    /// Print the completions of a shell: source <(pinfire completions bash)
    Completions(Completions),
    /// Show two finished runs side by side: what differs, by how much, and what of it is noise.
    ///
    /// In a pipeline, against a run that was kept:
    ///   pinfire compare baseline new --fail-if "ttft.p99>+5%" --fail-if "tps<-3%"
    Compare(Compare),
    /// Draw finished runs: pictures (PNG and SVG), a page of one file, or a local web page.
    ///
    /// One run is shown request by request and over time; of several the comparison is drawn.
    ///   pinfire plot artifacts/my-run --html
    ///   pinfire plot sweep/ --num-gpus 8 --theme dark --output pictures
    ///   pinfire plot artifacts/ --dashboard
    Plot(Plot),
}

#[derive(Args, Debug)]
pub struct Plot {
    /// Folders of runs; every run in and under them is found. Without any: ./artifacts.
    #[arg(value_name = "PATH")]
    pub folders: Vec<PathBuf>,
    /// The folders, by name.
    #[arg(long, value_name = "PATH", num_args = 1.., value_delimiter = ',', conflicts_with = "folders")]
    pub paths: Vec<PathBuf>,
    /// Folder for the pictures. Without it: plots/ in the first path.
    #[arg(long, value_name = "FOLDER", conflicts_with = "dashboard")]
    pub output: Option<PathBuf>,
    /// Colours.
    #[arg(long, value_name = "THEME", default_value = "light")]
    pub theme: Theme,
    /// Which plots, plots of your own, which runs are baselines: a YAML file, see docs/PLOTS.md.
    /// Without it: .aiperf-plot-config.yaml in the first path, else ~/.aiperf/plot_config.yaml.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// GPUs that serve the model, for throughput per GPU. Without it: what the run says, else the
    /// GPUs of its telemetry.
    #[arg(long, value_name = "GPUS", value_parser = clap::value_parser!(u32).range(1..))]
    pub num_gpus: Option<u32>,
    /// Write one page (plots/report.html) that needs no network instead: tables, charts with hover
    /// and zoom, every request.
    #[arg(long, conflicts_with = "dashboard")]
    pub html: bool,
    /// Serve that page for all runs, new ones as they appear, until Ctrl-C.
    #[arg(long)]
    pub dashboard: bool,
    /// Address to serve on. Anything but a loopback address shows the runs to the network; nobody
    /// is asked for a password.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1",
        requires = "dashboard"
    )]
    pub host: String,
    /// Port to serve on; 0 takes a free one.
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 8050,
        requires = "dashboard"
    )]
    pub port: u16,
    /// Say of each plot that was left out why; without it that is in summary.txt only.
    #[arg(long, short, conflicts_with_all = ["html", "dashboard"])]
    pub verbose: bool,
}

#[derive(Subcommand, Debug)]
pub enum ConfigAction {
    /// Write a config file to begin with.
    Init(ConfigInit),
    /// Check a config file as a run would before it sends anything.
    ///
    /// Exit code 1 if it is wrong.
    Validate(ConfigValidate),
    /// Show what a config file stands for, variables put in place.
    Expand(ConfigExpand),
}

#[derive(Args, Debug)]
pub struct ConfigInit {
    /// Show the templates instead.
    #[arg(long)]
    pub list: bool,
    /// List templates that match WORD.
    #[arg(long, value_name = "WORD")]
    pub search: Option<String>,
    /// The template.
    #[arg(long, value_name = "NAME", default_value = "minimal")]
    pub template: String,
    /// Model to put in.
    #[arg(long, short, value_name = "NAME", default_value = "your-model")]
    pub model: String,
    /// Server to put in. In place of credentials in it stand variables of the environment.
    #[arg(
        long,
        short,
        value_name = "URL",
        default_value = "http://localhost:8000"
    )]
    pub url: Sourced<Url>,
    /// Write it to this file, which must not be there yet. [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct ConfigValidate {
    /// The config file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

#[derive(Args, Debug)]
pub struct ConfigExpand {
    /// The config file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// How it is shown.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: ConfigForm,
}

#[derive(Args, Debug)]
pub struct Completions {
    /// bash, zsh, fish, elvish or powershell.
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

#[derive(Args, Debug)]
#[command(arg_required_else_help = true)]
pub struct Compare {
    /// The run that is compared with: its folder, or its summary. AIPerf's will do.
    #[arg(value_name = "A")]
    pub a: PathBuf,
    /// The run in question. Without one, A is held against --slo.
    #[arg(value_name = "B", required_unless_present = "slo")]
    pub b: Option<PathBuf>,
    /// Judge one run: exit with 1 unless it meets this; repeatable. METRIC[.STAT]<=LIMIT, also <,
    /// >=, >, in the metric's unit: ttft.p99<=500. Each point of a sweep is judged.
    #[arg(long, value_name = "OBJECTIVE")]
    pub slo: Vec<String>,
    /// Exit with 1 if this is so; repeatable. METRIC[.STAT]>LIMIT, also <, >=, <=: with % against
    /// the difference B - A in percent of A (ttft.p99>+5%, tps<-3%), with a sign against the
    /// difference in the metric's unit (ttft.p99>+20), else against B itself (error_rate>1). METRIC
    /// is a tag of the files or one of ttft, ttst, itl, tpot, latency, osl, isl, tps, rps,
    /// tps_user, error_rate; STAT is avg (without it), p50, p99.9, min, max, std.
    #[arg(long, value_name = "RULE", allow_hyphen_values = true)]
    pub fail_if: Vec<String>,
    /// Fail `--fail-if` rules only on statistically significant differences.
    #[arg(long)]
    pub significant: Sourced<bool>,
    /// Call a difference below this share of A small, however sure it is.
    ///
    /// So small a difference rarely decides anything; 0 takes every difference seriously. Rules are
    /// held against their own limits.
    #[arg(long, value_name = "PERCENT", default_value = "1%", value_parser = effect)]
    pub min_effect: f64,
    /// Percentiles to show besides p50, p90 and p99: 75,99.9
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub percentiles: Vec<String>,
    /// Only these metrics, by tag or short name. [default: those of the main table]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub metrics: Vec<String>,
    /// Show every metric that both runs have.
    #[arg(long)]
    pub all: Sourced<bool>,
    /// Share of resamples inside an interval.
    #[arg(long, value_name = "SHARE", default_value_t = 0.95, value_parser = numbers::share)]
    pub confidence_level: f64,
    /// Seed of the resamples: the same runs give the same intervals.
    #[arg(long, value_name = "SEED", default_value_t = 42)]
    pub random_seed: u64,
    /// Write everything to this file, as JSON or in --format; - is stdout.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Format of --output, or of stdout without it. [default: text on stdout, json in a file]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Format>,
}

/// Reads a percentage of 0 or more as a share.
fn effect(text: &str) -> Result<f64, String> {
    match text.strip_suffix('%').unwrap_or(text).trim().parse() {
        Ok(0.0) => Ok(0.0),
        _ => numbers::percentage(text),
    }
}

/// How a comparison is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// The table for a person.
    Text,
    /// Everything, for programs.
    Json,
    /// A table for a pull request.
    Markdown,
    /// The rules as tests, for a pipeline.
    Junit,
}

#[derive(Args, Debug)]
#[command(arg_required_else_help = true)]
pub struct AnalyzeTrace {
    /// The trace: JSONL, possibly gzipped.
    #[arg(value_name = "FILE", required_unless_present = "input_file")]
    pub file: Option<PathBuf>,
    /// The trace, by name.
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    pub input_file: Option<PathBuf>,
    /// Tokens per hash id.
    #[arg(long, value_name = "TOKENS", default_value_t = 512, value_parser = numbers::block)]
    pub block_size: u32,
    /// Write the figures to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(arg_required_else_help = true)]
pub struct Show {
    /// Folder of what ended: its --artifact-dir.
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
}

#[derive(Args, Clone, Debug)]
#[command(arg_required_else_help = true)]
pub struct Report {
    /// Folder of the run: its --artifact-dir. One that holds the folders of several shards
    /// (shard-0000, …) is reported as one run; of a sweep, a search or repeated runs each run is
    /// reported by itself.
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// Where the files go. FOLDER itself is allowed: its summary is replaced then.
    /// [default: FOLDER/report; of several shards FOLDER itself]
    #[arg(long, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
    /// Count all tokens anew with this tokenizer (see `pinfire profile --help`); needs the raw
    /// file. [default: the run's own counts]
    #[arg(
        long,
        value_name = "NAME|PATH",
        conflicts_with = "use_server_token_count"
    )]
    pub tokenizer: Option<String>,
    /// Branch, tag or commit of a tokenizer on the hub or in its cache.
    #[arg(long, value_name = "REVISION", default_value = "main")]
    pub tokenizer_revision: String,
    /// Take the server's token counts. [default: as the run did]
    #[arg(long)]
    pub use_server_token_count: bool,
    /// Duration behind rates.
    #[arg(long, value_name = "WINDOW", default_value = "benchmark")]
    pub rate_window: RateWindowName,
    /// GPUs that the server runs on: throughputs are shown per GPU as well, on the console and
    /// under `per_gpu` in the summary.
    #[arg(long, value_name = "GPUS", value_parser = numbers::count)]
    pub num_gpus: Option<u64>,
    /// Judge requests by these limits, `tag:number tag:number` (docs/METRICS.md has the tags).
    /// [default: the run's own]
    #[arg(long, value_name = "PAIRS")]
    pub goodput: Option<String>,
    /// Also report every metric per time slice of this many seconds. [default: as the run did]
    #[arg(long, value_name = "SECONDS", value_parser = numbers::seconds)]
    pub slice_duration: Option<f64>,
    /// Requests of a phase that are kept exactly. Beyond, percentiles have three digits and curves
    /// are averages of 0.1 s, so that memory stays flat; averages, sums and extremes stay exact. 0
    /// keeps everything, as slices do.
    #[arg(long, value_name = "REQUESTS", default_value_t = pinfire_analysis::facts::EXACT_RECORDS)]
    pub exact_records: u64,
    /// Percentiles of all distributions, such as p50,p99.9. [default:
    /// p1,p5,p10,p25,p50,p75,p90,p95,p99]
    #[arg(long, value_name = "LIST")]
    pub percentiles: Option<String>,
    /// Show the table of HTTP timings.
    #[arg(long)]
    pub show_trace_timing: bool,
    /// What is printed. [default: headline on a terminal, else full]
    #[arg(long, value_name = "WHAT")]
    pub console: Option<ConsoleKind>,
    /// Print nothing but the headline: outcome, latencies, throughput.
    #[arg(long, conflicts_with = "console")]
    pub quiet: bool,
    /// How progress is shown on stderr. [default: simple on a terminal]
    #[arg(long, value_name = "UI")]
    pub ui: Option<UiKind>,
}

#[derive(Args, Debug)]
#[command(arg_required_else_help = true)]
pub struct CancelTest {
    /// Model name put in the request bodies; also the tokenizer's name unless --tokenizer says
    /// otherwise.
    #[arg(long, short, value_name = "NAME")]
    pub model: Sourced<String>,
    /// The server.
    #[arg(
        long,
        short,
        value_name = "URL",
        default_value = "http://localhost:8000"
    )]
    pub url: Sourced<Url>,
    /// Kind of endpoint. [default: chat; with --matrix all that the server has]
    #[arg(long, value_name = "TYPE")]
    pub endpoint_type: Option<Sourced<EndpointKind>>,
    /// Ask for streams, or for whole answers. [default: on where the endpoint has streams; with
    /// --matrix both]
    #[arg(long, value_name = "ON|OFF", num_args = 0..=1, default_missing_value = "on")]
    pub streaming: Option<OnOff>,
    /// Path of the endpoint. [default: that of its type]
    #[arg(long, value_name = "PATH")]
    pub endpoint: Option<Sourced<Url>>,
    /// Bearer token, or @FILE that holds it.
    #[arg(long, value_name = "KEY")]
    pub api_key: Option<Sourced<ApiKey>>,
    /// Header to add to each request; repeatable.
    #[arg(long, short = 'H', value_name = "NAME:VALUE")]
    pub header: Vec<Sourced<Header>>,
    /// Field to add to each body; repeatable.
    #[arg(long, value_name = "NAME:VALUE")]
    pub extra_inputs: Vec<Sourced<Fields>>,
    /// Certificates to trust besides the system's, PEM.
    #[arg(long, value_name = "FILE")]
    pub ca_cert: Option<Sourced<PathBuf>>,
    /// Trust any certificate.
    #[arg(long)]
    pub insecure: Sourced<bool>,
    /// Tokenizer for the prompts. [default: the model's name]
    #[arg(long, value_name = "NAME|PATH")]
    pub tokenizer: Option<Sourced<String>>,
    /// Tokens of each prompt.
    #[arg(long, value_name = "TOKENS", default_value = "256")]
    pub isl: Sourced<Tokens>,
    /// Most tokens of each answer. A stream should take a second or more. [default: 256; with
    /// --matrix 16]
    #[arg(long, value_name = "TOKENS")]
    pub osl: Option<Sourced<Tokens>>,
    /// Requests at once; half of them, rounded up, are cancelled in each wave. [default: 20; with
    /// --matrix 8]
    #[arg(long, value_name = "REQUESTS", value_parser = numbers::count)]
    pub concurrency: Option<u64>,
    /// Waves of cancels. [default: 8; with --matrix 1 for each cell]
    #[arg(long, value_name = "COUNT", value_parser = numbers::count)]
    pub waves: Option<u64>,
    /// Run as many waves as it takes to see a share of cancels that are not let go, such as 1%.
    ///
    /// So that with a chance of 95 % one at least is among the cancels.
    #[arg(long, value_name = "SHARE", conflicts_with = "waves", value_parser = numbers::percentage)]
    pub detect: Option<f64>,
    /// How the client disconnects. [default: fin; with --matrix each of them]
    #[arg(long, value_name = "MODE")]
    pub request_cancellation_mode: Option<Sourced<CancelMode>>,
    /// When it does: sent, headers, first-token, tokens:N, fraction:F, mid-body or connect, as for
    /// `profile`; all waves alike, `sent` after half of the time to a canary's first token.
    /// [default: before the first token and in the stream in turn; with --matrix each of them]
    #[arg(long, value_name = "TRIGGER")]
    pub request_cancellation_trigger: Option<Sourced<CancelTrigger>>,
    /// How long the server may take to let go, at rest. What it holds then counts as leaked.
    /// [default: 10; with --matrix 2.5]
    #[arg(long, value_name = "SECONDS", value_parser = numbers::seconds)]
    pub settle: Option<f64>,
    /// A request that is alone and brings nothing for so long is not answered.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = numbers::seconds)]
    pub canary_timeout: f64,
    /// Page of the server's metrics; several for a gateway and its workers, or for replicas.
    /// [default: /metrics of --url]
    #[arg(long, value_name = "URL", num_args = 1.., value_delimiter = ',')]
    pub metrics_url: Vec<Sourced<Url>>,
    /// The server itself, where --url leads through something in front of it: the same load is sent
    /// to both, one after the other, and the difference is what lies between. Metrics are those of
    /// the server then, unless --metrics-url names others.
    #[arg(long, value_name = "URL", conflicts_with = "matrix")]
    pub direct_url: Option<Sourced<Url>>,
    /// From one look at the metrics to the next. [default: 0.02; with --matrix 0.01]
    #[arg(long, value_name = "SECONDS", value_parser = numbers::seconds)]
    pub metrics_interval: Option<f64>,
    /// What the metrics of this server mean (JSON, see docs/CANCELLATION.md). [default: known
    /// servers]
    #[arg(long, value_name = "FILE")]
    pub release_profile: Option<PathBuf>,
    /// Write everything to this file, as JSON, and a page beside it. [default: cancel_test.json or
    /// cancel_matrix.json, in --artifact-dir where that is given]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write everything to this folder, as a run does: JSON and page, a line per request and their
    /// summary, the resolved config.
    #[arg(long, value_name = "FOLDER")]
    pub artifact_dir: Option<PathBuf>,
    /// Test every trigger and every way of leaving on every endpoint that the server has, streaming
    /// or not, with a small wave each: one table. Other flags narrow it.
    #[arg(long)]
    pub matrix: bool,
    /// Go on with the matrix in FOLDER, or in --artifact-dir: cells that are done are kept. The
    /// flags must be the same.
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, requires = "matrix")]
    #[expect(clippy::option_option, reason = "the flag may stand without a folder")]
    pub resume: Option<Option<PathBuf>>,
    /// Begin no cell of --matrix after this time.
    #[arg(long, value_name = "SECONDS", default_value_t = 600.0, value_parser = numbers::seconds)]
    pub time_limit: f64,
    /// CPUs that send and receive: a number, or a list such as 2,4-7. [default: all but one]
    #[arg(long, value_name = "COUNT|LIST")]
    pub cores: Option<Sourced<Cores>>,
    /// Fixes the prompts. [default: drawn anew, so that no test meets a warm cache]
    #[arg(long, value_name = "SEED")]
    pub random_seed: Option<Sourced<Whole>>,
    #[command(flatten, next_help_heading = "Shards (docs/SHARDS.md)")]
    pub shards: Shards,
}

#[derive(Args, Debug)]
#[command(arg_required_else_help = true)]
pub struct Shard {
    /// The leader (HOST or HOST:PORT). [default port: 7711]
    #[arg(long, value_name = "HOST")]
    pub join: String,
    /// Which shard this is, from 0. [default: what the platform says]
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Sourced<ShardOf>>,
    /// Folder of the run's files; this shard's are in shard-000I below it. [default: as for
    /// `profile`]
    #[arg(long, value_name = "FOLDER")]
    pub artifact_dir: Option<PathBuf>,
    /// CPUs that send and receive: a number, or a list such as 2,4-7. [default: all but one]
    #[arg(long, value_name = "COUNT|LIST")]
    pub cores: Option<Sourced<Cores>>,
    /// Seconds to wait for the leader.
    #[arg(long, value_name = "SECONDS", default_value = "300")]
    pub join_timeout: Sourced<Seconds>,
    /// Seconds of silence after which the leader is lost.
    #[arg(long, value_name = "SECONDS", default_value = "3")]
    pub shard_timeout: Sourced<Seconds>,
}

#[derive(Args, Debug)]
pub struct Calibrate {
    /// The server's time to first token.
    #[arg(long, value_name = "MS", default_value_t = 20.0, value_parser = numbers::not_negative, help_heading = "Embedded server")]
    pub server_ttft: f64,
    /// The server's time between tokens.
    #[arg(long, value_name = "MS", default_value_t = 5.0, value_parser = numbers::not_negative, help_heading = "Embedded server")]
    pub server_itl: f64,
    /// Bytes of an event of a stream, about. [default: 200, which is also the least]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=65_536), help_heading = "Embedded server")]
    pub server_event_bytes: Option<u32>,
    /// Speak TLS, with the certificates in this PEM file.
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_key",
        help_heading = "Embedded server"
    )]
    pub tls_cert: Option<PathBuf>,
    /// The key of --tls-cert, PEM.
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_cert",
        help_heading = "Embedded server"
    )]
    pub tls_key: Option<PathBuf>,
    /// Double the load so many times at most, until something gives way.
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u32).range(..=12), help_heading = "Embedded server")]
    pub steps: u32,
    #[command(flatten)]
    pub invocation: Invocation,
    #[command(flatten)]
    pub config: Typed,
}

#[derive(Args, Debug)]
#[command(arg_required_else_help = true)]
pub struct ClusterManifest {
    /// k8s or slurm.
    #[arg(value_name = "PLATFORM")]
    pub platform: Platform,
    #[command(flatten)]
    pub cluster: Cluster,
    /// Read settings from this YAML file (docs/RUN-FILES.md); flags win over it.
    #[arg(
        long = "config",
        short = 'f',
        value_name = "FILE",
        help_heading = "Run"
    )]
    pub config_file: Option<PathBuf>,
    #[command(flatten)]
    pub config: Typed,
}

/// What a manifest is made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Platform {
    /// YAML for `kubectl apply`.
    #[value(name = "k8s", alias = "kubernetes")]
    K8s,
    /// A script for `sbatch`.
    Slurm,
}

/// Where and with how much a run on many machines goes on.
#[derive(Args, Debug)]
#[command(next_help_heading = "Cluster")]
pub struct Cluster {
    /// Whole CPUs of a shard: one is left to the analysis, the others send.
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub cpus: u32,
    /// Memory of a shard, such as 8Gi. [default: 4Gi on Kubernetes, Slurm's own there]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Memory>,
    /// Name of the run, and of all that belongs to it. [default: pinfire]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// End everything after this time.
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600, value_parser = clap::value_parser!(u32).range(1..=31_536_000))]
    pub deadline: u32,
    /// Container image. Kubernetes only.
    #[arg(long, value_name = "NAME")]
    pub image: Option<String>,
    /// Namespace. Kubernetes only. [default: that of kubectl]
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Remove the Jobs this long after their end. Kubernetes only. [default: 86400, a day]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(..=31_536_000))]
    pub keep: Option<u32>,
    /// Secret that holds the credentials, under the names of their variables. Kubernetes only.
    /// [default: NAME-credentials]
    #[arg(long, value_name = "NAME")]
    pub secret: Option<String>,
    /// PersistentVolumeClaim to mount read-only at /data, for input files. Kubernetes only.
    #[arg(long, value_name = "NAME")]
    pub claim: Option<String>,
    /// PersistentVolumeClaim for the run's files, at the leader. Kubernetes only. [default: they
    /// end with its pod, and only its log stays]
    #[arg(long, value_name = "NAME")]
    pub results_claim: Option<String>,
    /// Queue of Kueue that starts both Jobs. Kubernetes only.
    #[arg(long, value_name = "NAME")]
    pub queue: Option<String>,
    /// Nodes with this label only; repeatable. Kubernetes only.
    #[arg(long, value_name = "LABEL=VALUE")]
    pub node_selector: Vec<Label>,
    /// No node with a pod of this label, such as the servers'; repeatable. Kubernetes only.
    #[arg(long, value_name = "LABEL=VALUE")]
    pub avoid: Vec<Label>,
    /// Give the shards the network of their nodes, where the namespace allows it. Kubernetes only.
    #[arg(long)]
    pub host_network: bool,
    /// Seccomp profile of the nodes that allows io_uring (docs/seccomp-io_uring.json), as a path
    /// below the kubelet's folder. Kubernetes only. [default: the runtime's own]
    #[arg(long, value_name = "PATH")]
    pub seccomp_profile: Option<String>,
    /// Partition. Slurm only.
    #[arg(long, value_name = "NAME")]
    pub partition: Option<String>,
    /// Account to charge. Slurm only.
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,
    /// The program, as the nodes find it. Slurm only. [default: pinfire]
    #[arg(long, value_name = "PATH")]
    pub binary: Option<String>,
}

impl Cluster {
    /// Name of the run.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("pinfire")
    }

    /// Its flags that mean nothing to Slurm, and whether they were given.
    pub const fn of_kubernetes(&self) -> [(&'static str, bool); 11] {
        [
            ("--image", self.image.is_some()),
            ("--namespace", self.namespace.is_some()),
            ("--keep", self.keep.is_some()),
            ("--secret", self.secret.is_some()),
            ("--claim", self.claim.is_some()),
            ("--results-claim", self.results_claim.is_some()),
            ("--queue", self.queue.is_some()),
            ("--node-selector", !self.node_selector.is_empty()),
            ("--avoid", !self.avoid.is_empty()),
            ("--host-network", self.host_network),
            ("--seccomp-profile", self.seccomp_profile.is_some()),
        ]
    }

    /// Those that mean nothing to Kubernetes.
    pub const fn of_slurm(&self) -> [(&'static str, bool); 3] {
        [
            ("--partition", self.partition.is_some()),
            ("--account", self.account.is_some()),
            ("--binary", self.binary.is_some()),
        ]
    }
}

/// An amount of memory, as Kubernetes writes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Memory {
    text: String,
    bytes: u64,
}

impl Memory {
    /// As it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The same for Slurm, not less.
    pub const fn mebibytes(&self) -> u64 {
        self.bytes.div_ceil(1 << 20)
    }
}

impl std::str::FromStr for Memory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let unit = match unit {
            "" => Some(1),
            "k" => Some(1_000),
            "Ki" => Some(1 << 10),
            "M" => Some(1_000_000),
            "Mi" => Some(1 << 20),
            "G" => Some(1_000_000_000),
            "Gi" => Some(1 << 30),
            "T" => Some(1_000_000_000_000),
            "Ti" => Some(1_u64 << 40),
            _ => None,
        };
        let bytes = number.parse::<u64>().ok().zip(unit);
        let bytes = bytes.and_then(|(number, unit)| number.checked_mul(unit));
        match bytes.filter(|bytes| *bytes > 0) {
            Some(bytes) => Ok(Self {
                text: text.to_owned(),
                bytes,
            }),
            None => Err(
                "it is a whole number with Ki, Mi, Gi, Ti, k, M, G or T behind it, such as 4Gi"
                    .to_owned(),
            ),
        }
    }
}

/// A label of Kubernetes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Label {
    /// With its prefix, if it has one.
    pub key: String,
    /// May be empty.
    pub value: String,
}

impl std::str::FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let part = |text: &str| {
            let inside = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            let at_end = |c: char| c.is_ascii_alphanumeric();
            text.len() <= 63
                && text.chars().all(inside)
                && text.starts_with(at_end)
                && text.ends_with(at_end)
        };
        let (key, value) = text.split_once('=').ok_or("it is LABEL=VALUE")?;
        let (prefix, name) = key.split_once('/').unwrap_or(("x", key));
        let is_prefix = !prefix.is_empty()
            && prefix.len() <= 253
            && prefix
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c));
        if !(is_prefix && part(name) && (value.is_empty() || part(value))) {
            return Err("a label is [PREFIX/]NAME=VALUE of letters, digits, - _ and .".to_owned());
        }
        Ok(Self {
            key: key.to_owned(),
            value: value.to_owned(),
        })
    }
}

#[derive(Args, Debug)]
#[command(arg_required_else_help = true)]
pub struct Profile {
    #[command(flatten)]
    pub invocation: Invocation,
    #[command(flatten)]
    pub config: Typed,
}

/// What is done with a configuration, and where else it comes from.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Run")]
pub struct Invocation {
    /// Read settings from this YAML file (docs/RUN-FILES.md); flags win over it.
    ///
    /// By the flags' names (`request-count: 100`) or in AIPerf's layout. Each run leaves one that
    /// repeats it among its artifacts, resolved_config.yaml; `pinfire config init` writes a first
    /// one.
    #[arg(long, short = 'f', value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Continue an interrupted sweep from its folder: points that are finished are kept.
    ///
    /// Other flags are restored, unless given anew; pass credentials again.
    #[arg(long, value_name = "FOLDER")]
    pub resume: Option<PathBuf>,
    /// Print the schedule, one JSON line per request, and send nothing.
    #[arg(long)]
    pub dry_run: Sourced<bool>,
    /// Print more: -v is --verbose, -vv --extra-verbose.
    #[arg(short, action = ArgAction::Count)]
    pub verbosity: u8,
}

/// The whole command line.
pub fn command() -> clap::Command {
    // A command is made a few times per process.
    let root = Cli::command().long_version(&*crate::version::long().leak());
    let names: Vec<String> = root
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    let root = names.into_iter().fold(root, |root, name| {
        root.mut_subcommand(name, pinfire_config::command::with_switches)
    });
    let root = root.mut_subcommand("profile", crate::short_help::of);
    pinfire_config::command::with_hints(root)
}

/// The configuration of `pinfire profile --model m` with these behind it.
#[cfg(test)]
pub fn typed<'a>(
    more: impl IntoIterator<Item = &'a str>,
) -> Result<pinfire_config::RunConfig, clap::Error> {
    use clap::FromArgMatches;
    let line = ["pinfire", "profile", "--model", "m"];
    let matches = command().try_get_matches_from(line.into_iter().chain(more))?;
    match Cli::from_arg_matches(&matches)?.command {
        Command::Profile(flags) => Ok(flags.config.0),
        _ => unreachable!("the line says profile"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches;

    #[test]
    fn every_flag_has_help_and_a_value_name() {
        let mut root = command();
        root.build();
        let mut commands: Vec<&clap::Command> = root.get_subcommands().collect();
        let inner = commands
            .iter()
            .flat_map(|command| command.get_subcommands());
        commands.extend(inner.collect::<Vec<_>>());
        commands.retain(|command| command.get_name() != "help");
        let flags = commands.into_iter().flat_map(clap::Command::get_arguments);
        for flag in flags.filter(|flag| flag.get_id() != "help") {
            assert!(flag.get_help().is_some(), "{} has no help", flag.get_id());
            if flag.get_action().takes_values() {
                let name = &flag.get_value_names().unwrap()[0];
                assert!(
                    name.chars().any(char::is_uppercase),
                    "{}: {name}",
                    flag.get_id()
                );
            }
        }
    }

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        let matches = command().try_get_matches_from(line.split(' '))?;
        Cli::from_arg_matches(&matches)
    }

    #[test]
    fn the_rules_of_parsing() {
        assert!(parse("pinfire profile --model m --streaming").is_ok());
        assert!(parse("pinfire profile --model=m --streaming=false").is_ok());
        for wrong in [
            "pinfire profile --model m --streaming true",
            "pinfire profile --model m --isl 5 --synthetic-input-tokens-mean 5",
            "pinfire profile --model m --concurrency 1 --concurrency 2",
            "pinfire profile --model m --concurrency 0",
            "pinfire profile --model m --isl 5.5",
            "pinfire profile --model m --request-cancellation-rate 0",
            "pinfire profile --model m --request-cancellation-rate 101",
            "pinfire profile --model m --concurency 5",
            "pinfire profile --model m --num-sessions 5 --conversation-num 5",
            "pinfire profile --model m --session-turns-mean 0",
            "pinfire profile --model m --session-turns-mean 1.5",
            "pinfire profile --model m --session-turns-stddev 0.5",
            "pinfire profile --model m --synthesis-speedup-ratio 0",
            "pinfire profile --model m --synthesis-prefix-len-multiplier 0",
            "pinfire profile --model m --synthesis-prefix-root-multiplier 0",
            "pinfire profile --model m --synthesis-prefix-root-multiplier 1.5",
            "pinfire profile --model m --synthesis-prompt-len-multiplier nan",
            "pinfire profile --model m --synthesis-output-len-multiplier -1",
            "pinfire profile --model m --synthesis-max-isl 0",
            "pinfire profile --model m --synthesis-max-osl 0",
            "pinfire analyze-trace a --input-file b",
            "pinfire analyze-trace --block-size 8",
            "pinfire analyze-trace a --block-size 0",
            "pinfire profile --model m --fixed-schedule-start-offset -1",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    /// The words of a command line are read once, by clap, and printed in one place. Whatever wants
    /// another run clones a configuration and sets a value.
    #[test]
    fn no_code_builds_or_cuts_a_command_line() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut folders = vec![root.join("src"), root.join("config/src")];
        let mut seen = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path
                    .strip_prefix(root)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned();
                if !name.ends_with(".rs") || name.ends_with("tests.rs") {
                    continue;
                }
                seen += 1;
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap();
                let banned = [
                    ("env::args", &[][..]),
                    ("parse_from", &[]),
                    ("get_matches_from", &["config/src/config.rs"]),
                    ("\" --{", &["config/src/print.rs"]),
                    ("\"--\"", &[]),
                    ("\"pinfire profile", &["config/src/print.rs", "src/main.rs"]),
                ];
                for (words, allowed) in banned {
                    let found = code.contains(words) && !allowed.contains(&name.as_str());
                    assert!(!found, "{name} has {words}");
                }
            }
        }
        assert!(seen > 60, "{seen}");
    }
}
