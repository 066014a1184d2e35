//! Whether a folder holds a run, and where that run's files are.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::read::{ReadError, read_json};
use crate::{AGGREGATE_JSON, FileNames, STARTED, Summary};

/// The files of a run: a folder, and their names in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RunFiles {
    folder: PathBuf,
    names: FileNames,
}

/// Which run a path means is not clear.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The folder cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Read {
        /// The folder.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// There is none.
    #[error("{}: there is no run", path.display())]
    None {
        /// The path.
        path: PathBuf,
        /// The name of a folder below that holds one.
        below: Option<String>,
    },
    /// There are several, under prefixes.
    #[error("{}: there are several runs ({})", path.display(), prefixes.join(", "))]
    Several {
        /// The folder.
        path: PathBuf,
        /// Their prefixes.
        prefixes: Vec<String>,
    },
}

/// Ends of the names of JSON files that are no summaries.
const NOT_SUMMARIES: [&str; 7] = [
    "_timeslices.json",
    "server_metrics_export.json",
    "_server_metrics.json",
    "_aggregate.json",
    "_collated.json",
    "_sweep.json",
    "_release.json",
];

/// Ends of the names of files of lines that hold no requests of a run.
const NOT_REQUESTS: [&str; 5] = [
    "_gpu_telemetry.jsonl",
    "gpu_telemetry_export.jsonl",
    "_server_metrics.jsonl",
    "server_metrics_export.jsonl",
    "_network_latency.jsonl",
];

impl RunFiles {
    /// The files under these names in a folder, whether they are there or not.
    pub fn named(folder: &Path, names: FileNames) -> Self {
        Self {
            folder: folder.to_owned(),
            names,
        }
    }

    /// The run that a path means: a folder with one run, under the usual names or under one prefix,
    /// or one of the run's files.
    ///
    /// # Errors
    /// There is no run, or there are several.
    pub fn find(path: &Path) -> Result<Self, FindError> {
        let none = |below| FindError::None {
            path: path.to_owned(),
            below,
        };
        if path.is_file() {
            let name = path.file_name().map(|name| name.to_string_lossy());
            let name = name.ok_or_else(|| none(None))?;
            let usual = FileNames::default();
            let names = match usual.all().iter().any(|known| *known == name) {
                true => usual,
                false => FileNames::with_prefix(&name),
            };
            let files = Self::named(path.parent().unwrap_or(Path::new("")), names);
            return Some(files).filter(Self::is_run).ok_or_else(|| none(None));
        }
        let mut found = Self::in_folder(path)?;
        if let Some(usual) = found.iter().position(|run| run.prefix().is_none()) {
            return Ok(found.swap_remove(usual));
        }
        match found.pop() {
            None => Err(none(Self::below(path)?)),
            Some(one) if found.is_empty() => Ok(one),
            Some(last) => {
                found.push(last);
                let prefixes = found.iter().filter_map(Self::prefix);
                Err(FindError::Several {
                    path: path.to_owned(),
                    prefixes: prefixes.map(str::to_owned).collect(),
                })
            }
        }
    }

    /// All runs whose files are directly in a folder, the one under the usual names first.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn in_folder(folder: &Path) -> Result<Vec<Self>, FindError> {
        let usual = Some(Self::named(folder, FileNames::default()));
        let mut found: Vec<Self> = usual.into_iter().filter(Self::is_run).collect();
        let known: BTreeSet<String> = FileNames::default().all().into_iter().collect();
        let mut stems = BTreeSet::new();
        for name in file_names(folder)? {
            if known.contains(&name) {
                continue;
            }
            let is = |ending: &str, not: &[&str]| {
                name.ends_with(ending) && !not.iter().any(|end| name.ends_with(end))
            };
            let of_run = is(".jsonl", &NOT_REQUESTS)
                || is(".json", &NOT_SUMMARIES) && is_summary(&folder.join(&name));
            if of_run {
                stems.insert(FileNames::with_prefix(&name).json);
            }
        }
        let prefixed = stems.iter().map(|stem| FileNames::with_prefix(stem));
        found.extend(prefixed.map(|names| Self::named(folder, names)));
        Ok(found)
    }

    /// The repeated runs of one configuration in a folder: those in `profile_runs` of it, or in the
    /// folder itself if that is its name, in their order. Empty where there are none.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn repeats(folder: &Path) -> Result<Vec<Self>, FindError> {
        let below = folder.join(crate::PROFILE_RUNS);
        let runs = match folder.file_name() {
            Some(name) if name == crate::PROFILE_RUNS => folder,
            _ if below.is_dir() => &below,
            _ => return Ok(Vec::new()),
        };
        // A search keeps the runs of all its points in one such folder.
        if folder.join(crate::SEARCH_HISTORY).is_file() {
            return Ok(Vec::new());
        }
        let mut folders: Vec<PathBuf> = entries(runs)?
            .filter(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.starts_with("run_") || name.starts_with("trial_")
            })
            .map(|entry| entry.path())
            .collect();
        folders.sort_unstable();
        let runs = folders
            .iter()
            .map(|run| Self::named(run, FileNames::default()));
        Ok(runs.filter(Self::is_run).collect())
    }

    /// The repeats of a folder of which nothing is there: numbers that are left out between others,
    /// and folders without a file of a run.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn lost_repeats(folder: &Path) -> Result<Vec<PathBuf>, FindError> {
        let there = Self::repeats(folder)?;
        let Some(runs) = there.first().and_then(|run| run.folder.parent()) else {
            return Ok(Vec::new());
        };
        let parts = |path: &Path| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            let (stem, number) = name.rsplit_once('_')?;
            Some((stem.to_owned(), number.len(), number.parse::<u64>().ok()?))
        };
        let mut known = BTreeSet::new();
        let mut most = 0;
        let mut named = None;
        for entry in entries(runs)? {
            let Some((stem, digits, number)) = parts(&entry.path()) else {
                continue;
            };
            if stem == "run" || stem == "trial" {
                most = most.max(number);
                named = Some((stem, digits));
            }
        }
        known.extend(there.iter().filter_map(|run| Some(parts(&run.folder)?.2)));
        let Some((stem, digits)) = named else {
            return Ok(Vec::new());
        };
        // More than a folder can hold says nothing.
        let lost = (1..=most.min(100_000)).filter(|number| !known.contains(number));
        Ok(lost
            .map(|number| runs.join(format!("{stem}_{number:0digits$}")))
            .collect())
    }

    /// The points of a sweep or a search in a folder, by the name of their folder, each with its
    /// runs. Empty where there are none.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn points(folder: &Path) -> Result<Vec<(String, Vec<Self>)>, FindError> {
        if !is_of_points(folder) {
            return Ok(Vec::new());
        }
        let mut points: Vec<(String, Vec<Self>)> = Vec::new();
        let mut add = |name: String, run: Self| match points.iter_mut().find(|(of, _)| *of == name)
        {
            Some((_, runs)) => runs.push(run),
            None => points.push((name, vec![run])),
        };
        for point in folders(folder)? {
            let name = name_of(&point);
            if name == crate::PROFILE_RUNS {
                // The runs of all points once, then once more.
                for trial in folders(&point)? {
                    for run in folders(&trial)? {
                        let name = name_of(&run);
                        let run = Self::named(&run, FileNames::default());
                        Some(run)
                            .filter(Self::is_run)
                            .into_iter()
                            .for_each(|run| add(name.clone(), run));
                    }
                }
                continue;
            }
            let run = Self::named(&point, FileNames::default());
            let runs = match run.is_run() {
                true => vec![run],
                false => Self::repeats(&point)?,
            };
            runs.into_iter().for_each(|run| add(name.clone(), run));
        }
        Ok(points)
    }

    /// The first folder below that holds a run.
    fn below(folder: &Path) -> Result<Option<String>, FindError> {
        let mut folders: Vec<String> = entries(folder)?
            .filter(|entry| entry.path().is_dir())
            .filter(|entry| Self::named(&entry.path(), FileNames::default()).is_run())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        folders.sort_unstable();
        Ok(folders.into_iter().next())
    }

    /// Whether a run has left anything under these names.
    fn is_run(&self) -> bool {
        self.summary().is_some() || self.lines().is_some() || self.raw().is_some()
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The names.
    pub const fn names(&self) -> &FileNames {
        &self.names
    }

    /// The prefix of the names, if they are not the usual ones.
    pub fn prefix(&self) -> Option<&str> {
        self.names.prefix()
    }

    fn there(&self, name: &str) -> Option<PathBuf> {
        Some(self.folder.join(name)).filter(|path| path.is_file())
    }

    /// The summary, if it is there.
    pub fn summary(&self) -> Option<PathBuf> {
        self.there(&self.names.json)
    }

    /// The lines per request, if they are there.
    pub fn lines(&self) -> Option<PathBuf> {
        self.there(&self.names.jsonl)
    }

    /// Everything sent and received, if it is there.
    pub fn raw(&self) -> Option<PathBuf> {
        self.there(&self.names.raw)
    }

    /// The lines of the GPUs, if they are there.
    pub fn gpus(&self) -> Option<PathBuf> {
        self.there(&self.names.gpu_telemetry)
    }

    /// The lines of the servers' metrics, if they are there.
    pub fn server_lines(&self) -> Option<PathBuf> {
        self.there(&self.names.server_metrics("jsonl"))
    }

    /// The time slices, if they are there.
    pub fn slices(&self) -> Option<PathBuf> {
        self.there(&self.names.slices_json)
    }

    /// The table of the time slices, if it is there.
    pub fn slices_csv(&self) -> Option<PathBuf> {
        self.there(&self.names.slices_csv)
    }

    /// What a run writes when it begins and takes away when it ends, if it is there.
    pub fn started(&self) -> Option<PathBuf> {
        self.there(STARTED)
    }

    /// The aggregate of the runs of one point, if the folder has one.
    pub fn aggregate(folder: &Path) -> Option<PathBuf> {
        Some(folder.join(AGGREGATE_JSON)).filter(|path| path.is_file())
    }

    /// Reads the summary; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_summary(&self) -> Result<Option<Summary>, ReadError> {
        self.summary().map(|path| read_json(&path)).transpose()
    }
}

/// Whether a folder holds a sweep or a search.
fn is_of_points(folder: &Path) -> bool {
    let aggregates = ["sweep_aggregate", "aggregate/sweep_aggregate"];
    let has_aggregate = aggregates.iter().any(|dir| folder.join(dir).is_dir());
    has_aggregate || folder.join(crate::SEARCH_HISTORY).is_file()
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// The folders directly in a folder, by name; numbers by their size.
fn folders(folder: &Path) -> Result<Vec<PathBuf>, FindError> {
    let mut all: Vec<PathBuf> = entries(folder)?
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    let key = |path: &PathBuf| {
        let name = name_of(path);
        let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
        let number: String = digits.chars().take_while(char::is_ascii_digit).collect();
        let stem = name.len() - digits.len();
        let stem = name.get(..stem).unwrap_or_default().to_owned();
        (stem, number.parse::<u64>().unwrap_or(0), name)
    };
    all.sort_by_cached_key(key);
    Ok(all)
}

/// Whether a JSON file is the summary of a run.
fn is_summary(path: &Path) -> bool {
    #[derive(Deserialize)]
    struct Keys {
        aiperf_version: Option<IgnoredAny>,
        input_config: Option<IgnoredAny>,
    }
    let file = File::open(path).map(BufReader::new);
    let keys = file
        .ok()
        .and_then(|file| serde_json::from_reader::<_, Keys>(file).ok());
    keys.is_some_and(|keys| keys.aiperf_version.is_some() || keys.input_config.is_some())
}

fn entries(folder: &Path) -> Result<impl Iterator<Item = fs::DirEntry>, FindError> {
    let read = |cause| FindError::Read {
        path: folder.to_owned(),
        cause,
    };
    let entries: Result<Vec<_>, _> = fs::read_dir(folder).map_err(read)?.collect();
    entries.map(Vec::into_iter).map_err(read)
}

fn file_names(folder: &Path) -> Result<BTreeSet<String>, FindError> {
    let files = entries(folder)?.filter(|entry| !entry.path().is_dir());
    // A name that is no text is none of ours.
    Ok(files
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "{\"aiperf_version\": \"1\"}").unwrap();
        }
        folder
    }

    fn prefix(files: &[&str]) -> Result<Option<String>, FindError> {
        let folder = folder(files);
        Ok(RunFiles::find(folder.path())?.prefix().map(str::to_owned))
    }

    #[test]
    fn a_run_is_found_under_its_names() {
        for usual in [
            "profile_export.jsonl",
            "profile_export_aiperf.json",
            "profile_export_raw.jsonl",
        ] {
            assert_eq!(prefix(&[usual, "mine.json"]).unwrap(), None);
        }
        for files in [
            &["mine.json"][..],
            &["mine.jsonl", "gpu_telemetry_export.jsonl"],
            &[
                "mine_raw.jsonl",
                "mine_timeslices.json",
                "mine_server_metrics.jsonl",
            ],
        ] {
            assert_eq!(prefix(files).unwrap().as_deref(), Some("mine"), "{files:?}");
        }
    }

    #[test]
    fn one_of_its_files_names_a_run() {
        let folder = folder(&["a.json", "b.jsonl", "profile_export.jsonl"]);
        for (file, expected) in [
            ("a.json", Some("a")),
            ("b.jsonl", Some("b")),
            ("profile_export.jsonl", None),
        ] {
            let found = RunFiles::find(&folder.path().join(file)).unwrap();
            assert_eq!(found.prefix(), expected);
        }
    }

    #[test]
    fn what_is_no_run_says_what_there_is() {
        assert!(matches!(
            prefix(&["aggregate.txt"]),
            Err(FindError::None { below: None, .. })
        ));
        let Err(FindError::None { below, .. }) =
            prefix(&["c2/profile_export.jsonl", "c1/profile_export_aiperf.json"])
        else {
            panic!("runs are below");
        };
        assert_eq!(below.as_deref(), Some("c1"));
        let Err(FindError::Several { prefixes, .. }) = prefix(&["a.json", "b.jsonl"]) else {
            panic!("there are two");
        };
        assert_eq!(prefixes, ["a", "b"]);
    }
}
