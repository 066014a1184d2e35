//! `pinfire compare`: two finished runs or sweeps side by side, or one held against objectives.

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result, anyhow, bail, ensure};
use pinfire_analysis::{
    compare::{
        Comparison, Objective, Rule, Run, Stat, Wanted,
        points::{self, Held, points},
        tag_of,
    },
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
    let of_a = points(&flags.a)?;
    ensure!(
        flags.b.is_none() || flags.slo.is_empty(),
        "--slo judges one run: of two, --fail-if looks at the second (--fail-if 'ttft.p99>500')"
    );
    let Some(second) = &flags.b else {
        ensure!(
            flags.fail_if.is_empty(),
            "--fail-if compares two runs: --slo judges one"
        );
        return judge(flags, of_a);
    };
    merge_shards(second)?;
    let of_b = points(second)?;
    let all = flags.all.value || !flags.metrics.is_empty();
    let broken: Vec<String> = if of_a.is_empty() && of_b.is_empty() {
        let comparison = Comparison::new(Run::read(&flags.a)?, Run::read(second)?, &wanted)?;
        show(flags, |format, width, colour| match format {
            Format::Text => comparison.console(all, width, colour).into_bytes(),
            Format::Json => json_bytes(&comparison.json()),
            Format::Markdown => comparison.markdown(all).into_bytes(),
            Format::Junit => comparison.junit().into_bytes(),
        })?;
        let broken = comparison.broken();
        broken.map(|judged| judged.rule.text.clone()).collect()
    } else {
        let compared = point_by_point((&flags.a, of_a), (second, of_b), &wanted)?;
        show(flags, |format, width, colour| match format {
            Format::Text => {
                let tables = compared
                    .iter()
                    .map(|(name, of)| format!("\n{name}\n{}", of.console(all, width, colour)));
                tables.collect::<String>().into_bytes()
            }
            Format::Json => json_bytes(&points::json(&compared)),
            Format::Markdown => points::markdown(&compared, all).into_bytes(),
            Format::Junit => points::junit(&compared).into_bytes(),
        })?;
        let broken = compared.iter().flat_map(|(name, of)| {
            of.broken()
                .map(move |judged| format!("{name}: {}", judged.rule.text))
        });
        broken.collect()
    };
    Ok(code(&broken))
}

/// What rules came to, with the broken ones on stderr.
fn code(broken: &[String]) -> ExitCode {
    if broken.is_empty() {
        return ExitCode::SUCCESS;
    }
    say::error(format_args!("broken: {}", broken.join(", ")));
    ExitCode::FAILURE
}

/// Those points that both sweeps have; the others are named.
fn point_by_point(
    (path_a, of_a): (&Path, Vec<(String, Run)>),
    (path_b, mut of_b): (&Path, Vec<(String, Run)>),
    wanted: &Wanted,
) -> Result<Vec<(String, Comparison)>> {
    for (path, points, other) in [(path_a, &of_a, path_b), (path_b, &of_b, path_a)] {
        if let ([], Some((name, _))) = (&points[..], of_a.first().or(of_b.first())) {
            bail!(
                "{} is one run and {} is several points: name one of them, such as {}",
                path.display(),
                other.display(),
                other.join(name).display()
            );
        }
    }
    let mut compared = Vec::new();
    let mut alone = Vec::new();
    for (name, a) in of_a {
        match of_b.iter().position(|(other, _)| *other == name) {
            Some(at) => {
                let (_, b) = of_b.swap_remove(at);
                let made = Comparison::new(a, b, wanted).with_context(|| name.clone())?;
                compared.push((name, made));
            }
            None => alone.push(format!("{name} (A)")),
        }
    }
    alone.extend(of_b.into_iter().map(|(name, _)| format!("{name} (B)")));
    ensure!(
        !compared.is_empty(),
        "the two have no point in common: {}",
        alone.join(", ")
    );
    if !alone.is_empty() {
        say::warning(format_args!(
            "only one side has these points: {}",
            alone.join(", ")
        ));
    }
    Ok(compared)
}

/// Holds a run, or each point of a sweep, against `--slo`.
fn judge(flags: &Compare, of_many: Vec<(String, Run)>) -> Result<ExitCode> {
    let objectives = flags.slo.iter().map(|text| Objective::parse(text));
    let objectives = objectives
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| anyhow!("--slo {error}"))?;
    let mut runs: Vec<(Option<String>, Run)> = Vec::new();
    runs.extend(of_many.into_iter().map(|(name, run)| (Some(name), run)));
    if runs.is_empty() {
        runs.push((None, Run::read(&flags.a)?));
    }
    let mut held = Vec::new();
    for (point, run) in &runs {
        run.notes.iter().for_each(say::warning);
        for objective in &objectives {
            let one = Held::of(point.as_deref(), run, objective);
            held.push(one.with_context(|| {
                format!(
                    "--slo {}: {} lacks {}",
                    objective.text,
                    run.path.display(),
                    objective.figure
                )
            })?);
        }
    }
    show(flags, |format, _, _| match format {
        Format::Text => points::held_console(&held).into_bytes(),
        Format::Json => json_bytes(&points::held_json(&flags.a, &held)),
        Format::Markdown => points::held_markdown(&held).into_bytes(),
        Format::Junit => points::held_junit(&held).into_bytes(),
    })?;
    let broken = held.iter().filter(|held| !held.is_kept());
    let broken: Vec<String> = broken
        .map(|held| match &held.point {
            Some(point) => format!("{point}: {}", held.objective.text),
            None => held.objective.text.clone(),
        })
        .collect();
    Ok(code(&broken))
}

/// The table on stdout and the file, or what stands for the table on stdout. `made` is the document
/// in a format, of a width, in colour or not.
fn show(flags: &Compare, made: impl Fn(Format, usize, bool) -> Vec<u8>) -> Result<()> {
    let document = |format| made(format, DEFAULT_WIDTH, false);
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
        String::from_utf8_lossy(&made(Format::Text, width, colour)).into_owned()
    });
    if let Some(path) = file {
        std::fs::write(path, document(format))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
