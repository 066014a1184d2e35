//! The highest load that still meets the objectives: which value to try next, and what the verdicts
//! say together.
//!
//! From the lower end the load grows fourfold until a value fails; then the geometric middle
//! between the highest that passes and the lowest that fails is tried until they are close. At last
//! the boundary is run again, because one run can be lucky.

use pinfire_artifacts::sweep::{
    Boundary, Knee, KneeEvidence, KneeRun, PointValues, SearchConfig, SearchHistory,
    SearchIteration,
};
use serde_json::Value;

use super::Trial;
use crate::compare::{Objective, Operator};

/// Growth while nothing has failed.
const GROWTH: f64 = 4.0;

/// Where to look.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Range {
    /// The lowest load.
    pub low: f64,
    /// The highest load.
    pub high: f64,
    /// Only whole values.
    pub whole: bool,
    /// How close the boundary has to be, as a share of the value that fails.
    pub tolerance: f64,
}

/// One run's verdict.
#[derive(Clone, PartialEq, Debug)]
pub struct Verdict {
    /// Every objective is met.
    pub passes: bool,
    /// For each objective its figure, if it is there.
    pub figures: Vec<Option<f64>>,
    /// Why the run does not count, if it does not.
    pub error: Option<String>,
}

impl Verdict {
    /// What a run says to the objectives; a figure that is missing is not met.
    pub fn of(trial: &Trial, objectives: &[Objective]) -> Self {
        let figure = |slo: &Objective| trial.figure(&slo.figure.tag, slo.figure.stat);
        let figures: Vec<Option<f64>> = objectives.iter().map(figure).collect();
        let mut all = objectives.iter().zip(&figures);
        let met = all.all(|(slo, figure)| figure.is_some_and(|value| slo.holds(value)));
        Self {
            passes: trial.error.is_none() && met,
            figures,
            error: trial.error.clone(),
        }
    }
}

/// A load and the verdicts on it.
#[derive(Clone, PartialEq, Debug)]
pub struct Tried {
    /// The load.
    pub value: f64,
    /// One for each run.
    pub verdicts: Vec<Verdict>,
}

impl Tried {
    /// How many runs pass.
    pub fn passes(&self) -> usize {
        self.verdicts
            .iter()
            .filter(|verdict| verdict.passes)
            .count()
    }

    /// Every run passes.
    pub fn holds(&self) -> bool {
        self.passes() == self.verdicts.len()
    }
}

/// Why nothing more is tried, under AIPerf's names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The boundary is close enough.
    Precise,
    /// The upper end passes.
    NoFailure,
    /// The lower end fails.
    NoPass,
    /// No more runs are allowed.
    RunsUsedUp,
    /// The user asked for an end.
    Interrupted,
}

impl End {
    /// As the file spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Precise => "monotonic_precision_reached",
            Self::NoFailure => "no_failure_in_range",
            Self::NoPass => "no_pass_in_range",
            Self::RunsUsedUp => "max_iterations",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What to do next.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Step {
    /// Run this load, for the first time or again.
    Try(f64),
    /// Nothing.
    Done(End),
}

/// A search going on.
#[derive(Clone, PartialEq, Debug)]
pub struct Search {
    /// Where.
    pub range: Range,
    /// How often the boundary is run in all.
    pub runs_at_boundary: usize,
    /// The most runs.
    pub most: usize,
    /// What was tried, in the order of the first runs.
    pub tried: Vec<Tried>,
}

impl Search {
    /// The next step, from the verdicts alone.
    pub fn next(&self) -> Step {
        let runs: usize = self.tried.iter().map(|tried| tried.verdicts.len()).sum();
        let wanted = self.wanted();
        match wanted {
            Step::Try(_) if runs >= self.most => Step::Done(End::RunsUsedUp),
            step => step,
        }
    }

    fn wanted(&self) -> Step {
        if self.tried.is_empty() {
            return Step::Try(self.range.low);
        }
        let (feasible, infeasible) = self.boundary();
        let again = |tried: &Tried| tried.verdicts.len() < self.runs_at_boundary;
        match (feasible, infeasible) {
            (None, None) => Step::Try(self.range.low),
            (None, Some(lowest)) if lowest.value > self.range.low => Step::Try(self.range.low),
            // Even the lowest load can have had bad luck.
            (None, Some(lowest)) if again(lowest) => Step::Try(lowest.value),
            (None, Some(_)) => Step::Done(End::NoPass),
            (Some(highest), None) if highest.value < self.range.high => {
                Step::Try(self.rounded(highest.value * GROWTH).min(self.range.high))
            }
            (Some(highest), None) if again(highest) => Step::Try(highest.value),
            (Some(_), None) => Step::Done(End::NoFailure),
            (Some(low), Some(high)) => {
                let middle = self.rounded((low.value * high.value).sqrt());
                let gap = high.value - low.value;
                let close = gap <= self.range.tolerance * high.value
                    || (self.range.whole && gap <= 1.0)
                    || middle <= low.value
                    || middle >= high.value;
                if !close {
                    Step::Try(middle)
                } else if again(low) {
                    Step::Try(low.value)
                } else if again(high) {
                    Step::Try(high.value)
                } else {
                    Step::Done(End::Precise)
                }
            }
        }
    }

    /// Takes down a verdict.
    pub fn add(&mut self, value: f64, verdict: Verdict) {
        match self.tried.iter_mut().find(|tried| tried.value == value) {
            Some(tried) => tried.verdicts.push(verdict),
            None => self.tried.push(Tried {
                value,
                verdicts: vec![verdict],
            }),
        }
    }

    /// The highest load whose every run passes with nothing failing below it, and the lowest one of
    /// which a run fails.
    pub fn boundary(&self) -> (Option<&Tried>, Option<&Tried>) {
        let failing = self.tried.iter().filter(|tried| !tried.holds());
        let lowest = failing.min_by(|x, y| x.value.total_cmp(&y.value));
        let passing = self.tried.iter().filter(|tried| {
            tried.holds() && lowest.is_none_or(|lowest| tried.value < lowest.value)
        });
        (passing.max_by(|x, y| x.value.total_cmp(&y.value)), lowest)
    }

    /// Whether a load passed above one that failed, or runs of one load disagree.
    pub fn is_noisy(&self) -> bool {
        let (_, lowest) = self.boundary();
        let above = |lowest: &Tried| {
            let passed = |tried: &Tried| tried.passes() > 0 && tried.value >= lowest.value;
            self.tried.iter().any(passed)
        };
        lowest.is_some_and(above)
    }

    fn rounded(&self, value: f64) -> f64 {
        if self.range.whole {
            value.round()
        } else {
            // Three digits are enough for a rate, and readable.
            let scale = 10_f64.powf(2.0 - value.abs().log10().floor());
            (value * scale).round() / scale
        }
    }

    /// `search_history.json`.
    pub fn history(
        &self,
        path: &str,
        objectives: &[Objective],
        end: End,
        order: &[f64],
        base_seed: u64,
    ) -> SearchHistory {
        let (feasible, infeasible) = self.boundary();
        let point = |value: f64| PointValues::from_iter([(path.to_owned(), number(value))]);
        let mut seen: Vec<f64> = Vec::new();
        let iterations = order.iter().enumerate().filter_map(|(at, &value)| {
            let run = seen.iter().filter(|&&other| other == value).count();
            seen.push(value);
            let tried = self.tried.iter().find(|tried| tried.value == value)?;
            let verdict = tried.verdicts.get(run)?;
            let above = infeasible.is_some_and(|low| verdict.passes && value >= low.value);
            Some(SearchIteration {
                iteration_idx: at,
                variation_values: point(value),
                run: run + 1,
                objective_values: values(objectives, verdict),
                feasible: verdict.passes,
                non_monotonic_warning: above,
                error: verdict.error.clone(),
            })
        });
        let iterations = iterations.collect();
        let evidence = |tried: &Tried| KneeEvidence {
            value: number(tried.value),
            runs_that_pass: tried.passes(),
            runs: tried
                .verdicts
                .iter()
                .map(|verdict| KneeRun {
                    feasible: verdict.passes,
                    objective_values: values(objectives, verdict),
                })
                .collect(),
        };
        let value = |tried: &Tried| number(tried.value);
        SearchHistory {
            schema_version: "1.0".to_owned(),
            config: SearchConfig {
                swept_dim_path: path.to_owned(),
                low: number(self.range.low),
                high: number(self.range.high),
                tolerance: self.range.tolerance,
                max_iterations: self.most,
                runs_at_boundary: self.runs_at_boundary,
                slos: objectives.iter().map(|slo| slo.text.clone()).collect(),
                base_seed: Some(base_seed),
            },
            iterations,
            best_trials: feasible.map(|tried| vec![point(tried.value)]),
            boundary_summary: Boundary {
                swept_dim_path: path.to_owned(),
                feasible_max: feasible.map(value),
                infeasible_min: infeasible.map(value),
            },
            knee: Knee {
                value: feasible.map(value),
                noisy: self.is_noisy(),
                feasible: feasible.map(evidence),
                infeasible: infeasible.map(evidence),
            },
            recipe: None,
            convergence_reason: end.name().to_owned(),
        }
    }

    /// What came of it, for a person.
    pub fn console(&self, name: &str, objectives: &[Objective], end: End) -> String {
        let (feasible, infeasible) = self.boundary();
        let told = |tried: &Tried| {
            let runs = tried.verdicts.len();
            let worst = objectives.iter().enumerate().map(|(at, slo)| {
                let figures = tried.verdicts.iter().filter_map(|v| *v.figures.get(at)?);
                let figures: Vec<String> = figures.map(|value| format!("{value:.2}")).collect();
                format!("{} is {}", slo.figure, figures.join(" and "))
            });
            let worst = worst.collect::<Vec<_>>().join(", ");
            format!("{} of {runs} runs pass ({worst})", tried.passes())
        };
        let texts: Vec<&str> = objectives.iter().map(|slo| slo.text.as_str()).collect();
        let texts = texts.join(" and ");
        let mut text = match feasible {
            Some(tried) => format!(
                "highest {name} that meets {texts}: {}\n  {name} {}: {}\n",
                tried.value,
                tried.value,
                told(tried)
            ),
            None if end == End::Interrupted && infeasible.is_none() => String::new(),
            None => format!("no {name} from {} on meets {texts}\n", self.range.low),
        };
        if let Some(tried) = infeasible {
            text += &format!("  {name} {}: {}\n", tried.value, told(tried));
        }
        text += match end {
            End::Precise => "",
            End::NoFailure => "  the upper end of the range passes: the limit lies above it\n",
            End::NoPass => "  the lower end of the range fails: the limit lies below it\n",
            End::RunsUsedUp => {
                "  stopped at --search-max-iterations: the boundary is not as close as asked\n"
            }
            End::Interrupted => "  interrupted: this is what was known by then\n",
        };
        if self.is_noisy() {
            text += "  noisy: verdicts near the boundary disagree, so it is not sharper than that; \
                     longer runs or more --search-confirmations make it so\n";
        }
        text
    }
}

/// Figures by objective.
fn values(objectives: &[Objective], verdict: &Verdict) -> PointValues {
    let pairs = objectives.iter().zip(&verdict.figures);
    pairs
        .map(|(slo, figure)| (slo.figure.to_string(), (*figure).into()))
        .collect()
}

/// Whole numbers as such.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9e15 {
        (value as i64).into()
    } else {
        value.into()
    }
}

/// What an objective of `--goodput` rules alone is: 95 % of the requests are good.
pub fn of_goodput() -> Objective {
    Objective {
        text: "good_share>=95".to_owned(),
        figure: crate::compare::Figure {
            tag: super::GOOD_SHARE.to_owned(),
            stat: crate::compare::Stat::Avg,
        },
        operator: Operator::AtLeast,
        limit: 95.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(passes: bool) -> Verdict {
        Verdict {
            passes,
            figures: vec![Some(1.0)],
            error: None,
        }
    }

    fn search(low: f64, high: f64, whole: bool) -> Search {
        Search {
            range: Range {
                low,
                high,
                whole,
                tolerance: 0.05,
            },
            runs_at_boundary: 2,
            most: 30,
            tried: Vec::new(),
        }
    }

    /// Runs it against a server with a knee; the order of the loads.
    fn against(search: &mut Search, mut passes: impl FnMut(f64) -> bool) -> (Vec<f64>, End) {
        let mut order = Vec::new();
        loop {
            match search.next() {
                Step::Try(value) => {
                    order.push(value);
                    search.add(value, verdict(passes(value)));
                }
                Step::Done(end) => return (order, end),
            }
        }
    }

    #[test]
    fn every_knee_is_found_within_five_percent_in_under_twelve_points() {
        for knee in 1..=511 {
            let mut search = search(1.0, 512.0, true);
            let (order, end) = against(&mut search, |value| value <= f64::from(knee));
            assert_eq!(end, End::Precise, "{knee}");
            assert!(search.tried.len() < 12, "{knee}: {order:?}");
            let (feasible, infeasible) = search.boundary();
            let (low, high) = (feasible.unwrap().value, infeasible.unwrap().value);
            assert!(
                low <= f64::from(knee) && f64::from(knee) < high,
                "{knee}: {low} {high}"
            );
            assert!(
                high - low <= 0.05 * high || high - low == 1.0,
                "{knee}: {low} {high}"
            );
            assert_eq!(feasible.unwrap().verdicts.len(), 2);
            assert!(!search.is_noisy());
        }
    }

    #[test]
    fn rates_have_fractions() {
        let mut search = search(0.5, 300.0, false);
        let (order, end) = against(&mut search, |value| value <= 37.3);
        assert_eq!(end, End::Precise);
        let found = search.boundary().0.unwrap().value;
        assert!(found <= 37.3 && found > 35.0, "{order:?}");
        assert!(search.tried.len() < 12);
    }

    #[test]
    fn ranges_without_a_knee_say_so() {
        let mut all = search(1.0, 64.0, true);
        assert_eq!(
            against(&mut all, |_| true),
            (vec![1.0, 4.0, 16.0, 64.0, 64.0], End::NoFailure)
        );
        let mut none = search(3.0, 64.0, true);
        assert_eq!(against(&mut none, |_| false), (vec![3.0, 3.0], End::NoPass));
        let mut few = Search {
            most: 4,
            ..search(1.0, 512.0, true)
        };
        assert_eq!(against(&mut few, |value| value <= 100.0).1, End::RunsUsedUp);
        assert_eq!(few.boundary().0.unwrap().value, 64.0);
    }

    /// The boundary passes by luck and fails when it is run again: the one below is taken.
    #[test]
    fn luck_does_not_make_a_knee() {
        let mut lucky = true;
        let mut search = search(1.0, 512.0, true);
        let (_, end) = against(&mut search, |value| {
            let luck = value > 100.0 && value < 140.0 && std::mem::take(&mut lucky);
            value <= 100.0 || luck
        });
        assert_eq!(end, End::Precise);
        let (feasible, infeasible) = search.boundary();
        assert!(feasible.unwrap().value <= 100.0);
        assert!(infeasible.unwrap().value <= 140.0);
        assert!(search.is_noisy(), "{search:?}");
    }

    #[test]
    fn the_file_and_the_text_tell_what_it_rests_on() {
        let mut search = search(1.0, 512.0, true);
        let slo = [Objective::parse("ttft.p99<=500").unwrap()];
        let (order, end) = against(&mut search, |value| value <= 100.0);
        let history = search.history("phases.profiling.concurrency", &slo, end, &order, 1);
        let json = serde_json::to_value(history).unwrap();
        let boundary = &json["boundary_summary"];
        assert!(boundary["feasible_max"].as_u64().unwrap() <= 100);
        assert!(boundary["infeasible_min"].as_u64().unwrap() > 100);
        assert_eq!(json["convergence_reason"], "monotonic_precision_reached");
        assert_eq!(json["iterations"].as_array().unwrap().len(), order.len());
        assert_eq!(
            json["iterations"][0]["objective_values"]["time_to_first_token.p99"],
            1.0
        );
        assert_eq!(json["knee"]["feasible"]["runs_that_pass"], 2);
        assert_eq!(json["knee"]["infeasible"]["runs_that_pass"], 0);
        let text = search.console("concurrency", &slo, end);
        assert!(
            text.contains("highest concurrency that meets ttft.p99<=500: "),
            "{text}"
        );
        assert!(
            text.contains("2 of 2 runs pass (time_to_first_token.p99 is 1.00 and 1.00)"),
            "{text}"
        );
    }
}
