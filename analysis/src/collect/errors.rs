//! Errors grouped as reports show them: by code, type and message.

use std::collections::HashMap;

use super::mask::mask;
use crate::reading::Problem;

/// Different problems that are told apart. A server whose messages are all of a kind of their own
/// would otherwise make the summary as long as the run.
const GROUPS_MAX: usize = 1_000;

/// One row of the error summary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ErrorGroup {
    /// Code, type and message; the cause is not part of a group. The message is that of all its
    /// requests, or their common one with marks where they differ.
    pub problem: Problem,
    /// Where they differ: the first of them as it was.
    pub example: Option<String>,
    /// How many requests had it.
    pub count: u64,
}

/// All groups, in order of first appearance.
#[derive(Clone, Debug, Default)]
pub struct ErrorGroups {
    groups: Vec<ErrorGroup>,
    /// By the masked message.
    index: HashMap<Problem, usize>,
    /// Where the last problem went: mostly the next one is the same.
    last: Option<usize>,
    /// Problems without a group of their own.
    others: Option<usize>,
}

impl ErrorGroups {
    /// Counts one problem.
    pub fn add(&mut self, problem: &Problem) {
        if let Some(at) = self.last
            && let Some(group) = self.groups.get_mut(at)
            && group.is_all(problem)
        {
            group.count += 1;
            return;
        }
        let key = Problem {
            cause: None,
            message: mask(&problem.message),
            ..problem.clone()
        };
        let at = match self.index.get(&key) {
            Some(&at) => at,
            None if self.groups.len() < GROUPS_MAX => {
                self.groups.push(ErrorGroup {
                    problem: Problem {
                        cause: None,
                        ..problem.clone()
                    },
                    example: None,
                    count: 0,
                });
                self.index.insert(key.clone(), self.groups.len() - 1);
                self.groups.len() - 1
            }
            None => self.of_others(),
        };
        self.last = Some(at);
        let Some(group) = self.groups.get_mut(at) else {
            return;
        };
        group.count += 1;
        let is_other = self.others == Some(at);
        if !is_other && group.example.is_none() && group.problem.message != problem.message {
            group.example = Some(std::mem::replace(&mut group.problem.message, key.message));
        }
    }

    /// The group of all that comes when there are too many.
    fn of_others(&mut self) -> usize {
        let at = *self.others.get_or_insert(self.groups.len());
        if at == self.groups.len() {
            self.groups.push(ErrorGroup {
                problem: Problem {
                    code: None,
                    kind: "(others)".to_owned(),
                    message: "(further messages, each different)".to_owned(),
                    cause: None,
                },
                example: None,
                count: 0,
            });
        }
        at
    }

    /// The groups.
    pub fn groups(&self) -> &[ErrorGroup] {
        &self.groups
    }
}

impl ErrorGroup {
    /// Whether all its requests, and this problem too, have one message.
    fn is_all(&self, problem: &Problem) -> bool {
        let own = &self.problem;
        self.example.is_none()
            && own.code == problem.code
            && own.kind == problem.kind
            && own.message == problem.message
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
    fn what_differs_within_a_kind_is_masked_and_one_example_kept() {
        let mut groups = ErrorGroups::default();
        for (id, message) in [
            (0, "request req_0a1b2c3d failed"),
            (0, "request req_0a1b2c3d failed"),
            (1, "busy"),
            (0, "request req_4e5f6a7b failed"),
            (2, "request 17 failed"),
            (0, "request req_0a1b2c3d failed"),
            (1, "busy"),
        ] {
            groups.add(&problem(message, &id.to_string()));
        }
        let rows: Vec<_> = groups
            .groups()
            .iter()
            .map(|group| {
                (
                    &*group.problem.message,
                    group.example.as_deref(),
                    group.count,
                )
            })
            .collect();
        let example = Some("request req_0a1b2c3d failed");
        assert_eq!(
            rows,
            [
                ("request req_<id> failed", example, 4),
                ("busy", None, 2),
                ("request 17 failed", None, 1),
            ]
        );
    }

    #[test]
    fn other_codes_and_types_are_other_kinds() {
        let mut groups = ErrorGroups::default();
        let one = problem("request 17 failed", "");
        groups.add(&one);
        groups.add(&Problem {
            code: Some(500),
            ..one.clone()
        });
        groups.add(&Problem {
            kind: "Other".into(),
            ..one.clone()
        });
        groups.add(&one);
        assert_eq!(groups.groups().len(), 3);
    }

    #[test]
    fn messages_that_are_all_different_stay_bounded_and_counted() {
        let letters = |mut number: u32| -> String {
            let mut text = String::new();
            while number > 0 || text.is_empty() {
                text.push((b'g' + (number % 20) as u8) as char);
                number /= 20;
            }
            text
        };
        let mut groups = ErrorGroups::default();
        for id in 0..5_000 {
            groups.add(&problem(&format!("worker {} failed", letters(id)), ""));
        }
        assert_eq!(groups.groups().len(), GROUPS_MAX + 1);
        assert_eq!(groups.groups()[GROUPS_MAX].count, 4_000);
        let total: u64 = groups.groups().iter().map(|g| g.count).sum();
        assert_eq!(total, 5_000);
    }
}
