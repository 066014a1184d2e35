//! Blocks of records in files without a name.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pinfire_artifacts::WriteError;

/// A file takes so many bytes, then comes the next: the system has the room back as soon as the
/// last block of it has been read.
const FILE: u64 = 64 << 20;

/// The files that blocks are written to, one after the other.
pub(super) struct Spill {
    folder: PathBuf,
    /// The one that is written, and its bytes so far.
    file: Option<(Arc<File>, u64)>,
    works: bool,
}

/// Where a block is.
pub(super) struct Stored {
    pub(super) file: Arc<File>,
    pub(super) at: u64,
    len: usize,
    sum: u32,
    /// How many records it has.
    pub(super) records: u64,
}

impl Spill {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            file: None,
            works: true,
        }
    }

    /// Nothing has failed so far.
    pub(super) const fn works(&self) -> bool {
        self.works
    }

    /// Writes a block.
    ///
    /// # Errors
    /// It cannot be written; nothing is written from then on.
    pub(super) fn store(&mut self, bytes: &[u8], records: u64) -> Result<Stored, WriteError> {
        self.try_to_store(bytes, records).map_err(|cause| {
            self.works = false;
            self.file = None;
            WriteError::new("let records wait in a file in", &self.folder, cause)
        })
    }

    fn try_to_store(&mut self, bytes: &[u8], records: u64) -> io::Result<Stored> {
        let (file, at) = match self.file.take() {
            Some((file, at)) if at < FILE => (file, at),
            _ => (Arc::new(without_name(&self.folder)?), 0),
        };
        file.write_all_at(bytes, at)?;
        self.file = Some((Arc::clone(&file), at + bytes.len() as u64));
        Ok(Stored {
            file,
            at,
            len: bytes.len(),
            sum: crc32fast::hash(bytes),
            records,
        })
    }
}

/// A file in the folder that goes when it is closed, however the process ends. A run has its folder
/// for itself, so that one name is enough.
fn without_name(folder: &Path) -> io::Result<File> {
    let path = folder.join(".pinfire.waiting");
    let mut options = File::options();
    let file = options.read(true).write(true).create(true).truncate(true);
    let file = file.open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

impl Stored {
    /// Reads the block into `bytes`.
    ///
    /// # Errors
    /// It is not there as it was written.
    pub(super) fn read(&self, bytes: &mut Vec<u8>) -> io::Result<()> {
        bytes.resize(self.len, 0);
        self.file.read_exact_at(bytes, self.at)?;
        if crc32fast::hash(bytes) == self.sum {
            Ok(())
        } else {
            Err(io::Error::other("it is not as it was written"))
        }
    }
}
