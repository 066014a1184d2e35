//! Files on their way between a shard and its leader: compressed in pieces, put together and
//! checked where they arrive.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use pinfire_cluster::message::Digest;
use sha2::{Digest as _, Sha256};
use zstd_safe::{CCtx, DCtx, InBuffer, OutBuffer, zstd_sys::ZSTD_EndDirective};

/// Bytes of a piece at most, compressed.
pub const PIECE: usize = 128 * 1024;

/// Bytes that are read or written at once.
const BLOCK: usize = 256 * 1024;

/// A file that is being sent.
pub struct Sending {
    pub file: u16,
    source: File,
    context: CCtx<'static>,
    block: Vec<u8>,
    /// What of the block has not been compressed yet.
    left: std::ops::Range<usize>,
    ended: bool,
    digest: Sha256,
    bytes: u64,
}

impl Sending {
    /// Opens a file that is there; `None` if it is not.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(file: u16, path: &Path) -> io::Result<Option<Self>> {
        if !path.is_file() {
            return Ok(None);
        }
        Ok(Some(Self {
            file,
            source: File::open(path)?,
            context: CCtx::create(),
            block: vec![0; BLOCK],
            left: 0..0,
            ended: false,
            digest: Sha256::new(),
            bytes: 0,
        }))
    }

    /// The next piece; `None` behind the last.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut piece = vec![0; PIECE];
        let mut filled = 0;
        while filled < PIECE && !self.ended {
            let mut directive = ZSTD_EndDirective::ZSTD_e_continue;
            if self.left.is_empty() {
                let count = self.source.read(&mut self.block)?;
                self.digest.update(&self.block[..count]);
                self.bytes += count as u64;
                self.left = 0..count;
                if count == 0 {
                    directive = ZSTD_EndDirective::ZSTD_e_end;
                }
            }
            let mut from = InBuffer::around(&self.block[self.left.clone()]);
            let mut into = OutBuffer::around(&mut piece[filled..]);
            let rest = self
                .context
                .compress_stream2(&mut into, &mut from, directive)
                .map_err(|code| io::Error::other(zstd_safe::get_error_name(code)))?;
            filled += into.pos();
            self.left.start += from.pos();
            self.ended = rest == 0 && matches!(directive, ZSTD_EndDirective::ZSTD_e_end);
        }
        piece.truncate(filled);
        Ok((filled > 0).then_some(piece))
    }

    /// Length and digest of the whole, behind the last piece.
    pub fn sum(self) -> (u64, Digest) {
        (self.bytes, self.digest.finalize().into())
    }
}

/// A file that is being received.
pub struct Receiving {
    path: PathBuf,
    into: File,
    context: DCtx<'static>,
    digest: Sha256,
    bytes: u64,
    /// It is not longer than this.
    most: u64,
}

/// The files of all shards at the leader, below the run's folder.
pub struct Home {
    run: PathBuf,
    /// Names that a shard's folder may have files of.
    names: Vec<String>,
    open: BTreeMap<(u32, u16), Receiving>,
}

impl Home {
    /// Files of these names come into the folder of the run.
    pub const fn new(run: PathBuf, names: Vec<String>) -> Self {
        let open = BTreeMap::new();
        Self { run, names, open }
    }

    fn place(&self, shard: u32, file: u16) -> Result<PathBuf> {
        let name = self.names.get(usize::from(file)).context("no such file")?;
        let folder = self.run.join(pinfire_artifacts::shard::shard_name(shard));
        Ok(folder.join(name))
    }

    /// Takes a piece.
    ///
    /// # Errors
    /// It cannot be written, or is not what zstd writes.
    pub fn piece(&mut self, shard: u32, file: u16, piece: &[u8]) -> Result<()> {
        if !self.open.contains_key(&(shard, file)) {
            let path = self.place(shard, file)?;
            let receiving = Receiving::new(path, u64::MAX)?;
            self.open.insert((shard, file), receiving);
        }
        let one = self.open.get_mut(&(shard, file)).context("no such file")?;
        one.take(piece)
    }

    /// A file is complete: it takes its name if it is what was sent.
    ///
    /// # Errors
    /// It is something else, or cannot be written.
    pub fn end(&mut self, shard: u32, file: u16, bytes: u64, digest: &Digest) -> Result<()> {
        let one = self.open.remove(&(shard, file));
        one.context("a file has ended that had not begun")?
            .end(bytes, digest)
    }
}

impl Receiving {
    /// One of at most so many bytes, which takes its name when it is complete.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn new(path: PathBuf, most: u64) -> Result<Self> {
        let unfinished = unfinished(&path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let into = File::create(&unfinished)
            .with_context(|| format!("cannot write {}", unfinished.display()))?;
        Ok(Self {
            path,
            into,
            context: DCtx::create(),
            digest: Sha256::new(),
            bytes: 0,
            most,
        })
    }

    /// Takes a piece.
    ///
    /// # Errors
    /// It cannot be written, is too long, or is not what zstd writes.
    pub fn take(&mut self, piece: &[u8]) -> Result<()> {
        let mut block = vec![0; BLOCK];
        let mut from = InBuffer::around(piece);
        loop {
            let mut into = OutBuffer::around(&mut block[..]);
            self.context
                .decompress_stream(&mut into, &mut from)
                .map_err(|code| anyhow::anyhow!("{}", zstd_safe::get_error_name(code)))?;
            let count = into.pos();
            self.digest.update(&block[..count]);
            self.bytes += count as u64;
            ensure!(
                self.bytes <= self.most,
                "{} is longer than was said",
                self.path.display()
            );
            let written = self.into.write_all(&block[..count]);
            written.with_context(|| format!("cannot write {}", self.path.display()))?;
            if from.pos() == piece.len() && count < BLOCK {
                return Ok(());
            }
        }
    }

    /// It is complete, and takes its name if it is what was sent.
    ///
    /// # Errors
    /// It is something else, or cannot be written.
    pub fn end(self, bytes: u64, digest: &Digest) -> Result<()> {
        let found: Digest = self.digest.finalize().into();
        ensure!(
            self.bytes == bytes && found == *digest,
            "{} is not what was sent",
            self.path.display()
        );
        fs::rename(unfinished(&self.path), &self.path)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(home: &mut Home, text: &[u8], cut: bool) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("a.jsonl");
        fs::write(&path, text)?;
        let mut sending = Sending::open(0, &path)?.expect("the file");
        while let Some(piece) = sending.next()? {
            assert!(piece.len() <= PIECE);
            home.piece(3, 0, &piece)?;
        }
        let (bytes, mut digest) = sending.sum();
        if cut {
            digest[0] ^= 1;
        }
        home.end(3, 0, bytes, &digest)
    }

    #[test]
    fn files_come_home_as_they_were() {
        let run = tempfile::tempdir().unwrap();
        let mut home = Home::new(run.path().to_owned(), vec!["a.jsonl".to_owned()]);
        let mut noise = 1_u64;
        let mut byte = || {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (noise >> 56) as u8
        };
        let texts: [Vec<u8>; 4] = [
            Vec::new(),
            b"one line\n".to_vec(),
            vec![b'x'; 3_000_000],
            (0..1_000_000).map(|_| byte()).collect(),
        ];
        for text in texts {
            sent(&mut home, &text, false).unwrap();
            let path = run.path().join("shard-0003/a.jsonl");
            assert!(fs::read(path).unwrap() == text, "{} bytes", text.len());
        }
        let left = fs::read_dir(run.path().join("shard-0003")).unwrap();
        assert_eq!(left.count(), 1);
    }

    #[test]
    fn nothing_is_longer_than_was_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        fs::write(&path, vec![b'x'; 3_000_000]).unwrap();
        let mut sending = Sending::open(0, &path).unwrap().expect("the file");
        let piece = sending.next().unwrap().expect("a piece");
        let into = folder.path().join("b.jsonl");
        let mut receiving = Receiving::new(into, 1_000_000).unwrap();
        let error = receiving.take(&piece).unwrap_err().to_string();
        assert!(error.contains("longer than was said"), "{error}");
    }

    #[test]
    fn what_is_not_what_was_sent_does_not_take_its_name() {
        let run = tempfile::tempdir().unwrap();
        let mut home = Home::new(run.path().to_owned(), vec!["a.jsonl".to_owned()]);
        assert!(sent(&mut home, b"text", true).is_err());
        assert!(!run.path().join("shard-0003/a.jsonl").exists());
        assert!(home.piece(3, 1, b"").is_err(), "a file that nobody named");
        assert!(home.piece(3, 0, b"no zstd").is_err());
    }
}
