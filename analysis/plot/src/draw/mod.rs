//! From a preset and runs to a figure. Every function fails with the reason why there is nothing to
//! draw, in words for the user.

mod cancel;
mod multi;
mod requests;
mod time;

use super::{
    config::{Classification, Downsampling},
    figure::{Axis, Figure, Guide},
    load::{Run, name_of, unit_of},
    preset::{Kind, Preset},
};

/// What drawing needs besides preset and runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'c> {
    /// Which runs are baselines.
    pub classes: Option<&'c Classification>,
    /// Windows of server metrics.
    pub downsampling: Downsampling,
}

/// The figure of a preset of one run.
///
/// # Errors
/// Why it cannot be drawn.
pub fn single(preset: &Preset, run: &Run, context: Context) -> Result<Figure, String> {
    match preset.kind {
        Kind::Scatter => requests::scatter(preset, run),
        Kind::ScatterWithPercentiles => requests::scatter_with_percentiles(preset, run),
        Kind::RequestTimeline => requests::timeline(preset, run),
        Kind::Histogram => requests::histogram(preset, run),
        Kind::PercentileBands => requests::percentile_bands(preset, run),
        Kind::Area => time::throughput(preset, run),
        Kind::Timeslice => time::slices(preset, run),
        Kind::DualAxis => time::dual_axis(preset, run, context.downsampling),
        Kind::Cancellations => cancel::over_time(preset, run),
        Kind::CancellationPhases => cancel::phases(preset, run),
        Kind::CancellationDelayError => cancel::delay_error(preset, run),
        Kind::CancellationNeighbours => cancel::neighbours(preset, run),
        Kind::ClientHealth => cancel::client_health(preset, run),
        Kind::Pareto | Kind::ScatterLine | Kind::LatencyThroughputUncertainty | Kind::ByRun => {
            Err("it compares runs; give two or more".to_owned())
        }
    }
}

/// The figure of a preset of several runs.
///
/// # Errors
/// Why it cannot be drawn.
pub fn several(preset: &Preset, runs: &[&Run], context: Context) -> Result<Figure, String> {
    match preset.kind {
        Kind::Pareto => multi::pareto(preset, runs, context.classes),
        Kind::ScatterLine | Kind::Scatter => multi::scatter(preset, runs, context.classes),
        Kind::LatencyThroughputUncertainty => multi::uncertainty(preset, runs, context.classes),
        Kind::ByRun => multi::by_run(preset, runs, context.classes),
        _ => Err("it shows one run; give one".to_owned()),
    }
}

/// A figure without series.
fn empty(preset: &Preset, x: Axis, y: Axis) -> Figure {
    let named = |mut axis: Axis, label: &Option<String>| {
        if let Some(label) = label {
            axis.label.clone_from(label);
        }
        axis
    };
    Figure {
        name: preset.name.clone(),
        title: preset.title(),
        x: named(x, &preset.x_label),
        y: named(y, &preset.y_label),
        y2: None,
        series: Vec::new(),
        guides: Vec::new(),
        notes: preset.description.clone().into_iter().collect(),
    }
}

/// Display name of a tag with statistic and unit, for an axis.
fn label(tag: &str, stat: &str) -> String {
    let unit = unit_of(tag);
    let name = name_of(tag);
    match (stat.is_empty(), unit.is_empty()) {
        (true, true) => name,
        (true, false) => format!("{name} ({unit})"),
        (false, true) => format!("{name}, {stat}"),
        (false, false) => format!("{name}, {stat} ({unit})"),
    }
}

const SECONDS: &str = "Time since the first request (s)";

/// A dashed horizontal or upright line.
fn line(text: impl Into<String>, at: f64, upright: bool) -> Guide {
    Guide {
        text: text.into(),
        from: at,
        to: at,
        upright,
    }
}

/// The value at rank q·(n − 1), between neighbours in proportion; `sorted` holds something.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = q * (sorted.len() - 1) as f64;
    let (below, above) = (rank.floor() as usize, rank.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (rank - below as f64)
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values
}
