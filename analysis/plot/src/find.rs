//! Which folders under the given paths hold runs.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use pinfire_artifacts::shard::{ShardFolder, shard_name};
use pinfire_artifacts::{FileNames, RunFiles};

/// Folders are looked into this deep.
const DEPTH: usize = 16;

/// A run, or the aggregate of the trials of one cell of a sweep.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Found {
    /// The folder, resolved.
    pub folder: PathBuf,
    /// What is in it.
    pub kind: Kind,
}

/// What a folder holds that can be drawn.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A run.
    Run(Box<FileNames>),
    /// Statistics of several trials, in this file.
    Cell(PathBuf),
}

impl Found {
    /// The run's files.
    pub fn run(&self) -> Option<RunFiles> {
        match &self.kind {
            Kind::Run(names) => Some(RunFiles::named(&self.folder, (**names).clone())),
            Kind::Cell(_) => None,
        }
    }

    /// The prefix of the run's files, if they have one.
    pub fn prefix(&self) -> Option<&str> {
        match &self.kind {
            Kind::Run(names) => names.prefix(),
            Kind::Cell(_) => None,
        }
    }

    /// Whether it is the aggregate of a cell.
    pub const fn is_cell(&self) -> bool {
        matches!(self.kind, Kind::Cell(_))
    }

    /// The file that changes last when a run has ended.
    pub fn summary(&self) -> PathBuf {
        match &self.kind {
            Kind::Run(names) => self.folder.join(&names.json),
            Kind::Cell(file) => file.clone(),
        }
    }

    /// The file with its requests; of a cell, none.
    pub fn records(&self) -> Option<PathBuf> {
        match &self.kind {
            Kind::Run(names) => Some(self.folder.join(&names.jsonl)),
            Kind::Cell(_) => None,
        }
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
        .filter(|run| !run.is_cell())
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
        .filter(|run| !run.is_cell() || !has_single(run))
        .collect();
    found.sort_by_cached_key(|run| (natural(&run.folder), run.prefix().map(str::to_owned)));
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

/// The folders in and under these that hold the shards of a run, each once. What cannot be read has
/// none.
pub fn sharded(paths: &[PathBuf]) -> Vec<PathBuf> {
    fn look(folder: &Path, deep: usize, found: &mut BTreeSet<PathBuf>) {
        if has_shards(folder) {
            found.insert(folder.to_owned());
            return;
        }
        let below = fs::read_dir(folder).into_iter().flatten().flatten();
        let below = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        if let Some(deep) = deep.checked_sub(1) {
            below.for_each(|entry| look(&entry.path(), deep, found));
        }
    }
    let mut found = BTreeSet::new();
    let folders = paths.iter().filter_map(|path| path.canonicalize().ok());
    folders.for_each(|folder| look(&folder, DEPTH, &mut found));
    found.into_iter().collect()
}

fn has_shards(folder: &Path) -> bool {
    ShardFolder::all(folder).is_ok_and(|shards| !shards.is_empty())
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
    // A folder that cannot be read has no runs for this user.
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let folders = entries.flatten().filter(is_folder);
    let folders: Vec<PathBuf> = folders.map(|entry| entry.path()).collect();
    let runs = RunFiles::in_folder(folder).unwrap_or_default().into_iter();
    let runs = runs.filter(|run| run.summary().is_some() && run.lines().is_some());
    let mut is_run = false;
    for run in runs {
        is_run |= run.prefix().is_none();
        found.insert(Found {
            folder: folder.to_owned(),
            kind: Kind::Run(Box::new(run.names().clone())),
        });
    }
    if let Some(file) = RunFiles::aggregate(folder) {
        found.insert(Found {
            folder: folder.to_owned(),
            kind: Kind::Cell(file),
        });
    }
    if deep == 0 {
        return;
    }
    let shards = ShardFolder::all(folder).unwrap_or_default();
    let has_aggregate = folders
        .iter()
        .any(|child| child.file_name().is_some_and(|name| name == "aggregate"));
    for child in folders {
        let name = child.file_name().unwrap_or_default();
        // Figures of the phases of one run are no runs; neither are the trials that were summed up.
        // The report that was made of a run lies in it, and so do the shards of a run.
        let skipped = name == "phases"
            || (name == "report" && is_run)
            || shards
                .iter()
                .any(|shard| name == shard_name(shard.index).as_str())
            || (name == pinfire_artifacts::PROFILE_RUNS && has_aggregate);
        if !skipped {
            look_into(&child, deep - 1, seen, found);
        }
    }
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
            let kind = if found.is_cell() { " cell" } else { "" };
            format!(
                "{folder}{kind}{}",
                found
                    .prefix()
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
    fn shards_are_one_run() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let files = |run: &str| {
            [
                format!("{run}/profile_export.jsonl"),
                format!("{run}/profile_export_aiperf.json"),
            ]
        };
        for run in ["a/shard-0000", "a/shard-0001", "a", "b", "c/d/shard-0000"] {
            let files = files(run);
            touch(root, &files.each_ref().map(String::as_str));
        }
        assert_eq!(names(root, &["."]), ["a", "b"]);
        assert_eq!(names(root, &["a/shard-0001"]), ["a/shard-0001"]);
        let found = sharded(&[root.to_owned(), root.join("a"), root.join("nowhere")]);
        let root = root.canonicalize().unwrap();
        assert_eq!(found, [root.join("a"), root.join("c/d")]);
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
