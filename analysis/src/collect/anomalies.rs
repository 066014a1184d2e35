//! Answers that the user should look at, with the requests that they are.

use std::collections::BTreeMap;

use super::reader::Read;
use crate::metric::{RowValue, row};
use crate::reading::Verdict;
use pinfire_artifacts::tag;
use pinfire_base::record::Refusal;

/// How many requests of a kind are named.
const NAMED: usize = 3;

/// Requests of one kind: how many, and the first ones by their `session_num`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Noted {
    /// All of them.
    pub count: u64,
    /// The first that came.
    pub first: Vec<u64>,
}

/// What was odd about the answers of the measured phase.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Anomalies {
    /// Nothing but usage counts tokens (`--use-server-token-count`).
    by_server: bool,
    /// Place of the row that says whether a length was missed.
    mismatch: Option<usize>,
    /// Then: usage was not there, or had no count in it. The request has no token metrics.
    pub usage_absent: Noted,
    /// Then: more reasoning than completion. No tokens are left for the output, which counts as 0.
    pub usage_clamped: Noted,
    /// The output is longer or shorter than was asked, by more than the thresholds allow.
    pub osl_mismatch: Noted,
    /// Why answers ended, as their servers say it: one count for each choice, failures included.
    pub finish: BTreeMap<String, u64>,
    /// Answers with several choices, by how many.
    pub choices: BTreeMap<usize, u64>,
    /// The model declined.
    pub refused: Noted,
    /// Some events could not be read.
    pub unreadable: Noted,
    /// All of those events, and how the first of them begins.
    pub unreadable_events: u64,
    /// See above.
    pub unreadable_begins: Option<String>,
    /// How answers were read otherwise than they were sent or declared.
    pub quirks: BTreeMap<&'static str, u64>,
    /// Connects that came to nothing where the server has further addresses, by address and reason.
    pub unreached: BTreeMap<Refusal, u64>,
}

/// Reasons of an end that are told apart; a server that has more than this puts something else
/// there.
const REASONS: usize = 50;

impl Anomalies {
    pub(crate) fn new(by_server: bool) -> Self {
        Self {
            by_server,
            mismatch: row(tag::OSL_MISMATCH_COUNT),
            ..Self::default()
        }
    }

    /// Looks at a request and its values.
    pub(crate) fn look_at(&mut self, read: &Read<'_>, values: &[(usize, RowValue)]) {
        let (reading, index) = (read.reading, read.record.index);
        for &refusal in read.record.unreached.iter().flat_map(|all| &all.refusals) {
            *self.unreached.entry(refusal).or_default() += 1;
        }
        if reading.verdict == Verdict::Dropped {
            return;
        }
        for (_, reason) in &reading.finish {
            let room = self.finish.len() < REASONS;
            match self.finish.get_mut(&**reason) {
                Some(count) => *count += 1,
                None => {
                    let name = if room { reason } else { "(others)" };
                    *self.finish.entry(name.to_owned()).or_default() += 1;
                }
            }
        }
        for quirk in reading.quirks.names() {
            *self.quirks.entry(quirk).or_default() += 1;
        }
        self.refused.note_if(reading.refused, index);
        let unreadable = &reading.unreadable;
        self.unreadable.note_if(unreadable.events > 0, index);
        self.unreadable_events += u64::from(unreadable.events);
        if self.unreadable_begins.is_none() {
            self.unreadable_begins.clone_from(&unreadable.begins);
        }
        let choices = reading.choice_count();
        if choices > 1 {
            *self.choices.entry(choices).or_default() += 1;
        }
        if reading.verdict != Verdict::Valid {
            return;
        }
        let misses = |(row, value): &(usize, RowValue)| {
            Some(*row) == self.mismatch && *value == RowValue::Whole(1)
        };
        self.osl_mismatch.note_if(values.iter().any(misses), index);
        if self.by_server {
            let usage = reading.usage.as_ref();
            let counts = usage.map(|usage| [usage.prompt, usage.completion, usage.reasoning]);
            let absent = counts.is_none_or(|counts| counts.iter().all(Option::is_none));
            self.usage_absent.note_if(absent, index);
            let clamped = |[_, completion, reasoning]: [Option<u64>; 3]| {
                completion
                    .zip(reasoning)
                    .is_some_and(|(all, part)| part > all)
            };
            self.usage_clamped
                .note_if(counts.is_some_and(clamped), index);
        }
    }
}

impl Noted {
    fn note_if(&mut self, is: bool, index: u64) {
        self.count += u64::from(is);
        if is && self.first.len() < NAMED {
            self.first.push(index);
        }
    }

    /// Where they are in the per-request file: `session_num 3, 5, 8, ...`.
    pub fn places(&self) -> String {
        let first: Vec<String> = self.first.iter().map(u64::to_string).collect();
        let more = if self.count > first.len() as u64 {
            ", ..."
        } else {
            ""
        };
        format!("session_num {}{more}", first.join(", "))
    }
}
