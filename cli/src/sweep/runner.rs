//! One run after the other, each on a thread of its own, so that what it pins stays with it.

use pinfire_artifacts::tag;
use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, anyhow};
use indicatif::ProgressBar;
use pinfire_analysis::{compare::Stat, export::DEFAULT_WIDTH, sweep::Trial};
use pinfire_artifacts::{RUN_MARKER, json_bytes, read_json, replace, sweep::RunMarker};
use pinfire_base::clock::{Span, Stamp};
use pinfire_config::RunConfig;
use serde::Deserialize;

use crate::{
    cluster::{Came, Series},
    cmd::profile,
    run::{ReusedEngine, alone, signals::Interrupt},
    settings::Settings,
    terminal::stdout,
};

/// A run, decided.
pub struct Planned {
    /// Number of its point.
    pub cell: usize,
    /// Number of the run of the point.
    pub trial: usize,
    /// Such as `trial_0001`.
    pub label: String,
    pub folder: PathBuf,
    /// What is asked of it, but for its folder, which may be called by another name when the sweep
    /// is resumed.
    pub asked: RunConfig,
    pub settings: Settings,
}

/// Makes runs.
pub struct Runner<'a> {
    interrupt: &'a Interrupt,
    total: usize,
    bar: Option<ProgressBar>,
    kept: ReusedEngine,
    /// Where several processes make each run.
    series: Option<Series>,
}

impl<'a> Runner<'a> {
    /// For so many of them, by this process alone or by several.
    pub fn new(interrupt: &'a Interrupt, total: usize, series: Option<Series>) -> Self {
        Self {
            interrupt,
            total,
            bar: None,
            kept: ReusedEngine::default(),
            series,
        }
    }

    /// Makes a run. One that cannot be used says why.
    pub fn run(&mut self, run: Planned) -> Trial {
        let ui = run.settings.ui;
        let total = self.total as u64;
        self.bar.get_or_insert_with(|| ui.whole("Runs", total));
        let made = forget_earlier(&run).and_then(|()| self.made(&run));
        match made {
            Ok(trial) => trial,
            Err(error) => Trial::failed(&run.label, &run.folder, format!("{error:#}")),
        }
    }

    fn made(&mut self, run: &Planned) -> Result<Trial> {
        let Came { summary, success } = match &mut self.series {
            Some(series) => series.run(&run.settings, &run.folder, &mut self.kept)?,
            None => self.made_here(run)?,
        };
        let trial = Trial::of(&run.label, &run.folder, &summary);
        let answered = trial.figure(tag::REQUEST_COUNT, Stat::Avg).unwrap_or(0.0);
        let cancelled = trial
            .figure(tag::CANCELLED_REQUEST_COUNT, Stat::Avg)
            .unwrap_or(0.0);
        if !success || answered + cancelled == 0.0 {
            let first = trial.first_error.as_ref();
            let first = first.map_or_else(String::new, |error| format!(" ({error})"));
            return Err(anyhow!("no request was answered{first}"));
        }
        let part = run.settings.part.as_ref();
        let marker = RunMarker {
            tool_version: format!("pinfire {}", env!("CARGO_PKG_VERSION")),
            sweep_id: part.map(|part| part.sweep_id.clone()),
            run_label: run.label.clone(),
            trial: run.trial as u64,
            variation_index: run.cell as u64,
            variation_label: part.map(|part| part.variation_label.clone()),
            variation_values: part.map(|part| part.variation_values.clone().into_iter().collect()),
            random_seed: run.settings.seed.value,
            config: serde_json::to_value(&run.asked)?,
        };
        replace(&run.folder.join(RUN_MARKER), &json_bytes(&marker))?;
        Ok(trial)
    }

    fn made_here(&mut self, run: &Planned) -> Result<Came> {
        let kept = &mut self.kept;
        let done = alone(|| profile::one(&run.settings, self.interrupt, Some(kept), None))?;
        if let Some(reason) = done.interrupted {
            return Err(anyhow!(reason));
        }
        Ok(Came {
            summary: done.summary.context("a run of several has a summary")?,
            success: done.success,
        })
    }

    /// Whether no other run is to follow: the user says so, or it cannot.
    pub fn is_over(&self) -> bool {
        let over = self.series.as_ref().is_some_and(Series::is_over);
        over || self.interrupt.asked()
    }

    /// Says what came of a run.
    pub fn tell(&mut self, number: usize, name: &str, trial: &Trial, kept: bool) {
        self.passed(number);
        let said = match &trial.error {
            Some(error) => format!("failed: {error}"),
            None if trial.client_was_bottleneck => {
                format!("{} (the client was the bottleneck)", figures(trial))
            }
            None => figures(trial),
        };
        let kept = if kept { " (kept)" } else { "" };
        let text = format!("[{number}/{}] {name}{kept}: {said}\n", self.total);
        crate::terminal::progress::aside(|| stdout::text(DEFAULT_WIDTH, |_, _| text));
    }

    /// A run that is not needed.
    pub fn passed(&self, number: usize) {
        if let Some(bar) = &self.bar {
            bar.set_position(number as u64);
        }
    }

    /// Waits, unless the user is in a hurry.
    pub fn rest(&self, pause: Duration) {
        let begun = Stamp::now();
        let pause = Span::from_secs_f64(pause.as_secs_f64());
        while !self.is_over() {
            let left = pause
                .nanos()
                .saturating_sub(Stamp::now().since(begun).nanos());
            if left == 0 {
                return;
            }
            std::thread::sleep(Duration::from_nanos(left.min(50_000_000)));
        }
    }

    /// Takes the bar away, and lets the shards leave. An exit code if one of them was lost.
    pub fn end(&mut self) -> Option<ExitCode> {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.series.as_mut().and_then(Series::end)
    }
}

/// Takes away what says that an earlier run in the folder was finished: it must not be taken for
/// this one's.
fn forget_earlier(run: &Planned) -> Result<()> {
    let marker = run.folder.join(RUN_MARKER);
    match std::fs::remove_file(&marker) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(cause).with_context(|| format!("cannot remove {}", marker.display()))
        }
        _ => Ok(()),
    }
}

/// What an earlier sweep has left of a run, if it was finished and was asked the same.
pub fn finished(run: &Planned) -> Option<Trial> {
    // One that cannot be read is made again.
    let marker: RunMarker = read_json(&run.folder.join(RUN_MARKER)).ok()?;
    let before = RunConfig::deserialize(&marker.config).ok()?;
    let same = before.asks_the_same(&run.asked);
    let trial = Trial::read(&run.label, &run.folder).ok()?;
    (same && trial.is_complete).then_some(trial)
}

/// The few figures of a line.
fn figures(trial: &Trial) -> String {
    let wanted = [
        ("TPS", tag::OUTPUT_TOKEN_THROUGHPUT, Stat::Avg, ""),
        (
            "TPS/User",
            tag::OUTPUT_TOKEN_THROUGHPUT_PER_USER,
            Stat::Avg,
            "",
        ),
        ("requests/s", tag::REQUEST_THROUGHPUT, Stat::Avg, ""),
        ("TTFT", tag::TIME_TO_FIRST_TOKEN, Stat::Avg, " ms"),
        (
            "TTFT p99",
            tag::TIME_TO_FIRST_TOKEN,
            Stat::Percentile(99.0),
            " ms",
        ),
        ("latency", tag::REQUEST_LATENCY, Stat::Avg, " ms"),
        ("errors", tag::ERROR_REQUEST_COUNT, Stat::Avg, ""),
        ("cancelled", tag::CANCELLED_REQUEST_COUNT, Stat::Avg, ""),
    ];
    let parts = wanted.into_iter().filter_map(|(name, tag, stat, unit)| {
        let value = trial.figure(tag, stat)?;
        let digits = if value < 100.0 && value.fract() != 0.0 {
            2
        } else {
            0
        };
        Some(format!("{name} {value:.digits$}{unit}"))
    });
    parts.collect::<Vec<_>>().join(", ")
}
