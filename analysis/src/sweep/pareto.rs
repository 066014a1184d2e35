//! Fronts, the sweet spot, and where the server saturates.

use super::{Cell, Marks, Sweep};
use crate::compare::Stat;
use pinfire_artifacts::tag;

/// A point is saturated if, against the next lower load, throughput has risen by less than this
/// share of what the load has.
const RETURN: f64 = 0.1;

/// A point is beaten on the front of tokens only by one that is better by more than this share: on
/// a plateau noise decides who is ahead.
const MARGIN: f64 = 0.01;

/// Parameters that are load, of which more should bring more.
const LOADS: [&str; 3] = ["concurrency", "rate", "users"];

pub(super) fn marks(sweep: &Sweep) -> Vec<Marks> {
    let cells = &sweep.cells;
    let both = |x: fn(&Cell) -> Option<f64>, y: fn(&Cell) -> Option<f64>| {
        let points = cells.iter().map(|cell| Some((x(cell)?, y(cell)?)));
        points.collect::<Vec<_>>()
    };
    // Per GPU is the same order.
    let tokens = both(Cell::total_tps, Cell::tps_per_user);
    let fronts = front(&tokens, MARGIN);
    let saturated = saturated(sweep);
    let product = |at: usize| {
        let (x, y) = tokens.get(at).copied().flatten()?;
        // One that saturates is only taken if all do.
        let steady = saturated.get(at) != Some(&true);
        (fronts.get(at) == Some(&true)).then_some((steady, x * y))
    };
    let sweet = (0..cells.len())
        .filter_map(|at| Some((at, product(at)?)))
        .max_by(|(_, x), (_, y)| x.0.cmp(&y.0).then(x.1.total_cmp(&y.1)))
        .map(|(at, _)| at);
    let feasible: Vec<bool> = cells
        .iter()
        .map(|cell| cell.good().next().is_some() && cell.meets(&sweep.objectives))
        .collect();
    let requests: Vec<Option<(f64, f64)>> = cells
        .iter()
        .zip(&feasible)
        .map(|(cell, feasible)| {
            let (_, latency) = p99(cell).filter(|_| *feasible)?;
            Some((cell.figure(tag::REQUEST_THROUGHPUT, Stat::Avg)?, -latency))
        })
        .collect();
    let optimal = front(&requests, 0.0);
    (0..cells.len())
        .map(|at| Marks {
            front: fronts.get(at) == Some(&true),
            sweet_spot: sweet == Some(at),
            saturated: saturated.get(at) == Some(&true),
            optimal: optimal.get(at) == Some(&true),
            feasible: feasible.get(at) == Some(&true),
        })
        .collect()
}

/// The p99 of the first token, or of the whole request where there is none.
pub(super) fn p99(cell: &Cell) -> Option<(&'static str, f64)> {
    [tag::TIME_TO_FIRST_TOKEN, tag::REQUEST_LATENCY]
        .into_iter()
        .find_map(|tag| Some((tag, cell.figure(tag, Stat::Percentile(99.0))?)))
}

/// Which points no other one beats: as good in both and better in one, by more than `margin` of it.
/// Larger is better; ties stay.
fn front(points: &[Option<(f64, f64)>], margin: f64) -> Vec<bool> {
    let better = |a: f64, b: f64| a - b > margin * b.abs();
    let beats = |a: (f64, f64), b: (f64, f64)| {
        a.0 >= b.0 && a.1 >= b.1 && (better(a.0, b.0) || better(a.1, b.1))
    };
    let on = |point: &Option<(f64, f64)>| {
        point.is_some_and(|point| !points.iter().flatten().any(|&other| beats(other, point)))
    };
    points.iter().map(on).collect()
}

fn saturated(sweep: &Sweep) -> Vec<bool> {
    let mut marks = vec![false; sweep.cells.len()];
    let load = sweep
        .parameters
        .iter()
        .position(|p| LOADS.contains(&p.name.as_str()));
    let Some(axis) = load else {
        return marks;
    };
    let value = |at: usize| sweep.cells.get(at)?.values.get(axis)?.as_f64();
    let others = |at: usize| {
        let mut values = sweep
            .cells
            .get(at)
            .map_or(Vec::new(), |cell| cell.values.clone());
        if axis < values.len() {
            values.remove(axis);
        }
        values
    };
    let throughput = |at: usize| {
        let cell = sweep.cells.get(at)?;
        cell.total_tps()
            .or_else(|| cell.figure(tag::REQUEST_THROUGHPUT, Stat::Avg))
    };
    let mut order: Vec<usize> = (0..sweep.cells.len())
        .filter(|&at| value(at).is_some() && throughput(at).is_some())
        .collect();
    order.sort_by(|&x, &y| {
        value(x)
            .partial_cmp(&value(y))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    while let Some(&first) = order.first() {
        let of = others(first);
        let (alike, rest) = order.into_iter().partition(|&at| others(at) == of);
        let alike: Vec<usize> = alike;
        let points = alike
            .iter()
            .map(|&at| (value(at).unwrap_or(0.0), throughput(at).unwrap_or(0.0)));
        for (&at, flat) in alike.iter().zip(saturation(&points.collect::<Vec<_>>())) {
            if let Some(mark) = marks.get_mut(at) {
                *mark = flat;
            }
        }
        order = rest;
    }
    marks
}

/// At which points of (load, throughput), in the order of load, more load has brought (next to) no
/// more throughput; all above the first of them are taken for such too.
pub fn saturation(points: &[(f64, f64)]) -> Vec<bool> {
    let mut was = false;
    let mut before: Option<(f64, f64)> = None;
    let flat = points.iter().map(|&(load, now)| {
        if let Some((less, then)) = before {
            was |= now / then - 1.0 < RETURN * (load / less - 1.0);
        }
        before = Some((load, now));
        was
    });
    flat.collect()
}
