//! The points that lists of values make.

use anyhow::{Result, bail};
use pinfire_analysis::sweep::Parameter;
use pinfire_config::{RunConfig, axes::Axis};
use serde_json::{Map, Value};

/// Runs of a sweep at most. All are decided before the first; a hundred of them fill a day.
pub const MOST_RUNS: usize = 10_000;

/// An axis with its values.
#[derive(Clone, Debug)]
pub struct List {
    pub axis: &'static Axis,
    pub values: Vec<String>,
}

impl List {
    /// For tables and files.
    pub fn parameter(&self) -> Parameter {
        Parameter {
            path: self.axis.path.to_owned(),
            name: self.axis.short.to_owned(),
            values: self.values.iter().map(|text| Axis::value(text)).collect(),
        }
    }
}

/// The lists of a configuration, in the order of a grid.
pub fn lists(config: &RunConfig) -> Vec<List> {
    let swept = config.swept().into_iter();
    swept
        .map(|axis| List {
            axis,
            values: axis.texts(config),
        })
        .collect()
}

/// A point: a value of each axis.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Point(Vec<String>);

/// The points of a grid, the last axis fastest, or with `zip` first with first.
///
/// # Errors
/// Lists of a zip that are not equally long.
pub fn points(lists: &[List], zip: bool) -> Result<Vec<Point>> {
    if zip && !lists.is_empty() {
        return zipped(lists);
    }
    let mut sizes = lists.iter().map(|list| list.values.len());
    let product = sizes.try_fold(1, |product: usize, size| product.checked_mul(size));
    if product.is_none_or(|product| product > MOST_RUNS) {
        let factors: Vec<String> = lists
            .iter()
            .map(|list| format!("{} of {}", list.values.len(), list.axis.flag()))
            .collect();
        bail!(
            "the grid has {} points ({}), and a sweep has at most {MOST_RUNS}; shorten the lists, or take \
             --sweep-type zip",
            product.map_or_else(
                || "more than 10^19".to_owned(),
                |product| product.to_string()
            ),
            factors.join(" times "),
        );
    }
    let mut points = vec![Point::default()];
    for list in lists {
        points = points
            .into_iter()
            .flat_map(|point| {
                list.values.iter().map(move |value| {
                    let mut longer = point.clone();
                    longer.0.push(value.clone());
                    longer
                })
            })
            .collect();
    }
    Ok(points)
}

fn zipped(lists: &[List]) -> Result<Vec<Point>> {
    let length = lists.first().map_or(0, |list| list.values.len());
    if lists.iter().any(|list| list.values.len() != length) {
        let lengths: Vec<String> = lists
            .iter()
            .map(|list| format!("{} has {}", list.axis.flag(), list.values.len()))
            .collect();
        bail!(
            "--sweep-type zip takes lists of equal length: {}",
            lengths.join(", ")
        );
    }
    let point = |at: usize| {
        lists
            .iter()
            .filter_map(move |list| list.values.get(at).cloned())
    };
    Ok((0..length).map(|at| Point(point(at).collect())).collect())
}

impl Point {
    /// Of one axis alone.
    pub fn of(value: String) -> Self {
        Self(vec![value])
    }

    fn pairs<'a>(
        &'a self,
        lists: &'a [List],
    ) -> impl Iterator<Item = (&'static Axis, &'a str)> + 'a {
        let axes = lists.iter().map(|list| list.axis);
        axes.zip(self.0.iter().map(String::as_str))
    }

    /// The configuration of the point.
    ///
    /// # Errors
    /// A value that its setting does not take alone.
    pub fn config(&self, config: &RunConfig, lists: &[List]) -> Result<RunConfig> {
        let mut config = config.clone();
        for (axis, text) in self.pairs(lists) {
            axis.set(&mut config, text).map_err(anyhow::Error::msg)?;
        }
        Ok(config)
    }

    /// Its values, for files.
    pub fn values(&self) -> Vec<Value> {
        self.0.iter().map(|text| Axis::value(text)).collect()
    }

    /// Its values by path.
    pub fn by_path(&self, lists: &[List]) -> Map<String, Value> {
        self.pairs(lists)
            .map(|(axis, text)| (axis.path.to_owned(), Axis::value(text)))
            .collect()
    }

    /// `path=value, path=value`.
    pub fn label(&self, lists: &[List]) -> String {
        let parts: Vec<String> = self
            .pairs(lists)
            .map(|(axis, text)| format!("{}={text}", axis.path))
            .collect();
        parts.join(", ")
    }

    /// `concurrency_10__rate_5`.
    pub fn folder(&self, lists: &[List]) -> String {
        let parts: Vec<String> = self
            .pairs(lists)
            .map(|(axis, text)| format!("{}_{text}", axis.short))
            .collect();
        let bad = |c: char| "/\\<>:\"|?*".contains(c);
        parts.join("__").replace(bad, "_").replace("..", "_")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::typed;
    use pinfire_config::Get;

    fn config(line: &str) -> RunConfig {
        typed(line.split_whitespace()).unwrap()
    }

    #[test]
    fn a_grid_goes_by_path_and_the_last_one_is_fastest() {
        let config = config("--osl 1 --request-rate 5,10 --concurrency=2,3 --isl 7");
        let lists = lists(&config);
        let points = points(&lists, false).unwrap();
        let folders: Vec<String> = points.iter().map(|point| point.folder(&lists)).collect();
        assert_eq!(
            folders,
            [
                "concurrency_2__rate_5",
                "concurrency_2__rate_10",
                "concurrency_3__rate_5",
                "concurrency_3__rate_10"
            ]
        );
        assert_eq!(
            points[1].label(&lists),
            "phases.profiling.concurrency=2, phases.profiling.rate=10"
        );
        let one = points[1].config(&config, &lists).unwrap();
        assert!(one.swept().is_empty());
        assert_eq!(
            (one.load.request_rate.get(), one.load.concurrency.get()),
            (Some(10.0), Some(2))
        );
        assert_eq!(
            (one.input.osl.get(), one.input.isl.get()),
            (Some(1), Some(7))
        );
    }

    #[test]
    fn a_grid_has_a_limit_whatever_its_lists_multiply_to() {
        let axes = lists(&config(
            "--concurrency 1,2 --isl 1,2 --osl 1,2 --request-rate 1,2 --request-count 1,2",
        ));
        let long = |values: usize| -> Vec<List> {
            let values: Vec<String> = (1..=values).map(|n| n.to_string()).collect();
            let axes = axes.iter().map(|list| list.axis);
            axes.map(|axis| List {
                axis,
                values: values.clone(),
            })
            .collect()
        };
        for (values, said) in [
            (7, "has 16807 points (7 of --"),
            (10_000, "more than 10^19 points"),
        ] {
            let error = points(&long(values), false).unwrap_err().to_string();
            assert!(
                error.contains(said) && error.contains("at most 10000"),
                "{error}"
            );
        }
        assert_eq!(points(&long(6), false).unwrap().len(), 7776);
    }

    #[test]
    fn a_zip_takes_equal_lists() {
        let all = lists(&config("--isl 1,2 --osl 3,4 --concurrency 5,6,7"));
        let error = points(&all, true).unwrap_err().to_string();
        assert_eq!(
            error,
            "--sweep-type zip takes lists of equal length: --isl has 2, --osl has 2, --concurrency has 3"
        );
        let two = points(&all[..2], true).unwrap();
        assert_eq!(two[1].values(), [2, 4]);
    }

    #[test]
    fn lists_with_holes_and_repeats_are_refused() {
        for (line, says) in [
            ("--concurrency 10,,50", "an element of the list is empty"),
            ("--concurrency 10,", "is empty"),
            ("--isl 5,05", "05 is in the list twice"),
        ] {
            let error = typed(line.split_whitespace()).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn no_cancelling_is_a_rate_of_zero_and_a_distribution_is_no_list() {
        let config =
            config("--request-cancellation-rate 0,10 --request-cancellation-delay 0.5 --osl 4");
        let lists = lists(&config);
        let points = points(&lists, false).unwrap();
        let none = points[0].config(&config, &lists).unwrap();
        assert_eq!(none, self::config("--osl 4"));
        assert_eq!(points[1].folder(&lists), "cancel_10");
        let uniform = self::config("--request-cancellation-delay uniform:1,2");
        assert!(super::lists(&uniform).is_empty());
    }
}
