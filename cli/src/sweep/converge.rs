//! What `--convergence-metric` and its companions say.

use anyhow::{Result, anyhow};
use pinfire_analysis::{
    metric,
    sweep::converge::{Convergence, LEAST, Mode},
};
use pinfire_config::{Blame, Get, Given, Refusal, RunConfig, demand, words::ExportLevel};

use crate::terminal::say;

/// When the runs of a point are enough; `None` if all that were asked for are made.
///
/// # Errors
/// A rule that makes no sense, or one that cannot come into play with `trials` runs.
pub fn asked(config: &RunConfig, trials: usize) -> Result<Option<Convergence>> {
    let asked = &config.sweep;
    let Some(metric) = asked.convergence_metric.get() else {
        return nothing_else(config).map(|()| None);
    };
    let min_runs = &asked.convergence_min_runs;
    let least = usize::try_from(min_runs.get().unwrap_or(LEAST as u64))?;
    demand!(
        least >= LEAST,
        [min_runs],
        "--convergence-min-runs {least}: one run has no spread; it must be at least {LEAST}"
    );
    demand!(
        trials >= least,
        [asked.convergence_metric, min_runs, asked.num_profile_runs],
        "--convergence-metric stops early where {least} runs or more agree, and --num-profile-runs is \
         {trials}: raise it"
    );
    let stat = &asked.convergence_stat;
    let named = stat.get().unwrap_or_else(|| "avg".to_owned());
    let figure = Convergence::figure(&metric, &named)
        .map_err(|reason| anyhow!("--convergence-metric {metric}: {reason}"))
        .about(&[&asked.convergence_metric, stat])?;
    demand!(
        metric::row(&figure.tag).is_some(),
        [asked.convergence_metric],
        "--convergence-metric {metric}: there is no such metric; take a tag of docs/METRICS.md or a \
         short name such as ttft, itl, latency, tps"
    );
    let mode = asked
        .convergence_mode
        .get()
        .map_or(Mode::CiWidth, Mode::from);
    if mode == Mode::Distribution {
        demand!(
            stat.is_none(),
            [stat, asked.convergence_mode],
            "--convergence-stat has no meaning with --convergence-mode distribution, which looks at all \
             requests: leave it out"
        );
        demand!(
            config.output.export_level.value != ExportLevel::Summary,
            [config.output.export_level, asked.convergence_mode],
            "--convergence-mode distribution compares requests, and --export-level summary keeps none: \
             take records"
        );
    }
    let threshold = asked
        .convergence_threshold
        .get()
        .unwrap_or(mode.threshold());
    demand!(
        threshold > 0.0 && threshold < 1.0,
        [asked.convergence_threshold],
        "--convergence-threshold {threshold}: it must lie between 0 and 1, such as {}",
        mode.threshold()
    );
    if trials < 3 {
        say::warning(format_args!(
            "--convergence-metric with --num-profile-runs {trials}: two runs agree by chance more often \
             than three; take 3 or more"
        ));
    }
    Ok(Some(Convergence {
        figure,
        mode,
        threshold,
        least,
    }))
}

/// Without a metric the rest says nothing.
fn nothing_else(config: &RunConfig) -> Result<()> {
    let asked = &config.sweep;
    let others: [(&str, &dyn Given); 4] = [
        ("stat", &asked.convergence_stat),
        ("mode", &asked.convergence_mode),
        ("threshold", &asked.convergence_threshold),
        ("min-runs", &asked.convergence_min_runs),
    ];
    match others.iter().find(|(_, setting)| setting.is_given()) {
        None => Ok(()),
        Some((name, setting)) => {
            let message = format!(
                "--convergence-{name} says when runs agree, and --convergence-metric on what: add it, \
                 such as --convergence-metric ttft"
            );
            Err(Refusal::about(&[*setting], message).into())
        }
    }
}
