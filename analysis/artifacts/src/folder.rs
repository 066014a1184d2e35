//! The folder that a run writes to: one run at a time, without the files of the run before, and
//! still there at the end.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::{
    CANCEL_MATRIX, CANCEL_MATRIX_PAGE, CANCEL_TEST, CANCEL_TEST_PAGE, FileNames, LEADER,
    PHASE_MANIFEST, PHASES, READY, RUN_MARKER, SHARD, STARTED,
};

/// What a cancel-test leaves besides the files of a run.
const CANCEL_TEST_FILES: [&str; 4] = [
    CANCEL_TEST,
    CANCEL_TEST_PAGE,
    CANCEL_MATRIX,
    CANCEL_MATRIX_PAGE,
];

/// The file that is locked while a run writes to its folder.
const LOCK: &str = ".pinfire.lock";

/// A folder cannot be written to, or not by this run.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It cannot be made.
    #[error("the artifact folder {} cannot be made: {cause}", folder.display())]
    Make {
        /// The folder.
        folder: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// It cannot be locked or cleared.
    #[error("the artifact folder {} cannot be written to: cannot {action} {}: {cause}", folder.display(), path.display())]
    Write {
        /// The folder.
        folder: PathBuf,
        /// What failed.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Another run writes to it.
    #[error(
        "another run{by} is writing to the folder {}: wait for it, or give --artifact-dir another folder",
        folder.display()
    )]
    Busy {
        /// The folder.
        folder: PathBuf,
        /// Which process, if it says so.
        by: String,
    },
    /// It was removed or replaced during the run.
    #[error(
        "the artifact folder {} was removed or replaced while the run wrote to it: results are lost",
        folder.display()
    )]
    Lost {
        /// The folder.
        folder: PathBuf,
    },
    /// A file of the run was removed during the run.
    #[error("{} was removed while the run went on: results are lost", path.display())]
    LostFile {
        /// The file.
        path: PathBuf,
    },
}

/// A folder that this process writes to, locked for as long as this lives. The system gives the
/// lock back when the process ends, however it ends. Over NFS it holds between machines as far as
/// `flock` does there (Linux 2.6.12 and later, unless mounted with `local_lock`).
#[derive(Debug)]
pub struct RunFolder {
    folder: PathBuf,
    lock: File,
}

impl RunFolder {
    /// Makes the folder, if it is not there, and locks it.
    ///
    /// # Errors
    /// Another run writes to it, or it cannot be written to.
    pub fn create(folder: &Path) -> Result<Self, FolderError> {
        let failed = |action, path: &Path| {
            let (folder, path) = (folder.to_owned(), path.to_owned());
            move |cause| FolderError::Write {
                folder,
                action,
                path,
                cause,
            }
        };
        fs::create_dir_all(folder).map_err(|cause| FolderError::Make {
            folder: folder.to_owned(),
            cause,
        })?;
        let path = folder.join(LOCK);
        loop {
            let open = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path);
            let mut lock = open.map_err(failed("create", &path))?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(FolderError::Busy {
                        folder: folder.to_owned(),
                        by: owner(&mut lock),
                    });
                }
                Err(TryLockError::Error(cause)) => return Err(failed("lock", &path)(cause)),
            }
            // Whoever held it may have taken it away between the two calls.
            if !is_at(&lock, &path) {
                continue;
            }
            let process = format!("{}\n", std::process::id());
            let written = lock
                .set_len(0)
                .and_then(|()| lock.write_all(process.as_bytes()));
            written.map_err(failed("write", &path))?;
            return Ok(Self {
                folder: folder.to_owned(),
                lock,
            });
        }
    }

    /// Whether a run is writing to a folder.
    pub fn is_busy(folder: &Path) -> bool {
        let lock = File::open(folder.join(LOCK));
        lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Removes what an earlier run has left: every file that a run under the usual names or under
    /// `names` writes, the phases, the markers, and the report made of it. Files of other names
    /// stay, those of a run under another prefix too: they say themselves whose they are.
    ///
    /// # Errors
    /// One of them cannot be removed.
    pub fn clear(&self, names: &FileNames) -> Result<(), FolderError> {
        let mut files = names.all();
        files.extend(FileNames::default().all());
        let markers = [READY, STARTED, RUN_MARKER, PHASE_MANIFEST, SHARD, LEADER]
            .into_iter()
            .chain(CANCEL_TEST_FILES);
        let markers: Vec<String> = markers.map(str::to_owned).collect();
        for name in files.iter().chain(&markers) {
            self.forget(&self.folder.join(name))?;
        }
        let phases = self.folder.join(PHASES);
        for phase in ["warmup", "profiling"] {
            let folder = phases.join(phase);
            for name in PHASE_FILES {
                self.forget(&folder.join(name))?;
            }
            forget_empty(&folder);
        }
        forget_empty(&phases);
        let report = self.folder.join("report");
        if report.is_dir() {
            for name in &files {
                self.forget(&report.join(name))?;
            }
            for name in [PHASE_MANIFEST].into_iter().chain(CANCEL_TEST_FILES) {
                self.forget(&report.join(name))?;
            }
            forget_empty(&report);
        }
        Ok(())
    }

    /// Removes a file that an earlier run has left, if it is there.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), FolderError> {
        self.forget(&self.folder.join(name))
    }

    fn forget(&self, path: &Path) -> Result<(), FolderError> {
        match fs::remove_file(path) {
            Ok(()) => Ok(()),
            Err(cause) if is_absent(&cause) => Ok(()),
            Err(cause) => Err(FolderError::Write {
                folder: self.folder.clone(),
                action: "remove",
                path: path.to_owned(),
                cause,
            }),
        }
    }

    /// Checks that the folder is the one that the run began with, and that these files are in it.
    ///
    /// # Errors
    /// Results are lost.
    pub fn check<'a>(&self, files: impl IntoIterator<Item = &'a Path>) -> Result<(), FolderError> {
        if !is_at(&self.lock, &self.folder.join(LOCK)) {
            return Err(FolderError::Lost {
                folder: self.folder.clone(),
            });
        }
        match files.into_iter().find(|path| !path.is_file()) {
            None => Ok(()),
            Some(lost) => Err(FolderError::LostFile {
                path: lost.to_owned(),
            }),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        let path = self.folder.join(LOCK);
        // One that stays is no lock once this process has let go of it: nothing is lost.
        if is_at(&self.lock, &path) {
            let _ = fs::remove_file(path);
        }
    }
}

/// What stands in the folder of a phase.
pub const PHASE_FILES: [&str; 4] = [
    "profile_export_aiperf.csv",
    "profile_export_aiperf.json",
    "server_metrics.json",
    "gpu_telemetry.json",
];

/// Removes a folder in which nothing is left.
fn forget_empty(folder: &Path) {
    // It has files of the user's, or is not there: both is as it should be.
    let _ = fs::remove_dir(folder);
}

fn is_absent(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Whether a file is the one at a path.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

fn owner(lock: &mut File) -> String {
    let mut text = String::new();
    let read = lock.rewind().and_then(|()| lock.read_to_string(&mut text));
    match (read, text.trim()) {
        (Ok(_), process) if !process.is_empty() => format!(" (process {process})"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_run_at_a_time_writes_to_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let first = RunFolder::create(&path).unwrap();
        assert!(RunFolder::is_busy(&path));
        let error = RunFolder::create(&path).unwrap_err().to_string();
        let process = format!("process {}", std::process::id());
        assert!(error.contains(&process) && error.contains("out"), "{error}");
        first.check([]).unwrap();
        drop(first);
        assert!(!RunFolder::is_busy(&path));
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        drop(RunFolder::create(&path).unwrap());
    }

    #[test]
    fn a_folder_that_is_gone_or_another_one_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let run = RunFolder::create(&path).unwrap();
        let file = path.join("a");
        assert!(matches!(
            run.check([file.as_path()]),
            Err(FolderError::LostFile { .. })
        ));
        fs::write(&file, "").unwrap();
        run.check([file.as_path()]).unwrap();
        fs::remove_dir_all(&path).unwrap();
        assert!(matches!(run.check([]), Err(FolderError::Lost { .. })));
        let next = RunFolder::create(&path).unwrap();
        assert!(matches!(run.check([]), Err(FolderError::Lost { .. })));
        // The lock of the next run is not the first one's to take away.
        drop(run);
        next.check([]).unwrap();
    }

    #[test]
    fn what_an_earlier_run_has_left_goes_and_a_users_files_stay() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::create(folder.path()).unwrap();
        let names = FileNames::with_prefix("mine");
        let ours = [
            "profile_export.jsonl",
            "server_metrics_export.parquet",
            "gpu_telemetry_export.jsonl",
            "mine_timeslices.csv",
            "release.json",
            "phase_manifest.json",
            "cancel_test.json",
            "cancel_matrix.html",
            "report/cancel_test.html",
            "run_config.json",
            "shard.json",
            "phases/warmup/profile_export_aiperf.json",
            "phases/profiling/server_metrics.json",
            "report/profile_export_aiperf.csv",
            READY,
        ];
        let users = [
            "notes.txt",
            "other.json",
            "other.jsonl",
            "phases/mine.txt",
            "report/notes.md",
            "plots/a.png",
        ];
        for file in ours.iter().chain(&users) {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        run.clear(&names).unwrap();
        for file in ours {
            assert!(!folder.path().join(file).exists(), "{file}");
        }
        for file in users {
            assert!(folder.path().join(file).exists(), "{file}");
        }
        assert!(!folder.path().join("phases/warmup").exists());
    }
}
