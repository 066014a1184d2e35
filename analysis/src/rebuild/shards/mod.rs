//! A run that several processes have sent, each into a folder of its own: which of them are there,
//! whether they are of one run, and what each of them has sent.
//!
//! Every figure is computed from the requests of all shards together. A shard's own summary is
//! asked for what no request shows: how far its client could be trusted.

mod account;
mod clock;
mod health;
mod seen;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use pinfire_artifacts::leader::{LeaderAccount, LostShard};
use pinfire_artifacts::shard::{Shard, ShardFolder, shard_name};
use pinfire_artifacts::summary::RunInfo;
use pinfire_artifacts::{
    Carried, FindError, LEADER, Lines, RequestLine, RunFiles, RunFolder, SHARD, Summary, read_json,
};
use pinfire_base::clock::{Span, Stamp};
use pinfire_base::record::{Phase, Record};

pub(super) use self::clock::Clock;
pub(super) use self::seen::Seen;
use self::seen::Wrong;
use super::error::RebuildError;
use super::line::at;
use super::summary;
use crate::facts::PhaseWindow;

/// A run of several shards.
pub(super) struct Shards {
    /// Those whose requests are there, in the order of their numbers.
    pub(super) present: Vec<Present>,
    /// The others, and why.
    absent: BTreeMap<u32, Absent>,
    /// What all of them say of the run.
    run: Shard,
    /// Those that the leader has lost.
    lost: BTreeMap<u32, LostShard>,
    /// What the user should know.
    notes: Vec<String>,
}

/// A shard whose requests are there.
pub(super) struct Present {
    /// What it says of itself.
    told: Shard,
    /// Its files.
    pub(super) files: RunFiles,
    /// Its summary, or what it wrote at its beginning.
    summary: Option<Summary>,
    /// To the clock of the run.
    pub(super) clock: Clock,
    /// What it has not come to, if it began and has not ended.
    unended: Option<Unended>,
}

/// A shard that has begun and not ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unended {
    /// It still runs.
    Running,
    /// It was killed, or its machine has gone.
    Lost,
}

/// A shard whose requests are not there.
struct Absent {
    reason: String,
    told: Option<Shard>,
}

impl Shards {
    /// The shards of the run in a folder; `None` if it has none.
    ///
    /// # Errors
    /// They are not of one run, or nothing can be read of any of them.
    pub(super) fn find(folder: &Path) -> Result<Option<Self>, RebuildError> {
        let folders = ShardFolder::all(folder)?;
        if folders.is_empty() {
            return Ok(None);
        }
        let mut told = Vec::new();
        let mut absent = BTreeMap::new();
        for folder in &folders {
            match whole(folder) {
                Ok(shard) if shard.index != folder.index => {
                    return Err(RebuildError::Shards(format!(
                        "{} is of shard {}: a folder was copied or renamed",
                        folder.path.join(SHARD).display(),
                        shard.index
                    )));
                }
                Ok(shard) => told.push((folder, shard)),
                Err(reason) => {
                    let told = None;
                    absent.insert(folder.index, Absent { reason, told });
                }
            }
        }
        let Some((_, first)) = told.first() else {
            let reason = absent.pop_first().map(|(_, absent)| absent.reason);
            return Err(RebuildError::Shards(format!(
                "nothing is known of any shard in {}: {}",
                folder.display(),
                reason.unwrap_or_default()
            )));
        };
        let run = first.clone();
        for (_, shard) in &told {
            agrees(shard, &run)?;
        }
        let mut notes = Vec::new();
        let lost = lost(folder, &run, &mut notes);
        absent.retain(|index, absent| {
            let one_of_it = *index < run.shards;
            if !one_of_it {
                let (name, shards) = (shard_name(*index), run.shards);
                let reason = &absent.reason;
                notes.push(format!("{name} is none of the {shards} shards: {reason}"));
            }
            one_of_it
        });
        let mut present = Vec::new();
        for (folder, told) in told {
            match Present::open(folder, told)? {
                Ok(shard) => present.push(shard),
                Err(without) => {
                    absent.insert(folder.index, without);
                }
            }
        }
        for index in 0..run.shards {
            if !present.iter().any(|shard| shard.told.index == index) {
                absent.entry(index).or_insert_with(|| Absent {
                    reason: format!("there is no folder {}", shard_name(index)),
                    told: None,
                });
            }
        }
        Ok(Some(Self {
            present,
            absent,
            run,
            lost,
            notes,
        }))
    }

    /// The summary of the run as far as shards know it: what was asked, without what is one
    /// shard's alone.
    pub(super) fn summary(&self) -> Option<Summary> {
        let all = || self.present.iter().filter_map(|one| one.summary.as_ref());
        let first = all().next().cloned()?;
        let run_id = Some(&self.run.run_id).filter(|id| !id.is_empty());
        let mut head = first.head;
        head.benchmark_id = run_id.cloned().or(head.benchmark_id);
        let info = first.run_info.as_deref().map(|info| RunInfo {
            benchmark_id: run_id.cloned().or_else(|| info.benchmark_id.clone()),
            ..info.clone()
        });
        Some(Summary {
            head,
            input_config: first.input_config,
            run_info: info.map(Carried::new),
            calibration: first.calibration,
            // The leader alone looks at GPUs.
            telemetry_data: all().find_map(|summary| summary.telemetry_data.clone()),
            per_gpu: first.per_gpu,
            ..Summary::default()
        })
    }

    /// The window of the measured phase: from the first begin to the last end of any shard. `first`
    /// is the wall time of each one's first request.
    pub(super) fn window(&self, first: &[u64]) -> Option<PhaseWindow> {
        let windows = self.present.iter().zip(first);
        let windows = windows.filter_map(|(shard, first)| shard.window(*first));
        windows.reduce(|one, other| PhaseWindow {
            start: one.start.min(other.start),
            end: match (one.end, other.end) {
                (Some(one), Some(other)) => Some(one.max(other)),
                _ => None,
            },
        })
    }

    /// Nothing seen yet of each.
    pub(super) fn seen(&self) -> Vec<Seen> {
        let all = self.present.iter();
        all.map(|shard| Seen::of(shard.told.segment)).collect()
    }

    /// The name of the one at a place.
    pub(super) fn name(&self, at: usize) -> String {
        self.present.get(at).map_or_else(String::new, Present::name)
    }

    /// None of them has requests.
    pub(super) fn without_requests(&self, dir: &Path) -> RebuildError {
        let first = self.absent.iter().next();
        let why = first.map_or_else(String::new, |(index, absent)| {
            format!(": shard {index}: {}", absent.reason)
        });
        RebuildError::Shards(format!(
            "none of the {} shards in {} has requests{why}",
            self.run.shards,
            dir.display()
        ))
    }

    /// What is wrong with a request that the shard at a place has.
    pub(super) fn wrong(&self, at: usize, wrong: Wrong, record: &Record) -> RebuildError {
        let shards = self.run.shards;
        let own = self.present.get(at).map_or(0, |shard| shard.told.index);
        let number = record.index;
        let owner = number / self.run.block % u64::from(shards);
        let of = match record.phase {
            Phase::Warmup => format!("request {number} of the warmup"),
            Phase::Profiling => format!("request {number}"),
        };
        let end = self
            .run
            .segment
            .end
            .filter(|_| record.phase == Phase::Profiling);
        let beyond = end.filter(|end| number >= *end);
        RebuildError::Shards(match (wrong, beyond) {
            (Wrong::Twice, _) => format!("{of} is there twice: both times in shard {own}"),
            (Wrong::Owner, Some(end)) => {
                format!("{of} is in shard {own}, and the run has {end} requests, from 0")
            }
            (Wrong::Owner, None) if self.has(owner, number, record.phase) => {
                format!("{of} is there twice: in shard {own} and in shard {owner}, whose it is")
            }
            (Wrong::Owner, None) => {
                format!("{of} is in shard {own}, and belongs to shard {owner} of {shards}")
            }
        })
    }

    /// Whether a request is among the lines of a shard.
    fn has(&self, shard: u64, number: u64, phase: Phase) -> bool {
        let mut all = self.present.iter();
        let found = all.find(|present| u64::from(present.told.index) == shard);
        let Some(path) = found.and_then(|shard| shard.files.lines()) else {
            return false;
        };
        let is_it = |line: &[u8]| {
            let line = RequestLine::read(line)?;
            let found = &line.metadata.value;
            let warmup = phase == Phase::Warmup;
            Ok::<_, String>(found.session_num == number && found.is_warmup() == warmup)
        };
        let Ok(mut lines) = Lines::open(&path) else {
            return false;
        };
        while let Ok(Some(found)) = lines.next(is_it) {
            if found {
                return true;
            }
        }
        false
    }
}

/// The shards that the leader of this run has lost, by what it has written.
fn lost(folder: &Path, run: &Shard, notes: &mut Vec<String>) -> BTreeMap<u32, LostShard> {
    let path = folder.join(LEADER);
    if !path.is_file() {
        return BTreeMap::new();
    }
    let lost = match read_json::<LeaderAccount>(&path) {
        Ok(told) if told.run_id == run.run_id => told.lost,
        Ok(_) => {
            notes.push(format!(
                "{} is of another run, and left out",
                path.display()
            ));
            Vec::new()
        }
        Err(error) => {
            notes.push(format!("{error}, so what the leader knew is left out"));
            Vec::new()
        }
    };
    lost.into_iter().map(|one| (one.index, one)).collect()
}

/// A `shard.json` that can be used, or why there is none.
fn whole(folder: &ShardFolder) -> Result<Shard, String> {
    let file = || folder.path.join(SHARD);
    match folder.read() {
        Ok(Some(shard)) => match shard.impossible() {
            None => Ok(shard),
            Some(why) => Err(format!("{}: {why}", file().display())),
        },
        Ok(None) => Err(format!("there is no {}", file().display())),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether a shard is of the same run as another one.
fn agrees(shard: &Shard, first: &Shard) -> Result<(), RebuildError> {
    let count = |count: u32| count.to_string();
    let end = |shard: &Shard| match shard.segment.end {
        Some(end) => end.to_string(),
        None => "none".to_owned(),
    };
    let (own, others) = (&shard.digests.files, &first.digests.files);
    let files: BTreeSet<&String> = own.keys().chain(others.keys()).collect();
    let differ = files
        .into_iter()
        .filter(|file| own.get(*file) != others.get(*file));
    let differ: Vec<&str> = differ.map(String::as_str).collect();
    let inputs = match differ.is_empty() {
        true => "digest of the inputs".to_owned(),
        false => format!("digest of the inputs ({})", differ.join(", ")),
    };
    let rows = [
        ("run id", shard.run_id.clone(), first.run_id.clone()),
        ("number of shards", count(shard.shards), count(first.shards)),
        (
            "version",
            shard.tool_version.clone(),
            first.tool_version.clone(),
        ),
        (
            "digest of the settings",
            shard.digests.settings.clone(),
            first.digests.settings.clone(),
        ),
        (
            &inputs,
            shard.digests.inputs.clone(),
            first.digests.inputs.clone(),
        ),
        (
            "numbers in a row",
            shard.block.to_string(),
            first.block.to_string(),
        ),
        ("number of requests", end(shard), end(first)),
    ];
    match rows.into_iter().find(|(_, one, other)| one != other) {
        None => Ok(()),
        Some((what, one, other)) => Err(RebuildError::Shards(format!(
            "shard {} and shard {} are not of one run: the {what} is {one} there and {other} here; put \
             the shards of one run alone into the folder",
            shard.index, first.index
        ))),
    }
}

impl Present {
    /// The files of a shard; without requests what is known of it all the same.
    fn open(folder: &ShardFolder, told: Shard) -> Result<Result<Self, Absent>, RebuildError> {
        let without = |told: Shard| {
            let reason = match (&told.incomplete_reason, told.complete) {
                (Some(reason), false) => format!(
                    "{reason}; its requests are not in {}",
                    folder.path.display()
                ),
                _ => format!("there are no requests in {}", folder.path.display()),
            };
            let told = Some(told);
            Ok(Err(Absent { reason, told }))
        };
        let files = match RunFiles::find(&folder.path) {
            Ok(files) => files,
            Err(FindError::None { .. }) => return without(told),
            Err(error) => return Err(error.into()),
        };
        if files.lines().is_none() && files.raw().is_none() {
            return without(told);
        }
        let summary = match (files.started(), files.summary()) {
            (Some(path), _) | (None, Some(path)) => Some(read_json(&path)?),
            (None, None) => None,
        };
        let clock = Clock::of(&told);
        let unended = match RunFolder::is_busy(&folder.path) {
            _ if told.complete => None,
            true => Some(Unended::Running),
            false => files.started().map(|_| Unended::Lost),
        };
        Ok(Ok(Self {
            unended,
            told,
            files,
            summary,
            clock,
        }))
    }

    /// The window of its measured phase on the clock of the run.
    fn window(&self, first: u64) -> Option<PhaseWindow> {
        let told = summary::window(self.summary.as_ref()?, first);
        let moved = |stamp: Stamp| {
            let nanos = stamp.nanos();
            at(nanos.saturating_add_signed(self.clock.shift(nanos)))
        };
        let told = told.map(|window| PhaseWindow {
            start: moved(window.start),
            end: window.end.map(moved),
        });
        // It knows its begin to the nanosecond, its summary to the microsecond.
        let Some(zero) = self.told.zero.map(|zero| at(self.clock.common(zero))) else {
            return told;
        };
        let length = |window: PhaseWindow| Some(window.end?.since(window.start));
        let length: Option<Span> = told.and_then(length);
        Some(PhaseWindow {
            start: zero,
            end: length.map(|length| zero + length),
        })
    }
}
