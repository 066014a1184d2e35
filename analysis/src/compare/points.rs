//! Two sweeps point by point, and runs held against objectives.

use std::path::Path;

use pinfire_artifacts::RunFiles;
use serde_json::{Map, Value, json};

use super::tables::{XML_HEAD, xml};
use super::{Comparison, FilesError, Objective, Run};
use crate::export::words::number;

/// The points of a sweep or a search, by name; empty where the folder holds something else.
///
/// # Errors
/// A run of it cannot be read.
pub fn points(folder: &Path) -> Result<Vec<(String, Run)>, FilesError> {
    if !folder.is_dir() || RunFiles::find(folder).is_ok() {
        return Ok(Vec::new());
    }
    let points = RunFiles::points(folder)?.into_iter();
    let read = |(name, runs): (String, Vec<RunFiles>)| {
        let run = Run::of_repeats(&folder.join(&name), &runs)?;
        Ok((
            load_of(&run)
                .filter(|_| is_iteration(&name))
                .unwrap_or(name),
            run,
        ))
    };
    points.map(read).collect()
}

/// A search numbers its points; what they are is the load.
fn is_iteration(name: &str) -> bool {
    name.starts_with("search_iter_")
}

fn load_of(run: &Run) -> Option<String> {
    let phase = run.summary.input_config.as_ref()?.profiling()?;
    match (phase.rate, phase.concurrency) {
        (Some(rate), _) => Some(format!("rate {rate}")),
        (None, Some(concurrency)) => Some(format!("concurrency {concurrency}")),
        (None, None) => None,
    }
}

/// The comparisons of several points as one document.
pub fn json(points: &[(String, Comparison)]) -> Value {
    let points = points.iter();
    let points: Map<String, Value> = points
        .map(|(name, comparison)| (name.clone(), comparison.json()))
        .collect();
    json!({"schema_version": "1.0", "points": points})
}

/// The same as Markdown.
pub fn markdown(points: &[(String, Comparison)], all: bool) -> String {
    let points = points.iter();
    let points = points.map(|(name, of)| format!("### {name}\n\n{}", of.markdown(all)));
    points.collect::<Vec<_>>().join("\n")
}

/// The same as a JUnit file.
pub fn junit(points: &[(String, Comparison)]) -> String {
    let suites = points.iter();
    let suites: String = suites
        .map(|(name, of)| of.junit_suite(&format!("pinfire compare {name}")))
        .collect();
    format!("{XML_HEAD}<testsuites>\n{suites}</testsuites>\n")
}

/// An objective held against a run.
#[derive(Clone, PartialEq, Debug)]
pub struct Held {
    /// The point of a sweep; none of a single run.
    pub point: Option<String>,
    /// What it should meet.
    pub objective: Objective,
    /// Its figure.
    pub value: f64,
    /// The figure's unit.
    pub unit: String,
}

impl Held {
    /// Holds a run against an objective; `None` where it lacks the figure.
    pub fn of(point: Option<&str>, run: &Run, objective: &Objective) -> Option<Self> {
        let figure = &objective.figure;
        Some(Self {
            point: point.map(str::to_owned),
            objective: objective.clone(),
            value: run.figure(&figure.tag, figure.stat)?,
            unit: run.unit(&figure.tag).unwrap_or_default().to_owned(),
        })
    }

    /// Whether it is met.
    pub fn is_kept(&self) -> bool {
        self.objective.holds(self.value)
    }

    fn name(&self) -> String {
        match &self.point {
            Some(point) => format!("{point}: {}", self.objective.text),
            None => self.objective.text.clone(),
        }
    }

    fn figure(&self) -> String {
        format!("{} {}", number(Some(self.value)), self.unit)
    }
}

/// Objectives and what came of them, one a line.
pub fn held_console(all: &[Held]) -> String {
    let line = |held: &Held| {
        let verdict = if held.is_kept() { "kept" } else { "BROKEN" };
        format!("slo {}: {verdict} ({})\n", held.name(), held.figure())
    };
    all.iter().map(line).collect()
}

/// The same as a list of Markdown.
pub fn held_markdown(all: &[Held]) -> String {
    let line = |held: &Held| {
        let verdict = if held.is_kept() { "kept" } else { "**broken**" };
        format!("- `{}`: {verdict} ({})\n", held.name(), held.figure())
    };
    all.iter().map(line).collect()
}

/// The same for programs.
pub fn held_json(path: &Path, all: &[Held]) -> Value {
    let one = |held: &Held| {
        let mut map = Map::new();
        if let Some(point) = &held.point {
            map.insert("point".into(), point.clone().into());
        }
        map.insert("slo".into(), held.objective.text.clone().into());
        map.insert("figure".into(), held.objective.figure.to_string().into());
        map.insert("value".into(), held.value.into());
        map.insert("unit".into(), held.unit.clone().into());
        map.insert("broken".into(), (!held.is_kept()).into());
        Value::Object(map)
    };
    json!({
        "schema_version": "1.0",
        "path": path.display().to_string(),
        "slos": all.iter().map(one).collect::<Vec<_>>(),
    })
}

/// The same as a JUnit file.
pub fn held_junit(all: &[Held]) -> String {
    let broken = all.iter().filter(|held| !held.is_kept()).count();
    let mut text = format!(
        "{XML_HEAD}<testsuite name=\"pinfire compare\" tests=\"{}\" failures=\"{broken}\">\n",
        all.len()
    );
    for held in all {
        let name = xml(&held.name());
        text += &format!("  <testcase classname=\"pinfire.compare\" name=\"{name}\"");
        text += &match held.is_kept() {
            true => "/>\n".to_owned(),
            false => format!(
                ">\n    <failure message=\"{}\"/>\n  </testcase>\n",
                xml(&held.figure())
            ),
        };
    }
    text + "</testsuite>\n"
}
