//! Records on their way from the cores to the analysis: so many bytes of them wait in memory, and
//! what comes while these are there goes to a file.
//!
//! The cores hand records over without ever waiting, and a closed loop can bring them faster than
//! they are analysed. [`Feed`] stands between: it takes what comes at once, and [`Backlog`] gives
//! it out in the same order. Beyond the bound records become blocks of bytes in a file without a
//! name, so that nothing of it is left however the process ends; in between only the places of the
//! blocks are kept.

mod spill;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::vec::IntoIter;

use pinfire_artifacts::WriteError;
use pinfire_base::record::Record;

use spill::{Spill, Stored};

/// Bytes of records that wait in memory, unless it is said otherwise. The fastest closed loop of a
/// core fills that in about a second.
pub const IN_MEMORY: u64 = 64 << 20;

/// Records that are handed over together.
const BATCH: usize = 64;

/// Bytes that are written to the file together.
const BLOCK: u64 = 256 << 10;

/// Makes the two ends. Beyond `in_memory` bytes records wait in a file in `folder`.
pub fn backlog(folder: PathBuf, in_memory: u64) -> (Feed, Backlog) {
    let (give, take) = channel();
    let amount = Arc::new(Amount::default());
    let feed = Feed {
        give,
        amount: Arc::clone(&amount),
        in_memory,
        block_bytes: (in_memory / 64).clamp(1 << 10, BLOCK) as usize,
        batch: Vec::new(),
        block: Block::default(),
        spill: Spill::new(folder.clone()),
    };
    let backlog = Backlog {
        take,
        amount,
        folder,
        now: Now::Records(Vec::new().into_iter()),
        read: Vec::new(),
        ended: false,
    };
    (feed, backlog)
}

/// How much waits.
#[derive(Debug, Default)]
pub struct Amount {
    records: AtomicU64,
    bytes: AtomicU64,
    in_files: AtomicU64,
    most_bytes: AtomicU64,
}

impl Amount {
    /// Records that wait.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Records that have been in a file so far.
    pub fn in_files(&self) -> u64 {
        self.in_files.load(Ordering::Relaxed)
    }

    /// The most bytes of memory that records have taken here so far.
    pub fn most_bytes(&self) -> u64 {
        self.most_bytes.load(Ordering::Relaxed)
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Only the feed adds.
    fn add(&self, bytes: u64) {
        let now = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if now > self.most_bytes() {
            self.most_bytes.store(now, Ordering::Relaxed);
        }
    }

    fn remove(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What is handed over at once.
enum Batch {
    Records(Vec<Record>),
    Block(Block),
    Stored(Stored),
}

/// Records as bytes.
#[derive(Default)]
struct Block {
    bytes: Vec<u8>,
    records: u64,
}

/// Where records come in, all on one thread.
pub struct Feed {
    give: Sender<Batch>,
    amount: Arc<Amount>,
    in_memory: u64,
    block_bytes: usize,
    /// Records that go on as they are. None while there is a block: what came first goes first.
    batch: Vec<Record>,
    block: Block,
    spill: Spill,
}

impl Feed {
    /// How much waits.
    pub fn amount(&self) -> Arc<Amount> {
        Arc::clone(&self.amount)
    }

    /// Takes a record.
    ///
    /// # Errors
    /// The file cannot be made or written. That is said once; nothing is lost by it, but from then
    /// on all records wait in memory.
    pub fn push(&mut self, record: Record) -> Result<(), WriteError> {
        self.amount.records.fetch_add(1, Ordering::Relaxed);
        let bytes = record.held_bytes() as u64;
        if self.block.records == 0 && self.amount.bytes() + bytes <= self.in_memory {
            self.amount.add(bytes);
            self.batch.push(record);
            if self.batch.len() >= BATCH {
                self.give_batch();
            }
            return Ok(());
        }
        self.give_batch();
        self.block.push(&record);
        if self.block.bytes.len() >= self.block_bytes {
            self.give_block()
        } else {
            Ok(())
        }
    }

    /// Nothing more has come for now: hands on what there is, if there is room for it.
    ///
    /// # Errors
    /// See [`push`](Self::push).
    pub fn settle(&mut self) -> Result<(), WriteError> {
        self.give_batch();
        let waiting = self.amount.bytes();
        let held = waiting + self.block.bytes.len() as u64;
        if self.block.records > 0 && (waiting == 0 || held <= self.in_memory / 2) {
            return self.give_block();
        }
        Ok(())
    }

    /// Nothing more will come.
    ///
    /// # Errors
    /// See [`push`](Self::push).
    pub fn finish(mut self) -> Result<(), WriteError> {
        self.give_batch();
        match self.block.records {
            0 => Ok(()),
            _ => self.give_block(),
        }
    }

    fn give_batch(&mut self) {
        if !self.batch.is_empty() {
            let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
            self.give(Batch::Records(batch));
        }
    }

    fn give_block(&mut self) -> Result<(), WriteError> {
        let bytes = self.block.bytes.len() as u64;
        let mut done = Ok(());
        if self.amount.bytes() + bytes > self.in_memory && self.spill.works() {
            match self.spill.store(&self.block.bytes, self.block.records) {
                Ok(stored) => {
                    let records = self.block.records;
                    self.amount.in_files.fetch_add(records, Ordering::Relaxed);
                    self.block.bytes.clear();
                    self.block.records = 0;
                    self.give(Batch::Stored(stored));
                    return Ok(());
                }
                Err(error) => done = Err(error),
            }
        }
        self.amount.add(bytes);
        let mut block = std::mem::take(&mut self.block);
        block.bytes.shrink_to_fit();
        self.give(Batch::Block(block));
        done
    }

    fn give(&self, batch: Batch) {
        // Whoever takes them is gone only after a crash, which has been reported.
        let _ = self.give.send(batch);
    }
}

impl Block {
    #[expect(
        clippy::expect_used,
        reason = "memory takes every byte, and every sequence of a record knows its length"
    )]
    fn push(&mut self, record: &Record) {
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes = postcard::to_extend(record, bytes).expect("a record is bytes");
        self.records += 1;
    }
}

/// What is being given out.
enum Now {
    Records(IntoIter<Record>),
    Block {
        bytes: Vec<u8>,
        at: usize,
        records: u64,
        /// The bytes count as memory.
        counted: bool,
    },
}

/// Where records come out, in the order in which they came in.
pub struct Backlog {
    take: Receiver<Batch>,
    amount: Arc<Amount>,
    folder: PathBuf,
    now: Now,
    /// The buffer of the block before.
    read: Vec<u8>,
    ended: bool,
}

impl Backlog {
    /// How much waits.
    pub fn amount(&self) -> Arc<Amount> {
        Arc::clone(&self.amount)
    }

    /// The last record has been taken.
    pub const fn has_ended(&self) -> bool {
        self.ended
    }

    /// The next record; `None` if there is none at the moment, or no more.
    ///
    /// # Errors
    /// The records of a block cannot be read back. They are lost; the next call goes on behind
    /// them.
    pub fn take(&mut self) -> Result<Option<Record>, WriteError> {
        loop {
            if let Some(record) = self.next_of_now()? {
                self.amount.records.fetch_sub(1, Ordering::Relaxed);
                return Ok(Some(record));
            }
            match self.take.try_recv() {
                Ok(batch) => self.begin(batch)?,
                Err(TryRecvError::Empty) => return Ok(None),
                Err(TryRecvError::Disconnected) => {
                    self.ended = true;
                    return Ok(None);
                }
            }
        }
    }

    fn begin(&mut self, batch: Batch) -> Result<(), WriteError> {
        self.now = match batch {
            Batch::Records(records) => Now::Records(records.into_iter()),
            Batch::Block(Block { bytes, records }) => Now::Block {
                bytes,
                at: 0,
                records,
                counted: true,
            },
            Batch::Stored(stored) => {
                let mut bytes = std::mem::take(&mut self.read);
                if let Err(cause) = stored.read(&mut bytes) {
                    return Err(self.lose(stored.records, cause));
                }
                Now::Block {
                    bytes,
                    at: 0,
                    records: stored.records,
                    counted: false,
                }
            }
        };
        Ok(())
    }

    fn next_of_now(&mut self) -> Result<Option<Record>, WriteError> {
        let (bytes, at, left) = match &mut self.now {
            Now::Records(records) => {
                let record = records.next();
                if let Some(record) = &record {
                    self.amount.remove(record.held_bytes() as u64);
                }
                return Ok(record);
            }
            Now::Block { records: 0, .. } => {
                self.end_block();
                return Ok(None);
            }
            Now::Block {
                bytes, at, records, ..
            } => (bytes, at, records),
        };
        let rest = bytes.get(*at..).unwrap_or_default();
        match postcard::take_from_bytes(rest) {
            Ok((record, behind)) => {
                *at = bytes.len() - behind.len();
                *left -= 1;
                Ok(Some(record))
            }
            Err(cause) => {
                let lost = *left;
                self.end_block();
                Err(self.lose(lost, io::Error::other(cause)))
            }
        }
    }

    fn end_block(&mut self) {
        let none = Now::Records(Vec::new().into_iter());
        if let Now::Block { bytes, counted, .. } = std::mem::replace(&mut self.now, none) {
            if counted {
                self.amount.remove(bytes.len() as u64);
            } else {
                self.read = bytes;
            }
        }
    }

    fn lose(&self, records: u64, cause: io::Error) -> WriteError {
        self.amount.records.fetch_sub(records, Ordering::Relaxed);
        let cause = io::Error::other(format!("{cause}; {records} records are lost"));
        WriteError::new("read what waited in a file in", &self.folder, cause)
    }
}
