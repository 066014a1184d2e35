//! What is calibrated: the load that the flags of `profile` describe, at an embedded server.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, anyhow, ensure};
use pinfire_base::{
    clock::Span,
    delay::Delay,
    record::{CancelTrigger, Trigger},
};
use pinfire_config::{
    Get, Given, RunConfig, Sourced,
    numbers::{Count, Rate},
    secret::Url,
    setting::{Listed, Setting},
    words::{ExportLevel, UiKind},
};
use pinfire_dialect::EndpointKind;
use pinfire_tools::{
    floor,
    mock::{Handle, Script, Server},
    proxy,
};

use crate::{
    args::{Calibrate, Profile},
    asked,
};

/// Streams, where the flags name no load.
const STREAMS: u64 = 100;
/// How long a load goes on, where the flags do not say.
const SECONDS: f64 = 5.0;
/// Tokens of an answer, where the flags do not say.
const TOKENS: u32 = 64;
/// Bytes of an event of the embedded server, about, without what `--server-event-bytes` adds.
const EVENT_BYTES: u32 = 200;
/// The model's name, which is in every event.
const MODEL: &str = "mock";

/// A load, and the server that it goes to.
pub struct Shape {
    pub config: RunConfig,
    pub script: Script,
    pub event_bytes: u32,
    /// What is sent when, before it is doubled.
    volume: Volume,
}

/// How much is sent, where the flags leave that open.
#[derive(Clone, Copy)]
struct Volume {
    streams: Option<u64>,
    rate: Option<f64>,
    /// The flags name the number of requests, or how long the load goes on.
    fixed: bool,
}

impl Shape {
    /// What the flags ask for.
    ///
    /// # Errors
    /// They make no sense, or the certificates cannot be used.
    pub fn of(flags: Calibrate) -> Result<Self> {
        let event_bytes = flags
            .server_event_bytes
            .unwrap_or(EVENT_BYTES)
            .max(EVENT_BYTES);
        let mut script = Script {
            ttft: millis(flags.server_ttft),
            itl: millis(flags.server_itl),
            tokens: TOKENS,
            model: format!(
                "{MODEL:-<0$}",
                MODEL.len() + (event_bytes - EVENT_BYTES) as usize
            ),
            ..Script::default()
        };
        if let (Some(certificates), Some(key)) = (&flags.tls_cert, &flags.tls_key) {
            let config = proxy::server_config(certificates, key)
                .map_err(|error| anyhow!("--tls-cert and --tls-key: {error}"))?;
            script.tls = Some(Arc::new(config));
        }
        let mut typed = flags.config;
        typed.0.endpoint.model = vec![Sourced {
            source: pinfire_config::Source::Flag,
            ..Sourced::derived(MODEL.to_owned())
        }];
        let wanted = asked::wanted(Profile {
            invocation: flags.invocation,
            config: typed,
        })?;
        ensure!(
            !wanted.dry_run,
            "--dry-run: a calibration has to send; leave it out"
        );
        ensure!(
            !wanted.config.shards.is_given(),
            "--shard and --shards: a calibration is of this machine alone; leave them out"
        );
        ensure!(
            !wanted.is_sweep(),
            "a calibration is of one load: give each flag one value, and leave out --num-profile-runs and \
             --search"
        );
        let mut config = wanted.single()?.clone();
        if let Some(osl) = config.input.osl.get() {
            script.tokens = osl;
        } else if config.endpoint.endpoint_type.value.row().output_tokens {
            config.input.osl = Listed::parse(&TOKENS.to_string())
                .ok()
                .map(Sourced::derived);
        }
        quiet(&mut config);
        let load = &config.load;
        let paced = load.request_rate.is_some()
            || load.user_centric_rate.is_some()
            || load.request_rate_series.is_some()
            || config.input.input_file.is_some();
        let volume = Volume {
            streams: load.concurrency.get().or((!paced).then_some(STREAMS)),
            rate: load.request_rate.get(),
            fixed: load.request_count.is_some()
                || load.benchmark_duration.is_some()
                || config.input.input_file.is_some()
                || config.conversations.num_conversations.is_some(),
        };
        Ok(Self {
            config,
            script,
            event_bytes,
            volume,
        })
    }

    /// The configuration of a run at `server`, with so many times the load and in this folder.
    ///
    /// # Errors
    /// Never with an address.
    pub fn config(&self, server: SocketAddr, times: u64, folder: &Path) -> Result<RunConfig> {
        let mut config = self.config.clone();
        let scheme = if self.script.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let url = Url::parse(&format!("{scheme}://{server}"))
            .map_err(|reason| anyhow!("the address of the embedded server: {reason}"))?;
        let endpoint = &mut config.endpoint;
        endpoint.url = vec![Sourced::derived(url)];
        endpoint.insecure = Sourced::derived(self.script.tls.is_some());
        let load = &mut config.load;
        let count = |count: u64| Some(Sourced::derived(Listed::one(Count::at_least_one(count))));
        if let Some(streams) = self.volume.streams {
            load.concurrency = count(streams * times);
        }
        if let Some(rate) = self.volume.rate {
            let rate = Rate::parse(&(rate * times as f64).to_string())
                .map_err(|reason| anyhow!("--request-rate, {times} times: {reason}"))?;
            load.request_rate = Some(Sourced::derived(Listed::one(rate)));
        }
        if !self.volume.fixed || times > 1 {
            load.request_count = count(self.requests(times));
            load.benchmark_duration = None;
        }
        config.output.artifact_dir = Some(Sourced::derived(folder.to_owned()));
        Ok(config)
    }

    /// Whether more of the same can be made of it.
    pub fn can_grow(&self) -> bool {
        (self.volume.streams.is_some() || self.volume.rate.is_some())
            && self.config.input.input_file.is_none()
    }

    /// Requests of a load that goes on for some seconds.
    fn requests(&self, times: u64) -> u64 {
        let seconds = if times > 1 { SECONDS / 2.0 } else { SECONDS };
        let a_second = match (self.volume.rate, self.volume.streams) {
            (Some(rate), _) if rate.is_finite() => rate,
            (_, Some(streams)) => streams as f64 / self.answer_seconds().max(0.002),
            (_, None) => STREAMS as f64,
        };
        let requests = a_second * times as f64 * seconds;
        let least = self.volume.streams.unwrap_or(1) * times;
        (requests as u64).max(least)
    }

    /// How long an answer takes.
    fn answer_seconds(&self) -> f64 {
        let gaps = f64::from(self.script.tokens.saturating_sub(1));
        self.script.ttft.as_secs_f64() + gaps * self.script.itl.as_secs_f64()
    }

    /// Whether a bare loop can carry the like: it speaks no TLS and asks for chats.
    pub fn has_bare(&self) -> bool {
        self.script.tls.is_none() && self.config.endpoint.endpoint_type.value == EndpointKind::Chat
    }

    /// The load of a bare loop with so many requests in flight. It knows no schedule, and no
    /// cancels but those a fixed time after a request was sent.
    pub fn bare(&self, server: SocketAddr, requests: u64, in_flight: f64) -> floor::Plan {
        let prompt = self.config.input.isl.get().unwrap_or(550);
        // A token of English has about four bytes.
        let body = floor::Request::chat(
            MODEL,
            prompt as usize * 4,
            self.config.endpoint.streaming.value,
            Some(self.script.tokens),
        );
        let cancellation = &self.config.cancellation;
        let share = match cancellation.request_cancellation_trigger.get() {
            None | Some(CancelTrigger::At(Trigger::Sent)) => {
                cancellation.request_cancellation_rate.get()
            }
            Some(_) => None,
        };
        let (share, after) = match cancellation.request_cancellation_delay.get() {
            None => (share, Span::ZERO),
            Some(Delay::Fixed(after)) => (share, after),
            Some(_) => (None, Span::ZERO),
        };
        floor::Plan {
            server,
            request: floor::Request::new(server, "/v1/chat/completions", &body),
            requests,
            concurrency: (in_flight.round() as u32).max(1),
            cancel: share.unwrap_or(0.0) / 100.0,
            cancel_after: after,
            seed: 0,
        }
    }

    /// What is sent when, in words.
    pub fn words(&self) -> String {
        let mut words = match (self.volume.rate, self.volume.streams) {
            (Some(rate), _) => format!("{rate} requests/s"),
            (None, Some(streams)) => format!("concurrency {streams}"),
            (None, None) => "as the flags say".to_owned(),
        };
        if let Some(percent) = self.config.cancellation.request_cancellation_rate.get() {
            words += &format!(", {percent} % cancelled");
        }
        words
    }
}

/// What a calibration decides itself: nobody else is looked at, nothing is shown, streams are asked
/// for unless that is switched off.
fn quiet(config: &mut RunConfig) {
    let endpoint = &mut config.endpoint;
    if !endpoint.streaming.is_given() {
        endpoint.streaming = Sourced::derived(endpoint.endpoint_type.value.row().streams);
    }
    endpoint.api_key = None;
    endpoint.ca_cert = None;
    endpoint.wait_for_model_timeout = None;
    config.cancellation.verify_release = Sourced::derived(false);
    config.watch.no_server_metrics = Sourced::derived(true);
    config.watch.server_metrics.clear();
    config.watch.no_gpu_telemetry = Sourced::derived(true);
    config.watch.gpu_telemetry.clear();
    let output = &mut config.output;
    output.export_level = Sourced::derived(ExportLevel::Records);
    output.ui = Some(Sourced::derived(UiKind::None));
    output.profile_export_prefix = None;
    let tokenizer = &mut config.tokenizer.tokenizer;
    if tokenizer.is_none() {
        *tokenizer = Some(Sourced::derived("builtin".to_owned()));
    }
}

fn millis(millis: f64) -> Span {
    Span::from_secs_f64(millis / 1e3)
}

/// The embedded server, with a log of what it saw.
pub struct LoggedServer {
    handle: Handle,
    log: PathBuf,
}

impl LoggedServer {
    /// Opens a port, so that a run can be decided, and runs the server on `cpu`.
    ///
    /// # Errors
    /// It cannot be started, or not write its log.
    pub fn start(script: &Script, log: PathBuf, cpu: Option<usize>) -> Result<Self> {
        let server = Server::bind(script.clone(), anywhere(), Some(log.clone()));
        let handle = server
            .and_then(|server| server.spawn(cpu))
            .context("the embedded server cannot start")?;
        Ok(Self { handle, log })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    /// Stops it and gives its log.
    ///
    /// # Errors
    /// The log is not whole.
    pub fn stop(self) -> Result<String> {
        let summary = self.handle.stop();
        let log = &self.log;
        let unread = || format!("the server's log {} cannot be read", log.display());
        match summary.truth_error {
            Some(error) => Err(error).with_context(unread),
            None => std::fs::read_to_string(log).with_context(unread),
        }
    }
}

/// Any free port of this machine.
pub fn anywhere() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}
