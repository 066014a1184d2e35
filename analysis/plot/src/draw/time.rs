//! Figures over time: throughput, time slices, samples of GPUs and servers.

use pinfire_artifacts::tag;
use pinfire_scrape::gpu;

use super::common::{SECONDS, empty, label, line, quantile, sorted};
use crate::{
    config::{Aggregation, Downsampling},
    figure::{Axis, Figure, Guide, Ink, Mark, Point, Series},
    load::{Outcome, Run, Sample, name_of, unit_of},
    preset::Preset,
    scale::number,
};

/// Tokens per second at every instant: each answered request gives its output tokens evenly from
/// its first token to its end.
fn token_rate(run: &Run) -> Result<Vec<Point>, String> {
    let zero = run.zero_ns();
    let mut edges = Vec::new();
    for (at, request) in run.valid() {
        let Some(tokens) = run
            .value(tag::OUTPUT_SEQUENCE_LENGTH, at)
            .filter(|tokens| *tokens > 0.0)
        else {
            continue;
        };
        let start = (request.start_ns - zero) as f64 / 1e9;
        let first = start + run.value(tag::TIME_TO_FIRST_TOKEN, at).unwrap_or(0.0) / 1e3;
        let end = (request.end_ns - zero) as f64 / 1e9;
        if end > first {
            let rate = tokens / (end - first);
            edges.extend([(first, rate), (end, -rate)]);
        }
    }
    if edges.is_empty() {
        return Err(
            "no request has output tokens and time between its first token and its end".to_owned(),
        );
    }
    Ok(steps(edges))
}

/// A step function from its rises and falls.
pub fn steps(mut edges: Vec<(f64, f64)>) -> Vec<Point> {
    edges.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut height = 0.0f64;
    let mut points: Vec<Point> = Vec::new();
    let scale = edges.iter().map(|edge| edge.1.abs()).fold(0.0, f64::max);
    for (x, by) in edges {
        height += by;
        // What sums of fractions leave over is no height.
        let shown = if height.abs() < scale * 1e-9 {
            0.0
        } else {
            height
        };
        match points.last_mut() {
            Some(last) if last.x == x => last.y = shown,
            _ => points.push(Point::at(x, shown)),
        }
    }
    points
}

/// Token throughput as an area.
pub fn throughput(preset: &Preset, run: &Run) -> Result<Figure, String> {
    let points = token_rate(run)?;
    let mut figure = empty(
        preset,
        Axis::from_zero(SECONDS),
        Axis::from_zero("Output token throughput (tokens/sec)"),
    );
    figure
        .series
        .push(Series::new("", Ink::Primary, Mark::Area, points));
    if let Some(mean) = run.figure(tag::OUTPUT_TOKEN_THROUGHPUT, "avg") {
        figure
            .guides
            .push(line(format!("run average {}", number(mean)), mean, false));
    }
    figure.notes.push(
        "Each answered request gives its tokens evenly from its first token to its end.".to_owned(),
    );
    Ok(figure)
}

/// Averages of the time slices, with the run's average and its spread.
pub fn slices(preset: &Preset, run: &Run) -> Result<Figure, String> {
    let measure = preset.measure("y", &preset.y)?;
    let (tag, stat) = (measure.tag(), preset.stat_of(measure));
    if run.slices.is_empty() {
        return Err("the run has no time slices; run with --slice-duration SECONDS".to_owned());
    }
    let of = |stat: &str| {
        run.slices
            .iter()
            .map(|slice| slice.metrics.get(tag)?.get(stat).copied())
            .collect::<Vec<_>>()
    };
    let (values, spread) = (of(stat), of("std"));
    if values.iter().all(Option::is_none) {
        return Err(format!("no time slice has {}", name_of(tag)));
    }
    let by_number = preset.use_slice_duration == Some(false);
    let centre = |at: usize| {
        if by_number {
            at as f64
        } else {
            (run.slices[at].start_s + run.slices[at].end_s) / 2.0
        }
    };
    let whole = run.figure(tag, stat);
    let whole_spread = run.figure(tag, "std");
    let is_throughput = crate::load::larger_is_better(tag);
    let (mut points, mut outliers, mut whiskers) = (Vec::new(), Vec::new(), Vec::new());
    for (at, value) in values.iter().enumerate() {
        let Some(value) = *value else { continue };
        let own = spread[at].unwrap_or(0.0);
        let room = whole_spread.unwrap_or(0.0) + own;
        let is_outlier = whole.is_some_and(|whole| {
            if is_throughput {
                value < whole - room
            } else {
                value > whole + room
            }
        });
        // A slice without a spread of its own and a run without one tell nothing apart.
        let list = if is_outlier && room > 0.0 {
            &mut outliers
        } else {
            &mut points
        };
        list.push(Point::at(centre(at), value));
        if own > 0.0 {
            whiskers.push(Point::at(centre(at), (value - own).max(0.0)).to(0.0, value + own));
        }
    }
    let mut x = Axis::new(if by_number {
        "Time slice"
    } else {
        "Time slice (s)"
    });
    let every = run.slices.len().div_ceil(30);
    if !by_number {
        let ticks = run.slices.iter().enumerate().step_by(every.max(1));
        x.ticks = ticks
            .map(|(at, slice)| {
                (
                    centre(at),
                    format!("{}-{}", number(slice.start_s), number(slice.end_s)),
                )
            })
            .collect();
    }
    let y = label(tag, stat);
    let y = if preset.y_from_zero() {
        Axis::from_zero(y)
    } else {
        Axis::new(y)
    };
    let mut figure = empty(preset, x, y);
    let mut curve: Vec<Point> = points.iter().chain(&outliers).cloned().collect();
    curve.sort_by(|a, b| a.x.total_cmp(&b.x));
    figure.series = vec![
        Series::new(
            "± std of the slice",
            Ink::Secondary,
            Mark::Whiskers,
            whiskers,
        ),
        Series::new("", Ink::Primary, Mark::Line, curve),
        Series::new("slice", Ink::Primary, Mark::Dots, points),
        Series::new("outlier", Ink::Outlier, Mark::Diamonds, outliers),
    ];
    figure.series.retain(|series| !series.points.is_empty());
    if let Some(whole) = whole {
        if let Some(spread) = whole_spread {
            figure.guides.push(Guide {
                text: String::new(),
                from: (whole - spread).max(0.0),
                to: whole + spread,
                upright: false,
            });
            figure
                .notes
                .push("Grey band: run average ± standard deviation of the run.".to_owned());
        }
        figure.guides.push(line(
            format!("run {stat} {} {}", number(whole), unit_of(tag)),
            whole,
            false,
        ));
    }
    let vary = |tag: &str| run.figure(tag, "std").is_some_and(|std| std > 0.0);
    if is_throughput && (vary(tag::INPUT_SEQUENCE_LENGTH) || vary(tag::OUTPUT_SEQUENCE_LENGTH)) {
        figure.notes.push("Input or output lengths vary: the throughput of slices depends on which requests fell into them.".to_owned());
    }
    Ok(figure)
}

/// Two quantities over time with an axis each.
pub fn dual_axis(preset: &Preset, run: &Run, windows: Downsampling) -> Result<Figure, String> {
    let y = preset.measure("y", &preset.y)?.tag();
    let y2 = preset.measure("y2", &preset.y2)?.tag();
    let (left, left_name, left_mark) = over_time(run, y, windows)?;
    let (right, right_name, right_mark) = over_time(run, y2, windows)?;
    let mut figure = empty(
        preset,
        Axis::from_zero(SECONDS),
        Axis::from_zero(left_name.clone()),
    );
    figure.y2 = Some(Axis::from_zero(right_name.clone()));
    let short = |name: &str| name.split(" (").next().unwrap_or(name).to_owned();
    figure.series = vec![
        Series::new(
            format!("{} (left)", short(&left_name)),
            Ink::Primary,
            left_mark,
            left,
        ),
        Series::new(
            format!("{} (right)", short(&right_name)),
            Ink::Nth(0),
            right_mark,
            right,
        )
        .right(),
    ];
    Ok(figure)
}

/// A quantity over time: throughput, cancellations, or what GPUs or the server reported.
fn over_time(
    run: &Run,
    tag: &str,
    windows: Downsampling,
) -> Result<(Vec<Point>, String, Mark), String> {
    let zero = run.zero_ns();
    let seconds = |ns: u64| (ns as f64 - zero as f64) / 1e9;
    match tag {
        tag::OUTPUT_TOKEN_THROUGHPUT => Ok((
            token_rate(run)?,
            "Output token throughput (tokens/sec)".to_owned(),
            Mark::Area,
        )),
        "cancellations" => {
            let mut ends: Vec<u64> = run
                .profiling()
                .filter(|(_, request)| request.outcome == Outcome::Cancelled)
                .map(|(_, request)| request.end_ns)
                .collect();
            ends.sort_unstable();
            if ends.is_empty() {
                return Err("no request was cancelled".to_owned());
            }
            let points = ends
                .iter()
                .enumerate()
                .map(|(at, end)| Point::at(seconds(*end), (at + 1) as f64));
            Ok((
                points.collect(),
                "Cancellations so far (requests)".to_owned(),
                Mark::Step,
            ))
        }
        "server_requests" => {
            const RUNNING: [&str; 3] = [
                "vllm:num_requests_running",
                "sglang:num_running_reqs",
                "num_requests_running",
            ];
            const WAITING: [&str; 3] = [
                "vllm:num_requests_waiting",
                "sglang:num_queue_reqs",
                "num_requests_waiting",
            ];
            let sum = |sample: &Sample| {
                let running = RUNNING.iter().find_map(|key| sample.values.get(*key))?;
                let waiting = WAITING
                    .iter()
                    .find_map(|key| sample.values.get(*key))
                    .copied()
                    .unwrap_or(0.0);
                Some(running + waiting)
            };
            let points: Vec<(f64, f64)> = run
                .server
                .iter()
                .filter_map(|sample| Some((seconds(sample.at_ns), sum(sample)?)))
                .collect();
            if points.is_empty() {
                return Err("the run has no server_metrics_export.jsonl with running and waiting requests (--server-metrics-formats jsonl)".to_owned());
            }
            Ok((
                downsampled(points, windows),
                "Held by the server (requests)".to_owned(),
                Mark::Step,
            ))
        }
        tag => {
            let (points, key) = of_gpus(run, tag)?;
            let unit = match key.as_str() {
                key if key.ends_with("utilization") || key.ends_with("activity") => " (%)",
                key if key.ends_with("power_usage") => " (W)",
                key if key.ends_with("memory_used") => " (GB)",
                key if key.ends_with("temperature") => " (°C)",
                _ => "",
            };
            Ok((points, format!("{}{unit}", named(&key)), Mark::Line))
        }
    }
}

/// `nvidia_gpu_utilization` as people write it; figures are means over the GPUs.
fn named(key: &str) -> String {
    let words = gpu::bare(key).unwrap_or(key).replace('_', " ");
    match words.strip_prefix("gpu ") {
        Some(rest) => format!("GPU {rest}"),
        None => format!("GPU {words}"),
    }
}

/// The mean over the GPUs at each instant of a scrape.
fn of_gpus(run: &Run, tag: &str) -> Result<(Vec<Point>, String), String> {
    if run.gpus.is_empty() {
        return Err("the run has no GPU telemetry (gpu_telemetry_export.jsonl)".to_owned());
    }
    let keys = match tag {
        "gpu_utilization" => vec![
            "nvidia_gpu_utilization",
            "amd_gfx_activity",
            "gpu_utilization",
        ],
        tag => vec![tag],
    };
    let key = keys.iter().find(|key| {
        run.gpus
            .iter()
            .any(|sample| sample.values.contains_key(**key))
    });
    let key = key.ok_or_else(|| format!("the GPU telemetry has no {tag}"))?;
    let zero = run.zero_ns();
    let mut by_time: std::collections::BTreeMap<u64, (f64, u32)> =
        std::collections::BTreeMap::new();
    for sample in &run.gpus {
        if let Some(value) = sample.values.get(*key) {
            let sum = by_time.entry(sample.at_ns).or_default();
            sum.0 += value;
            sum.1 += 1;
        }
    }
    let points = by_time.into_iter().map(|(at, (sum, count))| {
        Point::at((at as f64 - zero as f64) / 1e9, sum / f64::from(count))
    });
    Ok((points.collect(), (*key).to_owned()))
}

fn downsampled(points: Vec<(f64, f64)>, windows: Downsampling) -> Vec<Point> {
    let span = points.last().map_or(0.0, |last| last.0 - points[0].0);
    // Windows must not hide a run that is only a few of them long.
    if !windows.enabled || span < windows.window_size_seconds * 10.0 {
        return points.into_iter().map(|(x, y)| Point::at(x, y)).collect();
    }
    let wide = windows.window_size_seconds;
    let mut by_window: std::collections::BTreeMap<i64, Vec<f64>> =
        std::collections::BTreeMap::new();
    for (x, y) in points {
        by_window
            .entry((x / wide).floor() as i64)
            .or_default()
            .push(y);
    }
    by_window
        .into_iter()
        .map(|(at, values)| {
            let values = sorted(values);
            let value = match windows.aggregation_method {
                Aggregation::Mean => values.iter().sum::<f64>() / values.len() as f64,
                Aggregation::Max => values[values.len() - 1],
                Aggregation::Min => values[0],
                Aggregation::Median => quantile(&values, 0.5),
            };
            Point::at((at as f64 + 0.5) * wide, value)
        })
        .collect()
}
