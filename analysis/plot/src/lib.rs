//! Pictures of runs: from the folders of runs to figures, and from figures to SVG, PNG and a page.
//!
//! `find` looks for runs, `load` reads one, `config` and `preset` say what is drawn, `draw` makes
//! figures of it, and `svg`, `png` and `page` show them. Nothing here opens a socket.

pub mod config;
pub mod draw;
pub mod figure;
pub mod find;
pub mod load;
pub mod page;
pub mod png;
pub mod preset;
pub mod scale;
pub mod svg;
mod text;
pub mod theme;
mod thin;

#[cfg(test)]
mod tests;

pub use config::Config;
pub use figure::Figure;
pub use load::Run;
pub use theme::Theme;

use std::path::{Path, PathBuf};

use draw::Context;
use pinfire_artifacts::STARTED;

/// What was read.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The runs, sorted by folder.
    pub runs: Vec<Run>,
    /// What could not be read, one line each.
    pub warnings: Vec<String>,
}

/// Reads every run in and under the paths. A run that cannot be read is a warning.
///
/// # Errors
/// A path is not there, or none of them holds a run.
pub fn load(paths: &[PathBuf], config: &Config, num_gpus: Option<f64>) -> Result<Loaded, String> {
    let found = find::runs(paths)?;
    if found.is_empty() {
        let paths: Vec<String> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let killed = paths
            .iter()
            .find(|path| Path::new(path).join(STARTED).is_file());
        return Err(match killed {
            Some(path) => format!(
                "no runs found: the run in {path} was ended before it had a summary; `pinfire report {path} \
                 --output {path}` makes it of what there is"
            ),
            None => format!(
                "no runs found in {}: a run's folder holds profile_export.jsonl and \
                 profile_export_aiperf.json",
                paths.join(", ")
            ),
        });
    }
    let tags = wanted_tags(config);
    let mut loaded = Loaded::default();
    for (found, name) in found.iter().zip(load::names(&found)) {
        match load::run(found, &tags) {
            Ok(mut run) => {
                run.name = name;
                run.num_gpus = num_gpus;
                loaded.warnings.append(&mut run.warnings);
                loaded.runs.push(run);
            }
            Err(error) => loaded.warnings.push(error),
        }
    }
    if loaded.runs.is_empty() {
        return Err(format!(
            "no run could be read: {}",
            loaded.warnings.join("; ")
        ));
    }
    Ok(loaded)
}

/// The tags of requests that presets of the settings file name.
pub fn wanted_tags(config: &Config) -> Vec<String> {
    let own = config.visualization.single_run_plots.values();
    own.flat_map(|preset| preset.tags().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// What was drawn, and what was not.
#[derive(Debug, Default)]
pub struct Drawn {
    /// The figures in the order of the presets.
    pub figures: Vec<Figure>,
    /// Presets that had nothing to draw, with the reason.
    pub skipped: Vec<(String, String)>,
}

/// The figures of one run.
///
/// # Errors
/// The settings name a preset that does not exist.
pub fn figures_of_run(run: &Run, config: &Config) -> Result<Drawn, String> {
    let context = context(config);
    let draw = |preset: &preset::Preset| draw::single(preset, run, context);
    Ok(drawn(&config.presets(false)?, draw))
}

/// The figures that compare runs.
///
/// # Errors
/// The settings name a preset that does not exist.
pub fn figures_of_runs(runs: &[&Run], config: &Config) -> Result<Drawn, String> {
    let context = context(config);
    let draw = |preset: &preset::Preset| draw::several(preset, runs, context);
    Ok(drawn(&config.presets(true)?, draw))
}

const fn context(config: &Config) -> Context<'_> {
    Context {
        classes: config.experiment_classification.as_ref(),
        downsampling: config.settings.server_metrics_downsampling,
    }
}

fn drawn(
    presets: &[preset::Preset],
    draw: impl Fn(&preset::Preset) -> Result<Figure, String>,
) -> Drawn {
    let mut all = Drawn::default();
    for preset in presets {
        match draw(preset) {
            Ok(figure) => all.figures.push(figure),
            Err(why) => all.skipped.push((preset.name.clone(), why)),
        }
    }
    all
}
