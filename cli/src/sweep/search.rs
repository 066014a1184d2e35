//! `--search`: the highest load that still meets the objectives.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, anyhow, bail, ensure};
use pinfire_analysis::{
    export::DEFAULT_WIDTH,
    sweep::{
        Cell, Sweep, Trial,
        search::{End, Range, Search, Step, Verdict, of_goodput},
    },
};
use pinfire_artifacts::{RunFolder, SEARCH_HISTORY, json_bytes, replace};

use super::{
    Maker, Parse, Typed,
    axes::{self, Axis, ListFlag},
    runner::{self, Runner},
    seeds::Seeds,
    stored::Stored,
};
use crate::{
    args::Profile,
    run::signals::Interrupt,
    settings::Settings,
    terminal::{say, show},
};

/// Requests of a point for each stream, or seconds of each rate, where nothing says how many.
const PER_LOAD: f64 = 10.0;
/// The least of them.
const LEAST_REQUESTS: f64 = 100.0;
/// Share of the failing load that the boundary may be off.
const TOLERANCE: f64 = 0.05;
/// The most runs.
const MOST: u64 = 30;

/// Loads that can be searched, with the short names of some.
const SEARCHED: &[(&str, &str)] = &[
    ("concurrency", "concurrency"),
    ("num-users", "num-users"),
    ("prefill-concurrency", "prefill-concurrency"),
    ("rate", "request-rate"),
    ("request-rate", "request-rate"),
    ("users", "num-users"),
];

/// What `--search` says: `FLAG:LOW,HIGH`.
fn asked(text: &str) -> Result<(&'static ListFlag, Range)> {
    let wrong = || {
        anyhow!(
            "--search {text}: it must be FLAG:LOW,HIGH such as concurrency:1,512 or \
             request-rate:0.5,200"
        )
    };
    let (name, range) = text.split_once(':').ok_or_else(wrong)?;
    let Some((_, name)) = SEARCHED.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = SEARCHED.iter().map(|(known, _)| *known).collect();
        bail!("--search {text}: it takes one of {}", known.join(", "));
    };
    let flag = axes::flag(name).ok_or_else(wrong)?;
    let (low, high) = range.split_once(',').ok_or_else(wrong)?;
    let number = |text: &str| text.trim().parse().ok().filter(|n: &f64| n.is_finite());
    let (Some(low), Some(high)) = (number(low), number(high)) else {
        return Err(wrong());
    };
    let whole = *name != "request-rate";
    ensure!(
        low > 0.0 && high > low && (!whole || (low.fract() == 0.0 && high.fract() == 0.0)),
        "--search {text}: it must go from a {}number above 0 up to a higher one",
        if whole { "whole " } else { "" }
    );
    Ok((
        flag,
        Range {
            low,
            high,
            whole,
            tolerance: TOLERANCE,
        },
    ))
}

/// Searches. 0 if a load that meets the objectives was found, else 1.
///
/// # Errors
/// Flags that make no sense; a lower end that cannot be run at all; files that cannot be written.
pub fn run(typed: &Typed, flags: &Profile, parse: Parse) -> Result<ExitCode> {
    let text = flags.sweep.search.as_deref().context("--search")?;
    let (flag, mut range) = asked(text)?;
    let [name, ..] = flag.names else {
        bail!("--search {text}: there is no such flag");
    };
    ensure!(
        typed.axes.is_empty() && !flags.sweep.repeats(),
        "--search runs one value after the other: it goes with no list and no --num-profile-runs; \
         --search-confirmations runs the boundary again"
    );
    ensure!(
        !flags.load.dry_run,
        "--dry-run shows the schedule of one run; leave out --search"
    );
    ensure!(
        typed.line.value(flag.names).is_none(),
        "--search {text} sets --{name} itself; leave --{name} out"
    );
    let mut objectives = super::objectives(&flags.sweep.slo)?;
    if objectives.is_empty() && flags.output.goodput.is_some() {
        objectives.push(of_goodput());
    }
    ensure!(
        !objectives.is_empty(),
        "--search needs what to hold: --slo \"ttft.p99<=500\", repeated if wanted, or --goodput"
    );
    let load = &flags.load;
    let requests = load.request_count;
    let sized = requests.is_some()
        || load.benchmark_duration.is_some()
        || flags.conversations.num_conversations.is_some();
    if let Some(requests) = requests.filter(|&n| range.whole && (n as f64) < range.high) {
        bail!(
            "--request-count {requests} never fills {} streams: raise it, or leave it out for {PER_LOAD} \
             requests per stream",
            range.high
        );
    }
    if let Some(tolerance) = flags.sweep.search_tolerance {
        ensure!(
            tolerance > 0.0 && tolerance < 1.0,
            "--search-tolerance {tolerance}: it must lie between 0 and 1, such as 0.05"
        );
        range.tolerance = tolerance;
    }
    let confirmations = flags.sweep.search_confirmations.unwrap_or(1);
    let most = flags.sweep.search_max_iterations.unwrap_or(MOST);
    let mut search = Search {
        range,
        runs_at_boundary: usize::try_from(confirmations.saturating_add(1))?,
        most: usize::try_from(most)?,
        tried: Vec::new(),
    };
    let seeds = match &typed.stored {
        Some(stored) if load.random_seed.is_none() => stored.seeds,
        _ => Seeds::new(&flags.sweep, load.random_seed)?,
    };
    let sweep_id = typed.sweep_id()?;
    let first = Settings::new(flags)?;
    let base = typed
        .line
        .value(&["artifact-dir", "output-artifact-dir"])
        .map_or_else(
            || {
                first
                    .artifact_dir
                    .with_file_name(searched_name(&first.artifact_dir, name))
            },
            PathBuf::from,
        );
    let stored = Stored {
        sweep_id: sweep_id.clone(),
        arguments: typed.line.stored(),
        seeds,
    };
    let artifacts = RunFolder::create(&base)?;
    stored.write(&base)?;
    for warning in first.warnings.iter().chain(&first.load.warnings) {
        say::warning(warning);
    }
    let interrupt = Interrupt::watch()?;
    let texts: Vec<&str> = objectives.iter().map(|slo| slo.text.as_str()).collect();
    let said = format!(
        "pinfire {}: the highest --{name} from {} to {} that meets {}; at most {most} runs, into {}; \
         base seed {}\n",
        env!("CARGO_PKG_VERSION"),
        range.low,
        range.high,
        texts.join(" and "),
        base.display(),
        seeds.base
    );
    show::text(DEFAULT_WIDTH, |_, _| said);
    let maker = Maker {
        parse,
        asked: &flags.sweep,
        seeds,
        sweep_id,
    };
    let mut runner = Runner::new(&interrupt, search.most);
    let mut cells: Vec<Cell> = Vec::new();
    let mut order: Vec<f64> = Vec::new();
    let end = loop {
        let value = match search.next() {
            Step::Done(end) => break end,
            Step::Try(_) if interrupt.asked() => break End::Interrupted,
            Step::Try(value) => value,
        };
        let axis = Axis {
            flag,
            values: vec![value.to_string()],
        };
        let point = vec![value.to_string()];
        let one = [axis];
        let label = axes::label(&one, &point);
        let at = match cells.iter().position(|cell| cell.label == label) {
            Some(at) => at,
            None => {
                cells.push(Cell {
                    label: label.clone(),
                    dir: axes::folder(&one, &point),
                    values: vec![axes::value(&value.to_string())],
                    trials: Vec::new(),
                });
                cells.len() - 1
            }
        };
        let again = cells.get(at).map_or(0, |cell| cell.trials.len());
        let mut line = axes::line_of(&typed.line, &one, &point);
        if !sized {
            let wanted = (PER_LOAD * value).max(LEAST_REQUESTS).round();
            line.set(&["request-count"], &wanted.to_string());
        }
        let run_label = format!("run_{:04}", again + 1);
        let folder = base
            .join(format!("search_iter_{at:04}"))
            .join("profile_runs")
            .join(&run_label);
        let values = [(flag.path.to_owned(), axes::value(&value.to_string()))];
        let planned = maker.make(
            line,
            (at, again),
            (&label, &run_label),
            values.into_iter().collect(),
            folder,
        )?;
        let kept = typed
            .stored
            .as_ref()
            .and_then(|_| runner::finished(&planned));
        let was_kept = kept.is_some();
        if !was_kept && !order.is_empty() {
            let pause = flags.sweep.parameter_sweep_cooldown_seconds.unwrap_or(0.0);
            runner.rest(std::time::Duration::from_secs_f64(pause));
        }
        let trial: Trial = kept.unwrap_or_else(|| runner.run(planned));
        if interrupt.asked() && trial.error.is_some() {
            break End::Interrupted;
        }
        let verdict = Verdict::of(&trial, &objectives);
        if let (Some(error), true) = (&trial.error, order.is_empty()) {
            runner.end();
            bail!("the first run, of --{name} {value}, cannot be used: {error}");
        }
        let passes = if verdict.passes { "pass" } else { "FAIL" };
        let shown = format!("{name} {value}: {passes}");
        order.push(value);
        runner.tell(order.len(), &shown, &trial, was_kept);
        search.add(value, verdict);
        if let Some(cell) = cells.get_mut(at) {
            cell.trials.push(trial);
        }
    };
    runner.end();
    artifacts.check([])?;
    let history = search.history(flag.path, &objectives, end, &order, seeds.base);
    replace(&base.join(SEARCH_HISTORY), &json_bytes(&history))?;
    cells.sort_by(|x, y| {
        let load = |cell: &Cell| cell.values.first().and_then(serde_json::Value::as_f64);
        load(x)
            .partial_cmp(&load(y))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let values = cells.iter().filter_map(|cell| cell.values.first().cloned());
    let sweep = Sweep {
        parameters: vec![pinfire_analysis::sweep::Parameter {
            path: flag.path.to_owned(),
            name: flag.name.to_owned(),
            values: values.collect(),
        }],
        trials: cells
            .iter()
            .map(|cell| cell.trials.len())
            .max()
            .unwrap_or(1),
        cells,
        mode: "search".to_owned(),
        level: flags.sweep.confidence_level.unwrap_or(0.95),
        cooldown_s: 0.0,
        num_gpus: flags.output.num_gpus,
        objectives: objectives.clone(),
        convergence: None,
        models: flags.endpoint.model.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    super::write_sweep(&sweep, &base.join("sweep_aggregate"))?;
    if flags.sweep.no_sweep_table != Some(true) {
        show::text(DEFAULT_WIDTH, |width, colour| sweep.console(width, colour));
    }
    let told = search.console(flag.name, &objectives, end);
    let told = format!("{told}files in {}\n", base.display());
    show::text(DEFAULT_WIDTH, |_, _| told);
    if end == End::Interrupted {
        say::line(format_args!(
            "interrupted: `pinfire profile --resume {}` goes on from here",
            base.display()
        ));
    }
    Ok(if search.boundary().0.is_some() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The automatic folder, which is named after one load, for all of them.
fn searched_name(folder: &std::path::Path, flag: &str) -> String {
    let name = folder
        .file_name()
        .map_or(String::new(), |n| n.to_string_lossy().into_owned());
    let stem = name
        .rsplit_once('-')
        .map_or(name.as_str(), |(stem, _)| stem);
    format!("{stem}-search_{}", flag.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        let (flag, range) = asked("concurrency:1,512").unwrap();
        assert_eq!(
            (flag.names[0], range.low, range.high, range.whole),
            ("concurrency", 1.0, 512.0, true)
        );
        let (flag, range) = asked("rate:0.5,20").unwrap();
        assert_eq!((flag.names[0], range.whole), ("request-rate", false));
        for (wrong, says) in [
            ("concurrency", "it must be FLAG:LOW,HIGH"),
            ("concurrency:5", "it must be FLAG:LOW,HIGH"),
            ("concurrency:a,b", "it must be FLAG:LOW,HIGH"),
            ("isl:1,5", "it takes one of concurrency"),
            ("concurrency:0,5", "from a whole number above 0"),
            ("concurrency:1.5,5", "from a whole number above 0"),
            ("concurrency:5,5", "up to a higher one"),
        ] {
            let error = asked(wrong).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
