//! What a test asks of a server, from its flags.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use pinfire_analysis::reclaim::{Manner, cancels_to_detect};
use pinfire_base::{
    clock::Span,
    delay::Delay,
    record::{CancelTrigger, Leave, PlannedCancellation},
};
use pinfire_config::{
    Get, Given, RunConfig, Sourced,
    numbers::{Count, Percent, Tokens},
    setting::{Listed, Setting},
    words::{CancelMode, OnOff},
};
use pinfire_dialect::EndpointKind;
use pinfire_scrape::ServerKinds;

use crate::{args::CancelTest, scrape::plan::Candidate, transport::Reached};

/// The requests of a test, and how they are left.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ask {
    /// The kind of endpoint.
    pub kind: EndpointKind,
    /// Answers are streams.
    pub streaming: bool,
    /// When they are left, if it is the same for all waves.
    pub trigger: Option<CancelTrigger>,
    /// How.
    pub mode: CancelMode,
}

impl Ask {
    /// What the flags ask for.
    ///
    /// # Errors
    /// Streams of an endpoint that has none.
    pub fn of(flags: &CancelTest) -> Result<Self> {
        let asked = flags.endpoint_type.as_ref();
        let kind = asked.map_or(EndpointKind::Chat, |kind| kind.value);
        let streams = kind.row().streams;
        ensure!(
            streams || flags.streaming != Some(OnOff::On),
            "--streaming on: {} has no streams; leave it out",
            kind.name()
        );
        Ok(Self {
            kind,
            streaming: streams && flags.streaming != Some(OnOff::Off),
            trigger: flags.request_cancellation_trigger.get(),
            mode: flags
                .request_cancellation_mode
                .as_ref()
                .map_or(CancelMode::Fin, |mode| mode.value),
        })
    }

    /// How the client leaves.
    pub fn leave(&self) -> Leave {
        self.mode.into()
    }

    /// How the requests are left, for the verdict.
    pub fn manner(&self) -> Manner {
        let Some(trigger) = self.trigger else {
            return Manner {
                mode: self.leave(),
                whole_answers: !self.streaming,
                ..Manner::default()
            };
        };
        let planned = PlannedCancellation {
            rate_pct: Percent::HALF.get(),
            delay: Delay::Fixed(Span::ZERO),
            trigger,
            leave: self.leave(),
            wave: None,
        };
        Manner::of(&planned, self.streaming)
    }
}

/// How much a test does, and how long it waits.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Size {
    /// Requests at once.
    pub concurrency: u64,
    /// Waves of cancels.
    pub waves: u64,
    /// Most tokens of an answer.
    pub osl: Tokens,
    /// How long the server may take to let go, in seconds.
    pub settle: f64,
    /// From one sample to the next, in seconds.
    pub interval: f64,
}

impl CancelTest {
    /// How much it does: a cell of a matrix is small.
    pub fn size(&self) -> Size {
        let by = |alone: f64, of_many: f64| if self.matrix { of_many } else { alone };
        let count = |alone: u64, of_many: u64| if self.matrix { of_many } else { alone };
        let osl = if self.matrix { 16 } else { 256 };
        let concurrency = self.concurrency.unwrap_or_else(|| count(20, 8));
        Size {
            concurrency,
            waves: match self.detect {
                Some(share) => cancels_to_detect(share)
                    .div_ceil(concurrency.div_ceil(2))
                    .next_multiple_of(2),
                None => self.waves.unwrap_or_else(|| count(8, 1)),
            },
            osl: self
                .osl
                .as_ref()
                .map_or_else(|| Tokens::new(osl), |osl| osl.value),
            settle: self.settle.unwrap_or_else(|| by(10.0, 2.5)),
            interval: self.metrics_interval.unwrap_or_else(|| by(0.02, 0.01)),
        }
    }

    /// The folder that it writes to, if there is one.
    ///
    /// # Errors
    /// Two of them.
    pub fn folder(&self) -> Result<Option<PathBuf>> {
        let resumed = self.resume.clone().flatten();
        if let (Some(one), Some(other)) = (&resumed, &self.artifact_dir) {
            ensure!(
                one == other,
                "--resume {} and --artifact-dir {} are two folders: give one of them",
                one.display(),
                other.display()
            );
        }
        Ok(resumed.or_else(|| self.artifact_dir.clone()))
    }
}

/// The command line that asks the same once more, without credentials.
pub fn command_line(flags: &CancelTest, ask: &Ask) -> String {
    let mut config = as_config(flags, ask);
    // What a test decides itself, and where it writes, is not asked.
    config.load.request_count = None;
    config.cancellation.request_cancellation_rate = None;
    config.output.artifact_dir = None;
    let usual = RunConfig::default();
    config.endpoint.streaming = usual.endpoint.streaming;
    if flags.matrix {
        config.endpoint.endpoint_type = match &flags.endpoint_type {
            Some(kind) => kind.clone(),
            None => usual.endpoint.endpoint_type,
        };
        let narrowed = &mut config.cancellation;
        narrowed
            .request_cancellation_mode
            .clone_from(&flags.request_cancellation_mode);
        narrowed
            .request_cancellation_trigger
            .clone_from(&flags.request_cancellation_trigger);
        config.input.osl = None;
    }
    let size = flags.size();
    let mut own = Vec::new();
    let mut add = |flag, value| own.push((flag, Some(value)));
    if flags.matrix {
        add("osl", size.osl.shown());
    }
    if let Some(streaming) = flags.streaming {
        add("streaming", streaming.shown());
    }
    add("waves", size.waves.to_string());
    add("settle", size.settle.to_string());
    add("canary-timeout", flags.canary_timeout.to_string());
    add("metrics-interval", size.interval.to_string());
    for url in &flags.metrics_url {
        add("metrics-url", url.to_string());
    }
    if let Some(url) = &flags.direct_url {
        add("direct-url", url.to_string());
    }
    if let Some(path) = &flags.release_profile {
        add("release-profile", path.display().to_string());
    }
    if flags.matrix {
        own.push(("matrix", None));
    }
    config.command_line_of("cancel-test", &own)
}

/// The configuration of a run of the same requests.
pub fn as_config(flags: &CancelTest, ask: &Ask) -> RunConfig {
    let mut config = RunConfig::default();
    let endpoint = &mut config.endpoint;
    endpoint.model = vec![flags.model.clone()];
    endpoint.url = vec![flags.url.clone()];
    endpoint.endpoint_type = Sourced::derived(ask.kind);
    endpoint.streaming = Sourced::derived(ask.streaming);
    endpoint.endpoint.clone_from(&flags.endpoint);
    endpoint.api_key.clone_from(&flags.api_key);
    endpoint.header.clone_from(&flags.header);
    endpoint.ca_cert.clone_from(&flags.ca_cert);
    endpoint.insecure = flags.insecure.clone();
    let one = |count| Some(Sourced::derived(Listed::one(Count::at_least_one(count))));
    let size = flags.size();
    config.load.concurrency = one(size.concurrency);
    config.load.request_count = one(size.concurrency.saturating_mul(2));
    config.load.random_seed.clone_from(&flags.random_seed);
    let length = |tokens: Tokens| Some(Sourced::derived(Listed::one(tokens)));
    // A ranking has lengths of its own, and numbers have none.
    let asks = ask.kind.row();
    if !asks.name.ends_with("_rankings") || flags.isl.is_given() {
        config.input.isl = length(flags.isl.value);
    }
    // A matrix has endpoints with and without tokens.
    if asks.output_tokens || (flags.osl.is_some() && !flags.matrix) {
        config.input.osl = length(size.osl);
    }
    config.input.extra_inputs.clone_from(&flags.extra_inputs);
    config.tokenizer.tokenizer.clone_from(&flags.tokenizer);
    config.engine.cores.clone_from(&flags.cores);
    config.shards.clone_from(&flags.shards);
    config.output.artifact_dir = flags.artifact_dir.clone().map(Sourced::derived);
    let cancellation = &mut config.cancellation;
    cancellation.request_cancellation_rate = Some(Sourced::derived(Listed::one(Percent::HALF)));
    cancellation.request_cancellation_mode = Some(Sourced::derived(ask.mode));
    cancellation.request_cancellation_trigger = ask.trigger.map(Sourced::derived);
    config
}

/// What metrics mean: those of the user's own file before those that are known.
///
/// # Errors
/// The file cannot be used.
pub fn server_kinds(path: Option<&Path>) -> Result<ServerKinds> {
    let Some(path) = path else {
        return Ok(ServerKinds::default());
    };
    let read = || -> Result<_> { Ok(ServerKinds::read(&std::fs::read_to_string(path)?)?) };
    read().with_context(|| format!("--release-profile {}", path.display()))
}

/// The pages of the server under test, and of what stands in front of it or behind.
///
/// # Errors
/// There is none behind a socket in the file system.
pub fn pages(flags: &CancelTest, server: &Reached) -> Result<Vec<Candidate>> {
    let behind = flags.direct_url.as_ref().map(Sourced::get);
    let base = behind.as_ref().unwrap_or(&server.base);
    let given = flags.metrics_url.iter().map(|url| Candidate {
        urls: vec![url.get()],
        given: true,
    });
    let given: Vec<Candidate> = given.collect();
    if !given.is_empty() {
        return Ok(given);
    }
    let own = crate::scrape::plan::of_server(base).with_context(|| {
        format!(
            "the metrics of {base} cannot be read through a socket in the file system; give --metrics-url"
        )
    })?;
    Ok(vec![own])
}
