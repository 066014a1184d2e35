//! The flags as typed, grouped, each with help. What they mean together is `settings`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use pinfire_base::delay::Delay;

use crate::{
    run_file::Given,
    values::{self, Cores, TriggerFlag},
};

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
    ///   pinfire profile --url mock: --model mock --streaming --concurrency 100 --request-count 2000
    Profile(Box<Profile>),
    /// Find out whether a server lets go of what its clients cancel.
    ///
    /// Sends the same load again and again and hangs up on half of it, in waves: before the first
    /// token and in the stream, in turn. Between the waves it looks at the server's metrics and whether
    /// a request alone is still answered. Exit code 0: it lets go; 4: it leaks, hangs or is gone; 5: its
    /// metrics do not tell. See docs/CANCELLATION.md.
    ///   pinfire cancel-test --model my-model --url http://localhost:8000
    CancelTest(Box<CancelTest>),
    /// Make the report of a run again from its files, pinfire's or AIPerf's, also of one that was
    /// killed.
    ///
    /// Reads profile_export_raw.jsonl (--export-level raw), else profile_export.jsonl, and the
    /// summary for what was asked; writes JSON, CSV, per-request file and console file anew.
    Report(Report),
    /// Show lengths, shared prefixes and the theoretical cache hits of a Mooncake trace.
    AnalyzeTrace(AnalyzeTrace),
    /// Begin, check or show run files, which say what flags say (profile --config FILE).
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
    /// Colours: light or dark.
    #[arg(long, value_name = "THEME", default_value = "light", value_parser = ["light", "dark"])]
    pub theme: String,
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
    /// Write a run file to begin with.
    Init(ConfigInit),
    /// Check a run file as a run would before it sends anything. Exit code 1 if it is wrong.
    Validate(ConfigValidate),
    /// Show what a run file stands for, variables put in place.
    Expand(ConfigExpand),
}

#[derive(Args, Debug)]
pub struct ConfigInit {
    /// Show the templates instead.
    #[arg(long)]
    pub list: bool,
    /// Show those that speak of something.
    #[arg(long, value_name = "WORD")]
    pub search: Option<String>,
    /// The template.
    #[arg(long, value_name = "NAME", default_value = "minimal")]
    pub template: String,
    /// Model to put in.
    #[arg(long, short, value_name = "NAME", default_value = "your-model")]
    pub model: String,
    /// Server to put in.
    #[arg(
        long,
        short,
        value_name = "URL",
        default_value = "http://localhost:8000"
    )]
    pub url: String,
    /// Write it to this file, which must not be there yet. [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct ConfigValidate {
    /// The run file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

#[derive(Args, Debug)]
pub struct ConfigExpand {
    /// The run file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// As what: text (a command line), yaml (a run file of flags) or json.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: String,
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
    /// The run in question.
    #[arg(value_name = "B")]
    pub b: PathBuf,
    /// Exit with 1 if this is so; repeatable. METRIC[.STAT]>LIMIT, also <, >=, <=: with % against the
    /// difference B - A in percent of A (ttft.p99>+5%, tps<-3%), with a sign against the difference
    /// in the metric's unit (ttft.p99>+20), else against B itself (error_rate>1). METRIC is a tag of
    /// the files or one of ttft, ttst, itl, tpot, latency, osl, isl, tps, rps, tps_user, error_rate;
    /// STAT is avg (without it), p50, p99.9, min, max, std.
    #[arg(long, value_name = "RULE", allow_hyphen_values = true)]
    pub fail_if: Vec<String>,
    /// Break a rule on differences only where they are no noise.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub significant: bool,
    /// Percentiles to show besides p50, p90 and p99: 75,99.9
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub percentiles: Vec<String>,
    /// Only these metrics, by tag or short name. [default: those of the main table]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub metrics: Vec<String>,
    /// Show every metric that both runs have.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub all: bool,
    /// Share of resamples inside an interval.
    #[arg(long, value_name = "SHARE", default_value_t = 0.95, value_parser = values::share)]
    pub confidence_level: f64,
    /// Seed of the resamples: the same runs give the same intervals.
    #[arg(long, value_name = "SEED", default_value_t = 42)]
    pub random_seed: u64,
    /// Write everything to this file, as JSON.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
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
    #[arg(long, value_name = "TOKENS", default_value_t = 512, value_parser = values::block)]
    pub block_size: u32,
    /// Write the figures to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(arg_required_else_help = true)]
pub struct Report {
    /// Folder of the run: its --artifact-dir.
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// Where the files go. FOLDER itself is allowed: its summary is replaced then.
    /// [default: FOLDER/report]
    #[arg(long, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
    /// Count all tokens anew with this tokenizer (see `pinfire profile --help`); needs the raw file.
    /// [default: the run's own counts]
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
    /// Duration behind rates: benchmark (first start to last content) or phase (as AIPerf 0.13, also
    /// for what is weighted by time).
    #[arg(long, value_name = "WINDOW", default_value = "benchmark")]
    pub rate_window: String,
    /// GPUs that the server runs on: throughputs are shown per GPU as well, on the console and under
    /// `per_gpu` in the summary.
    #[arg(long, value_name = "GPUS", value_parser = values::count)]
    pub num_gpus: Option<u64>,
    /// Judge requests by these limits, `tag:number tag:number` (docs/METRICS.md has the tags).
    /// [default: the run's own]
    #[arg(long, value_name = "PAIRS")]
    pub goodput: Option<String>,
    /// Give all metrics per slice of so many seconds too. [default: as the run did]
    #[arg(long, value_name = "SECONDS", value_parser = values::positive)]
    pub slice_duration: Option<f64>,
    /// Requests of a phase that are kept exactly. Beyond, percentiles have three digits and curves are
    /// averages of 0.1 s, so that memory stays flat; averages, sums and extremes stay exact. 0 keeps
    /// everything, as slices do.
    #[arg(long, value_name = "REQUESTS", default_value_t = pinfire_analysis::facts::EXACT_RECORDS)]
    pub exact_records: u64,
    /// Percentiles of all distributions, such as p50,p99.9. [default:
    /// p1,p5,p10,p25,p50,p75,p90,p95,p99]
    #[arg(long, value_name = "LIST")]
    pub percentiles: Option<String>,
    /// Show the table of HTTP timings.
    #[arg(long)]
    pub show_trace_timing: bool,
    /// Progress on stderr: simple (a bar) or none. [default: simple on a terminal]
    #[arg(long, value_name = "UI")]
    pub ui: Option<String>,
}

#[derive(Args, Debug)]
#[command(arg_required_else_help = true)]
pub struct CancelTest {
    /// Model name put in the request bodies; also the tokenizer's name unless --tokenizer says
    /// otherwise.
    #[arg(long, short, value_name = "NAME")]
    pub model: String,
    /// The server.
    #[arg(
        long,
        short,
        value_name = "URL",
        default_value = "http://localhost:8000"
    )]
    pub url: String,
    /// Kind of endpoint (see `pinfire profile --help`); it must stream.
    #[arg(long, value_name = "TYPE", default_value = "chat")]
    pub endpoint_type: String,
    /// Path of the endpoint. [default: that of its type]
    #[arg(long, value_name = "PATH")]
    pub endpoint: Option<String>,
    /// Bearer token.
    #[arg(long, value_name = "KEY")]
    pub api_key: Option<String>,
    /// Header to add to each request; repeatable.
    #[arg(long, short = 'H', value_name = "NAME:VALUE")]
    pub header: Vec<String>,
    /// Field to add to each body; repeatable.
    #[arg(long, value_name = "NAME:VALUE")]
    pub extra_inputs: Vec<String>,
    /// Certificates to trust besides the system's, PEM.
    #[arg(long, value_name = "FILE")]
    pub ca_cert: Option<PathBuf>,
    /// Trust any certificate.
    #[arg(long)]
    pub insecure: bool,
    /// Tokenizer for the prompts. [default: the model's name]
    #[arg(long, value_name = "NAME|PATH")]
    pub tokenizer: Option<String>,
    /// Tokens of each prompt.
    #[arg(long, value_name = "TOKENS", default_value_t = 256, value_parser = values::length)]
    pub isl: u32,
    /// Most tokens of each answer. A stream should take a second or more.
    #[arg(long, value_name = "TOKENS", default_value_t = 256, value_parser = values::length)]
    pub osl: u32,
    /// Requests at once; half of them, rounded up, are cancelled in each wave.
    #[arg(long, value_name = "REQUESTS", default_value_t = 20, value_parser = values::count)]
    pub concurrency: u64,
    /// Waves of cancels; before the first token and in the stream in turn.
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = values::count)]
    pub waves: u64,
    /// How the client leaves: fin or rst.
    #[arg(long, value_name = "MODE", default_value = "fin")]
    pub request_cancellation_mode: String,
    /// How long the server may take to let go, at rest. What it holds then counts as leaked.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = values::positive)]
    pub settle: f64,
    /// A request that is alone and brings nothing for so long is not answered.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = values::positive)]
    pub canary_timeout: f64,
    /// Page of the server's metrics. [default: /metrics of --url]
    #[arg(long, value_name = "URL")]
    pub metrics_url: Option<String>,
    /// From one look at the metrics to the next.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.02, value_parser = values::positive)]
    pub metrics_interval: f64,
    /// What the metrics of this server mean (JSON, see docs/CANCELLATION.md). [default: known servers]
    #[arg(long, value_name = "FILE")]
    pub release_profile: Option<PathBuf>,
    /// Write everything to this file, as JSON.
    #[arg(long, value_name = "FILE", default_value = "cancel_test.json")]
    pub output: PathBuf,
    /// CPUs that send and receive: a number, or a list such as 2,4-7. [default: all but one]
    #[arg(long, value_name = "COUNT|LIST")]
    pub cores: Option<String>,
    /// Fixes the prompts. [default: drawn anew, so that no test meets a warm cache]
    #[arg(long, value_name = "SEED")]
    pub random_seed: Option<u64>,
}

#[derive(Args, Debug)]
#[command(arg_required_else_help = true)]
pub struct Profile {
    #[command(flatten, next_help_heading = "Run file")]
    pub run_file: RunFile,
    #[command(flatten, next_help_heading = "Endpoint")]
    pub endpoint: Endpoint,
    #[command(flatten, next_help_heading = "Load")]
    pub load: Load,
    #[command(flatten, next_help_heading = "Cancellation")]
    pub cancellation: Cancellation,
    #[command(flatten, next_help_heading = "Input")]
    pub input: Input,
    #[command(flatten, next_help_heading = "Conversations")]
    pub conversations: Conversations,
    #[command(flatten, next_help_heading = "Rankings")]
    pub rankings: Rankings,
    #[command(flatten, next_help_heading = "Fixed schedule")]
    pub schedule: Schedule,
    #[command(flatten, next_help_heading = "Trace synthesis")]
    pub synthesis: SynthesisFlags,
    #[command(flatten, next_help_heading = "Tokenizer")]
    pub tokenizer: TokenizerFlags,
    #[command(flatten, next_help_heading = "Output")]
    pub output: Output,
    #[command(flatten, next_help_heading = "Server metrics and GPUs")]
    pub watch: Watch,
    #[command(
        flatten,
        next_help_heading = "Sweeps and repeated runs (docs/SWEEPS.md)"
    )]
    pub sweep: SweepFlags,
    #[command(flatten, next_help_heading = "Engine")]
    pub engine: EngineFlags,
}

/// Lists themselves are typed at the flags that take them.
#[derive(Args, Debug, Clone, Default)]
pub struct SweepFlags {
    /// How lists of several flags go together: grid (every value with every other) or zip (first with
    /// first). A list such as --concurrency 10,50,100 runs every value; these flags take one:
    /// --concurrency, --request-rate, --request-count, --benchmark-duration, --num-conversations,
    /// --num-users, --prefill-concurrency, --isl, --osl (and -stddev), --session-turns-mean,
    /// --request-cancellation-rate (0 for none), --request-cancellation-delay. [default: grid]
    #[arg(long, value_name = "TYPE")]
    pub sweep_type: Option<String>,
    /// With several runs of each point: repeated (all points, again and again) or independent (all
    /// runs of a point, then the next point). [default: repeated]
    #[arg(long, value_name = "MODE")]
    pub parameter_sweep_mode: Option<String>,
    /// Pause between points. [default: 0]
    #[arg(long, value_name = "SECONDS", value_parser = values::not_negative)]
    pub parameter_sweep_cooldown_seconds: Option<f64>,
    /// All points have the same seed. [default: point i has the base seed plus i]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub parameter_sweep_same_seed: Option<bool>,
    /// Point i has the base seed plus i.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub no_parameter_sweep_same_seed: Option<bool>,
    /// Do not show the table of points at the end; the files are written all the same.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub no_sweep_table: Option<bool>,
    /// Run each point so often, and show the mean with its confidence interval. [default: 1]
    #[arg(long, value_name = "RUNS", value_parser = values::count)]
    pub num_profile_runs: Option<u64>,
    /// Stop before --num-profile-runs as soon as the runs of a point agree on this metric, a tag of the
    /// files or a short name such as ttft, itl, latency, tps. All runs of a point are made before the
    /// next point.
    #[arg(long, value_name = "METRIC")]
    pub convergence_metric: Option<String>,
    /// The figure of it: avg, p99, min, … [default: avg]
    #[arg(long, value_name = "STAT")]
    pub convergence_stat: Option<String>,
    /// What agreeing is: ci_width (the confidence interval from end to end, as a share of the mean, is
    /// below the threshold), cv (standard deviation by mean is) or distribution (the requests of the
    /// newest run fit in with those of all before: p of the Kolmogorov-Smirnov test is above it).
    /// [default: ci_width]
    #[arg(long, value_name = "MODE")]
    pub convergence_mode: Option<String>,
    /// Between 0 and 1. [default: 0.1 of ci_width, 0.05 of the others]
    #[arg(long, value_name = "SHARE", value_parser = values::share)]
    pub convergence_threshold: Option<f64>,
    /// Fewer runs are never enough. Two runs can agree by chance; three seldom do. [default: 2]
    #[arg(long, value_name = "RUNS", value_parser = values::count)]
    pub convergence_min_runs: Option<u64>,
    /// Pause between runs of one point. [default: 0]
    #[arg(long, value_name = "SECONDS", value_parser = values::not_negative)]
    pub profile_run_cooldown_seconds: Option<f64>,
    /// Level of confidence intervals. [default: 0.95]
    #[arg(long, value_name = "SHARE", value_parser = values::share)]
    pub confidence_level: Option<f64>,
    /// Warm up before the first run of each point only. [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub profile_run_disable_warmup_after_first: Option<bool>,
    /// Warm up before every run.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub no_profile_run_disable_warmup_after_first: Option<bool>,
    /// The base seed is 42 without --random-seed, as AIPerf has it. [default: it is drawn and printed]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub set_consistent_seed: Option<bool>,
    /// Every run draws its own seed.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub no_set_consistent_seed: Option<bool>,
    /// Runs of one point have different seeds, so that none meets the cache of another.
    /// [default: only where the seed was drawn]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub vary_seed_per_trial: Option<bool>,
    /// Runs of one point have the same seed.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub no_vary_seed_per_trial: Option<bool>,
    /// What a point should meet, repeatable: METRIC[.STAT]<=LIMIT (or <, >=, >) in the metric's unit,
    /// such as ttft.p99<=500 (milliseconds), error_rate<=1 (percent) or tps>=1000. Points that do and
    /// points that do not are told apart. METRIC is a tag of the files or one of ttft, itl, tpot,
    /// latency, tps, rps, tps_user, error_rate, goodput.
    #[arg(long, value_name = "RULE")]
    pub slo: Vec<String>,
    /// Find the highest load that still meets --slo (or, with --goodput, at which 95 % of the requests
    /// are good): FLAG:LOW,HIGH, with FLAG one of concurrency, request-rate, num-users,
    /// prefill-concurrency, such as concurrency:1,512. The load grows fourfold until it fails, then the
    /// boundary is halved in, and run again. Without --request-count and the like a point has 10
    /// requests per stream or 10 seconds of its rate, 100 requests at least.
    #[arg(long, value_name = "FLAG:LOW,HIGH")]
    pub search: Option<String>,
    /// How close the boundary has to be, as a share of the load that fails. [default: 0.05]
    #[arg(long, value_name = "SHARE", value_parser = values::share)]
    pub search_tolerance: Option<f64>,
    /// How often the boundary is run again, on both of its sides. [default: 1]
    #[arg(long, value_name = "RUNS", value_parser = values::whole)]
    pub search_confirmations: Option<u64>,
    /// The most runs of a search. [default: 30]
    #[arg(long, value_name = "RUNS", value_parser = values::count)]
    pub search_max_iterations: Option<u64>,
    /// Continue an interrupted sweep from its folder: points that are finished are kept. The other
    /// flags are those of then, unless given anew; credentials have to be.
    #[arg(long, value_name = "FOLDER")]
    pub resume: Option<PathBuf>,
}

impl SweepFlags {
    /// Several runs of a point were asked for.
    pub fn repeats(&self) -> bool {
        self.num_profile_runs.is_some_and(|runs| runs > 1)
    }

    /// The first flag that means nothing for a single run.
    pub fn idle(&self) -> Option<&'static str> {
        let given = [
            ("--sweep-type", self.sweep_type.is_some()),
            (
                "--parameter-sweep-mode",
                self.parameter_sweep_mode.is_some(),
            ),
            (
                "--parameter-sweep-cooldown-seconds",
                self.parameter_sweep_cooldown_seconds.is_some(),
            ),
            (
                "--parameter-sweep-same-seed",
                self.parameter_sweep_same_seed.is_some(),
            ),
            (
                "--no-parameter-sweep-same-seed",
                self.no_parameter_sweep_same_seed.is_some(),
            ),
            ("--no-sweep-table", self.no_sweep_table.is_some()),
            (
                "--profile-run-cooldown-seconds",
                self.profile_run_cooldown_seconds.is_some(),
            ),
            ("--confidence-level", self.confidence_level.is_some()),
            ("--convergence-metric", self.convergence_metric.is_some()),
            ("--convergence-stat", self.convergence_stat.is_some()),
            ("--convergence-mode", self.convergence_mode.is_some()),
            (
                "--convergence-threshold",
                self.convergence_threshold.is_some(),
            ),
            (
                "--convergence-min-runs",
                self.convergence_min_runs.is_some(),
            ),
            (
                "--profile-run-disable-warmup-after-first",
                self.profile_run_disable_warmup_after_first.is_some(),
            ),
            (
                "--no-profile-run-disable-warmup-after-first",
                self.no_profile_run_disable_warmup_after_first.is_some(),
            ),
            ("--set-consistent-seed", self.set_consistent_seed.is_some()),
            (
                "--no-set-consistent-seed",
                self.no_set_consistent_seed.is_some(),
            ),
            ("--vary-seed-per-trial", self.vary_seed_per_trial.is_some()),
            (
                "--no-vary-seed-per-trial",
                self.no_vary_seed_per_trial.is_some(),
            ),
            ("--slo", !self.slo.is_empty()),
            ("--search-tolerance", self.search_tolerance.is_some()),
            (
                "--search-confirmations",
                self.search_confirmations.is_some(),
            ),
            (
                "--search-max-iterations",
                self.search_max_iterations.is_some(),
            ),
        ];
        given
            .into_iter()
            .find_map(|(flag, given)| given.then_some(flag))
    }

    /// A flag that was given together with its opposite.
    pub fn contradiction(&self) -> Option<&'static str> {
        let pairs = [
            (
                "--parameter-sweep-same-seed",
                self.parameter_sweep_same_seed.is_some()
                    && self.no_parameter_sweep_same_seed.is_some(),
            ),
            (
                "--profile-run-disable-warmup-after-first",
                self.profile_run_disable_warmup_after_first.is_some()
                    && self.no_profile_run_disable_warmup_after_first.is_some(),
            ),
            (
                "--set-consistent-seed",
                self.set_consistent_seed.is_some() && self.no_set_consistent_seed.is_some(),
            ),
            (
                "--vary-seed-per-trial",
                self.vary_seed_per_trial.is_some() && self.no_vary_seed_per_trial.is_some(),
            ),
        ];
        pairs
            .into_iter()
            .find_map(|(flag, both)| both.then_some(flag))
    }

    /// What was said of the base seed.
    pub fn consistent_seed(&self) -> Option<bool> {
        either(self.set_consistent_seed, self.no_set_consistent_seed)
    }

    /// What was said of the seeds of points.
    pub fn same_seed(&self) -> Option<bool> {
        either(
            self.parameter_sweep_same_seed,
            self.no_parameter_sweep_same_seed,
        )
    }

    /// What was said of the seeds of runs of one point.
    pub fn vary_seed(&self) -> Option<bool> {
        either(self.vary_seed_per_trial, self.no_vary_seed_per_trial)
    }

    /// Whether only the first run of a point warms up.
    pub fn warm_first_only(&self) -> bool {
        let said = either(
            self.profile_run_disable_warmup_after_first,
            self.no_profile_run_disable_warmup_after_first,
        );
        said.unwrap_or(true)
    }
}

/// What a flag and its opposite say together.
fn either(yes: Option<bool>, no: Option<bool>) -> Option<bool> {
    yes.or_else(|| no.map(|no| !no))
}

#[derive(Args, Debug, Default)]
pub struct RunFile {
    /// YAML file that says what flags say, by their names (`request-count: 100`) or in AIPerf's
    /// layout (docs/RUN-FILES.md). Flags that are typed win over it. Each run leaves one that repeats
    /// it among its artifacts, resolved_config.yaml; `pinfire config init` writes a first one.
    #[arg(long, short = 'f', value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What was given, flag by flag, here and in the file.
    #[arg(skip)]
    pub given: Given,
}

impl RunFile {
    /// The error with the lines of the file that gave the flags it names.
    pub fn with_lines(&self, error: &anyhow::Error) -> anyhow::Error {
        let message = format!("{error:#}");
        let lines: Vec<String> = self
            .config
            .iter()
            .flat_map(|path| {
                let lines = self.given.lines_named_in(&message).into_iter();
                lines.map(|(flag, line)| format!("{}:{line} gives {flag}", path.display()))
            })
            .collect();
        if lines.is_empty() {
            return anyhow::anyhow!(message);
        }
        anyhow::anyhow!("{message} ({})", lines.join(", "))
    }
}

#[derive(Args, Debug)]
pub struct Endpoint {
    /// Model name put in the request bodies; also the tokenizer's name unless --tokenizer says
    /// otherwise. Several (comma list or repeated) are taken in turn.
    #[arg(
        long,
        short,
        visible_alias = "model-names",
        value_name = "NAME",
        value_delimiter = ',',
        required_unless_present = "config"
    )]
    pub model: Vec<String>,
    /// How turns come by one of several models: round_robin (in turn) or random.
    #[arg(long, value_name = "STRATEGY", default_value = "round_robin")]
    pub model_selection_strategy: String,
    /// Base URL of the server: http://, https:// or unix:/path/to.sock; `mock:` is a scripted server
    /// inside this process. Several (comma list, repeated, or one after the other) take the requests
    /// in turn.
    #[arg(
        long,
        short,
        value_name = "URL",
        num_args = 1..,
        default_value = "http://localhost:8000"
    )]
    pub url: Vec<String>,
    /// How requests are spread over several URLs: round_robin (one after the other).
    #[arg(long, value_name = "STRATEGY", default_value = "round_robin")]
    pub url_strategy: String,
    /// How requests travel: http (HTTP/1.1) is the only way.
    #[arg(
        long,
        visible_alias = "transport-type",
        value_name = "TRANSPORT",
        default_value = "http"
    )]
    pub transport: String,
    /// Trust the certificates in this PEM file too, besides the machine's own: for a server whose
    /// certificate was signed by an authority of yours, or by itself.
    #[arg(long, value_name = "FILE")]
    pub ca_cert: Option<PathBuf>,
    /// Accept any certificate: whoever sits between here and the server can read and change
    /// everything, the API key included.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub insecure: bool,
    /// Local addresses that connections come from, in turn: a list (10.0.0.2,10.0.0.3) or a range
    /// (127.0.0.2-127.0.0.9). Each has ports of its own, about 28,000 to one server.
    /// [default: the system's choice]
    #[arg(long, value_name = "ADDRESSES")]
    pub source_ip: Option<String>,
    /// Limit of connecting, TLS handshake included. [default: only --request-timeout-seconds]
    #[arg(long, value_name = "SECONDS", value_parser = values::positive)]
    pub connect_timeout: Option<f64>,
    /// Kind of endpoint: chat, completions, responses, messages (Anthropic), embeddings,
    /// chat_embeddings, nim_rankings, cohere_rankings, hf_tei_rankings, huggingface_generate,
    /// template (bodies from your own Jinja template: --extra-inputs payload_template, and
    /// response_field for where the answer is) or raw (complete payloads from the dataset).
    #[arg(long, value_name = "TYPE", default_value = "chat")]
    pub endpoint_type: String,
    /// Path that replaces the default one of the endpoint's kind; begins with `/`.
    #[arg(long, visible_alias = "custom-endpoint", value_name = "PATH")]
    pub endpoint: Option<String>,
    /// Ask for a stream of server-sent events. Without it there are no times of single tokens.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub streaming: bool,
    /// What the bodies are sent as: application/json. [default: application/json]
    #[arg(long, value_name = "TYPE")]
    pub request_content_type: Option<String>,
    /// Limit of one whole request, connecting included.
    #[arg(long, value_name = "SECONDS", default_value = "21600", value_parser = values::positive)]
    pub request_timeout_seconds: f64,
    /// Before anything else, ask every server for every model until it answers, for so many seconds
    /// each; a server that is not ready by then is an error. 0 does not ask. [default: 0]
    #[arg(long, value_name = "SECONDS", value_parser = values::not_negative)]
    pub wait_for_model_timeout: Option<f64>,
    /// What is asked: inference (a request of one token; any status below 500 is an answer), models
    /// (whether /v1/models lists the model) or both (models, then inference). [default: inference]
    #[arg(long, value_name = "MODE")]
    pub wait_for_model_mode: Option<String>,
    /// Seconds between two attempts. [default: 5]
    #[arg(long, value_name = "SECONDS", value_parser = values::positive)]
    pub wait_for_model_interval: Option<f64>,
    /// Sent as `Authorization: Bearer KEY` (messages: as `x-api-key: KEY`); shown nowhere.
    #[arg(long, value_name = "KEY")]
    pub api_key: Option<String>,
    /// Header added to every request, `Name:value`; repeatable. Items are cut at commas; the form
    /// '{"Name": "a, b"}' keeps them.
    #[arg(long, short = 'H', value_name = "NAME:VALUE", num_args = 1..)]
    pub header: Vec<String>,
    /// Name of the header that carries the session's id, instead of X-Correlation-ID.
    #[arg(long, value_name = "NAME")]
    pub session_header: Option<String>,
    /// What happens to a connection after a response: pooled (kept for the next request),
    /// sticky-user-sessions (kept for its session, closed after that) or never (closed).
    #[arg(long, value_name = "STRATEGY", default_value = "pooled")]
    pub connection_reuse_strategy: String,
    /// Send the output limit as `max_tokens` instead of `max_completion_tokens` (chat).
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub use_legacy_max_tokens: bool,
    /// Take token counts from the server's usage fields instead of tokenizing its text.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub use_server_token_count: bool,
    /// Ask for usage in every chunk, so that a first chunk of several tokens does not flatter the
    /// inter token latency. Needs chat, --streaming and --use-server-token-count.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub per_chunk_usage: bool,
}

#[derive(Args, Debug)]
pub struct Load {
    /// Sessions open at once, over all cores: a finished one is replaced at once. With a rate, a
    /// limit: what is due waits for a slot, and effective_latency shows the wait.
    /// [default: 1; no limit with a rate or a fixed schedule]
    #[arg(long, value_name = "STREAMS", value_parser = values::count)]
    pub concurrency: Option<u64>,
    /// Mean arrivals per second, whatever the server does (an open loop). `inf` sends all at once.
    #[arg(long, value_name = "PER_SECOND", value_parser = values::rate)]
    pub request_rate: Option<f64>,
    /// How arrivals are spread: poisson, constant, gamma or concurrency_burst (as poisson).
    /// [default: poisson; gamma with --arrival-smoothness]
    #[arg(long, visible_alias = "request-rate-mode", value_name = "PATTERN")]
    pub arrival_pattern: Option<String>,
    /// Shape of gamma arrivals: below 1 bursty, 1 as poisson, above 1 regular.
    #[arg(long, visible_alias = "vllm-burstiness", value_name = "SHAPE", value_parser = values::positive)]
    pub arrival_smoothness: Option<f64>,
    /// Rate over time from a JSON file: [{"time_s": 0, "qps": 5}, ...], linear in between.
    #[arg(long, value_name = "FILE")]
    pub request_rate_series: Option<PathBuf>,
    /// Turns per second of all users together: each of --num-users sends its next turn users/rate
    /// seconds after the one before, and a user that is through is replaced.
    #[arg(long, value_name = "PER_SECOND", value_parser = values::positive)]
    pub user_centric_rate: Option<f64>,
    /// Users of --user-centric-rate.
    #[arg(long, value_name = "USERS", value_parser = values::count)]
    pub num_users: Option<u64>,
    /// Requests that wait for their first token at once; needs --streaming. [default: no limit]
    #[arg(long, value_name = "REQUESTS", value_parser = values::count)]
    pub prefill_concurrency: Option<u64>,
    /// Seconds from one slot to all of --concurrency, evenly.
    #[arg(long, value_name = "SECONDS", value_parser = values::positive)]
    pub concurrency_ramp_duration: Option<f64>,
    /// Seconds from one slot to all of --prefill-concurrency, evenly.
    #[arg(long, value_name = "SECONDS", value_parser = values::positive)]
    pub prefill_concurrency_ramp_duration: Option<f64>,
    /// Seconds from nearly nothing to --request-rate, linearly.
    #[arg(long, value_name = "SECONDS", value_parser = values::positive)]
    pub request_rate_ramp_duration: Option<f64>,
    /// Stop sending after so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = values::positive)]
    pub benchmark_duration: Option<f64>,
    /// What is in flight so many seconds after --benchmark-duration is dropped; `inf` waits for all.
    /// [default: 30]
    #[arg(long, value_name = "SECONDS", value_parser = values::grace)]
    pub benchmark_grace_period: Option<f64>,
    /// End the run when a larger share of the requests than this has failed (0 to 1).
    #[arg(long, value_name = "SHARE", value_parser = values::share)]
    pub failed_request_threshold: Option<f64>,
    /// Requests to send; errors and cancelled ones count. [default: 10]
    #[arg(long, visible_alias = "num-requests", value_name = "REQUESTS", value_parser = values::count)]
    pub request_count: Option<u64>,
    /// Requests sent before the measurement; never cancelled, in no figure. [default: no warmup]
    #[arg(long, visible_alias = "num-warmup-requests", value_name = "REQUESTS", value_parser = values::count)]
    pub warmup_request_count: Option<u64>,
    /// Warm up for so many seconds. [default: no warmup]
    #[arg(long, value_name = "SECONDS", value_parser = values::positive)]
    pub warmup_duration: Option<f64>,
    /// Warm up with so many sessions. [default: no warmup]
    #[arg(long, value_name = "SESSIONS", value_parser = values::count)]
    pub num_warmup_sessions: Option<u64>,
    /// Sessions open at once during warmup. [default: --concurrency]
    #[arg(long, value_name = "STREAMS", value_parser = values::count)]
    pub warmup_concurrency: Option<u64>,
    /// Prefill limit during warmup. [default: --prefill-concurrency]
    #[arg(long, value_name = "REQUESTS", value_parser = values::count)]
    pub warmup_prefill_concurrency: Option<u64>,
    /// Arrivals per second during warmup. [default: --request-rate]
    #[arg(long, value_name = "PER_SECOND", value_parser = values::rate)]
    pub warmup_request_rate: Option<f64>,
    /// How they are spread; concurrency keeps --warmup-concurrency open instead, whatever rate the
    /// measurement has. [default: --arrival-pattern]
    #[arg(long, value_name = "PATTERN")]
    pub warmup_arrival_pattern: Option<String>,
    /// What is in flight so long after --warmup-duration is dropped. [default: wait for all]
    #[arg(long, value_name = "SECONDS", value_parser = values::grace)]
    pub warmup_grace_period: Option<f64>,
    /// The measurement begins as soon as the warmup has sent its last request, without waiting for
    /// its answers; the limits then hold for both together.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub warmup_seamless: bool,
    /// As --concurrency-ramp-duration. [default: that one]
    #[arg(long, value_name = "SECONDS", value_parser = values::positive)]
    pub warmup_concurrency_ramp_duration: Option<f64>,
    /// As --prefill-concurrency-ramp-duration. [default: that one]
    #[arg(long, value_name = "SECONDS", value_parser = values::positive)]
    pub warmup_prefill_concurrency_ramp_duration: Option<f64>,
    /// As --request-rate-ramp-duration. [default: that one]
    #[arg(long, value_name = "SECONDS", value_parser = values::positive)]
    pub warmup_request_rate_ramp_duration: Option<f64>,
    /// Print the schedule that would be sent, one JSON line per request, and send nothing.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub dry_run: bool,
    /// Fixes every random decision (prompts, lengths, which requests are cancelled), on any number
    /// of cores. [default: drawn anew for each run and printed, so that no run meets a warm cache]
    #[arg(long, value_name = "SEED")]
    pub random_seed: Option<u64>,
}

#[derive(Args, Debug)]
pub struct Cancellation {
    /// Share of the requests to hang up on, in percent. Each request is drawn on its own.
    /// [default: none]
    #[arg(long, value_name = "PERCENT", value_parser = values::percentage)]
    pub request_cancellation_rate: Option<f64>,
    /// From the trigger to the disconnect: seconds, or a distribution that is drawn for each
    /// request: uniform:LOW,HIGH, exponential:MEAN or lognormal:MEDIAN,SIGMA (SIGMA of the
    /// logarithm). 0 still sends the whole request. A response that is complete by then is not
    /// cancelled. [default: 0]
    #[arg(long, value_name = "SECONDS", value_parser = values::delay)]
    pub request_cancellation_delay: Option<Delay>,
    /// What the delay counts from. sent: the last byte of the request was taken by the socket.
    /// headers: the head of the response has come. first-token; tokens:N: N content events have
    /// come; fraction:F: that share of the output length asked for has (chat and completions).
    /// mid-body: half of the body was written, and the rest never is. connect: a new connection of
    /// its own is there; with a delay of 0 nothing is sent. [default: sent]
    #[arg(long, value_name = "TRIGGER", value_parser = values::trigger)]
    pub request_cancellation_trigger: Option<TriggerFlag>,
    /// How the client leaves. fin: it closes. rst: it resets the connection. half-close: it closes its
    /// sending side and reads the answer to its end. stall: it stops reading and keeps the socket
    /// open until the phase ends. [default: fin]
    #[arg(long, value_name = "MODE")]
    pub request_cancellation_mode: Option<String>,
    /// Leave in waves: every so many seconds, counted from the begin of the phase, all chosen
    /// requests whose delay is over leave at one instant. [default: each at its own]
    #[arg(long, value_name = "SECONDS", value_parser = values::positive)]
    pub request_cancellation_wave: Option<f64>,
    /// Give up on a request that has brought no token so long after its start: ttft:SECONDS, or a
    /// distribution such as ttft:lognormal:2,0.5. For all requests, or for the share of
    /// --request-cancellation-rate. [default: endless]
    #[arg(long, value_name = "ttft:SECONDS", value_parser = values::patience)]
    pub patience: Option<Delay>,
    /// Judge whether the server let go of what was cancelled, as `pinfire cancel-test` does: looks at
    /// its metrics all the time (every 100 ms, then every 20 ms until it is at rest), and one request
    /// alone before and after the run, in no figure. The verdict stands below the tables and in the
    /// summary (`release`), the looks in release.json. Exit code 4: leaked, wedged or gone; 5: cannot
    /// tell; 1: the run itself cannot be used.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub verify_release: bool,
}

#[derive(Args, Debug)]
pub struct Input {
    /// Mean input length of synthetic prompts; the prompts have exactly the length that is drawn.
    /// [default: 550]
    #[arg(long, visible_aliases = ["synthetic-input-tokens-mean", "prompt-input-tokens-mean"], value_name = "TOKENS", value_parser = values::length)]
    pub isl: Option<u32>,
    /// Standard deviation of the input length. [default: 0]
    #[arg(long, visible_aliases = ["synthetic-input-tokens-stddev", "prompt-input-tokens-stddev"], value_name = "TOKENS", value_parser = values::not_negative)]
    pub isl_stddev: Option<f64>,
    /// Mean output limit sent with a request. For exact lengths add --extra-inputs ignore_eos:true.
    /// [default: no limit is sent]
    #[arg(long, visible_aliases = ["output-tokens-mean", "prompt-output-tokens-mean"], value_name = "TOKENS", value_parser = values::length)]
    pub osl: Option<u32>,
    /// Standard deviation of the output limit; needs --osl. [default: 0]
    #[arg(long, visible_aliases = ["output-tokens-stddev", "prompt-output-tokens-stddev"], value_name = "TOKENS", value_parser = values::not_negative)]
    pub osl_stddev: Option<f64>,
    /// A mixture of input and output lengths instead of --isl and --osl: ISL,OSL:PERCENT;... with
    /// |DEVIATION behind a length if wanted, such as '256|10,128|5:40;512,256:60'. The percentages
    /// sum to 100. [(256,128):40,(512,256):60] and {"pairs": [{"isl": 256, "osl": 128, "prob": 40},
    /// ...]} say the same.
    #[arg(long, visible_alias = "sequence-distribution", value_name = "PAIRS")]
    pub seq_dist: Option<String>,
    /// Draw lengths evenly from a range around --isl and --osl (both needed): 0.2 is 20 % to either
    /// side. '{"input": 0.2, "output": 0.5}' tells them apart.
    #[arg(long, value_name = "RATIO|JSON")]
    pub random_range_ratio: Option<String>,
    /// How that range lies: vllm (to both sides of the mean) or sglang (from RATIO times the mean up
    /// to the mean). [default: vllm]
    #[arg(long, value_name = "STYLE")]
    pub random_corpus_style: Option<String>,
    /// What prompts are cut from: sonnet (English prose, embedded) is the only one.
    #[arg(long, value_name = "CORPUS", default_value = "sonnet", value_parser = values::corpus)]
    pub prompt_corpus: String,
    /// Texts in one request, each of --isl tokens: a list where the endpoint takes one, else parts
    /// of one message. [default: 1]
    #[arg(long, short = 'b', visible_aliases = ["batch-size", "batch-size-text"], value_name = "TEXTS", value_parser = values::whole)]
    pub prompt_batch_size: Option<u64>,
    /// Number of prefixes of --prefix-prompt-length tokens: each conversation draws one, which goes
    /// before its first prompt and adds to its length. [default: none]
    #[arg(long, visible_aliases = ["prefix-prompt-pool-size", "prompt-prefix-pool-size"], value_name = "PREFIXES", value_parser = values::whole)]
    pub num_prefix_prompts: Option<u64>,
    /// Length of each such prefix; needs --num-prefix-prompts. [default: none]
    #[arg(long, visible_alias = "prompt-prefix-length", value_name = "TOKENS", value_parser = values::whole)]
    pub prefix_prompt_length: Option<u64>,
    /// Conversations to make, synthetic or out of a random_pool; the run takes them in turn. All
    /// entries of any other file are taken. [default: --num-conversations, else --request-count,
    /// else 100]
    #[arg(long, visible_alias = "num-prompts", value_name = "PROMPTS", value_parser = values::count)]
    pub num_dataset_entries: Option<u64>,
    /// Dataset to send instead of synthetic prompts: a file, gzipped or not, or a folder
    /// (random_pool, raw_payload).
    #[arg(long, value_name = "PATH")]
    pub input_file: Option<PathBuf>,
    /// Format of --input-file. [default: what its first line shows]
    ///
    /// single_turn, a request per line:
    ///   {"text": "Who wrote Faust?", "output_length": 50}
    /// multi_turn, a conversation per line, with live replies in between:
    ///   {"turns": [{"role": "system", "text": "Be brief."}, {"text": "Hi"}, {"text": "Why?", "delay": 500}]}
    /// random_pool, lines that requests are drawn from, out of each file of a folder one:
    ///   {"text": "Summarize this."}
    /// raw_payload, a request body per line, sent byte for byte:
    ///   {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}
    /// inputs_json, the inputs.json of a run, sent again:
    ///   {"data": [{"session_id": "a", "payloads": [{"model": "m", "messages": []}]}]}
    /// sharegpt, recorded conversations:
    ///   [{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]}]
    /// mooncake_trace, recorded lengths and shared prefixes:
    ///   {"timestamp": 0, "input_length": 1000, "output_length": 50, "hash_ids": [1, 2]}
    #[arg(long, value_name = "TYPE", verbatim_doc_comment)]
    pub custom_dataset_type: Option<String>,
    /// Which conversation a session takes: sequential (in the order of the dataset, again and again),
    /// shuffle (each once per pass, every pass in another order) or random (drawn each time). The
    /// seed alone decides, and profiling goes on where the warmup stopped.
    #[arg(long, value_name = "STRATEGY", default_value = "sequential")]
    pub dataset_sampling_strategy: String,
    /// Tokens per hash id of a trace. [default: 512]
    #[arg(long, visible_aliases = ["synthetic-input-tokens-block-size", "prompt-input-tokens-block-size"], value_name = "TOKENS", value_parser = values::count)]
    pub isl_block_size: Option<u64>,
    /// Fields merged into every request body, `key:value`; repeatable. Items are cut at commas; the
    /// form '{"key": value}' keeps them. Example: ignore_eos:true,temperature:0
    #[arg(long, value_name = "KEY:VALUE", num_args = 1..)]
    pub extra_inputs: Vec<String>,
}

#[derive(Args, Debug)]
pub struct Conversations {
    /// Conversations to begin; also the number to make of synthetic prompts or out of a random_pool.
    /// [default: no limit]
    #[arg(long, visible_aliases = ["conversation-num", "num-sessions"], value_name = "CONVERSATIONS", value_parser = values::count)]
    pub num_conversations: Option<u64>,
    /// Mean number of turns of a synthetic conversation. Each turn carries the turns before it and
    /// the answers to them. [default: 1]
    #[arg(long, visible_alias = "conversation-turn-mean", value_name = "TURNS", value_parser = values::count)]
    pub session_turns_mean: Option<u64>,
    /// Standard deviation of the number of turns. [default: 0]
    #[arg(long, visible_alias = "conversation-turn-stddev", value_name = "TURNS", value_parser = values::whole)]
    pub session_turns_stddev: Option<u64>,
    /// Mean delay between the answer to a turn and the next turn. [default: 0]
    #[arg(long, visible_alias = "conversation-turn-delay-mean", value_name = "MILLISECONDS", value_parser = values::not_negative)]
    pub session_turn_delay_mean: Option<f64>,
    /// Standard deviation of that delay. [default: 0]
    #[arg(long, visible_alias = "conversation-turn-delay-stddev", value_name = "MILLISECONDS", value_parser = values::not_negative)]
    pub session_turn_delay_stddev: Option<f64>,
    /// Every such delay is multiplied by it. [default: 1]
    #[arg(long, visible_alias = "conversation-turn-delay-ratio", value_name = "FACTOR", value_parser = values::not_negative)]
    pub session_delay_ratio: Option<f64>,
    /// The longest delay between turns, drawn or recorded. [default: no limit]
    #[arg(long, value_name = "SECONDS", value_parser = values::not_negative)]
    pub inter_turn_delay_cap_seconds: Option<f64>,
    /// Length of a system message that all synthetic conversations share (chat only); it comes on
    /// top of --isl. [default: no system message]
    #[arg(long, value_name = "TOKENS", value_parser = values::count)]
    pub shared_system_prompt_length: Option<u64>,
    /// Length of a user message of its own that each synthetic conversation has before its turns, in
    /// every request (chat only); it comes on top of --isl. [default: none]
    #[arg(long, value_name = "TOKENS", value_parser = values::count)]
    pub user_context_prompt_length: Option<u64>,
    /// System message of every conversation, as it is (chat only). A dataset's own system message
    /// follows it behind a blank line. [default: none]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub system_prompt: Option<String>,
    /// File whose whole text is that system message.
    #[arg(long, value_name = "FILE")]
    pub system_prompt_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Rankings {
    /// Mean number of passages in a synthetic ranking request. [default: 10]
    #[arg(long, value_name = "PASSAGES", value_parser = values::count)]
    pub rankings_passages_mean: Option<u64>,
    /// Standard deviation of that number. [default: 0]
    #[arg(long, value_name = "PASSAGES", value_parser = values::not_negative)]
    pub rankings_passages_stddev: Option<f64>,
    /// Mean length of a passage. [default: 128]
    #[arg(long, value_name = "TOKENS", value_parser = values::count)]
    pub rankings_passages_prompt_token_mean: Option<u64>,
    /// Standard deviation of that length. [default: 0]
    #[arg(long, value_name = "TOKENS", value_parser = values::not_negative)]
    pub rankings_passages_prompt_token_stddev: Option<f64>,
    /// Mean length of the query. [default: 32]
    #[arg(long, value_name = "TOKENS", value_parser = values::count)]
    pub rankings_query_prompt_token_mean: Option<u64>,
    /// Standard deviation of that length. [default: 0]
    #[arg(long, value_name = "TOKENS", value_parser = values::not_negative)]
    pub rankings_query_prompt_token_stddev: Option<f64>,
}

#[derive(Args, Debug)]
pub struct Schedule {
    /// Send by the timestamps of the trace (or of single_turn and multi_turn lines). So it is without
    /// this flag too, if --custom-dataset-type names a trace and its first line has a timestamp.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub fixed_schedule: bool,
    /// Ignore the trace's timestamps: send as fast as --concurrency allows.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub no_fixed_schedule: bool,
    /// The first timestamp is the start of the phase; without it, 0 is. [default: true, unless
    /// --fixed-schedule-start-offset is given]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub fixed_schedule_auto_offset: Option<bool>,
    /// Leave out lines before this timestamp, which is the start of the phase. [default: none]
    #[arg(long, value_name = "MILLISECONDS", value_parser = values::whole)]
    pub fixed_schedule_start_offset: Option<u64>,
    /// Leave out lines after this timestamp. [default: none]
    #[arg(long, value_name = "MILLISECONDS", value_parser = values::whole)]
    pub fixed_schedule_end_offset: Option<u64>,
    /// Timestamps are divided by it: 2 is twice as fast. Delays between turns stay as they are.
    /// [default: 1]
    #[arg(long, value_name = "FACTOR", value_parser = values::positive)]
    pub synthesis_speedup_ratio: Option<f64>,
    /// Drop the delays between turns of a trace; a fixed schedule keeps them.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub ignore_trace_delays: bool,
}

/// For traces only, as --synthesis-speedup-ratio.
#[derive(Args, Debug)]
pub struct SynthesisFlags {
    /// Length of the prefixes that lines of a trace share, in blocks: 2 is twice as long. Only the
    /// whole part lengthens what is shared; blocks of a fraction are new in each line. [default: 1]
    #[arg(long, value_name = "FACTOR", value_parser = values::positive)]
    pub synthesis_prefix_len_multiplier: Option<f64>,
    /// Spread the lines of a trace at random over so many prefix trees that share nothing.
    /// [default: 1]
    #[arg(long, value_name = "TREES", value_parser = values::count)]
    pub synthesis_prefix_root_multiplier: Option<u64>,
    /// Length of what lines of a trace do not share, in tokens. [default: 1]
    #[arg(long, value_name = "FACTOR", value_parser = values::positive)]
    pub synthesis_prompt_len_multiplier: Option<f64>,
    /// Output lengths of the trace are multiplied by it; at least one token is left. [default: 1]
    #[arg(long, value_name = "FACTOR", value_parser = values::not_negative)]
    pub synthesis_output_len_multiplier: Option<f64>,
    /// Leave out lines whose recorded input is longer; inputs that the multipliers make longer are
    /// cut to it. [default: no limit]
    #[arg(long, value_name = "TOKENS", value_parser = values::count)]
    pub synthesis_max_isl: Option<u64>,
    /// The highest output limit; higher ones become it. [default: no limit]
    #[arg(long, value_name = "TOKENS", value_parser = values::count)]
    pub synthesis_max_osl: Option<u64>,
}

#[derive(Args, Debug)]
pub struct TokenizerFlags {
    /// Tokenizer for prompts and counts: `builtin` (o200k_base, embedded), another embedded one
    /// (o200k_harmony, cl100k_base, p50k_base, p50k_edit, r50k_base, qwen2, qwen3), a folder with a
    /// tokenizer.json, or a model on the Hugging Face hub: from the local cache, else downloaded into
    /// it (HF_TOKEN for private ones; not with HF_HUB_OFFLINE=1). [default: the model's name]
    #[arg(long, value_name = "NAME|PATH")]
    pub tokenizer: Option<String>,
    /// Branch, tag or commit of a model on the hub or in its cache.
    #[arg(long, value_name = "REVISION", default_value = "main")]
    pub tokenizer_revision: String,
    /// Taken so that scripts run, with a warning: pinfire runs no code of a model.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub tokenizer_trust_remote_code: bool,
    /// Count input tokens as the model sees them, by its own chat template, and make synthetic
    /// prompts shorter by what that adds. Needs a tokenizer that comes with one.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub apply_chat_template: bool,
}

#[derive(Args, Debug)]
pub struct Output {
    /// Folder of all files of the run. [default: artifacts/<model>-openai-<type>-concurrency<N>]
    #[arg(long, visible_alias = "output-artifact-dir", value_name = "FOLDER")]
    pub artifact_dir: Option<PathBuf>,
    /// Renames the exports: NAME.json, NAME.csv, NAME.jsonl, NAME_raw.jsonl, NAME_console.txt.
    #[arg(long, visible_alias = "profile-export-file", value_name = "NAME")]
    pub profile_export_prefix: Option<String>,
    /// How much is written: summary (JSON, CSV, console), records (also a JSON line per request), or
    /// raw (also every request and every answer byte for byte, with the stamp of each event;
    /// credentials in headers are hidden). Raw keeps whole answers in memory until they are written.
    #[arg(
        long,
        visible_alias = "profile-export-level",
        value_name = "LEVEL",
        default_value = "records"
    )]
    pub export_level: String,
    /// Duration behind rates: benchmark (first start to last content) or phase (as AIPerf 0.13, also
    /// for what is weighted by time).
    #[arg(long, value_name = "WINDOW", default_value = "benchmark")]
    pub rate_window: String,
    /// Promises to the user, as tag:number pairs in the units of the console, in one argument:
    /// "time_to_first_token:370 inter_token_latency:20". A request is good if it keeps all of them;
    /// goodput is good requests per second. A latency may not be above its number, a throughput or a
    /// length not below. docs/METRICS.md has the tags; one that means nothing in this run is refused,
    /// and those that can be used are listed.
    #[arg(long, value_name = "PAIRS")]
    pub goodput: Option<String>,
    /// Also give all metrics per slice of so many seconds, from the first request on, in two files
    /// (…_timeslices.csv and .json). A request belongs to the slice in which it started.
    #[arg(long, value_name = "SECONDS", value_parser = values::positive)]
    pub slice_duration: Option<f64>,
    /// Requests of a phase that are kept exactly. Beyond, percentiles have three digits and curves are
    /// averages of 0.1 s, so that memory stays flat; averages, sums and extremes stay exact. 0 keeps
    /// everything, as slices do.
    #[arg(long, value_name = "REQUESTS", default_value_t = pinfire_analysis::facts::EXACT_RECORDS)]
    pub exact_records: u64,
    /// Put `trace_data` into the line of each request: the connection's ends, both heads, and the
    /// instant and size of every write and read (docs/FILES.md).
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub export_http_trace: bool,
    /// GPUs that the server runs on: throughputs are shown per GPU as well, on the console and under
    /// `per_gpu` in the summary.
    #[arg(long, value_name = "GPUS", value_parser = values::count)]
    pub num_gpus: Option<u64>,
    /// Print the table of HTTP times as well.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub show_trace_timing: bool,
    /// While it runs: dashboard (the whole terminal: throughput, percentiles, outcomes, client
    /// health), simple (a bar) or none (lines). [default: dashboard on a terminal, else none]
    #[arg(long, visible_alias = "ui-type", value_name = "UI")]
    pub ui: Option<String>,
    /// How much is said on standard error: trace, debug, info, notice, warning, success, error or
    /// critical, and what is above it. debug tells what was decided and how each phase went, trace
    /// also where it stands every second. [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// --log-level debug, and a bar instead of the dashboard.
    #[arg(long, short, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub verbose: bool,
    /// -vv: --log-level trace, and a bar instead of the dashboard.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub extra_verbose: bool,
    /// Print a block of statistics every so many seconds, on standard error; 0 prints none. Under the
    /// dashboard, which is always current, they come after the run. [default: 30; with the
    /// dashboard none]
    #[arg(long, value_name = "SECONDS", value_parser = values::interval)]
    pub stats_interval: Option<f64>,
}

#[derive(Args, Debug)]
pub struct Watch {
    /// Pages of Prometheus metrics, besides those of the servers under --url, which are looked at
    /// anyway (behind the URL and at its root): http://host:port[/path], several by comma or blank.
    #[arg(long, value_name = "URL", num_args = 1..)]
    pub server_metrics: Vec<String>,
    /// Look at no metrics of servers.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub no_server_metrics: bool,
    /// In which forms the servers' metrics are written: json, csv, jsonl (a line per look, as it comes),
    /// parquet. [default: json csv]
    #[arg(long, value_name = "FORMAT", num_args = 1..)]
    pub server_metrics_formats: Vec<String>,
    /// Which metrics of a server mean running, waiting, KV cache in use, aborted: a JSON file for
    /// servers that pinfire does not know (docs/SERVER-METRICS.md has its form).
    #[arg(long, value_name = "FILE")]
    pub release_profile: Option<PathBuf>,
    /// DCGM exporters, besides localhost:9400 and :9401, which are tried anyway.
    #[arg(long, value_name = "URL", num_args = 0..)]
    pub gpu_telemetry: Option<Vec<String>>,
    /// Look at no GPUs.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub no_gpu_telemetry: bool,
}

#[derive(Args, Debug)]
pub struct EngineFlags {
    /// CPUs that send and receive: a number, or a list such as 2,4-7 (one CPU: 3,). Each gets one
    /// pinned thread. [default: all but one, at least one]
    #[arg(long, value_name = "COUNT|LIST", value_parser = values::cores)]
    pub cores: Option<Cores>,
    /// Kernel interface: uring, epoll, or auto (uring where it works).
    #[arg(long, value_name = "DRIVER", default_value = "auto")]
    pub io_driver: String,
    /// How deadlines are met: sleep (20-90 µs late, next to no CPU), lead (wakes early and polls,
    /// about 1 µs late) or spin (never sleeps).
    #[arg(long, value_name = "MODE", default_value = "lead")]
    pub timer_precision: String,
    /// Ask for real-time priority (SCHED_FIFO) on the engine's CPUs; says so if it is refused.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub realtime: bool,
}

/// The flags of `pinfire profile --model m` with these behind it.
#[cfg(test)]
pub fn typed<'a>(more: impl IntoIterator<Item = &'a str>) -> Result<Box<Profile>, clap::Error> {
    let line = ["pinfire", "profile", "--model", "m"];
    match Cli::try_parse_from(line.into_iter().chain(more))?.command {
        Command::Profile(flags) => Ok(flags),
        _ => unreachable!("the line says profile"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn profile() -> clap::Command {
        let mut root = Cli::command();
        root.build();
        root.find_subcommand("profile").unwrap().clone()
    }

    #[test]
    fn every_flag_has_help_and_a_value_name() {
        let mut root = Cli::command();
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
        Cli::command().debug_assert();
    }

    #[test]
    fn no_flag_is_both_supported_and_refused() {
        for flag in profile().get_arguments() {
            for name in flag.get_long_and_visible_aliases().unwrap_or_default() {
                let typed = vec![
                    "pinfire".to_owned(),
                    "profile".to_owned(),
                    format!("--{name}"),
                ];
                assert_eq!(crate::unsupported::first_of(&typed), None, "--{name}");
            }
        }
    }

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_rules_of_parsing() {
        assert!(parse("pinfire profile --model m --streaming").is_ok());
        assert!(parse("pinfire profile --model=m --streaming=false").is_ok());
        for wrong in [
            "pinfire profile --streaming",
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
}
