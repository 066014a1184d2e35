//! `shard.json`: which share of a run one of several processes has sent, and on which clock its
//! times are. Each shard writes its files into a folder of its own below the run's, `shard-0003`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::SHARD;
use crate::read::{ReadError, read_json};

/// Version of the layout of `shard.json`.
pub const SHARD_SCHEMA: u32 = 1;
/// A run has no more shards than this.
pub const SHARDS_MAX: u32 = 10_000;

/// One shard of a run. It is written when the shard has its place in the run, so that one that is
/// killed can be told, and again, with what came of it, when it has ended.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Shard {
    /// Version of the layout.
    pub schema_version: u32,
    /// Who wrote it, such as `pinfire 1.0.0`.
    pub tool_version: String,
    /// Id of the run, the same in all of its shards.
    pub run_id: String,
    /// Number of the shard, from 0.
    pub index: u32,
    /// How many shards the run has.
    pub shards: u32,
    /// So many numbers in a row belong to one shard: as many as the run has URLs.
    pub block: u64,
    /// The numbers of the measured phase that are this shard's.
    pub segment: Segment,
    /// What must be equal in all shards.
    #[serde(default)]
    pub digests: Digests,
    /// From the shard's monotonic clock to the times in its files.
    #[serde(default)]
    pub anchor: ClockAnchor,
    /// From the leader's monotonic clock to the times of the whole run; absent without a leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_anchor: Option<ClockAnchor>,
    /// How far the leader's clock was from the shard's, in the order of time; empty without a
    /// rendezvous.
    #[serde(default)]
    pub clock: Vec<ClockSample>,
    /// How much faster the leader's clock runs than the shard's, in nanoseconds a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<f64>,
    /// The leader's wall clock minus the shard's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_difference_ns: Option<i64>,
    /// Begin of the measured phase on the shard's monotonic clock; absent until it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zero: Option<u64>,
    /// Which process it is: another one after a restart.
    #[serde(default)]
    pub incarnation: String,
    /// Name of the host, in a container that of the container.
    #[serde(default)]
    pub host: String,
    /// Name of the machine, where it is known to be another than the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// CPUs that the process may use.
    #[serde(default)]
    pub cpus: u64,
    /// CPUs' worth of time that its control group grants; absent without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<f64>,
    /// How long that limit kept it from running during the measured phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_us: Option<u64>,
    /// `io_uring` or `epoll`.
    #[serde(default)]
    pub io_driver: String,
    /// How long after the common instant the measured phase began here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_late_us: Option<f64>,
    /// What became of the shard's requests of the measured phase.
    #[serde(default)]
    pub counts: ShardCounts,
    /// The largest number of the measured phase that was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_number: Option<u64>,
    /// The shard did all that was asked of it.
    #[serde(default)]
    pub complete: bool,
    /// Why it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incomplete_reason: Option<String>,
}

impl Shard {
    /// What is impossible in it, if anything: a file may say whatever it wants.
    pub fn impossible(&self) -> Option<String> {
        let Self {
            index,
            shards,
            block,
            segment,
            ..
        } = self;
        if !(1..=SHARDS_MAX).contains(shards) {
            return Some(format!(
                "a run has from 1 to {SHARDS_MAX} shards, not {shards}"
            ));
        }
        if index >= shards {
            return Some(format!("there is no shard {index} of {shards}"));
        }
        let own = Segment::new(*index, *shards, *block, segment.end);
        (*block == 0 || *segment != own)
            .then(|| format!("its numbers are not those of shard {index} of {shards}"))
    }

    /// The machine, by the best name that is known for it.
    pub fn machine(&self) -> Option<&str> {
        let node = self.node.as_deref().unwrap_or(&self.host);
        Some(node).filter(|name| !name.is_empty())
    }
}

/// Numbers that belong to a shard: `block` of them from `first`, the next ones `step` further on,
/// and so on below `end`. Those of a warmup go by the same rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Segment {
    /// The first of them.
    pub first: u64,
    /// From one block of them to the next.
    pub step: u64,
    /// Numbers in a row.
    pub block: u64,
    /// The end of the numbers of all shards; absent where time ends the phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<u64>,
}

impl Segment {
    /// Of shard `index` of `shards`, where `block` numbers in a row belong to one shard.
    pub const fn new(index: u32, shards: u32, block: u64, end: Option<u64>) -> Self {
        Self {
            first: (index as u64).saturating_mul(block),
            step: (shards as u64).saturating_mul(block),
            block,
            end,
        }
    }

    /// The place of a number among them, from 0; `None` if it is none of them.
    pub fn place(&self, number: u64) -> Option<u64> {
        let from = number.checked_sub(self.first)?;
        let (round, at) = (from.checked_div(self.step)?, from.checked_rem(self.step)?);
        let owned = at < self.block && self.end.is_none_or(|end| number < end);
        owned.then(|| round.saturating_mul(self.block).saturating_add(at))
    }

    /// How many of the numbers below their end are there; `None` without an end.
    pub fn count(&self) -> Option<u64> {
        let all = self.end?.saturating_sub(self.first);
        let rounds = all.checked_div(self.step)?;
        let rest = all.checked_rem(self.step)?.min(self.block);
        Some(rounds.saturating_mul(self.block).saturating_add(rest))
    }
}

/// Digests of what must be equal in all shards, as hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Digests {
    /// Everything that was asked but what differs from shard to shard.
    pub settings: String,
    /// The input files and the tokenizer.
    pub inputs: String,
    /// The same by the setting that names each of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
}

/// One instant on two clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClockAnchor {
    /// On the monotonic clock.
    pub monotonic_ns: u64,
    /// In Unix nanoseconds.
    pub unix_ns: u64,
}

/// What an exchange with the leader showed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClockSample {
    /// When, on the shard's monotonic clock, in nanoseconds.
    pub t: u64,
    /// What is added to the shard's monotonic clock to have the leader's.
    pub offset_ns: i64,
    /// The offset is wrong by at most this.
    pub bound_ns: u64,
}

/// What became of requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ShardCounts {
    /// Requests that were started.
    pub due: u64,
    /// Those whose last byte was sent.
    pub sent: u64,
    /// Answered.
    pub finished: u64,
    /// Failed.
    pub failed: u64,
    /// Cancelled by plan.
    pub cancelled: u64,
    /// Cut off by the end of the run.
    pub dropped: u64,
}

/// Name of a shard's folder below that of the run.
pub fn shard_name(index: u32) -> String {
    format!("shard-{index:04}")
}

/// A shard's folder.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ShardFolder {
    /// Number of the shard.
    pub index: u32,
    /// Where it is.
    pub path: PathBuf,
}

impl ShardFolder {
    /// Where the folder of a shard of the run in `run` is.
    pub fn of(run: &Path, index: u32) -> Self {
        Self {
            index,
            path: run.join(shard_name(index)),
        }
    }

    /// The shards' folders in that of a run, in the order of their numbers; empty if it has none.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn all(run: &Path) -> Result<Vec<Self>, ReadError> {
        let read = |cause| ReadError::Read {
            path: run.to_owned(),
            cause,
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(run).map_err(read)? {
            let entry = entry.map_err(read)?;
            let name = entry.file_name();
            let digits = name.to_str().and_then(|name| name.strip_prefix("shard-"));
            let index = digits.and_then(|digits| digits.parse().ok());
            let index = index.filter(|&index| name.to_str() == Some(&shard_name(index)));
            if let Some(index) = index
                && entry.path().is_dir()
            {
                found.push(Self::of(run, index));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Reads its `shard.json`; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read, or holds something else.
    pub fn read(&self) -> Result<Option<Shard>, ReadError> {
        let path = self.path.join(SHARD);
        path.is_file().then(|| read_json(&path)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_one_owner() {
        for (shards, block) in [(1, 1), (2, 1), (3, 2), (8, 3)] {
            let of = |index| Segment::new(index, shards, block, Some(100));
            for number in 0..100 {
                let owners = (0..shards).filter(|&index| of(index).place(number).is_some());
                let owners: Vec<u32> = owners.collect();
                let owner = number / block % u64::from(shards);
                assert_eq!(owners, [owner as u32], "{number} of {shards} × {block}");
            }
            for index in 0..shards {
                assert_eq!(of(index).place(100), None);
                let places = (0..100).filter_map(|number| of(index).place(number));
                let places: Vec<u64> = places.collect();
                let all: Vec<u64> = (0..places.len() as u64).collect();
                assert_eq!(places, all, "{index} of {shards} × {block}");
                assert_eq!(of(index).count(), Some(all.len() as u64));
            }
        }
        let endless = Segment::new(1, 4, 1, None);
        assert_eq!(endless.place(1 + 4 * 1_000_000), Some(1_000_000));
        assert_eq!(endless.count(), None);
        // A file may say anything.
        assert_eq!(Segment::default().place(0), None);
    }

    #[test]
    fn folders_of_shards_are_found_in_their_order() {
        let run = tempfile::tempdir().unwrap();
        for name in [
            "shard-0010",
            "shard-0002",
            "shard-10000",
            "shard-3",
            "shard-x",
            "plots",
        ] {
            fs::create_dir(run.path().join(name)).unwrap();
        }
        fs::write(run.path().join("shard-0004"), "a file").unwrap();
        let found = ShardFolder::all(run.path()).unwrap();
        let indices: Vec<u32> = found.iter().map(|folder| folder.index).collect();
        assert_eq!(indices, [2, 10, 10_000]);
        assert_eq!(found[0].read().unwrap(), None);
        fs::write(found[0].path.join(SHARD), "{").unwrap();
        assert!(found[0].read().is_err());
    }
}
