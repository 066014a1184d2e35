//! Flags that take lists, and the points that lists make.

use anyhow::{Result, bail, ensure};
use pinfire_analysis::sweep::Parameter;
use serde_json::Value;

use super::line::Line;

/// A flag that takes a list.
#[derive(Debug)]
pub struct ListFlag {
    /// Its names, the usual one first.
    pub names: &'static [&'static str],
    /// Where its value belongs in AIPerf's configuration; the order of a grid follows it.
    pub path: &'static str,
    /// In folder names and tables.
    pub name: &'static str,
}

const fn list(names: &'static [&'static str], path: &'static str, name: &'static str) -> ListFlag {
    ListFlag { names, path, name }
}

/// All of them, by path.
#[rustfmt::skip]
pub static LIST_FLAGS: &[ListFlag] = &[
    list(&["isl", "synthetic-input-tokens-mean", "prompt-input-tokens-mean"], "datasets.main.prompts.isl.mean", "isl"),
    list(&["isl-stddev", "synthetic-input-tokens-stddev", "prompt-input-tokens-stddev"], "datasets.main.prompts.isl.stddev", "isl_stddev"),
    list(&["osl", "output-tokens-mean", "prompt-output-tokens-mean"], "datasets.main.prompts.osl.mean", "osl"),
    list(&["osl-stddev", "output-tokens-stddev", "prompt-output-tokens-stddev"], "datasets.main.prompts.osl.stddev", "osl_stddev"),
    list(&["session-turns-mean", "conversation-turn-mean"], "datasets.main.turns.mean", "turns"),
    list(&["request-cancellation-delay"], "phases.profiling.cancellation.delay", "delay"),
    list(&["request-cancellation-rate"], "phases.profiling.cancellation.rate", "cancel"),
    list(&["concurrency"], "phases.profiling.concurrency", "concurrency"),
    list(&["benchmark-duration"], "phases.profiling.duration", "duration"),
    list(&["prefill-concurrency"], "phases.profiling.prefill_concurrency", "prefill_concurrency"),
    list(&["request-rate"], "phases.profiling.rate", "rate"),
    list(&["request-count", "num-requests"], "phases.profiling.requests", "requests"),
    list(&["num-conversations", "conversation-num", "num-sessions"], "phases.profiling.sessions", "sessions"),
    list(&["num-users"], "phases.profiling.users", "users"),
];

/// A flag with its list.
#[derive(Clone, Debug)]
pub struct Axis {
    pub flag: &'static ListFlag,
    /// As typed.
    pub values: Vec<String>,
}

impl Axis {
    /// For tables and files.
    pub fn parameter(&self) -> Parameter {
        Parameter {
            path: self.flag.path.to_owned(),
            name: self.flag.name.to_owned(),
            values: self.values.iter().map(|text| value(text)).collect(),
        }
    }
}

/// A number as such, anything else as text.
pub fn value(text: &str) -> Value {
    if let Ok(whole) = text.parse::<u64>() {
        return whole.into();
    }
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    number.map_or_else(|| text.into(), Into::into)
}

/// The flag of a name.
pub fn flag(name: &str) -> Option<&'static ListFlag> {
    LIST_FLAGS.iter().find(|flag| flag.names.contains(&name))
}

/// The lists of a command line, in the order of a grid.
///
/// # Errors
/// An element of a list is empty, or there twice.
pub fn axes(line: &Line) -> Result<Vec<Axis>> {
    let mut axes = Vec::new();
    for flag in LIST_FLAGS {
        // A distribution of delays has commas of its own.
        let typed = line
            .value(flag.names)
            .filter(|text| text.contains(',') && !text.contains(':'));
        let Some(typed) = typed else { continue };
        let [name, ..] = flag.names else { continue };
        let values: Vec<String> = typed
            .split(',')
            .map(|text| text.trim().to_owned())
            .collect();
        ensure!(
            values.iter().all(|text| !text.is_empty()),
            "--{name} {typed}: an element of the list is empty"
        );
        for (at, text) in values.iter().enumerate() {
            let twice = values
                .iter()
                .take(at)
                .any(|before| value(before) == value(text));
            ensure!(!twice, "--{name} {typed}: {text} is in the list twice");
        }
        axes.push(Axis { flag, values });
    }
    Ok(axes)
}

/// A point: a value of each axis, as typed.
pub type Point = Vec<String>;

/// The points of a grid, the last axis fastest, or with `zip` first with first.
///
/// # Errors
/// Lists of a zip that are not equally long.
pub fn points(axes: &[Axis], zip: bool) -> Result<Vec<Point>> {
    if axes.is_empty() {
        return Ok(vec![Vec::new()]);
    }
    if zip {
        let length = axes.first().map_or(0, |axis| axis.values.len());
        if axes.iter().any(|axis| axis.values.len() != length) {
            let lengths: Vec<String> = axes
                .iter()
                .map(|axis| {
                    let name = axis.flag.names.first().copied().unwrap_or_default();
                    format!("--{name} has {}", axis.values.len())
                })
                .collect();
            bail!(
                "--sweep-type zip takes lists of equal length: {}",
                lengths.join(", ")
            );
        }
        let point = |at: usize| {
            axes.iter()
                .filter_map(move |axis| axis.values.get(at).cloned())
        };
        return Ok((0..length).map(|at| point(at).collect()).collect());
    }
    let mut points: Vec<Point> = vec![Vec::new()];
    for axis in axes {
        points = points
            .into_iter()
            .flat_map(|point| {
                axis.values.iter().map(move |value| {
                    let mut longer = point.clone();
                    longer.push(value.clone());
                    longer
                })
            })
            .collect();
    }
    Ok(points)
}

/// The command line of a point. No cancelling at all is a point of a list of rates: `0` leaves the
/// flags of cancelling out.
pub fn line_of(line: &Line, axes: &[Axis], point: &Point) -> Line {
    let mut line = line.clone();
    let mut none = false;
    for (axis, text) in axes.iter().zip(point) {
        line.set(axis.flag.names, text);
        none |= axis.flag.name == "cancel" && text.parse() == Ok(0.0);
    }
    if none {
        line.remove(|name| name.starts_with("request-cancellation"));
    }
    line
}

/// `path=value, path=value`.
pub fn label(axes: &[Axis], point: &Point) -> String {
    let pairs = axes.iter().zip(point);
    let parts: Vec<String> = pairs
        .map(|(axis, text)| format!("{}={text}", axis.flag.path))
        .collect();
    parts.join(", ")
}

/// `concurrency_10__rate_5`.
pub fn folder(axes: &[Axis], point: &Point) -> String {
    let pairs = axes.iter().zip(point);
    let parts: Vec<String> = pairs
        .map(|(axis, text)| format!("{}_{text}", axis.flag.name))
        .collect();
    let bad = |c: char| "/\\<>:\"|?*".contains(c);
    parts.join("__").replace(bad, "_").replace("..", "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        let words: Vec<String> = format!("pinfire profile {text}")
            .split(' ')
            .map(str::to_owned)
            .collect();
        Line::read(&words).unwrap()
    }

    #[test]
    fn the_table_is_sorted_and_its_flags_are_there() {
        use clap::CommandFactory;
        assert!(LIST_FLAGS.is_sorted_by_key(|flag| flag.path));
        let mut root = crate::args::Cli::command();
        root.build();
        let profile = root.find_subcommand("profile").unwrap();
        let known: Vec<&str> = profile
            .get_arguments()
            .flat_map(|flag| flag.get_long_and_visible_aliases().unwrap_or_default())
            .collect();
        for flag in LIST_FLAGS {
            for name in flag.names {
                assert!(known.contains(name), "--{name}");
            }
        }
    }

    #[test]
    fn a_grid_goes_by_path_and_the_last_one_is_fastest() {
        let line = line("--osl 1 --request-rate 5,10 --concurrency=2,3 --isl 7");
        let axes = axes(&line).unwrap();
        let points = points(&axes, false).unwrap();
        let labels: Vec<String> = points.iter().map(|point| folder(&axes, point)).collect();
        assert_eq!(
            labels,
            [
                "concurrency_2__rate_5",
                "concurrency_2__rate_10",
                "concurrency_3__rate_5",
                "concurrency_3__rate_10"
            ]
        );
        assert_eq!(
            label(&axes, &points[1]),
            "phases.profiling.concurrency=2, phases.profiling.rate=10"
        );
        let one = line_of(&line, &axes, &points[1]).arguments().join(" ");
        assert_eq!(
            one,
            "pinfire profile --osl 1 --request-rate 10 --concurrency 2 --isl 7"
        );
    }

    #[test]
    fn a_zip_takes_equal_lists() {
        let line = line("--isl 1,2 --osl 3,4 --concurrency 5,6,7");
        let all = axes(&line).unwrap();
        let error = points(&all, true).unwrap_err().to_string();
        assert_eq!(
            error,
            "--sweep-type zip takes lists of equal length: --isl has 2, --osl has 2, --concurrency has 3"
        );
        let two = points(&all[..2], true).unwrap();
        assert_eq!(two, [["1", "3"], ["2", "4"]]);
    }

    #[test]
    fn lists_with_holes_and_repeats_are_refused() {
        for (typed, says) in [
            (
                "--concurrency 10,,50",
                "--concurrency 10,,50: an element of the list is empty",
            ),
            ("--concurrency 10,", "is empty"),
            ("--isl 5,05", "05 is in the list twice"),
        ] {
            let error = axes(&line(typed)).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn no_cancelling_is_a_rate_of_zero_and_a_distribution_is_no_list() {
        let line =
            line("--request-cancellation-rate 0,10 --request-cancellation-delay 0.5 --osl 4");
        let axes = axes(&line).unwrap();
        let points = points(&axes, false).unwrap();
        let none = line_of(&line, &axes, &points[0]).arguments().join(" ");
        assert_eq!(none, "pinfire profile --osl 4");
        assert_eq!(folder(&axes, &points[1]), "cancel_10");
        let uniform = super::axes(&self::line("--request-cancellation-delay uniform:1,2")).unwrap();
        assert!(uniform.is_empty());
    }
}
