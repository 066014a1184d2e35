//! `pinfire compare`: two finished runs side by side.

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result, anyhow, bail, ensure};
use pinfire_analysis::{
    compare::{Comparison, Rule, Run, Stat, Wanted, tag_of},
    export::DEFAULT_WIDTH,
};
use pinfire_artifacts::json_bytes;

use crate::{
    args::{Compare, Format},
    cmd::report::merge_shards,
    terminal::{say, stdout},
};

/// Figures of every metric, besides those of `--percentiles`.
const FIGURES: [Stat; 4] = [
    Stat::Avg,
    Stat::Percentile(50.0),
    Stat::Percentile(90.0),
    Stat::Percentile(99.0),
];

/// The exit code of what cannot be compared: not that of a broken rule.
pub const CANNOT: u8 = 2;

/// Compares: 1 if a rule is broken, 2 if there is no comparison, because a run cannot be read, the
/// runs share nothing, a rule makes no sense or the result cannot be written.
pub fn run(flags: &Compare) -> ExitCode {
    compare(flags).unwrap_or_else(|error| {
        say::error(format_args!("{error:#}"));
        ExitCode::from(CANNOT)
    })
}

fn compare(flags: &Compare) -> Result<ExitCode> {
    let rules = flags.fail_if.iter().map(|text| Rule::parse(text));
    let rules = rules
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| anyhow!("--fail-if {error}"))?;
    ensure!(
        flags.confidence_level > 0.0 && flags.confidence_level < 1.0,
        "--confidence-level {}: it must lie between 0 and 1, such as 0.95",
        flags.confidence_level
    );
    let mut stats = FIGURES.to_vec();
    for text in &flags.percentiles {
        let text = text.trim().trim_start_matches('p');
        match Stat::parse(&format!("p{text}")) {
            Some(stat) if stats.contains(&stat) => {}
            Some(stat) => stats.push(stat),
            None => bail!("--percentiles {text}: it must be a number between 0 and 100"),
        }
    }
    let key = |stat: &Stat| match stat {
        Stat::Percentile(q) => *q,
        _ => -1.0,
    };
    stats.sort_by(|x, y| key(x).total_cmp(&key(y)));
    let wanted = Wanted {
        stats,
        tags: flags
            .metrics
            .iter()
            .map(|name| tag_of(name.trim()).to_owned())
            .collect(),
        level: flags.confidence_level,
        seed: flags.random_seed,
        rules,
        significant: flags.significant.value,
        min_effect: flags.min_effect,
    };
    merge_shards(&flags.a)?;
    merge_shards(&flags.b)?;
    let (a, b) = (Run::read(&flags.a)?, Run::read(&flags.b)?);
    let comparison = Comparison::new(a, b, &wanted)?;
    let all = flags.all.value || !flags.metrics.is_empty();
    show(flags, &comparison, all)?;
    let broken: Vec<&str> = comparison
        .broken()
        .map(|judged| judged.rule.text.as_str())
        .collect();
    if broken.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    say::error(format_args!("broken: {}", broken.join(", ")));
    Ok(ExitCode::FAILURE)
}

/// The table on stdout and the file, or what stands for the table on stdout.
fn show(flags: &Compare, comparison: &Comparison, all: bool) -> Result<()> {
    let document = |format| match format {
        Format::Text => comparison.console(all, DEFAULT_WIDTH, false).into_bytes(),
        Format::Json => json_bytes(&comparison.json()),
        Format::Markdown => comparison.markdown(all).into_bytes(),
        Format::Junit => comparison.junit().into_bytes(),
    };
    let file = flags.output.as_deref();
    let to_stdout = file == Some(Path::new("-"));
    let format = match flags.format {
        None | Some(Format::Text) if file.is_none() => Format::Text,
        given => given.unwrap_or(Format::Json),
    };
    if to_stdout || (file.is_none() && format != Format::Text) {
        let text = String::from_utf8_lossy(&document(format)).into_owned();
        stdout::text(DEFAULT_WIDTH, |_, _| text);
        return Ok(());
    }
    stdout::text(DEFAULT_WIDTH, |width, colour| {
        comparison.console(all, width, colour)
    });
    if let Some(path) = file {
        std::fs::write(path, document(format))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
