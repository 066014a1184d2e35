//! Datasets out of files: the formats, how one is recognised, and how its lines become
//! conversations. Everything is checked before anything is sent.

mod detect;
mod fault;
mod fields;
mod folder;
mod format;
mod inputs;
mod load;
mod multi_turn;
mod notes;
mod pieces;
mod random_pool;
mod raw_payload;
mod sample;
mod sharegpt;
mod single_turn;
mod speakers;
mod turn_content;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use pinfire_base::clock::Span;

pub use self::detect::detect;
pub use self::format::{FORMATS, Format, Load, Support};
use super::mooncake::FixedSpec;
use super::{Build, Dataset, DatasetError};

/// Which file or folder, and how to read it.
#[derive(Clone, Debug, PartialEq)]
pub struct FileSpec {
    /// Possibly gzipped.
    pub path: PathBuf,
    /// Its format, one with a loader.
    pub format: &'static Format,
    /// Conversations to make, for a format that makes them at random; `None` for 100.
    pub entries: Option<usize>,
    /// Mean output limit of turns that bring none; `None` or 0 sends no limit.
    pub osl_mean: Option<u32>,
    /// Deviation of that limit; below 1 is none.
    pub osl_stddev: f64,
    /// Send by the timestamps; without it they are dropped.
    pub fixed: Option<FixedSpec>,
    /// Keep only the first so many conversations of a fixed schedule.
    pub limit: Option<usize>,
    /// The longest delay between turns.
    pub delay_cap: Option<Span>,
}

impl FileSpec {
    /// Whether a turn of this timestamp is within the offsets, ends included.
    fn takes(&self, at_ms: f64) -> bool {
        let Some(fixed) = &self.fixed else {
            return true;
        };
        let start = fixed.start_ms.map_or(f64::NEG_INFINITY, |ms| ms as f64);
        let end = fixed.end_ms.map_or(f64::INFINITY, |ms| ms as f64);
        (start..=end).contains(&at_ms)
    }
}

/// Checks the whole file and makes its conversations; `progress` is told (done, total) from the
/// calling thread.
///
/// # Errors
/// When anything is wrong, with file, line and field.
pub fn build(
    spec: &FileSpec,
    build: &Build<'_>,
    progress: &dyn Fn(usize, usize),
) -> Result<Dataset, DatasetError> {
    spec.format.check_kind(&spec.path)?;
    match spec.format.support {
        Support::File { load, .. } => {
            load(spec, build, progress).map(|dataset| dataset.without_others(build))
        }
        Support::Mooncake | Support::NotBuilt => Err(DatasetError::Unfit {
            path: spec.path.clone(),
            reason: format!("{} is not read by this loader", spec.format.name),
        }),
    }
}
