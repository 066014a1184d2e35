//! From the flags as typed to what the run needs, checked. Nothing after this looks at a flag.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
};

use anyhow::{Context, Result, bail, ensure};
use pinfire_analysis::{
    export::FileNames,
    facts::{Endpoint, RateWindow, Thresholds},
};
use pinfire_engine::{
    clock::Span,
    dataset::{
        BodyOptions, EndpointKind,
        extra::{parse_extra_inputs, parse_headers},
        url::{Scheme, TargetUrl, split_urls},
    },
    plan::{DriverChoice, EngineSetup, Precision, Reuse},
};

use crate::{
    args::Profile,
    environment,
    input::{self, Input},
    place::{Places, divide},
    progress::Ui,
    values::word,
};

/// The server.
#[derive(Clone, Debug)]
pub enum Server {
    /// The scripted one inside this process.
    Embedded,
    /// One that is there already.
    Remote(TargetUrl),
}

/// A run, decided.
#[derive(Debug)]
pub struct Settings {
    pub server: Server,
    pub url_as_given: String,
    pub endpoint_path: String,
    pub bodies: BodyOptions,
    pub headers: Vec<(String, String)>,
    pub api_key: Option<String>,
    pub session_header: String,
    pub affinity: bool,
    pub timeout: Span,
    pub reuse: Reuse,
    pub concurrency: u64,
    pub requests: u64,
    pub warmup: Option<Warmup>,
    pub cancellation: Option<(f64, Span)>,
    pub seed: Seed,
    pub input: Input,
    /// By the timestamps of a trace.
    pub fixed_schedule: bool,
    pub tokenizer: Option<String>,
    pub tokenizer_revision: String,
    pub server_counts: bool,
    pub artifact_dir: PathBuf,
    pub files: FileNames,
    pub lines: bool,
    pub rate_window: RateWindow,
    pub thresholds: Thresholds,
    pub trace_table: bool,
    pub console_width: Option<usize>,
    pub ui: Ui,
    pub engine: EngineSetup,
    pub places: Places,
}

/// The warmup phase.
#[derive(Clone, Copy, Debug)]
pub struct Warmup {
    pub requests: u64,
    pub concurrency: u64,
}

/// The seed of every random decision.
#[derive(Clone, Copy, Debug)]
pub struct Seed {
    pub value: u64,
    /// The user fixed it.
    pub fixed: bool,
}

/// Requests sent when nothing says how many.
const DEFAULT_REQUESTS: u64 = 10;

impl Settings {
    /// Checks the flags together.
    ///
    /// # Errors
    /// The first combination that makes no sense, with the way out.
    pub fn new(flags: &Profile) -> Result<Self> {
        let kind = EndpointKind::from_name(&flags.endpoint.endpoint_type).with_context(|| {
            format!(
                "--endpoint-type {}: only chat and completions are built yet",
                flags.endpoint.endpoint_type
            )
        })?;
        let endpoint_path = match flags.endpoint.endpoint.as_deref() {
            Some(path) if path.bytes().any(|b| b <= b' ' || b >= 0x7F) => {
                bail!("--endpoint `{path}` holds a blank or another character that needs encoding")
            }
            Some(path) if path.starts_with('/') => path.to_owned(),
            Some(path) => bail!("--endpoint `{path}` must begin with `/`"),
            None => kind.default_path().to_owned(),
        };
        ensure!(
            flags
                .endpoint
                .model
                .iter()
                .all(|model| !model.trim().is_empty()),
            "--model: a model name is empty"
        );
        let (server, url_as_given) = server(&flags.endpoint.url, &endpoint_path)?;
        let extra = parse_extra_inputs(&flags.input.extra_inputs).context("--extra-inputs")?;
        let bodies = BodyOptions {
            endpoint: kind,
            models: flags.endpoint.model.clone(),
            streaming: flags.endpoint.streaming,
            legacy_max_tokens: flags.endpoint.use_legacy_max_tokens,
            per_chunk_usage: false,
            extra,
        };
        // A conversation is at least one request.
        let caps = [
            flags.load.request_count,
            flags.conversations.num_conversations,
        ];
        let requests = caps.into_iter().flatten().min().unwrap_or(DEFAULT_REQUESTS);
        let warmup = warmup(flags)?;
        let concurrency = flags.load.concurrency;
        let slots = concurrency.max(warmup.map_or(0, |warmup| warmup.concurrency));
        let places = divide(flags.engine.cores.as_ref(), slots)?;
        let seed = seed(flags)?;
        let sent = requests.saturating_add(warmup.map_or(0, |warmup| warmup.requests));
        let input = input::decide(flags, kind, sent)?;
        let level = word(
            &flags.output.export_level,
            &[
                ("summary", Level::Summary),
                ("records", Level::Records),
                ("raw", Level::Raw),
            ],
        )
        .map_err(|e| anyhow::anyhow!("--export-level: {e}"))?;
        ensure!(
            level != Level::Raw,
            "--export-level raw is not built yet; take records (one JSON line per request)"
        );
        let settings = Self {
            server,
            url_as_given,
            endpoint_path,
            bodies,
            headers: parse_headers(&flags.endpoint.header).context("--header")?,
            api_key: flags.endpoint.api_key.clone(),
            session_header: flags
                .endpoint
                .session_header
                .clone()
                .unwrap_or_else(|| "X-Correlation-ID".to_owned()),
            affinity: environment::switch("HTTP_X_SESSION_AFFINITY_FROM_CORRELATION_ID", true)?,
            timeout: Span::from_secs_f64(flags.endpoint.request_timeout_seconds),
            reuse: named(
                "--connection-reuse-strategy",
                &flags.endpoint.connection_reuse_strategy,
                &[("pooled", Reuse::Pooled), ("never", Reuse::Never)],
            )?,
            concurrency,
            requests,
            warmup,
            cancellation: cancellation(flags)?,
            seed,
            fixed_schedule: input.fixed_schedule(),
            input,
            tokenizer: flags.tokenizer.tokenizer.clone(),
            tokenizer_revision: flags.tokenizer.tokenizer_revision.clone(),
            server_counts: flags.endpoint.use_server_token_count,
            artifact_dir: artifact_dir(flags, kind, concurrency)?,
            files: flags
                .output
                .profile_export_prefix
                .as_deref()
                .map_or_else(FileNames::default, FileNames::with_prefix),
            lines: level == Level::Records,
            rate_window: named(
                "--rate-window",
                &flags.output.rate_window,
                &[
                    ("benchmark", RateWindow::Benchmark),
                    ("phase", RateWindow::Phase),
                ],
            )?,
            thresholds: thresholds()?,
            trace_table: flags.output.show_trace_timing,
            console_width: environment::read("UI_CONSOLE_EXPORT_WIDTH")?,
            ui: ui(flags.output.ui.as_deref())?,
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
        };
        ensure!(
            !settings.fixed_schedule,
            "a trace replays by its timestamps unless told otherwise, and that is not built yet; \
             add --no-fixed-schedule to send it as fast as --concurrency allows"
        );
        Ok(settings)
    }

    /// The analysis side's name of the endpoint's kind.
    pub fn endpoint(&self) -> Endpoint {
        match self.bodies.endpoint {
            EndpointKind::Chat => Endpoint::Chat,
            EndpointKind::Completions => Endpoint::Completions,
        }
    }

    /// Most requests in flight at once over the phases.
    pub fn slots(&self) -> u64 {
        let warmup = self
            .warmup
            .map_or(0, |warmup| warmup.concurrency.min(warmup.requests));
        self.concurrency.min(self.requests).max(warmup)
    }
}

/// The address of a host: IPv4 first, as the reference has it.
///
/// # Errors
/// The name is not known.
pub fn resolve(target: &TargetUrl) -> Result<SocketAddr> {
    let wanted = environment::read::<String>("HTTP_IP_VERSION")?.unwrap_or_default();
    let addresses: Vec<SocketAddr> = (target.host.as_str(), target.port)
        .to_socket_addrs()
        .with_context(|| format!("cannot resolve the host of {target}; is the name right?"))?
        .collect();
    let first = |v4: bool| {
        addresses
            .iter()
            .find(|address| address.is_ipv4() == v4)
            .copied()
    };
    let chosen = match wanted.as_str() {
        "6" => first(false),
        "auto" => addresses.first().copied(),
        "" | "4" => first(true).or_else(|| first(false)),
        other => bail!("PINFIRE_HTTP_IP_VERSION is set to `{other}`; it takes 4, 6 or auto"),
    };
    chosen.with_context(|| format!("the host of {target} has no address of the wanted kind"))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Summary,
    Records,
    Raw,
}

fn named<T: Copy>(flag: &str, text: &str, words: &[(&str, T)]) -> Result<T> {
    word(text, words).map_err(|reason| anyhow::anyhow!("{flag} {text}: {reason}"))
}

fn server(url: &str, path: &str) -> Result<(Server, String)> {
    let arguments = [url];
    let urls = split_urls(&arguments);
    let [base] = urls[..] else {
        bail!("--url: several URLs are not built yet; give one");
    };
    if base == "mock:" || base == "mock" {
        return Ok((Server::Embedded, "mock:".to_owned()));
    }
    let target = TargetUrl::join(base, path)?;
    ensure!(
        target.scheme == Scheme::Http,
        "--url {base}: https is not built yet; use http, or a local proxy that ends the TLS"
    );
    Ok((Server::Remote(target), base.to_owned()))
}

fn warmup(flags: &Profile) -> Result<Option<Warmup>> {
    let load = &flags.load;
    match (load.warmup_request_count, load.warmup_concurrency) {
        (Some(requests), concurrency) => Ok(Some(Warmup {
            requests,
            concurrency: concurrency.unwrap_or(load.concurrency),
        })),
        (None, Some(_)) => {
            bail!("--warmup-concurrency alone makes no warmup; add --warmup-request-count")
        }
        (None, None) => Ok(None),
    }
}

fn cancellation(flags: &Profile) -> Result<Option<(f64, Span)>> {
    let flags = &flags.cancellation;
    match (
        flags.request_cancellation_rate,
        flags.request_cancellation_delay,
    ) {
        (Some(rate), delay) => Ok(Some((rate, Span::from_secs_f64(delay.unwrap_or(0.0))))),
        (None, Some(_)) => bail!(
            "--request-cancellation-delay needs --request-cancellation-rate: without a rate \
             nothing is cancelled"
        ),
        (None, None) => Ok(None),
    }
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

fn artifact_dir(flags: &Profile, kind: EndpointKind, concurrency: u64) -> Result<PathBuf> {
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
                "{model}-openai-{}-concurrency{concurrency}",
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

fn thresholds() -> Result<Thresholds> {
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
    Ok(thresholds)
}

fn ui(asked: Option<&str>) -> Result<Ui> {
    use std::io::IsTerminal;
    match asked.map(str::to_lowercase).as_deref() {
        Some("simple") => Ok(Ui::Simple),
        Some("none") => Ok(Ui::None),
        Some("dashboard") => bail!("--ui dashboard is not built yet; take simple or none"),
        Some(other) => bail!("--ui {other}: it must be one of: simple, none"),
        None if std::io::stderr().is_terminal() => Ok(Ui::Simple),
        None => Ok(Ui::None),
    }
}
