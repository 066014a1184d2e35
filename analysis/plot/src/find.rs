//! Which folders under the given paths hold runs.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Folders are looked into this deep.
const DEPTH: usize = 16;

const RECORDS: &str = "profile_export.jsonl";
const SUMMARY: &str = "profile_export_aiperf.json";
const CELL: &str = "profile_export_aiperf_aggregate.json";
/// Files of one prefix: these ends are not summaries.
const NOT_SUMMARIES: [&str; 5] = [
    "_timeslices",
    "server_metrics_export",
    "_server_metrics",
    "_aggregate",
    "_collated",
];

/// A run, or the aggregate of the trials of one cell of a sweep.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Found {
    /// The folder, resolved.
    pub folder: PathBuf,
    /// `profile_export` or the prefix of the files.
    pub prefix: Option<String>,
    /// Holds statistics of several trials instead of one run.
    pub is_cell: bool,
}

impl Found {
    /// One of its files: the usual name, or with the prefix.
    pub fn file(&self, usual: &str) -> PathBuf {
        let name = match (&self.prefix, usual) {
            (None, usual) => usual.to_owned(),
            (Some(prefix), SUMMARY) => format!("{prefix}.json"),
            (Some(prefix), RECORDS) => format!("{prefix}.jsonl"),
            (Some(prefix), usual) => {
                let end = usual
                    .strip_prefix("profile_export_aiperf")
                    .or_else(|| usual.strip_suffix("_export.jsonl"));
                match end {
                    Some("gpu_telemetry") => format!("{prefix}_gpu_telemetry.jsonl"),
                    Some(end) if end.starts_with('_') => format!("{prefix}{end}"),
                    _ => {
                        usual.replace("server_metrics_export", &format!("{prefix}_server_metrics"))
                    }
                }
            }
        };
        self.folder.join(name)
    }

    /// The file with its summary.
    pub fn summary(&self) -> PathBuf {
        self.file(if self.is_cell { CELL } else { SUMMARY })
    }

    /// The file with its requests.
    pub fn records(&self) -> PathBuf {
        self.file(RECORDS)
    }
}

/// The runs in and under these folders, each once, sorted.
///
/// # Errors
/// A path is not there, or is no folder; the text names it.
pub fn runs(paths: &[PathBuf]) -> Result<Vec<Found>, String> {
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for path in paths {
        let folder = path.canonicalize().map_err(|error| {
            format!(
                "there is no folder {}: {error}; give a folder that a run wrote",
                path.display()
            )
        })?;
        if !folder.is_dir() {
            return Err(format!(
                "{} is not a folder; give the folder that holds the run's files",
                path.display()
            ));
        }
        look_into(&folder, DEPTH, &mut seen, &mut found);
    }
    // A cell's aggregate says less than its only run.
    let singles: Vec<PathBuf> = found
        .iter()
        .filter(|run| !run.is_cell)
        .map(|run| run.folder.clone())
        .collect();
    let has_single = |cell: &Found| {
        // `<base>/aggregate/<dir>` is of `<base>/<dir>`, `<cell>/aggregate` of `<cell>`.
        let of = cell_folder(&cell.folder);
        singles
            .iter()
            .any(|single| *single == of || *single == cell.folder)
    };
    let mut found: Vec<Found> = found
        .into_iter()
        .filter(|run| !run.is_cell || !has_single(run))
        .collect();
    found.sort_by_cached_key(|run| (natural(&run.folder), run.prefix.clone()));
    Ok(found)
}

/// A key that sorts numbers in names by their size: 2 before 10.
fn natural(path: &Path) -> Vec<(String, u64)> {
    let text = path.to_string_lossy();
    let mut parts = vec![(String::new(), 0u64)];
    let mut in_number = false;
    for letter in text.chars() {
        match letter.to_digit(10) {
            Some(digit) => {
                if let Some((_, number)) = parts.last_mut() {
                    *number = number.saturating_mul(10).saturating_add(u64::from(digit));
                }
                in_number = true;
            }
            None => {
                if std::mem::take(&mut in_number) {
                    parts.push((String::new(), 0));
                }
                if let Some((word, _)) = parts.last_mut() {
                    word.push(letter);
                }
            }
        }
    }
    parts
}

/// The folder of the run or runs that an aggregate sums up.
fn cell_folder(aggregate: &Path) -> PathBuf {
    let mut parts: Vec<_> = aggregate.components().collect();
    if let Some(at) = parts
        .iter()
        .rposition(|part| part.as_os_str() == "aggregate")
    {
        parts.remove(at);
    }
    parts.into_iter().collect()
}

fn look_into(
    folder: &Path,
    deep: usize,
    seen: &mut BTreeSet<PathBuf>,
    found: &mut BTreeSet<Found>,
) {
    if !seen.insert(folder.to_owned()) {
        return;
    }
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let mut names = BTreeSet::new();
    let mut folders = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type();
        if kind.as_ref().is_ok_and(fs::FileType::is_dir) {
            folders.push(entry.path());
        }
        if !kind.is_ok_and(|kind| kind.is_dir()) {
            names.insert(name);
        }
    }
    let here = |prefix: Option<String>, is_cell| Found {
        folder: folder.to_owned(),
        prefix,
        is_cell,
    };
    if names.contains(RECORDS) && names.contains(SUMMARY) {
        found.insert(here(None, false));
    }
    if names.contains(CELL) {
        found.insert(here(None, true));
    }
    for name in &names {
        let Some(prefix) = name.strip_suffix(".json") else {
            continue;
        };
        let other = NOT_SUMMARIES.iter().any(|end| prefix.ends_with(end));
        if !other
            && name != SUMMARY
            && names.contains(&format!("{prefix}.jsonl"))
            && is_summary(&folder.join(name))
        {
            found.insert(here(Some(prefix.to_owned()), false));
        }
    }
    if deep == 0 {
        return;
    }
    let is_run = names.contains(RECORDS) && names.contains(SUMMARY);
    let has_aggregate = folders
        .iter()
        .any(|child| child.file_name().is_some_and(|name| name == "aggregate"));
    for child in folders {
        let name = child.file_name().unwrap_or_default();
        // Figures of the phases of one run are no runs; neither are the trials that were summed up.
        // And the report that was made of a run lies in it.
        let skipped = name == "phases"
            || (name == "report" && is_run)
            || (name == "profile_runs" && has_aggregate);
        if !skipped {
            look_into(&child, deep - 1, seen, found);
        }
    }
}

/// Whether a JSON file of another name is a run's summary: its head says so.
fn is_summary(path: &Path) -> bool {
    use std::io::Read as _;
    let mut head = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(512).read_to_end(&mut head))
        .is_ok()
        && String::from_utf8_lossy(&head).contains("\"aiperf_version\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(root: &Path, files: &[&str]) {
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(
                path,
                "{\"schema_version\": \"1.4\", \"aiperf_version\": \"1\"}",
            )
            .unwrap();
        }
    }

    fn names(root: &Path, paths: &[&str]) -> Vec<String> {
        let paths: Vec<_> = paths.iter().map(|path| root.join(path)).collect();
        let root = root.canonicalize().unwrap();
        let of = |found: Found| {
            let folder = found
                .folder
                .strip_prefix(&root)
                .unwrap()
                .display()
                .to_string();
            let kind = if found.is_cell { " cell" } else { "" };
            format!(
                "{folder}{kind}{}",
                found
                    .prefix
                    .map(|prefix| format!(" {prefix}"))
                    .unwrap_or_default()
            )
        };
        runs(&paths).unwrap().into_iter().map(of).collect()
    }

    #[test]
    fn runs_are_found_at_any_depth_once() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        touch(
            root,
            &[
                "b/profile_export.jsonl",
                "b/profile_export_aiperf.json",
                "b/server_metrics_export.json",
                "b/report/profile_export.jsonl",
                "b/report/profile_export_aiperf.json",
                "b/server_metrics_export.jsonl",
                "a/deep/profile_export.jsonl",
                "a/deep/profile_export_aiperf.json",
                "a/deep/phases/warmup/profile_export_aiperf.json",
                "a/deep/phases/warmup/profile_export.jsonl",
                "half/profile_export.jsonl",
                "own/mine.jsonl",
                "own/mine.json",
                "own/mine_timeslices.json",
                "own/mine_timeslices.jsonl",
            ],
        );
        assert_eq!(names(root, &[".", "b"]), ["a/deep", "b", "own mine"]);
        assert_eq!(names(root, &["half"]), [""; 0]);
    }

    #[test]
    fn trials_stay_behind_their_aggregate_unless_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        touch(
            root,
            &[
                "s/profile_runs/run_0001/profile_export.jsonl",
                "s/profile_runs/run_0001/profile_export_aiperf.json",
                "s/aggregate/profile_export_aiperf_aggregate.json",
                "t/c1/profile_export.jsonl",
                "t/c1/profile_export_aiperf.json",
                "t/aggregate/c1/profile_export_aiperf_aggregate.json",
            ],
        );
        assert_eq!(names(root, &["."]), ["s/aggregate cell", "t/c1"]);
        assert_eq!(
            names(root, &["s/profile_runs"]),
            ["s/profile_runs/run_0001"]
        );
    }

    #[test]
    fn numbers_in_names_are_sorted_by_size() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["c10", "c2", "c100", "b1"] {
            for file in ["profile_export.jsonl", "profile_export_aiperf.json"] {
                touch(folder.path(), &[&format!("{name}/{file}")]);
            }
        }
        assert_eq!(names(folder.path(), &["."]), ["b1", "c2", "c10", "c100"]);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let error = runs(&[PathBuf::from("/nowhere/at/all")]).unwrap_err();
        assert!(error.contains("/nowhere/at/all"), "{error}");
    }
}
