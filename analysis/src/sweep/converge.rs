//! Adaptive stopping of repeated runs: whether the runs that a point has are enough.

use pinfire_artifacts::sweep::Agreement;

use super::{Spread, Trial};
use crate::compare::{Figure, Run, Stat};

/// The fewest runs that say something of their spread.
pub const LEAST: usize = 2;

/// What is asked of the runs of a point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The interval of the mean, from end to end, is narrower than this share of the mean.
    CiWidth,
    /// The standard deviation is smaller than this share of the mean.
    Cv,
    /// The requests of the newest run could be of the distribution of all earlier runs' together:
    /// the p of Kolmogorov and Smirnov's test is above this.
    Distribution,
}

impl Mode {
    /// By their names on the command line.
    pub const NAMES: [(&str, Self); 3] = [
        ("ci_width", Self::CiWidth),
        ("cv", Self::Cv),
        ("distribution", Self::Distribution),
    ];

    /// As typed.
    pub fn name(self) -> &'static str {
        let known = Self::NAMES.iter().find(|(_, mode)| *mode == self);
        known.map_or("", |(name, _)| name)
    }

    /// The threshold where none is given, AIPerf's.
    pub const fn threshold(self) -> f64 {
        match self {
            Self::CiWidth => 0.10,
            Self::Cv | Self::Distribution => 0.05,
        }
    }
}

/// When a point needs no further run.
#[derive(Clone, PartialEq, Debug)]
pub struct Convergence {
    /// What is looked at; of `distribution` the metric alone.
    pub figure: Figure,
    /// How.
    pub mode: Mode,
    /// Between 0 and 1.
    pub threshold: f64,
    /// Fewer runs are never enough.
    pub least: usize,
}

/// What the runs of a point say.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Converged {
    /// Width, deviation or p; `None` with too few runs, or where the metric is missing.
    pub value: Option<f64>,
    /// The runs are enough.
    pub enough: bool,
}

impl Convergence {
    /// Reads the metric's name (or a short one) and the figure's.
    ///
    /// # Errors
    /// A figure that there is not.
    pub fn figure(metric: &str, stat: &str) -> Result<Figure, String> {
        let mut figure = Figure::parse(metric)?;
        figure.stat = Stat::parse(stat).ok_or_else(|| {
            format!("`{stat}` is no figure (avg, p99, p99.9, min, max, std, sum, count)")
        })?;
        Ok(figure)
    }

    /// What the runs that count say, in the order in which they were made; `level` is that of
    /// intervals. Reads the runs' lines with [`Mode::Distribution`].
    pub fn of(&self, trials: &[&Trial], level: f64) -> Converged {
        let Figure { tag, stat } = &self.figure;
        let value = if self.mode == Mode::Distribution {
            newest_against_earlier(trials, tag)
        } else {
            let values: Vec<f64> = trials
                .iter()
                .filter_map(|trial| trial.figure(tag, *stat))
                .collect();
            let whole = values.len() == trials.len() && values.len() >= LEAST;
            let spread = Spread::of(&values, level).filter(|_| whole);
            spread.and_then(|spread| self.share(&spread))
        };
        let enough = trials.len() >= self.least.max(LEAST)
            && value.is_some_and(|value| match self.mode {
                Mode::Distribution => value > self.threshold,
                _ => value < self.threshold,
            });
        Converged { value, enough }
    }

    /// The spread as a share of the mean. Runs that agree to the last digit have none, whatever the
    /// mean.
    fn share(&self, spread: &Spread) -> Option<f64> {
        let wide = match self.mode {
            Mode::CiWidth => spread.ci_high - spread.ci_low,
            _ => spread.std,
        };
        let share = if wide == 0.0 {
            0.0
        } else {
            wide / spread.mean.abs()
        };
        share.is_finite().then_some(share)
    }

    /// What was asked and what came of it, for the aggregate file.
    pub fn agreement(&self, trials: &[&Trial], level: f64) -> Agreement {
        let said = self.of(trials, level);
        let of_figure = self.mode != Mode::Distribution;
        Agreement {
            metric: self.figure.tag.clone(),
            stat: of_figure.then(|| self.figure.stat.name()),
            mode: self.mode.name().to_owned(),
            threshold: self.threshold,
            min_runs: self.least,
            value: said.value,
            converged: said.enough,
        }
    }

    /// The same in words.
    pub fn say(&self, said: Converged, runs: usize) -> String {
        let figure = match self.mode {
            Mode::Distribution => self.figure.tag.clone(),
            _ => self.figure.to_string(),
        };
        let Some(value) = said.value else {
            return format!("{runs} runs cannot be judged: not all of them have {figure}");
        };
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let measured = match self.mode {
            Mode::CiWidth => format!("interval of {figure} {} wide", percent(value)),
            Mode::Cv => format!("deviation of {figure} {}", percent(value)),
            Mode::Distribution => format!("p of {figure} {value:.3}"),
        };
        let limit = match self.mode {
            Mode::Distribution => format!("above {}", self.threshold),
            _ => format!("below {}", percent(self.threshold)),
        };
        let verdict = if said.enough { "enough" } else { "not enough" };
        format!("{runs} runs are {verdict}: {measured}, asked for {limit}")
    }
}

/// p of the newest run's requests against those of all earlier runs.
fn newest_against_earlier(trials: &[&Trial], tag: &str) -> Option<f64> {
    let (newest, earlier) = trials.split_last()?;
    let values = |trial: &Trial| Some(Run::read(&trial.folder).ok()?.values.remove(tag)?.values);
    let newest = values(newest)?;
    let mut pooled = Vec::new();
    for trial in earlier {
        pooled.extend(values(trial)?);
    }
    pooled.sort_unstable_by(f64::total_cmp);
    (!newest.is_empty() && !pooled.is_empty()).then(|| kolmogorov_smirnov(&newest, &pooled))
}

/// p of the two-sample test of Kolmogorov and Smirnov of two ascending samples: the asymptotic
/// distribution with Stephens' correction for small ones (Numerical Recipes, 14.3.3). Values that
/// are the same in both samples make it larger than it is.
fn kolmogorov_smirnov(x: &[f64], y: &[f64]) -> f64 {
    let (n, m) = (x.len() as f64, y.len() as f64);
    let (mut i, mut j) = (0, 0);
    let mut distance: f64 = 0.0;
    while let (Some(&a), Some(&b)) = (x.get(i), y.get(j)) {
        let least = a.min(b);
        i += x.iter().skip(i).take_while(|&&v| v <= least).count();
        j += y.iter().skip(j).take_while(|&&v| v <= least).count();
        distance = distance.max((i as f64 / n - j as f64 / m).abs());
    }
    let root = (n * m / (n + m)).sqrt();
    beyond((root + 0.12 + 0.11 / root) * distance)
}

/// The probability that Kolmogorov's variable exceeds `lambda`.
fn beyond(lambda: f64) -> f64 {
    // The alternating series does not come to rest near 0, where the probability is 1 to ten
    // digits.
    if lambda < 0.2 {
        return 1.0;
    }
    let term = |k: i32| {
        let sign = if k % 2 == 0 { -2.0 } else { 2.0 };
        sign * (-2.0 * f64::from(k * k) * lambda * lambda).exp()
    };
    (1..=100).map(term).sum::<f64>().clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use pinfire_artifacts::{Block, Summary};
    use serde_json::json;

    use super::*;

    fn rule(mode: Mode) -> Convergence {
        Convergence {
            figure: Figure::parse("ttft").unwrap(),
            mode,
            threshold: mode.threshold(),
            least: LEAST,
        }
    }

    fn trial(folder: &Path, ttft: Option<f64>) -> Trial {
        let block = ttft.map(|ttft| {
            let mut block = Block::of("ms");
            block.put("avg", ttft);
            ("time_to_first_token".to_owned(), block)
        });
        Trial::of("", folder, &Summary::of_metrics(block))
    }

    fn said(rule: &Convergence, values: &[f64]) -> Converged {
        let trials: Vec<Trial> = values
            .iter()
            .map(|&value| trial(&PathBuf::new(), Some(value)))
            .collect();
        rule.of(&trials.iter().collect::<Vec<_>>(), 0.95)
    }

    #[test]
    fn intervals_and_deviations_stop_where_they_are_narrow_enough() {
        // t of two degrees of freedom is 4.303, s is 2, the mean 100.
        let three = [98.0, 100.0, 102.0];
        let width = said(&rule(Mode::CiWidth), &three);
        let expected = 2.0 * 4.302_65 * 2.0 / 3.0_f64.sqrt() / 100.0;
        assert!((width.value.unwrap() - expected).abs() < 1e-6);
        assert!(width.enough);
        let wider = said(&rule(Mode::CiWidth), &[97.0, 100.0, 103.0]);
        assert!(!wider.enough, "{wider:?}");
        let cv = said(&rule(Mode::Cv), &three);
        assert!((cv.value.unwrap() - 0.02).abs() < 1e-9 && cv.enough);
        assert!(!said(&rule(Mode::Cv), &[90.0, 100.0]).enough);
        // The sign of the mean changes nothing.
        let below = said(&rule(Mode::Cv), &[-98.0, -100.0, -102.0]);
        assert!((below.value.unwrap() - 0.02).abs() < 1e-9);
    }

    #[test]
    fn one_run_and_missing_figures_are_never_enough() {
        let one = said(&rule(Mode::Cv), &[5.0]);
        assert_eq!((one.value, one.enough), (None, false));
        // Without any spread two are, unless more were asked for.
        assert!(said(&rule(Mode::CiWidth), &[0.0, 0.0]).enough);
        let patient = Convergence {
            least: 3,
            ..rule(Mode::CiWidth)
        };
        assert!(!said(&patient, &[7.0, 7.0]).enough);
        assert!(said(&patient, &[7.0, 7.0, 7.0]).enough);
        let (there, missing) = (trial(Path::new(""), Some(7.0)), trial(Path::new(""), None));
        let lacking = rule(Mode::Cv).of(&[&there, &there, &missing], 0.95);
        assert_eq!((lacking.value, lacking.enough), (None, false));
        let text = rule(Mode::Cv).say(lacking, 3);
        assert!(
            text.contains("not all of them have time_to_first_token.avg"),
            "{text}"
        );
    }

    #[test]
    fn samples_of_one_distribution_are_told_from_others() {
        // scipy.stats.ks_2samp(range(100), [v + 10 for v in range(100)], method="asymp"): D = 0.10.
        let x: Vec<f64> = (0..100).map(f64::from).collect();
        let near: Vec<f64> = x.iter().map(|v| v + 10.0).collect();
        let far: Vec<f64> = x.iter().map(|v| v + 30.0).collect();
        let p = kolmogorov_smirnov(&x, &near);
        assert!((0.65..0.72).contains(&p), "{p}");
        assert!(kolmogorov_smirnov(&x, &far) < 1e-3);
        assert_eq!(kolmogorov_smirnov(&x, &x), 1.0);
        assert!(kolmogorov_smirnov(&[1.0; 40], &[2.0; 40]) < 1e-9);
        // Kolmogorov's table: 1.358 is passed by 5 %, 1.628 by 1 %.
        assert!((beyond(1.358) - 0.05).abs() < 1e-3 && (beyond(1.628) - 0.01).abs() < 1e-3);
    }

    #[test]
    fn the_newest_run_is_held_against_all_earlier_ones() {
        let folder = tempfile::tempdir().unwrap();
        let run = |name: &str, from: u32| {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).unwrap();
            let line = |v: u32| {
                let metrics = json!({"time_to_first_token": {"value": v, "unit": "ms"}});
                let metadata = json!({"benchmark_phase": "profiling", "request_start_ns": 1, "request_end_ns": 2});
                json!({"metadata": metadata, "metrics": metrics, "error": null}).to_string() + "\n"
            };
            let text: String = (from..from + 50).map(line).collect();
            std::fs::write(path.join("profile_export.jsonl"), text).unwrap();
            trial(&path, None)
        };
        let (first, same, other) = (run("a", 100), run("b", 101), run("c", 900));
        let rule = rule(Mode::Distribution);
        assert!(rule.of(&[&first, &same], 0.95).enough);
        let moved = rule.of(&[&first, &same, &other], 0.95);
        assert!(!moved.enough && moved.value.unwrap() < 1e-6, "{moved:?}");
        assert_eq!(rule.of(&[&first], 0.95).value, None);
    }
}
