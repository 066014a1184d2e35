//! What `pinfire profile` was asked for: the flags, over a config file, over a sweep that is resumed.

use anyhow::{Context, Result, anyhow, bail};
use pinfire_config::{
    RunConfig, Source, Sourced, file::FileConfig, numbers::Interval, setting::Setting,
};

use crate::{
    args::{Invocation, Profile},
    environment,
    sweep::{Stored, Wanted},
};

/// Reads the file, once, and the sweep.
///
/// # Errors
/// Either cannot be read, or no model is named.
pub fn wanted(flags: Profile) -> Result<Wanted> {
    let Profile { invocation, config } = flags;
    if let Some(base) = &invocation.resume
        && base.to_str().is_none()
    {
        bail!(
            "--resume: {} is not UTF-8, and its runs name their folders in UTF-8; give it another name",
            base.as_os_str().as_encoded_bytes().escape_ascii()
        );
    }
    let mut typed = config.0;
    verbosity(&invocation, &mut typed);
    let file = invocation.config.as_deref().map(FileConfig::read);
    let file = file.transpose().map_err(|error| anyhow!(error))?;
    let resumed = invocation.resume.as_deref().map(Stored::read).transpose()?;
    let before = resumed.as_ref().map(|stored| stored.config.clone());
    let layers = RunConfig::of_layers(before, file, typed).map_err(|error| anyhow!(error));
    let mut config = match &invocation.resume {
        Some(base) => layers.with_context(|| format!("--resume {}", base.display()))?,
        None => layers?,
    };
    if let Some(base) = invocation.resume {
        config.output.artifact_dir = Some(Sourced::derived(base));
    }
    by_environment(&mut config)?;
    named(&config, &invocation.config)?;
    Ok(Wanted {
        config,
        resumed,
        dry_run: invocation.dry_run.value,
    })
}

/// A run needs a model.
fn named(config: &RunConfig, file: &Option<std::path::PathBuf>) -> Result<()> {
    match file {
        _ if !config.endpoint.model.is_empty() => Ok(()),
        Some(file) => bail!(
            "{}: no model is named; add `model: NAME`, or type --model NAME",
            file.display()
        ),
        None => bail!("no model is named: add --model NAME, the name in the request bodies"),
    }
}

/// Settings that variables of the environment give where nothing else does.
fn by_environment(config: &mut RunConfig) -> Result<()> {
    let interval = &mut config.output.stats_interval;
    let given = environment::text("UI_REALTIME_METRICS_INTERVAL");
    if let Some((variable, text)) = given.filter(|_| interval.is_none()) {
        let value = Interval::parse(&text)
            .map_err(|reason| anyhow!("{variable} is set to `{text}`: {reason}"))?;
        *interval = Some(Sourced {
            value,
            source: Source::Environment(variable),
        });
    }
    Ok(())
}

/// `-v` and `-vv`.
fn verbosity(invocation: &Invocation, config: &mut RunConfig) {
    let on = || Sourced {
        value: true,
        source: Source::Flag,
    };
    match invocation.verbosity {
        0 => {}
        1 => config.output.verbose = on(),
        _ => config.output.extra_verbose = on(),
    }
}

/// The configuration of a file alone.
///
/// # Errors
/// It cannot be read, or names no model.
pub fn of_file(file: &std::path::Path) -> Result<RunConfig> {
    let read = FileConfig::read(file).map_err(|error| anyhow!(error))?;
    let config = RunConfig::of_layers(None, Some(read), RunConfig::default());
    let mut config = config.map_err(|error| anyhow!(error))?;
    by_environment(&mut config)?;
    named(&config, &Some(file.to_path_buf()))?;
    Ok(config)
}
