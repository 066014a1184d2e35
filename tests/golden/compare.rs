//! Two files of figures against each other.

use std::collections::{BTreeSet, HashMap};

use pinfire_analysis::metric::{METRICS, row};
use serde_json::Value;

/// One figure that is not the same.
pub struct Difference {
    /// `""`, `warmup `, `line 7 ` or `slice 0 `.
    pub place: String,
    /// The metric.
    pub tag: String,
    /// The figure of it; empty where one side does not have the metric at all.
    pub figure: String,
    /// The whole block or value of AIPerf's.
    pub theirs: Value,
    /// The same of ours.
    pub ours: Value,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (theirs, ours) = match self.figure.as_str() {
            "" => (&self.theirs, &self.ours),
            figure => (&self.theirs[figure], &self.ours[figure]),
        };
        let Self {
            place, tag, figure, ..
        } = self;
        write!(f, "{place}{tag} {figure}: AIPerf {theirs}, pinfire {ours}")
    }
}

/// Whether two figures are one within a relative tolerance.
pub fn close(one: f64, other: f64, relative: f64) -> bool {
    one == other || (one - other).abs() <= relative * one.abs().max(other.abs())
}

/// What rounding of the last digits may do: both sides add up in another order.
const ROUNDING: f64 = 1e-10;

fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Number(a), Value::Number(b)) => {
            // A whole number stays one, to the last digit.
            a.is_f64() == b.is_f64()
                && (a == b
                    || a.is_f64() && close(a.as_f64().unwrap(), b.as_f64().unwrap(), ROUNDING))
        }
        _ => one == other,
    }
}

fn is_block(value: &Value) -> bool {
    value.get("unit").is_some()
}

/// All metric blocks of two objects.
pub fn blocks(theirs: &Value, ours: &Value, place: &str) -> Vec<Difference> {
    let tags = |value: &Value| -> BTreeSet<String> {
        let fields = value.as_object().into_iter().flatten();
        let blocks = fields.filter(|(_, value)| is_block(value));
        blocks.map(|(tag, _)| tag.clone()).collect()
    };
    let mut differences = Vec::new();
    for tag in tags(theirs).union(&tags(ours)) {
        let (theirs, ours) = (&theirs[tag], &ours[tag]);
        let mut differs = |figure: &str| {
            differences.push(Difference {
                place: place.to_owned(),
                tag: tag.clone(),
                figure: figure.to_owned(),
                theirs: theirs.clone(),
                ours: ours.clone(),
            });
        };
        let (Some(all_theirs), Some(all_ours)) = (theirs.as_object(), ours.as_object()) else {
            differs("");
            continue;
        };
        let figures: BTreeSet<&String> = all_theirs.keys().chain(all_ours.keys()).collect();
        for figure in figures {
            if !same(&theirs[figure], &ours[figure]) {
                differs(figure);
            }
        }
        // The order of the figures is part of the format.
        let common = |one: &serde_json::Map<String, Value>,
                      other: &serde_json::Map<String, Value>| {
            let keys = one.keys().filter(|key| other.contains_key(*key));
            keys.cloned().collect::<Vec<_>>()
        };
        let (one, other) = (common(all_theirs, all_ours), common(all_ours, all_theirs));
        assert_eq!(one, other, "order of the figures of {tag}");
    }
    differences
}

/// The lines per request, joined by id. What is no figure has to be the same.
pub fn lines(theirs: &[Value], ours: &[Value]) -> Vec<Difference> {
    let id = |line: &Value| {
        line["metadata"]["x_request_id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let ours: HashMap<String, &Value> = ours.iter().map(|line| (id(line), line)).collect();
    assert_eq!(theirs.len(), ours.len(), "number of lines");
    let mut differences = Vec::new();
    for (number, theirs) in (1..).zip(theirs) {
        let ours = ours[&id(theirs)];
        assert_eq!(theirs["metadata"], ours["metadata"], "line {number}");
        assert_eq!(theirs["error"], ours["error"], "line {number}");
        let place = format!("line {number} ");
        differences.extend(blocks(&theirs["metrics"], &ours["metrics"], &place));
    }
    differences
}

/// The slices, in their order. Their bounds may differ by the rounding of AIPerf's clock.
pub fn slices(theirs: Option<&Value>, ours: Option<&Value>) -> Vec<Difference> {
    let (Some(theirs), Some(ours)) = (theirs, ours) else {
        assert_eq!(theirs.is_some(), ours.is_some(), "slices on both sides");
        return Vec::new();
    };
    let list = |file: &Value| file["timeslices"].as_array().unwrap().clone();
    let (theirs, ours) = (list(theirs), list(ours));
    assert_eq!(theirs.len(), ours.len(), "number of slices");
    let mut differences = Vec::new();
    for (at, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
        for bound in ["start_ns", "end_ns"] {
            let (one, other) = (
                theirs[bound].as_i64().unwrap(),
                ours[bound].as_i64().unwrap(),
            );
            assert!(
                (one - other).abs() <= 256,
                "slice {at} {bound}: {one} and {other}"
            );
        }
        assert_eq!(theirs["is_complete"], ours["is_complete"], "slice {at}");
        differences.extend(blocks(theirs, ours, &format!("slice {at} ")));
    }
    differences
}

/// The name that a metric has in the table.
pub fn row_name(tag: &str) -> String {
    row(tag).map_or_else(|| tag.to_owned(), |at| METRICS[at].name_with_unit())
}
