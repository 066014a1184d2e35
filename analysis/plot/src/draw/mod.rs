//! From a preset and runs to a figure. Every function fails with the reason why there is nothing to
//! draw, in words for the user.

mod cancel;
mod common;
mod multi;
mod requests;
mod time;

use super::{
    config::{Classification, Downsampling},
    figure::Figure,
    load::Run,
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
