//! Pages of what `cancel-test` and `profile --verify-release` have found, from their JSON.
//! They have more than a picture can show.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use pinfire_analysis::reclaim::{matrix, page};
use pinfire_artifacts::{CANCEL_MATRIX, CANCEL_TEST};
use serde_json::Value;

use super::write;
use crate::terminal::say;

/// What the files are called, with or without the prefix of a run.
const NAMES: [&str; 3] = [CANCEL_TEST, CANCEL_MATRIX, "release.json"];

/// What is in these folders of `cancel-test` that a picture cannot show, in one line.
pub fn not_in_pictures(paths: &[PathBuf]) -> Option<String> {
    let there = |name| paths.iter().map(move |path| path.join(name));
    if let Some(file) = there(CANCEL_MATRIX).find(|file| file.is_file()) {
        return Some(format!(
            "{}: a matrix of cancel-tests is a table, which is not in the pictures; --html makes its page",
            file.display()
        ));
    }
    let file = there(CANCEL_TEST).find(|file| file.is_file())?;
    Some(format!(
        "{}: what the server held meanwhile, and the verdict, are not in the pictures; --html makes \
         their page",
        file.display()
    ))
}

/// The page of one of these files.
fn page_of(name: &str, report: &Value) -> Result<String, String> {
    match name.ends_with(CANCEL_MATRIX) {
        true => matrix::html(report),
        false => page::html(report),
    }
}

/// Makes a page of each that lies in these folders or one level below, and says where. How many.
///
/// # Errors
/// A file of that name that is something else, or a page that cannot be written.
pub fn pages(paths: &[PathBuf], output: &Path) -> Result<usize> {
    let mut made = 0;
    for root in paths {
        let mut folders = vec![root.clone()];
        folders.extend(entries(root).into_iter().filter(|path| path.is_dir()));
        for folder in &folders {
            for file in entries(folder) {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                let ours = NAMES
                    .iter()
                    .any(|ours| name == *ours || name.ends_with(&format!("_{ours}")));
                if !ours || !file.is_file() {
                    continue;
                }
                let text = fs::read(&file)?;
                let html = serde_json::from_slice(&text)
                    .map_err(|error| anyhow!(error))
                    .and_then(|report| page_of(&name, &report).map_err(|error| anyhow!(error)))
                    .with_context(|| file.display().to_string())?;
                // Of a folder below, its name tells the page from others.
                let below = folder.strip_prefix(root).unwrap_or(folder);
                let stem = below.join(name.trim_end_matches(".json"));
                let stem = stem
                    .to_string_lossy()
                    .replace(std::path::MAIN_SEPARATOR, "_");
                let path = output.join(format!("{stem}.html"));
                fs::create_dir_all(output)
                    .with_context(|| format!("--output {}", output.display()))?;
                write(&path, html.as_bytes())?;
                say::line(format_args!("Release page: {}", path.display()));
                made += 1;
            }
        }
    }
    Ok(made)
}

/// What lies in a folder, by name; nothing if it is none.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = found.map(|entry| entry.path()).collect();
    found.sort();
    found
}
