//! A test whose waves several processes send together: the first of them leads, looks at the
//! server's metrics, sends the canaries and judges.

use std::process::ExitCode;

use anyhow::{Result, bail};
use pinfire_analysis::reclaim::ReclaimReport;
use pinfire_cluster::message::Deed;
use pinfire_config::{RunConfig, demand, words::ShardLoss};

use super::{
    ask::{Ask, as_config, server_kinds},
    output, show,
    waves::{Sender, Test},
};
use crate::{
    args::CancelTest,
    cluster::{self, Part, Together},
    run::{PreparedRun, ReachableServers, dataset, signals::Interrupt},
    settings::Settings,
    terminal::say,
};

/// Runs the test, or this process's part of it. The exit code is the verdict's.
///
/// # Errors
/// Anything that keeps the test from being carried out.
pub fn run(flags: &CancelTest) -> Result<ExitCode> {
    let ask = Ask::of(flags)?;
    let config = as_config(flags, &ask);
    possible(flags, &config)?;
    let own = match cluster::part_of(&config)? {
        Some(Part::Shard(own)) => own,
        Some(Part::Leader(_)) | None => bail!(
            "the shards of a cancel-test need a leader that says when a wave begins: add --join HOST:PORT, \
             where HOST runs shard 0"
        ),
    };
    let kinds = server_kinds(flags.release_profile.as_deref())?;
    let interrupt = Interrupt::watch()?;
    let (mut settings, mut together) = cluster::gather(&config, own, Deed::CancelTest)?;
    // Behind the canaries a load begins anywhere in the prompts: each shard makes all of them.
    settings.share = None;
    for warning in settings.warnings.iter().chain(&settings.load.warnings) {
        say::warning(warning);
    }
    let made = prepared(&settings, &together).and_then(|run| {
        interrupt.sending();
        if !together.leads() {
            let mut sender = Sender::of(flags, ask, run)?;
            sender.attend(&mut together, &interrupt)?;
            sender.run.end_load(true);
            return Ok(None);
        }
        let mut test = Test::start(flags, ask, &kinds, run, &interrupt, Some(&mut together))?;
        let evidence = test.carry_out()?;
        test.over();
        test.end();
        Ok(Some(ReclaimReport::of(&evidence)))
    });
    let lost = together.finish(made.as_ref().err());
    match (made, lost?) {
        (Err(error), Some(lost)) => {
            say::error(format!("{error:#}"));
            Ok(lost)
        }
        (Err(error), None) => Err(error),
        (Ok(None), lost) => Ok(lost.unwrap_or(ExitCode::SUCCESS)),
        (Ok(Some(report)), lost) => {
            show(&report, output(flags)?)?;
            Ok(lost.unwrap_or(ExitCode::from(report.exit_code)))
        }
    }
}

/// What makes no sense, or is not there, over shards.
fn possible(flags: &CancelTest, config: &RunConfig) -> Result<()> {
    let asked = &config.shards;
    demand!(
        !flags.matrix && flags.direct_url.is_none(),
        [asked],
        "--matrix and --direct-url are for one process: leave them out, or the shards"
    );
    demand!(
        flags.artifact_dir.is_none(),
        [asked],
        "a cancel-test over shards has no folder of requests: leave out --artifact-dir, and name a file \
         for the verdict by --output"
    );
    demand!(
        !asked.leader_only.value,
        [asked.leader_only],
        "--leader-only: shard 0 leads a cancel-test, since it sends the canaries; leave it out"
    );
    demand!(
        asked.on_shard_loss.value == ShardLoss::Stop,
        [asked.on_shard_loss],
        "--on-shard-loss continue: without one of its shards a cancel-test has no verdict; leave it out"
    );
    Ok(())
}

/// Everything that is needed before the first request; the inputs are compared with the others'.
fn prepared<'a>(settings: &'a Settings, together: &Together) -> Result<PreparedRun<'a>> {
    // What a wave cancels may still be closing while the next is opened.
    let connections = settings.slots().saturating_mul(2);
    let reachable = ReachableServers::check(settings, connections)?;
    let dataset = dataset::prepare(settings)?;
    let run = PreparedRun::start(settings, reachable, dataset, None)?;
    together.has(&run)?;
    Ok(run)
}
