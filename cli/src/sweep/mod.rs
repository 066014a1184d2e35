//! Sweeps and repeated runs: many runs in one process, one after the other, and what they say
//! together.
//!
//! Each run has a configuration of its own, a clone of what was asked: lists are replaced by one
//! value, the folder and the seed are set. The engine's threads and runtimes stay; connections and
//! everything else is each run's own, so that nothing of one run is left in the next.

mod converge;
mod points;
mod runner;
mod search;
mod seeds;
mod stored;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use pinfire_analysis::{
    compare::Objective,
    export::DEFAULT_WIDTH,
    facts::PartFacts,
    metric,
    sweep::{Cell, GOOD_SHARE, Sweep, converge::Convergence},
};
use pinfire_artifacts::{
    AGGREGATE_CSV, AGGREGATE_JSON, COLLATED_JSON, PARETO_CSV, PROFILE_RUNS, RunFolder,
    SWEEP_CONSOLE, SWEEP_CSV, SWEEP_JSON, json_bytes, replace,
};
use pinfire_config::{
    Blame, Get, Given, RunConfig, Sourced,
    command::flag,
    demand,
    numbers::Whole,
    refuse,
    words::{SweepOrder, SweepType, UiKind},
};
use pinfire_scrape::gpu;
use serde_json::{Map, Value};

pub use self::stored::Stored;
use self::{
    points::{List, MOST_RUNS, Point, lists, points},
    runner::{Planned, Runner},
    seeds::Seeds,
};
use crate::{
    cluster::{self, Part, Series},
    load::Mode,
    run::signals::Interrupt,
    settings::{Settings, drawn_seed},
    terminal::{say, stdout},
};

/// What several runs are made of.
pub struct Wanted {
    /// What was asked of all of them together.
    pub config: RunConfig,
    /// The sweep that is resumed.
    pub resumed: Option<Stored>,
    /// The schedule is to be shown, and nothing to be sent.
    pub dry_run: bool,
}

impl Wanted {
    /// Whether it makes more than one run.
    pub fn is_sweep(&self) -> bool {
        let sweep = &self.config.sweep;
        !self.config.swept().is_empty()
            || sweep.num_profile_runs.get().is_some_and(|runs| runs > 1)
            || sweep.search.is_some()
            || self.resumed.is_some()
    }

    /// The configuration of a single run.
    ///
    /// # Errors
    /// A setting was given that means nothing for one.
    pub fn single(&self) -> Result<&RunConfig> {
        let sweep = &self.config.sweep;
        // Once is once.
        let idle = sweep
            .given()
            .into_iter()
            .find(|name| *name != "num_profile_runs");
        if let Some(idle) = idle {
            refuse!(
                [sweep],
                "{} is for sweeps and repeated runs: give a flag a list (--concurrency 10,50), or add \
                 --num-profile-runs",
                flag(idle)
            );
        }
        Ok(&self.config)
    }

    /// Makes all runs. 0 if all can be used, 1 if some cannot, 2 if none can.
    ///
    /// # Errors
    /// A point that makes no sense, before anything is sent; files that cannot be written.
    pub fn run(&self, part: Option<Part>) -> Result<ExitCode> {
        let shards = &self.config.shards;
        demand!(
            part.is_some() || !shards.is_given(),
            [shards],
            "the shards of a sweep need a leader that says when the next run begins: add --join \
             HOST:PORT, where HOST runs shard 0, or start each run of the sweep by itself"
        );
        let verify = &self.config.cancellation.verify_release;
        demand!(
            !verify.value,
            [verify],
            "--verify-release judges one run: leave out lists, --num-profile-runs and --search, or judge \
             the server with `pinfire cancel-test`"
        );
        let searches = self.config.sweep.search.is_some();
        if let Some(Part::Shard(own)) = part.filter(|part| !part.leads()) {
            let base = match searches {
                true => search::base(self)?,
                false => Plan::new(self)?.base,
            };
            return cluster::follow(&self.config, own, base);
        }
        match searches {
            true => search::run(self, part),
            false => Plan::new(self)?.run(part),
        }
    }

    /// The id of all its runs: that of then where it is resumed.
    fn sweep_id(&self) -> Result<String> {
        Ok(match &self.resumed {
            Some(stored) => stored.sweep_id.clone(),
            None => format!("{:012x}", crate::settings::random_bits()? >> 16),
        })
    }

    /// The seeds of its runs: those of then where it is resumed, unless one was given.
    fn seeds(&self) -> Result<Seeds> {
        match &self.resumed {
            Some(stored) if self.config.load.random_seed.is_none() => Ok(stored.seeds),
            _ => Seeds::new(&self.config),
        }
    }
}

/// The configurations of the points of a file or a command line, in the order of a grid.
///
/// # Errors
/// Lists that do not go together.
pub fn configs(config: &RunConfig) -> Result<Vec<RunConfig>> {
    let lists = lists(config);
    let points = points(&lists, is_zip(config))?;
    points
        .iter()
        .map(|point| point.config(config, &lists))
        .collect()
}

fn is_zip(config: &RunConfig) -> bool {
    config.sweep.sweep_type.get() == Some(SweepType::Zip)
}

/// Which run of which point it is.
#[derive(Clone, Copy)]
struct Number {
    point: usize,
    trial: usize,
}

/// The names of a run and its point.
struct Names {
    /// Of the point, with its values.
    label: String,
    /// Of the run, such as `trial_0001`.
    run: String,
}

/// Makes runs of configurations.
struct Maker<'a> {
    asked: &'a RunConfig,
    seeds: Seeds,
    sweep_id: String,
}

impl Maker<'_> {
    /// A run, decided: the configuration of its point with the folder and the seed set, and without
    /// what is for sweeps alone.
    fn make(
        &self,
        point: &RunConfig,
        number: Number,
        names: Names,
        values: Map<String, Value>,
        folder: PathBuf,
    ) -> Result<Planned> {
        let mut config = point.clone().without_sweep();
        let warm_first_only = &self.asked.sweep.profile_run_disable_warmup_after_first;
        if number.trial > 0 && warm_first_only.get().unwrap_or(true) {
            config.warmup = RunConfig::default().warmup;
        }
        if let Some(seed) = self.seeds.of(number.point, number.trial, &names.label) {
            config.load.random_seed = Some(Sourced::derived(Whole::new(seed)));
        }
        config.output.artifact_dir = None;
        let asked = config.clone();
        if self.asked.shards.is_given() && config.load.random_seed.is_none() {
            // Its shards must have the same.
            config.load.random_seed = Some(Sourced::derived(Whole::new(drawn_seed()?)));
        }
        config.output.artifact_dir = Some(Sourced::derived(folder.clone()));
        let mut settings = Settings::new(&config)?;
        settings.part = Some(PartFacts {
            sweep_id: self.sweep_id.clone(),
            trial: number.trial as u64,
            run_label: names.run.clone(),
            variation_label: names.label,
            variation_index: number.point as u64,
            variation_values: values,
        });
        Ok(Planned {
            cell: number.point,
            trial: number.trial,
            label: names.run,
            folder,
            asked,
            settings,
        })
    }
}

/// Reads `--slo`.
///
/// # Errors
/// One that makes no sense, or is of no metric.
fn objectives(config: &RunConfig) -> Result<Vec<Objective>> {
    let read = |rule: &Sourced<String>| {
        let text = rule.get();
        let objective = Objective::parse(&text)
            .map_err(|error| anyhow!("--slo {error}"))
            .about(&[rule])?;
        let tag = objective.figure.tag.as_str();
        demand!(
            gpu::bare(tag).is_some() || tag == GOOD_SHARE || metric::row(tag).is_some(),
            [rule],
            "--slo {text}: there is no metric `{tag}`; take a tag of docs/METRICS.md or a short name such \
             as ttft, itl, latency, tps"
        );
        Ok(objective)
    };
    config.sweep.slo.iter().map(read).collect()
}

/// The times of a trace are its load: only what is done to its requests can be swept.
///
/// # Errors
/// A fixed schedule and a list of loads.
fn of_a_schedule(settings: &Settings, lists: &[List]) -> Result<()> {
    let mut axes = lists.iter().map(|list| list.axis);
    let load = axes.find(|axis| !axis.name.starts_with("request_cancellation"));
    match load {
        Some(axis) if matches!(settings.load.profiling.mode, Mode::FixedSchedule) => refuse!(
            [
                axis.given(&settings.config),
                settings.config.schedule.fixed_schedule
            ],
            "{} with a list makes a sweep, and a fixed schedule has its own load: give one value, or \
             add --no-fixed-schedule",
            axis.flag()
        ),
        _ => Ok(()),
    }
}

/// How the runs of a sweep are made, decided.
#[derive(Clone)]
struct Rules {
    trials: usize,
    independent: bool,
    convergence: Option<Convergence>,
    level: f64,
    objectives: Vec<Objective>,
    run_cooldown: f64,
    point_cooldown: f64,
    show_table: bool,
}

impl Rules {
    fn new(wanted: &Wanted) -> Result<Self> {
        let (config, asked) = (&wanted.config, &wanted.config.sweep);
        ensure!(
            !wanted.dry_run,
            "--dry-run shows the schedule of one run: give each flag one value"
        );
        let ui = &config.output.ui;
        demand!(
            ui.get() != Some(UiKind::Dashboard),
            [ui],
            "--ui dashboard shows one run, and this is several: use simple or none"
        );
        let trials = usize::try_from(asked.num_profile_runs.get().unwrap_or(1))?;
        let convergence = converge::asked(config, trials)?;
        let order = &asked.parameter_sweep_mode;
        let independent = match order.get() {
            // Whether a point needs another run is known only while it is the one that is run.
            None => convergence.is_some(),
            Some(order) => order == SweepOrder::Independent,
        };
        demand!(
            independent || convergence.is_none(),
            [asked.convergence_metric, order],
            "--convergence-metric stops the runs of a point when they agree, and --parameter-sweep-mode \
             repeated makes them far apart: take independent"
        );
        let level = asked.confidence_level.get().unwrap_or(0.95);
        demand!(
            level > 0.0 && level < 1.0,
            [asked.confidence_level],
            "--confidence-level {level}: it must lie between 0 and 1, such as 0.95"
        );
        Ok(Self {
            trials,
            independent,
            convergence,
            level,
            objectives: objectives(config)?,
            run_cooldown: asked.profile_run_cooldown_seconds.get().unwrap_or(0.0),
            point_cooldown: asked.parameter_sweep_cooldown_seconds.get().unwrap_or(0.0),
            show_table: asked.no_sweep_table.get() != Some(true),
        })
    }

    fn mode(&self) -> &'static str {
        if self.independent {
            "independent"
        } else {
            "repeated"
        }
    }
}

/// A sweep, decided.
struct Plan {
    base: PathBuf,
    lists: Vec<List>,
    points: usize,
    rules: Rules,
    sweep: Sweep,
    runs: Vec<Planned>,
    stored: Stored,
    resumed: bool,
    warnings: Vec<String>,
}

impl Plan {
    fn new(wanted: &Wanted) -> Result<Self> {
        let config = &wanted.config;
        let rules = Rules::new(wanted)?;
        let lists = lists(config);
        let points = points(&lists, is_zip(config))?;
        let total = rules.trials.saturating_mul(points.len());
        demand!(
            total <= MOST_RUNS,
            [config.sweep.num_profile_runs],
            "--num-profile-runs {} of {} points would be {total} runs; a sweep has at most {MOST_RUNS}",
            rules.trials,
            points.len()
        );
        let maker = Maker {
            asked: config,
            seeds: wanted.seeds()?,
            sweep_id: wanted.sweep_id()?,
        };
        let base = base(config, &lists, &points)?;
        let runs = runs(&maker, &rules, &lists, &points, &base)?;
        let mut warnings: Vec<String> = Vec::new();
        let said = runs.iter().map(|run| &run.settings);
        let said =
            said.flat_map(|settings| settings.warnings.iter().chain(&settings.load.warnings));
        for warning in said {
            if !warnings.contains(warning) {
                warnings.push(warning.clone());
            }
        }
        let cells = points.iter().map(|point| Cell {
            label: point.label(&lists),
            dir: point.folder(&lists),
            values: point.values(),
            trials: Vec::new(),
        });
        Ok(Self {
            sweep: Sweep {
                parameters: lists.iter().map(List::parameter).collect(),
                cells: cells.collect(),
                trials: rules.trials,
                mode: rules.mode().to_owned(),
                level: rules.level,
                cooldown_s: rules.run_cooldown,
                num_gpus: config.output.num_gpus.get(),
                objectives: rules.objectives.clone(),
                convergence: rules.convergence.clone(),
                models: config.endpoint.model.iter().map(Sourced::get).collect(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            stored: Stored {
                sweep_id: maker.sweep_id,
                config: config.clone(),
                seeds: maker.seeds,
            },
            resumed: wanted.resumed.is_some(),
            lists,
            base,
            points: points.len(),
            rules,
            runs,
            warnings,
        })
    }

    fn run(mut self, part: Option<Part>) -> Result<ExitCode> {
        for warning in &self.warnings {
            say::warning(warning);
        }
        let folder = RunFolder::create(&self.base)?;
        self.stored.write(&self.base)?;
        let interrupt = Interrupt::watch()?;
        let announced = self.announcement();
        stdout::text(DEFAULT_WIDTH, |_, _| announced);
        let asked = &self.stored.config;
        let series = part.map(|part| Series::new(asked, part, &self.base, &interrupt));
        let mut runner = Runner::new(&interrupt, self.runs.len(), series);
        let total = self.make_all(&mut runner)?;
        let is_over = runner.is_over();
        let lost = runner.end();
        folder.check([])?;
        self.write()?;
        replace(
            &self.base.join(SWEEP_CONSOLE),
            self.tables(DEFAULT_WIDTH, false).as_bytes(),
        )?;
        if self.rules.show_table {
            stdout::text(DEFAULT_WIDTH, |width, colour| self.tables(width, colour));
        }
        let (good, _) = self.sweep.counts();
        let text = format!(
            "{good} of {total} runs can be used; files in {}\n",
            self.base.display()
        );
        stdout::text(DEFAULT_WIDTH, |_, _| text);
        if is_over && good < total {
            say::line(format_args!(
                "interrupted: `pinfire profile --resume {}` goes on from here",
                self.base.display()
            ));
        }
        Ok(match good {
            _ if let Some(lost) = lost => lost,
            0 => ExitCode::from(2),
            good if good == total => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        })
    }

    fn announcement(&self) -> String {
        let seed = self.stored.seeds;
        let how = if seed.drawn {
            "each run draws its seed".to_owned()
        } else {
            format!("base seed {}", seed.base)
        };
        format!(
            "pinfire {}: {}{} runs ({} points, {} each) into {}; {how}\n",
            env!("CARGO_PKG_VERSION"),
            if self.sweep.convergence.is_some() {
                "up to "
            } else {
                ""
            },
            self.runs.len(),
            self.points,
            self.rules.trials,
            self.base.display(),
        )
    }

    /// Makes the runs, and gives how many were needed.
    fn make_all(&mut self, runner: &mut Runner<'_>) -> Result<usize> {
        let runs = std::mem::take(&mut self.runs);
        let mut total = runs.len();
        let mut before: Option<Number> = None;
        for (at, run) in runs.into_iter().enumerate() {
            let number = Number {
                point: run.cell,
                trial: run.trial,
            };
            if self.is_enough(number.point) {
                total -= 1;
                runner.passed(at + 1);
                continue;
            }
            let kept = self.resumed.then(|| runner::finished(&run)).flatten();
            if kept.is_none()
                && let Some(before) = before
            {
                runner.rest(self.pause(before, number));
            }
            if runner.is_over() {
                break;
            }
            let was_kept = kept.is_some();
            let trial = match kept {
                Some(trial) => trial,
                None => {
                    before = Some(number);
                    runner.run(run)
                }
            };
            let Some(cell) = self.sweep.cells.get_mut(number.point) else {
                continue;
            };
            let name = [cell.dir.as_str(), trial.label.as_str()];
            let shown = if self.lists.is_empty() {
                name[1].to_owned()
            } else if self.rules.trials == 1 {
                name[0].to_owned()
            } else {
                name.join(" ")
            };
            runner.tell(at + 1, &shown, &trial, was_kept);
            cell.trials.push(trial);
            self.tell_agreement(number);
        }
        Ok(total)
    }

    /// How long to wait between two runs.
    fn pause(&self, before: Number, next: Number) -> Duration {
        let of_point = if before.point == next.point {
            0.0
        } else {
            self.rules.point_cooldown
        };
        let of_run = if before.trial == next.trial {
            0.0
        } else {
            self.rules.run_cooldown
        };
        Duration::try_from_secs_f64(of_point.max(of_run)).unwrap_or(Duration::MAX)
    }

    /// Whether the runs that a point has agree as was asked.
    fn is_enough(&self, cell: usize) -> bool {
        let Some(rule) = &self.sweep.convergence else {
            return false;
        };
        let Some(cell) = self.sweep.cells.get(cell) else {
            return false;
        };
        let good: Vec<_> = cell.good().collect();
        rule.of(&good, self.sweep.level).enough
    }

    /// Says whether the runs of a point agree, once that is settled.
    fn tell_agreement(&self, Number { point, trial }: Number) {
        let (Some(rule), Some(cell)) = (&self.sweep.convergence, self.sweep.cells.get(point))
        else {
            return;
        };
        let good: Vec<_> = cell.good().collect();
        let said = rule.of(&good, self.sweep.level);
        if said.enough || trial + 1 == self.rules.trials {
            let name = if cell.dir.is_empty() {
                String::new()
            } else {
                format!("{}: ", cell.dir)
            };
            let text = format!("{name}{}\n", rule.say(said, good.len()));
            crate::terminal::progress::aside(|| stdout::text(DEFAULT_WIDTH, |_, _| text));
        }
    }

    fn tables(&self, width: usize, colour: bool) -> String {
        let mut text = String::new();
        if self.rules.trials > 1 {
            for cell in self
                .sweep
                .cells
                .iter()
                .filter(|cell| cell.good().next().is_some())
            {
                text += &self.sweep.confidence_console(cell, width, colour);
            }
        }
        if !self.lists.is_empty() {
            text += &self.sweep.console(width, colour);
        }
        text
    }

    /// Writes the aggregate files.
    fn write(&self) -> Result<()> {
        let sweep = !self.lists.is_empty();
        for cell in self
            .sweep
            .cells
            .iter()
            .filter(|cell| cell.good().next().is_some())
        {
            let dir = match (sweep, self.rules.trials, self.rules.independent) {
                (false, ..) => self.base.join("aggregate"),
                (true, 2.., true) => self.base.join(&cell.dir).join("aggregate"),
                _ => self.base.join("aggregate").join(&cell.dir),
            };
            create(&dir)?;
            let aggregate = json_bytes(&self.sweep.confidence(cell));
            replace(&dir.join(AGGREGATE_JSON), &aggregate)?;
            replace(&dir.join(AGGREGATE_CSV), &self.sweep.confidence_csv(cell))?;
            // As AIPerf: where the number of runs was left to the runs.
            if self.sweep.convergence.is_some()
                && let Some(collated) = self.sweep.collated(cell)?
            {
                replace(&dir.join(COLLATED_JSON), &json_bytes(&collated))?;
            }
        }
        if sweep {
            let dir = if self.rules.trials > 1 && !self.rules.independent {
                self.base.join("aggregate").join("sweep_aggregate")
            } else {
                self.base.join("sweep_aggregate")
            };
            write_sweep(&self.sweep, &dir)?;
        }
        Ok(())
    }
}

/// Writes what all points say together.
fn write_sweep(sweep: &Sweep, dir: &Path) -> Result<()> {
    create(dir)?;
    replace(&dir.join(SWEEP_JSON), &json_bytes(&sweep.file()))?;
    replace(&dir.join(SWEEP_CSV), &sweep.csv())?;
    Ok(replace(&dir.join(PARETO_CSV), &sweep.table_csv())?)
}

fn create(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))
}

/// The folder of a sweep. Without one given it is named after the first point, as AIPerf does it.
fn base(config: &RunConfig, lists: &[List], points: &[Point]) -> Result<PathBuf> {
    let first = points.first().context("a sweep has points")?;
    let settings = Settings::new(&of_one_process(first.config(config, lists)?))?;
    of_a_schedule(&settings, lists)?;
    Ok(settings.artifact_dir)
}

/// The configuration of a run of its own, made by one process.
fn of_one_process(config: RunConfig) -> RunConfig {
    let mut config = config.without_sweep();
    config.shards = RunConfig::default().shards;
    config
}

/// All runs, in their order.
fn runs(
    maker: &Maker<'_>,
    rules: &Rules,
    lists: &[List],
    points: &[Point],
    base: &Path,
) -> Result<Vec<Planned>> {
    let mut runs = Vec::new();
    for (index, point) in points.iter().enumerate() {
        let config = point.config(maker.asked, lists)?;
        for trial in 0..rules.trials {
            let names = Names {
                label: point.label(lists),
                run: run_label(trial, lists.is_empty()),
            };
            let dir = point.folder(lists);
            let folder = place(base, &dir, &names.run, rules.trials, rules.independent);
            let number = Number {
                point: index,
                trial,
            };
            runs.push(maker.make(&config, number, names, point.by_path(lists), folder)?);
        }
    }
    if !rules.independent {
        runs.sort_by_key(|run| (run.trial, run.cell));
    }
    Ok(runs)
}

fn run_label(trial: usize, alone: bool) -> String {
    let kind = if alone { "run" } else { "trial" };
    format!("{kind}_{:04}", trial + 1)
}

/// The folder of a run.
fn place(base: &Path, dir: &str, label: &str, trials: usize, independent: bool) -> PathBuf {
    match (dir.is_empty(), trials, independent) {
        (true, ..) => base.join(PROFILE_RUNS).join(label),
        (false, 1, _) => base.join(dir),
        (false, _, false) => base.join(PROFILE_RUNS).join(label).join(dir),
        (false, _, true) => base.join(dir).join(PROFILE_RUNS).join(label),
    }
}
