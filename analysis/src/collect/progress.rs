//! How requests ended, counted.

use super::errors::ErrorGroup;

/// How many requests of the measured phase ended how, so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Answered.
    pub valid: u64,
    /// Failed.
    pub errors: u64,
    /// Those of them without a whole answer: refused, broken off, out of time.
    pub broken: u64,
    /// Hung up on by plan.
    pub cancelled: u64,
    /// Cut off by the end of the run.
    pub dropped: u64,
}

/// Longer messages are cut in words about several requests.
const MESSAGE_MAX: usize = 200;

impl Progress {
    /// How many ended how, for the log: errors that the server answered and those without a whole
    /// answer apart.
    pub fn in_words(&self) -> String {
        let Self {
            valid,
            errors,
            broken,
            cancelled,
            dropped,
        } = self;
        let answers = errors - broken;
        format!(
            "{valid} good, {answers} error answers, {broken} broken, {cancelled} cancelled by plan, \
             {dropped} dropped"
        )
    }

    /// How many failed, and most often why; `None` where none has.
    pub fn failed_in_words(&self, groups: &[ErrorGroup]) -> Option<String> {
        // The first of those that are equally frequent.
        let worst = groups.iter().rev().max_by_key(|group| group.count)?;
        let (failed, ended) = (self.errors, self.valid + self.errors);
        let problem = &worst.problem;
        let code = problem
            .code
            .map_or_else(String::new, |code| format!("{code} "));
        let line = problem.message.lines().next().unwrap_or_default();
        let mut message: String = line
            .chars()
            .filter(|char| !char.is_control())
            .take(MESSAGE_MAX)
            .collect();
        if message.len() < problem.message.len() {
            message.push('…');
        }
        let most = match worst.count == failed {
            true if failed == 1 => String::new(),
            true => "all ".to_owned(),
            false => format!("{} ", worst.count),
        };
        let reason = match message == problem.kind {
            true => message,
            false => format!("{}: {message}", problem.kind),
        };
        Some(format!(
            "{failed} of {ended} requests failed, {most}with {code}{reason}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::Problem;

    fn group(code: i64, kind: &str, message: &str, count: u64) -> ErrorGroup {
        ErrorGroup {
            problem: Problem {
                code: Some(code),
                kind: kind.to_owned(),
                message: message.to_owned(),
                cause: None,
            },
            example: None,
            count,
        }
    }

    #[test]
    fn failures_are_told_with_their_most_frequent_cause() {
        let busy = || group(503, "Service Unavailable", "busy", 10);
        let plain = group(500, "Internal Server Error", "Internal Server Error", 2);
        let page = group(502, "Bad Gateway", "<html>\n<head>", 1);
        for (valid, groups, words) in [
            (3, vec![], None),
            (
                0,
                vec![busy()],
                Some("10 of 10 requests failed, all with 503 Service Unavailable: busy"),
            ),
            (
                7,
                vec![plain.clone(), busy()],
                Some("12 of 19 requests failed, 10 with 503 Service Unavailable: busy"),
            ),
            (
                0,
                vec![plain],
                Some("2 of 2 requests failed, all with 500 Internal Server Error"),
            ),
            (
                9,
                vec![page],
                Some("1 of 10 requests failed, with 502 Bad Gateway: <html>…"),
            ),
        ] {
            let counts = Progress {
                valid,
                errors: groups.iter().map(|group| group.count).sum(),
                ..Progress::default()
            };
            assert_eq!(counts.failed_in_words(&groups).as_deref(), words);
        }
    }

    #[test]
    fn broken_ones_and_error_answers_are_apart() {
        let counts = Progress {
            valid: 1,
            errors: 5,
            broken: 3,
            cancelled: 4,
            dropped: 6,
        };
        assert_eq!(
            counts.in_words(),
            "1 good, 2 error answers, 3 broken, 4 cancelled by plan, 6 dropped"
        );
    }
}
