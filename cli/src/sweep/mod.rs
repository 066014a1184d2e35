//! Sweeps and repeated runs: many runs in one process, one after the other, and what they say
//! together.
//!
//! Each run is a command line of its own, made of the one that was typed: lists are replaced by one
//! value, the folder and the seed are set. The engine's threads and runtimes stay; connections and
//! everything else is each run's own, so that nothing of one run is left in the next.

mod axes;
mod converge;
mod line;
mod runner;
mod search;
mod seeds;
mod stored;

pub use line::Line;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use pinfire_analysis::{
    compare::Objective,
    export::DEFAULT_WIDTH,
    facts::PartFacts,
    metric,
    sweep::{Cell, GOOD_SHARE, Sweep},
};
use pinfire_artifacts::{
    AGGREGATE_CSV, AGGREGATE_JSON, COLLATED_JSON, PARETO_CSV, RunFolder, SWEEP_CSV, SWEEP_JSON,
    json_bytes, replace,
};
use pinfire_scrape::gpu;
use serde_json::{Map, Value};

use self::{
    axes::{Axis, Point, axes, folder, label, line_of, points},
    runner::{Planned, Runner},
    seeds::Seeds,
    stored::Stored,
};
use crate::{
    args::{Profile, SweepFlags},
    load::Mode,
    run::signals::Interrupt,
    settings::{Settings, named},
    terminal::{say, show},
};

/// Reads flags out of arguments, with errors of one line.
pub type Parse = fn(&[String]) -> Result<Box<Profile>>;

/// Whether the flag of this long name says how several runs are made.
pub fn is_of_sweeps(flag: &str) -> bool {
    ONLY_FOR_SWEEPS.contains(&flag)
}

/// Whether a list of values of the flag of this long name makes several runs.
pub fn takes_lists(flag: &str) -> bool {
    axes::flag(flag).is_some()
}

/// Arguments that may make several runs.
pub struct Typed {
    line: Line,
    axes: Vec<Axis>,
    stored: Option<Stored>,
}

impl Typed {
    /// Takes arguments apart; with `--resume` those of then are put under them. `None` of another
    /// command.
    ///
    /// # Errors
    /// A list that makes no sense, a folder that holds no sweep.
    pub fn read(arguments: &[String]) -> Result<Option<Self>> {
        let Some(mut line) = Line::read(arguments) else {
            return Ok(None);
        };
        let mut stored = None;
        if let Some(base) = line.value(&["resume"]).map(PathBuf::from) {
            let old = Stored::read(&base)?;
            line.remove(|name| name == "resume");
            let mut whole = Line::restored(
                arguments.first().map_or("pinfire", String::as_str),
                &old.arguments,
            );
            whole.overlay(line);
            if let Some(secret) = whole.hidden() {
                bail!(
                    "--resume {}: credentials are not stored; give --{} again",
                    base.display(),
                    secret.trim_start_matches('-')
                );
            }
            whole.remove(|name| name == "artifact-dir" || name == "output-artifact-dir");
            whole.set(&["artifact-dir"], &base.to_string_lossy());
            line = whole;
            stored = Some(old);
        }
        let axes = axes(&line)?;
        Ok(Some(Self { line, axes, stored }))
    }

    /// The arguments of the first point: those typed where there is no list.
    pub fn first(&self) -> Vec<String> {
        let firsts = self
            .axes
            .iter()
            .filter_map(|axis| axis.values.first().cloned());
        line_of(&self.line, &self.axes, &firsts.collect()).arguments()
    }

    /// The arguments of each point.
    ///
    /// # Errors
    /// Lists of a zip that are not equally long.
    pub fn all(&self) -> Result<Vec<Vec<String>>> {
        let kind = self.line.value(&["sweep-type"]);
        let zip = kind.is_some_and(|kind| kind.eq_ignore_ascii_case("zip"));
        let points = points(&self.axes, zip)?;
        let lines = points
            .iter()
            .map(|point| line_of(&self.line, &self.axes, point).arguments());
        Ok(lines.collect())
    }

    /// Whether it makes more than one run.
    pub fn is_sweep(&self, flags: &Profile) -> bool {
        !self.axes.is_empty()
            || flags.sweep.repeats()
            || flags.sweep.search.is_some()
            || self.stored.is_some()
    }

    /// Makes all runs. 0 if all can be used, 1 if some cannot, 2 if none can.
    ///
    /// # Errors
    /// A point that makes no sense, before anything is sent; files that cannot be written.
    pub fn run(&self, flags: &Profile, parse: Parse) -> Result<ExitCode> {
        if let Some(flag) = flags.sweep.contradiction() {
            bail!("{flag} and its opposite are both there: leave one out");
        }
        ensure!(
            !flags.cancellation.verify_release,
            "--verify-release judges one run: leave out lists, --num-profile-runs and --search, or judge \
             the server with `pinfire cancel-test`"
        );
        if flags.sweep.search.is_some() {
            return search::run(self, flags, parse);
        }
        Plan::new(self, flags, parse)?.run()
    }

    /// The id of all its runs: that of then where it is resumed.
    fn sweep_id(&self) -> Result<String> {
        Ok(match &self.stored {
            Some(stored) => stored.sweep_id.clone(),
            None => format!("{:012x}", crate::settings::random_bits()? >> 16),
        })
    }
}

/// Makes runs of command lines.
struct Maker<'a> {
    parse: Parse,
    asked: &'a SweepFlags,
    seeds: Seeds,
    sweep_id: String,
}

impl Maker<'_> {
    /// Run number `trial` of point number `point`, decided: `line` with the folder and the seed set,
    /// and without what is for sweeps alone.
    fn make(
        &self,
        mut line: Line,
        (point, trial): (usize, usize),
        (label, run_label): (&str, &str),
        values: Map<String, Value>,
        folder: PathBuf,
    ) -> Result<Planned> {
        line.remove(|name| ONLY_FOR_SWEEPS.contains(&name) || name == "output-artifact-dir");
        if trial > 0 && self.asked.warm_first_only() {
            line.remove(|name| name.starts_with("warmup") || name.starts_with("num-warmup"));
        }
        if let Some(seed) = self.seeds.of(point, trial, label) {
            line.set(&["random-seed"], &seed.to_string());
        }
        line.remove(|name| name == "artifact-dir");
        // The folder may be called by another name when the sweep is resumed.
        let stored = line.stored();
        line.set(&["artifact-dir"], &folder.to_string_lossy());
        let arguments = line.arguments();
        let flags = (self.parse)(&arguments)?;
        let mut settings = Settings::new(&flags)?;
        settings.part = Some(PartFacts {
            sweep_id: self.sweep_id.clone(),
            trial: trial as u64,
            run_label: run_label.to_owned(),
            variation_label: label.to_owned(),
            variation_index: point as u64,
            variation_values: values,
        });
        Ok(Planned {
            cell: point,
            trial,
            label: run_label.to_owned(),
            folder,
            stored,
            arguments,
            flags,
            settings,
        })
    }
}

/// Reads `--slo`.
///
/// # Errors
/// One that makes no sense, or is of no metric.
fn objectives(texts: &[String]) -> Result<Vec<Objective>> {
    let read = |text: &String| {
        let objective = Objective::parse(text).map_err(|error| anyhow!("--slo {error}"))?;
        let tag = objective.figure.tag.as_str();
        ensure!(
            gpu::bare(tag).is_some() || tag == GOOD_SHARE || metric::row(tag).is_some(),
            "--slo {text}: there is no metric `{tag}`; take a tag of docs/METRICS.md or a short name such \
             as ttft, itl, latency, tps"
        );
        Ok(objective)
    };
    texts.iter().map(read).collect()
}

/// The times of a trace are its load: only what is done to its requests can be swept.
///
/// # Errors
/// A fixed schedule and a list of loads.
fn of_a_schedule(settings: &Settings, axes: &[Axis]) -> Result<()> {
    let load = axes
        .iter()
        .filter_map(|axis| axis.flag.names.first())
        .find(|name| !name.starts_with("request-cancellation"));
    match load {
        Some(name) if matches!(settings.load.profiling.mode, Mode::FixedSchedule) => bail!(
            "--{name} with a list makes a sweep, and a fixed schedule has its own load: give one \
             value, or add --no-fixed-schedule"
        ),
        _ => Ok(()),
    }
}

/// A sweep, decided.
struct Plan {
    base: PathBuf,
    axes: Vec<Axis>,
    points: Vec<Point>,
    trials: usize,
    independent: bool,
    run_cooldown: f64,
    point_cooldown: f64,
    show_table: bool,
    sweep: Sweep,
    runs: Vec<Planned>,
    stored: Stored,
    resumed: bool,
    lines: Vec<String>,
}

impl Plan {
    fn new(typed: &Typed, flags: &Profile, parse: Parse) -> Result<Self> {
        let asked = &flags.sweep;
        ensure!(
            !flags.load.dry_run,
            "--dry-run shows the schedule of one run: give each flag one value"
        );
        let zip = match &asked.sweep_type {
            None => false,
            Some(text) => named("--sweep-type", text, &[("grid", false), ("zip", true)])?,
        };
        let trials = usize::try_from(asked.num_profile_runs.unwrap_or(1))?;
        let convergence = converge::asked(asked, &flags.output.export_level, trials)?;
        let independent = match &asked.parameter_sweep_mode {
            // Whether a point needs another run is known only while it is the one that is run.
            None => convergence.is_some(),
            Some(text) => named(
                "--parameter-sweep-mode",
                text,
                &[("repeated", false), ("independent", true)],
            )?,
        };
        ensure!(
            independent || convergence.is_none(),
            "--convergence-metric stops the runs of a point when they agree, and --parameter-sweep-mode \
             repeated makes them far apart: take independent"
        );
        let level = asked.confidence_level.unwrap_or(0.95);
        ensure!(
            level > 0.0 && level < 1.0,
            "--confidence-level {level}: it must lie between 0 and 1, such as 0.95"
        );
        let objectives = objectives(&asked.slo)?;
        let points = points(&typed.axes, zip)?;
        let seeds = match &typed.stored {
            Some(stored) if flags.load.random_seed.is_none() => stored.seeds,
            _ => Seeds::new(asked, flags.load.random_seed)?,
        };
        let mut base = None;
        let mut lines = Vec::new();
        let mut runs = Vec::new();
        let sweep_id = typed.sweep_id()?;
        let maker = Maker {
            parse,
            asked,
            seeds,
            sweep_id: sweep_id.clone(),
        };
        ensure!(
            flags.output.ui.as_deref() != Some("dashboard"),
            "--ui dashboard shows one run, and this is several: use simple or none"
        );
        for (index, point) in points.iter().enumerate() {
            let one = line_of(&typed.line, &typed.axes, point);
            let flags = parse(&one.arguments())?;
            // Named after the first point, as AIPerf does it.
            let base: &PathBuf = match &base {
                Some(base) => base,
                None => {
                    let settings = Settings::new(&flags)?;
                    of_a_schedule(&settings, &typed.axes)?;
                    base.insert(settings.artifact_dir)
                }
            };
            for trial in 0..trials {
                let label = label(&typed.axes, point);
                let run_label = run_label(trial, typed.axes.is_empty());
                let dir = folder(&typed.axes, point);
                let place = place(base, &dir, &run_label, trials, independent);
                let values = typed.axes.iter().zip(point);
                let values =
                    values.map(|(axis, text)| (axis.flag.path.to_owned(), axes::value(text)));
                let run = maker.make(
                    one.clone(),
                    (index, trial),
                    (&label, &run_label),
                    values.collect(),
                    place,
                )?;
                let settings = &run.settings;
                for warning in settings.warnings.iter().chain(&settings.load.warnings) {
                    if !lines.contains(warning) {
                        lines.push(warning.clone());
                    }
                }
                runs.push(run);
            }
        }
        if !independent {
            runs.sort_by_key(|run| (run.trial, run.cell));
        }
        let base = base.context("a sweep has points")?;
        let cells = points.iter().map(|point| Cell {
            label: label(&typed.axes, point),
            dir: folder(&typed.axes, point),
            values: point.iter().map(|text| axes::value(text)).collect(),
            trials: Vec::new(),
        });
        Ok(Self {
            sweep: Sweep {
                parameters: typed.axes.iter().map(Axis::parameter).collect(),
                cells: cells.collect(),
                trials,
                mode: if independent {
                    "independent"
                } else {
                    "repeated"
                }
                .to_owned(),
                level,
                cooldown_s: asked.profile_run_cooldown_seconds.unwrap_or(0.0),
                num_gpus: flags.output.num_gpus,
                objectives,
                convergence,
                models: flags.endpoint.model.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            stored: Stored {
                sweep_id,
                arguments: typed.line.stored(),
                seeds,
            },
            resumed: typed.stored.is_some(),
            axes: typed.axes.clone(),
            base,
            points,
            trials,
            independent,
            run_cooldown: asked.profile_run_cooldown_seconds.unwrap_or(0.0),
            point_cooldown: asked.parameter_sweep_cooldown_seconds.unwrap_or(0.0),
            show_table: asked.no_sweep_table != Some(true),
            runs,
            lines,
        })
    }

    fn run(mut self) -> Result<ExitCode> {
        for line in &self.lines {
            say::warning(line);
        }
        let folder = RunFolder::create(&self.base)?;
        self.stored.write(&self.base)?;
        let interrupt = Interrupt::watch()?;
        let seed = self.stored.seeds;
        let how = if seed.drawn {
            "each run draws its seed".to_owned()
        } else {
            format!("base seed {}", seed.base)
        };
        let text = format!(
            "pinfire {}: {}{} runs ({} points, {} each) into {}; {how}\n",
            env!("CARGO_PKG_VERSION"),
            if self.sweep.convergence.is_some() {
                "up to "
            } else {
                ""
            },
            self.runs.len(),
            self.points.len(),
            self.trials,
            self.base.display(),
        );
        show::text(DEFAULT_WIDTH, |_, _| text);
        let runs = std::mem::take(&mut self.runs);
        let mut total = runs.len();
        let mut runner = Runner::new(&interrupt, total);
        let mut before: Option<(usize, usize)> = None;
        for (at, run) in runs.into_iter().enumerate() {
            let place = (run.cell, run.trial);
            if self.is_enough(place.0) {
                total -= 1;
                runner.passed(at + 1);
                continue;
            }
            let kept = self.resumed.then(|| runner::finished(&run)).flatten();
            if kept.is_none()
                && let Some((cell, trial)) = before
            {
                let of_point = if cell == place.0 {
                    0.0
                } else {
                    self.point_cooldown
                };
                let of_run = if trial == place.1 {
                    0.0
                } else {
                    self.run_cooldown
                };
                runner.rest(Duration::from_secs_f64(of_point.max(of_run)));
            }
            if interrupt.asked() {
                break;
            }
            let was_kept = kept.is_some();
            let trial = match kept {
                Some(trial) => trial,
                None => {
                    before = Some(place);
                    runner.run(run)
                }
            };
            let Some(cell) = self.sweep.cells.get_mut(place.0) else {
                continue;
            };
            let name = [cell.dir.as_str(), trial.label.as_str()];
            let shown = if self.axes.is_empty() {
                name[1].to_owned()
            } else if self.trials == 1 {
                name[0].to_owned()
            } else {
                name.join(" ")
            };
            runner.tell(at + 1, &shown, &trial, was_kept);
            cell.trials.push(trial);
            self.tell_agreement(place);
        }
        runner.end();
        folder.check([])?;
        self.write()?;
        if self.show_table {
            show::text(DEFAULT_WIDTH, |width, colour| self.tables(width, colour));
        }
        let (good, _) = self.sweep.counts();
        let text = format!(
            "{good} of {total} runs can be used; files in {}\n",
            self.base.display()
        );
        show::text(DEFAULT_WIDTH, |_, _| text);
        if interrupt.asked() && good < total {
            say::line(format_args!(
                "interrupted: `pinfire profile --resume {}` goes on from here",
                self.base.display()
            ));
        }
        Ok(match good {
            0 => ExitCode::from(2),
            good if good == total => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        })
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
    fn tell_agreement(&self, (at, trial): (usize, usize)) {
        let (Some(rule), Some(cell)) = (&self.sweep.convergence, self.sweep.cells.get(at)) else {
            return;
        };
        let good: Vec<_> = cell.good().collect();
        let said = rule.of(&good, self.sweep.level);
        if said.enough || trial + 1 == self.trials {
            let name = if cell.dir.is_empty() {
                String::new()
            } else {
                format!("{}: ", cell.dir)
            };
            let text = format!("{name}{}\n", rule.say(said, good.len()));
            crate::terminal::progress::aside(|| show::text(DEFAULT_WIDTH, |_, _| text));
        }
    }

    fn tables(&self, width: usize, colour: bool) -> String {
        let mut text = String::new();
        if self.trials > 1 {
            for cell in self
                .sweep
                .cells
                .iter()
                .filter(|cell| cell.good().next().is_some())
            {
                text += &self.sweep.confidence_console(cell, width, colour);
            }
        }
        if !self.axes.is_empty() {
            text += &self.sweep.console(width, colour);
        }
        text
    }

    /// Writes the aggregate files.
    fn write(&self) -> Result<()> {
        let sweep = !self.axes.is_empty();
        for cell in self
            .sweep
            .cells
            .iter()
            .filter(|cell| cell.good().next().is_some())
        {
            let dir = match (sweep, self.trials, self.independent) {
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
            let dir = if self.trials > 1 && !self.independent {
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

/// Flags that say how runs are made of a line, and are not of a run.
const ONLY_FOR_SWEEPS: &[&str] = &[
    "confidence-level",
    "convergence-metric",
    "convergence-min-runs",
    "convergence-mode",
    "convergence-stat",
    "convergence-threshold",
    "no-parameter-sweep-same-seed",
    "no-profile-run-disable-warmup-after-first",
    "no-set-consistent-seed",
    "no-sweep-table",
    "no-vary-seed-per-trial",
    "num-profile-runs",
    "parameter-sweep-cooldown-seconds",
    "parameter-sweep-mode",
    "parameter-sweep-same-seed",
    "profile-run-cooldown-seconds",
    "profile-run-disable-warmup-after-first",
    "resume",
    "search",
    "search-confirmations",
    "search-max-iterations",
    "search-tolerance",
    "set-consistent-seed",
    "slo",
    "sweep-type",
    "vary-seed-per-trial",
];

fn run_label(trial: usize, alone: bool) -> String {
    let kind = if alone { "run" } else { "trial" };
    format!("{kind}_{:04}", trial + 1)
}

/// The folder of a run.
fn place(base: &Path, dir: &str, label: &str, trials: usize, independent: bool) -> PathBuf {
    match (dir.is_empty(), trials, independent) {
        (true, ..) => base.join("profile_runs").join(label),
        (false, 1, _) => base.join(dir),
        (false, _, false) => base.join("profile_runs").join(label).join(dir),
        (false, _, true) => base.join(dir).join("profile_runs").join(label),
    }
}
