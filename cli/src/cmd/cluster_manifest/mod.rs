//! `pinfire cluster-manifest`: what a platform needs to start a run on many machines, printed.
//! Nobody is contacted, and nothing is written.

mod k8s;
mod quote;
mod slurm;
mod volume;

use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use pinfire_config::{
    Get, RunConfig, Sourced, demand,
    numbers::{ShardCount, ShardOf, Whole},
    refuse,
    secret::{Guarded, references},
    setting::Setting,
};
use pinfire_guard::{hidden, hidden_by_shape};

use crate::{
    args::{ClusterManifest, Invocation, Platform, Profile},
    asked,
    settings::Settings,
    terminal::stdout,
};

/// What is asked for, checked.
struct Cluster {
    flags: ClusterFlags,
    /// Machines that send.
    shards: u32,
    /// The run, without a word of shards.
    config: RunConfig,
}

/// The flags that are not those of `profile`.
type ClusterFlags = crate::args::Cluster;

/// Prints it.
///
/// # Errors
/// Flags that make no sense, alone or for this platform.
pub fn run(asked: ClusterManifest) -> Result<ExitCode> {
    let ClusterManifest {
        platform,
        cluster,
        config_file,
        config,
    } = asked;
    let wanted = asked::wanted(Profile {
        invocation: Invocation {
            config: config_file,
            resume: None,
            dry_run: Sourced::derived(false),
            verbosity: 0,
        },
        config,
    })?;
    ensure!(
        !wanted.is_sweep(),
        "a run on many machines is one load: give each flag one value, and leave out --num-profile-runs and \
         --search"
    );
    let mut config = wanted.single()?.clone();
    let cluster = Cluster {
        flags: cluster,
        shards: shards(&config)?,
        config: {
            (config.shards.shards, config.shards.shard) = (None, None);
            config
        },
    };
    cluster.check()?;
    let text = match platform {
        Platform::K8s => k8s::manifest(cluster)?,
        Platform::Slurm => slurm::script(&cluster)?,
    };
    // It would be printed hidden, and the run be another one.
    ensure!(
        hidden_by_shape(&hidden(&text)) == text,
        "the manifest would hold what looks like a credential, which is never printed: give it by \
         --api-key or --header, or take it out of the prompts and input files"
    );
    stdout::plain(&text);
    Ok(ExitCode::SUCCESS)
}

impl Cluster {
    /// Everything that a run would refuse before it sends anything, as far as it can be told here.
    fn check(&self) -> Result<()> {
        if volume::elsewhere(&self.config) {
            return Ok(());
        }
        let mut first = self.config.clone();
        // The CPUs of this machine say nothing about the others, and the leader draws the seed.
        first.engine.cores = None;
        first.load.random_seed = Whole::parse("0").ok().map(Sourced::derived);
        first.shards.shard = Some(Sourced::derived(ShardOf {
            index: 0,
            count: self.shards,
        }));
        let load = Settings::new(&first)?.load.profiling.duration;
        let load = load.map_or(0.0, |load| load.as_secs_f64());
        let deadline = self.flags.deadline;
        ensure!(
            load < f64::from(deadline),
            "--deadline {deadline}: the load alone goes on for {load} s; raise it"
        );
        Ok(())
    }

    /// Variables of the environment that the run file takes credentials from.
    fn credentials(&self, run_file: &str) -> Vec<String> {
        let mut names: Vec<String> = references(run_file)
            .into_iter()
            // What is no reference has its `$` twice.
            .filter(|(at, _)| !run_file[..*at].ends_with('$'))
            .map(|(_, name)| name.to_owned())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// How many machines send.
fn shards(config: &RunConfig) -> Result<u32> {
    let asked = &config.shards;
    demand!(
        asked.shard.is_none(),
        [asked.shard],
        "--shard: each task learns from its platform which one it is; give --shards N"
    );
    demand!(
        asked.join.is_none() && !asked.leader_only.value,
        [asked.join, asked.leader_only],
        "--join, --leader-only: the manifest says where the leader is; leave them out"
    );
    match asked.shards.get() {
        Some(ShardCount::Count(count)) => Ok(count),
        Some(ShardCount::Auto) => refuse!(
            [asked.shards],
            "--shards auto: it is the manifest that says how many; give --shards N"
        ),
        None => bail!("--shards N: a manifest says how many machines send"),
    }
}

/// Refuses flags that are the other platform's.
fn only_for(platform: &str, given: &[(&str, bool)]) -> Result<()> {
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => bail!("{flag} is for {platform} only; leave it out"),
        None => Ok(()),
    }
}

/// A credential that stands in a file of this machine.
fn credential_file(config: &RunConfig) -> Option<String> {
    let key = config.endpoint.api_key.iter();
    let key = key.map(|key| ("--api-key", key.value.as_ref()));
    let headers = config.endpoint.header.iter();
    let headers = headers.map(|header| ("--header", header.value.as_ref()));
    let all: Vec<(&str, &Guarded)> = key.chain(headers).collect();
    let shown = all.into_iter().map(|(flag, text)| (flag, text.shown()));
    let mut files = shown.filter(|(_, text)| text.starts_with('@'));
    files.next().map(|(flag, file)| format!("{flag} {file}"))
}

/// A new secret for those who join.
fn token() -> Result<String> {
    let (one, two) = (
        crate::settings::random_bits()?,
        crate::settings::random_bits()?,
    );
    Ok(format!("{one:016x}{two:016x}"))
}
