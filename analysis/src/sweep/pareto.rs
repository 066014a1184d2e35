//! Fronts, the sweet spot, and where the server saturates.

use super::{Cell, Marks, Sweep};
use crate::compare::Stat;

/// A point is saturated if, against the next lower load, throughput has risen by less than this share
/// of what the load has.
const RETURN: f64 = 0.1;

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
    let fronts = front(&tokens);
    let product = |at: usize| tokens.get(at).copied().flatten().map(|(x, y)| x * y);
    let sweet = (0..cells.len())
        .filter(|&at| fronts.get(at) == Some(&true))
        .max_by(|&x, &y| {
            let (x, y) = (product(x).unwrap_or(0.0), product(y).unwrap_or(0.0));
            x.total_cmp(&y)
        });
    let feasible: Vec<bool> = cells
        .iter()
        .map(|cell| cell.good().next().is_some() && cell.meets(&sweep.objectives))
        .collect();
    let requests: Vec<Option<(f64, f64)>> = cells
        .iter()
        .zip(&feasible)
        .map(|(cell, feasible)| {
            let (_, latency) = p99(cell).filter(|_| *feasible)?;
            Some((cell.figure("request_throughput", Stat::Avg)?, -latency))
        })
        .collect();
    let optimal = front(&requests);
    let saturated = saturated(sweep);
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
    ["time_to_first_token", "request_latency"]
        .into_iter()
        .find_map(|tag| Some((tag, cell.figure(tag, Stat::Percentile(99.0))?)))
}

/// Which points no other one beats: as good in both and better in one. Larger is better; ties stay.
fn front(points: &[Option<(f64, f64)>]) -> Vec<bool> {
    let beats = |a: (f64, f64), b: (f64, f64)| a.0 >= b.0 && a.1 >= b.1 && (a.0 > b.0 || a.1 > b.1);
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
            .or_else(|| cell.figure("request_throughput", Stat::Avg))
    };
    let mut order: Vec<usize> = (0..sweep.cells.len())
        .filter(|&at| value(at).is_some() && throughput(at).is_some())
        .collect();
    order.sort_by(|&x, &y| {
        value(x)
            .partial_cmp(&value(y))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    for (place, &at) in order.iter().enumerate() {
        let before = order
            .iter()
            .take(place)
            .rev()
            .find(|&&lower| others(lower) == others(at));
        let Some(&before) = before else { continue };
        let (Some(load), Some(less)) = (value(at), value(before)) else {
            continue;
        };
        let (Some(now), Some(then)) = (throughput(at), throughput(before)) else {
            continue;
        };
        let risen = now / then - 1.0;
        let flat = risen < RETURN * (load / less - 1.0);
        let was = marks.get(before) == Some(&true);
        if let Some(mark) = marks.get_mut(at) {
            *mark = was || flat;
        }
    }
    marks
}
