//! Figures that compare runs.

use pinfire_artifacts::tag;
use std::collections::BTreeMap;

use pinfire_analysis::sweep::{saturation, t_critical};

use super::common::{empty, label};
use crate::{
    config::{Class, Classification},
    figure::{Axis, Figure, Ink, Mark, Point, Series},
    load::{Run, Told, larger_is_better, name_of},
    preset::{Column, Preset},
    scale::number,
};

/// A run in its group, with its place and its label.
struct At<'r> {
    run: &'r Run,
    x: f64,
    y: f64,
    label: String,
    order: f64,
}

/// A group of runs in the legend: its ink, and whether it is a baseline.
struct Group<'r> {
    name: String,
    ink: Ink,
    runs: Vec<At<'r>>,
}

/// The runs in their groups: baselines first, treatments by name; without classes by the preset's
/// column in the order of names. Runs without the two metrics are left out.
fn groups<'r>(
    preset: &Preset,
    runs: &[&'r Run],
    classes: Option<&Classification>,
) -> Result<Vec<Group<'r>>, String> {
    let (x, y) = (
        preset.measure("x", &preset.x)?,
        preset.measure("y", &preset.y)?,
    );
    let labels = preset.labels.as_ref().map_or("concurrency", Column::name);
    let column = preset.groups.as_ref().map_or("run_name", Column::name);
    let mut by_name: BTreeMap<(Class, String), Vec<At>> = BTreeMap::new();
    let mut lacking = String::new();
    for run in runs {
        let (x_value, y_value) = (
            run.figure(x.tag(), preset.stat_of(x)),
            run.figure(y.tag(), preset.stat_of(y)),
        );
        // Scalars have an average only.
        let x_value = x_value.or_else(|| run.figure(x.tag(), "avg"));
        let y_value = y_value.or_else(|| run.figure(y.tag(), "avg"));
        let (Some(x_value), Some(y_value)) = (x_value, y_value) else {
            lacking = name_of(if x_value.is_none() { x.tag() } else { y.tag() });
            continue;
        };
        let (name, class) = classes.map_or_else(
            || (run.label(column), Class::Treatment),
            |classes| classes.of(run),
        );
        let at = At {
            run,
            x: x_value,
            y: y_value,
            label: run.label(labels),
            order: run.order(labels),
        };
        by_name.entry((class, name)).or_default().push(at);
    }
    if by_name.is_empty() {
        let why = if lacking.contains("per GPU") {
            "; say how many GPUs serve the model with --num-gpus N"
        } else {
            ""
        };
        return Err(format!("no run has {lacking}{why}"));
    }
    let mut treatments = 0;
    let inked = by_name.into_iter().map(|((class, name), mut runs)| {
        runs.sort_by(|a, b| {
            a.order
                .total_cmp(&b.order)
                .then_with(|| a.run.name.cmp(&b.run.name))
        });
        let ink = match (classes.is_some(), class) {
            (true, Class::Baseline) => Ink::Baseline,
            (true, Class::Treatment) if treatments == 0 => {
                treatments = 1;
                Ink::Primary
            }
            _ => {
                treatments += 1;
                Ink::Nth(treatments - 1)
            }
        };
        Group { name, ink, runs }
    });
    Ok(inked.collect())
}

/// The axes, with the statistic that was used.
fn axes(preset: &Preset, runs: &[&Run]) -> Result<(Axis, Axis), String> {
    let axis = |measure: &crate::preset::Measure, from_zero: bool| {
        let (tag, stat) = (measure.tag(), preset.stat_of(measure));
        let has = runs.iter().any(|run| run.figure(tag, stat).is_some());
        let scalar = runs.iter().all(|run| run.figure(tag, "p50").is_none());
        let stat = match (has, scalar) {
            (_, true) => "",
            (true, _) => stat,
            (false, _) => "avg",
        };
        let label = label(tag, stat);
        if from_zero {
            Axis::from_zero(label)
        } else {
            Axis::new(label)
        }
    };
    let x = axis(preset.measure("x", &preset.x)?, preset.x_from_zero());
    Ok((
        x,
        axis(preset.measure("y", &preset.y)?, preset.y_from_zero()),
    ))
}

fn points(group: &Group) -> Vec<Point> {
    group
        .runs
        .iter()
        .map(|at| Point::at(at.x, at.y).labelled(at.label.clone()))
        .collect()
}

/// What the figure says about itself: labels, GPUs, crowd.
fn notes(figure: &mut Figure, preset: &Preset, groups: &[Group]) {
    let labels = preset.labels.as_ref().map_or("concurrency", Column::name);
    figure.notes.push(format!(
        "Points are labelled with the {}.",
        labels.replace('_', " ")
    ));
    let per_gpu = preset.tags().any(|tag| tag.ends_with("_per_gpu"));
    let runs = || groups.iter().flat_map(|group| &group.runs);
    if per_gpu && let Some((_, source)) = runs().find_map(|at| at.run.gpu_count()) {
        let mut counts: Vec<String> = runs()
            .filter_map(|at| Some(number(at.run.gpu_count()?.0)))
            .collect();
        counts.sort();
        counts.dedup();
        figure.notes.push(format!(
            "Number of GPUs: {}, from {source}.",
            counts.join(", ")
        ));
    }
    if groups.len() > 4 {
        figure.notes.push(format!(
            "{} groups in one picture: markers and colours repeat after ten.",
            groups.len()
        ));
    }
}

/// Indices of the points that no other beats: from the better end of x on, those whose y is not
/// worse than the best so far; ties stay.
pub fn frontier(points: &[Point], x_larger: bool, y_larger: bool) -> Vec<usize> {
    let better = |a: f64, b: f64, larger: bool| if larger { a > b } else { a < b };
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|a, b| {
        let (a, b) = (&points[*a], &points[*b]);
        let by_x = if x_larger {
            b.x.total_cmp(&a.x)
        } else {
            a.x.total_cmp(&b.x)
        };
        by_x.then(if y_larger {
            b.y.total_cmp(&a.y)
        } else {
            a.y.total_cmp(&b.y)
        })
    });
    let mut best: Option<f64> = None;
    let mut kept = Vec::new();
    for at in order {
        let y = points[at].y;
        if best.is_none_or(|best| !better(best, y, y_larger)) {
            best = Some(y);
            kept.push(at);
        }
    }
    kept.sort_by(|a, b| points[*a].x.total_cmp(&points[*b].x));
    kept
}

/// Says at the points of a group which of them saturate the server, and on the `front`, if the
/// product of the axes means something, which is the sweet spot. What the words mean is given back.
/// Only where the labels are loads that differ.
fn mark_loads(
    preset: &Preset,
    group: &Group,
    points: &mut [Point],
    front: Option<&Vec<usize>>,
) -> Vec<&'static str> {
    let labels = preset.labels.as_ref().map_or("concurrency", Column::name);
    let loads: Option<Vec<(f64, f64)>> = group
        .runs
        .iter()
        .map(|at| {
            let throughput = [tag::OUTPUT_TOKEN_THROUGHPUT, tag::REQUEST_THROUGHPUT]
                .into_iter()
                .find_map(|tag| at.run.figure(tag, "avg"))?;
            Some((at.order, throughput)).filter(|(load, _)| load.is_finite())
        })
        .collect();
    let Some(loads) = loads.filter(|_| ["concurrency", "request_rate"].contains(&labels)) else {
        return Vec::new();
    };
    if loads.len() < 2 || !loads.is_sorted_by(|a, b| a.0 < b.0) {
        return Vec::new();
    }
    let flat = saturation(&loads);
    let product = |at: usize| points[at].x * points[at].y;
    let sweet = front.and_then(|front| {
        front.iter().copied().max_by(|&a, &b| {
            let steady = (!flat[a]).cmp(&!flat[b]);
            steady.then(product(a).total_cmp(&product(b)))
        })
    });
    let mut notes = Vec::new();
    for (at, point) in points.iter_mut().enumerate() {
        let mut label = point.label.take().unwrap_or_default();
        if Some(at) == sweet {
            label.push_str(" ★");
            notes.push("★ sweet spot: the largest product of both axes below saturation.");
        }
        if flat[at] {
            label.push_str(" saturated");
            notes
                .push("Saturated: more load brought less than a tenth of its share in throughput.");
        }
        point.label = Some(label);
    }
    notes
}

/// All runs as points, per group the frontier as a line.
pub fn pareto(
    preset: &Preset,
    runs: &[&Run],
    classes: Option<&Classification>,
) -> Result<Figure, String> {
    let groups = groups(preset, runs, classes)?;
    let (x, y) = axes(preset, runs)?;
    let mut figure = empty(preset, x, y);
    let tag = |measure: &Option<crate::preset::Measure>| {
        measure
            .as_ref()
            .map_or(String::new(), |measure| measure.tag().to_owned())
    };
    let (x_larger, y_larger) = (
        larger_is_better(&tag(&preset.x)),
        larger_is_better(&tag(&preset.y)),
    );
    let mut marked = Vec::new();
    for group in &groups {
        let mut points = points(group);
        let front = frontier(&points, x_larger, y_larger);
        let line = front
            .iter()
            .map(|&at| Point::at(points[at].x, points[at].y))
            .collect();
        let both = x_larger && y_larger;
        for note in mark_loads(preset, group, &mut points, both.then_some(&front)) {
            if !marked.contains(&note) {
                marked.push(note);
            }
        }
        figure
            .series
            .push(Series::new("", group.ink, Mark::Line, line));
        figure
            .series
            .push(Series::new(&group.name, group.ink, Mark::Dots, points));
    }
    figure.notes.extend(marked.into_iter().map(str::to_owned));
    let side = |larger| if larger { "more" } else { "less" };
    figure.notes.push(format!(
        "The line joins the frontier: runs that no other run of their group beats on both axes ({} is better on x, {} on y).",
        side(x_larger), side(y_larger)
    ));
    notes(&mut figure, preset, &groups);
    Ok(figure)
}

/// Runs as points; joined per group in the order of their labels.
pub fn scatter(
    preset: &Preset,
    runs: &[&Run],
    classes: Option<&Classification>,
) -> Result<Figure, String> {
    let groups = groups(preset, runs, classes)?;
    let (x, y) = axes(preset, runs)?;
    let mut figure = empty(preset, x, y);
    let mark = if preset.kind == crate::preset::Kind::Scatter {
        Mark::Dots
    } else {
        Mark::Joined
    };
    figure.series = groups
        .iter()
        .map(|group| Series::new(&group.name, group.ink, mark, points(group)))
        .collect();
    notes(&mut figure, preset, &groups);
    Ok(figure)
}

/// Per group and label the mean over runs, with an ellipse of confidence.
pub fn uncertainty(
    preset: &Preset,
    runs: &[&Run],
    classes: Option<&Classification>,
) -> Result<Figure, String> {
    let groups = groups(preset, runs, classes)?;
    let (x, y) = axes(preset, runs)?;
    let level = preset.ci_level.unwrap_or(0.95);
    let mut figure = empty(preset, x, y);
    for group in &groups {
        let mut by_label: Vec<(String, f64, Vec<&At>)> = Vec::new();
        for at in &group.runs {
            match by_label.iter_mut().find(|(label, ..)| *label == at.label) {
                Some((.., list)) => list.push(at),
                None => by_label.push((at.label.clone(), at.order, vec![at])),
            }
        }
        let (mut centres, mut sure, mut faint) = (Vec::new(), Vec::new(), Vec::new());
        for (label, _, list) in by_label {
            let (x, x_half, n) = interval(&list, |at| at.x, level, preset, true);
            let (y, y_half, _) = interval(&list, |at| at.y, level, preset, false);
            centres.push(Point::at(x, y).labelled(format!("{label} (n={n})")));
            match n {
                0 | 1 => {}
                2 => faint.push(Point::at(x, y).to(x_half, y_half)),
                _ => sure.push(Point::at(x, y).to(x_half, y_half)),
            }
        }
        figure
            .series
            .push(Series::new("", group.ink, Mark::Ellipses, sure));
        figure
            .series
            .push(Series::new("", group.ink, Mark::FaintEllipses, faint));
        figure
            .series
            .push(Series::new(&group.name, group.ink, Mark::Joined, centres));
    }
    figure.series.retain(|series| !series.points.is_empty());
    let percent = number(level * 100.0);
    figure.notes.push(format!("Ellipses: {percent}% confidence of the mean over n runs, on each axis alone; dashed where n is 2, none where it is 1."));
    notes(&mut figure, preset, &groups);
    Ok(figure)
}

/// Mean, half the interval and the number of runs. The aggregate of a cell knows them itself.
fn interval(
    list: &[&At],
    of: impl Fn(&At) -> f64,
    level: f64,
    preset: &Preset,
    is_x: bool,
) -> (f64, f64, usize) {
    if let [at] = list
        && let Told::Cell(cell) = &at.run.told
    {
        let measure = if is_x { &preset.x } else { &preset.y };
        let n = cell.metadata.num_successful_runs.unwrap_or(1) as usize;
        let Some(measure) = measure else {
            return (of(at), 0.0, n);
        };
        let (tag, divisor) = match measure.tag() {
            "output_token_throughput_per_gpu" => (
                tag::OUTPUT_TOKEN_THROUGHPUT,
                at.run.gpu_count().map_or(1.0, |count| count.0),
            ),
            tag => (tag, 1.0),
        };
        let block = [preset.stat_of(measure), "avg"]
            .into_iter()
            .find_map(|stat| at.run.of_trials(tag, stat));
        let std = block.and_then(|block| block.std).unwrap_or(0.0) / divisor;
        return (of(at), half(std, n, level), n);
    }
    let n = list.len();
    let mean = list.iter().map(|at| of(at)).sum::<f64>() / n as f64;
    let squares = list.iter().map(|at| (of(at) - mean).powi(2)).sum::<f64>();
    let std = if n > 1 {
        (squares / (n - 1) as f64).sqrt()
    } else {
        0.0
    };
    (mean, half(std, n, level), n)
}

fn half(std: f64, n: usize, level: f64) -> f64 {
    if n < 2 {
        0.0
    } else {
        t_critical(level, n - 1) * std / (n as f64).sqrt()
    }
}

/// One row per run: the span from p50 to p99, with p50, p90 and p99 on it; a scalar is one dot.
pub fn by_run(
    preset: &Preset,
    runs: &[&Run],
    classes: Option<&Classification>,
) -> Result<Figure, String> {
    let tag = preset.measure("y", &preset.y)?.tag();
    let mut rows: Vec<(Class, f64, &Run)> = runs
        .iter()
        .filter(|run| {
            run.figure(tag, "p50")
                .or_else(|| run.figure(tag, "avg"))
                .is_some()
        })
        .map(|run| {
            (
                classes.map_or(Class::Treatment, |classes| classes.of(run).1),
                run.order("concurrency"),
                *run,
            )
        })
        .collect();
    if rows.is_empty() {
        return Err(format!("no run has {}", name_of(tag)));
    }
    // The first row is drawn at the bottom: baselines end up on top.
    rows.sort_by(|a, b| {
        b.0.cmp(&a.0)
            .then(b.1.total_cmp(&a.1))
            .then_with(|| b.2.name.cmp(&a.2.name))
    });
    let mut y = Axis::new("");
    y.names = rows
        .iter()
        .map(|(class, _, run)| {
            let mark = if classes.is_some() && *class == Class::Baseline {
                " (baseline)"
            } else {
                ""
            };
            format!("{}{mark}", run.name)
        })
        .collect();
    let at = |stat: &str| {
        rows.iter()
            .enumerate()
            .filter_map(|(row, (.., run))| {
                Some(Point::at(run.figure(tag, stat)?, row as f64).labelled(run.name.clone()))
            })
            .collect::<Vec<_>>()
    };
    let is_distribution = !at("p50").is_empty();
    let mut figure = empty(preset, Axis::from_zero(label(tag, "")), y);
    if is_distribution {
        let spans = rows
            .iter()
            .enumerate()
            .filter_map(|(row, (class, _, run))| {
                let span =
                    Point::at(run.figure(tag, "p50")?, row as f64).to(run.figure(tag, "p99")?, 0.0);
                Some((*class, span))
            });
        let (baselines, others): (Vec<_>, Vec<_>) =
            spans.partition(|(class, _)| classes.is_some() && *class == Class::Baseline);
        let points = |list: Vec<(Class, Point)>| list.into_iter().map(|(_, point)| point).collect();
        figure.series.push(Series::new(
            "p50 to p99, baseline",
            Ink::Baseline,
            Mark::Spans,
            points(baselines),
        ));
        figure.series.push(Series::new(
            "p50 to p99",
            Ink::Primary,
            Mark::Spans,
            points(others),
        ));
        for (nth, stat) in ["p50", "p90", "p99"].into_iter().enumerate() {
            let plain = at(stat)
                .into_iter()
                .map(|point| Point {
                    label: None,
                    ..point
                })
                .collect();
            figure
                .series
                .push(Series::new(stat, Ink::Nth(nth), Mark::Dots, plain));
        }
    } else {
        let bars = at("avg").into_iter().map(|point| Point {
            label: None,
            ..Point::at(0.0, point.y).to(point.x, 0.0)
        });
        figure
            .series
            .push(Series::new("", Ink::Primary, Mark::Spans, bars.collect()));
        let dots = rows.iter().enumerate().filter_map(|(row, (.., run))| {
            let value = run.figure(tag, "avg")?;
            Some(Point::at(value, row as f64).labelled(number(value)))
        });
        figure
            .series
            .push(Series::new("", Ink::Nth(0), Mark::Dots, dots.collect()));
    }
    figure.series.retain(|series| !series.points.is_empty());
    Ok(figure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frontier_keeps_ties_and_drops_what_is_beaten() {
        let points: Vec<Point> = [
            (1.0, 5.0),
            (2.0, 4.0),
            (2.0, 4.0),
            (3.0, 4.5),
            (4.0, 1.0),
            (0.5, 5.0),
        ]
        .into_iter()
        .map(|(x, y)| Point::at(x, y))
        .collect();
        // Both larger: from x = 4 down, y must not fall; the tie at y = 5 stays.
        assert_eq!(frontier(&points, true, true), [5, 0, 3, 4]);
        // Smaller x is better: from x = 0.5 up.
        assert_eq!(frontier(&points, false, true), [5, 0]);
    }
}
