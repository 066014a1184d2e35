//! Answers whose usage leaves their token counts in doubt, where nothing else counts tokens
//! (`--use-server-token-count`).

use super::Read;
use crate::reading::Verdict;

/// How many requests are named.
const NAMED: usize = 3;

/// Requests of one kind: how many, and the first ones by their `session_num`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Noted {
    /// All of them.
    pub count: u64,
    /// The first that came.
    pub first: Vec<u64>,
}

/// What was odd about the usage that answers reported.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OddUsage {
    /// It was not there, or had no count in it: the request has no token metrics.
    pub absent: Noted,
    /// More reasoning than completion: no tokens are left for the output, which counts as 0.
    pub clamped: Noted,
}

impl OddUsage {
    pub(super) fn look_at(&mut self, read: &Read<'_>) {
        if read.reading.verdict != Verdict::Valid {
            return;
        }
        let index = read.record.index;
        let Some(usage) = &read.reading.usage else {
            self.absent.note(index);
            return;
        };
        if usage.prompt.is_none() && usage.completion.is_none() && usage.reasoning.is_none() {
            self.absent.note(index);
        }
        if usage.completion < usage.reasoning && usage.completion.is_some() {
            self.clamped.note(index);
        }
    }
}

impl Noted {
    fn note(&mut self, index: u64) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(index);
        }
    }
}
