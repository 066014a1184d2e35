//! `--search`: the highest load that still meets the objectives.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, anyhow, bail, ensure};
use pinfire_analysis::{
    compare::Objective,
    export::DEFAULT_WIDTH,
    sweep::{
        Cell, Parameter, Sweep, Trial,
        search::{End, Range, Search, Step, Verdict, of_goodput},
    },
};
use pinfire_artifacts::{
    PROFILE_RUNS, RunFolder, SEARCH_HISTORY, SWEEP_CONSOLE, json_bytes, replace,
};
use pinfire_config::{
    Blame, Get, Given, RunConfig, Sourced,
    axes::Axis,
    demand,
    numbers::{Count, ShardCount},
    refuse,
    setting::Listed,
};

use super::{
    Maker, Names, Number, Wanted,
    points::{List, Point},
    runner::{self, Runner},
    stored::Stored,
};
use crate::{
    cluster::{Part, Series},
    run::signals::Interrupt,
    settings::Settings,
    shards,
    terminal::{say, stdout},
};

/// Requests of a point for each stream, or seconds of each rate, where nothing says how many.
const PER_LOAD: f64 = 10.0;
/// The least of them.
const LEAST_REQUESTS: f64 = 100.0;
/// Share of the failing load that the boundary may be off.
const TOLERANCE: f64 = 0.05;
/// The most runs.
const MOST: u64 = 30;

/// Loads that can be searched, with the short names of some, and their settings.
const SEARCHED: &[(&str, &str)] = &[
    ("concurrency", "concurrency"),
    ("num-users", "num_users"),
    ("prefill-concurrency", "prefill_concurrency"),
    ("rate", "request_rate"),
    ("request-rate", "request_rate"),
    ("users", "num_users"),
];

/// What `--search` says: `FLAG:LOW,HIGH`.
fn asked(text: &str) -> Result<(&'static Axis, Range)> {
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
    let axis = Axis::named(name).ok_or_else(wrong)?;
    let (low, high) = range.split_once(',').ok_or_else(wrong)?;
    let number = |text: &str| text.trim().parse().ok().filter(|n: &f64| n.is_finite());
    let (Some(low), Some(high)) = (number(low), number(high)) else {
        return Err(wrong());
    };
    let whole = *name != "request_rate";
    ensure!(
        low > 0.0 && high > low && (!whole || (low.fract() == 0.0 && high.fract() == 0.0)),
        "--search {text}: it must go from a {}number above 0 up to a higher one",
        if whole { "whole " } else { "" }
    );
    ensure!(
        low >= LOADS.0 && high <= LOADS.1,
        "--search {text}: its ends must lie between {:e} and {:e}",
        LOADS.0,
        LOADS.1
    );
    Ok((
        axis,
        Range {
            low,
            high,
            whole,
            tolerance: TOLERANCE,
        },
    ))
}

/// The loads that there are; those of a rate are the widest.
const LOADS: (f64, f64) = (1e-9, 1e9);

/// A search, decided.
struct Plan<'a> {
    config: &'a RunConfig,
    axis: &'static Axis,
    search: Search,
    objectives: Vec<Objective>,
    /// Something says how many requests a point has.
    sized: bool,
    base: PathBuf,
    maker: Maker<'a>,
    resumed: bool,
    warnings: Vec<String>,
}

impl<'a> Plan<'a> {
    fn new(wanted: &'a Wanted) -> Result<Self> {
        let (config, asked_for) = (&wanted.config, &wanted.config.sweep);
        let text = asked_for.search.get().context("--search")?;
        let (axis, mut range) = asked(&text).about(&[&asked_for.search])?;
        let swept = config.swept();
        demand!(
            swept.is_empty()
                && asked_for
                    .num_profile_runs
                    .get()
                    .is_none_or(|runs| runs == 1),
            [asked_for.search, asked_for.num_profile_runs],
            "--search runs one value after the other: it goes with no list and no --num-profile-runs; \
             --search-confirmations runs the boundary again"
        );
        ensure!(
            !wanted.dry_run,
            "--dry-run shows the schedule of one run; leave out --search"
        );
        demand!(
            !axis.given(config).is_given(),
            [axis.given(config)],
            "--search {text} sets {flag} itself; leave {flag} out",
            flag = axis.flag()
        );
        let mut objectives = super::objectives(config)?;
        if objectives.is_empty() && config.output.goodput.is_some() {
            objectives.push(of_goodput());
        }
        demand!(
            !objectives.is_empty(),
            [asked_for.search],
            "--search needs what to hold: --slo \"ttft.p99<=500\", repeated if wanted, or --goodput"
        );
        let sized = is_sized(config, &range)?;
        if let Some(tolerance) = asked_for.search_tolerance.get() {
            demand!(
                tolerance > 0.0 && tolerance < 1.0,
                [asked_for.search_tolerance],
                "--search-tolerance {tolerance}: it must lie between 0 and 1, such as 0.05"
            );
            range.tolerance = tolerance;
        }
        let confirmations = asked_for.search_confirmations.get().unwrap_or(1);
        let most = asked_for.search_max_iterations.get().unwrap_or(MOST);
        enough_for_shards(config, &range)?;
        let first = Settings::new(&super::of_one_process(config.clone()))?;
        let named = config.output.artifact_dir.get();
        let base = named.unwrap_or_else(|| {
            let name = searched_name(&first.artifact_dir, axis.name);
            first.artifact_dir.with_file_name(name)
        });
        Ok(Self {
            config,
            axis,
            search: Search {
                range,
                runs_at_boundary: usize::try_from(confirmations.saturating_add(1))?,
                most: usize::try_from(most)?,
                tried: Vec::new(),
            },
            objectives,
            sized,
            base,
            maker: Maker {
                asked: config,
                seeds: wanted.seeds()?,
                sweep_id: wanted.sweep_id()?,
            },
            resumed: wanted.resumed.is_some(),
            warnings: first
                .warnings
                .into_iter()
                .chain(first.load.warnings)
                .collect(),
        })
    }

    fn announcement(&self) -> String {
        let texts: Vec<&str> = self
            .objectives
            .iter()
            .map(|slo| slo.text.as_str())
            .collect();
        let range = self.search.range;
        format!(
            "pinfire {}: the highest {} from {} to {} that meets {}; at most {} runs, into {}; base \
             seed {}\n",
            env!("CARGO_PKG_VERSION"),
            self.axis.flag(),
            range.low,
            range.high,
            texts.join(" and "),
            self.search.most,
            self.base.display(),
            self.maker.seeds.base
        )
    }

    /// The configuration of a load.
    fn config_of(&self, value: f64, point: &Point, lists: &[List]) -> Result<RunConfig> {
        let mut config = point.config(self.config, lists)?;
        if !self.sized {
            // Positive, and far below what a u64 holds exactly.
            let wanted = (PER_LOAD * value).max(LEAST_REQUESTS).round() as u64;
            let count = Listed::one(Count::at_least_one(wanted));
            config.load.request_count = Some(Sourced::derived(count));
        }
        Ok(config)
    }
}

/// The folder of the search.
///
/// # Errors
/// Settings that make no sense.
pub fn base(wanted: &Wanted) -> Result<PathBuf> {
    Ok(Plan::new(wanted)?.base)
}

/// Whether the lowest load has a stream for each shard.
fn enough_for_shards(config: &RunConfig, range: &Range) -> Result<()> {
    let own = shards::of(config, &shards::environment)?;
    let count = match (own, config.shards.shards.get()) {
        (Some(own), _) => own.count,
        (None, Some(ShardCount::Count(count))) => count,
        (None, _) => 1,
    };
    demand!(
        !range.whole || range.low >= f64::from(count),
        [config.sweep.search, config.shards],
        "--search from {}: {count} shards share the load, and some would have none of it; begin at {count} \
         or more",
        range.low
    );
    Ok(())
}

/// Whether something says how many requests a point has.
fn is_sized(config: &RunConfig, range: &Range) -> Result<bool> {
    let load = &config.load;
    let requests = load.request_count.get();
    if let Some(requests) = requests.filter(|&n| range.whole && (n as f64) < range.high) {
        refuse!(
            [load.request_count, config.sweep.search],
            "--request-count {requests} never fills {} streams: raise it, or leave it out for {PER_LOAD} \
             requests per stream",
            range.high
        );
    }
    Ok(requests.is_some()
        || load.benchmark_duration.is_some()
        || config.conversations.num_conversations.is_some())
}

/// What a search has found so far.
#[derive(Default)]
struct Found {
    cells: Vec<Cell>,
    /// The loads, in the order of their runs.
    order: Vec<f64>,
}

/// Searches. 0 if a load that meets the objectives was found, else 1.
///
/// # Errors
/// Settings that make no sense; a lower end that cannot be run at all; files that cannot be
/// written.
pub fn run(wanted: &Wanted, part: Option<Part>) -> Result<ExitCode> {
    let mut plan = Plan::new(wanted)?;
    let folder = RunFolder::create(&plan.base)?;
    let stored = Stored {
        sweep_id: plan.maker.sweep_id.clone(),
        config: plan.config.clone(),
        seeds: plan.maker.seeds,
    };
    stored.write(&plan.base)?;
    for warning in &plan.warnings {
        say::warning(warning);
    }
    let interrupt = Interrupt::watch()?;
    let announced = plan.announcement();
    stdout::text(DEFAULT_WIDTH, |_, _| announced);
    let series = part.map(|part| Series::new(plan.config, part, &plan.base, &interrupt));
    let mut runner = Runner::new(&interrupt, plan.search.most, series);
    let mut found = Found::default();
    let end = loop {
        let value = match plan.search.next() {
            Step::Done(end) => break end,
            Step::Try(_) if runner.is_over() => break End::Interrupted,
            Step::Try(value) => value,
        };
        if !plan.attempt(value, &mut runner, &mut found)? {
            break End::Interrupted;
        }
    };
    let lost = runner.end();
    folder.check([])?;
    plan.write(found, end)?;
    Ok(if let Some(lost) = lost {
        lost
    } else if plan.search.boundary().0.is_some() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Plan<'_> {
    /// Runs a load. `false` if the user ended it.
    fn attempt(&mut self, value: f64, runner: &mut Runner<'_>, found: &mut Found) -> Result<bool> {
        let lists = [List {
            axis: self.axis,
            values: vec![value.to_string()],
        }];
        let point = Point::of(value.to_string());
        let label = point.label(&lists);
        let known = found.cells.iter().position(|cell| cell.label == label);
        let at = known.unwrap_or_else(|| {
            found.cells.push(Cell {
                label: label.clone(),
                dir: point.folder(&lists),
                values: point.values(),
                trials: Vec::new(),
            });
            found.cells.len() - 1
        });
        let again = found.cells.get(at).map_or(0, |cell| cell.trials.len());
        let run = format!("run_{:04}", again + 1);
        let folder = self
            .base
            .join(format!("search_iter_{at:04}"))
            .join(PROFILE_RUNS)
            .join(&run);
        let planned = self.maker.make(
            &self.config_of(value, &point, &lists)?,
            Number {
                point: at,
                trial: again,
            },
            Names { label, run },
            point.by_path(&lists),
            folder,
        )?;
        let kept = self.resumed.then(|| runner::finished(&planned)).flatten();
        let was_kept = kept.is_some();
        if !was_kept && !found.order.is_empty() {
            let pause = self.config.sweep.parameter_sweep_cooldown_seconds.get();
            runner.rest(Duration::try_from_secs_f64(pause.unwrap_or(0.0)).unwrap_or(Duration::MAX));
        }
        let trial: Trial = kept.unwrap_or_else(|| runner.run(planned));
        if let (Some(error), true) = (&trial.error, runner.is_over()) {
            say::warning(format_args!("{} {value}: {error}", self.axis.flag()));
            return Ok(false);
        }
        let verdict = Verdict::of(&trial, &self.objectives);
        if let (Some(error), true) = (&trial.error, found.order.is_empty()) {
            runner.end();
            let flag = self.axis.flag();
            bail!("the first run, of {flag} {value}, cannot be used: {error}");
        }
        let passes = if verdict.passes { "pass" } else { "FAIL" };
        let name = self.axis.name.replace('_', "-");
        let shown = format!("{name} {value}: {passes}");
        found.order.push(value);
        runner.tell(found.order.len(), &shown, &trial, was_kept);
        self.search.add(value, verdict);
        if let Some(cell) = found.cells.get_mut(at) {
            cell.trials.push(trial);
        }
        Ok(true)
    }

    /// Writes the files, and shows what was found.
    fn write(&self, found: Found, end: End) -> Result<()> {
        let seed = self.maker.seeds.base;
        let path = self.axis.path;
        let history = self
            .search
            .history(path, &self.objectives, end, &found.order, seed);
        replace(&self.base.join(SEARCH_HISTORY), &json_bytes(&history))?;
        let sweep = self.sweep(found.cells);
        super::write_sweep(&sweep, &self.base.join("sweep_aggregate"))?;
        if self.config.sweep.no_sweep_table.get() != Some(true) {
            stdout::text(DEFAULT_WIDTH, |width, colour| sweep.console(width, colour));
        }
        let told = self.search.console(self.axis.short, &self.objectives, end);
        let kept = sweep.console(DEFAULT_WIDTH, false) + &told;
        replace(&self.base.join(SWEEP_CONSOLE), kept.as_bytes())?;
        let told = format!("{told}files in {}\n", self.base.display());
        stdout::text(DEFAULT_WIDTH, |_, _| told);
        if end == End::Interrupted {
            say::line(format_args!(
                "interrupted: `pinfire profile --resume {}` goes on from here",
                self.base.display()
            ));
        }
        Ok(())
    }

    /// The loads that were run as the points of a sweep.
    fn sweep(&self, mut cells: Vec<Cell>) -> Sweep {
        let load = |cell: &Cell| cell.values.first().and_then(serde_json::Value::as_f64);
        cells.sort_by(|x, y| {
            load(x)
                .partial_cmp(&load(y))
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        let values = cells.iter().filter_map(|cell| cell.values.first().cloned());
        Sweep {
            parameters: vec![Parameter {
                path: self.axis.path.to_owned(),
                name: self.axis.short.to_owned(),
                values: values.collect(),
            }],
            trials: cells
                .iter()
                .map(|cell| cell.trials.len())
                .max()
                .unwrap_or(1),
            cells,
            mode: "search".to_owned(),
            level: self.config.sweep.confidence_level.get().unwrap_or(0.95),
            cooldown_s: 0.0,
            num_gpus: self.config.output.num_gpus.get(),
            objectives: self.objectives.clone(),
            convergence: None,
            models: self
                .config
                .endpoint
                .model
                .iter()
                .map(Sourced::get)
                .collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// The automatic folder, which is named after one load, for all of them.
fn searched_name(folder: &std::path::Path, name_of_load: &str) -> String {
    let name = folder
        .file_name()
        .map_or(String::new(), |n| n.to_string_lossy().into_owned());
    let stem = name
        .rsplit_once('-')
        .map_or(name.as_str(), |(stem, _)| stem);
    format!("{stem}-search_{name_of_load}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        let (axis, range) = asked("concurrency:1,512").unwrap();
        assert_eq!(
            (axis.name, range.low, range.high, range.whole),
            ("concurrency", 1.0, 512.0, true)
        );
        let (axis, range) = asked("rate:0.5,20").unwrap();
        assert_eq!((axis.name, range.whole), ("request_rate", false));
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
