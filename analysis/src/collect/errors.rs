//! Errors grouped as reports show them: by code, type and message.

use std::collections::HashMap;

use crate::reading::Problem;

/// Different problems that are told apart. A server that puts an id into each message would
/// otherwise make the summary as long as the run.
const GROUPS_MAX: usize = 1_000;

/// One row of the error summary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ErrorGroup {
    /// Code, type and message; the cause is not part of a group.
    pub problem: Problem,
    /// How many requests had it.
    pub count: u64,
}

/// All groups, in order of first appearance.
#[derive(Clone, Debug, Default)]
pub struct ErrorGroups {
    groups: Vec<ErrorGroup>,
    index: HashMap<Problem, usize>,
}

impl ErrorGroups {
    /// Counts one problem.
    pub fn add(&mut self, problem: &Problem) {
        let mut key = Problem {
            cause: None,
            ..problem.clone()
        };
        if self.groups.len() >= GROUPS_MAX && !self.index.contains_key(&key) {
            key.message = "(further messages, each different)".to_owned();
        }
        let at = *self.index.entry(key.clone()).or_insert(self.groups.len());
        match self.groups.get_mut(at) {
            Some(group) => group.count += 1,
            None => self.groups.push(ErrorGroup {
                problem: key,
                count: 1,
            }),
        }
    }

    /// The groups.
    pub fn groups(&self) -> &[ErrorGroup] {
        &self.groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(message: &str, cause: &str) -> Problem {
        Problem {
            code: Some(503),
            kind: "Service Unavailable".into(),
            message: message.into(),
            cause: Some(cause.into()),
        }
    }

    #[test]
    fn the_cause_does_not_make_a_group() {
        let mut groups = ErrorGroups::default();
        groups.add(&problem("busy", "a"));
        groups.add(&problem("busy", "b"));
        groups.add(&problem("gone", "a"));
        let counts: Vec<u64> = groups.groups().iter().map(|g| g.count).collect();
        assert_eq!(counts, [2, 1]);
        assert_eq!(groups.groups()[0].problem.cause, None);
    }

    #[test]
    fn messages_that_are_all_different_stay_bounded_and_counted() {
        let mut groups = ErrorGroups::default();
        for id in 0..5_000 {
            groups.add(&problem(&format!("request {id} failed"), ""));
        }
        assert_eq!(groups.groups().len(), GROUPS_MAX + 1);
        let total: u64 = groups.groups().iter().map(|g| g.count).sum();
        assert_eq!(total, 5_000);
    }
}
