//! `pinfire plot`: pictures of finished runs, a page of one file, or a local web page.

mod dashboard;
mod reclaim;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, anyhow, ensure};
use pinfire_artifacts::RunFiles;
use pinfire_config::setting::Setting;
use pinfire_plot::{self as plot, Config, Drawn, Loaded, Theme, page, png, svg};

use crate::{args::Plot, cmd::report::merge_shards, terminal::say};

/// Draws what was asked for; 1 if nothing could be drawn.
///
/// # Errors
/// A path is not there or holds no run, the settings are wrong, a file cannot be written, the port
/// is taken.
pub fn run(flags: &Plot) -> Result<ExitCode> {
    let mut paths = flags.folders.clone();
    paths.extend(flags.paths.iter().cloned());
    if paths.is_empty() {
        paths.push(PathBuf::from("artifacts"));
    }
    let config = settings(flags, &paths[0])?;
    merge(&paths)?;
    if flags.dashboard {
        return dashboard::serve(flags, &paths, config);
    }
    let num_gpus = flags.num_gpus.map(f64::from);
    let output = flags
        .output
        .clone()
        .unwrap_or_else(|| paths[0].join("plots"));
    let paths = with_repeats(paths)?;
    let verdicts = match flags.html {
        true => reclaim::pages(&paths, &output)?,
        false => 0,
    };
    let loaded = match plot::load(&paths, &config, num_gpus) {
        Ok(loaded) => loaded,
        // Of a cancel-test there may be nothing else.
        Err(_) if verdicts > 0 => return Ok(ExitCode::SUCCESS),
        Err(error) => {
            let error = anyhow!(error);
            return Err(match reclaim::not_in_pictures(&paths) {
                Some(why) => error.context(why),
                None => error,
            });
        }
    };
    if let Some(why) = reclaim::not_in_pictures(&paths).filter(|_| !flags.html) {
        say::line(why);
    }
    loaded.warnings.iter().for_each(say::warning);
    fs::create_dir_all(&output).with_context(|| format!("--output {}", output.display()))?;
    if flags.html {
        let path = output.join("report.html");
        let html = page::of_runs(&loaded, &config, &flags.theme.shown())
            .map_err(|error| anyhow!(error))?;
        write(&path, html.as_bytes())?;
        say::line(format_args!("Report page: {}", path.display()));
        return Ok(ExitCode::SUCCESS);
    }
    pictures(flags, &loaded, &config, &output)
}

/// The repeats of a configuration in place of the folder that holds them: what they say together
/// has no requests that could be drawn.
fn with_repeats(paths: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for path in paths {
        let repeats = match path.is_dir() {
            true => RunFiles::repeats(&path)?,
            false => Vec::new(),
        };
        if repeats.is_empty() || !RunFiles::points(&path)?.is_empty() {
            all.push(path);
        } else {
            all.extend(repeats.iter().map(|run| run.folder().to_owned()));
        }
    }
    Ok(all)
}

/// Makes runs of those that several shards have sent. One that cannot be made keeps no other from
/// being drawn, unless it was named.
fn merge(paths: &[PathBuf]) -> Result<()> {
    for run in plot::find::sharded(paths) {
        if let Err(error) = merge_shards(&run) {
            let named = |path: &PathBuf| path.canonicalize().is_ok_and(|path| path == run);
            ensure!(!paths.iter().any(named), error);
            say::warning(format_args!("{}: {error:#}", run.display()));
        }
    }
    Ok(())
}

/// The settings that count.
fn settings(flags: &Plot, first: &Path) -> Result<Config> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let file = Config::find(flags.config.as_deref(), first, home.as_deref());
    let Some(file) = file else {
        return Ok(Config::default());
    };
    let config = Config::read(&file).map_err(|error| anyhow!("--config {error}"))?;
    for unused in config.unused() {
        say::warning(format_args!("{}: {unused}", file.display()));
    }
    Ok(config)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| path.display().to_string())
}

fn pictures(flags: &Plot, loaded: &Loaded, config: &Config, output: &Path) -> Result<ExitCode> {
    let several = loaded.runs.len() > 1;
    let drawn = if several {
        plot::figures_of_runs(&loaded.runs.iter().collect::<Vec<_>>(), config)
    } else {
        plot::figures_of_run(&loaded.runs[0], config)
    };
    let drawn = drawn.map_err(|error| anyhow!(error))?;
    let theme = Theme::named(&flags.theme.shown()).context("--theme: light or dark")?;
    let mut files = Vec::new();
    for figure in &drawn.figures {
        let picture = svg::render(figure, theme);
        let pixels = png::render(&picture).map_err(|error| anyhow!("{}: {error}", figure.name))?;
        for (ending, bytes) in [("svg", picture.as_bytes()), ("png", &pixels)] {
            let name = format!("{}.{ending}", figure.name);
            write(&output.join(&name), bytes)?;
            files.push(name);
        }
    }
    if flags.verbose {
        for (name, why) in &drawn.skipped {
            say::warning(format_args!("{name} was left out: {why}"));
        }
    }
    write(
        &output.join("summary.txt"),
        summary(&drawn, &files, several, loaded, output).as_bytes(),
    )?;
    write(
        &output.join("aiperf_plot.log"),
        log(&drawn, loaded).as_bytes(),
    )?;
    ensure!(
        !drawn.figures.is_empty(),
        "nothing could be drawn: {}",
        drawn
            .skipped
            .first()
            .map_or("the settings name no plot", |(_, why)| why)
    );
    say::line(format_args!(
        "Saved {} plots of {} to {}; {} left out (why: summary.txt there)",
        drawn.figures.len(),
        match loaded.runs.len() {
            1 => loaded.runs[0].name.clone(),
            count => format!("{count} runs"),
        },
        output.display(),
        drawn.skipped.len(),
    ));
    Ok(ExitCode::SUCCESS)
}

fn summary(
    drawn: &Drawn,
    files: &[String],
    several: bool,
    loaded: &Loaded,
    output: &Path,
) -> String {
    let title = if several {
        "pinfire | Multi-run plots"
    } else {
        "pinfire | Single-run plots"
    };
    let mut text = format!("{title}\n{}\n", "=".repeat(title.len()));
    let names: Vec<&str> = loaded.runs.iter().map(|run| run.name.as_str()).collect();
    let _ = write!(
        text,
        "Runs: {}\nPlots: {}\nOutput: {}\n\nFiles:\n",
        names.join(", "),
        drawn.figures.len(),
        output.display()
    );
    for file in files {
        let _ = writeln!(text, "  {file}");
    }
    if !drawn.skipped.is_empty() {
        text.push_str("\nLeft out:\n");
    }
    for (name, why) in &drawn.skipped {
        let _ = writeln!(text, "  {name}: {why}");
    }
    text
}

fn log(drawn: &Drawn, loaded: &Loaded) -> String {
    let mut text = String::new();
    for run in &loaded.runs {
        let _ = writeln!(
            text,
            "INFO - read {}: {} requests",
            run.folder.display(),
            run.requests.len()
        );
    }
    for warning in &loaded.warnings {
        let _ = writeln!(text, "WARNING - {warning}");
    }
    for figure in &drawn.figures {
        let _ = writeln!(text, "INFO - drew {}", figure.name);
    }
    for (name, why) in &drawn.skipped {
        let _ = writeln!(text, "WARNING - left out {name}: {why}");
    }
    text
}
