//! Figures of single requests: points, timelines, distributions.

use super::common::{SECONDS, empty, label, line, quantile, sorted};
use crate::{
    figure::{Axis, Figure, Ink, Mark, Point, Series},
    load::{Outcome, Run, name_of},
    preset::Preset,
    scale::number,
};
use pinfire_artifacts::tag;

/// Of every answered request two values; `request_number` counts lines, `timestamp` is the end
/// since the first end in seconds.
fn pairs(run: &Run, x: &str, y: &str) -> Result<Vec<(usize, [f64; 2])>, String> {
    if run.is_cell() {
        return Err("the statistics of several trials hold no single requests".to_owned());
    }
    let first_end = run
        .profiling()
        .map(|(_, request)| request.end_ns)
        .min()
        .unwrap_or(0);
    let value = |tag: &str, line: usize, at: usize| match tag {
        "request_number" => Some(line as f64),
        "timestamp" => Some((run.requests[at].end_ns - first_end) as f64 / 1e9),
        tag => run.value(tag, at),
    };
    let all = run
        .profiling()
        .enumerate()
        .filter(|(_, (_, request))| request.outcome == Outcome::Valid);
    let pairs: Vec<_> = all
        .filter_map(|(line, (at, _))| Some((at, [value(x, line, at)?, value(y, line, at)?])))
        .collect();
    if pairs.is_empty() {
        return Err(format!(
            "no answered request has {} and {}",
            name_of(x),
            name_of(y)
        ));
    }
    Ok(pairs)
}

fn axis(tag: &str, from_zero: bool) -> Axis {
    let label = match tag {
        "timestamp" => "Time since the first request ended (s)".to_owned(),
        "request_number" => "Request, in the order of completion".to_owned(),
        tag => label(tag, ""),
    };
    if from_zero {
        Axis::from_zero(label)
    } else {
        Axis::new(label)
    }
}

/// What every figure of requests says about those that are not in it.
fn note_left_out(figure: &mut Figure, run: &Run) {
    let count = |outcome| {
        run.profiling()
            .filter(|(_, request)| request.outcome == outcome)
            .count()
    };
    let (failed, cancelled) = (count(Outcome::Failed), count(Outcome::Cancelled));
    if failed + cancelled > 0 {
        figure.notes.push(format!(
            "Answered requests only: {failed} failed and {cancelled} cancelled ones are left out."
        ));
    }
}

/// Points.
pub fn scatter(preset: &Preset, run: &Run) -> Result<Figure, String> {
    let (x, y) = (
        preset.measure("x", &preset.x)?.tag(),
        preset.measure("y", &preset.y)?.tag(),
    );
    let points = pairs(run, x, y)?
        .into_iter()
        .map(|(_, [x, y])| Point::at(x, y))
        .collect();
    let mut figure = empty(
        preset,
        axis(x, preset.x_from_zero()),
        axis(y, preset.y_from_zero()),
    );
    figure
        .series
        .push(Series::new("", Ink::Primary, Mark::Dots, points));
    note_left_out(&mut figure, run);
    Ok(figure)
}

/// Points with the p50, p95 and p99 of the last ten.
pub fn scatter_with_percentiles(preset: &Preset, run: &Run) -> Result<Figure, String> {
    let (x, y) = (
        preset.measure("x", &preset.x)?.tag(),
        preset.measure("y", &preset.y)?.tag(),
    );
    let mut pairs: Vec<[f64; 2]> = pairs(run, x, y)?
        .into_iter()
        .map(|(_, pair)| pair)
        .collect();
    pairs.sort_by(|a, b| a[0].total_cmp(&b[0]));
    let window = pairs.len().min(10);
    let mut figure = empty(
        preset,
        axis(x, preset.x_from_zero()),
        axis(y, preset.y_from_zero()),
    );
    let points = pairs.iter().map(|[x, y]| Point::at(*x, *y)).collect();
    figure
        .series
        .push(Series::new("requests", Ink::Secondary, Mark::Dots, points));
    for (at, (name, q)) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)]
        .into_iter()
        .enumerate()
    {
        let rolling = pairs.windows(window).map(|window| {
            let values = sorted(window.iter().map(|pair| pair[1]).collect());
            Point::at(window[window.len() - 1][0], quantile(&values, q))
        });
        figure.series.push(Series::new(
            format!("{name} of {window}"),
            Ink::Nth(at),
            Mark::Line,
            rolling.collect(),
        ));
    }
    figure.notes.push(format!(
        "Percentiles over the {window} requests up to each point."
    ));
    note_left_out(&mut figure, run);
    Ok(figure)
}

/// p5 to p95 and p25 to p75 as bands, p50 and p99 as lines, in equal windows of time.
pub fn percentile_bands(preset: &Preset, run: &Run) -> Result<Figure, String> {
    let (x, y) = (
        preset.measure("x", &preset.x)?.tag(),
        preset.measure("y", &preset.y)?.tag(),
    );
    let pairs: Vec<[f64; 2]> = pairs(run, x, y)?
        .into_iter()
        .map(|(_, pair)| pair)
        .collect();
    if pairs.len() < 20 {
        return Err(format!(
            "percentiles over time need 20 requests, there are {}",
            pairs.len()
        ));
    }
    let low = pairs
        .iter()
        .map(|pair| pair[0])
        .fold(f64::INFINITY, f64::min);
    let high = pairs
        .iter()
        .map(|pair| pair[0])
        .fold(f64::NEG_INFINITY, f64::max);
    let windows = (pairs.len() / 10).clamp(2, 60);
    let wide = ((high - low) / windows as f64).max(f64::MIN_POSITIVE);
    let mut values = vec![Vec::new(); windows];
    for [x, y] in pairs {
        values[(((x - low) / wide) as usize).min(windows - 1)].push(y);
    }
    let windows: Vec<(f64, Vec<f64>)> = values
        .into_iter()
        .enumerate()
        .filter(|(_, values)| !values.is_empty())
        .map(|(at, values)| (low + (at as f64 + 0.5) * wide, sorted(values)))
        .collect();
    let band = |from: f64, to: f64| {
        windows
            .iter()
            .map(|(x, values)| Point::at(*x, quantile(values, from)).to(0.0, quantile(values, to)))
            .collect()
    };
    let curve = |q: f64| {
        windows
            .iter()
            .map(|(x, values)| Point::at(*x, quantile(values, q)))
            .collect()
    };
    let mut figure = empty(
        preset,
        axis(x, preset.x_from_zero()),
        axis(y, preset.y_from_zero()),
    );
    figure.series = vec![
        Series::new("p5 to p95", Ink::Nth(0), Mark::Band, band(0.05, 0.95)),
        Series::new("p25 to p75", Ink::Nth(0), Mark::Band, band(0.25, 0.75)),
        Series::new("p50", Ink::Nth(0), Mark::Line, curve(0.5)),
        Series::new("p99", Ink::Nth(1), Mark::Dashed, curve(0.99)),
    ];
    figure.notes.push(format!(
        "Windows of {} s, each over the requests that ended in it.",
        number(wide)
    ));
    note_left_out(&mut figure, run);
    Ok(figure)
}

/// One bar per request: waiting for the first token, then streaming; a cross where it was
/// cancelled.
pub fn timeline(preset: &Preset, run: &Run) -> Result<Figure, String> {
    if run.requests.is_empty() {
        return Err("there are no requests".to_owned());
    }
    let zero = run.zero_ns();
    let seconds = |ns: u64| ns.saturating_sub(zero) as f64 / 1e9;
    let mut rows: Vec<_> = run.profiling().collect();
    rows.sort_by_key(|(_, request)| request.start_ns);
    let y_tag = preset.y.as_ref().map(|measure| measure.tag());
    let (mut waiting, mut streaming, mut crosses, mut failed) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (row, (at, request)) in rows.into_iter().enumerate() {
        let (start, end) = (seconds(request.start_ns), seconds(request.end_ns));
        let y = match y_tag {
            Some(tag) => match run.value(tag, at) {
                Some(value) => value,
                None => continue,
            },
            None => row as f64,
        };
        let cancelled_ttft = request
            .cancel
            .as_ref()
            .and_then(|cancel| cancel.time_to_first_token_ms);
        let first = run
            .value(tag::TIME_TO_FIRST_TOKEN, at)
            .or(cancelled_ttft)
            .map(|ms| start + ms / 1e3);
        match first {
            Some(first) if first > end => continue,
            Some(first) => {
                waiting.push(Point::at(start, y).to(first, 0.0));
                streaming.push(Point::at(first, y).to(end, 0.0));
            }
            None => waiting.push(Point::at(start, y).to(end, 0.0)),
        }
        match request.outcome {
            Outcome::Cancelled => crosses.push(Point::at(end, y)),
            Outcome::Failed => failed.push(Point::at(end, y)),
            Outcome::Valid => {}
        }
    }
    let y_axis = y_tag.map_or_else(
        || Axis::from_zero("Request, in the order of starts"),
        |tag| axis(tag, true),
    );
    let mut figure = empty(preset, Axis::from_zero(SECONDS), y_axis);
    figure.series = vec![
        Series::new("until the first token", Ink::Primary, Mark::Spans, waiting),
        Series::new(
            "from there to the end",
            Ink::Secondary,
            Mark::Spans,
            streaming,
        ),
        Series::new("cancelled", Ink::Outlier, Mark::Crosses, crosses),
        Series::new("failed", Ink::Outlier, Mark::Diamonds, failed),
    ];
    figure.series.retain(|series| !series.points.is_empty());
    if figure.series.is_empty() {
        return Err("no request has both a start and a first token".to_owned());
    }
    Ok(figure)
}

/// How often which value.
pub fn histogram(preset: &Preset, run: &Run) -> Result<Figure, String> {
    let measure = preset
        .measure("x", &preset.x)
        .or_else(|_| preset.measure("y", &preset.y))?;
    let tag = measure.tag();
    let values = sorted(
        pairs(run, "request_number", tag)?
            .into_iter()
            .map(|(_, pair)| pair[1])
            .collect(),
    );
    let mut figure = bars(preset, &values, &label(tag, ""), "requests");
    note_left_out(&mut figure, run);
    Ok(figure)
}

/// Bars over sorted values with lines at the percentiles; logarithmic where the largest value is
/// far from the middle.
pub fn bars(preset: &Preset, values: &[f64], x_label: &str, what: &str) -> Figure {
    let (low, high) = (values[0], values[values.len() - 1]);
    let log = low > 0.0 && high / quantile(values, 0.5) > 20.0;
    let count = ((values.len() as f64).sqrt().ceil() as usize).clamp(8, 60);
    let (from, to) = if log {
        (low.ln(), high.ln())
    } else {
        (low, high)
    };
    let wide = if to > from {
        (to - from) / count as f64
    } else {
        (low.abs() * 0.01).max(1e-9)
    };
    let mut heights = vec![0u64; count];
    for value in values {
        let value = if log { value.ln() } else { *value };
        heights[(((value - from) / wide) as usize).min(count - 1)] += 1;
    }
    let edge = |at: usize| {
        let edge = from + at as f64 * wide;
        if log { edge.exp() } else { edge }
    };
    let bars = heights
        .iter()
        .enumerate()
        .filter(|(_, height)| **height > 0);
    let bars = bars
        .map(|(at, height)| Point::at(edge(at), *height as f64).to(edge(at + 1), 0.0))
        .collect();
    let x = Axis {
        log,
        ..Axis::new(x_label)
    };
    let mut figure = empty(preset, x, Axis::from_zero(format!("Number of {what}")));
    figure
        .series
        .push(Series::new("", Ink::Primary, Mark::Bars, bars));
    for (name, q) in [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)] {
        let value = quantile(values, q);
        figure
            .guides
            .push(line(format!("{name} {}", number(value)), value, true));
    }
    figure
        .notes
        .push(format!("{} {what}.", number(values.len() as f64)));
    figure
}
