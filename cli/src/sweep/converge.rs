//! What `--convergence-metric` and its companions say.

use anyhow::{Result, anyhow, bail, ensure};
use pinfire_analysis::{
    metric,
    sweep::converge::{Convergence, LEAST, Mode},
};

use crate::{args::SweepFlags, settings::named, terminal::say};

/// When the runs of a point are enough; `None` if all that were asked for are made.
///
/// # Errors
/// A rule that makes no sense, or one that cannot come into play with `trials` runs.
pub fn asked(flags: &SweepFlags, export_level: &str, trials: usize) -> Result<Option<Convergence>> {
    let Some(metric) = &flags.convergence_metric else {
        let idle = [
            ("stat", flags.convergence_stat.is_some()),
            ("mode", flags.convergence_mode.is_some()),
            ("threshold", flags.convergence_threshold.is_some()),
            ("min-runs", flags.convergence_min_runs.is_some()),
        ];
        return match idle.into_iter().find(|(_, given)| *given) {
            Some((name, _)) => bail!(
                "--convergence-{name} says when runs agree, and --convergence-metric on what: add it, \
                 such as --convergence-metric ttft"
            ),
            None => Ok(None),
        };
    };
    let least = usize::try_from(flags.convergence_min_runs.unwrap_or(LEAST as u64))?;
    ensure!(
        least >= LEAST,
        "--convergence-min-runs {least}: one run has no spread; it must be at least {LEAST}"
    );
    ensure!(
        trials >= least,
        "--convergence-metric stops early where {least} runs or more agree, and --num-profile-runs is \
         {trials}: raise it"
    );
    let stat = flags.convergence_stat.as_deref().unwrap_or("avg");
    let figure = Convergence::figure(metric, stat)
        .map_err(|reason| anyhow!("--convergence-metric {metric}: {reason}"))?;
    ensure!(
        metric::row(&figure.tag).is_some(),
        "--convergence-metric {metric}: there is no such metric; take a tag of docs/METRICS.md or a \
         short name such as ttft, itl, latency, tps"
    );
    let mode = match &flags.convergence_mode {
        None => Mode::CiWidth,
        Some(text) => named("--convergence-mode", text, &Mode::NAMES)?,
    };
    if mode == Mode::Distribution {
        ensure!(
            flags.convergence_stat.is_none(),
            "--convergence-stat has no meaning with --convergence-mode distribution, which looks at all \
             requests: leave it out"
        );
        ensure!(
            !export_level.eq_ignore_ascii_case("summary"),
            "--convergence-mode distribution compares requests, and --export-level summary keeps none: \
             take records"
        );
    }
    let threshold = flags.convergence_threshold.unwrap_or(mode.threshold());
    ensure!(
        threshold > 0.0 && threshold < 1.0,
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
