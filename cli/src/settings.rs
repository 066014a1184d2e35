//! From the flags as typed to what the run needs, checked. Nothing after this looks at a flag.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, Result, anyhow, bail, ensure};
use pinfire_analysis::{
    facts::{PartFacts, RateWindow, Thresholds},
    goodput::{self, Slos},
    metric::conditions,
};
use pinfire_artifacts::FileNames;
use pinfire_base::{clock::Span, record::Keep};
use pinfire_dialect::{
    Answers, BodyOptions, EndpointKind, RESPONSE_FIELD, Render, ResponseField,
    extra::{parse_extra_inputs, parse_headers},
};
use pinfire_engine::{
    plan::{DriverChoice, EngineSetup, Precision, Reuse},
    schedule::Sampling,
};
use pinfire_workload::{body_template::Template, dataset::ModelChoice};

use crate::{
    args::Profile,
    cancellation::Cancellation,
    environment,
    input::{self, Input},
    load::{DEFAULT_REQUESTS, Load, PhaseLoad},
    prompts,
    run::{
        place::{Places, divide},
        probe::Probe,
    },
    scrape::{client::Trust, plan::Plan},
    terminal::{progress::Ui, say, screen},
    transport::Transport,
    values::word,
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
    pub cancellation: Option<Cancellation>,
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
    pub slos: Slos,
    pub slice: Option<Span>,
    pub exact_records: u64,
    pub trace_table: bool,
    pub console_width: Option<usize>,
    pub log_level: say::Level,
    pub ui: Ui,
    /// Between two blocks of statistics.
    pub stats: Option<Span>,
    pub engine: EngineSetup,
    pub places: Places,
    /// Its place among other runs; such a run shows no tables.
    pub part: Option<PartFacts>,
    pub num_gpus: Option<u64>,
    /// What the user should know before the run.
    pub warnings: Vec<String>,
}

/// The seed of every random decision.
#[derive(Clone, Copy, Debug)]
pub struct Seed {
    pub value: u64,
    /// The user fixed it.
    pub fixed: bool,
}

impl Settings {
    /// Checks the flags together.
    ///
    /// # Errors
    /// The first combination that makes no sense, with the way out.
    pub fn new(flags: &Profile) -> Result<Self> {
        let kind = EndpointKind::from_name(&flags.endpoint.endpoint_type)
            .map_err(|unknown| anyhow!("--endpoint-type {unknown}"))?;
        let row = kind.row();
        let mut warnings = Vec::new();
        let streaming = flags.endpoint.streaming && row.streams;
        if flags.endpoint.streaming && !row.streams {
            warnings.push(format!(
                "--streaming: {} has no streams; going on without",
                row.name
            ));
        }
        suits(flags, kind, streaming)?;
        let endpoint_path = match flags.endpoint.endpoint.as_deref() {
            Some(path) if path.bytes().any(|b| b <= b' ' || b >= 0x7F) => {
                bail!("--endpoint `{path}` holds a blank or another character that needs encoding")
            }
            Some(path) if path.starts_with('/') => path.to_owned(),
            Some(path) => bail!("--endpoint `{path}` must begin with `/`"),
            None => row.default_path(streaming).to_owned(),
        };
        ensure!(
            flags
                .endpoint
                .model
                .iter()
                .all(|model| !model.trim().is_empty()),
            "--model: a model name is empty"
        );
        let transport = Transport::new(&flags.endpoint, &endpoint_path)?;
        let extra = parse_extra_inputs(&flags.input.extra_inputs).context("--extra-inputs")?;
        let template = match kind {
            EndpointKind::Template => {
                let template: Arc<dyn Render> = Arc::new(Template::of(&extra)?);
                Some(template)
            }
            EndpointKind::Raw => {
                ensure!(
                    extra.keys().all(|key| key == RESPONSE_FIELD),
                    "--extra-inputs: raw sends its payloads as they are; only {RESPONSE_FIELD} can \
                     be given"
                );
                None
            }
            _ => None,
        };
        let answers = answers(kind, extra.get(RESPONSE_FIELD))?;
        let bodies = BodyOptions {
            endpoint: kind,
            models: flags.endpoint.model.clone(),
            streaming,
            legacy_max_tokens: flags.endpoint.use_legacy_max_tokens,
            per_chunk_usage: flags.endpoint.per_chunk_usage,
            server_counts: flags.endpoint.use_server_token_count,
            extra,
            template,
            ..BodyOptions::default()
        };
        let order = named(
            "--dataset-sampling-strategy",
            &flags.input.dataset_sampling_strategy,
            &[
                ("sequential", Order::Sequential),
                ("shuffle", Order::Shuffle),
                ("random", Order::Random),
            ],
        )?;
        let slos = goodput(flags, kind, streaming)?;
        warnings.extend(slos.warnings());
        let in_order = order == Order::Sequential;
        let input = input::decide(flags, kind, most_sessions(flags), in_order)?;
        ensure!(
            in_order || !input.fixed_schedule(),
            "--dataset-sampling-strategy {}: a fixed schedule is sent in its own order; leave it out, \
             or add --no-fixed-schedule",
            flags.input.dataset_sampling_strategy
        );
        let load = Load::new(flags, input.fixed_schedule())?;
        let most = load.phases().map(PhaseLoad::most_cores).max();
        let places = divide(flags.engine.cores.as_ref(), most.unwrap_or(1))?;
        let seed = seed(flags)?;
        let log_level = log_level(flags)?;
        let ui = match ui(flags.output.ui.as_deref())? {
            Ui::Dashboard if log_level <= say::Level::Debug && flags.output.ui.is_none() => {
                Ui::Simple
            }
            ui => ui,
        };
        if ui != Ui::Dashboard
            && flags
                .output
                .ui
                .as_deref()
                .is_some_and(|asked| asked.eq_ignore_ascii_case("dashboard"))
        {
            warnings.push("--ui dashboard needs a terminal; going on with lines".to_owned());
        }
        let level = word(
            &flags.output.export_level,
            &[
                ("summary", Level::Summary),
                ("records", Level::Records),
                ("raw", Level::Raw),
            ],
        )
        .map_err(|e| anyhow::anyhow!("--export-level: {e}"))?;
        let http_trace = flags.output.export_http_trace;
        if http_trace && level == Level::Summary {
            warnings.push(
                "--export-http-trace: --export-level summary writes no line per request for it to be in"
                    .to_owned(),
            );
        }
        let keep = match level {
            Level::Raw => Keep::Bytes,
            Level::Records if http_trace => Keep::Reads,
            _ => Keep::Transcript,
        };
        let cancellation = Cancellation::new(flags, kind, streaming)?;
        Ok(Self {
            transport,
            endpoint_path,
            bodies,
            answers,
            headers: parse_headers(&flags.endpoint.header).context("--header")?,
            api_key: flags.endpoint.api_key.clone(),
            session_header: flags
                .endpoint
                .session_header
                .clone()
                .unwrap_or_else(|| "X-Correlation-ID".to_owned()),
            affinity: environment::switch("HTTP_X_SESSION_AFFINITY_FROM_CORRELATION_ID", true)?,
            timeout: Span::from_secs_f64(flags.endpoint.request_timeout_seconds),
            probe: Probe::new(&flags.endpoint)?,
            reuse: named(
                "--connection-reuse-strategy",
                &flags.endpoint.connection_reuse_strategy,
                &[
                    ("pooled", Reuse::Pooled),
                    ("sticky-user-sessions", Reuse::Sticky),
                    ("never", Reuse::Never),
                ],
            )?,
            verify_release: verify_release(flags, cancellation.is_some())?,
            cancellation,
            sampling: match order {
                Order::Sequential => Sampling::Sequential,
                Order::Shuffle => Sampling::shuffle(seed.value),
                Order::Random => Sampling::random(seed.value),
            },
            model_choice: model_choice(&flags.endpoint.model_selection_strategy)?,
            seed,
            input,
            tokenizer: flags.tokenizer.tokenizer.clone(),
            tokenizer_revision: flags.tokenizer.tokenizer_revision.clone(),
            trust_remote_code: flags.tokenizer.tokenizer_trust_remote_code,
            chat_template: flags.tokenizer.apply_chat_template,
            system_prompt: prompts::system_prompt(flags, kind)?,
            server_counts: flags.endpoint.use_server_token_count,
            artifact_dir: artifact_dir(flags, kind, &load.profiling.stimulus())?,
            files: flags
                .output
                .profile_export_prefix
                .as_deref()
                .map_or_else(FileNames::default, FileNames::with_prefix),
            lines: level != Level::Summary,
            raw: level == Level::Raw,
            http_trace,
            keep,
            rate_window: rate_window(&flags.output.rate_window)?,
            thresholds: thresholds()?,
            watch: Plan::new(&flags.watch, trust(&flags.endpoint)?)?,
            slos,
            slice: flags.output.slice_duration.map(slice).transpose()?,
            exact_records: flags.output.exact_records,
            trace_table: flags.output.show_trace_timing,
            console_width: environment::read("UI_CONSOLE_EXPORT_WIDTH")?,
            log_level,
            ui,
            stats: stats(flags.output.stats_interval, ui)?,
            engine: EngineSetup {
                cpus: places.engine.clone(),
                driver: named(
                    "--io-driver",
                    &flags.engine.io_driver,
                    &[
                        ("auto", DriverChoice::Auto),
                        ("uring", DriverChoice::Uring),
                        ("epoll", DriverChoice::Epoll),
                    ],
                )?,
                precision: named(
                    "--timer-precision",
                    &flags.engine.timer_precision,
                    &[
                        ("sleep", Precision::Sleep),
                        ("lead", Precision::Lead),
                        ("spin", Precision::Spin),
                    ],
                )?,
                realtime: flags.engine.realtime,
            },
            places,
            load,
            part: None,
            num_gpus: flags.output.num_gpus,
            warnings,
        })
    }

    /// Requests in flight at once over the phases, as far as something bounds them.
    pub fn slots(&self) -> u64 {
        self.load.most_at_once()
    }

    /// Sockets that stay open although their requests have ended, as far as a count bounds them.
    pub fn kept_sockets(&self) -> u64 {
        let requests = self.load.profiling.requests.unwrap_or(0);
        self.cancellation
            .as_ref()
            .map_or(0, |cancellation| cancellation.kept_sockets(requests))
    }
}

/// Whether the release is judged.
fn verify_release(flags: &Profile, cancels: bool) -> Result<bool> {
    if !flags.cancellation.verify_release {
        return Ok(false);
    }
    ensure!(
        cancels,
        "--verify-release judges what becomes of cancelled requests, and none is cancelled: add \
         --request-cancellation-rate or --patience"
    );
    ensure!(
        !flags.watch.no_server_metrics,
        "--verify-release judges by the server's metrics: leave out --no-server-metrics"
    );
    Ok(true)
}

/// Whom the looks at metrics trust: as the load does.
fn trust(flags: &crate::args::Endpoint) -> Result<Trust> {
    let ca_cert = flags.ca_cert.as_ref().map(std::fs::read).transpose();
    Ok(Trust {
        insecure: flags.insecure || !environment::switch("HTTP_SSL_VERIFY", true)?,
        ca_cert: ca_cert.context("--ca-cert")?,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Summary,
    Records,
    Raw,
}

/// Whether the flags about requests and answers mean something to this kind of endpoint.
fn suits(flags: &Profile, kind: EndpointKind, streaming: bool) -> Result<()> {
    let (endpoint, name, row) = (&flags.endpoint, kind.name(), kind.row());
    if endpoint.per_chunk_usage {
        ensure!(
            kind == EndpointKind::Chat,
            "--per-chunk-usage is for --endpoint-type chat only, not for {name}"
        );
        ensure!(
            streaming,
            "--per-chunk-usage needs --streaming: a whole answer has no chunks"
        );
        ensure!(
            endpoint.use_server_token_count,
            "--per-chunk-usage needs --use-server-token-count: it is for the server's own counts"
        );
    }
    ensure!(
        streaming || flags.load.prefill_concurrency.is_none() || !endpoint.streaming,
        "--prefill-concurrency needs --streaming, and {name} has no streams"
    );
    // completions and messages have that name anyway.
    let has_limit_name = matches!(
        kind,
        EndpointKind::Chat | EndpointKind::Completions | EndpointKind::Messages
    );
    ensure!(
        has_limit_name || !endpoint.use_legacy_max_tokens,
        "--use-legacy-max-tokens: {name} has no field of that name; leave it out"
    );
    if let Some(kind) = &endpoint.request_content_type {
        ensure!(
            kind.eq_ignore_ascii_case("application/json"),
            "--request-content-type {kind}: {name} takes application/json, as all endpoints of pinfire"
        );
    }
    ensure!(
        row.output_tokens || flags.input.osl.is_none(),
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

/// In which order sessions take conversations.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Sequential,
    Shuffle,
    Random,
}

fn model_choice(strategy: &str) -> Result<ModelChoice> {
    ensure!(
        !strategy.eq_ignore_ascii_case("weighted"),
        "--model-selection-strategy weighted is not built; take round_robin or random, and name a \
         model several times to have it more often"
    );
    named(
        "--model-selection-strategy",
        strategy,
        &[
            ("round-robin", ModelChoice::RoundRobin),
            ("random", ModelChoice::Random),
        ],
    )
}

/// The value of a flag that takes one of a few words.
///
/// # Errors
/// It is none of them.
pub fn named<T: Copy>(flag: &str, text: &str, words: &[(&str, T)]) -> Result<T> {
    word(text, words).map_err(|reason| anyhow::anyhow!("{flag} {text}: {reason}"))
}

fn seed(flags: &Profile) -> Result<Seed> {
    if let Some(value) = flags.load.random_seed {
        return Ok(Seed { value, fixed: true });
    }
    // Below 2^53, so that the seed survives readers that keep numbers as doubles.
    Ok(Seed {
        value: random_bits()? >> 11,
        fixed: false,
    })
}

/// The most conversations that the run begins, warmup included.
fn most_sessions(flags: &Profile) -> u64 {
    let load = &flags.load;
    let most = |caps: [Option<u64>; 2], endless: bool, otherwise: u64| {
        let capped = caps.into_iter().flatten().min();
        capped.unwrap_or(if endless { u64::MAX } else { otherwise })
    };
    let profiling = most(
        [load.request_count, flags.conversations.num_conversations],
        load.benchmark_duration.is_some(),
        DEFAULT_REQUESTS,
    );
    let warmup = most(
        [load.warmup_request_count, load.num_warmup_sessions],
        load.warmup_duration.is_some(),
        0,
    );
    profiling.saturating_add(warmup)
}

/// Random bits from the system.
///
/// # Errors
/// The system gives none.
pub fn random_bits() -> Result<u64> {
    let mut bytes = [0_u8; 8];
    let (_, rest) = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map(|filled| ((), filled))
        .context("the system gives no random bytes")?;
    let _ = rest;
    Ok(u64::from_ne_bytes(bytes))
}

fn artifact_dir(flags: &Profile, kind: EndpointKind, stimulus: &str) -> Result<PathBuf> {
    let dir = match &flags.output.artifact_dir {
        Some(dir) => dir.clone(),
        None => {
            let models = &flags.endpoint.model;
            let mut model = models
                .first()
                .map_or(String::new(), |name| name.replace('/', "_"));
            if models.len() > 1 {
                model.push_str("_multi");
            }
            PathBuf::from("artifacts").join(format!(
                "{model}-{}-{}-{stimulus}",
                kind.row().service,
                kind.name()
            ))
        }
    };
    ensure!(
        !dir.exists() || dir.is_dir(),
        "--artifact-dir {}: there is a file of that name",
        dir.display()
    );
    Ok(dir)
}

/// The promises of `--goodput`, held against what this run measures.
fn goodput(flags: &Profile, kind: EndpointKind, streaming: bool) -> Result<Slos> {
    let Some(text) = &flags.output.goodput else {
        return Ok(Slos::default());
    };
    let conditions = conditions(
        kind.row(),
        streaming,
        !flags.endpoint.use_server_token_count,
        flags.cancellation.request_cancellation_rate.is_some(),
        true,
    );
    let promises = goodput::parse(text);
    let slos = promises.and_then(|promises| Slos::new(&promises, conditions));
    slos.context("--goodput")
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

/// `--rate-window`.
///
/// # Errors
/// There is no such window.
pub fn rate_window(text: &str) -> Result<RateWindow> {
    let windows = [
        ("benchmark", RateWindow::Benchmark),
        ("phase", RateWindow::Phase),
    ];
    named("--rate-window", text, &windows)
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

/// How much is said.
fn log_level(flags: &Profile) -> Result<say::Level> {
    use say::Level;
    let output = &flags.output;
    let words = [
        ("trace", Level::Trace),
        ("debug", Level::Debug),
        ("info", Level::Info),
        ("notice", Level::Info),
        ("success", Level::Info),
        ("warning", Level::Warning),
        ("error", Level::Error),
        ("critical", Level::Error),
    ];
    let asked = output.log_level.as_deref();
    let asked = asked.map(|asked| named("--log-level", asked, &words));
    let asked = asked.transpose()?;
    let verbose = match (output.extra_verbose, output.verbose) {
        (true, _) => Some(Level::Trace),
        (false, true) => Some(Level::Debug),
        (false, false) => None,
    };
    ensure!(
        asked.is_none() || verbose.is_none(),
        "--log-level and --verbose (-v, -vv) say the same thing; give one of them"
    );
    Ok(asked.or(verbose).unwrap_or(Level::Info))
}

/// `--ui`.
///
/// # Errors
/// There is no such one.
pub fn ui(asked: Option<&str>) -> Result<Ui> {
    use std::io::IsTerminal;
    match asked.map(str::to_lowercase).as_deref() {
        Some("simple") => Ok(Ui::Simple),
        Some("none") => Ok(Ui::None),
        Some("dashboard") | None if screen::possible() => Ok(Ui::Dashboard),
        Some("dashboard") => Ok(Ui::None),
        Some(other) => bail!("--ui {other}: it must be one of: dashboard, simple, none"),
        None if std::io::stderr().is_terminal() => Ok(Ui::Simple),
        None => Ok(Ui::None),
    }
}

/// How often the statistics are printed.
fn stats(asked: Option<f64>, ui: Ui) -> Result<Option<Span>> {
    let seconds = match asked {
        Some(seconds) => Some(seconds),
        None => environment::read("UI_REALTIME_METRICS_INTERVAL")?,
    };
    let seconds = seconds.unwrap_or(match ui {
        Ui::Dashboard => 0.0,
        Ui::Simple | Ui::None => 30.0,
    });
    ensure!(
        (0.0..=1000.0).contains(&seconds),
        "PINFIRE_UI_REALTIME_METRICS_INTERVAL: it must be between 0 and 1000"
    );
    Ok((seconds > 0.0).then(|| Span::from_secs_f64(seconds)))
}
