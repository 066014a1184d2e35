//! Figures of cancellations, and of the client's own lateness.

use super::{
    common::{SECONDS, empty, label, line, quantile, sorted},
    requests, time,
};
use crate::{
    figure::{Axis, Figure, Ink, Mark, Point, Series},
    load::{Outcome, Request, Run, unit_of},
    preset::Preset,
    scale::number,
};

/// Requests that are closed within this time of each other are one wave, in ns.
const WAVE_NS: u64 = 50_000_000;

fn cancelled(run: &Run) -> Result<Vec<&Request>, String> {
    let all: Vec<_> = run
        .profiling()
        .map(|(_, request)| request)
        .filter(|request| request.outcome == Outcome::Cancelled)
        .collect();
    if all.is_empty() {
        return Err("no request was cancelled".to_owned());
    }
    Ok(all)
}

fn closed(request: &Request) -> u64 {
    request
        .cancel
        .as_ref()
        .and_then(|cancel| cancel.closed_ns)
        .unwrap_or(request.end_ns)
}

/// Cancellations per second, asked for and done, over the number of active requests.
pub fn over_time(preset: &Preset, run: &Run) -> Result<Figure, String> {
    let all = cancelled(run)?;
    let zero = run.zero_ns();
    let seconds = |ns: u64| ns.saturating_sub(zero) as f64 / 1e9;
    let edges = run.profiling().flat_map(|(_, request)| {
        [
            (seconds(request.start_ns), 1.0),
            (seconds(request.end_ns), -1.0),
        ]
    });
    let active = time::steps(edges.collect());
    let last = active.last().map_or(1.0, |point| point.x).max(1e-3);
    let bins = (all.len() / 3).clamp(5, 60);
    let wide = last / bins as f64;
    let per_second = |times: Vec<f64>| {
        let mut counts = vec![0u32; bins];
        times
            .iter()
            .for_each(|time| counts[((time / wide) as usize).min(bins - 1)] += 1);
        let steps = counts
            .iter()
            .enumerate()
            .map(|(at, count)| Point::at(at as f64 * wide, f64::from(*count) / wide));
        steps.chain([Point::at(last, 0.0)]).collect::<Vec<_>>()
    };
    let done = per_second(all.iter().map(|request| seconds(closed(request))).collect());
    let lateness = |request: &Request| {
        request
            .cancel
            .as_ref()
            .and_then(|cancel| cancel.delay_error_us)
            .unwrap_or(0.0)
    };
    let asked = per_second(
        all.iter()
            .map(|request| (seconds(closed(request)) - lateness(request) / 1e6).max(0.0))
            .collect(),
    );
    // As steps, like those that were done.
    let asked: Vec<Point> = asked
        .windows(2)
        .flat_map(|pair| [pair[0].clone(), Point::at(pair[1].x, pair[0].y)])
        .collect();
    let mut figure = empty(
        preset,
        Axis::from_zero(SECONDS),
        Axis::from_zero("Active requests"),
    );
    figure.y2 = Some(Axis::from_zero("Cancellations per second"));
    figure.series = vec![
        Series::new("active requests (left)", Ink::Primary, Mark::Area, active),
        Series::new("cancellations done (right)", Ink::Nth(1), Mark::Step, done).right(),
        Series::new(
            "cancellations due (right)",
            Ink::Nth(0),
            Mark::Dashed,
            asked,
        )
        .right(),
    ];
    figure.notes.push(format!(
        "{} requests cancelled; counted in windows of {} s.",
        all.len(),
        number(wide)
    ));
    Ok(figure)
}

/// How many cancelled requests were in which phase.
pub fn phases(preset: &Preset, run: &Run) -> Result<Figure, String> {
    let all = cancelled(run)?;
    const PHASES: [&str; 4] = ["connecting", "sending", "waiting", "streaming"];
    let mut counts = [0u64; PHASES.len()];
    let mut unknown = 0;
    for request in &all {
        let phase = request
            .cancel
            .as_ref()
            .and_then(|cancel| cancel.phase.as_deref());
        match PHASES.iter().position(|name| Some(*name) == phase) {
            Some(at) => counts[at] += 1,
            None => unknown += 1,
        }
    }
    if unknown == all.len() {
        return Err("the file does not say in which phase requests were cancelled".to_owned());
    }
    let mut x = Axis::new("Phase that the request was in");
    x.names = PHASES
        .iter()
        .zip(counts)
        .map(|(name, count)| format!("{name}: {count}"))
        .collect();
    let bars = counts
        .iter()
        .enumerate()
        .map(|(at, count)| Point::at(at as f64 - 0.35, *count as f64).to(at as f64 + 0.35, 0.0));
    let mut figure = empty(preset, x, Axis::from_zero("Cancelled requests"));
    figure
        .series
        .push(Series::new("", Ink::Primary, Mark::Bars, bars.collect()));
    if unknown > 0 {
        figure.notes.push(format!(
            "{unknown} cancelled requests without a phase are left out."
        ));
    }
    Ok(figure)
}

/// The distribution of disconnect minus asked delay.
pub fn delay_error(preset: &Preset, run: &Run) -> Result<Figure, String> {
    let all = cancelled(run)?;
    let errors = all
        .iter()
        .filter_map(|request| request.cancel.as_ref()?.delay_error_us);
    let errors = sorted(errors.collect());
    if errors.is_empty() {
        return Err("the file does not say when connections were closed".to_owned());
    }
    let early = errors.iter().filter(|error| **error < 0.0).count();
    let mut figure = requests::bars(
        preset,
        &errors,
        "Closed after the asked instant by (us)",
        "cancelled requests",
    );
    figure.notes.push(format!("{early} were closed early."));
    Ok(figure)
}

/// TTFT (or another metric) of answered requests by when they began, before and after a wave of
/// cancellations.
pub fn neighbours(preset: &Preset, run: &Run) -> Result<Figure, String> {
    let tag = preset.measure("y", &preset.y)?.tag();
    let mut instants: Vec<u64> = cancelled(run)?.into_iter().map(closed).collect();
    instants.sort_unstable();
    let mut waves: Vec<u64> = Vec::new();
    let mut last = 0;
    for at in instants {
        if waves.is_empty() || at - last > WAVE_NS {
            waves.push(at);
        }
        last = at;
    }
    let valid: Vec<(u64, f64)> = run
        .valid()
        .filter_map(|(at, request)| Some((request.start_ns, run.value(tag, at)?)))
        .collect();
    if valid.is_empty() {
        return Err(format!(
            "no answered request has {}",
            crate::load::name_of(tag)
        ));
    }
    // Half the usual distance of waves, so that a request belongs to one of them.
    let gaps = sorted(
        waves
            .windows(2)
            .map(|pair| (pair[1] - pair[0]) as f64)
            .collect(),
    );
    let middle = quantile(&sorted(valid.iter().map(|pair| pair.1).collect()), 0.5);
    let least = (middle * 1e6 * 3.0).max(1e8);
    let reach = if gaps.is_empty() {
        5e9
    } else {
        (quantile(&gaps, 0.5) / 2.0).clamp(least, 1e10)
    };
    let mut points: Vec<Point> = Vec::new();
    for (start, value) in valid {
        let after = waves.partition_point(|wave| *wave <= start);
        let near = [after.checked_sub(1), Some(after)]
            .into_iter()
            .flatten()
            .filter_map(|at| waves.get(at));
        let nearest = near
            .map(|wave| start as f64 - *wave as f64)
            .min_by(|a, b| a.abs().total_cmp(&b.abs()));
        if let Some(distance) = nearest.filter(|distance| distance.abs() <= reach) {
            points.push(Point::at(distance / 1e6, value));
        }
    }
    if points.len() < 4 {
        return Err("too few requests began near a cancellation".to_owned());
    }
    const BINS: usize = 24;
    let reach_ms = reach / 1e6;
    let wide = 2.0 * reach_ms / BINS as f64;
    let mut bins = vec![Vec::new(); BINS];
    for point in &points {
        bins[(((point.x + reach_ms) / wide) as usize).min(BINS - 1)].push(point.y);
    }
    let median = bins
        .into_iter()
        .enumerate()
        .filter(|(_, values)| !values.is_empty());
    let median = median.map(|(at, values)| {
        Point::at(
            (at as f64 + 0.5) * wide - reach_ms,
            quantile(&sorted(values), 0.5),
        )
    });
    let side = |before: bool| {
        sorted(
            points
                .iter()
                .filter(|point| (point.x < 0.0) == before)
                .map(|point| point.y)
                .collect(),
        )
    };
    let said = |values: &[f64]| {
        if values.is_empty() {
            "no request".to_owned()
        } else {
            format!(
                "median {} {} of {} requests",
                number(quantile(values, 0.5)),
                unit_of(tag),
                values.len()
            )
        }
    };
    let note = format!(
        "Before: {}. After: {}. {} waves of cancellations (closings within 50 ms are one).",
        said(&side(true)),
        said(&side(false)),
        waves.len()
    );
    let mut figure = empty(
        preset,
        Axis::new("Start of the request after the nearest wave of cancellations (ms)"),
        Axis::from_zero(label(tag, "")),
    );
    let median = median.collect();
    figure.series = vec![
        Series::new("answered requests", Ink::Primary, Mark::Dots, points),
        Series::new("median", Ink::Nth(0), Mark::Line, median),
    ];
    figure.guides.push(line("cancellation", 0.0, true));
    figure.notes.push(note);
    Ok(figure)
}

/// How late sends and hang-ups were, over the run, with the client's own verdict.
pub fn client_health(preset: &Preset, run: &Run) -> Result<Figure, String> {
    let zero = run.zero_ns();
    let seconds = |ns: u64| ns.saturating_sub(zero) as f64 / 1e9;
    // Where nothing is late the logarithm has no place for it: 0.1 us is as good as none.
    let shown = |us: f64| us.max(0.1);
    let sends = run.profiling().filter_map(|(_, request)| {
        let late = request.start_ns.checked_sub(request.credit_ns?)?;
        Some(Point::at(
            seconds(request.start_ns),
            shown(late as f64 / 1e3),
        ))
    });
    let sends: Vec<Point> = sends.collect();
    let closings = run.profiling().filter_map(|(_, request)| {
        Some(Point::at(
            seconds(closed(request)),
            shown(request.cancel.as_ref()?.delay_error_us?),
        ))
    });
    let closings: Vec<Point> = closings.collect();
    let health = run
        .summary()
        .and_then(|summary| summary.client_health.as_deref());
    let scheduled = sends.iter().any(|point| point.y > 0.1);
    let known = health.map(|health| {
        [
            ("timer lateness", health.timer_lateness.p99),
            ("receive delay", health.receive_delay.p99),
            ("send lateness", health.send_lateness.p99),
        ]
    });
    let known = known
        .into_iter()
        .flatten()
        .filter_map(|(name, p99)| Some((format!("{name} p99"), p99.filter(|value| *value > 0.0)?)));
    let known: Vec<(String, f64)> = known.collect();
    if !scheduled && closings.is_empty() && known.is_empty() {
        return Err("the run says nothing of the client's lateness".to_owned());
    }
    let y = Axis {
        log: true,
        ..Axis::new("Lateness of the client (us)")
    };
    let mut figure = empty(preset, Axis::from_zero(SECONDS), y);
    if scheduled {
        figure.series.push(Series::new(
            "start after the due instant",
            Ink::Nth(0),
            Mark::Dots,
            sends,
        ));
    }
    if !closings.is_empty() {
        figure.series.push(Series::new(
            "closed after the asked instant",
            Ink::Nth(1),
            Mark::Dots,
            closings,
        ));
    }
    let last = run
        .profiling()
        .map(|(_, request)| seconds(request.end_ns))
        .fold(1e-3, f64::max);
    for (at, (name, value)) in known.into_iter().enumerate() {
        let name = format!("{name} {} us", number(value));
        figure.series.push(Series::new(
            name,
            Ink::Nth(at + 2),
            Mark::Dashed,
            vec![Point::at(0.0, value), Point::at(last, value)],
        ));
    }
    match health {
        Some(health) if health.client_was_bottleneck => figure.notes.push(format!(
            "The client was the bottleneck: {}.",
            health.reasons.join("; ")
        )),
        Some(_) => figure
            .notes
            .push("The client was not the bottleneck.".to_owned()),
        None => {}
    }
    Ok(figure)
}
