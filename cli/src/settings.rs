//! From the configuration to what the run needs, checked. Nothing after this asks what was given.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, Result, ensure};
use pinfire_analysis::{
    backlog::IN_MEMORY,
    facts::{PartFacts, RateWindow, Thresholds},
    goodput::{self, Slos},
    metric::conditions,
};
use pinfire_artifacts::{FileNames, calibration::Calibration, read_json};
use pinfire_base::{
    clock::Span,
    record::{Keep, PlannedCancellation},
    shard::Shard,
    zone,
};
use pinfire_config::{
    Blame, Get, Given, RunConfig, Sourced, demand,
    numbers::{ShardOf, Whole},
    refuse, sections,
    words::{
        self, ConnectionReuse, ExportLevel, IoDriver, LogLevel, SamplingStrategy, TimerPrecision,
        UiKind,
    },
};
use pinfire_dialect::{
    Answers, BodyOptions, EndpointKind, RESPONSE_FIELD, Render, ResponseField,
    extra::{parse_extra_inputs, parse_headers},
};
use pinfire_engine::{
    plan::{DriverChoice, EngineSetup, Precision, ReceiveStamps, Reuse},
    schedule::Sampling,
};
use pinfire_workload::{body_template::Template, dataset::ModelChoice};

use crate::{
    cancellation, environment,
    exporter::Listen,
    input::{self, Input},
    load::{DEFAULT_REQUESTS, Load, PhaseLoad},
    prompts,
    readiness::Probe,
    run::cpus::{Places, divide},
    scrape::{client::Trust, plan::Plan},
    shards::{self, Share},
    terminal::{progress::Ui, say, screen, stdout::Shows},
    transport::Transport,
};

/// A run, decided.
#[derive(Debug)]
pub struct Settings {
    pub transport: Transport,
    pub endpoint_path: String,
    pub bodies: BodyOptions,
    pub answers: Answers,
    pub headers: Vec<(String, String)>,
    pub api_key: Option<String>,
    pub session_header: String,
    pub affinity: bool,
    pub timeout: Span,
    pub probe: Option<Probe>,
    pub reuse: Reuse,
    pub load: Load,
    /// What this process is of a run that several make.
    pub share: Option<Share>,
    pub cancellation: Option<PlannedCancellation>,
    /// Whether the server lets go of it is judged.
    pub verify_release: bool,
    pub seed: Seed,
    pub sampling: Sampling,
    pub model_choice: ModelChoice,
    pub input: Input,
    pub tokenizer: Option<String>,
    pub tokenizer_revision: String,
    pub trust_remote_code: bool,
    pub chat_template: bool,
    pub system_prompt: Option<String>,
    pub server_counts: bool,
    pub artifact_dir: PathBuf,
    pub files: FileNames,
    pub lines: bool,
    /// The raw file is written.
    pub raw: bool,
    /// `--export-http-trace`.
    pub http_trace: bool,
    /// What the cores keep of each request for these two.
    pub keep: Keep,
    pub rate_window: RateWindow,
    pub thresholds: Thresholds,
    pub watch: Plan,
    /// Where the run's own figures are served while it goes on.
    pub exporter: Option<Listen>,
    pub slos: Slos,
    pub slice: Option<Span>,
    pub exact_records: u64,
    pub trace_table: bool,
    pub console_width: Option<usize>,
    /// Bytes of records that wait for their analysis in memory; the others do in a file.
    pub records_in_memory: u64,
    pub log_level: say::Level,
    pub ui: Ui,
    /// Between two blocks of statistics.
    pub stats: Option<Span>,
    /// What is printed at the end.
    pub shows: Shows,
    pub engine: EngineSetup,
    pub places: Places,
    /// Its place among other runs; such a run shows no tables.
    pub part: Option<PartFacts>,
    pub num_gpus: Option<u64>,
    /// Shown beside the run's figures.
    pub calibration: Option<Calibration>,
    /// What the user should know before the run.
    pub warnings: Vec<String>,
    /// What was asked, the seed included.
    pub config: RunConfig,
}

/// The seed of every random decision.
#[derive(Clone, Copy, Debug)]
pub struct Seed {
    pub value: u64,
    /// The user fixed it.
    pub fixed: bool,
}

impl Settings {
    /// Checks the settings together.
    ///
    /// # Errors
    /// The first combination that makes no sense, with the way out.
    pub fn new(config: &RunConfig) -> Result<Self> {
        one_value_each(config)?;
        let mut warnings = Vec::new();
        let asked = Asked::new(config, &mut warnings)?;
        let Asked {
            kind, streaming, ..
        } = asked;
        let slos = goodput(config, kind, streaming)?;
        warnings.extend(slos.warnings());
        let input = input(config, kind)?;
        warnings.extend(input::repeats(config, &input));
        warnings.extend(zone::wrong().map(str::to_owned));
        let load = Load::new(config, input.fixed_schedule())?;
        let run_folder = artifact_dir(config, kind, &load.profiling.stimulus())?;
        let servers = asked.transport.server.count();
        let lookup = &shards::environment;
        let share = Share::of(config, lookup, servers, &load, run_folder.clone())?;
        let most = load.phases().map(PhaseLoad::most_cores).max().unwrap_or(1);
        let shard = share.as_ref().map_or(Shard::WHOLE, |share| share.shard);
        let places = divide(config.engine.cores.get().as_ref(), shard.slots(most).max(1))
            .about(&[&config.engine.cores])?;
        warnings.extend(places.warning());
        let stamps = &config.engine.receive_stamps;
        demand!(
            stamps.value != words::ReceiveStamps::Kernel || !asked.transport.uses_unix_sockets(),
            [stamps, config.endpoint.url],
            "--receive-stamps kernel: the kernel gives none on a unix: URL; use auto or user"
        );
        let seed = seed(config)?;
        let talk = Talk::new(&config.output, &mut warnings)?;
        let level = config.output.export_level.value;
        let cancellation = cancellation::decide(config, kind, streaming)?;
        let (endpoint, output, tokenizer) = (&config.endpoint, &config.output, &config.tokenizer);
        Ok(Self {
            transport: asked.transport,
            endpoint_path: asked.path,
            bodies: asked.bodies,
            answers: asked.answers,
            headers: headers(endpoint)?,
            api_key: endpoint.api_key.get(),
            session_header: session_header(endpoint),
            affinity: environment::switch("HTTP_X_SESSION_AFFINITY_FROM_CORRELATION_ID", true)?,
            timeout: endpoint.request_timeout_seconds.value.span(),
            probe: Probe::new(endpoint)?,
            reuse: reuse(endpoint.connection_reuse_strategy.value),
            verify_release: verify_release(config, cancellation.is_some())?,
            cancellation,
            sampling: sampling(config, seed),
            model_choice: endpoint.model_selection_strategy.value,
            seed,
            input,
            tokenizer: tokenizer.tokenizer.get(),
            tokenizer_revision: tokenizer.tokenizer_revision.get(),
            trust_remote_code: tokenizer.tokenizer_trust_remote_code.value,
            chat_template: tokenizer.apply_chat_template.value,
            system_prompt: prompts::system_prompt(config, kind)?,
            server_counts: endpoint.use_server_token_count.value,
            artifact_dir: share.as_ref().map_or(run_folder, Share::folder),
            files: file_names(output),
            lines: level != ExportLevel::Summary,
            raw: level == ExportLevel::Raw,
            http_trace: output.export_http_trace.value,
            keep: keep(output, &mut warnings),
            rate_window: output.rate_window.value.into(),
            thresholds: thresholds()?,
            watch: Plan::new(&config.watch, trust(endpoint)?)?.of_shard(shard),
            exporter: Listen::of(&config.watch)?,
            slos,
            slice: output
                .slice_duration
                .get()
                .map(slice)
                .transpose()
                .about(&[&output.slice_duration])?,
            exact_records: output.exact_records.get(),
            trace_table: output.show_trace_timing.value,
            console_width: console_width()?,
            records_in_memory: environment::read("RECORDS_IN_MEMORY")?.unwrap_or(IN_MEMORY),
            log_level: talk.level,
            ui: talk.ui,
            stats: talk.stats,
            shows: talk.shows,
            engine: engine_setup(&config.engine, &places),
            places,
            load,
            part: None,
            num_gpus: output.num_gpus.get(),
            calibration: calibration(output)?,
            warnings,
            config: as_decided(config, seed, shard, share.is_some()),
            share,
        })
    }

    /// Whose requests this process sends.
    pub fn shard(&self) -> Shard {
        self.share
            .as_ref()
            .map_or(Shard::WHOLE, |share| share.shard)
    }

    /// Requests that this process has in flight at once over the phases, as far as something bounds
    /// them.
    pub fn slots(&self) -> u64 {
        self.shard().slots(self.load.most_at_once())
    }

    /// Sockets that stay open although their requests have ended, as far as a count bounds them.
    pub fn kept_sockets(&self) -> u64 {
        let requests = self.load.profiling.requests.unwrap_or(0);
        let shard = self.shard();
        let requests = match shard.is_whole() {
            true => requests,
            false => shard.below(requests.saturating_add(shard.round())),
        };
        self.cancellation
            .as_ref()
            .map_or(0, |planned| cancellation::kept_sockets(planned, requests))
    }
}

/// Reads `--calibration`.
fn calibration(output: &sections::Output) -> Result<Option<Calibration>> {
    let Some(file) = &output.calibration else {
        return Ok(None);
    };
    let read = read_json::<Calibration>(&file.value)
        .with_context(|| format!("--calibration {file}"))
        .about(&[file])?;
    demand!(
        !read.tool_version.is_empty(),
        [file],
        "--calibration {file} is no calibration; `pinfire calibrate` writes one"
    );
    Ok(Some(read))
}

/// A run takes one value of each setting.
fn one_value_each(config: &RunConfig) -> Result<()> {
    match config.swept().first() {
        Some(axis) => refuse!(
            [axis.given(config)],
            "{} has several values, and this is one run: give one",
            axis.flag()
        ),
        None => Ok(()),
    }
}

/// What is asked, and of whom.
struct Asked {
    kind: EndpointKind,
    streaming: bool,
    path: String,
    transport: Transport,
    bodies: BodyOptions,
    answers: Answers,
}

impl Asked {
    fn new(config: &RunConfig, warnings: &mut Vec<String>) -> Result<Self> {
        let endpoint = &config.endpoint;
        let kind = endpoint.endpoint_type.value;
        let row = kind.row();
        let streaming = endpoint.streaming.value && row.streams;
        if endpoint.streaming.value && !row.streams {
            warnings.push(format!(
                "--streaming: {} has no streams; going on without",
                row.name
            ));
        }
        suits(config, kind, streaming)?;
        let path =
            endpoint_path(endpoint)?.unwrap_or_else(|| row.default_path(streaming).to_owned());
        let models: Vec<String> = endpoint.model.iter().map(Sourced::get).collect();
        demand!(
            models.iter().all(|model| !model.trim().is_empty()),
            [endpoint.model],
            "--model: a model name is empty"
        );
        let transport = Transport::new(endpoint, &path)?;
        let inputs = &config.input.extra_inputs;
        let texts: Vec<String> = inputs.iter().map(Sourced::get).collect();
        let extra = parse_extra_inputs(&texts).blame(&[inputs], "--extra-inputs")?;
        let template = match kind {
            EndpointKind::Template => {
                let template = Template::of(&extra).about(&[inputs])?;
                Some(Arc::new(template) as Arc<dyn Render>)
            }
            EndpointKind::Raw => {
                demand!(
                    extra.keys().all(|key| key == RESPONSE_FIELD),
                    [inputs],
                    "--extra-inputs: raw sends its payloads as they are; only {RESPONSE_FIELD} can be \
                     given"
                );
                None
            }
            _ => None,
        };
        Ok(Self {
            kind,
            streaming,
            path,
            transport,
            answers: answers(kind, extra.get(RESPONSE_FIELD)).about(&[inputs])?,
            bodies: BodyOptions {
                endpoint: kind,
                models,
                streaming,
                legacy_max_tokens: endpoint.use_legacy_max_tokens.value,
                per_chunk_usage: endpoint.per_chunk_usage.value,
                server_counts: endpoint.use_server_token_count.value,
                extra,
                template,
                ..BodyOptions::default()
            },
        })
    }
}

fn endpoint_path(endpoint: &sections::Endpoint) -> Result<Option<String>> {
    let Some(path) = endpoint.endpoint.get() else {
        return Ok(None);
    };
    demand!(
        !path.bytes().any(|b| b <= b' ' || b >= 0x7F),
        [endpoint.endpoint],
        "--endpoint `{path}` holds a blank or another character that needs encoding"
    );
    demand!(
        path.starts_with('/'),
        [endpoint.endpoint],
        "--endpoint `{path}` must begin with `/`"
    );
    Ok(Some(path))
}

fn headers(endpoint: &sections::Endpoint) -> Result<Vec<(String, String)>> {
    let texts: Vec<String> = endpoint.header.iter().map(Sourced::get).collect();
    Ok(parse_headers(&texts).blame(&[&endpoint.header], "--header")?)
}

fn session_header(endpoint: &sections::Endpoint) -> String {
    let named = endpoint.session_header.get();
    named.unwrap_or_else(|| "X-Correlation-ID".to_owned())
}

/// Where the requests come from.
fn input(config: &RunConfig, kind: EndpointKind) -> Result<Input> {
    let order = &config.input.dataset_sampling_strategy;
    let in_order = order.value == SamplingStrategy::Sequential;
    let input = input::decide(config, kind, most_sessions(config), in_order)?;
    demand!(
        in_order || !input.fixed_schedule(),
        [order],
        "--dataset-sampling-strategy {order}: a fixed schedule is sent in its own order; leave it out, \
         or add --no-fixed-schedule"
    );
    Ok(input)
}

fn sampling(config: &RunConfig, seed: Seed) -> Sampling {
    match config.input.dataset_sampling_strategy.value {
        SamplingStrategy::Sequential => Sampling::Sequential,
        SamplingStrategy::Shuffle => Sampling::shuffle(seed.value),
        SamplingStrategy::Random => Sampling::random(seed.value),
    }
}

fn file_names(output: &sections::Output) -> FileNames {
    let prefix = output.profile_export_prefix.get();
    prefix.map_or_else(FileNames::default, |prefix| FileNames::with_prefix(&prefix))
}

const fn reuse(asked: ConnectionReuse) -> Reuse {
    match asked {
        ConnectionReuse::Pooled => Reuse::Pooled,
        ConnectionReuse::StickyUserSessions => Reuse::Sticky,
        ConnectionReuse::Never => Reuse::Never,
    }
}

fn engine_setup(asked: &sections::Engine, places: &Places) -> EngineSetup {
    EngineSetup {
        cpus: places.engine.clone(),
        driver: match asked.io_driver.value {
            IoDriver::Auto => DriverChoice::Auto,
            IoDriver::Uring => DriverChoice::Uring,
            IoDriver::Epoll => DriverChoice::Epoll,
        },
        precision: match asked.timer_precision.value {
            TimerPrecision::Sleep => Precision::Sleep,
            TimerPrecision::Lead => Precision::Lead,
            TimerPrecision::Spin => Precision::Spin,
        },
        receive_stamps: match asked.receive_stamps.value {
            words::ReceiveStamps::Auto => ReceiveStamps::Auto,
            words::ReceiveStamps::Kernel => ReceiveStamps::Kernel,
            words::ReceiveStamps::User => ReceiveStamps::User,
        },
        realtime: asked.realtime.value,
    }
}

/// What the cores keep of each request for the files.
fn keep(output: &sections::Output, warnings: &mut Vec<String>) -> Keep {
    let http_trace = output.export_http_trace.value;
    match output.export_level.value {
        ExportLevel::Raw => Keep::Bytes,
        ExportLevel::Records if http_trace => Keep::Reads,
        ExportLevel::Summary if http_trace => {
            warnings.push(
                "--export-http-trace: --export-level summary writes no line per request for it to be in"
                    .to_owned(),
            );
            Keep::Transcript
        }
        ExportLevel::Records | ExportLevel::Summary => Keep::Transcript,
    }
}

/// The configuration with the seed that was drawn where none was given, and with the shard that the
/// platform made of the process.
fn as_decided(config: &RunConfig, seed: Seed, shard: Shard, shared: bool) -> RunConfig {
    let mut config = config.clone();
    if config.load.random_seed.is_none() {
        config.load.random_seed = Some(Sourced::derived(Whole::new(seed.value)));
    }
    if config.shards.shard.is_none() && shared {
        let of = ShardOf {
            index: shard.index(),
            count: shard.count(),
        };
        config.shards.shard = Some(Sourced::derived(of));
        config.shards.shards = None;
    }
    config
}

/// Whether the server's release of cancelled requests is judged.
fn verify_release(config: &RunConfig, cancels: bool) -> Result<bool> {
    let asked = &config.cancellation.verify_release;
    if !asked.value {
        return Ok(false);
    }
    demand!(
        cancels,
        [asked],
        "--verify-release judges what becomes of cancelled requests, and none is cancelled: add \
         --request-cancellation-rate or --patience"
    );
    demand!(
        !config.watch.no_server_metrics.value,
        [asked, config.watch.no_server_metrics],
        "--verify-release judges by the server's metrics: leave out --no-server-metrics"
    );
    Ok(true)
}

/// TLS roots of the metrics scraper, the same as the load's.
fn trust(endpoint: &sections::Endpoint) -> Result<Trust> {
    let ca_cert = endpoint.ca_cert.get().map(std::fs::read).transpose();
    Ok(Trust {
        insecure: endpoint.insecure.value || !environment::switch("HTTP_SSL_VERIFY", true)?,
        ca_cert: ca_cert.blame(&[&endpoint.ca_cert], "--ca-cert")?,
    })
}

/// Whether the settings of requests and answers mean something to this kind of endpoint.
fn suits(config: &RunConfig, kind: EndpointKind, streaming: bool) -> Result<()> {
    let (endpoint, name, row) = (&config.endpoint, kind.name(), kind.row());
    let per_chunk = &endpoint.per_chunk_usage;
    if per_chunk.value {
        demand!(
            kind == EndpointKind::Chat,
            [per_chunk, endpoint.endpoint_type],
            "--per-chunk-usage is for --endpoint-type chat only, not for {name}"
        );
        demand!(
            streaming,
            [per_chunk, endpoint.streaming],
            "--per-chunk-usage needs --streaming: a whole answer has no chunks"
        );
        demand!(
            endpoint.use_server_token_count.value,
            [per_chunk, endpoint.use_server_token_count],
            "--per-chunk-usage needs --use-server-token-count: it is for the server's own counts"
        );
    }
    let prefill = &config.load.prefill_concurrency;
    demand!(
        streaming || prefill.is_none() || !endpoint.streaming.value,
        [prefill, endpoint.endpoint_type],
        "--prefill-concurrency needs --streaming, and {name} has no streams"
    );
    // completions and messages have that name anyway.
    let has_limit_name = matches!(
        kind,
        EndpointKind::Chat | EndpointKind::Completions | EndpointKind::Messages
    );
    demand!(
        has_limit_name || !endpoint.use_legacy_max_tokens.value,
        [endpoint.use_legacy_max_tokens],
        "--use-legacy-max-tokens: {name} has no field of that name; leave it out"
    );
    let content = endpoint.request_content_type.get();
    if let Some(content) = content.filter(|kind| !kind.eq_ignore_ascii_case("application/json")) {
        refuse!(
            [endpoint.request_content_type],
            "--request-content-type {content}: {name} takes application/json, as all endpoints of \
             pinfire"
        );
    }
    demand!(
        row.output_tokens || config.input.osl.is_none(),
        [config.input.osl],
        "--osl: {name} gives no output tokens; leave it out"
    );
    Ok(())
}

/// How the answers are read: `template` and `raw` take the user's word on where the answer is.
fn answers(kind: EndpointKind, field: Option<&serde_json::Value>) -> Result<Answers> {
    let mut answers = Answers::of(kind);
    let own_form = matches!(kind, EndpointKind::Template | EndpointKind::Raw);
    if let Some(field) = field.filter(|_| own_form) {
        let path = field
            .as_str()
            .with_context(|| format!("--extra-inputs: {RESPONSE_FIELD} must be a text"))?;
        if path != "text" {
            answers.field = Some(Arc::new(ResponseField::new(path)?));
        }
    }
    Ok(answers)
}

fn seed(config: &RunConfig) -> Result<Seed> {
    let given = &config.load.random_seed;
    if let Some(value) = given.get() {
        let fixed = given.is_given();
        return Ok(Seed { value, fixed });
    }
    Ok(Seed {
        value: drawn_seed()?,
        fixed: false,
    })
}

/// A seed for a run that was given none: below 2^53, so that it survives readers that keep numbers
/// as doubles.
pub fn drawn_seed() -> Result<u64> {
    Ok(random_bits()? >> 11)
}

/// The most conversations that the run begins, warmup included.
fn most_sessions(config: &RunConfig) -> u64 {
    let (load, warmup) = (&config.load, &config.warmup);
    let most = |caps: [Option<u64>; 2], endless: bool, otherwise: u64| {
        let capped = caps.into_iter().flatten().min();
        capped.unwrap_or(if endless { u64::MAX } else { otherwise })
    };
    let profiling = most(
        [
            load.request_count.get(),
            config.conversations.num_conversations.get(),
        ],
        load.benchmark_duration.is_some(),
        DEFAULT_REQUESTS,
    );
    let warmup = most(
        [
            warmup.warmup_request_count.get(),
            warmup.num_warmup_sessions.get(),
        ],
        warmup.warmup_duration.is_some(),
        0,
    );
    profiling.saturating_add(warmup)
}

/// Random bits from the system.
///
/// # Errors
/// The system gives none.
pub fn random_bits() -> Result<u64> {
    Ok(u64::from_ne_bytes(random_bytes()?))
}

/// Bytes that nobody can foretell.
///
/// # Errors
/// The system gives none.
pub fn random_bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0_u8; N];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .context("the system gives no random bytes")?;
    ensure!(
        filled == bytes.len(),
        "the system gives only {filled} of {} random bytes",
        bytes.len()
    );
    Ok(bytes)
}

fn artifact_dir(config: &RunConfig, kind: EndpointKind, stimulus: &str) -> Result<PathBuf> {
    let given = &config.output.artifact_dir;
    let dir = given.get().unwrap_or_else(|| {
        let models = &config.endpoint.model;
        let mut model = models
            .first()
            .map_or(String::new(), |name| name.get().replace('/', "_"));
        if models.len() > 1 {
            model.push_str("_multi");
        }
        PathBuf::from("artifacts").join(format!(
            "{model}-{}-{}-{stimulus}",
            kind.row().service,
            kind.name()
        ))
    });
    demand!(
        !dir.exists() || dir.is_dir(),
        [given],
        "--artifact-dir {}: there is a file of that name",
        dir.display()
    );
    Ok(dir)
}

/// The SLOs of `--goodput`, held against what this run measures.
fn goodput(config: &RunConfig, kind: EndpointKind, streaming: bool) -> Result<Slos> {
    let Some(text) = config.output.goodput.get() else {
        return Ok(Slos::default());
    };
    let conditions = conditions(
        kind.row(),
        streaming,
        !config.endpoint.use_server_token_count.value,
        config.cancellation.request_cancellation_rate.is_some(),
        true,
    );
    let slos = goodput::parse(&text).and_then(|slos| Slos::new(&slos, conditions));
    Ok(slos.blame(&[&config.output.goodput], "--goodput")?)
}

/// A slice of a run; whole nanoseconds.
///
/// # Errors
/// It is too short.
pub fn slice(seconds: f64) -> Result<Span> {
    let length = Span::from_secs_f64(seconds);
    ensure!(
        length >= Span::from_millis(1),
        "--slice-duration {seconds}: a slice is at least 0.001 s"
    );
    Ok(length)
}

/// The limits of the counters, by environment variables.
///
/// # Errors
/// One of them is no number.
pub fn thresholds() -> Result<Thresholds> {
    let mut thresholds = Thresholds::default();
    if let Some(value) = environment::read("METRICS_USAGE_PCT_DIFF_THRESHOLD")? {
        thresholds.usage_diff_pct = value;
    }
    if let Some(value) = environment::read("METRICS_OSL_MISMATCH_PCT_THRESHOLD")? {
        thresholds.osl_mismatch_pct = value;
    }
    if let Some(value) = environment::read("METRICS_OSL_MISMATCH_MAX_TOKEN_THRESHOLD")? {
        thresholds.osl_mismatch_tokens = value;
    }
    ensure!(
        thresholds.usage_diff_pct >= 0.0,
        "PINFIRE_METRICS_USAGE_PCT_DIFF_THRESHOLD is set to {}; it is a percentage, 0 or more",
        thresholds.usage_diff_pct
    );
    ensure!(
        (0.0..=100.0).contains(&thresholds.osl_mismatch_pct),
        "PINFIRE_METRICS_OSL_MISMATCH_PCT_THRESHOLD is set to {}; it is a percentage, from 0 to 100",
        thresholds.osl_mismatch_pct
    );
    ensure!(
        thresholds.osl_mismatch_tokens >= 1.0 && thresholds.osl_mismatch_tokens.is_finite(),
        "PINFIRE_METRICS_OSL_MISMATCH_MAX_TOKEN_THRESHOLD is set to {}; it is a number of tokens, at \
         least 1",
        thresholds.osl_mismatch_tokens
    );
    Ok(thresholds)
}

/// Columns of the tables where no terminal says how many it has.
fn console_width() -> Result<Option<usize>> {
    let width = environment::read("UI_CONSOLE_EXPORT_WIDTH")?;
    ensure!(
        width.is_none_or(|width| (1..=10_000).contains(&width)),
        "PINFIRE_UI_CONSOLE_EXPORT_WIDTH is set to {}; it is a number of columns, from 1 to 10000",
        width.unwrap_or_default()
    );
    Ok(width)
}

/// What is said while it runs, and how.
struct Talk {
    level: say::Level,
    ui: Ui,
    stats: Option<Span>,
    shows: Shows,
}

impl Talk {
    fn new(output: &sections::Output, warnings: &mut Vec<String>) -> Result<Self> {
        let asked = output.ui.get();
        let level = log_level(output)?;
        let quiet = output.quiet.value;
        let ui = match ui(asked) {
            _ if quiet && asked.is_none() => Ui::None,
            Ui::Dashboard if level <= say::Level::Debug && asked.is_none() => Ui::Simple,
            ui => ui,
        };
        if ui != Ui::Dashboard && asked == Some(UiKind::Dashboard) {
            warnings.push("--ui dashboard needs a terminal; going on with lines".to_owned());
        }
        let stats = stats(output.stats_interval.get(), ui);
        Ok(Self {
            level,
            ui,
            stats,
            shows: Shows::of(output.console.get(), quiet),
        })
    }
}

fn log_level(output: &sections::Output) -> Result<say::Level> {
    use say::Level;
    let verbose = match (output.extra_verbose.value, output.verbose.value) {
        (true, _) => Some(Level::Trace),
        (false, true) => Some(Level::Debug),
        (false, false) => None,
    };
    demand!(
        output.log_level.is_none() || verbose.is_none(),
        [output.log_level, output.verbose, output.extra_verbose],
        "--log-level and --verbose (-v, -vv) say the same thing; give one of them"
    );
    let asked = output.log_level.get().map(|level| match level {
        LogLevel::Trace => Level::Trace,
        LogLevel::Debug => Level::Debug,
        LogLevel::Info | LogLevel::Notice | LogLevel::Success => Level::Info,
        LogLevel::Warning => Level::Warning,
        LogLevel::Error | LogLevel::Critical => Level::Error,
    });
    let usual = match output.quiet.value {
        true => Level::Warning,
        false => Level::Info,
    };
    Ok(asked.or(verbose).unwrap_or(usual))
}

/// How progress is shown here, where a user asked for it this way.
pub fn ui(asked: Option<UiKind>) -> Ui {
    use std::io::IsTerminal;
    match asked {
        Some(UiKind::Simple) => Ui::Simple,
        Some(UiKind::None) => Ui::None,
        Some(UiKind::Dashboard) | None if screen::possible() => Ui::Dashboard,
        Some(UiKind::Dashboard) => Ui::None,
        None if std::io::stderr().is_terminal() => Ui::Simple,
        None => Ui::None,
    }
}

/// How often the statistics are printed.
fn stats(asked: Option<f64>, ui: Ui) -> Option<Span> {
    let seconds = asked.unwrap_or(match ui {
        Ui::Dashboard => 0.0,
        Ui::Simple | Ui::None => 30.0,
    });
    (seconds > 0.0).then(|| Span::from_secs_f64(seconds))
}
