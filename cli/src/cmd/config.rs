//! `pinfire config`: config files to begin with, checked, and shown as what they stand for.

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result, bail};
use pinfire_config::{RunConfig, file::TEMPLATES, words::ConfigForm};
use pinfire_guard::ascii_json;

use crate::{
    args::{ConfigAction, ConfigExpand, ConfigInit},
    asked::of_file,
    settings::Settings,
    sweep,
    terminal::{say, stdout},
};

/// Does what is asked.
///
/// # Errors
/// The file cannot be read or written, or is wrong.
pub fn run(action: &ConfigAction) -> Result<ExitCode> {
    match action {
        ConfigAction::Init(init) => begin(init),
        ConfigAction::Validate(validate) => check(&validate.file),
        ConfigAction::Expand(expand) => show(expand),
    }
}

fn begin(init: &ConfigInit) -> Result<ExitCode> {
    if init.list || init.search.is_some() {
        let wanted = init.search.as_deref().unwrap_or_default().to_lowercase();
        let found: Vec<String> = TEMPLATES
            .iter()
            .filter(|template| {
                let text = format!("{} {}", template.name, template.purpose());
                text.to_lowercase().contains(&wanted)
            })
            .map(|template| format!("{:<14} {}\n", template.name, template.purpose()))
            .collect();
        if found.is_empty() {
            bail!("--search {wanted}: no template speaks of it; --list shows all");
        }
        return print(&found.concat());
    }
    let template = TEMPLATES
        .iter()
        .find(|template| template.name == init.template);
    let Some(template) = template else {
        let names: Vec<&str> = TEMPLATES.iter().map(|template| template.name).collect();
        bail!(
            "--template {}: it must be one of: {}",
            init.template,
            names.join(", ")
        );
    };
    let text = template.text(&init.model, &init.url.to_string());
    let Some(path) = &init.output else {
        return print(&text);
    };
    if path.exists() {
        bail!(
            "--output {}: there is a file of that name already",
            path.display()
        );
    }
    std::fs::write(path, text).with_context(|| format!("--output {}", path.display()))?;
    say::line(format_args!(
        "{} is written; run it: pinfire profile --config {}",
        path.display(),
        path.display()
    ));
    Ok(ExitCode::SUCCESS)
}

/// Reads the file and checks what it says together, as a run would before it sends anything.
fn check(file: &Path) -> Result<ExitCode> {
    let points = sweep::configs(&of_file(file)?)?;
    let mut said = None;
    for config in &points {
        let settings = Settings::new(config)?;
        if said.is_some() {
            continue;
        }
        for warning in settings.warnings.iter().chain(&settings.load.warnings) {
            say::warning(warning);
        }
        said = Some(format!(
            "{}, to {}",
            settings.load.profiling,
            settings.transport.urls.join(", ")
        ));
    }
    let more = match points.len() {
        0 | 1 => String::new(),
        points => format!("; {points} points, this is the first"),
    };
    print(&format!(
        "{}: a valid config file: {}{more}\n",
        file.display(),
        said.unwrap_or_default()
    ))
}

fn show(expand: &ConfigExpand) -> Result<ExitCode> {
    let points = sweep::configs(&of_file(&expand.file)?)?;
    let texts = |of: fn(&RunConfig) -> String| points.iter().map(of).collect::<Vec<_>>();
    print(&match (expand.format, points.as_slice()) {
        (ConfigForm::Text, _) => texts(|config| format!("{}\n", config.command_line())).concat(),
        (ConfigForm::Yaml, _) => texts(RunConfig::yaml).join("---\n"),
        (ConfigForm::Json, [one]) => ascii_json(&format!("{:#}\n", one.json())).into_owned(),
        (ConfigForm::Json, all) => {
            let all: Vec<serde_json::Value> = all.iter().map(RunConfig::json).collect();
            ascii_json(&format!("{:#}\n", serde_json::Value::from(all))).into_owned()
        }
    })
}

fn print(text: &str) -> Result<ExitCode> {
    stdout::plain(text);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_a_config_file_that_holds() {
        for template in TEMPLATES {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("run.yaml");
            let mut text = template.text("m", "http://localhost:8000");
            if template.name == "trace" {
                let trace = folder.path().join("trace.jsonl");
                std::fs::write(&trace, "{\"timestamp\": 0, \"input_length\": 5, \"output_length\": 5, \"hash_ids\": [1]}\n").unwrap();
                text = text.replace("${TRACE:trace.jsonl}", &trace.display().to_string());
            }
            std::fs::write(&path, text).unwrap();
            let checked = check(&path);
            assert!(checked.is_ok(), "{}: {checked:?}", template.name);
            assert!(template.purpose().ends_with(['.', ':']) || template.purpose().len() > 20);
        }
    }
}
