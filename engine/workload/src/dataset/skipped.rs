//! Rows of a file that have nothing to send: `null`, or without the content that a row is for.
//! They are left out, counted and said, where what is wrong ends the run.

use super::DatasetError;
use crate::text::Warning;

/// Rows that were left out.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    count: usize,
    /// Where the first one is and what it lacks.
    first: Option<DatasetError>,
}

impl Skipped {
    /// Leaves a row out.
    pub(super) fn note(&mut self, row: DatasetError) {
        self.count += 1;
        self.first.get_or_insert(row);
    }

    /// What the user should know.
    pub(super) fn warning(&self) -> Option<Warning> {
        let first = self.first.as_ref()?;
        let what = match self.count {
            1 => "1 row has nothing to send and is skipped".to_owned(),
            count => format!("{count} rows have nothing to send and are skipped; the first"),
        };
        Some(Warning(format!("{what}: {first}")))
    }

    /// Why a file has nothing at all to send, if that is because its rows were left out.
    pub(super) fn error(&mut self) -> Option<DatasetError> {
        self.first.take()
    }
}
