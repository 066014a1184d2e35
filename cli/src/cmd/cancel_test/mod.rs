//! `pinfire cancel-test`: waves of cancels, samples of the server's metrics all the time, a
//! verdict.

mod ask;
mod folder;
mod matrix;
mod over_shards;
mod waves;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use pinfire_analysis::reclaim::ReclaimReport;
use pinfire_artifacts::CANCEL_TEST;
use pinfire_config::{Given, RunConfig, Sourced};
use pinfire_scrape::ServerKinds;

use self::{
    ask::{Ask, as_config, server_kinds},
    folder::Folder,
    waves::Test,
};
use crate::{
    args::CancelTest,
    reclaim::Recording,
    run::{PreparedRun, ReachableServers, dataset, signals::Interrupt},
    settings::Settings,
    terminal::{say, stdout},
};

/// The folder of the test of the server itself, in that of the test.
const DIRECT: &str = "direct";

/// Runs the test, or all of them. The exit code is the verdict's.
///
/// # Errors
/// Anything that keeps the test from being carried out.
pub fn run(flags: &CancelTest) -> Result<ExitCode> {
    if flags.shards.is_given() {
        return over_shards::run(flags);
    }
    if flags.matrix {
        return matrix::run(flags);
    }
    let ask = Ask::of(flags)?;
    let kinds = server_kinds(flags.release_profile.as_deref())?;
    let output = output(flags)?;
    let interrupt = Interrupt::watch()?;
    let once = |config: &RunConfig| carry_out(flags, ask, config, &kinds, &interrupt);
    let config = as_config(flags, &ask);
    let direct = flags.direct_url.as_ref().map(|url| {
        let mut direct = config.clone();
        direct.endpoint.url = vec![url.clone()];
        let folder = flags.artifact_dir.as_ref();
        direct.output.artifact_dir = folder.map(|folder| Sourced::derived(folder.join(DIRECT)));
        (url, direct)
    });
    // Before the test through the proxy, which takes its time.
    if let Some((_, direct)) = &direct {
        Settings::new(direct)?.transport.reach()?;
    }
    let (mut report, kept) = once(&config)?;
    let mut failed = None;
    if let Some((url, direct)) = direct {
        say::line(format_args!("The same directly at {url}:"));
        match once(&direct) {
            Ok((found, kept)) => {
                if let Some((folder, recorded)) = kept {
                    folder.finish(recorded, &found)?;
                }
                report = report.beside(url.to_string(), found);
            }
            // What was found through the proxy is shown and written all the same.
            Err(error) => failed = Some(error.context(format!("--direct-url {url}"))),
        }
    }
    show(&report, output)?;
    if let Some((folder, recorded)) = kept {
        folder.finish(recorded, &report)?;
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(ExitCode::from(report.exit_code)),
    }
}

/// A test, and what goes to its folder, if it has one.
type CarriedOut = (ReclaimReport, Option<(Folder, Recording)>);

/// Carries the test out on one server.
fn carry_out(
    flags: &CancelTest,
    ask: Ask,
    config: &RunConfig,
    kinds: &ServerKinds,
    interrupt: &Interrupt,
) -> Result<CarriedOut> {
    let settings = Settings::new(config)?;
    for warning in settings.warnings.iter().chain(&settings.load.warnings) {
        say::warning(warning);
    }
    // What a wave cancels may still be closing while the next is opened.
    let connections = settings.slots().saturating_mul(2);
    let reachable = ReachableServers::check(&settings, connections)?;
    let dataset = dataset::prepare(&settings)?;
    let mut run = PreparedRun::start(&settings, reachable, dataset, None)?;
    let folder = match flags.artifact_dir {
        Some(_) => Some(Folder::open(flags, &ask, &mut run)?),
        None => None,
    };
    let mut test = Test::start(flags, ask, kinds, run, interrupt, None)?;
    let folder = folder.map(|(folder, recording)| {
        test.record(recording);
        folder
    });
    let evidence = test.carry_out()?;
    let recorded = test.recorded();
    test.end();
    Ok((ReclaimReport::of(&evidence), folder.zip(recorded)))
}

/// Shows a report, and writes it where it is to go.
fn show(report: &ReclaimReport, output: Option<PathBuf>) -> Result<()> {
    stdout::plain(&report.page());
    if let Some(path) = output {
        let page =
            folder::write(&path, report).with_context(|| format!("--output {}", path.display()))?;
        say::line(format_args!(
            "Report: {}, as a page: {}",
            path.display(),
            page.display()
        ));
    }
    Ok(())
}

/// The file that the report goes to, besides the folder. A long test must not be lost for want of
/// the folder that it is in.
fn output(flags: &CancelTest) -> Result<Option<PathBuf>> {
    let usual = flags
        .artifact_dir
        .is_none()
        .then(|| PathBuf::from(CANCEL_TEST));
    let path = flags.output.clone().or(usual);
    if let Some(path) = &path
        && let Some(folder) = path.parent()
    {
        std::fs::create_dir_all(folder).with_context(|| format!("--output {}", path.display()))?;
    }
    Ok(path)
}
